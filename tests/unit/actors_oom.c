/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Memory that runs out: a script of everything that the actor layer does is run again and again, and
 * each time another allocation fails, until a run needs no further one.
 *
 * Invariants, of every run: a call that fails says KITH_ENOMEM (where a header names another error for
 * it, that one); nothing leaks, and free is told the size that was allocated; every parcel is dropped
 * once; when memory is back the runtime serves as before, and shuts down.
 * Threads: the allocator is called by all, so which call meets the n-th allocation differs from run to
 * run; the invariants do not.
 * Why also a row of failures (bursts): what a call does to clean up after one failure may meet the
 * next. Built with KITH_MALLOC=1 every message is an allocation, else blocks of messages are.
 */
#include "tests/unit/actors_common.h"

#include <limits.h>

/* ---- an allocator that fails on demand ---- */

struct failing {
    KITH__ATOMIC(long) countdown; /* allocations until the first that fails */
    KITH__ATOMIC(long) burst;     /* how many fail then */
    KITH__ATOMIC(long) failed;
    KITH__ATOMIC(long) live;
    KITH__ATOMIC(long) wrong; /* frees with another size, or of other memory */
};

/* Stands before each block, in room of the block's alignment. */
struct prefix {
    size_t bytes;
    size_t room;
};

static bool must_fail(struct failing *f)
{
    long left = kith__sub_seq(&f->countdown, 1);
    if (left > 1 || left <= 1 - kith__load_seq(&f->burst))
        return false;
    kith__add_seq(&f->failed, 1);
    return true;
}

static void *failing_alloc(void *arg, size_t bytes, size_t align)
{
    struct failing *f = arg;
    if (must_fail(f))
        return NULL;
    size_t total = (align + bytes + align - 1) & ~(align - 1);
    char *raw = aligned_alloc(align, total);
    if (raw == NULL)
        abort();
    char *memory = raw + align;
    memset(memory, 0xdb, bytes); /* not necessarily zeroed, says the header */
    struct prefix prefix = {bytes, align};
    memcpy(memory - sizeof prefix, &prefix, sizeof prefix);
    kith__add_seq(&f->live, 1);
    return memory;
}

static void failing_free(void *arg, void *memory, size_t bytes)
{
    struct failing *f = arg;
    struct prefix prefix;
    memcpy(&prefix, (char *)memory - sizeof prefix, sizeof prefix);
    if (prefix.bytes != bytes)
        kith__add_seq(&f->wrong, 1);
    kith__sub_seq(&f->live, 1);
    free((char *)memory - prefix.room);
}

/* ---- the actors of the script ---- */

KITH_MESSAGE(question, { int n; });
KITH_MESSAGE(wide, { unsigned char bytes[2000]; });
KITH_MESSAGE(large, { unsigned char bytes[100000]; });

struct player {
    int answers;
    int idles;
    unsigned char bytes[];
};

/* Sends a number home; memory that is out comes back after the burst. */
static void tell_home(kith_self *self, kith_ref to, long value)
{
    while (kith_send(self, to, number, .value = value) == KITH_ENOMEM)
        ;
}

/* The same for an answer; what is left is that the asker is gone. */
static kith_err answer(kith_self *self, const kith_type *type, const void *body)
{
    kith_err err;
    do
        err = kith_reply_copy(self, type, body);
    while (err == KITH_ENOMEM);
    return KITH_OK;
}

KITH_ON(player, question)
{
    static const wide w;
    number n = {msg->n};
    return msg->n % 2 == 0 ? answer(self, &kith_type_number, &n)
                           : answer(self, &kith_type_wide, &w);
}

KITH_ON(player, parcel)
{
    return KITH_OK;
}

KITH_ON(player, large)
{
    return KITH_OK;
}

KITH_ON(player, kith_idle)
{
    if (++me->idles == 2)
        tell_home(self, kith_parent(self), -2);
    return KITH_OK;
}

/* Runs fn, which may fail for lack of memory only, and says what it returned. */
KITH_ON(player, tell)
{
    kith_err err = msg->fn(self, (struct doer *)(void *)me, msg->arg);
    tell_home(self, kith_parent(self), err);
    return KITH_OK;
}

static kith_err player_init(kith_self *self, void *state, const void *arg)
{
    (void)self;
    (void)state;
    return arg != NULL ? *(const kith_err *)arg : KITH_OK;
}

