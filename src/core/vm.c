/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vm: see vm.h for the states. */
#include "core/vm.h"

#include <errno.h>
#include <string.h>

#include "core/supervise.h"
#include "predict/registry.h"
#include "util/util.h"

/* Nothing usable below this: the kernel's own watermarks of a small guest. */
#define CRITICAL_LEAST_KIB (12 * MLG_KIB_PER_MIB)
#define CRITICAL_PERMILLE 30
/* Reading back 1 MiB/s from swap: a program waits for its memory 250 times a second. */
#define CRITICAL_SWAP_IN_KIB_PER_SEC 1024

/* Tasks wait for memory: 5 % of a second is what the guest's trigger is set to. With 30 % of it, or 10 % in which nothing
 * else went on, programs run visibly slower: that is as bad as swapping. */
#define WARNING_STALL_PERMILLE 50
#define CRITICAL_STALL_PERMILLE 300
#define CRITICAL_FULL_PERMILLE 100
/* An alarm is of the second before it, and of the one in which help is on its way. */
#define ALARM_USEC MLG_USEC_PER_SEC
/* What was killed for lack of memory has left free memory behind, and will be started again. */
#define KILLED_USEC (3 * MLG_USEC_PER_SEC)
/* Of a balloon that grew just now: the guest's own reclaim for it still shows. */
#define TAKEN_USEC MLG_USEC_PER_SEC

/* How often the program inside a guest reports: like a balloon driver, and five times as often when things may change
 * soon. */
#define MONITOR_USEC MLG_USEC_PER_SEC
#define MONITOR_NEAR_USEC (200 * 1000)

/* 2 % slower than it could be. */
#define LACKS_STALL_PERMILLE 20

/* A guest that suffered and now uses a quarter less, with this much usable, needs no cool-down: its job is done. */
#define RECOVERED_PERMILLE 750
#define RECOVERED_CUSHIONS 2

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

/* libvirt leaves out a guest that somebody else is asking something just now; that lasts milliseconds. */
#define MISS_USEC MLG_USEC_PER_SEC

/* Polls of all sensible intervals are faster than this, and each one reads every running guest. */
#define LOST_USEC (90 * MLG_USEC_PER_SEC)

/* Statistics that were just turned on need their time; after this a guest without any has no driver. */
#define FIRST_REPORT_USEC (5 * MLG_USEC_PER_SEC)

/* How long a guest that we find on its way may be that before we go by what is known of it, however vague ... */
#define ARRIVES_USEC (2 * MLG_USEC_PER_SEC)
/* ... that is, worse than this part of its maximum: for less there are cushions. */
#define VAGUE_PERMILLE 50

/* How long reports may say nothing while a guest moves, before they are taken for saying that its demand stands still. */
#define HIDDEN_USEC (2500 * 1000)

/* A poll's `actual` is that of the last balloon event, at most 1 s old: until then only looks tell the
 * truth. */
#define LOOK_AFTER_USEC (2 * MLG_USEC_PER_SEC)
/* With less usable than this a second is a long time. */
#define LOOK_CUSHIONS 3

/* Demand that grows by less than this within about a second does not announce trouble. */
#define RISE_PERMILLE 20
#define RISE_USEC (800 * 1000) /* reports of each second come a little early, too */

static uint64_t reached_kib(const MlgVm *vm) {
        /* A part of a granule is none. */
        uint64_t least = mlg_max(REACHED_LEAST_KIB, mlg_sub_sat(vm->granule_kib, 1));

        return mlg_max(mlg_mul_div(vm->maximum_kib, REACHED_PERMILLE, 1000), least);
}

static void start_motion(MlgVm *vm, uint64_t now_usec) {
        vm->settled = false;
        vm->away_usec = 0;
        vm->near_usec = 0;
        vm->best_gap_kib = mlg_abs_diff(vm->actual_kib, vm->target_kib);
        vm->progress_usec = now_usec;
        vm->progress_kib = vm->actual_kib;
}

static void take_limits(MlgVm *vm) {
        const MlgGuestSettings *s = &vm->settings;

        uint64_t ceiling = mlg_min(mlg_amount_resolve(s->ceiling, vm->maximum_kib), vm->maximum_kib);
        uint64_t floor = mlg_max(mlg_amount_resolve(s->floor, vm->maximum_kib), vm->base_kib);

        vm->ceiling_kib = mlg_max(mlg_grid_down(ceiling, vm->base_kib, vm->granule_kib), vm->base_kib);
        vm->floor_kib = mlg_min(mlg_grid_up(floor, vm->base_kib, vm->granule_kib), vm->ceiling_kib);
}

static void learns_anew(MlgVm *vm) {
        vm->learns_from_usec = vm->learns_to_usec = vm->learned_before_usec = 0;
        vm->sought = false;
}

