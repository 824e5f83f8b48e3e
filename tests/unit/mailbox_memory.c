/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of mailbox/memory.c: sizes, reuse, the way home, and what is counted.
 * Run by: the test driver. With KITH_MALLOC=1 the tests of the pools pass over what is not there.
 * What it holds: P1 to P3 of mailbox/memory.h, one thread playing several; the threads are in
 *   tests/stress/memory.c.
 * Threads: one; a cache belongs to a thread by what its owner does, not by what it is.
 * Why every message is filled to its last byte: so that two that overlap, or one that is shorter
 *   than it says, spoil each other's pattern (or a sanitizer says so).
 */
#include "mailbox/memory.h"

#include "tests/unit/test.h"

/* ---- an allocator that counts, and fails when told ---- */

static size_t bytes_out;
static size_t asked;                  /* the largest request */
static size_t refuse_from = SIZE_MAX; /* requests this large and larger fail */

static void *counted_alloc(void *arg, size_t bytes, size_t align)
{
    (void)arg;
    asked = bytes > asked ? bytes : asked;
    if (bytes >= refuse_from)
        return NULL;
    bytes_out += bytes;
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}

static void counted_free(void *arg, void *memory, size_t bytes)
{
    (void)arg;
    if (memory != NULL)
        bytes_out -= bytes;
    free(memory);
}

static const kith_allocator counted = {counted_alloc, counted_free, NULL};

static struct kith__msg_pool pool;
static struct kith__msg_cache *a; /* two threads' caches */
static struct kith__msg_cache *b;

static bool start(void)
{
    asked = 0;
    refuse_from = SIZE_MAX;
    kith__msg_pool_open(&pool, &counted);
    a = kith__msg_cache_enter(&pool);
    b = kith__msg_cache_enter(&pool);
    CHECK(a != NULL && b != NULL && a != b);
    return a != NULL && b != NULL;
}

static void finish(uint64_t left)
{
    kith__msg_cache_leave(a);
    kith__msg_cache_leave(b);
    CHECK_EQ(kith__msg_pool_close(&pool), left);
    if (left == 0)
        CHECK_EQ(bytes_out, (size_t)0);
}

/* ---- sizes ---- */

/* How much room a pooled message for this many bytes has: what memory.h and memory.c promise. */
static size_t room_promised(size_t body)
{
    size_t bytes = body + KITH__MSG_HEADER_BYTES;
    if (KITH_MALLOC || bytes > KITH__CLASS_BYTES_MAX)
        return body < KITH__BODY_BYTES_MIN ? KITH__BODY_BYTES_MIN : body;
    if (bytes < KITH__BODY_BYTES_MIN + KITH__MSG_HEADER_BYTES)
        return KITH__BODY_BYTES_MIN;
    size_t step = KITH__SMALL_STEP;
    for (size_t base = KITH__SMALL_BYTES; bytes > base; base *= 2)
        step = base / 4;
    return (bytes + step - 1) / step * step - KITH__MSG_HEADER_BYTES;
}

static void size_is_right(size_t body)
{
    struct kith_msg *msg = kith__msg_make(a, body);
    REQUIRE(msg != NULL);
    CHECK_EQ((uintptr_t)kith__msg_body(msg) % 16, (uintptr_t)0);
    CHECK_EQ(kith__msg_room(msg), room_promised(body));
    CHECK_EQ(msg->flags, (uint8_t)0);
    memset(kith__msg_body(msg), 0xa5, kith__msg_room(msg));
    kith__msg_free(a, msg);
}

TEST(each_size_has_its_room)
{
    REQUIRE(start());
    for (size_t body = 0; body <= 1100; body++)
        size_is_right(body);
    /* Around the ends of all classes, and of the largest. */
    for (size_t base = 256; base <= (size_t)2 * KITH__CLASS_BYTES_MAX; base *= 2)
        for (size_t quarter = 4; quarter <= 8; quarter++)
            for (size_t near = 0; near < 3; near++)
                size_is_right(base / 4 * quarter - KITH__MSG_HEADER_BYTES - 1 + near);
    finish(0);
}

TEST(too_large_is_refused_before_memory_is_asked)
{
    REQUIRE(start());
    refuse_from = KITH_MESSAGE_BYTES_MAX;
    asked = 0;
    CHECK(kith__msg_make(a, KITH_MESSAGE_BYTES_MAX + 1) == NULL);
    CHECK(kith__msg_make(a, SIZE_MAX) == NULL);
    CHECK(kith__msg_make(a, SIZE_MAX - 20) == NULL);
    CHECK_EQ(asked, (size_t)0);
    CHECK(kith__msg_make(a, KITH_MESSAGE_BYTES_MAX) == NULL);
    CHECK_GT(asked, KITH_MESSAGE_BYTES_MAX);
    CHECK_EQ(kith__msg_pool_count(&pool), (uint64_t)0);
    finish(0);
}

