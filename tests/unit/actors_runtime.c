/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of kith_start, kith_main, kith_join, kith_stats_get, kith_cpus, kith_version: the machine as
 * a whole, several at a time and one after the other. (kith_shutdown: actors_shutdown.c.)
 */
#include "tests/unit/actors_common.h"

#include <signal.h>
#include <unistd.h>

#define LIVE_MAX 16 /* runtimes in a process, says runtime.h */

static kith_err start_small(kith_runtime **rt)
{
    kith_config config = {.workers = 1};
    return kith_start(&config, rt);
}

/* ---- start ---- */

static void *null_alloc(void *arg, size_t bytes, size_t align)
{
    (void)arg;
    (void)bytes;
    (void)align;
    return NULL;
}

static void null_free(void *arg, void *memory, size_t bytes)
{
    (void)arg;
    (void)memory;
    (void)bytes;
}

TEST(start_refuses_nonsense)
{
    kith_runtime *rt = NULL;
    kith_config bad[] = {
        {.workers = KITH_WORKERS_MAX + 1},
        {.workers = UINT32_MAX},
        {.log_level = (kith_log_level)(KITH_LOG_NONE + 1)},
        {.log_level = (kith_log_level)-1},
        {.stall_signal = -1},
        {.stall_signal = 100000},
        {.stall_signal = SIGKILL},
        {.allocator = {.alloc = null_alloc}},
        {.allocator = {.free = null_free}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQ(kith_start(&bad[i], &rt), KITH_EINVAL);
        CHECK(rt == NULL);
    }
    CHECK_EQ(kith_start(NULL, NULL), KITH_EINVAL);
    kith_config none = {.allocator = {.alloc = null_alloc, .free = null_free}};
    CHECK_EQ(kith_start(&none, &rt), KITH_ENOMEM);
    CHECK(rt == NULL);
}

TEST(start_without_a_config)
{
    kith_runtime *rt = NULL;
    kith_stats stats;
    CHECK_EQ(kith_start(NULL, &rt), KITH_OK);
    REQUIRE(rt != NULL);
    CHECK_EQ(kith_stats_get(rt, &stats), KITH_OK);
    CHECK_EQ(stats.workers, kith_cpus());
    CHECK_GE(kith_cpus(), 1u);
    CHECK_LE(kith_cpus(), (unsigned)sysconf(_SC_NPROCESSORS_CONF));
    CHECK_EQ(kith_shutdown(rt, PATIENCE), KITH_OK);
}

TEST(many_workers)
{
    kith_config config = {.workers = 40};
    kith_runtime *rt = NULL;
    CHECK_EQ(kith_start(&config, &rt), KITH_OK);
    REQUIRE(rt != NULL);
    kith_stats stats;
    CHECK_EQ(kith_stats_get(rt, &stats), KITH_OK);
    CHECK_EQ(stats.workers, 40u);
    CHECK_EQ(kith_shutdown(rt, PATIENCE), KITH_OK);
}

TEST(sixteen_runtimes_and_no_more)
{
    kith_runtime *rt[LIVE_MAX + 1] = {NULL};
    for (int i = 0; i < LIVE_MAX; i++)
        CHECK_EQ(start_small(&rt[i]), KITH_OK);
    CHECK_EQ(start_small(&rt[LIVE_MAX]), KITH_EAGAIN);
    CHECK(rt[LIVE_MAX] == NULL);
    CHECK_EQ(kith_shutdown(rt[5], PATIENCE), KITH_OK);
    CHECK_EQ(start_small(&rt[5]), KITH_OK); /* there is room for one again */
    CHECK_EQ(start_small(&rt[LIVE_MAX]), KITH_EAGAIN);
    for (int i = 0; i < LIVE_MAX; i++)
        CHECK_EQ(kith_shutdown(rt[i], PATIENCE), KITH_OK);
}

TEST(version_is_three_numbers)
{
    int major = -1;
    int minor = -1;
    int patch = -1;
    char rest = 0;
    CHECK(kith_version() != NULL);
    CHECK_EQ(sscanf(kith_version(), "%d.%d.%d%c", &major, &minor, &patch, &rest), 3);
}

/* ---- several runtimes ---- */

static void check_stale(struct env *e, kith_ref ref)
{
    kith_msg *reply;
    kith_err err = kith_send(e->self, ref, number);
    CHECK(err == KITH_EDEAD || err == KITH_EBADREF);
    err = kith_stop(e->self, ref);
    CHECK(err == KITH_EDEAD || err == KITH_EBADREF);
    err = kith_ask(e->co, ref, PATIENCE, &reply, number);
    CHECK(err == KITH_EDEAD || err == KITH_EBADREF);
}

/* A runtime that ended leaves references; those that come after it, in whatever number's place, must
 * take none of them for one of theirs. */
TEST(references_of_an_ended_runtime_are_stale)
{
    enum { ACTORS = 8 };
    kith_ref old[ACTORS];
    struct env *e = malloc(sizeof *e);
    REQUIRE(e != NULL);
    REQUIRE(env_open(e, 1));
    for (int i = 0; i < ACTORS; i++)
        old[i] = kith_spawn(e->self, &doer, NULL);
    kith_timer timer = kith_at(e->self, kith_in(KITH_HOUR), number);
    env_close(e);
    for (int round = 0; round < LIVE_MAX + 1; round++) { /* so often that numbers come again */
        REQUIRE(env_open(e, 1));
        kith_ref mine[ACTORS]; /* made in the same order, so that they get the same slots */
        for (int i = 0; i < ACTORS; i++)
            mine[i] = kith_spawn(e->self, &doer, NULL);
        kith_timer my_timer = kith_at(e->self, kith_in(KITH_HOUR), number);
        for (int i = 0; i < ACTORS; i++)
            check_stale(e, old[i]);
        CHECK_EQ(kith_timer_cancel(e->self, timer), KITH_EBADREF);
        CHECK_EQ(kith_timer_cancel(e->self, my_timer), KITH_OK);
        for (int i = 0; i < ACTORS; i++)
            settle(e, mine[i]);
        env_close(e);
    }
    free(e);
}

TEST(references_of_another_live_runtime_are_refused)
{
    struct env *a = malloc(sizeof *a);
    REQUIRE(a != NULL && env_open(a, 2));
    kith_ref ref = kith_spawn(a->self, &doer, NULL);
    env_detach(a);
    struct env *b = malloc(sizeof *b);
    REQUIRE(b != NULL && env_open(b, 2));
    CHECK_EQ(kith_send(b->self, ref, number), KITH_EBADREF);
    CHECK_EQ(kith_stop(b->self, ref), KITH_EBADREF);
    CHECK_EQ(kith_monitor(b->self, ref), KITH_EBADREF);
    kith_spawn_options options = {.parent = ref};
    CHECK_EQ(kith_ref_error(kith_spawn_with(b->self, &doer, NULL, &options)), KITH_EBADREF);
    kith_self *self;
    CHECK_EQ(kith_attach(a->rt, &self, NULL), KITH_EPERM); /* one at a time */
    env_close(b);
    CHECK_EQ(kith_attach(a->rt, &a->self, &a->co), KITH_OK);
    settle(a, ref);
    env_close(a);
    free(a);
    free(b);
}

static void *one_runtime(void *arg)
{
    struct env *e = arg;
    if (!env_open(e, 2))
        return NULL;
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    for (int i = 0; i < 50; i++)
        settle(e, actor);
    env_close(e);
    return NULL;
}

TEST(runtimes_live_beside_each_other)
{
    enum { N = 5 };
    pthread_t threads[N];
    struct env *e = calloc(N, sizeof *e);
    REQUIRE(e != NULL);
    for (int i = 0; i < N; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, one_runtime, &e[i]), 0);
    for (int i = 0; i < N; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    free(e);
}

/* ---- main ---- */

static void silence(void *arg, kith_log_level level, const char *text)
{
    (void)arg;
    (void)level;
    (void)text;
}

struct main_arg {
    kith_runtime *rt;
    int ran;
    kith_err fail;
    int inner;
    struct gate *gate;
};

static kith_err nothing_more(kith_self *self, struct doer *me, void *arg)
{
    (void)arg;
    me->count++;
    return kith_stop(self, kith_self_ref(self));
}

static void main_fn(kith_self *self, kith_co *co, void *arg)
{
    struct main_arg *a = arg;
    kith_msg *reply;
    a->ran++;
    a->rt = kith_self_runtime(self);
    CHECK(kith_co_self(co) == self);
    kith_ref actor = kith_spawn(self, &doer, NULL);
    CHECK_EQ(kith_ask(co, actor, PATIENCE, &reply, order, .fn = nothing_more), KITH_OK);
    kith_config config = {.log = silence};
    a->inner = kith_main(&config, main_fn, NULL); /* in an attached thread: refused */
    if (a->gate != NULL)
        kith_send(self, kith_spawn(self, &doer, NULL), tell, .fn = do_wait, .arg = a->gate);
    if (a->gate != NULL)
        gate_await(a->gate);
    if (a->fail != KITH_OK)
        CHECK_EQ(kith_fail(self, a->fail), a->fail);
}

/* kith_main's config, with the log captured. */
static int run_main(struct env *e, struct main_arg *a, kith_main_fn *fn)
{
    memset(e, 0, sizeof *e);
    pthread_mutex_init(&e->log.lock, NULL);
    kith_config config = env_config(e, 2);
    config.shutdown_ns = a != NULL && a->gate != NULL ? KITH_MS : 0;
    return kith_main(&config, fn, a);
}

TEST(main_returns_its_status)
{
    struct env *e = malloc(sizeof *e);
    REQUIRE(e != NULL);
    struct main_arg a = {.fail = KITH_OK};
    CHECK_EQ(run_main(e, &a, main_fn), 0);
    CHECK_EQ(a.ran, 1);
    CHECK_EQ(a.inner, 1);
    CHECK(!log_has(&e->log, "messages were lost"));
    a.fail = KITH_EIO;
    CHECK_EQ(run_main(e, &a, main_fn), 1);
    CHECK_EQ(a.ran, 2);
    CHECK_EQ(run_main(e, NULL, NULL), 1); /* no function; a line in the log says why */
    CHECK(log_has(&e->log, "could not start"));
    kith_config bad = {.workers = KITH_WORKERS_MAX + 1, .log = silence};
    CHECK_EQ(kith_main(&bad, main_fn, &a), 1);
    CHECK_EQ(a.ran, 2);
    free(e);
}

TEST(main_says_when_the_shutdown_took_too_long)
{
    static struct gate gate;
    struct env *e = malloc(sizeof *e);
    REQUIRE(e != NULL);
    gate = (struct gate){0};
    struct main_arg a = {.gate = &gate};
    CHECK_EQ(run_main(e, &a, main_fn), 1);
    CHECK(log_has(&e->log, "still alive: doer"));
    CHECK(log_has(&e->log, "left at the deadline: 1 actors"));
    kith__store_seq(&gate.open, 1);
    CHECK_EQ(kith_shutdown(a.rt, PATIENCE), KITH_OK); /* what kith_main had to leave */
    free(e);
}

/* ---- join ---- */

TEST_ON_WORKERS(join_waits_until_no_actor_is_alive)
{
    CHECK_EQ(kith_join(e->rt, KITH_NOWAIT), KITH_OK); /* there is none */
    for (int i = 0; i < 100; i++) {
        kith_ref actor = kith_spawn(e->self, &doer, NULL);
        do_later(e, actor, nothing_more, NULL);
    }
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
    CHECK_EQ(env_stats(e).actors, 0u);
    CHECK_EQ(kith_join(e->rt, KITH_FOREVER), KITH_OK);
}

/* Spawns its successor and dies, n times: there is always one alive. */
static kith_err relay(kith_self *self, struct doer *me, void *arg)
{
    static int counts[200];
    int n = *(int *)arg;
    (void)me;
    if (n + 1 < 200) {
        counts[n + 1] = n + 1;
        kith_ref next = kith_spawn(self, &doer, NULL);
        kith_send(self, next, tell, .fn = relay, .arg = &counts[n + 1]);
    }
    return kith_stop(self, kith_self_ref(self));
}

TEST_ON_WORKERS(join_does_not_return_between_a_death_and_a_birth)
{
    static int first = 0;
    do_later(e, kith_spawn(e->self, &doer, NULL), relay, &first);
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
    CHECK_EQ(env_stats(e).spawned, 200u);
}

static const kith_behavior nameless = {.name = NULL};

TEST_ON_WORKERS(join_names_what_is_left_at_the_deadline)
{
    static struct gate gate;
    gate = (struct gate){0};
    kith_ref hog = kith_spawn(e->self, &doer, NULL);
    kith_ref quiet = kith_spawn(e->self, &nameless, NULL);
    CHECK_EQ(kith_ref_error(quiet), KITH_OK);
    do_later(e, hog, do_wait, &gate);
    gate_await(&gate);
    CHECK_EQ(kith_join(e->rt, kith_in(KITH_MS)), KITH_ETIMEOUT);
    CHECK(log_has(&e->log, "still alive: doer"));
    CHECK(log_has(&e->log, "still alive: ?"));
    CHECK(log_has(&e->log, "left at the deadline: 2 actors, 1 attached threads"));
    kith__store_seq(&gate.open, 1);
    CHECK_EQ(kith_stop(e->self, hog), KITH_OK);
    CHECK_EQ(kith_stop(e->self, quiet), KITH_OK);
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
}

static kith_err join_here(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    (void)me;
    return kith_join(arg, KITH_NOWAIT);
}

static kith_err shutdown_here(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    (void)me;
    return kith_shutdown(arg, KITH_NOWAIT);
}

static kith_err main_here(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    (void)me;
    kith_config config = {.log = silence};
    CHECK_EQ(kith_main(&config, main_fn, arg), 1);
    return KITH_OK;
}

TEST_ON_WORKERS(an_actor_neither_joins_nor_ends_its_runtime)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, actor, join_here, e->rt), KITH_EPERM);
    CHECK_EQ(do_in(e, actor, shutdown_here, e->rt), KITH_EPERM);
    CHECK_EQ(do_in(e, actor, main_here, NULL), KITH_OK);
    CHECK_EQ(kith_join(NULL, KITH_NOWAIT), KITH_EINVAL);
}

