#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# test-check-layers.sh CHECK ROOT: the check of the layers finds each kind of violation, put into a copy of the sources.
set -eu

check=$1
root=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM

cp -R "$root/src" "$root/include" "$tmp"
failed=0

# inject FILE LINE: the check must fail, and name the file and the line's number.
inject() {
        file=$tmp/$1
        mkdir -p "$(dirname "$file")"
        had=false
        if [ -e "$file" ]; then
                had=true
                cp "$file" "$tmp/saved"
        fi
        printf '%s\n' "$2" >>"$file"
        line=$(wc -l <"$file")
        if "$check" "$tmp" >"$tmp/out" 2>&1; then
                echo "NOT FOUND: $2 in $1"
                failed=1
        elif ! grep -q "^$1:$((line)): " "$tmp/out"; then
                echo "WRONG PLACE: $2 in $1:"
                cat "$tmp/out"
                failed=1
        else
                grep "^$1:$((line)): " "$tmp/out"
        fi
        if $had; then
                cp "$tmp/saved" "$file"
        else
                rm "$file"
        fi
}

# The layers themselves.
inject src/util/parse.c '#include "core/settings.h"'
inject src/util/parse.c '#include "memlego/sample.h"'
inject src/core/guard.c '#include "service/config.h"'
inject src/core/guard.c '#include "hypervisor/hostmem.h"'
inject src/predict/ewma.c '#include "bus/bus.h"'
inject src/policies/static.c '#include "service/log.h"'
inject src/hypervisor/libvirt.c '#include "service/loop.h"'
inject src/hypervisor/libvirt.c '#include "bus/bus.h"'
inject src/bus/bus.c '#include "hypervisor/libvirt.h"'
inject src/bus/bus.c '#include "service/daemon.h"'
inject src/hypervisor/libvirt.c '#include "hypervisor/hostmem.h"'
inject src/hypervisor/hostmem.c '#include "hypervisor/libvirt.h"'
inject src/service/loop.c '#include "core/engine.h"'
inject src/ctl/memlegoctl.c '#include "service/config.h"'
inject src/ctl/simulate.c '#include "core/engine.h"'
inject src/ctl/ctl.c '#include "sim/guest.h"'
inject src/sim/guest.c '#include "service/config.h"'
inject src/sim/guest.c '#include "hypervisor/hostmem.h"'
inject src/core/guard.c '#include "sim/guest.h"'
inject src/bus/bus.c '#include "sim/guest.h"'
inject include/memlego/plan.h '#include "core/guard.h"'
inject src/new/thing.c '#include "util/util.h"'
# How they are written.
inject src/core/guard.c '#include "../service/config.h"'
inject src/core/guard.c '#include "./guard.h"'
inject src/core/guard.c '#include "guard.h"'
inject src/core/guard.c '  #  include   "service/config.h"   /* far to the right */'
inject src/core/guard.c '#include HEADER'
# What is pure.
inject src/core/guard.c '#include <time.h>'
inject src/core/guard.c '#include <stdio.h>'
inject src/core/guard.c '#include <unistd.h>'
inject src/predict/ewma.c '#include <sys/time.h>'
inject src/policies/static.c '#include <libvirt/libvirt.h>'
inject src/policies/static.c '#include <json-c/json.h>'
inject include/memlego/plan.h '#include <glib.h>'
inject include/memlego/plan.h '#include <systemd/sd-bus.h>'
# Headers that belong to single files.
inject src/service/daemon.c '#include <libvirt/libvirt.h>'
inject src/hypervisor/workers.c '#include <libvirt/virterror.h>'
inject src/service/daemon.c '#include <event2/event.h>'
inject src/hypervisor/libvirt.c '#include <event2/event.h>'
inject src/service/daemon.c '#include <systemd/sd-daemon.h>'
inject src/main.c '#include <systemd/sd-bus.h>'
inject src/hypervisor/libvirt.c '#include <systemd/sd-journal.h>'
inject src/bus/bus.c '#include <json-c/json.h>'
inject src/bus/bus.c '#include <libxml/tree.h>'
inject src/sim/guest.c '#include <archive.h>'
inject src/sim/guest.c '#include <time.h>'

# What must stay allowed.
for ok in 'src/hypervisor/libvirt.c #include <libvirt/libvirt.h>' \
          'src/service/loop.c #include <event2/event.h>' \
          'src/service/log.c #include <systemd/sd-journal.h>' \
          'src/service/daemon.c #include "core/engine.h"' \
          'src/core/guard.c #include "memlego/plan.h"'; do
        file=${ok%% *}
        cp "$tmp/$file" "$tmp/saved"
        "$check" "$tmp" >"$tmp/before" 2>&1 || true
        echo "${ok#* }" >>"$tmp/$file"
        "$check" "$tmp" >"$tmp/after" 2>&1 || true
        if [ "$(grep -c ': ' "$tmp/before")" != "$(grep -c ': ' "$tmp/after")" ]; then
                echo "REFUSED: $ok"
                failed=1
        fi
        cp "$tmp/saved" "$tmp/$file"
done

# And nothing at all is no success.
mkdir -p "$tmp/empty/src" "$tmp/empty/include"
: >"$tmp/empty/src/main.c"
if "$check" "$tmp/empty" >/dev/null 2>&1; then
        echo "an empty tree passes"
        failed=1
fi
exit $failed
