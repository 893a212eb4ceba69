/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules as they are shown: which hold for a guest, where they stand, and which of its settings are theirs. */
#include "service/config-options.h"
#include "service/daemon-private.h"

static void append_settings(const MlgVm *vm, size_t rule, GString *out) {
        for (size_t i = 0; i < mlg_option_count(); i++) {
                const MlgOption *o = mlg_option_at(i);
                g_autofree char *value = NULL;

                if (o->section != MLG_OPTION_GUEST || vm->rules.set_by[MLG_RULE_PLACE(o->offset)] != rule + 1)
                        continue;
                value = mlg_option_format(o, &vm->settings);
                g_string_append_printf(out, "%s%s=%s", out->len ? " " : "", o->key, value);
        }
}

size_t mlg_daemon_rules(const char *uuid, MlgRuleStatus *ret, size_t max, void *daemon) {
        const MlgDaemon *d = daemon;
        const MlgVm *vm = mlg_engine_find(d->engine, uuid);
        const MlgRules *r = mlg_config_rules(d->config);
        size_t n = 0;

        for (size_t i = 0; vm && r && i < r->n_rules && n < max; i++) {
                g_autofree char *origin = mlg_config_rule_origin(d->config, i);
                g_autoptr(GString) settings = g_string_new(NULL);
                MlgRuleStatus *s = &ret[n];

                if (!(vm->rules.holds & UINT64_C(1) << i))
                        continue;
                append_settings(vm, i, settings);
                g_strlcpy(s->name, r->rules[i].name, sizeof(s->name));
                g_strlcpy(s->origin, origin, sizeof(s->origin));
                g_strlcpy(s->settings, settings->str, sizeof(s->settings));
                n++;
        }
        return n;
}
