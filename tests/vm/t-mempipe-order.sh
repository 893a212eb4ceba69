#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Modules, devices, guests and memlegod come and go in any order while bytes flow, and none is lost
# timeout: 580
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"
need_daemon
SEED=${SEED:-1}
excused=0
STEPS=${STEPS:-10}
RANDOM=$SEED

# FROM ADDRESS NAME: streams without end; /run/NAME.log says of each how it ended
streams() {
        guest_spawn "$1" "i=0; while :; do i=\$((i + 1))
                timeout 60 pipestream run $2 7000 4 \$i \$([ \$((i % 2)) = 0 ] && echo poll || echo fork) 2>&1 || echo FAILED
        done >/run/$3.log" >/dev/null
}
chunks_in_use() { pipe_file "$1" devices | sed 's/.*held=\([0-9]*\) free=\([0-9]*\).*/[ \1 -gt \2 ]/' | sh; } # GUEST
counted() { guest_run "$1" "grep -c '$3' /run/$2.log || true"; } # GUEST NAME REGEX
why() { for g in A B; do say "$g: $(pipe_file $g counters | grep -E 'resets|copied|reason' | grep -v ' 0$' | tr '\n' ' ')"; done; }
failures() { echo $(($(counted A to-B FAILED) + $(counted B to-A FAILED))); }
unbroken() {
        [ "$(failures)" -le "$excused" ] || why
        expect_between 0 "$excused" "$(failures)" "streams that failed"
        guest_run A '! grep ended /run/hold' || fail "the connection that is held: $(guest_run A 'cat /run/hold')"
}
goes_on() { # both ways, and by the pipe
        local to_b to_a by_pipe
        for g in A B; do wait_until 90 "$g knows others" knows_others $g; done
        to_b=$(counted A to-B '^ok')
        to_a=$(counted B to-A '^ok')
        by_pipe=$(pipe_counter A tx-pipe-bytes)
        wait_until 60 "streams end well" "[ \$(counted A to-B '^ok') -gt $((to_b + 1)) ] && [ \$(counted B to-A '^ok') -gt $((to_a + 1)) ]"
        wait_until 60 "bytes go by the pipe" "[ \$(pipe_counter A tx-pipe-bytes) -gt $((by_pipe + (2 << 20))) ]"
}
begin() { # what runs in a guest, and is lost with it
        serve_in A 7000 pipestream serve 7000
        serve_in B 7000 pipestream serve 7000
        streams A 10.0.0.2 to-B
        streams B 10.0.0.1 to-A
        guest_spawn A 'pipestream hold 10.0.0.2 7000 100 >/run/hold' >/dev/null
}
end() { for g in A B; do guest_run $g 'killall sh pipestream; rm -f /run/to-* /run/hold; true' >/dev/null 2>&1 || true; done; }

removed() { guest_run -t 30 "$1" 'echo 1 >/sys/module/mempipe/parameters/detach; rmmod mempipe'; }
reload() { # GUEST
        wait_until 60 "the module of $1 lets itself be removed" removed "$1"
        guest_run "$1" 'modprobe mempipe'
}
unplug() { # GUEST, with notice
        ctl pipe detach "$1" >/dev/null
        wait_until 30 "the device of $1 is unplugged" "! says memlego-pipe vsh dumpxml $1"
        ctl pipe attach "$1" >/dev/null
}
times_gone() { daemon_log | grep -c "guest $1 has gone" || true; } # GUEST
times_plugged() { daemon_log | grep -c "Guest $1: got its device" || true; } # GUEST
snatch() { # GUEST, behind everybody's back
        local gone plugged
        gone=$(times_gone "$1") plugged=$(times_plugged "$1")
        vsh dumpxml "$1" | sed -n '/<shmem/,/<\/shmem>/p' >"$T/shmem.xml"
        vsh detach-device "$1" "$T/shmem.xml" --live >/dev/null
        wait_until 30 "$1 is gone from the group" "[ \$(times_gone $1) -gt $gone ]"
        # memlegod may have plugged it in already; and until libvirt has heard that it is gone it cannot be
        wait_until 60 "$1 has another device" "ctl pipe attach $1; [ \$(times_plugged $1) -gt $plugged ]"
}
reboot_b() {
        end
        excused=0
        guest_reboot B
        network_up B 2
        guest_run B 'modprobe mempipe'
        begin
}
again() { daemon_stop; daemon_start; }
killed() { daemon_kill9; daemon_start; }
ACTIONS=("reload A" "reload B" "unplug A" "unplug B" reboot_b again killed)

step "two guests, streams both ways"
network_start
network_guest_start A 1 --no-wait --mib 224
network_guest_start B 2 --no-wait --mib 224
guest_wait A B
for g in A B; do network_up $g "$(tr AB 12 <<<$g)"; done
guest_run A 'modprobe mempipe' # before there is a device, B after
daemon_start "[Daemon]
LogLevel=debug
[Host]
GuestMemory=2G" "[Guest *]
Mode=observe
[Pipe web]
Guests=A B
Quota=64M"
begin
guest_run B 'modprobe mempipe'
goes_on

step "a reader that stands still while a device goes: what it has not read is copied out"
for who in B A; do
        before=$(pipe_counter B copied-out-bytes)
        expect_match '^ok ' "$(guest_run -t 30 A 'pipestream run 10.0.0.2 7000 4 77 poll')" "a stream"
        guest_run B 'killall -STOP pipestream || true'
        wait_until 20 "something is unread in B" chunks_in_use A
        snatch $who
        guest_run B 'killall -CONT pipestream || true'
        goes_on
        # without notice there are five seconds, which guests on a busy machine may not make: then it is a reset, and counted
        excused=$(($(pipe_counter A resets) + $(pipe_counter B resets)))
        unbroken
        [ $who = A ] || [ "$(pipe_counter B copied-out-bytes)" -gt "$before" ] || fail "B has copied nothing"
        pass "$who's device was snatched: B copied $(($(pipe_counter B copied-out-bytes) - before)) bytes"
done

for ((i = 1; i <= STEPS; i++)); do
        action=${ACTIONS[RANDOM % ${#ACTIONS[@]}]}
        step "$i: $action"
        $action
        goes_on
        unbroken
done
for g in A B; do expect_eq "" "$(kernel_complains $g)" "complaints of $g's kernel"; done
end
for g in A B; do wait_until 60 "the module of $g lets itself be removed" removed $g; done
pass "$STEPS steps"
