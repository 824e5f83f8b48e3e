# SPDX-License-Identifier: BSD-2-Clause
#
# 14_scopes: however a scope is left, what its fibers had is given back by then.
. "$2/tests/examples/common.inc"

example 14_scopes || fail "exit status $?" "$work/out" "$work/err"
for way in all failure deadline race; do
    expect_line "check: $way: ok"
    ok "$way"
done
[ "$(grep -c ', 0 tools in use$' "$work/out")" -eq 4 ] || fail "tools are missing" "$work/out"
ok "all tools were brought back"

example 14_scopes nonsense
status=$?
[ $status -eq 2 ] || fail "exit status $status for an argument that it does not take" "$work/err"
grep -q '^usage: ' "$work/err" || fail "no usage line" "$work/err"
ok "an argument is refused"
