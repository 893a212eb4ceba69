/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bus: org.memlego1 on the system bus.
 *
 * The bus knows nothing of the engine: it asks an MlgBusOps for plain values and forwards requests to it.
 * All of it runs on the loop's thread, through the pollable. Losing the bus never disturbs the balancing:
 * the service keeps going and calls mlg_bus_open_system() again with back-off when the pollable breaks.
 *
 * Reads are answered at once; who may send them is the D-Bus policy's business (group memlego). Changes are
 * authorised by polkit, asynchronously; root is always authorised; without polkit only root is. */
#pragma once

#include <glib.h>
#include <systemd/sd-bus.h>

#include "memlego/pipe.h"
#include "memlego/swap.h"
#include "memlego/proposal.h"
#include "memlego/status.h"
#include "util/error.h"
#include "util/pollable.h"

/* What the service offers to the bus. Uuids and names are not yet checked by the bus: keys come from
 * clients. GErrors are of MLG_ERROR. */
typedef struct MlgBusOps {
        void (*host_status)(MlgHostStatus *ret, void *userdata);
        size_t (*n_guests)(void *userdata);
        bool (*guest_at)(size_t i, MlgGuestStatus *ret, void *userdata);
        bool (*guest_find)(const char *name_or_uuid, MlgGuestStatus *ret, void *userdata);
        size_t (*decisions)(const char *uuid, MlgDecision *ret, size_t max, void *userdata); /* newest first */
        /* Those that hold for the guest, in their order. */
        size_t (*rules)(const char *uuid, MlgRuleStatus *ret, size_t max, void *userdata);
        size_t (*reservations)(MlgReservationStatus *ret, size_t max, void *userdata);
        size_t (*proposals)(MlgProposalStatus *ret, size_t max, void *userdata);
        size_t (*pipes)(MlgPipeStatus *ret, size_t max, void *userdata);
        size_t (*swaps)(MlgSwapStatus *ret, size_t max, void *userdata);
        size_t (*plugins)(MlgPluginStatus *ret, size_t max, void *userdata);

        /* *ret_changes: NULL-terminated sentences, one per change. The running configuration stays on
         * failure. */
        bool (*reload)(char ***ret_changes, GError **error, void *userdata);
        bool (*pause)(const char *uuid, bool paused, GError **error, void *userdata); /* uuid NULL: all */
        bool (*set_target)(const char *uuid, uint64_t kib, uint64_t hold_usec, GError **error, void *userdata);
        bool (*reserve)(uint64_t kib, uint64_t timeout_usec, const char *owner, uint64_t *ret_id, GError **error,
                        void *userdata);
        bool (*release)(uint64_t id, GError **error, void *userdata);
        bool (*approve)(uint64_t id, const MlgProposalVoter *by, GError **error, void *userdata);
        bool (*reject)(uint64_t id, const MlgProposalVoter *by, GError **error, void *userdata);
        /* uuid NULL: all; usec 0: only what is open now. *ret_n: how many of those there were. */
        bool (*approve_all)(const char *uuid, uint64_t usec, const MlgProposalVoter *by, uint32_t *ret_n, GError **error,
                            void *userdata);
        bool (*end_approval)(const char *uuid, const MlgProposalVoter *by, GError **error, void *userdata);
        /* Its device for shared memory; done later. */
        bool (*plug_pipe)(const char *uuid, bool attach, GError **error, void *userdata);
        char *(*dump)(void *userdata);   /* JSON, one object */
        char *(*config)(void *userdata); /* the configuration in force, as text, each key with its origin */
} MlgBusOps;

typedef struct MlgBus MlgBus;

/* Connects to the system bus, publishes the objects, asks for the name. */
int mlg_bus_open_system(const MlgBusOps *ops, void *userdata, MlgBus **ret);
/* The same over a connected socket (tests): takes the fd. */
int mlg_bus_open_fd(int fd, const MlgBusOps *ops, void *userdata, MlgBus **ret);
MlgBus *mlg_bus_free(MlgBus *b);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgBus, mlg_bus_free)

/* Valid as long as the bus; dispatch returns -errno when the connection is lost. */
const MlgPollable *mlg_bus_pollable(MlgBus *b);

/* Signals. Property changes are collected and sent once per turn by mlg_bus_flush_changes(). */
void mlg_bus_guest_added(MlgBus *b, const char *uuid, const char *name);
void mlg_bus_guest_removed(MlgBus *b, const char *uuid, const char *name);
void mlg_bus_resized(MlgBus *b, const char *uuid, const char *name, uint64_t from_kib, uint64_t to_kib, MlgReason why);
void mlg_bus_shortage(MlgBus *b, uint64_t missing_kib, uint64_t budget_kib);
void mlg_bus_host_alarm(MlgBus *b, MlgAlarm level, uint64_t missing_kib, uint64_t givable_kib);
void mlg_bus_guest_changed(MlgBus *b, const char *uuid); /* its properties may differ now */
void mlg_bus_host_changed(MlgBus *b);
void mlg_bus_pipes_changed(MlgBus *b); /* groups, or their properties */
void mlg_bus_flush_changes(MlgBus *b);

void mlg_bus_proposal_added(MlgBus *b, const char *uuid, const char *name, const MlgProposal *p);
void mlg_bus_proposal_removed(MlgBus *b, const char *uuid, const char *name, uint64_t id, MlgProposalEvent outcome);

/* A reservation's room is there (ready), or it ended before (error is set): answers the waiting
 * ReserveMemory call. */
void mlg_bus_reservation_settled(MlgBus *b, uint64_t id, const GError *error);
/* So much of its room is there; `owner`: the bus name of who waits for it, and does not know the id yet. */
void mlg_bus_reservation_progress(MlgBus *b, uint64_t id, const char *owner, uint64_t room_kib, uint64_t kib);
/* It expired or was released: signal ReservationReleased. */
void mlg_bus_reservation_released(MlgBus *b, uint64_t id, const char *why);
