/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Manager: the object /org/memlego1. Its interface is described in systemd/org.memlego1.xml; a test compares
 * them.
 *
 * Reads are answered from what the service says at that moment; changes go through request.c. */
#include "bus/bus-internal.h"

#include <errno.h>
#include <string.h>

#define HOST(field) offsetof(MlgBusHostView, field)
#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define EMITS SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

/* ---- properties ---- */

static const char *host_state(const MlgHostStatus *st) {
        return !st->connected ? "degraded" : st->paused ? "paused" : "running";
}

void mlg_bus_manager_fill(MlgBus *b) {
        memset(&b->host.st, 0, sizeof(b->host.st));
        b->ops->host_status(&b->host.st, b->userdata);
        b->host.state = host_state(&b->host.st);
        b->host.alarm = mlg_alarm_to_string(b->host.st.alarm);
        b->host.bus = b;
}

static int manager_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret,
                        sd_bus_error *error) {
        MlgBus *b = userdata;

        if (!g_str_equal(path, MLG_BUS_PATH))
                return 0;
        mlg_bus_manager_fill(b);
        *ret = &b->host;
        return 1;
}

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", MLG_VERSION);
}

/* Only what is known. */
static int get_memory(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                      void *userdata, sd_bus_error *error) {
        const MlgHostStatus *st = userdata;
        const struct {
                const char *key;
                uint64_t kib;
                bool known;
        } rows[] = {
                { "SwapTotalKiB", st->swap_total_kib, true },
                { "SwapUsedKiB", st->swap_used_kib, true },
                { "HugePagesKiB", st->hugetlb_kib, true },
                { "HugePagesFreeKiB", st->hugetlb_free_kib, true },
                { "ZswapPoolKiB", st->zswap_kib, st->have_zswap },
                { "ZswapHeldKiB", st->zswapped_kib, st->have_zswap },
                { "KsmSavedKiB", st->ksm_saved_kib, st->have_ksm },
                { "KsmSharedKiB", st->ksm_shared_kib, st->have_ksm },
                { "GuestsResidentKiB", st->resident_kib, st->knows_others },
                { "OthersKiB", st->others_kib, st->knows_others },
        };
        int r = sd_bus_message_open_container(reply, 'a', "{st}");

        for (size_t i = 0; r >= 0 && i < G_N_ELEMENTS(rows); i++)
                if (rows[i].known)
                        r = sd_bus_message_append(reply, "{st}", rows[i].key, rows[i].kib);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* ---- reads ---- */

static int append_guest(sd_bus_message *m, size_t i, const void *list) {
        const MlgBus *b = list;
        g_autofree char *path = NULL;
        MlgGuestStatus st;
        int r;

        if (!b->ops->guest_at(i, &st, b->userdata))
                return 0;
        path = mlg_bus_guest_path(st.uuid);
        r = sd_bus_message_open_container(m, 'r', "ssos");
        if (r < 0)
                return r;
        r = mlg_bus_add_string(m, st.name);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "sos", st.uuid, path, mlg_vm_state_to_string(st.state));
        if (r < 0)
                return r;
        return sd_bus_message_close_container(m);
}

static int on_list_guests(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const MlgBus *b = ((MlgBusHostView *) userdata)->bus;

        return mlg_bus_reply_list(m, "(ssos)", b->ops->n_guests(b->userdata), append_guest, b);
}

/* Reads the first argument, a guest's name or UUID, and finds the guest. */
static int read_guest(MlgBus *b, sd_bus_message *m, MlgGuestStatus *ret, sd_bus_error *error) {
        MlgRequest q = {};
        int r;

        r = mlg_request_read_guest(&q, m, error);
        if (r < 0)
                return r;
        if (!b->ops->guest_find(q.guest, ret, b->userdata))
                return mlg_bus_fail(error, MLG_ERROR_NO_SUCH_GUEST, "There is no guest \"%s\"", q.guest);
        return 0;
}

static int on_get_guest(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgBus *b = ((MlgBusHostView *) userdata)->bus;
        g_autofree char *path = NULL;
        MlgGuestStatus st;
        int r;

        r = read_guest(b, m, &st, error);
        if (r < 0)
                return r;
        path = mlg_bus_guest_path(st.uuid);
        return sd_bus_reply_method_return(m, "o", path);
}

