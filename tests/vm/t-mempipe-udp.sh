#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Datagrams between two guests go through shared memory, byte for byte and in order, and firewalls are respected
# kernels: 6.12
# suite: all
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"

step "two guests, of kernels 6.1 and 6.12, with a network and a shared memory"
two_pipe_guests "" "--kernel 6.12"
serve_udp B 7000
wait_until 20 "A reaches B" guest_run A 'ping -c1 -W1 10.0.0.2 && ping -c1 -W1 fd00::2'

wall() { guest_run "$1" "echo $3 >/sys/module/wall/parameters/$2"; } # GUEST in|out PORT
last_of_hold() { guest_run A 'tail -n1 /run/hold'; }
answers() { last_of_hold | sed -n 's/^answers=\([0-9]*\).*/\1/p'; }
# Of a flow with a datagram each 10 ms: whether answers come, over half a second.
is_answered() {
        local n
        n=$(answers)
        sleep 0.5
        [ "$(answers)" -gt "$n" ]
}
is_silent() { ! is_answered; }
holds_no_chunks() { pipe_file "$1" devices | grep -E 'held=([0-9]+) free=\1 '; } # GUEST
held_by_ring() { says '10.0.0.2:7000 to .* ring ok' pipe_file A flows; }

id_of() { pipe_file "$1" devices | sed -n 's/.* peer=\([0-9]*\) .*/\1/p'; } # GUEST
# Random words in the ring of datagrams from one peer to another: what the contract has at "datagrams" of their pair.
scribble() { # FROM TO FIRST-WORD COUNT
        local fd
        for fd in /proc/$PIPE_SERVER/fd/*; do
                [ "$(stat -Lc %s "$fd")" = $((256 << 20)) ] || continue
                dd if=/dev/urandom of="$fd" bs=4 count="$4" seek=$(((0x400000 + ($1 * 32 + $2) * 4096 + 512) / 4 + $3)) conv=notrunc status=none
                return
        done
        fail "the server's memory is not among its files"
}
# Until it is seen: what is right is written over it, soon or late, and not each word is read each time.
found() { # BROKEN-RINGS-OF-B SCRIBBLE-ARGUMENTS...
        local i
        [ "$(pipe_counter B udp-broken-rings)" -lt "$1" ] || return 0
        for ((i = 0; i < 50; i++)); do scribble "${@:2}"; done
        return 1
}
is_not_held() { ! held_by_ring; }

step "the module on one side only"
guest_run A 'modprobe mempipe'
wait_until 20 "the host has answered A's module" says 'epoch=[1-9]' pipe_file A devices
grams "no module on the other side" 0 0 10.0.0.2 7000 200 1 connected

step "on both sides"
pipe_load A B
grams "IPv4, connected" 1500 2100 10.0.0.2 7000 2000 2 connected
grams "IPv4, not connected, some at a time" 1500 2100 10.0.0.2 7000 2000 3 batches
grams "IPv6, connected, some at a time" 1500 2100 fd00::2 7000 2000 4 connected batches
grams "IPv6, not connected" 1500 2100 fd00::2 7000 2000 5

step "a firewall's rule in the middle of a flow"
for g in A B; do guest_run $g 'modprobe wall'; done
guest_spawn A 'exec udpgram hold 10.0.0.2 7000 >/run/hold' >/dev/null
wait_until 20 "the flow goes by the ring" held_by_ring
wall B in 7000
wait_until 10 "a rule of the receiver takes effect" is_silent
pass "$(last_of_hold)"
wall B in 0
wait_until 10 "without it answers come again" is_answered
wait_until 30 "and by the ring" held_by_ring
wall A out 7000
wait_until 10 "a rule of the sender takes effect" is_silent
expect_match 'error=EPERM' "$(last_of_hold)" "what the sender is told"
wall A out 0
wait_until 10 "without it answers come again" is_answered
wait_until 30 "and by the ring" held_by_ring

step "the device goes in the middle of a flow, and comes back"
n=$(answers)
guest_run B 'echo 1 >"/sys/bus/pci/drivers/mempipe/$(basename /sys/bus/pci/drivers/mempipe/0000*)/remove"'
wait_until 10 "A sees that B's module has gone" says 'others=0' pipe_file A devices
wait_until 5 "answers come by the network" is_answered
expect_match '^$' "$(pipe_file A flows | grep ' to .* ring ok' || true)" "flows of A by the ring"
guest_run B 'echo 1 >/sys/bus/pci/rescan'
wait_until 20 "B is back" knows_others A
wait_until 20 "the flow goes by the ring again" held_by_ring
pass "$(last_of_hold)"

step "what is not used is given back"
guest_run A 'killall udpgram'
for g in A B; do wait_until 20 "no ring of $g holds chunks" holds_no_chunks $g; done
for g in A B; do
        pipe_file $g counters | grep -E '^udp-|bad' | grep -v ' 0$' | tr '\n' ' ' | sed "s/^/    $g: /"; echo
        expect_eq "0 0" "$(pipe_counter $g udp-broken-rings) $(pipe_counter $g bad-messages)" "nonsense in rings of $g"
done

step "nonsense in the rings costs only the rings"
guest_spawn A 'exec udpgram hold 10.0.0.2 7000 >/run/hold' >/dev/null
wait_until 20 "the flow goes by the ring" held_by_ring
n=$(id_of A) m=$(id_of B)
wait_until 60 "B has found nonsense about where the chunks are" found 1 "$n" "$m" 32 64
wait_until 5 "answers come by the network" is_answered
expect_match '^[01]$' "$(pipe_counter A udp-broken-rings)" "rings that A gave up"
pass "$(last_of_hold)"
guest_run A 'killall udpgram'
guest_run B 'killall udpgram'
no_kernel_complains A B
for g in A B; do wait_until 20 "the module of $g can be unloaded" module_gone $g; done

step "the peer's machine is destroyed"
serve_udp B 7000
pipe_load A B
guest_spawn A 'exec udpgram hold 10.0.0.2 7000 >/run/hold' >/dev/null
wait_until 20 "the flow goes by the ring" held_by_ring
guest_destroy B
wait_until 30 "A sees that B is gone" says 'others=0' pipe_file A devices
wait_until 10 "no flow goes by the ring" is_not_held
no_kernel_complains A
