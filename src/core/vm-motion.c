/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vm: what it has and where it is told to go, its balloon on the way there, and what it is charged meanwhile. */
#include <errno.h>

#include "core/vm-private.h"
#include "util/util.h"

/* How near is near enough: the balloon moves single pages, but a guest that is out of free ones stops early. */
#define REACHED_LEAST_KIB (4 * MLG_KIB_PER_MIB)
#define REACHED_PERMILLE 5
/* Less than this, and less than this part of the way that is left, within StuckSec is no progress: a driver that gets a
 * page now and then holds up all who wait for its memory. 6 % in 5 s are some 25 MiB/s for 2 GiB: a guest that swaps
 * to a slow disk gets that far. */
#define PROGRESS_KIB MLG_KIB_PER_MIB
#define PROGRESS_PART 16
/* Moving the wrong way for so long is no delay of ours: somebody else told it to. */
#define AWAY_USEC MLG_USEC_PER_SEC

/* At its target for so long: it has arrived. */
#define SETTLED_USEC MLG_USEC_PER_SEC

#define STUCK_FIRST_USEC (30 * MLG_USEC_PER_SEC)
#define STUCK_MOST_USEC (900 * MLG_USEC_PER_SEC)
#define REFUSED_USEC (30 * MLG_USEC_PER_SEC)

uint64_t mlg_vm_reached_kib(const MlgVm *vm) {
        /* A part of a granule is none. */
        uint64_t least = mlg_max(REACHED_LEAST_KIB, mlg_sub_sat(vm->granule_kib, 1));

        return mlg_max(mlg_mul_div(vm->maximum_kib, REACHED_PERMILLE, 1000), least);
}

void mlg_vm_start_motion(MlgVm *vm, uint64_t now_usec) {
        vm->settled = false;
        vm->away_usec = 0;
        vm->near_usec = 0;
        vm->best_gap_kib = mlg_abs_diff(vm->actual_kib, vm->target_kib);
        vm->progress_usec = now_usec;
        vm->progress_kib = vm->actual_kib;
}

/* The balloon left its target without being told. */
static void left_target(MlgVm *vm, const MlgHostSettings *host, uint64_t now_usec) {
        if (vm->autodeflate && vm->actuator == MLG_ACTUATOR_BALLOON && vm->actual_kib > vm->target_kib)
                mlg_vm_suffered(vm, now_usec); /* the guest helped itself: it was about to run out */
        else
                vm->foreign_until_usec = now_usec + host->foreign_hold_usec;
        vm->target_kib = vm->actual_kib;
}

static void found_stuck(MlgVm *vm, uint64_t now_usec) {
        if (vm->unsure_kib > 0 && mlg_abs_diff(vm->actual_kib, vm->unsure_kib) <= mlg_vm_reached_kib(vm)) {
                /* The newer target never reached QEMU. */
                vm->target_kib = vm->unsure_kib;
                vm->unsure_kib = 0;
                mlg_vm_start_motion(vm, now_usec);
                return;
        }
        vm->stuck_wait_usec = vm->stuck_wait_usec ? mlg_min(2 * vm->stuck_wait_usec, STUCK_MOST_USEC) : STUCK_FIRST_USEC;
        vm->stuck_until_usec = now_usec + vm->stuck_wait_usec;
        vm->give_up = !mlg_vm_took_unasked(vm); /* what it took by itself is not given to it on top */
}

static bool made_progress(MlgVm *vm, uint64_t gap) {
        uint64_t moved = vm->target_kib < vm->actual_kib ? mlg_sub_sat(vm->progress_kib, vm->actual_kib) :
                                                           mlg_sub_sat(vm->actual_kib, vm->progress_kib);

        vm->best_gap_kib = mlg_min(vm->best_gap_kib, gap);
        return moved >= mlg_max(PROGRESS_KIB, gap / PROGRESS_PART);
}

/* True: it has moved away for AWAY_USEC. The first look after an answer may still see it on its former way; it comes
 * nearer soon then. */
static bool moves_away(MlgVm *vm, uint64_t gap, uint64_t now_usec) {
        if (gap <= vm->best_gap_kib + mlg_vm_reached_kib(vm)) {
                vm->away_usec = 0;
                return false;
        }
        if (vm->away_usec == 0 || gap + mlg_vm_reached_kib(vm) < vm->away_gap_kib) {
                vm->away_usec = now_usec;
                vm->away_gap_kib = gap;
                return false;
        }
        return now_usec - vm->away_usec >= AWAY_USEC;
}

