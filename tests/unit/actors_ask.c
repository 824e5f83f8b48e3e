/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of kith_ask_then and kith_ask: answers, refusals, deadlines, late answers, deaths.
 *
 * Each test runs with 1, 2 and 4 workers (actors_common.h). An asker in the tests is a doer that is
 * told to ask; its continuation writes what it got to memory of the test's and tells the main thread.
 */
#define LOOP_TOO
#include "tests/unit/actors_common.h"

KITH_MESSAGE(question, { long value; });
KITH_MESSAGE(release, { char none; });
KITH_MESSAGE(unknown, { char none; });

/* Answers a question at once, with the double; or keeps the asker, until it is released. */
struct oracle {
    kith_ref waiting[8];
    int n;
};

KITH_ON(oracle, question)
{
    if (msg->value >= 0)
        kith_reply(self, number, .value = msg->value * 2); /* the asker may have given up */
    else
        me->waiting[me->n++] = kith_sender(self);
    return KITH_OK;
}

KITH_ON(oracle, release)
{
    for (int i = 0; i < me->n; i++)
        kith_send(self, me->waiting[i], number, .value = i);
    me->n = 0;
    return kith_sender(self).bits == 0 ? KITH_OK : kith_reply(self, done);
}

KITH_ON(oracle, tell)
{
    return msg->fn(self, NULL, msg->arg);
}

static const kith_behavior oracle = {.name = "oracle",
                                     .state_bytes = sizeof(struct oracle),
                                     .handlers = KITH_HANDLERS(oracle, question, release, tell)};

static kith_err fail_now(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    (void)arg;
    return kith_fail(self, KITH_EIO);
}

/* ---- the continuation ---- */

struct answer {
    int count;
    kith_err status;
    long value;
    bool has_reply;
    kith_ref sender;
    kith_ref tell;    /* who is told when it has run */
    kith_err returns; /* what the continuation answers */
    kith_ref to;      /* who is asked */
    kith_time deadline;
    long ask;
};

static long value_of(const kith_msg *reply)
{
    const number *n = kith_body(reply, number);
    return n != NULL ? n->value : -1;
}

KITH_THEN(doer, answered)
{
    struct answer *a = ctx;
    a->count++;
    a->status = status;
    a->has_reply = reply != NULL;
    a->value = value_of(reply);
    a->sender = kith_sender(self);
    me->count++;
    kith_err returns = a->returns;
    if (a->tell.bits != 0)
        kith_send(self, a->tell, done, .err = status); /* from here on, a is the test's */
    return returns;
}

static kith_err ask_it(kith_self *self, struct doer *me, void *arg)
{
    struct answer *a = arg;
    (void)me;
    return kith_ask_then(self, a->to, a->deadline, doer_then_answered, a, question,
                         .value = a->ask);
}

static kith_err ask_unknown(kith_self *self, struct doer *me, void *arg)
{
    struct answer *a = arg;
    (void)me;
    return kith_ask_then(self, a->to, a->deadline, doer_then_answered, a, unknown);
}

static struct answer answer_of(struct env *e, kith_ref to, long ask)
{
    return (struct answer){
        .tell = kith_self_ref(e->self), .to = to, .deadline = PATIENCE, .ask = ask};
}

/* The continuation has run. */
static kith_err await_done(struct env *e)
{
    const done *d = RECEIVE(e, done);
    return d != NULL ? d->err : KITH_ETYPE;
}

TEST_ON_WORKERS(a_continuation_gets_the_answer_once)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    struct answer a = answer_of(e, to, 21);
    CHECK_EQ(do_in(e, asker, ask_it, &a), KITH_OK);
    CHECK_EQ(await_done(e), KITH_OK);
    settle(e, asker);
    CHECK_EQ(a.count, 1);
    CHECK(a.has_reply);
    CHECK_EQ(a.value, 42);
    CHECK(kith_ref_same(a.sender, to));
    CHECK_EQ(env_stats(e).late_replies, 0u);
    CHECK_EQ(env_stats(e).timers, 0u); /* its deadline ended with it */
}

