#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# test-securestack-gcc.sh PLUGIN LIBRARY_DIR: programs that mark what is sensitive, and one that is as it was, are compiled by
# the pass; they work as without it, and the library does not find their secrets any more, which it did.
set -eu

plugin=$(readlink -f "$1") libdir=$2
# shellcheck source=tests/securestack/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
cd "$t"
export LD_LIBRARY_PATH=$t:$libdir
arg=-fplugin-arg-securestack

build() { # COMPILER OUTPUT ARGUMENTS...: with the pass
        "$1" -Wall -fplugin="$plugin" "$arg-portable" -o "$2" "${@:3}" -L. -luntrusted -L"$libdir" -lsecurestack >log 2>&1 ||
                die "compile $*" log
}
compare() { # WHAT: ./plain finds secrets, ./guarded none, and says the same else
        ./plain >plain.out || die "$1: plain" plain.out
        grep -q '^found [1-9]' plain.out || die "$1: the secret is not found without the pass" plain.out
        ./guarded >guarded.out 2>&1 || die "$1: guarded" guarded.out
        grep -qx 'found 0' guarded.out || die "$1: the secret is found" guarded.out report
        diff <(grep -v '^found\|^left' plain.out) <(grep -v '^found\|^left' guarded.out) || die "$1: other results"
        if grep -q '^left' plain.out; then
                grep -qx 'left 1' plain.out || die "$1: nothing is left without the pass" plain.out
                grep -qx 'left 0' guarded.out || die "$1: the secret is left" guarded.out
        fi
}
reported() { # LINE: a pattern
        grep -qx -- "$1" report || die "the report does not say: $1" report
}
refused() { # TEXT SOURCE ARGUMENTS...: the compiler says so
        printf '%s\n' "$2" >refused.c
        fails "$1" gcc -O2 -c -fplugin="$plugin" "${@:3}" -o refused.o refused.c
}

gcc -O2 -Wall -fPIC -fexceptions -shared -o libuntrusted.so "$here/library.c" || die "the library"
for level in -O0 -O2; do
        rm -f report
        gcc $level -o plain "$here/gcc/marked.c" -L. -luntrusted || die "link plain"
        build gcc guarded $level -DMARKED "$arg-report=report" "$here/gcc/marked.c"
        compare "marked.c $level"
        reported "unit .*/marked.c"
        reported "sensitive work .*/marked.c:[0-9]*: secret number key"
        reported "sensitive from_parameter .*: key"
        reported "guarded work -> lib_mean .*: frame and secrets, 1 ranges seen by it"
        reported "path from_parameter -> middle -> lib_spy"
        reported "path work -> printf -> ? (not of this unit: not seen)"

        # a program that knows nothing, and the list that ss-wrap takes as well
        rm -f report
        gcc $level -o plain "$here/program.c" -L. -luntrusted || die "link plain"
        build gcc guarded $level "$arg-list=$here/rules" "$arg-report=report" "$here/program.c"
        compare "program.c $level"
        reported "guarded work -> lib_upper .*: frame and secrets, 3 ranges seen by it"
        if grep -q ^sensitive report; then die "nothing is marked there" report; fi

        g++ $level -o plain "$here/gcc/thrown.cc" -L. -luntrusted || die "link plain"
        build g++ guarded $level -DMARKED "$here/gcc/thrown.cc"
        compare "thrown.cc $level"
done
# an exception that nobody catches; vfork(), by the library and by the program; no tail calls, so the caller's own frame is hidden
gcc -O2 -fPIC -shared -o libedges.so "$here/edges-library.c" -L. -luntrusted
g++ -O2 -fPIC -shared -o libthrower.so "$here/thrower.cc" -L. -luntrusted
build gcc edges -O2 "$arg-list=$here/edges.rules" "$here/edges.c" -L. -ledges
echo lib_throw >throws
build g++ catcher -O2 "$arg-list=throws" "$here/catcher.cc" -L. -lthrower
for case in "edges vfork: command 7 secret kept found 0" "edges tail: many 204 sum 42 secret kept found 1" "edges thread: ended 1 ended at last 1 found 0" \
        "catcher: secret kept found 0" "catcher uncaught: terminated, secret kept found 0"; do
        # shellcheck disable=SC2086 # words
        ./${case%%:*} >case.out 2>&1 || true
        [ "$(paste -sd' ' case.out)" = "${case#*: }" ] || die "$case" case.out
