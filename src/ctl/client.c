/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Client: messages over sd-bus, and errors in words. */
#include "ctl/client.h"

#include <errno.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "ctl/ctl.h"
#include "memlego/names.h"
#include "util/util.h"

#define CHANGE_TIMEOUT_USEC (300 * MLG_USEC_PER_SEC) /* somebody may have to type a password for polkit */
#define ANSWERS_MAX 65536 /* entries of a list that are read */

typedef sd_bus_message BusMessage;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BusMessage, sd_bus_message_unref)

struct MlgClient {
        sd_bus *bus;
        uint64_t patience_usec;
};

/* ---- errors ---- */

int mlg_client_error_to_exit(const char *name, int error) {
        static const struct {
                const char *name;
                MlgExit code;
        } names[] = {
                { MLG_BUS_ERROR_PREFIX "NoSuchGuest", MLG_EXIT_NO_SUCH_GUEST },
                { MLG_BUS_ERROR_PREFIX "NoRoom", MLG_EXIT_NO_ROOM },
                { MLG_BUS_ERROR_PREFIX "ConfigInvalid", MLG_EXIT_CONFIG },
                { SD_BUS_ERROR_ACCESS_DENIED, MLG_EXIT_DENIED },
                { SD_BUS_ERROR_AUTH_FAILED, MLG_EXIT_DENIED },
                { SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, MLG_EXIT_DENIED },
                { SD_BUS_ERROR_SERVICE_UNKNOWN, MLG_EXIT_NOT_RUNNING },
                { SD_BUS_ERROR_NAME_HAS_NO_OWNER, MLG_EXIT_NOT_RUNNING },
                { SD_BUS_ERROR_DISCONNECTED, MLG_EXIT_NOT_RUNNING },
                { SD_BUS_ERROR_NO_REPLY, MLG_EXIT_NOT_RUNNING },
                { SD_BUS_ERROR_TIMEOUT, MLG_EXIT_NOT_RUNNING },
        };

        for (size_t i = 0; name && i < G_N_ELEMENTS(names); i++)
                if (strcmp(names[i].name, name) == 0)
                        return names[i].code;
        switch (error) {
        case EACCES:
        case EPERM:
                return MLG_EXIT_DENIED;
        case ECONNREFUSED:
        case ECONNRESET:
        case ENOENT:
        case ENOTCONN:
        case EPIPE:
        case ETIMEDOUT:
        case EHOSTUNREACH:
                return MLG_EXIT_NOT_RUNNING; /* of the connection: errors that memlegod sends map to EIO */
        default:
                return MLG_EXIT_FAILED;
        }
}

/* What the person can do about it; `action`: the polkit action, NULL for reads. */
static char *advice(int code, const char *name, const char *action) {
        switch (code) {
        case MLG_EXIT_NOT_RUNNING:
                if (g_strcmp0(name, SD_BUS_ERROR_NO_REPLY) == 0 ||
                    g_strcmp0(name, SD_BUS_ERROR_TIMEOUT) == 0)
                        return g_strdup("memlegod did not answer; look at 'journalctl -u memlegod'");
                if (g_strcmp0(name, SD_BUS_ERROR_SERVICE_UNKNOWN) == 0 ||
                    g_strcmp0(name, SD_BUS_ERROR_NAME_HAS_NO_OWNER) == 0)
                        return g_strdup("memlegod is not running; start it: 'systemctl start memlegod'");
                return g_strdup(
                        "the connection to the system bus broke; is it running? 'systemctl status dbus'");
        case MLG_EXIT_DENIED:
                if (action)
                        return g_strdup_printf("ask as root, or let polkit allow %s", action);
                return g_strdup("access denied: only root and members of the group " MLG_GROUP
                                " may look; become one: 'usermod -aG " MLG_GROUP
                                " USER', then log in again");
        case MLG_EXIT_NO_SUCH_GUEST:
                return g_strdup("'memlegoctl status' lists the guests");
        case MLG_EXIT_NO_ROOM:
                return g_strdup("'memlegoctl status' shows the budget; lower floors, or ask for less");
        case MLG_EXIT_CONFIG:
                return g_strdup("nothing was changed; check it: 'memlegod --check-config'");
        default:
                return NULL;
        }
}

