#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What guests need is recorded on a live host, and replayed by the simulator
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_daemon

trace=$T/live.trace
simulate() { "$(program memlegoctl)" simulate --trace "$trace" "$@"; }
# KiB, NAME: the most that it wanted in the trace, second column of its rows
peak() {
        awk -v name="$1" '$1 == "guest" && $4 == name { n = $2 }
                          $1 ~ /^[0-9]+$/ && n != "" && $2 == n && $3 + 0 > most { most = $3 } END { print most + 0 }' "$trace"
}
recorder_ended() { [ ! -d "/proc/$recorder" ]; }

step "three guests with room for all"
guest_start shop mail build --mib 320 --max 320
daemon_start "[Host]
GuestMemory=960M" "[Guest *]
SettleSec=2"
wait_until 40 "all are managed" "[ \$(ctl status --json | jq .host.n_managed) = 3 ]"
DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket "$(program memlegoctl)" record -o "$trace" &
recorder=$!
wait_until 20 "all are in the trace" "[ \$(grep -c '^guest ' '$trace') = 3 ]"
pass "recording"

step "one after the other is busy, one goes"
load_start shop 150 --rate 60
wait_until 60 "shop's load is in memory" load_filled shop
wait_until 20 "it is in the trace" "[ \$(peak shop) -gt $((180 * 1024)) ]"
load_release shop
load_start build 150 --rate 20
wait_until 60 "build's load is in memory" load_filled build
wait_until 20 "it is in the trace" "[ \$(peak build) -gt $((180 * 1024)) ]"
guest_shutdown mail
wait_until 20 "that it went is in the trace" "grep -q '^[0-9]* [0-9] -\$' '$trace'"
load_release build
wait_until 20 "its end is in the trace, too" "[ \$(tail -n 1 '$trace' | cut -d ' ' -f 3) -lt $((150 * 1024)) ]"
kill -INT "$recorder"
wait_until 10 "the recorder ends" recorder_ended
wait "$recorder"
expect_match '^end [0-9]+$' "$(tail -n 1 "$trace")" "the last line"
pass "$(wc -l <"$trace") lines for $(tail -n 1 "$trace" | cut -d ' ' -f 2) s"

step "the trace is replayed"
simulate --compare static,proportional --host-memory 75%
result=$(simulate --json --host-memory 75%)
expect_eq 3 "$(jq .guests <<<"$result")" "guests"
expect_eq 0 "$(jq '.runs[0].guard_violations' <<<"$result")" "violations"
expect_eq true "$(jq '.runs[0].moves > 0' <<<"$result")" "something was moved"
simulate --svg "$T/live.svg" >/dev/null
expect_match '</svg>' "$(tail -n 1 "$T/live.svg")" "end of the picture"
pass "done"
daemon_stop
