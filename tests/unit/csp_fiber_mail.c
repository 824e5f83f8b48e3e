/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A fiber's mail: from whom it comes, selective receive, deadlines, questions and their answers.
 *
 * Invariants, after each test: as in actors_common.h.
 * Threads: the main thread, fibers and actors on all workers send to each other.
 */
#include "tests/unit/actors_common.h"

KITH_MESSAGE(word, {
    kith_ref from;
    long value;
});

static kith_err run(struct env *e, kith_fiber_fn *fn, void *arg)
{
    kith_scope *scope = kith_scope_new(e->co);
    CHECK_EQ(kith_ref_error(kith_scope_go(e->self, scope, fn, arg)), KITH_OK);
    return kith_scope_leave(e->co, scope);
}

static long value_of(const kith_msg *msg)
{
    const word *body = kith_body(msg, word);
    const number *other = kith_body(msg, number);
    return body != NULL ? body->value : other != NULL ? other->value : -1;
}

/* ---- mail from everybody ---- */

enum { EACH = 500 };

/* Expects EACH words, in order, of each of arg's senders, and answers each. */
static void sort_mail(kith_self *self, kith_co *co, void *arg)
{
    long senders = (long)(intptr_t)arg;
    long next[8] = {0};
    for (long i = 0; i < senders * EACH; i++) {
        kith_msg *msg;
        REQUIRE(kith_receive(co, PATIENCE, &msg) == KITH_OK);
        const word *body = kith_body(msg, word);
        REQUIRE(body != NULL);
        long sender = body->value / EACH;
        CHECK_EQ(kith_sender(self).bits, body->from.bits);
        CHECK_EQ(body->value % EACH, next[sender]++);
        CHECK_EQ(kith_reply(self, number, .value = body->value), KITH_OK);
    }
}

struct sending {
    kith_ref to;
    long first;
};

static void send_words(kith_self *self, const struct sending *s)
{
    for (long i = 0; i < EACH; i++)
        CHECK_EQ(kith_send(self, s->to, word, .from = kith_self_ref(self), .value = s->first + i),
                 KITH_OK);
}

static void send_as_fiber(kith_self *self, kith_co *co, void *arg)
{
    const struct sending *s = arg;
    kith_msg *msg;
    send_words(self, s);
    for (long i = 0; i < EACH; i++) {
        REQUIRE(kith_receive_only(co, number, PATIENCE, &msg) == KITH_OK);
        CHECK_EQ(value_of(msg), s->first + i);
    }
}

static kith_err send_as_actor(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    send_words(self, arg);
    return KITH_OK;
}

static const kith_behavior sender = {
    .name = "sender",
    .state_bytes = sizeof(struct doer),
    .handlers = KITH_HANDLERS(doer, order, tell, parcel),
};

TEST_ON_WORKERS(mail_comes_from_fibers_actors_and_threads)
{
    kith_scope *scope = kith_scope_new(e->co);
    kith_ref to = kith_scope_go(e->self, scope, sort_mail, (void *)(intptr_t)4);
    struct sending from[4];
    for (int i = 0; i < 4; i++)
        from[i] = (struct sending){to, (long)i * EACH};
    kith_scope_go(e->self, scope, send_as_fiber, &from[0]);
    kith_scope_go(e->self, scope, send_as_fiber, &from[1]);
    do_later(e, kith_spawn(e->self, &sender, NULL), send_as_actor, &from[2]);
    send_words(e->self, &from[3]);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    for (long i = 0; i < EACH; i++)
        CHECK_EQ(RECEIVE(e, number)->value, 3L * EACH + i);
}

/* ---- selective receive ---- */

struct wanted {
    long value;
    int calls;
    long last_shown;
    bool in_order;
};

static bool is_wanted(const kith_msg *msg, void *arg)
{
    struct wanted *w = arg;
    w->calls++;
    w->in_order = w->in_order && value_of(msg) > w->last_shown;
    w->last_shown = value_of(msg);
    return value_of(msg) == w->value;
}

