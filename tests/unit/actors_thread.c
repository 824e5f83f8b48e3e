/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of attached threads: kith_attach, kith_detach, kith_receive, kith_sleep, kith_co_self,
 * kith_self_runtime, kith_random. (kith_ask: actors_ask.c; a thread's timers: actors_timer.c.)
 *
 * Each test runs with 1, 2 and 4 workers (actors_common.h).
 */
#define LOOP_TOO
#include "tests/unit/actors_common.h"

/* ---- attach and detach ---- */

TEST_ON_WORKERS(attach_refuses_nonsense)
{
    kith_self *self = NULL;
    kith_co *co = NULL;
    CHECK_EQ(kith_attach(e->rt, &self, &co), KITH_EPERM); /* attached already */
    CHECK_EQ(kith_attach(NULL, &self, &co), KITH_EINVAL);
    CHECK_EQ(kith_attach(e->rt, NULL, &co), KITH_EINVAL);
    CHECK(self == NULL && co == NULL);
    CHECK_EQ(kith_detach(NULL), KITH_EPERM);
    kith_self *mine = e->self;
    env_detach(e);
    CHECK_EQ(kith_detach(mine), KITH_EPERM);
    CHECK_EQ(kith_attach(e->rt, &e->self, NULL), KITH_OK); /* a co is not always needed */
    CHECK_EQ(kith_send(e->self, kith_self_ref(e->self), number), KITH_OK);
}

TEST_ON_WORKERS(a_co_has_a_self_and_a_runtime)
{
    CHECK(kith_co_self(e->co) == e->self);
    CHECK(kith_co_self(NULL) == NULL);
    CHECK(kith_self_runtime(e->self) == e->rt);
    CHECK(kith_self_runtime(NULL) == NULL);
    CHECK_EQ(kith_ref_error(kith_self_ref(e->self)), KITH_OK);
    CHECK_EQ(kith_self_ref(NULL).bits, 0u);
    CHECK_EQ(kith_random(NULL), 0u);
    uint64_t seen = 0;
    for (int i = 0; i < 64; i++)
        seen |= kith_random(e->self);
    CHECK_EQ(seen >> 32 != 0, true);
}

TEST_ON_WORKERS(a_reference_of_a_detached_thread_is_dead)
{
    kith_ref before = kith_self_ref(e->self);
    CHECK_EQ(kith_stop(e->self, before), KITH_OK); /* a thread does not die of it */
    CHECK(nothing_waits(e));
    env_detach(e);
    CHECK_EQ(kith_attach(e->rt, &e->self, &e->co), KITH_OK);
    CHECK(!kith_ref_same(before, kith_self_ref(e->self)));
    CHECK_EQ(kith_send(e->self, before, number), KITH_EDEAD);
    CHECK(nothing_waits(e));
}

static kith_err attach_here(kith_self *self, struct doer *me, void *arg)
{
    kith_runtime *rt = arg;
    kith_self *other;
    (void)me;
    (void)self;
    return kith_attach(rt, &other, NULL);
}

TEST_ON_WORKERS(a_worker_does_not_attach)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, actor, attach_here, e->rt), KITH_EPERM);
}

/* ---- the wrong thread ---- */

struct foreign {
    struct env *e;
    bool attach; /* as a thread of its own */
    unsigned refused;
    unsigned calls;
};

static void refuse(struct foreign *f, kith_err err)
{
    f->calls++;
    f->refused += err == KITH_EPERM;
}

