# SPDX-License-Identifier: BSD-2-Clause
#
# 01_hello: prints its greetings in the order in which they were sent, and nothing else.
. "$2/tests/examples/common.inc"

example 01_hello || fail "exit status $?" "$work/out" "$work/err"
printf 'hello, world\nhello, kith and kin\ncheck: two greetings were counted: ok\n' >"$work/known"
cmp -s "$work/known" "$work/out" || fail "other output than expected" "$work/out" "$work/err"
ok "the greetings and the count are as expected"
expect_quiet ""
ok "nothing on stderr"

example 01_hello nonsense
status=$?
[ $status -eq 2 ] || fail "exit status $status for an argument that it does not take" "$work/err"
grep -q '^usage: ' "$work/err" || fail "no usage line" "$work/err"
ok "an argument is refused"
