/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Channels and select beside a sequential model: fibers do random operations, wait, are canceled,
 * and each must do what the model says, and nobody else anything.
 * Run by: the test driver; --seed N repeats the choices.
 * Invariants: after each operation everything has run that can (kith_loop_run), so a fiber that has
 *   not ended its operation waits, and the model knows for what.
 * Threads: one, home of a loop executor.
 * Why a loop: on a pool nobody could tell a fiber that waits from one that has not begun. What is
 *   different there, operations at the same time, is the matter of stress/chan.
 */
#include "tests/unit/test.h"

#include "base/random.h"
#include <kith.h>

enum { CHANS = 3, CAPACITY_MAX = 3, HANDS = 6, CASES_MAX = 4, NOBODY = -1 };

KITH_MESSAGE(go_on, { char none; });

/* A fiber, and what it was told to do. */
struct hand {
    kith_ref ref;
    bool canceled; /* it is, and ends */
    bool plain;    /* kith_chan_send or kith_chan_recv, not kith_select */
    kith_time deadline;
    size_t n;
    kith_case cases[CASES_MAX];
    int chan[CASES_MAX];     /* the number of each case's channel; NOBODY: a time */
    uint32_t out[CASES_MAX]; /* what it sends */
    uint32_t in[CASES_MAX];  /* what it received */
    kith_err status[CASES_MAX];
    bool busy;
    int result;
    uint64_t waits_since; /* the model's; 0: it does not wait */
};

struct model_chan {
    kith_chan *chan;
    size_t capacity;
    size_t n;
    uint32_t kept[CAPACITY_MAX];
    bool closed;
};

struct world {
    kith_runtime *rt;
    kith_self *self;
    struct model_chan chans[CHANS];
    struct hand hands[HANDS];
    struct kith__random random;
    uint64_t step;
    uint32_t value;
    uint64_t waited; /* operations that waited and were ended by somebody */
};

static unsigned below(struct world *w, unsigned n)
{
    return (unsigned)kith__random_below(&w->random, n);
}

/* ---- the fibers ---- */

static int operate(struct hand *h, kith_co *co)
{
    const kith_case *c = &h->cases[0];
    if (!h->plain)
        return kith_select(co, h->cases, h->n, h->deadline);
    kith_err err = c->kind == KITH_CASE_SEND_ ? kith_chan_send(co, c->chan, c->from, h->deadline)
                                              : kith_chan_recv(co, c->chan, c->to, h->deadline);
    h->status[0] = err;
    return err == KITH_OK || err == KITH_ECLOSED ? 0 : (int)err;
}

static void hand_main(kith_self *self, kith_co *co, void *arg)
{
    struct hand *h = arg;
    kith_msg *msg;
    (void)self;
    while (kith_receive(co, KITH_FOREVER, &msg) == KITH_OK) {
        h->result = operate(h, co);
        h->busy = false;
    }
    h->canceled = true;
}

static void run_all(struct world *w)
{
    do
        CHECK_EQ(kith_loop_run(w->rt, KITH_NOWAIT), KITH_OK);
    while (kith_loop_deadline(w->rt) == KITH_NOWAIT);
}

/* ---- the model ---- */

static bool fits(const struct hand *h, size_t i, int chan, enum kith_case_kind_ kind)
{
    return h->chan[i] == chan && h->cases[i].kind == kind;
}

/* Who has waited longest for that. */
static struct hand *first_waiting(struct world *w, int chan, enum kith_case_kind_ kind)
{
    struct hand *first = NULL;
    for (struct hand *h = w->hands; h < w->hands + HANDS; h++)
        for (size_t i = 0; h->waits_since != 0 && i < h->n; i++)
            if (fits(h, i, chan, kind) && (first == NULL || h->waits_since < first->waits_since))
                first = h;
    return first;
}

static bool can_go(struct world *w, int chan, enum kith_case_kind_ kind)
{
    const struct model_chan *c = &w->chans[chan];
    bool send = kind == KITH_CASE_SEND_;
    return c->closed || (send ? c->n < c->capacity : c->n > 0) ||
           first_waiting(w, chan, send ? KITH_CASE_RECV_ : KITH_CASE_SEND_) != NULL;
}

/* h has ended its wait by one of its cases that fit; which one is its own choice. */
static size_t ended_by(struct world *w, struct hand *h, int chan, enum kith_case_kind_ kind,
                       kith_err status)
{
    size_t i = (size_t)h->result;
    h->waits_since = 0;
    w->waited++;
    CHECK(!h->busy);
    if (h->result < 0 || i >= h->n || !fits(h, i, chan, kind)) {
        FAIL("a case that was not meant: %d of %zu", h->result, h->n);
        return 0;
    }
    CHECK_EQ(h->status[i], status);
    return i;
}

