/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of sched/wheel.c: single cases, and random operations against an array that is sorted.
 * Run by: the test driver; --seed N repeats the random runs.
 * What it holds: W1 to W6 of sched/wheel.h, each by name where it is checked.
 * Threads: one.
 * Why the checks look into the wheel: a bitmap or a slot that is wrong may show in the output only
 *   years of wheel time later; and every_invariant is called after each random operation.
 */
#include "sched/wheel.h"

#include "base/random.h"
#include "tests/unit/test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define TICK ((kith_time)1 << KITH__WHEEL_TICK_BITS)
#define YEAR ((kith_time)31557600 * KITH_SECOND)
#define LAST (KITH_FOREVER - 1)

static struct kith__wheel wheel;
static struct kith__wheel_list due;

static void start(kith_time now)
{
    kith__wheel_init(&wheel, now);
    kith__wheel_list_init(&due);
}

static void add(struct kith__wheel_node *node, kith_time deadline)
{
    node->deadline = deadline;
    kith__wheel_add(&wheel, node);
}

static void expire(kith_time now)
{
    kith__wheel_expire(&wheel, now, &due);
}

/* ---- single cases ---- */

TEST(an_empty_wheel_has_nothing_to_say)
{
    start(12345);
    CHECK_EQ(kith__wheel_next(&wheel), KITH_FOREVER);
    expire(LAST);
    CHECK(kith__wheel_take(&due) == NULL);
    CHECK_EQ(kith__wheel_next(&wheel), KITH_FOREVER);
}

/* W1, W2, W4: at every distance from the start of time to its end. */
TEST(a_node_comes_at_its_nanosecond)
{
    for (unsigned shift = 0; shift < 64; shift++) {
        for (unsigned below = 0; below < 2; below++) {
            kith_time now = 1000;
            kith_time deadline = now + ((kith_time)1 << shift) - below;
            struct kith__wheel_node node = {0};
            start(now);
            add(&node, deadline);
            CHECK(kith__wheel_queued(&node));
            CHECK_EQ(kith__wheel_next(&wheel), deadline);
            expire(deadline - 1);
            CHECK(kith__wheel_take(&due) == NULL);
            CHECK_EQ(kith__wheel_next(&wheel), deadline);
            expire(deadline);
            CHECK(kith__wheel_take(&due) == &node);
            CHECK(!kith__wheel_queued(&node));
            CHECK(kith__wheel_take(&due) == NULL);
            CHECK_EQ(kith__wheel_next(&wheel), KITH_FOREVER);
        }
    }
}

TEST(the_last_deadline_is_the_one_before_for_ever)
{
    struct kith__wheel_node first = {0};
    struct kith__wheel_node last = {0};
    start(0);
    add(&last, LAST);
    add(&first, LAST - 1);
    expire(LAST - 2);
    CHECK(kith__wheel_take(&due) == NULL);
    CHECK_EQ(kith__wheel_next(&wheel), LAST - 1);
    expire(LAST - 1);
    CHECK(kith__wheel_take(&due) == &first);
    CHECK(kith__wheel_take(&due) == NULL);
    expire(KITH_FOREVER);
    CHECK(kith__wheel_take(&due) == &last);
}

TEST(a_jump_of_years_gives_all_that_lies_between_in_order)
{
    static struct kith__wheel_node nodes[500];
    memset(nodes, 0, sizeof nodes);
    start(5 * YEAR);
    for (size_t i = 0; i < 500; i++)
        add(&nodes[(i * 7) % 500], 5 * YEAR + (((i * 7) % 500) + 1) * (YEAR / 3 + 17));
    expire(5 * YEAR + 400 * (YEAR / 3 + 17));
    for (size_t i = 0; i < 400; i++)
        CHECK(kith__wheel_take(&due) == &nodes[i]);
    CHECK(kith__wheel_take(&due) == NULL);
    CHECK_EQ(kith__wheel_next(&wheel), 5 * YEAR + 401 * (YEAR / 3 + 17));
}

TEST(what_has_passed_comes_next_by_deadline_and_then_by_order_of_add)
{
    struct kith__wheel_node n[5] = {0};
    start(10 * KITH_SECOND);
    add(&n[0], 3 * KITH_SECOND);
    add(&n[1], 0);
    add(&n[2], 3 * KITH_SECOND);
    add(&n[3], 10 * KITH_SECOND + 1); /* in the current tick, not yet due */
    add(&n[4], 2 * KITH_SECOND);
    CHECK_EQ(kith__wheel_next(&wheel), 0);
    expire(10 * KITH_SECOND);
    CHECK(kith__wheel_take(&due) == &n[1]);
    CHECK(kith__wheel_take(&due) == &n[4]);
    CHECK(kith__wheel_take(&due) == &n[0]);
    CHECK(kith__wheel_take(&due) == &n[2]);
    CHECK(kith__wheel_take(&due) == NULL);
    CHECK_EQ(kith__wheel_next(&wheel), 10 * KITH_SECOND + 1);
}

