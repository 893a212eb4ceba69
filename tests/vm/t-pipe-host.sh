#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# MemPipe's shared memory: devices come and go, chunks are granted and punched out, one guest's end is the others' news
# timeout: 600
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"
need_daemon

pipe_of() { ctl pipe show --json | jq -r ".pipes[] | select(.name == \"$1\") | .$2"; }                # GROUP KEY
dev() { guest_run "$1" "pipedev ${*:2}"; }
has_device() { says "memlego-pipe" vsh dumpxml "$1"; }
has_no_device() { ! has_device "$1"; }

step "four guests; two of them are one group's"
guest_start A B C D --extra
group_daemon_start 32M "[Pipe other]
Guests=C
RegionSize=128M
Quota=8M
Attach=manual"
wait_until 40 "both have come" '[ "$(member A state) $(member B state)" = "silent silent" ]'
wait_until 20 "A sees it" dev A size
wait_until 20 "B sees it" dev B size
expect_eq 1024 "$(dev A size)" "MiB of shared memory in A"
read -r magic version mib epoch chunks <<<"$(dev A header)"
expect_eq "0x3145504950474c4d 1 1024 15104" "$magic $version $mib $chunks" "header"
expect_eq "$epoch" "$(pipe_of web epoch)" "epoch of the region"
expect_eq "$(member A id)" "$(dev A id)" "id of A"
expect_fails "C has no device" dev C size
expect_eq "none none" "$(member C state) $(member D state)" "those who did not ask"
pass "region $mib MiB, $(pipe_of web backed_kib) KiB of it backed"

step "A's module starts, and is granted what it wants"
dev A start 77 >/dev/null
first=$(dev A granted | cut -d' ' -f2)
wait_until 10 "it talks" '[ "$(member A state) $(member A granted_kib)" = "talks 1024" ]'
dev A demand 256
wait_until 10 "it has 16 MiB" '[ "$(member A granted_kib)" = 16384 ]'
wait_until 10 "the ledger knows" '[ "$(ctl status --json | jq .host.pipes_kib)" -ge 16384 ]'
dev A fill "$first" 256
wait_until 10 "they are in memory" '[ "$(pipe_of web backed_kib)" -ge 16384 ]'
expect_eq 16777216 "$(dev B sum "$first" 256)" "what B reads"
dev A demand 0
dev A return $((first + 16)) 240
wait_until 10 "what it returned is punched out" '[ "$(pipe_of web backed_kib)" -lt 2048 ]'
expect_eq 1048576 "$(dev B sum "$first" 256)" "what B reads of the rest"

step "B writes where nothing was granted to it"
dev B fill $((first + 1000)) 64
wait_until 10 "it is taken back" '[ "$(pipe_of web backed_kib)" -lt 6144 ] && daemon_logged "wrote where nothing was granted"'
dev B start 78 >/dev/null
wait_until 10 "B talks" '[ "$(member B state)" = talks ]'
dev B scribble
expect_eq talks "$(member B state)" "B, out of step with its ring"
dev B return "$first" 1
wait_until 10 "B gets nothing any more" '[ "$(member B state)" = broken ]'
wait_until 10 "it is said" daemon_logged "Pipe web: guest B: its module returned memory that it does not have"
expect_eq "talks 1024" "$(member A state) $(member A granted_kib)" "A meanwhile"
expect_eq 1048576 "$(dev A sum "$first" 16)" "A's bytes"

step "a guest that is reset gets another epoch"
e=$(member B epoch)
guest_reboot B
wait_until 40 "it has one" '[ "$(member B epoch)" -gt '"$e"' ]'
guest_wait B
wait_until 20 "B sees its device" dev B size
dev B start 79 >/dev/null
wait_until 10 "B talks" '[ "$(member B state)" = talks ]'

