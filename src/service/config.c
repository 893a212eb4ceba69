/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config: files -> one immutable MlgConfig -> the settings of a guest.
 *
 * Sections of all files are kept in the order in which they were read; a guest's settings are the defaults,
 * overlaid by each section that matches it. Precedence is this order and nothing else: no pattern is "more
 * special".
 * Invariants: a config is complete and checked when it is returned, and never changes; every key that was
 * set knows the file and line it came from. Loading is the only costly part; mlg_config_guest() is linear in
 * the sections. */
#include "service/config-private.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <string.h>

#include "memlego/names.h"
#include "memlego/sample.h"
#include "service/config-file.h"
#include "util/parse.h"
#include "util/util.h"

static void guest_section_free(void *p) {
        MlgConfigSection *g = p;

        g_free(g->pattern);
        g_free(g);
}

static MlgConfig *config_new(const char *path) {
        MlgConfig *c = g_new0(MlgConfig, 1);
        const char *slash = strrchr(path, '/');

        c->directory = slash ? g_strndup(path, (size_t) (slash - path) + 1) : g_strdup("");
        c->files = g_ptr_array_new_with_free_func(g_free);
        c->guests = g_ptr_array_new_with_free_func(guest_section_free);
        c->rules = g_ptr_array_new_with_free_func(mlg_config_rule_free);
        c->pipes = g_ptr_array_new_with_free_func(mlg_config_pipe_free);
        mlg_option_defaults(MLG_OPTION_DAEMON, &c->daemon);
        mlg_option_defaults(MLG_OPTION_HOST, &c->host);
        return c;
}

MlgConfig *mlg_config_free(MlgConfig *c) {
        if (!c)
                return NULL;
        g_free(c->directory);
        g_ptr_array_unref(c->files);
        g_ptr_array_unref(c->guests);
        g_ptr_array_unref(c->rules);
        g_ptr_array_unref(c->pipes);
        g_free(c->compiled);
        g_free(c);
        return NULL;
}

const MlgDaemonSettings *mlg_config_daemon(const MlgConfig *c) {
        return &c->daemon.daemon;
}

const MlgHostSettings *mlg_config_host(const MlgConfig *c) {
        return &c->host.host;
}

const MlgRules *mlg_config_rules(const MlgConfig *c) {
        return c->compiled;
}

GHashTable *mlg_config_summarize(const MlgConfig *c) {
        GHashTable *all = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);

        for (size_t i = 0; i < c->guests->len; i++) {
                const MlgConfigSection *g = g_ptr_array_index(c->guests, i);
                MlgConfigSummary *s = g_hash_table_lookup(all, g->pattern);

                if (g->set == 0)
                        continue;
                if (!s) {
                        s = g_new0(MlgConfigSummary, 1);
                        g_hash_table_insert(all, g->pattern, s);
                }
                for (size_t k = 0; k < mlg_option_count(); k++)
                        if (mlg_config_is_set(g, k))
                                s->by[k] = g;
        }
        return all;
}

/* ---- loading ---- */

typedef struct Loader {
        MlgConfig *config;
        const char *name; /* of the file, owned by config->files */
        bool is_policy;
        MlgOptionSection section; /* _MLG_OPTION_SECTION_MAX: none yet */
        char *header;             /* of the section, for messages */
        MlgConfigSection *guest;  /* NULL: the section is not [Guest] */
        MlgConfigRule *rule;      /* NULL: it is not [Rule], whose keys are those of [Guest] and some more */
        void *settings;           /* that the section's keys go into ... */
        MlgConfigOrigin *origins; /* ... and where from */
        uint64_t seen;            /* keys in this section */
        unsigned int opened[_MLG_OPTION_SECTION_MAX]; /* line where [Daemon] or [Host] of this file began */
} Loader;

/* Which section `word` is, or _MAX. */
static MlgOptionSection find_section(const char *word) {
        for (int s = 0; s < _MLG_OPTION_SECTION_MAX; s++)
                if (strcmp(word, mlg_option_section_to_string(s)) == 0)
                        return (MlgOptionSection) s;
        return _MLG_OPTION_SECTION_MAX;
}

