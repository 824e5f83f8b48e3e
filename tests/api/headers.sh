#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# headers.sh INCLUDE_DIR COMPILER: every public header compiles alone, twice included, without a
# warning, as C17 (and C11) or C++17 (and C++20), and so does a program's use of its macros.
set -eu
include=$1
compiler=$2
warnings="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"

case $compiler in
*++) language=c++ standards="c++17 c++20" ;;
*) language=c standards="c17 c11" warnings="$warnings -Wstrict-prototypes" ;;
esac

# try NAME < SOURCE
try()
{
    # shellcheck disable=SC2086
    if ! "$compiler" -x $language -std="$standard" $warnings -I "$include" -fsyntax-only - ; then
        echo "FAIL $1 as $standard with $compiler"
        exit 1
    fi
}

count=0
for standard in $standards; do
    for header in "$include"/kith.h "$include"/kith/*.h; do
        name=${header#"$include"/}
        printf '#include <%s>\n#include <%s>\nextern int one_declaration;\n' "$name" "$name" | try "$name"
        count=$((count + 1))
    done
    # The message and handler macros, used in a file of a program.
    try "a program's macros" <<'PROGRAM'
#include <kith.h>
KITH_MESSAGE(tick, { long n; });
KITH_MESSAGE_OWNING(page, { char *text; });
KITH_DROP(page) { msg->text = NULL; }
struct clock_state { long n; };
KITH_ON(clock_state, tick) { me->n += msg->n; return kith_reply(self, tick, me->n); }
KITH_ON(clock_state, page) { return msg->text != NULL ? KITH_OK : KITH_EINVAL; }
KITH_THEN(clock_state, answered) { return status; }
#ifdef __cplusplus
static const kith_handler handlers[] = {
    KITH_HANDLER(clock_state, tick) KITH_HANDLER(clock_state, page) {NULL, NULL}};
static const kith_behavior behavior = {"clock", sizeof(clock_state), handlers, NULL, NULL, NULL, 0};
#else
static const kith_behavior behavior = {
    .name = "clock",
    .state_bytes = sizeof(struct clock_state),
    .handlers = KITH_HANDLERS(clock_state, tick, page),
};
#endif
void use(kith_self *self, kith_co *co);
void use(kith_self *self, kith_co *co)
{
    kith_ref it = kith_spawn(self, &behavior, NULL);
    kith_msg *reply;
    kith_send(self, it, tick, 1);
    if (kith_ask(co, it, kith_in(KITH_SECOND), &reply, tick, 2) == KITH_OK)
        kith_send(self, it, tick, kith_body(reply, tick)->n);
    if (kith_ask_then(self, it, KITH_FOREVER, clock_state_then_answered, NULL, tick) != KITH_OK)
        kith_at(self, kith_in(KITH_MS), tick, 3);
    page *p = kith_new(self, page);
    if (kith_post(self, it, p) != KITH_OK)
        kith_discard(self, p);
}
PROGRAM
done
[ "$count" -ge 20 ] || { echo "FAIL: only $count headers were found in $include"; exit 1; }

# The options do find warnings: a header with one must be refused.
standard=${standards%% *}
if echo 'static inline int f(long x) { return x; }' | "$compiler" -x $language -std="$standard" \
    $warnings -fsyntax-only - 2>/dev/null; then
    echo "FAIL: a careless conversion was not refused"
    exit 1
fi
echo "ok: $count compilations of headers with $compiler as $standards"
