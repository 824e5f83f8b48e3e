/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stacks: slabs of them, guards, the pool and the threads' caches.
 *
 * Called by: see stack.h.
 * Invariants: see stack.h. A slab's stacks are made (their records written, their guards set) in
 *   the order of their addresses; made counts them, and only those below made are looked at (F2).
 * Threads: the pool under its lock; a cache by its thread; slabs and made are read by any.
 * Why slabs: a mapping for each stack is two with its guard, and Linux has 65,530 for a process.
 *   In a slab a guard by MADV_GUARD_INSTALL costs no mapping at all, so 100,000 guarded stacks
 *   need some thirty. Before Linux 6.13 there is only mprotect, whose guards split the mapping;
 *   half of the limit goes to them, and stacks beyond it have a guard of memory that nobody
 *   touches, which is looked at afterwards.
 * Why stacks are not shrunk when they go into a thread's cache: the next fiber of that thread most
 *   likely goes as deep, and the look costs more than the spawn.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* mincore, MAP_ANONYMOUS */
#endif
#include "csp/stack.h"

#include "base/assert.h"
#include "csp/context.h" /* KITH__ASAN */

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#if KITH__ASAN
#include <sanitizer/asan_interface.h>
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum {
    GUARD_BYTES_MIN = 20 << 10, /* 5 pages of 4 KiB: a frame of 16 KiB does not step over it */
    BATCH = 16,                 /* stacks that move between a cache and the pool at once */
    LOOK_PAGES = 256,           /* of one mincore, for one stack */
    RUN_PAGES = 1024,           /* the same for several */
    MAPPINGS_UNKNOWN = 65530
};
#define CACHED_BYTES ((size_t)16 << 20) /* of stacks of one class in a thread's cache */
#define SLAB_BYTES_MIN                                                                             \
    ((size_t)4 << 20) /* the first slab of a class; each next one is twice as big */
#define SLAB_BYTES_MAX ((size_t)512 << 20)

struct kith__stack_slab {
    struct kith__stack_slab *next;
    char *base;
    size_t stride;
    size_t guard_bytes;
    size_t page_bytes;
    uint32_t count;
    KITH__ATOMIC(uint32_t) made;
    struct kith__stack stacks[];
};

_Static_assert(sizeof(struct kith__stack) <= 64, "a record must be small beside a page");

static size_t bytes_of(unsigned cls)
{
    return KITH__STACK_BYTES_MIN << cls;
}

static unsigned class_of(size_t bytes)
{
    unsigned cls = 0;
    while (bytes_of(cls) < bytes)
        cls++;
    return cls;
}

static char *guard_of(const struct kith__stack *stack)
{
    return (char *)stack->low - stack->slab->guard_bytes;
}

/* ---- guards ---- */

static uint64_t mappings_allowed(void)
{
    unsigned long long allowed = MAPPINGS_UNKNOWN;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    if (file == NULL)
        return allowed;
    if (fscanf(file, "%llu", &allowed) != 1)
        allowed = MAPPINGS_UNKNOWN;
    fclose(file);
    return allowed;
}

/* Sets one by mprotect, if mappings are left. */
static bool guard_split(struct kith__stacks *stacks, void *guard, size_t bytes)
{
    if (stacks->mappings_left < 2 || mprotect(guard, bytes, PROT_NONE) != 0)
        return false;
    stacks->mappings_left -= 2;
    return true;
}

/* Guards stack in the way that the kernel has; true if the hardware guards it. Under lock. */
static bool guard_set(struct kith__stacks *stacks, struct kith__stack *stack)
{
    if (stacks->guard == KITH__GUARD_NONE)
        return false;
    size_t bytes = stacks->guard_bytes;
    if (stacks->guard == KITH__GUARD_MADVISE) {
        if (madvise(guard_of(stack), bytes, MADV_GUARD_INSTALL) == 0)
            return true;
        if (errno == EINVAL) { /* an old kernel, or all memory is locked */
            stacks->guard = KITH__GUARD_MPROTECT;
            stacks->mappings_left = mappings_allowed() / 2;
        }
    }
    if (guard_split(stacks, guard_of(stack), bytes))
        return true;
    kith__store_rlx(&stacks->ran_out, true); /* relaxed: a flag that says nothing of other memory */
    return false;
}

/* ---- slabs ---- */

