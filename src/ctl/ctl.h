/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ctl: what the parts of memlegoctl share: exit codes, errors that carry them, the look of the output. */
#pragma once

#include <stdbool.h>

#include <glib.h>

/* Exit codes; documented in memlegoctl(1), scripts rely on them. */
typedef enum MlgExit {
        MLG_EXIT_OK = 0,
        MLG_EXIT_FAILED = 1,
        MLG_EXIT_USAGE = 2,
        MLG_EXIT_NOT_RUNNING = 3,   /* memlegod, or the bus, is not there */
        MLG_EXIT_NO_SUCH_GUEST = 4,
        MLG_EXIT_DENIED = 5,
        MLG_EXIT_NO_ROOM = 6,
        MLG_EXIT_CONFIG = 7,        /* the configuration on disk is invalid; the old one stays in force */
} MlgExit;

/* Errors of this domain have a MlgExit as code, and a message for people. Parts of it come from outside: it
 * is escaped where it is shown. */
#define MLG_CTL_ERROR (mlg_ctl_error_quark())
GQuark mlg_ctl_error_quark(void);

typedef struct MlgStyle {
        bool colour;
        bool utf8;
        unsigned int columns; /* of the terminal; 0: as wide as it needs */
} MlgStyle;

/* The whole program; returns its exit code. */
int mlg_ctl_main(int argc, char **argv);
