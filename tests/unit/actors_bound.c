/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Bounded mailboxes: actors/send.c, actors/turn.c and csp/bound.c.
 *
 * Each test holds the receiver in a handler, or in a fiber that does not receive, fills its
 * mailbox, and then looks at what one more send does. That somebody waits is seen in the bound's
 * own word.
 */
#include "actors/actor.h"
#include "csp/bound.h"
#include "tests/unit/actors_common.h"

#define MAX 4

static const kith_behavior narrow = {
    .name = "narrow",
    .state_bytes = sizeof(struct doer),
    .handlers = KITH_HANDLERS(doer, order, tell, parcel),
    .init = doer_init,
    .mailbox_max = MAX,
};

/* Its state does not fit into the slot. */
static const kith_behavior narrow_large = {
    .name = "narrow_large",
    .state_bytes = 5000,
    .handlers = KITH_HANDLERS(doer, order, tell, parcel),
    .init = doer_init,
    .mailbox_max = MAX,
};

/* ---- looking at a bound ---- */

static uint64_t room_of(struct env *e, kith_ref of)
{
    struct kith__slot *slot = kith__handle_find(&e->rt->table, of.bits);
    return kith__load_seq(&kith__bound_of((struct kith_self *)(void *)slot)->room);
}

static uint32_t room_left(struct env *e, kith_ref of)
{
    return (uint32_t)(room_of(e, of) & KITH__BOUND_MAX);
}

static void await_room(struct env *e, kith_ref of, uint32_t room)
{
    while (room_left(e, of) != room)
        sched_yield();
}

static bool somebody_waits(struct env *e, kith_ref of)
{
    return (room_of(e, of) & KITH__BOUND_WAIT) != 0;
}

static void await_waiter(struct env *e, kith_ref of)
{
    while (!somebody_waits(e, of))
        sched_yield();
}

/* An actor that is in its handler until the gate is open, and whose mailbox is full. */
static kith_ref full(struct env *e, const kith_behavior *behavior, struct gate *gate)
{
    kith_ref ref = kith_spawn(e->self, behavior, NULL);
    memset(gate, 0, sizeof *gate);
    do_later(e, ref, do_wait, gate);
    gate_await(gate);
    while (room_left(e, ref) > 0) /* the message in its hands may still count */
        CHECK_EQ(parcel_send(e->self, ref, 1), KITH_OK);
    return ref;
}

static void gate_open(struct gate *gate)
{
    kith__store_seq(&gate->open, 1);
}

/* ---- handlers ---- */

static kith_err do_send_parcel(kith_self *self, struct doer *me, void *arg)
{
    me->count++;
    return parcel_send(self, *(kith_ref *)arg, 2);
}

static kith_err do_post_parcel(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    parcel *body = kith_new(self, parcel);
    kith_err err = kith_post(self, *(kith_ref *)arg, body);
    if (err != KITH_OK && err != KITH_EDEAD)
        CHECK_EQ(kith_discard(self, body), KITH_OK); /* it is still the caller's */
    return err;
}

static kith_err do_forward(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    kith_ref before = kith_sender(self);
    kith_err err = kith_forward(self, *(kith_ref *)arg);
    CHECK_EQ(kith_sender(self).bits, before.bits); /* the message is still in hand */
    return err;
}

static kith_err then_nothing(kith_self *self, void *me, void *ctx, kith_err status,
                             const kith_msg *reply)
{
    (void)self;
    (void)me;
    (void)ctx;
    (void)status;
    (void)reply;
    return KITH_OK;
}

static kith_err do_ask(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    return kith_ask_then(self, *(kith_ref *)arg, KITH_FOREVER, then_nothing, NULL, order,
                         .fn = do_nothing);
}

/* The sender needs a worker besides the one that the receiver holds up. */
static void handlers_body(struct env *e, const kith_behavior *behavior)
{
    struct gate gate;
    if (e->workers < 2)
        return;
    kith_ref to = full(e, behavior, &gate);
    kith_ref from = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, from, do_send_parcel, &to), KITH_EFULL);
    CHECK_EQ(do_in(e, from, do_post_parcel, &to), KITH_EFULL);
    CHECK_EQ(do_in(e, from, do_forward, &to), KITH_EFULL);
    CHECK_EQ(do_in(e, from, do_ask, &to), KITH_EFULL);
    CHECK_EQ(room_left(e, to), 0u);
    gate_open(&gate);
    await_room(e, to, MAX);
    CHECK_EQ(do_in(e, from, do_send_parcel, &to), KITH_OK);
    CHECK_EQ(do_in(e, from, do_post_parcel, &to), KITH_OK);
    CHECK_EQ(do_in(e, from, do_ask, &to), KITH_OK);
    settle(e, to);
    await_room(e, to, MAX);
}

