/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Fibers: spawning them, where and when they run, cancellation, the end. (Their mail and questions:
 * csp_fiber_mail.c; memory that runs out: csp_fiber_oom.c.)
 *
 * Invariants, after each test: as in actors_common.h.
 * Threads: fibers on all workers; the main thread waits for them, in a scope where that will do.
 */
#include "tests/unit/actors_common.h"

/* Runs fn as a fiber until its end; the reason, if it fails. */
static kith_err run_with(struct env *e, kith_fiber_fn *fn, void *arg,
                         const kith_fiber_options *options)
{
    kith_scope *scope = kith_scope_new(e->co);
    kith_ref ref = kith_scope_go_named(e->self, scope, fn, arg, "run", options);
    CHECK_EQ(kith_ref_error(ref), KITH_OK);
    return kith_scope_leave(e->co, scope);
}

static kith_err run(struct env *e, kith_fiber_fn *fn, void *arg)
{
    return run_with(e, fn, arg, NULL);
}

static void await(KITH__ATOMIC(int) * word, int value)
{
    while (kith__load_seq(word) < value)
        sched_yield();
}

static void do_end(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    (void)co;
    (void)arg;
}

/* ---- spawning ---- */

static kith_err go_error(struct env *e, const kith_fiber_options *options, void *arg)
{
    return kith_ref_error(kith_go_with(e->self, do_end, arg, options));
}

TEST_ON_WORKERS(spawning_refuses_what_is_wrong)
{
    kith_fiber_options options = {0};
    CHECK_EQ(kith_ref_error(kith_go(NULL, do_end, NULL)), KITH_EPERM);
    CHECK_EQ(kith_ref_error(kith_go_named(e->self, NULL, NULL, "x", NULL)), KITH_EINVAL);
    CHECK_EQ(kith_ref_error(kith_go_named(e->self, do_end, NULL, NULL, NULL)), KITH_EINVAL);
    options.worker = e->workers + 1;
    CHECK_EQ(go_error(e, &options, NULL), KITH_EINVAL);
    options = (kith_fiber_options){.stack_bytes = ((size_t)8 << 20) + 1};
    CHECK_EQ(go_error(e, &options, NULL), KITH_EINVAL);
    options = (kith_fiber_options){.arg_bytes = 4097};
    CHECK_EQ(go_error(e, &options, &options), KITH_EINVAL);
    options = (kith_fiber_options){.arg_bytes = 1};
    CHECK_EQ(go_error(e, &options, NULL), KITH_EINVAL);
    options = (kith_fiber_options){.parent = made_up()};
    CHECK_EQ(go_error(e, &options, NULL), KITH_EBADREF);
    kith_ref dead = kith_spawn(e->self, &doer, NULL);
    stop_and_wait(e, dead);
    options = (kith_fiber_options){.parent = dead};
    CHECK_EQ(go_error(e, &options, NULL), KITH_EDEAD);
    CHECK_EQ(go_error(e, NULL, NULL), KITH_OK);
}

struct seen {
    KITH__ATOMIC(int) times;
    kith_ref self;
    kith_ref parent;
    pthread_t thread;
};

static void look(kith_self *self, kith_co *co, void *arg)
{
    struct seen *seen = arg;
    CHECK(kith_co_self(co) == self);
    seen->self = kith_self_ref(self);
    seen->parent = kith_parent(self);
    seen->thread = pthread_self();
    kith__add_seq(&seen->times, 1);
}

TEST_ON_WORKERS(options_are_what_the_fiber_sees)
{
    struct seen a = {0};
    struct seen b = {0};
    kith_ref parent = kith_spawn(e->self, &doer, NULL);
    kith_fiber_options options = {.parent = parent, .worker = e->workers};
    kith_scope *scope = kith_scope_new(e->co);
    kith_ref ref = kith_scope_go_with(e->self, scope, look, &a, &options);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    CHECK_EQ(a.self.bits, ref.bits);
    CHECK_EQ(a.parent.bits, parent.bits);
    options.parent = (kith_ref){0};
    CHECK_EQ(run_with(e, look, &b, &options), KITH_OK);
    CHECK_EQ(b.parent.bits, kith_self_ref(e->self).bits);
    CHECK(pthread_equal(a.thread, b.thread));
    CHECK_EQ(kith__load_seq(&a.times), 1);
}

