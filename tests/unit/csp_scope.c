/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Scopes: what they wait for, what cancels them, what they answer, and that nobody outlives them.
 *
 * Invariants, after each test: as in actors_common.h; and each fiber that was begun has ended when
 * its scope has been left (`begun` and `ended` are compared there).
 * Threads: the scopes of the main thread, and those of fibers; children on all workers.
 */
#include "tests/unit/actors_common.h"

static KITH__ATOMIC(int) begun;
static KITH__ATOMIC(int) ended;
static KITH__ATOMIC(int) canceled; /* of those, who heard KITH_ECANCELED */

static void counts_clear(void)
{
    kith__store_seq(&begun, 0);
    kith__store_seq(&ended, 0);
    kith__store_seq(&canceled, 0);
}

/* All that have begun are gone. */
static void check_gone(int expected)
{
    CHECK_EQ(kith__load_seq(&ended), expected);
    CHECK_EQ(kith__load_seq(&begun), expected);
}

static void await(KITH__ATOMIC(int) * word, int value)
{
    while (kith__load_seq(word) < value)
        sched_yield();
}

/* A monitor that comes after the death tells only that there was one. */
static void await_end(struct env *e, kith_ref fiber)
{
    CHECK_EQ(kith_monitor(e->self, fiber), KITH_OK);
    kith_err reason = await_down(e, fiber);
    CHECK(reason == KITH_OK || reason == KITH_EDEAD);
}

/* ---- fibers ---- */

static void end_soon(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    (void)arg;
    kith__add_seq(&begun, 1);
    for (int i = 0; i < 3; i++)
        kith_yield(co);
    kith__add_seq(&ended, 1);
}

static void sleep_a_bit(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    (void)arg;
    kith__add_seq(&begun, 1);
    CHECK_EQ(kith_sleep(co, kith_in(5 * KITH_MS)), KITH_OK);
    kith__add_seq(&ended, 1);
}

/* Until it is canceled. Its clean-up waits, too. */
static void wait_for_ever(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)self;
    (void)arg;
    kith__add_seq(&begun, 1);
    if (kith_receive(co, KITH_FOREVER, &msg) == KITH_ECANCELED)
        kith__add_seq(&canceled, 1);
    kith_shield(co, true);
    kith_yield(co);
    kith_sleep(co, kith_in(KITH_MS));
    kith__add_seq(&ended, 1);
}

static void fail_with(kith_self *self, kith_co *co, void *arg)
{
    (void)co;
    kith__add_seq(&begun, 1);
    kith_fail(self, *(kith_err *)arg);
    kith__add_seq(&ended, 1);
}

/* ---- waiting ---- */

TEST_ON_WORKERS(leaving_waits_for_all)
{
    counts_clear();
    kith_scope *scope = kith_scope_new(e->co);
    REQUIRE(scope != NULL);
    for (int i = 0; i < 100; i++) {
        kith_ref ref = i % 2 == 0 ? kith_scope_go(e->self, scope, end_soon, NULL)
                                  : kith_scope_go(e->self, scope, sleep_a_bit, NULL);
        CHECK_EQ(kith_ref_error(ref), KITH_OK);
    }
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    check_gone(100);
}

TEST_ON_WORKERS(an_empty_scope_is_left_at_once)
{
    kith_scope *scope = kith_scope_new(e->co);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    scope = kith_scope_new(e->co);
    CHECK_EQ(kith_scope_cancel(e->self, scope), KITH_OK);
    CHECK_EQ(kith_scope_leave_by(e->co, scope, KITH_NOWAIT), KITH_OK);
}

struct job {
    kith_scope *scope;
    int depth;
    kith_ref maker;
};

/* Starts two more in the same scope. */
static void grow(kith_self *self, kith_co *co, void *arg)
{
    struct job job = *(struct job *)arg;
    kith__add_seq(&begun, 1);
    CHECK_EQ(kith_parent(self).bits, job.maker.bits);
    kith_yield(co);
    if (job.depth-- > 0) {
        kith_fiber_options copied = {.arg_bytes = sizeof job};
        for (int i = 0; i < 2; i++)
            CHECK_EQ(kith_ref_error(kith_scope_go_with(self, job.scope, grow, &job, &copied)),
                     KITH_OK);
    }
    kith__add_seq(&ended, 1);
}

