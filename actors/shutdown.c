/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The end: waiting for the actors to end, and making them end, children before parents.
 *
 * Actors know their parent, parents do not know their children: that would cost every spawn and
 * every death two locked operations on the parent. So a shutdown looks at all slots once, counts the
 * children of each actor, stops those that have none, and from then on each death takes one off its
 * parent's count, and stops the parent when that was the last.
 *
 * Invariants
 *  S1. No actor is missed. A spawn opens its inbox, then looks whether a shutdown has begun (and then
 *      stops its actor itself); a shutdown begins, then looks at all inboxes. Sequentially
 *      consistent, so one of the two sees the other.
 *  S2. No death is missed. A death closes its inbox, then looks whether a shutdown has begun; if so,
 *      it takes the lock under which the shutdown looks and counts. So either the look found it dead,
 *      or its death is counted afterwards. `counted` says which, and is cleared once.
 *  S3. Nobody waits for ever: the waiter looks again whenever a worker goes to sleep, and a death is
 *      counted before its worker sleeps (kith__tell_joiners).
 */
#include "actors/actor.h"
#include "base/clock.h"
#include "csp/blocking.h"
#include "io/io.h"
#include "sched/single.h"
#include "sched/worker.h"

/* ---- waiting ---- */

/* What is waited for. */
struct quiet {
    uint32_t attached; /* threads that may stay */
    bool main;         /* a deadlock ends the wait */
};

/* Under rt->lock. A shutdown, which says how many threads may stay, waits for blocking calls, too. */
static bool is_quiet(struct kith_runtime *rt, uint32_t attached)
{
    return kith__actors_alive(rt) == 0 && kith__load_rlx(&rt->attached) <= attached &&
           (attached == UINT32_MAX || kith__blocking_runs(rt) == 0);
}

static bool wait_is_over(struct kith_runtime *rt, void *arg)
{
    const struct quiet *what = arg;
    pthread_mutex_lock(&rt->lock);
    bool over = is_quiet(rt, what->attached) ||
                (what->main && kith__load_seq(&rt->deadlocked) != 0); /* seq DL3 */
    pthread_mutex_unlock(&rt->lock);
    return over;
}

/* Under rt->lock. False if the deadline has passed. The home thread of a loop executor runs the loop. */
static bool change_wait(struct kith_runtime *rt, struct quiet *what, kith_time deadline)
{
    if (kith__single_home(rt)) {
        pthread_mutex_unlock(&rt->lock);
        bool over = kith__single_run(rt, 0, deadline, wait_is_over, what);
        pthread_mutex_lock(&rt->lock);
        return over;
    }
    if (deadline == KITH_FOREVER) {
        pthread_cond_wait(&rt->changed, &rt->lock);
        return true;
    }
    struct timespec at = kith__timespec_of(deadline);
    return pthread_cond_timedwait(&rt->changed, &rt->lock, &at) == 0;
}

/* Waits until no actor lives and no more than `attached` threads are attached. */
static kith_err quiet_wait(struct kith_runtime *rt, uint32_t attached, kith_time deadline)
{
    kith_err err = KITH_OK;
    struct quiet what = {attached, false};
    what.main = deadline == KITH_FOREVER && kith__ctx_here != NULL && kith__ctx_here->rt == rt &&
                kith__main_waits(kith__ctx_here, KITH__MAIN_JOINS);
    pthread_mutex_lock(&rt->lock);
    /* seq S3; pairs with kith__tell_joiners. The load of idle is for those that sleep: either it reads
     * what their sleep stored (B1c), and then sees the deaths before it, or they see joining. */
    kith__add_seq(&rt->joining, 1);
    (void)kith__load_seq(&rt->idle); /* seq S3; pairs with B1c */
    while (!is_quiet(rt, attached) && err == KITH_OK) {
        if (what.main && kith__load_seq(&rt->deadlocked) != 0) /* seq DL3 */
            err = KITH_EDEADLK;
        else if (!change_wait(rt, &what, deadline))
            err = is_quiet(rt, attached) ? KITH_OK : KITH_ETIMEOUT;
    }
    kith__sub_seq(&rt->joining, 1); /* S3 */
    pthread_mutex_unlock(&rt->lock);
    if (what.main)
        kith__main_woken(rt, kith__load_rlx(&rt->main));
    return err;
}

/* ---- looking at all actors ---- */

#define NAMED_MAX 32

struct kith_self *kith__task_at(struct kith_runtime *rt, uint32_t slot)
{
    struct kith__chunk *chunk = &rt->table.chunks[slot / KITH__CHUNK_SLOTS];
    char *base = kith__load_acq(&chunk->base); /* acquire H-PUB */
    if (base == NULL || chunk->tag != rt->actor_tag)
        return NULL;
    struct kith_self *task = (void *)(base + (size_t)(slot % KITH__CHUNK_SLOTS) * chunk->bytes);
    if (kith__load_seq(&task->inbox) == KITH__INBOX_CLOSED) /* S1, S2 */
        return NULL;
    return task;
}

