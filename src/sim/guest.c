/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sim: see guest.h. */
#include "sim/guest.h"

#include <errno.h>

#include "util/util.h"

#define SWAP_KIB_PER_SEC (200 * SIM_MIB)
#define STEP_USEC (50 * 1000)

/* virtio-balloon with 4 KiB pages, as measured by others on a machine with 12 cores (18 GiB in 20.4 s and
 * in 8.5 s): 0.88 GiB/s down, 2.1 GiB/s up. */
#define SHRINK_KIB_PER_SEC (900 * SIM_MIB)
#define GROW_KIB_PER_SEC (2150 * SIM_MIB)
/* A driver that takes back what it gave does it at the pace of a program that is in no hurry. */
#define TAKE_KIB_PER_SEC (20 * SIM_MIB)

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
        return mlg_sub_sat(g->in_use_kib, g->swapped_kib);
}

/* What programs can have at most. */
static uint64_t room_kib(const SimGuest *g) {
        return mlg_sub_sat(g->actual_kib, SIM_WATERMARK_KIB);
}

/* What its QEMU would occupy if the host had room for all. */
static uint64_t occupied_kib(const SimGuest *g) {
        return mlg_sub_sat(g->actual_kib, g->untouched_kib) + SIM_OVERHEAD_KIB;
}

/* Part of what is occupied that nobody uses: page cache and free pages. */
static uint64_t cold_kib(const SimGuest *g) {
        return mlg_sub_sat(occupied_kib(g), resident_kib(g) + SIM_OVERHEAD_KIB);
}

uint64_t sim_guest_unmet_kib(const SimGuest *g) {
        /* What they have not come to yet is no want of memory where there is room for it. */
        uint64_t inside = mlg_max(g->swapped_kib, mlg_sub_sat(g->demand_kib, room_kib(g)));

        return g->killed_kib + inside + mlg_sub_sat(g->host_swapped_kib, cold_kib(g));
}

