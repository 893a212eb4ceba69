/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt: the adapter as a whole: its life, its pollable, and how work gets to the workers. The rest, and
 * what always holds, is listed in libvirt-private.h. */
#include "hypervisor/libvirt.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

#include <glib.h>

#include "hypervisor/libvirt-calls.h"
#include "hypervisor/libvirt-private.h"

#define WORKERS_MAX 16
#define PARKED_MAX 8     /* with the workers less than the 20 calls that libvirtd serves at a time */
#define QUEUED_MAX 16384 /* libvirt's own limit of guests: each may have to be read anew */
/* Questions to agents: some ten milliseconds where all is well, and seconds where it is not. */
#define ASKERS 2
#define ASKERS_PARKED_MAX 2
/* See libvirt-cgroup.c; a swap device that is gone parks them. */
#define RECLAIMERS 1
#define RECLAIMERS_PARKED_MAX 2

uint64_t mlg_libvirt_deadline_or_default(const MlgLibvirt *l, uint64_t deadline_usec) {
        if (deadline_usec == 0 || deadline_usec == MLG_USEC_NEVER)
                return mlg_libvirt_now_usec() + l->call_timeout_usec;
        return deadline_usec;
}

/* Frees what the job still owns. events is closed by a job of its own: closing blocks. */
void mlg_libvirt_call_free(void *userdata) {
        MlgLibvirtCall *d = userdata;

        if (d->calls) {
                (void) g_atomic_int_dec_and_test(d->calls);
                g_atomic_rc_box_release(d->calls);
        }
        mlg_close_fd(&d->wake_fd);
        if (d->array)
                g_array_unref(d->array);
        g_free(d->uri);
        g_free(d->name);
        g_free(d->text);
        g_free(d->why);
        g_free(d);
}

MlgLibvirtCall *mlg_libvirt_call_new(const char *uuid) {
        MlgLibvirtCall *d = g_new0(MlgLibvirtCall, 1);

        d->wake_fd = -1;
        if (uuid)
                (void) g_strlcpy(d->uuid, uuid, sizeof(d->uuid));
        return d;
}

int mlg_libvirt_submit_to(MlgWorkers *w, MlgJobRunFn run, MlgLibvirtCall *d, MlgJobDoneFn done, MlgLibvirtTicket *ticket,
                          uint64_t deadline_usec, bool urgent) {
        MlgJob job = {
                .run = run, .done = done, .data = d, .data_free = mlg_libvirt_call_free, .userdata = ticket,
                .deadline_usec = deadline_usec, .urgent = urgent,
        };
        int r = mlg_workers_submit(w, &job);

        if (r < 0) {
                mlg_libvirt_call_free(d);
                g_free(ticket);
        }
        return r;
}

int mlg_libvirt_submit(MlgLibvirt *l, MlgJobRunFn run, MlgLibvirtCall *d, MlgJobDoneFn done,
                       MlgLibvirtTicket *ticket, uint64_t deadline_usec, bool urgent) {
        return mlg_libvirt_submit_to(l->workers, run, d, done, ticket, deadline_usec, urgent);
}

MlgLibvirtTicket *mlg_libvirt_ticket_new(MlgLibvirt *l, const char *uuid) {
        MlgLibvirtTicket *t = g_new0(MlgLibvirtTicket, 1);

        t->l = l;
        t->epoch = l->epoch;
        if (uuid)
                (void) g_strlcpy(t->uuid, uuid, sizeof(t->uuid));
        return t;
}

bool mlg_libvirt_is_current(const MlgLibvirtTicket *t) {
        return t->epoch == t->l->epoch;
}

static void libvirt_start(MlgHypervisor *h) {
        MlgLibvirt *l = (MlgLibvirt *) h;

        if (!l->events && !l->connecting)
                l->connect_at_usec = 0;
}

static void free_parts(MlgLibvirt *l) {
        mlg_workers_free(l->reclaimers);
        mlg_workers_free(l->askers);
        mlg_workers_free(l->workers);
        mlg_libvirt_drop_replies(l);
        g_hash_table_unref(l->guests);
        mlg_close_fd(&l->epoll);
        g_free(l->uri);
        g_free(l);
}

static void libvirt_free(MlgHypervisor *h) {
        MlgLibvirt *l = (MlgLibvirt *) h;

        if (!h)
                return;
        mlg_libvirt_close_connections(l);
        free_parts(l);
}

static short libvirt_events(void *userdata) {
        return POLLIN;
}

static uint64_t due_usec(MlgWorkers *w) {
        const MlgPollable *p = mlg_workers_pollable(w);

        return p->deadline_usec(p->userdata);
}

static int dispatch_workers(MlgWorkers *w, uint64_t now) {
        const MlgPollable *p = mlg_workers_pollable(w);

        return p->dispatch(now, p->userdata);
}

