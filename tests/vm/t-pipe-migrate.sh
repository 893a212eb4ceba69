#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A guest that shares memory is migrated after it was detached, and the others see it leave
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_daemon

state_of() { ctl pipe show --json | jq -r "[.pipes[].members[] | select(.guest == \"$1\") | .state][0] // \"none\""; }
dev() { guest_run "$1" "pipedev ${*:2}"; }
peer_is() { [ "$(dev "$1" peer "$2" | cut -d' ' -f1)" = "$3" ]; } # GUEST ID STATE
has_no_device() { ! says "memlego-pipe" vsh dumpxml "$1"; }

step "two guests of one group, and a place to go to"
guest_start goes stays --extra
libvirtd2_start
daemon_start "[Host]
GuestMemory=1G" "[Guest *]
Mode=observe
[Pipe all]
Guests=*"
wait_until 40 "both have come" '[ "$(state_of goes) $(state_of stays)" = "silent silent" ]'
wait_until 20 "they see the device" 'dev goes size && dev stays size'
dev goes start 5 >/dev/null
dev stays start 6 >/dev/null
id=$(dev goes id)
peer_is stays "$id" 1 || fail "the one that stays does not see the other: $(dev stays peer "$id")"

step "with the device it cannot be migrated"
guest_migrate goes 100
wait_until 20 "the migration is refused" says "Migration is disabled" cat "$T/migrate.log"
expect_eq running "$(vsh domstate goes)" "its state"

step "it is detached while it says that a connection uses the memory"
dev goes pipes 1
ctl pipe detach goes
wait_until 10 "the other sees it leave" peer_is stays "$id" 2
expect_eq leaving "$(state_of goes)" "its state"
wait_until 30 "the device is gone" has_no_device goes
wait_until 10 "the other sees that it is gone" peer_is stays "$id" 0

step "it goes"
guest_migrate goes 100
wait_until 90 "it has gone" guest_gone goes
expect_eq "" "$(cat "$T/migrate.log")" "what the migration said"
expect_eq running "$(virsh -q -c "$URI2" domstate goes)" "state of the guest at its new place"
expect_eq talks "$(state_of stays)" "the one that stays"
virsh -q -c "$URI2" destroy goes >/dev/null
daemon_stop
