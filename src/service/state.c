/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State: targets.json <-> memory.
 *
 * The file is one object: { "version": 1, "boot_id": "...", "paused": false, "guests": [ {...} ], "reservations": [ {...} ] },
 * keys as the fields of MlgStateGuest and MlgStateReservation.
 * Invariants: a file is taken wholly or not at all; what is not taken is set aside as targets.json.bad; a
 * crash at any instant leaves the old file or the new one; memory and file are bounded by the limits
 * below. */
#include "service/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "memlego/names.h"
#include "service/file.h"
#include "util/util.h"

#define STATE_VERSION 1
#define STATE_GUESTS_MAX 4096
#define STATE_RESERVATIONS_MAX 1024
#define STATE_DEPTH_MAX 4                 /* object, array, object, value */
#define STATE_FILE_MAX (4 * 1024 * 1024)  /* 4096 guests of 400 bytes and 1024 reservations fit twice */
#define STATE_KIB_MAX (UINT64_C(1) << 54) /* 2^64 bytes: more is no amount of memory */

#define FILE_NEW MLG_STATE_FILE_NAME ".new"
#define FILE_BAD MLG_STATE_FILE_NAME ".bad"

struct MlgState {
        int dir_fd; /* -1: nothing is kept */
        bool dirty;
        bool paused;
        uint64_t allowed_until_real_usec, last_proposal;
        char boot_id[64];
        GHashTable *guests;   /* uuid -> MlgStateGuest; the key is its own uuid */
        GArray *reservations; /* MlgStateReservation */
};

/* ---- in memory ---- */

const MlgStateGuest *mlg_state_guest(const MlgState *s, const char *uuid) {
        return g_hash_table_lookup(s->guests, uuid);
}

static bool guest_equal(const MlgStateGuest *a, const MlgStateGuest *b) {
        return a->instance == b->instance && a->target_kib == b->target_kib &&
               a->pending_kib == b->pending_kib && a->stats_period_changed == b->stats_period_changed &&
               a->stats_period_found_sec == b->stats_period_found_sec && a->paused == b->paused &&
               a->manual_kib == b->manual_kib && a->hold_until_real_usec == b->hold_until_real_usec &&
               a->suffered_real_usec == b->suffered_real_usec && a->started_real_usec == b->started_real_usec &&
               a->allowed_until_real_usec == b->allowed_until_real_usec;
}

void mlg_state_put_guest(MlgState *s, const MlgStateGuest *g) {
        MlgStateGuest *own = g_hash_table_lookup(s->guests, g->uuid);

        if (own && guest_equal(own, g))
                return;
        if (own)
                *own = *g;
        else if (g_hash_table_size(s->guests) < STATE_GUESTS_MAX) {
                own = g_memdup2(g, sizeof(*g));
                g_hash_table_insert(s->guests, own->uuid, own);
        } else
                return;
        s->dirty = true;
}

void mlg_state_drop_guest(MlgState *s, const char *uuid) {
        if (g_hash_table_remove(s->guests, uuid))
                s->dirty = true;
}

void mlg_state_keep_guests(MlgState *s, bool (*keep)(const char *uuid, void *userdata), void *userdata) {
        GHashTableIter iter;
        void *uuid;

        g_hash_table_iter_init(&iter, s->guests);
        while (g_hash_table_iter_next(&iter, &uuid, NULL))
                if (!keep(uuid, userdata)) {
                        g_hash_table_iter_remove(&iter);
                        s->dirty = true;
                }
}

size_t mlg_state_reservations(const MlgState *s, const MlgStateReservation **ret) {
        *ret = (const MlgStateReservation *) (void *) s->reservations->data;
        return s->reservations->len;
}

static MlgStateReservation *find_reservation(MlgState *s, uint64_t id, unsigned int *ret_index) {
        for (unsigned int i = 0; i < s->reservations->len; i++) {
                MlgStateReservation *r = &g_array_index(s->reservations, MlgStateReservation, i);

                if (r->id == id) {
                        *ret_index = i;
                        return r;
                }
        }
        return NULL;
}

void mlg_state_put_reservation(MlgState *s, const MlgStateReservation *r) {
        unsigned int i;
        MlgStateReservation *own = find_reservation(s, r->id, &i);

        if (own && own->kib == r->kib && own->expires_real_usec == r->expires_real_usec && own->taken == r->taken &&
            strcmp(own->owner, r->owner) == 0)
                return;
        if (own)
                *own = *r;
        else if (s->reservations->len < STATE_RESERVATIONS_MAX)
                g_array_append_vals(s->reservations, r, 1);
        else
                return;
        s->dirty = true;
}

