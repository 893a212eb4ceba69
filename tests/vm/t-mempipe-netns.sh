#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Connections of network namespaces go by the pipe as well, and a namespace that ends leaves nothing behind
# timeout: 200
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"
MIB=1048576

in_ns() { guest_run -t 60 A "nsenter -t \$(cat /run/ns.pid) -n $*"; }
by_pipe() { # GUEST BEFORE WHAT
        local n=$(($(pipe_counter "$1" tx-pipe-bytes) - $2))
        [ "$n" -gt $((4 * MIB)) ] || { pipe_file "$1" connections; pipe_file "$1" counters; fail "$3: $n bytes by the pipe"; }
        pass "$3: $((n / MIB)) MiB of 8 by the pipe"
}

step "two guests; A's network is in a namespace of its own"
network_start
pipe_server_start 256 128
pipe_guest_start A 1 --no-wait
pipe_guest_start B 2 --no-wait
guest_wait A B
network_up B 2
guest_spawn A 'exec unshare -n sh -c "echo \$\$ >/run/ns.pid; exec sleep 10000"' >/dev/null
wait_until 10 "the namespace is there" guest_run A '[ -s /run/ns.pid ]'
guest_run A 'modprobe mempipe; modprobe virtio_net; ip link set eth0 netns $(cat /run/ns.pid)'
in_ns 'ip addr add 10.0.0.1/24 dev eth0; nsenter -t $(cat /run/ns.pid) -n ip link set eth0 up'
guest_run B 'modprobe mempipe'
wait_until 30 "B knows A's address" knows_others B
wait_until 30 "A knows B" knows_others A
serve_in B 7000 pipestream serve 7000
wait_until 20 "A reaches B" in_ns 'ping -c1 -W1 10.0.0.2'

step "from the namespace, and into it"
n=$(pipe_counter A tx-pipe-bytes)
expect_match '^ok ' "$(in_ns 'pipestream run 10.0.0.2 7000 8 1 poll')" "a stream from the namespace"
by_pipe A "$n" "from the namespace"
guest_spawn A 'exec nsenter -t $(cat /run/ns.pid) -n pipestream serve 7001' >/dev/null
wait_until 10 "it listens" in_ns "netstat -ltn | grep -q :7001"
n=$(pipe_counter B tx-pipe-bytes)
expect_match '^ok ' "$(guest_run -t 60 B 'pipestream run 10.0.0.1 7001 8 2 fork')" "a stream into the namespace"
by_pipe B "$n" "into the namespace"

step "the namespace ends, with pipes open both ways"
guest_spawn A 'exec nsenter -t $(cat /run/ns.pid) -n pipestream hold 10.0.0.2 7000 100' >/dev/null
guest_spawn B 'pipestream hold 10.0.0.1 7001 5 >/run/hold' >/dev/null
wait_until 20 "one goes out by the pipe" says '10.0.0.2:7000 client pipe ok' pipe_file A connections
wait_until 20 "one comes in by the pipe" says ':7001 .* server pipe ok' pipe_file A connections
guest_run A 'killall -9 pipestream; kill -9 $(cat /run/ns.pid)'
wait_until 60 "the namespace has given back its network" guest_run A 'ip link show eth0'
wait_until 60 "A has no connection any more" "[ -z \"\$(pipe_file A connections)\" ]"
wait_until 60 "and no pipe" says 'pipes=0' pipe_file A devices
wait_until 60 "B's connection has ended" guest_run B 'grep ended /run/hold'
wait_until 30 "the module can be removed" guest_run A 'rmmod mempipe'
no_kernel_complains A B
pass "nothing is left"
