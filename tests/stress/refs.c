/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Fuzz of references: ten million random ones, through the calls that take one.
 * Run by: the test driver; --seed N repeats the run, KITH_STRESS=N does more.
 * What it holds: a made-up or stale reference never crashes and never reaches an actor, and each
 *   call says so by an error; what a message owns stays the caller's, or is dropped once.
 * Threads: the test's, attached, and one worker that would run whatever is reached.
 * Why most are near misses: of 64 random bits hardly any get past the first look. So real
 *   references are taken and a few of their bits are changed, in each field.
 */
#include "tests/stress/stress.h"

#include "base/handle.h"

#define LIVE 300u /* more than one chunk of slots */

KITH_MESSAGE_OWNING(touch, { uint64_t to; });

static uint64_t dropped;
static KITH__ATOMIC(uint64_t) reached;
static kith_ref live[LIVE];
static kith_ref dead[LIVE];
static kith_ref here; /* the test's own thread */

KITH_DROP(touch)
{
    dropped++; /* only where the sender's thread finds nobody: by the dead letters */
}

struct bystander {
    char none;
};

KITH_ON(bystander, touch)
{
    kith__add_rlx(&reached, 1);
    return KITH_OK;
}

static const kith_behavior bystander = {
    .name = "bystander",
    .state_bytes = sizeof(struct bystander),
    .handlers = KITH_HANDLERS(bystander, touch),
};

/* ---- references ---- */

static bool is_live(uint64_t bits)
{
    for (unsigned i = 0; i < LIVE; i++)
        if (live[i].bits == bits)
            return true;
    return bits == here.bits;
}

/* A field of bits gets another value. */
static uint64_t with_field(uint64_t bits, unsigned shift, unsigned width, uint64_t value)
{
    uint64_t mask = (((uint64_t)1 << width) - 1) << shift;
    return (bits & ~mask) | (value << shift & mask);
}

static uint64_t near_miss(struct kith__random *random, uint64_t bits)
{
    uint64_t value = kith__random_next(random);
    switch (kith__random_below(random, 7)) {
    case 0: /* one bit, anywhere */
        return bits ^ (uint64_t)1 << value % 64;
    case 1: /* the generation: a near one, or any */
        return with_field(bits, 0, KITH__GEN_BITS, kith__bits_gen(bits) + value % 5 - 2);
    case 2:
        return with_field(bits, 0, KITH__GEN_BITS, value);
    case 3: /* the slot: in a chunk that is there, or any */
        return with_field(bits, KITH__GEN_BITS, KITH__SLOT_BITS, value % 2048);
    case 4:
        return with_field(bits, KITH__GEN_BITS, KITH__SLOT_BITS, value);
    case 5: /* kind and runtime */
        return with_field(bits, KITH__GEN_BITS + KITH__SLOT_BITS, KITH__RT_BITS + 3, value);
    default: /* everything */
        return value;
    }
}

static uint64_t made_up(struct kith__random *random)
{
    for (;;) {
        uint64_t i = kith__random_below(random, LIVE);
        bool from_dead = kith__random_below(random, 4) == 0;
        uint64_t bits = near_miss(random, from_dead ? dead[i].bits : live[i].bits);
        if (!is_live(bits))
            return bits;
    }
}

/* ---- one reference, one call ---- */

static bool is_refusal(kith_err err)
{
    return err == KITH_EBADREF || err == KITH_EDEAD;
}

static void send_to(kith_self *self, kith_ref ref)
{
    uint64_t before = dropped;
    kith_err err = kith_send(self, ref, touch, .to = ref.bits);
    CHECK(is_refusal(err));
    CHECK_EQ(dropped - before, (uint64_t)(err == KITH_EDEAD));
}

static void post_to(kith_self *self, kith_ref ref)
{
    touch *body = kith_new(self, touch);
    REQUIRE(body != NULL);
    body->to = ref.bits;
    uint64_t before = dropped;
    kith_err err = kith_post(self, ref, body);
    CHECK(is_refusal(err));
    if (err != KITH_EDEAD && err != KITH_OK)
        CHECK_EQ(kith_discard(self, body), KITH_OK);
    CHECK_EQ(dropped - before, (uint64_t)1);
}

static void other_call(kith_self *self, uint64_t bits, uint64_t which)
{
    kith_ref ref = {bits};
    switch (which) {
    case 0:
        CHECK(is_refusal(kith_stop(self, ref)));
        break;
    case 1:
        CHECK(is_refusal(kith_demonitor(self, ref)));
        break;
    case 2:
        CHECK(is_refusal(kith_ref_error(
            kith_spawn_with(self, &bystander, NULL, &(kith_spawn_options){.parent = {bits | 1}}))));
        break;
    case 3:
        CHECK(kith_timer_cancel(self, (kith_timer){bits}) != KITH_OK);
        break;
    default:
        (void)kith_ref_error(ref);
        (void)kith_timer_error((kith_timer){bits});
        (void)kith_sock_error((kith_sock){bits});
    }
}

static void try_all(kith_self *self, uint64_t times)
{
    struct kith__random random;
    stress_random(&random, 0);
    for (uint64_t i = 0; i < times && test_failures == 0; i++) {
        uint64_t bits = made_up(&random);
        uint64_t which = kith__random_below(&random, 20);
        if (which < 13)
            send_to(self, (kith_ref){bits});
        else if (which < 15)
            post_to(self, (kith_ref){bits});
        else if (which != 17 || !is_live(bits | 1))
            other_call(self, bits, which - 15);
    }
}

/* ---- the test ---- */

static void settle(kith_self *self)
{
    here = kith_self_ref(self);
    for (unsigned i = 0; i < LIVE; i++) {
        live[i] = kith_spawn(self, &bystander, NULL);
        dead[i] = kith_spawn(self, &bystander, NULL);
        CHECK_EQ(kith_stop(self, dead[i]), KITH_OK);
    }
}

static bool all_dead(kith_runtime *rt)
{
    kith_stats stats;
    kith_time limit = kith_in(60 * KITH_SECOND);
    do {
        kith_stats_get(rt, &stats);
        sched_yield();
    } while (stats.actors != LIVE && kith_now() < limit);
    return stats.actors == LIVE;
}

TEST(ten_million_references_that_nobody_made)
{
    stress_limit("ten_million_references_that_nobody_made");
    kith_self *self;
    kith_runtime *rt = stress_start(1);
    REQUIRE(rt != NULL);
    REQUIRE(kith_attach(rt, &self, NULL) == KITH_OK);
    settle(self);
    REQUIRE(all_dead(rt));
    /* Ten million, as the test's name says; under AddressSanitizer, too, for that is the point. */
    try_all(self, 10000000 * test_env("KITH_STRESS", 1) / (STRESS_SLOW > 4 ? STRESS_SLOW : 1));
    kith_stats stats;
    CHECK_EQ(kith_stats_get(rt, &stats), KITH_OK);
    CHECK_EQ(stats.actors, (uint64_t)LIVE);
    CHECK_EQ(stats.messages, (uint64_t)0);
    CHECK_EQ(kith__load_rlx(&reached), (uint64_t)0);
    CHECK_EQ(kith_detach(self), KITH_OK);
    stress_end(rt);
    CHECK_EQ(kith__load_rlx(&reached), (uint64_t)0);
}
