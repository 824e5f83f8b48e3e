#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# run.sh [NAME...]: shows that the tests notice when the lines that keep the invariants are broken.
#
# Each NAME.patch beside this script breaks a line or two, and says at its top
#
#     test: unit/base_handle      the program under tests/ that must catch it
#     build: tsan                 plain, asan (messages by malloc), or tsan
#     breaks: H2 ...              the invariant, and how it is broken
#
# It is applied to a copy of the tree, the test is built and run, and the patch is taken back. A
# test that fails, crashes or does not end has caught it. The test without the patch must pass
# first: one that always fails catches nothing. Races are given several runs (KITH_MUTATION_RUNS).
# The last line says how many were caught; the exit status is 1 if any survived.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
runs=${KITH_MUTATION_RUNS:-5}
limit=${KITH_MUTATION_LIMIT_S:-120}

tree=$(mktemp -d "${TMPDIR:-/tmp}/kith-mutations.XXXXXX") || exit 1
trap 'rm -rf "$tree"' EXIT
trap 'exit 130' INT TERM
mkdir "$tree/src"
(cd "$root" && tar -cf - --exclude='./build*' --exclude=./.git .) | tar -xf - -C "$tree/src"
cd "$tree/src" || exit 1

# of PATCH KEY: what the patch says of itself
of()
{
    sed -n "s/^$2: *//p" "$1" | head -n 1
}

# configure BUILD: once for each kind of build
configure()
{
    [ -d "$tree/$1" ] && return 0
    case $1 in
    plain) set -- "$1" -DCMAKE_C_FLAGS_RELEASE=-O2 ;;
    asan) set -- "$1" '-DCMAKE_C_FLAGS_RELEASE=-O1 -g' -DKITH_SANITIZE=address,undefined \
        -DKITH_MALLOC=ON ;;
    tsan) set -- "$1" '-DCMAKE_C_FLAGS_RELEASE=-O1 -g' -DKITH_SANITIZE=thread ;;
    *) return 1 ;;
    esac
    build=$1
    shift
    cmake -S . -B "$tree/$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DKITH_EXAMPLES=OFF \
        -DKITH_BENCH=OFF -DKITH_INSTALL=OFF "$@" >"$tree/log" 2>&1
}

# build BUILD TEST
build()
{
    cmake --build "$tree/$1" --target "$(echo "$2" | tr / _)" >"$tree/log" 2>&1
}

# passes BUILD TEST
passes()
{
    (timeout "$limit" env KITH_STRESS_LIMIT_S=$((limit / 3)) TSAN_OPTIONS=halt_on_error=1 \
        "$tree/$1/tests/$2" >"$tree/log" 2>&1
    exit $?) 2>/dev/null # a shell of its own, whose word on a crash is not ours
}

# good BUILD TEST: passes as it stands; asked once for each
good()
{
    mark=$tree/good-$1-$(echo "$2" | tr / _)
    [ -e "$mark" ] && return 0
    if configure "$1" && build "$1" "$2" && passes "$1" "$2"; then
        : >"$mark"
        return 0
    fi
    tail -n 20 "$tree/log"
    return 1
}

# is_caught BUILD TEST: one run of several fails
is_caught()
{
    n=0
    while [ $n -lt "$runs" ]; do
        passes "$1" "$2" || return 0
        n=$((n + 1))
    done
    return 1
}

# try NAME: one mutation; sets result
try()
{
    patch=$here/$1.patch
    result=SURVIVED
    if [ ! -r "$patch" ]; then
        result="SURVIVED (no such patch)"
        return
    fi
    build=$(of "$patch" build)
    test=$(of "$patch" test)
    if ! good "$build" "$test"; then
        result="SURVIVED ($test does not pass without it)"
        return
    fi
    files=$(sed -n 's|^+++ b/\([^ 	]*\).*|\1|p' "$patch")
    for file in $files; do
        mkdir -p "$tree/keep/$(dirname "$file")"
        cp "$file" "$tree/keep/$file"
    done
    if ! patch -p1 -s -f --no-backup-if-mismatch <"$patch" >"$tree/log" 2>&1; then
        result="SURVIVED (does not apply any more)"
    elif ! build "$build" "$test"; then
        result="SURVIVED (does not compile)"
        tail -n 20 "$tree/log"
    elif is_caught "$build" "$test"; then
        result=caught
    fi
    # Back to the original, with new times, so that all that was built of it is built again.
    for file in $files; do
        cp "$tree/keep/$file" "$file"
        rm -f "$file.rej" "$file.orig"
    done
}

if [ $# -eq 0 ]; then
    for patch in "$here"/*.patch; do
        set -- "$@" "$(basename "$patch" .patch)"
    done
fi

caught=0
survived=0
for name in "$@"; do
    try "$name"
    printf '%-28s %-24s %s\n' "$name" "$test" "$result"
    if [ "$result" = caught ]; then
        caught=$((caught + 1))
    else
        survived=$((survived + 1))
    fi
done
echo "$caught caught, $survived survived"
[ "$survived" -eq 0 ]
