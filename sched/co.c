/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Waiting and being woken: see co.h for the contract. Called by whatever may wait.
 *
 * A deadline is a timer only while its fiber is suspended, and that timer is left alone when the
 * next deadline is later: it then goes off too early, once, and is set again. So a fiber that waits
 * again and again with a deadline of a second sets one timer a second. (A thread waits for its
 * deadline by itself: actors/thread.c.)
 */
#include "sched/co.h"
#include "sched/timer.h"
#include "sched/worker.h"

/* ---- the messages that are part of a co ---- */

static void wake_run(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    (void)ctx;
    (void)msg;
    kith__co_of(task)->woke |= KITH__WOKE_FIRED;
}

/* A fiber is canceled by it; the main thread is told of a deadlock. */
static void stop_run(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    (void)msg;
    if ((task->flags & KITH__TASK_THREAD) == 0)
        kith__co_of(task)->woke |= KITH__WOKE_CANCEL;
    else if (kith__load_seq(&ctx->rt->deadlocked) != 0) /* seq DL3 */
        kith__co_of(task)->woke |= KITH__WOKE_DEADLOCK;
}

static void embedded_dead(struct kith__ctx *ctx, struct kith_msg *msg)
{
    (void)ctx;
    (void)msg;
}

static const struct kith__internal wake_type = {
    .type = {"wake", 0, NULL}, .run = wake_run, .dead = embedded_dead};
static const struct kith__internal stop_type = {
    .type = {"cancel", 0, NULL}, .run = stop_run, .dead = embedded_dead};

void kith__co_init(struct kith_co *co, struct kith_self *task, const struct kith__co_ops *ops)
{
    co->task = task;
    co->ops = ops;
    co->owned = true;
    co->deadline = KITH_FOREVER;
    co->alarm_at = KITH_FOREVER;
    co->wake.type = &wake_type.type;
    co->wake.flags = KITH__MSG_INTERNAL | KITH__MSG_EMBEDDED;
    co->wake.to_gen = kith__bits_gen(kith__task_bits(task));
    co->stop = co->wake;
    co->stop.type = &stop_type.type;
    co->stop.flags |= KITH__MSG_SIGNAL;
    task->state = co;
    task->flags |= KITH__TASK_CO;
}

static void push(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    if (kith__inbox_push(&task->inbox, msg) == KITH__PUSH_WOKE) {
        kith__queue_push(&task->pending, msg);
        kith__schedule(ctx, task);
    }
}

void kith__co_push(struct kith__ctx *ctx, struct kith_co *co, struct kith_msg *msg)
{
    push(ctx, co->task, msg);
}

void kith__co_fire(struct kith__ctx *ctx, struct kith_co *co)
{
    if (co->ctx != ctx || co->ops->ready == NULL) {
        push(ctx, co->task, &co->wake);
        return;
    }
    co->woke |= KITH__WOKE_FIRED; /* this thread is the only one that touches co */
    co->ops->ready(co);
}

void kith__co_cancel(struct kith__ctx *ctx, struct kith_co *co)
{
    if (kith__xchg_rlx(&co->stopped, 1) == 0) /* relaxed: who pushes is all that it decides */
        push(ctx, co->task, &co->stop);
}

/* ---- the alarm ---- */

static void alarm_set(struct kith_co *co);

static void alarm_run(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    struct kith_co *co = kith__co_of(task);
    kith__msg_free(ctx->cache, msg);
    co->alarm = 0;
    co->alarm_at = KITH_FOREVER;
    if (co->deadline == KITH_FOREVER)
        return;
    if (ctx->rt->driver->now() >= co->deadline)
        co->woke |= KITH__WOKE_TIME;
    else
        alarm_set(co);
}

static void alarm_dead(struct kith__ctx *ctx, struct kith_msg *msg)
{
    kith__msg_free(ctx->cache, msg);
}

static const struct kith__internal alarm_type = {
    .type = {"alarm", 0, NULL}, .run = alarm_run, .dead = alarm_dead};

static void alarm_end(struct kith_co *co)
{
    struct kith__timer *timer = kith__timer_find(co->ctx, co->task, co->alarm);
    if (timer != NULL)
        kith__timer_end(co->ctx, co->task, timer);
    co->alarm = 0;
    co->alarm_at = KITH_FOREVER;
}

/* The alarm goes off no later than the deadline. */
static void alarm_set(struct kith_co *co)
{
    if (co->deadline >= co->alarm_at)
        return;
    alarm_end(co);
    struct kith_msg *msg = kith__msg_make(co->ctx->cache, 0);
    struct kith__timer *timer = NULL;
    if (msg != NULL) {
        msg->type = &alarm_type.type;
        msg->flags = KITH__MSG_INTERNAL;
        timer = kith__timer_set(co->ctx, co->task, co->deadline, 0, msg);
        if (timer == NULL)
            kith__msg_free(co->ctx->cache, msg);
    }
    if (timer == NULL) {
        co->woke |= KITH__WOKE_NOMEM;
        return;
    }
    co->alarm = kith__load_rlx(&timer->slot.bits);
    co->alarm_at = co->deadline;
}

/* ---- sifting ---- */

