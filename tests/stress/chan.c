/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Channels under everything at once: fibers on all workers and attached threads send and receive by
 * every call there is, with deadlines that just pass, while some are canceled and channels are
 * closed. Must hold: a value whose send succeeded is received exactly once, one whose send failed
 * never; what one sender sends into one channel reaches each receiver in order.
 */
#include "tests/stress/stress.h"

#include "base/atomic.h"

#define SENDERS 6
#define RECEIVERS 5
#define FIBERS (SENDERS + RECEIVERS)
#define CHANS 2

struct value {
    uint32_t sender;
    uint32_t number;
    uint64_t check; /* so that a torn copy shows */
};

struct party;

struct scene {
    kith_chan *chan[CHANS];
    uint32_t n; /* values of each sender, at most */
    KITH__ATOMIC(uint8_t) * sent;
    KITH__ATOMIC(uint8_t) * received;
    KITH__ATOMIC(uint32_t) senders_left;
    KITH__ATOMIC(uint32_t) receivers_left;
};

struct party {
    struct scene *s;
    uint32_t index;
    uint64_t seed;
    struct kith__random random;
    uint32_t last[CHANS][SENDERS]; /* a receiver's: the last number, and one */
};

static uint64_t check_of(uint32_t sender, uint32_t number)
{
    return (uint64_t)sender << 40 ^ (uint64_t)number * 0x9e3779b97f4a7c15;
}

static bool one_in(struct party *p, uint64_t n)
{
    return kith__random_below(&p->random, n) == 0;
}

/* Some pass at once, some about when a partner comes, some never. */
static kith_time deadline_of(struct party *p)
{
    if (one_in(p, 2))
        return kith_in(STRESS_PATIENCE_NS);
    return one_in(p, 4) ? KITH_NOWAIT : kith_in(kith__random_below(&p->random, 30) * KITH_US);
}

/* ---- sending ---- */

static kith_err send_by_select(struct party *p, kith_co *co, unsigned k, const struct value *v)
{
    kith_err status = KITH_EINVAL;
    kith_chan *chan = p->s->chan[k];
    int got = kith_select(co,
                          KITH_CASES(KITH_SEND_OK(chan, v, &status), KITH_AFTER(deadline_of(p)),
                                     KITH_SEND_OK(chan, v, &status)),
                          kith_in(STRESS_PATIENCE_NS));
    return got < 0 ? (kith_err)got : got == 1 ? KITH_ETIMEOUT : status;
}

static kith_err send_somehow(struct party *p, kith_co *co, unsigned k, const struct value *v)
{
    kith_chan *chan = p->s->chan[k];
    switch (kith__random_below(&p->random, 4)) {
    case 0:
        return send_by_select(p, co, k, v);
    case 1:
        return kith_chan_try_send(kith_co_self(co), chan, v);
    default:
        return kith_chan_send(co, chan, v, deadline_of(p));
    }
}

static void send_values(struct party *p, kith_co *co)
{
    struct scene *s = p->s;
    kith__random_seed(&p->random, p->seed);
    for (uint32_t i = 0; i < s->n;) {
        struct value v = {p->index, i, check_of(p->index, i)};
        kith_err err = send_somehow(p, co, (unsigned)kith__random_below(&p->random, CHANS), &v);
        if (err == KITH_OK)
            kith__add_rlx(&s->sent[p->index * s->n + i++], 1);
        else if (err != KITH_ETIMEOUT && err != KITH_EAGAIN)
            break;
        if (err == KITH_EAGAIN && kith_yield(co) != KITH_OK)
            break;
    }
    kith__sub_seq(&s->senders_left, 1);
}

/* ---- receiving ---- */

static kith_err recv_by_select(struct party *p, kith_co *co, struct value *v, unsigned *k)
{
    kith_err status[CHANS] = {KITH_EINVAL, KITH_EINVAL};
    kith_chan **chan = p->s->chan;
    struct value got[CHANS];
    int i = kith_select(co,
                        KITH_CASES(KITH_RECV_OK(chan[0], &got[0], &status[0]),
                                   KITH_RECV_OK(chan[1], &got[1], &status[1])),
                        deadline_of(p));
    if (i < 0)
        return (kith_err)i;
    *k = (unsigned)i;
    *v = got[i];
    return status[i];
}

static kith_err recv_somehow(struct party *p, kith_co *co, struct value *v, unsigned *k)
{
    *k = (unsigned)kith__random_below(&p->random, CHANS);
    switch (kith__random_below(&p->random, 4)) {
    case 0:
        return kith_chan_try_recv(kith_co_self(co), p->s->chan[*k], v);
    case 1: /* not for long: the last sender may want the other channel */
        return kith_chan_recv(co, p->s->chan[*k], v,
                              kith_in(kith__random_below(&p->random, KITH_MS)));
    default:
        return recv_by_select(p, co, v, k);
    }
}

static void note(struct party *p, const struct value *v, unsigned k)
{
    struct scene *s = p->s;
    if (v->sender >= SENDERS || v->number >= s->n || v->check != check_of(v->sender, v->number)) {
        FAIL("a value that nobody sent");
        return;
    }
    kith__add_rlx(&s->received[v->sender * s->n + v->number], 1);
    if (v->number + 1 <= p->last[k][v->sender])
        FAIL("out of order: %u after %u of sender %u", v->number, p->last[k][v->sender] - 1,
             v->sender);
    p->last[k][v->sender] = v->number + 1;
}

