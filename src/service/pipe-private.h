/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pipe, inside: what pipe.c (regions, guests' devices, the ledger) and pipe-pairs.c (groups whose members
 * share memory two by two) have in common. Nobody else includes it. */
#pragma once

#include "memlego/mempipe-abi.h"
#include "memlego/pipe.h"
#include "mempipe/group.h"
#include "mempipe/sharing.h"
#include "service/daemon-private.h"

/* "GROUP~p123": no section can have such a name. */
#define MLG_ROOM_NAME_MAX (MLG_PIPE_NAME_MAX + 10)
#define MLG_ROOM_MARK '~'

typedef enum MlgRoomKind {
        MLG_ROOM_GROUP, /* a section and its one region */
        MLG_ROOM_PAIRS, /* a section without memory of its own: it has rooms */
        MLG_ROOM_LOBBY, /* a room of one guest and the host, where it says whom it would talk to */
        MLG_ROOM_PAIR,  /* a room of two guests */
} MlgRoomKind;

typedef struct MlgPipePeer {
        char name[MLG_NAME_MAX + 1]; /* of the guest; "": nobody */
        pid_t pid;
} MlgPipePeer;

/* Of a lobby; pipe-pairs.c. */
#define MLG_WISHES_MAX 64
typedef struct MlgWishes {
        uint64_t syns[MLG_WISHES_MAX], times_usec[MLG_WISHES_MAX]; /* time 0: none */
        uint32_t next;
        uint64_t full_usec;        /* how far ahead of its rate it is: until then */
        uint64_t pairs_after_usec; /* it cannot have another device before then */
} MlgWishes;

typedef struct MlgDaemonPipe {
        MlgDaemon *daemon;
        MlgRoomKind kind;
        char name[MLG_ROOM_NAME_MAX + 1];
        struct MlgDaemonPipe *section; /* of a room */
        MlgPipeSettings settings;      /* of a section */
        bool going;                    /* it ends with its last member */
        uint32_t n_asked;              /* plugging of it that is not answered yet */
        MlgPipeGroup *group;           /* NULL: MLG_ROOM_PAIRS, or it is being made */
        MlgWatch *watch;
        uint64_t charge_kib;
        MlgPipePeer peers[MLG_PIPE_MEMBERS_MAX + 1]; /* by id */

        /* Of rooms: for whom they are; "": nobody (any more). */
        char guests[2][MLG_NAME_MAX + 1];
        MlgWishes wishes;
        /* Of a pair. */
        MlgPipeClaim claim;
        uint64_t used_usec;     /* when one of them had a connection, or sent, by its own word ... */
        uint64_t agreed_usec;   /* ... and when both said so */
        uint64_t sent_bytes[2]; /* as of then */
        uint64_t limit_kib;
        /* Of MLG_ROOM_PAIRS. */
        uint32_t last_number;
        uint64_t shared_usec, n_full; /* pairs that could not be, for want of a place */
} MlgDaemonPipe;

/* pipe.c */
/* Whether this cause may be logged now, of this guest (NULL: of nobody we know) in this group: no group,
 * guest or cause silences another. */
bool mlg_pipe_may_warn(const MlgDaemonPipe *p, const char *guest, unsigned int cause);
uint32_t mlg_pipe_id_of(const MlgDaemonPipe *p, const char *guest); /* 0: it is no member */
bool mlg_pipe_belongs(const MlgDaemon *d, const MlgDaemonPipe *section, const char *guest);
bool mlg_pipe_has_device(const MlgVm *vm, const MlgDaemonPipe *p);
/* A room of `section` is opened, with what was kept of it (NULL: nothing). NULL: it could not be, and that was
 * said. */
MlgDaemonPipe *mlg_pipe_open_room(MlgDaemonPipe *section, MlgRoomKind kind, const char *name,
                                  GHashTable *kept);

/* pipe-pairs.c */
void mlg_pairs_take_kept(MlgDaemonPipe *section, GHashTable *kept); /* rooms of an earlier memlegod */
void mlg_pairs_want(MlgDaemonPipe *section, const MlgVm *vm);       /* it gets a lobby */
void mlg_pairs_tend(MlgDaemon *d);                                  /* now and then */
void mlg_pairs_on_wish(uint64_t syn, uint64_t now_usec, void *lobby);
/* A device could not be added: what it was for is given up. */
void mlg_pairs_not_plugged(MlgDaemonPipe *room, const char *guest, uint64_t again_usec);
bool mlg_room_is_for(const MlgDaemonPipe *room, const char *guest);
void mlg_pairs_status(const MlgDaemonPipe *section, MlgPipeStatus *ret);
