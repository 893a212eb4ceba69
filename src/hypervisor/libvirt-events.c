/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-events: see libvirt-events.h.
 *
 * The queue is counted: one reference for the owner, one for each event callback that libvirt may still
 * call; libvirt gives the latter back from a clean stack, maybe long after the connection was closed. */
#include "hypervisor/libvirt-events.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "hypervisor/libvirt-calls.h"
#include "util/util.h"

/* More than a thousand guests can cause between two turns of the loop; beyond it the whole list is read
 * anew. */
#define QUEUE_MAX 16384

typedef struct Queue {
        pthread_mutex_t lock;
        unsigned n_refs;
        int wake_fd;
        bool shut;
        GArray *events; /* MlgLibvirtEvent */
} Queue;

#define EVENT_IDS_MAX 16

struct MlgLibvirtEvents {
        virConnectPtr connection;
        Queue *queue;
        int callback_ids[EVENT_IDS_MAX];
        unsigned n_callback_ids;
        bool has_close_callback;
};

static Queue *queue_new(int wake_fd) {
        Queue *q = g_new0(Queue, 1);

        pthread_mutex_init(&q->lock, NULL);
        q->n_refs = 1;
        q->wake_fd = wake_fd;
        q->events = g_array_new(FALSE, FALSE, sizeof(MlgLibvirtEvent));
        return q;
}

static Queue *queue_ref(Queue *q) {
        pthread_mutex_lock(&q->lock);
        q->n_refs++;
        pthread_mutex_unlock(&q->lock);
        return q;
}

static void queue_unref(void *userdata) {
        Queue *q = userdata;
        bool last;

        pthread_mutex_lock(&q->lock);
        last = --q->n_refs == 0;
        pthread_mutex_unlock(&q->lock);
        if (!last)
                return;
        pthread_mutex_destroy(&q->lock);
        g_array_unref(q->events);
        mlg_close_fd(&q->wake_fd);
        g_free(q);
}

static void queue_push(Queue *q, MlgLibvirtEventKind kind, virDomainPtr domain, uint64_t value) {
        MlgLibvirtEvent event = { .kind = kind, .value = value };
        uint64_t one = 1;

        if (domain && virDomainGetUUIDString(domain, event.uuid) < 0)
                return;
        pthread_mutex_lock(&q->lock);
        if (!q->shut) {
                if (q->events->len + 1 >= QUEUE_MAX) {
                        event = (MlgLibvirtEvent) { .kind = MLG_LIBVIRT_EVENT_CLOSED };
                        q->shut = true;
                }
                g_array_append_val(q->events, event);
                (void) !write(q->wake_fd, &one, sizeof(one)); /* full means that the loop is awake already */
        }
        pthread_mutex_unlock(&q->lock);
}

GArray *mlg_libvirt_events_take(MlgLibvirtEvents *e) {
        Queue *q = e->queue;
        GArray *events = NULL;

        pthread_mutex_lock(&q->lock);
        if (q->events->len > 0) {
                events = q->events;
                q->events = g_array_new(FALSE, FALSE, sizeof(MlgLibvirtEvent));
        }
        pthread_mutex_unlock(&q->lock);
        return events;
}

static void on_close(virConnectPtr c, int reason, void *userdata) {
        queue_push(userdata, MLG_LIBVIRT_EVENT_CLOSED, NULL, 0);
}

static void on_lifecycle(virConnectPtr c, virDomainPtr domain, int event, int detail, void *userdata) {
        queue_push(userdata, MLG_LIBVIRT_EVENT_CHANGED, domain, 0);
}

static void on_balloon(virConnectPtr c, virDomainPtr domain, unsigned long long actual_kib, void *userdata) {
        queue_push(userdata, MLG_LIBVIRT_EVENT_BALLOON, domain, actual_kib);
}

static void on_reboot(virConnectPtr c, virDomainPtr domain, void *userdata) {
        queue_push(userdata, MLG_LIBVIRT_EVENT_REBOOT, domain, 0);
}

static void on_metadata(virConnectPtr c, virDomainPtr domain, int type, const char *uri, void *userdata) {
        queue_push(userdata, MLG_LIBVIRT_EVENT_CHANGED, domain, 0);
}

static void on_memory_size(virConnectPtr c, virDomainPtr domain, const char *alias, unsigned long long size,
                           void *userdata) {
        queue_push(userdata, MLG_LIBVIRT_EVENT_CHANGED, domain, 0);
}

