# SPDX-License-Identifier: GPL-2.0-or-later
# For guest tests and benches of SecureStack, sourced after lib.sh: programs that are taken along, the attacks of
# guest/sscases, and what must be left of them.

# The programs in DIR and their libraries, libsecurestack among them, on a disk that is an archive; for guest_start --devices.
# libc is the guests' own.
pack_xml() { # DIR
        # shellcheck disable=SC2046 # words
        cp -L $({ LD_LIBRARY_PATH=$B/guest-agent/securestack:$1 ldd "$1"/* 2>/dev/null || true; } | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u | grep -v -e '/libc\.so' -e "^$1/") "$1/"
        strip --strip-debug "$1"/* 2>/dev/null || true # scripts are left as they are
        tar -C "$1" -cf "$1.img" .
        truncate -s %1M "$1.img"
        chmod 644 "$1.img"
        echo "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='$1.img'/><target dev='vda' bus='virtio'/><readonly/></disk>"
}
pack_open() { # GUEST
        guest_run -t 60 "$1" 'modprobe virtio_blk && mkdir /pack && i=0 && while [ ! -b /dev/vda ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done
                tar -C /pack -xf /dev/vda'
}
pack_run() { # [-t SECONDS] GUEST COMMAND: where the programs and their libraries are
        local limit=120
        [ "$1" != -t ] || { limit=$2; shift 2; }
        guest_run -t "$limit" "$1" "cd /pack && LD_LIBRARY_PATH=. $2"
}

ss_load() { # GUEST
        expect_fails "sscases without the module" guest_run "$1" 'sscases 2>/dev/null'
        guest_run "$1" 'modprobe securestack'
        expect_match '^crw-rw-rw-' "$(guest_run "$1" 'ls -l /dev/securestack')" "the device's mode"
}

ss_cases() { # GUEST PART...
        local g=$1 part said
        for part in "${@:2}"; do
                step "$part"
                said=$(guest_run -t 300 "$g" "sscases $part 2>&1 || true")
                say "$said"
                expect_match ' ok, 0 bad$' "$(tail -n 1 <<<"$said")" "$part"
        done
}

ss_nothing_left() { # GUEST
        expect_eq "0 0" "$(guest_run "$1" 'cut -d" " -f1,2 /sys/class/misc/securestack/held_stat')" "entries and bytes that are left"
        pass "$(guest_run "$1" 'cd /sys/class/misc/securestack; for f in *_stat; do echo "$f: $(cat $f)"; done' | tr '\n' ';')"
        guest_run "$1" 'rmmod securestack'
        no_kernel_complains "$1"
}
