/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Client: org.memlego1 as functions. All of them block until the answer is there, or its time is over.
 *
 * Errors are of MLG_CTL_ERROR: their code is the exit code, their message says what to do. A memlegod that
 * does not run is not started by a question: starting it is the operator's decision. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "ctl/render.h"
#include "util/util.h"

typedef struct MlgClient MlgClient;

/* Reads are answered at once; more than this is a hang. */
#define MLG_CLIENT_PATIENCE_USEC (10 * MLG_USEC_PER_SEC)

/* address NULL: the system bus (DBUS_SYSTEM_BUS_ADDRESS is respected). `patience_usec`: how long the bus may
 * take to greet us, and memlegod to answer a read; changes may need a person who types a password. */
MlgClient *mlg_client_open(const char *address, uint64_t patience_usec, GError **error);
void mlg_client_set_patience(MlgClient *c, uint64_t usec);
MlgClient *mlg_client_free(MlgClient *c);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgClient, mlg_client_free)

char *mlg_client_dump(MlgClient *c, GError **error);
char *mlg_client_config(MlgClient *c, GError **error);
char **mlg_client_guest_names(MlgClient *c, GError **error);
char **mlg_client_reload(MlgClient *c, GError **error); /* what changed */
bool mlg_client_pause(MlgClient *c, const char *guest, bool paused, GError **error); /* guest NULL: all */
bool mlg_client_set_target(MlgClient *c, const char *guest, uint64_t kib, uint64_t hold_usec,
                           GError **error);
/* `progress` (may be NULL) is called while the room is being made, where we may hear of it. */
typedef void (*MlgProgressFn)(uint64_t room_kib, uint64_t kib);
bool mlg_client_reserve(MlgClient *c, uint64_t kib, uint64_t timeout_usec, MlgProgressFn progress,
                        uint64_t *ret_id, GError **error);
bool mlg_client_release(MlgClient *c, uint64_t id, GError **error);
bool mlg_client_approve(MlgClient *c, uint64_t id, GError **error);
bool mlg_client_reject(MlgClient *c, uint64_t id, GError **error);
/* guest NULL: all; usec 0: only what is open now. *ret_n: how many of those there were. */
bool mlg_client_approve_all(MlgClient *c, const char *guest, uint64_t usec, uint32_t *ret_n, GError **error);
bool mlg_client_end_approval(MlgClient *c, const char *guest, GError **error); /* guest NULL: all */
GArray *mlg_client_reservations(MlgClient *c, GError **error);                  /* MlgCtlReservation */
GArray *mlg_client_plugins(MlgClient *c, GError **error);                       /* MlgCtlPlugin */
GArray *mlg_client_explain(MlgClient *c, const char *guest,
                           GError **error); /* MlgCtlDecision, newest first */
GArray *mlg_client_explain_rules(MlgClient *c, const char *guest, GError **error); /* MlgCtlRule */
GArray *mlg_client_proposals(MlgClient *c, GError **error);                     /* MlgCtlProposal */

GArray *mlg_client_pipes(MlgClient *c, GError **error);                         /* MlgCtlPipe */
GArray *mlg_client_pipe_members(MlgClient *c, GError **error);                  /* MlgCtlPipeMember */
GArray *mlg_client_pipe_pairs(MlgClient *c, GError **error);                    /* MlgCtlPipePair */
GArray *mlg_client_swaps(MlgClient *c, GError **error);                         /* MlgCtlSwap */
bool mlg_client_plug_pipe(MlgClient *c, const char *guest, bool attach, GError **error);

/* Pure: the exit code for an error of the bus. `name` may be NULL; `error` is a positive errno. */
int mlg_client_error_to_exit(const char *name, int error);
