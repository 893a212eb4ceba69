/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reason: each reason's stable name and its sentence for people. */
#include <assert.h>

#include <glib.h>

#include "memlego/plan.h"

static const struct {
        const char *name, *sentence;
} reasons[] = {
        [MLG_REASON_NONE] = { "none", "nothing was decided yet" },
        [MLG_REASON_DEMAND] = { "demand", "its need plus its cushion" },
        [MLG_REASON_SURPLUS] = { "surplus", "its need plus its cushion, plus its share of what nobody needs" },
        [MLG_REASON_PRESSURE] = { "pressure", "it suffers from lack of memory and gets relief" },
        [MLG_REASON_DONOR] = { "donor", "it gives what it can spare, because others need it more" },
        [MLG_REASON_SHORTAGE] = { "shortage", "the needs of all guests together exceed the memory there is" },
        [MLG_REASON_FLOOR] = { "floor", "its floor holds it" },
        [MLG_REASON_CEILING] = { "ceiling", "its ceiling holds it" },
        [MLG_REASON_MANUAL] = { "manual", "an operator set it, for the time that was asked" },
        [MLG_REASON_HOST_PRESSURE] = { "host-pressure", "the host itself is short of memory" },
        [MLG_REASON_SETTLED] = { "settled", "it is where it should be; smaller differences are not acted upon" },
        [MLG_REASON_RATE] = { "rate", "shortened to what its rate limit allows" },
        [MLG_REASON_COOL_DOWN] = { "cool-down", "it suffered a short while ago and is not shrunk yet" },
        [MLG_REASON_WAIT_ROOM] = { "wait-room", "it grows as soon as other guests have given the memory" },
        [MLG_REASON_IN_FLIGHT] = { "in-flight", "the last request is not answered yet" },
        [MLG_REASON_APPROVAL] = { "approval", "it would be moved, and waits for approval" },
        [MLG_REASON_REJECTED] = { "rejected", "it would be moved, but that was rejected a while ago" },
        [MLG_REASON_NEW] = { "new", "it is only watched until enough is known about it" },
        [MLG_REASON_NO_STATS] = { "no-stats", "its balloon driver reports no statistics" },
        [MLG_REASON_STALE] = { "stale", "its statistics stopped coming" },
        [MLG_REASON_IMPOSSIBLE] = { "impossible", "its statistics contradict themselves" },
        [MLG_REASON_NO_BALLOON] = { "no-balloon", "it has neither a balloon nor virtio-mem devices" },
        [MLG_REASON_STUCK] = { "stuck", "its memory does not follow its target" },
        [MLG_REASON_UNRESPONSIVE] = { "unresponsive", "its QEMU process does not answer" },
        [MLG_REASON_NOT_RUNNING] = { "not-running", "it does not run" },
        [MLG_REASON_MIGRATING] = { "migrating", "it is being migrated" },
        [MLG_REASON_PINNED] = { "pinned", "its memory is pinned (host device, locked or huge pages)" },
        [MLG_REASON_MODE] = { "mode", "its Mode= says so" },
        [MLG_REASON_PAUSED] = { "paused", "balancing is paused by an operator" },
        [MLG_REASON_FOREIGN] = { "foreign", "somebody else set its memory; that is respected for a while" },
        [MLG_REASON_REFUSED] = { "refused", "the hypervisor refused the last request" },
        [MLG_REASON_MEMORY_DEVICE] = { "memory-device", "it has virtio-mem devices whose sizes make no sense" },
        [MLG_REASON_CONFIDENTIAL] = { "confidential", "its memory is encrypted: what its balloon takes does not become free" },
        [MLG_REASON_RECLAIM] = { "reclaim", "it has no device to be moved by; the host takes what it does not miss" },
        [MLG_REASON_NO_SWAP] = { "no-swap", "the host has no room in swap for what could be taken of it" },
        [MLG_REASON_NO_CGROUP] = { "no-cgroup", "its QEMU has no memory cgroup of its own that could be reclaimed" },
        [MLG_REASON_NO_PERMISSION] = { "no-permission", "memlegod may not write to its cgroup's memory.reclaim" },
        [MLG_REASON_DRY_RUN] = { "dry-run", "it would be moved, but this is a dry run" },
};
static_assert(G_N_ELEMENTS(reasons) == _MLG_REASON_MAX, "reasons[] misses a value");

const char *mlg_reason_to_string(MlgReason r) {
        return (size_t) r < G_N_ELEMENTS(reasons) ? reasons[r].name : "invalid";
}

const char *mlg_reason_to_sentence(MlgReason r) {
        return (size_t) r < G_N_ELEMENTS(reasons) ? reasons[r].sentence : "an invalid reason";
}
