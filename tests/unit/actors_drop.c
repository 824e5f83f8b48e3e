/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests that the drop of a message runs exactly once, in every way in which a message may end.
 *
 * Each test runs with 1, 2 and 4 workers and ends with as many drops as parcels (actors_common.h); a
 * second drop of one is a double free, which the sanitizers see. Each test also says when the drop
 * has run, where the headers promise it.
 */
#include "tests/unit/actors_common.h"

#define CHECK_OPEN(n) CHECK_EQ(parcels_open(), (unsigned)(n))

static kith_err fail_now(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    (void)arg;
    return kith_fail(self, KITH_EIO);
}

/* ---- how a handler ends its message ---- */

/* A parcel's handler that does what its actor was spawned for. */
struct taker {
    kith_err (*how)(kith_self *self, struct taker *me, const parcel *msg);
    void *kept;
    kith_ref to;
};

struct taker_arg {
    kith_err (*how)(kith_self *self, struct taker *me, const parcel *msg);
    kith_ref to;
};

static kith_err taker_init(kith_self *self, void *state, const void *arg)
{
    struct taker *me = state;
    const struct taker_arg *a = arg;
    (void)self;
    me->how = a->how;
    me->to = a->to;
    return KITH_OK;
}

static void taker_stop(kith_self *self, void *state, kith_err reason)
{
    struct taker *me = state;
    (void)reason;
    CHECK_EQ(kith_discard(self, me->kept), KITH_OK);
}

KITH_ON(taker, parcel)
{
    return me->how(self, me, msg);
}

KITH_ON(taker, order)
{
    return kith_reply(self, done);
}

static const kith_behavior taker = {.name = "taker",
                                    .state_bytes = sizeof(struct taker),
                                    .init = taker_init,
                                    .stop = taker_stop,
                                    .handlers = KITH_HANDLERS(taker, parcel, order)};

static kith_ref spawn_taker(struct env *e,
                            kith_err (*how)(kith_self *, struct taker *, const parcel *),
                            kith_ref to)
{
    return kith_spawn(e->self, &taker, &(struct taker_arg){how, to});
}

static kith_err take_ignore(kith_self *self, struct taker *me, const parcel *msg)
{
    (void)self;
    (void)me;
    CHECK_EQ(*msg->number, msg->copy);
    CHECK_EQ(parcels_open(), 1u); /* not before the handler returns */
    return KITH_OK;
}

static kith_err take_fail(kith_self *self, struct taker *me, const parcel *msg)
{
    (void)self;
    (void)me;
    (void)msg;
    return KITH_EIO;
}

static kith_err take_discard(kith_self *self, struct taker *me, const parcel *msg)
{
    (void)me;
    (void)msg;
    return kith_discard(self, kith_keep(self));
}

static kith_err take_keep(kith_self *self, struct taker *me, const parcel *msg)
{
    CHECK_EQ(kith_discard(self, me->kept), KITH_OK); /* the one before */
    me->kept = kith_keep(self);
    CHECK(me->kept == msg);
    return KITH_OK;
}

static kith_err take_reply(kith_self *self, struct taker *me, const parcel *msg)
{
    (void)me;
    (void)msg;
    kith_err err = kith_reply(self, number, .value = 1);
    CHECK_EQ(parcels_open(), 0u); /* the header says: its drop has run */
    return err;
}

static kith_err take_reply_parcel(kith_self *self, struct taker *me, const parcel *msg)
{
    (void)me;
    int *content = parcel_content(msg->copy + 1);
    return kith_reply(self, parcel, .number = content, .copy = *content);
}

static kith_err take_forward(kith_self *self, struct taker *me, const parcel *msg)
{
    (void)msg;
    kith_forward(self, me->to);
    return KITH_OK;
}

static kith_err take_post(kith_self *self, struct taker *me, const parcel *msg)
{
    (void)msg;
    void *body = kith_keep(self);
    kith_err err = kith_post(self, me->to, body);
    return err == KITH_OK || err == KITH_EDEAD ? KITH_OK : kith_discard(self, body);
}

