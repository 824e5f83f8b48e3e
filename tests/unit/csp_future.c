/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Futures: tasks, promises, awaiting, cancellation, deadlock, the end of memory. What comes of the
 * result: csp_result.c.
 */
#include "tests/unit/csp_tasks.h"

/* Does not heed that it is canceled until a promise is there. */
static kith_err stubborn(kith_self *self, kith_co *co, void *arg, void **result)
{
    (void)self;
    CHECK_EQ(kith_shield(co, true), KITH_OK);
    CHECK_EQ(kith_await(co, arg, PATIENCE, NULL), KITH_OK);
    kith__add_seq(&ended, 1);
    *result = arg;
    return KITH_OK;
}

static kith_err says_who(kith_self *self, kith_co *co, void *arg, void **result)
{
    (void)co;
    (void)result;
    *(kith_ref *)arg = kith_self_ref(self);
    return KITH_EIO;
}

TEST_ON_WORKERS(a_task_gives_its_result)
{
    int n = 41;
    kith_future *f = kith_async(e->co, add_one, &n);
    void *result = NULL;
    CHECK_EQ(kith_await(e->co, f, PATIENCE, &result), KITH_OK);
    CHECK_EQ(result, &n);
    CHECK_EQ(n, 42);
    CHECK(kith_future_done(f));
    result = NULL;
    CHECK_EQ(kith_await(e->co, f, KITH_NOWAIT, &result), KITH_OK); /* and again */
    CHECK_EQ(result, &n);
    result = NULL;
    CHECK_EQ(kith_future_result(f, &result), KITH_OK);
    CHECK_EQ(result, &n);
    kith_future_drop(f);
}

TEST_ON_WORKERS(a_failure_is_the_status_and_has_no_result)
{
    int n = 0;
    void *result = &n;
    kith_future *f = kith_async(e->co, fails, &n);
    CHECK_EQ(kith_await(e->co, f, PATIENCE, &result), KITH_ECONNREFUSED);
    CHECK(result == NULL);
    CHECK_EQ(kith_future_result(f, NULL), KITH_ECONNREFUSED);
    kith_future_drop(f);
    f = kith_async(e->co, fails_aside, &n);
    CHECK_EQ(kith_await(e->co, f, PATIENCE, &result), KITH_EIO);
    CHECK(result == NULL);
    kith_future_drop(f);
}

static kith_err copies(kith_self *self, kith_co *co, void *arg, void **result)
{
    (void)self;
    (void)co;
    CHECK_EQ(*(int *)arg, 7);
    *(int *)arg = 8;
    *result = NULL;
    return KITH_OK;
}

TEST_ON_WORKERS(a_task_takes_a_fibers_options_and_its_functions_name)
{
    int n = 7;
    kith_fiber_options options = {.arg_bytes = sizeof n, .stack_bytes = 20000};
    kith_future *f = kith_async_with(e->co, copies, &n, &options);
    CHECK_EQ(kith_await(e->co, f, PATIENCE, NULL), KITH_OK);
    CHECK_EQ(n, 7);
    kith_future_drop(f);
    kith_fiber_stats stats[4];
    CHECK_EQ(kith_fiber_stats_get(e->self, stats, 4), (size_t)1);
    CHECK_STR(stats[0].name, "copies");
    CHECK_EQ(stats[0].stack_bytes, (size_t)32768); /* a power of two, the copy included */

    options = (kith_fiber_options){.worker = e->workers + 1};
    f = kith_async_with(e->co, copies, &n, &options);
    CHECK_EQ(kith_await(e->co, f, PATIENCE, NULL), KITH_EINVAL);
    kith_future_drop(f);
    f = kith_async_named(e->self, NULL, NULL, "none", NULL);
    CHECK_EQ(kith_future_result(f, NULL), KITH_EINVAL);
    kith_future_drop(f);
}

