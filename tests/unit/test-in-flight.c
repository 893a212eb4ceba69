/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In flight: what is believed of guests while their balloons are on their way, and what is done on the strength of it. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine-rig.h"
#include "util/util.h"

/* Two guests that share less than they could use: one begins to grow while the other rests. They report once a second,
 * each at a time of its own, and QEMU tells of their balloons once a second. Cases differ in these times, in when things
 * happen, in how fast balloons are, and in whether drivers hide what balloons hold from the guest's total. */
typedef struct Pair {
        Rig *t;
        SimGuest *grows, *rests;
        unsigned int n; /* of the case */
} Pair;

#define CASES 240
#define MAXIMUM_KIB (320 * SIM_MIB)
#define BOTH_KIB (480 * SIM_MIB)
#define RESTS_AT_KIB (92 * SIM_MIB)
#define GROWS_TO_KIB (190 * SIM_MIB)
#define GROWS_KIB_PER_SEC (45 * SIM_MIB)
/* Two reports after the first one: its pace is known. */
#define KNOWN_TO_GROW_KIB (120 * SIM_MIB)
#define PLENTY_KIB (40 * SIM_MIB)
/* Programs have a watermark's half less than what they do not use. */
#define KERNEL_KIB (SIM_WATERMARK_KIB / 2)

static SimGuest *add(Rig *t, uint64_t demand_kib, unsigned int n, unsigned int phase) {
        static const uint64_t mib_per_sec[] = { 20, 60, 300 };
        SimGuest *g = rig_add(t, MAXIMUM_KIB, demand_kib);

        g->event_usec = SIM_SEC;
        g->swap_size_kib = 0; /* what it swaps in would count on top */
        g->shrink_kib_per_sec = g->grow_kib_per_sec = mib_per_sec[n % G_N_ELEMENTS(mib_per_sec)] * SIM_MIB;
        g->report_due_usec += phase % 10 * SIM_SEC / 10;
        g->event_due_usec += phase / 10 % 10 * SIM_SEC / 10;
        g->info.autodeflate = n % 2;
        reconfigure_guest(t, g, &t->guest);
        return g;
}

/* As an operator; 0: no longer. */
static void order(const Pair *p, uint64_t grows_kib, uint64_t rests_kib) {
        assert_int_equal(mlg_engine_set_manual(p->t->e, vm_of(p->t, p->grows), grows_kib, UINT64_MAX), 0);
        assert_int_equal(mlg_engine_set_manual(p->t->e, vm_of(p->t, p->rests), rests_kib, UINT64_MAX), 0);
}

/* Memory goes from one to the other, and is on its way for as long as the case says. */
static Pair begin(unsigned int n, uint64_t from_kib, uint64_t to_kib) {
        Pair p = { .t = rig_new(4 * GIB, false), .n = n };
        uint64_t until;

        p.t->host.guest_memory = MLG_AMOUNT_KIB(BOTH_KIB);
        mlg_engine_configure(p.t->e, &p.t->host);
        p.t->guest.floor = MLG_AMOUNT_KIB(96 * SIM_MIB);
        p.t->guest.cushion = MLG_AMOUNT_KIB(24 * SIM_MIB);
        p.t->guest.cushion_permille = 50;
        p.t->guest.cool_down_usec = 2 * SIM_SEC;
        p.grows = add(p.t, 20 * SIM_MIB, n, n);
        p.rests = add(p.t, RESTS_AT_KIB, n, 7 * n + 3);
        p.grows->touch_kib_per_sec = GROWS_KIB_PER_SEC;
        order(&p, from_kib, BOTH_KIB - from_kib);
        run(p.t, 40);
        assert_true(p.grows->actual_kib == from_kib);
        order(&p, to_kib, BOTH_KIB - to_kib);
        until = p.t->now_usec + n % 20 * SIM_SEC / 10;
        while (p.t->now_usec < until)
                turn(p.t);
        return p;
}

