/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reclaim: see reclaim.h.
 *
 *   strain = max(stalls / LIMIT_STALL_PPM, refaults / LIMIT_REFAULT_KIB_PER_SEC)
 *   step   = current * STEP_PERMILLE * (1 - strain) / 2^caution   where strain < 1
 *   pause  = PAUSE_USEC * 2^caution                               from there on
 *
 * The form, and the limit of 0.1 % of stalls, are those of TMO (ASPLOS '22), which runs on millions of
 * servers. Refaults are needed besides: of a guest under KVM a missing page is read by a kernel thread
 * while the virtual CPU sleeps (asynchronous page faults), so that its cgroup's pressure shows little of
 * it. */
#include "core/reclaim.h"

#include <errno.h>

#include "util/util.h"

#define LIMIT_STALL_PPM 1000
/* 16 pages a second: with the 60 us that an SSD takes for each, 0.1 % of the time, too. */
#define LIMIT_REFAULT_KIB_PER_SEC 64

/* 12 % in a minute: what one step took too much of shows before many others follow. senpai's most is nearly
 * the same, 1 % in 6 s. */
#define STEP_PERMILLE 10
#define STEP_LEAST_KIB MLG_KIB_PER_MIB
/* 25 MiB/s written to swap: an SSD for everyday use bears that for hours. */
#define STEP_MOST_KIB (128 * MLG_KIB_PER_MIB)

/* 30 s after the first probe that hurts, 16 min after the sixth in a row: a guest that has just its working
 * set is disturbed four times in an hour, for a MiB or two. Up again only after some that do not hurt, else
 * every second one would. */
#define PAUSE_USEC (15 * MLG_USEC_PER_SEC)
#define HARMLESS_STEPS 4

/* Older than three readings: who knows what happened meanwhile. */
#define STALE_USEC (3 * MLG_RECLAIM_READ_USEC)

/* The kernel takes more than it is asked for, in small steps by a third (measured, Linux 6.1): so near the
 * floor it is asked for this part of the way. */
#define FLOOR_PART 2

/* What swaps without us, and what comes when the host runs short, must find its place. */
#define SWAP_KEPT_PART 8

static bool is_possible(const MlgRawCgroup *raw, const MlgReclaimLimits *l) {
        return raw->current_kib > 0 && raw->current_kib <= l->host_total_kib &&
               raw->swap_kib <= l->swap_total_kib;
}

static bool follows(const MlgReclaim *c, const MlgRawCgroup *raw, uint64_t now_usec) {
        return c->read_usec > 0 && now_usec > c->read_usec && now_usec - c->read_usec <= STALE_USEC &&
               raw->stall_usec >= c->last.stall_usec && raw->refault_kib >= c->last.refault_kib;
}

/* 1000: as much as may be. */
static uint64_t strain_permille(MlgReclaim *c, const MlgRawCgroup *raw, uint64_t now_usec) {
        uint64_t span = now_usec - c->read_usec;

        c->stall_ppm = (uint32_t) mlg_min(mlg_mul_div(raw->stall_usec - c->last.stall_usec, 1000000, span),
                                          1000000);
        c->refault_kib_per_sec = mlg_mul_div(raw->refault_kib - c->last.refault_kib, MLG_USEC_PER_SEC, span);
        return mlg_max(mlg_mul_div(c->stall_ppm, 1000, LIMIT_STALL_PPM),
                       mlg_mul_div(c->refault_kib_per_sec, 1000, LIMIT_REFAULT_KIB_PER_SEC));
}

/* A guest that lacks memory by itself is waited for; only where a probe hurt, there is more caution. */
static void back_off(MlgReclaim *c, uint64_t now_usec) {
        if (c->probing && c->caution < MLG_RECLAIM_CAUTION_MOST)
                c->caution++;
        c->harmless = 0;
        c->probing = false;
        c->resume_usec = now_usec + (PAUSE_USEC << mlg_max(c->caution, 1));
}

static void was_harmless(MlgReclaim *c) {
        if (!c->probing)
                return;
        c->probing = false;
        c->harmless++;
        if (c->harmless < HARMLESS_STEPS || c->caution == 0)
                return;
        c->harmless = 0;
        c->caution--;
}

static uint64_t swap_room_kib(const MlgRawCgroup *raw, const MlgReclaimLimits *l) {
        return mlg_min(mlg_sub_sat(l->swap_free_kib, l->swap_total_kib / SWAP_KEPT_PART),
                       mlg_sub_sat(raw->swap_max_kib, raw->swap_kib));
}

static uint64_t step_kib(MlgReclaim *c, const MlgRawCgroup *raw, const MlgReclaimLimits *l,
                         uint64_t strain) {
        uint64_t room = swap_room_kib(raw, l), step;

        step = mlg_mul_div(raw->current_kib, STEP_PERMILLE * (1000 - strain), 1000 * 1000);
        step = mlg_clamp(mlg_min(step, STEP_MOST_KIB) >> c->caution, STEP_LEAST_KIB, STEP_MOST_KIB);
        step = mlg_min(step, mlg_sub_sat(raw->current_kib, l->floor_kib) / FLOOR_PART);
        if (step > room)
                c->why = MLG_REASON_NO_SWAP;
        return step > room || step < STEP_LEAST_KIB ? 0 : step;
}

uint64_t mlg_reclaim_take(MlgReclaim *c, const MlgRawCgroup *raw, const MlgReclaimLimits *l,
                          uint64_t now_usec) {
        uint64_t strain = 0;
        bool known;

        if (!is_possible(raw, l)) {
                mlg_reclaim_missed(c, -EBADMSG);
                return 0;
        }
        known = follows(c, raw, now_usec);
        if (known)
                strain = strain_permille(c, raw, now_usec);
        c->last = *raw;
        c->read_usec = now_usec;
        c->why = l->host_stalls ? MLG_REASON_HOST_PRESSURE : MLG_REASON_RECLAIM;
        if (known && strain >= 1000)
                back_off(c, now_usec);
        else if (known)
                was_harmless(c);
        if (!known || l->host_stalls || now_usec < c->resume_usec)
                return 0;
        return step_kib(c, raw, l, strain);
}

void mlg_reclaim_asked(MlgReclaim *c, int r, uint64_t kib, uint64_t now_usec) {
        c->probing = true; /* whatever became of it: some of it may have been taken */
        if (r == 0) {
                c->asked_kib = mlg_add_sat(c->asked_kib, kib);
                return;
        }
        if (r != -EAGAIN && r != -ETIMEDOUT)
                mlg_reclaim_missed(c, r);
        back_off(c, now_usec); /* little is left to take, or it takes long */
}

void mlg_reclaim_missed(MlgReclaim *c, int r) {
        c->read_usec = 0;
        c->stall_ppm = 0;
        c->refault_kib_per_sec = 0;
        switch (r) {
        case -EACCES:
        case -EPERM:
        case -EROFS:
                c->why = MLG_REASON_NO_PERMISSION;
                break;
        case -EBADMSG:
                c->why = MLG_REASON_IMPOSSIBLE;
                break;
        case -EAGAIN:
        case -EBUSY:
        case -ENODEV:
        case -ENOTCONN:
        case -ETIMEDOUT:
                break; /* not now: that says nothing new */
        default:       /* errors are the kernel's */
                c->why = MLG_REASON_NO_CGROUP;
                break;
        }
}

bool mlg_reclaim_is_usable(const MlgReclaim *c) {
        return c->why != MLG_REASON_NO_CGROUP && c->why != MLG_REASON_NO_PERMISSION;
}
