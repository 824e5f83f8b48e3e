/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: workloads of many actors: fjcreate, skynet, idle and idlecpu.
 *
 * Called by: measure.c, through bench_births.
 * Invariants: each actor that is made handles exactly one message, and the self-check sees which
 *   did not; the makers work in slices, so that what was made can run and end in between.
 * Threads: main begins and waits; what it reads of the actors' memory it reads after kith_join, or
 *   after a message that was sent later than the write.
 * Why so: fjcreate is Savina's Fork Join (actor creation), skynet the benchmark of that name
 *   (atemerev/skynet); idle and idlecpu measure what an actor costs that has nothing to do.
 */
#include "bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- fjcreate: n actors are made by one, get a message each, and end ---- */

KITH_MESSAGE(fj_work, { unsigned char *seen; });
KITH_MESSAGE(fj_step, { char none; });

/* An actor of its own byte: written by it alone, read after kith_join. */
KITH_ON(fj_child, fj_work)
{
    ++*msg->seen;
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior fj_child = {
    .name = "fj_child",
    .handlers = KITH_HANDLERS(fj_child, fj_work),
};

/* Main's; the maker writes began_ns, and main reads it after kith_join. */
struct fj {
    kith_time began_ns;
    uint64_t n;
    uint64_t slice;
    unsigned char *seen;
};

struct fj_maker {
    struct fj *fj;
    uint64_t made;
};

static kith_err fj_maker_init(kith_self *self, void *state, const void *arg)
{
    struct fj_maker *me = state;
    (void)self;
    me->fj = *(struct fj *const *)arg;
    return KITH_OK;
}

static kith_err fj_make(kith_self *self, struct fj_maker *me)
{
    struct fj *fj = me->fj;
    uint64_t end = me->made + bench_slice(fj->slice, fj->n - me->made);
    for (; me->made < end; me->made++) {
        kith_ref child = kith_spawn(self, &fj_child, NULL);
        kith_err err = kith_ref_error(child);
        if (err == KITH_OK)
            err = kith_send(self, child, fj_work, .seen = &fj->seen[me->made]);
        if (err != KITH_OK)
            return err;
    }
    kith_ref own = kith_self_ref(self);
    return me->made < fj->n ? kith_send(self, own, fj_step) : kith_stop(self, own);
}

KITH_ON(fj_maker, bench_go)
{
    me->fj->began_ns = kith_now();
    return fj_make(self, me);
}

KITH_ON(fj_maker, fj_step)
{
    return fj_make(self, me);
}

static const kith_behavior fj_maker = {
    .name = "fj_maker",
    .state_bytes = sizeof(struct fj_maker),
    .handlers = KITH_HANDLERS(fj_maker, bench_go, fj_step),
    .init = fj_maker_init,
};

static void run_fjcreate(bench *b)
{
    static struct fj fj; /* static: outlives every actor, also when a run has failed */
    struct fj *shared = &fj;
    bool check = true;
    fj.n = b->n;
    fj.slice = b->options->slice;
    fj.seen = bench_calloc(b->n, 1);
    kith_ref maker = kith_spawn(b->self, &fj_maker, &shared);
    if (kith_send(b->self, maker, bench_go, .n = b->n) != KITH_OK)
        return;
    if (kith_join(b->runtime, kith_in(BENCH_PATIENCE)) != KITH_OK)
        return;
    kith_time ended = kith_now();
    for (uint64_t i = 0; i < b->n; i++)
        check = check && fj.seen[i] == 1;
    bench_report(b, fj.began_ns, ended, b->n, check);
    free(fj.seen);
}

/* ---- skynet: a tree with fan-out 10 and n leaves; the leaves' numbers are summed upward ---- */

#define SKY_FANOUT 10

KITH_MESSAGE(sky_grow, {
    uint32_t first; /* number of the leftmost leaf */
    uint32_t leaves;
});
KITH_MESSAGE(sky_sum, { uint64_t sum; });

struct sky {
    uint64_t sum;
    uint64_t missing;
};

KITH_ON(sky, sky_sum)
{
    me->sum += msg->sum;
    if (--me->missing > 0)
        return KITH_OK;
    kith_send(self, kith_parent(self), sky_sum, .sum = me->sum);
    return kith_stop(self, kith_self_ref(self));
}

static kith_err sky_branch(kith_self *self, struct sky *me, uint32_t first, uint32_t leaves);

KITH_ON(sky, sky_grow)
{
    if (msg->leaves > 1)
        return sky_branch(self, me, msg->first, msg->leaves);
    kith_err err = kith_reply(self, sky_sum, .sum = msg->first);
    return err != KITH_OK ? err : kith_stop(self, kith_self_ref(self));
}

static const kith_behavior sky = {
    .name = "sky",
    .state_bytes = sizeof(struct sky),
    .handlers = KITH_HANDLERS(sky, sky_grow, sky_sum),
};

static kith_err sky_branch(kith_self *self, struct sky *me, uint32_t first, uint32_t leaves)
{
    uint32_t part = leaves / SKY_FANOUT;
    me->missing = SKY_FANOUT;
    for (uint32_t i = 0; i < SKY_FANOUT; i++) {
        kith_ref child = kith_spawn(self, &sky, NULL);
        kith_err err = kith_ref_error(child);
        if (err == KITH_OK)
            err = kith_send(self, child, sky_grow, .first = first + i * part, .leaves = part);
        if (err != KITH_OK)
            return err;
    }
    return KITH_OK;
}

/* The root's parent: takes the times and compares the sum. */
struct sky_judge {
    kith_ref main;
    kith_time began_ns;
    uint64_t n;
};

KITH_ON(sky_judge, bench_go)
{
    me->main = kith_sender(self);
    me->n = msg->n;
    me->began_ns = kith_now();
    kith_ref root = kith_spawn(self, &sky, NULL);
    return kith_send(self, root, sky_grow, .first = 0, .leaves = (uint32_t)me->n);
}

KITH_ON(sky_judge, sky_sum)
{
    return kith_send(self, me->main, bench_done, .began_ns = me->began_ns, .ended_ns = kith_now(),
                     .ops = me->n, .check = msg->sum == me->n * (me->n - 1) / 2);
}

static const kith_behavior sky_judge = {
    .name = "sky_judge",
    .state_bytes = sizeof(struct sky_judge),
    .handlers = KITH_HANDLERS(sky_judge, bench_go, sky_sum),
};

/* The tree is full: with another n the sum, and what is measured, would be that of another tree. */
static void run_skynet(bench *b)
{
    uint64_t leaves = 1;
    while (leaves < b->n)
        leaves *= SKY_FANOUT;
    if (leaves != b->n) {
        fprintf(stderr, "kith-bench: skynet: n must be a power of ten, not %llu\n",
                (unsigned long long)b->n);
        exit(2);
    }
    bench_go_and_wait(b, kith_spawn(b->self, &sky_judge, NULL));
    bench_add_extra(b->result, "ms", (double)b->result->elapsed_ns / 1e6);
}

/* ---- idle: n live actors that handled one message each ---- */

#define IDLE_SLICE 1000

KITH_MESSAGE(idle_touch, { uint64_t value; });
KITH_MESSAGE(idle_touched, { uint64_t value; });

struct idler {
    uint64_t value;
};

KITH_ON(idler, idle_touch)
{
    me->value += msg->value;
    return kith_reply(self, idle_touched, .value = me->value);
}

static const kith_behavior idler = {
    .name = "idler",
    .state_bytes = sizeof(struct idler),
    .handlers = KITH_HANDLERS(idler, idle_touch),
};

struct idle_maker {
    kith_ref main;
    kith_time began_ns;
    uint64_t n;
    uint64_t made;
    uint64_t touched;
    uint64_t sum;
};

/* Makes the next slice only when the whole slice before has answered: what is measured at the end
 * is the actors, and not a backlog. */
static kith_err idle_make(kith_self *self, struct idle_maker *me)
{
    uint64_t end = me->made + bench_slice(IDLE_SLICE, me->n - me->made);
    for (; me->made < end; me->made++) {
        kith_ref child = kith_spawn(self, &idler, NULL);
        kith_err err = kith_ref_error(child);
        if (err == KITH_OK)
            err = kith_send(self, child, idle_touch, .value = me->made);
        if (err != KITH_OK)
            return err;
    }
    return KITH_OK;
}

KITH_ON(idle_maker, bench_go)
{
    me->main = kith_sender(self);
    me->n = msg->n;
    me->began_ns = kith_now();
    return idle_make(self, me);
}

KITH_ON(idle_maker, idle_touched)
{
    me->sum += msg->value;
    if (++me->touched < me->made)
        return KITH_OK;
    if (me->made < me->n)
        return idle_make(self, me);
    return kith_send(self, me->main, bench_done, .began_ns = me->began_ns, .ended_ns = kith_now(),
                     .ops = me->n, .check = me->sum == me->n * (me->n - 1) / 2);
}

static const kith_behavior idle_maker = {
    .name = "idle_maker",
    .state_bytes = sizeof(struct idle_maker),
    .handlers = KITH_HANDLERS(idle_maker, bench_go, idle_touched),
};

static void check_alive(bench *b)
{
    kith_stats stats;
    bool known = kith_stats_get(b->runtime, &stats) == KITH_OK;
    b->result->check = b->result->check && known && stats.actors == b->n + 1;
}

static void run_idle(bench *b)
{
    double before = (double)bench_rss_bytes();
    bench_go_and_wait(b, kith_spawn(b->self, &idle_maker, NULL));
    double bytes = (double)bench_peak_rss_bytes() - before;
    check_alive(b);
    bench_add_extra(b->result, "bytes_per_actor", bytes / (double)b->n);
}

/* ---- idlecpu: the time that a runtime with n idle actors takes from the processor in 5 s ---- */

static void run_idlecpu(bench *b)
{
    const struct timespec five_seconds = {.tv_sec = 5};
    bench_go_and_wait(b, kith_spawn(b->self, &idle_maker, NULL));
    check_alive(b);
    uint64_t before = bench_cpu_ns();
    nanosleep(&five_seconds, NULL);
    bench_add_extra(b->result, "cpu_ms_in_5_s", (double)(bench_cpu_ns() - before) / 1e6);
    b->result->ops = 0; /* making the actors is not what is measured */
}

const bench_workload bench_births[] = {
    {.name = "fjcreate",
     .op = "actor",
     .what = "n actors are made by one, get a message each, and end",
     .n_default = 1000000,
     .n_max = UINT32_MAX,
     .sliced = true,
     .run = run_fjcreate},
    {.name = "idle",
     .op = "actor",
     .what = "n live actors with 8 bytes of state that handled a message each",
     .n_default = 1000000,
     .n_max = UINT32_MAX,
     .run = run_idle},
    {.name = "skynet",
     .op = "leaf",
     .what = "a tree of actors with fan-out 10 and n leaves, whose numbers are summed",
     .n_default = 1000000,
     .n_max = 1000000000,
     .run = run_skynet},
    {.name = "idlecpu",
     .op = "actor",
     .what = "CPU time of a runtime with n idle actors in 5 s",
     .n_default = 1000,
     .n_max = UINT32_MAX,
     .run = run_idlecpu},
    {0},
};
