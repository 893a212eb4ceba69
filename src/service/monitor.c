/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Monitor: the programs inside the guests, between their channels and the engine.
 *
 * What they say is taken over as it comes. When one says that its guest suffers, a turn is made at once and not with the
 * next poll; but only one in TURN_LEAST_USEC, whatever all of them say together.
 *
 * A channel that is added to a running guest (Monitor=attach) stays: it is not ours to take away, and it is gone when the
 * guest is off. */
#include <errno.h>
#include <inttypes.h>

#include "memlego/names.h"
#include "memlego/swap.h"
#include "service/daemon-private.h"
#include "service/log.h"
#include "util/util.h"

/* Alarms of several guests come together: one decision serves them all. */
#define TURN_SOON_USEC (2 * 1000)
#define TURN_LEAST_USEC (50 * 1000)

/* A guest that cannot have a channel now may be able to later; it is work for QEMU, and a line in its log. */
#define ATTACH_AGAIN_USEC (300 * MLG_USEC_PER_SEC)

typedef struct AttachRequest {
        MlgDaemon *daemon;
        char uuid[MLG_UUID_LEN + 1];
} AttachRequest;

static void on_attached(int r, const char *why, void *userdata) {
        g_autofree AttachRequest *q = userdata;
        MlgDaemon *d = q->daemon;
        MlgVm *vm = mlg_engine_find(d->engine, q->uuid);

        g_hash_table_steal(d->requests, q);
        if (!vm)
                return;
        vm->asking_monitor = false;
        if (r == 0)
                mlg_log_guest(MLG_LOG_INFO, NULL, vm->uuid, vm->name, "Guest %s: got a channel for memlego-guestd", vm->name);
        else if (r != -EAGAIN && mlg_log_limited(vm->uuid, MLG_CAUSE_ATTACH, mlg_loop_now_usec(d->loop)))
                mlg_log_guest(MLG_LOG_WARNING, NULL, vm->uuid, vm->name,
                              "Guest %s: a channel for memlego-guestd could not be added: %s", vm->name,
                              why ? why : g_strerror(-r));
}

static void attach(MlgDaemon *d, MlgVm *vm, uint64_t now) {
        AttachRequest *q;
        int r;

        if (d->dry_run || !d->hypervisor->ops->attach_monitor || vm->asking_monitor || !vm->virtio_serial ||
            vm->run_state != MLG_RUN_RUNNING || vm->migrating ||
            (vm->monitor_asked_usec > 0 && now - vm->monitor_asked_usec < ATTACH_AGAIN_USEC))
                return;
        q = g_new(AttachRequest, 1);
        *q = (AttachRequest) { .daemon = d };
        g_strlcpy(q->uuid, vm->uuid, sizeof(q->uuid));
        g_hash_table_add(d->requests, q);
        vm->asking_monitor = true;
        vm->monitor_asked_usec = now;
        r = d->hypervisor->ops->attach_monitor(d->hypervisor, q->uuid, now + mlg_config_daemon(d->config)->call_timeout_usec,
                                               on_attached, q);
        if (r < 0)
                on_attached(r, NULL, q);
}

void mlg_daemon_want_monitor(MlgDaemon *d, MlgVm *vm) {
        uint64_t now = mlg_loop_now_usec(d->loop);
        bool off = vm->settings.mode == MLG_MODE_OFF || vm->settings.monitor == MLG_MONITOR_MODE_OFF || vm->instance == 0;
        const char *path = off ? "" : vm->monitor_path;

        mlg_monitors_put(d->monitors, vm->uuid, vm->instance, path);
        if (path[0])
                mlg_monitors_want_interval(d->monitors, vm->uuid, mlg_vm_monitor_interval_usec(vm, now), now);
        else if (vm->monitor_link != MLG_MONITOR_LINK_AGENT) /* that one is agent.c's */
                vm->monitor_link = MLG_MONITOR_LINK_NONE;
        if (!off && !path[0] && vm->settings.monitor == MLG_MONITOR_MODE_ATTACH)
                attach(d, vm, now);
}