struct big {
    unsigned char bytes[4096];
    KITH__ATOMIC(int) * sum;
};

static void sum_of_copy(kith_self *self, kith_co *co, void *arg)
{
    struct big *copy = arg;
    int sum = 0;
    (void)self;
    CHECK_EQ((uintptr_t)arg % 16, (uintptr_t)0);
    kith_yield(co);
    for (size_t i = 0; i < 4000; i++)
        sum += copy->bytes[i];
    CHECK_EQ(sum, 4000L * 3);
    memset(copy->bytes, 9, 4000); /* its own */
}

TEST_ON_WORKERS(the_argument_is_copied)
{
    kith_scope *scope = kith_scope_new(e->co);
    for (size_t bytes = 4001; bytes <= 4096; bytes++) {
        struct big big;
        kith_fiber_options options = {.arg_bytes = bytes, .stack_bytes = 16384};
        memset(big.bytes, 3, sizeof big.bytes);
        CHECK_EQ(kith_ref_error(kith_scope_go_with(e->self, scope, sum_of_copy, &big, &options)),
                 KITH_OK);
        memset(big.bytes, 0, sizeof big.bytes);
    }
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
}

/* ---- stacks and statistics ---- */

/* What the caller passes is its own frame's, so no compiler makes a loop of this. */
static __attribute__((noinline)) int use_stack(size_t bytes, volatile char *above)
{
    volatile char piece[1000];
    piece[0] = 1;
    int more = bytes <= sizeof piece ? 0 : use_stack(bytes - sizeof piece, piece);
    above[0] = 1;
    return piece[0] + more;
}

static void go_deep(kith_self *self, kith_co *co, void *arg)
{
    size_t bytes = *(size_t *)arg;
    (void)self;
    volatile char top[1];
    CHECK_GT(use_stack(bytes, top), 0);
    kith_yield(co);
}

static kith_fiber_stats stats_of(struct env *e, const char *name)
{
    kith_fiber_stats all[64];
    size_t n = kith_fiber_stats_get(e->self, all, 64);
    for (size_t i = 0; i < n && i < 64; i++)
        if (strcmp(all[i].name, name) == 0)
            return all[i];
    return (kith_fiber_stats){.name = "none"};
}

static void wait_for_open(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    while (kith__load_seq((KITH__ATOMIC(int) *)arg) == 0)
        CHECK_EQ(kith_sleep(co, kith_in(100 * KITH_US)), KITH_OK);
}

TEST_ON_WORKERS(statistics_count_fibers_and_their_stacks)
{
    size_t little = 1000;
    size_t much = 300000;
    KITH__ATOMIC(int) open = 0;
    kith_fiber_options options = {.stack_bytes = (size_t)1 << 20};
    kith_scope *scope = kith_scope_new(e->co);
    kith_scope_go(e->self, scope, wait_for_open, &open);
    kith_scope_go(e->self, scope, wait_for_open, &open);
    CHECK_EQ(stats_of(e, "wait_for_open").alive, 2u);
    for (int i = 0; i < 3; i++)
        kith_scope_go_with(e->self, scope, go_deep, i == 1 ? &much : &little, &options);
    kith__store_seq(&open, 1);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    kith_fiber_stats stats = stats_of(e, "go_deep");
    CHECK_EQ(stats.spawned, 3u);
    CHECK_EQ(stats.alive, 0u);
    CHECK_EQ(stats.stack_bytes, options.stack_bytes);
    CHECK_GE(stats.stack_used_bytes, much);
    CHECK_LE(stats.stack_used_bytes, options.stack_bytes);
    stats = stats_of(e, "wait_for_open");
    CHECK_EQ(stats.spawned, 2u);
    CHECK_EQ(stats.alive, 0u);
    CHECK_GE(kith_fiber_stats_get(e->self, NULL, 0), 2u);
    CHECK_EQ(kith_fiber_stats_get(NULL, NULL, 0), 0u);
}

