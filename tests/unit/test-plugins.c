/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plug-ins: what is taken from outside and what is refused, how their calls are supervised, who stands in for one that is
 * off, and what is noted of one that took memlegod with it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>

#include <glib.h>
#include <glib/gstdio.h>

#include <cmocka.h>

#include "core/plugins.h"
#include "core/supervise.h"
#include "engine-rig.h"
#include "policies/registry.h"
#include "predict/registry.h"
#include "service/config.h"
#include "service/plugin-loader.h"
#include "util/util.h"

#define MSEC UINT64_C(1000000) /* in ns */
#define N 3

/* ---- an algorithm that does what it is told ---- */

typedef enum Fault {
        NOTHING,
        TOO_MUCH,
        TOO_LITTLE,
        ABOVE_CEILING,
        ODD_REASON,
        RETURNS,
        BEHIND_PLAN,
        BEHIND_STATE,
        BEHIND_GUEST,
        FORECAST,
        NO_DATA,
} Fault;

static struct {
        Fault fault;
        bool in_observe; /* or else in predict() */
        int r;
        uint64_t nsec;
        MlgForecast forecast;
        unsigned int calls;
} order;

static uint64_t clock_nsec;
static volatile uint32_t running;
static MlgPlugin *plugin;

static uint64_t stopwatch(void) {
        return clock_nsec;
}

static const MlgPluginWatch watch = { .cpu_nsec = stopwatch, .running = &running };

static void begin_call(void) {
        assert_int_equal(running, plugin->mark);
        order.calls++;
        clock_nsec += order.nsec;
}

static int decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n, MlgPlan *plan) {
        begin_call();
        for (size_t i = 0; i < n; i++)
                plan->steps[i] = (MlgStep) { vms[i].ceiling_kib, MLG_REASON_SURPLUS };
        switch (order.fault) {
        case TOO_MUCH:
                plan->steps[n - 1].target_kib = vms[n - 1].maximum_kib + 1;
                break;
        case TOO_LITTLE:
                plan->steps[n - 1].target_kib = vms[n - 1].floor_kib - 1;
                break;
        case ABOVE_CEILING:
                plan->steps[n - 1].target_kib = vms[n - 1].ceiling_kib + 1;
                break;
        case ODD_REASON:
                plan->steps[n - 1].reason = MLG_REASON_SETTLED;
                break;
        case BEHIND_PLAN:
                plan->steps[n].target_kib = 1;
                break;
        case BEHIND_STATE:
                ((char *) priv)[16] = 1;
                break;
        case BEHIND_GUEST:
                ((char *) vms[n - 1].priv)[8] = 1;
                break;
        case NOTHING:
        case RETURNS:
        case FORECAST:
        case NO_DATA:
                break;
        }
        return order.fault == RETURNS ? order.r : 0;
}

static void observe(void *priv, const MlgSample *s, uint64_t horizon_usec) {
        if (order.in_observe)
                begin_call();
        *(uint64_t *) priv = s->used_kib;
        if (order.fault == BEHIND_STATE)
                ((char *) priv)[8] = 1;
}

static int predict(const void *priv, uint64_t horizon_usec, MlgForecast *ret) {
        if (!order.in_observe)
                begin_call();
        *ret = (MlgForecast) { .need_kib = *(const uint64_t *) priv };
        if (order.fault == FORECAST)
                *ret = order.forecast;
        return order.fault == RETURNS ? order.r : order.fault == NO_DATA ? -ENODATA : 0;
}

static const MlgPolicyOps policy = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(policy),
        .name = "mine",
        .description = "does what it is told",
        .priv_size = 16,
        .vm_priv_size = 8,
        .decide = decide,
};
static const MlgPredictorOps predictor = {
        .abi = MLG_PREDICTOR_ABI,
        .size = sizeof(predictor),
        .name = "mine",
        .description = "does what it is told",
        .priv_size = 8,
        .observe = observe,
        .predict = predict,
};

static void add_policy(void) {
        mlg_plugins_clear();
        memset(&order, 0, sizeof(order));
        plugin = mlg_plugins_add("mine", &watch);
        assert_true(mlg_plugin_take_policy(plugin, &policy));
}

static void add_predictor(void) {
        mlg_plugins_clear();
        memset(&order, 0, sizeof(order));
        plugin = mlg_plugins_add("mine", &watch);
        assert_true(mlg_plugin_take_predictor(plugin, &predictor));
}

/* ---- what is taken ---- */

