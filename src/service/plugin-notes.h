/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plugin notes: which plug-in runs just now, in a way that outlives us.
 *
 * A loop or a crash in a plug-in takes memlegod with it (the service manager's watchdog ends it), and the
 * next memlegod would run into the same. So the mark of the plug-in that runs is in a page of a file in the
 * state directory: a store to memory for each call, and no system call. Who finds a mark there at its start
 * writes a note, NAME.so.crashed, beside it; the plug-in is then left out until its file is another one, or
 * until somebody removes the note.
 *
 * A mark of another boot of the host tells nothing: the power failed, perhaps. */
#pragma once

#include <stdint.h>
#include <sys/stat.h>

typedef struct MlgPluginNotes MlgPluginNotes;

/* -errno: none can be kept. */
int mlg_plugin_notes_open(const char *state_dir, const char *boot_id, MlgPluginNotes **ret);
MlgPluginNotes *mlg_plugin_notes_free(MlgPluginNotes *n);

/* Only to look at what is noted: nothing is written by whoever has these. */
MlgPluginNotes *mlg_plugin_notes_look(const char *state_dir);

/* See MlgPluginWatch.running; NULL: only looking. */
volatile uint32_t *mlg_plugin_notes_word(MlgPluginNotes *n);
/* What `mark` stands for from now on. */
void mlg_plugin_notes_enter(MlgPluginNotes *n, uint32_t mark, const char *name, const struct stat *st);
/* The path of the note about this very file; NULL: there is none. One about a former file of this name is
 * removed, except by who only looks. */
char *mlg_plugin_notes_find(MlgPluginNotes *n, const char *name, const struct stat *st);
