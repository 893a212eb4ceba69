/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State: what must survive memlegod's own end, in one small JSON file.
 *
 * Invariants: the file is replaced atomically (write, rename); a target is written before it is asked for,
 * so that after a crash at any point the file names every target a guest may be moving to; an unreadable,
 * truncated or foreign file is set aside with a warning and never stops the start. Records of guests that
 * are gone are dropped, and what belongs to a run of a guest is worth nothing after the host was started anew:
 * hypervisors number the runs from 1 again. */
#pragma once

#include <glib.h>

#include "memlego/sample.h"

typedef struct MlgStateGuest {
        char uuid[MLG_UUID_LEN + 1];
        uint32_t instance;               /* MlgGuestInfo.instance the target belongs to */
        uint64_t target_kib;             /* last accepted; 0: none */
        uint64_t pending_kib;            /* asked for, not yet accepted; 0: none */
        bool stats_period_changed;       /* we turned statistics on ... */
        uint32_t stats_period_found_sec; /* ... and found this before */
        bool paused;                     /* Pause of this guest, by an operator */
        uint64_t manual_kib;             /* manual target; 0: none ... */
        uint64_t hold_until_real_usec;   /* ... held until then, CLOCK_REALTIME */
        uint64_t suffered_real_usec;     /* last time, CLOCK_REALTIME; 0: never */
        uint64_t started_real_usec;      /* when its start was seen; 0: it was not */
        uint64_t allowed_until_real_usec; /* its moves need no approval until then; 0: they do */
} MlgStateGuest;

typedef struct MlgStateReservation {
        uint64_t id;
        uint64_t kib;
        uint64_t expires_real_usec; /* CLOCK_REALTIME */
        bool taken;                 /* its guest has it: nothing is kept any more */
        char owner[64];
} MlgStateReservation;

typedef struct MlgState MlgState;

/* Opens DIR/targets.json (DIR NULL: nothing is kept, for --dry-run and tests). 0 also when there was no file
 * or a bad one (*ret_warning then says so, g_free()). `boot_id`: of the host, any text. */
int mlg_state_open(const char *dir, const char *boot_id, MlgState **ret, char **ret_warning);
MlgState *mlg_state_free(MlgState *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgState, mlg_state_free)

/* Valid until the next call that changes the state; NULL: nothing is known. */
const MlgStateGuest *mlg_state_guest(const MlgState *s, const char *uuid);
void mlg_state_put_guest(MlgState *s, const MlgStateGuest *g); /* in memory; limits: 4096 guests */
void mlg_state_drop_guest(MlgState *s, const char *uuid);
/* Drops those of which keep() says no. */
void mlg_state_keep_guests(MlgState *s, bool (*keep)(const char *uuid, void *userdata), void *userdata);
size_t mlg_state_reservations(const MlgState *s, const MlgStateReservation **ret);
void mlg_state_put_reservation(MlgState *s, const MlgStateReservation *r);
void mlg_state_drop_reservation(MlgState *s, uint64_t id);
bool mlg_state_paused(const MlgState *s); /* Pause of everything */
void mlg_state_set_paused(MlgState *s, bool paused);

/* Nobody's moves need approval until then, CLOCK_REALTIME; 0: they do. */
uint64_t mlg_state_allowed_until(const MlgState *s);
void mlg_state_set_allowed_until(MlgState *s, uint64_t real_usec);
uint64_t mlg_state_last_proposal(const MlgState *s); /* the last id that was used */
void mlg_state_set_last_proposal(MlgState *s, uint64_t id);

/* Writes if anything changed since the last write. 0 or -errno (the old file is then still whole). */
int mlg_state_sync(MlgState *s);
