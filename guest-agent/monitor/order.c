/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Order: see order.h. */
#include "order.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

/* As memflexctl(8) has them; while it waits it is running, to the host. */
static const struct {
        const char *word;
        MlgSwapInState state;
} states[] = {
        { "running", MLG_SWAP_IN_RUNNING },     { "waiting", MLG_SWAP_IN_RUNNING },   { "done", MLG_SWAP_IN_DONE },
        { "limit", MLG_SWAP_IN_LIMIT },         { "watermark", MLG_SWAP_IN_WATERMARK }, { "pressure", MLG_SWAP_IN_PRESSURE },
        { "aborted", MLG_SWAP_IN_ABORTED },
};

bool order_parse(const char *line, uint64_t *ret_state, uint64_t *ret_done_kib) {
        unsigned long long done_kib;
        char word[16];

        if (sscanf(line, "state=%15s done_kib=%llu", word, &done_kib) != 2)
                return false;
        for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
                if (strcmp(word, states[i].word) == 0) {
                        *ret_state = states[i].state;
                        *ret_done_kib = done_kib;
                        return true;
                }
        return false;
}

/* A descriptor of what it says, or -1. */
static int start(const char *program, uint64_t limit_kib) {
        char limit[32];
        const char *const argv[] = { program, "swap-in", "--report", "--limit", limit, NULL };
        posix_spawn_file_actions_t actions;
        int out[2], r;
        pid_t pid;

        (void) snprintf(limit, sizeof(limit), "%" PRIu64, (limit_kib + 1023) / 1024);
        if (pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0)
                return -1;
        (void) posix_spawn_file_actions_init(&actions);
        (void) posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
        r = posix_spawnp(&pid, program, &actions, NULL, (char *const *) argv, environ);
        (void) posix_spawn_file_actions_destroy(&actions);
        (void) close(out[1]);
        if (r == 0)
                return out[0];
        (void) close(out[0]);
        return -1;
}

void order_take(Order *o, uint64_t number, uint64_t limit_kib) {
        o->number = number;
        if (o->out >= 0)
                return;
        o->done_kib = 0;
        o->n = 0;
        o->out = start(o->program, limit_kib);
        o->state = o->out < 0 ? MLG_SWAP_IN_FAILED : MLG_SWAP_IN_RUNNING;
}

static void take_lines(Order *o) {
        char *line = o->line, *end;

        o->line[o->n] = '\0';
        for (; (end = strchr(line, '\n')); line = end + 1) {
                *end = '\0';
                (void) order_parse(line, &o->state, &o->done_kib);
        }
        o->n -= (size_t) (line - o->line);
        memmove(o->line, line, o->n);
        if (o->n == sizeof(o->line) - 1)
                o->n = 0; /* no line of ours */
}

bool order_readable(Order *o) {
        ssize_t n = read(o->out, o->line + o->n, sizeof(o->line) - 1 - o->n);

        if (n > 0) {
                o->n += (size_t) n;
                take_lines(o);
                return false;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return false;
        (void) close(o->out);
        o->out = -1;
        if (o->state == MLG_SWAP_IN_RUNNING) /* it said nothing of an end */
                o->state = MLG_SWAP_IN_FAILED;
        return true;
}

void order_forget(Order *o) {
        o->number = 0;
}

static void set(MlgFacts *f, MlgMonitorField id, uint64_t value) {
        f->known |= MLG_FIELD_BIT(id);
        f->values[MLG_FACT(id)] = value;
}

void order_facts(const Order *o, MlgFacts *f) {
        if (access(ORDER_DEVICE, F_OK) < 0)
                return;
        set(f, MLG_FIELD_SWAP_IN_NUMBER, o->number);
        set(f, MLG_FIELD_SWAP_IN_STATE, o->number ? o->state : MLG_SWAP_IN_NONE);
        set(f, MLG_FIELD_SWAP_IN_DONE, o->number ? o->done_kib : 0);
}
