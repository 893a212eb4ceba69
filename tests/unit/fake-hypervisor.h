/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fake hypervisor: the contract of memlego/hypervisor.h over simulated guests. No thread, no I/O: all
 * happens in dispatch().
 *
 * Guests and faults are in a FakeWorld, plain memory that a test may share with the process that runs the
 * daemon: the test changes what guests want and what goes wrong, the adapter notices within WATCH_USEC,
 * and the world outlives the daemon. */
#pragma once

#include "memlego/hypervisor.h"
#include "service/daemon.h"
#include "sim/guest.h"

#define FAKE_GUESTS_MAX 1024

typedef struct FakeWorld {
        /* Written by the test */
        bool connected;       /* libvirtd is there */
        bool polls_hang;      /* the bulk read does not come back */
        bool periods_hang;    /* nor does setting a statistics period */
        uint64_t answer_usec; /* how long requests take */
        uint64_t watch_usec;  /* how often the adapter looks at the world; 0: never after the start */
        uint32_t pipes_max; /* devices for shared memory of one guest; 0: no limit */
        uint32_t pipes_busy;  /* so many requests for such devices find libvirt busy first */
        int cgroup_error;     /* of reading guests' cgroups; 0: there is one, the next */
        MlgRawCgroup cgroup;  /* the same for all guests */
        unsigned int n_guests;
        bool present[FAKE_GUESTS_MAX];

        /* Written by the adapter; guests by both, field by field */
        SimGuest guests[FAKE_GUESTS_MAX];
        unsigned int n_polls, n_polls_failed, n_looks, n_sets, n_periods, n_disconnects, n_cgroup_reads;
        uint64_t reclaimed_kib;
        uint64_t cpu_usec; /* spent on simulation, which is no cost of the daemon */
} FakeWorld;

/* An empty world, shared with processes that are forked later. */
FakeWorld *fake_world_new(void);
FakeWorld *fake_world_free(FakeWorld *w);
/* A guest that runs from now on; report_usec is 100 ms, so that tests need not wait. */
SimGuest *fake_world_add(FakeWorld *w, uint64_t maximum_kib, uint64_t demand_kib);

/* Of MlgDaemonOptions; the world that it works on must be set before. */
extern FakeWorld *fake_world;
int fake_hypervisor_make(const char *uri, const MlgDaemonSettings *settings,
                         const MlgHypervisorCallbacks *callbacks, void *userdata, MlgHypervisor **ret,
                         const MlgPollable **ret_pollable);
