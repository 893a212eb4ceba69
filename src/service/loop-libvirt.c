/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loop-libvirt: libvirt's event API (virEventRegisterImpl) as one pollable of the loop.
 *
 * libvirt's client code calls these functions from any thread, often while it holds locks that its callbacks
 * want too. Invariants:
 * (1) The descriptors sit in an epoll set of our own. It is changed at once by the thread that asks, so a
 *     descriptor is out of the set before the caller closes it, and no call here ever waits for the loop's
 *     thread.
 * (2) Callbacks and ff() run on the loop's thread only, without our lock; ff() runs after remove, never
 *     inside a call of libvirt's and never while the callback runs.
 * (3) A handle with no wanted events is not in the set: epoll would report a hang-up of it for ever.
 * (4) The state is one per process because libvirt's is; it outlives a loop and can be given to the next
 *     one. */
#include "service/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <libvirt/libvirt.h>

#include "util/util.h"

#define WAKE_ID 0 /* ids of handles start at 1 */

typedef struct Handle {
        int id;
        int fd;
        int set_fd; /* in the epoll set: fd, or a copy if another handle put fd there; -1: nothing */
        int events; /* VIR_EVENT_HANDLE_* wanted */
        virEventHandleCallback cb;
        void *opaque;
        virFreeCallback ff;
} Handle;

typedef struct Timeout {
        int id;
        int interval_ms; /* < 0: disabled */
        uint64_t next_usec;
        virEventTimeoutCallback cb;
        void *opaque;
        virFreeCallback ff;
} Timeout;

typedef struct Corpse {
        void *opaque;
        virFreeCallback ff;
} Corpse;

static struct {
        pthread_mutex_t lock; /* for all below but the descriptors, which never change */
        bool registered;
        int epoll_fd;
        int wake_fd;
        int last_id;
        GHashTable *handles;  /* id -> Handle */
        GHashTable *timeouts; /* id -> Timeout */
        GArray *corpses;      /* Corpse: removed, ff() not yet called */
        uint64_t armed_usec;  /* what the loop was told last to wait for */
} bridge = { .lock = PTHREAD_MUTEX_INITIALIZER, .epoll_fd = -1, .wake_fd = -1 };

static uint64_t after_ms(int ms) {
        return ms < 0 ? MLG_USEC_NEVER : (uint64_t) g_get_monotonic_time() + (uint64_t) ms * 1000;
}

static void wake(void) {
        uint64_t one = 1;

        (void) !write(bridge.wake_fd, &one, sizeof(one)); /* full means that it is awake already */
}

static uint32_t to_epoll(int events) {
        return (events & VIR_EVENT_HANDLE_READABLE ? EPOLLIN : 0) |
               (events & VIR_EVENT_HANDLE_WRITABLE ? EPOLLOUT : 0) |
               (events & VIR_EVENT_HANDLE_ERROR ? EPOLLERR : 0) |
               (events & VIR_EVENT_HANDLE_HANGUP ? EPOLLHUP : 0);
}

static int from_epoll(uint32_t events) {
        return (events & EPOLLIN ? VIR_EVENT_HANDLE_READABLE : 0) |
               (events & EPOLLOUT ? VIR_EVENT_HANDLE_WRITABLE : 0) |
               (events & EPOLLERR ? VIR_EVENT_HANDLE_ERROR : 0) |
               (events & EPOLLHUP ? VIR_EVENT_HANDLE_HANGUP : 0);
}

static void handle_leave_set(Handle *h) {
        if (h->set_fd < 0)
                return;
        (void) epoll_ctl(bridge.epoll_fd, EPOLL_CTL_DEL, h->set_fd, NULL);
        if (h->set_fd != h->fd)
                (void) close(h->set_fd);
        h->set_fd = -1;
}