static bool unknown_section(const Loader *l, const char *header, const char *word, unsigned int line,
                            GError **error) {
        static const char *const names[] = { "Daemon", "Host", "Guest", "Rule", "Pipe", "Swap", NULL };
        const char *meant = mlg_config_file_suggest(word, names);

        if (meant)
                mlg_config_file_error(error, l->name, line, header, NULL, NULL,
                                      "unknown section, did you mean [%s%s]?", meant,
                                      strcmp(meant, "Guest") == 0  ? " PATTERN"
                                      : strcmp(meant, "Rule") == 0 ? " NAME"
                                      : strcmp(meant, "Pipe") == 0 ? " NAME"
                                      : strcmp(meant, "Swap") == 0 ? " NAME"
                                                                   : "");
        else
                mlg_config_file_error(error, l->name, line, header, NULL, NULL,
                                      "unknown section, expected %s",
                                      l->is_policy
                                              ? "[Host], [Guest PATTERN], [Rule NAME], [Pipe NAME] or [Swap NAME]"
                                              : "[Daemon], [Host], [Guest PATTERN], [Rule NAME], [Pipe NAME] or "
                                                "[Swap NAME]");
        return false;
}

/* Every '[' closed by a ']' and no other ']': what fnmatch() would quietly take as plain letters is a slip
 * of the pen, most often text behind the section's own bracket. */
static bool pattern_is_balanced(const char *p) {
        for (; *p; p++) {
                if (*p == ']')
                        return false;
                if (*p == '\\' && p[1])
                        p++;
                else if (*p == '[') {
                        p++;
                        if (*p == '!' || *p == '^')
                                p++;
                        if (*p == ']') /* first in the set: a plain letter */
                                p++;
                        for (; *p != ']'; p++) {
                                if (*p == '\0')
                                        return false;
                                if (*p == '[' && p[1] == ':' && strstr(p, ":]"))
                                        p = strstr(p, ":]") + 1;
                        }
                }
        }
        return true;
}

bool mlg_config_name_is_valid(const char *name, size_t max) {
        size_t n = 0;

        while (g_ascii_isalnum(name[n]) || (name[n] && strchr("-_.", name[n])))
                n++;
        return n > 0 && n <= max && name[n] == '\0';
}

bool mlg_config_pattern_is_valid(const char *pattern) {
        const char *glob = g_str_has_prefix(pattern, "label=") ? pattern + strlen("label=") : pattern;

        return *glob && strlen(pattern) <= MLG_CONFIG_PATTERN_MAX && pattern_is_balanced(glob);
}

static bool open_guest(Loader *l, const char *header, const char *pattern, unsigned int line,
                       GError **error) {
        MlgOptionSettings defaults;
        MlgConfigSection *g;

        if (!mlg_config_pattern_is_valid(pattern)) {
                mlg_config_file_error(
                        error, l->name, line, header, NULL, NULL,
                        "expected [Guest PATTERN] alone on its line, with a pattern of 1 to %d bytes such "
                        "as web-*, a UUID or label=gold",
                        MLG_CONFIG_PATTERN_MAX);
                return false;
        }
        g = g_new0(MlgConfigSection, 1);
        g->pattern = g_strdup(pattern);
        g->index = l->config->guests->len;
        g->at = (MlgConfigOrigin) { l->name, line };
        mlg_option_defaults(MLG_OPTION_GUEST, &defaults);
        g->values = defaults.guest;
        g_ptr_array_add(l->config->guests, g);
        l->guest = g;
        l->settings = &g->values;
        l->origins = g->origins;
        return true;
}

