/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recent peak: a guest will need as much as it needed at most in the last half hour.
 *
 * An example of a predictor for memlegod, see memlego-plugin(7). The peak of each minute is kept in a ring, so
 * the state is small however many reports come: 30 numbers, and not one for each second. */
#include <errno.h>
#include <memlego/plugin.h>

/* Most jobs that come back do so within half an hour; what is longer ago is not held against a guest. */
#define MINUTES 30
#define MINUTE_USEC UINT64_C(60000000)

/* Zeroed at first; memlegod owns it, one for each guest. */
typedef struct State {
        uint64_t minute;             /* of the last report, on the clock of the samples */
        uint64_t peak_kib[MINUTES];  /* by minute modulo MINUTES */
        uint64_t excess_kib;         /* by how much demand exceeded a forecast, on average */
        int seen;
} State;

static void observe(void *priv, const MlgSample *s, uint64_t horizon_usec) {
        State *st = (State *) priv;
        uint64_t minute = s->at_usec / MINUTE_USEC;
        uint64_t *peak = &st->peak_kib[minute % MINUTES];

        (void) horizon_usec;
        if (!st->seen)
                st->minute = minute;
        /* Minutes without a report have no peak (it was paused, say); after MINUTES of them all are gone. */
        for (int i = 0; st->minute < minute && i < MINUTES; i++)
                st->peak_kib[++st->minute % MINUTES] = 0;
        st->minute = minute;
        st->seen = 1;
        if (s->used_kib > *peak)
                *peak = s->used_kib;
}

static int predict(const void *priv, uint64_t horizon_usec, MlgForecast *ret) {
        const State *st = (const State *) priv;
        uint64_t peak_kib = 0;

        (void) horizon_usec;
        if (!st->seen)
                return -ENODATA;
        for (int i = 0; i < MINUTES; i++)
                if (st->peak_kib[i] > peak_kib)
                        peak_kib = st->peak_kib[i];
        ret->need_kib = peak_kib;
        ret->error_kib = st->excess_kib;
        return 0;
}

/* What became of an earlier forecast. An eighth of each: the last dozen of horizons count. */
static void reflect(void *priv, const MlgForecast *was, uint64_t actual_kib) {
        State *st = (State *) priv;
        uint64_t excess_kib = actual_kib > was->need_kib ? actual_kib - was->need_kib : 0;

        st->excess_kib = st->excess_kib - st->excess_kib / 8 + excess_kib / 8;
}

const MlgPredictorOps memlego_predictor = {
        .abi = MLG_PREDICTOR_ABI,
        .size = sizeof(MlgPredictorOps),
        .name = "recent-peak",
        .description = "the highest demand of the last half hour",
        .priv_size = sizeof(State),
        .observe = observe,
        .predict = predict,
        .reflect = reflect,
};
