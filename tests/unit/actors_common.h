/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the tests of the actor layer share: a runtime with a captured log, an actor that does what it
 * is told, a message that owns memory and counts its ends.
 *
 * Included, once, by the files tests/unit/actors_*.c.
 *
 * Invariants: after each test the runtime has shut down, no message was lost, and every parcel that
 * was made has been dropped exactly once (its memory is the heap's, so that a sanitizer sees a
 * second drop, and the counters see a missing one).
 * Threads: the test runs on the main thread, attached (e->self, e->co). The log may be called by any.
 * Why each test runs with 1, 2 and 4 workers: one worker shows what is wrong in the order of turns,
 * two and four what is wrong between threads, also on a machine with fewer cores. TEST_ON_ALL runs it
 * on the loop executor, too: there a handler that waits for the test (a gate) would wait for ever.
 */
#ifndef KITH_TESTS_UNIT_ACTORS_COMMON_H
#define KITH_TESTS_UNIT_ACTORS_COMMON_H

#include "base/atomic.h"
#include "tests/unit/home.h"
#include "tests/unit/test.h"
#include <kith.h>
#include <sched.h>

/* Long enough for anything that happens at all; a test that waits so long has failed. */
#define PATIENCE kith_in(60 * KITH_SECOND)

/* ---- the log ---- */

struct log {
    pthread_mutex_t lock;
    size_t used;
    char text[32768]; /* lines; what does not fit is left out */
};

static TEST_UNUSED void log_line(void *arg, kith_log_level level, const char *text)
{
    struct log *log = arg;
    (void)level;
    pthread_mutex_lock(&log->lock);
    size_t n = strlen(text);
    if (log->used + n + 2 < sizeof log->text) {
        memcpy(log->text + log->used, text, n);
        log->text[log->used + n] = '\n';
        log->used += n + 1;
        log->text[log->used] = '\0';
    }
    pthread_mutex_unlock(&log->lock);
}

static TEST_UNUSED bool log_has(struct log *log, const char *piece)
{
    pthread_mutex_lock(&log->lock);
    bool has = strstr(log->text, piece) != NULL;
    pthread_mutex_unlock(&log->lock);
    return has;
}

/* ---- a message that owns memory ---- */

static KITH__ATOMIC(unsigned) parcels_made;
static KITH__ATOMIC(unsigned) parcels_dropped;

KITH_MESSAGE_OWNING(parcel, {
    int *number;
    int copy;
});

KITH_DROP(parcel)
{
    if (msg->number != NULL) {
        if (*msg->number != msg->copy)
            abort(); /* not a parcel's memory: nothing after this can be believed */
        kith__add_seq(&parcels_dropped, 1);
        free(msg->number);
    }
}

/* What a parcel owns; free it by parcel_back if nobody took it. */
static TEST_UNUSED int *parcel_content(int number)
{
    int *content = malloc(sizeof *content);
    if (content == NULL)
        abort();
    *content = number;
    kith__add_seq(&parcels_made, 1);
    return content;
}

/* The caller still has it: it was not sent. */
static TEST_UNUSED void parcel_back(int *content)
{
    free(content);
    kith__sub_seq(&parcels_made, 1);
}

static TEST_UNUSED unsigned parcels_open(void)
{
    return kith__load_seq(&parcels_made) - kith__load_seq(&parcels_dropped);
}

/* Sends a parcel; gives its content back if nobody took it. */
static TEST_UNUSED kith_err parcel_send(kith_self *self, kith_ref to, int number)
{
    int *content = parcel_content(number);
    kith_err err = kith_send(self, to, parcel, .number = content, .copy = number);
    if (err != KITH_OK && err != KITH_EDEAD)
        parcel_back(content);
    return err;
}

/* ---- the environment of a test ---- */

struct env {
    kith_runtime *rt;
    kith_self *self; /* of the main thread */
    kith_co *co;
    unsigned workers;
    kith_executor executor;
    struct log log;
};

static TEST_UNUSED kith_config env_config(struct env *e, unsigned workers)
{
    return (kith_config){
        .workers = workers,
        .executor = e->executor,
        .seed = 7,
        .log = log_line,
        .log_arg = &e->log,
        .stall_ns = 3600 * KITH_SECOND, /* tests hold workers up on purpose */
    };
}

