/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bus, inside: what the files of this directory share. Nobody else includes it. */
#pragma once

#include <sys/types.h>

#include "bus/bus.h"
#include "memlego/names.h"
#include "util/util.h"

/* Limits on what clients can make us keep. */
#define MLG_BUS_PENDING_MAX 64          /* per stage of a change */
#define MLG_BUS_PENDING_PER_USER_MAX 16 /* of those, of one user; of one connection while the user is not known */
#define MLG_BUS_UNKNOWN_MAX 8192        /* whose user is not known yet: more than one user's 256 connections may ask */
#define MLG_BUS_QUEUE_MAX 4096          /* messages the bus has not taken: no signals then */
#define MLG_BUS_TEXT_MAX (24u << 20)    /* of one string sent; the system bus takes messages up to 32 MiB */
#define MLG_BUS_RESERVATIONS_MAX 1024   /* shown by ListReservations */
#define MLG_BUS_RULES_MAX 64            /* of one guest: all that there may be */
#define MLG_BUS_PLUGINS_MAX 64          /* shown by ListPlugins */
#define MLG_BUS_SWAPS_MAX 2048          /* shown by ListSwaps */
#define MLG_BUS_PIPES_MAX 128           /* shown by ListPipes: those configured, and those that go */
#define MLG_BUS_PROPOSALS_MAX 4096      /* shown by ListProposals; one of each guest */

/* Limits on arguments. */
#define MLG_BUS_KIB_MAX (UINT64_C(1) << 50) /* 1 EiB: no machine has more; 4096 of them can be summed up */
#define MLG_BUS_HOLD_USEC_MIN MLG_USEC_PER_SEC
#define MLG_BUS_HOLD_USEC_MAX (7 * 24 * 3600 * MLG_USEC_PER_SEC)
#define MLG_BUS_ALLOW_USEC_MIN MLG_USEC_PER_SEC
#define MLG_BUS_ALLOW_USEC_MAX (7 * 24 * 3600 * MLG_USEC_PER_SEC)
#define MLG_BUS_RESERVE_USEC_MIN MLG_USEC_PER_SEC
#define MLG_BUS_RESERVE_USEC_MAX (24 * 3600 * MLG_USEC_PER_SEC)
#define MLG_BUS_ROOM_WAIT_USEC (20 * MLG_USEC_PER_SEC) /* D-Bus clients give up after 25 s */

#define _bus_unref_ __attribute__((cleanup(sd_bus_message_unrefp)))

/* What properties are read from: filled by the find function of each vtable, once per message. */
typedef struct MlgBusHostView {
        MlgHostStatus st; /* must stay first */
        const char *state, *alarm;
        MlgBus *bus;
} MlgBusHostView;

typedef struct MlgBusGuestView {
        MlgGuestStatus st; /* must stay first */
        MlgBus *bus;
} MlgBusGuestView;

#define MLG_BUS_LIST_KEY_MAX 64
typedef struct MlgBusPipeView {
        MlgPipeStatus st;
        const char *state, *attach, *isolation;
        /* Others for other lists. */
        char guests_key[MLG_BUS_LIST_KEY_MAX + 1], pairs_key[MLG_BUS_LIST_KEY_MAX + 1];
        uint64_t used_kib, sent_bytes, connections, outcomes[MLG_PIPE_REASONS];
        uint32_t utilisation_permille;
} MlgBusPipeView;

typedef struct MlgBusSwapView {
        MlgSwapStatus st;
        const char *state, *attach, *swap_in;
        uint64_t shares, epoch, hits_permille;
} MlgBusSwapView;

struct MlgBus {
        sd_bus *bus;
        const MlgBusOps *ops;
        void *userdata;
        MlgPollable pollable;
        bool is_peer;      /* the other end is one trusted client, not a bus */
        bool name_pending; /* RequestName is not answered yet */
        int name_error;    /* what it was answered, 0 or -errno */
        MlgBusHostView host;
        MlgBusGuestView guest;
        MlgBusPipeView pipe;
        MlgBusSwapView swap;

        GQueue pending;     /* MlgPending; written by request.c */
        uint64_t next_pending;
        GHashTable *early;  /* id -> GError or NULL: settled while ops->reserve() is still running */

        GHashTable *seen;       /* uuid -> MlgSeen: what listeners were told; written by changes.c */
        struct MlgSeen *seen_host;
        GHashTable *seen_pipes; /* the same by name of the group */
        bool pipes_dirty;
};

