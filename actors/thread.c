/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Attached threads: threads that are no workers, with a reference, an inbox and a kith_co. What may
 * wait (receive, ask, sleep) blocks the thread here.
 *
 * Invariants
 *  C1. The thread owns its task while it runs: its inbox is EMPTY or a list then. Before it waits it
 *      rests (IDLE); whoever wakes it owns the task until it has set `ready` under the lock.
 *  C2. A thread whose deadline passes takes its inbox back from IDLE by a compare-and-swap; if that
 *      fails, somebody has woken it, and `ready` is on its way.
 *  C3. The waker signals under the lock and touches nothing after it has unlocked, so the thread may
 *      detach and free the co at once.
 */
#include "actors/actor.h"
#include "base/clock.h"
#include "sched/timer.h"
#include <kith/co.h>
#include <string.h>

/* ---- waiting ---- */

static void thread_wake(struct kith_self *task)
{
    struct kith_co *co = task->state;
    pthread_mutex_lock(&co->lock);
    co->ready = true;
    pthread_cond_signal(&co->changed);
    pthread_mutex_unlock(&co->lock); /* C3 */
}

const struct kith__task_ops kith__thread_ops = {.wake = thread_wake};

/* Waits for ready until deadline; false if it passed first. */
static bool ready_wait(struct kith_co *co, kith_time deadline)
{
    struct timespec at = kith__timespec_of(deadline);
    int err = 0;
    pthread_mutex_lock(&co->lock);
    while (!co->ready && err == 0)
        err = deadline == KITH_FOREVER ? pthread_cond_wait(&co->changed, &co->lock)
                                       : pthread_cond_timedwait(&co->changed, &co->lock, &at);
    bool ready = co->ready;
    co->ready = false;
    pthread_mutex_unlock(&co->lock);
    return ready;
}

/* Rests until something comes. False if the deadline passed first. */
static bool sleep_until(struct kith_co *co, kith_time deadline)
{
    struct kith_self *task = co->task;
    kith__msg_cache_flush(co->ctx.cache);
    if (!kith__inbox_rest(&task->inbox) || ready_wait(co, deadline))
        return true;
    uintptr_t seen = KITH__INBOX_IDLE;
    if (kith__cas_acq(&task->inbox, &seen, KITH__INBOX_EMPTY)) /* acquire M4, as a push does */
        return false;
    return ready_wait(co, KITH_FOREVER); /* C2 */
}

static struct kith_msg *next_msg(struct kith_self *task)
{
    if (kith__inbox_has(&task->inbox))
        kith__queue_sort(&task->pending, kith__inbox_take(&task->inbox));
    return kith__queue_pop(&task->pending);
}

/* Handles what is kith's own; returns a message that is the program's, or NULL. */
static struct kith_msg *sift(struct kith_co *co, struct kith_msg *msg)
{
    struct kith__ctx *ctx = &co->ctx;
    if (!kith__meant_for(co->task, msg)) {
        kith__dead_letter(ctx, 0, msg, KITH_EDEAD);
        return NULL;
    }
    if ((msg->flags & KITH__MSG_TIMER) != 0)
        msg = kith__timer_arrived(ctx, co->task, msg);
    if (msg == NULL)
        return NULL;
    if ((msg->flags & KITH__MSG_REPLY) != 0)
        kith__answer_arrived(ctx, co->task, msg);
    else if ((msg->flags & KITH__MSG_INTERNAL) != 0)
        kith__internal_of(msg)->run(ctx, co->task, msg);
    else
        return msg;
    return NULL;
}

/* What a wait is for. */
enum want { WANT_MESSAGE, WANT_ANSWER, WANT_NOTHING };

/* Sifts what has come, up to the first message if one is wanted; others are kept in *aside. */
static struct kith_msg *sift_all(struct kith_co *co, enum want want, struct kith_msg **aside)
{
    struct kith_msg *msg;
    while ((msg = next_msg(co->task)) != NULL) {
        msg = sift(co, msg);
        if (msg != NULL && want == WANT_MESSAGE)
            return msg;
        if (msg != NULL)
            kith__queue_push(aside, msg);
        if (want == WANT_ANSWER && co->asked == 0)
            return NULL;
    }
    return NULL;
}