TEST_ON_WORKERS(a_question_without_deadline)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    struct answer a = answer_of(e, to, 4);
    a.deadline = KITH_FOREVER;
    CHECK_EQ(do_in(e, asker, ask_it, &a), KITH_OK);
    CHECK_EQ(await_done(e), KITH_OK);
    CHECK_EQ(a.value, 8);
}

TEST_ON_WORKERS(a_deferred_answer_arrives)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    struct answer a[3];
    for (int i = 0; i < 3; i++) {
        a[i] = answer_of(e, to, -1);
        CHECK_EQ(do_in(e, asker, ask_it, &a[i]), KITH_OK);
    }
    CHECK(nothing_waits(e));
    CHECK_EQ(kith_send(e->self, to, release), KITH_OK);
    for (int i = 0; i < 4; i++)
        await_done(e); /* three answers, and the oracle's reply to release */
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(a[i].status, KITH_OK);
        CHECK_EQ(a[i].value, i);
    }
}

TEST_ON_WORKERS(a_deadline_ends_a_question_and_a_late_answer_is_counted)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    struct answer a = answer_of(e, to, -1);
    kith_time deadline = a.deadline = kith_in(2 * KITH_MS);
    CHECK_EQ(do_in(e, asker, ask_it, &a), KITH_OK);
    CHECK_EQ(await_done(e), KITH_ETIMEOUT);
    CHECK_GE(kith_now(), deadline);
    CHECK(!a.has_reply);
    CHECK_EQ(a.sender.bits, 0u);
    kith_msg *reply;
    CHECK_EQ(kith_ask(e->co, to, PATIENCE, &reply, release), KITH_OK); /* answers too late */
    settle(e, asker);
    CHECK_EQ(a.count, 1);
    CHECK_EQ(env_stats(e).late_replies, 1u);
    CHECK_EQ(env_stats(e).dead_letters, 0u);
}

TEST_ON_WORKERS(a_deadline_that_has_passed_is_a_timeout)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    struct answer a = answer_of(e, to, -1);
    a.deadline = KITH_NOWAIT;
    CHECK_EQ(do_in(e, asker, ask_it, &a), KITH_OK);
    CHECK_EQ(await_done(e), KITH_ETIMEOUT);
}

/* The asker hears at once: the deadline is never. */
TEST_ON_WORKERS(a_dead_target_answers_at_once)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    stop_and_wait(e, to);
    struct answer a = answer_of(e, to, 1);
    a.deadline = KITH_FOREVER;
    CHECK_EQ(do_in(e, asker, ask_it, &a), KITH_OK);
    CHECK_EQ(await_done(e), KITH_EDEAD);
    CHECK(!a.has_reply);
    CHECK_EQ(env_stats(e).dead_letters, 1u);
}

TEST_ON_WORKERS(a_target_that_dies_with_the_question_in_its_mailbox_answers_at_once)
{
    static struct gate gate;
    gate = (struct gate){0};
    kith_ref to = kith_spawn(e->self, &doer, NULL);
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    if (e->workers == 1) {
        /* One worker cannot hold one actor and run the other: the mailbox is filled in one turn. */
        struct answer a = answer_of(e, to, 1);
        a.deadline = KITH_FOREVER;
        do_later(e, asker, ask_it, &a);
        CHECK_EQ(kith_monitor(e->self, to), KITH_OK);
        CHECK_EQ(kith_stop(e->self, to), KITH_OK);
        kith_err err = KITH_OK;       /* dead, or asked before: it has no handler for it */
        for (int i = 0; i < 2; i++) { /* the news and the refusal, in any order */
            kith_msg *msg;
            REQUIRE(kith_receive(e->co, PATIENCE, &msg) == KITH_OK);
            if (kith_body(msg, done) != NULL)
                err = kith_body(msg, done)->err;
        }
        CHECK(err == KITH_EDEAD || err == KITH_EUNHANDLED);
        return;
    }
    do_later(e, to, do_wait, &gate);
    gate_await(&gate);
    do_later(e, to, fail_now, NULL);
    struct answer a = answer_of(e, to, 1);
    a.deadline = KITH_FOREVER;
    CHECK_EQ(do_in(e, asker, ask_it, &a), KITH_OK); /* it waits behind the failure */
    kith__store_seq(&gate.open, 1);
    CHECK_EQ(await_done(e), KITH_EDEAD);
    CHECK_EQ(a.count, 1);
}

