/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A deadlock under kith_main is reported with who waits in what, and ends main's wait; what can still be
 * woken is none.
 */
#include "actors_common.h"
#include <kith/fiber.h>

struct run {
    kith_main_fn *fn;
    struct log log;
    kith_err err; /* of main's wait */
    KITH__ATOMIC(uint32_t) reached;
    int status;
};

static void run(struct run *r, kith_main_fn *fn, unsigned workers)
{
    memset(r, 0, sizeof *r);
    pthread_mutex_init(&r->log.lock, NULL);
    kith_config config = {.workers = workers, .log = log_line, .log_arg = &r->log};
    r->status = kith_main(&config, fn, r);
    CHECK(!log_has(&r->log, "messages were lost"));
}

static void run_end(struct run *r)
{
    pthread_mutex_destroy(&r->log.lock);
    free(r);
}

static const unsigned counts[] = {1, 2, 4};
#define FOR_WORKERS(i) for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)

/* ---- deadlocks ---- */

static void receives_forever(kith_self *self, kith_co *co, void *arg)
{
    struct run *r = arg;
    (void)self;
    kith_msg *msg;
    kith__add_seq(&r->reached, 1);
    kith_err err = kith_receive(co, KITH_FOREVER, &msg);
    if (err == KITH_ECANCELED)
        kith__add_seq(&r->reached, 100);
}

static void main_receives(kith_self *self, kith_co *co, void *arg)
{
    struct run *r = arg;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(kith_ref_error(kith_go(self, receives_forever, r)), KITH_OK);
    kith_msg *msg;
    r->err = kith_receive(co, KITH_FOREVER, &msg);
    CHECK_EQ(kith_receive(co, kith_in(KITH_SECOND), &msg), KITH_EDEADLK); /* it stays */
}

TEST(everybody_receives)
{
    FOR_WORKERS(i)
    {
        struct run *r = malloc(sizeof *r);
        run(r, main_receives, counts[i]);
        CHECK_EQ(r->err, KITH_EDEADLK);
        CHECK_EQ(r->status, 1);
        CHECK_EQ(kith__load_seq(&r->reached), 303u); /* all began, and were canceled at the end */
        CHECK(log_has(&r->log, "deadlock: main"));
        CHECK(log_has(&r->log, "deadlock: receives_forever"));
        CHECK(log_has(&r->log, "waits in kith_receive"));
        run_end(r);
    }
}

static void main_joins(kith_self *self, kith_co *co, void *arg)
{
    struct run *r = arg;
    (void)co;
    CHECK_EQ(kith_ref_error(kith_go(self, receives_forever, r)), KITH_OK);
    r->err = kith_join(kith_self_runtime(self), KITH_FOREVER);
}

TEST(main_joins_fibers_that_wait_for_ever)
{
    FOR_WORKERS(i)
    {
        struct run *r = malloc(sizeof *r);
        run(r, main_joins, counts[i]);
        CHECK_EQ(r->err, KITH_EDEADLK);
        CHECK_EQ(r->status, 1);
        CHECK(log_has(&r->log, "deadlock: receives_forever"));
        run_end(r);
    }
}

/* A timer that was canceled wakes nobody, though it stood for longest. */
static void sleeps_long(kith_self *self, kith_co *co, void *arg)
{
    struct run *r = arg;
    (void)self;
    kith__add_seq(&r->reached, 1);
    kith_sleep(co, kith_in(KITH_HOUR));
}

static void main_waits_after_a_canceled_timer(kith_self *self, kith_co *co, void *arg)
{
    struct run *r = arg;
    kith_msg *msg;
    kith_ref sleeper = kith_go(self, sleeps_long, r);
    kith_monitor(self, sleeper);
    while (kith__load_seq(&r->reached) == 0)
        sched_yield();
    kith_stop(self, sleeper);
    CHECK_EQ(kith_receive(co, kith_in(30 * KITH_SECOND), &msg), KITH_OK); /* its kith_down */
    kith_go(self, receives_forever, r);
    r->err = kith_receive(co, KITH_FOREVER, &msg);
}

