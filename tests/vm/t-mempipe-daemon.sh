#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# memlegod puts guests into a group, their TCP goes through its memory, and goes on when a guest is detached or memlegod is killed
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"
need_daemon

held_by() { says "10.0.0.2:7000 client $1" pipe_file A connections; } # WAY: of the connection that stays
goes_on() { # the byte it sends each tenth of a second comes back
        local n
        n=$(held_bytes)
        wait_until 20 "the connection goes on" "[ \$(held_bytes) -gt $((n + 10)) ]"
        guest_run A '! grep ended /run/hold'
}
held_bytes() { # by either way
        pipe_file A connections | awk '/10.0.0.2:7000/ { for (i = 5; i <= NF; i++) { split($i, w, "="); if (w[1] == "tx" || w[1] == "tcp_sent") n += w[2] } } END { print n + 0 }'
}

step "two guests of a group, with the module loaded before there is any shared memory"
two_guests network_guest_start
for g in A B; do guest_run $g 'modprobe mempipe'; done
group_daemon_start 64M
for g in A B; do wait_until 60 "$g knows others" knows_others "$g"; done
wait_until 20 "memlegod hears their modules" '[ "$(member A state) $(member B state)" = "talks talks" ]'

step "bytes by the pipe"
serve_in B 7000 pipestream serve 7000
wait_until 20 "A reaches B" guest_run A 'ping -c1 -W1 10.0.0.2'
expect_match '^ok ' "$(guest_run -t 60 A 'pipestream run 10.0.0.2 7000 40 1 poll')" "40 MiB there and back"
[ "$(pipe_counter A tx-pipe-bytes)" -gt $((30 << 20)) ] || fail "by the pipe: $(pipe_counter A tx-pipe-bytes) bytes"
guest_spawn A 'pipestream hold 10.0.0.2 7000 100 >/run/hold' >/dev/null
wait_until 20 "a connection stays in the pipe" held_by "pipe ok"
wait_until 20 "memlegod sees it" '[ "$(member A connections)" -ge 1 ] && [ "$(member A sent_bytes)" -gt 0 ]'
wait_until 20 "and counts what A counts" '[ "$(member A opened_connections)" = "$(pipe_counter A pipes)" ] && [ "$(member A opened_connections)" -ge 2 ]'
ctl pipe show | sed 's/^/    /'
goes_on
pass "$(($(member A sent_bytes) >> 20)) MiB sent by A"

step "A is detached, as before a migration"
ctl pipe detach A >/dev/null
wait_until 20 "its device is unplugged" "! says memlego-pipe vsh dumpxml A"
wait_until 10 "the connection is with TCP" held_by "tcp "
goes_on
wait_until 10 "B has said why" '[ "$(member B fallbacks | jq ".[\"peer-leaves\"]")" = "$(pipe_counter B reason-peer-leaves)" ]'
[ "$(pipe_counter B reason-peer-leaves)" -ge 1 ] || fail "B's end did not go back to TCP: $(pipe_file B counters)"
says "B .*peer-leaves [1-9]" ctl pipe show web || fail "$(ctl pipe show web)"
ctl pipe attach A >/dev/null
for g in A B; do wait_until 30 "$g knows others" knows_others "$g"; done
n=$(pipe_counter A tx-pipe-bytes)
expect_match '^ok ' "$(guest_run -t 60 A 'pipestream run 10.0.0.2 7000 20 2 poll')" "20 MiB more"
[ "$(pipe_counter A tx-pipe-bytes)" -gt $((n + (10 << 20))) ] || { pipe_file A counters; pipe_file A devices; pipe_file B counters; pipe_file B devices; fail "by the pipe: $(($(pipe_counter A tx-pipe-bytes) - n)) bytes"; }
goes_on
pass "back in the pipe"

step "memlegod is killed, and nobody has kept its descriptors"
guest_run A 'kill $(pidof pipestream); rm /run/hold'
guest_spawn A 'pipestream hold 10.0.0.2 7000 100 >/run/hold' >/dev/null
wait_until 20 "a connection stays in the pipe" held_by "pipe ok"
daemon_kill9
daemon_start
wait_until 60 "the connection has left the pipe" held_by "tcp "
goes_on
for g in A B; do wait_until 90 "$g knows others again" knows_others "$g"; done
n=$(pipe_counter A tx-pipe-bytes)
expect_match '^ok ' "$(guest_run -t 60 A 'pipestream run 10.0.0.2 7000 20 3 poll')" "20 MiB more"
[ "$(pipe_counter A tx-pipe-bytes)" -gt $((n + (10 << 20))) ] || { pipe_file A counters; pipe_file A devices; pipe_file B counters; pipe_file B devices; fail "by the pipe: $(($(pipe_counter A tx-pipe-bytes) - n)) bytes"; }
goes_on
no_kernel_complains A B
pass "new connections are in the new memory, the old one goes on"
