/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loop: the only event loop of the daemon, on libevent; one clock read per turn.
 *
 * Everything runs on the thread that calls mlg_loop_run(), except that libvirt's event functions
 * (loop-libvirt.c) may be called from any thread. Callbacks may add and remove any timer, signal or
 * pollable, themselves included. */
#pragma once

#include <glib.h>

#include "util/pollable.h"

typedef struct MlgLoop MlgLoop;
typedef struct MlgTimer MlgTimer;
typedef struct MlgWatch MlgWatch;

int mlg_loop_new(MlgLoop **ret);
MlgLoop *mlg_loop_free(MlgLoop *l);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgLoop, mlg_loop_free)

int mlg_loop_run(MlgLoop *l);              /* until mlg_loop_quit() */
void mlg_loop_quit(MlgLoop *l);
uint64_t mlg_loop_now_usec(MlgLoop *l);    /* CLOCK_MONOTONIC of this turn */
uint64_t mlg_loop_turns(const MlgLoop *l); /* grows while the loop makes progress */

typedef void (*MlgTimerFn)(uint64_t now_usec, void *userdata);
int mlg_timer_new(MlgLoop *l, MlgTimerFn fn, void *userdata, MlgTimer **ret); /* created unarmed */
void mlg_timer_at(MlgTimer *t, uint64_t at_usec); /* one shot, absolute; re-arming replaces; MLG_USEC_NEVER disarms */
MlgTimer *mlg_timer_free(MlgTimer *t);

typedef void (*MlgSignalFn)(int signo, void *userdata);
int mlg_loop_on_signal(MlgLoop *l, int signo, MlgSignalFn fn, void *userdata);

/* Copies the pollable. Ends by mlg_watch_free() or when dispatch fails (on_broken is called from a clean
 * stack; mlg_watch_free() must still be called). */
int mlg_loop_watch(MlgLoop *l, const MlgPollable *p, MlgWatch **ret);
MlgWatch *mlg_watch_free(MlgWatch *w);

/* loop-libvirt.c: makes libvirt's event API run on this loop (virEventRegisterImpl). Once per process,
 * before the first connection is opened. */
int mlg_loop_register_libvirt(MlgLoop *l);
