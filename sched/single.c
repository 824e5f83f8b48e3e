/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The loop executor: the one worker runs on the program's own thread (home), which called
 * kith_start, and kith starts no other. It runs whenever home waits in kith: for its mail, for a
 * join, in the shutdown, or in kith_loop_run.
 *
 * Called by the actor layer (actors/thread.c, shutdown.c, loop.c).
 *
 * Invariants
 *  Y1. Handlers and fibers run in the loop, never inside of one another: the loop is entered from
 *       home's own code only (kith__ctx_here is then no worker's), and once at a time.
 *  Y2. What is asked for is not slept through: it is set (Y2a), then the worker's state is looked
 *       at under park_lock (kith__wake_worker); the worker says that it sleeps, under park_lock,
 *       and then looks what is asked for (nothing_to_do in park.c). Who takes it acquires what the
 *       asker did (Y2b): home's task, if that is what it is about.
 *  Y3. Outside of the loop the worker counts as asleep, so that whoever gives it work, sets an
 *       earlier timer or places a task writes its eventfd. If another loop polls kith's descriptor
 *       and there is work when kith's loop is left, home writes it itself. So that descriptor is
 *       readable, or the deadline has passed, whenever there is anything to do.
 *  Y4. A round ends when all that was ready at its begin has had its turn: two marks, the last
 *       tasks of the two kinds of queues, have then been run.
 *
 * Why a worker and not a loop of its own: the same programs run, by the same code, and what outside
 * threads do (attach, send, ask, set timers) needs nothing new.
 */
#include "sched/single.h"
#include "base/clock.h"
#include "sched/timer.h"
#include "sched/worker.h"

static void mark_turn(struct kith__ctx *ctx, struct kith_self *task)
{
    (void)task;
    ctx->rt->single.marks--;
    kith__count_by(&ctx->worker->turns, (uint64_t)-1); /* nobody's */
}

static const struct kith__task_ops mark_ops = {.turn = mark_turn};

void kith__single_open(struct kith_runtime *rt)
{
    struct kith__single *single = &rt->single;
    single->home = pthread_self();
    single->mark[0].ops = single->mark[1].ops = &mark_ops;
    kith__task_place(&single->mark[1], 0);
    rt->workers[0].thread = single->home;
    kith__park_away(&rt->workers[0]);
}

/* ---- in and out ---- */

static struct kith__ctx *enter(struct kith_runtime *rt, uint32_t bits)
{
    struct kith__ctx *before = kith__ctx_here;
    struct kith__worker *w = &rt->workers[0];
    kith__assert(kith__single_home(rt) && !rt->single.runs); /* Y1 */
    kith__assert(before == NULL || before->worker == NULL);
    rt->single.runs = true;
    rt->single.heeds = bits;
    kith__ctx_here = &w->ctx;
    kith__park_back(w);
    kith__shared_drain(w);
    return before;
}

static void leave(struct kith_runtime *rt, struct kith__ctx *before)
{
    struct kith__worker *w = &rt->workers[0];
    rt->single.heeds = 0;
    kith__park_away(w); /* Y3 */
    if (rt->single.watched && kith__work_left(w))
        rt->driver->wake(w);
    rt->single.runs = false;
    kith__ctx_here = before;
}

/* Takes back what was asked for, of these bits. */
static bool taken(struct kith_runtime *rt, uint32_t bits)
{
    uint32_t seen = kith__load_rlx(&rt->single.asked) & bits;
    if (seen == 0)
        return false;
    kith__sub_ar(&rt->single.asked, seen); /* acquire Y2b; pairs with Y2a. Only home clears. */
    return true;
}

/* ---- running ---- */

static bool has_passed(struct kith_runtime *rt, kith_time deadline)
{
    return deadline != KITH_FOREVER && rt->driver->now() >= deadline;
}

bool kith__single_run(struct kith_runtime *rt, uint32_t bits, kith_time deadline,
                      kith__single_idle_fn *idle, void *arg)
{
    struct kith__worker *w = &rt->workers[0];
    struct kith__ctx *before = enter(rt, bits);
    bool over = taken(rt, bits);
    while (!over) {
        kith__worker_slice(w, deadline);
        taken(rt, KITH__ASKED_LOOK);
        over = taken(rt, bits) || (idle != NULL && idle(rt, arg));
        if (over || has_passed(rt, deadline))
            break;
        kith__park_until(w, deadline);
    }
    leave(rt, before);
    return over;
}

/* All that has happened until now. */
static void gather(struct kith__worker *w, kith_time now)
{
    const struct kith__driver *driver = w->ctx.rt->driver;
    kith_time until = kith__time_add(now, KITH__ROUND_NS);
    while (driver->poll(w, w, KITH_NOWAIT) && driver->now() < until)
        ;
    w->polled_at = now;
    do
        kith__timers_run(w, w, now);
    while (kith__load_rlx(&w->timer_next) <= now && driver->now() < until);
}

/* Y4 */
static void mark(struct kith_runtime *rt)
{
    struct kith__single *single = &rt->single;
    single->marks = 2;
    kith__enqueue(&rt->workers[0], &single->mark[0]);
    kith__place(&rt->workers[0].ctx, &single->mark[1]);
}

void kith__single_round(struct kith_runtime *rt)
{
    struct kith__worker *w = &rt->workers[0];
    struct kith__ctx *before = enter(rt, 0);
    kith_time now = rt->driver->now();
    gather(w, now);
    if (kith__work_left(w)) {
        mark(rt);
        kith__worker_slice(w, kith__time_add(now, KITH__ROUND_NS));
    }
    kith__assert(rt->single.marks == 0);
    taken(rt, KITH__ASKED_STOP | KITH__ASKED_LOOK);
    leave(rt, before);
}

kith_time kith__single_deadline(struct kith_runtime *rt)
{
    struct kith__worker *w = &rt->workers[0];
    if (kith__work_left(w))
        return KITH_NOWAIT;
    /* relaxed: home's own timers; another thread that sets an earlier one writes the eventfd. */
    kith_time next = kith__load_rlx(&w->timer_next);
    return has_passed(rt, next) ? KITH_NOWAIT : next;
}

/* ---- asking ---- */

void kith__single_ask(struct kith_runtime *rt, uint32_t bits)
{
    kith__or_ar(&rt->single.asked, bits); /* release Y2a; pairs with Y2b */
    kith__wake_worker(&rt->workers[0]);
}

void kith__single_look(struct kith_runtime *rt)
{
    /* seq S3; pairs with quiet_wait in actors/shutdown.c, as in kith__tell_joiners. */
    if (kith__is_loop(rt) && kith__load_seq(&rt->joining) != 0)
        kith__single_ask(rt, KITH__ASKED_LOOK);
}