/* ---- fairness ---- */

enum { CIRCLE = 10, ROUNDS = 300 };

struct circle {
    KITH__ATOMIC(int) begun;
    KITH__ATOMIC(int) turns[CIRCLE];
    KITH__ATOMIC(int) next;
};

/* On one worker nobody is two turns ahead of another, once all have begun. */
static void in_circle(kith_self *self, kith_co *co, void *arg)
{
    struct circle *c = arg;
    int mine = kith__add_rlx(&c->next, 1);
    (void)self;
    kith__add_rlx(&c->begun, 1);
    while (kith__load_rlx(&c->begun) < CIRCLE)
        kith_yield(co);
    for (int i = 0; i < ROUNDS; i++) {
        for (int other = 0; other < CIRCLE; other++) {
            int turns = kith__load_rlx(&c->turns[other]);
            CHECK(turns >= i - 1 && turns <= i + 2);
        }
        kith__add_rlx(&c->turns[mine], 1);
        CHECK_EQ(kith_yield(co), KITH_OK);
    }
}

TEST_ON_WORKERS(yielding_goes_round)
{
    struct circle c = {0};
    kith_fiber_options options = {.worker = e->workers};
    kith_scope *scope = kith_scope_new(e->co);
    for (int i = 0; i < CIRCLE; i++)
        kith_scope_go_with(e->self, scope, in_circle, &c, &options);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
}

/* An actor that never rests. */
static kith_err spin(kith_self *self, struct doer *me, void *arg)
{
    if (kith__load_seq((KITH__ATOMIC(int) *)arg) != 0)
        return KITH_OK;
    me->count++;
    return kith_send(self, kith_self_ref(self), tell, .fn = spin, .arg = arg);
}

static kith_err get_count(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    *(int *)arg = me->count;
    return KITH_OK;
}

static void yield_often(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(kith_yield(co), KITH_OK);
    kith__add_seq((KITH__ATOMIC(int) *)arg, 1);
}

TEST_ON_WORKERS(fibers_and_actors_get_their_turns)
{
    KITH__ATOMIC(int) over = 0;
    KITH__ATOMIC(int) fibers = 0;
    kith_ref hogs[6]; /* more than there are workers */
    for (int i = 0; i < 6; i++) {
        hogs[i] = kith_spawn(e->self, &doer, NULL);
        do_later(e, hogs[i], spin, &over);
    }
    kith_scope *scope = kith_scope_new(e->co);
    for (int i = 0; i < 6; i++)
        kith_scope_go(e->self, scope, yield_often, &fibers);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    for (int i = 0; i < 6; i++) {
        int count = 0;
        CHECK_EQ(do_in(e, hogs[i], get_count, &count), KITH_OK);
        CHECK_GT(count, 10);
    }
    kith__store_seq(&over, 1);
    for (int i = 0; i < 12; i++) /* twice each: a last spin may wait behind the first question */
        settle(e, hogs[i % 6]);
}

struct busy {
    KITH__ATOMIC(int) over;
    KITH__ATOMIC(int) served;
};

/* Never has to wait: it always finds its own mail. */
static void never_wait(kith_self *self, kith_co *co, void *arg)
{
    struct busy *busy = arg;
    kith_msg *msg;
    while (kith__load_seq(&busy->over) == 0) {
        CHECK_EQ(kith_send(self, kith_self_ref(self), number, .value = 1), KITH_OK);
        CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_OK);
    }
}

static void end_the_busy(kith_self *self, kith_co *co, void *arg)
{
    struct busy *busy = arg;
    (void)self;
    for (int i = 0; i < 5; i++)
        kith_yield(co);
    kith__store_seq(&busy->over, 1);
}

TEST_ON_WORKERS(who_always_finds_its_mail_gives_way)
{
    struct busy busy = {0};
    kith_fiber_options options = {.worker = 1};
    kith_scope *scope = kith_scope_new(e->co);
    kith_scope_go_with(e->self, scope, never_wait, &busy, &options);
    kith_scope_go_with(e->self, scope, end_the_busy, &busy, &options);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
}

