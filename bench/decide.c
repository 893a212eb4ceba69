/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decide. See decide.h. */
#include "decide.h"

#include <stdlib.h>
#include <time.h>

#include "sim/guest.h"

#define GUEST_KIB (1024 * SIM_MIB)
#define N_DECISIONS 301
#define TUESDAY_EVENING_SEC 1700000000 /* 22:13 */

static uint64_t cpu_nsec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

typedef struct Rig {
        SimHost sim;
        MlgHostSettings host;
        MlgEngine *e;
        uint64_t now_usec;
} Rig;

static uint64_t decide(Rig *t) {
        MlgRawHost host;
        const MlgMove *moves;
        uint64_t nsec;
        size_t n;

        t->now_usec += SIM_SEC;
        sim_host_advance(&t->sim, t->now_usec);
        sim_host_read(&t->sim, &host);
        mlg_engine_observe_host(t->e, &host);
        mlg_engine_tell_time(t->e, TUESDAY_EVENING_SEC + t->now_usec / SIM_SEC, 0);
        for (guint i = 0; i < t->sim.guests->len; i++) {
                MlgRawStats raw;
                bool answers = sim_guest_read(t->sim.guests->pdata[i], &raw);

                mlg_engine_observe(t->e, mlg_engine_guest_at(t->e, i), answers ? &raw : NULL, t->now_usec,
                                   t->sim.wall_base_sec + t->now_usec / SIM_SEC);
        }
        nsec = cpu_nsec();
        n = mlg_engine_decide(t->e, t->now_usec, &moves);
        nsec = cpu_nsec() - nsec;
        for (size_t i = 0; i < n; i++) {
                MlgVm *vm = mlg_engine_find(t->e, moves[i].vm->uuid);

                mlg_engine_answer(t->e, vm, sim_guest_set(sim_host_find(&t->sim, vm->uuid), moves[i].to_kib),
                                  t->now_usec);
        }
        return nsec;
}

static int by_size(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return x < y ? -1 : x > y;
}

uint64_t bench_decide_nsec(unsigned int n, unsigned int percent, const MlgRules *rules) {
        uint64_t seed = n, times[N_DECISIONS], need = 0;
        MlgGuestSettings guest;
        Rig t = {};

        sim_host_init(&t.sim, (uint64_t) n * 4 * GUEST_KIB, 0);
        t.now_usec = t.sim.now_usec;
        mlg_host_settings_default(&t.host);
        mlg_guest_settings_default(&guest);
        guest.rules = rules ? mlg_rules_all(rules) : 0;
        t.e = mlg_engine_new(&t.host, false);
        mlg_engine_set_rules(t.e, rules);
        for (unsigned int i = 0; i < n; i++) {
                SimGuest *g = sim_host_add(&t.sim, 2 * GUEST_KIB,
                                           (100 + sim_random_below(&seed, 1500)) * SIM_MIB);

                guest.priority = (int32_t) (i % 201) - 100;
                guest.shares = 1 + i % 1000;
                need += g->demand_kib;
                (void) mlg_engine_put_guest(t.e, &g->info, &guest, false, t.now_usec);
        }
        t.host.guest_memory = MLG_AMOUNT_KIB(need / 100 * percent);
        mlg_engine_configure(t.e, &t.host);
        for (int i = 0; i < 10; i++)
                (void) decide(&t);
        for (int i = 0; i < N_DECISIONS; i++) {
                for (unsigned int k = 0; k < (n + 49) / 50; k++)
                        ((SimGuest *) t.sim.guests->pdata[sim_random_below(&seed, n)])->demand_kib =
                                (100 + sim_random_below(&seed, 1500)) * SIM_MIB;
                times[i] = decide(&t);
        }
        (void) mlg_engine_free(t.e);
        sim_host_clear(&t.sim);
        qsort(times, N_DECISIONS, sizeof(times[0]), by_size);
        return times[N_DECISIONS / 2];
}