static void set_bus_error(GError **error, const sd_bus_error *e, const char *action) {
        int code = mlg_client_error_to_exit(e->name, sd_bus_error_get_errno(e));
        const char *what = e->message && *e->message ? e->message : e->name;
        g_autofree char *hint = advice(code, e->name, action);

        /* What the bus itself says helps nobody: "Rejected send message, 2 matched rules; type=..." */
        if (hint && (code == MLG_EXIT_NOT_RUNNING || (code == MLG_EXIT_DENIED && !action)))
                g_set_error_literal(error, MLG_CTL_ERROR, code, hint);
        else
                g_set_error(error, MLG_CTL_ERROR, code, hint ? "%s (%s)" : "%s", what, hint);
}

static bool set_garbled(GError **error) {
        g_set_error_literal(
                error, MLG_CTL_ERROR, MLG_EXIT_FAILED,
                "memlegod's answer cannot be understood; are memlegod and memlegoctl of one version?");
        return false;
}

/* ---- connection and calls ---- */

static int connect_to(sd_bus **ret, const char *address) {
        sd_bus *bus = NULL;
        int r;

        if (!address)
                return sd_bus_open_system(ret);
        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, address);
        if (r >= 0)
                r = sd_bus_set_bus_client(bus, true);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0)
                sd_bus_unref(bus);
        else
                *ret = bus;
        return r;
}

/* Until the bus has greeted us; by itself sd-bus waits for that longer than a person does. */
static int wait_for_hello(const MlgClient *c) {
        uint64_t until = (uint64_t) g_get_monotonic_time() + c->patience_usec;

        for (;;) {
                uint64_t now = (uint64_t) g_get_monotonic_time();
                int r = sd_bus_is_ready(c->bus);

                if (r != 0)
                        return r;
                if (now >= until)
                        return -ETIMEDOUT;
                r = sd_bus_process(c->bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(c->bus, until - now);
                if (r < 0 && r != -EINTR)
                        return r;
        }
}

MlgClient *mlg_client_open(const char *address, uint64_t patience_usec, GError **error) {
        g_autoptr(MlgClient) c = g_new0(MlgClient, 1);
        int r;

        c->patience_usec = patience_usec;
        r = connect_to(&c->bus, address);
        if (r >= 0)
                r = wait_for_hello(c);
        if (r == -EINVAL && address) {
                g_set_error(error, MLG_CTL_ERROR, MLG_EXIT_USAGE, "'%s' is not a D-Bus address", address);
                return NULL;
        }
        if (r < 0) {
                g_set_error(
                        error, MLG_CTL_ERROR, mlg_client_error_to_exit(NULL, -r),
                        "cannot connect to the D-Bus system bus: %s; is it running? 'systemctl status dbus'",
                        g_strerror(-r));
                return NULL;
        }
        return g_steal_pointer(&c);
}

MlgClient *mlg_client_free(MlgClient *c) {
        if (!c)
                return NULL;
        sd_bus_close_unref(c->bus); /* all that matters was answered; a flush could wait for ever */
        g_free(c);
        return NULL;
}

void mlg_client_set_patience(MlgClient *c, uint64_t usec) {
        c->patience_usec = usec;
}

/* What a call waits for while it hears of its progress. */
typedef struct Hearing {
        MlgClient *client;
        MlgProgressFn progress;
        sd_bus_message *reply;
} Hearing;

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        ((Hearing *) userdata)->reply = sd_bus_message_ref(m);
        return 1;
}

/* Of reservations ours is the one with our own name: its id comes with the answer only. */
static int on_progress(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const Hearing *h = userdata;
        const char *owner, *own;
        uint64_t id, room, bytes;

        if (sd_bus_message_read(m, "tstt", &id, &owner, &room, &bytes) >= 0 && room <= bytes &&
            sd_bus_get_unique_name(h->client->bus, &own) >= 0 && strcmp(owner, own) == 0)
                h->progress(room / 1024, bytes / 1024);
        return 0;
}

/* Who may not hear signals waits without. */
static int on_listening(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return 1;
}

/* As sd_bus_call(), and tells of what comes meanwhile. */
static int call_hearing(Hearing *h, sd_bus_message *m, uint64_t timeout_usec, sd_bus_error *e,
                        sd_bus_message **ret) {
        sd_bus_slot *listening = NULL, *pending = NULL;
        sd_bus *bus = h->client->bus;
        int r;

        (void) sd_bus_match_signal_async(bus, &listening, MLG_BUS_NAME, MLG_BUS_PATH, MLG_BUS_IFACE_MANAGER,
                                         "ReservationProgress", on_progress, on_listening, h);
        r = sd_bus_call_async(bus, &pending, m, on_reply, h, timeout_usec);
        while (r >= 0 && !h->reply) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
                if (r == -EINTR)
                        r = 0;
        }
        sd_bus_slot_unref(pending);
        sd_bus_slot_unref(listening);
        if (h->reply && sd_bus_message_is_method_error(h->reply, NULL)) {
                r = -sd_bus_message_get_errno(h->reply);
                (void) sd_bus_error_copy(e, sd_bus_message_get_error(h->reply));
                h->reply = sd_bus_message_unref(h->reply);
        }
        *ret = h->reply;
        return r;
}