static void take_predictor(MlgVm *vm) {
        const MlgPredictorOps *p = mlg_predictor_find(vm->settings.predictor);

        if (!p)
                p = mlg_predictor_at(0); /* the configuration was checked: a plug-in was refused, or switched off */
        if (p == vm->predictor)
                return;
        g_free(vm->predictor_priv);
        vm->predictor = p;
        vm->predictor_priv = mlg_priv_new(p->priv_size);
        learns_anew(vm);
        vm->has_forecast = false;
        vm->judge_usec = 0;
}

/* Another run of the guest. */
static void restart_predictor(MlgVm *vm) {
        mlg_call_restarted(vm->predictor, vm->predictor_priv);
        if (!vm->predictor->restarted)
                vm->learns_from_usec = vm->learns_to_usec = vm->learned_before_usec = 0;
}

uint64_t mlg_vm_learned_usec(const MlgVm *vm) {
        return mlg_add_sat(vm->learned_before_usec, vm->learns_to_usec - vm->learns_from_usec);
}

bool mlg_vm_is_worth_saving(const MlgVm *vm) {
        return vm->predictor->state_version > 0 && mlg_vm_learned_usec(vm) > 0;
}

bool mlg_vm_resume_predictor(MlgVm *vm, const void *state, uint64_t learned_usec, bool same_run,
                             uint64_t now_usec) {
        const MlgPredictorOps *p = vm->predictor;

        if (!same_run && !p->restarted)
                return false;
        memcpy(vm->predictor_priv, state, p->priv_size);
        if (!same_run)
                mlg_call_restarted(p, vm->predictor_priv);
        mlg_call_resumed(p, vm->predictor_priv, now_usec);
        vm->learned_before_usec = learned_usec;
        vm->learns_from_usec = vm->learns_to_usec = 0;
        vm->judge_usec = 0; /* it was made without what is known now */
        return true;
}

/* Forgets everything that belongs to one run of the guest. */
static void forget_run(MlgVm *vm, uint64_t started_usec) {
        mlg_sampler_reset(&vm->sampler);
        restart_predictor(vm);
        vm->polled = vm->missed = vm->unresponsive = vm->silent = vm->has_forecast = vm->rises = false;
        vm->period_asked_usec = vm->monitor_asked_usec = vm->agent_asked_usec = vm->looked_usec = vm->judge_usec = 0;
        vm->pipe_off = vm->pipe_wanted = false;
        vm->pipe_next_usec = vm->pipe_leave_usec = vm->pipe_dead_usec = 0;
        vm->agent_failures = 0;
        memset(vm->rise_usec, 0, sizeof(vm->rise_usec));
        vm->reports = 0;
        vm->started_usec = started_usec;
        vm->suffered_usec = vm->lacked_usec = 0;
        vm->lacks = false;
        vm->pressure = MLG_PRESSURE_NONE;
        vm->actual_kib = vm->target_kib = vm->unsure_kib = vm->allowed_kib = 0;
        vm->away_usec = vm->heading_kib = 0;
        vm->outdated = vm->pending_kib > 0; /* it stays charged until it is answered: one request at a time */
        vm->adopted = vm->settled = vm->give_up = false;
        vm->stuck_until_usec = vm->stuck_wait_usec = 0;
        vm->foreign_until_usec = vm->refused_until_usec = 0;
        vm->manual_kib = vm->manual_until_usec = 0;
        vm->rules = (MlgRuleState) {};
        vm->reclaim = (MlgReclaim) {};
        vm->reclaim_due_usec = 0;
}

static void copy_info(MlgVm *vm, const MlgGuestInfo *info) {
        g_free(vm->name);
        g_free(vm->labels);
        vm->name = g_strdup(info->name);
        vm->labels = g_strdup(info->labels);
        vm->run_state = info->run_state;
        vm->instance = info->instance;
        vm->stats_period_sec = info->stats_period_sec;
        vm->maximum_kib = info->maximum_kib;
        vm->actuator = mlg_guest_actuator(info);
        vm->base_kib = vm->actuator == MLG_ACTUATOR_VIRTIO_MEM ? info->base_kib : 0;
        vm->granule_kib = vm->actuator == MLG_ACTUATOR_VIRTIO_MEM ? info->granule_kib : 0;
        vm->has_balloon = info->has_balloon;
        vm->autodeflate = info->autodeflate;
        vm->free_page_reporting = info->free_page_reporting;
        vm->vfio = info->vfio;
        vm->locked = info->locked;
        vm->hugepages = info->hugepages;
        vm->virtio_mem = info->virtio_mem;
        vm->confidential = info->confidential;
        vm->migrating = info->migrating;
        vm->virtio_serial = info->virtio_serial;
        g_strlcpy(vm->pipe_path, info->pipe_path, sizeof(vm->pipe_path));
        g_strlcpy(vm->monitor_path, info->monitor_path, sizeof(vm->monitor_path));
        vm->agent = info->agent;
}

