#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds a disk with Debian's own programs for test guests and prints its path: an ext4 file system with bin/ (the programs of
# programs.txt), lib/ (all their libraries) and whatever files are named as arguments. lib-programs.sh gives it to guests.
#
#     tests/vm/programs-disk.sh [FILE...]
#
# A disk and not a part of the guests' image: that one lies in the memory of every test guest. Cached by a hash of what went
# in; appears there by one rename. A private host has no network: whoever runs in one has to have called this before.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cache=${MEMLEGO_CACHE:-${XDG_CACHE_HOME:-/var/cache}/memlego-testbed}
list=$here/programs.txt
work=

say() { echo "programs: $*" >&2; }
# shellcheck source=tests/vm/image/download.sh
. "$here/image/download.sh"
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

listed() { sed 's/#.*//' "$list" | awk -v what="$1" '{ for (i = 1; i <= NF; i++) if ((i == 1) == (what == "packages")) print $i }'; }

# PACKAGE...: and the libraries that they need, and those that these need; libc is the guests' own.
with_libraries() {
        local all next
        all=$(printf '%s\n' "$@")
        while [ $# -gt 0 ]; do
                mapfile -t next < <(apt-cache depends --important "$@" | sed -n 's/^ *\(Pre\)\?Depends: \(lib[^ ]*\)$/\2/p' |
                        grep -vxF -e libc6 -e libgcc-s1 -e "$all" | sort -u)
                set -- "${next[@]}"
                all+=$(printf '\n%s' "$@")
        done
        grep . <<<"$all"
}

# Packages are only unpacked, never installed; the few libraries that are not there then are this machine's.
unpack_programs() { # DIR
        local d names
        say "unpacking Debian's $(listed packages | paste -sd ' ') (once)"
        work=$(mktemp -d "$cache/.programs.XXXXXX")
        mapfile -t names < <(listed packages)
        mapfile -t names < <(with_libraries "${names[@]}")
        download "$work" "${names[@]}"
        for d in "$work"/*.deb; do dpkg -x "$d" "$work/x"; done
        mkdir -p "$work/out"/{bin,lib}
        for d in $(listed programs); do
                cp -L "$(find "$work/x"/{bin,sbin,usr/bin,usr/sbin} -name "$d" 2>/dev/null | head -n 1)" "$work/out/bin/"
        done
        LD_LIBRARY_PATH=$(find "$work/x" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
        export LD_LIBRARY_PATH
        if ldd "$work/out/bin"/* | grep "not found" >&2; then exit 1; fi
        for d in $(ldd "$work/out/bin"/* | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u); do
                cp -L "$d" "$work/out/lib/$(basename "$d")"
        done
        unset LD_LIBRARY_PATH
        mv -T "$work/out" "$1" 2>/dev/null || [ -d "$1" ] # another build may have been faster
        rm -rf "$work"
        work=
}

mkdir -p "$cache"
tree=$cache/programs-$(cat "$0" "$list" | sha256sum | cut -c1-16)
[ -d "$tree" ] || unpack_programs "$tree"
touch "$tree"
disk=$tree-$(cat "$tree"/*/* "$@" | sha256sum | cut -c1-16).img
if [ ! -e "$disk" ]; then
        work=$(mktemp -d "$cache/.programs.XXXXXX")
        cp -r "$tree" "$work/root"
        [ $# -eq 0 ] || cp "$@" "$work/root/"
        truncate -s 128M "$work/disk"
        PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -O ^has_journal -m 0 -d "$work/root" "$work/disk"
        find "$cache" -maxdepth 1 -name 'programs-*' -mtime +7 -exec rm -rf {} +
        mv "$work/disk" "$disk"
        rm -rf "$work"
        work=
fi
touch "$disk"
echo "$disk"
