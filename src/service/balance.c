/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Balance: the turn of the daemon. poll -> observe -> decide -> ask the hypervisor -> take its answers ->
 * tell.
 *
 * A poll reads all guests at once, each PollIntervalSec= or somewhat later. Guests whose balloon is on its way, or who are
 * about to suffer, are besides *looked at* one by one, each MovePollIntervalSec=: the poll's sizes are too
 * old to follow a move, and looks cost only for those that move, however many guests there are. What looks
 * bring is decided upon together, shortly after.
 *
 * Invariants: at most one poll is under way, and one look per guest; a target is in the state file before it
 * is asked for; nothing is decided on a poll that failed. */
#include <errno.h>
#include <time.h>

#include "memlego/names.h"
#include "service/daemon-private.h"
#include "service/log.h"
#include "service/notify.h"
#include "util/clock.h"
#include "util/util.h"

/* Looks that are under way at a time, at most: they share the workers with everything else. */
#define LOOKS_MAX 16
/* Of those that only may soon suffer, per round: a look costs some 0.25 ms of our own CPU time, and on a full host nearly all
 * guests are such. 40 per second are 1 % of a CPU. */
#define NEAR_MAX 4
/* After a look the poll's older figures are not wanted. */
#define LOOK_IS_BETTER_USEC (2 * MLG_USEC_PER_SEC)
/* What is taken for somebody who suffers is worth an early look, this part of an interval after it was asked for: each part of
 * it that has come can be passed on. One per interval. */
#define EARLY_PART 4
/* Looks of one round come back one after the other; one decision serves them all. */
#define GATHER_USEC (5 * 1000)

/* At least; a bulk read takes libvirtd 0.3 to 1.5 ms a guest, and more while it is busy with others. Where that is not
 * enough, the time grows up to CallTimeoutSec=. */
#define POLL_DEADLINE_USEC (800 * 1000)

/* Who asked for a move; the guest may be gone when the answer comes. */
typedef struct Request {
        MlgDaemon *daemon;
        char uuid[MLG_UUID_LEN + 1];
        uint64_t from_kib, to_kib;
        MlgReason why;
} Request;

uint64_t mlg_real_usec(void) {
        return mlg_clock_usec(CLOCK_REALTIME);
}

void mlg_daemon_sync_state(MlgDaemon *d) {
        int r = mlg_state_sync(d->state);

        if (r < 0 && mlg_log_limited("", MLG_CAUSE_STATE, mlg_loop_now_usec(d->loop)))
                mlg_log(MLG_LOG_WARNING, "Cannot write the state file: %s. Targets would not be known after a restart.",
                        g_strerror(-r));
}

MlgStateGuest mlg_daemon_record(const MlgDaemon *d, const MlgVm *vm) {
        const MlgStateGuest *old = mlg_state_guest(d->state, vm->uuid);
        MlgStateGuest g = {};

        if (old && old->instance == vm->instance)
                g = *old;
        g_strlcpy(g.uuid, vm->uuid, sizeof(g.uuid));
        g.instance = vm->instance;
        g.paused = vm->paused;
        return g;
}

/* A time of our clock on the wall clock; 0 stays 0. */
static uint64_t on_wall_clock(uint64_t usec, uint64_t now, uint64_t real) {
        return usec == 0 ? 0 : usec > now ? real + (usec - now) : mlg_sub_sat(real, now - usec);
}

void mlg_daemon_keep(MlgDaemon *d, const MlgVm *vm) {
        uint64_t now = mlg_loop_now_usec(d->loop), real = mlg_real_usec();
        MlgStateGuest g = mlg_daemon_record(d, vm);
        bool manual = mlg_vm_is_manual(vm, now);

        /* Whatever QEMU may be following: the accepted one, and what was asked for since. */
        g.target_kib = vm->unsure_kib ? vm->unsure_kib : vm->target_kib;
        g.pending_kib = vm->pending_kib ? vm->pending_kib : vm->unsure_kib ? vm->target_kib : 0;
        g.manual_kib = manual ? vm->manual_kib : 0;
        g.hold_until_real_usec = manual ? on_wall_clock(vm->manual_until_usec, now, real) : 0;
        g.suffered_real_usec = on_wall_clock(vm->suffered_usec, now, real);
        g.started_real_usec = on_wall_clock(vm->started_usec, now, real);
        g.allowed_until_real_usec = on_wall_clock(mlg_engine_allowed_until_usec(d->engine, vm, now), now, real);
        mlg_state_put_guest(d->state, &g);
}

