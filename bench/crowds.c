/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: workloads of many conversations at once: big and chameneos.
 *
 * Called by: measure.c, through bench_crowds.
 * Invariants: each actor of the crowd has at most one question open, so the answer that it gets is
 *   known; who talks to whom in big comes from seeds, and is the same in every run.
 * Threads: the workloads are actors; main only begins and waits.
 * Why so: the definitions are Savina's Big and Chameneos (Imam and Sarkar, AGERE 2014).
 */
#include "bench/bench.h"

/* ---- big: each of 120 actors sends n pings to random ones, each after the pong before ---- */

#define BIG_ACTORS 120

KITH_MESSAGE(big_start, { char none; });
KITH_MESSAGE(big_ping, { uint32_t from; });
KITH_MESSAGE(big_pong, {
    uint32_t from;
    uint32_t to;
});
KITH_MESSAGE(big_finished, { bool check; });
KITH_MESSAGE(big_how_many, { char none; });
KITH_MESSAGE(big_handled, { uint64_t pings; });

/* Filled by main before it sends bench_go, and read only after that. */
struct big {
    kith_ref sink;
    kith_ref actor[BIG_ACTORS];
    uint64_t n;
};

struct big_place {
    const struct big *big;
    uint32_t index;
};

struct big_actor {
    const struct big *big;
    uint32_t index;
    uint32_t expected;
    uint64_t random;
    uint64_t left;
    uint64_t handled;
    bool wrong;
};

static kith_err big_actor_init(kith_self *self, void *state, const void *arg)
{
    struct big_actor *me = state;
    const struct big_place *place = arg;
    (void)self;
    me->big = place->big;
    me->index = place->index;
    me->random = place->index;
    return KITH_OK;
}

static kith_err big_next(kith_self *self, struct big_actor *me)
{
    if (me->left == 0)
        return kith_send(self, me->big->sink, big_finished, .check = !me->wrong);
    me->left--;
    me->expected = (uint32_t)((bench_random(&me->random) >> 32) * BIG_ACTORS >> 32);
    return kith_send(self, me->big->actor[me->expected], big_ping, .from = me->index);
}

KITH_ON(big_actor, big_start)
{
    me->left = me->big->n;
    return big_next(self, me);
}

KITH_ON(big_actor, big_ping)
{
    me->handled++;
    return kith_reply(self, big_pong, .from = me->index, .to = msg->from);
}

KITH_ON(big_actor, big_pong)
{
    me->wrong |= msg->from != me->expected || msg->to != me->index;
    return big_next(self, me);
}

KITH_ON(big_actor, big_how_many)
{
    return kith_reply(self, big_handled, .pings = me->handled);
}

static const kith_behavior big_actor = {
    .name = "big_actor",
    .state_bytes = sizeof(struct big_actor),
    .handlers = KITH_HANDLERS(big_actor, big_start, big_ping, big_pong, big_how_many),
    .init = big_actor_init,
};

struct big_sink {
    const struct big *big;
    kith_ref main;
    kith_time began_ns;
    kith_time ended_ns;
    uint64_t finished;
    uint64_t counted;
    uint64_t pings;
    bool wrong;
};

static kith_err big_sink_init(kith_self *self, void *state, const void *arg)
{
    struct big_sink *me = state;
    (void)self;
    me->big = arg;
    return KITH_OK;
}

KITH_ON(big_sink, bench_go)
{
    kith_err err = KITH_OK;
    me->main = kith_sender(self);
    me->began_ns = kith_now();
    for (size_t i = 0; i < BIG_ACTORS && err == KITH_OK; i++)
        err = kith_send(self, me->big->actor[i], big_start);
    return err;
}

/* When all have finished, no ping is under way: the counts that the actors then give are final. */
KITH_ON(big_sink, big_finished)
{
    kith_err err = KITH_OK;
    me->wrong |= !msg->check;
    if (++me->finished < BIG_ACTORS)
        return KITH_OK;
    me->ended_ns = kith_now();
    for (size_t i = 0; i < BIG_ACTORS && err == KITH_OK; i++)
        err = kith_send(self, me->big->actor[i], big_how_many);
    return err;
}

KITH_ON(big_sink, big_handled)
{
    me->pings += msg->pings;
    if (++me->counted < BIG_ACTORS)
        return KITH_OK;
    uint64_t pings = BIG_ACTORS * me->big->n;
    return kith_send(self, me->main, bench_done, .began_ns = me->began_ns, .ended_ns = me->ended_ns,
                     .ops = 2 * pings, .check = !me->wrong && me->pings == pings);
}

static const kith_behavior big_sink = {
    .name = "big_sink",
    .state_bytes = sizeof(struct big_sink),
    .handlers = KITH_HANDLERS(big_sink, bench_go, big_finished, big_handled),
    .init = big_sink_init,
};

static void run_big(bench *b)
{
    static struct big big; /* static: outlives every actor, also when a run has failed */
    big.n = b->n;
    big.sink = kith_spawn(b->self, &big_sink, &big);
    for (uint32_t i = 0; i < BIG_ACTORS; i++) {
        struct big_place place = {&big, i};
        big.actor[i] = kith_spawn(b->self, &big_actor, &place);
    }
    bench_go_and_wait(b, big.sink);
}

