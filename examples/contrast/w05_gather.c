/* SPDX-License-Identifier: BSD-2-Clause
 *
 * W5, gather: 10,000 questions at once, each answered after 10 ms by somebody far away (here a timer);
 * how long until all answers are together? Ten milliseconds, and what the waiting itself costs.
 *
 * Check: the sum of the answers.
 * Threads: the dress's; in the dress of threads, one a question: a pool that is smaller would wait
 *   for one answer after the other.
 */
#include "contrast.h"

#include <stdlib.h>
#include <time.h>

#define ANSWER_NS (10 * KITH_MS)

static uint64_t answer_to(uint64_t question)
{
    return mix(question);
}

static void report_gather(kith_time start, uint64_t sum, bool ok)
{
    double ms = seconds_since(start) * 1e3;
    uint64_t right = 0;
    for (long i = 0; i < param_number(); i++)
        right += answer_to((uint64_t)i);
    report("all", ms, "ms", ok && sum == right);
}

/* ---- callbacks: a timer each, and a counter ---- */

KITH_MESSAGE(fetched, { uint64_t question; });

struct page {
    long left;
    uint64_t sum;
};

KITH_ON(page, begin)
{
    for (me->left = 0; me->left < param_number(); me->left++)
        kith_at(self, kith_in(ANSWER_NS), fetched, .question = (uint64_t)me->left);
    return KITH_OK;
}

KITH_ON(page, fetched)
{
    me->sum += answer_to(msg->question);
    if (--me->left > 0)
        return KITH_OK;
    return kith_send(self, kith_parent(self), finished, .sum = me->sum);
}

static const kith_behavior page = {
    .name = "page",
    .state_bytes = sizeof(struct page),
    .handlers = KITH_HANDLERS(page, begin, fetched),
};

static void gather_by(kith_self *self, kith_co *co, const kith_behavior *behavior)
{
    finished all = {0};
    kith_ref gathering = kith_spawn(self, behavior, NULL);
    kith_time start = kith_now();
    kith_send(self, gathering, begin);
    bool ok = wait_finished(co, &all);
    report_gather(start, all.sum, ok);
}

static void callbacks(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    gather_by(self, co, &page);
}

/* ---- actors, stealing: an actor a question ---- */

KITH_MESSAGE(ask_far, { uint64_t question; });
KITH_MESSAGE(answer, { uint64_t value; });

struct asker;

KITH_ON(asker, ask_far)
{
    return kith_timer_error(kith_at(self, kith_in(ANSWER_NS), fetched, .question = msg->question));
}

KITH_ON(asker, fetched)
{
    kith_send(self, kith_parent(self), answer, .value = answer_to(msg->question));
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior asker = {
    .name = "asker",
    .handlers = KITH_HANDLERS(asker, ask_far, fetched),
};

struct gatherer {
    long left;
    uint64_t sum;
};

KITH_ON(gatherer, begin)
{
    for (me->left = 0; me->left < param_number(); me->left++)
        kith_send(self, spawn_placed(self, &asker, NULL, me->left), ask_far,
                  .question = (uint64_t)me->left);
    return KITH_OK;
}

KITH_ON(gatherer, answer)
{
    me->sum += msg->value;
    if (--me->left > 0)
        return KITH_OK;
    return kith_send(self, kith_parent(self), finished, .sum = me->sum);
}

static const kith_behavior gatherer = {
    .name = "gatherer",
    .state_bytes = sizeof(struct gatherer),
    .handlers = KITH_HANDLERS(gatherer, begin, answer),
};

static void actors(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    gather_by(self, co, &gatherer);
}

/* ---- fibers: async and gather ---- */

static kith_err fetch(KITH_UNUSED kith_self *self, kith_co *co, void *arg, void **result)
{
    uint64_t *value = arg;
    kith_err err = kith_sleep(co, kith_in(ANSWER_NS));
    *value = answer_to(*value);
    *result = value;
    return err;
}

static void fibers(KITH_UNUSED kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    size_t n = (size_t)param_number();
    kith_future **pages = calloc(n, sizeof *pages);
    uint64_t *values = calloc(n, sizeof *values);
    uint64_t sum = 0;
    kith_time start = kith_now();
    for (size_t i = 0; i < n; i++) {
        values[i] = i;
        pages[i] = kith_async(co, fetch, &values[i]);
    }
    bool ok = kith_gather(co, pages, n, kith_in(PATIENCE)) == KITH_OK;
    for (size_t i = 0; i < n; i++) {
        sum += values[i];
        kith_future_drop(pages[i]);
    }
    report_gather(start, sum, ok);
    free(values);
    free(pages);
}

/* ---- csp: a fiber a question, and a channel for the answers ---- */

struct question {
    kith_chan *answers;
    uint64_t number;
};

static void fetch_fiber(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct question *q = arg;
    uint64_t value = answer_to(q->number);
    if (kith_sleep(co, kith_in(ANSWER_NS)) == KITH_OK)
        (void)!kith_chan_send(co, q->answers, &value, KITH_FOREVER);
}

static void csp(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    kith_chan *answers = kith_chan_new(self, sizeof(uint64_t), 1024);
    kith_scope *scope = kith_scope_new(co);
    kith_time start = kith_now();
    for (long i = 0; i < param_number(); i++) {
        struct question q = {answers, (uint64_t)i};
        kith_fiber_options options = {.arg_bytes = sizeof q, .worker = place(i)};
        kith_scope_go_with(self, scope, fetch_fiber, &q, &options);
    }
    uint64_t value;
    uint64_t sum = 0;
    bool ok = true;
    for (long i = 0; ok && i < param_number(); i++, sum += value)
        ok = kith_chan_recv(co, answers, &value, kith_in(PATIENCE)) == KITH_OK;
    ok = kith_scope_leave(co, scope) == KITH_OK && ok;
    report_gather(start, sum, ok);
    kith_chan_drop(answers);
}

/* ---- threads: one a question ---- */

struct questions {
    countdown open;
    pthread_mutex_t mutex;
    uint64_t next;
};

static void *fetch_thread(void *arg)
{
    struct questions *q = arg;
    const struct timespec far = {.tv_nsec = (long)ANSWER_NS};
    pthread_mutex_lock(&q->mutex);
    uint64_t number = q->next++;
    pthread_mutex_unlock(&q->mutex);
    nanosleep(&far, NULL);
    countdown_step(&q->open, answer_to(number));
    return NULL;
}

static void threads(void)
{
    long n = param_number();
    long made = 0;
    struct questions q = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    pthread_t *thread = calloc((size_t)n, sizeof *thread);
    countdown_open(&q.open, (uint64_t)n);
    kith_time start = kith_now();
    while (made < n && thread_try_start(&thread[made], fetch_thread, &q, -1))
        made++;
    if (made < n)
        report_none("all", "ms", "the system does not allow so many threads");
    else
        report_gather(start, countdown_wait(&q.open), true);
    for (long i = 0; i < made; i++)
        pthread_join(thread[i], NULL);
    free(thread);
}

const workload w5_gather = {
    .name = "W5",
    .what = "10,000 answers, each 10 ms away, gathered",
    .params = {"100", "10000", "10000"},
    .kith = {[CALLBACKS] = callbacks,
             [FIBERS] = fibers,
             [CSP] = csp,
             [ACTORS] = actors,
             [STEALING] = actors},
    .threads = threads,
};
