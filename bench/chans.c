/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: fibers and channels: switching, spawning, rendezvous, buffered channels, select.
 *
 * Called by: measure.c, through bench_chans.
 * Invariants: each receiver compares what it receives with what must come; each time is taken by
 *   the fiber that works last.
 * Threads: both fibers of a workload run on the first worker; of those named -across, the receiver
 *   runs on the second, so these want --workers 2.
 * Why so: peers measure the same: libdill and Go with one thread, Go with two.
 */
#include "bench/bench.h"

#define BUFFER 1024
#define SELECT_CHANS 8

struct chans {
    kith_chan *chan[SELECT_CHANS];
    kith_chan *end;
    kith_ref main;
    kith_time began_ns;
    uint64_t n;
    unsigned ended; /* fibers of fiber-switch */
};

static void done(kith_self *self, const struct chans *c, uint64_t ops, bool check)
{
    kith_send(self, c->main, bench_done, .began_ns = c->began_ns, .ended_ns = kith_now(),
              .ops = ops, .check = check);
}

static void go(bench *b, kith_fiber_fn *fn, struct chans *c, unsigned worker)
{
    const kith_fiber_options options = {.worker = worker};
    kith_ref ref = kith_go_with(b->self, fn, c, &options);
    if (kith_ref_error(ref) != KITH_OK)
        kith_send(b->self, kith_self_ref(b->self), bench_done, .check = false);
}

/* ---- one channel ---- */

static void sender(kith_self *self, kith_co *co, void *arg)
{
    struct chans *c = arg;
    (void)self;
    c->began_ns = kith_now();
    for (uint64_t i = 0; i < c->n; i++)
        if (kith_chan_send(co, c->chan[0], &i, KITH_FOREVER) != KITH_OK)
            return;
    kith_chan_close(c->chan[0]);
}

static void receiver(kith_self *self, kith_co *co, void *arg)
{
    struct chans *c = arg;
    uint64_t expected = 0;
    uint64_t value;
    while (kith_chan_recv(co, c->chan[0], &value, KITH_FOREVER) == KITH_OK && value == expected)
        expected++;
    done(self, c, c->n, expected == c->n);
}

static void run_one(bench *b, size_t capacity, unsigned worker)
{
    struct chans c = {.main = kith_self_ref(b->self), .n = b->n};
    if (worker > b->result->workers)
        worker = (unsigned)b->result->workers;
    c.chan[0] = kith_chan_new(b->self, sizeof(uint64_t), capacity);
    go(b, receiver, &c, worker);
    go(b, sender, &c, 1);
    bench_wait(b);
    kith_join(b->runtime, kith_in(BENCH_PATIENCE));
    kith_chan_drop(c.chan[0]);
}

static void run_rendezvous(bench *b)
{
    run_one(b, 0, 1);
}

static void run_rendezvous_across(bench *b)
{
    run_one(b, 0, 2);
}

static void run_buffered(bench *b)
{
    run_one(b, BUFFER, 1);
}

static void run_buffered_across(bench *b)
{
    run_one(b, BUFFER, 2);
}

/* ---- select: one fiber sends to 8 channels in turn, another selects over them ---- */

static void sender_to_all(kith_self *self, kith_co *co, void *arg)
{
    struct chans *c = arg;
    (void)self;
    c->began_ns = kith_now();
    for (uint64_t i = 0; i < c->n; i++)
        if (kith_chan_send(co, c->chan[i % SELECT_CHANS], &i, KITH_FOREVER) != KITH_OK)
            return;
    kith_chan_close(c->end);
}

static void selecter(kith_self *self, kith_co *co, void *arg)
{
    struct chans *c = arg;
    uint64_t sum = 0;
    uint64_t got = 0;
    uint64_t v = 0;
    while (got < c->n &&
           kith_select(co,
                       KITH_CASES(KITH_RECV(c->chan[0], &v), KITH_RECV(c->chan[1], &v),
                                  KITH_RECV(c->chan[2], &v), KITH_RECV(c->chan[3], &v),
                                  KITH_RECV(c->chan[4], &v), KITH_RECV(c->chan[5], &v),
                                  KITH_RECV(c->chan[6], &v), KITH_RECV(c->chan[7], &v)),
                       KITH_FOREVER) >= 0) {
        sum += v;
        got++;
    }
    done(self, c, c->n, sum == c->n * (c->n - 1) / 2);
}

static void run_select_of(bench *b, size_t capacity)
{
    struct chans c = {.main = kith_self_ref(b->self), .n = b->n};
    for (int i = 0; i < SELECT_CHANS; i++)
        c.chan[i] = kith_chan_new(b->self, sizeof(uint64_t), capacity);
    c.end = kith_chan_new(b->self, 0, 0);
    go(b, selecter, &c, 1);
    go(b, sender_to_all, &c, 1);
    bench_wait(b);
    kith_join(b->runtime, kith_in(BENCH_PATIENCE));
    for (int i = 0; i < SELECT_CHANS; i++)
        kith_chan_drop(c.chan[i]);
    kith_chan_drop(c.end);
}

static void run_select(bench *b)
{
    run_select_of(b, 0);
}