TEST_ON_WORKERS(children_start_siblings)
{
    counts_clear();
    struct job job = {kith_scope_new(e->co), 7, kith_self_ref(e->self)};
    CHECK_EQ(kith_ref_error(kith_scope_go(e->self, job.scope, grow, &job)), KITH_OK);
    CHECK_EQ(kith_scope_leave(e->co, job.scope), KITH_OK);
    check_gone((1 << 8) - 1);
}

static void add_one(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    kith_yield(co);
    kith__add_rlx((KITH__ATOMIC(int) *)arg, 1);
}

static void sum_up(kith_self *self, kith_co *co, void *arg)
{
    KITH__ATOMIC(int) sum = 0; /* on this stack, for the children */
    kith_scope *scope = kith_scope_new(co);
    for (int i = 0; i < 200; i++)
        kith_scope_go(self, scope, add_one, &sum);
    CHECK_EQ(kith_scope_leave(co, scope), KITH_OK);
    CHECK_EQ(kith__load_rlx(&sum), 200);
    kith__add_seq((KITH__ATOMIC(int) *)arg, 1);
}

TEST_ON_WORKERS(fibers_have_scopes_in_scopes)
{
    KITH__ATOMIC(int) sums = 0;
    kith_scope *scope = kith_scope_new(e->co);
    for (int i = 0; i < 8; i++)
        kith_scope_go(e->self, scope, sum_up, &sums);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    CHECK_EQ(kith__load_seq(&sums), 8);
}

TEST_ON_WORKERS(scopes_may_be_left_in_any_order)
{
    counts_clear();
    kith_scope *a = kith_scope_new(e->co);
    kith_scope *b = kith_scope_new(e->co);
    kith_scope *c = kith_scope_new(e->co);
    kith_scope_go(e->self, a, wait_for_ever, NULL);
    kith_scope_go(e->self, b, end_soon, NULL);
    kith_scope_go(e->self, c, end_soon, NULL);
    CHECK_EQ(kith_scope_leave(e->co, b), KITH_OK);
    CHECK_EQ(kith_scope_cancel(e->self, a), KITH_OK);
    CHECK_EQ(kith_scope_leave(e->co, a), KITH_OK);
    CHECK_EQ(kith_scope_leave(e->co, c), KITH_OK);
    check_gone(3);
}

/* ---- failure ---- */

TEST_ON_WORKERS(a_failure_cancels_the_siblings)
{
    counts_clear();
    kith_err reason = KITH_EMFILE;
    kith_scope *scope = kith_scope_new(e->co);
    for (int i = 0; i < 50; i++)
        kith_scope_go(e->self, scope, wait_for_ever, NULL);
    await(&begun, 50);
    kith_scope_go(e->self, scope, fail_with, &reason);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_EMFILE);
    check_gone(51);
    CHECK_EQ(kith__load_seq(&canceled), 50);
}

static void fail_when_canceled(kith_self *self, kith_co *co, void *arg)
{
    kith__add_seq(&begun, 1);
    CHECK_EQ(kith_sleep(co, kith_in(KITH_HOUR)), KITH_ECANCELED);
    kith_fail(self, *(kith_err *)arg);
    kith__add_seq(&ended, 1);
}

TEST_ON_WORKERS(the_first_failure_is_the_answer)
{
    counts_clear();
    kith_err first = KITH_EMFILE;
    kith_err second = KITH_EIO;
    kith_scope *scope = kith_scope_new(e->co);
    kith_scope_go(e->self, scope, fail_when_canceled, &second);
    await(&begun, 1);
    kith_scope_go(e->self, scope, fail_with, &first);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_EMFILE);
    check_gone(2);
}

TEST_ON_WORKERS(a_failure_after_a_cancellation_counts)
{
    counts_clear();
    kith_err late = KITH_EIO;
    kith_scope *scope = kith_scope_new(e->co);
    kith_scope_go(e->self, scope, fail_when_canceled, &late);
    await(&begun, 1);
    CHECK_EQ(kith_scope_cancel(e->self, scope), KITH_OK);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_EIO);
    check_gone(1);
}

