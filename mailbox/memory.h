/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Message memory: size classes in one cache for each thread, and batched return home.
 *
 * Used by whoever makes and ends messages. A thread takes a message from the free list of its own
 * cache; one that ends on another thread is collected there and goes home in batches of
 * KITH__BATCH, by one push for the batch. Memory is reused, never given back before the pool ends:
 * the first touch of a page costs as much as a hundred messages.
 *
 * Invariants
 *  P1. A free message is in exactly one place: its home's free list, a batch on its way, or its
 *      home's incoming stack.
 *  P2. Free lists and outgoing batches are touched by the cache's thread alone; incoming is a
 *      ck_stack, pushed by many and taken whole by the owner.
 *  P3. made - ended, summed over all caches, is the number of messages that exist.
 *  P4. A batch that comes home is complete: its push releases it, the owner's taking acquires it.
 *  P5. Whoever finds a cache in the pool's table finds it complete; a cache never leaves the table.
 *
 * With KITH_MALLOC=1 (the sanitizers' twin) every message is an allocation of its own, so that
 * each use after its end is seen and each lost message is reported; the interface is the same.
 */
#ifndef KITH__MAILBOX_MEMORY_H
#define KITH__MAILBOX_MEMORY_H

#include "base/alloc.h"
#include "base/assert.h"
#include "base/atomic.h"
#include "base/ck.h"
#include "mailbox/message.h"
#include <pthread.h>

#ifndef KITH_MALLOC
#define KITH_MALLOC 0
#endif

#define KITH__BODY_BYTES_MIN 16u /* a free message holds a ck_stack_entry there */
#define KITH__SMALL_STEP 16u
#define KITH__SMALL_BYTES 256u
#define KITH__CLASS_BYTES_MAX 32768u
#define KITH__MSG_CLASSES (KITH__SMALL_BYTES / KITH__SMALL_STEP + 1 + 4 * 7)
#define KITH__MSG_CLASS_NONE 255u /* an allocation of its own */
#define KITH__BATCH 64u
#define KITH__HOMES_MAX 1024u

/* A block of raw memory, cut into messages of one class. */
struct kith__block {
    struct kith__block *next;
    size_t bytes;
};

struct kith__class_cache {
    struct kith_msg *free;
    ck_stack_entry_t *batches; /* that came home; each entry is the body of a batch's first */
    char *fresh;               /* the rest of the newest block */
    char *fresh_end;
    ck_stack_t incoming;
};

/* What one thread collects for one home. */
struct kith__outgoing {
    struct kith_msg *first;
    uint32_t count;
};

struct kith__msg_pool;

struct kith__msg_cache {
    struct kith__msg_pool *pool;
    uint32_t home;
    KITH__ATOMIC(uint64_t) made;  /* P3: written by the owner, read by any */
    KITH__ATOMIC(uint64_t) ended; /* P3 */
    struct kith__class_cache classes[KITH__MSG_CLASSES];
    struct kith__outgoing *outgoing; /* one for each home, allocated on first need */
    uint32_t outgoing_open;          /* batches that are begun */
    struct kith__block *blocks;
    struct kith__msg_cache *next_idle;
};

struct kith__msg_pool {
    const kith_allocator *allocator;
    pthread_mutex_t lock;
    KITH__ATOMIC(uint32_t) homes;
    KITH__ATOMIC(struct kith__msg_cache *) caches[KITH__HOMES_MAX];
    struct kith__msg_cache *idle; /* of threads that have left */
};

void kith__msg_pool_open(struct kith__msg_pool *pool, const kith_allocator *allocator);
/* Frees all memory. Every cache must have been left. Returns how many messages still existed. */
uint64_t kith__msg_pool_close(struct kith__msg_pool *pool);

/* A cache for the calling thread; NULL if memory or homes are out. */
struct kith__msg_cache *kith__msg_cache_enter(struct kith__msg_pool *pool);
/* Sends home what was collected; the cache serves the next thread that enters. */
void kith__msg_cache_leave(struct kith__msg_cache *cache);
/* Sends home what was collected, before the thread sleeps. */
void kith__msg_cache_flush(struct kith__msg_cache *cache);

/* How many messages exist now; exact when no thread runs. */
uint64_t kith__msg_pool_count(struct kith__msg_pool *pool);

struct kith_msg *kith__msg_make_slow(struct kith__msg_cache *cache, size_t body_bytes);
void kith__msg_free_slow(struct kith__msg_cache *cache, struct kith_msg *msg);

static inline unsigned kith__msg_small_class(size_t bytes)
{
    unsigned cls = (unsigned)((bytes + KITH__SMALL_STEP - 1) / KITH__SMALL_STEP);
    const unsigned least = (KITH__MSG_HEADER_BYTES + KITH__BODY_BYTES_MIN) / KITH__SMALL_STEP;
    return cls < least ? least : cls;
}

/* A message with room for body_bytes, header zeroed but for its memory's fields; body not
 * initialized. NULL if memory is out or body_bytes is beyond KITH_MESSAGE_BYTES_MAX. */
static inline struct kith_msg *kith__msg_make(struct kith__msg_cache *cache, size_t body_bytes)
{
#if !KITH_MALLOC
    size_t bytes = body_bytes + KITH__MSG_HEADER_BYTES;
    if (KITH__LIKELY(bytes <= KITH__SMALL_BYTES && body_bytes < bytes)) {
        unsigned cls = kith__msg_small_class(bytes);
        struct kith_msg *msg = cache->classes[cls].free;
        if (KITH__LIKELY(msg != NULL)) {
            cache->classes[cls].free = msg->next;
            kith__count(&cache->made);
            msg->flags = 0;
            return msg;
        }
    }
#endif
    return kith__msg_make_slow(cache, body_bytes);
}

/* Gives the memory back; the body's drop is the caller's. */
static inline void kith__msg_free(struct kith__msg_cache *cache, struct kith_msg *msg)
{
#if !KITH_MALLOC
    if (KITH__LIKELY(msg->home == cache->home && msg->cls < KITH__MSG_CLASSES)) {
        msg->next = cache->classes[msg->cls].free;
        cache->classes[msg->cls].free = msg;
        kith__count(&cache->ended);
        return;
    }
#endif
    kith__msg_free_slow(cache, msg);
}

/* Ends a message: its drop, then its memory. */
static inline void kith__msg_end(struct kith__msg_cache *cache, struct kith_msg *msg)
{
    if (KITH__UNLIKELY(msg->type->drop != NULL))
        msg->type->drop(kith__msg_body(msg));
    kith__msg_free(cache, msg);
}

/* How many bytes of body the memory of msg has room for, at least. */
size_t kith__msg_room(const struct kith_msg *msg);

#endif
