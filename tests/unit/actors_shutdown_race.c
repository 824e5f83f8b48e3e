/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Test of a spawn that the shutdown cannot see: S1 of actors/shutdown.c.
 * Run by: the test driver.
 * What it holds: an actor whose spawn was under way when the shutdown looked for actors is stopped
 *   all the same, by its spawner.
 * Threads: the test's, which shuts down, and one that is attached and spawns.
 * Why an allocator that waits: the spawn must stand between its first look at the shutdown and the
 *   opening of its inbox, while the shutdown looks at all slots. There is one place where a program
 *   can hold it there: the allocation of a large state. That the look is over is known from an
 *   actor in a later slot, which the shutdown has stopped.
 */
#include "tests/unit/test.h"

#include "base/atomic.h"
#include <kith.h>
#include <sched.h>
#include <stdlib.h>

#define LARGE 100000u
#define PATIENCE_NS (30 * KITH_SECOND)

static KITH__ATOMIC(uint32_t) spawning;      /* the spawn stands in its allocation */
static KITH__ATOMIC(uint32_t) looked;        /* the shutdown has passed */
static KITH__ATOMIC(uint32_t) large_stopped; /* the stop hook of the late actor has run */

static bool becomes(KITH__ATOMIC(uint32_t) * word)
{
    kith_time limit = kith_in(PATIENCE_NS);
    while (kith__load_acq(word) == 0 && kith_now() < limit)
        sched_yield();
    return kith__load_acq(word) != 0;
}

static void *waiting_alloc(void *arg, size_t bytes, size_t align)
{
    (void)arg;
    if (bytes == LARGE) {
        kith__store_rel(&spawning, 1);
        CHECK(becomes(&looked));
    }
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}

static void plain_free(void *arg, void *memory, size_t bytes)
{
    (void)arg;
    (void)bytes;
    free(memory);
}

static void last_stop(kith_self *self, void *me, kith_err reason)
{
    (void)self;
    (void)me;
    CHECK_EQ(reason, KITH_OK);
    kith__store_rel(&looked, 1);
}

static void large_stop(kith_self *self, void *me, kith_err reason)
{
    (void)self;
    (void)me;
    CHECK_EQ(reason, KITH_OK);
    kith__store_rel(&large_stopped, 1);
}

/* Its slot is of the smallest class, beside the threads'; the other's, made later, of a larger one. */
static const kith_behavior large = {.name = "large", .state_bytes = LARGE, .stop = large_stop};
static const kith_behavior last = {.name = "last", .state_bytes = 500, .stop = last_stop};

static void *spawner(void *arg)
{
    kith_self *self;
    kith_err err = kith_attach(arg, &self, NULL);
    CHECK_EQ(err, KITH_OK);
    if (err != KITH_OK)
        return NULL;
    CHECK_EQ(kith_ref_error(kith_spawn(self, &last, NULL)), KITH_OK);
    kith_ref ref = kith_spawn(self, &large, NULL);
    CHECK_EQ(kith_ref_error(ref), KITH_OK);
    CHECK_EQ(kith_detach(self), KITH_OK);
    return NULL;
}

TEST(a_spawn_that_the_shutdown_cannot_see)
{
    kith_runtime *rt;
    pthread_t thread;
    kith_config config = {.workers = 1, .allocator = {waiting_alloc, plain_free, NULL}};
    REQUIRE(kith_start(&config, &rt) == KITH_OK);
    REQUIRE(pthread_create(&thread, NULL, spawner, rt) == 0);
    CHECK(becomes(&spawning));
    kith_err err = kith_shutdown(rt, kith_in(PATIENCE_NS));
    CHECK_EQ(err, KITH_OK);
    pthread_join(thread, NULL);
    CHECK_EQ(kith__load_acq(&large_stopped), 1u);
}
