#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds a disk with Debian's redis for test guests and prints its path: an ext4 file system with bin/ (redis-server,
# redis-cli, redis-benchmark), lib/ (all their libraries) and whatever files are named as arguments.
#
#     bench/redis-disk.sh [FILE...]
#
# A disk and not a part of the guests' image: that one lies in the memory of every test guest. Cached by a hash of what went
# in; appears there by one rename.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cache=${MEMLEGO_CACHE:-${XDG_CACHE_HOME:-/var/cache}/memlego-testbed}
work=

say() { echo "redis: $*" >&2; }
# shellcheck source=tests/vm/image/download.sh
. "$here/../tests/vm/image/download.sh"
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

# Debian's packages, only unpacked; what else they need is there wherever systemd is.
unpack_redis() { # DIR
        local d
        say "unpacking Debian's redis (once)"
        work=$(mktemp -d "$cache/.redis.XXXXXX")
        download "$work" redis-tools redis-server libjemalloc2 liblzf1 libatomic1 libssl3
        for d in "$work"/*.deb; do dpkg -x "$d" "$work/x"; done
        mkdir -p "$work/out"/{bin,lib}
        cp -L "$work/x/usr/bin"/redis-{server,cli,benchmark} "$work/out/bin/"
        LD_LIBRARY_PATH=$(find "$work/x" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
        export LD_LIBRARY_PATH
        for d in $(ldd "$work/out/bin"/redis-* | grep -oE '/[^ ]+\.so[^ :]*' | grep -v /ld-linux | sort -u); do
                cp -L "$d" "$work/out/lib/$(basename "$d")"
        done
        if ldd "$work/out/bin"/redis-* | grep "not found" >&2; then exit 1; fi
        unset LD_LIBRARY_PATH
        mv -T "$work/out" "$1" 2>/dev/null || [ -d "$1" ] # another build may have been faster
        rm -rf "$work"
        work=
}

mkdir -p "$cache"
[ -d "$cache/redis" ] || unpack_redis "$cache/redis"
hash=$(cat "$0" "$cache/redis"/*/* "$@" | sha256sum | cut -c1-16)
disk=$cache/redis-$hash.img
if [ ! -e "$disk" ]; then
        work=$(mktemp -d "$cache/.redis.XXXXXX")
        cp -r "$cache/redis" "$work/root"
        [ $# -eq 0 ] || cp "$@" "$work/root/"
        truncate -s 32M "$work/disk"
        PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -O ^has_journal -m 0 -d "$work/root" "$work/disk"
        find "$cache" -maxdepth 1 -name 'redis-*.img' -mtime +7 -delete
        mv "$work/disk" "$disk"
fi
touch "$disk"
echo "$disk"
