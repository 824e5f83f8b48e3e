/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Many futures: gather, wait for all, for the first, and as they complete. Each with few futures and
 * with many: from nine on a group allocates.
 */
#include "tests/unit/actors_common.h"

#define MANY 40

static KITH__ATOMIC(int) canceled; /* tasks that heard it */

static kith_err gives_arg(kith_self *self, kith_co *co, void *arg, void **result)
{
    (void)self;
    kith_err err = kith_yield(co);
    *result = arg;
    return err;
}

static kith_err hang(kith_self *self, kith_co *co, void *arg, void **result)
{
    kith_msg *msg;
    (void)self;
    *result = arg;
    kith_err err = kith_receive(co, KITH_FOREVER, &msg);
    if (err == KITH_ECANCELED)
        kith__add_seq(&canceled, 1);
    return err;
}

static kith_err fails(kith_self *self, kith_co *co, void *arg, void **result)
{
    kith_err err = *(kith_err *)arg;
    (void)self;
    (void)result;
    CHECK_EQ(kith_yield(co), KITH_OK);
    return err;
}

static void start_all(kith_co *co, kith_future **f, size_t n, kith_async_fn *fn)
{
    for (size_t i = 0; i < n; i++)
        f[i] = kith_async_named(kith_co_self(co), fn, &f[i], "one of many", NULL);
}

static void drop_all(kith_future **f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        kith_future_drop(f[i]);
}

/* All have ended with this status. */
static bool all_are(kith_future **f, size_t n, kith_err status)
{
    for (size_t i = 0; i < n; i++)
        if (!kith_future_done(f[i]) || kith_future_result(f[i], NULL) != status)
            return false;
    return true;
}

static void cancel_and_drop(kith_co *co, kith_future **f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        kith_future_cancel(f[i]);
    CHECK_EQ(kith_wait_all(co, f, n, PATIENCE), KITH_OK);
    drop_all(f, n);
}

static const size_t sizes[] = {1, 8, 9, MANY};
#define EACH_SIZE(n) for (size_t at_ = 0, n; at_ < 4 && (n = sizes[at_], true); at_++)

/* ---- gather ---- */

TEST_ON_WORKERS(gather_waits_for_all)
{
    EACH_SIZE(n)
    {
        kith_future *f[MANY];
        start_all(e->co, f, n, gives_arg);
        CHECK_EQ(kith_gather(e->co, f, n, PATIENCE), KITH_OK);
        for (size_t i = 0; i < n; i++) {
            void *result;
            CHECK(kith_future_done(f[i]));
            CHECK_EQ(kith_future_result(f[i], &result), KITH_OK);
            CHECK_EQ(result, &f[i]);
        }
        CHECK_EQ(kith_gather(e->co, f, n, KITH_NOWAIT), KITH_OK); /* and again */
        CHECK_EQ(kith_gather_all(e->co, f, n, KITH_NOWAIT), KITH_OK);
        drop_all(f, n);
    }
}

TEST_ON_WORKERS(the_first_failure_cancels_the_rest)
{
    EACH_SIZE(n)
    {
        kith_future *f[MANY];
        kith_err reason = KITH_ECONNRESET;
        kith__store_seq(&canceled, 0);
        start_all(e->co, f, n - 1, hang);
        f[n - 1] = kith_async(e->co, fails, &reason);
        CHECK_EQ(kith_gather(e->co, f, n, PATIENCE), KITH_ECONNRESET);
        CHECK(all_are(f, n - 1, KITH_ECANCELED)); /* they have ended */
        CHECK_EQ(kith__load_seq(&canceled), (int)n - 1);
        drop_all(f, n);
    }
}

TEST_ON_WORKERS(at_the_deadline_all_are_canceled)
{
    EACH_SIZE(n)
    {
        for (int both = 0; both < 2; both++) {
            kith_future *f[MANY];
            kith__store_seq(&canceled, 0);
            start_all(e->co, f, n, hang);
            f[0] = both != 0 ? (kith_future_drop(f[0]), kith_promise(e->self)) : f[0];
            CHECK_EQ((both != 0 ? kith_gather : kith_gather_all)(e->co, f, n, kith_in(KITH_MS)),
                     KITH_ETIMEOUT);
            CHECK(all_are(f, n, KITH_ECANCELED));
            drop_all(f, n);
        }
    }
}

TEST_ON_WORKERS(gather_all_is_not_ended_by_a_failure)
{
    EACH_SIZE(n)
    {
        kith_future *f[MANY];
        kith_err reason = KITH_EIO;
        start_all(e->co, f, n - 1, gives_arg);
        f[n - 1] = kith_async(e->co, fails, &reason);
        CHECK_EQ(kith_gather_all(e->co, f, n, PATIENCE), KITH_OK);
        CHECK(all_are(f, n - 1, KITH_OK));
        CHECK_EQ(kith_future_result(f[n - 1], NULL), KITH_EIO);
        drop_all(f, n);
    }
}

