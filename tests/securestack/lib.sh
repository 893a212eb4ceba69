# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# For tests that build programs and look at what they do; sourced. $t is a directory of the test's own, $here has the samples.
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT INT TERM

die() { # WHAT [FILE...]: with what is in these
        echo "FAILED: $1"
        shift
        for file; do
                echo "--- $file:"
                cat "$file"
        done
        exit 1
}
fails() { # TEXT COMMAND...: and says so; what it said is in "out"
        local text=$1
        shift
        if "$@" >out 2>&1; then
                die "taken: $*" out
        fi
        grep -q -- "$text" out || die "expected '$text': $*" out
}
