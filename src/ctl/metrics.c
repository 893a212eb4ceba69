/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Render: what is counted and measured, in Prometheus' text format (0.0.4), for node_exporter's textfile collector and
 * whoever else reads it. Names are only ever added; they keep their meaning. Units are Prometheus' own: bytes, seconds,
 * ratios; what only grows ends with _total. */
#include "ctl/render.h"
#include "ctl/text.h"
#include "util/util.h"

#include <inttypes.h>

typedef enum Unit { UNIT_NUMBER, UNIT_BOOL, UNIT_KIB, UNIT_USEC, UNIT_PERMILLE } Unit;

typedef struct Metric {
        const char *name, *help;
        size_t at; /* of a uint64_t, or a bool, in the element */
        Unit unit;
        const char *label; /* one more: `tier="disk"`; the name's first line has the help */
} Metric;

/* Elements of one kind: an array of them, and what tells them apart. */
typedef struct Family {
        const void *elements;
        size_t n, size;
        void (*labels)(const void *element, GString *out);
        bool (*has)(const void *element, const Metric *m); /* NULL: all have all */
} Family;

#define HOST(name, field, unit, help) { "memlego_" name, help, offsetof(MlgCtlHost, field), unit, NULL }
static const Metric host_metrics[] = {
        HOST("libvirt_connected", connected, UNIT_BOOL, "Whether memlegod is connected to libvirt."),
        HOST("paused", paused, UNIT_BOOL, "Whether balancing of all guests is paused."),
        HOST("guests", n_guests, UNIT_NUMBER, "Guests that run."),
        HOST("guests_managed", n_managed, UNIT_NUMBER, "Guests whose memory memlegod moves."),
        HOST("proposals", n_proposals, UNIT_NUMBER, "Moves that wait for approval."),
        HOST("memory_bytes", total_kib, UNIT_KIB, "Memory of the host."),
        HOST("budget_bytes", budget_kib, UNIT_KIB, "Memory for guests."),
        HOST("charged_bytes", charged_kib, UNIT_KIB, "Memory that the books hold for guests, pipes and what is lent."),
        HOST("reserved_bytes", reserved_kib, UNIT_KIB, "Memory that is reserved."),
        HOST("free_bytes", free_kib, UNIT_KIB, "Memory for guests that nobody has."),
        HOST("shortage_bytes", shortage_kib, UNIT_KIB, "Memory that guests need and cannot get."),
        HOST("alarm_missing_bytes", missing_kib, UNIT_KIB, "Memory that the host lacks, while there is an alarm."),
};

#define GUEST(name, field, unit, help) { "memlego_guest_" name, help, offsetof(MlgCtlGuest, field), unit, NULL }
static const Metric guest_metrics[] = {
        GUEST("actual_bytes", actual_kib, UNIT_KIB, "Memory that the guest has."),
        GUEST("target_bytes", target_kib, UNIT_KIB, "Memory that it is to have."),
        GUEST("maximum_bytes", maximum_kib, UNIT_KIB, "Memory that it can have."),
        GUEST("used_bytes", used_kib, UNIT_KIB, "Memory that it uses, as it reports."),
        GUEST("need_bytes", need_kib, UNIT_KIB, "Memory that it is expected to use."),
        GUEST("swap_in_bytes_per_second", swap_in_kib_per_sec, UNIT_KIB, "What it swaps in."),
        GUEST("stalled_ratio", stall_some_permille, UNIT_PERMILLE, "Part of the time in which tasks of it wait for memory."),
        GUEST("sample_age_seconds", sample_age_usec, UNIT_USEC, "Since its last report."),
        GUEST("stack_violations_total", stack_violations, UNIT_NUMBER, "What its securestack caught."),
};

