/* SPDX-License-Identifier: BSD-2-Clause
 *
 * W6, N-Queens over cores: all ways to put N queens on an N x N board; a job is what follows from the
 * places of the first two.
 *
 * Check: the number of solutions, which is known.
 * Threads: the dress's, as many as cores.
 * Why jobs of two rows: some 130 of them, of unequal size, so that somebody has to share them out.
 */
#include "contrast.h"

#include <stdlib.h>

/* A board: columns and both diagonals that are taken, a bit each. */
struct board {
    uint32_t columns;
    uint32_t left;
    uint32_t right;
};

static struct board put(struct board b, uint32_t queen)
{
    return (struct board){b.columns | queen, (b.left | queen) << 1, (b.right | queen) >> 1};
}

static uint32_t everywhere(void)
{
    return (1U << param_number()) - 1;
}

static uint32_t free_places(struct board b)
{
    return everywhere() & ~(b.columns | b.left | b.right);
}

static uint64_t solutions(struct board b, uint32_t all)
{
    uint64_t n = 0;
    if (b.columns == all)
        return 1;
    for (uint32_t places = all & ~(b.columns | b.left | b.right); places != 0; places &= places - 1)
        n += solutions(put(b, places & -places), all);
    return n;
}

enum { JOBS_MAX = 32 * 32 };
static struct board jobs[JOBS_MAX];

static long make_jobs(void)
{
    long n = 0;
    for (uint32_t one = free_places((struct board){0}); one != 0; one &= one - 1) {
        struct board first = put((struct board){0}, one & -one);
        for (uint32_t two = free_places(first); two != 0; two &= two - 1)
            jobs[n++] = put(first, two & -two);
    }
    return n;
}

static uint64_t run_job(long job)
{
    return solutions(jobs[job], everywhere());
}

static void report_queens(kith_time start, uint64_t sum, bool ok)
{
    static const uint64_t known[] = {1,  1,   0,   0,    2,     10,    4,      40,
                                     92, 352, 724, 2680, 14200, 73712, 365596, 2279184};
    report("all", seconds_since(start) * 1e3, "ms", ok && sum == known[param_number()]);
}

/* ---- handlers: callbacks, actors, stealing: an actor a job ---- */

KITH_MESSAGE(solve, { long job; });
KITH_MESSAGE(solved, { uint64_t solutions; });

struct solver;

KITH_ON(solver, solve)
{
    kith_reply(self, solved, .solutions = run_job(msg->job));
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior solver = {
    .name = "solver",
    .handlers = KITH_HANDLERS(solver, solve),
};

struct chief {
    long left;
    uint64_t sum;
};

KITH_ON(chief, begin)
{
    me->left = make_jobs();
    for (long i = 0; i < me->left; i++)
        kith_send(self, spawn_placed(self, &solver, NULL, i), solve, .job = i);
    return KITH_OK;
}

KITH_ON(chief, solved)
{
    me->sum += msg->solutions;
    if (--me->left > 0)
        return KITH_OK;
    return kith_send(self, kith_parent(self), finished, .sum = me->sum);
}

static const kith_behavior chief = {
    .name = "chief",
    .state_bytes = sizeof(struct chief),
    .handlers = KITH_HANDLERS(chief, begin, solved),
};

static void actors(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    finished all = {0};
    kith_time start = kith_now();
    kith_send(self, kith_spawn(self, &chief, NULL), begin);
    bool ok = wait_finished(co, &all);
    report_queens(start, all.sum, ok);
}

/* ---- fibers, csp: a channel of jobs, one of results, a fiber a worker ---- */

struct channels {
    kith_chan *jobs;
    kith_chan *results;
};

static void solver_fiber(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct channels *c = arg;
    long job;
    while (kith_chan_recv(co, c->jobs, &job, KITH_FOREVER) == KITH_OK) {
        uint64_t n = run_job(job);
        if (kith_chan_send(co, c->results, &n, KITH_FOREVER) != KITH_OK)
            return;
    }
}

static void fibers(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    kith_time start = kith_now();
    long left = make_jobs();
    struct channels c = {kith_chan_new(self, sizeof(long), JOBS_MAX),
                         kith_chan_new(self, sizeof(uint64_t), JOBS_MAX)};
    kith_scope *scope = kith_scope_new(co);
    bool ok = true;
    for (long i = 0; i < left; i++)
        ok = ok && kith_chan_send(co, c.jobs, &i, KITH_FOREVER) == KITH_OK;
    kith_chan_close(c.jobs);
    for (long i = 0; i < (run.dress == CSP ? (long)run.cores : 1); i++)
        kith_scope_go_with(self, scope, solver_fiber, &c,
                           &(kith_fiber_options){.worker = place(i)});
    ok = kith_scope_leave_by(co, scope, kith_in(PATIENCE)) == KITH_OK && ok;
    uint64_t n;
    uint64_t sum = 0;
    for (; ok && left > 0; left--, sum += n)
        ok = kith_chan_recv(co, c.results, &n, KITH_NOWAIT) == KITH_OK;
    report_queens(start, sum, ok);
    kith_chan_drop(c.jobs);
    kith_chan_drop(c.results);
}

/* ---- threads: a queue of jobs, a thread a core ---- */

struct pool {
    queue jobs;
    countdown open;
};

static void *solver_thread(void *arg)
{
    struct pool *pool = arg;
    uint64_t job;
    while (queue_take(&pool->jobs, &job))
        countdown_step(&pool->open, run_job((long)job));
    return NULL;
}

static void threads(void)
{
    kith_time start = kith_now();
    struct pool pool;
    pthread_t thread[KITH_WORKERS_MAX] = {0};
    long left = make_jobs();
    queue_open(&pool.jobs, 0);
    countdown_open(&pool.open, (uint64_t)left);
    for (long i = 0; i < left; i++)
        queue_put(&pool.jobs, (uint64_t)i);
    queue_close(&pool.jobs);
    for (unsigned i = 0; i < run.cores; i++)
        thread[i] = thread_start(solver_thread, &pool, -1);
    report_queens(start, countdown_wait(&pool.open), true);
    for (unsigned i = 0; i < run.cores; i++)
        pthread_join(thread[i], NULL);
    queue_free(&pool.jobs);
}

const workload w6_queens = {
    .name = "W6",
    .what = "N-Queens over cores",
    .params = {"8", "13", "15"},
    .kith = {[CALLBACKS] = actors,
             [FIBERS] = fibers,
             [CSP] = fibers,
             [ACTORS] = actors,
             [STEALING] = actors},
    .threads = threads,
};
