#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Room is made for a guest before it starts, survives a crash of memlegod, and passes to the guest; nobody falls below its need
# timeout: 240
. "$(dirname "$0")/lib.sh"
need_daemon

room() { ctl reservations --json | jq ".reservations[] | select(.id == $1) | .room_kib"; }

step "two guests that have all there is, and need half of it"
guest_start A B --mib 320 --max 320 --swap 64
load_start A 60 --rate 60
wait_until 30 "the load is in memory" load_filled A
daemon_start "[Host]
GuestMemory=640M" "[Guest *]
Floor=128M
Cushion=24M
CushionRatio=5%
SettleSec=5
CoolDownSec=2"
wait_until 40 "both are managed" "[ \$(host_value n_managed) = 2 ]"
pass "A $(guest_actual_mib A), B $(guest_actual_mib B) MiB"

step "more than they can spare is refused at once"
status=0
ctl reserve 500M >"$T/refused" 2>&1 || status=$?
expect_eq 6 "$status" "exit status of memlegoctl reserve ($(cat "$T/refused"))"
expect_match 'cannot be made free' "$(cat "$T/refused")" "what it says"
pass "$(cat "$T/refused")"

step "room for a guest of 192 MiB"
id=$(ctl reserve 192M --timeout 10min)
expect_match '^[0-9]+$' "$id" "what memlegoctl prints"
expect_between 0 $(((640 - 192) * 1024 + 1024)) "$(host_value charged_kib)" "KiB that the guests are charged"
expect_eq $((192 * 1024)) "$(room "$id")" "room of the reservation"
load_probe A
expect_eq 0 "$(guest_oom_kills A)" "OOM kills in A"
pass "A $(guest_actual_mib A), B $(guest_actual_mib B) MiB"

step "memlegod is killed and comes back: the room is still there"
daemon_kill9
daemon_start
wait_until 40 "both are managed" "[ \$(host_value n_managed) = 2 ]"
expect_eq $((192 * 1024)) "$(room "$id")" "room of the reservation"
expect_eq true "$(ctl status --json | jq '.host.charged_kib + .host.reserved_kib <= .host.budget_kib')" "the books"
pass "kept"

step "the guest starts into it"
guest_start C --mib 192 --max 192 --no-wait
wait_until 20 "it is known" "[ \$(host_value n_guests) = 3 ]"
expect_eq 0 "$(host_value reserved_kib)" "KiB still reserved: the guest has them"
expect_eq true "$(ctl status --json | jq '.host.charged_kib <= .host.budget_kib + 2048')" "the books with the guest in them"
guest_wait C
wait_until 40 "it is managed" "[ \$(host_value n_managed) = 3 ]"
ctl release "$id"
expect_eq "[]" "$(ctl reservations --json | jq -c .reservations)" "reservations"
load_probe A
for g in A B C; do expect_eq 0 "$(guest_oom_kills $g)" "OOM kills in $g"; done
pass "A $(guest_actual_mib A), B $(guest_actual_mib B), C $(guest_actual_mib C) MiB"
daemon_stop
