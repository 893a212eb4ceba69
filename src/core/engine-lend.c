/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Engine lend: how much of the host's idle memory guests may be lent to swap into (MemFlex).
 *
 * Idle is what nobody needs: it comes before the surplus that a policy would spread over guests, and behind
 * everything else. So a turn has two looks at it:
 *      claim     before the policy is asked; its plan leaves it alone:
 *                budget - reserved - pipes - sum of what guests want, where one that suffers may want up to its ceiling
 *      target    after its moves: min(claim, what is there but for them):
 *                budget - reserved - charged but for what is lent - grows that wait, or would come next
 * Lent is never more than the target, at the moment of lending. What is lent beyond it is called back, and
 * until it has come back it is charged: so a grow waits for it as for a shrink. */
#include "core/engine-private.h"
#include "util/util.h"

/* Of the budget this part is kept free: the first grow finds it at once, while what is lent is called
 * back. */
#define HEADROOM_PART 32
/* The budget trembles, and so do needs: half of that is no reason to call anything back. */
#define TREMBLE_PART 64

static uint64_t must_have_kib(const MlgVm *vm, uint64_t now_usec) {
        if (mlg_vm_is_manual(vm, now_usec))
                return mlg_max(vm->charge_kib, vm->manual_kib);
        if (mlg_engine_is_movable(vm, now_usec) && vm->pressure != MLG_PRESSURE_NONE)
                return mlg_max(vm->charge_kib, vm->ceiling_kib);
        return mlg_engine_wanted_kib(vm, now_usec);
}

uint64_t mlg_engine_claim_lent(MlgEngine *e, uint64_t now_usec) {
        uint64_t others = mlg_add_sat(e->ledger.reserved_kib, e->pipes_kib), room, most, enough;

        if (e->lend_wish_kib == 0)
                return e->lend_claim_kib = 0; /* on most hosts nobody is asked */
        for (guint i = 0; i < e->vms->len; i++)
                others = mlg_add_sat(others, must_have_kib(e->vms->pdata[i], now_usec));
        room = e->host_short ? 0 : mlg_sub_sat(e->ledger.budget_kib, others);
        most = mlg_min(e->lend_wish_kib, mlg_sub_sat(room, e->ledger.budget_kib / TREMBLE_PART));
        enough = mlg_min(e->lend_wish_kib, mlg_sub_sat(room, e->ledger.budget_kib / HEADROOM_PART));
        if (e->lend_claim_kib < enough || e->lend_claim_kib > most)
                e->lend_claim_kib = enough;
        return e->lend_claim_kib;
}

/* What guests are still to get. */
static uint64_t grows_kib(const MlgEngine *e) {
        uint64_t sum = 0;

        for (guint i = 0; i < e->vms->len; i++) {
                const MlgVm *vm = e->vms->pdata[i];
                uint64_t to = vm->asks ? e->guarded[i].step.target_kib : e->wishes[i].target_kib;

                sum = mlg_add_sat(sum, mlg_sub_sat(to, vm->charge_kib));
        }
        return sum;
}

void mlg_engine_limit_lent(MlgEngine *e) {
        uint64_t others = mlg_add_sat(e->ledger.reserved_kib, e->ledger.charged_kib - e->lent_kib);
        uint64_t was = e->lend_target_kib, room;
        bool trembles;

        if (e->lend_claim_kib == 0) {
                e->lend_target_kib = 0;
                return;
        }
        room = mlg_sub_sat(e->ledger.budget_kib, mlg_add_sat(others, grows_kib(e)));
        trembles = was > room && was <= mlg_add_sat(room, e->ledger.budget_kib / TREMBLE_PART);
        e->lend_target_kib = mlg_min(e->lend_claim_kib, trembles ? was : room);
}

void mlg_engine_wish_lent(MlgEngine *e, uint64_t kib) {
        e->lend_wish_kib = kib;
}

uint64_t mlg_engine_lend_target_kib(const MlgEngine *e) {
        return e->lend_target_kib;
}

uint64_t mlg_engine_lend(MlgEngine *e, uint64_t *charge_kib, uint64_t to_kib) {
        uint64_t before = *charge_kib, most = before + mlg_sub_sat(e->lend_target_kib, e->lent_kib);

        if (mlg_engine_is_overrun(e) || e->host_short)
                return before;
        e->lent_kib += mlg_ledger_grant(&e->ledger, charge_kib, mlg_min(to_kib, most)) - before;
        return *charge_kib;
}

void mlg_engine_book_lent(MlgEngine *e, uint64_t *charge_kib, uint64_t to_kib) {
        e->lent_kib = e->lent_kib - *charge_kib + to_kib;
        mlg_ledger_book(&e->ledger, charge_kib, to_kib);
}
