/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest: one object per guest, /org/memlego1/guest/UUID. Its interface is described in
 * systemd/org.memlego1.xml; a test compares them.
 *
 * The objects are not kept: the path is turned into a UUID and the service is asked for each message. */
#include "bus/bus-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GUEST(field) offsetof(MlgBusGuestView, st.field)
#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define EMITS SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

/* ---- paths ---- */

/* Only the canonical spelling, so that a guest has one path. */
static bool path_to_uuid(const char *path, char ret[static MLG_UUID_LEN + 1]) {
        const char *p;

        if (!g_str_has_prefix(path, MLG_BUS_PATH_GUEST "/"))
                return false;
        p = path + strlen(MLG_BUS_PATH_GUEST "/");
        if (strlen(p) != MLG_UUID_LEN || strspn(p, "0123456789abcdef_") != MLG_UUID_LEN)
                return false;
        (void) g_strlcpy(ret, p, MLG_UUID_LEN + 1);
        g_strdelimit(ret, "_", '-');
        return true;
}

static int guest_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret,
                      sd_bus_error *error) {
        char uuid[MLG_UUID_LEN + 1];
        MlgBus *b = userdata;

        if (!path_to_uuid(path, uuid))
                return 0;
        /* A guest may have another's UUID as its name: only the UUID counts here. */
        if (!b->ops->guest_find(uuid, &b->guest.st, b->userdata) || !g_str_equal(b->guest.st.uuid, uuid))
                return 0;
        b->guest.bus = b;
        *ret = &b->guest;
        return 1;
}

/* sd-bus frees the list and its strings with free(). */
static int list_paths(sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *error) {
        MlgBus *b = userdata;
        size_t n = b->ops->n_guests(b->userdata), k = 0;
        char **paths = calloc(n + 1, sizeof(*paths));
        MlgGuestStatus st;

        if (!paths)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                g_autofree char *path = NULL;

                if (!b->ops->guest_at(i, &st, b->userdata))
                        continue;
                path = mlg_bus_guest_path(st.uuid);
                paths[k] = strdup(path);
                if (!paths[k]) {
                        while (k > 0)
                                free(paths[--k]);
                        free(paths);
                        return -ENOMEM;
                }
                k++;
        }
        *ret = paths;
        return 0;
}

/* ---- properties ---- */

#define GETTER(name, type, to_string)                                                                 \
        static int get_##name(sd_bus *bus, const char *path, const char *interface,                   \
                              const char *property, sd_bus_message *reply, void *userdata,            \
                              sd_bus_error *error) {                                                  \
                const type *v = userdata;                                                             \
                                                                                                      \
                return sd_bus_message_append(reply, "s", to_string(*v));                              \
        }
GETTER(state, MlgVmState, mlg_vm_state_to_string)
GETTER(reason, MlgReason, mlg_reason_to_string)
GETTER(sentence, MlgReason, mlg_reason_to_sentence)
GETTER(run_state, MlgRunState, mlg_run_state_to_string)
GETTER(mode, MlgMode, mlg_mode_to_string)
GETTER(trust, MlgTrust, mlg_trust_to_string)
GETTER(pressure, MlgPressure, mlg_pressure_to_string)
GETTER(source, MlgSource, mlg_source_to_string)
GETTER(monitor, MlgMonitorLink, mlg_monitor_link_to_string)
GETTER(actuator, MlgActuator, mlg_actuator_to_string)

