/* SPDX-License-Identifier: BSD-2-Clause
 *
 * W8, pipelines of 1 to 16 stages: each stage works about a microsecond on each item and hands it on;
 * items a second.
 *
 * Check: all items arrive, in order; the value of every 16th is computed again.
 * Threads: the dress's; in the dress of threads one a stage, with a queue in between.
 * Why a window: a producer that is faster than the stages would fill memory. Channels and queues are
 *   bounded; the actors' source sends on when the sink has confirmed.
 */
#include "contrast.h"

enum { STAGES_MAX = 16, ROOM = 1024, CHECKED = 16 };

struct item {
    uint64_t number;
    uint64_t value;
};

static long stages(void)
{
    return param_number();
}

static uint64_t items(void)
{
    return (uint64_t)(by_size(10000, 200000, 2000000) / stages());
}

/* What the sink has seen. */
struct seen {
    uint64_t count;
    uint64_t sum;
    bool in_order;
};

static void see(struct seen *seen, const struct item *item)
{
    seen->in_order = (seen->count == 0 || seen->in_order) && item->number == seen->count;
    seen->count++;
    if (item->number % CHECKED == 0)
        seen->sum += item->value;
}

static void report_pipeline(kith_time start, const struct seen *seen, bool ok)
{
    double a_second = (double)items() / seconds_since(start);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < items(); i += CHECKED) {
        uint64_t value = i;
        for (long stage = 0; stage < stages(); stage++)
            value = work(value);
        sum += value;
    }
    ok = ok && seen->in_order && seen->count == items() && seen->sum == sum;
    report("items", a_second, "1/s", ok);
}

/* ---- callbacks: each stage calls the next ---- */

static struct seen seen_here;

static kith_err call_stage(long stage, struct item *item)
{
    if (stage == stages()) {
        see(&seen_here, item);
        return KITH_OK;
    }
    item->value = work(item->value);
    return call_stage(stage + 1, item);
}

struct caller {
    uint64_t next;
};

/* A slice, then everybody else's turn. */
KITH_ON(caller, begin)
{
    for (int slice = 0; slice < ROOM && me->next < items(); slice++) {
        struct item item = {me->next, me->next};
        me->next++;
        call_stage(0, &item);
    }
    return kith_send(self, me->next < items() ? kith_self_ref(self) : kith_parent(self), begin);
}

static const kith_behavior caller = {
    .name = "caller",
    .state_bytes = sizeof(struct caller),
    .handlers = KITH_HANDLERS(caller, begin),
};

static void callbacks(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    kith_msg *msg;
    kith_time start = kith_now();
    kith_send(self, kith_spawn(self, &caller, NULL), begin);
    bool ok = kith_receive_only(co, begin, kith_in(PATIENCE), &msg) == KITH_OK;
    report_pipeline(start, &seen_here, ok);
}

/* ---- actors, stealing: an actor a stage ---- */

KITH_MESSAGE(part, {
    uint64_t number;
    uint64_t value;
});
KITH_MESSAGE(confirm, { uint64_t count; });

struct stage {
    kith_ref next;
};

static kith_err stage_init(KITH_UNUSED kith_self *self, void *state, const void *arg)
{
    ((struct stage *)state)->next = *(const kith_ref *)arg;
    return KITH_OK;
}

KITH_ON(stage, part)
{
    return kith_send(self, me->next, part, .number = msg->number, .value = work(msg->value));
}

static const kith_behavior stage = {
    .name = "stage",
    .state_bytes = sizeof(struct stage),
    .init = stage_init,
    .handlers = KITH_HANDLERS(stage, part),
};

struct sink {
    kith_ref source;
    struct seen seen;
};

KITH_ON(sink, begin)
{
    me->source = msg->peer;
    return KITH_OK;
}

KITH_ON(sink, part)
{
    see(&me->seen, &(struct item){msg->number, msg->value});
    seen_here = me->seen;
    if (me->seen.count % (ROOM / 2) == 0 || me->seen.count == items())
        return kith_send(self, me->source, confirm, .count = me->seen.count);
    return KITH_OK;
}

static const kith_behavior sink = {
    .name = "sink",
    .state_bytes = sizeof(struct sink),
    .handlers = KITH_HANDLERS(sink, begin, part),
};

struct source {
    kith_ref first;
    uint64_t next;
};

/* On its way are at most as many as channels between the stages would hold. */
static kith_err source_send(kith_self *self, struct source *me, uint64_t confirmed)
{
    uint64_t may = confirmed + (uint64_t)(ROOM * (stages() + 1));
    for (; me->next < items() && me->next < may; me->next++)
        kith_send(self, me->first, part, .number = me->next, .value = me->next);
    return KITH_OK;
}

KITH_ON(source, begin)
{
    me->first = msg->peer;
    return source_send(self, me, 0);
}