/* W3: two were added from far away and came down level by level, two were added from near by. */
TEST(equal_deadlines_keep_their_order_however_they_came_down)
{
    struct kith__wheel_node n[6] = {0};
    kith_time deadline = 3 * YEAR;
    start(0);
    add(&n[0], deadline);
    add(&n[1], deadline);
    expire(deadline - KITH_HOUR);
    add(&n[2], deadline);
    expire(deadline - KITH_MS);
    add(&n[3], deadline);
    expire(deadline - 1);
    add(&n[4], deadline);
    add(&n[5], deadline - 1);
    expire(deadline);
    CHECK(kith__wheel_take(&due) == &n[5]);
    for (size_t i = 0; i < 5; i++)
        CHECK(kith__wheel_take(&due) == &n[i]);
}

TEST(a_removed_node_does_not_come)
{
    struct kith__wheel_node n[3] = {0};
    start(0);
    CHECK(!kith__wheel_remove(&wheel, &n[0]));
    for (size_t i = 0; i < 3; i++)
        add(&n[i], KITH_SECOND);
    CHECK(kith__wheel_remove(&wheel, &n[1]));
    CHECK(!kith__wheel_remove(&wheel, &n[1]));
    expire(KITH_SECOND);
    CHECK(kith__wheel_take(&due) == &n[0]);
    CHECK(kith__wheel_remove(&wheel, &n[2])); /* off the due list */
    CHECK(!kith__wheel_remove(&wheel, &n[2]));
    CHECK(kith__wheel_take(&due) == NULL);
    add(&n[1], 2 * KITH_SECOND);
    CHECK(kith__wheel_remove(&wheel, &n[1]));
    CHECK_EQ(kith__wheel_next(&wheel), KITH_FOREVER);
}

/* W6: the node on the due list names the slot that another node still is in. */
TEST(removing_from_the_due_list_leaves_the_wheel_alone)
{
    struct kith__wheel_node over = {0};
    struct kith__wheel_node waits = {0};
    start(TICK);
    add(&over, TICK + 1);
    add(&waits, TICK + 5);
    expire(TICK + 1);
    CHECK(kith__wheel_remove(&wheel, &over));
    CHECK(kith__wheel_take(&due) == NULL);
    CHECK_EQ(kith__wheel_next(&wheel), TICK + 5);
    expire(TICK + 5);
    CHECK(kith__wheel_take(&due) == &waits);
}

/* W4: after a removal next may be early once; whoever sleeps by it must get on. */
TEST(following_next_ends_though_the_earliest_was_removed)
{
    struct kith__wheel_node gone[3] = {0};
    struct kith__wheel_node node = {0};
    kith_time deadline = 2 * KITH_SECOND + 3;
    start(0);
    for (size_t i = 0; i < 3; i++)
        add(&gone[i], deadline - 2 * KITH_MS * i - 1);
    add(&node, deadline);
    for (size_t i = 0; i < 3; i++)
        CHECK(kith__wheel_remove(&wheel, &gone[i]));
    unsigned calls = 0;
    for (; kith__wheel_next(&wheel) < deadline && calls < 100; calls++)
        expire(kith__wheel_next(&wheel));
    CHECK_LE(calls, 3u);
    CHECK_EQ(kith__wheel_next(&wheel), deadline);
    expire(deadline);
    CHECK(kith__wheel_take(&due) == &node);
}

TEST(a_now_of_earlier_does_not_turn_the_wheel_back)
{
    struct kith__wheel_node n[2] = {0};
    start(0);
    expire(KITH_SECOND);
    add(&n[0], KITH_MS);
    add(&n[1], KITH_SECOND - 1);
    expire(KITH_MS); /* never early, not even for a clock that lags */
    CHECK(kith__wheel_take(&due) == &n[0]);
    CHECK(kith__wheel_take(&due) == NULL);
    expire(KITH_SECOND);
    CHECK(kith__wheel_take(&due) == &n[1]);
}