static kith_err take(kith_co *co, long value, kith_time deadline, int calls)
{
    struct wanted w = {.value = value, .last_shown = -1, .in_order = true};
    kith_msg *msg;
    kith_err err = kith_receive_if(co, deadline, is_wanted, &w, &msg);
    CHECK_EQ(msg != NULL, err == KITH_OK);
    if (err == KITH_OK)
        CHECK_EQ(value_of(msg), value);
    CHECK_EQ(w.calls, calls);
    CHECK(w.in_order);
    return err;
}

static void send_self(kith_self *self, long first, long last)
{
    for (long i = first; i <= last; i++)
        CHECK_EQ(kith_send(self, kith_self_ref(self), number, .value = i), KITH_OK);
}

static void select_mail(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)arg;
    send_self(self, 0, 9);
    CHECK_EQ(take(co, 4, KITH_NOWAIT, 5), KITH_OK); /* from the middle */
    CHECK_EQ(take(co, 0, KITH_NOWAIT, 1), KITH_OK); /* the first */
    CHECK_EQ(take(co, 9, KITH_NOWAIT, 8), KITH_OK); /* the last */
    CHECK_EQ(take(co, 99, KITH_NOWAIT, 7), KITH_ETIMEOUT);
    CHECK_EQ(take(co, 99, kith_in(KITH_MS), 7), KITH_ETIMEOUT);
    send_self(self, 10, 12);
    CHECK_EQ(take(co, 12, KITH_FOREVER, 10), KITH_OK); /* behind those that were refused */
    static const long rest[] = {1, 2, 3, 5, 6, 7, 8, 10, 11};
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        CHECK_EQ(kith_receive(co, KITH_NOWAIT, &msg), KITH_OK);
        CHECK_EQ(value_of(msg), rest[i]);
    }
    CHECK_EQ(kith_receive(co, KITH_NOWAIT, &msg), KITH_ETIMEOUT);
    send_self(self, 1, 1);
    CHECK_EQ(take(co, 1, KITH_NOWAIT, 1), KITH_OK); /* the only one */
    send_self(self, 2, 3);
    CHECK_EQ(take(co, 3, KITH_NOWAIT, 2), KITH_OK);
    send_self(self, 4, 4); /* the list's end is right after its last was taken */
    CHECK_EQ(take(co, 4, KITH_NOWAIT, 2), KITH_OK);
    CHECK_EQ(take(co, 2, KITH_NOWAIT, 1), KITH_OK);
}

TEST_ON_WORKERS(selective_receive_keeps_the_rest_in_order)
{
    CHECK_EQ(run(e, select_mail, NULL), KITH_OK);
    select_mail(e->self, e->co, NULL); /* a thread does the same */
}

static void wait_for_last(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)self;
    (void)arg;
    /* They come one by one, while it waits: each is shown once, 1001 in all. */
    CHECK_EQ(take(co, 1000, PATIENCE, 1001), KITH_OK);
    for (long i = 0; i < 1000; i++) {
        CHECK_EQ(kith_receive(co, KITH_NOWAIT, &msg), KITH_OK);
        CHECK_EQ(value_of(msg), i);
    }
}

TEST_ON_WORKERS(what_was_refused_is_not_shown_again)
{
    kith_scope *scope = kith_scope_new(e->co);
    kith_ref ref = kith_scope_go(e->self, scope, wait_for_last, NULL);
    for (long i = 0; i <= 1000; i++) {
        CHECK_EQ(kith_send(e->self, ref, number, .value = i), KITH_OK);
        if (i % 10 == 0)
            sched_yield();
    }
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
}

static void receive_types(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)arg;
    CHECK_EQ(kith_send(self, kith_self_ref(self), number, .value = 1), KITH_OK);
    CHECK_EQ(kith_send(self, kith_self_ref(self), word, .value = 2), KITH_OK);
    CHECK_EQ(parcel_send(self, kith_self_ref(self), 3), KITH_OK);
    CHECK_EQ(kith_receive_only(co, parcel, KITH_FOREVER, &msg), KITH_OK);
    CHECK(kith_body(msg, parcel) != NULL);
    CHECK_EQ(kith_receive_only(co, word, KITH_FOREVER, &msg), KITH_OK);
    CHECK_EQ(parcels_open(), 0u); /* what was given out ends with the next receive */
    CHECK_EQ(value_of(msg), 2);
    CHECK_EQ(kith_receive_only(co, word, KITH_NOWAIT, &msg), KITH_ETIMEOUT);
    CHECK_EQ(kith_receive_only(co, number, KITH_FOREVER, &msg), KITH_OK);
    CHECK_EQ(kith_receive_type(co, KITH_FOREVER, NULL, &msg), KITH_EINVAL);
    CHECK_EQ(kith_receive_if(co, KITH_FOREVER, NULL, NULL, &msg), KITH_EINVAL);
}

