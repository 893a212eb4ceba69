#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# memlego-guestd: what it tells arrives, it is acted upon between polls, and the balloon's statistics step in for it
# timeout: 500
. "$(dirname "$0")/lib.sh"
need_daemon

of() { ctl status --json | jq -r ".guests[] | select(.name == \"$1\") | .$2"; } # GUEST KEY
polls() { ctl status --json | jq .host.polls; }
guestd_kill() { guest_run "$1" 'kill $(pidof memlego-guestd)'; } # nobody starts it again

config="[Daemon]
LogLevel=debug
[Host]
GuestMemory=760M"
policy="[Guest *]
Floor=128M
Cushion=24M
CushionRatio=5%
SettleSec=0
CoolDownSec=2"

step "two guests with the program, one without, one without a channel"
guest_start A B --mib 192 --max 320 --swap 128 --monitor
guest_start plain --mib 192 --max 256
guest_start later --mib 160 --max 192 --cmdline mlg.monitor
daemon_start "$config" "$policy"
wait_until 40 "all are managed" "[ \$(ctl status --json | jq .host.n_managed) = 4 ]"
wait_until 20 "the programs talk" '[ "$(of A monitor) $(of B monitor) $(of plain monitor)" = "talks talks none" ]'
wait_until 10 "their sizes count" '[ "$(of A source) $(of B source) $(of plain source)" = "monitor monitor balloon" ]'
wait_until 10 "stalls are known" '[ "$(of A stall_some_permille)" != null ]'
expect_eq 0 "$(of A oom_kills)" "OOM kills"
pass "usable in A: $(of A usable_kib) KiB"

step "what the program takes of its guest's memory"
rss=$(guest_run A 'grep Rss: /proc/$(pidof memlego-guestd)/smaps_rollup' | tr -dc 0-9)
expect_between 1 2048 "$rss" "KiB resident"

step "a channel is added to a running guest"
expect_eq none "$(of later monitor)" "before"
daemon_policy "[Guest later]
Monitor=attach" 90-attach
daemon_reload
wait_until 30 "it talks" '[ "$(of later monitor) $(of later source)" = "talks monitor" ]'
says "name='org.memlego.monitor.0' state='connected'" vsh dumpxml later
pass "it has one"

step "memlegod is killed, and comes back"
daemon_kill9
daemon_start
wait_until 40 "all are managed again" "[ \$(ctl status --json | jq .host.n_managed) = 4 ]"
wait_until 20 "the programs talk again" '[ "$(of A source) $(of B source) $(of later source)" = "monitor monitor monitor" ]'
wait_settled 30

step "a guest fills its memory between two polls"
daemon_config "$config
PollIntervalSec=40s"
daemon_reload
n=$(polls)
wait_until 90 "the next poll is far away" "[ \$(polls) -gt $n ]"
wait_until 60 "the one after it, too" "[ \$(polls) -gt $((n + 1)) ]"
n=$(polls) m=$(moves A)
load_start A 250 --rate 30
wait_until 30 "A is given memory" "[ \$(moves A) -gt $m ]"
expect_eq "$n" "$(polls)" "polls since then"
wait_until 60 "its load is in memory" load_filled A
pass "asked for between polls; the last alarm: $(of A last_alarm_usec)"
load_release A
daemon_config "$config"
daemon_reload

step "the program ends"
guestd_kill B
wait_until 30 "the balloon's statistics count" '[ "$(of B source)" = balloon ] && [ "$(of B trust)" = fresh ]'
expect_eq managed "$(of B state)" "state of B"
guest_spawn B 'exec memlego-guestd' >/dev/null
wait_until 30 "it is back" '[ "$(of B source)" = monitor ]'
pass "it went, and came"

step "garbage instead of it"
guestd_kill B
port=$(guest_run B 'for p in /sys/class/virtio-ports/*; do [ "$(cat $p/name)" = org.memlego.monitor.0 ] && echo /dev/${p##*/}; done')
guest_spawn B "exec cat /dev/urandom >$port" >/dev/null
wait_until 60 "the channel is refused" '[ "$(of B monitor)" = refused ]'
wait_until 10 "it is said, with the guest's name" daemon_logged "Guest B: the monitor's channel: what comes from the guest is no protocol"
wait_until 10 "the balloon's statistics count" '[ "$(of B source) $(of B trust)" = "balloon fresh" ]'
expect_eq "monitor fresh" "$(of A source) $(of A trust)" "the other guest"
guest_run B 'killall cat'

step "a flood of good frames"
# type 3, an alarm of a session that there is not, without fields; its CRC-32 is of zlib
frame='MLGm\x01\x03\x00\x00\x4d\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00'
sum=$(printf "$frame" | gzip -c | tail -c8 | head -c4 | od -An -tx1 | sed 's/ /\\x/g')
guestd_kill later
guest_run later "i=0; while [ \$i -lt 1000 ]; do printf '$frame$sum'; i=\$((i+1)); done >/run/flood"
cpu() { awk '{ print $14 + $15 }' "/proc/$(daemon_pid)/stat"; }
guest_spawn later "while :; do cat /run/flood; done >\$(for p in /sys/class/virtio-ports/*; do [ \"\$(cat \$p/name)\" = org.memlego.monitor.0 ] && echo /dev/\${p##*/}; done)" >/dev/null
wait_until 60 "it is listened to slowly" daemon_logged "Guest later: the monitor's channel: it says far more"
a=$(cpu)
stays_true 5 "the others are known all the same" '[ "$(of A trust) $(of later trust)" = "fresh fresh" ]'
say "memlegod used $((($(cpu) - a) * 10)) ms in 5 s"
daemon_alive || fail "memlegod is gone"
daemon_stop
