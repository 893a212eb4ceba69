# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The language of guest tests; sourced by tests/vm/t-*.sh, which tests/vm/run starts inside a private host.
# README.md describes the verbs. Everything here waits on conditions, never for a fixed time.
#
# Files of a test, all below $T: guests/NAME (how it was started), NAME.console, etc/ (memlegod.conf, policy.d),
# state/ ($STATE_DIRECTORY), memlegod.log.
if [ -z "${MLG_STATE:-}" ] || [ -z "${MLG_TEST:-}" ]; then
        echo "guest tests run inside a private host: tests/vm/run -k $(basename "$0" .sh | sed 's/^t-//')" >&2
        exit 2
fi
# shellcheck source=tests/lib/common.sh
. "$MLG_VM_DIR/../lib/common.sh"
T=$MLG_STATE/t/$MLG_TEST
B=${MEMLEGO_BUILD:-}
URI=qemu:///system
VIRSH_TIMEOUT=${VIRSH_TIMEOUT:-20}
mkdir -p "$T/guests"

# ---------------------------------------------------------------- saying what happens

say() { printf '%8s  %s\n' "$(elapsed)" "$*"; }
step() { say "-- $*"; }
pass() { say "ok: $*"; }

fail() {
        say "FAILED: $*" >&2
        [[ $- == *i* ]] && return 1
        trap - ERR
        exit 1
}

skip() {
        say "skipped: $*"
        trap - ERR
        exit 77
}

expect_eq() { # WANT GOT WHAT
        [ "$1" = "$2" ] || fail "$3: expected '$1', got '$2'"
}

expect_match() { # REGEX TEXT WHAT
        [[ $2 =~ $1 ]] || fail "$3: expected something like '$1', got '$2'"
}

expect_between() { # LOW HIGH GOT WHAT
        { [ "$3" -ge "$1" ] && [ "$3" -le "$2" ]; } || fail "$4: expected $1..$2, got $3"
}

expect_fails() { # WHAT CMD...
        local what=$1
        shift
        if "$@" >/dev/null 2>&1; then fail "$what: succeeded, should have failed"; fi
}

