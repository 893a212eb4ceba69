#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A guest that is being migrated away is left alone, said so, and forgotten when it has gone
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_daemon

# What was asked of it before its migration was seen is answered.
is_answered() { ctl status --json | jq -e ".guests[] | select(.name == \"$1\") | .moves_tried == .moves_accepted + .moves_failed" >/dev/null; }
state_of() { ctl status --json | jq -r ".guests[] | select(.name == \"$1\") | .state + \" \" + .reason"; }

step "two guests, one of them busy, and a place to go to"
guest_start goes stays --mib 192 --max 256 --no-agent
libvirtd2_start
daemon_start "[Host]
GuestMemory=480M" "[Guest *]
Floor=128M
Cushion=32M
SettleSec=0
CoolDownSec=2"
wait_until 60 "both are managed" "[ \$(ctl status --json | jq .host.n_managed) = 2 ]"
wait_settled 60
pass "settled"

step "it goes"
guest_migrate goes 5
wait_until 60 "its migration is seen" "[ \"\$(state_of goes)\" = 'held migrating' ]"
wait_until 40 "nothing is under way to it" is_answered goes
n=$(moves goes)
load_start stays 60 --rate 30 # somebody else wants memory meanwhile
wait_until 120 "it has gone" guest_gone goes
expect_eq "" "$(cat "$T/migrate.log")" "what the migration said"
expect_eq "$n" "$(moves goes)" "moves of the guest that was migrated"
expect_eq running "$(virsh -q -c "$URI2" domstate goes)" "state of the guest at its new place"
pass "not touched on its way"

step "it is forgotten"
wait_until 30 "it is not listed any more" "[ -z \"\$(state_of goes)\" ]"
wait_until 60 "the other one is managed" "[ \"\$(state_of stays | cut -d' ' -f1)\" = managed ]"
virsh -q -c "$URI2" destroy goes >/dev/null
pass "gone"
daemon_stop
