/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Event, semaphore, mutex, barrier: each call and error, the order of those who wait, deadlines,
 * cancellation. What is handed over in that very moment: tests/stress/sync.c.
 */
#include "tests/unit/actors_common.h"

#define N 20

/* ---- tasks that wait for one object, and tell in which order they got it ---- */

struct waits {
    kith_err (*wait)(kith_co *co, void *object, kith_time deadline);
    void *object;
    KITH__ATOMIC(int) begun;
    KITH__ATOMIC(int) got;
    int order[N];
};

struct one {
    struct waits *waits;
    int number;
    kith_future *future;
};

static kith_err waits(kith_self *self, kith_co *co, void *arg, void **result)
{
    struct one *one = arg;
    (void)self;
    (void)result;
    kith__add_seq(&one->waits->begun, 1);
    kith_err err = one->waits->wait(co, one->waits->object, KITH_FOREVER);
    if (err == KITH_OK)
        one->waits->order[kith__add_seq(&one->waits->got, 1)] = one->number;
    return err;
}

/* One after the other, all on one worker: so they wait in this order, when the last has begun and the
 * worker has had another turn. */
static void start(struct env *e, struct waits *w, struct one *all, int n)
{
    kith_fiber_options options = {.worker = 1};
    for (int i = 0; i < n; i++) {
        all[i] = (struct one){.waits = w, .number = i};
        all[i].future = kith_async_with(e->co, waits, &all[i], &options);
        while (kith__load_seq(&w->begun) <= i)
            kith_yield(e->co);
    }
    CHECK_EQ(kith_await(e->co, all[n - 1].future, kith_in(KITH_MS), NULL), KITH_ETIMEOUT);
}

static void await_all(struct env *e, struct one *all, int n, kith_err expected)
{
    for (int i = 0; i < n; i++) {
        CHECK_EQ(kith_await(e->co, all[i].future, PATIENCE, NULL), expected);
        kith_future_drop(all[i].future);
    }
}

/* What every waiting call answers, of an object that cannot be had. */
static void check_waits(struct env *e, struct waits *w)
{
    struct one one;
    CHECK_EQ(w->wait(NULL, w->object, PATIENCE), KITH_EPERM);
    CHECK_EQ(w->wait(e->co, NULL, PATIENCE), KITH_EINVAL);
    CHECK_EQ(w->wait(e->co, w->object, KITH_NOWAIT), KITH_ETIMEOUT);
    CHECK_EQ(w->wait(e->co, w->object, kith_in(KITH_MS)), KITH_ETIMEOUT);
    start(e, w, &one, 1);
    CHECK(kith_future_cancel(one.future));
    await_all(e, &one, 1, KITH_ECANCELED);
    kith__store_seq(&w->begun, 0);
}

/* ---- event ---- */

static kith_err event_wait(kith_co *co, void *object, kith_time deadline)
{
    return kith_event_wait(co, object, deadline);
}