static uint64_t libvirt_deadline_usec(void *userdata) {
        MlgLibvirt *l = userdata;

        if (l->replies.length > 0 || l->poll_refused)
                return 0;
        return mlg_min(mlg_min(l->connect_at_usec, due_usec(l->workers)),
                       mlg_min(due_usec(l->askers), due_usec(l->reclaimers)));
}

static int libvirt_dispatch(uint64_t now, void *userdata) {
        MlgLibvirt *l = userdata;
        int r;

        r = dispatch_workers(l->workers, now);
        if (r >= 0)
                r = dispatch_workers(l->askers, now);
        if (r >= 0)
                r = dispatch_workers(l->reclaimers, now);
        if (r < 0)
                return r;
        mlg_libvirt_close_unclosed(l);
        mlg_libvirt_handle_events(l);
        mlg_libvirt_send_replies(l);
        mlg_libvirt_end_refused_poll(l);
        if (l->connect_at_usec <= now)
                mlg_libvirt_connect(l);
        return 0;
}

static const MlgHypervisorOps libvirt_ops = {
        .name = "libvirt",
        .start = libvirt_start,
        .poll = mlg_libvirt_op_poll,
        .look = mlg_libvirt_op_look,
        .set_target = mlg_libvirt_op_set_target,
        .set_stats_period = mlg_libvirt_op_set_stats_period,
        .attach_monitor = mlg_libvirt_op_attach_monitor,
        .attach_shmem = mlg_libvirt_op_attach_shmem,
        .detach_shmem = mlg_libvirt_op_detach_shmem,
        .ask_agent = mlg_libvirt_op_ask_agent,
        .reclaim = mlg_libvirt_op_reclaim,
        .free = libvirt_free,
};

static void *context_new(void *userdata) {
        return mlg_libvirt_context_new(((MlgLibvirt *) userdata)->uri);
}

static void context_free(void *context) {
        mlg_libvirt_context_free(context);
}

static int workers_new(MlgLibvirt *l, uint32_t n_threads, unsigned max_parked, MlgWorkers **ret) {
        MlgWorkersOptions options = {
                .n_threads = n_threads, .max_parked = max_parked, .max_queued = QUEUED_MAX,
                .context_new = context_new, .context_free = context_free, .userdata = l,
        };
        struct epoll_event event = { .events = EPOLLIN };
        int r = mlg_workers_new(&options, ret);

        if (r < 0)
                return r;
        return epoll_ctl(l->epoll, EPOLL_CTL_ADD, mlg_workers_pollable(*ret)->fd, &event) < 0 ? -errno : 0;
}

static int pools_new(MlgLibvirt *l, uint32_t n_threads) {
        int r;

        l->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (l->epoll < 0)
                return -errno;
        r = workers_new(l, n_threads, PARKED_MAX, &l->workers);
        if (r >= 0)
                r = workers_new(l, ASKERS, ASKERS_PARKED_MAX, &l->askers);
        return r < 0 ? r : workers_new(l, RECLAIMERS, RECLAIMERS_PARKED_MAX, &l->reclaimers);
}

static const MlgCgroupRoots usual_roots;

/* libvirt's file with a QEMU's process id is known for the system's own libvirtd; elsewhere it may be another host. */
static const MlgCgroupRoots *roots_for(const MlgLibvirtOptions *o) {
        if (o->cgroup_roots)
                return o->cgroup_roots;
        return g_str_equal(o->uri, "qemu:///system") ? &usual_roots : NULL;
}

int mlg_libvirt_new(const MlgLibvirtOptions *options, const MlgHypervisorCallbacks *callbacks,
                    void *userdata, MlgHypervisor **ret) {
        MlgLibvirt *l;
        int r;

        if (options->workers < 1 || options->workers > WORKERS_MAX || options->call_timeout_usec == 0)
                return -EINVAL;
        mlg_libvirt_calls_init();
        l = g_new0(MlgLibvirt, 1);
        l->base = (MlgHypervisor) { .ops = &libvirt_ops, .callbacks = callbacks, .userdata = userdata };
        l->uri = g_strdup(options->uri);
        l->call_timeout_usec = options->call_timeout_usec;
        l->connect_at_usec = MLG_USEC_NEVER;
        l->backoff_sec = 1;
        l->guests = mlg_libvirt_guests_new();
        l->roots = roots_for(options);
        r = pools_new(l, options->workers);
        if (r < 0) {
                free_parts(l);
                return r;
        }
        l->pollable = (MlgPollable) {
                .fd = l->epoll, .events = libvirt_events,
                .deadline_usec = libvirt_deadline_usec, .dispatch = libvirt_dispatch, .userdata = l,
        };
        *ret = &l->base;
        return 0;
}

const MlgPollable *mlg_libvirt_pollable(MlgHypervisor *h) {
        return &((MlgLibvirt *) h)->pollable;
}
