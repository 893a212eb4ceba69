/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Engine, rules: which ones hold for each guest, and the settings it has by them.
 *
 * Once per turn, before anything else: facts are those of the last reading and of the turn before, so that
 * nothing that a rule changes is what it is judged by in the same turn. Its own floor and ceiling are
 * those of [Guest]. */
#include "core/engine-private.h"
#include "util/util.h"

#define SEC_PER_DAY 86400
#define CENTI_OF_PERCENT (MLG_RULE_ONE / 10000)
#define PERMILLE (MLG_RULE_ONE / 1000)

static void tell_time(const MlgEngine *e, MlgRuleFacts *f) {
        uint64_t days = e->local_sec / SEC_PER_DAY;

        mlg_rule_tell_all(f, MLG_FACT_TIME, e->local_sec > 0, e->local_sec % SEC_PER_DAY / 60);
        /* 1970 began on a Thursday. */
        mlg_rule_tell_all(f, MLG_FACT_WEEKDAY, e->local_sec > 0, (days + 3) % 7 + 1);
}

static void tell_host(const MlgEngine *e, MlgRuleFacts *f) {
        const MlgRawHost *h = &e->host;
        const MlgLedger *l = &e->ledger;
        bool known = e->has_host, has_budget = known && l->budget_kib > 0;

        mlg_rule_tell_all(f, MLG_FACT_HOST_TOTAL, known, h->total_kib);
        mlg_rule_tell_all(f, MLG_FACT_HOST_AVAILABLE, known, h->available_kib);
        mlg_rule_tell_all(f, MLG_FACT_HOST_FREE, known, h->free_kib);
        mlg_rule_tell_all(f, MLG_FACT_HOST_SWAPPED, known, mlg_sub_sat(h->swap_total_kib, h->swap_free_kib));
        mlg_rule_tell_all(f, MLG_FACT_HOST_RESERVE, known,
                          mlg_amount_resolve(e->settings.reserve, h->total_kib));
        mlg_rule_tell_all(f, MLG_FACT_HOST_BUDGET, has_budget, l->budget_kib);
        mlg_rule_tell_all(f, MLG_FACT_HOST_CHARGED, has_budget, l->charged_kib);
        mlg_rule_tell_all(f, MLG_FACT_HOST_ROOM, has_budget, mlg_ledger_free_kib(l));
        mlg_rule_tell_all(f, MLG_FACT_HOST_STALL_SOME, known && h->have_psi,
                          h->psi_some_avg10_centi * CENTI_OF_PERCENT);
        mlg_rule_tell_all(f, MLG_FACT_HOST_STALL_FULL, known && h->have_psi,
                          h->psi_full_avg10_centi * CENTI_OF_PERCENT);
        mlg_rule_tell_all(f, MLG_FACT_HOST_SHORT, known, e->host_short);
}

/* What the guest itself says counts while it is recent. */
static void tell_report(const MlgVm *vm, MlgRuleFacts *f, unsigned int lane) {
        const MlgSample *s = &vm->sampler.last;
        bool fresh = vm->polled && s->trust == MLG_TRUST_FRESH, stalls = fresh && s->knows_stalls;

        mlg_rule_tell(f, lane, MLG_FACT_GUEST_USED, fresh, s->used_kib);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_USABLE, fresh && s->knows_usable, s->usable_kib);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_UNUSED, fresh, s->unused_kib);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_CACHES, fresh, s->caches_kib);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_COLD, fresh && s->knows_cold, s->cold_kib);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_SWAP_IN, fresh, s->swap_in_kib_per_sec);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_SWAP_OUT, fresh, s->swap_out_kib_per_sec);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_REFAULT, stalls, s->refault_kib_per_sec);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_STALL_SOME, stalls,
                      (uint64_t) s->stall_some_permille * PERMILLE);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_STALL_FULL, stalls,
                      (uint64_t) s->stall_full_permille * PERMILLE);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_PRESSURE, fresh, vm->pressure);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_NEED, fresh && vm->has_forecast, vm->forecast.need_kib);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_CUSHION, fresh && vm->has_forecast, vm->cushion_kib);
}

