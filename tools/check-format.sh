#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-format.sh [ROOT]: every C and C++ file is laid out as .clang-format says, and has no tab, no
# blank at the end of a line and no missing newline at the end. `./dev format` mends the layout.
set -eu
cd "${1:-$(dirname "$0")/..}"

# With one list for all: what is under version control's eye, less what is built.
files=$(find . \( -path ./build -o -path './build-*' -o -path ./.git \) -prune -o \
    \( -name '*.c' -o -name '*.h' -o -name '*.cc' \) -type f -print | sort)
[ -n "$files" ] || { echo "no source files under $(pwd)"; exit 1; }

status=0
for file in $files; do
    if ! clang-format --dry-run -Werror "$file" 2>/dev/null; then
        echo "$file: not laid out as .clang-format says; ./dev format does it"
        status=1
    fi
done
# Assembly is laid out by hand, but for tabs, blanks and the end.
files="$files
$(find . \( -path ./build -o -path './build-*' -o -path ./.git \) -prune -o \
    -name '*.S' -type f -print | sort)"
# shellcheck disable=SC2086
if grep -nE "$(printf '\t')|[[:blank:]]+\$" $files; then
    echo "tabs, or blanks at the end of a line"
    status=1
fi
for file in $files; do
    if [ -n "$(tail -c 1 "$file")" ]; then
        echo "$file: no newline at the end"
        status=1
    fi
done
exit $status