static void test_what_policies_are_refused(void **state) {
        MlgPolicyOps old = policy, newer = policy, small = policy, odd = policy, nameless = policy, other = policy,
                     wordless = policy, idle = policy, fat = policy, fat_guests = policy, own = policy;
        const struct {
                const char *name;
                const MlgPolicyOps *ops;
                const char *why;
        } rows[] = {
                { "mine", &old, "its abi is 7, and that of this memlegod is 1" },
                { "mine", &newer, "it was built for a newer one" },
                { "mine", &small, "expected" },
                { "mine", &odd, "expected" },
                { "mine", &nameless, "the name in it is \"\", expected \"mine\"" },
                { "mine", &other, "the name in it is \"another\", expected \"mine\"" },
                { "static", &own, "there is a policy \"static\" already" },
                { "mine", &wordless, "no description" },
                { "mine", &idle, "no decide()" },
                { "mine", &fat, "its state of 65537 bytes is larger than the 65536" },
                { "mine", &fat_guests, "its state per guest of 1025 bytes is larger than the 1024" },
        };

        old.abi = 7;
        newer.size += 8;
        small.size = offsetof(MlgPolicyOps, decide);
        odd.size -= 1;
        nameless.name = NULL;
        other.name = "another";
        own.name = "static";
        wordless.description = NULL;
        idle.decide = NULL;
        fat.priv_size = MLG_POLICY_PRIV_MAX + 1;
        fat_guests.vm_priv_size = MLG_POLICY_VM_PRIV_MAX + 1;
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgPlugin *p;

                mlg_plugins_clear();
                p = mlg_plugins_add(rows[i].name, &watch);
                assert_false(mlg_plugin_take_policy(p, rows[i].ops));
                if (!strstr(p->why, rows[i].why))
                        fail_msg("\"%s\", expected: %s", p->why, rows[i].why);
                assert_true(p->refused && p->off);
                assert_ptr_not_equal(mlg_policy_find(rows[i].name), &p->policy);
                assert_null(strstr(mlg_policy_names(), "mine"));
        }
}

static void test_what_predictors_are_refused(void **state) {
        MlgPredictorOps old = predictor, newer = predictor, blind = predictor, mute = predictor, fat = predictor,
                        own = predictor;
        const struct {
                const char *name;
                const MlgPredictorOps *ops;
                const char *why;
        } rows[] = {
                { "mine", &old, "its abi is 0, and that of this memlegod is 1" },
                { "mine", &newer, "it was built for a newer one" },
                { "ewma", &own, "there is a predictor \"ewma\" already" },
                { "mine", &blind, "no observe()" },
                { "mine", &mute, "no predict()" },
                { "mine", &fat, "its state per guest of 16385 bytes is larger than the 16384" },
        };

        old.abi = 0;
        newer.size = UINT32_MAX - 7;
        own.name = "ewma";
        blind.observe = NULL;
        mute.predict = NULL;
        fat.priv_size = MLG_PREDICTOR_PRIV_MAX + 1;
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgPlugin *p;

                mlg_plugins_clear();
                p = mlg_plugins_add(rows[i].name, &watch);
                assert_false(mlg_plugin_take_predictor(p, rows[i].ops));
                if (!strstr(p->why, rows[i].why))
                        fail_msg("\"%s\", expected: %s", p->why, rows[i].why);
                assert_ptr_not_equal(mlg_predictor_find(rows[i].name), &p->predictor);
        }
}

/* One that was built before the optional members were there. */
static void test_older_tables(void **state) {
        struct {
                MlgPolicyOps ops;
        } short_policy = { policy };
        MlgPredictorOps short_predictor = predictor;

        mlg_plugins_clear();
        short_policy.ops.size = offsetof(MlgPolicyOps, probes);
        short_policy.ops.probes = true; /* not its own any more */
        assert_true(mlg_plugin_take_policy(mlg_plugins_add("mine", &watch), &short_policy.ops));
        assert_false(mlg_policy_find("mine")->probes);
        short_predictor.size = offsetof(MlgPredictorOps, reflect);
        short_predictor.name = "ours";
        short_predictor.reflect = (void (*)(void *, const MlgForecast *, uint64_t))(void (*)(void)) abort;
        assert_true(mlg_plugin_take_predictor(mlg_plugins_add("ours", &watch), &short_predictor));
        assert_null(mlg_predictor_find("ours")->reflect);
}