static void *use_foreign(void *arg)
{
    struct foreign *f = arg;
    kith_self *mine = NULL;
    kith_self *self = f->e->self;
    kith_co *co = f->e->co;
    kith_msg *msg;
    if (f->attach && kith_attach(f->e->rt, &mine, NULL) != KITH_OK)
        return NULL;
    refuse(f, kith_receive(co, PATIENCE, &msg));
    refuse(f, kith_ask(co, made_up(), PATIENCE, &msg, number));
    refuse(f, kith_sleep(co, KITH_NOWAIT));
    refuse(f, kith_send(self, made_up(), number));
    refuse(f, kith_stop(self, made_up()));
    refuse(f, kith_detach(self));
    refuse(f, kith_discard(self, NULL));
    refuse(f, kith_fail(self, KITH_EIO));
    refuse(f, kith_reply(self, number));
    refuse(f, kith_forward(self, made_up()));
    refuse(f, kith_monitor(self, made_up()));
    refuse(f, kith_dead_letters_subscribe(self));
    refuse(f, kith_ref_error(kith_spawn(self, &doer, NULL)));
    refuse(f, kith_timer_error(kith_at(self, KITH_NOWAIT, number)));
    refuse(f, kith_timer_error(kith_every(self, KITH_MS, number)));
    refuse(f, kith_receive_timeout(self, KITH_MS));
    refuse(f, kith_timer_cancel(self, (kith_timer){1}));
    if (mine != NULL)
        kith_detach(mine);
    return NULL;
}

TEST_ON_WORKERS(a_self_and_a_co_serve_their_thread_only)
{
    for (int i = 0; i < 2; i++) {
        struct foreign f = {.e = e, .attach = i == 1};
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, use_foreign, &f), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        CHECK_EQ(f.refused, f.calls);
        CHECK_EQ(f.calls, 17u);
    }
    CHECK(nothing_waits(e));
}

static kith_err wait_here(kith_self *self, struct doer *me, void *arg)
{
    struct env *e = arg;
    kith_msg *msg;
    (void)self;
    (void)me;
    CHECK_EQ(kith_receive(e->co, KITH_NOWAIT, &msg), KITH_EPERM);
    CHECK_EQ(kith_ask(e->co, made_up(), KITH_NOWAIT, &msg, number), KITH_EPERM);
    return kith_sleep(e->co, KITH_NOWAIT);
}

TEST_ON_WORKERS(an_actor_cannot_wait)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, actor, wait_here, e), KITH_EPERM);
}

/* ---- receive ---- */

TEST_ON_WORKERS(receive_refuses_nonsense)
{
    kith_msg *msg = (kith_msg *)e;
    CHECK_EQ(kith_receive(e->co, KITH_NOWAIT, NULL), KITH_EINVAL);
    CHECK_EQ(kith_receive(NULL, KITH_NOWAIT, &msg), KITH_EPERM);
    CHECK(msg == NULL);
}

TEST_ON_WORKERS(receive_waits_until_its_deadline)
{
    kith_msg *msg = (kith_msg *)e;
    kith_time deadline = kith_in(2 * KITH_MS);
    CHECK_EQ(kith_receive(e->co, deadline, &msg), KITH_ETIMEOUT);
    CHECK_GE(kith_now(), deadline);
    CHECK(msg == NULL);
    CHECK_EQ(kith_receive(e->co, KITH_NOWAIT, &msg), KITH_ETIMEOUT);
    CHECK_EQ(kith_receive(e->co, kith_now(), &msg), KITH_ETIMEOUT);
}

/* What is there is given out, even if the deadline has passed. */
TEST_ON_WORKERS(receive_gives_out_what_is_there)
{
    kith_ref self = kith_self_ref(e->self);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(kith_send(e->self, self, number, .value = i), KITH_OK);
    for (int i = 0; i < 3; i++) {
        kith_msg *msg;
        CHECK_EQ(kith_receive(e->co, KITH_NOWAIT, &msg), KITH_OK);
        REQUIRE(kith_body(msg, number) != NULL);
        CHECK_EQ(kith_body(msg, number)->value, i);
    }
    CHECK(nothing_waits(e));
}

/* The mailbox of a thread and its waiting meet: no message is lost, none is doubled. */
static kith_err ping_back(kith_self *self, struct doer *me, void *arg)
{
    (void)arg;
    return kith_send(self, kith_sender(self), number, .value = me->count++);
}

