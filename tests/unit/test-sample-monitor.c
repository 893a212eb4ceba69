/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sample, from inside the guest: what is believed of it, when it counts instead of the balloon's statistics, and what
 * follows for the guest's pressure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/vm.h"
#include "util/util.h"

#define MIB MLG_KIB_PER_MIB
#define GIB (1024 * MIB)
#define SEC MLG_USEC_PER_SEC
#define WALL 1700000000
#define ALL ((MLG_MONITOR_COLD << 1) - 1)

typedef struct Fixture {
        MlgVm *vm;
        MlgHostSettings host;
        uint64_t now_usec, update_sec;
        MlgRawMonitor raw;
        MlgRawStats stats;
} Fixture;

static const MlgRawMonitor good = {
        .have = ALL, .total_kib = GIB - 30 * MIB, .available_kib = 600 * MIB, .free_kib = 40 * MIB, .active_kib = 100 * MIB,
        .inactive_kib = 200 * MIB, .swap_in_kib = 1000, .swap_out_kib = 4000, .major_faults = 50, .refault_kib = 400,
        .psi_some_usec = 5000000, .psi_full_usec = 1000000, .oom_kills = 3, .cold_kib = 70 * MIB, .cold_age_sec = 120,
};

static int setup(void **state) {
        Fixture *f = g_new0(Fixture, 1);
        MlgGuestInfo info = { .uuid = "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b001", .name = "g", .run_state = MLG_RUN_RUNNING,
                              .maximum_kib = GIB, .instance = 1, .stats_period_sec = 1, .has_balloon = true };
        MlgGuestSettings settings;

        mlg_host_settings_default(&f->host);
        mlg_guest_settings_default(&settings);
        f->vm = mlg_vm_new(&info, &settings);
        f->now_usec = 5000 * SEC;
        f->update_sec = WALL;
        f->raw = good;
        f->stats = (MlgRawStats) {
                .have = MLG_HAVE_RUN_STATE | MLG_HAVE_ACTUAL | MLG_HAVE_MAXIMUM | MLG_HAVE_TOTAL | MLG_HAVE_UNUSED |
                        MLG_HAVE_USABLE | MLG_HAVE_LAST_UPDATE,
                .run_state = MLG_RUN_RUNNING, .actual_kib = GIB, .maximum_kib = GIB, .total_kib = GIB - 30 * MIB,
                .unused_kib = 30 * MIB, .usable_kib = 500 * MIB,
        };
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        (void) mlg_vm_free(f->vm);
        g_free(f);
        return 0;
}

static const MlgSample *last(const Fixture *f) {
        return &f->vm->sampler.last;
}

static void poll_after(Fixture *f, uint64_t after_usec, bool reports) {
        f->now_usec += after_usec;
        f->update_sec += reports;
        f->stats.last_update_sec = f->update_sec;
        mlg_vm_observe(f->vm, &f->stats, &f->host, f->now_usec, f->update_sec);
        mlg_vm_classify(f->vm, false, f->now_usec);
}

static bool tell_after(Fixture *f, uint64_t after_usec) {
        bool urgent;

        f->now_usec += after_usec;
        urgent = mlg_vm_observe_monitor(f->vm, &f->raw, f->now_usec, WALL);
        mlg_vm_classify(f->vm, false, f->now_usec);
        return urgent;
}

/* Managed, by its balloon's statistics, and then known from inside. */
static void settle(Fixture *f) {
        for (int i = 0; i < 4; i++)
                poll_after(f, SEC, true);
        assert_int_equal(f->vm->state, MLG_VM_MANAGED);
        for (int i = 0; i < 3; i++)
                assert_false(tell_after(f, SEC));
}

static void test_its_sizes_count_instead_of_the_balloons(void **state) {
        Fixture *f = *state;

        poll_after(f, 0, true);
        poll_after(f, SEC, true);
        assert_int_equal(last(f)->source, MLG_SOURCE_BALLOON);
        assert_false(last(f)->knows_stalls);
        (void) tell_after(f, SEC / 2);
        assert_int_equal(last(f)->source, MLG_SOURCE_MONITOR);
        assert_int_equal(last(f)->trust, MLG_TRUST_FRESH);
        assert_int_equal(last(f)->usable_kib, 600 * MIB);
        assert_int_equal(last(f)->used_kib, GIB - 600 * MIB);
        poll_after(f, SEC / 2, true); /* only noted */
        assert_false(last(f)->is_new);
        assert_int_equal(last(f)->usable_kib, 600 * MIB);
        assert_int_equal(last(f)->age_usec, SEC / 2);
        poll_after(f, 3 * SEC, true); /* it fell silent */
        assert_int_equal(last(f)->source, MLG_SOURCE_BALLOON);
        assert_int_equal(last(f)->trust, MLG_TRUST_FRESH);
        assert_int_equal(last(f)->usable_kib, 500 * MIB);
        assert_false(last(f)->knows_stalls || last(f)->knows_cold || last(f)->knows_oom);
}

