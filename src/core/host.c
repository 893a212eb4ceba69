/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Host: what the host has for its guests, and whether it is short of memory itself, as of its last reading.
 *
 * The emergency begins with two readings in a row that leave less than SHORT_PERMILLE of the reserve, while
 * the guests hold more than there is for them; guests may then be cut below their needs, by priority, never
 * below their floors. It goes on until somewhat more than that has been left for CALM_USEC, and so long no
 * guest grows; so a host at the line does not begin one emergency after the other.
 *
 * The second reading need not wait for the next poll: between polls the service reads the host alone
 * (*watches* it), the more often the nearer it is to the line, and polls at once where that says so.
 * Nothing is decided on such a reading, which does not fit the older sizes of the guests. */
#include "core/engine-private.h"
#include "util/util.h"

/* How far from its target a balloon may stay that follows. */
#define BALLOON_REST_KIB MLG_KIB_PER_MIB
/* The part of the budget by which it trembles from poll to poll: MemAvailable and the sizes of QEMU
 * processes are not read at one instant. */
#define TREMOR_PART 512

/* Of its reserve a host may be out of so much before guests are cut below their needs: the reserve is
 * there to be used for a moment. Less than a hundredth of all memory is a shortage whatever the reserve.
 * Twice in a row, so that one odd reading does nobody harm; so far apart that they are two. */
#define SHORT_PERMILLE 875
#define SHORT_PART 100
#define SHORT_READINGS 2
#define SHORT_APART_USEC (20 * 1000)
/* It is over with this part more than where it began: 94 % of the reserve. */
#define RECOVERED_PART 14
/* Longer than a balloon needs to come to rest, and two polls. */
#define CALM_USEC (3 * MLG_USEC_PER_SEC)
/* A guest that is busy for a moment is not one that gives nothing. */
#define INCURABLE_USEC MLG_USEC_PER_SEC

/* One program touches about a GiB per second; some at a time. A reading costs 10 us: 20 in a second are
 * 0.02 % of a CPU. */
#define FASTEST_KIB_PER_SEC (8 * 1024 * MLG_KIB_PER_MIB)
#define WATCH_LEAST_USEC (50 * 1000)
/* Below the reserve guests are polled anew when so much of the line is gone since the last time: 3 %. */
#define FALL_PART 32

static uint64_t short_line_kib(const MlgEngine *e, const MlgRawHost *h) {
        uint64_t reserve = mlg_amount_resolve(e->settings.reserve, h->total_kib);

        return mlg_max(mlg_mul_div(reserve, SHORT_PERMILLE, 1000), h->total_kib / SHORT_PART);
}

static uint64_t recovered_line_kib(const MlgEngine *e) {
        uint64_t line = short_line_kib(e, &e->host);

        return line + line / RECOVERED_PART;
}

/* One between polls may be the first; the last one is a poll's, so that it is decided upon. */
static void count_reading(MlgEngine *e, const MlgRawHost *h, unsigned int most) {
        if (h->available_kib >= short_line_kib(e, h))
                e->short_readings = 0;
        else if (e->short_readings < most)
                e->short_readings++;
}

/* What of its QEMU's memory is its own: shared memory that it has touched is in the RSS of each who did. How much
 * that is cannot be told from outside; all that there is of it is taken off, so that nothing is counted twice. */
static uint64_t own_rss_kib(const MlgVm *vm) {
        return mlg_sub_sat(vm->sampler.last.rss_kib, vm->shared_kib);
}

/* What all that is neither a guest nor a cache nor a pool uses, roughly: the figures are not of one
 * instant. */
