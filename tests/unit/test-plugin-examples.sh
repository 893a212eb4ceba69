#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# examples/plugins as somebody else would build and use them: with the installed headers, by pkg-config; and
# each installed header by itself, in C and in C++.
#
# usage: test-plugin-examples.sh SOURCE_ROOT BUILD_ROOT PREFIX PLUGINDIR MEMLEGOD MEMLEGOCTL
set -eu

source=${1:?} build=${2:?} prefix=${3:?} plugindir=${4:?} memlegod=${5:?} memlegoctl=${6:?}
for tool in make g++; do
        command -v $tool >/dev/null || { echo "$tool is not installed"; exit 77; }
done
t=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null; rm -rf "$t"' EXIT
umask 022

die() {
        echo "not ok: $1"
        [ -z "${2:-}" ] || cat "$2"
        exit 1
}

meson install -C "$build" --no-rebuild --tags devel --destdir "$t/root" >"$t/install" || die "install" "$t/install"
include=$t/root$prefix/include
PKG_CONFIG_PATH=$(dirname "$(find "$t/root" -name memlego.pc)")
PKG_CONFIG_SYSROOT_DIR=$t/root
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR

# ---- headers ----

for header in "$include"/memlego/*.h; do
        echo "#include <memlego/$(basename "$header")>" >"$t/alone.c"
        for as in 'gcc -std=c17 -xc' 'g++ -std=c++17 -xc++'; do
                # shellcheck disable=SC2086 # words
                $as -fsyntax-only -Wall -Wextra -Wpedantic -Werror "-I$include" "$t/alone.c" \
                        >"$t/out" 2>&1 || die "$(basename "$header") by itself: $as" "$t/out"
        done
done
[ -e "$include/memlego/plugin.h" ] || die "plugin.h is not installed"

# ---- examples ----

cp -r "$source/examples/plugins" "$t/mine"
make -C "$t/mine" CFLAGS='-O2 -Wall -Wextra -Werror' >"$t/out" 2>&1 || die "make" "$t/out"
make -C "$t/mine" install DESTDIR="$t/root" >"$t/out" 2>&1 || die "make install" "$t/out"
# Some versions of pkg-config put the root before each path, others only before those of flags.
plugins=$t/root$plugindir
[ -e "$plugins/headroom.so" ] || plugins=$t/root$t/root$plugindir
if ! [ -e "$plugins/headroom.so" ] || ! [ -e "$plugins/recent-peak.so" ]; then
        die "plugindir of memlego.pc" "$t/out"
fi

# On a host with less than its guests want, a policy makes a difference.
"$memlegoctl" simulate --plugins "$plugins" --trace "$source/tests/data/google2011-12vm-24h.tar.xz" --duration 2h \
        --host-memory 60% --compare proportional:ewma,headroom:ewma,headroom:recent-peak --json \
        >"$t/json" 2>"$t/out" || die "simulate" "$t/out"
python3 - "$t/json" <<'END' || die "what came of it" "$t/json"
import json, sys
runs = json.load(open(sys.argv[1]))["runs"]
names = [(r["policy"], r["predictor"]) for r in runs]
assert names == [("proportional", "ewma"), ("headroom", "ewma"), ("headroom", "recent-peak")], names
allocated = [r["allocated_pct"] for r in runs]
assert allocated[1] < allocated[0], allocated   # what is not needed stays with the host
assert allocated[2] > allocated[1], allocated   # a peak is more than an average
END

# ---- memlegod ----

mkdir -p "$t/etc" "$t/state"
cat >"$t/etc/memlegod.conf" <<'END'
[Daemon]
Connect=test:///default
[Host]
Policy=headroom
[Guest *]
Predictor=recent-peak
END
"$memlegod" --config "$t/etc/memlegod.conf" --plugins "$plugins" --check-config >"$t/out" 2>&1 ||
        die "memlegod --check-config" "$t/out"
grep -q '^Policy=headroom' "$t/out" || die "the configuration in force" "$t/out"
STATE_DIRECTORY=$t/state DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent NOTIFY_SOCKET='' \
        "$memlegod" --config "$t/etc/memlegod.conf" --plugins "$plugins" --foreground >"$t/log" 2>&1 &
pid=$!
tries=0
until grep -q 'Connected to test:///default' "$t/log"; do
        tries=$((tries + 1))
        if [ $tries -gt 600 ] || ! kill -0 "$pid" 2>/dev/null; then
                die "memlegod does not start" "$t/log"
        fi
        sleep 0.05
done
kill -TERM "$pid"
wait "$pid" || die "memlegod's end" "$t/log"
pid=
grep -q 'headroom.so: policy "headroom"' "$t/log" || die "the policy is loaded" "$t/log"
grep -q 'recent-peak.so: predictor "recent-peak"' "$t/log" || die "the predictor is loaded" "$t/log"
if grep -q 'is not used\|switched off' "$t/log"; then
        die "all are used" "$t/log"
fi
