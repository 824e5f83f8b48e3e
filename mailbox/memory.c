/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Message memory; memory.h says what it keeps. The design is mimalloc's and small's: free lists by
 * size class for one thread each, and frees of other threads collected and sent home, here in
 * batches of one class so that the owner takes a batch as a ready free list, without touching it.
 */
#include "mailbox/memory.h"
#include <string.h>

#define BLOCK_BYTES ((size_t)64 * 1024)

/* ---- size classes: steps of 16 bytes up to 256, then four to each doubling up to 32 KiB ---- */

static unsigned large_class(size_t bytes, size_t *class_bytes)
{
    unsigned cls = KITH__SMALL_BYTES / KITH__SMALL_STEP + 1;
    for (size_t base = KITH__SMALL_BYTES; base < KITH__CLASS_BYTES_MAX; base *= 2) {
        for (unsigned quarter = 1; quarter <= 4; quarter++, cls++) {
            *class_bytes = base + base / 4 * quarter;
            if (bytes <= *class_bytes)
                return cls;
        }
    }
    return KITH__MSG_CLASS_NONE;
}

static unsigned class_of(size_t bytes, size_t *class_bytes)
{
    if (bytes > KITH__SMALL_BYTES)
        return large_class(bytes, class_bytes);
    unsigned cls = kith__msg_small_class(bytes);
    *class_bytes = (size_t)cls * KITH__SMALL_STEP;
    return cls;
}

/* ---- messages with an allocation of their own: the size stands before the header ---- */

#define PREFIX_BYTES 16u

static struct kith_msg *make_alone(struct kith__msg_cache *cache, size_t bytes)
{
    char *memory = kith__alloc(cache->pool->allocator, bytes + PREFIX_BYTES, 16);
    if (memory == NULL)
        return NULL;
    size_t total = bytes + PREFIX_BYTES;
    memcpy(memory, &total, sizeof total);
    struct kith_msg *msg = (void *)(memory + PREFIX_BYTES);
    memset(msg, 0, sizeof *msg);
    msg->cls = KITH__MSG_CLASS_NONE;
    msg->home = (uint16_t)cache->home;
    return msg;
}

static size_t alone_bytes(const struct kith_msg *msg)
{
    size_t total;
    memcpy(&total, (const char *)msg - PREFIX_BYTES, sizeof total);
    return total;
}

static void free_alone(struct kith__msg_cache *cache, struct kith_msg *msg)
{
    kith__free(cache->pool->allocator, (char *)msg - PREFIX_BYTES, alone_bytes(msg));
}

/* ---- the owner's side ---- */

static ck_stack_entry_t *batch_entry(struct kith_msg *first)
{
    return kith__msg_body(first);
}

/* One of the batches that came home becomes the free list, as it is. */
static bool refill_from_home(struct kith__class_cache *cls)
{
    if (cls->batches == NULL)
        cls->batches = ck_stack_batch_pop_upmc(&cls->incoming); /* acquire P4 */
    if (cls->batches == NULL)
        return false;
    cls->free = kith__msg_of(cls->batches);
    cls->batches = CK_STACK_NEXT(cls->batches);
    return true;
}

static bool refill_from_block(struct kith__msg_cache *cache, struct kith__class_cache *cls)
{
    struct kith__block *block = kith__alloc(cache->pool->allocator, BLOCK_BYTES, 64);
    if (block == NULL)
        return false;
    block->next = cache->blocks;
    block->bytes = BLOCK_BYTES;
    cache->blocks = block;
    cls->fresh = (char *)block + 64;
    cls->fresh_end = (char *)block + BLOCK_BYTES;
    return true;
}

static struct kith_msg *take_fresh(struct kith__msg_cache *cache, unsigned n, size_t bytes)
{
    struct kith__class_cache *cls = &cache->classes[n];
    if ((size_t)(cls->fresh_end - cls->fresh) < bytes && !refill_from_block(cache, cls))
        return NULL;
    struct kith_msg *msg = (void *)cls->fresh;
    cls->fresh += bytes;
    memset(msg, 0, sizeof *msg);
    msg->home = (uint16_t)cache->home;
    msg->cls = (uint8_t)n;
    return msg;
}

static struct kith_msg *make_pooled(struct kith__msg_cache *cache, unsigned n, size_t bytes)
{
    struct kith__class_cache *cls = &cache->classes[n];
    if (cls->free == NULL && !refill_from_home(cls))
        return take_fresh(cache, n, bytes);
    struct kith_msg *msg = cls->free;
    cls->free = msg->next;
    msg->flags = 0;
    return msg;
}

struct kith_msg *kith__msg_make_slow(struct kith__msg_cache *cache, size_t body_bytes)
{
    if (body_bytes > KITH_MESSAGE_BYTES_MAX)
        return NULL;
    const size_t exact = body_bytes + KITH__MSG_HEADER_BYTES;
    const size_t least = KITH__BODY_BYTES_MIN + KITH__MSG_HEADER_BYTES;
    size_t bytes = exact;
    unsigned cls = class_of(exact, &bytes);
    struct kith_msg *msg;
    if (KITH_MALLOC || cls == KITH__MSG_CLASS_NONE)
        msg = make_alone(cache, body_bytes < KITH__BODY_BYTES_MIN ? least : exact);
    else
        msg = make_pooled(cache, cls, bytes);
    if (msg != NULL)
        kith__count(&cache->made);
    return msg;
}