TEST(a_canceled_timer_wakes_nobody)
{
    for (int round = 0; round < 20; round++)
        FOR_WORKERS(i)
        {
            struct run *r = malloc(sizeof *r);
            run(r, main_waits_after_a_canceled_timer, counts[i]);
            CHECK_EQ(r->err, KITH_EDEADLK);
            CHECK(log_has(&r->log, "deadlock: receives_forever"));
            run_end(r);
        }
}

/* ---- no deadlocks ---- */

static void sends_later(kith_self *self, kith_co *co, void *arg)
{
    kith_ref to = *(kith_ref *)arg;
    for (int i = 0; i < 20; i++)
        if (kith_sleep(co, kith_in(KITH_MS)) != KITH_OK)
            return;
    kith_send(self, to, number, .value = 1);
}

static void main_waits_for_a_timer(kith_self *self, kith_co *co, void *arg)
{
    struct run *r = arg;
    kith_ref me = kith_self_ref(self);
    kith_msg *msg;
    kith_go_with(self, sends_later, &me, (&(kith_fiber_options){.arg_bytes = sizeof me}));
    r->err = kith_receive(co, KITH_FOREVER, &msg);
}

static void main_waits_with_a_deadline(kith_self *self, kith_co *co, void *arg)
{
    struct run *r = arg;
    kith_msg *msg;
    kith_go(self, receives_forever, r);
    r->err = kith_receive(co, kith_in(30 * KITH_MS), &msg);
}

struct outsider {
    kith_runtime *rt;
    kith_ref to;
    KITH__ATOMIC(uint32_t) attached;
};

static void *outsider_main(void *arg)
{
    struct outsider *o = arg;
    kith_self *self;
    kith_co *co;
    CHECK_EQ(kith_attach(o->rt, &self, &co), KITH_OK);
    kith__store_seq(&o->attached, 1);
    CHECK_EQ(kith_sleep(co, kith_in(20 * KITH_MS)), KITH_OK);
    CHECK_EQ(kith_send(self, o->to, number, .value = 1), KITH_OK);
    CHECK_EQ(kith_detach(self), KITH_OK);
    return NULL;
}

static void main_waits_for_a_thread(kith_self *self, kith_co *co, void *arg)
{
    struct run *r = arg;
    struct outsider o = {.rt = kith_self_runtime(self), .to = kith_self_ref(self)};
    pthread_t thread;
    kith_msg *msg;
    kith_go(self, receives_forever, r);
    CHECK_EQ(pthread_create(&thread, NULL, outsider_main, &o), 0);
    while (kith__load_seq(&o.attached) == 0)
        sched_yield();
    r->err = kith_receive(co, KITH_FOREVER, &msg);
    pthread_join(thread, NULL);
}

/* An actor listens: somebody may connect. */
static kith_err listener_init(kith_self *self, void *me, const void *arg)
{
    (void)me;
    (void)arg;
    return kith_sock_error(kith_listen(self, "127.0.0.1", 0, NULL));
}

static const kith_behavior listener = {.name = "listener", .init = listener_init};

static void *interrupter_main(void *arg)
{
    struct outsider *o = arg;
    struct timespec at = {.tv_nsec = 50000000};
    nanosleep(&at, NULL); /* long enough for a false alarm; attaches only then */
    kith_self *self;
    CHECK_EQ(kith_attach(o->rt, &self, NULL), KITH_OK);
    CHECK_EQ(kith_send(self, o->to, number, .value = 1), KITH_OK);
    CHECK_EQ(kith_detach(self), KITH_OK);
    return NULL;
}

