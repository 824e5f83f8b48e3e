#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# symbols.sh SHARED_LIBRARY STATIC_LIBRARY INCLUDE_DIR: the shared library exports the functions and
# descriptors that the public headers declare, all of them and nothing else; the static one defines
# no global name outside kith_.
set -eu
shared=$1
static=$2
include=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
LC_ALL=C
export LC_ALL

nm -D --defined-only "$shared" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
    sort -u >"$work/exported"

# KITH_API declarations, as the preprocessor leaves them (it expands KITH_SYSTEM_MESSAGE).
echo '#include <kith.h>' | cc -E -P -I "$include" -DKITH_PROBE - 2>/dev/null | tr -s ' \t\n' ' ' |
    sed 's/__attribute__((visibility("default")))/\nEXPORT /g' | sed -n 's/^EXPORT //p' |
    sed 's/__attribute__((warn_unused_result))//g; s/[;({].*//; s/.*[ *]\(kith_[a-z0-9_]*\) *$/\1/' |
    sort -u >"$work/declared"

if ! diff "$work/declared" "$work/exported" >"$work/diff"; then
    echo "FAIL: declared in the headers (<) and exported by $(basename "$shared") (>) differ:"
    cat "$work/diff"
    exit 1
fi
n=$(wc -l <"$work/exported")
[ "$n" -ge 50 ] || { echo "FAIL: only $n exported names were found"; exit 1; }

foreign=$(nm -g --defined-only "$static" | awk 'NF == 3 && $3 !~ /^kith_/ { print $3 }' | sort -u)
if [ -n "$foreign" ]; then
    echo "FAIL: global names in $(basename "$static") that do not begin with kith_:"
    echo "$foreign"
    exit 1
fi

readelf -d "$shared" | grep -q 'SONAME.*\[libkith\.so\.0\]' ||
    { echo "FAIL: the soname is not libkith.so.0"; exit 1; }
echo "ok: $n names exported, as declared"