static void on_answer(int r, const char *why, void *userdata) {
        g_autofree Request *q = userdata;
        MlgDaemon *d = q->daemon;
        uint64_t now = mlg_loop_now_usec(d->loop);
        MlgVm *vm = mlg_engine_find(d->engine, q->uuid);

        g_hash_table_steal(d->requests, q);
        if (!vm)
                return;
        mlg_engine_answer(d->engine, vm, r, now);
        mlg_daemon_keep(d, vm);
        if (r == 0) {
                d->moves_accepted++;
                mlg_log_resized(vm->uuid, vm->name, q->from_kib, q->to_kib, q->why, false);
                if (d->bus)
                        mlg_bus_resized(d->bus, vm->uuid, vm->name, q->from_kib, q->to_kib, q->why);
        } else {
                d->moves_failed++;
                /* -EAGAIN: somebody else asks it something just now; the next turn asks again. */
                if (r != -EAGAIN && mlg_log_limited(vm->uuid, MLG_CAUSE_ASK_FAILED, now))
                        mlg_log_guest(MLG_LOG_WARNING, MLG_MSG_RESIZE_FAILED, vm->uuid, vm->name,
                                      "Guest %s: its memory could not be set to %" PRIu64 " KiB: %s", vm->name, q->to_kib,
                                      why ? why : g_strerror(-r));
        }
        if (d->bus) {
                mlg_bus_guest_changed(d->bus, vm->uuid);
                mlg_bus_flush_changes(d->bus);
        }
}

static void ask(MlgDaemon *d, const MlgMove *m, uint64_t now) {
        uint64_t deadline = now + mlg_config_daemon(d->config)->call_timeout_usec;
        Request *q = g_new(Request, 1);
        int r;

        *q = (Request) { .daemon = d, .from_kib = m->from_kib, .to_kib = m->to_kib, .why = m->why };
        g_strlcpy(q->uuid, m->vm->uuid, sizeof(q->uuid));
        g_hash_table_add(d->requests, q);
        r = d->hypervisor->ops->set_target(d->hypervisor, q->uuid, m->to_kib, deadline, on_answer, q);
        if (r < 0)
                on_answer(r, NULL, q); /* not even taken: that is the answer */
}

static void make_moves(MlgDaemon *d, const MlgMove *moves, size_t n, uint64_t now) {
        if (d->dry_run) {
                for (size_t i = 0; i < n; i++)
                        mlg_log_resized(moves[i].vm->uuid, moves[i].vm->name, moves[i].from_kib, moves[i].to_kib,
                                        moves[i].why, true);
                return;
        }
        for (size_t i = 0; i < n; i++)
                mlg_daemon_keep(d, moves[i].vm);
        if (n > 0)
                mlg_daemon_sync_state(d);
        for (size_t i = 0; i < n; i++)
                ask(d, &moves[i], now);
}

static int priority_of(const MlgVm *vm) {
        switch (vm->why) {
        case MLG_REASON_STUCK:
        case MLG_REASON_UNRESPONSIVE:
        case MLG_REASON_STALE:
        case MLG_REASON_IMPOSSIBLE:
                return MLG_LOG_WARNING;
        default:
                return MLG_LOG_INFO;
        }
}

void mlg_daemon_tell_states(MlgDaemon *d) {
        for (size_t i = 0; i < mlg_engine_n_guests(d->engine); i++) {
                MlgVm *vm = mlg_engine_guest_at(d->engine, i);

                if (vm->state == vm->announced_state && vm->why == vm->announced_why)
                        continue;
                vm->announced_state = vm->state;
                vm->announced_why = vm->why;
                mlg_log_state(priority_of(vm), vm->uuid, vm->name, vm->why);
                if (d->bus)
                        mlg_bus_guest_changed(d->bus, vm->uuid);
        }
}