/* P1: many of all sizes at once, none in the memory of another. */
TEST(messages_do_not_overlap)
{
    enum { N = 3000 };
    static struct kith_msg *msgs[N];
    REQUIRE(start());
    for (size_t i = 0; i < N; i++) {
        REQUIRE((msgs[i] = kith__msg_make(a, i * 37 % 3000)) != NULL);
        memset(kith__msg_body(msgs[i]), (int)(i % 251), kith__msg_room(msgs[i]));
        msgs[i]->sender = i;
    }
    CHECK_EQ(kith__msg_pool_count(&pool), (uint64_t)N);
    for (size_t i = 0; i < N; i++) {
        const unsigned char *body = kith__msg_body(msgs[i]);
        bool whole = msgs[i]->sender == i;
        for (size_t at = 0; at < kith__msg_room(msgs[i]); at++)
            whole = whole && body[at] == i % 251;
        CHECK(whole);
    }
    for (size_t i = 0; i < N; i++)
        kith__msg_free(i % 2 != 0 ? a : b, msgs[i]);
    CHECK_EQ(kith__msg_pool_count(&pool), (uint64_t)0);
    finish(0);
}

/* ---- reuse ---- */

TEST(a_message_is_used_again_and_its_flags_are_gone)
{
    REQUIRE(start());
    const size_t sizes[] = {8, 200, 1000, 30000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct kith_msg *msg = kith__msg_make(a, sizes[i]);
        REQUIRE(msg != NULL);
        msg->flags = 0xff;
        kith__msg_free(a, msg);
        struct kith_msg *again = kith__msg_make(a, sizes[i]);
        REQUIRE(again != NULL);
        if (!KITH_MALLOC)
            CHECK(again == msg);
        CHECK_EQ(again->flags, (uint8_t)0);
        kith__msg_free(a, again);
    }
    finish(0);
}

/* ---- the way home ---- */

/* Whether the next n messages of cache are those in msgs, in any order; frees them. */
static bool gives_again(struct kith__msg_cache *cache, struct kith_msg **msgs, unsigned n,
                        size_t body)
{
    unsigned found = 0;
    struct kith_msg *got[4 * KITH__BATCH];
    for (unsigned i = 0; i < n; i++) {
        got[i] = kith__msg_make(cache, body);
        for (unsigned j = 0; j < n; j++)
            found += got[i] == msgs[j];
    }
    for (unsigned i = 0; i < n; i++)
        kith__msg_free(cache, got[i]);
    return found == n;
}

static bool make_many(struct kith__msg_cache *cache, struct kith_msg **msgs, unsigned n,
                      size_t body)
{
    for (unsigned i = 0; i < n; i++)
        if ((msgs[i] = kith__msg_make(cache, body)) == NULL)
            return false;
    return true;
}

static void free_many(struct kith__msg_cache *cache, struct kith_msg **msgs, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        kith__msg_free(cache, msgs[i]);
}

TEST(a_full_batch_goes_home_by_itself)
{
    struct kith_msg *msgs[KITH__BATCH];
    REQUIRE(start());
    REQUIRE(make_many(a, msgs, KITH__BATCH, 8));
    free_many(b, msgs, KITH__BATCH);
    CHECK_EQ(kith__msg_pool_count(&pool), (uint64_t)0);
    if (!KITH_MALLOC) {
        CHECK_EQ(b->outgoing_open, 0u);
        CHECK(gives_again(a, msgs, KITH__BATCH, 8));
    }
    finish(0);
}

TEST(less_than_a_batch_goes_home_when_the_thread_sleeps)
{
    struct kith_msg *msgs[5];
    struct kith_msg *fresh;
    REQUIRE(start());
    REQUIRE(make_many(a, msgs, 5, 300));
    free_many(b, msgs, 5);
    REQUIRE((fresh = kith__msg_make(a, 300)) != NULL);
    if (!KITH_MALLOC) {
        for (int i = 0; i < 5; i++)
            CHECK(fresh != msgs[i]);
        CHECK_EQ(b->outgoing_open, 1u);
    }
    kith__msg_cache_flush(b);
    if (!KITH_MALLOC) {
        CHECK_EQ(b->outgoing_open, 0u);
        CHECK(gives_again(a, msgs, 5, 300));
    }
    kith__msg_free(a, fresh);
    finish(0);
}

TEST(what_a_leaving_thread_has_collected_goes_home)
{
    struct kith_msg *msgs[5];
    REQUIRE(start());
    REQUIRE(make_many(a, msgs, 5, 8));
    free_many(b, msgs, 5);
    kith__msg_cache_leave(b);
    if (!KITH_MALLOC)
        CHECK(gives_again(a, msgs, 5, 8));
    struct kith__msg_cache *again = kith__msg_cache_enter(&pool);
    CHECK(again == b); /* and its memory serves the next thread */
    finish(0);
}

