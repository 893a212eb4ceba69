# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# For guest tests and benches of MemPipe, sourced after lib.sh: two guests with a network and a shared memory between them.
# The server of the memory is tests/pipe-server, the same code that serves it in memlegod.
PIPE_SOCKET=/run/mempipe.sock

# network_guest_start GUEST NUMBER [OPTIONS OF guest_start]. Always the same hardware address, so that others need not forget the
# last one; two possible CPUs, because QEMU emulates a guest of one without atomic operations and barriers.
network_guest_start() {
        guest_start "$1" --extra --max-vcpus 2 "${@:3}" --devices "${PIPE_MORE_DEVICES:-}
                <interface type='bridge'><source bridge='br-mlg'/><mac address='52:54:00:4d:4c:0$2'/><model type='virtio'/></interface>"
}

# The same with the shared memory from the start.
pipe_guest_start() {
        PIPE_MORE_DEVICES="${PIPE_MORE_DEVICES:-}<shmem name='mempipe'><model type='ivshmem-doorbell'/><server path='$PIPE_SOCKET'/>
                <msi vectors='1' ioeventfd='on'/></shmem>" network_guest_start "$@"
}

network_start() {
        ip link show br-mlg >/dev/null 2>&1 || ip link add br-mlg type bridge
        ip link set br-mlg up
}

pipe_server_start() { # REGION_MIB QUOTA_MIB
        "$(program tests/pipe-server)" "$PIPE_SOCKET" "$1" "$2" >"$T/server.log" 2>&1 &
        PIPE_SERVER=$!
        wait_until 10 "the server of the shared memory listens" "[ -S $PIPE_SOCKET ]"
}

network_up() { # GUEST NUMBER: 10.0.0.NUMBER and fd00::NUMBER
        guest_run "$1" "modprobe virtio_net; echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
                ip addr add 10.0.0.$2/24 dev eth0; ip addr add fd00::$2/64 dev eth0; ip link set eth0 up"
}

# two_guests HOW [OPTIONS OF A [OPTIONS OF B]]: A and B, with a network; HOW: network_guest_start or pipe_guest_start
two_guests() {
        network_start
        # shellcheck disable=SC2086
        "$1" A 1 --no-wait ${2:-}
        # shellcheck disable=SC2086
        "$1" B 2 --no-wait ${3:-}
        guest_wait A B
        network_up A 1
        network_up B 2
}
# Those of most tests, which need no memlegod: with 256 MiB of shared memory, of which 128 are the quota
two_pipe_guests() { # [OPTIONS OF A [OPTIONS OF B]]
        pipe_server_start 256 128
        two_guests pipe_guest_start "$@"
}

# memlegod, which only watches its guests; A and B are a group.
group_daemon_start() { # QUOTA [MORE OF THE POLICY]
        daemon_start "[Daemon]
LogLevel=debug
[Host]
GuestMemory=2G" "[Guest *]
Mode=observe
[Pipe web]
Guests=A B
Quota=$1
${2:-}"
}

pipe_file() { guest_run "$1" "cat /sys/kernel/debug/mempipe/$2"; } # GUEST FILE
pipe_counter() { pipe_file "$1" counters | sed -n "s/^$2 //p"; }   # GUEST KEY
pipe_set() { # KEY VALUE GUEST...: a parameter of the module
        local g key=$1 value=$2
        shift 2
        for g in "$@"; do guest_run "$g" "echo $value >/sys/module/mempipe/parameters/$key"; done
}
pipe_load() { # GUEST...: the module, in all of them, until they know each other
        local g
        for g in "$@"; do guest_run "$g" 'modprobe mempipe'; done
        for g in "$@"; do wait_until 30 "$g knows others" knows_others "$g"; done
}
ktls_load() { # GUEST...: nobody loads these by itself here; 6.12 has ctr built in
        local g
        for g in "$@"; do guest_run "$g" 'modprobe -a tls gcm ghash-generic; modprobe ctr || true'; done
}
module_gone() { guest_run "$1" 'rmmod mempipe 2>/dev/null; [ ! -d /sys/module/mempipe ]'; } # GUEST: it can be unloaded, and is
knows_others() { says 'epoch=[1-9].* others=[1-9]' pipe_file "$1" devices; } # GUEST
serves() { guest_run "$1" "netstat -ltn | grep -q :$2"; }                     # GUEST PORT

serve_in() { # GUEST PORT PROGRAM...
        guest_spawn "$1" "exec ${*:3}" >/dev/null
        wait_until 10 "${*:3} listens in $1" serves "$1" "$2"
}

# ---- datagrams

serves_udp() { guest_run "$1" "netstat -lun | grep -q :$2"; } # GUEST PORT
serve_udp() { # GUEST PORT
        guest_spawn "$1" "exec udpgram serve $2" >/dev/null
        wait_until 10 "udpgram listens in $1" serves_udp "$1" "$2"
}
by_ring() { pipe_counter "$1" udp-tx-datagrams; } # GUEST

# Each byte right and in order, and as many of A's datagrams by the ring as is said
grams() { # WHAT LEAST MOST ARGUMENTS-OF-UDPGRAM-RUN...
        local what=$1 least=$2 most=$3 before said
        shift 3
        before=$(by_ring A)
        said=$(guest_run -t 60 A "udpgram run $*") || true
        # one that is on the network longer than the ring waits for it, on a busy machine, comes late
        expect_match ' lost=0 wrong=0 disorder=[0-2] elsewhere=0' "$said" "$what"
        expect_between "$least" "$most" $(($(by_ring A) - before)) "datagrams of A by the ring: $what"
        pass "$what: $said, $(($(by_ring A) - before)) of A's by the ring"
}

# ---- memlegod

member() { # GUEST KEY: what memlegod says of it, or "none"
        ctl pipe show --json | jq -r "[.pipes[].members[] | select(.guest == \"$1\") | .$2] | .[0] // \"none\""
}
