# SPDX-License-Identifier: BSD-2-Clause
#
# 04_thread_ring: the answers for 1,000 hops (498) and 5,000,000 hops (181) are those that the
# Computer Language Benchmarks Game and arithmetic give; 0 and 503 are the borders.
. "$2/tests/examples/common.inc"

while read -r hops number; do
    example 04_thread_ring "$hops" || fail "exit status $?" "$work/out" "$work/err"
    expect_line "check: the token stopped at number $number of 503: ok"
    ok "$hops hops end at number $number"
done <<END
1000 498
0 1
502 503
503 1
END
example 04_thread_ring || fail "exit status $?" "$work/out" "$work/err"
expect_line "check: the token stopped at number 181 of 503: ok"
ok "5,000,000 hops, the default, end at number 181"

for bad in -1 ten 10x; do
    example 04_thread_ring "$bad" && fail "hops of '$bad' were accepted"
    grep -q '^usage: ' "$work/err" || fail "no usage for '$bad'" "$work/err"
done
ok "nonsense for a number of hops is refused"
