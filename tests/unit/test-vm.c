/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vm: one simulated guest, seen through its state machine. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/vm.h"
#include "predict/registry.h"
#include "sim/guest.h"
#include "util/util.h"

#define GIB (1024 * SIM_MIB)

typedef struct Fixture {
        SimHost sim;
        SimGuest *g;
        MlgVm *vm;
        MlgHostSettings host;
        MlgGuestSettings settings;
        uint64_t now_usec;
} Fixture;

static int setup(void **state) {
        Fixture *f = g_new0(Fixture, 1);

        sim_host_init(&f->sim, 16 * GIB, GIB);
        f->now_usec = f->sim.now_usec;
        f->g = sim_host_add(&f->sim, GIB, 300 * SIM_MIB);
        mlg_host_settings_default(&f->host);
        mlg_guest_settings_default(&f->settings);
        f->vm = mlg_vm_new(&f->g->info, &f->settings);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        f->vm = mlg_vm_free(f->vm);
        sim_host_clear(&f->sim);
        g_free(f);
        return 0;
}

static uint64_t wall(const Fixture *f) {
        return f->sim.wall_base_sec + f->now_usec / SIM_SEC;
}

/* One poll, `after_usec` later. */
static void poll_after(Fixture *f, uint64_t after_usec) {
        MlgRawStats raw;
        bool answers;

        f->now_usec += after_usec;
        sim_host_advance(&f->sim, f->now_usec);
        answers = sim_guest_read(f->g, &raw);
        mlg_vm_observe(f->vm, answers ? &raw : NULL, &f->host, f->now_usec, wall(f));
        mlg_vm_classify(f->vm, false, f->now_usec);
}

static void polls(Fixture *f, unsigned int n) {
        while (n-- > 0)
                poll_after(f, SIM_SEC);
}

static void answer(Fixture *f, int r) {
        mlg_vm_answered(f->vm, r, f->now_usec);
}

/* A request that is accepted at once. */
static void order(Fixture *f, uint64_t kib) {
        mlg_vm_asked(f->vm, kib, f->now_usec);
        f->vm->give_up = false;
        answer(f, sim_guest_set(f->g, kib));
}

static void assert_state(const Fixture *f, MlgVmState state, MlgReason why) {
        if (f->vm->state != state || f->vm->why != why)
                fail_msg("%s (%s), wanted %s (%s)", mlg_vm_state_to_string(f->vm->state),
                         mlg_reason_to_string(f->vm->why), mlg_vm_state_to_string(state),
                         mlg_reason_to_string(why));
}

static void assert_managed(const Fixture *f) {
        assert_state(f, MLG_VM_MANAGED, MLG_REASON_NONE);
}

/* ---- how a guest becomes managed, and what keeps it from that ---- */

static void test_from_new_to_managed(void **state) {
        Fixture *f = *state;
        uint64_t polled = 0;

        assert_int_equal(f->vm->state, MLG_VM_NEW);
        assert_int_equal(mlg_vm_due_kib(f->vm), GIB); /* nothing is known: it may have all */
        while (f->vm->state != MLG_VM_MANAGED) {
                assert_true(++polled < 10);
                poll_after(f, SIM_SEC);
        }
        assert_int_equal(f->vm->reports, MLG_VM_REPORTS_NEEDED);
        assert_int_equal(f->vm->target_kib, GIB);
        assert_int_equal(mlg_vm_due_kib(f->vm), GIB);
        assert_in_range(f->vm->forecast.need_kib, 300 * SIM_MIB, 310 * SIM_MIB);
        assert_int_equal(f->vm->cushion_kib, 64 * SIM_MIB);
        assert_int_equal(f->vm->floor_kib, GIB / 4);
        assert_int_equal(f->vm->ceiling_kib, GIB);
        assert_int_equal(f->vm->pressure, MLG_PRESSURE_NONE);
}

static void test_left_alone(void **state) {
        static const struct {
                const char *what;
                size_t offset; /* of a bool in MlgGuestInfo */
                bool value;
                MlgVmState state;
                MlgReason why;
                uint64_t due_kib;
        } cases[] = {
                { "no balloon", offsetof(MlgGuestInfo, has_balloon), false, MLG_VM_ALONE,
                  MLG_REASON_NO_BALLOON, GIB },
                { "vfio", offsetof(MlgGuestInfo, vfio), true, MLG_VM_ALONE, MLG_REASON_PINNED, GIB },
                { "locked", offsetof(MlgGuestInfo, locked), true, MLG_VM_ALONE, MLG_REASON_PINNED, GIB },
                { "huge pages", offsetof(MlgGuestInfo, hugepages), true, MLG_VM_ALONE, MLG_REASON_PINNED,
                  0 },
                { "virtio-mem", offsetof(MlgGuestInfo, virtio_mem), true, MLG_VM_ALONE, MLG_REASON_MEMORY_DEVICE, GIB },
                { "confidential", offsetof(MlgGuestInfo, confidential), true, MLG_VM_ALONE, MLG_REASON_CONFIDENTIAL, GIB },
                { "migrating", offsetof(MlgGuestInfo, migrating), true, MLG_VM_HELD, MLG_REASON_MIGRATING,
                  GIB },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                MlgGuestInfo info = f->g->info;

                *((bool *) ((char *) &info + cases[i].offset)) = cases[i].value;
                mlg_vm_set_info(f->vm, &info, f->now_usec);
                polls(f, 5);
                assert_state(f, cases[i].state, cases[i].why);
                assert_int_equal(mlg_vm_due_kib(f->vm), cases[i].due_kib);
        }
        mlg_vm_set_info(f->vm, &f->g->info, f->now_usec);
        polls(f, 1);
        assert_managed(f);
        f->settings.mode = MLG_MODE_OBSERVE;
        mlg_vm_set_settings(f->vm, &f->settings);
        polls(f, 1);
        assert_state(f, MLG_VM_ALONE, MLG_REASON_MODE);
}

/* ---- no device to be moved by: the host may take what it does not miss ---- */