static void player_stop(kith_self *self, void *state, kith_err reason)
{
    (void)state;
    (void)reason;
    (void)parcel_send(self, kith_self_ref(self), 1); /* to the dead letters, if there is memory */
}

#define PLAYER(state_size)                                                                         \
    {                                                                                              \
        .name = "player", .state_bytes = (state_size), .init = player_init, .stop = player_stop,   \
        .handlers = KITH_HANDLERS(player, question, parcel, large, kith_idle, tell)                \
    }

static const kith_behavior player = PLAYER(sizeof(struct player));
static const kith_behavior big_player = PLAYER(5000);

/* ---- the script ---- */

struct run {
    struct failing memory;
    struct log log;
    kith_runtime *rt;
    kith_self *self;
    kith_co *co;
    kith_ref a;
    kith_ref b;
    bool calm; /* memory is back: everything must succeed */
};

/* A call went well, or there was no memory. */
static bool went_well(struct run *r, kith_err err, int line)
{
    if (err != KITH_OK && (r->calm || err != KITH_ENOMEM))
        test_fail(__FILE__, line, "failed: %s", kith_errname(err));
    return err == KITH_OK;
}

#define WELL(r, err) went_well((r), (err), __LINE__)

/* Receives until a message of this type comes; what else comes is ended. */
static const void *await_type(struct run *r, const kith_type *type)
{
    kith_msg *msg;
    while (kith_receive(r->co, PATIENCE, &msg) == KITH_OK)
        if (kith_body_of(msg, type) != NULL)
            return kith_body_of(msg, type);
    FAIL("no %s came", type->name);
    return NULL;
}

static long await_value(struct run *r)
{
    const number *n = await_type(r, &kith_type_number);
    return n != NULL ? n->value : KITH_ETIMEOUT;
}

/* Sends fn to an actor and waits for what it says; KITH_ENOMEM if it could not be sent. */
static kith_err run_as(struct run *r, kith_ref actor, do_fn *fn, void *arg)
{
    kith_err err = kith_send(r->self, actor, tell, .fn = fn, .arg = arg);
    return err == KITH_OK ? (kith_err)await_value(r) : err;
}

static void step_spawn(struct run *r)
{
    static const kith_err refuses = KITH_EPIPE;
    kith_ref refused = kith_spawn(r->self, &big_player, &refuses);
    CHECK(kith_ref_error(refused) == KITH_EPIPE || kith_ref_error(refused) == KITH_ENOMEM);
    r->a = kith_spawn(r->self, &player, NULL);
    r->b = kith_spawn(r->self, &big_player, NULL);
    WELL(r, kith_ref_error(r->a));
    WELL(r, kith_ref_error(r->b));
}

static bool alive(kith_ref ref)
{
    return kith_ref_error(ref) == KITH_OK;
}

static void step_send(struct run *r)
{
    if (!alive(r->a))
        return;
    for (int i = 0; i < 5; i++)
        WELL(r, parcel_send(r->self, r->a, i));
    large *l = kith_new(r->self, large);
    if (l == NULL)
        WELL(r, KITH_ENOMEM);
    else
        CHECK_EQ(kith_post(r->self, r->a, l), KITH_OK); /* needs no memory */
    parcel *p = kith_new(r->self, parcel);
    if (p != NULL) {
        *p = (parcel){parcel_content(4), 4};
        CHECK_EQ(kith_discard(r->self, p), KITH_OK);
    }
}

static void step_ask(struct run *r)
{
    kith_msg *reply;
    for (int i = 0; i < 4 && alive(r->a); i++) {
        kith_err err = kith_ask(r->co, r->a, PATIENCE, &reply, question, .n = i);
        CHECK((err == KITH_OK) == (reply != NULL));
        WELL(r, err);
    }
    if (alive(r->a) && WELL(r, kith_send(r->self, r->a, question, .n = 1)))
        await_type(r, &kith_type_wide);
}

static kith_err then_tell(kith_self *self, void *state, void *ctx, kith_err status,
                          const kith_msg *reply)
{
    struct player *me = state;
    (void)ctx;
    me->answers++;
    CHECK((status == KITH_OK) == (reply != NULL));
    tell_home(self, kith_parent(self), status);
    return KITH_OK;
}

static kith_err ask_b(kith_self *self, struct doer *me, void *arg)
{
    struct run *r = arg;
    (void)me;
    return kith_ask_then(self, r->b, kith_in(KITH_HOUR), then_tell, NULL, question, .n = 1);
}

