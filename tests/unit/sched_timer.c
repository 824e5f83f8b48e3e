/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of sched/timer.c: a runtime without threads, whose clock and wake are the test's own.
 * Run by: the test driver; --seed N repeats the random run.
 * What it holds: what sched/timer.h promises: never early, equal deadlines in order, a cancel wins
 *   over a message on its way, a tick that waits long is one tick; no message and no slot is lost.
 * Threads: one; a worker that sleeps is one whose sleeps_to is set.
 * Why a made-up clock: a deadline then passes when the test says so, and "not early" is exact.
 */
#include "sched/timer.h"

#include "sched/worker.h"
#include "tests/unit/test.h"

/* ---- a machine that stands still ---- */

static kith_time the_time;
static unsigned wakes;       /* of workers */
static unsigned tasks_woken; /* of the task */

static kith_time clock_now(void)
{
    return the_time;
}

static void worker_wake(struct kith__worker *worker)
{
    (void)worker;
    wakes++;
}

static void task_wake(struct kith_self *task)
{
    (void)task;
    tasks_woken++;
}

static const struct kith__driver driver = {.now = clock_now, .wake = worker_wake};
static const struct kith__task_ops ops = {.wake = task_wake};

static struct kith_runtime rt;
static struct kith__worker workers[2];
static struct kith__ctx *ctx;
static struct kith_self *task;

static void worker_open(struct kith__worker *w, uint32_t index)
{
    memset(w, 0, sizeof *w);
    w->index = index;
    w->ctx.rt = &rt;
    w->ctx.worker = w;
    w->ctx.cache = kith__msg_cache_enter(&rt.messages);
    kith__wheel_init(&w->wheel, the_time);
    kith__wheel_list_init(&w->due);
    kith__store_rlx(&w->timer_next, KITH_FOREVER);
    pthread_mutex_init(&w->timer_lock, NULL);
}

static struct kith_self *task_new(void)
{
    struct kith__slot *slot = kith__slot_alloc(&rt.table, &ctx->slots, 1, KITH__KIND_ACTOR, 128);
    if (slot == NULL)
        return NULL;
    struct kith_self *made = (struct kith_self *)slot;
    memset(&made->inbox, 0, KITH__TASK_BYTES - offsetof(struct kith_self, inbox));
    made->ops = &ops;
    made->flags = KITH__TASK_THREAD;
    made->cls = 1;
    kith__store_rlx(&slot->bits, kith__slot_bits(&rt.table, slot, KITH__KIND_ACTOR));
    kith__inbox_open(&made->inbox, KITH__INBOX_EMPTY);
    return made;
}

static bool start(void)
{
    memset(&rt, 0, sizeof rt);
    the_time = 1000 * KITH_SECOND;
    wakes = tasks_woken = 0;
    rt.driver = &driver;
    rt.workers = workers;
    rt.worker_count = 2;
    if (kith__table_open(&rt.table, NULL) != KITH_OK)
        return false;
    rt.actor_tag = KITH__KIND_ACTOR << KITH__RT_BITS | rt.table.number;
    kith__msg_pool_open(&rt.messages, NULL);
    worker_open(&workers[0], 0);
    worker_open(&workers[1], 1);
    ctx = &workers[0].ctx;
    task = task_new();
    return task != NULL;
}

static void task_end(struct kith_self *old)
{
    kith__disown_all(ctx, old);
    kith__slot_kill(&old->slot);
    struct kith_msg *msg = kith__inbox_close(&old->inbox);
    while (msg != kith__inbox_end()) {
        struct kith_msg *next = msg->next;
        kith__msg_end(ctx->cache, msg);
        msg = next;
    }
    kith__slot_free(&rt.table, &ctx->slots, old->cls, &old->slot);
}

static void finish(void)
{
    if (task != NULL)
        task_end(task);
    CHECK_EQ(kith__load_rlx(&ctx->counters.timers_set),
             kith__load_rlx(&ctx->counters.timers_ended));
    for (int i = 0; i < 2; i++) {
        kith__msg_cache_leave(workers[i].ctx.cache);
        kith__slot_cache_drain(&rt.table, &workers[i].ctx.slots);
        pthread_mutex_destroy(&workers[i].timer_lock);
    }
    CHECK_EQ(kith__msg_pool_close(&rt.messages), (uint64_t)0);
    kith__table_close(&rt.table);
}