#define SWAP(name, field, unit, help) { "memlego_swap_" name, help, offsetof(MlgCtlSwap, field), unit, NULL }
#define TIER(name, field, tier, help) { "memlego_swap_" name, help, offsetof(MlgCtlSwap, field), UNIT_NUMBER, "tier=\"" tier "\"" }
static const Metric swap_metrics[] = {
        SWAP("quota_bytes", quota_kib, UNIT_KIB, "Memory that the guest may be lent at most."),
        SWAP("target_bytes", target_kib, UNIT_KIB, "Memory that it may be lent now."),
        SWAP("wanted_bytes", wanted_kib, UNIT_KIB, "Memory that it asks for."),
        SWAP("lent_bytes", lent_kib, UNIT_KIB, "Memory that is lent to it."),
        SWAP("backed_bytes", backed_kib, UNIT_KIB, "Memory of the host that stands behind that."),
        SWAP("used_bytes", used_kib, UNIT_KIB, "What is in lent memory."),
        SWAP("same_filled_bytes", same_kib, UNIT_KIB, "What is swapped out and of one value, so takes nothing."),
        SWAP("on_disk_bytes", on_disk_kib, UNIT_KIB, "What is on the guest's disk alone."),
        SWAP("call_backs_total", call_backs, UNIT_NUMBER, "Times that memory was called back."),
        SWAP("call_backs_met_total", met, UNIT_NUMBER, "Call-backs that were met in time."),
        SWAP("call_backs_late_total", late, UNIT_NUMBER, "Call-backs that were met late."),
        SWAP("call_back_seconds", callback_usec, UNIT_USEC, "What the last one took."),
        TIER("read_pages_total", pool_reads, "memory", "Pages that were read, by where they lay."),
        TIER("read_pages_total", disk_reads, "disk", ""),
        TIER("written_pages_total", pool_writes, "memory", "Pages that were written, by where they went."),
        TIER("written_pages_total", disk_writes, "disk", ""),
        SWAP("written_back_pages_total", written_back, UNIT_NUMBER, "Pages that went from lent memory to the disk."),
        SWAP("errors_total", errors, UNIT_NUMBER, "Pages that could not be written back, or were not what was written."),
        SWAP("swap_ins_total", swap_ins, UNIT_NUMBER, "Times that the guest was told to bring back what is swapped out."),
};

#define PIPE(name, field, unit, help) { "memlego_pipe_" name, help, offsetof(MlgCtlPipe, field), unit, NULL }
static const Metric pipe_metrics[] = {
        PIPE("quota_bytes", quota_kib, UNIT_KIB, "Memory that the group may share at most."),
        PIPE("granted_bytes", granted_kib, UNIT_KIB, "Memory that it shares."),
        PIPE("charged_bytes", charged_kib, UNIT_KIB, "Memory that the books hold for that."),
        PIPE("members", n_members, UNIT_NUMBER, "Guests of the group that are there."),
};

#define MEMBER(name, field, unit, help) { "memlego_pipe_member_" name, help, offsetof(MlgCtlPipeMember, field), unit, NULL }
static const Metric member_metrics[] = {
        MEMBER("granted_bytes", granted_kib, UNIT_KIB, "Shared memory that the guest has."),
        MEMBER("connections", connections, UNIT_NUMBER, "Its connections that go through shared memory."),
        MEMBER("connections_total", opened_connections, UNIT_NUMBER, "Those that ever did."),
        MEMBER("sent_bytes_total", sent_bytes, UNIT_NUMBER, "What it sent through shared memory."),
        MEMBER("blocked_seconds_total", blocked_usec, UNIT_USEC, "How long its senders waited for room."),
};

/* ---- one sample ---- */

/* Values of labels: nothing in them acts on a terminal, and nothing ends them early. */
static void add_label(GString *out, const char *key, const char *value) {
        g_autofree char *safe = mlg_text_escape(value ? value : "", MLG_TEXT_LINE, true);

        g_string_append_printf(out, "%s%s=\"", out->len > 0 ? "," : "", key);
        for (const char *c = safe; *c; c++) {
                if (*c == '"' || *c == '\\')
                        g_string_append_c(out, '\\');
                g_string_append_c(out, *c);
        }
        g_string_append_c(out, '"');
}

