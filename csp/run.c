/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Running fibers: a fiber's turn, and the list of those of a worker that may go on.
 *
 * Called by the worker's loop, through the ops of a fiber's task and of the worker's own pseudo-task.
 *
 * A message makes a fiber's task take a turn: it sifts what has come (sched/co.h) on the worker's stack,
 * and switches to the fiber only if that ends its wait. What ends a wait without a message (another fiber
 * of this worker that fires it, a yield) puts the fiber into the worker's list of those that may go on.
 * That list is one task among the worker's placed ones. And whoever suspends itself switches to the first
 * in it directly, without a way through the worker's loop, until it is time to read the clock.
 *
 * Invariants
 *  R1. A fiber is resumed by its turn, or out of the list, never by both: a turn that finds it in the
 *      list leaves it there.
 *  R2. A fiber that suspends itself and owns its inbox (O5 of sched/co.h) rests first: its worker is this
 *      very thread, so nobody can run it before it has switched away. What has come meanwhile is sifted
 *      at once, without a switch.
 *  R3. A turn owns the inbox that it was taken out of the queue with. It hands it on to the fiber that it
 *      runs; else it rests, or goes back into a queue, which owns it then.
 *  R4. A fiber that ends switches to the worker, which gives its stack back. If its inbox is on its way
 *      into a queue just then (somebody has woken it), its turn ends it.
 *  R5. ctx->running and ctx->current are those of whoever runs: set at each switch (enter), put away
 *      before it (switch_away).
 *  R6. The list is one among the tasks that wait: one switches directly to the next in it during the
 *      list's own turn, or while nobody else waits. So those in the list, who may wake each other for
 *      ever, have no more than one turn, until the clock is due, for one of everybody else's.
 *  R7. One that a message has woken may be resumed without its turn if the turn would find just that
 *      message: it is taken out of the worker's list, and owns its inbox as in its turn.
 *
 * Threads: all of it is the worker's own.
 *
 * Why a list beside the tasks' queue: a fiber that is fired by its neighbour needs no message, so neither
 * of them touches an atomic word, and a rendezvous costs a third less.
 */
#include "csp/fiber.h"
#include "sched/slow.h"
#include "sched/worker.h"
#include <string.h>

static struct kith__fiber *fiber_of(struct kith_co *co)
{
    return (struct kith__fiber *)(void *)co;
}

/* ---- those that may go on ---- */

static inline void list_place(struct kith__ctx *ctx, struct kith__fibers *home)
{
    if (home->placed)
        return;
    home->placed = true;
    kith__place(ctx, &home->task);
}

static inline void list_push(struct kith__fiber *f)
{
    struct kith__fibers *home = f->home;
    f->queued = true;
    f->next = NULL;
    if (home->first == NULL)
        home->first = f;
    else
        home->last->next = f;
    home->last = f;
    home->count++;
    list_place(f->co.ctx, home);
}

static inline struct kith__fiber *list_pop(struct kith__fibers *home)
{
    struct kith__fiber *f = home->first;
    if (f == NULL)
        return NULL;
    home->first = f->next;
    home->count--;
    f->queued = false;
    return f;
}

/* One that runs has fired itself (it has canceled what it is about to wait for), and will see it. */
static void fiber_ready(struct kith_co *co)
{
    struct kith__fiber *f = fiber_of(co);
    if (!f->queued && co->ctx->running != co->task)
        list_push(f);
}

/* ---- switching ---- */

/* How deep it is. */
static inline void depth_note(struct kith__fiber *f)
{
    char *here = __builtin_frame_address(0);
    if (KITH__LIKELY(here >= f->lowest))
        return;
    f->lowest = here;
    if (KITH__UNLIKELY(here < (char *)f->stack->low))
        kith__fiber_overflowed(f);
}

/* R5: f is the one that runs. */
static inline void enter(struct kith__ctx *ctx, struct kith__fiber *f, struct kith__context *back)
{
    f->back = back;
    ctx->running = f->co.task;
    ctx->current = f->co.current;
    kith__store_rlx(&ctx->worker->turn_of, &f->kind->behavior);
}

