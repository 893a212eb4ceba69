/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Supervise: see supervise.h. */
#include "core/supervise.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/plugins.h"
#include "util/util.h"

#define NSEC_PER_USEC UINT64_C(1000)
#define NSEC_PER_MSEC UINT64_C(1000000)

/* CPU time that a call may take. Ours decide about 1,000 guests in 1 ms, and observe in a few microseconds:
 * this is slow, but the 100 ms between two looks at a guest that moves still suffice for it. */
#define DECIDE_NSEC (10 * NSEC_PER_MSEC)
#define DECIDE_PER_GUEST_NSEC (10 * NSEC_PER_USEC)
#define PREDICTOR_NSEC NSEC_PER_MSEC
/* One such call is enough. */
#define FAR_TOO_LONG_NSEC (100 * NSEC_PER_MSEC)

/* A bad call adds BAD, a good one takes one off again. So three in a row are too many, and so is more than
 * one in a hundred, for long; but not a slip once a day. */
#define BAD 100
#define TOO_BAD 300

/* A forecast that is larger than its guest is cut to size; one of so many guests is nonsense. */
#define NONSENSE_MAXIMA 4

/* Behind each state: nothing that a loop writes by mistake, and enough of it for two words. */
#define GUARD UINT64_C(0x5afe9e4d0fa11e97)
#define GUARD_SIZE (2 * sizeof(uint64_t))
static const MlgStep guard_step = { .target_kib = GUARD, .reason = MLG_REASON_NONE };

/* ---- memory ---- */

static void set_guard(void *priv, size_t size) {
        static const uint64_t guard[] = { GUARD, ~GUARD };

        memcpy((char *) priv + size, guard, GUARD_SIZE); /* size may be odd */
}

static bool is_whole(const void *priv, size_t size) {
        static const uint64_t guard[] = { GUARD, ~GUARD };

        return !priv || memcmp((const char *) priv + size, guard, GUARD_SIZE) == 0;
}

void *mlg_priv_new(size_t size) {
        void *priv = g_malloc0(size + GUARD_SIZE);

        set_guard(priv, size);
        return priv;
}

/* ---- judging ---- */

