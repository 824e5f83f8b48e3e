/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of kith_at, kith_every, kith_timer_cancel and kith_receive_timeout.
 *
 * Each test runs with 1, 2 and 4 workers (actors_common.h). A test asserts that nothing comes early
 * and in which order things come, never how late. To say that something does not come any more, a
 * test waits for something else that is due later.
 */
#define LOOP_TOO
#include "tests/unit/actors_common.h"

KITH_MESSAGE(tick, {
    kith_time due;
    int n;
});
KITH_MESSAGE(later, { int n; });

/* Writes down what comes; tells its spawner when `wanted` ticks have come. */
struct clocked {
    kith_ref tell;
    int ticks;
    int wanted;
    int last;     /* the n of the last tick */
    int disorder; /* ticks whose n is not the last one's plus 1 */
    int early;
    int idles;
    int silences;     /* told since then: */
    kith_time active; /* when the handler of the last message began */
    kith_time idle_ns;
    kith_timer timer;
    kith_timer other;
    kith_err err;
};

/* Runs fn with the state. */
KITH_MESSAGE(with, {
    kith_err (*fn)(kith_self * self, struct clocked * me, void *arg);
    void *arg;
});

static kith_err clocked_init(kith_self *self, void *state, const void *arg)
{
    struct clocked *me = state;
    (void)arg;
    me->tell = kith_parent(self);
    return KITH_OK;
}

KITH_ON(clocked, tick)
{
    me->ticks++;
    me->early += kith_now() < msg->due;
    me->disorder += msg->n != me->last + 1;
    me->last = msg->n;
    CHECK(kith_ref_same(kith_sender(self), kith_self_ref(self)));
    if (me->ticks == me->wanted)
        kith_send(self, me->tell, number, .value = me->ticks);
    return KITH_OK;
}

KITH_ON(clocked, with)
{
    me->active = kith_now();
    me->silences = 0;
    kith_err err = msg->fn(self, me, msg->arg);
    kith_reply(self, done, .err = err);
    return KITH_OK;
}

KITH_ON(clocked, later)
{
    return kith_send(self, me->tell, number, .value = msg->n);
}

KITH_ON(clocked, parcel)
{
    me->err = kith_timer_cancel(self, me->other);
    return kith_send(self, me->tell, number, .value = msg->copy);
}

KITH_ON(clocked, kith_idle)
{
    CHECK_EQ(msg->idle_ns, me->idle_ns);
    CHECK_EQ(kith_sender(self).bits, 0u);
    me->silences++; /* the second one is a silence later than the first, and so on */
    me->early += kith_now() < me->active + (kith_time)me->silences * msg->idle_ns;
    if (++me->idles == me->wanted)
        kith_send(self, me->tell, number, .value = me->idles);
    return KITH_OK;
}

static const kith_behavior clocked = {
    .name = "clocked",
    .state_bytes = sizeof(struct clocked),
    .init = clocked_init,
    .handlers = KITH_HANDLERS(clocked, tick, with, later, parcel, kith_idle)};

typedef kith_err with_fn(kith_self *self, struct clocked *me, void *arg);

static kith_err with_it(struct env *e, kith_ref to, with_fn *fn, void *arg)
{
    kith_msg *reply;
    kith_err err = kith_ask(e->co, to, PATIENCE, &reply, with, .fn = fn, .arg = arg);
    const done *answer = kith_body(reply, done);
    return answer != NULL ? answer->err : err;
}

static kith_ref spawn_clocked(struct env *e)
{
    return kith_spawn(e->self, &clocked, NULL);
}

static long await_number(struct env *e)
{
    const number *n = RECEIVE(e, number);
    return n != NULL ? n->value : -1;
}

static kith_err get_state(kith_self *self, struct clocked *me, void *arg)
{
    (void)self;
    memcpy(arg, me, sizeof *me);
    return KITH_OK;
}