static void step_ask_then(struct run *r)
{
    if (!alive(r->a) || !alive(r->b) || !WELL(r, run_as(r, r->a, ask_b, r)))
        return;
    CHECK_EQ(await_value(r), KITH_OK); /* a question that was asked is answered */
}

static kith_err set_timers(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    (void)arg;
    kith_timer far = kith_at(self, kith_in(KITH_HOUR), number);
    kith_timer left = kith_every(self, KITH_HOUR, number);
    kith_err err = kith_timer_error(far);
    if (err == KITH_OK)
        err = kith_timer_cancel(self, far); /* needs no memory */
    return err == KITH_OK ? kith_timer_error(left) : err;
}

static kith_err set_idle(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    return kith_receive_timeout(self, *(kith_time *)arg);
}

static void step_timers(struct run *r)
{
    static kith_time short_ns = 100 * KITH_US;
    static kith_time none = 0;
    int *content = parcel_content(6);
    if (!WELL(r, kith_timer_error(
                     kith_at(r->self, KITH_NOWAIT, parcel, .number = content, .copy = 6))))
        parcel_back(content);
    else
        await_type(r, &kith_type_parcel);
    kith_timer timer = kith_every(r->self, 50 * KITH_US, done);
    if (WELL(r, kith_timer_error(timer))) {
        await_type(r, &kith_type_done); /* a tick may be skipped, the next one comes */
        await_type(r, &kith_type_done);
        CHECK_EQ(kith_timer_cancel(r->self, timer), KITH_OK);
    }
    if (alive(r->a))
        WELL(r, run_as(r, r->a, set_timers, NULL));
    if (alive(r->b) && WELL(r, run_as(r, r->b, set_idle, &short_ns))) {
        CHECK_EQ(await_value(r), -2);
        WELL(r, run_as(r, r->b, set_idle, &none));
    }
}

/* b dies, and a parcel that comes too late goes to the dead letters. */
static void step_death(struct run *r)
{
    bool told = WELL(r, kith_dead_letters_subscribe(r->self));
    WELL(r, kith_dead_letters_subscribe(r->self));
    if (alive(r->b) && WELL(r, kith_monitor(r->self, r->b))) {
        WELL(r, kith_demonitor(r->self, r->a.bits != 0 && alive(r->a) ? r->a : r->b));
        kith_err err;
        do /* also without the monitor, if a failed: then b has none any more */
            err = kith_stop(r->self, r->b);
        while (err == KITH_ENOMEM);
        CHECK_EQ(err, KITH_OK);
        if (alive(r->a)) {
            const kith_down *down = await_type(r, &kith_type_kith_down);
            CHECK(down != NULL && down->reason == KITH_OK);
        }
    }
    int *content = parcel_content(2);
    kith_err err = kith_send(r->self, r->b, parcel, .number = content, .copy = 2);
    if (err != KITH_OK && err != KITH_EDEAD)
        parcel_back(content);
    CHECK(err == KITH_OK || err == KITH_EDEAD || err == KITH_ENOMEM || err == KITH_EBADREF);
    if (told)
        CHECK_EQ(kith_dead_letters_unsubscribe(r->self), KITH_OK);
}

/* So many that slots and blocks must be added. */
static void step_crowd(struct run *r)
{
    enum { CROWD = 300 };
    kith_ref crowd[CROWD];
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = kith_spawn(r->self, &player, NULL);
        if (WELL(r, kith_ref_error(crowd[i])))
            WELL(r, parcel_send(r->self, crowd[i], i));
    }
    for (int i = 0; i < CROWD; i++)
        if (alive(crowd[i]))
            WELL(r, kith_stop(r->self, crowd[i])); /* who is not stopped is left to the shutdown */
}

/* Backwards, so that each kind of object is the first of its kind once, and needs new memory. */
static void act(struct run *r, bool crowd, bool backwards)
{
    step_spawn(r);
    if (backwards) {
        step_timers(r);
        step_ask_then(r);
        step_ask(r);
        step_send(r);
    } else {
        step_send(r);
        step_ask(r);
        step_ask_then(r);
        step_timers(r);
    }
    step_death(r);
    if (crowd)
        step_crowd(r);
}

