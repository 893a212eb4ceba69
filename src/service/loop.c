/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loop: one turn = arm, wait, read the clock once, dispatch.
 *
 * Invariants:
 * (1) libevent's callbacks only take notes; everything of ours runs after event_base_loop() has returned, so
 *     each callback starts from a clean stack and may free itself or any other timer or watch.
 * (2) Before each wait every watch is asked anew what it waits for: a callback of one adapter may have
 *     changed what another one wants (a method sent from a timer leaves output queued on the bus).
 * (3) The base belongs to the thread of mlg_loop_run(); other threads reach it through descriptors only
 *     (eventfd, epoll), therefore it needs no lock.
 * (4) During a turn slots of freed timers and watches stay empty, and new ones are appended: a slot that
 *     still holds the pointer that was dispatched holds the same object. */
#include "service/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <time.h>

#include <event2/event.h>

#include "util/clock.h"
#include "util/util.h"

/* Longest wait without a look at the clock; keeps the conversion to struct timeval far from any limit. */
#define WAIT_MAX_USEC (3600 * MLG_USEC_PER_SEC)

struct MlgTimer {
        MlgLoop *loop;
        guint slot;
        uint64_t at_usec; /* MLG_USEC_NEVER: not armed */
        MlgTimerFn fn;
        void *userdata;
};

struct MlgWatch {
        MlgLoop *loop;
        guint slot;
        MlgPollable pollable;
        struct event *io;
        short armed; /* EV_READ | EV_WRITE that io waits for; 0: io is not added */
        bool ready;  /* io fired in this turn */
        bool broken; /* never dispatched again */
        int error;   /* why; 0 once it is reported */
};

typedef struct SignalSource {
        int signo;
        struct event *event;
        unsigned pending;
        MlgSignalFn fn;
        void *userdata;
} SignalSource;

struct MlgLoop {
        struct event_base *base;
        struct event *wake; /* ends the wait at the earliest timer or deadline */
        GPtrArray *timers;  /* MlgTimer, or NULL: see invariant (4) */
        GPtrArray *watches; /* MlgWatch, or NULL */
        GPtrArray *signals; /* SignalSource */
        uint64_t now_usec;
        uint64_t turns;
        bool holes; /* there are empty slots */
        bool running;
        bool quit;
};

static void on_wake(evutil_socket_t fd, short what, void *userdata) {
        /* that it ended the wait is all */
}

static void on_libevent_log(int severity, const char *text) {
        g_debug("libevent: %s", text);
}

static void *signal_source_free(SignalSource *s) {
        if (s->event)
                event_free(s->event);
        g_free(s);
        return NULL;
}

static void signal_source_destroy(gpointer s) {
        signal_source_free(s);
}

int mlg_loop_new(MlgLoop **ret) {
        g_autoptr(MlgLoop) l = g_new0(MlgLoop, 1);
        struct event_config *config;

        event_set_log_callback(on_libevent_log);
        l->timers = g_ptr_array_new();
        l->watches = g_ptr_array_new();
        l->signals = g_ptr_array_new_with_free_func(signal_source_destroy);

        config = event_config_new();
        if (!config)
                return -ENOMEM;
        /* Precise: the default clock is coarse, timers would wake up to 4 ms early for nothing. No lock: see
         * (3). */
        (void) event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER | EVENT_BASE_FLAG_NOLOCK);
        l->base = event_base_new_with_config(config);
        event_config_free(config);
        if (!l->base)
                return -ENOMEM;
        l->wake = evtimer_new(l->base, on_wake, l);
        if (!l->wake)
                return -ENOMEM;

        *ret = g_steal_pointer(&l);
        return 0;
}

/* Timers and watches that still exist are freed with the loop. */
MlgLoop *mlg_loop_free(MlgLoop *l) {
        if (!l)
                return NULL;
        for (guint i = 0; i < l->watches->len; i++)
                mlg_watch_free(l->watches->pdata[i]);
        for (guint i = 0; i < l->timers->len; i++)
                mlg_timer_free(l->timers->pdata[i]);
        g_ptr_array_unref(l->watches);
        g_ptr_array_unref(l->timers);
        g_ptr_array_unref(l->signals);
        if (l->wake)
                event_free(l->wake);
        if (l->base)
                event_base_free(l->base);
        g_free(l);
        return NULL;
}

void mlg_loop_quit(MlgLoop *l) {
        l->quit = true;
}

