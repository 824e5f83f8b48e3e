/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Generators: functions with a stack of their own that are resumed by their user (asymmetric
 * coroutines, as in Lua: de Moura and Ierusalimschy, "Revisiting Coroutines", 2009).
 *
 * Called by: programs, and the death of a task that owns one.
 *
 * Invariants
 *  GE1. A generator is touched by its owner only, on the thread that made it (X3 of context.h):
 *       `here`. The one exception is the death of an actor that has moved: nothing is resumed then.
 *  GE2. While it runs, its owner's co is nobody's (co->barred), so that kith__co_here refuses
 *       whatever may wait. A wait would leave by the fiber's context what is not on the fiber's
 *       stack.
 *  GE3. It ends with its owner at the latest: it is in the owner's list of what it owns.
 *
 * Threads: the maker's.
 *
 * Why waiting is not made possible: the depth of the stack, the sanitizers and the debugger's
 * script take a suspended fiber to stand on its own stack. Who wants to wait makes a fiber and a
 * channel.
 */
#include "csp/context.h"
#include "csp/csp.h"
#include "sched/co.h"
#include <kith/gen.h>
#include <string.h>

enum gen_state { READY, RUNNING, STANDING, ENDED };

/* It stands at the high end of its stack. */
struct kith_gen {
    struct kith__owned owned;
    struct kith_self *owner;
    struct kith__ctx *ctx;
    struct kith__context context;
    struct kith__context back; /* the user's, while it runs */
    struct kith__stack *stack;
    kith_gen_fn *fn;
    void *arg;
    void *passed; /* in or out */
    enum gen_state state;
    bool closing;
};

/* GE1 */
static bool here(const kith_gen *gen)
{
    const struct kith__ctx *ctx = kith__ctx_here;
    return ctx != NULL && ctx == gen->ctx && ctx->running == gen->owner;
}

static void gen_main(void *arg)
{
    kith_gen *gen = arg;
    gen->fn(gen, gen->arg);
    gen->passed = NULL;
    gen->state = ENDED;
    kith__context_switch_last(&gen->context, &gen->back);
}

static void resume(kith_gen *gen, void *in)
{
    struct kith_co *co = kith__co_of(gen->owner);
    bool barred = co != NULL && co->barred;
    if (co != NULL) /* GE2 */
        co->barred = true;
    gen->passed = in;
    gen->state = RUNNING;
    kith__context_here(&gen->back);
    kith__context_switch(&gen->back, &gen->context);
    if (co != NULL)
        co->barred = barred;
}

kith_err kith_gen_next(kith_gen *gen, void *in, void **out)
{
    if (out != NULL)
        *out = NULL;
    if (gen == NULL)
        return KITH_EINVAL;
    if (!here(gen))
        return KITH_EPERM;
    if (gen->state == ENDED)
        return KITH_ECLOSED;
    if (gen->state == RUNNING)
        return KITH_EBUSY;
    resume(gen, in);
    if (gen->state == ENDED)
        return KITH_ECLOSED;
    if (out != NULL)
        *out = gen->passed;
    return KITH_OK;
}

void *kith_gen_yield(kith_gen *gen, void *out)
{
    if (gen == NULL || !here(gen) || gen->state != RUNNING)
        return NULL;
    gen->passed = out;
    gen->state = STANDING;
    kith__context_switch(&gen->context, &gen->back);
    return gen->passed;
}

bool kith_gen_closing(const kith_gen *gen)
{
    return gen != NULL && here(gen) && gen->closing;
}

/* ---- making and freeing ---- */

static void gen_end(struct kith__ctx *ctx, kith_gen *gen)
{
    struct kith__stack *stack = gen->stack;
    kith__assert(gen->state != RUNNING);
    gen->closing = true;
    if (gen->state == STANDING && here(gen))
        resume(gen, NULL);
    kith__context_end(&gen->context);
    if (KITH__UNLIKELY(!stack->guarded) && kith__stack_overflowed(stack))
        kith__overflow_die(ctx->rt, stack, NULL);
    kith__csp_stack_give(ctx, stack);
}

/* GE3 */
static void gen_release(struct kith__ctx *ctx, struct kith_self *owner, struct kith__owned *owned)
{
    (void)owner;
    gen_end(ctx, (kith_gen *)(void *)owned);
}

kith_err kith_gen_free(kith_gen *gen)
{
    if (gen == NULL)
        return KITH_OK;
    if (!here(gen))
        return KITH_EPERM;
    if (gen->state == RUNNING)
        return KITH_EBUSY;
    kith__disown(gen->owner, &gen->owned);
    gen_end(gen->ctx, gen);
    return KITH_OK;
}

kith_gen *kith_gen_new_with(kith_self *self, kith_gen_fn *fn, void *arg,
                            const kith_gen_options *options)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    size_t bytes = options != NULL ? options->stack_bytes : 0;
    if (ctx == NULL || fn == NULL || bytes > KITH__STACK_BYTES_MAX)
        return NULL;
    struct kith__stack *stack = kith__csp_stack_take(ctx, bytes);
    if (stack == NULL)
        return NULL;
    kith__overflow_here(ctx, &ctx->rt->csp->overflow);
    char *at = (char *)stack->high - (sizeof(kith_gen) + 15) / 16 * 16;
    kith_gen *gen = (kith_gen *)(void *)at;
    memset(gen, 0, sizeof *gen);
    gen->owned.release = gen_release;
    gen->owner = self;
    gen->ctx = ctx;
    gen->stack = stack;
    gen->fn = fn;
    gen->arg = arg;
    kith__context_make(&gen->context, stack->low, at, gen_main, gen);
    kith__own(self, &gen->owned);
    return gen;
}

kith_gen *kith_gen_new(kith_self *self, kith_gen_fn *fn, void *arg)
{
    return kith_gen_new_with(self, fn, arg, NULL);
}