static void test_reclaim(void **state) {
        static const struct {
                const char *what;
                MlgMode mode;
                MlgReclaimMode reclaim;
                bool locked, vfio, virtio_mem, migrating, paused;
                MlgReason known;      /* of MlgReclaim */
                MlgActuator actuator;
                MlgReason why;
                bool may;
        } rows[] = {
                { "off", MLG_MODE_AUTO, MLG_RECLAIM_MODE_OFF, .actuator = MLG_ACTUATOR_NONE, .why = MLG_REASON_NO_BALLOON },
                { "nothing known", MLG_MODE_AUTO, MLG_RECLAIM_MODE_CGROUP, .actuator = MLG_ACTUATOR_CGROUP,
                  .why = MLG_REASON_NEW, .may = true },
                { "on", MLG_MODE_AUTO, MLG_RECLAIM_MODE_CGROUP, .known = MLG_REASON_RECLAIM,
                  .actuator = MLG_ACTUATOR_CGROUP, .why = MLG_REASON_RECLAIM, .may = true },
                { "no right", MLG_MODE_AUTO, MLG_RECLAIM_MODE_CGROUP, .known = MLG_REASON_NO_PERMISSION,
                  .actuator = MLG_ACTUATOR_CGROUP, .why = MLG_REASON_NO_PERMISSION, .may = true },
                { "advise", MLG_MODE_ADVISE, MLG_RECLAIM_MODE_CGROUP, .why = MLG_REASON_MODE },
                { "observe", MLG_MODE_OBSERVE, MLG_RECLAIM_MODE_CGROUP, .why = MLG_REASON_MODE },
                { "locked", MLG_MODE_AUTO, MLG_RECLAIM_MODE_CGROUP, .locked = true, .why = MLG_REASON_PINNED },
                { "vfio", MLG_MODE_AUTO, MLG_RECLAIM_MODE_CGROUP, .vfio = true, .why = MLG_REASON_PINNED },
                { "odd virtio-mem", MLG_MODE_AUTO, MLG_RECLAIM_MODE_CGROUP, .virtio_mem = true, .why = MLG_REASON_MEMORY_DEVICE },
                { "migrating", MLG_MODE_AUTO, MLG_RECLAIM_MODE_CGROUP, .migrating = true, .known = MLG_REASON_RECLAIM,
                  .actuator = MLG_ACTUATOR_CGROUP, .why = MLG_REASON_MIGRATING },
                { "paused", MLG_MODE_AUTO, MLG_RECLAIM_MODE_CGROUP, .paused = true, .known = MLG_REASON_RECLAIM,
                  .actuator = MLG_ACTUATOR_CGROUP, .why = MLG_REASON_PAUSED },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgGuestInfo info = f->g->info;

                info.has_balloon = false;
                info.locked = rows[i].locked;
                info.vfio = rows[i].vfio;
                info.virtio_mem = rows[i].virtio_mem;
                info.migrating = rows[i].migrating;
                f->settings.mode = rows[i].mode;
                f->settings.reclaim = rows[i].reclaim;
                mlg_vm_set_info(f->vm, &info, f->now_usec);
                mlg_vm_set_settings(f->vm, &f->settings);
                f->vm->paused = rows[i].paused;
                f->vm->reclaim.why = rows[i].known;
                polls(f, 5);
                if (f->vm->why != rows[i].why || mlg_vm_actuator(f->vm) != rows[i].actuator)
                        fail_msg("%s: %s", rows[i].what, mlg_reason_to_string(f->vm->why));
                assert_int_equal(f->vm->state, MLG_VM_ALONE);
                assert_int_equal(mlg_vm_may_reclaim(f->vm), rows[i].may);
                assert_int_equal(mlg_vm_due_kib(f->vm), GIB); /* it may want all of it at once */
                assert_int_equal(mlg_vm_look_rank(f->vm, f->now_usec), MLG_LOOK_NOT);
        }
}

/* What was known is of the run before. */
static void test_reclaim_of_a_new_run(void **state) {
        Fixture *f = *state;
        MlgGuestInfo info = f->g->info;

        f->vm->reclaim = (MlgReclaim) { .read_usec = 1, .asked_kib = 5, .resume_usec = UINT64_MAX, .why = MLG_REASON_RECLAIM };
        info.instance++;
        mlg_vm_set_info(f->vm, &info, f->now_usec);
        assert_int_equal(f->vm->reclaim.asked_kib + f->vm->reclaim.resume_usec + f->vm->reclaim.read_usec, 0);
}

/* With a balloon that is what moves it, whatever Reclaim= says. */
static void test_reclaim_beside_a_balloon(void **state) {
        Fixture *f = *state;

        f->settings.reclaim = MLG_RECLAIM_MODE_CGROUP;
        mlg_vm_set_settings(f->vm, &f->settings);
        polls(f, 5);
        assert_managed(f);
        assert_int_equal(mlg_vm_actuator(f->vm), MLG_ACTUATOR_BALLOON);
        assert_false(mlg_vm_may_reclaim(f->vm));
}

static void test_run_states(void **state) {
        static const struct {
                MlgRunState state;
                uint64_t due_kib;
        } cases[] = {
                { MLG_RUN_PAUSED, GIB },  { MLG_RUN_SHUTTING_DOWN, GIB },
                { MLG_RUN_UNKNOWN, GIB }, { MLG_RUN_CRASHED, GIB }, /* kept to be looked at */
                { MLG_RUN_OFF, 0 },
        };
        Fixture *f = *state;

        polls(f, 5);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                f->g->info.run_state = cases[i].state;
                polls(f, 1);
                assert_state(f, MLG_VM_HELD, MLG_REASON_NOT_RUNNING);
                assert_int_equal(mlg_vm_due_kib(f->vm), cases[i].due_kib);
        }
        /* It was off: this is another run, even if nobody has said so yet. */
        f->g->info.run_state = MLG_RUN_RUNNING;
        polls(f, 1);
        assert_true(mlg_vm_boots(f->vm));
        polls(f, 5);
        assert_managed(f);
}

/* Bad reports hold a guest, and only as long as they are bad. */
static void test_bad_reports(void **state) {
        static const struct {
                SimFault fault;
                MlgReason why;
                unsigned int within;
        } cases[] = {
                { SIM_ALL_ONES, MLG_REASON_IMPOSSIBLE, 2 },  { SIM_LIAR, MLG_REASON_IMPOSSIBLE, 2 },
                { SIM_SILENT, MLG_REASON_STALE, 5 },         { SIM_PARTIAL, MLG_REASON_STALE, 2 },
                { SIM_STOPPED, MLG_REASON_UNRESPONSIVE, 3 },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                f->g->faults = 0;
                polls(f, 5);
                assert_managed(f);
                f->g->faults = cases[i].fault;
                for (unsigned int n = 0; f->vm->state == MLG_VM_MANAGED; n++) {
                        assert_true(n <= cases[i].within);
                        polls(f, 1);
                }
                assert_state(f, MLG_VM_HELD, cases[i].why);
                assert_int_equal(mlg_vm_due_kib(f->vm), GIB);
        }
}

static void test_no_statistics(void **state) {
        Fixture *f = *state;

        f->g->faults = SIM_SILENT;
        polls(f, 20);
        assert_state(f, MLG_VM_HELD, MLG_REASON_NO_STATS);
        assert_false(f->vm->silent); /* it never spoke */
}

/* A hypervisor that knows the state and nothing else must not hold up the others. */
static void test_size_unknown(void **state) {
        Fixture *f = *state;
        MlgRawStats raw = { .have = MLG_HAVE_RUN_STATE, .run_state = MLG_RUN_RUNNING };

        mlg_vm_observe(f->vm, &raw, &f->host, f->now_usec, wall(f));
        mlg_vm_classify(f->vm, false, f->now_usec);
        assert_state(f, MLG_VM_HELD, MLG_REASON_UNRESPONSIVE);
        assert_int_equal(mlg_vm_due_kib(f->vm), GIB);
        polls(f, 5);
        assert_managed(f);
        mlg_vm_observe(f->vm, &raw, &f->host, f->now_usec, wall(f));
        mlg_vm_classify(f->vm, false, f->now_usec);
        assert_state(f, MLG_VM_HELD, MLG_REASON_STALE);
}

/* The driver writes how much it has: a liar is charged no more than it can have. */
static void test_impossible_size(void **state) {
        Fixture *f = *state;
        MlgRawStats raw;

        polls(f, 5);
        (void) sim_guest_read(f->g, &raw);
        raw.actual_kib = UINT64_MAX / 1024 - 5;
        mlg_vm_observe(f->vm, &raw, &f->host, f->now_usec, wall(f));
        assert_true(mlg_vm_due_kib(f->vm) <= GIB);
        raw.actual_kib = 5 * GIB;
        mlg_vm_observe(f->vm, &raw, &f->host, f->now_usec, wall(f));
        assert_true(mlg_vm_due_kib(f->vm) <= GIB);
}

static void test_pause(void **state) {
        Fixture *f = *state;

        polls(f, 5);
        mlg_vm_classify(f->vm, true, f->now_usec);
        assert_state(f, MLG_VM_HELD, MLG_REASON_PAUSED);
        f->vm->paused = true;
        polls(f, 1);
        assert_state(f, MLG_VM_HELD, MLG_REASON_PAUSED);
        f->vm->paused = false;
        polls(f, 1);
        assert_managed(f);
}

