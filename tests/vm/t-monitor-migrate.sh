#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# memlego-guestd follows its guest to another host and back: the memlegod there hears it, the one here forgets it
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_daemon

here() { T=$T/here "$@"; } # the memlegod that the guest leaves; the other one is that of the test
there() { URI=$URI2 "$@"; }
of() { ctl status --json | jq -r ".guests[] | select(.name == \"$1\") | .$2"; } # GUEST KEY; of the other one
guests() { ctl status --json | jq -r '.guests[].name'; }
talks() { daemon_log | grep -c "Guest goes: memlego-guestd talks" || true; }
gone() { daemon_log | grep -c "Guest goes: gone" || true; }

step "a guest with the program, and two hosts with a memlegod each"
guest_start goes --mib 192 --max 256 --swap 128 --monitor
libvirtd2_start
config="[Daemon]
LogLevel=debug
[Host]
GuestMemory=480M"
policy="[Guest *]
Mode=observe"
# There, where the paths of its guests' channels are those that its libvirtd says. It is on the bus, as the first one.
DAEMON_WRAP="nsenter --mount=/proc/$(pgrep -x libvirtd-two)/ns/mnt --" there daemon_start "$config" "$policy"
mkdir -p "$T/here"
here daemon_start "$config" "$policy"
wait_until 40 "it talks here" '[ "$(here talks)" = 1 ]'
expect_eq "" "$(guests)" "guests there"
pass "heard here"

step "it goes there"
guest_migrate goes 100
wait_until 90 "it has gone" guest_gone goes
wait_until 20 "the migration has ended" "! pgrep -x virsh"
expect_eq "" "$(cat "$T/migrate.log")" "what the migration said"
wait_until 30 "it talks there" '[ "$(of goes monitor) $(of goes source)" = "talks monitor" ]'
wait_until 15 "it is forgotten here" '[ "$(here gone)" = 1 ]'
pass "heard there"

step "what it tells is of now"
before=$(of goes used_kib)
there load_start goes 60 --rate 60
wait_until 60 "the load is in memory" there load_filled goes
wait_until 15 "it is seen" "[ \"\$(of goes used_kib)\" -ge $((before + 50 * 1024)) ]"
expect_eq "monitor fresh" "$(of goes source) $(of goes trust)" "source and trust"
there load_release goes
wait_until 15 "its end, too" "[ \"\$(of goes used_kib)\" -le $((before + 20 * 1024)) ]"
pass "a load of 60 MiB came and went"

step "it comes back"
n=$(here talks)
virsh -q -c "$URI2" migrate --live goes "$URI" --migrateuri "unix://$MLG_STATE/two/back.socket" </dev/null >"$T/migrate.log" 2>&1 ||
        fail "it does not: $(cat "$T/migrate.log")"
wait_until 40 "it talks here again" "[ \$(here talks) -gt $n ]"
wait_until 15 "it is forgotten there" '[ -z "$(guests)" ]'
pass "heard here again"

step "nobody hangs"
here daemon_stop
daemon_stop
