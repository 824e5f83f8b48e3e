/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The handle table; see handle.h for what it keeps. Slots live in chunks of KITH__CHUNK_SLOTS of
 * one kind and size, so that a handle is found by one look at the chunk list and one multiplication.
 * Generational slabs are folklore ("slot maps"); the retirement of a slot at its last generation is
 * what makes them exact.
 */
#include "base/handle.h"
#include <string.h>
#include <sys/mman.h>

#define CHUNKS_MAX ((KITH__SLOT_MAX + 1) / KITH__CHUNK_SLOTS)

/* H3: where the generations of the next table with this number begin. */
static pthread_mutex_t numbers_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t next_gen[KITH__TABLES_MAX];
static uint32_t next_chunk[KITH__TABLES_MAX]; /* the first whose generations are not used up */
static uint32_t numbers_used;
static uint32_t numbers_turn;

static int number_take(void)
{
    int found = -1;
    pthread_mutex_lock(&numbers_lock);
    for (uint32_t i = 0; i < KITH__TABLES_MAX && found < 0; i++) {
        uint32_t n = (numbers_turn + i) % KITH__TABLES_MAX;
        if ((numbers_used & 1u << n) == 0 && next_chunk[n] < CHUNKS_MAX)
            found = (int)n;
    }
    if (found >= 0) {
        numbers_used |= 1u << found;
        numbers_turn = (uint32_t)found + 1;
    }
    pthread_mutex_unlock(&numbers_lock);
    return found;
}

/* A table whose slots have seen many generations leaves their numbers for good: the next one begins
 * with fresh slots and with the first generation. */
static void number_give(uint32_t number, uint32_t last_gen, uint32_t chunks)
{
    bool worn = last_gen >= KITH__GEN_MAX / 2;
    pthread_mutex_lock(&numbers_lock);
    numbers_used &= ~(1u << number);
    next_gen[number] = worn ? 0 : last_gen;
    if (worn)
        next_chunk[number] = chunks;
    pthread_mutex_unlock(&numbers_lock);
}

