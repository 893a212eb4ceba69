#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Kinds of guests: without balloon, driver or agent; autodeflate; free page reporting; kernel 6.12
# suite: all
# kernels: 6.12
# timeout: 300
. "$(dirname "$0")/lib.sh"

step "four guests"
guest_start A --no-balloon --no-wait
guest_start B --no-driver --stats-period 1 --mute-agent --no-wait
guest_start C --autodeflate on --fpr on --stats-period 1 --mib 160 --max 320 --labels 'gold db' --no-wait
guest_start D --kernel 6.12 --stats-period 1 --no-wait
guest_wait A B C D
pass "all answer"

expect_match '^6\.12' "$(guest_run D 'uname -r')" "kernel of D"
expect_match "labels='gold db'|labels=\"gold db\"" "$(vsh dumpxml C)" "labels of C"
expect_eq "" "$(guest_stat A usable)" "statistics of a guest without balloon"
expect_eq "" "$(guest_stat B usable)" "statistics of a guest without driver"
expect_fails "the agent of B is mute" guest_ping B
expect_eq B "$(guest_run B hostname)" "B by its console"
wait_until 15 "D reports" "[ -n \"\$(guest_stat D usable)\" ]"
guest_set_mib D 150
wait_until 30 "D follows" actual_at_most D 151
pass "what they lack, and what they have"

step "autodeflate gives memory back to a guest in need"
wait_until 20 "C is at its 160 MiB" actual_at_most C 161
load_start C 180 --rate 60
wait_until 60 "C has its load" load_filled C
actual_at_least C 200 || fail "C still has $(guest_actual_mib C) MiB"
load_probe C
load_release C
pass "autodeflate"
