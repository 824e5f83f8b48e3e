/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of the loop executor: sched/single.c, actors/loop.c, and what waits on the home thread.
 * Run by: the test driver. Threads: the main thread is home; others where the test is about them.
 */
#include "sched/single.h"
#include "tests/unit/actors_common.h"

#include <dirent.h>
#include <poll.h>
#include <unistd.h>

static kith_config loop_config(void)
{
    return (kith_config){.executor = KITH_LOOP, .seed = 7};
}

/* ---- the configuration ---- */

static kith_err start_with(kith_config config)
{
    kith_runtime *rt = NULL;
    kith_err err = kith_start(&config, &rt);
    if (err == KITH_OK)
        CHECK_EQ(kith_shutdown(rt, PATIENCE), KITH_OK);
    return err;
}

TEST(a_loop_has_one_worker_and_a_pool_has_epoll)
{
    CHECK_EQ(start_with((kith_config){.executor = KITH_LOOP}), KITH_OK);
    CHECK_EQ(start_with((kith_config){.executor = KITH_LOOP, .workers = 1}), KITH_OK);
    CHECK_EQ(start_with((kith_config){.executor = KITH_LOOP, .workers = 2}), KITH_EINVAL);
    CHECK_EQ(start_with((kith_config){.executor = KITH_LOOP, .poller = KITH_POLL}), KITH_OK);
    CHECK_EQ(start_with((kith_config){.executor = KITH_LOOP, .poller = KITH_SELECT}), KITH_OK);
    CHECK_EQ(start_with((kith_config){.executor = KITH_LOOP, .poller = (kith_poller)3}),
             KITH_EINVAL);
    CHECK_EQ(start_with((kith_config){.poller = KITH_POLL}), KITH_EINVAL);
    CHECK_EQ(start_with((kith_config){.executor = (kith_executor)2}), KITH_EINVAL);
}

static unsigned entries(const char *path)
{
    unsigned n = 0;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

TEST_ON_LOOP(no_thread_is_started_and_no_descriptor_is_left)
{
    unsigned fds = entries("/proc/self/fd");
    unsigned threads = entries("/proc/self/task");
    kith_runtime *rt;
    kith_config config = loop_config();
    (void)e;
    CHECK_EQ(kith_start(&config, &rt), KITH_OK);
    CHECK_EQ(entries("/proc/self/task"), threads);
    CHECK_EQ(kith_shutdown(rt, PATIENCE), KITH_OK);
    CHECK_EQ(entries("/proc/self/fd"), fds);
}

/* ---- what home's waits run ---- */

static kith_err do_note_thread(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    (void)me;
    *(pthread_t *)arg = pthread_self();
    return KITH_OK;
}

TEST_ON_LOOP(handlers_run_on_the_home_thread)
{
    pthread_t ran;
    memset(&ran, 0, sizeof ran);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, actor, do_note_thread, &ran), KITH_OK);
    CHECK(pthread_equal(ran, pthread_self()) != 0);
}

TEST_ON_LOOP(nothing_runs_while_home_does_something_else)
{
    int reached = 0;
    kith_ref actor = kith_spawn(e->self, &doer, &reached);
    CHECK_EQ(parcel_send(e->self, actor, 1), KITH_OK);
    CHECK_EQ(parcels_open(), 1u);
    CHECK_EQ(kith_sleep(e->co, kith_in(1 * KITH_MS)), KITH_OK);
    CHECK_EQ(parcels_open(), 0u);
}

TEST_ON_LOOP(a_wait_with_nowait_lets_what_is_ready_run)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(parcel_send(e->self, actor, 1), KITH_OK);
    CHECK(nothing_waits(e));
    CHECK_EQ(parcels_open(), 0u);
    CHECK_EQ(parcel_send(e->self, actor, 2), KITH_OK);
    CHECK_EQ(kith_yield(e->co), KITH_OK);
    CHECK_EQ(parcels_open(), 0u);
}

TEST_ON_LOOP(deadlines_pass_while_home_waits)
{
    kith_msg *msg;
    kith_ref silent = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_receive(e->co, kith_in(1 * KITH_MS), &msg), KITH_ETIMEOUT);
    CHECK_EQ(kith_ask(e->co, silent, kith_in(1 * KITH_MS), &msg, tell, .fn = do_nothing),
             KITH_ETIMEOUT);
    kith_time until = kith_in(2 * KITH_MS);
    CHECK_EQ(kith_sleep(e->co, until), KITH_OK);
    CHECK_GE(kith_now(), until);
}

