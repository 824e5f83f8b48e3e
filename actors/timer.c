/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Timers of actors: messages to oneself, and the receive timeout. What a timer is: sched/timer.h.
 *
 * The receive timeout is one timer that is not set anew for each message: the end of a turn stamps
 * the time, and the timer, when it goes off, looks at the stamp and sleeps on for what is missing.
 */
#include "sched/timer.h"
#include "actors/actor.h"
#include "base/clock.h"
#include <kith/timer.h>
#include <string.h>

KITH_API const kith_type kith_type_kith_idle = {"kith_idle", sizeof(kith_idle), NULL};

static kith_timer error_timer(kith_err err)
{
    return (kith_timer){kith__bits_error((int)err)};
}

static kith_timer set(kith_self *self, kith_time deadline, kith_time period, const kith_type *type,
                      const void *body)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return error_timer(KITH_EPERM);
    if (!kith__type_ok(type) || body == NULL || deadline == KITH_FOREVER)
        return error_timer(KITH_EINVAL);
    if (kith__load_rlx(&ctx->rt->shutting_down) != 0)
        return error_timer(KITH_ESHUTDOWN);
    struct kith_msg *msg = kith__msg_make(ctx->cache, type->body_bytes);
    if (msg == NULL)
        return error_timer(KITH_ENOMEM);
    msg->type = type;
    memcpy(kith__msg_body(msg), body, type->body_bytes);
    struct kith__timer *timer = kith__timer_set(ctx, self, deadline, period, msg);
    if (timer == NULL) {
        kith__msg_free(ctx->cache, msg);
        return error_timer(KITH_ENOMEM);
    }
    return (kith_timer){kith__load_rlx(&timer->slot.bits)};
}

kith_timer kith_timer_at(kith_self *self, kith_time deadline, const kith_type *type,
                         const void *body)
{
    return set(self, deadline, 0, type, body);
}

kith_timer kith_timer_every(kith_self *self, kith_time period_ns, const kith_type *type,
                            const void *body)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return error_timer(KITH_EPERM);
    if (period_ns == 0 || (type != NULL && type->drop != NULL))
        return error_timer(KITH_EINVAL);
    return set(self, kith__time_add(ctx->rt->driver->now(), period_ns), period_ns, type, body);
}

kith_err kith_timer_cancel(kith_self *self, kith_timer timer)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return KITH_EPERM;
    if (kith__bits_kind(timer.bits) != KITH__KIND_TIMER)
        return KITH_EBADREF;
    struct kith__slot *slot = kith__handle_find(&ctx->rt->table, timer.bits);
    if (slot == NULL || kith__load_rlx(&slot->bits) != timer.bits)
        return KITH_EBADREF;
    struct kith__timer *found = kith__timer_find(ctx, self, timer.bits);
    if (found == NULL)
        return KITH_EPERM;
    kith__timer_end(ctx, self, found);
    return KITH_OK;
}

/* ---- the receive timeout ---- */

struct idle {
    struct kith__owned owned; /* the first thing that its task owns, so that it is found at once */
    kith_time idle_ns;
    kith_time since;
    uint64_t timer;
};

static void idle_release(struct kith__ctx *ctx, struct kith_self *owner, struct kith__owned *owned)
{
    owner->flags &= (uint8_t) ~(KITH__TASK_IDLE_TIMER | KITH__TASK_ACTIVE);
    kith__free(&ctx->rt->allocator, owned, sizeof(struct idle));
}

static struct idle *idle_of(struct kith_self *task)
{
    return (task->flags & KITH__TASK_IDLE_TIMER) != 0 ? (struct idle *)(void *)task->owned : NULL;
}

void kith__idle_stamp(struct kith__ctx *ctx, struct kith_self *task)
{
    task->flags &= (uint8_t)~KITH__TASK_ACTIVE;
    idle_of(task)->since = ctx->rt->driver->now();
}

