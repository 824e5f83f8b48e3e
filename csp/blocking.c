/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The pool of threads for calls that block (kith/blocking.h). Called by fibers, attached threads
 * and actors; opened, refused and closed by the actor layer.
 *
 * A job is a call: a fiber's lies on its stack, one whose result is sent lies in the message that
 * will bring the result. So a result needs no memory.
 *
 * Invariants, all under the pool's lock
 *  J1. A job is in the queue (queued), or has been taken out of it by one: by a thread that runs
 *       it, by its caller that takes it back, or by whoever refuses it. That one finishes it, once.
 *  J2. A job that has been taken up by a thread is finished by that thread; its caller waits for
 *       it uninterrupted (O2 of sched/co.h): until then the fiber's stack, on which it lies, stays.
 *  J3. For each job in the queue a thread that does not run one is on its way, or all threads that
 *       may be are there. If the last thread could not be started the queue is emptied.
 *  J4. `runs` goes down after the result has been delivered, and then joiners are told.
 *       Sequentially consistent with `joining` (S3 of actors/shutdown.c): so a shutdown sees that
 *       nothing runs, or is told.
 *  J5. A thread that retires touches nothing after it has unlocked. Its record is used again only
 *       when whoever started it has done with it, too, and the thread has been joined.
 *  J6. From its submission until its end has been told, a job counts as something outside that may
 *       wake a task: while there is one there is no deadlock (DL1 of actors/deadlock.c). If the
 *       last one's end wakes nobody, its caller being dead, the thread looks for a deadlock itself.
 *
 * Threads: they are no workers. Each has a context and a message cache, so that it can deliver, but
 * kith__ctx_here stays NULL on it: the program's function is outside of the runtime.
 *
 * Why a stack of idle threads, each with a condition of its own, and not one condition for all: the
 * one that was idle the shortest is woken, its cache is warm, and the others have a chance to
 * retire.
 */
#include "csp/blocking.h"
#include "base/clock.h"
#include "sched/co.h"
#include "sched/single.h"
#include "sched/worker.h"
#include <kith/blocking.h>
#include <stdio.h>
#include <string.h>

#define THREADS_PER_CPU 2u
#define THREADS_MORE 8u
#define QUEUE_MAX 10000u
#define IDLE_NS (10 * KITH_SECOND)
#define BUCKETS 256u /* of sent jobs in the queue, by their number */

KITH_API const kith_type kith_type_kith_blocking_done = {"kith_blocking_done",
                                                         sizeof(kith_blocking_done), NULL};

struct job {
    struct job *next; /* in the queue, a circular list */
    struct job *prev;
    struct job *next_sent; /* in its bucket, if it has a number */
    kith_blocking_fn *fn;
    void *arg;
    struct kith_co *co; /* who waits; NULL: the result is sent */
    uint64_t to;
    uint64_t number; /* 0: a co's */
    kith_err status; /* of a co's, when it is fired */
    bool queued;
};

/* The message of a sent job; all but its begin is for the pool's eyes. */
struct sent {
    kith_blocking_done done;
    struct job job;
};

struct thread {
    struct kith__ctx ctx;
    struct kith__blocking *pool;
    struct thread *next_made; /* in the list of all */
    struct thread *next;      /* among the retired */
    struct thread *next_idle; /* in the stack of the idle ones, newest first */
    struct thread *prev_idle;
    pthread_cond_t changed; /* called */
    bool called;            /* out of the stack: there is work, or the end */
    bool started;           /* id is known, and to be joined */
    bool over;              /* it has ended, or is about to */
    bool listed;            /* its context is in the runtime's list */
    unsigned index;
    pthread_t id;
};

struct kith__blocking {
    pthread_mutex_t lock;
    struct kith_runtime *rt;
    struct job *first; /* the queue */
    uint32_t queued;
    uint32_t busy;    /* threads that run a job */
    uint32_t threads; /* that live, or are being started */
    uint32_t threads_max;
    uint32_t queue_max;
    kith_time idle_ns;
    struct thread *idle;
    struct thread *retired; /* ended, or never started */
    struct thread *all;
    unsigned made;   /* records, for their names */
    uint64_t number; /* of the job sent last */
    bool refuses;
    bool ends;
    KITH__ATOMIC(uint32_t) runs; /* J4 */
    struct job *sent[BUCKETS];
};