static int get_words(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        g_auto(GStrv) words = g_strsplit_set(userdata, " \t\n", -1);
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        for (char **w = words; r >= 0 && *w; w++)
                if ((*w)[0])
                        r = mlg_bus_add_string(reply, *w);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_violations(sd_bus *bus, const char *path, const char *interface, const char *property,
                          sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const uint64_t *n = userdata;
        int r = sd_bus_message_open_container(reply, 'a', "{st}");

        for (int i = 0; r >= 0 && i < _MLG_STACK_VIOLATION_MAX; i++)
                r = sd_bus_message_append(reply, "{st}", mlg_stack_violation_to_string(i), n[i]);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* ---- decisions ---- */

typedef struct Decisions {
        MlgDecision all[MLG_DECISIONS_MAX];
        uint64_t now_usec;
} Decisions;

static int append_kib(sd_bus_message *m, const char *key, uint64_t kib) {
        return sd_bus_message_append(m, "{sv}", key, "t", kib);
}

/* MlgDecision.result */
static int append_result(sd_bus_message *m, int result) {
        const char *name;
        int r;

        if (result >= 0)
                return mlg_bus_append_text(m, "Result", result == 0 ? "accepted" : result == 1 ? "pending" : "none");
        r = mlg_bus_append_text(m, "Result", "failed");
        if (r < 0)
                return r;
        name = strerrorname_np(-result);
        return mlg_bus_append_text(m, "Error", name ? name : "EIO");
}

static int append_decision(sd_bus_message *m, size_t at, const void *list) {
        const MlgDecision *d = &((const Decisions *) list)->all[at];
        uint64_t now_usec = ((const Decisions *) list)->now_usec;
        const struct { const char *key, *value; } texts[] = {
                { "State", mlg_vm_state_to_string(d->state) },
                { "Trust", mlg_trust_to_string(d->trust) },
                { "Pressure", mlg_pressure_to_string(d->pressure) },
                { "WantedReason", mlg_reason_to_string(d->wanted_why) },
                { "Reason", mlg_reason_to_string(d->why) },
                { "Sentence", mlg_reason_to_sentence(d->why) },
        };
        const struct { const char *key; uint64_t value; } numbers[] = {
                { "AgeUSec", mlg_sub_sat(now_usec, d->at_usec) },
                { "FirstAgeUSec", mlg_sub_sat(now_usec, d->first_at_usec) },
                { "Repeated", d->repeated },
                { "ActualKiB", d->actual_kib },
                { "UsedKiB", d->used_kib },
                { "UsableKiB", d->usable_kib },
                { "NeedKiB", d->need_kib },
                { "ErrorKiB", d->error_kib },
                { "CushionKiB", d->cushion_kib },
                { "FromKiB", d->from_kib },
                { "WantedKiB", d->wanted_kib },
                { "ToKiB", d->to_kib },
        };
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        for (size_t i = 0; r >= 0 && i < G_N_ELEMENTS(numbers); i++)
                r = append_kib(m, numbers[i].key, numbers[i].value);
        for (size_t i = 0; r >= 0 && i < G_N_ELEMENTS(texts); i++)
                r = mlg_bus_append_text(m, texts[i].key, texts[i].value);
        if (r >= 0)
                r = append_result(m, d->result);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int mlg_bus_reply_decisions(MlgBus *b, sd_bus_message *m, const char *uuid) {
        Decisions list;
        size_t n = b->ops->decisions(uuid, list.all, G_N_ELEMENTS(list.all), b->userdata);

        mlg_bus_manager_fill(b); /* for the time */
        list.now_usec = b->host.st.now_usec;
        return mlg_bus_reply_list(m, "a{sv}", mlg_min(n, G_N_ELEMENTS(list.all)), append_decision, &list);
}

/* ---- rules ---- */

static int append_rule(sd_bus_message *m, size_t at, const void *list) {
        const MlgRuleStatus *s = &((const MlgRuleStatus *) list)[at];
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = mlg_bus_append_text(m, "Rule", s->name);
        if (r >= 0)
                r = mlg_bus_append_text(m, "Origin", s->origin);
        if (r >= 0)
                r = mlg_bus_append_text(m, "Settings", s->settings);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int mlg_bus_reply_rules(MlgBus *b, sd_bus_message *m, const char *uuid) {
        g_autofree MlgRuleStatus *all = g_new0(MlgRuleStatus, MLG_BUS_RULES_MAX);
        size_t n = b->ops->rules(uuid, all, MLG_BUS_RULES_MAX, b->userdata);

        return mlg_bus_reply_list(m, "a{sv}", mlg_min(n, MLG_BUS_RULES_MAX), append_rule, all);
}

/* ---- methods ---- */

static int start(sd_bus_message *m, MlgBusGuestView *view, MlgRequest *q, sd_bus_error *error) {
        (void) g_strlcpy(q->guest, view->st.uuid, sizeof(q->guest));
        return mlg_request_start(view->bus, m, q, error);
}

static int on_pause(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return start(m, userdata, &(MlgRequest) { .kind = MLG_REQUEST_PAUSE }, error);
}

static int on_resume(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return start(m, userdata, &(MlgRequest) { .kind = MLG_REQUEST_RESUME }, error);
}

static int on_set_target(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgRequest q = { .kind = MLG_REQUEST_SET_TARGET };
        uint64_t kib, hold_usec;
        int r;

        r = sd_bus_message_read(m, "tt", &kib, &hold_usec);
        if (r < 0)
                return r;
        r = mlg_request_set_target(&q, kib, hold_usec, error);
        if (r < 0)
                return r;
        return start(m, userdata, &q, error);
}

static int on_explain(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgBusGuestView *view = userdata;

        return mlg_bus_reply_decisions(view->bus, m, view->st.uuid);
}

static int on_explain_rules(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        MlgBusGuestView *view = userdata;

        return mlg_bus_reply_rules(view->bus, m, view->st.uuid);
}

#define U SD_BUS_VTABLE_UNPRIVILEGED

/* Numbers that differ in each poll have no change signal: who wants them reads them. */
const sd_bus_vtable mlg_bus_guest_vtable[] = {
        SD_BUS_VTABLE_START(0),

        SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_pause, U),
        SD_BUS_METHOD_WITH_ARGS("Resume", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_resume, U),
        SD_BUS_METHOD_WITH_ARGS("SetTarget", SD_BUS_ARGS("t", kib, "t", hold_usec),
                                SD_BUS_NO_RESULT, on_set_target, U),
        SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("aa{sv}", decisions), on_explain, U),
        SD_BUS_METHOD_WITH_ARGS("ExplainRules", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("aa{sv}", rules), on_explain_rules, U),

        SD_BUS_PROPERTY("UUID", "s", mlg_bus_get_chars, GUEST(uuid), CONST),
        SD_BUS_PROPERTY("Name", "s", mlg_bus_get_chars, GUEST(name), EMITS),
        SD_BUS_PROPERTY("Labels", "as", get_words, GUEST(labels), EMITS),
        SD_BUS_PROPERTY("Predictor", "s", mlg_bus_get_chars, GUEST(predictor), EMITS),
        SD_BUS_PROPERTY("Rules", "as", get_words, GUEST(rules), EMITS),
        SD_BUS_PROPERTY("State", "s", get_state, GUEST(state), EMITS),
        SD_BUS_PROPERTY("Reason", "s", get_reason, GUEST(reason), EMITS),
        SD_BUS_PROPERTY("ReasonSentence", "s", get_sentence, GUEST(reason), EMITS),
        SD_BUS_PROPERTY("RunState", "s", get_run_state, GUEST(run_state), EMITS),
        SD_BUS_PROPERTY("Mode", "s", get_mode, GUEST(mode), EMITS),
        SD_BUS_PROPERTY("Trust", "s", get_trust, GUEST(trust), EMITS),
        SD_BUS_PROPERTY("Pressure", "s", get_pressure, GUEST(pressure), EMITS),
        SD_BUS_PROPERTY("Source", "s", get_source, GUEST(source), EMITS),
        SD_BUS_PROPERTY("Monitor", "s", get_monitor, GUEST(monitor), EMITS),
        SD_BUS_PROPERTY("Paused", "b", mlg_bus_get_bool, GUEST(paused), EMITS),
        SD_BUS_PROPERTY("Actuator", "s", get_actuator, GUEST(actuator), EMITS),
        SD_BUS_PROPERTY("HasBalloon", "b", mlg_bus_get_bool, GUEST(has_balloon), EMITS),
        SD_BUS_PROPERTY("AutoDeflate", "b", mlg_bus_get_bool, GUEST(autodeflate), EMITS),
        SD_BUS_PROPERTY("FreePageReporting", "b", mlg_bus_get_bool, GUEST(free_page_reporting), EMITS),
        SD_BUS_PROPERTY("VFIO", "b", mlg_bus_get_bool, GUEST(vfio), EMITS),
        SD_BUS_PROPERTY("Locked", "b", mlg_bus_get_bool, GUEST(locked), EMITS),
        SD_BUS_PROPERTY("HugePages", "b", mlg_bus_get_bool, GUEST(hugepages), EMITS),
        SD_BUS_PROPERTY("ActualKiB", "t", NULL, GUEST(actual_kib), 0),
        SD_BUS_PROPERTY("TargetKiB", "t", NULL, GUEST(target_kib), EMITS),
        SD_BUS_PROPERTY("MaximumKiB", "t", NULL, GUEST(maximum_kib), EMITS),
        SD_BUS_PROPERTY("FloorKiB", "t", NULL, GUEST(floor_kib), EMITS),
        SD_BUS_PROPERTY("CeilingKiB", "t", NULL, GUEST(ceiling_kib), EMITS),
        SD_BUS_PROPERTY("UsedKiB", "t", NULL, GUEST(used_kib), 0),
        SD_BUS_PROPERTY("UsableKiB", "t", NULL, GUEST(usable_kib), 0),
        SD_BUS_PROPERTY("UnusedKiB", "t", NULL, GUEST(unused_kib), 0),
        SD_BUS_PROPERTY("CachesKiB", "t", NULL, GUEST(caches_kib), 0),
        SD_BUS_PROPERTY("RSSKiB", "t", NULL, GUEST(rss_kib), 0),
        SD_BUS_PROPERTY("NeedKiB", "t", NULL, GUEST(need_kib), 0),
        SD_BUS_PROPERTY("ErrorKiB", "t", NULL, GUEST(error_kib), 0),
        SD_BUS_PROPERTY("CushionKiB", "t", NULL, GUEST(cushion_kib), 0),
        SD_BUS_PROPERTY("SwapInKiBPerSec", "t", NULL, GUEST(swap_in_kib_per_sec), 0),
        SD_BUS_PROPERTY("SwapOutKiBPerSec", "t", NULL, GUEST(swap_out_kib_per_sec), 0),
        SD_BUS_PROPERTY("MajorFaultsPerSec", "t", NULL, GUEST(major_faults_per_sec), 0),
        SD_BUS_PROPERTY("KnowsStalls", "b", mlg_bus_get_bool, GUEST(knows_stalls), EMITS),
        SD_BUS_PROPERTY("StallSomePermille", "u", NULL, GUEST(stall_some_permille), 0),
        SD_BUS_PROPERTY("StallFullPermille", "u", NULL, GUEST(stall_full_permille), 0),
        SD_BUS_PROPERTY("RefaultKiBPerSec", "t", NULL, GUEST(refault_kib_per_sec), 0),
        SD_BUS_PROPERTY("KnowsCold", "b", mlg_bus_get_bool, GUEST(knows_cold), EMITS),
        SD_BUS_PROPERTY("ColdKiB", "t", NULL, GUEST(cold_kib), 0),
        SD_BUS_PROPERTY("OOMKills", "t", NULL, GUEST(oom_kills), EMITS),
        SD_BUS_PROPERTY("KnowsStack", "b", mlg_bus_get_bool, GUEST(knows_stack), EMITS),
        SD_BUS_PROPERTY("StackCalls", "t", NULL, GUEST(stack_calls), 0),
        SD_BUS_PROPERTY("StackHeldBytes", "t", NULL, GUEST(stack_held_bytes), 0),
        SD_BUS_PROPERTY("StackRefused", "t", NULL, GUEST(stack_refused), 0),
        SD_BUS_PROPERTY("StackViolations", "t", NULL, GUEST(stack_violations), EMITS),
        SD_BUS_PROPERTY("StackViolationKinds", "a{st}", get_violations, GUEST(stack_violation_kinds), 0),
        SD_BUS_PROPERTY("LastAlarmUSec", "t", NULL, GUEST(last_alarm_usec), 0),
        SD_BUS_PROPERTY("KnowsCgroup", "b", mlg_bus_get_bool, GUEST(knows_cgroup), EMITS),
        SD_BUS_PROPERTY("CgroupKiB", "t", NULL, GUEST(cgroup_kib), 0),
        SD_BUS_PROPERTY("CgroupSwapKiB", "t", NULL, GUEST(cgroup_swap_kib), 0),
        SD_BUS_PROPERTY("ReclaimAskedKiB", "t", NULL, GUEST(reclaim_asked_kib), 0),
        SD_BUS_PROPERTY("ReclaimPausedUntilUSec", "t", NULL, GUEST(reclaim_paused_until_usec), 0),
        SD_BUS_PROPERTY("SampleAgeUSec", "t", NULL, GUEST(sample_age_usec), 0),
        SD_BUS_PROPERTY("LastMoveUSec", "t", NULL, GUEST(last_move_usec), 0),
        SD_BUS_PROPERTY("HoldUntilUSec", "t", NULL, GUEST(hold_until_usec), EMITS),
        SD_BUS_PROPERTY("Proposal", "t", NULL, GUEST(proposal_id), EMITS),
        SD_BUS_PROPERTY("AllowedUntilUSec", "t", NULL, GUEST(allowed_until_usec), EMITS),
        SD_BUS_PROPERTY("Shares", "u", NULL, GUEST(shares), EMITS),
        SD_BUS_PROPERTY("Priority", "i", NULL, GUEST(priority), EMITS),
        SD_BUS_PROPERTY("MovesTried", "t", NULL, GUEST(moves_tried), 0),
        SD_BUS_PROPERTY("MovesAccepted", "t", NULL, GUEST(moves_accepted), 0),
        SD_BUS_PROPERTY("MovesFailed", "t", NULL, GUEST(moves_failed), 0),
        SD_BUS_PROPERTY("MovedKiB", "t", NULL, GUEST(moved_kib), 0),
        SD_BUS_PROPERTY("Forecasts", "t", NULL, GUEST(forecasts), 0),
        SD_BUS_PROPERTY("ForecastMisses", "t", NULL, GUEST(forecast_misses), 0),
        SD_BUS_PROPERTY("LearnedUSec", "t", NULL, GUEST(learned_usec), 0),

        SD_BUS_VTABLE_END,
};

int mlg_bus_guest_publish(MlgBus *b) {
        int r;

        r = sd_bus_add_fallback_vtable(b->bus, NULL, MLG_BUS_PATH_GUEST, MLG_BUS_IFACE_GUEST,
                                       mlg_bus_guest_vtable, guest_find, b);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(b->bus, NULL, MLG_BUS_PATH_GUEST, list_paths, b);
}
