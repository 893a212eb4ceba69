#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# test-ss-wrap.sh SS_WRAP SOURCE_ROOT LIBRARY_DIR: a program and a library that know nothing of it are put under ss-wrap; they
# work as before, and the library does not find the secret any more, which it did.
set -eu

wrap=$(readlink -f "$1") root=$2 libdir=$3
# shellcheck source=tests/securestack/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
cd "$t"
export CFLAGS="-O2 -I$root/include" LD_LIBRARY_PATH=$t:$libdir

refused() { # TEXT ARGUMENTS...: ss-wrap says so
        fails "$1" "$wrap" -o refused "${@:2}"
}
program() { # NAME WORDS...: linked so
        name=$1
        shift
        cc -o "$name" "${object:-program.o}" "$@" -L. -luntrusted -L"$libdir" -lsecurestack >out 2>&1 || die "link $name" out
}

cc -O2 -Wall -fPIC -shared -o libuntrusted.so "$here/library.c" || die "the library"
cc -O2 -Wall -c -o program.o "$here/program.c" || die "the program"
cc -o plain program.o -L. -luntrusted || die "link plain"
./plain >plain.out || die "plain" plain.out
[ "$(tail -n1 plain.out)" = "found 1001" ] || die "the secret is not found without SecureStack" plain.out
sed '$d' plain.out >expected

"$wrap" -o all --portable -f "$here/rules" -l libuntrusted.so
program all @all.opt
./all >all.out 2>&1 || die "all functions by rules" all.out
sed '$d' all.out | cmp -s - expected || die "other results" all.out plain.out
[ "$(tail -n1 all.out)" = "found 0" ] || die "the secret is found" all.out

# a program that is at one place of memory, and one with frame pointers
cc -O1 -fno-pie -fno-omit-frame-pointer -c -o fixed.o "$here/program.c"
object=fixed.o program fixed -no-pie @all.opt
./fixed >fixed.out 2>&1 || die "no-pie" fixed.out
sed '$d' fixed.out | cmp -s - expected || die "other results" fixed.out plain.out
[ "$(tail -n1 fixed.out)" = "found 0" ] || die "the secret is found: no-pie" fixed.out

# without frames nothing is hidden of a program that names nothing: so it was the frame
"$wrap" -o named --portable -l libuntrusted.so lib_spy secrets-only
program named @named.opt
./named >named.out 2>&1 || die "secrets-only" named.out
[ "$(tail -n1 named.out)" != "found 0" ] || die "what hid the secret?" named.out

# what does not see what it has to
"$wrap" -o blind --portable -l libuntrusted.so lib_length
program blind @blind.opt
./blind >blind.out 2>&1 || die "blind" blind.out
grep -qx "length 0" blind.out || die "the text was not hidden" blind.out

# without the module, and not allowed to do without
if [ ! -e /dev/securestack ]; then
        "$wrap" -o strict -f "$here/rules" -l libuntrusted.so
        program strict @strict.opt
        if (ulimit -c 0; ./strict) >strict.out 2>strict.err; then
                die "it ran without the module" strict.out
        fi
        grep -q "lib_many: there is no /dev/securestack" strict.err || die "it does not say why" strict.err
        [ ! -s strict.out ] || die "it ran on" strict.out
fi

# which functions
"$wrap" --print -l libuntrusted.so >names
[ "$(grep -c '^lib_' names)" = 6 ] || die "all of a library" names
"$wrap" --print -l libuntrusted.so 'lib_m*' >names
[ "$(tr '\n' ' ' <names)" = "lib_many lib_mean " ] || die "a pattern" names
printf 'lib_*\n!lib_m*\n' >patterns
"$wrap" --print -l libuntrusted.so -f patterns >names
[ "$(grep -c . names)" = 4 ] || die "left out" names
refused "needs libraries" 'lib_*'
refused "not defined by" -l libuntrusted.so lib_none
refused "nothing in .* matches" -l libuntrusted.so 'none*'
refused "returns twice" setjmp
refused "no such rule" lib_spy sees=1
refused "expected BYTES" lib_spy see=1:many
refused "an argument, 1 to 6" lib_spy see=7:8
refused "a number up to 8" lib_spy vectors=9
refused "a number up to 128" lib_spy stack=1000
refused "cannot be read" -f none
echo "all right"
