/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How fibers run (csp/run.c): who goes on when, of the fibers of one worker that wake each other
 * directly, by messages, and from other workers.
 *
 * Invariants, after each test: as in actors_common.h.
 * Threads: fibers on chosen workers; the main thread waits for them in a scope.
 */
#include "tests/unit/actors_common.h"

KITH_CHAN(ints, int);

static const kith_fiber_options on_first = {.worker = 1};

static void go(struct env *e, kith_scope *scope, kith_fiber_fn *fn, void *arg)
{
    CHECK_EQ(kith_ref_error(kith_scope_go_with(e->self, scope, fn, arg, &on_first)), KITH_OK);
}

/* ---- fairness: R6 ---- */

#define WOKEN 100

struct crowd {
    ints there;
    ints back;
    KITH__ATOMIC(int) rounds; /* of the pair */
    int began;                /* the round in which the first of the crowd ran */
    int most;                 /* rounds until the last did */
    int ran;
    int ready;
    kith_ref members[WOKEN];
};

static void serves(kith_self *self, kith_co *co, void *arg)
{
    struct crowd *c = arg;
    int n;
    (void)self;
    while (ints_recv(co, c->there, &n, KITH_FOREVER) == KITH_OK)
        if (ints_send(co, c->back, n, KITH_FOREVER) != KITH_OK)
            return;
}

static void member(kith_self *self, kith_co *co, void *arg)
{
    struct crowd *c = arg;
    kith_msg *msg;
    (void)self;
    c->ready++;
    CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_OK);
    int now = kith__load_rlx(&c->rounds);
    if (c->ran++ == 0)
        c->began = now;
    c->most = now - c->began;
    CHECK_EQ(kith_receive(co, KITH_FOREVER, &msg), KITH_OK); /* and waits: who goes on then? */
}

/* Wakes them all, and talks on until all have run. */
static void calls(kith_self *self, kith_co *co, void *arg)
{
    struct crowd *c = arg;
    int n;
    while (c->ready < WOKEN)
        CHECK_EQ(kith_yield(co), KITH_OK);
    for (int i = 0; i < 20000 || c->ran < WOKEN; i++) {
        if (i == 10000)
            for (int m = 0; m < WOKEN; m++)
                CHECK_EQ(kith_send(self, c->members[m], number, .value = m), KITH_OK);
        CHECK_EQ(ints_send(co, c->there, i, KITH_FOREVER), KITH_OK);
        CHECK_EQ(ints_recv(co, c->back, &n, KITH_FOREVER), KITH_OK);
        kith__store_rlx(&c->rounds, i);
    }
    for (int m = 0; m < WOKEN; m++)
        CHECK_EQ(kith_send(self, c->members[m], number, .value = m), KITH_OK);
    CHECK_EQ(kith_chan_close(c->there.chan), KITH_OK);
}

TEST_ON_WORKERS(a_pair_that_talks_is_one_among_those_that_wait)
{
    struct crowd c = {.there = ints_new(e->self, 0), .back = ints_new(e->self, 0)};
    kith_scope *scope = kith_scope_new(e->co);
    for (int m = 0; m < WOKEN; m++) {
        c.members[m] = kith_scope_go_with(e->self, scope, member, &c, &on_first);
        CHECK_EQ(kith_ref_error(c.members[m]), KITH_OK);
    }
    go(e, scope, serves, &c);
    go(e, scope, calls, &c);
    CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
    CHECK_EQ(c.ran, WOKEN);
    if (c.most > 500) /* the clock is due after 64 steps at most: a turn, or two, of the pair's */
        FAIL("%d rounds while %d fibers waited", c.most, WOKEN);
    kith_chan_drop(c.there.chan);
    kith_chan_drop(c.back.chan);
}

/* ---- what was sent first is there: O5 ---- */

struct letters {
    ints go;
    ints done;
    kith_ref reader;
    int read;
};

static void reads(kith_self *self, kith_co *co, void *arg)
{
    struct letters *l = arg;
    kith_msg *msg;
    int n;
    (void)self;
    while (ints_recv(co, l->go, &n, KITH_FOREVER) == KITH_OK) {
        CHECK_EQ(kith_receive(co, KITH_NOWAIT, &msg), KITH_OK);
        l->read++;
        CHECK_EQ(ints_send(co, l->done, n, KITH_FOREVER), KITH_OK);
    }
}

static void writes(kith_self *self, kith_co *co, void *arg)
{
    struct letters *l = arg;
    int n;
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ(kith_send(self, l->reader, number, .value = i), KITH_OK);
        CHECK_EQ(ints_send(co, l->go, i, KITH_FOREVER), KITH_OK);
        CHECK_EQ(ints_recv(co, l->done, &n, KITH_FOREVER), KITH_OK);
    }
    CHECK_EQ(kith_chan_close(l->go.chan), KITH_OK);
}

TEST_ON_WORKERS(mail_that_was_sent_before_the_wake_is_there)
{
    for (unsigned worker = 1; worker <= e->workers; worker++) {
        struct letters l = {.go = ints_new(e->self, 0), .done = ints_new(e->self, 0)};
        kith_fiber_options options = {.worker = worker};
        kith_scope *scope = kith_scope_new(e->co);
        l.reader = kith_scope_go_with(e->self, scope, reads, &l, &on_first);
        CHECK_EQ(kith_ref_error(kith_scope_go_with(e->self, scope, writes, &l, &options)), KITH_OK);
        CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
        CHECK_EQ(l.read, 1000);
        kith_chan_drop(l.go.chan);
        kith_chan_drop(l.done.chan);
    }
}

/* ---- woken twice, and at the end: R1, R4 ---- */

struct ends {
    ints go;
    KITH__ATOMIC(int) over;
};

static void ends_when_fired(kith_self *self, kith_co *co, void *arg)
{
    struct ends *n = arg;
    int value;
    (void)self;
    CHECK_EQ(ints_recv(co, n->go, &value, KITH_FOREVER), KITH_OK);
    if (value % 2 == 0)
        CHECK_EQ(kith_yield(co), KITH_OK);
    kith__add_seq(&n->over, 1);
}

/* Its message is on its way to a fiber that ends before its turn: the message is a dead letter. */
static void fires_and_sends(kith_self *self, kith_co *co, void *arg)
{
    struct ends *n = arg;
    for (int i = 0; i < 500; i++) {
        kith_ref f = kith_go_with(self, ends_when_fired, n, &on_first);
        CHECK_EQ(kith_ref_error(f), KITH_OK);
        CHECK_EQ(kith_yield(co), KITH_OK);
        if (i % 3 != 0)
            kith_send(self, f, number, .value = i);
        CHECK_EQ(ints_send(co, n->go, i, KITH_FOREVER), KITH_OK);
        if (i % 3 != 1)
            kith_send(self, f, number, .value = i);
    }
}

TEST_ON_WORKERS(a_fiber_that_is_woken_twice_runs_once)
{
    for (unsigned worker = 1; worker <= e->workers; worker++) {
        struct ends n = {.go = ints_new(e->self, 0)};
        kith_fiber_options options = {.worker = worker};
        kith_scope *scope = kith_scope_new(e->co);
        CHECK_EQ(kith_ref_error(kith_scope_go_with(e->self, scope, fires_and_sends, &n, &options)),
                 KITH_OK);
        CHECK_EQ(kith_scope_leave(e->co, scope), KITH_OK);
        while (kith__load_seq(&n.over) < 500)
            sched_yield();
        CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
        CHECK_EQ(kith__load_seq(&n.over), 500);
        kith_chan_drop(n.go.chan);
    }
}
