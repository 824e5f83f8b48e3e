/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The pool of stacks, csp/stack.c: sizes, reuse, guards, shrinking, what happens when memory or
 * mappings are out, and a hundred thousand or a million of them at once.
 */
#include "csp/context.h" /* KITH__ASAN, KITH__TSAN */
#include "csp/stack.h"
#include "tests/unit/test.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SANITIZED = KITH__ASAN || KITH__TSAN };

static struct kith__stacks stacks;
static struct kith__stack_cache cache;

static void open_stacks(bool guards)
{
    kith__stacks_open(&stacks, NULL, guards);
    memset(&cache, 0, sizeof cache);
}

static size_t size_of(const struct kith__stack *stack)
{
    return (size_t)((char *)stack->high - (char *)stack->low);
}

static struct kith__stack *take(size_t bytes)
{
    return kith__stack_take(&stacks, &cache, bytes);
}

static void give(struct kith__stack *stack)
{
    kith__stack_give(&stacks, &cache, stack);
}

/* ---- sizes ---- */

TEST(sizes_are_rounded_up)
{
    static const size_t asked[] = {0, 1, 16 << 10, (16 << 10) + 1, 100000, 1 << 20, 8 << 20};
    static const size_t got[] = {64 << 10,  16 << 10, 16 << 10, 32 << 10,
                                 128 << 10, 1 << 20,  8 << 20};
    open_stacks(true);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        struct kith__stack *stack = take(asked[i]);
        REQUIRE(stack != NULL);
        CHECK_EQ(size_of(stack), got[i]);
        CHECK_EQ((uintptr_t)stack->low % stacks.page_bytes, 0);
        CHECK_EQ(kith__stack_used(stack), 0);
        memset(stack->low, 1, size_of(stack));
        CHECK_EQ(kith__stack_used(stack), size_of(stack));
    }
    CHECK(take((8 << 20) + 1) == NULL);
    CHECK(take(SIZE_MAX) == NULL);
    kith__stacks_close(&stacks);
}

TEST(what_was_given_back_last_is_taken_first)
{
    open_stacks(true);
    struct kith__stack *a = take(0);
    struct kith__stack *b = take(0);
    struct kith__stack *other = take(32 << 10);
    REQUIRE(a != NULL && b != NULL && other != NULL);
    CHECK(a != b);
    give(a);
    give(b);
    give(other);
    CHECK(take(0) == b);
    CHECK(take(0) == a);
    kith__stacks_close(&stacks);
}

/* ---- guards ---- */

/* What becomes of a process that writes to address: the signal that ended it, 0 if none did. */
static int fate_of_writing(char *address)
{
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        abort();
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSEGV, SIG_DFL); /* not the sanitizers' */
        *(volatile char *)address = 1;
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void check_guard(const struct kith__stack *stack)
{
    char *low = stack->low;
    CHECK(stack->guarded);
    CHECK(!kith__stack_overflowed(stack));
    CHECK_EQ(fate_of_writing(low), 0);
    CHECK_EQ(fate_of_writing(low - 1), SIGSEGV);
    CHECK_EQ(fate_of_writing(low - stacks.guard_bytes), SIGSEGV);
    CHECK_EQ(fate_of_writing((char *)stack->high - 1), 0);
}

TEST(guards_fault)
{
    open_stacks(true);
    for (unsigned i = 0; i < 20; i += 19) { /* the first, and one of the second batch */
        struct kith__stack *stack = take(0);
        REQUIRE(stack != NULL);
        check_guard(stack);
    }
    kith__stacks_close(&stacks);
}

TEST(guards_by_mprotect_fault_while_mappings_last)
{
    open_stacks(true);
    stacks.guard = KITH__GUARD_MPROTECT; /* as it is before Linux 6.13 */
    stacks.mappings_left = 2 * 5 + 1;
    struct kith__stack *guarded = NULL;
    unsigned guards = 0;
    for (unsigned i = 0; i < 100; i++) {
        struct kith__stack *stack = take(0);
        REQUIRE(stack != NULL);
        if (stack->guarded)
            guarded = stack;
        guards += stack->guarded;
    }
    CHECK_EQ(guards, 5);
    CHECK_EQ(stacks.mappings_left, 1);
    CHECK(kith__load_rlx(&stacks.ran_out));
    REQUIRE(guarded != NULL);
    check_guard(guarded);
    kith__stacks_close(&stacks);
}

