#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# check-man.sh ROOT: man has nothing to complain about in any manual page, and each page is installed.
set -eu

root=${1:?usage: check-man.sh ROOT}
cd "$root/man"
if ! command -v man >/dev/null; then
        echo "man is not installed"
        exit 77
fi

failed=0
count=0
for page in *.[1-9]; do
        count=$((count + 1))
        errors=$(MANROFFSEQ='' MANWIDTH=80 LC_ALL=C.UTF-8 man --warnings -E UTF-8 -l -Tutf8 -Z "./$page" 2>&1 >/dev/null)
        if [ -n "$errors" ]; then
                echo "man/$page:"
                echo "$errors"
                failed=1
        fi
        if ! grep -q "'$page'" meson.build; then
                echo "man/$page: not in man/meson.build"
                failed=1
        fi
done
[ "$count" -gt 0 ] || exit 1
[ $failed -ne 0 ] || echo "$count pages are clean"
exit $failed
