#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Modules, devices, guests and memlegod come and go in any order while bytes flow, and no stream loses one
# timeout: 1800
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"
need_daemon
SEED=${SEED:-1} # of the order
RANDOM=$SEED
STEPS=${STEPS:-10}
life=0 # of B, and of the programs in both
declare -A held

other() { tr AB BA <<<"$1"; }       # GUEST
address() { echo "10.0.0.$(tr AB 12 <<<"$1")"; } # GUEST

# ---- what runs in the guests: streams without end both ways, a connection of each that stays, and datagrams

streams() { # GUEST: /run/streams.LIFE says of each how it ended
        guest_spawn "$1" "i=0; while [ ! -e /run/ends.$life ]; do i=\$((i + 1))
                timeout 300 pipestream run $(address "$(other "$1")") 7000 4 \$i \$([ \$((i % 2)) = 0 ] && echo poll || echo fork) 2>&1 || echo FAILED
        done >/run/streams.$life" >/dev/null
}
said() { guest_run "$1" "grep -c '$2' /run/streams.$life || true"; } # GUEST REGEX
hold() { # GUEST: to the other
        [ -z "${held[$1]:-}" ] || guest_run "$1" "kill ${held[$1]}"
        held[$1]=$(guest_spawn "$1" "exec pipestream hold $(address "$(other "$1")") 7001 200 >/run/hold 2>&1")
        wait_until 60 "$1 holds a connection, by the pipe" says ':7001 client pipe ok .*tx=[1-9]' pipe_file "$1" connections
}
answers() { guest_run "$1" "sed -n '\$s/answers=\([0-9]*\) .*/\1/p' /run/udp"; } # GUEST
beats() { guest_run "$1" "sed -n 's/^voluntary_ctxt_switches:.//p' /proc/${held[$1]}/status"; } # GUEST
is_held() { # GUEST: it sleeps, and wakes, some twenty times a second
        local n m
        n=$(beats "$1") m=$(answers "$1")
        wait_until 30 "datagrams of $1 are answered" "[ \$(answers $1) -gt $((m + 10)) ]"
        wait_until 30 "the connection that $1 holds goes on" "[ \$(beats $1) -gt $((n + 10)) ]"
        guest_run "$1" '! grep ended /run/hold' || fail "the connection that $1 holds: $(guest_run "$1" 'cat /run/hold')"
}
begin() { # in both, anew
        local g
        life=$((life + 1))
        for g in A B; do
                serve_in $g 7000 pipestream serve 7000
                serve_in $g 7001 pipestream serve 7001
                serve_udp $g 7002
                held[$g]=""
        done
        for g in A B; do
                streams $g
                guest_spawn $g "exec udpgram hold $(address "$(other $g)") 7002 >/run/udp 2>&1" >/dev/null
        done
}
ended() { guest_run "$1" 'killall -9 pipestream udpgram 2>/dev/null; ! pidof pipestream udpgram'; } # GUEST
end() { # GUEST...
        local g
        for g in "$@"; do guest_run "$g" "touch /run/ends.$life"; done
        for g in "$@"; do wait_until 30 "all programs of $g have ended" ended "$g"; done
}
unbroken() {
        local g
        for g in A B; do
                [ "$(said $g FAILED)" = 0 ] || {
                        for h in A B; do pipe_file $h counters | grep -E 'resets|copied|reason' | grep -v ' 0$' | sed "s/^/    $h: /"; done
                        fail "streams of $g that failed: $(guest_run $g "grep -B1 FAILED /run/streams.$life")"
                }
        done
}
goes_on() { # both ways, and by the pipe
        local to_b to_a by_pipe g
        for g in A B; do wait_until 90 "$g knows others" knows_others $g; done
        to_b=$(said A '^ok') to_a=$(said B '^ok')
        by_pipe=$(pipe_counter A tx-pipe-bytes)
        wait_until 90 "streams end well" "[ \$(said A '^ok') -gt $((to_b + 1)) ] && [ \$(said B '^ok') -gt $((to_a + 1)) ]"
        wait_until 60 "bytes go by the pipe" "[ \$(pipe_counter A tx-pipe-bytes) -gt $((by_pipe + (2 << 20))) ]"
        unbroken
}

# ---- what happens to them

