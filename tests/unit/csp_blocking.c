/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The pool of threads for calls that block: csp/blocking.c.
 *
 * A job of most tests stands at a gate, so that the test decides when it ends; no test measures how
 * long anything took, and none waits for a time to pass.
 */
#include "csp/blocking.h"
#include "tests/unit/actors_common.h"
#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- what runs on the pool ---- */

static kith_err at_gate(void *arg)
{
    struct gate *gate = arg;
    kith__add_seq(&gate->reached, 1);
    while (kith__load_seq(&gate->open) == 0)
        sched_yield();
    return KITH_EAGAIN;
}

static KITH__ATOMIC(int) ran;

static kith_err count(void *arg)
{
    (void)arg;
    kith__add_seq(&ran, 1);
    return KITH_OK;
}

static void gate_open(struct gate *gate)
{
    kith__store_seq(&gate->open, 1);
}

static void await_reached(struct gate *gate, int n)
{
    while (kith__load_seq(&gate->reached) < n)
        sched_yield();
}

/* How many threads of this process are a pool's. */
static int pool_threads(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/task");
    if (dir == NULL)
        return -1;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[300];
        char name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        n += fgets(name, sizeof name, file) != NULL && strncmp(name, "kith-b-", 7) == 0;
        fclose(file);
    }
    closedir(dir);
    return n;
}

/* ---- a runtime with a small pool ---- */

static bool small_open(struct env *e, unsigned threads, unsigned queue, kith_time idle_ns)
{
    memset(e, 0, sizeof *e);
    pthread_mutex_init(&e->log.lock, NULL);
    e->workers = 2;
    kith_config config = env_config(e, 2);
    config.blocking_threads = threads;
    config.blocking_queue = queue;
    config.blocking_idle_ns = idle_ns;
    CHECK_EQ(kith_start(&config, &e->rt), KITH_OK);
    kith_err err = e->rt != NULL ? kith_attach(e->rt, &e->self, &e->co) : KITH_EINVAL;
    CHECK_EQ(err, KITH_OK);
    return err == KITH_OK;
}

static void small_test(void (*body)(struct env *e), unsigned threads, unsigned queue,
                       kith_time idle_ns)
{
    struct env *e = malloc(sizeof *e);
    if (e != NULL && small_open(e, threads, queue, idle_ns)) {
        body(e);
        env_close(e);
    }
    free(e);
}