/* Stops itself: the message in hand ends all the same, and so does what waits. */
static kith_err take_stop(kith_self *self, struct taker *me, const parcel *msg)
{
    (void)me;
    (void)msg;
    return kith_stop(self, kith_self_ref(self));
}

/* Sends a parcel to a new taker and waits until it has been handled. */
static kith_ref taken(struct env *e, kith_err (*how)(kith_self *, struct taker *, const parcel *),
                      kith_ref to)
{
    kith_ref actor = spawn_taker(e, how, to);
    kith_msg *reply;
    CHECK_EQ(parcel_send(e->self, actor, 1), KITH_OK);
    kith_err err = kith_ask(e->co, actor, PATIENCE, &reply, order);
    CHECK(err == KITH_OK || err == KITH_EDEAD);
    return actor;
}

TEST_ON_WORKERS(after_its_handler)
{
    kith_ref nobody = {0};
    taken(e, take_ignore, nobody);
    CHECK_OPEN(0);
    taken(e, take_fail, nobody);
    CHECK_OPEN(0);
    taken(e, take_stop, nobody);
    CHECK_OPEN(0);
}

TEST_ON_WORKERS(kept_and_discarded)
{
    kith_ref nobody = {0};
    taken(e, take_discard, nobody);
    CHECK_OPEN(0);
    kith_ref keeper = taken(e, take_keep, nobody);
    CHECK_OPEN(1);
    CHECK_EQ(parcel_send(e->self, keeper, 2), KITH_OK);
    stop_and_wait(e, keeper);
    CHECK_OPEN(0);
}

TEST_ON_WORKERS(replied_to)
{
    kith_ref nobody = {0};
    taken(e, take_reply, nobody);
    CHECK(RECEIVE(e, number) != NULL);
    CHECK_OPEN(0);
    taken(e, take_reply_parcel, nobody); /* its kith_ask has put the parcel aside */
    const parcel *p = RECEIVE(e, parcel);
    REQUIRE(p != NULL);
    CHECK_EQ(*p->number, 2);
    CHECK_OPEN(1);
    CHECK(nothing_waits(e)); /* the next receive ends the message */
    CHECK_OPEN(0);
}

TEST_ON_WORKERS(forwarded_or_posted_on)
{
    kith_ref end = kith_spawn(e->self, &doer, NULL);
    taken(e, take_forward, end);
    taken(e, take_post, end);
    settle(e, end);
    CHECK_OPEN(0);
    stop_and_wait(e, end);
    taken(e, take_forward, end);
    CHECK_OPEN(0);
    taken(e, take_post, end);
    CHECK_OPEN(0);
    taken(e, take_forward, made_up()); /* refused: it stays in hand, and ends there */
    CHECK_OPEN(0);
    taken(e, take_post, (kith_ref){0}); /* refused: it stays the actor's */
    CHECK_OPEN(0);
    CHECK_EQ(env_stats(e).dead_letters, 2u);
}

/* ---- nobody takes it ---- */

TEST_ON_WORKERS(sent_to_the_dead)
{
    kith_ref dead = kith_spawn(e->self, &doer, NULL);
    stop_and_wait(e, dead);
    CHECK_EQ(parcel_send(e->self, dead, 1), KITH_EDEAD);
    CHECK_OPEN(0);
    parcel *p = kith_new(e->self, parcel);
    REQUIRE(p != NULL);
    *p = (parcel){parcel_content(2), 2};
    CHECK_EQ(kith_post(e->self, dead, p), KITH_EDEAD);
    CHECK_OPEN(0);
}

static kith_err ignore_all(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    (void)me;
    (void)arg;
    return KITH_OK;
}

static const kith_behavior orders_only = {.name = "orders only",
                                          .state_bytes = sizeof(struct doer),
                                          .handlers = KITH_HANDLERS(doer, order)};