/* A call of the manager. `action` NULL: a read; `progress` may be NULL. NULL and error on failure. */
static sd_bus_message *call_with(MlgClient *c, const char *method, const char *action, MlgProgressFn progress,
                                 GError **error, const char *types, va_list ap) {
        uint64_t timeout_usec = action ? CHANGE_TIMEOUT_USEC : c->patience_usec;
        Hearing h = { .client = c, .progress = progress };
        sd_bus_error e = SD_BUS_ERROR_NULL;
        g_autoptr(BusMessage) m = NULL;
        sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_call(c->bus, &m, MLG_BUS_NAME, MLG_BUS_PATH, MLG_BUS_IFACE_MANAGER,
                                           method);
        if (r >= 0)
                r = sd_bus_message_set_auto_start(m, false);
        if (r >= 0 && action)
                r = sd_bus_message_set_allow_interactive_authorization(m, true);
        if (r >= 0)
                r = sd_bus_message_appendv(m, types, ap);
        if (r >= 0)
                r = progress ? call_hearing(&h, m, timeout_usec, &e, &reply)
                             : sd_bus_call(c->bus, m, timeout_usec, &e, &reply);
        if (r < 0) {
                if (!sd_bus_error_is_set(&e))
                        (void) sd_bus_error_set_errno(&e, r);
                set_bus_error(error, &e, action);
                reply = NULL;
        }
        sd_bus_error_free(&e);
        return reply;
}

static sd_bus_message *call(MlgClient *c, const char *method, const char *action, GError **error,
                            const char *types, ...) {
        sd_bus_message *reply;
        va_list ap;

        va_start(ap, types);
        reply = call_with(c, method, action, NULL, error, types, ap);
        va_end(ap);
        return reply;
}

static sd_bus_message *call_and_hear(MlgClient *c, const char *method, const char *action,
                                     MlgProgressFn progress, GError **error, const char *types, ...) {
        sd_bus_message *reply;
        va_list ap;

        va_start(ap, types);
        reply = call_with(c, method, action, progress, error, types, ap);
        va_end(ap);
        return reply;
}

/* ---- reads ---- */

static char *call_for_string(MlgClient *c, const char *method, GError **error) {
        g_autoptr(BusMessage) reply = call(c, method, NULL, error, "");
        const char *s;

        if (!reply)
                return NULL;
        if (sd_bus_message_read(reply, "s", &s) < 0) {
                set_garbled(error);
                return NULL;
        }
        return g_strdup(s);
}

char *mlg_client_dump(MlgClient *c, GError **error) {
        return call_for_string(c, "Dump", error);
}

char *mlg_client_config(MlgClient *c, GError **error) {
        return call_for_string(c, "GetConfig", error);
}

char **mlg_client_guest_names(MlgClient *c, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "ListGuests", NULL, error, "");
        g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
        const char *name;
        int r;

        if (!reply)
                return NULL;
        r = sd_bus_message_enter_container(reply, 'a', "(ssos)");
        while (r >= 0 && names->len < ANSWERS_MAX &&
               (r = sd_bus_message_read(reply, "(ssos)", &name, NULL, NULL, NULL)) > 0)
                g_ptr_array_add(names, g_strdup(name));
        if (r < 0) {
                set_garbled(error);
                return NULL;
        }
        g_ptr_array_add(names, NULL);
        return (char **) g_ptr_array_free(g_steal_pointer(&names), FALSE);
}

static void clear_reservation(void *p) {
        mlg_ctl_reservation_clear(p);
}

