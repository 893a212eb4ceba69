/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dump: everything that memlegod knows, as one JSON object.
 *
 *   {"host": {...}, "guests": [{...}], "reservations": [{...}]}
 *
 * Keys are the field names of memlego/status.h, enums their stable names; an unknown age is null. */
#include <json-c/json.h>

#include "service/daemon-private.h"
#include "util/util.h"

static void put_u64(json_object *o, const char *key, uint64_t v) {
        (void) json_object_object_add(o, key, json_object_new_uint64(v));
}

static void put_str(json_object *o, const char *key, const char *v) {
        /* Names come from outside; a JSON text must be UTF-8. */
        g_autofree char *valid = g_utf8_make_valid(v, -1);

        (void) json_object_object_add(o, key, json_object_new_string(valid));
}

static void put_bool(json_object *o, const char *key, bool v) {
        (void) json_object_object_add(o, key, json_object_new_boolean(v));
}

#define U64(o, s, field) put_u64(o, #field, (s)->field)
#define STR(o, s, field) put_str(o, #field, (s)->field)
#define BOOL(o, s, field) put_bool(o, #field, (s)->field)

static json_object *host_object(const MlgHostStatus *s) {
        json_object *o = json_object_new_object();

        put_str(o, "version", MLG_VERSION);
        STR(o, s, policy), STR(o, s, uri);
        BOOL(o, s, connected), BOOL(o, s, dry_run), BOOL(o, s, paused), BOOL(o, s, have_psi);
        U64(o, s, now_usec), U64(o, s, total_kib), U64(o, s, available_kib), U64(o, s, reserve_kib);
        U64(o, s, budget_kib), U64(o, s, charged_kib), U64(o, s, pipes_kib), U64(o, s, lent_kib), U64(o, s, reserved_kib), U64(o, s, free_kib);
        U64(o, s, shortage_kib), U64(o, s, psi_some_avg10_centi), U64(o, s, psi_full_avg10_centi);
        put_str(o, "alarm", mlg_alarm_to_string(s->alarm));
        U64(o, s, alarm_since_usec), U64(o, s, missing_kib), U64(o, s, givable_kib);
        U64(o, s, swap_total_kib), U64(o, s, swap_used_kib), U64(o, s, hugetlb_kib), U64(o, s, hugetlb_free_kib);
        if (s->have_zswap)
                U64(o, s, zswap_kib), U64(o, s, zswapped_kib);
        if (s->have_ksm)
                U64(o, s, ksm_saved_kib), U64(o, s, ksm_shared_kib);
        if (s->knows_others)
                U64(o, s, resident_kib), U64(o, s, others_kib);
        U64(o, s, n_proposals), U64(o, s, allowed_until_usec);
        U64(o, s, n_guests), U64(o, s, n_managed), U64(o, s, polls), U64(o, s, polls_late), U64(o, s, decisions);
        U64(o, s, moves_accepted), U64(o, s, moves_failed), U64(o, s, last_poll_usec), U64(o, s, last_decide_usec);
        return o;
}

static void put_stack(json_object *o, const MlgGuestStatus *s) {
        json_object *kinds = json_object_new_object();

        U64(o, s, stack_calls), U64(o, s, stack_held_bytes), U64(o, s, stack_refused), U64(o, s, stack_violations);
        for (int i = 0; i < _MLG_STACK_VIOLATION_MAX; i++)
                put_u64(kinds, mlg_stack_violation_to_string(i), s->stack_violation_kinds[i]);
        (void) json_object_object_add(o, "stack_violation_kinds", kinds);
}