/* ---- settings ---- */

static void test_settings(void **state) {
        Fixture *f = *state;
        MlgGuestInfo info = f->g->info;

        f->settings.floor = MLG_AMOUNT_KIB(8 * GIB); /* beyond the guest */
        f->settings.ceiling = MLG_AMOUNT_PERMILLE(500);
        g_strlcpy(f->settings.predictor, "last", sizeof(f->settings.predictor));
        mlg_vm_set_settings(f->vm, &f->settings);
        assert_int_equal(f->vm->ceiling_kib, GIB / 2);
        assert_int_equal(f->vm->floor_kib, GIB / 2);
        assert_string_equal(f->vm->predictor->name, "last");
        g_strlcpy(f->settings.predictor, "gone", sizeof(f->settings.predictor));
        mlg_vm_set_settings(f->vm, &f->settings);
        assert_string_equal(f->vm->predictor->name, mlg_predictor_at(0)->name);
        info.maximum_kib = 4 * GIB;
        mlg_vm_set_info(f->vm, &info, f->now_usec);
        assert_int_equal(f->vm->ceiling_kib, 2 * GIB);
        assert_int_equal(mlg_amount_resolve(MLG_AMOUNT_KIB(5), 100), 5);
        assert_int_equal(mlg_amount_resolve(MLG_AMOUNT_KIB(MLG_AMOUNT_MAX), 100), 100);
        assert_int_equal(mlg_amount_resolve(MLG_AMOUNT_PERMILLE(300), 100), 30);
}

static void test_new_predictor_forgets_the_forecast(void **state) {
        Fixture *f = *state;

        polls(f, 5);
        g_strlcpy(f->settings.predictor, "last", sizeof(f->settings.predictor));
        mlg_vm_set_settings(f->vm, &f->settings);
        mlg_vm_classify(f->vm, false, f->now_usec);
        assert_state(f, MLG_VM_NEW, MLG_REASON_NEW);
        polls(f, 2);
        assert_managed(f);
}

static void test_cushion(void **state) {
        static const struct {
                const char *what;
                MlgAmount cushion;
                uint32_t ratio_permille;
                uint64_t demand_mib, least_mib, most_mib;
        } cases[] = {
                { "a size", MLG_AMOUNT_KIB(100 * 1024), 0, 300, 100, 100 },
                { "a part of the need", MLG_AMOUNT_PERMILLE(500), 0, 300, 150, 160 },
                { "a ratio, more than the size", MLG_AMOUNT_KIB(16 * 1024), 300, 300, 90, 95 },
                { "at most the rest", MLG_AMOUNT_KIB(900 * 1024), 0, 300, 715, 724 },
                { "none", MLG_AMOUNT_KIB(0), 0, 300, 0, 0 },
        };
        Fixture *f = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                f->settings.cushion = cases[i].cushion;
                f->settings.cushion_permille = cases[i].ratio_permille;
                mlg_vm_set_settings(f->vm, &f->settings);
                f->g->demand_kib = cases[i].demand_mib * SIM_MIB;
                polls(f, 5);
                if (f->vm->cushion_kib < cases[i].least_mib * SIM_MIB ||
                    f->vm->cushion_kib > cases[i].most_mib * SIM_MIB)
                        fail_msg("%s: %" G_GUINT64_FORMAT " KiB", cases[i].what, f->vm->cushion_kib);
        }
}

/* ---- pressure ---- */

static void test_pressure(void **state) {
        static const struct {
                const char *what;
                uint64_t demand_mib;
                MlgPressure pressure;
        } cases[] = {
                { "idle", 300, MLG_PRESSURE_NONE },
                { "the cushion of 135 MiB is half used up", 900, MLG_PRESSURE_NONE },
                { "nearly nothing left", 1000, MLG_PRESSURE_CRITICAL },
                { "enough again", 300, MLG_PRESSURE_NONE },
        };
        Fixture *f = *state;

        f->g->swap_size_kib = 0;
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                f->g->demand_kib = cases[i].demand_mib * SIM_MIB;
                polls(f, 90);
                if (f->vm->pressure != cases[i].pressure)
                        fail_msg("%s: %s", cases[i].what, mlg_pressure_to_string(f->vm->pressure));
                assert_int_equal(f->vm->suffered_usec == f->now_usec,
                                 cases[i].pressure != MLG_PRESSURE_NONE);
        }
}

/* A guest that suffered may be shrunk when the cool-down is over, or when it has freed what it suffered from. */
static void test_over_it(void **state) {
        static const struct {
                const char *what;
                uint64_t demand_mib;
                bool over_it;
        } cases[] = {
                { "relief has come, the demand is as it was", 500, false },
                { "somewhat less", 400, false },
                { "the job is done", 200, true },
        };
        Fixture *f = *state;

        f->settings.cushion = MLG_AMOUNT_KIB(GIB); /* as wide as after a forecast that was far off */
        mlg_vm_set_settings(f->vm, &f->settings);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                f->g->demand_kib = 500 * SIM_MIB;
                order(f, GIB / 2);
                polls(f, 10);
                assert_int_equal(f->vm->pressure, MLG_PRESSURE_CRITICAL);
                order(f, GIB);
                f->g->demand_kib = cases[i].demand_mib * SIM_MIB;
                polls(f, 10);
                assert_int_equal(f->vm->pressure, MLG_PRESSURE_NONE);
                if ((f->vm->suffered_usec == 0) != cases[i].over_it)
                        fail_msg("%s: suffered at %" PRIu64 ", usable %" PRIu64 " KiB, cushion %" PRIu64, cases[i].what,
                                 f->vm->suffered_usec, f->vm->sampler.last.usable_kib, f->vm->cushion_kib);
        }
}

static void test_warning(void **state) {
        Fixture *f = *state;

        polls(f, 5);
        order(f, GIB / 2);
        polls(f, 5);
        f->g->demand_kib = 475 * SIM_MIB; /* 33 MiB are left, half of the cushion is 35 */
        polls(f, 30);
        assert_int_equal(f->vm->pressure, MLG_PRESSURE_WARNING);
        assert_false(f->vm->lacks); /* it announces trouble, and is none yet */
        assert_int_equal(f->vm->lacked_usec, 0);
}

static void test_swapping_in_is_critical(void **state) {
        Fixture *f = *state;

        polls(f, 5);
        f->g->swapped_kib = f->g->swap_out_kib = 250 * SIM_MIB; /* and 1 GiB to read it back into */
        polls(f, 2);
        assert_int_equal(f->vm->pressure, MLG_PRESSURE_CRITICAL);
        assert_true(f->vm->lacks);
        polls(f, 6);
        assert_int_equal(f->vm->pressure, MLG_PRESSURE_NONE);
}

/* Else one cry for help, and silence, would have it served first for ever. */
static void test_pressure_is_forgotten_while_reports_are_bad(void **state) {
        Fixture *f = *state;

        f->g->demand_kib = 1010 * SIM_MIB;
        polls(f, 5);
        assert_int_equal(f->vm->pressure, MLG_PRESSURE_CRITICAL);
        f->g->faults = SIM_ALL_ONES;
        polls(f, 5);
        assert_int_equal(f->vm->pressure, MLG_PRESSURE_NONE);
}