GArray *mlg_client_reservations(MlgClient *c, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "ListReservations", NULL, error, "");
        g_autoptr(GArray) list = g_array_new(FALSE, TRUE, sizeof(MlgCtlReservation));
        uint64_t id, bytes, room, expires;
        const char *owner;
        int r;

        if (!reply)
                return NULL;
        g_array_set_clear_func(list, clear_reservation);
        r = sd_bus_message_enter_container(reply, 'a', "(tttts)");
        while (r >= 0 && list->len < ANSWERS_MAX &&
               (r = sd_bus_message_read(reply, "(tttts)", &id, &bytes, &room, &expires, &owner)) > 0) {
                MlgCtlReservation v = { .id = id, .kib = bytes / 1024, .room_kib = room / 1024,
                                        .expires_in_usec = expires, .owner = g_strdup(owner) };

                g_array_append_val(list, v);
        }
        if (r < 0) {
                set_garbled(error);
                return NULL;
        }
        return g_steal_pointer(&list);
}

static void clear_plugin(void *p) {
        mlg_ctl_plugin_clear(p);
}

GArray *mlg_client_plugins(MlgClient *c, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "ListPlugins", NULL, error, "");
        g_autoptr(GArray) list = g_array_new(FALSE, TRUE, sizeof(MlgCtlPlugin));
        const char *name, *kind, *state, *file, *why;
        int r;

        if (!reply)
                return NULL;
        g_array_set_clear_func(list, clear_plugin);
        r = sd_bus_message_enter_container(reply, 'a', "(sssss)");
        while (r >= 0 && list->len < ANSWERS_MAX &&
               (r = sd_bus_message_read(reply, "(sssss)", &name, &kind, &state, &file, &why)) > 0) {
                MlgCtlPlugin p = { g_strdup(name), g_strdup(kind), g_strdup(state), g_strdup(file), g_strdup(why) };

                g_array_append_val(list, p);
        }
        if (r < 0) {
                set_garbled(error);
                return NULL;
        }
        return g_steal_pointer(&list);
}

/* A key of a dictionary, and where its value goes. */
typedef struct Field {
        const char *key;
        char type; /* as D-Bus has it; a: a{st}, into a GArray of MlgCtlCount */
        size_t offset;
} Field;

static const Field decision_fields[] = {
        { "AgeUSec", 't', G_STRUCT_OFFSET(MlgCtlDecision, age_usec) },
        { "Repeated", 't', G_STRUCT_OFFSET(MlgCtlDecision, repeated) },
        { "State", 's', G_STRUCT_OFFSET(MlgCtlDecision, state) },
        { "Trust", 's', G_STRUCT_OFFSET(MlgCtlDecision, trust) },
        { "Pressure", 's', G_STRUCT_OFFSET(MlgCtlDecision, pressure) },
        { "ActualKiB", 't', G_STRUCT_OFFSET(MlgCtlDecision, actual_kib) },
        { "UsedKiB", 't', G_STRUCT_OFFSET(MlgCtlDecision, used_kib) },
        { "UsableKiB", 't', G_STRUCT_OFFSET(MlgCtlDecision, usable_kib) },
        { "NeedKiB", 't', G_STRUCT_OFFSET(MlgCtlDecision, need_kib) },
        { "ErrorKiB", 't', G_STRUCT_OFFSET(MlgCtlDecision, error_kib) },
        { "CushionKiB", 't', G_STRUCT_OFFSET(MlgCtlDecision, cushion_kib) },
        { "FromKiB", 't', G_STRUCT_OFFSET(MlgCtlDecision, from_kib) },
        { "WantedKiB", 't', G_STRUCT_OFFSET(MlgCtlDecision, wanted_kib) },
        { "WantedReason", 's', G_STRUCT_OFFSET(MlgCtlDecision, wanted_reason) },
        { "ToKiB", 't', G_STRUCT_OFFSET(MlgCtlDecision, to_kib) },
        { "Reason", 's', G_STRUCT_OFFSET(MlgCtlDecision, reason) },
        { "Sentence", 's', G_STRUCT_OFFSET(MlgCtlDecision, sentence) },
        { "Result", 's', G_STRUCT_OFFSET(MlgCtlDecision, result) },
        { "Error", 's', G_STRUCT_OFFSET(MlgCtlDecision, error) },
};

static const Field rule_fields[] = {
        { "Rule", 's', G_STRUCT_OFFSET(MlgCtlRule, name) },
        { "Origin", 's', G_STRUCT_OFFSET(MlgCtlRule, origin) },
        { "Settings", 's', G_STRUCT_OFFSET(MlgCtlRule, settings) },
};

