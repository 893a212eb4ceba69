/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-requests: calls to one guest: refused, or given to a worker; both is answered in a dispatch. */
#include "hypervisor/libvirt-private.h"

#include <errno.h>
#include <limits.h>

#include "hypervisor/libvirt-calls.h"
#include "memlego/monitor-proto.h"
#include "memlego/shmem.h"

/* A callback that is due in the next dispatch. */
typedef struct Reply {
        int r;
        char *why;
        MlgDoneFn fn; /* one of these two */
        MlgLookFn look;
        void *userdata;
} Reply;

static void reply_later(MlgLibvirt *l, int r, const char *why, MlgDoneFn fn, MlgLookFn look,
                        void *userdata) {
        Reply *reply = g_new(Reply, 1);

        *reply = (Reply) { .r = r, .why = g_strdup(why), .fn = fn, .look = look, .userdata = userdata };
        g_queue_push_tail(&l->replies, reply);
}

static Reply *reply_free(Reply *reply) {
        g_free(reply->why);
        g_free(reply);
        return NULL;
}

/* Only those that are due now: a callback may cause the next one. */
void mlg_libvirt_send_replies(MlgLibvirt *l) {
        for (guint n = l->replies.length; n > 0; n--) {
                Reply *reply = g_queue_pop_head(&l->replies);

                if (reply->look)
                        reply->look(reply->r, NULL, reply->userdata);
                else
                        reply->fn(reply->r, reply->why, reply->userdata);
                reply_free(reply);
        }
}

void mlg_libvirt_drop_replies(MlgLibvirt *l) {
        Reply *reply;

        while ((reply = g_queue_pop_head(&l->replies)))
                reply_free(reply);
}

/* What the outcome of a call tells of the guest. */
static void take_outcome(MlgLibvirt *l, MlgLibvirtGuest *g, int r, const MlgLibvirtCall *d) {
        if (r == -ETIMEDOUT && !d)
                g->silent = g->late = true;
        if (r == -ENODEV)
                mlg_libvirt_guest_read(l, g);
        if (r != 0)
                return;
        g->answered_usec = mlg_libvirt_now_usec();
        g->silent = g->silent && mlg_libvirt_guest_is_late(g);
}

/* See libvirt-private.h: what the devices have is not in it. */
static void take_size(const MlgLibvirtGuest *g, MlgRawStats *raw) {
        uint64_t rest_kib = raw->have & MLG_HAVE_ACTUAL ? raw->actual_kib : g->info.rest_kib;

        raw->have |= MLG_HAVE_ACTUAL;
        raw->actual_kib = mlg_add_sat(rest_kib, g->info.plugged_kib);
        raw->heading_kib = mlg_add_sat(rest_kib, g->info.requested_kib);
        raw->actual_age_usec = MLG_LIBVIRT_EVENT_USEC;
}

static void on_request(int r, void *data, void *userdata) {
        g_autofree MlgLibvirtTicket *t = userdata;
        MlgLibvirt *l = t->l;
        MlgLibvirtCall *d = data;
        const char *why = d ? d->why : "libvirt did not answer in time";
        MlgLibvirtGuest *g;

        if (r == -ECANCELED)
                return;
        if (r == -ETIME) {
                r = -EAGAIN; /* that says nothing about this guest */
                why = "libvirt was busy with other calls";
        }
        g = mlg_libvirt_guest_get(l, t->uuid);
        if (g)
                take_outcome(l, g, r, d);
        if (t->look && r == 0 && g && mlg_libvirt_guest_has_devices(g))
                take_size(g, &d->raw);
        if (t->look)
                t->look(r, r == 0 ? &d->raw : NULL, t->userdata);
        else
                t->fn(r, why, t->userdata);
        if (r == -ENOTCONN && mlg_libvirt_is_current(t))
                mlg_libvirt_lost(l, why);
}

/* Why this guest cannot be sent anything now, or 0. `text`: it is about a device, and not about its memory. */
static int refusal(MlgLibvirt *l, MlgLibvirtGuest *g, const char *text, const char **ret_why) {
        if (!l->events) {
                *ret_why = "no connection to libvirt";
                return -ENOTCONN;
        }
        if (!g || !g->reported) {
                *ret_why = "no such guest";
                return -ENODEV;
        }
        if (g->info.run_state == MLG_RUN_OFF) {
                *ret_why = "the guest is off";
                return -ENODEV;
        }
        if (!text && !g->info.has_balloon && !mlg_libvirt_guest_has_devices(g)) {
                *ret_why = "the guest has no balloon";
                return -EOPNOTSUPP;
        }
        if (mlg_libvirt_guest_hangs(g)) {
                *ret_why = "the guest's QEMU does not answer";
                return -EAGAIN;
        }
        return 0;
}

