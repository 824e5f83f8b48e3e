/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of mailbox/memory.c: messages that end on other threads than they were made on.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: P1 to P3 of mailbox/memory.h: no two messages share memory, what ends elsewhere
 *   comes home and is used again (so memory stays bounded however many messages pass), and the
 *   count is zero at the end.
 * Threads: each has a cache and an inbox; a message's body is plain memory, handed on by inboxes.
 */
#include "tests/stress/stress.h"

#include "mailbox/inbox.h"
#include "mailbox/memory.h"

#define THREADS 4u
#define ON_THE_WAY_MAX 500u /* of one thread's, so that memory has a bound */

/* ---- an allocator that counts ---- */

static KITH__ATOMIC(uint64_t) bytes_out;
static KITH__ATOMIC(uint64_t) bytes_most;

static void *counted_alloc(void *arg, size_t bytes, size_t align)
{
    (void)arg;
    uint64_t now = kith__add_rlx(&bytes_out, bytes) + bytes;
    uint64_t most = kith__load_rlx(&bytes_most);
    while (now > most && !kith__cas_rlx(&bytes_most, &most, now))
        continue;
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}

static void counted_free(void *arg, void *memory, size_t bytes)
{
    (void)arg;
    if (memory != NULL)
        kith__sub_rlx(&bytes_out, bytes);
    free(memory);
}

static const kith_allocator counted = {counted_alloc, counted_free, NULL};

/* ---- threads that send each other messages ---- */

static struct kith__msg_pool pool;
static kith__inbox inboxes[THREADS];
static KITH__ATOMIC(uint64_t) on_the_way[THREADS]; /* made by it, not ended yet */
static KITH__ATOMIC(uint32_t) making;
static uint64_t each;

static void fill(struct kith_msg *msg, size_t bytes, uint64_t value)
{
    msg->sender = value;
    memset(kith__msg_body(msg), (int)(value % 251), bytes);
    ((unsigned char *)kith__msg_body(msg))[0] = (unsigned char)(bytes % 256);
}

static bool is_whole(struct kith_msg *msg, size_t bytes)
{
    const unsigned char *body = kith__msg_body(msg);
    for (size_t i = 1; i < bytes; i++)
        if (body[i] != msg->sender % 251)
            return false;
    return body[0] == bytes % 256;
}

static size_t bytes_of(uint64_t value)
{
    static const size_t sizes[] = {8, 16, 24, 100, 224, 225, 700, 5000};
    return sizes[value % (sizeof sizes / sizeof sizes[0])];
}

static void end_all(struct kith__msg_cache *cache, unsigned self)
{
    struct kith_msg *msg = kith__inbox_take(&inboxes[self]);
    while (msg != kith__inbox_end()) {
        struct kith_msg *next = msg->next;
        CHECK(is_whole(msg, bytes_of(msg->sender >> 8)));
        kith__sub_rlx(&on_the_way[msg->sender % THREADS], 1);
        kith__msg_free(cache, msg);
        msg = next;
    }
}

/* The lowest byte of a message's value is who made it; the rest is random. */
static void send_one(struct kith__msg_cache *cache, unsigned self, uint64_t number)
{
    uint64_t value = (number & ~(uint64_t)0xff) | self;
    size_t bytes = bytes_of(value >> 8);
    struct kith_msg *msg = kith__msg_make(cache, bytes);
    REQUIRE(msg != NULL);
    CHECK_EQ(msg->flags, (uint8_t)0);
    msg->flags = 0xff;
    fill(msg, bytes, value);
    kith__add_rlx(&on_the_way[self], 1);
    kith__inbox_push(&inboxes[number % THREADS], msg);
}

