/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-agent: asks the QEMU guest agent of a guest for what its kernel tells of memory.
 *
 * A guest may let us wait as long as it likes, so these calls have threads of their own (MlgLibvirt.askers): agents that hang
 * delay each other, and nothing else. libvirt gives up by itself at the time that we name, so that a thread is parked only
 * when libvirtd hangs. An agent's silence says nothing of its guest's QEMU. */
#include "hypervisor/libvirt-private.h"

#include <errno.h>
#include <unistd.h>

#include "hypervisor/agent.h"
#include "hypervisor/libvirt-calls.h"

/* libvirt counts in seconds, and answers somewhat later than it was told. */
#define GIVE_UP_USEC (3 * MLG_USEC_PER_SEC)

/* ---- on a thread ---- */

typedef struct Talk {
        MlgLibvirtContext *context;
        MlgLibvirtCall *call; /* value: the deadline */
} Talk;

static int say(const Talk *t, char *command, char **ret) {
        g_autofree char *text = command;
        uint64_t now = mlg_libvirt_now_usec(), left = mlg_sub_sat(t->call->value, now) / MLG_USEC_PER_SEC;

        if (left == 0) {
                g_free(t->call->why);
                t->call->why = g_strdup("the guest agent was too slow");
                return -ETIMEDOUT;
        }
        return mlg_libvirt_ask_agent(t->context, t->call->uuid, text, (int) mlg_min(left, 60), ret, &t->call->why);
}

static int read_all(const Talk *t, int64_t handle, char **ret) {
        g_autofree char *answer = NULL;
        int r = say(t, mlg_agent_read_command(handle), &answer);

        return r < 0 ? r : mlg_agent_take_text(answer, ret);
}

/* -ENOENT: the agent refused, or there is no such file. */
static int read_file(const Talk *t, const char *path, char **ret) {
        g_autofree char *opened = NULL, *closed = NULL;
        int64_t handle;
        int r;

        r = say(t, mlg_agent_open_command(path), &opened);
        if (r >= 0)
                r = mlg_agent_take_handle(opened, &handle);
        if (r < 0)
                return r;
        r = read_all(t, handle, ret);
        /* Whatever came: what we do not close stays open in the guest. */
        (void) say(t, mlg_agent_close_command(handle), &closed);
        return r;
}

static int run_ask(void *context, void *data) {
        MlgLibvirtCall *d = data;
        const Talk t = { context, d };
        g_autofree char *pressure = NULL, *vmstat = NULL;
        int r;

        r = read_file(&t, "/proc/pressure/memory", &pressure);
        if (r < 0 && r != -ENOENT)
                return r;
        r = read_file(&t, "/proc/vmstat", &vmstat);
        if (r < 0)
                return r;
        /* A guest has the pages of its host, but for kernels that are built for larger ones. */
        mlg_agent_take_facts(pressure, vmstat, (uint64_t) sysconf(_SC_PAGESIZE) / 1024, &d->monitor);
        return d->monitor.have != 0 ? 0 : -EBADMSG;
}

/* ---- on the loop ---- */

static void on_asked(int r, void *data, void *userdata) {
        g_autofree MlgLibvirtTicket *t = userdata;
        MlgLibvirtCall *d = data;
        const char *why = d ? d->why : "libvirt did not answer in time";

        if (r == -ECANCELED)
                return;
        if (r == -ETIME) {
                r = -EAGAIN; /* that says nothing about this guest */
                why = "other guests' agents took all the time there was";
        }
        if (!why && r == -EBADMSG)
                why = "the guest agent's answer makes no sense";
        t->ask(r, r == 0 ? &d->monitor : NULL, why, t->userdata);
}

int mlg_libvirt_op_ask_agent(MlgHypervisor *h, const char *uuid, uint64_t deadline_usec, MlgAskFn fn, void *userdata) {
        MlgLibvirt *l = (MlgLibvirt *) h;
        MlgLibvirtGuest *g = mlg_libvirt_guest_get(l, uuid);
        MlgLibvirtTicket *t;
        MlgLibvirtCall *d;

        if (!l->events)
                return -ENOTCONN;
        if (!g || !g->info.agent)
                return -ENODEV;
        if (mlg_libvirt_guest_hangs(g))
                return -EAGAIN;
        d = mlg_libvirt_call_new(uuid);
        d->value = mlg_libvirt_deadline_or_default(l, deadline_usec);
        t = mlg_libvirt_ticket_new(l, uuid);
        t->ask = fn;
        t->userdata = userdata;
        return mlg_libvirt_submit_to(l->askers, run_ask, d, on_asked, t, d->value + GIVE_UP_USEC, false);
}
