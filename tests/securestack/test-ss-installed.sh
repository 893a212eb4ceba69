#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# test-ss-installed.sh BUILD: libsecurestack, ss-wrap, ss-run and the compiler pass, from where they are installed to, find each other.
set -eu

# shellcheck source=tests/securestack/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
cd "$t"
ulimit -c 0
meson install -C "$1" --no-rebuild --destdir "$t/root" >log 2>&1 || die "install" log
PKG_CONFIG_PATH=$(dirname "$(find "$t/root" -name libsecurestack.pc)")
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR=$t/root
bin=$(dirname "$(find "$t/root" -name ss-run -perm -111)")
libdir=$(sed -n 's/^libdir=.*SS_RUN_LIBDIR:-\(.*\)}$/\1/p' "$bin/ss-run")
[ -e "$t/root$libdir/libss-run.so" ] || die "ss-run looks for its library in '$libdir'" log

says() { # EXPECTED COMMAND...: as its last line
        "${@:2}" >said 2>err || die "${*:2}" said err
        [ "$(tail -n1 said)" = "$1" ] || die "${*:2}: expected '$1'" said err
}

gcc -O2 -fPIC -shared -o libuntrusted.so "$here/library.c"
gcc -O2 -c -o program.o "$here/program.c"
gcc -o plain program.o -L. -luntrusted -Wl,-rpath,"$t"
says "found 1001" ./plain

# ss-run needs ss-wrap for its lists; its libraries find each other, wherever they are
SS_RUN_LIBDIR=$t/root$libdir says "found 0" "$bin/ss-run" --portable -u libuntrusted.so -f "$here/rules" ./plain
if [ ! -e "$libdir/libss-run.so" ]; then
        fails "$libdir/libss-run.so: cannot be read; is libsecurestack installed?" "$bin/ss-run" --portable -u libuntrusted.so ./plain
fi

# ss-wrap finds the header by pkg-config
export LD_LIBRARY_PATH=$t/root$libdir
"$bin/ss-wrap" -o all --portable -f "$here/rules" -l libuntrusted.so
# shellcheck disable=SC2046 # words
gcc -o wrapped program.o @all.opt -L. -luntrusted $(pkg-config --libs libsecurestack) -Wl,-rpath,"$t"
says "found 0" ./wrapped

# the pass, by its name where it lies among the compiler's plug-ins
plugin=$(find "$t/root" -path '*/plugin/securestack.so')
if [ -n "$plugin" ]; then
        [ "${plugin#"$t/root"}" = "$(gcc -print-file-name=plugin)/securestack.so" ] || die "gcc does not look for plug-ins in $plugin"
        # shellcheck disable=SC2046 # words
        gcc -O2 -fplugin="$plugin" -fplugin-arg-securestack-portable -fplugin-arg-securestack-list="$here/rules" -o passed "$here/program.c" \
                -L. -luntrusted $(pkg-config --cflags --libs libsecurestack) -Wl,-rpath,"$t"
        says "found 0" ./passed
fi
echo "all right"
