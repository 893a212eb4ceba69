#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The raw device, while memory comes and goes; then its disk is slow, takes no writes, fails, is full: no page is ever wrong
# kernels: 6.12
# timeout: 1200
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-flex.sh"
# for experiments: one of the guests
GUESTS=${FLEX_GUESTS:-A B} DISK_MIB=256 POOL_MIB=64 QUOTA_MIB=32
declare -A KERNEL=([A]=stable [B]=6.12)
SECTORS=$((DISK_MIB * 2048)) SLOW_MSEC=1000

disk_is() { # GUEST healthy|slow|no-writes|broken: from now on
        local table
        case $2 in
        healthy) table="0 $SECTORS linear /dev/vda 0" ;;
        slow) table="0 $SECTORS delay /dev/vda 0 $SLOW_MSEC" ;;
        no-writes) table="0 $SECTORS flakey /dev/vda 0 0 3600 1 error_writes" ;;
        broken) table="0 $SECTORS error" ;;
        esac
        guest_run -t 60 "$1" "echo '$table' | dmtable disk"
}
raw() { guest_run -t 120 "$1" "flexraw ${*:2}"; } # GUEST WORDS...
word() { tr ' ' '\n' <<<"$2" | sed -n "s/^$1=//p"; } # KEY TEXT
checked() { # GUEST FIRST COUNT TIMES: that many pages, all of them right
        local said
        said=$(raw "$1" check /dev/memflex0 "$2" "$3" "$4")
        expect_match "^right=$3 wrong=0 failed=0 " "$said" "$1: pages $2 to $(($2 + $3 - 1))"
        word slowest_usec "$said"
}
all_in_pool() { # GUEST FIRST COUNT TIMES: written so, each of them found room in there
        local before
        before=$(stat_of "$1" io_stat 4)
        raw "$1" fill /dev/memflex0 "$2" "$3" "$4" >/dev/null
        [ $(($(stat_of "$1" io_stat 4) - before)) -eq "$3" ]
}
lent_at_most() { [ "$(flex_lent_kib "$1")" -le "$2" ]; } # GUEST KIB

step "two guests, of kernels 6.1 and 6.12, whose disks are device-mapper's"
for g in $GUESTS; do flex_server_start $g $POOL_MIB $QUOTA_MIB; done
for g in $GUESTS; do flex_guest_start $g $DISK_MIB --mib 256 --kernel ${KERNEL[$g]}; done
# shellcheck disable=SC2086
guest_wait $GUESTS
for g in $GUESTS; do
        guest_run $g 'modprobe -a virtio_blk dm-mod dm-delay dm-flakey mempipe'
        expect_eq /dev/dm-0 "$(disk_is $g healthy)" "the disk's device"
        guest_run $g 'modprobe memflex backing=/dev/dm-0 verify=1'
        wait_until 20 "$g's session runs" flex_runs $g
        flex_say $g callback 600000 # nobody is late
done

step "raw: runs of pages written, read and discarded at random, while all is called back and lent again"
raw_ended() { # in all guests
        local g
        for g in $GUESTS; do guest_run -t 60 "$g" '! pidof flexraw >/dev/null' || return 1; done
}
come_and_go() { # GUEST
        flex_say "$1" target 0
        wait_until 60 "$1 has given back all" lent_at_most "$1" 0
        flex_say "$1" target $QUOTA_MIB
        wait_until 60 "$1 is lent something" '! lent_at_most '"$1"' 0'
}
for g in $GUESTS; do
        guest_spawn $g 'exec sleep 100000 </dev/memflex0' >/dev/null # a device that nobody has open wants no memory
        guest_spawn $g 'flexraw work /dev/memflex0 0 10000 12 >/run/raw.1 2>&1' >/dev/null
        guest_spawn $g 'flexraw work /dev/memflex0 20000 10000 12 >/run/raw.2 2>&1' >/dev/null
done
n=0
until [ $n -gt 0 ] && raw_ended; do
        for g in $GUESTS; do come_and_go $g; done
        n=$((n + 1))
done
for g in $GUESTS; do
        for said in "$(guest_file $g /run/raw.1)" "$(guest_file $g /run/raw.2)"; do
                expect_match '^right=[1-9][0-9]* wrong=0 failed=0 ' "$said" "$g: pages"
                [ "$(word discarded "$said")" -gt 10000 ] || fail "hardly any was discarded: $said"
                pass "$g, $n times called back: $said"
        done
        pass "$g: $(all_stats $g)"
        more_than $g wb_stat 1 1000 || fail "hardly any was written back"
done

