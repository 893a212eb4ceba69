/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config, private: what a configuration is made of; config.c makes it, config-text.c tells about it. Nobody
 * else includes this. */
#pragma once

#include "service/config-options.h"
#include "service/config.h"

typedef struct MlgConfigOrigin {
        const char *file; /* owned by MlgConfig.files; NULL: a default */
        unsigned int line;
} MlgConfigOrigin;

typedef struct MlgConfigSection {
        char *pattern; /* as written, with "label=" */
        size_t index;  /* in MlgConfig.guests */
        MlgConfigOrigin at;
        uint64_t set; /* bits: index of the option */
        MlgConfigOrigin origins[MLG_OPTIONS_MAX];
        MlgGuestSettings values; /* valid where `set` says so */
} MlgConfigSection;

struct MlgConfig {
        char *directory;  /* of the main file, with its last '/': cut off where names are shown */
        GPtrArray *files; /* char *: names, for origins */
        MlgOptionSettings daemon, host;
        MlgConfigOrigin origins[MLG_OPTIONS_MAX]; /* of [Daemon] and [Host] */
        GPtrArray *guests;               /* MlgConfigSection */
        size_t n_sections;
};

/* What all sections of one pattern say together: for each key the last section that sets it, or NULL. */
typedef struct MlgConfigSummary {
        const MlgConfigSection *by[MLG_OPTIONS_MAX];
} MlgConfigSummary;

static inline bool mlg_config_is_set(const MlgConfigSection *g, size_t option) {
        return g->set & UINT64_C(1) << option;
}

/* Pattern -> MlgConfigSummary, of sections that set anything; keys belong to `c`. */
GHashTable *mlg_config_summarize(const MlgConfig *c);