/* No report comes while the driver is busy; the programs do not wait for it. */
static void test_rise_goes_on_between_reports(void **state) {
        Fixture *f = *state;
        uint64_t need;

        polls(f, 5);
        f->g->demand_kib += 60 * SIM_MIB;
        polls(f, 1);
        assert_true(f->vm->rises);
        need = f->vm->forecast.need_kib;
        f->g->report_due_usec += 10 * SIM_SEC;
        for (int i = 1; i <= 10; i++) {
                poll_after(f, SIM_SEC / 10);
                assert_true(f->vm->forecast.need_kib > need);
                need = f->vm->forecast.need_kib;
        }
        assert_int_equal(f->vm->pressure, MLG_PRESSURE_NONE);
        polls(f, 6); /* but not for ever: old reports say nothing */
        need = f->vm->forecast.need_kib;
        polls(f, 2);
        assert_int_equal(f->vm->forecast.need_kib, need);
}

/* ---- targets and motion ---- */

static void test_a_move(void **state) {
        Fixture *f = *state;

        f->g->shrink_kib_per_sec = 100 * SIM_MIB;
        polls(f, 5);
        mlg_vm_asked(f->vm, GIB / 2, f->now_usec);
        assert_int_equal(f->vm->shrunk_usec, f->now_usec);
        assert_int_equal(mlg_vm_due_kib(f->vm), GIB);
        answer(f, sim_guest_set(f->g, GIB / 2));
        assert_int_equal(f->vm->target_kib, GIB / 2);
        assert_int_equal(f->vm->moves_accepted, 1);
        assert_int_equal(f->vm->moved_kib, GIB / 2);
        for (int i = 0; i < 20; i++) {
                poll_after(f, SIM_SEC / 5);
                assert_int_equal(mlg_vm_due_kib(f->vm), f->g->actual_kib); /* freed only as it comes */
                assert_false(f->vm->settled);
        }
        polls(f, 3); /* there, and still there a second later */
        assert_true(f->vm->settled);
        assert_managed(f);

        mlg_vm_asked(f->vm, GIB, f->now_usec);
        assert_int_equal(f->vm->grown_usec, f->now_usec);
        assert_int_equal(mlg_vm_due_kib(f->vm), GIB); /* charged before it is there */
        answer(f, sim_guest_set(f->g, GIB));
        polls(f, 3);
        assert_true(f->vm->settled);
        assert_int_equal(f->vm->actual_kib, GIB);
}

static void test_stuck(void **state) {
        Fixture *f = *state;
        uint64_t asked_usec, wait_usec = 0;

        polls(f, 5);
        for (int round = 0; round < 8; round++) {
                f->g->faults = SIM_STUCK;
                order(f, GIB / 2);
                asked_usec = f->now_usec;
                while (!f->vm->give_up) {
                        poll_after(f, SIM_SEC / 5);
                        assert_true(f->now_usec - asked_usec <= f->host.stuck_usec + SIM_SEC / 5);
                }
                assert_state(f, MLG_VM_HELD, MLG_REASON_STUCK);
                assert_true(f->now_usec - asked_usec >= f->host.stuck_usec);
                assert_int_equal(mlg_vm_due_kib(f->vm), GIB);
                /* doubles up to a quarter of an hour */
                assert_int_equal(f->vm->stuck_wait_usec,
                                 round == 0 ? 30 * SIM_SEC : mlg_min(2 * wait_usec, 900 * SIM_SEC));
                wait_usec = f->vm->stuck_wait_usec;
                order(f, f->vm->actual_kib);
                polls(f, 2);
                assert_true(f->vm->settled);
                f->now_usec = f->vm->stuck_until_usec - SIM_SEC;
                sim_host_advance(&f->sim, f->now_usec);
                poll_after(f, SIM_SEC / 2);
                assert_state(f, MLG_VM_HELD, MLG_REASON_STUCK);
                polls(f, 5);
                assert_managed(f);
        }
        /* Once it follows again, the past is forgiven. */
        f->g->faults = 0;
        order(f, GIB / 2);
        polls(f, 5);
        assert_true(f->vm->settled);
        assert_int_equal(f->vm->stuck_wait_usec, 0);
}

/* Asked in many small steps it is found as soon as if asked at once. */
static void test_stuck_in_small_steps(void **state) {
        Fixture *f = *state;
        uint64_t start_usec;

        polls(f, 5);
        f->g->faults = SIM_STUCK;
        start_usec = f->now_usec;
        for (uint64_t i = 1; !f->vm->give_up; i++) {
                mlg_vm_asked(f->vm, GIB - i * 10 * SIM_MIB, f->now_usec);
                poll_after(f, SIM_SEC / 10); /* the answer takes its time */
                answer(f, 0);
                poll_after(f, SIM_SEC / 10);
                assert_true(f->now_usec - start_usec <= f->host.stuck_usec + SIM_SEC / 2);
        }
        /* And one that follows is never taken for stuck. */
        f->g->faults = 0;
        order(f, f->vm->actual_kib);
        polls(f, 35);
        f->g->shrink_kib_per_sec = 20 * SIM_MIB;
        for (uint64_t i = 1; i <= 50; i++) {
                order(f, GIB - i * 10 * SIM_MIB);
                poll_after(f, SIM_SEC / 5);
                assert_false(f->vm->give_up);
        }
}

/* A balloon that finds nothing more to take has moved; what it has becomes its target. */
static void test_out_of_puff(void **state) {
        Fixture *f = *state;
        unsigned int n = 0;

        f->g->swap_size_kib = 0;
        f->g->demand_kib = 600 * SIM_MIB;
        polls(f, 5);
        order(f, GIB / 4);
        while (!f->vm->give_up) {
                assert_true(++n < 20);
                polls(f, 1);
        }
        assert_in_range(f->vm->actual_kib, 600 * SIM_MIB, 620 * SIM_MIB);
        order(f, f->vm->actual_kib);
        polls(f, 2);
        assert_true(f->vm->settled);
        assert_int_equal(f->vm->target_kib, f->vm->actual_kib);
}

/* Slow is not stuck. */
static void test_slow(void **state) {
        Fixture *f = *state;

        f->g->shrink_kib_per_sec = 8 * SIM_MIB;
        polls(f, 5);
        order(f, GIB / 2);
        for (int i = 0; i < 400 && !f->vm->settled; i++) {
                poll_after(f, SIM_SEC / 5);
                assert_false(f->vm->give_up);
        }
        assert_true(f->vm->settled);
}

/* Time that a guest cannot use does not count against it. */
static void test_stopped_is_not_stuck(void **state) {
        Fixture *f = *state;

        f->g->shrink_kib_per_sec = 50 * SIM_MIB;
        polls(f, 5);
        order(f, GIB / 2);
        f->g->faults = SIM_STOPPED;
        polls(f, 30);
        assert_state(f, MLG_VM_HELD, MLG_REASON_UNRESPONSIVE);
        f->g->faults = 0;
        polls(f, 4);
        assert_false(f->vm->give_up);
        f->g->info.run_state = MLG_RUN_PAUSED;
        polls(f, 30);
        assert_state(f, MLG_VM_HELD, MLG_REASON_NOT_RUNNING);
        f->g->info.run_state = MLG_RUN_RUNNING;
        polls(f, 10);
        assert_false(f->vm->give_up);
        assert_managed(f);
        assert_true(f->vm->settled);
}

static void test_foreign(void **state) {
        Fixture *f = *state;

        polls(f, 5);
        order(f, GIB / 2);
        polls(f, 5);
        assert_managed(f);
        (void) sim_guest_set(f->g, 700 * SIM_MIB);
        polls(f, 1);
        assert_state(f, MLG_VM_HELD, MLG_REASON_FOREIGN);
        polls(f, 5);
        assert_int_equal(f->vm->target_kib, 700 * SIM_MIB); /* follows whoever it is */
        polls(f, 293);
        assert_state(f, MLG_VM_HELD, MLG_REASON_FOREIGN);
        polls(f, 3);
        assert_managed(f);
        assert_int_equal(f->vm->target_kib, 700 * SIM_MIB);
}

