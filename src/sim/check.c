/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Check: see check.h for what is checked. */
#include "sim/check.h"

#include <inttypes.h>

#include "core/guard.h"
#include "policies/registry.h"
#include "util/util.h"

/* What a guest may be cut by at once, of what its rate gives in a second: the guard lets two seconds' worth pile up. */
#define RATE_WINDOW_SEC 2

/* What allows more than usually. */
typedef struct SimHostState {
        bool is_short, policy_probes;
} SimHostState;

static void violated(SimCheck *c, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void violated(SimCheck *c, const char *format, ...) {
        va_list ap;

        if (c->n_violations++ > 0)
                return;
        va_start(ap, format);
        (void) g_vsnprintf(c->first, sizeof(c->first), format, ap);
        va_end(ap);
}

static void check_books(SimCheck *c, const MlgEngine *e) {
        const MlgLedger *l = mlg_engine_ledger(e);
        uint64_t charged = 0;

        for (size_t i = 0; i < mlg_engine_n_guests(e); i++) {
                const MlgVm *vm = mlg_engine_guest_at(e, i);

                if (vm->charge_kib != mlg_vm_due_kib(vm))
                        violated(c, "%s is charged %" PRIu64 " KiB, due are %" PRIu64, vm->name,
                                 vm->charge_kib, mlg_vm_due_kib(vm));
                charged += vm->charge_kib;
        }
        if (charged != l->charged_kib)
                violated(c, "%" PRIu64 " KiB are charged, the ledger says %" PRIu64, charged,
                         l->charged_kib);
}

static void check_grants(SimCheck *c, const MlgEngine *e, const MlgMove *moves, size_t n) {
        const MlgLedger *l = mlg_engine_ledger(e);
        uint64_t granted = 0;

        for (size_t i = 0; i < n; i++) {
                const MlgVm *vm = moves[i].vm;

                granted += mlg_sub_sat(vm->pending_kib,
                                       mlg_max(mlg_max(vm->actual_kib, vm->target_kib), vm->unsure_kib));
        }
        if (granted > 0 && l->charged_kib + l->reserved_kib > l->budget_kib)
                violated(c,
                         "%" PRIu64 " KiB were granted: %" PRIu64 " charged and %" PRIu64
                         " reserved of %" PRIu64,
                         granted, l->charged_kib, l->reserved_kib, l->budget_kib);
}

/* NULL: it may be shrunk. A policy that probes looks for what guests lack, and finds it by taking. */
static const char *suffering(const MlgVm *vm, bool probes, uint64_t now_usec) {
        uint64_t since = probes ? vm->lacked_usec : vm->suffered_usec;

        if (vm->pressure != MLG_PRESSURE_NONE && !(probes && !vm->lacks))
                return "although it suffers";
        if (since > 0 && now_usec - since < vm->settings.cool_down_usec)
                return "within its cool-down";
        return NULL;
}

static void check_shrink(SimCheck *c, const MlgMove *m, const SimHostState *host, uint64_t now_usec) {
        const MlgVm *vm = m->vm;
        uint64_t rate = mlg_max(vm->settings.urgent_permille, vm->settings.shrink_permille);
        uint64_t band = mlg_max(MLG_LEAST_STEP_KIB,
                                mlg_mul_div(vm->maximum_kib, vm->settings.dead_band_permille, 1000));
        uint64_t most = mlg_max(band, mlg_mul_div(vm->maximum_kib, RATE_WINDOW_SEC * rate, 1000));
        const char *wrong = host->is_short ? NULL : suffering(vm, host->policy_probes, now_usec);

        if (m->to_kib < vm->floor_kib)
                wrong = "below its floor";
        else if (vm->state != MLG_VM_MANAGED)
                wrong = "although it is not managed";
        else if (vm->sampler.last.trust != MLG_TRUST_FRESH)
                wrong = "although its report is not fresh";
        else if (m->from_kib - m->to_kib > most)
                wrong = "faster than its rate";
        if (wrong)
                violated(c, "%s was shrunk from %" PRIu64 " to %" PRIu64 " KiB %s", vm->name, m->from_kib,
                         m->to_kib, wrong);
}

static void check_move(SimCheck *c, const MlgMove *m, const SimHostState *host, uint64_t now_usec) {
        const MlgVm *vm = m->vm;

        if (vm->pending_kib != m->to_kib)
                violated(c, "%s: %" PRIu64 " KiB asked for, %" PRIu64 " in the books", vm->name, m->to_kib,
                         vm->pending_kib);
        if (m->why == MLG_REASON_STUCK) {
                if (m->to_kib != vm->actual_kib)
                        violated(c, "%s is stuck at %" PRIu64 " KiB, and told %" PRIu64, vm->name,
                                 vm->actual_kib, m->to_kib);
        } else if (m->to_kib < m->from_kib)
                check_shrink(c, m, host, now_usec);
        else if (m->to_kib > vm->ceiling_kib)
                violated(c, "%s was grown to %" PRIu64 " KiB, above its ceiling", vm->name, m->to_kib);
}

void sim_check(SimCheck *c, const MlgEngine *e, const MlgRawHost *raw, const MlgHostSettings *host,
               const MlgMove *moves, size_t n_moves, uint64_t now_usec) {
        const MlgPolicyOps *policy = mlg_policy_find(host->policy);
        SimHostState state = {
                .is_short = raw->available_kib < mlg_amount_resolve(host->reserve, raw->total_kib) ||
                            raw->available_kib < raw->total_kib / 100,
                .policy_probes = policy && policy->probes,
        };

        check_books(c, e);
        check_grants(c, e, moves, n_moves);
        for (size_t i = 0; i < n_moves; i++) {
                check_move(c, &moves[i], &state, now_usec);
                for (size_t k = 0; k < i && n_moves < 64; k++) /* with more moves the books would show it */
                        if (moves[k].vm == moves[i].vm)
                                violated(c, "%s was moved twice at a time", moves[i].vm->name);
        }
}
