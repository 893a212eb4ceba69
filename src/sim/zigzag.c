/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Zigzag: see zigzag.h for the definition. */
#include "sim/zigzag.h"

#include "util/util.h"

static void widen(SimRange *r, uint64_t v) {
        r->least = mlg_min(r->least, v);
        r->most = mlg_max(r->most, v);
}

static void begin(SimZigzag *z, uint64_t target_kib, uint64_t own, uint64_t all, uint64_t now_usec) {
        *z = (SimZigzag) {
                .begun = true,
                .turn_kib = target_kib, .turn_usec = now_usec,
                .tip_kib = target_kib, .tip_usec = now_usec,
                .own_since_turn = { own, own }, .all_since_turn = { all, all },
                .own_since_tip = { own, own }, .all_since_tip = { all, all },
        };
}

/* Goes on the way it went, or has not gone any way yet. */
static void go_on(SimZigzag *z, uint64_t target_kib, uint64_t own, uint64_t all, uint64_t now_usec) {
        if (target_kib != z->tip_kib) {
                z->own_since_tip = (SimRange) { own, own };
                z->all_since_tip = (SimRange) { all, all };
        }
        z->tip_kib = target_kib;
        z->tip_usec = now_usec;
}

static bool has_cause(const SimZigzag *z, uint64_t kib) {
        return z->own_since_turn.most - z->own_since_turn.least >= kib ||
               z->all_since_turn.most - z->all_since_turn.least >= kib;
}

SimTurn sim_zigzag_look(SimZigzag *z, uint64_t target_kib, uint64_t dead_band_kib, uint64_t own_demand_kib,
                        uint64_t all_demand_kib, uint64_t now_usec) {
        uint64_t former, way, back;
        SimTurn found = SIM_TURN;

        if (!z->begun)
                begin(z, target_kib, own_demand_kib, all_demand_kib, now_usec);
        widen(&z->own_since_turn, own_demand_kib);
        widen(&z->all_since_turn, all_demand_kib);
        widen(&z->own_since_tip, own_demand_kib);
        widen(&z->all_since_tip, all_demand_kib);
        way = mlg_abs_diff(z->tip_kib, z->turn_kib);
        if (way < dead_band_kib) { /* no way at all yet: it may still begin in either direction */
                z->up = target_kib >= z->turn_kib;
                go_on(z, target_kib, own_demand_kib, all_demand_kib, now_usec);
                return SIM_NO_TURN;
        }
        if (z->up ? target_kib >= z->tip_kib : target_kib <= z->tip_kib) {
                go_on(z, target_kib, own_demand_kib, all_demand_kib, now_usec);
                return SIM_NO_TURN;
        }
        back = mlg_abs_diff(z->tip_kib, target_kib);
        if (back < dead_band_kib)
                return SIM_NO_TURN;
        former = mlg_min(way, back);
        if (z->turned && now_usec - z->turn_usec <= SIM_ZIGZAG_USEC && !has_cause(z, former))
                found = SIM_OSCILLATION;
        z->turned = true;
        z->turn_kib = z->tip_kib;
        z->turn_usec = z->tip_usec;
        z->own_since_turn = z->own_since_tip;
        z->all_since_turn = z->all_since_tip;
        z->up = !z->up;
        go_on(z, target_kib, own_demand_kib, all_demand_kib, now_usec);
        return found;
}