static void add_value(GString *out, const void *at, Unit unit) {
        uint64_t v = unit == UNIT_BOOL ? *(const bool *) at : *(const uint64_t *) at;

        switch (unit) {
        case UNIT_NUMBER:
        case UNIT_BOOL:
                g_string_append_printf(out, " %" PRIu64 "\n", v);
                break;
        case UNIT_KIB:
                g_string_append_printf(out, " %" PRIu64 "\n", MIN(v, UINT64_MAX / 1024) * 1024);
                break;
        case UNIT_USEC:
                g_string_append_printf(out, " %" PRIu64 ".%06" PRIu64 "\n", v / MLG_USEC_PER_SEC, v % MLG_USEC_PER_SEC);
                break;
        case UNIT_PERMILLE:
                g_string_append_printf(out, " %" PRIu64 ".%03" PRIu64 "\n", v / 1000, v % 1000);
                break;
        }
}

static void add_sample(GString *out, const Metric *m, const Family *f, const void *element) {
        g_autoptr(GString) labels = g_string_new(NULL);

        if (f->labels)
                f->labels(element, labels);
        if (m->label)
                g_string_append_printf(labels, "%s%s", labels->len > 0 ? "," : "", m->label);
        g_string_append(out, m->name);
        if (labels->len > 0)
                g_string_append_printf(out, "{%s}", labels->str);
        add_value(out, (const char *) element + m->at, m->unit);
}

/* All samples of a name stand together, behind what it is. */
static void add_family(GString *out, const Metric *metrics, size_t n_metrics, const Family *f) {
        for (size_t i = 0; f->n > 0 && i < n_metrics; i++) {
                const Metric *m = &metrics[i];

                if (i == 0 || !g_str_equal(m->name, metrics[i - 1].name))
                        g_string_append_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
                                               g_str_has_suffix(m->name, "_total") ? "counter" : "gauge");
                for (size_t k = 0; k < f->n; k++) {
                        const void *element = (const char *) f->elements + k * f->size;

                        if (!f->has || f->has(element, m))
                                add_sample(out, m, f, element);
                }
        }
}

/* ---- who they are of ---- */

static void guest_labels(const void *element, GString *out) {
        const MlgCtlGuest *g = element;

        add_label(out, "guest", g->name);
        add_label(out, "uuid", g->uuid);
}

/* What nobody has told is left out, and not 0. */
static bool guest_has(const void *element, const Metric *m) {
        const MlgCtlGuest *g = element;

        switch (m->at) {
        case offsetof(MlgCtlGuest, used_kib):
        case offsetof(MlgCtlGuest, need_kib):
        case offsetof(MlgCtlGuest, swap_in_kib_per_sec):
        case offsetof(MlgCtlGuest, stall_some_permille):
        case offsetof(MlgCtlGuest, sample_age_usec):
                return g->sample_age_usec != MLG_USEC_NEVER;
        case offsetof(MlgCtlGuest, stack_violations):
                return g->knows_stack;
        default:
                return true;
        }
}

static void swap_labels(const void *element, GString *out) {
        const MlgCtlSwap *s = element;

        add_label(out, "guest", s->guest);
        add_label(out, "uuid", s->uuid);
}

static void pipe_labels(const void *element, GString *out) {
        add_label(out, "group", ((const MlgCtlPipe *) element)->name);
}

static void member_labels(const void *element, GString *out) {
        const MlgCtlPipeMember *m = element;

        add_label(out, "group", m->pipe);
        add_label(out, "guest", m->guest);
}

#define FAMILY(metrics, ...) add_family(out, metrics, G_N_ELEMENTS(metrics), &(Family) { __VA_ARGS__ })

void mlg_render_metrics(const MlgSnapshot *s, const MlgCtlSwap *swaps, size_t n_swaps, const MlgCtlPipes *pipes, GString *out) {
        FAMILY(host_metrics, &s->host, 1, sizeof(s->host), NULL, NULL);
        FAMILY(guest_metrics, s->guests, s->n_guests, sizeof(s->guests[0]), guest_labels, guest_has);
        FAMILY(swap_metrics, swaps, n_swaps, sizeof(swaps[0]), swap_labels, NULL);
        FAMILY(pipe_metrics, pipes->pipes, pipes->n, sizeof(pipes->pipes[0]), pipe_labels, NULL);
        FAMILY(member_metrics, pipes->members, pipes->n_members, sizeof(pipes->members[0]), member_labels, NULL);
}
