/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Replay: see replay.h. */
#include "sim/replay.h"

#include <errno.h>
#include <stdlib.h>

#include "sim/zigzag.h"
#include "util/util.h"

#define BEGIN_USEC (1000 * SIM_SEC) /* no time of the engine is 0 */
#define BEGIN_REAL_SEC UINT64_C(1700000000) /* where the trace does not know */

/* A program that touches fresh memory gets about a GiB per second of it (18 GiB in 19.5 s, as measured by others). */
#define TOUCH_KIB_PER_SEC (940 * SIM_MIB)
/* QEMU tells of a balloon once a second at most. */
#define EVENT_USEC SIM_SEC

/* Nothing moved for so long: three reports came and went. */
#define QUIET_USEC (5 * SIM_SEC)
/* A change of demand by less than this part of a guest's maximum is no reason to look closely: no cushion is so thin. */
#define CHANGE_PART 128

typedef struct Player {
        const SimTraceGuest *trace;
        guint next_row;
        SimGuest *guest; /* owned by the host; NULL: it does not run */
        MlgVm *vm;
        unsigned int n_runs;
        SimZigzag zigzag;
        SimGuestResult result; /* of its runs that are over, and what is counted per turn */
} Player;

struct SimReplay {
        const SimTrace *trace;
        SimOptions options;
        MlgEngine *engine;
        SimHost host;
        Player *players;
        size_t n_players;
        uint64_t now_usec, first_usec, end_usec; /* first: second 0 of the trace */
        uint64_t step_usec, busy_usec;           /* of the last turn; when something happened last */
        uint32_t part_permille;                  /* of its maximum that a guest begins with */
        MlgRawHost raw;
        SimCheck check;
        SimGuestResult *guest_results;
        uint64_t n_turns, decide_nsec, n_decided;
        uint64_t floors_kib;
        double capacity_kib_sec, host_swap_kib_sec;
};

/* ---- guests come and go ---- */

/* So that what all get at first fits into the budget. */
static uint32_t first_part_permille(const SimReplay *r) {
        uint64_t total = r->options.host_kib, reserve = mlg_amount_resolve(r->options.host.reserve, total);
        uint64_t budget = mlg_sub_sat(total, reserve + r->n_players * SIM_OVERHEAD_KIB);

        budget = mlg_min(budget, mlg_amount_resolve(r->options.host.guest_memory, total));
        return (uint32_t) mlg_clamp(mlg_mul_div(budget, 1000, sim_trace_maxima_kib(r->trace)), 1, 1000);
}

static void come(SimReplay *r, Player *p, uint64_t demand_kib) {
        unsigned int n = (unsigned int) (p - r->players);
        uint64_t seed = n, maximum_kib = p->trace->maximum_kib;
        SimGuest *g = g_new(SimGuest, 1);
        MlgGuestSettings settings;

        sim_guest_init(g, n, maximum_kib, demand_kib, r->now_usec, r->host.wall_base_sec);
        g_strlcpy(g->info.name, p->trace->name, sizeof(g->info.name));
        g->info.instance = ++p->n_runs;
        g->actual_kib = mlg_mul_div(maximum_kib, r->part_permille, 1000);
        g->target_kib = g->told_actual_kib = g->least_kib = g->actual_kib;
        g->touch_kib_per_sec = TOUCH_KIB_PER_SEC;
        g->in_use_kib = 0;
        g->event_usec = EVENT_USEC;
        g->event_due_usec = r->now_usec + sim_random_below(&seed, EVENT_USEC);
        /* Each at a moment of its own. */
        g->report_due_usec = r->now_usec + sim_random_below(&seed, SIM_SEC);
        g_ptr_array_add(r->host.guests, g);
        r->options.settings(g->info.name, g->info.uuid, &settings, r->options.userdata);
        p->guest = g;
        p->vm = mlg_engine_put_guest(r->engine, &g->info, &settings, r->now_usec > r->first_usec,
                                     r->now_usec);
        p->zigzag = (SimZigzag) {};
        if (p->n_runs == 1)
                r->floors_kib += p->vm->floor_kib;
}

static void add_run(SimGuestResult *sum, const SimGuest *g) {
        sum->run_sec += g->run_sec;
        sum->short_sec += g->short_sec;
        sum->demand_kib_sec += g->demand_kib_sec;
        sum->actual_kib_sec += g->actual_kib_sec;
        sum->unmet_kib_sec += g->unmet_kib_sec;
        sum->oom_kills += g->n_oom;
        sum->swap_in_kib += g->swap_in_kib;
        sum->swap_out_kib += g->swap_out_kib;
}