/* What is known of the guest that the client names. */
static int reply_of_guest(sd_bus_message *m, void *userdata,
                          int (*reply)(MlgBus *b, sd_bus_message *m, const char *uuid), sd_bus_error *error) {
        MlgBus *b = ((MlgBusHostView *) userdata)->bus;
        MlgGuestStatus st;
        int r;

        r = read_guest(b, m, &st, error);
        return r < 0 ? r : reply(b, m, st.uuid);
}

static int on_explain(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return reply_of_guest(m, userdata, mlg_bus_reply_decisions, error);
}

static int on_explain_rules(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return reply_of_guest(m, userdata, mlg_bus_reply_rules, error);
}

typedef struct Reservations {
        const MlgReservationStatus *all;
        uint64_t now_usec;
} Reservations;

static int append_reservation(sd_bus_message *m, size_t i, const void *list) {
        const MlgReservationStatus *s = &((const Reservations *) list)->all[i];
        uint64_t now_usec = ((const Reservations *) list)->now_usec;
        int r;

        r = sd_bus_message_open_container(m, 'r', "tttts");
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "tttt", s->id, s->kib * 1024, s->room_kib * 1024,
                                  mlg_sub_sat(s->expires_usec, now_usec));
        if (r < 0)
                return r;
        r = mlg_bus_add_string(m, s->owner);
        if (r < 0)
                return r;
        return sd_bus_message_close_container(m);
}

static int on_list_reservations(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgBusHostView *view = userdata;
        MlgBus *b = view->bus;
        g_autofree MlgReservationStatus *all = g_new0(MlgReservationStatus, MLG_BUS_RESERVATIONS_MAX);
        size_t n = b->ops->reservations(all, MLG_BUS_RESERVATIONS_MAX, b->userdata);
        const Reservations list = { all, view->st.now_usec };

        return mlg_bus_reply_list(m, "(tttts)", mlg_min(n, MLG_BUS_RESERVATIONS_MAX), append_reservation, &list);
}