void mlg_state_drop_reservation(MlgState *s, uint64_t id) {
        unsigned int i;

        if (!find_reservation(s, id, &i))
                return;
        g_array_remove_index(s->reservations, i);
        s->dirty = true;
}

bool mlg_state_paused(const MlgState *s) {
        return s->paused;
}

void mlg_state_set_paused(MlgState *s, bool paused) {
        if (s->paused == paused)
                return;
        s->paused = paused;
        s->dirty = true;
}

uint64_t mlg_state_allowed_until(const MlgState *s) {
        return s->allowed_until_real_usec;
}

void mlg_state_set_allowed_until(MlgState *s, uint64_t real_usec) {
        s->dirty |= s->allowed_until_real_usec != real_usec;
        s->allowed_until_real_usec = real_usec;
}

uint64_t mlg_state_last_proposal(const MlgState *s) {
        return s->last_proposal;
}

void mlg_state_set_last_proposal(MlgState *s, uint64_t id) {
        s->dirty |= s->last_proposal != id;
        s->last_proposal = id;
}

static MlgState *state_new(const char *boot_id) {
        MlgState *s = g_new0(MlgState, 1);

        g_strlcpy(s->boot_id, boot_id, sizeof(s->boot_id));
        s->dir_fd = -1;
        s->guests = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
        s->reservations = g_array_new(FALSE, FALSE, sizeof(MlgStateReservation));
        return s;
}

MlgState *mlg_state_free(MlgState *s) {
        if (!s)
                return NULL;
        mlg_close_fd(&s->dir_fd);
        g_hash_table_unref(s->guests);
        g_array_unref(s->reservations);
        g_free(s);
        return NULL;
}

/* ---- from JSON: each get_*() says whether the member is there, of its type, and in its range ---- */

static bool get_u64(json_object *o, const char *key, uint64_t max, uint64_t *ret) {
        json_object *v;
        uint64_t u;

        if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_int) ||
            json_object_get_int64(v) < 0)
                return false;
        u = json_object_get_uint64(v);
        if (u > max)
                return false;
        *ret = u;
        return true;
}

/* One that files of older versions do not have. */
static bool get_u64_if_there(json_object *o, const char *key, uint64_t max, uint64_t *ret) {
        return !json_object_object_get_ex(o, key, NULL) || get_u64(o, key, max, ret);
}

static bool get_u32(json_object *o, const char *key, uint32_t *ret) {
        uint64_t v;

        if (!get_u64(o, key, UINT32_MAX, &v))
                return false;
        *ret = (uint32_t) v;
        return true;
}

static bool get_bool(json_object *o, const char *key, bool *ret) {
        json_object *v;

        if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_boolean))
                return false;
        *ret = json_object_get_boolean(v);
        return true;
}

static bool get_text(json_object *o, const char *key, char *ret, size_t size) {
        json_object *v;
        size_t len;

        if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
                return false;
        len = (size_t) json_object_get_string_len(v);
        if (len >= size || strlen(json_object_get_string(v)) != len)
                return false;
        memcpy(ret, json_object_get_string(v), len + 1);
        return true;
}

static bool read_guest(json_object *o, MlgStateGuest *ret) {
        return get_text(o, "uuid", ret->uuid, sizeof(ret->uuid)) && g_uuid_string_is_valid(ret->uuid) &&
               get_u32(o, "instance", &ret->instance) &&
               get_u64(o, "target_kib", STATE_KIB_MAX, &ret->target_kib) &&
               get_u64(o, "pending_kib", STATE_KIB_MAX, &ret->pending_kib) &&
               get_bool(o, "stats_period_changed", &ret->stats_period_changed) &&
               get_u32(o, "stats_period_found_sec", &ret->stats_period_found_sec) &&
               get_bool(o, "paused", &ret->paused) &&
               get_u64(o, "manual_kib", STATE_KIB_MAX, &ret->manual_kib) &&
               get_u64(o, "hold_until_real_usec", UINT64_MAX, &ret->hold_until_real_usec) &&
               get_u64(o, "suffered_real_usec", UINT64_MAX, &ret->suffered_real_usec) &&
               get_u64(o, "started_real_usec", UINT64_MAX, &ret->started_real_usec) &&
               get_u64_if_there(o, "allowed_until_real_usec", UINT64_MAX, &ret->allowed_until_real_usec);
}