static const Field proposal_fields[] = {
        { "ID", 't', G_STRUCT_OFFSET(MlgCtlProposal, id) },
        { "Guest", 's', G_STRUCT_OFFSET(MlgCtlProposal, guest) },
        { "State", 's', G_STRUCT_OFFSET(MlgCtlProposal, state) },
        { "FromKiB", 't', G_STRUCT_OFFSET(MlgCtlProposal, from_kib) },
        { "ToKiB", 't', G_STRUCT_OFFSET(MlgCtlProposal, to_kib) },
        { "Reason", 's', G_STRUCT_OFFSET(MlgCtlProposal, reason) },
        { "Sentence", 's', G_STRUCT_OFFSET(MlgCtlProposal, sentence) },
        { "Effect", 's', G_STRUCT_OFFSET(MlgCtlProposal, effect) },
        { "ForGuest", 's', G_STRUCT_OFFSET(MlgCtlProposal, for_guest) },
        { "Pressure", 's', G_STRUCT_OFFSET(MlgCtlProposal, pressure) },
        { "UsableKiB", 't', G_STRUCT_OFFSET(MlgCtlProposal, usable_kib) },
        { "UsableAfterKiB", 't', G_STRUCT_OFFSET(MlgCtlProposal, usable_after_kib) },
        { "NeedKiB", 't', G_STRUCT_OFFSET(MlgCtlProposal, need_kib) },
        { "CushionKiB", 't', G_STRUCT_OFFSET(MlgCtlProposal, cushion_kib) },
        { "AgeUSec", 't', G_STRUCT_OFFSET(MlgCtlProposal, age_usec) },
        { "ExpiresUSec", 't', G_STRUCT_OFFSET(MlgCtlProposal, expires_in_usec) },
};

static const Field pipe_fields[] = {
        { "Name", 's', G_STRUCT_OFFSET(MlgCtlPipe, name) },
        { "Path", 's', G_STRUCT_OFFSET(MlgCtlPipe, path) },
        { "State", 's', G_STRUCT_OFFSET(MlgCtlPipe, state) },
        { "Attach", 's', G_STRUCT_OFFSET(MlgCtlPipe, attach) },
        { "Isolation", 's', G_STRUCT_OFFSET(MlgCtlPipe, isolation) },
        { "RegionKiB", 't', G_STRUCT_OFFSET(MlgCtlPipe, region_kib) },
        { "QuotaKiB", 't', G_STRUCT_OFFSET(MlgCtlPipe, quota_kib) },
        { "GrantedKiB", 't', G_STRUCT_OFFSET(MlgCtlPipe, granted_kib) },
        { "BackedKiB", 't', G_STRUCT_OFFSET(MlgCtlPipe, backed_kib) },
        { "ChargedKiB", 't', G_STRUCT_OFFSET(MlgCtlPipe, charged_kib) },
        { "Epoch", 't', G_STRUCT_OFFSET(MlgCtlPipe, epoch) },
        { "Members", 't', G_STRUCT_OFFSET(MlgCtlPipe, n_members) },
        { "RefusedPairs", 't', G_STRUCT_OFFSET(MlgCtlPipe, n_refused_pairs) },
        { "UtilisationPermille", 't', G_STRUCT_OFFSET(MlgCtlPipe, utilisation_permille) },
};

static const Field pair_fields[] = {
        { "Pipe", 's', G_STRUCT_OFFSET(MlgCtlPipePair, pipe) },
        { "Guest", 's', G_STRUCT_OFFSET(MlgCtlPipePair, guests[0]) },
        { "OtherGuest", 's', G_STRUCT_OFFSET(MlgCtlPipePair, guests[1]) },
        { "State", 's', G_STRUCT_OFFSET(MlgCtlPipePair, state) },
        { "GrantedKiB", 't', G_STRUCT_OFFSET(MlgCtlPipePair, granted_kib) },
        { "BackedKiB", 't', G_STRUCT_OFFSET(MlgCtlPipePair, backed_kib) },
        { "IdleUSec", 't', G_STRUCT_OFFSET(MlgCtlPipePair, idle_usec) },
};