struct gathers {
    kith_future *f[MANY];
    size_t n;
    KITH__ATOMIC(int) begun;
    bool late; /* it is canceled before */
    bool waits_only;
};

static kith_err gathers(kith_self *self, kith_co *co, void *arg, void **result)
{
    struct gathers *g = arg;
    kith_msg *msg;
    (void)self;
    (void)result;
    kith__store_seq(&g->begun, 1);
    if (g->late)
        CHECK_EQ(kith_receive(co, PATIENCE, &msg), KITH_ECANCELED);
    if (g->waits_only)
        return kith_wait_all(co, g->f, g->n, PATIENCE);
    kith_err err = kith_gather(co, g->f, g->n, PATIENCE);
    CHECK(all_are(g->f, g->n, KITH_ECANCELED)); /* GA3 */
    return err;
}

static void cancel_gathering(struct env *e, struct gathers *g)
{
    start_all(e->co, g->f, g->n, hang);
    kith_future *outer = kith_async(e->co, gathers, g);
    while (kith__load_seq(&g->begun) == 0)
        kith_yield(e->co);
    CHECK_EQ(kith_await(e->co, outer, kith_in(KITH_MS), NULL), KITH_ETIMEOUT);
    CHECK(kith_future_cancel(outer));
    CHECK_EQ(kith_await(e->co, outer, PATIENCE, NULL), KITH_ECANCELED);
    kith_future_drop(outer);
}

TEST_ON_WORKERS(who_gathers_passes_a_cancellation_on)
{
    EACH_SIZE(n)
    {
        for (int late = 0; late < 2; late++) {
            struct gathers g = {.n = n, .late = late != 0};
            cancel_gathering(e, &g);
            drop_all(g.f, n);
        }
    }
}

TEST_ON_WORKERS(who_only_waits_does_not)
{
    EACH_SIZE(n)
    {
        struct gathers g = {.n = n, .waits_only = true};
        cancel_gathering(e, &g);
        CHECK_EQ(kith_wait_all(e->co, g.f, n, KITH_NOWAIT), KITH_ETIMEOUT);
        cancel_and_drop(e->co, g.f, n);
    }
}

TEST_ON_WORKERS(what_is_no_future_fails_the_gather)
{
    kith_future *f[3] = {kith_async(e->co, hang, NULL), NULL, kith_async(e->co, hang, NULL)};
    CHECK_EQ(kith_gather(e->co, f, 3, PATIENCE), KITH_ENOMEM);
    CHECK_EQ(kith_future_result(f[0], NULL), KITH_ECANCELED);
    CHECK_EQ(kith_future_result(f[2], NULL), KITH_ECANCELED);
    drop_all(f, 3);
}

TEST_ON_WORKERS(a_future_may_stand_there_twice)
{
    kith_future *one = kith_async(e->co, gives_arg, NULL);
    kith_future *f[3] = {one, one, one};
    CHECK_EQ(kith_gather(e->co, f, 3, PATIENCE), KITH_OK);
    kith_future_drop(one);
    one = kith_async(e->co, hang, NULL);
    f[0] = f[1] = f[2] = one;
    CHECK_EQ(kith_gather(e->co, f, 3, kith_in(KITH_MS)), KITH_ETIMEOUT);
    kith_future_drop(one);
}

TEST_ON_WORKERS(arguments_are_checked)
{
    size_t index = 77;
    kith_future *f = kith_promise(e->self);
    CHECK_EQ(kith_gather(e->co, NULL, 0, PATIENCE), KITH_OK);
    CHECK_EQ(kith_gather_all(e->co, NULL, 0, PATIENCE), KITH_OK);
    CHECK_EQ(kith_wait_all(e->co, NULL, 0, PATIENCE), KITH_OK);
    CHECK_EQ(kith_wait_first(e->co, NULL, 0, PATIENCE, &index), KITH_EINVAL);
    CHECK_EQ(kith_gather(e->co, NULL, 1, PATIENCE), KITH_EINVAL);
    CHECK_EQ(kith_gather_all(e->co, NULL, 1, PATIENCE), KITH_EINVAL);
    CHECK_EQ(kith_wait_all(e->co, NULL, 1, PATIENCE), KITH_EINVAL);
    CHECK_EQ(kith_wait_first(e->co, &f, 1, PATIENCE, NULL), KITH_EINVAL);
    CHECK_EQ(kith_gather(NULL, &f, 1, PATIENCE), KITH_EPERM);
    CHECK_EQ(kith_gather_all(NULL, &f, 1, PATIENCE), KITH_EPERM);
    CHECK_EQ(kith_wait_all(NULL, &f, 1, PATIENCE), KITH_EPERM);
    CHECK_EQ(kith_wait_first(NULL, &f, 1, PATIENCE, &index), KITH_EPERM);
    CHECK(kith_as_completed(NULL, &f, 1) == NULL);
    CHECK(kith_as_completed(e->co, NULL, 1) == NULL);
    CHECK_EQ(kith_completed_next(e->co, NULL, PATIENCE, &index), KITH_EINVAL);
    CHECK_EQ(kith_completed_free(NULL, NULL), KITH_EPERM);
    CHECK_EQ(kith_completed_free(e->co, NULL), KITH_OK);
    CHECK(!kith_future_done(f));
    CHECK_EQ(index, (size_t)77);
    kith_future_drop(f);
}

