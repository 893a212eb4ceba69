# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs the Debian packages of tests/lib/packages.txt that are missing; sourced by ./check and ./demo.
#
# Never starts a service: without a policy of the machine's own (/usr/sbin/policy-rc.d) one that forbids it stands for
# the time of the installation only. Never upgrades anything, except what a missing package depends on.

wanted_packages() { # SET...
        local name set _
        while read -r name set _; do
                case $name in '' | '#'*) continue ;; esac
                case " $* " in *" $set "*) echo "$name" ;; esac
        done <"$MLG_SRC/tests/lib/packages.txt"
}

missing_packages() { # SET...
        # shellcheck disable=SC2016
        comm -23 <(wanted_packages "$@" | sort -u) \
                <(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' 2>/dev/null | sed -n 's/^ii  *//p' | sort -u)
}

apt_quietly() { # ARGS...: prints its output only when it fails
        local log status=0
        log=$(mktemp)
        DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" </dev/null >"$log" 2>&1 ||
                status=$?
        [ $status -eq 0 ] || sed 's/^/    /' "$log" >&2
        rm -f "$log"
        return $status
}

# Package lists older than a week name files that the archive no longer has.
lists_are_old() {
        [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mtime -7 -print -quit 2>/dev/null)" ]
}

install_missing() { # SET...
        local list status=0 policy=/usr/sbin/policy-rc.d ours=""
        if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
                {
                        echo "This machine has no apt-get. What is needed, by Debian's names:"
                        wanted_packages "$@" | fmt -w 100 | sed 's/^/    /'
                } >&2
                return 1
        fi
        list=$(missing_packages "$@" | tr '\n' ' ')
        [ -n "${list// /}" ] || return 0
        echo "installing: $list"
        if [ ! -e $policy ] || grep -q 'memlego: only while installing' $policy; then # the latter: we were killed
                ours=1
                printf '#!/bin/sh\n# memlego: only while installing\nexit 101\n' >$policy
                chmod 755 $policy
        fi
        # shellcheck disable=SC2086
        {
                if lists_are_old || ! apt_quietly install --simulate --no-install-recommends $list 2>/dev/null; then
                        apt_quietly update || status=$?
                fi
                apt_quietly install --no-install-recommends -y $list || { # lists newer than a week can be stale, too
                        apt_quietly update && apt_quietly install --no-install-recommends -y $list
                } || status=$?
        }
        [ -z "$ours" ] || rm -f $policy
        return $status
}