MlgVm *mlg_vm_new(const MlgGuestInfo *info, const MlgGuestSettings *settings) {
        MlgVm *vm = g_new0(MlgVm, 1);

        g_strlcpy(vm->uuid, info->uuid, sizeof(vm->uuid));
        vm->configured = vm->settings = *settings;
        copy_info(vm, info);
        take_limits(vm);
        take_predictor(vm);
        vm->why = MLG_REASON_NEW;
        return vm;
}

MlgVm *mlg_vm_free(MlgVm *vm) {
        if (!vm)
                return NULL;
        g_free(vm->name);
        g_free(vm->labels);
        g_free(vm->predictor_priv);
        g_free(vm->policy_priv);
        g_free(vm->whole_priv);
        g_free(vm);
        return NULL;
}

void mlg_vm_set_info(MlgVm *vm, const MlgGuestInfo *info, uint64_t now_usec) {
        bool started = info->instance != vm->instance;

        copy_info(vm, info);
        take_limits(vm);
        if (started) {
                forget_run(vm, now_usec);
                /* What people said was about the run before. */
                vm->allowed_until_usec = vm->rejected.until_usec = 0;
        }
}

void mlg_vm_take_settings(MlgVm *vm, const MlgGuestSettings *settings) {
        if (settings->horizon_usec != vm->settings.horizon_usec)
                learns_anew(vm); /* what it knows is of the other one */
        vm->settings = *settings;
        take_limits(vm);
        take_predictor(vm);
}

void mlg_vm_set_settings(MlgVm *vm, const MlgGuestSettings *configured) {
        vm->configured = *configured;
        if (configured->rules > 0)
                return; /* without what they say for one turn it would lose what its predictor learned, for example */
        vm->rules = (MlgRuleState) {};
        mlg_vm_take_settings(vm, configured);
}

void mlg_vm_rebooted(MlgVm *vm, uint64_t now_usec) {
        uint64_t target_kib = vm->target_kib, unsure_kib = vm->unsure_kib, actual_kib = vm->actual_kib;
        bool polled = vm->polled;

        forget_run(vm, now_usec);
        /* QEMU keeps the target over a reset; the driver will go there again as soon as it is loaded. */
        vm->target_kib = vm->allowed_kib = target_kib;
        vm->unsure_kib = unsure_kib;
        vm->adopted = target_kib > 0;
        /* What it has is known as before: decisions about others need not wait for it. */
        vm->polled = polled;
        vm->actual_kib = actual_kib;
        vm->first_polled_usec = now_usec;
        start_motion(vm, now_usec);
}

MlgLookRank mlg_vm_look_rank(const MlgVm *vm, uint64_t now_usec) {
        if (vm->run_state != MLG_RUN_RUNNING || vm->actuator == MLG_ACTUATOR_NONE || !vm->polled ||
            vm->unresponsive || vm->state == MLG_VM_ALONE)
                return MLG_LOOK_NOT;
        if (vm->moved_usec > 0 && (!vm->settled || now_usec - vm->settled_usec < LOOK_AFTER_USEC))
                return MLG_LOOK_MOVES;
        if (vm->adopted && !vm->settled && mlg_abs_diff(vm->actual_kib, vm->target_kib) > reached_kib(vm))
                return MLG_LOOK_MOVES; /* by the run before ours */
        if (vm->state == MLG_VM_MANAGED && (vm->rises || vm->pressure != MLG_PRESSURE_NONE ||
                                            vm->sampler.last.usable_kib < LOOK_CUSHIONS * vm->cushion_kib))
                return MLG_LOOK_NEAR;
        return MLG_LOOK_NOT;
}

bool mlg_vm_is_manual(const MlgVm *vm, uint64_t now_usec) {
        return vm->manual_kib > 0 && now_usec < vm->manual_until_usec;
}

uint64_t mlg_vm_monitor_interval_usec(const MlgVm *vm, uint64_t now_usec) {
        return mlg_vm_look_rank(vm, now_usec) == MLG_LOOK_NOT ? MONITOR_USEC : MONITOR_NEAR_USEC;
}

/* Memory is being taken from it: reclaiming it is what its tasks are seen to wait for, first of all the balloon's own. */
static bool gives(const MlgVm *vm, uint64_t now_usec) {
        return vm->target_kib + reached_kib(vm) < vm->actual_kib ||
                (vm->shrunk_usec > 0 && now_usec - vm->shrunk_usec < TAKEN_USEC);
}

/* Stalls only count where the guest as a whole is short. With much free memory it is a limit inside of it that they
 * come from, a container's, and more memory would not help. */
