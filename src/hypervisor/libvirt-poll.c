/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-poll: one bulk read at a time, in as many attempts as its deadline allows, and what it tells of
 * each guest. */
#include "hypervisor/libvirt-private.h"

#include <errno.h>

#include "hypervisor/libvirt-calls.h"

/* A poll is not tried again with less than this: a bulk read of few guests takes some 25 ms, of 40 guests 60
 * ms. */
#define ATTEMPT_MIN_USEC (100 * 1000)

static int run_poll(void *context, void *data) {
        MlgLibvirtCall *d = data;

        return mlg_libvirt_poll(context, &d->array, &d->why);
}

static bool is_active(MlgRunState s) {
        return s == MLG_RUN_RUNNING || s == MLG_RUN_PAUSED;
}

/* Our own calls explain why a poll passed the guest by: one that is under way and has time left, or one that
 * came back since the poll was asked for. */
static bool is_explained(const MlgLibvirt *l, MlgLibvirtGuest *g) {
        if (mlg_libvirt_guest_is_late(g))
                return false;
        return g_atomic_int_get(g->calls) > 0 || g->answered_usec > l->attempt_usec;
}

/* Of a guest without balloon a poll asks QEMU nothing: it can only tell what libvirtd knows. */
static void take_answer(const MlgLibvirt *l, MlgLibvirtGuest *g, const MlgLibvirtRecord *record) {
        bool passed_by = !record->answered && is_active(record->raw.run_state) && g->info.has_balloon;

        g->passed_by = passed_by && is_explained(l, g);
        g->silent = passed_by && !g->passed_by;
}

static void take_record(MlgLibvirt *l, const MlgLibvirtRecord *record) {
        MlgLibvirtGuest *g = mlg_libvirt_guest_get(l, record->uuid);
        bool migrating;

        if (!g || !g->reported || g->info.instance != record->instance) {
                g = g ?: mlg_libvirt_guest_add(l, record->uuid);
                g->seen = true;
                mlg_libvirt_guest_read(l, g);
                return;
        }
        g->seen = true;
        take_answer(l, g, record);
        migrating = record->migrating || g->job;
        if (g->info.run_state == record->raw.run_state && g->info.migrating == migrating)
                return;
        g->info.run_state = record->raw.run_state;
        g->info.migrating = migrating;
        mlg_libvirt_guest_report(l, g);
}

/* See libvirt-private.h: as of the last reading of its XML; the next one follows where that is outdated. */
static void take_size(MlgLibvirt *l, MlgLibvirtGuest *g, MlgLibvirtRecord *record) {
        if (!mlg_libvirt_guest_has_devices(g) || !(record->raw.have & MLG_HAVE_ACTUAL))
                return;
        if (g->bulk_kib != record->raw.actual_kib)
                mlg_libvirt_guest_read(l, g);
        g->bulk_kib = record->raw.actual_kib;
        record->raw.actual_kib = g->info.rest_kib + g->info.plugged_kib;
        record->raw.heading_kib = g->info.rest_kib + g->info.requested_kib;
}

/* Guests that should be there and are not, and those whose last reading failed. */
static void read_missing(MlgLibvirt *l) {
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, l->guests);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                MlgLibvirtGuest *g = value;

                if (g->stale || (!g->seen && g->info.run_state != MLG_RUN_OFF))
                        mlg_libvirt_guest_read(l, g);
                g->seen = false;
        }
}

static void end_poll(MlgLibvirt *l, int r, const GArray *records) {
        g_autofree MlgPollEntry *entries = NULL;
        guint n = r < 0 ? 0 : records->len, n_entries = 0;

        entries = g_new0(MlgPollEntry, n);
        for (guint i = 0; i < n; i++)
                take_record(l, &g_array_index(records, MlgLibvirtRecord, i));
        if (r >= 0)
                read_missing(l);
        for (guint i = 0; i < n; i++) {
                MlgLibvirtRecord *record = &g_array_index(records, MlgLibvirtRecord, i);
                MlgLibvirtGuest *g = mlg_libvirt_guest_get(l, record->uuid);

                if (!g || !g->reported || g->info.instance != record->instance)
                        continue; /* it has not been introduced yet, or was started anew and is being read */
                if (g->passed_by)
                        continue;
                take_size(l, g, record);
                entries[n_entries++] = (MlgPollEntry) {
                        .uuid = record->uuid, .raw = g->silent ? NULL : &record->raw,
                };
        }
        l->polling = false;
        l->poll_fn(r, entries, n_entries, l->poll_userdata);
}