static void take_others(MlgEngine *e) {
        const MlgRawHost *h = &e->host;
        uint64_t known;

        e->resident_kib = e->shared_kib;
        e->knows_others = true;
        for (guint i = 0; i < e->vms->len; i++) {
                const MlgVm *vm = e->vms->pdata[i];
                uint64_t rss = vm->run_state == MLG_RUN_OFF ? 0 : vm->sampler.last.rss_kib;

                e->knows_others &= rss > 0 || vm->run_state == MLG_RUN_OFF;
                e->resident_kib = mlg_add_sat(e->resident_kib, rss > 0 ? own_rss_kib(vm) : 0);
        }
        /* Pages that are kept once are in the RSS of each who has them. */
        known = mlg_sub_sat(e->resident_kib, h->ksm_saved_kib);
        known = mlg_add_sat(mlg_add_sat(known, h->available_kib), mlg_add_sat(h->hugetlb_kib, h->zswap_kib));
        e->others_kib = mlg_sub_sat(h->total_kib, known);
}

/* What guests and reservations may have together:
 *   least of  GuestMemory=,  MemTotal - huge page pools - Reserve=,  and what is there in fact:
 *             what guests occupy now - what KSM saves + MemAvailable - Reserve=
 * A QEMU process occupies min(rss, what its guest has) of what the guest is charged: what exceeds that is
 * overhead, and gone from MemAvailable already. The last term makes room shrink when anything else on the
 * host grows. It is made once per reading of the host: with newer sizes of some guests it would not add up.
 *
 * Memory that KSM saves is available only until somebody writes to it, and is not given away: with all pages
 * apart the books still add up. What was swapped out, into zswap too, is no longer in the RSS, and zswap's
 * pool is gone from MemAvailable. */
static void take_facts(MlgEngine *e, uint64_t reserve) {
        uint64_t occupied = e->shared_kib; /* pipes and pools are charged that at least */

        for (guint i = 0; i < e->vms->len; i++) {
                const MlgVm *vm = e->vms->pdata[i];
                uint64_t rss = vm->sampler.last.rss_kib;
                uint64_t has = vm->polled ? mlg_min(vm->actual_kib, vm->charge_kib) : vm->charge_kib;

                occupied += rss ? mlg_min(own_rss_kib(vm), has) : has;
        }
        occupied = mlg_sub_sat(occupied, e->host.ksm_saved_kib);
        e->by_fact_kib = mlg_sub_sat(mlg_add_sat(occupied, e->host.available_kib), reserve);
        take_others(e);
}

void mlg_engine_take_budget(MlgEngine *e) {
        const MlgRawHost *h = &e->host;
        uint64_t reserve = mlg_amount_resolve(e->settings.reserve, h->total_kib);
        uint64_t by_size = mlg_sub_sat(mlg_sub_sat(h->total_kib, h->hugetlb_kib), reserve);

        if (e->host_is_new) {
                take_facts(e, reserve);
                count_reading(e, h, SHORT_READINGS);
                e->host_is_new = false;
                e->facts_are_new = true;
        }
        e->ledger.budget_kib = mlg_min(mlg_min(by_size, e->by_fact_kib),
                                       mlg_amount_resolve(e->settings.guest_memory, h->total_kib));
        /* What comes back in an emergency is not given away before it has stayed for a while. */
        if (e->emergency.level != MLG_ALARM_NONE)
                e->ledger.budget_kib = mlg_min(e->ledger.budget_kib, e->ledger.charged_kib);
}

void mlg_engine_observe_host(MlgEngine *e, const MlgRawHost *raw) {
        e->host = *raw;
        e->has_host = e->host_is_new = raw->total_kib > 0;
}

bool mlg_engine_is_overrun(const MlgEngine *e) {
        uint64_t rest = e->vms->len * BALLOON_REST_KIB + e->ledger.budget_kib / TREMOR_PART;

        return e->ledger.charged_kib > mlg_add_sat(e->ledger.budget_kib, rest);
}

/* ---- the host itself is short ---- */

