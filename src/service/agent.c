/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Agent: where Monitor=agent says so, and no memlego-guestd talks, the QEMU guest agent is asked for stalls and counters.
 *
 * It is asked slowly: each question makes the agent open, read and close two files, which it notes in its guest's log, and
 * an agent does one thing at a time, for backups too. One that does not answer is asked ever less often.
 *
 * Invariant: at most one question is under way to a guest. */
#include <errno.h>

#include "service/daemon-private.h"
#include "service/log.h"
#include "util/util.h"

/* So that three answers come before what they told is stale (core/sample-monitor.c). */
#define ASK_USEC (4 * MLG_USEC_PER_SEC)
#define ASK_MOST_USEC (300 * MLG_USEC_PER_SEC)
#define FAILURES_MOST 16
/* The first one may be of an agent that is busy with something else, or just started. */
#define FAILURES_TOLD 2
/* All six commands; a busy guest takes a while for each. */
#define ANSWER_USEC (10 * MLG_USEC_PER_SEC)

typedef struct Question {
        MlgDaemon *daemon;
        char uuid[MLG_UUID_LEN + 1];
        uint32_t instance;
} Question;

static void set_link(MlgDaemon *d, MlgVm *vm, MlgMonitorLink link) {
        if (vm->monitor_link == link)
                return;
        vm->monitor_link = link;
        if (d->bus)
                mlg_bus_guest_changed(d->bus, vm->uuid);
}

static void stands_in_no_more(MlgDaemon *d, MlgVm *vm) {
        if (vm->monitor_link == MLG_MONITOR_LINK_AGENT)
                set_link(d, vm, vm->monitor_path[0] ? MLG_MONITOR_LINK_WAITING : MLG_MONITOR_LINK_NONE);
}

static void failed(MlgDaemon *d, MlgVm *vm, const char *why) {
        vm->agent_failures = mlg_min(vm->agent_failures + 1, FAILURES_MOST);
        if (vm->agent_failures < FAILURES_TOLD)
                return;
        stands_in_no_more(d, vm);
        if (mlg_log_limited(vm->uuid, MLG_CAUSE_AGENT, mlg_loop_now_usec(d->loop)))
                mlg_log_guest(MLG_LOG_WARNING, NULL, vm->uuid, vm->name,
                              "Guest %s: its QEMU guest agent does not say how memory is: %s", vm->name, why);
}

static void on_answer(int r, const MlgRawMonitor *raw, const char *why, void *userdata) {
        g_autofree Question *q = userdata;
        MlgDaemon *d = q->daemon;
        MlgVm *vm = mlg_engine_find(d->engine, q->uuid);
        uint64_t now = mlg_loop_now_usec(d->loop);

        g_hash_table_steal(d->requests, q);
        if (!vm)
                return;
        vm->asking_agent = false;
        if (r == -EAGAIN || q->instance != vm->instance || vm->monitor_link == MLG_MONITOR_LINK_TALKS)
                return; /* that says nothing about this one, or it is not needed any more */
        if (r < 0) {
                failed(d, vm, why ? why : g_strerror(-r));
                return;
        }
        vm->agent_failures = 0;
        set_link(d, vm, MLG_MONITOR_LINK_AGENT);
        if (mlg_engine_observe_monitor(d->engine, vm, raw, now, mlg_real_usec() / MLG_USEC_PER_SEC))
                mlg_daemon_turn_soon(d, now);
}

static bool is_wanted(const MlgDaemon *d, const MlgVm *vm) {
        return vm->settings.monitor == MLG_MONITOR_MODE_AGENT && vm->settings.mode != MLG_MODE_OFF &&
               d->hypervisor->ops->ask_agent && vm->agent && vm->run_state == MLG_RUN_RUNNING && !vm->migrating &&
               vm->monitor_link != MLG_MONITOR_LINK_TALKS;
}

static bool is_due(const MlgVm *vm, uint64_t now) {
        uint64_t wait = mlg_min(ASK_USEC << vm->agent_failures, ASK_MOST_USEC);

        return vm->agent_asked_usec == 0 || now - vm->agent_asked_usec >= wait;
}

void mlg_daemon_want_agent(MlgDaemon *d, MlgVm *vm) {
        uint64_t now = mlg_loop_now_usec(d->loop);
        Question *q;

        if (!is_wanted(d, vm))
                stands_in_no_more(d, vm);
        if (!is_wanted(d, vm) || vm->asking_agent || !is_due(vm, now))
                return;
        q = g_new(Question, 1);
        *q = (Question) { .daemon = d, .instance = vm->instance };
        g_strlcpy(q->uuid, vm->uuid, sizeof(q->uuid));
        g_hash_table_add(d->requests, q);
        vm->asking_agent = true;
        vm->agent_asked_usec = now;
        if (d->hypervisor->ops->ask_agent(d->hypervisor, q->uuid, now + ANSWER_USEC, on_answer, q) < 0)
                on_answer(-EAGAIN, NULL, NULL, q);
}
