/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the monitor protocol, as both ends read it. Whatever the bytes: no crash, there is always room for more,
 * and what was understood is the same after it was written and read again. Orders to swap in are never greater than what came,
 * nothing impossible is believed of them, and the guest never takes one twice. What is shown of securestack.ko is possible. */
#include <string.h>

#include "../../guest-agent/monitor/session.h"
#include "core/stack.h"
#include "core/swap-in.h"
#include "fuzz.h"
#include "hypervisor/guest-facts.h"
#include "memlego/monitor-proto.h"
#include "util/util.h"

static void check(const MlgMonitorFrame *f) {
        uint8_t bytes[MLG_MONITOR_FRAME_MAX];
        MlgMonitorFrame again;
        size_t n;

        g_assert(f->n_fields <= MLG_MONITOR_FIELDS_MAX);
        n = mlg_monitor_pack(f, bytes);
        g_assert(mlg_monitor_unpack(bytes, n, &again) == (int) n);
        g_assert(again.type == f->type && again.session == f->session && again.sequence == f->sequence && again.ack == f->ack);
        for (uint32_t i = 0; i < f->n_fields; i++)
                g_assert(again.fields[i].id == f->fields[i].id && again.fields[i].value == f->fields[i].value);
}

typedef struct Ends {
        Session session;     /* the guest's */
        MlgSwapIn swap_in;   /* the host's */
        MlgStack stack;
        MlgRawMonitor raw;
        uint32_t known;
        uint64_t now_usec, actual_kib;
} Ends;

static void to_guest(Ends *e, const MlgMonitorFrame *f) {
        Session before = e->session;
        bool is_new;

        (void) session_take(&e->session, f, &is_new);
        g_assert(is_new || e->session.order_number >= before.order_number);
        g_assert(e->session.order_number == before.order_number || is_new || e->session.order_kib > 0);
}

static void take_stack(Ends *e) {
        MlgStack before = e->stack;
        bool ok = mlg_stack_take(&e->stack, &e->raw, 1024 * MLG_KIB_PER_MIB);

        g_assert(!e->stack.known || (ok && e->stack.held_bytes <= UINT64_C(1) << 31 && e->stack.calls <= UINT64_C(1) << 53));
        for (int i = 0; i < _MLG_STACK_VIOLATION_MAX; i++) {
                g_assert(e->stack.violations[i] <= UINT64_C(1) << 53 && e->stack.untold[i] >= before.untold[i]);
                g_assert(ok || e->stack.violations[i] == before.violations[i]);
        }
}

/* Its memory goes up and down with what it says. */
static void to_host(Ends *e, const MlgMonitorFrame *f) {
        uint64_t base_kib = e->swap_in.base_kib, kib;

        for (uint32_t i = 0; i < f->n_fields; i++)
                if (f->fields[i].id >= MLG_FIELD_FIRST_VALUE && f->fields[i].id <= MLG_FIELD_LAST_VALUE) {
                        mlg_raw_monitor_set(&e->raw, f->fields[i].id, f->fields[i].value);
                        e->known |= MLG_FIELD_BIT(f->fields[i].id);
                }
        e->raw.have = mlg_monitor_features(e->known);
        e->now_usec += f->ack;
        e->actual_kib = 1 + f->sequence;
        mlg_swap_in_take(&e->swap_in, &e->raw, e->swap_in.n_told);
        kib = mlg_swap_in_offer(&e->swap_in, &e->raw, e->actual_kib, f->type & 1, e->now_usec);
        g_assert(kib == 0 || (base_kib > 0 && kib <= e->actual_kib - base_kib && kib <= e->raw.free_kib));
        take_stack(e);
        g_assert(e->swap_in.state < _MLG_SWAP_IN_STATE_MAX);
        g_assert(e->swap_in.done_kib <= e->swap_in.limit_kib + 64 * MLG_KIB_PER_MIB);
}

/* The input as frames without their sums, which chance does not find: a byte each of type and field, a value, session and sequence. */
static void plain_frames(const uint8_t *data, size_t size) {
        Ends ends = { .now_usec = MLG_USEC_PER_SEC };

        for (size_t at = 0; at + 18 <= size; at += 18) {
                MlgMonitorFrame f = { .type = data[at] % 8, .session = data[at + 10] % 4, .n_fields = 1 };

                f.fields[0].id = data[at + 1] % 48;
                memcpy(&f.fields[0].value, data + at + 2, 8);
                memcpy(&f.sequence, data + at + 11, 3);
                memcpy(&f.ack, data + at + 14, 4);
                f.fields[1] = f.fields[0]; /* the second one of an order */
                f.fields[1].id = MLG_FIELD_ORDER_KIB;
                f.n_fields += f.fields[0].id == MLG_FIELD_ORDER_NUMBER;
                to_guest(&ends, &f);
                to_host(&ends, &f);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Ends ends = { .now_usec = MLG_USEC_PER_SEC };
        MlgMonitorStream s = {};
        MlgMonitorFrame f;
        int r = 0;

        plain_frames(data, size);
        while (size > 0 && r >= 0) {
                size_t room, n;
                uint8_t *to = mlg_monitor_stream_room(&s, &room);

                g_assert(room > 0);
                n = mlg_min(MIN(room, size), 1 + data[0]); /* in pieces, as a socket gives them */
                memcpy(to, data, n);
                mlg_monitor_stream_filled(&s, n);
                data += n;
                size -= n;
                while ((r = mlg_monitor_stream_next(&s, &f)) > 0) {
                        check(&f);
                        to_guest(&ends, &f);
                        to_host(&ends, &f);
                }
        }
        return 0;
}
