/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of sched/placed.c: the list of tasks that run on one worker only, and the turns that they
 * and the others get.
 * Run by: the test driver.
 * What it holds: PL1 and PL3 of sched/placed.c: first in, first out, also for those that others
 *   have sent, and nothing in an atomic word for those of the worker itself; next_of_both in
 *   sched/worker.c: neither kind waits for the other.
 * Threads: the first tests have one, and workers without; the last has a worker. Races are in
 *   tests/stress/placed.c.
 */
#include "sched/worker.h"
#include "tests/unit/actors_common.h"

#define TASKS 100u
#define WORKERS 2u

static struct kith_runtime rt;
static struct kith__worker workers[WORKERS];
static struct kith_self tasks[TASKS];
static struct kith__ctx outside; /* of a thread that is no worker */

static void start(void)
{
    memset(&rt, 0, sizeof rt);
    memset(workers, 0, sizeof workers);
    memset(tasks, 0, sizeof tasks);
    rt.workers = workers;
    rt.worker_count = WORKERS;
    outside.rt = &rt;
    for (uint32_t i = 0; i < WORKERS; i++) {
        workers[i].index = i;
        workers[i].ctx.rt = &rt;
        workers[i].ctx.worker = &workers[i];
    }
    for (uint32_t i = 0; i < TASKS; i++)
        kith__task_place(&tasks[i], 1);
}

/* The list of workers[1] is tasks[from] ... tasks[to - 1], and is then emptied. */
static void check_list(uint32_t from, uint32_t to)
{
    struct kith__worker *w = &workers[1];
    CHECK_EQ(w->placed_count, to - from);
    struct kith_self *task = w->placed_first;
    for (uint32_t i = from; i < to; i++) {
        CHECK(task == &tasks[i]);
        task = (struct kith_self *)(void *)task->slot.next;
    }
    CHECK(task == NULL);
    w->placed_first = NULL;
    w->placed_count = 0;
}

TEST(those_of_the_worker_itself_are_in_order)
{
    start();
    for (uint32_t i = 0; i < TASKS; i++)
        kith__place(&workers[1].ctx, &tasks[i]);
    CHECK(kith__load_seq(&workers[1].placed_sent) == NULL);
    CHECK(workers[0].placed_first == NULL);
    check_list(0, TASKS);
}

TEST(those_that_others_send_are_in_order)
{
    start();
    for (uint32_t i = 0; i < TASKS; i++)
        kith__place(i % 2 == 0 ? &outside : &workers[0].ctx, &tasks[i]);
    CHECK(workers[1].placed_first == NULL);
    CHECK(workers[0].placed_first == NULL);
    kith__placed_fetch(&workers[1]);
    CHECK(kith__load_seq(&workers[1].placed_sent) == NULL);
    check_list(0, TASKS);
    kith__placed_fetch(&workers[1]);
    check_list(0, 0);
}

TEST(what_is_fetched_goes_behind_what_is_there)
{
    start();
    uint32_t i = 0;
    for (uint32_t piece = 1; i + 2 * piece <= TASKS; piece++) {
        for (uint32_t end = i + piece; i < end; i++)
            kith__place(&workers[1].ctx, &tasks[i]);
        for (uint32_t end = i + piece; i < end; i++)
            kith__place(&outside, &tasks[i]);
        kith__placed_fetch(&workers[1]);
    }
    check_list(0, i);
}

/* ---- turns ---- */

enum { PLACED = 7, FREE = 3, ALL = PLACED + FREE, LONG = 2000 };

struct spinner {
    int number;
};

/* All of it in the turns of actors on one worker. */
static long turns[ALL];
static long before[ALL]; /* when all had begun */
static bool counting;
static bool over;

KITH_MESSAGE(go_on, { char none; });

/* The last one keeps count for all. */
static void count_all(void)
{
    bool all = true;
    for (int i = 0; i < ALL; i++)
        all = all && turns[i] > 0;
    if (all && !counting)
        memcpy(before, turns, sizeof before);
    counting = counting || all;
    over = counting && turns[ALL - 1] - before[ALL - 1] >= LONG;
}

KITH_ON(spinner, go_on)
{
    (void)msg;
    if (over)
        return kith_stop(self, kith_self_ref(self));
    turns[me->number]++;
    if (me->number == ALL - 1)
        count_all();
    return kith_send(self, kith_self_ref(self), go_on, 0);
}

static kith_err spinner_init(kith_self *self, void *me, const void *arg)
{
    ((struct spinner *)me)->number = *(const int *)arg;
    return kith_send(self, kith_self_ref(self), go_on, 0);
}

static const kith_behavior spinner = {
    .name = "spinner",
    .state_bytes = sizeof(struct spinner),
    .init = spinner_init,
    .handlers = KITH_HANDLERS(spinner, go_on),
};

/* Actors that never rest on one worker: all get about the same. */
TEST(placed_and_free_tasks_get_equal_turns)
{
    struct env *e = malloc(sizeof *e);
    REQUIRE(e != NULL && env_open(e, 1));
    kith_spawn_options placed = {.worker = 1};
    for (int i = 0; i < ALL; i++)
        CHECK_EQ(
            kith_ref_error(kith_spawn_with(e->self, &spinner, &i, i < PLACED ? &placed : NULL)),
            KITH_OK);
    env_detach(e);
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
    for (int i = 0; i < ALL; i++) {
        CHECK_GT(turns[i] - before[i], LONG / 3);
        CHECK_LT(turns[i] - before[i], LONG * 3L);
    }
    env_close(e);
    free(e);
}