done
# without the pass the compiler takes the attributes for nothing: so it is the pass that hides
gcc -O2 -w -DMARKED -o unguarded "$here/gcc/marked.c" -L. -luntrusted
./unguarded >unguarded.out
grep -q '^found [1-9]' unguarded.out || die "what hid the secret?" unguarded.out

# a pattern; what is left out of it; a call by a pointer, which is said not to be seen
printf 'lib_*\n!lib_m*\n' >patterns
rm -f report
gcc -O2 -c -fplugin="$plugin" "$arg-list=patterns" "$arg-report=report" -o patterns.o "$here/gcc/marked.c" 2>log || die patterns log
reported "guarded work -> lib_length .*"
if grep -q 'guarded.*lib_m' report; then die "left out" report; fi
cat >pointer.c <<'END'
int call(int (*f)(int *)) { __attribute__((sensitive)) int key = 1; return f(&key); }
END
rm -f report
gcc -O2 -c -fplugin="$plugin" "$arg-report=report" -o pointer.o pointer.c 2>log || die pointer log
reported "not-seen call pointer.c:1: a call by a pointer, not guarded"
reported "path call -> ? (by a pointer: not seen)"
cat >taken.c <<'END'
#define untrusted __attribute__((untrusted))
int one(int) untrusted, two(int) untrusted, three(int) untrusted;
int (*const table[])(int) = { one };
void each(int (*f)(int));
int use(int n) { each(two); return three(n) + table[0](n); }
END
for level in -O0 -O2; do
        rm -f report
        gcc $level -c -fplugin="$plugin" "$arg-report=report" -o taken.o taken.c 2>log || die "taken $level" log
        reported "not-seen one taken.c:2: its address is taken, calls by that are not guarded"
        reported "not-seen two taken.c:2: its address is taken, .*"
        [ "$(grep -c 'address is taken' report)" = 2 ] || die "the third is called, and no more than that; each once" report
done

# the module is asked for unless copies are allowed
if [ ! -e /dev/securestack ]; then
        gcc -O2 -DMARKED -fplugin="$plugin" -o strict "$here/gcc/marked.c" -L. -luntrusted -L"$libdir" -lsecurestack
        if (ulimit -c 0; ./strict) >strict.out 2>strict.err; then die "it ran without the module" strict.out; fi
        grep -q "lib_length: there is no /dev/securestack" strict.err || die "it does not say why" strict.err
fi

u='__attribute__((untrusted))' s='__attribute__((sensitive))'
refused "refused.c:1:.*neither a number of up to 8 bytes nor a pointer" "struct a { int b[9]; }; $u int f(struct a); int g(struct a *a) { return f(*a); }"
refused "its result is neither" "struct a { int b[9]; }; $u struct a f(void); int g(void) { return f().b[1]; }"
refused "too many arguments on the stack" "$u int f(int, ...); int g(void) { return f(1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4); }"
refused "points to what is sensitive" "$u int f(int *); int g(void) { $s int key = 1; return f(&key); }"
refused "returns twice" "typedef long jb[64]; $u int _setjmp(long *); jb b; int g(void) { return _setjmp(b); }"
refused "not on the stack" "int g(void) { static $s int key; return key++; }"
refused "not known when it is compiled" "int g(int n) { $s char key[n]; return key[0] = n; }"
refused "there is no such rule" "__attribute__((untrusted(\"sees=1\"))) int f(void);"
refused "does not work with .-flto" "int a;" -flto
refused "unknown option" "int a;" "$arg-lists=x"
refused "none: cannot be read" "int a;" "$arg-list=none"
printf '# a list\nlib_spy\n\nlib_mean see=1:many\n' >bad
refused "bad:4: lib_mean: see=1:many: expected BYTES" "int a;" "$arg-list=bad"
echo "all right"
