# SPDX-License-Identifier: BSD-2-Clause
#
# 03_ping_pong: a million rounds, each ping answered by the pong of its own number.
. "$2/tests/examples/common.inc"

example 03_ping_pong || fail "exit status $?" "$work/out" "$work/err"
expect_line "check: 1000000 rounds, each answered in turn: ok"
grep -q '^2000000 messages in ' "$work/out" || fail "the messages are not counted" "$work/out"
ok "1,000,000 rounds"
expect_quiet ""
ok "nothing on stderr"

example 03_ping_pong nonsense
status=$?
[ $status -eq 2 ] || fail "exit status $status for an argument that it does not take" "$work/err"
grep -q '^usage: ' "$work/err" || fail "no usage line" "$work/err"
ok "an argument is refused"