static void write_report(SimGuest *g) {
        uint64_t resident = resident_kib(g), usable;

        if (g->faults & SIM_GREEDY)
                resident = g->actual_kib;
        if (g->faults & SIM_MODEST)
                resident /= 2;
        usable = mlg_sub_sat(g->actual_kib, resident + SIM_WATERMARK_KIB / 2);

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
        g->actual_kib = g->target_kib = g->told_actual_kib = g->least_kib = g->info.maximum_kib;
        g->in_use_kib = g->touch_kib_per_sec ? 0 : g->demand_kib;
        g->swapped_kib = g->swap_in_kib = g->swap_out_kib = g->killed_kib = 0;
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
                .event_due_usec = now_usec,
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

/* In this order: who looks at the same time (a test's world is shared) must not see it run as what it was before. */
void sim_guest_restart(SimGuest *g) {
        g->info.instance += 100000;
        start(g);
        __atomic_store_n(&g->info.run_state, MLG_RUN_RUNNING, __ATOMIC_RELEASE);
}

/* Programs come to what they want. */
static void touch(SimGuest *g, uint64_t dt_usec) {
        uint64_t step = g->touch_kib_per_sec ? mlg_mul_div(g->touch_kib_per_sec, dt_usec, SIM_SEC)
                                             : g->demand_kib;

        g->in_use_kib = mlg_min(g->demand_kib, g->in_use_kib + step);
}

/* Programs against memory: to swap what does not fit, back what fits again. */
static void page(SimGuest *g, uint64_t dt_usec) {
        uint64_t room = room_kib(g), resident, back;

        g->swapped_kib = mlg_min(g->swapped_kib, g->in_use_kib);
        resident = resident_kib(g);
        if (resident > room && g->info.autodeflate && !(g->faults & SIM_STUCK)) {
                g->actual_kib = mlg_min(g->info.maximum_kib, g->actual_kib + (resident - room));
                room = room_kib(g);
        }
        if (resident > room) {
                uint64_t out = mlg_min(resident - room, mlg_sub_sat(g->swap_size_kib, g->swapped_kib));

                g->swapped_kib += out;
                g->swap_out_kib += out;
                if (resident - out > room) { /* the OOM killer makes it fit */
                        g->n_oom++;
                        g->killed_kib += g->demand_kib - (room + g->swapped_kib);
                        g->demand_kib = g->in_use_kib = room + g->swapped_kib;
                }
                return;
        }
        back = mlg_min(mlg_min(g->swapped_kib, room - resident),
                       mlg_mul_div(SWAP_KIB_PER_SEC, dt_usec, SIM_SEC));
        g->swapped_kib -= back;
        g->swap_in_kib += back;
}

static void shrink(SimGuest *g, uint64_t dt_usec) {
        uint64_t step = mlg_mul_div(g->shrink_kib_per_sec, dt_usec, SIM_SEC);
        uint64_t available = mlg_sub_sat(g->actual_kib, resident_kib(g) + SIM_WATERMARK_KIB);

        if (g->info.autodeflate)
                step = mlg_min(step, available);
        else
                step = mlg_min(step, available + mlg_sub_sat(g->swap_size_kib, g->swapped_kib));
        g->actual_kib -= mlg_min(step, g->actual_kib - g->target_kib);
}

static void move(SimGuest *g, uint64_t dt_usec) {
        if (g->faults & SIM_STUCK)
                return;
        if (g->faults & SIM_TAKES)
                g->actual_kib = mlg_min(g->info.maximum_kib,
                                        g->actual_kib + mlg_mul_div(TAKE_KIB_PER_SEC, dt_usec, SIM_SEC));
        else if (g->actual_kib < g->target_kib)
                g->actual_kib = mlg_min(g->target_kib,
                                        g->actual_kib + mlg_mul_div(g->grow_kib_per_sec, dt_usec, SIM_SEC));
        else if (g->actual_kib > g->target_kib)
                shrink(g, dt_usec);
        g->least_kib = mlg_min(g->least_kib, g->actual_kib);
}

/* One step of its memory; true: nothing changed, nor will it. */
static bool step(SimGuest *g, uint64_t dt_usec) {
        uint64_t actual = g->actual_kib, in_use = g->in_use_kib, swapped = g->swapped_kib;
        uint64_t in = g->swap_in_kib, out = g->swap_out_kib;

        move(g, dt_usec);
        touch(g, dt_usec);
        page(g, dt_usec);
        return actual == g->actual_kib && in_use == g->in_use_kib && swapped == g->swapped_kib &&
               in == g->swap_in_kib && out == g->swap_out_kib;
}

static void add_up(SimGuest *g, uint64_t dt_usec) {
        double sec = (double) dt_usec / (double) SIM_SEC;
        uint64_t unmet = sim_guest_unmet_kib(g);

        g->run_sec += sec;
        g->demand_kib_sec += sec * (double) (g->demand_kib + g->killed_kib);
        g->actual_kib_sec += sec * (double) g->actual_kib;
        g->unmet_kib_sec += sec * (double) unmet;
        g->short_sec += unmet > 0 ? sec : 0;
}

/* The reports that were due by now; of several only the last one can be read. */
static void report(SimGuest *g) {
        uint64_t before = g->report.last_update_sec, n;

        if (g->now_usec < g->report_due_usec)
                return;
        n = (g->now_usec - g->report_due_usec) / g->report_usec + 1;
        g->report_due_usec += n * g->report_usec;
        if (!g->info.has_balloon || g->info.stats_period_sec == 0 || (g->faults & SIM_SILENT))
                return;
        write_report(g);
        /* Whole seconds; ahead of the wall clock where reports come faster than that. */
        g->report.last_update_sec = mlg_max(before + n,
                                            g->wall_base_sec +
                                                    (g->report_due_usec - g->report_usec) / SIM_SEC);
}

/* QEMU tells of a balloon that moves once in event_usec. */
static void tell(SimGuest *g) {
        if (g->event_usec == 0)
                g->told_actual_kib = g->actual_kib;
        else if (g->now_usec >= g->event_due_usec) {
                g->told_actual_kib = g->actual_kib;
                g->event_due_usec += ((g->now_usec - g->event_due_usec) / g->event_usec + 1) * g->event_usec;
        }
}

static void guest_advance(SimGuest *g, uint64_t now_usec) {
        bool runs = g->info.run_state == MLG_RUN_RUNNING && !(g->faults & SIM_STOPPED);

        g->at_rest = false;
        while (g->now_usec < now_usec) {
                uint64_t dt = g->at_rest || !runs ? now_usec - g->now_usec
                                                  : mlg_min(now_usec - g->now_usec, STEP_USEC);

                g->now_usec += dt;
                if (!runs) {
                        g->report_due_usec += dt; /* QEMU's timer runs on the guest's clock */
                        g->at_rest = true;
                        continue;
                }
                if (!g->at_rest)
                        g->at_rest = step(g, dt);
                add_up(g, dt);
                report(g);
                tell(g);
        }
}

/* A host that has less than all want swaps out, from each in proportion; of each what nobody uses first. */
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

bool sim_guest_look(const SimGuest *g, MlgRawStats *ret) {
        if (g->faults & SIM_STOPPED)
                return false;
        *ret = g->report;
        if (g->faults & SIM_PARTIAL)
                *ret = (MlgRawStats) {};
        ret->have |= MLG_HAVE_RUN_STATE | MLG_HAVE_ACTUAL | MLG_HAVE_MAXIMUM | MLG_HAVE_RSS;
        ret->run_state = g->info.run_state;
        ret->actual_kib = g->actual_kib;
        ret->maximum_kib = g->info.maximum_kib;
        ret->heading_kib = g->info.granule_kib > 0 ? g->target_kib : 0;
        ret->rss_kib = occupied_kib(g) - g->host_swapped_kib;
        if (ret->last_update_sec > 0)
                ret->have |= MLG_HAVE_LAST_UPDATE;
        return true;
}

bool sim_guest_read(const SimGuest *g, MlgRawStats *ret) {
        if (!sim_guest_look(g, ret))
                return false;
        if (g->event_usec > 0) {
                ret->actual_kib = g->told_actual_kib;
                ret->actual_age_usec = g->event_usec;
        }
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
        g->target_kib = mlg_grid_down(target_kib, g->info.base_kib, g->info.granule_kib);
        return 0;
}
