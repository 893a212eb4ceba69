#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A private host whose caller is killed: all of it ends, and the next run removes what is left
# timeout: 60
. "$(dirname "$0")/lib.sh"
export MEMLEGO_STATE=$T/hosts
mkdir -p "$MEMLEGO_STATE"
. "$MLG_VM_DIR/host.sh"

# A caller in a process of its own, so that it can die; says where its host is, then waits.
caller() { # [--detach]
        (
                trap - ERR EXIT
                MLG_STATE=""
                host_up "$@"
                echo "$MLG_STATE" >"$T/where"
                exec sleep 1000
        ) >/dev/null 2>"$T/caller.err" &
        CALLER=$!
        wait_until 30 "a second host is up" "[ -s $T/where ]"
        STATE=$(cat "$T/where")
        rm "$T/where"
        INIT=$(host_init_pid "$STATE")
}

step "the caller is killed: the host ends with it"
caller
expect_eq "$STATE" "$(host_list)" "hosts that are up"
kill -KILL "$CALLER"
wait_until 10 "its first process is gone" "[ ! -d /proc/$INIT ]"
wait_until 10 "the host is no longer listed" '[ -z "$(host_list)" ]'
[ -d "$STATE" ] || fail "the directory is gone without a sweep"
host_sweep 2>/dev/null
[ ! -d "$STATE" ] || fail "the sweep left $STATE"
pass "nothing is left"

step "a detached host outlives its caller, and ends when told"
caller --detach
kill -KILL "$CALLER"
wait "$CALLER" 2>/dev/null || true
host_sweep
expect_eq "$STATE" "$(host_list)" "hosts after a sweep"
host_enter "$STATE" virsh -q -c qemu:///system list >/dev/null
host_down "$STATE"
[ ! -d "/proc/$INIT" ] || fail "its first process is still there"
[ ! -d "$STATE" ] || fail "its directory is still there"
pass "ended"
