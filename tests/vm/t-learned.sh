#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What a predictor learned is taken up again: after a stop, a crash, and a restart of its guest; not when it is damaged
# timeout: 240
. "$(dirname "$0")/lib.sh"
need_daemon

learned_sec() { ctl status --json | jq ".guests[] | select(.name == \"$1\") | .learned_usec / 1e6 | floor"; }
resumed() { daemon_log | grep -c "Guest $1: goes on with what predictor context learned" || true; }
learned_at_least() { [ "$(learned_sec "$1")" -ge "$2" ]; } # GUEST SECONDS

step "two guests, of which context learns"
guest_start A B --mib 192 --max 256 --define
daemon_start "[Host]
GuestMemory=480M" "[Guest *]
Floor=128M
Predictor=context
HorizonSec=5s"
wait_until 40 "both are managed" "[ \$(ctl status --json | jq .host.n_managed) = 2 ]"
wait_until 60 "something is learned" learned_at_least A 15
wait_until 60 "of both" learned_at_least B 15
expect_eq "0 0" "$(resumed A) $(resumed B)" "states found"
a=$(learned_sec A) file=$T/state/learned/$(guest_uuid A)
daemon_stop
expect_eq "600 700" "$(stat -c %a "$file") $(stat -c %a "$T/state/learned")" "modes of file and directory"
pass "A after $a s: $(stat -c %s "$file") bytes"

step "memlegod starts again"
daemon_start
wait_until 20 "what was learned is taken up" '[ "$(resumed A) $(resumed B)" = "1 1" ]'
says "^Learned for" ctl show A
wait_until 20 "it learns on" learned_at_least A $((a + 5))
b=$(learned_sec A)
daemon_kill9
pass "learned in both runs: $b s"

step "it was killed, and A is started anew meanwhile"
guest_destroy A
vsh start A >/dev/null
guest_wait A --boots 2
daemon_start
wait_until 20 "the state of the orderly stop is taken up" '[ "$(resumed A) $(resumed B)" = "2 2" ]'
learned_at_least A "$a" || fail "it is too young: $(learned_sec A) s"
wait_until 40 "both are managed" "[ \$(ctl status --json | jq .host.n_managed) = 2 ]"
wait_until 20 "it learns on" learned_at_least A $((a + 3))
daemon_stop

step "the file of A is cut off"
truncate -s 1000 "$file"
daemon_start
wait_until 20 "it is said" daemon_logged "Guest A: .*/learned/$(guest_uuid A) is not used: it is not as long as it should be"
wait_until 20 "the other one is taken up" '[ "$(resumed B)" = 3 ]'
expect_eq 2 "$(resumed A)" "states of A found"
wait_until 40 "A learns from the beginning" learned_at_least A 1
daemon_stop
