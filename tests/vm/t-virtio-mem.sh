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
pass "virtio-mem for one, the balloon for the other"

step "the one with a device allocates more than it has"
load_start dev 220 --rate 50
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
daemon_stop