TEST_ON_WORKERS(to_end_as_canceled_is_no_failure)
{
    counts_clear();
    kith_err reason = KITH_ECANCELED;
    kith_scope *scope = kith_scope_new(e->co);
    kith_scope_go(e->self, scope, sleep_a_bit, NULL);
    kith_scope_go(e->self, scope, fail_with, &reason);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    check_gone(2);
}

/* ---- canceling ---- */

TEST_ON_WORKERS(cancel_reaches_all)
{
    counts_clear();
    kith_scope *scope = kith_scope_new(e->co);
    for (int i = 0; i < 200; i++)
        kith_scope_go(e->self, scope, wait_for_ever,
                      NULL); /* some are canceled before they begin */
    CHECK_EQ(kith_scope_cancel(e->self, scope), KITH_OK);
    CHECK_EQ(kith_scope_cancel(e->self, scope), KITH_OK);
    kith_ref late = kith_scope_go(e->self, scope, end_soon, NULL);
    CHECK_EQ(kith_ref_error(late), KITH_ECANCELED);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    check_gone(200);
    CHECK_EQ(kith__load_seq(&canceled), 200);
}

/* Those who have ended are forgotten: new ones have their stacks now. */
TEST_ON_WORKERS(cancel_reaches_those_who_are_left)
{
    counts_clear();
    kith_scope *scope = kith_scope_new(e->co);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 20; i++) {
            kith_scope_go(e->self, scope, end_soon, NULL);
            if (i % 4 == 0)
                kith_scope_go(e->self, scope, wait_for_ever, NULL);
        }
        await(&ended, 20 * (round + 1));
    }
    CHECK_EQ(kith_scope_cancel(e->self, scope), KITH_OK);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    check_gone(125);
    CHECK_EQ(kith__load_seq(&canceled), 25);
}

TEST_ON_WORKERS(the_deadline_cancels)
{
    counts_clear();
    kith_scope *scope = kith_scope_new(e->co);
    for (int i = 0; i < 10; i++)
        kith_scope_go(e->self, scope, wait_for_ever, NULL);
    CHECK_EQ(kith_scope_leave_by(e->co, scope, kith_in(10 * KITH_MS)), KITH_ETIMEOUT);
    check_gone(10);
    counts_clear();
    scope = kith_scope_new(e->co);
    kith_scope_go(e->self, scope, wait_for_ever, NULL);
    CHECK_EQ(kith_scope_leave_by(e->co, scope, KITH_NOWAIT), KITH_ETIMEOUT);
    check_gone(1);
    counts_clear();
    scope = kith_scope_new(e->co);
    kith_scope_go(e->self, scope, sleep_a_bit, NULL);
    CHECK_EQ(kith_scope_leave_by(e->co, scope, PATIENCE), KITH_OK);
    check_gone(1);
}

/* Its children, and theirs, wait for ever; answers what leaving answers. */
static void keep_waiting(kith_self *self, kith_co *co, void *arg)
{
    long depth = (long)(intptr_t)arg;
    kith__add_seq(&begun, 1);
    kith_scope *scope = kith_scope_new(co);
    kith_scope_go(self, scope, wait_for_ever, NULL);
    if (depth > 0)
        kith_scope_go(self, scope, keep_waiting, (void *)(intptr_t)(depth - 1));
    int before = kith__load_seq(&ended);
    kith_err err = kith_scope_leave(co, scope);
    CHECK_EQ(err, KITH_ECANCELED);
    CHECK_GT(kith__load_seq(&ended), before);
    kith__add_seq(&ended, 1);
    kith_fail(self, err);
}

TEST_ON_WORKERS(cancellation_goes_down_through_scopes)
{
    counts_clear();
    kith_scope *scope = kith_scope_new(e->co);
    kith_scope_go(e->self, scope, keep_waiting, (void *)(intptr_t)20);
    await(&begun, 42);
    CHECK_EQ(kith_scope_cancel(e->self, scope), KITH_OK);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    check_gone(42);
}

