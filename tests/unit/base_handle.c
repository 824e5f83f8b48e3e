/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of base/handle.c: slots, generations, tables one after the other.
 * Run by: the test driver; --seed N repeats the random run.
 * What it holds: H1 to H4 of base/handle.h, each by name where it is checked.
 * Threads: one; what many threads do to the table is tests/stress/churn.c.
 * Why the tests write generations into slots: two thousand million deaths would take minutes. The
 *   test that wears a table's number out stands last, because that number is gone for the process.
 */
#include "base/handle.h"

#include "base/random.h"
#include "tests/unit/test.h"

#define BYTES 128u
#define CLS 1u
#define KIND KITH__KIND_ACTOR
#define CHUNKS_MAX ((KITH__SLOT_MAX + 1) / KITH__CHUNK_SLOTS)

/* ---- an allocator that counts, and fails when told ---- */

static size_t bytes_out;
static bool out_of_memory;

static void *counted_alloc(void *arg, size_t bytes, size_t align)
{
    (void)arg;
    if (out_of_memory)
        return NULL;
    bytes_out += bytes;
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}

static void counted_free(void *arg, void *memory, size_t bytes)
{
    (void)arg;
    bytes_out -= bytes;
    free(memory);
}

static const kith_allocator counted = {counted_alloc, counted_free, NULL};

static struct kith__table table;
static struct kith__slot_cache cache;

static bool start(void)
{
    memset(&cache, 0, sizeof cache);
    kith_err err = kith__table_open(&table, &counted);
    CHECK_EQ(err, KITH_OK);
    return err == KITH_OK;
}

static void finish(void)
{
    kith__slot_cache_drain(&table, &cache);
    kith__table_close(&table);
    CHECK_EQ(bytes_out, (size_t)0);
}

/* An object, as its owners make one; its handle. NULL if slots are out. */
static struct kith__slot *make(uint64_t *bits)
{
    struct kith__slot *slot = kith__slot_alloc(&table, &cache, CLS, KIND, BYTES);
    if (slot == NULL)
        return NULL;
    *bits = kith__slot_bits(&table, slot, KIND);
    kith__store_rlx(&slot->bits, *bits);
    return slot;
}

static void end(struct kith__slot *slot)
{
    kith__slot_kill(slot);
    kith__slot_free(&table, &cache, CLS, slot);
}

static bool alive(uint64_t bits)
{
    struct kith__slot *slot = kith__handle_find(&table, bits);
    return slot != NULL && kith__load_rlx(&slot->bits) == bits;
}

static bool stale(uint64_t bits)
{
    struct kith__slot *slot = kith__handle_find(&table, bits);
    return slot != NULL && kith__load_rlx(&slot->bits) != bits &&
           kith__slot_was(&table, slot, bits);
}

static uint64_t with_gen(uint64_t bits, uint32_t gen)
{
    return (bits & ~(uint64_t)KITH__GEN_MAX) | gen;
}

static uint64_t with_slot(uint64_t bits, uint32_t slot)
{
    const uint64_t mask = (uint64_t)KITH__SLOT_MAX << KITH__GEN_BITS;
    return (bits & ~mask) | (uint64_t)slot << KITH__GEN_BITS;
}

/* ---- one object ---- */

TEST(a_handle_says_kind_runtime_slot_and_generation)
{
    REQUIRE(start());
    uint64_t bits = 0;
    REQUIRE(make(&bits) != NULL);
    CHECK_EQ(kith__bits_kind(bits), (uint32_t)KIND);
    CHECK_EQ(kith__bits_tag(bits), (uint32_t)KIND << KITH__RT_BITS | table.number);
    CHECK_LT(kith__bits_slot(bits), KITH__CHUNK_SLOTS);
    CHECK_EQ(kith__bits_gen(bits), table.first_gen);
    CHECK(kith__bits_gen(bits) > 0);
    finish();
}

TEST(a_live_handle_finds_its_object_and_a_dead_one_is_stale)
{
    REQUIRE(start());
    uint64_t bits = 0;
    struct kith__slot *slot = make(&bits);
    REQUIRE(slot != NULL);
    CHECK(kith__handle_find(&table, bits) == slot);
    CHECK(alive(bits));
    CHECK(!kith__slot_was(&table, slot, bits));
    kith__slot_kill(slot);
    CHECK(!alive(bits));
    CHECK(stale(bits));
    CHECK_EQ(kith__bits_kind(kith__load_rlx(&slot->bits)), (uint32_t)KITH__KIND_NONE);
    kith__slot_free(&table, &cache, CLS, slot);
    CHECK(stale(bits));
    finish();
}