/* Whether somebody waits on this worker besides its placed tasks. */
static inline bool others_wait(struct kith__worker *w)
{
    return kith__load_rlx(&w->placed_sent) != NULL || kith__load_rlx(&w->woken) != NULL ||
           kith__waiting(w) != 0;
}

/* Whether nobody waits on this worker but the fibers in the list. */
static inline bool nobody_else(struct kith__worker *w, const struct kith__fibers *home)
{
    return w->placed_first == &home->task && w->placed_last == &home->task && !others_wait(w);
}

/* The next to go on without a way through the worker; NULL: there is none, or it is time for the clock,
 * or to look around since a fiber has read it. */
static inline struct kith__fiber *next_direct(struct kith__worker *w, struct kith__fibers *home)
{
    if (home->first == NULL || w->until_clock <= 1 || w->clock_due || !home->direct)
        return NULL;
    w->until_clock--;
    kith__count(&w->turns);
    return list_pop(home);
}

/* The same for one that a message has just woken: the only task that waits on this worker, for mail, and
 * with one ordinary message. Its turn would do no more than this (R7). */
static inline struct kith__fiber *next_woken(struct kith__worker *w, struct kith__fibers *home)
{
    struct kith_self *task = w->placed_first;
    if (task == NULL || task->ops != &kith__fiber_ops || task != w->placed_last ||
        w->until_clock <= 1 || w->clock_due || !home->direct || others_wait(w))
        return NULL;
    struct kith__fiber *f = task->state;
    struct kith_msg *msg = task->pending;
    if (f->co.ctx == NULL || f->ended || f->queued || (f->co.wants & KITH__WOKE_MAIL) == 0 ||
        msg == NULL || msg->next != msg || msg->flags != 0 || !kith__meant_for(task, msg))
        return NULL;
    w->placed_first = NULL;
    w->placed_count--;
    w->until_clock--;
    kith__count(&w->turns);
    task->pending = NULL;
    kith__queue_push(&f->co.mail, msg);
    f->co.woke |= KITH__WOKE_MAIL | KITH__WOKE_TURN;
    f->co.owned = true;
    return f;
}

/* On f's stack: goes on in `next` (NULL: the worker), until somebody enters f again. */
static inline void switch_away(struct kith__fiber *f, struct kith__fiber *next)
{
    struct kith__ctx *ctx = f->co.ctx;
    f->co.current = ctx->current;
    ctx->current = NULL;
    depth_note(f);
    if (next == NULL) {
        kith__context_switch(&f->context, f->back);
        return;
    }
    enter(ctx, next, f->back);
    kith__context_switch_alike(&f->context, &next->context);
}

static void fiber_suspend(struct kith_co *co)
{
    struct kith__fiber *f = fiber_of(co);
    struct kith__fibers *home = f->home;
    struct kith__worker *w = co->ctx->worker;
    while (co->owned) { /* R2 */
        /* What it has put there itself (kith__sock_push) would rest with it. */
        co->owned = co->task->pending != NULL || !kith__inbox_rest(&co->task->inbox);
        if (!co->owned)
            break;
        kith__co_sift(co);
        if ((co->woke & co->wants) != 0)
            return;
    }
    struct kith__fiber *next = NULL;
    if (home->turning || nobody_else(w, home)) /* R6 */
        next = next_direct(w, home);
    else if (!home->placed)
        next = next_woken(w, home);
    switch_away(f, next);
}

static void fiber_yield(struct kith_co *co)
{
    struct kith__fiber *f = fiber_of(co);
    struct kith__worker *w = co->ctx->worker;
    list_push(f);
    struct kith__fiber *next = nobody_else(w, f->home) ? next_direct(w, f->home) : NULL;
    if (next != f)
        switch_away(f, next);
    else
        depth_note(f);
    if (co->owned)
        kith__co_sift(co);
}

const struct kith__co_ops kith__fiber_co_ops = {
    .suspend = fiber_suspend, .yield = fiber_yield, .ready = fiber_ready};

void kith__fiber_leave(struct kith__fiber *f)
{
    struct kith__ctx *ctx = f->co.ctx;
    f->co.current = ctx->current;
    ctx->current = NULL;
    f->ended = true;
    f->home->ended = f;
    kith__context_switch_last(&f->context, f->back);
}