static struct kith_self *actor_at(struct kith_runtime *rt, uint32_t slot)
{
    struct kith_self *task = kith__task_at(rt, slot);
    return task != NULL && kith__behavior_of(task) != NULL ? task : NULL; /* NULL: a thread */
}

static uint32_t slots_of(struct kith_runtime *rt)
{
    return kith__load_seq(&rt->table.chunk_count) * KITH__CHUNK_SLOTS; /* S1 */
}

/* own: how many of the attached threads are the caller's own doing. */
static void left_log(struct kith_runtime *rt, uint32_t own)
{
    uint32_t n = slots_of(rt);
    uint32_t named = 0;
    for (uint32_t slot = 0; slot < n && named < NAMED_MAX; slot++) {
        struct kith_self *task = actor_at(rt, slot);
        if (task == NULL)
            continue;
        kith__log(&rt->log, KITH_LOG_WARN, "still alive: %s (slot %u)",
                  kith__name_of(kith__behavior_of(task)), slot);
        named++;
    }
    pthread_mutex_lock(&rt->lock);
    uint64_t alive = kith__actors_alive(rt);
    uint32_t attached = kith__load_rlx(&rt->attached) - own;
    pthread_mutex_unlock(&rt->lock);
    kith__log(&rt->log, KITH_LOG_WARN, "left at the deadline: %llu actors, %u attached threads",
              (unsigned long long)alive, attached);
    uint32_t calls = kith__blocking_runs(rt);
    if (calls != 0)
        kith__log(&rt->log, KITH_LOG_WARN, "left at the deadline: %u blocking calls", calls);
}

kith_err kith_join(kith_runtime *runtime, kith_time deadline)
{
    if (kith__ctx_here != NULL && kith__ctx_here->worker != NULL)
        return KITH_EPERM;
    if (!kith__runtime_pin(runtime))
        return KITH_EINVAL;
    kith_err err = quiet_wait(runtime, UINT32_MAX, deadline);
    if (err == KITH_ETIMEOUT)
        left_log(runtime, 0);
    kith__runtime_unpin(runtime);
    return err;
}

/* ---- stopping the tree ---- */

/* The parent, if it is counted and is still the same actor; under stop_lock. */
static struct kith_self *parent_counted(struct kith_runtime *rt, struct kith_self *task)
{
    const struct kith__actors *actors = kith__actors_of(rt);
    uint64_t parent = kith__load_rlx(&task->parent);
    uint32_t slot = kith__bits_slot(parent);
    if (parent == 0 || slot >= actors->slots || actors->counted[slot] == 0)
        return NULL;
    struct kith_self *task_there = actor_at(rt, slot);
    return task_there != NULL && kith__task_bits(task_there) == parent ? task_there : NULL;
}

void kith__stop_for_shutdown(struct kith__ctx *ctx, uint64_t task)
{
    if (kith__stop_send(ctx, task) == KITH_ENOMEM)
        kith__store_rlx(&kith__actors_of(ctx->rt)->stop_failed, 1);
}

void kith__death_counts(struct kith__ctx *ctx, struct kith_self *task)
{
    struct kith_runtime *rt = ctx->rt;
    bool actor = kith__behavior_of(task) != NULL;
    if (KITH__UNLIKELY(actor && kith__load_seq(&rt->shutting_down) != 0)) { /* S2 */
        struct kith__actors *actors = kith__actors_of(rt);
        uint32_t slot = kith__bits_slot(kith__load_rlx(&task->slot.bits));
        pthread_mutex_lock(&actors->stop_lock);
        if (slot < actors->slots && actors->counted[slot] != 0) {
            actors->counted[slot] = 0;
            struct kith_self *parent = parent_counted(rt, task);
            if (parent != NULL &&
                --actors->children_left[kith__bits_slot(kith__task_bits(parent))] == 0)
                kith__stop_for_shutdown(ctx, kith__task_bits(parent));
        }
        pthread_mutex_unlock(&actors->stop_lock);
    }
    if (!actor)
        return;
    uint64_t died = kith__load_rlx(&ctx->counters.died) + 1;
    if (KITH__LIKELY(ctx->worker != NULL)) {
        /* release S4; pairs with kith__actors_alive. A worker looks for joiners when it sleeps. */
        kith__store_rel(&ctx->counters.died, died);
    } else {
        kith__store_seq(&ctx->counters.died, died); /* seq S3: then it looks for joiners */
        kith__tell_joiners(rt);
        kith__single_look(rt);
    }
}

static void tree_free(struct kith_runtime *rt)
{
    struct kith__actors *actors = kith__actors_of(rt);
    kith__free(&rt->allocator, actors->counted, actors->slots);
    kith__free(&rt->allocator, actors->children_left,
               actors->slots * sizeof *actors->children_left);
    actors->counted = NULL;
    actors->children_left = NULL;
    actors->slots = 0;
}

