/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of the synchronization objects: fibers on several workers wait for one object, with and without
 * deadlines, and are canceled one after the other, each at any moment.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: what is handed over at the moment of a deadline or a cancellation is not lost and not
 *   had twice (SY1, SY2 of csp/sync.c, QU1 of csp/queue.c): afterwards all permits, the mutex and each
 *   item are there again, and of a barrier's parties all pass or none.
 * Threads: the fibers' workers, and the main thread, attached, which cancels.
 * Why so many steps and then none: the work must not grow when the machine is loaded and the main
 *   thread comes late.
 */
#include "tests/stress/stress.h"

#include "base/atomic.h"

#define WORKERS 3u
#define FIBERS 100u
#define PERMITS 3u
#define STEPS 100u /* so often a task does what it does; then it waits to be canceled */

struct shared {
    kith_semaphore *semaphore;
    kith_mutex *mutex;
    kith_event *event;
    kith_barrier *barrier;
    kith_queue *queue;
    uint32_t parties;
    KITH__ATOMIC(uint32_t) inside;
    KITH__ATOMIC(uint64_t) served;
    KITH__ATOMIC(uint64_t) leaders;
    KITH__ATOMIC(uint64_t) put;
    KITH__ATOMIC(uint64_t) put_sum;
    KITH__ATOMIC(uint64_t) got_sum;
    uint64_t plain; /* under the mutex */
};

struct party {
    struct shared *shared;
    uint64_t seed;
};

static kith_time some_deadline(kith_self *self)
{
    uint64_t r = kith_random(self) % 64;
    return r == 0 ? KITH_NOWAIT : r < 8 ? kith_in(r * 10 * KITH_US) : KITH_FOREVER;
}

/* Whether to go on after what a wait has answered, for the `steps`th time. */
static bool goes_on(kith_co *co, kith_err *err, unsigned steps)
{
    kith_msg *msg;
    CHECK(*err == KITH_OK || *err == KITH_ETIMEOUT || *err == KITH_ECANCELED);
    if (*err != KITH_ECANCELED && steps == STEPS)
        *err = kith_receive(co, KITH_FOREVER, &msg);
    return *err != KITH_ECANCELED;
}

/* No more than max are inside at a time; some wait there. */
static void be_inside(kith_co *co, struct shared *s, uint32_t max)
{
    CHECK_LT(kith__add_seq(&s->inside, 1), max);
    kith_yield(co);
    kith__sub_seq(&s->inside, 1);
    kith__add_rlx(&s->served, 1);
}

static kith_err uses_semaphore(kith_self *self, kith_co *co, void *arg, void **result)
{
    struct shared *s = ((struct party *)arg)->shared;
    unsigned steps = 0;
    kith_err err;
    (void)result;
    do {
        err = kith_semaphore_acquire(co, s->semaphore, some_deadline(self));
        if (err == KITH_OK) {
            be_inside(co, s, PERMITS);
            CHECK_EQ(kith_semaphore_release(self, s->semaphore), KITH_OK);
        }
    } while (goes_on(co, &err, ++steps));
    return err;
}

static kith_err uses_mutex(kith_self *self, kith_co *co, void *arg, void **result)
{
    struct shared *s = ((struct party *)arg)->shared;
    unsigned steps = 0;
    kith_err err;
    (void)result;
    do {
        err = kith_mutex_lock(co, s->mutex, some_deadline(self));
        if (err == KITH_OK) {
            s->plain++;
            be_inside(co, s, 1);
            CHECK_EQ(kith_mutex_unlock(self, s->mutex), KITH_OK);
        }
    } while (goes_on(co, &err, ++steps));
    return err;
}

/* Some set and clear, the others wait. */
static kith_err uses_event(kith_self *self, kith_co *co, void *arg, void **result)
{
    const struct party *party = arg;
    struct shared *s = party->shared;
    unsigned steps = 0;
    kith_err err;
    (void)result;
    do {
        if (party->seed % 8 == 0) {
            CHECK_EQ(kith_event_set(self, s->event), KITH_OK);
            CHECK_EQ(kith_event_clear(self, s->event), KITH_OK);
            err = kith_sleep(co, kith_in(kith_random(self) % 50 * KITH_US));
        } else {
            err = kith_event_wait(co, s->event, some_deadline(self));
            kith__add_rlx(&s->served, err == KITH_OK);
        }
    } while (goes_on(co, &err, ++steps));
    return err;
}