/* ---- messages and turns ---- */

static unsigned drops;

static void count_drop(void *body)
{
    (void)body;
    drops++;
}

static const kith_type plain = {"plain", sizeof(uint64_t), NULL};
static const kith_type owning = {"owning", sizeof(uint64_t), count_drop};

static struct kith__timer *set(const kith_type *type, kith_time deadline, kith_time period,
                               uint64_t value)
{
    struct kith_msg *msg = kith__msg_make(ctx->cache, type->body_bytes);
    if (msg == NULL)
        return NULL;
    msg->type = type;
    memcpy(kith__msg_body(msg), &value, sizeof value);
    return kith__timer_set(ctx, task, deadline, period, msg);
}

static void run_at(kith_time now)
{
    the_time = now;
    kith__timers_run(&workers[0], &workers[0], now);
}

/* The task's turn: takes what has come, oldest first. */
static void take(void)
{
    kith__queue_sort(&task->pending, kith__inbox_take(&task->inbox));
}

#define NOTHING UINT64_MAX  /* no message */
#define CANCELED 0xdeadbeef /* one whose timer was over */

/* Handles the next message; its value. */
static uint64_t handle_one(void)
{
    struct kith_msg *msg = kith__queue_pop(&task->pending);
    if (msg == NULL)
        return NOTHING;
    CHECK((msg->flags & KITH__MSG_TIMER) != 0);
    CHECK_EQ(msg->to_gen, kith__bits_gen(kith__task_bits(task)));
    msg = kith__timer_arrived(ctx, task, msg);
    if (msg == NULL)
        return CANCELED;
    uint64_t value;
    memcpy(&value, kith__msg_body(msg), sizeof value);
    CHECK_EQ(msg->flags & KITH__MSG_TIMER, 0);
    CHECK_EQ(msg->sender, kith__task_bits(task));
    kith__msg_end(ctx->cache, msg);
    return value;
}

static uint64_t bits_of(const struct kith__timer *timer)
{
    return kith__load_rlx(&timer->slot.bits);
}

/* ---- once ---- */

TEST(a_timer_goes_off_at_its_nanosecond_once)
{
    REQUIRE(start());
    kith_time at = the_time + 7777777;
    struct kith__timer *timer = set(&plain, at, 0, 42);
    REQUIRE(timer != NULL);
    uint64_t bits = bits_of(timer);
    CHECK_EQ(kith__bits_kind(bits), (uint32_t)KITH__KIND_TIMER);
    CHECK_EQ(kith__load_rlx(&workers[0].timer_next), at);
    run_at(at - 1);
    CHECK(!kith__inbox_has(&task->inbox));
    run_at(at);
    take();
    CHECK(kith__timer_find(ctx, task, bits) == timer);
    CHECK_EQ(handle_one(), (uint64_t)42);
    CHECK_EQ(handle_one(), NOTHING);
    CHECK(kith__timer_find(ctx, task, bits) == NULL);
    CHECK_EQ(task->timers, 0u);
    CHECK_EQ(kith__load_rlx(&workers[0].timer_next), KITH_FOREVER);
    finish();
}

TEST(a_task_that_rests_is_woken)
{
    REQUIRE(start());
    CHECK(kith__inbox_rest(&task->inbox));
    REQUIRE(set(&plain, the_time + 5, 0, 1) != NULL);
    REQUIRE(set(&plain, the_time + 5, 0, 2) != NULL);
    run_at(the_time + 5);
    CHECK_EQ(tasks_woken, 1u);
    take();
    CHECK_EQ(handle_one(), (uint64_t)1);
    CHECK_EQ(handle_one(), (uint64_t)2);
    finish();
}

