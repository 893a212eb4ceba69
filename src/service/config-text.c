/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config text: what an operator is told about a configuration: all of it, or what differs from another; each
 * value with the place that it comes from. */
#include <string.h>

#include "service/config-private.h"

/* Settings that an option of [Daemon] or [Host] is in. */
static const void *settings_of(const MlgConfig *c, const MlgOption *o) {
        return o->section == MLG_OPTION_DAEMON ? (const void *) &c->daemon : (const void *) &c->host;
}

/* "policy.d/50-web.policy:12", or "default" */
static char *origin_to_string(const MlgConfig *c, const MlgConfigOrigin *o) {
        if (!o->file)
                return g_strdup("default");
        return g_strdup_printf("%s:%u",
                               g_str_has_prefix(o->file, c->directory) ? o->file + strlen(c->directory)
                                                                       : o->file,
                               o->line);
}

char *mlg_config_rule_origin(const MlgConfig *c, size_t i) {
        return origin_to_string(c, &((const MlgConfigRule *) c->rules->pdata[i])->at);
}

static void diff_value(GPtrArray *out, const MlgConfig *origin_of, const char *section, const MlgOption *o,
                       const char *was, const char *is, const MlgConfigOrigin *origin) {
        g_autofree char *where = origin_to_string(origin_of, origin);

        g_ptr_array_add(out,
                        g_strdup_printf("[%s] %s: %s -> %s (%s)%s", section, o->key, was, is, where,
                                        o->at_start ? ", takes effect when memlegod is started anew" : ""));
}

static void diff_pattern(GPtrArray *out, const MlgConfig *old, const MlgConfig *new_, const char *pattern,
                         const MlgConfigSummary *in_old, const MlgConfigSummary *in_new) {
        g_autofree char *section = g_strconcat("Guest ", pattern, NULL);

        for (size_t i = 0; i < mlg_option_count(); i++) {
                const MlgOption *o = mlg_option_at(i);
                const MlgConfigSection *a = in_old ? in_old->by[i] : NULL;
                const MlgConfigSection *b = in_new ? in_new->by[i] : NULL;
                g_autofree char *was = NULL, *is = NULL;

                if (!a && !b)
                        continue;
                was = a ? mlg_option_format(o, &a->values) : g_strdup("not set");
                is = b ? mlg_option_format(o, &b->values) : g_strdup("not set");
                if (strcmp(was, is) != 0)
                        diff_value(out, b ? new_ : old, section, o, was, is,
                                   b ? &b->origins[i] : &a->origins[i]);
        }
}

/* Patterns that set this option in both configs, in the order of `c` in which they override each other. */
static GPtrArray *common_order(const MlgConfig *c, size_t option, GHashTable *own, GHashTable *other) {
        GPtrArray *found = g_ptr_array_new();

        for (size_t i = 0; i < c->guests->len; i++) {
                const MlgConfigSection *g = g_ptr_array_index(c->guests, i);
                const MlgConfigSummary *in_own = g_hash_table_lookup(own, g->pattern);
                const MlgConfigSummary *in_other = g_hash_table_lookup(other, g->pattern);

                if (in_own && in_own->by[option] == g && in_other && in_other->by[option])
                        g_ptr_array_add(found, g->pattern);
        }
        return found;
}

/* Order is precedence: the same settings in another order are a change, for guests that several patterns
 * match. */
static bool order_differs(const MlgConfig *old, const MlgConfig *new_, GHashTable *in_old,
                          GHashTable *in_new) {
        for (size_t k = 0; k < mlg_option_count(); k++) {
                g_autoptr(GPtrArray) a = common_order(old, k, in_old, in_new);
                g_autoptr(GPtrArray) b = common_order(new_, k, in_new, in_old);

                for (size_t i = 0; i < a->len; i++) /* the same patterns, so as many */
                        if (strcmp(g_ptr_array_index(a, i), g_ptr_array_index(b, i)) != 0)
                                return true;
        }
        return false;
}

