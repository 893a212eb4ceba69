#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# libvirtd killed and restarted; memlegod restarted in order, and killed in the middle of a move: no guest notices
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_daemon

both_managed() { [ "$(host_value connected) $(host_value n_managed)" = "true 2" ]; }
sizes() { echo "$(guest_actual_mib A) $(guest_actual_mib B)"; }

step "two guests, settled"
guest_start A B --mib 256 --max 384
config="[Host]
GuestMemory=560M"
policy="[Guest *]
Floor=160M
Cushion=40M
Predictor=last
SettleSec=0
CoolDownSec=2
ShrinkRate=20%"
daemon_start "$config" "$policy"
wait_until 30 "both are managed" both_managed
wait_until 30 "both have their share" 'actual_at_least A 268 && actual_at_least B 268'
wait_settled 20
settled=$(sizes)
pass "settled at $settled MiB"

step "libvirtd is killed"
n=$(moves)
libvirtd_kill
wait_until 15 "the loss is said" daemon_logged 'No connection to'
wait_until 5 "and seen by clients" "[ \$(host_value connected) = false ]"
libvirtd_start
wait_until 60 "both are managed again" both_managed
expect_eq "$n" "$(moves)" "moves because of it"
pass "reconnected, no target changed"

step "memlegod is restarted in order"
daemon_stop
daemon_start
wait_until 30 "both are managed" both_managed
expect_eq "$n" "$(moves)" "moves because of the restart"
stays_true 4 "sizes stay" "[ \"\$(sizes)\" = \"$settled\" ]"
pass "no target changed"

step "memlegod is killed in the middle of a move"
load_start A 200 --rate 20
wait_until 60 "memory begins to move" "[ \$(moves) -gt $n ]"
daemon_kill9
expect_match '"' "$(cat "$T/state/targets.json")" "the state file"
daemon_start
wait_until 30 "both are managed" both_managed
wait_until 60 "the load is in memory" load_filled A
load_probe A
for _ in 1 2 3; do
        sum=$(ctl status --json | jq '.host.charged_kib + .host.reserved_kib <= .host.budget_kib')
        expect_eq true "$sum" "the ledger adds up"
        actual_at_least B 159 || fail "B is below its floor: $(guest_actual_mib B) MiB"
done
expect_eq 0 "$(guest_oom_kills A)" "OOM kills in A"
pass "the ledger adds up, no guest below its floor"
daemon_stop