static void go(SimReplay *r, Player *p) {
        add_run(&p->result, p->guest);
        mlg_engine_drop_guest(r->engine, p->guest->info.uuid);
        sim_host_remove(&r->host, p->guest);
        p->guest = NULL;
        p->vm = NULL;
}

static const SimRow *next_row(const Player *p) {
        return p->next_row < p->trace->rows->len ? &g_array_index(p->trace->rows, SimRow, p->next_row)
                                                 : NULL;
}

static uint64_t row_usec(const SimReplay *r, const SimRow *row) {
        return r->first_usec + row->at_sec * SIM_SEC;
}

static void apply_row(SimReplay *r, Player *p, uint64_t demand_kib) {
        bool big = true;

        if (demand_kib == SIM_ROW_GONE) {
                if (p->guest)
                        go(r, p);
        } else if (!p->guest)
                come(r, p, demand_kib);
        else {
                big = mlg_abs_diff(p->guest->demand_kib, demand_kib) > p->trace->maximum_kib / CHANGE_PART;
                p->guest->demand_kib = demand_kib;
                p->guest->killed_kib = 0; /* they are started anew */
        }
        if (big)
                r->busy_usec = r->now_usec;
}

/* Rows whose time has come; before the trace begins, those of second 0. */
static void apply_rows(SimReplay *r) {
        for (size_t i = 0; i < r->n_players; i++) {
                Player *p = &r->players[i];
                const SimRow *row;

                for (; (row = next_row(p)) && row_usec(r, row) <= mlg_max(r->now_usec, r->first_usec);
                     p->next_row++)
                        apply_row(r, p, row->demand_kib);
        }
}

/* ---- life ---- */

SimReplay *sim_replay_new(const SimTrace *t, const SimOptions *options) {
        SimReplay *r = g_new0(SimReplay, 1);

        r->trace = t;
        r->options = *options;
        if (r->options.step_usec == 0)
                r->options.step_usec = options->host.poll_usec;
        r->engine = mlg_engine_new(&options->host, false);
        mlg_engine_allow(r->engine, NULL, UINT64_MAX); /* who would approve? It is asked what moving does */
        mlg_engine_set_rules(r->engine, options->rules);
        sim_host_init(&r->host, options->host_kib, 0);
        r->now_usec = r->busy_usec = r->host.now_usec = BEGIN_USEC;
        r->first_usec = BEGIN_USEC + SIM_WARM_UP_USEC;
        r->end_usec = r->first_usec + t->end_sec * SIM_SEC;
        if (options->duration_usec > 0)
                r->end_usec = mlg_min(r->end_usec, r->first_usec + options->duration_usec);
        r->host.wall_base_sec = (t->start_real_sec ? t->start_real_sec : BEGIN_REAL_SEC) -
                                r->first_usec / SIM_SEC;
        r->n_players = t->guests->len;
        r->players = g_new0(Player, r->n_players);
        r->guest_results = g_new0(SimGuestResult, r->n_players);
        for (size_t i = 0; i < r->n_players; i++)
                r->players[i].trace = t->guests->pdata[i];
        r->part_permille = first_part_permille(r);
        r->step_usec = r->options.step_usec;
        if (options->series) {
                options->series->begin_usec = r->first_usec;
                options->series->end_usec = r->end_usec;
        }
        apply_rows(r);
        return r;
}

SimReplay *sim_replay_free(SimReplay *r) {
        if (!r)
                return NULL;
        (void) mlg_engine_free(r->engine);
        sim_host_clear(&r->host);
        g_free(r->players);
        g_free(r->guest_results);
        g_free(r);
        return NULL;
}

/* ---- a turn ---- */

/* All that was summed up so far was before the trace. */
static void begin_counting(SimReplay *r) {
        for (size_t i = 0; i < r->n_players; i++) {
                SimGuest *g = r->players[i].guest;

                r->players[i].result = (SimGuestResult) {};
                r->players[i].zigzag = (SimZigzag) {};
                if (!g)
                        continue;
                /* By a size that it began with, which was nobody's decision. */
                g->demand_kib += g->killed_kib;
                g->killed_kib = 0;
                g->demand_kib_sec = g->actual_kib_sec = g->unmet_kib_sec = g->short_sec = g->run_sec = 0;
                /* Counters that the engine sees must not run backwards; sums are modulo 2^64. */
                r->players[i].result.oom_kills -= g->n_oom;
                r->players[i].result.swap_in_kib -= g->swap_in_kib;
                r->players[i].result.swap_out_kib -= g->swap_out_kib;
        }
}