static void diff_guests(GPtrArray *out, const MlgConfig *old, const MlgConfig *new_) {
        g_autoptr(GHashTable) in_old = mlg_config_summarize(old), in_new = mlg_config_summarize(new_);
        g_autoptr(GHashTable) done = g_hash_table_new(g_str_hash, g_str_equal);

        for (int which = 0; which < 2; which++) {
                const MlgConfig *c = which == 0 ? new_ : old;

                for (size_t i = 0; i < c->guests->len; i++) {
                        const MlgConfigSection *g = g_ptr_array_index(c->guests, i);

                        if (g_hash_table_add(done, g->pattern))
                                diff_pattern(out, old, new_, g->pattern,
                                             g_hash_table_lookup(in_old, g->pattern),
                                             g_hash_table_lookup(in_new, g->pattern));
                }
        }
        if (order_differs(old, new_, in_old, in_new))
                g_ptr_array_add(out,
                                g_strdup("[Guest] sections stand in another order: later override earlier"));
}

/* ---- rules ---- */

static bool same_lines(const MlgConfigRule *a, const MlgConfigRule *b) {
        if (a->lines->len != b->lines->len)
                return false;
        for (size_t i = 0; i < a->lines->len; i++)
                if (strcmp(a->lines->pdata[i], b->lines->pdata[i]) != 0)
                        return false;
        return true;
}

/* Do those that are in both stand in the same order? */
static bool rules_in_order(const MlgConfig *old, const MlgConfig *new_) {
        size_t k = 0;

        for (size_t i = 0; i < new_->rules->len; i++) {
                const char *name = ((const MlgConfigRule *) new_->rules->pdata[i])->name;

                if (!mlg_config_rule_find(old, name))
                        continue;
                while (k < old->rules->len && strcmp(((const MlgConfigRule *) old->rules->pdata[k])->name, name) != 0)
                        k++;
                if (k == old->rules->len)
                        return false;
        }
        return true;
}

static void diff_rules(GPtrArray *out, const MlgConfig *old, const MlgConfig *new_) {
        for (size_t i = 0; i < new_->rules->len; i++) {
                const MlgConfigRule *is = new_->rules->pdata[i], *was = mlg_config_rule_find(old, is->name);
                g_autofree char *where = origin_to_string(new_, &is->at);

                if (!was || !same_lines(was, is))
                        g_ptr_array_add(out, g_strdup_printf("[Rule %s] %s (%s)", is->name, was ? "changed" : "added", where));
        }
        for (size_t i = 0; i < old->rules->len; i++) {
                const MlgConfigRule *was = old->rules->pdata[i];

                if (!mlg_config_rule_find(new_, was->name))
                        g_ptr_array_add(out, g_strdup_printf("[Rule %s] gone", was->name));
        }
        if (!rules_in_order(old, new_))
                g_ptr_array_add(out, g_strdup("[Rule] sections stand in another order: later override earlier"));
}

static void append_rule(GString *s, const MlgConfig *c, const MlgConfigRule *rule) {
        g_autofree char *where = origin_to_string(c, &rule->at);

        g_string_append_printf(s, "# %s\n[Rule %s]\n", where, rule->name);
        for (size_t i = 0; i < rule->lines->len; i++)
                g_string_append_printf(s, "%s\n", (const char *) rule->lines->pdata[i]);
        g_string_append_c(s, '\n');
}

/* ---- pipes ---- */

static void diff_pipe(GPtrArray *out, const MlgConfig *new_, const MlgConfigPipe *was, const MlgConfigPipe *is) {
        g_autofree char *section = g_strconcat(mlg_option_section_to_string(is->section), " ", is->name, NULL);

        for (size_t i = 0; i < mlg_option_count(); i++) {
                const MlgOption *o = mlg_option_at(i);
                g_autofree char *before = NULL, *after = NULL;

                if (o->section != is->section)
                        continue;
                before = mlg_option_format(o, &was->values);
                after = mlg_option_format(o, &is->values);
                if (strcmp(before, after) != 0)
                        diff_value(out, new_, section, o, before, after, &is->origins[i]);
        }
}

static void diff_pipes(GPtrArray *out, const MlgConfig *old, const MlgConfig *new_) {
        for (size_t i = 0; i < new_->pipes->len; i++) {
                const MlgConfigPipe *is = new_->pipes->pdata[i], *was = mlg_config_pipe_find(old, is->section, is->name);
                g_autofree char *where = origin_to_string(new_, &is->at);

                if (was)
                        diff_pipe(out, new_, was, is);
                else
                        g_ptr_array_add(out, g_strdup_printf("[%s %s] added (%s)", mlg_option_section_to_string(is->section),
                                                             is->name, where));
        }
        for (size_t i = 0; i < old->pipes->len; i++) {
                const MlgConfigPipe *was = old->pipes->pdata[i];

                if (!mlg_config_pipe_find(new_, was->section, was->name))
                        g_ptr_array_add(out, g_strdup_printf("[%s %s] gone", mlg_option_section_to_string(was->section),
                                                             was->name));
        }
}

