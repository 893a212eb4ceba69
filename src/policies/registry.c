/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registry of policies: the table, and behind it what comes from plug-ins. Order is what people see; the first is
 * the default. */
#include "policies/registry.h"

#include <string.h>

#include "core/plugins.h"

extern const MlgPolicyOps mlg_policy_equal_pressure, mlg_policy_iballoon, mlg_policy_idle_tax, mlg_policy_mom,
        mlg_policy_proportional, mlg_policy_proxmox, mlg_policy_static;

static const MlgPolicyOps *const policies[] = {
        &mlg_policy_proportional, /* the default */
        &mlg_policy_equal_pressure,
        &mlg_policy_iballoon,
        &mlg_policy_idle_tax,
        &mlg_policy_static,       /* never moves anything: the safe fallback */
        &mlg_policy_mom,          /* the rules of others, to compare with */
        &mlg_policy_proxmox,
        NULL,
};

#define N_OWN (sizeof(policies) / sizeof(policies[0]) - 1)

const MlgPolicyOps *mlg_policy_at(size_t i) {
        return i < N_OWN ? policies[i] : mlg_plugins_policy_at(i - N_OWN);
}

const MlgPolicyOps *mlg_policy_find(const char *name) {
        const MlgPolicyOps *p;

        for (size_t i = 0; (p = mlg_policy_at(i)); i++)
                if (strcmp(p->name, name) == 0)
                        return p;
        return NULL;
}

const char *mlg_policy_names(void) {
        static char text[(N_OWN + MLG_PLUGINS_MAX) * (MLG_PLUGIN_NAME_SIZE + 1)];
        size_t len = 0;

        for (size_t i = 0; mlg_policy_at(i) && len < sizeof(text); i++)
                len += (size_t) g_snprintf(text + len, sizeof(text) - len, "%s%s", i ? ", " : "", mlg_policy_at(i)->name);
        return text;
}