static uint64_t next_usec(const SimReplay *r) {
        uint64_t next = r->now_usec + r->step_usec;

        if (r->now_usec < r->first_usec)
                next = mlg_min(next, r->first_usec);
        for (size_t i = 0; i < r->n_players; i++) {
                const SimRow *row = next_row(&r->players[i]);

                if (row)
                        next = mlg_min(next, mlg_max(row_usec(r, row), r->now_usec + 1));
        }
        return mlg_min(next, r->end_usec);
}

static void observe(SimReplay *r) {
        sim_host_read(&r->host, &r->raw);
        mlg_engine_observe_host(r->engine, &r->raw);
        for (size_t i = 0; i < r->n_players; i++) {
                Player *p = &r->players[i];
                MlgRawStats raw;
                bool looked, answers;

                if (!p->guest)
                        continue;
                /* The service looks at guests whose balloon moves one by one, and knows their size as of now. */
                looked = mlg_vm_look_rank(p->vm, r->now_usec) == MLG_LOOK_MOVES;
                answers = looked ? sim_guest_look(p->guest, &raw) : sim_guest_read(p->guest, &raw);
                mlg_engine_observe(r->engine, p->vm, answers ? &raw : NULL, r->now_usec,
                                   r->host.wall_base_sec + r->now_usec / SIM_SEC);
        }
}

static Player *player_of(const SimReplay *r, const MlgVm *vm) {
        return &r->players[strtoul(vm->uuid, NULL, 16)]; /* its UUID begins with its number */
}

static void carry_out(SimReplay *r, const MlgMove *m) {
        Player *p = player_of(r, m->vm);
        int answer = sim_guest_set(p->guest, m->to_kib);

        if (answer == 0) {
                p->result.moves++;
                p->result.moved_kib += mlg_abs_diff(m->from_kib, m->to_kib);
        }
        mlg_engine_answer(r->engine, p->vm, answer, r->now_usec);
}

static size_t decide(SimReplay *r) {
        uint64_t before = r->options.clock_nsec ? r->options.clock_nsec() : 0;
        const MlgMove *moves;
        size_t n;

        mlg_engine_tell_time(r->engine, r->host.wall_base_sec + r->now_usec / SIM_SEC, 0);
        n = mlg_engine_decide(r->engine, r->now_usec, &moves);
        if (r->options.clock_nsec)
                r->decide_nsec += r->options.clock_nsec() - before;
        r->n_decided += mlg_engine_n_guests(r->engine);
        sim_check(&r->check, r->engine, &r->raw, &r->options.host, moves, n, r->now_usec);
        for (size_t i = 0; i < n; i++)
                carry_out(r, &moves[i]);
        return n;
}

/* The next turn's length, by what happened in this one. */
static void pace(SimReplay *r, bool decided) {
        bool busy = decided || r->options.look_closely;

        for (size_t i = 0; !busy && i < r->n_players; i++)
                busy = r->players[i].guest && !r->players[i].guest->at_rest;
        if (busy)
                r->busy_usec = r->now_usec;
        r->step_usec = r->now_usec - r->busy_usec < QUIET_USEC
                               ? r->options.step_usec
                               : mlg_min(2 * r->step_usec, SIM_LONGEST_STEP_USEC);
}

static uint64_t wanted_kib(const Player *p) {
        return p->guest ? p->guest->demand_kib + p->guest->killed_kib : 0;
}

static uint64_t all_demand_kib(const SimReplay *r) {
        uint64_t sum = 0;

        for (size_t i = 0; i < r->n_players; i++)
                sum += wanted_kib(&r->players[i]);
        return sum;
}

static void watch_targets(SimReplay *r) {
        uint64_t all = all_demand_kib(r);

        for (size_t i = 0; i < r->n_players; i++) {
                Player *p = &r->players[i];
                uint64_t band;
                SimTurn turn;

                if (!p->guest || p->vm->target_kib == 0)
                        continue;
                band = mlg_mul_div(p->vm->maximum_kib, p->vm->settings.dead_band_permille, 1000) + 1;
                turn = sim_zigzag_look(&p->zigzag, p->vm->target_kib, band, wanted_kib(p), all, r->now_usec);
                p->result.turns += turn != SIM_NO_TURN;
                p->result.oscillations += turn == SIM_OSCILLATION;
        }
}

