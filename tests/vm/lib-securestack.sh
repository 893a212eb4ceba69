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
        guest_run -t "$limit" "$1" "cd /pack && export LD_LIBRARY_PATH=/pack && $2"
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

# ---- Debian's programs under ss-run

# Into DIR, for pack_xml: xmllint, git, what they do (job-NAME [WORDS IN FRONT OF IT]), and ss-run.
ss_pack_programs() { # DIR
        local lib=$B/guest-agent/securestack
        mkdir "$1"
        cp -L /usr/bin/xmllint /usr/bin/git /bin/bash "$lib/libss-run.so" "$lib/ss-run" "$1/"
        seq 4000 | awk 'BEGIN { print "<list>" } { printf "<item id=\"%d\"><name>number %d</name></item>\n", $1, $1 * 7 } END { print "</list>" }' >"$1/job.xml"
        echo '<!ELEMENT list (item*)> <!ELEMENT item (name)> <!ELEMENT name (#PCDATA)> <!ATTLIST item id CDATA #REQUIRED>' >"$1/job.dtd"
        cat >"$1/job-xmllint" <<-'END'
		#!/bin/sh
		$1 ./xmllint --format job.xml | md5sum
		$1 ./xmllint --noout --dtdvalid job.dtd job.xml && echo valid
		echo '<list><item></list>' | $1 ./xmllint - 2>&1 | md5sum
		$1 ./xmllint --xpath 'sum(//item/@id)' job.xml
	END
        cat >"$1/job-git" <<-'END'
		#!/bin/sh
		export HOME=/run GIT_AUTHOR_DATE='@1 +0000' GIT_COMMITTER_DATE='@1 +0000' GIT_CONFIG_COUNT=2 \
		        GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0=a GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1=a@b GIT_EXEC_PATH=/pack
		rm -rf /run/work && $1 ./git init -q --template= /run/work || exit
		awk '{ print >("/run/work/part." int(NR / 100)) }' job.xml
		$1 ./git -C /run/work add . && $1 ./git -C /run/work commit -q -m one && $1 ./git -C /run/work rev-parse HEAD
		$1 ./git -C /run/work cat-file --batch-all-objects --batch | md5sum
		$1 ./git -C /run/work repack -q -a -d && $1 ./git -C /run/work fsck --full && $1 ./git -C /run/work count-objects -v
		$1 ./git -C /run/work log -p | md5sum
	END
        chmod +x "$1"/job-*
}
# As on any Debian system: a C library that is loaded once more looks for its linker by its name.
ss_programs_open() { # GUEST
        pack_open "$1"
        guest_run "$1" "ln -s /pack/bash /bin/bash; [ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd; ln -s /lib64/ld-linux-x86-64.so.2 /lib/x86_64-linux-gnu/"
}
ss_run_words() { echo "env SS_RUN_LIBDIR=/pack ./ss-run -u $1"; } # LIBRARY
