/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Replay: a trace through the core, in virtual time.
 *
 * It does what the service does, turn by turn: the guests live on, the host and all guests are read, the
 * engine observes and decides, the guests are told, the engine gets the answers. Nothing is decided here;
 * all decisions are those of MlgEngine with the settings that are given.
 *
 * Time goes in short turns (step_usec) while memory moves, demand changed, or something was just decided;
 * when all has been quiet for a while each turn is twice as long as the one before, up to
 * SIM_LONGEST_STEP_USEC, and never beyond the next row of the trace. What a longer turn can make late is
 * a decision whose time comes by the clock alone: the end of a cool-down, the next round of a policy with
 * an interval, a rule that goes by the time of day (UTC here, for traces know no place). Balloons, programs
 * and reports do not depend on the turns.
 *
 * Guests begin with equal parts of their maxima, so that all fit. SIM_WARM_UP_USEC pass with the first
 * rows in force before the trace begins; nothing of that is counted.
 *
 * Deterministic: same trace and options, same result, but for decide_nsec. */
#pragma once

#include <stdbool.h>

#include "core/engine.h"
#include "sim/check.h"
#include "sim/guest.h"
#include "sim/series.h"
#include "sim/trace.h"

#define SIM_LONGEST_STEP_USEC (16 * SIM_SEC)
#define SIM_WARM_UP_USEC (120 * SIM_SEC)

typedef struct SimOptions {
        MlgHostSettings host;
        /* Settings of one guest. */
        void (*settings)(const char *name, const char *uuid, MlgGuestSettings *ret, void *userdata);
        void *userdata;
        const MlgRules *rules;  /* NULL: none */
        uint64_t host_kib;      /* memory of the host */
        uint64_t step_usec;     /* 0: PollIntervalSec= */
        uint64_t duration_usec; /* 0: all of the trace */
        bool look_closely;      /* only short turns */
        uint64_t (*clock_nsec)(void); /* to measure what decisions cost; NULL: they are not measured */
        SimSeries *series;      /* to be filled in; NULL: no picture is wanted */
} SimOptions;

typedef struct SimGuestResult {
        double run_sec, short_sec, demand_kib_sec, actual_kib_sec, unmet_kib_sec;
        uint64_t moves, moved_kib, turns, oscillations, oom_kills, swap_in_kib, swap_out_kib;
} SimGuestResult;

typedef struct SimResult {
        uint64_t n_guests, simulated_usec, n_turns;
        SimGuestResult all;       /* sums over the guests */
        SimGuestResult *guests;   /* one each, in the trace's order; owned by the replay */
        double capacity_kib_sec;  /* maxima of the guests that ran, over time */
        uint64_t budget_kib;      /* at the end */
        uint64_t floors_kib;      /* of all guests; more than the budget: nothing could be moved */
        double host_swap_kib_sec; /* what the host had swapped out, over time */
        uint64_t n_violations;
        const char *violation;    /* the first one; "" */
        uint64_t decide_nsec, n_decided; /* all decisions; guests x decisions */
} SimResult;

typedef struct SimReplay SimReplay;

SimReplay *sim_replay_new(const SimTrace *t, const SimOptions *options);
SimReplay *sim_replay_free(SimReplay *r);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SimReplay, sim_replay_free)

/* One turn; false: the trace is at its end, nothing was done. */
bool sim_replay_turn(SimReplay *r);
void sim_replay_result(const SimReplay *r, SimResult *ret);

/* For tests: the i-th guest of the trace, NULL while it does not run; the engine; seconds since the begin of the trace. */
SimGuest *sim_replay_guest(const SimReplay *r, size_t i);
const MlgEngine *sim_replay_engine(const SimReplay *r);
double sim_replay_sec(const SimReplay *r);
