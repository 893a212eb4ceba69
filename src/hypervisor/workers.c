/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Workers: see workers.h for the contract.
 *
 * Who owns what:
 * - MlgWorkers: the dispatching thread alone.
 * - Pool: shared, under its lock; counted, because a parked thread may outlive the MlgWorkers.
 * - Job: in exactly one place: queued (pool), running (one thread), finished (pool), abandoned (a parked
 *   thread), or left over (pool; its data is freed by the next thread that ends).
 * - Thread: its struct is freed by who joins it, or by itself once it is detached. */
#include "hypervisor/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/util.h"

/* How long freeing the pool waits for running jobs. Calls take milliseconds; what needs longer than this
 * hangs. */
#define GRACE_USEC (500 * 1000)

typedef struct Pool Pool;

typedef struct Work {
        MlgJob job;
        int r;
        bool abandoned; /* its deadline passed while it ran: the thread frees it */
} Work;

typedef struct Thread {
        Pool *pool;
        pthread_t id;
        void *context;
        Work *work;    /* what it runs, NULL: nothing */
        bool parked;
        bool detached; /* nobody joins it */
} Thread;

struct Pool {
        pthread_mutex_t lock;
        pthread_cond_t work_ready; /* for threads */
        pthread_cond_t ending;     /* for mlg_workers_free(): a thread is about to end */
        unsigned n_refs;           /* threads, and the MlgWorkers */
        int wake_fd;
        void (*context_free)(void *context);
        bool quit;

        GQueue urgent;        /* Work, queued */
        GQueue ordinary;
        GQueue finished;      /* Work, with result */
        GQueue left_over;     /* Work that finished, but nobody was told; only while quit */
        GPtrArray *threads;   /* Thread: not ended */
        GPtrArray *ended;     /* Thread: to be joined */
        unsigned n_threads;   /* allowed for ordinary jobs */
        unsigned n_ordinary;  /* threads, not parked, that run one */
        unsigned n_parked;
        unsigned n_idle;
};

struct MlgWorkers {
        Pool *pool;
        MlgWorkersOptions options;
        MlgPollable pollable;
        uint64_t next_deadline_usec; /* no job's deadline is before it */
};

static void pool_wake(Pool *p) {
        uint64_t one = 1;

        (void) !write(p->wake_fd, &one, sizeof(one)); /* full means that it is awake already */
}

static void work_free(Work *work) {
        if (work->job.data_free)
                work->job.data_free(work->job.data);
        g_free(work);
}

/* The part of a job that done() needs, when a thread keeps the data. */
static Work *work_without_data(const Work *work) {
        Work *copy = g_new0(Work, 1);

        copy->job = work->job;
        copy->job.data = NULL;
        copy->job.data_free = NULL;
        return copy;
}

/* With the lock held; releases it. */
static void pool_unref_unlock(Pool *p) {
        bool last = --p->n_refs == 0;

        pthread_mutex_unlock(&p->lock);
        if (!last)
                return;
        pthread_cond_destroy(&p->work_ready);
        pthread_cond_destroy(&p->ending);
        pthread_mutex_destroy(&p->lock);
        g_ptr_array_unref(p->threads);
        g_ptr_array_unref(p->ended);
        mlg_close_fd(&p->wake_fd);
        g_free(p);
}

/* The next job that may run now, or NULL. */
static Work *pool_pop(Pool *p) {
        Work *work = g_queue_pop_head(&p->urgent);

        if (!work && !p->quit && p->n_ordinary < p->n_threads) {
                work = g_queue_pop_head(&p->ordinary);
                if (work)
                        p->n_ordinary++;
        }
        return work;
}