/* A task that is dropped at once, or never awaited, ends all the same; a monitor hears its status. */
TEST_ON_WORKERS(a_task_goes_on_without_its_future)
{
    kith_ref who = {0};
    kith_future *f = kith_async(e->co, says_who, &who);
    CHECK_EQ(kith_await(e->co, f, PATIENCE, NULL), KITH_EIO);
    kith_future_drop(f);
    int n = 0;
    kith_future_drop(kith_async(e->co, add_one, &n));
    CHECK_NE(who.bits, (uint64_t)0);
    env_detach(e);
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
    CHECK_EQ(n, 1);
}

static kith_err waits_for_go(kith_self *self, kith_co *co, void *arg, void **result)
{
    (void)self;
    (void)result;
    CHECK_EQ(kith_await(co, arg, PATIENCE, NULL), KITH_OK);
    return KITH_EIO;
}

static kith_err tells_itself(kith_self *self, kith_co *co, void *arg, void **result)
{
    kith_future **both = arg;
    kith_ref me = kith_self_ref(self);
    *result = NULL;
    kith_future_complete(both[0], KITH_OK, (void *)(uintptr_t)me.bits);
    return waits_for_go(self, co, both[1], result);
}

TEST_ON_WORKERS(a_monitor_hears_the_status)
{
    kith_future *both[2] = {kith_promise(e->self), kith_promise(e->self)};
    kith_future *f = kith_async(e->co, tells_itself, both);
    void *bits;
    CHECK_EQ(kith_await(e->co, both[0], PATIENCE, &bits), KITH_OK);
    kith_ref who = {(uint64_t)(uintptr_t)bits};
    CHECK_EQ(kith_monitor(e->self, who), KITH_OK);
    CHECK_EQ(kith_future_complete(both[1], KITH_OK, NULL), KITH_OK);
    const kith_down *down = RECEIVE(e, kith_down);
    CHECK(down != NULL && down->ref.bits == who.bits && down->reason == KITH_EIO);
    CHECK_EQ(kith_await(e->co, f, PATIENCE, NULL), KITH_EIO);
    kith_future_drop(f);
    kith_future_drop(both[0]);
    kith_future_drop(both[1]);
}

/* A letter that its receiver leaves unread: it ends when the fiber is gone and its future not done. */
KITH_MESSAGE_OWNING(unread, { kith_future *future; });

static KITH__ATOMIC(int) unread_ended;

KITH_DROP(unread)
{
    CHECK(!kith_future_done(msg->future));
    CHECK(!kith_future_cancel(msg->future)); /* too late, and nobody is there */
    kith__add_seq(&unread_ended, 1);
}

TEST_ON_WORKERS(a_cancel_comes_too_late_for_a_fiber_that_ends)
{
    kith_future *both[2] = {kith_promise(e->self), kith_promise(e->self)};
    kith_future *f = kith_async(e->co, tells_itself, both);
    void *bits;
    kith__store_seq(&unread_ended, 0);
    CHECK_EQ(kith_await(e->co, both[0], PATIENCE, &bits), KITH_OK);
    kith_ref who = {(uint64_t)(uintptr_t)bits};
    CHECK_EQ(kith_send(e->self, who, unread, .future = f), KITH_OK);
    CHECK_EQ(kith_future_complete(both[1], KITH_OK, NULL), KITH_OK);
    CHECK_EQ(kith_await(e->co, f, PATIENCE, NULL), KITH_EIO);
    CHECK_EQ(kith__load_seq(&unread_ended), 1);
    kith_future_drop(f);
    kith_future_drop(both[0]);
    kith_future_drop(both[1]);
}

/* ---- what is not a future ---- */

