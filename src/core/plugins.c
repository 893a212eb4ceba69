/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plugins: see plugins.h. */
#include "core/plugins.h"

#include <assert.h>
#include <string.h>

#include "core/settings.h"
#include "policies/registry.h"
#include "predict/registry.h"

static_assert(MLG_PLUGIN_NAME_SIZE == sizeof(((MlgHostSettings *) NULL)->policy), "names must fit Policy=");
static_assert(MLG_PLUGIN_NAME_SIZE == sizeof(((MlgGuestSettings *) NULL)->predictor),
              "names must fit Predictor=");

/* Arrays of these go to plug-ins that were built earlier: who changes their size changes MLG_POLICY_ABI. */
static_assert(sizeof(void *) != 8 || sizeof(MlgVmView) == 160,
              "MlgVmView differs from that of MLG_POLICY_ABI 1");
static_assert(sizeof(void *) != 8 || sizeof(MlgStep) == 16, "MlgStep differs from that of MLG_POLICY_ABI 1");

static MlgPlugin plugins[MLG_PLUGINS_MAX];
static size_t n_plugins;

/* ---- the table ---- */

MlgPlugin *mlg_plugins_add(const char *name, const MlgPluginWatch *watch) {
        MlgPlugin *p;

        if (n_plugins == MLG_PLUGINS_MAX)
                return NULL;
        p = &plugins[n_plugins++];
        *p = (MlgPlugin) { .watch = *watch, .mark = (uint32_t) n_plugins, .refused = true, .off = true };
        g_strlcpy(p->name, name, sizeof(p->name));
        return p;
}

void mlg_plugins_clear(void) {
        memset(plugins, 0, sizeof(plugins));
        n_plugins = 0;
}

MlgPlugin *mlg_plugins_at(size_t i) {
        return i < n_plugins ? &plugins[i] : NULL;
}

MlgPlugin *mlg_plugin_of_predictor(const MlgPredictorOps *ops) {
        for (size_t i = 0; i < n_plugins; i++)
                if (ops == &plugins[i].predictor)
                        return &plugins[i];
        return NULL;
}

MlgPlugin *mlg_plugin_of_policy(const MlgPolicyOps *ops) {
        for (size_t i = 0; i < n_plugins; i++)
                if (ops == &plugins[i].policy)
                        return &plugins[i];
        return NULL;
}

const MlgPlugin *mlg_plugins_find(MlgPluginKind kind, const char *name) {
        for (size_t i = 0; i < n_plugins; i++)
                if ((plugins[i].kind == kind || plugins[i].kind == MLG_PLUGIN_UNKNOWN) &&
                    strcmp(plugins[i].name, name) == 0)
                        return &plugins[i];
        return NULL;
}

static const MlgPlugin *usable_at(MlgPluginKind kind, size_t n) {
        for (size_t i = 0; i < n_plugins; i++)
                if (plugins[i].kind == kind && !plugins[i].off && n-- == 0)
                        return &plugins[i];
        return NULL;
}

const MlgPredictorOps *mlg_plugins_predictor_at(size_t i) {
        const MlgPlugin *p = usable_at(MLG_PLUGIN_PREDICTOR, i);

        return p ? &p->predictor : NULL;
}

const MlgPolicyOps *mlg_plugins_policy_at(size_t i) {
        const MlgPlugin *p = usable_at(MLG_PLUGIN_POLICY, i);

        return p ? &p->policy : NULL;
}

static const char *const kind_names[] = {
        [MLG_PLUGIN_UNKNOWN] = "unknown",
        [MLG_PLUGIN_PREDICTOR] = "predictor",
        [MLG_PLUGIN_POLICY] = "policy",
};
static_assert(G_N_ELEMENTS(kind_names) == _MLG_PLUGIN_KIND_MAX, "kind_names[] misses a value");

const char *mlg_plugin_kind_to_string(MlgPluginKind k) {
        return k < _MLG_PLUGIN_KIND_MAX ? kind_names[k] : "unknown";
}

/* ---- what is taken, and what is not ---- */

