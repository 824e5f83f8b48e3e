/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of fibers: they are born and die on several workers, and send, ask, watch and stop each
 * other meanwhile.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: F1 to F4 of csp/fiber.c and the contract of a wait (sched/co.h), as seen from
 *   outside: each fiber stays on its worker, each question has one outcome, the monitor's reason is
 *   the one that the fiber gave, each parcel is dropped once, and in the end nobody and nothing is
 *   left.
 * Threads: one to four workers, and the test's, attached, which sends to old references.
 */
#include "tests/stress/stress.h"

#include "base/atomic.h"

KITH_MESSAGE(question, { uint64_t number; });
KITH_MESSAGE(answer, { uint64_t number; });
KITH_MESSAGE_OWNING(parcel, { uint64_t *memory; });

static KITH__ATOMIC(uint64_t) parcels; /* that are somewhere */
static KITH__ATOMIC(uint64_t) born;
static KITH__ATOMIC(uint64_t) dead;
static KITH__ATOMIC(uint64_t) recent; /* a reference that may be old */

KITH_DROP(parcel)
{
    if (*msg->memory != 0x5eed)
        abort(); /* nothing after this can be believed */
    free(msg->memory);
    kith__sub_seq(&parcels, 1);
}

static void parcel_send(kith_self *self, kith_ref to)
{
    uint64_t *memory = malloc(sizeof *memory);
    if (memory == NULL)
        abort();
    *memory = 0x5eed;
    kith__add_seq(&parcels, 1);
    kith_err err = kith_send(self, to, parcel, .memory = memory);
    CHECK(err == KITH_OK || err == KITH_EDEAD);
}

/* ---- a child: answers until it has had enough ---- */

struct life {
    uint64_t seed;
    kith_err reason; /* that it ends with */
};

/* Ends by itself after some messages, or when it is canceled; fails with what it was told. */
static void child(kith_self *self, kith_co *co, void *arg)
{
    struct life *life = arg;
    struct kith__random random;
    kith_msg *msg;
    pthread_t thread = pthread_self();
    kith__random_seed(&random, life->seed);
    kith__add_seq(&born, 1);
    for (uint64_t left = kith__random_below(&random, 12); left > 0; left--) {
        kith_time deadline = left % 3 == 0 ? kith_in(KITH_US * 50) : KITH_FOREVER;
        kith_err err = kith_receive(co, deadline, &msg);
        CHECK(pthread_equal(thread, pthread_self()) != 0);
        if (err == KITH_ECANCELED)
            break;
        const question *asked = err == KITH_OK ? kith_body(msg, question) : NULL;
        if (asked == NULL)
            continue;
        uint64_t number = asked->number;
        if (number % 4 == 0 && kith_yield(co) == KITH_ECANCELED)
            break;
        CHECK_EQ(kith_reply(self, answer, .number = number + 1), KITH_OK);
    }
    if (life->reason != KITH_OK)
        kith_fail(self, life->reason);
    kith__add_seq(&dead, 1);
}

/* ---- a parent ---- */

struct parent {
    struct kith__random random;
    unsigned workers;
    kith_self *self;
    kith_co *co;
};

static void ask_one(struct parent *p, kith_ref to)
{
    kith_msg *reply;
    uint64_t number = kith__random_below(&p->random, 1000);
    kith_time patience = kith__random_below(&p->random, 2) == 0 ? 20 * KITH_US : 200 * KITH_US;
    kith_err err = kith_ask(p->co, to, kith_in(patience), &reply, question, .number = number);
    CHECK(err == KITH_OK || err == KITH_ETIMEOUT || err == KITH_EDEAD);
    if (err == KITH_OK)
        CHECK_EQ(kith_body(reply, answer)->number, number + 1);
}

static void annoy(struct parent *p, kith_ref to)
{
    for (uint64_t n = kith__random_below(&p->random, 6); n > 0; n--) {
        switch (kith__random_below(&p->random, 4)) {
        case 0:
            ask_one(p, to);
            break;
        case 1:
            parcel_send(p->self, to);
            break;
        case 2:
            kith_yield(p->co);
            break;
        default: /* the sender is no question: the reply comes here, and is ended with the rest */
            kith_send(p->self, to, question, .number = n);
            break;
        }
    }
}

static bool is_down(const kith_msg *msg, void *arg)
{
    const kith_down *down = kith_body(msg, kith_down);
    return down != NULL && down->ref.bits == ((kith_ref *)arg)->bits;
}

static void raise_one(struct parent *p, uint64_t number)
{
    static const kith_err reasons[] = {KITH_OK, KITH_OK, KITH_EIO};
    struct life life = {kith__random_next(&p->random), reasons[number % 3]};
    kith_fiber_options options = {
        .arg_bytes = sizeof life,
        .worker = (unsigned)kith__random_below(&p->random, p->workers + 1),
        .stack_bytes = number % 2 == 0 ? 0 : 32768,
    };
    kith_msg *msg;
    kith_ref ref = kith_go_with(p->self, child, &life, &options);
    CHECK_EQ(kith_ref_error(ref), KITH_OK);
    bool early = kith__random_below(&p->random, 2) == 0;
    if (early)
        CHECK_EQ(kith_monitor(p->self, ref), KITH_OK);
    kith__store_rlx(&recent, ref.bits);
    annoy(p, ref);
    kith_err err = kith_stop(p->self, ref);
    CHECK(err == KITH_OK || err == KITH_EDEAD);
    if (!early)
        CHECK_EQ(kith_monitor(p->self, ref), KITH_OK);
    REQUIRE(kith_receive_if(p->co, KITH_FOREVER, is_down, &ref, &msg) == KITH_OK);
    kith_err reason = kith_body(msg, kith_down)->reason;
    CHECK(reason == life.reason || reason == KITH_EDEAD); /* EDEAD: the monitor came too late */
    CHECK_EQ(kith_send(p->self, ref, question, .number = 0), KITH_EDEAD);
}