/* ---- chameneos: 100 creatures meet in pairs at a mall, n times in all, and change color ---- */

#define CHAM_CREATURES 100
#define CHAM_COLORS 3

KITH_MESSAGE(cham_start, { kith_ref mall; });
KITH_MESSAGE(cham_meet, { uint64_t color; });   /* "I am here"; forwarded to who was there first */
KITH_MESSAGE(cham_change, { uint64_t color; }); /* from the first to the second of a pair */
KITH_MESSAGE(cham_leave, { char none; });
KITH_MESSAGE(cham_met, {
    uint64_t meetings;
    uint64_t color;
});

struct creature {
    kith_ref mall;
    uint64_t color;
    uint64_t meetings;
};

static kith_err creature_init(kith_self *self, void *state, const void *arg)
{
    struct creature *me = state;
    (void)self;
    me->color = *(const uint64_t *)arg;
    return KITH_OK;
}

/* The color that both of a pair take: their own if they share one, else the third. */
static uint64_t complement(uint64_t a, uint64_t b)
{
    return a == b ? a : CHAM_COLORS - a - b;
}

static kith_err again(kith_self *self, struct creature *me)
{
    return kith_send(self, me->mall, cham_meet, .color = me->color);
}

KITH_ON(creature, cham_start)
{
    me->mall = msg->mall;
    return again(self, me);
}

KITH_ON(creature, cham_meet)
{
    me->color = complement(me->color, msg->color);
    me->meetings++;
    kith_err err = kith_reply(self, cham_change, .color = me->color);
    return err != KITH_OK ? err : again(self, me);
}

KITH_ON(creature, cham_change)
{
    me->color = msg->color;
    me->meetings++;
    return again(self, me);
}

KITH_ON(creature, cham_leave)
{
    return kith_reply(self, cham_met, .meetings = me->meetings, .color = me->color);
}

static const kith_behavior creature = {
    .name = "creature",
    .state_bytes = sizeof(struct creature),
    .handlers = KITH_HANDLERS(creature, cham_start, cham_meet, cham_change, cham_leave),
    .init = creature_init,
};

struct mall {
    const kith_ref *creature;
    kith_ref main;
    kith_ref waiting;
    bool someone_waits;
    kith_time began_ns;
    uint64_t n;
    uint64_t left;
    uint64_t gone;
    uint64_t meetings;
    bool wrong;
};

static kith_err mall_init(kith_self *self, void *state, const void *arg)
{
    struct mall *me = state;
    (void)self;
    me->creature = arg;
    return KITH_OK;
}

KITH_ON(mall, bench_go)
{
    kith_err err = KITH_OK;
    me->main = kith_sender(self);
    me->n = me->left = msg->n;
    me->began_ns = kith_now();
    for (size_t i = 0; i < CHAM_CREATURES && err == KITH_OK; i++)
        err = kith_send(self, me->creature[i], cham_start, .mall = kith_self_ref(self));
    return err;
}

KITH_ON(mall, cham_meet)
{
    if (me->left == 0)
        return kith_reply(self, cham_leave);
    if (!me->someone_waits) {
        me->waiting = kith_sender(self);
        me->someone_waits = true;
        return KITH_OK;
    }
    me->someone_waits = false;
    me->left--;
    return kith_forward(self, me->waiting);
}

/* A creature leaves when it comes after the last meeting, so its count is final. */
KITH_ON(mall, cham_met)
{
    me->meetings += msg->meetings;
    me->wrong |= msg->color >= CHAM_COLORS;
    if (++me->gone < CHAM_CREATURES)
        return KITH_OK;
    return kith_send(self, me->main, bench_done, .began_ns = me->began_ns, .ended_ns = kith_now(),
                     .ops = me->n, .check = !me->wrong && me->meetings == 2 * me->n);
}

static const kith_behavior mall = {
    .name = "mall",
    .state_bytes = sizeof(struct mall),
    .handlers = KITH_HANDLERS(mall, bench_go, cham_meet, cham_met),
    .init = mall_init,
};

static void run_chameneos(bench *b)
{
    static kith_ref refs[CHAM_CREATURES];
    for (uint64_t i = 0; i < CHAM_CREATURES; i++) {
        uint64_t color = i % CHAM_COLORS;
        refs[i] = kith_spawn(b->self, &creature, &color);
    }
    bench_go_and_wait(b, kith_spawn(b->self, &mall, refs));
}

const bench_workload bench_crowds[] = {
    {.name = "big",
     .op = "message",
     .what = "120 actors send n pings each to random ones, each after the pong before",
     .n_default = 20000,
     .n_max = UINT32_MAX,
     .run = run_big},
    {.name = "chameneos",
     .op = "meeting",
     .what = "100 creatures meet in pairs at a mall, n times in all",
     .n_default = 2000000,
     .n_max = UINT64_MAX / 4,
     .run = run_chameneos},
    {0},
};