TEST(a_second_expire_appends_to_what_was_not_taken)
{
    struct kith__wheel_node n[2] = {0};
    start(0);
    add(&n[0], KITH_MS);
    add(&n[1], 2 * KITH_MS);
    expire(KITH_MS);
    expire(2 * KITH_MS);
    CHECK(kith__wheel_take(&due) == &n[0]);
    CHECK(kith__wheel_take(&due) == &n[1]);
}

/* ---- many ---- */

enum { MANY = 1000000 };

static struct kith__wheel_node *many_nodes(void)
{
    struct kith__wheel_node *nodes = calloc(MANY, sizeof *nodes);
    if (nodes == NULL)
        FAIL("out of memory");
    return nodes;
}

TEST(a_million_equal_deadlines_keep_their_order)
{
    struct kith__wheel_node *nodes = many_nodes();
    REQUIRE(nodes != NULL);
    start(0);
    for (size_t i = 0; i < MANY; i++)
        add(&nodes[i], KITH_SECOND);
    expire(KITH_SECOND);
    size_t wrong = 0;
    for (size_t i = 0; i < MANY; i++)
        wrong += kith__wheel_take(&due) != &nodes[i];
    CHECK_EQ(wrong, 0u);
    CHECK(kith__wheel_take(&due) == NULL);
    free(nodes);
}

/* Bad for a sort by runs: the deadlines of one tick fall, four times over, with many equal ones. A
 * sort that is quadratic does not come to an end here. */
TEST(a_million_falling_deadlines_in_one_tick_are_sorted)
{
    struct kith__wheel_node *nodes = many_nodes();
    REQUIRE(nodes != NULL);
    start(0);
    for (size_t i = 0; i < MANY; i++)
        add(&nodes[i], 9 * TICK - 1 - i % (MANY / 4) * TICK / MANY);
    expire(9 * TICK);
    size_t wrong = 0;
    const struct kith__wheel_node *last = kith__wheel_take(&due);
    for (size_t i = 1; i < MANY; i++) {
        const struct kith__wheel_node *node = kith__wheel_take(&due);
        if (node == NULL || node->deadline < last->deadline ||
            (node->deadline == last->deadline && node < last))
            wrong++;
        last = node;
        if (node == NULL)
            break;
    }
    CHECK_EQ(wrong, 0u);
    CHECK(kith__wheel_take(&due) == NULL);
    free(nodes);
}

/* ---- random operations against a sorted array ---- */

enum { NODES = 300, OPERATIONS = 4000, ROUNDS = 60 };

struct item {
    struct kith__wheel_node node; /* first, so that a node is its item */
    uint64_t added;               /* the number of its add */
    bool queued;
};

static struct model {
    struct item items[NODES];
    struct kith__random random;
    uint64_t adds;
    kith_time now;
    unsigned scale; /* times of this round are up to 2^scale ns apart */
    bool removes;
} model;

static kith_time earliest(void)
{
    kith_time first = KITH_FOREVER;
    for (size_t i = 0; i < NODES; i++)
        if (model.items[i].queued && model.items[i].node.deadline < first)
            first = model.items[i].node.deadline;
    return first;
}

/* W5, W6 and the mins, by the definition: a node is where a fresh look would put it. */
static size_t slot_is_wrong(unsigned level, unsigned slot)
{
    const struct kith__wheel_slot *s = &wheel.slots[level][slot];
    size_t wrong = (wheel.occupied[level] >> slot & 1) != (s->head.next != &s->head);
    const struct kith__wheel_link *link = s->head.next;
    for (; link != &s->head; link = link->next) {
        const struct kith__wheel_node *node = (const struct kith__wheel_node *)link;
        uint64_t tick = node->deadline / TICK < wheel.tick ? wheel.tick : node->deadline / TICK;
        unsigned want = 0;
        for (uint64_t rest = tick ^ wheel.tick; rest >= 64; rest /= 64)
            want++;
        wrong += want != level || (tick >> (6 * level)) % 64 != slot || s->min > node->deadline;
        wrong += link->next->prev != link || !((const struct item *)node)->queued;
    }
    return wrong;
}

static void every_invariant(void)
{
    size_t wrong = 0;
    for (unsigned level = 0; level < KITH__WHEEL_LEVELS; level++)
        for (unsigned slot = 0; slot < KITH__WHEEL_SLOTS; slot++)
            wrong += slot_is_wrong(level, slot);
    CHECK_EQ(wrong, 0u);
    if (model.removes)
        CHECK_LE(kith__wheel_next(&wheel), earliest());
    else
        CHECK_EQ(kith__wheel_next(&wheel), earliest());
}

