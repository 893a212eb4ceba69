/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sample, from inside the guest: what memlego-guestd or the guest agent tells, checked like the balloon's statistics.
 *
 * Rates are taken over about a second, however often messages come: over a few milliseconds, as between a report and
 * an alarm right behind it, five pages read from swap would look like a storm.
 *
 * An alarm is believed only if the stall that it tells of is in the kernel's own sum: at least ALARM_LEAST_USEC more than
 * about a second ago. */
#include "core/sample-private.h"

#include <string.h>

#include "util/util.h"

/* Messages come each second at the latest; as with the balloon's statistics two of them may be missing. */
#define MONITOR_STALE_USEC (3 * MLG_USEC_PER_SEC)

/* The QEMU guest agent is asked each 4 s; of its answers, too, two may be missing. */
#define AGENT_STALE_USEC (13 * MLG_USEC_PER_SEC)

/* Rates are measured against a message at least so old, if there is one ... */
#define BASE_LEAST_USEC (700 * 1000)
/* ... and against none that is older: what was then is no news. */
#define BASE_MOST_USEC (5 * MLG_USEC_PER_SEC)
#define AGENT_BASE_MOST_USEC AGENT_STALE_USEC
/* With less time in between nothing can be said. */
#define BASE_NEEDED_USEC (150 * 1000)

/* From the guest's counting to our reading, on a busy host; and how old the hypervisor's word on the balloon may be. */
#define REPORT_DELAY_USEC (200 * 1000)
#define ACTUAL_AGE_USEC (1500 * 1000)

/* A fifth of what the host asks to be told of (50 ms): the kernel counts in steps of its own. */
#define ALARM_LEAST_USEC (10 * 1000)
/* Clocks of guests and hosts differ, and messages are late: so much more than all of the time can be. */
#define CLOCK_SLACK_USEC MLG_USEC_PER_SEC

static uint64_t stale_usec(const MlgMonitorTrack *t) {
        return t->slow ? AGENT_STALE_USEC : MONITOR_STALE_USEC;
}

bool mlg_sampler_monitor_rules(const MlgSampler *st, uint64_t now_usec) {
        const MlgMonitorTrack *t = &st->monitor;

        return t->seen_usec > 0 && t->possible && t->has_sizes && now_usec - t->seen_usec <= stale_usec(t);
}

static void forget(MlgSample *s) {
        s->knows_stalls = s->knows_cold = s->knows_oom = false;
        s->stall_some_permille = s->stall_full_permille = 0;
        s->refault_kib_per_sec = s->cold_kib = 0;
}

void mlg_sampler_monitor_ages(const MlgSampler *st, uint64_t now_usec, MlgSample *s) {
        const MlgMonitorTrack *t = &st->monitor;

        if (t->seen_usec > 0 && now_usec - t->seen_usec > stale_usec(t))
                forget(s);
}

static bool sizes_possible(const MlgRawMonitor *r, uint64_t most_actual_kib, uint64_t maximum_kib) {
        if (r->total_kib == 0 || r->total_kib >= MLG_IMPOSSIBLE_KIB || r->available_kib > r->total_kib ||
            r->free_kib > r->total_kib)
                return false;
        return r->total_kib <= mlg_max(maximum_kib, most_actual_kib) && r->available_kib <= most_actual_kib;
}

static bool possible(const MlgRawMonitor *r, uint64_t most_actual_kib, uint64_t maximum_kib) {
        uint32_t have = r->have;

        if ((have & MLG_MONITOR_SIZES) && !sizes_possible(r, most_actual_kib, maximum_kib))
                return false;
        if ((have & MLG_MONITOR_LISTS) && (r->active_kib >= MLG_IMPOSSIBLE_KIB || r->inactive_kib >= MLG_IMPOSSIBLE_KIB))
                return false;
        if ((have & MLG_MONITOR_SWAP) && (r->swap_in_kib >= MLG_IMPOSSIBLE_KIB || r->swap_out_kib >= MLG_IMPOSSIBLE_KIB))
                return false;
        if ((have & MLG_MONITOR_SWAPPED) && r->swapped_kib >= MLG_IMPOSSIBLE_KIB)
                return false;
        if ((have & MLG_MONITOR_PSI) && r->psi_full_usec > r->psi_some_usec)
                return false;
        return !(have & MLG_MONITOR_COLD) || r->cold_kib <= most_actual_kib;
}

