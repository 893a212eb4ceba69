/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mom: the balloon rules that oVirt's MOM ships, to compare with.
 *
 * Formulas after MOM 0.6.5, doc/balloon.rules, with its defaults: monitors look each 5 s, averages are plain
 * means of 10 looks, the policy runs each 10 s. host_free = mean(free with caches) / total.
 *   host_free < 20 %: every guest is shrunk:
 *        guest_free = 20 % x host_free / 20 %, or host_free - 5 % (negative!) when host_free <= 5 %
 *        least = max(floor, used + guest_free x actual);  new = max(0.95 x actual, least)
 *   else every guest is grown:
 *        least = used + 20 % x actual;  new = max(1.05 x actual, least) up to the ceiling
 * where used = mean(actual) - mean(MemFree): page cache counts as used. Changes up to 0.25 % are not made.
 * Two differences, both in its favour: floors hold (on plain libvirt MOM has none), and guests with an
 * incomplete report hold instead of falling out of the round. */
#include "memlego/policy.h"

#include "util/util.h"

#define LOOKS 10
#define LOOK_USEC (5 * MLG_USEC_PER_SEC)
#define LOOKS_PER_DECISION 2 /* 10 s */
#define PRESSURE_PERMILLE 200
#define CRITICAL_PERMILLE 50
#define GUEST_FREE_PERMILLE 200
#define STEP_PERMILLE 50
#define LEAST_CHANGE_PER_10000 25

typedef struct Mean {
        uint64_t values[LOOKS];
        uint32_t n, next;
} Mean;

typedef struct MomHost {
        Mean free_kib;
        uint32_t looks;
} MomHost;

typedef struct MomGuest {
        Mean actual_kib, unused_kib;
} MomGuest;

static void mean_add(Mean *m, uint64_t v) {
        m->values[m->next] = v;
        m->next = (m->next + 1) % LOOKS;
        if (m->n < LOOKS)
                m->n++;
}

static uint64_t mean_of(const Mean *m) {
        uint64_t sum = 0;

        for (uint32_t i = 0; i < m->n; i++)
                sum += m->values[i];
        return m->n ? sum / m->n : 0;
}

static uint64_t shrunk(const MlgVmView *vm, uint64_t used_kib, int64_t host_free_permille) {
        int64_t free_permille = host_free_permille <= CRITICAL_PERMILLE ?
                host_free_permille - CRITICAL_PERMILLE : GUEST_FREE_PERMILLE * host_free_permille / PRESSURE_PERMILLE;
        uint64_t part = mlg_mul_div(vm->actual_kib, (uint64_t) (free_permille < 0 ? -free_permille : free_permille), 1000);
        uint64_t least = free_permille < 0 ? mlg_sub_sat(used_kib, part) : used_kib + part;
        uint64_t target = mlg_max(mlg_mul_div(vm->actual_kib, 1000 - STEP_PERMILLE, 1000), mlg_max(least, vm->floor_kib));

        return mlg_min(target, mlg_min(vm->actual_kib, vm->ceiling_kib));
}

static uint64_t grown(const MlgVmView *vm, uint64_t used_kib) {
        uint64_t least = used_kib + mlg_mul_div(vm->actual_kib, GUEST_FREE_PERMILLE, 1000);
        uint64_t target = mlg_max(mlg_mul_div(vm->actual_kib, 1000 + STEP_PERMILLE, 1000), least);

        return mlg_max(mlg_clamp(target, vm->floor_kib, vm->ceiling_kib), vm->actual_kib);
}

static int mom_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        MomHost *h = priv;
        uint64_t host_free;

        mean_add(&h->free_kib, host->available_kib);
        for (size_t i = 0; i < n_vms; i++) {
                MomGuest *g = vms[i].priv;

                if (!vms[i].movable)
                        continue;
                mean_add(&g->actual_kib, vms[i].actual_kib);
                mean_add(&g->unused_kib, vms[i].unused_kib);
        }
        if (++h->looks % LOOKS_PER_DECISION != 0)
                return 0;
        host_free = mlg_mul_div(mean_of(&h->free_kib), 1000, host->total_kib);
        for (size_t i = 0; i < n_vms; i++) {
                const MomGuest *g = vms[i].priv;
                bool shrink = host_free < PRESSURE_PERMILLE;
                uint64_t used, target;

                if (!vms[i].movable)
                        continue;
                used = mlg_sub_sat(mean_of(&g->actual_kib), mean_of(&g->unused_kib));
                target = shrink ? shrunk(&vms[i], used, (int64_t) host_free) : grown(&vms[i], used);
                if (mlg_abs_diff(target, vms[i].actual_kib) <= mlg_mul_div(vms[i].actual_kib, LEAST_CHANGE_PER_10000, 10000))
                        continue;
                plan->steps[i] = (MlgStep) { target, shrink ? MLG_REASON_HOST_PRESSURE : MLG_REASON_SURPLUS };
        }
        return 0;
}

extern const MlgPolicyOps mlg_policy_mom;
const MlgPolicyOps mlg_policy_mom = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "mom",
        .description = "oVirt MOM's balloon rules, to compare with",
        .priv_size = sizeof(MomHost),
        .vm_priv_size = sizeof(MomGuest),
        .interval_usec = LOOK_USEC,
        .decide = mom_decide,
};