TEST(without_guards_an_overflow_is_seen_afterwards)
{
    open_stacks(false);
    struct kith__stack *a = take(0);
    struct kith__stack *b = take(0);
    REQUIRE(a != NULL && b != NULL);
    CHECK(!a->guarded && !b->guarded);
    CHECK(!kith__load_rlx(&stacks.ran_out)); /* nobody wanted any */
    memset(a->low, 1, size_of(a));
    memset(b->low, 1, size_of(b));
    CHECK(!kith__stack_overflowed(a));
    CHECK(!kith__stack_overflowed(b));
    ((volatile char *)a->low)[-1] = 1;
    CHECK(kith__stack_overflowed(a));
    CHECK(!kith__stack_overflowed(b));
    give(a);
    kith__stack_cache_drain(&stacks, &cache);
    CHECK(!kith__stack_overflowed(a));
    kith__stacks_close(&stacks);
}

/* ---- memory that is given back ---- */

TEST(a_pooled_stack_is_shrunk_and_keeps_its_guard)
{
    for (size_t bytes = 16 << 10; bytes <= 8 << 20; bytes *= 8) {
        open_stacks(true);
        struct kith__stack *stack = take(bytes);
        REQUIRE(stack != NULL);
        memset(stack->low, 1, size_of(stack));
        give(stack);
        CHECK_EQ(kith__stack_used(stack), bytes); /* in the thread's cache: as it was */
        kith__stack_cache_drain(&stacks, &cache);
        CHECK_EQ(kith__stack_used(stack), KITH__STACK_KEPT);
        CHECK_EQ(((char *)stack->high)[-1], 1);
        check_guard(stack);
        kith__stacks_close(&stacks);
    }
}

/* Only what was used deeply costs a second system call; a hole does not hide what lies below it. */
TEST(a_stack_used_in_one_deep_place_is_shrunk)
{
    open_stacks(true);
    struct kith__stack *stack = take(4 << 20);
    REQUIRE(stack != NULL);
    char *low = stack->low;
    low[3 * stacks.page_bytes] = 1;
    low[(2 << 20)] = 1;
    CHECK_EQ(kith__stack_used(stack), (4 << 20) - 3 * stacks.page_bytes);
    give(stack);
    kith__stack_cache_drain(&stacks, &cache);
    CHECK_EQ(kith__stack_used(stack), 0);
    kith__stacks_close(&stacks);
}

/* Many at once, some used deeply and some not, in an order of their own. */
TEST(of_many_pooled_stacks_each_is_shrunk)
{
    enum { N = 300 };
    struct kith__stack *taken[N];
    for (unsigned guards = 0; guards < 2; guards++) {
        open_stacks(guards != 0);
        for (unsigned i = 0; i < N; i++) {
            taken[i] = take(0);
            REQUIRE(taken[i] != NULL);
            size_t used = (i % 3 + 1) * ((size_t)20 << 10);
            memset((char *)taken[i]->high - used, 1, used);
        }
        for (unsigned i = 0; i < N; i++)
            give(taken[i * 7 % N]);
        kith__stack_cache_drain(&stacks, &cache);
        for (unsigned i = 0; i < N; i++) {
            CHECK_EQ(kith__stack_used(taken[i]), KITH__STACK_KEPT);
            CHECK_EQ(((char *)taken[i]->high)[-1], 1);
        }
        kith__stacks_close(&stacks);
    }
}

TEST(a_cache_is_bounded_and_spills_the_coldest)
{
    enum { N = 200 };
    struct kith__stack *taken[N];
    open_stacks(true);
    for (unsigned i = 0; i < N; i++) {
        taken[i] = take(0);
        REQUIRE(taken[i] != NULL);
    }
    uint32_t kept = cache.free[2].count; /* 16 KiB, 32 KiB, 64 KiB */
    for (unsigned i = 0; i < N; i++) {
        give(taken[i]);
        CHECK_LE(cache.free[2].count, KITH__STACK_CACHED);
    }
    CHECK_EQ(cache.free[2].count + stacks.classes[2].free.count, N + kept);
    CHECK_GE(cache.free[2].count, KITH__STACK_CACHED / 2);
    for (unsigned i = 0; i < KITH__STACK_CACHED / 2; i++)
        CHECK(take(0) == taken[N - 1 - i]);
    kith__stacks_close(&stacks);
}

TEST(a_cache_keeps_few_of_the_big_ones)
{
    struct kith__stack *taken[8];
    open_stacks(true);
    for (unsigned i = 0; i < 8; i++) {
        taken[i] = take(KITH__STACK_BYTES_MAX);
        REQUIRE(taken[i] != NULL);
    }
    for (unsigned i = 0; i < 8; i++)
        give(taken[i]);
    CHECK_LE(cache.free[KITH__STACK_CLASSES - 1].count, 2);
    kith__stack_cache_drain(&stacks, &cache);
    CHECK_EQ(cache.free[KITH__STACK_CLASSES - 1].count, 0);
    CHECK_GE(stacks.classes[KITH__STACK_CLASSES - 1].free.count, 8);
    kith__stacks_close(&stacks);
}

