/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Bounded mailboxes under stress: fibers on all workers, attached threads and handlers send into
 * narrow mailboxes, while receivers die and are replaced, waiting senders are canceled, and
 * references grow stale.
 *
 * What must hold: each message is handled once, in its sender's order, or given back to its sender,
 * or a dead letter; no more than mailbox_max counted messages wait (looked at from inside the
 * receiver); nobody waits for ever, which the limit would show.
 */
#include "csp/bound.h"
#include "actors/actor.h"
#include "tests/stress/stress.h"

#define FIBERS 12
#define THREADS 3
#define RELAYS 4
#define SENDERS (FIBERS + THREADS + RELAYS)
#define MAX 8

static KITH__ATOMIC(uint64_t) made;    /* parcels given to a send that took them */
static KITH__ATOMIC(uint64_t) dropped; /* parcels that ended */
static KITH__ATOMIC(uint64_t) handled;

KITH_MESSAGE_OWNING(parcel, {
    uint32_t sender;
    uint32_t index;
    uint64_t *owned;
});

KITH_DROP(parcel)
{
    if (msg->owned != NULL) {
        kith__add_rlx(&dropped, 1);
        free(msg->owned);
    }
}

KITH_MESSAGE(step, { char none; });

/* ---- the receiver ---- */

struct sink {
    uint32_t next[SENDERS];
    uint64_t handled;
};

static uint32_t room_of(kith_self *self)
{
    return (uint32_t)(kith__load_rlx(&kith__bound_of(self)->room) & KITH__BOUND_MAX);
}

KITH_ON(sink, parcel)
{
    if (msg->index < me->next[msg->sender])
        FAIL("sender %u: %u after %u", msg->sender, msg->index, me->next[msg->sender]);
    me->next[msg->sender] = msg->index + 1;
    if (room_of(self) > MAX)
        FAIL("more room than there is: %u", room_of(self));
    if (self->waiting > MAX)
        FAIL("%u messages wait", self->waiting);
    me->handled++;
    kith__add_rlx(&handled, 1);
    return KITH_OK;
}

static const kith_behavior sink = {
    .name = "sink",
    .state_bytes = sizeof(struct sink),
    .handlers = KITH_HANDLERS(sink, parcel),
    .mailbox_max = MAX,
};

/* Where the sink is now; it is replaced from time to time. */
static KITH__ATOMIC(uint64_t) sink_bits;

/* ---- sending ---- */

/* One parcel; what was not taken is freed. */
static kith_err send_one(kith_self *self, uint32_t sender, uint32_t index)
{
    uint64_t *owned = malloc(sizeof *owned);
    if (owned == NULL)
        abort();
    kith_ref to = {kith__load_rlx(&sink_bits)};
    kith_err err = kith_send(self, to, parcel, .sender = sender, .index = index, .owned = owned);
    if (err == KITH_OK || err == KITH_EDEAD)
        kith__add_rlx(&made, 1);
    else
        free(owned);
    return err;
}

struct place {
    uint32_t index;
    uint32_t times;
};

static void fiber(kith_self *self, kith_co *co, void *arg)
{
    const struct place *p = arg;
    for (uint32_t i = 0; i < p->times; i++) {
        kith_err err = send_one(self, p->index, i);
        if (err == KITH_ECANCELED)
            return;
        CHECK(err == KITH_OK || err == KITH_EDEAD);
        if (err == KITH_EDEAD && kith_yield(co) != KITH_OK)
            return;
    }
}

struct relay {
    struct place place;
    uint32_t sent;
};

static kith_err relay_init(kith_self *self, void *state, const void *arg)
{
    struct relay *me = state;
    me->place = *(const struct place *)arg;
    return kith_send(self, kith_self_ref(self), step);
}

/* Sends until it is full, then lets others run. */
KITH_ON(relay, step)
{
    kith_err err = KITH_OK;
    for (int i = 0; i < 20 && err == KITH_OK && me->sent < me->place.times; i++) {
        err = send_one(self, me->place.index, me->sent);
        CHECK(err == KITH_OK || err == KITH_EDEAD || err == KITH_EFULL);
        me->sent += err != KITH_EFULL;
    }
    if (me->sent == me->place.times)
        return kith_stop(self, kith_self_ref(self));
    return kith_send(self, kith_self_ref(self), step);
}

static const kith_behavior relay = {
    .name = "relay",
    .state_bytes = sizeof(struct relay),
    .handlers = KITH_HANDLERS(relay, step),
    .init = relay_init,
};