static struct clocked state_of(struct env *e, kith_ref actor)
{
    struct clocked state = {0};
    CHECK_EQ(with_it(e, actor, get_state, &state), KITH_OK);
    return state;
}

/* ---- once ---- */

static kith_err set_some(kith_self *self, struct clocked *me, void *arg)
{
    static const kith_time delays[] = {0, 1, 1000, 300000, 1000000, 1500000, 3000000, 7000000};
    enum { N = sizeof delays / sizeof delays[0] };
    (void)arg;
    me->wanted = N;
    for (int i = 0; i < N; i++) {
        kith_time due = kith_in(delays[i]);
        CHECK_EQ(kith_timer_error(kith_at(self, due, tick, .due = due, .n = i + 1)), KITH_OK);
    }
    return KITH_OK;
}

TEST_ON_WORKERS(a_timer_is_never_early)
{
    kith_ref actor = spawn_clocked(e);
    CHECK_EQ(with_it(e, actor, set_some, NULL), KITH_OK);
    await_number(e);
    struct clocked state = state_of(e, actor);
    CHECK_EQ(state.early, 0);
    CHECK_EQ(env_stats(e).timers, 0u);
}

static kith_err set_past(kith_self *self, struct clocked *me, void *arg)
{
    (void)arg;
    me->wanted = 2;
    kith_at(self, KITH_NOWAIT, tick, .n = 1);
    kith_at(self, KITH_NOWAIT, tick, .n = 2);
    return me->ticks == 0 ? KITH_OK : KITH_EFAILED; /* not inside the call */
}

TEST_ON_WORKERS(a_deadline_in_the_past_is_now)
{
    kith_ref actor = spawn_clocked(e);
    CHECK_EQ(with_it(e, actor, set_past, NULL), KITH_OK);
    CHECK_EQ(await_number(e), 2);
    CHECK_EQ(state_of(e, actor).disorder, 0);
}

#define EQUAL 400

static kith_err set_equal(kith_self *self, struct clocked *me, void *arg)
{
    kith_time due = kith_in(3 * KITH_MS);
    (void)arg;
    me->wanted = EQUAL;
    for (int i = 1; i <= EQUAL; i++)
        CHECK_EQ(kith_timer_error(kith_at(self, due, tick, .due = due, .n = i)), KITH_OK);
    return KITH_OK;
}

TEST_ON_WORKERS(equal_deadlines_come_in_the_order_in_which_they_were_set)
{
    kith_ref actor = spawn_clocked(e);
    CHECK_EQ(with_it(e, actor, set_equal, NULL), KITH_OK);
    await_number(e);
    struct clocked state = state_of(e, actor);
    CHECK_EQ(state.disorder, 0);
    CHECK_EQ(state.early, 0);
    CHECK_EQ(state.ticks, EQUAL);
}

/* ---- an actor that moves between workers ---- */

struct set_one {
    kith_time due;
    int n;
    pthread_t thread; /* that ran it */
};

static kith_err set_one(kith_self *self, struct clocked *me, void *arg)
{
    struct set_one *s = arg;
    (void)me;
    s->thread = pthread_self();
    return kith_timer_error(kith_at(self, s->due, tick, .due = s->due, .n = s->n));
}

static kith_err want(kith_self *self, struct clocked *me, void *arg)
{
    (void)self;
    me->wanted = *(int *)arg;
    return KITH_OK;
}

/* With two workers and one of them held by a hog, the actor runs on the other; then a second hog
 * takes that one and the first is let go: so the actor moves at each step. */
