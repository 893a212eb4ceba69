#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A balloon whose driver goes away, statistics that stop: held within 5 s, never shrunk, others do not oscillate
# timeout: 240
. "$(dirname "$0")/lib.sh"
need_daemon

state_of() { ctl status --json | jq -r ".guests[] | select(.name == \"$1\") | .state + \" \" + .reason"; }
# Without the one by which a stuck guest is told to keep what it has, so that nobody waits for its memory.
moves_of() { daemon_log | grep "Resized guest $1:" | grep -vc 'does not follow' || true; }
give_ups_of() { daemon_log | grep -c "Resized guest $1:.*does not follow" || true; }

step "three guests"
guest_start bad good1 good2 --mib 200 --max 256
daemon_start "[Host]
GuestMemory=640M" "[Guest *]
Floor=128M
Cushion=32M
Predictor=last
SettleSec=0
CoolDownSec=2
ShrinkRate=20%"
wait_until 40 "all are managed" "[ \$(ctl status --json | jq .host.n_managed) = 3 ]"
wait_settled 20
pass "settled"

step "the driver is removed from one of them"
guest_run bad 'rmmod virtio_balloon'
begin=$SECONDS
wait_until 15 "it is held" "[ \"\$(state_of bad | cut -d' ' -f1)\" = held ]"
pass "held after $((SECONDS - begin)) s: $(state_of bad)"
n=$(moves_of bad) n1=$(moves_of good1) n2=$(moves_of good2)
stays_true 12 "it is not touched" "[ \$(moves_of bad) -le $n ] && [ \$(give_ups_of bad) -le 1 ]"
a=$(( $(moves_of good1) - n1 + $(moves_of good2) - n2 ))
[ $a -le 4 ] || fail "the others oscillate: $a moves in 12 s"
pass "the others made $a moves"

step "the driver comes back"
guest_run bad 'modprobe virtio_balloon'
wait_until 60 "its reports are believed again" "[ \"\$(ctl status --json | jq -r '.guests[] | select(.name == \"bad\") | .trust')\" = fresh ]"
pass "$(state_of bad)"
daemon_stop
