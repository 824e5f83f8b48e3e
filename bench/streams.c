/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: workloads of one-way streams: counting, counting-bounded and fanin.
 *
 * Called by: measure.c, through bench_streams.
 * Invariants: a producer sends options.slice messages, then a message to itself, so that others run
 *   in between; slice 0 sends everything from one handler. The receiver checks order (counting) or
 *   the sum (fanin) and the number of what it got.
 * Threads: the workloads are actors; main only begins and waits.
 * Why so: counting is Savina's Counting; fanin is its many-to-one form. The sliced form measures
 *   messages whose memory is reused, the other one the first touch of memory.
 */
#include "bench/bench.h"

/* ---- counting: n increments from a producer to a counter, then a query ---- */

KITH_MESSAGE(count_add, { uint64_t sequence; });
KITH_MESSAGE(count_step, { char none; });
KITH_MESSAGE(count_query, { char none; });
KITH_MESSAGE(count_total, {
    uint64_t count;
    bool in_order;
});

struct counter {
    uint64_t count;
    uint64_t out_of_order;
};

KITH_ON(counter, count_add)
{
    me->out_of_order += msg->sequence != me->count;
    me->count++;
    return KITH_OK;
}

KITH_ON(counter, count_query)
{
    return kith_reply(self, count_total, .count = me->count, .in_order = me->out_of_order == 0);
}

static const kith_behavior counter = {
    .name = "counter",
    .state_bytes = sizeof(struct counter),
    .handlers = KITH_HANDLERS(counter, count_add, count_query),
};

struct counting {
    kith_ref counter;
    uint64_t slice;
};

struct producer {
    struct counting with;
    kith_ref main;
    kith_time began_ns;
    uint64_t n;
    uint64_t sent;
};

static kith_err producer_init(kith_self *self, void *state, const void *arg)
{
    struct producer *me = state;
    (void)self;
    me->with = *(const struct counting *)arg;
    return KITH_OK;
}

static kith_err produce(kith_self *self, struct producer *me)
{
    uint64_t end = me->sent + bench_slice(me->with.slice, me->n - me->sent);
    kith_err err = KITH_OK;
    for (; me->sent < end && err == KITH_OK; me->sent++)
        err = kith_send(self, me->with.counter, count_add, .sequence = me->sent);
    if (err != KITH_OK)
        return err;
    if (me->sent < me->n)
        return kith_send(self, kith_self_ref(self), count_step);
    return kith_send(self, me->with.counter, count_query);
}

KITH_ON(producer, bench_go)
{
    me->main = kith_sender(self);
    me->n = msg->n;
    me->began_ns = kith_now();
    return produce(self, me);
}

KITH_ON(producer, count_step)
{
    return produce(self, me);
}

KITH_ON(producer, count_total)
{
    return kith_send(self, me->main, bench_done, .began_ns = me->began_ns, .ended_ns = kith_now(),
                     .ops = me->n, .check = msg->count == me->n && msg->in_order);
}

static const kith_behavior producer = {
    .name = "producer",
    .state_bytes = sizeof(struct producer),
    .handlers = KITH_HANDLERS(producer, bench_go, count_step, count_total),
    .init = producer_init,
};

static void run_counting(bench *b)
{
    struct counting with = {kith_spawn(b->self, &counter, NULL), b->options->slice};
    bench_go_and_wait(b, kith_spawn(b->self, &producer, &with));
}

/* ---- counting-bounded: the same from a fiber into a mailbox of 1,024 messages ---- */

static const kith_behavior bounded_counter = {
    .name = "bounded_counter",
    .state_bytes = sizeof(struct counter),
    .handlers = KITH_HANDLERS(counter, count_add, count_query),
    .mailbox_max = 1024,
};

struct bounded {
    kith_ref counter;
    kith_ref main;
    uint64_t n;
};

static void bounded_producer(kith_self *self, kith_co *co, void *arg)
{
    const struct bounded *b = arg;
    kith_err err = KITH_OK;
    kith_time began_ns = kith_now();
    for (uint64_t i = 0; i < b->n && err == KITH_OK; i++)
        err = kith_send(self, b->counter, count_add, .sequence = i);
    kith_msg *reply;
    bool ok = err == KITH_OK &&
              kith_ask(co, b->counter, kith_in(BENCH_PATIENCE), &reply, count_query) == KITH_OK;
    const count_total *total = ok ? kith_body(reply, count_total) : NULL;
    kith_send(self, b->main, bench_done, .began_ns = began_ns, .ended_ns = kith_now(), .ops = b->n,
              .check = total != NULL && total->count == b->n && total->in_order);
}

