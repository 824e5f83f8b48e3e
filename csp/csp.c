/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The csp layer's part of a runtime: stacks, and the kinds of fibers for logs and statistics.
 *
 * Invariant
 *  KI1. A kind is complete before it is in its bucket's list (release KI1a, acquire KI1b), stays there
 *       until the runtime ends, and its function and name never change. So looking one up takes no
 *       lock. Two threads may not add the same one: they add under the lock, after a second look.
 */
#include "csp/csp.h"
#include "base/alloc.h"
#include "csp/fiber.h"

/* What each worker has. */
static kith_err workers_open(struct kith_runtime *rt)
{
    struct kith__csp *csp = rt->csp;
    uint32_t n = rt->worker_count;
    csp->caches = kith__alloc_zero(&rt->allocator, n * sizeof *csp->caches, 64);
    csp->fibers = kith__alloc_zero(&rt->allocator, n * sizeof *csp->fibers, 64);
    if (csp->caches == NULL || csp->fibers == NULL)
        return KITH_ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        kith__fibers_init(rt, i, &csp->fibers[i]);
    return KITH_OK;
}

kith_err kith__csp_open(struct kith_runtime *rt)
{
    struct kith__csp *csp = kith__alloc_zero(&rt->allocator, sizeof *csp, 64);
    if (csp == NULL)
        return KITH_ENOMEM;
    rt->csp = csp;
    pthread_mutex_init(&csp->lock, NULL);
    kith__stacks_open(&csp->stacks, &rt->allocator, !rt->config.no_stack_guards);
    kith_err err = workers_open(rt);
    if (err == KITH_OK)
        err = kith__overflow_open(rt);
    if (err != KITH_OK)
        kith__csp_close(rt);
    return err;
}

static void kinds_free(struct kith_runtime *rt)
{
    for (unsigned i = 0; i < KITH__KIND_BUCKETS; i++) {
        struct kith__fiber_kind *kind = kith__load_rlx(&rt->csp->kinds[i]);
        while (kind != NULL) {
            struct kith__fiber_kind *next = kind->next;
            kith__free(&rt->allocator, kind, sizeof *kind);
            kind = next;
        }
    }
}

void kith__csp_close(struct kith_runtime *rt)
{
    struct kith__csp *csp = rt->csp;
    if (csp == NULL)
        return;
    kith__overflow_close(rt);
    kinds_free(rt);
    kith__stacks_close(&csp->stacks);
    pthread_mutex_destroy(&csp->lock);
    kith__free(&rt->allocator, csp->caches, rt->worker_count * sizeof *csp->caches);
    kith__free(&rt->allocator, csp->fibers, rt->worker_count * sizeof *csp->fibers);
    kith__free(&rt->allocator, csp, sizeof *csp);
    rt->csp = NULL;
}

/* ---- stacks ---- */

static void log_unguarded(struct kith_runtime *rt)
{
    struct kith__csp *csp = rt->csp;
    if (kith__load_rlx(&csp->stacks.ran_out) && kith__xchg_rlx(&csp->unguarded_logged, 1) == 0)
        kith__log(
            &rt->log, KITH_LOG_WARN,
            "out of memory mappings (vm.max_map_count): fibers get stacks without guard pages "
            "from now on, and an overflow is noticed only when the fiber ends");
}

struct kith__stack *kith__csp_stack_take(struct kith__ctx *ctx, size_t bytes)
{
    struct kith__csp *csp = ctx->rt->csp;
    struct kith__stack *stack;
    if (KITH__LIKELY(ctx->worker != NULL)) {
        stack = kith__stack_take(&csp->stacks, &csp->caches[ctx->worker->index], bytes);
    } else {
        pthread_mutex_lock(&csp->lock);
        stack = kith__stack_take(&csp->stacks, &csp->outside, bytes);
        pthread_mutex_unlock(&csp->lock);
    }
    if (stack != NULL && KITH__UNLIKELY(!stack->guarded))
        log_unguarded(ctx->rt);
    return stack;
}

void kith__csp_stack_give(struct kith__ctx *ctx, struct kith__stack *stack)
{
    struct kith__csp *csp = ctx->rt->csp;
    if (KITH__LIKELY(ctx->worker != NULL)) {
        kith__stack_give(&csp->stacks, &csp->caches[ctx->worker->index], stack);
        return;
    }
    pthread_mutex_lock(&csp->lock);
    kith__stack_give(&csp->stacks, &csp->outside, stack);
    pthread_mutex_unlock(&csp->lock);
}

/* ---- kinds ---- */

static struct kith__fiber_kind *find(struct kith__fiber_kind *kind, kith_fiber_fn *fn,
                                     const char *name)
{
    while (kind != NULL && (kind->fn != fn || kind->behavior.name != name))
        kind = kind->next;
    return kind;
}

struct kith__fiber_kind *kith__csp_kind(struct kith__ctx *ctx, kith_fiber_fn *fn, const char *name)
{
    struct kith__csp *csp = ctx->rt->csp;
    uintptr_t key = (uintptr_t)fn ^ (uintptr_t)name;
    KITH__ATOMIC(struct kith__fiber_kind *) *bucket =
        &csp->kinds[(key >> 4 ^ key >> 12) % KITH__KIND_BUCKETS];
    /* acquire KI1b; pairs with KI1a: the kinds. */
    struct kith__fiber_kind *kind = find(kith__load_acq(bucket), fn, name);
    if (KITH__LIKELY(kind != NULL))
        return kind;
    pthread_mutex_lock(&csp->lock);
    kind = find(kith__load_rlx(bucket), fn, name); /* relaxed: written under this lock */
    if (kind == NULL)
        kind = kith__alloc_zero(&ctx->rt->allocator, sizeof *kind, 16);
    if (kind != NULL && kind->fn == NULL) {
        kind->behavior = (kith_behavior){.name = name};
        kind->fn = fn;
        kind->next = kith__load_rlx(bucket);
        kith__store_rel(bucket, kind); /* release KI1a; pairs with KI1b */
    }
    pthread_mutex_unlock(&csp->lock);
    return kind;
}

/* ---- statistics ---- */

static size_t kinds_read(struct kith__csp *csp, kith_fiber_stats *stats, size_t max)
{
    size_t n = 0;
    for (unsigned i = 0; i < KITH__KIND_BUCKETS; i++) {
        struct kith__fiber_kind *kind = kith__load_acq(&csp->kinds[i]); /* acquire KI1b */
        for (; kind != NULL; kind = kind->next, n++) {
            if (n >= max)
                continue;
            uint64_t ended = kith__load_rlx(&kind->ended);
            stats[n] = (kith_fiber_stats){
                .name = kind->behavior.name,
                .spawned = kith__load_rlx(&kind->begun),
                .stack_bytes = kith__load_rlx(&kind->stack_bytes),
                .stack_used_bytes = kith__load_rlx(&kind->stack_used),
            };
            stats[n].alive = stats[n].spawned > ended ? stats[n].spawned - ended : 0;
        }
    }
    return n;
}

size_t kith_fiber_stats_get(kith_self *self, kith_fiber_stats *stats, size_t max)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL || (stats == NULL && max > 0))
        return 0;
    return kinds_read(ctx->rt->csp, stats, max);
}