step "raw: a file system, whose files are the same when they come from the disk"
for g in $GUESTS; do
        n=$(stat_of $g io_stat 2)
        guest_run -t 120 $g 'modprobe -a crc32c_generic ext4 && blkdiscard /dev/memflex0 && mke2fs -q -b 4096 /dev/memflex0 >/dev/null && mkdir /mnt && mount -t ext4 /dev/memflex0 /mnt
                for i in 1 2 3 4; do dd if=/dev/urandom of=/mnt/$i bs=1M count=4 2>/dev/null; done; sync; md5sum /mnt/[1-4] >/run/sums; echo 3 >/proc/sys/vm/drop_caches'
        come_and_go $g
        guest_run -t 120 $g 'md5sum -c /run/sums >/dev/null && echo 3 >/proc/sys/vm/drop_caches'
        more_than $g io_stat 2 $((n + 3500)) || fail "hardly any was read from the disk"
        guest_run -t 60 $g 'rm /mnt/[123] && sync && fstrim /mnt && md5sum /mnt/4 && umount /mnt' >/dev/null
        expect_between 1000 1700 "$(guest_run $g 'awk "{ print \$1 + \$3 }" /sys/block/memflex0/mm_stat')" "pages that are left of it after fstrim"
        guest_run $g 'blkdiscard /dev/memflex0'
        expect_eq "0 0 0 0" "$(guest_file $g /sys/block/memflex0/mm_stat)" "mm_stat after blkdiscard"
done

step "pages in the pool, and pages on the disk"
for g in $GUESTS; do
        wait_until 20 "the host lends to $g" more_than $g pool_stat 1 0
        wait_until 30 "pages find room" all_in_pool $g 0 6144 1
        raw $g fill /dev/memflex0 8192 4096 1 >/dev/null
        pass "$g: $(all_stats $g)"
        more_than $g mm_stat 1 6000 || fail "the pool is hardly used"
        more_than $g mm_stat 3 1000 || fail "the disk is hardly used"
        checked $g 0 6144 1 >/dev/null
        checked $g 8192 4096 1 >/dev/null
done

step "a disk of $SLOW_MSEC ms: what is in the pool is read and written meanwhile"
for g in $GUESTS; do
        disk_is $g slow >/dev/null
        before=$(stat_of $g wb_stat 1)
        guest_spawn $g 'flexraw check /dev/memflex0 0 2048 1 >/dev/null' >/dev/null # the oldest, which room was made of
        flex_say $g target $((QUOTA_MIB - 8))
        wait_until 20 "somebody waits for the disk, and so does write-back" '[ "$(stat_of '$g' wb_stat 1)" -gt '"$before"' ]'
        usec=$(checked $g 4096 2048 1) # not the oldest ones, which are written back
        [ "$usec" -lt $((SLOW_MSEC * 1000)) ] || fail "a page of the pool took $usec us"
        said=$(raw $g fill /dev/memflex0 5120 1024 2)
        [ "$(word slowest_usec "$said")" -lt $((SLOW_MSEC * 1000)) ] || fail "a write to the pool: $said"
        pass "$g: a page of the pool took $usec us at most, one written $(word slowest_usec "$said"), with a disk that takes $SLOW_MSEC ms; $(all_stats $g)"
        guest_run -t 60 $g 'killall flexraw'
        wait_until 60 "what was called back is given" lent_at_most $g $(((QUOTA_MIB - 8) * 1024))
        disk_is $g healthy >/dev/null
        checked $g 0 5120 1 >/dev/null
        checked $g 5120 1024 2 >/dev/null
done

step "a disk that takes no writes: pages stay in the pool, and it is tried again"
for g in $GUESTS; do
        disk_is $g no-writes >/dev/null
        pages=$(stat_of $g mm_stat 1)
        flex_say $g target 4
        wait_until 20 "writes have failed" more_than $g wb_stat 3 0
        n=$(stat_of $g wb_stat 3)
        wait_until 20 "they are tried again" more_than $g wb_stat 3 "$n"
        expect_between $((pages - 64)) "$pages" "$(stat_of $g mm_stat 1)" "$g: pages in the pool"
        checked $g 0 5120 1 >/dev/null
        checked $g 5120 1024 2 >/dev/null
        checked $g 8192 4096 1 >/dev/null
        raw $g fill /dev/memflex0 5120 1024 3 >/dev/null # over themselves, as long as they are in the pool
        pass "$g: $(all_stats $g)"
        disk_is $g healthy >/dev/null
        wait_until 30 "what was called back is given" lent_at_most $g 4096
        checked $g 0 5120 1 >/dev/null
        checked $g 5120 1024 3 >/dev/null
        checked $g 8192 4096 1 >/dev/null
        expect_eq 0 "$(stat_of $g mm_stat 4)" "lost pages"
done

