# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What all scripts share: time, colours on a terminal only, the closing line.
MLG_BEGIN=${MLG_BEGIN:-$EPOCHREALTIME}

# Microseconds between two values of $EPOCHREALTIME (which has the decimal sign of the locale).
usec_between() { echo $((${2/[.,]/} - ${1/[.,]/})); }
later_than() { [ "$(usec_between "$1" "$EPOCHREALTIME")" -ge $(($2 * 1000000)) ]; } # BEGIN SECONDS
seconds_since() { # BEGIN: "12.3"
        local us
        us=$(usec_between "$1" "$EPOCHREALTIME")
        printf '%d.%d' $((us / 1000000)) $((us / 100000 % 10))
}
elapsed() { printf '%s s' "$(seconds_since "$MLG_BEGIN")"; }

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
        C_BOLD=$'\e[1m' C_DIM=$'\e[2m' C_RED=$'\e[31m' C_GREEN=$'\e[32m' C_YELLOW=$'\e[33m' C_BLUE=$'\e[34m' C_OFF=$'\e[0m'
else
        C_BOLD="" C_DIM="" C_RED="" C_GREEN="" C_YELLOW="" C_BLUE="" C_OFF=""
fi
export C_BOLD C_DIM C_RED C_GREEN C_YELLOW C_BLUE C_OFF

# The last line of every check: "N passed, N failed[, N skipped]"
closing_line() { # PASSED FAILED SKIPPED
        printf '%d passed, %d failed' "$1" "$2"
        [ "${3:-0}" -eq 0 ] || printf ', %d skipped' "$3"
        printf '\n'
}
