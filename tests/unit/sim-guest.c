/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sim: see sim-guest.h. */
#include "sim-guest.h"

#include <errno.h>

#include "util/util.h"

/* What a kernel keeps free for itself. */
#define WATERMARK_KIB (8 * SIM_MIB)
#define SWAP_KIB_PER_SEC (200 * SIM_MIB)
#define OVERHEAD_KIB (16 * SIM_MIB) /* of a QEMU process */
#define STEP_USEC (50 * 1000)

/* virtio-balloon with 4 KiB pages: some 0.9 GiB/s down, 2 GiB/s up */
#define SHRINK_KIB_PER_SEC (900 * SIM_MIB)
#define GROW_KIB_PER_SEC (2000 * SIM_MIB)

uint64_t sim_random(uint64_t *state) {
        uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

uint64_t sim_random_below(uint64_t *state, uint64_t n) {
        return n ? sim_random(state) % n : 0;
}

void sim_host_init(SimHost *h, uint64_t total_kib, uint64_t own_kib) {
        *h = (SimHost) {
                .total_kib = total_kib,
                .own_kib = own_kib,
                .now_usec = 1000 * SIM_SEC,
                .wall_base_sec = 1700000000,
                .guests = g_ptr_array_new_with_free_func(g_free),
        };
}

void sim_host_clear(SimHost *h) {
        g_clear_pointer(&h->guests, g_ptr_array_unref);
}

static uint64_t resident_kib(const SimGuest *g) {
        return mlg_sub_sat(g->demand_kib, g->swapped_kib);
}

static void write_report(SimGuest *g) {
        uint64_t usable = mlg_sub_sat(g->actual_kib, resident_kib(g) + WATERMARK_KIB / 2);

        g->report = (MlgRawStats) {
                .have = MLG_HAVE_TOTAL | MLG_HAVE_UNUSED | MLG_HAVE_USABLE | MLG_HAVE_CACHES |
                        MLG_HAVE_SWAP_IN | MLG_HAVE_SWAP_OUT | MLG_HAVE_MAJOR_FAULTS | MLG_HAVE_MINOR_FAULTS,
                .total_kib = g->info.autodeflate ? g->info.maximum_kib : g->actual_kib,
                .unused_kib = usable / 2,
                .usable_kib = usable,
                .caches_kib = usable / 2,
                .swap_in_kib = g->swap_in_kib,
                .swap_out_kib = g->swap_out_kib,
                .major_faults = g->swap_in_kib / 4,
        };
        if (g->faults & SIM_LIAR)
                g->report.usable_kib = g->report.unused_kib = g->info.maximum_kib + SIM_MIB;
        if (g->faults & SIM_ALL_ONES)
                g->report.total_kib = g->report.unused_kib = g->report.usable_kib = g->report.caches_kib =
                        g->report.swap_in_kib = g->report.swap_out_kib = UINT64_MAX / 1024;
}

static void start(SimGuest *g) {
        g->actual_kib = g->target_kib = g->least_kib = g->info.maximum_kib;
        g->swapped_kib = g->swap_in_kib = g->swap_out_kib = 0;
        g->report = (MlgRawStats) {};
        g->report_due_usec = g->now_usec + g->report_usec;
}

void sim_guest_init(SimGuest *g, unsigned int n, uint64_t maximum_kib, uint64_t demand_kib,
                    uint64_t now_usec, uint64_t wall_base_sec) {
        *g = (SimGuest) {
                .info = {
                        .run_state = MLG_RUN_RUNNING,
                        .maximum_kib = maximum_kib,
                        .instance = n,
                        .stats_period_sec = 1,
                        .has_balloon = true,
                },
                .demand_kib = demand_kib,
                .swap_size_kib = maximum_kib / 2,
                .shrink_kib_per_sec = SHRINK_KIB_PER_SEC,
                .grow_kib_per_sec = GROW_KIB_PER_SEC,
                .report_usec = SIM_SEC,
                .wall_base_sec = wall_base_sec,
                .now_usec = now_usec,
        };
        g_snprintf(g->info.uuid, sizeof(g->info.uuid), "%08x-0000-4000-8000-%012x", n, n);
        g_snprintf(g->info.name, sizeof(g->info.name), "guest-%u", n);
        start(g);
}

SimGuest *sim_host_add(SimHost *h, uint64_t maximum_kib, uint64_t demand_kib) {
        static unsigned int n;
        SimGuest *g = g_new(SimGuest, 1);

        sim_guest_init(g, ++n, maximum_kib, demand_kib, h->now_usec, h->wall_base_sec);
        g_ptr_array_add(h->guests, g);
        return g;
}

void sim_host_remove(SimHost *h, SimGuest *g) {
        g_ptr_array_remove(h->guests, g);
}

SimGuest *sim_host_find(const SimHost *h, const char *uuid) {
        for (guint i = 0; i < h->guests->len; i++) {
                SimGuest *g = h->guests->pdata[i];

                if (g_str_equal(g->info.uuid, uuid))
                        return g;
        }
        return NULL;
}

void sim_guest_restart(SimGuest *g) {
        g->info.instance += 100000;
        g->info.run_state = MLG_RUN_RUNNING;
        start(g);
}

/* Programs against memory: to swap what does not fit, back what fits again. */
static void page(SimGuest *g, uint64_t dt_usec) {
        uint64_t room = mlg_sub_sat(g->actual_kib, WATERMARK_KIB), resident, back;

        g->swapped_kib = mlg_min(g->swapped_kib, g->demand_kib);
        resident = resident_kib(g);
        if (resident > room && g->info.autodeflate && !(g->faults & SIM_STUCK)) {
                g->actual_kib = mlg_min(g->info.maximum_kib, g->actual_kib + (resident - room));
                room = mlg_sub_sat(g->actual_kib, WATERMARK_KIB);
        }
        if (resident > room) {
                uint64_t out = mlg_min(resident - room, mlg_sub_sat(g->swap_size_kib, g->swapped_kib));

                g->swapped_kib += out;
                g->swap_out_kib += out;
                if (resident - out > room) { /* the OOM killer makes it fit */
                        g->n_oom++;
                        g->demand_kib = room + g->swapped_kib;
                }
                return;
        }
        back = mlg_min(mlg_min(g->swapped_kib, room - resident),
                       mlg_mul_div(SWAP_KIB_PER_SEC, dt_usec, SIM_SEC));
        g->swapped_kib -= back;
        g->swap_in_kib += back;
}

static void move(SimGuest *g, uint64_t dt_usec) {
        if (g->faults & SIM_STUCK)
                return;
        if (g->actual_kib < g->target_kib)
                g->actual_kib = mlg_min(g->target_kib,
                                        g->actual_kib + mlg_mul_div(g->grow_kib_per_sec, dt_usec, SIM_SEC));
        else if (g->actual_kib > g->target_kib) {
                uint64_t step = mlg_mul_div(g->shrink_kib_per_sec, dt_usec, SIM_SEC);
                uint64_t available = mlg_sub_sat(g->actual_kib, resident_kib(g) + WATERMARK_KIB);

                if (g->info.autodeflate)
                        step = mlg_min(step, available);
                else
                        step = mlg_min(step, available + mlg_sub_sat(g->swap_size_kib, g->swapped_kib));
                g->actual_kib -= mlg_min(step, g->actual_kib - g->target_kib);
        }
        g->least_kib = mlg_min(g->least_kib, g->actual_kib);
}

static void guest_advance(SimGuest *g, uint64_t now_usec) {
        while (g->now_usec < now_usec) {
                uint64_t dt = mlg_min(now_usec - g->now_usec, STEP_USEC);

                g->now_usec += dt;
                if (g->info.run_state != MLG_RUN_RUNNING || (g->faults & SIM_STOPPED)) {
                        g->report_due_usec += dt; /* QEMU's timer runs on the guest's clock */
                        continue;
                }
                move(g, dt);
                page(g, dt);
                if (g->now_usec < g->report_due_usec)
                        continue;
                g->report_due_usec += g->report_usec;
                if (g->info.has_balloon && g->info.stats_period_sec > 0 && !(g->faults & SIM_SILENT)) {
                        uint64_t before = g->report.last_update_sec;

                        write_report(g);
                        /* Whole seconds; ahead of the wall clock where reports come faster than that. */
                        g->report.last_update_sec = mlg_max(before + 1,
                                                            g->wall_base_sec + g->now_usec / SIM_SEC);
                }
        }
}

/* What its QEMU would occupy if the host had room for all. */
static uint64_t occupied_kib(const SimGuest *g) {
        return mlg_sub_sat(g->actual_kib, g->untouched_kib) + OVERHEAD_KIB;
}

/* A host that has less than all want swaps out, from each in proportion. */
static void host_swaps(SimHost *h) {
        uint64_t sum = 0, over;

        for (guint i = 0; i < h->guests->len; i++)
                sum += occupied_kib(h->guests->pdata[i]);
        over = mlg_min(mlg_sub_sat(h->own_kib + sum, h->total_kib), sum);
        for (guint i = 0; i < h->guests->len; i++) {
                SimGuest *g = h->guests->pdata[i];

                g->host_swapped_kib = mlg_mul_div(over, occupied_kib(g), sum);
        }
}

static bool is_on(const SimGuest *g) {
        return g->info.run_state != MLG_RUN_OFF && g->info.run_state != MLG_RUN_CRASHED;
}

void sim_host_advance(SimHost *h, uint64_t now_usec) {
        for (guint i = 0; i < h->guests->len; i++)
                guest_advance(h->guests->pdata[i], now_usec);
        h->now_usec = mlg_max(h->now_usec, now_usec);
        host_swaps(h);
}

void sim_host_read(const SimHost *h, MlgRawHost *ret) {
        uint64_t used = h->own_kib;

        for (guint i = 0; i < h->guests->len; i++) {
                const SimGuest *g = h->guests->pdata[i];

                if (is_on(g))
                        used += occupied_kib(g) - g->host_swapped_kib;
        }
        *ret = (MlgRawHost) {
                .total_kib = h->total_kib,
                .available_kib = mlg_sub_sat(h->total_kib, used),
                .free_kib = mlg_sub_sat(h->total_kib, used),
        };
}

bool sim_guest_read(const SimGuest *g, MlgRawStats *ret) {
        if (g->faults & SIM_STOPPED)
                return false;
        *ret = g->report;
        if (g->faults & SIM_PARTIAL)
                *ret = (MlgRawStats) {};
        ret->have |= MLG_HAVE_RUN_STATE | MLG_HAVE_ACTUAL | MLG_HAVE_MAXIMUM | MLG_HAVE_RSS;
        ret->run_state = g->info.run_state;
        ret->actual_kib = g->actual_kib;
        ret->maximum_kib = g->info.maximum_kib;
        ret->rss_kib = occupied_kib(g) - g->host_swapped_kib;
        if (ret->last_update_sec > 0)
                ret->have |= MLG_HAVE_LAST_UPDATE;
        return true;
}

int sim_guest_set(SimGuest *g, uint64_t target_kib) {
        g->n_set++;
        if (!is_on(g))
                return -ENODEV;
        if (!g->info.has_balloon)
                return -EOPNOTSUPP;
        if (g->faults & SIM_STOPPED)
                return -ETIMEDOUT;
        g->target_kib = target_kib;
        return 0;
}
