#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# memlego-guestd costs its guest next to nothing while nothing happens: counted in instructions, whatever this machine does
# timeout: 200
. "$(dirname "$0")/lib.sh"
need_daemon

of() { ctl status --json | jq -r ".guests[] | select(.name == \"A\") | .$1"; }
guestd_cpu() { guest_cpu A '^memlego-guestd$'; }

step "an idle guest"
guest_start A --counted --mib 192 --monitor
daemon_start "[Host]
GuestMemory=192M" "[Guest *]
Floor=128M
Cushion=24M
CushionRatio=0%"
wait_until 30 "its monitor counts" '[ "$(of monitor) $(of source)" = "talks monitor" ]'
wait_settled 30

step "what its monitor takes"
read -r ns0 ms0 <<<"$(guestd_cpu)"
stays_true 20 "it is heard" '[ "$(of monitor) $(of source) $(of trust)" = "talks monitor fresh" ]'
read -r ns1 ms1 <<<"$(guestd_cpu)"
rate=$(((ns1 - ns0) * 1000 / (ms1 - ms0)))
# 50,000 were measured. 0.1 % of a CPU are a million, at one instruction a nanosecond; a fifth of that leaves room for other kernels.
expect_between 5000 200000 "$rate" "instructions a second, in $((ms1 - ms0)) ms"
pass "$rate instructions a second"
daemon_stop
