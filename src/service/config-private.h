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

/* Keys that only [Rule] has; their places in sets of keys are behind those of all options. */
typedef enum MlgRuleKey {
        MLG_RULE_KEY_GUESTS,
        MLG_RULE_KEY_WHEN,
        MLG_RULE_KEY_UNTIL,
        MLG_RULE_KEY_FOR,
        MLG_RULE_KEY_KEEP,
        _MLG_RULE_KEY_MAX = MLG_OPTIONS_OF_RULES,
} MlgRuleKey;

/* Of the same place in MlgConfig.compiled. */
typedef struct MlgConfigRule {
        char *name;
        char **patterns; /* of its guests */
        MlgConfigOrigin at;
        uint64_t set;    /* bits: index of the option, or mlg_option_count() + MlgRuleKey */
        MlgConfigOrigin origins[MLG_OPTIONS_MAX];
        GPtrArray *lines; /* char *: "Key=value" as they were read */
} MlgConfigRule;

/* [Pipe NAME] or [Swap NAME]: one section each. */
typedef struct MlgConfigPipe {
        MlgOptionSection section;
        char *name;
        MlgConfigOrigin at;
        MlgConfigOrigin origins[MLG_OPTIONS_MAX];
        MlgOptionSettings values;
} MlgConfigPipe;

struct MlgConfig {
        char *directory;  /* of the main file, with its last '/': cut off where names are shown */
        GPtrArray *files; /* char *: names, for origins */
        MlgOptionSettings daemon, host;
        MlgConfigOrigin origins[MLG_OPTIONS_MAX]; /* of [Daemon] and [Host] */
        GPtrArray *guests;               /* MlgConfigSection */
        GPtrArray *rules;                /* MlgConfigRule */
        MlgRules *compiled;              /* NULL: there are none */
        GPtrArray *pipes;                /* MlgConfigPipe, of both kinds */
        size_t n_sections;
};

/* What all sections of one pattern say together: for each key the last section that sets it, or NULL. */
typedef struct MlgConfigSummary {
        const MlgConfigSection *by[MLG_OPTIONS_MAX];
} MlgConfigSummary;

static inline bool mlg_config_is_set(const MlgConfigSection *g, size_t option) {
        return g->set & UINT64_C(1) << option;
}

/* config-rules.c. All return false with *error set. */
const char *mlg_config_rule_key(MlgRuleKey k);
void mlg_config_rule_free(void *rule);
const MlgConfigRule *mlg_config_rule_find(const MlgConfig *c, const char *name); /* or NULL */
/* A section [Rule NAME] begins. NULL: *error is set. */
MlgConfigRule *mlg_config_rule_open(MlgConfig *c, const char *header, const char *name,
                                    const MlgConfigOrigin *at, GError **error);
/* `key`: index of an option of [Guest], or mlg_option_count() + MlgRuleKey. -EINVAL: *ret_expected says what
 * is wrong. */
int mlg_config_rule_set(MlgConfig *c, MlgConfigRule *rule, size_t key, const char *value,
                        char **ret_expected);
bool mlg_config_rules_check(const MlgConfig *c, GError **error);

/* config-pipes.c */
void mlg_config_pipe_free(void *pipe);
const MlgConfigPipe *mlg_config_pipe_find(const MlgConfig *c, MlgOptionSection section, const char *name); /* or NULL */
/* A section [Pipe NAME] or [Swap NAME] begins. NULL: *error is set. */
MlgConfigPipe *mlg_config_pipe_open(MlgConfig *c, MlgOptionSection section, const char *header, const char *name,
                                    const MlgConfigOrigin *at, GError **error);
bool mlg_config_pipes_check(const MlgConfig *c, GError **error);

/* config.c */
bool mlg_config_name_is_valid(const char *name, size_t max); /* letters, digits, -, _ and . */
bool mlg_config_pattern_is_valid(const char *pattern);
bool mlg_config_pattern_matches(const char *pattern, const char *name, const char *uuid, const char *labels);

/* Pattern -> MlgConfigSummary, of sections that set anything; keys belong to `c`. */
GHashTable *mlg_config_summarize(const MlgConfig *c);
