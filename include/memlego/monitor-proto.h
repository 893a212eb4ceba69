/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Monitor protocol: what memlego-guestd in a guest and memlegod on its host say to each other over the virtio-serial
 * channel org.memlego.monitor.0.
 *
 * Binary frames with fixed fields, little endian, and not JSON: the program in the guest needs no library and no memory
 * of its own for them, a parser of a few lines that both ends share is easier to get right, and to fuzz, than a
 * tolerant one for text, and a frame that lost its middle is found by its sum. Nothing in a frame tells how much
 * memory to take: it has at most MLG_MONITOR_FRAME_MAX bytes.
 *
 *     offset  bytes
 *          0      4  "MLGm"
 *          4      1  version, 1
 *          5      1  type, MlgMonitorType
 *          6      2  size of the payload
 *          8      4  session: chosen by the host for each connection; 0: the guest has not heard one yet
 *         12      4  sequence: counts what this end sent in this session, from 1
 *         16      4  ack: the greatest sequence that this end received in this session
 *         20      4  CRC-32 (as in zlib) of the bytes before, and of the payload
 *         24         payload: fields of 9 bytes each, an id (MlgMonitorField) and a number of 8 bytes
 *
 * A conversation:
 *     host   HELLO session=S  interval, stall and window for the trigger      (when it has connected)
 *     guest  HELLO session=S  features                                        and all that it knows:
 *     guest  REPORT session=S sequence=2, fields
 *     host   ACK                                                              of what has fields
 *     guest  REPORT ...  each interval, only the fields that changed since a report that was acknowledged
 *     guest  ALARM  ...  the same, at once when the kernel says that tasks wait for memory
 *     host   CONFIG ...  when it wants another interval
 *     host   SWAP_IN     number N, up to so many KiB: memory was granted, swap in now
 *     guest  REPORT ...  swap-in number N runs, and how far it is; then how it ended
 *
 * SWAP_IN is repeated until a report has its number; numbers count from 1 in each session, and one that is not greater than the last is
 * no new order. A guest that cannot swap in never tells a number, not even 0, and is not asked.
 *
 * Bytes that nobody read before the host's end of the channel was closed are lost, in whole frames or in the middle of
 * one. Hence fields are repeated until they are acknowledged, and a new connection is a new session: what is left of an
 * old one is recognised by its number, and ignored. A guest that starts in the middle says HELLO with session 0, and
 * gets a HELLO. Live migration looks like any other reconnection.
 *
 * Fields and types that are not known are ignored, so that either end may be the newer one. Counters start at the
 * guest's boot. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MLG_MONITOR_PORT "org.memlego.monitor.0" /* name of the channel */
/* The same as a device of a libvirt guest; libvirt chooses the path of the socket. */
#define MLG_MONITOR_XML \
        "<channel type='unix'><source mode='bind'/><target type='virtio' name='" MLG_MONITOR_PORT "'/></channel>"
#define MLG_MONITOR_VERSION 1
#define MLG_MONITOR_HEADER_BYTES 24
#define MLG_MONITOR_FIELDS_MAX 32 /* in one frame */
#define MLG_MONITOR_FRAME_MAX (MLG_MONITOR_HEADER_BYTES + 9 * MLG_MONITOR_FIELDS_MAX)

/* Never reuse a number. */
typedef enum MlgMonitorType {
        MLG_MONITOR_HELLO = 1,
        MLG_MONITOR_REPORT = 2,
        MLG_MONITOR_ALARM = 3,
        MLG_MONITOR_ACK = 4,
        MLG_MONITOR_CONFIG = 5,
        MLG_MONITOR_SWAP_IN = 6,
} MlgMonitorType;

