/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: SecureStack's entries against their model (unit/securestack-rig.c). The input is a list of
 * steps: ranges are protected at some place, restored at the same or another one, written over, copied for a
 * child; memory and quota run out. Nothing comes back but to whom it belongs, and as it was. */
#include "fuzz.h"
#include "steps.h"

#include "../unit/securestack-rig.h"

static struct ss_where next_where(Input *in) {
        uint8_t where = next_byte(in), site = next_byte(in);
        struct ss_where w = ss_rig_where(SS_RIG_STACK + (where & 0x80 ? SS_RIG_STACK : 0) +
                                                 64u * (where & 0x7f),
                                         site % 4);

        if (site >= 252)
                w.code_at++;
        return w;
}

static void protect(SsRig *r, Input *in) {
        struct mlg_ss_range range[MLG_SS_RANGES_MAX + 1];
        struct ss_where w = next_where(in);
        uint32_t n = next_byte(in) % (MLG_SS_RANGES_MAX + 2), flags = n % 2;

        for (uint32_t i = 0; i < n; i++) {
                uint8_t at = next_byte(in), bytes = next_byte(in);

                range[i] = (struct mlg_ss_range) { SS_RIG_BASE + at, bytes & 0x7f, bytes >> 7 };
                if (bytes == 0x7f)
                        range[i].address = ~0ULL - at;
        }
        (void) ss_rig_protect(r, &w, range, n, flags);
}

static void step(SsRig *r, Input *in) {
        uint8_t what = next_byte(in);

        switch (what % 8) {
        case 0:
        case 1:
        case 2:
                protect(r, in);
                break;
        case 3: { /* at a place that there is */
                struct ss_where w = next_where(in);

                if (r->n > 0)
                        w = ss_rig_where(r->entry[what / 8 % r->n].sp, r->entry[what / 8 % r->n].site);
                (void) ss_rig_restore(r, &w);
                break;
        }
        case 4: {
                struct ss_where w = next_where(in);

                (void) ss_rig_restore(r, &w);
                break;
        }
        case 5: {
                uint8_t at = next_byte(in), bytes = next_byte(in);

                (void) ss_rig_write(r, at * 2u, bytes, what);
                break;
        }
        case 6:
                (void) ss_rig_fork(r);
                break;
        default:
                ss_rig_allocs_left = what & 0x80 ? what / 8 % 8 : -1;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Input in = { data, size };
        SsRig r;

        ss_rig_init(&r, 256u * (1u + next_byte(&in)));
        while (in.size > 0)
                step(&r, &in);
        ss_rig_done(&r);
        return 0;
}
