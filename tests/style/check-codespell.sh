#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# check-codespell.sh ROOT: no common misspellings in what people read. Words that are right here: codespell-ignore.txt.
set -eu

root=${1:?usage: check-codespell.sh ROOT}
cd "$root"
if ! command -v codespell >/dev/null; then
        echo "codespell is not installed"
        exit 77
fi
set --
for path in README.md ARCHITECTURE.md HACKING.md NEWS.md bench conf demo check include man src systemd tests; do
        if [ -e "$path" ]; then
                set -- "$@" "$path"
        fi
done
codespell --ignore-words tests/style/codespell-ignore.txt --skip '*/corpus/*,*/codespell-ignore.txt' "$@"