static size_t slab_record_bytes(uint32_t count)
{
    return sizeof(struct kith__stack_slab) + count * sizeof(struct kith__stack);
}

/* Address space for a slab, without memory behind it. */
static char *slab_map(size_t bytes)
{
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    (void)madvise(base, bytes, MADV_NOHUGEPAGE); /* fails where there are none */
    return base;
}

static struct kith__stack_slab *slab_new(struct kith__stacks *stacks, unsigned cls, uint32_t count)
{
    size_t stride = bytes_of(cls) + stacks->guard_bytes;
    struct kith__stack_slab *slab =
        kith__alloc(stacks->allocator, slab_record_bytes(count), KITH__ALIGN_MIN);
    if (slab == NULL)
        return NULL;
    slab->base = slab_map(stride * count);
    if (slab->base == NULL) {
        kith__free(stacks->allocator, slab, slab_record_bytes(count));
        return NULL;
    }
    slab->stride = stride;
    slab->guard_bytes = stacks->guard_bytes;
    slab->page_bytes = stacks->page_bytes;
    slab->count = count;
    kith__store_rlx(&slab->made, 0); /* relaxed: nobody knows the slab yet */
    return slab;
}

/* A new slab of class cls: as many stacks as planned, fewer if address space is short. */
static bool slab_add(struct kith__stacks *stacks, unsigned cls)
{
    struct kith__stack_class *c = &stacks->classes[cls];
    struct kith__stack_slab *slab = NULL;
    uint32_t count = c->slab_stacks;
    for (; count > 0 && slab == NULL; count /= 2)
        slab = slab_new(stacks, cls, count);
    if (slab == NULL)
        return false;
    if (slab->stride * slab->count < SLAB_BYTES_MAX)
        c->slab_stacks = slab->count * 2;
    c->newest = slab;
    slab->next = kith__load_rlx(&stacks->slabs); /* relaxed: written under this lock only */
    /* release; F2, pairs with F2 in kith__stacks_find: the slab's fields. */
    kith__store_rel(&stacks->slabs, slab);
    return true;
}

/* One stack that was never used, NULL if nothing more can be had. Under lock. */
static struct kith__stack *stack_make(struct kith__stacks *stacks, unsigned cls)
{
    struct kith__stack_class *c = &stacks->classes[cls];
    /* relaxed: made is written under this lock only */
    if ((c->newest == NULL || kith__load_rlx(&c->newest->made) == c->newest->count) &&
        !slab_add(stacks, cls))
        return NULL;
    struct kith__stack_slab *slab = c->newest;
    uint32_t i = kith__load_rlx(&slab->made);
    struct kith__stack *stack = &slab->stacks[i];
    char *low = slab->base + i * slab->stride + slab->guard_bytes;
    *stack =
        (struct kith__stack){.low = low, .high = low + bytes_of(cls), .slab = slab, .cls = cls};
    stack->guarded = guard_set(stacks, stack);
    /* release; F5, pairs with F5 in kith__stacks_find: the stack's record. */
    kith__store_rel(&slab->made, i + 1);
    return stack;
}

/* ---- what of a stack is there ---- */

/* The lowest page between low and high that is there; high if none is. */
static char *lowest_page(char *low, char *high, size_t page_bytes)
{
    unsigned char there[LOOK_PAGES];
    while (low < high) {
        size_t pages = (size_t)(high - low) / page_bytes;
        if (pages > LOOK_PAGES)
            pages = LOOK_PAGES;
        if (mincore(low, pages * page_bytes, there) != 0)
            return high;
        for (size_t i = 0; i < pages; i++)
            if (there[i] & 1)
                return low + i * page_bytes;
        low += pages * page_bytes;
    }
    return high;
}

size_t kith__stack_used(const struct kith__stack *stack)
{
    char *high = stack->high;
    return (size_t)(high - lowest_page(stack->low, high, stack->slab->page_bytes));
}

bool kith__stack_overflowed(const struct kith__stack *stack)
{
    return !stack->guarded &&
           lowest_page(guard_of(stack), stack->low, stack->slab->page_bytes) < (char *)stack->low;
}

/* ---- shrinking ---- */

/* The part of a stack that it need not keep: [deep_low, deep_high). Of an unguarded one the guard
 * too, so that the next fiber is not blamed for what ran over it. */
static char *deep_low(const struct kith__stack *stack)
{
    return stack->guarded ? stack->low : guard_of(stack);
}