# Polls until CMD succeeds. One argument with blanks is evaluated, several are run as they are.
wait_until() { # SECONDS WHY CMD...
        local limit=$1 why=$2 begin out="" status=0
        shift 2
        begin=$EPOCHREALTIME
        while :; do
                status=0
                if [ $# -eq 1 ]; then out=$(eval "$1" 2>&1) || status=$?; else out=$("$@" 2>&1) || status=$?; fi
                [ $status -ne 0 ] || return 0
                ! later_than "$begin" "$limit" || break
                sleep 0.1
        done
        fail "waited $limit s until $why; condition: $*; last: status $status${out:+, \"${out:0:500}\"}"
}

# The opposite: CMD must hold all the time.
stays_true() { # SECONDS WHAT CMD...
        local limit=$1 what=$2 begin out=""
        shift 2
        begin=$EPOCHREALTIME
        while ! later_than "$begin" "$limit"; do
                if [ $# -eq 1 ]; then
                        out=$(eval "$1" 2>&1) || fail "$what: no longer true: $*${out:+, \"$out\"}"
                else
                        out=$("$@" 2>&1) || fail "$what: no longer true: $*${out:+, \"$out\"}"
                fi
                sleep 0.2
        done
}

# ---------------------------------------------------------------- guests

vsh() { timeout -k 1 "$VIRSH_TIMEOUT" virsh -q -c "$URI" "$@"; }

# Words into `grep -q` come from variables here, never from a pipe: grep leaves at its first hit, who writes into the torn
# pipe fails, and with pipefail that turns a hit into a miss.
says() { local text; text=$("${@:2}") && grep -q -- "$1" <<<"$text"; }               # REGEX CMD...
guest_gone() { local names; names=$(vsh list --name) && ! grep -qx -- "$1" <<<"$names"; } # NAME: libvirt answers, and does not run it

MONITOR_XML="<channel type='unix'><source mode='bind'/><target type='virtio' name='org.memlego.monitor.0'/></channel>"

virtio_mem_xml() { # SIZE_MIB REQUESTED_MIB
        echo "<memory model='virtio-mem'><target><size unit='MiB'>$1</size><node>0</node>" \
                "<block unit='MiB'>2</block><requested unit='MiB'>$2</requested></target></memory>"
}

guest_xml() { # NAME; reads the variables of guest_start
        local counted_xml="" balloon metadata="" agent_xml="" monitor_xml="" max_memory="" numa="" memory_device="" root=pci-root
        [ "$machine" = pc ] || root=pcie-root
        if [ -n "$no_balloon" ]; then
                balloon="<memballoon model='none'/>"
        else
                balloon="<memballoon model='virtio' autodeflate='$autodeflate' freePageReporting='$fpr'>"
                [ "$period" = 0 ] || balloon+="<stats period='$period'/>"
                balloon+="</memballoon>"
        fi
        [ -n "$no_agent" ] || agent_xml="<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        [ -z "$monitor" ] || monitor_xml=$MONITOR_XML
        if [ -n "$virtio_mem" ]; then # such devices hang below a NUMA cell
                max_memory="<maxMemory slots='2' unit='MiB'>$((max + 2 * virtio_mem))</maxMemory>"
                numa="<numa><cell id='0' cpus='0-$((vcpus - 1))' memory='$max' unit='MiB'/></numa>"
                memory_device=$(virtio_mem_xml "$virtio_mem" 0)
        fi
        [ -z "$labels" ] || metadata="<memlego:guest xmlns:memlego='https://memlego.org/guest/1' labels='$labels'/>"
        [ -z "$counted" ] || counted_xml="<qemu:commandline><qemu:arg value='-icount'/><qemu:arg value='shift=0,sleep=on'/></qemu:commandline>"
        cat <<-END
	<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
	  <name>$1</name>
	  <metadata>$metadata</metadata>
	  $max_memory
	  <memory unit='MiB'>$max</memory>
	  <currentMemory unit='MiB'>$mib</currentMemory>
	  <vcpu current='$vcpus'>$max_vcpus</vcpu>
	  <os>
	    <type arch='x86_64' machine='$machine'>hvm</type>
	    <kernel>$image/vmlinux</kernel>
	    <initrd>$image/initrd.img</initrd>
	    <cmdline>console=ttyS0 quiet panic=-1 mlg.name=$1$cmdline</cmdline>
	  </os>
	  <features><acpi/><apic/><tcg><tb-cache unit='MiB'>64</tb-cache></tcg></features>
	  <cpu mode='maximum'><feature policy='disable' name='erms'/>$numa</cpu>
	  <on_poweroff>destroy</on_poweroff>
	  <on_reboot>restart</on_reboot>
	  <on_crash>destroy</on_crash>
	  <devices>
	    <emulator>/usr/bin/qemu-system-x86_64</emulator>
	    <controller type='pci' index='0' model='$root'><pcihole64 unit='GiB'>64</pcihole64></controller>
	    <controller type='usb' model='none'/>
	    <controller type='virtio-serial' index='0'/>
	    <serial type='file'><source path='$T/$1.console' append='on'/><target port='0'/></serial>
	    <serial type='unix'><source mode='bind' path='/run/con/$1.sock'/><target port='1'/></serial>
	    $agent_xml
	    $monitor_xml
	    $memory_device
	    $balloon
	    <video><model type='none'/></video>
	    $devices
	  </devices>
	  $counted_xml
	</domain>
	END
}

# guest_start NAME... [options]; all of them at once, returns when all answer.
guest_start() {
        local names=() mib=192 max="" vcpus=1 max_vcpus="" autodeflate=off fpr=off period=0 no_balloon="" no_agent="" labels="" \
                cmdline="${MEMLEGO_CMDLINE:+ $MEMLEGO_CMDLINE}" devices="" monitor="" virtio_mem="" counted="" kernel="${MEMLEGO_KERNEL:-stable}" machine=pc define="" no_start="" no_wait="" image n
        while [ $# -gt 0 ]; do
                case $1 in
                --mib) mib=$2; shift ;;                 # memory now
                --max) max=$2; shift ;;                 # memory at most; default: as now
                --vcpus) vcpus=$2; shift ;;
                --max-vcpus) max_vcpus=$2; shift ;;     # default: as now; 2 for who shares memory with others, see README.md
                --autodeflate) autodeflate=$2; shift ;; # on, off
                --fpr) fpr=$2; shift ;;                 # free page reporting: on, off
                --stats-period) period=$2; shift ;;     # seconds; 0: not set, as libvirt's default
                --no-balloon) no_balloon=1 ;;           # no such device
                --no-driver) cmdline+=" mlg.noload=virtio_balloon" ;; # device, but the guest has no driver for it
                --no-agent) no_agent=1 ;;               # no channel for it
                --mute-agent) cmdline+=" mlg.noagent" ;; # channel, but nobody answers
                --swap) cmdline+=" mlg.swap=$2"; shift ;; # MiB on zram
                --monitor) monitor=1; cmdline+=" mlg.monitor" ;; # a channel for memlego-guestd, and that program
                # a device of so many MiB on top of --max, nothing of it plugged; swiotlb would take half of the small guest
                --virtio-mem) virtio_mem=$2; cmdline+=" memhp_default_state=online_movable swiotlb=noforce"; shift ;;
                # its clock goes by instructions, one a nanosecond: what takes how much is the same on any machine
                --extra) cmdline+=" mlg.extra" ;;       # with what image/extra.txt lists
                --counted) counted=1 ;;
                --labels) labels=$2; shift ;;           # metadata for policy files
                --kernel) kernel=$2; shift ;;           # see image/build
                --machine) machine=$2; shift ;;         # pc, q35
                --cmdline) cmdline+=" $2"; shift ;;
                --devices) devices=$2; shift ;;         # XML
                --define) define=1 ;;                   # persistent
                --define-only) define=1; no_start=1 ;;  # persistent, not started
                --no-wait) no_wait=1 ;;                 # do not wait until it answers
                -*) fail "guest_start: no option $1"; return 1 ;;
                *) names+=("$1") ;;
                esac
                shift
        done
        image=$("$MLG_VM_DIR/image/build" "$kernel")
        max=${max:-$mib}
        max_vcpus=${max_vcpus:-$vcpus}
        for n in "${names[@]}"; do
                guest_xml "$n" >"$T/$n.xml"
                printf 'agent=%q\n' "$([ -n "$no_agent" ] || [[ $cmdline == *mlg.noagent* ]] || echo yes)" >"$T/guests/$n"
                : >"$T/$n.console"
                rm -f "/run/con/$n.sock"
                if [ -z "$define" ]; then
                        vsh create "$T/$n.xml" >/dev/null
                else
                        vsh define "$T/$n.xml" >/dev/null
                        [ -n "$no_start" ] || vsh start "$n" >/dev/null
                fi
        done
        [ -n "$no_wait$no_start" ] || guest_wait "${names[@]}"
}

