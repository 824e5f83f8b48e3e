/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The pool for blocking calls under stress: fibers, attached threads and actors call; calls are
 * taken back, time out before they begin, and their callers are canceled; threads retire at once,
 * so that starting and ending them meets everything else; and the runtime shuts down in the middle.
 *
 * What must hold: a function runs once or not at all, as its caller was told; each call has one
 * end.
 */
#include "base/atomic.h"
#include "tests/stress/stress.h"

#define FIBERS 16
#define ACTORS 4
#define THREADS 3

static KITH__ATOMIC(uint64_t) ran;
static KITH__ATOMIC(uint64_t) told_ran; /* ends that said so */

/* The result of a function that has run; no error of kith's own calls is this. */
#define RAN KITH_ETYPE

static kith_err work(void *arg)
{
    KITH__ATOMIC(uint32_t) *begun = arg;
    if (kith__add_rlx(begun, 1) != 0)
        FAIL("a function ran twice");
    kith__add_rlx(&ran, 1);
    if (kith__load_rlx(&ran) % 64 == 0)
        sched_yield();
    return RAN;
}

/* What a call that is no message's told, against what happened. */
static kith_err check_told(kith_err err, KITH__ATOMIC(uint32_t) * begun)
{
    bool has_run = kith__load_rlx(begun) != 0;
    CHECK_EQ(has_run, err == RAN);
    if (err == RAN)
        kith__add_rlx(&told_ran, 1);
    return err;
}

static bool is_end(kith_err err)
{
    return err == KITH_ECANCELED || err == KITH_ESHUTDOWN;
}

struct place {
    uint32_t index;
    uint32_t times;
};

/* Calls on and on; returns false if it was canceled. */
static bool calls(kith_co *co, struct place p)
{
    struct kith__random random;
    stress_random(&random, p.index);
    for (uint32_t i = 0; i < p.times; i++) {
        KITH__ATOMIC(uint32_t) begun = 0;
        kith_err err;
        if (kith__random_next(&random) % 4 == 0)
            err = kith_blocking_by(co, kith_in(kith__random_next(&random) % 20000), work, &begun);
        else
            err = kith_blocking(co, work, &begun);
        check_told(err, &begun);
        if (is_end(err))
            return false;
        CHECK(err == RAN || err == KITH_ETIMEOUT || err == KITH_EFULL);
    }
    return true;
}

static void fiber(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    calls(co, *(const struct place *)arg);
}

/* ---- an actor with up to 8 calls open, some of which it takes back ---- */

#define OPEN 8

KITH_MESSAGE(step, { char none; });

struct caller {
    struct place place;
    struct kith__random random;
    KITH__ATOMIC(uint32_t) * begun; /* OPEN of them */
    uint64_t job[OPEN];
    uint32_t open;
    uint32_t sent;
};

static kith_err caller_init(kith_self *self, void *state, const void *arg)
{
    struct caller *me = state;
    me->place = *(const struct place *)arg;
    stress_random(&me->random, me->place.index);
    me->begun = calloc(OPEN, sizeof *me->begun);
    return kith_send(self, kith_self_ref(self), step);
}

static void caller_stop(kith_self *self, void *state, kith_err reason)
{
    (void)self;
    (void)reason;
    struct caller *me = state;
    if (me->open == 0)
        free(me->begun); /* else a function may still use it: the test leaves it at a shutdown */
}

static void begin_one(kith_self *self, struct caller *me, unsigned i)
{
    kith__store_rlx(&me->begun[i], 0);
    kith_err err = kith_blocking_send(self, work, &me->begun[i], &me->job[i]);
    if (err == KITH_OK) {
        me->open++;
        me->sent++;
    } else {
        CHECK(err == KITH_EFULL || err == KITH_ESHUTDOWN);
    }
}

static void take_back(kith_self *self, struct caller *me, unsigned i)
{
    kith_err err = kith_blocking_cancel(self, me->job[i]);
    if (err == KITH_OK) {
        CHECK_EQ(kith__load_rlx(&me->begun[i]), 0u);
        me->job[i] = 0;
        me->open--;
    } else {
        CHECK_EQ(err, KITH_EBUSY);
    }
}

KITH_ON(caller, step)
{
    unsigned i = (unsigned)(kith__random_next(&me->random) % OPEN);
    if (me->job[i] == 0 && me->sent < me->place.times)
        begin_one(self, me, i);
    else if (me->job[i] != 0 && kith__random_next(&me->random) % 2 == 0)
        take_back(self, me, i);
    if (me->sent == me->place.times && me->open == 0)
        return kith_stop(self, kith_self_ref(self));
    return kith_send(self, kith_self_ref(self), step);
}

