/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of base/alloc.c: alignment, failure, and what the program's own allocator is told.
 * Run by: the test driver. Threads: one.
 */
#include "base/alloc.h"

#include "tests/unit/test.h"

static struct {
    unsigned allocs;
    unsigned frees;
    size_t bytes;
    size_t align;
    void *arg;
    void *memory;
    bool fail;
} told;

static void *own_alloc(void *arg, size_t bytes, size_t align)
{
    told.allocs++;
    told.arg = arg;
    told.bytes = bytes;
    told.align = align;
    told.memory = told.fail ? NULL : aligned_alloc(align, (bytes + align - 1) / align * align);
    if (told.memory != NULL)
        memset(told.memory, 0xa5, bytes);
    return told.memory;
}

static void own_free(void *arg, void *memory, size_t bytes)
{
    told.frees++;
    told.arg = arg;
    told.bytes = bytes;
    told.memory = memory;
    free(memory);
}

static const kith_allocator own = {own_alloc, own_free, &told};

TEST(the_c_librarys_memory_is_aligned_and_all_there)
{
    static const kith_allocator none;
    const kith_allocator *const allocators[] = {NULL, &none};
    for (size_t i = 0; i < 2; i++)
        for (size_t align = 1; align <= 65536; align *= 2)
            for (size_t bytes = 0; bytes < 200; bytes += 33) {
                unsigned char *memory = kith__alloc(allocators[i], bytes, align);
                REQUIRE(memory != NULL);
                CHECK_EQ((uintptr_t)memory % (align < 16 ? 16 : align), 0u);
                memset(memory, 0xff, bytes);
                kith__free(allocators[i], memory, bytes);
            }
}

TEST(zeroed_memory_is_zero)
{
    for (int round = 0; round < 2; round++) {
        const kith_allocator *a = round == 0 ? NULL : &own;
        unsigned char *dirty = kith__alloc(a, 1000, 64);
        REQUIRE(dirty != NULL);
        memset(dirty, 0xff, 1000);
        kith__free(a, dirty, 1000);
        unsigned char *memory = kith__alloc_zero(a, 1000, 64);
        REQUIRE(memory != NULL);
        unsigned sum = 0;
        for (size_t i = 0; i < 1000; i++)
            sum += memory[i];
        CHECK_EQ(sum, 0u);
        kith__free(a, memory, 1000);
    }
}

TEST(too_much_is_null)
{
    /* volatile, so that no compiler warns of a size that it can see to be absurd */
    volatile size_t huge = SIZE_MAX;
    CHECK(kith__alloc(NULL, huge, 4096) == NULL);
    CHECK(kith__alloc(NULL, huge - 62, 64) == NULL);
    CHECK(kith__alloc_zero(NULL, huge, 64) == NULL);
}

TEST(the_programs_allocator_is_told_bytes_and_alignment)
{
    memset(&told, 0, sizeof told);
    void *memory = kith__alloc(&own, 100, 128);
    REQUIRE(memory != NULL);
    CHECK_EQ(told.bytes, 100u);
    CHECK_EQ(told.align, 128u);
    CHECK(told.arg == &told);
    CHECK(told.memory == memory);
    told.arg = NULL;
    kith__free(&own, memory, 100);
    CHECK_EQ(told.bytes, 100u);
    CHECK(told.arg == &told);
    CHECK(told.memory == memory);
    CHECK_EQ(told.allocs, 1u);
    CHECK_EQ(told.frees, 1u);
}

TEST(the_programs_allocator_is_promised_16_and_never_asked_for_nothing)
{
    memset(&told, 0, sizeof told);
    void *memory = kith__alloc(&own, 0, 1);
    CHECK_EQ(told.bytes, 1u);
    CHECK_EQ(told.align, 16u);
    kith__free(&own, memory, 0);
    CHECK_EQ(told.bytes, 1u);
    CHECK_EQ(told.frees, 1u);
}

TEST(failure_of_the_programs_allocator_is_null)
{
    memset(&told, 0, sizeof told);
    told.fail = true;
    CHECK(kith__alloc(&own, 100, 16) == NULL);
    CHECK(kith__alloc_zero(&own, 100, 16) == NULL);
    CHECK_EQ(told.allocs, 2u);
    kith__free(&own, NULL, 100);
    kith__free(NULL, NULL, 100);
    CHECK_EQ(told.frees, 0u);
}