static void idle_arm(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    struct idle *idle = idle_of(task);
    kith_time deadline = kith__time_add(idle->since, idle->idle_ns);
    if (deadline == KITH_FOREVER)
        deadline--;
    struct kith__timer *timer = kith__timer_set(ctx, task, deadline, 0, msg);
    idle->timer = timer != NULL ? kith__load_rlx(&timer->slot.bits) : 0;
    if (timer == NULL)
        kith__msg_free(ctx->cache, msg);
}

/* Hands a kith_idle to the handlers. It is no activity. */
static void idle_tell(struct kith__ctx *ctx, struct kith_self *task, kith_time idle_ns)
{
    struct kith_msg *msg = kith__msg_make(ctx->cache, sizeof(kith_idle));
    if (msg == NULL)
        return;
    msg->type = &kith_type_kith_idle;
    msg->sender = 0;
    msg->to_gen = kith__bits_gen(kith__task_bits(task));
    ((kith_idle *)kith__msg_body(msg))->idle_ns = idle_ns;
    kith__handle_ordinary(ctx, task, msg);
    task->flags &= (uint8_t)~KITH__TASK_ACTIVE;
}

static void idle_run(struct kith__ctx *ctx, struct kith_self *task, struct kith_msg *msg)
{
    struct idle *idle = idle_of(task);
    if (idle == NULL) {
        kith__msg_free(ctx->cache, msg);
        return;
    }
    kith_time now = ctx->rt->driver->now();
    bool silent = (task->flags & KITH__TASK_ACTIVE) == 0 && now - idle->since >= idle->idle_ns;
    if ((task->flags & KITH__TASK_ACTIVE) != 0 || silent)
        idle->since = now;
    idle_arm(ctx, task, msg);
    if (silent)
        idle_tell(ctx, task, idle->idle_ns);
}

static void idle_dead(struct kith__ctx *ctx, struct kith_msg *msg)
{
    kith__msg_free(ctx->cache, msg);
}

static const struct kith__internal idle_type = {
    .type = {"idle timer", 0, NULL},
    .run = idle_run,
    .dead = idle_dead,
};

static void idle_end(struct kith__ctx *ctx, struct kith_self *self)
{
    struct idle *idle = idle_of(self);
    if (idle == NULL)
        return;
    struct kith__timer *timer = kith__timer_find(ctx, self, idle->timer);
    if (timer != NULL)
        kith__timer_end(ctx, self, timer);
    kith__disown(self, &idle->owned);
    idle_release(ctx, self, &idle->owned);
}

static kith_err idle_begin(struct kith__ctx *ctx, struct kith_self *self, kith_time idle_ns)
{
    struct idle *idle = kith__alloc_zero(&ctx->rt->allocator, sizeof *idle, 16);
    struct kith_msg *msg = kith__msg_make(ctx->cache, 0);
    if (idle == NULL || msg == NULL) {
        kith__free(&ctx->rt->allocator, idle, sizeof *idle);
        if (msg != NULL)
            kith__msg_free(ctx->cache, msg);
        return KITH_ENOMEM;
    }
    idle->idle_ns = idle_ns;
    idle->since = ctx->rt->driver->now();
    idle->owned.release = idle_release;
    kith__own(self, &idle->owned);
    self->owned = &idle->owned;
    self->flags |= KITH__TASK_IDLE_TIMER;
    msg->type = &idle_type.type;
    msg->flags = KITH__MSG_INTERNAL;
    idle_arm(ctx, self, msg);
    if (idle->timer != 0)
        return KITH_OK;
    idle_end(ctx, self);
    return KITH_ENOMEM;
}

kith_err kith_receive_timeout(kith_self *self, kith_time idle_ns)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL || (self->flags & KITH__TASK_CO) != 0)
        return KITH_EPERM;
    if (kith__load_rlx(&ctx->rt->shutting_down) != 0)
        return KITH_ESHUTDOWN;
    idle_end(ctx, self);
    return idle_ns == 0 ? KITH_OK : idle_begin(ctx, self, idle_ns);
}
