/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: what policies make of any host and guests whatever, over some turns. The input is read as numbers. */
#include "fuzz.h"

#include <string.h>

#include "policies/registry.h"
#include "util/util.h"

#define N_MOST 8
#define TURNS 4
#define SIZE_MOST_KIB (UINT64_C(1) << 36) /* 64 TiB */

typedef struct Input {
        const uint8_t *data;
        size_t size;
} Input;

/* The next two bytes, as a part of `most`; 0 when there are none left. */
static uint64_t part(Input *in, uint64_t most) {
        uint64_t v = 0;

        if (in->size >= 2) {
                v = (uint64_t) in->data[0] << 8 | in->data[1];
                in->data += 2;
                in->size -= 2;
        }
        return mlg_mul_div(most, v, 0xffff);
}

static bool flag(Input *in) {
        return part(in, 1000) > 500;
}

/* Anything within what vm.h and engine.h promise to a policy. */
static void read_guest(Input *in, MlgVmView *vm) {
        uint64_t max = 1 + part(in, SIZE_MOST_KIB);

        vm->movable = !flag(in);
        vm->sampled = flag(in);
        vm->pressure = (MlgPressure) part(in, _MLG_PRESSURE_MAX - 1);
        vm->shrinkable = vm->pressure == MLG_PRESSURE_NONE && flag(in);
        vm->maximum_kib = max;
        vm->ceiling_kib = part(in, max);
        vm->floor_kib = part(in, vm->ceiling_kib);
        vm->actual_kib = part(in, max);
        vm->target_kib = part(in, max);
        vm->need_kib = part(in, max);
        vm->error_kib = part(in, max);
        vm->cushion_kib = part(in, max - vm->need_kib);
        vm->used_kib = part(in, vm->actual_kib);
        vm->usable_kib = part(in, vm->actual_kib);
        vm->unused_kib = part(in, vm->actual_kib);
        vm->swap_in_kib_per_sec = part(in, SIZE_MOST_KIB);
        vm->knows_stalls = flag(in);
        vm->stall_some_permille = (uint32_t) part(in, 1000);
        vm->stall_full_permille = (uint32_t) part(in, 1000);
        vm->refault_kib_per_sec = part(in, SIZE_MOST_KIB);
        vm->knows_cold = flag(in);
        vm->cold_kib = part(in, max);
        vm->shares = 1 + (uint32_t) part(in, 9999);
        vm->priority = (int32_t) part(in, 200) - 100;
}

static void check(const MlgPolicyOps *ops, const MlgVmView *vm, const MlgStep *s) {
        if (!vm->movable || strcmp(ops->name, "static") == 0)
                g_assert_cmpuint(s->target_kib, ==, 0);
        if (s->target_kib == 0)
                return;
        g_assert_cmpuint(s->target_kib, >=, vm->floor_kib);
        g_assert_cmpuint(s->target_kib, <=, vm->ceiling_kib);
        g_assert_true(s->reason > MLG_REASON_NONE && s->reason < _MLG_REASON_MAX);
}

static void run(const MlgPolicyOps *ops, Input in) {
        g_autofree char *priv = g_malloc0(ops->priv_size + 1), *vm_privs = g_malloc0(N_MOST * ops->vm_priv_size + 1);
        size_t n = (size_t) part(&in, N_MOST);
        MlgStep steps[N_MOST];
        MlgVmView vms[N_MOST] = {};
        MlgHostView host = { .now_usec = MLG_USEC_PER_SEC };

        for (int turn = 0; turn < TURNS; turn++) {
                MlgPlan plan = { .steps = steps, .n_steps = n };

                memset(steps, 0, sizeof(steps));
                host.now_usec += part(&in, 20 * MLG_USEC_PER_SEC);
                host.total_kib = part(&in, SIZE_MOST_KIB);
                host.available_kib = part(&in, host.total_kib);
                host.budget_kib = part(&in, host.total_kib);
                host.fixed_kib = part(&in, host.total_kib);
                host.stalls = flag(&in);
                host.is_short = flag(&in);
                for (size_t i = 0; i < n; i++) {
                        read_guest(&in, &vms[i]);
                        vms[i].priv = ops->vm_priv_size ? vm_privs + i * ops->vm_priv_size : NULL;
                }
                g_assert_cmpint(ops->decide(priv, &host, vms, n, &plan), ==, 0);
                for (size_t i = 0; i < n; i++)
                        check(ops, &vms[i], &steps[i]);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        for (size_t i = 0; mlg_policy_at(i); i++)
                run(mlg_policy_at(i), (Input) { data, size });
        return 0;
}
