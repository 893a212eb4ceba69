/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Render, part three: all that is worth knowing of one guest, a line each. */
#include <inttypes.h>
#include <string.h>

#include "ctl/render.h"
#include "ctl/text.h"
#include "util/parse.h"

typedef enum Kind { TEXT, FLAG, SIZE, RATE, PERMILLE, AGE, TIME, SINCE, COUNT, ID, UNTIL, BYTES, KINDS } Kind;

/* A key that the guest's object has not got is left out: not known; so is an ID of 0, and a time that is over. */
static const struct {
        const char *label, *key;
        Kind kind;
} rows[] = {
        { "UUID", "uuid", TEXT },
        { "State", "state", TEXT },
        { "Reason", "reason", TEXT },
        { "Run state", "run_state", TEXT },
        { "Mode", "mode", TEXT },
        { "Rules", "rules", TEXT },
        { "Memory", "actual_kib", SIZE },
        { "Actuator", "actuator", TEXT },
        { "Deflates on OOM", "autodeflate", FLAG },
        { "Reports free pages", "free_page_reporting", FLAG },
        { "Target", "target_kib", SIZE },
        { "Floor", "floor_kib", SIZE },
        { "Ceiling", "ceiling_kib", SIZE },
        { "Maximum", "maximum_kib", SIZE },
        { "Known from", "source", TEXT },
        { "Trust", "trust", TEXT },
        { "Age of report", "sample_age_usec", AGE },
        { "Used", "used_kib", SIZE },
        { "Usable", "usable_kib", SIZE },
        { "Predictor", "predictor", TEXT },
        { "Learned for", "learned_usec", TIME },
        { "Need", "need_kib", SIZE },
        { "Cushion", "cushion_kib", SIZE },
        { "Pressure", "pressure", TEXT },
        { "Swapped in", "swap_in_kib_per_sec", RATE },
        { "Monitor", "monitor", TEXT },
        { "Some tasks stall", "stall_some_permille", PERMILLE },
        { "All tasks stall", "stall_full_permille", PERMILLE },
        { "Read anew", "refault_kib_per_sec", RATE },
        { "Cold", "cold_kib", SIZE },
        { "Killed for memory", "oom_kills", COUNT },
        { "Protected calls", "stack_calls", COUNT },
        { "Protected now", "stack_held_bytes", BYTES },
        { "Refused calls", "stack_refused", COUNT },
        { "Violations", "stack_violations", COUNT },
        { "Of which kinds", "stack_violation_kinds", KINDS },
        { "Last alarm", "last_alarm_usec", SINCE },
        { "In its cgroup", "cgroup_kib", SIZE },
        { "Swapped by host", "cgroup_swap_kib", SIZE },
        { "Asked to reclaim", "reclaim_asked_kib", SIZE },
        { "Reclaim pauses for", "reclaim_paused_until_usec", UNTIL },
        { "Moves", "moves_accepted", COUNT },
        { "Proposal", "proposal_id", ID },
        { "Approved for", "allowed_until_usec", UNTIL },
};

static char *since(uint64_t at_usec, uint64_t now_usec) {
        g_autofree char *text = NULL;
        uint64_t usec = now_usec > at_usec ? now_usec - at_usec : 0;

        if (at_usec == 0)
                return g_strdup("never");
        text = mlg_format_whole_sec(usec);
        return g_strdup_printf("%s ago", text);
}

static char *value_of(json_object *v, Kind kind, uint64_t now_usec) {
        uint64_t n = json_object_get_uint64(v);
        g_autofree char *size = NULL;

        switch (kind) {
        case TEXT:
                return g_strdup(json_object_get_string(v));
        case FLAG:
                return g_strdup(json_object_get_boolean(v) ? "yes" : "no");
        case SIZE:
                return mlg_format_kib(n);
        case RATE:
                size = mlg_format_kib(n);
                return g_strdup_printf("%s/s", size);
        case PERMILLE:
                return g_strdup_printf("%" PRIu64 ".%" PRIu64 " %%", n / 10, n % 10);
        case AGE:
                return mlg_format_usec(n - n % 1000);
        case TIME:
                return mlg_format_whole_sec(n);
        case SINCE:
                return since(n, now_usec);
        case ID:
                return n > 0 ? g_strdup_printf("%" PRIu64, n) : NULL;
        case UNTIL:
                return n > now_usec ? mlg_format_whole_sec(n - now_usec) : NULL;
        case COUNT:
                return g_strdup_printf("%" PRIu64, n);
        case BYTES:
                return g_strdup_printf("%" PRIu64 " bytes", n);
        case KINDS:
                size = mlg_stack_kinds_to_text(v);
                return *size ? g_steal_pointer(&size) : NULL;
        }
        return NULL;
}

void mlg_render_show(const MlgCtlGuest *g, uint64_t now_usec, const MlgStyle *style, GString *out) {
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *text = NULL, *escaped = NULL;
                json_object *v;

                if (!json_object_object_get_ex(g->json, rows[i].key, &v) || !v)
                        continue;
                text = value_of(v, rows[i].kind, now_usec);
                if (!text)
                        continue;
                escaped = mlg_text_escape(text, MLG_TEXT_LINE, style->utf8);
                g_string_append_printf(out, "%-18s %s\n", rows[i].label, escaped);
        }
}
