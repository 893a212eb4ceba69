#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# test-ss-edges.sh SS_RUN SS_WRAP SOURCE_ROOT LIBRARY_DIR: what is less usual between a program and a library, under ss-wrap and ss-run.
# Each is tried without them first.
set -eu

# shellcheck source=tests/securestack/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
cp "$1" "$2" "$t/"
root=$3 libdir=$4
cd "$t"
export SS_RUN_LIBDIR=$libdir LD_LIBRARY_PATH=$t:$libdir CFLAGS="-O2 -I$root/include"
ulimit -c 0
libraries=(-L. -ledges -luntrusted)
run=(./ss-run --portable -u libedges.so -u libuntrusted.so -f "$here/edges.rules")

says() { # EXPECTED COMMAND...: these lines, in one
        local expected=$1 status=0
        shift
        "$@" >said 2>err || status=$?
        [ "$(paste -sd' ' said)" = "$expected" ] || die "$* ($status): expected '$expected'" said err
}
wraps() { # NAME [FUNCTION RULE...]: NAME.o and NAME.opt, of all of the functions, this one with other rules
        ./ss-wrap -o "$1" --portable -f "$here/edges.rules" "${@:2}" 2>out || die "ss-wrap $1" out
}
links() { # NAME WORDS...: with the gate
        gcc -o "$1" "${@:2}" "${libraries[@]}" -L"$libdir" -lsecurestack >out 2>&1 || die "link $1" out
}

gcc -O2 -Wall -fPIC -shared -o libuntrusted.so "$here/library.c"
gcc -O2 -Wall -fPIC -shared -o libedges.so "$here/edges-library.c" -L. -luntrusted
gcc -O2 -Wall -c -o edges.o "$here/edges.c"
gcc -o plain edges.o "${libraries[@]}" -Wl,-z,lazy
wraps all
links wrapped edges.o @all.opt -Wl,-z,lazy

# ---- tail calls: the function that makes the call has no frame any more, and that of its caller is hidden ----

gcc -O2 -Wall -fno-optimize-sibling-calls -c -o nested.o "$here/edges.c"
gcc -o plain-nested nested.o "${libraries[@]}"
for object in edges nested; do
        objdump -dr $object.o | grep -B1 'R_X86_64_PLT32.*lib_add' >code
        [ "$(grep -c $'\tjmp ' code)" = "$([ $object = edges ] && echo 1 || echo 0)" ] || die "how $object.o calls lib_add" code
done
wraps blind lib_add
links wrapped-blind edges.o @blind.opt
links nested-blind nested.o @blind.opt
says "many 204 sum 42 secret kept found 1" ./plain tail
says "many 204 sum 42 secret kept found 0" ./wrapped tail
says "many 204 sum 37 secret kept found 0" ./wrapped-blind tail # what is given by a pointer to there needs a rule as well
echo lib_add >blind
says "many 204 sum 42 secret kept found 0" "${run[@]}" ./plain tail
says "many 204 sum 37 secret kept found 0" "${run[@]}" -f blind ./plain tail
# with a frame of its own, its caller's is not hidden
says "many 204 sum 42 secret kept found 1" ./nested-blind tail
says "many 204 sum 42 secret kept found 1" "${run[@]}" -f blind ./plain-nested tail
# but what the C library needs to end a thread is not hidden
for program in ./plain ./wrapped "${run[*]} ./plain"; do
        # shellcheck disable=SC2086 # words
        says "ended 1 ended at last 1 found 0" $program thread
done

# ---- calls that are bound late: the dynamic linker saves all registers below the stack, secrets of the program's in them ----

gcc -O2 -fno-pie -c -o fixed.o "$here/edges.c"
gcc -no-pie -o plain-fixed fixed.o "${libraries[@]}" -Wl,-z,lazy
gcc -o plain-now edges.o "${libraries[@]}" -Wl,-z,now
links wrapped-fixed fixed.o -no-pie @all.opt -Wl,-z,lazy # the gate's own call is bound late there
for program in ./plain ./plain-fixed; do
        $program lazy >said
        grep -qx 'in the call found, after it found' said || die "$program: it is not below the stack" said
