/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fake peer: answers memlegoctl over a socket, without a bus daemon, in a process of its own.
 *
 * It plays bus and service at once. What it answers depends on its temper and on the arguments. */
#pragma once

#include <sys/types.h>

typedef enum FakeTemper {
        FAKE_GOOD,       /* answers as documented */
        FAKE_ABSENT,     /* the bus is there, memlegod is not */
        FAKE_DENIES,     /* refuses everything */
        FAKE_BAD_CONFIG, /* Reload fails */
        FAKE_GARBLED,    /* answers of other types than documented, and broken JSON */
        FAKE_HANGS_UP,   /* closes the connection instead of answering */
        FAKE_FAILS,      /* each call ends with an error of memlegod's own */
        FAKE_FALLS_SILENT, /* answers the first call, and no other */
} FakeTemper;

typedef struct FakePeer {
        pid_t pid;
        char dir[64];
        char address[128]; /* for --address */
} FakePeer;

void fake_peer_start(FakePeer *f, FakeTemper temper, const char *dump);
void fake_peer_stop(FakePeer *f);
