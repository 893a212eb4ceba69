#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The same attacks with the newer kernel, and over and over in kernels that look after their memory; what a guarded call costs
# timeout: 900
# suite: all
# kernels: 6.12
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-securestack.sh"

guest_start A --extra --vcpus 2 --mib 256 --cmdline 'panic_on_warn=1 slub_debug=FZPU'
guest_start B --extra --vcpus 2 --mib 256 --kernel 6.12 --cmdline 'panic_on_warn=1 slub_debug=FZPU'
for g in A B; do
        step "$g: $(guest_run $g 'uname -r')"
        ss_load $g
        for ((i = 0; i < 2; i++)); do
                ss_cases $g reading forging frames limits racing
        done
        ss_nothing_left $g
        guest_destroy $g
done

guest_start C --extra --vcpus 2 --mib 256
guest_start D --extra --vcpus 2 --mib 256 --kernel 6.12
for g in C D; do
        step "$g: what it costs"
        guest_run $g 'modprobe -a securestack plaincopy'
        say "$(guest_run -t 300 $g 'sscases measure')"
        ss_nothing_left $g
        guest_destroy $g
done
