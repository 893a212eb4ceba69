/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names: stable words for the enums that users see. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include <glib.h>

#include "memlego/status.h"
#include "memlego/pipe.h"
#include "memlego/swap.h"
#include "util/util.h"

static const char *const run_state_names[] = {
        [MLG_RUN_UNKNOWN] = "unknown",
        [MLG_RUN_RUNNING] = "running",
        [MLG_RUN_PAUSED] = "paused",
        [MLG_RUN_SHUTTING_DOWN] = "shutting-down",
        [MLG_RUN_OFF] = "off",
        [MLG_RUN_CRASHED] = "crashed",
};
static_assert(G_N_ELEMENTS(run_state_names) == _MLG_RUN_STATE_MAX, "run_state_names[] misses a value");

static const char *const actuator_names[] = {
        [MLG_ACTUATOR_NONE] = "none",
        [MLG_ACTUATOR_BALLOON] = "balloon",
        [MLG_ACTUATOR_VIRTIO_MEM] = "virtio-mem",
        [MLG_ACTUATOR_CGROUP] = "cgroup",
};
static_assert(G_N_ELEMENTS(actuator_names) == _MLG_ACTUATOR_MAX, "actuator_names[] misses a value");

static const char *const source_names[] = {
        [MLG_SOURCE_NONE] = "none",
        [MLG_SOURCE_BALLOON] = "balloon",
        [MLG_SOURCE_MONITOR] = "monitor",
};
static_assert(G_N_ELEMENTS(source_names) == _MLG_SOURCE_MAX, "source_names[] misses a value");

static const char *const trust_names[] = {
        [MLG_TRUST_NONE] = "none",
        [MLG_TRUST_FRESH] = "fresh",
        [MLG_TRUST_STALE] = "stale",
        [MLG_TRUST_IMPOSSIBLE] = "impossible",
};
static_assert(G_N_ELEMENTS(trust_names) == _MLG_TRUST_MAX, "trust_names[] misses a value");

static const char *const pressure_names[] = {
        [MLG_PRESSURE_NONE] = "none",
        [MLG_PRESSURE_WARNING] = "warning",
        [MLG_PRESSURE_CRITICAL] = "critical",
};
static_assert(G_N_ELEMENTS(pressure_names) == _MLG_PRESSURE_MAX, "pressure_names[] misses a value");

static const char *const vm_state_names[] = {
        [MLG_VM_NEW] = "new",
        [MLG_VM_MANAGED] = "managed",
        [MLG_VM_HELD] = "held",
        [MLG_VM_ALONE] = "alone",
};
static_assert(G_N_ELEMENTS(vm_state_names) == _MLG_VM_STATE_MAX, "vm_state_names[] misses a value");

static const char *const alarm_names[] = {
        [MLG_ALARM_NONE] = "none",
        [MLG_ALARM_SHORT] = "short",
        [MLG_ALARM_EXHAUSTED] = "exhausted",
};
static_assert(G_N_ELEMENTS(alarm_names) == _MLG_ALARM_MAX, "alarm_names[] misses a value");

static const char *const monitor_link_names[] = {
        [MLG_MONITOR_LINK_NONE] = "none",
        [MLG_MONITOR_LINK_WAITING] = "waiting",
        [MLG_MONITOR_LINK_TALKS] = "talks",
        [MLG_MONITOR_LINK_REFUSED] = "refused",
        [MLG_MONITOR_LINK_AGENT] = "agent",
};
static_assert(G_N_ELEMENTS(monitor_link_names) == _MLG_MONITOR_LINK_MAX, "monitor_link_names[] misses a value");

static const char *const monitor_mode_names[] = {
        [MLG_MONITOR_MODE_AUTO] = "auto",
        [MLG_MONITOR_MODE_ATTACH] = "attach",
        [MLG_MONITOR_MODE_AGENT] = "agent",
        [MLG_MONITOR_MODE_OFF] = "off",
};
static_assert(G_N_ELEMENTS(monitor_mode_names) == _MLG_MONITOR_MODE_MAX, "monitor_mode_names[] misses a value");

static const char *const reclaim_mode_names[] = {
        [MLG_RECLAIM_MODE_OFF] = "off",
        [MLG_RECLAIM_MODE_CGROUP] = "cgroup",
};
static_assert(G_N_ELEMENTS(reclaim_mode_names) == _MLG_RECLAIM_MODE_MAX, "reclaim_mode_names[] misses a value");
static const char *const pipe_state_names[] = {
        [MLG_PIPE_STATE_SILENT] = "silent",
        [MLG_PIPE_STATE_TALKS] = "talks",
        [MLG_PIPE_STATE_LEAVING] = "leaving",
        [MLG_PIPE_STATE_BROKEN] = "broken",
};
static_assert(G_N_ELEMENTS(pipe_state_names) == _MLG_PIPE_STATE_MAX, "pipe_state_names[] misses a value");

static const char *const pipe_reason_names[] = { MLG_PIPE_REASON_NAMES };
static_assert(G_N_ELEMENTS(pipe_reason_names) == MLG_PIPE_REASONS, "MLG_PIPE_REASON_NAMES misses a value");

static const char *const swap_state_names[] = {
        [MLG_SWAP_STATE_WAITING] = "waiting",
        [MLG_SWAP_STATE_SILENT] = "silent",
        [MLG_SWAP_STATE_TALKS] = "talks",
        [MLG_SWAP_STATE_LATE] = "late",
};
static_assert(G_N_ELEMENTS(swap_state_names) == _MLG_SWAP_STATE_MAX, "swap_state_names[] misses a value");

