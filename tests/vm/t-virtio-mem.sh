#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# virtio-mem as actuator: a guest grows by its device and gives back, across a kill and a reset, and an operator is respected
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_daemon

of() { ctl status --json | jq -r ".guests[] | select(.name == \"$1\") | .$2"; } # GUEST KEY
device() { vsh dumpxml dev | sed -n "s|.*<$1 unit='KiB'>\([0-9]*\)</$1>.*|\1|p" | tail -n1; } # requested, current: KiB
request() { vsh update-memory-device dev --live --requested-size "${1}MiB"; }
has_at_least() { [ "$(($(of "$1" actual_kib) / 1024))" -ge "$2" ]; } # GUEST MIB, as memlegod knows it
has_at_most() { [ "$(($(of "$1" actual_kib) / 1024))" -le "$2" ]; }
both_managed() { [ "$(ctl status --json | jq .host.n_managed)" = 2 ]; }

step "a guest of 192 MiB with a device of 256 MiB beside one with a balloon share 512 MiB"
guest_start dev --mib 192 --virtio-mem 256
guest_start bal --mib 320 --max 448
daemon_start "[Daemon]
LogLevel=debug
[Host]
GuestMemory=512M" "[Guest *]
Floor=160M
Cushion=32M
CushionRatio=10%
ShrinkRate=20%
CoolDownSec=3
SettleSec=0"
wait_until 40 "both are managed" both_managed
expect_eq "virtio-mem balloon" "$(of dev actuator) $(of bal actuator)" "actuators"
expect_eq "$((448 * 1024)) $((192 * 1024))" "$(of dev maximum_kib) $(of dev floor_kib)" "maximum and floor of the one with a device"
expect_match 'Actuator +virtio-mem' "$(ctl show dev)" "memlegoctl show"
expect_eq 1 "$(guest_stats_period dev)" "its balloon's statistics are on"
wait_until 30 "the surplus is shared" 'has_at_least dev 240 && has_at_most bal 270'
pass "virtio-mem for one, the balloon for the other"

step "the one with a device allocates more than it has"
load_start dev 220 --rate 40
wait_until 60 "the load is in memory" load_filled dev
wait_until 30 "dev got its memory" has_at_least dev 340
load_probe dev
expect_eq 0 "$(guest_oom_kills dev)" "OOM kills"
has_at_most bal 200 || fail "bal gave nothing: it has $(guest_actual_mib bal) MiB"
expect_eq $((192 * 1024)) "$(guest_actual_kib dev)" "what the balloon of dev leaves of its base"
expect_eq "$(of dev actual_kib)" $((192 * 1024 + $(device current))) "what memlegod knows of its size"
expect_eq 0 $(($(of dev target_kib) % 2048)) "its target is of whole blocks; rest"
pass "dev has $(($(of dev actual_kib) / 1024)) MiB, bal $(guest_actual_mib bal) MiB"

step "the load ends"
load_release dev
wait_until 60 "both have their share again" 'has_at_most dev 290 && has_at_least bal 220'
pass "dev has $(($(of dev actual_kib) / 1024)) MiB, bal $(guest_actual_mib bal) MiB"
wait_settled 30

step "memlegod is killed in the middle of a move"
n=$(moves dev)
load_start dev 220 --rate 20 # it has no swap, and nobody helps it for some three seconds
wait_until 60 "dev begins to grow" "[ \$(moves dev) -gt $n ]"
daemon_kill9
daemon_start
wait_until 40 "both are managed" both_managed
wait_until 60 "the load is in memory" load_filled dev
load_probe dev
expect_eq true "$(ctl status --json | jq '.host.charged_kib + .host.reserved_kib <= .host.budget_kib')" "the ledger adds up"
expect_eq 0 "$(guest_oom_kills dev)" "OOM kills"
expect_eq $((192 * 1024)) "$(guest_actual_kib dev)" "what the balloon of dev leaves of its base"
load_release dev
wait_until 60 "both have their share again" 'has_at_most dev 290 && has_at_least bal 220'
wait_settled 30
pass "it went on where it was"

step "a reset unplugs everything, and libvirt counts wrong from then on"
guest_reboot dev
wait_until 40 "both are managed again" both_managed
wait_settled 30
expect_eq "$(device requested)" "$(device current)" "what is plugged again"
expect_eq $((192 * 1024 + $(device current))) "$(of dev actual_kib)" "what memlegod knows of its size"
expect_eq "" "$(daemon_log | grep -E 'dev: left alone \((stuck|foreign|impossible)' || true)" "a reset taken for something else"
pass "libvirt says $(($(vsh domstats dev --balloon | sed -n 's/.*balloon.current=//p') / 1024)) MiB, memlegod $(($(of dev actual_kib) / 1024))"

step "an operator's own update of the device is respected"
request 40
wait_until 20 "seen as foreign" "[ \"\$(of dev state) \$(of dev reason)\" = 'held foreign' ]"
wait_until 10 "its size is known" "[ \$(of dev actual_kib) = $(((192 + 40) * 1024)) ]"
stays_true 5 "it stays where the operator put it" "[ \$(device requested) = $((40 * 1024)) ]"
pass "foreign change respected"
daemon_stop

step "two devices; and one in a guest without the driver"
guest_destroy dev
guest_destroy bal
guest_start two --mib 192 --virtio-mem 128 --devices "$(virtio_mem_xml 128 0)"
guest_start nodrv --mib 192 --virtio-mem 128 --cmdline mlg.noload=virtio_mem
daemon_start "[Daemon]
LogLevel=debug
[Host]
GuestMemory=1G" "[Guest *]
Floor=192M
Cushion=32M
SettleSec=0"
wait_until 40 "the one without the driver is stuck" "[ \"\$(of nodrv state) \$(of nodrv reason)\" = 'held stuck' ]"
wait_until 10 "nothing is promised to it any more" "[ \$(of nodrv target_kib) = $((192 * 1024)) ]"
wait_until 20 "the one with two has what nobody needs" has_at_least two 448
expect_eq $((448 * 1024)) "$(of two maximum_kib)" "its maximum"
expect_eq "131072 131072 " "$(vsh dumpxml two | sed -n "s|.*<current unit='KiB'>\([0-9]*\)</current>.*|\1|p" | tr '\n' ' ')" "plugged in each"
ctl set two 259M --hold=1min
wait_until 10 "it gives what is beyond 259 MiB, in blocks" has_at_most two 258
expect_eq "67584 0 " "$(vsh dumpxml two | sed -n "s|.*<current unit='KiB'>\([0-9]*\)</current>.*|\1|p" | tr '\n' ' ')" "plugged in each"
pass "two devices are filled in turn and emptied from the last, a missing driver is found"
daemon_stop