/* ---- all of it ---- */

char **mlg_config_diff(const MlgConfig *old, const MlgConfig *new_) {
        GPtrArray *out = g_ptr_array_new();

        for (size_t i = 0; i < mlg_option_count(); i++) {
                const MlgOption *o = mlg_option_at(i);
                g_autofree char *was = NULL, *is = NULL;

                if (o->section == MLG_OPTION_GUEST || o->section == MLG_OPTION_PIPE || o->section == MLG_OPTION_SWAP)
                        continue;
                was = mlg_option_format(o, settings_of(old, o));
                is = mlg_option_format(o, settings_of(new_, o));
                if (strcmp(was, is) != 0)
                        diff_value(out, new_, mlg_option_section_to_string(o->section), o, was, is,
                                   &new_->origins[i]);
        }
        diff_guests(out, old, new_);
        diff_rules(out, old, new_);
        diff_pipes(out, old, new_);
        g_ptr_array_add(out, NULL);
        return (char **) g_ptr_array_free(out, FALSE);
}

static void append_key(GString *s, const MlgConfig *c, const MlgOption *o, const void *settings,
                       const MlgConfigOrigin *origin) {
        g_autofree char *value = mlg_option_format(o, settings);
        g_autofree char *where = origin_to_string(c, origin);

        g_string_append_printf(s, "# %s\n%s=%s\n", where, o->key, value);
}

static void append_single(GString *s, const MlgConfig *c, MlgOptionSection section) {
        g_string_append_printf(s, "[%s]\n", mlg_option_section_to_string(section));
        for (size_t i = 0; i < mlg_option_count(); i++)
                if (mlg_option_at(i)->section == section)
                        append_key(s, c, mlg_option_at(i), settings_of(c, mlg_option_at(i)), &c->origins[i]);
        g_string_append_c(s, '\n');
}

static void append_guest(GString *s, const MlgConfig *c, const MlgConfigSection *g) {
        g_autofree char *where = origin_to_string(c, &g->at);

        g_string_append_printf(s, "# %s\n[Guest %s]\n", where, g->pattern);
        for (size_t i = 0; i < mlg_option_count(); i++)
                if (mlg_config_is_set(g, i))
                        append_key(s, c, mlg_option_at(i), &g->values, &g->origins[i]);
        g_string_append_c(s, '\n');
}

static void append_pipe(GString *s, const MlgConfig *c, const MlgConfigPipe *p) {
        g_autofree char *where = origin_to_string(c, &p->at);

        g_string_append_printf(s, "# %s\n[%s %s]\n", where, mlg_option_section_to_string(p->section), p->name);
        for (size_t i = 0; i < mlg_option_count(); i++)
                if (mlg_option_at(i)->section == p->section)
                        append_key(s, c, mlg_option_at(i), &p->values, &p->origins[i]);
        g_string_append_c(s, '\n');
}

char *mlg_config_to_text(const MlgConfig *c) {
        static const MlgConfigOrigin by_default = {};
        GString *s = g_string_new(NULL);
        MlgOptionSettings defaults;

        append_single(s, c, MLG_OPTION_DAEMON);
        append_single(s, c, MLG_OPTION_HOST);
        mlg_option_defaults(MLG_OPTION_GUEST, &defaults);
        g_string_append(s, "[Guest *]\n");
        for (size_t i = 0; i < mlg_option_count(); i++)
                if (mlg_option_at(i)->section == MLG_OPTION_GUEST)
                        append_key(s, c, mlg_option_at(i), &defaults, &by_default);
        g_string_append_c(s, '\n');
        for (size_t i = 0; i < c->guests->len; i++) {
                const MlgConfigSection *g = g_ptr_array_index(c->guests, i);

                if (g->set != 0)
                        append_guest(s, c, g);
        }
        for (size_t i = 0; i < c->rules->len; i++)
                append_rule(s, c, c->rules->pdata[i]);
        for (size_t i = 0; i < c->pipes->len; i++)
                append_pipe(s, c, c->pipes->pdata[i]);
        return g_string_free(s, FALSE);
}