/* What was put aside comes before what is pending. */
static void aside_return(struct kith_self *task, struct kith_msg *aside)
{
    if (aside == NULL)
        return;
    struct kith_msg *msg;
    while ((msg = kith__queue_pop(&task->pending)) != NULL)
        kith__queue_push(&aside, msg);
    task->pending = aside;
}

static kith_err wait_for(struct kith_co *co, enum want want, kith_time deadline,
                         struct kith_msg **out)
{
    struct kith_msg *aside = NULL;
    kith_err err = KITH_OK;
    for (;;) {
        struct kith_msg *msg = sift_all(co, want, &aside);
        if (out != NULL)
            *out = msg;
        if (msg != NULL || (want == WANT_ANSWER && co->asked == 0))
            break;
        if (kith__load_acq(&co->ctx.rt->shutting_down) != 0) /* S1 */
            err = KITH_ESHUTDOWN;
        else if (!sleep_until(co, deadline))
            err = KITH_ETIMEOUT;
        if (err != KITH_OK)
            break;
    }
    aside_return(co->task, aside);
    return err;
}

/* ---- the calls ---- */

static bool is_here(const struct kith_co *co)
{
    return co != NULL && kith__ctx_here == &co->ctx;
}

kith_self *kith_co_self(kith_co *co)
{
    return is_here(co) ? co->task : NULL;
}

kith_err kith_receive(kith_co *co, kith_time deadline, kith_msg **msg)
{
    if (msg == NULL)
        return KITH_EINVAL;
    *msg = NULL;
    if (!is_here(co))
        return KITH_EPERM;
    kith__current_end(&co->ctx);
    kith_err err = wait_for(co, WANT_MESSAGE, deadline, msg);
    if (err == KITH_OK) {
        (*msg)->flags = 0;
        co->ctx.current = *msg;
    }
    return err;
}

static kith_err answer_wait(struct kith_co *co, kith_time deadline, kith_msg **reply)
{
    kith_err err = wait_for(co, WANT_ANSWER, deadline, NULL);
    if (err != KITH_OK) {
        kith__ask_give_up(co);
        return err;
    }
    *reply = co->answer;
    co->ctx.current = co->answer;
    co->answer = NULL;
    return co->answer_status;
}

kith_err kith_ask_copy(kith_co *co, kith_ref to, kith_time deadline, kith_msg **reply,
                       const kith_type *type, const void *body)
{
    if (reply != NULL)
        *reply = NULL;
    if (reply == NULL || !kith__type_ok(type) || body == NULL)
        return KITH_EINVAL;
    if (!is_here(co))
        return KITH_EPERM;
    if (kith__bits_kind(to.bits) != KITH__KIND_ACTOR)
        return KITH_EBADREF; /* a question cannot be asked */
    if (type->body_bytes > KITH_MESSAGE_BYTES_MAX)
        return KITH_EMSGSIZE;
    struct kith_msg *msg = kith__msg_make(co->ctx.cache, type->body_bytes);
    if (msg == NULL)
        return KITH_ENOMEM;
    msg->type = type;
    memcpy(kith__msg_body(msg), body, type->body_bytes); /* body may lie in the message in hand */
    kith__current_end(&co->ctx);
    kith_err err = kith__ask_block(co, to.bits, msg);
    return err != KITH_OK ? err : answer_wait(co, deadline, reply);
}

kith_err kith_sleep(kith_co *co, kith_time deadline)
{
    if (!is_here(co))
        return KITH_EPERM;
    if (deadline == KITH_FOREVER)
        return KITH_EINVAL;
    struct kith_runtime *rt = co->ctx.rt;
    kith_err err = KITH_ETIMEOUT;
    while (err == KITH_ETIMEOUT && rt->driver->now() < deadline)
        err = wait_for(co, WANT_NOTHING, deadline, NULL);
    return err == KITH_ETIMEOUT ? KITH_OK : err;
}

/* ---- attach and detach ---- */