/* at_home: home is another thread, and not this one. */
static TEST_UNUSED bool env_open_on(struct env *e, unsigned workers, kith_executor executor,
                                    bool at_home)
{
    memset(e, 0, sizeof *e);
    e->executor = executor;
    pthread_mutex_init(&e->log.lock, NULL);
    e->workers = workers;
    kith_config config = env_config(e, workers);
    kith_err err = at_home ? home_start(&config, &e->rt) : kith_start(&config, &e->rt);
    CHECK_EQ(err, KITH_OK);
    if (err != KITH_OK)
        return false;
    err = kith_attach(e->rt, &e->self, &e->co);
    CHECK_EQ(err, KITH_OK);
    return err == KITH_OK;
}

static TEST_UNUSED bool env_open(struct env *e, unsigned workers)
{
    return env_open_on(e, workers, KITH_POOL, false);
}

/* Ends what env_open began; a test may have detached, or shut down, already. */
static TEST_UNUSED void env_close(struct env *e)
{
    if (e->self != NULL)
        CHECK_EQ(kith_detach(e->self), KITH_OK);
    if (e->rt != NULL)
        CHECK_EQ(home_shutdown(e->rt, PATIENCE), KITH_OK);
    CHECK(!log_has(&e->log, "messages were lost"));
    CHECK_EQ(parcels_open(), 0u);
    pthread_mutex_destroy(&e->log.lock);
}

static TEST_UNUSED void env_detach(struct env *e)
{
    CHECK_EQ(kith_detach(e->self), KITH_OK);
    e->self = NULL;
    e->co = NULL;
}

static TEST_UNUSED kith_stats env_stats(struct env *e)
{
    kith_stats stats;
    CHECK_EQ(kith_stats_get(e->rt, &stats), KITH_OK);
    return stats;
}

static TEST_UNUSED void test_on_workers(void (*body)(struct env *e))
{
    static const unsigned counts[] = {1, 2, 4};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct env *e = malloc(sizeof *e);
        if (e != NULL && env_open(e, counts[i])) {
            body(e);
            env_close(e);
        }
        free(e);
    }
}

static TEST_UNUSED void test_on_loop(void (*body)(struct env *e), bool at_home)
{
    struct env *e = malloc(sizeof *e);
    if (e != NULL && env_open_on(e, 1, KITH_LOOP, at_home)) {
        body(e);
        env_close(e);
    }
    free(e);
}

/* A test with a runtime of 1, of 2 and of 4 workers; in scope: e. In a file that defines LOOP_TOO also
 * on the loop executor, whose home is then a thread of its own (home.h). */
