/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Session: see session.h. */
#include "session.h"

#include <string.h>

/* What a host that says nothing of it gets. */
#define INTERVAL_USEC (1000 * 1000)
#define STALL_USEC (50 * 1000)
#define WINDOW_USEC (1000 * 1000)

static uint64_t field(const MlgMonitorFrame *f, MlgMonitorField id, uint64_t otherwise, uint64_t least, uint64_t most) {
        uint64_t v = otherwise;

        (void) mlg_monitor_frame_get(f, id, &v);
        return v < least ? least : v > most ? most : v;
}

static void take_settings(Session *s, const MlgMonitorFrame *f) {
        s->interval_usec = field(f, MLG_FIELD_INTERVAL, INTERVAL_USEC, MLG_MONITOR_INTERVAL_LEAST_USEC,
                                 MLG_MONITOR_INTERVAL_MOST_USEC);
        s->window_usec = field(f, MLG_FIELD_WINDOW, WINDOW_USEC, MLG_MONITOR_WINDOW_LEAST_USEC,
                               MLG_MONITOR_WINDOW_MOST_USEC);
        s->stall_usec = field(f, MLG_FIELD_STALL, STALL_USEC, 1000, s->window_usec);
}

/* Said again until we answer: only a greater number is another one. */
static void take_order(Session *s, const MlgMonitorFrame *f) {
        uint64_t number = 0, kib = 0;

        (void) mlg_monitor_frame_get(f, MLG_FIELD_ORDER_NUMBER, &number);
        (void) mlg_monitor_frame_get(f, MLG_FIELD_ORDER_KIB, &kib);
        if (number <= s->order_number || kib == 0)
                return;
        s->order_number = number;
        s->order_kib = kib;
}

bool session_take(Session *s, const MlgMonitorFrame *f, bool *ret_is_new) {
        *ret_is_new = false;
        if (f->type == MLG_MONITOR_HELLO && f->session != 0) {
                *ret_is_new = true;
                *s = (Session) { .id = f->session, .heard = f->sequence };
                take_settings(s, f);
                return true;
        }
        if (s->id == 0 || f->session != s->id)
                return false; /* what is left of another conversation */
        if (f->sequence > s->heard)
                s->heard = f->sequence;
        if (f->ack > s->acked && f->ack <= s->sequence)
                s->acked = f->ack;
        if (f->type == MLG_MONITOR_SWAP_IN)
                take_order(s, f);
        if (f->type != MLG_MONITOR_CONFIG)
                return false;
        take_settings(s, f);
        return true;
}

static MlgMonitorFrame begin(const Session *s, MlgMonitorType type) {
        return (MlgMonitorFrame) { .type = (uint8_t) type, .session = s->id, .sequence = s->sequence + 1, .ack = s->heard };
}

void session_hello(Session *s, uint32_t features, uint64_t window_usec, MlgMonitorFrame *ret) {
        *ret = begin(s, MLG_MONITOR_HELLO);
        (void) mlg_monitor_frame_add(ret, MLG_FIELD_FEATURES, features);
        (void) mlg_monitor_frame_add(ret, MLG_FIELD_GUEST_WINDOW, window_usec);
}

void session_report(Session *s, const MlgFacts *f, bool alarm, MlgMonitorFrame *ret) {
        *ret = begin(s, alarm ? MLG_MONITOR_ALARM : MLG_MONITOR_REPORT);
        for (int i = 0; i < MLG_FIELD_VALUES; i++) {
                uint32_t bit = UINT32_C(1) << i;

                if (!(f->known & bit))
                        continue;
                if (!(s->sent.known & bit) || s->sent.values[i] != f->values[i]) {
                        s->sent.known |= bit;
                        s->sent.values[i] = f->values[i];
                        s->sent_at[i] = ret->sequence;
                }
                if (s->sent_at[i] > s->acked)
                        (void) mlg_monitor_frame_add(ret, (MlgMonitorField) (MLG_FIELD_FIRST_VALUE + i), f->values[i]);
        }
}

void session_sent(Session *s) {
        s->sequence++;
}
