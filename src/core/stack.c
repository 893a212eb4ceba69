/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stack: see stack.h. */
#include "core/stack.h"

#include <string.h>

#include "util/util.h"

/* No counter gets there: a million a second for 285 years. It is what JSON's readers can count to, too. */
#define COUNTER_MOST (UINT64_C(1) << 53)

static bool possible(const MlgRawMonitor *raw, uint64_t maximum_kib) {
        if (raw->stack_calls > COUNTER_MOST || raw->stack_refused > COUNTER_MOST ||
            raw->stack_held_bytes / 1024 > maximum_kib)
                return false;
        for (int i = 0; i < _MLG_STACK_VIOLATION_MAX; i++)
                if (raw->stack_violations[i] > COUNTER_MOST)
                        return false;
        return true;
}

bool mlg_stack_take(MlgStack *s, const MlgRawMonitor *raw, uint64_t maximum_kib) {
        s->known = false;
        if ((raw->have & MLG_MONITOR_STACK) == 0)
                return true;
        if (!possible(raw, maximum_kib))
                return false;
        for (int i = 0; i < _MLG_STACK_VIOLATION_MAX; i++) {
                uint64_t n = raw->stack_violations[i], before = s->violations[i];

                s->untold[i] = mlg_add_sat(s->untold[i], n < before ? n : n - before);
                s->violations[i] = n;
        }
        s->calls = raw->stack_calls;
        s->held_bytes = raw->stack_held_bytes;
        s->refused = raw->stack_refused;
        s->known = true;
        return true;
}

uint64_t mlg_stack_sum(const uint64_t violations[static _MLG_STACK_VIOLATION_MAX]) {
        uint64_t sum = 0;

        for (int i = 0; i < _MLG_STACK_VIOLATION_MAX; i++)
                sum = mlg_add_sat(sum, violations[i]);
        return sum;
}

void mlg_stack_told(MlgStack *s) {
        memset(s->untold, 0, sizeof(s->untold));
}
