/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sample: see sample.h for the rules. */
#include "core/sample-private.h"
#include "util/util.h"

/* From the guest's counting to QEMU's keeping: a busy guest takes its time. */
#define REPORT_DELAY_USEC (200 * 1000)
#define SWAP_AHEAD_SEC 4
/* Drivers move a MiB at a time and count it in two steps; what is less is no sign of anything. */
#define KEPT_SLACK_KIB (2 * MLG_KIB_PER_MIB)

static const uint32_t NEEDED = MLG_HAVE_ACTUAL | MLG_HAVE_TOTAL | MLG_HAVE_LAST_UPDATE;

void mlg_sampler_reset(MlgSampler *st) {
        *st = (MlgSampler) {};
}

static void remember_actual(MlgSampler *st, uint64_t now_usec, uint64_t actual_kib) {
        st->history_at_usec[st->history_next] = now_usec;
        st->history_kib[st->history_next] = actual_kib;
        st->history_next = (st->history_next + 1) % MLG_SAMPLE_HISTORY;
        if (st->history_n < MLG_SAMPLE_HISTORY)
                st->history_n++;
}

static void widen(uint64_t *least, uint64_t *most, uint64_t kib) {
        *least = mlg_min(*least, kib);
        *most = mlg_max(*most, kib);
}

bool mlg_sampler_actual_range(const MlgSampler *st, uint64_t from_usec, uint64_t *ret_least, uint64_t *ret_most) {
        bool late = st->actual_age_usec > 0, reaches_back = false;

        *ret_least = UINT64_MAX;
        *ret_most = 0;
        for (unsigned int i = 0; i < st->history_n; i++) {
                bool newest = (i + 1) % MLG_SAMPLE_HISTORY == st->history_next;

                reaches_back |= st->history_at_usec[i] <= from_usec;
                if (st->history_at_usec[i] >= from_usec || newest)
                        widen(ret_least, ret_most, st->history_kib[i]);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(st->heading_kib); i++)
                if (st->heading_kib[i] > 0 && (late || !reaches_back))
                        widen(ret_least, ret_most, st->heading_kib[i]);
        return *ret_most > 0;
}

static bool has_usable(const MlgRawStats *r) {
        return r->have & (MLG_HAVE_USABLE | MLG_HAVE_UNUSED);
}

/* Drivers that know no MemAvailable tell MemFree at least: less than the truth, so it errs to the safe side. */
static uint64_t usable_of(const MlgRawStats *r) {
        return r->have & MLG_HAVE_USABLE ? r->usable_kib : r->unused_kib;
}

