/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fake hypervisor: see fake-hypervisor.h. */
#include "fake-hypervisor.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

#include "util/util.h"

typedef enum Kind { POLL, LOOK, SET_TARGET, SET_PERIOD, RECLAIM, SET_PIPE, SET_SWAP } Kind;

typedef struct Job {
        Kind kind;
        char uuid[MLG_UUID_LEN + 1];
        uint64_t value, due_usec, deadline_usec;
        char path[MLG_MONITOR_PATH_MAX + 1];
        MlgPollFn poll_fn;
        MlgLookFn look_fn;
        MlgDoneFn done_fn;
        MlgReclaimFn reclaim_fn;
        void *userdata;
} Job;

typedef struct FakeHypervisor {
        MlgHypervisor base; /* must stay first */
        MlgPollable pollable;
        FakeWorld *w;
        SimHost host; /* its guests are those of the world that are present */
        GArray *jobs;
        bool started, connected, polling;
        uint64_t look_usec; /* at the world, next time */
        MlgGuestInfo told[FAKE_GUESTS_MAX];
        bool known[FAKE_GUESTS_MAX];
        MlgPollEntry entries[FAKE_GUESTS_MAX];
        MlgRawStats raw[FAKE_GUESTS_MAX], looked;
} FakeHypervisor;

FakeWorld *fake_world;

