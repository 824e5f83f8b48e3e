/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of kith_shutdown: what it refuses, in which order actors end, what the others hear, what the
 * deadline does.
 *
 * Each test runs with 1, 2 and 4 workers (actors_common.h). An actor that holds its worker (a hog) is
 * let go by a gate, never by time.
 */
#include "tests/unit/actors_common.h"

/* ---- refusals ---- */

TEST_ON_WORKERS(shutdown_refuses_nonsense)
{
    CHECK_EQ(kith_shutdown(NULL, KITH_NOWAIT), KITH_EINVAL);
    CHECK_EQ(kith_shutdown(e->rt, KITH_NOWAIT), KITH_EPERM); /* attached to it */
    settle(e, kith_spawn(e->self, &doer, NULL));             /* and nothing has ended */
}

TEST_ON_WORKERS(a_thread_of_one_runtime_may_end_another)
{
    struct env *other = malloc(sizeof *other);
    REQUIRE(other != NULL);
    env_detach(e);
    REQUIRE(env_open(other, 1));
    CHECK_EQ(kith_ref_error(kith_spawn(other->self, &doer, NULL)), KITH_OK);
    env_detach(other);
    CHECK_EQ(kith_attach(e->rt, &e->self, &e->co), KITH_OK);
    env_close(other);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    settle(e, actor); /* the thread is what it was */
    free(other);
}

/* ---- the order of the end ---- */

#define DEPTH 4
#define FAN 3
#define NODES_MAX 256

/* A tree of actors; each writes down when it ends. */
struct tree {
    KITH__ATOMIC(int) clock;
    KITH__ATOMIC(int) count; /* of nodes */
    KITH__ATOMIC(int) grown; /* nodes that have all their children */
    int parent[NODES_MAX];
    KITH__ATOMIC(int) ended[NODES_MAX]; /* when: 1, 2, ... */
};

struct node {
    struct tree *tree;
    int depth;
    int index;
};

static const kith_behavior node;

static kith_err node_init(kith_self *self, void *state, const void *arg)
{
    struct node *me = state;
    (void)self;
    *me = *(const struct node *)arg;
    return KITH_OK;
}

static void node_stop(kith_self *self, void *state, kith_err reason)
{
    struct node *me = state;
    (void)self;
    CHECK_EQ(reason, KITH_OK);
    kith__store_seq(&me->tree->ended[me->index], kith__add_seq(&me->tree->clock, 1) + 1);
}

KITH_MESSAGE(grow, { char none; });

/* Children are made by messages, so that they are spread over the workers. */
KITH_ON(node, grow)
{
    for (int i = 0; i < FAN && me->depth > 0; i++) {
        struct node child = {me->tree, me->depth - 1, kith__add_seq(&me->tree->count, 1)};
        me->tree->parent[child.index] = me->index;
        kith_ref ref = kith_spawn(self, &node, &child);
        if (kith_send(self, ref, grow) != KITH_OK)
            return KITH_EFAILED;
    }
    kith__add_seq(&me->tree->grown, 1);
    return KITH_OK;
}

static const kith_behavior node = {.name = "node",
                                   .state_bytes = sizeof(struct node),
                                   .init = node_init,
                                   .stop = node_stop,
                                   .handlers = KITH_HANDLERS(node, grow)};

static int tree_nodes(void)
{
    int nodes = 0;
    for (int i = 0, level = 1; i <= DEPTH; i++, level *= FAN)
        nodes += level;
    return nodes;
}

static struct tree *tree_grow(struct env *e)
{
    struct tree *tree = calloc(1, sizeof *tree);
    if (tree == NULL)
        abort();
    struct node root = {tree, DEPTH, 0};
    kith__store_seq(&tree->count, 1);
    tree->parent[0] = -1;
    kith_ref ref = kith_spawn(e->self, &node, &root);
    CHECK_EQ(kith_send(e->self, ref, grow), KITH_OK);
    while (kith__load_seq(&tree->grown) < tree_nodes())
        sched_yield();
    return tree;
}

