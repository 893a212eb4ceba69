#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# install-conf.sh DIRECTORY FILE: puts FILE into DIRECTORY (under $DESTDIR) unless there is one of that name already,
# and makes DIRECTORY/policy.d. What an operator wrote is never overwritten, not even where it equals an older default.
set -eu

dir=${DESTDIR:-}$1
file=$2

mkdir -p "$dir/policy.d"
target=$dir/$(basename "$file")
if [ -e "$target" ] || [ -L "$target" ]; then
        echo "Keeping $target"
else
        install -m 644 "$file" "$target"
        echo "Installing $target"
fi
