/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: calls that block, on the pool for them.
 *
 * Called by: measure.c, through bench_blocking.
 * Invariants: each call sleeps for 100 ms, so n of them on 10 threads take n / 10 times that at
 * least;
 *   while they do, an actor is to be run every millisecond, and how late that was is a number of
 *   the result: no worker may be held up.
 * Threads: the calls are made by fibers, one each; main only begins and waits.
 * Why a runtime of its own: the number of threads of the pool is a part of the workload.
 */
#include "bench/bench.h"

#include <stdlib.h>
#include <time.h>

#define THREADS 10
#define CALL_NS (100 * KITH_MS)
#define TICK_NS KITH_MS

KITH_MESSAGE(bc_tick, { char none; });
KITH_MESSAGE(bc_end, { kith_err err; });

struct ticker {
    kith_time last;
    kith_time *worst; /* main's, who reads it when all is over */
};

static kith_err ticker_init(kith_self *self, void *state, const void *arg)
{
    struct ticker *me = state;
    me->worst = *(kith_time *const *)arg;
    me->last = kith_now();
    return kith_every(self, TICK_NS, bc_tick).bits != 0 ? KITH_OK : KITH_ENOMEM;
}

KITH_ON(ticker, bc_tick)
{
    kith_time now = kith_now();
    kith_time gap = now - me->last;
    me->last = now;
    if (gap > *me->worst)
        *me->worst = gap;
    return KITH_OK;
}

static const kith_behavior ticker = {
    .name = "ticker",
    .state_bytes = sizeof(struct ticker),
    .handlers = KITH_HANDLERS(ticker, bc_tick),
    .init = ticker_init,
};

static kith_err doze(void *arg)
{
    struct timespec t = {0, (long)CALL_NS};
    (void)arg;
    return nanosleep(&t, NULL) == 0 ? KITH_OK : KITH_EIO;
}

static void bc_caller(kith_self *self, kith_co *co, void *arg)
{
    kith_err err = kith_blocking(co, doze, NULL);
    kith_send(self, *(const kith_ref *)arg, bc_end, .err = err);
}

static bool calls(bench *b, kith_self *self, kith_co *co)
{
    kith_ref main_ref = kith_self_ref(self);
    kith_fiber_options options = {.arg_bytes = sizeof main_ref};
    bool check = true;
    for (uint64_t i = 0; i < b->n; i++)
        kith_go_with(self, bc_caller, &main_ref, &options);
    for (uint64_t i = 0; i < b->n && check; i++) {
        kith_msg *msg;
        check = kith_receive(co, kith_in(BENCH_PATIENCE), &msg) == KITH_OK &&
                kith_body(msg, bc_end)->err == KITH_OK;
    }
    return check;
}

static void run_blocking(bench *b)
{
    kith_config config = {.workers = b->options->workers, .blocking_threads = THREADS};
    kith_time worst = 0;
    kith_time *const where = &worst;
    kith_runtime *rt;
    kith_self *self;
    kith_co *co;
    if (kith_start(&config, &rt) != KITH_OK || kith_attach(rt, &self, &co) != KITH_OK)
        abort();
    kith_spawn(self, &ticker, &where);
    kith_time began = kith_now();
    bool check = calls(b, self, co);
    kith_time ended = kith_now();
    kith_detach(self);
    check = kith_shutdown(rt, kith_in(BENCH_PATIENCE)) == KITH_OK && check;
    bench_report(b, began, ended, b->n, check);
    bench_add_extra(b->result, "worst_tick_ms", (double)worst / KITH_MS);
}

const bench_workload bench_blocking[] = {
    {.name = "blocking",
     .op = "call",
     .what = "n calls that sleep for 100 ms, on 10 threads; how late a 1 ms timer was meanwhile",
     .n_default = 100,
     .n_max = 10000,
     .no_runtime = true,
     .run = run_blocking},
    {0},
};
