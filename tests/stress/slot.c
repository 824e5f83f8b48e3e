/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of a worker's slot (sched/worker.h): its owner against rescuers.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: K3 and K4 of sched/worker.h: each task that is put into the slot is taken exactly
 *   once, by the owner or by a rescuer, wherever in its take the owner is met; and what was written
 *   into the task before is seen by who takes it.
 * Threads: the owner and the rescuers, each with a worker that has no thread; so no worker here ever
 *   stands still, and every raid meets a moving owner.
 */
#include "tests/stress/stress.h"

#include "sched/worker.h"

#define RESCUERS 2u
#define JOBS 1000u /* that are on their way at a time */

struct job {
    struct kith_self task; /* first: a task is its job */
    uint64_t number;
    KITH__ATOMIC(uint64_t) taken; /* how often */
};

static struct kith_runtime rt;
static struct kith__worker workers[RESCUERS + 1]; /* the last is the owner */
static struct job jobs[JOBS];
static KITH__ATOMIC(uint32_t) done;
static KITH__ATOMIC(uint64_t) rescued;
static uint64_t job_count;

static void worker_open(struct kith__worker *w, bool asymmetric)
{
    memset(w, 0, sizeof *w);
    w->ctx.rt = &rt;
    w->ctx.worker = w;
    w->asymmetric = asymmetric;
    w->queue.mask = KITH__RUNQ_CAPACITY - 1;
    w->queue.ring = w->ring;
    pthread_mutex_init(&w->raid_lock, NULL);
    pthread_mutex_init(&w->overflow.lock, NULL);
}

static void worker_close(struct kith__worker *w)
{
    pthread_mutex_destroy(&w->raid_lock);
    pthread_mutex_destroy(&w->overflow.lock);
}

static void take(struct kith_self *task)
{
    struct job *job = (struct job *)task;
    uint64_t round = job->number / JOBS + 1;
    CHECK_EQ(job - jobs, (ptrdiff_t)(job->number % JOBS));
    /* releases; pairs with the load in owner_main: the job may be used again. */
    uint64_t before = kith__add_seq(&job->taken, 1);
    CHECK_EQ(before, round - 1);
}

static void queue_empty(struct kith__worker *w)
{
    struct kith_self *task;
    while ((task = kith__runq_pop(&w->queue)) != NULL || (task = kith__overflow_take(w)) != NULL)
        take(task);
}

static void owner_main(void)
{
    struct kith__worker *w = &workers[RESCUERS];
    struct kith__random random;
    stress_random(&random, RESCUERS);
    for (uint64_t i = 0; i < job_count; i++) {
        struct job *job = &jobs[i % JOBS];
        kith_time limit = kith_in(20 * KITH_SECOND);
        while (kith__load_acq(&job->taken) != i / JOBS && kith_now() < limit) {
            struct kith_self *task = kith__slot_take(w);
            if (task != NULL)
                take(task);
            queue_empty(w);
            sched_yield(); /* a rescuer has it in hand */
        }
        uint64_t taken = kith__load_acq(&job->taken);
        CHECK_EQ(taken, i / JOBS);
        if (taken != i / JOBS) /* lost, or taken twice */
            return;
        job->number = i;
        kith__schedule(&w->ctx, &job->task);
        if (kith__random_below(&random, 4) == 0)
            continue; /* the next one drives it out of the slot */
        struct kith_self *task = kith__slot_take(w);
        if (task != NULL)
            take(task);
        if (kith__random_below(&random, 16) == 0)
            queue_empty(w);
    }
}

static void rescuer_main(unsigned index)
{
    struct kith__worker *w = &workers[index];
    while (kith__load_acq(&done) == 0) {
        if (!kith__steal_all(w, &workers[RESCUERS]))
            continue;
        kith__add_rlx(&rescued, 1);
        queue_empty(w);
    }
    queue_empty(w);
}

static void either(unsigned index, void *arg)
{
    (void)arg;
    if (index < RESCUERS) {
        rescuer_main(index);
        return;
    }
    owner_main();
    kith__store_rel(&done, 1);
}

static void one_run(bool asymmetric)
{
    memset(&rt, 0, sizeof rt);
    memset(jobs, 0, sizeof jobs);
    rt.worker_count = RESCUERS + 1;
    rt.workers = workers;
    for (unsigned i = 0; i <= RESCUERS; i++)
        worker_open(&workers[i], asymmetric);
    kith__store_rlx(&done, 0);
    kith__store_rlx(&rescued, 0);
    job_count = stress_times(5000000) / JOBS * JOBS;
    stress_threads(RESCUERS + 1, either, NULL);
    struct kith_self *last = kith__slot_take(&workers[RESCUERS]);
    if (last != NULL)
        take(last);
    queue_empty(&workers[RESCUERS]);
    for (unsigned i = 0; i < JOBS && test_failures == 0; i++) {
        uint64_t taken = kith__load_rlx(&jobs[i].taken);
        CHECK_EQ(taken, job_count / JOBS);
    }
    uint64_t rescues = kith__load_rlx(&rescued);
    CHECK_GT(rescues, (uint64_t)0); /* else this was no test */
    printf("%" PRIu64 " rescues of %" PRIu64 " tasks, ", rescues, job_count);
    for (unsigned i = 0; i <= RESCUERS; i++)
        worker_close(&workers[i]);
}

TEST(the_owner_against_rescuers)
{
    stress_limit("the_owner_against_rescuers");
    if (kith__asymmetric_open())
        one_run(true);
    else
        printf("(no membarrier here) ");
}

TEST(the_owner_against_rescuers_without_membarrier)
{
    stress_limit("the_owner_against_rescuers_without_membarrier");
    one_run(false);
    alarm(0);
}
