/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of futures: tasks that start tasks and await them in every way there is, while they are
 * canceled at any moment; promises that threads complete which are no threads of the runtime.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: what gives up leaves no task behind that still uses its stack (GA3 of csp/gather.c,
 *   and the same of kith_await and kith_timeout): each child has ended when its parent goes on.
 *   Each future is freed once, each result dropped or taken once (FU5 of csp/future.c); no cancel
 *   meets a dead fiber (FU3).
 * Threads: the workers, the main thread, attached, which cancels, and two that are not attached.
 */
#include "tests/stress/stress.h"

#include "base/atomic.h"

#define WORKERS 3u
#define PARENTS 40u
#define CHILDREN 12u
#define SLOTS 16u
#define FAMILIES 20u /* of a parent; then it waits to be canceled */

static KITH__ATOMIC(uint64_t) results_made;
static KITH__ATOMIC(uint64_t) results_ended;
static KITH__ATOMIC(uint64_t) children_begun;
static KITH__ATOMIC(
    kith_future *) slots[SLOTS]; /* promises that wait for a thread to complete them */
static KITH__ATOMIC(uint32_t) threads_end;

/* ---- results ---- */

static void *result_new(void)
{
    kith__add_rlx(&results_made, 1);
    return malloc(8);
}

static void result_drop(void *result)
{
    kith__add_rlx(&results_ended, 1);
    free(result);
}

/* ---- children: each writes into its parent's stack when it ends ---- */

static kith_err child(kith_self *self, kith_co *co, void *arg, void **result)
{
    volatile char *ended = arg;
    kith_msg *msg;
    kith_err err = KITH_OK;
    *result = result_new();
    switch (kith_random(self) % 6) {
    case 0:
        err = KITH_EIO;
        break;
    case 1:
        err = kith_sleep(co, kith_in(kith_random(self) % 100 * KITH_US));
        break;
    case 2:
        err = kith_receive(co, KITH_FOREVER, &msg); /* until it is canceled */
        break;
    default:
        for (uint64_t n = kith_random(self) % 4; n > 0 && err == KITH_OK; n--)
            err = kith_yield(co);
        break;
    }
    kith__add_rlx(&children_begun, 1);
    *ended = 1;
    return err;
}

/* ---- parents ---- */

static kith_time soon(kith_self *self)
{
    return kith_random(self) % 4 == 0 ? KITH_NOWAIT : kith_in(kith_random(self) % 200 * KITH_US);
}

/* Some of the ways to wait for n futures. */
static void await_some(kith_self *self, kith_co *co, kith_future **f, size_t n)
{
    size_t index = 0;
    void *result;
    kith_completed *c;
    switch (kith_random(self) % 7) {
    case 0:
        kith_gather_all(co, f, n, soon(self));
        break;
    case 1:
        kith_wait_first(co, f, n, soon(self), &index);
        break;
    case 2:
        kith_wait_all(co, f, n, soon(self));
        break;
    case 3:
        c = kith_as_completed(co, f, n);
        while (kith_completed_next(co, c, soon(self), &index) == KITH_OK)
            CHECK(kith_future_done(f[index]));
        CHECK_EQ(kith_completed_free(co, c), KITH_OK);
        break;
    case 4:
        kith_await_shielded(co, f[0], soon(self), NULL);
        break;
    case 5:
        if (kith_await(co, f[0], soon(self), &result) == KITH_OK)
            result_drop(result);
        break;
    default:
        if (kith_timeout(co, f[n - 1], soon(self), &result) == KITH_OK)
            result_drop(result);
        break;
    }
}

/* A frame of its own: it must be left by all children when this returns. */
static void family(kith_self *self, kith_co *co)
{
    kith_future *f[CHILDREN];
    char ended[CHILDREN] = {0};
    size_t n = 1 + kith_random(self) % CHILDREN;
    for (size_t i = 0; i < n; i++) {
        f[i] = kith_async(co, child, &ended[i]);
        kith_future_owns(f[i], result_drop);
    }
    if (!kith_canceled(co))
        await_some(self, co, f, n);
    kith_gather(co, f, n, soon(self)); /* also in a canceled fiber: cancels, and waits */
    for (size_t i = 0; i < n; i++) {
        CHECK(kith_future_done(f[i]) && ended[i] == 1);
        kith_future_drop(f[i]);
    }
}

/* A promise that some thread will complete, perhaps. */
static void wait_for_thread(kith_self *self, kith_co *co)
{
    kith_future *promise = kith_promise(self);
    void *result;
    kith_future_owns(promise, result_drop);
    unsigned at = (unsigned)(kith_random(self) % SLOTS);
    kith_future *before = kith__xchg_ar(&slots[at], kith_future_keep(promise));
    if (before != NULL)
        kith_future_cancel(before);
    kith_future_drop(before);
    kith_err err = kith_random(self) % 2 == 0 ? kith_await(co, promise, soon(self), &result)
                                              : kith_timeout(co, promise, soon(self), &result);
    if (err == KITH_OK)
        result_drop(result);
    kith_future_drop(promise);
}

