#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The main job: memory moves from an idle guest to a busy one before it suffers, and back when the load ends
# timeout: 400
. "$(dirname "$0")/lib.sh"
need_daemon

step "two guests of 512 MiB at most share 640 MiB"
guest_start busy idle --mib 320 --max 512
daemon_start "[Host]
GuestMemory=640M" "[Guest *]
Floor=200M
Cushion=48M
CushionRatio=10%
ShrinkRate=20%
CoolDownSec=3
SettleSec=0"
wait_until 30 "both are managed" "[ \$(ctl status --json | jq '[.guests[] | select(.state == \"managed\")] | length') = 2 ]"
wait_until 30 "the surplus is shared evenly" \
        'actual_at_least busy 300 && actual_at_most busy 340 && actual_at_least idle 300 && actual_at_most idle 340'
pass "both have their share"

step "one of them allocates more than it has"
load_start busy 290 --rate 60
wait_until 60 "the load is in memory" load_filled busy
wait_until 30 "busy got its memory" actual_at_least busy 400
load_probe busy
expect_eq 0 "$(guest_oom_kills busy)" "OOM kills in the busy guest"
# Its floor, and one dead band: for less nobody is moved.
wait_until 30 "idle has given all that busy needs" actual_at_most idle 212
stays_true 5 "idle is never below its floor" actual_at_least idle 199
pass "busy has $(guest_actual_mib busy) MiB, idle $(guest_actual_mib idle) MiB"

step "the load ends"
load_release busy
wait_until 120 "both have their share again" \
        'actual_at_least busy 300 && actual_at_most busy 340 && actual_at_least idle 300 && actual_at_most idle 340'
expect_eq "" "$(daemon_log | grep -E -- '-> (1[0-9][0-9]|[0-9]?[0-9])(\.[0-9]+)? MiB' || true)" "moves below the floor"
pass "memory moved back"

step "a rule: who works gets a high floor, for as long as it works"
daemon_policy "[Rule works]
Guests=busy
When=guest.used > 160M
Until=guest.used < 140M
Floor=guest.used + 200M" 60-rule
daemon_reload
wait_until 10 "the rule is known" daemon_logged 'Changed: \[Rule works\] added'
expect_eq "" "$(ctl show busy | grep '^Rules' || true)" "rules that hold for busy before it works"
load_start busy 120 --rate 60
wait_until 60 "the load is in memory" load_filled busy
wait_until 20 "the rule holds" says '^Rules  *works' ctl show busy
wait_until 30 "busy is at its new floor" actual_at_least busy 375
expect_eq "" "$(ctl show idle | grep '^Rules' || true)" "rules that hold for idle"
expect_match 'works \(.*60-rule\.policy:1\): Floor=[0-9]+[KM]$' "$(ctl explain busy | grep 'works (')" "rules by explain busy"
load_release busy
wait_until 90 "the rule is over" daemon_logged 'busy: rules that hold: none'
wait_until 60 "both have their share again" \
        'actual_at_least busy 300 && actual_at_most busy 340 && actual_at_least idle 300 && actual_at_most idle 340'
pass "the rule came and went"

step "every move is explained"
expect_match 'pressure|demand|surplus' "$(ctl explain busy)" "explain busy"
daemon_stop
