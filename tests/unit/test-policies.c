/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Policies: every registered one keeps the same contract on random hosts; then what each promises, by
 * hand-made ones. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "policies/registry.h"
#include "policies/share.h"
#include "sim/guest.h"
#include "util/util.h"

#define GIB (1024 * SIM_MIB)
#define N_HOSTS 3000
#define MARGIN 32

/* ---- a host in front of a policy ---- */

typedef struct Room {
        const MlgPolicyOps *ops;
        void *priv;
        MlgHostView host;
        MlgVmView *vms;
        MlgStep *steps;
        size_t n;
        uint64_t shortage_kib;
} Room;

static void *state_new(size_t size) {
        char *p = g_malloc0(size + MARGIN);

        memset(p + size, 0x5a, MARGIN);
        return p;
}

static void state_free(void *p, size_t size) {
        for (size_t i = 0; i < MARGIN; i++)
                assert_int_equal(((const char *) p)[size + i], 0x5a);
        g_free(p);
}

static Room begin(const MlgPolicyOps *ops, size_t n, uint64_t budget_kib) {
        Room r = {
                .ops = ops,
                .priv = state_new(ops->priv_size),
                .host = { .now_usec = 1000 * SIM_SEC,
                          .total_kib = budget_kib,
                          .budget_kib = budget_kib,
                          .available_kib = budget_kib / 2 },
                .vms = g_new0(MlgVmView, n),
                .steps = g_new0(MlgStep, n),
                .n = n,
        };

        /* Idle guests of 1 GiB with 512 MiB, of which they need 200. */
        for (size_t i = 0; i < n; i++)
                r.vms[i] = (MlgVmView) {
                        .priv = ops->vm_priv_size ? state_new(ops->vm_priv_size) : NULL,
                        .movable = true,
                        .shrinkable = true,
                        .sampled = true,
                        .actual_kib = 512 * SIM_MIB,
                        .target_kib = 512 * SIM_MIB,
                        .maximum_kib = GIB,
                        .floor_kib = 128 * SIM_MIB,
                        .ceiling_kib = GIB,
                        .need_kib = 200 * SIM_MIB,
                        .cushion_kib = 64 * SIM_MIB,
                        .used_kib = 200 * SIM_MIB,
                        .usable_kib = 312 * SIM_MIB,
                        .unused_kib = 200 * SIM_MIB,
                        .shares = 100,
                };
        return r;
}

static void end(Room *r) {
        for (size_t i = 0; i < r->n; i++)
                if (r->ops->vm_priv_size)
                        state_free(r->vms[i].priv, r->ops->vm_priv_size);
        state_free(r->priv, r->ops->priv_size);
        g_free(r->vms);
        g_free(r->steps);
}

static void decide(Room *r) {
        MlgPlan plan = { .steps = r->steps, .n_steps = r->n };

        for (size_t i = 0; i < r->n; i++)
                r->steps[i] = (MlgStep) {};
        assert_int_equal(r->ops->decide(r->priv, &r->host, r->vms, r->n, &plan), 0);
        assert_ptr_equal(plan.steps, r->steps);
        assert_int_equal(plan.n_steps, r->n);
        r->shortage_kib = plan.shortage_kib;
        r->host.now_usec += mlg_max(r->ops->interval_usec, SIM_SEC);
}

/* What a guest would have after the step. */
static uint64_t after(const Room *r, size_t i) {
        return r->steps[i].target_kib ? r->steps[i].target_kib : r->vms[i].target_kib;
}

static uint64_t sum_after(const Room *r) {
        uint64_t sum = 0;

        for (size_t i = 0; i < r->n; i++)
                if (r->vms[i].movable)
                        sum += after(r, i);
        return sum;
}

static bool suffers(const MlgVmView *vm) {
        return vm->pressure != MLG_PRESSURE_NONE;
}

/* The rules of others are what they are, and `static` moves nothing. */
static bool is_ours(const MlgPolicyOps *ops) {
        static const char *const others[] = { "static", "mom", "proxmox", NULL };

        return !g_strv_contains(others, ops->name);
}

/* ---- the contract ---- */

