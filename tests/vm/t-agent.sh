#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Monitor=agent: stalls through QEMU's guest agent; one that hangs delays nobody, and is asked again when it is back
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_daemon

of() { ctl status --json | jq -r ".guests[] | select(.name == \"$1\") | .$2"; } # GUEST KEY
polls() { ctl status --json | jq .host.polls; }
late() { ctl status --json | jq .host.polls_late; }
stalls() { local n; n=$(of "$1" stall_some_permille) && [ "$n" != null ] && [ "$n" -ge 50 ]; }

step "two guests whose agents are asked, one whose agent is not"
guest_start A B --mib 192 --max 192 --swap 256
guest_start plain --mib 128 --max 192
daemon_start "[Host]
GuestMemory=640M" "[Guest *]
Floor=64M
Cushion=24M
CushionRatio=5%
[Guest A]
Monitor=agent
[Guest B]
Monitor=agent"
wait_until 40 "all are managed" "[ \$(ctl status --json | jq .host.n_managed) = 3 ]"
wait_until 30 "the agents answer" '[ "$(of A monitor) $(of B monitor) $(of plain monitor)" = "agent agent none" ]'
wait_until 20 "stalls are known" '[ "$(of A stall_some_permille)" != null ] && [ "$(of plain stall_some_permille)" = null ]'
expect_eq "balloon fresh" "$(of A source) $(of A trust)" "from where sizes are known"
expect_eq 0 "$(of A oom_kills)" "OOM kills"
pass "$(ctl show A | grep -E 'stall|Monitor' | tr -s ' ' | paste -sd,)"

step "stalls inside a guest are told"
load_start A 220 --rate 60 # more than it has: it swaps
wait_until 60 "tasks of A wait for memory" stalls A
pass "$(of A stall_some_permille) of 1000"
guest_run A 'killall gload' || say "the load is gone already"

step "an agent that hangs delays nobody"
agent_pid=$(guest_run B 'pidof qemu-ga')
console_run B "kill -STOP $agent_pid"
n=$(polls) n_late=$(late)
wait_until 60 "it is said" daemon_logged "Guest B: its QEMU guest agent does not say how memory is"
wait_until 30 "polls went on" "[ \$(polls) -gt $((n + 20)) ]"
expect_eq "fresh managed" "$(of B trust) $(of B state)" "B, by its balloon"
expect_eq "none null" "$(of B monitor) $(of B stall_some_permille)" "what its agent told"
expect_eq agent "$(of A monitor)" "A's agent"
# one that was waited for would make each of them late; a busy machine may one
n=$(($(polls) - n)) n_late=$(($(late) - n_late))
expect_between 0 $((n / 4)) $n_late "late polls, of $n"
pass "$n polls meanwhile, $n_late of them late"

step "and is asked again when it is back"
console_run B "kill -CONT $agent_pid"
wait_until 120 "it answers" '[ "$(of B monitor)" = agent ]'
pass "stalls $(of B stall_some_permille)"

step "until nobody wants that"
daemon_policy "[Guest *]
Monitor=auto"
ctl reload >/dev/null
wait_until 20 "nobody is asked" '[ "$(of A monitor) $(of B monitor)" = "none none" ]'
wait_until 30 "what was told is forgotten" '[ "$(of A stall_some_permille)" = null ]'
handles=$(guest_run A 'ls -l /proc/$(pidof qemu-ga)/fd | grep -c "/proc/\(vmstat\|pressure\)"' || true)
expect_eq 0 "$handles" "files left open in A"
pass "and nothing stays open in the guest"
daemon_stop
