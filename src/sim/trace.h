/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Trace: what guests needed over a time, as it was recorded.
 *
 * A trace has guests with a name, a maximum and rows; a row says what the guest wants from its time on,
 * until the next one. Formats are behind one interface (SimFormat), one file each; a source (a file,
 * compressed or not, an archive, a directory) gives one text after the other to the format that knows it.
 * Invariants after sim_trace_load(): at least one guest, each with at least one row, rows in the order of
 * time, every demand within what the guest can have at most, end_sec behind all rows with a demand. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#define SIM_ROW_GONE UINT64_MAX /* as demand: the guest does not run from here on */

/* A trace is the operator's own file, but what it makes us allocate has a limit all the same. */
#define SIM_GUESTS_MAX 10000
#define SIM_ROWS_MAX (UINT64_C(64) << 20)                /* 1 GiB of rows */
#define SIM_TEXT_BYTES_MAX ((size_t) 512 << 20)          /* one text, unpacked */
#define SIM_SECONDS_MAX UINT64_C(315360000)              /* ten years */
#define SIM_GUEST_KIB_MAX (UINT64_C(1) << 40)            /* a PiB */

typedef struct SimRow {
        uint32_t at_sec; /* since the trace began */
        uint64_t demand_kib;
} SimRow;

typedef struct SimTraceGuest {
        char *name;
        uint64_t maximum_kib;
        GArray *rows; /* SimRow */

        /* For readers only */
        uint64_t start_sec; /* its rows are counted from here, wall clock; 0: from the begin of the trace */
        uint32_t step_sec;  /* between rows, where they come evenly; 0: they do not */
} SimTraceGuest;

typedef struct SimTrace {
        GPtrArray *guests;       /* SimTraceGuest */
        uint64_t host_kib;       /* memory of the host that it was recorded on; 0: unknown */
        uint64_t start_real_sec; /* wall clock of second 0; 0: unknown */
        uint32_t end_sec;
        uint64_t n_rows;         /* as written; rows that change nothing are not kept */
        uint64_t n_strained;     /* of these: the guest waited for memory, so it wanted more than was seen */
} SimTrace;

/* One format. `file` is for messages, and names the guest where the text does not. */
typedef struct SimFormat {
        const char *name;
        bool (*recognises)(const char *text, size_t len);
        /* Adds to the trace. Errors: MLG_ERROR, "FILE:LINE: ...". */
        bool (*read)(SimTrace *t, const char *file, const char *text, size_t len, GError **error);
} SimFormat;
extern const SimFormat sim_format_memlego, sim_format_bitbrains, sim_format_google;

/* A file in one of the formats, plain or packed (gzip, xz, zstd, ...), a tar archive of such, or a directory of such. */
SimTrace *sim_trace_load(const char *path, GError **error);
SimTrace *sim_trace_free(SimTrace *t);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SimTrace, sim_trace_free)

/* For readers and tests. */
SimTrace *sim_trace_new(void);
/* One text, by the format that knows it. */
bool sim_trace_read_text(SimTrace *t, const char *file, const char *text, size_t len, GError **error);
/* Puts all guests on one clock and checks what the invariants say. */
bool sim_trace_finish(SimTrace *t, const char *path, GError **error);
/* NULL: one too many. */
SimTraceGuest *sim_trace_add_guest(SimTrace *t, const char *name, uint64_t maximum_kib);
/* False: one too many. */
bool sim_trace_add_row(SimTrace *t, SimTraceGuest *g, uint64_t at_sec, uint64_t demand_kib);

/* Sums over guests. */
uint64_t sim_trace_maxima_kib(const SimTrace *t);
uint64_t sim_trace_peaks_kib(const SimTrace *t); /* each guest's own */

/* Lines of a text that is not NUL-terminated. */
typedef struct SimLines {
        const char *at, *end; /* what is left */
        const char *line, *line_end;
        unsigned int number;
} SimLines;

bool sim_lines_next(SimLines *l); /* false: there is none left */
/* The number at *p, which moves behind its digits; false: there is none, or it is too large. */
bool sim_digits(const char **p, const char *end, uint64_t *ret);
/* Each takes one word off the line; false: there is none of that kind (the line is left as it is). */
bool sim_line_word(SimLines *l, const char *word);
bool sim_line_u64(SimLines *l, uint64_t *ret);
bool sim_line_is_empty(SimLines *l); /* nothing but blanks is left */
void sim_line_error(GError **error, const char *file, const SimLines *l, const char *format, ...)
        G_GNUC_PRINTF(4, 5);