static const Field member_fields[] = {
        { "Pipe", 's', G_STRUCT_OFFSET(MlgCtlPipeMember, pipe) },
        { "Guest", 's', G_STRUCT_OFFSET(MlgCtlPipeMember, guest) },
        { "State", 's', G_STRUCT_OFFSET(MlgCtlPipeMember, state) },
        { "ID", 't', G_STRUCT_OFFSET(MlgCtlPipeMember, id) },
        { "Epoch", 't', G_STRUCT_OFFSET(MlgCtlPipeMember, epoch) },
        { "GrantedKiB", 't', G_STRUCT_OFFSET(MlgCtlPipeMember, granted_kib) },
        { "TargetKiB", 't', G_STRUCT_OFFSET(MlgCtlPipeMember, target_kib) },
        { "DemandKiB", 't', G_STRUCT_OFFSET(MlgCtlPipeMember, demand_kib) },
        { "HeldKiB", 't', G_STRUCT_OFFSET(MlgCtlPipeMember, held_kib) },
        { "UsedKiB", 't', G_STRUCT_OFFSET(MlgCtlPipeMember, used_kib) },
        { "Connections", 't', G_STRUCT_OFFSET(MlgCtlPipeMember, connections) },
        { "SentBytes", 't', G_STRUCT_OFFSET(MlgCtlPipeMember, sent_bytes) },
        { "BlockedUSec", 't', G_STRUCT_OFFSET(MlgCtlPipeMember, blocked_usec) },
        { "OpenedConnections", 't', G_STRUCT_OFFSET(MlgCtlPipeMember, opened_connections) },
        { "Fallbacks", 'a', G_STRUCT_OFFSET(MlgCtlPipeMember, fallbacks) },
};

