/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests: changes that clients ask for. Each goes through the same stages, and none of them waits:
 *
 *   checked   its arguments are of a sensible size; nothing is kept before that
 *   who       the bus is asked for the sender's user: root may do everything
 *   may       polkit is asked about everybody else
 *   done      the service does it, and the client is answered
 *   room      only ReserveMemory: the answer waits until the whole room is there
 *
 * Invariants: each stage holds at most MLG_BUS_PENDING_MAX requests, and of one user
 * MLG_BUS_PENDING_PER_USER_MAX, so that no user can lock out others. In the first stage, where the user is not
 * known yet, the connection stands for it, and the stage is large enough for all connections that one user may
 * have. A request is in the list exactly while somebody waits for its answer; a reservation whose client did
 * not live to hear its id is released. */
#include "bus/bus-internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

typedef enum PendingStage { STAGE_WHO, STAGE_MAY, STAGE_ROOM } PendingStage;

typedef struct MlgPending {
        MlgBus *bus;
        sd_bus_message *m;
        MlgRequest q;
        PendingStage stage;
        uid_t uid;                /* valid from STAGE_MAY on */
        sd_bus_slot *call;        /* what we asked, and wait for */
        sd_bus_slot *gone;        /* tells when the client leaves the bus */
        char cancel_id[32];
        uint64_t reservation;     /* STAGE_ROOM */
        uint64_t deadline_usec;   /* STAGE_ROOM */
} MlgPending;

static const char *const actions[] = {
        [MLG_REQUEST_RELOAD] = MLG_POLKIT_RELOAD,
        [MLG_REQUEST_PAUSE] = MLG_POLKIT_PAUSE,
        [MLG_REQUEST_RESUME] = MLG_POLKIT_PAUSE,
        [MLG_REQUEST_SET_TARGET] = MLG_POLKIT_SET_TARGET,
        [MLG_REQUEST_RESERVE] = MLG_POLKIT_RESERVE,
        [MLG_REQUEST_RELEASE] = MLG_POLKIT_RESERVE,
        [MLG_REQUEST_APPROVE] = MLG_POLKIT_APPROVE,
        [MLG_REQUEST_REJECT] = MLG_POLKIT_APPROVE,
        [MLG_REQUEST_APPROVE_ALL] = MLG_POLKIT_APPROVE,
        [MLG_REQUEST_END_APPROVAL] = MLG_POLKIT_APPROVE,
        [MLG_REQUEST_ATTACH_PIPE] = MLG_POLKIT_PIPE,
        [MLG_REQUEST_DETACH_PIPE] = MLG_POLKIT_PIPE,
};
static_assert(G_N_ELEMENTS(actions) == _MLG_REQUEST_KIND_MAX, "actions[] misses a value");

static void pending_free(MlgPending *p) {
        g_queue_remove(&p->bus->pending, p);
        sd_bus_slot_unref(p->call);
        sd_bus_slot_unref(p->gone);
        sd_bus_message_unref(p->m);
        g_free(p);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgPending, pending_free)

static MlgPending *pending_new(MlgBus *b, sd_bus_message *m, const MlgRequest *q) {
        MlgPending *p = g_new0(MlgPending, 1);

        p->bus = b;
        p->m = sd_bus_message_ref(m);
        p->q = *q;
        p->uid = (uid_t) -1;
        (void) g_snprintf(p->cancel_id, sizeof(p->cancel_id), "memlego-%" PRIu64, ++b->next_pending);
        g_queue_push_tail(&b->pending, p);
        return p;
}

static const char *pending_sender(const MlgPending *p) {
        const char *sender = sd_bus_message_get_sender(p->m);

        return sender ? sender : "peer";
}

