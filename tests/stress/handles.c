/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of base/handle.c: threads that make and end objects in one table, and one that looks for
 * objects by made-up handles meanwhile.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: H1, H2 and H4 of base/handle.h: a slot is in one thread's hands at a time, a name is
 *   given once, and whatever a finder meets is a slot with its own number, also while it is made.
 * Threads: makers, each with a cache, and a finder.
 */
#include "tests/stress/stress.h"

#include "base/handle.h"

#define MAKERS 3u
#define ROOM 2000u
#define KIND KITH__KIND_ACTOR
#define BYTES 64u
#define SLOTS_MAX ((uint64_t)MAKERS * (ROOM + 8 * KITH__CHUNK_SLOTS))

static struct kith__table table;
static KITH__ATOMIC(uint32_t) making;
static uint64_t steps;
static uint32_t latest_gen[SLOTS_MAX]; /* the owner's, handed on with its slot */

struct object {
    struct kith__slot slot;
    uint64_t maker; /* plain memory: who has it now */
};

static struct object *object_new(struct kith__slot_cache *cache, unsigned maker)
{
    struct object *object = (void *)kith__slot_alloc(&table, cache, 0, KIND, BYTES);
    if (object == NULL)
        return NULL;
    uint64_t bits = kith__slot_bits(&table, &object->slot, KIND);
    uint32_t slot = kith__bits_slot(bits);
    CHECK_LT(slot, SLOTS_MAX);
    if (slot < SLOTS_MAX) {
        CHECK_GT(kith__bits_gen(bits), latest_gen[slot]);
        latest_gen[slot] = kith__bits_gen(bits);
    }
    object->maker = maker;
    kith__store_rlx(&object->slot.bits, bits);
    return object;
}

static void maker_main(unsigned index)
{
    struct object *objects[ROOM];
    struct kith__slot_cache cache;
    struct kith__random random;
    uint32_t n = 0;
    memset(&cache, 0, sizeof cache);
    stress_random(&random, index);
    for (uint64_t i = 0; i < steps; i++) {
        bool many =
            i / (UINT64_C(2) * ROOM) % 2 == 0; /* it swells and shrinks, so that slots wander */
        bool grow = n == 0 || (n < ROOM && kith__random_below(&random, 4) < (many ? 3 : 1));
        if (grow) {
            objects[n] = object_new(&cache, index);
            REQUIRE(objects[n] != NULL);
            n++;
            continue;
        }
        uint64_t at = kith__random_below(&random, n);
        struct object *object = objects[at];
        objects[at] = objects[--n];
        CHECK_EQ(object->maker, (uint64_t)index);
        kith__slot_kill(&object->slot);
        kith__slot_free(&table, &cache, 0, &object->slot);
    }
    kith__slot_cache_drain(&table, &cache);
    kith__sub_ar(&making, 1);
}

static void finder_main(void)
{
    struct kith__random random;
    stress_random(&random, MAKERS);
    uint64_t tag = (uint64_t)(KIND << KITH__RT_BITS | table.number);
    while (kith__load_acq(&making) > 0) {
        uint64_t slot = kith__random_below(&random, SLOTS_MAX);
        uint64_t gen = table.first_gen + kith__random_below(&random, 8);
        uint64_t bits = tag << (KITH__GEN_BITS + KITH__SLOT_BITS) | slot << KITH__GEN_BITS | gen;
        const struct kith__slot *found = kith__handle_find(&table, bits);
        if (found == NULL)
            continue;
        uint64_t there = kith__load_rlx(&found->bits);
        CHECK_EQ((uint64_t)kith__bits_slot(there), slot);
        CHECK_GE(kith__bits_gen(there), table.first_gen);
    }
}

static void either(unsigned index, void *arg)
{
    (void)arg;
    if (index < MAKERS)
        maker_main(index);
    else
        finder_main();
}

TEST(makers_and_a_finder)
{
    stress_limit("makers_and_a_finder");
    for (uint64_t i = stress_times(150); i-- > 0 && test_failures == 0;) {
        memset(latest_gen, 0, sizeof latest_gen);
        REQUIRE(kith__table_open(&table, NULL) == KITH_OK);
        steps = UINT64_C(20) * ROOM;
        kith__store_rlx(&making, MAKERS);
        stress_threads(MAKERS + 1, either, NULL);
        kith__table_close(&table);
    }
    alarm(0);
}