/* Memory that came may be for what had to be swapped out for want of it. */
static void order_swap_in(MlgDaemon *d, MlgVm *vm, const MlgRawMonitor *raw, uint64_t now) {
        bool arrived = vm->target_kib == 0 || vm->actual_kib >= vm->target_kib;
        MlgSwapInState before = vm->swap_in.state;
        uint64_t kib;

        mlg_swap_in_take(&vm->swap_in, raw, vm->swap_in_number);
        if (vm->swap_in.state != before && vm->swap_in.state > MLG_SWAP_IN_RUNNING)
                mlg_log(MLG_LOG_DEBUG, "Guest %s: swapped in %" PRIu64 " MiB: %s", vm->name,
                        vm->swap_in.done_kib / MLG_KIB_PER_MIB, mlg_swap_in_state_to_string(vm->swap_in.state));
        kib = mlg_swap_in_offer(&vm->swap_in, raw, vm->actual_kib, arrived, now);
        if (kib == 0)
                return;
        vm->swap_in_number = mlg_monitors_swap_in(d->monitors, vm->uuid, kib, now);
        mlg_log(MLG_LOG_DEBUG, "Guest %s: it got memory, and is told to swap in up to %" PRIu64 " MiB", vm->name,
                kib / MLG_KIB_PER_MIB);
}

static void on_report(const char *uuid, const MlgRawMonitor *raw, void *userdata) {
        MlgDaemon *d = userdata;
        uint64_t now = mlg_loop_now_usec(d->loop);
        MlgVm *vm = mlg_engine_find(d->engine, uuid);

        if (!vm || !d->connected || d->stopping)
                return;
        if (mlg_engine_observe_monitor(d->engine, vm, raw, now, mlg_real_usec() / MLG_USEC_PER_SEC)) {
                if (raw->alarm)
                        mlg_log(MLG_LOG_DEBUG, "Guest %s: tasks wait for memory", vm->name);
                mlg_daemon_turn_soon(d, mlg_max(now + TURN_SOON_USEC, d->turned_usec + TURN_LEAST_USEC));
        }
        mlg_daemon_take_stack(d, vm, raw);
        if (!d->dry_run && vm->settings.mode < MLG_MODE_OBSERVE)
                order_swap_in(d, vm, raw, now);
        mlg_monitors_want_interval(d->monitors, uuid, mlg_vm_monitor_interval_usec(vm, now), now);
}

static void on_link(const char *uuid, MlgMonitorLink link, const char *why, void *userdata) {
        MlgDaemon *d = userdata;
        MlgVm *vm = mlg_engine_find(d->engine, uuid);

        if (!vm)
                return;
        if (link != vm->monitor_link && (link == MLG_MONITOR_LINK_TALKS || vm->monitor_link == MLG_MONITOR_LINK_TALKS))
                mlg_log(MLG_LOG_DEBUG, "Guest %s: memlego-guestd %s", vm->name,
                        link == MLG_MONITOR_LINK_TALKS ? "talks" : "is silent");
        if (why && mlg_log_limited(uuid, MLG_CAUSE_MONITOR, mlg_loop_now_usec(d->loop)))
                mlg_log_guest(MLG_LOG_WARNING, NULL, vm->uuid, vm->name, "Guest %s: the monitor's channel: %s", vm->name, why);
        vm->monitor_link = link;
        if (d->bus)
                mlg_bus_guest_changed(d->bus, uuid);
}

static const MlgMonitorCallbacks callbacks = { .on_report = on_report, .on_link = on_link };

int mlg_daemon_start_monitors(MlgDaemon *d) {
        int r = mlg_monitors_new(&callbacks, d, &d->monitors);

        if (r >= 0)
                r = mlg_loop_watch(d->loop, mlg_monitors_pollable(d->monitors), &d->monitors_watch);
        if (r < 0)
                mlg_log(MLG_LOG_ERROR, "Cannot set up the guests' channels: %s", g_strerror(-r));
        return r;
}
