#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# check-spdx.sh ROOT: every file says its licence in its first lines, in a FILE.license beside it, or in REUSE.toml; and
# the text of each licence is in LICENSES/. Looks at what git tracks or would track; without git, at all files.
set -eu

root=${1:?usage: check-spdx.sh ROOT}
cd "$root"

list() {
        if [ -e .git ] && command -v git >/dev/null; then
                git -c safe.directory="$PWD" ls-files --cached --others --exclude-standard
        else
                find . -type f -not -path './.git/*' -not -path './build*/*' | sed 's|^\./||'
        fi | LC_ALL=C sort -u
}

# Globs of REUSE.toml, one a line: path = "GLOB" or path = [ "GLOB", ... ]; ** and * are the same to `case`.
globs=$(sed -n '/^path *=/,/"[^]]*$\|\]/p' REUSE.toml 2>/dev/null | grep -o '"[^"]*"' | tr -d '"' || true)

in_reuse() {
        set -f
        for glob in $globs; do
                # shellcheck disable=SC2254  # it is a pattern on purpose
                case $1 in
                $glob) set +f; return 0 ;;
                esac
        done
        set +f
        return 1
}

failed=0
count=0
tmp=$(mktemp)
trap 'rm -f "$tmp"' EXIT INT TERM
list >"$tmp"
while IFS= read -r file; do
        case $file in
        LICENSES/* | *.license | REUSE.toml) continue ;;
        esac
        # Listed but gone, a link, or empty: nothing that could be licensed.
        if [ ! -f "$file" ] || [ -L "$file" ] || [ ! -s "$file" ]; then
                continue
        fi
        count=$((count + 1))
        id=$(head -n 5 "$file" | LC_ALL=C sed -n 's/.*SPDX-License-Identifier: *\([A-Za-z0-9.+-]*\).*/\1/p' | head -n 1)
        if [ -z "$id" ] && [ -f "$file.license" ]; then
                id=$(sed -n 's/.*SPDX-License-Identifier: *\([A-Za-z0-9.+-]*\).*/\1/p' "$file.license" | head -n 1)
        fi
        if [ -n "$id" ]; then
                if [ ! -f "LICENSES/$id.txt" ]; then
                        echo "$file: $id has no text in LICENSES/"
                        failed=1
                fi
        elif ! in_reuse "$file"; then
                echo "$file: no SPDX-License-Identifier in its first five lines, no .license file, no entry in REUSE.toml"
                failed=1
        fi
        case $file in
        include/memlego/*.h)
                if [ "$id" != LGPL-2.1-or-later ]; then
                        echo "$file: public headers are LGPL-2.1-or-later"
                        failed=1
                fi
                ;;
        esac
done <"$tmp"
if [ $count -eq 0 ]; then
        echo "no files found"
        exit 1
fi
[ $failed -ne 0 ] || echo "$count files say their licence"
exit $failed
