#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# MemFlex's pools: idle memory is lent, called back when another guest grows, survives memlegod's death, ends with its guest
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-flex.sh"
need_daemon

flex() { guest_run "$1" "pipedev flex ${*:2}"; }
# tables are less than a MiB
backed() { expect_between "$(($1 * 1024))" "$(($1 * 1024 + 1024))" "$(swap A backed_kib)" "KiB in the host's memory"; }

step "A is lent what is idle"
guest_start A B --extra --max 384
DAEMON_WRAP="$B/tests/fd-store" daemon_start "[Host]
GuestMemory=620M
Reserve=5%" "[Guest *]
SettleSec=2
[Guest A]
Mode=observe
[Swap idle]
Guests=A
Quota=64M
CallbackSec=10"
wait_until 40 "A has its device, and memlegod sees its QEMU" '[ "$(swap A state)" = silent ]'
wait_until 20 "A sees it" flex A header
expect_eq "0x3158454c46474c4d 1 1024 4092 256" "$(flex A header)" "header"
expect_eq none "$(swap B state)" "B, which no section names"
flex A start 77 1000 >/dev/null
wait_until 20 "it is lent its quota" '[ "$(swap A lent_kib)" = 65536 ]'
expect_eq 256 "$(flex A held)" "chunks that A has"
backed 64
flex A fill
expect_eq "16384 0" "$(flex A check)" "pages, right and wrong"
wait_until 10 "the ledger knows" '[ "$(ctl status --json | jq .host.lent_kib)" -ge 65536 ]'
pass "$(ctl swap list | tail -1)"

step "memlegod is killed: nobody notices"
kept_daemon_kill9
wait_until 20 "it goes on" '[ "$(swap A state) $(swap A lent_kib)" = "talks 65536" ]'
expect_eq "16384 0" "$(flex A check)" "pages, right and wrong"

step "B grows, and is in the way of nobody's pages"
guest_spawn A 'pipedev flex obey 60 >/tmp/given' >/dev/null
load_start B 270 --rate 60
wait_until 60 "B has got memory" actual_at_least B 370
wait_until 60 "it uses it" load_filled B
wait_until 20 "A has given some of it" '[ "$(swap A call_backs_met)" -ge 1 ]'
expect_eq 0 "$(swap A call_backs_late)" "call-backs that were late"
expect_between 0 60000 "$(swap A lent_kib)" "KiB still lent"
read -r right wrong <<<"$(flex A check)"
expect_eq 0 "$wrong" "pages that are wrong"
pass "$right pages are still there; $(ctl swap list | tail -1)"

step "A is gone"
guest_kill A
wait_until 20 "its memory is free" '[ "$(swap A lent_kib) $(ctl status --json | jq .host.lent_kib)" = "none 0" ]'
daemon_stop
