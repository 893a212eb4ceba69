#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The bus policy, polkit and the name, on a private bus with a private polkit; the daemon is fake-bus-daemon.
# Nothing of the machine's own bus or polkit is touched: all of it happens in a mount namespace that ends
# with this script.
#
# usage: test-bus-private.sh FAKE_BUS_DAEMON SOURCE_ROOT MEMLEGOCTL
#
# Users of Debian's base system stand in for ours: daemon for memlegod's own user, group games for group
# memlego, and www-data for an orchestrator whom a polkit rule lets reserve memory.
set -u

skip() { echo "SKIP: $1"; exit 77; }

if [ "${4:-}" != inside ]; then
        [ "$(id -u)" = 0 ] || skip "needs root, to become other users"
        for tool in dbus-daemon busctl dbus-monitor setpriv unshare; do
                command -v $tool >/dev/null || skip "$tool is missing"
        done
        [ -x /usr/lib/polkit-1/polkitd ] || skip "polkitd is missing"
        exec unshare --mount --propagation private --fork --pid --kill-child --mount-proc \
                bash "$0" "$1" "$2" "$3" inside
fi

fake=$1 source=$2 ctl=$3
t=$(mktemp -d /tmp/mlg-bus.XXXXXX) || exit 1
trap 'rm -rf "$t"' EXIT
chmod 755 "$t"
failed=0 passed=0
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$t/bus

# ---- helpers ----

ok() { passed=$((passed + 1)); echo "ok $1"; }
not_ok() {
        failed=$((failed + 1))
        echo "not ok $1"
        sed 's/^/    /' "$t/out"
}

# as USER GROUP COMMAND...
as() {
        local user=$1 group=$2
        shift 2
        timeout 60 setpriv --reuid="$user" --regid="$group" --clear-groups -- "$@"
}

# until_true COMMAND...: at most 10 s
until_true() {
        for _ in $(seq 200); do
                "$@" && return 0
                sleep 0.05
        done
        return 1
}

# check NAME COMMAND...: it works
check() {
        local name=$1
        shift
        if "$@"; then ok "$name"; else not_ok "$name"; fi
}

refused() { [ "$1" != 0 ] && grep -q -- "$2" "$t/out"; } # STATUS PATTERN

# expect NAME yes|PATTERN COMMAND...: it works, or its output matches
expect() {
        local name=$1 want=$2 rc
        shift 2
        "$@" >"$t/out" 2>&1
        rc=$?
        if [ "$want" = yes ]; then
                check "$name" [ $rc = 0 ]
        else
                check "$name" refused "$rc" "$want"
        fi
}

manager=(org.memlego1 /org/memlego1 org.memlego1.Manager)
guest=(org.memlego1 /org/memlego1/guest/6f0c1bfa_0ee8_4b6c_9a26_5f6dd7b6b001 org.memlego1.Guest)
pipe=(org.memlego1 /org/memlego1/pipe/group_2da org.memlego1.Pipe)

# ---- the private world ----

users() {
        sed -e 's/user="memlego"/user="daemon"/; s/group="memlego"/group="games"/' \
            -e 's/unix-user:memlego/unix-user:daemon/' "$1"
}

mkdir "$t/system.d" "$t/actions" "$t/rules" "$t/empty"
users "$source/systemd/org.memlego1.conf" >"$t/system.d/org.memlego1.conf"
users "$source/systemd/org.memlego1.policy" >"$t/actions/org.memlego1.policy"
cp /usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf "$t/system.d/"
cat >"$t/rules/50-test.rules" <<'END'
polkit.addRule(function(action, subject) {
    if (action.id == "org.memlego1.reserve" && subject.user == "www-data") {
        return polkit.Result.YES;
    }
    if (action.id == "org.memlego1.reload" && subject.user == "www-data") {
        return polkit.Result.NO;
    }
});
END
cat >"$t/bus.conf" <<END
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=$t/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <includedir>$t/system.d</includedir>
</busconfig>
END
mount --bind "$t/actions" /usr/share/polkit-1/actions || exit 1
mount --bind "$t/rules" /etc/polkit-1/rules.d || exit 1
mount --bind "$t/empty" /usr/share/polkit-1/rules.d || exit 1

# other users must be able to run it, wherever it was built
cp "$fake" "$t/fake-bus-daemon"
fake=$t/fake-bus-daemon

dbus-daemon --config-file="$t/bus.conf" --nofork --nopidfile --nosyslog 2>"$t/dbus.log" &
dbus_pid=$!
until_true test -S "$t/bus" || { cat "$t/dbus.log"; exit 1; }
start_polkit() {
        /usr/lib/polkit-1/polkitd --no-debug >"$t/polkit.log" 2>&1 &
        polkit_pid=$!
        until_true busctl status org.freedesktop.PolicyKit1 >/dev/null 2>&1 && return
        cat "$t/polkit.log"
        exit 1
}
start_polkit
setpriv --reuid=daemon --regid=daemon --clear-groups -- "$fake" >"$t/fake.log" 2>&1 &
fake_pid=$!
until_true grep -qs ready "$t/fake.log" || { cat "$t/fake.log" "$t/dbus.log"; exit 1; }

