/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Many fibers alive at once: a hundred thousand in the default configuration, a million without
 * guards between their stacks.
 * Run by: the test driver.
 * What it holds: all of them are there at the same time (kith_stats), each answers on its own
 *   stack, and is gone in the end. In the default configuration that means that what the kernel
 *   allows in mappings is not exceeded, or not needed.
 * Threads: the test's, attached, and two workers.
 * Why fewer under a sanitizer: ThreadSanitizer knows some 8,000 fibers, and AddressSanitizer keeps
 *   memory of its own for each.
 */
#include "tests/stress/stress.h"

#define SANITIZED_MOST 2000u
#define BYTES_EACH 8192u /* with a margin: it is to take 4,608 */

KITH_MESSAGE(question, { uint64_t number; });
KITH_MESSAGE(answer, { uint64_t number; });

struct one {
    uint64_t number;
    kith_ref main;
};

/* Answers each question by its number and its own, which lies on its stack. */
static void fiber(kith_self *self, kith_co *co, void *arg)
{
    const struct one me = *(const struct one *)arg;
    kith_msg *msg;
    while (kith_receive(co, KITH_FOREVER, &msg) == KITH_OK) {
        const question *asked = kith_body(msg, question);
        if (asked != NULL)
            kith_send(self, me.main, answer, .number = asked->number ^ me.number);
    }
}

static bool enough_memory(uint64_t n)
{
    long pages = sysconf(_SC_AVPHYS_PAGES);
    if (pages > 0 && (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) > n * BYTES_EACH)
        return true;
    printf("(skipped: too little memory for %llu) ", (unsigned long long)n);
    return false;
}

/* Asks all of them, then takes all answers, in whatever order. */
static void ask_all(kith_self *self, kith_co *co, const kith_ref *refs, uint64_t n, uint64_t round)
{
    uint64_t sum = 0;
    uint64_t expected = 0;
    for (uint64_t i = 0; i < n; i++) {
        expected += (round << 32) ^ i;
        CHECK_EQ(kith_send(self, refs[i], question, .number = round << 32), KITH_OK);
    }
    for (uint64_t i = 0; i < n; i++) {
        kith_msg *msg;
        REQUIRE(kith_receive(co, kith_in(STRESS_PATIENCE_NS), &msg) == KITH_OK);
        const answer *got = kith_body(msg, answer);
        REQUIRE(got != NULL);
        sum += got->number;
    }
    CHECK_EQ(sum, expected);
}

static void start_all(kith_self *self, kith_scope *scope, kith_ref *refs, uint64_t n)
{
    kith_fiber_options options = {.arg_bytes = sizeof(struct one)};
    for (uint64_t i = 0; i < n; i++) {
        struct one one = {i, kith_self_ref(self)};
        refs[i] = kith_scope_go_with(self, scope, fiber, &one, &options);
        REQUIRE(kith_ref_error(refs[i]) == KITH_OK);
    }
}

static void live(const char *name, uint64_t n, bool no_guards)
{
    kith_config config = {
        .workers = 2, .seed = test_seed() | 1, .log = stress_log, .no_stack_guards = no_guards};
    kith_runtime *rt;
    kith_self *self;
    kith_co *co;
    kith_stats stats;
    n = STRESS_SLOW == 1u ? n : SANITIZED_MOST;
    if (!enough_memory(n))
        return;
    stress_limit(name);
    REQUIRE(kith_start(&config, &rt) == KITH_OK && kith_attach(rt, &self, &co) == KITH_OK);
    kith_ref *refs = calloc(n, sizeof *refs);
    REQUIRE(refs != NULL);
    kith_scope *scope = kith_scope_new(co);
    start_all(self, scope, refs, n);
    for (uint64_t round = 0; round < 2; round++)
        ask_all(self, co, refs, n, round);
    kith_stats_get(rt, &stats);
    CHECK_EQ(stats.actors, n);
    CHECK_EQ(kith_scope_cancel(self, scope), KITH_OK);
    CHECK_EQ(kith_scope_leave(co, scope), KITH_OK);
    CHECK_EQ(kith_detach(self), KITH_OK);
    stress_end(rt);
    free(refs);
}

TEST(a_hundred_thousand_by_default)
{
    live("a_hundred_thousand_by_default", 100000, false);
}

TEST(a_million_without_guards)
{
    live("a_million_without_guards", 1000000, true);
}