/* ---- the queue, under the lock ---- */

static struct job **bucket_of(struct kith__blocking *pool, uint64_t number)
{
    return &pool->sent[number % BUCKETS];
}

static void queue_add(struct kith__blocking *pool, struct job *job)
{
    struct job *first = pool->first;
    job->next = first != NULL ? first : job;
    job->prev = first != NULL ? first->prev : job;
    job->prev->next = job;
    job->next->prev = job;
    if (first == NULL)
        pool->first = job;
    job->queued = true;
    pool->queued++;
    if (job->number == 0)
        return;
    struct job **bucket = bucket_of(pool, job->number);
    job->next_sent = *bucket;
    *bucket = job;
}

static void queue_remove(struct kith__blocking *pool, struct job *job)
{
    job->prev->next = job->next;
    job->next->prev = job->prev;
    if (pool->first == job)
        pool->first = job->next != job ? job->next : NULL;
    job->queued = false;
    pool->queued--;
    if (job->number == 0)
        return;
    struct job **at = bucket_of(pool, job->number);
    while (*at != job)
        at = &(*at)->next_sent;
    *at = job->next_sent;
}

/* ---- the end of a job ---- */

/* A job is outside no more. If nobody was told, its caller being dead, all may wait for ever
 * now. */
static void gone(struct kith__ctx *ctx)
{
    struct kith_runtime *rt = ctx->rt;
    if (kith__sub_seq(&rt->outside, 1) != 1) /* seq J6 */
        return;
    if (kith__load_seq(&rt->main_waits) != 0) /* seq J6 */
        rt->upper->quiet(ctx);
}

static struct kith_msg *message_of(struct job *job)
{
    char *body = (char *)job - offsetof(struct sent, job);
    return kith__msg_of(body);
}

/* J1: by whoever has taken it out of the queue; the job is gone then. */
static void finish(struct kith__ctx *ctx, struct job *job, kith_err status)
{
    if (job->co != NULL) {
        job->status = status;
        kith__co_fire(ctx, job->co);
    } else {
        struct kith_msg *msg = message_of(job);
        uint64_t to = job->to;
        kith_blocking_done *done = kith__msg_body(msg);
        done->status = status;
        done->job = job->number;
        kith_err err = kith__post(ctx, to, msg);
        if (err != KITH_OK)
            ctx->rt->upper->stray(ctx, to, msg, err);
    }
    gone(ctx);
}

/* Takes the whole queue, but for `but`; the rest is finished by refuse_all. */
static struct job *queue_take_all(struct kith__blocking *pool, const struct job *but)
{
    struct job *taken = NULL;
    struct job *job = pool->first;
    for (uint32_t n = pool->queued; n > 0; n--) {
        /* `but` may be NULL, job is not: queued counts them. */
        // cppcheck-suppress nullPointerRedundantCheck
        struct job *next = job->next;
        if (job != but) {
            queue_remove(pool, job);
            job->next = taken;
            taken = job;
        }
        job = next;
    }
    return taken;
}

static void refuse_all(struct kith__ctx *ctx, struct job *taken, kith_err why)
{
    struct job *oldest = NULL;
    while (taken != NULL) { /* they were taken newest first */
        struct job *next = taken->next;
        taken->next = oldest;
        oldest = taken;
        taken = next;
    }
    while (oldest != NULL) {
        struct job *next = oldest->next;
        finish(ctx, oldest, why);
        oldest = next;
    }
}

/* ---- a thread ---- */

static void idle_remove(struct kith__blocking *pool, struct thread *t)
{
    if (t->prev_idle != NULL)
        t->prev_idle->next_idle = t->next_idle;
    else
        pool->idle = t->next_idle;
    if (t->next_idle != NULL)
        t->next_idle->prev_idle = t->prev_idle;
}

static void idle_add(struct kith__blocking *pool, struct thread *t)
{
    t->called = false;
    t->prev_idle = NULL;
    t->next_idle = pool->idle;
    if (pool->idle != NULL)
        pool->idle->prev_idle = t;
    pool->idle = t;
}

static void idle_call(struct kith__blocking *pool)
{
    struct thread *t = pool->idle;
    idle_remove(pool, t);
    t->called = true;
    pthread_cond_signal(&t->changed);
}

