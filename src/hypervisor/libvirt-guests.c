/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-guests: what is known of each guest: listed at once or read one by one, told when it changed.
 *
 * Migration: QEMU tells the start of each pass over the memory, the first at its very start; the end is told
 * when it succeeded. For a failed one, and one that was under way when the adapter started, no event exists:
 * marked guests are asked each other second, and an unmarked one shows up with its next pass. */
#include "hypervisor/libvirt-private.h"

#include <errno.h>
#include <string.h>

#include "hypervisor/libvirt-calls.h"

#define JOB_CHECK_USEC (2 * MLG_USEC_PER_SEC)

static MlgLibvirtGuest *guest_new(const char *uuid) {
        MlgLibvirtGuest *g = g_new0(MlgLibvirtGuest, 1);

        (void) g_strlcpy(g->info.uuid, uuid, sizeof(g->info.uuid));
        g->calls = g_atomic_rc_box_new0(gint);
        return g;
}

static void guest_free(gpointer data) {
        MlgLibvirtGuest *g = data;

        g_atomic_rc_box_release(g->calls);
        g_free(g);
}

GHashTable *mlg_libvirt_guests_new(void) {
        return g_hash_table_new_full(g_str_hash, g_str_equal, NULL, guest_free);
}

MlgLibvirtGuest *mlg_libvirt_guest_get(MlgLibvirt *l, const char *uuid) {
        return g_hash_table_lookup(l->guests, uuid);
}

MlgLibvirtGuest *mlg_libvirt_guest_add(MlgLibvirt *l, const char *uuid) {
        MlgLibvirtGuest *g = guest_new(uuid);

        g_hash_table_insert(l->guests, g->info.uuid, g);
        return g;
}

bool mlg_libvirt_guest_is_late(MlgLibvirtGuest *g) {
        g->late = g->late && g_atomic_int_get(g->calls) > 0;
        return g->late;
}

bool mlg_libvirt_guest_hangs(MlgLibvirtGuest *g) {
        return mlg_libvirt_guest_is_late(g) || g->silent;
}

bool mlg_libvirt_guest_has_devices(const MlgLibvirtGuest *g) {
        return mlg_guest_actuator(&g->info) == MLG_ACTUATOR_VIRTIO_MEM;
}

void mlg_libvirt_guest_report(MlgLibvirt *l, MlgLibvirtGuest *g) {
        g->reported = true;
        l->base.callbacks->on_guest(&g->info, l->base.userdata);
}

static void forget(MlgLibvirt *l, const char *uuid) {
        g_autofree char *key = g_strdup(uuid); /* uuid may be the guest's own */
        MlgLibvirtGuest *g = mlg_libvirt_guest_get(l, key);
        bool reported = g && g->reported;

        (void) g_hash_table_remove(l->guests, key);
        if (reported)
                l->base.callbacks->on_guest_gone(key, l->base.userdata);
}

/* --- reading one anew --- */

static int run_read(void *context, void *data) {
        MlgLibvirtCall *d = data;

        return mlg_libvirt_read(context, d->uuid, &d->info, &d->why);
}

static void take_info(MlgLibvirt *l, MlgLibvirtGuest *g, const MlgGuestInfo *from, bool always) {
        MlgGuestInfo info;
        bool changed;

        memcpy(&info, from, sizeof(info));
        if (info.instance != g->info.instance || info.run_state == MLG_RUN_OFF) {
                g->job = false;
                g->silent = false;
        }
        info.migrating |= g->job;
        g->info.rest_kib = info.rest_kib; /* no news: polls and looks tell them */
        g->info.plugged_kib = info.plugged_kib;
        g->info.requested_kib = info.requested_kib;
        /* Both are copies of a struct that was zeroed first: no difference in padding. */
        changed = memcmp(&info, &g->info, sizeof(info)) != 0;
        memcpy(&g->info, &info, sizeof(info));
        if (changed || always || !g->reported)
                mlg_libvirt_guest_report(l, g);
}

/* Whom an answer is about; NULL: it is gone, or the answer is of no use any more. */
static MlgLibvirtGuest *guest_of(const MlgLibvirtTicket *t, int r) {
        return r == -ECANCELED || !mlg_libvirt_is_current(t) ? NULL : mlg_libvirt_guest_get(t->l, t->uuid);
}