static void test_names(void **state) {
        static const struct {
                const char *name;
                bool good;
        } rows[] = {
                { "mine", true },
                { "a-1", true },
                { "1234567890123456789012345678901", true },
                { "12345678901234567890123456789012", false },
                { "", false },
                { "Mine", false },
                { "a_b", false },
                { "a b", false },
                { "../a", false },
                { "\303\244", false },
                { "a\n", false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
                if (mlg_plugin_name_is_good(rows[i].name) != rows[i].good)
                        fail_msg("\"%s\"", rows[i].name);
}

static void test_registries(void **state) {
        size_t n_own = 0;

        mlg_plugins_clear();
        while (mlg_policy_at(n_own))
                n_own++;
        add_policy();
        assert_ptr_equal(mlg_policy_find("mine"), &plugin->policy);
        assert_ptr_equal(mlg_policy_at(n_own), &plugin->policy);
        assert_null(mlg_policy_at(n_own + 1));
        assert_string_equal(mlg_policy_at(0)->name, "proportional");
        assert_true(g_str_has_suffix(mlg_policy_names(), ", mine"));
        assert_null(mlg_predictor_find("mine"));
        plugin->off = true;
        assert_null(mlg_policy_find("mine"));
        assert_null(strstr(mlg_policy_names(), "mine"));
        assert_ptr_equal(mlg_plugins_find(MLG_PLUGIN_POLICY, "mine"), plugin);
        assert_null(mlg_plugins_find(MLG_PLUGIN_PREDICTOR, "mine"));
        /* and no more than there is room for */
        for (size_t i = 1; i < MLG_PLUGINS_MAX; i++)
                assert_non_null(mlg_plugins_add("x", &watch));
        assert_null(mlg_plugins_add("x", &watch));
        mlg_plugins_clear();
        assert_null(mlg_plugins_at(0));
}

static void test_configuration_names_them(void **state) {
        static const struct {
                const char *text;
                bool good;
                const char *words;
        } rows[] = {
                { "[Host]\nPolicy=mine\n", true, NULL },
                { "[Host]\nPolicy=lost\n", true, NULL }, /* refused: no reason not to start */
                { "[Guest *]\nPredictor=lost\n", true, NULL },
                { "[Guest *]\nPredictor=mine\n", false, "Predictor" },
                { "[Host]\nPolicy=yours\n", false, "expected one of: proportional, " },
                { "[Host]\nPolicy=yours\n", false, ", mine" },
        };

        add_policy();
        mlg_plugin_refuse(mlg_plugins_add("lost", &watch), "test");
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(MlgConfig)
                        c = mlg_config_load_text("test", rows[i].text, strlen(rows[i].text), false, &error);

                if (!!c != rows[i].good)
                        fail_msg("%s: %s", rows[i].text, error ? error->message : "accepted");
                if (error && !strstr(error->message, rows[i].words))
                        fail_msg("\"%s\", expected: %s", error->message, rows[i].words);
        }
}

/* ---- supervision ---- */

typedef struct Room {
        MlgVmView vms[N];
        MlgStep steps[N + 1];
        void *priv;
} Room;

static void room_init(Room *r) {
        r->priv = mlg_priv_new(policy.priv_size);
        for (size_t i = 0; i < N; i++)
                r->vms[i] = (MlgVmView) { .priv = mlg_priv_new(policy.vm_priv_size),
                                         .movable = true,
                                         .maximum_kib = GIB,
                                         .floor_kib = GIB / 4,
                                         .ceiling_kib = GIB / 2 };
}

static void room_clear(Room *r) {
        g_free(r->priv);
        for (size_t i = 0; i < N; i++)
                g_free(r->vms[i].priv);
}

static int ask(Room *r) {
        MlgPlan plan = { .steps = r->steps, .n_steps = N };
        int answer;

        memset(r->steps, 0, sizeof(r->steps));
        answer = mlg_call_decide(&plugin->policy, r->priv, &(MlgHostView) { .budget_kib = GIB }, r->vms, N, &plan);
        assert_int_equal(running, 0);
        return answer;
}

static void test_policies_that_misbehave(void **state) {
        static const struct {
                const char *what;
                Fault fault;
                int r;
                uint64_t nsec;
                unsigned int off_after; /* calls; 0: never */
                const char *why;
                bool left_alone;
        } rows[] = {
                { .what = "fine", .nsec = 10 * MSEC },
                { "more than there is", TOO_MUCH, 0, 0, 3, "gave 1048577 KiB to a guest that has 262144 to 1048576",
                  false },
                { "less than the floor", TOO_LITTLE, 0, 0, 3, "gave 262143 KiB to a guest that has 262144", false },
                { .what = "above the ceiling: the guard's business", .fault = ABOVE_CEILING },
                { .what = "about a guest that is not asked for", .fault = TOO_MUCH, .left_alone = true },
                { "a reason of the guard's", ODD_REASON, 0, 0, 3, "as reason", false },
                { "an error", RETURNS, -EIO, 0, 3, "failed and returned -5", false },
                { "a number", RETURNS, 7, 0, 3, "failed and returned 7", false },
                { "behind the plan", BEHIND_PLAN, 0, 0, 1, "wrote behind the 3 steps of its plan", false },
                { "behind its state", BEHIND_STATE, 0, 0, 1, "wrote behind the 16 bytes of its state", false },
                { "behind that of a guest", BEHIND_GUEST, 0, 0, 1, "wrote behind the 8 bytes of its state", false },
                { "slow", NOTHING, 0, 10 * MSEC + 31000, 3, "took 10031 us of CPU time, and 10030 are allowed",
                  false },
                { "very slow", NOTHING, 0, 101 * MSEC, 1, "took 101000 us of CPU time", false },
                { "slow nonsense counts once", TOO_MUCH, 0, 11 * MSEC, 3, "gave", false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                unsigned int calls = 0;
                Room r = {};

                add_policy();
                room_init(&r);
                order.fault = rows[i].fault;
                order.r = rows[i].r;
                order.nsec = rows[i].nsec;
                r.vms[N - 1].movable = !rows[i].left_alone;
                while (calls < 10 && !plugin->off) {
                        /* what is only slow may be right */
                        assert_int_equal(ask(&r) == 0, rows[i].off_after == 0 || rows[i].fault == NOTHING);
                        calls++;
                }
                if (calls % 10 != rows[i].off_after || (rows[i].why && !strstr(plugin->why, rows[i].why)))
                        fail_msg("%s: off after %u calls, \"%s\"", rows[i].what, calls, plugin->why);
                assert_int_equal(mlg_policy_find("mine") == NULL, rows[i].off_after > 0);
                calls = order.calls;
                if (plugin->off)
                        assert_int_equal(ask(&r), -EBADMSG); /* and it is not called any more */
                assert_int_equal(order.calls, calls);
                room_clear(&r);
        }
}

static void test_predictors_that_misbehave(void **state) {
        static const struct {
                const char *what;
                Fault fault;
                int r;
                uint64_t nsec;
                bool in_observe;
                MlgForecast forecast;
                unsigned int off_after;
                const char *why;
        } rows[] = {
                { .what = "fine", .nsec = MSEC },
                { .what = "no history yet", .fault = NO_DATA },
                { .what = "much", .fault = FORECAST, .forecast = { 4 * GIB, 4 * GIB, 4 * GIB } },
                { "needs nothing", FORECAST, 0, 0, false, { 0, 0, 0 }, 3, "that it needs 0" },
                { "too much", FORECAST, 0, 0, false, { 4 * GIB + 1, 0, 0 }, 3, "that it needs 4194305" },
                { "too wrong", FORECAST, 0, 0, false, { GIB, UINT64_MAX, 0 }, 3, "more, and rarely" },
                { "rarely too much", FORECAST, 0, 0, false, { GIB, 0, 4 * GIB + 1 }, 3, "rarely more than 4194305" },
                { "an error", RETURNS, -EINVAL, 0, false, {}, 3, "returned -22, which is neither 0 nor -ENODATA" },
                { "a number", RETURNS, 1, 0, false, {}, 3, "returned 1" },
                { "slow",
                  NOTHING,
                  0,
                  MSEC + 1000,
                  false,
                  {},
                  3,
                  "predict() took 1001 us of CPU time, and 1000 are allowed" },
                { "slow to see", NOTHING, 0, 2 * MSEC, true, {}, 6, "observe() took 2000 us" },
                { "very slow", NOTHING, 0, 101 * MSEC, true, {}, 1, "observe() took 101000 us" },
                { "behind its state",
                  BEHIND_STATE,
                  0,
                  0,
                  true,
                  {},
                  1,
                  "observe() wrote behind the 8 bytes of its state" },
        };
        const MlgSample s = { .used_kib = GIB / 2 };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree void *priv = mlg_priv_new(predictor.priv_size);
                MlgForecast f;
                unsigned int calls = 0;

                add_predictor();
                order.fault = rows[i].fault;
                order.r = rows[i].r;
                order.nsec = rows[i].nsec;
                order.in_observe = rows[i].in_observe;
                order.forecast = rows[i].forecast;
                while (calls < 20 && !plugin->off) {
                        int r;

                        f = (MlgForecast) { .need_kib = 1 };
                        mlg_call_observe(&plugin->predictor, priv, &s, SIM_SEC);
                        r = mlg_call_predict(&plugin->predictor, priv, SIM_SEC, GIB, &f);
                        assert_true(r == 0 || (r == -ENODATA && f.need_kib == 1));
                        calls++;
                }
                /* observe() and predict() take turns: where one of them is bad it is every second call */
                if ((rows[i].off_after == 0) == plugin->off || (plugin->off && calls > 2 * rows[i].off_after) ||
                    (rows[i].why && !strstr(plugin->why, rows[i].why)))
                        fail_msg("%s: off after %u rounds, \"%s\"", rows[i].what, calls, plugin->why);
                calls = order.calls;
                if (plugin->off) {
                        mlg_call_observe(&plugin->predictor, priv, &s, SIM_SEC);
                        assert_int_equal(mlg_call_predict(&plugin->predictor, priv, SIM_SEC, GIB, &f), -ENODATA);
                }
                assert_int_equal(order.calls, calls);
        }
}

/* A slip now and then is forgiven. */
static void test_slips(void **state) {
        static const struct {
                unsigned int every;
                bool off;
        } rows[] = { { 1, true }, { 2, true }, { 50, true }, { 101, false }, { 1000, false } };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                Room r = {};

                add_policy();
                room_init(&r);
                for (unsigned int n = 1; n <= 20000; n++) {
                        order.fault = n % rows[i].every == 0 ? TOO_MUCH : NOTHING;
                        (void) ask(&r);
                }
                if (plugin->off != rows[i].off)
                        fail_msg("one in %u: %s", rows[i].every, plugin->off ? "off" : "on");
                room_clear(&r);
        }
}