TEST_ON_WORKERS(null_is_a_future_without_memory)
{
    int n;
    void *result = &n;
    CHECK_EQ(kith_await(e->co, NULL, PATIENCE, &result), KITH_ENOMEM);
    CHECK(result == NULL);
    CHECK_EQ(kith_await_shielded(e->co, NULL, PATIENCE, NULL), KITH_ENOMEM);
    CHECK_EQ(kith_timeout(e->co, NULL, PATIENCE, NULL), KITH_ENOMEM);
    CHECK_EQ(kith_future_result(NULL, NULL), KITH_ENOMEM);
    CHECK(kith_future_done(NULL));
    CHECK(!kith_future_cancel(NULL));
    CHECK(kith_future_keep(NULL) == NULL);
    kith_future_drop(NULL);
    kith_future_owns(NULL, free);
    CHECK_EQ(kith_future_complete(NULL, KITH_OK, NULL), KITH_EINVAL);
    CHECK_EQ(kith_future_then(e->self, NULL, no_then, NULL), KITH_ENOMEM);
}

TEST_ON_WORKERS(a_wrong_thread_gets_nothing)
{
    CHECK(kith_async(NULL, hang, NULL) == NULL);
    CHECK(kith_async_self(NULL, hang, NULL, NULL) == NULL);
    CHECK(kith_promise(NULL) == NULL);
    kith_future *f = kith_promise(e->self);
    CHECK_EQ(kith_await(NULL, f, PATIENCE, NULL), KITH_EPERM);
    CHECK_EQ(kith_future_then(NULL, f, no_then, NULL), KITH_EPERM);
    CHECK_EQ(kith_future_then(e->self, f, NULL, NULL), KITH_EINVAL);
    CHECK_EQ(kith_future_result(f, NULL), KITH_EBUSY);
    CHECK(!kith_future_done(f));
    kith_future_drop(f);
}

TEST(a_future_of_another_runtime_cannot_be_awaited)
{
    kith_runtime *other = NULL;
    kith_config config = {.workers = 1};
    REQUIRE(kith_start(&config, &other) == KITH_OK);
    kith_self *self;
    REQUIRE(kith_attach(other, &self, NULL) == KITH_OK);
    kith_future *f = kith_promise(self);
    CHECK_EQ(kith_detach(self), KITH_OK);
    struct env *a = calloc(1, sizeof *a);
    REQUIRE(a != NULL && env_open(a, 1));
    CHECK_EQ(kith_await(a->co, f, PATIENCE, NULL), KITH_EBADREF);
    CHECK_EQ(kith_future_then(a->self, f, no_then, NULL), KITH_EBADREF);
    CHECK_EQ(kith_gather(a->co, &f, 1, PATIENCE), KITH_EBADREF); /* which cancels it */
    CHECK_EQ(kith_await(a->co, f, PATIENCE, NULL), KITH_ECANCELED);
    CHECK_EQ(kith_shutdown(other, PATIENCE), KITH_OK);
    kith_future_drop(f); /* after the end of its runtime */
    env_close(a);
    free(a);
}

/* ---- giving up ---- */

TEST_ON_WORKERS(a_deadline_leaves_the_task_alone)
{
    kith_future *go = kith_promise(e->self);
    kith_future *f = kith_async(e->co, stubborn, go);
    int n;
    void *result = &n;
    CHECK_EQ(kith_await(e->co, f, kith_in(KITH_MS), &result), KITH_ETIMEOUT);
    CHECK(result == NULL);
    CHECK_EQ(kith_await(e->co, f, KITH_NOWAIT, NULL), KITH_ETIMEOUT);
    CHECK_EQ(kith_future_result(f, NULL), KITH_EBUSY);
    CHECK_EQ(kith_future_complete(go, KITH_OK, NULL), KITH_OK);
    CHECK_EQ(kith_await(e->co, f, PATIENCE, &result), KITH_OK);
    CHECK_EQ(result, go);
    kith_future_drop(f);
    kith_future_drop(go);
}

TEST_ON_WORKERS(a_canceled_task_ends)
{
    kith__store_seq(&ended, 0);
    kith_future *f = kith_async(e->co, hang, NULL);
    CHECK(kith_future_cancel(f));
    CHECK_EQ(kith_await(e->co, f, PATIENCE, NULL), KITH_ECANCELED);
    CHECK_EQ(kith__load_seq(&ended), 1);
    CHECK(!kith_future_cancel(f));
    kith_future_drop(f);
}