TEST(deadlines_in_order_and_equal_ones_as_they_were_set)
{
    enum { N = 64 };
    REQUIRE(start());
    kith_time base = the_time;
    for (uint64_t i = 0; i < N; i++) /* four different deadlines, the later ones first */
        REQUIRE(set(&plain, base + 1000 * (4 - i % 4), 0, (4 - i % 4) * 100 + i) != NULL);
    run_at(base + KITH_SECOND);
    take();
    uint64_t before = 0;
    for (uint64_t i = 0; i < N; i++) {
        uint64_t value = handle_one();
        CHECK_GT(value, before);
        before = value;
    }
    CHECK_EQ(handle_one(), NOTHING);
    finish();
}

/* ---- cancel ---- */

TEST(a_canceled_timer_says_nothing)
{
    REQUIRE(start());
    drops = 0;
    struct kith__timer *timer = set(&owning, the_time + 10, 0, 1);
    REQUIRE(timer != NULL);
    uint64_t bits = bits_of(timer);
    kith__timer_end(ctx, task, timer);
    CHECK_EQ(drops, 1u);
    CHECK(kith__timer_find(ctx, task, bits) == NULL);
    run_at(the_time + KITH_SECOND);
    CHECK(!kith__inbox_has(&task->inbox));
    finish();
    CHECK_EQ(drops, 1u);
}

TEST(a_cancel_wins_over_a_message_on_its_way)
{
    REQUIRE(start());
    drops = 0;
    struct kith__timer *timer = set(&owning, the_time + 10, 0, 1);
    REQUIRE(timer != NULL);
    REQUIRE(set(&plain, the_time + 10, 0, 2) != NULL);
    run_at(the_time + 10);
    take();
    kith__timer_end(ctx, task, timer);
    CHECK_EQ(drops, 0u);
    /* Its slot comes again, for a timer that must not be taken for the one that was canceled. */
    struct kith__timer *next = set(&plain, the_time + KITH_SECOND, 0, 3);
    CHECK(next == timer);
    CHECK_EQ(handle_one(), CANCELED);
    CHECK_EQ(drops, 1u);
    CHECK_EQ(handle_one(), (uint64_t)2);
    CHECK(kith__timer_find(ctx, task, bits_of(next)) == next);
    finish();
}

TEST(only_its_owner_finds_a_timer)
{
    REQUIRE(start());
    struct kith__timer *timer = set(&plain, the_time + 10, 0, 1);
    struct kith_self *other = task_new();
    REQUIRE(timer != NULL && other != NULL);
    CHECK(kith__timer_find(ctx, task, bits_of(timer)) == timer);
    CHECK(kith__timer_find(ctx, other, bits_of(timer)) == NULL);
    CHECK(kith__timer_find(ctx, task, bits_of(timer) + 1) == NULL);
    CHECK(kith__timer_find(ctx, task, kith__task_bits(task)) == NULL);
    CHECK(kith__timer_find(ctx, task, 0) == NULL);
    task_end(other);
    finish();
}

/* ---- the owner's death ---- */

TEST(the_timers_of_the_dead_end_with_them)
{
    REQUIRE(start());
    drops = 0;
    REQUIRE(set(&owning, the_time + 10, 0, 1) != NULL);
    REQUIRE(set(&owning, the_time + 20, 0, 2) != NULL);
    REQUIRE(set(&plain, the_time + 30, 5, 3) != NULL);
    run_at(the_time + 10); /* the first is on its way */
    task_end(task);
    task = NULL;
    CHECK_EQ(drops, 2u);
    CHECK_EQ(kith__msg_pool_count(&rt.messages), (uint64_t)0);
    run_at(the_time + KITH_SECOND);
    CHECK_EQ(kith__load_rlx(&workers[0].timer_next), KITH_FOREVER);
    finish();
}

/* The task dies between the deadline and the look: its inbox is closed, the timer still stands. */
TEST(a_timer_that_meets_a_closed_inbox_ends_its_message)
{
    REQUIRE(start());
    drops = 0;
    REQUIRE(set(&owning, the_time + 10, 0, 1) != NULL);
    CHECK(kith__inbox_close(&task->inbox) == kith__inbox_end());
    run_at(the_time + 10);
    CHECK_EQ(drops, 1u);
    CHECK_EQ(kith__msg_pool_count(&rt.messages), (uint64_t)0);
    kith__inbox_open(&task->inbox, KITH__INBOX_EMPTY);
    finish();
    CHECK_EQ(drops, 1u);
}

