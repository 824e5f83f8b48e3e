/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith_select: each kind of case, its errors, what a close does, fairness, and selects that meet.
 */
#include "actors_common.h"
#include "base/random.h"

static void join(struct env *e)
{
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
}

static kith_chan *chan_of(struct env *e, size_t capacity)
{
    return kith_chan_new(e->self, sizeof(int), capacity);
}

static void await(KITH__ATOMIC(int) * flag)
{
    while (kith__load_seq(flag) == 0)
        sched_yield();
}

/* ---- each kind of case ---- */

TEST_ON_WORKERS(receives_and_sends)
{
    kith_chan *a = chan_of(e, 1);
    kith_chan *b = chan_of(e, 1);
    int v = 0;
    int x = 7;
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_RECV(a, &v), KITH_SEND(b, &x)), KITH_FOREVER), 1);
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_RECV(a, &v), KITH_SEND(b, &x)), KITH_NOWAIT),
             KITH_ETIMEOUT);
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_RECV(a, &v), KITH_SEND(b, &x)), kith_in(KITH_MS)),
             KITH_ETIMEOUT);
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_RECV(a, &v), KITH_RECV(b, &v)), KITH_FOREVER), 1);
    CHECK_EQ(v, 7);
    CHECK_EQ(kith_chan_count(b), 0u);
    kith_chan_drop(a);
    kith_chan_drop(b);
}

TEST_ON_WORKERS(times)
{
    kith_chan *a = chan_of(e, 1);
    int v;
    kith_time soon = kith_in(KITH_MS);
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_RECV(a, &v), KITH_AFTER(soon)), KITH_FOREVER), 1);
    CHECK(kith_now() >= soon);
    CHECK_EQ(
        kith_select(e->co, KITH_CASES(KITH_AFTER(KITH_FOREVER), KITH_AFTER(soon)), KITH_NOWAIT), 1);
    soon = kith_in(KITH_MS); /* both at once: the case */
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_AFTER(soon)), soon), 0);
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_AFTER(KITH_FOREVER)), kith_in(KITH_MS)),
             KITH_ETIMEOUT);
    CHECK_EQ(kith_select(e->co, NULL, 0, kith_in(KITH_MS)), KITH_ETIMEOUT);
    kith_chan_drop(a);
}

static kith_err do_send_number(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    return kith_send(self, *(kith_ref *)arg, number, .value = 5);
}

TEST_ON_WORKERS(mail)
{
    kith_chan *a = chan_of(e, 0);
    kith_ref here = kith_self_ref(e->self);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    kith_msg *msg = (kith_msg *)(void *)e;
    int v;
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_RECV(a, &v), KITH_MAIL(&msg)), KITH_NOWAIT),
             KITH_ETIMEOUT);
    CHECK(msg == NULL);
    for (int round = 0; round < 20; round++) {
        do_later(e, actor, do_send_number, &here);
        if (round % 2 == 0)
            settle(e, actor); /* it is there before the select, or comes while it waits */
        CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_RECV(a, &v), KITH_MAIL(&msg)), PATIENCE), 1);
        REQUIRE(msg != NULL);
        CHECK_EQ(kith_body(msg, number)->value, 5);
    }
    CHECK_EQ(parcel_send(e->self, here, 3), KITH_OK);
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_MAIL(&msg)), PATIENCE), 0);
    CHECK_EQ(*kith_body(msg, parcel)->number, 3);
    kith_msg *next = NULL; /* a select that gives out nothing leaves the message before */
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_MAIL(&next)), KITH_NOWAIT), KITH_ETIMEOUT);
    CHECK_EQ(*kith_body(msg, parcel)->number, 3);
    kith_chan_drop(a);
}

TEST_ON_WORKERS(null_channels_are_never_ready)
{
    kith_chan *a = chan_of(e, 1);
    int v = 1;
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_RECV(NULL, &v), KITH_SEND(NULL, &v)), KITH_NOWAIT),
             KITH_ETIMEOUT);
    CHECK_EQ(
        kith_select(e->co, KITH_CASES(KITH_RECV(NULL, &v), KITH_SEND(NULL, &v)), kith_in(KITH_MS)),
        KITH_ETIMEOUT);
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_RECV(NULL, &v), KITH_SEND(a, &v)), KITH_FOREVER),
             1);
    kith_chan_drop(a);
}

