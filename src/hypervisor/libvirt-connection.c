/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-connection: the one connection that listens: made, with back-off until there is one; lost; closed;
 * and what it hears. Opening and closing block, and are left to workers. */
#include "hypervisor/libvirt-private.h"

#include <errno.h>

#include "hypervisor/libvirt-calls.h"

#define CONNECT_TIMEOUT_USEC (60 * MLG_USEC_PER_SEC) /* libvirtd may have to probe QEMU first */
#define BACKOFF_MAX_SEC 30

/* --- losing it --- */

static int run_close(void *context, void *data) {
        MlgLibvirtCall *d = data;

        d->events = mlg_libvirt_events_close(d->events);
        return 0;
}

/* A close that was begun is the thread's, however long it takes. */
static void on_closed(int r, void *data, void *userdata) {
        g_autofree MlgLibvirtTicket *t = userdata;

        if (r == -ETIME)
                g_queue_push_tail(&t->l->unclosed, t->closing);
}

static int submit_close(MlgLibvirt *l, MlgLibvirtEvents *events) {
        MlgLibvirtCall *d = mlg_libvirt_call_new(NULL);
        MlgLibvirtTicket *t = mlg_libvirt_ticket_new(l, NULL);

        d->events = t->closing = events;
        return mlg_libvirt_submit(l, run_close, d, on_closed, t,
                                  mlg_libvirt_now_usec() + CONNECT_TIMEOUT_USEC, true);
}

static void close_events(MlgLibvirt *l, MlgLibvirtEvents *events) {
        if (!events)
                return;
        mlg_libvirt_events_shut(events);
        if (submit_close(l, events) < 0)
                g_queue_push_tail(&l->unclosed, events);
}

/* Not one thread was left then; each that comes back wakes the adapter. */
void mlg_libvirt_close_unclosed(MlgLibvirt *l) {
        while (l->unclosed.length > 0 && submit_close(l, l->unclosed.head->data) >= 0)
                (void) g_queue_pop_head(&l->unclosed);
}

static void connect_later(MlgLibvirt *l) {
        l->connect_at_usec = mlg_libvirt_now_usec() + l->backoff_sec * MLG_USEC_PER_SEC;
        l->backoff_sec = MIN(l->backoff_sec * 2, BACKOFF_MAX_SEC);
}

void mlg_libvirt_lost(MlgLibvirt *l, const char *why) {
        g_autofree char *reason = g_strdup(why); /* may belong to what is freed here */

        if (!l->events)
                return;
        l->epoch++;
        close_events(l, g_steal_pointer(&l->events));
        connect_later(l);
        l->told_failure = true;
        l->base.callbacks->on_connection(false, reason ?: "connection to libvirt lost", l->base.userdata);
}

/* For the end: when everything hangs the kernel closes what is left. */
void mlg_libvirt_close_connections(MlgLibvirt *l) {
        mlg_libvirt_close_unclosed(l);
        close_events(l, g_steal_pointer(&l->events));
        g_queue_clear(&l->unclosed);
}

/* --- making it --- */

static int run_connect(void *context, void *data) {
        MlgLibvirtCall *d = data;
        int wake_fd = d->wake_fd;
        int r;

        d->wake_fd = -1;
        r = mlg_libvirt_events_open(d->uri, wake_fd, &d->events, &d->why);
        if (r < 0)
                return r;
        r = mlg_libvirt_list(mlg_libvirt_events_connection(d->events), &d->array, &d->why);
        if (r < 0)
                d->events = mlg_libvirt_events_close(d->events);
        return r;
}

/* A connection that was made too late, or is not wanted because the adapter ends: closing it takes up to a
 * dozen calls, which the pool leaves to a thread. At the end it may stay open, for the kernel to close. */
static void connect_data_free(void *userdata) {
        MlgLibvirtCall *d = userdata;

        mlg_libvirt_events_close(d->events);
        mlg_libvirt_call_free(d);
}