static void refuse_poll(MlgLibvirt *l, int r) {
        l->poll_refused = true;
        l->poll_error = r;
}

void mlg_libvirt_end_refused_poll(MlgLibvirt *l) {
        if (!l->poll_refused)
                return;
        l->poll_refused = false;
        end_poll(l, l->poll_error, NULL);
}

static void attempt_poll(MlgLibvirt *l);

static void on_polled(int r, void *data, void *userdata) {
        g_autofree MlgLibvirtTicket *t = userdata;
        MlgLibvirt *l = t->l;
        MlgLibvirtCall *d = data;
        uint64_t left_usec;

        if (r == -ECANCELED)
                return;
        if (r == -ETIME)
                r = -ETIMEDOUT; /* for the caller it makes no difference which call hangs */
        left_usec = mlg_sub_sat(l->poll_deadline_usec, mlg_libvirt_now_usec());
        if (r == -ETIMEDOUT && l->events && left_usec >= ATTEMPT_MIN_USEC) {
                attempt_poll(l);
                return;
        }
        if (r >= 0 && !mlg_libvirt_is_current(t))
                r = -ENOTCONN; /* lost meanwhile: what is known of the guests is settled by the next list */
        if (r >= 0)
                l->bulk_took_usec = mlg_libvirt_now_usec() - l->attempt_usec;
        l->poll_timed_out = r == -ETIMEDOUT;
        end_poll(l, r, d ? d->array : NULL);
        if (r == -ENOTCONN && mlg_libvirt_is_current(t))
                mlg_libvirt_lost(l, d ? d->why : NULL);
}

/* Half of the time that is left, so that one QEMU that stopped, or some that stop one after the other, leave
 * enough for an attempt that passes them by. But a bulk read that is merely slow must come to an end too: it
 * has at least twice what the last one took, and all there is after a poll whose attempts timed out. */
static uint64_t attempt_time_usec(const MlgLibvirt *l, uint64_t left_usec) {
        uint64_t usec = mlg_max(mlg_max(left_usec / 2, ATTEMPT_MIN_USEC), 2 * l->bulk_took_usec);

        return l->poll_timed_out ? left_usec : mlg_min(usec, left_usec);
}

static void attempt_poll(MlgLibvirt *l) {
        uint64_t now = mlg_libvirt_now_usec();
        uint64_t attempt_usec = attempt_time_usec(l, mlg_sub_sat(l->poll_deadline_usec, now));
        int r;

        l->attempt_usec = now;
        r = mlg_libvirt_submit(l, run_poll, mlg_libvirt_call_new(NULL), on_polled,
                               mlg_libvirt_ticket_new(l, NULL), mlg_add_sat(now, attempt_usec), true);
        if (r < 0)
                refuse_poll(l, -ETIMEDOUT); /* every thread hangs in a call */
}

int mlg_libvirt_op_poll(MlgHypervisor *h, uint64_t deadline_usec, MlgPollFn fn, void *userdata) {
        MlgLibvirt *l = (MlgLibvirt *) h;

        if (l->polling)
                return -EBUSY;
        l->polling = true;
        l->poll_fn = fn;
        l->poll_userdata = userdata;
        l->poll_deadline_usec = mlg_libvirt_deadline_or_default(l, deadline_usec);
        if (!l->events) {
                refuse_poll(l, -ENOTCONN);
                return 0;
        }
        attempt_poll(l);
        mlg_libvirt_check_jobs(l);
        return 0;
}