static void test_autodeflate_is_suffering(void **state) {
        Fixture *f = *state;
        MlgGuestInfo info = f->g->info;

        info.autodeflate = f->g->info.autodeflate = true;
        mlg_vm_set_info(f->vm, &info, f->now_usec);
        polls(f, 5);
        order(f, GIB / 2);
        polls(f, 5);
        assert_managed(f);
        f->g->demand_kib = 800 * SIM_MIB;
        polls(f, 1);
        assert_true(f->vm->state != MLG_VM_HELD);
        assert_int_equal(f->vm->suffered_usec, f->now_usec);
        assert_in_range(f->vm->target_kib, 800 * SIM_MIB, 820 * SIM_MIB);
        assert_int_equal(f->vm->foreign_until_usec, 0);
}

/* ---- virtio-mem ---- */

/* 256 MiB, and devices up to 1 GiB. */
static void give_devices(Fixture *f, uint64_t granule_kib) {
        f->g->info.virtio_mem = true;
        f->g->info.granule_kib = granule_kib;
        f->g->info.base_kib = 256 * SIM_MIB;
        mlg_vm_set_info(f->vm, &f->g->info, f->now_usec);
}

static void test_devices_left_alone(void **state) {
        static const struct {
                bool understood, has_balloon, vfio, locked, hugepages, confidential;
                MlgActuator actuator;
                MlgReason why; /* none: managed */
        } rows[] = {
                { true, true, false, false, false, false, MLG_ACTUATOR_VIRTIO_MEM, MLG_REASON_NONE },
                { true, true, true, false, false, false, MLG_ACTUATOR_VIRTIO_MEM, MLG_REASON_NONE },
                { true, false, true, false, false, false, MLG_ACTUATOR_VIRTIO_MEM, MLG_REASON_NONE },
                { true, true, false, true, false, false, MLG_ACTUATOR_VIRTIO_MEM, MLG_REASON_PINNED },
                { true, true, false, false, true, false, MLG_ACTUATOR_VIRTIO_MEM, MLG_REASON_PINNED },
                { true, true, false, false, false, true, MLG_ACTUATOR_VIRTIO_MEM, MLG_REASON_CONFIDENTIAL },
                { false, true, false, false, false, false, MLG_ACTUATOR_NONE, MLG_REASON_MEMORY_DEVICE },
                { false, false, true, false, false, false, MLG_ACTUATOR_NONE, MLG_REASON_MEMORY_DEVICE },
        };
        Fixture *f = *state;

        polls(f, 5);
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgGuestInfo info = f->g->info;

                info.virtio_mem = true;
                info.granule_kib = rows[i].understood ? 2 * SIM_MIB : 0;
                info.base_kib = 256 * SIM_MIB;
                info.has_balloon = rows[i].has_balloon;
                info.vfio = rows[i].vfio;
                info.locked = rows[i].locked;
                info.hugepages = rows[i].hugepages;
                info.confidential = rows[i].confidential;
                mlg_vm_set_info(f->vm, &info, f->now_usec);
                polls(f, 2);
                assert_int_equal(f->vm->actuator, rows[i].actuator);
                if (rows[i].why == MLG_REASON_NONE)
                        assert_managed(f);
                else
                        assert_state(f, MLG_VM_ALONE, rows[i].why);
        }
}

static void test_limits_are_of_granules(void **state) {
        static const struct {
                uint64_t floor_mib, ceiling_mib; /* as set */
                uint64_t floor_is, ceiling_is;
        } rows[] = {
                { 0, 1024, 256, 1024 },     { 256, 1024, 256, 1024 }, { 257, 1023, 384, 896 }, { 384, 512, 384, 512 },
                { 500, 600, 512, 512 },     { 100, 200, 256, 256 },   { 1000, 1024, 1024, 1024 }, { 600, 620, 512, 512 },
        };
        Fixture *f = *state;

        give_devices(f, 128 * SIM_MIB);
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                f->settings.floor = MLG_AMOUNT_KIB(rows[i].floor_mib * SIM_MIB);
                f->settings.ceiling = MLG_AMOUNT_KIB(rows[i].ceiling_mib * SIM_MIB);
                mlg_vm_set_settings(f->vm, &f->settings);
                if (f->vm->floor_kib != rows[i].floor_is * SIM_MIB || f->vm->ceiling_kib != rows[i].ceiling_is * SIM_MIB)
                        fail_msg("row %zu: [%" PRIu64 ", %" PRIu64 "]", i, f->vm->floor_kib / SIM_MIB, f->vm->ceiling_kib / SIM_MIB);
        }
}

/* What is less than a block away is there; what is a whole one away and stays so is stuck. */
static void test_reached_to_a_granule(void **state) {
        Fixture *f = *state;

        give_devices(f, 128 * SIM_MIB);
        polls(f, 5);
        f->g->faults = SIM_STUCK;
        order(f, GIB - 100 * SIM_MIB);
        polls(f, 10);
        assert_managed(f);
        assert_true(f->vm->settled);
        order(f, GIB - 128 * SIM_MIB);
        polls(f, 10);
        assert_state(f, MLG_VM_HELD, MLG_REASON_STUCK);
}

/* The guest's word of its memory is newer than the hypervisor's of its size, by up to a second. */
static void test_size_comes_late(void **state) {
        Fixture *f = *state;
        uint64_t used_kib;

        f->g->demand_kib = 100 * SIM_MIB;
        give_devices(f, 2 * SIM_MIB);
        polls(f, 5);
        order(f, 256 * SIM_MIB);
        polls(f, 5);
        assert_managed(f);
        used_kib = f->vm->sampler.last.used_kib;
        f->g->event_usec = 5 * SIM_SEC;
        poll_after(f, SIM_SEC);
        order(f, GIB);
        for (int i = 0; i < 8; i++) {
                poll_after(f, SIM_SEC);
                assert_managed(f); /* and its statistics are not found impossible */
                assert_in_range(f->vm->sampler.last.used_kib, used_kib - 4 * SIM_MIB, used_kib + 4 * SIM_MIB);
        }
        assert_int_equal(f->vm->actual_kib, GIB);
}

/* A demand that grows while its size comes late is not guessed, but known: the guest's own total grows with it. */
static void test_demand_of_a_late_size(void **state) {
        Fixture *f = *state;
        uint64_t before_kib;

        f->g->demand_kib = 100 * SIM_MIB;
        give_devices(f, 2 * SIM_MIB);
        polls(f, 5);
        order(f, 512 * SIM_MIB);
        polls(f, 5);
        before_kib = f->vm->sampler.last.used_kib;
        f->g->event_usec = 60 * SIM_SEC;
        poll_after(f, SIM_SEC);
        order(f, GIB);
        f->g->demand_kib = 400 * SIM_MIB;
        polls(f, 3);
        assert_true(f->vm->actual_kib < GIB); /* as far as anybody knows */
        assert_in_range(f->vm->sampler.last.used_kib, before_kib + 298 * SIM_MIB, before_kib + 302 * SIM_MIB);
}

/* A reset unplugs all; the driver plugs again what is requested when it is loaded. */
static void test_reset_unplugs(void **state) {
        Fixture *f = *state;

        give_devices(f, 2 * SIM_MIB);
        polls(f, 5);
        order(f, 768 * SIM_MIB);
        polls(f, 5);
        mlg_vm_rebooted(f->vm, f->now_usec);
        f->g->actual_kib = 256 * SIM_MIB;
        f->g->faults = SIM_STUCK | SIM_SILENT;
        polls(f, 8);
        assert_int_equal(f->vm->actual_kib, 256 * SIM_MIB);
        assert_true(f->vm->why != MLG_REASON_FOREIGN && f->vm->why != MLG_REASON_STUCK);
        assert_int_equal(f->vm->target_kib, 768 * SIM_MIB);
        f->g->faults = 0;
        polls(f, 8);
        assert_managed(f);
        assert_int_equal(f->vm->actual_kib, 768 * SIM_MIB);
}