/* ---- waiting ---- */

TEST_ON_WORKERS(the_first_that_ends_is_named)
{
    EACH_SIZE(n)
    {
        kith_future *f[MANY];
        size_t index = 77;
        for (size_t i = 0; i < n; i++)
            f[i] = kith_promise(e->self);
        CHECK_EQ(kith_wait_first(e->co, f, n, kith_in(KITH_MS), &index), KITH_ETIMEOUT);
        CHECK_EQ(index, (size_t)77);
        kith_future_drop(f[n / 2]);
        f[n / 2] = kith_async(e->co, gives_arg, NULL);
        CHECK_EQ(kith_wait_first(e->co, f, n, PATIENCE, &index), KITH_OK);
        CHECK_EQ(index, n / 2);
        CHECK_EQ(kith_wait_all(e->co, f, n, KITH_NOWAIT), n == 1 ? KITH_OK : KITH_ETIMEOUT);
        for (size_t i = 0; i < n; i++)
            CHECK_EQ(kith_future_complete(f[i], KITH_OK, NULL), i == n / 2 ? KITH_EPERM : KITH_OK);
        CHECK_EQ(kith_wait_first(e->co, f, n, KITH_NOWAIT, &index), KITH_OK);
        CHECK_EQ(index, (size_t)0);
        CHECK_EQ(kith_wait_all(e->co, f, n, KITH_NOWAIT), KITH_OK);
        drop_all(f, n);
    }
}

TEST_ON_WORKERS(they_come_in_the_order_in_which_they_end)
{
    EACH_SIZE(n)
    {
        kith_future *f[MANY] = {NULL};
        size_t index = 77;
        for (size_t i = 0; i < n; i++)
            f[i] = kith_promise(e->self);
        CHECK_EQ(kith_future_complete(f[0], KITH_OK, NULL), KITH_OK);
        kith_completed *c = kith_as_completed(e->co, f, n);
        for (size_t i = n - 1; i > 0; i--) /* the others backwards */
            CHECK_EQ(kith_future_complete(f[i], KITH_OK, NULL), KITH_OK);
        for (size_t i = n; i > 0; i--) {
            CHECK_EQ(kith_completed_next(e->co, c, KITH_NOWAIT, &index), KITH_OK);
            CHECK_EQ(index, i % n);
        }
        CHECK_EQ(kith_completed_next(e->co, c, KITH_NOWAIT, &index), KITH_ECLOSED);
        CHECK_EQ(kith_completed_free(e->co, c), KITH_OK);
        drop_all(f, n);
    }
}

TEST_ON_WORKERS(as_they_complete_each_comes_once)
{
    EACH_SIZE(n)
    {
        kith_future *f[MANY];
        bool seen[MANY] = {false};
        size_t index;
        start_all(e->co, f, n, gives_arg);
        kith_completed *c = kith_as_completed(e->co, f, n);
        for (size_t i = 0; i < n; i++) {
            CHECK_EQ(kith_completed_next(e->co, c, PATIENCE, &index), KITH_OK);
            CHECK(index < n && !seen[index] && kith_future_done(f[index]));
            seen[index] = true;
        }
        CHECK_EQ(kith_completed_next(e->co, c, PATIENCE, &index), KITH_ECLOSED);
        CHECK_EQ(kith_completed_free(e->co, c), KITH_OK);
        drop_all(f, n);
    }
}

static kith_err uses_anothers(kith_self *self, kith_co *co, void *arg, void **result)
{
    size_t index;
    (void)self;
    (void)result;
    CHECK_EQ(kith_completed_next(co, arg, PATIENCE, &index), KITH_EPERM);
    CHECK_EQ(kith_completed_free(co, arg), KITH_EPERM);
    return KITH_OK;
}

TEST_ON_WORKERS(a_collection_ends_at_any_time)
{
    EACH_SIZE(n)
    {
        kith_future *f[MANY];
        size_t index;
        start_all(e->co, f, n, hang);
        kith_completed *c = kith_as_completed(e->co, f, n);
        CHECK_EQ(kith_completed_next(e->co, c, kith_in(KITH_MS), &index), KITH_ETIMEOUT);
        kith_future *other = kith_async(e->co, uses_anothers, c);
        CHECK_EQ(kith_await(e->co, other, PATIENCE, NULL), KITH_OK);
        kith_future_drop(other);
        CHECK_EQ(kith_completed_free(e->co, c), KITH_OK);
        CHECK(!kith_future_done(f[0]));
        cancel_and_drop(e->co, f, n);
    }
}
