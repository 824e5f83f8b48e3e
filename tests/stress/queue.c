/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of sched/queue.c: outsiders that schedule, and workers that take their share and steal from
 * each other.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: V2 and V3 of sched/queue.c, and T1 of sched/task.h: each task that is scheduled is
 *   taken exactly once, through the shared list, the rings, and the lists behind them; and who has
 *   taken a task owns all of it, its link too.
 * Threads: two that inject, three that are workers without a loop.
 * Why the link is spoilt by whoever takes a task: a task that runs may die at once, and its slot then
 *   stands in a free list, by that very link.
 */
#include "tests/stress/stress.h"

#include "sched/worker.h"

#define WORKERS 3u
#define INJECTORS 2u
#define TASKS 700u /* of each injector: more than a ring holds */

struct job {
    struct kith_self task; /* first: a task is its job */
    uint64_t scheduled;
    KITH__ATOMIC(uint64_t) taken;
};

static struct kith_runtime rt;
static struct kith__worker workers[WORKERS];
static struct job jobs[INJECTORS][TASKS];
static struct kith__slot nowhere;
static KITH__ATOMIC(uint32_t) injecting;
static KITH__ATOMIC(uint64_t) steals;
static uint64_t rounds;

static void runtime_open(void)
{
    memset(&rt, 0, sizeof rt);
    memset(workers, 0, sizeof workers);
    memset(jobs, 0, sizeof jobs);
    rt.workers = workers;
    rt.worker_count = WORKERS;
    kith__store_rlx(&rt.spread.limit, WORKERS);
    pthread_mutex_init(&rt.shared.lock, NULL);
    for (uint32_t i = 0; i < WORKERS; i++) {
        workers[i].index = i;
        workers[i].ctx.rt = &rt;
        workers[i].ctx.worker = &workers[i];
        workers[i].queue.mask = KITH__RUNQ_CAPACITY - 1;
        workers[i].queue.ring = workers[i].ring;
        pthread_mutex_init(&workers[i].overflow.lock, NULL);
    }
}

static void runtime_close(void)
{
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_mutex_destroy(&workers[i].overflow.lock);
    pthread_mutex_destroy(&rt.shared.lock);
}

static void take(struct kith_self *task)
{
    struct job *job = (struct job *)task;
    uint64_t scheduled = job->scheduled;
    task->slot.next = &nowhere;
    uint64_t before = kith__add_seq(&job->taken, 1); /* pairs with the load in injector_main */
    CHECK_EQ(before, scheduled - 1);
}

/* As a worker's loop looks for work, but stealing more often than any would. */
static struct kith_self *find(struct kith__worker *w, struct kith__random *random)
{
    struct kith__worker *victim = &workers[kith__random_below(random, WORKERS)];
    struct kith_self *task = NULL;
    if (victim != w && kith__random_below(random, 2) == 0)
        task = kith__steal_half(w, victim);
    kith__add_rlx(&steals, task != NULL);
    if (task == NULL)
        task = kith__runq_pop(&w->queue);
    if (task == NULL)
        task = kith__overflow_take(w);
    return task != NULL ? task : kith__shared_take(w);
}

static void worker_main(unsigned index)
{
    struct kith__worker *w = &workers[index];
    struct kith__random random;
    bool last = false;
    stress_random(&random, index);
    for (;;) {
        struct kith_self *task = find(w, &random);
        if (task != NULL && kith__random_below(&random, 8) == 0) {
            kith__enqueue(w, task); /* its turn is over, and it goes behind the others */
        } else if (task != NULL) {
            take(task);
        } else if (last) {
            break;
        } else {
            last = kith__load_acq(&injecting) == 0;
            sched_yield();
        }
    }
}

static void injector_main(unsigned index)
{
    for (uint64_t i = 0; i < rounds * TASKS; i++) {
        struct job *job = &jobs[index][i % TASKS];
        kith_time limit = kith_in(STRESS_PATIENCE_NS);
        while (kith__load_acq(&job->taken) != job->scheduled && kith_now() < limit)
            sched_yield();
        uint64_t taken = kith__load_acq(&job->taken);
        CHECK_EQ(taken, job->scheduled);
        if (taken != job->scheduled) /* lost, or taken twice */
            break;
        job->scheduled++;
        kith__inject(&rt, &job->task);
    }
    kith__sub_ar(&injecting, 1);
}

static void either(unsigned index, void *arg)
{
    (void)arg;
    if (index < WORKERS)
        worker_main(index);
    else
        injector_main(index - WORKERS);
}

TEST(each_task_is_taken_once)
{
    stress_limit("each_task_is_taken_once");
    runtime_open();
    rounds = stress_times(20000);
    kith__store_rlx(&injecting, INJECTORS);
    stress_threads(WORKERS + INJECTORS, either, NULL);
    for (unsigned i = 0; i < INJECTORS * TASKS; i++) {
        uint64_t taken = kith__load_rlx(&jobs[i / TASKS][i % TASKS].taken);
        CHECK_EQ(taken, rounds);
    }
    uint64_t n = kith__load_rlx(&steals);
    CHECK_GT(n, (uint64_t)0); /* else this was no test */
    printf("%" PRIu64 " thefts, ", n);
    runtime_close();
    alarm(0);
}