/* Under the lock. False: it has been idle for too long. */
static bool idle_wait(struct kith__blocking *pool, struct thread *t)
{
    kith_time deadline = kith__time_add(pool->rt->driver->now(), pool->idle_ns);
    struct timespec at = kith__timespec_of(deadline);
    int err = 0;
    idle_add(pool, t);
    while (!t->called && err == 0)
        err = deadline == KITH_FOREVER ? pthread_cond_wait(&t->changed, &pool->lock)
                                       : pthread_cond_timedwait(&t->changed, &pool->lock, &at);
    if (!t->called)
        idle_remove(pool, t);
    return t->called;
}

/* Under the lock, which it leaves meanwhile. */
static void run_first(struct kith__blocking *pool, struct thread *t)
{
    struct job *job = pool->first;
    queue_remove(pool, job);
    pool->busy++;
    kith__add_rlx(&pool->runs, 1); /* relaxed: its caller, or the message, is still counted */
    pthread_mutex_unlock(&pool->lock);
    finish(&t->ctx, job, job->fn(job->arg));
    kith__msg_cache_flush(t->ctx.cache);
    kith__sub_seq(&pool->runs, 1); /* seq J4; pairs with kith__blocking_runs */
    kith__tell_joiners(pool->rt);
    kith__single_look(pool->rt);
    pthread_mutex_lock(&pool->lock);
    pool->busy--;
}

/* Under the lock, by the thread at its end and by who has started it: the later of the two (J5).
 * */
static void retire(struct kith__blocking *pool, struct thread *t)
{
    if (!t->started || !t->over)
        return;
    t->next = pool->retired;
    pool->retired = t;
}

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    struct kith__blocking *pool = t->pool;
    char name[16];
    snprintf(name, sizeof name, "kith-b-%u", t->index % 100000);
    pthread_setname_np(pthread_self(), name);
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        if (pool->first != NULL)
            run_first(pool, t);
        else if (pool->ends || !idle_wait(pool, t))
            break;
    }
    pool->threads--;
    t->over = true;
    retire(pool, t);
    pthread_mutex_unlock(&pool->lock); /* J5 */
    return NULL;
}

/* ---- starting one ---- */

static struct thread *record_new(struct kith__blocking *pool)
{
    struct thread *t = kith__alloc_zero(&pool->rt->allocator, sizeof *t, KITH__CACHE_LINE);
    if (t == NULL)
        return NULL;
    t->pool = pool;
    t->ctx.rt = pool->rt;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_lock(&pool->lock);
    t->index = pool->made++;
    t->next_made = pool->all;
    pool->all = t;
    pthread_mutex_unlock(&pool->lock);
    return t;
}

/* Waits for its thread, which has ended or is about to, and gives its message cache on. */
static void record_rest(struct thread *t)
{
    if (t->started)
        pthread_join(t->id, NULL);
    t->started = false;
    t->over = false;
    if (t->ctx.cache != NULL)
        kith__msg_cache_leave(t->ctx.cache);
    t->ctx.cache = NULL;
}

/* A record that no thread uses. */
static struct thread *record_take(struct kith__blocking *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct thread *t = pool->retired;
    if (t != NULL)
        pool->retired = t->next;
    pthread_mutex_unlock(&pool->lock);
    if (t == NULL)
        return record_new(pool);
    record_rest(t);
    return t;
}

static void record_give(struct kith__blocking *pool, struct thread *t)
{
    pthread_mutex_lock(&pool->lock);
    t->next = pool->retired;
    pool->retired = t;
    pthread_mutex_unlock(&pool->lock);
}

/* The counters of its context count from now on. */
static void context_list(struct thread *t)
{
    struct kith_runtime *rt = t->ctx.rt;
    if (t->listed)
        return;
    t->listed = true;
    pthread_mutex_lock(&rt->lock);
    t->ctx.next = rt->contexts;
    rt->contexts = &t->ctx;
    pthread_mutex_unlock(&rt->lock);
}

static bool record_start(struct thread *t)
{
    t->ctx.cache = kith__msg_cache_enter(&t->ctx.rt->messages);
    if (t->ctx.cache == NULL)
        return false;
    context_list(t);
    pthread_t id;
    if (pthread_create(&id, NULL, thread_main, t) != 0)
        return false;
    pthread_mutex_lock(&t->pool->lock);
    t->id = id;
    t->started = true;
    retire(t->pool, t);
    pthread_mutex_unlock(&t->pool->lock);
    return true;
}