/* ---- again and again ---- */

TEST(a_period_is_kept_without_drift)
{
    REQUIRE(start());
    kith_time base = the_time;
    REQUIRE(set(&plain, base + 100, 100, 9) != NULL);
    for (kith_time tick = 1; tick <= 50; tick++) {
        run_at(base + tick * 100 - 1);
        CHECK(!kith__inbox_has(&task->inbox));
        run_at(base + tick * 100 + tick % 7);
        take();
        CHECK_EQ(handle_one(), (uint64_t)9);
        CHECK_EQ(handle_one(), NOTHING);
    }
    CHECK_EQ(task->timers, 1u);
    finish();
}

TEST(ticks_that_nobody_handles_do_not_pile_up)
{
    REQUIRE(start());
    kith_time base = the_time;
    REQUIRE(set(&plain, base + 100, 100, 9) != NULL);
    for (kith_time at = base; at <= base + 1050; at += 50)
        run_at(at);
    take();
    CHECK_EQ(handle_one(), (uint64_t)9); /* one tick, and the next on the old beat */
    CHECK_EQ(handle_one(), NOTHING);
    CHECK_EQ(kith__load_rlx(&workers[0].timer_next), base + 1100);
    run_at(base + 1099);
    CHECK(!kith__inbox_has(&task->inbox));
    run_at(base + 1100);
    take();
    CHECK_EQ(handle_one(), (uint64_t)9);
    finish();
}

/* ---- which wheel, and who is woken ---- */

TEST(a_sleeping_worker_is_woken_for_an_earlier_timer_only)
{
    REQUIRE(start());
    REQUIRE(set(&plain, the_time + 1000, 0, 1) != NULL);
    CHECK_EQ(wakes, 0u); /* it runs */
    CHECK_EQ(kith__timers_sleep(&workers[0]), the_time + 1000);
    REQUIRE(set(&plain, the_time + 2000, 0, 2) != NULL);
    CHECK_EQ(wakes, 0u);
    REQUIRE(set(&plain, the_time + 500, 0, 3) != NULL);
    CHECK_EQ(wakes, 1u);
    kith__timers_woke(&workers[0]);
    REQUIRE(set(&plain, the_time + 100, 0, 4) != NULL);
    CHECK_EQ(wakes, 1u);
    CHECK_EQ(kith__timers_sleep(&workers[0]), the_time + 100);
    kith__timers_woke(&workers[0]);
    finish();
}

TEST(all_timers_of_a_task_stand_in_one_wheel)
{
    REQUIRE(start());
    struct kith__timer *first = set(&plain, the_time + 100, 0, 1);
    ctx = &workers[1].ctx; /* the task has moved */
    struct kith__timer *second = set(&plain, the_time + 100, 0, 2);
    ctx = &workers[0].ctx;
    REQUIRE(first != NULL && second != NULL);
    CHECK(first->worker == &workers[0]);
    CHECK(second->worker == &workers[0]);
    run_at(the_time + 100);
    take();
    CHECK_EQ(handle_one(), (uint64_t)1);
    CHECK_EQ(handle_one(), (uint64_t)2);
    ctx = &workers[1].ctx; /* it has none any more: the next one stands where it is now */
    struct kith__timer *third = set(&plain, the_time + 100, 0, 3);
    REQUIRE(third != NULL);
    CHECK(third->worker == &workers[1]);
    kith__timer_end(ctx, task, third);
    uint64_t set_there = kith__load_rlx(&ctx->counters.timers_set);
    CHECK_EQ(set_there, (uint64_t)2);
    ctx = &workers[0].ctx;
    /* Both contexts together have ended what they have set. */
    kith__store_rlx(&ctx->counters.timers_set,
                    kith__load_rlx(&ctx->counters.timers_set) + set_there);
    kith__store_rlx(&ctx->counters.timers_ended,
                    kith__load_rlx(&ctx->counters.timers_ended) +
                        kith__load_rlx(&workers[1].ctx.counters.timers_ended));
    finish();
}