static kith_err parent(kith_self *self, kith_co *co, void *arg, void **result)
{
    kith_msg *msg;
    (void)arg;
    (void)result;
    for (unsigned i = 0; i < FAMILIES && !kith_canceled(co); i++) {
        family(self, co);
        wait_for_thread(self, co);
        kith_yield(co);
    }
    return kith_receive(co, KITH_FOREVER, &msg);
}

/* ---- threads ---- */

/* Not attached. */
static void *completes(void *arg)
{
    (void)arg;
    while (kith__load_seq(&threads_end) == 0) {
        for (unsigned i = 0; i < SLOTS; i++) {
            kith_future *promise = kith__xchg_ar(&slots[i], NULL);
            if (promise == NULL)
                continue;
            void *result = result_new();
            if (kith_future_complete(promise, KITH_OK, result) != KITH_OK)
                result_drop(result);
            kith_future_drop(promise);
        }
        sched_yield();
    }
    return NULL;
}

static void cancel_parents(kith_self *self, kith_co *co)
{
    kith_future *f[PARENTS];
    for (unsigned i = 0; i < PARENTS; i++)
        f[i] = kith_async(co, parent, NULL);
    for (unsigned i = 0; i < PARENTS; i++) {
        for (uint64_t n = kith_random(self) % 64; n > 0; n--)
            kith_yield(co);
        CHECK(kith_future_cancel(f[i]));
    }
    CHECK_EQ(kith_wait_all(co, f, PARENTS, kith_in(STRESS_PATIENCE_NS)), KITH_OK);
    for (unsigned i = 0; i < PARENTS; i++) {
        CHECK_EQ(kith_future_result(f[i], NULL), KITH_ECANCELED);
        kith_future_drop(f[i]);
    }
}

TEST(a_canceled_family_leaves_nobody_behind)
{
    kith_self *self;
    kith_co *co;
    pthread_t threads[2];
    stress_limit("a_canceled_family_leaves_nobody_behind");
    kith_runtime *rt = stress_start(WORKERS);
    REQUIRE(rt != NULL && kith_attach(rt, &self, &co) == KITH_OK);
    for (int i = 0; i < 2; i++)
        REQUIRE(pthread_create(&threads[i], NULL, completes, NULL) == 0);
    for (uint64_t i = stress_times(150); i > 0; i--)
        cancel_parents(self, co);
    kith__store_seq(&threads_end, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < SLOTS; i++)
        kith_future_drop(kith__xchg_ar(&slots[i], NULL));
    CHECK_EQ(kith_detach(self), KITH_OK);
    stress_end(rt);
    printf("%" PRIu64 " children, ", kith__load_rlx(&children_begun));
    CHECK_EQ(kith__load_rlx(&results_made), kith__load_rlx(&results_ended));
    CHECK_GT(kith__load_rlx(&children_begun), (uint64_t)0);
}

/* ---- many at once ---- */

static kith_err quick(kith_self *self, kith_co *co, void *arg, void **result)
{
    (void)self;
    *result = arg;
    return kith_yield(co);
}

static void gather_many(kith_co *co, kith_future **f, size_t n)
{
    kith_time began = kith_now();
    for (size_t i = 0; i < n; i++)
        f[i] = kith_async(co, quick, &f[i]);
    CHECK_EQ(kith_gather(co, f, n, KITH_FOREVER), KITH_OK);
    printf("%zu in %.2f ms, ", n, (double)(kith_now() - began) / 1e6); /* for the reader */
    for (size_t i = 0; i < n; i++) {
        void *result = NULL;
        CHECK_EQ(kith_future_result(f[i], &result), KITH_OK);
        CHECK_EQ(result, &f[i]);
        kith_future_drop(f[i]);
    }
}

TEST(ten_thousand_are_gathered)
{
    const size_t n = STRESS_SLOW == 1 ? 10000 : 2000; /* ThreadSanitizer holds 8,000 fibers */
    kith_self *self;
    kith_co *co;
    stress_limit("ten_thousand_are_gathered");
    kith_runtime *rt = stress_start(2);
    REQUIRE(rt != NULL && kith_attach(rt, &self, &co) == KITH_OK);
    kith_future **f = calloc(n, sizeof(kith_future *));
    REQUIRE(f != NULL);
    for (int i = 0; i < 5; i++)
        gather_many(co, f, n);
    free(f);
    CHECK_EQ(kith_detach(self), KITH_OK);
    stress_end(rt);
}
