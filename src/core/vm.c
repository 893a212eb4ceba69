/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vm: its facts and settings, what the hypervisor tells of it, and its decisions. See vm.h for the states. */
#include <string.h>

#include "core/supervise.h"
#include "core/vm-private.h"
#include "util/util.h"

/* How often the program inside a guest reports: like a balloon driver, and five times as often when things may change
 * soon. */
#define MONITOR_USEC MLG_USEC_PER_SEC
#define MONITOR_NEAR_USEC (200 * 1000)

/* libvirt leaves out a guest that somebody else is asking something just now; that lasts milliseconds. */
#define MISS_USEC MLG_USEC_PER_SEC

/* A poll's `actual` is that of the last balloon event, at most 1 s old: until then only looks tell the
 * truth. */
#define LOOK_AFTER_USEC (2 * MLG_USEC_PER_SEC)
/* With less usable than this a second is a long time. */
#define LOOK_CUSHIONS 3

static void take_limits(MlgVm *vm) {
        const MlgGuestSettings *s = &vm->settings;

        uint64_t ceiling = mlg_min(mlg_amount_resolve(s->ceiling, vm->maximum_kib), vm->maximum_kib);
        uint64_t floor = mlg_max(mlg_amount_resolve(s->floor, vm->maximum_kib), vm->base_kib);

        vm->ceiling_kib = mlg_max(mlg_grid_down(ceiling, vm->base_kib, vm->granule_kib), vm->base_kib);
        vm->floor_kib = mlg_min(mlg_grid_up(floor, vm->base_kib, vm->granule_kib), vm->ceiling_kib);
}

/* Forgets everything that belongs to one run of the guest. */
static void forget_run(MlgVm *vm, uint64_t started_usec) {
        mlg_sampler_reset(&vm->sampler);
        mlg_vm_restart_predictor(vm);
        vm->polled = vm->missed = vm->unresponsive = vm->silent = vm->has_forecast = vm->rises = false;
        vm->period_asked_usec = vm->monitor_asked_usec = vm->agent_asked_usec = vm->looked_usec = vm->judge_usec = 0;
        vm->pipe_off = vm->pipe_wanted = false;
        vm->pipe_next_usec = vm->swap_next_usec = vm->swap_dead_usec = 0;
        for (uint32_t i = 0; i < vm->n_pipes; i++)
                vm->pipes[i].leave_usec = vm->pipes[i].dead_usec = 0;
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
        vm->stack = (MlgStack) {};
        vm->reclaim_due_usec = 0;
}

/* What the service knows of a device stays with it. */
static void copy_pipes(MlgVm *vm, const MlgGuestInfo *info) {
        MlgVmPipe all[MLG_PIPE_DEVICES_MAX] = {};
        uint32_t n = 0;

        for (; n < MLG_PIPE_DEVICES_MAX && info->pipe_paths[n][0]; n++) {
                for (uint32_t i = 0; i < vm->n_pipes; i++)
                        if (g_str_equal(vm->pipes[i].path, info->pipe_paths[n]))
                                all[n] = vm->pipes[i];
                g_strlcpy(all[n].path, info->pipe_paths[n], sizeof(all[n].path));
        }
        memcpy(vm->pipes, all, sizeof(all));
        vm->n_pipes = n;
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
        copy_pipes(vm, info);
        g_strlcpy(vm->swap_path, info->swap_path, sizeof(vm->swap_path));
        g_strlcpy(vm->monitor_path, info->monitor_path, sizeof(vm->monitor_path));
        vm->agent = info->agent;
}

MlgVm *mlg_vm_new(const MlgGuestInfo *info, const MlgGuestSettings *settings) {
        MlgVm *vm = g_new0(MlgVm, 1);

        g_strlcpy(vm->uuid, info->uuid, sizeof(vm->uuid));
        vm->configured = vm->settings = *settings;
        copy_info(vm, info);
        take_limits(vm);
        mlg_vm_take_predictor(vm);
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
                mlg_vm_learns_anew(vm); /* what it knows is of the other one */
        vm->settings = *settings;
        take_limits(vm);
        mlg_vm_take_predictor(vm);
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
        mlg_vm_start_motion(vm, now_usec);
}