TEST_ON_WORKERS(a_message_without_handler_answers_at_once)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    struct answer a = answer_of(e, to, 1);
    a.deadline = KITH_FOREVER;
    CHECK_EQ(do_in(e, asker, ask_unknown, &a), KITH_OK);
    CHECK_EQ(await_done(e), KITH_EUNHANDLED);
    CHECK(!a.has_reply);
    CHECK_EQ(env_stats(e).dead_letters, 1u);
}

static kith_err forward_to_dead(kith_self *self, struct doer *me, void *arg)
{
    kith_ref *dead = arg;
    (void)me;
    CHECK_EQ(kith_forward(self, *dead), KITH_EDEAD);
    CHECK(kith_keep(self) == NULL); /* the dead letters have it */
    return KITH_OK;
}

TEST_ON_WORKERS(a_question_forwarded_to_the_dead_is_refused)
{
    kith_ref dead = kith_spawn(e->self, &doer, NULL);
    kith_ref to = kith_spawn(e->self, &doer, NULL);
    stop_and_wait(e, dead);
    CHECK_EQ(do_in(e, to, forward_to_dead, &dead), KITH_EDEAD);
    CHECK_EQ(env_stats(e).late_replies, 0u);
}

/* ---- the asker ---- */

TEST_ON_WORKERS(a_continuation_that_fails_fails_the_asker)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    struct answer a = answer_of(e, to, 1);
    a.returns = KITH_EPIPE;
    a.tell = (kith_ref){0};
    CHECK_EQ(kith_monitor(e->self, asker), KITH_OK);
    CHECK_EQ(do_in(e, asker, ask_it, &a), KITH_OK);
    CHECK_EQ(await_down(e, asker), KITH_EPIPE);
}

TEST_ON_WORKERS(an_asker_that_dies_hears_nothing)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    struct answer a = answer_of(e, to, -1);
    CHECK_EQ(do_in(e, asker, ask_it, &a), KITH_OK);
    CHECK_EQ(env_stats(e).timers, 1u);
    stop_and_wait(e, asker);
    CHECK_EQ(env_stats(e).timers, 0u);
    kith_msg *reply;
    CHECK_EQ(kith_ask(e->co, to, PATIENCE, &reply, release), KITH_OK);
    CHECK_EQ(a.count, 0);
    CHECK_EQ(env_stats(e).late_replies, 1u);
    CHECK_EQ(env_stats(e).dead_letters, 0u);
}

static kith_err ask_then_stop(kith_self *self, struct doer *me, void *arg)
{
    CHECK_EQ(ask_it(self, me, arg), KITH_OK);
    return kith_stop(self, kith_self_ref(self));
}

TEST_ON_WORKERS(an_asker_that_stops_at_once_hears_nothing)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    struct answer a = answer_of(e, to, 5);
    CHECK_EQ(do_in(e, asker, ask_then_stop, &a), KITH_OK);
    CHECK_EQ(kith_monitor(e->self, asker), KITH_OK);
    CHECK(RECEIVE(e, kith_down) != NULL);
    stop_and_wait(e, to);
    CHECK_EQ(a.count, 0);
}

static kith_err ask_oneself(kith_self *self, struct doer *me, void *arg)
{
    struct answer *a = arg;
    a->to = kith_self_ref(self);
    return ask_unknown(self, me, arg);
}

TEST_ON_WORKERS(an_actor_may_ask_itself)
{
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    struct answer a = answer_of(e, asker, 5);
    CHECK_EQ(do_in(e, asker, ask_oneself, &a), KITH_OK);
    CHECK_EQ(await_done(e), KITH_EUNHANDLED);
}

/* The second answer to one question is late. */
static kith_err answer_twice(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    (void)arg;
    kith_ref asker = kith_sender(self);
    CHECK_EQ(kith_ref_error(asker), KITH_OK);
    CHECK_EQ(kith_send(self, asker, done, .err = KITH_EBUSY), KITH_OK);
    return KITH_OK; /* and the doer answers again */
}

TEST_ON_WORKERS(a_second_answer_is_late)
{
    kith_ref to = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, to, answer_twice, NULL), KITH_EBUSY);
    settle(e, to);
    CHECK(nothing_waits(e));
    CHECK_EQ(env_stats(e).late_replies, 1u);
}