/* H2: the memory comes again, the name does not. */
TEST(the_next_object_in_a_slot_has_another_name)
{
    REQUIRE(start());
    uint64_t first = 0;
    uint64_t before = 0;
    struct kith__slot *slot = make(&first);
    REQUIRE(slot != NULL);
    before = first;
    for (int i = 0; i < 1000; i++) {
        uint64_t bits = 0;
        end(slot);
        CHECK(make(&bits) == slot);
        CHECK_EQ(kith__bits_slot(bits), kith__bits_slot(first));
        CHECK_EQ(kith__bits_gen(bits), kith__bits_gen(before) + 1);
        CHECK(stale(first));
        CHECK(stale(before));
        CHECK(alive(bits));
        before = bits;
    }
    finish();
}

TEST(a_made_up_handle_is_none_and_never_was)
{
    REQUIRE(start());
    uint64_t bits = 0;
    struct kith__slot *slot = make(&bits);
    REQUIRE(slot != NULL);
    /* A generation to come, one before the table began, a slot that was never used. */
    CHECK(!alive(bits + 1));
    CHECK(!stale(bits + 1));
    CHECK(!stale(with_gen(bits, table.first_gen - 1)));
    CHECK(!alive(with_slot(bits, 1)));
    CHECK(!stale(with_slot(bits, 1)));
    /* A chunk that is not there; the last slot there could be. */
    CHECK(kith__handle_find(&table, with_slot(bits, KITH__CHUNK_SLOTS)) == NULL);
    CHECK(kith__handle_find(&table, with_slot(bits, KITH__SLOT_MAX)) == NULL);
    /* Another kind, another runtime, nothing, and an error. */
    CHECK(kith__handle_find(&table, kith__slot_bits(&table, slot, KITH__KIND_TIMER)) == NULL);
    const uint64_t other_runtime = bits ^ (uint64_t)1 << (KITH__GEN_BITS + KITH__SLOT_BITS);
    CHECK(kith__handle_find(&table, other_runtime) == NULL);
    CHECK(kith__handle_find(&table, 0) == NULL);
    CHECK(kith__handle_find(&table, kith__bits_error(KITH_ENOMEM)) == NULL);
    CHECK_EQ(kith__bits_kind(kith__bits_error(KITH_ENOMEM)), (uint32_t)KITH__KIND_ERROR);
    finish();
}

/* ---- many ---- */

/* H4: what was never an object reads as dead, under its own number. */
TEST(new_memory_is_zeroed_and_numbered)
{
    REQUIRE(start());
    uint64_t bits = 0;
    struct kith__slot *used = make(&bits);
    REQUIRE(used != NULL);
    for (uint32_t i = 0; i < KITH__CHUNK_SLOTS; i++) {
        struct kith__slot *slot = kith__handle_find(&table, with_slot(bits, i));
        REQUIRE(slot != NULL);
        if (slot == used)
            continue;
        uint64_t there = kith__load_rlx(&slot->bits);
        CHECK_EQ(kith__bits_kind(there), (uint32_t)KITH__KIND_NONE);
        CHECK_EQ(kith__bits_slot(there), i);
        CHECK_EQ(kith__bits_gen(there), table.first_gen);
        for (size_t at = sizeof *slot; at < BYTES; at++)
            CHECK_EQ(((const char *)slot)[at], (char)0);
    }
    finish();
}

TEST(slots_are_given_out_once_and_in_order)
{
    enum { N = 3 * KITH__CHUNK_SLOTS + 5 };
    REQUIRE(start());
    static uint64_t bits[N];
    for (uint32_t i = 0; i < N; i++) {
        struct kith__slot *slot = make(&bits[i]);
        REQUIRE(slot != NULL);
        CHECK_EQ((uintptr_t)slot % 64, (uintptr_t)0);
    }
    for (uint32_t i = 0; i < N; i++) {
        CHECK(alive(bits[i]));
        if (i % KITH__SLOT_BATCH != 0)
            CHECK_EQ(kith__bits_slot(bits[i]), kith__bits_slot(bits[i - 1]) + 1);
    }
    static unsigned char seen[4 * KITH__CHUNK_SLOTS];
    memset(seen, 0, sizeof seen);
    for (uint32_t i = 0; i < N; i++)
        CHECK_EQ(seen[kith__bits_slot(bits[i])]++, (unsigned char)0);
    finish();
}