TEST_ON_WORKERS(a_timeout_cancels_and_waits_for_the_end)
{
    kith__store_seq(&ended, 0);
    kith_future *f = kith_async(e->co, hang, NULL);
    CHECK_EQ(kith_timeout(e->co, f, kith_in(KITH_MS), NULL), KITH_ETIMEOUT);
    CHECK(kith_future_done(f));
    CHECK_EQ(kith__load_seq(&ended), 1);
    CHECK_EQ(kith_future_result(f, NULL), KITH_ECANCELED);
    kith_future_drop(f);
    int n = 1;
    f = kith_async(e->co, add_one, &n);
    void *result;
    CHECK_EQ(kith_timeout(e->co, f, PATIENCE, &result), KITH_OK); /* in time */
    CHECK_EQ(result, &n);
    kith_future_drop(f);
}

struct pair {
    kith_future *inner;
    kith_future *go;
    kith_err (*await)(kith_co *co, kith_future *f, kith_time deadline, void **result);
    bool canceled_first; /* it is canceled before it awaits */
    KITH__ATOMIC(int) awaits;
    bool inner_done;
};

static kith_err awaits(kith_self *self, kith_co *co, void *arg, void **result)
{
    struct pair *pair = arg;
    (void)self;
    kith__store_seq(&pair->awaits, 1);
    if (pair->canceled_first) {
        kith_msg *msg;
        CHECK_EQ(kith_receive(co, PATIENCE, &msg), KITH_ECANCELED);
    }
    kith_err err = pair->await(co, pair->inner, PATIENCE, result);
    pair->inner_done = kith_future_done(pair->inner);
    return err;
}

static void cancel_the_awaiting(struct env *e, struct pair *pair)
{
    kith__store_seq(&ended, 0);
    pair->go = kith_promise(e->self);
    kith_future *outer = kith_async(e->co, awaits, pair);
    while (kith__load_seq(&pair->awaits) == 0)
        kith_yield(e->co);
    CHECK_EQ(kith_await(e->co, outer, kith_in(KITH_MS), NULL), KITH_ETIMEOUT);
    CHECK(kith_future_cancel(outer));
    CHECK_EQ(kith_await(e->co, outer, PATIENCE, NULL), KITH_ECANCELED);
    kith_future_drop(outer);
    kith_future_drop(pair->go);
}

TEST_ON_WORKERS(who_awaits_passes_a_cancellation_on)
{
    for (int i = 0; i < 4; i++) {
        struct pair pair = {.inner = kith_async(e->co, hang, NULL),
                            .await = i < 2 ? kith_await : kith_timeout,
                            .canceled_first = i % 2 == 1};
        cancel_the_awaiting(e, &pair);
        CHECK(pair.inner_done); /* when it went on */
        CHECK_EQ(kith_await(e->co, pair.inner, PATIENCE, NULL), KITH_ECANCELED);
        CHECK_EQ(kith__load_seq(&ended), 1);
        kith_future_drop(pair.inner);
    }
}

TEST_ON_WORKERS(a_shielded_await_does_not)
{
    for (int i = 0; i < 2; i++) {
        struct pair pair = {.inner = kith_async(e->co, hang, NULL),
                            .await = kith_await_shielded,
                            .canceled_first = i == 1};
        cancel_the_awaiting(e, &pair);
        CHECK(!pair.inner_done);
        CHECK_EQ(kith_await(e->co, pair.inner, kith_in(KITH_MS), NULL), KITH_ETIMEOUT);
        CHECK(kith_future_cancel(pair.inner));
        CHECK_EQ(kith_await(e->co, pair.inner, PATIENCE, NULL), KITH_ECANCELED);
        kith_future_drop(pair.inner);
    }
}

static kith_err awaits_itself(kith_self *self, kith_co *co, void *arg, void **result)
{
    kith_future **me = arg;
    void *mine;
    (void)self;
    CHECK_EQ(kith_await(co, me[0], PATIENCE, &mine), KITH_OK);
    CHECK_EQ(kith_await(co, mine, PATIENCE, result), KITH_EDEADLK);
    return KITH_OK;
}