/* Is there a place for p in the stage? Before we know the user, the sender stands for it. */
static bool stage_has_room(const MlgPending *p, PendingStage stage) {
        size_t all = 0, own = 0;

        for (const GList *l = p->bus->pending.head; l; l = l->next) {
                const MlgPending *o = l->data;

                if (o == p || o->stage != stage)
                        continue;
                all++;
                own += stage == STAGE_WHO ? g_str_equal(pending_sender(o), pending_sender(p))
                                          : o->uid == p->uid;
        }
        return all < (stage == STAGE_WHO ? MLG_BUS_UNKNOWN_MAX : MLG_BUS_PENDING_MAX) && own < MLG_BUS_PENDING_PER_USER_MAX;
}

static int fail_limit(sd_bus_error *error) {
        return mlg_bus_fail(error, MLG_ERROR_LIMIT, "Too many requests wait for an answer already");
}

static int reply_error(sd_bus_message *m, const GError *e) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        (void) mlg_bus_set_error(&error, e);
        r = sd_bus_reply_method_error(m, &error);
        sd_bus_error_free(&error);
        return r;
}

/* ---- reservations: the answer waits for the room ---- */

static void settle(MlgPending *p, const GError *e) {
        g_autoptr(MlgPending) owned = p;

        if (e)
                (void) reply_error(owned->m, e);
        else
                (void) sd_bus_reply_method_return(owned->m, "t", owned->reservation);
}

void mlg_bus_reservation_settled(MlgBus *b, uint64_t id, const GError *error) {
        for (GList *l = b->pending.head; l; l = l->next) {
                MlgPending *p = l->data;

                if (p->stage == STAGE_ROOM && p->reservation == id) {
                        settle(p, error);
                        return;
                }
        }
        if (b->early) /* perhaps of the reservation whose id we are about to learn */
                g_hash_table_insert(b->early, g_memdup2(&id, sizeof(id)),
                                    error ? g_error_copy(error) : NULL);
}

/* Nobody will ever know the id: give the memory back. */
static void abandon(MlgPending *p) {
        g_autoptr(GError) ignored = NULL;
        MlgBus *b = p->bus;
        uint64_t id = p->reservation;

        pending_free(p); /* first: release() may call back into this file */
        (void) b->ops->release(id, &ignored, b->userdata);
}

static void error_free0(gpointer e) {
        g_clear_error((GError **) &e);
}

static int start_waiting(MlgPending *p, uint64_t id, GHashTable *early) {
        gpointer settled = NULL;

        p->stage = STAGE_ROOM;
        p->reservation = id;
        p->deadline_usec = mlg_bus_now_usec() + MLG_BUS_ROOM_WAIT_USEC;
        if (g_hash_table_lookup_extended(early, &id, NULL, &settled))
                settle(p, settled);
        return 1;
}

static int do_reserve(MlgPending *p, sd_bus_error *error) {
        g_autoptr(GHashTable) early = NULL;
        g_autoptr(GError) e = NULL;
        MlgBus *b = p->bus;
        uint64_t id = 0;
        bool ok;

        if (!stage_has_room(p, STAGE_ROOM))
                return fail_limit(error);
        b->early = early = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, error_free0);
        ok = b->ops->reserve(p->q.amount, p->q.usec, pending_sender(p), &id, &e, b->userdata);
        b->early = NULL;
        if (!ok)
                return mlg_bus_set_error(error, e);
        return start_waiting(p, id, early);
}

/* ---- doing it ---- */

static int reply_changes(sd_bus_message *m, char **changes) {
        _bus_unref_ sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(reply, 'a', "s");
        for (char **c = changes; r >= 0 && c && *c; c++)
                r = mlg_bus_add_string(reply, *c);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        return r;
}

/* The guest that is named; *ret_uuid NULL: all. It points into *st. */
static bool find_guest(MlgPending *p, MlgGuestStatus *st, const char **ret_uuid, GError **e) {
        MlgBus *b = p->bus;

        *ret_uuid = NULL;
        if (!p->q.guest[0])
                return true;
        if (!b->ops->guest_find(p->q.guest, st, b->userdata)) {
                g_set_error(e, MLG_ERROR, MLG_ERROR_NO_SUCH_GUEST, "There is no guest \"%s\"", p->q.guest);
                return false;
        }
        *ret_uuid = st->uuid;
        return true;
}

