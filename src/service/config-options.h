/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config options: the table of all keys, and the one place where values become settings and settings values.
 *
 * Adding a key is one row there, a field in the settings, a paragraph in conf/memlegod.conf and in the
 * manual page; a unit test holds these four against each other. Formatting loses nothing: what is written
 * can be read again. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/config.h"

typedef enum MlgOptionSection {
        MLG_OPTION_DAEMON, /* fields of MlgDaemonSettings */
        MLG_OPTION_HOST,   /* of MlgHostSettings */
        MLG_OPTION_GUEST,  /* of MlgGuestSettings */
        MLG_OPTION_PIPE,   /* of MlgPipeSettings */
        MLG_OPTION_SWAP,   /* of MlgSwapSettings */
        _MLG_OPTION_SECTION_MAX,
} MlgOptionSection;

typedef enum MlgOptionType {
        MLG_OPTION_URI,       /* char[] */
        MLG_OPTION_LOG_LEVEL, /* MlgLogLevel */
        MLG_OPTION_MODE,      /* MlgMode */
        MLG_OPTION_MONITOR,
        MLG_OPTION_RECLAIM,   /* MlgMonitorMode */
        MLG_OPTION_POLICY,    /* char[]: a name that the registry knows */
        MLG_OPTION_PREDICTOR, /* the same */
        MLG_OPTION_BOOL,      /* bool */
        MLG_OPTION_U32,       /* uint32_t */
        MLG_OPTION_I32,       /* int32_t */
        MLG_OPTION_SECONDS,   /* uint32_t, whole seconds */
        MLG_OPTION_USEC,      /* uint64_t */
        MLG_OPTION_PERMILLE,  /* uint32_t */
        MLG_OPTION_CENTI,     /* uint32_t, hundredths of a percent, written with one digit after the point */
        MLG_OPTION_AMOUNT, /* MlgAmount: a size or a part; `min` is in KiB, and if it is > 0 a part is too */
        MLG_OPTION_AMOUNT_MAX, /* the same, or the word "max" */
        MLG_OPTION_SIZE,     /* uint64_t, KiB: no part */
        MLG_OPTION_SIZE_2,   /* the same, a power of two */
        MLG_OPTION_PATTERNS, /* char[]: patterns of guests, with blanks between them */
        MLG_OPTION_ATTACH,   /* bool: auto, manual */
        MLG_OPTION_ISOLATION, /* bool: pair, group */
        _MLG_OPTION_TYPE_MAX,
} MlgOptionType;

typedef struct MlgOption {
        MlgOptionSection section;
        const char *key;
        MlgOptionType type;
        size_t offset; /* of the field in the section's settings */
        size_t size;   /* of the field */
        int64_t min;   /* in the field's unit */
        int64_t max;
        const char *expected; /* what a value must be, for messages; NULL: made of names when needed */
        bool at_start;        /* a change needs a restart of the daemon */
} MlgOption;

#define MLG_OPTIONS_MAX 64     /* sets of options are bits of a uint64_t ... */
#define MLG_OPTIONS_OF_RULES 5 /* ... and behind the options are the keys that only [Rule] has */

size_t mlg_option_count(void);
const MlgOption *mlg_option_at(size_t i);
const char *mlg_option_section_to_string(MlgOptionSection s); /* "Daemon" */

/* `settings`: of the option's section. An empty value sets the default. 0, or -EINVAL: *ret_expected says
 * what a value must be (g_free()), settings are untouched. */
int mlg_option_parse(const MlgOption *o, const char *value, void *settings, char **ret_expected);
char *mlg_option_format(const MlgOption *o, const void *settings);
void mlg_option_copy(const MlgOption *o, void *to, const void *from);

/* Any section's settings, at their defaults. */
typedef union MlgOptionSettings {
        MlgDaemonSettings daemon;
        MlgHostSettings host;
        MlgGuestSettings guest;
        MlgPipeSettings pipe;
        MlgSwapSettings swap;
} MlgOptionSettings;

void mlg_option_defaults(MlgOptionSection section, MlgOptionSettings *ret);