TEST_ON_WORKERS(receive_wakes_when_a_message_comes)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    for (int i = 0; i < 300; i++) {
        do_later(e, actor, ping_back, NULL);
        kith_msg *msg = NULL;
        while (kith_receive(e->co, kith_in(KITH_US), &msg) == KITH_ETIMEOUT)
            CHECK(msg == NULL);
        const number *n = kith_body(msg, number);
        REQUIRE(n != NULL);
        CHECK_EQ(n->value, i);
    }
    CHECK(nothing_waits(e));
}

/* ---- sleep ---- */

TEST_ON_WORKERS(sleep_keeps_the_messages)
{
    kith_ref self = kith_self_ref(e->self);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_sleep(NULL, KITH_NOWAIT), KITH_EPERM);
    CHECK_EQ(kith_sleep(e->co, KITH_FOREVER), KITH_EINVAL);
    CHECK_EQ(kith_sleep(e->co, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(kith_send(e->self, self, number, .value = 1), KITH_OK);
    CHECK_EQ(kith_send(e->self, self, number, .value = 2), KITH_OK);
    for (int i = 0; i < 3; i++)
        do_later(e, actor, ping_back, NULL);
    kith_time deadline = kith_in(2 * KITH_MS);
    CHECK_EQ(kith_sleep(e->co, deadline), KITH_OK);
    CHECK_GE(kith_now(), deadline);
    static const long values[] = {1, 2, 0, 1, 2};
    for (int i = 0; i < 5; i++) {
        const number *n = RECEIVE(e, number);
        REQUIRE(n != NULL);
        CHECK_EQ(n->value, values[i]);
    }
}

/* ---- many threads ---- */

enum { THREADS = 6, ROUNDS = 60 };

struct talker {
    struct env *e;
    kith_ref actor;
    int failed;
};

static kith_err add_one(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    (void)arg;
    me->count++;
    return KITH_OK;
}

static bool talk_once(struct talker *t)
{
    kith_self *self;
    kith_co *co;
    kith_msg *reply;
    if (kith_attach(t->e->rt, &self, &co) != KITH_OK)
        return false;
    bool ok = kith_ask(co, t->actor, PATIENCE, &reply, order, .fn = add_one) == KITH_OK;
    kith_ref mine = kith_spawn(self, &doer, NULL);
    ok &= kith_ask(co, mine, PATIENCE, &reply, order, .fn = do_nothing) == KITH_OK;
    ok &= kith_stop(self, mine) == KITH_OK;
    ok &= kith_send(self, kith_self_ref(self), number) == KITH_OK; /* left in its mailbox */
    return kith_detach(self) == KITH_OK && ok;
}

static void *talk(void *arg)
{
    struct talker *t = arg;
    for (int i = 0; i < ROUNDS; i++)
        t->failed += !talk_once(t);
    return NULL;
}

static kith_err get_count(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    *(int *)arg = me->count;
    return KITH_OK;
}

TEST_ON_WORKERS(threads_come_and_go)
{
    struct talker t[THREADS];
    pthread_t threads[THREADS];
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    for (int i = 0; i < THREADS; i++) {
        t[i] = (struct talker){e, actor, 0};
        CHECK_EQ(pthread_create(&threads[i], NULL, talk, &t[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK_EQ(t[i].failed, 0);
    }
    int count = 0;
    CHECK_EQ(do_in(e, actor, get_count, &count), KITH_OK);
    CHECK_EQ(count, (long)THREADS * ROUNDS);
    CHECK_EQ(env_stats(e).spawned, 1u + THREADS * ROUNDS);
}

/* ---- a thread that fails ---- */

TEST_ON_WORKERS(a_thread_does_not_die_of_kith_fail)
{
    CHECK_EQ(kith_fail(e->self, KITH_EIO), KITH_EIO);
    CHECK_EQ(kith_fail(e->self, KITH_OK), KITH_EFAILED);
    settle(e, kith_spawn(e->self, &doer, NULL));
}