static bool read_reservation(json_object *o, MlgStateReservation *ret) {
        return get_u64(o, "id", UINT64_MAX, &ret->id) && get_u64(o, "kib", STATE_KIB_MAX, &ret->kib) &&
               get_u64(o, "expires_real_usec", UINT64_MAX, &ret->expires_real_usec) &&
               get_bool(o, "taken", &ret->taken) && get_text(o, "owner", ret->owner, sizeof(ret->owner));
}

static bool get_array(json_object *o, const char *key, size_t max, json_object **ret) {
        return json_object_object_get_ex(o, key, ret) && json_object_is_type(*ret, json_type_array) &&
               json_object_array_length(*ret) <= max;
}

/* An operator's word about a guest outlives its runs; nothing else does. */
static void forget_run(MlgStateGuest *g) {
        MlgStateGuest kept = { .paused = g->paused };

        g_strlcpy(kept.uuid, g->uuid, sizeof(kept.uuid));
        *g = kept;
}

/* NULL, or what is wrong with it. */
static const char *read_state(json_object *root, MlgState *s) {
        json_object *guests, *reservations;
        char boot_id[sizeof(s->boot_id)];
        uint64_t version;
        bool same_boot;

        if (!json_object_is_type(root, json_type_object) || !get_u64(root, "version", UINT64_MAX, &version))
                return "it is not a state file of memlegod";
        if (version != STATE_VERSION)
                return "it was written by another version of memlegod";
        if (!get_text(root, "boot_id", boot_id, sizeof(boot_id)) || !get_bool(root, "paused", &s->paused) || !get_array(root, "guests", STATE_GUESTS_MAX, &guests) ||
            !get_array(root, "reservations", STATE_RESERVATIONS_MAX, &reservations) ||
            !get_u64_if_there(root, "allowed_until_real_usec", UINT64_MAX, &s->allowed_until_real_usec) ||
            !get_u64_if_there(root, "last_proposal", UINT64_MAX, &s->last_proposal))
                return "parts of it are missing";
        same_boot = strcmp(boot_id, s->boot_id) == 0;
        if (!same_boot)
                s->allowed_until_real_usec = 0; /* what is not certain is asked for */
        for (size_t i = 0; i < json_object_array_length(guests); i++) {
                MlgStateGuest g = {};

                if (!read_guest(json_object_array_get_idx(guests, i), &g))
                        return "a guest's record is damaged";
                if (!same_boot)
                        forget_run(&g);
                mlg_state_put_guest(s, &g);
        }
        for (size_t i = 0; i < json_object_array_length(reservations); i++) {
                MlgStateReservation r = {};

                if (!read_reservation(json_object_array_get_idx(reservations, i), &r))
                        return "a reservation's record is damaged";
                if (same_boot)
                        mlg_state_put_reservation(s, &r);
        }
        return NULL;
}

static const char *parse_state(const char *text, size_t len, MlgState *s) {
        json_tokener *tok = json_tokener_new_ex(STATE_DEPTH_MAX);
        const char *wrong = "it is not JSON";
        json_object *root;

        while (len > 0 && g_ascii_isspace(text[len - 1])) /* strictness goes that far otherwise */
                len--;
        json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        root = json_tokener_parse_ex(tok, text, (int) len);
        if (root && json_tokener_get_parse_end(tok) == len)
                wrong = read_state(root, s);
        json_object_put(root);
        json_tokener_free(tok);
        return wrong;
}

/* ---- files ---- */

/* The warning; also when it cannot be renamed: the next write replaces it anyway. */
static char *set_aside(const char *dir, int dir_fd, const char *wrong) {
        int r = renameat(dir_fd, MLG_STATE_FILE_NAME, dir_fd, FILE_BAD) < 0 ? errno : 0;

        return g_strdup_printf("%s/" MLG_STATE_FILE_NAME " is not used: %s; it was %s%s%s", dir, wrong,
                               r == 0 ? "set aside as " FILE_BAD : "not set aside: ",
                               r == 0 ? "" : g_strerror(r), r == 0 ? "" : ", and will be overwritten");
}

