/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Table: columns of escaped text, aligned for a terminal. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <glib.h>

#include "ctl/ctl.h"

typedef enum MlgColour {
        MLG_COLOUR_PLAIN,
        MLG_COLOUR_BOLD,
        MLG_COLOUR_DIM,
        MLG_COLOUR_GREEN,
        MLG_COLOUR_YELLOW,
        MLG_COLOUR_RED,
        _MLG_COLOUR_MAX,
} MlgColour;

typedef struct MlgColumn {
        const char *title;
        bool right;        /* aligned to the right */
        unsigned int least; /* may be cut down to so many columns; 0: never cut */
        unsigned int drop; /* left out when space is short, highest first; 0: never */
} MlgColumn;

typedef struct MlgTable MlgTable;

/* `columns` must outlive the table. */
MlgTable *mlg_table_new(const MlgColumn *columns, size_t n_columns);
MlgTable *mlg_table_free(MlgTable *t);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgTable, mlg_table_free)

/* The next cell, row by row, left to right; takes `text`. */
void mlg_table_add(MlgTable *t, MlgColour colour, char *text);

/* The title line, then at most max_rows rows from `first`. Widths are the same for all parts. */
void mlg_table_render(const MlgTable *t, const MlgStyle *style, size_t first, size_t max_rows, GString *out);

/* Appends text in a colour, if the style has colours. */
void mlg_append_coloured(GString *out, const MlgStyle *style, MlgColour colour, const char *text);
