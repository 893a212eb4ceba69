#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A member of the group that lies, or writes over everything, costs others no kernel; one that lies costs nobody but itself
# kernels: 6.12
# timeout: 1000
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"
SECONDS_EACH=${SECONDS_EACH:-60}
SEED=${SEED:-1}
# poisoned and checked slabs; whatever the kernel complains of ends it
PARANOID="slub_debug=FZPU panic_on_warn=1 oops=panic"
MIB=1048576

# FROM ADDRESS NAME: streams without end, whose every byte is compared; /run/NAME.log says of each how it ended
streams() {
        guest_spawn "$1" "i=0; while [ ! -e /run/stop ]; do i=\$((i + 1))
                timeout 20 pipestream run $2 7000 4 \$i \$([ \$((i % 2)) = 0 ] && echo poll || echo fork) 2>&1 || echo FAILED
        done >/run/$3.log" >/dev/null
}
counted() { guest_run "$1" "grep -c '$3' /run/$2.log || true"; } # GUEST NAME REGEX
whole_state() {
        for g in A B; do pipe_file $g devices; pipe_file $g counters; pipe_file $g connections | tail -n 8; done
        tail -n 12 "$T/server.log"
}
survived() { # of A and B
        local g
        for g in A B; do
                expect_eq "1 " "$(guest_boots $g) $(grep -aE 'panic|BUG|Oops' "$T/$g.console" || true)" "starts of $g, and what its console says"
                expect_eq "" "$(kernel_complains $g)" "complaints of $g's kernel"
        done
}

step "three guests of a group"
network_start
pipe_server_start 256 128
pipe_guest_start A 1 --no-wait --mib 256 --cmdline "$PARANOID"
pipe_guest_start B 2 --no-wait --mib 256 --cmdline "$PARANOID" --kernel 6.12
pipe_guest_start C 3 --no-wait --mib 256 --cmdline iomem=relaxed
guest_wait A B C
for g in A B C; do network_up $g "$(tr ABC 123 <<<$g)"; done
pipe_load A B C
for g in A B C; do
        wait_until 20 "$g sees both others" says 'others=2' pipe_file $g devices
        serve_in $g 7000 pipestream serve 7000
done
streams A 10.0.0.2 to-B
streams B fd00::1 to-A
streams A 10.0.0.3 to-C
streams C 10.0.0.1 to-A
streams C 10.0.0.2 to-B
guest_spawn A 'pipestream hold 10.0.0.2 7000 100 >/run/hold' >/dev/null
wait_until 20 "A's connection to B is a pipe" says '10.0.0.2:7000 client pipe ok' pipe_file A connections
wait_until 20 "C has something to lie about" says '10.0.0.1:7000 client pipe ok' pipe_file C connections

step "C lies in the words that are its own to write"
before=$(pipe_counter A tx-pipe-bytes)
said=$(guest_run -t $((SECONDS_EACH + 60)) C "pipedev lie $SECONDS_EACH $SEED")
survived
expect_eq "0 0" "$(counted A to-B FAILED) $(counted B to-A FAILED)" "streams between A and B that failed"
guest_run A '! grep ended /run/hold' || fail "A's connection to B: $(guest_run A 'cat /run/hold')"
n=$(($(counted A to-B '^ok') + $(counted B to-A '^ok')))
moved=$((($(pipe_counter A tx-pipe-bytes) - before) / MIB))
[ "$n" -ge 4 ] || fail "only $n streams between A and B"
[ "$moved" -ge $((n * 2)) ] || fail "of $n streams of 4 MiB only $moved MiB of A's went by the pipe"
pass "$said; between A and B $n streams, every byte right, $moved MiB of A's by the pipe"
say "   C's devices: $(pipe_file C devices), $(pipe_counter C pipes) pipes"
say "   C's own: $(counted C to-A FAILED) + $(counted C to-B FAILED) failed, $(counted C to-A '^ok') + $(counted C to-B '^ok') did not; A to C: $(counted A to-C FAILED), $(counted A to-C '^ok')"
for g in A B; do say "   $g: $(pipe_counter $g resets) resets, $(pipe_counter $g bad-messages) bad messages, $(pipe_counter $g reason-nonsense) nonsense"; done

step "C rings as fast as it can"
n=$(counted A to-B '^ok')
said=$(guest_run -t 60 C 'pipedev storm 10')
wait_until 30 "a stream from A to B ends well" "[ \$(counted A to-B '^ok') -gt $n ]"
survived
pass "$said"

step "C writes over everybody's words"
said=$(guest_run -t $((SECONDS_EACH + 60)) C "pipedev garbage $SECONDS_EACH $SEED")
survived
pass "$said; between A and B $(counted A to-B '^ok') + $(counted B to-A '^ok') streams ended well so far, $(counted A to-B FAILED) + $(counted B to-A FAILED) did not"

step "C is gone"
guest_destroy C
for g in A B; do guest_run $g 'touch /run/stop; killall pipestream || true'; done
# the host gives those another chance after ten seconds whose rings it found nonsense in
wait_until 60 "the host takes both for good" '! tail -n 3 "$T/server.log" | grep -q "state 3"'
for g in A B; do
        wait_until 60 "$g sees the other alone" says 'epoch=[1-9].* others=1' pipe_file $g devices
        serve_in $g 7100 pipestream serve 7100
done
before=$(pipe_counter A tx-pipe-bytes)
expect_match '^ok ' "$(guest_run -t 60 A 'pipestream run 10.0.0.2 7100 20 1 poll')" "a stream without C"
[ "$(pipe_counter A tx-pipe-bytes)" -gt $((before + 8 * MIB)) ] || { whole_state; fail "only $(($(pipe_counter A tx-pipe-bytes) - before)) bytes of 20 MiB by the pipe"; }
survived
pass "A and B are back in the pipe"