static bool do_guest(MlgPending *p, GError **e) {
        MlgBus *b = p->bus;
        MlgGuestStatus st;
        const char *uuid;

        if (!find_guest(p, &st, &uuid, e))
                return false;
        if (p->q.kind == MLG_REQUEST_SET_TARGET)
                return b->ops->set_target(uuid, p->q.amount, p->q.usec, e, b->userdata);
        if (p->q.kind == MLG_REQUEST_ATTACH_PIPE || p->q.kind == MLG_REQUEST_DETACH_PIPE)
                return b->ops->plug_pipe(uuid, p->q.kind == MLG_REQUEST_ATTACH_PIPE, e, b->userdata);
        return b->ops->pause(uuid, p->q.kind == MLG_REQUEST_PAUSE, e, b->userdata);
}

static MlgProposalVoter voter(const MlgPending *p) {
        MlgProposalVoter by = { .uid = p->uid };

        (void) g_strlcpy(by.sender, pending_sender(p), sizeof(by.sender));
        return by;
}

static bool do_proposal(MlgPending *p, GError **e) {
        const MlgProposalVoter by = voter(p);
        MlgBus *b = p->bus;
        MlgGuestStatus st;
        const char *uuid;

        if (p->q.kind == MLG_REQUEST_APPROVE)
                return b->ops->approve(p->q.amount, &by, e, b->userdata);
        if (p->q.kind == MLG_REQUEST_REJECT)
                return b->ops->reject(p->q.amount, &by, e, b->userdata);
        return find_guest(p, &st, &uuid, e) && b->ops->end_approval(uuid, &by, e, b->userdata);
}

static int do_approve_all(MlgPending *p, sd_bus_error *error) {
        const MlgProposalVoter by = voter(p);
        g_autoptr(GError) e = NULL;
        MlgGuestStatus st;
        const char *uuid;
        uint32_t n = 0;

        if (!find_guest(p, &st, &uuid, &e) || !p->bus->ops->approve_all(uuid, p->q.usec, &by, &n, &e, p->bus->userdata))
                return mlg_bus_set_error(error, e);
        return sd_bus_reply_method_return(p->m, "u", n);
}

/* > 0: answered, or will be. <= 0: not, `error` says why. */
static int request_do(MlgPending *p, sd_bus_error *error) {
        g_autoptr(GError) e = NULL;
        g_auto(GStrv) changes = NULL;
        MlgBus *b = p->bus;
        bool ok = false;

        switch (p->q.kind) {
        case MLG_REQUEST_RELOAD:
                if (!b->ops->reload(&changes, &e, b->userdata))
                        return mlg_bus_set_error(error, e);
                return reply_changes(p->m, changes);
        case MLG_REQUEST_RESERVE:
                return do_reserve(p, error);
        case MLG_REQUEST_APPROVE_ALL:
                return do_approve_all(p, error);
        case MLG_REQUEST_APPROVE:
        case MLG_REQUEST_REJECT:
        case MLG_REQUEST_END_APPROVAL:
                ok = do_proposal(p, &e);
                break;
        case MLG_REQUEST_PAUSE:
        case MLG_REQUEST_RESUME:
        case MLG_REQUEST_SET_TARGET:
        case MLG_REQUEST_ATTACH_PIPE:
        case MLG_REQUEST_DETACH_PIPE:
                ok = do_guest(p, &e);
                break;
        case MLG_REQUEST_RELEASE:
                ok = b->ops->release(p->q.amount, &e, b->userdata);
                break;
        case _MLG_REQUEST_KIND_MAX:
                g_assert_not_reached();
        }
        return ok ? sd_bus_reply_method_return(p->m, NULL) : mlg_bus_set_error(error, e);
}

