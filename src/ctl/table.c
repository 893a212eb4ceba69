/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Table: widths first, then lines. */
#include "ctl/table.h"

#include <assert.h>

#include "ctl/text.h"
#include "util/util.h"

#define GAP 2 /* blanks between columns */

typedef struct Cell {
        char *text;
        unsigned int width;
        MlgColour colour;
} Cell;

struct MlgTable {
        const MlgColumn *columns;
        size_t n_columns;
        GArray *cells; /* Cell */
};

static const char *const colour_codes[] = {
        [MLG_COLOUR_PLAIN] = "",
        [MLG_COLOUR_BOLD] = "\033[1m",
        [MLG_COLOUR_DIM] = "\033[2m",
        [MLG_COLOUR_GREEN] = "\033[32m",
        [MLG_COLOUR_YELLOW] = "\033[33m",
        [MLG_COLOUR_RED] = "\033[1;31m",
};
static_assert(G_N_ELEMENTS(colour_codes) == _MLG_COLOUR_MAX, "colour_codes[] misses a value");

void mlg_append_coloured(GString *out, const MlgStyle *style, MlgColour colour, const char *text) {
        if (!style->colour || colour == MLG_COLOUR_PLAIN) {
                g_string_append(out, text);
                return;
        }
        g_string_append(out, colour_codes[colour]);
        g_string_append(out, text);
        g_string_append(out, "\033[0m");
}

static void cell_clear(void *p) {
        g_free(((Cell *) p)->text);
}

MlgTable *mlg_table_new(const MlgColumn *columns, size_t n_columns) {
        MlgTable *t = g_new0(MlgTable, 1);

        t->columns = columns;
        t->n_columns = n_columns;
        t->cells = g_array_new(FALSE, FALSE, sizeof(Cell));
        g_array_set_clear_func(t->cells, cell_clear);
        return t;
}

MlgTable *mlg_table_free(MlgTable *t) {
        if (!t)
                return NULL;
        g_array_unref(t->cells);
        g_free(t);
        return NULL;
}

void mlg_table_add(MlgTable *t, MlgColour colour, char *text) {
        Cell c = { .text = text, .width = mlg_text_width(text), .colour = colour };

        g_array_append_val(t->cells, c);
}

static unsigned int total_width(const MlgTable *t, const unsigned int *widths) {
        unsigned int total = 0, shown = 0;

        for (size_t c = 0; c < t->n_columns; c++)
                if (widths[c] > 0) {
                        total += widths[c];
                        shown++;
                }
        return total + (shown > 0 ? (shown - 1) * GAP : 0);
}

/* Widths of the columns; 0: left out. */
static void layout(const MlgTable *t, unsigned int limit, unsigned int *widths) {
        for (size_t c = 0; c < t->n_columns; c++)
                widths[c] = mlg_text_width(t->columns[c].title);
        for (size_t i = 0; i < t->cells->len; i++) {
                unsigned int w = g_array_index(t->cells, Cell, i).width;

                widths[i % t->n_columns] = MAX(widths[i % t->n_columns], w);
        }
        if (limit == 0)
                return;

        for (;;) {
                unsigned int total = total_width(t, widths);
                size_t victim = t->n_columns;

                for (size_t c = 0; c < t->n_columns && total > limit; c++)
                        if (t->columns[c].least > 0 && widths[c] > t->columns[c].least) {
                                unsigned int cut = MIN(widths[c] - t->columns[c].least, total - limit);

                                widths[c] -= cut;
                                total -= cut;
                        }
                if (total <= limit)
                        return;
                for (size_t c = 0; c < t->n_columns; c++)
                        if (widths[c] > 0 && t->columns[c].drop > 0 &&
                            (victim == t->n_columns || t->columns[c].drop > t->columns[victim].drop))
                                victim = c;
                if (victim == t->n_columns)
                        return; /* what is left is wider than the terminal; there it gets cut or wrapped */
                widths[victim] = 0;
        }
}

static void render_cell(const MlgStyle *style, const char *text, MlgColour colour, unsigned int width,
                        bool right, bool last, GString *out) {
        g_autofree char *fitted = mlg_text_fit(text, width, style->utf8);
        unsigned int pad = width - mlg_text_width(fitted);

        if (right)
                g_string_append_printf(out, "%*s", (int) pad, "");
        mlg_append_coloured(out, style, colour, fitted);
        if (!right && !last)
                g_string_append_printf(out, "%*s", (int) pad, "");
}

void mlg_table_render(const MlgTable *t, const MlgStyle *style, size_t first, size_t max_rows,
                      GString *out) {
        g_autofree unsigned int *widths = g_new0(unsigned int, t->n_columns);
        size_t last = 0, rows = t->cells->len / t->n_columns;

        layout(t, style->columns, widths);
        for (size_t c = 0; c < t->n_columns; c++)
                if (widths[c] > 0)
                        last = c;

        for (size_t r = 0; r <= max_rows; r++) { /* 0 is the title */
                if (r > 0 && first + r - 1 >= rows)
                        break;
                for (size_t c = 0; c < t->n_columns; c++) {
                        const MlgColumn *column = &t->columns[c];
                        const Cell *cell;

                        if (widths[c] == 0)
                                continue;
                        cell = r > 0 ? &g_array_index(t->cells, Cell, (first + r - 1) * t->n_columns + c)
                                     : NULL;
                        render_cell(style, cell ? cell->text : column->title,
                                    cell ? cell->colour : MLG_COLOUR_BOLD, widths[c], column->right,
                                    c == last, out);
                        if (c != last)
                                g_string_append_printf(out, "%*s", GAP, "");
                }
                g_string_append_c(out, '\n');
        }
}
