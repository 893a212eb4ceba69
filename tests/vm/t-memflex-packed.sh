#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Guests compress what they swap to lent memory, which is called back and lent again: more fits in, and no page is ever wrong
# kernels: 6.12
# timeout: 600
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-flex.sh"
# for experiments: other guests, compressors, loads
GUESTS=${FLEX_GUESTS:-A B} QUOTA_MIB=32 LOAD_MIB=${FLEX_LOAD_MIB:-180}
declare -A KERNEL=([A]=stable [B]=6.12) ALGORITHM=([A]=${FLEX_ALGORITHM:-lz4} [B]=${FLEX_ALGORITHM:-zstd})

packed_stats() { echo "comp: $(guest_run -t 60 "$1" 'cat /sys/block/memflex0/comp_stat'), $(all_stats "$1")"; }
packs_well() { # GUEST: what is packed takes less than half; all numbers are of one moment
        guest_run -t 60 "$1" 'cat /sys/block/memflex0/mm_stat /sys/block/memflex0/comp_stat' | tr '\n' ' ' |
                awk '{ whole = $1 - $5; exit !($5 > 2000 && $5 > 2 * ($6 - whole)) }'
}

step "two guests, of kernels 6.1 and 6.12, that compress by ${ALGORITHM[*]}"
for g in $GUESTS; do flex_server_start $g 64 $QUOTA_MIB; done
for g in $GUESTS; do flex_guest_start $g 512 --kernel ${KERNEL[$g]}; done
# shellcheck disable=SC2086 # some
guest_wait $GUESTS
for g in $GUESTS; do
        expect_fails "a compressor that there is not" guest_run $g "modprobe virtio_blk && modprobe memflex backing=/dev/vda comp_algorithm=none-such && [ -e /dev/memflex0 ]"
        guest_run $g "rmmod memflex; modprobe ${ALGORITHM[$g]} && modprobe memflex backing=/dev/vda verify=1 comp_algorithm=${ALGORITHM[$g]}"
        expect_match "\[${ALGORITHM[$g]}\]" "$(guest_run $g 'cat /sys/block/memflex0/comp_algorithm')" "what it says"
        guest_run $g 'mkswap /dev/memflex0 >/dev/null && swapon /dev/memflex0'
        wait_until 20 "the host lends to $g" more_than $g pool_stat 1 0
        guest_spawn $g "exec flexload $LOAD_MIB 2 packs" >/dev/null
done

step "they use $LOAD_MIB MiB each, of $(guest_run "${GUESTS%% *}" 'sed -n "s/MemAvailable: *//p" /proc/meminfo')"
for g in $GUESTS; do
        wait_until 180 "all is written in $g" load_is $g full
        pass "$g: $(packed_stats $g)"
        wait_until 20 "the pool holds much more than it takes" packs_well $g
done

step "all is called back, and lent again"
for g in $GUESTS; do flex_say $g target 0; done
for g in $GUESTS; do
        wait_until 60 "$g has given back all" '[ "$(flex_lent_kib '$g')" = 0 ]'
        pass "$g: $(flex_says $g)"
        expect_eq "0 0" "$(stat_of $g comp_stat 1) $(stat_of $g comp_stat 2)" "packed pages, and what they take"
        reads_on $g 2000
        flex_say $g target $QUOTA_MIB
done
for g in $GUESTS; do
        wait_until 60 "$g swaps to the pool again" more_than $g comp_stat 1 1000
        reads_on $g 5000
done

step "the pool is unplugged while it is full of packed pages, and plugged in again"
for g in $GUESTS; do
        wait_until 60 "$g has many" more_than $g comp_stat 1 2000
        flex_unplug $g
        pass "$g: $(packed_stats $g)"
        expect_eq "0 0" "$(stat_of $g comp_stat 1) $(stat_of $g comp_stat 2)" "packed pages, and what they take"
        reads_on $g 2000
        flex_plug $g
done
for g in $GUESTS; do wait_until 60 "$g swaps to the pool again" more_than $g comp_stat 1 1000; done

step "every page is read once more"
for g in $GUESTS; do load_end $g; done
for g in $GUESTS; do
        load_ended_well $g
        pass "$g: $(packed_stats $g)"
        more_than $g comp_stat 5 500 || fail "hardly any page was left as it was"
        expect_eq "0 0" "$(stat_of $g wb_stat 3) $(stat_of $g verify_stat 2)" "errors, wrong pages"
done

step "swapoff: all is free, and given back"
for g in $GUESTS; do
        guest_run -t 60 $g 'swapoff /dev/memflex0'
        wait_until 20 "$g has no chunk" '[ "$(stat_of '$g' pool_stat 1) $(stat_of '$g' mm_stat 1) $(stat_of '$g' comp_stat 2)" = "0 0 0" ]'
        wait_until 10 "the host has them" '[ "$(flex_lent_kib '$g')" = 0 ]'
        guest_run $g 'rmmod memflex'
        expect_eq "" "$(guest_run $g 'dmesg | grep -E "BUG|WARNING|Oops|refcount|hung|blocked for" || true')" "complaints of $g's kernel"
done
pass "no complaints of the kernels"