static int handle_enter_set(Handle *h) {
        struct epoll_event ev = { .events = to_epoll(h->events), .data.u64 = (uint64_t) h->id };
        int copy;

        if (epoll_ctl(bridge.epoll_fd, EPOLL_CTL_ADD, h->fd, &ev) >= 0) {
                h->set_fd = h->fd;
                return 0;
        }
        if (errno != EEXIST)
                return -errno;
        copy = fcntl(h->fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
                return -errno;
        if (epoll_ctl(bridge.epoll_fd, EPOLL_CTL_ADD, copy, &ev) < 0) {
                int r = -errno;

                (void) close(copy);
                return r;
        }
        h->set_fd = copy;
        return 0;
}

/* The set, as h->events wants it. */
static int handle_sync(Handle *h) {
        struct epoll_event ev = { .events = to_epoll(h->events), .data.u64 = (uint64_t) h->id };

        if (h->events == 0) {
                handle_leave_set(h);
                return 0;
        }
        if (h->set_fd < 0)
                return handle_enter_set(h);
        return epoll_ctl(bridge.epoll_fd, EPOLL_CTL_MOD, h->set_fd, &ev) < 0 ? -errno : 0;
}

static int next_id(void) {
        do
                bridge.last_id = bridge.last_id == G_MAXINT ? 1 : bridge.last_id + 1;
        while (g_hash_table_contains(bridge.handles, GINT_TO_POINTER(bridge.last_id)) ||
               g_hash_table_contains(bridge.timeouts, GINT_TO_POINTER(bridge.last_id)));
        return bridge.last_id;
}

static int add_handle(int fd, int events, virEventHandleCallback cb, void *opaque, virFreeCallback ff) {
        g_autofree Handle *h = g_new(Handle, 1);
        int id = -1;

        pthread_mutex_lock(&bridge.lock);
        *h = (Handle) {
                .id = next_id(), .fd = fd, .set_fd = -1, .events = events,
                .cb = cb, .opaque = opaque, .ff = ff,
        };
        if (handle_sync(h) >= 0) {
                id = h->id;
                g_hash_table_insert(bridge.handles, GINT_TO_POINTER(id), g_steal_pointer(&h));
        }
        pthread_mutex_unlock(&bridge.lock);
        return id;
}

static void update_handle(int id, int events) {
        Handle *h;

        pthread_mutex_lock(&bridge.lock);
        h = g_hash_table_lookup(bridge.handles, GINT_TO_POINTER(id));
        if (h && h->events != events) {
                h->events = events;
                (void) handle_sync(h);
        }
        pthread_mutex_unlock(&bridge.lock);
}

static void bury(void *opaque, virFreeCallback ff) {
        Corpse c = { .opaque = opaque, .ff = ff };

        if (!ff)
                return;
        g_array_append_val(bridge.corpses, c);
        wake();
}

static int remove_handle(int id) {
        Handle *h;

        pthread_mutex_lock(&bridge.lock);
        h = g_hash_table_lookup(bridge.handles, GINT_TO_POINTER(id));
        if (h) {
                handle_leave_set(h);
                bury(h->opaque, h->ff);
                g_hash_table_remove(bridge.handles, GINT_TO_POINTER(id));
        }
        pthread_mutex_unlock(&bridge.lock);
        return h ? 0 : -1;
}

/* With the lock held: the loop sleeps until armed_usec; wake it only if that is too late. */
static void timeout_arm(Timeout *t) {
        t->next_usec = after_ms(t->interval_ms);
        if (t->next_usec < bridge.armed_usec)
                wake();
}

static int add_timeout(int interval_ms, virEventTimeoutCallback cb, void *opaque, virFreeCallback ff) {
        Timeout *t = g_new(Timeout, 1);
        int id;

        pthread_mutex_lock(&bridge.lock);
        id = next_id();
        *t = (Timeout) { .id = id, .interval_ms = interval_ms, .cb = cb, .opaque = opaque, .ff = ff };
        g_hash_table_insert(bridge.timeouts, GINT_TO_POINTER(id), t);
        timeout_arm(t);
        pthread_mutex_unlock(&bridge.lock);
        return id;
}

static void update_timeout(int id, int interval_ms) {
        Timeout *t;

        pthread_mutex_lock(&bridge.lock);
        t = g_hash_table_lookup(bridge.timeouts, GINT_TO_POINTER(id));
        if (t) {
                t->interval_ms = interval_ms;
                timeout_arm(t);
        }
        pthread_mutex_unlock(&bridge.lock);
}

static int remove_timeout(int id) {
        Timeout *t;

        pthread_mutex_lock(&bridge.lock);
        t = g_hash_table_lookup(bridge.timeouts, GINT_TO_POINTER(id));
        if (t) {
                bury(t->opaque, t->ff);
                g_hash_table_remove(bridge.timeouts, GINT_TO_POINTER(id));
        }
        pthread_mutex_unlock(&bridge.lock);
        return t ? 0 : -1;
}

static short bridge_events(void *userdata) {
        return POLLIN;
}

static uint64_t bridge_deadline_usec(void *userdata) {
        uint64_t until = MLG_USEC_NEVER;
        GHashTableIter iter;
        gpointer t;

        pthread_mutex_lock(&bridge.lock);
        g_hash_table_iter_init(&iter, bridge.timeouts);
        while (g_hash_table_iter_next(&iter, NULL, &t))
                until = mlg_min(until, ((Timeout *) t)->next_usec);
        if (bridge.corpses->len > 0)
                until = 0;
        bridge.armed_usec = until;
        pthread_mutex_unlock(&bridge.lock);
        return until;
}

static void call_handle(int id, uint32_t events) {
        Handle h = { .cb = NULL };
        const Handle *found;

        /* Another thread may remove it after this look. That only buries it: opaque stays alive until ff(),
         * which is called by this thread, later. */
        pthread_mutex_lock(&bridge.lock);
        found = g_hash_table_lookup(bridge.handles, GINT_TO_POINTER(id));
        if (found)
                h = *found;
        pthread_mutex_unlock(&bridge.lock);

        events &= to_epoll(h.events) | EPOLLERR | EPOLLHUP;
        if (h.cb && h.events != 0 && events != 0)
                h.cb(id, h.fd, from_epoll(events), h.opaque);
}

static void call_handles(void) {
        struct epoll_event ready[32];
        uint64_t drained;
        int n;

        n = epoll_wait(bridge.epoll_fd, ready, G_N_ELEMENTS(ready), 0);
        for (int i = 0; i < n; i++) {
                if (ready[i].data.u64 == WAKE_ID)
                        (void) !read(bridge.wake_fd, &drained, sizeof(drained));
                else
                        call_handle((int) ready[i].data.u64, ready[i].events);
        }
}

static void call_timeout(int id, uint64_t now_usec) {
        Timeout t = { .cb = NULL };
        Timeout *found;

        pthread_mutex_lock(&bridge.lock);
        found = g_hash_table_lookup(bridge.timeouts, GINT_TO_POINTER(id));
        if (found && found->next_usec <= now_usec) {
                found->next_usec = after_ms(found->interval_ms);
                t = *found;
        }
        pthread_mutex_unlock(&bridge.lock);

        if (t.cb)
                t.cb(id, t.opaque);
}

static void call_timeouts(uint64_t now_usec) {
        g_autoptr(GArray) due = g_array_new(FALSE, FALSE, sizeof(int));
        GHashTableIter iter;
        gpointer value;

        pthread_mutex_lock(&bridge.lock);
        g_hash_table_iter_init(&iter, bridge.timeouts);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Timeout *t = value;

                if (t->next_usec <= now_usec)
                        g_array_append_val(due, t->id);
        }
        pthread_mutex_unlock(&bridge.lock);

        for (guint i = 0; i < due->len; i++)
                call_timeout(g_array_index(due, int, i), now_usec);
}