static void *join_outside(void *arg)
{
    struct env *e = arg;
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
    return NULL;
}

TEST_ON_WORKERS(several_threads_may_join)
{
    enum { N = 3 };
    pthread_t threads[N];
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    for (int i = 0; i < N; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, join_outside, e), 0);
    settle(e, actor);
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    for (int i = 0; i < N; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* ---- stats ---- */

TEST_ON_WORKERS(stats_count)
{
    kith_stats stats;
    CHECK_EQ(kith_stats_get(NULL, &stats), KITH_EINVAL);
    CHECK_EQ(kith_stats_get(e->rt, NULL), KITH_EINVAL);
    stats = env_stats(e);
    CHECK_EQ(stats.workers, e->workers);
    CHECK_EQ(stats.actors + stats.spawned + stats.dead_letters + stats.late_replies, 0u);
    CHECK_EQ(stats.messages + stats.sockets + stats.timers + stats.stalls, 0u);
    kith_ref a = kith_spawn(e->self, &doer, NULL);
    kith_ref b = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_ref_error(b), KITH_OK);
    settle(e, a);
    kith_timer timer = kith_at(e->self, kith_in(KITH_HOUR), number);
    CHECK_EQ(kith_send(e->self, kith_self_ref(e->self), number), KITH_OK);
    stats = env_stats(e);
    CHECK_EQ(stats.actors, 2u);
    CHECK_EQ(stats.spawned, 2u);
    CHECK_EQ(stats.timers, 1u);
    CHECK_EQ(stats.messages, 3u); /* the answer in hand, the timer's, the one in the mailbox */
    CHECK_GE(stats.turns, 1u);
    CHECK_EQ(kith_timer_cancel(e->self, timer), KITH_OK);
    CHECK(RECEIVE(e, number) != NULL);
    CHECK(nothing_waits(e));
    CHECK_EQ(env_stats(e).messages, 0u);
    CHECK_EQ(env_stats(e).timers, 0u);
}

