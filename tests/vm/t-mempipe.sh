#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# TCP between two guests goes through shared memory, byte for byte, back to the network at any time, and nobody notices
# kernels: 6.12
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"
MIB=1048576

stream() { guest_run -t 100 A "pipestream run $*"; }

# By the pipe: at least so many MiB of A's, or fewer: 0
sent_by_pipe() { # WHAT LEAST_MIB MOST_MIB STREAM-ARGUMENTS...
        local what=$1 least=$2 most=$3 before after said
        shift 3
        before=$(pipe_counter A tx-pipe-bytes)
        said=$(stream "$@")
        after=$(pipe_counter A tx-pipe-bytes)
        expect_match '^ok ' "$said" "$what"
        expect_between $((least * MIB)) $((most * MIB)) $((after - before)) "bytes of A by the pipe: $what"
        pass "$what: $said, $(((after - before) / MIB)) MiB of A's by the pipe"
}

step "two guests, of kernels 6.1 and 6.12, with a network and a shared memory"
two_pipe_guests "" "--kernel 6.12"
serve_in B 7000 pipestream serve 7000
wait_until 20 "A reaches B" guest_run A 'ping -c1 -W1 10.0.0.2 && ping -c1 -W1 fd00::2'

step "the module on one side only"
guest_run A 'modprobe mempipe'
wait_until 20 "the host has answered A's module" says 'epoch=[1-9]' pipe_file A devices
sent_by_pipe "no module on the other side" 0 0 10.0.0.2 7000 5 1 poll

step "on both sides"
pipe_load A B
# the first bytes may go by TCP, until the two have met
sent_by_pipe "IPv4, poll" 30 41 10.0.0.2 7000 40 2 poll
sent_by_pipe "IPv6, blocking, two processes" 30 41 fd00::2 7000 40 3 fork
expect_eq "0 0" "$(pipe_counter A resets) $(pipe_counter B bad-messages)" "resets, bad messages"

step "datagrams"
serve_udp B 7002
grams "UDP, IPv4, connected" 300 700 10.0.0.2 7002 600 1 connected
grams "UDP, IPv6, not connected, some at a time" 300 700 fd00::2 7002 600 2 batches
guest_run B 'killall udpgram' # it would keep the module

step "switches between the pipe and TCP"
pipe_set flip_bytes 100000 A B
n=$(pipe_counter A switches)
sent_by_pipe "switched, poll" 1 19 10.0.0.2 7000 20 4 poll
sent_by_pipe "switched, blocking" 1 19 10.0.0.2 7000 20 5 fork
pipe_set flip_bytes 0 A B
n=$(($(pipe_counter A switches) - n))
[ "$n" -ge 50 ] || fail "only $n switches of A"
pass "$n switches of A, every byte right"

step "what is shown"
guest_spawn A 'pipestream hold 10.0.0.2 7000 4 >/run/hold' >/dev/null
wait_until 10 "the connection is shown as a pipe" says '10.0.0.2:7000 client pipe ok .*tx=[1-9]' pipe_file A connections
pipe_file A connections | sed 's/^/    /'
expect_match ':7000 .* server pipe ok' "$(pipe_file B connections)" "B's side of it"
expect_fails "rmmod while sockets are ours" guest_run B 'rmmod mempipe'

step "the host falls silent: what runs goes on by TCP, and new connections have pipes again when it is back"
kill -STOP $PIPE_SERVER
wait_until 30 "A's connection has left the pipe" says '10.0.0.2:7000 client tcp peer-leaves' pipe_file A connections
wait_until 30 "B's side as well" says ':7000 .* server tcp peer-leaves' pipe_file B connections
n=$(pipe_counter A tx-tcp-bytes)
wait_until 10 "bytes go by TCP" "[ \$(pipe_counter A tx-tcp-bytes) -gt $((n + 3)) ]"
guest_run A '! grep ended /run/hold'
kill -CONT $PIPE_SERVER
wait_until 20 "the host is back" guest_run A 'dmesg | grep -q "the host is back"'
wait_until 20 "also to B" guest_run B 'dmesg | grep -q "the host is back"'
sent_by_pipe "the host is back" 8 21 10.0.0.2 7000 20 8 poll

step "the pipe against the network, in the same guests"
serve_in B 7001 netload serve 7001
for load in "stream 10.0.0.2 7001 65536 2" "stream 10.0.0.2 7001 64 2" "rr 10.0.0.2 7001 1 2"; do
        for way in 1 0; do
                pipe_set enabled $way A B
                say "   $(cut -d' ' -f1,4 <<<"$load") by $([ $way = 1 ] && echo pipe || echo tcp): $(guest_run -t 30 A "netload $load")"
        done
done
pipe_set enabled 1 A B

step "the peer's machine is destroyed"
guest_spawn A 'pipestream hold 10.0.0.2 7000 4 >/run/hold-pipe' >/dev/null
wait_until 10 "there is one by the pipe, too" says '10.0.0.2:7000 client pipe ok .*tx=[1-9]' pipe_file A connections
guest_destroy B
wait_until 30 "A's connections end" guest_run A 'grep ended /run/hold && grep ended /run/hold-pipe'
pass "by TCP: $(guest_run A 'cat /run/hold'); by the pipe: $(guest_run A 'cat /run/hold-pipe')"
wait_until 10 "A sees that B is gone" says 'others=0 pipes=0' pipe_file A devices

step "it comes back, and the modules are unloaded and loaded again"
pipe_guest_start B 2 --kernel 6.12
network_up B 2
pipe_load B A
server=$(guest_spawn B 'exec pipestream serve 7000')
wait_until 20 "A reaches B" guest_run A 'ping -c1 -W1 10.0.0.2'
sent_by_pipe "after a new start" 8 21 10.0.0.2 7000 20 6 poll
guest_run B "kill $server"
wait_until 20 "the module of A can be unloaded" module_gone A
wait_until 20 "the module of B can be unloaded" module_gone B
pipe_load A B
serve_in B 7000 pipestream serve 7000
sent_by_pipe "with modules loaded anew" 8 21 10.0.0.2 7000 20 7 fork
no_kernel_complains A B