static void tree_check(struct tree *tree)
{
    int n = tree_nodes();
    CHECK_EQ(kith__load_seq(&tree->count), n);
    for (int i = 0; i < n; i++) {
        int ended = kith__load_seq(&tree->ended[i]);
        CHECK_GT(ended, 0); /* each has run its stop hook */
        if (tree->parent[i] >= 0)
            CHECK_LT(ended, kith__load_seq(&tree->ended[tree->parent[i]]));
    }
    CHECK_EQ(kith__load_seq(&tree->clock), n); /* and once */
}

TEST_ON_WORKERS(children_end_before_their_parents)
{
    struct tree *tree = tree_grow(e);
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
    tree_check(tree);
    free(tree);
}

/* A parent that is dead by then: its children end as leaves of nothing. */
static kith_err spawn_in(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    return kith_ref_error(kith_spawn(self, &doer, arg));
}

TEST_ON_WORKERS(orphans_end_too)
{
    for (int i = 0; i < 10; i++) {
        kith_ref parent = kith_spawn(e->self, &doer, NULL);
        CHECK_EQ(do_in(e, parent, spawn_in, NULL), KITH_OK);
        CHECK_EQ(do_in(e, parent, spawn_in, NULL), KITH_OK);
        if (i % 2 == 0)
            stop_and_wait(e, parent);
    }
    CHECK_EQ(env_stats(e).spawned, 30u);
}

/* ---- what the hooks may still do ---- */

struct last {
    kith_ref to;
    kith_err spawned;
    kith_err timed;
    kith_err sent;
    kith_err idle;
};

static struct last last_words;

static void last_stop(kith_self *self, void *state, kith_err reason)
{
    (void)state;
    (void)reason;
    last_words.spawned = kith_ref_error(kith_spawn(self, &doer, NULL));
    last_words.timed = kith_timer_error(kith_at(self, KITH_NOWAIT, number));
    last_words.idle = kith_receive_timeout(self, KITH_MS);
    last_words.sent = kith_send(self, kith_parent(self), tell, .fn = do_nothing);
}

static kith_err spawn_last(kith_self *self, struct doer *me, void *arg)
{
    static const kith_behavior last = {.name = "last", .stop = last_stop};
    (void)me;
    (void)arg;
    return kith_ref_error(kith_spawn(self, &last, NULL));
}

TEST_ON_WORKERS(new_work_is_refused_and_old_friends_are_reached)
{
    kith_ref parent = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, parent, spawn_last, NULL), KITH_OK);
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
    CHECK_EQ(last_words.spawned, KITH_ESHUTDOWN);
    CHECK_EQ(last_words.timed, KITH_ESHUTDOWN);
    CHECK_EQ(last_words.idle, KITH_ESHUTDOWN);
    CHECK_EQ(last_words.sent, KITH_OK); /* the parent ends later */
}

/* ---- the deadline ---- */

TEST_ON_WORKERS(the_deadline_names_what_is_left_and_frees_nothing)
{
    static struct gate gate;
    gate = (struct gate){0};
    kith_ref hog = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_ref_error(kith_spawn(e->self, &doer, NULL)), KITH_OK);
    do_later(e, hog, do_wait, &gate);
    gate_await(&gate);
    env_detach(e);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(kith_shutdown(e->rt, kith_in((kith_time)i * KITH_MS)), KITH_ETIMEOUT);
    CHECK(log_has(&e->log, "still alive: doer"));
    CHECK(log_has(&e->log, "left at the deadline:"));
    CHECK(log_has(&e->log, ", 0 attached threads"));
    CHECK(!log_has(&e->log, ", 1 attached threads"));
    kith_self *self;
    CHECK_EQ(kith_attach(e->rt, &self, NULL), KITH_ESHUTDOWN);
    CHECK_GE(env_stats(e).actors, 1u);
    CHECK_EQ(kith_join(e->rt, KITH_NOWAIT), KITH_ETIMEOUT);
    kith__store_seq(&gate.open, 1);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
}

/* The order holds also over a shutdown that is called again. */
TEST_ON_WORKERS(a_repeated_shutdown_keeps_the_order)
{
    static struct gate gate;
    gate = (struct gate){0};
    struct tree *tree = tree_grow(e);
    kith_ref hog = kith_spawn(e->self, &doer, NULL);
    do_later(e, hog, do_wait, &gate);
    gate_await(&gate);
    env_detach(e);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(kith_shutdown(e->rt, kith_in(KITH_MS)), KITH_ETIMEOUT);
    kith__store_seq(&gate.open, 1);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
    tree_check(tree);
    free(tree);
}

