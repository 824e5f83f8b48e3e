/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Scopes: fibers that end before whoever started them goes on (Trio's nurseries, Kotlin's
 * coroutineScope, libdill's bundles).
 *
 * Called by: the scope's maker, its fibers, and the ends of both (csp/fiber.c, actors/thread.c).
 *
 * Invariants
 *  SC1. A fiber stands in one of the scope's two lists from before its first turn until before_end,
 *       in its last turn, has taken it out. Who cancels it does so under the lock while it stands
 *       there: so it cancels a co that lives, once.
 *  SC2. `alive` counts the fibers until on_end: one that is counted has perhaps gone from the
 *       lists, but its stack, descriptors and messages may not have. Whoever takes the last off
 *       fires the leaver, and touches the scope no more after it has unlocked: the leaver frees it.
 *  SC3. A scope that is canceled takes no new fiber; one whose start the cancellation overtook is
 *       canceled by its starter. So moving all from `running` to `told` reaches everybody.
 *  SC4. `reason` is what came first: a failure or what interrupted the leaver.
 *
 * Threads: all under the lock, but `owner` (constant) and `outer` (the owner's).
 *
 * Why two lists: a hundred thousand are canceled a few at a time, so that those who end meanwhile
 * do not wait long for the lock, and no place in a list has to be remembered. Why links in the
 * fiber: a start in a scope needs no memory of its own.
 */
#include "csp/scope.h"
#include "base/alloc.h"
#include "csp/fiber.h"
#include "csp/lock.h"
#include <kith/scope.h>

#define CANCELED_AT_ONCE 16u

struct kith_scope {
    struct kith__lock lock;
    uint32_t alive;
    bool canceled;
    kith_err reason;
    struct kith_co *leaver;
    struct kith__sibling running; /* heads of circular lists */
    struct kith__sibling told;    /* those who are canceled */
    struct kith_co *owner;
    struct kith_scope *outer;
};

/* ---- the lists ---- */

static void list_init(struct kith__sibling *head)
{
    head->next = head->prev = head;
}

static void list_add(struct kith__sibling *head, struct kith__sibling *link)
{
    link->next = head;
    link->prev = head->prev;
    head->prev->next = link;
    head->prev = link;
}

static void list_remove(struct kith__sibling *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
}

static struct kith__fiber *fiber_at(struct kith__sibling *link)
{
    return (struct kith__fiber *)(void *)((char *)link - offsetof(struct kith__fiber, sibling));
}

/* ---- canceling ---- */

/* Under the lock. */
static void tell(struct kith__ctx *ctx, kith_scope *scope, struct kith__fiber *fiber)
{
    list_remove(&fiber->sibling);
    list_add(&scope->told, &fiber->sibling);
    kith__co_cancel(ctx, &fiber->co); /* SC1 */
}

/* The caller keeps the scope: its owner, or somebody who is counted. */
static void cancel_all(struct kith__ctx *ctx, kith_scope *scope, kith_err reason)
{
    kith__lock_enter(&scope->lock, ctx);
    scope->canceled = true;
    if (scope->reason == KITH_OK) /* SC4 */
        scope->reason = reason;
    for (uint32_t n = 1; scope->running.next != &scope->running; n++) {
        tell(ctx, scope, fiber_at(scope->running.next));
        if (n % CANCELED_AT_ONCE == 0) {
            kith__lock_leave(&scope->lock, ctx);
            kith__lock_enter(&scope->lock, ctx);
        }
    }
    kith__lock_leave(&scope->lock, ctx);
}

kith_err kith_scope_cancel(kith_self *self, kith_scope *scope)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return KITH_EPERM;
    if (scope == NULL)
        return KITH_EINVAL;
    cancel_all(ctx, scope, KITH_OK);
    return KITH_OK;
}

/* ---- a fiber's end ---- */

static void discount(struct kith__ctx *ctx, kith_scope *scope)
{
    struct kith_co *leaver = NULL;
    kith__lock_enter(&scope->lock, ctx);
    if (--scope->alive == 0) {
        leaver = scope->leaver;
        scope->leaver = NULL;
    }
    kith__lock_leave(&scope->lock, ctx); /* SC2 */
    if (leaver != NULL)
        kith__co_fire(ctx, leaver);
}

static void child_ends(struct kith__ctx *ctx, struct kith__fiber *fiber)
{
    kith_scope *scope = fiber->on_end_arg;
    kith__lock_enter(&scope->lock, ctx);
    list_remove(&fiber->sibling);
    kith__lock_leave(&scope->lock, ctx);
}

static void child_ended(struct kith__ctx *ctx, void *arg, kith_err failed)
{
    kith_scope *scope = arg;
    if (failed != KITH_OK && failed != KITH_ECANCELED)
        cancel_all(ctx, scope, failed);
    discount(ctx, scope);
}

/* ---- starting ---- */

/* Counts a fiber that is to come. */
static bool admit(struct kith__ctx *ctx, kith_scope *scope)
{
    kith__lock_enter(&scope->lock, ctx);
    bool open = !scope->canceled; /* SC3 */
    scope->alive += open;
    kith__lock_leave(&scope->lock, ctx);
    return open;
}

static kith_ref child_start(struct kith__ctx *ctx, kith_scope *scope, struct kith__fiber *fiber)
{
    fiber->before_end = child_ends;
    fiber->on_end = child_ended;
    fiber->on_end_arg = scope;
    kith__lock_enter(&scope->lock, ctx);
    list_add(&scope->running, &fiber->sibling);
    kith_ref ref = kith__fiber_start(ctx, fiber); /* it cannot end before we unlock: SC1 */
    if (scope->canceled)                          /* SC3 */
        tell(ctx, scope, fiber);
    kith__lock_leave(&scope->lock, ctx);
    return ref;
}

kith_ref kith_scope_go_named(kith_self *self, kith_scope *scope, kith_fiber_fn *fn, void *arg,
                             const char *name, const kith_fiber_options *options)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return (kith_ref){kith__bits_error(KITH_EPERM)};
    if (scope == NULL)
        return (kith_ref){kith__bits_error(KITH_EINVAL)};
    if (!admit(ctx, scope))
        return (kith_ref){kith__bits_error(KITH_ECANCELED)};
    kith_fiber_options mine = {0};
    if (options != NULL)
        mine = *options;
    if (mine.parent.bits == 0)
        mine.parent.bits = kith__task_bits(scope->owner->task);
    kith_err err;
    struct kith__fiber *fiber = kith__fiber_new(ctx, fn, arg, name, &mine, &err);
    if (fiber != NULL)
        return child_start(ctx, scope, fiber);
    discount(ctx, scope);
    return (kith_ref){kith__bits_error(err)};
}