/* Runs one job; lock held at entry and at exit. */
static void thread_work(Thread *t, Work *work) {
        Pool *p = t->pool;
        int r;

        t->work = work;
        pthread_mutex_unlock(&p->lock);
        r = work->job.run(t->context, work->job.data);
        pthread_mutex_lock(&p->lock);
        t->work = NULL;

        if (work->abandoned) {
                pthread_mutex_unlock(&p->lock);
                work_free(work);
                pthread_mutex_lock(&p->lock);
                return;
        }
        work->r = r;
        if (!work->job.urgent) {
                p->n_ordinary--;
                pthread_cond_signal(&p->work_ready); /* an ordinary job that was held back may run now */
        }
        if (p->quit) {
                g_queue_push_tail(&p->finished, work_without_data(work));
                g_queue_push_tail(&p->left_over, work);
                return;
        }
        g_queue_push_tail(&p->finished, work);
        pool_wake(p);
}

/* With the lock held at entry and at exit. */
static void free_left_over(Pool *p) {
        Work *work;

        while ((work = g_queue_pop_head(&p->left_over))) {
                pthread_mutex_unlock(&p->lock);
                work_free(work);
                pthread_mutex_lock(&p->lock);
        }
}

static void *thread_main(void *userdata) {
        Thread *t = userdata;
        Pool *p = t->pool;

        pthread_mutex_lock(&p->lock);
        while (!t->parked) {
                Work *work = pool_pop(p);

                if (work) {
                        thread_work(t, work);
                        continue;
                }
                if (p->quit)
                        break;
                p->n_idle++;
                pthread_cond_wait(&p->work_ready, &p->lock);
                p->n_idle--;
        }
        free_left_over(p);
        pthread_mutex_unlock(&p->lock);

        /* Closing a connection may block as well: still parked, if it was. */
        if (p->context_free)
                p->context_free(t->context);

        pthread_mutex_lock(&p->lock);
        if (t->parked)
                p->n_parked--;
        g_ptr_array_remove_fast(p->threads, t);
        if (t->detached)
                g_free(t);
        else
                g_ptr_array_add(p->ended, t);
        pthread_cond_signal(&p->ending);
        pool_wake(p);
        pool_unref_unlock(p);
        return NULL;
}

/* Signals are for the thread of the loop. */
static int create_without_signals(Thread *t) {
        sigset_t all, before;
        int r;

        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&t->id, NULL, thread_main, t);
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -r;
}

/* With the lock held. One thread beyond n_threads is for urgent jobs. */
static bool may_spawn(const MlgWorkers *w) {
        const Pool *p = w->pool;

        return p->threads->len - p->n_parked < p->n_threads + 1 &&
               p->threads->len < p->n_threads + 1 + w->options.max_parked;
}

static void spawn(MlgWorkers *w) {
        Pool *p = w->pool;
        Thread *t = g_new0(Thread, 1);

        t->pool = p;
        t->context = w->options.context_new ? w->options.context_new(w->options.userdata) : NULL;
        p->n_refs++;
        g_ptr_array_add(p->threads, t);
        if (create_without_signals(t) >= 0)
                return;
        g_ptr_array_remove_fast(p->threads, t);
        p->n_refs--;
        if (p->context_free)
                p->context_free(t->context);
        g_free(t);
}

/* Starts threads for what is queued, as far as allowed. */
static void spawn_for_queue(MlgWorkers *w) {
        Pool *p = w->pool;
        guint before, wanted = p->urgent.length;

        wanted += MIN(p->ordinary.length, p->n_threads - p->n_ordinary);
        for (unsigned have = p->n_idle; have < wanted && may_spawn(w); have++) {
                before = p->threads->len;
                spawn(w);
                if (p->threads->len == before)
                        return; /* the system refuses; those that exist must do */
        }
}

int mlg_workers_submit(MlgWorkers *w, const MlgJob *job) {
        Pool *p = w->pool;
        int r = 0;

        if (!job->run || !job->done)
                return -EINVAL;

        pthread_mutex_lock(&p->lock);
        if (p->urgent.length + p->ordinary.length >= w->options.max_queued)
                r = -EAGAIN;
        else if (p->threads->len == p->n_parked && !may_spawn(w))
                r = -EBUSY;
        else {
                Work *work = g_new0(Work, 1);

                work->job = *job;
                g_queue_push_tail(job->urgent ? &p->urgent : &p->ordinary, work);
                w->next_deadline_usec = mlg_min(w->next_deadline_usec, job->deadline_usec);
                spawn_for_queue(w);
                pthread_cond_signal(&p->work_ready);
        }
        pthread_mutex_unlock(&p->lock);
        return r;
}