TEST_ON_WORKERS(wrong_arguments)
{
    kith_chan *a = chan_of(e, 1);
    int v = 1;
    kith_case many[KITH_CASES_MAX + 1];
    for (int i = 0; i <= KITH_CASES_MAX; i++)
        many[i] = KITH_RECV(a, &v);
    CHECK_EQ(kith_select(NULL, many, 1, KITH_NOWAIT), KITH_EPERM);
    CHECK_EQ(kith_select(e->co, NULL, 1, KITH_NOWAIT), KITH_EINVAL);
    CHECK_EQ(kith_select(e->co, many, KITH_CASES_MAX + 1, KITH_NOWAIT), KITH_EINVAL);
    CHECK_EQ(kith_select(e->co, many, KITH_CASES_MAX, KITH_NOWAIT), KITH_ETIMEOUT);
    CHECK_EQ(kith_select(e->co, many, KITH_CASES_MAX, kith_in(KITH_MS)), KITH_ETIMEOUT);
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_SEND(a, NULL)), KITH_NOWAIT), KITH_EINVAL);
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_MAIL(NULL)), KITH_NOWAIT), KITH_EINVAL);
    kith_chan_drop(a);
}

/* ---- closed channels ---- */

TEST_ON_WORKERS(closed_channels)
{
    kith_chan *a = chan_of(e, 2);
    kith_chan *open = chan_of(e, 0);
    int v = 3;
    kith_err status = KITH_EINVAL;
    CHECK_EQ(kith_chan_try_send(e->self, a, &v), KITH_OK);
    CHECK_EQ(kith_chan_close(a), KITH_OK);
    v = 0;
    CHECK_EQ(
        kith_select(e->co, KITH_CASES(KITH_RECV(open, &v), KITH_RECV_OK(a, &v, &status)), PATIENCE),
        1);
    CHECK_EQ(v, 3);
    CHECK_EQ(status, KITH_OK);
    CHECK_EQ(
        kith_select(e->co, KITH_CASES(KITH_RECV(open, &v), KITH_RECV_OK(a, &v, &status)), PATIENCE),
        1);
    CHECK_EQ(status, KITH_ECLOSED);
    status = KITH_OK;
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_SEND_OK(a, &v, &status)), PATIENCE), 0);
    CHECK_EQ(status, KITH_ECLOSED);
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_RECV(open, &v), KITH_RECV(a, NULL)), PATIENCE), 1);
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_RECV(open, &v), KITH_RECV(a, &v)), PATIENCE),
             KITH_ECLOSED);
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_SEND(a, &v)), PATIENCE), KITH_ECLOSED);
    CHECK_EQ(v, 3);
    kith_chan_drop(a);
    kith_chan_drop(open);
}

struct waiting {
    struct env *e;
    kith_chan *data;
    kith_chan *quit;
    KITH__ATOMIC(int) ready;
    KITH__ATOMIC(int) ended;
    int result;
    int v;
};

static void select_two(kith_self *self, kith_co *co, void *arg)
{
    struct waiting *w = arg;
    (void)self;
    kith__store_seq(&w->ready, 1);
    w->result =
        kith_select(co, KITH_CASES(KITH_RECV(w->data, &w->v), KITH_RECV(w->quit, NULL)), PATIENCE);
    kith__store_seq(&w->ended, 1);
}

static struct waiting *waiting_in(struct env *e, struct waiting *w, kith_ref *ref)
{
    *w = (struct waiting){.e = e, .data = chan_of(e, 0), .quit = chan_of(e, 0)};
    *ref = kith_go(e->self, select_two, w);
    await(&w->ready);
    settle(e, kith_spawn(e->self, &doer, NULL));
    return w;
}

static void waited(struct waiting *w)
{
    int v = 0;
    await(&w->ended);
    CHECK_EQ(kith_chan_try_send(w->e->self, w->data, &v), KITH_EAGAIN); /* it waits there no more */
    kith_chan_drop(w->data);
    kith_chan_drop(w->quit);
}

