#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-tidy.sh [BUILD_DIR]: clang-tidy is quiet about every source file that BUILD_DIR compiles,
# under .clang-tidy. Any configured build serves; it need not be built.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/release-clang}
[ -f "$build/compile_commands.json" ] || { echo "no $build/compile_commands.json"; exit 1; }

# Each file once, though the library's are compiled twice; assembly it does not read.
files=$(sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' "$build/compile_commands.json" |
    grep -v '\.S$' | sort -u)
[ -n "$files" ] || { echo "nothing to look at in $build"; exit 1; }

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
# The options silence only the counts of what was suppressed in other people's headers.
echo "$files" | xargs -P "$(nproc)" -n 1 clang-tidy -p "$build" --quiet \
    --extra-arg=-Wno-unknown-warning-option >"$log" 2>&1 || status=1
grep -vE '^[0-9]+ warnings? (and [0-9]+ errors? )?generated\.$|^Suppressed |^Use -header-filter' \
    "$log" || true
exit $status
