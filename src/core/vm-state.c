/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vm: its state and the reason for it, derived from the facts. */
#include "core/vm-private.h"
#include "util/util.h"

/* Polls of all sensible intervals are faster than this, and each one reads every running guest. */
#define LOST_USEC (90 * MLG_USEC_PER_SEC)

/* Statistics that were just turned on need their time; after this a guest without any has no driver. */
#define FIRST_REPORT_USEC (5 * MLG_USEC_PER_SEC)

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