/* ---- config ---- */

TEST(the_log_level_says_what_is_logged)
{
    static const kith_log_level levels[] = {KITH_LOG_DEFAULT, KITH_LOG_DEBUG, KITH_LOG_ERROR,
                                            KITH_LOG_NONE};
    static const bool warns[] = {true, true, false, false};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        struct env *e = calloc(1, sizeof *e);
        REQUIRE(e != NULL);
        pthread_mutex_init(&e->log.lock, NULL);
        kith_config config = env_config(e, 1);
        config.log_level = levels[i];
        CHECK_EQ(kith_start(&config, &e->rt), KITH_OK);
        CHECK_EQ(kith_attach(e->rt, &e->self, &e->co), KITH_OK);
        kith_ref actor = kith_spawn(e->self, &nameless, NULL);
        stop_and_wait(e, actor);
        CHECK_EQ(kith_send(e->self, actor, number), KITH_EDEAD);
        CHECK_EQ(log_has(&e->log, "dead letter"), warns[i]);
        env_close(e);
        free(e);
    }
}

static void first_random(unsigned seed, uint64_t *out)
{
    kith_config config = {.workers = 1, .seed = seed};
    kith_runtime *rt;
    kith_self *self;
    if (kith_start(&config, &rt) != KITH_OK)
        return;
    CHECK_EQ(kith_attach(rt, &self, NULL), KITH_OK);
    *out = kith_random(self);
    CHECK_EQ(kith_detach(self), KITH_OK);
    CHECK_EQ(kith_shutdown(rt, PATIENCE), KITH_OK);
}

