/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where tasks wait: a worker's ring (sched/runq.h), the list behind it, and the list that all share.
 * Called by the worker's loop, by whoever schedules from outside, and by sched/spread.c.
 *
 * Invariants
 *  V1. A worker's queue is first in, first out: while the list behind the ring is not empty, new
 *      tasks go there, and the ring is refilled from its front. (Else a task that makes many tasks
 *      would run again before they do, and make many more.)
 *  V2. Each list's count is stored, sequentially consistent, after the task is in it, so that a
 *      worker that looks before it sleeps finds it (B1, B6 in park.c).
 *  V3. No task waits where only a worker that stands still could find it: ring and lists may be
 *      taken from by all.
 */
#include "sched/worker.h"

#define REFILL (KITH__RUNQ_CAPACITY / 2)

static void list_push(struct kith__task_list *list, struct kith_self *task)
{
    pthread_mutex_lock(&list->lock);
    task->slot.next = NULL;
    if (list->last != NULL)
        list->last->slot.next = &task->slot;
    else
        list->first = task;
    list->last = task;
    kith__store_seq(&list->count, kith__load_rlx(&list->count) + 1); /* seq B1a, V2 */
    pthread_mutex_unlock(&list->lock);
}

/* Under the lock. */
static struct kith_self *list_pop(struct kith__task_list *list)
{
    struct kith_self *task = list->first;
    if (task == NULL)
        return NULL;
    list->first = (struct kith_self *)task->slot.next;
    if (list->first == NULL)
        list->last = NULL;
    kith__store_rlx(&list->count, kith__load_rlx(&list->count) - 1);
    return task;
}

/* Under the lock. */
static void list_push_front(struct kith__task_list *list, struct kith_self *task)
{
    task->slot.next = list->first != NULL ? &list->first->slot : NULL;
    list->first = task;
    if (list->last == NULL)
        list->last = task;
    kith__store_rlx(&list->count, kith__load_rlx(&list->count) + 1);
}

/* Takes up to max: one to run, the others into w's ring. A task must have left the list before it
 * enters the ring: there a thief may take it, run it and link it elsewhere. */
static struct kith_self *list_take(struct kith__worker *w, struct kith__task_list *list,
                                   uint32_t max)
{
    pthread_mutex_lock(&list->lock);
    struct kith_self *first = list_pop(list);
    struct kith_self *task;
    while (--max > 0 && (task = list_pop(list)) != NULL) {
        if (!kith__runq_push(&w->queue, task)) {
            list_push_front(list, task);
            break;
        }
    }
    pthread_mutex_unlock(&list->lock);
    return first;
}

void kith__overflow_push(struct kith__worker *w, struct kith_self *task)
{
    list_push(&w->overflow, task);
}

struct kith_self *kith__overflow_take(struct kith__worker *w)
{
    if (kith__load_rlx(&w->overflow.count) == 0)
        return NULL;
    return list_take(w, &w->overflow, REFILL);
}

struct kith_self *kith__shared_take(struct kith__worker *w)
{
    struct kith_runtime *rt = w->ctx.rt;
    uint32_t n = kith__load_rlx(&rt->shared.count);
    if (n == 0 || !kith__takes_part(w))
        return NULL;
    uint32_t share = n / rt->worker_count + 1;
    return list_take(w, &rt->shared, share > REFILL ? REFILL : share);
}

void kith__shared_drain(struct kith__worker *w)
{
    struct kith__task_list *list = &w->ctx.rt->shared;
    if (kith__load_rlx(&list->count) == 0)
        return;
    pthread_mutex_lock(&list->lock);
    struct kith_self *task = list->first;
    list->first = list->last = NULL;
    kith__store_rlx(&list->count, 0);
    pthread_mutex_unlock(&list->lock);
    while (task != NULL) {
        struct kith_self *next = (struct kith_self *)(void *)task->slot.next;
        kith__enqueue(w, task);
        task = next;
    }
}

void kith__inject(struct kith_runtime *rt, struct kith_self *task)
{
    list_push(&rt->shared, task);
    kith__wake_one(rt);
}

struct kith_self *kith__steal_half(struct kith__worker *w, struct kith__worker *victim)
{
    struct kith_self *loot[KITH__RUNQ_CAPACITY / 2];
    uint32_t n = kith__runq_steal(&victim->queue, loot, KITH__RUNQ_CAPACITY / 2);
    if (n == 0) {
        loot[0] = kith__load_rlx(&victim->overflow.count) == 0
                      ? NULL
                      : list_take(w, &victim->overflow, REFILL);
        n = loot[0] != NULL;
    }
    if (n == 0)
        return NULL;
    kith__count(&w->ctx.counters.steals);
    for (uint32_t i = 1; i < n; i++)
        if (!kith__runq_push(&w->queue, loot[i]))
            kith__overflow_push(w, loot[i]);
    return loot[0];
}
