/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Monitor protocol: bytes to frames and back. Plain C: memlego-guestd is built with this very file. */
#include "memlego/monitor-proto.h"

#include <errno.h>
#include <string.h>

#include "memlego/sample.h"

#define FIELD_BYTES 9

static const uint8_t magic[4] = { 'M', 'L', 'G', 'm' };

/* CRC-32, reflected, by half bytes: the table is 64 bytes, and a frame is short. */
static uint32_t crc32_add(uint32_t crc, const uint8_t *bytes, size_t n) {
        static const uint32_t table[16] = {
                0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
        };

        for (size_t i = 0; i < n; i++) {
                crc = table[(crc ^ bytes[i]) & 15] ^ (crc >> 4);
                crc = table[(crc ^ ((uint32_t) bytes[i] >> 4)) & 15] ^ (crc >> 4);
        }
        return crc;
}

static uint32_t sum_of(const uint8_t *frame, size_t payload) {
        uint32_t crc = crc32_add(UINT32_MAX, frame, MLG_MONITOR_HEADER_BYTES - 4);

        return ~crc32_add(crc, frame + MLG_MONITOR_HEADER_BYTES, payload);
}

static void put(uint8_t *to, uint64_t v, unsigned int bytes) {
        for (unsigned int i = 0; i < bytes; i++)
                to[i] = (uint8_t) (v >> (8 * i));
}

static uint64_t get(const uint8_t *from, unsigned int bytes) {
        uint64_t v = 0;

        for (unsigned int i = bytes; i > 0; i--)
                v = v << 8 | from[i - 1];
        return v;
}

bool mlg_monitor_frame_add(MlgMonitorFrame *f, MlgMonitorField id, uint64_t value) {
        if (f->n_fields >= MLG_MONITOR_FIELDS_MAX)
                return false;
        f->fields[f->n_fields].id = (uint8_t) id;
        f->fields[f->n_fields++].value = value;
        return true;
}

bool mlg_monitor_frame_get(const MlgMonitorFrame *f, MlgMonitorField id, uint64_t *ret) {
        for (uint32_t i = f->n_fields; i > 0; i--)
                if (f->fields[i - 1].id == id) {
                        *ret = f->fields[i - 1].value;
                        return true;
                }
        return false;
}

size_t mlg_monitor_pack(const MlgMonitorFrame *f, uint8_t ret[static MLG_MONITOR_FRAME_MAX]) {
        uint8_t *p = ret + MLG_MONITOR_HEADER_BYTES;
        size_t payload = f->n_fields * FIELD_BYTES;

        memcpy(ret, magic, sizeof(magic));
        ret[4] = MLG_MONITOR_VERSION;
        ret[5] = f->type;
        put(ret + 6, payload, 2);
        put(ret + 8, f->session, 4);
        put(ret + 12, f->sequence, 4);
        put(ret + 16, f->ack, 4);
        for (uint32_t i = 0; i < f->n_fields; i++, p += FIELD_BYTES) {
                p[0] = f->fields[i].id;
                put(p + 1, f->fields[i].value, 8);
        }
        put(ret + 20, sum_of(ret, payload), 4);
        return MLG_MONITOR_HEADER_BYTES + payload;
}

