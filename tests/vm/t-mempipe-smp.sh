#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# With two processors in each guest: what programs see of a socket, many short connections, and switches while both are busy
# kernels: 6.12
# timeout: 580
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"
AT_ONCE=4 # programs in each direction
MIB=1048576

cases() { # FILE [ARGUMENT...]: of A against B
        local file=$1
        shift
        guest_run -t 250 A "sockcases run 10.0.0.2 7000 $* 2>/run/stray" >"$file" || true
        guest_run A 'cat /run/stray'
}
at_once() { # COMMAND: in both guests, so many at once against the other; prints what they said
        local g
        for g in A B; do
                guest_spawn $g "for i in \$(seq $AT_ONCE); do $* \$i >/run/said.\$i 2>&1 & done; wait; touch /run/all-said" >/dev/null
        done
        for g in A B; do
                wait_until 200 "all of $g have ended" guest_run $g '[ -e /run/all-said ]'
                guest_run $g 'cat /run/said.*; rm /run/said.* /run/all-said'
        done
}

step "two guests of two processors, of kernels 6.1 and 6.12"
two_pipe_guests "--vcpus 2" "--vcpus 2 --kernel 6.12"
for g in A B; do
        expect_eq 2 "$(guest_run $g 'grep -c ^processor /proc/cpuinfo')" "processors of $g"
        ktls_load $g
        serve_in $g 7000 sockcases serve 7000
        serve_in $g 7001 netload serve 7001
        serve_in $g 7002 pipestream serve 7002
done

step "what programs see"
cases "$T/tcp.txt"
pipe_load A B
stray=$(cases "$T/pipe.txt" --ready /sys/kernel/debug/mempipe/connections)
expect_eq "" "$stray" "cases that did not go by the pipe"
diff -u "$T/tcp.txt" "$T/pipe.txt" >"$T/diff.txt" || { cat "$T/diff.txt"; fail "cases differ"; }
pass "$(grep -c ' client' "$T/tcp.txt") cases, the same to the letter"

step "many short connections, from both sides, $AT_ONCE at once"
for g in A B; do guest_run $g "printf '#!/bin/sh\\nexec netload connect %s 7001 20\\n' 10.0.0.$(tr AB 21 <<<$g) >/run/short; chmod +x /run/short"; done
at_once /run/short | sed 's/^/    /'
for g in A B; do
        n=$(pipe_counter $g pipes)
        [ "$n" -ge 100 ] || fail "$g opened only $n pipes"
        wait_until 60 "$g has given all of them up" says 'pipes=0' pipe_file $g devices
done
pass "$(pipe_counter A adopted) connections of A, $(pipe_counter A pipes) pipes; B: $(pipe_counter B adopted), $(pipe_counter B pipes)"

step "streams both ways, switched while they run"
pipe_set flip_bytes 100000 A B
for g in A B; do guest_run $g "printf '#!/bin/sh\\nexec pipestream run %s 7002 8 \$1 fork\\n' 10.0.0.$(tr AB 21 <<<$g) >/run/switched; chmod +x /run/switched"; done
said=$(at_once /run/switched)
expect_eq $((2 * AT_ONCE)) "$(grep -c '^ok ' <<<"$said" || true)" "streams that ended well; they said: $said"
pass "$(pipe_counter A switches) switches of A, every byte of $((2 * AT_ONCE)) streams right"
for g in A B; do expect_eq "0 " "$(pipe_counter $g resets) $(kernel_complains $g)" "resets, complaints of $g's kernel"; done