static void run_select_buffered(bench *b)
{
    run_select_of(b, BUFFER / SELECT_CHANS);
}

/* ---- fibers alone ---- */

/* Two of them, so each yield is a switch to the worker and one to the other. */
static void yielder(kith_self *self, kith_co *co, void *arg)
{
    struct chans *c = arg;
    if (c->began_ns == 0)
        c->began_ns = kith_now();
    bool ok = true;
    for (uint64_t i = 0; i < c->n / 2 && ok; i++)
        ok = kith_yield(co) == KITH_OK;
    if (++c->ended == 2)
        done(self, c, c->n / 2 * 2, ok);
}

static void run_switch(bench *b)
{
    struct chans c = {.main = kith_self_ref(b->self), .n = b->n};
    go(b, yielder, &c, 1);
    go(b, yielder, &c, 1);
    bench_wait(b);
    kith_join(b->runtime, kith_in(BENCH_PATIENCE));
}

KITH_MESSAGE(fiber_ball, { uint64_t n; });

static void fiber_pong(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)arg;
    while (kith_receive(co, KITH_FOREVER, &msg) == KITH_OK)
        kith_send(self, kith_sender(self), fiber_ball, .n = kith_body(msg, fiber_ball)->n);
}

static void fiber_ping(kith_self *self, kith_co *co, void *arg)
{
    struct chans *c = arg;
    const kith_fiber_options here = {.worker = 1};
    kith_ref pong = kith_go_with(self, fiber_pong, NULL, &here);
    kith_msg *msg;
    uint64_t i = 0;
    c->began_ns = kith_now();
    for (; i < c->n; i++) {
        kith_send(self, pong, fiber_ball, .n = i);
        if (kith_receive(co, KITH_FOREVER, &msg) != KITH_OK || kith_body(msg, fiber_ball)->n != i)
            break;
    }
    done(self, c, 2 * c->n, i == c->n);
    kith_stop(self, pong);
}

static void run_fiber_pingpong(bench *b)
{
    struct chans c = {.main = kith_self_ref(b->self), .n = b->n};
    go(b, fiber_ping, &c, 1);
    bench_wait(b);
    kith_join(b->runtime, kith_in(BENCH_PATIENCE));
}

static void count_one(kith_self *self, kith_co *co, void *arg)
{
    uint64_t *count = arg;
    (void)self;
    (void)co;
    ++*count;
}

/* Spawns in portions: each ends before the next begins. */
static void spawner(kith_self *self, kith_co *co, void *arg)
{
    struct chans *c = arg;
    uint64_t ended = 0;
    const kith_fiber_options here = {.worker = 1};
    c->began_ns = kith_now();
    for (uint64_t i = 0; i < c->n;) {
        for (int k = 0; k < 100 && i < c->n; k++, i++)
            kith_go_with(self, count_one, &ended, &here);
        while (ended < i && kith_yield(co) == KITH_OK)
            ;
    }
    done(self, c, c->n, ended == c->n);
}

static void run_spawn(bench *b)
{
    struct chans c = {.main = kith_self_ref(b->self), .n = b->n};
    go(b, spawner, &c, 1);
    bench_wait(b);
    kith_join(b->runtime, kith_in(BENCH_PATIENCE));
}

const bench_workload bench_chans[] = {
    {.name = "chan-rendezvous",
     .op = "values",
     .what = "n values through a channel of capacity 0, both fibers on one worker",
     .n_default = 10000000,
     .n_max = UINT64_MAX,
     .run = run_rendezvous},
    {.name = "chan-rendezvous-across",
     .op = "values",
     .what = "the same between two workers",
     .n_default = 1000000,
     .n_max = UINT64_MAX,
     .run = run_rendezvous_across},
    {.name = "chan-buffered",
     .op = "values",
     .what = "n values through a channel of capacity 1024, both fibers on one worker",
     .n_default = 20000000,
     .n_max = UINT64_MAX,
     .run = run_buffered},
    {.name = "chan-buffered-across",
     .op = "values",
     .what = "the same between two workers",
     .n_default = 20000000,
     .n_max = UINT64_MAX,
     .run = run_buffered_across},
    {.name = "select8",
     .op = "values",
     .what = "n values to 8 channels of capacity 0 in turn; a select over them receives",
     .n_default = 2000000,
     .n_max = UINT32_MAX,
     .run = run_select},
    {.name = "select8-buffered",
     .op = "values",
     .what = "the same with channels of capacity 128",
     .n_default = 5000000,
     .n_max = UINT32_MAX,
     .run = run_select_buffered},
    {.name = "fiber-switch",
     .op = "yields",
     .what = "n yields of two fibers on one worker",
     .n_default = 20000000,
     .n_max = UINT64_MAX,
     .run = run_switch},
    {.name = "fiber-pingpong",
     .op = "messages",
     .what = "pingpong with fibers: each message resumes one",
     .n_default = 5000000,
     .n_max = UINT64_MAX / 2,
     .run = run_fiber_pingpong},
    {.name = "fiber-spawn",
     .op = "fibers",
     .what = "n fibers that do nothing, 100 at a time",
     .n_default = 5000000,
     .n_max = UINT64_MAX,
     .run = run_spawn},
    {0}};