/* Its balloon may deflate by itself, but what grows are its devices, and they do what somebody told them. */
static void test_devices_do_not_help_themselves(void **state) {
        Fixture *f = *state;

        f->g->info.autodeflate = true;
        give_devices(f, 2 * SIM_MIB);
        polls(f, 5);
        order(f, GIB / 2);
        polls(f, 5);
        assert_managed(f);
        assert_int_equal(sim_guest_set(f->g, 800 * SIM_MIB), 0);
        polls(f, 3);
        assert_state(f, MLG_VM_HELD, MLG_REASON_FOREIGN);
        assert_int_equal(f->vm->target_kib, 800 * SIM_MIB);
}

/* Somebody else shrinks it: its reports show that first, and must not be taken for a demand that grows. */
static void test_foreign_order_is_seen_before_its_effect(void **state) {
        Fixture *f = *state;
        uint64_t used_kib;

        f->g->demand_kib = 100 * SIM_MIB;
        give_devices(f, 2 * SIM_MIB);
        f->g->event_usec = 5 * SIM_SEC;
        polls(f, 12);
        assert_managed(f);
        assert_true(f->vm->settled);
        used_kib = f->vm->sampler.last.used_kib;
        assert_int_equal(sim_guest_set(f->g, GIB / 2), 0);
        for (int i = 0; i < 8; i++) {
                polls(f, 1);
                assert_state(f, MLG_VM_HELD, MLG_REASON_FOREIGN);
                assert_in_range(f->vm->sampler.last.used_kib, used_kib - 4 * SIM_MIB, used_kib + 4 * SIM_MIB);
        }
        assert_int_equal(f->vm->target_kib, GIB / 2);
}

/* Without reports it is followed, but a target of ours is not forgotten. */
static void test_target_without_statistics(void **state) {
        Fixture *f = *state;

        f->g->faults = SIM_SILENT;
        polls(f, 3);
        (void) sim_guest_set(f->g, GIB - 100 * SIM_MIB);
        polls(f, 3);
        assert_int_equal(f->vm->target_kib, GIB - 100 * SIM_MIB);
        order(f, GIB / 2);
        polls(f, 3);
        assert_int_equal(f->vm->target_kib, GIB / 2);
        f->g->actual_kib = GIB / 2 + SIM_MIB; /* not to the page */
        f->g->faults |= SIM_STUCK;
        polls(f, 3);
        assert_int_equal(f->vm->target_kib, GIB / 2);
}

static void test_answers(void **state) {
        static const struct {
                int r;
                uint64_t asked_kib, target_kib, unsure_kib;
                MlgReason why;
        } cases[] = {
                { 0, GIB / 2, GIB / 2, 0, MLG_REASON_NONE },
                { -EIO, GIB / 2, GIB, 0, MLG_REASON_REFUSED },
                { -EOPNOTSUPP, GIB / 2, GIB, 0, MLG_REASON_REFUSED },
                { -ETIMEDOUT, GIB / 2, GIB / 2, GIB, MLG_REASON_UNRESPONSIVE }, /* unknown: both count */
                { -ENOTCONN, GIB / 2, GIB / 2, GIB, MLG_REASON_NONE },
                { -ENODEV, GIB / 2, GIB, 0, MLG_REASON_NONE },
                { -EBUSY, GIB / 2, GIB, 0, MLG_REASON_NONE },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                Fixture *f;

                assert_int_equal(setup((void **) &f), 0);
                polls(f, 5);
                mlg_vm_asked(f->vm, cases[i].asked_kib, f->now_usec);
                assert_int_equal(f->vm->pending_kib, cases[i].asked_kib);
                if (cases[i].r == 0)
                        (void) sim_guest_set(f->g, cases[i].asked_kib);
                answer(f, cases[i].r);
                mlg_vm_classify(f->vm, false, f->now_usec);
                assert_int_equal(f->vm->pending_kib, 0);
                assert_int_equal(f->vm->target_kib, cases[i].target_kib);
                assert_int_equal(f->vm->unsure_kib, cases[i].unsure_kib);
                assert_int_equal(mlg_vm_due_kib(f->vm), GIB); /* nothing has moved yet */
                assert_int_equal(f->vm->moves_failed, cases[i].r < 0);
                if (f->vm->why != cases[i].why)
                        fail_msg("%s: %s", g_strerror(-cases[i].r), mlg_reason_to_string(f->vm->why));
                polls(f, 35); /* comes back by itself */
                assert_managed(f);
                assert_int_equal(f->vm->target_kib, cases[i].r == 0 ? GIB / 2 : GIB);
                assert_int_equal(f->vm->unsure_kib, 0);
                (void) teardown((void **) &f);
        }
}

/* A grow whose outcome is unknown is charged until it is known. */
static void test_unknown_outcome_of_a_grow(void **state) {
        Fixture *f = *state;

        polls(f, 5);
        order(f, GIB / 2);
        polls(f, 3);
        mlg_vm_asked(f->vm, GIB, f->now_usec);
        answer(f, -ETIMEDOUT);
        assert_int_equal(mlg_vm_due_kib(f->vm), GIB);
        polls(f, 4);
        assert_int_equal(mlg_vm_due_kib(f->vm), GIB);
        polls(f, 4);
        assert_false(f->vm->give_up); /* it was not accepted, which is not the balloon's fault */
        assert_int_equal(f->vm->target_kib, GIB / 2);
        assert_int_equal(mlg_vm_due_kib(f->vm), GIB / 2);
        assert_managed(f);

        /* One that was accepted all the same: found out by where the balloon goes. */
        mlg_vm_asked(f->vm, GIB, f->now_usec);
        (void) sim_guest_set(f->g, GIB);
        answer(f, -ENOTCONN);
        polls(f, 4);
        assert_int_equal(f->vm->actual_kib, GIB);
        assert_int_equal(f->vm->unsure_kib, 0);
        assert_int_equal(f->vm->foreign_until_usec, 0);
        assert_managed(f);
}

/* An operator's word in the middle of our own move. */
static void test_sent_elsewhere_on_its_way(void **state) {
        Fixture *f = *state;

        polls(f, 5);
        f->g->shrink_kib_per_sec = 50 * SIM_MIB;
        order(f, GIB / 2);
        for (int i = 0; i < 20; i++)
                poll_after(f, SIM_SEC / 10);
        assert_true(f->vm->actual_kib < GIB);
        (void) sim_guest_set(f->g, GIB); /* back, by somebody else */
        for (int i = 0; i < 20; i++)
                poll_after(f, SIM_SEC / 10);
        assert_state(f, MLG_VM_HELD, MLG_REASON_FOREIGN);
        assert_int_equal(f->vm->target_kib, f->vm->actual_kib);
}

/* A driver that gets a page now and then is as good as one that gets none. */
static void test_dripping_is_stuck(void **state) {
        Fixture *f = *state;

        polls(f, 5);
        f->g->shrink_kib_per_sec = 300;
        order(f, GIB / 2);
        polls(f, 7);
        assert_true(f->vm->give_up);
        mlg_vm_classify(f->vm, false, f->now_usec);
        assert_state(f, MLG_VM_HELD, MLG_REASON_STUCK);
}