/* Two actors that never rest. */
KITH_MESSAGE(ball, { kith_ref back; });
struct player {
    unsigned long caught;
};
KITH_ON(player, ball)
{
    me->caught++;
    kith_send(self, msg->back, ball, .back = kith_self_ref(self));
    return KITH_OK;
}
static const kith_behavior player = {.name = "player",
                                     .state_bytes = sizeof(struct player),
                                     .handlers = KITH_HANDLERS(player, ball)};

static void play(struct env *e)
{
    kith_ref a = kith_spawn(e->self, &player, NULL);
    kith_ref b = kith_spawn(e->self, &player, NULL);
    CHECK_EQ(kith_send(e->self, a, ball, .back = b), KITH_OK);
}

TEST_ON_LOOP(a_deadline_is_kept_among_those_that_never_rest)
{
    kith_msg *msg;
    play(e);
    CHECK_EQ(kith_receive(e->co, kith_in(2 * KITH_MS), &msg), KITH_ETIMEOUT);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    settle(e, actor);
}

TEST_ON_LOOP(a_join_runs_what_it_waits_for)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_join(e->rt, kith_in(1 * KITH_MS)), KITH_ETIMEOUT);
    CHECK(log_has(&e->log, "still alive: doer"));
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
}

TEST_ON_LOOP(a_shutdown_stops_those_that_never_rest)
{
    play(e);
    kith_spawn(e->self, &doer, NULL);
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
}

static void sleeper(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    int *slept = arg;
    while (kith_sleep(co, kith_in(100 * KITH_US)) == KITH_OK)
        ++*slept;
}

TEST_ON_LOOP(fibers_run_and_are_canceled_by_the_shutdown)
{
    int slept = 0;
    CHECK_EQ(kith_ref_error(kith_go(e->self, sleeper, &slept)), KITH_OK);
    while (slept < 3)
        CHECK_EQ(kith_sleep(e->co, kith_in(200 * KITH_US)), KITH_OK);
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
}

TEST_ON_LOOP(a_thread_can_be_home_of_two_runtimes)
{
    kith_runtime *other;
    kith_config config = loop_config();
    play(e);
    CHECK_EQ(kith_start(&config, &other), KITH_OK);
    CHECK_EQ(kith_loop_run(other, kith_in(1 * KITH_MS)), KITH_OK);
    CHECK_EQ(kith_loop_run(e->rt, kith_in(1 * KITH_MS)), KITH_OK);
    CHECK_EQ(kith_shutdown(other, PATIENCE), KITH_OK);
    CHECK_EQ(kith_sleep(e->co, kith_in(100 * KITH_US)), KITH_OK);
}

/* ---- other threads ---- */

struct outsider {
    kith_runtime *rt;
    kith_ref actor;
    pthread_t id;
    kith_err errs[4];
    KITH__ATOMIC(int) phase;
};

static void outsider_begin(struct outsider *o, void *(*fn)(void *), kith_runtime *rt)
{
    o->rt = rt;
    if (pthread_create(&o->id, NULL, fn, o) != 0)
        abort();
}

static void *others_errors(void *arg)
{
    struct outsider *o = arg;
    int fd = 0;
    o->errs[0] = kith_shutdown(o->rt, KITH_NOWAIT);
    o->errs[1] = kith_loop_run(o->rt, KITH_NOWAIT);
    o->errs[2] = kith_loop_fd(o->rt, &fd);
    o->errs[3] = kith_loop_deadline(o->rt) == KITH_FOREVER && fd == -1 ? KITH_OK : KITH_EINVAL;
    return NULL;
}

TEST_ON_LOOP(another_thread_may_not_run_or_end_the_loop)
{
    struct outsider o;
    play(e); /* so that home's own deadline is now */
    CHECK_EQ(kith_loop_deadline(e->rt), KITH_NOWAIT);
    outsider_begin(&o, others_errors, e->rt);
    pthread_join(o.id, NULL);
    CHECK_EQ(o.errs[0], KITH_EPERM);
    CHECK_EQ(o.errs[1], KITH_EPERM);
    CHECK_EQ(o.errs[2], KITH_EPERM);
    CHECK_EQ(o.errs[3], KITH_OK);
}

static void *asks(void *arg)
{
    struct outsider *o = arg;
    kith_self *self;
    kith_co *co;
    kith_msg *reply;
    o->errs[0] = kith_attach(o->rt, &self, &co);
    if (o->errs[0] != KITH_OK)
        return NULL;
    o->errs[1] = kith_ask(co, o->actor, PATIENCE, &reply, order, .fn = do_nothing);
    o->errs[2] = kith_stop(self, o->actor);
    o->errs[3] = kith_detach(self);
    return NULL;
}

