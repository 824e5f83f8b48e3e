/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Counting: each thread counts for itself, and whoever asks adds up. Called by kith_stats_get and by
 * whoever waits for the actors to end.
 */
#include "actors/actor.h"
#include <string.h>

/* The counters are words of one type: they are added as such. */
#define WORDS (sizeof(struct kith__counters) / sizeof(KITH__ATOMIC(uint64_t)))

static void word_add(KITH__ATOMIC(uint64_t) * sum, const KITH__ATOMIC(uint64_t) * of)
{
    kith__store_rlx(sum, kith__load_rlx(sum) + kith__load_rlx(of));
}

void kith__counters_add(struct kith__counters *sum, const struct kith__counters *of)
{
    KITH__ATOMIC(uint64_t) *to = &sum->spawned;
    const KITH__ATOMIC(uint64_t) *from = &of->spawned;
    for (size_t i = 0; i < WORDS; i++)
        word_add(&to[i], &from[i]);
}

/* Under rt->lock. Deaths are read before births: an actor that is born meanwhile is counted, and one
 * that dies may be counted still, so the sum is never too small and 0 means none. */
uint64_t kith__actors_alive(struct kith_runtime *rt)
{
    uint64_t died = kith__load_seq(&rt->left.died); /* S4: as the others; written under the lock */
    for (struct kith__ctx *ctx = rt->contexts; ctx != NULL; ctx = ctx->next)
        died += kith__load_seq(&ctx->counters.died); /* seq S3, acquire S4: kith__death_counts */
    uint64_t spawned = kith__load_rlx(&rt->left.spawned);
    for (struct kith__ctx *ctx = rt->contexts; ctx != NULL; ctx = ctx->next)
        spawned += kith__load_rlx(&ctx->counters.spawned);
    return spawned - died;
}

static void fill(const struct kith__counters *sum, kith_stats *stats)
{
    stats->spawned = kith__load_rlx(&sum->spawned);
    stats->dead_letters = kith__load_rlx(&sum->dead_letters);
    stats->late_replies = kith__load_rlx(&sum->late_replies);
    stats->steals = kith__load_rlx(&sum->steals);
    stats->parks = kith__load_rlx(&sum->parks);
    stats->stalls = kith__load_rlx(&sum->stalls);
    stats->rescues = kith__load_rlx(&sum->rescues);
    stats->sockets = kith__load_rlx(&sum->sockets_opened) - kith__load_rlx(&sum->sockets_closed);
    stats->timers = kith__load_rlx(&sum->timers_set) - kith__load_rlx(&sum->timers_ended);
}

kith_err kith_stats_get(kith_runtime *runtime, kith_stats *stats)
{
    if (stats == NULL || !kith__runtime_pin(runtime))
        return KITH_EINVAL;
    struct kith__counters sum;
    memset(&sum, 0, sizeof sum);
    memset(stats, 0, sizeof *stats);
    pthread_mutex_lock(&runtime->lock);
    stats->actors = kith__actors_alive(runtime);
    kith__counters_add(&sum, &runtime->left);
    for (struct kith__ctx *ctx = runtime->contexts; ctx != NULL; ctx = ctx->next)
        kith__counters_add(&sum, &ctx->counters);
    pthread_mutex_unlock(&runtime->lock);
    fill(&sum, stats);
    stats->workers = runtime->worker_count;
    stats->messages = kith__msg_pool_count(&runtime->messages);
    for (uint32_t i = 0; i < runtime->worker_count; i++)
        stats->turns += kith__load_rlx(&runtime->workers[i].turns);
    kith__runtime_unpin(runtime);
    return KITH_OK;
}