/* ---- out of memory ---- */

static size_t allowed;   /* how many allocations still succeed */
static size_t allocated; /* bytes */

static void *some_alloc(void *arg, size_t bytes, size_t align)
{
    (void)arg;
    if (allowed == 0)
        return NULL;
    allowed--;
    allocated += bytes;
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}

static void some_free(void *arg, void *memory, size_t bytes)
{
    (void)arg;
    allocated -= bytes;
    free(memory);
}

TEST(out_of_records_is_null)
{
    const kith_allocator allocator = {.alloc = some_alloc, .free = some_free};
    memset(&cache, 0, sizeof cache);
    kith__stacks_open(&stacks, &allocator, true);
    allowed = 0;
    CHECK(take(0) == NULL);
    allowed = 1;
    unsigned taken = 0;
    struct kith__stack *last = NULL;
    for (struct kith__stack *stack; (stack = take(0)) != NULL; taken++)
        last = stack;
    REQUIRE(last != NULL);
    CHECK_EQ(taken, 64); /* the first slab */
    CHECK(take(0) == NULL);
    give(last);
    CHECK(take(0) == last);
    CHECK(take(16 << 10) == NULL);
    CHECK_GT(allocated, 0);
    char *low = last->low;
    kith__stacks_close(&stacks);
    CHECK_EQ(allocated, 0);
    unsigned char there;
    CHECK(mincore(low, stacks.page_bytes, &there) != 0); /* unmapped */
}

/* A size of /proc/self/statm: 0 is all that is mapped, 1 what is there. In bytes. */
static size_t size_now(unsigned which)
{
    unsigned long long pages[2] = {0, 0};
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL || fscanf(file, "%llu %llu", &pages[0], &pages[1]) != 2)
        abort();
    fclose(file);
    return (size_t)pages[which] * (size_t)sysconf(_SC_PAGESIZE);
}

/* In a process of its own: 0 if all was well. */
static int run_out_of_address_space(void)
{
    size_t some = size_now(0) + ((size_t)100 << 20);
    struct rlimit limit = {some, some};
    open_stacks(true);
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        return 1;
    size_t taken = 0;
    struct kith__stack *first = NULL;
    struct kith__stack *last = NULL;
    for (struct kith__stack *stack; (stack = take(0)) != NULL; taken++) {
        first = first == NULL ? stack : first;
        *((char *)stack->high - 1) = 1;
        last = stack;
    }
    /* Nearly all of it was had, in ever smaller slabs. */
    if (taken < ((size_t)90 << 20) / ((64 << 10) + stacks.guard_bytes))
        return 2;
    give(last);
    give(first);
    if (take(0) != first || take(0) != last || take(0) != NULL)
        return 3;
    kith__stacks_close(&stacks);
    open_stacks(true);
    return take(KITH__STACK_BYTES_MAX) != NULL ? 0 : 4;
}