step "a guest dies"
dev B demand 200
wait_until 10 "B has 12 MiB" '[ "$(member B granted_kib)" = 12800 ]'
read -r n b_first <<<"$(dev B granted)"
dev B fill "$b_first" 100
wait_until 10 "they are in memory" '[ "$(pipe_of web backed_kib)" -ge 6400 ]'
id=$(member B id) e=$(member B epoch)
expect_eq "1 $e" "$(dev A peer "$id" | cut -d' ' -f1,2)" "B as A sees it"
guest_kill B
wait_until 20 "A sees that B is gone" '[ "$(dev A peer '"$id"' | cut -d" " -f1)" = 0 ]'
wait_until 10 "its memory is the host's" '[ "$(pipe_of web backed_kib)" -lt 2048 ] && [ "$(pipe_of web granted_kib)" = 1024 ]'

step "the group has other members after a reload"
expect_eq yes "$(has_device A && echo yes)" "A has its device"
daemon_policy "[Guest *]
Mode=observe
[Pipe web]
Guests=C D
Quota=32M"
daemon_reload
wait_until 40 "C and D have come" '[ "$(member C state) $(member D state)" = "silent silent" ]'
wait_until 40 "A has lost it" has_no_device A
expect_eq none "$(member A state)" "A as a member"
expect_eq "null" "$(ctl pipe show --json | jq '[.pipes[] | select(.name == "other")][0]')" "the group without members"

step "by hand"
ctl pipe detach C
wait_until 30 "C has lost it" has_no_device C
stays_true 3 "it is not given another one" has_no_device C
ctl pipe attach C
wait_until 30 "C is back" '[ "$(member C state)" = silent ]'
expect_match "pipe/web.sock" "$(ctl pipe xml web)" "the device for a definition"
expect_fails "A belongs to no group" ctl pipe attach A

step "a guest that is no member comes to the socket"
sed 's/other/web/' >"$T/web.xml" <<<"$(ctl pipe xml web)"
vsh attach-device A "$T/web.xml" --live >/dev/null 2>&1 || true
wait_until 10 "it is turned away" daemon_logged "Pipe web: process [0-9]+ \(A\) was turned away: it does not belong"
expect_eq none "$(member A state)" "A as a member"
guest_ping A || fail "A suffers from that"

step "memlegod is killed, and comes back"
e=$(pipe_of web epoch)
wait_until 20 "D sees its device" dev D size
daemon_kill9
daemon_start
wait_until 60 "they have come again" '[ "$(member C state) $(member D state)" = "silent silent" ]'
[ "$(pipe_of web epoch)" -gt "$e" ] || fail "the region has no new epoch: $(pipe_of web epoch) after $e"
wait_until 20 "D sees the new one" '[ "$(dev D header | cut -d" " -f4)" = "$(pipe_of web epoch)" ]'
dev D start 5 >/dev/null
wait_until 10 "D talks" '[ "$(member D state)" = talks ]'
daemon_stop

step "memlegod is killed where a service manager keeps its descriptors: nobody notices"
DAEMON_WRAP="$B/tests/fd-store" daemon_start
wait_until 60 "they have come again" '[ "$(member C state) $(member D state)" = "silent silent" ]'
wait_until 20 "C sees it" dev C size
dev C start 6 >/dev/null
dev D start 7 >/dev/null
dev C demand 64
wait_until 10 "they talk" '[ "$(member C state) $(member D state) $(member C granted_kib)" = "talks talks 4096" ]'
first=$(dev C granted | cut -d' ' -f2)
dev C fill "$first" 64
before="$(pipe_of web epoch) $(member C id) $(member C epoch) $(member D epoch)"
kept_daemon_kill9
wait_until 20 "they talk" '[ "$(member C state) $(member D state) $(member C granted_kib)" = "talks talks 4096" ]'
expect_eq "$before" "$(pipe_of web epoch) $(member C id) $(member C epoch) $(member D epoch)" "epochs"
expect_eq 4194304 "$(dev D sum "$first" 64)" "what D reads"
dev C demand 80
wait_until 10 "C has got more" '[ "$(member C granted_kib)" = 5120 ]'
id=$(member C id)
guest_kill C
wait_until 20 "D sees that C is gone" '[ "$(dev D peer '"$id"' | cut -d" " -f1)" = 0 ]'
daemon_stop