TEST_ON_LOOP(a_thread_hands_in_work_while_home_sleeps)
{
    struct outsider o;
    o.actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_monitor(e->self, o.actor), KITH_OK);
    outsider_begin(&o, asks, e->rt);
    CHECK_EQ(await_down(e, o.actor), KITH_OK);
    /* It has stopped the actor and is about to detach. */
    pthread_join(o.id, NULL);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(o.errs[i], KITH_OK);
}

static void *joins(void *arg)
{
    struct outsider *o = arg;
    o->errs[0] = kith_join(o->rt, PATIENCE);
    kith__store_seq(&o->phase, 1);
    return NULL;
}

TEST_ON_LOOP(another_thread_may_join_while_home_runs_the_loop)
{
    struct outsider o = {.errs = {KITH_EINVAL}};
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    outsider_begin(&o, joins, e->rt);
    CHECK_EQ(kith_sleep(e->co, kith_in(1 * KITH_MS)), KITH_OK);
    CHECK_EQ(kith__load_seq(&o.phase), 0);
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    CHECK_EQ(kith_loop_run(e->rt, KITH_NOWAIT), KITH_OK);
    pthread_join(o.id, NULL);
    CHECK_EQ(o.errs[0], KITH_OK);
}

static void *attaches_for_a_while(void *arg)
{
    struct outsider *o = arg;
    kith_self *self;
    kith_co *co;
    kith_msg *msg;
    o->errs[0] = kith_attach(o->rt, &self, &co);
    kith__store_seq(&o->phase, 1);
    if (o->errs[0] != KITH_OK)
        return NULL;
    o->errs[1] = kith_receive(co, PATIENCE, &msg); /* until the shutdown */
    o->errs[2] = kith_detach(self);
    return NULL;
}

TEST_ON_LOOP(a_shutdown_waits_for_other_threads_to_detach)
{
    struct outsider o = {.phase = 0};
    outsider_begin(&o, attaches_for_a_while, e->rt);
    while (kith__load_seq(&o.phase) == 0)
        sched_yield();
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
    pthread_join(o.id, NULL);
    CHECK_EQ(o.errs[0], KITH_OK);
    CHECK_EQ(o.errs[1], KITH_ESHUTDOWN);
    CHECK_EQ(o.errs[2], KITH_OK);
}

/* ---- inside another loop ---- */

static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, timeout_ms) == 1;
}

/* Polls as a foreign loop does, until *count has reached n. */
static void foreign_loop(kith_runtime *rt, int fd, const int *count, int n)
{
    kith_time give_up = PATIENCE;
    while (*count < n && kith_now() < give_up) {
        kith_time next = kith_loop_deadline(rt);
        kith_time now = kith_now();
        int ms = next == KITH_FOREVER ? 60000 : next <= now ? 0 : (int)((next - now) / KITH_MS + 1);
        is_readable(fd, ms > 60000 ? 60000 : ms);
        CHECK_EQ(kith_loop_run(rt, KITH_NOWAIT), KITH_OK);
    }
    CHECK_GE(*count, n);
}

KITH_MESSAGE(tick, { int none; });
struct ticker {
    int *count;
};
KITH_ON(ticker, tick)
{
    ++*me->count;
    (void)self;
    (void)msg;
    return KITH_OK;
}
static kith_err ticker_init(kith_self *self, void *me, const void *arg)
{
    memcpy(&((struct ticker *)me)->count, &arg, sizeof arg);
    kith_timer timer = kith_every(self, 500 * KITH_US, tick, .none = 0);
    return kith_timer_error(timer);
}
static const kith_behavior ticker = {.name = "ticker",
                                     .state_bytes = sizeof(struct ticker),
                                     .handlers = KITH_HANDLERS(ticker, tick),
                                     .init = ticker_init};

TEST_ON_LOOP(timers_and_fibers_run_in_a_foreign_loop)
{
    int fd;
    int ticks = 0;
    int slept = 0;
    CHECK_EQ(kith_loop_fd(e->rt, &fd), KITH_OK);
    kith_spawn(e->self, &ticker, &ticks);
    foreign_loop(e->rt, fd, &ticks, 5);
    kith_go(e->self, sleeper, &slept);
    foreign_loop(e->rt, fd, &slept, 5);
}

