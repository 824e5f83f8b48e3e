/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What comes of a future's result: callbacks, who owns it, and what is reported if nobody looks.
 */
#include "tests/unit/csp_tasks.h"

/* ---- callbacks ---- */

struct thens {
    kith_future *future;
    kith_ref home;
    int order;
    int runs;
    struct doer *me;
};

KITH_FUTURE_THEN(doer, counts)
{
    struct thens *thens = arg;
    CHECK_EQ(status, KITH_OK);
    CHECK_EQ(result, thens);
    CHECK_EQ(me, thens->me);
    CHECK_EQ(thens->runs, thens->order);
    thens->runs++;
    me->count++;
    return kith_send(self, thens->home, number, .value = thens->runs);
}

KITH_FUTURE_THEN(doer, counts_too)
{
    struct thens *thens = arg;
    thens->order++;
    return doer_future_counts(self, me, arg, status, result);
}

static kith_err do_set_thens(kith_self *self, struct doer *me, void *arg)
{
    struct thens *thens = arg;
    thens->me = me;
    CHECK_EQ(kith_future_then(self, thens->future, doer_future_counts, thens), KITH_OK);
    CHECK_EQ(kith_future_then(self, thens->future, doer_future_counts_too, thens), KITH_OK);
    CHECK_EQ(me->count, 0); /* never inside the call */
    return KITH_OK;
}

TEST_ON_WORKERS(a_callback_runs_as_its_actor)
{
    for (int before = 0; before < 2; before++) {
        struct thens thens = {.future = kith_promise(e->self), .home = kith_self_ref(e->self)};
        kith_ref actor = kith_spawn(e->self, &doer, NULL);
        if (before)
            CHECK_EQ(kith_future_complete(thens.future, KITH_OK, &thens), KITH_OK);
        CHECK_EQ(do_in(e, actor, do_set_thens, &thens), KITH_OK);
        if (!before)
            CHECK_EQ(kith_future_complete(thens.future, KITH_OK, &thens), KITH_OK);
        for (int i = 1; i <= 2; i++) {
            const number *n = RECEIVE(e, number);
            CHECK(n != NULL && n->value == i);
        }
        kith_future_drop(thens.future);
        CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    }
}

KITH_FUTURE_THEN(doer, fails)
{
    return status;
}

static kith_err do_set_failing(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    return kith_future_then(self, arg, doer_future_fails, NULL);
}

TEST_ON_WORKERS(an_error_in_a_callback_fails_the_actor)
{
    kith_future *f = kith_promise(e->self);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    CHECK_EQ(do_in(e, actor, do_set_failing, f), KITH_OK);
    CHECK_EQ(kith_future_complete(f, KITH_EIO, NULL), KITH_OK);
    const kith_down *down = RECEIVE(e, kith_down);
    CHECK(down != NULL && down->reason == KITH_EIO);
    kith_future_drop(f);
}

static kith_err do_set_none(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    return kith_future_then(self, arg, no_then, NULL);
}

TEST_ON_WORKERS(a_callback_does_not_run_after_its_actors_death)
{
    kith_future *f = kith_promise(e->self);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, actor, do_set_none, f), KITH_OK);
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    CHECK(RECEIVE(e, kith_down) != NULL);
    CHECK_EQ(kith_future_complete(f, KITH_OK, NULL), KITH_OK);
    kith_future_drop(f);
}

struct co_then {
    kith_co *co;
    int runs;
};

static kith_err then_in_co(kith_self *self, void *me, void *arg, kith_err status, void *result)
{
    struct co_then *then = arg;
    kith_msg *msg;
    CHECK(me == NULL && result == NULL);
    CHECK_EQ(status, KITH_EIO);
    CHECK_EQ(kith_receive(then->co, KITH_NOWAIT, &msg), KITH_EPERM); /* it may not wait */
    CHECK(kith_self_ref(self).bits != 0);
    then->runs++;
    return KITH_OK;
}

static kith_err sets_then(kith_self *self, kith_co *co, void *arg, void **result)
{
    struct co_then then = {.co = co};
    kith_future *other = kith_promise(self);
    kith_msg *msg;
    (void)result;
    CHECK_EQ(kith_future_then(self, arg, then_in_co, &then), KITH_OK);
    CHECK_EQ(kith_future_complete(other, KITH_OK, NULL), KITH_OK);
    CHECK_EQ(kith_await(co, other, PATIENCE, NULL), KITH_OK);
    kith_future_drop(other);
    while (then.runs == 0) /* while it waits, and with a message in its hands, too */
        CHECK_EQ(kith_receive(co, kith_in(KITH_MS), &msg), KITH_ETIMEOUT);
    CHECK_EQ(then.runs, 1);
    return KITH_OK;
}

