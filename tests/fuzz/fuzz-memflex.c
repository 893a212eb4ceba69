/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: MemFlex's store against its model (unit/memflex-rig.c). The input is a list of steps: pages
 * are written, read and freed, chunks come and go, the disk succeeds or fails, the pool vanishes. No page
 * is ever wrong, and no number. */
#include "fuzz.h"
#include "steps.h"

#include "../unit/memflex-rig.h"

#define SLOTS 200u
#define CHUNKS 2u

static void step(FlexRig *r, Input *in) {
        uint8_t what = next_byte(in), which = next_byte(in);
        uint32_t slot = (which + (what & 0x80) * 2u) % (SLOTS + 1);

        switch (what % 17) {
        case 0:
        case 1:
        case 2:
                (void) flex_write(r, slot, 256u + next_byte(in));
                break;
        case 3:
                (void) flex_write(r, slot, next_byte(in));
                break;
        case 4: /* as many as fill something */
                for (uint32_t i = 0; i < 48; i++)
                        (void) flex_write(r, (slot + i) % SLOTS, 1000u + slot + i);
                break;
        case 5:
                (void) flex_read(r, slot);
                break;
        case 6:
                flex_free(r, slot);
                break;
        case 7:
                for (uint32_t i = 0; i < 48; i++)
                        flex_free(r, (slot + i) % SLOTS);
                break;
        case 8:
        case 9:
                (void) flex_lend(r, which % (CHUNKS + 1));
                break;
        case 10:
                (void) flex_give(r);
                break;
        case 11:
        case 12:
                (void) flex_drain(r, which % (MF_BATCH_CHUNKS + 1));
                break;
        case 13:
                flex_drained(r, which % 4 == 0 ? next_word(in) : 0, which & 1);
                break;
        case 14:
                mf_store_limit(&r->st, which % (CHUNKS + 2));
                break;
        case 15:
                for (uint32_t i = 0; i <= which % 8u; i++)
                        (void) flex_promote(r, slot + i, which & 8);
                break;
        default:
                if (which % 8 == 0)
                        flex_lose(r);
                else if (which % 8 < 4)
                        (void) flex_spoil(r, slot % SLOTS, next_word(in) & 0xffff);
                else
                        flex_check(r);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Input in = { data, size };
        FlexRig r;

        uint8_t kind = next_byte(&in);

        (kind & 64 ? flex_rig_init_packing : flex_rig_init)(&r, SLOTS, CHUNKS, kind % 4 != 0);
        while (in.size > 0)
                step(&r, &in);
        flex_check(&r);
        flex_rig_done(&r);
        return 0;
}
