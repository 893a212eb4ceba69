/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Idle tax: VMware ESX's rule. Memory goes by shares, but memory that lies idle costs four times as much.
 *
 * After C. Waldspurger, "Memory Resource Management in VMware ESX Server", OSDI 2002, section 5.2. A guest with S shares
 * and P pages, of which the fraction f is active, has the adjusted shares-per-page ratio
 *      rho = S / (P x (f + k x (1 - f))),   k = 1 / (1 - tax),   tax = 75 %, so k = 4
 * and ESX takes memory from the guest of least rho for one with more ("min-funding revocation"), until all are equal. We go
 * there at once. With A = f x P, what is active, rho = S / (k x P - (k - 1) x A) where P >= A, and S / P where all is active;
 * so at rho = 1 / L each guest has
 *      P(L) = L x S                      up to A
 *             A + (L x S - A) / k        beyond
 * within [floor, ceiling], and L is the level at which all together have what there is. P does not depend on what a guest
 * has at the moment: with steady demand the targets stand still.
 *
 * A: ESX samples pages; we know demand. A = the greatest of the forecast now, its fast and its slow average (so up at once,
 * down slowly, as in section 5.3), less what the guest's kernel reports as untouched for minutes, plus the cushion, which
 * ESX does not need because its guests get pages when they touch them. A suffering guest is active wholly, and may be offered more
 * (policies/share.h); one that must not be shrunk now keeps what it has.
 *
 * ESX's host states (section 6.3) are by free memory: high at 6 %, soft at 4 %, hard at 2 %, low at 1 %. Our Reserve= stands for
 * its 6 %, so it is the overrun of the budget that counts:
 *      high   sum of ceilings <= budget: nobody is asked for anything. Free memory is given out by shares even here: it is of
 *             use in guests only.
 *      soft   else: by balloon, to equal rho.
 *      hard   the host is short (less than 7/8 of its reserve is left): ESX swaps out its guests' pages by force. We cannot,
 *             and would not: guests choose better. Balloons go below A, by priority, down to the floors (case overrun of
 *             policies/share.h), and each guest swaps by itself.
 *      low    ESX stops guests that are beyond their targets. We stop nobody; the ledger grants no growth, as in hard.
 * Priorities are ours: where not all can have A, those of higher priority have it first. */
#include "policies/share.h"

#include "util/util.h"

#define IDLE_COST 4 /* k */

/* ESX looks each 30 s; we get a report each second. A fast average of some 4 s, and a slow one of half a minute. */
#define FAST_PART 4
#define SLOW_PART 32

/* One guest. The claim must be first: policies/share.h. Here want is A, and keep what it is not cut below. */
typedef struct Guest {
        MlgClaim claim;
        uint64_t fast_kib, slow_kib; /* averages of its demand; 0: none yet */
} Guest;

static uint64_t average(uint64_t before, uint64_t now, uint64_t part) {
        if (before == 0)
                return now;
        return now > before ? before + (now - before) / part : before - (before - now) / part;
}

static void make_claim(const MlgVmView *vm) {
        Guest *g = vm->priv;
        uint64_t demand = mlg_sub_sat(vm->need_kib, mlg_claim_cold_kib(vm));

        if (vm->sampled || g->fast_kib == 0) {
                g->fast_kib = average(g->fast_kib, demand, FAST_PART);
                g->slow_kib = average(g->slow_kib, demand, SLOW_PART);
        }
        mlg_claim_make(vm, mlg_max(demand, mlg_max(g->fast_kib, g->slow_kib)), vm->floor_kib);
}

typedef struct Pour {
        size_t rung;      /* whose guests are asked for: those above it have A, those below only what they must keep */
        bool one_rung;    /* all are */
        bool only_active; /* nobody gets more than A: the host stalls, or others lack theirs */
} Pour;

