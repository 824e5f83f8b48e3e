/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Generators: values out and in, the end, freeing one in its middle, and what they refuse.
 *
 * Invariants, after each test: as in actors_common.h.
 * Threads: generators of the main thread, of fibers on all workers, and of actors.
 */
#include "tests/unit/actors_common.h"

/* Runs fn as a fiber, until its end. */
static void run_fiber(struct env *e, kith_fiber_fn *fn, void *arg)
{
    kith_scope *scope = kith_scope_new(e->co);
    kith_ref ref = kith_scope_go_named(e->self, scope, fn, arg, "fiber", NULL);
    CHECK_EQ(kith_ref_error(ref), KITH_OK);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
}

/* ---- values ---- */

/* Gives out 0 ... *arg - 1. */
static void count_up(kith_gen *gen, void *arg)
{
    for (long i = 0, n = *(long *)arg; i < n; i++)
        kith_gen_yield(gen, &i);
}

static long sum_of(kith_self *self, long n)
{
    long sum = 0;
    kith_gen *gen = kith_gen_new(self, count_up, &n);
    kith_gen_each(long, value, gen) sum += *value;
    CHECK_EQ(kith_gen_next(gen, NULL, NULL), KITH_ECLOSED);
    CHECK_EQ(kith_gen_free(gen), KITH_OK);
    return sum;
}

static void sum_in_fiber(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    CHECK_EQ(sum_of(self, 1000), 499500);
    kith_yield(co);
    CHECK_EQ(sum_of(self, 0), 0);
}

static kith_err sum_in_actor(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    (void)arg;
    CHECK_EQ(sum_of(self, 1000), 499500);
    return KITH_OK;
}

TEST_ON_WORKERS(values_come_in_order)
{
    CHECK_EQ(sum_of(e->self, 0), 0);
    CHECK_EQ(sum_of(e->self, 1), 0);
    CHECK_EQ(sum_of(e->self, 1000), 499500);
    for (int i = 0; i < 10; i++)
        run_fiber(e, sum_in_fiber, NULL);
    CHECK_EQ(do_in(e, kith_spawn(e->self, &doer, NULL), sum_in_actor, NULL), KITH_OK);
}

/* Gives back the sum of what it was given so far. */
static void add_up(kith_gen *gen, void *arg)
{
    long sum = *(long *)arg;
    for (;;) {
        const long *in = kith_gen_yield(gen, &sum);
        if (in == NULL)
            return;
        sum += *in;
    }
}

static void round_trips(kith_self *self, long n)
{
    long start = 5;
    long expected = 5;
    void *out;
    kith_gen *gen = kith_gen_new(self, add_up, &start);
    REQUIRE(gen != NULL);
    CHECK_EQ(kith_gen_next(gen, NULL, &out), KITH_OK);
    CHECK_EQ(*(long *)out, expected);
    for (long i = 1; i <= n; i++) {
        expected += i;
        if (kith_gen_next(gen, &i, &out) != KITH_OK || *(long *)out != expected) {
            FAIL("round trip %ld", i);
            break;
        }
    }
    CHECK_EQ(kith_gen_next(gen, NULL, &out), KITH_ECLOSED);
    CHECK(out == NULL);
    CHECK_EQ(kith_gen_free(gen), KITH_OK);
}

static void round_trips_in_fiber(kith_self *self, kith_co *co, void *arg)
{
    (void)co;
    (void)arg;
    round_trips(self, 1000000);
}

TEST(a_million_round_trips)
{
    struct env *e = malloc(sizeof *e);
    REQUIRE(e != NULL && env_open(e, 1));
    round_trips(e->self, 1000000);
    run_fiber(e, round_trips_in_fiber, NULL);
    env_close(e);
    free(e);
}

/* A binary tree's nodes in order: a generator that uses generators. */
struct range {
    kith_self *self;
    long low;
    long high;
};

static void in_order(kith_gen *gen, void *arg)
{
    struct range r = *(struct range *)arg;
    if (r.low >= r.high)
        return;
    long mid = r.low + (r.high - r.low) / 2;
    struct range left = {r.self, r.low, mid};
    struct range right = {r.self, mid + 1, r.high};
    kith_gen *below = kith_gen_new(r.self, in_order, &left);
    kith_gen_each(long, value, below) kith_gen_yield(gen, value);
    kith_gen_free(below);
    kith_gen_yield(gen, &mid);
    below = kith_gen_new(r.self, in_order, &right);
    kith_gen_each(long, value, below) kith_gen_yield(gen, value);
    kith_gen_free(below);
}