/* A batch is of one class: the owner takes it as a free list, unseen. */
TEST(classes_go_home_apart)
{
    struct kith_msg *small[3 * KITH__BATCH];
    struct kith_msg *large[3 * KITH__BATCH];
    const unsigned n = 3 * KITH__BATCH;
    REQUIRE(start());
    REQUIRE(make_many(a, small, n, 16));
    REQUIRE(make_many(a, large, n, 1000));
    for (unsigned i = 0; i < n; i++) {
        kith__msg_free(b, small[i]);
        kith__msg_free(b, large[i]);
    }
    kith__msg_cache_flush(b);
    if (!KITH_MALLOC) {
        CHECK(gives_again(a, small, n, 16));
        CHECK(gives_again(a, large, n, 1000));
    }
    finish(0);
}

TEST(two_homes_each_get_their_own)
{
    struct kith_msg *of_a[10];
    struct kith_msg *of_b[10];
    REQUIRE(start());
    struct kith__msg_cache *c = kith__msg_cache_enter(&pool);
    REQUIRE(c != NULL);
    REQUIRE(make_many(a, of_a, 10, 8) && make_many(b, of_b, 10, 8));
    for (int i = 0; i < 10; i++) {
        kith__msg_free(c, of_a[i]);
        kith__msg_free(c, of_b[i]);
    }
    kith__msg_cache_leave(c);
    if (!KITH_MALLOC) {
        CHECK(gives_again(a, of_a, 10, 8));
        CHECK(gives_again(b, of_b, 10, 8));
    }
    finish(0);
}

/* ---- ends ---- */

static unsigned drops;
static void *dropped;

static void count_drop(void *body)
{
    drops++;
    dropped = body;
}

TEST(the_end_of_a_message_runs_its_drop_once)
{
    static const kith_type owning = {"owning", 8, count_drop};
    static const kith_type plain = {"plain", 8, NULL};
    REQUIRE(start());
    drops = 0;
    struct kith_msg *msg = kith__msg_make(a, 8);
    struct kith_msg *other = kith__msg_make(a, 8);
    REQUIRE(msg != NULL && other != NULL);
    msg->type = &owning;
    other->type = &plain;
    kith__msg_end(a, other);
    CHECK_EQ(drops, 0u);
    void *body = kith__msg_body(msg);
    kith__msg_end(a, msg);
    CHECK_EQ(drops, 1u);
    CHECK(dropped == body);
    finish(0);
}

/* P3: the number of messages that exist, whoever made and ended them. */
TEST(messages_are_counted_across_caches)
{
    struct kith_msg *msgs[100];
    REQUIRE(start());
    REQUIRE(make_many(a, msgs, 100, 40));
    CHECK_EQ(kith__msg_pool_count(&pool), (uint64_t)100);
    free_many(b, msgs, 60);
    CHECK_EQ(kith__msg_pool_count(&pool), (uint64_t)40);
    free_many(a, msgs + 60, 40);
    CHECK_EQ(kith__msg_pool_count(&pool), (uint64_t)0);
    finish(0);
}

TEST(closing_says_how_many_were_lost)
{
    REQUIRE(start());
    struct kith_msg *msgs[3];
    REQUIRE(make_many(a, msgs, 3, 8));
    if (KITH_MALLOC) { /* an allocation of its own would be a leak */
        free_many(a, msgs, 3);
        finish(0);
    } else {
        finish(3);
        CHECK_EQ(bytes_out, (size_t)0);
    }
}

TEST(no_memory_is_an_error_and_no_end)
{
    REQUIRE(start());
    refuse_from = 0;
    CHECK(kith__msg_make(a, 8) == NULL);
    CHECK(kith__msg_make(a, 100000) == NULL);
    CHECK(kith__msg_cache_enter(&pool) == NULL);
    CHECK_EQ(kith__msg_pool_count(&pool), (uint64_t)0);
    refuse_from = SIZE_MAX;
    struct kith_msg *msg = kith__msg_make(a, 8);
    REQUIRE(msg != NULL);
    kith__msg_free(a, msg);
    finish(0);
}

/* Freeing never fails: without memory for the batches, each message goes home alone. */
TEST(messages_come_home_without_memory)
{
    struct kith_msg *msgs[5];
    REQUIRE(start());
    REQUIRE(make_many(a, msgs, 5, 8));
    refuse_from = 0;
    free_many(b, msgs, 5);
    refuse_from = SIZE_MAX;
    CHECK_EQ(b->outgoing_open, 0u);
    CHECK_EQ(kith__msg_pool_count(&pool), (uint64_t)0);
    if (!KITH_MALLOC)
        CHECK(gives_again(a, msgs, 5, 8));
    finish(0);
}

TEST(so_many_homes_and_no_more)
{
    static struct kith__msg_cache *caches[KITH__HOMES_MAX];
    kith__msg_pool_open(&pool, NULL);
    for (unsigned i = 0; i < KITH__HOMES_MAX; i++)
        REQUIRE((caches[i] = kith__msg_cache_enter(&pool)) != NULL);
    CHECK(kith__msg_cache_enter(&pool) == NULL);
    kith__msg_cache_leave(caches[7]);
    CHECK(kith__msg_cache_enter(&pool) == caches[7]);
    for (unsigned i = 0; i < KITH__HOMES_MAX; i++)
        kith__msg_cache_leave(caches[i]);
    CHECK_EQ(kith__msg_pool_close(&pool), (uint64_t)0);
}