TEST_ON_WORKERS(a_type_can_be_waited_for)
{
    CHECK_EQ(run(e, receive_types, NULL), KITH_OK);
}

/* ---- deadlines ---- */

static void meet_deadlines(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)arg;
    for (int i = 0; i < 20; i++) {
        kith_time deadline = kith_in((kith_time)(i % 5) * 300 * KITH_US);
        CHECK_EQ(kith_receive(co, deadline, &msg), KITH_ETIMEOUT);
        CHECK(msg == NULL);
        CHECK_GE(kith_now(), deadline);
        deadline = kith_in((kith_time)(i % 3) * 100 * KITH_US);
        CHECK_EQ(kith_sleep(co, deadline), KITH_OK);
        CHECK_GE(kith_now(), deadline);
    }
    /* A long deadline, then a shorter one, then the long one again: one timer serves them all. */
    kith_time long_one = kith_in(20 * KITH_MS);
    CHECK_EQ(kith_receive(co, kith_in(KITH_MS), &msg), KITH_ETIMEOUT);
    kith_send(self, kith_self_ref(self), number, .value = 1);
    CHECK_EQ(kith_receive(co, long_one, &msg), KITH_OK);
    CHECK_EQ(kith_receive(co, kith_in(KITH_MS), &msg), KITH_ETIMEOUT);
    CHECK_EQ(kith_receive(co, long_one, &msg), KITH_ETIMEOUT);
    CHECK_GE(kith_now(), long_one);
    CHECK_EQ(kith_sleep(co, KITH_FOREVER), KITH_EINVAL);
    CHECK_EQ(kith_sleep(co, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(kith_sleep(co, kith_now() - KITH_SECOND), KITH_OK); /* in the past */
}

TEST_ON_WORKERS(deadlines_pass_and_not_early)
{
    kith_scope *scope = kith_scope_new(e->co);
    for (int i = 0; i < 5; i++)
        kith_scope_go(e->self, scope, meet_deadlines, NULL);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
}

static void set_timers(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)arg;
    CHECK_EQ(kith_timer_error(kith_at(self, kith_in(KITH_MS), number, .value = 7)), KITH_OK);
    CHECK_EQ(kith_receive(co, PATIENCE, &msg), KITH_OK);
    CHECK_EQ(value_of(msg), 7);
    kith_timer canceled = kith_at(self, kith_in(KITH_MS), number, .value = 8);
    CHECK_EQ(kith_timer_cancel(self, canceled), KITH_OK);
    kith_timer tick = kith_every(self, 200 * KITH_US, number, .value = 9);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(kith_receive(co, PATIENCE, &msg), KITH_OK);
        CHECK_EQ(value_of(msg), 9);
    }
    CHECK_EQ(kith_timer_cancel(self, tick), KITH_OK);
    CHECK_EQ(kith_receive(co, kith_in(KITH_MS), &msg), KITH_ETIMEOUT);
    kith_every(self, 200 * KITH_US, number, .value = 9); /* ends with the fiber */
}

TEST_ON_WORKERS(timers_reach_fibers)
{
    CHECK_EQ(run(e, set_timers, NULL), KITH_OK);
}

/* ---- questions ---- */

/* Answers numbers with their double, those below 0 late. */
static void answer(kith_self *self, kith_co *co, void *arg)
{
    KITH__ATOMIC(int) *answered = arg;
    kith_msg *msg;
    while (kith_receive(co, KITH_FOREVER, &msg) == KITH_OK) {
        long value = value_of(msg);
        if (value < 0) /* others run meanwhile, with messages of theirs */
            CHECK_EQ(kith_sleep(co, kith_in(3 * KITH_MS)), KITH_OK);
        CHECK_EQ(kith_reply(self, number, .value = 2 * value), KITH_OK);
        kith__add_seq(answered, 1);
    }
}

