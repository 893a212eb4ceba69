#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# One QEMU stands still while others run: they are still looked at each second; it is marked, and comes back by itself
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_daemon

N=${MLG_HUNG_GUESTS:-10}
guests=$(seq -f 'g%g' 1 "$N")
state_of() { ctl status --json | jq -r ".guests[] | select(.name == \"$1\") | .state + \" \" + .reason"; }
# Greatest age of the statistics among the guests that should be well, in milliseconds
worst_age_ms() { ctl status --json | jq '[.guests[] | select(.name != "g1") | (.sample_age_usec // 999000000)] | max / 1000 | floor'; }

step "$N guests"
# Without agent and waiting for nothing: ten emulated guests boot slowly on two cores.
# shellcheck disable=SC2086
guest_start $guests --mib 128 --no-agent --no-wait
# shellcheck disable=SC2086
guest_wait $guests
daemon_start "[Host]
GuestMemory=4G" "[Guest *]
Floor=100M
Cushion=16M
SettleSec=0"
wait_until 60 "all are managed" "[ \$(host_value n_managed) = $N ]"
pass "all are managed"

# The greatest of these ages over SECONDS
worst_over() {
        local begin=$EPOCHREALTIME worst=0 now
        until later_than "$begin" "$1"; do
                now=$(worst_age_ms)
                [ "$now" -le "$worst" ] || worst=$now
                sleep 0.2
        done
        echo "$worst"
}

step "how old reports become while all is well"
before=$(worst_over 8)
pass "$before ms"

step "one QEMU is stopped"
qemu_stop g1
wait_until 15 "it is marked" "[ \"\$(state_of g1)\" = 'held unresponsive' ]"
# A report is at most 1 s old when it is read, and a poll follows each second: with polls late by less than a period
# no age can exceed 3 s, or what it was before and a second more where the machine is slow.
after=$(worst_over 15)
[ "$after" -lt 3000 ] || [ "$after" -lt $((before + 1000)) ] ||
        fail "reports of the others are up to $after ms old, before they were $before"
polls=$(host_value polls)
wait_until 10 "polls go on" "[ \$(host_value polls) -ge $((polls + 4)) ]"
expect_eq "$((N - 1))" "$(host_value n_managed)" "managed guests meanwhile"
pass "the others do not notice; their reports were at most $after ms old"

step "it runs again"
qemu_cont g1
wait_until 20 "it comes back by itself" "[ \$(host_value n_managed) = $N ]"
pass "back"
daemon_stop
