/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith_select: the first of several things. Called by programs.
 *
 * It looks which cases could go on, without a lock, and does one of them, under its channel's lock.
 * If none can, it puts a waiter into each channel's list and waits; after that it takes all of them
 * out again.
 *
 * Invariants
 *  SE1. Nothing is transferred while waiters of this co stand in lists, except by who has won the
 *       claim. So a select that finds, while it puts its waiters in, that something can go on after
 *       all takes them out again first, and begins anew. Two selects that meet so may both begin
 *       anew; each then begins with another case, by chance, so that they do not miss each other
 *       for ever.
 *  SE2. Before the waiters are taken out the co closes its own claim. If that fails, somebody has
 *       won: that is the result, whatever else has woken the co (O2).
 *  SE3. The waiters are out of all lists before the claim is opened again, and before select
 *       returns.
 *  SE4. What is the co's own (mail, time, sockets) only changes in its own turn, when it is sifted.
 *       So it is cleared, looked at, and waited for, without a lock.
 *
 * Which of the ready cases: see pick.
 *
 * Threads: the co's turn; the claim also by who holds a lock of a channel that it waits in.
 *
 * Why not all channels' locks at once, as Go does it: they would have to be ordered by address, and
 * nothing in kith is (the same seed gives the same run).
 */
#include "csp/bound.h"
#include "csp/chan.h"
#include "sched/worker.h"

#define FEW 8
#define NOT_WON (KITH__CLAIM_OPEN - 1) /* the claim while nobody may win it */

struct select {
    struct kith_co *co;
    const kith_case *cases;
    uint32_t count;
    uint32_t first;     /* whose waiter is put in first */
    uint32_t wants;     /* besides FIRED */
    kith_time deadline; /* of the select */
    kith_time after;    /* the first KITH_AFTER */
};

/* ---- looking ---- */

static bool may_io(struct select *s, const kith_case *c, unsigned what)
{
    const struct kith__readiness *io = s->co->ctx->rt->readiness;
    return io == NULL || io->check(s->co, c->number, what) != KITH_EAGAIN;
}

static bool may_after(struct select *s, const kith_case *c)
{
    if (c->number < s->after)
        s->after = c->number;
    return c->number == KITH_NOWAIT ||
           (c->number != KITH_FOREVER && s->co->ctx->rt->driver->now() >= c->number);
}

static bool may_mail(struct select *s)
{
    if (s->co->mail == NULL)
        kith__co_sift(s->co);
    if (s->co->mail == NULL)
        kith__bound_no_mail(s->co);
    return s->co->mail != NULL;
}

static bool may_go_on(struct select *s, const kith_case *c)
{
    switch (c->kind) {
    case KITH_CASE_RECV_:
        return c->chan != NULL && kith__chan_may_recv(c->chan);
    case KITH_CASE_SEND_:
        return c->chan != NULL && kith__chan_may_send(c->chan);
    case KITH_CASE_AFTER_:
        return may_after(s, c);
    case KITH_CASE_MAIL_:
        return may_mail(s);
    case KITH_CASE_READABLE_:
        return may_io(s, c, KITH__READY_READ);
    default:
        return may_io(s, c, KITH__READY_WRITE);
    }
}

/* Which cases could go on: a bit each. */
static uint64_t look(struct select *s)
{
    uint64_t ready = 0;
    for (uint32_t i = 0; i < s->count; i++)
        ready |= (uint64_t)may_go_on(s, &s->cases[i]) << i;
    return ready;
}

/* ---- choosing ---- */

/* A number of 16 bits, each once in 2^16 turns, in an order that is made anew each time: so n ready
 * cases have the same share of many choices, much closer than dice would give it, and yet a choice
 * tells nothing about the next, so that what it changes for the next (a channel is empty now)
 * favours nobody. */
static uint32_t shuffled(struct kith_co *co)
{
    uint32_t turn = co->select_turn++ & 0xffff;
    if (turn == 0)
        co->select_base = (uint32_t)kith__random_next(&co->ctx->random);
    uint32_t x = (turn ^ co->select_base) & 0xffff; /* each step can be taken back */
    x = x * 0xa3d5 & 0xffff;
    x ^= x >> 7;
    x = (x + (co->select_base >> 16)) * 0xb1e9 & 0xffff;
    x ^= x >> 9;
    x = x * 0xc9a7 & 0xffff;
    x ^= x >> 8;
    return x;
}

/* The index of one of the bits in ready, each as likely. */
static uint32_t pick(struct kith_co *co, uint64_t ready)
{
    uint32_t n = (uint32_t)__builtin_popcountll(ready);
    uint32_t k = n > 1 ? shuffled(co) * n >> 16 : 0;
    while (k-- > 0)
        ready &= ready - 1;
    return (uint32_t)__builtin_ctzll(ready);
}