/* ---- bad input ---- */

static kith_err bad_asks(kith_self *self, struct doer *me, void *arg)
{
    struct answer *a = arg;
    (void)me;
    kith_time d = PATIENCE;
    kith_type over = {"over", KITH_MESSAGE_BYTES_MAX + 1, NULL};
    question q = {1};
    kith_then_fn *then = doer_then_answered;
    CHECK_EQ(kith_ask_then(NULL, a->to, d, then, a, question), KITH_EPERM);
    CHECK_EQ(kith_ask_then(self, a->to, d, NULL, a, question), KITH_EINVAL);
    CHECK_EQ(kith_ask_then_copy(self, a->to, d, then, a, NULL, &q), KITH_EINVAL);
    CHECK_EQ(kith_ask_then_copy(self, a->to, d, then, a, &kith_type_question, NULL), KITH_EINVAL);
    CHECK_EQ(kith_ask_then_copy(self, a->to, d, then, a, &over, &q), KITH_EMSGSIZE);
    CHECK_EQ(kith_ask_then(self, (kith_ref){0}, d, then, a, question), KITH_EBADREF);
    CHECK_EQ(kith_ask_then(self, made_up(), d, then, a, question), KITH_EBADREF);
    kith_timer timer = kith_at(self, kith_in(KITH_HOUR), question);
    CHECK_EQ(kith_ask_then(self, (kith_ref){timer.bits}, d, then, a, question), KITH_EBADREF);
    CHECK_EQ(kith_timer_cancel(self, timer), KITH_OK);
    return KITH_OK;
}

TEST_ON_WORKERS(ask_then_refuses_nonsense)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    struct answer a = answer_of(e, to, 1);
    CHECK_EQ(do_in(e, asker, bad_asks, &a), KITH_OK);
    settle(e, asker);
    CHECK_EQ(a.count, 0);
    CHECK_EQ(env_stats(e).timers, 0u); /* their deadlines too */
    kith_err err =
        kith_ask_then(e->self, to, PATIENCE, doer_then_answered, &a, question); /* a thread */
    CHECK_EQ(err, KITH_EPERM);
}

TEST_ON_WORKERS(ask_refuses_nonsense)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_type over = {"over", KITH_MESSAGE_BYTES_MAX + 1, NULL};
    question q = {1};
    kith_msg *reply = (kith_msg *)&q;
    CHECK_EQ(kith_ask(e->co, to, PATIENCE, NULL, question), KITH_EINVAL);
    CHECK_EQ(kith_ask_copy(e->co, to, PATIENCE, &reply, NULL, &q), KITH_EINVAL);
    CHECK_EQ(kith_ask_copy(e->co, to, PATIENCE, &reply, &kith_type_question, NULL), KITH_EINVAL);
    CHECK_EQ(kith_ask(NULL, to, PATIENCE, &reply, question), KITH_EPERM);
    CHECK(reply == NULL);
    CHECK_EQ(kith_ask_copy(e->co, to, PATIENCE, &reply, &over, &q), KITH_EMSGSIZE);
    CHECK_EQ(kith_ask(e->co, (kith_ref){0}, PATIENCE, &reply, question), KITH_EBADREF);
    CHECK_EQ(kith_ask(e->co, made_up(), PATIENCE, &reply, question), KITH_EBADREF);
    CHECK(reply == NULL);
    CHECK_EQ(kith_ask(e->co, to, PATIENCE, &reply, question, .value = 2), KITH_OK);
}

TEST_ON_WORKERS(ask_sets_the_reply_to_null_when_it_is_refused)
{
    question q = {1};
    kith_msg *reply = (kith_msg *)&q;
    CHECK_EQ(kith_ask_copy(e->co, (kith_ref){0}, PATIENCE, &reply, NULL, &q), KITH_EINVAL);
    CHECK(reply == NULL);
}

/* ---- the blocking form ---- */

