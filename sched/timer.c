/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Timers: the wheel of each worker, its lock, and the way from a due timer to its task's turn. See
 * timer.h for who may do what. The wheel itself (Varghese and Lauck, 1987) is sched/wheel.c.
 */
#include "sched/timer.h"
#include "base/clock.h"
#include "sched/post.h"
#include "sched/worker.h"
#include <string.h>

static struct kith__timer *of_owned(struct kith__owned *owned)
{
    return (struct kith__timer *)(void *)((char *)owned - offsetof(struct kith__timer, owned));
}

static struct kith__timer *of_node(struct kith__wheel_node *node)
{
    return (struct kith__timer *)(void *)((char *)node - offsetof(struct kith__timer, node));
}

/* Where the owner's other timers stand; else the worker that runs it. An outside thread has no
 * wheel: such threads are spread over the workers. */
static struct kith__worker *wheel_for(struct kith__ctx *ctx, struct kith_self *owner)
{
    if (owner->timers++ == 0 && (owner->flags & KITH__TASK_PLACED) == 0) {
        uint32_t spread = kith__bits_slot(kith__task_bits(owner)) % ctx->rt->worker_count;
        owner->wheel = (uint8_t)(ctx->worker != NULL ? ctx->worker->index : spread);
    }
    return &ctx->rt->workers[owner->wheel];
}

/* Under the timer lock: the earliest deadline; KITH_NOWAIT while some that are due wait to be sent. */
static kith_time next_deadline(const struct kith__worker *w)
{
    bool due = w->due.head.next != &w->due.head;
    return due ? KITH_NOWAIT : kith__wheel_next(&w->wheel);
}

static void next_publish(struct kith__worker *w)
{
    kith__store_rlx(&w->timer_next, next_deadline(w));
}

static void wheel_add(struct kith__worker *w, struct kith__timer *timer, struct kith_msg *msg)
{
    pthread_mutex_lock(&w->timer_lock);
    timer->msg = msg;
    kith__wheel_add(&w->wheel, &timer->node);
    next_publish(w);
    bool wake = timer->node.deadline < w->sleeps_to;
    pthread_mutex_unlock(&w->timer_lock);
    if (wake)
        w->ctx.rt->driver->wake(w);
}

/* Takes the timer out of the wheel; returns the message that waited in it, NULL if it is on its
 * way. */
static struct kith_msg *wheel_remove(struct kith__timer *timer)
{
    struct kith__worker *w = timer->worker;
    pthread_mutex_lock(&w->timer_lock);
    struct kith_msg *msg = timer->msg;
    kith__wheel_remove(&w->wheel, &timer->node);
    timer->msg = NULL;
    next_publish(w); /* or a deadlock goes unseen: it would seem that a timer is set (DL1) */
    pthread_mutex_unlock(&w->timer_lock);
    return msg;
}

static void timer_free(struct kith__ctx *ctx, struct kith_self *owner, struct kith__timer *timer)
{
    owner->timers--;
    kith__slot_kill(&timer->slot);
    kith__slot_free(&ctx->rt->table, &ctx->slots, KITH__CLASS_TIMER, &timer->slot);
    kith__count(&ctx->counters.timers_ended);
}

static void timer_msg_end(struct kith__ctx *ctx, struct kith_msg *msg)
{
    if (msg == NULL)
        return;
    if ((msg->flags & KITH__MSG_INTERNAL) != 0)
        kith__internal_of(msg)->dead(ctx, msg);
    else
        kith__msg_end(ctx->cache, msg);
}

static void timer_release(struct kith__ctx *ctx, struct kith_self *owner, struct kith__owned *owned)
{
    struct kith__timer *timer = of_owned(owned);
    timer_msg_end(ctx, wheel_remove(timer));
    timer_free(ctx, owner, timer);
}

struct kith__timer *kith__timer_set(struct kith__ctx *ctx, struct kith_self *owner,
                                    kith_time deadline, kith_time period, struct kith_msg *msg)
{
    struct kith__slot *slot =
        kith__slot_alloc(&ctx->rt->table, &ctx->slots, KITH__CLASS_TIMER, KITH__KIND_TIMER,
                         (sizeof(struct kith__timer) + 63) / 64 * 64);
    if (slot == NULL)
        return NULL;
    struct kith__timer *timer = (struct kith__timer *)(void *)slot;
    uint64_t bits = kith__slot_bits(&ctx->rt->table, slot, KITH__KIND_TIMER);
    timer->node = (struct kith__wheel_node){.deadline = deadline};
    timer->worker = wheel_for(ctx, owner);
    timer->period = period;
    timer->owner = kith__task_bits(owner);
    timer->owned.release = timer_release;
    kith__own(owner, &timer->owned);
    kith__store_rlx(&slot->bits, bits); /* relaxed: looked up by the owner only */
    msg->sender = bits;
    msg->flags |= KITH__MSG_TIMER;
    kith__count(&ctx->counters.timers_set);
    wheel_add(timer->worker, timer, msg);
    return timer;
}