TEST_ON_LOOP(the_deadline_is_that_of_the_next_timer)
{
    CHECK_EQ(kith_loop_deadline(e->rt), KITH_FOREVER);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    settle(e, actor);
    CHECK_EQ(kith_loop_deadline(e->rt), KITH_FOREVER);
    kith_time at = kith_in(1 * KITH_HOUR);
    kith_timer timer = kith_at(e->self, at, done, .err = KITH_OK);
    kith_time next = kith_loop_deadline(e->rt);
    CHECK_LE(next, at);
    CHECK_GT(next, kith_now());
    CHECK_EQ(kith_timer_cancel(e->self, timer), KITH_OK);
    kith_at(e->self, kith_now(), done, .err = KITH_OK);
    CHECK_EQ(kith_loop_deadline(e->rt), KITH_NOWAIT);
    CHECK_EQ(kith_loop_run(e->rt, KITH_NOWAIT), KITH_OK);
    CHECK(RECEIVE(e, done) != NULL);
}

struct doers {
    struct env *e;
    kith_ref actor;
};

TEST_ON_LOOP(the_descriptor_is_readable_while_there_is_work)
{
    int fd;
    CHECK_EQ(kith_loop_fd(e->rt, &fd), KITH_OK);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    settle(e, actor);
    while (is_readable(fd, 0)) /* edges of wakes that are over */
        CHECK_EQ(kith_loop_run(e->rt, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(kith_loop_deadline(e->rt), KITH_FOREVER);
    CHECK_EQ(parcel_send(e->self, actor, 1), KITH_OK);
    CHECK(is_readable(fd, 0));
    CHECK_EQ(kith_loop_deadline(e->rt), KITH_NOWAIT);
    CHECK_EQ(kith_loop_run(e->rt, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(parcels_open(), 0u);
    /* Work that is left when the loop is left. */
    play(e);
    CHECK_EQ(kith_loop_run(e->rt, KITH_NOWAIT), KITH_OK);
    CHECK(is_readable(fd, 0));
    CHECK_EQ(kith_loop_deadline(e->rt), KITH_NOWAIT);
}

static void *sends_a_parcel(void *arg)
{
    struct outsider *o = arg;
    kith_self *self;
    o->errs[0] = kith_attach(o->rt, &self, NULL);
    if (o->errs[0] != KITH_OK)
        return NULL;
    o->errs[1] = parcel_send(self, o->actor, 1);
    o->errs[2] = kith_detach(self);
    return NULL;
}

TEST_ON_LOOP(the_descriptor_tells_of_other_threads_work)
{
    int fd;
    struct outsider o;
    CHECK_EQ(kith_loop_fd(e->rt, &fd), KITH_OK);
    o.actor = kith_spawn(e->self, &doer, NULL);
    settle(e, o.actor);
    while (is_readable(fd, 0))
        CHECK_EQ(kith_loop_run(e->rt, KITH_NOWAIT), KITH_OK);
    outsider_begin(&o, sends_a_parcel, e->rt);
    CHECK(is_readable(fd, 60000));
    pthread_join(o.id, NULL);
    CHECK_EQ(o.errs[1], KITH_OK);
    CHECK_EQ(kith_loop_run(e->rt, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(parcels_open(), 0u);
}

static void counts_once(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    (void)co;
    ++*(int *)arg;
}

static kith_err do_last(kith_self *self, struct doer *me, void *arg)
{
    kith_time until = kith_in(*(const kith_time *)arg);
    (void)self;
    (void)me;
    while (kith_now() < until)
        ;
    return KITH_OK;
}

/* 3,000 of each kind, more than the ring takes, beside two that never rest. */
TEST_ON_LOOP(a_round_gives_all_that_was_ready_a_turn_and_ends)
{
    enum { EACH = 3000 };
    int fibers = 0;
    kith_time longer = 2 * KITH__ROUND_NS; /* the first uses up the round's time alone */
    do_later(e, kith_spawn(e->self, &doer, NULL), do_last, &longer);
    play(e);
    for (int i = 0; i < EACH; i++) {
        kith_ref actor = kith_spawn(e->self, &doer, NULL);
        CHECK_EQ(parcel_send(e->self, actor, i), KITH_OK);
        CHECK_EQ(kith_ref_error(kith_go(e->self, counts_once, &fibers)), KITH_OK);
    }
    CHECK_EQ(parcels_open(), EACH);
    CHECK_EQ(kith_loop_run(e->rt, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(parcels_open(), 0u);
    CHECK_EQ(fibers, EACH);
    CHECK_EQ(kith_loop_deadline(e->rt), KITH_NOWAIT); /* the two */
}

static kith_err do_stop_loop(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    CHECK_EQ(kith_loop_run(arg, KITH_NOWAIT), KITH_EPERM);
    CHECK_EQ(kith_join(arg, KITH_NOWAIT), KITH_EPERM);
    CHECK_EQ(kith_loop_deadline(arg), KITH_FOREVER);
    return kith_loop_stop(kith_self_runtime(self));
}

static void *stops_the_loop(void *arg)
{
    struct outsider *o = arg;
    o->errs[0] = kith_loop_stop(o->rt);
    return NULL;
}

TEST_ON_LOOP(a_run_ends_when_it_is_stopped)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    do_later(e, actor, do_stop_loop, e->rt);
    CHECK_EQ(kith_loop_run(e->rt, KITH_FOREVER), KITH_OK);
    CHECK_EQ(kith_loop_stop(e->rt), KITH_OK); /* before it begins */
    CHECK_EQ(kith_loop_run(e->rt, KITH_FOREVER), KITH_OK);
    struct outsider o;
    outsider_begin(&o, stops_the_loop, e->rt);
    CHECK_EQ(kith_loop_run(e->rt, KITH_FOREVER), KITH_OK);
    pthread_join(o.id, NULL);
    CHECK_EQ(o.errs[0], KITH_OK);
}

TEST(the_calls_refuse_a_pool_and_what_is_no_runtime)
{
    int fd = 0;
    kith_runtime *rt;
    CHECK_EQ(kith_loop_fd(NULL, &fd), KITH_EINVAL);
    CHECK_EQ(fd, -1);
    CHECK_EQ(kith_loop_run(NULL, KITH_NOWAIT), KITH_EINVAL);
    CHECK_EQ(kith_loop_stop(NULL), KITH_EINVAL);
    CHECK_EQ(kith_loop_deadline(NULL), KITH_FOREVER);
    CHECK_EQ(kith_start(&(kith_config){.workers = 1}, &rt), KITH_OK);
    CHECK_EQ(kith_loop_fd(rt, NULL), KITH_EINVAL);
    CHECK_EQ(kith_loop_fd(rt, &fd), KITH_EPERM);
    CHECK_EQ(kith_loop_run(rt, KITH_NOWAIT), KITH_EPERM);
    CHECK_EQ(kith_loop_stop(rt), KITH_EPERM);
    CHECK_EQ(kith_shutdown(rt, PATIENCE), KITH_OK);
    kith_config config = {.executor = KITH_LOOP, .poller = KITH_POLL};
    CHECK_EQ(kith_start(&config, &rt), KITH_OK);
    CHECK_EQ(kith_loop_fd(rt, &fd), KITH_ENOTSUP);
    CHECK_EQ(fd, -1);
    CHECK_EQ(kith_shutdown(rt, PATIENCE), KITH_OK);
}

/* ---- kith_main ---- */

static void main_asks(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *reply;
    kith_ref actor = kith_spawn(self, &doer, NULL);
    kith_err err = kith_ask(co, actor, PATIENCE, &reply, order, .fn = do_note_thread, .arg = arg);
    CHECK_EQ(err, KITH_OK);
}

TEST(kith_main_runs_on_its_own_thread_alone)
{
    pthread_t ran;
    kith_config config = loop_config();
    memset(&ran, 0, sizeof ran);
    CHECK_EQ(kith_main(&config, main_asks, &ran), 0);
    CHECK(pthread_equal(ran, pthread_self()) != 0);
}

static void main_waits_for_ever(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)self;
    *(kith_err *)arg = kith_receive(co, KITH_FOREVER, &msg);
}

static void waits_for_ever(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)self;
    (void)arg;
    kith_receive(co, KITH_FOREVER, &msg);
}

static void main_joins_for_ever(kith_self *self, kith_co *co, void *arg)
{
    (void)co;
    kith_go(self, waits_for_ever, NULL);
    *(kith_err *)arg = kith_join(kith_self_runtime(self), KITH_FOREVER);
}

TEST(a_deadlock_is_reported)
{
    struct log log = {.lock = PTHREAD_MUTEX_INITIALIZER};
    kith_config config = loop_config();
    kith_err err = KITH_OK;
    config.log = log_line;
    config.log_arg = &log;
    CHECK_EQ(kith_main(&config, main_waits_for_ever, &err), 1);
    CHECK_EQ(err, KITH_EDEADLK);
    CHECK(log_has(&log, "deadlock"));
    CHECK_EQ(kith_main(&config, main_joins_for_ever, &err), 1);
    CHECK_EQ(err, KITH_EDEADLK);
    CHECK(log_has(&log, "waits_for_ever"));
}