uint64_t mlg_loop_now_usec(MlgLoop *l) {
        return l->running ? l->now_usec : mlg_clock_usec(CLOCK_MONOTONIC);
}

uint64_t mlg_loop_turns(const MlgLoop *l) {
        return l->turns;
}

int mlg_timer_new(MlgLoop *l, MlgTimerFn fn, void *userdata, MlgTimer **ret) {
        MlgTimer *t;

        if (!fn)
                return -EINVAL;
        t = g_new(MlgTimer, 1);
        *t = (MlgTimer) {
                .loop = l, .slot = l->timers->len, .at_usec = MLG_USEC_NEVER, .fn = fn, .userdata = userdata,
        };
        g_ptr_array_add(l->timers, t);
        *ret = t;
        return 0;
}

void mlg_timer_at(MlgTimer *t, uint64_t at_usec) {
        t->at_usec = at_usec;
}

MlgTimer *mlg_timer_free(MlgTimer *t) {
        if (!t)
                return NULL;
        t->loop->timers->pdata[t->slot] = NULL;
        t->loop->holes = true;
        g_free(t);
        return NULL;
}

static void on_signal_event(evutil_socket_t signo, short what, void *userdata) {
        ((SignalSource *) userdata)->pending++;
}

int mlg_loop_on_signal(MlgLoop *l, int signo, MlgSignalFn fn, void *userdata) {
        SignalSource *s;

        if (!fn || signo <= 0 || signo >= NSIG)
                return -EINVAL;
        s = g_new0(SignalSource, 1);
        s->signo = signo;
        s->fn = fn;
        s->userdata = userdata;
        s->event = evsignal_new(l->base, signo, on_signal_event, s);
        if (!s->event || event_add(s->event, NULL) < 0) {
                signal_source_free(s);
                return -EIO;
        }
        g_ptr_array_add(l->signals, s);
        return 0;
}

static void on_watch_io(evutil_socket_t fd, short what, void *userdata) {
        ((MlgWatch *) userdata)->ready = true;
}

int mlg_loop_watch(MlgLoop *l, const MlgPollable *p, MlgWatch **ret) {
        MlgWatch *w;

        if (p->fd < 0 || !p->events || !p->deadline_usec || !p->dispatch)
                return -EINVAL;
        w = g_new0(MlgWatch, 1);
        w->loop = l;
        w->pollable = *p;
        w->io = event_new(l->base, p->fd, EV_READ | EV_PERSIST, on_watch_io, w);
        if (!w->io) {
                g_free(w);
                return -ENOMEM;
        }
        w->slot = l->watches->len;
        g_ptr_array_add(l->watches, w);
        *ret = w;
        return 0;
}

MlgWatch *mlg_watch_free(MlgWatch *w) {
        if (!w)
                return NULL;
        w->loop->watches->pdata[w->slot] = NULL;
        w->loop->holes = true;
        event_free(w->io);
        g_free(w);
        return NULL;
}

static void watch_break(MlgWatch *w, int error) {
        (void) event_del(w->io);
        w->armed = 0;
        w->ready = false;
        w->broken = true;
        w->error = error;
}

static short poll_to_event(short events) {
        return (events & POLLIN ? EV_READ : 0) | (events & POLLOUT ? EV_WRITE : 0);
}

static int watch_arm(MlgWatch *w) {
        short want = poll_to_event(w->pollable.events(w->pollable.userdata));
        int r;

        if (want == w->armed)
                return 0;
        if (event_del(w->io) < 0)
                return -EIO;
        w->armed = 0;
        if (want == 0)
                return 0;
        errno = 0;
        r = event_assign(w->io, w->loop->base, w->pollable.fd, (short) (want | EV_PERSIST), on_watch_io, w);
        if (r < 0 || event_add(w->io, NULL) < 0)
                return errno > 0 ? -errno : -EIO;
        w->armed = want;
        return 0;
}

/* Asks all what they wait for. Returns when the wait must end at the latest. */
static uint64_t loop_arm(MlgLoop *l) {
        uint64_t until = MLG_USEC_NEVER;

        for (guint i = 0; i < l->timers->len; i++) {
                const MlgTimer *t = l->timers->pdata[i];

                if (t)
                        until = mlg_min(until, t->at_usec);
        }
        for (guint i = 0; i < l->watches->len; i++) {
                MlgWatch *w = l->watches->pdata[i];
                int r;

                if (!w || (w->broken && w->error == 0))
                        continue;
                r = w->broken ? w->error : watch_arm(w);
                if (r < 0) {
                        watch_break(w, r);
                        until = 0; /* reported in this turn, without a wait */
                        continue;
                }
                until = mlg_min(until, w->pollable.deadline_usec(w->pollable.userdata));
        }
        return until;
}