struct world {
    kith_runtime *rt;
    uint32_t times;
    bool deaths;
};

static void thread_sends(kith_runtime *rt, struct place p)
{
    kith_self *self;
    kith_co *co;
    REQUIRE(kith_attach(rt, &self, &co) == KITH_OK);
    for (uint32_t i = 0; i < p.times; i++) {
        kith_err err = send_one(self, p.index, i);
        CHECK(err == KITH_OK || err == KITH_EDEAD);
    }
    CHECK_EQ(kith_detach(self), KITH_OK);
}

/* ---- the one that disturbs ---- */

/* Replaces the sink and cancels fibers, starting others in their place. */
static void disturb(struct world *w, kith_self *self, kith_co *co)
{
    struct kith__random random;
    kith_ref fibers[FIBERS];
    stress_random(&random, 99);
    for (uint32_t i = 0; i < FIBERS; i++) {
        struct place p = {i, w->times};
        kith_fiber_options options = {.arg_bytes = sizeof p};
        fibers[i] = kith_go_with(self, fiber, &p, &options);
        CHECK_EQ(kith_ref_error(fibers[i]), KITH_OK);
    }
    for (uint32_t i = 0; w->deaths && i < w->times / 10; i++) {
        kith_ref old = {kith__load_rlx(&sink_bits)};
        kith__store_rlx(&sink_bits, kith_spawn(self, &sink, NULL).bits);
        CHECK_EQ(kith_stop(self, old), KITH_OK);
        kith_err err = kith_stop(self, fibers[kith__random_next(&random) % FIBERS]);
        CHECK(err == KITH_OK || err == KITH_EDEAD);
        CHECK_EQ(kith_sleep(co, kith_in(100 * KITH_US)), KITH_OK);
    }
}

static void disturber_runs(struct world *w)
{
    kith_self *self;
    kith_co *co;
    REQUIRE(kith_attach(w->rt, &self, &co) == KITH_OK);
    for (uint32_t i = 0; i < RELAYS; i++) {
        struct place p = {FIBERS + THREADS + i, w->times};
        CHECK_EQ(kith_ref_error(kith_spawn(self, &relay, &p)), KITH_OK);
    }
    disturb(w, self, co);
    CHECK_EQ(kith_detach(self), KITH_OK);
}

static void outside(unsigned index, void *arg)
{
    struct world *w = arg;
    if (index == THREADS)
        disturber_runs(w);
    else
        thread_sends(w->rt, (struct place){FIBERS + index, w->times});
}

static void first_sink(kith_runtime *rt)
{
    kith_self *self;
    REQUIRE(kith_attach(rt, &self, NULL) == KITH_OK);
    kith__store_rlx(&sink_bits, kith_spawn(self, &sink, NULL).bits);
    CHECK_EQ(kith_detach(self), KITH_OK);
}

/* Until only the sink lives, and has handled all that it must (a stop would overtake the last). */
static void await_senders(kith_runtime *rt, uint64_t all)
{
    kith_stats stats;
    do {
        sched_yield();
        CHECK_EQ(kith_stats_get(rt, &stats), KITH_OK);
    } while (stats.actors > 1 || kith__load_seq(&handled) < all);
}

static void run(const char *name, unsigned workers, bool deaths)
{
    stress_limit(name);
    kith__store_seq(&made, 0);
    kith__store_seq(&dropped, 0);
    kith__store_seq(&handled, 0);
    struct world w = {stress_start(workers), (uint32_t)stress_times(20000), deaths};
    REQUIRE(w.rt != NULL);
    first_sink(w.rt);
    stress_threads(THREADS + 1, outside, &w);
    await_senders(w.rt, deaths ? 0 : (uint64_t)SENDERS * w.times);
    stress_end(w.rt);
    CHECK_EQ(kith__load_seq(&made), kith__load_seq(&dropped));
    if (!deaths)
        CHECK_EQ(kith__load_seq(&handled), (uint64_t)SENDERS * w.times);
}

TEST(one_worker)
{
    run("one_worker", 1, false);
}

TEST(two_workers)
{
    run("two_workers", 2, false);
}

TEST(four_workers)
{
    run("four_workers", 4, false);
}

TEST(receivers_die_and_senders_are_canceled)
{
    run("receivers_die_and_senders_are_canceled", 1, true);
    run("receivers_die_and_senders_are_canceled", 2, true);
    run("receivers_die_and_senders_are_canceled", 4, true);
}