TEST_ON_WORKERS(a_callback_runs_while_a_fiber_or_a_thread_waits)
{
    kith_future *f = kith_promise(e->self);
    kith_future *fiber = kith_async(e->co, sets_then, f);
    struct co_then then = {.co = e->co};
    CHECK_EQ(kith_future_then(e->self, f, then_in_co, &then), KITH_OK);
    CHECK_EQ(kith_future_complete(f, KITH_EIO, NULL), KITH_OK);
    CHECK_EQ(then.runs, 0);
    CHECK_EQ(kith_await(e->co, fiber, PATIENCE, NULL), KITH_OK);
    CHECK_EQ(then.runs, 1);
    kith_future_drop(fiber);
    kith_future_drop(f);
}

/* ---- who owns the result ---- */

static KITH__ATOMIC(int) dropped;

static void drop_counted(void *result)
{
    kith__add_seq(&dropped, 1);
    free(result);
}

static kith_err makes(kith_self *self, kith_co *co, void *arg, void **result)
{
    (void)self;
    (void)co;
    *result = malloc(8);
    return arg != NULL ? KITH_EIO : KITH_OK;
}

TEST_ON_WORKERS(a_result_that_nobody_took_is_dropped)
{
    int yes;
    kith__store_seq(&dropped, 0);
    for (int i = 0; i < 4; i++) {
        kith_future *f = kith_async(e->co, makes, i == 3 ? &yes : NULL);
        void *result = NULL;
        kith_future_owns(f, drop_counted);
        if (i > 0)
            CHECK_EQ(kith_await(e->co, f, PATIENCE, i == 1 ? NULL : &result),
                     i == 3 ? KITH_EIO : KITH_OK);
        kith_future_drop(f);
        if (i == 2) /* taken */
            free(result);
    }
    end_runtime(e); /* a task's own reference goes after all else of it */
    CHECK_EQ(kith__load_seq(&dropped), 3);
}

TEST_ON_WORKERS(each_reference_keeps_it)
{
    kith__store_seq(&dropped, 0);
    kith_future *f = kith_promise(e->self);
    kith_future_owns(f, drop_counted);
    CHECK_EQ(kith_future_keep(f), f);
    CHECK_EQ(kith_future_complete(f, KITH_OK, malloc(8)), KITH_OK);
    kith_future_drop(f);
    CHECK_EQ(kith__load_seq(&dropped), 0);
    kith_future_drop(f);
    CHECK_EQ(kith__load_seq(&dropped), 1);
}

/* ---- reports ---- */

static void leave_unseen(kith_self *self, kith_co *co)
{
    int n = 0;
    kith_future *f = kith_async(co, add_one, &n);
    while (!kith_future_done(f))
        kith_yield(co);
    kith_future_drop(f);
    kith_future_drop(kith_async(co, fails, NULL));
    f = kith_promise(self);
    CHECK_EQ(kith_future_complete(f, KITH_EPIPE, NULL), KITH_OK);
    kith_future_drop(f);
}

static void see_all(kith_self *self, kith_co *co)
{
    kith_future *f = kith_async(co, fails_aside, NULL);
    CHECK_EQ(kith_await(co, f, PATIENCE, NULL), KITH_EIO);
    kith_future_drop(f);
    f = kith_async(co, hang, NULL);
    CHECK(kith_future_cancel(f)); /* canceled: nobody wants to know */
    kith_future_drop(f);
    kith_future_drop(kith_promise(self));
}

static void with_debug(struct env *e, bool debug)
{
    memset(e, 0, sizeof *e);
    pthread_mutex_init(&e->log.lock, NULL);
    kith_config config = env_config(e, 2);
    config.debug = debug;
    REQUIRE(kith_start(&config, &e->rt) == KITH_OK);
    REQUIRE(kith_attach(e->rt, &e->self, &e->co) == KITH_OK);
    leave_unseen(e->self, e->co);
    see_all(e->self, e->co);
    end_runtime(e);
    CHECK_EQ(log_has(&e->log, "add_one: its result was never awaited"), debug);
    CHECK_EQ(log_has(&e->log, "fails: its failure was never looked at: connection refused"), debug);
    CHECK_EQ(log_has(&e->log, "promise: its failure was never looked at"), debug);
    CHECK(!log_has(&e->log, "fails_aside"));
    CHECK(!log_has(&e->log, "hang"));
    CHECK(!log_has(&e->log, "promise: its result"));
    env_close(e);
}

TEST(in_debug_mode_what_nobody_looked_at_is_reported)
{
    struct env *e = malloc(sizeof *e);
    REQUIRE(e != NULL);
    with_debug(e, true);
    with_debug(e, false);
    free(e);
}
