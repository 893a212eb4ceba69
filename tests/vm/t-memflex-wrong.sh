#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Lent memory or a disk that answers with something else than was written: with verify=1 its reader gets an error, never wrong data
# kernels: 6.12
# timeout: 600
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-flex.sh"
MIB=3 PAGES=$((3 * 256)) # less than what is lent before anything is written
declare -A KERNEL=([A]=stable [B]=6.12)

flips() { # GUEST: one bit of each page that is lent
        local n
        n=$(grep -c '^flipped' "$T/flex.$1.log" || true)
        flex_say "$1" flip
        wait_until 10 "the host's memory is another" '[ "$(grep -c "^flipped" "$T/flex.'"$1"'.log")" -gt '"$n"' ]'
        pass "$1: $(grep '^flipped' "$T/flex.$1.log" | tail -n 1)"
}
page_of() { guest_run "$1" 'cat /run/flexpage 2>/dev/null || true' | tr ' ' '\n' | sed -n "s/^$2=//p"; } # GUEST KEY
looks_are() { [ "$(page_of "$1" looks)" = "$2" ]; }
looks() { # GUEST: the program reads all its memory, and is swapped out again
        local n
        n=$(page_of "$1" looks)
        guest_run "$1" 'killall -USR1 flexpage'
        wait_until 60 "$1 has read all" looks_are "$1" $((n + 1))
        pass "$1: $(guest_run "$1" 'cat /run/flexpage')"
}
expect_all_right() { # GUEST
        looks "$1"
        expect_eq "$PAGES 0 0" "$(page_of "$1" right) $(page_of "$1" wrong) $(page_of "$1" bus)" "pages: right, wrong, not to be had"
}
expect_errors() { # GUEST LEAST: so many pages cannot be had, all others are right
        local before
        before=$(stat_of "$1" verify_stat 2)
        looks "$1"
        expect_eq 0 "$(page_of "$1" wrong)" "wrong pages"
        [ "$(page_of "$1" bus)" -ge "$2" ] || fail "too few were found"
        more_than "$1" verify_stat 2 "$before" || fail "they are not counted"
}

step "two guests, of kernels 6.1 and 6.12, with verify=1"
for g in A B; do flex_server_start $g 32 16; done
for g in A B; do flex_guest_start $g 64 --kernel ${KERNEL[$g]}; done
guest_wait A B
for g in A B; do
        guest_run $g 'modprobe virtio_blk && modprobe memflex backing=/dev/vda verify=1 && mkswap /dev/memflex0 >/dev/null && swapon /dev/memflex0'
        expect_eq 1 "$(stat_of $g verify_stat 1)" "it verifies"
        wait_until 20 "the host lends to $g" more_than $g pool_stat 1 12
        guest_spawn $g "exec flexpage $MIB" >/dev/null
        wait_until 60 "it is swapped out" looks_are $g 0
        more_than $g mm_stat 1 $((PAGES * 3 / 4)) || fail "it is not in the pool"
        expect_all_right $g
done

step "a bit of each page in lent memory is another"
for g in A B; do
        more_than $g mm_stat 1 $((PAGES * 3 / 4)) || fail "it is not in the pool again"
        flips $g
        expect_errors $g $((PAGES / 2))
        expect_match 'is not what was written' "$(guest_run $g 'dmesg | grep memflex')" "the kernel's words"
        flips $g
        expect_all_right $g
done

step "it is written back, and the disk has something else"
for g in A B; do
        more_than $g mm_stat 1 $((PAGES * 3 / 4)) || fail "it is not in the pool again"
        flex_say $g target 0
        wait_until 30 "all is on the disk" '[ "$(flex_lent_kib '$g')" = 0 ]'
        cp "$T/$g.img" "$T/$g.right"
        dd if=/dev/zero of="$T/$g.img" bs=4096 seek=1 count=16383 conv=notrunc status=none
        expect_errors $g $((PAGES / 2))
        dd if="$T/$g.right" of="$T/$g.img" bs=1M conv=notrunc status=none
        expect_all_right $g
done

step "as a plain device"
for g in A B; do
        guest_run $g 'killall flexpage && swapoff /dev/memflex0'
        flex_say $g target 16
        guest_spawn $g 'exec sleep 600 </dev/memflex0' >/dev/null # nothing is lent to who does not have it open
        wait_until 20 "the host lends to $g" more_than $g pool_stat 1 12
        guest_run $g 'dd if=/bin/busybox of=/run/right bs=64k count=16 2>/dev/null && dd if=/run/right of=/dev/memflex0 bs=64k oflag=direct 2>/dev/null'
        more_than $g mm_stat 1 128 || fail "it is not in the pool"
        flips $g
        expect_match 'error' "$(guest_run $g 'dd if=/dev/memflex0 bs=4k count=256 iflag=direct 2>&1 >/dev/null || true')" "what dd says"
        flips $g
        guest_run $g 'dd if=/dev/memflex0 bs=64k count=16 iflag=direct 2>/dev/null | cmp - /run/right'
        expect_eq "" "$(guest_run $g 'dmesg | grep -E "BUG|WARNING|Oops|refcount|hung|blocked for" || true')" "complaints of $g's kernel"
        guest_run $g 'killall sleep'
        wait_until 20 "the module goes" guest_run $g 'rmmod memflex'
done
pass "no complaints of the kernels"