TEST(the_seed_decides_the_random_numbers)
{
    uint64_t a = 0;
    uint64_t b = 0;
    uint64_t c = 0;
    first_random(5, &a);
    first_random(5, &b);
    first_random(6, &c);
    CHECK_EQ(a, b);
    CHECK_NE(a, c);
}

/* A worker that spins before it sleeps does the same work. */
TEST(spinning_workers)
{
    struct env *e = calloc(1, sizeof *e);
    REQUIRE(e != NULL);
    pthread_mutex_init(&e->log.lock, NULL);
    kith_config config = env_config(e, 2);
    config.spin_ns = 50 * KITH_US;
    CHECK_EQ(kith_start(&config, &e->rt), KITH_OK);
    CHECK_EQ(kith_attach(e->rt, &e->self, &e->co), KITH_OK);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    for (int i = 0; i < 200; i++)
        settle(e, actor);
    kith_at(e->self, kith_in(KITH_MS), number);
    CHECK(RECEIVE(e, number) != NULL);
    env_close(e);
    free(e);
}

/* A turn that lasts is logged, with the name of its actor and, if a signal is given, a backtrace. */
TEST(a_stalled_turn_is_logged)
{
    struct env *e = calloc(1, sizeof *e);
    static struct gate gate;
    REQUIRE(e != NULL);
    gate = (struct gate){0};
    pthread_mutex_init(&e->log.lock, NULL);
    kith_config config = env_config(e, 2);
    config.stall_ns = KITH_MS;
    config.stall_signal = SIGURG;
    CHECK_EQ(kith_start(&config, &e->rt), KITH_OK);
    CHECK_EQ(kith_attach(e->rt, &e->self, &e->co), KITH_OK);
    do_later(e, kith_spawn(e->self, &doer, NULL), do_wait, &gate);
    kith_time until = PATIENCE;
    while (!log_has(&e->log, "stalled at") && kith_now() < until)
        sched_yield();
    CHECK(log_has(&e->log, "a turn of doer has lasted"));
    CHECK(log_has(&e->log, "stalled at"));
    CHECK_EQ(env_stats(e).stalls, 1u);
    kith__store_seq(&gate.open, 1);
    env_close(e);
    free(e);
}

