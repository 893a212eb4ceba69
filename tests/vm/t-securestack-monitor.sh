#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What securestack.ko catches in a guest is told to the host, and is seen there
# timeout: 300
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-securestack.sh"
need_daemon

of() { ctl stack --json | jq -r ".stacks[] | select(.guest == \"$1\") | .$2"; } # GUEST KEY
told() { guest_run A "ss-stat | sed -n 's/^$1  *//p'"; } # NAME

step "a guest with the module, one without it, and one without a monitor"
guest_start A --extra --vcpus 2 --monitor
guest_start B --monitor
guest_start C
daemon_start "[Host]
GuestMemory=700M" "[Guest *]
Mode=observe"
wait_until 60 "the programs talk" '[ "$(ctl status --json | jq -r "[.guests[].monitor] | sort | join(\" \")")" = "none talks talks" ]'
expect_eq "" "$(ctl stack --json | jq -r '.stacks[].guest')" "guests with securestack before it is loaded"
expect_match 'No guest tells of securestack' "$(ctl stack)" "memlegoctl stack"
ss_load A
wait_until 20 "the host knows of the module" '[ "$(of A violations)" = 0 ]'
expect_eq A "$(ctl stack --json | jq -r '.stacks[].guest')" "guests with it"

step "forged restores"
ss_cases A forging
place=$(told violation-place)
[ "$place" -gt 0 ] || fail "none was counted in the guest"
wait_until 20 "the host counts as many" '[ "$(of A "violation_kinds.place")" = '"$place"' ]'
for kind in foreign nothing traced lost no-child; do
        expect_eq "$(told "violation-$kind")" "$(of A "violation_kinds[\"$kind\"]")" "violations by kind: $kind"
done
expect_eq "$(told protected)" "$(of A calls)" "calls"
expect_match "^A .* place $place" "$(ctl stack A | tail -n 1)" "memlegoctl stack"
expect_match "Of which kinds .*place $place" "$(ctl show A)" "memlegoctl show"
wait_until 20 "it is in the log, with the guest's name" daemon_logged "Guest A: securestack caught programs there: "
daemon_alive || fail "memlegod is gone"

step "ss-stat"
expect_match ' 0 +0 +0 +0 +0 +0$' "$(guest_run A 'ss-stat 1 1 | tail -n 1')" "nothing new in a second"
expect_match 'is a number' "$(guest_run A 'ss-stat x 2>&1 || true')" "nonsense"

step "the module goes and comes: counters fall"
ss_nothing_left A
expect_match 'is securestack loaded' "$(guest_run A 'ss-stat 2>&1 || true')" "ss-stat without the module"
ss_load A
wait_until 20 "the host follows" '[ "$(of A violations)" = 0 ]'

step "memlegod is killed, and comes back"
ss_cases A forging
place=$(told violation-place)
wait_until 20 "it is counted" '[ "$(of A "violation_kinds.place")" = '"$place"' ]'
daemon_kill9
daemon_start
wait_until 60 "it knows all again" '[ "$(of A "violation_kinds.place")" = '"$place"' ]'
daemon_alive || fail "memlegod is gone"
daemon_stop