guest_boots() { grep -c '^init: up' "$T/$1.console" || true; }

# guest_wait NAME... [--boots N]: until they have started (for the Nth time) and answer.
guest_wait() {
        local names=() boots=1 n
        while [ $# -gt 0 ]; do
                case $1 in --boots) boots=$2; shift ;; *) names+=("$1") ;; esac
                shift
        done
        for n in "${names[@]}"; do
                wait_until 90 "guest $n has booted" "[ \$(guest_boots $n) -ge $boots ]"
        done
        for n in "${names[@]}"; do
                if guest_has_agent "$n"; then
                        wait_until 60 "the agent of $n answers" guest_ping "$n"
                else
                        wait_until 60 "$n answers on its second serial line" console_run -t 5 "$n" true
                fi
        done
}

guest_has_agent() {
        local agent=""
        # shellcheck disable=SC1090
        . "$T/guests/$1"
        [ -n "$agent" ]
}

agent() { # NAME JSON: one raw command, the "return" part of its answer
        vsh qemu-agent-command --timeout "${AGENT_TIMEOUT:-5}" "$1" "$2" | jq -c .return
}

guest_ping() { AGENT_TIMEOUT=2 agent "$1" '{"execute":"guest-ping"}' >/dev/null; }

# How long until the agent is asked again whether a command has ended: for an eighth of what it has taken, as asking takes
# the processors from what it does.
ask_again_in() { # BEGIN
        local usec=$(((${EPOCHREALTIME//[!0-9]/} - ${1//[!0-9]/}) / 8))
        ((usec > 50000)) || usec=50000
        ((usec < 1000000)) || usec=999999
        printf '0.%06d' "$usec"
}

# guest_run [-t SECONDS] [-a SECONDS] NAME SCRIPT: its output, and its status. By the agent, or by the console where there is none.
# -a: it takes at least as long, and is measured; nobody asks before.
guest_run() {
        local limit=20 least=0 pid r begin
        [ "$1" != -t ] || { limit=$2; shift 2; }
        [ "$1" != -a ] || { least=$2; shift 2; }
        if ! guest_has_agent "$1"; then
                console_run -t "$limit" "$1" "$2"
                return
        fi
        begin=$EPOCHREALTIME
        # shellcheck disable=SC2016
        r=$(agent "$1" "$(jq -nc --arg own 'echo 0 >/proc/self/oom_score_adj; exec sh -c "$0"' --arg c "$2" \
                '{execute: "guest-exec", arguments: {path: "/bin/sh", arg: ["-c", $own, $c], "capture-output": true}}')") ||
                return
        pid=$(jq .pid <<<"$r")
        sleep "$least"
        while :; do
                r=$(agent "$1" "{\"execute\":\"guest-exec-status\",\"arguments\":{\"pid\":$pid}}") || return
                [ "$(jq .exited <<<"$r")" != true ] || break
                if later_than "$begin" "$limit"; then
                        echo "guest_run: no end within $limit s in $1: $2" >&2
                        return 124
                fi
                sleep "$(ask_again_in "$begin")"
        done
        jq -r '."out-data" // empty' <<<"$r" | base64 -d
        jq -r '."err-data" // empty' <<<"$r" | base64 -d >&2
        return "$(jq 'if .signal then 128 + .signal else .exitcode end' <<<"$r")"
}

# console_run [-t SECONDS] NAME SCRIPT: the same over the second serial line; needs nothing but a running guest.
console_run() {
        local limit=20 id line="" status text got="" coproc_pid MLG_CON_LOCK
        [ "$1" != -t ] || { limit=$2; shift 2; }
        id=$BASHPID.${EPOCHREALTIME/[.,]/}
        (
                exec {MLG_CON_LOCK}>"$T/guests/$1.lock" # QEMU serves one at a time
                flock -w "$limit" "$MLG_CON_LOCK" || exit 124
                coproc CON { exec socat - "UNIX-CONNECT:/run/con/$1.sock" {MLG_CON_LOCK}>&-; }
                coproc_pid=$!
                printf '\n%s %s\n' "$id" "$(base64 -w0 <<<"$2")" >&"${CON[1]}" || exit 125
                while IFS= read -r -t "$limit" -u "${CON[0]}" line; do
                        line=${line%$'\r'}
                        [[ $line == "#$id "* ]] || continue
                        read -r _ status text <<<"$line"
                        got=1
                        break
                done
                kill "$coproc_pid" 2>/dev/null || true
                if [ -z "$got" ]; then
                        echo "console_run: no answer from $1 within $limit s: $2" >&2
                        exit 124
                fi
                base64 -d <<<"$text"
                exit "$status"
        )
}

# guest_spawn NAME SCRIPT: starts it in the background of the guest, prints its process id there. Its output is
# in /run/spawn.PID.log of the guest.
guest_spawn() {
        # shellcheck disable=SC2016
        guest_run "$1" "$(printf 'setsid sh -c %q >/run/spawn.log 2>&1 </dev/null & echo $!' "$2")"
}

guest_file() { guest_run "$1" "cat '$2'"; }

# gload in guests: a memory load that stays until released
load_start() { # NAME MIB [gload options]
        local g=$1 mib=$2
        shift 2
        guest_spawn "$g" "exec gload hold $mib $*" >/dev/null
        wait_until 10 "the load in $g is known" says "mib=$mib " guest_run "$g" "gload status"
}
load_get() { guest_run "$1" 'gload status' | tr ' ' '\n' | sed -n "s/^$2=//p"; } # NAME KEY
load_filled() { says '^state=holding' guest_run "$1" 'gload status'; }                 # NAME
load_release() { guest_run "$1" 'gload release' >/dev/null; }
load_probe() { guest_run "$1" 'gload probe' >/dev/null; }                        # fails when memory is damaged
# What tasks whose names match have run so far, in nanoseconds, and how long the guest is up, in milliseconds.
guest_cpu() { # NAME REGEX
        guest_run "$1" 'for p in /proc/[0-9]*; do { read -r name <$p/comm && read -r ns more <$p/schedstat && echo "$name $ns"; } 2>/dev/null; done
                cut -d" " -f1 /proc/uptime' | awk -v want="$2" 'NF == 2 && $1 ~ want { ns += $2 } NF == 1 { ms = $1 * 1000 } END { printf "%.0f %.0f\n", ns, ms }'
}
guest_oom_kills() { guest_run "$1" "sed -n 's/^oom_kill //p' /proc/vmstat"; }
kernel_complains() { guest_run "$1" 'dmesg | grep -E "BUG|WARNING|Oops|refcount|hung|blocked for" || true'; } # GUEST
no_kernel_complains() { # GUEST...
        local g
        for g in "$@"; do expect_eq "" "$(kernel_complains "$g")" "complaints of $g's kernel"; done
        pass "no complaints of the kernels"
}

# What libvirt says
guest_stat() { vsh dommemstat "$1" | sed -n "s/^$2 //p"; } # NAME KEY: actual usable unused available swap_in last_update ...
guest_actual_kib() { guest_stat "$1" actual; }
guest_actual_mib() { echo $(($(guest_stat "$1" actual) / 1024)); }
guest_state() { vsh domstate "$1"; }
guest_uuid() { vsh domuuid "$1" | sed '/^$/d'; }
guest_set_mib() { vsh setmem "$1" "${2}MiB" --live; }
guest_stats_period() { # NAME: as libvirt knows it, 0: off
        local p
        p=$(vsh dumpxml "$1" | sed -n "s/.*<stats period='\([0-9]*\)'.*/\1/p")
        echo "${p:-0}"
}
guest_set_stats_period() { vsh dommemstat "$1" --period "$2" --live >/dev/null; }
actual_at_least() { [ "$(guest_actual_mib "$1")" -ge "$2" ]; } # NAME MIB
actual_at_most() { [ "$(guest_actual_mib "$1")" -le "$2" ]; }

guest_pause() { vsh suspend "$1" >/dev/null; }
guest_resume() { vsh resume "$1" >/dev/null; }
guest_shutdown() { guest_run "$1" 'poweroff -f' >/dev/null 2>&1 & wait_until 20 "$1 is off" guest_gone "$1"; }
guest_destroy() { vsh destroy "$1" >/dev/null; }

guest_reboot() {
        local before
        before=$(guest_boots "$1")
        vsh reset "$1" >/dev/null
        guest_wait "$1" --boots $((before + 1))
}

guest_pid() { cat "/run/libvirt/qemu/$1.pid"; }
process_state() { sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null || true; }
qemu_stop() { kill -STOP "$(guest_pid "$1")"; wait_until 5 "QEMU of $1 stands" "[ \$(process_state $(guest_pid "$1")) = T ]"; }
qemu_cont() { kill -CONT "$(guest_pid "$1")"; }
guest_kill() { # the QEMU process, by kill -9
        local pid
        pid=$(guest_pid "$1")
        kill -KILL "$pid"
        wait_until 10 "QEMU of $1 is gone" "[ ! -d /proc/$pid ]"
}

# ---------------------------------------------------------------- libvirtd

libvirtd_pid() { pgrep -o -x libvirtd; }
libvirtd_answers() { VIRSH_TIMEOUT=3 vsh uri >/dev/null 2>&1; }
libvirtd_kill() {
        local pid
        pid=$(libvirtd_pid)
        kill -KILL "$pid"
        wait_until 5 "libvirtd is gone" "[ ! -d /proc/$pid ]"
}
libvirtd_stop() {
        local pid
        pid=$(libvirtd_pid)
        kill -TERM "$pid"
        wait_until 20 "libvirtd has ended" "[ ! -d /proc/$pid ]"
}
libvirtd_start() {
        rm -f /run/libvirtd.pid
        libvirtd -d -p /run/libvirtd.pid </dev/null >/dev/null 2>&1
        wait_until 30 "libvirtd answers" libvirtd_answers
}

# A second libvirtd with a state of its own, to migrate guests to: $URI2. Its name differs, so that it ends with the test.
libvirtd2_start() {
        local d=$MLG_STATE/two
        rm -rf "$d"
        mkdir -p "$d"/etc/qemu "$d"/{lib,log,run}
        cp /etc/libvirt/qemu.conf "$d/etc/"
        cp "$(readlink -f "$(command -v libvirtd)")" "$d/libvirtd-two"
        sed "s/^host_uuid.*/host_uuid = \"$(cat /proc/sys/kernel/random/uuid)\"/" /etc/libvirt/libvirtd.conf >"$d/etc/libvirtd.conf"
        unshare --mount --propagation private bash -c "
                mount --bind '$d/etc' /etc/libvirt && mount --bind '$d/lib' /var/lib/libvirt &&
                mount --bind '$d/log' /var/log/libvirt && mount --bind '$d/run' /run/libvirt &&
                exec '$d/libvirtd-two' -d -f /etc/libvirt/libvirtd.conf -p /run/libvirtd-two.pid" </dev/null >/dev/null 2>&1
        URI2="qemu+unix:///system?socket=$d/run/libvirt-sock"
        wait_until 30 "the second libvirtd answers" "timeout 5 virsh -q -c '$URI2' uri >/dev/null"
}

# guest_migrate NAME MIB_PER_S: live, in the background of the test, as slowly as said; its output is in $T/migrate.log
guest_migrate() {
        virsh -q -c "$URI" migrate --live --p2p "$1" "$URI2" --migrateuri "unix://$MLG_STATE/two/migrate.sock" --bandwidth "$2" \
                </dev/null >"$T/migrate.log" 2>&1 &
}

# ---------------------------------------------------------------- memlegod

program() { # NAME: path of a built program
        local p
        for p in "$B/$1" "$B/src/$1" "$B/src/ctl/$1"; do
                [ ! -x "$p" ] || { echo "$p"; return; }
        done
        fail "$1 is not built in '${B:-\$MEMLEGO_BUILD}'"
}

need_daemon() { [ -x "${B:-/nonexistent}/memlegod" ] || [ -x "${B:-/nonexistent}/src/memlegod" ] || skip "memlegod is not built"; }

daemon_pid() { cat "$T/memlegod.pid" 2>/dev/null || true; }
daemon_alive() { local p; p=$(daemon_pid) && [ -n "$p" ] && [ -d "/proc/$p" ] && [ "$(process_state "$p")" != Z ]; }
daemon_on_bus() {
        [ "$(busctl --system call org.freedesktop.DBus / org.freedesktop.DBus NameHasOwner s org.memlego1)" = "b true" ]
}
daemon_up() {
        daemon_alive || { echo "memlegod has ended"; return 1; }
        daemon_on_bus
}

daemon_config() { mkdir -p "$T/etc/policy.d"; printf '%s\n' "$1" >"$T/etc/memlegod.conf"; }
daemon_policy() { mkdir -p "$T/etc/policy.d"; printf '%s\n' "$1" >"$T/etc/policy.d/${2:-50-test}.policy"; } # TEXT [NAME]

# daemon_start [CONFIG [POLICY]] [-- OPTIONS...]; without texts those of the last start stay. DAEMON_WRAP: words in
# front of the program (valgrind, ...).
daemon_start() {
        local options=()
        mkdir -p "$T/etc/policy.d" "$T/state"
        [ -e "$T/etc/memlegod.conf" ] || : >"$T/etc/memlegod.conf"
        if [ $# -gt 0 ] && [ "$1" != -- ]; then daemon_config "$1"; shift; fi
        if [ $# -gt 0 ] && [ "$1" != -- ]; then daemon_policy "$1"; shift; fi
        [ "${1:-}" != -- ] || { shift; options=("$@"); }
        daemon_alive && { fail "memlegod is running already"; return 1; }
        echo "=== started at $(date +%T.%N | cut -c1-12)" >>"$T/memlegod.log"
        # shellcheck disable=SC2086
        STATE_DIRECTORY="$T/state" DBUS_SYSTEM_BUS_ADDRESS="unix:path=/run/dbus/system_bus_socket" \
                UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1" ASAN_OPTIONS="detect_leaks=1:abort_on_error=0" \
                ${DAEMON_WRAP:-} "$(program memlegod)" --foreground --config "$T/etc/memlegod.conf" --connect "$URI" \
                "${options[@]}" </dev/null >>"$T/memlegod.log" 2>&1 &
        echo $! >"$T/memlegod.pid"
        wait_until "${DAEMON_START_LIMIT:-20}" "memlegod is on the bus" daemon_up
}

# In order, and it must end well: by itself, in time, with status 0 (a sanitizer's finding is a status, too).
daemon_stop() {
        local pid status=0
        pid=$(daemon_pid)
        kill -TERM "$pid"
        wait_until 20 "memlegod has ended after SIGTERM" "! daemon_alive"
        wait "$pid" || status=$?
        rm -f "$T/memlegod.pid"
        [ "$status" = 127 ] || expect_eq 0 "$status" "exit status of memlegod" # 127: started by another shell
}

daemon_kill9() {
        local pid
        pid=$(daemon_pid)
        kill -KILL "$pid"
        wait "$pid" 2>/dev/null || true
        wait_until 5 "memlegod is gone" "! daemon_alive"
        rm -f "$T/memlegod.pid"
}
daemon_child() { pgrep -P "$(daemon_pid)"; }
kept_daemon_kill9() { # of one started with DAEMON_WRAP="$B/tests/fd-store": until the next one is there
        local before
        before=$(daemon_child)
        kill -KILL "$before"
        wait_until 20 "another one runs" '[ -n "$(daemon_child)" ] && [ "$(daemon_child)" != '"$before"' ]'
        wait_until 20 "it is on the bus" daemon_up
}
daemon_reload() { kill -HUP "$(daemon_pid)"; }
daemon_log() { cat "$T/memlegod.log"; }
moves() { daemon_log | grep -c "Resized guest ${1:+$1:}" || true; } # [GUEST]: how many memlegod made
is_settled() { local n; n=$(moves); sleep 3; [ "$n" = "$(moves)" ]; }
wait_settled() { wait_until "$1" "nothing moves any more" is_settled; } # SECONDS
daemon_logged() { grep -qE -- "$1" "$T/memlegod.log"; } # REGEX

ctl() {
        DBUS_SYSTEM_BUS_ADDRESS="unix:path=/run/dbus/system_bus_socket" timeout -k 1 20 "$(program memlegoctl)" "$@"
}
host_value() { ctl status --json | jq -r ".host.$1"; } # KEY

# ---------------------------------------------------------------- begin and end of a test

all_guests() { find "$T/guests" -type f ! -name '*.lock' -printf '%f\n' | sort; }

# What one wants to see after a failure; must work whatever state things are in.
evidence() {
        local n
        VIRSH_TIMEOUT=5
        echo "---- guests"
        vsh list --all 2>&1 || true
        timeout 5 virsh -q -c "$URI" domstats --state --balloon --nowait 2>&1 | tr -s '\n ' ' ' | sed 's/Domain:/\n    Domain:/g' || true
        echo
        for n in $(all_guests); do
                echo "---- console of $n (end)"
                tail -n 15 "$T/$n.console" | cut -c1-200 | sed 's/^/    /'
                [ "$(vsh domstate "$n" 2>/dev/null)" != running ] ||
                        { AGENT_TIMEOUT=2 guest_run -t 4 "$n" 'free -m; gload status; tail -n 3 /run/spawn.log' 2>&1 | sed 's/^/    /' || true; }
        done
        if [ -e "$T/memlegod.log" ]; then
                echo "---- memlegod ($(daemon_alive && echo running || echo not running)), end of its log"
                tail -n "${MLG_LOG_LINES:-60}" "$T/memlegod.log" | cut -c1-300 | sed 's/^/    /'
                if daemon_alive; then
                        echo "---- memlegoctl status"
                        timeout 5 "$(program memlegoctl)" status 2>&1 | sed 's/^/    /' || true
                fi
        fi
        echo "---- libvirtd, end of its log"
        tail -n 10 "$MLG_STATE/log/libvirt/libvirtd.log" | cut -c1-250 | sed 's/^/    /'
}

on_error() { # LINE COMMAND STATUS
        say "FAILED at line $1 of $(basename "$0"): $2 (status $3)" >&2
}

on_exit() {
        local status=$?
        trap - ERR EXIT
        if [ $status -eq 0 ] && [ -z "${MLG_KEEP:-}" ] && daemon_alive; then
                daemon_stop # in a shell of its own: its verdict is ours
        fi
        exit $status
}

if [[ $- != *i* ]]; then
        set -Eeuo pipefail
        shopt -s inherit_errexit
        trap 'on_error "$LINENO" "$BASH_COMMAND" "$?"' ERR
        trap on_exit EXIT
fi
