#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Secrets on the stack while functions run that are not trusted: each attack works without securestack.ko, and not with it
# timeout: 300
. "$(dirname "$0")/lib.sh"

guest_start A --extra --vcpus 2 ${SECURESTACK_KERNEL:+--kernel "$SECURESTACK_KERNEL"}
step "securestack.ko"
expect_fails "sscases without the module" guest_run A 'sscases 2>/dev/null'
guest_run A 'modprobe securestack'
expect_match '^crw-rw-rw-' "$(guest_run A 'ls -l /dev/securestack')" "the device's mode"
for part in reading forging frames limits measure; do
        step "$part"
        said=$(guest_run -t 120 A "sscases $part 2>&1 || true")
        say "$said"
        expect_match ' ok, 0 bad$' "$(tail -n 1 <<<"$said")" "$part"
done
expect_eq "0 0" "$(guest_run A 'cut -d" " -f1,2 /sys/class/misc/securestack/held_stat')" "entries and bytes that are left"
no_kernel_complains A