static bool open_single(Loader *l, const char *header, const char *rest, unsigned int line, GError **error) {
        if (*rest != '\0') {
                mlg_config_file_error(error, l->name, line, header, NULL, NULL,
                                      "expected [%s] without anything else",
                                      mlg_option_section_to_string(l->section));
                return false;
        }
        if (l->section == MLG_OPTION_DAEMON && l->is_policy) {
                mlg_config_file_error(
                        error, l->name, line, header, NULL, NULL,
                        "expected [Host] or [Guest PATTERN]: [Daemon] belongs into memlegod.conf");
                return false;
        }
        if (l->opened[l->section] > 0) {
                mlg_config_file_error(error, l->name, line, header, NULL, NULL,
                                      "expected it once in a file, it is in line %u already",
                                      l->opened[l->section]);
                return false;
        }
        l->opened[l->section] = line;
        l->settings = l->section == MLG_OPTION_DAEMON ? &l->config->daemon : &l->config->host;
        l->origins = l->config->origins;
        return true;
}

static bool open_rule(Loader *l, const char *header, const char *name, unsigned int line, GError **error) {
        l->section = MLG_OPTION_GUEST;
        l->rule = mlg_config_rule_open(l->config, header, name, &(MlgConfigOrigin) { l->name, line }, error);
        if (!l->rule)
                return false;
        l->origins = l->rule->origins;
        return true;
}

static bool open_pipe(Loader *l, const char *header, const char *name, unsigned int line, GError **error) {
        MlgConfigPipe *p = mlg_config_pipe_open(l->config, l->section, header, name, &(MlgConfigOrigin) { l->name, line }, error);

        if (!p)
                return false;
        l->settings = &p->values;
        l->origins = p->origins;
        return true;
}

static bool on_section(const char *header, unsigned int line, void *userdata, GError **error) {
        Loader *l = userdata;
        size_t len = strcspn(header, " \t");
        g_autofree char *word = g_strndup(header, len);
        const char *rest = header + len + strspn(header + len, " \t");

        if (l->config->n_sections == MLG_CONFIG_SECTIONS_MAX) {
                mlg_config_file_error(error, l->name, line, header, NULL, NULL,
                                      "expected at most %d sections in all files", MLG_CONFIG_SECTIONS_MAX);
                return false;
        }
        l->config->n_sections++;
        l->section = find_section(word);
        l->seen = 0;
        g_free(l->header);
        l->header = g_strdup(header);
        l->guest = NULL;
        l->rule = NULL;
        if (strcmp(word, "Rule") == 0)
                return open_rule(l, header, rest, line, error);
        switch (l->section) {
        case MLG_OPTION_DAEMON:
        case MLG_OPTION_HOST:
                return open_single(l, header, rest, line, error);
        case MLG_OPTION_GUEST:
                return open_guest(l, header, rest, line, error);
        case MLG_OPTION_PIPE:
        case MLG_OPTION_SWAP:
                return open_pipe(l, header, rest, line, error);
        case _MLG_OPTION_SECTION_MAX:
                break;
        }
        return unknown_section(l, header, word, line, error);
}

/* Index of the key in this section, or SIZE_MAX with *error set. */
static size_t find_key(const Loader *l, const char *key, const char *value, unsigned int line,
                       GError **error) {
        const char *candidates[MLG_OPTIONS_MAX + 1] = {}, *meant;
        const MlgOption *other = NULL;
        size_t n = 0;

        for (size_t i = 0; i < mlg_option_count(); i++) {
                const MlgOption *o = mlg_option_at(i);

                if (o->section == l->section && strcmp(o->key, key) == 0)
                        return i;
                if (o->section == l->section)
                        candidates[n++] = o->key;
                else if (!other && strcmp(o->key, key) == 0)
                        other = o;
        }
        for (int k = 0; l->rule && k < _MLG_RULE_KEY_MAX; k++) {
                candidates[n++] = mlg_config_rule_key((MlgRuleKey) k);
                if (strcmp(key, candidates[n - 1]) == 0)
                        return mlg_option_count() + (size_t) k;
        }
        meant = mlg_config_file_suggest(key, candidates);
        if (other)
                mlg_config_file_error(error, l->name, line, l->header, key, value,
                                      "unknown key here, it belongs into [%s%s]",
                                      mlg_option_section_to_string(other->section),
                                      other->section == MLG_OPTION_GUEST  ? " PATTERN"
                                      : other->section == MLG_OPTION_PIPE ? " NAME"
                                      : other->section == MLG_OPTION_SWAP ? " NAME"
                                                                          : "");
        else if (meant)
                mlg_config_file_error(error, l->name, line, l->header, key, value,
                                      "unknown key, did you mean %s=?", meant);
        else {
                g_autofree char *all = g_strjoinv(", ", (char **) candidates);

                mlg_config_file_error(error, l->name, line, l->header, key, value,
                                      "unknown key, expected one of: %s", all);
        }
        return SIZE_MAX;
}