static void arrived(MlgVm *vm, uint64_t now_usec) {
        vm->settled = true;
        vm->settled_usec = now_usec;
        vm->allowed_kib = vm->target_kib;
        vm->unsure_kib = 0;
        vm->adopted &= vm->moved_usec > 0; /* what we asked for ourselves stays ours */
        if (now_usec >= vm->stuck_until_usec && !vm->give_up && vm->moved_usec > vm->stuck_until_usec)
                vm->stuck_wait_usec = 0; /* it reached a target after its time out: all is well again */
}

static void take_motion(MlgVm *vm, const MlgHostSettings *host, uint64_t now_usec) {
        uint64_t gap;

        /* Before anything was asked of it, and while somebody else moves it, its target is where it is. */
        if (vm->target_kib == 0 || (vm->reports < MLG_VM_REPORTS_NEEDED && !vm->adopted && vm->pending_kib == 0) ||
            now_usec < vm->foreign_until_usec) {
                vm->target_kib = vm->actual_kib;
                if (now_usec >= vm->foreign_until_usec)
                        vm->allowed_kib = vm->actual_kib;
                mlg_vm_start_motion(vm, now_usec);
                vm->settled = true; /* where it is: leaving that is somebody's doing */
                vm->settled_usec = now_usec;
        }
        if (vm->pending_kib > 0)
                return; /* nobody knows yet where it should go */
        gap = mlg_abs_diff(vm->actual_kib, vm->target_kib);
        if (mlg_vm_boots(vm)) {
                vm->progress_usec = now_usec; /* it boots: there may be no driver yet ... */
                vm->best_gap_kib = mlg_max(vm->best_gap_kib, gap); /* ... and a reset unplugs all devices */
        }
        if (gap <= mlg_vm_reached_kib(vm)) {
                /* Passing by is not arriving: a target can be set to where the balloon just is, on its way
                 * elsewhere. */
                if (vm->near_usec == 0)
                        vm->near_usec = now_usec;
                vm->progress_usec = now_usec;
                vm->away_usec = 0;
                if (!vm->settled && now_usec - vm->near_usec >= SETTLED_USEC)
                        arrived(vm, now_usec);
                return;
        }
        if (!vm->settled && vm->near_usec > 0)
                mlg_vm_start_motion(vm, now_usec); /* passed by */
        else if (vm->settled || moves_away(vm, gap, now_usec)) {
                left_target(vm, host, now_usec);
                mlg_vm_start_motion(vm, now_usec);
        } else if (made_progress(vm, gap)) {
                vm->progress_usec = now_usec;
                vm->progress_kib = vm->actual_kib;
        } else if (now_usec - vm->progress_usec >= host->stuck_usec && now_usec >= vm->stuck_until_usec)
                found_stuck(vm, now_usec);
}

/* What the sampler takes into account where sizes come late, or where it has not seen the way so far. */
void mlg_vm_tell_way(MlgVm *vm, const MlgRawStats *raw) {
        vm->sampler.heading_kib[0] = vm->pending_kib ? vm->pending_kib : vm->settled ? 0 : vm->target_kib;
        vm->sampler.heading_kib[1] = vm->unsure_kib;
        vm->sampler.heading_kib[2] = raw->heading_kib;
}

/* The sizes of memory devices come late. So what they were told counts as soon as it is known: reports are newer;
 * and who tells a settled one something else than we did is somebody else. */
void mlg_vm_take_heading(MlgVm *vm, const MlgRawStats *raw, const MlgHostSettings *host, uint64_t now_usec) {
        bool is_news = vm->heading_kib > 0 && raw->heading_kib > 0 && raw->heading_kib != vm->heading_kib;

        vm->heading_kib = raw->heading_kib;
        if (!is_news || !vm->settled || vm->pending_kib > 0 ||
            mlg_abs_diff(raw->heading_kib, vm->target_kib) <= mlg_vm_reached_kib(vm))
                return;
        left_target(vm, host, now_usec);
        mlg_vm_start_motion(vm, now_usec);
}