int mlg_state_open(const char *dir, const char *boot_id, MlgState **ret, char **ret_warning) {
        g_autoptr(MlgState) s = state_new(boot_id);
        g_autofree char *text = NULL;
        const char *wrong = NULL;
        size_t len = 0;
        int r;

        *ret_warning = NULL;
        if (!dir) {
                *ret = g_steal_pointer(&s);
                return 0;
        }
        r = mlg_dir_open(AT_FDCWD, dir, &s->dir_fd); /* usually the service manager made it */
        if (r < 0)
                return r;
        r = mlg_file_read(s->dir_fd, MLG_STATE_FILE_NAME, STATE_FILE_MAX, &text, &len);
        if (r == 0)
                wrong = parse_state(text, len, s);
        else if (r != -ENOENT)
                wrong = r == -EFBIG ? "it is too large" : g_strerror(-r);
        if (wrong) {
                int dir_fd = s->dir_fd;

                *ret_warning = set_aside(dir, dir_fd, wrong);
                s->dir_fd = -1;
                s = mlg_state_free(s); /* what was read before the damage was found */
                s = state_new(boot_id);
                s->dir_fd = dir_fd;
        }
        s->dirty = false;
        *ret = g_steal_pointer(&s);
        return 0;
}

static json_object *guest_to_json(const MlgStateGuest *g) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "uuid", json_object_new_string(g->uuid));
        json_object_object_add(o, "instance", json_object_new_uint64(g->instance));
        json_object_object_add(o, "target_kib", json_object_new_uint64(g->target_kib));
        json_object_object_add(o, "pending_kib", json_object_new_uint64(g->pending_kib));
        json_object_object_add(o, "stats_period_changed", json_object_new_boolean(g->stats_period_changed));
        json_object_object_add(o, "stats_period_found_sec",
                               json_object_new_uint64(g->stats_period_found_sec));
        json_object_object_add(o, "paused", json_object_new_boolean(g->paused));
        json_object_object_add(o, "manual_kib", json_object_new_uint64(g->manual_kib));
        json_object_object_add(o, "hold_until_real_usec", json_object_new_uint64(g->hold_until_real_usec));
        json_object_object_add(o, "suffered_real_usec", json_object_new_uint64(g->suffered_real_usec));
        json_object_object_add(o, "started_real_usec", json_object_new_uint64(g->started_real_usec));
        json_object_object_add(o, "allowed_until_real_usec", json_object_new_uint64(g->allowed_until_real_usec));
        return o;
}

static json_object *reservation_to_json(const MlgStateReservation *r) {
        json_object *o = json_object_new_object();

        json_object_object_add(o, "id", json_object_new_uint64(r->id));
        json_object_object_add(o, "kib", json_object_new_uint64(r->kib));
        json_object_object_add(o, "expires_real_usec", json_object_new_uint64(r->expires_real_usec));
        json_object_object_add(o, "taken", json_object_new_boolean(r->taken));
        json_object_object_add(o, "owner", json_object_new_string(r->owner));
        return o;
}

static json_object *state_to_json(const MlgState *s) {
        json_object *root = json_object_new_object(), *guests = json_object_new_array();
        json_object *reservations = json_object_new_array();
        GHashTableIter iter;
        void *g;

        json_object_object_add(root, "version", json_object_new_int(STATE_VERSION));
        json_object_object_add(root, "boot_id", json_object_new_string(s->boot_id));
        json_object_object_add(root, "paused", json_object_new_boolean(s->paused));
        json_object_object_add(root, "allowed_until_real_usec", json_object_new_uint64(s->allowed_until_real_usec));
        json_object_object_add(root, "last_proposal", json_object_new_uint64(s->last_proposal));
        g_hash_table_iter_init(&iter, s->guests);
        while (g_hash_table_iter_next(&iter, NULL, &g))
                json_object_array_add(guests, guest_to_json(g));
        for (unsigned int i = 0; i < s->reservations->len; i++)
                json_object_array_add(reservations,
                                      reservation_to_json(
                                              &g_array_index(s->reservations, MlgStateReservation, i)));
        json_object_object_add(root, "guests", guests);
        json_object_object_add(root, "reservations", reservations);
        return root;
}

int mlg_state_sync(MlgState *s) {
        json_object *root;
        const char *text;
        size_t len;
        int r;

        if (!s->dirty)
                return 0;
        if (s->dir_fd < 0) {
                s->dirty = false;
                return 0;
        }
        root = state_to_json(s);
        text = json_object_to_json_string_length(root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED,
                                                 &len);
        r = text ? mlg_file_replace(s->dir_fd, MLG_STATE_FILE_NAME, FILE_NEW, text, len) : -ENOMEM;
        json_object_put(root);
        if (r == 0)
                s->dirty = false;
        return r;
}
