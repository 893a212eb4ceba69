#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Isolation=pair: guests that talk get memory for the two of them, no third one maps it, and it goes when they are silent
# suite: all
# timeout: 500
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"
need_daemon

pairs() { # "A-B serving" and so on, sorted
        ctl pipe show --json | jq -r '.pipes[].pairs[] | ([.guests[]] | sort | join("-")) + " " + .state' | sort | tr '\n' ',' | sed 's/,$//'
}
memories() { # GUEST: those its QEMU maps
        sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([0-9]*\) .*memfd:mempipe .*/\1/p' "/proc/$(guest_pid "$1")/maps" | sort -u
}
common() { comm -12 <(memories "$1") <(memories "$2") | wc -l; } # GUEST GUEST: how many both map
stream() { guest_run -t 60 "$1" "pipestream run 10.0.0.$2 7000 $3 1 poll"; } # GUEST NUMBER MIB
by_pipe() { pipe_counter "$1" tx-pipe-bytes; }
policy() { # PAIRS-MAX PAIR-IDLE
        echo "[Guest *]
Mode=observe
[Pipe web]
Guests=A B C
Quota=32M
Isolation=pair
PairsMax=$1
PairIdleSec=$2"
}
daemon_with() { # the same
        daemon_start "[Daemon]
LogLevel=debug
[Host]
GuestMemory=2G" "$(policy "$@")"
}

step "three guests, each with a lobby of its own"
network_start
for g in "A 1" "B 2" "C 3"; do
        # shellcheck disable=SC2086
        network_guest_start $g --no-wait
done
guest_wait A B C
for g in "A 1" "B 2" "C 3"; do
        # shellcheck disable=SC2086
        network_up $g
        guest_run "${g% *}" 'modprobe mempipe'
        serve_in "${g% *}" 7000 pipestream serve 7000
done
wait_until 20 "A reaches the others" guest_run A 'ping -c1 -W1 10.0.0.2 && ping -c1 -W1 10.0.0.3'
daemon_with 4 10min
wait_until 60 "their modules talk" '[ "$(ctl pipe show --json | jq -r "[.pipes[].members[].state] | join(\" \")")" = "talks talks talks" ]'
expect_eq "" "$(pairs)" "pairs before anybody talks"
expect_eq "1 1 1 0 0 0" "$(memories A | wc -l) $(memories B | wc -l) $(memories C | wc -l) $(common A B) $(common A C) $(common B C)" "memories"

step "A talks to B, and to C"
expect_match '^ok ' "$(stream A 2 1)" "by the network"
wait_until 30 "A and B know each other" 'knows_others A && knows_others B'
expect_eq "A-B serving" "$(pairs)" "pairs"
expect_match '^ok ' "$(stream A 2 20)" "20 MiB"
[ "$(by_pipe A)" -gt $((10 << 20)) ] || { pipe_file A counters; fail "by the pipe: $(by_pipe A) bytes"; }
expect_match '^ok ' "$(stream C 1 1)" "C to A by the network"
wait_until 30 "A and C know each other" knows_others C
expect_match '^ok ' "$(stream C 1 20)" "20 MiB from C to A"
[ "$(by_pipe C)" -gt $((10 << 20)) ] || { pipe_file C counters; fail "by the pipe: $(by_pipe C) bytes"; }
expect_eq "A-B serving,A-C serving" "$(pairs)" "pairs"
# by A's lobby, not once for each of its memories
wait_until 20 "A's connections are counted once" '[ "$(member A opened_connections)" = "$(pipe_counter A pipes)" ]'
expect_eq "1 1 0" "$(common A B) $(common A C) $(common B C)" "memories that two have in common"
pass "A has $(memories A | wc -l) memories, B and C $(memories B | wc -l) and $(memories C | wc -l), and none in common"

step "datagrams use the memory that connections brought about, and bring about none"
for g in B C; do serve_udp $g 7002; done
grams "A to B" 300 700 10.0.0.2 7002 600 1 connected
n=$(by_ring B) # answers to A
expect_match ' lost=0 wrong=0 ' "$(guest_run -t 60 B 'udpgram run 10.0.0.3 7002 2000 2 connected')" "B to C"
expect_eq "$n" "$(by_ring B)" "datagrams of B by the ring"
expect_eq "A-B serving,A-C serving" "$(pairs)" "pairs"
guest_run C 'ip addr add 10.0.0.9/24 dev eth0'
wait_until 20 "A reaches C's other address" guest_run A 'ping -c1 -W1 10.0.0.9'
grams "to an address at which C has not been the end of a pipe" 0 0 10.0.0.9 7002 600 3
n=$(by_pipe A)
wait_until 20 "a pipe to that address" 'stream A 9 1 >/dev/null && [ "$(by_pipe A)" -gt '"$n"' ]'
grams "to that address, at which it has" 300 700 10.0.0.9 7002 600 4
for g in B C; do guest_run $g 'killall udpgram'; done