TEST_ON_WORKERS(a_canceled_maker_cancels_the_scope)
{
    counts_clear();
    kith_ref maker = kith_go(e->self, keep_waiting, NULL);
    CHECK_EQ(kith_monitor(e->self, maker), KITH_OK);
    await(&begun, 2);
    CHECK_EQ(kith_stop(e->self, maker), KITH_OK);
    CHECK_EQ(await_down(e, maker), KITH_ECANCELED);
    check_gone(2);
}

/* Canceled before it leaves, and with nobody left in the second scope. */
static void leave_canceled(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    kith_scope *scope = kith_scope_new(co);
    kith_scope *empty = kith_scope_new(co);
    (void)arg;
    kith_scope_go(self, scope, wait_for_ever, NULL);
    kith__add_seq(&begun, 1);
    CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_ECANCELED);
    CHECK_EQ(kith_scope_leave(co, scope), KITH_ECANCELED);
    CHECK_EQ(kith__load_seq(&ended), 1);
    CHECK_EQ(kith_scope_leave(co, empty), KITH_ECANCELED);
    kith__add_seq(&ended, 1);
}

TEST_ON_WORKERS(a_canceled_maker_leaves_when_all_have_ended)
{
    counts_clear();
    kith_ref maker = kith_go(e->self, leave_canceled, NULL);
    CHECK_EQ(kith_monitor(e->self, maker), KITH_OK);
    await(&begun, 2);
    CHECK_EQ(kith_stop(e->self, maker), KITH_OK);
    CHECK_EQ(await_down(e, maker), KITH_OK);
    check_gone(2);
}

/* A shielded maker waits for its children as if it were not canceled. */
static void leave_shielded(kith_self *self, kith_co *co, void *arg)
{
    kith_scope *scope = kith_scope_new(co);
    CHECK_EQ(kith_shield(co, true), KITH_OK);
    kith_stop(self, kith_self_ref(self));
    for (int i = 0; i < 10; i++)
        kith_scope_go(self, scope, sleep_a_bit, arg);
    CHECK_EQ(kith_scope_leave(co, scope), KITH_OK);
    check_gone(10);
    CHECK_EQ(kith_shield(co, false), KITH_OK);
    CHECK(kith_canceled(co));
}

TEST_ON_WORKERS(a_shield_holds_while_leaving)
{
    counts_clear();
    await_end(e, kith_go(e->self, leave_shielded, NULL));
}

/* Cancels its own scope, from inside. */
static void cancel_ours(kith_self *self, kith_co *co, void *arg)
{
    kith__add_seq(&begun, 1);
    await(&begun, 11);
    CHECK_EQ(kith_scope_cancel(self, arg), KITH_OK);
    CHECK_EQ(kith_yield(co), KITH_OK); /* its own cancellation is a message, and comes now */
    CHECK_EQ(kith_yield(co), KITH_ECANCELED);
    kith__add_seq(&ended, 1);
}

TEST_ON_WORKERS(a_child_cancels_its_scope)
{
    counts_clear();
    kith_scope *scope = kith_scope_new(e->co);
    for (int i = 0; i < 10; i++)
        kith_scope_go(e->self, scope, wait_for_ever, NULL);
    await(&begun, 10);
    kith_scope_go(e->self, scope, cancel_ours, scope);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    check_gone(11);
}

/* ---- scopes that are not left ---- */

static void forget_scopes(kith_self *self, kith_co *co, void *arg)
{
    for (int i = 0; i < 2; i++) {
        kith_scope *scope = kith_scope_new(co);
        kith_scope_go(self, scope, wait_for_ever, arg);
        kith_scope_go(self, scope, wait_for_ever, arg);
    }
    await(&begun, 1); /* else none may ever have begun: with one worker they run later */
}

static void forget_one(kith_self *self, kith_co *co, void *arg)
{
    kith_scope *scope = kith_scope_new(co);
    kith_scope_go(self, scope, wait_for_ever, arg);
    kith_yield(co);
}

