/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of cancellation: a hundred thousand fibers that wait in every way there is are canceled,
 * in every way there is.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: cancellation reaches each suspended operation as KITH_ECANCELED, the clean-up of
 *   each fiber runs, no fiber outlives its scope, and neither memory (the sanitizer's part, and the
 *   counters below), nor messages, nor descriptors are lost.
 * Threads: the test's, attached, and three workers; half of the rounds cancel while the fibers
 *   still begin.
 * Why fewer at once under a sanitizer: ThreadSanitizer knows some 8,000 fibers, and
 *   AddressSanitizer maps memory of its own for each. What they miss in one round they do in
 *   several.
 */
#include "tests/stress/cancel_waits.h"

#include "base/atomic.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define ALL 100000u
#define AT_ONCE (STRESS_SLOW == 1u ? ALL : STRESS_SLOW < 10u ? 8000u : 1500u)
#define WORKERS 3u
#define SOCKETS 10u /* fibers of each kind that have some */

KITH_MESSAGE_OWNING(parcel, { void *memory; });

static KITH__ATOMIC(uint32_t) begun;
static KITH__ATOMIC(uint32_t) ended;
static KITH__ATOMIC(uint32_t) parcels; /* that are somewhere */
static KITH__ATOMIC(uint32_t) sprouted;
static KITH__ATOMIC(uint32_t) sprouts; /* that have ended */

KITH_DROP(parcel)
{
    free(msg->memory);
    kith__sub_rlx(&parcels, 1);
}

/* ---- the fibers ---- */

static void values(kith_gen *gen, void *arg)
{
    void *memory = malloc(64);
    while (!kith_gen_closing(gen))
        kith_gen_yield(gen, arg);
    free(memory);
}

static wait_fn *way_of(uint32_t number)
{
    wait_fn *wait = waits[number % WAITS];
    bool sockets = false;
    for (size_t i = 0; i < sizeof with_sockets / sizeof with_sockets[0]; i++)
        sockets = sockets || wait == with_sockets[i];
    return sockets && number / WAITS >= SOCKETS ? in_receive : wait;
}

/* What a fiber has while it waits, and what ends with it. */
static void have_things(kith_self *self, uint32_t number)
{
    if (number % 5 == 0) {
        void *memory = malloc(32);
        kith__add_rlx(&parcels, 1);
        if (kith_send(self, kith_self_ref(self), parcel, .memory = memory) != KITH_OK) {
            kith__sub_rlx(&parcels, 1);
            free(memory);
        }
    }
    if (number % 7 == 0)
        kith_every(self, KITH_MINUTE, question, 0);
    if (number % 11 == 0)
        kith_gen_next(kith_gen_new(self, values, self), NULL, NULL);
}

static void waiter(kith_self *self, kith_co *co, void *arg)
{
    uint32_t number = (uint32_t)(uintptr_t)arg;
    void *memory = malloc(100);
    kith__add_seq(&begun, 1);
    have_things(self, number);
    kith_err err = way_of(number)(self, co, number / WAITS);
    if (err == KITH_ESHUTDOWN && kith__load_seq(&leaves_first) != 0)
        err = in_receive(self, co, number); /* what begins a thing is refused before it is told */
    if (err != KITH_ECANCELED)
        FAIL("way %u of waiting ended by %s", number % WAITS, kith_errname(err));
    if (number % 13 == 0) { /* a clean-up that waits */
        kith_shield(co, true);
        CHECK_EQ(kith_yield(co), KITH_OK);
        CHECK_EQ(kith_sleep(co, kith_in(KITH_US)), KITH_OK);
    }
    free(memory);
    kith__add_seq(&ended, 1);
}

static uint32_t start_all(kith_self *self, kith_scope *scope, uint32_t n)
{
    uint32_t started = 0;
    for (uint32_t i = 0; i < n; i++) {
        void *arg = (void *)(uintptr_t)i;
        kith_ref ref =
            scope != NULL ? kith_scope_go(self, scope, waiter, arg) : kith_go(self, waiter, arg);
        CHECK_EQ(kith_ref_error(ref), KITH_OK);
        started += kith_ref_error(ref) == KITH_OK;
    }
    return started;
}

static void await_begun(uint32_t n)
{
    while (kith__load_seq(&begun) < n)
        sched_yield();
}

/* ---- the environment ---- */

struct mute {
    char none;
};

KITH_ON(mute, question)
{
    (void)self;
    (void)me;
    (void)msg;
    return KITH_OK;
}

static const kith_behavior mute = {
    .name = "mute",
    .state_bytes = sizeof(struct mute),
    .handlers = KITH_HANDLERS(mute, question),
};

static void deaf(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    (void)arg;
    while (kith_sleep(co, kith_in(KITH_HOUR)) == KITH_OK)
        ;
}

/* Its backlog is full: who connects now waits. */
static void unreachable_open(void)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof here;
    shared.unreachable = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(shared.unreachable, (struct sockaddr *)&here, bytes), 0);
    CHECK_EQ(listen(shared.unreachable, 0), 0);
    CHECK_EQ(getsockname(shared.unreachable, (struct sockaddr *)&here, &bytes), 0);
    shared.port = ntohs(here.sin_port);
    for (int i = 0; i < BACKLOG; i++) {
        shared.filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(shared.filler[i], (struct sockaddr *)&here, bytes);
    }
}