static void recv_values(struct party *p, kith_co *co)
{
    struct scene *s = p->s;
    unsigned closed = 0;
    kith__random_seed(&p->random, p->seed);
    while (closed != (1u << CHANS) - 1) {
        struct value v;
        unsigned k;
        kith_err err = recv_somehow(p, co, &v, &k);
        if (err == KITH_OK)
            note(p, &v, k);
        else if (err == KITH_ECLOSED)
            closed |= 1u << k;
        else if (err != KITH_ETIMEOUT && err != KITH_EAGAIN)
            break;
        if (err == KITH_EAGAIN && kith_yield(co) != KITH_OK)
            break;
    }
    kith__sub_seq(&s->receivers_left, 1);
}

/* ---- who they are ---- */

static void send_fiber(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    send_values(arg, co);
}

static void recv_fiber(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    recv_values(arg, co);
}

struct outside {
    kith_runtime *rt;
    struct party *party;
    void (*fn)(struct party *p, kith_co *co);
    pthread_t id;
};

static void *outside_main(void *arg)
{
    struct outside *o = arg;
    kith_self *self;
    kith_co *co;
    CHECK_EQ(kith_attach(o->rt, &self, &co), KITH_OK);
    o->fn(o->party, co);
    CHECK_EQ(kith_detach(self), KITH_OK);
    return NULL;
}

static void await_zero(KITH__ATOMIC(uint32_t) * left)
{
    while (kith__load_seq(left) != 0)
        sched_yield();
}

/* ---- a scene ---- */

static void scene_open(struct scene *s, kith_self *self, struct kith__random *random, uint32_t n)
{
    static const size_t capacities[] = {0, 0, 1, 2, 16};
    *s = (struct scene){.n = n};
    for (int i = 0; i < CHANS; i++)
        s->chan[i] =
            kith_chan_new(self, sizeof(struct value), capacities[kith__random_below(random, 5)]);
    s->sent = calloc((size_t)SENDERS * n, sizeof *s->sent);
    s->received = calloc((size_t)SENDERS * n, sizeof *s->received);
    if (s->sent == NULL || s->received == NULL)
        abort();
    kith__store_seq(&s->senders_left, SENDERS);
    kith__store_seq(&s->receivers_left, RECEIVERS);
}

/* What was sent was received, unless it is still in a channel that all receivers were canceled
 * at. */
static void scene_close(struct scene *s, kith_self *self)
{
    struct party rest = {.s = s};
    struct value v;
    for (unsigned k = 0; k < CHANS; k++)
        while (kith_chan_try_recv(self, s->chan[k], &v) == KITH_OK)
            note(&rest, &v, k);
    for (uint32_t i = 0; i < SENDERS * s->n; i++) {
        unsigned sent = kith__load_seq(&s->sent[i]);
        unsigned received = kith__load_seq(&s->received[i]);
        if (sent > 1 || received != sent)
            FAIL("value %u of sender %u: sent %u times, received %u times", i % s->n, i / s->n,
                 sent, received);
    }
    for (unsigned k = 0; k < CHANS; k++)
        kith_chan_drop(s->chan[k]);
    free(s->sent);
    free(s->received);
}

static void play(kith_runtime *rt, kith_self *self, unsigned workers, struct kith__random *random)
{
    struct scene s;
    struct party parties[FIBERS];
    kith_ref refs[FIBERS] = {{0}};
    scene_open(&s, self, random, 300);
    for (uint32_t i = 0; i < FIBERS; i++)
        parties[i] = (struct party){.s = &s, .index = i, .seed = kith__random_next(random)};
    struct outside outside[2] = {{rt, &parties[0], send_values, 0},
                                 {rt, &parties[SENDERS], recv_values, 0}};
    for (int i = 0; i < 2; i++)
        if (pthread_create(&outside[i].id, NULL, outside_main, &outside[i]) != 0)
            abort();
    for (uint32_t i = 1; i < FIBERS; i++) {
        const kith_fiber_options options = {.worker =
                                                (unsigned)kith__random_below(random, workers) + 1};
        if (i != SENDERS)
            refs[i] =
                kith_go_with(self, i < SENDERS ? send_fiber : recv_fiber, &parties[i], &options);
    }
    /* Those that are canceled: perhaps all but the threads. */
    for (uint64_t i = kith__random_below(random, 4); i > 0; i--) {
        uint32_t k = (uint32_t)kith__random_below(random, FIBERS);
        for (uint64_t spins = kith__random_below(random, 2000); spins > 0; spins--)
            kith__fence_compiler();
        if (refs[k].bits != 0)
            kith_stop(self, refs[k]);
    }
    if (kith__random_below(random, 4) == 0) { /* a close in the middle */
        for (uint64_t spins = kith__random_below(random, 20000); spins > 0; spins--)
            kith__fence_compiler();
        CHECK_EQ(kith_chan_close(s.chan[0]), KITH_OK);
        CHECK_EQ(kith_chan_close(s.chan[1]), KITH_OK);
    }
    await_zero(&s.senders_left);
    kith_chan_close(s.chan[0]);
    kith_chan_close(s.chan[1]);
    await_zero(&s.receivers_left);
    for (int i = 0; i < 2; i++)
        pthread_join(outside[i].id, NULL);
    CHECK_EQ(kith_join(rt, kith_in(STRESS_PATIENCE_NS)), KITH_OK);
    scene_close(&s, self);
}

TEST(everything_at_once)
{
    static const unsigned counts[] = {1, 2, 4};
    struct kith__random random;
    stress_limit("everything_at_once");
    stress_random(&random, 0);
    uint64_t times = stress_times(400);
    for (int i = 0; i < 3; i++) {
        kith_runtime *rt = stress_start(counts[i]);
        kith_self *self;
        REQUIRE(rt != NULL && kith_attach(rt, &self, NULL) == KITH_OK);
        for (uint64_t k = 0; k < times; k++)
            play(rt, self, counts[i], &random);
        CHECK_EQ(kith_detach(self), KITH_OK);
        stress_end(rt);
    }
}