TEST_ON_WORKERS(a_thread_asks_and_waits)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    for (long i = 0; i < 200; i++) {
        kith_msg *reply;
        CHECK_EQ(kith_ask(e->co, to, PATIENCE, &reply, question, .value = i), KITH_OK);
        const number *n = kith_body(reply, number);
        REQUIRE(n != NULL);
        CHECK_EQ(n->value, 2 * i);
        CHECK(kith_ref_same(kith_msg_sender(reply), to));
    }
    kith_msg *reply;
    CHECK_EQ(kith_ask(e->co, to, KITH_FOREVER, &reply, question, .value = 1), KITH_OK);
    number *kept = kith_keep(e->self);
    REQUIRE(kept != NULL);
    CHECK_EQ(kept->value, 2);
    CHECK_EQ(kith_discard(e->self, kept), KITH_OK);
}

TEST_ON_WORKERS(a_waiting_thread_hears_the_deadline_and_drops_the_late_answer)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_msg *reply;
    kith_time deadline = kith_in(2 * KITH_MS);
    CHECK_EQ(kith_ask(e->co, to, deadline, &reply, question, .value = -1), KITH_ETIMEOUT);
    CHECK_GE(kith_now(), deadline);
    CHECK(reply == NULL);
    CHECK_EQ(kith_ask(e->co, to, KITH_NOWAIT, &reply, question, .value = -1), KITH_ETIMEOUT);
    CHECK_EQ(kith_ask(e->co, to, PATIENCE, &reply, release), KITH_OK);
    CHECK(nothing_waits(e));
    CHECK_EQ(env_stats(e).late_replies, 2u);
}

/* The answer is on its way to the thread when the deadline passes. */
TEST_ON_WORKERS(an_answer_that_waits_in_the_mailbox_is_late_too)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_msg *reply;
    for (int i = 0; i < 200; i++) {
        kith_err err = kith_ask(e->co, to, KITH_NOWAIT, &reply, question, .value = i);
        CHECK(err == KITH_OK || err == KITH_ETIMEOUT);
        CHECK((err == KITH_OK) == (reply != NULL));
        if (err == KITH_OK)
            CHECK_EQ(value_of(reply), 2L * i);
    }
    CHECK_EQ(kith_ask(e->co, to, PATIENCE, &reply, question, .value = 7), KITH_OK);
    CHECK_EQ(value_of(reply), 14);
    CHECK(nothing_waits(e));
}

TEST_ON_WORKERS(a_waiting_thread_hears_of_a_dead_target)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_msg *reply;
    CHECK_EQ(kith_ask(e->co, to, KITH_FOREVER, &reply, unknown), KITH_EUNHANDLED);
    CHECK(reply == NULL);
    do_later(e, to, fail_now, NULL);
    CHECK_EQ(kith_ask(e->co, to, KITH_FOREVER, &reply, question), KITH_EDEAD); /* in its mailbox */
    CHECK(reply == NULL);
    CHECK_EQ(kith_ask(e->co, to, KITH_FOREVER, &reply, question), KITH_EDEAD);
    CHECK_EQ(env_stats(e).dead_letters, 3u);
}

static kith_err send_numbers_then_answer(kith_self *self, struct doer *me, void *arg)
{
    kith_ref *to = arg;
    (void)me;
    for (long i = 0; i < 20; i++)
        if (kith_send(self, *to, number, .value = i) != KITH_OK)
            return KITH_EFAILED;
    return KITH_OK;
}

TEST_ON_WORKERS(messages_that_come_while_asking_wait_in_order)
{
    kith_ref self = kith_self_ref(e->self);
    kith_ref to = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_send(e->self, self, number, .value = -2), KITH_OK);
    CHECK_EQ(kith_send(e->self, self, number, .value = -1), KITH_OK);
    CHECK_EQ(do_in(e, to, send_numbers_then_answer, &self), KITH_OK);
    CHECK_EQ(do_in(e, to, do_nothing, NULL), KITH_OK); /* and once more past them */
    for (long i = -2; i < 20; i++) {
        const number *n = RECEIVE(e, number);
        REQUIRE(n != NULL);
        CHECK_EQ(n->value, i);
    }
    CHECK(nothing_waits(e));
}

TEST_ON_WORKERS(the_body_of_a_question_may_lie_in_the_message_in_hand)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_msg *reply;
    CHECK_EQ(kith_send(e->self, kith_self_ref(e->self), question, .value = 8), KITH_OK);
    const question *q = RECEIVE(e, question);
    REQUIRE(q != NULL);
    CHECK_EQ(kith_ask_copy(e->co, to, PATIENCE, &reply, &kith_type_question, q), KITH_OK);
    CHECK_EQ(value_of(reply), 16);
}

