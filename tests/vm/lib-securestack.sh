# SPDX-License-Identifier: GPL-2.0-or-later
# What tests of SecureStack share: the attacks of guest/sscases, and what must be left of them.

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