static void test_it_stands_in_for_a_driver_without_statistics(void **state) {
        Fixture *f = *state;

        f->stats.have = MLG_HAVE_RUN_STATE | MLG_HAVE_ACTUAL | MLG_HAVE_MAXIMUM;
        for (int i = 0; i < 5; i++) {
                poll_after(f, SEC / 2, false);
                (void) tell_after(f, SEC / 2);
        }
        assert_int_equal(f->vm->state, MLG_VM_MANAGED);
        for (int i = 0; i < 6; i++)
                poll_after(f, SEC, false);
        assert_int_equal(f->vm->state, MLG_VM_HELD);
}

static void test_rates_are_of_about_a_second(void **state) {
        Fixture *f = *state;

        settle(f);
        f->raw.swap_in_kib += 300;
        f->raw.major_faults += 20;
        f->raw.refault_kib += 100;
        f->raw.psi_some_usec += 30000;
        f->raw.psi_full_usec += 10000;
        (void) tell_after(f, SEC);
        assert_int_equal(last(f)->swap_in_kib_per_sec, 300);
        assert_int_equal(last(f)->major_faults_per_sec, 20);
        assert_int_equal(last(f)->refault_kib_per_sec, 100);
        assert_int_equal(last(f)->stall_some_permille, 30);
        assert_int_equal(last(f)->stall_full_permille, 10);
        assert_int_equal(last(f)->cold_kib, 70 * MIB);
        f->raw.swap_in_kib += 50; /* 20 ms later: no storm */
        (void) tell_after(f, SEC / 50);
        assert_in_range(last(f)->swap_in_kib_per_sec, 300, 360);
}

/* What is brought in by our order is neither wanted by programs, nor waited for by them. */
static void test_a_swap_in_is_no_need(void **state) {
        Fixture *f = *state;
        uint64_t used_kib;

        f->raw.have |= MLG_MONITOR_SWAPPED | MLG_MONITOR_SWAP_IN_TOLD;
        f->raw.swapped_kib = 100 * MIB;
        settle(f);
        used_kib = last(f)->used_kib;
        for (int i = 0; i < 4; i++) { /* ordered, running, running, ended */
                f->raw.swap_in_number = 1;
                f->raw.swap_in_state = i < 3 ? MLG_SWAP_IN_RUNNING : MLG_SWAP_IN_DONE;
                f->raw.swap_in_kib += 50 * MIB;
                f->raw.refault_kib += 50 * MIB;
                f->raw.psi_some_usec += SEC * 9 / 10;
                f->raw.alarm = true;
                (void) tell_after(f, SEC);
                assert_int_equal(last(f)->swap_in_kib_per_sec, 0);
                assert_int_equal(last(f)->stall_some_permille, 0);
                assert_int_equal(last(f)->alarm_usec, 0);
                assert_int_equal(last(f)->used_kib, used_kib);
        }
        f->raw.swap_in_kib += 10 * MIB; /* these are programs again, and want what they read within the next seconds ... */
        (void) tell_after(f, SEC);
        assert_int_equal(last(f)->swap_in_kib_per_sec, 10 * MIB);
        assert_int_equal(last(f)->used_kib, used_kib + 40 * MIB);
        f->raw.swapped_kib = 5 * MIB; /* ... but no more than they have out there, however often it was read */
        f->raw.swap_in_kib += 10 * MIB;
        (void) tell_after(f, SEC);
        assert_int_equal(last(f)->used_kib, used_kib + 5 * MIB);
}

/* Each row spoils a good message; the guest then goes by its balloon, and comes back with the next good ones. */
#define SPOIL(name, statement) \
        static void spoil_##name(MlgRawMonitor *r) { \
                statement; \
        }