TEST_ON_WORKERS(of_a_type_that_no_handler_takes)
{
    kith_ref actor = kith_spawn(e->self, &orders_only, NULL);
    CHECK_EQ(parcel_send(e->self, actor, 1), KITH_OK);
    CHECK_EQ(do_in(e, actor, ignore_all, NULL), KITH_OK);
    CHECK_OPEN(0);
    kith_msg *reply;
    int *content = parcel_content(4);
    CHECK_EQ(kith_ask(e->co, actor, PATIENCE, &reply, parcel, .number = content, .copy = 4),
             KITH_EUNHANDLED);
    CHECK_OPEN(0);
}

TEST_ON_WORKERS(in_the_mailbox_of_an_actor_that_dies)
{
    struct gate gate = {0};
    kith_ref stopped = kith_spawn(e->self, &doer, NULL);
    kith_ref failed = kith_spawn(e->self, &doer, NULL);
    do_later(e, stopped, do_wait, &gate);
    gate_await(&gate);
    for (int i = 0; i < 300; i++)
        CHECK_EQ(parcel_send(e->self, stopped, i), KITH_OK);
    CHECK_OPEN(300);
    CHECK_EQ(kith_monitor(e->self, stopped), KITH_OK);
    CHECK_EQ(kith_stop(e->self, stopped), KITH_OK);
    kith__store_seq(&gate.open, 1);
    CHECK_EQ(await_down(e, stopped), KITH_OK);
    CHECK_OPEN(0);
    CHECK_EQ(kith_monitor(e->self, failed), KITH_OK);
    do_later(e, failed, fail_now, NULL);
    for (int i = 0; i < 300; i++)
        (void)parcel_send(e->self, failed, i); /* some meet it alive, some dead */
    CHECK_EQ(await_down(e, failed), KITH_EIO);
    CHECK_OPEN(0);
}

TEST_ON_WORKERS(in_the_mailbox_of_a_thread_that_detaches)
{
    kith_ref self = kith_self_ref(e->self);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(parcel_send(e->self, self, i), KITH_OK);
    CHECK(RECEIVE(e, parcel) != NULL); /* one is in hand */
    CHECK_OPEN(5);
    env_detach(e);
    CHECK_OPEN(0);
}

TEST_ON_WORKERS(at_shutdown_in_full_mailboxes)
{
    enum { ACTORS = 20, EACH = 50 };
    static struct gate gate;
    gate = (struct gate){0};
    kith_ref hog = kith_spawn(e->self, &doer, NULL);
    do_later(e, hog, do_wait, &gate);
    gate_await(&gate);
    for (int i = 0; i < ACTORS; i++) {
        kith_ref actor = kith_spawn(e->self, &doer, NULL);
        for (int k = 0; k < EACH; k++)
            CHECK_EQ(parcel_send(e->self, actor, k), KITH_OK);
    }
    for (int k = 0; k < EACH; k++)
        CHECK_EQ(parcel_send(e->self, hog, k), KITH_OK);
    CHECK_EQ(parcel_send(e->self, kith_self_ref(e->self), 1), KITH_OK);
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, KITH_NOWAIT), KITH_ETIMEOUT); /* the hog is there */
    kith__store_seq(&gate.open, 1); /* and env_close goes on with the shutdown */
}

/* ---- questions and answers ---- */

TEST_ON_WORKERS(in_a_refused_question)
{
    kith_ref dead = kith_spawn(e->self, &doer, NULL);
    kith_msg *reply;
    stop_and_wait(e, dead);
    int *content = parcel_content(1);
    CHECK_EQ(kith_ask(e->co, dead, PATIENCE, &reply, parcel, .number = content, .copy = 1),
             KITH_EDEAD);
    CHECK_OPEN(0);
    content = parcel_content(2); /* not sent at all: it stays the caller's */
    CHECK_EQ(kith_ask(e->co, made_up(), PATIENCE, &reply, parcel, .number = content, .copy = 2),
             KITH_EBADREF);
    CHECK_OPEN(1);
    parcel_back(content);
}

static kith_err keep_asker(kith_self *self, struct taker *me, const parcel *msg)
{
    (void)msg;
    CHECK_EQ(kith_discard(self, me->kept), KITH_OK);
    me->to = kith_sender(self);
    me->kept = kith_keep(self);
    return KITH_OK;
}