static void model_send(struct world *w, int chan, uint32_t value, kith_err status)
{
    struct model_chan *c = &w->chans[chan];
    struct hand *partner = first_waiting(w, chan, KITH_CASE_RECV_);
    CHECK_EQ(status, c->closed ? KITH_ECLOSED : KITH_OK);
    if (c->closed)
        return;
    if (partner != NULL) {
        size_t i = ended_by(w, partner, chan, KITH_CASE_RECV_, KITH_OK);
        CHECK_EQ(partner->in[i], value);
        return;
    }
    REQUIRE(c->n < c->capacity);
    c->kept[c->n++] = value;
}

static void model_recv(struct world *w, int chan, uint32_t value, kith_err status)
{
    struct model_chan *c = &w->chans[chan];
    struct hand *partner = first_waiting(w, chan, KITH_CASE_SEND_);
    bool none = c->n == 0 && partner == NULL;
    CHECK_EQ(status, none ? KITH_ECLOSED : KITH_OK);
    if (none)
        return;
    uint32_t next = 0;
    if (partner != NULL)
        next = partner->out[ended_by(w, partner, chan, KITH_CASE_SEND_, KITH_OK)];
    if (c->n > 0) { /* the partner's goes behind what is kept */
        uint32_t first = c->kept[0];
        memmove(c->kept, c->kept + 1, --c->n * sizeof c->kept[0]);
        if (partner != NULL)
            c->kept[c->n++] = next;
        next = first;
    }
    CHECK_EQ(value, next);
}

/* Nobody has moved but those of whom the model knows. */
static void check_rest(struct world *w)
{
    for (int i = 0; i < HANDS; i++)
        CHECK_EQ(w->hands[i].busy, w->hands[i].waits_since != 0);
    for (int i = 0; i < CHANS; i++)
        CHECK_EQ(kith_chan_count(w->chans[i].chan), w->chans[i].n);
}

/* ---- one operation of a fiber ---- */

static void choose_case(struct world *w, struct hand *h, size_t i)
{
    bool send = below(w, 2) == 0;
    h->chan[i] = (int)below(w, CHANS);
    kith_chan *chan = w->chans[h->chan[i]].chan;
    h->out[i] = ++w->value;
    h->in[i] = 0;
    h->status[i] = KITH_EINVAL;
    h->cases[i] = send ? KITH_SEND_OK(chan, &h->out[i], &h->status[i])
                       : KITH_RECV_OK(chan, &h->in[i], &h->status[i]);
    if (h->n > 1 && below(w, 20) == 0) {
        h->chan[i] = NOBODY;
        h->cases[i] = KITH_AFTER(below(w, 2) == 0 ? KITH_NOWAIT : kith_in(KITH_HOUR));
    }
}

static void choose(struct world *w, struct hand *h)
{
    unsigned which = below(w, 4);
    h->n = below(w, 2) == 0 ? 1 : 1 + below(w, CASES_MAX);
    h->plain = h->n == 1 && below(w, 2) == 0;
    h->deadline = which == 0 ? KITH_NOWAIT : which == 1 ? kith_in(KITH_HOUR) : KITH_FOREVER;
    for (size_t i = 0; i < h->n; i++)
        choose_case(w, h, i);
}

static bool is_ready(struct world *w, const struct hand *h, size_t i)
{
    return h->chan[i] == NOBODY ? h->cases[i].number == KITH_NOWAIT
                                : can_go(w, h->chan[i], h->cases[i].kind);
}

static void model_operate(struct world *w, struct hand *h, uint64_t ready)
{
    if (ready == 0 && h->deadline != KITH_NOWAIT) {
        h->waits_since = w->step;
        return;
    }
    CHECK(!h->busy);
    if (ready == 0) {
        CHECK_EQ(h->result, (int)KITH_ETIMEOUT);
        return;
    }
    REQUIRE(h->result >= 0 && (ready >> h->result & 1) != 0);
    int i = h->result;
    if (h->chan[i] == NOBODY)
        return;
    if (h->cases[i].kind == KITH_CASE_SEND_)
        model_send(w, h->chan[i], h->out[i], h->status[i]);
    else
        model_recv(w, h->chan[i], h->in[i], h->status[i]);
}

static void by_hand(struct world *w, struct hand *h)
{
    uint64_t ready = 0;
    choose(w, h);
    for (size_t i = 0; i < h->n; i++)
        ready |= (uint64_t)is_ready(w, h, i) << i;
    h->busy = true;
    CHECK_EQ(kith_send(w->self, h->ref, go_on, 0), KITH_OK);
    run_all(w);
    model_operate(w, h, ready);
}