static void draw(SimReplay *r, uint64_t from_usec) {
        const MlgLedger *l = mlg_engine_ledger(r->engine);
        SimHostPoint host = { .budget_kib = (float) l->budget_kib, .charged_kib = (float) l->charged_kib };

        for (size_t i = 0; i < r->n_players; i++) {
                const Player *p = &r->players[i];
                SimPoint point;

                if (!p->guest)
                        continue;
                point = (SimPoint) {
                        .demand_kib = (float) wanted_kib(p),
                        .target_kib = (float) p->vm->target_kib,
                        .actual_kib = (float) p->guest->actual_kib,
                        .unmet_kib = (float) sim_guest_unmet_kib(p->guest),
                };
                host.demand_kib += point.demand_kib;
                host.unmet_kib += point.unmet_kib;
                sim_series_add(r->options.series, i, from_usec, r->now_usec, &point);
        }
        sim_series_add_host(r->options.series, from_usec, r->now_usec, &host);
}

/* What is summed up per turn; from_usec: of the one before. */
static void count(SimReplay *r, uint64_t from_usec) {
        double sec = (double) (r->now_usec - from_usec) / (double) SIM_SEC;

        for (size_t i = 0; i < r->n_players; i++) {
                const SimGuest *g = r->players[i].guest;

                if (!g)
                        continue;
                r->capacity_kib_sec += sec * (double) g->info.maximum_kib;
                r->host_swap_kib_sec += sec * (double) g->host_swapped_kib;
        }
        if (r->options.series)
                draw(r, from_usec);
}

bool sim_replay_turn(SimReplay *r) {
        uint64_t before = r->now_usec;
        bool decided;

        if (r->now_usec >= r->end_usec)
                return false;
        r->n_turns++;
        r->now_usec = next_usec(r);
        sim_host_advance(&r->host, r->now_usec);
        if (before >= r->first_usec)
                count(r, before);
        apply_rows(r);
        observe(r);
        decided = decide(r) > 0;
        watch_targets(r);
        pace(r, decided);
        if (r->now_usec == r->first_usec)
                begin_counting(r);
        return true;
}

/* ---- what came of it ---- */

static void add_result(SimGuestResult *sum, const SimGuestResult *g) {
        sum->run_sec += g->run_sec;
        sum->short_sec += g->short_sec;
        sum->demand_kib_sec += g->demand_kib_sec;
        sum->actual_kib_sec += g->actual_kib_sec;
        sum->unmet_kib_sec += g->unmet_kib_sec;
        sum->moves += g->moves;
        sum->moved_kib += g->moved_kib;
        sum->turns += g->turns;
        sum->oscillations += g->oscillations;
        sum->oom_kills += g->oom_kills;
        sum->swap_in_kib += g->swap_in_kib;
        sum->swap_out_kib += g->swap_out_kib;
}

void sim_replay_result(const SimReplay *r, SimResult *ret) {
        *ret = (SimResult) {
                .n_guests = r->n_players,
                .simulated_usec = mlg_sub_sat(r->now_usec, r->first_usec),
                .n_turns = r->n_turns,
                .guests = r->guest_results,
                .capacity_kib_sec = r->capacity_kib_sec,
                .budget_kib = mlg_engine_ledger(r->engine)->budget_kib,
                .floors_kib = r->floors_kib,
                .host_swap_kib_sec = r->host_swap_kib_sec,
                .n_violations = r->check.n_violations,
                .violation = r->check.first,
                .decide_nsec = r->decide_nsec,
                .n_decided = r->n_decided,
        };
        for (size_t i = 0; i < r->n_players; i++) {
                const Player *p = &r->players[i];

                r->guest_results[i] = p->result;
                if (p->guest)
                        add_run(&r->guest_results[i], p->guest);
                add_result(&ret->all, &r->guest_results[i]);
        }
}

SimGuest *sim_replay_guest(const SimReplay *r, size_t i) {
        return i < r->n_players ? r->players[i].guest : NULL;
}

const MlgEngine *sim_replay_engine(const SimReplay *r) {
        return r->engine;
}

double sim_replay_sec(const SimReplay *r) {
        return ((double) r->now_usec - (double) r->first_usec) / (double) SIM_SEC;
}
