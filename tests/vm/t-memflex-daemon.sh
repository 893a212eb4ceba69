#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A guest uses four times its memory, in what memlegod lends, calls back and lends again, and dies meanwhile: no page is ever wrong
# timeout: 900
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-flex.sh"
need_daemon
# for experiments: other loads, the other kernel
LOAD_MIB=${FLEX_LOAD_MIB:-768} ROUNDS=${FLEX_ROUNDS:-4} KERNEL=${FLEX_KERNEL:-stable}

policy() { # GUESTS THAT ARE LENT MEMORY
        printf '%s\n' "[Guest *]" "SettleSec=2" "[Guest A]" "Mode=observe" "[Swap idle]" "Guests=$1" "PoolSize=128M" "Quota=96M" "CallbackSec=30"
}
lend_to() { # GUESTS: from now on
        daemon_policy "$(policy "$1")"
        daemon_reload
}
evidence_of() { pass "$1: $(ctl swap list | tail -n 1), $(guest_run -t 60 A 'cat /run/flexload')"; } # WHAT

# budget, charged, reserved, lent; as often as it can be asked, also of a memlegod that is just dying
watch_ledger() {
        while :; do
                ctl status --json | jq -r '.host | "\(.budget_kib) \(.charged_kib) \(.reserved_kib) \(.lent_kib)"' || true
                sleep 0.5
        done
}
progress() { guest_run -t 60 A 'cat /run/flexload' | tr ' ' '\n' | awk -F= '/^filled|^read/ { n += $2 } END { print n }'; }
goes_on() { # PAGES: its load uses so many more
        local n
        n=$(progress)
        wait_until 60 "A's load goes on" '[ "$(progress)" -gt '$((n + $1))' ]'
}
called_back() {
        wait_until 60 "A has given back all" '[ "$(swap A lent_kib)" = 0 ]'
        evidence_of "called back"
}
lent_again() {
        wait_until 60 "it is lent, and used again" '[ "$(swap A used_kib)" -gt 16384 ]'
        evidence_of "lent again"
}

# Both sides' figures, by the same names; the guest's are told once a second.
ours() {
        ctl swap show --json | jq -r '.swaps[] | select(.guest == "A") | "held=\(.held_kib) used=\(.used_kib) same=\(.same_kib) disk=\(.on_disk_kib) " +
                "pool-reads=\(.pool_reads) disk-reads=\(.disk_reads) pool-writes=\(.pool_writes) disk-writes=\(.disk_writes) written-back=\(.written_back) errors=\(.errors)"'
}
theirs() {
        guest_run -t 60 A 'cd /sys/block/memflex0; cat pool_stat mm_stat io_stat wb_stat' | tr '\n' ' ' | awk '{
                printf "held=%d used=%d same=%d disk=%d pool-reads=%d disk-reads=%d pool-writes=%d disk-writes=%d written-back=%d errors=%d\n",
                        $1 * 256, $7 * 4, $8 * 4, $9 * 4, $11, $12, $14, $15, $18, $20 }'
}

step "memlegod plugs the device into a guest with a swap disk"
guest_start A --extra --vcpus 2 --kernel "$KERNEL" --no-wait --devices "$(flex_disk A 1024)"
guest_start B --max 384 --swap 64 --no-wait
guest_wait A B
DAEMON_WRAP="$B/tests/fd-store" daemon_start "[Host]
GuestMemory=560M
Reserve=5%" "$(policy A)"
wait_until 40 "A has its device, and memlegod sees its QEMU" '[ "$(swap A state)" = silent ]'
guest_run A 'modprobe mempipe && modprobe virtio_blk && modprobe memflex backing=/dev/vda verify=1'
wait_until 20 "A's session runs" flex_runs A
guest_run A 'mkswap /dev/memflex0 >/dev/null && swapon /dev/memflex0'
wait_until 20 "it is lent something" '[ "$(swap A lent_kib)" -gt 0 ]'
watch_ledger >"$T/ledger" 2>/dev/null &
WATCH=$!
guest_spawn A "exec flexload $LOAD_MIB 2" >/dev/null
lent_again

