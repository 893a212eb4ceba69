#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Ten thousand connections at once: as many pipes as there are slots, the others by TCP and why, all bytes right, and nothing is left
# timeout: 900
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"
MANY=${MANY:-10000}
ROUNDS=4
SLOTS=1024      # MLG_PIPE_SLOTS
CONN_BYTES=1024 # at most, that the module takes for a connection, and again for its pipe

# In the guest: of so many lines, over a serial line, only the sum is wanted. "WAY REASON NUMBER" lines
ways() { guest_run -t 60 "$1" "awk '{ n[\$3 \" \" \$4 \" \" \$5]++ } END { for (w in n) print w, n[w] }' /sys/kernel/debug/mempipe/connections"; }
of_way() { awk -v way="$1" '{ n += ($1 " " $2 " " $3 ~ way) ? $4 : 0 } END { print n + 0 }' <<<"$2"; } # REGEX WAYS
many_said() { says "$1" guest_run A 'cat /run/many'; } # REGEX
connect_many() { # NUMBER ROUNDS
        guest_spawn A "exec manyconn run 10.0.0.2 7000 $1 $2 >/run/many 2>&1" >/dev/null
        wait_until 600 "all rounds are done" "many_said '^ok ' || many_said manyconn:"
        many_said '^ok ' || fail "$(guest_run A 'cat /run/many')"
        guest_run A 'cat /run/many' | sed 's/^/    /'
}

step "two guests with the module"
network_start
pipe_server_start 512 384
pipe_guest_start A 1 --no-wait --mib 512
pipe_guest_start B 2 --no-wait --mib 512
guest_wait A B
network_up A 1
network_up B 2
pipe_load A B
serve_in B 7000 manyconn serve 7000
wait_until 20 "A reaches B" guest_run A 'ping -c1 -W1 10.0.0.2'

step "$MANY connections, $ROUNDS times some bytes there and back on each"
connect_many "$MANY" "$ROUNDS"
ways=$(ways A)
sed 's/^/    /' <<<"$ways"
expect_eq "$MANY" "$(of_way 'client .*' "$ways")" "connections of A's module"
expect_eq "$MANY" "$(of_way 'server .*' "$(ways B)")" "connections of B's module"
expect_eq "$SLOTS" "$(pipe_counter A pipes)" "pipes opened"
expect_eq "$((MANY - SLOTS))" "$(of_way 'client tcp no-slot' "$ways")" "connections for which there was no slot"
# A pipe that found no chunk free just then has sent by TCP, and may again use the next one that is: how many do depends on the hurry.
by_pipe=$(pipe_counter A tx-pipe-bytes) ok=$(of_way 'client pipe ok' "$ways")
expect_between 1 "$SLOTS" "$ok" "connections that send by the pipe"
expect_eq "$SLOTS" "$((ok + $(of_way 'client tcp no-chunk' "$ways")))" "connections that send by the pipe, or did without a chunk"
expect_between 1 $((1 << 30)) "$by_pipe" "bytes by pipes"
pass "all bytes were right, $by_pipe of A's went by pipes"

step "what they cost"
for g in A B; do
        n=$(pipe_counter $g connections-now) bytes=$(pipe_counter $g memory-bytes-now)
        say "   $g: $bytes bytes of the module's for $n connections, $SLOTS of them with a pipe"
        expect_between "$MANY" $((MANY + 1)) "$n" "connections and listeners of $g"
        expect_between 1 $(((MANY + SLOTS) * CONN_BYTES)) "$bytes" "bytes of memory in $g"
done

step "they end"
guest_run A 'killall manyconn'
for g in A B; do
        wait_until 90 "$g has no connection any more" says "^connections-now [01]$" pipe_file $g counters
        wait_until 20 "$g has no pipe any more" says ' pipes=0 ' pipe_file $g devices
        wait_until 20 "$g has all its chunks back" "pipe_file $g devices | sed 's/.*held=\([0-9]*\) free=\([0-9]*\).*/[ \1 = \2 ]/' | sh"
        expect_eq "" "$(pipe_file $g connections)" "connections of $g"
        expect_eq "0 0" "$(pipe_counter $g resets) $(pipe_counter $g bad-messages)" "resets, bad messages of $g"
done

step "slots are used again, and the modules go"
connect_many 100 3
expect_eq "$((SLOTS + 100))" "$(pipe_counter A pipes)" "pipes opened"
guest_run A 'killall manyconn'
guest_run B 'killall manyconn'
for g in A B; do
        wait_until 30 "nothing of $g is left" says '^memory-bytes-now 0$' pipe_file $g counters
        guest_run $g 'rmmod mempipe'
        expect_eq "" "$(kernel_complains $g)" "complaints of $g's kernel"
done
pass "nothing is left"