kith_err kith__table_open(struct kith__table *table, const kith_allocator *allocator)
{
    memset(table, 0, sizeof *table);
    int number = number_take();
    if (number < 0)
        return KITH_EAGAIN;
    table->number = (uint32_t)number;
    table->first_gen = next_gen[number] + 1;
    table->first_chunk = next_chunk[number];
    kith__store_rlx(&table->chunk_count, table->first_chunk);
    table->allocator = allocator;
    /* Mapped, not allocated: 4 MiB, of which only what is used is ever touched. */
    table->chunks = mmap(NULL, CHUNKS_MAX * sizeof *table->chunks, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (table->chunks == MAP_FAILED) {
        number_give(table->number, next_gen[number], table->first_chunk);
        return KITH_ENOMEM;
    }
    pthread_mutex_init(&table->lock, NULL);
    return KITH_OK;
}

static uint32_t chunk_last_gen(const struct kith__chunk *chunk)
{
    const char *base = kith__load_rlx(&chunk->base);
    uint32_t last = 0;
    for (uint32_t i = 0; i < KITH__CHUNK_SLOTS; i++) {
        const struct kith__slot *slot = (const void *)(base + (size_t)i * chunk->bytes);
        uint32_t gen = kith__bits_gen(kith__load_rlx(&slot->bits));
        last = gen > last ? gen : last;
    }
    return last;
}

void kith__table_close(struct kith__table *table)
{
    uint32_t last = table->first_gen;
    uint32_t n = kith__load_rlx(&table->chunk_count); /* all other threads have been joined */
    for (uint32_t i = table->first_chunk; i < n; i++) {
        struct kith__chunk *chunk = &table->chunks[i];
        uint32_t gen = chunk_last_gen(chunk);
        last = gen > last ? gen : last;
        kith__free(table->allocator, kith__load_rlx(&chunk->base),
                   (size_t)chunk->bytes * KITH__CHUNK_SLOTS);
    }
    munmap(table->chunks, CHUNKS_MAX * sizeof *table->chunks);
    pthread_mutex_destroy(&table->lock);
    number_give(table->number, last, n);
}

static uint64_t bits_make(const struct kith__table *table, uint32_t kind, uint32_t slot,
                          uint32_t gen)
{
    uint32_t tag = kind << KITH__RT_BITS | table->number;
    return (uint64_t)tag << (KITH__GEN_BITS + KITH__SLOT_BITS) | (uint64_t)slot << KITH__GEN_BITS |
           gen;
}

uint64_t kith__slot_bits(const struct kith__table *table, const struct kith__slot *slot,
                         uint32_t kind)
{
    uint64_t bits = kith__load_rlx(&slot->bits); /* the caller owns the slot */
    return bits_make(table, kind, kith__bits_slot(bits), kith__bits_gen(bits));
}

/* Under the lock. */
static bool chunk_add(struct kith__table *table, unsigned cls, uint32_t kind, uint32_t bytes)
{
    uint32_t n = kith__load_rlx(&table->chunk_count);
    if (n == CHUNKS_MAX)
        return false;
    char *base = kith__alloc_zero(table->allocator, (size_t)bytes * KITH__CHUNK_SLOTS, 64);
    if (base == NULL)
        return false;
    for (uint32_t i = 0; i < KITH__CHUNK_SLOTS; i++) {
        struct kith__slot *slot = (void *)(base + (size_t)i * bytes);
        uint32_t number = n * KITH__CHUNK_SLOTS + i;
        kith__store_rlx(&slot->bits, bits_make(table, KITH__KIND_NONE, number, table->first_gen));
    }
    struct kith__chunk *chunk = &table->chunks[n];
    chunk->bytes = bytes;
    chunk->tag = kind << KITH__RT_BITS | table->number;
    kith__store_rel(&chunk->base, base);         /* release H-PUB; pairs with kith__handle_find */
    kith__store_seq(&table->chunk_count, n + 1); /* seq; pairs with S1 in actors/shutdown.c */
    table->shared[cls].fresh_slot = n * KITH__CHUNK_SLOTS;
    table->shared[cls].fresh_left = KITH__CHUNK_SLOTS;
    return true;
}

/* Under the lock: moves one slot from the shared store to the cache. */
static bool refill_one(struct kith__table *table, struct kith__slot_cache *cache, unsigned cls)
{
    struct kith__class_shared *shared = &table->shared[cls];
    struct kith__slot *slot = shared->free;
    if (slot != NULL) {
        shared->free = slot->next;
    } else if (shared->fresh_left > 0) {
        const struct kith__chunk *chunk = &table->chunks[shared->fresh_slot / KITH__CHUNK_SLOTS];
        /* Handed out from the back, so that the cache, a stack, gives them out in order. */
        shared->fresh_left--;
        uint32_t i = (shared->fresh_slot + shared->fresh_left) % KITH__CHUNK_SLOTS;
        slot = (void *)(kith__load_rlx(&chunk->base) + (size_t)i * chunk->bytes);
    } else {
        return false;
    }
    slot->next = cache->free[cls];
    cache->free[cls] = slot;
    cache->count[cls]++;
    return true;
}

static void refill(struct kith__table *table, struct kith__slot_cache *cache, unsigned cls,
                   uint32_t kind, uint32_t bytes)
{
    pthread_mutex_lock(&table->lock);
    uint32_t n = 0;
    while (n < KITH__SLOT_BATCH && refill_one(table, cache, cls))
        n++;
    if (n == 0 && chunk_add(table, cls, kind, bytes))
        while (n < KITH__SLOT_BATCH && refill_one(table, cache, cls))
            n++;
    pthread_mutex_unlock(&table->lock);
}

struct kith__slot *kith__slot_alloc(struct kith__table *table, struct kith__slot_cache *cache,
                                    unsigned cls, uint32_t kind, uint32_t bytes)
{
    if (KITH__UNLIKELY(cache->free[cls] == NULL))
        refill(table, cache, cls, kind, bytes);
    struct kith__slot *slot = cache->free[cls];
    if (slot != NULL) {
        cache->free[cls] = slot->next;
        cache->count[cls]--;
    }
    return slot;
}

void kith__slot_kill(struct kith__slot *slot)
{
    uint64_t bits = kith__load_rlx(&slot->bits); /* only the owner writes it */
    kith__assert(kith__bits_gen(bits) < KITH__GEN_MAX);
    /* A finder that still sees the old bits is stopped by the object's own state (an inbox that is
     * closed, a generation that a message carries). Release H-END; pairs with kith__post_ended: who
     * is told that a task is gone sees what it did. */
    kith__store_rel(&slot->bits, (bits & ((UINT64_C(1) << 61) - 1)) + 1);
}

static void spill(struct kith__table *table, struct kith__slot_cache *cache, unsigned cls,
                  uint32_t n)
{
    struct kith__slot *first = cache->free[cls];
    struct kith__slot *last = first;
    for (uint32_t i = 1; i < n; i++)
        last = last->next;
    cache->free[cls] = last->next;
    cache->count[cls] -= n;
    pthread_mutex_lock(&table->lock);
    last->next = table->shared[cls].free;
    table->shared[cls].free = first;
    pthread_mutex_unlock(&table->lock);
}

void kith__slot_free(struct kith__table *table, struct kith__slot_cache *cache, unsigned cls,
                     struct kith__slot *slot)
{
    if (KITH__UNLIKELY(kith__bits_gen(kith__load_rlx(&slot->bits)) == KITH__GEN_MAX))
        return; /* H2: retired, the last generation is never used */
    slot->next = cache->free[cls];
    cache->free[cls] = slot;
    if (KITH__UNLIKELY(++cache->count[cls] >= 4 * KITH__SLOT_BATCH))
        spill(table, cache, cls, 2 * KITH__SLOT_BATCH);
}

void kith__slot_cache_drain(struct kith__table *table, struct kith__slot_cache *cache)
{
    for (unsigned cls = 0; cls < KITH__CLASSES; cls++)
        if (cache->count[cls] > 0)
            spill(table, cache, cls, cache->count[cls]);
}

bool kith__slot_was(const struct kith__table *table, const struct kith__slot *slot, uint64_t bits)
{
    uint32_t gen = kith__bits_gen(bits);
    uint64_t now = kith__load_rlx(&slot->bits); /* a hint for the error's name only */
    return gen >= table->first_gen && gen < kith__bits_gen(now);
}