static int append_plugin(sd_bus_message *m, size_t at, const void *list) {
        const MlgPluginStatus *s = &((const MlgPluginStatus *) list)[at];
        const char *const texts[] = { s->name, s->kind, s->state, s->file, s->why };
        int r = sd_bus_message_open_container(m, 'r', "sssss");

        for (size_t i = 0; r >= 0 && i < G_N_ELEMENTS(texts); i++)
                r = mlg_bus_add_string(m, texts[i]);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int on_list_plugins(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgBus *b = ((MlgBusHostView *) userdata)->bus;
        g_autofree MlgPluginStatus *all = g_new0(MlgPluginStatus, MLG_BUS_PLUGINS_MAX);
        size_t n = b->ops->plugins(all, MLG_BUS_PLUGINS_MAX, b->userdata);

        return mlg_bus_reply_list(m, "(sssss)", mlg_min(n, MLG_BUS_PLUGINS_MAX), append_plugin, all);
}

static int reply_text(sd_bus_message *m, const char *text, sd_bus_error *error) {
        _bus_unref_ sd_bus_message *reply = NULL;
        int r;

        if (!text)
                return mlg_bus_fail(error, MLG_ERROR_FAILED, "There is nothing to show");
        if (strlen(text) > MLG_BUS_TEXT_MAX)
                return mlg_bus_fail(error, MLG_ERROR_LIMIT, "The answer is larger than a message may be");
        r = sd_bus_message_new_method_return(m, &reply);
        if (r < 0)
                return r;
        r = mlg_bus_add_string(reply, text);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int on_dump(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgBus *b = ((MlgBusHostView *) userdata)->bus;
        g_autofree char *text = b->ops->dump(b->userdata);

        return reply_text(m, text, error);
}

static int on_get_config(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgBus *b = ((MlgBusHostView *) userdata)->bus;
        g_autofree char *text = b->ops->config(b->userdata);

        return reply_text(m, text, error);
}

/* ---- changes ---- */

static int on_reload(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgBus *b = ((MlgBusHostView *) userdata)->bus;

        return mlg_request_start(b, m, &(MlgRequest) { .kind = MLG_REQUEST_RELOAD }, error);
}

static int on_pause(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return mlg_request_start_named(m, userdata, MLG_REQUEST_PAUSE, error);
}

static int on_resume(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return mlg_request_start_named(m, userdata, MLG_REQUEST_RESUME, error);
}

static int on_set_target(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgBus *b = ((MlgBusHostView *) userdata)->bus;
        MlgRequest q = { .kind = MLG_REQUEST_SET_TARGET };
        uint64_t kib, hold_usec;
        const char *key;
        int r;

        r = sd_bus_message_read(m, "stt", &key, &kib, &hold_usec);
        if (r < 0)
                return r;
        r = mlg_request_set_guest(&q, key, error);
        if (r < 0)
                return r;
        if (!q.guest[0])
                return mlg_bus_fail(error, MLG_ERROR_INVALID_ARGUMENT, "Name the guest to set");
        r = mlg_request_set_target(&q, kib, hold_usec, error);
        if (r < 0)
                return r;
        return mlg_request_start(b, m, &q, error);
}

static int on_reserve(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgBus *b = ((MlgBusHostView *) userdata)->bus;
        uint64_t bytes, keep_usec;
        int r;

        r = sd_bus_message_read(m, "tt", &bytes, &keep_usec);
        if (r < 0)
                return r;
        if (bytes == 0 || bytes > MLG_BUS_KIB_MAX * 1024)
                return mlg_bus_fail(error, MLG_ERROR_INVALID_ARGUMENT, "A reservation has 1 byte to 1 EiB");
        if (keep_usec < MLG_BUS_RESERVE_USEC_MIN || keep_usec > MLG_BUS_RESERVE_USEC_MAX)
                return mlg_bus_fail(error, MLG_ERROR_INVALID_ARGUMENT, "It can be kept for 1 s to 24 h");
        return mlg_request_start(b, m, &(MlgRequest) {
                .kind = MLG_REQUEST_RESERVE,
                .amount = (bytes + 1023) / 1024,
                .usec = keep_usec,
        }, error);
}

static int on_release(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgBus *b = ((MlgBusHostView *) userdata)->bus;
        MlgRequest q = { .kind = MLG_REQUEST_RELEASE };
        int r;

        r = sd_bus_message_read(m, "t", &q.amount);
        if (r < 0)
                return r;
        return mlg_request_start(b, m, &q, error);
}

/* Who may call what is not decided here: reads by the bus policy, changes by request.c. */
#define U SD_BUS_VTABLE_UNPRIVILEGED

/* Numbers that differ in each poll have no change signal: who wants them reads them. */
const sd_bus_vtable mlg_bus_manager_vtable[] = {
        SD_BUS_VTABLE_START(0),

        SD_BUS_METHOD_WITH_ARGS("ListGuests", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("a(ssos)", guests), on_list_guests, U),
        SD_BUS_METHOD_WITH_ARGS("GetGuest", SD_BUS_ARGS("s", name_or_uuid),
                                SD_BUS_RESULT("o", path), on_get_guest, U),
        SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_ARGS("s", guest),
                                SD_BUS_RESULT("aa{sv}", decisions), on_explain, U),
        SD_BUS_METHOD_WITH_ARGS("ExplainRules", SD_BUS_ARGS("s", guest),
                                SD_BUS_RESULT("aa{sv}", rules), on_explain_rules, U),
        SD_BUS_METHOD_WITH_ARGS("ListReservations", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("a(tttts)", reservations), on_list_reservations, U),
        SD_BUS_METHOD_WITH_ARGS("ListProposals", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("aa{sv}", proposals), mlg_bus_on_list_proposals, U),
        SD_BUS_METHOD_WITH_ARGS("ListPipes", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("aa{sv}", pipes), mlg_bus_on_list_pipes, U),
        SD_BUS_METHOD_WITH_ARGS("ListPipeMembers", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("aa{sv}", members), mlg_bus_on_list_pipe_members, U),
        SD_BUS_METHOD_WITH_ARGS("ListPipePairs", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("aa{sv}", pairs), mlg_bus_on_list_pipe_pairs, U),
        SD_BUS_METHOD_WITH_ARGS("ListSwaps", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("aa{sv}", swaps), mlg_bus_on_list_swaps, U),
        SD_BUS_METHOD_WITH_ARGS("ListPlugins", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("a(sssss)", plugins), on_list_plugins, U),
        SD_BUS_METHOD_WITH_ARGS("Dump", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json), on_dump, U),
        SD_BUS_METHOD_WITH_ARGS("GetConfig", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", text), on_get_config, U),

        SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS, SD_BUS_RESULT("as", changes), on_reload, U),
        SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_ARGS("s", guest), SD_BUS_NO_RESULT, on_pause, U),
        SD_BUS_METHOD_WITH_ARGS("Resume", SD_BUS_ARGS("s", guest), SD_BUS_NO_RESULT, on_resume, U),
        SD_BUS_METHOD_WITH_ARGS("SetTarget", SD_BUS_ARGS("s", guest, "t", kib, "t", hold_usec),
                                SD_BUS_NO_RESULT, on_set_target, U),
        SD_BUS_METHOD_WITH_ARGS("ReserveMemory", SD_BUS_ARGS("t", bytes, "t", timeout_usec),
                                SD_BUS_RESULT("t", id), on_reserve, U),
        SD_BUS_METHOD_WITH_ARGS("ReleaseReservation", SD_BUS_ARGS("t", id), SD_BUS_NO_RESULT, on_release, U),

        SD_BUS_METHOD_WITH_ARGS("ApproveProposal", SD_BUS_ARGS("t", id), SD_BUS_NO_RESULT, mlg_bus_on_approve, U),
        SD_BUS_METHOD_WITH_ARGS("RejectProposal", SD_BUS_ARGS("t", id), SD_BUS_NO_RESULT, mlg_bus_on_reject, U),
        SD_BUS_METHOD_WITH_ARGS("ApproveAll", SD_BUS_ARGS("s", guest, "t", duration_usec),
                                SD_BUS_RESULT("u", approved), mlg_bus_on_approve_all, U),
        SD_BUS_METHOD_WITH_ARGS("EndApproval", SD_BUS_ARGS("s", guest), SD_BUS_NO_RESULT, mlg_bus_on_end_approval, U),

        SD_BUS_METHOD_WITH_ARGS("AttachPipe", SD_BUS_ARGS("s", guest), SD_BUS_NO_RESULT, mlg_bus_on_attach_pipe, U),
        SD_BUS_METHOD_WITH_ARGS("DetachPipe", SD_BUS_ARGS("s", guest), SD_BUS_NO_RESULT, mlg_bus_on_detach_pipe, U),

        SD_BUS_PROPERTY("Version", "s", get_version, 0, CONST),
        SD_BUS_PROPERTY("State", "s", NULL, HOST(state), EMITS),
        SD_BUS_PROPERTY("Policy", "s", mlg_bus_get_chars, HOST(st.policy), EMITS),
        SD_BUS_PROPERTY("ConnectURI", "s", mlg_bus_get_chars, HOST(st.uri), EMITS),
        SD_BUS_PROPERTY("Connected", "b", mlg_bus_get_bool, HOST(st.connected), EMITS),
        SD_BUS_PROPERTY("DryRun", "b", mlg_bus_get_bool, HOST(st.dry_run), EMITS),
        SD_BUS_PROPERTY("Paused", "b", mlg_bus_get_bool, HOST(st.paused), EMITS),
        SD_BUS_PROPERTY("HostTotalKiB", "t", NULL, HOST(st.total_kib), EMITS),
        SD_BUS_PROPERTY("HostAvailableKiB", "t", NULL, HOST(st.available_kib), 0),
        SD_BUS_PROPERTY("ReserveKiB", "t", NULL, HOST(st.reserve_kib), EMITS),
        SD_BUS_PROPERTY("BudgetKiB", "t", NULL, HOST(st.budget_kib), 0),
        SD_BUS_PROPERTY("ChargedKiB", "t", NULL, HOST(st.charged_kib), 0),
        SD_BUS_PROPERTY("PipesKiB", "t", NULL, HOST(st.pipes_kib), 0),
        SD_BUS_PROPERTY("LentKiB", "t", NULL, HOST(st.lent_kib), 0),
        SD_BUS_PROPERTY("ReservedKiB", "t", NULL, HOST(st.reserved_kib), EMITS),
        SD_BUS_PROPERTY("FreeKiB", "t", NULL, HOST(st.free_kib), 0),
        SD_BUS_PROPERTY("ShortageKiB", "t", NULL, HOST(st.shortage_kib), 0),
        SD_BUS_PROPERTY("HostAlarm", "s", NULL, HOST(alarm), EMITS),
        SD_BUS_PROPERTY("HostAlarmSinceUSec", "t", NULL, HOST(st.alarm_since_usec), 0),
        SD_BUS_PROPERTY("HostMissingKiB", "t", NULL, HOST(st.missing_kib), 0),
        SD_BUS_PROPERTY("HostGivableKiB", "t", NULL, HOST(st.givable_kib), 0),
        SD_BUS_PROPERTY("HostMemory", "a{st}", get_memory, HOST(st), 0),
        SD_BUS_PROPERTY("HasPressure", "b", mlg_bus_get_bool, HOST(st.have_psi), EMITS),
        SD_BUS_PROPERTY("PressureSomeCentiPercent", "u", NULL, HOST(st.psi_some_avg10_centi), 0),
        SD_BUS_PROPERTY("PressureFullCentiPercent", "u", NULL, HOST(st.psi_full_avg10_centi), 0),
        SD_BUS_PROPERTY("Guests", "u", NULL, HOST(st.n_guests), EMITS),
        SD_BUS_PROPERTY("ManagedGuests", "u", NULL, HOST(st.n_managed), EMITS),
        SD_BUS_PROPERTY("OpenProposals", "u", NULL, HOST(st.n_proposals), EMITS),
        SD_BUS_PROPERTY("AllowedUntilUSec", "t", NULL, HOST(st.allowed_until_usec), EMITS),
        SD_BUS_PROPERTY("Polls", "t", NULL, HOST(st.polls), 0),
        SD_BUS_PROPERTY("PollsLate", "t", NULL, HOST(st.polls_late), 0),
        SD_BUS_PROPERTY("Decisions", "t", NULL, HOST(st.decisions), 0),
        SD_BUS_PROPERTY("Moves", "t", NULL, HOST(st.moves_accepted), 0),
        SD_BUS_PROPERTY("MovesFailed", "t", NULL, HOST(st.moves_failed), 0),
        SD_BUS_PROPERTY("LastPollUSec", "t", NULL, HOST(st.last_poll_usec), 0),
        SD_BUS_PROPERTY("LastDecideUSec", "t", NULL, HOST(st.last_decide_usec), 0),

        SD_BUS_SIGNAL_WITH_ARGS("GuestAdded", SD_BUS_ARGS("s", name, "o", path), 0),
        SD_BUS_SIGNAL_WITH_ARGS("GuestRemoved", SD_BUS_ARGS("s", name, "o", path), 0),
        SD_BUS_SIGNAL_WITH_ARGS("PipeAdded", SD_BUS_ARGS("s", name, "o", path), 0),
        SD_BUS_SIGNAL_WITH_ARGS("PipeRemoved", SD_BUS_ARGS("s", name, "o", path), 0),
        SD_BUS_SIGNAL_WITH_ARGS("Resized", SD_BUS_ARGS("s", name, "o", path, "t", from_kib, "t", to_kib,
                                                       "s", reason), 0),
        SD_BUS_SIGNAL_WITH_ARGS("Shortage", SD_BUS_ARGS("t", missing_kib, "t", budget_kib), 0),
        SD_BUS_SIGNAL_WITH_ARGS("HostAlarm", SD_BUS_ARGS("s", level, "t", missing_kib, "t", givable_kib), 0),
        SD_BUS_SIGNAL_WITH_ARGS("ProposalAdded", SD_BUS_ARGS("t", id, "s", name, "o", path, "t", from_kib, "t", to_kib,
                                                             "s", reason), 0),
        SD_BUS_SIGNAL_WITH_ARGS("ProposalRemoved", SD_BUS_ARGS("t", id, "s", name, "o", path, "s", outcome), 0),
        SD_BUS_SIGNAL_WITH_ARGS("ReservationProgress", SD_BUS_ARGS("t", id, "s", owner, "t", room_bytes, "t", bytes), 0),
        SD_BUS_SIGNAL_WITH_ARGS("ReservationReleased", SD_BUS_ARGS("t", id, "s", why), 0),

        SD_BUS_VTABLE_END,
};

/* A fallback, because its find function is called once per message: all properties of one GetAll are of one
 * moment. */
int mlg_bus_manager_publish(MlgBus *b) {
        return sd_bus_add_fallback_vtable(b->bus, NULL, MLG_BUS_PATH, MLG_BUS_IFACE_MANAGER,
                                          mlg_bus_manager_vtable, manager_find, b);
}