TEST_ON_WORKERS(a_handler_hears_full_and_keeps_its_message)
{
    handlers_body(e, &narrow);
    handlers_body(e, &narrow_large);
}

static kith_err do_fill_oneself(kith_self *self, struct doer *me, void *arg)
{
    kith_ref own = kith_self_ref(self);
    (void)arg;
    kith_err err;
    while ((err = parcel_send(self, own, 3)) == KITH_OK)
        me->count++;
    return err;
}

TEST_ON_WORKERS(an_actor_can_fill_its_own_mailbox_and_no_more)
{
    kith_ref ref = kith_spawn(e->self, &narrow, NULL);
    CHECK_EQ(do_in(e, ref, do_fill_oneself, NULL), KITH_EFULL);
    await_room(e, ref, MAX);
    CHECK_EQ(do_in(e, ref, do_fill_oneself, NULL), KITH_EFULL);
    await_room(e, ref, MAX);
}

/* ---- what is not counted ---- */

static kith_err do_timer(kith_self *self, struct doer *me, void *arg)
{
    me->timer = kith_at(self, kith_now(), tell, .fn = do_nothing);
    (void)arg;
    return me->timer.bits != 0 ? KITH_OK : KITH_ENOMEM;
}

TEST_ON_WORKERS(signals_timers_and_answers_always_get_in)
{
    kith_ref ref = kith_spawn(e->self, &narrow, NULL);
    for (int i = 0; i < 3 * MAX; i++)
        CHECK_EQ(do_in(e, ref, do_timer, NULL), KITH_OK);
    settle(e, ref);
    await_room(e, ref, MAX);
    struct gate gate;
    kith_ref to = full(e, &narrow, &gate);
    for (int i = 0; i < 2 * MAX; i++)
        CHECK_EQ(kith_monitor(e->self, to), KITH_OK);
    CHECK_EQ(kith_stop(e->self, to), KITH_OK);
    gate_open(&gate);
    for (int i = 0; i < 2 * MAX; i++)
        CHECK_EQ(await_down(e, to), KITH_OK);
}

/* ---- a thread waits ---- */

TEST_ON_WORKERS(a_thread_waits_until_its_deadline)
{
    struct gate gate;
    kith_ref to = full(e, &narrow, &gate);
    CHECK_EQ(kith_send_by(e->co, to, KITH_NOWAIT, tell, .fn = do_nothing), KITH_ETIMEOUT);
    CHECK_EQ(kith_send_by(e->co, to, kith_in(KITH_MS), tell, .fn = do_nothing), KITH_ETIMEOUT);
    CHECK(!somebody_waits(e, to));
    kith_msg *reply;
    CHECK_EQ(kith_ask(e->co, to, kith_in(KITH_MS), &reply, order, .fn = do_nothing), KITH_ETIMEOUT);
    CHECK(!somebody_waits(e, to));
    gate_open(&gate);
    CHECK_EQ(kith_send_by(e->co, to, PATIENCE, tell, .fn = do_nothing), KITH_OK);
    settle(e, to);
    await_room(e, to, MAX);
    CHECK_EQ(kith_send_by(NULL, to, PATIENCE, tell, .fn = do_nothing), KITH_EPERM);
    CHECK_EQ(kith_send_by(e->co, made_up(), PATIENCE, tell, .fn = do_nothing), KITH_EBADREF);
    CHECK_EQ(kith_send_by_copy(e->co, to, PATIENCE, NULL, NULL), KITH_EINVAL);
}

/* ---- fibers wait ---- */

struct many {
    kith_ref to;
    kith_ref report; /* gets a done from each that ends */
    int n;           /* how many each sends */
    long from;
};

KITH_MESSAGE(item, {
    long from;
    long index;
});

