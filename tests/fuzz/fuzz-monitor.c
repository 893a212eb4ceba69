/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the monitor protocol, as both ends read it. Whatever the bytes: no crash, there is always room for more,
 * and what was understood is the same after it was written and read again. */
#include <string.h>

#include "fuzz.h"
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        MlgMonitorStream s = {};
        MlgMonitorFrame f;
        int r = 0;

        while (size > 0 && r >= 0) {
                size_t room, n;
                uint8_t *to = mlg_monitor_stream_room(&s, &room);

                g_assert(room > 0);
                n = mlg_min(MIN(room, size), 1 + data[0]); /* in pieces, as a socket gives them */
                memcpy(to, data, n);
                mlg_monitor_stream_filled(&s, n);
                data += n;
                size -= n;
                while ((r = mlg_monitor_stream_next(&s, &f)) > 0)
                        check(&f);
        }
        return 0;
}
