/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sim: a host with guests that exist in numbers only. Deterministic: no clock, no thread, no I/O.
 *
 * A guest has programs that want demand_kib, swap, a balloon with two speeds, and a driver that reports
 * each report_usec; faults make it one of those that a balancer meets in the field. Memory that its
 * programs want beyond what the balloon leaves goes to swap at once, beyond that to the OOM killer;
 * swapped memory is read back when there is room. A balloon that finds nothing free pushes memory to
 * swap, and stops where there is no swap left.
 *
 * Nothing of a guest depends on how its time is cut into calls of sim_host_advance(): while nothing
 * changes in it, any time passes in one step. */
#pragma once

#include <glib.h>

#include "memlego/hypervisor.h"
#include "memlego/sample.h"

#define SIM_MIB UINT64_C(1024)
#define SIM_SEC UINT64_C(1000000)

/* What a guest's kernel keeps free for itself: programs get no more than the rest. */
#define SIM_WATERMARK_KIB (8 * SIM_MIB)
#define SIM_OVERHEAD_KIB (16 * SIM_MIB) /* of a QEMU process, besides its guest */

typedef enum SimFault {
        SIM_STUCK = 1 << 0,    /* the balloon does not move */
        SIM_SILENT = 1 << 1,   /* reports stop: last-update stands still */
        SIM_ALL_ONES = 1 << 2, /* reports come, with nothing but 2^64-1 in them */
        SIM_LIAR = 1 << 3,     /* claims to use nothing at all, beyond what it has */
        SIM_STOPPED = 1 << 4,  /* its QEMU does not answer and does not run */
        SIM_PARTIAL = 1 << 5,  /* the hypervisor knows its size only */
        SIM_GREEDY = 1 << 6,   /* claims that nothing is usable: a lie that could be true */
        SIM_MODEST = 1 << 7,   /* claims to use half of what it uses: another one */
        SIM_TAKES = 1 << 8,    /* its driver takes back what the balloon held, unasked */
        _SIM_FAULT_ALL = (1 << 9) - 1,
} SimFault;

typedef struct SimGuest {
        /* Definition */
        MlgGuestInfo info;

        /* Behaviour; written by tests and the replay at any time */
        uint32_t faults;
        uint64_t demand_kib;
        uint64_t touch_kib_per_sec; /* how fast programs come to what they want; 0: at once */
        uint64_t swap_size_kib;
        uint64_t shrink_kib_per_sec, grow_kib_per_sec;
        uint64_t report_usec;
        uint64_t event_usec;    /* QEMU tells the balloon's size so often; 0: always */
        uint64_t untouched_kib; /* of what it has: its QEMU occupies nothing for it */

        /* State */
        uint64_t now_usec, actual_kib, target_kib;
        uint64_t in_use_kib;    /* what programs have come to, swapped or not; on the way to demand_kib */
        uint64_t swapped_kib, swap_in_kib, swap_out_kib;
        uint64_t killed_kib;    /* demand that the OOM killer ended, until somebody sets this to 0 */
        uint64_t report_due_usec, wall_base_sec;
        uint64_t told_actual_kib, event_due_usec;
        MlgRawStats report;
        unsigned int n_oom, n_set;
        uint64_t least_kib;        /* least memory it ever had */
        uint64_t host_swapped_kib; /* part of it that the host has swapped out */
        bool at_rest;              /* nothing but its reports will change of itself */

        /* Sums over time, in KiB x seconds; whoever wants them for a while takes differences */
        double demand_kib_sec, actual_kib_sec, unmet_kib_sec, short_sec, run_sec;
} SimGuest;

typedef struct SimHost {
        uint64_t total_kib;
        uint64_t own_kib; /* used by the host itself */
        uint64_t now_usec;
        uint64_t wall_base_sec; /* wall clock minus now_usec */
        GPtrArray *guests;      /* SimGuest*, owned */
} SimHost;

void sim_host_init(SimHost *h, uint64_t total_kib, uint64_t own_kib);
void sim_host_clear(SimHost *h);
SimGuest *sim_host_add(SimHost *h, uint64_t maximum_kib, uint64_t demand_kib);
void sim_host_remove(SimHost *h, SimGuest *g);
SimGuest *sim_host_find(const SimHost *h, const char *uuid);
void sim_host_advance(SimHost *h, uint64_t now_usec);
void sim_host_read(const SimHost *h, MlgRawHost *ret);

/* A running guest with a healthy balloon; its UUID and name are made of the number n. */
void sim_guest_init(SimGuest *g, unsigned int n, uint64_t maximum_kib, uint64_t demand_kib,
                    uint64_t now_usec, uint64_t wall_base_sec);
/* What the hypervisor would deliver of it in a bulk read; false: it does not answer. */
bool sim_guest_read(const SimGuest *g, MlgRawStats *ret);
/* The same when it is asked by itself: the balloon's size is that of this moment. */
bool sim_guest_look(const SimGuest *g, MlgRawStats *ret);
/* 0, or what a hypervisor would say. */
int sim_guest_set(SimGuest *g, uint64_t target_kib);
void sim_guest_restart(SimGuest *g);

/* What its programs want and do not have now: swapped out by the guest or by the host, beyond what it has, or killed. */
uint64_t sim_guest_unmet_kib(const SimGuest *g);

/* Small random numbers that are the same everywhere. */
uint64_t sim_random(uint64_t *state);
uint64_t sim_random_below(uint64_t *state, uint64_t n);