/* A test with so many threads, and so many calls that may wait. */
#define TEST_ON_POOL(name, threads, queue, idle_ns)                                                \
    static void name##_body(struct env *e);                                                        \
    TEST(name)                                                                                     \
    {                                                                                              \
        small_test(name##_body, threads, queue, idle_ns);                                          \
    }                                                                                              \
    static void name##_body(struct env *e)

/* ---- results ---- */

static kith_err the_number(void *arg)
{
    *(pthread_t *)arg = pthread_self();
    return KITH_ETYPE;
}

TEST_ON_WORKERS(a_thread_gets_the_result)
{
    pthread_t id = pthread_self();
    CHECK_EQ(kith_blocking(e->co, the_number, &id), KITH_ETYPE);
    CHECK(!pthread_equal(id, pthread_self()));
    CHECK_EQ(kith_blocking(e->co, NULL, NULL), KITH_EINVAL);
    CHECK_EQ(kith_blocking(NULL, count, NULL), KITH_EPERM);
}

struct report {
    kith_ref to;
    kith_ref other;
    struct gate gate;
    struct gate second;
};

static void fiber_calls(kith_self *self, kith_co *co, void *arg)
{
    const struct report *r = arg;
    pthread_t id = pthread_self();
    kith_err err = kith_blocking(co, the_number, &id);
    CHECK(!pthread_equal(id, pthread_self()));
    kith_send(self, r->to, done, .err = err);
}

TEST_ON_WORKERS(a_fiber_gets_the_result)
{
    struct report r = {.to = kith_self_ref(e->self)};
    for (int i = 0; i < 20; i++)
        kith_go(e->self, fiber_calls, &r);
    for (int i = 0; i < 20; i++) {
        const done *d = RECEIVE(e, done);
        CHECK_EQ(d != NULL ? d->err : KITH_OK, KITH_ETYPE);
    }
}

struct calls {
    struct kith_self *self;
    kith_co *co;
    kith_ref to;
    kith_err errs[6];
};

/* The program's function is outside of the runtime. */
static kith_err use_kith(void *arg)
{
    struct calls *c = arg;
    kith_msg *msg;
    c->errs[0] = kith_send(c->self, c->to, number, .value = 1);
    c->errs[1] = kith_receive(c->co, KITH_NOWAIT, &msg);
    c->errs[2] = kith_blocking(c->co, count, NULL);
    c->errs[3] = kith_blocking_send(c->self, count, NULL, NULL);
    c->errs[4] = kith_blocking_cancel(c->self, 1);
    c->errs[5] = kith_ref_error(kith_spawn(c->self, &doer, NULL));
    return KITH_OK;
}

TEST_ON_WORKERS(kith_is_not_to_be_called_from_there)
{
    struct calls c = {.self = e->self, .co = e->co, .to = kith_self_ref(e->self)};
    CHECK_EQ(kith_blocking(e->co, use_kith, &c), KITH_OK);
    for (int i = 0; i < 6; i++)
        CHECK_EQ(c.errs[i], KITH_EPERM);
}

/* ---- results as messages ---- */

struct asker {
    kith_ref main;
    uint64_t job;
    void *arg;
};

KITH_MESSAGE(begin, {
    kith_ref report;
    void *arg;
});

KITH_ON(asker, begin)
{
    me->main = msg->report;
    me->arg = msg->arg;
    return kith_blocking_send(self, the_number, msg->arg, &me->job);
}

KITH_ON(asker, kith_blocking_done)
{
    CHECK_EQ(msg->arg, me->arg);
    CHECK_EQ(msg->job, me->job);
    CHECK_EQ(kith_sender(self).bits, 0u);
    return kith_send(self, me->main, done, .err = msg->status);
}

static const kith_behavior asker = {
    .name = "asker",
    .state_bytes = sizeof(struct asker),
    .handlers = KITH_HANDLERS(asker, begin, kith_blocking_done),
};

TEST_ON_WORKERS(an_actor_gets_the_result_as_a_message)
{
    pthread_t id;
    kith_ref ref = kith_spawn(e->self, &asker, NULL);
    CHECK_EQ(kith_send(e->self, ref, begin, .report = kith_self_ref(e->self), .arg = &id), KITH_OK);
    const done *d = RECEIVE(e, done);
    CHECK_EQ(d != NULL ? d->err : KITH_OK, KITH_ETYPE);
    CHECK_EQ(kith_blocking_send(e->self, NULL, NULL, NULL), KITH_EINVAL);
    CHECK_EQ(kith_blocking_send(NULL, count, NULL, NULL), KITH_EPERM);
}

static kith_err do_send_at_gate(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    return kith_blocking_send(self, at_gate, arg, NULL);
}

TEST_ON_WORKERS(the_result_for_the_dead_is_a_dead_letter)
{
    struct gate gate = {0};
    CHECK_EQ(kith_dead_letters_subscribe(e->self), KITH_OK);
    kith_ref ref = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, ref, do_send_at_gate, &gate), KITH_OK);
    await_reached(&gate, 1);
    stop_and_wait(e, ref);
    gate_open(&gate);
    const kith_dead_letter *letter = RECEIVE(e, kith_dead_letter);
    CHECK(letter != NULL && letter->to.bits == ref.bits && letter->reason == KITH_EDEAD);
    CHECK_EQ(env_stats(e).dead_letters, 1u);
}

/* ---- limits ---- */

