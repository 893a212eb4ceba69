# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A container that runs systemd as its first process on the machine's own root file system; sourced by run.
#
#     container_make            a directory for it (CT)
#     container_boot COMMAND    makes the overlay, runs COMMAND on it (its directory is $1), boots it, waits until
#                               it is up
#     container_enter CMD...    runs a command in it (container_exec: becomes it)
#     container_end             ends it and everything that runs in it, removes what is left
#     container_sweep           the same for those whose makers were killed
#
# Invariants:
# - Nothing of the machine is changed: all writes go to a tmpfs; network, processes, /dev and /run are the
#   container's own, and so are the cgroups it may write to; guests and networks that the machine's libvirt
#   defines are not there.
# - All of it is in a process namespace whose first process (nspawn) dies with who called container_boot, also by
#   kill -9; the kernel then ends the others, and the mount namespace with them. What may be left is a directory
#   and empty cgroups: a directory whose lock can be taken has no living container, and is swept.
CT_PARENT=${MEMLEGO_STATE:-/tmp}

ct_say() { echo "container: $*" >&2; }

# Directories of our cgroups, in each hierarchy.
ct_cgroups() { # NAME
        local d
        for d in /sys/fs/cgroup /sys/fs/cgroup/*; do
                [ -e "$d/cgroup.procs" ] && [ -d "$d/$1" ] && echo "$d/$1"
        done
}

ct_remove() { # DIRECTORY
        local d i name
        name=$(basename "$1")
        for d in $(ct_cgroups "$name"); do
                # the kernel lets go of a cgroup a moment after its last process ended
                for ((i = 0; i < 100; i++)); do
                        find "$d" -depth -type d -exec rmdir {} + 2>/dev/null
                        [ -d "$d" ] || break
                        sleep 0.05
                done
                [ ! -d "$d" ] || ct_say "cannot remove $d"
        done
        rm -rf --one-file-system "$1"
}

ct_sweep_locked() {
        local d
        for d in "$CT_PARENT"/mlg-systemd-??????; do
                [ -d "$d" ] && [ -O "$d" ] || continue
                if [ ! -e "$d/lock" ] || flock -n "$d/lock" true; then
                        ct_say "removing $d, left by a run that was killed"
                        ct_remove "$d"
                fi
        done
}

# One lock keeps sweeps away from containers that are being made.
ct_guarded() {
        local r=0
        exec {CT_GUARD}>/run/memlego-testbed.lock
        flock "$CT_GUARD"
        "$@" || r=$?
        exec {CT_GUARD}>&-
        return $r
}

container_sweep() { ct_guarded ct_sweep_locked; }

ct_make_locked() {
        ct_sweep_locked
        CT=$(mktemp -d "$CT_PARENT/mlg-systemd-XXXXXX") || return
        exec {CT_LOCK}>"$CT/lock"
        flock "$CT_LOCK"
        mkdir "$CT/tmpfs" "$CT/root"
}

container_make() { ct_guarded ct_make_locked; }

# What a machine may have that a container for tests must not start, by which target pulls it in.
ct_clean_root() { # ROOT
        rm -f "$1"/usr/sbin/policy-rc.d "$1"/etc/fstab "$1"/etc/crypttab "$1"/etc/resolv.conf
        rm -rf "$1"/etc/systemd/system/{timers,sockets,sysinit,basic,local-fs,remote-fs}.target.wants
        rm -rf "$1"/etc/libvirt/qemu "$1"/var/lib/libvirt "$1"/var/log/journal "$1"/etc/systemd/network
        rm -rf "$1"/etc/memlego "$1"/var/lib/memlego
        mkdir -p "$1"/etc/libvirt/qemu/networks
        : >"$1"/etc/machine-id
        # old control groups cannot be written in there; nothing here is about them
        echo 'cgroup_controllers = [ ]' >>"$1"/etc/libvirt/qemu.conf
        cat >"$1"/etc/systemd/system/memlego-test.target <<-'END'
	[Unit]
	Description=What the tests need
	Requires=basic.target
	After=basic.target dbus.service dbus.socket
	Wants=dbus.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket virtlogd.socket
	AllowIsolate=yes
	END
}

# In a mount namespace of its own; becomes nspawn.
ct_boot_inside() { # CT COMMAND
        mount -t tmpfs -o size=2G,mode=755 mlg-systemd "$1/tmpfs" || exit 1
        mkdir "$1/tmpfs/upper" "$1/tmpfs/work"
        mount -t overlay mlg-systemd "$1/root" \
                -o "lowerdir=/,upperdir=$1/tmpfs/upper,workdir=$1/tmpfs/work" || exit 1
        ct_clean_root "$1/root"
        "$2" "$1/root" || exit 1
        # --keep-unit: it takes the cgroup that we put it in
        exec systemd-nspawn --quiet --register=no --keep-unit --private-network --directory="$1/root" \
                --machine="$(basename "$1")" --capability=all --system-call-filter='@raw-io @module' \
                --resolv-conf=off --timezone=off --link-journal=no --console=pipe --boot \
                systemd.unit=memlego-test.target systemd.firstboot=no
}

# ct_in_cgroup NAME CMD...: becomes CMD, in a cgroup of its own. Where systemd manages them, it makes it.
ct_in_cgroup() {
        local d name=$1
        shift
        if [ -d /run/systemd/system ]; then
                exec systemd-run --quiet --scope --unit="$name" --property=Delegate=yes -- "$@"
        fi
        for d in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
                [ -w "$d/cgroup.procs" ] || continue
                mkdir -p "$d/$name" && echo $BASHPID >"$d/$name/cgroup.procs"
        done
        exec "$@"
}

# The first process inside: the one below nspawn that is number 1 in a process namespace below nspawn's.
ct_init() {
        local p nspawn
        nspawn=$(pgrep -P "$CT_PID") || return
        for p in $(pgrep -P "$nspawn"); do
                case $(sed -n 's/^NSpid:\t//p' "/proc/$p/status" 2>/dev/null) in
                *$'\t'*$'\t1') echo "$p" && return ;;
                esac
        done
        return 1
}

container_enter() { (container_exec "$@"); }

# Instead of the calling shell; for use in the background, where a shell in between would report how CMD
# ended.
container_exec() {
        exec nsenter --target "$CT_INIT" --all -- \
                env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
}

container_boot() { # COMMAND
        local i state=""
        # shellcheck disable=SC2163 # the name of a function
        export -f ct_boot_inside ct_clean_root ct_in_cgroup "$1"
        # In a session of its own, so that ctrl-C reaches the caller only, who then ends it in order.
        # shellcheck disable=SC2016 # for the inner shells
        setpriv --pdeathsig KILL setsid bash -c 'ct_in_cgroup "$(basename "$1")" \
                unshare --mount --pid --fork --kill-child=KILL --mount-proc --propagation slave \
                        bash -c "ct_boot_inside \"\$@\"" boot "$@"' \
                boot "$CT" "$1" </dev/null >"$CT/console" 2>&1 {CT_LOCK}>&- &
        CT_PID=$!
        for ((i = 0; i < 1200; i++)); do
                if ! kill -0 "$CT_PID" 2>/dev/null; then break; fi
                if CT_INIT=$(ct_init); then
                        state=$(container_enter systemctl is-system-running 2>/dev/null)
                        case $state in running | degraded) return 0 ;; esac
                fi
                sleep 0.05
        done
        ct_say "it did not come up (${state:-no answer}):"
        tail -n 40 "$CT/console" | sed 's/^/    /' >&2
        return 1
}

container_end() {
        [ -n "${CT:-}" ] && [ -d "$CT" ] || return 0
        if [ -n "${CT_PID:-}" ]; then
                kill -KILL "$CT_PID" 2>/dev/null
                wait "$CT_PID" 2>/dev/null
        fi
        exec {CT_LOCK}>&-
        ct_remove "$CT"
        CT=""
}
