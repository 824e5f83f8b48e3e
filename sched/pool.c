/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The workers: opened and closed, and, in the pool executor, their threads started and ended. Called by
 * actors/runtime.c. (The loop executor's one worker runs on the caller's thread: sched/single.c.)
 *
 * Start either gives a whole pool or leaves nothing behind; stop waits for every thread.
 */
#include "sched/single.h"
#include "sched/worker.h"
#include <stdio.h>
#include <string.h>

static void *worker_main(void *arg)
{
    struct kith__worker *w = arg;
    char name[16];
    snprintf(name, sizeof name, "kith-%u", w->index % 100000);
    pthread_setname_np(pthread_self(), name);
    kith__worker_run(w);
    return NULL;
}

static void contexts_add(struct kith_runtime *rt, struct kith__ctx *ctx)
{
    ctx->next = rt->contexts;
    rt->contexts = ctx;
}

static kith_err worker_open(struct kith_runtime *rt, uint32_t index)
{
    struct kith__worker *w = &rt->workers[index];
    w->index = index;
    w->ctx.rt = rt;
    w->ctx.worker = w;
    kith__random_seed(&w->ctx.random, rt->config.seed + index);
    kith__wheel_init(&w->wheel, rt->driver->now());
    kith__wheel_list_init(&w->due);
    pthread_mutex_init(&w->timer_lock, NULL);
    pthread_mutex_init(&w->raid_lock, NULL);
    pthread_mutex_init(&w->overflow.lock, NULL);
    w->asymmetric = kith__asymmetric_open();
    kith__store_rlx(&w->timer_next, KITH_FOREVER);
    kith__store_rlx(&w->turn_ns, KITH__TURN_NS_UNKNOWN);
    w->queue.mask = KITH__RUNQ_CAPACITY - 1;
    w->queue.ring = w->ring;
    w->ctx.cache = kith__msg_cache_enter(&rt->messages);
    contexts_add(rt, &w->ctx);
    if (w->ctx.cache == NULL)
        return KITH_ENOMEM;
    return rt->driver->open_worker(w);
}

static void worker_close(struct kith__worker *w)
{
    w->ctx.rt->driver->close_worker(w);
    if (w->ctx.cache != NULL)
        kith__msg_cache_leave(w->ctx.cache);
    kith__slot_cache_drain(&w->ctx.rt->table, &w->ctx.slots);
    pthread_mutex_destroy(&w->timer_lock);
    pthread_mutex_destroy(&w->raid_lock);
    pthread_mutex_destroy(&w->overflow.lock);
}

static void threads_end(struct kith_runtime *rt)
{
    kith__store_seq(&rt->ending, 1); /* seq B8; pairs with nothing_to_do in park.c */
    for (uint32_t i = 0; i < rt->worker_count; i++)
        if (rt->workers[i].started)
            rt->driver->wake(&rt->workers[i]);
    for (uint32_t i = 0; i < rt->worker_count; i++)
        if (rt->workers[i].started)
            pthread_join(rt->workers[i].thread, NULL);
}

static size_t workers_bytes(const struct kith_runtime *rt)
{
    return rt->worker_count * sizeof *rt->workers;
}

static kith_err workers_open(struct kith_runtime *rt)
{
    rt->workers = kith__alloc_zero(&rt->allocator, workers_bytes(rt), KITH__CACHE_LINE);
    if (rt->workers == NULL)
        return KITH_ENOMEM;
    kith_err err = rt->driver->open(rt);
    for (uint32_t i = 0; i < rt->worker_count && err == KITH_OK; i++)
        err = worker_open(rt, i);
    return err;
}

static kith_err threads_start(struct kith_runtime *rt)
{
    for (uint32_t i = 0; i < rt->worker_count; i++) {
        struct kith__worker *w = &rt->workers[i];
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0)
            return KITH_EAGAIN;
        w->started = true;
    }
    return KITH_OK;
}

kith_err kith__pool_start(struct kith_runtime *rt)
{
    pthread_mutex_init(&rt->park_lock, NULL);
    pthread_mutex_init(&rt->watch_lock, NULL);
    pthread_mutex_init(&rt->shared.lock, NULL);
    kith__spread_open(rt);
    kith_err err = workers_open(rt);
    if (err == KITH_OK)
        err = kith__watch_open(rt);
    if (err == KITH_OK && kith__is_loop(rt))
        kith__single_open(rt);
    else if (err == KITH_OK)
        err = threads_start(rt);
    if (err != KITH_OK)
        kith__pool_stop(rt);
    return err;
}

void kith__pool_stop(struct kith_runtime *rt)
{
    if (rt->workers != NULL) {
        threads_end(rt);
        kith__watch_close(rt);
        for (uint32_t i = 0; i < rt->worker_count; i++)
            if (rt->workers[i].ctx.rt != NULL)
                worker_close(&rt->workers[i]);
        rt->driver->close(rt);
        kith__free(&rt->allocator, rt->workers, workers_bytes(rt));
        rt->workers = NULL;
    }
    pthread_mutex_destroy(&rt->park_lock);
    pthread_mutex_destroy(&rt->watch_lock);
    pthread_mutex_destroy(&rt->shared.lock);
    kith__spread_close(rt);
}
