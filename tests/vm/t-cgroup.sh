#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Reclaim=cgroup on a host with cgroups of version 2, which is a guest itself: cold memory of its guest goes to swap, hot stays
# timeout: 1500
# suite: all
. "$(dirname "$0")/lib.sh"
need_daemon

# Everything from here on happens on the inner host: its libvirtd, memlegod and QEMU.
inner() { guest_run -t "${LIMIT:-60}" host "$MLG_NESTED run $(printf %q "$*")"; }
MLG_NESTED=/lower$MLG_VM_DIR/nested/host
CG=/sys/fs/cgroup/machine/qemu-1-in.libvirt-qemu
cg() { inner "cat $CG/$1"; }                                                      # FILE
mib() { echo $(($(cg "$1") / 1048576)); }                                          # FILE: in MiB
at_least() { [ "$(mib "$1")" -ge "$2" ]; }                                         # FILE MIB
stalls() { cg memory.pressure | sed -n 's/^some .*total=//p'; }                    # microseconds
refaults() { cg memory.stat | awk '/^workingset_refault_/ { n += $2 } END { print 4 * n }'; } # KiB
inner_ctl() { inner "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket $(program memlegoctl) $*"; }
of() { inner_ctl status --json | jq -r ".guests[] | select(.name == \"in\") | .$1"; } # KEY
reason_is() { [ "$(of reason)" = "$1" ]; }
inner_daemon() { # [WRAP...]
        inner "STATE_DIRECTORY=/var/lib/memlego DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket \
                setsid $* $(program memlegod) --foreground --config /run/memlegod.conf \
                --connect qemu:///system >>/run/memlegod.log 2>&1 </dev/null & echo \$! >/run/memlegod.pid"
        LIMIT=20 wait_until 60 "the inner memlegod answers" says in inner_ctl status
}
inner_daemon_end() { # SIGNAL
        inner "kill -$1 \$(cat /run/memlegod.pid)"
        wait_until 20 "the inner memlegod is gone" "inner '! kill -0 \$(cat /run/memlegod.pid) 2>/dev/null'"
}
wrote() { inner "cat /run/in.serial" | tr -d '\0'; }
show_inner() {
        { inner "tail -n 30 /run/memlegod.log; cat $CG/memory.current $CG/memory.swap.current $CG/memory.pressure"
          inner_ctl show in; } 2>&1 | sed 's/^/        | /'
}
trap 'fail "line $LINENO: $BASH_COMMAND; $(show_inner)"' ERR

step "a host of 1 GiB with 512 MiB of swap, in which the machine's programs run"
gcc -m32 -march=i486 -mgeneral-regs-only -std=gnu17 -Os -Wall -Wextra -Werror -ffreestanding -fno-pic -fno-stack-protector \
        -nostdlib -static -Wl,-m,elf_i386,--build-id=none,--no-warn-rwx-segments,-T,"$MLG_VM_DIR/nested/touch.ld" \
        -o "$T/touch.elf" "$MLG_VM_DIR/nested/touch.c" || skip "this compiler makes no 32-bit programs"
guest_start host --extra --mib 1024 --vcpus 2 --swap 512 --devices "<filesystem type='mount' accessmode='passthrough' multidevs='remap'>
        <source dir='/'/><target dir='hostroot'/><readonly/></filesystem>"
# the script is on that root, so this much is said here
guest_run host "modprobe 9pnet_virtio && modprobe 9p && mkdir -p /lower &&
        mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 hostroot /lower"
guest_run -t 60 host "$MLG_NESTED up"
LIMIT=120 wait_until 240 "the inner libvirtd answers" inner virsh -q -c qemu:///system uri
pass "$(inner 'uname -r; cat /sys/fs/cgroup/cgroup.controllers' | tr '\n' ' ')"

step "a guest of 192 MiB without balloon: 160 MiB written once, 64 MiB of them in use"
LIMIT=120 inner "cat >/run/in.xml <<-'END'
	<domain type='qemu'><name>in</name><memory unit='MiB'>192</memory><vcpu>1</vcpu>
	<os><type arch='x86_64' machine='pc'>hvm</type><kernel>$T/touch.elf</kernel></os>
	<features><acpi/></features>
	<devices><emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='usb' model='none'/><memballoon model='none'/>
	<video><model type='none'/></video>
	<serial type='unix'><source mode='bind' path='/run/in.sock'/><log file='/run/in.serial' append='off'/></serial>
	</devices></domain>
	END
	virsh -q -c qemu:///system create /run/in.xml"