static void check_who_rests(const Pair *p) {
        const MlgVm *vm = vm_of(p->t, p->rests);
        uint64_t used = vm->sampler.last.used_kib, truth = p->rests->in_use_kib + KERNEL_KIB;
        uint64_t usable = mlg_min(vm->sampler.last.usable_kib, mlg_sub_sat(p->rests->actual_kib, truth));

        if (vm->state == MLG_VM_MANAGED && mlg_abs_diff(used, truth) > 4 * SIM_MIB)
                fail_msg("case %u: who uses %" PRIu64 " KiB of %" PRIu64 " is believed to use %" PRIu64, p->n, truth,
                         p->rests->actual_kib, used);
        if (vm->pressure != MLG_PRESSURE_NONE && usable > PLENTY_KIB)
                fail_msg("case %u: who has %" PRIu64 " KiB usable is said to suffer; need %" PRIu64, p->n, usable,
                         vm->forecast.need_kib);
}

static void check_who_grows(const Pair *p) {
        const MlgVm *vm = vm_of(p->t, p->grows);
        uint64_t used = p->grows->in_use_kib, wanted = vm->forecast.need_kib + vm->cushion_kib;

        if (used >= p->grows->demand_kib || used < KNOWN_TO_GROW_KIB)
                return;
        if (wanted < used + KERNEL_KIB)
                fail_msg("case %u: who uses %" PRIu64 " KiB and grows is said to want %" PRIu64, p->n, used, wanted);
        for (size_t i = 0; i < p->t->n_moves; i++) {
                const MlgMove *m = &p->t->moves[i];

                if (m->vm == vm && m->to_kib < m->from_kib && m->to_kib < used + SIM_WATERMARK_KIB)
                        fail_msg("case %u: who uses %" PRIu64 " KiB and grows is cut from %" PRIu64 " to %" PRIu64, p->n, used,
                                 m->from_kib, m->to_kib);
        }
}

static void watch(const Pair *p, uint64_t usec) {
        uint64_t until = p->t->now_usec + usec;

        while (p->t->now_usec < until) {
                turn(p->t);
                check_who_rests(p);
                check_who_grows(p);
        }
}

static void grow(const Pair *p) {
        uint64_t asked_usec = p->t->now_usec;

        p->grows->demand_kib = GROWS_TO_KIB;
        while (p->grows->in_use_kib < GROWS_TO_KIB) {
                watch(p, 1);
                assert_true(p->t->now_usec - asked_usec < 10 * SIM_SEC);
        }
        watch(p, 10 * SIM_SEC);
        assert_int_equal(p->grows->n_oom + p->rests->n_oom, 0);
}

static void test_moves_in_a_row(void **state) {
        for (unsigned int n = 0; n < CASES; n++) {
                Pair p = begin(n, 200 * SIM_MIB, 160 * SIM_MIB);

                order(&p, 0, 0);
                watch(&p, n % 7 * SIM_SEC / 4);
                grow(&p);
                rig_free(p.t);
        }
}

/* The same with an end and a new start between the moves: who was on its way is taken over on its way. */
static void test_a_restart_between_moves(void **state) {
        for (unsigned int n = 0; n < CASES; n++) {
                Pair p = begin(n, 300 * SIM_MIB, 240 * SIM_MIB);
                uint64_t restarted_usec = p.t->now_usec;

                rig_restart(p.t);
                while (vm_of(p.t, p.grows)->state != MLG_VM_MANAGED || vm_of(p.t, p.rests)->state != MLG_VM_MANAGED) {
                        watch(&p, 1);
                        assert_true(p.t->now_usec - restarted_usec < 7 * SIM_SEC / 2); /* all else waits for it */
                }
                watch(&p, n % 7 * SIM_SEC / 4);
                grow(&p);
                rig_free(p.t);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_moves_in_a_row),
                cmocka_unit_test(test_a_restart_between_moves),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
