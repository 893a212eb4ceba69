/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshot: what memlegod's Dump() says, checked and as plain values.
 *
 * Keys that are missing or of another type read as "unknown" (0, "-", false): a memlegoctl and a memlegod
 * of different versions understand each other. All strings are still unescaped. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>
#include <json-c/json.h>

#define MLG_SNAPSHOT_BYTES_MAX (64 * 1024 * 1024) /* 4,096 guests of 1.5 KiB are a tenth of it */
#define MLG_SNAPSHOT_DEPTH_MAX 16

/* What is shown of it, named as in memlego/status.h. Strings live as long as the snapshot. */
typedef struct MlgCtlGuest {
        const char *name, *uuid, *state, *reason, *pressure, *run_state;
        uint64_t actual_kib, target_kib, maximum_kib;
        uint64_t used_kib, usable_kib, need_kib, error_kib;
        uint64_t swap_in_kib_per_sec, stall_some_permille;
        uint64_t sample_age_usec; /* UINT64_MAX: never reported */
        bool knows_stack;         /* the four fields that follow */
        uint64_t stack_calls, stack_held_bytes, stack_refused, stack_violations;
        json_object *json;
} MlgCtlGuest;

typedef struct MlgCtlHost {
        const char *policy, *uri, *alarm;
        bool connected, dry_run, paused, have_psi;
        uint64_t now_usec; /* on the clock of its times */
        uint64_t total_kib, budget_kib, charged_kib, reserved_kib, free_kib, shortage_kib;
        uint64_t psi_some_avg10_centi, psi_full_avg10_centi;
        uint64_t missing_kib, givable_kib; /* while there is an alarm */
        uint64_t others_kib, swap_total_kib, swap_used_kib, hugetlb_kib, hugetlb_free_kib; /* 0: none, or unknown */
        uint64_t zswap_kib, zswapped_kib, ksm_saved_kib;
        uint64_t n_guests, n_managed;
        uint64_t n_proposals, allowed_until_usec; /* 0: none, not */
} MlgCtlHost;

typedef struct MlgSnapshot {
        json_object *json;
        MlgCtlHost host;
        MlgCtlGuest *guests; /* sorted by name, numbers by value */
        size_t n_guests;
} MlgSnapshot;

/* Errors: MLG_CTL_ERROR, MLG_EXIT_FAILED. */
MlgSnapshot *mlg_snapshot_parse(const char *text, GError **error);
MlgSnapshot *mlg_snapshot_free(MlgSnapshot *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgSnapshot, mlg_snapshot_free)

/* Keeps the guests whose name or UUID matches one of the patterns (globs; NULL-terminated, no entries: all).
 * Returns false if there were patterns and nothing is left. */
bool mlg_snapshot_filter(MlgSnapshot *s, char *const *patterns);

/* Pretty-printed JSON of what is there (after the filter), fit for a terminal, with a newline at its end. */
char *mlg_snapshot_to_json(const MlgSnapshot *s, bool utf8);
char *mlg_json_to_text(json_object *json, bool utf8);