/* ---- doing ---- */

static void mail_take(struct kith_co *co, kith_msg **msg)
{
    struct kith__ctx *ctx = co->ctx;
    if (ctx->current != NULL)
        kith__msg_end(ctx->cache, ctx->current);
    *msg = kith__queue_pop(&co->mail);
    kith__assert(*msg != NULL); /* or the case would not be ready */
    kith__bound_received(co, *msg);
    (*msg)->flags = 0;
    ctx->current = *msg;
}

/* KITH_EAGAIN: it could not go on after all. */
static kith_err act(struct select *s, const kith_case *c)
{
    switch (c->kind) {
    case KITH_CASE_RECV_:
        return kith__chan_recv_now(s->co->ctx, c->chan, c->to);
    case KITH_CASE_SEND_:
        return kith__chan_send_now(s->co->ctx, c->chan, c->from);
    case KITH_CASE_MAIL_:
        mail_take(s->co, c->to);
        return KITH_OK;
    default:
        return KITH_OK;
    }
}

/* What kith_select answers when case i has ended with err: KITH_OK or KITH_ECLOSED. */
static int result(const struct select *s, uint32_t i, kith_err err)
{
    const kith_case *c = &s->cases[i];
    bool signals = c->kind == KITH_CASE_RECV_ && c->to == NULL;
    if (c->status != NULL)
        *c->status = err;
    else if (err != KITH_OK && !signals)
        return (int)err;
    return (int)i;
}

/* Does one of the ready ones. KITH_EAGAIN: none could go on. */
static int act_on_one(struct select *s, uint64_t ready)
{
    while (ready != 0) {
        uint32_t i = pick(s->co, ready);
        kith_err err = act(s, &s->cases[i]);
        if (err != KITH_EAGAIN)
            return result(s, i, err);
        ready &= ~(UINT64_C(1) << i);
    }
    return KITH_EAGAIN;
}

/* ---- waiting ---- */

static bool waiter_in(struct select *s, uint32_t i, struct kith__waiter *w)
{
    const kith_case *c = &s->cases[i];
    struct kith_co *co = s->co;
    if (c->kind == KITH_CASE_RECV_) {
        *w = (struct kith__waiter){.co = co, .item = c->to, .index = i, .several = true};
        return kith__chan_wait_to_recv(co->ctx, c->chan, w);
    }
    void *item = (void *)(uintptr_t)c->from;
    *w = (struct kith__waiter){.co = co, .item = item, .index = i, .several = true};
    return kith__chan_wait_to_send(co->ctx, c->chan, w);
}

static void waiter_out(struct select *s, uint32_t i, struct kith__waiter *w)
{
    const kith_case *c = &s->cases[i];
    if (c->kind == KITH_CASE_RECV_)
        kith__chan_unwait_recv(s->co->ctx, c->chan, w);
    else
        kith__chan_unwait_send(s->co->ctx, c->chan, w);
}

static inline bool is_of_channel(const kith_case *c)
{
    return c->kind <= KITH_CASE_SEND_ && c->chan != NULL;
}

/* Sockets tell of a change from now on, or not any more. */
static void want_io(struct select *s, bool on)
{
    const struct kith__readiness *io = s->co->ctx->rt->readiness;
    for (uint32_t i = 0; i < s->count && io != NULL; i++) {
        const kith_case *c = &s->cases[i];
        if (c->kind == KITH_CASE_READABLE_ || c->kind == KITH_CASE_WRITABLE_)
            io->want(s->co, c->number,
                     c->kind == KITH_CASE_READABLE_ ? KITH__READY_READ : KITH__READY_WRITE, on);
    }
}

/* The case that is the n-th to be waited for. */
static inline uint32_t nth(const struct select *s, uint32_t n)
{
    uint32_t i = s->first + n;
    return i < s->count ? i : i - s->count;
}

/* Puts the waiters in; how many cases it got through: fewer than all if one can go on (SE1). */
static uint32_t waiters_in(struct select *s, struct kith__waiter *waiters)
{
    uint32_t n = 0;
    /* relaxed: published with each waiter (WA1). */
    kith__store_rlx(&s->co->claim, KITH__CLAIM_OPEN);
    for (; n < s->count; n++) {
        uint32_t i = nth(s, n);
        if (is_of_channel(&s->cases[i]) && !waiter_in(s, i, &waiters[i]))
            break;
    }
    return n;
}

/* Takes those of the first n cases out again; the index of the winner, or NOT_WON (SE2, SE3). */
static uint32_t waiters_out(struct select *s, struct kith__waiter *waiters, uint32_t n)
{
    uint32_t winner = KITH__CLAIM_OPEN;
    if (kith__cas_rlx(&s->co->claim, &winner, NOT_WON))
        winner = NOT_WON;
    while (n-- > 0) {
        uint32_t i = nth(s, n);
        if (i != winner && is_of_channel(&s->cases[i]))
            waiter_out(s, i, &waiters[i]);
    }
    return winner;
}