/* The newest message that is old enough, else the oldest there is; NULL: none of use. */
static const MlgMonitorPoint *base_of(const MlgMonitorTrack *t, uint64_t now_usec) {
        uint64_t most_usec = t->slow ? AGENT_BASE_MOST_USEC : BASE_MOST_USEC;
        const MlgMonitorPoint *p = NULL;

        for (unsigned int i = 1; i <= t->n; i++) {
                p = &t->points[(t->next + MLG_MONITOR_POINTS - i) % MLG_MONITOR_POINTS];
                if (now_usec - p->at_usec >= BASE_LEAST_USEC)
                        break;
        }
        return p && now_usec - p->at_usec >= BASE_NEEDED_USEC && now_usec - p->at_usec <= most_usec ? p : NULL;
}

/* Not for each of many messages in a short time, or there would be none from a second ago. */
static void remember(MlgMonitorTrack *t, const MlgRawMonitor *raw, uint64_t now_usec) {
        const MlgMonitorPoint *newest = &t->points[(t->next + MLG_MONITOR_POINTS - 1) % MLG_MONITOR_POINTS];

        if (t->n > 0 && now_usec - newest->at_usec < BASE_LEAST_USEC / (MLG_MONITOR_POINTS - 2))
                return;
        t->points[t->next] = (MlgMonitorPoint) { now_usec, *raw };
        t->next = (t->next + 1) % MLG_MONITOR_POINTS;
        t->n += t->n < MLG_MONITOR_POINTS;
}

static uint32_t stall_permille(uint64_t now, uint64_t before, uint64_t dt_usec) {
        return (uint32_t) mlg_min(mlg_mul_div(now - before, 1000, dt_usec), 1000);
}

static bool take_stalls(const MlgRawMonitor *r, const MlgRawMonitor *b, uint64_t dt_usec, uint64_t now_usec, MlgSample *s) {
        if (!(r->have & b->have & MLG_MONITOR_PSI))
                return true;
        if (r->psi_some_usec < b->psi_some_usec || r->psi_full_usec < b->psi_full_usec ||
            r->psi_some_usec - b->psi_some_usec > dt_usec + CLOCK_SLACK_USEC)
                return false;
        s->knows_stalls = true;
        s->stall_some_permille = stall_permille(r->psi_some_usec, b->psi_some_usec, dt_usec);
        s->stall_full_permille = stall_permille(r->psi_full_usec, b->psi_full_usec, dt_usec);
        if (r->alarm && r->psi_some_usec - b->psi_some_usec >= ALARM_LEAST_USEC)
                s->alarm_usec = now_usec;
        return true;
}

/* An OOM kill is counted from one message to the next, not over a second: it counts once. */
static bool take_kills(MlgSampler *st, const MlgRawMonitor *r, uint64_t now_usec, MlgSample *s) {
        bool known = s->knows_oom;

        if (!(r->have & MLG_MONITOR_OOM))
                return true;
        s->knows_oom = true;
        s->oom_kills = r->oom_kills;
        if (!known)
                return true;
        if (r->oom_kills > st->last.oom_kills)
                s->oom_usec = now_usec;
        return r->oom_kills >= st->last.oom_kills;
}

/* Of the two reports `b` may be NULL: then nothing is known yet. */
static bool take_paging(const MlgRawMonitor *r, const MlgRawMonitor *b, uint64_t dt_usec, MlgSample *s) {
        uint32_t have = b ? r->have & b->have : 0;
        bool ok = true;

        ok &= mlg_sampler_rate(have & MLG_MONITOR_SWAP, r->swap_in_kib, b ? b->swap_in_kib : 0, dt_usec, &s->swap_in_kib_per_sec);
        ok &= mlg_sampler_rate(have & MLG_MONITOR_SWAP, r->swap_out_kib, b ? b->swap_out_kib : 0, dt_usec,
                               &s->swap_out_kib_per_sec);
        ok &= mlg_sampler_rate(have & MLG_MONITOR_FAULTS, r->major_faults, b ? b->major_faults : 0, dt_usec,
                               &s->major_faults_per_sec);
        return ok;
}

/* A swap-in that the host has ordered went on between the two: what was read, and waited for, was wanted by nobody but us, and there is
 * room for it. */
static bool swaps_in(const MlgRawMonitor *r, const MlgRawMonitor *b) {
        return (r->have & b->have & MLG_MONITOR_SWAP_IN_TOLD) &&
               (r->swap_in_state == MLG_SWAP_IN_RUNNING || b->swap_in_state == MLG_SWAP_IN_RUNNING ||
                r->swap_in_number != b->swap_in_number);
}