/* H1: each class and kind has chunks of its own. */
TEST(classes_do_not_share_memory)
{
    REQUIRE(start());
    struct kith__slot *small = kith__slot_alloc(&table, &cache, 0, KIND, 64);
    struct kith__slot *ask = kith__slot_alloc(&table, &cache, KITH__CLASS_ASK, KITH__KIND_ASK, 192);
    struct kith__slot *timer =
        kith__slot_alloc(&table, &cache, KITH__CLASS_TIMER, KITH__KIND_TIMER, 64);
    REQUIRE(small != NULL && ask != NULL && timer != NULL);
    uint64_t bits[3] = {kith__slot_bits(&table, small, KIND),
                        kith__slot_bits(&table, ask, KITH__KIND_ASK),
                        kith__slot_bits(&table, timer, KITH__KIND_TIMER)};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < i; j++)
            CHECK_NE(kith__bits_slot(bits[i]) / KITH__CHUNK_SLOTS,
                     kith__bits_slot(bits[j]) / KITH__CHUNK_SLOTS);
    CHECK(kith__handle_find(&table, bits[1]) == ask);
    CHECK(kith__handle_find(&table, with_slot(bits[0], kith__bits_slot(bits[1]))) == NULL);
    kith__slot_free(&table, &cache, KITH__CLASS_ASK, ask);
    CHECK(kith__slot_alloc(&table, &cache, 0, KIND, 64) != ask);
    CHECK(kith__slot_alloc(&table, &cache, KITH__CLASS_ASK, KITH__KIND_ASK, 192) == ask);
    finish();
}

/* What one cache frees, another gets: nothing is stranded. */
TEST(slots_go_from_cache_to_cache)
{
    enum { N = 8 * KITH__CHUNK_SLOTS };
    REQUIRE(start());
    static struct kith__slot *slots[N];
    uint64_t bits = 0;
    for (uint32_t i = 0; i < N; i++)
        REQUIRE((slots[i] = make(&bits)) != NULL);
    for (uint32_t i = 0; i < N; i++)
        end(slots[i]);
    CHECK(cache.count[CLS] < 4 * KITH__SLOT_BATCH);
    kith__slot_cache_drain(&table, &cache);
    CHECK_EQ(cache.count[CLS], 0u);
    CHECK(cache.free[CLS] == NULL);
    uint32_t chunks = kith__load_rlx(&table.chunk_count);
    struct kith__slot_cache other;
    memset(&other, 0, sizeof other);
    for (uint32_t i = 0; i < N; i++)
        REQUIRE(kith__slot_alloc(&table, &other, CLS, KIND, BYTES) != NULL);
    CHECK_EQ(kith__load_rlx(&table.chunk_count), chunks);
    finish();
}

/* Random life and death against a list of who lives: H2 and stale handles, all of them. */
TEST(random_lives_and_deaths)
{
    enum { ROOM = 512, STEPS = 20000, OLD = 4096 };
    REQUIRE(start());
    static struct kith__slot *live[ROOM];
    static uint64_t live_bits[ROOM];
    static uint64_t old[OLD];
    struct kith__random random;
    kith__random_seed(&random, test_seed());
    uint32_t n = 0;
    uint32_t olds = 0;
    for (int step = 0; step < STEPS; step++) {
        bool grow = n == 0 || (n < ROOM && kith__random_below(&random, 2) == 0);
        if (grow) {
            REQUIRE((live[n] = make(&live_bits[n])) != NULL);
            n++;
        } else {
            uint32_t i = (uint32_t)kith__random_below(&random, n);
            CHECK(kith__handle_find(&table, live_bits[i]) == live[i]);
            end(live[i]);
            old[olds++ % OLD] = live_bits[i];
            live[i] = live[--n];
            live_bits[i] = live_bits[n];
        }
        if (olds > 0)
            CHECK(stale(old[kith__random_below(&random, olds < OLD ? olds : OLD)]));
        if (n > 0)
            CHECK(alive(live_bits[kith__random_below(&random, n)]));
    }
    finish();
}

/* ---- the ends ---- */