TEST_ON_WORKERS(a_task_does_not_await_itself)
{
    kith_future *promise = kith_promise(e->self);
    kith_future *f = kith_async(e->co, awaits_itself, &promise);
    CHECK_EQ(kith_future_complete(promise, KITH_OK, f), KITH_OK);
    CHECK_EQ(kith_await(e->co, f, PATIENCE, NULL), KITH_OK);
    kith_future_drop(f);
    kith_future_drop(promise);
}

/* ---- promises ---- */

static kith_err awaits_promise(kith_self *self, kith_co *co, void *arg, void **result)
{
    (void)self;
    return kith_await(co, arg, PATIENCE, result);
}

static void *completes(void *arg)
{
    kith_future *f = arg;
    CHECK(!kith_future_done(f));
    CHECK_EQ(kith_future_complete(f, KITH_OK, f), KITH_OK);
    kith_future_drop(f);
    return NULL;
}

TEST_ON_WORKERS(a_thread_that_is_not_attached_completes_a_promise)
{
    enum { N = 20 };
    kith_future *promise = kith_promise(e->self);
    kith_future *waits[N];
    for (int i = 0; i < N; i++)
        waits[i] = kith_async(e->co, awaits_promise, promise);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, completes, kith_future_keep(promise)) == 0);
    for (int i = 0; i < N; i++) {
        void *result;
        CHECK_EQ(kith_await(e->co, waits[i], PATIENCE, &result), KITH_OK);
        CHECK_EQ(result, promise);
        kith_future_drop(waits[i]);
    }
    pthread_join(thread, NULL);
    kith_future_drop(promise);
}

TEST_ON_WORKERS(a_promise_is_completed_once)
{
    int n;
    void *result;
    kith_future *f = kith_promise(e->self);
    CHECK_EQ(kith_future_complete(f, KITH_EIO, &n), KITH_OK);
    CHECK_EQ(kith_future_complete(f, KITH_OK, &n), KITH_EBUSY);
    CHECK(!kith_future_cancel(f));
    CHECK_EQ(kith_await(e->co, f, PATIENCE, &result), KITH_EIO);
    CHECK(result == NULL);
    kith_future_drop(f);

    f = kith_promise(e->self);
    kith_future *waits = kith_async(e->co, awaits_promise, f);
    CHECK(kith_future_cancel(f));
    CHECK_EQ(kith_future_complete(f, KITH_OK, &n), KITH_EBUSY);
    CHECK_EQ(kith_await(e->co, waits, PATIENCE, NULL), KITH_ECANCELED);
    kith_future_drop(waits);
    kith_future_drop(f);

    f = kith_async(e->co, hang, NULL);
    CHECK_EQ(kith_future_complete(f, KITH_OK, NULL), KITH_EPERM);
    CHECK(kith_future_cancel(f));
    kith_future_drop(f);
}

/* ---- the end of the runtime ---- */

static kith_err starts_late(kith_self *self, kith_co *co, void *arg, void **result)
{
    kith_msg *msg;
    (void)result;
    CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_ECANCELED);
    kith_future *f = kith_async(co, add_one, arg);
    CHECK_EQ(kith_future_result(f, NULL), KITH_ESHUTDOWN);
    kith_future_drop(f);
    f = kith_promise(self);
    CHECK_EQ(kith_await(co, f, KITH_FOREVER, NULL), KITH_ECANCELED);
    CHECK_EQ(kith_future_result(f, NULL), KITH_ECANCELED);
    kith_future_drop(f);
    kith__add_seq(&ended, 1);
    return KITH_OK;
}

TEST_ON_WORKERS(a_shutdown_cancels_tasks_and_refuses_new_ones)
{
    int n = 0;
    kith__store_seq(&ended, 0);
    kith_future_drop(kith_async(e->co, starts_late, &n));
    end_runtime(e);
    CHECK_EQ(kith__load_seq(&ended), 1);
    CHECK_EQ(n, 0);
}