static bool possible(const MlgRawStats *r, uint64_t most_actual_kib) {
        const struct {
                uint32_t bit;
                uint64_t kib;
        } sizes[] = {
                { MLG_HAVE_ACTUAL, r->actual_kib },   { MLG_HAVE_MAXIMUM, r->maximum_kib },
                { MLG_HAVE_TOTAL, r->total_kib },     { MLG_HAVE_UNUSED, r->unused_kib },
                { MLG_HAVE_USABLE, r->usable_kib },   { MLG_HAVE_CACHES, r->caches_kib },
                { MLG_HAVE_SWAP_IN, r->swap_in_kib }, { MLG_HAVE_SWAP_OUT, r->swap_out_kib },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
                if ((r->have & sizes[i].bit) && sizes[i].kib >= MLG_IMPOSSIBLE_KIB)
                        return false;
        if (usable_of(r) > r->total_kib)
                return false;
        if ((r->have & MLG_HAVE_UNUSED) && r->unused_kib > r->total_kib)
                return false;
        if ((r->have & MLG_HAVE_MAXIMUM) && r->total_kib > mlg_max(r->maximum_kib, r->actual_kib))
                return false;
        return usable_of(r) <= most_actual_kib;
}

bool mlg_sampler_rate(bool have, uint64_t now, uint64_t before, uint64_t dt_usec, uint64_t *ret) {
        *ret = 0;
        if (!have || dt_usec == 0)
                return true;
        if (now < before)
                return false;
        *ret = mlg_mul_div(now - before, MLG_USEC_PER_SEC, dt_usec);
        return *ret <= MLG_IMPOSSIBLE_RATE;
}

static bool take_rates(MlgSampler *st, const MlgRawStats *raw, uint64_t dt_usec, MlgSample *s) {
        uint32_t have = st->has_base ? raw->have & st->base_have : 0; /* a counter that just appeared has no rate */
        bool ok = true;

        ok &= mlg_sampler_rate(have & MLG_HAVE_SWAP_IN, raw->swap_in_kib, st->swap_in_kib, dt_usec, &s->swap_in_kib_per_sec);
        ok &= mlg_sampler_rate(have & MLG_HAVE_SWAP_OUT, raw->swap_out_kib, st->swap_out_kib, dt_usec,
                               &s->swap_out_kib_per_sec);
        ok &= mlg_sampler_rate(have & MLG_HAVE_MAJOR_FAULTS, raw->major_faults, st->major_faults, dt_usec,
                               &s->major_faults_per_sec);
        st->base_have = raw->have;
        /* Also after a step backwards: the next report is measured against this one. */
        st->swap_in_kib = raw->have & MLG_HAVE_SWAP_IN ? raw->swap_in_kib : 0;
        st->swap_out_kib = raw->have & MLG_HAVE_SWAP_OUT ? raw->swap_out_kib : 0;
        st->major_faults = raw->have & MLG_HAVE_MAJOR_FAULTS ? raw->major_faults : 0;
        return ok;
}

/* Its total and what it had differ by what its kernel kept at boot, if its driver counts so: each report narrows that
 * down, and one while nothing moves tells it. */
static void narrow_kept(MlgSampler *st, uint64_t total_kib, uint64_t least_kib, uint64_t most_kib) {
        uint64_t low = mlg_sub_sat(least_kib, total_kib), high = mlg_sub_sat(most_kib, total_kib);

        if (!st->knows_kept || low > st->kept_most_kib + KEPT_SLACK_KIB || high + KEPT_SLACK_KIB < st->kept_least_kib) {
                st->knows_kept = true;
                st->total_follows = false;
                st->first_total_kib = total_kib;
                st->kept_least_kib = low;
                st->kept_most_kib = high;
                return;
        }
        st->total_follows |= mlg_abs_diff(total_kib, st->first_total_kib) > KEPT_SLACK_KIB;
        st->kept_least_kib = mlg_clamp(st->kept_least_kib, low, high);
        st->kept_most_kib = mlg_clamp(st->kept_most_kib, low, high);
}

uint64_t mlg_sampler_demand(MlgSampler *st, const MlgSample *s, uint64_t total_kib, uint64_t least_kib,
                            uint64_t most_kib, uint64_t swapped_kib) {
        narrow_kept(st, total_kib, least_kib, most_kib);
        if (st->total_follows) {
                uint64_t least = mlg_clamp(total_kib + st->kept_least_kib, least_kib, most_kib);

                most_kib = mlg_clamp(total_kib + st->kept_most_kib, least_kib, most_kib);
                least_kib = least;
        }
        least_kib = mlg_sub_sat(least_kib, s->usable_kib);
        most_kib = mlg_sub_sat(most_kib, s->usable_kib);
        st->blur_kib = most_kib - least_kib;
        st->says_little = st->has_base && st->used_kib <= most_kib && mlg_sub_sat(least_kib, st->used_kib) < st->blur_kib;
        st->used_kib = st->has_base ? mlg_clamp(st->used_kib, least_kib, most_kib) : most_kib;
        if (s->swap_in_kib_per_sec == 0)
                return st->used_kib;
        return st->used_kib + mlg_min(swapped_kib, SWAP_AHEAD_SEC * s->swap_in_kib_per_sec);
}

/* A report that was not seen before, while the guest is known better: only what later ones are measured against. */
static void note_report(MlgSampler *st, const MlgRawStats *raw, uint64_t now_usec) {
        MlgSample unused = {};

        st->seen = true;
        st->update_sec = raw->last_update_sec;
        st->update_seen_usec = now_usec;
        (void) take_rates(st, raw, 0, &unused);
}

/* A report that was not seen before. */
static void take_report(MlgSampler *st, const MlgRawStats *raw, uint64_t now_usec, MlgSample *s) {
        uint64_t dt_usec = st->seen ? now_usec - st->update_seen_usec : 0, least, most;

        st->seen = true;
        st->update_sec = raw->last_update_sec;
        st->update_seen_usec = now_usec;
        /* While it may have written this one: since it was looked at last and had not written it yet. */
        (void) mlg_sampler_actual_range(st, mlg_sub_sat(st->last.at_usec, REPORT_DELAY_USEC + raw->actual_age_usec), &least, &most);

        s->is_new = true;
        s->source = MLG_SOURCE_BALLOON;
        if (!possible(raw, most)) {
                s->trust = MLG_TRUST_IMPOSSIBLE;
                st->has_base = false;
                return;
        }
        s->usable_kib = usable_of(raw);
        s->knows_usable = raw->have & MLG_HAVE_USABLE;
        s->unused_kib = raw->have & MLG_HAVE_UNUSED ? raw->unused_kib : 0;
        s->caches_kib = raw->have & MLG_HAVE_CACHES ? raw->caches_kib : 0;
        s->trust = take_rates(st, raw, dt_usec, s) ? MLG_TRUST_FRESH : MLG_TRUST_IMPOSSIBLE;
        s->used_kib = mlg_sampler_demand(st, s, raw->total_kib, least, most,
                                         mlg_sub_sat(st->swap_out_kib, st->swap_in_kib));
        st->has_base = true;
}

static uint64_t first_age_usec(uint64_t update_sec, uint64_t now_real_sec) {
        /* A report from the future can only be an old one from before the clock was set back. */
        if (update_sec > now_real_sec + 1)
                return MLG_USEC_NEVER - 1;
        return mlg_sub_sat(now_real_sec, update_sec) * MLG_USEC_PER_SEC;
}

uint64_t mlg_sampler_stale_usec(uint32_t period_sec) {
        return (2 * (uint64_t) (period_sec ? period_sec : 1) + 1) * MLG_USEC_PER_SEC;
}

static void take_statistics(MlgSampler *st, const MlgRawStats *raw, uint32_t period_sec, uint64_t now_usec,
                            uint64_t now_real_sec, MlgSample *s) {
        bool is_first = !st->seen, rules = mlg_sampler_monitor_rules(st, now_usec), is_report;

        /* A driver that has just been asked for statistics shows zeroes first: that is no report. */
        is_report = (raw->have & NEEDED) == NEEDED && has_usable(raw) && raw->last_update_sec > 0 && raw->total_kib > 0;
        if (is_report && (is_first || raw->last_update_sec != st->update_sec)) {
                if (rules)
                        note_report(st, raw, now_usec);
                else
                        take_report(st, raw, now_usec, s);
                if (is_first)
                        /* Back-date it, so that its age goes on growing from what it is. */
                        st->update_seen_usec = mlg_sub_sat(now_usec, first_age_usec(raw->last_update_sec, now_real_sec));
        }
        if (rules) {
                s->age_usec = now_usec - st->monitor.seen_usec;
                s->trust = MLG_TRUST_FRESH;
                return;
        }
        s->age_usec = st->seen ? now_usec - st->update_seen_usec : MLG_USEC_NEVER;
        if (!is_report)
                s->trust = st->seen ? MLG_TRUST_STALE : MLG_TRUST_NONE;
        else if (s->age_usec > mlg_sampler_stale_usec(period_sec))
                s->trust = MLG_TRUST_STALE;
}

void mlg_sampler_take(MlgSampler *st, const MlgRawStats *raw, uint32_t period_sec, uint64_t now_usec,
                      uint64_t now_real_sec, MlgSample *ret) {
        MlgSample s = st->last;

        s.at_usec = now_usec;
        s.at_real_sec = now_real_sec;
        s.is_new = false;
        if ((raw->have & MLG_HAVE_ACTUAL) && raw->actual_kib < MLG_IMPOSSIBLE_KIB) {
                s.actual_kib = raw->actual_kib;
                st->actual_age_usec = raw->actual_age_usec;
                remember_actual(st, now_usec, raw->actual_kib);
        }
        if (raw->have & MLG_HAVE_MAXIMUM)
                s.maximum_kib = raw->maximum_kib;
        s.rss_kib = raw->have & MLG_HAVE_RSS && raw->rss_kib < MLG_IMPOSSIBLE_KIB ? raw->rss_kib : 0;

        mlg_sampler_monitor_ages(st, now_usec, &s);
        take_statistics(st, raw, period_sec, now_usec, now_real_sec, &s);
        st->last = s;
        *ret = s;
}
