/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Our own format, memlego-trace(5): what `memlegoctl record` writes.
 *
 *      memlego-trace 1
 *      start 1700000000            wall clock of second 0
 *      host 67108864               KiB
 *      guest 0 4194304 web-1       number, maximum in KiB, name to the end of the line
 *      0 0 512000                  second, guest, demand in KiB, then perhaps
 *      1 0 520000 12 0             thousandths of the time in which tasks waited, KiB/s read back from swap
 *      9 0 -                       it does not run any more
 *      end 10
 *
 * Guests may be named anywhere before their first row, numbered from 0 up; time never runs backwards;
 * lines that are empty or begin with # are comments. */
#include <string.h>

#include "memlego/hypervisor.h"
#include "sim/trace.h"
#include "util/util.h"

#define HEADER "memlego-trace"
#define VERSION 1

/* Waiting for memory for a hundredth of the time is what a guest does that has just enough. */
#define STRAINED_PERMILLE 10

typedef struct Reader {
        SimTrace *trace;
        const char *file;
        SimLines lines;
        guint first;     /* guest 0 of this text among those of the trace */
        uint64_t at_sec; /* of the last row */
        uint64_t start_sec;
        bool ended;
} Reader;

static bool recognises(const char *text, size_t len) {
        return len > strlen(HEADER) && memcmp(text, HEADER, strlen(HEADER)) == 0;
}

static bool bad(const Reader *r, GError **error, const char *expected) {
        sim_line_error(error, r->file, &r->lines, "expected %s", expected);
        return false;
}

static bool read_guest(Reader *r, GError **error) {
        uint64_t number, maximum_kib;
        g_autofree char *name = NULL;
        SimTraceGuest *g;

        if (!sim_line_u64(&r->lines, &number) || number != r->trace->guests->len - r->first) {
                sim_line_error(error, r->file, &r->lines,
                               "expected 'guest %u MAXIMUM NAME': guests are numbered from 0 up",
                               r->trace->guests->len - r->first);
                return false;
        }
        if (!sim_line_u64(&r->lines, &maximum_kib) || maximum_kib == 0 || maximum_kib > SIM_GUEST_KIB_MAX)
                return bad(r, error, "the guest's maximum in KiB");
        name = g_strstrip(g_strndup(r->lines.line, (gsize) (r->lines.line_end - r->lines.line)));
        if (!*name || strlen(name) != (size_t) (strcspn(name, "\r\n")) || strlen(name) > MLG_NAME_MAX ||
            !g_utf8_validate(name, -1, NULL))
                return bad(r, error, "the guest's name, in UTF-8, behind its maximum");
        g = sim_trace_add_guest(r->trace, name, maximum_kib);
        if (!g) {
                sim_line_error(error, r->file, &r->lines, "expected at most %d guests", SIM_GUESTS_MAX);
                return false;
        }
        g->start_sec = r->start_sec;
        return true;
}

static bool read_single(Reader *r, uint64_t most, uint64_t *ret, const char *expected, GError **error) {
        uint64_t v;

        if (!sim_line_u64(&r->lines, &v) || v == 0 || v > most || !sim_line_is_empty(&r->lines))
                return bad(r, error, expected);
        *ret = v;
        return true;
}

static bool read_row(Reader *r, GError **error) {
        uint64_t at_sec, number, demand_kib, stall_permille = 0, swap_in_kib = 0;

        if (!sim_line_u64(&r->lines, &at_sec) || !sim_line_u64(&r->lines, &number))
                return bad(
                        r, error,
                        "'SECOND GUEST DEMAND', 'guest NUMBER MAXIMUM NAME', 'host KIB', 'start SECOND' or 'end SECOND'");
        if (at_sec < r->at_sec || at_sec > SIM_SECONDS_MAX) {
                sim_line_error(error, r->file, &r->lines,
                               "expected a time from second %" G_GUINT64_FORMAT " on, at most ten years",
                               r->at_sec);
                return false;
        }
        if (number >= r->trace->guests->len - r->first)
                return bad(r, error, "the number of a guest that was named before");
        if (sim_line_word(&r->lines, "-"))
                demand_kib = SIM_ROW_GONE;
        else if (!sim_line_u64(&r->lines, &demand_kib) || demand_kib > SIM_GUEST_KIB_MAX)
                return bad(r, error, "the guest's demand in KiB, or '-' where it does not run");
        if (!sim_line_is_empty(&r->lines) &&
            (!sim_line_u64(&r->lines, &stall_permille) || stall_permille > 1000))
                return bad(r, error, "0 to 1000 thousandths of the time as fourth word");
        if (!sim_line_is_empty(&r->lines) && !sim_line_u64(&r->lines, &swap_in_kib))
                return bad(r, error, "KiB per second as fifth word");
        if (!sim_line_is_empty(&r->lines))
                return bad(r, error, "no more than five words");
        if (!sim_trace_add_row(r->trace, r->trace->guests->pdata[r->first + number], at_sec, demand_kib))
                return bad(r, error, "fewer rows: this is one too many");
        r->trace->n_strained += stall_permille > STRAINED_PERMILLE || swap_in_kib > 0;
        r->at_sec = at_sec;
        return true;
}

static bool read_line(Reader *r, GError **error) {
        uint64_t end;

        if (r->ended)
                return bad(r, error, "nothing behind 'end'");
        if (sim_line_word(&r->lines, "guest"))
                return read_guest(r, error);
        if (sim_line_word(&r->lines, "host"))
                return read_single(r, SIM_GUEST_KIB_MAX, &r->trace->host_kib, "'host KIB'", error);
        if (sim_line_word(&r->lines, "start")) {
                if (r->trace->guests->len > r->first)
                        return bad(r, error, "'start' before the first guest");
                return read_single(r, UINT32_MAX * UINT64_C(64), &r->start_sec,
                                   "'start SECOND', on the wall clock", error);
        }
        if (!sim_line_word(&r->lines, "end"))
                return read_row(r, error);
        if (!read_single(r, SIM_SECONDS_MAX, &end, "'end SECOND'", error))
                return false;
        if (end < r->at_sec)
                return bad(r, error, "an end that is not before the last row");
        r->ended = true;
        r->trace->end_sec = (uint32_t) mlg_max(r->trace->end_sec, end);
        return true;
}

static bool read_text(SimTrace *t, const char *file, const char *text, size_t len, GError **error) {
        Reader r = { .trace = t,
                     .file = file,
                     .lines = { .at = text, .end = text + len },
                     .first = t->guests->len };
        uint64_t version;

        if (!sim_lines_next(&r.lines) || !sim_line_word(&r.lines, HEADER) ||
            !sim_line_u64(&r.lines, &version) || version != VERSION || !sim_line_is_empty(&r.lines))
                return bad(&r, error, "'memlego-trace 1'; a later version is for a later memlegoctl");
        while (sim_lines_next(&r.lines))
                if (!sim_line_is_empty(&r.lines) && *r.lines.line != '#' && !read_line(&r, error))
                        return false;
        return true;
}

const SimFormat sim_format_memlego = { .name = "memlego", .recognises = recognises, .read = read_text };
