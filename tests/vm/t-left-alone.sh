#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Guests that must be left alone: no balloon, no driver, paused, just defined, rebooting, Mode=off; and said so
# timeout: 240
. "$(dirname "$0")/lib.sh"
need_daemon

reason_is() { [ "$(ctl status --json | jq -r ".guests[] | select(.name == \"$1\") | .reason")" = "$2" ]; } # GUEST REASON
state_of() { ctl status --json | jq -r ".guests[] | select(.name == \"$1\") | .state + \" \" + .reason"; }

step "six kinds of guests"
guest_start plain --mib 192 --max 256 --no-agent --no-wait
guest_start nodev --mib 192 --no-balloon --no-wait
guest_start nodrv --mib 192 --max 256 --no-driver --no-wait
guest_start off --mib 192 --max 256 --no-wait
guest_start defined --mib 192 --define-only
guest_wait plain nodev nodrv off
daemon_start "[Daemon]
LogLevel=debug
[Host]
GuestMemory=1500M" "[Guest *]
Floor=128M
Cushion=32M
SettleSec=0
CoolDownSec=3
[Guest off]
Mode=off"
wait_until 40 "the plain guest, without agent, is managed" "[ \"\$(state_of plain | cut -d' ' -f1)\" = managed ]"
wait_until 20 "no balloon device" reason_is nodev no-balloon
wait_until 20 "a device without a driver" reason_is nodrv no-stats
wait_until 20 "Mode=off" reason_is off mode
wait_until 20 "only defined" reason_is defined not-running
expect_eq 0 "$(guest_stats_period off)" "statistics of a guest with Mode=off stay off"
expect_eq 1 "$(guest_stats_period plain)" "statistics of a managed guest are on"
for g in nodev nodrv off defined; do
        expect_eq "" "$(daemon_log | grep "Resized guest $g:" || true)" "moves of $g"
done
wait_until 30 "the plain guest has what nobody else needs" actual_at_least plain 250
pass "each is left alone for its own reason"

step "a paused guest"
guest_pause plain
wait_until 20 "paused is seen" reason_is plain not-running
before=$(guest_actual_mib plain)
stays_true 4 "a paused guest keeps its memory" "[ \$(guest_actual_mib plain) = $before ]"
guest_resume plain
wait_until 30 "it is managed again" "[ \"\$(state_of plain | cut -d' ' -f1)\" = managed ]"
pass "paused and resumed"

step "a reboot"
guest_reboot plain
guest_wait plain --boots 2
wait_until 40 "it is managed after its reboot" "[ \"\$(state_of plain | cut -d' ' -f1)\" = managed ]"
expect_eq "" "$(daemon_log | grep -E 'plain: left alone \((stuck|foreign)\)' || true)" "a reboot taken for something else"
pass "rebooted"

step "an operator's own setmem is respected"
guest_set_mib plain 200
wait_until 20 "seen as foreign" reason_is plain foreign
stays_true 5 "it stays where the operator put it" actual_at_most plain 201
pass "foreign change respected"

step "a clean stop gives the statistics period back"
daemon_stop
expect_eq 0 "$(guest_stats_period plain)" "statistics period after the stop"
pass "as it was found"
