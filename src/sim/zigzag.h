/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Zigzag: finds guests whose memory is moved back and forth without a cause.
 *
 * A guest's target *turns* when it has gone one way by at least the dead band, and then the other way by
 * at least the dead band. It *oscillates* when it turns a second time within SIM_ZIGZAG_USEC of the first
 * turn, although in between neither the guest's own demand nor that of all guests together changed by as
 * much as the smaller one of the two ways behind the turns. One turn back is a correction: of a relief
 * that was too large, of a demand that went away. A second one, without a cause, is a rule that cannot
 * make up its mind. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Longer than cool-downs, rates and averages of all rules that are known take to show their effect. */
#define SIM_ZIGZAG_USEC (UINT64_C(600) * 1000000)

typedef struct SimRange {
        uint64_t least, most;
} SimRange;

typedef struct SimZigzag {
        bool begun, up, turned;    /* turned: there is a former turn to compare with */
        uint64_t turn_kib, turn_usec; /* the last turn, or the begin */
        uint64_t tip_kib, tip_usec;   /* the farthest since then, and when it was left */
        SimRange own_since_turn, all_since_turn, own_since_tip, all_since_tip;
} SimZigzag;

typedef enum SimTurn { SIM_NO_TURN, SIM_TURN, SIM_OSCILLATION } SimTurn;

/* One look at the guest; to be called in the order of time, at each change of a target at least. */
SimTurn sim_zigzag_look(SimZigzag *z, uint64_t target_kib, uint64_t dead_band_kib, uint64_t own_demand_kib,
                        uint64_t all_demand_kib, uint64_t now_usec);
