#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# libsecurestack's own tests, and programs under ss-wrap, ss-run and the compiler pass, in a guest: without the module, where memory protection keys stand in, and with it
# kernels: 6.12
# timeout: 400
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-securestack.sh"
SRC=$(readlink -f "$MLG_VM_DIR/../..")
BUILD=${MEMLEGO_BUILD:?}
lib=$BUILD/guest-agent/securestack
tests=(test-securestack test-securestack-cpp)

step "the programs, on a disk that is an archive"
mkdir "$T/pack"
cp "${tests[@]/#/$BUILD/tests/securestack/}" "$T/pack/"
gcc -O2 -fPIC -shared -o "$T/pack/libuntrusted.so" "$SRC/tests/securestack/library.c"
gcc -O2 -c -o "$T/program.o" "$SRC/tests/securestack/program.c"
gcc -o "$T/pack/plain" "$T/program.o" -L"$T/pack" -luntrusted
wrap() { CFLAGS="-O2 -I$SRC/include" "$SRC/guest-agent/securestack/ss-wrap" -o "$@"; }
wrap "$T/wrapped" -l "$T/pack/libuntrusted.so" -f "$SRC/tests/securestack/rules"
gcc -o "$T/pack/wrapped" "$T/program.o" "@$T/wrapped.opt" -L"$T/pack" -luntrusted -L"$lib" -lsecurestack
compile() { gcc -O2 -DMARKED -fplugin="$lib/gcc/securestack.so" "$@" -L"$T/pack" -luntrusted -L"$lib" -lsecurestack; }
gcc -O2 -o "$T/pack/now" "$SRC/tests/securestack/program.c" -L"$T/pack" -luntrusted -Wl,-z,now
gcc -O2 -o "$T/pack/loader" "$SRC/tests/securestack/loader.c" -pthread -ldl
cp "$lib/libss-run.so" "$lib/ss-run" "$SRC/guest-agent/securestack/ss-wrap" "$SRC/tests/securestack/rules" /bin/bash "$T/pack/"
gcc -O2 -o "$T/pack/unmarked" "$SRC/tests/securestack/gcc/marked.c" -L"$T/pack" -luntrusted
compile -o "$T/pack/marked" "$SRC/tests/securestack/gcc/marked.c"
compile -fplugin-arg-securestack-list="$SRC/tests/securestack/rules" -o "$T/pack/listed" "$SRC/tests/securestack/program.c"
gcc -O2 -fPIC -shared -o "$T/pack/libedges.so" "$SRC/tests/securestack/edges-library.c" -L"$T/pack" -luntrusted
gcc -O2 -c -o "$T/edges.o" "$SRC/tests/securestack/edges.c"
wrap "$T/edges-wrap" -f "$SRC/tests/securestack/edges.rules"
gcc -o "$T/pack/edges" "$T/edges.o" -L"$T/pack" -ledges -luntrusted -Wl,-z,lazy
gcc -o "$T/pack/edges-wrapped" "$T/edges.o" "@$T/edges-wrap.opt" -L"$T/pack" -ledges -luntrusted -L"$lib" -lsecurestack
g++ -O2 -fPIC -shared -o "$T/pack/libthrower.so" "$SRC/tests/securestack/thrower.cc" -L"$T/pack" -luntrusted
g++ -O2 -c -o "$T/catcher.o" "$SRC/tests/securestack/catcher.cc"
wrap "$T/catcher-wrap" lib_throw
g++ -o "$T/pack/catcher" "$T/catcher.o" -L"$T/pack" -lthrower -luntrusted
g++ -o "$T/pack/catcher-wrapped" "$T/catcher.o" "@$T/catcher-wrap.opt" -L"$T/pack" -lthrower -luntrusted -L"$lib" -lsecurestack
cp "$SRC/tests/securestack/edges.rules" "$T/pack/"
mkdir "$T/bits32" # of libc's headers one would need those for 32 bits
echo '#define static_assert _Static_assert' >"$T/bits32/assert.h"
gcc -m32 -O2 -Wall -Wextra -Werror -ffreestanding -fno-stack-protector -fno-pic -no-pie -nostdlib -static -I"$T/bits32" -I"$SRC/include" \
        -isystem "/usr/include/$(gcc -print-multiarch)" -o "$T/pack/bits32" "$SRC/tests/securestack/bits32.c"
disk=$(pack_xml "$T/pack")
run=$(ss_run_words libuntrusted.so)