/* Does it, answers, and ends the request unless it waits for room. */
static void request_run(MlgPending *p) {
        _bus_unref_ sd_bus_message *m = sd_bus_message_ref(p->m);
        sd_bus_error error = SD_BUS_ERROR_NULL;
        bool reserve = p->q.kind == MLG_REQUEST_RESERVE;
        int r = request_do(p, &error);

        if (r < 0) {
                if (!sd_bus_error_is_set(&error))
                        (void) sd_bus_error_set_errno(&error, r);
                (void) sd_bus_reply_method_error(m, &error);
        }
        if (r < 0 || !reserve)
                pending_free(p);
        sd_bus_error_free(&error);
}

static void request_refuse(MlgPending *p, const sd_bus_error *error) {
        g_autoptr(MlgPending) owned = p;

        (void) sd_bus_reply_method_error(owned->m, error);
}

/* ---- who is it, and may they ---- */

static int on_polkit(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        MlgPending *p = userdata;
        sd_bus_error error = SD_BUS_ERROR_NULL;

        if (mlg_polkit_read_answer(reply, actions[p->q.kind], &error) < 0) {
                if (sd_bus_message_is_method_error(reply, NULL)) /* nobody answered in time, perhaps: no dialogue may stay */
                        mlg_polkit_cancel(p->bus, p->cancel_id);
                request_refuse(p, &error);
        } else
                request_run(p);
        sd_bus_error_free(&error);
        return 1;
}

static void pending_end(MlgPending *p) {
        switch (p->stage) {
        case STAGE_MAY:
                mlg_polkit_cancel(p->bus, p->cancel_id);
                pending_free(p);
                break;
        case STAGE_ROOM:
                abandon(p);
                break;
        case STAGE_WHO:
                pending_free(p);
                break;
        }
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *old, *new_;

        if (sd_bus_message_read(m, "sss", &name, &old, &new_) >= 0 && new_[0] == '\0')
                pending_end(userdata);
        return 0;
}

/* If the watch cannot be set, the client's departure is not seen: then only the deadline ends the wait. */
static int on_watch_set(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return 1;
}

/* From here on it may take long. The bus keeps some hundred watches of one connection, so the many that are soon
 * answered have none. A client that left before its watch was set is found by polkit, or has its room for the time of
 * the deadline only. */
static void watch_client(MlgPending *p) {
        g_autofree char *match = NULL;

        match = g_strdup_printf("type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='%s'",
                                pending_sender(p));
        (void) sd_bus_add_match_async(p->bus->bus, &p->gone, match, on_owner_changed, on_watch_set, p);
}

static int ask_polkit(MlgPending *p, sd_bus_error *error) {
        int r;

        if (!stage_has_room(p, STAGE_MAY))
                return fail_limit(error);
        p->stage = STAGE_MAY;
        watch_client(p);
        p->call = sd_bus_slot_unref(p->call);
        r = mlg_polkit_check(p->bus, p->m, actions[p->q.kind], p->cancel_id, on_polkit, p, &p->call);
        if (r < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                                         "Only root may: polkit cannot be asked");
        return 0;
}

static int on_user(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        MlgPending *p = userdata;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        uint32_t uid = 0;

        if (sd_bus_message_is_method_error(reply, NULL) || sd_bus_message_read(reply, "u", &uid) < 0) {
                sd_bus_error_set(&error, SD_BUS_ERROR_ACCESS_DENIED, "The bus does not say who you are");
                request_refuse(p, &error);
        } else {
                p->uid = uid;
                if (uid == 0) {
                        if (p->q.kind == MLG_REQUEST_RESERVE)
                                watch_client(p);
                        request_run(p);
                } else if (ask_polkit(p, &error) < 0)
                        request_refuse(p, &error);
        }
        sd_bus_error_free(&error);
        return 1;
}

static int ask_who(MlgPending *p) {
        return sd_bus_call_method_async(p->bus->bus, &p->call, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                        "org.freedesktop.DBus", "GetConnectionUnixUser", on_user, p, "s",
                                        pending_sender(p));
}

