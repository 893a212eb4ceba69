/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Watch: the status, redrawn until the person has seen enough. */
#pragma once

#include "ctl/args.h"
#include "ctl/ctl.h"

/* Returns an exit code. `style` is that of the output; its columns follow the terminal. */
int mlg_watch_run(const MlgArgs *args, const MlgStyle *style, GError **error);
