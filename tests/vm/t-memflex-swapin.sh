#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What was swapped out comes back in batches when the balloon gives memory: before it is touched, hot pages first, within limits
# timeout: 600
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-flex.sh"
need_daemon
POOL_MIB=256 LOAD_MIB=180
G=A # the guest that is meant
back() { guest_run -t 60 $G 'cat /run/flexback' | tr ' ' '\n' | sed -n "s/^$1=//p"; } # KEY
back_did() { [ "$(back did) $(back n)" = "$1 $2" ]; }
program_touches() { # N: it goes over all of its memory, as the Nth thing that it does
        guest_run $G 'kill -USR1 $(pidof flexback)'
        wait_until 120 "it has touched all" back_did touched "$1"
        expect_eq 0 "$(back bad)" "wrong pages"
}
rate() { echo $((LOAD_MIB * 1000000 / ($1 + 1))) MiB/s; } # USEC
swapped_kib() { guest_run -t 60 $G 'sed -n "s/^VmSwap:[^0-9]*\([0-9]*\).*/\1/p" /proc/$(pidof flexback)/status'; }
swap_out() { # the balloon takes what the program has
        guest_set_mib A 144
        wait_until 90 "the balloon has taken it" actual_at_most A 150
        wait_until 60 "most of the program is swapped out" '[ "$(swapped_kib)" -gt $((70 * 1024)) ]'
        guest_set_mib A 384
        wait_until 60 "the balloon has given it back" actual_at_least A 384
}
swap_in() { guest_run -t 120 A "memflexctl swap-in $*" | tail -n 1; }

step "a guest with a pool that has room for half, and a disk"
flex_server_start A $POOL_MIB "${FLEX_QUOTA_MIB:-$((LOAD_MIB / 2))}"
flex_guest_start A 512 --mib 384 ${FLEX_KERNEL:+--kernel "$FLEX_KERNEL"}
guest_wait A
expect_match 'no /sys/block/memflex0' "$(guest_run A 'memflexctl status 2>&1 || true')" "status without the module"
guest_run A 'modprobe virtio_blk'
pass "$(guest_run A 'memflexctl setup --backing /dev/vda')"
pass "$(guest_run A 'memflexctl status')"
guest_spawn A "exec flexback $LOAD_MIB" >/dev/null
wait_until 60 "the program has written all" back_did wrote 1

step "by faults"
swap_out
pass "$(swapped_kib) KiB are out; $(guest_run A 'memflexctl status' | sed -n 2,3p | tr '\n' ' ')"
program_touches 2
pass "faults: $(back major) major, $(rate "$(back usec)")"

step "by memflexctl swap-in"
swap_out
out=$(swapped_kib)
pass "$out KiB are out; $(swap_in)"
expect_between 0 $((out / 50)) "$(swapped_kib)" "KiB that are left out"
program_touches 3
pass "then: $(back major) major faults, $(rate "$(back usec)")"
expect_between 0 100 "$(back major)" "major faults afterwards"

step "by swapoff"
swap_out
out=$(swapped_kib)
read -r a b <<<"$(guest_run -t 120 A 'a=$(cut -d" " -f1 /proc/uptime); swapoff /dev/memflex0; echo "${a/./}0 $(cut -d" " -f1 /proc/uptime | tr -d .)0"')"
pass "$out KiB: $((out / (b - a + 1))) MB/s"
guest_run A 'memflexctl setup'

step "the hottest first: what lies in lent memory comes before what is on the disk"
swap_out
in_pool() { guest_run A 'cut -d" " -f1 /sys/block/memflex0/mm_stat'; }
out=$(swapped_kib) pool=$(in_pool)
expect_match '4[0-2] of .*: as much as was asked for' "$(swap_in --limit 40)" "a limit of 40 MiB"
expect_between $((38 * 1024)) $((43 * 1024)) $((out - $(swapped_kib))) "KiB that came in"
expect_between $((38 * 256)) $((43 * 256)) $((pool - $(in_pool))) "pages that lent memory has less"

step "no more than there is room for"
expect_match ': no more memory is free than should stay so' "$(swap_in --watermark 200)" "a watermark of 200 MiB"
expect_between $((198 * 1024)) $((240 * 1024)) "$(guest_run A 'sed -n "s/^MemFree: *\([0-9]*\).*/\1/p" /proc/meminfo')" "KiB free"
expect_match '^0 of ' "$(swap_in --watermark 300)" "with more than there is"

step "it can be stopped"
swap_out
expect_match 'state=aborted 3$' "$(guest_run -t 60 A 'memflexctl swap-in --report >/run/out & pid=$!
        until grep -q running /run/out; do :; done
        memflexctl abort
        wait $pid || status=$?
        echo "$(tail -n 1 /run/out | cut -d" " -f1) $status"')" "memflexctl abort"