/* ---- deadlock ---- */

struct outside {
    bool awaits;  /* the promise */
    kith_err err; /* what main heard */
};

static void *completes_late(void *arg)
{
    struct timespec while_all_fall_asleep = {
        0, 2000000}; /* the test is right without it, but tests less */
    nanosleep(&while_all_fall_asleep, NULL);
    return completes(arg);
}

/* While a promise is open main waits for it, or for something else. */
static void waits_outside(kith_self *self, kith_co *co, void *arg)
{
    struct outside *outside = arg;
    kith_future *promise = kith_promise(self);
    kith_msg *msg;
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, completes_late, kith_future_keep(promise)) == 0);
    outside->err = outside->awaits ? kith_await(co, promise, KITH_FOREVER, NULL)
                                   : kith_receive(co, KITH_FOREVER, &msg);
    pthread_join(thread, NULL);
    kith_future_drop(promise);
}

TEST(an_open_promise_is_no_deadlock)
{
    struct outside outside = {.awaits = true};
    static struct log log = {.lock = PTHREAD_MUTEX_INITIALIZER};
    kith_config config = {.workers = 2, .log = log_line, .log_arg = &log};
    CHECK_EQ(kith_main(&config, waits_outside, &outside), 0);
    CHECK_EQ(outside.err, KITH_OK);
    CHECK(!log_has(&log, "deadlock"));
    outside.awaits = false; /* it is completed, and main waits for something else, for ever */
    CHECK_EQ(kith_main(&config, waits_outside, &outside), 1);
    CHECK_EQ(outside.err, KITH_EDEADLK);
    CHECK(log_has(&log, "deadlock"));
}

/* ---- out of memory ---- */

static KITH__ATOMIC(int) memory_is_out;

static void *scarce_alloc(void *arg, size_t bytes, size_t align)
{
    (void)arg;
    if (kith__load_seq(&memory_is_out) != 0)
        return NULL;
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}

static void scarce_free(void *arg, void *memory, size_t bytes)
{
    (void)arg;
    (void)bytes;
    free(memory);
}

static void without_memory(kith_self *self, kith_co *co)
{
    enum { N = 20 };
    kith_future *many[N];
    kith__store_seq(&ended, 0);
    for (int i = 0; i < N; i++)
        many[i] = kith_async(co, hang, NULL);
    kith_future *promise = kith_promise(self);
    kith__store_seq(&memory_is_out, 1);
    CHECK(kith_promise(self) == NULL);
    CHECK(kith_async(co, hang, NULL) == NULL);
    CHECK_EQ(kith_future_then(self, promise, no_then, NULL), KITH_ENOMEM);
    CHECK(kith_as_completed(co, many, N) == NULL);
    CHECK(kith_as_completed(co, many, 1) == NULL);
    CHECK_EQ(kith_wait_all(co, many, N, PATIENCE), KITH_ENOMEM);
    CHECK_EQ(kith_gather(co, many, N, PATIENCE), KITH_ENOMEM); /* cancels, and waits */
    kith__store_seq(&memory_is_out, 0);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(kith_future_result(many[i], NULL), KITH_ECANCELED);
        kith_future_drop(many[i]);
    }
    CHECK_EQ(kith__load_seq(&ended), (int)N);
    kith_future_drop(promise);
}

TEST(without_memory_nothing_is_begun_and_nothing_goes_on)
{
    kith_config config = {.workers = 2, .allocator = {scarce_alloc, scarce_free, NULL}};
    kith_runtime *rt;
    kith_self *self;
    kith_co *co;
    REQUIRE(kith_start(&config, &rt) == KITH_OK);
    REQUIRE(kith_attach(rt, &self, &co) == KITH_OK);
    without_memory(self, co);
    CHECK_EQ(kith_detach(self), KITH_OK);
    CHECK_EQ(kith_shutdown(rt, PATIENCE), KITH_OK);
}