TEST_ON_WORKERS(equal_deadlines_keep_their_order_when_the_actor_moves)
{
    enum { STEPS = 10 };
    static struct gate gates[STEPS + 1];
    if (e->workers != 2)
        return;
    kith_ref actor = spawn_clocked(e);
    struct set_one s = {.due = kith_in(30 * KITH_MS)};
    int wanted = STEPS;
    CHECK_EQ(with_it(e, actor, want, &wanted), KITH_OK);
    memset(gates, 0, sizeof gates);
    do_later(e, kith_spawn(e->self, &doer, NULL), do_wait, &gates[0]);
    gate_await(&gates[0]);
    for (int i = 1; i <= STEPS; i++) {
        pthread_t before = s.thread;
        s.n = i;
        CHECK_EQ(with_it(e, actor, set_one, &s), KITH_OK);
        if (i > 1)
            CHECK(!pthread_equal(before, s.thread));
        do_later(e, kith_spawn(e->self, &doer, NULL), do_wait, &gates[i]);
        gate_await(&gates[i]);
        kith__store_seq(&gates[i - 1].open, 1);
    }
    kith__store_seq(&gates[STEPS].open, 1);
    CHECK_EQ(await_number(e), STEPS);
    struct clocked state = state_of(e, actor);
    CHECK_EQ(state.disorder, 0);
    CHECK_EQ(state.early, 0);
}

/* ---- cancel ---- */

static kith_err set_far(kith_self *self, struct clocked *me, void *arg)
{
    (void)arg;
    me->timer = kith_at(self, kith_in(KITH_HOUR), tick);
    return kith_timer_error(me->timer);
}

static kith_err cancel_timer(kith_self *self, struct clocked *me, void *arg)
{
    (void)arg;
    return kith_timer_cancel(self, me->timer);
}

static kith_err cancel_others(kith_self *self, struct clocked *me, void *arg)
{
    const kith_timer *timer = arg;
    (void)me;
    return kith_timer_cancel(self, *timer);
}

TEST_ON_WORKERS(cancel_refuses_nonsense)
{
    kith_ref actor = spawn_clocked(e);
    kith_timer mine = kith_at(e->self, kith_in(KITH_HOUR), tick);
    CHECK_EQ(kith_timer_error(mine), KITH_OK);
    CHECK(kith_timer_same(mine, mine));
    CHECK_EQ(with_it(e, actor, cancel_others, &mine), KITH_EPERM);
    CHECK_EQ(kith_timer_cancel(NULL, mine), KITH_EPERM);
    kith_timer bad[] = {{0},
                        {mine.bits + 1},
                        {kith_self_ref(e->self).bits},
                        {UINT64_C(0x7fffffffffffffff)},
                        kith_at(e->self, KITH_FOREVER, tick)};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_EQ(kith_timer_cancel(e->self, bad[i]), KITH_EBADREF);
    CHECK_EQ(env_stats(e).timers, 1u);
    CHECK_EQ(kith_timer_cancel(e->self, mine), KITH_OK);
    CHECK_EQ(kith_timer_cancel(e->self, mine), KITH_EBADREF);
    CHECK_EQ(with_it(e, actor, set_far, NULL), KITH_OK);
    CHECK_EQ(with_it(e, actor, cancel_timer, NULL), KITH_OK);
    CHECK_EQ(with_it(e, actor, cancel_timer, NULL), KITH_EBADREF);
    CHECK_EQ(env_stats(e).timers, 0u);
    CHECK_EQ(env_stats(e).messages, 1u); /* the answer in hand */
}

/* Two parcels are due at once, so both are sent together; the first one's handler cancels the
 * second, which is in the mailbox by then. */
static kith_err set_two_parcels(kith_self *self, struct clocked *me, void *arg)
{
    kith_time due = kith_in(2 * KITH_MS);
    (void)arg;
    int *a = parcel_content(1);
    int *b = parcel_content(2);
    me->timer = kith_at(self, due, parcel, .number = a, .copy = 1);
    me->other = kith_at(self, due, parcel, .number = b, .copy = 2);
    CHECK_EQ(kith_timer_error(kith_at(self, due, later, .n = 3)), KITH_OK);
    return KITH_OK;
}