/* Answers by a parcel when it is stopped. */
static void answer_late(kith_self *self, void *state, kith_err reason)
{
    struct taker *me = state;
    (void)reason;
    CHECK_EQ(parcel_send(self, me->to, 7), KITH_EDEAD);
    CHECK_EQ(kith_discard(self, me->kept), KITH_OK);
}

static const kith_behavior late = {.name = "late",
                                   .state_bytes = sizeof(struct taker),
                                   .init = taker_init,
                                   .stop = answer_late,
                                   .handlers = KITH_HANDLERS(taker, parcel, order)};

TEST_ON_WORKERS(in_a_late_answer)
{
    kith_ref actor = kith_spawn(e->self, &late, &(struct taker_arg){.how = keep_asker});
    int *content = parcel_content(1);
    kith_msg *reply;
    CHECK_EQ(kith_ask(e->co, actor, kith_in(KITH_MS), &reply, parcel, .number = content, .copy = 1),
             KITH_ETIMEOUT);
    CHECK_EQ(kith_ask(e->co, actor, PATIENCE, &reply, order), KITH_OK);
    CHECK_OPEN(1);
    stop_and_wait(e, actor);
    CHECK_OPEN(0);
    CHECK_EQ(env_stats(e).late_replies, 1u);
}

TEST_ON_WORKERS(in_an_answer)
{
    kith_ref actor = spawn_taker(e, take_reply_parcel, (kith_ref){0});
    kith_msg *reply;
    for (int i = 0; i < 3; i++) {
        int *content = parcel_content(i);
        CHECK_EQ(kith_ask(e->co, actor, PATIENCE, &reply, parcel, .number = content, .copy = i),
                 KITH_OK);
        const parcel *p = kith_body(reply, parcel);
        REQUIRE(p != NULL);
        CHECK_EQ(*p->number, i + 1);
        CHECK_OPEN(1); /* the question's is gone, the answer's is in hand */
    }
    parcel *kept = kith_keep(e->self);
    CHECK_EQ(kith_ask(e->co, actor, PATIENCE, &reply, order), KITH_OK);
    CHECK_OPEN(1);
    CHECK_EQ(kith_discard(e->self, kept), KITH_OK);
    CHECK_OPEN(0);
}

KITH_THEN(doer, got)
{
    const parcel *p = kith_body(reply, parcel);
    CHECK(p != NULL);
    if (ctx != NULL)
        me->kept = kith_keep(self);
    return KITH_OK;
}

static kith_err ask_parcel(kith_self *self, struct doer *me, void *arg)
{
    kith_ref *to = arg;
    int *content = parcel_content(3);
    kith_err err = kith_ask_then(self, *to, PATIENCE, doer_then_got, me->arg, parcel,
                                 .number = content, .copy = 3);
    if (err != KITH_OK)
        parcel_back(content);
    return err;
}

static kith_err discard_kept(kith_self *self, struct doer *me, void *arg)
{
    (void)arg;
    return me->kept == NULL ? KITH_EFAILED : kith_discard(self, me->kept);
}

TEST_ON_WORKERS(in_an_answer_to_a_continuation)
{
    static int keeps;
    kith_ref to = spawn_taker(e, take_reply_parcel, (kith_ref){0});
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    kith_ref keeper = kith_spawn(e->self, &doer, &keeps);
    kith_msg *reply;
    CHECK_EQ(do_in(e, asker, ask_parcel, &to), KITH_OK);
    CHECK_EQ(kith_ask(e->co, to, PATIENCE, &reply, order), KITH_OK); /* it has answered */
    settle(e, asker);
    CHECK_OPEN(0);
    CHECK_EQ(do_in(e, keeper, ask_parcel, &to), KITH_OK);
    CHECK_EQ(kith_ask(e->co, to, PATIENCE, &reply, order), KITH_OK);
    settle(e, keeper);
    CHECK_OPEN(1);
    CHECK_EQ(do_in(e, keeper, discard_kept, NULL), KITH_OK);
    CHECK_OPEN(0);
    kith_ref unheard = made_up();
    CHECK_EQ(do_in(e, asker, ask_parcel, &unheard), KITH_EBADREF);
}