static MlgPressure stall_pressure(const MlgVm *vm, uint64_t now_usec) {
        const MlgSample *s = &vm->sampler.last;

        if (s->oom_usec > 0 && now_usec - s->oom_usec < KILLED_USEC)
                return MLG_PRESSURE_CRITICAL;
        if (!s->knows_stalls || s->unused_kib >= vm->cushion_kib ||
            (gives(vm, now_usec) && s->usable_kib >= vm->cushion_kib))
                return MLG_PRESSURE_NONE;
        if (s->stall_full_permille >= CRITICAL_FULL_PERMILLE || s->stall_some_permille >= CRITICAL_STALL_PERMILLE)
                return MLG_PRESSURE_CRITICAL;
        if (s->stall_some_permille >= WARNING_STALL_PERMILLE ||
            (s->alarm_usec > 0 && now_usec - s->alarm_usec < ALARM_USEC))
                return MLG_PRESSURE_WARNING;
        return MLG_PRESSURE_NONE;
}

static MlgPressure size_pressure(const MlgVm *vm) {
        const MlgSample *s = &vm->sampler.last;
        uint64_t nothing = mlg_max(mlg_mul_div(s->actual_kib, CRITICAL_PERMILLE, 1000), CRITICAL_LEAST_KIB);

        if (s->swap_in_kib_per_sec >= CRITICAL_SWAP_IN_KIB_PER_SEC)
                return MLG_PRESSURE_CRITICAL;
        if (!s->knows_usable)
                return MLG_PRESSURE_NONE; /* a full page cache looks like no memory at all there */
        if (s->usable_kib < nothing)
                return MLG_PRESSURE_CRITICAL;
        if (s->usable_kib < vm->cushion_kib / 2 ||
            (vm->rises && mlg_sub_sat(s->actual_kib, vm->forecast.need_kib) < vm->cushion_kib / 2))
                return MLG_PRESSURE_WARNING;
        return MLG_PRESSURE_NONE;
}

/* Little usable memory announces trouble; this is trouble. Without anybody who tells stalls, nothing usable counts as such:
 * a guest without swap would be next to its OOM killer. */
static bool lacks_memory(const MlgVm *vm) {
        const MlgSample *s = &vm->sampler.last;

        if (s->swap_in_kib_per_sec >= CRITICAL_SWAP_IN_KIB_PER_SEC)
                return true;
        return s->knows_stalls ? s->stall_some_permille >= LACKS_STALL_PERMILLE : vm->pressure == MLG_PRESSURE_CRITICAL;
}

static void suffered(MlgVm *vm, uint64_t now_usec) {
        vm->suffered_usec = now_usec;
        vm->suffered_used_kib = vm->sampler.last.used_kib;
}

/* Usable memory alone is no recovery: it may have come just now, and the programs take it as they run on. But when their demand
 * has fallen far below what it was, they have freed it themselves. */
static bool is_over_it(const MlgVm *vm) {
        const MlgSample *s = &vm->sampler.last;

        return vm->suffered_usec > 0 && s->is_new && s->usable_kib >= RECOVERED_CUSHIONS * vm->cushion_kib &&
               s->used_kib < mlg_mul_div(vm->suffered_used_kib, RECOVERED_PERMILLE, 1000);
}

static void take_pressure(MlgVm *vm, uint64_t now_usec) {
        const MlgSample *s = &vm->sampler.last;

        if (s->trust != MLG_TRUST_FRESH)
                return; /* what was known last is the best guess */
        vm->pressure = MAX(size_pressure(vm), stall_pressure(vm, now_usec));
        if (vm->pressure != MLG_PRESSURE_NONE)
                suffered(vm, now_usec);
        else if (is_over_it(vm))
                vm->suffered_usec = vm->lacked_usec = 0;
        vm->lacks = lacks_memory(vm);
        if (vm->lacks)
                vm->lacked_usec = now_usec;
}

/* cushion = max(Cushion=, CushionRatio= of the need, twice the forecast's usual miss, upper - need), at most the rest of
 * the guest */
static void take_forecast(MlgVm *vm, uint64_t horizon_usec) {
        const MlgGuestSettings *s = &vm->settings;
        uint64_t need;

        vm->has_forecast = mlg_call_predict(vm->predictor, vm->predictor_priv, horizon_usec, vm->maximum_kib,
                                            &vm->forecast) == 0;
        if (!vm->has_forecast)
                return;
        need = vm->forecast.need_kib = mlg_min(vm->forecast.need_kib, vm->maximum_kib);
        vm->forecast.error_kib = mlg_min(vm->forecast.error_kib, vm->maximum_kib);
        vm->cushion_kib = mlg_max(mlg_amount_resolve(s->cushion, need), mlg_mul_div(need, s->cushion_permille, 1000));
        vm->cushion_kib = mlg_max(vm->cushion_kib, 2 * vm->forecast.error_kib);
        vm->cushion_kib = mlg_max(vm->cushion_kib, mlg_sub_sat(vm->forecast.upper_kib, need));
        vm->cushion_kib = mlg_min(vm->cushion_kib, mlg_sub_sat(vm->maximum_kib, need));
}

