/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Workers: a bounded pool of threads for calls that may block for ever, with a deadline on each call.
 *
 * A job is run() on a worker's thread, then done() on the thread that dispatches the pollable; exactly one
 * done() for each accepted job, at the latest when its deadline has passed:
 *   r of run(), with the job's data   it came back in time
 *   -ETIMEDOUT, data NULL             it did not: its thread is *parked*, its late result is thrown away
 *   -ETIME, data NULL                 it was never begun: no thread was free for it before its deadline
 *   -ECANCELED, data NULL             the pool was freed; done() is called by mlg_workers_free()
 * data belongs to the pool from submit on, and is freed by whoever touches it last: the pool after done(),
 * or a thread, when it is parked or when the pool is freed before done(): what run() left in it may be slow
 * to free. run() may use its context and data, nothing else.
 *
 * A parked thread is replaced, up to max_parked times; one that comes back ends. One thread more than
 * n_threads exists for urgent jobs, so that a burst of ordinary ones cannot delay them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "util/pollable.h"

typedef struct MlgWorkers MlgWorkers;

typedef int (*MlgJobRunFn)(void *context, void *data);
typedef void (*MlgJobDoneFn)(int r, void *data, void *userdata);

typedef struct MlgWorkersOptions {
        unsigned n_threads;  /* for ordinary jobs, >= 1; threads start when they are needed */
        unsigned max_parked; /* how many parked threads are replaced */
        unsigned max_queued; /* jobs that wait for a thread */
        /* One context per thread: made on the submitting thread, used and freed on its own. */
        void *(*context_new)(void *userdata);
        void (*context_free)(void *context);
        void *userdata;
} MlgWorkersOptions;

typedef struct MlgJob {
        MlgJobRunFn run;
        MlgJobDoneFn done;
        void *data;
        void (*data_free)(void *data);
        void *userdata; /* for done() */
        uint64_t deadline_usec;
        bool urgent; /* goes before all ordinary jobs */
} MlgJob;

int mlg_workers_new(const MlgWorkersOptions *options, MlgWorkers **ret);

/* 0; -EAGAIN: max_queued jobs wait already; -EBUSY: every thread that may exist is parked; -EINVAL. On
 * failure data stays with the caller, and done() is not called. */
int mlg_workers_submit(MlgWorkers *w, const MlgJob *job);

/* An eventfd that makes the pollable ready by a write, from any thread; or -errno. */
int mlg_workers_dup_wake_fd(MlgWorkers *w);

const MlgPollable *mlg_workers_pollable(MlgWorkers *w);

/* Calls done(-ECANCELED) for all jobs. Waits a moment for jobs that run and urgent ones that are queued,
 * never for ever: threads that do not come back are left behind, and clean up after themselves should they
 * ever return. */
MlgWorkers *mlg_workers_free(MlgWorkers *w);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgWorkers, mlg_workers_free)
