/* SPDX-License-Identifier: BSD-2-Clause
 *
 * W9, twice the load that can be served: one service works 50 us on a job, jobs come every 25 us for a
 * while, by a thread that is none of the dress's. `unbounded`: all wait. `bounded`: 64 wait, the rest is
 * refused at once.
 *
 * Check: each job is served once or refused.
 * Threads: the sender, which plans its jobs ahead (open loop), and the dress's.
 * What is counted: how many are served a second, their latency from the planned time, how many are
 *   refused.
 */
#include "contrast.h"

#include <stdlib.h>
#include <time.h>

enum { LIMIT = 64 };
#define EVERY (25 * KITH_US)
#define JOB (50 * KITH_US)

static bool bounded(void)
{
    return param_is("bounded");
}

static uint64_t jobs(void)
{
    return (uint64_t)by_size(50, 400, 2000) * KITH_MS / EVERY;
}

/* ---- the service, the same in all dresses ---- */

static struct {
    histogram latency;
    uint64_t served;
    kith_time end; /* of the last */
} done;

static void serve(kith_time planned)
{
    burn(JOB);
    done.end = kith_now();
    histogram_add(&done.latency, done.end - planned);
    done.served++;
}

/* ---- the sender ---- */

struct sender {
    bool (*offer)(struct sender *s, kith_time planned); /* false: refused */
    void (*finish)(struct sender *s);
    void (*enter)(struct sender *s);
    void (*leave)(struct sender *s);
    uint64_t refused;
    kith_time start;
    kith_runtime *runtime;
    kith_self *self;
    kith_co *co;
    kith_ref service;
    kith_chan *chan;
    queue *queue;
    pthread_t thread;
};

static void *send_all(void *arg)
{
    struct sender *s = arg;
    s->enter(s);
    s->start = kith_now();
    for (uint64_t i = 0; i < jobs(); i++) {
        kith_time planned = s->start + i * EVERY;
        while (planned > kith_now()) {
            struct timespec until = {(time_t)(planned / KITH_SECOND),
                                     (long)(planned % KITH_SECOND)};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        }
        s->refused += !s->offer(s, planned);
    }
    s->finish(s);
    s->leave(s);
    return NULL;
}

static void report_overload(struct sender *s, bool ok)
{
    pthread_join(s->thread, NULL);
    double seconds = (double)(done.end - s->start) / (double)KITH_SECOND;
    ok = ok && done.served + s->refused == jobs() && (bounded() || s->refused == 0);
    report("served", (double)done.served / seconds, "1/s", ok);
    report("p99", histogram_ms(&done.latency, 0.99), "ms", ok);
    report("refused", 100.0 * (double)s->refused / (double)jobs(), "%", ok);
}

static void attach(struct sender *s)
{
    if (kith_attach(s->runtime, &s->self, &s->co) != KITH_OK)
        abort();
}

static void detach(struct sender *s)
{
    kith_detach(s->self);
}

/* ---- handlers: callbacks, actors, stealing ---- */

KITH_MESSAGE(job, { kith_time planned; });
KITH_MESSAGE(no_more, { char none; });

struct service;

KITH_ON(service, job)
{
    serve(msg->planned);
    return KITH_OK;
}

KITH_ON(service, no_more)
{
    return kith_send(self, kith_parent(self), finished, .count = done.served);
}

static const kith_behavior service = {
    .name = "service",
    .handlers = KITH_HANDLERS(service, job, no_more),
};

static const kith_behavior bounded_service = {
    .name = "service",
    .handlers = KITH_HANDLERS(service, job, no_more),
    .mailbox_max = LIMIT,
};

static bool offer_message(struct sender *s, kith_time planned)
{
    return kith_send_by(s->co, s->service, KITH_NOWAIT, job, .planned = planned) == KITH_OK;
}

static void finish_messages(struct sender *s)
{
    kith_send(s->self, s->service, no_more); /* waits for room, if it must */
}

static void actors(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    finished all = {0};
    struct sender s = {.offer = offer_message,
                       .finish = finish_messages,
                       .enter = attach,
                       .leave = detach,
                       .runtime = kith_self_runtime(self)};
    s.service = spawn_placed(self, bounded() ? &bounded_service : &service, NULL, 0);
    s.thread = thread_start(send_all, &s, -1);
    bool ok = wait_finished(co, &all);
    report_overload(&s, ok);
}

/* ---- fibers, csp ---- */

static void service_fiber(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    kith_time planned;
    while (kith_chan_recv(co, arg, &planned, KITH_FOREVER) == KITH_OK)
        serve(planned);
}

static bool offer_item(struct sender *s, kith_time planned)
{
    return kith_chan_try_send(s->self, s->chan, &planned) == KITH_OK;
}

static void finish_items(struct sender *s)
{
    kith_chan_close(s->chan);
}

/* A channel is always bounded: this one is so large that nobody notices. */
static void fibers(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    struct sender s = {.offer = offer_item,
                       .finish = finish_items,
                       .enter = attach,
                       .leave = detach,
                       .runtime = kith_self_runtime(self)};
    kith_scope *scope = kith_scope_new(co);
    s.chan = kith_chan_new(self, sizeof(kith_time), bounded() ? LIMIT : jobs());
    kith_scope_go_with(self, scope, service_fiber, s.chan,
                       &(kith_fiber_options){.worker = place(0)});
    s.thread = thread_start(send_all, &s, -1);
    bool ok = kith_scope_leave_by(co, scope, kith_in(PATIENCE)) == KITH_OK;
    report_overload(&s, ok);
    kith_chan_drop(s.chan);
}

/* ---- threads ---- */

static void *service_thread(void *arg)
{
    uint64_t planned;
    while (queue_take(arg, &planned))
        serve(planned);
    return NULL;
}

static bool offer_word(struct sender *s, kith_time planned)
{
    return queue_try_put(s->queue, planned);
}

static void finish_words(struct sender *s)
{
    queue_close(s->queue);
}

static void nothing(KITH_UNUSED struct sender *s)
{
}

static void threads(void)
{
    queue q;
    struct sender s = {.offer = offer_word,
                       .finish = finish_words,
                       .enter = nothing,
                       .leave = nothing,
                       .queue = &q};
    queue_open(&q, bounded() ? LIMIT : 0);
    pthread_t serving = thread_start(service_thread, &q, -1);
    s.thread = thread_start(send_all, &s, -1);
    pthread_join(serving, NULL);
    report_overload(&s, true);
    queue_free(&q);
}

const workload w9_overload = {
    .name = "W9",
    .what = "twice the load that can be served, bounded and unbounded",
    .params = {"bounded unbounded", "bounded unbounded", "bounded unbounded"},
    .kith = {[CALLBACKS] = actors,
             [FIBERS] = fibers,
             [CSP] = fibers,
             [ACTORS] = actors,
             [STEALING] = actors},
    .threads = threads,
};