/* A method's handler calls this with checked arguments and returns what it returns. */
int mlg_request_start(MlgBus *b, sd_bus_message *m, const MlgRequest *q, sd_bus_error *error) {
        MlgPending *p = pending_new(b, m, q);
        int r;

        if (b->is_peer) {
                p->uid = 0;
                request_run(p);
                return 1;
        }
        if (!stage_has_room(p, STAGE_WHO)) {
                pending_free(p);
                return fail_limit(error);
        }
        r = ask_who(p);
        if (r < 0) {
                pending_free(p);
                return r;
        }
        return 1;
}

/* ---- arguments ---- */

int mlg_request_set_guest(MlgRequest *q, const char *name_or_uuid, sd_bus_error *error) {
        if (strlen(name_or_uuid) >= sizeof(q->guest))
                return mlg_bus_fail(error, MLG_ERROR_INVALID_ARGUMENT, "A guest's name has at most %d bytes",
                                    MLG_NAME_MAX);
        (void) g_strlcpy(q->guest, name_or_uuid, sizeof(q->guest));
        return 0;
}

int mlg_request_read_guest(MlgRequest *q, sd_bus_message *m, sd_bus_error *error) {
        const char *key;
        int r = sd_bus_message_read(m, "s", &key);

        return r < 0 ? r : mlg_request_set_guest(q, key, error);
}

int mlg_request_start_named(sd_bus_message *m, MlgBusHostView *view, MlgRequestKind kind, sd_bus_error *error) {
        MlgRequest q = { .kind = kind };
        int r = mlg_request_read_guest(&q, m, error);

        return r < 0 ? r : mlg_request_start(view->bus, m, &q, error);
}

int mlg_request_set_target(MlgRequest *q, uint64_t kib, uint64_t hold_usec, sd_bus_error *error) {
        if (kib == 0 || kib > MLG_BUS_KIB_MAX)
                return mlg_bus_fail(error, MLG_ERROR_INVALID_ARGUMENT, "A target has 1 KiB to 1 EiB");
        if (hold_usec < MLG_BUS_HOLD_USEC_MIN || hold_usec > MLG_BUS_HOLD_USEC_MAX)
                return mlg_bus_fail(error, MLG_ERROR_INVALID_ARGUMENT, "A target is held for 1 s to 7 days");
        q->amount = kib;
        q->usec = hold_usec;
        return 0;
}

/* ---- time ---- */

uint64_t mlg_requests_deadline_usec(const MlgBus *b) {
        uint64_t min = MLG_USEC_NEVER;

        for (const GList *l = b->pending.head; l; l = l->next) {
                const MlgPending *p = l->data;

                if (p->stage == STAGE_ROOM)
                        min = mlg_min(min, p->deadline_usec);
        }
        return min;
}

static MlgPending *find_expired(MlgBus *b, uint64_t now_usec) {
        for (GList *l = b->pending.head; l; l = l->next) {
                MlgPending *p = l->data;

                if (p->stage == STAGE_ROOM && p->deadline_usec <= now_usec)
                        return p;
        }
        return NULL;
}

void mlg_requests_expire(MlgBus *b, uint64_t now_usec) {
        MlgPending *p;

        /* From the start each time: release() may end others. */
        while ((p = find_expired(b, now_usec))) {
                g_autoptr(GError) e = g_error_new(MLG_ERROR, MLG_ERROR_NO_ROOM,
                                                  "The room was not there within %d s",
                                                  (int) (MLG_BUS_ROOM_WAIT_USEC / MLG_USEC_PER_SEC));

                (void) reply_error(p->m, e);
                abandon(p);
        }
}

void mlg_requests_drop(MlgBus *b) {
        MlgPending *p;

        while ((p = g_queue_peek_head(&b->pending))) {
                (void) sd_bus_reply_method_errorf(p->m, SD_BUS_ERROR_NO_REPLY, "memlegod leaves the bus");
                pending_end(p);
        }
}