/* ---- where they run ---- */

static _Thread_local int local;

/* Not inlined, so that the address is the thread's of that moment. */
static __attribute__((noinline)) int *local_here(void)
{
    __asm__ volatile("");
    return &local;
}

static void stay(kith_self *self, kith_co *co, void *arg)
{
    pthread_t thread = pthread_self();
    int *address = local_here();
    kith_msg *msg;
    kith_ref echo = *(kith_ref *)arg;
    for (int i = 0; i < 200; i++) {
        switch (i % 4) {
        case 0:
            CHECK_EQ(kith_yield(co), KITH_OK);
            break;
        case 1:
            CHECK_EQ(kith_ask(co, echo, KITH_FOREVER, &msg, order, .fn = do_nothing), KITH_OK);
            break;
        case 2:
            if (i % 20 == 2)
                CHECK_EQ(kith_sleep(co, kith_in(50 * KITH_US)), KITH_OK);
            break;
        default:
            kith_send(self, kith_self_ref(self), number, .value = i);
            CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_OK);
            break;
        }
        errno = i;
        CHECK(pthread_equal(thread, pthread_self()) != 0);
        CHECK(address == local_here());
        CHECK_EQ(errno, i);
    }
}

TEST_ON_WORKERS(a_fiber_stays_on_its_worker)
{
    kith_ref echo = kith_spawn(e->self, &doer, NULL);
    kith_scope *scope = kith_scope_new(e->co);
    for (int i = 0; i < 60; i++)
        kith_scope_go(e->self, scope, stay, &echo);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
}

/* ---- who may do what ---- */

static void use_co_of_others(kith_self *self, kith_co *co, void *arg)
{
    struct env *e = arg;
    kith_msg *msg;
    CHECK_EQ(kith_receive(e->co, KITH_NOWAIT, &msg), KITH_EPERM);
    CHECK_EQ(kith_yield(e->co), KITH_EPERM);
    CHECK_EQ(kith_sleep(e->co, KITH_NOWAIT), KITH_EPERM);
    CHECK_EQ(kith_shield(e->co, true), KITH_EPERM);
    CHECK(!kith_canceled(e->co));
    CHECK(kith_co_self(e->co) == NULL);
    CHECK_EQ(kith_send(e->self, kith_self_ref(self), number, .value = 1), KITH_EPERM);
    CHECK_EQ(kith_detach(self), KITH_EPERM);
    CHECK_EQ(kith_yield(NULL), KITH_EPERM);
    CHECK_EQ(kith_shield(co, false), KITH_EINVAL);
    CHECK_EQ(kith_receive(co, KITH_NOWAIT, NULL), KITH_EINVAL);
}

TEST_ON_WORKERS(a_co_serves_its_own_fiber_only)
{
    CHECK_EQ(run(e, use_co_of_others, e), KITH_OK);
}

/* ---- cancellation ---- */

static bool refuse_all(const kith_msg *msg, void *arg)
{
    (void)msg;
    (void)arg;
    return false;
}

/* Everything that may wait says KITH_ECANCELED, also where it would not have to wait. */
static void check_canceled(kith_self *self, kith_co *co)
{
    kith_msg *msg;
    CHECK(kith_canceled(co));
    CHECK_EQ(kith_send(self, kith_self_ref(self), number, .value = 1), KITH_OK);
    CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_ECANCELED);
    CHECK(msg == NULL);
    CHECK_EQ(kith_receive(co, KITH_NOWAIT, &msg), KITH_ECANCELED);
    CHECK_EQ(kith_receive_if(co, KITH_FOREVER, refuse_all, NULL, &msg), KITH_ECANCELED);
    CHECK_EQ(kith_receive_only(co, number, KITH_FOREVER, &msg), KITH_ECANCELED);
    CHECK_EQ(kith_ask(co, kith_parent(self), KITH_FOREVER, &msg, number, .value = 1),
             KITH_ECANCELED);
    CHECK_EQ(kith_sleep(co, kith_in(KITH_HOUR)), KITH_ECANCELED);
    CHECK_EQ(kith_yield(co), KITH_ECANCELED);
}