static char *deep_high(const struct kith__stack *stack)
{
    size_t page_bytes = stack->slab->page_bytes;
    return (char *)stack->high - (page_bytes > KITH__STACK_KEPT ? page_bytes : KITH__STACK_KEPT);
}

static void give_back(char *low, char *high)
{
    if (low < high)
        (void)madvise(low, (size_t)(high - low), MADV_DONTNEED);
}

/* How far one look at the stacks from first on can reach: those of one slab that lie near each
 * other. Returns the stack behind them; [*low, *high) is what they span. */
static struct kith__stack *run_from(struct kith__stack *first, char **low, char **high)
{
    const size_t span_max = RUN_PAGES * first->slab->page_bytes;
    *low = deep_low(first);
    *high = deep_high(first);
    struct kith__stack *stack = first->next;
    for (; stack != NULL && stack->slab == first->slab; stack = stack->next) {
        char *lower = deep_low(stack) < *low ? deep_low(stack) : *low;
        char *higher = deep_high(stack) > *high ? deep_high(stack) : *high;
        if ((size_t)(higher - lower) > span_max)
            break;
        *low = lower;
        *high = higher;
    }
    return stack;
}

static void shrink_run(struct kith__stack *first, const struct kith__stack *behind, char *low,
                       char *high)
{
    unsigned char there[RUN_PAGES];
    const size_t page_bytes = first->slab->page_bytes;
    if (mincore(low, (size_t)(high - low), there) != 0)
        return;
    for (struct kith__stack *stack = first; stack != behind; stack = stack->next) {
        char *deepest = deep_low(stack);
        while (deepest < deep_high(stack) && !(there[(size_t)(deepest - low) / page_bytes] & 1))
            deepest += page_bytes;
        give_back(deepest, deep_high(stack));
    }
}

/* Gives back what the stacks of a list have deeper than KITH__STACK_KEPT (F4). A look costs 0.7 us;
 * one takes in as many as it can. Stacks that were made together are often still together. */
static void shrink(struct kith__stack *stack)
{
    while (stack != NULL) {
        char *low;
        char *high;
        struct kith__stack *behind = run_from(stack, &low, &high);
        if ((size_t)(high - low) <= RUN_PAGES * stack->slab->page_bytes)
            shrink_run(stack, behind, low, high);
        else /* a big one, alone */
            give_back(lowest_page(low, high, stack->slab->page_bytes), high);
        stack = behind;
    }
}

/* ---- caches and the pool ---- */

static void push(struct kith__stack_list *list, struct kith__stack *stack)
{
    stack->next = list->first;
    list->first = stack;
    list->count++;
}

static struct kith__stack *pop(struct kith__stack_list *list)
{
    struct kith__stack *stack = list->first;
    if (stack != NULL) {
        list->first = stack->next;
        list->count--;
    }
    return stack;
}

/* How many of a class a thread keeps: of big ones fewer, as they are not shrunk there. */
static uint32_t cached_max(unsigned cls)
{
    size_t max = CACHED_BYTES / bytes_of(cls);
    return max > KITH__STACK_CACHED ? KITH__STACK_CACHED : max < 2 ? 2 : (uint32_t)max;
}

/* Fills the cache's empty list: from the pool, else with new stacks. */
static void refill(struct kith__stacks *stacks, struct kith__stack_list *list, unsigned cls)
{
    uint32_t wanted = cached_max(cls) / 2 < BATCH ? cached_max(cls) / 2 : BATCH;
    pthread_mutex_lock(&stacks->lock);
    struct kith__stack_list *pool = &stacks->classes[cls].free;
    while (list->count < wanted && pool->first != NULL)
        push(list, pop(pool));
    while (list->count < wanted) {
        struct kith__stack *stack = stack_make(stacks, cls);
        if (stack == NULL)
            break;
        push(list, stack);
    }
    pthread_mutex_unlock(&stacks->lock);
}

/* Shrinks all of list and puts it into the pool. */
static void to_pool(struct kith__stacks *stacks, struct kith__stack_list *list, unsigned cls)
{
    shrink(list->first);
    struct kith__stack *stack;
    pthread_mutex_lock(&stacks->lock);
    while ((stack = pop(list)) != NULL)
        push(&stacks->classes[cls].free, stack);
    pthread_mutex_unlock(&stacks->lock);
}

