/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Starting and freeing a runtime: puts the layers together. Called by programs (kith_start,
 * kith_main) and by actors/shutdown.c.
 */
#include "actors/actor.h"
#include "base/clock.h"
#include "csp/blocking.h"
#include "csp/csp.h"
#include "io/io.h"
#include "io/loop.h"
#include "sched/worker.h"
#include <kith/runtime.h>
#include <signal.h>
#include <string.h>

#define SHUTDOWN_NS (5 * KITH_SECOND)
#define STALL_NS (25 * KITH_MS)
#define SLOW_NS (100 * KITH_MS)

const char *kith__name_of(const void *behavior)
{
    const char *name = behavior != NULL ? ((const kith_behavior *)behavior)->name : "a thread";
    return name != NULL ? name : "?";
}

static const struct kith__upper upper = {
    .name_of = kith__name_of,
    .end = kith__task_end,
    .stray = kith__dead_letter,
    .answer = kith__answer_arrived,
    .stop = kith__stop_for_shutdown,
    .quiet = kith__deadlock_look,
};

static bool executor_ok(const kith_config *config)
{
    if (config->executor == KITH_LOOP)
        return config->workers <= 1 && (unsigned)config->poller <= KITH_SELECT;
    return config->executor == KITH_POOL && config->poller == KITH_EPOLL;
}

static bool config_ok(const kith_config *config)
{
    return config->workers <= KITH_WORKERS_MAX && config->log_level <= KITH_LOG_NONE &&
           config->stall_signal >= 0 && config->stall_signal < _NSIG &&
           (config->allocator.alloc == NULL) == (config->allocator.free == NULL) &&
           executor_ok(config);
}

static void config_fill(struct kith_runtime *rt, const kith_config *config)
{
    rt->config = *config;
    rt->allocator = config->allocator;
    rt->worker_count = config->workers != 0            ? config->workers
                       : config->executor == KITH_LOOP ? 1
                                                       : kith_cpus();
    if (rt->config.seed == 0)
        rt->config.seed = kith__random_system_seed();
    if (rt->config.stall_ns == 0)
        rt->config.stall_ns = STALL_NS;
    if (rt->config.slow_ns == 0)
        rt->config.slow_ns = SLOW_NS;
    rt->log = (struct kith__log){config->log, config->log_arg, config->log_level};
    rt->driver = &kith__pool_driver;
    rt->upper = &upper;
}

static kith_err actors_open(struct kith_runtime *rt)
{
    struct kith__actors *actors = kith__alloc_zero(&rt->allocator, sizeof *actors, 16);
    if (actors == NULL)
        return KITH_ENOMEM;
    pthread_mutex_init(&actors->dead_lock, NULL);
    pthread_mutex_init(&actors->main_lock, NULL);
    pthread_mutex_init(&actors->stop_lock, NULL);
    rt->actors = actors;
    return KITH_OK;
}

static void actors_close(struct kith_runtime *rt)
{
    struct kith__actors *actors = kith__actors_of(rt);
    if (actors == NULL)
        return;
    kith__free(&rt->allocator, actors->subscribed,
               actors->subscribed_room * sizeof *actors->subscribed);
    pthread_mutex_destroy(&actors->dead_lock);
    pthread_mutex_destroy(&actors->main_lock);
    pthread_mutex_destroy(&actors->stop_lock);
    kith__free(&rt->allocator, actors, sizeof *actors);
}

