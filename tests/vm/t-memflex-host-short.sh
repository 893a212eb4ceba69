#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The host runs short while a guest writes back to a slow disk what it was lent, and cannot be cured: no page is ever wrong
# timeout: 600
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-flex.sh"
. "$(dirname "$0")/lib-small-host.sh"
need_daemon
RESERVE_MIB=256 SPARE_MIB=240 DISK_MIB_PER_S=8 KERNEL=${FLEX_KERNEL:-stable}

lent_mib() { echo $(($(swap A lent_kib) / 1024)); }
fills_its_pool() {
        wait_until 120 "A has filled what it is lent" '[ "$(swap A used_kib)" -gt 49152 ]'
        pass "$(ctl swap list | tail -n 1)"
}
# Some of what is called back has come, and some has not; CMD makes the host short just then. What the guest says of itself comes later.
in_the_middle() { # CMD...
        local most
        most=$(($(swap A lent_kib) - 8192))
        wait_until 60 "A is called back, and gives" 'is_giving '$most
        "$@"
        pass "$(lent_mib) MiB are still to be given back; $(guest_run -t 60 A 'cat /run/flexload')"
}
is_giving() { # LENT_KIB_AT_MOST
        local lent
        lent=$(swap A lent_kib)
        [ "$lent" -gt 0 ] && [ "$lent" -le "$1" ] && [ "$(swap A target_kib)" -lt "$lent" ]
}
gave_back() { [ "$(swap A lent_kib)" -le "$(swap A target_kib)" ]; }

step "a guest with four times its memory in use, half of it swapped to idle memory of a small host"
disk=$(flex_disk A 1024)
guest_start A --extra --mib 128 --max 128 --vcpus 2 --kernel "$KERNEL" --no-wait \
        --devices "${disk/<target/<iotune><write_bytes_sec>$((DISK_MIB_PER_S << 20))<\/write_bytes_sec><\/iotune><target}"
guest_start B --mib 448 --swap 128 --no-wait
guest_wait A B
load_start B 320 --rate 200 # what a guest never touched is charged to it, and not there
wait_until 60 "B has touched its memory" load_filled B
load_release B
small_host $RESERVE_MIB $SPARE_MIB A B
DAEMON_WRAP="$T/on-a-small-host $B/tests/fd-store" daemon_start "[Host]
Reserve=${RESERVE_MIB}M" "[Guest *]
Floor=64M
Cushion=16M
SettleSec=0
CoolDownSec=2
[Guest A]
Mode=observe
[Guest B]
Floor=448M
[Swap idle]
Guests=A
PoolSize=128M
Quota=96M
CallbackSec=60"
wait_until 60 "A has its device" '[ "$(swap A state)" = silent ]'
SHARED=$(shared_of "$(guest_pid A)")
feed_anew
guest_run A 'modprobe mempipe && modprobe virtio_blk && modprobe memflex backing=/dev/vda verify=1'
wait_until 20 "A's session runs" flex_runs A
guest_run A 'mkswap /dev/memflex0 >/dev/null && swapon /dev/memflex0'
guest_spawn A "exec flexload 320 2" >/dev/null
watch_books() { # until it is killed: what to look at after a failure
        while :; do
                echo "$(date +%T.%N | cut -c1-12) $(ctl status --json | jq -r '.host | "available \(.available_kib) alarm \(.alarm) lent \(.lent_kib)"') $(
                        ctl swap show --json | jq -r '.swaps[] | "want \(.wanted_kib) target \(.target_kib) lent \(.lent_kib) used \(.used_kib) back \(.written_back)"')"
                sleep 0.5
        done
}
watch_books >"$T/books" 2>/dev/null &
BOOKS=$!
fills_its_pool

step "another program takes most of what was to spare, and more while A writes back; B has nothing to give"
own $((SPARE_MIB - 70))
in_the_middle own $((SPARE_MIB - 40))
wait_until 60 "it is an emergency" daemon_logged 'The host is short of memory'
wait_until 120 "A has given back what it was to" gave_back
wait_until 60 "the emergency is over" daemon_logged 'The host has enough memory left again'
expect_eq none "$(host_value alarm)" "the alarm"
reads_on A 200
pass "$(ctl swap list | tail -n 1)"

step "it ends: A is lent memory again"
own 0
fills_its_pool

step "the host has nothing left, and guests cannot cure it, while A writes back"
own $((SPARE_MIB - 40))
in_the_middle own 2000
wait_until 90 "it is said that they cannot cure it" daemon_logged 'short of memory, and its guests cannot cure it'
wait_until 120 "A has given back all" '[ "$(swap A lent_kib)" = 0 ]'
reads_on A 200
stays_true 3 "nothing is lent" '[ "$(swap A lent_kib)" = 0 ]'
expect_eq exhausted "$(host_value alarm)" "the alarm"

step "memlegod is killed just then: the next one lends nothing either"
kept_daemon_kill9
wait_until 30 "A's swap is known" '[ "$(swap A state)" = talks ]'
stays_true 3 "nothing is lent" '[ "$(swap A lent_kib)" = 0 ]'
reads_on A 200

step "it ends, too, and every page is read once more"
own 0
fills_its_pool
load_end A
load_ended_well A
expect_eq "0 0" "$(swap A call_backs_late) $(swap A errors)" "call-backs that were late, errors"
for g in A B; do expect_eq 0 "$(guest_oom_kills $g)" "OOM kills in $g"; done
no_kernel_complains A B
kill $BOOKS
small_host_end
daemon_stop