/* ---- making and leaving ---- */

kith_scope *kith_scope_new(kith_co *co)
{
    if (!kith__co_here(co))
        return NULL;
    kith_scope *scope = kith__alloc_zero(&co->ctx->rt->allocator, sizeof *scope, 16);
    if (scope == NULL)
        return NULL;
    list_init(&scope->running);
    list_init(&scope->told);
    scope->owner = co;
    scope->outer = co->scopes;
    co->scopes = scope;
    return scope;
}

/* Whether it was one of co's. */
static bool close(struct kith_co *co, const kith_scope *scope)
{
    struct kith_scope **at = &co->scopes;
    while (*at != NULL && *at != scope)
        at = &(*at)->outer;
    if (*at == NULL)
        return false;
    *at = scope->outer;
    return true;
}

/* Whether there is somebody to wait for, who will then fire co. */
static bool must_wait(struct kith_co *co, kith_scope *scope)
{
    kith__lock_enter(&scope->lock, co->ctx);
    bool waits = scope->alive > 0;
    if (waits)
        scope->leaver = co;
    kith__lock_leave(&scope->lock, co->ctx);
    return waits;
}

static kith_err scope_free(struct kith_co *co, kith_scope *scope)
{
    kith_err reason = scope->reason;
    kith__free(&co->ctx->rt->allocator, scope, sizeof *scope);
    return reason;
}

/* Cancels all and waits for their end, which nothing interrupts. */
static kith_err leave_at_once(struct kith_co *co, kith_scope *scope, kith_err reason)
{
    cancel_all(co->ctx, scope, reason);
    if (must_wait(co, scope))
        kith__co_wait_fired(co);
    return scope_free(co, scope);
}

kith_err kith_scope_leave_by(kith_co *co, kith_scope *scope, kith_time deadline)
{
    if (!kith__co_here(co) || !close(co, scope))
        return KITH_EPERM;
    kith__co_spend(co);
    kith_err err = kith__co_may_wait(co);
    if (err != KITH_OK)
        return leave_at_once(co, scope, err);
    if (!must_wait(co, scope))
        return scope_free(co, scope);
    err = kith__co_wait(co, KITH__WOKE_FIRED, deadline, "kith_scope_leave", scope);
    if (err != KITH_OK) {
        cancel_all(co->ctx, scope, err);
        kith__co_wait_fired(co); /* O2 of co.h: still the leaver, or fired just now */
    }
    return scope_free(co, scope);
}

kith_err kith_scope_leave(kith_co *co, kith_scope *scope)
{
    return kith_scope_leave_by(co, scope, KITH_FOREVER);
}

void kith__scopes_abandon(struct kith_co *co)
{
    kith_scope *scope;
    while ((scope = co->scopes) != NULL) {
        struct kith_runtime *rt = co->ctx->rt;
        co->scopes = scope->outer;
        const void *behavior = kith__load_rlx(&co->task->behavior);
        kith__log(&rt->log, KITH_LOG_ERROR,
                  "%s has ended without leaving a scope: the scope's fibers are canceled",
                  rt->upper->name_of(behavior));
        leave_at_once(co, scope, KITH_ECANCELED);
    }
}