wait_until 120 "all is written" '[[ $(wrote) == *F* ]]'
before=$(mib memory.current)
pass "its cgroup has $before MiB; QEMU is process $(inner 'cat /run/libvirt/qemu/in.pid; cut -d: -f3 /proc/$(cat /run/libvirt/qemu/in.pid)/cgroup' | tr '\n' ' ')"

step "off by default"
inner "printf '[Daemon]\nLogLevel=debug\n' >/run/memlegod.conf; mkdir -p /run/policy.d; printf '[Guest *]\nFloor=32M\n' >/run/policy.d/a.policy"
inner_daemon
wait_until 20 "left alone without a balloon" reason_is no-balloon
expect_eq none "$(of actuator)" "its actuator"
inner_daemon_end TERM
pass "no-balloon"

step "without the right to do so: said, and nothing taken"
inner "printf '[Guest *]\nFloor=32M\nReclaim=cgroup\n' >/run/policy.d/a.policy"
inner "chmod 777 /var/lib/memlego /run/dbus /run/libvirt; chmod a+rw /run/libvirt/libvirt-sock"
inner_daemon setpriv --reuid=nobody --clear-groups --bounding-set=-all
wait_until 30 "it may not" reason_is no-permission
expect_match 'memory.reclaim of its cgroup may not be written: Permission denied' "$(inner 'cat /run/memlegod.log')" "the log"
expect_eq null "$(of reclaim_asked_kib)" "asked so far"
inner_daemon_end TERM
inner "rm -rf /var/lib/memlego/*"
pass "no-permission"

step "as an ordinary user with CAP_DAC_OVERRIDE: what is cold goes to swap"
inner_daemon setpriv --reuid=nobody --clear-groups --inh-caps=-all,+dac_override --ambient-caps=-all,+dac_override \
        --bounding-set=-all,+dac_override
wait_until 30 "the host may take of it" reason_is reclaim
expect_eq "alone cgroup" "$(of state) $(of actuator)" "state and actuator"
stalls_before=$(stalls) refaults_before=$(refaults) begin=$EPOCHREALTIME
wait_until 900 "a probe found something that the guest missed" "[ \$(of reclaim_paused_until_usec) -gt 0 ]"
seconds=$((${EPOCHREALTIME%.*} - ${begin%.*}))
stalled=$(($(stalls) - stalls_before)) back=$(($(refaults) - refaults_before))
say "in $seconds s: $(mib memory.current) of $before MiB left, $(mib memory.swap.current) MiB in swap;" \
        "stalls $((stalled / seconds)) ppm of the time, read back $((back / seconds)) KiB/s"
expect_between 0 1000 $((stalled / seconds)) "stalls in ppm of the time"
expect_between 0 64 $((back / seconds)) "KiB/s read back"
at_least memory.swap.current 60 || fail "only $(mib memory.swap.current) MiB are in swap"
at_least memory.current 64 || fail "less than its hot part is in memory: $(mib memory.current) MiB"
inner_ctl show in | sed 's/^/        | /'
expect_match 'Actuator +cgroup' "$(inner_ctl show in)" "memlegoctl show"
stays_true 20 "it is left in peace" at_least memory.current 64
[[ $(wrote) != *X* ]] || fail "the guest found a damaged page"
pass "cold memory is taken, hot memory stays"

step "memlegod is killed: nothing holds the guest"
inner_daemon_end KILL
expect_eq "max max" "$(cg memory.high) $(cg memory.max)" "limits of the guest's cgroup"
swapped=$(mib memory.swap.current)
pass "no limit is left behind"

step "its hot part grows by 64 MiB while nobody looks: it comes back"
inner "printf g | socat -T1 - UNIX-CONNECT:/run/in.sock >/dev/null"
wait_until 120 "the guest has touched it" '[[ $(wrote) == *G* ]]'
wait_until 10 "it is in memory" at_least memory.current 128
[[ $(wrote) != *X* ]] || fail "the guest found a damaged page"
pass "$(mib memory.current) MiB in memory, $(mib memory.swap.current) of $swapped MiB in swap"

step "memlegod comes back: what is hot now stays, and all is as it was written"
inner_daemon
wait_until 30 "the host may take of it" reason_is reclaim
wait_until 60 "it has been asked for something" "[ \$(of reclaim_asked_kib) -gt 0 ]"
stays_true 20 "its hot part stays" at_least memory.current 128
inner "printf v | socat -T1 - UNIX-CONNECT:/run/in.sock >/dev/null"
wait_until 120 "the guest has gone through all of its memory" '[[ $(wrote) == *V* ]]'
[[ $(wrote) != *X* ]] || fail "the guest found a damaged page"
inner_daemon_end TERM
pass "all 160 MiB are as they were written"
