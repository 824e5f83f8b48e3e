# SPDX-License-Identifier: BSD-2-Clause
#
# 13_async_gather: with a worker a CPU, with one, with four, and on a single thread.
. "$2/tests/examples/common.inc"

while read -r options; do
    # shellcheck disable=SC2086 # words
    example 13_async_gather $options || fail "exit status $?" "$work/out" "$work/err"
    expect_line "one: this is page one"
    expect_line "two: this is page two"
    expect_line "check: both pages in the time of one: ok"
    expect_line "one: canceled"
    expect_line "check: the first failure cancels the rest: ok"
    ok "two fetches in the time of one, and a failure that cancels (${options:-no options})"
done <<END

--workers 1
--workers 4
--loop
END

for bad in nonsense --workers "--workers 0" "--loop 1"; do
    # shellcheck disable=SC2086 # words
    example 13_async_gather $bad && fail "'$bad' was accepted"
    grep -q '^usage: ' "$work/err" || fail "no usage for '$bad'" "$work/err"
done
ok "nonsense is refused"
