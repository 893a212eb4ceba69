/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Monitor: the set of channels, and its one pollable. See monitor.h. */
#include "hypervisor/monitor.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

#include "hypervisor/monitor-channel.h"
#include "util/util.h"

/* Of one round; who has more to say is ready again in the next one. */
#define EVENTS_MAX 64

struct MlgMonitors {
        const MlgMonitorCallbacks *callbacks;
        void *userdata;
        int epoll;
        GHashTable *channels;  /* uuid -> MlgChannel */
        GPtrArray *dead;       /* MlgChannel: dropped by a callback, freed after the round */
        bool dispatching;
        uint64_t next_usec;    /* not later than the earliest time at which one of them is due */
        MlgPollable pollable;
};

static void free_channel(gpointer p) {
        (void) mlg_channel_free(p);
}

static short monitors_events(void *userdata) {
        return POLLIN;
}

static uint64_t monitors_deadline_usec(void *userdata) {
        return ((MlgMonitors *) userdata)->next_usec;
}

static void take_events(MlgMonitors *m, uint64_t now) {
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(m->epoll, events, EVENTS_MAX, 0);

        for (int i = 0; i < n; i++) {
                MlgChannel *c = events[i].data.ptr;

                if (c->dead)
                        continue;
                mlg_channel_readable(c, now);
                m->next_usec = mlg_min(m->next_usec, mlg_channel_next_usec(c));
        }
}

static void take_due(MlgMonitors *m, uint64_t now) {
        g_autoptr(GPtrArray) all = g_ptr_array_new();
        GHashTableIter iter;
        gpointer value;

        /* A list first: callbacks may change the table. */
        g_hash_table_iter_init(&iter, m->channels);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                g_ptr_array_add(all, value);
        m->next_usec = MLG_USEC_NEVER;
        for (guint i = 0; i < all->len; i++) {
                MlgChannel *c = all->pdata[i];

                if (!c->dead && mlg_channel_next_usec(c) <= now)
                        mlg_channel_due(c, now);
                if (!c->dead)
                        m->next_usec = mlg_min(m->next_usec, mlg_channel_next_usec(c));
        }
}

static int monitors_dispatch(uint64_t now, void *userdata) {
        MlgMonitors *m = userdata;

        m->dispatching = true;
        take_events(m, now);
        if (m->next_usec <= now)
                take_due(m, now);
        m->dispatching = false;
        g_ptr_array_set_size(m->dead, 0);
        return 0;
}

int mlg_monitors_new(const MlgMonitorCallbacks *callbacks, void *userdata, MlgMonitors **ret) {
        int fd = epoll_create1(EPOLL_CLOEXEC);
        MlgMonitors *m;

        if (fd < 0)
                return -errno;
        m = g_new0(MlgMonitors, 1);
        m->callbacks = callbacks;
        m->userdata = userdata;
        m->epoll = fd;
        m->channels = g_hash_table_new(g_str_hash, g_str_equal);
        m->dead = g_ptr_array_new_with_free_func(free_channel);
        m->next_usec = MLG_USEC_NEVER;
        m->pollable = (MlgPollable) {
                .fd = fd, .events = monitors_events, .deadline_usec = monitors_deadline_usec,
                .dispatch = monitors_dispatch, .userdata = m,
        };
        *ret = m;
        return 0;
}

MlgMonitors *mlg_monitors_free(MlgMonitors *m) {
        GHashTableIter iter;
        gpointer value;

        if (!m)
                return NULL;
        g_hash_table_iter_init(&iter, m->channels);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                free_channel(value);
        g_hash_table_unref(m->channels);
        g_ptr_array_unref(m->dead);
        mlg_close_fd(&m->epoll);
        g_free(m);
        return NULL;
}

const MlgPollable *mlg_monitors_pollable(const MlgMonitors *m) {
        return &m->pollable;
}

static void drop(MlgMonitors *m, MlgChannel *c) {
        (void) g_hash_table_remove(m->channels, c->uuid);
        c->dead = true;
        if (m->dispatching)
                g_ptr_array_add(m->dead, c);
        else
                free_channel(c);
}

void mlg_monitors_put(MlgMonitors *m, const char *uuid, uint32_t instance, const char *path) {
        MlgChannel *c = g_hash_table_lookup(m->channels, uuid);

        if (c && c->instance == instance && g_str_equal(c->path, path))
                return;
        if (c)
                drop(m, c);
        if (path[0] != '/')
                return;
        c = mlg_channel_new(uuid, instance, path, m->epoll, m->callbacks, m->userdata);
        g_hash_table_insert(m->channels, c->uuid, c);
        m->next_usec = 0; /* it connects at once */
}

void mlg_monitors_want_interval(MlgMonitors *m, const char *uuid, uint64_t interval_usec, uint64_t now_usec) {
        MlgChannel *c = g_hash_table_lookup(m->channels, uuid);

        if (!c)
                return;
        mlg_channel_want_interval(c, interval_usec, now_usec);
        m->next_usec = mlg_min(m->next_usec, mlg_channel_next_usec(c));
}

uint64_t mlg_monitors_swap_in(MlgMonitors *m, const char *uuid, uint64_t limit_kib, uint64_t now_usec) {
        MlgChannel *c = g_hash_table_lookup(m->channels, uuid);
        uint64_t number = c ? mlg_channel_swap_in(c, limit_kib, now_usec) : 0;

        if (c) /* what could not be written has closed it */
                m->next_usec = mlg_min(m->next_usec, mlg_channel_next_usec(c));
        return number;
}