/* ---- timers ---- */

static kith_err set_parcel_timer(kith_self *self, struct doer *me, void *arg)
{
    const kith_time *deadline = arg;
    int *content = parcel_content(8);
    me->timer = kith_at(self, *deadline, parcel, .number = content, .copy = 8);
    kith_err err = kith_timer_error(me->timer);
    if (err != KITH_OK)
        parcel_back(content);
    return err;
}

static kith_err cancel_it(kith_self *self, struct doer *me, void *arg)
{
    (void)arg;
    return kith_timer_cancel(self, me->timer);
}

/* Sets one that is due, waits until it must have been sent, cancels it. */
static kith_err cancel_on_its_way(kith_self *self, struct doer *me, void *arg)
{
    kith_time due = kith_now();
    CHECK_EQ(set_parcel_timer(self, me, &due), KITH_OK);
    (void)arg;
    return cancel_it(self, me, NULL);
}

TEST_ON_WORKERS(in_a_timer)
{
    kith_time far = kith_in(KITH_HOUR);
    kith_time near = kith_in(2 * KITH_MS);
    kith_time never = KITH_FOREVER;
    kith_ref a = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, a, set_parcel_timer, &far), KITH_OK);
    CHECK_OPEN(1);
    CHECK_EQ(do_in(e, a, cancel_it, NULL), KITH_OK);
    CHECK_OPEN(0);
    CHECK_EQ(do_in(e, a, cancel_on_its_way, NULL), KITH_OK);
    settle(e, a);
    CHECK_OPEN(0);
    CHECK_EQ(do_in(e, a, set_parcel_timer, &never), KITH_EINVAL);
    CHECK_EQ(do_in(e, a, set_parcel_timer, &near), KITH_OK); /* and handled */
    while (parcels_open() != 0)
        settle(e, a);
    CHECK_EQ(do_in(e, a, set_parcel_timer, &far), KITH_OK);
    stop_and_wait(e, a);
    CHECK_OPEN(0);
    kith_ref left = kith_spawn(e->self, &doer, NULL); /* and one for the shutdown */
    CHECK_EQ(do_in(e, left, set_parcel_timer, &far), KITH_OK);
    int *content = parcel_content(8);
    kith_timer timer = kith_at(e->self, far, parcel, .number = content, .copy = 8);
    CHECK_EQ(kith_timer_error(timer), KITH_OK);
}

/* ---- the thread's own messages ---- */

TEST_ON_WORKERS(received_by_a_thread)
{
    kith_ref self = kith_self_ref(e->self);
    kith_msg *msg;
    CHECK_EQ(parcel_send(e->self, self, 1), KITH_OK);
    CHECK_EQ(parcel_send(e->self, self, 2), KITH_OK);
    CHECK_EQ(kith_receive(e->co, PATIENCE, &msg), KITH_OK);
    CHECK_OPEN(2);
    CHECK_EQ(kith_receive(e->co, PATIENCE, &msg), KITH_OK);
    CHECK_OPEN(1);
    void *kept = kith_keep(e->self);
    CHECK(nothing_waits(e));
    CHECK_OPEN(1);
    CHECK_EQ(kith_post(e->self, self, kept), KITH_OK);
    CHECK_EQ(kith_receive(e->co, PATIENCE, &msg), KITH_OK);
    CHECK_OPEN(1);
    settle(e, kith_spawn(e->self, &doer, NULL)); /* an ask ends it too */
    CHECK_OPEN(0);
}

TEST_ON_WORKERS(made_and_discarded)
{
    parcel *p = kith_new(e->self, parcel);
    REQUIRE(p != NULL);
    *p = (parcel){parcel_content(5), 5};
    CHECK_OPEN(1);
    CHECK_EQ(kith_discard(e->self, p), KITH_OK);
    CHECK_OPEN(0);
}