step "a pair that only datagrams use is not idle"
serve_udp B 7002
guest_spawn A 'exec udpgram hold 10.0.0.2 7002 >/run/udp' >/dev/null
daemon_policy "$(policy 4 15s)"
daemon_reload
wait_until 60 "the pair that is not used is gone" '[ "$(pairs)" = "A-B serving" ]'
stays_true 8 "the other one stays" '[ "$(pairs)" = "A-B serving" ]'
says '10.0.0.2:7002 to .* ring ok' pipe_file A flows || fail "$(pipe_file A flows)"
guest_run A 'killall udpgram'
guest_run B 'killall udpgram'

step "they are silent"
wait_until 60 "the pairs are gone" '[ -z "$(pairs)" ]'
wait_until 20 "so are the devices" '[ "$(memories A | wc -l) $(memories B | wc -l) $(memories C | wc -l)" = "1 1 1" ]'
expect_match '^ok ' "$(stream B 1 1)" "by the network again"
wait_until 30 "A and B have memory again" 'knows_others A && knows_others B'
n=$(by_pipe B)
expect_match '^ok ' "$(stream B 1 20)" "20 MiB"
[ "$(by_pipe B)" -gt $((n + (10 << 20))) ] || { pipe_file B counters; fail "by the pipe: $(($(by_pipe B) - n)) bytes"; }

step "a guest with one place: the pair that was used longest ago makes room"
daemon_stop
daemon_with 1 10min
wait_until 60 "their modules talk" '[ "$(ctl pipe show --json | jq -r "[.pipes[].members[].state] | join(\" \")")" = "talks talks talks" ]'
wait_until 30 "A and B have memory" 'stream A 2 1 >/dev/null && [ "$(pairs)" = "A-B serving" ]'
wait_until 60 "A and C have it" 'stream A 3 1 >/dev/null && [ "$(pairs)" = "A-C serving" ]'
expect_eq "0 1 0" "$(common A B) $(common A C) $(common B C)" "memories that two have in common"
daemon_logged "all of its 1 pairs are in use" || fail "that A has no place was not said"
expect_fails "there is no device for a definition" ctl pipe xml web

step "a guest is detached, as before a migration"
ctl pipe detach A
wait_until 30 "it has no device" '[ -z "$(memories A)" ]'
wait_until 30 "there is no pair" '[ -z "$(pairs)" ] && [ "$(memories C | wc -l)" = 1 ]'
ctl pipe attach A
wait_until 60 "their modules talk" '[ "$(ctl pipe show --json | jq -r "[.pipes[].members[].state] | join(\" \")")" = "talks talks talks" ]'
wait_until 60 "A and C have memory" 'stream A 3 1 >/dev/null && [ "$(pairs)" = "A-C serving" ]'
daemon_stop

step "memlegod is killed where a service manager keeps its descriptors: nobody notices"
DAEMON_WRAP="$B/tests/fd-store" daemon_with 4 10min
wait_until 60 "their modules talk" '[ "$(ctl pipe show --json | jq -r "[.pipes[].members[].state] | join(\" \")")" = "talks talks talks" ]'
wait_until 60 "A and B have memory" 'stream A 2 1 >/dev/null && [ "$(pairs)" = "A-B serving" ]'
guest_spawn A 'pipestream hold 10.0.0.2 7000 100 >/run/hold' >/dev/null
wait_until 20 "a connection stays in the pipe" says "10.0.0.2:7000 client pipe ok" pipe_file A connections
before="$(memories A | tr '\n' ' ')"
kept_daemon_kill9
wait_until 20 "it knows the pair" '[ "$(pairs)" = "A-B serving" ]'
stays_true 3 "nobody notices" '[ "$(memories A | tr "\n" " ")" = "'"$before"'" ]'
says "10.0.0.2:7000 client pipe ok" pipe_file A connections || fail "$(pipe_file A connections)"
guest_run A '! grep ended /run/hold'
no_kernel_complains A B C
daemon_stop
