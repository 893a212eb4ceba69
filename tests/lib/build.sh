# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Out-of-tree builds of ./check and ./demo: where they lie, and how they are made.

# One per checkout, below a directory that only root can write to.
default_build() {
        local cache=${MEMLEGO_CACHE:-${XDG_CACHE_HOME:-/var/cache}/memlego-testbed}
        echo "${MEMLEGO_BUILD:-$cache/build-$(printf %s "$MLG_SRC" | sha256sum | cut -c1-8)}"
}

# run CMD...: in the background, so that a signal is acted upon at once (the caller's trap ends $CHILD); its status.
# With RUN_OUT its output goes to that descriptor: a redirection of run itself would catch the trap's output, too.
run() {
        local status=0
        if [ -n "${RUN_OUT:-}" ]; then
                "$@" >&"$RUN_OUT" 2>&1 {RUN_OUT}>&- &
        else
                "$@" &
        fi
        CHILD=$!
        wait "$CHILD" || status=$?
        CHILD=
        return $status
}

run_logged() { # LOG CMD...
        local RUN_OUT status=0
        exec {RUN_OUT}>"$1"
        shift
        run "$@" || status=$?
        exec {RUN_OUT}>&-
        return $status
}

# build_in DIR OPTION...: configures when needed, compiles; its log is shown only when it fails, warnings always.
build_in() {
        local dir=$1 log=$1.log owner
        shift
        mkdir -p "$(dirname "$dir")"
        if [ -e "$dir/build.ninja" ]; then
                owner=$(stat -c %u "$dir")
                if [ "$owner" != 0 ] && [ "$owner" != "${SUDO_UID:-0}" ]; then
                        echo "$dir belongs to somebody else" >&2
                        return 1
                fi
                run_logged "$log" meson configure "$dir" "$@" || rm -rf "$dir"
        fi
        if [ ! -e "$dir/build.ninja" ]; then
                rm -rf "$dir"
                run_logged "$log" meson setup "$dir" "$MLG_SRC" "$@" || { tail -n 40 "$log"; return 1; }
        fi
        if ! run_logged "$log" ninja -C "$dir"; then
                grep -vE '^\[[0-9]+/[0-9]+\] (Compiling|Linking|Generating)' "$log" | tail -n 80
                return 1
        fi
        grep -A4 'warning:' "$log" || true
}