# ---- reading ----

expect root-reads yes busctl call "${manager[@]}" ListGuests
expect group-reads yes as nobody games busctl call "${manager[@]}" ListGuests
expect group-reads-properties yes as nobody games busctl get-property "${manager[@]}" FreeKiB
expect group-reads-guest yes as nobody games busctl call "${guest[@]}" Explain
expect group-reads-pipe yes as nobody games busctl get-property "${pipe[@]}" Guests
expect group-introspects yes as nobody games busctl introspect org.memlego1 /org/memlego1
expect others-do-not-read "Access denied" as nobody nogroup busctl call "${manager[@]}" ListGuests
expect others-do-not-read-properties "Access denied" \
        as nobody nogroup busctl get-property "${manager[@]}" FreeKiB
expect others-do-not-read-guest "Access denied" as nobody nogroup busctl call "${guest[@]}" Explain
expect others-do-not-read-pipe "Access denied" as nobody nogroup busctl get-property "${pipe[@]}" Guests
expect others-do-not-read-by-unique-name "Access denied" as nobody nogroup busctl call \
        "$(busctl --json=short call org.freedesktop.DBus / org.freedesktop.DBus GetNameOwner s org.memlego1 |
           sed 's/.*"\(:[0-9.]*\)".*/\1/')" /org/memlego1 org.memlego1.Manager Dump

"$ctl" explain web-1 >"$t/out" 2>&1
check memlegoctl-understands-failures grep -qF "400 MiB -> 512 MiB (failed: Connection timed out)" "$t/out"
check memlegoctl-understands-repeats grep -q "9 times in a row" "$t/out"
"$ctl" reservations >"$t/out" 2>&1
check memlegoctl-understands-reservations grep -q ":1.99" "$t/out"
"$ctl" proposals >"$t/out" 2>&1
check memlegoctl-understands-proposals grep -q "17  web-1  400 MiB  660 MiB  pressure" "$t/out"
"$ctl" plugins >"$t/out" 2>&1
check memlegoctl-understands-plugins grep -q "^theirs is refused: it is" "$t/out"

"$ctl" pipe show >"$t/out" 2>&1
check memlegoctl-understands-pipes grep -q "^group-a  web-1  *1  talks" "$t/out"

# ---- changing ----

expect root-changes yes busctl call "${manager[@]}" Pause s web-1
expect others-need-a-password "Authentication is required (org.memlego1.pause)\|[Ii]nteractive" \
        as nobody nogroup busctl call "${manager[@]}" Pause s web-1
expect others-need-a-password-on-guest "Authentication is required\|[Ii]nteractive" \
        as nobody nogroup busctl call "${guest[@]}" SetTarget tt 400000 1000000
expect group-needs-a-password "Authentication is required\|[Ii]nteractive" \
        as nobody games busctl call "${manager[@]}" Reload
expect rule-allows yes as www-data www-data busctl call "${manager[@]}" ReserveMemory tt 1000 1000000
expect rule-denies "Access denied\|Not authorized" as www-data www-data busctl call "${manager[@]}" Reload
expect rule-is-for-one-action "Authentication is required\|[Ii]nteractive" \
        as www-data www-data busctl call "${manager[@]}" Resume s ""

# ---- answering proposals ----

check memlegoctl-approves "$ctl" approve 17
expect ended-proposal "no proposal 16" "$ctl" approve 16
expect group-does-not-approve "Authentication is required\|[Ii]nteractive" \
        as nobody games busctl call "${manager[@]}" ApproveProposal t 17
expect group-does-not-plug "Authentication is required\|[Ii]nteractive" \
        as nobody games busctl call "${manager[@]}" AttachPipe s web-1
expect rule-for-reserving-does-not-approve "Authentication is required\|[Ii]nteractive" \
        as www-data www-data busctl call "${manager[@]}" ApproveAll st "" 0
expect proposals-are-not-probed "Authentication is required\|[Ii]nteractive" \
        as nobody nogroup busctl call "${manager[@]}" RejectProposal t 16
expect others-do-not-list-proposals "Access denied" as nobody nogroup busctl call "${manager[@]}" ListProposals
expect approval-without-end "for 1 s to 7 days" busctl call "${manager[@]}" ApproveAll st "" 18446744073709551615
expect approval-of-nobody "no guest" busctl call "${manager[@]}" EndApproval s nobody-at-all

# ---- rubbish ----

