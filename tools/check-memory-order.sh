#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-memory-order.sh [ROOT]: docs/memory-order.md and the sources say the same. Every atomic
# operation that is not relaxed has a tag in the comment at it, and a row in the document's table:
# tag, file, function, order. Every row has its operation. And every tag that a comment at an
# operation names as a partner ("pairs with M2") has a row somewhere.
#
# A comment is "at" an operation if it stands on its line, or else directly before its statement. The
# operation's own tags are those before the words "pairs with"; without any, those after (a pair may
# share one tag). base/atomic.h, base/ck.h and base/asymmetric.h define the operations and have none.
set -eu
cd "${1:-$(dirname "$0")/..}"

table=docs/memory-order.md
[ -f "$table" ] || { echo "no $table under $(pwd)"; exit 1; }
list=${TMPDIR:-/tmp}/kith-memory-order.$$
trap 'rm -f "$list"' EXIT
find base mailbox sched csp io actors -type f \( -name '*.c' -o -name '*.h' \) 2>/dev/null |
    grep -vxE 'base/(atomic\.h|ck\.h|asymmetric\.[ch])' | sort >"$list"
[ -s "$list" ] || { echo "no source files under $(pwd)"; exit 1; }

# shellcheck disable=SC2046 # names without blanks
awk -v table="$table" '
function complain(text) {
    print text
    failed = 1
}
# The tags in text, as " M1 B1a H-PUB ".
function tags_in(text,    found) {
    found = " "
    while (match(text, /(^|[^A-Za-z0-9_-])[A-Z][A-Z]?(-[A-Z]+|[0-9]+[a-z]?)([^A-Za-z0-9_-]|$)/)) {
        tag = substr(text, RSTART, RLENGTH)
        gsub(/[^A-Z0-9a-z-]/, "", tag)
        if (index(found, " " tag " ") == 0)
            found = found tag " "
        text = substr(text, RSTART + RLENGTH - 1)
    }
    return found
}
# Splits $0 into code and comment; remembers whether a comment is open.
function divide(    line, at, end) {
    code = ""; line = $0
    for (;;) {
        if (in_comment) {
            end = index(line, "*/")
            if (end == 0) { comment = comment " " line; return }
            comment = comment " " substr(line, 1, end - 1)
            line = substr(line, end + 2); in_comment = 0
        }
        at = index(line, "/*")
        if (at == 0) { code = code line; return }
        code = code substr(line, 1, at - 1)
        line = substr(line, at + 2); in_comment = 1
    }
}
function operation(name, comment,    at, own, n, i, tag, order) {
    order = name; sub(/\($/, "", order)
    if (order !~ /fence|ck_stack/)
        sub(/^kith__[a-z]+_/, "", order)
    sub(/^kith__/, "", order)
    at = index(comment, "pairs with")
    own = at > 0 ? tags_in(substr(comment, 1, at - 1)) : tags_in(comment)
    if (own == " ")
        own = tags_in(comment)
    if (own == " ")
        complain(FILENAME ":" FNR ": no tag at this " order " operation, in " fn)
    n = split(own, tag, " ")
    for (i = 1; i <= n; i++) {
        key = tag[i] " " FILENAME " " fn " " order
        if (!(key in row))
            complain(FILENAME ":" FNR ": no row in " table ": | `" tag[i] "` | `" FILENAME "` `" \
                fn "` | `" order "` |")
        seen[key] = 1
    }
    n = split(tags_in(comment), tag, " ")
    for (i = 1; i <= n; i++)
        if (!(tag[i] in known) && !(tag[i] in missed)) {
            missed[tag[i]] = 1
            complain(FILENAME ":" FNR ": " tag[i] " has no row in " table)
        }
}
FILENAME == table {
    if ($0 !~ /^\| `[A-Z][A-Z]?(-[A-Z]+|[0-9]+[a-z]?)` \| `[a-z]+\/[a-z_]+\.[ch]` `/)
        next
    split($0, cell, "|")
    gsub(/[` ]+/, " ", cell[2]); gsub(/[` ]+/, " ", cell[3]); gsub(/[` ]+/, " ", cell[4])
    split(cell[2] cell[3] cell[4], word, " ")
    row[word[1] " " word[2] " " word[3] " " word[4]] = FNR
    known[word[1]] = 1
    next
}
FNR == 1 { in_comment = 0; comment = ""; fn = "?" }
{
    before = comment; comment = ""
    divide()
    here = comment; comment = before here
    gsub(/__attribute__\(\([^)]*\)\) */, "", code)
    if (code ~ /^[A-Za-z_].*[A-Za-z0-9_]\(/ && code !~ /;[ \t]*$/) {
        fn = code; sub(/\(.*/, "", fn); sub(/.*[^A-Za-z0-9_]/, "", fn)
    }
    rest = code
    while (match(rest, /(kith__[a-z]+_(acq|rel|ar|seq)|kith__fence_(light|heavy|seq)|ck_stack_(batch_)?(push|pop)_[a-z]+)\(/)) {
        name = substr(rest, RSTART, RLENGTH)
        rest = substr(rest, RSTART + RLENGTH)
        operation(name, tags_in(here) != " " ? here : comment)
    }
    # A statement keeps its comment until its end.
    if (!in_comment && code ~ /[;{}:][ \t]*$/)
        comment = ""
}
END {
    for (key in row)
        if (!(key in seen))
            complain(table ":" row[key] ": no such operation in the sources: " key)
    exit failed
}
' "$table" $(cat "$list")