/* A thread has been counted and is to be started. If it cannot be, those that live do its work; if
 * none does, nobody would (J3): the queue is refused, and so is job, if it still waits. */
static kith_err thread_start(struct kith__ctx *ctx, struct kith__blocking *pool, struct job *job)
{
    struct thread *t = record_take(pool);
    if (t != NULL && record_start(t))
        return KITH_OK;
    if (t != NULL)
        record_give(pool, t);
    struct job *taken = NULL;
    bool mine = false;
    pthread_mutex_lock(&pool->lock);
    if (--pool->threads == 0) {
        taken = queue_take_all(pool, job);
        mine = pool->queued != 0; /* nothing but job can be left */
        if (mine)
            queue_remove(pool, job);
    }
    pthread_mutex_unlock(&pool->lock);
    refuse_all(ctx, taken, KITH_EAGAIN);
    return mine ? KITH_EAGAIN : KITH_OK;
}

/* ---- beginning a job ---- */

/* Under the lock. */
static kith_err room_for_one(const struct kith__blocking *pool)
{
    if (pool->refuses)
        return KITH_ESHUTDOWN;
    uint64_t max = (uint64_t)pool->queue_max + pool->threads_max;
    return (uint64_t)pool->queued + pool->busy < max ? KITH_OK : KITH_EFULL;
}

/* Under the lock: whether the caller is to start a thread (J3). */
static bool thread_needed(struct kith__blocking *pool)
{
    if (pool->idle != NULL) {
        idle_call(pool);
        return false;
    }
    if (pool->threads == pool->threads_max || pool->queued <= pool->threads - pool->busy)
        return false;
    pool->threads++;
    return true;
}