static void sender(kith_self *self, kith_co *co, void *arg)
{
    const struct many *m = arg;
    kith_err err = KITH_OK;
    (void)co;
    for (long i = 0; i < m->n && err == KITH_OK; i++)
        err = kith_send(self, m->to, item, .from = m->from, .index = i);
    kith_send(self, m->report, done, .err = err);
}

#define SENDERS 8

/* Takes items, and sees that each sender's come in order. */
struct taker {
    long next[SENDERS];
    long taken;
    bool wrong;
};

static KITH__ATOMIC(long) takers_taken;

KITH_ON(taker, item)
{
    me->wrong |= msg->index != me->next[msg->from]++;
    me->taken++;
    kith__add_seq(&takers_taken, 1);
    return KITH_OK;
}

KITH_ON(taker, order)
{
    return kith_reply(self, done, .err = me->wrong ? KITH_EINVAL : KITH_OK);
}

static void go_senders(struct env *e, kith_ref to, int n)
{
    for (long i = 0; i < SENDERS; i++) {
        struct many m = {to, kith_self_ref(e->self), n, i};
        kith_fiber_options options = {.arg_bytes = sizeof m};
        CHECK_EQ(kith_ref_error(kith_go_with(e->self, sender, &m, &options)), KITH_OK);
    }
}

static void await_senders(struct env *e, kith_err expected)
{
    for (int i = 0; i < SENDERS; i++) {
        const done *d = RECEIVE(e, done);
        CHECK_EQ(d != NULL ? d->err : KITH_ETYPE, expected);
    }
}

static const kith_handler taker_handlers[] = {KITH_HANDLER(taker, item)
                                                  KITH_HANDLER(taker, order){NULL, NULL}};

#define TAKER(max)                                                                                 \
    {                                                                                              \
        .name = "taker", .state_bytes = sizeof(struct taker), .handlers = taker_handlers,          \
        .mailbox_max = (max),                                                                      \
    }
static const kith_behavior takers[] = {TAKER(1), TAKER(2), TAKER(3), TAKER(7), TAKER(1024)};
#define TAKERS (sizeof takers / sizeof takers[0])

static void taker_body(struct env *e, const kith_behavior *taker)
{
    kith_ref to = kith_spawn(e->self, taker, NULL);
    go_senders(e, to, 500);
    await_senders(e, KITH_OK);
    CHECK_EQ(do_in(e, to, do_nothing, NULL), KITH_OK);
    await_room(e, to, taker->mailbox_max);
    CHECK(!somebody_waits(e, to));
    stop_and_wait(e, to);
}

TEST_ON_WORKERS(nothing_is_lost_and_order_is_kept)
{
    kith__store_seq(&takers_taken, 0);
    for (size_t i = 0; i < TAKERS; i++)
        taker_body(e, &takers[i]);
    CHECK_EQ(kith__load_seq(&takers_taken), (long)TAKERS * SENDERS * 500);
}

TEST_ON_WORKERS(the_death_of_the_receiver_ends_the_wait)
{
    struct gate gate;
    if (e->workers < 2)
        return;
    kith_ref to = full(e, &narrow, &gate);
    go_senders(e, to, 1);
    await_waiter(e, to);
    CHECK_EQ(kith_stop(e->self, to), KITH_OK);
    gate_open(&gate);
    /* Some may have been served before the stop was seen. */
    for (int i = 0; i < SENDERS; i++) {
        const done *d = RECEIVE(e, done);
        CHECK(d != NULL && (d->err == KITH_EDEAD || d->err == KITH_OK));
    }
    CHECK_EQ(parcel_send(e->self, to, 1), KITH_EDEAD);
}

/* A fiber that does not receive before it is told to. */
static void deaf(kith_self *self, kith_co *co, void *arg)
{
    struct gate *gate = arg;
    kith_msg *msg;
    (void)self;
    while (kith__load_seq(&gate->open) == 0)
        if (kith_sleep(co, kith_in(KITH_MS)) != KITH_OK)
            return;
    while (kith_receive(co, KITH_FOREVER, &msg) == KITH_OK)
        kith__add_seq(&gate->reached, 1);
}

static kith_ref deaf_go(struct env *e, struct gate *gate)
{
    kith_fiber_options options = {.mailbox_max = MAX};
    memset(gate, 0, sizeof *gate);
    kith_ref ref = kith_go_with(e->self, deaf, gate, &options);
    for (int i = 0; i < MAX; i++)
        CHECK_EQ(kith_send(e->self, ref, number, .value = i), KITH_OK);
    CHECK_EQ(kith_send_by(e->co, ref, KITH_NOWAIT, number, .value = 0), KITH_ETIMEOUT);
    return ref;
}

