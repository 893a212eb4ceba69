/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config: memlegod.conf and policy.d/ *.policy -> one immutable MlgConfig.
 *
 * Defaults first, then memlegod.conf, then policy files in the order of their names; within one guest later
 * matching [Guest PATTERN] sections override earlier ones, key by key; on top of them come those [Rule NAME] sections
 * that hold, which the core finds out in each turn. Loading either succeeds wholly or
 * returns an error that names file, line, key and what was expected; a config in use is never changed. Times
 * of use: start, reload. */
#pragma once

#include <glib.h>

#include "core/rules.h"
#include "core/settings.h"
#include "util/error.h"

typedef enum MlgLogLevel {
        MLG_LOG_LEVEL_ERROR,
        MLG_LOG_LEVEL_WARNING,
        MLG_LOG_LEVEL_INFO,
        MLG_LOG_LEVEL_DEBUG,
        _MLG_LOG_LEVEL_MAX,
} MlgLogLevel;

struct MlgDaemonSettings {
        char connect[256];         /* Connect=: libvirt URI; default qemu:///system */
        MlgLogLevel log_level;     /* LogLevel= */
        uint32_t stats_period_sec; /* StatsPeriodSec=: balloon statistics period to set where it is off; 0: leave off */
        uint32_t workers;          /* Workers=: threads for libvirt calls, 1..16 */
        uint64_t call_timeout_usec;/* CallTimeoutSec=: deadline of one libvirt call */
        bool dry_run;              /* DryRun= */
};
typedef struct MlgDaemonSettings MlgDaemonSettings;

/* A group of guests that may share memory. */
struct MlgPipeSettings {
        char guests[256];    /* Guests=: patterns as of [Guest], with blanks between them */
        uint64_t region_kib; /* RegionSize=: of the device */
        uint64_t quota_kib;  /* Quota=: that may be in use of it */
        bool attach;         /* Attach=auto: running guests get the device */
        bool pairs;          /* Isolation=pair: no memory has more than two of them */
        uint32_t pairs_max;  /* PairsMax=: of one guest at a time */
        uint64_t pair_idle_usec; /* PairIdleSec=: then one is unplugged */
};
typedef struct MlgPipeSettings MlgPipeSettings;

/* Guests that are lent idle memory of the host to swap into. */
struct MlgSwapSettings {
        char guests[256];    /* Guests=: patterns as of [Guest], with blanks between them */
        uint64_t pool_kib;   /* PoolSize=: of the device of each guest */
        uint64_t quota_kib;  /* Quota=: that may be lent to each */
        uint32_t shares;     /* Shares=: of what is lent, where it does not suffice */
        uint64_t callback_usec; /* CallbackSec=: within which a guest is to give back */
        bool attach;         /* Attach=auto: running guests get the device */
};
typedef struct MlgSwapSettings MlgSwapSettings;

#define MLG_PIPE_NAME_MAX 31
#define MLG_PIPES_MAX 64 /* sections [Pipe NAME]; and as many [Swap NAME] */

typedef struct MlgConfig MlgConfig;

/* `path`: the configuration file; policy.d is looked for beside it. A missing default file is an empty one;
 * a missing file that was asked for (`explicitly`) is an error. */
MlgConfig *mlg_config_load(const char *path, bool explicitly, GError **error);
MlgConfig *mlg_config_free(MlgConfig *c);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgConfig, mlg_config_free)

/* What only the host can tell: a Reserve= that leaves too little of it for guests is refused, as loading
 * would. host_total_kib > 0. */
bool mlg_config_check_host(const MlgConfig *c, uint64_t host_total_kib, GError **error);

const MlgDaemonSettings *mlg_config_daemon(const MlgConfig *c);
const MlgHostSettings *mlg_config_host(const MlgConfig *c);

/* Settings of one guest: all [Guest PATTERN] sections whose pattern matches its name, its UUID if it begins
 * like one, or, as "label=NAME", one of its labels. Never fails. */
void mlg_config_guest(const MlgConfig *c, const char *name, const char *uuid, const char *labels, MlgGuestSettings *ret);

/* All [Rule] sections, compiled; NULL: there are none. Valid as long as `c`. */
const MlgRules *mlg_config_rules(const MlgConfig *c);
/* Where the i-th of them stands: "policy.d/50-web.policy:12". g_free() */
char *mlg_config_rule_origin(const MlgConfig *c, size_t i);

/* [Pipe NAME] sections, in the order in which they were read. */
size_t mlg_config_n_pipes(const MlgConfig *c);
const char *mlg_config_pipe(const MlgConfig *c, size_t i, MlgPipeSettings *ret); /* its name, valid as long as `c` */
/* The group that a guest belongs to: the last one whose patterns match it. NULL: none. */
const char *mlg_config_pipe_of(const MlgConfig *c, const char *name, const char *uuid, const char *labels);

/* The same of [Swap NAME] sections. */
size_t mlg_config_n_swaps(const MlgConfig *c);
const char *mlg_config_swap(const MlgConfig *c, size_t i, MlgSwapSettings *ret);
const char *mlg_config_swap_of(const MlgConfig *c, const char *name, const char *uuid, const char *labels,
                               MlgSwapSettings *ret);

/* What differs, as sentences for people ("[Guest web-*] Floor: 25% -> 512M (policy.d/50-web.policy:12)");
 * NULL-terminated, g_strfreev(). */
char **mlg_config_diff(const MlgConfig *old, const MlgConfig *new_);

/* All of it, as a file that could be loaded again, each key with a comment that says where it comes from. */
char *mlg_config_to_text(const MlgConfig *c);

/* For fuzzing and tests: one file's text, as policy file (is_policy) or main file, on top of the defaults. */
MlgConfig *mlg_config_load_text(const char *name, const char *text, size_t len, bool is_policy, GError **error);