[ "$(swapped_kib)" -gt 10240 ] || fail "it was not stopped"
expect_match 'nothing is being swapped in' "$(guest_run A 'memflexctl abort 2>&1 || true')" "abort of nothing"
expect_match 'MiB in .*: all there was' "$(swap_in --pid "$(guest_run A 'pidof flexback')")" "of one process"
program_touches 4

step "it gives way: others wait for memory, where enough is free for it"
guest_run A 'mkdir -p /run/cg && mount -t cgroup2 none /run/cg && cd /run/cg && echo +memory >cgroup.subtree_control && mkdir tight && echo 24M >tight/memory.max'
others() { guest_spawn A 'echo $$ >/run/cg/tight/cgroup.procs; exec flexload 64 1' >/dev/null; } # need 40 MiB more than they may have
others_swap() { # all the time
        local n
        n=$(guest_run A 'sed -n "s/^pswpout //p" /proc/vmstat')
        wait_until 60 "others swap" '[ "$(guest_run A "sed -n \"s/^pswpout //p\" /proc/vmstat")" -gt $(('"$n"' + 2000)) ]'
}
swap_out
others
others_swap
out=$(swapped_kib)
expect_match 'state=pressure .* 3$' "$(guest_run -t 120 A 'status=0; memflexctl swap-in --report >/run/out || status=$?; echo "$(tail -n 1 /run/out) $status"')" "its end"
pass "$((out - $(swapped_kib))) of $out KiB had come in before"
[ "$(swapped_kib)" -gt $((out / 2)) ] || fail "it did not give way"

step "and goes on when they do not wait any more"
guest_spawn A 'memflexctl swap-in --report >/run/out2; echo "status=$?" >>/run/out2' >/dev/null
wait_until 30 "it waits" says 'state=waiting' guest_run A 'cat /run/out2'
guest_run A 'killall -KILL flexload'
wait_until 60 "it has ended" says '^status=' guest_run A 'cat /run/out2'
expect_match 'state=done .*status=0$' "$(guest_run A 'tail -n 2 /run/out2' | tr '\n' ' ' | sed 's/ $//')" "its end"
expect_between 0 $((out / 50)) "$(swapped_kib)" "KiB that are left out"
program_touches 5

step "while it is swapped to, it is not let go of"
expect_fails "rmmod" guest_run A 'rmmod memflex'
expect_fails "hibernation" guest_run A 'echo disk >/sys/power/state'
expect_match 'no hibernation while' "$(guest_run A dmesg)" "the kernel's word"
expect_match 'already' "$(guest_run A 'memflexctl setup')" "setup, again"
expect_match 'is loaded with /dev/vda as its disk, not /dev/vdb' "$(guest_run A 'memflexctl setup -b /dev/vdb 2>&1 || true')" "with another disk"
guest_run A 'echo Y >/sys/module/zswap/parameters/enabled'
expect_match 'zswap is on.*echo N' "$(guest_run A 'memflexctl status 2>&1')" "status with zswap"
no_kernel_complains A
guest_destroy A

step "memlegod orders it when it grants"
guest_start B --extra --mib 384 --vcpus 2 --monitor --devices "$(flex_disk B 512)"
G=B
daemon_start "[Host]
GuestMemory=900M" "[Guest *]
SettleSec=2
[Swap idle]
Guests=B
Quota=64M"
guest_run B 'modprobe virtio_blk'
wait_until 60 "B has its device" '[ "$(swap B state)" = silent ]'
guest_run B 'memflexctl setup --backing /dev/vda'
wait_until 30 "it is lent memory" '[ "$(swap B lent_kib)" -gt 0 ]'
guest_spawn B "exec flexback $LOAD_MIB" >/dev/null
wait_until 60 "the program has written all" back_did wrote 1
ctl set B 144M --hold=10min
wait_until 120 "the balloon has taken it" actual_at_most B 150
wait_until 60 "most of the program is swapped out" '[ "$(swapped_kib)" -gt $((70 * 1024)) ]'
out=$(swapped_kib) before=$(swap B swap_ins)
ctl set B 384M --hold=10min
wait_until 60 "memlegod has told B to swap in" '[ "$(swap B swap_ins)" -gt '"$before"' ]'
wait_until 120 "nearly all of the program is back" '[ "$(swapped_kib)" -lt $((8 * 1024)) ]'
wait_until 30 "it says so" "says '^[dlw]' swap B swap_in" # done, limit, watermark
pass "$out KiB were out; $(ctl swap show B | grep Swap-in)"
program_touches 2
pass "then: $(back major) major faults"
expect_between 0 2200 "$(back major)" "major faults afterwards"
expect_between 1 2048 "$(guest_run B 'grep Rss: /proc/$(pidof memlego-guestd)/smaps_rollup' | tr -dc 0-9)" "KiB of memlego-guestd"
expect_eq "" "$(guest_run B 'ps | grep [m]emflexctl || true')" "what is left of memflexctl"
daemon_stop