static void run_counting_bounded(bench *b)
{
    kith_ref ref = kith_spawn(b->self, &bounded_counter, NULL);
    struct bounded with = {ref, kith_self_ref(b->self), b->n};
    kith_fiber_options options = {.arg_bytes = sizeof with};
    kith_go_with(b->self, bounded_producer, &with, &options);
    bench_wait(b);
}

/* ---- fanin: 100 producers send n messages each to one actor ---- */

#define FAN_PRODUCERS 100

KITH_MESSAGE(fan_item, { uint64_t value; });
KITH_MESSAGE(fan_step, { char none; });

/* Filled by main before it sends bench_go, and read only after that. */
struct fan {
    kith_ref sink;
    kith_ref producer[FAN_PRODUCERS];
    uint64_t n;
    uint64_t slice;
};

struct fan_producer {
    const struct fan *fan;
    uint64_t sent;
};

static kith_err fan_producer_init(kith_self *self, void *state, const void *arg)
{
    struct fan_producer *me = state;
    (void)self;
    me->fan = arg;
    return KITH_OK;
}

KITH_ON(fan_producer, fan_step)
{
    const struct fan *fan = me->fan;
    uint64_t end = me->sent + bench_slice(fan->slice, fan->n - me->sent);
    kith_err err = KITH_OK;
    for (; me->sent < end && err == KITH_OK; me->sent++)
        err = kith_send(self, fan->sink, fan_item, .value = me->sent);
    if (err != KITH_OK)
        return err;
    kith_ref own = kith_self_ref(self);
    return me->sent < fan->n ? kith_send(self, own, fan_step) : kith_stop(self, own);
}

static const kith_behavior fan_producer = {
    .name = "fan_producer",
    .state_bytes = sizeof(struct fan_producer),
    .handlers = KITH_HANDLERS(fan_producer, fan_step),
    .init = fan_producer_init,
};

struct fan_sink {
    const struct fan *fan;
    kith_ref main;
    kith_time began_ns;
    uint64_t left;
    uint64_t sum;
};

static kith_err fan_sink_init(kith_self *self, void *state, const void *arg)
{
    struct fan_sink *me = state;
    (void)self;
    me->fan = arg;
    return KITH_OK;
}

KITH_ON(fan_sink, bench_go)
{
    kith_err err = KITH_OK;
    me->main = kith_sender(self);
    me->left = FAN_PRODUCERS * msg->n;
    me->began_ns = kith_now();
    for (size_t i = 0; i < FAN_PRODUCERS && err == KITH_OK; i++)
        err = kith_send(self, me->fan->producer[i], fan_step);
    return err;
}

KITH_ON(fan_sink, fan_item)
{
    me->sum += msg->value;
    if (--me->left > 0)
        return KITH_OK;
    uint64_t n = me->fan->n;
    return kith_send(self, me->main, bench_done, .began_ns = me->began_ns, .ended_ns = kith_now(),
                     .ops = FAN_PRODUCERS * n,
                     .check = me->sum == FAN_PRODUCERS * (n * (n - 1) / 2));
}

static const kith_behavior fan_sink = {
    .name = "fan_sink",
    .state_bytes = sizeof(struct fan_sink),
    .handlers = KITH_HANDLERS(fan_sink, bench_go, fan_item),
    .init = fan_sink_init,
};

static void run_fanin(bench *b)
{
    static struct fan fan; /* static: outlives every actor, also when a run has failed */
    fan.n = b->n;
    fan.slice = b->options->slice;
    fan.sink = kith_spawn(b->self, &fan_sink, &fan);
    for (size_t i = 0; i < FAN_PRODUCERS; i++)
        fan.producer[i] = kith_spawn(b->self, &fan_producer, &fan);
    bench_go_and_wait(b, fan.sink);
}

const bench_workload bench_streams[] = {
    {.name = "counting",
     .op = "message",
     .what = "one producer sends n messages to a counter, then asks it",
     .n_default = 10000000,
     .n_max = UINT64_MAX / 4,
     .sliced = true,
     .run = run_counting},
    {.name = "counting-bounded",
     .op = "message",
     .what = "the same from a fiber, with room for 1024 messages in the counter's mailbox",
     .n_default = 10000000,
     .n_max = UINT64_MAX / 4,
     .run = run_counting_bounded},
    {.name = "fanin",
     .op = "message",
     .what = "100 producers send n messages each to one actor",
     .n_default = 100000,
     .n_max = UINT32_MAX,
     .sliced = true,
     .run = run_fanin},
    {0},
};
