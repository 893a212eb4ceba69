#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Debian's fio writes to the raw device and verifies what it reads, while all that is lent is called back and lent again
# kernels: 6.12
# needs: programs
# timeout: 900
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-flex.sh"
. "$(dirname "$0")/lib-programs.sh"
# for experiments: fewer guests, other sizes
GUESTS=${FLEX_GUESTS:-A B} QUOTA_MIB=32 MIB=${FLEX_MIB:-96}
declare -A KERNEL=([A]=stable [B]=6.12) ALGORITHM=([A]=none [B]=lz4)

JOB="--filename=/dev/memflex0 --size=${MIB}m --direct=1 --ioengine=psync --thread --verify=crc32c --verify_fatal=1"
# What is written in order and at random, verified meanwhile and in the end; half of each block can be compressed.
FIO="fio --name=small --rw=randwrite --bs=4k --verify_backlog=512 $JOB &&
        fio --name=large --rw=write --bsrange=4k-256k --blockalign=4k --buffer_compress_percentage=50 --refill_buffers $JOB &&
        fio --name=mixed --rw=randrw --bsrange=4k-64k --blockalign=4k --buffer_compress_percentage=50 --refill_buffers $JOB"

fio_ended() { guest_run -t 60 "$1" '[ -s /run/fio.ended ]'; } # GUEST
all_ended() { local g; for g in $GUESTS; do fio_ended $g || return; done; }
# What is lent goes back and comes again, or everybody is through.
back_or_ended() { [ "$(flex_lent_kib "$1")" = 0 ] || all_ended; }                  # GUEST
again_or_ended() { [ "$(flex_lent_kib "$1")" -gt $((QUOTA_MIB * 512)) ] || fio_ended "$1"; } # GUEST

step "two guests, of kernels 6.1 and 6.12; one compresses"
for g in $GUESTS; do flex_server_start $g 64 $QUOTA_MIB; done
for g in $GUESTS; do
        guest_start $g --extra --mib 384 --vcpus 2 --no-wait --kernel ${KERNEL[$g]} --devices "$(flex_disk $g $((MIB * 2)))$(flex_device $g)$(programs_xml vdb)"
done
# shellcheck disable=SC2086 # some
guest_wait $GUESTS
for g in $GUESTS; do
        guest_run $g "modprobe virtio_blk; modprobe ${ALGORITHM[$g]} 2>/dev/null; modprobe memflex backing=/dev/vda verify=1 comp_algorithm=${ALGORITHM[$g]}"
        programs_mount $g vdb
        wait_until 20 "$g's session runs" flex_runs $g
done

step "$(guest_run "${GUESTS%% *}" 'fio --version') writes and verifies $MIB MiB, three times"
for g in $GUESTS; do guest_spawn $g "{ $FIO; } >/run/fio 2>&1; echo \$? >/run/fio.ended" >/dev/null; done
flips=0
until all_ended; do
        for g in $GUESTS; do wait_until 60 "$g is lent memory, or is through" again_or_ended $g; done
        for g in $GUESTS; do flex_say $g target 0; done
        for g in $GUESTS; do wait_until 60 "$g has given back all, or all are through" back_or_ended $g; done
        for g in $GUESTS; do flex_say $g target $QUOTA_MIB; done
        flips=$((flips + 1))
done
for g in $GUESTS; do
        expect_eq 0 "$(guest_run $g 'cat /run/fio.ended')" "fio in $g: $(guest_run $g 'tail -n 20 /run/fio')"
        expect_eq 3 "$(guest_run $g 'grep -c "err= 0" /run/fio')" "jobs of $g without an error"
        expect_eq "0 0" "$(stat_of $g wb_stat 3) $(stat_of $g verify_stat 2)" "errors, and wrong pages, of $g"
        expect_eq 0 "$(stat_of $g mm_stat 4)" "lost pages of $g"
        for field in 1 2 4 5; do more_than $g io_stat $field 100 || fail "hardly any: field $field of io_stat: $(all_stats $g)"; done
        pass "$g: $(all_stats $g)"
done
[ $flips -ge 3 ] || fail "it was called back $flips times only: FLEX_MIB= makes it last longer"
# shellcheck disable=SC2086
no_kernel_complains $GUESTS
pass "called back and lent again $flips times"