/* P(L) */
static uint64_t fill_taxed(const MlgVmView *vm, uint64_t level, const void *context) {
        const MlgClaim *c = mlg_claim_of(vm);
        const Pour *p = context;
        uint64_t funded = level * vm->shares;

        if (!p->one_rung && mlg_rung_of(vm) != p->rung)
                return mlg_rung_of(vm) > p->rung ? c->want_kib : c->keep_kib;
        if (funded > c->want_kib)
                funded = p->only_active ? c->want_kib : c->want_kib + (funded - c->want_kib) / IDLE_COST;
        return mlg_clamp(funded, c->keep_kib, vm->ceiling_kib);
}

/* The highest rung whose guests cannot all have A beside what those below it must keep. Where all can, or all have the same
 * priority, there is only one pour. */
static void find_rung(const MlgVmView *vms, size_t n, uint64_t left_kib, Pour *p) {
        uint64_t more[MLG_N_RUNGS] = {};
        size_t rung = MLG_N_RUNGS, n_rungs = 0;
        bool there[MLG_N_RUNGS] = {};

        for (size_t i = 0; i < n; i++)
                if (vms[i].movable) {
                        const MlgClaim *c = mlg_claim_of(&vms[i]);

                        rung = mlg_rung_of(&vms[i]);
                        more[rung] = mlg_add_sat(more[rung], c->want_kib - c->keep_kib);
                        n_rungs += !there[rung];
                        there[rung] = true;
                }
        p->one_rung = n_rungs <= 1;
        for (rung = MLG_N_RUNGS; rung-- > 0;) {
                p->rung = rung;
                if (more[rung] > left_kib)
                        return;
                left_kib -= more[rung];
        }
        p->one_rung = true;
}

static void write_steps(const MlgVmView *vms, size_t n, MlgPlan *plan) {
        for (size_t i = 0; i < n; i++) {
                const MlgClaim *c = mlg_claim_of(&vms[i]);

                if (!vms[i].movable)
                        continue;
                plan->steps[i].target_kib = c->give_kib;
                plan->steps[i].reason = c->asks ? c->why : c->give_kib > c->want_kib ? MLG_REASON_SURPLUS :
                        c->give_kib == vms[i].floor_kib ? MLG_REASON_FLOOR :
                        c->give_kib < c->want_kib ? MLG_REASON_DONOR : MLG_REASON_DEMAND;
        }
}

/* Books that are overrun by promises are no reason to cut anybody below what it uses. */
static void keep_what_is_used(const MlgVmView *vms, size_t n) {
        for (size_t i = 0; i < n; i++) {
                MlgClaim *c = mlg_claim_of(&vms[i]);

                if (vms[i].movable)
                        c->keep_kib = mlg_clamp(mlg_claim_keep_kib(&vms[i]), c->keep_kib, c->want_kib);
        }
}

static int idle_tax_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        uint64_t budget = mlg_share_budget_kib(host), want = 0, keep = 0;
        Pour pour;

        for (size_t i = 0; i < n_vms; i++) {
                if (!vms[i].movable)
                        continue;
                make_claim(&vms[i]);
                want = mlg_add_sat(want, mlg_claim_of(&vms[i])->want_kib);
                keep = mlg_add_sat(keep, mlg_claim_of(&vms[i])->keep_kib);
        }
        plan->shortage_kib = mlg_sub_sat(want, budget);
        if (keep > budget) {
                keep_what_is_used(vms, n_vms);
                mlg_share_short(host, vms, n_vms, plan);
                return 0;
        }
        find_rung(vms, n_vms, budget - keep, &pour);
        pour.only_active = host->stalls || !pour.one_rung;
        mlg_share_pour(vms, n_vms, fill_taxed, &pour, budget);
        write_steps(vms, n_vms, plan);
        return 0;
}

extern const MlgPolicyOps mlg_policy_idle_tax;
const MlgPolicyOps mlg_policy_idle_tax = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "idle-tax",
        .description = "VMware ESX's rule: by shares, and idle memory costs four times as much",
        .vm_priv_size = sizeof(Guest),
        .decide = idle_tax_decide,
};
