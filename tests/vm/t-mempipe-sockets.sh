#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What programs see of a socket is the same by the pipe as by the network, in each of 102 cases
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"

cases() { # FILE [ARGUMENT...]: of A against B
        local file=$1
        shift
        guest_run -t 180 A "sockcases run 10.0.0.2 7000 $* 2>/run/stray" >"$file" || true
        guest_run A 'cat /run/stray'
}

step "two guests with a network and a shared memory"
two_pipe_guests
ktls_load A B
serve_in B 7000 sockcases serve 7000

step "by the network"
cases "$T/tcp.txt"
n=$(grep -c ' client' "$T/tcp.txt")
[ "$n" -ge 60 ] || fail "only $n cases ran"
expect_eq "" "$(grep lost "$T/tcp.txt" || true)" "cases without an end, by the network"
grep ktls "$T/tcp.txt" | sed 's/^/    /'
expect_eq 2 "$(grep -c 'ktls .*ulp=0 tx=0 rx=0.* right=1$' "$T/tcp.txt" || true)" "ends that can do kTLS"
pass "$n cases"

step "by the pipe"
pipe_load A B
stray=$(cases "$T/pipe.txt" --ready /sys/kernel/debug/mempipe/connections)
[ -z "$stray" ] || for g in A B; do pipe_file $g devices; pipe_file $g counters | grep reason; done
expect_eq "" "$stray" "cases that did not go by the pipe"
diff -u "$T/tcp.txt" "$T/pipe.txt" >"$T/diff.txt" || { cat "$T/diff.txt"; fail "cases differ"; }
pass "$n cases, the same to the letter, $(($(pipe_counter A tx-pipe-bytes) >> 20)) MiB of A by the pipe, $(pipe_counter A udp-tx-datagrams) datagrams by the ring"
no_kernel_complains A B