/* Takes the colder half out of a full list, the one that was given back first, and pools it. */
static void spill(struct kith__stacks *stacks, struct kith__stack_list *list, unsigned cls)
{
    uint32_t keep = list->count / 2;
    struct kith__stack *last = list->first;
    for (uint32_t i = 1; i < keep; i++)
        last = last->next;
    struct kith__stack_list cold = {.first = last->next, .count = list->count - keep};
    last->next = NULL;
    list->count = keep;
    to_pool(stacks, &cold, cls);
}

struct kith__stack *kith__stack_take(struct kith__stacks *stacks, struct kith__stack_cache *cache,
                                     size_t bytes)
{
    if (bytes == 0)
        bytes = KITH__STACK_BYTES_DEFAULT;
    if (KITH__UNLIKELY(bytes > KITH__STACK_BYTES_MAX))
        return NULL;
    if (bytes < stacks->page_bytes) /* pages may be of 64 KiB */
        bytes = stacks->page_bytes;
    unsigned cls = class_of(bytes);
    struct kith__stack_list *list = &cache->free[cls];
    if (KITH__UNLIKELY(list->first == NULL))
        refill(stacks, list, cls);
    return pop(list);
}

void kith__stack_give(struct kith__stacks *stacks, struct kith__stack_cache *cache,
                      struct kith__stack *stack)
{
#if KITH__ASAN
    /* What ran there ended without returning from its frames. */
    ASAN_UNPOISON_MEMORY_REGION(stack->low, bytes_of(stack->cls));
#endif
    struct kith__stack_list *list = &cache->free[stack->cls];
    if (KITH__UNLIKELY(list->count >= cached_max(stack->cls)))
        spill(stacks, list, stack->cls);
    push(list, stack);
}

void kith__stack_cache_drain(struct kith__stacks *stacks, struct kith__stack_cache *cache)
{
    for (unsigned cls = 0; cls < KITH__STACK_CLASSES; cls++)
        if (cache->free[cls].first != NULL)
            to_pool(stacks, &cache->free[cls], cls);
}

/* ---- who holds an address ---- */

struct kith__stack *kith__stacks_find(struct kith__stacks *stacks, const void *address)
{
    uintptr_t at = (uintptr_t)address;
    /* acquire; F2, pairs with F2 in slab_add: the slab's fields. */
    struct kith__stack_slab *slab = kith__load_acq(&stacks->slabs);
    for (; slab != NULL; slab = slab->next) {
        uintptr_t offset = at - (uintptr_t)slab->base; /* huge if at lies below */
        if (offset >= slab->stride * slab->count)
            continue;
        size_t i = offset / slab->stride;
        /* acquire; F5, pairs with F5 in stack_make: the stack's record. */
        return i < kith__load_acq(&slab->made) ? &slab->stacks[i] : NULL;
    }
    return NULL;
}

bool kith__stack_guards(const struct kith__stack *stack, const void *address)
{
    const char *at = address;
    return at >= guard_of(stack) && at < (const char *)stack->low;
}

/* ---- the pool ---- */

void kith__stacks_open(struct kith__stacks *stacks, const kith_allocator *allocator, bool guards)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t guard = (GUARD_BYTES_MIN + page - 1) / page * page;
    *stacks = (struct kith__stacks){.allocator = allocator,
                                    .page_bytes = page,
                                    .guard_bytes = guard,
                                    .guard = guards ? KITH__GUARD_MADVISE : KITH__GUARD_NONE};
    pthread_mutex_init(&stacks->lock, NULL);
    for (unsigned cls = 0; cls < KITH__STACK_CLASSES; cls++) {
        size_t count = SLAB_BYTES_MIN / bytes_of(cls);
        stacks->classes[cls].slab_stacks = count > 1 ? (uint32_t)count : 1;
    }
}

void kith__stacks_close(struct kith__stacks *stacks)
{
    /* relaxed: nobody else is left; whoever ended that handed its work to us */
    struct kith__stack_slab *slab = kith__load_rlx(&stacks->slabs);
    while (slab != NULL) {
        struct kith__stack_slab *next = slab->next;
        munmap(slab->base, slab->stride * slab->count);
        kith__free(stacks->allocator, slab, slab_record_bytes(slab->count));
        slab = next;
    }
    pthread_mutex_destroy(&stacks->lock);
}
