# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# For benches with real guests: sourced first, it starts the bench once more inside a private host (tests/vm/host.sh),
# and ends that host when the bench has ended. Needs $here, the directory of the bench.
if [ -z "${MLG_BENCH_INSIDE:-}" ]; then
        # shellcheck source=tests/vm/host.sh
        . "$here/../tests/vm/host.sh"
        [ "$(id -u)" = 0 ] || { echo "real guests need root: run: sudo bench/run $(basename "$0")" >&2; exit 2; }
        "$here/../tests/vm/image/build" >/dev/null
        MLG_STATE=
        trap 'exec 2>/dev/null; exit 130' INT TERM HUP
        trap 'host_down "$MLG_STATE" >&2' EXIT
        host_up
        MLG_TEST=$(basename "$0")
        export MLG_BENCH_INSIDE=1 MLG_TEST MLG_BEGIN=$EPOCHREALTIME
        host_exec "$MLG_STATE" bash "$here/$MLG_TEST" "$@" &
        status=0
        wait $! || status=$?
        exit $status
fi