static void connected(MlgLibvirt *l, MlgLibvirtCall *d) {
        g_autofree char *why = g_strdup_printf("connected to %s, %u guests", l->uri, d->array->len);

        l->events = g_steal_pointer(&d->events);
        l->backoff_sec = 1;
        l->told_failure = false;
        l->base.callbacks->on_connection(true, why, l->base.userdata);
        mlg_libvirt_take_list(l, d->array);
}

static void on_connected(int r, void *data, void *userdata) {
        g_autofree MlgLibvirtTicket *t = userdata;
        MlgLibvirt *l = t->l;
        MlgLibvirtCall *d = data;
        const char *why;

        if (r == -ECANCELED)
                return;
        l->connecting = false;
        if (r >= 0) {
                connected(l, d);
                return;
        }
        connect_later(l);
        if (l->told_failure)
                return; /* each attempt fails the same way: said once */
        l->told_failure = true;
        why = d && d->why ? d->why : "libvirt does not answer";
        l->base.callbacks->on_connection(false, why, l->base.userdata);
}

void mlg_libvirt_connect(MlgLibvirt *l) {
        MlgLibvirtCall *d = mlg_libvirt_call_new(NULL);
        MlgJob job = {
                .run = run_connect, .done = on_connected, .data = d, .data_free = connect_data_free,
                .deadline_usec = mlg_libvirt_now_usec() + CONNECT_TIMEOUT_USEC,
        };

        l->connect_at_usec = MLG_USEC_NEVER;
        d->uri = g_strdup(l->uri);
        d->wake_fd = mlg_workers_dup_wake_fd(l->workers);
        job.userdata = mlg_libvirt_ticket_new(l, NULL);
        if (d->wake_fd >= 0 && mlg_workers_submit(l->workers, &job) >= 0) {
                l->connecting = true;
                return;
        }
        g_free(job.userdata);
        mlg_libvirt_call_free(d);
        connect_later(l);
}

/* --- what it hears --- */

static void handle_event(MlgLibvirt *l, const MlgLibvirtEvent *e) {
        const MlgHypervisorCallbacks *callbacks = l->base.callbacks;
        MlgLibvirtGuest *g = e->kind == MLG_LIBVIRT_EVENT_CLOSED ? NULL : mlg_libvirt_guest_get(l, e->uuid);

        switch (e->kind) {
        case MLG_LIBVIRT_EVENT_CLOSED:
                mlg_libvirt_lost(l, "libvirt closed the connection");
                return;
        case MLG_LIBVIRT_EVENT_CHANGED:
                mlg_libvirt_guest_read(l, g ?: mlg_libvirt_guest_add(l, e->uuid));
                return;
        case MLG_LIBVIRT_EVENT_BALLOON:
                if (g && mlg_libvirt_guest_has_devices(g))
                        mlg_libvirt_guest_read(l, g); /* it tells the size without them */
                else if (g && g->reported)
                        callbacks->on_event(e->uuid, MLG_GUEST_EVENT_BALLOON, e->value, l->base.userdata);
                return;
        case MLG_LIBVIRT_EVENT_REBOOT:
                if (g && g->reported)
                        callbacks->on_event(e->uuid, MLG_GUEST_EVENT_REBOOT, 0, l->base.userdata);
                return;
        case MLG_LIBVIRT_EVENT_JOB:
        case MLG_LIBVIRT_EVENT_JOB_ENDED:
                if (g)
                        mlg_libvirt_guest_set_job(l, g, e->kind == MLG_LIBVIRT_EVENT_JOB);
                return;
        case _MLG_LIBVIRT_EVENT_MAX:
                return;
        }
}

void mlg_libvirt_handle_events(MlgLibvirt *l) {
        g_autoptr(GArray) events = l->events ? mlg_libvirt_events_take(l->events) : NULL;

        for (guint i = 0; events && i < events->len && l->events; i++)
                handle_event(l, &g_array_index(events, MlgLibvirtEvent, i));
}
