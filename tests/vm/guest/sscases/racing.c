/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Racing: another thread changes a call's block and its ranges while the call is read. The module must have
 * read each of them once: a call is refused and has touched nothing, or all that it took is back afterwards,
 * and nothing beside the ranges is ever written to. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "sscases.h"

#define CALLS_MOST 200000
#define OUTCOMES 500 /* of each of both, before that */

static struct mlg_ss_protect block;
static struct mlg_ss_range list[4], other_list[4];
static uint8_t *arena; /* a page that ranges are in, and one behind it that none is */
static volatile bool over;

/* What is right, and what is wrong in each way; as fast as it goes, each on its own. */
static void *change(__attribute__((unused)) void *arg) {
        const uint64_t lists[] = { (uintptr_t) list, (uintptr_t) other_list, 8, 0xffff888000000000 };
        const uint64_t addresses[] = { (uintptr_t) arena, (uintptr_t) arena + 512, 0xffff888000000000, ~0ul - 3 };
        const uint32_t sizes[] = { 64, 512, 0, ~0u }, counts[] = { 1, 4, 0, ~0u }, flags[] = { 0, MLG_SS_FORK, 0, 2 };

        for (uint32_t i = 0; !over; i++) {
                volatile struct mlg_ss_range *r = &(i & 4 ? list : other_list)[i >> 3 & 3];
                uint32_t wrong = i % 7 == 0 ? 2 + (i >> 5 & 1) : i & 1;

                r->address = addresses[wrong];
                r->bytes = sizes[i % 11 == 0 ? wrong : i & 1];
                ((volatile struct mlg_ss_protect *) &block)->ranges = lists[i % 13 == 0 ? wrong : i & 1];
                ((volatile struct mlg_ss_protect *) &block)->n_ranges = counts[i % 17 == 0 ? wrong : i & 1];
                ((volatile struct mlg_ss_protect *) &block)->flags = flags[i % 19 == 0 ? wrong : i & 1];
                r->address = addresses[i & 1];
                r->bytes = sizes[i & 1];
                ((volatile struct mlg_ss_protect *) &block)->ranges = lists[i & 1];
                ((volatile struct mlg_ss_protect *) &block)->n_ranges = counts[i & 1];
                ((volatile struct mlg_ss_protect *) &block)->flags = flags[i & 1];
        }
        return NULL;
}

static void nothing(__attribute__((unused)) void *arg) {
}

static bool whole(void) {
        for (size_t i = 0; i < 2 * 4096; i++)
                if (arena[i] != (uint8_t) (1 + i % 251))
                        return false;
        return true;
}

void cases_racing(void) {
        typedef __int128 both(int, struct mlg_ss_protect *, callee *, void *, uint64_t);
        stub *volatile by = stub_call; /* that tells how far it came as well, see guarded_by() */
        unsigned int calls = 0, done = 0, refused = 0, odd = 0, damaged = 0;
        long last_odd = 0;
        pthread_t thread;

        arena = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (size_t i = 0; i < 2 * 4096; i++)
                arena[i] = (uint8_t) (1 + i % 251);
        for (size_t i = 0; i < 4; i++)
                list[i] = other_list[i] = (struct mlg_ss_range) { (uintptr_t) arena, 64, 0 };
        block = (struct mlg_ss_protect) { .ranges = (uintptr_t) list, .n_ranges = 1 };
        over = false;
        if (arena == MAP_FAILED || pthread_create(&thread, NULL, change, NULL) != 0) {
                report("racing", false, "it could not begin");
                return;
        }
        for (; calls < CALLS_MOST && (done < OUTCOMES || refused < OUTCOMES); calls++) {
                __int128 answer = ((both *) (void *) by)(device, &block, nothing, NULL, 0);
                long err = (long) answer;

                if ((int) (answer >> 64) == 0 && (err == -EINVAL || err == -EFAULT || err == -E2BIG))
                        refused++;
                else if ((int) (answer >> 64) == 2 && err == 0)
                        done++;
                else {
                        odd++;
                        last_odd = err;
                }
                damaged += !whole();
        }
        over = true;
        pthread_join(thread, NULL);
        report("racing", odd == 0 && damaged == 0 && done >= OUTCOMES && refused >= OUTCOMES,
               "of %u calls whose blocks changed %u were done, %u refused, %u ended otherwise (%ld); damaged: %u",
               calls, done, refused, odd, last_odd, damaged);
        report("racing", stat_of("held_stat", 1) == 0, "entries that are left: %ld", stat_of("held_stat", 1));
}