static void nested(kith_self *self, kith_co *co, void *arg)
{
    (void)co;
    (void)arg;
    struct range all = {self, 0, 200};
    long next = 0;
    kith_gen *gen = kith_gen_new(self, in_order, &all);
    kith_gen_each(long, value, gen) CHECK_EQ(*value, next++);
    CHECK_EQ(next, 200);
    kith_gen_free(gen);
}

TEST_ON_WORKERS(generators_use_generators)
{
    nested(e->self, e->co, NULL);
    run_fiber(e, nested, NULL);
}

/* ---- freeing ---- */

struct cleaned {
    int times;
    int yields;
};

static void with_memory(kith_gen *gen, void *arg)
{
    struct cleaned *cleaned = arg;
    char *memory = malloc(100);
    while (!kith_gen_closing(gen)) {
        cleaned->yields++;
        kith_gen_yield(gen, memory);
    }
    free(memory);
    cleaned->times++;
}

/* Knows nothing of closing: it is dropped where it stands. */
static void without_end(kith_gen *gen, void *arg)
{
    struct cleaned *cleaned = arg;
    for (;;) {
        CHECK_EQ(cleaned->yields < 4, true);
        cleaned->yields++;
        kith_gen_yield(gen, arg);
    }
}

static void free_all_kinds(kith_self *self)
{
    struct cleaned c = {0};
    kith_gen *gen = kith_gen_new(self, with_memory, &c);
    CHECK_EQ(kith_gen_free(gen), KITH_OK); /* not begun: nothing of it runs */
    CHECK_EQ(c.times, 0);
    CHECK_EQ(c.yields, 0);
    gen = kith_gen_new(self, with_memory, &c);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(kith_gen_next(gen, NULL, NULL), KITH_OK);
    CHECK_EQ(kith_gen_free(gen), KITH_OK);
    CHECK_EQ(c.times, 1);
    CHECK_EQ(c.yields, 3);
    c.yields = 0;
    gen = kith_gen_new(self, without_end, &c);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(kith_gen_next(gen, NULL, NULL), KITH_OK);
    CHECK_EQ(kith_gen_free(gen), KITH_OK);
    CHECK_EQ(c.yields, 4);
    CHECK_EQ(kith_gen_free(NULL), KITH_OK);
}

static void free_in_fiber(kith_self *self, kith_co *co, void *arg)
{
    (void)co;
    (void)arg;
    free_all_kinds(self);
}

TEST_ON_WORKERS(a_generator_is_freed_at_any_time)
{
    free_all_kinds(e->self);
    run_fiber(e, free_in_fiber, NULL);
}

static void forget(kith_self *self, kith_co *co, void *arg)
{
    (void)co;
    for (int i = 0; i < 10; i++) {
        kith_gen *gen = kith_gen_new(self, with_memory, arg);
        for (int n = 0; n < i; n++)
            CHECK_EQ(kith_gen_next(gen, NULL, NULL), KITH_OK);
    }
}

TEST_ON_WORKERS(generators_end_with_their_makers)
{
    struct cleaned c = {0};
    run_fiber(e, forget, &c);
    CHECK_EQ(c.times, 9); /* the first had not begun */
    forget(e->self, e->co, &c);
    env_detach(e);
    CHECK_EQ(c.times, 18);
}

static kith_err actor_begins(kith_self *self, struct doer *me, void *arg)
{
    me->kept = kith_gen_new(self, with_memory, arg);
    return kith_gen_next(me->kept, NULL, NULL);
}

static kith_err actor_goes_on(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    (void)arg;
    return kith_gen_next(me->kept, NULL, NULL);
}

TEST_ON_WORKERS(an_actor_that_is_placed_keeps_its_generator)
{
    struct cleaned c = {0};
    kith_spawn_options options = {.worker = e->workers};
    kith_ref actor = kith_spawn_with(e->self, &doer, NULL, &options);
    CHECK_EQ(do_in(e, actor, actor_begins, &c), KITH_OK);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(do_in(e, actor, actor_goes_on, NULL), KITH_OK);
    stop_and_wait(e, actor);
    CHECK_EQ(c.times, 1);
    CHECK_EQ(c.yields, 21);
}

/* ---- errors ---- */

struct inside {
    struct env *e;
    kith_self *self;
    kith_co *co;
    kith_gen *gen;
    bool on_thread;
};

