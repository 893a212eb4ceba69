#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# DKMS's description of the modules builds them for both kernels, and leaves out those that they are not for
# kernels: 6.12
# timeout: 500
# suite: all
. "$(dirname "$0")/lib.sh"
SRC=$(readlink -f "$MLG_VM_DIR/../..")
CACHE=${MEMLEGO_CACHE:-${XDG_CACHE_HOME:-/var/cache}/memlego-testbed}
tree=$T/dkms/memlego-modules

described() { # KERNEL NAME: what dkms.conf says, as dkms reads it
        # shellcheck disable=SC2016
        kernel_source_dir=$(headers "$1") dkms_tree=$T/dkms bash -c '. "$0/build/dkms.conf"; eval "echo \"\${$1}\""' "$tree/$version" "$2"
}
headers() { echo "$CACHE/headers-$1/usr/src/linux-headers-$1"; }

step "the sources as DKMS wants them"
version=$(sed -n "s/^ *version: '\(.*\)',/\1/p" "$SRC/meson.build" | head -n1)
make -s -C "$SRC/guest-agent/kernel/mempipe" dkms-tree DKMS_TREE="$tree/$version/build" >/dev/null
expect_eq "$version" "$(described "" PACKAGE_VERSION)" "version"
for release in 6.1.0-40-amd64 6.12.9+deb12-amd64; do
        [[ $release =~ $(described "" BUILD_EXCLUSIVE_KERNEL) ]] || fail "$release is left out"
done
for release in 6.13.0-amd64 5.10.0-30-amd64 6.10.1; do
        [[ ! $release =~ $(described "" BUILD_EXCLUSIVE_KERNEL) ]] || fail "$release is not left out"
done

for kernel in stable 6.12; do
        release=$(cat "$("$MLG_VM_DIR/image/build" $kernel)/release")
        for option in $(described "$release" BUILD_EXCLUSIVE_CONFIG); do
                grep -q "^$option=" "$CACHE/kernel-$release/config" || fail "$release has no $option"
        done
        (cd "$tree/$version/build" && bash -c "$(described "$release" 'MAKE[0]')") >"$T/make.log" 2>&1 || { tail -n 30 "$T/make.log"; fail "it does not build for $release"; }
        built=()
        for i in 0 1 2; do
                built+=("$tree/$version/build/$(described "$release" "BUILT_MODULE_LOCATION[$i]")/$(described "$release" "BUILT_MODULE_NAME[$i]").ko")
                expect_eq "$release" "$(modinfo -F vermagic "${built[i]}" | cut -d' ' -f1)" "the kernel that ${built[i]##*/} is for"
        done
        ! grep -q warning "$T/make.log" || { grep warning "$T/make.log"; fail "warnings"; }
        (cd "$tree/$version/build" && bash -c "$(described "$release" CLEAN)") >/dev/null 2>&1
        for f in "${built[@]}"; do [ ! -e "$f" ] || fail "$f is not cleaned"; done
        pass "$release"
done