static void locks_open(struct kith_runtime *rt)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&rt->lock, NULL);
    pthread_cond_init(&rt->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

/* ---- which runtimes live: at most as many as there are numbers ---- */

static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t live_changed = PTHREAD_COND_INITIALIZER;
static struct kith_runtime *live[KITH__TABLES_MAX]; /* under the lock, as their pins are */

static void live_put(const struct kith_runtime *before, struct kith_runtime *after)
{
    pthread_mutex_lock(&live_lock);
    for (unsigned i = 0; i < KITH__TABLES_MAX; i++) {
        if (live[i] != before)
            continue;
        live[i] = after;
        break;
    }
    pthread_mutex_unlock(&live_lock);
}

/* Takes rt out of the list, and waits for those who look at it. */
static void live_end(struct kith_runtime *rt)
{
    live_put(rt, NULL);
    pthread_mutex_lock(&live_lock);
    while (rt->pins > 0)
        pthread_cond_wait(&live_changed, &live_lock);
    pthread_mutex_unlock(&live_lock);
}

/* Under the lock. */
static bool listed(const struct kith_runtime *rt)
{
    bool found = false;
    for (unsigned i = 0; i < KITH__TABLES_MAX && rt != NULL; i++)
        found |= live[i] == rt;
    return found;
}

bool kith__runtime_lives(const struct kith_runtime *rt)
{
    pthread_mutex_lock(&live_lock);
    bool lives = listed(rt);
    pthread_mutex_unlock(&live_lock);
    return lives;
}

bool kith__runtime_pin(struct kith_runtime *rt)
{
    pthread_mutex_lock(&live_lock);
    bool lives = listed(rt);
    if (lives)
        rt->pins++;
    pthread_mutex_unlock(&live_lock);
    return lives;
}

void kith__runtime_unpin(struct kith_runtime *rt)
{
    pthread_mutex_lock(&live_lock);
    rt->pins--;
    pthread_cond_broadcast(&live_changed);
    pthread_mutex_unlock(&live_lock);
}

static void memory_free(struct kith_runtime *rt)
{
    kith_allocator allocator = rt->allocator;
    actors_close(rt);
    uint64_t left = kith__msg_pool_close(&rt->messages);
    if (left != 0)
        kith__log(&rt->log, KITH_LOG_ERROR,
                  "%llu messages were lost: this is a bug in kith, or "
                  "kith_keep without kith_discard",
                  (unsigned long long)left);
    kith__table_close(&rt->table);
    pthread_mutex_destroy(&rt->lock);
    pthread_cond_destroy(&rt->changed);
    kith__free(&allocator, rt, sizeof *rt);
}

void kith__runtime_free(struct kith_runtime *rt)
{
    live_end(rt);
    kith__blocking_close(rt);
    kith__pool_stop(rt);
    kith__csp_close(rt);
    kith__io_close(rt);
    memory_free(rt);
}

static kith_err layers_open(struct kith_runtime *rt)
{
    kith_err err = actors_open(rt);
    if (err == KITH_OK)
        err = kith__io_open(rt);
    if (err == KITH_OK)
        err = kith__csp_open(rt);
    if (err == KITH_OK)
        err = kith__blocking_open(rt);
    if (err == KITH_OK)
        err = kith__pool_start(rt);
    if (err != KITH_OK) {
        kith__blocking_close(rt);
        kith__csp_close(rt);
        kith__io_close(rt);
    }
    return err;
}

kith_err kith_start(const kith_config *config, kith_runtime **runtime)
{
    static const kith_config defaults;
    if (config == NULL)
        config = &defaults;
    if (runtime == NULL || !config_ok(config))
        return KITH_EINVAL;
    *runtime = NULL;
    struct kith_runtime *rt = kith__alloc_zero(&config->allocator, sizeof *rt, KITH__CACHE_LINE);
    if (rt == NULL)
        return KITH_ENOMEM;
    config_fill(rt, config);
    kith_err err = kith__table_open(&rt->table, &rt->allocator);
    if (err != KITH_OK) {
        kith__free(&config->allocator, rt, sizeof *rt);
        return err;
    }
    rt->actor_tag = KITH__KIND_ACTOR << KITH__RT_BITS | rt->table.number;
    kith__msg_pool_open(&rt->messages, &rt->allocator);
    locks_open(rt);
    err = layers_open(rt);
    if (err != KITH_OK) {
        memory_free(rt);
        return err;
    }
    live_put(NULL, rt);
    *runtime = rt;
    return KITH_OK;
}

kith_runtime *kith_self_runtime(kith_self *self)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    return ctx != NULL ? ctx->rt : NULL;
}

uint64_t kith_random(kith_self *self)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    return ctx != NULL ? kith__random_next(&ctx->random) : 0;
}

/* ---- kith_main ---- */

static void start_failed(const kith_config *config, kith_err err)
{
    struct kith__log log = {config->log, config->log_arg, config->log_level};
    kith__log(&log, KITH_LOG_ERROR, "the runtime could not start: %s", kith_strerror(err));
}

static bool run_main(struct kith_runtime *rt, kith_main_fn *fn, void *arg)
{
    struct kith_co *co;
    kith_err err = kith__attach(rt, &co);
    if (err != KITH_OK) {
        kith__log(&rt->log, KITH_LOG_ERROR, "main could not attach: %s", kith_strerror(err));
        return false;
    }
    kith__store_rlx(&rt->main, co); /* relaxed: who wakes it has its message, or a worker's lock */
    fn(co->task, co, arg);
    kith__main_leaves(rt);
    bool ok = co->failed == KITH_OK && kith__load_rlx(&rt->deadlocked) == 0;
    if (co->failed != KITH_OK)
        kith__log(&rt->log, KITH_LOG_ERROR, "main failed: %s", kith_strerror(co->failed));
    kith__detach(co);
    return ok;
}

int kith_main(const kith_config *config, kith_main_fn *fn, void *arg)
{
    kith_config own = config != NULL ? *config : (kith_config){0};
    if (own.log == NULL)
        own.log = kith_log_stderr;
    own.stack_report = true;
    struct kith_runtime *rt;
    kith_err err = fn == NULL ? KITH_EINVAL : kith__ctx_here != NULL ? KITH_EPERM : KITH_OK;
    if (err == KITH_OK)
        err = kith_start(&own, &rt);
    if (err != KITH_OK) {
        start_failed(&own, err);
        return 1;
    }
    bool ok = run_main(rt, fn, arg);
    kith_time patience = own.shutdown_ns != 0 ? own.shutdown_ns : SHUTDOWN_NS;
    return kith_shutdown(rt, kith__time_add(rt->driver->now(), patience)) == KITH_OK && ok ? 0 : 1;
}
