#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Ten thousand connections at once: as many pipes as there are slots, the others by TCP and why, all bytes right
# timeout: 400
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"
MANY=${MANY:-10000}
ROUNDS=6
SLOTS=1024     # MLG_PIPE_SLOTS
MOST_BYTES=2048 # of memory that a connection may cost beyond TCP's, each end

memory() { guest_run "$1" 'echo 3 >/proc/sys/vm/drop_caches; sed -n "s/^MemFree: *\([0-9]*\).*/\1/p" /proc/meminfo'; } # GUEST: KiB
all_said() { says '^ok ' guest_run A 'cat /run/many'; }
failed_to() { says 'manyconn:' guest_run A 'cat /run/many'; }
open_all() { # sets used_A, used_B: KiB
        local g before_A before_B
        before_A=$(memory A) before_B=$(memory B)
        guest_spawn A "exec manyconn run 10.0.0.2 7000 $MANY $ROUNDS >/run/many 2>&1" >/dev/null
        wait_until 150 "all rounds are done" "all_said || failed_to"
        ! failed_to || fail "$(guest_run A 'cat /run/many')"
        used_A=$((before_A - $(memory A))) used_B=$((before_B - $(memory B)))
        guest_run A 'cat /run/many' | sed 's/^/    /'
}
close_all() { guest_run A 'killall manyconn'; wait_until 60 "all are closed" "[ \$(guest_run B 'netstat -tn | grep -c :7000.*ESTAB || true') = 0 ]"; }

step "two guests"
network_start
pipe_server_start 512 384
pipe_guest_start A 1 --no-wait --mib 512
pipe_guest_start B 2 --no-wait --mib 512
guest_wait A B
network_up A 1
network_up B 2
serve_in B 7000 manyconn serve 7000
wait_until 20 "A reaches B" guest_run A 'ping -c1 -W1 10.0.0.2'

step "$MANY by TCP"
open_all
close_all
# the first run has made the slabs and the server's tables
open_all
tcp_A=$used_A tcp_B=$used_B
close_all

step "$MANY with the module"
pipe_load A B
open_all
pipe_file A connections >"$T/connections"
n=$(wc -l <"$T/connections")
pipes=$(grep -c 'client pipe ok' "$T/connections" || true)
opened=$(pipe_counter A pipes)
say "   ways: $(awk '{ n[$4 " " $5]++ } END { for (w in n) printf "%s: %d; ", w, n[w] }' "$T/connections")"
expect_eq "$MANY" "$n" "connections of the module"
expect_eq "$SLOTS" "$opened" "pipes opened"
[ "$pipes" -ge $((SLOTS / 2)) ] || fail "only $pipes send by the pipe"
expect_eq $((MANY - SLOTS)) "$(grep -c 'client tcp no-slot' "$T/connections" || true)" "connections for which there was no slot"
for g in A B; do
        more=used_$g tcp=tcp_$g
        say "   $g: $((${!tcp} * 1024 / MANY)) bytes of memory per connection by TCP, $((${!more} * 1024 / MANY)) with the module"
        expect_between -$((MANY * 4)) $((MANY * MOST_BYTES / 1024)) $((${!more} - ${!tcp})) "KiB more in $g"
done

step "they end"
close_all
for g in A B; do wait_until 60 "$g has no connection any more" "[ -z \"\$(pipe_file $g connections)\" ]"; done
for g in A B; do expect_eq "0 " "$(pipe_counter $g resets) $(kernel_complains $g)" "resets, complaints of $g's kernel"; done
pass "nothing is left"