/* Up to 2^scale ns, any power of two as likely as any other. */
static kith_time random_distance(unsigned scale)
{
    unsigned bits = (unsigned)kith__random_below(&model.random, scale) + 1;
    return kith__random_next(&model.random) >> (64 - bits);
}

static kith_time later(kith_time distance)
{
    return distance > LAST - model.now ? LAST : model.now + distance;
}

/* Some have passed, and some are equal to one that is there, or was. */
static kith_time random_deadline(void)
{
    kith_time distance = random_distance(model.scale);
    switch (kith__random_below(&model.random, 8)) {
    case 0:
        return distance > model.now ? 0 : model.now - distance;
    case 1:
    case 2:
        return model.items[kith__random_below(&model.random, NODES)].node.deadline;
    default:
        return later(distance);
    }
}

static void random_add(void)
{
    struct item *item = &model.items[kith__random_below(&model.random, NODES)];
    if (item->queued)
        return;
    item->queued = true;
    item->added = model.adds++;
    add(&item->node, random_deadline());
}

static void random_remove(void)
{
    struct item *item = &model.items[kith__random_below(&model.random, NODES)];
    CHECK_EQ(kith__wheel_remove(&wheel, &item->node), item->queued);
    item->queued = false;
}

/* Time goes to what next says, or a nanosecond before, or anywhere. */
static kith_time random_now(void)
{
    kith_time next = kith__wheel_next(&wheel);
    kith_time before = kith__random_below(&model.random, 2);
    if (kith__random_below(&model.random, 3) == 0 && next != KITH_FOREVER && next > model.now)
        return next - before;
    return later(random_distance(model.scale));
}

static int by_deadline_and_add(const void *a, const void *b)
{
    const struct item *left = *(struct item *const *)a;
    const struct item *right = *(struct item *const *)b;
    if (left->node.deadline != right->node.deadline)
        return left->node.deadline < right->node.deadline ? -1 : 1;
    return (left->added > right->added) - (left->added < right->added);
}

/* W1, W2, W3: what comes is what the array says, and nothing else. Sometimes one that is on the due
 * list is removed before it is taken. */
static void random_expire(void)
{
    struct item *expected[NODES];
    size_t count = 0;
    model.now = random_now();
    for (size_t i = 0; i < NODES; i++)
        if (model.items[i].queued && model.items[i].node.deadline <= model.now)
            expected[count++] = &model.items[i];
    qsort(expected, count, sizeof *expected, by_deadline_and_add);
    expire(model.now);
    size_t skipped =
        model.removes && count > 0 ? kith__random_below(&model.random, 2 * count) : count;
    if (skipped < count)
        CHECK(kith__wheel_remove(&wheel, &expected[skipped]->node));
    for (size_t i = 0; i < count; i++) {
        expected[i]->queued = false;
        if (i != skipped)
            CHECK(kith__wheel_take(&due) == &expected[i]->node);
    }
    CHECK(kith__wheel_take(&due) == NULL);
}

static void random_round(uint64_t seed, bool removes)
{
    memset(&model, 0, sizeof model);
    model.removes = removes;
    kith__random_seed(&model.random, seed);
    model.scale = 4 + (unsigned)kith__random_below(&model.random, 57);
    model.now = random_distance(63);
    start(model.now);
    for (unsigned i = 0; i < OPERATIONS; i++) {
        uint64_t dice = kith__random_below(&model.random, 10);
        if (dice < 6)
            random_add();
        else if (dice < 8 && removes)
            random_remove();
        else
            random_expire();
        if (i % 8 == 0)
            every_invariant();
    }
}

TEST(random_operations_agree_with_a_sorted_array)
{
    for (uint64_t round = 0; round < ROUNDS; round++)
        random_round(test_seed() + round, true);
}

TEST(without_removals_next_is_exact)
{
    for (uint64_t round = 0; round < ROUNDS; round++)
        random_round(test_seed() + round, false);
}

/* ---- misuse ends in an assertion ---- */

static bool dies(kith_time deadline, bool twice)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct kith__wheel_node node = {0};
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        close(STDERR_FILENO);
        start(0);
        add(&node, deadline);
        if (twice)
            kith__wheel_add(&wheel, &node);
        _exit(0);
    }
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
           WTERMSIG(status) == SIGABRT;
}

TEST(adding_twice_or_for_ever_is_an_assertion)
{
    CHECK(!dies(LAST, false));
    CHECK(dies(KITH_FOREVER, false));
    CHECK(dies(KITH_SECOND, true));
}