/* After KITH_OK the job is the pool's. */
static kith_err submit(struct kith__ctx *ctx, struct job *job, uint64_t *number)
{
    struct kith__blocking *pool = ctx->rt->blocking;
    bool start = false;
    pthread_mutex_lock(&pool->lock);
    kith_err err = room_for_one(pool);
    if (err == KITH_OK) {
        if (number != NULL)
            *number = job->number = ++pool->number;
        kith__add_seq(&ctx->rt->outside, 1); /* seq J6 */
        queue_add(pool, job);
        start = thread_needed(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    if (start)
        err = thread_start(ctx, pool, job);
    if (start && err != KITH_OK)
        gone(ctx);
    return err;
}

/* ---- waiting for one ---- */

static bool take_back(struct kith__ctx *ctx, struct job *job)
{
    struct kith__blocking *pool = ctx->rt->blocking;
    pthread_mutex_lock(&pool->lock);
    bool mine = job->queued;
    if (mine)
        queue_remove(pool, job);
    pthread_mutex_unlock(&pool->lock);
    if (mine)
        gone(ctx);
    return mine;
}

kith_err kith_blocking_by(kith_co *co, kith_time deadline, kith_blocking_fn *fn, void *arg)
{
    if (fn == NULL)
        return KITH_EINVAL;
    if (!kith__co_here(co))
        return KITH_EPERM;
    kith_err err = kith__co_may_wait(co);
    if (err != KITH_OK)
        return err;
    struct job job = {.fn = fn, .arg = arg, .co = co};
    err = submit(co->ctx, &job, NULL);
    if (err != KITH_OK)
        return err;
    err = kith__co_wait(co, KITH__WOKE_FIRED, deadline, "kith_blocking", NULL);
    if (err == KITH_OK)
        return job.status;
    if (take_back(co->ctx, &job))
        return err;
    kith__co_wait_fired(co); /* J2 */
    return job.status;
}

kith_err kith_blocking(kith_co *co, kith_blocking_fn *fn, void *arg)
{
    return kith_blocking_by(co, KITH_FOREVER, fn, arg);
}

/* ---- having it sent ---- */

kith_err kith_blocking_send(kith_self *self, kith_blocking_fn *fn, void *arg, uint64_t *job)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return KITH_EPERM;
    if (fn == NULL)
        return KITH_EINVAL;
    struct kith_msg *msg = kith__msg_make(ctx->cache, sizeof(struct sent));
    if (msg == NULL)
        return KITH_ENOMEM;
    msg->type = &kith_type_kith_blocking_done;
    msg->sender = 0;
    struct sent *sent = kith__msg_body(msg);
    *sent = (struct sent){.done = {.arg = arg},
                          .job = {.fn = fn, .arg = arg, .to = kith__task_bits(self)}};
    uint64_t number = 0;
    kith_err err = submit(ctx, &sent->job, &number);
    if (err != KITH_OK)
        kith__msg_free(ctx->cache, msg);
    else if (job != NULL)
        *job = number;
    return err;
}

/* Under the lock. */
static struct job *find(struct kith__blocking *pool, uint64_t number)
{
    struct job *job = *bucket_of(pool, number);
    while (job != NULL && job->number != number)
        job = job->next_sent;
    return job;
}

/* Takes the job out of the queue, if it is there and is for `to`. */
static kith_err find_and_remove(struct kith__blocking *pool, uint64_t number, uint64_t to,
                                struct job **found)
{
    if (number == 0 || number > pool->number)
        return KITH_EBADREF;
    struct job *job = find(pool, number);
    if (job == NULL)
        return KITH_EBUSY;
    if (job->to != to)
        return KITH_EPERM;
    queue_remove(pool, job);
    *found = job;
    return KITH_OK;
}

kith_err kith_blocking_cancel(kith_self *self, uint64_t number)
{
    struct kith__ctx *ctx = kith__ctx_of(self);
    if (ctx == NULL)
        return KITH_EPERM;
    struct kith__blocking *pool = ctx->rt->blocking;
    struct job *job = NULL;
    pthread_mutex_lock(&pool->lock);
    kith_err err = find_and_remove(pool, number, kith__task_bits(self), &job);
    pthread_mutex_unlock(&pool->lock);
    if (job != NULL) {
        kith__msg_free(ctx->cache, message_of(job));
        gone(ctx);
    }
    return err;
}

/* ---- the runtime's begin and end ---- */

kith_err kith__blocking_open(struct kith_runtime *rt)
{
    struct kith__blocking *pool = kith__alloc_zero(&rt->allocator, sizeof *pool, 64);
    if (pool == NULL)
        return KITH_ENOMEM;
    const kith_config *config = &rt->config;
    pthread_mutex_init(&pool->lock, NULL);
    pool->rt = rt;
    pool->threads_max = config->blocking_threads != 0
                            ? config->blocking_threads
                            : THREADS_PER_CPU * kith_cpus() + THREADS_MORE;
    pool->queue_max = config->blocking_queue != 0 ? config->blocking_queue : QUEUE_MAX;
    pool->idle_ns = config->blocking_idle_ns != 0 ? config->blocking_idle_ns : IDLE_NS;
    rt->blocking = pool;
    return KITH_OK;
}

uint32_t kith__blocking_runs(struct kith_runtime *rt)
{
    return kith__load_seq(&rt->blocking->runs); /* seq J4; pairs with run_first */
}

void kith__blocking_refuse(struct kith__ctx *ctx)
{
    struct kith__blocking *pool = ctx->rt->blocking;
    pthread_mutex_lock(&pool->lock);
    pool->refuses = true;
    struct job *taken = queue_take_all(pool, NULL);
    pthread_mutex_unlock(&pool->lock);
    refuse_all(ctx, taken, KITH_ESHUTDOWN);
}

static void record_free(struct kith_runtime *rt, struct thread *t)
{
    record_rest(t);
    struct kith__ctx **at = &rt->contexts;
    pthread_mutex_lock(&rt->lock);
    while (*at != NULL && *at != &t->ctx)
        at = &(*at)->next;
    if (*at != NULL)
        *at = t->ctx.next;
    pthread_mutex_unlock(&rt->lock);
    pthread_cond_destroy(&t->changed);
    kith__free(&rt->allocator, t, sizeof *t);
}

void kith__blocking_close(struct kith_runtime *rt)
{
    struct kith__blocking *pool = rt->blocking;
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->ends = true; /* nobody submits any more: so all are started that ever will be */
    while (pool->idle != NULL)
        idle_call(pool);
    pthread_mutex_unlock(&pool->lock);
    for (struct thread *t = pool->all; t != NULL;) {
        struct thread *next = t->next_made;
        record_free(rt, t);
        t = next;
    }
    pthread_mutex_destroy(&pool->lock);
    kith__free(&rt->allocator, pool, sizeof *pool);
    rt->blocking = NULL;
}
