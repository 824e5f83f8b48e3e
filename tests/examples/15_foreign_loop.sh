# SPDX-License-Identifier: BSD-2-Clause
#
# 15_foreign_loop: GLib's loop runs kith. It is built where GLib is installed.
. "$2/tests/examples/common.inc"

if [ ! -x "$BIN/15_foreign_loop" ]; then
    ok "not built: there is no GLib"
    exit 0
fi

example 15_foreign_loop || fail "exit status $?" "$work/out" "$work/err"
expect_line "GLib handed in 20 numbers, a fiber asked as often, or more"
expect_line "check: the squares add up, on one thread: ok"
ok "20 numbers through GLib's loop and kith's, on one thread"

example 15_foreign_loop nonsense
status=$?
[ $status -eq 2 ] || fail "exit status $status for an argument that it does not take" "$work/err"
ok "an argument is refused"