static void main_waits_beside_a_listener(kith_self *self, kith_co *co, void *arg)
{
    struct run *r = arg;
    struct outsider o = {.rt = kith_self_runtime(self), .to = kith_self_ref(self)};
    pthread_t thread;
    kith_msg *msg;
    CHECK_EQ(kith_ref_error(kith_spawn(self, &listener, NULL)), KITH_OK);
    kith_go(self, receives_forever, r);
    CHECK_EQ(pthread_create(&thread, NULL, interrupter_main, &o), 0);
    r->err = kith_receive(co, KITH_FOREVER, &msg);
    pthread_join(thread, NULL);
}

/* It stays until all others sleep, most probably, and wakes nobody. */
static void *bystander_main(void *arg)
{
    struct outsider *o = arg;
    kith_self *self;
    kith_co *co;
    CHECK_EQ(kith_attach(o->rt, &self, &co), KITH_OK);
    kith__store_seq(&o->attached, 1);
    CHECK_EQ(kith_sleep(co, kith_in(20 * KITH_MS)), KITH_OK);
    CHECK_EQ(kith_detach(self), KITH_OK);
    return NULL;
}

static void main_waits_for_a_bystander(kith_self *self, kith_co *co, void *arg)
{
    struct run *r = arg;
    struct outsider o = {.rt = kith_self_runtime(self), .to = kith_self_ref(self)};
    pthread_t thread;
    kith_msg *msg;
    kith_go(self, receives_forever, r);
    CHECK_EQ(pthread_create(&thread, NULL, bystander_main, &o), 0);
    while (kith__load_seq(&o.attached) == 0)
        sched_yield();
    r->err = kith_receive(co, KITH_FOREVER, &msg);
    pthread_join(thread, NULL);
}

/* The last who could have woken somebody has left while all slept: nobody but it can see that. */
TEST(a_thread_that_detaches_leaves_a_deadlock)
{
    FOR_WORKERS(i)
    {
        struct run *r = malloc(sizeof *r);
        run(r, main_waits_for_a_bystander, counts[i]);
        CHECK_EQ(r->err, KITH_EDEADLK);
        CHECK_EQ(r->status, 1);
        CHECK(log_has(&r->log, "deadlock: receives_forever"));
        run_end(r);
    }
}

/* A conversation that goes on for long, in which everybody waits most of the time. */
static void echoes(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    kith_msg *msg;
    while (kith_receive(co, KITH_FOREVER, &msg) == KITH_OK)
        kith_send(self, kith_sender(self), number, .value = 0);
}

static void main_talks(kith_self *self, kith_co *co, void *arg)
{
    struct run *r = arg;
    kith_ref f = kith_go(self, echoes, NULL);
    kith_msg *msg;
    for (int i = 0; i < 20000 && r->err == KITH_OK; i++) {
        kith_send(self, f, number, .value = i);
        r->err = kith_receive(co, KITH_FOREVER, &msg);
    }
}

TEST(what_can_be_woken_is_no_deadlock)
{
    static kith_main_fn *const fns[] = {main_waits_for_a_timer, main_waits_for_a_thread,
                                        main_waits_beside_a_listener, main_talks};
    FOR_WORKERS(i)
    {
        for (size_t f = 0; f < sizeof fns / sizeof fns[0]; f++) {
            struct run *r = malloc(sizeof *r);
            run(r, fns[f], counts[i]);
            if (r->err != KITH_OK)
                FAIL("function %zu on %u workers: %s", f, counts[i], r->log.text);
            CHECK_EQ(r->status, 0);
            CHECK(!log_has(&r->log, "deadlock"));
            run_end(r);
        }
    }
}

TEST(a_deadline_is_no_deadlock)
{
    FOR_WORKERS(i)
    {
        struct run *r = malloc(sizeof *r);
        run(r, main_waits_with_a_deadline, counts[i]);
        CHECK_EQ(r->err, KITH_ETIMEOUT);
        CHECK_EQ(r->status, 0);
        CHECK(!log_has(&r->log, "deadlock"));
        run_end(r);
    }
}
