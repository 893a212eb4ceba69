/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshot: from JSON to values. */
#include "ctl/snapshot.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/text.h"

static const char *get_string(json_object *o, const char *key) {
        json_object *v;

        return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_string)
                       ? json_object_get_string(v)
                       : "-";
}

static bool get_bool(json_object *o, const char *key) {
        json_object *v;

        return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_boolean) &&
               json_object_get_boolean(v);
}

static uint64_t get_u64(json_object *o, const char *key, uint64_t otherwise) {
        json_object *v;

        if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_int))
                return otherwise;
        return json_object_get_uint64(v); /* negative ones become 0 */
}

static json_object *get_typed(json_object *o, const char *key, json_type type) {
        json_object *v;

        return json_object_object_get_ex(o, key, &v) && json_object_is_type(v, type) ? v : NULL;
}

static void read_guest(json_object *o, MlgCtlGuest *ret) {
        *ret = (MlgCtlGuest) {
                .name = get_string(o, "name"),
                .uuid = get_string(o, "uuid"),
                .state = get_string(o, "state"),
                .reason = get_string(o, "reason"),
                .pressure = get_string(o, "pressure"),
                .run_state = get_string(o, "run_state"),
                .actual_kib = get_u64(o, "actual_kib", 0),
                .target_kib = get_u64(o, "target_kib", 0),
                .maximum_kib = get_u64(o, "maximum_kib", 0),
                .used_kib = get_u64(o, "used_kib", 0),
                .usable_kib = get_u64(o, "usable_kib", 0),
                .need_kib = get_u64(o, "need_kib", 0),
                .error_kib = get_u64(o, "error_kib", 0),
                .swap_in_kib_per_sec = get_u64(o, "swap_in_kib_per_sec", 0),
                .stall_some_permille = get_u64(o, "stall_some_permille", 0),
                .sample_age_usec = get_u64(o, "sample_age_usec", UINT64_MAX),
                .knows_stack = json_object_object_get_ex(o, "stack_violations", NULL),
                .stack_calls = get_u64(o, "stack_calls", 0),
                .stack_held_bytes = get_u64(o, "stack_held_bytes", 0),
                .stack_refused = get_u64(o, "stack_refused", 0),
                .stack_violations = get_u64(o, "stack_violations", 0),
                .json = o,
        };
}

static void read_host(json_object *o, MlgCtlHost *ret) {
        *ret = (MlgCtlHost) {
                .policy = get_string(o, "policy"),
                .uri = get_string(o, "uri"),
                .alarm = get_string(o, "alarm"),
                .connected = get_bool(o, "connected"),
                .dry_run = get_bool(o, "dry_run"),
                .paused = get_bool(o, "paused"),
                .have_psi = get_bool(o, "have_psi"),
                .now_usec = get_u64(o, "now_usec", 0),
                .total_kib = get_u64(o, "total_kib", 0),
                .budget_kib = get_u64(o, "budget_kib", 0),
                .charged_kib = get_u64(o, "charged_kib", 0),
                .reserved_kib = get_u64(o, "reserved_kib", 0),
                .free_kib = get_u64(o, "free_kib", 0),
                .shortage_kib = get_u64(o, "shortage_kib", 0),
                .missing_kib = get_u64(o, "missing_kib", 0),
                .givable_kib = get_u64(o, "givable_kib", 0),
                .others_kib = get_u64(o, "others_kib", 0),
                .swap_total_kib = get_u64(o, "swap_total_kib", 0),
                .swap_used_kib = get_u64(o, "swap_used_kib", 0),
                .hugetlb_kib = get_u64(o, "hugetlb_kib", 0),
                .hugetlb_free_kib = get_u64(o, "hugetlb_free_kib", 0),
                .zswap_kib = get_u64(o, "zswap_kib", 0),
                .zswapped_kib = get_u64(o, "zswapped_kib", 0),
                .ksm_saved_kib = get_u64(o, "ksm_saved_kib", 0),
                .psi_some_avg10_centi = get_u64(o, "psi_some_avg10_centi", 0),
                .psi_full_avg10_centi = get_u64(o, "psi_full_avg10_centi", 0),
                .n_guests = get_u64(o, "n_guests", 0),
                .n_managed = get_u64(o, "n_managed", 0),
                .n_proposals = get_u64(o, "n_proposals", 0),
                .allowed_until_usec = get_u64(o, "allowed_until_usec", 0),
        };
}