/* Which rules hold is told when it changes; where it changes all the time, once a minute. */
static void tell_rules(MlgDaemon *d, uint64_t now) {
        for (size_t i = 0; i < mlg_engine_n_guests(d->engine); i++) {
                MlgVm *vm = mlg_engine_guest_at(d->engine, i);
                char names[MLG_RULE_NAMES_MAX + 1];

                if (vm->rules.holds == vm->announced_rules || !mlg_log_limited(vm->uuid, MLG_CAUSE_RULES, now))
                        continue;
                vm->announced_rules = vm->rules.holds;
                mlg_engine_rule_names(d->engine, vm, names);
                mlg_log_guest(MLG_LOG_INFO, NULL, vm->uuid, vm->name, "Guest %s: rules that hold: %s", vm->name,
                              *names ? names : "none");
        }
}

static void tell_shortage(MlgDaemon *d, const MlgHostStatus *s, uint64_t now) {
        if (s->shortage_kib > 0 && !d->was_short) {
                if (mlg_log_limited("", MLG_CAUSE_SHORTAGE, now))
                        mlg_log_guest(MLG_LOG_WARNING, MLG_MSG_SHORTAGE, NULL, NULL,
                                      "The guests need %" PRIu64 " MiB more than the %" PRIu64 " MiB there are for them",
                                      s->shortage_kib / MLG_KIB_PER_MIB, s->budget_kib / MLG_KIB_PER_MIB);
                if (d->bus)
                        mlg_bus_shortage(d->bus, s->shortage_kib, s->budget_kib);
        }
        d->was_short = s->shortage_kib > 0;
}

static void keep_reservation(MlgDaemon *d, const MlgReservation *r) {
        uint64_t now = mlg_loop_now_usec(d->loop);
        MlgStateReservation s = {
                .id = r->id, .kib = r->kib, .taken = r->taken,
                .expires_real_usec = on_wall_clock(r->expires_usec, now, mlg_real_usec()),
        };

        g_strlcpy(s.owner, r->owner, sizeof(s.owner));
        mlg_state_put_reservation(d->state, &s);
        mlg_daemon_sync_state(d);
}

static void on_reservation(const MlgReservation *r, MlgReservationFate fate, void *userdata) {
        MlgDaemon *d = userdata;
        g_autoptr(GError) error = NULL;

        switch (fate) {
        case MLG_RESERVATION_PROGRESS:
                if (d->bus)
                        mlg_bus_reservation_progress(d->bus, r->id, r->owner, r->room_kib, r->kib);
                return;
        case MLG_RESERVATION_READY:
                keep_reservation(d, r); /* before its id is known to anybody */
                if (d->bus) {
                        mlg_bus_reservation_progress(d->bus, r->id, r->owner, r->kib, r->kib);
                        mlg_bus_reservation_settled(d->bus, r->id, NULL);
                }
                return;
        case MLG_RESERVATION_TAKEN:
                keep_reservation(d, r);
                return;
        case MLG_RESERVATION_NO_ROOM:
                g_set_error(&error, MLG_ERROR, MLG_ERROR_NO_ROOM,
                            "The guests did not give %" PRIu64 " MiB in time", r->kib / MLG_KIB_PER_MIB);
                if (d->bus)
                        mlg_bus_reservation_settled(d->bus, r->id, error);
                break;
        case MLG_RESERVATION_EXPIRED:
                if (d->bus)
                        mlg_bus_reservation_released(d->bus, r->id, "expired");
                break;
        }
        mlg_state_drop_reservation(d->state, r->id);
}

static void tell_time(MlgDaemon *d) {
        time_t real = (time_t) (mlg_real_usec() / MLG_USEC_PER_SEC);
        struct tm local;

        if (localtime_r(&real, &local))
                mlg_engine_tell_time(d->engine, (uint64_t) real, (int32_t) local.tm_gmtoff);
}