static void unreachable_close(void)
{
    close(shared.unreachable);
    for (int i = 0; i < BACKLOG; i++)
        close(shared.filler[i]);
}

static void shared_open(kith_self *self, kith_co *co)
{
    uint32_t value = 0;
    void *item;
    kith_fiber_options narrow = {.mailbox_max = 1};
    shared = (struct shared){
        .meeting = kith_chan_new(self, sizeof value, 0),
        .full = kith_chan_new(self, sizeof value, 1),
        .empty = kith_chan_new(self, sizeof value, 4),
        .promise = kith_promise(self),
        .event = kith_event_new(self),
        .semaphore = kith_semaphore_new(self, 0),
        .mutex = kith_mutex_new(self),
        .nothing = kith_queue_new(self, 1),
        .undone = kith_queue_new(self, 1),
        .crammed = kith_queue_new(self, 1),
        .mute = kith_spawn(self, &mute, NULL),
        .deaf = kith_go_with(self, deaf, NULL, &narrow),
    };
    unreachable_open();
    CHECK_EQ(kith_send(self, shared.deaf, question, 0), KITH_OK);
    CHECK_EQ(kith_queue_put(co, shared.crammed, self, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(kith_chan_send(co, shared.full, &value, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(kith_mutex_lock(co, shared.mutex, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(kith_queue_put(co, shared.undone, self, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(kith_queue_get(co, shared.undone, &item, KITH_NOWAIT), KITH_OK);
}

/* When nobody waits any more. */
static void shared_close(kith_self *self)
{
    CHECK_EQ(kith_mutex_unlock(self, shared.mutex), KITH_OK);
    CHECK_EQ(kith_chan_count(shared.full), (size_t)1);
    CHECK_EQ(kith_chan_count(shared.empty), (size_t)0);
    kith_chan_drop(shared.meeting);
    kith_chan_drop(shared.full);
    kith_chan_drop(shared.empty);
    kith_future_cancel(shared.promise);
    kith_future_drop(shared.promise);
    kith_event_free(shared.event);
    kith_semaphore_free(shared.semaphore);
    kith_mutex_free(shared.mutex);
    kith_queue_free(shared.nothing);
    kith_queue_free(shared.undone);
    kith_queue_free(shared.crammed);
    unreachable_close();
}

static unsigned descriptors(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir != NULL && readdir(dir) != NULL)
        n++;
    if (dir != NULL)
        closedir(dir);
    return n;
}

struct run {
    kith_runtime *rt;
    kith_self *self;
    kith_co *co;
    unsigned descriptors;
};

static bool run_open(struct run *r)
{
    kith__store_seq(&begun, 0);
    kith__store_seq(&ended, 0);
    r->descriptors = descriptors();
    r->rt = stress_start(WORKERS);
    if (r->rt == NULL)
        return false;
    CHECK_EQ(kith_attach(r->rt, &r->self, &r->co), KITH_OK);
    shared_open(r->self, r->co);
    return true;
}

static void check_gone(uint32_t n)
{
    uint32_t b = kith__load_seq(&begun);
    uint32_t g = kith__load_seq(&ended);
    CHECK_EQ(b, n);
    CHECK_EQ(g, n);
}

static void check_nothing_left(const struct run *r)
{
    uint32_t left = kith__load_seq(&parcels);
    CHECK_EQ(left, 0u);
    CHECK_EQ(descriptors(), r->descriptors);
}

static void run_close(struct run *r)
{
    CHECK_EQ(kith_detach(r->self), KITH_OK);
    stress_end(r->rt);
    check_nothing_left(r);
}

/* Rounds of AT_ONCE until ALL are done; cancel(r, n, wait) starts n and has them canceled. */
static void in_rounds(const char *name, void (*cancel)(struct run *r, uint32_t n, bool wait))
{
    struct run r;
    stress_limit(name);
    REQUIRE(run_open(&r));
    uint32_t all = ALL / (STRESS_SLOW < 10u ? 1u : 20u) * (uint32_t)test_env("KITH_STRESS", 1);
    for (uint32_t done = 0, round = 0; done < all; done += AT_ONCE, round++) {
        kith__store_seq(&begun, 0);
        kith__store_seq(&ended, 0);
        cancel(&r, AT_ONCE, round % 2 == 0);
        check_gone(AT_ONCE);
    }
    shared_close(r.self);
    run_close(&r);
}

/* ---- ways to cancel ---- */

static void by_scope(struct run *r, uint32_t n, bool wait)
{
    kith_scope *scope = kith_scope_new(r->co);
    n = start_all(r->self, scope, n);
    if (wait)
        await_begun(n);
    CHECK_EQ(kith_scope_cancel(r->self, scope), KITH_OK);
    CHECK_EQ(kith_scope_leave(r->co, scope), KITH_OK);
}

TEST(a_scope_is_canceled)
{
    in_rounds("a_scope_is_canceled", by_scope);
}

/* Starts siblings until the scope is canceled. Each of them must hear of it. */
static void sprout(kith_self *self, kith_co *co, void *arg)
{
    kith_ref ref;
    while (kith_ref_error(ref = kith_scope_go(self, arg, child, &sprouts)) == KITH_OK) {
        kith__add_rlx(&sprouted, 1);
        if (kith_yield(co) != KITH_OK)
            return;
    }
    CHECK_EQ(kith_ref_error(ref), KITH_ECANCELED);
}

TEST(a_scope_that_grows_is_canceled)
{
    struct run r;
    stress_limit("a_scope_that_grows_is_canceled");
    REQUIRE(run_open(&r));
    for (uint64_t round = stress_times(500); round > 0 && test_failures == 0; round--) {
        kith__store_seq(&sprouts, 0);
        kith__store_seq(&sprouted, 0);
        kith_scope *scope = kith_scope_new(r.co);
        for (unsigned i = 0; i < 2 * WORKERS; i++) {
            kith_fiber_options options = {.worker = i % WORKERS + 1};
            kith_scope_go_with(r.self, scope, sprout, scope, &options);
        }
        while (kith__load_seq(&sprouted) < 10 * WORKERS)
            sched_yield();
        CHECK_EQ(kith_scope_cancel(r.self, scope), KITH_OK);
        CHECK_EQ(kith_scope_leave(r.co, scope), KITH_OK);
        uint32_t started = kith__load_seq(&sprouted);
        uint32_t gone = kith__load_seq(&sprouts);
        CHECK_EQ(gone, started);
    }
    shared_close(r.self);
    run_close(&r);
}

static void by_deadline(struct run *r, uint32_t n, bool wait)
{
    kith_scope *scope = kith_scope_new(r->co);
    start_all(r->self, scope, n);
    kith_time deadline = wait ? kith_in(KITH_MS) : KITH_NOWAIT;
    CHECK_EQ(kith_scope_leave_by(r->co, scope, deadline), KITH_ETIMEOUT);
}

TEST(a_deadline_passes)
{
    in_rounds("a_deadline_passes", by_deadline);
}

static void fail_at_once(kith_self *self, kith_co *co, void *arg)
{
    (void)co;
    (void)arg;
    kith_fail(self, KITH_EIO);
}

static void by_failure(struct run *r, uint32_t n, bool wait)
{
    kith_scope *scope = kith_scope_new(r->co);
    n = start_all(r->self, scope, n);
    if (wait)
        await_begun(n);
    CHECK_EQ(kith_ref_error(kith_scope_go(r->self, scope, fail_at_once, NULL)), KITH_OK);
    CHECK_EQ(kith_scope_leave(r->co, scope), KITH_EIO);
}

TEST(a_sibling_fails)
{
    in_rounds("a_sibling_fails", by_failure);
}

struct owner {
    uint32_t n;
    bool wait;
};

static void own(kith_self *self, kith_co *co, void *arg)
{
    const struct owner *owner = arg;
    kith_scope *scope = kith_scope_new(co);
    start_all(self, scope, owner->n);
    CHECK_EQ(kith_scope_leave(co, scope), KITH_ECANCELED);
}

/* The makers are stopped, by ones. */
static void by_makers(struct run *r, uint32_t n, bool wait)
{
    enum { MAKERS = 20 };
    kith_ref makers[MAKERS];
    struct owner owner = {n / MAKERS, wait};
    kith_scope *scope = kith_scope_new(r->co);
    for (int i = 0; i < MAKERS; i++)
        makers[i] = kith_scope_go(r->self, scope, own, &owner);
    if (wait)
        await_begun(n / MAKERS * MAKERS);
    for (int i = 0; i < MAKERS; i++)
        CHECK_EQ(kith_stop(r->self, makers[i]), KITH_OK);
    CHECK_EQ(kith_scope_leave(r->co, scope), KITH_OK);
}

TEST(the_makers_are_stopped)
{
    in_rounds("the_makers_are_stopped", by_makers);
}

static void *shut_down(void *rt)
{
    stress_end(rt);
    return NULL;
}

/* Each by a stop of its own, which is a message that is made. */
TEST(the_runtime_shuts_down)
{
    struct run r;
    pthread_t thread;
    kith_msg *msg;
    stress_limit("the_runtime_shuts_down");
    kith__store_seq(&leaves_first, 1);
    for (int round = 0; round < 2; round++) {
        REQUIRE(run_open(&r));
        uint32_t n = start_all(r.self, NULL, AT_ONCE);
        if (round == 0)
            await_begun(n);
        REQUIRE(pthread_create(&thread, NULL, shut_down, r.rt) == 0);
        CHECK_EQ(kith_receive(r.co, KITH_FOREVER, &msg), KITH_ESHUTDOWN);
        while (kith__load_seq(&ended) < n)
            sched_yield();
        shared_close(r.self);
        CHECK_EQ(kith_detach(r.self), KITH_OK);
        pthread_join(thread, NULL);
        check_gone(n);
        check_nothing_left(&r);
    }
}
