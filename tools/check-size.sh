#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-size.sh [ROOT]: no source file is longer than 700 lines (600 is the aim), and no function
# longer than 70, from its opening brace in the first column to its closing one. A function that a
# macro opens counts too; clang-tidy, which sees statements, would not look into those.
set -eu
cd "${1:-$(dirname "$0")/..}"

list=${TMPDIR:-/tmp}/kith-size.$$
trap 'rm -f "$list"' EXIT
find . \( -path ./build -o -path './build-*' -o -path ./.git \) -prune -o -type f \
    \( -name '*.c' -o -name '*.h' -o -name '*.cc' -o -name '*.S' \) -print | sort >"$list"
[ -s "$list" ] || { echo "no source files under $(pwd)"; exit 1; }

tr '\n' '\0' <"$list" | xargs -0 awk -v file_max=700 -v function_max=70 '
function close_file() {
    if (name != "" && lines > file_max) {
        printf "%s: %d lines, more than %d\n", name, lines, file_max
        failed = 1
    }
}
FNR == 1 { close_file(); name = FILENAME; opened = 0; before = "" }
{ lines = FNR }
/^\{/ { opened = FNR; head = before }
/^\}/ {
    if (opened && FNR - opened - 1 > function_max) {
        printf "%s:%d: a function of %d lines, more than %d: %s\n", FILENAME, opened,
            FNR - opened - 1, function_max, head
        failed = 1
    }
    opened = 0
}
{ before = $0 }
END { close_file(); exit failed }
'
