/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Record: writes down what memlegod sees of the guests, as a trace for `memlegoctl simulate`. */
#pragma once

#include <stdbool.h>

#include <glib.h>

#include "ctl/args.h"

/* Until --duration is over or a signal comes; what was written by then is a whole trace at any time.
 * Errors of the first look end it; later ones are noted in the trace, and memlegod is waited for. */
bool mlg_record_run(const MlgArgs *args, GError **error);