/* Under stop_lock. Without memory for the counts, all are stopped at once. */
static bool tree_count(struct kith_runtime *rt)
{
    struct kith__actors *actors = kith__actors_of(rt);
    tree_free(rt);
    uint32_t n = slots_of(rt);
    uint8_t *counted = kith__alloc_zero(&rt->allocator, n + 1, 16);
    uint32_t *left = kith__alloc_zero(&rt->allocator, (n + 1) * sizeof *left, 16);
    if (counted == NULL || left == NULL) {
        kith__free(&rt->allocator, counted, n + 1);
        kith__free(&rt->allocator, left, (n + 1) * sizeof *left);
        return false;
    }
    actors->counted = counted;
    actors->children_left = left;
    actors->slots = n + 1;
    for (uint32_t slot = 0; slot < n; slot++)
        counted[slot] = actor_at(rt, slot) != NULL;
    for (uint32_t slot = 0; slot < n; slot++) {
        struct kith_self *task = counted[slot] != 0 ? actor_at(rt, slot) : NULL;
        if (task == NULL)
            counted[slot] =
                0; /* it has died since: it was added to nobody, and takes off nothing */
        struct kith_self *parent = task != NULL ? parent_counted(rt, task) : NULL;
        if (parent != NULL)
            left[kith__bits_slot(kith__task_bits(parent))]++;
    }
    return true;
}

/* Counts and stops whoever has no children; the deaths do the rest. */
static void tree_stop(struct kith__ctx *ctx)
{
    struct kith_runtime *rt = ctx->rt;
    struct kith__actors *actors = kith__actors_of(rt);
    pthread_mutex_lock(&actors->stop_lock);
    kith__store_rlx(&actors->stop_failed, 0);
    bool counted = tree_count(rt);
    uint32_t n = slots_of(rt);
    for (uint32_t slot = 0; slot < n; slot++) {
        struct kith_self *task = actor_at(rt, slot);
        bool leaf = !counted || (slot < actors->slots && actors->children_left[slot] == 0);
        if (task != NULL && leaf)
            kith__stop_for_shutdown(ctx, kith__task_bits(task));
    }
    pthread_mutex_unlock(&actors->stop_lock);
}

static void threads_tell(struct kith__ctx *ctx)
{
    struct kith_runtime *rt = ctx->rt;
    pthread_mutex_lock(&rt->lock);
    for (struct kith__thread *t = kith__actors_of(rt)->threads; t != NULL; t = t->next)
        if (&t->ctx != ctx)
            kith__stop_for_shutdown(ctx, kith__task_bits(t->co.task));
    pthread_mutex_unlock(&rt->lock);
}

/* Memory for a stop may have been out: then it is tried again after a while. */
#define AGAIN_NS (50 * KITH_MS)

/* Until all is quiet, the deadline passes, or a stop could not be sent. */
static kith_err wait_while_told(struct kith_runtime *rt, kith_time deadline)
{
    kith_err err;
    kith_time now = rt->driver->now();
    bool failed;
    do {
        kith_time again = now + AGAIN_NS;
        err = quiet_wait(rt, 1, deadline < again ? deadline : again);
        now = rt->driver->now();
        failed = kith__load_rlx(&kith__actors_of(rt)->stop_failed) != 0;
    } while (err == KITH_ETIMEOUT && now < deadline && !failed);
    return err;
}

static kith_err stop_all(struct kith__ctx *ctx, kith_time deadline)
{
    kith_err err;
    do {
        tree_stop(ctx);
        threads_tell(ctx);
        err = wait_while_told(ctx->rt, deadline);
    } while (err == KITH_ETIMEOUT && ctx->rt->driver->now() < deadline);
    return err;
}

static bool shutdown_begin(struct kith_runtime *rt)
{
    struct kith__actors *actors = kith__actors_of(rt);
    pthread_mutex_lock(&rt->lock);
    bool mine = !actors->shutdown_runs;
    actors->shutdown_runs = true;
    pthread_mutex_unlock(&rt->lock);
    return mine;
}

static void shutdown_give_up(struct kith_runtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    kith__actors_of(rt)->shutdown_runs = false;
    pthread_mutex_unlock(&rt->lock);
}

kith_err kith_shutdown(kith_runtime *runtime, kith_time deadline)
{
    if (!kith__runtime_lives(runtime))
        return KITH_EINVAL;
    struct kith__ctx *here = kith__ctx_here; /* the thread may be attached to another runtime */
    if (here != NULL && (here->rt == runtime || here->worker != NULL))
        return KITH_EPERM;
    if (kith__is_loop(runtime) && !kith__single_home(runtime))
        return KITH_EPERM;
    if (!shutdown_begin(runtime))
        return KITH_EBUSY;
    struct kith_co *co;
    kith_err err = kith__attach(runtime, &co);
    if (err == KITH_OK) {
        kith__store_seq(&runtime->shutting_down, 1); /* S1, S2 */
        kith__blocking_refuse(co->ctx);
        err = stop_all(co->ctx, deadline);
        if (err == KITH_ETIMEOUT)
            left_log(runtime, 1);
        kith__detach(co);
    }
    kith__ctx_here = here;
    if (err != KITH_OK) {
        shutdown_give_up(runtime);
        return err;
    }
    tree_free(runtime);
    kith__runtime_free(runtime);
    return KITH_OK;
}