/* Nobody measures, nobody notes: a simulator. */
static void test_no_watch(void **state) {
        Room r = {};

        add_policy();
        room_init(&r);
        plugin->watch = (MlgPluginWatch){};
        running = plugin->mark; /* as begin_call() expects it */
        order.nsec = 1000 * MSEC;
        for (int i = 0; i < 10; i++) {
                MlgPlan plan = { .steps = r.steps, .n_steps = N };

                assert_int_equal(mlg_call_decide(&plugin->policy, r.priv, &(MlgHostView){}, r.vms, N, &plan), 0);
        }
        running = 0;
        room_clear(&r);
}

/* ---- who stands in ---- */

static void test_default_policy_stands_in(void **state) {
        MlgHostStatus s = {};
        SimGuest *a;
        Rig *t;

        add_policy();
        t = rig_new(GIB, false);
        g_strlcpy(t->host.policy, "mine", sizeof(t->host.policy));
        mlg_engine_configure(t->e, &t->host);
        a = rig_add(t, GIB, 100 * SIM_MIB);
        (void) rig_add(t, GIB, 100 * SIM_MIB);
        run(t, 20); /* it wants all for everybody: the rig looks after the books meanwhile */
        mlg_engine_host_status(t->e, &s);
        assert_string_equal(s.policy, "mine");
        assert_true(mlg_engine_uses(t->e, plugin));
        assert_true(order.calls > 0);
        order.fault = BEHIND_GUEST;
        run(t, 5);
        assert_true(plugin->off);
        mlg_engine_host_status(t->e, &s);
        assert_string_equal(s.policy, "proportional");
        assert_false(mlg_engine_uses(t->e, plugin));
        run(t, 30);
        assert_in_range(mlg_engine_ledger(t->e)->charged_kib, 0, mlg_engine_ledger(t->e)->budget_kib + 16 * SIM_MIB);
        assert_true(moves_of(t, a) > 0);
        mlg_engine_configure(t->e, &t->host); /* a reload brings it not back */
        mlg_engine_host_status(t->e, &s);
        assert_string_equal(s.policy, "proportional");
        rig_free(t);
}