/* ---- after the end ---- */

TEST(a_runtime_that_has_ended_is_refused)
{
    kith_runtime *rt = NULL;
    kith_self *self = NULL;
    kith_co *co = NULL;
    kith_stats stats;
    const kith_config config = {.workers = 1};
    REQUIRE(kith_start(&config, &rt) == KITH_OK);
    REQUIRE(kith_attach(rt, &self, &co) == KITH_OK);
    CHECK(kith_co_self(co) == self);
    CHECK_EQ(kith_detach(self), KITH_OK);
    CHECK(kith_co_self(co) == NULL);
    REQUIRE(kith_shutdown(rt, PATIENCE) == KITH_OK);
    CHECK_EQ(kith_stats_get(rt, &stats), KITH_EINVAL);
    CHECK_EQ(kith_join(rt, KITH_NOWAIT), KITH_EINVAL);
    CHECK_EQ(kith_attach(rt, &self, &co), KITH_EINVAL);
    CHECK_EQ(kith_shutdown(rt, KITH_NOWAIT), KITH_EINVAL);
}

/* Each signal has its own handler, and gets its own back. */
TEST(two_runtimes_with_two_stall_signals)
{
    kith_runtime *a = NULL;
    kith_runtime *b = NULL;
    struct sigaction before;
    struct sigaction after;
    REQUIRE(sigaction(SIGUSR2, NULL, &before) == 0);
    const kith_config first = {.workers = 1, .stall_signal = SIGUSR1};
    const kith_config second = {.workers = 1, .stall_signal = SIGUSR2};
    REQUIRE(kith_start(&first, &a) == KITH_OK);
    REQUIRE(kith_start(&second, &b) == KITH_OK);
    CHECK_EQ(raise(SIGUSR1), 0); /* without a handler these would end the process */
    CHECK_EQ(raise(SIGUSR2), 0);
    CHECK_EQ(kith_shutdown(a, PATIENCE), KITH_OK);
    CHECK_EQ(raise(SIGUSR2), 0);
    CHECK_EQ(kith_shutdown(b, PATIENCE), KITH_OK);
    REQUIRE(sigaction(SIGUSR2, NULL, &after) == 0);
    CHECK(after.sa_handler == before.sa_handler);
}