TEST_ON_POOL(no_more_run_and_wait_than_may, 2, 3, 0)
{
    struct gate gate = {0};
    uint64_t job[5];
    kith__store_seq(&ran, 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(kith_blocking_send(e->self, at_gate, &gate, &job[i]), KITH_OK);
    await_reached(&gate, 2);
    for (int i = 2; i < 5; i++)
        CHECK_EQ(kith_blocking_send(e->self, count, &gate, &job[i]), KITH_OK);
    CHECK_EQ(kith_blocking_send(e->self, count, NULL, NULL), KITH_EFULL);
    CHECK_EQ(kith_blocking(e->co, count, NULL), KITH_EFULL);
    CHECK_EQ(pool_threads(), 2);
    CHECK_EQ(kith__load_seq(&ran), 0);
    CHECK_EQ(kith_blocking_cancel(e->self, job[3]), KITH_OK);
    CHECK_EQ(kith_blocking_send(e->self, count, &gate, &job[3]), KITH_OK);
    gate_open(&gate);
    for (int i = 0; i < 5; i++)
        CHECK(RECEIVE(e, kith_blocking_done) != NULL);
    CHECK_EQ(kith__load_seq(&ran), 3);
}

static kith_err in_order(void *arg)
{
    CHECK_EQ(kith__load_seq(&ran), *(int *)arg);
    kith__add_seq(&ran, 1);
    return KITH_OK;
}

TEST_ON_POOL(first_in_first_out, 1, 0, 0)
{
    struct gate gate = {0};
    int n[100];
    kith__store_seq(&ran, 0);
    CHECK_EQ(kith_blocking_send(e->self, at_gate, &gate, NULL), KITH_OK);
    await_reached(&gate, 1);
    for (int i = 0; i < 100; i++) {
        n[i] = i;
        CHECK_EQ(kith_blocking_send(e->self, in_order, &n[i], NULL), KITH_OK);
    }
    gate_open(&gate);
    for (int i = 0; i < 101; i++)
        CHECK(RECEIVE(e, kith_blocking_done) != NULL);
}

/* ---- taking back ---- */

static kith_err do_cancel(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    return kith_blocking_cancel(self, *(uint64_t *)arg);
}

TEST_ON_POOL(what_has_not_begun_can_be_taken_back, 1, 0, 0)
{
    struct gate gate = {0};
    uint64_t first;
    uint64_t second;
    kith__store_seq(&ran, 0);
    CHECK_EQ(kith_blocking_send(e->self, at_gate, &gate, &first), KITH_OK);
    CHECK_EQ(kith_blocking_send(e->self, count, NULL, &second), KITH_OK);
    await_reached(&gate, 1);
    CHECK_EQ(kith_blocking_cancel(e->self, first), KITH_EBUSY);
    CHECK_EQ(kith_blocking_cancel(e->self, second + 1), KITH_EBADREF);
    CHECK_EQ(kith_blocking_cancel(e->self, 0), KITH_EBADREF);
    CHECK_EQ(kith_blocking_cancel(NULL, second), KITH_EPERM);
    CHECK_EQ(do_in(e, kith_spawn(e->self, &doer, NULL), do_cancel, &second), KITH_EPERM);
    CHECK_EQ(kith_blocking_cancel(e->self, second), KITH_OK);
    CHECK_EQ(kith_blocking_cancel(e->self, second), KITH_EBUSY);
    gate_open(&gate);
    const kith_blocking_done *d = RECEIVE(e, kith_blocking_done);
    CHECK(d != NULL && d->job == first && d->status == KITH_EAGAIN);
    CHECK_EQ(kith_blocking(e->co, in_order, &(int){0}), KITH_OK); /* count has not run */
    CHECK(nothing_waits(e));
}

TEST_ON_POOL(a_deadline_is_for_the_beginning, 1, 0, 0)
{
    struct gate gate = {0};
    kith__store_seq(&ran, 0);
    CHECK_EQ(kith_blocking_send(e->self, at_gate, &gate, NULL), KITH_OK);
    await_reached(&gate, 1);
    CHECK_EQ(kith_blocking_by(e->co, kith_in(KITH_MS), count, NULL), KITH_ETIMEOUT);
    CHECK_EQ(kith_blocking_by(e->co, KITH_NOWAIT, count, NULL), KITH_ETIMEOUT);
    gate_open(&gate);
    CHECK(RECEIVE(e, kith_blocking_done) != NULL);
    CHECK_EQ(kith_blocking_by(e->co, PATIENCE, in_order, &(int){0}), KITH_OK);
}

static kith_err outlasts(void *arg)
{
    kith_time until = *(kith_time *)arg;
    while (kith_now() < until)
        sched_yield();
    return KITH_ETYPE;
}

TEST_ON_POOL(what_has_begun_is_waited_for_beyond_the_deadline, 1, 0, 0)
{
    kith_err err;
    do { /* on a machine that is busy it may not even begin */
        kith_time until = kith_in(20 * KITH_MS);
        err = kith_blocking_by(e->co, until, outlasts, &until);
    } while (err == KITH_ETIMEOUT);
    CHECK_EQ(err, KITH_ETYPE);
}

static void canceled_caller(kith_self *self, kith_co *co, void *arg)
{
    struct report *r = arg;
    kith_err err = kith_blocking(co, at_gate, &r->second);
    CHECK(kith_canceled(co));
    CHECK_EQ(kith_blocking(co, count, NULL), KITH_ECANCELED);
    kith_send(self, r->to, done, .err = err);
}

/* Until so many calls wait or run. */
static void await_calls(struct env *e, uint32_t n)
{
    while (kith__load_seq(&e->rt->outside) != n)
        sched_yield();
}

TEST_ON_POOL(a_fiber_that_is_canceled_takes_back_what_waits, 1, 0, 0)
{
    struct report r = {.to = kith_self_ref(e->self)};
    kith__store_seq(&ran, 0);
    CHECK_EQ(kith_blocking_send(e->self, at_gate, &r.gate, NULL), KITH_OK);
    await_reached(&r.gate, 1);
    kith_ref fiber = kith_go(e->self, canceled_caller, &r);
    await_calls(e, 2);
    CHECK_EQ(kith_stop(e->self, fiber), KITH_OK);
    const done *d = RECEIVE(e, done);
    CHECK_EQ(d != NULL ? d->err : KITH_OK, KITH_ECANCELED);
    CHECK_EQ(kith__load_seq(&r.second.reached), 0);
    gate_open(&r.gate);
    CHECK(RECEIVE(e, kith_blocking_done) != NULL);
    CHECK_EQ(kith_blocking(e->co, in_order, &(int){0}), KITH_OK);
    CHECK_EQ(kith__load_seq(&r.second.reached), 0);
}

TEST_ON_POOL(a_fiber_that_is_canceled_waits_for_what_runs, 1, 0, 0)
{
    struct report r = {.to = kith_self_ref(e->self)};
    kith_ref fiber = kith_go(e->self, canceled_caller, &r);
    await_reached(&r.second, 1);
    CHECK_EQ(kith_stop(e->self, fiber), KITH_OK);
    /* A second signal: by the time that its order is kept, the first has been seen. */
    CHECK_EQ(kith_monitor(e->self, fiber), KITH_OK);
    CHECK(nothing_waits(e));
    gate_open(&r.second);
    const done *d = RECEIVE(e, done);
    CHECK_EQ(d != NULL ? d->err : KITH_OK, KITH_EAGAIN); /* at_gate's own result */
    CHECK_EQ(await_down(e, fiber), KITH_OK);
}

/* ---- threads come and go ---- */

TEST_ON_POOL(threads_are_started_on_demand, 10, 0, 3600 * KITH_SECOND)
{
    CHECK_EQ(pool_threads(), 0);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(kith_blocking(e->co, count, NULL), KITH_OK);
    CHECK_LE(pool_threads(), 2); /* the last one may not be idle again before the next comes */
    struct gate gate = {0};
    for (int i = 0; i < 10; i++)
        CHECK_EQ(kith_blocking_send(e->self, at_gate, &gate, NULL), KITH_OK);
    await_reached(&gate, 10); /* all ten at once */
    CHECK_EQ(pool_threads(), 10);
    gate_open(&gate);
    for (int i = 0; i < 10; i++)
        CHECK(RECEIVE(e, kith_blocking_done) != NULL);
}

TEST_ON_POOL(idle_threads_retire, 4, 0, 1)
{
    for (int round = 0; round < 20; round++) {
        struct gate gate = {0};
        for (int i = 0; i < 4; i++)
            CHECK_EQ(kith_blocking_send(e->self, at_gate, &gate, NULL), KITH_OK);
        await_reached(&gate, 4);
        gate_open(&gate);
        for (int i = 0; i < 4; i++)
            CHECK(RECEIVE(e, kith_blocking_done) != NULL);
        while (round % 2 == 0 && pool_threads() != 0)
            sched_yield();
    }
}

/* ---- no thread to be had ---- */

/* The pool's record of a thread is an allocation on a cache line of its own: without it there is no
 * thread. */
static KITH__ATOMIC(int) out_of_memory;

static void *failing_alloc(void *arg, size_t bytes, size_t align)
{
    (void)arg;
    if (align == KITH__CACHE_LINE && kith__load_seq(&out_of_memory) != 0)
        return NULL;
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}

static void failing_free(void *arg, void *memory, size_t bytes)
{
    (void)arg;
    (void)bytes;
    free(memory);
}

static bool failing_open(struct env *e)
{
    memset(e, 0, sizeof *e);
    pthread_mutex_init(&e->log.lock, NULL);
    kith_config config = env_config(e, 1);
    config.allocator = (kith_allocator){failing_alloc, failing_free, NULL};
    config.blocking_threads = 2;
    CHECK_EQ(kith_start(&config, &e->rt), KITH_OK);
    kith_err err = kith_attach(e->rt, &e->self, &e->co);
    CHECK_EQ(err, KITH_OK);
    return err == KITH_OK;
}

TEST(without_a_thread_the_call_is_refused)
{
    static struct env e;
    if (!failing_open(&e))
        return;
    kith__store_seq(&ran, 0);
    /* What is needed besides the thread is there already. */
    uint64_t job;
    CHECK_EQ(kith_send(e.self, kith_self_ref(e.self), number, .value = 1), KITH_OK);
    CHECK(RECEIVE(&e, number) != NULL);
    kith__store_seq(&out_of_memory, 1);
    CHECK_EQ(kith_blocking(e.co, count, NULL), KITH_EAGAIN);
    kith_err err = kith_blocking_send(e.self, count, NULL, &job);
    CHECK(err == KITH_EAGAIN || err == KITH_ENOMEM);
    kith__store_seq(&out_of_memory, 0);
    CHECK_EQ(kith__load_seq(&ran), 0);
    struct gate gate = {0};
    CHECK_EQ(kith_blocking_send(e.self, at_gate, &gate, NULL), KITH_OK);
    CHECK_EQ(kith_send(e.self, kith_self_ref(e.self), number, .value = 1), KITH_OK);
    CHECK(RECEIVE(&e, number) != NULL);
    await_reached(&gate, 1);
    /* One thread lives: it will do the work of the one that cannot be started. */
    kith__store_seq(&out_of_memory, 1);
    CHECK_EQ(kith_blocking_send(e.self, count, NULL, NULL), KITH_OK);
    kith__store_seq(&out_of_memory, 0);
    CHECK_EQ(pool_threads(), 1);
    gate_open(&gate);
    for (int i = 0; i < 2; i++)
        CHECK(RECEIVE(&e, kith_blocking_done) != NULL);
    env_close(&e);
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
static rlim_t address_space(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1)
        abort();
    fclose(file);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* A thread's stack is mapped: without address space the system makes no thread. */
TEST_ON_POOL(the_system_may_refuse_a_thread, 2, 0, 0)
{
    struct rlimit before;
    kith__store_seq(&ran, 0);
    REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
    CHECK_EQ(kith_send(e->self, kith_self_ref(e->self), number, .value = 1), KITH_OK);
    CHECK(RECEIVE(e, number) != NULL);
    struct rlimit tight = {.rlim_cur = address_space() + (1 << 20), .rlim_max = before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_AS, &tight) == 0);
    kith_err err = kith_blocking(e->co, count, NULL);
    REQUIRE(setrlimit(RLIMIT_AS, &before) == 0);
    /* A stack that another test's thread has left may have served. */
    CHECK_EQ(kith__load_seq(&ran), err == KITH_OK ? 1 : 0);
    CHECK(err == KITH_EAGAIN || err == KITH_OK);
    CHECK_EQ(kith_blocking(e->co, count, NULL), KITH_OK);
}
#endif

/* ---- the end of the runtime ---- */

static void shut_down(struct env *e)
{
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
}

static void refused_fiber(kith_self *self, kith_co *co, void *arg)
{
    kith_err err = kith_blocking(co, count, NULL);
    (void)self;
    CHECK(err == KITH_ESHUTDOWN || err == KITH_ECANCELED);
    kith__store_seq((KITH__ATOMIC(int) *)arg, (int)err);
}

struct opener {
    struct gate *gate;
    struct kith_runtime *rt;
};

/* Opens the gate when the shutdown has refused what waits: only the call at the gate is left. */
static void *opener_main(void *arg)
{
    const struct opener *o = arg;
    while (kith__load_seq(&o->rt->outside) != 1)
        sched_yield();
    gate_open(o->gate);
    return NULL;
}

TEST_ON_POOL(a_shutdown_refuses_what_waits_and_waits_for_what_runs, 1, 0, 0)
{
    static KITH__ATOMIC(int) told;
    struct gate gate = {0};
    pthread_t id;
    kith__store_seq(&told, 0);
    kith__store_seq(&ran, 0);
    kith_ref ref = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, ref, do_send_at_gate, &gate), KITH_OK);
    await_reached(&gate, 1);
    CHECK_EQ(kith_blocking_send(e->self, count, NULL, NULL), KITH_OK);
    kith_go(e->self, refused_fiber, &told);
    await_calls(e, 3);
    struct opener o = {&gate, e->rt};
    REQUIRE(pthread_create(&id, NULL, opener_main, &o) == 0);
    shut_down(e);
    pthread_join(id, NULL);
    CHECK_EQ(kith__load_seq(&gate.open), 1); /* it was waited for */
    CHECK(kith__load_seq(&told) != 0);
    CHECK_EQ(kith__load_seq(&ran), 0);
}

