# SPDX-License-Identifier: BSD-2-Clause
#
# 11_pipeline: the sum against a formula, for no number, one, an even and an odd last one, and the
# default.
. "$2/tests/examples/common.inc"

while read -r n sum; do
    example 11_pipeline "$n" || fail "exit status $?" "$work/out" "$work/err"
    expect_line "the odd squares of 1 to $n add up to $sum"
    expect_line "check: m(2m-1)(2m+1)/3: ok"
    ok "1 to $n give $sum"
done <<END
0 0
1 1
2 1
5 35
1000 166666500
END
example 11_pipeline || fail "exit status $?" "$work/out" "$work/err"
expect_line "check: m(2m-1)(2m+1)/3: ok"
ok "1 to 1000000, the default"

for bad in -1 ten 10x 1000001; do
    example 11_pipeline "$bad" && fail "'$bad' was accepted"
    grep -q '^usage: ' "$work/err" || fail "no usage for '$bad'" "$work/err"
done
ok "nonsense is refused"
