/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Slots: how predictors for horizons of minutes cut time. A slot is the horizon, or five minutes where that is longer, and
 * longer than that where the horizon would have more than MLG_SLOTS_MOST. */
#pragma once

#include <stdint.h>

#include "util/util.h"

#define MLG_SLOTS_MOST 12 /* of one horizon */

/* Demand differs little in five minutes, and a day has 288 of them: enough to learn from. */
#define MLG_SLOT_USEC (300 * MLG_USEC_PER_SEC)

static inline uint64_t mlg_slot_usec(uint64_t horizon_usec) {
        uint64_t usec = mlg_max(mlg_min(horizon_usec, MLG_SLOT_USEC), (horizon_usec + MLG_SLOTS_MOST - 1) / MLG_SLOTS_MOST);

        return mlg_max(usec, MLG_USEC_PER_SEC);
}
