#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# test-ss-run.sh SS_RUN SS_WRAP LIBRARY_DIR: programs that were built without a thought of it work under ss-run as before, and
# the library does not find their secrets any more, which it did.
set -eu

# shellcheck source=tests/securestack/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
cp "$1" "$2" "$t/"
export SS_RUN_LIBDIR=$3 LD_LIBRARY_PATH=$t
cd "$t"
ulimit -c 0

refused() { # TEXT ARGUMENTS...: ss-run says so, and does not start it
        fails "$1" ./ss-run "${@:2}"
        ! grep -q '^many' out || die "it was started: ${*:2}" out
}
found() { # NAME EXPECTED COMMAND...: works as expected, but for what it has found
        name=$1 expected=$2
        shift 2
        "$@" >"$name.out" 2>"$name.err" || die "$name: $*" "$name.out" "$name.err"
        [ "$(tail -n1 "$name.out")" = "found $expected" ] || die "$name: expected 'found $expected'" "$name.out" "$name.err"
}

gcc -O2 -Wall -fPIC -shared -Wl,-soname,libuntrusted.so.1 -o libuntrusted.so.1 "$here/library.c"
ln -s libuntrusted.so.1 libuntrusted.so
gcc -O2 -o lazy "$here/program.c" -L. -luntrusted -Wl,-z,lazy
gcc -O2 -o now "$here/program.c" -L. -luntrusted -Wl,-z,now
gcc -O1 -no-pie -fno-omit-frame-pointer -fno-pie -o fixed "$here/program.c" -L. -luntrusted
gcc -O2 -o loader "$here/loader.c" -pthread -ldl
gcc -O2 -static-pie -x c -o static - <<<'int main(void) { return 0; }'

found plain 1001 ./lazy
sed '$d' plain.out >expected
for program in lazy now fixed; do
        found $program 0 ./ss-run --portable -u libuntrusted.so -f "$here/rules" -- ./$program
        sed '$d' $program.out | cmp -s - expected || die "$program: other results" $program.out expected
        [ ! -s $program.err ] || die "$program: it says" $program.err
done

# by dlopen() and dlsym(), in threads and in a child
found alone 899 ./loader libuntrusted.so.1 4
found loader 0 ./ss-run --portable -u 'libun*.so.[0-9]' ./loader ./libuntrusted.so.1 4
[ "$(wc -l <loader.out)" = 1 ] || die "lost" loader.out

# what is left out is not guarded, and what nobody trusts is named rightly
printf '# none\nlib_*\n!lib_spy\n' >left-out
found left-out 899 ./ss-run --portable -v -u libuntrusted.so -f left-out ./loader libuntrusted.so.1 4
! grep -q guarded left-out.err || die "guarded" left-out.err
found other 899 ./ss-run --portable -u libother.so ./loader libuntrusted.so.1 4
grep -q 'libother.so: no library of that name' other.err || die "no word of a library that is not there" other.err
./ss-run --portable -v -u libuntrusted.so -f "$here/rules" ./lazy >verbose.out 2>verbose.err
grep -qx 'ss-run: lib_spy: guarded' verbose.err || die "which are guarded?" verbose.err

# what lies on the stack and zlib needs, it has to be shown: there are rules for that
gcc -O2 -Wall -o zlib-user "$here/zlib-user.c" -l:libz.so.1
./zlib-user file.gz >zlib.out || die "zlib" zlib.out
fails "compress2" ./ss-run --portable -u libz.so.1 ./zlib-user file.gz
./ss-run --portable -u libz.so.1 -f "$here/../../examples/securestack/zlib.rules" ./zlib-user file.gz >zlib.out 2>&1 || die "zlib with its rules" zlib.out
grep -qx "all right" zlib.out || die "zlib with its rules" zlib.out

# its own end, and its arguments
./ss-run --portable -u libuntrusted.so bash -c 'exit "$1"' -v 7 && die "the exit status"
[ $? = 7 ] || die "the exit status"

if [ ! -e /dev/securestack ]; then
        refused "there is no /dev/securestack" -u libuntrusted.so ./lazy
fi
refused "^Usage" ./lazy
refused "^Usage" -u libuntrusted.so
refused "no such program" -u libuntrusted.so ./none
refused "cannot be untrusted" --portable -u 'libc.so' ./lazy
refused "not a dynamically linked program" -u libuntrusted.so ./static
refused "not a dynamically linked program" -u libuntrusted.so ./ss-run
refused "no such rule" -u libuntrusted.so -f <(echo lib_spy sees=1) ./lazy
refused "cannot be read" -u libuntrusted.so -f none ./lazy
cp lazy setuid
chmod u+s setuid
refused "another's rights" -u libuntrusted.so ./setuid
SS_RUN_LIBDIR=$t refused "cannot be read" -u libuntrusted.so ./lazy
# one half of it without the other
if LD_PRELOAD=$SS_RUN_LIBDIR/libss-run.so ./lazy >half.out 2>&1; then die "without auditing" half.out; fi
grep -q "it is not audited" half.out || die "without auditing" half.out
if SECURESTACK_RUN='untrusted libuntrusted.so' LD_AUDIT=$SS_RUN_LIBDIR/libss-run.so ./lazy >half.out 2>&1; then die "without thunks" half.out; fi
grep -q "not among the program's libraries" half.out || die "without thunks" half.out
echo "all right"
