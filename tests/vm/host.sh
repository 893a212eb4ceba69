# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The private host of the test bed, seen from outside; sourced by run, host, shell and ./demo.
#
#     host_up [--detach]       brings it up, sets MLG_STATE (its directory) and MLG_INIT (its first process)
#     host_enter STATE CMD...  runs a command in it
#     host_down STATE          ends it and everything that runs in it, removes its directory
#     host_sweep               removes what runs that were killed left behind
#     host_list                state directories of hosts that are up
#
# It is a set of namespaces (mounts, processes, network) with its own /run, /etc/libvirt, /var/lib/libvirt and D-Bus
# system bus: a libvirtd, a bus or a QEMU of the machine itself is neither seen nor touched from in there, and
# `qemu:///system` and the system bus mean the private ones. Any number of hosts can be up at once.
#
# Invariants:
# - Every process of a host is in its process namespace and dies, by the kernel, with the first process of it. That
#   one dies with whoever called host_up (also by kill -9), unless it was detached.
# - A state directory whose lock can be taken has no living host, and only such a one is removed by a sweep.
MLG_VM_DIR=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
MLG_SRC=$(dirname "$(dirname "$MLG_VM_DIR")")
MLG_CACHE=${MEMLEGO_CACHE:-${XDG_CACHE_HOME:-/var/cache}/memlego-testbed}
MLG_STATE_PARENT=${MEMLEGO_STATE:-/tmp}
export MLG_VM_DIR MLG_SRC MLG_CACHE

host_say() { echo "host: $*" >&2; }

host_dirs() {
        find "$MLG_STATE_PARENT" -maxdepth 1 -type d -user root -name 'mlg-??????' 2>/dev/null
}

# Calls host_locked under the one lock that keeps sweeps away from hosts that are being made.
host_guarded() {
        local r=0
        exec {MLG_GUARD}>/run/memlego-testbed.lock
        flock "$MLG_GUARD"
        "$@" || r=$?
        exec {MLG_GUARD}>&-
        return $r
}

host_sweep_locked() {
        local d
        for d in $(host_dirs); do
                if [ ! -e "$d/lock" ] || ! flock -n "$d/lock" true; then continue; fi
                host_say "removing $d, left by a run that was killed"
                rm -rf "$d"
        done
}

host_sweep() { host_guarded host_sweep_locked; }

host_make_locked() {
        host_sweep_locked
        MLG_STATE=$(mktemp -d "$MLG_STATE_PARENT/mlg-XXXXXX")
        chmod 755 "$MLG_STATE"
        exec {MLG_LOCK}>"$MLG_STATE/lock"
        flock "$MLG_LOCK"
}

# The first process inside: the only child of the unshare that made the namespaces.
host_init_pid() { # STATE
        local outer
        outer=$(cat "$1/outer.pid" 2>/dev/null) && pgrep -o -P "$outer" -f host-init
}

host_up() {
        local detach="" log i
        [ "${1:-}" != --detach ] || detach=1
        [ "$(id -u)" = 0 ] || { host_say "must be root"; return 1; }
        host_guarded host_make_locked || return
        export MLG_STATE
        mkdir -p "$MLG_STATE/log" "$MLG_CACHE/libvirt"
        log=$MLG_STATE/log/host.log
        # In a session of its own, so that ctrl-C reaches the caller only, who then ends the host in order.
        local death=(setpriv --pdeathsig KILL)
        [ -z "$detach" ] || { death=(); touch "$MLG_STATE/detached"; }
        "${death[@]}" setsid unshare --mount --pid --net --fork --kill-child=KILL --mount-proc --propagation private -- \
                bash "$MLG_VM_DIR/host-init" "$MLG_STATE" </dev/null >"$log" 2>&1 {MLG_GUARD}>&- &
        MLG_OUTER=$!
        echo "$MLG_OUTER" >"$MLG_STATE/outer.pid"
        disown "$MLG_OUTER"
        exec {MLG_LOCK}>&- # from here on only the host holds it
        for ((i = 0; i < 1200; i++)); do
                [ ! -e "$MLG_STATE/ready" ] || break
                if ! kill -0 "$MLG_OUTER" 2>/dev/null; then
                        host_say "the private host did not come up:"
                        sed 's/^/    /' "$log" >&2
                        tail -n 20 "$MLG_STATE/log/libvirt/libvirtd.log" 2>/dev/null | sed 's/^/    /' >&2
                        rm -rf "$MLG_STATE"
                        return 1
                fi
                sleep 0.05
        done
        [ -e "$MLG_STATE/ready" ] || { host_say "no answer within a minute"; cat "$log" >&2; host_down "$MLG_STATE"; return 1; }
        MLG_INIT=$(host_init_pid "$MLG_STATE")
        export MLG_INIT
}

host_enter() { (host_exec "$@"); } # STATE CMD...

# Instead of the calling shell; for use in the background, where a shell in between would report how the command ended.
host_exec() { # STATE CMD...
        local init
        init=$(host_init_pid "$1")
        [ -n "$init" ] || { host_say "no host at $1"; exit 1; }
        export MLG_STATE=$1
        shift
        exec nsenter --target "$init" --mount --pid --net --root --wdns=/ -- "$@"
}

host_down() { # STATE
        local init i
        [ -n "${1:-}" ] && [ -d "$1" ] || return 0
        init=$(host_init_pid "$1") || true
        [ -z "$init" ] || kill -KILL "$init" 2>/dev/null || true
        # free: all of its processes are gone
        for ((i = 0; i < 200; i++)); do
                ! flock -n "$1/lock" true || break
                sleep 0.05
        done
        rm -rf "$1"
}

host_list() {
        local d
        for d in $(host_dirs); do
                [ ! -e "$d/ready" ] || flock -n "$d/lock" true || echo "$d"
        done
}