static int compare_guests(const void *a, const void *b) {
        const MlgCtlGuest *x = a, *y = b;
        int r = strverscmp(x->name, y->name);

        return r != 0 ? r : strcmp(x->uuid, y->uuid);
}

static json_object *parse_json(const char *text, GError **error) {
        size_t len = strlen(text);
        json_tokener *tokener;
        json_object *json;
        enum json_tokener_error e;

        if (len > MLG_SNAPSHOT_BYTES_MAX) {
                g_set_error(error, MLG_CTL_ERROR, MLG_EXIT_FAILED, "memlegod's dump is too large: %zu bytes",
                            len);
                return NULL;
        }
        tokener = json_tokener_new_ex(MLG_SNAPSHOT_DEPTH_MAX);
        if (!tokener)
                g_error("out of memory");
        json = json_tokener_parse_ex(tokener, text,
                                     (int) len + 1); /* with its NUL: the end of the text is known */
        e = json_tokener_get_error(tokener);
        json_tokener_free(tokener);
        if (!json_object_is_type(json, json_type_object)) {
                g_set_error(error, MLG_CTL_ERROR, MLG_EXIT_FAILED, "memlegod's dump cannot be read: %s",
                            e == json_tokener_success ? "not an object" : json_tokener_error_desc(e));
                json_object_put(json);
                return NULL;
        }
        return json;
}

MlgSnapshot *mlg_snapshot_parse(const char *text, GError **error) {
        g_autoptr(MlgSnapshot) s = g_new0(MlgSnapshot, 1);
        json_object *host, *guests;

        s->json = parse_json(text, error);
        if (!s->json)
                return NULL;
        host = get_typed(s->json, "host", json_type_object);
        guests = get_typed(s->json, "guests", json_type_array);
        if (!host || !guests) {
                g_set_error_literal(error, MLG_CTL_ERROR, MLG_EXIT_FAILED,
                                    "memlegod's dump cannot be read: no host, or no guests in it");
                return NULL;
        }
        read_host(host, &s->host);
        s->guests = g_new0(MlgCtlGuest, json_object_array_length(guests));
        for (size_t i = 0; i < json_object_array_length(guests); i++) {
                json_object *o = json_object_array_get_idx(guests, i);

                if (json_object_is_type(o, json_type_object))
                        read_guest(o, &s->guests[s->n_guests++]);
        }
        if (s->n_guests > 1)
                qsort(s->guests, s->n_guests, sizeof *s->guests, compare_guests);
        return g_steal_pointer(&s);
}

MlgSnapshot *mlg_snapshot_free(MlgSnapshot *s) {
        if (!s)
                return NULL;
        json_object_put(s->json);
        g_free(s->guests);
        g_free(s);
        return NULL;
}

static bool matches(const MlgCtlGuest *g, char *const *patterns) {
        for (; *patterns; patterns++)
                if (fnmatch(*patterns, g->name, 0) == 0 || strcmp(*patterns, g->name) == 0 ||
                    fnmatch(*patterns, g->uuid, FNM_CASEFOLD) == 0)
                        return true;
        return false;
}

bool mlg_snapshot_filter(MlgSnapshot *s, char *const *patterns) {
        json_object *kept;
        size_t n = 0;

        if (!patterns || !*patterns)
                return true;
        kept = json_object_new_array();
        for (size_t i = 0; i < s->n_guests; i++)
                if (matches(&s->guests[i], patterns)) {
                        json_object_array_add(kept, json_object_get(s->guests[i].json));
                        s->guests[n++] = s->guests[i];
                }
        s->n_guests = n;
        json_object_object_add(s->json, "guests",
                               kept); /* the guests that are gone die with the old array */
        return n > 0;
}

char *mlg_json_to_text(json_object *json, bool utf8) {
        g_autofree char *safe =
                mlg_text_escape(json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY |
                                                                             JSON_C_TO_STRING_SPACED |
                                                                             JSON_C_TO_STRING_NOSLASHESCAPE),
                                MLG_TEXT_JSON, utf8);

        return g_strconcat(safe, "\n", NULL);
}

char *mlg_snapshot_to_json(const MlgSnapshot *s, bool utf8) {
        return mlg_json_to_text(s->json, utf8);
}