/* ---- references to questions ---- */

static kith_err lend_question(kith_self *self, struct doer *me, void *arg)
{
    kith_ref *out = arg;
    *out = me->ref = kith_sender(self);
    me->kept = kith_keep(self);
    return KITH_OK;
}

static kith_err misuse_question(kith_self *self, struct doer *me, void *arg)
{
    kith_ref *q = arg;
    CHECK_EQ(kith_ref_error(*q), KITH_OK);
    CHECK_EQ(kith_stop(self, *q), KITH_EBADREF);
    CHECK_EQ(kith_monitor(self, *q), KITH_EBADREF);
    CHECK_EQ(kith_demonitor(self, *q), KITH_EBADREF);
    kith_spawn_options options = {.parent = *q};
    CHECK_EQ(kith_ref_error(kith_spawn_with(self, &doer, NULL, &options)), KITH_EBADREF);
    CHECK_EQ(kith_timer_cancel(self, (kith_timer){q->bits}), KITH_EBADREF);
    CHECK_EQ(kith_discard(self, me->kept), KITH_OK);
    me->kept = NULL;
    return kith_send(self, *q, done);
}

static kith_ref question_ref;

static kith_err ask_lender(kith_self *self, struct doer *me, void *arg)
{
    struct answer *a = arg;
    (void)me;
    return kith_ask_then(self, a->to, a->deadline, doer_then_answered, a, order,
                         .fn = lend_question, .arg = &question_ref);
}

TEST_ON_WORKERS(a_question_is_no_actor)
{
    kith_ref to = kith_spawn(e->self, &doer, NULL);
    kith_ref asker = kith_spawn(e->self, &doer, NULL);
    struct answer a = answer_of(e, to, 0);
    CHECK_EQ(do_in(e, asker, ask_lender, &a), KITH_OK);
    settle(e, to); /* it has the question by now, and keeps it */
    CHECK_EQ(do_in(e, to, misuse_question, &question_ref), KITH_OK);
    CHECK_EQ(await_done(e), KITH_OK); /* answered after all */
    CHECK_EQ(kith_send(e->self, question_ref, done), KITH_EDEAD);
    CHECK_EQ(kith_send(e->self, (kith_ref){question_ref.bits + 1}, done), KITH_EBADREF);
    CHECK_EQ(a.count, 1);
    CHECK_EQ(env_stats(e).late_replies, 1u);
}

/* ---- many at once ---- */

#define ASKERS 20
#define ROUNDS 100

static kith_err ask_on(kith_self *self, void *state, void *ctx, kith_err status,
                       const kith_msg *reply)
{
    struct doer *me = state;
    const struct answer *a = ctx;
    const number *n = kith_body(reply, number);
    if (status != KITH_OK || n == NULL || n->value != 2L * me->count)
        return KITH_EFAILED;
    if (++me->count == ROUNDS)
        return kith_send(self, a->tell, done, .err = KITH_OK);
    return kith_ask_then(self, a->to, a->deadline, ask_on, ctx, question, .value = me->count);
}

static kith_err ask_first(kith_self *self, struct doer *me, void *arg)
{
    struct answer *a = arg;
    (void)me;
    return kith_ask_then(self, a->to, a->deadline, ask_on, a, question, .value = 0);
}

TEST_ON_WORKERS(many_askers_get_their_own_answers)
{
    struct answer a = answer_of(e, kith_spawn(e->self, &oracle, NULL), 0);
    for (int i = 0; i < ASKERS; i++) {
        kith_ref asker = kith_spawn(e->self, &doer, NULL);
        CHECK_EQ(kith_monitor(e->self, asker), KITH_OK);
        do_later(e, asker, ask_first, &a);
    }
    for (int i = 0; i < ASKERS; i++)
        CHECK_EQ(await_done(e), KITH_OK); /* a kith_down instead is a wrong answer */
    CHECK_EQ(env_stats(e).late_replies, 0u);
    CHECK_EQ(env_stats(e).timers, 0u);
}
