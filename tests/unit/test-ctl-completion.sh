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
COMP_WORDBREAKS=$' \t\n"\'@><=;|&(:' # as in a bash where people type

# Stands for "timeout 2 memlegoctl ...": the answers of a memlegod with an evil guest.
timeout() {
        shift 2
        printf '%s\n' "$*" >"$asked"
        case $* in
        *'pipe list') printf '%s\n' 'NAME  STATE' 'web-group  serving' 'db  going' ;;
        *proposals) printf '%s\n' 'ID  GUEST' '17  web-1' ;;
        *'simulate --trace /dev/null --policy ?') echo "there is no policy '?', expected one of: proportional, static, mine" ;;
        *reservations) printf '%s\n' 'ID   SIZE' ' 7  2 GiB' '12  1 GiB' ;;
        *) printf '%s\n' web-1 'web 2' "\$(touch $asked.evil)" 'a\x1b' db vm:a 'vm:b 2' -rf me@db "it's" 'a!"$`b' ;;
        esac
}
compopt() { :; }

# expect 'OFFERED WORDS' 'THE LINE UP TO THE CURSOR' [WHAT IS BEHIND IT]
expect() {
        local want=$1 got
        # shellcheck disable=SC2034  # read by the completion
        COMP_LINE=$2${3-} COMP_POINT=${#2}
        _memlegoctl
        got=${COMPREPLY[*]-}
        if [[ $got != "$want" ]]; then
                echo "not ok: $2"
                echo "    offered:  $got"
                echo "    expected: $want"
                failed=1
        fi
}

evil=$(printf %q "\$(touch $asked.evil)")
guests="web-1 web\\ 2 $evil db vm:a vm:b\\ 2 me@db it\\'s a\\!\\\"\\\$\\\`b"

expect "status show explain pause resume set reserve release reservations plugins reload config dump metrics record simulate monitor-xml proposals approve reject pipe swap stack" 'memlegoctl '
expect "resume reserve release reservations reload record reject" 'memlegoctl re'
expect "resume reserve release reservations reload record reject" 'memlegoctl re' 'load'
expect "--help --version --system --address --json --names --watch" 'memlegoctl -'
expect "--hold" 'memlegoctl set web-1 1G --ho'
expect "--interval" 'memlegoctl record --i'
expect "--host-memory" 'memlegoctl simulate --trace x --ho'
expect "5min" 'memlegoctl record --duration=5m'
expect "$asked" "memlegoctl simulate --trace $asked"
expect "$asked" "memlegoctl record -o $asked"
expect "proportional static mine" 'memlegoctl simulate --policy '
expect "mine" 'memlegoctl simulate --policy=m'
expect "--timeout" 'memlegoctl reserve 1G --t'
expect "$guests" 'memlegoctl explain '
expect "list show attach detach xml" 'memlegoctl pipe '
expect 'web-1 web\ 2' 'memlegoctl pipe detach w'
expect "web-group" 'memlegoctl pipe show w'
expect "" 'memlegoctl pipe xml db '
expect "" 'memlegoctl pipe list '
expect "list show xml" 'memlegoctl swap '
expect 'web-1 web\ 2' 'memlegoctl swap show w'
expect 'web-1 web\ 2' 'memlegoctl pause w'
expect "" 'memlegoctl explain web-1 '
expect "db" 'memlegoctl status web-1 d'
expect "7 12" 'memlegoctl release '
expect "12" 'memlegoctl release 1'
expect "17" 'memlegoctl approve '
expect "17" 'memlegoctl reject 1'
expect 'web-1 web\ 2' 'memlegoctl approve --all --for 10min w'
expect "--address --all" 'memlegoctl approve --a'
expect "10s 10min 10h" 'memlegoctl approve --all --for='
expect "status" 'memlegoctl --watch=2 stat'

# values of options, in words of their own and behind '=', where readline replaces only what follows
expect "10s 10min 10h" 'memlegoctl set web-1 1G --hold '
expect "10s 10min 10h" 'memlegoctl set web-1 1G --hold='
expect "5s 5min 5h" 'memlegoctl set web-1 1G --hold=5'
expect "5min" 'memlegoctl set web-1 1G --hold 5m'
expect "unix:path=" 'memlegoctl --address '
expect "unix:path=" 'memlegoctl --address=u'
expect "path=" 'memlegoctl --address=unix:p'
expect "db" 'memlegoctl --address=unix:path=/run/x explain d'
[[ $(cat "$asked") == "--address=unix:path=/run/x status --names" ]] || failed=1
expect "db" 'memlegoctl --address unix:path=/run/x explain d'
[[ $(cat "$asked") == "--address unix:path=/run/x status --names" ]] || {
        echo "not ok: asked $(cat "$asked")"
        failed=1
}

# what was typed with quotes
expect 'web\ 2' 'memlegoctl explain web\ '
expect 'web-1 web 2' 'memlegoctl explain "web'
expect 'web 2' 'memlegoctl explain "web '
expect 'web 2' "memlegoctl explain 'web "
expect 'web\ 2' 'memlegoctl explain "web "'
expect 'b-1 b 2' 'memlegoctl explain we"'
expect "\\\$(touch $asked.evil)" 'memlegoctl explain "$'
expect "\$(touch $asked.evil)" "memlegoctl explain '\$"
expect "it'\\''s" "memlegoctl explain 'it"
expect "" 'memlegoctl explain "a' # a ! cannot be kept there
expect 'a!"$`b' "memlegoctl explain 'a"
expect "" 'memlegoctl explain "web 2" '

# names with a character at which readline breaks words
expect 'vm:a vm:b\ 2' 'memlegoctl explain v'
expect 'a b\ 2' 'memlegoctl explain vm:'
expect 'b\ 2' 'memlegoctl explain vm:b'
expect 'vm:b\ 2' 'memlegoctl explain vm\:b'
expect '@db' 'memlegoctl explain me@'
expect 'vm:b 2' 'memlegoctl explain "vm:b'
expect "" 'memlegoctl explain vm:a '
COMP_WORDBREAKS=$' \t\n"\'' expect 'vm:a vm:b\ 2' 'memlegoctl explain vm:'

# names that look like options
expect "" 'memlegoctl explain -r'
expect "-rf" 'memlegoctl explain -- -r'
expect "-rf" 'memlegoctl pause -- -'

[[ ! -e $asked.evil ]] || { echo "not ok: the name of a guest was executed"; failed=1; }
exit $failed