static void test_default_predictor_stands_in(void **state) {
        SimGuest *a;
        Rig *t;

        add_predictor();
        t = rig_new(4 * GIB, false);
        g_strlcpy(t->guest.predictor, "mine", sizeof(t->guest.predictor));
        a = rig_add(t, GIB, 100 * SIM_MIB);
        run(t, 10);
        assert_string_equal(vm_of(t, a)->predictor->name, "mine");
        assert_true(mlg_engine_uses(t->e, plugin));
        assert_int_equal(vm_of(t, a)->state, MLG_VM_MANAGED);
        order.nsec = 200 * MSEC;
        while (!plugin->off)
                turn(t);
        assert_string_equal(vm_of(t, a)->predictor->name, mlg_predictor_at(0)->name);
        assert_int_equal(vm_of(t, a)->state, MLG_VM_MANAGED); /* without a gap */
        assert_true(vm_of(t, a)->forecast.need_kib > 0);
        mlg_engine_rebooted(t->e, vm_of(t, a), t->now_usec);
        run(t, 10);
        assert_int_equal(vm_of(t, a)->state, MLG_VM_MANAGED);
        rig_free(t);
}

/* What is asked of others our own keep as well: else the limits are too narrow. */
static void run_own(const MlgPolicyOps *own_policy, const MlgPredictorOps *own_predictor) {
        MlgPredictorOps q = *own_predictor;
        MlgPolicyOps p = *own_policy;
        MlgPlugin *a, *b;
        SimGuest *g[6];
        Rig *t;

        mlg_plugins_clear();
        q.name = p.name = "outside";
        a = mlg_plugins_add("outside", &(MlgPluginWatch) {});
        assert_true(mlg_plugin_take_policy(a, &p));
        b = mlg_plugins_add("outside", &(MlgPluginWatch) {});
        assert_true(mlg_plugin_take_predictor(b, &q));
        t = rig_new(4 * GIB, false);
        g_strlcpy(t->host.policy, "outside", sizeof(t->host.policy));
        g_strlcpy(t->guest.predictor, "outside", sizeof(t->guest.predictor));
        mlg_engine_configure(t->e, &t->host);
        for (size_t i = 0; i < G_N_ELEMENTS(g); i++)
                g[i] = rig_add(t, GIB, 200 * SIM_MIB);
        for (size_t round = 0; round < 12; round++) {
                for (size_t i = 0; i < G_N_ELEMENTS(g); i++)
                        g[i]->demand_kib = (100 + (round * 7 + i * 5) % 10 * 80) * SIM_MIB;
                run(t, 10);
        }
        assert_true(mlg_engine_uses(t->e, a) && mlg_engine_uses(t->e, b));
        if (a->off || b->off || *a->why || *b->why)
                fail_msg("%s: %s, %s: %s", own_policy->name, a->why, own_predictor->name, b->why);
        rig_free(t);
        mlg_plugins_clear();
}

