/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ledger: the host's memory, each byte in exactly one account.
 *
 * Accounts today: the host's own reserve (taken off before: the budget is what is left), the guests'
 * charges, those of memory that guests share (pipes) and of memory that they are lent (swap), the
 * reservations, and free. A guest is charged what it has or was promised, whichever is more: a
 * shrink frees its bytes only as the balloon confirms them, a grow takes them before it is asked for. So,
 * once the books are even,
 *
 *      charged + reserved <= budget    at every instant.
 *
 * They can become uneven from outside only (the host's own use grew, a guest started, a balloon deflated by
 * itself): then free is 0, overrun says by how much, and grants are refused until shrinks have paid for it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct MlgLedger {
        uint64_t budget_kib;
        uint64_t charged_kib;
        uint64_t reserved_kib;
} MlgLedger;

/* Moves one account's charge from `*charge_kib` to `to_kib`, unconditionally: facts are booked, not asked. */
void mlg_ledger_book(MlgLedger *l, uint64_t *charge_kib, uint64_t to_kib);

/* Raises a charge to `to_kib` if there is room, or as far as there is (never below what it was). Returns the
 * new charge. Grows go this way. */
uint64_t mlg_ledger_grant(MlgLedger *l, uint64_t *charge_kib, uint64_t to_kib);

uint64_t mlg_ledger_free_kib(const MlgLedger *l);
uint64_t mlg_ledger_overrun_kib(const MlgLedger *l);
