# SPDX-License-Identifier: BSD-2-Clause
#
# 02_bank: all transfers were made, and no cent was made or lost.
. "$2/tests/examples/common.inc"

example 02_bank || fail "exit status $?" "$work/out" "$work/err"
expect_line "check: 100000000 cents paid in, 100000000 cents in the accounts: ok"
ok "1,000 accounts hold what was paid in"
# Both kinds must occur: a bank that refuses everything keeps its sum, too.
awk '/transfers:/ { if ($1 == 1000000 && $3 > 0 && $5 > 0 && $3 + $5 == $1) good = 1 }
     END { exit !good }' "$work/out" || fail "the transfers do not add up" "$work/out"
ok "1,000,000 transfers: $(sed -n 's/^.*transfers: //p' "$work/out")"
expect_quiet ""
ok "nothing on stderr"

example 02_bank nonsense
status=$?
[ $status -eq 2 ] || fail "exit status $status for an argument that it does not take" "$work/err"
grep -q '^usage: ' "$work/err" || fail "no usage line" "$work/err"
ok "an argument is refused"