SPOIL(total_zero, r->total_kib = 0)
SPOIL(total_too_much, r->total_kib = GIB + 1)
SPOIL(available_over_total, r->available_kib = r->total_kib + 1)
SPOIL(free_over_total, r->free_kib = r->total_kib + 1)
SPOIL(ones, memset(&r->total_kib, 0xff, sizeof(*r) - offsetof(MlgRawMonitor, total_kib)))
SPOIL(swap_backwards, r->swap_in_kib--)
SPOIL(swap_too_fast, r->swap_out_kib += UINT64_C(1) << 40)
SPOIL(faults_backwards, r->major_faults--)
SPOIL(refaults_backwards, r->refault_kib--)
SPOIL(stall_backwards, r->psi_some_usec--)
SPOIL(stall_longer_than_time, r->psi_some_usec += 10 * SEC)
SPOIL(full_over_some, r->psi_full_usec = r->psi_some_usec + 1)
SPOIL(kills_backwards, r->oom_kills--)
SPOIL(cold_over_all, r->cold_kib = GIB + 1)
SPOIL(lists, r->active_kib = UINT64_MAX)
SPOIL(swapped, (r->have |= MLG_MONITOR_SWAPPED, r->swapped_kib = UINT64_MAX))

static const struct {
        const char *what;
        void (*spoil)(MlgRawMonitor *r);
} lies[] = {
        { "no memory", spoil_total_zero }, { "more than its maximum", spoil_total_too_much },
        { "available > total", spoil_available_over_total }, { "free > total", spoil_free_over_total },
        { "all ones", spoil_ones }, { "swap counter backwards", spoil_swap_backwards },
        { "swap too fast", spoil_swap_too_fast }, { "faults backwards", spoil_faults_backwards },
        { "refaults backwards", spoil_refaults_backwards }, { "stalls backwards", spoil_stall_backwards },
        { "more stall than time", spoil_stall_longer_than_time }, { "full > some", spoil_full_over_some },
        { "kills backwards", spoil_kills_backwards }, { "more cold than all", spoil_cold_over_all },
        { "lists", spoil_lists }, { "swapped out", spoil_swapped },
};

/* The QEMU guest agent: no sizes, seconds apart. */
static void test_the_agent_adds_to_the_balloon(void **state) {
        Fixture *f = *state;

        for (int i = 0; i < 4; i++)
                poll_after(f, SEC, true);
        f->raw.slow = true;
        f->raw.have = MLG_MONITOR_PSI | MLG_MONITOR_SWAP | MLG_MONITOR_REFAULTS | MLG_MONITOR_OOM;
        (void) tell_after(f, SEC / 2);
        assert_true(last(f)->knows_oom && !last(f)->knows_stalls);
        for (int i = 0; i < 4; i++)
                poll_after(f, SEC, true);
        f->raw.psi_some_usec += 400 * 1000;
        f->raw.refault_kib += 4000;
        f->raw.swap_in_kib += 4000; /* the balloon tells that, and sooner */
        (void) tell_after(f, 0);
        assert_int_equal(last(f)->source, MLG_SOURCE_BALLOON);
        assert_int_equal(last(f)->usable_kib, 500 * MIB);
        assert_true(last(f)->knows_stalls);
        assert_int_equal(last(f)->stall_some_permille, 100);
        assert_int_equal(last(f)->refault_kib_per_sec, 1000);
        assert_int_equal(last(f)->swap_in_kib_per_sec, 0);
        for (int i = 0; i < 12; i++)
                poll_after(f, SEC, true);
        assert_true(last(f)->knows_stalls);
        poll_after(f, 2 * SEC, true); /* three answers are missing */
        assert_false(last(f)->knows_stalls || last(f)->knows_oom);
        assert_int_equal(last(f)->trust, MLG_TRUST_FRESH);
}