static void tell_guest(const MlgVm *vm, uint64_t now_usec, MlgRuleFacts *f, unsigned int lane) {
        const MlgSample *s = &vm->sampler.last;
        const MlgGuestSettings *c = &vm->configured;
        uint64_t ceiling = mlg_min(mlg_amount_resolve(c->ceiling, vm->maximum_kib), vm->maximum_kib);
        bool reported = s->at_usec > 0 && s->age_usec != MLG_USEC_NEVER;

        mlg_rule_tell(f, lane, MLG_FACT_GUEST_MAXIMUM, true, vm->maximum_kib);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_ACTUAL, vm->polled, vm->actual_kib);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_TARGET, vm->target_kib > 0, vm->target_kib);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_CEILING, true, ceiling);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_FLOOR, true,
                      mlg_min(mlg_amount_resolve(c->floor, vm->maximum_kib), ceiling));
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_STATE, true, vm->state);
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_AGE, reported,
                      mlg_add_sat(s->age_usec, mlg_sub_sat(now_usec, s->at_usec)));
        mlg_rule_tell(f, lane, MLG_FACT_GUEST_UPTIME, vm->started_usec > 0,
                      mlg_sub_sat(now_usec, vm->started_usec));
        tell_report(vm, f, lane);
}

void mlg_engine_set_rules(MlgEngine *e, const MlgRules *rules) {
        MlgRules *old = e->rules;

        e->rules = rules && rules->n_rules > 0 ? g_memdup2(rules, sizeof(*rules)) : NULL;
        for (guint i = 0; i < e->vms->len; i++) {
                MlgVm *vm = e->vms->pdata[i];

                if (old && e->rules)
                        mlg_rules_carry_over(old, e->rules, &vm->rules);
                else
                        vm->rules = (MlgRuleState) {};
        }
        g_free(old);
}

void mlg_engine_rule_names(const MlgEngine *e, const MlgVm *vm, char ret[static MLG_RULE_NAMES_MAX + 1]) {
        ret[0] = '\0';
        for (uint64_t left = vm->rules.holds; left; left &= left - 1) { /* without rules none holds */
                if (ret[0])
                        (void) g_strlcat(ret, " ", MLG_RULE_NAMES_MAX + 1);
                (void) g_strlcat(ret, e->rules->rules[__builtin_ctzll(left)].name, MLG_RULE_NAMES_MAX + 1);
        }
}

void mlg_engine_tell_time(MlgEngine *e, uint64_t real_sec, int32_t utc_offset_sec) {
        e->local_sec = utc_offset_sec < 0 ? mlg_sub_sat(real_sec, (uint64_t) -(int64_t) utc_offset_sec)
                                          : mlg_add_sat(real_sec, (uint64_t) utc_offset_sec);
}

/* Guests that wait to be judged. */
typedef struct Waiting {
        MlgRuleBatch batch;
        MlgVm *vms[MLG_RULE_LANES];
} Waiting;

static void add(const MlgEngine *e, MlgVm *vm, const MlgRuleVerdict *foreseen, uint64_t now_usec,
                Waiting *w) {
        MlgRuleBatch *b = &w->batch;
        unsigned int lane = b->facts.n_lanes++;

        w->vms[lane] = vm;
        b->states[lane] = &vm->rules;
        b->among[lane] = vm->configured.rules & mlg_rules_all(e->rules);
        b->settings[lane] = vm->configured;
        if ((b->among[lane] & ~foreseen->no) | vm->rules.holds) /* else nothing of the guest matters */
                tell_guest(vm, now_usec, &b->facts, lane);
}

static void judge(const MlgEngine *e, const MlgRuleVerdict *foreseen, uint64_t now_usec, Waiting *w) {
        mlg_rules_turn(e->rules, foreseen, &w->batch, now_usec);
        mlg_rules_apply(e->rules, &w->batch);
        /* With rules to look at, new settings are waiting for this. */
        for (unsigned int lane = 0; lane < w->batch.facts.n_lanes; lane++)
                mlg_vm_take_settings(w->vms[lane], &w->batch.settings[lane]);
        mlg_rule_untell_guests(&w->batch.facts);
        w->batch.facts.n_lanes = 0;
}

void mlg_engine_judge_rules(MlgEngine *e, uint64_t now_usec) {
        Waiting w = {};
        MlgRuleVerdict foreseen;

        if (!e->rules)
                return; /* and no guest's settings name any */
        tell_time(e, &w.batch.facts);
        tell_host(e, &w.batch.facts);
        w.batch.facts.n_lanes = 1; /* no guest's yet, only what is the same for all */
        foreseen = mlg_rules_foresee(e->rules, &w.batch.facts);
        w.batch.facts.n_lanes = 0;
        for (guint i = 0; i < e->vms->len; i++) {
                MlgVm *vm = e->vms->pdata[i];

                if (vm->configured.rules == 0)
                        continue;
                add(e, vm, &foreseen, now_usec, &w);
                if (w.batch.facts.n_lanes == MLG_RULE_LANES)
                        judge(e, &foreseen, now_usec, &w);
        }
        if (w.batch.facts.n_lanes > 0)
                judge(e, &foreseen, now_usec, &w);
}
