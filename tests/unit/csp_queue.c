/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The queue: order, its bound, join, close, deadlines, errors.
 */
#include "tests/unit/actors_common.h"

static int items[100]; /* an item is the address of one of them */

TEST_ON_WORKERS(items_come_in_order)
{
    kith_queue *q = kith_queue_new(e->self, 3);
    void *item;
    REQUIRE(q != NULL);
    for (int round = 0, n = 0; round < 5; round++) { /* around the ring */
        for (int i = 0; i < 3; i++)
            CHECK_EQ(kith_queue_put(e->co, q, &items[n + i], KITH_NOWAIT), KITH_OK);
        CHECK_EQ(kith_queue_put(e->co, q, items, KITH_NOWAIT), KITH_ETIMEOUT);
        CHECK_EQ(kith_queue_try_put(e->self, q, items), KITH_EFULL);
        CHECK_EQ(kith_queue_count(e->self, q), (size_t)3);
        for (int i = 0; i < 3 - round % 2; i++, n++) {
            CHECK_EQ(kith_queue_get(e->co, q, &item, KITH_NOWAIT), KITH_OK);
            CHECK_EQ(item, &items[n]);
        }
        while (kith_queue_get(e->co, q, &item, KITH_NOWAIT) == KITH_OK)
            CHECK_EQ(item, &items[n++]);
        CHECK(item == NULL);
    }
    kith_queue_free(q);
}

struct worker {
    kith_queue *queue;
    KITH__ATOMIC(int) done;
    KITH__ATOMIC(int) began;
};

static kith_err consumes(kith_self *self, kith_co *co, void *arg, void **result)
{
    struct worker *w = arg;
    void *item;
    kith_err err;
    (void)result;
    kith__add_seq(&w->began, 1);
    while ((err = kith_queue_get(co, w->queue, &item, KITH_FOREVER)) == KITH_OK) {
        CHECK_EQ(kith_yield(co), KITH_OK);
        kith__add_seq(&w->done, 1);
        CHECK_EQ(kith_queue_task_done(self, w->queue), KITH_OK);
    }
    return err;
}

TEST_ON_WORKERS(join_waits_until_all_is_done)
{
    struct worker w = {.queue = kith_queue_new(e->self, 2)};
    kith_future *f[4];
    CHECK_EQ(kith_queue_join(e->co, w.queue, KITH_NOWAIT), KITH_OK); /* nothing was put */
    for (int i = 0; i < 4; i++)
        f[i] = kith_async(e->co, consumes, &w);
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < 100; i++)
            CHECK_EQ(kith_queue_put(e->co, w.queue, &items[i], PATIENCE), KITH_OK);
        CHECK_EQ(kith_queue_join(e->co, w.queue, PATIENCE), KITH_OK);
        CHECK_EQ(kith__load_seq(&w.done), 100L * round);
    }
    CHECK_EQ(kith_queue_close(e->self, w.queue), KITH_OK);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(kith_await(e->co, f[i], PATIENCE, NULL), KITH_ECLOSED);
        kith_future_drop(f[i]);
    }
    kith_queue_free(w.queue);
}