static int request(MlgLibvirt *l, const char *uuid, uint64_t value, const char *text, MlgJobRunFn run,
                   uint64_t deadline_usec, MlgDoneFn fn, MlgLookFn look, void *userdata) {
        MlgLibvirtGuest *g = mlg_libvirt_guest_get(l, uuid);
        const char *why = NULL;
        MlgLibvirtCall *d;
        MlgLibvirtTicket *t;
        int r;

        r = refusal(l, g, text, &why);
        if (r >= 0) {
                d = mlg_libvirt_call_new(uuid);
                d->value = value;
                d->text = g_strdup(text);
                d->calls = g_atomic_rc_box_acquire(g->calls);
                g_atomic_int_inc(d->calls);
                t = mlg_libvirt_ticket_new(l, uuid);
                t->fn = fn;
                t->look = look;
                t->userdata = userdata;
                r = mlg_libvirt_submit(l, run, d, on_request, t,
                                       mlg_libvirt_deadline_or_default(l, deadline_usec), false);
                why = r == -EBUSY ? "all threads hang in calls" : "too many calls wait for libvirt";
        }
        if (r < 0)
                reply_later(l, r, why, fn, look, userdata);
        return 0;
}

static int run_look(void *context, void *data) {
        MlgLibvirtCall *d = data;

        return mlg_libvirt_look(context, d->uuid, &d->raw, &d->why);
}

int mlg_libvirt_op_look(MlgHypervisor *h, const char *uuid, uint64_t deadline_usec, MlgLookFn fn,
                        void *userdata) {
        return request((MlgLibvirt *) h, uuid, 0, NULL, run_look, deadline_usec, NULL, fn, userdata);
}

static int run_set_target(void *context, void *data) {
        MlgLibvirtCall *d = data;

        return mlg_libvirt_set_target(context, d->uuid, d->value, &d->why);
}

static int run_set_plugged(void *context, void *data) {
        MlgLibvirtCall *d = data;

        return mlg_libvirt_set_plugged(context, d->uuid, d->value, &d->why);
}

int mlg_libvirt_op_set_target(MlgHypervisor *h, const char *uuid, uint64_t target_kib,
                              uint64_t deadline_usec, MlgDoneFn fn, void *userdata) {
        MlgLibvirt *l = (MlgLibvirt *) h;
        const MlgLibvirtGuest *g = mlg_libvirt_guest_get(l, uuid);
        MlgJobRunFn run = g && mlg_libvirt_guest_has_devices(g) ? run_set_plugged : run_set_target;

        if (target_kib == 0 || target_kib > LONG_MAX) {
                reply_later(l, -ERANGE, "not a size of a guest", fn, NULL, userdata);
                return 0;
        }
        return request(l, uuid, target_kib, NULL, run, deadline_usec, fn, NULL, userdata);
}

static int run_set_stats_period(void *context, void *data) {
        MlgLibvirtCall *d = data;

        return mlg_libvirt_set_stats_period(context, d->uuid, (uint32_t) d->value, &d->why);
}

int mlg_libvirt_op_set_stats_period(MlgHypervisor *h, const char *uuid, uint32_t period_sec,
                                    uint64_t deadline_usec, MlgDoneFn fn, void *userdata) {
        MlgLibvirt *l = (MlgLibvirt *) h;

        if (period_sec > INT_MAX) {
                reply_later(l, -ERANGE, "not a period", fn, NULL, userdata);
                return 0;
        }
        return request(l, uuid, period_sec, NULL, run_set_stats_period, deadline_usec, fn, NULL, userdata);
}

static int run_attach_monitor(void *context, void *data) {
        MlgLibvirtCall *d = data;

        return mlg_libvirt_attach(context, d->uuid, MLG_MONITOR_XML, &d->why);
}

int mlg_libvirt_op_attach_monitor(MlgHypervisor *h, const char *uuid, uint64_t deadline_usec, MlgDoneFn fn,
                                  void *userdata) {
        return request((MlgLibvirt *) h, uuid, 0, NULL, run_attach_monitor, deadline_usec, fn, NULL, userdata);
}

static int run_attach(void *context, void *data) {
        MlgLibvirtCall *d = data;

        return mlg_libvirt_attach(context, d->uuid, d->text, &d->why);
}

static int run_detach(void *context, void *data) {
        MlgLibvirtCall *d = data;

        return mlg_libvirt_detach(context, d->uuid, d->text, &d->why);
}

static char *shmem_xml(MlgShmemKind kind, const char *path) {
        switch (kind) {
        case MLG_SHMEM_PIPE:
                return g_markup_printf_escaped(MLG_PIPE_XML, path);
        case MLG_SHMEM_SWAP:
                return g_markup_printf_escaped(MLG_SWAP_XML, path);
        case _MLG_SHMEM_MAX:
                break;
        }
        g_assert_not_reached();
}

int mlg_libvirt_op_attach_shmem(MlgHypervisor *h, const char *uuid, MlgShmemKind kind, const char *path,
                                uint64_t deadline_usec, MlgDoneFn fn, void *userdata) {
        g_autofree char *xml = shmem_xml(kind, path);

        return request((MlgLibvirt *) h, uuid, 0, xml, run_attach, deadline_usec, fn, NULL, userdata);
}

int mlg_libvirt_op_detach_shmem(MlgHypervisor *h, const char *uuid, MlgShmemKind kind, const char *path,
                                uint64_t deadline_usec, MlgDoneFn fn, void *userdata) {
        g_autofree char *xml = shmem_xml(kind, path);

        return request((MlgLibvirt *) h, uuid, 0, xml, run_detach, deadline_usec, fn, NULL, userdata);
}