struct work {
    KITH__ATOMIC(unsigned) parents;
    unsigned workers;
    uint64_t each;
};

static void parent(kith_self *self, kith_co *co, void *arg)
{
    struct work *work = arg;
    struct parent p = {.workers = work->workers, .self = self, .co = co};
    kith_msg *msg;
    stress_random(&p.random, kith__add_seq(&work->parents, 1));
    for (uint64_t i = 0; i < work->each && test_failures == 0; i++) {
        raise_one(&p, i);
        while (kith_receive(co, KITH_NOWAIT, &msg) == KITH_OK)
            ; /* replies that nobody asked for in so many words */
    }
}

/* From outside, to whoever was born lately, until the parents are done. */
static void disturb(kith_self *self, kith_co *co, kith_scope *scope)
{
    kith_msg *msg;
    for (int i = 0; i < 2000; i++) {
        kith_ref to = {kith__load_rlx(&recent)};
        if (to.bits != 0)
            parcel_send(self, to);
        if (to.bits != 0 && i % 8 == 0)
            kith_ask(co, to, kith_in(20 * KITH_US), &msg, question, .number = 4);
    }
    CHECK_EQ(kith_scope_leave(co, scope), KITH_OK);
}

static void live_and_die(unsigned workers, uint64_t each)
{
    enum { PARENTS = 12 };
    kith_self *self;
    kith_co *co;
    struct work work = {.workers = workers, .each = each};
    kith_runtime *rt = stress_start(workers);
    REQUIRE(rt != NULL);
    REQUIRE(kith_attach(rt, &self, &co) == KITH_OK);
    kith__store_seq(&recent, 0);
    kith_scope *scope = kith_scope_new(co);
    for (int i = 0; i < PARENTS; i++)
        kith_scope_go(self, scope, parent, &work);
    disturb(self, co, scope);
    CHECK_EQ(kith_detach(self), KITH_OK);
    stress_end(rt);
    uint64_t births = kith__load_seq(&born);
    uint64_t deaths = kith__load_seq(&dead);
    CHECK_EQ(births, deaths);
    uint64_t left = kith__load_seq(&parcels);
    CHECK_EQ(left, (uint64_t)0);
}

TEST(fibers_live_and_die_on_one_worker)
{
    stress_limit("fibers_live_and_die_on_one_worker");
    live_and_die(1, stress_times(15000));
}

TEST(fibers_live_and_die_on_two_workers)
{
    stress_limit("fibers_live_and_die_on_two_workers");
    live_and_die(2, stress_times(15000));
}

TEST(fibers_live_and_die_on_four_workers)
{
    stress_limit("fibers_live_and_die_on_four_workers");
    live_and_die(4, stress_times(15000));
}

/* ---- many at once ---- */

enum { RING = 500 };

struct ring {
    KITH__ATOMIC(uint64_t) hops;
    uint64_t most;
    kith_ref next[RING];
};

struct link {
    struct ring *ring;
    int number;
};

/* Hands each question on to its neighbour, and dies when the ring has seen enough. */
static void pass_on(kith_self *self, kith_co *co, void *arg)
{
    struct link *l = arg;
    kith_msg *msg;
    while (kith_receive(co, KITH_FOREVER, &msg) == KITH_OK) {
        if (kith__add_rlx(&l->ring->hops, 1) >= l->ring->most)
            break;
        kith_forward(self, l->ring->next[l->number]);
    }
}

/* Rings of fibers over all workers, through which several messages run at once; then all are
 * canceled. */
TEST(messages_run_through_rings_of_fibers)
{
    stress_limit("messages_run_through_rings_of_fibers");
    kith_self *self;
    kith_co *co;
    kith_runtime *rt = stress_start(4);
    REQUIRE(rt != NULL);
    REQUIRE(kith_attach(rt, &self, &co) == KITH_OK);
    struct ring *ring = calloc(1, sizeof *ring);
    REQUIRE(ring != NULL);
    for (int round = 0; round < 3; round++) {
        kith__store_seq(&ring->hops, 0);
        ring->most = stress_times(300000);
        kith_scope *scope = kith_scope_new(co);
        kith_ref refs[RING];
        for (int i = 0; i < RING; i++) {
            struct link l = {ring, i};
            kith_fiber_options options = {.arg_bytes = sizeof l,
                                          .worker = round == 0 ? 0 : (unsigned)(i % 4 + 1)};
            refs[i] = kith_scope_go_with(self, scope, pass_on, &l, &options);
        }
        for (int i = 0; i < RING; i++)
            ring->next[i] = refs[(i * 7 + 1) % RING];
        for (int i = 0; i < 20; i++)
            CHECK_EQ(kith_send(self, refs[i], question, .number = 1), KITH_OK);
        while (kith__load_seq(&ring->hops) < ring->most)
            sched_yield();
        CHECK_EQ(kith_scope_cancel(self, scope), KITH_OK);
        CHECK_EQ(kith_scope_leave(co, scope), KITH_OK);
    }
    CHECK_EQ(kith_detach(self), KITH_OK);
    stress_end(rt);
    free(ring);
}