TEST_ON_WORKERS(a_message_on_its_way_is_canceled_too)
{
    kith_ref actor = spawn_clocked(e);
    CHECK_EQ(with_it(e, actor, set_two_parcels, NULL), KITH_OK);
    CHECK_EQ(await_number(e), 1);
    CHECK_EQ(await_number(e), 3); /* and never 2 */
    CHECK_EQ(state_of(e, actor).err, KITH_OK);
    CHECK_EQ(parcels_open(), 0u);
    CHECK_EQ(with_it(e, actor, cancel_timer, NULL), KITH_EBADREF); /* handled: over */
}

#define LOTS 3000

static kith_err set_lots(kith_self *self, struct clocked *me, void *arg)
{
    static kith_timer timers[LOTS];
    kith_time base = kith_now();
    (void)arg;
    me->wanted = LOTS / 2;
    for (int i = 0; i < LOTS; i++) {
        kith_time due = base + kith_random(self) % (8 * KITH_MS);
        timers[i] = kith_at(self, due, tick, .due = due, .n = i);
    }
    for (int i = 0; i < LOTS; i += 2)
        CHECK_EQ(kith_timer_cancel(self, timers[i]), KITH_OK);
    return KITH_OK;
}

TEST_ON_WORKERS(lots_of_timers_half_of_them_canceled)
{
    kith_ref actor = spawn_clocked(e);
    CHECK_EQ(with_it(e, actor, set_lots, NULL), KITH_OK);
    CHECK_EQ(await_number(e), LOTS / 2);
    struct clocked state = state_of(e, actor);
    CHECK_EQ(state.early, 0);
    CHECK_EQ(state.ticks, LOTS / 2);
    CHECK_EQ(env_stats(e).timers, 0u);
}

static kith_err set_both(kith_self *self, struct clocked *me, void *arg)
{
    CHECK_EQ(set_far(self, me, arg), KITH_OK);
    kith_every(self, KITH_MS, tick);
    kith_receive_timeout(self, KITH_MS);
    me->idle_ns = KITH_MS;
    return KITH_OK;
}

TEST_ON_WORKERS(timers_end_with_their_actor)
{
    for (int i = 0; i < 20; i++) {
        kith_ref actor = spawn_clocked(e);
        CHECK_EQ(with_it(e, actor, set_both, NULL), KITH_OK);
        stop_and_wait(e, actor);
    }
    CHECK_EQ(env_stats(e).timers, 0u);
    CHECK_EQ(env_stats(e).dead_letters, 0u);
}

/* ---- bad input ---- */

TEST_ON_WORKERS(timers_refuse_nonsense)
{
    tick t = {0};
    kith_type over = {"over", KITH_MESSAGE_BYTES_MAX + 1, NULL};
    kith_self *self = e->self;
    CHECK_EQ(kith_timer_error(kith_at(NULL, KITH_NOWAIT, tick)), KITH_EPERM);
    CHECK_EQ(kith_timer_error(kith_at(self, KITH_FOREVER, tick)), KITH_EINVAL);
    CHECK_EQ(kith_timer_error(kith_timer_at(self, KITH_NOWAIT, NULL, &t)), KITH_EINVAL);
    CHECK_EQ(kith_timer_error(kith_timer_at(self, KITH_NOWAIT, &kith_type_tick, NULL)),
             KITH_EINVAL);
    CHECK_NE(kith_timer_error(kith_timer_at(self, KITH_NOWAIT, &over, &t)), KITH_OK);
    CHECK_EQ(kith_timer_error(kith_every(NULL, KITH_MS, tick)), KITH_EPERM);
    CHECK_EQ(kith_timer_error(kith_every(self, 0, tick)), KITH_EINVAL);
    CHECK_EQ(kith_timer_error(kith_every(self, KITH_FOREVER, tick)), KITH_EINVAL);
    CHECK_EQ(kith_timer_error(kith_timer_every(self, KITH_MS, NULL, &t)), KITH_EINVAL);
    CHECK_EQ(kith_timer_error(kith_timer_every(self, KITH_MS, &kith_type_tick, NULL)), KITH_EINVAL);
    CHECK_EQ(kith_timer_error(kith_every(self, KITH_MS, parcel)), KITH_EINVAL); /* has a drop */
    CHECK_EQ(kith_receive_timeout(NULL, KITH_MS), KITH_EPERM);
    CHECK_EQ(kith_receive_timeout(self, KITH_MS), KITH_EPERM); /* a thread */
    kith_timer last = kith_at(self, KITH_FOREVER - 1, tick);
    CHECK_EQ(kith_timer_cancel(self, last), KITH_OK);
    CHECK_EQ(env_stats(e).timers, 0u);
    CHECK(nothing_waits(e));
}