static int loop_wait(MlgLoop *l, uint64_t until_usec) {
        int flags = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY;

        (void) evtimer_del(l->wake);
        if (until_usec != MLG_USEC_NEVER) {
                uint64_t left_usec = until_usec == 0 ? 0 : mlg_sub_sat(until_usec, mlg_clock_usec(CLOCK_MONOTONIC));
                uint64_t wait_usec = mlg_min(left_usec, WAIT_MAX_USEC);
                struct timeval tv = {
                        .tv_sec = (time_t) (wait_usec / MLG_USEC_PER_SEC),
                        .tv_usec = (suseconds_t) (wait_usec % MLG_USEC_PER_SEC),
                };

                if (wait_usec == 0)
                        flags |= EVLOOP_NONBLOCK;
                else if (evtimer_add(l->wake, &tv) < 0)
                        return -EIO;
        }
        return event_base_loop(l->base, flags) < 0 ? -EIO : 0;
}

static void dispatch_signals(MlgLoop *l) {
        guint n = l->signals->len;

        for (guint i = 0; i < n; i++) {
                SignalSource *s = l->signals->pdata[i];

                if (s->pending == 0)
                        continue;
                s->pending = 0;
                s->fn(s->signo, s->userdata);
        }
}

static void dispatch_watches(MlgLoop *l) {
        guint n = l->watches->len;

        for (guint i = 0; i < n; i++) {
                MlgWatch *w = l->watches->pdata[i];
                int r;

                if (!w || w->broken)
                        continue;
                if (!w->ready && w->pollable.deadline_usec(w->pollable.userdata) > l->now_usec)
                        continue;
                w->ready = false;
                r = w->pollable.dispatch(l->now_usec, w->pollable.userdata);
                if (r < 0 && l->watches->pdata[i] == w)
                        watch_break(w, r);
        }
}

static void dispatch_timers(MlgLoop *l) {
        guint n = l->timers->len;

        for (guint i = 0; i < n; i++) {
                MlgTimer *t = l->timers->pdata[i];

                if (!t || t->at_usec > l->now_usec)
                        continue;
                t->at_usec = MLG_USEC_NEVER;
                t->fn(l->now_usec, t->userdata);
        }
}

static void report_broken(MlgLoop *l) {
        guint n = l->watches->len;

        for (guint i = 0; i < n; i++) {
                MlgWatch *w = l->watches->pdata[i];
                const MlgPollable *p;
                int error;

                if (!w || !w->broken || w->error == 0)
                        continue;
                p = &w->pollable;
                error = w->error;
                w->error = 0;
                if (p->on_broken)
                        p->on_broken(error, p->broken_userdata ?: p->userdata);
        }
}

static void close_holes(MlgLoop *l) {
        guint n = 0;

        if (!l->holes)
                return;
        for (guint i = 0; i < l->timers->len; i++) {
                MlgTimer *t = l->timers->pdata[i];

                if (!t)
                        continue;
                t->slot = n;
                l->timers->pdata[n++] = t;
        }
        g_ptr_array_set_size(l->timers, (gint) n);

        n = 0;
        for (guint i = 0; i < l->watches->len; i++) {
                MlgWatch *w = l->watches->pdata[i];

                if (!w)
                        continue;
                w->slot = n;
                l->watches->pdata[n++] = w;
        }
        g_ptr_array_set_size(l->watches, (gint) n);
        l->holes = false;
}

int mlg_loop_run(MlgLoop *l) {
        int r = 0;

        l->quit = false;
        l->running = true;
        l->now_usec = mlg_clock_usec(CLOCK_MONOTONIC);
        while (!l->quit) {
                close_holes(l);
                r = loop_wait(l, loop_arm(l));
                if (r < 0)
                        break;
                l->now_usec = mlg_clock_usec(CLOCK_MONOTONIC);
                l->turns++;
                dispatch_signals(l);
                dispatch_watches(l);
                dispatch_timers(l);
                report_broken(l);
        }
        l->running = false;
        return r;
}