#ifdef LOOP_TOO
#define TEST_AT_HOME(body) test_on_loop((body), true)
#else
#define TEST_AT_HOME(body) ((void)0)
#endif
#define TEST_ON_WORKERS(name)                                                                      \
    static void name##_body(struct env *e);                                                        \
    TEST(name)                                                                                     \
    {                                                                                              \
        test_on_workers(name##_body);                                                              \
        TEST_AT_HOME(name##_body);                                                                 \
    }                                                                                              \
    static void name##_body(struct env *e)

/* And with the loop executor. */
#define TEST_ON_ALL(name)                                                                          \
    static void name##_body(struct env *e);                                                        \
    TEST(name)                                                                                     \
    {                                                                                              \
        test_on_workers(name##_body);                                                              \
        test_on_loop(name##_body, false);                                                          \
    }                                                                                              \
    static void name##_body(struct env *e)

/* With the loop executor alone. */
#define TEST_ON_LOOP(name)                                                                         \
    static void name##_body(struct env *e);                                                        \
    TEST(name)                                                                                     \
    {                                                                                              \
        test_on_loop(name##_body, false);                                                          \
    }                                                                                              \
    static void name##_body(struct env *e)

/* ---- an actor that does what it is told ---- */

struct doer;
typedef kith_err do_fn(kith_self *self, struct doer *me, void *arg);

struct doer {
    void *arg; /* of its spawn */
    int count; /* the functions' own */
    void *kept;
    kith_ref ref;
    kith_timer timer;
};

/* Calls fn as the actor and answers, unless fn has given the message away. */
KITH_MESSAGE(order, {
    do_fn *fn;
    void *arg;
});
/* The same without an answer. */
KITH_MESSAGE(tell, {
    do_fn *fn;
    void *arg;
});
KITH_MESSAGE(done, { kith_err err; });
KITH_MESSAGE(number, { long value; });

KITH_ON(doer, order)
{
    kith_err err = msg->fn(self, me, msg->arg);
    if (kith_sender(self).bits != 0)
        kith_reply(self, done, .err = err);
    return KITH_OK;
}

KITH_ON(doer, tell)
{
    return msg->fn(self, me, msg->arg);
}

/* Ends its message by doing nothing with it. */
KITH_ON(doer, parcel)
{
    me->count++;
    return KITH_OK;
}

static TEST_UNUSED kith_err doer_init(kith_self *self, void *me, const void *arg)
{
    (void)self;
    memcpy(&((struct doer *)me)->arg, &arg, sizeof arg);
    return KITH_OK;
}

static TEST_UNUSED const kith_behavior doer = {
    .name = "doer",
    .state_bytes = sizeof(struct doer),
    .handlers = KITH_HANDLERS(doer, order, tell, parcel),
    .init = doer_init,
};

/* Runs fn as the actor `to` and waits for its end; the error of asking, else fn's own. */
static TEST_UNUSED kith_err do_in(struct env *e, kith_ref to, do_fn *fn, void *arg)
{
    kith_msg *reply;
    kith_err err = kith_ask(e->co, to, PATIENCE, &reply, order, .fn = fn, .arg = arg);
    if (err != KITH_OK)
        return err;
    const done *answer = kith_body(reply, done);
    return answer != NULL ? answer->err : KITH_ETYPE;
}

/* Lets fn run as the actor and goes on; an error of fn's fails the actor. */
static TEST_UNUSED void do_later(struct env *e, kith_ref to, do_fn *fn, void *arg)
{
    CHECK_EQ(kith_send(e->self, to, tell, .fn = fn, .arg = arg), KITH_OK);
}

static TEST_UNUSED kith_err do_nothing(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    (void)me;
    (void)arg;
    return KITH_OK;
}

/* Everything sent to `to` before this has been handled when it returns. */
static TEST_UNUSED void settle(struct env *e, kith_ref to)
{
    CHECK_EQ(do_in(e, to, do_nothing, NULL), KITH_OK);
}

/* ---- holding an actor, and with it a worker, in its handler ---- */

struct gate {
    KITH__ATOMIC(int) reached;
    KITH__ATOMIC(int) open;
};

static TEST_UNUSED kith_err do_wait(kith_self *self, struct doer *me, void *arg)
{
    struct gate *gate = arg;
    (void)self;
    (void)me;
    kith__store_seq(&gate->reached, 1);
    while (kith__load_seq(&gate->open) == 0)
        sched_yield();
    return KITH_OK;
}

static TEST_UNUSED void gate_await(struct gate *gate)
{
    while (kith__load_seq(&gate->reached) == 0)
        sched_yield();
}

/* ---- waiting for a message of a type ---- */

/* The next message must be a T: its body, or NULL and a failed check. */
static TEST_UNUSED const void *receive_type(struct env *e, const kith_type *type)
{
    kith_msg *msg;
    kith_err err = kith_receive(e->co, PATIENCE, &msg);
    CHECK_EQ(err, KITH_OK);
    const void *body = kith_body_of(msg, type);
    if (body == NULL)
        FAIL("expected a %s, got a %s", type->name, kith_msg_name(msg));
    return body;
}

#define RECEIVE(e, T) ((const T *)receive_type((e), &kith_type_##T))

/* Nothing waits: true also says that what was sent by now would have been seen. */
static TEST_UNUSED bool nothing_waits(struct env *e)
{
    kith_msg *msg;
    return kith_receive(e->co, KITH_NOWAIT, &msg) == KITH_ETIMEOUT && msg == NULL;
}

/* Waits for a death that was monitored: its reason. */
static TEST_UNUSED kith_err await_down(struct env *e, kith_ref of)
{
    const kith_down *down = RECEIVE(e, kith_down);
    if (down == NULL)
        return KITH_EINVAL;
    CHECK_EQ(down->ref.bits, of.bits);
    return down->reason;
}

/* Stops an actor and waits until it is dead. */
static TEST_UNUSED void stop_and_wait(struct env *e, kith_ref actor)
{
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    CHECK_EQ(await_down(e, actor), KITH_OK);
}

/* A reference that no runtime ever gave out. */
static TEST_UNUSED kith_ref made_up(void)
{
    return (kith_ref){UINT64_C(0x3fffffffffffffff)};
}

#endif
