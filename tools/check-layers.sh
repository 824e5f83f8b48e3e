#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-layers.sh [ROOT]: an internal file includes its own folder, lower layers, public headers and
# the system's; never upward and never sideways. Examples and benchmarks see the public headers
# only. Internal headers are named from the root ("base/atomic.h"), so that each line shows its
# layer. Headers in include/ see only <kith/...> and the system's.
set -eu
cd "${1:-$(dirname "$0")/..}"

find base mailbox sched csp io actors examples bench include -type f \
    \( -name '*.c' -o -name '*.h' \) 2>/dev/null | sort >"${TMPDIR:-/tmp}/kith-layers.$$"
trap 'rm -f "${TMPDIR:-/tmp}/kith-layers.$$"' EXIT
[ -s "${TMPDIR:-/tmp}/kith-layers.$$" ] || { echo "no source files under $(pwd)"; exit 1; }

tr '\n' '\0' <"${TMPDIR:-/tmp}/kith-layers.$$" | xargs -0 awk '
BEGIN {
    level["base"] = 0; level["mailbox"] = 1; level["sched"] = 2
    level["csp"] = 3; level["io"] = 3; level["actors"] = 4
    outside["examples"] = outside["bench"] = outside["include"] = 1
}
function bad(why) {
    printf "%s:%d: %s: %s\n", FILENAME, FNR, why, $0
    failed = 1
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split(FILENAME, at, "/"); from = at[1]
    name = $0; sub(/^[^"]*"/, "", name); sub(/".*/, "", name)
    split(name, part, "/"); to = part[1]
    if (from in outside) {
        if (from == "include")
            bad("a public header includes an internal one")
        else if (to in level)
            bad("a program includes an internal header")
        next
    }
    if (name ~ /(^|\/)\.\.?\//)
        bad("a path that climbs")
    else if (name ~ /^kith(\.h$|\/)/)
        bad("public headers stand in angle brackets")
    else if (!(to in level) || name !~ /\//)
        bad("not an internal header named from the root")
    else if (to != from && level[to] == level[from])
        bad("sideways, from " from " to " to)
    else if (level[to] > level[from])
        bad("upward, from " from " to " to)
}
/^[ \t]*#[ \t]*include[ \t]*</ {
    split(FILENAME, at, "/"); from = at[1]
    name = $0; sub(/^[^<]*</, "", name); sub(/>.*/, "", name)
    split(name, part, "/")
    if (part[1] in level)
        bad("an internal header in angle brackets")
    if (name ~ /^ck_/ && from in outside)
        bad("Concurrency Kit outside the library")
}
END { exit failed }
'