static void on_read(int r, void *data, void *userdata) {
        g_autofree MlgLibvirtTicket *t = userdata;
        MlgLibvirt *l = t->l;
        MlgLibvirtCall *d = data;
        MlgLibvirtGuest *g = guest_of(t, r);
        bool changed;

        if (!g)
                return;
        g->reading = false;
        changed = g->stale; /* while it was read */
        if (r == -ENOTCONN) {
                mlg_libvirt_lost(l, d->why);
                return;
        }
        /* Taken although it has changed since: who changes its metadata again and again must not be able to
         * keep its facts from being known at all. */
        if (r >= 0 && strcmp(d->info.uuid, t->uuid) == 0)
                take_info(l, g, &d->info, false);
        if (changed && d)
                mlg_libvirt_guest_read(l, g);
        else if (r == -ENODEV || (r == -EBADMSG && !g->reported))
                forget(l, t->uuid);
        else if (r < 0)
                g->stale = r != -EBADMSG; /* tried again with the next poll */
}

void mlg_libvirt_guest_read(MlgLibvirt *l, MlgLibvirtGuest *g) {
        const char *uuid = g->info.uuid;
        int r;

        g->stale = true;
        if (g->reading || !l->events)
                return;
        r = mlg_libvirt_submit(l, run_read, mlg_libvirt_call_new(uuid), on_read,
                               mlg_libvirt_ticket_new(l, uuid),
                               mlg_libvirt_now_usec() + l->call_timeout_usec, false);
        if (r < 0)
                return; /* stays stale: the next poll tries again */
        g->stale = false;
        g->reading = true;
}

/* --- jobs that copy its memory --- */

void mlg_libvirt_guest_set_job(MlgLibvirt *l, MlgLibvirtGuest *g, bool job) {
        g->job_events += job;
        if (g->job == job)
                return;
        g->job = job;
        g->job_checked_usec = mlg_libvirt_now_usec();
        if (!job) {
                mlg_libvirt_guest_read(l, g);
                return;
        }
        if (!g->info.migrating && g->reported) {
                g->info.migrating = true;
                mlg_libvirt_guest_report(l, g);
        }
}

static int run_has_job(void *context, void *data) {
        MlgLibvirtCall *d = data;

        return mlg_libvirt_has_job(context, d->uuid, &d->flag, &d->why);
}

static void on_has_job(int r, void *data, void *userdata) {
        g_autofree MlgLibvirtTicket *t = userdata;
        MlgLibvirtCall *d = data;
        MlgLibvirtGuest *g = guest_of(t, r);

        if (!g)
                return;
        g->job_checking = false;
        g->job_checked_usec = mlg_libvirt_now_usec();
        if (g->job_events != t->job_events)
                return; /* the answer may be older than the job that was told of meanwhile */
        if (r == -ENODEV || (r == 0 && !d->flag))
                mlg_libvirt_guest_set_job(t->l, g, false);
}

static void check_job(MlgLibvirt *l, MlgLibvirtGuest *g) {
        MlgLibvirtTicket *t;
        int r;

        if (!g->job || g->job_checking || mlg_libvirt_guest_hangs(g))
                return;
        if (mlg_libvirt_now_usec() - g->job_checked_usec < JOB_CHECK_USEC)
                return;
        t = mlg_libvirt_ticket_new(l, g->info.uuid);
        t->job_events = g->job_events;
        r = mlg_libvirt_submit(l, run_has_job, mlg_libvirt_call_new(g->info.uuid), on_has_job, t,
                               mlg_libvirt_now_usec() + l->call_timeout_usec, false);
        g->job_checking = r >= 0;
}

void mlg_libvirt_check_jobs(MlgLibvirt *l) {
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, l->guests);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                check_job(l, value);
}

/* --- the list --- */

static void forget_unseen(MlgLibvirt *l) {
        g_autoptr(GPtrArray) gone = g_ptr_array_new_with_free_func(g_free);
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, l->guests);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                MlgLibvirtGuest *g = value;

                if (!g->seen)
                        g_ptr_array_add(gone, g_strdup(g->info.uuid));
                g->seen = false;
        }
        for (guint i = 0; i < gone->len; i++)
                forget(l, gone->pdata[i]);
}

void mlg_libvirt_take_list(MlgLibvirt *l, const GArray *infos) {
        for (guint i = 0; i < infos->len; i++) {
                const MlgGuestInfo *info = &g_array_index(infos, MlgGuestInfo, i);
                MlgLibvirtGuest *g = mlg_libvirt_guest_get(l, info->uuid);

                if (!g)
                        g = mlg_libvirt_guest_add(l, info->uuid);
                g->seen = true;
                g->reading = g->stale = g->job = g->job_checking = false; /* old answers are dropped */
                take_info(l, g, info, true);
        }
        forget_unseen(l);
}