static int set_key(Loader *l, size_t i, const char *value, char **ret_expected) {
        if (l->rule)
                return mlg_config_rule_set(l->config, l->rule, i, value, ret_expected);
        return mlg_option_parse(mlg_option_at(i), value, l->settings, ret_expected);
}

static bool on_entry(const char *key, const char *value, unsigned int line, void *userdata, GError **error) {
        Loader *l = userdata;
        g_autofree char *expected = NULL;
        size_t i;

        i = find_key(l, key, value, line, error);
        if (i == SIZE_MAX)
                return false;
        if (l->seen & UINT64_C(1) << i) {
                mlg_config_file_error(error, l->name, line, l->header, key, value,
                                      "expected it once in a section, it is in line %u already",
                                      l->origins[i].line);
                return false;
        }
        if (set_key(l, i, value, &expected) < 0) {
                mlg_config_file_error(error, l->name, line, l->header, key, value, "%s%s", expected,
                                      strchr(value, '#') ? "; a comment needs a line of its own" : "");
                return false;
        }
        l->seen |= UINT64_C(1) << i;
        l->origins[i] = (MlgConfigOrigin) { l->name, line };
        if (l->guest)
                l->guest->set |= UINT64_C(1) << i;
        return true;
}

static bool load_text(MlgConfig *c, const char *name, const char *text, size_t len, bool is_policy,
                      GError **error) {
        static const MlgConfigHandler handler = { .on_section = on_section, .on_entry = on_entry };
        Loader l = { .config = c, .is_policy = is_policy, .section = _MLG_OPTION_SECTION_MAX };
        g_autofree char *shown = g_filename_display_name(name);
        bool ok;

        for (char *p = shown; *p; p++)
                if (g_ascii_iscntrl(*p)) /* names stand in comments, logs and on terminals */
                        *p = '?';
        g_ptr_array_add(c->files, g_steal_pointer(&shown));
        l.name = g_ptr_array_index(c->files, c->files->len - 1);
        ok = mlg_config_file_parse(l.name, text, len, &handler, &l, error);
        g_free(l.header);
        return ok;
}

/* ---- checks over all sections ---- */

static size_t option_index(MlgOptionSection section, const char *key) {
        size_t i = 0;

        while (mlg_option_at(i)->section != section || strcmp(mlg_option_at(i)->key, key) != 0)
                i++;
        return i;
}

static size_t guest_option(const char *key) {
        return option_index(MLG_OPTION_GUEST, key);
}

static bool floor_is_above(MlgAmount floor, MlgAmount ceiling) {
        if (floor.permille > 0 && ceiling.permille > 0)
                return floor.permille > ceiling.permille;
        if (floor.permille > 0 || ceiling.permille > 0)
                return false; /* a size and a part: known when the guest is */
        return floor.kib > ceiling.kib;
}

/* Whoever of the two sets the option later; NULL: neither does. */
static const MlgConfigSection *later(const MlgConfigSummary *a, const MlgConfigSummary *b, size_t option) {
        const MlgConfigSection *x = a ? a->by[option] : NULL, *y = b ? b->by[option] : NULL;

        if (!x || !y)
                return x ? x : y;
        return x->index > y->index ? x : y;
}

/* Was the floor written after the ceiling? Who wrote last is told. NULL: a default. */
static bool floor_is_last(const MlgConfigSection *floor, const MlgConfigSection *ceiling) {
        if (!floor || !ceiling)
                return floor;
        if (floor != ceiling)
                return floor->index > ceiling->index;
        return floor->origins[guest_option("Floor")].line > floor->origins[guest_option("Ceiling")].line;
}

