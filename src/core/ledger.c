/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ledger: see ledger.h for the invariant. */
#include "core/ledger.h"

#include <assert.h>

#include "util/util.h"

void mlg_ledger_book(MlgLedger *l, uint64_t *charge_kib, uint64_t to_kib) {
        assert(l->charged_kib >= *charge_kib);
        l->charged_kib = l->charged_kib - *charge_kib + to_kib;
        *charge_kib = to_kib;
}

uint64_t mlg_ledger_grant(MlgLedger *l, uint64_t *charge_kib, uint64_t to_kib) {
        uint64_t more = mlg_min(mlg_sub_sat(to_kib, *charge_kib), mlg_ledger_free_kib(l));

        mlg_ledger_book(l, charge_kib, *charge_kib + more);
        return *charge_kib;
}

uint64_t mlg_ledger_free_kib(const MlgLedger *l) {
        return mlg_sub_sat(l->budget_kib, mlg_add_sat(l->charged_kib, l->reserved_kib));
}

uint64_t mlg_ledger_overrun_kib(const MlgLedger *l) {
        return mlg_sub_sat(mlg_add_sat(l->charged_kib, l->reserved_kib), l->budget_kib);
}