static void test_lies(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(lies); i++) {
                Fixture *f = *state;

                settle(f);
                lies[i].spoil(&f->raw);
                f->raw.alarm = true;
                if (tell_after(f, SEC))
                        fail_msg("%s: urgent", lies[i].what);
                if (last(f)->trust != MLG_TRUST_IMPOSSIBLE || last(f)->knows_stalls)
                        fail_msg("%s: believed", lies[i].what);
                poll_after(f, SEC / 2, true);
                if (last(f)->trust != MLG_TRUST_FRESH || last(f)->source != MLG_SOURCE_BALLOON)
                        fail_msg("%s: the balloon's statistics do not count", lies[i].what);
                f->raw = good;
                (void) tell_after(f, SEC); /* measured against the lie, it may look like one */
                (void) tell_after(f, SEC);
                if (last(f)->source != MLG_SOURCE_MONITOR || last(f)->trust != MLG_TRUST_FRESH)
                        fail_msg("%s: not believed any more", lies[i].what);
                assert_int_equal(f->vm->pressure, MLG_PRESSURE_NONE);
                (void) teardown(state);
                (void) setup(state);
        }
}

static void test_pressure(void **state) {
        static const struct {
                const char *what;
                uint64_t some_msec, full_msec, free_mib, kills;
                bool alarm, gives;
                MlgPressure pressure;
        } rows[] = {
                { "quiet", 0, 0, 40, 0, false, false, MLG_PRESSURE_NONE },
                { "a little", 40, 10, 40, 0, false, false, MLG_PRESSURE_NONE },
                { "an alarm", 40, 10, 40, 0, true, false, MLG_PRESSURE_WARNING },
                { "an alarm without a stall", 5, 0, 40, 0, true, false, MLG_PRESSURE_NONE },
                { "stalls", 60, 10, 40, 0, false, false, MLG_PRESSURE_WARNING },
                { "many", 310, 10, 40, 0, false, false, MLG_PRESSURE_CRITICAL },
                { "of all tasks", 120, 110, 40, 0, false, false, MLG_PRESSURE_CRITICAL },
                { "with much free: a limit inside", 900, 900, 400, 0, true, false, MLG_PRESSURE_NONE },
                { "while memory is taken", 900, 900, 40, 0, true, true, MLG_PRESSURE_NONE },
                { "one was killed", 0, 0, 400, 1, false, true, MLG_PRESSURE_CRITICAL },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                Fixture *f = *state;
                bool urgent;

                settle(f);
                assert_true(f->vm->cushion_kib > 40 * MIB && f->vm->cushion_kib < 400 * MIB);
                if (rows[i].gives)
                        f->vm->shrunk_usec = f->now_usec + SEC - SEC / 10;
                f->raw.free_kib = rows[i].free_mib * MIB;
                f->raw.psi_some_usec += rows[i].some_msec * 1000;
                f->raw.psi_full_usec += rows[i].full_msec * 1000;
                f->raw.oom_kills += rows[i].kills;
                f->raw.alarm = rows[i].alarm;
                urgent = tell_after(f, SEC);
                if (f->vm->pressure != rows[i].pressure)
                        fail_msg("%s: %s", rows[i].what, mlg_pressure_to_string(f->vm->pressure));
                assert_int_equal(urgent, rows[i].pressure != MLG_PRESSURE_NONE);
                assert_int_equal(f->vm->suffered_usec == f->now_usec, rows[i].pressure != MLG_PRESSURE_NONE);
                (void) teardown(state);
                (void) setup(state);
        }
}

/* Also when reports come five times a second, and each of them shows little. */
static void test_a_rise_in_many_reports(void **state) {
        Fixture *f = *state;

        settle(f);
        for (int i = 0; i < 10; i++) {
                f->raw.available_kib -= 8 * MIB;
                (void) tell_after(f, SEC / 5);
        }
        assert_true(f->vm->rises);
        for (int i = 0; i < 12; i++)
                (void) tell_after(f, SEC / 5);
        assert_false(f->vm->rises);
}

static void test_it_does_not_replace_the_hypervisor(void **state) {
        Fixture *f = *state;

        settle(f);
        for (int i = 0; i < 200; i++)
                (void) tell_after(f, SEC / 2);
        assert_int_equal(f->vm->state, MLG_VM_HELD);
        assert_int_equal(f->vm->why, MLG_REASON_UNRESPONSIVE);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(its_sizes_count_instead_of_the_balloons),
                TEST(it_stands_in_for_a_driver_without_statistics),
                TEST(rates_are_of_about_a_second),
                TEST(a_swap_in_is_no_need),
                TEST(the_agent_adds_to_the_balloon),
                TEST(lies),
                TEST(pressure),
                TEST(a_rise_in_many_reports),
                TEST(it_does_not_replace_the_hypervisor),
        };

        return cmocka_run_group_tests_name("sample-monitor", tests, NULL, NULL);
}
