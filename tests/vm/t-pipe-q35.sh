#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Machines that take the device at their start only (q35), and a PCI bus without a free place: what is said, and what helps
# suite: all
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"
need_daemon

RNG="<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
has_device() { says "memlego-pipe" vsh dumpxml "$1"; } # GUEST
fill_bus() { # GUEST: with as many small devices as libvirt finds places for; prints how many
        local n=0
        echo "$RNG" >"$T/rng.xml"
        while [ $n -lt 32 ] && vsh attach-device "$1" "$T/rng.xml" --live >"$T/fill.txt" 2>&1; do n=$((n + 1)); done
        echo $n
}

step "a pc and a q35 of one group"
group_daemon_start 64M Attach=manual
two_guests network_guest_start "" "--machine q35"
expect_match "machine='pc-q35" "$(vsh dumpxml B)" "machine of B"

step "the q35 cannot have it while it runs"
ctl pipe attach B
wait_until 20 "it is said, and what helps" daemon_logged "Guest B: its device for shared memory could not be added: .*PCI.*: take a device away, or put this one into the guest's definition \(memlegoctl pipe xml\), which a machine of type q35 needs"
has_device B && fail "B has it: $(vsh dumpxml B)"
guest_ping B

step "nor can a pc without a free place"
n=$(fill_bus A)
expect_match "available PCI slots" "$(cat "$T/fill.txt")" "what libvirt says of a full bus"
[ "$n" -ge 5 ] || fail "only $n devices fill A's bus"
ctl pipe attach A
wait_until 20 "it is said, and what helps" daemon_logged "Guest A: its device for shared memory could not be added: .*available PCI slots.*: take a device away"
has_device A && fail "A has it: $(vsh dumpxml A)"
vsh detach-device A "$T/rng.xml" --live
wait_until 20 "a place is free" "[ \$(vsh dumpxml A | grep -c '<rng ') = $((n - 1)) ]"
ctl pipe attach A
wait_until 30 "A has it" has_device A
pass "$n small devices filled the bus of A; in the place of one of them it has the memory"

step "the q35 has it from its start"
guest_destroy B
wait_until 10 "B is gone" guest_gone B
PIPE_MORE_DEVICES=$(ctl pipe xml web) network_guest_start B 2 --machine q35
network_up B 2
pipe_load A B
serve_in B 7000 pipestream serve 7000
wait_until 20 "A reaches B" guest_run A 'ping -c1 -W1 10.0.0.2'
n=$(pipe_counter A tx-pipe-bytes)
expect_match '^ok ' "$(guest_run -t 60 A 'pipestream run 10.0.0.2 7000 40 1 poll')" "40 MiB there and back"
n=$(($(pipe_counter A tx-pipe-bytes) - n))
[ $n -gt $((30 << 20)) ] || { pipe_file A counters; fail "by the pipe: $n bytes"; }
pass "$((n >> 20)) MiB of A's by the pipe"

step "the q35 gives it back, and its connections stay"
guest_spawn A 'pipestream hold 10.0.0.2 7000 100 >/run/hold' >/dev/null
wait_until 20 "a connection stays in the pipe" says "10.0.0.2:7000 client pipe ok" pipe_file A connections
ctl pipe detach B
wait_until 30 "the connection is with TCP" says "10.0.0.2:7000 client tcp " pipe_file A connections
wait_until 30 "B has no device" '! has_device B'
guest_run A '! grep ended /run/hold'
no_kernel_complains A B