static void ask_all_kinds(kith_self *self, kith_co *co, void *arg)
{
    kith_ref to = *(kith_ref *)arg;
    kith_msg *msg;
    CHECK_EQ(kith_send(self, kith_self_ref(self), number, .value = 77), KITH_OK);
    for (long i = 1; i <= 100; i++) {
        CHECK_EQ(kith_ask(co, to, PATIENCE, &msg, number, .value = i), KITH_OK);
        CHECK_EQ(value_of(msg), 2 * i);
    }
    CHECK_EQ(kith_ask(co, to, kith_in(100), &msg, number, .value = -5), KITH_ETIMEOUT);
    CHECK(msg == NULL);
    /* The late answer to that is not taken for the answer to this. */
    CHECK_EQ(kith_ask(co, to, PATIENCE, &msg, number, .value = 6), KITH_OK);
    CHECK_EQ(value_of(msg), 12);
    CHECK_EQ(kith_ask(co, made_up(), PATIENCE, &msg, number, .value = 1), KITH_EBADREF);
    CHECK_EQ(kith_receive(co, KITH_NOWAIT, &msg), KITH_OK); /* it has waited all the time */
    CHECK_EQ(value_of(msg), 77);
    CHECK_EQ(kith_receive(co, KITH_NOWAIT, &msg), KITH_ETIMEOUT);
}

TEST_ON_WORKERS(fibers_ask_and_answer)
{
    KITH__ATOMIC(int) answered = 0;
    uint64_t late = env_stats(e).late_replies;
    kith_ref to = kith_go(e->self, answer, &answered);
    kith_scope *scope = kith_scope_new(e->co);
    for (int i = 0; i < 3; i++)
        kith_scope_go(e->self, scope, ask_all_kinds, &to);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    stop_and_wait(e, to);
    CHECK_EQ(kith__load_seq(&answered), 3L * 102);
    CHECK_EQ(env_stats(e).late_replies - late, 3u);
}

/* The question stays in the mailbox, or comes when nobody is there any more. */
static void leave_unanswered(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    (void)arg;
    CHECK_EQ(kith_sleep(co, kith_in(KITH_MS)), KITH_OK);
}

static void ask_the_dying(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)arg;
    kith_ref to = kith_go(self, leave_unanswered, NULL);
    CHECK_EQ(kith_ask(co, to, KITH_FOREVER, &msg, number, .value = 1), KITH_EDEAD);
    CHECK(msg == NULL);
    CHECK_EQ(kith_monitor(self, to), KITH_OK);
    CHECK_EQ(kith_receive_only(co, kith_down, PATIENCE, &msg), KITH_OK);
    CHECK_EQ(kith_ask(co, to, PATIENCE, &msg, number, .value = 1), KITH_EDEAD);
    CHECK(msg == NULL);
}

TEST_ON_WORKERS(who_asks_the_dying_hears_it)
{
    CHECK_EQ(run(e, ask_the_dying, NULL), KITH_OK);
}

/* ---- monitors ---- */

static void fail_soon(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)arg;
    CHECK_EQ(kith_receive(co, PATIENCE, &msg), KITH_OK);
    kith_fail(self, KITH_EIO);
}

static void watch(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)arg;
    kith_ref fiber = kith_go(self, fail_soon, NULL);
    kith_ref actor = kith_spawn(self, &doer, NULL);
    CHECK_EQ(kith_monitor(self, fiber), KITH_OK);
    CHECK_EQ(kith_monitor(self, actor), KITH_OK);
    CHECK_EQ(kith_send(self, fiber, number, .value = 1), KITH_OK);
    CHECK_EQ(kith_stop(self, actor), KITH_OK);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(kith_receive_only(co, kith_down, PATIENCE, &msg), KITH_OK);
        const kith_down *down = kith_body(msg, kith_down);
        REQUIRE(down != NULL);
        CHECK(down->ref.bits == fiber.bits || down->ref.bits == actor.bits);
        CHECK_EQ(down->reason, down->ref.bits == fiber.bits ? KITH_EIO : KITH_OK);
    }
}

TEST_ON_WORKERS(fibers_watch_and_are_watched)
{
    CHECK_EQ(run(e, watch, NULL), KITH_OK);
}