struct kith__timer *kith__timer_find(struct kith__ctx *ctx, const struct kith_self *owner,
                                     uint64_t bits)
{
    if (kith__bits_kind(bits) != KITH__KIND_TIMER)
        return NULL;
    struct kith__slot *slot = kith__handle_find(&ctx->rt->table, bits);
    if (slot == NULL || kith__load_rlx(&slot->bits) != bits)
        return NULL;
    struct kith__timer *timer = (struct kith__timer *)(void *)slot;
    return timer->owner == kith__task_bits(owner) ? timer : NULL;
}

void kith__timer_end(struct kith__ctx *ctx, struct kith_self *owner, struct kith__timer *timer)
{
    kith__disown(owner, &timer->owned);
    timer_release(ctx, owner, &timer->owned);
}

/* The next deadline after now that is a whole number of periods from the last one. */
static kith_time next_tick(const struct kith__timer *timer, kith_time now)
{
    kith_time late = now > timer->node.deadline ? now - timer->node.deadline : 0;
    return kith__time_add(timer->node.deadline, (late / timer->period + 1) * timer->period);
}

static struct kith_msg *copy_of(struct kith__ctx *ctx, const struct kith_msg *msg)
{
    struct kith_msg *copy = kith__msg_make(ctx->cache, msg->type->body_bytes);
    if (copy == NULL)
        return NULL;
    copy->type = msg->type;
    copy->to_gen = msg->to_gen;
    copy->flags = msg->flags & (uint8_t)~KITH__MSG_TIMER;
    memcpy(copy + 1, msg + 1, msg->type->body_bytes);
    return copy;
}

struct kith_msg *kith__timer_arrived(struct kith__ctx *ctx, struct kith_self *owner,
                                     struct kith_msg *msg)
{
    struct kith__timer *timer = kith__timer_find(ctx, owner, msg->sender);
    if (timer == NULL) {
        timer_msg_end(ctx, msg);
        return NULL;
    }
    struct kith_msg *handled = msg;
    if (timer->period == 0) {
        kith__disown(owner, &timer->owned);
        timer_free(ctx, owner, timer);
        msg->flags &= (uint8_t)~KITH__MSG_TIMER;
    } else {
        handled = copy_of(ctx, msg);
        timer->node.deadline = next_tick(timer, ctx->rt->driver->now());
        wheel_add(timer->worker, timer, msg);
    }
    if (handled != NULL)
        handled->sender = kith__task_bits(owner);
    return handled;
}

/* How many are sent at a time, so that a million with one deadline do not keep a worker. */
#define FIRE_MAX 512

/* Sends what is due, in order, under the lock, so that nobody fires later timers first. Returns the
 * messages that found nobody, linked. */
static struct kith_msg *fire_due(struct kith__worker *w, struct kith__worker *of, kith_time now)
{
    struct kith_msg *left = NULL;
    kith__wheel_expire(&of->wheel, now, &of->due);
    for (int i = 0; i < FIRE_MAX; i++) {
        struct kith__wheel_node *node = kith__wheel_take(&of->due);
        if (node == NULL)
            break;
        struct kith__timer *timer = of_node(node);
        struct kith_msg *msg = timer->msg;
        timer->msg = NULL;
        if (kith__post(&w->ctx, timer->owner, msg) == KITH_OK)
            continue;
        msg->next = left;
        left = msg;
    }
    next_publish(of);
    return left;
}

void kith__timers_run(struct kith__worker *w, struct kith__worker *of, kith_time now)
{
    /* relaxed: a worker sees its own; a timer that another thread set just now wakes it, or is
     * seen the next time it looks. */
    if (kith__load_rlx(&of->timer_next) > now)
        return;
    pthread_mutex_lock(&of->timer_lock);
    struct kith_msg *left = fire_due(w, of, now);
    pthread_mutex_unlock(&of->timer_lock);
    struct kith_self *last = kith__slot_take(w); /* which would else run before the others */
    if (last != NULL)
        kith__enqueue(w, last);
    while (left != NULL) {
        struct kith_msg *next = left->next;
        timer_msg_end(&w->ctx, left);
        left = next;
    }
}

kith_time kith__timers_sleep(struct kith__worker *w)
{
    pthread_mutex_lock(&w->timer_lock);
    w->sleeps_to = next_deadline(w);
    kith_time deadline = w->sleeps_to;
    pthread_mutex_unlock(&w->timer_lock);
    return deadline;
}

void kith__timers_woke(struct kith__worker *w)
{
    pthread_mutex_lock(&w->timer_lock);
    w->sleeps_to = 0;
    pthread_mutex_unlock(&w->timer_lock);
}