/* Nothing may wait in here, and nothing else is refused. */
static void in_generator(kith_gen *gen, void *arg)
{
    struct inside *in = arg;
    kith_msg *msg;
    void *out;
    CHECK_EQ(kith_yield(in->co), KITH_EPERM);
    CHECK_EQ(kith_sleep(in->co, kith_in(1)), KITH_EPERM);
    CHECK_EQ(kith_receive(in->co, KITH_NOWAIT, &msg), KITH_EPERM);
    CHECK_EQ(kith_ask(in->co, kith_self_ref(in->self), KITH_NOWAIT, &msg, number, 1), KITH_EPERM);
    CHECK(kith_scope_new(in->co) == NULL);
    if (in->on_thread)
        CHECK_EQ(kith_detach(in->self), KITH_EPERM);
    CHECK_EQ(kith_send(in->self, kith_self_ref(in->self), number, .value = 7), KITH_OK);
    CHECK_EQ(kith_gen_next(gen, NULL, &out), KITH_EBUSY);
    CHECK(out == NULL);
    CHECK_EQ(kith_gen_free(gen), KITH_EBUSY);
    CHECK(!kith_gen_closing(gen));
    kith_gen_yield(gen, gen);
    CHECK_EQ(kith_yield(in->co), KITH_EPERM);
}

static void wait_inside(kith_self *self, kith_co *co, void *arg)
{
    struct inside in = {.self = self, .co = co, .on_thread = arg != NULL};
    kith_msg *msg;
    void *out;
    kith_gen *gen = kith_gen_new(self, in_generator, &in);
    CHECK_EQ(kith_gen_next(gen, NULL, &out), KITH_OK);
    CHECK(out == gen);
    CHECK_EQ(kith_receive(co, PATIENCE, &msg), KITH_OK); /* outside all is as before */
    CHECK(kith_body(msg, number) != NULL && kith_body(msg, number)->value == 7);
    CHECK_EQ(kith_gen_next(gen, NULL, NULL), KITH_ECLOSED);
    CHECK_EQ(kith_yield(co), KITH_OK);
    CHECK(kith_gen_yield(gen, gen) == NULL);
    CHECK_EQ(kith_gen_free(gen), KITH_OK);
}

TEST_ON_WORKERS(a_generator_does_not_wait)
{
    wait_inside(e->self, e->co, e);
    run_fiber(e, wait_inside, NULL);
}

static void use_of_others(kith_self *self, kith_co *co, void *arg)
{
    void *out;
    (void)self;
    (void)co;
    CHECK_EQ(kith_gen_next(arg, NULL, &out), KITH_EPERM);
    CHECK(out == NULL);
    CHECK(kith_gen_yield(arg, NULL) == NULL);
    CHECK(!kith_gen_closing(arg));
    CHECK_EQ(kith_gen_free(arg), KITH_EPERM);
}

TEST_ON_WORKERS(generators_refuse_what_is_wrong)
{
    long n = 3;
    kith_gen_options options = {.stack_bytes = (size_t)1 << 40};
    CHECK(kith_gen_new(NULL, count_up, &n) == NULL);
    CHECK(kith_gen_new(e->self, NULL, &n) == NULL);
    CHECK(kith_gen_new_with(e->self, count_up, &n, &options) == NULL);
    CHECK_EQ(kith_gen_next(NULL, NULL, NULL), KITH_EINVAL);
    CHECK(kith_gen_yield(NULL, NULL) == NULL);
    CHECK(!kith_gen_closing(NULL));
    kith_gen *gen = kith_gen_new(e->self, count_up, &n);
    run_fiber(e, use_of_others, gen);
    CHECK_EQ(kith_gen_next(gen, NULL, NULL), KITH_OK);
    run_fiber(e, use_of_others, gen);
    CHECK_EQ(kith_gen_free(gen), KITH_OK);
}

/* ---- the stack ---- */

static void deep(kith_gen *gen, void *arg)
{
    volatile char room[200000];
    room[0] = 1;
    room[sizeof room - 1] = 2;
    kith_gen_yield(gen, arg);
    CHECK_EQ(room[0] + room[sizeof room - 1], 3);
}

TEST_ON_WORKERS(a_generator_has_the_stack_that_it_asks_for)
{
    kith_gen_options options = {.stack_bytes = (size_t)1 << 19};
    void *out;
    kith_gen *gen = kith_gen_new_with(e->self, deep, e, &options);
    CHECK_EQ(kith_gen_next(gen, NULL, &out), KITH_OK);
    CHECK(out == e);
    CHECK_EQ(kith_gen_next(gen, NULL, &out), KITH_ECLOSED);
    CHECK_EQ(kith_gen_free(gen), KITH_OK);
}