static void thread_main(unsigned self, void *arg)
{
    (void)arg;
    struct kith__random random;
    struct kith__msg_cache *cache = kith__msg_cache_enter(&pool);
    stress_random(&random, self);
    for (uint64_t i = 0; i < each;) {
        if (kith__load_rlx(&on_the_way[self]) < ON_THE_WAY_MAX) {
            send_one(cache, self, kith__random_next(&random));
            i++;
        } else {
            sched_yield();
        }
        if (kith__random_below(&random, 16) == 0)
            end_all(cache, self);
        if (kith__random_below(&random, 500) == 0)
            kith__msg_cache_flush(cache);
    }
    kith__sub_ar(&making, 1);
    while (kith__load_acq(&making) != 0) {
        end_all(cache, self);
        sched_yield();
    }
    end_all(cache, self);
    kith__msg_cache_leave(cache);
}

TEST(messages_end_on_other_threads)
{
    stress_limit("messages_end_on_other_threads");
    each = stress_times(500000);
    kith__store_rlx(&bytes_most, 0);
    kith__msg_pool_open(&pool, &counted);
    kith__store_rlx(&making, THREADS);
    for (unsigned i = 0; i < THREADS; i++)
        kith__inbox_open(&inboxes[i], KITH__INBOX_EMPTY);
    stress_threads(THREADS, thread_main, NULL);
    CHECK_EQ(kith__msg_pool_count(&pool), (uint64_t)0);
    CHECK_EQ(kith__msg_pool_close(&pool), (uint64_t)0);
    CHECK_EQ(kith__load_rlx(&bytes_out), (uint64_t)0);
    alarm(0);
}

/* ---- one makes, the other ends ---- */

static void maker_main(void)
{
    struct kith__msg_cache *cache = kith__msg_cache_enter(&pool);
    for (uint64_t i = 0; i < each; i++) {
        while (kith__load_rlx(&on_the_way[0]) >= ON_THE_WAY_MAX)
            sched_yield();
        struct kith_msg *msg = kith__msg_make(cache, 24);
        REQUIRE(msg != NULL);
        msg->sender = 0;
        fill(msg, 24, 0);
        kith__add_rlx(&on_the_way[0], 1);
        kith__inbox_push(&inboxes[1], msg);
    }
    kith__sub_ar(&making, 1);
    kith__msg_cache_leave(cache);
}

static void ender_main(void)
{
    struct kith__msg_cache *cache = kith__msg_cache_enter(&pool);
    bool last = false;
    while (!last) {
        last = kith__load_acq(&making) == 0;
        struct kith_msg *msg = kith__inbox_take(&inboxes[1]);
        while (msg != kith__inbox_end()) {
            struct kith_msg *next = msg->next;
            CHECK(is_whole(msg, 24));
            kith__sub_rlx(&on_the_way[0], 1);
            kith__msg_free(cache, msg);
            msg = next;
        }
        if (kith__load_rlx(&on_the_way[0]) == 0)
            sched_yield();
    }
    kith__msg_cache_leave(cache);
}

static void maker_or_ender(unsigned index, void *arg)
{
    (void)arg;
    if (index == 0)
        maker_main();
    else
        ender_main();
}

/* Ten blocks of 64 KiB would hold ten thousand of these messages; a million pass. What the caches
 * themselves take (a table of 1024 homes each) is in the bound. */
TEST(what_ends_elsewhere_is_used_again)
{
    stress_limit("what_ends_elsewhere_is_used_again");
    each = stress_times(1000000);
    kith__store_rlx(&bytes_most, 0);
    kith__msg_pool_open(&pool, &counted);
    kith__store_rlx(&making, 1);
    kith__inbox_open(&inboxes[1], KITH__INBOX_EMPTY);
    stress_threads(2, maker_or_ender, NULL);
    CHECK_EQ(kith__msg_pool_count(&pool), (uint64_t)0);
    CHECK_LT(kith__load_rlx(&bytes_most), (uint64_t)1 << 20);
    CHECK_GT(each * (KITH__MSG_HEADER_BYTES + 24), (uint64_t)1 << 20); /* or it proved nothing */
    CHECK_EQ(kith__msg_pool_close(&pool), (uint64_t)0);
    CHECK_EQ(kith__load_rlx(&bytes_out), (uint64_t)0);
    alarm(0);
}
