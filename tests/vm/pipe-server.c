/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pipe-server SOCKET REGION-MIB QUOTA-MIB [OWNER-UID]: one MemPipe group without memlegod, for
 * experiments with guests.
 *
 * Everybody who may connect is a member. Prints who comes and goes, and once a second what members say, and the means
 * of what they used and of what was backed, of 50 looks. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mempipe/group.h"
#include "util/util.h"

static bool on_join(uint32_t id, pid_t pid, void *userdata) {
        printf("join %" PRIu32 " pid %d\n", id, (int) pid);
        return true;
}

static void on_leave(uint32_t id, void *userdata) {
        printf("leave %" PRIu32 "\n", id);
}

static uint64_t on_grant(uint64_t to_bytes, void *userdata) {
        return to_bytes;
}

static void on_charge(uint64_t bytes, void *userdata) {
}

static void on_keep(const char *name, int fd, void *userdata) {
}

static void on_complaint(pid_t pid, const char *what, void *userdata) {
        printf("complaint pid %d: %s\n", (int) pid, what);
}

static const MlgPipeGroupCallbacks callbacks = {
        .on_join = on_join,
        .on_leave = on_leave,
        .on_grant = on_grant,
        .on_charge = on_charge,
        .on_complaint = on_complaint,
        .on_keep = on_keep,
};

#define LOOK_USEC 20000

typedef struct Sums {
        uint64_t n, used_kib, backed_kib;
} Sums;

static void look(const MlgPipeGroup *g, Sums *sums) {
        MlgPipeStatus s;

        mlg_pipe_group_status(g, &s);
        sums->n++;
        sums->backed_kib += s.backed_kib;
        for (uint32_t i = 0; i < s.n_members; i++)
                sums->used_kib += s.members[i].used_kib;
}

static void show(const MlgPipeGroup *g, Sums *sums) {
        MlgPipeStatus s;

        mlg_pipe_group_status(g, &s);
        printf("granted %" PRIu64 " KiB backed %" PRIu64 " KiB\n", s.granted_kib, s.backed_kib);
        if (sums->n > 0)
                printf("mean used %" PRIu64 " KiB backed %" PRIu64 " KiB\n", sums->used_kib / sums->n,
                       sums->backed_kib / sums->n);
        *sums = (Sums) {};
        for (uint32_t i = 0; i < s.n_members; i++) {
                const MlgPipeMember *m = &s.members[i];

                printf("  %" PRIu32 " epoch %" PRIu32 " state %d granted %" PRIu64 " target %" PRIu64 " demand %" PRIu64
                       " held %" PRIu64 " used %" PRIu64 " KiB, pipes %" PRIu32 " sent %" PRIu64 "\n",
                       m->id, m->epoch, (int) m->state, m->granted_kib, m->target_kib, m->demand_kib, m->held_kib,
                       m->used_kib, m->n_pipes, m->sent_bytes);
        }
}

static uint64_t now_usec(void) {
        return (uint64_t) g_get_monotonic_time();
}

int main(int argc, char **argv) {
        MlgPipeGroup *g;
        MlgPipeGroupOptions o = { .owner = (uid_t) -1, .epoch = (uint64_t) g_get_real_time() };
        const MlgPollable *p;
        uint64_t show_usec = 0, look_usec = 0;
        Sums sums = {};
        int r;

        if (argc < 4) {
                fprintf(stderr, "usage: pipe-server SOCKET REGION-MIB QUOTA-MIB [OWNER-UID]\n");
                return 2;
        }
        setvbuf(stdout, NULL, _IOLBF, 0);
        o.path = argv[1];
        o.region_bytes = strtoull(argv[2], NULL, 10) << 20;
        o.quota_bytes = strtoull(argv[3], NULL, 10) << 20;
        if (argc > 4)
                o.owner = (uid_t) strtoul(argv[4], NULL, 10);
        r = mlg_pipe_group_new(&o, &callbacks, NULL, &g);
        if (r < 0) {
                fprintf(stderr, "cannot serve %s: %s\n", o.path, g_strerror(-r));
                return 1;
        }
        p = mlg_pipe_group_pollable(g);
        for (;;) {
                struct pollfd fd = { .fd = p->fd, .events = POLLIN };
                uint64_t now = now_usec(), until = mlg_min(p->deadline_usec(p->userdata), look_usec);

                (void) poll(&fd, 1, (int) (mlg_min(mlg_sub_sat(until, now), MLG_USEC_PER_SEC) + 999) / 1000);
                now = now_usec();
                (void) p->dispatch(now, p->userdata);
                if (now >= look_usec) {
                        look(g, &sums);
                        look_usec = now + LOOK_USEC;
                }
                if (now >= show_usec) {
                        show(g, &sums);
                        show_usec = now + MLG_USEC_PER_SEC;
                }
        }
}
