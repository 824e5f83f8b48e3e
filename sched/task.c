/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Making a task and freeing one. Called by actors/life.c, actors/thread.c and csp/fiber.c, on the
 * thread that makes it, or in its last turn.
 *
 * The state stands behind the task, in the same slot, up to state_max bytes; a larger one is an
 * allocation of its own. A task is found by nobody before its handle gets out.
 */
#include "sched/runtime.h"
#include <string.h>

#define STATE_INLINE_MAX ((size_t)KITH__ACTOR_CLASSES * 64 - KITH__TASK_BYTES)

/* All slots of tasks with a bounded mailbox are of one size. */
#define BOUNDED_BYTES ((size_t)256)
#define BOUNDED_STATE_MAX (BOUNDED_BYTES - KITH__TASK_BYTES - KITH__BOUND_BYTES)

/* How much state stands in a slot of this class. */
static size_t state_max(unsigned cls)
{
    return cls == KITH__CLASS_BOUNDED ? BOUNDED_STATE_MAX : STATE_INLINE_MAX;
}

static bool state_give(struct kith__ctx *ctx, struct kith_self *task, unsigned cls, size_t bytes)
{
    task->state = (char *)(task + 1) + (cls == KITH__CLASS_BOUNDED ? KITH__BOUND_BYTES : 0);
    if (bytes > state_max(cls)) {
        task->state = kith__alloc_zero(&ctx->rt->allocator, bytes, 16);
        return task->state != NULL;
    }
    memset(task->state, 0, bytes);
    return true;
}

static void fields_clear(struct kith_self *task, const struct kith__task_ops *ops, unsigned cls)
{
    task->pending = NULL;
    task->ops = ops;
    task->flags = 0;
    kith__store_rlx(&task->cls, (uint8_t)cls); /* relaxed: what stands there is the same */
    task->reason = KITH_OK;
    task->owned = NULL;
    task->watchers = NULL;
    task->waiting = 0;
    task->busy_level = 0;
    task->timers = 0;
}

static struct kith_self *make(struct kith__ctx *ctx, const struct kith__task_ops *ops,
                              const void *behavior, size_t state_bytes, unsigned cls,
                              uint32_t slot_bytes)
{
    struct kith__slot *slot =
        kith__slot_alloc(&ctx->rt->table, &ctx->slots, cls, KITH__KIND_ACTOR, slot_bytes);
    if (slot == NULL)
        return NULL;
    struct kith_self *task = (struct kith_self *)(void *)slot;
    fields_clear(task, ops, cls);
    kith__store_rlx(&task->behavior, behavior);
    if (!state_give(ctx, task, cls, state_bytes)) {
        kith__slot_free(&ctx->rt->table, &ctx->slots, cls, slot);
        return NULL;
    }
    /* release H-END; pairs with kith__post_ended: what the slot's lives before did. */
    kith__store_rel(&slot->bits, kith__slot_bits(&ctx->rt->table, slot, KITH__KIND_ACTOR));
    return task;
}

struct kith_self *kith__task_new(struct kith__ctx *ctx, const struct kith__task_ops *ops,
                                 const void *behavior, size_t state_bytes)
{
    size_t bytes = KITH__TASK_BYTES + (state_bytes > STATE_INLINE_MAX ? 0 : state_bytes);
    unsigned cls = (unsigned)((bytes + 63) / 64) - 1;
    return make(ctx, ops, behavior, state_bytes, cls, (cls + 1) * 64);
}

struct kith_self *kith__task_new_bounded(struct kith__ctx *ctx, const struct kith__task_ops *ops,
                                         const void *behavior, size_t state_bytes)
{
    return make(ctx, ops, behavior, state_bytes, KITH__CLASS_BOUNDED, BOUNDED_BYTES);
}

void kith__task_free(struct kith__ctx *ctx, struct kith_self *task, size_t state_bytes)
{
    unsigned cls = kith__load_rlx(&task->cls);
    if (state_bytes > state_max(cls))
        kith__free(&ctx->rt->allocator, task->state, state_bytes);
    kith__slot_free(&ctx->rt->table, &ctx->slots, cls, &task->slot);
}

kith_err kith__task_parent(struct kith__ctx *ctx, uint64_t asked, uint64_t *parent)
{
    *parent = asked != 0 ? asked : kith__task_bits(ctx->running);
    if (asked == 0)
        return KITH_OK;
    if (kith__bits_tag(asked) != ctx->rt->actor_tag)
        return KITH_EBADREF;
    struct kith__slot *slot = kith__handle_find(&ctx->rt->table, asked);
    if (slot == NULL)
        return KITH_EBADREF;
    if (kith__load_rlx(&slot->bits) == asked)
        return KITH_OK;
    return kith__slot_was(&ctx->rt->table, slot, asked) ? KITH_EDEAD : KITH_EBADREF;
}
