# SPDX-License-Identifier: BSD-2-Clause
#
# 05_word_count: compared with wc -w and with tr | sort | uniq -c, on files with every kind of end.
. "$2/tests/examples/common.inc"

# Each file apart: the last word of one is not joined to the first of the next.
words_of()
{
    for file in "$@"; do
        tr -s '[:space:]' '\n' <"$file"
        echo
    done | sed '/^$/d'
}

total_of()
{
    for file in "$@"; do
        wc -w <"$file"
    done | awk '{ n += $1 } END { print n + 0 }'
}

# same_as_pipeline WHAT FILE...: the total and the most frequent words of these files.
same_as_pipeline()
{
    what=$1
    shift
    example 05_word_count "$@" || fail "$what: exit status $?" "$work/out" "$work/err"
    compare "$what" "$@"
    expect_quiet "$what: "
}

compare()
{
    what=$1
    shift
    total=$(total_of "$@")
    expect_line "$total words"
    expect_line "check: $total words read, $total words in the merged counts: ok"
    words_of "$@" | sort | uniq -c | sort -k 1,1nr -k 2 | head -n 20 >"$work/known"
    sed '1,/^check: /d' "$work/out" >"$work/top"
    cmp -s "$work/known" "$work/top" || fail "$what: other words are frequent" "$work/known" "$work/top"
    ok "$what: $total words and the 20 most frequent of them"
}

printf 'the cat and the dog and the bird\n' >"$work/short"
same_as_pipeline "one line" "$work/short"
expect_line "      3 the"
expect_line "      2 and"
expect_line "8 words"

printf 'b a\tc\vb\fa\rc  b\n\n\na end' >"$work/no_end"
same_as_pipeline "all white space, no newline at the end" "$work/no_end"

: >"$work/empty"
same_as_pipeline "an empty file" "$work/empty"
expect_line "0 words"

printf ' \n\t ' >"$work/blank"
same_as_pipeline "a file of white space" "$work/blank"

# Many chunks: 400,000 lines with words of every length up to 40, the same on every run.
awk 'BEGIN {
    x = 1
    for (i = 0; i < 400000; i++) {
        x = (x * 16807) % 2147483647
        n = x % 40 + 1
        word = substr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", x % 7 + 1, n)
        printf "%s%s", word, x % 11 ? " " : "\n"
    }
}' >"$work/big"
same_as_pipeline "a file of many chunks" "$work/big"

# One word that is larger than several chunks, between small ones.
{ printf 'small '; head -c 700000 /dev/zero | tr '\0' x; printf ' small'; } >"$work/long"
example 05_word_count "$work/long" || fail "a long word: exit status $?" "$work/err"
compare "a word of 700,000 letters" "$work/long"

same_as_pipeline "a file that is not text" "$BIN/05_word_count"
printf 'a \001 b \303\274 \302\240 c\n\001\002x\n' >"$work/odd"
same_as_pipeline "words without a printing character" "$work/odd"

same_as_pipeline "several files" "$work/big" "$work/no_end" "$work/empty" "$work/short" "$work/odd" \
    "$SRC/include/kith.h" "$SRC/include/kith/actor.h"

# A file that cannot be read: named, the status says so, the others are counted.
one_bad()
{
    what=$1
    bad=$2
    example 05_word_count "$work/short" "$bad" "$work/no_end"
    status=$?
    [ "$status" -eq 1 ] || fail "$what: exit status $status" "$work/out" "$work/err"
    grep -qF -- "$bad: $3" "$work/err" || fail "$what: it is not named on stderr" "$work/err"
    compare "$what is named, the others are counted" "$work/short" "$work/no_end"
}
one_bad "a missing file" "$work/missing" "No such file"
one_bad "a directory" "$work" "Is a directory"
one_bad "a file behind a file" "$work/short/x" "Not a directory"
printf 'secret\n' >"$work/locked"
chmod 0 "$work/locked"
if [ -r "$work/locked" ]; then
    ok "a file without permission: not tried, this user may read everything"
else
    one_bad "a file without permission" "$work/locked" "Permission denied"
fi

# A pipe has no size to go by.
example 05_word_count /dev/stdin <"$work/big" || fail "/dev/stdin: exit status $?" "$work/err"
compare "standard input" "$work/big"
mkfifo "$work/pipe"
cat "$work/big" >"$work/pipe" &
client_pids="$client_pids $!"
example 05_word_count "$work/pipe" || fail "a pipe: exit status $?" "$work/err"
compare "a pipe" "$work/big"

# Without arguments: the project's own texts, found from its folder.
(cd "$SRC" && example 05_word_count) || fail "own texts: exit status $?" "$work/out" "$work/err"
cd "$SRC" || fail "no folder $SRC"
set --
for text in [A-Z]*.md docs/*.md docs/*/*.md examples/*.md tests/*.md; do
    [ -f "$text" ] && set -- "$@" "$text"
done
[ $# -gt 5 ] || fail "where are the project's texts?"
compare "the project's own texts, $# files" "$@"