/* ---- the others ---- */

static void hand_open(struct world *w, struct hand *h)
{
    *h = (struct hand){.n = 0};
    h->ref = kith_go(w->self, hand_main, h);
    CHECK_EQ(kith_ref_error(h->ref), KITH_OK);
}

static void cancel(struct world *w, struct hand *h)
{
    CHECK_EQ(kith_stop(w->self, h->ref), KITH_OK);
    run_all(w);
    CHECK(h->canceled);
    if (h->waits_since != 0)
        CHECK_EQ(h->result, (int)KITH_ECANCELED);
    hand_open(w, h);
}

/* All who wait there hear of it. A closed channel where nobody waits makes room for a new one. */
static void close_or_renew(struct world *w, int chan)
{
    struct model_chan *c = &w->chans[chan];
    static const enum kith_case_kind_ kinds[] = {KITH_CASE_SEND_, KITH_CASE_RECV_};
    struct hand *h;
    if (c->closed) {
        kith_chan_drop(c->chan);
        *c = (struct model_chan){.capacity = below(w, CAPACITY_MAX + 1)};
        c->chan = kith_chan_new(w->self, sizeof(uint32_t), c->capacity);
        REQUIRE(c->chan != NULL);
        return;
    }
    c->closed = true;
    CHECK_EQ(kith_chan_close(c->chan), KITH_OK);
    run_all(w);
    for (int k = 0; k < 2; k++)
        while ((h = first_waiting(w, chan, kinds[k])) != NULL) {
            REQUIRE(h->result >= 0 && (size_t)h->result < h->n);
            ended_by(w, h, chan, h->cases[h->result].kind, KITH_ECLOSED);
        }
}

/* As a handler does, from home. */
static void try_one(struct world *w, int chan)
{
    enum kith_case_kind_ kind = below(w, 2) == 0 ? KITH_CASE_SEND_ : KITH_CASE_RECV_;
    bool can = can_go(w, chan, kind);
    uint32_t value = kind == KITH_CASE_SEND_ ? ++w->value : 0;
    kith_chan *c = w->chans[chan].chan;
    kith_err err = kind == KITH_CASE_SEND_ ? kith_chan_try_send(w->self, c, &value)
                                           : kith_chan_try_recv(w->self, c, &value);
    run_all(w);
    if (!can)
        CHECK_EQ(err, KITH_EAGAIN);
    else if (kind == KITH_CASE_SEND_)
        model_send(w, chan, value, err);
    else
        model_recv(w, chan, value, err);
}

static void do_one(struct world *w)
{
    struct hand *h = &w->hands[below(w, HANDS)];
    int chan = (int)below(w, CHANS);
    unsigned what = below(w, 100);
    w->step++;
    if (what < 2)
        close_or_renew(w, chan);
    else if (what < 8)
        cancel(w, h);
    else if (what < 25 || h->waits_since != 0)
        try_one(w, chan);
    else
        by_hand(w, h);
    check_rest(w);
}

/* ---- all of it ---- */

static void world_open(struct world *w)
{
    kith_config config = {.executor = KITH_LOOP, .seed = test_seed() | 1};
    kith__random_seed(&w->random, test_seed());
    CHECK_EQ(kith_start(&config, &w->rt), KITH_OK);
    CHECK_EQ(kith_attach(w->rt, &w->self, NULL), KITH_OK);
    for (int i = 0; i < CHANS; i++) {
        w->chans[i].closed = true;
        close_or_renew(w, i);
    }
    for (int i = 0; i < HANDS; i++)
        hand_open(w, &w->hands[i]);
}

static void world_close(struct world *w)
{
    for (int i = 0; i < HANDS; i++)
        CHECK_EQ(kith_stop(w->self, w->hands[i].ref), KITH_OK);
    run_all(w);
    for (int i = 0; i < CHANS; i++)
        kith_chan_drop(w->chans[i].chan);
    CHECK_EQ(kith_detach(w->self), KITH_OK);
    CHECK_EQ(kith_shutdown(w->rt, kith_in(30 * KITH_SECOND)), KITH_OK);
}

TEST(random_operations_of_waiting_fibers_beside_a_model)
{
    struct world *w = calloc(1, sizeof *w);
    REQUIRE(w != NULL);
    world_open(w);
    uint64_t steps = test_env("KITH_MODEL_STEPS", 20000);
    while (w->step < steps && test_failures == 0)
        do_one(w);
    printf("(%llu waits ended by others) ", (unsigned long long)w->waited);
    CHECK_GT(w->waited, steps / 20);
    world_close(w);
    free(w);
}
