/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registry of policies: the table. Order is what people see; the first is the default. */
#include "policies/registry.h"

#include <string.h>

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

const MlgPolicyOps *mlg_policy_at(size_t i) {
        return i < sizeof(policies) / sizeof(policies[0]) ? policies[i] : NULL;
}

const MlgPolicyOps *mlg_policy_find(const char *name) {
        for (const MlgPolicyOps *const *p = policies; *p; p++)
                if (strcmp((*p)->name, name) == 0)
                        return *p;
        return NULL;
}

const char *mlg_policy_names(void) {
        return "proportional, equal-pressure, iballoon, idle-tax, static, mom, proxmox"; /* a unit test holds it against the table */
}