/* ---- periodic ---- */

static kith_err set_periodic(kith_self *self, struct clocked *me, void *arg)
{
    kith_time period = *(kith_time *)arg;
    kith_time due = kith_in(period);
    me->wanted = 5;
    me->timer = kith_every(self, period, tick, .due = due);
    return kith_timer_error(me->timer);
}

static kith_err set_later(kith_self *self, struct clocked *me, void *arg)
{
    (void)me;
    (void)arg;
    return kith_timer_error(kith_at(self, kith_in(5 * KITH_MS), later, .n = -7));
}

TEST_ON_WORKERS(a_periodic_timer_goes_on_until_it_is_canceled)
{
    static kith_time periods[] = {1, KITH_MS};
    for (int i = 0; i < 2; i++) {
        kith_ref actor = spawn_clocked(e);
        CHECK_EQ(with_it(e, actor, set_periodic, &periods[i]), KITH_OK);
        CHECK_EQ(await_number(e), 5);
        CHECK_EQ(env_stats(e).timers, 1u);
        CHECK_EQ(with_it(e, actor, cancel_timer, NULL), KITH_OK);
        CHECK_EQ(env_stats(e).timers, 0u);
        struct clocked before = state_of(e, actor);
        CHECK_EQ(with_it(e, actor, set_later, NULL), KITH_OK);
        CHECK_EQ(await_number(e), -7);
        struct clocked after = state_of(e, actor);
        CHECK_EQ(after.ticks, before.ticks);
        CHECK_EQ(after.early, 0);
    }
}

/* The k-th tick is not before the k-th period has passed. */
struct metronome {
    kith_time start;
    kith_time period;
    int ticks;
    kith_timer timer;
    kith_ref tell;
    int early;
};

KITH_ON(metronome, tick)
{
    me->ticks++;
    me->early += kith_now() < me->start + (kith_time)me->ticks * me->period;
    if (me->ticks < 6)
        return KITH_OK;
    CHECK_EQ(kith_timer_cancel(self, me->timer), KITH_OK); /* in its own handler */
    CHECK_EQ(kith_timer_cancel(self, me->timer), KITH_EBADREF);
    kith_at(self, kith_in(5 * me->period), later);
    return KITH_OK;
}

KITH_ON(metronome, later)
{
    return kith_send(self, me->tell, number, .value = me->ticks + 100 * me->early);
}

static kith_err metronome_init(kith_self *self, void *state, const void *arg)
{
    struct metronome *me = state;
    me->tell = kith_parent(self);
    me->period = *(const kith_time *)arg;
    me->start = kith_now();
    me->timer = kith_every(self, me->period, tick);
    return kith_timer_error(me->timer);
}

static const kith_behavior metronome = {.name = "metronome",
                                        .state_bytes = sizeof(struct metronome),
                                        .init = metronome_init,
                                        .handlers = KITH_HANDLERS(metronome, tick, later)};

TEST_ON_WORKERS(a_periodic_timer_may_be_canceled_in_its_handler)
{
    kith_time period = 500 * KITH_US;
    CHECK_EQ(kith_ref_error(kith_spawn(e->self, &metronome, &period)), KITH_OK);
    CHECK_EQ(await_number(e), 6); /* 6 ticks, none early, and none after the cancel */
}