static void limits_error(const MlgConfigSection *floor, const MlgConfigSection *ceiling,
                         const char *floor_text, const char *ceiling_text, GError **error) {
        bool blame_floor = floor_is_last(floor, ceiling);
        const MlgConfigSection *g = blame_floor ? floor : ceiling;
        const MlgConfigOrigin *o = &g->origins[guest_option(blame_floor ? "Floor" : "Ceiling")];
        g_autofree char *header = g_strconcat("Guest ", g->pattern, NULL);

        if (blame_floor)
                mlg_config_file_error(error, o->file, o->line, header, "Floor", floor_text,
                                      "expected a floor that is not above Ceiling=%s", ceiling_text);
        else
                mlg_config_file_error(error, o->file, o->line, header, "Ceiling", ceiling_text,
                                      "expected a ceiling that is not below Floor=%s%s", floor_text,
                                      floor ? "" : ", the default");
}

/* Floor= and Ceiling= as a guest has them that only this pattern and [Guest *] match. Other sections may
 * match it as well, and a size cannot be compared with a part here: the core keeps to the ceiling where the
 * two contradict. */
static bool check_limits(const MlgConfigSummary *all, const MlgConfigSummary *own, GError **error) {
        size_t floor_option = guest_option("Floor"), ceiling_option = guest_option("Ceiling");
        const MlgConfigSection *floor = later(all, own, floor_option),
                               *ceiling = later(all, own, ceiling_option);
        g_autofree char *floor_text = NULL, *ceiling_text = NULL;
        MlgOptionSettings sum;

        mlg_option_defaults(MLG_OPTION_GUEST, &sum);
        if (floor)
                sum.guest.floor = floor->values.floor;
        if (ceiling)
                sum.guest.ceiling = ceiling->values.ceiling;
        if ((!floor && !ceiling) || !floor_is_above(sum.guest.floor, sum.guest.ceiling))
                return true;
        floor_text = mlg_option_format(mlg_option_at(floor_option), &sum);
        ceiling_text = mlg_option_format(mlg_option_at(ceiling_option), &sum);
        limits_error(floor, ceiling, floor_text, ceiling_text, error);
        return false;
}

static bool check_config(const MlgConfig *c, GError **error) {
        g_autoptr(GHashTable) summaries = mlg_config_summarize(c);
        const MlgConfigSummary *all = g_hash_table_lookup(summaries, "*");

        for (size_t i = 0; i < c->guests->len; i++) {
                const MlgConfigSection *g = g_ptr_array_index(c->guests, i);

                if (!check_limits(all, g_hash_table_lookup(summaries, g->pattern), error))
                        return false;
        }
        return mlg_config_rules_check(c, error) && mlg_config_pipes_check(c, error);
}

/* With less than this part of the host for guests, all of them would sit at their floors: no reserve is
 * meant so. */
#define GUESTS_LEAST_PART 16

bool mlg_config_check_host(const MlgConfig *c, uint64_t host_total_kib, GError **error) {
        uint64_t most_kib = host_total_kib - host_total_kib / GUESTS_LEAST_PART;
        size_t i = option_index(MLG_OPTION_HOST, "Reserve");
        const MlgConfigOrigin *o = &c->origins[i];
        g_autofree char *value = NULL, *total = NULL;

        if (mlg_amount_resolve(c->host.host.reserve, host_total_kib) <= most_kib)
                return true;
        value = mlg_option_format(mlg_option_at(i), &c->host);
        total = mlg_format_kib(host_total_kib);
        /* It was set somewhere: the default leaves enough of any host. */
        mlg_config_file_error(error, o->file, o->line, "Host", "Reserve", value,
                              "expected at most %" PRIu64 "M: 1/%d of the host's %s must be left for guests",
                              most_kib / MLG_KIB_PER_MIB, GUESTS_LEAST_PART, total);
        return false;
}