/* ---- on the worker's stack ---- */

static void ran_long(struct kith__ctx *ctx, kith_time began, const struct kith__fiber_kind *kind)
{
    void *at = NULL;
    memcpy(&at, &kind->fn, sizeof at); /* a function's address */
    kith__slow_end(ctx, began, kind->behavior.name, NULL, at);
}

/* Runs f, and those that it switches to, until one of them switches back. */
static void run(struct kith__ctx *ctx, struct kith__fiber *f)
{
    struct kith__fibers *home = f->home;
    struct kith__context back;
    const struct kith__fiber_kind *kind = f->kind;
    kith_time began = kith__slow_begin(ctx);
    kith__context_here(&back);
    f->begins = false;
    enter(ctx, f, &back);
    kith__context_switch(&back, &f->context);
    if (KITH__UNLIKELY(began != 0))
        ran_long(ctx, began, kind);
    struct kith__fiber *ended = home->ended;
    if (ended == NULL)
        return;
    home->ended = NULL;
    if (kith__co_own(&ended->co)) /* R4 */
        kith__fiber_end(ctx, ended);
}

/* F1 */
static void settle(struct kith__ctx *ctx, struct kith__fiber *f)
{
    f->co.ctx = ctx;
    f->home = &ctx->rt->csp->fibers[ctx->worker->index];
    kith__task_place(f->co.task, ctx->worker->index);
    kith__overflow_here(ctx, &ctx->rt->csp->overflow);
}

static void sift_and_run(struct kith__ctx *ctx, struct kith__fiber *f)
{
    kith__co_sift(&f->co);
    f->co.woke |= KITH__WOKE_TURN;
    bool ready = f->begins || (f->co.woke & f->co.wants) != 0;
    if (ready && !f->queued) { /* R1 */
        run(ctx, f);
        return;
    }
    f->co.owned = false; /* R3 */
    if (!kith__inbox_rest(&f->co.task->inbox))
        kith__place(ctx, f->co.task);
}

static void fiber_turn(struct kith__ctx *ctx, struct kith_self *task)
{
    struct kith__fiber *f = task->state;
    ctx->running = task;
    if (KITH__UNLIKELY(f->co.ctx == NULL))
        settle(ctx, f);
    f->co.owned = true; /* R3 */
    if (KITH__UNLIKELY(f->ended))
        kith__fiber_end(ctx, f); /* R4 */
    else
        sift_and_run(ctx, f);
    ctx->running = NULL;
    if (KITH__UNLIKELY(kith__clock_due(ctx->worker)))
        kith__worker_clock(ctx->worker);
}

const struct kith__task_ops kith__fiber_ops = {.turn = fiber_turn};

/* The turn of the list: those that stand in it now. Where time may have a say in the order (not on the
 * loop) it ends when the clock is due, and the rest waits for the next one. Each that runs counts as a
 * turn, so that the watch does not take many short ones for a long one. */
static void list_turn(struct kith__ctx *ctx, struct kith_self *task)
{
    struct kith__fibers *home = (struct kith__fibers *)(void *)task;
    struct kith__worker *w = ctx->worker;
    struct kith__fiber *f;
    home->placed = false;
    home->turning = true; /* R6 */
    for (uint32_t n = home->count; n > 0 && (f = list_pop(home)) != NULL; n--) {
        run(ctx, f);
        if (KITH__UNLIKELY(kith__clock_due(w)))
            kith__worker_clock(w);
        if (KITH__UNLIKELY(w->clock_due && home->timed))
            break;
        kith__count(&w->turns);
    }
    home->turning = false;
    if (home->first != NULL)
        list_place(ctx, home);
    ctx->running = NULL;
}

static const struct kith__task_ops list_ops = {.turn = list_turn};

void kith__fibers_init(struct kith_runtime *rt, uint32_t index, struct kith__fibers *home)
{
    home->task.ops = &list_ops;
    kith__task_place(&home->task, index);
    home->timed = rt->config.executor == KITH_POOL;
    /* debug times each run by itself; the loop looks after each turn whether its home is wanted. */
    home->direct = !rt->config.debug && home->timed;
}