/* Each waits in another call when it is stopped. */
static void wait_somewhere(kith_self *self, kith_co *co, void *arg)
{
    KITH__ATOMIC(int) *begun = arg;
    kith_msg *msg;
    switch (kith__add_seq(begun, 1)) {
    case 0:
        CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_ECANCELED);
        break;
    case 1:
        CHECK_EQ(kith_receive(co, PATIENCE, &msg), KITH_ECANCELED);
        break;
    case 2:
        CHECK_EQ(kith_receive_if(co, KITH_FOREVER, refuse_all, NULL, &msg), KITH_ECANCELED);
        break;
    case 3: /* nobody answers: the main thread does not look at its mail */
        CHECK_EQ(kith_ask(co, kith_parent(self), KITH_FOREVER, &msg, number, .value = 1),
                 KITH_ECANCELED);
        CHECK(msg == NULL);
        break;
    case 4:
        CHECK_EQ(kith_sleep(co, kith_in(KITH_HOUR)), KITH_ECANCELED);
        break;
    default:
        while (kith_yield(co) == KITH_OK)
            ;
        break;
    }
    check_canceled(self, co);
}

TEST_ON_WORKERS(a_stop_is_heard_everywhere)
{
    KITH__ATOMIC(int) begun = 0;
    kith_ref fibers[7];
    for (int i = 0; i < 7; i++)
        fibers[i] = kith_go(e->self, wait_somewhere, &begun);
    await(&begun, 7);
    for (int i = 0; i < 7; i++)
        CHECK_EQ(kith_stop(e->self, fibers[i]), KITH_OK);
    kith_msg *msg;
    for (int i = 0; i < 7; i++) {
        CHECK_EQ(kith_monitor(e->self, fibers[i]), KITH_OK);
        CHECK_EQ(kith_receive_only(e->co, kith_down, PATIENCE, &msg), KITH_OK);
    }
    CHECK_EQ(kith_receive_only(e->co, number, PATIENCE, &msg), KITH_OK); /* the question */
}

static void begin_canceled(kith_self *self, kith_co *co, void *arg)
{
    check_canceled(self, co);
    kith__add_seq((KITH__ATOMIC(int) *)arg, 1);
}

static void stop_one_at_once(kith_self *self, kith_co *co, void *arg)
{
    kith_fiber_options options = {.worker = 1};
    (void)co;
    for (int i = 0; i < 10; i++)
        CHECK_EQ(kith_stop(self, kith_go_with(self, begin_canceled, arg, &options)), KITH_OK);
}

TEST_ON_WORKERS(who_is_stopped_early_begins_canceled)
{
    KITH__ATOMIC(int) ended = 0;
    kith_fiber_options options = {.worker = 1}; /* the same worker, so none begins before */
    CHECK_EQ(run_with(e, stop_one_at_once, &ended, &options), KITH_OK);
    await(&ended, 10);
}

static void shielded(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    kith_msg *msg;
    CHECK_EQ(kith_shield(co, true), KITH_OK);
    CHECK_EQ(kith_shield(co, true), KITH_OK);
    CHECK_EQ(kith_stop(self, kith_self_ref(self)), KITH_OK);
    CHECK_EQ(kith_yield(co), KITH_OK);
    CHECK(!kith_canceled(co));
    CHECK_EQ(kith_sleep(co, kith_in(KITH_MS)), KITH_OK);
    CHECK_EQ(kith_send(self, kith_self_ref(self), number, .value = 1), KITH_OK);
    CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_OK);
    CHECK_EQ(kith_receive(co, kith_in(KITH_MS), &msg), KITH_ETIMEOUT);
    CHECK_EQ(kith_shield(co, false), KITH_OK);
    CHECK(!kith_canceled(co));
    CHECK_EQ(kith_shield(co, false), KITH_OK);
    check_canceled(self, co);
    CHECK_EQ(kith_shield(co, true), KITH_OK); /* for the clean-up */
    CHECK_EQ(kith_sleep(co, kith_in(1)), KITH_OK);
}

