#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# libsecurestack's own tests, and a program under ss-wrap, in a guest: without the module, where memory protection keys stand in, and with it
# kernels: 6.12
# timeout: 400
# suite: all
. "$(dirname "$0")/lib.sh"
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
CFLAGS="-O2 -I$SRC/include" "$SRC/guest-agent/securestack/ss-wrap" -o "$T/wrapped" -l "$T/pack/libuntrusted.so" \
        -f "$SRC/tests/securestack/rules"
gcc -o "$T/pack/wrapped" "$T/program.o" "@$T/wrapped.opt" -L"$T/pack" -luntrusted -L"$lib" -lsecurestack
# shellcheck disable=SC2046 # words
cp -L $(LD_LIBRARY_PATH=$lib:$T/pack ldd "$T"/pack/* | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u |
        grep -v -e '/libc\.so' -e "^$T/pack/") "$T/pack/"
strip --strip-debug "$T"/pack/*
tar -C "$T/pack" -cf "$T/programs.tar" .
chmod 644 "$T/programs.tar"

in_guest() { # GUEST COMMAND: where the programs and their libraries are
        guest_run -t 120 "$1" "cd /pack && LD_LIBRARY_PATH=. $2"
}
run_tests() { # GUEST BACKEND
        local name said
        for name in "${tests[@]}"; do
                said=$(in_guest "$1" "./$name 2>&1 && echo all went well || true")
                says '^all went well' echo "$said" || { echo "$said"; fail "$name in $1, $2"; }
                pass "$1, $2: $name $(sed -n 's/.*\(PASSED.*\)/\1/p' <<<"$said")"
        done
}

disk="<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='$T/programs.tar'/>
        <target dev='vda' bus='virtio'/><readonly/></disk>"
guest_start A --extra --vcpus 2 --mib 256 --devices "$disk"
guest_start B --extra --vcpus 2 --mib 256 --devices "$disk" --kernel 6.12
for g in A B; do
        guest_run $g 'modprobe virtio_blk && mkdir /pack && i=0 && while [ ! -b /dev/vda ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done
                tar -C /pack -xf /dev/vda'
        step "$g without the module"
        expect_match 'pku' "$(guest_run $g 'grep -o -w -m1 -e pku /proc/cpuinfo')" "the processor has keys"
        run_tests $g keys
        expect_match 'there is no /dev/securestack' "$(in_guest $g './wrapped 2>&1 || true')" "what a wrapped program says"

        step "$g with it"
        guest_run $g 'modprobe securestack'
        run_tests $g module
        plain=$(in_guest $g ./plain) wrapped=$(in_guest $g ./wrapped)
        expect_eq "$(sed '$d' <<<"$plain")" "$(sed '$d' <<<"$wrapped")" "what the program says"
        expect_match '^found [1-9]' "$(tail -n1 <<<"$plain")" "without the gate"
        expect_eq "found 0" "$(tail -n1 <<<"$wrapped")" "with it"
        expect_eq "0 0" "$(guest_run $g 'cut -d" " -f1,2 /sys/class/misc/securestack/held_stat')" "what is left in the module"
        guest_run $g 'rmmod securestack'
        no_kernel_complains $g
done