static kith_err co_open(struct kith_runtime *rt, struct kith_co *co)
{
    co->ctx.rt = rt;
    co->ctx.cache = kith__msg_cache_enter(&rt->messages);
    if (co->ctx.cache == NULL)
        return KITH_EAGAIN;
    kith__random_seed(&co->ctx.random,
                      rt->config.seed + KITH_WORKERS_MAX + kith__add_rlx(&rt->attaches, 1));
    co->task = kith__task_new(&co->ctx, &kith__thread_ops, NULL, 0);
    if (co->task == NULL) {
        kith__msg_cache_leave(co->ctx.cache);
        return KITH_ENOMEM;
    }
    co->task->state = co;
    co->task->flags = KITH__TASK_THREAD;
    kith__store_rlx(&co->task->parent, 0);
    pthread_mutex_init(&co->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&co->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    co->ctx.running = co->task;
    return KITH_OK;
}

static void co_list(struct kith_runtime *rt, struct kith_co *co)
{
    struct kith__actors *actors = kith__actors_of(rt);
    pthread_mutex_lock(&rt->lock);
    co->next = actors->cos;
    actors->cos = co;
    co->ctx.next = rt->contexts;
    rt->contexts = &co->ctx;
    rt->attached++;
    pthread_mutex_unlock(&rt->lock);
}

/* Out of the lists, but still counted as attached. */
static void co_unlist(struct kith_runtime *rt, struct kith_co *co)
{
    struct kith_co **at = &kith__actors_of(rt)->cos;
    struct kith__ctx **ctx = &rt->contexts;
    pthread_mutex_lock(&rt->lock);
    while (*at != co)
        at = &(*at)->next;
    *at = co->next;
    while (*ctx != &co->ctx)
        ctx = &(*ctx)->next;
    *ctx = co->ctx.next;
    kith__counters_add(&rt->left, &co->ctx.counters);
    pthread_mutex_unlock(&rt->lock);
}

static void co_free(struct kith_runtime *rt, struct kith_co *co)
{
    pthread_cond_destroy(&co->changed);
    pthread_mutex_destroy(&co->lock);
    kith__free(&rt->allocator, co, sizeof *co);
}

/* The last access to the runtime: a shutdown may free it as soon as the lock is free. */
static void uncount(struct kith_runtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    rt->attached--;
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->lock);
}

kith_err kith__attach(struct kith_runtime *rt, struct kith_co **out)
{
    struct kith_co *co = kith__alloc_zero(&rt->allocator, sizeof *co, 64);
    if (co == NULL)
        return KITH_ENOMEM;
    kith_err err = co_open(rt, co);
    if (err != KITH_OK) {
        kith__free(&rt->allocator, co, sizeof *co);
        return err;
    }
    co_list(rt, co);
    kith__ctx_here = &co->ctx;
    kith__inbox_open(&co->task->inbox, KITH__INBOX_EMPTY);
    *out = co;
    return KITH_OK;
}

void kith__detach(struct kith_co *co)
{
    struct kith_runtime *rt = co->ctx.rt;
    kith__current_end(&co->ctx);
    co->task->reason = co->failed;
    kith__task_end(&co->ctx, co->task);
    kith__slot_cache_drain(&rt->table, &co->ctx.slots);
    kith__msg_cache_leave(co->ctx.cache);
    kith__ctx_here = NULL;
    co_unlist(rt, co);
    co_free(rt, co);
    uncount(rt);
}

kith_err kith_attach(kith_runtime *runtime, kith_self **self, kith_co **co)
{
    if (self == NULL || !kith__runtime_lives(runtime))
        return KITH_EINVAL;
    if (kith__ctx_here != NULL)
        return KITH_EPERM;
    if (kith__load_acq(&runtime->shutting_down) != 0) /* S1 */
        return KITH_ESHUTDOWN;
    struct kith_co *made;
    kith_err err = kith__attach(runtime, &made);
    if (err != KITH_OK)
        return err;
    *self = made->task;
    if (co != NULL)
        *co = made;
    return KITH_OK;
}

kith_err kith_detach(kith_self *self)
{
    if (kith__ctx_of(self) == NULL || kith__co_of(self) == NULL)
        return KITH_EPERM;
    kith__detach(kith__co_of(self));
    return KITH_OK;
}