/* What it says to have, was not given, and does not give back: its QEMU shows what is true of it. */
static void test_claims_are_charged_by_fact(void **state) {
        Fixture *f = *state;

        polls(f, 5);
        order(f, GIB / 2);
        polls(f, 5);
        assert_true(f->vm->settled);
        f->g->actual_kib = GIB; /* the driver says so */
        f->g->faults |= SIM_STUCK;
        f->g->untouched_kib = 800 * SIM_MIB;
        polls(f, 2);
        assert_state(f, MLG_VM_HELD, MLG_REASON_FOREIGN);
        assert_true(mlg_vm_took_unasked(f->vm));
        assert_int_equal(mlg_vm_due_kib(f->vm), GIB);
        f->vm->foreign_until_usec = 0; /* the others need it */
        order(f, GIB / 2);
        polls(f, 7);
        assert_state(f, MLG_VM_HELD, MLG_REASON_STUCK);
        assert_int_equal(mlg_vm_due_kib(f->vm), GIB / 2); /* what it may have */
        f->g->untouched_kib = 300 * SIM_MIB;
        polls(f, 1);
        assert_int_equal(mlg_vm_due_kib(f->vm), f->vm->sampler.last.rss_kib); /* what it really took */
        assert_in_range(f->vm->sampler.last.rss_kib, GIB / 2 + SIM_MIB, GIB);
}

static void test_nothing_was_asked(void **state) {
        Fixture *f = *state;

        polls(f, 5);
        answer(f, 0);
        assert_int_equal(f->vm->moves_accepted, 0);
        assert_int_equal(f->vm->target_kib, GIB);
}

/* ---- start, restart, adoption ---- */

static void test_restart_forgets(void **state) {
        Fixture *f = *state;

        polls(f, 5);
        order(f, GIB / 2);
        polls(f, 3);
        f->vm->manual_kib = GIB / 2;
        f->vm->manual_until_usec = f->now_usec + 1000 * SIM_SEC;
        assert_true(mlg_vm_is_manual(f->vm, f->now_usec));
        sim_guest_restart(f->g);
        mlg_vm_set_info(f->vm, &f->g->info, f->now_usec);
        assert_int_equal(mlg_vm_due_kib(f->vm), GIB);
        assert_int_equal(f->vm->target_kib, 0);
        assert_false(mlg_vm_is_manual(f->vm, f->now_usec));
        assert_true(mlg_vm_is_settling(f->vm, f->now_usec));
        polls(f, 2);
        assert_true(f->vm->state != MLG_VM_MANAGED);
        polls(f, 3);
        assert_managed(f);
        assert_int_equal(f->vm->target_kib, GIB);
        polls(f, 30);
        assert_false(mlg_vm_is_settling(f->vm, f->now_usec));
}

/* The answer to a request that the run before was asked says nothing about this one, and comes first. */
static void test_restart_in_flight(void **state) {
        Fixture *f = *state;

        polls(f, 5);
        mlg_vm_asked(f->vm, GIB / 2, f->now_usec);
        mlg_vm_rebooted(f->vm, f->now_usec);
        assert_int_equal(f->vm->pending_kib, GIB / 2); /* no second request meanwhile */
        polls(f, 5);
        assert_int_equal(f->vm->target_kib, GIB);
        answer(f, 0);
        assert_int_equal(f->vm->pending_kib, 0);
        assert_int_equal(f->vm->target_kib, GIB);
        order(f, GIB / 2);
        assert_int_equal(f->vm->target_kib, GIB / 2);
}

static void test_adoption(void **state) {
        Fixture *f = *state;

        /* The daemon died in the middle of a move. */
        (void) sim_guest_set(f->g, GIB / 2);
        f->g->shrink_kib_per_sec = 100 * SIM_MIB;
        f->vm->target_kib = GIB / 2;
        f->vm->adopted = true;
        polls(f, 2);
        assert_int_equal(f->vm->target_kib, GIB / 2); /* not taken for somebody else's doing */
        polls(f, 8);
        assert_managed(f);
        assert_true(f->vm->settled);
        assert_false(f->vm->adopted);
}

/* What was adopted was never accepted: found as any balloon that does not follow. */
static void test_adoption_of_what_never_was(void **state) {
        Fixture *f = *state;

        f->vm->target_kib = GIB / 2;
        f->vm->adopted = true;
        polls(f, 4);
        assert_false(f->vm->give_up);
        polls(f, 3);
        assert_true(f->vm->give_up);
}

/* What a predictor learned in an earlier run of the daemon. */
static void test_resumed_predictor(void **state) {
        Fixture *f = *state;
        g_autofree void *saved = NULL;
        MlgForecast before;
        MlgVm *other;

        assert_int_equal(mlg_vm_learned_usec(f->vm), 0);
        polls(f, 20);
        assert_true(mlg_vm_learned_usec(f->vm) >= 15 * SIM_SEC);
        assert_false(mlg_vm_is_worth_saving(f->vm)); /* ewma: seconds are learned in seconds */
        f->vm->sought = true;
        g_strlcpy(f->settings.predictor, "context", sizeof(f->settings.predictor));
        mlg_vm_set_settings(f->vm, &f->settings);
        assert_int_equal(mlg_vm_learned_usec(f->vm), 0);
        assert_false(f->vm->sought);
        polls(f, 20);
        f->vm->sought = true;
        f->settings.cushion = MLG_AMOUNT_KIB(SIM_MIB);
        mlg_vm_set_settings(f->vm, &f->settings);
        assert_true(f->vm->sought && mlg_vm_is_worth_saving(f->vm));
        f->settings.horizon_usec *= 2;
        mlg_vm_set_settings(f->vm, &f->settings);
        assert_false(f->vm->sought);
        assert_false(mlg_vm_is_worth_saving(f->vm));
        polls(f, 60);
        assert_true(mlg_vm_is_worth_saving(f->vm));
        assert_in_range(mlg_vm_learned_usec(f->vm), 55 * SIM_SEC, 60 * SIM_SEC);
        saved = g_memdup2(f->vm->predictor_priv, f->vm->predictor->priv_size);
        before = f->vm->forecast;

        for (int same_run = 0; same_run <= 1; same_run++) {
                other = mlg_vm_new(&f->g->info, &f->settings);
                assert_true(mlg_vm_resume_predictor(other, saved, 60 * SIM_SEC, same_run, 5 * SIM_SEC));
                assert_int_equal(mlg_vm_learned_usec(other), 60 * SIM_SEC);
                assert_true(mlg_vm_is_worth_saving(other));
                f->vm = mlg_vm_free(f->vm);
                f->vm = other;
                polls(f, 10);
                assert_managed(f);
                assert_in_range(mlg_vm_learned_usec(other), 65 * SIM_SEC, 70 * SIM_SEC);
                /* A new one holds nearly all of the memory. */
                assert_true(mlg_abs_diff(other->forecast.upper_kib, before.upper_kib) < 64 * SIM_MIB);
        }
        /* The guest is started anew: the state stays, and so does its age. */
        sim_guest_restart(f->g);
        mlg_vm_set_info(f->vm, &f->g->info, f->now_usec);
        assert_in_range(mlg_vm_learned_usec(f->vm), 65 * SIM_SEC, 70 * SIM_SEC);
}

/* Without restarted() a state is of one run of the guest. */
static void test_state_of_another_run(void **state) {
        Fixture *f = *state;
        g_autofree void *saved = NULL;

        polls(f, 5);
        saved = g_malloc0(f->vm->predictor->priv_size);
        assert_null(f->vm->predictor->restarted);
        assert_false(mlg_vm_resume_predictor(f->vm, saved, SIM_SEC, false, f->now_usec));
        assert_true(mlg_vm_learned_usec(f->vm) > 2 * SIM_SEC);
        mlg_vm_rebooted(f->vm, f->now_usec);
        assert_int_equal(mlg_vm_learned_usec(f->vm), 0);
}