struct second {
    kith_runtime *rt;
    KITH__ATOMIC(int) timeouts;
    KITH__ATOMIC(int) finished;
    kith_err err;
};

static void *shut_down_too(void *arg)
{
    struct second *s = arg;
    do
        s->err = kith_shutdown(s->rt, kith_in(10 * KITH_MS));
    while (s->err == KITH_ETIMEOUT && kith__add_seq(&s->timeouts, 1) >= 0);
    kith__store_seq(&s->finished, 1);
    return NULL;
}

TEST_ON_WORKERS(two_shutdowns_at_once_are_refused)
{
    static struct gate gate;
    gate = (struct gate){0};
    struct second s = {.rt = e->rt};
    pthread_t thread;
    kith_ref hog = kith_spawn(e->self, &doer, NULL);
    do_later(e, hog, do_wait, &gate);
    gate_await(&gate);
    env_detach(e);
    CHECK_EQ(pthread_create(&thread, NULL, shut_down_too, &s), 0);
    kith_err err;
    do /* until one of the two has met the other */
        err = kith_shutdown(e->rt, kith_in(KITH_MS));
    while (err == KITH_ETIMEOUT && kith__load_seq(&s.finished) == 0);
    kith__store_seq(&gate.open, 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK(err == KITH_EBUSY ? s.err == KITH_OK : s.err == KITH_EBUSY);
    if (err != KITH_EBUSY)
        CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
}

/* ---- attached threads ---- */

struct waiter {
    struct env *e;
    kith_ref to;
    int how;
    KITH__ATOMIC(int) waits;
    kith_err err;
    kith_err again;
    kith_err send;
    kith_err spawn;
    kith_err timer;
};

static void waiter_block(struct waiter *w, kith_co *co)
{
    kith_msg *msg;
    if (w->how == 0)
        w->err = kith_receive(co, KITH_FOREVER, &msg);
    else if (w->how == 1)
        w->err = kith_ask(co, w->to, KITH_FOREVER, &msg, number);
    else
        w->err = kith_sleep(co, kith_in(KITH_HOUR));
    w->again = kith_receive(co, KITH_FOREVER, &msg);
}

static void *waiter_run(void *arg)
{
    struct waiter *w = arg;
    kith_self *self;
    kith_co *co;
    if (kith_attach(w->e->rt, &self, &co) != KITH_OK)
        return NULL;
    kith__store_seq(&w->waits, 1);
    waiter_block(w, co);
    w->send = kith_send(self, kith_self_ref(self), number);
    w->spawn = kith_ref_error(kith_spawn(self, &doer, NULL));
    w->timer = kith_timer_error(kith_at(self, KITH_NOWAIT, number));
    kith_detach(self);
    return NULL;
}

/* Keeps the questions that it gets, unanswered. */
static kith_err keep_all(kith_self *self, void *state, const kith_msg *msg)
{
    (void)self;
    (void)state;
    (void)msg;
    return KITH_OK;
}

static const kith_behavior silent = {.name = "silent", .other = keep_all};

TEST_ON_WORKERS(threads_that_wait_hear_of_the_shutdown)
{
    enum { N = 6 };
    struct waiter w[N];
    pthread_t threads[N];
    kith_ref to = kith_spawn(e->self, &silent, NULL);
    for (int i = 0; i < N; i++) {
        w[i] = (struct waiter){.e = e, .to = to, .how = i % 3};
        CHECK_EQ(pthread_create(&threads[i], NULL, waiter_run, &w[i]), 0);
    }
    for (int i = 0; i < N; i++)
        while (kith__load_seq(&w[i].waits) == 0)
            sched_yield();
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK); /* waits for them to detach */
    e->rt = NULL;
    for (int i = 0; i < N; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK(w[i].err == KITH_ESHUTDOWN || (w[i].how == 1 && w[i].err == KITH_EDEAD));
        CHECK_EQ(w[i].again, KITH_ESHUTDOWN);
        CHECK_EQ(w[i].send, KITH_OK);
        CHECK_EQ(w[i].spawn, KITH_ESHUTDOWN);
        CHECK_EQ(w[i].timer, KITH_ESHUTDOWN);
    }
}