expect unknown-guest "no guest" busctl call "${manager[@]}" GetGuest s nobody-at-all
expect guests-are-not-probed "Authentication is required\|[Ii]nteractive" \
        as nobody nogroup busctl call "${manager[@]}" Pause s nobody-at-all
expect wrong-type 'takes arguments of the types "s", not "u"' busctl call "${manager[@]}" Pause u 7
expect huge-target "1 KiB to 1 EiB" busctl call "${manager[@]}" SetTarget stt db 18446744073709551615 1000000

# ---- a crowd of one user cannot lock out root ----

setpriv --reuid=nobody --regid=nogroup --clear-groups -- "$fake" crowd >"$t/crowd" 2>&1 &
crowd_pid=$!
until_true grep -q crowding "$t/crowd" || cat "$t/crowd"
root_is_served() { for _ in $(seq 20); do busctl call "${manager[@]}" Pause s web-1 >"$t/out" 2>&1 || return 1; done; }
check crowd-does-not-lock-out-root root_is_served
kill $crowd_pid 2>/dev/null || echo "# the crowd has gone already"
wait $crowd_pid 2>/dev/null

# ---- reservations: who leaves before the answer loses it ----

more() { [ "$(grep -c "$1" "$t/fake.log")" -gt "$2" ]; }
reserved=$(grep -c reserved "$t/fake.log")
released=$(grep -c released "$t/fake.log")
setpriv --reuid=www-data --regid=www-data --clear-groups -- \
        busctl call "${manager[@]}" ReserveMemory tt 1000000000 1000000 >"$t/out" 2>&1 &
client=$!
until_true more reserved "$reserved" || not_ok reservation-is-waited-for
kill $client
wait $client 2>/dev/null
check reservation-of-lost-client-is-released until_true more released "$released"

# ---- their progress, on a terminal ----

progress_is_shown() {
        script -qec "$ctl reserve 1M" /dev/null >"$t/out" 2>&1 &&
                grep -q "512 KiB of 1 MiB" "$t/out" && tail -n1 "$t/out" | grep -q "[0-9]"
}
check reservation-shows-its-progress progress_is_shown
check reservation-prints-nothing-else eval '"$ctl" reserve 1M 2>&1 | tee "$t/out" | grep -qx "[0-9]*"'

# ---- signals: for readers only ----

watch=(dbus-monitor --address "$DBUS_SYSTEM_BUS_ADDRESS" 
       "type='signal',sender='org.memlego1'" "type='signal',interface='org.example.Marker'")
as nobody nogroup stdbuf -oL "${watch[@]}" >"$t/hears-others" 2>&1 &
hears_others=$!
as nobody games stdbuf -oL "${watch[@]}" >"$t/hears-group" 2>&1 &
hears_group=$!
both_listen() {
        busctl emit /marker org.example.Marker Begin
        grep -q Begin "$t/hears-others" && grep -q Begin "$t/hears-group"
}
both_are_done() { grep -q End "$t/hears-others" && grep -q End "$t/hears-group"; }
until_true both_listen || echo "# the listeners do not listen"
busctl call "${manager[@]}" Pause s db
busctl emit /marker org.example.Marker End
until_true both_are_done || echo "# the listeners stopped to listen"
cat "$t/hears-group" "$t/hears-others" >"$t/out"
check group-hears-signals grep -q PropertiesChanged "$t/hears-group"
hears_nothing() { ! grep -q memlego1 "$t/hears-others"; }
check others-hear-nothing hears_nothing
kill $hears_others $hears_group
wait $hears_others $hears_group 2>/dev/null

# ---- the name ----

expect second-daemon-is-refused EEXIST as daemon daemon "$fake"
expect others-cannot-be-memlegod "EACCES\|EPERM" as nobody nogroup "$fake"

# ---- without polkit, and then without the bus ----

kill $polkit_pid
wait $polkit_pid 2>/dev/null
expect no-polkit-root-changes yes busctl call "${manager[@]}" Pause s web-1
expect no-polkit-others-do-not "only root" \
        as www-data www-data dbus-send --bus="$DBUS_SYSTEM_BUS_ADDRESS" --print-reply \
        --dest=org.memlego1 /org/memlego1 org.memlego1.Manager.ReserveMemory uint64:1000 uint64:1000000
start_polkit
expect polkit-is-back yes as www-data www-data busctl call "${manager[@]}" ReserveMemory tt 1000 1000000

kill $dbus_pid
wait $dbus_pid 2>/dev/null
cp "$t/fake.log" "$t/out"
check lost-bus-is-noticed until_true grep -q lost: "$t/fake.log"
check daemon-lives-without-bus wait $fake_pid

echo "$passed passed, $failed failed"
if [ $failed != 0 ]; then
        cat "$t/fake.log" "$t/dbus.log" "$t/polkit.log"
fi
[ $failed = 0 ]
