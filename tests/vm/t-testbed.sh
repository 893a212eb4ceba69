#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The test bed itself: two guests, agent, console, balloon, statistics, stopped and killed QEMU, libvirtd restarts
# timeout: 240
. "$(dirname "$0")/lib.sh"

step "two guests at once, one of them without agent"
guest_start A --mib 192 --max 256 --stats-period 1 --no-wait
guest_start B --mib 192 --no-agent --swap 64 --no-wait
guest_wait A B
pass "both answer"

step "commands in guests: output, status, standard error"
expect_eq A "$(guest_run A hostname)" "agent: host name"
expect_eq B "$(guest_run B hostname)" "console: host name"
expect_eq A "$(console_run A hostname)" "console beside an agent"
status=0
guest_run A 'exit 7' || status=$?
expect_eq 7 "$status" "agent: exit status"
status=0
guest_run B 'exit 9' || status=$?
expect_eq 9 "$status" "console: exit status"
expect_eq "$(seq 1 3000 | sha256sum)" "$(guest_run A 'seq 1 3000' | sha256sum)" "agent: long output"
expect_eq "$(seq 1 3000 | sha256sum)" "$(guest_run B 'seq 1 3000' | sha256sum)" "console: long output"
expect_match '/dev/zram0' "$(guest_run B 'cat /proc/swaps')" "swap in B"
pass "commands"

step "balloon: a target is followed by the actual size"
expect_between 190 194 "$(guest_actual_mib A)" "size of A after its start"
guest_set_mib A 160
wait_until 30 "A is at 160 MiB" actual_at_most A 161
guest_set_mib A 256
wait_until 30 "A is at 256 MiB" actual_at_least A 256
pass "balloon"

step "statistics advance"
before=$(guest_stat A last_update)
wait_until 15 "last_update of A moves on" "[ \$(guest_stat A last_update) -gt $before ]"
[ "$(guest_stat A usable)" -gt 10000 ] || fail "usable of A: $(guest_stat A usable)"
expect_eq 1 "$(guest_stats_period A)" "period of A"
expect_eq 0 "$(guest_stats_period B)" "period of B"
guest_set_stats_period B 2
wait_until 15 "B reports as well" "[ -n \"\$(guest_stat B usable)\" ]"
pass "statistics"

step "a load in the guest is seen, verified, released"
load_start A 60 --rate 100
wait_until 30 "the load is there" load_filled A
expect_eq 60 "$(load_get A filled_mib)" "filled"
usable=$(guest_stat A usable)
load_probe A
load_release A
expect_eq released "$(load_get A state)" "state after release"
wait_until 15 "usable of A grows again" "[ \$(guest_stat A usable) -gt $((usable + 40000)) ]"
pass "load"

step "a stopped QEMU"
qemu_stop A
expect_fails "agent of a stopped guest" guest_ping A
expect_eq B "$(guest_run B hostname)" "the other guest meanwhile"
qemu_cont A
wait_until 30 "A answers again" guest_ping A
pass "SIGSTOP and SIGCONT"

step "pause, resume, reboot"
guest_pause A
expect_eq paused "$(guest_state A)" "state"
guest_resume A
expect_eq running "$(guest_state A)" "state"
guest_reboot B
expect_eq B "$(guest_run B hostname)" "after the reboot"
expect_eq 2 "$(guest_boots B)" "boots of B"
pass "pause and reboot"

step "libvirtd killed, started again; then restarted in order"
pid=$(guest_pid A)
libvirtd_kill
expect_fails "libvirtd is dead" libvirtd_answers
libvirtd_start
expect_eq "$pid" "$(guest_pid A)" "QEMU of A"
wait_until 30 "the agent of A answers" guest_ping A
libvirtd_stop
libvirtd_start
wait_until 30 "the agent of A answers" guest_ping A
expect_eq B "$(guest_run B hostname)" "B after libvirtd's restarts"
pass "libvirtd"

step "ends of guests"
guest_kill A
wait_until 15 "libvirt knows that A is gone" guest_gone A
guest_shutdown B
guest_start C --define-only
expect_eq "shut off" "$(guest_state C)" "a guest that was only defined"
pass "ends"
