# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# download DIR PACKAGE...: files of Debian packages into DIR; the lists may be older than the archive, then once more.
# For parts of test guests, which are only unpacked and never installed. Needs say().
download() {
        local dir=$1
        shift
        (cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "$@" >&2) && return
        say "apt-get download failed, trying again with fresh package lists"
        apt-get update -qq >&2
        (cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "$@" >&2)
}