int mlg_workers_dup_wake_fd(MlgWorkers *w) {
        int fd = fcntl(w->pool->wake_fd, F_DUPFD_CLOEXEC, 3);

        return fd < 0 ? -errno : fd;
}

/* Moves late jobs of a queue to `ret`. Jobs are queued in no order of deadlines, so all are looked at; this
 * happens only when a deadline has passed. */
static void expire_queue(GQueue *q, uint64_t now_usec, uint64_t *next_usec, GQueue *ret) {
        for (GList *i = q->head; i;) {
                GList *next = i->next;
                Work *work = i->data;

                if (work->job.deadline_usec <= now_usec) {
                        g_queue_unlink(q, i);
                        g_queue_push_tail_link(ret, i);
                } else
                        *next_usec = mlg_min(*next_usec, work->job.deadline_usec);
                i = next;
        }
}

/* Parks the threads of late jobs; `ret` gets a copy of each job without its data, which stays with the
 * thread. */
static void expire_running(Pool *p, uint64_t now_usec, uint64_t *next_usec, GQueue *ret) {
        for (guint i = 0; i < p->threads->len; i++) {
                Thread *t = p->threads->pdata[i];

                if (!t->work || t->parked)
                        continue;
                if (t->work->job.deadline_usec > now_usec) {
                        *next_usec = mlg_min(*next_usec, t->work->job.deadline_usec);
                        continue;
                }
                t->parked = true;
                t->work->abandoned = true;
                p->n_parked++;
                if (!t->work->job.urgent)
                        p->n_ordinary--;
                g_queue_push_tail(ret, work_without_data(t->work));
        }
}

static void call_done(GQueue *works, int r) {
        Work *work;

        while ((work = g_queue_pop_head(works))) {
                work->job.done(r, NULL, work->job.userdata);
                work_free(work);
        }
}

static void call_finished(GQueue *works) {
        Work *work;

        while ((work = g_queue_pop_head(works))) {
                work->job.done(work->r, work->job.data, work->job.userdata);
                work_free(work);
        }
}

static void join_ended(GPtrArray *ended) {
        for (guint i = 0; i < ended->len; i++) {
                Thread *t = ended->pdata[i];

                (void) pthread_join(t->id, NULL); /* it has nothing left to do but to return */
                g_free(t);
        }
}

static void queue_steal(GQueue *from, GQueue *ret) {
        *ret = *from;
        g_queue_init(from);
}

static GPtrArray *steal_ended(Pool *p) {
        GPtrArray *ended = p->ended;

        p->ended = g_ptr_array_new();
        return ended;
}

static int workers_dispatch(uint64_t now_usec, void *userdata) {
        MlgWorkers *w = userdata;
        Pool *p = w->pool;
        g_autoptr(GPtrArray) ended = NULL;
        GQueue finished, unbegun = G_QUEUE_INIT, late = G_QUEUE_INIT;
        uint64_t drained;

        (void) !read(p->wake_fd, &drained, sizeof(drained));

        pthread_mutex_lock(&p->lock);
        queue_steal(&p->finished, &finished);
        if (now_usec >= w->next_deadline_usec) {
                uint64_t next_usec = MLG_USEC_NEVER;

                expire_queue(&p->urgent, now_usec, &next_usec, &unbegun);
                expire_queue(&p->ordinary, now_usec, &next_usec, &unbegun);
                expire_running(p, now_usec, &next_usec, &late);
                w->next_deadline_usec = next_usec;
        }
        ended = steal_ended(p);
        spawn_for_queue(w);
        if (late.length > 0)
                pthread_cond_broadcast(&p->work_ready); /* parked threads count no more: others may go on */
        pthread_mutex_unlock(&p->lock);

        join_ended(ended);
        call_finished(&finished);
        call_done(&unbegun, -ETIME);
        call_done(&late, -ETIMEDOUT);
        return 0;
}

static short workers_events(void *userdata) {
        return POLLIN;
}

