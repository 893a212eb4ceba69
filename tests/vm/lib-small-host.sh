# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# For guest tests of a host that runs short, sourced after lib.sh. The machine is large, and others use it: memlegod is shown a small
# host in place of /proc/meminfo, whose memory is taken by the guests' real QEMU processes, as they are, by what these share with
# memlegod, and by a program that takes $T/own MiB.
#
#     small_host RESERVE_MIB SPARE_MIB GUEST...     these run; so much is to spare now, beyond the reserve
#     DAEMON_WRAP=$T/on-a-small-host daemon_start   ...
#     own MIB                                       what another program takes from now on
#     small_host_end                                before the test's end
TOTAL_MIB=0
QEMUS="" SHARED=""
FEEDER=""
kib_of_guests() {
        local pid key value fd blocks sum=0
        for pid in $QEMUS; do
                while read -r key value _; do
                        case $key in RssAnon: | RssFile:) sum=$((sum + value)) ;; esac
                done <"/proc/$pid/status" || return 1
        done
        for fd in $SHARED; do
                blocks=$(stat -L -c %b "$fd") || return 1
                sum=$((sum + blocks / 2))
        done
        echo $sum
}
# In place and always of one length, because memlegod keeps the file open.
show_host() {
        local own guests left
        read -r own <"$T/own" && guests=$(kib_of_guests) || return 0 # the next look is soon
        left=$((TOTAL_MIB * 1024 - own * 1024 - guests))
        [ $left -gt 0 ] || left=0
        printf 'MemTotal: %12d kB\nMemAvailable: %12d kB\n' $((TOTAL_MIB * 1024)) $left 1<>"$T/meminfo"
}
feed_host() { while [ -e "$T/own" ] && kill -0 $$; do show_host; sleep 0.03; done >/dev/null 2>"$T/feed.err"; } # with the test
own() { echo "$1" >"$T/own.new"; mv "$T/own.new" "$T/own"; echo "=== $(date +%T.%N | cut -c1-12) another program has $1 MiB" >>"$T/memlegod.log"; }

# Memory files that a QEMU has from memlegod.
shared_of() { find "/proc/$1/fd" -lname '/memfd:mem*' 2>/dev/null || true; } # PID
feed_anew() { # as the guests are now
        [ -z "$FEEDER" ] || { kill "$FEEDER"; wait "$FEEDER" 2>/dev/null || true; }
        show_host
        feed_host &
        FEEDER=$!
}
small_host() { # RESERVE_MIB SPARE_MIB GUEST...
        local g
        QEMUS="" SHARED=""
        for g in "${@:3}"; do
                QEMUS+=" $(guest_pid "$g")"
                SHARED+=" $(shared_of "$(guest_pid "$g")")"
        done
        TOTAL_MIB=$(($(kib_of_guests) / 1024 + $1 + $2))
        own 0
        feed_anew
}
small_host_end() {
        rm "$T/own"
        wait "$FEEDER" 2>/dev/null || true
}

cat >"$T/on-a-small-host" <<'END'
#!/bin/sh
exec unshare --mount --propagation private sh -c 'mount --bind "$0" /proc/meminfo && exec "$@"' "${0%/*}/meminfo" "$@"
END
chmod +x "$T/on-a-small-host"
