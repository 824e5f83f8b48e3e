/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Channels: every operation and its errors, order, close, deadlines, cancellation, and random
 * operations beside a sequential model.
 */
#include "csp/chan.h"

#include "actors_common.h"
#include "base/random.h"

struct args {
    struct env *e;
    kith_chan *chan;
    kith_chan *other;
    KITH__ATOMIC(int) ready;
    KITH__ATOMIC(int) ended;
    kith_err err;
    uint64_t n;
    uint64_t value;
};

/* Waits until everything that was started has ended. */
static void join(struct env *e)
{
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
}

static void go(struct env *e, kith_fiber_fn *fn, void *arg)
{
    CHECK_EQ(kith_ref_error(kith_go(e->self, fn, arg)), KITH_OK);
}

static void go_on(struct env *e, unsigned worker, kith_fiber_fn *fn, void *arg)
{
    const kith_fiber_options options = {.worker = worker % e->workers + 1};
    CHECK_EQ(kith_ref_error(kith_go_with(e->self, fn, arg, &options)), KITH_OK);
}

/* ---- one thread ---- */

TEST_ON_WORKERS(buffered_channel_keeps_values_in_order)
{
    kith_chan *chan = kith_chan_new(e->self, sizeof(int), 3);
    REQUIRE(chan != NULL);
    CHECK_EQ(kith_chan_capacity(chan), 3u);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++) {
            int v = 10 * round + i;
            CHECK_EQ(kith_chan_count(chan), (size_t)i);
            CHECK_EQ(kith_chan_send(e->co, chan, &v, KITH_NOWAIT), KITH_OK);
        }
        int v = -1;
        CHECK_EQ(kith_chan_send(e->co, chan, &v, KITH_NOWAIT), KITH_ETIMEOUT);
        CHECK_EQ(kith_chan_send(e->co, chan, &v, kith_in(KITH_MS)), KITH_ETIMEOUT);
        CHECK_EQ(kith_chan_try_send(e->self, chan, &v), KITH_EAGAIN);
        CHECK_EQ(kith_chan_count(chan), 3u);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(kith_chan_recv(e->co, chan, &v, KITH_NOWAIT), KITH_OK);
            CHECK_EQ(v, 10 * round + i);
        }
        v = -7;
        CHECK_EQ(kith_chan_recv(e->co, chan, &v, KITH_NOWAIT), KITH_ETIMEOUT);
        CHECK_EQ(kith_chan_recv(e->co, chan, &v, kith_in(KITH_MS)), KITH_ETIMEOUT);
        CHECK_EQ(kith_chan_try_recv(e->self, chan, &v), KITH_EAGAIN);
        CHECK_EQ(v, -7);
        CHECK_EQ(kith_chan_count(chan), 0u);
    }
    kith_chan_drop(chan);
}

TEST_ON_WORKERS(close_lets_what_is_kept_be_received)
{
    kith_chan *chan = kith_chan_new(e->self, sizeof(int), 3);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(kith_chan_try_send(e->self, chan, &i), KITH_OK);
    CHECK_EQ(kith_chan_close(chan), KITH_OK);
    CHECK_EQ(kith_chan_close(chan), KITH_ECLOSED);
    int v = 5;
    CHECK_EQ(kith_chan_send(e->co, chan, &v, KITH_FOREVER), KITH_ECLOSED);
    CHECK_EQ(kith_chan_try_send(e->self, chan, &v), KITH_ECLOSED);
    CHECK_EQ(kith_chan_recv(e->co, chan, &v, KITH_FOREVER), KITH_OK);
    CHECK_EQ(v, 0);
    CHECK_EQ(kith_chan_try_recv(e->self, chan, &v), KITH_OK);
    CHECK_EQ(v, 1);
    CHECK_EQ(kith_chan_recv(e->co, chan, &v, KITH_FOREVER), KITH_ECLOSED);
    CHECK_EQ(kith_chan_try_recv(e->self, chan, &v), KITH_ECLOSED);
    CHECK_EQ(v, 1);
    kith_chan_drop(chan);
}