TEST_ON_WORKERS(a_fiber_that_ends_waits_for_the_scope_it_forgot)
{
    counts_clear();
    kith_ref maker =
        e->workers > 1 ? kith_go(e->self, forget_scopes, NULL) : kith_go(e->self, forget_one, NULL);
    await_end(e, maker);
    check_gone(e->workers > 1 ? 4 : 1);
    CHECK(log_has(&e->log, "has ended without leaving a scope"));
    CHECK(log_has(&e->log, e->workers > 1 ? "forget_scopes" : "forget_one"));
}

TEST_ON_WORKERS(a_thread_that_detaches_waits_for_the_scope_it_forgot)
{
    counts_clear();
    kith_scope_go(e->self, kith_scope_new(e->co), wait_for_ever, NULL);
    env_detach(e);
    check_gone(1);
    CHECK(log_has(&e->log, "has ended without leaving a scope"));
}

/* ---- errors ---- */

static void use_of_others(kith_self *self, kith_co *co, void *arg)
{
    kith_scope *scope = arg;
    (void)self;
    CHECK_EQ(kith_scope_leave(co, scope), KITH_EPERM); /* its maker's */
    CHECK_EQ(kith_scope_leave(co, NULL), KITH_EPERM);
}

TEST_ON_WORKERS(scopes_refuse_what_is_wrong)
{
    CHECK(kith_scope_new(NULL) == NULL);
    kith_scope *scope = kith_scope_new(e->co);
    CHECK_EQ(kith_ref_error(kith_scope_go(NULL, scope, end_soon, NULL)), KITH_EPERM);
    CHECK_EQ(kith_ref_error(kith_scope_go(e->self, NULL, end_soon, NULL)), KITH_EINVAL);
    CHECK_EQ(kith_ref_error(kith_scope_go_named(e->self, scope, NULL, NULL, "none", NULL)),
             KITH_EINVAL);
    CHECK_EQ(kith_scope_cancel(NULL, scope), KITH_EPERM);
    CHECK_EQ(kith_scope_cancel(e->self, NULL), KITH_EINVAL);
    CHECK_EQ(kith_scope_leave(NULL, scope), KITH_EPERM);
    CHECK_EQ(kith_ref_error(kith_scope_go(e->self, scope, use_of_others, scope)), KITH_OK);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_EPERM); /* already left */
}

TEST_ON_WORKERS(options_reach_the_fiber)
{
    counts_clear();
    kith_scope *scope = kith_scope_new(e->co);
    kith_fiber_options options = {.worker = e->workers, .stack_bytes = 16384};
    CHECK_EQ(kith_ref_error(kith_scope_go_with(e->self, scope, end_soon, NULL, &options)), KITH_OK);
    options.worker = e->workers + 1;
    CHECK_EQ(kith_ref_error(kith_scope_go_with(e->self, scope, end_soon, NULL, &options)),
             KITH_EINVAL);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    check_gone(1);
}

/* ---- shutdown ---- */

static void in_scope_for_ever(kith_self *self, kith_co *co, void *arg)
{
    kith_scope *scope = kith_scope_new(co);
    for (int i = 0; i < 5; i++)
        kith_scope_go(self, scope, wait_for_ever, arg);
    kith_scope_leave(co, scope);
}

TEST_ON_WORKERS(a_shutdown_ends_scopes)
{
    counts_clear();
    for (int i = 0; i < 5; i++)
        kith_go(e->self, in_scope_for_ever, NULL);
    await(&begun, 25);
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
    check_gone(25);
}

static void *attached_main(void *arg)
{
    struct env *e = arg;
    kith_self *self;
    kith_co *co;
    CHECK_EQ(kith_attach(e->rt, &self, &co), KITH_OK);
    kith_scope *scope = kith_scope_new(co);
    kith_scope_go(self, scope, wait_for_ever, NULL);
    kith_err err = kith_scope_leave(co, scope);
    CHECK(err == KITH_ESHUTDOWN || err == KITH_OK); /* the shutdown stops the child, and tells us */
    check_gone(1);
    CHECK_EQ(kith_detach(self), KITH_OK);
    return NULL;
}

TEST_ON_WORKERS(a_shutdown_ends_the_scope_of_a_thread)
{
    counts_clear();
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, attached_main, e) == 0);
    await(&begun, 1);
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
    pthread_join(thread, NULL);
}
