/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: the workload timers: n timers in one second, half of them cancelled.
 *
 * Called by: measure.c, through bench_timers.
 * Invariants: timer i is cancelled if and only if i is odd; it is marked when it fires, and a mark
 *   that comes early, twice, or after a cancel that was answered by KITH_OK fails the check. One
 *   more timer, behind all others, ends the run: a lost timer fails the check and hangs nothing.
 * Threads: one actor sets, cancels and gets all timers; main begins, and reads its table after
 *   the actor has reported.
 * Why so: what costs is setting and cancelling, so that is the operation; firing is bound to the
 *   clock, and is judged by its lateness and by the CPU time of the whole run.
 */
#include "bench/bench.h"

#define TIMER_SLICE 10000
#define TIMER_LEAD_NS (KITH_SECOND) /* from the start to the first deadline */
#define TIMER_WINDOW_NS (KITH_SECOND)
#define TIMER_GRACE_NS (100 * KITH_MS) /* from the last deadline to the end */

KITH_MESSAGE(timer_fired, { uint64_t index; });
KITH_MESSAGE(timer_set_more, { char none; });
KITH_MESSAGE(timer_cancel_more, { char none; });
KITH_MESSAGE(timer_end, { char none; });

struct timer_table {
    kith_time *deadline;
    kith_timer *timer;
    unsigned char *canceled;
    unsigned char *fired;
    uint32_t *late_ns; /* in the order in which they fired */
    uint64_t cpu_ns;
};

struct timer_actor {
    struct timer_table *table;
    kith_ref main;
    kith_time began_ns;
    kith_time base_ns; /* the first deadline */
    kith_time ended_ns;
    uint64_t random;
    uint64_t n;
    uint64_t next;
    uint64_t canceled;
    uint64_t fired;
    uint64_t wrong;
};

static kith_err timer_actor_init(kith_self *self, void *state, const void *arg)
{
    struct timer_actor *me = state;
    (void)self;
    me->table = *(struct timer_table *const *)arg;
    return KITH_OK;
}

static kith_err set_one(kith_self *self, struct timer_actor *me, uint64_t i)
{
    struct timer_table *t = me->table;
    t->deadline[i] = me->base_ns + bench_random(&me->random) % TIMER_WINDOW_NS;
    t->timer[i] = kith_at(self, t->deadline[i], timer_fired, .index = i);
    return kith_timer_error(t->timer[i]);
}

/* A timer that has fired already, because setting took longer than the lead, cannot be cancelled;
 * the table then says so, and the check goes by the table. */
static void cancel_one(kith_self *self, struct timer_actor *me, uint64_t i)
{
    struct timer_table *t = me->table;
    if (t->fired[i])
        return;
    t->canceled[i] = kith_timer_cancel(self, t->timer[i]) == KITH_OK;
    me->canceled += t->canceled[i];
    me->wrong += !t->canceled[i] && kith_now() < t->deadline[i];
}

KITH_ON(timer_actor, timer_set_more)
{
    uint64_t end = me->next + bench_slice(TIMER_SLICE, me->n - me->next);
    for (; me->next < end; me->next++) {
        kith_err err = set_one(self, me, me->next);
        if (err != KITH_OK)
            return err;
    }
    if (me->next < me->n)
        return kith_send(self, kith_self_ref(self), timer_set_more);
    me->next = 1;
    return kith_send(self, kith_self_ref(self), timer_cancel_more);
}

KITH_ON(timer_actor, timer_cancel_more)
{
    uint64_t end = me->next + TIMER_SLICE;
    for (; me->next < me->n && me->next < end; me->next += 2)
        cancel_one(self, me, me->next);
    if (me->next < me->n)
        return kith_send(self, kith_self_ref(self), timer_cancel_more);
    me->ended_ns = kith_now();
    kith_time last = me->base_ns + TIMER_WINDOW_NS;
    last = (me->ended_ns > last ? me->ended_ns : last) + TIMER_GRACE_NS;
    return kith_timer_error(kith_at(self, last, timer_end));
}

KITH_ON(timer_actor, bench_go)
{
    me->main = kith_sender(self);
    me->n = msg->n;
    me->table->cpu_ns = bench_cpu_ns();
    me->began_ns = kith_now();
    me->base_ns = me->began_ns + TIMER_LEAD_NS;
    return timer_actor_on_timer_set_more(self, me, NULL);
}

KITH_ON(timer_actor, timer_fired)
{
    struct timer_table *t = me->table;
    kith_time now = kith_now();
    kith_time deadline = t->deadline[msg->index];
    bool right = now >= deadline && !t->fired[msg->index] && !t->canceled[msg->index];
    me->wrong += !right;
    t->fired[msg->index] = 1;
    if (right)
        t->late_ns[me->fired++] =
            now - deadline < UINT32_MAX ? (uint32_t)(now - deadline) : UINT32_MAX;
    return KITH_OK;
}

KITH_ON(timer_actor, timer_end)
{
    me->table->cpu_ns = bench_cpu_ns() - me->table->cpu_ns;
    return kith_send(self, me->main, bench_done, .began_ns = me->began_ns, .ended_ns = me->ended_ns,
                     .ops = me->n + me->canceled,
                     .check = me->wrong == 0 && me->fired + me->canceled == me->n);
}

static const kith_behavior timer_actor = {
    .name = "timer_actor",
    .state_bytes = sizeof(struct timer_actor),
    .handlers = KITH_HANDLERS(timer_actor, bench_go, timer_set_more, timer_cancel_more, timer_fired,
                              timer_end),
    .init = timer_actor_init,
};

static void run_timers(bench *b)
{
    static struct timer_table table; /* static: outlives the actor, also when a run has failed */
    struct timer_table *shared = &table;
    table.deadline = bench_calloc(b->n, sizeof *table.deadline);
    table.timer = bench_calloc(b->n, sizeof *table.timer);
    table.canceled = bench_calloc(b->n, 1);
    table.fired = bench_calloc(b->n, 1);
    table.late_ns = bench_calloc(b->n, sizeof *table.late_ns);
    bench_go_and_wait(b, kith_spawn(b->self, &timer_actor, &shared));
    if (!b->result->check)
        return;
    size_t fired = b->n - (size_t)(b->result->ops - b->n);
    bench_quantiles q = bench_add_quantiles(b->result, "late_", table.late_ns, fired);
    bench_add_extra(b->result, "late_max_us", q.max_ns / 1000);
    bench_add_extra(b->result, "cpu_ns_per_timer", (double)table.cpu_ns / (double)b->n);
}

const bench_workload bench_timers[] = {
    {.name = "timers",
     .op = "timer set or cancelled",
     .what = "n timers with random deadlines in one second, every other one cancelled",
     .n_default = 1000000,
     .n_max = UINT32_MAX,
     .run = run_timers},
    {0},
};
