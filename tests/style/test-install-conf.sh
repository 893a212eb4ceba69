#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# test-install-conf.sh SCRIPT FILE: an operator's configuration survives an installation, whatever it is.
set -eu

script=$1
file=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM

fail() {
        echo "FAILED: $*" >&2
        exit 1
}

DESTDIR=$tmp "$script" /etc/memlego "$file" >"$tmp/out"
cmp "$file" "$tmp/etc/memlego/memlegod.conf" || fail "the file was not installed"
[ -d "$tmp/etc/memlego/policy.d" ] || fail "policy.d was not made"

echo "mine" >"$tmp/etc/memlego/memlegod.conf"
echo "mine" >"$tmp/etc/memlego/policy.d/a.policy"
DESTDIR=$tmp "$script" /etc/memlego "$file" >"$tmp/out"
[ "$(cat "$tmp/etc/memlego/memlegod.conf")" = mine ] || fail "the operator's file was overwritten"
[ "$(cat "$tmp/etc/memlego/policy.d/a.policy")" = mine ] || fail "the operator's policy was overwritten"
grep -q "^Keeping " "$tmp/out" || fail "it does not say that it keeps the file"

rm "$tmp/etc/memlego/memlegod.conf"
ln -s /nowhere "$tmp/etc/memlego/memlegod.conf"
DESTDIR=$tmp "$script" /etc/memlego "$file" >"$tmp/out"
[ -L "$tmp/etc/memlego/memlegod.conf" ] || fail "the operator's link was replaced"
echo "ok"