KITH_ON(caller, kith_blocking_done)
{
    unsigned i = (unsigned)((KITH__ATOMIC(uint32_t) *)msg->arg - me->begun);
    CHECK_EQ(msg->job, me->job[i]);
    check_told(msg->status, &me->begun[i]);
    me->job[i] = 0;
    me->open--;
    return KITH_OK;
}

static const kith_behavior caller = {
    .name = "caller",
    .state_bytes = sizeof(struct caller),
    .handlers = KITH_HANDLERS(caller, step, kith_blocking_done),
    .init = caller_init,
    .stop = caller_stop,
};

/* ---- the world ---- */

struct world {
    kith_runtime *rt;
    uint32_t times;
};

static void cancel_some(kith_self *self, kith_co *co, const kith_ref *fibers)
{
    struct kith__random random;
    stress_random(&random, 1000);
    for (int i = 0; i < FIBERS / 2; i++) {
        kith_err err = kith_stop(self, fibers[kith__random_next(&random) % FIBERS]);
        CHECK(err == KITH_OK || err == KITH_EDEAD);
        CHECK_EQ(kith_sleep(co, kith_in(KITH_MS)), KITH_OK);
    }
}

static void begin_all(struct world *w, kith_self *self, kith_co *co)
{
    kith_ref fibers[FIBERS];
    for (uint32_t i = 0; i < FIBERS; i++) {
        struct place p = {THREADS + 1 + i, w->times};
        kith_fiber_options options = {.arg_bytes = sizeof p};
        fibers[i] = kith_go_with(self, fiber, &p, &options);
    }
    for (uint32_t i = 0; i < ACTORS; i++) {
        struct place p = {THREADS + 1 + FIBERS + i, w->times};
        CHECK_EQ(kith_ref_error(kith_spawn(self, &caller, &p)), KITH_OK);
    }
    cancel_some(self, co, fibers);
}

static void outside(unsigned index, void *arg)
{
    struct world *w = arg;
    kith_self *self;
    kith_co *co;
    REQUIRE(kith_attach(w->rt, &self, &co) == KITH_OK);
    if (index == 0)
        begin_all(w, self, co);
    else
        CHECK(calls(co, (struct place){index, w->times}));
    CHECK_EQ(kith_detach(self), KITH_OK);
}

static void run(const char *name, unsigned threads, unsigned queue, kith_time idle_ns)
{
    stress_limit(name);
    kith__store_seq(&ran, 0);
    kith__store_seq(&told_ran, 0);
    struct world w = {NULL, (uint32_t)stress_times(8000)};
    kith_config config = {.workers = 2,
                          .seed = test_seed() | 1,
                          .log = stress_log,
                          .blocking_threads = threads,
                          .blocking_queue = queue,
                          .blocking_idle_ns = idle_ns};
    REQUIRE(kith_start(&config, &w.rt) == KITH_OK);
    stress_threads(THREADS + 1, outside, &w);
    CHECK_EQ(kith_join(w.rt, kith_in(STRESS_PATIENCE_NS)), KITH_OK);
    stress_end(w.rt);
    CHECK_EQ(kith__load_seq(&ran), kith__load_seq(&told_ran));
}

TEST(one_thread)
{
    run("one_thread", 1, 1000, 0);
}

TEST(few_threads_and_a_short_queue)
{
    run("few_threads_and_a_short_queue", 3, 2, 0);
}

TEST(threads_that_retire_at_once)
{
    run("threads_that_retire_at_once", 8, 1000, 1);
}

/* ---- a shutdown in the middle ---- */

static void shut_down_in_the_middle(void)
{
    kith_runtime *rt = NULL;
    kith_self *self;
    kith_config config = {.workers = 2,
                          .seed = test_seed() | 1,
                          .log = stress_log,
                          .blocking_threads = 2,
                          .blocking_idle_ns = 1};
    REQUIRE(kith_start(&config, &rt) == KITH_OK);
    REQUIRE(kith_attach(rt, &self, NULL) == KITH_OK);
    for (uint32_t i = 0; i < FIBERS; i++) {
        struct place p = {i, UINT32_MAX};
        kith_fiber_options options = {.arg_bytes = sizeof p};
        kith_go_with(self, fiber, &p, &options);
    }
    uint64_t seen = kith__load_seq(&ran);
    while (kith__load_seq(&ran) < seen + 10)
        sched_yield();
    CHECK_EQ(kith_detach(self), KITH_OK);
    CHECK_EQ(kith_shutdown(rt, kith_in(STRESS_PATIENCE_NS)), KITH_OK);
}

TEST(shutdowns_in_the_middle)
{
    stress_limit("shutdowns_in_the_middle");
    kith__store_seq(&ran, 0);
    kith__store_seq(&told_ran, 0);
    for (uint64_t i = 0; i < stress_times(200); i++)
        shut_down_in_the_middle();
    CHECK_EQ(kith__load_seq(&ran), kith__load_seq(&told_ran));
    alarm(0);
}