static void test_our_own_would_pass(void **state) {
        mlg_plugins_clear();
        for (size_t i = 0; mlg_policy_at(i); i++)
                run_own(mlg_policy_at(i), mlg_predictor_at(0));
        for (size_t i = 0; mlg_predictor_at(i); i++)
                run_own(mlg_policy_at(0), mlg_predictor_at(i));
}

/* ---- files ---- */

typedef struct Fixture {
        char *dir, *state;
        MlgPluginNotes *notes;
} Fixture;

static int setup(void **state) {
        Fixture *f = g_new0(Fixture, 1);

        f->dir = g_dir_make_tmp("memlego-plugins-XXXXXX", NULL);
        f->state = g_dir_make_tmp("memlego-state-XXXXXX", NULL);
        assert_true(f->dir && f->state);
        mlg_plugins_clear();
        *state = f;
        return 0;
}

static void empty_dir(const char *path) {
        GDir *d = g_dir_open(path, 0, NULL);
        const char *name;

        while (d && (name = g_dir_read_name(d))) {
                g_autofree char *file = g_build_filename(path, name, NULL);

                (void) g_remove(file);
        }
        if (d)
                g_dir_close(d);
}

static int teardown(void **state) {
        Fixture *f = *state;

        mlg_plugins_unload();
        f->notes = mlg_plugin_notes_free(f->notes);
        empty_dir(f->dir);
        empty_dir(f->state);
        (void) rmdir(f->dir);
        (void) rmdir(f->state);
        g_free(f->dir);
        g_free(f->state);
        g_free(f);
        return 0;
}

static char *built(const char *name) {
        return g_strdup_printf("%s/%s.so", g_getenv("MLG_TEST_PLUGINS"), name);
}

static void put(const Fixture *f, const char *file, const char *from, mode_t mode) {
        g_autofree char *path = g_build_filename(f->dir, file, NULL), *source = built(from), *text = NULL;
        size_t len;

        assert_true(g_file_get_contents(source, &text, &len, NULL));
        assert_true(g_file_set_contents(path, text, (gssize) len, NULL));
        assert_int_equal(chmod(path, mode), 0);
}

static void load(const Fixture *f) {
        const MlgPluginsOptions o = { .dir = f->dir, .owner = geteuid(), .notes = f->notes };
        g_autoptr(GError) error = NULL;

        mlg_plugins_unload();
        if (!mlg_plugins_load(&o, &error))
                fail_msg("%s", error->message);
}

static void test_files_are_loaded_in_order(void **state) {
        const Fixture *f = *state;
        g_autofree char *readme = g_build_filename(f->dir, "README", NULL);

        put(f, "twice-predictor.so", "twice-predictor", 0644);
        put(f, "most-policy.so", "most-policy", 0600);
        assert_true(g_file_set_contents(readme, "text", -1, NULL));
        load(f);
        assert_string_equal(mlg_plugins_at(0)->name, "most-policy");
        assert_string_equal(mlg_plugins_at(1)->name, "twice-predictor");
        assert_null(mlg_plugins_at(2));
        for (size_t i = 0; i < 2; i++)
                if (mlg_plugins_at(i)->off)
                        fail_msg("%s: %s", mlg_plugins_at(i)->name, mlg_plugins_at(i)->why);
        assert_non_null(mlg_policy_find("most-policy"));
        assert_non_null(mlg_predictor_find("twice-predictor"));
}

static void make_link(const char *path) {
        g_autofree char *to = built("most-policy");

        (void) unlink(path);
        assert_int_equal(symlink(to, path), 0);
}

static void make_text(const char *path) {
        assert_true(g_file_set_contents(path, "not an object\n", -1, NULL));
        assert_int_equal(chmod(path, 0644), 0);
}