/* Never reuse a number. */
typedef enum MlgMonitorField {
        /* HELLO of the guest */
        MLG_FIELD_FEATURES = 1,       /* MlgMonitorHave: what it can tell */
        MLG_FIELD_GUEST_WINDOW = 2,   /* microseconds: the trigger's window that it got; 0: no trigger */

        /* HELLO and CONFIG of the host */
        MLG_FIELD_INTERVAL = 8,       /* microseconds between two reports */
        MLG_FIELD_STALL = 9,          /* microseconds that tasks wait within ... */
        MLG_FIELD_WINDOW = 10,        /* ... so many, for an alarm */

        /* SWAP_IN */
        MLG_FIELD_ORDER_NUMBER = 11,
        MLG_FIELD_ORDER_KIB = 12,     /* no more than that */

        /* REPORT and ALARM; sizes in KiB */
        MLG_FIELD_TOTAL = 16,
        MLG_FIELD_AVAILABLE = 17,
        MLG_FIELD_FREE = 18,
        MLG_FIELD_ACTIVE = 19,
        MLG_FIELD_INACTIVE = 20,
        MLG_FIELD_SWAP_IN = 21,
        MLG_FIELD_SWAP_OUT = 22,
        MLG_FIELD_MAJOR_FAULTS = 23,
        MLG_FIELD_REFAULTS = 24,
        MLG_FIELD_PSI_SOME = 25,
        MLG_FIELD_PSI_FULL = 26,
        MLG_FIELD_OOM_KILLS = 27,
        MLG_FIELD_COLD = 28,
        MLG_FIELD_COLD_AGE = 29,
        MLG_FIELD_SWAPPED = 30,        /* swapped out, and not in memory as well */
        MLG_FIELD_SWAP_IN_NUMBER = 31, /* the last order of this session that was taken; 0: none yet */
        MLG_FIELD_SWAP_IN_STATE = 32,  /* MlgSwapInState */
        MLG_FIELD_SWAP_IN_DONE = 33,   /* what was brought in by it so far */

        /* securestack.ko, all of them where it is loaded and none elsewhere: counters since then, which fall when it is loaded
         * anew, and what it holds now. The last six are violations, in the order of MlgStackViolation. */
        MLG_FIELD_STACK_CALLS = 34,    /* that were protected */
        MLG_FIELD_STACK_HELD = 35,     /* bytes */
        MLG_FIELD_STACK_REFUSED = 36,
        MLG_FIELD_STACK_FOREIGN = 37,
        MLG_FIELD_STACK_PLACE = 38,
        MLG_FIELD_STACK_NOTHING = 39,
        MLG_FIELD_STACK_TRACED = 40,
        MLG_FIELD_STACK_LOST = 41,
        MLG_FIELD_STACK_NO_CHILD = 42,
} MlgMonitorField;
#define MLG_FIELD_FIRST_VALUE MLG_FIELD_TOTAL
#define MLG_FIELD_LAST_VALUE MLG_FIELD_STACK_NO_CHILD
#define MLG_FIELD_VALUES (MLG_FIELD_LAST_VALUE - MLG_FIELD_FIRST_VALUE + 1)
#define MLG_FIELD_BIT(id) (UINT32_C(1) << ((id) - MLG_FIELD_FIRST_VALUE)) /* in sets of values */

/* What either end may ask for, and what it gets for less or more: a guest must not be made to spin by its host's
 * mistake, nor the kernel's limits for triggers be missed (its window is 500 ms to 10 s). */
#define MLG_MONITOR_INTERVAL_LEAST_USEC (50 * 1000)
#define MLG_MONITOR_INTERVAL_MOST_USEC (60 * 1000 * 1000)
#define MLG_MONITOR_WINDOW_LEAST_USEC (500 * 1000)
#define MLG_MONITOR_WINDOW_MOST_USEC (10 * 1000 * 1000)
/* Without CAP_SYS_RESOURCE the kernel takes only multiples of this. */
#define MLG_MONITOR_WINDOW_ANYBODY_USEC (2 * 1000 * 1000)

/* One frame, unpacked. Of fields that stand in it twice the last one counts. */
typedef struct MlgMonitorFrame {
        uint8_t type; /* MlgMonitorType, or one that is not known */
        uint32_t session, sequence, ack;
        uint32_t n_fields;
        struct {
                uint8_t id; /* MlgMonitorField, or one that is not known */
                uint64_t value;
        } fields[MLG_MONITOR_FIELDS_MAX];
} MlgMonitorFrame;

/* True, and the frame has one more field; false: it is full. */
bool mlg_monitor_frame_add(MlgMonitorFrame *f, MlgMonitorField id, uint64_t value);
bool mlg_monitor_frame_get(const MlgMonitorFrame *f, MlgMonitorField id, uint64_t *ret);

/* MlgMonitorHave: the groups of values of which all are in the set. */
uint32_t mlg_monitor_features(uint32_t known);

/* Packs a frame; returns its size. */
size_t mlg_monitor_pack(const MlgMonitorFrame *f, uint8_t ret[static MLG_MONITOR_FRAME_MAX]);

/* The frame at the start of `bytes`. > 0: so many bytes long; 0: there must be more bytes; -EBADMSG: no frame, or a
 * damaged one; -EMSGSIZE: too long; -EPROTONOSUPPORT: of another version. */
int mlg_monitor_unpack(const uint8_t *bytes, size_t n, MlgMonitorFrame *ret);

/* A stream of bytes that becomes frames; zero-initialised. */
typedef struct MlgMonitorStream {
        uint8_t bytes[2 * MLG_MONITOR_FRAME_MAX];
        size_t n;
        size_t skipped; /* bytes that belonged to no frame, before the first one */
        bool in_step;   /* there was a frame */
        bool other_version; /* what was skipped looked like frames of another version */
} MlgMonitorStream;

/* Where to put what is read, and at most how much: never 0 after all frames were taken. */
uint8_t *mlg_monitor_stream_room(MlgMonitorStream *s, size_t *ret_size);
void mlg_monitor_stream_filled(MlgMonitorStream *s, size_t n);
/* 1: a frame; 0: none yet; otherwise as mlg_monitor_unpack(): the stream is of no use any more. Before the first frame
 * of a connection the rest of an earlier one may stand: bytes are skipped up to where a frame can begin; where they go
 * on to look like frames of another version, that is what is returned. */
int mlg_monitor_stream_next(MlgMonitorStream *s, MlgMonitorFrame *ret);