/* A handler that lasts 20 periods; what it sends itself then comes behind at most one tick. */
static kith_err tick_while_busy(kith_self *self, struct clocked *me, void *arg)
{
    kith_time period = KITH_MS;
    (void)arg;
    CHECK_EQ(set_periodic(self, me, &period), KITH_OK);
    me->wanted = -1;
    kith_time until = kith_in(20 * KITH_MS);
    while (kith_now() < until)
        sched_yield();
    return KITH_OK;
}

static kith_err ticks_so_far(kith_self *self, struct clocked *me, void *arg)
{
    *(int *)arg = me->ticks;
    return kith_timer_cancel(self, me->timer);
}

TEST_ON_WORKERS(ticks_that_wait_are_not_piled_up)
{
    static int ticks;
    kith_ref actor = spawn_clocked(e);
    CHECK_EQ(kith_send(e->self, actor, with, .fn = tick_while_busy), KITH_OK);
    CHECK_EQ(kith_send(e->self, actor, with, .fn = ticks_so_far, .arg = &ticks), KITH_OK);
    CHECK(RECEIVE(e, done) != NULL);
    CHECK(RECEIVE(e, done) != NULL);
    CHECK_LE(ticks, 1);
}

/* ---- a thread's timers ---- */

TEST_ON_WORKERS(a_thread_gets_its_timers_as_messages)
{
    kith_time due = kith_in(2 * KITH_MS);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(kith_timer_error(kith_at(e->self, due, tick, .n = i)), KITH_OK);
    for (int i = 0; i < 10; i++) {
        const tick *t = RECEIVE(e, tick);
        REQUIRE(t != NULL);
        CHECK_EQ(t->n, i);
        CHECK_GE(kith_now(), due);
    }
    CHECK(kith_ref_same(kith_sender(e->self), kith_self_ref(e->self)));
    kith_timer timer = kith_every(e->self, KITH_MS, tick, .n = 1);
    for (int i = 0; i < 5; i++)
        CHECK(RECEIVE(e, tick) != NULL);
    CHECK_EQ(kith_timer_cancel(e->self, timer), KITH_OK);
    kith_at(e->self, kith_in(3 * KITH_MS), later);
    CHECK(RECEIVE(e, later) != NULL); /* and no tick before it */
}

TEST_ON_WORKERS(a_timer_goes_off_while_its_thread_asks)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    kith_timer timer = kith_at(e->self, KITH_NOWAIT, tick, .n = 4);
    CHECK_EQ(kith_timer_error(timer), KITH_OK);
    settle(e, actor);
    const tick *t = RECEIVE(e, tick);
    REQUIRE(t != NULL);
    CHECK_EQ(t->n, 4);
    CHECK_EQ(kith_timer_cancel(e->self, timer), KITH_EBADREF);
}

/* ---- the receive timeout ---- */

static kith_err set_idle(kith_self *self, struct clocked *me, void *arg)
{
    me->idle_ns = *(kith_time *)arg;
    return kith_receive_timeout(self, me->idle_ns);
}

TEST_ON_WORKERS(silence_is_told_again_and_again)
{
    static kith_time ms = KITH_MS;
    static int wanted = 4;
    kith_ref actor = spawn_clocked(e);
    CHECK_EQ(with_it(e, actor, want, &wanted), KITH_OK);
    CHECK_EQ(with_it(e, actor, set_idle, &ms), KITH_OK);
    CHECK_EQ(await_number(e), 4);
    CHECK_EQ(state_of(e, actor).early, 0);
}

TEST_ON_WORKERS(zero_ends_the_receive_timeout)
{
    static kith_time ms = KITH_MS;
    static kith_time hour = KITH_HOUR;
    static kith_time none = 0;
    static int wanted = 1;
    kith_ref actor = spawn_clocked(e);
    CHECK_EQ(with_it(e, actor, set_idle, &none), KITH_OK); /* none to end */
    CHECK_EQ(with_it(e, actor, want, &wanted), KITH_OK);
    CHECK_EQ(with_it(e, actor, set_idle, &hour), KITH_OK);
    CHECK_EQ(with_it(e, actor, set_idle, &ms), KITH_OK); /* a new one replaces the old one */
    CHECK_EQ(await_number(e), 1);
    CHECK_EQ(with_it(e, actor, set_idle, &none), KITH_OK);
    CHECK_EQ(env_stats(e).timers, 0u);
    int idles = state_of(e, actor).idles;
    CHECK_EQ(with_it(e, actor, set_later, NULL), KITH_OK);
    CHECK_EQ(await_number(e), -7);
    CHECK_EQ(state_of(e, actor).idles, idles);
}