TEST(another_worker_fires_the_timers_of_one_that_stands_still)
{
    REQUIRE(start());
    REQUIRE(set(&plain, the_time + 100, 0, 5) != NULL);
    the_time += 100;
    kith__timers_run(&workers[1], &workers[0], the_time);
    take();
    CHECK_EQ(handle_one(), (uint64_t)5);
    kith__timers_run(&workers[0], &workers[0], the_time);
    CHECK(!kith__inbox_has(&task->inbox));
    finish();
}

/* More than go off at a time: none is lost, none comes twice, the order is kept across the pauses,
 * the worker does not sleep meanwhile, and one that waits for its turn can still be canceled. */
TEST(thousands_with_one_deadline_come_in_order)
{
    enum { N = 3000, CANCELED_ONE = 2000 };
    static struct kith__timer *timers[N];
    REQUIRE(start());
    kith_time at = the_time + 100;
    for (uint64_t i = 0; i < N; i++)
        REQUIRE((timers[i] = set(&plain, at, 0, i)) != NULL);
    uint64_t next = 0;
    for (int runs = 0; runs < N && next < N; runs++) {
        run_at(at);
        take();
        for (uint64_t value; (value = handle_one()) != NOTHING; next++) {
            next += next == CANCELED_ONE;
            CHECK_EQ(value, next);
        }
        if (next < N) {
            CHECK_LE(kith__load_rlx(&workers[0].timer_next), at);
            CHECK_LE(kith__timers_sleep(&workers[0]), at);
            kith__timers_woke(&workers[0]);
        }
        if (runs == 0)
            kith__timer_end(ctx, task, timers[CANCELED_ONE]);
    }
    CHECK_EQ(next, (uint64_t)N);
    CHECK_EQ(kith__load_rlx(&workers[0].timer_next), KITH_FOREVER);
    finish();
}

/* ---- all together ---- */

enum { ROOM = 256 };

struct expected {
    struct kith__timer *timer;
    kith_time deadline;
};

/* Handles what has come at now; each value is the place of its timer in the list. */
static unsigned handle_all(struct expected *list, kith_time now)
{
    unsigned n = 0;
    kith_time before = 0;
    take();
    for (uint64_t value; (value = handle_one()) != NOTHING; n++) {
        CHECK_LT(value, (uint64_t)ROOM);
        if (value >= ROOM)
            break;
        CHECK(list[value].timer != NULL);
        CHECK_LE(list[value].deadline, now);
        CHECK_GE(list[value].deadline, before);
        before = list[value].deadline;
        list[value].timer = NULL;
    }
    for (unsigned i = 0; i < ROOM; i++)
        CHECK(list[i].timer == NULL || list[i].deadline > now);
    return n;
}

TEST(random_timers_against_a_list)
{
    static struct expected list[ROOM];
    struct kith__random random;
    REQUIRE(start());
    memset(list, 0, sizeof list);
    kith__random_seed(&random, test_seed());
    unsigned fired = 0;
    for (int step = 0; step < 20000; step++) {
        uint64_t i = kith__random_below(&random, ROOM);
        uint64_t what = kith__random_below(&random, 8);
        if (what < 5 && list[i].timer == NULL) {
            kith_time far = kith__random_below(&random, (uint64_t)1 << (what * 10 + 1));
            list[i].deadline = the_time + far;
            REQUIRE((list[i].timer = set(&plain, list[i].deadline, 0, i)) != NULL);
        } else if (what == 5 && list[i].timer != NULL) {
            kith__timer_end(ctx, task, list[i].timer);
            list[i].timer = NULL;
        } else if (what >= 6) {
            run_at(the_time + kith__random_below(&random, (uint64_t)1 << (step % 5 * 8)));
            fired += handle_all(list, the_time);
        }
    }
    CHECK_GT(fired, 1000u);
    finish();
}