TEST(no_memory_is_an_error_and_no_end)
{
    REQUIRE(start());
    uint64_t bits = 0;
    out_of_memory = true;
    CHECK(make(&bits) == NULL);
    out_of_memory = false;
    CHECK(make(&bits) != NULL);
    CHECK(alive(bits));
    finish();
}

TEST(no_slots_is_an_error_and_no_end)
{
    REQUIRE(start());
    uint64_t bits = 0;
    struct kith__slot *slot = NULL;
    for (uint32_t i = 0; i < KITH__CHUNK_SLOTS; i++)
        REQUIRE((slot = make(&bits)) != NULL);
    kith__store_rlx(&table.chunk_count, CHUNKS_MAX);
    uint64_t none = 0;
    CHECK(make(&none) == NULL);
    end(slot);
    CHECK(make(&bits) == slot);
    kith__store_rlx(&table.chunk_count, 1);
    finish();
}

TEST(so_many_tables_and_no_more)
{
    static struct kith__table tables[KITH__TABLES_MAX + 1];
    unsigned numbers = 0;
    for (unsigned i = 0; i < KITH__TABLES_MAX; i++) {
        REQUIRE(kith__table_open(&tables[i], NULL) == KITH_OK);
        CHECK_EQ(numbers & 1u << tables[i].number, 0u);
        numbers |= 1u << tables[i].number;
    }
    CHECK_EQ(kith__table_open(&tables[KITH__TABLES_MAX], NULL), KITH_EAGAIN);
    kith__table_close(&tables[5]);
    CHECK_EQ(kith__table_open(&tables[5], NULL), KITH_OK);
    for (unsigned i = 0; i < KITH__TABLES_MAX; i++)
        kith__table_close(&tables[i]);
}

/* H3: three rounds over all numbers; no name of an earlier table is alive in a later one. */
TEST(a_table_goes_on_where_the_last_one_of_its_number_ended)
{
    enum { ROUNDS = 3, DEATHS = 7 };
    static uint64_t names[KITH__TABLES_MAX][ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < KITH__TABLES_MAX; i++) {
            REQUIRE(start());
            uint64_t bits = 0;
            struct kith__slot *slot = make(&bits);
            for (int death = 0; slot != NULL && death < DEATHS; death++) {
                end(slot);
                slot = make(&bits);
            }
            REQUIRE(slot != NULL);
            for (int before = 0; before < round; before++) {
                CHECK_LT(kith__bits_gen(names[table.number][before]), kith__bits_gen(bits));
                CHECK(!alive(names[table.number][before]));
                CHECK(kith__bits_gen(names[table.number][before]) < table.first_gen);
            }
            names[table.number][round] = bits;
            finish();
        }
    }
}

/* H2, H3: at the end of its generations a slot is retired; the next table with the same number has
 * other slots. */
TEST(a_slot_at_its_last_generation_is_retired)
{
    REQUIRE(start());
    uint64_t bits = 0;
    struct kith__slot *slot = make(&bits);
    REQUIRE(slot != NULL);
    kith__store_rlx(&slot->bits, with_gen(bits, KITH__GEN_MAX - 2));
    end(slot);
    CHECK(make(&bits) == slot);
    CHECK_EQ(kith__bits_gen(bits), KITH__GEN_MAX - 1);
    end(slot);
    CHECK_EQ(kith__bits_gen(kith__load_rlx(&slot->bits)), KITH__GEN_MAX);
    CHECK(stale(bits));
    uint64_t other = 0;
    for (uint32_t i = 0; i < 2 * KITH__CHUNK_SLOTS; i++) {
        struct kith__slot *next = make(&other);
        REQUIRE(next != NULL);
        CHECK(next != slot);
    }
    uint32_t worn = table.number;
    uint32_t used = kith__load_rlx(&table.chunk_count) * KITH__CHUNK_SLOTS;
    finish();
    unsigned seen = 0;
    for (unsigned i = 0; i < 2 * KITH__TABLES_MAX; i++) {
        REQUIRE(start());
        CHECK(table.first_gen < KITH__GEN_MAX);
        REQUIRE(make(&other) != NULL);
        if (table.number == worn) {
            CHECK(kith__bits_slot(other) >= used);
            CHECK(kith__handle_find(&table, bits) == NULL);
            seen++;
        }
        finish();
    }
    CHECK_LT(0u, seen);
}
