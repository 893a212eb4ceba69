#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# check-layers.sh ROOT: holds the layers of ARCHITECTURE.md by what each file under src/ and include/ includes.
#
#   main > service > adapters (hypervisor, mempipe and memflex on ivshmem, bus), simulator (sim) > core (core, predict, policies) > util
#
# A layer may include itself and those below; contracts (include/memlego) may be included by all and include only
# contracts. The table below says for each directory which quoted includes and which system headers it may have; some
# headers belong to single files. Exit status 1 and one line for each violation: FILE:LINE: what.
set -eu

root=${1:?usage: check-layers.sh ROOT}
cd "$root"

find src include -name '*.[ch]' -type f | LC_ALL=C sort | xargs awk '
function bad(text) {
        printf "%s:%d: %s\n", FILENAME, FNR, text
        n_bad++
}

# Words of `list` are prefixes that a quoted include may start with.
function allowed(list, header,    i, n, words) {
        n = split(list, words, " ")
        for (i = 1; i <= n; i++)
                if (index(header, words[i]) == 1)
                        return 1
        return 0
}

# What a file may include in quotes; "" for a directory that is not known.
function quoted_of(file) {
        if (file ~ /^include\/memlego\//)
                return "memlego/"
        if (file ~ /^src\/util\//)
                return "util/"
        if (file ~ /^src\/(core|predict|policies)\//)
                return "memlego/ util/ core/ predict/ policies/"
        if (file ~ /^src\/sim\//)
                return "memlego/ util/ core/ predict/ policies/ sim/"
        if (file ~ /^src\/hypervisor\//)
                return "memlego/ util/ core/ hypervisor/"
        if (file ~ /^src\/bus\//)
                return "memlego/ util/ core/ bus/"
        if (file ~ /^src\/ivshmem\//)
                return "util/ ivshmem/"
        if (file ~ /^src\/mempipe\//)
                return "memlego/ util/ ivshmem/ mempipe/"
        if (file ~ /^src\/memflex\//)
                return "memlego/ util/ ivshmem/ memflex/"
        if (file ~ /^src\/service\/loop/)
                return "util/ service/loop"
        if (file ~ /^src\/service\//)
                return "memlego/ util/ core/ predict/ policies/ hypervisor/ ivshmem/ mempipe/ memflex/ bus/ service/"
        if (file ~ /^src\/ctl\/simulate/) # the only command that decides itself, by the configuration on disk
                return "memlego/ util/ core/settings.h policies/registry.h predict/registry.h service/config.h service/plugin-loader.h sim/ ctl/"
        if (file ~ /^src\/ctl\//)
                return "memlego/ util/ ctl/"
        if (file ~ /^src\/main\.c$/)
                return "memlego/ util/ core/ hypervisor/ ivshmem/ mempipe/ memflex/ bus/ service/"
        return ""
}

# Headers of the pure layers: no clock, no files, no sockets, no logging, no other library than GLib.
function is_pure(header) {
        return header ~ /^(assert|errno|float|glib|inttypes|limits|math|stdalign|stdarg|stdbool|stddef|stdint|stdlib|string)\.h$/
}

function check_quoted(header,    list) {
        if (header ~ /(^|\/)\.\.?\//) {
                bad("\"" header "\": written relative to src/ or include/, not to the file")
                return
        }
        list = quoted_of(FILENAME)
        if (list == "")
                bad("this directory has no layer: add it to check-layers.sh and to ARCHITECTURE.md")
        else if (!allowed(list, header))
                bad("\"" header "\" is not below this layer (allowed: " list ")")
        # Adapters do not know each other, although two of them share a directory.
        if (FILENAME ~ /^src\/hypervisor\/hostmem/ && header ~ /^hypervisor\// && header != "hypervisor/hostmem.h")
                bad("\"" header "\": hostmem is an adapter of its own")
        if (FILENAME ~ /^src\/hypervisor\// && FILENAME !~ /\/hostmem/ && header == "hypervisor/hostmem.h")
                bad("\"" header "\": hostmem is an adapter of its own")
}

function check_system(header) {
        if (FILENAME ~ /^include\/memlego\/.*-abi\.h$/ && header ~ /^linux\/(build_bug|ioctl|stddef|types)\.h$/)
                return # shared with kernel modules
        if (FILENAME ~ /^(src\/(core|predict|policies)|include\/memlego)\// && !is_pure(header))
                bad("<" header ">: this layer is pure (no clock, no files, no libraries but GLib)")
        if (FILENAME ~ /^include\/memlego\// && header ~ /^glib/)
                bad("<" header ">: contracts need nothing but C")
        if (header ~ /^libvirt\// && FILENAME !~ /^src\/(hypervisor\/libvirt[^\/]*\.c|service\/loop-libvirt\.c)$/)
                bad("<" header ">: only src/hypervisor/libvirt*.c and src/service/loop-libvirt.c include libvirt")
        if (header ~ /^systemd\// && FILENAME !~ /^src\/(bus\/|ctl\/|service\/(notify|log)\.c$)/)
                bad("<" header ">: only src/bus/, src/ctl/ and src/service/{notify,log}.c include systemd")
        if (header ~ /^event(2\/|\.h|_)/ && FILENAME !~ /^src\/service\/loop[^\/]*\.[ch]$/)
                bad("<" header ">: only src/service/loop*.c include libevent")
        if (header ~ /^json-c\// && FILENAME !~ /^src\/(service|ctl|hypervisor)\//)
                bad("<" header ">: JSON is the business of the service, of adapters to guests and of memlegoctl")
        if (header ~ /^archive/ && FILENAME !~ /^src\/sim\/source\.c$/)
                bad("<" header ">: only src/sim/source.c reads archives")
        if (header ~ /^(time|sys\/time)\.h$/ && FILENAME ~ /^src\/sim\//)
                bad("<" header ">: the simulator has its own time")
        if (header ~ /^libxml\// && FILENAME !~ /^src\/hypervisor\/libvirt[^\/]*\.c$/)
                bad("<" header ">: only src/hypervisor/libvirt*.c read XML")
}

/^[ \t]*#[ \t]*include/ {
        n_includes++
        line = $0
        sub(/^[ \t]*#[ \t]*include[ \t]*/, "", line)
        if (match(line, /^"[^"]*"/))
                check_quoted(substr(line, 2, RLENGTH - 2))
        else if (match(line, /^<[^>]*>/))
                check_system(substr(line, 2, RLENGTH - 2))
        else
                bad("#include " line ": written as <header> or \"layer/header\"")
}

END {
        if (!n_includes) {
                print "no include found: is this the right directory?"
                exit 1
        }
        if (n_bad)
                exit 1
        printf "%d includes keep the layers\n", n_includes
}
'