static kith_err uses_queue(kith_self *self, kith_co *co, void *arg, void **result)
{
    const struct party *party = arg;
    struct shared *s = party->shared;
    uintptr_t number = 1 + (uintptr_t)(party->seed % 1000);
    unsigned steps = 0;
    kith_err err;
    (void)result;
    do {
        void *item = (void *)number;
        bool puts = party->seed % 2 == 0;
        err = puts ? kith_queue_put(co, s->queue, item, some_deadline(self))
                   : kith_queue_get(co, s->queue, &item, some_deadline(self));
        if (err == KITH_OK && puts) {
            kith__add_rlx(&s->put, 1);
            kith__add_rlx(&s->put_sum, number);
        } else if (err == KITH_OK) {
            kith__add_rlx(&s->served, 1);
            kith__add_rlx(&s->got_sum, (uintptr_t)item);
            CHECK_EQ(kith_queue_task_done(self, s->queue), KITH_OK);
        }
    } while (goes_on(co, &err, ++steps));
    return err;
}

static kith_err uses_barrier(kith_self *self, kith_co *co, void *arg, void **result)
{
    struct shared *s = ((struct party *)arg)->shared;
    bool leader;
    kith_err err = KITH_OK;
    (void)self;
    (void)result;
    for (unsigned i = 0; i < 10 * STEPS && err == KITH_OK; i++) { /* all do it as often */
        err = kith_barrier_wait(co, s->barrier, KITH_FOREVER, &leader);
        kith__add_rlx(&s->served, err == KITH_OK);
        kith__add_rlx(&s->leaders, leader);
    }
    CHECK(err == KITH_OK || err == KITH_ECANCELED || err == KITH_EBROKEN);
    return err;
}

/* ---- the main thread ---- */

struct main {
    kith_runtime *rt;
    kith_self *self;
    kith_co *co;
};

static bool begin(struct main *m, const char *name)
{
    stress_limit(name);
    m->rt = stress_start(WORKERS);
    if (m->rt == NULL)
        return false;
    kith_err err = kith_attach(m->rt, &m->self, &m->co);
    CHECK_EQ(err, KITH_OK);
    return err == KITH_OK;
}

static void end(struct main *m, const char *what, uint64_t n)
{
    printf("%" PRIu64 " %s, ", n, what);
    CHECK_GT(n, (uint64_t)0);
    CHECK_EQ(kith_detach(m->self), KITH_OK);
    stress_end(m->rt);
}

/* Lets others run for a random while. */
static void linger(struct main *m)
{
    for (uint64_t n = kith_random(m->self) % 64; n > 0; n--)
        kith_yield(m->co);
}

/* Starts n tasks, and cancels those from `keep` on in random order; all have ended afterwards. */
static void storm(struct main *m, struct shared *s, kith_async_fn *fn, unsigned n, unsigned keep)
{
    static struct party parties[FIBERS];
    kith_future *f[FIBERS];
    for (unsigned i = 0; i < n; i++) {
        parties[i] = (struct party){s, i};
        f[i] = kith_async_named(m->self, fn, &parties[i], "party", NULL);
    }
    for (unsigned i = n; i > keep; i--) {
        unsigned at = (unsigned)(kith_random(m->self) % i);
        kith_future *one = f[at];
        f[at] = f[i - 1];
        f[i - 1] = one;
        linger(m);
        kith_future_cancel(one);
    }
    CHECK_EQ(kith_wait_all(m->co, f, n, kith_in(STRESS_PATIENCE_NS)), KITH_OK);
    for (unsigned i = 0; i < n; i++)
        kith_future_drop(f[i]);
}

