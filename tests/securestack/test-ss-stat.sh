#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# test-ss-stat.sh SS_STAT: what ss-stat makes of the module's files, and of files that are no good.
set -u
stat=$1
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export SS_STAT_DIR=$T/s
bad=0

say() { # calls held refused violations
        mkdir -p "$T/s"
        for f in "call $1" "held $2" "refused $3" "violation $4"; do echo "${f#* }" >"$T/s/${f%% *}_stat"; done
}
expect() { # WANTED WHAT...: the command's status and output, blanks squeezed, contain it
        local wanted=$1 got
        shift
        got=$("$stat" "$@" 2>&1; echo "status $?")
        got=$(tr -s ' \n' ' ' <<<"$got")
        [[ $got == *"$wanted"* ]] || { echo "ss-stat $*: '$wanted' is missing in '$got'"; bad=1; }
}

expect "modprobe securestack)? status 1"
say "10 9 8 7 6 5000" "1 4096 2" "1 2 3 4 5 6 7" "11 12 13 14 15 16"
expect "protected 10 restored 9 cleared 8 snapshots 7 adopted 6 bytes-moved 5000 entries-held 1 bytes-held 4096 ended-with-frame 2"
expect "refused-quota 5 refused-memory 6 refused-nonsense 7 violation-foreign 11 violation-place 12 violation-nothing 13 violation-traced 14 violation-lost 15 violation-no-child 16 status 0"
expect "SECONDS is a number, not 'x'; see ss-stat(1) status 2" x
expect "SECONDS is a number, not ''; see ss-stat(1) status 2" ""
expect "COUNT is a number, not '-1'; see ss-stat(1) status 2" 1 -1
expect "SECONDS is at least 1; without it all is shown once status 2" 0
expect "usage: ss-stat [SECONDS [COUNT]] status 2" 1 2 3
say "10 9 8 7 6 5000 99" "1 4096 2" "1 2 3 4 5 6 7 99" "11 12 13 14 15 16 99" # a later version has more
expect "violation-foreign 11 violation-place 12"
say "10 9" "1 4096 2" "1" "11"
expect "the module says too little: is it of the same version? status 1"

# Rates: the second sample is what is there when it sleeps for the first time, so sleep puts it there.
mkdir "$T/bin"
cat >"$T/bin/sleep" <<END
#!/bin/sh
echo "\$(cat "$T/next/call")" >"$T/s/call_stat"
echo "\$(cat "$T/next/violation")" >"$T/s/violation_stat"
END
chmod 755 "$T/bin/sleep"
PATH=$T/bin:$PATH
mkdir "$T/next"
say "10 9 8 7 6 5000" "1 4096 2" "1 2 3 4 5 6 7" "11 12 13 14 15 16"
echo "30 9 12 7 6 9000" >"$T/next/call" && echo "11 14 13 14 15 17" >"$T/next/violation"
expect " 10.0 2.0 2000 1 4096 0 0 2 0 0 0 1 status 0" 2 1
say "10 9 8 7 6 5000" "1 4096 2" "1 2 3 4 5 6 7" "11 12 13 14 15 16"
echo "4 9 2 7 6 1000" >"$T/next/call" && echo "0 3 0 0 0 0" >"$T/next/violation" # loaded anew
expect " 2.0 1.0 500 1 4096 0 0 3 0 0 0 0 status 0" 2 1
exit $bad
