#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# gdb.sh SOURCE_DIR COMPILER: builds kith with debug information and a small program, stops it twice in
# gdb, and looks for its fibers and their frames with tools/gdb/kith-gdb.py. The program then goes on
# and ends by itself, which it would not if it had been disturbed. Skipped (77) without gdb.
set -eu
source=$1
compiler=$2

if ! command -v gdb >/dev/null 2>&1; then
    echo "skipped: there is no gdb"
    exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The fibers share one worker, so whenever one of them runs the others stand where they wait.
cat >"$work/program.c" <<'TEXT'
#include <kith.h>

#define OUTSIDE __attribute__((noinline))
KITH_MESSAGE(go_on, { char none; });
static int begun;
static volatile int counted;

OUTSIDE void stop_here(void)
{
    counted++;
}

OUTSIDE static kith_err wait_below(kith_co *co, int depth)
{
    volatile int mark = depth * 11;
    if (depth > 0)
        return wait_below(co, depth - 1) + (mark - depth * 11);
    kith_msg *msg;
    return kith_receive(co, KITH_FOREVER, &msg);
}

static void receiver(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    begun++;
    if (wait_below(co, 3) != KITH_OK)
        kith_fail(self, KITH_EINVAL);
}

static void napper(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    (void)arg;
    begun++;
    kith_sleep(co, kith_in(3600 * KITH_SECOND));
}

static void numbers(kith_gen *gen, void *arg)
{
    (void)gen;
    (void)arg;
    stop_here();
}

OUTSIDE static void use_numbers(kith_self *self)
{
    kith_gen *gen = kith_gen_new(self, numbers, NULL);
    kith_gen_next(gen, NULL, NULL);
    kith_gen_free(gen);
}

static void never(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    (void)co;
    (void)arg;
}

static void watcher(kith_self *self, kith_co *co, void *arg)
{
    while (begun < 2)
        kith_yield(co);
    kith_go(self, never, NULL);
    use_numbers(self);
    stop_here();
    kith_send(self, *(kith_ref *)arg, go_on, .none = 0);
}

static void run(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    kith_ref waits = kith_go(self, receiver, NULL);
    kith_go(self, napper, NULL);
    kith_msg *msg;
    if (kith_monitor(self, waits) != KITH_OK)
        kith_fail(self, KITH_EINVAL);
    kith_go(self, watcher, &waits);
    if (kith_receive(co, KITH_FOREVER, &msg) != KITH_OK ||
        kith_body(msg, kith_down)->reason != KITH_OK || counted != 2)
        kith_fail(self, KITH_EINVAL);
}

int main(void)
{
    const kith_config config = {.workers = 1, .stall_ns = 3600 * KITH_SECOND};
    return kith_main(&config, run, NULL);
}
TEXT

cmake -S "$source" -B "$work/build" "-DCMAKE_C_COMPILER=$compiler" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DKITH_TESTS=OFF -DKITH_EXAMPLES=OFF -DKITH_BENCH=OFF -DKITH_INSTALL=OFF >"$work/log" 2>&1 &&
    cmake --build "$work/build" --target kith_static >>"$work/log" 2>&1 &&
    "$compiler" -g -O1 -I "$source/include" "$work/program.c" "$work/build/libkith.a" -pthread \
        -o "$work/program" >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

cat >"$work/commands" <<TEXT
set pagination off
set width 0
source $source/tools/gdb/kith-gdb.py
break stop_here
run
kith fibers
kith bt all
kith select receiver
frame function wait_below
info locals
kith select none
continue
kith bt watcher
continue
TEXT
said=$work/said
gdb -nx -q -batch -x "$work/commands" "$work/program" >"$said" 2>&1 || true
if grep -q 'ptrace: Operation not permitted' "$said"; then
    echo "skipped: gdb may not trace here"
    exit 77
fi

failed=0
# has PATTERN: gdb said such a line
has()
{
    grep -Eq "$1" "$said" || { echo "gdb did not say: $1"; failed=1; }
}
has '^ +[0-9]+ +0 +[0-9]+ +65536  receiver +waits in kith_receive'
has '^ +[0-9]+ +0 +[0-9]+ +65536  napper +waits in kith_sleep'
has '^ +[0-9]+ +0 +[0-9]+ +65536  watcher +runs a generator'
has '^ +[0-9]+ +- +[0-9]+ +65536  never +has not begun'
has '^4 fibers'
# Of the suspended ones, down to their first frame; of a variable of one of them.
[ "$(grep -Ec '^#[0-9]+ .* wait_below \(' "$said")" -ge 4 ] || { echo "no wait_below"; failed=1; }
has '^#[0-9]+ .* kith_receive \('
has '^#[0-9]+ .* receiver \('
has '^#[0-9]+ .* kith_sleep \('
has '^#[0-9]+ .* napper \('
has '^#[0-9]+ .* use_numbers \('
has '^#[0-9]+ .* kith(__|[.])context_(start|first) \('
has '^mark = (0|11|22|33)$'
has '^fiber [0-9]+ watcher, worker 0, runs on thread [0-9]+'
has '^#0 +stop_here \('
has '^#1 .* watcher \('
has 'exited normally'
if grep -Eq 'Python Exception|Error occurred in Python|^#0 .* main \(' "$said"; then
    echo "an error in the script"
    failed=1
fi
[ $failed -eq 0 ] || cat "$said"
exit $failed