uint32_t mlg_monitor_features(uint32_t known) {
        static const struct {
                MlgMonitorHave have;
                uint32_t needs;
        } groups[] = {
                { MLG_MONITOR_SIZES,
                  MLG_FIELD_BIT(MLG_FIELD_TOTAL) | MLG_FIELD_BIT(MLG_FIELD_AVAILABLE) | MLG_FIELD_BIT(MLG_FIELD_FREE) },
                { MLG_MONITOR_LISTS, MLG_FIELD_BIT(MLG_FIELD_ACTIVE) | MLG_FIELD_BIT(MLG_FIELD_INACTIVE) },
                { MLG_MONITOR_SWAP, MLG_FIELD_BIT(MLG_FIELD_SWAP_IN) | MLG_FIELD_BIT(MLG_FIELD_SWAP_OUT) },
                { MLG_MONITOR_FAULTS, MLG_FIELD_BIT(MLG_FIELD_MAJOR_FAULTS) },
                { MLG_MONITOR_REFAULTS, MLG_FIELD_BIT(MLG_FIELD_REFAULTS) },
                { MLG_MONITOR_PSI, MLG_FIELD_BIT(MLG_FIELD_PSI_SOME) | MLG_FIELD_BIT(MLG_FIELD_PSI_FULL) },
                { MLG_MONITOR_OOM, MLG_FIELD_BIT(MLG_FIELD_OOM_KILLS) },
                { MLG_MONITOR_COLD, MLG_FIELD_BIT(MLG_FIELD_COLD) | MLG_FIELD_BIT(MLG_FIELD_COLD_AGE) },
                { MLG_MONITOR_SWAPPED, MLG_FIELD_BIT(MLG_FIELD_SWAPPED) },
                { MLG_MONITOR_SWAP_IN_TOLD, MLG_FIELD_BIT(MLG_FIELD_SWAP_IN_NUMBER) | MLG_FIELD_BIT(MLG_FIELD_SWAP_IN_STATE) |
                                                    MLG_FIELD_BIT(MLG_FIELD_SWAP_IN_DONE) },
                { MLG_MONITOR_STACK, MLG_FIELD_BIT(MLG_FIELD_STACK_CALLS) | MLG_FIELD_BIT(MLG_FIELD_STACK_HELD) |
                                             MLG_FIELD_BIT(MLG_FIELD_STACK_REFUSED) | MLG_FIELD_BIT(MLG_FIELD_STACK_FOREIGN) |
                                             MLG_FIELD_BIT(MLG_FIELD_STACK_PLACE) | MLG_FIELD_BIT(MLG_FIELD_STACK_NOTHING) |
                                             MLG_FIELD_BIT(MLG_FIELD_STACK_TRACED) | MLG_FIELD_BIT(MLG_FIELD_STACK_LOST) |
                                             MLG_FIELD_BIT(MLG_FIELD_STACK_NO_CHILD) },
        };
        uint32_t features = 0;

        for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
                if ((known & groups[i].needs) == groups[i].needs)
                        features |= groups[i].have;
        return features;
}

/* Could a frame begin so? As far as there are bytes of it. */
static bool may_begin(const uint8_t *bytes, size_t n) {
        return memcmp(bytes, magic, n < sizeof(magic) ? n : sizeof(magic)) == 0;
}

int mlg_monitor_unpack(const uint8_t *bytes, size_t n, MlgMonitorFrame *ret) {
        MlgMonitorFrame f = { 0 };
        size_t payload;

        if (!may_begin(bytes, n))
                return -EBADMSG;
        if (n > 4 && bytes[4] != MLG_MONITOR_VERSION)
                return -EPROTONOSUPPORT;
        if (n < MLG_MONITOR_HEADER_BYTES)
                return 0;
        payload = (size_t) get(bytes + 6, 2);
        if (payload > MLG_MONITOR_FRAME_MAX - MLG_MONITOR_HEADER_BYTES)
                return -EMSGSIZE;
        if (payload % FIELD_BYTES != 0)
                return -EBADMSG;
        if (n < MLG_MONITOR_HEADER_BYTES + payload)
                return 0;
        if (get(bytes + 20, 4) != sum_of(bytes, payload))
                return -EBADMSG;
        f.type = bytes[5];
        f.session = (uint32_t) get(bytes + 8, 4);
        f.sequence = (uint32_t) get(bytes + 12, 4);
        f.ack = (uint32_t) get(bytes + 16, 4);
        for (; f.n_fields < payload / FIELD_BYTES; f.n_fields++) {
                const uint8_t *p = bytes + MLG_MONITOR_HEADER_BYTES + f.n_fields * FIELD_BYTES;

                f.fields[f.n_fields].id = p[0];
                f.fields[f.n_fields].value = get(p + 1, 8);
        }
        *ret = f;
        return (int) (MLG_MONITOR_HEADER_BYTES + payload);
}

uint8_t *mlg_monitor_stream_room(MlgMonitorStream *s, size_t *ret_size) {
        *ret_size = sizeof(s->bytes) - s->n;
        return s->bytes + s->n;
}

void mlg_monitor_stream_filled(MlgMonitorStream *s, size_t n) {
        s->n += n;
}

static void drop(MlgMonitorStream *s, size_t n) {
        s->n -= n;
        memmove(s->bytes, s->bytes + n, s->n);
}

int mlg_monitor_stream_next(MlgMonitorStream *s, MlgMonitorFrame *ret) {
        size_t skip = 0;
        int r = 0;

        while (skip < s->n && (r = mlg_monitor_unpack(s->bytes + skip, s->n - skip, ret)) < 0 && !s->in_step) {
                s->other_version |= r == -EPROTONOSUPPORT;
                skip++;
                r = 0;
        }
        s->skipped += skip;
        drop(s, skip);
        /* A damaged frame of ours can look like one of another version, but not for longer than a frame. */
        if (!s->in_step && r == 0 && s->other_version && s->skipped > MLG_MONITOR_FRAME_MAX)
                return -EPROTONOSUPPORT;
        if (r <= 0)
                return r;
        s->in_step = true;
        drop(s, (size_t) r);
        return 1;
}
