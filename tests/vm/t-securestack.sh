#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Secrets on the stack while functions run that are not trusted: each attack works without securestack.ko, and not with it
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-securestack.sh"

guest_start A --extra --vcpus 2
ss_load A
ss_cases A reading forging frames limits
expect_match '^violation-place +[1-9]' "$(guest_run A 'ss-stat | grep violation-place')" "what ss-stat says of forged ones"
expect_eq 1 "$(guest_run A 'ss-stat 1 1' | grep -c ' 0 \+0$')" "its line of one second"
ss_nothing_left A
expect_match 'is securestack loaded' "$(guest_run A 'ss-stat 2>&1 || true')" "ss-stat without the module"
expect_match 'securestack: sscases\[[0-9]+\] wanted back what was protected by another frame' \
        "$(guest_run A 'dmesg | grep securestack:')" "the kernel's log"
