#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-atomics.sh [ROOT]: raw atomic operations stand nowhere but in base/atomic.h, where their
# order is in their name and another backend can be put in front. Comments may speak of them.
# Concurrency Kit's ck_pr operations are raw too: base/ck.h alone may name them, for the substitute
# that ThreadSanitizer sees through.
set -eu
cd "${1:-$(dirname "$0")/..}"

list=${TMPDIR:-/tmp}/kith-atomics.$$
trap 'rm -f "$list"' EXIT
find base mailbox sched csp io actors http cluster observe include examples bench tests -type f \
    \( -name '*.c' -o -name '*.h' -o -name '*.cc' \) 2>/dev/null | sort >"$list"
[ -s "$list" ] || { echo "no source files under $(pwd)"; exit 1; }

tr '\n' '\0' <"$list" | xargs -0 awk '
FNR == 1 { in_comment = 0 }
FILENAME == "base/atomic.h" { next }
{
    # The line without comments and string literals.
    line = $0
    gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
    if (in_comment) {
        if (!match(line, /\*\//))
            next
        line = substr(line, RSTART + 2); in_comment = 0
    }
    while ((at = index(line, "/*")) > 0) {
        rest = substr(line, at + 2)
        if ((end = index(rest, "*/")) > 0)
            line = substr(line, 1, at - 1) " " substr(rest, end + 2)
        else {
            line = substr(line, 1, at - 1); in_comment = 1
        }
    }
    sub(/\/\/.*/, "", line)
    raw = line ~ /stdatomic\.h|<atomic>|_Atomic|__atomic_|__sync_|std::atomic/ ||
          line ~ /(^|[^A-Za-z0-9_])(atomic_[a-z]|memory_order_)/
    if (FILENAME != "base/ck.h" && line ~ /(^|[^A-Za-z0-9_])ck_pr_|ck_pr\.h/)
        raw = 1
    if (raw) {
        printf "%s:%d: a raw atomic operation outside base/atomic.h: %s\n", FILENAME, FNR, $0
        failed = 1
    }
}
END { exit failed }
'