static void check_ops(const MlgPolicyOps *ops) {
        assert_int_equal(ops->abi, MLG_POLICY_ABI);
        assert_int_equal(ops->size, sizeof(MlgPolicyOps));
        assert_true(strlen(ops->name) > 0 && strlen(ops->name) < 32);
        assert_int_equal(strspn(ops->name, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(ops->name));
        assert_true(strlen(ops->description) > 0 && !strchr(ops->description, '\n'));
        assert_true(ops->priv_size <= MLG_POLICY_PRIV_MAX);
        assert_true(ops->vm_priv_size <= MLG_POLICY_VM_PRIV_MAX);
        assert_non_null(ops->decide);
        assert_ptr_equal(mlg_policy_find(ops->name), ops);
}

static void random_guest(uint64_t *seed, MlgVmView *vm) {
        uint64_t max = (64 + sim_random_below(seed, 16384)) * SIM_MIB + sim_random_below(seed, 1024);

        vm->movable = sim_random_below(seed, 5) > 0;
        vm->sampled = sim_random_below(seed, 2);
        vm->pressure = sim_random_below(seed, 3) ? MLG_PRESSURE_NONE
                                                 : (MlgPressure) sim_random_below(seed, _MLG_PRESSURE_MAX);
        vm->shrinkable = !vm->pressure && sim_random_below(seed, 4) > 0;
        vm->maximum_kib = max;
        vm->ceiling_kib = max - sim_random_below(seed, 2) * sim_random_below(seed, max / 2);
        vm->floor_kib = sim_random_below(seed, vm->ceiling_kib / 2 + 1);
        vm->actual_kib = sim_random_below(seed, max + 1);
        vm->target_kib = sim_random_below(seed, 2) ? vm->actual_kib : sim_random_below(seed, max + 1);
        vm->need_kib = sim_random_below(seed, sim_random_below(seed, 2) ? max + 1 : max / 4);
        vm->error_kib = sim_random_below(seed, max / 8);
        vm->cushion_kib = sim_random_below(seed, max - mlg_min(vm->need_kib, max) + 1);
        vm->used_kib = sim_random_below(seed, vm->actual_kib + 1);
        vm->usable_kib = vm->actual_kib - vm->used_kib;
        vm->unused_kib = sim_random_below(seed, vm->usable_kib + 1);
        vm->swap_in_kib_per_sec = sim_random_below(seed, 4) ? 0 : sim_random_below(seed, 100000);
        vm->knows_stalls = sim_random_below(seed, 2);
        vm->stall_some_permille = sim_random_below(seed, 2) ? 0 : (uint32_t) sim_random_below(seed, 1001);
        vm->stall_full_permille = (uint32_t) sim_random_below(seed, vm->stall_some_permille + 1);
        vm->refault_kib_per_sec = sim_random_below(seed, 4) ? 0 : sim_random_below(seed, 100000);
        vm->knows_cold = sim_random_below(seed, 2);
        vm->cold_kib = sim_random_below(seed, vm->actual_kib + 1);
        vm->shares = 1 + (uint32_t) sim_random_below(seed, sim_random_below(seed, 2) ? 10000 : 200);
        vm->priority = (int32_t) sim_random_below(seed, 201) - 100;
        if (sim_random_below(seed, 2))
                vm->priority = (int32_t) sim_random_below(seed, 3) - 1;
}

static Room random_room(uint64_t *seed, const MlgPolicyOps *ops) {
        Room r = begin(ops, 1 + sim_random_below(seed, 24), GIB);
        uint64_t all = 0, movable_floors = 0;

        for (size_t i = 0; i < r.n; i++) {
                random_guest(seed, &r.vms[i]);
                all += r.vms[i].maximum_kib;
                if (!r.vms[i].movable)
                        r.host.fixed_kib += r.vms[i].actual_kib;
                else
                        movable_floors += r.vms[i].floor_kib;
        }
        r.host.total_kib = all + sim_random_below(seed, all);
        r.host.budget_kib = sim_random_below(seed, r.host.total_kib);
        if (sim_random_below(seed, 4) > 0) /* most hosts can keep their floors */
                r.host.budget_kib = mlg_max(r.host.budget_kib, r.host.fixed_kib + movable_floors);
        r.host.available_kib = sim_random_below(seed, r.host.total_kib);
        r.host.stalls = sim_random_below(seed, 8) == 0;
        r.host.is_short = sim_random_below(seed, 3) == 0;
        return r;
}

/* Floors and ceilings are kept, immovable guests left alone, reasons given. */
static void check_steps(const Room *r) {
        for (size_t i = 0; i < r->n; i++) {
                const MlgVmView *vm = &r->vms[i];
                MlgStep s = r->steps[i];

                if (!vm->movable)
                        assert_int_equal(s.target_kib, 0);
                if (s.target_kib == 0)
                        continue;
                if (s.target_kib < vm->floor_kib || s.target_kib > vm->ceiling_kib)
                        fail_msg("%s, guest %zu: %" PRIu64 " is not in [%" PRIu64 ", %" PRIu64 "]",
                                 r->ops->name, i, s.target_kib, vm->floor_kib, vm->ceiling_kib);
                assert_true(s.reason > MLG_REASON_NONE && s.reason < _MLG_REASON_MAX);
        }
}

static void check_random_hosts(const MlgPolicyOps *ops, void (*more)(const Room *r)) {
        uint64_t seed = 6;

        for (int i = 0; i < N_HOSTS; i++) {
                uint64_t fork = seed;
                Room a = random_room(&seed, ops), b = random_room(&fork, ops);

                for (int turn = 0; turn < 4; turn++) {
                        decide(&a);
                        decide(&b);
                        assert_memory_equal(a.steps, b.steps,
                                            a.n * sizeof(a.steps[0])); /* same input, same output */
                        assert_int_equal(a.shortage_kib, b.shortage_kib);
                        check_steps(&a);
                        if (more)
                                more(&a);
                }
                end(&a);
                end(&b);
        }
}

/* More was promised than there is, but the host has memory: nobody gets more, and nobody is cut into what it uses. */
static bool nobody_gains_or_suffers(const Room *r) {
        bool takes_what_is_not_missed = strcmp(r->ops->name, "equal-pressure") == 0;
        bool takes_what_is_cold = strcmp(r->ops->name, "idle-tax") == 0;

        for (size_t i = 0; i < r->n; i++) {
                const MlgVmView *vm = &r->vms[i];
                uint64_t uses = mlg_min(vm->need_kib, vm->used_kib + vm->error_kib);
                uint64_t has = mlg_max(vm->actual_kib, vm->floor_kib);

                if (takes_what_is_not_missed)
                        uses = 0;
                else if (takes_what_is_cold && vm->knows_cold)
                        uses = mlg_sub_sat(uses, vm->cold_kib);
                uses = mlg_clamp(uses, vm->floor_kib, vm->ceiling_kib);
                if (vm->movable && (after(r, i) > has || after(r, i) < mlg_min(uses, has)))
                        return false;
        }
        return true;
}

/* The budget is kept where the floors allow it, unless it is only exceeded by promises; who suffers is not shrunk where the others' floors allow
 * it. */
static void check_sharing(const Room *r) {
        uint64_t floors = 0, least = 0, budget = mlg_sub_sat(r->host.budget_kib, r->host.fixed_kib);

        for (size_t i = 0; i < r->n; i++) {
                const MlgVmView *vm = &r->vms[i];

                if (!vm->movable)
                        continue;
                floors += vm->floor_kib;
                least += suffers(vm) ? mlg_clamp(mlg_max(vm->actual_kib, vm->need_kib), vm->floor_kib,
                                                 vm->ceiling_kib)
                                     : vm->floor_kib;
        }
        if (floors <= budget && sum_after(r) > budget && (r->host.is_short || !nobody_gains_or_suffers(r)))
                fail_msg("sum of targets %" PRIu64 " exceeds %" PRIu64, sum_after(r), budget);
        for (size_t i = 0; i < r->n && least <= budget; i++)
                if (r->vms[i].movable && suffers(&r->vms[i]))
                        assert_true(after(r, i) >= mlg_min(r->vms[i].actual_kib, r->vms[i].ceiling_kib));
}

static void test_contract(void **state) {
        const MlgPolicyOps *ops;
        size_t n = 0;

        for (; (ops = mlg_policy_at(n)); n++) {
                Room empty = begin(ops, 0, GIB);

                print_message("           %s\n", ops->name);
                check_ops(ops);
                decide(&empty);
                end(&empty);
                check_random_hosts(ops, is_ours(ops) ? check_sharing : NULL);
        }
        assert_int_equal(n, 7);
        assert_null(mlg_policy_at(n + 1));
        assert_null(mlg_policy_at(SIZE_MAX));
}

/* ---- what all of ours promise ---- */

/* Two guests of a random host become alike but for one thing, of which the second has more. */
static void make_twins(Room *r, bool by_priority) {
        void *priv = r->vms[1].priv;

        r->host.fixed_kib -= r->vms[0].movable ? 0 : r->vms[0].actual_kib;
        r->host.fixed_kib -= r->vms[1].movable ? 0 : r->vms[1].actual_kib;
        r->vms[0].movable = true;
        r->vms[1] = r->vms[0];
        r->vms[1].priv = priv;
        if (by_priority)
                r->vms[1].priority = r->vms[0].priority + 1;
        else
                r->vms[1].shares = mlg_min(2 * r->vms[0].shares, 10000);
}

/* What of two that differ in nothing else has the higher priority, or more shares, gets at least as much. */
static void test_more_is_never_less(void **state) {
        uint64_t seed = 9;

        for (int i = 0; i < 8 * N_HOSTS; i++) {
                const MlgPolicyOps *ops = mlg_policy_at((size_t) i % 7);
                Room r = random_room(&seed, ops);

                assert_non_null(ops);
                if (r.n > 1 && is_ours(ops)) {
                        make_twins(&r, i / 7 % 2);
                        for (int turn = 0; turn < 4; turn++) {
                                decide(&r);
                                /* as much as can be lost in rounding: one KiB for each guest */
                                if (after(&r, 1) + r.n < after(&r, 0))
                                        fail_msg("%s, host %d, turn %d, by %s: %" PRIu64 " < %" PRIu64, ops->name, i, turn,
                                                 i / 7 % 2 ? "priority" : "shares", after(&r, 1), after(&r, 0));
                        }
                }
                end(&r);
        }
}

/* A thousand turns on the same views: what is wanted at half time is wanted to the end. What equal-pressure remembers of a guest's
 * trouble fades in ten minutes; it gets the time for that. */
static void test_steady_input(void **state) {
        uint64_t seed = 10;

        for (int i = 0; i < 350; i++) {
                const MlgPolicyOps *ops = mlg_policy_at((size_t) i % 7);
                Room r = random_room(&seed, ops);
                MlgStep *half = g_new0(MlgStep, r.n);
                bool fades = strcmp(ops->name, "equal-pressure") == 0;
                int end_turn = !is_ours(ops) ? 0 : !fades ? 1000 : i < 140 ? 5000 : 0, half_turn = end_turn - 500;

                for (int turn = 0; turn < end_turn; turn++) {
                        decide(&r);
                        if (turn == half_turn)
                                memcpy(half, r.steps, r.n * sizeof(*half));
                        for (size_t k = 0; turn > half_turn && k < r.n; k++)
                                if (mlg_abs_diff(r.steps[k].target_kib, half[k].target_kib) > (fades ? r.vms[k].maximum_kib / 50 : r.n))
                                        fail_msg("%s, host %d, guest %zu, turn %d: %" PRIu64 " after %" PRIu64, ops->name, i, k,
                                                 turn, r.steps[k].target_kib, half[k].target_kib);
                }
                g_free(half);
                end(&r);
        }
}

#define COOL_DOWN_TURNS 30

/* Guests with a demand each: what they show when they have a certain memory. What does not fit is read back from swap
 * the more, the more is missing. */
static void live(MlgVmView *vm, uint64_t demand_kib, uint32_t *calm_turns) {
        uint64_t missing = mlg_sub_sat(demand_kib, vm->actual_kib);

        vm->used_kib = vm->need_kib = mlg_min(demand_kib, vm->actual_kib);
        vm->usable_kib = vm->actual_kib - vm->used_kib;
        vm->unused_kib = vm->usable_kib / 2;
        vm->swap_in_kib_per_sec = mlg_min(missing / 16, 20 * SIM_MIB);
        vm->pressure = vm->swap_in_kib_per_sec > 1024 || vm->usable_kib < 12 * SIM_MIB ? MLG_PRESSURE_CRITICAL :
                vm->usable_kib < vm->cushion_kib / 2 ? MLG_PRESSURE_WARNING : MLG_PRESSURE_NONE;
        *calm_turns = suffers(vm) ? 0 : *calm_turns + 1;
        vm->shrinkable = *calm_turns > COOL_DOWN_TURNS;
}

/* With its plans carried out, and demands as they are, memory comes to rest. Where there is too little for all, who was relieved
 * may give again after its cool-down, and ask again; but nobody's target turns round and round sooner than that. */
static void test_no_oscillation(void **state) {
        uint64_t seed = 11;

        for (int i = 0; i < 140; i++) {
                const MlgPolicyOps *ops = mlg_policy_at((size_t) i % 7);
                Room r = begin(ops, 2 + sim_random_below(&seed, 6), GIB);
                uint64_t demands[8], last[8] = {};
                uint32_t calm[8] = {}, turns[8] = {};
                int direction[8] = {}, moved[8] = {};

                r.host.budget_kib = r.n * (300 + sim_random_below(&seed, 500)) * SIM_MIB;
                for (size_t k = 0; k < r.n; k++) {
                        demands[k] = (100 + sim_random_below(&seed, 900)) * SIM_MIB;
                        r.vms[k].actual_kib = r.vms[k].target_kib = r.host.budget_kib / r.n;
                }
                for (int turn = 0; turn < 1000 && is_ours(ops); turn++) {
                        for (size_t k = 0; k < r.n; k++)
                                live(&r.vms[k], demands[k], &calm[k]);
                        decide(&r);
                        for (size_t k = 0; k < r.n; k++) {
                                uint64_t target = after(&r, k);
                                /* The guard's dead band: smaller changes are not made. */
                                bool moves = mlg_abs_diff(target, last[k]) > r.vms[k].maximum_kib / 50;
                                int d = moves ? target > last[k] ? 1 : -1 : 0;

                                if (d && turn > 100 && d == -direction[k] && turn - moved[k] < COOL_DOWN_TURNS && ++turns[k] > 2)
                                        fail_msg("%s, host %d, guest %zu turns for the 3rd time at %d: %" PRIu64 " -> %" PRIu64,
                                                 ops->name, i, k, turn, last[k], target);
                                if (!moves)
                                        continue;
                                direction[k] = d;
                                moved[k] = turn;
                                last[k] = target;
                                if (target > r.vms[k].target_kib || r.vms[k].shrinkable)
                                        r.vms[k].target_kib = r.vms[k].actual_kib = target;
                        }
                }
                end(&r);
        }
}

/* How often the only loop that is not linear runs. */
static uint64_t n_fills;

static uint64_t counting_fill(const MlgVmView *vm, uint64_t level, const void *context) {
        n_fills++;
        return mlg_fill_by_shares(vm, level, vm->ceiling_kib, 0);
}

static void test_cost_of_a_pour(void **state) {
        Room r = begin(mlg_policy_find("proportional"), 1000, 100 * GIB);

        n_fills = 0;
        mlg_share_pour(r.vms, r.n, counting_fill, NULL, r.host.budget_kib);
        assert_true(n_fills <= 100 * r.n); /* up to the level by doubling, and back by halving: 2 x 48 looks */
        end(&r);
}

static void test_names(void **state) {
        GString *names = g_string_new(NULL);

        for (size_t i = 0; mlg_policy_at(i); i++)
                g_string_append_printf(names, "%s%s", i ? ", " : "", mlg_policy_at(i)->name);
        assert_string_equal(mlg_policy_names(), names->str);
        g_string_free(names, TRUE);
        assert_null(mlg_policy_find("nothing"));
        assert_non_null(mlg_policy_find("static"));
        assert_string_equal(mlg_policy_at(0)->name, "proportional"); /* the documented default */
}

static void test_static_never_moves(void **state) {
        Room r = begin(mlg_policy_find("static"), 3, GIB);

        r.vms[0].pressure = MLG_PRESSURE_CRITICAL;
        decide(&r);
        for (size_t i = 0; i < r.n; i++)
                assert_int_equal(r.steps[i].target_kib, 0);
        end(&r);
}

/* ---- proportional ---- */

static const MlgPolicyOps *proportional(void) {
        return mlg_policy_find("proportional");
}

static void test_surplus_goes_by_shares(void **state) {
        Room r = begin(proportional(), 3, 3 * 264 * SIM_MIB + 600 * SIM_MIB);

        r.vms[1].shares = 200;
        r.vms[2].shares = 300;
        decide(&r);
        assert_in_range(after(&r, 0), 363 * SIM_MIB, 364 * SIM_MIB); /* 264 + 100, 200, 300 */
        assert_in_range(after(&r, 1), 463 * SIM_MIB, 464 * SIM_MIB);
        assert_in_range(after(&r, 2), 563 * SIM_MIB, 564 * SIM_MIB);
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(r.steps[i].reason, MLG_REASON_SURPLUS);
        /* What one cannot take, the others get. */
        r.vms[2].ceiling_kib = 300 * SIM_MIB;
        decide(&r);
        assert_int_equal(after(&r, 2), 300 * SIM_MIB);
        assert_in_range(after(&r, 0), 264 * SIM_MIB + 187 * SIM_MIB,
                        264 * SIM_MIB + 188 * SIM_MIB); /* 564 / 3 */
        /* A host that stalls keeps it. */
        r.host.stalls = true;
        decide(&r);
        assert_int_equal(after(&r, 0), 264 * SIM_MIB);
        assert_int_equal(r.steps[0].reason, MLG_REASON_HOST_PRESSURE);
        end(&r);
}

static void test_all_have_their_ceiling_when_there_is_enough(void **state) {
        Room r = begin(proportional(), 3, 64 * GIB);

        decide(&r);
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(after(&r, i), r.vms[i].ceiling_kib);
        assert_int_equal(r.shortage_kib, 0);
        end(&r);
}

static void test_shortage_is_taken_from_slack(void **state) {
        /* Needs are 200 each; cushions 64, 300, 20; budget: needs + 250. Half of each cushion, 32, 150, 10, then one
         * level for all: 24, 24, 10 (all it wants). */
        Room r = begin(proportional(), 3, 850 * SIM_MIB);

        r.vms[1].cushion_kib = 300 * SIM_MIB;
        r.vms[2].cushion_kib = 20 * SIM_MIB;
        decide(&r);
        assert_in_range(after(&r, 0), 255 * SIM_MIB, 256 * SIM_MIB);
        assert_in_range(after(&r, 1), 373 * SIM_MIB, 374 * SIM_MIB);
        assert_int_equal(after(&r, 2), 220 * SIM_MIB);
        assert_int_equal(r.steps[1].reason, MLG_REASON_DONOR);
        assert_int_equal(r.steps[2].reason, MLG_REASON_DEMAND);
        /* Not even that: one level as far as it goes. */
        r.host.budget_kib = 702 * SIM_MIB;
        decide(&r);
        assert_in_range(after(&r, 0), 231 * SIM_MIB, 232 * SIM_MIB);
        assert_in_range(after(&r, 1), 259 * SIM_MIB, 260 * SIM_MIB);
        assert_int_equal(after(&r, 2), 210 * SIM_MIB);
        assert_int_equal(r.shortage_kib, 0);
        end(&r);
}

static void test_relief(void **state) {
        /* One suffers at 512 MiB of 1 GiB, and is offered half of its maximum more; the other's 512 MiB are
         * mostly idle. */
        Room r = begin(proportional(), 2, 1250 * SIM_MIB);

        r.vms[0].pressure = MLG_PRESSURE_CRITICAL;
        r.vms[0].shrinkable = false;
        r.vms[0].need_kib = r.vms[0].used_kib = 500 * SIM_MIB;
        decide(&r);
        assert_int_equal(after(&r, 0), GIB); /* the cushion of the other goes first */
        assert_int_equal(r.steps[0].reason, MLG_REASON_PRESSURE);
        assert_in_range(after(&r, 1), 225 * SIM_MIB, 226 * SIM_MIB);
        assert_int_equal(r.steps[1].reason, MLG_REASON_DONOR);
        /* When that does not suffice: half of what is left, then one level for all slack, here 139 + 75
         * and 64 of 278. */
        r.host.budget_kib = 990 * SIM_MIB;
        decide(&r);
        assert_in_range(after(&r, 0), 725 * SIM_MIB, 726 * SIM_MIB);
        assert_int_equal(after(&r, 1), 264 * SIM_MIB);
        end(&r);
}

/* Nobody is pressed below half of its cushion for one that only may suffer. */
static void test_who_may_suffer_takes_no_half_cushions(void **state) {
        Room r = begin(proportional(), 3, 750 * SIM_MIB); /* needs + 150, cushions 64, 64, 300 */

        r.vms[2].cushion_kib = 300 * SIM_MIB;
        r.vms[2].pressure = MLG_PRESSURE_WARNING;
        r.vms[2].shrinkable = false;
        r.vms[2].actual_kib = r.vms[2].target_kib = 220 * SIM_MIB;
        decide(&r);
        assert_in_range(after(&r, 0), 232 * SIM_MIB - 1024, 232 * SIM_MIB);
        assert_in_range(after(&r, 1), 232 * SIM_MIB - 1024, 232 * SIM_MIB);
        assert_in_range(after(&r, 2), 286 * SIM_MIB - 1024, 286 * SIM_MIB);
        assert_int_equal(r.steps[2].reason, MLG_REASON_PRESSURE);
        end(&r);
}

/* What it may not lose is its part of the surplus: it does not gather all of it in the end. */
static void test_who_cannot_be_shrunk_gathers_nothing(void **state) {
        Room r = begin(proportional(), 3, 1500 * SIM_MIB);

        r.vms[0].shrinkable = false;
        r.vms[0].actual_kib = r.vms[0].target_kib = 600 * SIM_MIB;
        for (int turn = 0; turn < 5; turn++) {
                decide(&r);
                assert_int_equal(after(&r, 0), 600 * SIM_MIB);
                assert_in_range(after(&r, 1), 449 * SIM_MIB, 450 * SIM_MIB);
                for (size_t i = 0; i < 3; i++)
                        r.vms[i].actual_kib = r.vms[i].target_kib = after(&r, i);
        }
        end(&r);
}

/* Nobody counts on the memory of one that must not be shrunk now. */
static void test_who_cannot_be_shrunk(void **state) {
        Room r = begin(proportional(), 2, 900 * SIM_MIB);

        r.vms[0].shrinkable = false;
        r.vms[1].need_kib = r.vms[1].used_kib = 500 * SIM_MIB;
        r.vms[1].actual_kib = r.vms[1].target_kib = 300 * SIM_MIB;
        decide(&r);
        assert_true(after(&r, 0) >= 512 * SIM_MIB);
        assert_in_range(after(&r, 1), 387 * SIM_MIB, 388 * SIM_MIB);
        end(&r);
}

static void test_priority_when_short(void **state) {
        /* Three need 600 each, 1200 in all: the first in priority gets all of it, the last is cut to its
         * floor. */
        Room r = begin(proportional(), 3, 1200 * SIM_MIB);

        for (size_t i = 0; i < 3; i++) {
                r.vms[i].need_kib = r.vms[i].used_kib = 600 * SIM_MIB;
                r.vms[i].actual_kib = r.vms[i].target_kib = 400 * SIM_MIB;
        }
        r.vms[1].priority = 10;
        r.vms[2].priority = -10;
        decide(&r);
        assert_int_equal(after(&r, 1), 600 * SIM_MIB);
        assert_in_range(after(&r, 0), 471 * SIM_MIB, 472 * SIM_MIB); /* what 600 + the floor of 128 leave */
        assert_int_equal(after(&r, 2), 128 * SIM_MIB);
        assert_int_equal(r.steps[2].reason, MLG_REASON_SHORTAGE);
        assert_int_equal(r.shortage_kib, 600 * SIM_MIB);
        /* Equals do not rob each other: each keeps what it has. */
        r.vms[1].priority = r.vms[2].priority = 0;
        decide(&r);
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(after(&r, i), 400 * SIM_MIB);
        end(&r);
}

static void test_overrun_takes_from_the_least(void **state) {
        /* 3 x 512 MiB held and needed, 1 GiB there. That alone is a matter of books; but when the host runs short: first
         * the low priority, then the others, the suffering one last. */
        Room r = begin(proportional(), 3, GIB);

        for (size_t i = 0; i < 3; i++)
                r.vms[i].need_kib = r.vms[i].used_kib = 512 * SIM_MIB;
        r.vms[0].priority = -1;
        r.vms[2].pressure = MLG_PRESSURE_WARNING;
        r.vms[2].priority = -5; /* suffering counts more */
        decide(&r);
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(after(&r, i), 512 * SIM_MIB);
        assert_int_equal(r.shortage_kib, 512 * SIM_MIB);
        r.host.is_short = true;
        decide(&r);
        assert_int_equal(after(&r, 0), 128 * SIM_MIB);
        assert_int_equal(after(&r, 1), 384 * SIM_MIB); /* the rest: 512 - (512 - 384) */
        assert_int_equal(after(&r, 2), 512 * SIM_MIB);
        r.host.budget_kib = 600 * SIM_MIB;
        decide(&r);
        assert_int_equal(after(&r, 1), 128 * SIM_MIB);
        assert_int_equal(after(&r, 2), 344 * SIM_MIB);
        /* Not even the floors fit: nobody goes below. */
        r.host.budget_kib = 100 * SIM_MIB;
        decide(&r);
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(after(&r, i), 128 * SIM_MIB);
        end(&r);
}

/* With its own plan carried out and demand as it was, it wants nothing else. */
static void test_settles(void **state) {
        uint64_t seed = 7;

        for (int i = 0; i < 500; i++) {
                Room r = random_room(&seed, proportional());
                MlgStep *before = g_new(MlgStep, r.n);

                for (size_t k = 0; k < r.n; k++)
                        r.vms[k].pressure = MLG_PRESSURE_NONE;
                for (int turn = 0; turn < 4; turn++) {
                        memcpy(before, r.steps, r.n * sizeof(*before));
                        decide(&r);
                        for (size_t k = 0; k < r.n; k++)
                                if (r.vms[k].movable) {
                                        if (turn == 3)
                                                assert_in_range(r.steps[k].target_kib,
                                                                mlg_sub_sat(before[k].target_kib, SIM_MIB),
                                                                before[k].target_kib + SIM_MIB);
                                        r.vms[k].actual_kib = r.vms[k].target_kib = r.steps[k].target_kib;
                                }
                }
                g_free(before);
                end(&r);
        }
}

/* ---- equal-pressure ---- */

/* Two guests of 512 MiB with all of it in use; the first waits, the second has little usable and does not. */
static Room begin_unequal(uint32_t second_waits_permille) {
        Room r = begin(mlg_policy_find("equal-pressure"), 2, GIB);

        for (size_t i = 0; i < 2; i++) {
                r.vms[i].need_kib = r.vms[i].used_kib = 500 * SIM_MIB;
                r.vms[i].usable_kib = 12 * SIM_MIB;
                r.vms[i].unused_kib = 6 * SIM_MIB;
                r.vms[i].knows_stalls = true;
        }
        r.vms[0].pressure = MLG_PRESSURE_CRITICAL;
        r.vms[0].shrinkable = false;
        r.vms[0].stall_some_permille = 400;
        r.vms[1].pressure = MLG_PRESSURE_WARNING;
        r.vms[1].stall_some_permille = second_waits_permille;
        return r;
}

/* Carries the plan out, but for rates; returns what the second guest has then. */
static uint64_t turns(Room *r, unsigned int n) {
        while (n-- > 0) {
                decide(r);
                for (size_t i = 0; i < 2; i++)
                        if (after(r, i) > r->vms[i].target_kib || r->vms[i].shrinkable)
                                r->vms[i].actual_kib = r->vms[i].target_kib = after(r, i);
        }
        return r->vms[1].actual_kib;
}

static void test_who_does_not_wait_gives(void **state) {
        Room r = begin_unequal(0);
        uint64_t has = turns(&r, 10), back;

        /* 3 % a second of 512 MiB, from the second turn on: some 390 MiB after ten */
        assert_in_range(has, 370 * SIM_MIB, 410 * SIM_MIB);
        assert_int_equal(r.steps[1].reason, MLG_REASON_DONOR);
        assert_in_range(r.vms[0].actual_kib, 600 * SIM_MIB, 660 * SIM_MIB);
        /* It begins to wait: nothing more is taken, also after it is calm again. */
        r.vms[1].stall_some_permille = 30;
        r.vms[1].need_kib = r.vms[1].used_kib = has;
        back = turns(&r, 3);
        assert_true(back >= has);
        r.vms[1].stall_some_permille = 0;
        assert_true(turns(&r, 30) >= has);
        end(&r);
}

static void test_who_waits_as_well_does_not_give(void **state) {
        Room r = begin_unequal(30);

        assert_int_equal(turns(&r, 20), 512 * SIM_MIB);
        end(&r);
}

static void test_cold_memory_goes_first(void **state) {
        Room r = begin_unequal(0);

        r.vms[1].knows_cold = true;
        r.vms[1].cold_kib = 300 * SIM_MIB;
        /* 10 % a second */
        assert_in_range(turns(&r, 6), 290 * SIM_MIB, 330 * SIM_MIB);
        end(&r);
}

static void test_only_for_equals_or_betters(void **state) {
        Room r = begin_unequal(0);

        r.vms[1].priority = 1;
        assert_int_equal(turns(&r, 20), 500 * SIM_MIB); /* its need; only the slack goes */
        end(&r);
}

/* ---- idle-tax ---- */

static void test_idle_tax(void **state) {
        static const struct {
                const char *what;
                uint64_t need_mib[2];
                uint32_t shares[2];
                uint64_t budget_mib, expect_mib[2];
        } cases[] = {
                /* No cushions: A = need. */
                { "all active: by shares", { 900, 900 }, { 100, 200 }, 900, { 300, 600 } },
                { "idle beyond 100: 100 + (L - 100) / 4, L = 400", { 900, 100 }, { 100, 100 }, 575, { 400, 175 } },
                { "twice the shares do not buy idleness: 100 + (2L - 100) / 4, L = 350", { 900, 100 }, { 100, 200 }, 600, { 350, 250 } },
                { "both idle: equal", { 100, 100 }, { 100, 100 }, 600, { 300, 300 } },
                { "enough: ceilings", { 100, 100 }, { 100, 100 }, 4000, { 1024, 1024 } },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                Room r = begin(mlg_policy_find("idle-tax"), 2, cases[i].budget_mib * SIM_MIB);

                for (size_t k = 0; k < 2; k++) {
                        r.vms[k].cushion_kib = 0;
                        r.vms[k].floor_kib = 64 * SIM_MIB;
                        r.vms[k].need_kib = r.vms[k].used_kib = cases[i].need_mib[k] * SIM_MIB;
                        r.vms[k].shares = cases[i].shares[k];
                }
                decide(&r);
                for (size_t k = 0; k < 2; k++)
                        if (mlg_abs_diff(after(&r, k), cases[i].expect_mib[k] * SIM_MIB) > 1024)
                                fail_msg("%s: guest %zu: %" PRIu64 " KiB", cases[i].what, k, after(&r, k));
                end(&r);
        }
}

/* ---- iballoon ---- */

static void test_iballoon_moves_for_need_only(void **state) {
        Room r = begin(mlg_policy_find("iballoon"), 2, 1100 * SIM_MIB);

        /* Nobody is short: all stay, though 76 MiB are free and both have plenty. */
        decide(&r);
        for (size_t i = 0; i < 2; i++)
                assert_int_equal(after(&r, i), 512 * SIM_MIB);
        /* 20 of 64 MiB of cushion are left: warning. What it lacks comes from what is free. */
        r.vms[0].need_kib = r.vms[0].used_kib = 492 * SIM_MIB;
        r.vms[0].usable_kib = 20 * SIM_MIB;
        decide(&r);
        assert_int_equal(after(&r, 0), 556 * SIM_MIB);
        assert_int_equal(after(&r, 1), 512 * SIM_MIB);
        /* More than that comes from the donor's slack, which stops at its need and cushion. */
        r.vms[0].need_kib = 900 * SIM_MIB;
        r.vms[0].pressure = MLG_PRESSURE_CRITICAL;
        r.vms[0].shrinkable = false;
        decide(&r);
        assert_in_range(after(&r, 0), 860 * SIM_MIB, 868 * SIM_MIB); /* 1100 - (200 + 32): half a cushion for a critical one */
        assert_in_range(after(&r, 1), 232 * SIM_MIB, 240 * SIM_MIB);
        assert_int_equal(r.steps[1].reason, MLG_REASON_DONOR);
        end(&r);
}

/* Between the thresholds a state stays as it is. */
static void test_iballoon_hysteresis(void **state) {
        Room r = begin(mlg_policy_find("iballoon"), 1, GIB);

        r.vms[0].need_kib = 472 * SIM_MIB;
        r.vms[0].usable_kib = 40 * SIM_MIB; /* of 64: normal, and not less than half */
        decide(&r);
        assert_int_equal(after(&r, 0), 512 * SIM_MIB);
        r.vms[0].usable_kib = 30 * SIM_MIB;
        decide(&r);
        assert_int_equal(after(&r, 0), 536 * SIM_MIB);
        r.vms[0].usable_kib = 40 * SIM_MIB;
        decide(&r);
        assert_int_equal(after(&r, 0), 536 * SIM_MIB); /* not yet normal */
        end(&r);
}

/* ---- the rules of others: values computed by hand from their formulas ---- */

/* MOM averages ten looks; here all looks are the same. Returns after ten of them. */
static void mom_looks(Room *r) {
        for (int i = 0; i < 10; i++)
                decide(r);
}

static void test_mom(void **state) {
        static const struct {
                const char *what;
                uint64_t available_mib, unused_mib, floor_mib, ceiling_mib, expect_mib;
        } cases[] = {
                /* host 10000 MiB; guest 1000 MiB */
                { "shrinks 5 %", 1900, 900, 128, 4000, 950 },
                { "held by what it uses: 1000 - 100 + 19 % of 1000", 1900, 100, 128, 4000, 0 },
                { "held by what it uses: 1000 - 220 + 190", 1900, 220, 128, 4000, 970 },
                { "half the pressure: 1000 - 140 + 10 % of 1000", 1000, 140, 128, 4000, 960 },
                { "critical: forced to swap, 1000 - 0 - 3 %", 200, 0, 128, 4000, 970 },
                { "critical: never more than 5 %", 0, 20, 128, 4000, 950 },
                { "floor", 1900, 900, 980, 4000, 980 },
                { "changes up to 0.25 % are not made", 1900, 900, 998, 4000, 0 },
                { "no pressure: grows 5 %", 2000, 900, 128, 4000, 1050 },
                { "no pressure: to 20 % free", 2000, 0, 128, 4000, 1200 },
                { "no pressure: ceiling", 2000, 0, 128, 1100, 1100 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                Room r = begin(mlg_policy_find("mom"), 2, 10000 * SIM_MIB);

                r.host.available_kib = cases[i].available_mib * SIM_MIB;
                r.vms[0].actual_kib = r.vms[0].target_kib = 1000 * SIM_MIB;
                r.vms[0].maximum_kib = 4000 * SIM_MIB;
                r.vms[0].ceiling_kib = cases[i].ceiling_mib * SIM_MIB;
                r.vms[0].floor_kib = cases[i].floor_mib * SIM_MIB;
                r.vms[0].unused_kib = cases[i].unused_mib * SIM_MIB;
                r.vms[1].movable = false;
                mom_looks(&r);
                if (r.steps[0].target_kib != cases[i].expect_mib * SIM_MIB)
                        fail_msg("%s: %" PRIu64 " KiB", cases[i].what, r.steps[0].target_kib);
                assert_int_equal(r.steps[1].target_kib, 0);
                end(&r);
        }
}

/* As it was seen on a real host: 160 MiB, +5 % each 10 s, 163840 -> 172032 -> 180633 -> 189664 KiB. */
static void test_mom_pace(void **state) {
        static const uint64_t seen[] = { 172032, 180633, 189664 };
        Room r = begin(mlg_policy_find("mom"), 1, 10000 * SIM_MIB);
        uint64_t start_usec = r.host.now_usec;
        unsigned int n = 0;

        assert_int_equal(r.ops->interval_usec, 5 * SIM_SEC);
        r.host.available_kib = 9000 * SIM_MIB;
        r.vms[0].actual_kib = r.vms[0].target_kib = 163840;
        r.vms[0].unused_kib = 150000;
        while (n < G_N_ELEMENTS(seen)) {
                decide(&r);
                if (r.steps[0].target_kib == 0)
                        continue;
                assert_int_equal(r.steps[0].target_kib, seen[n]);
                n++;
                assert_int_equal(r.host.now_usec - start_usec, n * 10 * SIM_SEC);
                r.vms[0].actual_kib = r.vms[0].target_kib = r.steps[0].target_kib;
        }
        end(&r);
}

/* The average of the host's free memory is over 50 s: a sudden shortage counts fully only then. */
static void test_mom_sees_late(void **state) {
        Room r = begin(mlg_policy_find("mom"), 1, 10000 * SIM_MIB);
        unsigned int looks = 0;

        r.host.available_kib = 5000 * SIM_MIB;
        mom_looks(&r);
        r.host.available_kib = 0;
        do {
                decide(&r);
                looks++;
        } while (r.steps[0].reason != MLG_REASON_HOST_PRESSURE);
        /* (10 - n) x 50 % < 20 % x 10: n = 7 looks; decisions are at even ones */
        assert_int_equal(looks, 8);
        end(&r);
}

static void test_proxmox(void **state) {
        /* 10000 MiB: goal = 8000 - used. Guests of 1000 MiB with floor 500. */
        static const struct {
                const char *what;
                uint64_t available_mib, unused_mib[2], actual_mib[2];
                uint32_t shares[2];
                uint64_t ceiling_mib, expect_mib[2];
        } cases[] = {
                { "goal inside 10 MiB", 1995, { 10, 10 }, { 800, 800 }, { 100, 100 }, 1000, { 0, 0 } },
                { "grow: 100 MiB at once",
                  5000,
                  { 10, 10 },
                  { 800, 800 },
                  { 100, 100 },
                  1000,
                  { 900, 900 } },
                { "grow: those short of memory first",
                  5000,
                  { 10, 300 },
                  { 800, 800 },
                  { 100, 100 },
                  1000,
                  { 900, 0 } },
                { "grow: nobody is short, so all",
                  5000,
                  { 300, 300 },
                  { 800, 800 },
                  { 100, 100 },
                  1000,
                  { 900, 900 } },
                { "grow: ceiling", 5000, { 10, 10 }, { 800, 800 }, { 100, 100 }, 850, { 850, 850 } },
                { "grow: by shares, 500 + (600 + 60) x 1/3 and 2/3, 100 MiB at once: who has more than that gives",
                  2060,
                  { 10, 10 },
                  { 800, 800 },
                  { 100, 200 },
                  1000,
                  { 720, 900 } },
                { "grow: by shares within the step",
                  2060,
                  { 10, 10 },
                  { 700, 900 },
                  { 100, 200 },
                  1000,
                  { 720, 940 } },
                { "shrink: 100 MiB at once",
                  0,
                  { 300, 300 },
                  { 800, 800 },
                  { 100, 100 },
                  1000,
                  { 700, 700 } },
                { "shrink: those with free memory first",
                  0,
                  { 10, 300 },
                  { 800, 800 },
                  { 100, 100 },
                  1000,
                  { 0, 700 } },
                { "shrink: nobody has free memory, so all",
                  0,
                  { 10, 10 },
                  { 800, 800 },
                  { 100, 100 },
                  1000,
                  { 700, 700 } },
                { "shrink: who has less than its share drops out, the others give no more than is asked for",
                  1940,
                  { 300, 300 },
                  { 800, 600 },
                  { 100, 100 },
                  1000,
                  { 740, 0 } },
                { "grow: what one cannot take the other gets, 100 MiB at once",
                  2060,
                  { 10, 10 },
                  { 850, 840 },
                  { 100, 100 },
                  850,
                  { 0, 850 } },
                { "shrink: floor", 0, { 300, 300 }, { 550, 500 }, { 100, 100 }, 1000, { 500, 0 } },
        };

        assert_int_equal(mlg_policy_find("proxmox")->interval_usec, 10 * SIM_SEC);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                Room r = begin(mlg_policy_find("proxmox"), 2, 10000 * SIM_MIB);

                r.host.available_kib = cases[i].available_mib * SIM_MIB;
                for (size_t k = 0; k < 2; k++) {
                        r.vms[k].actual_kib = r.vms[k].target_kib = cases[i].actual_mib[k] * SIM_MIB;
                        r.vms[k].unused_kib = cases[i].unused_mib[k] * SIM_MIB;
                        r.vms[k].floor_kib = 500 * SIM_MIB;
                        r.vms[k].ceiling_kib = cases[i].ceiling_mib * SIM_MIB;
                        r.vms[k].shares = cases[i].shares[k];
                }
                decide(&r);
                for (size_t k = 0; k < 2; k++)
                        if (r.steps[k].target_kib != cases[i].expect_mib[k] * SIM_MIB)
                                fail_msg("%s: guest %zu: %" PRIu64 " KiB", cases[i].what, k,
                                         r.steps[k].target_kib);
                end(&r);
        }
}

/* ---- size ---- */

static uint64_t cpu_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        return (uint64_t) ts.tv_sec * SIM_SEC + (uint64_t) ts.tv_nsec / 1000;
}