TEST_ON_WORKERS(a_shield_holds_cancellation_back)
{
    CHECK_EQ(run(e, shielded, NULL), KITH_OK);
}

/* ---- the end ---- */

static void fail_with(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_OK); /* it is monitored by now */
    kith_err reason = *(kith_err *)arg;
    CHECK_EQ(kith_fail(self, reason), reason != KITH_OK ? reason : KITH_EFAILED);
    CHECK_EQ(kith_yield(co), KITH_OK); /* it goes on to its end */
}

TEST_ON_WORKERS(a_failure_is_the_reason_of_the_death)
{
    static const kith_err reasons[] = {KITH_EMFILE, KITH_OK, KITH_EFAILED};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        kith_err reason = reasons[i];
        kith_ref ref = kith_go(e->self, fail_with, &reason);
        CHECK_EQ(kith_monitor(e->self, ref), KITH_OK);
        CHECK_EQ(kith_send(e->self, ref, number, .value = 1), KITH_OK);
        CHECK_EQ(await_down(e, ref), reason != KITH_OK ? reason : KITH_EFAILED);
        CHECK_EQ(kith_send(e->self, ref, number, .value = 1), KITH_EDEAD);
    }
}

static void take_some(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)self;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_OK); /* the last ends with it */
    while (kith__load_seq((KITH__ATOMIC(int) *)arg) == 0)
        CHECK_EQ(kith_yield(co), KITH_OK);
    CHECK_EQ(kith_receive_if(co, KITH_NOWAIT, refuse_all, NULL, &msg), KITH_ETIMEOUT);
}

TEST_ON_WORKERS(what_is_left_in_the_mailbox_goes_to_the_dead_letters)
{
    KITH__ATOMIC(int) open = 0;
    uint64_t before = env_stats(e).dead_letters;
    kith_ref ref = kith_go(e->self, take_some, &open);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(parcel_send(e->self, ref, i), KITH_OK);
    CHECK_EQ(kith_monitor(e->self, ref), KITH_OK);
    kith__store_seq(&open, 1);
    CHECK_EQ(await_down(e, ref), KITH_OK);
    CHECK_EQ(parcels_open(), 0u);
    CHECK_EQ(env_stats(e).dead_letters - before, 7u);
}

/* ---- shutdown ---- */

static KITH__ATOMIC(int) children_ended;

static void child_of_family(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    kith__add_seq((KITH__ATOMIC(int) *)arg, 1);
    CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_ECANCELED);
    CHECK_EQ(kith_ref_error(kith_go(self, do_end, NULL)), KITH_ESHUTDOWN);
    kith_shield(co, true);
    CHECK_EQ(kith_sleep(co, kith_in(2 * KITH_MS)), KITH_OK); /* the shutdown waits for it */
    kith__add_seq(&children_ended, 1);
}

static void parent_of_family(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    for (int i = 0; i < 3; i++)
        kith_go(self, child_of_family, arg);
    CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_ECANCELED);
    CHECK_GE(kith__load_seq(&children_ended), 3); /* leaves first */
}

TEST_ON_WORKERS(a_shutdown_cancels_leaves_first_and_waits)
{
    KITH__ATOMIC(int) begun = 0;
    kith__store_seq(&children_ended, 0);
    kith_go(e->self, parent_of_family, &begun);
    await(&begun, 3);
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
    CHECK_EQ(kith__load_seq(&children_ended), 3);
}

static void ignore_all(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    kith_shield(co, true);
    kith__store_seq(&((struct gate *)arg)->reached, 1);
    while (kith__load_seq(&((struct gate *)arg)->open) == 0)
        kith_sleep(co, kith_in(KITH_MS));
}

TEST_ON_WORKERS(a_shutdown_names_the_fiber_that_does_not_end)
{
    struct gate gate = {0};
    kith_go(e->self, ignore_all, &gate);
    gate_await(&gate);
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, kith_in(20 * KITH_MS)), KITH_ETIMEOUT);
    CHECK(log_has(&e->log, "still alive: ignore_all"));
    kith__store_seq(&gate.open, 1);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
}
