# SPDX-License-Identifier: BSD-2-Clause
#
# 16_select_timeout_retry: fails twice, then succeeds; the late answer is not taken.
. "$2/tests/examples/common.inc"

example 16_select_timeout_retry || fail "exit status $?" "$work/out" "$work/err"
expect_line "try 1: the deadline passed"
expect_line "try 2: the actor failed"
expect_line "try 3: success"
expect_line "check: failed twice, then 42; the late answer was sent, and not taken: ok"
ok "two failures, a success, and a late answer that nobody took"
