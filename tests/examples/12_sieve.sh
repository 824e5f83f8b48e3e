# SPDX-License-Identifier: BSD-2-Clause
#
# 12_sieve: known primes, at the borders and in between, and that all fibers end.
. "$2/tests/examples/common.inc"

while read -r n prime; do
    example 12_sieve "$n" || fail "exit status $?" "$work/out" "$work/err"
    expect_line "check: prime number $n is $prime: ok"
    expect_quiet ""
    ok "prime number $n is $prime"
done <<END
1 2
10 29
100 541
500 3571
END

for bad in 0 ten 10x 5001; do
    example 12_sieve "$bad" && fail "'$bad' was accepted"
    grep -q '^usage: ' "$work/err" || fail "no usage for '$bad'" "$work/err"
done
ok "nonsense is refused"