static void wrong_call(MlgPlugin *p, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void wrong_call(MlgPlugin *p, const char *format, ...) {
        va_list ap;

        p->wrong = true;
        if (p->off)
                return; /* the first reason is the one to tell */
        va_start(ap, format);
        (void) g_vsnprintf(p->why, sizeof(p->why), format, ap);
        va_end(ap);
}

static uint64_t enter(MlgPlugin *p) {
        p->slow = p->wrong = false;
        if (p->watch.running)
                *p->watch.running = p->mark;
        return p->watch.cpu_nsec ? p->watch.cpu_nsec() : 0;
}

/* What it says may be right although it took too long to say it. */
static void leave(MlgPlugin *p, const char *function, uint64_t start_nsec, uint64_t allowed_nsec) {
        uint64_t took = p->watch.cpu_nsec ? p->watch.cpu_nsec() - start_nsec : 0;

        if (p->watch.running)
                *p->watch.running = 0;
        if (took <= allowed_nsec)
                return;
        (void) g_snprintf(p->why, sizeof(p->why),
                          "%s() took %" PRIu64 " us of CPU time, and %" PRIu64 " are allowed", function,
                          took / NSEC_PER_USEC, allowed_nsec / NSEC_PER_USEC);
        p->slow = true;
        p->off = took > FAR_TOO_LONG_NSEC;
}

/* All that is wrong with a call counts once. */
static void settle(MlgPlugin *p) {
        if (p->slow || p->wrong)
                p->badness += BAD;
        else if (p->badness > 0)
                p->badness--;
        p->off = p->off || p->badness >= TOO_BAD;
}

static bool check_state(MlgPlugin *p, const char *function, const void *priv, size_t size) {
        if (is_whole(priv, size))
                return true;
        wrong_call(p, "%s() wrote behind the %zu bytes of its state", function, size);
        p->off = true; /* what else did it write to? */
        return false;
}

/* ---- predictors ---- */

static void leave_predictor(MlgPlugin *p, const char *function, uint64_t start_nsec, const void *priv) {
        leave(p, function, start_nsec, PREDICTOR_NSEC);
        (void) check_state(p, function, priv, p->predictor.priv_size);
}

/* Calls a function without a result, whoever's it is; one of a plug-in that is off is left out. `arguments`
 * with their parentheses. */
#define SUPERVISED(ops, priv, function, arguments) \
        do { \
                MlgPlugin *p = mlg_plugin_of_predictor(ops); \
                uint64_t start; \
\
                if (p && p->off) \
                        break; \
                start = p ? enter(p) : 0; \
                (ops)->function arguments; \
                if (p) { \
                        leave_predictor(p, #function, start, priv); \
                        settle(p); \
                } \
        } while (0)

void mlg_call_observe(const MlgPredictorOps *ops, void *priv, const MlgSample *s, uint64_t horizon_usec) {
        SUPERVISED(ops, priv, observe, (priv, s, horizon_usec));
}

void mlg_call_reflect(const MlgPredictorOps *ops, void *priv, const MlgForecast *was, uint64_t actual_kib) {
        if (ops->reflect)
                SUPERVISED(ops, priv, reflect, (priv, was, actual_kib));
}

void mlg_call_restarted(const MlgPredictorOps *ops, void *priv) {
        if (ops->restarted)
                SUPERVISED(ops, priv, restarted, (priv));
        else
                memset(priv, 0, ops->priv_size);
}

void mlg_call_resumed(const MlgPredictorOps *ops, void *priv, uint64_t at_usec) {
        if (ops->resumed)
                SUPERVISED(ops, priv, resumed, (priv, at_usec));
}

static void check_forecast(MlgPlugin *p, const MlgForecast *f, uint64_t maximum_kib) {
        uint64_t most = mlg_mul_div(maximum_kib, NONSENSE_MAXIMA, 1);

        if (f->need_kib == 0 || f->need_kib > most || f->error_kib > most || f->upper_kib > most)
                wrong_call(p,
                         "predict() said of a guest with at most %" PRIu64 " KiB that it needs %" PRIu64
                         ", or %" PRIu64 " more, and rarely more than %" PRIu64,
                         maximum_kib, f->need_kib, f->error_kib, f->upper_kib);
}

static int predict(MlgPlugin *p, const void *priv, uint64_t horizon_usec, uint64_t maximum_kib,
                   MlgForecast *ret) {
        uint64_t start = enter(p);
        MlgForecast f = {};
        int r = p->predictor.predict(priv, horizon_usec, &f);

        leave_predictor(p, "predict", start, priv);
        if (r != 0 && r != -ENODATA)
                wrong_call(p, "predict() returned %d, which is neither 0 nor -ENODATA", r);
        else if (r == 0)
                check_forecast(p, &f, maximum_kib);
        settle(p);
        if (r != 0 || p->wrong)
                return -ENODATA;
        *ret = f;
        return 0;
}

int mlg_call_predict(const MlgPredictorOps *ops, const void *priv, uint64_t horizon_usec,
                     uint64_t maximum_kib, MlgForecast *ret) {
        MlgPlugin *p = mlg_plugin_of_predictor(ops);

        if (!p)
                return ops->predict(priv, horizon_usec, ret);
        return p->off ? -ENODATA : predict(p, priv, horizon_usec, maximum_kib, ret);
}

const char *mlg_call_follows(const MlgPredictorOps *ops, const void *priv) {
        MlgPlugin *p = mlg_plugin_of_predictor(ops);
        const char *name;
        uint64_t start;

        if (!ops->follows || (p && p->off))
                return NULL;
        start = p ? enter(p) : 0;
        name = ops->follows(priv);
        if (!p)
                return name;
        leave_predictor(p, "follows", start, priv);
        if (name && !mlg_plugin_name_is_good(name))
                wrong_call(p, "follows() did not return the name of a predictor");
        settle(p);
        return p->wrong ? NULL : name;
}

bool mlg_predictor_is_off(const MlgPredictorOps *ops) {
        const MlgPlugin *p = mlg_plugin_of_predictor(ops);

        return p && p->off;
}

/* ---- policies ---- */

static bool check_states(MlgPlugin *p, const void *priv, const MlgVmView *vms, size_t n) {
        bool whole = check_state(p, "decide", priv, p->policy.priv_size);

        for (size_t i = 0; i < n && whole; i++)
                whole = check_state(p, "decide", vms[i].priv, p->policy.vm_priv_size);
        return whole;
}

/* Rates, dead bands and ceilings are the guard's business. This is what no policy can mean. */
static void check_step(MlgPlugin *p, const MlgVmView *vm, const MlgStep *s) {
        if (!vm->movable || s->target_kib == 0)
                return;
        if (s->target_kib < vm->floor_kib || s->target_kib > vm->maximum_kib)
                wrong_call(p, "decide() gave %" PRIu64 " KiB to a guest that has %" PRIu64 " to %" PRIu64,
                         s->target_kib, vm->floor_kib, vm->maximum_kib);
        else if ((unsigned int) s->reason > MLG_REASON_POLICY_LAST)
                wrong_call(p, "decide() gave %u as reason, and %d is the last that a policy may give",
                         (unsigned int) s->reason, MLG_REASON_POLICY_LAST);
}

static void check_plan(MlgPlugin *p, const MlgVmView *vms, size_t n, const MlgStep *steps) {
        if (steps[n].target_kib != guard_step.target_kib || steps[n].reason != guard_step.reason) {
                wrong_call(p, "decide() wrote behind the %zu steps of its plan", n);
                p->off = true;
                return;
        }
        for (size_t i = 0; i < n; i++)
                check_step(p, &vms[i], &steps[i]);
}

static int decide(MlgPlugin *p, void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n,
                  MlgPlan *plan) {
        MlgPlan own = *plan; /* it may write to it */
        uint64_t start;
        int r;

        plan->steps[n] = guard_step;
        start = enter(p);
        r = p->policy.decide(priv, host, vms, n, &own);
        leave(p, "decide", start, DECIDE_NSEC + n * DECIDE_PER_GUEST_NSEC);
        if (check_states(p, priv, vms, n))
                check_plan(p, vms, n, plan->steps);
        if (r != 0)
                wrong_call(p, "decide() failed and returned %d", r);
        settle(p);
        plan->shortage_kib = own.shortage_kib;
        return p->wrong ? -EBADMSG : 0;
}

int mlg_call_decide(const MlgPolicyOps *ops, void *priv, const MlgHostView *host, const MlgVmView *vms,
                    size_t n, MlgPlan *plan) {
        MlgPlugin *p = mlg_plugin_of_policy(ops);

        if (!p)
                return ops->decide(priv, host, vms, n, plan);
        return p->off ? -EBADMSG : decide(p, priv, host, vms, n, plan);
}

bool mlg_policy_is_off(const MlgPolicyOps *ops) {
        const MlgPlugin *p = mlg_plugin_of_policy(ops);

        return p && p->off;
}