TEST_ON_WORKERS(wrong_arguments)
{
    int v = 0;
    kith_chan *chan = kith_chan_new(e->self, sizeof v, 1);
    CHECK(kith_chan_new(NULL, 1, 1) == NULL);
    CHECK(kith_chan_new(e->self, 2, SIZE_MAX / 2) == NULL);
    CHECK(kith_chan_new(e->self, SIZE_MAX, 2) == NULL);
    CHECK_EQ(kith_chan_send(NULL, chan, &v, KITH_NOWAIT), KITH_EPERM);
    CHECK_EQ(kith_chan_recv(NULL, chan, &v, KITH_NOWAIT), KITH_EPERM);
    CHECK_EQ(kith_chan_try_send(NULL, chan, &v), KITH_EPERM);
    CHECK_EQ(kith_chan_try_recv(NULL, chan, &v), KITH_EPERM);
    CHECK_EQ(kith_chan_send(e->co, NULL, &v, KITH_NOWAIT), KITH_EINVAL);
    CHECK_EQ(kith_chan_recv(e->co, NULL, &v, KITH_NOWAIT), KITH_EINVAL);
    CHECK_EQ(kith_chan_try_send(e->self, NULL, &v), KITH_EINVAL);
    CHECK_EQ(kith_chan_try_recv(e->self, NULL, &v), KITH_EINVAL);
    CHECK_EQ(kith_chan_send(e->co, chan, NULL, KITH_NOWAIT), KITH_EINVAL);
    CHECK_EQ(kith_chan_try_send(e->self, chan, NULL), KITH_EINVAL);
    CHECK_EQ(kith_chan_close(NULL), KITH_EINVAL);
    CHECK_EQ(kith_chan_count(NULL), 0u);
    CHECK_EQ(kith_chan_capacity(NULL), 0u);
    CHECK(kith_chan_keep(NULL) == NULL);
    kith_chan_drop(NULL);
    kith_chan_drop(chan);
}

static void *close_from_nowhere(void *arg)
{
    CHECK_EQ(kith_chan_close(arg), KITH_EPERM);
    kith_chan_drop(arg); /* that may be done anywhere */
    return NULL;
}

TEST_ON_WORKERS(other_threads_and_runtimes_are_refused)
{
    kith_chan *chan = kith_chan_new(e->self, sizeof(int), 1);
    pthread_t thread;
    REQUIRE(chan != NULL);
    REQUIRE(pthread_create(&thread, NULL, close_from_nowhere, kith_chan_keep(chan)) == 0);
    pthread_join(thread, NULL);
    env_detach(e);
    struct env *f = malloc(sizeof *f);
    REQUIRE(f != NULL);
    if (env_open(f, 1)) {
        int v = 1;
        CHECK_EQ(kith_chan_send(f->co, chan, &v, KITH_NOWAIT), KITH_EPERM);
        CHECK_EQ(kith_chan_recv(f->co, chan, &v, KITH_NOWAIT), KITH_EPERM);
        CHECK_EQ(kith_chan_try_send(f->self, chan, &v), KITH_EPERM);
        CHECK_EQ(kith_chan_close(chan), KITH_EPERM);
        env_close(f);
    }
    free(f);
    kith_chan_drop(chan);
}