static bool load_file(MlgConfig *c, const char *path, bool is_policy, bool may_miss, GError **error) {
        g_autofree char *text = NULL;
        bool missing = false;
        size_t len;

        if (!mlg_config_file_read(path, &text, &len, may_miss ? &missing : NULL, error))
                return false;
        return missing || load_text(c, path, text, len, is_policy, error);
}

MlgConfig *mlg_config_load(const char *path, bool explicitly, GError **error) {
        g_autoptr(MlgConfig) c = config_new(path);
        g_autofree char *dir = g_strconcat(c->directory, MLG_POLICY_DIR_NAME, NULL);
        g_auto(GStrv) policies = NULL;

        if (!load_file(c, path, false, !explicitly, error))
                return NULL;
        policies = mlg_config_file_list(dir, error);
        if (!policies)
                return NULL;
        for (char **p = policies; *p; p++)
                if (!load_file(c, *p, true, false, error))
                        return NULL;
        if (!check_config(c, error))
                return NULL;
        return g_steal_pointer(&c);
}

MlgConfig *mlg_config_load_text(const char *name, const char *text, size_t len, bool is_policy,
                                GError **error) {
        g_autoptr(MlgConfig) c = config_new(name);

        if (!load_text(c, name, text, len, is_policy, error) || !check_config(c, error))
                return NULL;
        return g_steal_pointer(&c);
}

/* ---- use ---- */

/* `labels` are separated by blanks. */
static bool label_matches(const char *glob, const char *labels) {
        char label[MLG_LABELS_MAX + 1];

        while (*labels) {
                size_t len = strcspn(labels, " ");

                if (len > 0 && len < sizeof(label)) {
                        memcpy(label, labels, len);
                        label[len] = '\0';
                        if (fnmatch(glob, label, 0) == 0)
                                return true;
                }
                labels += len + strspn(labels + len, " ");
        }
        return false;
}

/* Begins like a UUID. Any other glob would fit to some guests' UUIDs by chance: "a*" to each sixteenth. */
static bool is_uuid_pattern(const char *pattern) {
        size_t n = strspn(pattern, "0123456789abcdefABCDEF");

        return n >= 8 && (pattern[n] == '-' || pattern[n] == '*' || pattern[n] == '?');
}

bool mlg_config_pattern_matches(const char *pattern, const char *name, const char *uuid, const char *labels) {
        if (g_str_has_prefix(pattern, "label="))
                return labels && label_matches(pattern + strlen("label="), labels);
        return (name && fnmatch(pattern, name, 0) == 0) ||
               (uuid && is_uuid_pattern(pattern) && fnmatch(pattern, uuid, FNM_CASEFOLD) == 0);
}

/* Bits: rules that are about it. */
static uint64_t rules_about(const MlgConfig *c, const char *name, const char *uuid, const char *labels) {
        uint64_t ret = 0;

        for (size_t i = 0; i < c->rules->len; i++) {
                const MlgConfigRule *rule = g_ptr_array_index(c->rules, i);

                for (char **p = rule->patterns; *p; p++)
                        if (mlg_config_pattern_matches(*p, name, uuid, labels))
                                ret |= UINT64_C(1) << i;
        }
        return ret;
}

void mlg_config_guest(const MlgConfig *c, const char *name, const char *uuid, const char *labels,
                      MlgGuestSettings *ret) {
        MlgOptionSettings sum;

        mlg_option_defaults(MLG_OPTION_GUEST, &sum);
        for (size_t i = 0; i < c->guests->len; i++) {
                const MlgConfigSection *g = g_ptr_array_index(c->guests, i);

                if (g->set == 0 || !mlg_config_pattern_matches(g->pattern, name, uuid, labels))
                        continue;
                for (size_t k = 0; k < mlg_option_count(); k++)
                        if (mlg_config_is_set(g, k))
                                mlg_option_copy(mlg_option_at(k), &sum, &g->values);
        }
        *ret = sum.guest;
        ret->rules = rules_about(c, name, uuid, labels);
}
