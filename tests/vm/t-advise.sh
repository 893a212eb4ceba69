#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Mode=advise: nothing moves unasked; what is approved is done, what is rejected is not; answers and their time survive a crash
# timeout: 240
. "$(dirname "$0")/lib.sh"
need_daemon

proposal() { ctl proposals --json | jq -r ".proposals[] | select(.guest == \"$1\" and .state == \"open\") | .$2"; } # GUEST KEY
is_proposed() { [ -n "$(proposal "$1" id)" ]; }
nothing_moved() { [ "$(moves)" = "$1" ]; }
logged_about() { daemon_logged "roposal $1 .*$2"; } # ID REGEX

policy() { # MODE
        daemon_policy "[Guest *]
Mode=$1
Floor=96M
Cushion=24M
CushionRatio=5%
SettleSec=5
CoolDownSec=2"
}

step "two guests that have more than there is for them; one of them needs much of it"
guest_start A B --mib 320 --max 320 --swap 64
load_start A 120 --rate 60
wait_until 30 "the load is in memory" load_filled A
daemon_config "[Host]
GuestMemory=480M
ProposalSec=10min"
policy advise
daemon_start
wait_until 40 "both are managed" "[ \$(host_value n_managed) = 2 ]"
wait_until 20 "a shrink of B is proposed" is_proposed B
id=$(proposal B id) to=$(proposal B to_kib)
[ "$to" -lt $((320 * 1024)) ] || fail "proposal $id for B wants $to KiB, not less than it has"
expect_match 'usable memory [0-9.]+ [KMG]iB -> ' "$(proposal B effect)" "the expected effect"
expect_match 'to approve' "$(ctl status)" "status"
stays_true 4 "nothing moves unasked" nothing_moved 0
expect_eq 320 "$(guest_actual_mib B)" "MiB of B"
pass "proposal $id: B to $((to / 1024)) MiB, $(proposal B effect)"

step "what is approved is done, and no more"
ctl approve "$id"
wait_until 30 "B is there" "[ \$(guest_actual_kib B) -le $((to + 4096)) ]"
wait_until 10 "the log says that it was applied" logged_about "$id" applied
[ "$(guest_actual_kib B)" -ge $((to - 4096)) ] || fail "B has $(guest_actual_kib B) KiB, approved were $to"
logged_about "$id" "approved.*uid 0" || fail "the log does not say who approved $id"
status=0
ctl approve "$id" >"$T/again" 2>&1 || status=$?
expect_eq 1 "$status" "exit status of approving it again ($(cat "$T/again"))"
expect_match 'applied' "$(cat "$T/again")" "what it says"
load_probe A
pass "B has $(guest_actual_mib B) MiB"

step "memlegod is killed in the middle: nothing moves, and no ID is used twice"
load_release A
wait_until 30 "a shrink of A is proposed" "is_proposed A && [ \$(proposal A to_kib) -lt \$(proposal A from_kib) ]"
last=$(ctl proposals --json | jq '[.proposals[].id] | max') before=$(guest_actual_kib A)
daemon_kill9
daemon_start
wait_until 40 "both are managed" "[ \$(host_value n_managed) = 2 ]"
wait_until 20 "a shrink of A is proposed again" is_proposed A
[ "$(proposal A id)" -gt "$last" ] || fail "ID $(proposal A id) after $last"
expect_eq "$before" "$(guest_actual_kib A)" "KiB of A"
pass "$last, then $(proposal A id)"

step "what is rejected is not done, nor proposed again"
id=$(proposal A id) n=$(moves)
ctl reject "$id"
wait_until 10 "the log says so" logged_about "$id" "rejected.*uid 0"
stays_true 4 "A is left in peace" "nothing_moved $n && ! is_proposed A"
expect_match 'rejected' "$(ctl explain A)" "the reason"
pass "$(ctl status --names | wc -l) guests as they were"

step "for ten minutes nothing needs approval, a crash of memlegod included"
ctl approve --all --for 10min
wait_until 30 "A is shrunk" "[ \$(guest_actual_kib A) -lt $((before - 8192)) ]"
daemon_kill9
daemon_start
expect_match 'all approved for [0-9]+min' "$(ctl status)" "status"
wait_until 40 "both are managed" "[ \$(host_value n_managed) = 2 ]"
load_start A 160 --rate 60
wait_until 60 "A was given what it needs, unasked" "[ \$(guest_actual_kib A) -gt \$((160 * 1024)) ] && load_filled A"
load_probe A
pass "A $(guest_actual_mib A), B $(guest_actual_mib B) MiB"

step "until that ends"
ctl approve --end
load_release A
wait_until 30 "a shrink of A is proposed" is_proposed A
n=$(moves)
stays_true 3 "nothing moves unasked" nothing_moved "$n"
policy observe
ctl reload >/dev/null
wait_until 10 "who is only observed is not asked about" "[ \$(ctl proposals --json | jq '.proposals | length') = 0 ]"
for g in A B; do expect_eq 0 "$(guest_oom_kills $g)" "OOM kills in $g"; done
pass "$(moves) moves in all"
daemon_stop
