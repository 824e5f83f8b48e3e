/* SPDX-License-Identifier: BSD-2-Clause
 *
 * W7, what is shared: eight tasks add to one counter (`counter`), or look numbers up in one cache,
 * which computes what it does not know (`cache`). A single thread shares plain variables: it should
 * win.
 *
 * Check: the counter's end; the sum of what the cache answered.
 * Threads: the dress's.
 * Why the tasks go in slices of a thousand: so that they take turns where nothing else makes them.
 */
#include "contrast.h"

enum { TASKS = 8, SLICE = 1000, KEYS = 4096 };

static long ops_each(void)
{
    bool by_message = run.dress == CSP || run.dress == ACTORS || run.dress == STEALING;
    long most = by_size(2000, 40000, param_is("cache") && by_message ? 200000 : 1000000);
    return most / SLICE * SLICE;
}

/* ---- what is shared ---- */

static struct {
    uint64_t counter;
    uint64_t value[KEYS]; /* 0: not known yet */
} shared;

static uint64_t look_up(uint64_t key)
{
    if (shared.value[key] == 0)
        shared.value[key] = work(key) | 1;
    return shared.value[key];
}

/* The keys that a task asks for. */
static uint64_t key_of(uint64_t task, long i)
{
    return mix(task << 32 | (uint64_t)i) % KEYS;
}

static uint64_t one_operation(uint64_t task, long i)
{
    if (param_is("cache"))
        return look_up(key_of(task, i));
    shared.counter++;
    return 1;
}

/* What all operations return, together. */
static uint64_t right_sum(void)
{
    uint64_t sum = 0;
    for (uint64_t task = 0; task < TASKS && param_is("cache"); task++) {
        for (long i = 0; i < ops_each(); i++)
            sum += shared.value[key_of(task, i)];
    }
    for (uint64_t key = 0; key < KEYS && param_is("cache"); key++) {
        if (shared.value[key] != 0 && shared.value[key] != (work(key) | 1))
            return 0;
    }
    return param_is("cache") ? sum : (uint64_t)(TASKS * ops_each());
}

static void report_shared(kith_time start, uint64_t sum, bool ok)
{
    double a_second = (double)(TASKS * ops_each()) / seconds_since(start);
    ok = ok && (param_is("cache") || shared.counter == (uint64_t)(TASKS * ops_each()));
    report("operations", a_second, "1/s", ok && sum == right_sum());
}

/* ---- callbacks: handlers on one thread, which share ---- */

struct sharer {
    uint64_t task;
    long i;
    uint64_t sum;
};

static kith_err sharer_init(KITH_UNUSED kith_self *self, void *state, const void *arg)
{
    ((struct sharer *)state)->task = *(const uint64_t *)arg;
    return KITH_OK;
}

KITH_ON(sharer, begin)
{
    for (long slice = 0; slice < SLICE; slice++)
        me->sum += one_operation(me->task, me->i++);
    if (me->i < ops_each())
        return kith_send(self, kith_self_ref(self), begin);
    return kith_send(self, kith_parent(self), finished, .sum = me->sum);
}

static const kith_behavior sharer = {
    .name = "sharer",
    .state_bytes = sizeof(struct sharer),
    .init = sharer_init,
    .handlers = KITH_HANDLERS(sharer, begin),
};

/* Starts TASKS actors, tells them whom to ask, adds up what they counted. */
static void run_actors(kith_self *self, kith_co *co, const kith_behavior *behavior, kith_ref peer)
{
    uint64_t sum = 0;
    bool ok = true;
    kith_time start = kith_now();
    for (uint64_t i = 0; i < TASKS; i++)
        kith_send(self, spawn_placed(self, behavior, &i, (long)i + 1), begin, .peer = peer);
    for (int i = 0; i < TASKS; i++) {
        finished one = {0};
        ok = ok && wait_finished(co, &one);
        sum += one.sum;
    }
    report_shared(start, sum, ok);
}

static void callbacks(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    run_actors(self, co, &sharer, (kith_ref){0});
}

/* ---- actors, stealing: an actor owns it, the others send to it ---- */

KITH_MESSAGE(add, { uint64_t n; });
KITH_MESSAGE(total, { char none; });
KITH_MESSAGE(key, { uint64_t key; });
KITH_MESSAGE(value, { uint64_t value; });

struct owner;

KITH_ON(owner, add)
{
    shared.counter += msg->n;
    return KITH_OK;
}

/* Behind all additions of whoever asks: so once all have asked, all is added. */
KITH_ON(owner, total)
{
    return kith_reply(self, value, .value = shared.counter);
}

KITH_ON(owner, key)
{
    return kith_reply(self, value, .value = look_up(msg->key));
}

static const kith_behavior owner = {
    .name = "owner",
    .handlers = KITH_HANDLERS(owner, add, total, key),
};

struct user {
    struct sharer base;
    kith_ref owner;
};

/* The counter: a thousand additions, then a question, so that the owner is never flooded. */
static kith_err next_slice(kith_self *self, struct user *me)
{
    for (long slice = 0; slice < SLICE; slice++)
        kith_send(self, me->owner, add, .n = 1);
    me->base.i += SLICE;
    me->base.sum += SLICE;
    return kith_send(self, me->owner, total);
}

static kith_err next_key(kith_self *self, struct user *me)
{
    return kith_send(self, me->owner, key, .key = key_of(me->base.task, me->base.i++));
}

KITH_ON(user, begin)
{
    me->owner = msg->peer;
    return param_is("counter") ? next_slice(self, me) : next_key(self, me);
}

