/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of whole programs on the loop executor: the order of events, and what debug mode says of slow
 * handlers (sched/slow.c), there and on a pool.
 * Run by: the test driver. Threads: the main thread is home.
 */
#include "tests/unit/actors_common.h"

static kith_config loop_config(void)
{
    return (kith_config){.executor = KITH_LOOP, .seed = 7};
}

/* ---- debug mode ---- */

static kith_err do_last(kith_self *self, struct doer *me, void *arg)
{
    kith_time until = kith_in(*(const kith_time *)arg);
    (void)self;
    (void)me;
    while (kith_now() < until)
        ;
    return KITH_OK;
}

static void lasts(kith_self *self, kith_co *co, void *arg)
{
    kith_time until = kith_in(*(const kith_time *)arg);
    (void)self;
    (void)co;
    while (kith_now() < until)
        ;
}

static void slow_program(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *reply;
    const kith_behavior bounded = {.name = "bounded doer",
                                   .state_bytes = sizeof(struct doer),
                                   .handlers = doer.handlers,
                                   .init = doer_init,
                                   .mailbox_max = 8};
    kith_ref actor = kith_spawn(self, &doer, NULL);
    kith_ref other = kith_spawn(self, &bounded, NULL);
    CHECK_EQ(kith_ask(co, actor, PATIENCE, &reply, order, .fn = do_last, .arg = arg), KITH_OK);
    CHECK_EQ(kith_ask(co, other, PATIENCE, &reply, order, .fn = do_last, .arg = arg), KITH_OK);
    kith_go(self, lasts, arg);
    CHECK_EQ(kith_stop(self, actor), KITH_OK);
    CHECK_EQ(kith_stop(self, other), KITH_OK);
    CHECK_EQ(kith_join(kith_self_runtime(self), PATIENCE), KITH_OK);
}

static void slow_run(kith_executor executor, bool debug, kith_time lasts_ns, struct log *log)
{
    kith_config config = {.executor = executor,
                          .workers = 1,
                          .log = log_line,
                          .log_arg = log,
                          .debug = debug,
                          .stall_ns = KITH_HOUR};
    config.slow_ns = lasts_ns;
    log->used = 0;
    log->text[0] = '\0';
    kith_time longer = lasts_ns == KITH_HOUR ? 1 * KITH_MS : lasts_ns;
    CHECK_EQ(kith_main(&config, slow_program, &longer), 0);
}

static void check_slow(kith_executor executor)
{
    static struct log log = {.lock = PTHREAD_MUTEX_INITIALIZER};
    slow_run(executor, true, 2 * KITH_MS, &log);
    CHECK(log_has(&log, "slow: doer ran for "));
    CHECK(log_has(&log, " on a order, in "));
    CHECK(log_has(&log, "slow: bounded doer ran for "));
    CHECK(log_has(&log, "slow: lasts ran for "));
    CHECK(log_has(&log, "sched_single_runs(")); /* where */
    slow_run(executor, true, KITH_HOUR, &log);
    CHECK(!log_has(&log, "slow: "));
    slow_run(executor, false, 2 * KITH_MS, &log);
    CHECK(!log_has(&log, "slow: "));
}

TEST(debug_mode_names_what_lasts_long)
{
    check_slow(KITH_LOOP);
    check_slow(KITH_POOL);
}

/* ---- order ----
 *
 * No actor of this program finds two messages at once: the clock would decide whether it handles both
 * in one turn. */

enum { TOKENS = 4, RING = 4, HOPS = 60, FIBERS = 400, YIELDS = 3, ALARMS = 24 };
enum { BUSY_EVENTS = TOKENS * (HOPS + 1) + FIBERS * YIELDS, EVENTS = BUSY_EVENTS + ALARMS };

static struct {
    int n;
    int event[EVENTS];
} order_log;

static void event(int what)
{
    if (order_log.n < EVENTS)
        order_log.event[order_log.n++] = what;
}

KITH_MESSAGE(token, {
    int left;
    kith_ref others[RING];
});
struct noter {
    int id;
};
/* Sends on to a random one of the others: the random numbers are the worker's. */
KITH_ON(noter, token)
{
    event(1000 + me->id);
    if (msg->left == 0)
        return KITH_OK;
    token next = *msg;
    next.left--;
    return kith_send_copy(self, msg->others[kith_random(self) % RING], &kith_type_token, &next);
}
KITH_MESSAGE(set_alarm, { kith_time at; });
KITH_MESSAGE(alarm_is, { int none; });
KITH_ON(noter, set_alarm)
{
    (void)me;
    return kith_timer_error(kith_at(self, msg->at, alarm_is, .none = 0));
}
KITH_ON(noter, alarm_is)
{
    (void)self;
    (void)msg;
    event(2000 + me->id);
    return KITH_OK;
}
static kith_err noter_init(kith_self *self, void *me, const void *arg)
{
    (void)self;
    ((struct noter *)me)->id = *(const int *)arg;
    return KITH_OK;
}
static const kith_behavior noter = {.name = "noter",
                                    .state_bytes = sizeof(struct noter),
                                    .handlers = KITH_HANDLERS(noter, token, set_alarm, alarm_is),
                                    .init = noter_init};

static void yields(kith_self *self, kith_co *co, void *arg)
{
    int id;
    memcpy(&id, arg, sizeof id);
    for (int i = 0; i < YIELDS; i++) {
        event(3000 + id);
        if (kith_random(self) % 2 == 0)
            kith_yield(co);
    }
}

static void ring(kith_self *self, int first_id)
{
    token begin = {.left = HOPS};
    for (int i = 0; i < RING; i++) {
        int id = first_id + i;
        begin.others[i] = kith_spawn(self, &noter, &id);
    }
    kith_send_copy(self, begin.others[0], &kith_type_token, &begin);
}

static void events_await(kith_co *co, int n)
{
    kith_time give_up = PATIENCE;
    while (order_log.n < n && kith_now() < give_up)
        CHECK_EQ(kith_sleep(co, kith_in(1 * KITH_MS)), KITH_OK);
    CHECK_EQ(order_log.n, n);
}

static void mixed_program(kith_self *self, kith_co *co, void *arg)
{
    kith_fiber_options options = {.arg_bytes = sizeof(int)};
    (void)arg;
    for (int i = 0; i < TOKENS; i++)
        ring(self, i * RING);
    for (int i = 0; i < FIBERS; i++)
        kith_go_with(self, yields, &i, &options);
    events_await(co, BUSY_EVENTS);
    kith_time at = kith_in(2 * KITH_MS);
    for (int i = 0; i < ALARMS; i++)
        kith_send(self, kith_spawn(self, &noter, &i), set_alarm, .at = at);
    events_await(co, EVENTS);
}

TEST(two_runs_have_the_same_order_of_events)
{
    static int first[EVENTS];
    kith_config config = loop_config();
    for (int run = 0; run < 5; run++) {
        order_log.n = 0;
        CHECK_EQ(kith_main(&config, mixed_program, NULL), 0);
        if (run == 0)
            memcpy(first, order_log.event, sizeof first);
        else
            CHECK_EQ(memcmp(first, order_log.event, sizeof first), 0);
    }
    for (int i = 0; i < ALARMS; i++) /* equal deadlines: as they were set */
        CHECK_EQ(first[BUSY_EVENTS + i], 2000 + i);
    /* It is the seed's order, not the only one. */
    config.seed = 8;
    order_log.n = 0;
    CHECK_EQ(kith_main(&config, mixed_program, NULL), 0);
    CHECK(memcmp(first, order_log.event, sizeof first) != 0);
}