static json_object *guest_object(const MlgGuestStatus *s) {
        json_object *o = json_object_new_object();

        STR(o, s, uuid), STR(o, s, name), STR(o, s, labels), STR(o, s, predictor);
        if (*s->rules)
                STR(o, s, rules);
        put_str(o, "state", mlg_vm_state_to_string(s->state));
        put_str(o, "actuator", mlg_actuator_to_string(s->actuator));
        put_str(o, "source", mlg_source_to_string(s->source));
        put_str(o, "monitor", mlg_monitor_link_to_string(s->monitor));
        put_str(o, "reason", mlg_reason_to_string(s->reason));
        put_str(o, "run_state", mlg_run_state_to_string(s->run_state));
        put_str(o, "mode", mlg_mode_to_string(s->mode));
        put_str(o, "trust", mlg_trust_to_string(s->trust));
        put_str(o, "pressure", mlg_pressure_to_string(s->pressure));
        BOOL(o, s, paused), BOOL(o, s, has_balloon), BOOL(o, s, autodeflate), BOOL(o, s, free_page_reporting);
        BOOL(o, s, vfio), BOOL(o, s, locked), BOOL(o, s, hugepages);
        U64(o, s, actual_kib), U64(o, s, target_kib), U64(o, s, maximum_kib), U64(o, s, floor_kib), U64(o, s, ceiling_kib);
        U64(o, s, used_kib), U64(o, s, usable_kib), U64(o, s, unused_kib), U64(o, s, caches_kib), U64(o, s, rss_kib);
        U64(o, s, need_kib), U64(o, s, error_kib), U64(o, s, cushion_kib);
        U64(o, s, swap_in_kib_per_sec), U64(o, s, swap_out_kib_per_sec), U64(o, s, major_faults_per_sec);
        if (s->knows_stalls)
                U64(o, s, stall_some_permille), U64(o, s, stall_full_permille), U64(o, s, refault_kib_per_sec);
        if (s->knows_cold)
                U64(o, s, cold_kib);
        if (s->knows_oom)
                U64(o, s, oom_kills);
        if (s->knows_cgroup)
                U64(o, s, cgroup_kib), U64(o, s, cgroup_swap_kib), U64(o, s, reclaim_asked_kib), U64(o, s, reclaim_paused_until_usec);
        if (s->knows_stack)
                put_stack(o, s);
        U64(o, s, last_alarm_usec);
        if (s->sample_age_usec == MLG_USEC_NEVER)
                (void) json_object_object_add(o, "sample_age_usec", NULL);
        else
                U64(o, s, sample_age_usec);
        U64(o, s, last_move_usec), U64(o, s, hold_until_usec), U64(o, s, proposal_id), U64(o, s, allowed_until_usec), U64(o, s, shares);
        (void) json_object_object_add(o, "priority", json_object_new_int(s->priority));
        U64(o, s, moves_tried), U64(o, s, moves_accepted), U64(o, s, moves_failed), U64(o, s, moved_kib);
        U64(o, s, forecasts), U64(o, s, forecast_misses), U64(o, s, learned_usec);
        return o;
}

static json_object *reservation_object(const MlgReservationStatus *s) {
        json_object *o = json_object_new_object();

        U64(o, s, id), U64(o, s, kib), U64(o, s, room_kib), U64(o, s, expires_usec), STR(o, s, owner);
        return o;
}

char *mlg_daemon_dump(void *daemon) {
        const MlgBusOps *ops = &mlg_daemon_bus_ops;
        json_object *top = json_object_new_object(), *guests = json_object_new_array();
        json_object *reservations = json_object_new_array();
        MlgReservationStatus r[MLG_RESERVATIONS_MAX];
        MlgHostStatus host;
        MlgGuestStatus guest;
        char *text;

        ops->host_status(&host, daemon);
        for (size_t i = 0; ops->guest_at(i, &guest, daemon); i++)
                (void) json_object_array_add(guests, guest_object(&guest));
        for (size_t n = ops->reservations(r, MLG_RESERVATIONS_MAX, daemon), i = 0; i < n; i++)
                (void) json_object_array_add(reservations, reservation_object(&r[i]));
        (void) json_object_object_add(top, "host", host_object(&host));
        (void) json_object_object_add(top, "guests", guests);
        (void) json_object_object_add(top, "reservations", reservations);
        text = g_strdup(json_object_to_json_string_ext(top, JSON_C_TO_STRING_PLAIN));
        (void) json_object_put(top);
        return text;
}
