# SPDX-License-Identifier: BSD-2-Clause
#
# 10_generator: the trees have the same fringe or not, and values go both ways.
. "$2/tests/examples/common.inc"

example 10_generator || fail "exit status $?" "$work/out" "$work/err"
expect_line "check: two shapes, 1000 leaves, all the same: ok"
expect_line "check: the first difference is leaf 78: ok"
ok "trees are compared leaf by leaf"
expect_line "check: the mean of 1 ... 1000 is 500.5: ok"
ok "values are handed in"

example 10_generator nonsense
status=$?
[ $status -eq 2 ] || fail "exit status $status for an argument that it does not take" "$work/err"
grep -q '^usage: ' "$work/err" || fail "no usage line" "$work/err"
ok "an argument is refused"