/* bus.c */
int mlg_bus_add_string(sd_bus_message *m, const char *s); /* makes it valid UTF-8 where it is not */
int mlg_bus_set_error(sd_bus_error *ret, const GError *e);
int mlg_bus_fail(sd_bus_error *ret, MlgError code, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
uint64_t mlg_bus_now_usec(void);
char *mlg_bus_guest_path(const char *uuid);
int mlg_bus_get_chars(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error);
int mlg_bus_get_bool(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error);

/* manager.c */
extern const sd_bus_vtable mlg_bus_manager_vtable[];
int mlg_bus_manager_publish(MlgBus *b);
void mlg_bus_manager_fill(MlgBus *b); /* b->host */

/* A reply that is a list: `append` adds the i-th of n elements of type `of` to m, or nothing. */
typedef int (*MlgBusAppendFn)(sd_bus_message *m, size_t i, const void *list);
int mlg_bus_reply_list(sd_bus_message *call, const char *of, size_t n, MlgBusAppendFn append, const void *list);
/* a{st}: why connections are with TCP, and how many; what counts nothing is left out. */
int mlg_bus_append_fallbacks(sd_bus_message *m, const uint64_t outcomes[static MLG_PIPE_REASONS]);
int mlg_bus_append_text(sd_bus_message *m, const char *key, const char *value); /* an entry of an a{sv} */

/* proposals.c */
int mlg_bus_on_list_proposals(sd_bus_message *m, void *userdata, sd_bus_error *error);
int mlg_bus_on_approve(sd_bus_message *m, void *userdata, sd_bus_error *error);
int mlg_bus_on_reject(sd_bus_message *m, void *userdata, sd_bus_error *error);
int mlg_bus_on_approve_all(sd_bus_message *m, void *userdata, sd_bus_error *error);
int mlg_bus_on_end_approval(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* pipes.c */
int mlg_bus_on_list_pipes(sd_bus_message *m, void *userdata, sd_bus_error *error);
int mlg_bus_on_list_pipe_members(sd_bus_message *m, void *userdata, sd_bus_error *error);
int mlg_bus_on_list_pipe_pairs(sd_bus_message *m, void *userdata, sd_bus_error *error);
int mlg_bus_on_attach_pipe(sd_bus_message *m, void *userdata, sd_bus_error *error);
int mlg_bus_on_detach_pipe(sd_bus_message *m, void *userdata, sd_bus_error *error);

size_t mlg_bus_read_pipes(const MlgBus *b, MlgPipeStatus **ret); /* a list that the caller frees */

/* swaps.c */
int mlg_bus_on_list_swaps(sd_bus_message *m, void *userdata, sd_bus_error *error);
int mlg_bus_swaps_publish(MlgBus *b);

/* pipe.c */
extern const sd_bus_vtable mlg_bus_pipe_vtable[];
int mlg_bus_pipe_publish(MlgBus *b);
char *mlg_bus_pipe_path(const char *name); /* of malloc() */
void mlg_bus_pipe_fill(MlgBus *b, const MlgPipeStatus *st); /* b->pipe */

/* guest.c */
extern const sd_bus_vtable mlg_bus_guest_vtable[];
int mlg_bus_guest_publish(MlgBus *b);
int mlg_bus_reply_decisions(MlgBus *b, sd_bus_message *m, const char *uuid);
int mlg_bus_reply_rules(MlgBus *b, sd_bus_message *m, const char *uuid);

/* request.c: changes, as clients ask for them: checked, then authorised, then done. */
typedef enum MlgRequestKind {
        MLG_REQUEST_RELOAD,
        MLG_REQUEST_PAUSE,
        MLG_REQUEST_RESUME,
        MLG_REQUEST_SET_TARGET,
        MLG_REQUEST_RESERVE,
        MLG_REQUEST_RELEASE,
        MLG_REQUEST_APPROVE,
        MLG_REQUEST_REJECT,
        MLG_REQUEST_APPROVE_ALL,
        MLG_REQUEST_END_APPROVAL,
        MLG_REQUEST_ATTACH_PIPE,
        MLG_REQUEST_DETACH_PIPE,
        _MLG_REQUEST_KIND_MAX,
} MlgRequestKind;

typedef struct MlgRequest {
        MlgRequestKind kind;
        char guest[MLG_NAME_MAX + 1]; /* name or UUID, as the client wrote it; empty: all */
        uint64_t amount;              /* KiB, or the id of a reservation or proposal */
        uint64_t usec;
} MlgRequest;

int mlg_request_start(MlgBus *b, sd_bus_message *m, const MlgRequest *q, sd_bus_error *error);
int mlg_request_set_guest(MlgRequest *q, const char *name_or_uuid, sd_bus_error *error);
/* The same of the message's next argument. */
int mlg_request_read_guest(MlgRequest *q, sd_bus_message *m, sd_bus_error *error);
/* A method of the manager whose one argument is the guest. */
int mlg_request_start_named(sd_bus_message *m, MlgBusHostView *view, MlgRequestKind kind, sd_bus_error *error);
int mlg_request_set_target(MlgRequest *q, uint64_t kib, uint64_t hold_usec, sd_bus_error *error);
uint64_t mlg_requests_deadline_usec(const MlgBus *b);
void mlg_requests_expire(MlgBus *b, uint64_t now_usec);
void mlg_requests_drop(MlgBus *b); /* the connection is lost: nobody waits any more */

/* polkit.c */
int mlg_polkit_check(MlgBus *b, sd_bus_message *m, const char *action, const char *cancel_id,
                     sd_bus_message_handler_t fn, void *userdata, sd_bus_slot **ret);
void mlg_polkit_cancel(MlgBus *b, const char *cancel_id);
int mlg_polkit_read_answer(sd_bus_message *reply, const char *action, sd_bus_error *error);

/* changes.c */
typedef struct MlgSeen MlgSeen;
void mlg_changes_init(MlgBus *b);
void mlg_changes_done(MlgBus *b);