static void make_fifo(const char *path) {
        (void) unlink(path);
        assert_int_equal(mkfifo(path, 0644), 0);
}

static void give_away(const char *path) {
        assert_int_equal(chown(path, 4711, (gid_t) -1), 0);
}

static void test_files_that_are_refused(void **state) {
        static const struct {
                const char *file, *from;
                mode_t mode;
                void (*make)(const char *path);
                const char *why;
                bool root; /* only root can make it */
        } rows[] = {
                { "most-policy.so", "most-policy", 0664, NULL,
                  "can be written to by others than its owner: chmod go-w", false },
                { "most-policy.so", "most-policy", 0646, NULL, "can be written to by others", false },
                { "most-policy.so", "most-policy", 0644, give_away, "does not belong to root: chown root ", true },
                { "most-policy.so", "most-policy", 0644, make_link, "no regular file", false },
                { "most-policy.so", "most-policy", 0644, make_fifo, "no regular file", false },
                { "most-policy.so", "most-policy", 0644, make_text, "it cannot be loaded: ", false },
                { "other.so", "most-policy", 0644, NULL, "the name in it is \"most-policy\", expected \"other\"",
                  false },
                { "odd-name.so", "odd-name", 0644, NULL, "the name in it is \"another-name\", expected \"odd-name\"",
                  false },
                { "Most.so", "most-policy", 0644, NULL, "its name is not one: expected a-z", false },
                { ".so", "most-policy", 0644, NULL, "its name is not one", false },
                { "both.so", "both", 0644, NULL, "both memlego_predictor and memlego_policy", false },
                { "no-symbol.so", "no-symbol", 0644, NULL, "no symbol memlego_predictor or memlego_policy", false },
                { "old-abi.so", "old-abi", 0644, NULL, "its abi is 2, and that of this memlegod is 1", false },
                { "unresolved.so", "unresolved", 0644, NULL, "mlg_reason_to_string", false },
        };

        const Fixture *f = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *path = g_build_filename(f->dir, rows[i].file, NULL);

                if (rows[i].root && geteuid() != 0)
                        continue;
                empty_dir(f->dir);
                put(f, rows[i].file, rows[i].from, rows[i].mode);
                if (rows[i].make)
                        rows[i].make(path);
                load(f);
                assert_non_null(mlg_plugins_at(0));
                assert_null(mlg_plugins_at(1));
                if (!mlg_plugins_at(0)->refused || !strstr(mlg_plugins_at(0)->why, rows[i].why))
                        fail_msg("%s: \"%s\", expected: %s", rows[i].file, mlg_plugins_at(0)->why, rows[i].why);
                assert_null(mlg_policy_find("most-policy"));
        }
}

static void test_directories(void **state) {
        const Fixture *f = *state;
        g_autofree char *path = g_build_filename(f->dir, "most-policy.so", NULL);
        g_autofree char *none = g_build_filename(f->dir, "none", NULL);
        g_autoptr(GError) error = NULL;

        put(f, "most-policy.so", "most-policy", 0644);
        /* none there, and none that can be one */
        assert_true(mlg_plugins_load(&(MlgPluginsOptions) { .dir = none }, &error));
        assert_null(mlg_plugins_at(0));
        assert_false(mlg_plugins_load(&(MlgPluginsOptions) { .dir = path }, &error));
        assert_non_null(strstr(error->message, path));
        /* where others could put something in */
        assert_int_equal(chmod(f->dir, 0777), 0);
        load(f);
        assert_true(mlg_plugins_at(0)->refused);
        assert_non_null(strstr(mlg_plugins_at(0)->why, "its directory can be written to by others"));
        assert_non_null(mlg_plugins_find(MLG_PLUGIN_POLICY, "most-policy")); /* Policy=most-policy is no mistake */
        assert_int_equal(chmod(f->dir, 0755), 0);
        load(f);
        assert_false(mlg_plugins_at(0)->refused);
}

static void test_too_many(void **state) {
        const Fixture *f = *state;
        g_autoptr(GError) error = NULL;

        for (int i = 0; i <= MLG_PLUGINS_MAX; i++) {
                g_autofree char *name = g_strdup_printf("p%02d.so", i);

                put(f, name, "no-symbol", 0644);
        }
        assert_false(mlg_plugins_load(&(MlgPluginsOptions) { .dir = f->dir, .owner = geteuid() }, &error));
        assert_non_null(strstr(error->message, "p32.so and what follows it is not loaded: there may be 32"));
        assert_string_equal(mlg_plugins_at(31)->name, "p31");
}

/* ---- notes ---- */

/* memlegod ends: where, `mark` says. */
static void end_inside(Fixture *f, uint32_t mark) {
        *mlg_plugin_notes_word(f->notes) = mark;
        f->notes = mlg_plugin_notes_free(f->notes);
}

