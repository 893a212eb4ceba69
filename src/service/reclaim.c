/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reclaim: where Reclaim= says so, and a guest has no device to be moved by, its cgroup is read each few
 * seconds, and the host is asked to take as much of it as the core allows (core/reclaim.h).
 *
 * Invariants: one question is under way to a guest; what is taken was decided on a reading of just now.
 * Whatever becomes of us, nothing has to be undone. */
#include <errno.h>

#include "service/daemon-private.h"
#include "service/log.h"
#include "util/util.h"

/* What cannot be used now will seldom be so soon, and looking costs a dozen files. */
#define AGAIN_USEC (60 * MLG_USEC_PER_SEC)
/* The largest step, to a slow disk, and others' before it. */
#define ANSWER_USEC (20 * MLG_USEC_PER_SEC)

typedef struct Question {
        MlgDaemon *daemon;
        char uuid[MLG_UUID_LEN + 1];
        uint32_t instance;
        uint64_t kib; /* to be taken; 0: only to be read */
} Question;

static void ask(MlgDaemon *d, MlgVm *vm, uint64_t kib);

/* A reason that stays is told once, and is in the status for as long as it does. */
static void tell(MlgDaemon *d, const MlgVm *vm, MlgReason before, int r, const char *why) {
        if (vm->reclaim.why != before &&
            mlg_log_limited(vm->uuid, MLG_CAUSE_RECLAIM, mlg_loop_now_usec(d->loop)))
                mlg_log_guest(MLG_LOG_WARNING, NULL, vm->uuid, vm->name,
                              "Guest %s: the host takes nothing of it: %s", vm->name,
                              why ? why : g_strerror(-r));
}

static void on_answer(int r, const MlgRawCgroup *raw, const char *why, void *userdata) {
        g_autofree Question *q = userdata;
        MlgDaemon *d = q->daemon;
        MlgVm *vm = mlg_engine_find(d->engine, q->uuid);
        uint64_t now = mlg_loop_now_usec(d->loop), step = 0;
        MlgReason before;

        g_hash_table_steal(d->requests, q);
        if (!vm)
                return;
        vm->reclaiming = false;
        if (q->instance != vm->instance)
                return;
        before = vm->reclaim.why;
        if (q->kib > 0)
                mlg_reclaim_asked(&vm->reclaim, r, q->kib, now);
        else if (r < 0)
                mlg_reclaim_missed(&vm->reclaim, r);
        else
                step = mlg_engine_observe_cgroup(d->engine, vm, raw, now);
        vm->reclaim_due_usec = now +
                               (mlg_reclaim_is_usable(&vm->reclaim) ? MLG_RECLAIM_READ_USEC : AGAIN_USEC);
        if (r < 0)
                tell(d, vm, before, r, why);
        if (step > 0 && !d->stopping)
                ask(d, vm, step);
}

static void ask(MlgDaemon *d, MlgVm *vm, uint64_t kib) {
        Question *q = g_new(Question, 1);
        int r;

        *q = (Question){ .daemon = d, .instance = vm->instance, .kib = kib };
        g_strlcpy(q->uuid, vm->uuid, sizeof(q->uuid));
        g_hash_table_add(d->requests, q);
        vm->reclaiming = true;
        r = d->hypervisor->ops->reclaim(d->hypervisor, q->uuid, kib,
                                        mlg_loop_now_usec(d->loop) + ANSWER_USEC, on_answer, q);
        if (r < 0)
                on_answer(r, NULL, r == -EOPNOTSUPP ? "that is for the guests of qemu:///system only" : NULL,
                          q);
}

void mlg_daemon_want_reclaim(MlgDaemon *d, MlgVm *vm) {
        if (mlg_vm_actuator(vm) != MLG_ACTUATOR_CGROUP || vm->run_state != MLG_RUN_RUNNING ||
            vm->reclaiming || mlg_loop_now_usec(d->loop) < vm->reclaim_due_usec)
                return;
        if (d->hypervisor->ops->reclaim)
                ask(d, vm, 0);
        else
                vm->reclaim.why = MLG_REASON_NO_CGROUP;
}
