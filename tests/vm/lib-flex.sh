# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# For guest tests and benches of MemFlex, sourced after lib.sh: guests with a pool of lent memory and a disk behind it, the server
# of a pool without memlegod (tests/flex-server), and what the guest's module and its load say.
export AGENT_TIMEOUT=60 VIRSH_TIMEOUT=90 # the agent is swapped out as anybody is

flex_server_start() { # GUEST POOL_MIB QUOTA_MIB: its pool, without memlegod; it obeys flex_say
        mkfifo "$T/flex.$1"
        "$(program tests/flex-server)" "/run/flex-$1.sock" "$2" "$3" <>"$T/flex.$1" >"$T/flex.$1.log" 2>&1 &
        wait_until 10 "the server of $1's pool listens" "[ -S /run/flex-$1.sock ]"
}
flex_say() { echo "${*:2}" >"$T/flex.$1"; }                                                  # GUEST WORDS...
flex_lent_kib() { flex_say "$1" show; sed -n 's/.* lent \([0-9]*\) .*/\1/p' "$T/flex.$1.log" | tail -n 1; } # GUEST
flex_says() { grep -A1 '^state' "$T/flex.$1.log" | tail -n 2 | tr -s '\n ' ' '; }             # GUEST

flex_device() { # GUEST
        echo "<shmem name='memlego-swap'><model type='ivshmem-doorbell'/><server path='/run/flex-$1.sock'/><msi vectors='1' ioeventfd='on'/></shmem>"
}
flex_disk() { # GUEST MIB: vda, sparse
        truncate -s "$2M" "$T/$1.img"
        echo "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='unsafe'/><source file='$T/$1.img'/><target dev='vda' bus='virtio'/></disk>"
}
flex_guest_start() { # GUEST DISK_MIB [OPTIONS OF guest_start]: with the pool of its server, and a disk; guest_wait is still to come
        guest_start "$1" --extra --vcpus 2 --no-wait "${@:3}" --devices "$(flex_disk "$1" "$2")$(flex_device "$1")"
}

stat_of() { guest_run -t 60 "$1" "cut -d' ' -f$3 /sys/block/memflex0/$2"; } # GUEST FILE FIELD, see guest-agent/kernel/memflex/stats.c
all_stats() { guest_run -t 60 "$1" 'cd /sys/block/memflex0; for f in mm io wb pool; do echo "$f: $(cat ${f}_stat)"; done' | tr '\n' ' '; }
more_than() { [ "$(stat_of "$1" "$2" "$3")" -gt "$4" ]; } # GUEST FILE FIELD NUMBER
# The device is taken from a running guest, and given to it again: no page is lost.
flex_unplug() { # GUEST
        vsh detach-device-alias "$1" shmem0
        wait_until 60 "$1 has no pool" "[ \"\$(stat_of $1 pool_stat 5)\" = 0 ]"
        expect_eq 0 "$(stat_of "$1" mm_stat 4)" "pages that $1 lost"
}
flex_plug() { # GUEST
        flex_device "$1" >"$T/shmem.$1.xml"
        wait_until 30 "libvirt has let go of $1's" "! says memlego-swap vsh dumpxml $1"
        vsh attach-device "$1" "$T/shmem.$1.xml" >/dev/null
}
flex_runs() { more_than "$1" pool_stat 5 0; }             # GUEST: its session with the host runs

load_of() { guest_run -t 60 "$1" 'cat /run/flexload' | tr ' ' '\n' | sed -n "s/^$2=//p"; } # GUEST KEY
load_is() { [ "$(load_of "$1" state)" = "$2" ]; }
reads_more_than() { [ "$(load_of "$1" read)" -gt "$2" ]; }
reads_on() { # GUEST PAGES: its load reads so many more
        local n
        n=$(load_of "$1" read)
        wait_until 60 "$1 reads on" reads_more_than "$1" $((n + $2))
}
load_end() { guest_run "$1" 'killall -TERM flexload'; } # GUEST: then it reads every page once more
load_ended_well() { # GUEST
        wait_until 300 "$1 is through" "! load_is $1 full && ! load_is $1 filling && ! load_is $1 stopping"
        pass "$1: $(guest_run "$1" 'cat /run/flexload'), $(all_stats "$1")"
        expect_eq "done 0" "$(load_of "$1" state) $(load_of "$1" bad)" "the load's end, and wrong pages"
        expect_eq 0 "$(stat_of "$1" mm_stat 4)" "lost pages"
}

# ---- memlegod

swap() { ctl swap show --json | jq -r "[.swaps[] | select(.guest == \"$1\") | .$2] | .[0] // \"none\""; } # GUEST KEY: what it says
