/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-cgroup: the memory cgroups of guests on this host, for the hypervisor's reclaim().
 *
 * It asks libvirt nothing. One thread does this for all guests, one after the other: so however many there
 * are, the host swaps out for one of them at a time. */
#include "hypervisor/libvirt-private.h"

#include <errno.h>

#include "hypervisor/cgroup.h"

static int run_reclaim(void *context, void *data) {
        MlgLibvirtCall *d = data;
        _mlg_cleanup_fd_ int fd = -1;
        int r;

        r = mlg_cgroup_open(d->roots, d->name, d->uuid, &fd, &d->why);
        if (r >= 0 && d->value > 0)
                r = mlg_cgroup_reclaim(fd, d->value, &d->why);
        return r < 0 ? r : mlg_cgroup_read(fd, &d->cgroup, &d->why);
}

static void on_reclaimed(int r, void *data, void *userdata) {
        g_autofree MlgLibvirtTicket *t = userdata;
        MlgLibvirtCall *d = data;

        if (r == -ECANCELED)
                return;
        if (r == -ETIME)
                r = -EAGAIN; /* others took all the time there was */
        t->reclaim(r, r == 0 ? &d->cgroup : NULL,
                   d ? d->why : "the host did not come to an end with it in time", t->userdata);
}

int mlg_libvirt_op_reclaim(MlgHypervisor *h, const char *uuid, uint64_t kib, uint64_t deadline_usec,
                           MlgReclaimFn fn, void *userdata) {
        MlgLibvirt *l = (MlgLibvirt *) h;
        MlgLibvirtGuest *g = mlg_libvirt_guest_get(l, uuid);
        MlgLibvirtTicket *t;
        MlgLibvirtCall *d;

        if (!l->roots)
                return -EOPNOTSUPP;
        if (!g || g->info.run_state == MLG_RUN_OFF)
                return -ENODEV;
        d = mlg_libvirt_call_new(uuid);
        d->value = kib;
        d->name = g_strdup(g->info.name);
        d->roots = l->roots;
        t = mlg_libvirt_ticket_new(l, uuid);
        t->reclaim = fn;
        t->userdata = userdata;
        return mlg_libvirt_submit_to(l->reclaimers, run_reclaim, d, on_reclaimed, t,
                                     mlg_libvirt_deadline_or_default(l, deadline_usec), false);
}