done
nothing="in the call nothing, after it nothing found 0"
says "$nothing" ./plain-now lazy # so it is the binding
for program in ./wrapped ./wrapped-fixed "${run[*]} ./plain" "${run[*]} ./plain-fixed" "${run[*]} ./plain-now"; do
        # shellcheck disable=SC2086 # words
        says "$nothing" $program lazy
done

# ---- vfork(): by the library, whose child finds what the library finds, and by the program, whose child makes a call ----

says "command 7 secret kept found 4" ./plain vfork
says "command 7 secret kept found 0" ./wrapped vfork
says "command 7 secret kept found 0" "${run[@]}" ./plain vfork

# ---- ss-run: functions that the library chooses when they are bound, and those whose address the program has ----

gcc -O2 -fno-plt -c -o no-plt.o "$here/edges.c"
gcc -o plain-no-plt no-plt.o "${libraries[@]}"
says "secret kept found 2" ./plain chosen
for program in ./plain ./plain-fixed ./plain-now; do
        says "secret kept found 0" "${run[@]}" $program chosen
done
# where the address is taken, calls by name go that way too (.plt.got); that is told
readelf -rW plain >relocations
[ "$(grep -o 'R_X86_64_[^ ]* .* lib_pointed' relocations | cut -d' ' -f1)" = R_X86_64_GLOB_DAT ] || die "how lib_pointed is called" relocations
says "secret kept found 2" "${run[@]}" -v ./plain pointed
grep -qx 'ss-run: lib_pointed: its address is taken: calls by that are NOT guarded' err || die "it is not told" err
[ "$(grep -c 'NOT guarded' err)" = 1 ] || die "too much is told" err
says "secret kept found 2" "${run[@]}" -v ./plain-no-plt chosen
grep -q 'lib_chosen: .*NOT guarded' err || die "it is not told of -fno-plt" err
says "secret kept found 0" ./wrapped pointed # ss-wrap has no such limit

# ---- ss-run: as many functions as there is room for, and one more ----

seq 4097 | sed 's/.*/int f&(void) { return & % 2; }/' >many.c
gcc -shared -fPIC -o libmany.so many.c
{ seq 4097 | sed 's/.*/int f&(void);/'; echo 'int main(int argc, char **argv) { int n = 0;'
  seq 4096 | sed 's/.*/n += f&();/'; echo 'if (argc > 1) n += f4097(); return n == 2048 + argc - 1 ? 0 : 1; }'; } >calls.c
gcc -o many calls.c -L. -lmany -Wl,-z,lazy
gcc -o many-now calls.c -L. -lmany -Wl,-z,now
./ss-run --portable -u libmany.so ./many 2>err || die "4096 functions" err
for program in "./many more" ./many-now; do
        # shellcheck disable=SC2086 # words
        fails '^ss-run: f[0-9]*: more functions of untrusted libraries are in use than there is room for (4096)' \
                ./ss-run --portable -u libmany.so $program
done
echo '!f1' >fewer
./ss-run --portable -u libmany.so -f fewer ./many-now 2>err || die "4096 functions, one left out" err

# ---- C++: exceptions, and those that nobody catches, which reach the program's std::terminate() ----

if command -v g++ >/dev/null; then
        libraries=(-L. -lthrower -luntrusted)
        g++ -O2 -Wall -fPIC -shared -o libthrower.so "$here/thrower.cc" -L. -luntrusted
        g++ -O2 -Wall -c -o catcher.o "$here/catcher.cc"
        g++ -o catcher catcher.o "${libraries[@]}"
        ./ss-wrap -o throws --portable lib_throw
        links catcher-wrapped catcher.o @throws.opt -lstdc++
        guarded=(./ss-run --portable -u libthrower.so ./catcher)
        says "secret kept found 5" ./catcher
        says "secret kept found 0" ./catcher-wrapped
        says "secret kept found 0" "${guarded[@]}"
        says "terminated, secret kept found 1" ./catcher uncaught
        says "terminated, secret kept found 0" ./catcher-wrapped uncaught
        says "terminated, secret kept found 0" "${guarded[@]}" uncaught
else
        echo "without C++: there is no g++"
fi
echo "all right"
