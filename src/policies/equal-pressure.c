/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Equal pressure: memory flows from guests that do not miss it to guests that wait for it, until the last MiB is worth the
 * same everywhere.
 *
 * What is minimised is the time that is lost, weighted by shares S: the sum of S x w(m) over all guests, where w(m) is the part of
 * the time in which tasks of a guest with memory m wait for memory, under sum(m) <= B and floor <= m <= ceiling. At the
 * optimum the marginal loss -S x dw/dm is the same for all that are not at a bound. How w falls with m is not known, but it
 * falls about as exp(-m / (part of m)) near a working set, so that -dw/dm ~ w/m; hence the *marginal pressure*
 *      u = S x w / m          [shares x permille of time per GiB]
 * and the law: memory goes from low u to high u. The direction is right for any falling w(m), only the point of rest depends
 * on its form. (ChromeOS balances its guests and host by equal age of pages; ages are an estimate of w that needs no waiting,
 * and are used here where a guest's kernel tells them.)
 *
 * Measure. w = stall_some + stall_full, permille of time; at least what its refaults cost (0.1 ms a page: a fast disk).
 * Where no program in the guest tells stalls, what it reads back from swap stands for them, and nothing usable for a w
 * of 10 %: such a guest may have no swap. Little usable memory makes w 1 %, no more: it is what a guest looks like whose
 * memory is used well. w rises at once, and decays by half in 4 s: one that waited a short while ago gives nothing.
 *
 * Demand comes first, as in policies/share.h: memory that nobody uses needs no such law. It sets in when the wants exceed B.
 * Then each guest has a bound `most` on what it may hold:
 *   tighten  while somebody of at least its priority lacks memory, with marginal pressure U, and this one's u < U/2, and
 *            w < 2 %:      most -= most x rate x (1 - u/U) x min(1, W/20 %) x dt
 *            with W the other's w, and rate = 10 %/s for memory that is known to be cold, 3 %/s else.
 *   hold     between U/2 and U: the gap is the dead band.
 *   back off when u > U, or w >= 2 %: the bound goes, at once, and what it held is remembered: it is not tightened below 17/16
 *            of that. The mark fades by 1 % in 6 s (senpai's pace of probing), so a working set that shrank is found again.
 * When the wants fit, all bounds go.
 *
 * Why it comes to rest: with the others' memory as it is, u falls in m. The guest of highest u only gains, one of low u only loses,
 * by at most 10 % of itself per second, so max(u) - min(u) falls until it is inside the dead band or somebody is at a bound.
 * What we see is at most 2 s old (report and balloon), in which a guest loses at most some 20 % of what is cold, or 6 % of
 * what is not known: so far it can overshoot, once, because the mark then keeps it from going there again: on steady input each guest
 * has at most one swing per fading of its mark. Guests that lack memory are never cut for others: the guard sees to that (`probes`), and holds for
 * 30 s after, which is the third damping.
 *
 * Who asks: guests under pressure get the relief of policies/share.h, in proportion to shares x w, so that who waits most is served
 * most. One that stalls while it has memory (its cache is too small) asks for m x w / 400 permille more: half as much again
 * at 20 % of stall. */
#include "policies/share.h"

#include "util/util.h"

#define PERMILLE 1000

/* Weight of a guest's waiting: beyond this all is lost anyway. */
#define WAIT_MOST_PERMILLE 1000
/* A page read back in 0.1 ms: 1 MiB/s are 256 pages, 26 ms a second. */
#define REFAULT_KIB_PER_PERMILLE 40
/* Without stalls: 1 MiB/s from swap makes a program wait 256 times a second, for 1 ms each: a usual disk. */
#define SWAP_IN_KIB_PER_PERMILLE 4
/* ... and pressure without swap-in is about to become that. */
#define WARNING_PERMILLE 10
#define CRITICAL_PERMILLE 100

/* Below this a guest is calm: 2 % slower at worst, while another one loses more. */
#define CALM_PERMILLE 20
#define HALF_LIFE_USEC (4 * MLG_USEC_PER_SEC)
/* Asking for more by stalls alone: see above. */
#define ASK_PERMILLE 400

#define URGENT_PERMILLE 200 /* W at which memory is taken at the full rate */
#define RATE_COLD_PERMILLE 100
#define RATE_PERMILLE 30
#define MARK_PART 16
#define MARK_FADES_USEC (600 * MLG_USEC_PER_SEC) /* 1 % in 6 s */
/* Decisions are half a second apart, or less; after a longer pause the last look counts for no more than this. */
#define DT_MOST_USEC MLG_USEC_PER_SEC

typedef struct Host {
        uint64_t decided_usec;
} Host;

/* One guest. The claim must be first: policies/share.h. */
typedef struct Guest {
        MlgClaim claim;
        uint64_t wait_permille; /* w, as of now */
        uint64_t most_kib;      /* the bound; 0: none */
        uint64_t mark_kib;      /* it was in trouble with so much; 0: never */
        uint64_t pressure;      /* u */
} Guest;

/* The one that lacks memory most, of one priority or any above it. */
typedef struct Asker {
        uint64_t pressure, wait_permille;
} Asker;

static Guest *guest_of(const MlgVmView *vm) {
        return vm->priv;
}

/* x less its part dt/whole */
static uint64_t fade(uint64_t x, uint64_t dt_usec, uint64_t whole_usec) {
        return x - mlg_mul_div(x, mlg_min(dt_usec, whole_usec), whole_usec);
}

static uint64_t waits_now(const MlgVmView *vm) {
        uint64_t w = 0;

        if (vm->knows_stalls)
                w = mlg_max((uint64_t) vm->stall_some_permille + vm->stall_full_permille,
                            vm->refault_kib_per_sec / REFAULT_KIB_PER_PERMILLE);
        else
                w = vm->swap_in_kib_per_sec / SWAP_IN_KIB_PER_PERMILLE;
        if (vm->pressure == MLG_PRESSURE_WARNING)
                w = mlg_max(w, WARNING_PERMILLE);
        if (vm->pressure == MLG_PRESSURE_CRITICAL && !vm->knows_stalls)
                w = mlg_max(w, CRITICAL_PERMILLE);
        return mlg_min(w, WAIT_MOST_PERMILLE);
}

static void measure(const MlgVmView *vm, uint64_t dt_usec) {
        Guest *g = guest_of(vm);
        uint64_t gib = MLG_KIB_PER_MIB * 1024;

        g->wait_permille = mlg_max(waits_now(vm), fade(g->wait_permille, dt_usec, 2 * HALF_LIFE_USEC));
        g->pressure = mlg_mul_div(g->wait_permille * vm->shares, gib, mlg_max(vm->actual_kib, 1));
        g->mark_kib = fade(g->mark_kib, dt_usec, MARK_FADES_USEC);
}

/* Little usable memory is a reason to ask for more while there is enough. When it is short, only waiting counts. */
static void make_claim(const MlgVmView *vm, bool is_short) {
        Guest *g = guest_of(vm);
        MlgClaim *c = &g->claim;
        MlgVmView calm = *vm;

        if (is_short && vm->shrinkable && g->wait_permille < CALM_PERMILLE)
                calm.pressure = MLG_PRESSURE_NONE;
        mlg_claim_make(&calm, vm->need_kib, mlg_claim_keep_kib(vm));
        c->weight = (uint32_t) mlg_max(mlg_mul_div(c->weight, g->wait_permille, PERMILLE), 1);
        if (vm->knows_stalls && g->wait_permille >= CALM_PERMILLE) {
                uint64_t more = mlg_mul_div(vm->actual_kib, mlg_min(g->wait_permille, ASK_PERMILLE / 2), ASK_PERMILLE);

                c->want_kib = mlg_clamp(vm->actual_kib + more, c->want_kib, vm->ceiling_kib);
                c->asks = true;
                c->why = c->want_kib == vm->ceiling_kib ? MLG_REASON_CEILING : MLG_REASON_PRESSURE;
        }
}

/* Bounds hold for calm guests only. */
static void bound(const MlgVmView *vm) {
        Guest *g = guest_of(vm);
        MlgClaim *c = &g->claim;
        uint64_t most = mlg_max(g->most_kib, vm->floor_kib);

        if (g->most_kib == 0 || c->asks || !vm->shrinkable || most >= c->want_kib)
                return;
        c->want_kib = most;
        c->keep_kib = mlg_min(c->keep_kib, most);
        c->why = MLG_REASON_DONOR;
}

static uint64_t sum_of_wants(const MlgVmView *vms, size_t n) {
        uint64_t sum = 0;

        for (size_t i = 0; i < n; i++)
                if (vms[i].movable)
                        sum = mlg_add_sat(sum, mlg_claim_of(&vms[i])->want_kib);
        return sum;
}

/* For each priority: who of it, or of any above it, lacks memory most. */
static void find_askers(const MlgVmView *vms, size_t n, Asker askers[MLG_N_RUNGS]) {
        for (size_t i = 0; i < n; i++) {
                const Guest *g = guest_of(&vms[i]);
                Asker *a = &askers[mlg_rung_of(&vms[i])];

                if (!vms[i].movable || !g->claim.asks || g->claim.want_kib <= vms[i].actual_kib)
                        continue;
                if (g->pressure > a->pressure)
                        *a = (Asker) { g->pressure, g->wait_permille };
        }
        for (size_t rung = MLG_N_RUNGS - 1; rung-- > 0;)
                if (askers[rung + 1].pressure > askers[rung].pressure)
                        askers[rung] = askers[rung + 1];
}

/* Rate of tightening, permille per second. */
static uint64_t rate_permille(const MlgVmView *vm, uint64_t held_kib, const Asker *a) {
        const Guest *g = guest_of(vm);
        bool cold = held_kib + mlg_claim_cold_kib(vm) > vm->need_kib + vm->cushion_kib && mlg_claim_cold_kib(vm) > 0;
        uint64_t rate = cold ? RATE_COLD_PERMILLE : RATE_PERMILLE;

        rate = mlg_mul_div(rate, a->pressure - g->pressure, a->pressure);
        return mlg_mul_div(rate, mlg_min(a->wait_permille, URGENT_PERMILLE), URGENT_PERMILLE);
}

static void tighten(const MlgVmView *vm, const Asker *a, uint64_t dt_usec) {
        Guest *g = guest_of(vm);
        uint64_t held = mlg_min(vm->target_kib, vm->actual_kib);
        uint64_t least = mlg_max(vm->floor_kib, g->mark_kib + g->mark_kib / MARK_PART);

        if (g->claim.asks || g->wait_permille >= CALM_PERMILLE || g->pressure > a->pressure) {
                if (g->most_kib > 0)
                        g->mark_kib = mlg_max(g->mark_kib, held); /* it was us */
                g->most_kib = 0;
                return;
        }
        if (g->pressure >= a->pressure / 2 || !vm->shrinkable)
                return;
        if (g->most_kib == 0)
                g->most_kib = mlg_min(g->claim.want_kib, mlg_max(held, 1));
        g->most_kib = mlg_max(fade(g->most_kib, rate_permille(vm, held, a) * dt_usec, PERMILLE * MLG_USEC_PER_SEC), least);
}

static void forget_bounds(const MlgVmView *vms, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (vms[i].movable)
                        guest_of(&vms[i])->most_kib = 0;
}

static void apply_bounds(const MlgVmView *vms, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (vms[i].movable)
                        bound(&vms[i]);
}

static void equalise(const MlgVmView *vms, size_t n, uint64_t dt_usec) {
        Asker askers[MLG_N_RUNGS] = {};

        find_askers(vms, n, askers);
        for (size_t i = 0; i < n; i++) {
                const Asker *a = &askers[mlg_rung_of(&vms[i])];

                if (vms[i].movable && a->pressure > 0)
                        tighten(&vms[i], a, dt_usec);
        }
}

static int equal_pressure_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        uint64_t budget = mlg_share_budget_kib(host), dt;
        Host *h = priv;

        dt = h->decided_usec ? mlg_min(mlg_sub_sat(host->now_usec, h->decided_usec), DT_MOST_USEC) : 0;
        h->decided_usec = host->now_usec;
        for (size_t i = 0; i < n_vms; i++)
                if (vms[i].movable) {
                        measure(&vms[i], dt);
                        make_claim(&vms[i], false);
                }
        if (sum_of_wants(vms, n_vms) <= budget)
                forget_bounds(vms, n_vms);
        else
                for (size_t i = 0; i < n_vms; i++)
                        if (vms[i].movable)
                                make_claim(&vms[i], true);
        apply_bounds(vms, n_vms);
        if (sum_of_wants(vms, n_vms) > budget) {
                equalise(vms, n_vms, dt);
                apply_bounds(vms, n_vms);
        }
        mlg_share_out(host, vms, n_vms, plan);
        return 0;
}

extern const MlgPolicyOps mlg_policy_equal_pressure;
const MlgPolicyOps mlg_policy_equal_pressure = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "equal-pressure",
        .description = "from guests that do not miss it to guests that wait for memory, until it is worth the same",
        .priv_size = sizeof(Host),
        .vm_priv_size = sizeof(Guest),
        .decide = equal_pressure_decide,
        .probes = true,
};