static void start_again(Fixture *f, const char *boot_id) {
        assert_int_equal(mlg_plugin_notes_open(f->state, boot_id, &f->notes), 0);
        load(f);
}

static bool is_left_out(const char *name) {
        const MlgPlugin *p = mlg_plugins_find(MLG_PLUGIN_POLICY, name);

        assert_non_null(p);
        if (p->refused && !strstr(p->why, "memlegod ended while it ran. Replace the file, or remove "))
                fail_msg("%s: %s", name, p->why);
        return p->refused;
}

static void test_one_that_took_us_along(void **state) {
        Fixture *f = *state;
        g_autofree char *path = g_build_filename(f->dir, "most-policy.so", NULL);
        g_autofree char *note = g_build_filename(f->state, "most-policy.so.crashed", NULL);

        put(f, "most-policy.so", "most-policy", 0644);
        put(f, "old-abi.so", "old-abi", 0644);
        start_again(f, "boot-1");
        assert_false(is_left_out("most-policy"));
        end_inside(f, 0); /* between calls */
        start_again(f, "boot-1");
        assert_false(is_left_out("most-policy"));
        end_inside(f, 1);
        start_again(f, "boot-1");
        assert_true(is_left_out("most-policy"));
        assert_true(mlg_plugins_at(1)->refused && strstr(mlg_plugins_at(1)->why, "abi")); /* the other is as before */
        end_inside(f, 0);
        f->notes = mlg_plugin_notes_look(f->state); /* of who only checks a configuration */
        load(f);
        assert_true(is_left_out("most-policy"));
        assert_null(mlg_plugin_notes_word(f->notes));
        f->notes = mlg_plugin_notes_free(f->notes);
        start_again(f, "boot-2"); /* it stays out, whatever happens meanwhile ... */
        assert_true(is_left_out("most-policy"));
        assert_int_equal(unlink(note), 0); /* ... until somebody says it is well again */
        end_inside(f, 0);
        start_again(f, "boot-2");
        assert_false(is_left_out("most-policy"));
        end_inside(f, 1); /* it was not */
        start_again(f, "boot-2");
        assert_true(is_left_out("most-policy"));
        assert_int_equal(utime(path, &(struct utimbuf) { 1, 1 }), 0); /* or until it is another file */
        end_inside(f, 0);
        start_again(f, "boot-2");
        assert_false(is_left_out("most-policy"));
        assert_int_not_equal(access(note, F_OK), 0);
        end_inside(f, 1); /* the host went down with it: nobody knows */
        start_again(f, "boot-3");
        assert_false(is_left_out("most-policy"));
}

/* Whatever is in the files is not believed. */
static void test_notes_that_are_none(void **state) {
        Fixture *f = *state;
        g_autofree char *page = g_build_filename(f->state, "plugins.running", NULL);
        g_autofree char *note = g_build_filename(f->state, "most-policy.so.crashed", NULL);
        g_autofree char *garbage = g_strnfill(100000, 'x');

        put(f, "most-policy.so", "most-policy", 0644);
        assert_true(g_file_set_contents(page, garbage, 100000, NULL));
        start_again(f, "boot-1");
        assert_false(is_left_out("most-policy"));
        end_inside(f, UINT32_MAX);
        start_again(f, "boot-1");
        assert_false(is_left_out("most-policy"));
        end_inside(f, 2); /* nothing has this mark */
        start_again(f, "boot-1");
        assert_false(is_left_out("most-policy"));
        end_inside(f, 0);
        assert_true(g_file_set_contents(note, "by hand\n", -1, NULL)); /* somebody wants it out */
        start_again(f, "boot-1");
        assert_true(is_left_out("most-policy"));
        end_inside(f, 0);
        assert_int_equal(mlg_plugin_notes_open("/nonexistent", "boot-1", &f->notes), -ENOENT);
        assert_null(f->notes);
}

#define WITH_FILES(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_policies_are_refused),
                cmocka_unit_test(test_what_predictors_are_refused),
                cmocka_unit_test(test_older_tables),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_registries),
                cmocka_unit_test(test_configuration_names_them),
                cmocka_unit_test(test_policies_that_misbehave),
                cmocka_unit_test(test_predictors_that_misbehave),
                cmocka_unit_test(test_slips),
                cmocka_unit_test(test_no_watch),
                cmocka_unit_test(test_default_policy_stands_in),
                cmocka_unit_test(test_default_predictor_stands_in),
                cmocka_unit_test(test_our_own_would_pass),
                WITH_FILES(test_files_are_loaded_in_order),
                WITH_FILES(test_files_that_are_refused),
                WITH_FILES(test_directories),
                WITH_FILES(test_too_many),
                WITH_FILES(test_one_that_took_us_along),
                WITH_FILES(test_notes_that_are_none),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