step "a broken disk: what is there cannot be read, and is right when it is there again"
for g in $GUESTS; do
        flex_say $g target $QUOTA_MIB
        wait_until 20 "the host lends to $g" more_than $g pool_stat 4 100
        wait_until 30 "pages find room" all_in_pool $g 0 2048 4
        disk_is $g broken >/dev/null
        checked $g 0 2048 4 >/dev/null
        said=$(raw $g check /dev/memflex0 8192 4096 1)
        expect_match " wrong=0 failed=[1-9]" "$said" "$g: pages on a broken disk"
        pass "$g: $said"
        disk_is $g healthy >/dev/null
        checked $g 0 2048 4 >/dev/null
        checked $g 2048 3072 1 >/dev/null
        checked $g 5120 1024 3 >/dev/null
        checked $g 8192 4096 1 >/dev/null
done

step "the same with processes that swap: errors are theirs alone"
for g in $GUESTS; do
        guest_run $g 'killall sleep; blkdiscard /dev/memflex0 && mkswap /dev/memflex0 >/dev/null && swapon /dev/memflex0
                mount -t cgroup2 none /sys/fs/cgroup && cd /sys/fs/cgroup && echo +memory >cgroup.subtree_control && mkdir keep load
                echo 0 >keep/memory.swap.max
                for p in $(cat cgroup.procs); do echo $p >keep/cgroup.procs; done 2>/dev/null
                echo 40M >load/memory.max'
        guest_spawn $g 'echo $$ >/sys/fs/cgroup/load/cgroup.procs; exec flexload 120 2' >/dev/null
done
for g in $GUESTS; do
        wait_until 120 "all is written in $g" load_is $g full
        reads_on $g 5000
        more_than $g mm_stat 3 4000 || fail "the disk is hardly used: $(all_stats $g)"
        guest_run $g 'killall -STOP flexload; echo max >/sys/fs/cgroup/load/memory.max' # it swaps in, and nothing out
        disk_is $g broken >/dev/null
        guest_run $g 'killall -CONT flexload'
        wait_until 30 "pages are refused" '[ "$(load_of '$g' refused)" -gt 1000 ]'
        reads_on $g 2000
        pass "$g: $(guest_run $g 'cat /run/flexload'), $(all_stats $g)"
        disk_is $g healthy >/dev/null
        guest_run -t 120 $g 'echo 40M >/sys/fs/cgroup/load/memory.max'
        reads_on $g 5000
        load_end $g
        load_ended_well $g
        expect_eq 0 "$(guest_oom_kills $g)" "OOM kills"
done

step "more is used than there is: the OOM killer comes when the pool and the disk are full, and not before"
for g in $GUESTS; do
        guest_run -t 60 $g 'swapoff /dev/memflex0 && rmmod memflex && echo "0 131072 linear /dev/vda 0" | dmtable small >/dev/null && modprobe memflex backing=/dev/dm-1'
        flex_say $g quota 16
        flex_say $g target 16
        wait_until 20 "$g's session runs" flex_runs $g
        guest_run $g 'mkswap /dev/memflex0 >/dev/null && swapon /dev/memflex0 && echo max >/sys/fs/cgroup/load/memory.max'
        # nothing is started meanwhile, as there is no memory to do it in
        guest_spawn $g 'most=0; while read -r pool same disk lost </sys/block/memflex0/mm_stat && read -r chunks rest </sys/block/memflex0/pool_stat; do
                [ $((pool + same + disk)) -le $most ] || { most=$((pool + same + disk)); echo $pool $same $disk $lost $chunks >/run/tiers; }; done' >/dev/null
        guest_spawn $g 'echo $$ >/sys/fs/cgroup/load/cgroup.procs; exec flexload 600 1' >/dev/null
done
for g in $GUESTS; do
        wait_until 180 "the OOM killer has come to $g" '[ "$(guest_oom_kills '$g')" -gt 0 ]'
        # pages in the pool, of one value, on the disk; chunks that it has: when most was used
        read -r pool same disk lost chunks <<<"$(guest_file $g /run/tiers)"
        guest_run $g 'dmesg | grep -E "invoked oom|Free swap|Total swap|Out of memory"' | sed 's/^/    /'
        pass "$g: $pool pages in the pool of $chunks chunks, $disk on the disk, $same of one value, of $((64 * 256)) of the device"
        expect_eq 0 "$lost" "lost pages"
        expect_between $((64 * 256 * 97 / 100)) $((64 * 256)) $((pool + same + disk)) "pages of the device in use"
        # up to an eighth of it is made room in ahead, as long as the disk takes what is older
        expect_between $((16 * 256 * 85 / 100)) $((16 * 256)) "$pool" "pages of the pool in use"
done
# shellcheck disable=SC2086
no_kernel_complains $GUESTS
