/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Engine: donors by turns.
 *
 * A policy spreads what somebody who suffers lacks over all that can spare something: of a thousand guests a little each, and
 * each is a call, and work for a guest. So of the shrinks that are small, and would not be made but for that, only
 * as many are made as are needed, by turns: who gave is nearer to what the policy wants of it than who did not.
 *
 * Where books are overrun, a reservation waits or the host is short nobody is spared. */
#include "core/engine-private.h"

#include "core/guard.h"
#include "util/util.h"

/* Comes without anybody being told. */
static uint64_t on_its_way_kib(const MlgVm *vm) {
        return mlg_sub_sat(vm->charge_kib, vm->pending_kib ? vm->pending_kib : vm->target_kib);
}

static uint64_t gives_kib(const MlgVm *vm, const Guarded *g) {
        return g->rank == RANK_SHRINK ? mlg_sub_sat(vm->target_kib, g->step.target_kib) : 0;
}

static bool is_small(const MlgEngine *e, guint i, uint64_t now_usec) {
        const MlgVm *vm = e->vms->pdata[i];
        uint64_t gives = gives_kib(vm, &e->guarded[i]);
        MlgGuardInput in;

        if (gives == 0 || e->guarded[i].step.reason == MLG_REASON_MANUAL)
                return false; /* most guests: those are spared the rest */
        in = mlg_engine_guard_input(e, vm, now_usec);
        return gives < mlg_guard_dead_band_kib(&in);
}

/* What is still lacking when all has come that comes anyway. */
static uint64_t lacking_kib(const MlgEngine *e, uint64_t now_usec) {
        uint64_t comes = mlg_ledger_free_kib(&e->ledger);

        for (guint i = 0; i < e->vms->len; i++) {
                const MlgVm *vm = e->vms->pdata[i];

                comes += on_its_way_kib(vm);
                if (!is_small(e, i, now_usec))
                        comes += gives_kib(vm, &e->guarded[i]);
        }
        return mlg_sub_sat(e->asked_kib, comes);
}

void mlg_engine_spare_donors(MlgEngine *e, uint64_t now_usec) {
        guint n = e->vms->len, first = n > 0 ? e->next_donor % n : 0;
        uint64_t lacking;

        if (!e->urgent || e->host_short || mlg_engine_is_overrun(e) || mlg_reservations_wait(e))
                return;
        lacking = lacking_kib(e, now_usec);
        for (guint k = 0; k < n; k++) {
                guint i = (first + k) % n;
                const MlgVm *vm = e->vms->pdata[i];

                if (!is_small(e, i, now_usec))
                        continue;
                if (lacking == 0) {
                        e->guarded[i].step = (MlgStep) { vm->target_kib, MLG_REASON_SETTLED };
                        continue;
                }
                lacking = mlg_sub_sat(lacking, gives_kib(vm, &e->guarded[i]));
                e->next_donor = i + 1;
        }
}