TEST_ON_WORKERS(wakes_of_one_that_waits)
{
    struct waiting w;
    kith_ref ref;
    int v = 8;
    waiting_in(e, &w, &ref);
    CHECK_EQ(kith_chan_send(e->co, w.data, &v, PATIENCE), KITH_OK);
    waited(&w);
    CHECK_EQ(w.result, 0);
    CHECK_EQ(w.v, 8);
    waiting_in(e, &w, &ref);
    CHECK_EQ(kith_chan_close(w.quit), KITH_OK);
    waited(&w);
    CHECK_EQ(w.result, 1);
    waiting_in(e, &w, &ref);
    CHECK_EQ(kith_stop(e->self, ref), KITH_OK);
    waited(&w);
    CHECK_EQ(w.result, KITH_ECANCELED);
    waiting_in(e, &w, &ref);
    CHECK_EQ(kith_chan_close(w.data), KITH_OK);
    await(&w.ended);
    CHECK_EQ(w.result, KITH_ECLOSED);
    kith_chan_drop(w.data);
    kith_chan_drop(w.quit);
}

/* ---- fairness ---- */

#define ROUNDS 1000000u

static unsigned rounds(void)
{
    return (unsigned)test_env("KITH_SELECT_ROUNDS", ROUNDS);
}

static void check_shares(const char *what, const uint64_t *counts, size_t n, double expected)
{
    for (size_t i = 0; i < n; i++)
        if ((double)counts[i] < 0.99 * expected || (double)counts[i] > 1.01 * expected)
            FAIL("%s: case %zu of %zu: %llu times, expected %.0f", what, i, n,
                 (unsigned long long)counts[i], expected);
}

/* All n cases are ready in each round: each is put back. */
static void all_ready(struct env *e, size_t n)
{
    kith_case cases[KITH_CASES_MAX];
    kith_chan *chans[KITH_CASES_MAX];
    uint64_t counts[KITH_CASES_MAX] = {0};
    int v = 0;
    for (size_t i = 0; i < n; i++) {
        chans[i] = chan_of(e, 1);
        cases[i] = KITH_RECV(chans[i], &v);
        CHECK_EQ(kith_chan_try_send(e->self, chans[i], &v), KITH_OK);
    }
    for (unsigned i = 0; i < rounds(); i++) {
        int k = kith_select(e->co, cases, n, KITH_NOWAIT);
        if (k < 0)
            FAIL("select: %d", k);
        counts[k]++;
        CHECK_EQ(kith_chan_try_send(e->self, chans[k], &v), KITH_OK);
    }
    check_shares("all ready", counts, n, (double)rounds() / (double)n);
    for (size_t i = 0; i < n; i++)
        kith_chan_drop(chans[i]);
}

/* In each round another half of 6 cases, by chance: each is ready in half of all rounds. */
static void some_ready(struct env *e)
{
    enum { N = 6 };
    kith_case cases[N];
    kith_chan *ready = chan_of(e, 1);
    kith_chan *empty = chan_of(e, 1);
    uint64_t counts[N] = {0};
    struct kith__random random;
    int v = 0;
    kith__random_seed(&random, test_seed());
    CHECK_EQ(kith_chan_try_send(e->self, ready, &v), KITH_OK);
    for (unsigned i = 0; i < rounds(); i++) {
        unsigned left = N / 2;
        for (unsigned k = 0; k < N; k++) {
            bool is = kith__random_below(&random, N - k) < left;
            cases[k] = KITH_RECV(is ? ready : empty, &v);
            left -= is;
        }
        int k = kith_select(e->co, cases, N, KITH_NOWAIT);
        if (k < 0 || cases[k].chan != ready)
            FAIL("select: %d", k);
        counts[k]++;
        CHECK_EQ(kith_chan_try_send(e->self, ready, &v), KITH_OK);
    }
    check_shares("half ready", counts, N, (double)rounds() / N);
    kith_chan_drop(ready);
    kith_chan_drop(empty);
}