TEST_ON_WORKERS(what_is_in_the_queue_is_not_done)
{
    kith_queue *q = kith_queue_new(e->self, 2);
    void *item;
    CHECK_EQ(kith_queue_task_done(e->self, q), KITH_EINVAL);
    CHECK_EQ(kith_queue_put(e->co, q, items, PATIENCE), KITH_OK);
    CHECK_EQ(kith_queue_task_done(e->self, q), KITH_EINVAL);
    CHECK_EQ(kith_queue_join(e->co, q, kith_in(KITH_MS)), KITH_ETIMEOUT);
    CHECK_EQ(kith_queue_get(e->co, q, &item, PATIENCE), KITH_OK);
    CHECK_EQ(kith_queue_join(e->co, q, KITH_NOWAIT), KITH_ETIMEOUT);
    CHECK_EQ(kith_queue_task_done(e->self, q), KITH_OK);
    CHECK_EQ(kith_queue_join(e->co, q, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(kith_queue_task_done(e->self, q), KITH_EINVAL);
    kith_queue_free(q);
}

struct puts {
    kith_queue *queue;
    int number;
    KITH__ATOMIC(int) begun;
};

static kith_err puts_one(kith_self *self, kith_co *co, void *arg, void **result)
{
    struct puts *p = arg;
    (void)self;
    (void)result;
    kith__store_seq(&p->begun, 1);
    return kith_queue_put(co, p->queue, &items[p->number], KITH_FOREVER);
}

/* Fibers that wait to put, in order. */
static void start_putters(struct env *e, kith_queue *q, struct puts *p, kith_future **f, int n)
{
    kith_fiber_options options = {.worker = 1};
    for (int i = 0; i < n; i++) {
        p[i] = (struct puts){.queue = q, .number = i + 1};
        f[i] = kith_async_with(e->co, puts_one, &p[i], &options);
        while (kith__load_seq(&p[i].begun) == 0)
            kith_yield(e->co);
    }
    CHECK_EQ(kith_await(e->co, f[n - 1], kith_in(KITH_MS), NULL), KITH_ETIMEOUT);
}

TEST_ON_WORKERS(who_waits_to_put_is_served_in_order)
{
    kith_queue *q = kith_queue_new(e->self, 1);
    struct puts p[8];
    kith_future *f[8];
    void *item;
    CHECK_EQ(kith_queue_put(e->co, q, &items[0], PATIENCE), KITH_OK);
    start_putters(e, q, p, f, 8);
    CHECK(kith_future_cancel(f[3]));
    CHECK_EQ(kith_await(e->co, f[3], PATIENCE, NULL), KITH_ECANCELED);
    for (int i = 0; i <= 8; i++) {
        if (i == 4) /* that one has given up */
            continue;
        CHECK_EQ(kith_queue_get(e->co, q, &item, KITH_NOWAIT), KITH_OK);
        CHECK_EQ(item, &items[i]);
    }
    CHECK_EQ(kith_queue_get(e->co, q, &item, KITH_NOWAIT), KITH_ETIMEOUT);
    for (int i = 0; i < 8; i++) {
        if (i != 3)
            CHECK_EQ(kith_await(e->co, f[i], PATIENCE, NULL), KITH_OK);
        kith_future_drop(f[i]);
    }
    for (int i = 0; i < 8; i++)
        CHECK_EQ(kith_queue_task_done(e->self, q), KITH_OK); /* nothing of the eighth */
    CHECK_EQ(kith_queue_join(e->co, q, KITH_NOWAIT), KITH_OK);
    kith_queue_free(q);
}

TEST_ON_WORKERS(a_closed_queue_is_emptied)
{
    kith_queue *q = kith_queue_new(e->self, 2);
    struct puts p[2];
    kith_future *f[2];
    void *item;
    CHECK_EQ(kith_queue_put(e->co, q, NULL, PATIENCE), KITH_OK); /* NULL is an item, too */
    CHECK_EQ(kith_queue_put(e->co, q, &items[1], PATIENCE), KITH_OK);
    start_putters(e, q, p, f, 2);
    CHECK_EQ(kith_queue_close(e->self, q), KITH_OK);
    CHECK_EQ(kith_queue_close(e->self, q), KITH_OK);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(kith_await(e->co, f[i], PATIENCE, NULL), KITH_ECLOSED);
        kith_future_drop(f[i]);
    }
    CHECK_EQ(kith_queue_put(e->co, q, items, PATIENCE), KITH_ECLOSED);
    CHECK_EQ(kith_queue_try_put(e->self, q, items), KITH_ECLOSED);
    CHECK_EQ(kith_queue_get(e->co, q, &item, PATIENCE), KITH_OK);
    CHECK(item == NULL);
    CHECK_EQ(kith_queue_get(e->co, q, &item, PATIENCE), KITH_OK);
    CHECK_EQ(item, &items[1]);
    CHECK_EQ(kith_queue_get(e->co, q, &item, PATIENCE), KITH_ECLOSED);
    CHECK(item == NULL);
    kith_queue_free(q);
}

static kith_err do_put(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    return kith_queue_try_put(self, arg, &items[5]);
}

TEST_ON_WORKERS(an_actor_feeds_a_thread)
{
    kith_queue *q = kith_queue_new(e->self, 1);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    void *item;
    do_later(e, actor, do_put, q);
    CHECK_EQ(kith_queue_get(e->co, q, &item, PATIENCE), KITH_OK);
    CHECK_EQ(item, &items[5]);
    settle(e, actor);
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    kith_queue_free(q);
}

TEST_ON_WORKERS(queue_arguments_are_checked)
{
    kith_queue *q = kith_queue_new(e->self, 1);
    void *item = &item;
    CHECK(kith_queue_new(NULL, 1) == NULL);
    CHECK(kith_queue_new(e->self, 0) == NULL);
    CHECK(kith_queue_new(e->self, SIZE_MAX) == NULL);
    CHECK_EQ(kith_queue_put(NULL, q, items, PATIENCE), KITH_EPERM);
    CHECK_EQ(kith_queue_put(e->co, NULL, items, PATIENCE), KITH_EINVAL);
    CHECK_EQ(kith_queue_try_put(NULL, q, items), KITH_EPERM);
    CHECK_EQ(kith_queue_try_put(e->self, NULL, items), KITH_EINVAL);
    CHECK_EQ(kith_queue_get(NULL, q, &item, PATIENCE), KITH_EPERM);
    CHECK(item == NULL);
    CHECK_EQ(kith_queue_get(e->co, NULL, &item, PATIENCE), KITH_EINVAL);
    CHECK_EQ(kith_queue_get(e->co, q, NULL, PATIENCE), KITH_EINVAL);
    CHECK_EQ(kith_queue_task_done(NULL, q), KITH_EPERM);
    CHECK_EQ(kith_queue_task_done(e->self, NULL), KITH_EINVAL);
    CHECK_EQ(kith_queue_join(NULL, q, PATIENCE), KITH_EPERM);
    CHECK_EQ(kith_queue_join(e->co, NULL, PATIENCE), KITH_EINVAL);
    CHECK_EQ(kith_queue_close(NULL, q), KITH_EPERM);
    CHECK_EQ(kith_queue_close(e->self, NULL), KITH_EINVAL);
    CHECK_EQ(kith_queue_count(NULL, q), (size_t)0);
    CHECK_EQ(kith_queue_count(e->self, NULL), (size_t)0);
    kith_queue_free(q);
    kith_queue_free(NULL);
}