static bool begin(struct run *r, unsigned workers)
{
    kith_config config = {
        .workers = workers,
        .seed = 3,
        .log = log_line,
        .log_arg = &r->log,
        .stall_ns = KITH_HOUR,
        .allocator = {failing_alloc, failing_free, &r->memory},
    };
    kith_err err = kith_start(&config, &r->rt);
    CHECK(err == KITH_OK || err == KITH_ENOMEM);
    CHECK((err == KITH_OK) == (r->rt != NULL));
    return err == KITH_OK;
}

static void memory_back(struct run *r)
{
    kith__store_seq(&r->memory.burst, 0);
    r->calm = true;
}

static void finish(struct run *r)
{
    if (r->self != NULL)
        CHECK_EQ(kith_detach(r->self), KITH_OK); /* needs no memory */
    kith_err err;
    do
        err = kith_shutdown(r->rt, PATIENCE);
    while (err == KITH_ENOMEM);
    CHECK_EQ(err, KITH_OK);
}

/* One run in which the allocations n, n + 1, ... n + burst - 1 fail. Memory is back after the script
 * if `back`, else the shutdown may meet the failures. Returns whether any failed. */
static bool run_script(unsigned workers, long n, long burst, bool crowd, bool back, bool backwards)
{
    struct run *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    pthread_mutex_init(&r->log.lock, NULL);
    kith__store_seq(&r->memory.countdown, n);
    kith__store_seq(&r->memory.burst, burst);
    if (begin(r, workers)) {
        kith_err err = kith_attach(r->rt, &r->self, &r->co);
        CHECK(err == KITH_OK || err == KITH_ENOMEM || err == KITH_EAGAIN);
        if (err == KITH_OK) {
            act(r, crowd, backwards);
            if (back) {
                memory_back(r);
                act(r, false, backwards);
            }
        }
        finish(r);
    }
    bool failed = kith__load_seq(&r->memory.failed) > 0;
    CHECK_EQ(kith__load_seq(&r->memory.live), 0);
    CHECK_EQ(kith__load_seq(&r->memory.wrong), 0);
    CHECK_EQ(parcels_open(), 0u);
    CHECK(!log_has(&r->log, "messages were lost"));
    pthread_mutex_destroy(&r->log.lock);
    free(r);
    return failed;
}

/* n grows by one up to `dense`, then faster: what comes late in the script comes often. */
static void run_one_way(unsigned workers, long burst, bool crowd, bool back, long dense,
                        bool backwards)
{
    long n = 1;
    unsigned runs = 0;
    while (run_script(workers, n, burst, crowd, back, backwards)) {
        if (kith__load_seq(&parcels_made) != kith__load_seq(&parcels_dropped)) {
            FAIL("allocation %ld of %u workers", n, workers);
            return;
        }
        n += n < dense ? 1 : 1 + n / 20;
        runs++;
    }
    CHECK_GT(runs, 5u);
}

static void run_all(unsigned workers, long burst, bool crowd, bool back, long dense)
{
    run_one_way(workers, burst, crowd, back, dense, false);
    run_one_way(workers, burst, crowd, back, dense, true);
}

TEST(each_allocation_fails_in_turn_with_one_worker)
{
    run_all(1, 1, false, true, LONG_MAX);
}

TEST(each_allocation_fails_in_turn_with_two_workers)
{
    run_all(2, 1, false, true, LONG_MAX);
}

TEST(each_allocation_fails_in_turn_up_to_the_end)
{
    run_all(1, 1, true, false, 100);
}

TEST(rows_of_allocations_fail)
{
    static const long bursts[] = {2, 5, 30};
    for (size_t i = 0; i < sizeof bursts / sizeof bursts[0]; i++) {
        run_all(2, bursts[i], false, true, 60);
        run_all(4, bursts[i], true, false, 30);
    }
}

/* The other half of the contract: with memory for all, the script meets no error. */
TEST(nothing_fails_with_memory_for_all)
{
    struct run *r = calloc(1, sizeof *r);
    REQUIRE(r != NULL);
    pthread_mutex_init(&r->log.lock, NULL);
    kith__store_seq(&r->memory.countdown, LONG_MAX);
    r->calm = true;
    REQUIRE(begin(r, 2));
    CHECK_EQ(kith_attach(r->rt, &r->self, &r->co), KITH_OK);
    act(r, true, false);
    finish(r);
    CHECK_EQ(kith__load_seq(&r->memory.live), 0);
    CHECK_EQ(parcels_open(), 0u);
    free(r);
}