removed() { # GUEST
        guest_run -t 30 "$1" 'echo 1 >/sys/module/mempipe/parameters/detach && rmmod mempipe ||
                { dmesg | grep mempipe: | tail -n 2; cat /sys/kernel/debug/mempipe/connections; false; }'
}
reload() { # GUEST
        wait_until 60 "the module of $1 lets itself be removed" removed "$1"
        guest_run "$1" 'modprobe mempipe'
}
unplug() { # GUEST, with notice
        ctl pipe detach "$1" >/dev/null
        wait_until 60 "the device of $1 is unplugged" "! says memlego-pipe vsh dumpxml $1"
        ctl pipe attach "$1" >/dev/null
}
times() { daemon_log | grep -c "$1" || true; } # REGEX
snatch() { # GUEST, behind everybody's back
        local gone plugged
        gone=$(times "guest $1 has gone") plugged=$(times "Guest $1: got its device")
        vsh dumpxml "$1" | sed -n '/<shmem/,/<\/shmem>/p' >"$T/shmem.xml"
        vsh detach-device "$1" "$T/shmem.xml" --live >/dev/null
        wait_until 60 "$1 is gone from the group" "[ \$(times 'guest $1 has gone') -gt $gone ]"
        # memlegod may have plugged it in already; and until libvirt has heard that it is gone it cannot be
        wait_until 60 "$1 has another device" "ctl pipe attach $1; [ \$(times 'Guest $1: got its device') -gt $plugged ]"
}
reboot_b() { # which forgets its connections; those of A are half dead until then
        end A B
        guest_reboot B
        network_up B 2
        guest_run B 'modprobe mempipe'
        begin
}
replace_b() { # while A's module comes and goes, with a socket of which the other end does not exist any more
        unplug A
        wait_until 60 "the connection that A holds is TCP's" says '10.0.0.2:7001 client tcp' pipe_file A connections
        guest_destroy B
        # a send() that sleeps would keep its socket
        guest_run A "touch /run/ends.$life; for p in \$(pidof pipestream); do [ \$p = ${held[A]} ] || kill -9 \$p; done"
        reload A
        guest_run A "kill -0 ${held[A]} && ! grep ended /run/hold" # it waits for an answer
        network_guest_start B 2 --mib 224
        network_up B 2
        guest_run B 'modprobe mempipe'
        end A
        begin
}
again() { daemon_stop; daemon_start; }
killed() { daemon_kill9; daemon_start; }

step "two guests, streams both ways; the order is that of SEED=$SEED"
network_start
network_guest_start A 1 --no-wait --mib 224
network_guest_start B 2 --no-wait --mib 224
guest_wait A B
for g in A B; do network_up $g "$(tr AB 12 <<<$g)"; done
guest_run A 'modprobe mempipe' # before there is a device, B after
group_daemon_start 64M
begin
guest_run B 'modprobe mempipe'
goes_on

# What its modules do is all that counts
step "a reader that stands still while a device goes without notice: what it has not read is copied out"
for who in B A; do
        before=$(pipe_counter B copied-out-bytes)
        guest_run B 'killall -STOP pipestream || true' # one may just have ended
        wait_until 30 "something is unread in B" "pipe_file A devices | sed 's/.*held=\([0-9]*\) free=\([0-9]*\).*/[ \1 -gt \2 ]/' | sh"
        snatch $who
        guest_run B 'killall -CONT pipestream || true'
        goes_on
        expect_eq "0 0" "$(pipe_counter A resets) $(pipe_counter B resets)" "resets by A, by B"
        copied=$(($(pipe_counter B copied-out-bytes) - before))
        [ $copied -gt 0 ] || fail "B has copied nothing"
        pass "$who's device was snatched: B copied $copied bytes"
done

# Each of them once, in a random order, and then again
kinds=("reload A" "reload B" "unplug A" "unplug B" "snatch A" "snatch B" reboot_b replace_b again killed)
actions=()
for ((i = 0; i < STEPS; i++)); do
        [ $((i % ${#kinds[@]})) -ne 0 ] || left=("${kinds[@]}")
        n=$((RANDOM % ${#left[@]}))
        actions+=("${left[n]}")
        left=("${left[@]:0:n}" "${left[@]:n+1}")
done
for ((i = 0; i < STEPS; i++)); do
        action=${actions[i]}
        step "$((i + 1)): $action"
        for g in A B; do hold $g; done
        $action
        [[ $action == *_b ]] || for g in A B; do is_held $g; done
        goes_on
done

step "and the modules go"
end A B
for g in A B; do
        wait_until 60 "the module of $g lets itself be removed" removed $g
        expect_eq "" "$(kernel_complains $g)" "complaints of $g's kernel"
done
pass "$STEPS steps, of SEED=$SEED"
