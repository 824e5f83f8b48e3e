# SPDX-License-Identifier: BSD-2-Clause
#
# The contrast: each workload in each dress holds its check, at the smallest size; and its driver
# makes tables and plots of that, and notices what fails. No figure is judged here.
. "$2/tests/examples/common.inc"

sh "$SRC/tools/contrast.sh" "$BIN/contrast" "$work/small" --size tiny --page "$work/none" \
    >"$work/out" 2>"$work/err" && fail "a page that does not exist was written" "$work/out"
grep -q '^no page ' "$work/err" || fail "a missing page is not named" "$work/err"
ok "a page that does not exist is refused"

printf 'before\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nafter\n' >"$work/page.md"
sh "$SRC/tools/contrast.sh" "$BIN/contrast" "$work/small" --size tiny --page "$work/page.md" \
    >"$work/out" 2>"$work/err" || fail "exit status $?" "$work/out" "$work/err"
grep -qE '^[0-9]+ figures, 0 failed$' "$work/out" || fail "no last line" "$work/out"
ok "the driver: $(tail -n 1 "$work/out")"

for dress in callbacks fibers csp actors stealing threads; do
    for workload in W1 W2 W3 W4 W5 W6 W7 W8 W9 W10; do
        grep -q "^1,$workload,[^,]*,$dress,.*,ok,\$" "$work/small/raw.csv" ||
            fail "$workload in $dress has no figure whose check is ok" "$work/small/raw.csv"
    done
done
ok "ten workloads in six dresses, each with its check"
if grep -q warning "$work/err"; then
    fail "a run has logged something" "$work/err"
fi

grep -q '^before$' "$work/page.md" && grep -q '^after$' "$work/page.md" ||
    fail "the page has lost what stands around the figures" "$work/page.md"
grep -q '^old$' "$work/page.md" && fail "the old figures are still in the page" "$work/page.md"
grep -q '^### W10: ' "$work/page.md" || fail "the page has no tables" "$work/page.md"
grep -qx 'W4,1000,memory,bytes a task,threads,.*,1,ok,' "$work/small/summary.csv" ||
    fail "no line for the threads' memory" "$work/small/summary.csv"
ok "the tables are in the page, between its marks"

if command -v gnuplot >/dev/null 2>&1; then
    for plot in contrast-latency-half contrast-stages contrast-memory; do
        [ -s "$work/img/$plot.svg" ] && [ -s "$work/img/$plot.png" ] || fail "no plot $plot"
    done
    ok "the plots are beside the page"
else
    ok "no plots: gnuplot is not installed"
fi

# A program whose answer is wrong.
cat >"$work/liar" <<'END'
#!/bin/sh
case $1 in
--list) echo "W4 1000" ;;
--versions) echo "none" ;;
*) echo "W4,1000,$1,memory,1,bytes a task,FAILED,"; exit 1 ;;
esac
END
chmod +x "$work/liar"
sh "$SRC/tools/contrast.sh" "$work/liar" "$work/lies" --size tiny >"$work/out" 2>"$work/err" &&
    fail "a failed check is no failure" "$work/out"
ok "a failed check is a failure"

for bad in "callbacks W11" "nothing W1" "csp W1 sideways" "csp W1 same --size huge" "csp"; do
    # shellcheck disable=SC2086 # words
    example contrast $bad && fail "'$bad' was accepted"
    grep -q '^usage: ' "$work/err" || fail "no usage for '$bad'" "$work/err"
done
ok "nonsense is refused"