TEST_ON_POOL(a_shutdown_names_a_call_that_does_not_end, 1, 0, 0)
{
    struct gate gate = {0};
    CHECK_EQ(kith_blocking_send(e->self, at_gate, &gate, NULL), KITH_OK);
    await_reached(&gate, 1);
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, kith_in(KITH_MS)), KITH_ETIMEOUT);
    CHECK(log_has(&e->log, "left at the deadline: 1 blocking calls"));
    gate_open(&gate);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
}

TEST_ON_POOL(a_shutdown_with_idle_threads, 3, 0, 3600 * KITH_SECOND)
{
    for (int i = 0; i < 3; i++)
        CHECK_EQ(kith_blocking(e->co, count, NULL), KITH_OK);
    shut_down(e);
    CHECK_EQ(pool_threads(), 0);
}

static kith_err send_in_stop(kith_self *self, void *me, const void *arg)
{
    (void)self;
    (void)me;
    (void)arg;
    return KITH_OK;
}

static void stop_calls(kith_self *self, void *me, kith_err reason)
{
    (void)me;
    (void)reason;
    CHECK_EQ(kith_blocking_send(self, count, NULL, NULL), KITH_ESHUTDOWN);
}

TEST_ON_POOL(nothing_begins_once_the_shutdown_has_begun, 1, 0, 0)
{
    static const kith_behavior late = {.name = "late", .init = send_in_stop, .stop = stop_calls};
    kith_spawn(e->self, &late, NULL);
    shut_down(e);
}

/* ---- many ---- */

static void many_calls(kith_self *self, kith_co *co, void *arg)
{
    const struct report *r = arg;
    kith_err err = KITH_OK;
    for (int i = 0; i < 50 && err == KITH_OK; i++)
        err = kith_blocking(co, count, NULL);
    kith_send(self, r->to, done, .err = err);
}

TEST_ON_WORKERS(many_fibers_at_once)
{
    struct report r = {.to = kith_self_ref(e->self)};
    kith__store_seq(&ran, 0);
    for (int i = 0; i < 50; i++)
        kith_go(e->self, many_calls, &r);
    for (int i = 0; i < 50; i++) {
        const done *d = RECEIVE(e, done);
        CHECK_EQ(d != NULL ? d->err : KITH_ETYPE, KITH_OK);
    }
    CHECK_EQ(kith__load_seq(&ran), 2500);
}
