/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plugin loader: finds shared objects with predictors and policies, checks them, and enters them in the
 * core's table (core/plugins.h). What is not taken is entered, too, with the reason in words.
 *
 * A file is taken from one directory only, where nobody but root (or `owner`) can have put it: directory and
 * file are his, and nobody else can write to them. Order is that of the names. */
#pragma once

#include <sys/types.h>

#include <glib.h>

#include "core/plugins.h"
#include "service/plugin-notes.h"

typedef struct MlgPluginsOptions {
        const char *dir;            /* one that does not exist holds none */
        uid_t owner;                /* who may own it besides root */
        MlgPluginNotes *notes;      /* which one runs is noted there; NULL: nowhere */
        uint64_t (*cpu_nsec)(void); /* see MlgPluginWatch */
} MlgPluginsOptions;

/* Once, before the configuration is read. False: the directory cannot be read, or holds too many; what could
 * be loaded is. */
bool mlg_plugins_load(const MlgPluginsOptions *o, GError **error);
/* After the last use. */
void mlg_plugins_unload(void);