TEST_ON_WORKERS(values_of_any_size)
{
    static const size_t sizes[] = {0, 1, 3, 4, 7, 8, 9, 16, 100, 4096, 100000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t bytes = sizes[s];
        unsigned char *in = malloc(bytes + 1);
        unsigned char *out = calloc(1, bytes + 1);
        kith_chan *chan = kith_chan_new(e->self, bytes, 3);
        bool made = chan != NULL && in != NULL && out != NULL;
        CHECK(made);
        for (unsigned round = 0; made && round < 7; round++) {
            for (size_t i = 0; i < bytes; i++)
                in[i] = (unsigned char)(i * 7 + round);
            out[bytes] = 0x5a;
            CHECK_EQ(kith_chan_send(e->co, chan, bytes > 0 ? in : NULL, KITH_NOWAIT), KITH_OK);
            CHECK_EQ(kith_chan_recv(e->co, chan, out, KITH_NOWAIT), KITH_OK);
            CHECK(memcmp(in, out, bytes) == 0 && out[bytes] == 0x5a);
            CHECK_EQ(kith_chan_send(e->co, chan, in, KITH_NOWAIT), KITH_OK);
            CHECK_EQ(kith_chan_recv(e->co, chan, NULL, KITH_NOWAIT), KITH_OK);
        }
        kith_chan_drop(chan);
        free(in);
        free(out);
    }
}

struct point {
    double x;
    char tag[20];
};
KITH_CHAN(points, struct point);
KITH_CHAN(longs, long);