/* The balloon left its target without being told. */
static void left_target(MlgVm *vm, const MlgHostSettings *host, uint64_t now_usec) {
        if (vm->autodeflate && vm->actuator == MLG_ACTUATOR_BALLOON && vm->actual_kib > vm->target_kib)
                suffered(vm, now_usec); /* the guest helped itself: it was about to run out */
        else
                vm->foreign_until_usec = now_usec + host->foreign_hold_usec;
        vm->target_kib = vm->actual_kib;
}

static void found_stuck(MlgVm *vm, uint64_t now_usec) {
        if (vm->unsure_kib > 0 && mlg_abs_diff(vm->actual_kib, vm->unsure_kib) <= reached_kib(vm)) {
                /* The newer target never reached QEMU. */
                vm->target_kib = vm->unsure_kib;
                vm->unsure_kib = 0;
                start_motion(vm, now_usec);
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
        if (gap <= vm->best_gap_kib + reached_kib(vm)) {
                vm->away_usec = 0;
                return false;
        }
        if (vm->away_usec == 0 || gap + reached_kib(vm) < vm->away_gap_kib) {
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
                start_motion(vm, now_usec);
                vm->settled = true; /* where it is: leaving that is somebody's doing */
                vm->settled_usec = now_usec;
        }
        if (vm->pending_kib > 0)
                return; /* nobody knows yet where it should go */
        gap = mlg_abs_diff(vm->actual_kib, vm->target_kib);
        if (vm->started_usec > 0 && vm->reports < MLG_VM_REPORTS_NEEDED) {
                vm->progress_usec = now_usec; /* it boots: there may be no driver yet ... */
                vm->best_gap_kib = mlg_max(vm->best_gap_kib, gap); /* ... and a reset unplugs all devices */
        }
        if (gap <= reached_kib(vm)) {
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
                start_motion(vm, now_usec); /* passed by */
        else if (vm->settled || moves_away(vm, gap, now_usec)) {
                left_target(vm, host, now_usec);
                start_motion(vm, now_usec);
        } else if (made_progress(vm, gap)) {
                vm->progress_usec = now_usec;
                vm->progress_kib = vm->actual_kib;
        } else if (now_usec - vm->progress_usec >= host->stuck_usec && now_usec >= vm->stuck_until_usec)
                found_stuck(vm, now_usec);
}

static void take_silence(MlgVm *vm, uint64_t now_usec) {
        bool silent = vm->reports >= MLG_VM_REPORTS_NEEDED && vm->sampler.last.trust != MLG_TRUST_FRESH;

        if ((silent && !vm->silent) || vm->run_state != MLG_RUN_RUNNING)
                vm->silent_usec = now_usec; /* a paused guest cannot report */
        vm->silent = silent;
        if (silent)
                vm->pressure = MLG_PRESSURE_NONE; /* nobody is served first on the strength of an old cry */
}

/* What became of the forecast that is judged; then the next one is. */
static void judge(MlgVm *vm, const MlgSample *s, uint64_t now_usec) {
        if (vm->judge_usec == 0)
                return;
        vm->judged_peak_kib = mlg_max(vm->judged_peak_kib, s->used_kib);
        if (now_usec < vm->judge_usec)
                return;
        vm->forecasts++;
        vm->forecast_misses += vm->judged_peak_kib > vm->judged.need_kib + vm->judged_cushion_kib;
        mlg_call_reflect(vm->predictor, vm->predictor_priv, &vm->judged, vm->judged_peak_kib);
        vm->judge_usec = 0;
}

static void begin_judging(MlgVm *vm, uint64_t now_usec) {
        if (vm->judge_usec > 0 || !vm->has_forecast)
                return;
        vm->judged = vm->forecast;
        vm->judged_cushion_kib = vm->cushion_kib;
        vm->judged_peak_kib = 0;
        vm->judge_usec = now_usec + vm->settings.horizon_usec;
}

static void take_miss(MlgVm *vm, uint64_t now_usec) {
        if (!vm->missed)
                vm->missed_usec = now_usec;
        vm->missed = true;
        vm->unresponsive = vm->unresponsive || now_usec - vm->missed_usec >= MISS_USEC;
        vm->progress_usec = now_usec; /* a stopped QEMU is not a stuck balloon */
}

static void take_run_state(MlgVm *vm, const MlgRawStats *raw, uint64_t now_usec) {
        vm->missed = false;
        if (raw->have & MLG_HAVE_RUN_STATE)
                vm->run_state = raw->run_state;
        /* Nothing but its state, from the first poll on: the others need not wait for it. */
        vm->unresponsive = !vm->polled && !(raw->have & MLG_HAVE_ACTUAL);
        if (vm->run_state != MLG_RUN_RUNNING)
                vm->progress_usec = now_usec; /* nor is a paused guest */
}

/* What the sampler takes into account where sizes come late, or where it has not seen the way so far. */
static void tell_way(MlgVm *vm, const MlgRawStats *raw) {
        vm->sampler.heading_kib[0] = vm->pending_kib ? vm->pending_kib : vm->settled ? 0 : vm->target_kib;
        vm->sampler.heading_kib[1] = vm->unsure_kib;
        vm->sampler.heading_kib[2] = raw->heading_kib;
}

/* The sizes of memory devices come late. So what they were told counts as soon as it is known: reports are newer;
 * and who tells a settled one something else than we did is somebody else. */
static void take_heading(MlgVm *vm, const MlgRawStats *raw, const MlgHostSettings *host, uint64_t now_usec) {
        bool is_news = vm->heading_kib > 0 && raw->heading_kib > 0 && raw->heading_kib != vm->heading_kib;

        vm->heading_kib = raw->heading_kib;
        if (!is_news || !vm->settled || vm->pending_kib > 0 ||
            mlg_abs_diff(raw->heading_kib, vm->target_kib) <= reached_kib(vm))
                return;
        left_target(vm, host, now_usec);
        start_motion(vm, now_usec);
}

static void take_size(MlgVm *vm, const MlgSample *s, const MlgHostSettings *host, uint64_t now_usec) {
        /* The driver in the guest writes this number: a wrong one must not eat up the others' memory. */
        vm->actual_kib = mlg_min(s->actual_kib, mlg_max(vm->maximum_kib, s->maximum_kib));
        if (!vm->polled) {
                vm->first_polled_usec = now_usec;
                vm->allowed_kib = mlg_max(vm->allowed_kib, vm->actual_kib); /* nothing is known of how it came to it */
                start_motion(vm, now_usec); /* towards an adopted target, perhaps */
        }
        vm->polled = true;
        if (vm->actuator != MLG_ACTUATOR_NONE)
                take_motion(vm, host, now_usec);
}

/* Against the newer of two reports if it is about a second old, else against the older one. */
static void take_rise(MlgVm *vm, const MlgSample *s, uint64_t now_usec) {
        unsigned int i = now_usec - vm->rise_usec[0] >= RISE_USEC ? 0 : 1;
        uint64_t step = mlg_mul_div(vm->maximum_kib, RISE_PERMILLE, 1000);

        vm->rises = vm->rise_usec[i] > 0 && s->used_kib > vm->rise_kib[i] + step;
        if (i > 0)
                return;
        vm->rise_usec[1] = vm->rise_usec[0];
        vm->rise_kib[1] = vm->rise_kib[0];
        vm->rise_usec[0] = now_usec;
        vm->rise_kib[0] = s->used_kib;
}

/* A plug-in that was switched off leaves its guests to the default: at once, or who suffers now would have to wait. */
static void foresee(MlgVm *vm, const MlgSample *s) {
        do {
                if (mlg_predictor_is_off(vm->predictor))
                        take_predictor(vm);
                mlg_call_observe(vm->predictor, vm->predictor_priv, s, vm->settings.horizon_usec);
                take_forecast(vm, vm->settings.horizon_usec);
        } while (mlg_predictor_is_off(vm->predictor));
}

/* Since the predictor was told something. */
static uint64_t unheard_usec(const MlgVm *vm, uint64_t now_usec) {
        return vm->learns_to_usec > 0 ? now_usec - vm->learns_to_usec : 0;
}

/* Of a guest that was on its way when we came the next ones may be no better, until it arrives. */
static bool is_too_vague(const MlgVm *vm, uint64_t now_usec) {
        return !vm->has_forecast && now_usec - vm->first_polled_usec < ARRIVES_USEC &&
               vm->sampler.blur_kib > mlg_mul_div(vm->maximum_kib, VAGUE_PERMILLE, 1000);
}

/* It may have taken as much as its balloon gave it meanwhile: then what was known is not wrong, but old. */
static bool hides_a_rise(const MlgVm *vm, uint64_t now_usec) {
        return vm->rises && vm->sampler.says_nothing && vm->sampler.blur_kib > reached_kib(vm) &&
               unheard_usec(vm, now_usec) < HIDDEN_USEC;
}

static void take_report(MlgVm *vm, const MlgSample *s, uint64_t now_usec) {
        /* The first one may be from before a move that nobody saw: what it makes of the demand could be wrong by all of
         * the move, and would be remembered for half a minute. */
        if (vm->reports == 0) {
                vm->reports++;
                return;
        }
        if (is_too_vague(vm, now_usec)) {
                vm->reports += vm->reports < MLG_VM_REPORTS_NEEDED - 1; /* one that says more will do then */
                return;
        }
        if (hides_a_rise(vm, now_usec))
                return;
        judge(vm, s, now_usec);
        foresee(vm, s);
        vm->learns_from_usec = vm->learns_from_usec ? vm->learns_from_usec : now_usec;
        vm->learns_to_usec = now_usec;
        begin_judging(vm, now_usec);
        take_rise(vm, s, now_usec);
        if (vm->reports < UINT32_MAX)
                vm->reports++;
}

void mlg_vm_observe(MlgVm *vm, const MlgRawStats *raw, const MlgHostSettings *host, uint64_t now_usec,
                    uint64_t now_real_sec) {
        MlgSample s;

        if (!raw) {
                take_miss(vm, now_usec);
                return;
        }
        vm->read_usec = now_usec;
        tell_way(vm, raw);
        if (vm->actuator == MLG_ACTUATOR_VIRTIO_MEM)
                take_heading(vm, raw, host, now_usec);
        take_run_state(vm, raw, now_usec);
        mlg_sampler_take(&vm->sampler, raw, vm->stats_period_sec, now_usec, now_real_sec, &s);
        if (raw->have & MLG_HAVE_ACTUAL)
                take_size(vm, &s, host, now_usec);
        if (s.is_new && s.trust == MLG_TRUST_FRESH)
                take_report(vm, &s, now_usec);
        else if (vm->rises && s.trust == MLG_TRUST_FRESH)
                /* A driver that is busy with its balloon reports late, or what it reports says nothing: what was rising
                 * goes on rising meanwhile. */
                take_forecast(vm, vm->settings.horizon_usec + unheard_usec(vm, now_usec));
        take_pressure(vm, now_usec);
        take_silence(vm, now_usec);
}

bool mlg_vm_observe_monitor(MlgVm *vm, const MlgRawMonitor *raw, uint64_t now_usec, uint64_t now_real_sec) {
        uint64_t alarm_before = vm->sampler.last.alarm_usec;
        MlgPressure before = vm->pressure;
        MlgSample s;

        if (!vm->polled || vm->run_state != MLG_RUN_RUNNING)
                return false; /* sizes of something whose size nobody knows */
        mlg_sampler_take_monitor(&vm->sampler, raw, now_usec, now_real_sec, &s);
        if (s.is_new && s.trust == MLG_TRUST_FRESH)
                take_report(vm, &s, now_usec);
        take_pressure(vm, now_usec);
        take_silence(vm, now_usec);
        return vm->pressure > before || (vm->pressure != MLG_PRESSURE_NONE && s.alarm_usec != alarm_before);
}

static MlgReason trust_reason(MlgTrust t) {
        switch (t) {
        case MLG_TRUST_NONE:
                return MLG_REASON_NO_STATS;
        case MLG_TRUST_STALE:
                return MLG_REASON_STALE;
        case MLG_TRUST_IMPOSSIBLE:
                return MLG_REASON_IMPOSSIBLE;
        case MLG_TRUST_FRESH:
        case _MLG_TRUST_MAX:
                break;
        }
        return MLG_REASON_NONE;
}

static MlgReason alone_reason(const MlgVm *vm) {
        if (vm->settings.mode != MLG_MODE_AUTO && vm->settings.mode != MLG_MODE_ADVISE)
                return MLG_REASON_MODE;
        if (vm->actuator == MLG_ACTUATOR_NONE && vm->virtio_mem)
                return MLG_REASON_MEMORY_DEVICE;
        if (vm->actuator == MLG_ACTUATOR_NONE && vm->settings.reclaim == MLG_RECLAIM_MODE_OFF)
                return MLG_REASON_NO_BALLOON;
        /* What QEMU unplugs of a virtio-mem device it takes out of the reach of host devices first. But what is
         * locked stays, and huge pages are of a pool that is in nobody's budget. */
        if (vm->locked || vm->hugepages || (vm->vfio && vm->actuator != MLG_ACTUATOR_VIRTIO_MEM))
                return MLG_REASON_PINNED;
        if (vm->confidential)
                return MLG_REASON_CONFIDENTIAL;
        if (vm->actuator == MLG_ACTUATOR_NONE && vm->settings.mode != MLG_MODE_AUTO)
                return MLG_REASON_MODE; /* there would be a proposal each 5 s */
        return MLG_REASON_NONE;
}

/* Plans may not name such a guest, like one that is left alone: what the host takes of it comes back when it
 * is touched. */
static MlgReason reclaim_reason(const MlgVm *vm, MlgReason held) {
        if (held != MLG_REASON_NONE)
                return held;
        return vm->reclaim.why == MLG_REASON_NONE ? MLG_REASON_NEW : vm->reclaim.why;
}

MlgActuator mlg_vm_actuator(const MlgVm *vm) {
        bool reclaims = vm->actuator == MLG_ACTUATOR_NONE && alone_reason(vm) == MLG_REASON_NONE;

        return reclaims ? MLG_ACTUATOR_CGROUP : vm->actuator;
}

bool mlg_vm_may_reclaim(const MlgVm *vm) {
        return mlg_vm_actuator(vm) == MLG_ACTUATOR_CGROUP && vm->state == MLG_VM_ALONE &&
               vm->why == reclaim_reason(vm, MLG_REASON_NONE);
}

/* Not read any more, for whatever reason: what is known of it ages like a report. */
static bool is_lost(const MlgVm *vm, uint64_t now_usec) {
        return vm->polled && mlg_sub_sat(now_usec, vm->read_usec) >= LOST_USEC;
}

static MlgReason held_reason(const MlgVm *vm, bool paused, uint64_t now_usec) {
        if (vm->run_state != MLG_RUN_RUNNING)
                return MLG_REASON_NOT_RUNNING;
        if (vm->migrating)
                return MLG_REASON_MIGRATING;
        if (vm->unresponsive || is_lost(vm, now_usec))
                return MLG_REASON_UNRESPONSIVE;
        if (paused || vm->paused)
                return MLG_REASON_PAUSED;
        if (now_usec < vm->refused_until_usec)
                return MLG_REASON_REFUSED;
        if (now_usec < vm->foreign_until_usec)
                return MLG_REASON_FOREIGN;
        if (now_usec < vm->stuck_until_usec)
                return MLG_REASON_STUCK;
        return MLG_REASON_NONE;
}

bool mlg_vm_is_settling(const MlgVm *vm, uint64_t now_usec) {
        return vm->started_usec > 0 && now_usec - vm->started_usec < vm->settings.settle_usec;
}

bool mlg_vm_is_outdated(const MlgVm *vm, const MlgHostSettings *host, uint64_t now_usec) {
        const MlgSample *s = &vm->sampler.last;
        uint64_t since_usec = mlg_sub_sat(now_usec, s->at_usec);

        return since_usec > host->poll_usec && /* this turn's report is judged by the sampler */
               mlg_add_sat(s->age_usec, since_usec) > mlg_sampler_stale_usec(vm->stats_period_sec) + MLG_USEC_PER_SEC;
}

bool mlg_vm_took_unasked(const MlgVm *vm) {
        return vm->polled && vm->actual_kib > vm->allowed_kib + reached_kib(vm);
}

void mlg_vm_let_go(MlgVm *vm, uint64_t now_usec) {
        vm->give_up = false;
        vm->target_kib = vm->actual_kib;
        start_motion(vm, now_usec);
}

void mlg_vm_classify(MlgVm *vm, bool paused, uint64_t now_usec) {
        MlgReason alone = alone_reason(vm), held = held_reason(vm, paused, now_usec);

        if (alone != MLG_REASON_NONE) {
                vm->state = MLG_VM_ALONE;
                vm->why = alone;
        } else if (vm->actuator == MLG_ACTUATOR_NONE) {
                vm->state = MLG_VM_ALONE;
                vm->why = reclaim_reason(vm, held);
        } else if (held != MLG_REASON_NONE) {
                vm->state = MLG_VM_HELD;
                vm->why = held;
        } else if (vm->sampler.last.trust != MLG_TRUST_FRESH &&
                   (vm->silent || now_usec - vm->first_polled_usec >= FIRST_REPORT_USEC)) {
                vm->state = MLG_VM_HELD;
                vm->why = trust_reason(vm->sampler.last.trust);
        } else if (vm->reports < MLG_VM_REPORTS_NEEDED || !vm->has_forecast) {
                vm->state = MLG_VM_NEW;
                vm->why = MLG_REASON_NEW;
        } else {
                vm->state = MLG_VM_MANAGED;
                vm->why = MLG_REASON_NONE;
        }
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
                start_motion(vm, now_usec);
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
                start_motion(vm, now_usec);
        } else if (r != -ENODEV && r != -EAGAIN && r != -EBUSY)
                vm->refused_until_usec = now_usec + REFUSED_USEC;
}

const MlgDecision *mlg_vm_decision(const MlgVm *vm, unsigned int back) {
        if (back >= vm->decisions_n)
                return NULL;
        return &vm->decisions[(vm->decisions_next + MLG_DECISIONS_MAX - 1 - back) % MLG_DECISIONS_MAX];
}

void mlg_vm_record(MlgVm *vm, const MlgDecision *d) {
        MlgDecision *newest = (MlgDecision *) mlg_vm_decision(vm, 0);
        bool same = newest && newest->state == d->state && newest->why == d->why && newest->wanted_why == d->wanted_why &&
                newest->from_kib == d->from_kib && newest->to_kib == d->to_kib &&
                (d->to_kib == d->from_kib || d->result == 2); /* a move that is only said, in a dry run, is one, too */

        if (same) {
                uint64_t first = newest->first_at_usec;
                uint32_t repeated = newest->repeated;

                *newest = *d;
                newest->first_at_usec = first;
                newest->repeated = repeated < UINT32_MAX ? repeated + 1 : repeated;
                return;
        }
        vm->decisions[vm->decisions_next] = *d;
        vm->decisions_next = (vm->decisions_next + 1) % MLG_DECISIONS_MAX;
        if (vm->decisions_n < MLG_DECISIONS_MAX)
                vm->decisions_n++;
}
