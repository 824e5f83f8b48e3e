# SPDX-License-Identifier: BSD-2-Clause
#
# 08_timers: of a million timers, half were canceled and the other half went off.
. "$2/tests/examples/common.inc"

example 08_timers || fail "exit status $?" "$work/out" "$work/err"
expect_line "check: none lost, none early, none after canceling, equal deadlines in order: ok"
ok "none lost, none early, none after canceling, equal deadlines in order"
grep -q '^1000000 timers: 500000 canceled, 500000 went off, ' "$work/out" ||
    fail "the timers do not add up" "$work/out"
ok "1,000,000 timers: 500,000 canceled, 500,000 went off"

example 08_timers nonsense
status=$?
[ $status -eq 2 ] || fail "exit status $status for an argument that it does not take" "$work/err"
grep -q '^usage: ' "$work/err" || fail "no usage line" "$work/err"
ok "an argument is refused"
