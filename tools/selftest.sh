#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# selftest.sh: each check of this folder finds what it is for. A small tree in good order passes;
# the same tree with one thing wrong does not, and the message names the file.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
licence='/* SPDX-License-Identifier: BSD-2-Clause */'

# The good tree: an actor file that uses all lower layers, and the one home of atomics.
grow()
{
    rm -rf "${tree:?}"/*
    cp "$here/../.clang-format" "$tree"
    mkdir -p "$tree/base" "$tree/sched" "$tree/io" "$tree/actors" "$tree/examples" "$tree/include/kith"
    printf '%s\n#ifndef KITH__BASE_ATOMIC_H\n#define KITH__BASE_ATOMIC_H\n\n#include <stdatomic.h>\n\n#endif\n' \
        "$licence" >"$tree/base/atomic.h"
    printf '%s\n#ifndef KITH_ERR_H\n#define KITH_ERR_H\n\n#endif\n' "$licence" \
        >"$tree/include/kith/err.h"
    for file in sched/task io/loop actors/spawn; do
        printf '%s\n#include "base/atomic.h"\n#include <kith/err.h>\n\nint x; /* not _Atomic */\n' \
            "$licence" >"$tree/$file.c"
    done
    printf '%s\n#include <kith/err.h>\n' "$licence" >"$tree/examples/01_hello.c"
    mkdir -p "$tree/docs"
    printf '| `%s` | `sched/task.c` `%s` | `%s` | `%s` |\n' T1 put rel T2 T2 get acq T1 \
        >"$tree/docs/memory-order.md"
    printf '%s\n{\n    %s\n}\n' \
        'void put(int *p)' 'kith__store_rel(p, 1); /* release T1; pairs with T2 in get */' \
        'int get(int *p)' 'return kith__load_acq(p); /* acquire T2; pairs with T1 in put */' \
        >>"$tree/sched/task.c"
}

count=0
good()
{
    grow
    count=$((count + 1))
    if ! sh "$here/check-$1.sh" "$tree" >"$tree/log" 2>&1; then
        echo "FAIL: check-$1 refuses a tree in good order:"
        cat "$tree/log"
        exit 1
    fi
}

# bad CHECK FILE LINE: with that line at the end of that file, the check fails and names the file
bad()
{
    grow
    count=$((count + 1))
    printf '%s\n' "$3" >>"$tree/$2"
    if sh "$here/check-$1.sh" "$tree" >"$tree/log" 2>&1; then
        echo "FAIL: check-$1 lets this pass in $2: $3"
        exit 1
    fi
    grep -q "$2" "$tree/log" || {
        echo "FAIL: check-$1 does not name $2:"
        cat "$tree/log"
        exit 1
    }
}

good layers
bad layers base/atomic.h '#include "sched/task.h"'
bad layers sched/task.c '#include "actors/spawn.h"'
bad layers io/loop.c '#include "csp/fiber.h"'
bad layers io/loop.c '#include "actors/spawn.h"'
bad layers io/loop.c '#include "loop.h"'
bad layers io/loop.c '#include "../base/atomic.h"'
bad layers actors/spawn.c '#include "kith/err.h"'
bad layers actors/spawn.c '#include <base/atomic.h>'
bad layers examples/01_hello.c '#include "base/atomic.h"'
bad layers include/kith/err.h '#include "base/atomic.h"'

good atomics
bad atomics sched/task.c '#include <stdatomic.h>'
bad atomics sched/task.c 'static _Atomic int n;'
bad atomics io/loop.c 'int f(int *p) { return __atomic_load_n(p, 5); }'
bad atomics io/loop.c '/* a */ int f(int *p) { return __sync_fetch_and_add(p, 1); }'
bad atomics actors/spawn.c 'void g(void *p) { atomic_store(p, 1); }'
bad atomics actors/spawn.c 'void g(int *p) { ck_pr_inc_int(p); }'

good memory-order
bad memory-order sched/task.c 'int f(int *p) { return kith__load_acq(p); }'
bad memory-order sched/task.c 'int f(int *p) { return kith__load_acq(p); /* acquire T2 */ }'
bad memory-order io/loop.c 'int f(int *p) { return kith__xchg_ar(p, 1); /* T3 */ }'
bad memory-order docs/memory-order.md '| `T1` | `sched/task.c` `put` | `seq` | |'
bad memory-order docs/memory-order.md '| `T4` | `io/loop.c` `f` | `acq` | |'

good format
bad format sched/task.c 'int  y;'
bad format sched/task.c 'int y; '
bad format sched/task.c "$(printf '\tint y;')"
bad format sched/task.c 'int f(void) { return 1; }'

good headers
grow
printf 'int x;\n' >"$tree/base/bare.c"
count=$((count + 2))
if sh "$here/check-headers.sh" "$tree" >/dev/null; then
    echo "FAIL: check-headers lets a file without a licence pass"
    exit 1
fi
grow
printf '%s\nint x;\n' "$licence" >"$tree/base/open.h"
if sh "$here/check-headers.sh" "$tree" >/dev/null; then
    echo "FAIL: check-headers lets a header without a guard pass"
    exit 1
fi

good size
bad size sched/task.c "$(awk 'BEGIN { for (i = 0; i < 701; i++) print "int a" i ";" }')"
bad size sched/task.c "$(awk 'BEGIN { print "int f(void)\n{"; for (i = 0; i < 71; i++) print "    g();"; print "}" }')"

# An empty place is an error, not a tree in good order.
for check in layers atomics memory-order format headers size; do
    rm -rf "${tree:?}"/*
    count=$((count + 1))
    if sh "$here/check-$check.sh" "$tree" >/dev/null 2>&1; then
        echo "FAIL: check-$check finds nothing to look at and is content"
        exit 1
    fi
done
echo "$count cases"
