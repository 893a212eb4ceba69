#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A guest whose balloon driver lies costs only itself: the others keep what they need, and nobody oscillates
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_daemon

reason_of() { ctl status --json | jq -r ".guests[] | select(.name == \"$1\") | .reason"; }
trust_of() { ctl status --json | jq -r ".guests[] | select(.name == \"$1\") | .trust"; }
# What was swapped out and never missed is no harm.
pages_missed() { guest_run "$1" "sed -n 's/^pswpin //p' /proc/vmstat"; }

step "two honest guests that need what they have, and a third"
guest_start A B liar --mib 208 --max 320 --swap 64
load_start A 80 --rate 80
load_start B 80 --rate 80
wait_until 30 "both loads are in memory" 'load_filled A && load_filled B'
daemon_start "[Host]
GuestMemory=700M
ManualGraceSec=3" "[Guest *]
Floor=128M
Cushion=24M
CushionRatio=5%
Predictor=last
SettleSec=0
CoolDownSec=2
ShrinkRate=20%"
wait_until 40 "all are managed" "[ \$(ctl status --json | jq .host.n_managed) = 3 ]"
wait_settled 20
pass "settled: A $(guest_actual_mib A), B $(guest_actual_mib B), liar $(guest_actual_mib liar) MiB"

# lie OPTIONS CONDITION: another driver in place of the one before; until memlegod sees it as it should
lie() {
        step "liar: $1"
        guest_run liar "rmmod virtio_balloon 2>/dev/null; rmmod liar 2>/dev/null; modprobe liar $1"
        wait_until 30 "memlegod sees through it: $2" "$2"
        wait_settled 40 # what it holds has to come from the others
        local a b
        a=$(moves A) b=$(moves B)
        stays_true 6 "the others keep what they need" 'actual_at_least A 165 && actual_at_least B 165'
        a=$(($(moves A) - a)) b=$(($(moves B) - b))
        [ $((a + b)) -le 6 ] || fail "the others oscillate: $a and $b moves in 6 s"
        pass "$(reason_of liar); A $(guest_actual_mib A), B $(guest_actual_mib B) MiB, after $a and $b moves"
}

# libvirt leaves out values that are all ones: to memlegod most of them are missing
lie "stats=ones" '[[ $(trust_of liar) =~ stale|impossible ]]'
lie "stats=huge" '[ "$(trust_of liar)" = impossible ]'
lie "stats=once" '[ "$(trust_of liar)" = stale ]'
# "My balloon is empty", whatever it is asked for: at first it looks as if an operator had set it.
lie "actual=0" '[ "$(reason_of liar)" = stuck ]'
# A size that makes QEMU's arithmetic wrap around
lie "actual=4294967295" 'daemon_alive && ctl status >/dev/null'
# Says that it gives, and gives nothing: it gives itself away by what it then calls usable.
lie "obey=1" '[ "$(trust_of liar)" = impossible ]'

step "nobody else was hurt"
for g in A B; do
        load_probe $g
        expect_eq 0 "$(guest_oom_kills $g)" "OOM kills in $g"
        expect_between 0 256 "$(pages_missed $g)" "pages that $g had to read back from swap"
done
expect_eq true "$(ctl status --json | jq '.host.charged_kib <= .host.budget_kib + 330 * 1024')" "the books are sane"
daemon_stop