/* What was taken is not ready in the next round: the choice before must not favour anybody. */
static void last_not_ready(struct env *e)
{
    enum { N = 3 };
    kith_case cases[N];
    kith_chan *ready = chan_of(e, 1);
    uint64_t counts[N] = {0};
    int last = 0;
    int v = 0;
    CHECK_EQ(kith_chan_try_send(e->self, ready, &v), KITH_OK);
    for (unsigned i = 0; i < rounds(); i++) {
        for (int k = 0; k < N; k++)
            cases[k] = KITH_RECV(k == last ? NULL : ready, &v);
        last = kith_select(e->co, cases, N, KITH_NOWAIT);
        counts[last]++;
        CHECK_EQ(kith_chan_try_send(e->self, ready, &v), KITH_OK);
    }
    check_shares("last not ready", counts, N, (double)rounds() / N);
    kith_chan_drop(ready);
}

TEST(each_ready_case_has_its_share)
{
    static const size_t sizes[] = {2, 3, 8, 64};
    struct env *e = malloc(sizeof *e);
    if (e == NULL || !env_open(e, 1))
        return;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        all_ready(e, sizes[i]);
    some_ready(e);
    last_not_ready(e);
    env_close(e);
    free(e);
}

/* ---- the same channel twice, and both ways ---- */

TEST_ON_WORKERS(a_channel_in_several_cases)
{
    kith_chan *a = chan_of(e, 0);
    int v = 0;
    int x = 4;
    /* It does not meet itself. */
    CHECK_EQ(kith_select(e->co, KITH_CASES(KITH_RECV(a, &v), KITH_SEND(a, &x), KITH_RECV(a, &v)),
                         kith_in(KITH_MS)),
             KITH_ETIMEOUT);
    CHECK_EQ(kith_chan_try_send(e->self, a, &x), KITH_EAGAIN);
    CHECK_EQ(kith_chan_try_recv(e->self, a, &x), KITH_EAGAIN);
    kith_chan_drop(a);
}

struct both {
    kith_chan *chan[2];
    KITH__ATOMIC(uint64_t) sent;
    KITH__ATOMIC(uint64_t) received;
    KITH__ATOMIC(uint64_t) sent_sum;
    KITH__ATOMIC(uint64_t) received_sum;
    uint64_t n;
};

/* Sends and receives on both channels, whatever goes: its partners are like it. */
static void meet(kith_self *self, kith_co *co, void *arg)
{
    struct both *b = arg;
    (void)self;
    for (uint64_t i = 0; i < b->n; i++) {
        int x = (int)i;
        int v = 0;
        int k = kith_select(co,
                            KITH_CASES(KITH_SEND(b->chan[0], &x), KITH_RECV(b->chan[1], &v),
                                       KITH_SEND(b->chan[1], &x), KITH_RECV(b->chan[0], &v)),
                            kith_in(10 * KITH_MS));
        if (k == KITH_ETIMEOUT)
            return; /* the others have ended */
        CHECK(k >= 0);
        kith__add_rlx(k % 2 == 0 ? &b->sent : &b->received, 1);
        kith__add_rlx(k % 2 == 0 ? &b->sent_sum : &b->received_sum, (uint64_t)(k % 2 == 0 ? x : v));
    }
}

TEST_ON_WORKERS(selects_that_meet)
{
    for (size_t capacity = 0; capacity < 2; capacity++) {
        struct both b = {.chan = {chan_of(e, capacity), chan_of(e, capacity)}, .n = 500};
        for (unsigned i = 0; i < 5; i++) {
            const kith_fiber_options options = {.worker = i % e->workers + 1};
            kith_go_with(e->self, meet, &b, &options);
        }
        join(e);
        int v;
        while (kith_chan_try_recv(e->self, b.chan[0], &v) == KITH_OK ||
               kith_chan_try_recv(e->self, b.chan[1], &v) == KITH_OK) {
            kith__add_rlx(&b.received, 1);
            kith__add_rlx(&b.received_sum, (uint64_t)v);
        }
        CHECK_EQ(kith__load_seq(&b.sent), kith__load_seq(&b.received));
        CHECK_EQ(kith__load_seq(&b.sent_sum), kith__load_seq(&b.received_sum));
        kith_chan_drop(b.chan[0]);
        kith_chan_drop(b.chan[1]);
    }
}