KITH_ON(source, confirm)
{
    if (msg->count == items())
        return kith_send(self, kith_parent(self), finished, .count = msg->count);
    return source_send(self, me, msg->count);
}

static const kith_behavior source = {
    .name = "source",
    .state_bytes = sizeof(struct source),
    .handlers = KITH_HANDLERS(source, begin, confirm),
};

static void actors(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    finished all = {0};
    kith_ref last = spawn_placed(self, &sink, NULL, stages());
    kith_ref first = last;
    for (long i = stages() - 1; i >= 0; i--)
        first = spawn_placed(self, &stage, &first, i);
    kith_ref from = spawn_placed(self, &source, NULL, 0);
    kith_time start = kith_now();
    kith_send(self, last, begin, .peer = from);
    kith_send(self, from, begin, .peer = first);
    bool ok = wait_finished(co, &all);
    report_pipeline(start, &seen_here, ok);
}

/* ---- fibers, csp: a fiber a stage, a channel in between ---- */

struct pipe {
    kith_chan *in;
    kith_chan *out;
};

static void source_fiber(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct pipe *p = arg;
    for (uint64_t i = 0; i < items(); i++) {
        if (kith_chan_send(co, p->out, &(struct item){i, i}, KITH_FOREVER) != KITH_OK)
            return;
    }
    kith_chan_close(p->out);
}

static void stage_fiber(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct pipe *p = arg;
    struct item item;
    while (kith_chan_recv(co, p->in, &item, KITH_FOREVER) == KITH_OK) {
        item.value = work(item.value);
        if (kith_chan_send(co, p->out, &item, KITH_FOREVER) != KITH_OK)
            return;
    }
    kith_chan_close(p->out);
}

static void sink_fiber(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct pipe *p = arg;
    struct item item;
    while (kith_chan_recv(co, p->in, &item, KITH_FOREVER) == KITH_OK)
        see(&seen_here, &item);
}

static void fibers(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    struct pipe pipes[STAGES_MAX + 2] = {{NULL, NULL}};
    long n = stages() + 2; /* the source, the stages, the sink */
    kith_scope *scope = kith_scope_new(co);
    for (long i = 1; i < n; i++)
        pipes[i].in = pipes[i - 1].out = kith_chan_new(self, sizeof(struct item), ROOM);
    kith_time start = kith_now();
    for (long i = 0; i < n; i++) {
        kith_fiber_options options = {.worker = place(i == 0 ? 0 : i - 1)};
        kith_fiber_fn *fn = i == 0 ? source_fiber : i == n - 1 ? sink_fiber : stage_fiber;
        kith_scope_go_with(self, scope, fn, &pipes[i], &options);
    }
    bool ok = kith_scope_leave_by(co, scope, kith_in(PATIENCE)) == KITH_OK;
    report_pipeline(start, &seen_here, ok);
    for (long i = 1; i < n; i++)
        kith_chan_drop(pipes[i].in);
}

/* ---- threads: a thread a stage, a queue in between; an item is its value, its number its place ---- */

struct belt {
    queue *in;
    queue *out;
};

static void *stage_thread(void *arg)
{
    const struct belt *belt = arg;
    uint64_t value;
    while (queue_take(belt->in, &value))
        queue_put(belt->out, work(value));
    queue_close(belt->out);
    return NULL;
}

static void *source_thread(void *arg)
{
    for (uint64_t i = 0; i < items(); i++)
        queue_put(arg, i);
    queue_close(arg);
    return NULL;
}

static void threads(void)
{
    queue queues[STAGES_MAX + 1];
    struct belt belts[STAGES_MAX];
    pthread_t thread[STAGES_MAX + 1];
    for (long i = 0; i <= stages(); i++)
        queue_open(&queues[i], ROOM);
    kith_time start = kith_now();
    for (long i = 0; i < stages(); i++) {
        belts[i] = (struct belt){&queues[i], &queues[i + 1]};
        thread[i] = thread_start(stage_thread, &belts[i], -1);
    }
    thread[stages()] = thread_start(source_thread, &queues[0], -1);
    uint64_t value;
    while (queue_take(&queues[stages()], &value))
        see(&seen_here, &(struct item){seen_here.count, value});
    for (long i = 0; i <= stages(); i++)
        pthread_join(thread[i], NULL);
    report_pipeline(start, &seen_here, true);
    for (long i = 0; i <= stages(); i++)
        queue_free(&queues[i]);
}

const workload w8_pipeline = {
    .name = "W8",
    .what = "pipelines of 1 to 16 stages of a microsecond",
    .params = {"1 4", "1 4 16", "1 2 4 8 16"},
    .kith = {[CALLBACKS] = callbacks,
             [FIBERS] = fibers,
             [CSP] = fibers,
             [ACTORS] = actors,
             [STEALING] = actors},
    .threads = threads,
};
