/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Args: the command line, from tables of commands and options. Pure: mistakes come back as errors. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

typedef enum MlgCommand {
        MLG_COMMAND_STATUS,
        MLG_COMMAND_SHOW,
        MLG_COMMAND_EXPLAIN,
        MLG_COMMAND_PAUSE,
        MLG_COMMAND_RESUME,
        MLG_COMMAND_SET,
        MLG_COMMAND_RESERVE,
        MLG_COMMAND_RELEASE,
        MLG_COMMAND_RESERVATIONS,
        MLG_COMMAND_PLUGINS,
        MLG_COMMAND_RELOAD,
        MLG_COMMAND_CONFIG,
        MLG_COMMAND_DUMP,
        MLG_COMMAND_METRICS,
        MLG_COMMAND_RECORD,
        MLG_COMMAND_SIMULATE,
        MLG_COMMAND_MONITOR_XML,
        MLG_COMMAND_PROPOSALS,
        MLG_COMMAND_APPROVE,
        MLG_COMMAND_REJECT,
        MLG_COMMAND_PIPE,
        MLG_COMMAND_SWAP,
        MLG_COMMAND_STACK,
        _MLG_COMMAND_MAX,
} MlgCommand;

typedef enum MlgPipeVerb {
        MLG_PIPE_VERB_LIST,
        MLG_PIPE_VERB_SHOW,
        MLG_PIPE_VERB_ATTACH,
        MLG_PIPE_VERB_DETACH,
        MLG_PIPE_VERB_XML,
        _MLG_PIPE_VERB_MAX,
} MlgPipeVerb;

/* Everything is checked and in range; strings point into argv. */
typedef struct MlgArgs {
        MlgCommand command;
        bool help, version;
        bool json, names, watch;
        const char *address;   /* NULL: the system bus */
        const char *guest;     /* explain, set; pause, resume and approve: NULL means all. Never empty. */
        MlgPipeVerb verb;      /* pipe */
        const char *group;     /* pipe show: NULL means all; pipe xml */
        char **patterns;       /* status: NULL-terminated, may have no entries */
        uint64_t size_kib;     /* set, reserve; 1 MiB at least */
        uint64_t id;           /* release, reject; approve without --all and --end */
        bool all, end;         /* approve: one of them at most */
        uint64_t for_usec;     /* approve --all; 0: not given */
        uint64_t watch_usec;
        uint64_t hold_usec;    /* set */
        uint64_t timeout_usec; /* reserve */
        const char *output;    /* record; never NULL there */
        const char *trace;     /* simulate; never NULL there */
        const char *policy, *predictor, *config, *svg; /* simulate; NULL: not given */
        const char *plugins;   /* simulate; NULL: from where memlegod takes them */
        const char *compare;   /* simulate: POLICY[:PREDICTOR],...; NULL: not given */
        uint64_t host_kib;     /* simulate; 0: not given so */
        uint32_t host_permille; /* simulate: of the guests' maxima; 0: not given so */
        uint64_t interval_usec; /* record */
        uint64_t duration_usec; /* record, simulate; 0: not given */
        uint64_t step_usec;    /* simulate; 0: not given */
} MlgArgs;

#define MLG_ARGS_HOLD_DEFAULT_SEC 600   /* long enough to look at what the change does */
#define MLG_ARGS_TIMEOUT_DEFAULT_SEC 300 /* a guest's start takes less */
#define MLG_ARGS_INTERVAL_DEFAULT_SEC 1 /* as often as guests report */
#define MLG_ARGS_WATCH_DEFAULT_SEC 2    /* twice the usual poll: each redraw has something new */

/* argv is rearranged: operands go to its front. Errors: MLG_CTL_ERROR, MLG_EXIT_USAGE. */
bool mlg_args_parse(int argc, char **argv, MlgArgs *ret, GError **error);

const char *mlg_args_command_name(MlgCommand c);
char *mlg_args_help(void);
