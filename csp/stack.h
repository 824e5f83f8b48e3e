/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stacks for fibers: a pool for a runtime, a cache for each thread.
 *
 * Called by: fibers (csp/): taken at spawn, given back at the end.
 *
 * Stacks lie in slabs, mappings of many stacks of one class each; below each stack lies its guard:
 *
 *     slab   [ guard | stack 0 ][ guard | stack 1 ] ...        one stride: [low - guard, high)
 *                    low    high
 *
 * Invariants
 *  F1. A stack is in exactly one place: taken, in one thread's cache, in the pool's list.
 *  F2. A slab and the records of its stacks stay where they are until the pool is closed, so
 *      whoever finds one by an address may look at it, in a signal handler too.
 *  F3. Only memory that was touched is there: a slab is reserved, not committed, and huge pages,
 *      which would commit what nobody touched, are refused. The record of a stack is not in it.
 *  F4. A stack in the pool's list has at most KITH__STACK_KEPT bytes of memory, those at its
 *      high end.
 *  F5. Guards are set before a stack is first handed out and never change after.
 *
 * | meets                   | take, give (same cache) | take, give (other cache) | find | close |
 * |-------------------------|-------------------------|--------------------------|------|-------|
 * | take, give, drain       | X                       |                          |      | X     |
 * | find, used, overflowed  |                         |                          |      | X     |
 *   X: exclusion is the caller's duty
 *
 * Why the guard is no part of the size: who asks for 64 KiB gets 64 KiB. And a stride that is an
 *   odd number of pages spreads the stacks' ends, which all fibers touch, over all sets of the TLB.
 */
#ifndef KITH__CSP_STACK_H
#define KITH__CSP_STACK_H

#include "base/alloc.h"
#include "base/atomic.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KITH__STACK_BYTES_MIN ((size_t)16 << 10)
#define KITH__STACK_BYTES_MAX ((size_t)8 << 20)
#define KITH__STACK_BYTES_DEFAULT ((size_t)64 << 10)
#define KITH__STACK_CLASSES 10u /* 16 KiB, 32 KiB ... 8 MiB */
#define KITH__STACK_CACHED 256u /* of a class, in a thread's cache */
#define KITH__STACK_KEPT ((size_t)16 << 10)

struct kith__stack_slab;

/* One stack: 40 bytes, in an array beside its slab. */
struct kith__stack {
    void *low; /* the lowest byte that may be used; both are multiples of the page's size */
    void *high;
    struct kith__stack *next; /* in a list of free ones; the taker's own use while it is taken */
    struct kith__stack_slab *slab;
    uint32_t cls;
    bool guarded; /* by the hardware: an overflow is a SIGSEGV; else see kith__stack_overflowed */
};

/* How guards are made. */
enum kith__guard {
    KITH__GUARD_NONE,    /* not at all: config.guards is false */
    KITH__GUARD_MADVISE, /* MADV_GUARD_INSTALL, Linux 6.13: costs no mapping */
    KITH__GUARD_MPROTECT /* two mappings each, while mappings_left lasts */
};

struct kith__stack_list {
    struct kith__stack *first;
    uint32_t count;
};

struct kith__stack_class {
    struct kith__stack_list free;
    struct kith__stack_slab *newest; /* the one that still has fresh stacks, or none */
    uint32_t slab_stacks;            /* how many the next slab gets */
};

/* The stacks of a runtime. All but slabs and ran_out under lock. */
struct kith__stacks {
    const kith_allocator *allocator;
    size_t page_bytes;
    size_t guard_bytes;
    pthread_mutex_t lock;
    enum kith__guard guard;
    uint64_t mappings_left; /* for GUARD_MPROTECT */
    struct kith__stack_class classes[KITH__STACK_CLASSES];
    KITH__ATOMIC(struct kith__stack_slab *) slabs; /* all, newest first (F2) */
    KITH__ATOMIC(bool) ran_out; /* guards were wanted, and stacks without had to be made */
};

/* A thread's free stacks, the one given back last first. Zeroed is empty. */
struct kith__stack_cache {
    struct kith__stack_list free[KITH__STACK_CLASSES];
};

/* allocator (for records; the stacks are mapped) must outlive the pool. */
void kith__stacks_open(struct kith__stacks *stacks, const kith_allocator *allocator, bool guards);
/* Unmaps all stacks; none may be taken or stood on. Caches need not be drained. */
void kith__stacks_close(struct kith__stacks *stacks);

/* A stack of at least bytes (0: the default); its content is undefined. NULL if memory, address
 * space or mappings are out, or bytes is beyond KITH__STACK_BYTES_MAX. */
struct kith__stack *kith__stack_take(struct kith__stacks *stacks, struct kith__stack_cache *cache,
                                     size_t bytes);
/* Gives it back, to any thread's cache; nobody may stand on it. */
void kith__stack_give(struct kith__stacks *stacks, struct kith__stack_cache *cache,
                      struct kith__stack *stack);
/* Gives all that a cache holds to the pool, when its thread ends. */
void kith__stack_cache_drain(struct kith__stacks *stacks, struct kith__stack_cache *cache);

/* Bytes from high down to the deepest page that is there: what was used at most since the stack was
 * new or shrunk (without what is swapped out). A system call. */
size_t kith__stack_used(const struct kith__stack *stack);

/* Whether the guard of an unguarded stack was touched: something ran over the stack's end. A system
 * call; false without one for guarded stacks, which die at once. */
bool kith__stack_overflowed(const struct kith__stack *stack);

/* The stack whose memory or guard holds address, NULL if none has. Async-signal-safe. */
struct kith__stack *kith__stacks_find(struct kith__stacks *stacks, const void *address);

/* Whether address is in the guard of stack. */
bool kith__stack_guards(const struct kith__stack *stack, const void *address);

#endif