static void on_device(virConnectPtr c, virDomainPtr domain, const char *alias, void *userdata) {
        queue_push(userdata, MLG_LIBVIRT_EVENT_CHANGED, domain, 0);
}

static void on_agent(virConnectPtr c, virDomainPtr domain, int state, int reason, void *userdata) {
        queue_push(userdata, MLG_LIBVIRT_EVENT_CHANGED, domain, 0);
}

/* QEMU says that it starts a pass over the guest's memory, the first at the very start of a migration: the
 * one sign of it that costs nothing. (Saving a guest does the same.) */
static void on_migration_pass(virConnectPtr c, virDomainPtr domain, int iteration, void *userdata) {
        queue_push(userdata, MLG_LIBVIRT_EVENT_JOB, domain, 0);
}

static void on_job_completed(virConnectPtr c, virDomainPtr domain, virTypedParameterPtr params, int n_params,
                             void *userdata) {
        queue_push(userdata, MLG_LIBVIRT_EVENT_JOB_ENDED, domain, 0);
}

/* libvirt's API takes callbacks of different types through this one. */
static const struct {
        int id;
        virConnectDomainEventGenericCallback callback;
        bool required;
} subscriptions[] = {
        { VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), true },
        { VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_balloon), false },
        { VIR_DOMAIN_EVENT_ID_REBOOT, VIR_DOMAIN_EVENT_CALLBACK(on_reboot), false },
        { VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_metadata), false },
        { VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_memory_size), false },
        { VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_device), false },
        { VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_device), false },
        { VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_agent), false },
        { VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, VIR_DOMAIN_EVENT_CALLBACK(on_migration_pass), false },
        { VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job_completed), false },
};
G_STATIC_ASSERT(G_N_ELEMENTS(subscriptions) <= EVENT_IDS_MAX);

static int subscribe(MlgLibvirtEvents *e) {
        for (size_t i = 0; i < G_N_ELEMENTS(subscriptions); i++) {
                int id = virConnectDomainEventRegisterAny(
                        e->connection, NULL, subscriptions[i].id, subscriptions[i].callback,
                        queue_ref(e->queue), queue_unref);

                if (id >= 0) {
                        e->callback_ids[e->n_callback_ids++] = id;
                        continue;
                }
                queue_unref(e->queue); /* on failure it stays ours */
                if (subscriptions[i].required)
                        return -EOPNOTSUPP;
        }
        /* No reference: drivers without a connection to lose accept the callback and forget to give it back.
         * It is not called any more once it is unregistered, before the owner's reference ends. */
        if (virConnectRegisterCloseCallback(e->connection, on_close, e->queue, NULL) >= 0)
                e->has_close_callback = true;
        return 0;
}

int mlg_libvirt_events_open(const char *uri, int wake_fd, MlgLibvirtEvents **ret, char **ret_why) {
        MlgLibvirtEvents *e = g_new0(MlgLibvirtEvents, 1);
        int r;

        e->queue = queue_new(wake_fd);
        e->connection = virConnectOpen(uri);
        r = e->connection ? 0 : -ENOTCONN;
        if (r >= 0) {
                mlg_libvirt_keep_alive(e->connection);
                r = subscribe(e);
        }
        if (r < 0) {
                *ret_why = g_strdup(virGetLastErrorMessage());
                mlg_libvirt_events_close(e);
                return r;
        }
        *ret = e;
        return 0;
}

void mlg_libvirt_events_shut(MlgLibvirtEvents *e) {
        pthread_mutex_lock(&e->queue->lock);
        e->queue->shut = true;
        pthread_mutex_unlock(&e->queue->lock);
}

MlgLibvirtEvents *mlg_libvirt_events_close(MlgLibvirtEvents *e) {
        if (!e)
                return NULL;
        mlg_libvirt_events_shut(e);

        /* Each callback holds the connection: closing it alone would leave it open. */
        for (unsigned i = 0; i < e->n_callback_ids; i++)
                (void) virConnectDomainEventDeregisterAny(e->connection, e->callback_ids[i]);
        if (e->has_close_callback)
                (void) virConnectUnregisterCloseCallback(e->connection, on_close);
        if (e->connection)
                (void) virConnectClose(e->connection);
        queue_unref(e->queue);
        g_free(e);
        return NULL;
}

void *mlg_libvirt_events_connection(MlgLibvirtEvents *e) {
        return e->connection;
}
