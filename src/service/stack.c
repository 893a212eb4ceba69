/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stack: what guests' monitors say of securestack.ko there, to the log and the bus.
 *
 * A warning has all that was new since the last one of this guest, so that none is lost to the limit on
 * warnings; what there was before memlegod was started is told once. */
#include "service/daemon-private.h"
#include "service/log.h"

#include <inttypes.h>

static void warn(const MlgVm *vm) {
        g_autoptr(GString) kinds = g_string_new(NULL);

        for (int i = 0; i < _MLG_STACK_VIOLATION_MAX; i++)
                if (vm->stack.untold[i] > 0)
                        g_string_append_printf(kinds, "%s%s %" PRIu64, kinds->len > 0 ? ", " : "",
                                               mlg_stack_violation_to_string(i), vm->stack.untold[i]);
        mlg_log_guest(MLG_LOG_WARNING, NULL, vm->uuid, vm->name,
                      "Guest %s: securestack caught programs there: %" PRIu64
                      " violations more (%s); its kernel's log names them",
                      vm->name, mlg_stack_sum(vm->stack.untold), kinds->str);
}

void mlg_daemon_take_stack(MlgDaemon *d, MlgVm *vm, const MlgRawMonitor *raw) {
        uint64_t now = mlg_loop_now_usec(d->loop), before = mlg_stack_sum(vm->stack.violations);
        bool known = vm->stack.known;

        if (!mlg_stack_take(&vm->stack, raw, vm->maximum_kib)) {
                if (mlg_log_limited(vm->uuid, MLG_CAUSE_STACK, now))
                        mlg_log_guest(
                                MLG_LOG_WARNING, NULL, vm->uuid, vm->name,
                                "Guest %s: what its monitor says of securestack cannot be, and is not shown",
                                vm->name);
        } else if (mlg_stack_sum(vm->stack.untold) > 0 && mlg_log_limited(vm->uuid, MLG_CAUSE_STACK, now)) {
                warn(vm);
                mlg_stack_told(&vm->stack);
        }
        if (d->bus && (known != vm->stack.known || before != mlg_stack_sum(vm->stack.violations)))
                mlg_bus_guest_changed(d->bus, vm->uuid);
}