static void *attach_until_open(void *arg)
{
    struct waiter *w = arg;
    kith_self *self;
    if (kith_attach(w->e->rt, &self, NULL) != KITH_OK)
        return NULL;
    kith__store_seq(&w->waits, 1);
    while (kith__load_seq(&w->waits) == 1)
        sched_yield();
    w->err = kith_detach(self);
    return NULL;
}

TEST_ON_WORKERS(an_attached_thread_holds_the_shutdown_up)
{
    struct waiter w = {.e = e, .err = KITH_EFAILED};
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, attach_until_open, &w), 0);
    while (kith__load_seq(&w.waits) == 0)
        sched_yield();
    env_detach(e);
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK); /* for a join it does not count */
    CHECK_EQ(kith_shutdown(e->rt, kith_in(KITH_MS)), KITH_ETIMEOUT);
    CHECK(log_has(&e->log, "left at the deadline: 0 actors, 1 attached threads"));
    kith__store_seq(&w.waits, 2);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(w.err, KITH_OK);
}

/* What waits in its mailbox is still given out to a thread after the shutdown has begun. */
TEST_ON_WORKERS(a_thread_may_empty_its_mailbox)
{
    struct second s = {.rt = e->rt};
    pthread_t thread;
    kith_msg *msg;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(kith_send(e->self, kith_self_ref(e->self), number, .value = i), KITH_OK);
    CHECK_EQ(pthread_create(&thread, NULL, shut_down_too, &s), 0);
    while (kith__load_seq(&s.timeouts) == 0)
        sched_yield(); /* one deadline of the shutdown has passed */
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(kith_receive(e->co, PATIENCE, &msg), KITH_OK);
        REQUIRE(kith_body(msg, number) != NULL);
        CHECK_EQ(kith_body(msg, number)->value, i);
    }
    CHECK_EQ(kith_receive(e->co, KITH_FOREVER, &msg), KITH_ESHUTDOWN);
    CHECK(msg == NULL);
    env_detach(e);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(s.err, KITH_OK);
    e->rt = NULL;
}

/* ---- while others go on ---- */

struct spawner {
    struct env *e;
    KITH__ATOMIC(int) began;
    unsigned spawned;
    unsigned odd; /* errors other than KITH_ESHUTDOWN */
};

static void *spawn_until_refused(void *arg)
{
    struct spawner *s = arg;
    kith_self *self;
    if (kith_attach(s->e->rt, &self, NULL) != KITH_OK)
        return NULL;
    kith_ref parent = {0};
    for (;;) {
        kith_spawn_options options = {.parent = parent};
        kith_ref ref = kith_spawn_with(self, &doer, NULL, &options);
        kith_err err = kith_ref_error(ref);
        if (err == KITH_ESHUTDOWN)
            break;
        if (err == KITH_OK) {
            (void)parcel_send(self, ref, 1);
            s->spawned++;
        }
        s->odd += err != KITH_OK && err != KITH_EDEAD;
        parent = err == KITH_OK && s->spawned % 4 != 0 ? ref : (kith_ref){0};
        kith__store_seq(&s->began, 1);
    }
    kith_detach(self);
    return NULL;
}

/* Has a child, dies when it has one, and so on: until it is refused. */
static kith_err breed(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    kith_ref child = kith_spawn(self, &doer, NULL);
    kith_err err = kith_ref_error(child);
    if (err != KITH_OK)
        return err == KITH_ESHUTDOWN ? KITH_OK : err;
    kith_send(self, child, tell, .fn = breed, .arg = arg);
    return kith_stop(self, kith_self_ref(self));
}

