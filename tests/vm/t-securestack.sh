#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Secrets on the stack while functions run that are not trusted: each attack works without securestack.ko, and not with it
# timeout: 240
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-securestack.sh"

guest_start A --extra --vcpus 2
ss_load A
ss_cases A reading forging frames limits
ss_nothing_left A
expect_match 'securestack: sscases\[[0-9]+\] wanted back what was protected by another frame' \
        "$(guest_run A 'dmesg | grep securestack:')" "the kernel's log"