static void call_ffs(void) {
        g_autoptr(GArray) corpses = NULL;

        pthread_mutex_lock(&bridge.lock);
        if (bridge.corpses->len > 0) {
                corpses = bridge.corpses;
                bridge.corpses = g_array_new(FALSE, FALSE, sizeof(Corpse));
        }
        pthread_mutex_unlock(&bridge.lock);

        for (guint i = 0; corpses && i < corpses->len; i++) {
                const Corpse *c = &g_array_index(corpses, Corpse, i);

                c->ff(c->opaque);
        }
}

static int bridge_dispatch(uint64_t now_usec, void *userdata) {
        call_handles();
        call_timeouts(now_usec);
        call_ffs();
        return 0;
}

static int bridge_open(void) {
        struct epoll_event ev = { .events = EPOLLIN, .data.u64 = WAKE_ID };
        _mlg_cleanup_fd_ int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        _mlg_cleanup_fd_ int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

        if (epoll_fd < 0 || wake_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &ev) < 0)
                return -errno;
        bridge.handles = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        bridge.timeouts = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        bridge.corpses = g_array_new(FALSE, FALSE, sizeof(Corpse));
        bridge.armed_usec = MLG_USEC_NEVER;
        bridge.epoll_fd = epoll_fd;
        bridge.wake_fd = wake_fd;
        epoll_fd = wake_fd = -1;
        return 0;
}

/* Once per process for libvirt; a later call moves the events to another loop, after the first one was
 * freed. */
int mlg_loop_register_libvirt(MlgLoop *l) {
        MlgPollable p = {
                .events = bridge_events, .deadline_usec = bridge_deadline_usec, .dispatch = bridge_dispatch,
        };
        MlgWatch *w;
        int r;

        if (!bridge.registered) {
                r = bridge_open();
                if (r < 0)
                        return r;
                virEventRegisterImpl(add_handle, update_handle, remove_handle,
                                     add_timeout, update_timeout, remove_timeout);
                bridge.registered = true;
        }
        p.fd = bridge.epoll_fd;
        return mlg_loop_watch(l, &p, &w); /* freed with the loop */
}