KITH_ON(user, value)
{
    bool is_counter = param_is("counter");
    if (!is_counter)
        me->base.sum += msg->value;
    if (me->base.i < ops_each())
        return is_counter ? next_slice(self, me) : next_key(self, me);
    return kith_send(self, kith_parent(self), finished, .sum = me->base.sum);
}

static const kith_behavior user = {
    .name = "user",
    .state_bytes = sizeof(struct user),
    .init = sharer_init,
    .handlers = KITH_HANDLERS(user, begin, value),
};

static void actors(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    run_actors(self, co, &user, spawn_placed(self, &owner, NULL, 0));
}

/* ---- fibers: on one thread, which share ---- */

struct task {
    struct shop *shop; /* csp's */
    uint64_t number;
    uint64_t sum;
};

static void sharer_fiber(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    struct task *task = arg;
    for (long i = 0; i < ops_each(); i++) {
        task->sum += one_operation(task->number, i);
        if (i % SLICE == SLICE - 1)
            kith_yield(co);
    }
}

/* Runs TASKS fibers; the sum of what they counted. */
static uint64_t run_fibers(kith_self *self, kith_co *co, kith_fiber_fn *fn, struct shop *shop)
{
    struct task tasks[TASKS] = {{0}};
    kith_scope *scope = kith_scope_new(co);
    uint64_t sum = 0;
    for (long i = 0; i < TASKS; i++) {
        tasks[i] = (struct task){.shop = shop, .number = (uint64_t)i};
        kith_scope_go_with(self, scope, fn, &tasks[i],
                           &(kith_fiber_options){.worker = place(i + 1)});
    }
    kith_scope_leave_by(co, scope, kith_in(PATIENCE));
    for (int i = 0; i < TASKS; i++)
        sum += tasks[i].sum;
    return sum;
}

static void fibers(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    kith_time start = kith_now();
    uint64_t sum = run_fibers(self, co, sharer_fiber, NULL);
    report_shared(start, sum, true);
}

/* ---- csp: a fiber owns it, the others ask by channel ---- */

struct shop {
    kith_chan *adds;
    kith_chan *keys;
};

struct request {
    uint64_t key;
    kith_chan *answer;
};

static void owner_fiber(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct shop *shop = arg;
    struct request r;
    uint64_t n;
    if (param_is("counter")) {
        while (kith_chan_recv(co, shop->adds, &n, KITH_FOREVER) == KITH_OK)
            shared.counter += n;
        return;
    }
    while (kith_chan_recv(co, shop->keys, &r, KITH_FOREVER) == KITH_OK) {
        n = look_up(r.key);
        if (kith_chan_send(co, r.answer, &n, KITH_FOREVER) != KITH_OK)
            return;
    }
}

static void user_fiber(kith_self *self, kith_co *co, void *arg)
{
    struct task *task = arg;
    struct request r = {.answer = kith_chan_new(self, sizeof(uint64_t), 1)};
    uint64_t n = 1;
    kith_err err = KITH_OK;
    for (long i = 0; err == KITH_OK && i < ops_each(); i++, task->sum += n) {
        if (param_is("counter")) {
            err = kith_chan_send(co, task->shop->adds, &n, KITH_FOREVER);
            continue;
        }
        r.key = key_of(task->number, i);
        if ((err = kith_chan_send(co, task->shop->keys, &r, KITH_FOREVER)) == KITH_OK)
            err = kith_chan_recv(co, r.answer, &n, KITH_FOREVER);
    }
    kith_chan_drop(r.answer);
}

static void csp(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    struct shop shop = {kith_chan_new(self, sizeof(uint64_t), 1024),
                        kith_chan_new(self, sizeof(struct request), TASKS)};
    kith_scope *scope = kith_scope_new(co);
    kith_time start = kith_now();
    kith_scope_go_with(self, scope, owner_fiber, &shop, &(kith_fiber_options){.worker = place(0)});
    uint64_t sum = run_fibers(self, co, user_fiber, &shop);
    kith_chan_close(shop.adds);
    kith_chan_close(shop.keys);
    bool ok = kith_scope_leave_by(co, scope, kith_in(PATIENCE)) == KITH_OK;
    report_shared(start, sum, ok);
    kith_chan_drop(shop.adds);
    kith_chan_drop(shop.keys);
}

/* ---- threads: a mutex ---- */

struct sharers {
    pthread_mutex_t mutex;
    countdown open;
    uint64_t next;
};

static void *sharer_thread(void *arg)
{
    struct sharers *s = arg;
    uint64_t sum = 0;
    pthread_mutex_lock(&s->mutex);
    uint64_t task = s->next++;
    pthread_mutex_unlock(&s->mutex);
    for (long i = 0; i < ops_each(); i++) {
        pthread_mutex_lock(&s->mutex);
        sum += one_operation(task, i);
        pthread_mutex_unlock(&s->mutex);
    }
    countdown_step(&s->open, sum);
    return NULL;
}

static void threads(void)
{
    struct sharers s = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread[TASKS];
    countdown_open(&s.open, TASKS);
    kith_time start = kith_now();
    for (int i = 0; i < TASKS; i++)
        thread[i] = thread_start(sharer_thread, &s, -1);
    report_shared(start, countdown_wait(&s.open), true);
    for (int i = 0; i < TASKS; i++)
        pthread_join(thread[i], NULL);
}

const workload w7_shared = {
    .name = "W7",
    .what = "one shared counter, one shared cache",
    .params = {"counter cache", "counter cache", "counter cache"},
    .kith = {[CALLBACKS] = callbacks,
             [FIBERS] = fibers,
             [CSP] = csp,
             [ACTORS] = actors,
             [STEALING] = actors},
    .threads = threads,
};