/* A thousand guests of all kinds in a fraction of a poll; the bench has the exact figure. The limit is
 * far off, so that only a wrong order of growth can miss it. */
static void test_thousand_guests(void **state) {
        for (size_t p = 0; mlg_policy_at(p); p++)
                for (unsigned int tenths = 0; tenths <= 10; tenths += 2) {
                        Room r = begin(mlg_policy_at(p), 1000, GIB);
                        uint64_t seed = 8, sum = 0, start;

                        for (size_t i = 0; i < r.n; i++) {
                                random_guest(&seed, &r.vms[i]);
                                r.vms[i].priority = (int32_t) (i % 201) - 100;
                                sum += r.vms[i].movable ? r.vms[i].need_kib : 0;
                        }
                        r.host.total_kib = r.host.budget_kib = sum / 5 * tenths;
                        start = cpu_usec();
                        decide(&r);
                        start = cpu_usec() - start;
                        if (g_getenv("MLG_TEST_VERBOSE"))
                                print_message("           %s %u: %" PRIu64 " us\n", r.ops->name, tenths,
                                              start);
                        if (start > 100000)
                                fail_msg("%s, budget %u/5 of the needs: %" PRIu64 " us", r.ops->name, tenths,
                                         start);
                        check_steps(&r);
                        end(&r);
                }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_contract),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_more_is_never_less),
                cmocka_unit_test(test_steady_input),
                cmocka_unit_test(test_no_oscillation),
                cmocka_unit_test(test_cost_of_a_pour),
                cmocka_unit_test(test_static_never_moves),
                cmocka_unit_test(test_surplus_goes_by_shares),
                cmocka_unit_test(test_all_have_their_ceiling_when_there_is_enough),
                cmocka_unit_test(test_shortage_is_taken_from_slack),
                cmocka_unit_test(test_relief),
                cmocka_unit_test(test_who_may_suffer_takes_no_half_cushions),
                cmocka_unit_test(test_who_cannot_be_shrunk),
                cmocka_unit_test(test_who_cannot_be_shrunk_gathers_nothing),
                cmocka_unit_test(test_priority_when_short),
                cmocka_unit_test(test_overrun_takes_from_the_least),
                cmocka_unit_test(test_settles),
                cmocka_unit_test(test_who_does_not_wait_gives),
                cmocka_unit_test(test_who_waits_as_well_does_not_give),
                cmocka_unit_test(test_cold_memory_goes_first),
                cmocka_unit_test(test_only_for_equals_or_betters),
                cmocka_unit_test(test_idle_tax),
                cmocka_unit_test(test_iballoon_moves_for_need_only),
                cmocka_unit_test(test_iballoon_hysteresis),
                cmocka_unit_test(test_mom),
                cmocka_unit_test(test_mom_pace),
                cmocka_unit_test(test_mom_sees_late),
                cmocka_unit_test(test_proxmox),
                cmocka_unit_test(test_thousand_guests),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