TEST_ON_WORKERS(channels_of_a_type)
{
    points c = points_new(e->self, 2);
    longs d = longs_new(e->self, 1);
    struct point p = {1.5, "first"};
    CHECK_EQ(points_send(e->co, c, p, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(points_try_send(e->self, c, (struct point){2.5, "second"}), KITH_OK);
    CHECK_EQ(points_recv(e->co, c, &p, KITH_NOWAIT), KITH_OK);
    CHECK(p.x == 1.5 && strcmp(p.tag, "first") == 0);
    CHECK_EQ(points_try_recv(e->self, c, &p), KITH_OK);
    CHECK(p.x == 2.5 && strcmp(p.tag, "second") == 0);
    CHECK_EQ(longs_send(e->co, d, 7, KITH_NOWAIT), KITH_OK);
    long v = 0;
    CHECK_EQ(longs_recv(e->co, d, &v, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(v, 7);
    kith_chan_drop(c.chan);
    kith_chan_drop(d.chan);
}

/* ---- two ---- */

static void send_n(kith_self *self, kith_co *co, void *arg)
{
    struct args *a = arg;
    (void)self;
    for (uint64_t i = 0; i < a->n; i++)
        CHECK_EQ(kith_chan_send(co, a->chan, &i, PATIENCE), KITH_OK);
    kith_chan_close(a->chan);
}

static void recv_all(kith_self *self, kith_co *co, void *arg)
{
    struct args *a = arg;
    uint64_t v;
    (void)self;
    while ((a->err = kith_chan_recv(co, a->chan, &v, PATIENCE)) == KITH_OK)
        CHECK_EQ(v, a->value++);
}

static void one_to_one(struct env *e, size_t capacity, unsigned from, unsigned to, uint64_t n)
{
    struct args a = {.chan = kith_chan_new(e->self, sizeof(uint64_t), capacity), .n = n};
    go_on(e, to, recv_all, &a);
    go_on(e, from, send_n, &a);
    join(e);
    CHECK_EQ(a.err, KITH_ECLOSED);
    CHECK_EQ(a.value, n);
    kith_chan_drop(a.chan);
}

TEST_ON_WORKERS(fibers_hand_values_on_in_order)
{
    static const size_t capacities[] = {0, 1, 2, 7, 100};
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
        one_to_one(e, capacities[i], 0, 0, 2000);
        one_to_one(e, capacities[i], 0, 1, 500);
    }
}

TEST_ON_WORKERS(a_thread_and_a_fiber)
{
    struct args a = {.chan = kith_chan_new(e->self, sizeof(uint64_t), 0), .n = 200};
    uint64_t v = 0;
    go(e, send_n, &a);
    for (uint64_t i = 0; i < a.n; i++) {
        CHECK_EQ(kith_chan_recv(e->co, a.chan, &v, PATIENCE), KITH_OK);
        CHECK_EQ(v, i);
    }
    CHECK_EQ(kith_chan_recv(e->co, a.chan, &v, PATIENCE), KITH_ECLOSED);
    kith_chan_drop(a.chan);
}

/* ---- a rendezvous ---- */

static void send_one(kith_self *self, kith_co *co, void *arg)
{
    struct args *a = arg;
    (void)self;
    kith__store_seq(&a->ready, 1);
    a->err = kith_chan_send(co, a->chan, &a->value, PATIENCE);
    kith__store_seq(&a->ended, 1);
}

static void await(KITH__ATOMIC(int) * flag)
{
    while (kith__load_seq(flag) == 0)
        sched_yield();
}

TEST_ON_WORKERS(rendezvous_send_ends_with_the_receive)
{
    struct args a = {.chan = kith_chan_new(e->self, sizeof(uint64_t), 0), .value = 42};
    uint64_t v = 0;
    CHECK_EQ(kith_chan_try_recv(e->self, a.chan, &v), KITH_EAGAIN);
    CHECK_EQ(kith_chan_try_send(e->self, a.chan, &v), KITH_EAGAIN);
    go(e, send_one, &a);
    await(&a.ready);
    CHECK_EQ(kith__load_seq(&a.ended), 0); /* nobody has received */
    CHECK_EQ(kith_chan_count(a.chan), 0u);
    while (kith_chan_try_recv(e->self, a.chan, &v) == KITH_EAGAIN)
        sched_yield();
    await(&a.ended);
    CHECK_EQ(v, 42u);
    CHECK_EQ(a.err, KITH_OK);
    join(e);
    kith_chan_drop(a.chan);
}

/* ---- close, deadline, cancel: who waits hears of it ---- */

static void recv_one(kith_self *self, kith_co *co, void *arg)
{
    struct args *a = arg;
    (void)self;
    kith__store_seq(&a->ready, 1);
    a->err = kith_chan_recv(co, a->chan, &a->value, PATIENCE);
    kith__store_seq(&a->ended, 1);
}

/* Until somebody waits in the channel: `who` is a bit of its state. */
static void await_waiter(kith_chan *chan, uint32_t who)
{
    while ((kith__load_seq(&chan->state) & who) == 0)
        sched_yield();
}

static uint32_t who_is(kith_fiber_fn *fn)
{
    return fn == send_one ? KITH__CHAN_SENDERS : KITH__CHAN_RECEIVERS;
}

static void wait_and_close(struct env *e, kith_fiber_fn *fn, size_t capacity)
{
    struct args a = {.e = e, .value = 9};
    a.chan = kith_chan_new(e->self, sizeof(uint64_t), capacity);
    uint64_t v = 1;
    if (fn == send_one)
        for (size_t i = 0; i < capacity; i++)
            CHECK_EQ(kith_chan_try_send(e->self, a.chan, &v), KITH_OK);
    go(e, fn, &a);
    await_waiter(a.chan, who_is(fn));
    CHECK_EQ(kith_chan_close(a.chan), KITH_OK);
    await(&a.ended);
    CHECK_EQ(a.err, KITH_ECLOSED);
    CHECK_EQ(a.value, 9u);
    CHECK_EQ(kith_chan_count(a.chan), fn == send_one ? capacity : 0);
    kith_chan_drop(a.chan);
}

TEST_ON_WORKERS(close_wakes_who_waits)
{
    for (size_t capacity = 0; capacity < 3; capacity++) {
        wait_and_close(e, recv_one, capacity);
        wait_and_close(e, send_one, capacity);
    }
}

static void cancel_waiting(struct env *e, kith_fiber_fn *fn)
{
    struct args a = {.e = e, .value = 9};
    a.chan = kith_chan_new(e->self, sizeof(uint64_t), 0);
    kith_ref ref = kith_go(e->self, fn, &a);
    await_waiter(a.chan, who_is(fn));
    CHECK_EQ(kith_stop(e->self, ref), KITH_OK);
    await(&a.ended);
    CHECK_EQ(a.err, KITH_ECANCELED);
    CHECK_EQ(a.value, 9u);
    uint64_t v = 3;
    CHECK_EQ(kith_chan_try_recv(e->self, a.chan, &v), KITH_EAGAIN); /* nobody waits any more */
    CHECK_EQ(kith_chan_try_send(e->self, a.chan, &v), KITH_EAGAIN);
    kith_chan_drop(a.chan);
}

TEST_ON_WORKERS(cancel_ends_the_wait)
{
    cancel_waiting(e, recv_one);
    cancel_waiting(e, send_one);
}

static void canceled_does_nothing(kith_self *self, kith_co *co, void *arg)
{
    struct args *a = arg;
    (void)self;
    kith__store_seq(&a->ready, 1);
    while (kith_yield(co) == KITH_OK)
        ;
    CHECK_EQ(kith_chan_send(co, a->chan, &a->value, KITH_FOREVER), KITH_ECANCELED);
    CHECK_EQ(kith_chan_recv(co, a->chan, &a->value, KITH_FOREVER), KITH_ECANCELED);
    CHECK_EQ(kith_shield(co, true), KITH_OK);
    CHECK_EQ(kith_chan_send(co, a->chan, &a->value, KITH_FOREVER), KITH_OK);
    kith__store_seq(&a->ended, 1);
}

TEST_ON_WORKERS(canceled_fiber_transfers_nothing)
{
    struct args a = {.e = e, .chan = kith_chan_new(e->self, sizeof(uint64_t), 1)};
    kith_ref ref = kith_go(e->self, canceled_does_nothing, &a);
    await(&a.ready);
    CHECK_EQ(kith_stop(e->self, ref), KITH_OK);
    await(&a.ended);
    CHECK_EQ(kith_chan_count(a.chan), 1u);
    kith_chan_drop(a.chan);
}

TEST_ON_WORKERS(a_fiber_that_only_looks_hears_that_it_is_canceled)
{
    struct args a = {.e = e, .chan = kith_chan_new(e->self, 0, 0)};
    kith_ref ref = kith_go(e->self, recv_one, &a);
    await(&a.ready);
    kith_stop(e->self, ref);
    await(&a.ended);
    CHECK_EQ(a.err, KITH_ECANCELED);
    kith_chan_drop(a.chan);
}

/* ---- nobody is overtaken ---- */

TEST_ON_WORKERS(room_is_for_the_sender_that_waits)
{
    struct args a = {.e = e, .chan = kith_chan_new(e->self, sizeof(uint64_t), 1), .value = 2};
    uint64_t v = 1;
    CHECK_EQ(kith_chan_try_send(e->self, a.chan, &v), KITH_OK);
    go(e, send_one, &a);
    await_waiter(a.chan, KITH__CHAN_SENDERS);
    CHECK_EQ(kith_chan_recv(e->co, a.chan, &v, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(v, 1u);
    CHECK_EQ(kith_chan_count(a.chan), 1u);
    CHECK_EQ(kith_chan_try_send(e->self, a.chan, &v), KITH_EAGAIN);
    CHECK_EQ(kith_chan_recv(e->co, a.chan, &v, KITH_NOWAIT), KITH_OK);
    CHECK_EQ(v, 2u);
    await(&a.ended);
    CHECK_EQ(a.err, KITH_OK);
    join(e);
    kith_chan_drop(a.chan);
}

TEST_ON_WORKERS(who_waits_first_receives_first)
{
    struct args a[3];
    kith_chan *chan = kith_chan_new(e->self, sizeof(uint64_t), 0);
    memset(a, 0, sizeof a);
    for (int i = 0; i < 3; i++) {
        a[i].chan = chan;
        go_on(e, (unsigned)i, recv_one, &a[i]);
        size_t waiting = 0;
        while (waiting < (size_t)i + 1) { /* under the lock: how many wait by now */
            struct kith__ctx *ctx = kith__ctx_here;
            kith__chan_enter(chan, ctx);
            const struct kith__waiter *w = chan->receivers.first;
            for (waiting = w != NULL; w != NULL && (w = w->next) != chan->receivers.first;)
                waiting++;
            kith__chan_leave(chan, ctx);
        }
    }
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQ(kith_chan_send(e->co, chan, &i, KITH_NOWAIT), KITH_OK);
    join(e);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQ(a[i].value, i);
    kith_chan_drop(chan);
}

/* ---- handlers try ---- */

static kith_err do_try(kith_self *self, struct doer *me, void *arg)
{
    uint64_t v = 5;
    (void)me;
    CHECK_EQ(kith_chan_try_recv(self, arg, &v), KITH_EAGAIN);
    CHECK_EQ(kith_chan_try_send(self, arg, &v), KITH_OK);
    CHECK_EQ(kith_chan_try_send(self, arg, &v), KITH_EAGAIN);
    return KITH_OK;
}

TEST_ON_WORKERS(handlers_try)
{
    kith_chan *chan = kith_chan_new(e->self, sizeof(uint64_t), 1);
    CHECK_EQ(do_in(e, kith_spawn(e->self, &doer, NULL), do_try, chan), KITH_OK);
    uint64_t v = 0;
    CHECK_EQ(kith_chan_recv(e->co, chan, &v, PATIENCE), KITH_OK);
    CHECK_EQ(v, 5u);
    kith_chan_drop(chan);
}

/* ---- beside a sequential model: one fiber does random operations that must not wait ---- */

#define MODEL_MAX 5

struct model {
    uint32_t kept[MODEL_MAX];
    size_t n;
    bool closed;
};

static kith_err model_send(struct model *m, size_t capacity, uint32_t v)
{
    if (m->closed)
        return KITH_ECLOSED;
    if (m->n == capacity)
        return KITH_EAGAIN;
    m->kept[m->n++] = v;
    return KITH_OK;
}

static kith_err model_recv(struct model *m, uint32_t *v)
{
    if (m->n == 0)
        return m->closed ? KITH_ECLOSED : KITH_EAGAIN;
    *v = m->kept[0];
    memmove(m->kept, m->kept + 1, --m->n * sizeof m->kept[0]);
    return KITH_OK;
}

static void model_step(struct env *e, struct model *m, kith_chan *chan, size_t capacity, uint64_t r)
{
    uint32_t v = (uint32_t)(r >> 32);
    uint32_t got = 0;
    uint32_t expected = 0;
    kith_err err;
    if (r % 100 == 0) {
        CHECK_EQ(kith_chan_close(chan), m->closed ? KITH_ECLOSED : KITH_OK);
        m->closed = true;
    } else if (r % 2 == 0) {
        err = r % 4 == 0 ? kith_chan_try_send(e->self, chan, &v)
                         : kith_chan_send(e->co, chan, &v, KITH_NOWAIT);
        CHECK_EQ(err == KITH_ETIMEOUT ? KITH_EAGAIN : err, model_send(m, capacity, v));
    } else {
        err = r % 4 == 1 ? kith_chan_try_recv(e->self, chan, &got)
                         : kith_chan_recv(e->co, chan, &got, KITH_NOWAIT);
        CHECK_EQ(err == KITH_ETIMEOUT ? KITH_EAGAIN : err, model_recv(m, &expected));
        CHECK_EQ(got, expected);
    }
    CHECK_EQ(kith_chan_count(chan), m->n);
}

TEST_ON_WORKERS(random_operations_beside_a_model)
{
    struct kith__random random;
    kith__random_seed(&random, test_seed());
    for (int round = 0; round < 200; round++) {
        size_t capacity = kith__random_below(&random, MODEL_MAX + 1);
        kith_chan *chan = kith_chan_new(e->self, sizeof(uint32_t), capacity);
        struct model m = {.n = 0};
        for (int i = 0; i < 200; i++)
            model_step(e, &m, chan, capacity, kith__random_next(&random));
        kith_chan_drop(chan);
    }
}