void mlg_plugin_refuse(MlgPlugin *p, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) g_vsnprintf(p->why, sizeof(p->why), format, ap);
        va_end(ap);
        p->refused = p->off = true;
}

bool mlg_plugin_name_is_good(const char *name) {
        size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

        return n > 0 && name[n] == '\0' && n < MLG_PLUGIN_NAME_SIZE;
}

/* What both kinds begin with. `least`: up to the last member that is required. */
typedef struct Head {
        uint32_t abi, size;
        const char *name;
} Head;
static_assert(offsetof(Head, name) == offsetof(MlgPredictorOps, name) &&
                      offsetof(Head, name) == offsetof(MlgPolicyOps, name),
              "both kinds begin alike");

static bool fits(MlgPlugin *p, const void *ops, uint32_t abi, size_t least, size_t size) {
        const Head *h = ops;

        if (h->abi != abi)
                mlg_plugin_refuse(p, "its abi is %u, and that of this memlegod is %u: build it anew", h->abi,
                                  abi);
        else if (h->size > size)
                mlg_plugin_refuse(p, "its table of functions has %u bytes, and this memlegod knows %zu: it "
                                  "was built for a newer one", h->size, size);
        else if (h->size < least || h->size % sizeof(void *) != 0)
                mlg_plugin_refuse(p, "its table of functions has %u bytes, expected %zu", h->size, size);
        else if (!h->name || strcmp(h->name, p->name) != 0)
                mlg_plugin_refuse(p, "the name in it is \"%.40s\", expected \"%s\", as its file is called",
                                  h->name ? h->name : "", p->name);
        else
                return true;
        return false;
}

static bool taken(MlgPlugin *p, bool exists) {
        if (exists)
                mlg_plugin_refuse(p, "there is a %s \"%s\" already: give it another name",
                                  mlg_plugin_kind_to_string(p->kind), p->name);
        return exists;
}

static bool lacks(MlgPlugin *p, const char *what, const void *function_or_text) {
        if (!function_or_text)
                mlg_plugin_refuse(p, "it has no %s", what);
        return !function_or_text;
}

static bool too_large(MlgPlugin *p, const char *what, size_t size, size_t most) {
        if (size > most)
                mlg_plugin_refuse(p, "its %s of %zu bytes is larger than the %zu that are allowed", what,
                                  size, most);
        return size > most;
}

static bool taken_over(MlgPlugin *p) {
        p->refused = p->off = false;
        p->why[0] = '\0';
        return true;
}

bool mlg_plugin_take_predictor(MlgPlugin *p, const MlgPredictorOps *ops) {
        MlgPredictorOps *own = &p->predictor;

        p->kind = MLG_PLUGIN_PREDICTOR;
        if (!fits(p, ops, MLG_PREDICTOR_ABI, offsetof(MlgPredictorOps, reflect), sizeof(*ops)) ||
            taken(p, mlg_predictor_find(p->name) != NULL))
                return false;
        memcpy(own, ops, ops->size);
        own->name = p->name;
        if (lacks(p, "description", own->description) ||
            lacks(p, "observe()", (const void *) own->observe) ||
            lacks(p, "predict()", (const void *) own->predict) ||
            too_large(p, "state per guest", own->priv_size, MLG_PREDICTOR_PRIV_MAX))
                return false;
        return taken_over(p);
}

bool mlg_plugin_take_policy(MlgPlugin *p, const MlgPolicyOps *ops) {
        MlgPolicyOps *own = &p->policy;

        p->kind = MLG_PLUGIN_POLICY;
        if (!fits(p, ops, MLG_POLICY_ABI, offsetof(MlgPolicyOps, probes), sizeof(*ops)) ||
            taken(p, mlg_policy_find(p->name) != NULL))
                return false;
        memcpy(own, ops, ops->size);
        own->name = p->name;
        if (lacks(p, "description", own->description) || lacks(p, "decide()", (const void *) own->decide) ||
            too_large(p, "state", own->priv_size, MLG_POLICY_PRIV_MAX) ||
            too_large(p, "state per guest", own->vm_priv_size, MLG_POLICY_VM_PRIV_MAX))
                return false;
        return taken_over(p);
}
