/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of actors that are born and die while others still write to them.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: a reference never reaches another actor than the one that it was made for (A1 of
 *   actors/turn.c, H2 of base/handle.h), and every message ends exactly once (A2 there, D2 of
 *   actors/life.c): handled, or among the dead letters; its drop runs once in each case.
 * Threads: attached threads that spawn, send and stop, and workers on which nests, actors, do so.
 * Why nests: a worker gives the slot of the actor that died last to the next one, so a nest that
 *   replaces its only child makes a new actor in the same slot every few hundred nanoseconds.
 */
#include "tests/stress/stress.h"

#include "base/atomic.h"

#define THREADS 3u
#define KNOWN 64u /* references that a thread remembers */
#define NESTS 4u

/* A message says whom it is for. It owns one of made - dropped. */
KITH_MESSAGE_OWNING(visit, { uint64_t to; });
KITH_MESSAGE(again, { char none; });

static KITH__ATOMIC(uint64_t) made;
static KITH__ATOMIC(uint64_t) dropped;
static KITH__ATOMIC(uint64_t) visits;
static KITH__ATOMIC(uint64_t) strangers;     /* messages that reached another actor */
static KITH__ATOMIC(uint64_t) newest[NESTS]; /* references to the nests' children */

KITH_DROP(visit)
{
    kith__add_rlx(&dropped, 1);
}

/* ---- who is visited ---- */

struct child {
    uint64_t ref;
    kith_ref nest;
};

KITH_ON(child, visit)
{
    if (msg->to != me->ref || msg->to != kith_self_ref(self).bits)
        kith__add_rlx(&strangers, 1);
    kith__add_rlx(&visits, 1);
    return KITH_OK;
}

static kith_err child_init(kith_self *self, void *me, const void *arg)
{
    struct child *child = me;
    child->ref = kith_self_ref(self).bits;
    if (arg != NULL)
        child->nest = *(const kith_ref *)arg;
    return KITH_OK;
}

static void child_stop(kith_self *self, void *me, kith_err reason)
{
    struct child *child = me;
    (void)reason;
    if (child->nest.bits != 0)
        kith_send(self, child->nest, again);
}

static const kith_behavior child = {
    .name = "child",
    .state_bytes = sizeof(struct child),
    .handlers = KITH_HANDLERS(child, visit),
    .init = child_init,
    .stop = child_stop,
};

/* ---- nests ---- */

struct nest {
    unsigned index;
    uint64_t before; /* the child before */
};

static kith_err nest_init(kith_self *self, void *me, const void *arg)
{
    struct nest *nest = me;
    nest->index = *(const unsigned *)arg;
    return kith_send(self, kith_self_ref(self), again);
}

/* The child before is dead: a new one, which is told to die at once; until the shutdown. */
KITH_ON(nest, again)
{
    kith_ref here = kith_self_ref(self);
    kith_ref ref = kith_spawn(self, &child, &here);
    CHECK_NE(ref.bits, me->before); /* the same memory, most often, but never the same name */
    me->before = ref.bits;
    kith__store_rel(&newest[me->index], ref.bits);
    if (kith_ref_error(ref) == KITH_ESHUTDOWN)
        return KITH_OK;
    CHECK_EQ(kith_ref_error(ref), KITH_OK);
    return kith_stop(self, ref);
}

static const kith_behavior nest = {
    .name = "nest",
    .state_bytes = sizeof(struct nest),
    .handlers = KITH_HANDLERS(nest, again),
    .init = nest_init,
};

/* ---- threads ---- */

struct churn {
    kith_runtime *rt;
    uint64_t steps;
};

static void send_visit(kith_self *self, kith_ref to)
{
    kith_err err = kith_send(self, to, visit, .to = to.bits);
    if (err == KITH_OK || err == KITH_EDEAD)
        kith__add_rlx(&made, 1); /* else the message is still ours, and never was */
    CHECK(err == KITH_OK || err == KITH_EDEAD);
}

static void thread_main(unsigned index, void *arg)
{
    struct churn *churn = arg;
    struct kith__random random;
    kith_self *self;
    kith_ref known[KNOWN] = {{0}};
    stress_random(&random, index);
    REQUIRE(kith_attach(churn->rt, &self, NULL) == KITH_OK);
    for (uint64_t i = 0; i < churn->steps; i++) {
        kith_ref *ref = &known[kith__random_below(&random, KNOWN)];
        uint64_t what = kith__random_below(&random, 16);
        if (ref->bits == 0 || what == 0) /* the old one lives on, if it lives */
            *ref = kith_spawn(self, &child, NULL);
        else if (what == 1)
            kith_stop(self, *ref);
        else if (what < 8)
            send_visit(self, *ref);
        else
            *ref = (kith_ref){kith__load_acq(&newest[what % NESTS])};
        if (what >= 8 && ref->bits != 0)
            send_visit(self, *ref);
    }
    CHECK_EQ(kith_detach(self), KITH_OK);
}

static void nests_start(kith_runtime *rt)
{
    kith_self *self;
    REQUIRE(kith_attach(rt, &self, NULL) == KITH_OK);
    for (unsigned i = 0; i < NESTS; i++) {
        kith__store_rlx(&newest[i], 0);
        CHECK_EQ(kith_ref_error(kith_spawn(self, &nest, &i)), KITH_OK);
    }
    CHECK_EQ(kith_detach(self), KITH_OK);
}

TEST(a_stale_reference_reaches_nobody)
{
    stress_limit("a_stale_reference_reaches_nobody");
    struct churn churn = {stress_start(2), stress_times(6000000)};
    REQUIRE(churn.rt != NULL);
    nests_start(churn.rt);
    stress_threads(THREADS, thread_main, &churn);
    printf("%" PRIu64 " visits, %" PRIu64 " to the dead, ", kith__load_rlx(&visits),
           kith__load_rlx(&made) - kith__load_rlx(&visits));
    stress_end(churn.rt);
    CHECK_EQ(kith__load_rlx(&strangers), (uint64_t)0);
    CHECK_EQ(kith__load_rlx(&dropped), kith__load_rlx(&made));
    CHECK_GT(kith__load_rlx(&visits), (uint64_t)0);
    CHECK_GT(kith__load_rlx(&made), kith__load_rlx(&visits));
}
