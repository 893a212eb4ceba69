/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Test plug-in: it exports nothing. */
#include "memlego/plugin.h"

extern const int memlego_nothing;
const int memlego_nothing = 0;
