/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Learned: what predictors have learned of guests <-> files, one per guest, named by its UUID.
 *
 * Invariants: a state comes back whole, for the predictor and the version that it was saved by, or not at all; each file
 * is replaced atomically; there are at most MLG_LEARNED_FILES_MAX. When to save and to load is learning.c's business. */
#pragma once

#include <glib.h>

#include "memlego/predictor.h"

/* As many guests as the state file keeps. With 16 KiB each they take 64 MiB. */
#define MLG_LEARNED_FILES_MAX 4096
/* A guest that nobody has seen for so long is not waited for. */
#define MLG_LEARNED_KEEP_SEC (30 * 86400)

typedef struct MlgLearned MlgLearned;

/* Beside the state itself. */
typedef struct MlgLearnedAbout {
        uint32_t instance;        /* MlgGuestInfo.instance; 0: the guest was off */
        uint64_t horizon_usec;    /* that it learned for */
        uint64_t learned_usec;    /* how long it learned */
        uint64_t saved_real_usec; /* CLOCK_REALTIME */
        bool same_run;            /* when loaded: the guest has not been started anew since */
} MlgLearnedAbout;

/* Opens DIR/learned (DIR NULL: nothing is kept, for --dry-run and tests). `boot_id`: of the host, any text. 0 or -errno. */
int mlg_learned_open(const char *dir, const char *boot_id, MlgLearned **ret);
MlgLearned *mlg_learned_free(MlgLearned *l);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgLearned, mlg_learned_free)

/* 0 or -errno: what was saved before is then still there. */
int mlg_learned_save(MlgLearned *l, const char *uuid, const MlgPredictorOps *p, const void *state,
                     const MlgLearnedAbout *about);

/* `about` says which instance and horizon the guest has now. True: `ret_state`, of p->priv_size bytes, and all of `about`
 * are written. False: there is nothing for this predictor and horizon; where there should be, *ret_warning (g_free()) says
 * what is wrong with it. */
bool mlg_learned_load(const MlgLearned *l, const char *uuid, const MlgPredictorOps *p,
                      MlgLearnedAbout *about, void *ret_state, char **ret_warning);

/* Removes what was not saved for MLG_LEARNED_KEEP_SEC. */
void mlg_learned_drop_old(MlgLearned *l, uint64_t now_real_sec);