static uint64_t clock_usec(clockid_t id) {
        struct timespec ts;

        (void) clock_gettime(id, &ts);
        return (uint64_t) ts.tv_sec * MLG_USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

/* ---- the world ---- */

FakeWorld *fake_world_new(void) {
        FakeWorld *w = mmap(NULL, sizeof(FakeWorld), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                            0);

        g_assert(w != MAP_FAILED);
        w->connected = true;
        w->watch_usec = 10000;
        return w;
}

FakeWorld *fake_world_free(FakeWorld *w) {
        if (w)
                (void) munmap(w, sizeof(*w));
        return NULL;
}

SimGuest *fake_world_add(FakeWorld *w, uint64_t maximum_kib, uint64_t demand_kib) {
        uint64_t now = clock_usec(CLOCK_MONOTONIC), wall = clock_usec(CLOCK_REALTIME);
        SimGuest *g = &w->guests[w->n_guests];

        g_assert(w->n_guests < FAKE_GUESTS_MAX);
        sim_guest_init(g, w->n_guests + 1, maximum_kib, demand_kib, now, (wall - now) / MLG_USEC_PER_SEC);
        g->report_usec = 100000;
        g->report_due_usec = now;
        w->present[w->n_guests++] = true;
        return g;
}

/* ---- what the daemon is told ---- */

static void tell_guest(FakeHypervisor *f, unsigned int i) {
        if (f->known[i] && memcmp(&f->told[i], &f->w->guests[i].info, sizeof(MlgGuestInfo)) == 0)
                return;
        if (!f->known[i])
                g_ptr_array_add(f->host.guests, &f->w->guests[i]);
        f->known[i] = true;
        f->told[i] = f->w->guests[i].info;
        f->base.callbacks->on_guest(&f->told[i], f->base.userdata);
}

static void tell_gone(FakeHypervisor *f, unsigned int i) {
        f->known[i] = false;
        g_ptr_array_remove(f->host.guests, &f->w->guests[i]);
        f->base.callbacks->on_guest_gone(f->told[i].uuid, f->base.userdata);
}

static void finish(FakeHypervisor *f, const Job *j, int r) {
        switch (j->kind) {
        case POLL:
                f->polling = false;
                f->w->n_polls++;
                f->w->n_polls_failed += r < 0;
                j->poll_fn(r, f->entries, r < 0 ? 0 : f->host.guests->len, j->userdata);
                break;
        case LOOK:
                f->w->n_looks++;
                j->look_fn(r, r < 0 ? NULL : &f->looked, j->userdata);
                break;
        case SET_TARGET:
        case SET_PERIOD:
        case SET_PIPE:
        case SET_SWAP:
                j->done_fn(r, r < 0 ? "internal error: No more available PCI slots" : NULL, j->userdata);
                break;
        case RECLAIM:
                j->reclaim_fn(r, r < 0 ? NULL : &f->w->cgroup, r < 0 ? "the fake was told to fail" : NULL, j->userdata);
                break;
        }
}

static void fail_all(FakeHypervisor *f, int r) {
        GArray *jobs = f->jobs;

        f->jobs = g_array_new(FALSE, FALSE, sizeof(Job));
        for (guint i = 0; i < jobs->len; i++)
                finish(f, &g_array_index(jobs, Job, i), r);
        g_array_unref(jobs);
}

static void look(FakeHypervisor *f) {
        bool connected = f->w->connected;

        if (connected != f->connected) {
                f->connected = connected;
                if (!connected)
                        fail_all(f, -ENOTCONN);
                f->base.callbacks->on_connection(connected, connected ? "" : "the fake was told to",
                                                 f->base.userdata);
                /* All are told again. Meanwhile their memory moves on without being looked at. */
                memset(f->known, 0, sizeof(f->known));
                g_ptr_array_set_size(f->host.guests, 0);
                f->w->n_disconnects += !connected;
        }
        for (unsigned int i = 0; connected && i < f->w->n_guests; i++)
                if (f->w->present[i])
                        tell_guest(f, i);
                else if (f->known[i])
                        tell_gone(f, i);
}

/* ---- requests ---- */

static bool read_guest(const SimGuest *g, MlgRawStats *ret) {
        bool answers = sim_guest_read(g, ret);

        ret->have &= ~(uint32_t) MLG_HAVE_RSS; /* these guests occupy nothing of the real host */
        return answers;
}

static void read_guests(FakeHypervisor *f) {
        for (guint i = 0; i < f->host.guests->len; i++) {
                const SimGuest *g = f->host.guests->pdata[i];
                bool answers = read_guest(g, &f->raw[i]);

                f->entries[i] = (MlgPollEntry) { .uuid = g->info.uuid, .raw = answers ? &f->raw[i] : NULL };
        }
}

/* -ENOSPC: it has no place for another one. */
static int set_pipe_of(SimGuest *g, const char *path, bool attach, uint32_t max) {
        char(*paths)[MLG_MONITOR_PATH_MAX + 1] = g->info.pipe_paths;
        size_t n = 0, kept = 0;

        if (attach && max > 0 && paths[max - 1][0])
                return -ENOSPC;

        for (; n < MLG_PIPE_DEVICES_MAX && paths[n][0]; n++)
                if (!g_str_equal(paths[n], path))
                        memmove(paths[kept++], paths[n], sizeof(paths[n]));
        if (attach && kept < MLG_PIPE_DEVICES_MAX)
                g_strlcpy(paths[kept++], path, sizeof(paths[0]));
        if (kept < n)
                memset(paths[kept], 0, (n - kept) * sizeof(paths[0]));
        return 0;
}

static int execute(FakeHypervisor *f, const Job *j) {
        SimGuest *g;

        if (j->kind == POLL) {
                read_guests(f);
                return 0;
        }
        g = sim_host_find(&f->host, j->uuid);
        if (!g)
                return -ENODEV;
        switch (j->kind) {
        case LOOK:
                return read_guest(g, &f->looked) ? 0 : -ETIMEDOUT;
        case SET_TARGET:
                f->w->n_sets++;
                return sim_guest_set(g, j->value);
        case SET_PERIOD:
                f->w->n_periods++;
                g->info.stats_period_sec = (uint32_t) j->value;
                break;
        case RECLAIM:
                f->w->n_cgroup_reads += j->value == 0;
                f->w->reclaimed_kib += f->w->cgroup_error ? 0 : j->value;
                return f->w->cgroup_error;
        case SET_PIPE:
                if (f->w->pipes_busy > 0) {
                        f->w->pipes_busy--;
                        return -EAGAIN;
                }
                return set_pipe_of(g, j->path, j->value, f->w->pipes_max);
        case SET_SWAP:
                g_strlcpy(g->info.swap_path, j->value ? j->path : "", sizeof(g->info.swap_path));
                break;
        case POLL:
                break;
        }
        return 0;
}

static bool hangs(const FakeHypervisor *f, const Job *j) {
        const SimGuest *g = sim_host_find(&f->host, j->uuid);

        switch (j->kind) {
        case POLL:
                return f->w->polls_hang;
        case SET_PERIOD:
                return f->w->periods_hang || (g && (g->faults & SIM_STOPPED));
        case SET_TARGET:
        case SET_PIPE:
        case SET_SWAP:
        case LOOK:
                return g && (g->faults & SIM_STOPPED);
        case RECLAIM: /* a cgroup answers for a QEMU that does not */
                break;
        }
        return false;
}

static bool is_due(FakeHypervisor *f, const Job *j, uint64_t now_usec, int *ret) {
        uint64_t start;
        bool hanging;

        if (now_usec < j->due_usec)
                return false;
        start = clock_usec(CLOCK_THREAD_CPUTIME_ID);
        hanging = hangs(f, j);
        *ret = !hanging ? execute(f, j) : -ETIMEDOUT;
        f->w->cpu_usec += clock_usec(CLOCK_THREAD_CPUTIME_ID) - start;
        return !hanging || now_usec >= j->deadline_usec;
}

static int dispatch(uint64_t now_usec, void *userdata) {
        FakeHypervisor *f = userdata;
        uint64_t start = clock_usec(CLOCK_THREAD_CPUTIME_ID);
        int r;

        sim_host_advance(&f->host, now_usec);
        f->w->cpu_usec += clock_usec(CLOCK_THREAD_CPUTIME_ID) - start;
        if (f->started && now_usec >= f->look_usec) {
                look(f);
                f->look_usec = f->w->watch_usec ? now_usec + f->w->watch_usec : MLG_USEC_NEVER;
        }
        for (guint i = 0; i < f->jobs->len;) {
                Job j = g_array_index(f->jobs, Job, i);

                if (!is_due(f, &j, now_usec, &r)) {
                        i++;
                        continue;
                }
                g_array_remove_index(f->jobs, i);
                finish(f, &j, r);
                i = 0; /* the callback may have changed the table */
        }
        return 0;
}

static uint64_t next_usec(void *userdata) {
        const FakeHypervisor *f = userdata;
        uint64_t next = f->started ? f->look_usec : MLG_USEC_NEVER;

        for (guint i = 0; i < f->jobs->len; i++) {
                const Job *j = &g_array_index(f->jobs, Job, i);

                next = mlg_min(next, hangs(f, j) ? j->deadline_usec : j->due_usec);
        }
        return next;
}

static short events(void *userdata) {
        return 0;
}

static void add(FakeHypervisor *f, Job j, const char *uuid) {
        j.due_usec = clock_usec(CLOCK_MONOTONIC) + f->w->answer_usec;
        g_strlcpy(j.uuid, uuid, sizeof(j.uuid));
        g_array_append_val(f->jobs, j);
}

static void fake_start(MlgHypervisor *h) {
        ((FakeHypervisor *) h)->started = true;
}

static int fake_poll(MlgHypervisor *h, uint64_t deadline_usec, MlgPollFn fn, void *userdata) {
        FakeHypervisor *f = (FakeHypervisor *) h;

        if (!f->connected)
                return -ENOTCONN;
        if (f->polling)
                return -EBUSY;
        f->polling = true;
        add(f, (Job) { .kind = POLL, .deadline_usec = deadline_usec, .poll_fn = fn, .userdata = userdata },
            "");
        return 0;
}

static int fake_look(MlgHypervisor *h, const char *uuid, uint64_t deadline_usec, MlgLookFn fn,
                     void *userdata) {
        FakeHypervisor *f = (FakeHypervisor *) h;

        if (!f->connected)
                return -ENOTCONN;
        add(f, (Job) { .kind = LOOK, .deadline_usec = deadline_usec, .look_fn = fn, .userdata = userdata },
            uuid);
        return 0;
}

static int fake_set_target(MlgHypervisor *h, const char *uuid, uint64_t target_kib, uint64_t deadline_usec,
                           MlgDoneFn fn, void *userdata) {
        FakeHypervisor *f = (FakeHypervisor *) h;

        if (!f->connected)
                return -ENOTCONN;
        add(f,
            (Job) { .kind = SET_TARGET,
                   .value = target_kib,
                   .deadline_usec = deadline_usec,
                   .done_fn = fn,
                   .userdata = userdata },
            uuid);
        return 0;
}

static int fake_set_stats_period(MlgHypervisor *h, const char *uuid, uint32_t period_sec,
                                 uint64_t deadline_usec, MlgDoneFn fn, void *userdata) {
        FakeHypervisor *f = (FakeHypervisor *) h;

        if (!f->connected)
                return -ENOTCONN;
        add(f,
            (Job) { .kind = SET_PERIOD,
                   .value = period_sec,
                   .deadline_usec = deadline_usec,
                   .done_fn = fn,
                   .userdata = userdata },
            uuid);
        return 0;
}

static int fake_reclaim(MlgHypervisor *h, const char *uuid, uint64_t kib, uint64_t deadline_usec, MlgReclaimFn fn,
                        void *userdata) {
        FakeHypervisor *f = (FakeHypervisor *) h;

        if (!f->connected)
                return -ENOTCONN;
        add(f,
            (Job) { .kind = RECLAIM,
                   .value = kib,
                   .deadline_usec = deadline_usec,
                   .reclaim_fn = fn,
                   .userdata = userdata },
            uuid);
        return 0;
}

static int set_shmem(MlgHypervisor *h, const char *uuid, MlgShmemKind kind, const char *path, bool attach,
                     uint64_t deadline_usec, MlgDoneFn fn, void *userdata) {
        FakeHypervisor *f = (FakeHypervisor *) h;
        Job j = { .kind = kind == MLG_SHMEM_SWAP ? SET_SWAP : SET_PIPE, .value = attach, .deadline_usec = deadline_usec,
                  .done_fn = fn, .userdata = userdata };

        if (!f->connected)
                return -ENOTCONN;
        g_strlcpy(j.path, path, sizeof(j.path));
        add(f, j, uuid);
        return 0;
}

static int fake_attach_shmem(MlgHypervisor *h, const char *uuid, MlgShmemKind kind, const char *path,
                             uint64_t deadline_usec, MlgDoneFn fn, void *userdata) {
        return set_shmem(h, uuid, kind, path, true, deadline_usec, fn, userdata);
}

static int fake_detach_shmem(MlgHypervisor *h, const char *uuid, MlgShmemKind kind, const char *path,
                             uint64_t deadline_usec, MlgDoneFn fn, void *userdata) {
        return set_shmem(h, uuid, kind, path, false, deadline_usec, fn, userdata);
}

static void fake_free(MlgHypervisor *h) {
        FakeHypervisor *f = (FakeHypervisor *) h;

        g_array_unref(f->jobs);
        sim_host_clear(&f->host);
        (void) close(f->pollable.fd);
        g_free(f);
}

static const MlgHypervisorOps fake_ops = {
        .name = "fake",
        .start = fake_start,
        .poll = fake_poll,
        .look = fake_look,
        .set_target = fake_set_target,
        .set_stats_period = fake_set_stats_period,
        .reclaim = fake_reclaim,
        .attach_shmem = fake_attach_shmem,
        .detach_shmem = fake_detach_shmem,
        .free = fake_free,
};

int fake_hypervisor_make(const char *uri, const MlgDaemonSettings *settings,
                         const MlgHypervisorCallbacks *callbacks, void *userdata, MlgHypervisor **ret,
                         const MlgPollable **ret_pollable) {
        FakeHypervisor *f = g_new0(FakeHypervisor, 1);

        f->base = (MlgHypervisor) { .ops = &fake_ops, .callbacks = callbacks, .userdata = userdata };
        f->w = fake_world;
        sim_host_init(&f->host, 0, 0);
        g_ptr_array_set_free_func(f->host.guests, NULL); /* they belong to the world */
        f->jobs = g_array_new(FALSE, FALSE, sizeof(Job));
        f->pollable = (MlgPollable) {
                .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                .events = events,
                .deadline_usec = next_usec,
                .dispatch = dispatch,
                .userdata = f,
        };
        *ret = &f->base;
        *ret_pollable = &f->pollable;
        return 0;
}
