/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Predictors: algorithms that say how much memory a guest will need.
 *
 * A predictor is a set of functions over a private state of `priv_size` bytes, which the engine allocates,
 * zeroed, one per guest, and frees. It owns no memory, reads no clock, does no I/O: same calls, same answer.
 * observe() is called once per fresh report, in the order of time; predict() at each decision; reflect()
 * once per horizon with what really was needed.
 *
 * The state may outlive a run of the guest (restarted()) and, with a state_version, a run of the daemon and of the host
 * (resumed()): it is written to a file as it is, byte by byte. So it holds no pointers; at_usec of the next sample may
 * then be long after that of the last one. A state that was damaged, or is of another predictor, version, size or
 * horizon, is never handed back. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "memlego/sample.h"

#define MLG_PREDICTOR_ABI 1

typedef struct MlgForecast {
        uint64_t need_kib;  /* expected demand within the horizon, without any cushion */
        uint64_t error_kib; /* typical size of its misses: by how much demand exceeded it (mean excess) */
        uint64_t upper_kib; /* demand that is rarely exceeded within the horizon; 0: this predictor has no opinion */
} MlgForecast;

typedef struct MlgPredictorOps {
        uint32_t abi;            /* MLG_PREDICTOR_ABI of the header it was built with */
        uint32_t size;           /* sizeof(MlgPredictorOps) then */
        const char *name;        /* value of Predictor=: [a-z0-9-]+ */
        const char *description; /* one line for people */
        size_t priv_size;        /* <= MLG_PREDICTOR_PRIV_MAX */

        /* Required. Takes a sample with trust FRESH; never fails. `horizon_usec` is the one that predict() will be asked
         * for; it changes with the configuration only, and then nothing need be kept. */
        void (*observe)(void *priv, const MlgSample *s, uint64_t horizon_usec);

        /* Required. 0, or -ENODATA: not enough history yet (ret is untouched). */
        int (*predict)(const void *priv, uint64_t horizon_usec, MlgForecast *ret);

        /* Optional: what was forecast, and the highest demand seen within its horizon. */
        void (*reflect)(void *priv, const MlgForecast *was, uint64_t actual_kib);

        /* Optional: the guest was started anew. Without it the state is zeroed then; with it what was learned over days
         * may be kept. */
        void (*restarted)(void *priv);

        /* Changes when the layout or the meaning of the state does; 0: the state is not saved, because what was learned in
         * seconds is learned anew in seconds. */
        uint32_t state_version;

        /* Optional: the state was saved by an earlier run of the daemon; at_usec of samples goes on from here, on a clock
         * that may have begun anew. Where the guest was started anew meanwhile, restarted() has been called before. */
        void (*resumed)(void *priv, uint64_t at_usec);

        /* Optional, of one that follows others: the name of the one that it follows now, a constant. */
        const char *(*follows)(const void *priv);
} MlgPredictorOps;

#define MLG_PREDICTOR_PRIV_MAX 16384 /* bytes per guest: 1,000 guests stay below 16 MiB */