step "called back by a policy that does not name A any more, and lent again, while it fills $LOAD_MIB MiB"
for ((i = 0; i < ROUNDS; i++)); do
        lend_to nobody
        called_back
        goes_on 1000
        lend_to A
        lent_again
done

step "memlegod is killed: with the pool in use, as it calls back, and as it lends"
kept_daemon_kill9
wait_until 20 "it goes on with what is lent" '[ "$(swap A state)" = talks ] && [ "$(swap A lent_kib)" -gt 16384 ]'
goes_on 1000
lend_to nobody
wait_until 20 "A is called back" '[ "$(swap A target_kib)" = 0 ]'
kept_daemon_kill9
called_back
lend_to A
wait_until 20 "A is lent something" '[ "$(swap A lent_kib)" -gt 0 ]'
kept_daemon_kill9
lent_again

step "B needs memory"
load_start B 240 --rate 15
wait_until 90 "B has got it, and uses it" load_filled B
wait_until 20 "A has given it" '[ "$(swap A lent_kib)" -lt 32768 ]'
evidence_of "called back"
load_probe B
load_release B
lent_again

step "both sides' figures are the same"
wait_until 180 "all is written" '[ "$(load_of A state)" = full ]'
guest_run A 'killall -STOP flexload'
wait_until 30 "memlegod says what the guest says" '[ "$(ours)" = "$(theirs)" ]'
pass "$(ours)"
ctl swap show | sed 's/^/    /'
metric() { ctl metrics | sed -n "s/^memlego_swap_$1{guest=\"A\",[^ ]* //p"; } # NAME
[ "$(metric on_disk_bytes)" -gt 0 ] && [ "$(metric written_back_pages_total)" -gt 0 ] || fail "metrics: $(ctl metrics | grep memlego_swap_)"
expect_eq "$(swap A call_backs)" "$(metric call_backs_total)" "call-backs by metrics"
expect_eq "$(swap A held_kib)" "$(swap A lent_kib)" "KiB that A has, and that it was lent"
guest_run A 'killall -CONT flexload'

step "every page is read once more"
load_end A
load_ended_well A
expect_eq "0 0" "$(swap A call_backs_late) $(swap A errors)" "call-backs that were late, errors"
kill $WATCH
# one that has just been started has no budget yet, and counts what it does not know of guests as what they may have at most
expect_eq "" "$(awk '$1 > 0 && $2 + $3 > $1 && $4 > was { print } { was = $4 }' "$T/ledger")" "moments at which more was lent than there is: budget, charged, reserved, lent"
pass "$(wc -l <"$T/ledger") looks at the ledger; the fullest: $(awk '$1 > 0' "$T/ledger" | sort -k2n | tail -n 1)"
no_kernel_complains A

step "A is rebooted with its swap in use: all that it had is free, whether or not it swaps again"
guest_spawn A "exec flexload 300 2" >/dev/null
lent_again
guest_reboot A
wait_until 60 "nothing is lent to it" '[ "$(swap A lent_kib)" = 0 ] && [ "$(ctl status --json | jq .host.lent_kib)" -lt 1024 ]' # tables stay
guest_run A 'modprobe mempipe && modprobe virtio_blk && modprobe memflex backing=/dev/vda verify=1'
wait_until 20 "A's session runs" flex_runs A
guest_run A 'mkswap /dev/memflex0 >/dev/null && swapon /dev/memflex0'
guest_spawn A "exec flexload 200 2" >/dev/null
lent_again
load_end A
load_ended_well A
guest_run A 'swapoff /dev/memflex0'
wait_until 20 "A has no chunk" '[ "$(swap A lent_kib)" = 0 ]'
guest_run A 'rmmod memflex'
no_kernel_complains A B