static const Field swap_fields[] = {
        { "Guest", 's', G_STRUCT_OFFSET(MlgCtlSwap, guest) },
        { "UUID", 's', G_STRUCT_OFFSET(MlgCtlSwap, uuid) },
        { "Section", 's', G_STRUCT_OFFSET(MlgCtlSwap, section) },
        { "Path", 's', G_STRUCT_OFFSET(MlgCtlSwap, path) },
        { "State", 's', G_STRUCT_OFFSET(MlgCtlSwap, state) },
        { "Attach", 's', G_STRUCT_OFFSET(MlgCtlSwap, attach) },
        { "Shares", 't', G_STRUCT_OFFSET(MlgCtlSwap, shares) },
        { "Epoch", 't', G_STRUCT_OFFSET(MlgCtlSwap, epoch) },
        { "PoolKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, pool_kib) },
        { "QuotaKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, quota_kib) },
        { "TargetKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, target_kib) },
        { "LentKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, lent_kib) },
        { "BackedKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, backed_kib) },
        { "ChargedKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, charged_kib) },
        { "CallBacks", 't', G_STRUCT_OFFSET(MlgCtlSwap, call_backs) },
        { "CallBacksMet", 't', G_STRUCT_OFFSET(MlgCtlSwap, met) },
        { "CallBacksLate", 't', G_STRUCT_OFFSET(MlgCtlSwap, late) },
        { "CallBackUSec", 't', G_STRUCT_OFFSET(MlgCtlSwap, callback_usec) },
        { "WantedKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, wanted_kib) },
        { "HeldKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, held_kib) },
        { "DeviceKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, device_kib) },
        { "DiskKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, disk_kib) },
        { "UsedKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, used_kib) },
        { "SameKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, same_kib) },
        { "OnDiskKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, on_disk_kib) },
        { "HitsPermille", 't', G_STRUCT_OFFSET(MlgCtlSwap, hits_permille) },
        { "PoolReads", 't', G_STRUCT_OFFSET(MlgCtlSwap, pool_reads) },
        { "DiskReads", 't', G_STRUCT_OFFSET(MlgCtlSwap, disk_reads) },
        { "PoolWrites", 't', G_STRUCT_OFFSET(MlgCtlSwap, pool_writes) },
        { "DiskWrites", 't', G_STRUCT_OFFSET(MlgCtlSwap, disk_writes) },
        { "WrittenBack", 't', G_STRUCT_OFFSET(MlgCtlSwap, written_back) },
        { "Errors", 't', G_STRUCT_OFFSET(MlgCtlSwap, errors) },
        { "SwapIns", 't', G_STRUCT_OFFSET(MlgCtlSwap, swap_ins) },
        { "SwapInKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, swap_in_kib) },
        { "SwapInDoneKiB", 't', G_STRUCT_OFFSET(MlgCtlSwap, swap_in_done_kib) },
        { "SwapIn", 's', G_STRUCT_OFFSET(MlgCtlSwap, swap_in) },
};

static int read_counts(sd_bus_message *m, GArray **field) {
        g_autoptr(GArray) counts = g_array_new(FALSE, TRUE, sizeof(MlgCtlCount));
        const char *name;
        uint64_t n;
        int r = sd_bus_message_enter_container(m, 'a', "{st}");

        g_array_set_clear_func(counts, mlg_ctl_count_clear);
        while (r >= 0 && (r = sd_bus_message_read(m, "{st}", &name, &n)) > 0)
                if (counts->len < ANSWERS_MAX) {
                        MlgCtlCount count = { g_strdup(name), n };

                        g_array_append_val(counts, count);
                }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        g_clear_pointer(field, g_array_unref);
        *field = g_steal_pointer(&counts);
        return r;
}

/* The value at hand, a variant of the expected type, into its field. */
static int read_value(sd_bus_message *m, char type, void *field) {
        const char *s;
        int r;

        if (type == 'a')
                return read_counts(m, field);
        if (type != 's')
                return sd_bus_message_read_basic(m, type, field);
        r = sd_bus_message_read_basic(m, 's', &s);
        if (r < 0)
                return r;
        g_free(*(char **) field);
        *(char **) field = g_strdup(s);
        return r;
}

/* Anything that is not expected is skipped. */
static int read_field(sd_bus_message *m, const char *key, const Field *fields, size_t n, void *ret) {
        for (size_t i = 0; i < n; i++) {
                const char one[] = { fields[i].type, '\0' }, *type = fields[i].type == 'a' ? "a{st}" : one;
                int r;

                if (strcmp(fields[i].key, key) != 0 || sd_bus_message_verify_type(m, 'v', type) <= 0)
                        continue;
                r = sd_bus_message_enter_container(m, 'v', type);
                if (r >= 0)
                        r = read_value(m, fields[i].type, (char *) ret + fields[i].offset);
                return r < 0 ? r : sd_bus_message_exit_container(m);
        }
        return sd_bus_message_skip(m, "v");
}

static int read_dict(sd_bus_message *m, const Field *fields, size_t n, void *ret) {
        const char *key;
        int r;

        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read_basic(m, 's', &key);
                if (r >= 0)
                        r = read_field(m, key, fields, n, ret);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        /* strings that were missing are "-": none is NULL */
        for (size_t i = 0; i < n; i++) {
                char **s = (char **) (void *) ((char *) ret + fields[i].offset);

                if (fields[i].type == 's' && !*s)
                        *s = g_strdup("-");
        }
        return r;
}

/* An array of dictionaries, each into one element of `size` bytes. */
static GArray *read_dicts(sd_bus_message *m, const Field *fields, size_t n, unsigned int size, GDestroyNotify clear,
                          GError **error) {
        g_autoptr(GArray) list = g_array_new(FALSE, TRUE, size);
        int r;

        g_array_set_clear_func(list, clear);
        r = sd_bus_message_enter_container(m, 'a', "a{sv}");
        while (r >= 0 && list->len < ANSWERS_MAX && (r = sd_bus_message_enter_container(m, 'a', "{sv}")) > 0) {
                g_array_set_size(list, list->len + 1);
                r = read_dict(m, fields, n, list->data + (size_t) (list->len - 1) * size);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r < 0) {
                set_garbled(error);
                return NULL;
        }
        return g_steal_pointer(&list);
}

static void clear_decision(void *p) {
        mlg_ctl_decision_clear(p);
}

GArray *mlg_client_explain(MlgClient *c, const char *guest, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "Explain", NULL, error, "s", guest);

        return reply ? read_dicts(reply, decision_fields, G_N_ELEMENTS(decision_fields), sizeof(MlgCtlDecision),
                                  clear_decision, error) :
                       NULL;
}

static void clear_rule(void *p) {
        mlg_ctl_rule_clear(p);
}

GArray *mlg_client_explain_rules(MlgClient *c, const char *guest, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "ExplainRules", NULL, error, "s", guest);

        return reply ? read_dicts(reply, rule_fields, G_N_ELEMENTS(rule_fields), sizeof(MlgCtlRule),
                                  clear_rule, error) :
                       NULL;
}

static void clear_proposal(void *p) {
        mlg_ctl_proposal_clear(p);
}

GArray *mlg_client_proposals(MlgClient *c, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "ListProposals", NULL, error, "");

        return reply ? read_dicts(reply, proposal_fields, G_N_ELEMENTS(proposal_fields), sizeof(MlgCtlProposal),
                                  clear_proposal, error) :
                       NULL;
}

static void clear_pipe(void *p) {
        mlg_ctl_pipe_clear(p);
}

GArray *mlg_client_pipes(MlgClient *c, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "ListPipes", NULL, error, "");

        return reply ? read_dicts(reply, pipe_fields, G_N_ELEMENTS(pipe_fields), sizeof(MlgCtlPipe), clear_pipe, error) : NULL;
}

static void clear_member(void *m) {
        mlg_ctl_pipe_member_clear(m);
}

GArray *mlg_client_pipe_members(MlgClient *c, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "ListPipeMembers", NULL, error, "");

        return reply ? read_dicts(reply, member_fields, G_N_ELEMENTS(member_fields), sizeof(MlgCtlPipeMember), clear_member,
                                  error) :
                       NULL;
}

static void clear_pair(void *p) {
        mlg_ctl_pipe_pair_clear(p);
}

GArray *mlg_client_pipe_pairs(MlgClient *c, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "ListPipePairs", NULL, error, "");

        return reply ? read_dicts(reply, pair_fields, G_N_ELEMENTS(pair_fields), sizeof(MlgCtlPipePair), clear_pair, error) :
                       NULL;
}

static void clear_swap(void *s) {
        mlg_ctl_swap_clear(s);
}

GArray *mlg_client_swaps(MlgClient *c, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "ListSwaps", NULL, error, "");

        return reply ? read_dicts(reply, swap_fields, G_N_ELEMENTS(swap_fields), sizeof(MlgCtlSwap), clear_swap, error) : NULL;
}

/* ---- changes ---- */

char **mlg_client_reload(MlgClient *c, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "Reload", MLG_POLKIT_RELOAD, error, "");
        g_autoptr(GPtrArray) changes = g_ptr_array_new_with_free_func(g_free);
        const char *s;
        int r;

        if (!reply)
                return NULL;
        r = sd_bus_message_enter_container(reply, 'a', "s");
        while (r >= 0 && changes->len < ANSWERS_MAX && (r = sd_bus_message_read_basic(reply, 's', &s)) > 0)
                g_ptr_array_add(changes, g_strdup(s));
        if (r < 0) {
                set_garbled(error);
                return NULL;
        }
        g_ptr_array_add(changes, NULL);
        return (char **) g_ptr_array_free(g_steal_pointer(&changes), FALSE);
}

bool mlg_client_pause(MlgClient *c, const char *guest, bool paused, GError **error) {
        g_autoptr(BusMessage) reply =
                call(c, paused ? "Pause" : "Resume", MLG_POLKIT_PAUSE, error, "s", guest ? guest : "");

        return reply != NULL;
}

bool mlg_client_set_target(MlgClient *c, const char *guest, uint64_t kib, uint64_t hold_usec,
                           GError **error) {
        g_autoptr(BusMessage) reply =
                call(c, "SetTarget", MLG_POLKIT_SET_TARGET, error, "stt", guest, kib, hold_usec);

        return reply != NULL;
}

bool mlg_client_reserve(MlgClient *c, uint64_t kib, uint64_t timeout_usec, MlgProgressFn progress,
                        uint64_t *ret_id, GError **error) {
        g_autoptr(BusMessage) reply = call_and_hear(c, "ReserveMemory", MLG_POLKIT_RESERVE, progress, error,
                                                    "tt", kib * UINT64_C(1024), timeout_usec);

        if (!reply)
                return false;
        return sd_bus_message_read(reply, "t", ret_id) >= 0 || set_garbled(error);
}

bool mlg_client_release(MlgClient *c, uint64_t id, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "ReleaseReservation", MLG_POLKIT_RESERVE, error, "t", id);

        return reply != NULL;
}

bool mlg_client_approve(MlgClient *c, uint64_t id, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "ApproveProposal", MLG_POLKIT_APPROVE, error, "t", id);

        return reply != NULL;
}

bool mlg_client_reject(MlgClient *c, uint64_t id, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "RejectProposal", MLG_POLKIT_APPROVE, error, "t", id);

        return reply != NULL;
}

bool mlg_client_approve_all(MlgClient *c, const char *guest, uint64_t usec, uint32_t *ret_n, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "ApproveAll", MLG_POLKIT_APPROVE, error, "st", guest ? guest : "", usec);

        return reply && (sd_bus_message_read(reply, "u", ret_n) >= 0 || set_garbled(error));
}

bool mlg_client_end_approval(MlgClient *c, const char *guest, GError **error) {
        g_autoptr(BusMessage) reply = call(c, "EndApproval", MLG_POLKIT_APPROVE, error, "s", guest ? guest : "");

        return reply != NULL;
}

bool mlg_client_plug_pipe(MlgClient *c, const char *guest, bool attach, GError **error) {
        g_autoptr(BusMessage) reply = call(c, attach ? "AttachPipe" : "DetachPipe", MLG_POLKIT_PIPE, error, "s", guest);

        return reply != NULL;
}