size_t kith__msg_room(const struct kith_msg *msg)
{
    if (msg->cls == KITH__MSG_CLASS_NONE)
        return alone_bytes(msg) - PREFIX_BYTES - KITH__MSG_HEADER_BYTES;
    if (msg->cls <= KITH__SMALL_BYTES / KITH__SMALL_STEP)
        return (size_t)msg->cls * KITH__SMALL_STEP - KITH__MSG_HEADER_BYTES;
    unsigned step = msg->cls - KITH__SMALL_BYTES / KITH__SMALL_STEP - 1;
    size_t base = (size_t)KITH__SMALL_BYTES << (step / 4);
    return base + base / 4 * (step % 4 + 1) - KITH__MSG_HEADER_BYTES;
}

/* ---- frees on another thread ---- */

static void send_home(struct kith__msg_cache *cache, struct kith__outgoing *out)
{
    struct kith_msg *first = out->first;
    /* acquire P5; pairs with cache_new. */
    struct kith__msg_cache *home = kith__load_acq(&cache->pool->caches[first->home]);
    /* release P4; pairs with refill_from_home: the batch. */
    ck_stack_push_upmc(&home->classes[first->cls].incoming, batch_entry(first));
    out->first = NULL;
    out->count = 0;
    cache->outgoing_open--;
}

/* Without memory for the table of batches, a message goes home alone. */
static void collect(struct kith__msg_cache *cache, struct kith_msg *msg)
{
    struct kith__outgoing alone = {NULL, 0};
    struct kith__outgoing *out = &alone;
    if (cache->outgoing != NULL)
        out = &cache->outgoing[msg->home];
    if (out->first != NULL && out->first->cls != msg->cls)
        send_home(cache, out);
    if (out->first == NULL)
        cache->outgoing_open++;
    msg->next = out->first;
    out->first = msg;
    if (++out->count == KITH__BATCH || out == &alone)
        send_home(cache, out);
}

void kith__msg_free_slow(struct kith__msg_cache *cache, struct kith_msg *msg)
{
    kith__count(&cache->ended);
    if (KITH_MALLOC || msg->cls == KITH__MSG_CLASS_NONE) {
        free_alone(cache, msg);
        return;
    }
    if (cache->outgoing == NULL)
        cache->outgoing =
            kith__alloc_zero(cache->pool->allocator, KITH__HOMES_MAX * sizeof *cache->outgoing, 64);
    collect(cache, msg);
}

void kith__msg_cache_flush(struct kith__msg_cache *cache)
{
    if (cache->outgoing_open == 0)
        return;
    uint32_t homes = kith__load_acq(&cache->pool->homes); /* acquire P5 */
    for (uint32_t i = 0; i < homes && cache->outgoing_open > 0; i++)
        if (cache->outgoing[i].first != NULL)
            send_home(cache, &cache->outgoing[i]);
}

/* ---- pool and caches ---- */

void kith__msg_pool_open(struct kith__msg_pool *pool, const kith_allocator *allocator)
{
    memset(pool, 0, sizeof *pool);
    pool->allocator = allocator;
    pthread_mutex_init(&pool->lock, NULL);
}

static void cache_free(struct kith__msg_cache *cache)
{
    const kith_allocator *allocator = cache->pool->allocator;
    while (cache->blocks != NULL) {
        struct kith__block *block = cache->blocks;
        cache->blocks = block->next;
        kith__free(allocator, block, block->bytes);
    }
    kith__free(allocator, cache->outgoing, KITH__HOMES_MAX * sizeof *cache->outgoing);
    kith__free(allocator, cache, sizeof *cache);
}

uint64_t kith__msg_pool_close(struct kith__msg_pool *pool)
{
    uint64_t left = kith__msg_pool_count(pool);
    uint32_t homes = kith__load_acq(&pool->homes); /* acquire P5 */
    for (uint32_t i = 0; i < homes; i++)
        cache_free(kith__load_acq(&pool->caches[i])); /* acquire P5 */
    pthread_mutex_destroy(&pool->lock);
    return left;
}

/* Under the lock. */
static struct kith__msg_cache *cache_new(struct kith__msg_pool *pool)
{
    uint32_t home = kith__load_rlx(&pool->homes);
    if (home == KITH__HOMES_MAX)
        return NULL;
    struct kith__msg_cache *cache = kith__alloc_zero(pool->allocator, sizeof *cache, 64);
    if (cache == NULL)
        return NULL;
    cache->pool = pool;
    cache->home = home;
    for (unsigned i = 0; i < KITH__MSG_CLASSES; i++)
        ck_stack_init(&cache->classes[i].incoming);
    kith__store_rel(&pool->caches[home], cache); /* release P5: the cache */
    kith__store_rel(&pool->homes, home + 1);     /* release P5: its place in the table */
    return cache;
}

struct kith__msg_cache *kith__msg_cache_enter(struct kith__msg_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct kith__msg_cache *cache = pool->idle;
    if (cache != NULL)
        pool->idle = cache->next_idle;
    else
        cache = cache_new(pool);
    pthread_mutex_unlock(&pool->lock);
    return cache;
}

void kith__msg_cache_leave(struct kith__msg_cache *cache)
{
    kith__msg_cache_flush(cache);
    struct kith__msg_pool *pool = cache->pool;
    pthread_mutex_lock(&pool->lock);
    cache->next_idle = pool->idle;
    pool->idle = cache;
    pthread_mutex_unlock(&pool->lock);
}

uint64_t kith__msg_pool_count(struct kith__msg_pool *pool)
{
    uint64_t made = 0;
    uint64_t ended = 0;
    uint32_t homes = kith__load_acq(&pool->homes); /* acquire P5 */
    for (uint32_t i = 0; i < homes; i++) {
        struct kith__msg_cache *cache = kith__load_acq(&pool->caches[i]); /* acquire P5 */
        made += kith__load_rlx(&cache->made);
        ended += kith__load_rlx(&cache->ended);
    }
    return made - ended;
}