TEST_ON_WORKERS(spawns_that_go_on_are_not_missed)
{
    enum { N = 3 };
    struct spawner s[N];
    pthread_t threads[N];
    for (int i = 0; i < N; i++) {
        do_later(e, kith_spawn(e->self, &doer, NULL), breed, NULL);
        s[i] = (struct spawner){.e = e};
        CHECK_EQ(pthread_create(&threads[i], NULL, spawn_until_refused, &s[i]), 0);
    }
    for (int i = 0; i < N; i++)
        while (kith__load_seq(&s[i].began) == 0)
            sched_yield();
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
    for (int i = 0; i < N; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK_EQ(s[i].odd, 0u);
    }
}

static KITH__ATOMIC(int) slow_stops;

/* Its init lasts until the shutdown has begun. */
static kith_err slow_init(kith_self *self, void *state, const void *arg)
{
    KITH__ATOMIC(int) *began = *(KITH__ATOMIC(int) *const *)arg;
    (void)state;
    kith__store_seq(began, 1);
    while (kith_timer_error(kith_at(self, kith_in(KITH_HOUR), number)) != KITH_ESHUTDOWN)
        sched_yield();
    return KITH_OK;
}

static void slow_stop(kith_self *self, void *state, kith_err reason)
{
    int *stopped = state;
    (void)self;
    CHECK_EQ(reason, KITH_OK);
    CHECK_EQ((*stopped)++, 0);
    kith__add_seq(&slow_stops, 1);
}

static void *spawn_slow(void *arg)
{
    static const kith_behavior slow = {
        .name = "slow", .state_bytes = sizeof(int), .init = slow_init, .stop = slow_stop};
    struct spawner *s = arg;
    kith_self *self;
    KITH__ATOMIC(int) *began = &s->began;
    if (kith_attach(s->e->rt, &self, NULL) != KITH_OK)
        return NULL;
    s->odd = kith_ref_error(kith_spawn(self, &slow, &began)) != KITH_OK;
    kith_detach(self);
    return NULL;
}

TEST_ON_WORKERS(an_actor_that_is_being_born_ends_too)
{
    struct spawner s = {.e = e};
    pthread_t thread;
    kith__store_seq(&slow_stops, 0);
    CHECK_EQ(pthread_create(&thread, NULL, spawn_slow, &s), 0);
    while (kith__load_seq(&s.began) == 0)
        sched_yield();
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(s.odd, 0u);
    CHECK_EQ(kith__load_seq(&slow_stops), 1);
}

static kith_err talk_on(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    kith_err err = kith_send(self, kith_self_ref(self), tell, .fn = talk_on, .arg = arg);
    if (err == KITH_OK)
        (void)parcel_send(self, kith_self_ref(self), 1);
    return err;
}

static kith_err question_on(kith_self *self, void *state, void *ctx, kith_err status,
                            const kith_msg *reply)
{
    (void)state;
    (void)reply;
    kith_ref *to = ctx;
    if (status != KITH_OK && status != KITH_EDEAD)
        return KITH_EFAILED;
    kith_err err =
        kith_ask_then(self, *to, KITH_FOREVER, question_on, ctx, order, .fn = do_nothing);
    return err;
}

static kith_err question_first(kith_self *self, struct doer *me, void *arg)
{
    return question_on(self, me, arg, KITH_OK, NULL);
}

/* Actors that never rest, ask each other without end, and tick. */
TEST_ON_WORKERS(busy_actors_end)
{
    static kith_ref to;
    to = kith_spawn(e->self, &doer, NULL);
    for (int i = 0; i < 4; i++) {
        kith_ref actor = kith_spawn(e->self, &doer, NULL);
        do_later(e, actor, talk_on, NULL);
        do_later(e, kith_spawn(e->self, &doer, NULL), question_first, &to);
    }
    kith_timer timer = kith_every(e->self, 1, number);
    CHECK_EQ(kith_timer_error(timer), KITH_OK);
    for (int i = 0; i < 5; i++)
        CHECK(RECEIVE(e, number) != NULL);
    settle(e, to);
}

TEST(an_idle_runtime_ends_often)
{
    for (int i = 0; i < 60; i++) {
        kith_config config = {.workers = (unsigned)(i % 4 + 1)};
        kith_runtime *rt;
        CHECK_EQ(kith_start(&config, &rt), KITH_OK);
        CHECK_EQ(kith_shutdown(rt, PATIENCE), KITH_OK);
    }
}
