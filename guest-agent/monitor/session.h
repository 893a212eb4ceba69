/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Session: the guest's end of the monitor protocol. Frames in, frames out: no descriptor, no clock.
 *
 * Invariants: nothing is kept of what was sent but the values and the sequence with which each of them was first sent
 * as it is; a frame that could not be written need not be written later, because whatever is not acknowledged is in the
 * next report again. */
#pragma once

#include "facts.h"

typedef struct Session {
        uint32_t id; /* 0: no host has said HELLO */
        uint32_t sequence, acked, heard;
        uint64_t interval_usec, stall_usec, window_usec; /* as the host wants them, within the protocol's limits */
        uint64_t order_number, order_kib;                  /* the newest swap-in that it ordered; 0: none */
        MlgFacts sent;
        uint32_t sent_at[MLG_FIELD_VALUES]; /* sequence of the first report with the value that is in `sent` */
} Session;

/* True: the host began a session or wants other settings: say hello if `*ret_is_new`, and set up the trigger. An order
 * only shows in s->order_number. */
bool session_take(Session *s, const MlgMonitorFrame *f, bool *ret_is_new);

void session_hello(Session *s, uint32_t features, uint64_t window_usec, MlgMonitorFrame *ret);
void session_report(Session *s, const MlgFacts *f, bool alarm, MlgMonitorFrame *ret);
/* The frame that was made last has been written. */
void session_sent(Session *s);