/* Waits once. KITH_EAGAIN: look again. */
static int wait_once(struct select *s, struct kith__waiter *waiters)
{
    struct kith_co *co = s->co;
    kith_time until = s->after < s->deadline ? s->after : s->deadline;
    kith_err err = KITH_EAGAIN;
    uint32_t n = waiters_in(s, waiters);
    if (n == s->count)
        err = kith__co_wait(co, KITH__WOKE_FIRED | s->wants, until, "kith_select", s->cases);
    uint32_t winner = waiters_out(s, waiters, n);
    if (n < s->count)
        s->first = shuffled(co) * s->count >> 16; /* SE1 */
    if (winner != NOT_WON) {
        if (err != KITH_OK || s->wants != 0) /* FIRED was not waited for, or stands beside others */
            kith__co_wait_fired(co);
        /* Its status was set by whoever won, on another stack, which the analyzer does not see.
         * NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage) */
        return result(s, winner, waiters[winner].status);
    }
    bool again = err == KITH_OK || (err == KITH_ETIMEOUT && s->after <= s->deadline);
    return again ? KITH_EAGAIN : (int)err;
}

/* 600 bytes of stack, or 4 KiB: most selects are small, and so are stacks. */
static __attribute__((noinline)) int wait_few(struct select *s)
{
    struct kith__waiter waiters[FEW];
    return wait_once(s, waiters);
}

static __attribute__((noinline)) int wait_many(struct select *s)
{
    struct kith__waiter waiters[KITH_CASES_MAX];
    return wait_once(s, waiters);
}

/* What is the co's own counts from here on, and is looked at once more (SE4). */
static uint64_t own_begin(struct select *s)
{
    if (s->wants == 0)
        return 0;
    s->co->woke &= ~s->wants;
    if ((s->wants & KITH__WOKE_IO) != 0)
        want_io(s, true);
    return look(s);
}

static int wait_for_one(struct select *s)
{
    uint64_t ready = own_begin(s);
    int done = KITH_EAGAIN;
    if (ready != 0)
        done = act_on_one(s, ready);
    else if (s->deadline == KITH_NOWAIT)
        done = kith__co_wait(s->co, 0, KITH_NOWAIT, "kith_select", s->cases);
    else
        done = s->count <= FEW ? wait_few(s) : wait_many(s);
    if ((s->wants & KITH__WOKE_IO) != 0)
        want_io(s, false);
    return done;
}

/* ---- the call ---- */

static bool chan_case_is_valid(const struct kith__ctx *ctx, const kith_case *c, kith_err *err)
{
    if (c->chan == NULL)
        return true;
    if (c->chan->rt != ctx->rt)
        *err = KITH_EPERM;
    else if (c->kind == KITH_CASE_SEND_ && c->from == NULL && c->chan->item_bytes != 0)
        *err = KITH_EINVAL;
    return *err == KITH_OK;
}

/* Also gathers what the co has to be woken by. */
static kith_err prepare(struct select *s)
{
    kith_err err = KITH_OK;
    for (uint32_t i = 0; i < s->count; i++) {
        const kith_case *c = &s->cases[i];
        if (KITH__LIKELY(c->kind <= KITH_CASE_SEND_)) {
            if (!chan_case_is_valid(s->co->ctx, c, &err))
                return err;
        } else if (c->kind == KITH_CASE_MAIL_) {
            s->wants |= KITH__WOKE_MAIL;
            if (c->to == NULL)
                return KITH_EINVAL;
            *(kith_msg **)c->to = NULL;
        } else if (c->kind != KITH_CASE_AFTER_) {
            s->wants |= KITH__WOKE_IO;
        }
    }
    return err;
}

int kith_select(kith_co *co, const kith_case *cases, size_t count, kith_time deadline)
{
    if (!kith__co_here(co))
        return KITH_EPERM;
    if (count > KITH_CASES_MAX || (cases == NULL && count > 0))
        return KITH_EINVAL;
    struct select s = {co, cases, (uint32_t)count, 0, 0, deadline, KITH_FOREVER};
    kith_err err = prepare(&s);
    if (err != KITH_OK)
        return (int)err;
    kith__co_spend(co);
    err = kith__co_may_wait(co);
    int done = err == KITH_OK ? KITH_EAGAIN : (int)err;
    while (done == KITH_EAGAIN) {
        done = act_on_one(&s, look(&s));
        if (done == KITH_EAGAIN)
            done = wait_for_one(&s);
    }
    return done;
}