TEST_ON_WORKERS(a_fibers_mail_counts_until_it_is_received)
{
    struct gate gate;
    kith_ref ref = deaf_go(e, &gate);
    go_senders(e, ref, 100);
    await_waiter(e, ref);
    gate_open(&gate);
    await_senders(e, KITH_OK);
    while (kith__load_seq(&gate.reached) != MAX + SENDERS * 100)
        sched_yield();
    await_room(e, ref, MAX);
    stop_and_wait(e, ref);
}

TEST_ON_WORKERS(a_fibers_end_ends_the_wait)
{
    struct gate gate;
    kith_ref ref = deaf_go(e, &gate);
    go_senders(e, ref, 1);
    await_waiter(e, ref);
    CHECK_EQ(kith_stop(e->self, ref), KITH_OK); /* its sleep ends, and it */
    await_senders(e, KITH_EDEAD);
}

/* ---- canceled while it waits ---- */

static void canceled_sender(kith_self *self, kith_co *co, void *arg)
{
    const struct many *m = arg;
    parcel *body = kith_new(self, parcel);
    kith_err err = kith_post(self, m->to, body);
    if (err == KITH_ECANCELED) {
        CHECK(kith_canceled(co));
        /* It can still send where there is room, and not where it would have to wait. */
        kith_send(self, m->report, number, .value = 1);
        CHECK_EQ(kith_send(self, m->to, tell, .fn = do_nothing), KITH_ECANCELED);
        CHECK_EQ(kith_send_by(co, m->to, KITH_NOWAIT, tell, .fn = do_nothing), KITH_ECANCELED);
        CHECK_EQ(kith_discard(self, body), KITH_OK);
    }
    kith_send(self, m->report, done, .err = err);
}

TEST_ON_WORKERS(a_canceled_fiber_waits_no_more)
{
    struct gate gate;
    kith_ref to = deaf_go(e, &gate);
    struct many m = {to, kith_self_ref(e->self), 1, 0};
    kith_ref fiber = kith_go(e->self, canceled_sender, &m);
    await_waiter(e, to);
    CHECK_EQ(kith_stop(e->self, fiber), KITH_OK);
    CHECK(RECEIVE(e, number) != NULL);
    const done *d = RECEIVE(e, done);
    CHECK_EQ(d != NULL ? d->err : KITH_ETYPE, KITH_ECANCELED);
    CHECK(!somebody_waits(e, to));
    CHECK_EQ(kith_stop(e->self, to), KITH_OK);
}

/* ---- who comes first ---- */

TEST_ON_WORKERS(while_somebody_waits_it_is_full_for_all_others)
{
    struct gate gate;
    if (e->workers < 2)
        return;
    kith_ref to = full(e, &narrow, &gate);
    go_senders(e, to, 1);
    await_waiter(e, to);
    /* Room for one, which is less than half: those who wait do not get it yet, nor does anybody
     * else. */
    struct kith__slot *slot = kith__handle_find(&e->rt->table, to.bits);
    struct kith__bound *bound = kith__bound_of((struct kith_self *)(void *)slot);
    kith__add_seq(&bound->room, 1);
    kith_ref from = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, from, do_send_parcel, &to), KITH_EFULL);
    CHECK_EQ(kith_send_by(e->co, to, KITH_NOWAIT, tell, .fn = do_nothing), KITH_ETIMEOUT);
    kith__sub_seq(&bound->room, 1);
    gate_open(&gate);
    await_senders(e, KITH_OK);
}

/* ---- to oneself ---- */

static void to_oneself(kith_self *self, kith_co *co, void *arg)
{
    const struct many *m = arg;
    kith_ref own = kith_self_ref(self);
    kith_msg *msg;
    int n = 0;
    while (kith_send(self, own, number, .value = n) == KITH_OK)
        n++;
    CHECK_EQ(n, MAX);
    CHECK_EQ(kith_send_by(co, own, PATIENCE, number, .value = n), KITH_EFULL);
    for (int i = 0; i < MAX; i++) {
        CHECK_EQ(kith_receive(co, KITH_NOWAIT, &msg), KITH_OK);
        CHECK_EQ(kith_body(msg, number)->value, i);
    }
    CHECK_EQ(kith_receive(co, KITH_NOWAIT, &msg), KITH_ETIMEOUT);
    CHECK_EQ(kith_send(self, own, number, .value = 0), KITH_OK);
    kith_send(self, m->report, done, .err = KITH_OK);
}