static void test_silence(void **state) {
        Fixture *f = *state;
        uint64_t since;

        polls(f, 5);
        f->g->faults = SIM_SILENT;
        polls(f, 5);
        assert_true(f->vm->silent);
        since = f->vm->silent_usec;
        polls(f, 5);
        assert_int_equal(f->vm->silent_usec, since);
        f->g->info.run_state = MLG_RUN_PAUSED; /* cannot report: that is no silence */
        polls(f, 50);
        assert_int_equal(f->vm->silent_usec, f->now_usec);
        f->g->info.run_state = MLG_RUN_RUNNING;
        f->g->faults = 0;
        polls(f, 2);
        assert_false(f->vm->silent);
}

/* ---- records ---- */

static void test_records_fold(void **state) {
        Fixture *f = *state;
        MlgDecision d = { .at_usec = 1,
                          .first_at_usec = 1,
                          .repeated = 1,
                          .from_kib = 5,
                          .to_kib = 5,
                          .used_kib = 1 };

        assert_null(mlg_vm_decision(f->vm, 0));
        for (uint64_t i = 1; i <= 5; i++) {
                d.at_usec = d.first_at_usec = i;
                d.used_kib = i; /* inputs may differ */
                mlg_vm_record(f->vm, &d);
        }
        assert_int_equal(mlg_vm_decision(f->vm, 0)->repeated, 5);
        assert_int_equal(mlg_vm_decision(f->vm, 0)->first_at_usec, 1);
        assert_int_equal(mlg_vm_decision(f->vm, 0)->at_usec, 5);
        assert_int_equal(mlg_vm_decision(f->vm, 0)->used_kib, 5);
        assert_null(mlg_vm_decision(f->vm, 1));
        /* Moves are never folded, other reasons neither. */
        d.to_kib = 6;
        mlg_vm_record(f->vm, &d);
        mlg_vm_record(f->vm, &d);
        d.to_kib = 5;
        d.why = MLG_REASON_RATE;
        mlg_vm_record(f->vm, &d);
        assert_int_equal(mlg_vm_decision(f->vm, 0)->why, MLG_REASON_RATE);
        assert_int_equal(mlg_vm_decision(f->vm, 1)->to_kib, 6);
        assert_int_equal(mlg_vm_decision(f->vm, 2)->to_kib, 6);
        assert_int_equal(mlg_vm_decision(f->vm, 3)->repeated, 5);
        assert_null(mlg_vm_decision(f->vm, 4));
        /* The count stops, it does not turn over. */
        ((MlgDecision *) mlg_vm_decision(f->vm, 0))->repeated = UINT32_MAX;
        mlg_vm_record(f->vm, &d);
        assert_true(mlg_vm_decision(f->vm, 0)->repeated == UINT32_MAX);
        for (int i = 0; i < 20; i++) {
                d.to_kib = 100 + (uint64_t) i;
                mlg_vm_record(f->vm, &d);
        }
        for (unsigned int i = 0; i < MLG_DECISIONS_MAX; i++)
                assert_int_equal(mlg_vm_decision(f->vm, i)->to_kib, 119 - i);
        assert_null(mlg_vm_decision(f->vm, MLG_DECISIONS_MAX));
}

/* ---- words ---- */

static void test_words(void **state) {
        MlgMode mode;

        for (int i = 0; i < _MLG_REASON_MAX; i++) {
                assert_true(strlen(mlg_reason_to_string((MlgReason) i)) > 0);
                assert_int_equal(strspn(mlg_reason_to_string((MlgReason) i), "abcdefghijklmnopqrstuvwxyz-"),
                                 strlen(mlg_reason_to_string((MlgReason) i)));
                assert_true(strlen(mlg_reason_to_sentence((MlgReason) i)) > 5);
                for (int k = 0; k < i; k++)
                        assert_string_not_equal(mlg_reason_to_string((MlgReason) i),
                                                mlg_reason_to_string((MlgReason) k));
        }
        assert_string_equal(mlg_reason_to_string(_MLG_REASON_MAX), "invalid");
        assert_string_equal(mlg_reason_to_sentence(_MLG_REASON_MAX), "an invalid reason");
        assert_string_equal(mlg_run_state_to_string(MLG_RUN_PAUSED), "paused");
        assert_string_equal(mlg_run_state_to_string(_MLG_RUN_STATE_MAX), "invalid");
        assert_string_equal(mlg_trust_to_string(MLG_TRUST_FRESH), "fresh");
        assert_string_equal(mlg_pressure_to_string(MLG_PRESSURE_CRITICAL), "critical");
        assert_string_equal(mlg_vm_state_to_string(MLG_VM_ALONE), "alone");
        for (int i = 0; i < _MLG_MODE_MAX; i++) {
                assert_int_equal(mlg_mode_from_string(mlg_mode_to_string((MlgMode) i), &mode), 0);
                assert_int_equal(mode, i);
        }
        assert_int_equal(mlg_mode_from_string("Auto", &mode), -EINVAL);
}

#define WITH_GUEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                WITH_GUEST(test_from_new_to_managed),
                WITH_GUEST(test_left_alone),
                WITH_GUEST(test_reclaim),
                WITH_GUEST(test_reclaim_of_a_new_run),
                WITH_GUEST(test_reclaim_beside_a_balloon),
                WITH_GUEST(test_run_states),
                WITH_GUEST(test_bad_reports),
                WITH_GUEST(test_no_statistics),
                WITH_GUEST(test_size_unknown),
                WITH_GUEST(test_impossible_size),
                WITH_GUEST(test_pause),
                WITH_GUEST(test_settings),
                WITH_GUEST(test_new_predictor_forgets_the_forecast),
                WITH_GUEST(test_cushion),
                WITH_GUEST(test_pressure),
                WITH_GUEST(test_over_it),
                WITH_GUEST(test_warning),
                WITH_GUEST(test_swapping_in_is_critical),
                WITH_GUEST(test_rise_goes_on_between_reports),
                WITH_GUEST(test_pressure_is_forgotten_while_reports_are_bad),
                WITH_GUEST(test_a_move),
                WITH_GUEST(test_stuck),
                WITH_GUEST(test_stuck_in_small_steps),
                WITH_GUEST(test_out_of_puff),
                WITH_GUEST(test_slow),
                WITH_GUEST(test_stopped_is_not_stuck),
                WITH_GUEST(test_foreign),
                WITH_GUEST(test_autodeflate_is_suffering),
                WITH_GUEST(test_devices_left_alone),
                WITH_GUEST(test_limits_are_of_granules),
                WITH_GUEST(test_reached_to_a_granule),
                WITH_GUEST(test_size_comes_late),
                WITH_GUEST(test_demand_of_a_late_size),
                WITH_GUEST(test_reset_unplugs),
                WITH_GUEST(test_devices_do_not_help_themselves),
                WITH_GUEST(test_foreign_order_is_seen_before_its_effect),
                WITH_GUEST(test_target_without_statistics),
                cmocka_unit_test(test_answers),
                WITH_GUEST(test_unknown_outcome_of_a_grow),
                WITH_GUEST(test_sent_elsewhere_on_its_way),
                WITH_GUEST(test_dripping_is_stuck),
                WITH_GUEST(test_claims_are_charged_by_fact),
                WITH_GUEST(test_nothing_was_asked),
                WITH_GUEST(test_restart_forgets),
                WITH_GUEST(test_restart_in_flight),
                WITH_GUEST(test_adoption),
                WITH_GUEST(test_adoption_of_what_never_was),
                WITH_GUEST(test_resumed_predictor),
                WITH_GUEST(test_state_of_another_run),
                WITH_GUEST(test_silence),
                WITH_GUEST(test_records_fold),
                cmocka_unit_test(test_words),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