/* Everything that is a difference. False: a counter ran backwards, or too fast. */
static bool take_rates(MlgSampler *st, const MlgRawMonitor *r, uint64_t now_usec, MlgSample *s) {
        const MlgMonitorPoint *p = base_of(&st->monitor, now_usec);
        const MlgRawMonitor *base = p ? &p->raw : NULL;
        uint64_t dt_usec = p ? now_usec - p->at_usec : 0;
        bool ok = take_kills(st, r, now_usec, s);
        uint64_t alarm_usec = s->alarm_usec;

        if (!r->slow) /* the balloon's statistics tell that sooner */
                ok &= take_paging(r, base, dt_usec, s);
        s->refault_kib_per_sec = 0;
        if (!base)
                return ok;
        ok &= mlg_sampler_rate(r->have & base->have & MLG_MONITOR_REFAULTS, r->refault_kib, base->refault_kib, dt_usec,
                               &s->refault_kib_per_sec);
        ok &= take_stalls(r, base, dt_usec, now_usec, s);
        if (swaps_in(r, base)) {
                s->swap_in_kib_per_sec = s->refault_kib_per_sec = 0;
                s->stall_some_permille = s->stall_full_permille = 0;
                s->alarm_usec = alarm_usec;
        }
        return ok;
}

/* What it has out there. By the counters alone that is too much once programs have ended, and too little, down to nothing, where the same
 * pages are read again and again without being written. */
static uint64_t swapped_kib(const MlgRawMonitor *r) {
        if (r->have & MLG_MONITOR_SWAPPED)
                return r->swapped_kib;
        return r->have & MLG_MONITOR_SWAP ? mlg_sub_sat(r->swap_out_kib, r->swap_in_kib) : 0;
}

static void take_sizes(MlgSampler *st, const MlgRawMonitor *r, uint64_t least_kib, uint64_t most_kib, MlgSample *s) {
        uint64_t swapped = swapped_kib(r);

        s->source = MLG_SOURCE_MONITOR;
        s->is_new = true;
        s->age_usec = 0;
        s->trust = MLG_TRUST_FRESH;
        s->usable_kib = r->available_kib;
        s->knows_usable = true;
        s->unused_kib = r->free_kib;
        s->used_kib = mlg_sampler_demand(st, s, r->total_kib, least_kib, most_kib, swapped);
        st->has_base = true;
}

static bool take(MlgSampler *st, const MlgRawMonitor *raw, uint64_t now_usec, MlgSample *ret) {
        uint64_t from = mlg_sub_sat(now_usec, REPORT_DELAY_USEC + ACTUAL_AGE_USEC), least, most;
        MlgSample s = *ret;

        if (!mlg_sampler_actual_range(st, from, &least, &most) || !possible(raw, most, s.maximum_kib) ||
            !take_rates(st, raw, now_usec, &s))
                return false;
        s.knows_cold = raw->have & MLG_MONITOR_COLD;
        s.cold_kib = s.knows_cold ? raw->cold_kib : 0;
        if (raw->have & MLG_MONITOR_SIZES)
                take_sizes(st, raw, least, most, &s);
        *ret = s;
        return true;
}

void mlg_sampler_take_monitor(MlgSampler *st, const MlgRawMonitor *raw, uint64_t now_usec, uint64_t now_real_sec,
                              MlgSample *ret) {
        MlgMonitorTrack *t = &st->monitor;
        MlgSample s = st->last;

        s.is_new = false;
        if (t->seen_usec == 0 || now_usec - t->seen_usec > stale_usec(t)) {
                t->n = t->next = 0;
                forget(&s);
        }
        t->slow = raw->slow;
        t->possible = take(st, raw, now_usec, &s);
        t->has_sizes = raw->have & MLG_MONITOR_SIZES;
        t->seen_usec = now_usec;
        if (!t->possible) {
                forget(&s);
                t->n = t->next = 0; /* what comes next is measured against this one */
                if (s.source == MLG_SOURCE_MONITOR)
                        s.trust = MLG_TRUST_IMPOSSIBLE; /* until the balloon's next report */
        }
        remember(t, raw, now_usec);
        s.at_usec = now_usec;
        s.at_real_sec = now_real_sec;
        st->last = s;
        *ret = s;
}
