/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The handle table: objects that are named by 64-bit values of kind, runtime, slot and generation.
 * Used by sched (tasks, timers), actors (questions) and io (sockets).
 *
 *   63  61 60    57 56             31 30              0
 *   kind   runtime  slot (26 bits)    generation (31 bits)
 *
 * Invariants
 *  H1. Memory of a slot is never given to an object of another kind or size, nor to anything else,
 *      while the table lives: a stale handle may always be looked at.
 *  H2. A slot's generation only grows; at the last one the slot is retired. So a handle's value
 *      never names a second object, however long the process runs: ten million new objects a second
 *      for a century retire 15 million of 67 million slots.
 *  H3. Tables that have the same runtime number one after the other continue each other's
 *      generations, so that a handle of a runtime that has ended is stale in the next one; or, when
 *      half of them are used, have other slots.
 *  H4. Memory that has never been an object reads as dead: chunks are zeroed and their slots
 *      numbered before they are published.
 *
 * Threads: kith__handle_find and reading bits: any. Alloc, activate and free: the owner of the
 * cache. The shared list behind the caches is under a lock, taken once every KITH__SLOT_BATCH.
 */
#ifndef KITH__BASE_HANDLE_H
#define KITH__BASE_HANDLE_H

#include "base/alloc.h"
#include "base/assert.h"
#include "base/atomic.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kith__kind {
    KITH__KIND_NONE = 0,
    KITH__KIND_ACTOR = 1,
    KITH__KIND_ASK = 2,
    KITH__KIND_TIMER = 3,
    KITH__KIND_SOCK = 4,
    KITH__KIND_ERROR = 7 /* no object: the low 32 bits are a kith_err, negated */
};

#define KITH__GEN_BITS 31
#define KITH__SLOT_BITS 26
#define KITH__RT_BITS 4
#define KITH__GEN_MAX ((UINT32_C(1) << KITH__GEN_BITS) - 1)
#define KITH__SLOT_MAX ((UINT32_C(1) << KITH__SLOT_BITS) - 1)
#define KITH__TABLES_MAX (1u << KITH__RT_BITS)

#define KITH__CHUNK_SLOTS 256u
#define KITH__SLOT_BATCH 64u

static inline uint32_t kith__bits_gen(uint64_t bits)
{
    return (uint32_t)bits & KITH__GEN_MAX;
}

static inline uint32_t kith__bits_slot(uint64_t bits)
{
    return (uint32_t)(bits >> KITH__GEN_BITS) & KITH__SLOT_MAX;
}

static inline uint32_t kith__bits_tag(uint64_t bits) /* kind and runtime */
{
    return (uint32_t)(bits >> (KITH__GEN_BITS + KITH__SLOT_BITS));
}

static inline uint32_t kith__bits_kind(uint64_t bits)
{
    return (uint32_t)(bits >> 61);
}

static inline uint64_t kith__bits_error(int negative_err)
{
    return (uint64_t)KITH__KIND_ERROR << 61 | (uint32_t)-negative_err;
}

/* What every object begins with. bits has kind NONE while the slot is free. */
struct kith__slot {
    KITH__ATOMIC(uint64_t) bits;
    struct kith__slot *next; /* in a free list; the object's own use while it lives */
};

/* Which objects share memory: one class for each kind and size. */
#define KITH__ACTOR_CLASSES 16u /* 64, 128 ... 1024 bytes */
enum kith__class {
    KITH__CLASS_ACTOR = 0,
    KITH__CLASS_ASK = KITH__ACTOR_CLASSES,
    KITH__CLASS_TIMER,
    KITH__CLASS_SOCK,
    KITH__CLASS_BOUNDED, /* actors, too: with a bounded mailbox (csp/bound.h) */
    KITH__CLASSES
};

struct kith__chunk {
    KITH__ATOMIC(char *) base;
    uint32_t bytes; /* of a slot */
    uint32_t tag;
};

struct kith__class_shared {
    struct kith__slot *free;
    uint32_t fresh_slot; /* next never-used slot of the class's newest chunk */
    uint32_t fresh_left;
};

struct kith__table {
    struct kith__chunk *chunks; /* (KITH__SLOT_MAX + 1) / KITH__CHUNK_SLOTS, mostly untouched */
    KITH__ATOMIC(uint32_t) chunk_count;
    uint32_t number; /* the runtime's */
    uint32_t first_gen;
    uint32_t first_chunk; /* those before it belonged to tables with the same number */
    const kith_allocator *allocator;
    pthread_mutex_t lock;
    struct kith__class_shared shared[KITH__CLASSES];
};

/* Free slots in one thread's hands. */
struct kith__slot_cache {
    struct kith__slot *free[KITH__CLASSES];
    uint32_t count[KITH__CLASSES];
};

/* KITH_ENOMEM; KITH_EAGAIN if KITH__TABLES_MAX live. allocator must outlive the table. */
kith_err kith__table_open(struct kith__table *table, const kith_allocator *allocator);
void kith__table_close(struct kith__table *table);

/* A free slot of class cls, whose objects are bytes long; NULL if memory or slots are out. Its bits
 * hold the slot and the generation to be, with kind NONE. */
struct kith__slot *kith__slot_alloc(struct kith__table *table, struct kith__slot_cache *cache,
                                    unsigned cls, uint32_t kind, uint32_t bytes);

/* The bits that a slot will have as an object of kind. */
uint64_t kith__slot_bits(const struct kith__table *table, const struct kith__slot *slot,
                         uint32_t kind);

/* Makes the handle stale: from here on nobody finds the object by it. */
void kith__slot_kill(struct kith__slot *slot);

/* Gives a killed slot back, or retires it at the end of its generations (H2). */
void kith__slot_free(struct kith__table *table, struct kith__slot_cache *cache, unsigned cls,
                     struct kith__slot *slot);

/* Gives all that a cache holds back to the table, when its thread ends. */
void kith__slot_cache_drain(struct kith__table *table, struct kith__slot_cache *cache);

/* The object that bits may name: same kind, same runtime, slot in use at some time; else NULL. The
 * caller compares bits: equal is alive, else see kith__slot_was. */
static inline struct kith__slot *kith__handle_find(const struct kith__table *table, uint64_t bits)
{
    uint32_t slot = kith__bits_slot(bits);
    struct kith__chunk *chunk = &table->chunks[slot / KITH__CHUNK_SLOTS];
    /* acquire; pairs with H-PUB in handle.c: bytes, tag and the numbered slots. */
    char *base = kith__load_acq(&chunk->base);
    if (KITH__UNLIKELY(base == NULL || chunk->tag != kith__bits_tag(bits)))
        return NULL;
    return (struct kith__slot *)(void *)(base + (size_t)(slot % KITH__CHUNK_SLOTS) * chunk->bytes);
}

/* Whether bits, which do not match slot, ever named an object there: a stale handle, and not a
 * made-up one. */
bool kith__slot_was(const struct kith__table *table, const struct kith__slot *slot, uint64_t bits);

#endif