static __attribute__((noinline)) void sift_special(struct kith_co *co, struct kith_msg *msg)
{
    struct kith__ctx *ctx = co->ctx;
    if (!kith__meant_for(co->task, msg)) {
        ctx->rt->upper->stray(ctx, 0, msg, KITH_EDEAD);
        return;
    }
    if ((msg->flags & KITH__MSG_TIMER) != 0) {
        msg = kith__timer_arrived(ctx, co->task, msg);
        if (msg == NULL)
            return;
    }
    if ((msg->flags & KITH__MSG_REPLY) != 0) {
        ctx->rt->upper->answer(ctx, co->task, msg);
    } else if ((msg->flags & KITH__MSG_INTERNAL) != 0) {
        kith__internal_of(msg)->run(ctx, co->task, msg);
    } else {
        kith__queue_push(&co->mail, msg);
        co->woke |= KITH__WOKE_MAIL;
    }
}

static inline void sift(struct kith_co *co, struct kith_msg *msg)
{
    if (msg == &co->wake) {
        co->woke |= KITH__WOKE_FIRED;
    } else if (KITH__LIKELY(kith__meant_for(co->task, msg) && msg->flags == 0)) {
        kith__queue_push(&co->mail, msg);
        co->woke |= KITH__WOKE_MAIL;
    } else {
        sift_special(co, msg);
    }
}

/* O5: somebody has woken the fiber that runs, so its task is about to have a turn. */
static void turn_await(struct kith_co *co)
{
    uint32_t wants = co->wants;
    co->wants = KITH__WOKE_TURN;
    co->woke &= ~(uint32_t)KITH__WOKE_TURN;
    while ((co->woke & KITH__WOKE_TURN) == 0)
        co->ops->suspend(co);
    co->wants = wants;
}

void kith__co_sift(struct kith_co *co)
{
    struct kith_self *task = co->task;
    struct kith_msg *msg;
    if (!kith__co_own(co)) {
        turn_await(co);
        return;
    }
    for (;;) {
        while ((msg = kith__queue_pop(&task->pending)) != NULL)
            sift(co, msg);
        if (!kith__inbox_has(&task->inbox))
            return;
        kith__queue_sort(&task->pending, kith__inbox_take(&task->inbox));
    }
}

/* The mail is older than what is pending. */
void kith__co_end(struct kith_co *co)
{
    struct kith_msg *msg;
    while ((msg = kith__queue_pop(&co->task->pending)) != NULL)
        kith__queue_push(&co->mail, msg);
    co->task->pending = co->mail;
    co->mail = NULL;
    alarm_end(co);
}

/* ---- waiting ---- */

/* What woke a co that did not get what it wanted. */
static kith_err reason_of(const struct kith_co *co, uint32_t woke)
{
    if ((woke & KITH__WOKE_CANCEL) != 0 && co->shield == 0)
        return KITH_ECANCELED;
    if ((woke & KITH__WOKE_DEADLOCK) != 0)
        return KITH_EDEADLK;
    if ((woke & KITH__WOKE_SHUTDOWN) != 0)
        return KITH_ESHUTDOWN;
    if ((woke & KITH__WOKE_TIME) != 0)
        return KITH_ETIMEOUT;
    return (woke & KITH__WOKE_NOMEM) != 0 ? KITH_ENOMEM : KITH_OK;
}

kith_err kith__co_interrupted(const struct kith_co *co)
{
    return reason_of(co, co->woke & (KITH__WOKE_CANCEL | KITH__WOKE_DEADLOCK));
}

void kith__co_spent(struct kith_co *co)
{
    if (kith__turn_over(co->ctx->worker))
        co->ops->yield(co);
}

static void suspend(struct kith_co *co)
{
    struct kith__worker *w = co->ctx->worker;
    if (w != NULL && co->deadline != KITH_FOREVER && (co->woke & co->wants) == 0)
        alarm_set(co);
    while ((co->woke & co->wants) == 0)
        co->ops->suspend(co);
}

kith_err kith__co_wait(struct kith_co *co, uint32_t wants, kith_time deadline, const char *where,
                       const void *what)
{
    co->woke &= ~(uint32_t)(KITH__WOKE_TIME | KITH__WOKE_NOMEM);
    co->wants = wants | KITH__WOKE_TIME | KITH__WOKE_ALWAYS;
    if (co->shield > 0)
        co->wants &= ~(uint32_t)KITH__WOKE_CANCEL;
    if (deadline == KITH_NOWAIT) {
        if (co->ops->glance != NULL)
            co->ops->glance(co);
        kith__co_sift(co);
        co->woke |= KITH__WOKE_TIME;
    }
    co->deadline = deadline;
    co->where = where;
    co->what = what;
    suspend(co);
    co->deadline = KITH_FOREVER;
    co->where = NULL;
    uint32_t woke = co->woke & co->wants;
    co->wants = 0;
    if ((woke & wants) == 0)
        return reason_of(co, woke);
    if (wants == KITH__WOKE_FIRED) /* beside others, the caller asks whether it was fired */
        co->woke &= ~(uint32_t)KITH__WOKE_FIRED;
    return KITH_OK;
}

void kith__co_wait_fired(struct kith_co *co)
{
    co->wants = KITH__WOKE_FIRED;
    suspend(co);
    co->wants = 0;
    co->woke &= ~(uint32_t)KITH__WOKE_FIRED;
}
