/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flex-server SOCKET POOL-MIB QUOTA-MIB [OWNER-UID]: one guest's MemFlex pool without memlegod, for
 * experiments with guests.
 *
 * Whoever may connect is the guest. All of the quota may be lent at first. Lines on the standard input
 * change that:
 *     target MIB | quota MIB | callback MSEC | fail yes|no (the ledger has no room) | show | quit
 *     flip (one bit of each page of the chunks, as broken memory may; once more, and all is right again)
 * Prints who comes and goes, what is wrong, and once a second, and when asked, what was lent and what the
 * guest says. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memflex/lender.h"
#include "memlego/memflex-abi.h"
#include "util/util.h"

typedef struct Terms {
        MlgFlexLender *lender;
        uint64_t quota_bytes, callback_usec, charge_bytes;
        bool no_room, quit;
        int memory_fd;
} Terms;

static bool on_join(pid_t pid, void *userdata) {
        printf("join pid %d\n", (int) pid);
        return true;
}

static void on_leave(void *userdata) {
        printf("leave\n");
}

static uint64_t on_lend(uint64_t to_bytes, void *userdata) {
        return ((const Terms *) userdata)->no_room ? 0 : to_bytes;
}

static void on_charge(uint64_t bytes, void *userdata) {
        ((Terms *) userdata)->charge_bytes = bytes;
}

static void on_keep(const char *name, int fd, void *userdata) {
        if (strcmp(name, "region") == 0)
                ((Terms *) userdata)->memory_fd = fd;
}

static void on_complaint(pid_t pid, const char *what, void *userdata) {
        printf("complaint pid %d: %s\n", (int) pid, what);
}

static const MlgFlexCallbacks callbacks = {
        .on_join = on_join,
        .on_leave = on_leave,
        .on_lend = on_lend,
        .on_charge = on_charge,
        .on_complaint = on_complaint,
        .on_keep = on_keep,
};

static void show(const Terms *t) {
        MlgSwapStatus s;

        mlg_flex_lender_status(t->lender, &s);
        printf("state %d epoch %" PRIu32 " target %" PRIu64 " lent %" PRIu64 " backed %" PRIu64
               " charged %" PRIu64 " KiB, wants %" PRIu64 " holds %" PRIu64 " KiB, calls %" PRIu64
               " met %" PRIu64 " late %" PRIu64 " last took %" PRIu64 " us\n",
               (int) s.state, s.epoch, s.target_kib, s.lent_kib, s.backed_kib, t->charge_bytes / 1024,
               s.wanted_kib, s.held_kib, s.called_back, s.met, s.late, s.callback_usec);
        printf("  device %" PRIu64 " disk %" PRIu64 " used %" PRIu64 " same %" PRIu64 " on disk %" PRIu64
               " KiB, reads %" PRIu64 "+%" PRIu64 " writes %" PRIu64 "+%" PRIu64 " written back %" PRIu64
               " errors %" PRIu64 "\n",
               s.device_kib, s.disk_kib, s.used_kib, s.same_kib, s.on_disk_kib, s.pool_reads, s.disk_reads,
               s.pool_writes, s.disk_writes, s.written_back, s.errors);
}

/* What is no more than a hole stays one. */
static void flip(int fd) {
        off_t at = lseek(fd, MLG_FLEX_CHUNKS_AT, SEEK_DATA), end;
        uint32_t n = 0;

        for (; at >= 0; at = lseek(fd, end, SEEK_DATA)) {
                end = lseek(fd, at, SEEK_HOLE);
                for (; at < end; at += 4096, n++) {
                        char byte = 0;

                        if (pread(fd, &byte, 1, at + 1234) != 1)
                                break;
                        byte ^= 4;
                        if (pwrite(fd, &byte, 1, at + 1234) != 1)
                                break;
                }
        }
        printf("flipped %" PRIu32 " pages\n", n);
}

static void obey(Terms *t, const char *line) {
        uint64_t number = 0;
        char word[16] = "", text[16] = "";

        if (sscanf(line, "%15s %15s", word, text) < 1)
                return;
        number = strtoull(text, NULL, 10);
        if (strcmp(word, "target") == 0)
                mlg_flex_lender_set_target(t->lender, number << 20);
        else if (strcmp(word, "quota") == 0)
                mlg_flex_lender_set_terms(t->lender, t->quota_bytes = number << 20, t->callback_usec);
        else if (strcmp(word, "callback") == 0)
                mlg_flex_lender_set_terms(t->lender, t->quota_bytes, t->callback_usec = number * 1000);
        else if (strcmp(word, "fail") == 0)
                t->no_room = strcmp(text, "yes") == 0;
        else if (strcmp(word, "show") == 0)
                show(t);
        else if (strcmp(word, "flip") == 0)
                flip(t->memory_fd);
        else if (strcmp(word, "quit") == 0)
                t->quit = true;
        else
                printf("not understood: %s\n", line);
}

/* At its end we go on without it. */
static void read_lines(Terms *t, int *fd) {
        char bytes[512];
        ssize_t n = read(*fd, bytes, sizeof(bytes) - 1);

        if (n <= 0) {
                *fd = -1;
                return;
        }
        bytes[n] = '\0';
        for (char *rest = bytes, *line; (line = strtok_r(rest, "\n", &rest));)
                obey(t, line);
}

static uint64_t now_usec(void) {
        return (uint64_t) g_get_monotonic_time();
}

static void serve(Terms *t) {
        const MlgPollable *p = mlg_flex_lender_pollable(t->lender);
        uint64_t show_usec = 0;
        int in = STDIN_FILENO;

        while (!t->quit) {
                uint64_t now = now_usec(), until = mlg_min(p->deadline_usec(p->userdata), show_usec);
                struct pollfd fds[] = { { .fd = p->fd, .events = POLLIN }, { .fd = in, .events = POLLIN } };

                (void) poll(fds, G_N_ELEMENTS(fds),
                            (int) (mlg_min(mlg_sub_sat(until, now), MLG_USEC_PER_SEC) + 999) / 1000);
                now = now_usec();
                if (fds[1].revents)
                        read_lines(t, &in);
                (void) p->dispatch(now, p->userdata);
                if (now >= show_usec) {
                        show(t);
                        show_usec = now + MLG_USEC_PER_SEC;
                }
        }
}

int main(int argc, char **argv) {
        Terms t = { .callback_usec = 5 * MLG_USEC_PER_SEC, .memory_fd = -1 };
        MlgFlexOptions o = { .owner = (uid_t) -1, .callback_usec = t.callback_usec };
        int r;

        if (argc < 4) {
                fprintf(stderr, "usage: flex-server SOCKET POOL-MIB QUOTA-MIB [OWNER-UID]\n");
                return 2;
        }
        setvbuf(stdout, NULL, _IOLBF, 0);
        o.path = argv[1];
        o.pool_bytes = strtoull(argv[2], NULL, 10) << 20;
        o.quota_bytes = t.quota_bytes = strtoull(argv[3], NULL, 10) << 20;
        if (argc > 4)
                o.owner = (uid_t) strtoul(argv[4], NULL, 10);
        r = mlg_flex_lender_new(&o, &callbacks, &t, &t.lender);
        if (r < 0) {
                fprintf(stderr, "cannot serve %s: %s\n", o.path, g_strerror(-r));
                return 1;
        }
        mlg_flex_lender_set_target(t.lender, t.quota_bytes);
        serve(&t);
        (void) mlg_flex_lender_free(t.lender);
        return 0;
}