static uint64_t workers_deadline_usec(void *userdata) {
        return ((MlgWorkers *) userdata)->next_deadline_usec;
}

const MlgPollable *mlg_workers_pollable(MlgWorkers *w) {
        return &w->pollable;
}

static int pool_new(const MlgWorkersOptions *options, Pool **ret) {
        _mlg_cleanup_fd_ int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        pthread_condattr_t attr;
        Pool *p;

        if (fd < 0)
                return -errno;
        p = g_new0(Pool, 1);
        pthread_mutex_init(&p->lock, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&p->work_ready, &attr);
        pthread_cond_init(&p->ending, &attr);
        pthread_condattr_destroy(&attr);
        p->n_refs = 1;
        p->wake_fd = fd;
        fd = -1;
        p->context_free = options->context_free;
        p->n_threads = options->n_threads;
        p->threads = g_ptr_array_new();
        p->ended = g_ptr_array_new();
        *ret = p;
        return 0;
}

int mlg_workers_new(const MlgWorkersOptions *options, MlgWorkers **ret) {
        MlgWorkers *w;
        Pool *pool = NULL;
        int r;

        if (options->n_threads < 1 || options->max_queued < 1)
                return -EINVAL;
        r = pool_new(options, &pool);
        if (r < 0)
                return r;
        w = g_new0(MlgWorkers, 1);
        w->pool = pool;
        w->options = *options;
        w->next_deadline_usec = MLG_USEC_NEVER;
        w->pollable = (MlgPollable) {
                .fd = pool->wake_fd,
                .events = workers_events,
                .deadline_usec = workers_deadline_usec,
                .dispatch = workers_dispatch,
                .userdata = w,
        };
        *ret = w;
        return 0;
}

/* With the lock held: waits until no thread but parked ones is left, or the grace is over. */
static void wait_for_threads(Pool *p) {
        uint64_t until_usec = (uint64_t) g_get_monotonic_time() + GRACE_USEC;
        struct timespec until = {
                .tv_sec = (time_t) (until_usec / MLG_USEC_PER_SEC),
                .tv_nsec = (long) (until_usec % MLG_USEC_PER_SEC * 1000),
        };

        while (p->threads->len > p->n_parked)
                if (pthread_cond_timedwait(&p->ending, &p->lock, &until) == ETIMEDOUT)
                        break;
}

/* With the lock held: what jobs left behind that were not dispatched is freed by threads, as that may take
 * as long as a call. The thread that ran such a job is still there, and does it before it ends. */
static void leave_to_threads(Pool *p) {
        queue_steal(&p->finished, &p->left_over);
        for (GList *i = p->left_over.head; i; i = i->next)
                g_queue_push_tail(&p->finished, work_without_data(i->data));
}

MlgWorkers *mlg_workers_free(MlgWorkers *w) {
        g_autoptr(GPtrArray) ended = NULL;
        GQueue queued, urgent, finished, running = G_QUEUE_INIT;
        uint64_t next_usec = MLG_USEC_NEVER;
        Pool *p;

        if (!w)
                return NULL;
        p = w->pool;
        pthread_mutex_lock(&p->lock);
        p->quit = true;
        leave_to_threads(p);
        pthread_cond_broadcast(&p->work_ready);
        wait_for_threads(p);
        queue_steal(&p->urgent, &urgent);
        queue_steal(&p->ordinary, &queued);
        queue_steal(&p->finished, &finished);
        expire_running(p, MLG_USEC_NEVER, &next_usec, &running); /* whatever still runs counts as parked */
        ended = steal_ended(p);
        for (guint i = 0; i < p->threads->len; i++) {
                Thread *t = p->threads->pdata[i];

                t->detached = true;
                (void) pthread_detach(t->id);
        }
        pthread_mutex_unlock(&p->lock);

        join_ended(ended);
        call_done(&urgent, -ECANCELED);
        call_done(&queued, -ECANCELED);
        call_done(&finished, -ECANCELED);
        call_done(&running, -ECANCELED);

        pthread_mutex_lock(&p->lock);
        pool_unref_unlock(p);
        g_free(w);
        return NULL;
}