TEST(no_permit_is_lost)
{
    struct main m;
    struct shared s = {.plain = 0};
    REQUIRE(begin(&m, "no_permit_is_lost"));
    s.semaphore = kith_semaphore_new(m.self, PERMITS);
    for (uint64_t i = stress_times(60); i > 0; i--) {
        storm(&m, &s, uses_semaphore, FIBERS, 0);
        for (unsigned k = 0; k <= PERMITS; k++)
            CHECK_EQ(kith_semaphore_acquire(m.co, s.semaphore, KITH_NOWAIT),
                     k < PERMITS ? KITH_OK : KITH_ETIMEOUT);
        for (unsigned k = 0; k < PERMITS; k++)
            CHECK_EQ(kith_semaphore_release(m.self, s.semaphore), KITH_OK);
    }
    kith_semaphore_free(s.semaphore);
    end(&m, "permits", kith__load_rlx(&s.served));
}

TEST(no_lock_is_lost)
{
    struct main m;
    struct shared s = {.plain = 0};
    REQUIRE(begin(&m, "no_lock_is_lost"));
    s.mutex = kith_mutex_new(m.self);
    for (uint64_t i = stress_times(60); i > 0; i--) {
        storm(&m, &s, uses_mutex, FIBERS, 0);
        CHECK_EQ(kith_mutex_lock(m.co, s.mutex, KITH_NOWAIT), KITH_OK);
        CHECK_EQ(s.plain, kith__load_rlx(&s.served));
        CHECK_EQ(kith_mutex_unlock(m.self, s.mutex), KITH_OK);
    }
    kith_mutex_free(s.mutex);
    end(&m, "locks", s.plain);
}

TEST(an_event_leaves_nobody_behind)
{
    struct main m;
    struct shared s = {.plain = 0};
    REQUIRE(begin(&m, "an_event_leaves_nobody_behind"));
    s.event = kith_event_new(m.self);
    for (uint64_t i = stress_times(60); i > 0; i--)
        storm(&m, &s, uses_event, FIBERS, 0);
    kith_event_free(s.event); /* asserts that nobody waits */
    end(&m, "wakes", kith__load_rlx(&s.served));
}

TEST(no_item_is_lost)
{
    struct main m;
    struct shared s = {.plain = 0};
    REQUIRE(begin(&m, "no_item_is_lost"));
    s.queue = kith_queue_new(m.self, 5);
    for (uint64_t i = stress_times(60); i > 0; i--) {
        void *item;
        storm(&m, &s, uses_queue, FIBERS, 0);
        while (kith_queue_get(m.co, s.queue, &item, KITH_NOWAIT) == KITH_OK) {
            kith__add_rlx(&s.served, 1);
            kith__add_rlx(&s.got_sum, (uintptr_t)item);
            CHECK_EQ(kith_queue_task_done(m.self, s.queue), KITH_OK);
        }
        CHECK_EQ(kith__load_rlx(&s.served), kith__load_rlx(&s.put));
        CHECK_EQ(kith__load_rlx(&s.got_sum), kith__load_rlx(&s.put_sum));
        CHECK_EQ(kith_queue_join(m.co, s.queue, KITH_NOWAIT), KITH_OK);
    }
    kith_queue_free(s.queue);
    end(&m, "items", kith__load_rlx(&s.served));
}

TEST(a_barrier_lets_all_pass_or_none)
{
    struct main m;
    struct shared s = {.plain = 0};
    REQUIRE(begin(&m, "a_barrier_lets_all_pass_or_none"));
    for (uint64_t i = stress_times(400); i > 0; i--) {
        s.parties = 2 + (uint32_t)(i % 6);
        s.barrier = kith_barrier_new(m.self, s.parties);
        kith__store_rlx(&s.served, 0);
        kith__add_rlx(&s.put, kith__load_rlx(&s.leaders));
        kith__store_rlx(&s.leaders, 0);
        storm(&m, &s, uses_barrier, s.parties, s.parties - 1); /* one is enough */
        CHECK_EQ(kith__load_rlx(&s.served), kith__load_rlx(&s.leaders) * s.parties);
        kith_barrier_free(s.barrier);
    }
    end(&m, "generations", kith__load_rlx(&s.put));
}
