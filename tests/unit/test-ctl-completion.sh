#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The bash completion of memlegoctl: what it offers, and that names of guests stay words.
#
# usage: test-ctl-completion.sh SOURCE_ROOT
set -u

# shellcheck source=/dev/null
source "${1:?}/src/ctl/memlegoctl.bash-completion" || exit 1
failed=0 asked=$(mktemp) || exit 1
trap 'rm -f "$asked" "$asked.evil"' EXIT

# Stands for "timeout 2 memlegoctl ...": the answers of a memlegod with an evil guest.
timeout() {
        shift 2
        printf '%s\n' "$*" >"$asked"
        case $* in
        *reservations) printf '%s\n' 'ID   SIZE' ' 7  2 GiB' '12  1 GiB' ;;
        *) printf '%s\n' web-1 'web 2' "\$(touch $asked.evil)" 'a\x1b' db ;;
        esac
}
compopt() { :; }

# expect 'OFFERED WORDS' WORDS OF THE COMMAND LINE...
expect() {
        local want=$1 got
        shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _memlegoctl
        got=${COMPREPLY[*]-}
        if [[ $got != "$want" ]]; then
                echo "not ok: $*"
                echo "    offered:  $got"
                echo "    expected: $want"
                failed=1
        fi
}

evil=$(printf %q "\$(touch $asked.evil)")
guests="web-1 web\\ 2 $evil db"

expect "status explain pause resume set reserve release reservations reload config dump" memlegoctl ''
expect "resume reserve release reservations reload" memlegoctl re
expect "--help --version --system --address --json --names --watch" memlegoctl -
expect "--hold" memlegoctl set web-1 1G --ho
expect "--timeout" memlegoctl reserve 1G --t
expect "$guests" memlegoctl explain ''
expect 'web-1 web\ 2' memlegoctl pause w
expect "" memlegoctl explain web-1 ''
expect "db" memlegoctl status web-1 d
expect "7 12" memlegoctl release ''
expect "12" memlegoctl release 1
expect "10s 10min 10h" memlegoctl set web-1 1G --hold =
expect "5s 5min 5h" memlegoctl set web-1 1G --hold = 5
expect "5min" memlegoctl set web-1 1G --hold 5m
expect "status" memlegoctl --watch = 2 st
expect "db" memlegoctl --address = unix : path = /run/x explain d
[[ $(cat "$asked") == "--address unix:path=/run/x status --names" ]] || {
        echo "not ok: asked $(cat "$asked")"
        failed=1
}

[[ ! -e $asked.evil ]] || { echo "not ok: the name of a guest was executed"; failed=1; }
exit $failed