unusual() { # GUEST WORDS_IN_FRONT NAME_BEHIND
        pack_run "$1" "for c in lazy vfork tail thread chosen; do $2 ./edges$3 \$c; done; $2 ./catcher$3; $2 ./catcher$3 uncaught || true"
}
run_tests() { # GUEST BACKEND
        local name said
        for name in "${tests[@]}"; do
                said=$(pack_run "$1" "./$name 2>&1 && echo all went well || true")
                says '^all went well' echo "$said" || { echo "$said"; fail "$name in $1, $2"; }
                pass "$1, $2: $name $(sed -n 's/.*\(PASSED.*\)/\1/p' <<<"$said")"
        done
}

guest_start A --extra --vcpus 2 --mib 256 --devices "$disk"
guest_start B --extra --vcpus 2 --mib 256 --devices "$disk" --kernel 6.12
for g in A B; do
        ss_programs_open $g
        step "$g without the module"
        expect_match 'pku' "$(guest_run $g 'grep -o -w -m1 -e pku /proc/cpuinfo')" "the processor has keys"
        run_tests $g keys
        expect_match 'there is no /dev/securestack' "$(pack_run $g './wrapped 2>&1 || true')" "what a wrapped program says"
        expect_match 'there is no /dev/securestack' "$(pack_run $g "$run ./plain 2>&1 || true")" "what ss-run says"

        step "$g with it"
        guest_run $g 'modprobe securestack'
        run_tests $g module
        said=$(pack_run $g './bits32 || true')
        say "$said"
        expect_match ' ok, 0 bad$' "$(tail -n 1 <<<"$said")" "a program of 32 bits"
        plain=$(pack_run $g ./plain) wrapped=$(pack_run $g ./wrapped)
        expect_eq "$(sed '$d' <<<"$plain")" "$(sed '$d' <<<"$wrapped")" "what the program says"
        expect_match '^found [1-9]' "$(tail -n1 <<<"$plain")" "without the gate"
        expect_eq "found 0" "$(tail -n1 <<<"$wrapped")" "with it"

        step "$g: compiled by the pass: one that marks its secrets, and one that does not"
        unmarked=$(pack_run $g ./unmarked) marked=$(pack_run $g ./marked) listed=$(pack_run $g ./listed)
        expect_eq "$(grep -v '^found\|^left' <<<"$unmarked")" "$(grep -v '^found\|^left' <<<"$marked")" "what the marked program says"
        expect_match 'found [1-9].*left 1|left 1.*found [1-9]' "$(tr '\n' ' ' <<<"$unmarked")" "without the pass"
        expect_eq "found 0 left 0" "$(grep '^found\|^left' <<<"$marked" | sort | tr '\n' ' ' | sed 's/ $//')" "with it"
        expect_eq "$(sed '$d' <<<"$plain")" "$(sed '$d' <<<"$listed")" "what the other says"
        expect_eq "found 0" "$(tail -n1 <<<"$listed")" "with a list"

        step "$g: programs that know nothing of it, by ss-run"
        calls=$(guest_run $g 'cat /sys/class/misc/securestack/call_stat')
        for program in plain now; do
                ran=$(pack_run $g "$run -f rules ./$program")
                expect_eq "$(sed '$d' <<<"$plain")" "$(sed '$d' <<<"$ran")" "what $program says"
                expect_eq "found 0" "$(tail -n1 <<<"$ran")" "$program by ss-run"
        done
        expect_match '^found [1-9]' "$(pack_run $g './loader ./libuntrusted.so 4')" "threads and a child without"
        expect_eq "found 0" "$(pack_run $g "$run ./loader ./libuntrusted.so 4")" "threads, a child, dlopen() and dlsym() by ss-run"

        step "$g: calls in less usual ways"
        plain=$(unusual $g "" "")
        expect_eq 6 "$(grep -c '^found [1-9]' <<<"$plain")" "of them find the secret without the gate"
        expected=$(sed 's/^found .*/found 0/; s/^in the call .*/in the call nothing, after it nothing/' <<<"$plain")
        expect_eq "$expected" "$(unusual $g "" -wrapped)" "with ss-wrap"
        expect_eq "$expected" "$(unusual $g "$run -u libedges.so -u libthrower.so -f edges.rules" "")" "with ss-run"
        pass "calls before: $calls, now: $(guest_run $g 'cat /sys/class/misc/securestack/call_stat')"
        ss_nothing_left $g
done
