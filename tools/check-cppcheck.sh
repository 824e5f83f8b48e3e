#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-cppcheck.sh: cppcheck is quiet about the library, its examples and its benchmarks, with the
# suppressions of tools/cppcheck.txt. Style, and the tests, are clang-tidy's business.
set -eu
cd "$(dirname "$0")/.."

folders=
for folder in base mailbox sched csp io actors examples bench; do
    if [ -n "$(find $folder -name '*.c' 2>/dev/null | head -n 1)" ]; then
        folders="$folders $folder"
    fi
done
[ -n "$folders" ] || { echo "no source files under $(pwd)"; exit 1; }

# cppcheck's preprocessor stops at a macro inside its own argument, which C expands: KITH_EXPAND_,
# as KITH_EACH_ nests it. It changes nothing there, so cppcheck reads the header without it;
# otherwise every file with more than three handlers would be a syntax error, and not be checked.
include=$(mktemp -d)
trap 'rm -rf "$include"' EXIT
cp -r include/. "$include"
sed -i 's/KITH_EXPAND_(\(KITH_EACH_[0-9]*_(.*)\))$/\1/' "$include/kith/macros.h"

# shellcheck disable=SC2086
cppcheck --quiet --std=c11 --language=c --platform=unix64 -j "$(nproc)" \
    --enable=warning,performance,portability --inline-suppr --suppressions-list=tools/cppcheck.txt \
    --error-exitcode=1 --template=gcc -D_GNU_SOURCE -D__GNUC__=12 -D__linux__ -D__x86_64__ \
    -I . -I "$include" $folders