TEST_ON_WORKERS(messages_put_the_receive_timeout_off)
{
    static kith_time twenty = 20 * KITH_MS;
    static int wanted = 1;
    kith_ref actor = spawn_clocked(e);
    CHECK_EQ(with_it(e, actor, want, &wanted), KITH_OK);
    CHECK_EQ(with_it(e, actor, set_idle, &twenty), KITH_OK);
    kith_time until = kith_in(60 * KITH_MS);
    while (kith_now() <
           until) /* each is a message: a silence may only be where the machine stood */
        state_of(e, actor);
    await_number(e);
    CHECK_EQ(state_of(e, actor).early, 0);
}

static kith_err end_idle_from_idle(kith_self *self, void *state, const kith_msg *msg)
{
    struct doer *me = state;
    if (kith_body(msg, kith_idle) == NULL)
        return KITH_ETYPE;
    if (++me->count == 1) { /* set anew from its own handler, then ended from it */
        CHECK_EQ(kith_receive_timeout(self, 2 * KITH_MS), KITH_OK);
        return KITH_OK;
    }
    CHECK_EQ(kith_body(msg, kith_idle)->idle_ns, 2 * KITH_MS);
    CHECK_EQ(kith_receive_timeout(self, 0), KITH_OK);
    return kith_send(self, kith_parent(self), number, .value = me->count);
}

static kith_err idler_init(kith_self *self, void *state, const void *arg)
{
    (void)state;
    (void)arg;
    return kith_receive_timeout(self, KITH_MS);
}

static const kith_behavior idler = {.name = "idler",
                                    .state_bytes = sizeof(struct doer),
                                    .init = idler_init,
                                    .other = end_idle_from_idle,
                                    .handlers = KITH_HANDLERS(doer, order)};

TEST_ON_WORKERS(the_receive_timeout_may_be_changed_in_its_handler)
{
    kith_ref actor = kith_spawn(e->self, &idler, NULL);
    CHECK_EQ(await_number(e), 2);
    settle(e, actor);
    CHECK_EQ(env_stats(e).timers, 0u);
    CHECK(nothing_waits(e));
}

static kith_err set_idle_and_timers(kith_self *self, struct clocked *me, void *arg)
{
    static kith_time hour = KITH_HOUR;
    for (int i = 0; i < 3; i++) { /* what it owns, in different orders */
        CHECK_EQ(set_far(self, me, arg), KITH_OK);
        CHECK_EQ(set_idle(self, me, &hour), KITH_OK);
        CHECK_EQ(cancel_timer(self, me, arg), KITH_OK);
        CHECK_EQ(set_far(self, me, arg), KITH_OK);
    }
    CHECK_EQ(kith_receive_timeout(self, 0), KITH_OK);
    CHECK_EQ(kith_receive_timeout(self, KITH_FOREVER - 1), KITH_OK);
    return cancel_timer(self, me, arg);
}

TEST_ON_WORKERS(the_receive_timeout_stands_beside_timers)
{
    kith_ref actor = spawn_clocked(e);
    CHECK_EQ(with_it(e, actor, set_idle_and_timers, NULL), KITH_OK);
    settle(e, kith_spawn(e->self, &doer, NULL));
    CHECK_EQ(env_stats(e).timers, 3u); /* two far ones and the silence's */
    stop_and_wait(e, actor);
    CHECK_EQ(env_stats(e).timers, 0u);
}
