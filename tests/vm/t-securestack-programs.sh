#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Debian's xmllint and git, as they are, with libraries that they do not trust: they do what they do without, call by call guarded by the module
# timeout: 400
# suite: all
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-securestack.sh"

step "the programs, and something for them to do"
ss_pack_programs "$T/pack"
guest_start A --extra --vcpus 2 --mib 512 --devices "$(pack_xml "$T/pack")"
ss_programs_open A
guest_run A 'modprobe securestack'

calls() { guest_run A 'cut -d" " -f1 /sys/class/misc/securestack/call_stat'; }
compare() { # NAME LIBRARY LEAST_CALLS: its job without and with ss-run
        local plain ran before after
        plain=$(pack_run A "./job-$1")
        before=$(calls)
        ran=$(pack_run A "./job-$1 \"$(ss_run_words "$2")\"")
        after=$(calls)
        expect_eq "$plain" "$ran" "what $1 makes"
        [ $((after - before)) -ge "$3" ] || fail "$1: only $((after - before)) calls were guarded"
        pass "$1, $2: $(wc -l <<<"$plain") lines are the same, the last is '$(tail -n 1 <<<"$plain")'; $((after - before)) calls guarded"
}

step "xmllint with an untrusted libxml2: it formats, validates, finds errors, answers XPath"
compare xmllint libxml2.so.2 40

step "git with an untrusted zlib: commits, packs, checks, clones"
compare git libz.so.1 1000

step "what is refused: a library that is not there is told of, and without the module nothing starts"
expect_match 'libnone.so: no library of that name' "$(pack_run A "$(ss_run_words libnone.so) ./xmllint --noout job.xml 2>&1")" "an untrusted library that it does not use"
ss_nothing_left A
expect_match 'there is no /dev/securestack' "$(pack_run A "$(ss_run_words libxml2.so.2) ./xmllint --noout job.xml 2>&1 || true")" "ss-run without the module"