TEST_ON_WORKERS(a_fiber_does_not_wait_for_itself)
{
    struct many m = {{0}, kith_self_ref(e->self), 1, 0};
    kith_fiber_options options = {.mailbox_max = MAX};
    kith_go_with(e->self, to_oneself, &m, &options);
    CHECK(RECEIVE(e, done) != NULL);
}

/* ---- stale references ---- */

/* A reference to a bounded actor's slot in its next life takes no room there. */
TEST_ON_WORKERS(a_stale_reference_takes_no_room)
{
    kith_ref old = kith_spawn(e->self, &narrow, NULL);
    stop_and_wait(e, old);
    for (int i = 0; i < 2000; i++) {
        kith_ref now = kith_spawn(e->self, &narrow, NULL);
        struct kith__slot *slot = kith__handle_find(&e->rt->table, now.bits);
        struct kith__bound *bound = kith__bound_of((struct kith_self *)(void *)slot);
        uint32_t gen = kith__bits_gen(now.bits);
        CHECK_EQ(kith__bound_take(bound, gen - 1), KITH_EDEAD);
        CHECK_EQ(kith__bound_take(bound, gen), KITH_OK);
        CHECK_EQ(room_left(e, now), MAX - 1u);
        CHECK_EQ(kith_send(e->self, old, tell, .fn = do_nothing), KITH_EDEAD);
        CHECK_EQ(kith_stop(e->self, now), KITH_OK);
    }
}

/* ---- the end of the runtime ---- */

static void until_refused(kith_self *self, kith_co *co, void *arg)
{
    const struct many *m = arg;
    (void)co;
    while (parcel_send(self, m->to, 1) == KITH_OK)
        ;
}

TEST_ON_WORKERS(a_shutdown_ends_all_waits)
{
    static struct many m;
    static struct gate gate; /* the deaf fiber outlives this function */
    m.to = deaf_go(e, &gate);
    for (int i = 0; i < SENDERS; i++)
        kith_go(e->self, until_refused, &m);
    await_waiter(e, m.to);
    /* env_close: detaches, shuts down, counts parcels and messages */
}

struct outsider {
    kith_runtime *rt;
    kith_ref to;
    kith_err err;
};

static void *outsider_main(void *arg)
{
    struct outsider *o = arg;
    kith_self *self;
    o->err = kith_attach(o->rt, &self, NULL);
    if (o->err != KITH_OK)
        return NULL;
    while ((o->err = parcel_send(self, o->to, 1)) == KITH_OK)
        ;
    CHECK_EQ(kith_detach(self), KITH_OK);
    return NULL;
}

TEST_ON_WORKERS(a_shutdown_ends_a_threads_wait)
{
    static struct gate gate;
    struct outsider o = {.rt = e->rt, .to = deaf_go(e, &gate)};
    pthread_t id;
    REQUIRE(pthread_create(&id, NULL, outsider_main, &o) == 0);
    await_waiter(e, o.to);
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
    pthread_join(id, NULL);
    CHECK(o.err == KITH_ESHUTDOWN || o.err == KITH_EDEAD);
}

/* ---- select ---- */

static void selects(kith_self *self, kith_co *co, void *arg)
{
    struct gate *gate = arg;
    (void)self;
    for (;;) {
        kith_msg *msg;
        int which = kith_select(co, KITH_CASES(KITH_MAIL(&msg)), KITH_FOREVER);
        if (which < 0)
            return;
        kith__add_seq(&gate->reached, 1);
    }
}

TEST_ON_WORKERS(what_a_select_takes_makes_room)
{
    struct gate gate = {0};
    kith_fiber_options options = {.mailbox_max = MAX};
    kith_ref ref = kith_go_with(e->self, selects, &gate, &options);
    go_senders(e, ref, 100);
    await_senders(e, KITH_OK);
    while (kith__load_seq(&gate.reached) != SENDERS * 100)
        sched_yield();
    await_room(e, ref, MAX);
    stop_and_wait(e, ref);
}