TEST(out_of_address_space_is_null)
{
    if (SANITIZED) {
        printf("(skipped: the sanitizers' own memory has no room) ");
        return;
    }
    fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
        _exit(run_out_of_address_space());
    int status;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

/* ---- who holds an address ---- */

TEST(a_stack_is_found_by_address)
{
    enum { N = 100 };
    struct kith__stack *taken[N];
    open_stacks(true);
    CHECK(kith__stacks_find(&stacks, &stacks) == NULL);
    for (unsigned i = 0; i < N; i++) {
        taken[i] = take((size_t)(16 << 10) << i % 3);
        REQUIRE(taken[i] != NULL);
    }
    for (unsigned i = 0; i < N; i++) {
        char *low = taken[i]->low;
        char *high = taken[i]->high;
        CHECK(kith__stacks_find(&stacks, low) == taken[i]);
        CHECK(kith__stacks_find(&stacks, high - 1) == taken[i]);
        CHECK(kith__stacks_find(&stacks, low - 1) == taken[i]);
        CHECK(kith__stacks_find(&stacks, low - stacks.guard_bytes) == taken[i]);
        CHECK(kith__stacks_find(&stacks, high) != taken[i]);
        CHECK(kith__stacks_find(&stacks, low - stacks.guard_bytes - 1) != taken[i]);
        CHECK(kith__stack_guards(taken[i], low - 1));
        CHECK(kith__stack_guards(taken[i], low - stacks.guard_bytes));
        CHECK(!kith__stack_guards(taken[i], low));
        CHECK(!kith__stack_guards(taken[i], low - stacks.guard_bytes - 1));
    }
    CHECK(kith__stacks_find(&stacks, &taken) == NULL);
    CHECK(kith__stacks_find(&stacks, NULL) == NULL);
    kith__stacks_close(&stacks);
}

static KITH__ATOMIC(bool) stop_finding;

static void *find_for_ever(void *arg)
{
    const struct kith__stack *known = arg;
    char *low = known->low;
    while (!kith__load_rlx(&stop_finding))
        /* A neighbour may be new, and is then complete. */
        for (size_t i = 0; i < 64; i++) {
            char *at = low + i * (size_of(known) + stacks.guard_bytes);
            struct kith__stack *found = kith__stacks_find(&stacks, at);
            CHECK(found == NULL || (char *)found->low == at);
            CHECK(i > 0 || found == known);
        }
    return NULL;
}

TEST(stacks_are_found_while_others_are_made)
{
    pthread_t finder;
    open_stacks(true);
    struct kith__stack *known = take(0);
    for (unsigned i = 0; i < 15; i++) { /* the lowest of the first batch */
        struct kith__stack *stack = take(0);
        REQUIRE(known != NULL && stack != NULL);
        known = stack->low < known->low ? stack : known;
    }
    kith__store_rlx(&stop_finding, false);
    REQUIRE(pthread_create(&finder, NULL, find_for_ever, known) == 0);
    for (unsigned i = 0; i < 2000; i++)
        REQUIRE(take(0) != NULL);
    kith__store_rlx(&stop_finding, true);
    pthread_join(finder, NULL);
    kith__stacks_close(&stacks);
}

/* ---- threads ---- */

enum { THREADS = 4, HELD = 100 };

/* Takes and gives at random, and sees that what it holds is its own. */
static void take_and_give(uint64_t random)
{
    struct kith__stack_cache mine = {0};
    struct kith__stack *held[HELD] = {0};
    for (unsigned i = 0; i < 20000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned at = (unsigned)(random >> 33) % HELD;
        if (held[at] == NULL) {
            held[at] = kith__stack_take(&stacks, &mine, (16u << 10) << (random >> 62));
            REQUIRE(held[at] != NULL);
            ((uint64_t *)held[at]->high)[-1] = random;
            held[at]->next = (void *)(uintptr_t)random; /* ours while we hold it */
        } else {
            CHECK_EQ(((uint64_t *)held[at]->high)[-1], (uintptr_t)held[at]->next);
            kith__stack_give(&stacks, &mine, held[at]);
            held[at] = NULL;
        }
    }
    for (unsigned i = 0; i < HELD; i++)
        if (held[i] != NULL)
            kith__stack_give(&stacks, &mine, held[i]);
    kith__stack_cache_drain(&stacks, &mine);
}

static void *thread_main(void *arg)
{
    take_and_give(*(uint64_t *)arg);
    return NULL;
}

TEST(no_stack_has_two_owners)
{
    pthread_t threads[THREADS];
    uint64_t seeds[THREADS];
    open_stacks(true);
    for (unsigned i = 0; i < THREADS; i++) {
        seeds[i] = test_seed() + i;
        REQUIRE(pthread_create(&threads[i], NULL, thread_main, &seeds[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    kith__stacks_close(&stacks);
}

/* ---- many at once ---- */

static size_t memory_available(void)
{
    char line[128];
    unsigned long long kilobytes = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %llu", &kilobytes) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return (size_t)kilobytes << 10;
}

/* n stacks, of each one the highest page touched, as an idle fiber does. */
static void many(size_t n, bool guards)
{
    const size_t bytes_each = 4608; /* what an idle fiber may cost */
    if (memory_available() < n * bytes_each * 3 / 2) {
        printf("(skipped: too little memory) ");
        return;
    }
    struct kith__stack *list = NULL;
    open_stacks(guards);
    size_t before = size_now(1);
    for (size_t i = 0; i < n; i++) {
        struct kith__stack *stack = take(0);
        REQUIRE(stack != NULL);
        ((uintptr_t *)stack->high)[-1] = i;
        stack->next = list;
        list = stack;
    }
    size_t each = (size_now(1) - before) / n;
    printf("(%zu bytes each) ", each);
    if (!SANITIZED && stacks.page_bytes == 4096)
        CHECK_LE(each, bytes_each);
    if (stacks.guard == KITH__GUARD_MADVISE)
        CHECK(!kith__load_rlx(&stacks.ran_out));
    for (size_t i = n; i-- > 0; list = list->next) {
        CHECK_EQ(((uintptr_t *)list->high)[-1], i);
        CHECK(!guards || list->guarded || kith__load_rlx(&stacks.ran_out));
    }
    kith__stacks_close(&stacks);
}

TEST(a_hundred_thousand_with_guards)
{
    many(SANITIZED ? 2000 : 100000, true);
}

TEST(a_million_without_guards)
{
    many(SANITIZED ? 2000 : 1000000, false);
}