static const char *const swap_in_state_names[] = {
        [MLG_SWAP_IN_NONE] = "none",
        [MLG_SWAP_IN_RUNNING] = "running",
        [MLG_SWAP_IN_DONE] = "done",
        [MLG_SWAP_IN_LIMIT] = "limit",
        [MLG_SWAP_IN_WATERMARK] = "watermark",
        [MLG_SWAP_IN_PRESSURE] = "pressure",
        [MLG_SWAP_IN_ABORTED] = "aborted",
        [MLG_SWAP_IN_FAILED] = "failed",
};
static_assert(G_N_ELEMENTS(swap_in_state_names) == _MLG_SWAP_IN_STATE_MAX, "swap_in_state_names[] misses a value");

static const char *const stack_violation_names[] = {
        [MLG_STACK_FOREIGN] = "foreign",
        [MLG_STACK_PLACE] = "place",
        [MLG_STACK_NOTHING] = "nothing",
        [MLG_STACK_TRACED] = "traced",
        [MLG_STACK_LOST] = "lost",
        [MLG_STACK_NO_CHILD] = "no-child",
};
static_assert(G_N_ELEMENTS(stack_violation_names) == _MLG_STACK_VIOLATION_MAX, "stack_violation_names[] misses a value");

static const char *const pipe_pair_state_names[] = {
        [MLG_PIPE_PAIR_COMING] = "coming",
        [MLG_PIPE_PAIR_SERVING] = "serving",
        [MLG_PIPE_PAIR_GOING] = "going",
};
static_assert(G_N_ELEMENTS(pipe_pair_state_names) == _MLG_PIPE_PAIR_STATE_MAX, "pipe_pair_state_names[] misses a value");

static const char *const mode_names[] = {
        [MLG_MODE_AUTO] = "auto",
        [MLG_MODE_ADVISE] = "advise",
        [MLG_MODE_OBSERVE] = "observe",
        [MLG_MODE_OFF] = "off",
};
static_assert(G_N_ELEMENTS(mode_names) == _MLG_MODE_MAX, "mode_names[] misses a value");

#define NAME_OF(table, value) ((size_t) (value) < G_N_ELEMENTS(table) ? (table)[value] : "invalid")

const char *mlg_run_state_to_string(MlgRunState s) {
        return NAME_OF(run_state_names, s);
}

const char *mlg_actuator_to_string(MlgActuator a) {
        return NAME_OF(actuator_names, a);
}

const char *mlg_source_to_string(MlgSource s) {
        return NAME_OF(source_names, s);
}

const char *mlg_alarm_to_string(MlgAlarm a) {
        return NAME_OF(alarm_names, a);
}

const char *mlg_monitor_link_to_string(MlgMonitorLink l) {
        return NAME_OF(monitor_link_names, l);
}

const char *mlg_pipe_state_to_string(MlgPipeState s) {
        return NAME_OF(pipe_state_names, s);
}

const char *mlg_pipe_reason_to_string(enum mlg_pipe_reason r) {
        return NAME_OF(pipe_reason_names, r);
}

const char *mlg_swap_in_state_to_string(MlgSwapInState s) {
        return NAME_OF(swap_in_state_names, s);
}

const char *mlg_stack_violation_to_string(MlgStackViolation v) {
        return NAME_OF(stack_violation_names, v);
}

const char *mlg_swap_state_to_string(MlgSwapState s) {
        return NAME_OF(swap_state_names, s);
}

uint32_t mlg_swap_hits_permille(const MlgSwapStatus *s) {
        return (uint32_t) mlg_mul_div(s->pool_reads, 1000, mlg_add_sat(s->pool_reads, s->disk_reads));
}

uint32_t mlg_pipe_utilisation_permille(const MlgPipeStatus *s) {
        uint64_t used_kib = 0;

        for (uint32_t i = 0; i < s->n_members; i++)
                used_kib += s->members[i].used_kib;
        return s->backed_kib == 0 ? 0 : (uint32_t) mlg_min(used_kib * 1000 / s->backed_kib, 1000);
}

const char *mlg_pipe_pair_state_to_string(MlgPipePairState s) {
        return NAME_OF(pipe_pair_state_names, s);
}

const char *mlg_trust_to_string(MlgTrust t) {
        return NAME_OF(trust_names, t);
}

const char *mlg_pressure_to_string(MlgPressure p) {
        return NAME_OF(pressure_names, p);
}

const char *mlg_vm_state_to_string(MlgVmState s) {
        return NAME_OF(vm_state_names, s);
}

const char *mlg_mode_to_string(MlgMode m) {
        return NAME_OF(mode_names, m);
}

/* Its index; -EINVAL: there is none of that name. */
static int find_name(const char *const *table, size_t n, const char *s) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(table[i], s) == 0)
                        return (int) i;
        return -EINVAL;
}

int mlg_mode_from_string(const char *s, MlgMode *ret) {
        int i = find_name(mode_names, G_N_ELEMENTS(mode_names), s);

        if (i < 0)
                return i;
        *ret = (MlgMode) i;
        return 0;
}

const char *mlg_monitor_mode_to_string(MlgMonitorMode m) {
        return NAME_OF(monitor_mode_names, m);
}

int mlg_monitor_mode_from_string(const char *s, MlgMonitorMode *ret) {
        int i = find_name(monitor_mode_names, G_N_ELEMENTS(monitor_mode_names), s);

        if (i < 0)
                return i;
        *ret = (MlgMonitorMode) i;
        return 0;
}

const char *mlg_reclaim_mode_to_string(MlgReclaimMode m) {
        return NAME_OF(reclaim_mode_names, m);
}

int mlg_reclaim_mode_from_string(const char *s, MlgReclaimMode *ret) {
        int i = find_name(reclaim_mode_names, G_N_ELEMENTS(reclaim_mode_names), s);

        if (i < 0)
                return i;
        *ret = (MlgReclaimMode) i;
        return 0;
}
