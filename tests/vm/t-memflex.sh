#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Guests swap into memory that the host lends, calls back and lends again, and beyond it to their disks: no page is ever wrong
# kernels: 6.12
# timeout: 600
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-flex.sh"
# for experiments: fewer guests, other loads
GUESTS=${FLEX_GUESTS:-A B} POOL_MIB=64 QUOTA_MIB=48 LOAD_MIB=${FLEX_LOAD_MIB:-200} ROUNDS=${FLEX_ROUNDS:-2}
declare -A KERNEL=([A]=stable [B]=6.12)

step "two guests, of kernels 6.1 and 6.12, each with a pool and a disk"
for g in $GUESTS; do flex_server_start $g $POOL_MIB $QUOTA_MIB; done
for g in $GUESTS; do flex_guest_start $g 512 --kernel ${KERNEL[$g]}; done
# shellcheck disable=SC2086 # some
guest_wait $GUESTS
for g in $GUESTS; do
        guest_run $g 'modprobe mempipe && modprobe virtio_blk && modprobe memflex backing=/dev/vda verify=1'
        expect_eq $((512 * 2048)) "$(guest_run $g 'cat /sys/block/memflex0/size')" "sectors of the device"
        expect_match '[Bb]usy' "$(guest_run $g 'swapon /dev/vda 2>&1 || true')" "the disk is taken"
        wait_until 20 "$g's session runs" flex_runs $g
        guest_run $g 'mkswap /dev/memflex0 >/dev/null && swapon /dev/memflex0'
        wait_until 20 "the host lends to $g" more_than $g pool_stat 1 0
        expect_fails "rmmod while it is swapped to" guest_run $g 'rmmod memflex'
        guest_spawn $g "exec flexload $LOAD_MIB 2" >/dev/null
done

step "they use $LOAD_MIB MiB each, of $(guest_run "${GUESTS%% *}" 'sed -n "s/MemAvailable: *//p" /proc/meminfo')"
for g in $GUESTS; do
        wait_until 120 "all is written in $g" load_is $g full
        pass "$g: $(all_stats $g)"
        more_than $g mm_stat 1 $((QUOTA_MIB * 256 / 2)) || fail "the pool is hardly used"
        more_than $g mm_stat 3 1000 || fail "the disk is hardly used"
done

for ((i = 1; i <= ROUNDS; i++)); do
        step "all is called back, and lent again ($i)"
        for g in $GUESTS; do flex_say $g target 0; done
        for g in $GUESTS; do
                wait_until 60 "$g has given back all" '[ "$(flex_lent_kib '$g')" = 0 ]'
                pass "$g: $(flex_says $g)"
                reads_on $g 2000
                flex_say $g target $QUOTA_MIB
        done
        for g in $GUESTS; do
                wait_until 60 "$g swaps to the pool again" more_than $g mm_stat 1 2000
                reads_on $g 5000
        done
done

step "the pool is unplugged while it is full, and plugged in again"
for g in $GUESTS; do
        flex_unplug $g
        pass "$g: $(all_stats $g)"
        flex_plug $g
done
for g in $GUESTS; do wait_until 60 "$g swaps to the pool again" more_than $g mm_stat 1 2000; done

step "every page is read once more"
for g in $GUESTS; do load_end $g; done
for g in $GUESTS; do
        load_ended_well $g
        for field in 1 2 4 5; do
                more_than $g io_stat $field 1000 || fail "hardly any: field $field of io_stat"
        done
        more_than $g wb_stat 1 1000 || fail "hardly any was written back"
        more_than $g ra_stat 4 1000 || fail "hardly any was promoted: $(guest_run $g 'cat /sys/block/memflex0/ra_stat')"
        expect_eq "0 0" "$(stat_of $g wb_stat 3) $(stat_of $g verify_stat 2)" "errors, and wrong pages"
done

step "swapoff: all is free, and given back"
for g in $GUESTS; do
        guest_run -t 60 $g 'swapoff /dev/memflex0'
        wait_until 20 "$g has no chunk" '[ "$(stat_of '$g' pool_stat 1) $(stat_of '$g' mm_stat 1)" = "0 0" ]'
        wait_until 10 "the host has them" '[ "$(flex_lent_kib '$g')" = 0 ]'
done

disk_reads() { guest_run "$1" 'read -r n _ </sys/block/vda/stat; echo $n'; } # GUEST
disk_is_read_ahead() { # GUEST
        local before
        flex_say $1 target 0
        wait_until 20 "$1 knows that" '[ "$(stat_of '$1' pool_stat 4)" = 0 ]'
        before=$(disk_reads $1)
        pass "$1: $(guest_run -t 120 $1 'mkswap /dev/memflex0 >/dev/null && swaptime /dev/memflex0 24 out seq' | tr '\n' ' ')" # and compares every page
        pass "$1: $(($(disk_reads $1) - before)) requests to read; read ahead by us, and of these asked for: $(guest_run $1 'cat /sys/block/memflex0/ra_stat')"
        [ $(($(disk_reads $1) - before)) -lt 2048 ] || fail "most of its 6144 pages were not read ahead"
        expect_eq "0 0" "$(stat_of $1 wb_stat 3) $(stat_of $1 verify_stat 2)" "errors, and wrong pages"
        flex_say $1 target $QUOTA_MIB
}

step "nothing is lent: what is read from the disk in order is read ahead"
for g in $GUESTS; do
        disk_is_read_ahead $g
        more_than $g ra_stat 2 3000 || fail "not by us"
done

step "another module's life, as a device that does not answer at once: swap reads ahead itself"
for g in $GUESTS; do
        guest_run $g 'rmmod memflex && modprobe memflex backing=/dev/vda verify=1 at_once=N'
        wait_until 20 "a new session of $g runs" flex_runs $g
        disk_is_read_ahead $g
        expect_eq "0 0 0 0" "$(guest_run $g 'cat /sys/block/memflex0/ra_stat')" "pages that we read ahead or around"
done
# shellcheck disable=SC2086
no_kernel_complains $GUESTS