MlgLookRank mlg_vm_look_rank(const MlgVm *vm, uint64_t now_usec) {
        if (vm->run_state != MLG_RUN_RUNNING || vm->actuator == MLG_ACTUATOR_NONE || !vm->polled ||
            vm->unresponsive || vm->state == MLG_VM_ALONE)
                return MLG_LOOK_NOT;
        if (vm->moved_usec > 0 && (!vm->settled || now_usec - vm->settled_usec < LOOK_AFTER_USEC))
                return MLG_LOOK_MOVES;
        if (vm->adopted && !vm->settled && mlg_abs_diff(vm->actual_kib, vm->target_kib) > mlg_vm_reached_kib(vm))
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

static void take_silence(MlgVm *vm, uint64_t now_usec) {
        bool silent = vm->reports >= MLG_VM_REPORTS_NEEDED && vm->sampler.last.trust != MLG_TRUST_FRESH;

        if ((silent && !vm->silent) || vm->run_state != MLG_RUN_RUNNING)
                vm->silent_usec = now_usec; /* a paused guest cannot report */
        vm->silent = silent;
        if (silent)
                vm->pressure = MLG_PRESSURE_NONE; /* nobody is served first on the strength of an old cry */
}

static void take_miss(MlgVm *vm, uint64_t now_usec) {
        if (!vm->missed)
                vm->missed_usec = now_usec;
        vm->missed = true;
        vm->unresponsive = vm->unresponsive || now_usec - vm->missed_usec >= MISS_USEC;
        vm->progress_usec = now_usec; /* a stopped QEMU is not a stuck balloon */
}

static void take_run_state(MlgVm *vm, const MlgRawStats *raw, uint64_t now_usec) {
        bool has_state = raw->have & MLG_HAVE_RUN_STATE;

        vm->missed = false;
        if (has_state && vm->run_state == MLG_RUN_OFF && raw->run_state != MLG_RUN_OFF)
                forget_run(vm, now_usec); /* it was started; what else is new of it is told later */
        if (has_state)
                vm->run_state = raw->run_state;
        /* Nothing but its state, from the first poll on: the others need not wait for it. */
        vm->unresponsive = !vm->polled && !(raw->have & MLG_HAVE_ACTUAL);
        if (vm->run_state != MLG_RUN_RUNNING)
                vm->progress_usec = now_usec; /* nor is a paused guest */
}

void mlg_vm_observe(MlgVm *vm, const MlgRawStats *raw, const MlgHostSettings *host, uint64_t now_usec,
                    uint64_t now_real_sec) {
        MlgSample s;

        if (!raw) {
                take_miss(vm, now_usec);
                return;
        }
        vm->read_usec = now_usec;
        mlg_vm_tell_way(vm, raw);
        if (vm->actuator == MLG_ACTUATOR_VIRTIO_MEM)
                mlg_vm_take_heading(vm, raw, host, now_usec);
        take_run_state(vm, raw, now_usec);
        mlg_sampler_take(&vm->sampler, raw, vm->stats_period_sec, now_usec, now_real_sec, &s);
        if (raw->have & MLG_HAVE_ACTUAL)
                mlg_vm_take_size(vm, &s, host, now_usec);
        if (s.is_new && s.trust == MLG_TRUST_FRESH)
                mlg_vm_take_report(vm, &s, now_usec);
        else if (vm->rises && s.trust == MLG_TRUST_FRESH)
                mlg_vm_goes_on_rising(vm, now_usec);
        mlg_vm_take_pressure(vm, now_usec);
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
                mlg_vm_take_report(vm, &s, now_usec);
        mlg_vm_take_pressure(vm, now_usec);
        take_silence(vm, now_usec);
        return vm->pressure > before || (vm->pressure != MLG_PRESSURE_NONE && s.alarm_usec != alarm_before);
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