TEST_ON_WORKERS(an_event_wakes_all_who_wait)
{
    kith_event *event = kith_event_new(e->self);
    struct waits w = {.wait = event_wait, .object = event};
    struct one all[N];
    REQUIRE(event != NULL);
    CHECK(!kith_event_is_set(e->self, event));
    check_waits(e, &w);
    start(e, &w, all, N);
    CHECK_EQ(kith_event_set(e->self, event), KITH_OK);
    CHECK_EQ(kith_event_clear(e->self, event), KITH_OK); /* they were woken all the same */
    await_all(e, all, N, KITH_OK);
    for (int i = 0; i < N; i++)
        CHECK_EQ(w.order[i], i);
    CHECK_EQ(kith_event_wait(e->co, event, KITH_NOWAIT), KITH_ETIMEOUT);
    CHECK_EQ(kith_event_set(e->self, event), KITH_OK);
    CHECK(kith_event_is_set(e->self, event));
    CHECK_EQ(kith_event_wait(e->co, event, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(kith_event_wait(e->co, event, KITH_FOREVER), KITH_OK);
    kith_event_free(event);
}

/* ---- semaphore ---- */

static kith_err semaphore_wait(kith_co *co, void *object, kith_time deadline)
{
    return kith_semaphore_acquire(co, object, deadline);
}

TEST_ON_WORKERS(a_semaphore_hands_its_permits_out_in_order)
{
    kith_semaphore *s = kith_semaphore_new(e->self, 2);
    struct waits w = {.wait = semaphore_wait, .object = s};
    struct one all[N];
    REQUIRE(s != NULL);
    CHECK_EQ(kith_semaphore_acquire(e->co, s, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(kith_semaphore_acquire(e->co, s, PATIENCE), KITH_OK);
    check_waits(e, &w);
    start(e, &w, all, N);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(kith_semaphore_release(e->self, s), KITH_OK);
        CHECK_EQ(kith_semaphore_acquire(e->co, s, KITH_NOWAIT), KITH_ETIMEOUT); /* not past them */
    }
    await_all(e, all, N, KITH_OK);
    for (int i = 0; i < N; i++)
        CHECK_EQ(w.order[i], i);
    CHECK_EQ(kith_semaphore_release(e->self, s), KITH_OK);
    CHECK_EQ(kith_semaphore_acquire(e->co, s, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(kith_semaphore_acquire(e->co, s, KITH_NOWAIT), KITH_ETIMEOUT);
    kith_semaphore_free(s);
    s = kith_semaphore_new(e->self, UINT32_MAX);
    CHECK_EQ(kith_semaphore_release(e->self, s), KITH_EFULL);
    kith_semaphore_free(s);
}

/* ---- mutex ---- */

static kith_err mutex_wait(kith_co *co, void *object, kith_time deadline)
{
    kith_err err = kith_mutex_lock(co, object, deadline);
    if (err == KITH_OK) {
        CHECK_EQ(kith_mutex_lock(co, object, deadline), KITH_EDEADLK);
        CHECK_EQ(kith_yield(co), KITH_OK);
        CHECK_EQ(kith_mutex_unlock(kith_co_self(co), object), KITH_OK);
    }
    return err;
}

TEST_ON_WORKERS(a_mutex_goes_from_hand_to_hand)
{
    kith_mutex *m = kith_mutex_new(e->self);
    struct waits w = {.wait = mutex_wait, .object = m};
    struct one all[N];
    REQUIRE(m != NULL);
    CHECK_EQ(kith_mutex_unlock(e->self, m), KITH_EPERM);
    CHECK_EQ(kith_mutex_lock(e->co, m, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(kith_mutex_lock(e->co, m, PATIENCE), KITH_EDEADLK);
    CHECK_EQ(kith_mutex_unlock(e->self, m), KITH_OK);
    CHECK_EQ(kith_mutex_unlock(e->self, m), KITH_EPERM);
    CHECK_EQ(kith_mutex_lock(e->co, m, PATIENCE), KITH_OK);
    w.wait = mutex_wait;
    start(e, &w, all, N);
    CHECK_EQ(kith_mutex_unlock(e->self, m), KITH_OK);
    CHECK_EQ(kith_mutex_unlock(e->self, m), KITH_EPERM); /* another's by now, or nobody's */
    await_all(e, all, N, KITH_OK);
    for (int i = 0; i < N; i++)
        CHECK_EQ(w.order[i], i);
    CHECK_EQ(kith_mutex_lock(e->co, m, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(kith_mutex_unlock(e->self, m), KITH_OK);
    kith_mutex_free(m);
}

static kith_err mutex_only_lock(kith_co *co, void *object, kith_time deadline)
{
    return kith_mutex_lock(co, object, deadline);
}

static kith_err holds(kith_self *self, kith_co *co, void *arg, void **result)
{
    kith_msg *msg;
    *result = NULL;
    CHECK_EQ(kith_mutex_lock(co, arg, PATIENCE), KITH_OK);
    CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_ECANCELED);
    CHECK_EQ(kith_mutex_unlock(self, arg), KITH_OK); /* also in a canceled fiber */
    return KITH_OK;
}

TEST_ON_WORKERS(a_mutex_is_waited_for)
{
    kith_mutex *m = kith_mutex_new(e->self);
    kith_future *holder = kith_async(e->co, holds, m);
    struct waits w = {.wait = mutex_only_lock, .object = m};
    while (kith_mutex_lock(e->co, m, KITH_NOWAIT) == KITH_OK) {
        CHECK_EQ(kith_mutex_unlock(e->self, m), KITH_OK);
        kith_yield(e->co);
    }
    check_waits(e, &w);
    CHECK_EQ(kith_mutex_unlock(e->self, m), KITH_EPERM);
    CHECK(kith_future_cancel(holder));
    CHECK_EQ(kith_await(e->co, holder, PATIENCE, NULL), KITH_OK);
    CHECK_EQ(kith_mutex_lock(e->co, m, PATIENCE), KITH_OK);
    CHECK_EQ(kith_mutex_unlock(e->self, m), KITH_OK);
    kith_future_drop(holder);
    kith_mutex_free(m);
}

/* ---- barrier ---- */

static KITH__ATOMIC(int) leaders;

static kith_err barrier_wait(kith_co *co, void *object, kith_time deadline)
{
    bool leader = true;
    kith_err err = kith_barrier_wait(co, object, deadline, &leader);
    if (leader)
        kith__add_seq(&leaders, 1);
    return err;
}

TEST_ON_WORKERS(a_barrier_opens_for_all_and_serves_again)
{
    kith_barrier *b = kith_barrier_new(e->self, N);
    struct waits w = {.wait = barrier_wait, .object = b};
    struct one all[N];
    REQUIRE(b != NULL);
    for (int round = 0; round < 3; round++) {
        bool leader = false;
        kith__store_seq(&w.begun, 0);
        kith__store_seq(&w.got, 0);
        kith__store_seq(&leaders, 0);
        start(e, &w, all, N - 1);
        CHECK_EQ(kith__load_seq(&w.got), 0);
        CHECK_EQ(kith_barrier_wait(e->co, b, PATIENCE, round == 0 ? NULL : &leader), KITH_OK);
        CHECK_EQ(leader, round != 0); /* who comes last */
        await_all(e, all, N - 1, KITH_OK);
        CHECK_EQ(kith__load_seq(&w.got), N - 1);
        CHECK_EQ(kith__load_seq(&leaders), 0);
    }
    kith_barrier_free(b);
    b = kith_barrier_new(e->self, 1);
    CHECK_EQ(kith_barrier_wait(e->co, b, KITH_NOWAIT, NULL), KITH_OK);
    kith_barrier_free(b);
}

/* How a barrier breaks. */
enum breaks { BY_DEADLINE, BY_CANCEL, BY_ABORT, BY_RESET, BREAKS };

static void break_it(struct env *e, kith_barrier *b, struct one *all, enum breaks how)
{
    if (how == BY_DEADLINE)
        CHECK_EQ(kith_barrier_wait(e->co, b, kith_in(KITH_MS), NULL), KITH_ETIMEOUT);
    else if (how == BY_CANCEL)
        CHECK(kith_future_cancel(all[1].future));
    else if (how == BY_ABORT)
        CHECK_EQ(kith_barrier_abort(e->self, b), KITH_OK);
    else
        CHECK_EQ(kith_barrier_reset(e->self, b), KITH_OK);
}

TEST_ON_WORKERS(a_barrier_breaks_for_all)
{
    kith_barrier *b = kith_barrier_new(e->self, N);
    for (int how = 0; how < BREAKS; how++) {
        struct waits w = {.wait = barrier_wait, .object = b};
        struct one all[3];
        start(e, &w, all, 3);
        break_it(e, b, all, (enum breaks)how);
        for (int i = 0; i < 3; i++) {
            kith_err expected = how == BY_CANCEL && i == 1 ? KITH_ECANCELED : KITH_EBROKEN;
            await_all(e, &all[i], 1, expected);
        }
        CHECK_EQ(kith_barrier_wait(e->co, b, KITH_NOWAIT, NULL),
                 how == BY_RESET ? KITH_ETIMEOUT : KITH_EBROKEN);
        CHECK_EQ(kith_barrier_reset(e->self, b), KITH_OK); /* mended */
    }
    kith_barrier_free(b);
    b = kith_barrier_new(e->self, 2);
    struct waits w = {.wait = barrier_wait, .object = b};
    CHECK_EQ(kith_barrier_wait(NULL, b, PATIENCE, NULL), KITH_EPERM);
    CHECK_EQ(kith_barrier_wait(e->co, NULL, PATIENCE, NULL), KITH_EINVAL);
    CHECK_EQ(kith_barrier_wait(e->co, b, KITH_NOWAIT, NULL), KITH_ETIMEOUT);
    CHECK_EQ(kith_barrier_reset(e->self, b), KITH_OK);
    struct one one;
    start(e, &w, &one, 1);
    CHECK_EQ(kith_barrier_wait(e->co, b, PATIENCE, NULL), KITH_OK);
    await_all(e, &one, 1, KITH_OK);
    kith_barrier_free(b);
}

/* One that is canceled before it gets there breaks it, too: the others would wait in vain. */
static kith_err comes_late(kith_self *self, kith_co *co, void *arg, void **result)
{
    kith_msg *msg;
    (void)self;
    (void)result;
    CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_ECANCELED);
    return kith_barrier_wait(co, arg, PATIENCE, NULL);
}

TEST_ON_WORKERS(a_canceled_party_breaks_the_barrier)
{
    kith_barrier *b = kith_barrier_new(e->self, 2);
    kith_future *f = kith_async(e->co, comes_late, b);
    CHECK(kith_future_cancel(f));
    CHECK_EQ(kith_barrier_wait(e->co, b, PATIENCE, NULL), KITH_EBROKEN);
    CHECK_EQ(kith_await(e->co, f, PATIENCE, NULL), KITH_ECANCELED);
    kith_future_drop(f);
    kith_barrier_free(b);
}

/* ---- all of them ---- */

TEST_ON_WORKERS(a_wrong_thread_or_no_object_is_refused)
{
    kith_event *event = kith_event_new(e->self);
    kith_semaphore *s = kith_semaphore_new(e->self, 0);
    kith_mutex *m = kith_mutex_new(e->self);
    kith_barrier *b = kith_barrier_new(e->self, 2);
    CHECK(kith_event_new(NULL) == NULL && kith_semaphore_new(NULL, 1) == NULL);
    CHECK(kith_mutex_new(NULL) == NULL && kith_barrier_new(NULL, 1) == NULL);
    CHECK(kith_barrier_new(e->self, 0) == NULL);
    CHECK_EQ(kith_event_set(NULL, event), KITH_EPERM);
    CHECK_EQ(kith_event_clear(NULL, event), KITH_EPERM);
    CHECK(!kith_event_is_set(NULL, event));
    CHECK_EQ(kith_semaphore_release(NULL, s), KITH_EPERM);
    CHECK_EQ(kith_mutex_unlock(NULL, m), KITH_EPERM);
    CHECK_EQ(kith_barrier_abort(NULL, b), KITH_EPERM);
    CHECK_EQ(kith_barrier_reset(NULL, b), KITH_EPERM);
    CHECK_EQ(kith_event_set(e->self, NULL), KITH_EINVAL);
    CHECK_EQ(kith_event_clear(e->self, NULL), KITH_EINVAL);
    CHECK(!kith_event_is_set(e->self, NULL));
    CHECK_EQ(kith_semaphore_release(e->self, NULL), KITH_EINVAL);
    CHECK_EQ(kith_mutex_unlock(e->self, NULL), KITH_EINVAL);
    CHECK_EQ(kith_barrier_abort(e->self, NULL), KITH_EINVAL);
    CHECK_EQ(kith_barrier_reset(e->self, NULL), KITH_EINVAL);
    kith_event_free(event);
    kith_semaphore_free(s);
    kith_mutex_free(m);
    kith_barrier_free(b);
    kith_event_free(NULL);
    kith_semaphore_free(NULL);
    kith_mutex_free(NULL);
    kith_barrier_free(NULL);
}

static kith_err do_set_event(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    return kith_event_set(self, arg);
}

TEST_ON_WORKERS(an_actor_sets_what_a_thread_waits_for)
{
    kith_event *event = kith_event_new(e->self);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    do_later(e, actor, do_set_event, event);
    CHECK_EQ(kith_event_wait(e->co, event, PATIENCE), KITH_OK);
    settle(e, actor);
    kith_event_free(event);
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
}