void mlg_vm_take_size(MlgVm *vm, const MlgSample *s, const MlgHostSettings *host, uint64_t now_usec) {
        /* The driver in the guest writes this number: a wrong one must not eat up the others' memory. */
        vm->actual_kib = mlg_min(s->actual_kib, mlg_max(vm->maximum_kib, s->maximum_kib));
        if (!vm->polled) {
                vm->first_polled_usec = now_usec;
                vm->allowed_kib = mlg_max(vm->allowed_kib, vm->actual_kib); /* nothing is known of how it came to it */
                mlg_vm_start_motion(vm, now_usec); /* towards an adopted target, perhaps */
        }
        vm->polled = true;
        if (vm->actuator != MLG_ACTUATOR_NONE)
                take_motion(vm, host, now_usec);
}

bool mlg_vm_took_unasked(const MlgVm *vm) {
        return vm->polled && vm->actual_kib > vm->allowed_kib + mlg_vm_reached_kib(vm);
}

void mlg_vm_let_go(MlgVm *vm, uint64_t now_usec) {
        vm->give_up = false;
        vm->target_kib = vm->actual_kib;
        mlg_vm_start_motion(vm, now_usec);
}

uint64_t mlg_vm_due_kib(const MlgVm *vm) {
        uint64_t has = vm->actual_kib;

        if (vm->run_state == MLG_RUN_OFF)
                return 0;
        if (vm->hugepages)
                return 0; /* the pool that it lives in is taken off the budget as a whole */
        if (!vm->polled)
                return vm->maximum_kib; /* nothing is known: it may have all */
        if (vm->why == MLG_REASON_STUCK && mlg_vm_took_unasked(vm) && vm->sampler.last.rss_kib > 0)
                has = mlg_clamp(vm->sampler.last.rss_kib, vm->allowed_kib, vm->actual_kib);
        return mlg_max(mlg_max(has, vm->target_kib), mlg_max(vm->pending_kib, vm->unsure_kib));
}

void mlg_vm_asked(MlgVm *vm, uint64_t target_kib, uint64_t now_usec) {
        vm->pending_kib = target_kib;
        vm->moves_tried++;
        if (target_kib < vm->target_kib)
                vm->shrunk_usec = now_usec;
        else
                vm->grown_usec = now_usec;
}

/* A target beyond one that is not reached yet is no new motion: else a balloon that is asked in small steps
 * would have to stand still for StuckSec after the last of them. */
static void take_target(MlgVm *vm, uint64_t target_kib, uint64_t now_usec) {
        bool goes_on = !vm->settled && vm->target_kib != vm->actual_kib && target_kib != vm->actual_kib &&
                (vm->target_kib < vm->actual_kib) == (target_kib < vm->actual_kib);

        vm->target_kib = target_kib;
        if (goes_on)
                vm->best_gap_kib = mlg_abs_diff(vm->actual_kib, target_kib);
        else
                mlg_vm_start_motion(vm, now_usec);
}

void mlg_vm_answered(MlgVm *vm, int r, uint64_t now_usec) {
        uint64_t asked = vm->pending_kib;

        if (asked == 0)
                return;
        vm->pending_kib = 0;
        if (vm->outdated) {
                vm->outdated = false; /* the guest was started anew meanwhile */
                return;
        }
        if (r == 0) {
                vm->unsure_kib = 0;
                vm->give_up = false;
                vm->allowed_kib = mlg_max(vm->allowed_kib, asked);
                vm->moves_accepted++;
                vm->moved_kib += mlg_abs_diff(vm->target_kib, asked);
                vm->adopted = true; /* from now on it is ours, whatever the guest's age */
                vm->moved_usec = now_usec;
                take_target(vm, asked, now_usec);
                return;
        }
        vm->moves_failed++;
        if (r == -ETIMEDOUT || r == -ENOTCONN) {
                /* It may have been accepted: both count, until it is said again or the balloon shows it. */
                vm->unsure_kib = mlg_max(vm->unsure_kib, vm->target_kib);
                vm->allowed_kib = mlg_max(vm->allowed_kib, asked);
                vm->target_kib = asked;
                vm->unresponsive = vm->unresponsive || r == -ETIMEDOUT;
                mlg_vm_start_motion(vm, now_usec);
        } else if (r != -ENODEV && r != -EAGAIN && r != -EBUSY)
                vm->refused_until_usec = now_usec + REFUSED_USEC;
}
