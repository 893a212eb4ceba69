#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Another program takes the host's memory at once: guests give, none below its floor, and everybody is told; also when it cannot be cured
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-small-host.sh"
need_daemon
RESERVE_MIB=256
count() { daemon_log | grep -c -- "$1" || true; }
alarms() { grep -A1 'member=HostAlarm' "$T/signals" | sed -n 's/.*string "\(.*\)"/\1/p' | tr '\n' ' '; }
floors() { local g; for g in low middle high; do expect_between 191 448 "$(guest_actual_mib $g)" "memory of $g, in MiB"; done; }

step "three guests of 448 MiB that need a third of it, on a host with 300 MiB to spare"
guest_start low middle high --mib 448 --max 448 --swap 128
for g in low middle high; do
        load_start $g 320 --rate 200 # memory that a guest never touched is none that it could give
done
for g in low middle high; do
        wait_until 60 "the load is in memory" load_filled $g
        load_release $g
        load_start $g 50 --rate 50
done
for g in low middle high; do wait_until 30 "the load is in memory" load_filled $g; done
small_host $RESERVE_MIB 300 low middle high
DAEMON_WRAP=$T/on-a-small-host daemon_start "[Host]
Reserve=${RESERVE_MIB}M" "[Guest *]
Floor=192M
Cushion=16M
CushionRatio=5%
SettleSec=0
CoolDownSec=2
[Guest low]
Priority=-10
[Guest high]
Priority=10"
dbus-monitor --address unix:path=/run/dbus/system_bus_socket \
        "type='signal',interface='org.memlego1.Manager',member='HostAlarm'" >"$T/signals" 2>&1 &
monitor=$!
wait_until 40 "all are managed" "[ \$(host_value n_managed) = 3 ]"
expect_eq $((TOTAL_MIB * 1024)) "$(host_value total_kib)" "KiB of the small host"
expect_eq none "$(host_value alarm)" "the alarm"
pass "$TOTAL_MIB MiB, $(($(host_value available_kib) / 1024)) of them available"

step "another program takes 480 MiB at once: what nobody needs is enough"
own 480
wait_until 20 "it is an emergency" daemon_logged 'The host is short of memory: .* of its reserve of 256 MiB are missing'
wait_until 60 "it is over" daemon_logged 'The host has enough memory left again'
floors
expect_eq 0 "$(count 'cannot cure it')" "times that it was said to be incurable"
for g in low middle high; do load_probe $g; expect_eq 0 "$(guest_oom_kills $g)" "OOM kills in $g"; done
expect_match '^short none $' "$(alarms)" "levels that were told"
pass "low $(guest_actual_mib low), middle $(guest_actual_mib middle), high $(guest_actual_mib high) MiB"
daemon_log | sed -n '/another program has 480/,$p' | head -12

step "it ends: the guests have their memory again"
own 0
wait_until 60 "all have 400 MiB" 'actual_at_least low 400 && actual_at_least middle 400 && actual_at_least high 400'
pass "and they were told of no alarm: $(alarms)"

step "another one takes more than the guests have above their floors"
own 1500
wait_until 60 "it is said that they cannot cure it" daemon_logged 'short of memory, and its guests cannot cure it'
wait_until 60 "all are at their floors" 'actual_at_most low 196 && actual_at_most middle 196 && actual_at_most high 196'
stays_true 5 "none is below" 'actual_at_least low 191 && actual_at_least middle 191 && actual_at_least high 191'
expect_eq exhausted "$(host_value alarm)" "the alarm"
expect_match 'HOST SHORT .*guests can give only' "$(ctl status | tr '\n' ' ')" "what memlegoctl says"
expect_match 'exhausted $' "$(alarms)" "the last level that was told"
pass "$(ctl status | grep 'HOST SHORT')"

step "it ends, too"
own 0
wait_until 60 "the alarm is over" "[ \$(host_value alarm) = none ]"
wait_until 60 "all have 400 MiB" 'actual_at_least low 400 && actual_at_least middle 400 && actual_at_least high 400'
for g in low middle high; do load_probe $g; expect_eq 0 "$(guest_oom_kills $g)" "OOM kills in $g"; done
pass "$(alarms)"
small_host_end
kill $monitor
wait $monitor 2>/dev/null || true
daemon_stop