uint64_t mlg_engine_watch_host(MlgEngine *e, const MlgRawHost *raw, uint64_t now_usec,
                               uint64_t *ret_poll_usec) {
        uint64_t reserve = mlg_amount_resolve(e->settings.reserve, raw->total_kib),
                 line = short_line_kib(e, raw);
        uint64_t margin = mlg_sub_sat(raw->available_kib, line);
        bool is_known = e->short_readings >= SHORT_READINGS;
        /* The books are overrun by something that grows: what nobody needs can be on its way before it is
         * an emergency. */
        bool falls = raw->available_kib < mlg_max(reserve, line) &&
                     mlg_add_sat(raw->available_kib, line / FALL_PART) < e->host.available_kib;

        *ret_poll_usec = MLG_USEC_NEVER;
        if (raw->total_kib == 0)
                return now_usec + e->settings.poll_usec;
        if (!e->host_is_new)
                count_reading(e, raw, SHORT_READINGS - 1);
        if (falls || (raw->available_kib < line && !is_known))
                *ret_poll_usec = now_usec + SHORT_APART_USEC;
        return now_usec + mlg_clamp(mlg_mul_div(margin, MLG_USEC_PER_SEC, FASTEST_KIB_PER_SEC),
                                    WATCH_LEAST_USEC, mlg_max(e->settings.poll_usec, WATCH_LEAST_USEC));
}

/* What the guests may still be asked for. What is on its way counts until it has come. */
static uint64_t givable_kib(const MlgEngine *e, uint64_t now_usec) {
        uint64_t sum = 0;

        for (guint i = 0; i < e->vms->len; i++) {
                const MlgVm *vm = e->vms->pdata[i];

                if (mlg_engine_is_movable(vm, now_usec))
                        sum = mlg_add_sat(sum, mlg_sub_sat(vm->charge_kib, vm->floor_kib));
        }
        return sum;
}

static void begin_or_end(MlgEngine *e, uint64_t now_usec) {
        MlgEmergency *m = &e->emergency;

        if (m->level == MLG_ALARM_NONE) {
                if (e->short_readings >= SHORT_READINGS && mlg_engine_is_overrun(e))
                        *m = (MlgEmergency){ .level = MLG_ALARM_SHORT, .since_usec = now_usec };
                return;
        }
        if (e->host.available_kib < recovered_line_kib(e))
                m->calm_usec = 0;
        else if (m->calm_usec == 0)
                m->calm_usec = now_usec;
        else if (now_usec - m->calm_usec >= CALM_USEC)
                *m = (MlgEmergency){};
}

/* Can the guests cure it? Said only when it has been so for a while, and the contrary only when it is
 * beyond doubt. */
static void judge_cure(MlgEngine *e, uint64_t now_usec) {
        uint64_t reserve = mlg_amount_resolve(e->settings.reserve, e->host.total_kib);
        MlgEmergency *m = &e->emergency;

        m->missing_kib = mlg_sub_sat(mlg_max(reserve, recovered_line_kib(e)), e->host.available_kib);
        m->givable_kib = mlg_add_sat(givable_kib(e, now_usec), e->lent_kib);
        if (m->givable_kib >= m->missing_kib)
                m->incurable_usec = 0;
        else if (m->incurable_usec == 0)
                m->incurable_usec = now_usec;
        if (m->incurable_usec > 0 && now_usec - m->incurable_usec >= INCURABLE_USEC)
                m->level = MLG_ALARM_EXHAUSTED;
        else if (m->missing_kib > 0 && m->givable_kib / 2 >= m->missing_kib)
                m->level = MLG_ALARM_SHORT;
}

void mlg_engine_judge_host(MlgEngine *e, uint64_t now_usec) {
        if (e->facts_are_new) {
                begin_or_end(e, now_usec);
                if (e->emergency.level != MLG_ALARM_NONE)
                        judge_cure(e, now_usec);
        }
        e->host_short = e->emergency.level != MLG_ALARM_NONE &&
                        e->host.available_kib < recovered_line_kib(e) && mlg_engine_is_overrun(e);
}