static void look_by(MlgDaemon *d, uint64_t at_usec) {
        if (d->look_armed && d->look_due_usec <= at_usec)
                return;
        d->look_armed = true;
        d->look_due_usec = at_usec;
        mlg_timer_at(d->look_timer, at_usec);
}

/* The first look comes an interval after the cause: there is nothing to see before. */
static void want_looks(MlgDaemon *d, uint64_t now) {
        look_by(d, now + mlg_config_host(d->config)->move_poll_usec);
}

static void want_early_look(MlgDaemon *d, const MlgMove *moves, size_t n, uint64_t now) {
        uint64_t interval = mlg_config_host(d->config)->move_poll_usec;
        bool takes = false;

        if (!mlg_engine_is_urgent(d->engine) || now < d->early_look_usec + interval)
                return;
        for (size_t i = 0; i < n; i++)
                takes |= moves[i].to_kib < moves[i].from_kib;
        if (!takes)
                return;
        d->early_look_usec = now;
        look_by(d, now + interval / EARLY_PART);
}

static void decide(MlgDaemon *d, uint64_t now) {
        const MlgMove *moves;
        struct timespec a, b;
        MlgHostStatus status;
        size_t n;

        tell_time(d);
        (void) clock_gettime(CLOCK_MONOTONIC, &a);
        mlg_daemon_wish_lent(d);
        n = mlg_engine_decide(d->engine, now, &moves);
        (void) clock_gettime(CLOCK_MONOTONIC, &b);
        d->last_decide_usec = (uint64_t) ((b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000);
        d->decisions++;
        make_moves(d, moves, n, now);
        want_early_look(d, moves, n, now);
        mlg_engine_settle_reservations(d->engine, now, true, on_reservation, d);
        mlg_daemon_settle_proposals(d, now);
        mlg_daemon_tell_plugins(d);
        mlg_daemon_tell_states(d);
        tell_rules(d, now);
        mlg_daemon_host_status(&status, d);
        tell_shortage(d, &status, now);
        mlg_daemon_tell_alarm(d, &status);
        mlg_daemon_limit_pipes(d);
        mlg_daemon_limit_swaps(d);
        mlg_daemon_want_pipes(d);
        mlg_daemon_tend_swaps(d);
        mlg_daemon_sync_state(d);
}

static void tell_status(const MlgDaemon *d) {
        MlgHostStatus s = {};
        g_autofree char *text = NULL;

        mlg_engine_host_status(d->engine, &s);
        text = g_strdup_printf("%s%u of %u guests managed, %" PRIu64 " of %" PRIu64 " MiB in use%s", d->dry_run ? "Dry run: " : "",
                               s.n_managed, s.n_guests, s.charged_kib / MLG_KIB_PER_MIB, s.budget_kib / MLG_KIB_PER_MIB,
                               s.shortage_kib ? ", short of memory" : "");
        mlg_notify_status(text);
}

/* On a host with many guests a bulk read is work for libvirtd: it gets ten times as long to rest, up to twice the
 * interval, which is the guests' own pace. */
static uint64_t interval_usec(const MlgDaemon *d) {
        uint64_t usec = mlg_config_host(d->config)->poll_usec;

        return mlg_clamp(10 * d->last_poll_usec, usec, 2 * usec);
}

static void arm_next(MlgDaemon *d, uint64_t now) {
        uint64_t interval = interval_usec(d);

        /* From when this one was due, not from when it ended; a time that has passed already is not made up
         * for. */
        d->poll_due_usec = mlg_clamp(d->poll_due_usec + interval, now + 1, now + interval);
        mlg_timer_at(d->poll_timer, d->poll_due_usec);
}

void mlg_daemon_flush(MlgDaemon *d) {
        if (!d->bus)
                return;
        mlg_bus_host_changed(d->bus);
        mlg_bus_pipes_changed(d->bus);
        mlg_bus_flush_changes(d->bus);
}

/* A poll may have changed anything of any guest; what did change is found out by comparing. */
static void flush_all(MlgDaemon *d) {
        for (size_t i = 0; d->bus && i < mlg_engine_n_guests(d->engine); i++)
                mlg_bus_guest_changed(d->bus, mlg_engine_guest_at(d->engine, i)->uuid);
        mlg_daemon_flush(d);
}

/* ---- looks ---- */

typedef struct Look {
        MlgDaemon *daemon;
        char uuid[MLG_UUID_LEN + 1];
        uint64_t asked_usec;
} Look;

/* With each poll, and not with looks: what guests have and what the host has left only fit together when they are of
 * the same time. */
static bool read_host(MlgDaemon *d, uint64_t now) {
        MlgRawHost host = {};
        int r = mlg_hostmem_read(d->hostmem, &host);

        mlg_daemon_tell_shared(d);
        if (r >= 0)
                mlg_engine_observe_host(d->engine, &host);
        else if (mlg_log_limited("", MLG_CAUSE_HOSTMEM, now))
                mlg_log(MLG_LOG_ERROR, "Cannot read the host's memory from /proc: %s. Nothing is moved.", g_strerror(-r));
        return r >= 0;
}

void mlg_daemon_gathered(uint64_t now_usec, void *daemon) {
        MlgDaemon *d = daemon;

        d->gathering = false;
        if (!d->connected || d->stopping)
                return;
        d->turned_usec = now_usec;
        decide(d, now_usec);
        want_looks(d, now_usec);
        mlg_daemon_flush(d);
}

void mlg_daemon_turn_soon(MlgDaemon *d, uint64_t at_usec) {
        if (d->gathering)
                return;
        d->gathering = true;
        mlg_timer_at(d->gather_timer, at_usec);
}

static void on_look(int r, const MlgRawStats *raw, void *userdata) {
        g_autofree Look *k = userdata;
        MlgDaemon *d = k->daemon;
        uint64_t now = mlg_loop_now_usec(d->loop);
        MlgVm *vm = mlg_engine_find(d->engine, k->uuid);

        g_hash_table_steal(d->requests, k);
        d->looks--;
        if (!vm)
                return;
        vm->looking = false;
        d->last_look_usec = now - k->asked_usec;
        if (r != 0 && r != -ETIMEDOUT)
                return; /* off, or busy with somebody else: the next round, or the next poll, will tell */
        vm->looked_usec = now;
        mlg_engine_observe(d->engine, vm, r == 0 ? raw : NULL, now, mlg_real_usec() / MLG_USEC_PER_SEC);
        if (d->bus)
                mlg_bus_guest_changed(d->bus, vm->uuid);
        mlg_daemon_turn_soon(d, now + GATHER_USEC);
}

static void look_at(MlgDaemon *d, MlgVm *vm, uint64_t now) {
        uint64_t deadline = now + mlg_min(mlg_config_daemon(d->config)->call_timeout_usec, POLL_DEADLINE_USEC);
        Look *k = g_new(Look, 1);
        int r;

        *k = (Look) { .daemon = d, .asked_usec = now };
        g_strlcpy(k->uuid, vm->uuid, sizeof(k->uuid));
        g_hash_table_add(d->requests, k);
        d->looks++;
        vm->looking = true;
        r = d->hypervisor->ops->look(d->hypervisor, vm->uuid, deadline, on_look, k);
        if (r < 0)
                on_look(r, NULL, k);
}

/* Round robin, so that all have their turn when there are more than may be asked at a time. True: somebody
 * wants it. */
static bool look_at_rank(MlgDaemon *d, MlgLookRank rank, unsigned int most, uint64_t now) {
        size_t n = mlg_engine_n_guests(d->engine), i;
        bool wanted = false;

        for (i = 0; i < n; i++) {
                MlgVm *vm = mlg_engine_guest_at(d->engine, (d->look_next + i) % n);

                if (mlg_vm_look_rank(vm, now) != rank)
                        continue;
                wanted = true;
                if (vm->looking)
                        continue;
                if (d->looks >= LOOKS_MAX || most == 0)
                        break;
                most--;
                look_at(d, vm, now);
        }
        d->look_next = n ? (d->look_next + i) % n : 0;
        return wanted;
}

void mlg_daemon_look(uint64_t now_usec, void *daemon) {
        MlgDaemon *d = daemon;
        bool again;

        d->look_armed = false;
        if (!d->connected || d->stopping)
                return; /* the next poll starts it again */
        again = look_at_rank(d, MLG_LOOK_MOVES, LOOKS_MAX, now_usec);
        again |= look_at_rank(d, MLG_LOOK_NEAR, NEAR_MAX, now_usec);
        if (again)
                look_by(d, now_usec + mlg_max(mlg_config_host(d->config)->move_poll_usec, 2 * d->last_look_usec));
}

/* ---- polls ---- */

static void on_poll(int r, const MlgPollEntry *entries, size_t n, void *userdata) {
        MlgDaemon *d = userdata;
        uint64_t now = mlg_loop_now_usec(d->loop), real_sec = mlg_real_usec() / MLG_USEC_PER_SEC;

        d->polling = false;
        d->progress_usec = now;
        d->last_poll_usec = now - d->poll_started_usec;
        d->poll_patience_usec = 4 * d->last_poll_usec;
        d->polls++;
        if (d->last_poll_usec > mlg_config_host(d->config)->poll_usec)
                d->polls_late++;
        if (r < 0) {
                if (mlg_log_limited("", MLG_CAUSE_POLL, now))
                        mlg_log(MLG_LOG_WARNING, "Cannot read the guests' statistics: %s", g_strerror(-r));
        } else if (!d->stopping) {
                for (size_t i = 0; i < n; i++) {
                        MlgVm *vm = mlg_engine_find(d->engine, entries[i].uuid);

                        if (vm) {
                                mlg_daemon_want_statistics(d, vm);
                                mlg_daemon_want_monitor(d, vm);
                                mlg_daemon_want_agent(d, vm);
                                mlg_daemon_want_reclaim(d, vm);
                        }
                        /* A guest that is looked at is known better than from here. */
                        if (vm && !vm->looking && now - vm->looked_usec >= LOOK_IS_BETTER_USEC)
                                mlg_engine_observe(d->engine, vm, entries[i].raw, now, real_sec);
                }
                decide(d, now);
                want_looks(d, now);
                tell_status(d);
        }
        flush_all(d);
        arm_next(d, now);
}

static bool is_known(const char *uuid, void *engine) {
        return mlg_engine_find(engine, uuid) != NULL;
}

void mlg_daemon_poll(uint64_t now_usec, void *daemon) {
        MlgDaemon *d = daemon;
        uint64_t interval = mlg_config_host(d->config)->poll_usec, deadline;
        int r;

        if (!d->connected || d->stopping) {
                d->progress_usec = now_usec; /* nothing to do is progress */
                mlg_engine_settle_reservations(d->engine, now_usec, false, on_reservation, d);
                mlg_daemon_flush(d);
                mlg_timer_at(d->poll_timer, now_usec + interval);
                return;
        }
        if (d->listing) { /* all that there are have been told by now */
                mlg_state_keep_guests(d->state, is_known, d->engine);
                d->listing = false;
        }
        if (!read_host(d, now_usec)) {
                mlg_timer_at(d->poll_timer, now_usec + interval);
                return;
        }
        d->poll_started_usec = now_usec;
        /* A QEMU that hangs must not make the others' next poll late by a whole period; but a read that takes long must
         * come to its end. */
        deadline = mlg_max(mlg_max(interval * 4 / 5, POLL_DEADLINE_USEC), d->poll_patience_usec);
        deadline = mlg_min(mlg_config_daemon(d->config)->call_timeout_usec, deadline);
        d->polling = true;
        r = d->hypervisor->ops->poll(d->hypervisor, now_usec + deadline, on_poll, d);
        if (r < 0) {
                d->polling = r == -EBUSY;
                /* The former one is still under way, or the connection broke just now. */
                d->polls_late += r == -EBUSY;
                mlg_timer_at(d->poll_timer, now_usec + interval);
        }
}
