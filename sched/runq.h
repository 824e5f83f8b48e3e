/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A worker's run queue: a bounded ring that its owner pushes and pops and that a thief takes half
 * of in one compare-and-swap. Used by sched/worker.h (push), sched/worker.c (pop)
 * and sched/queue.c (steal).
 *
 * Invariants
 *  Q1. An entry is taken by exactly one: whoever moves head over it.
 *  Q2. Only the owner moves tail, and never more than the capacity ahead of head.
 *  Q3. A thief reads entries before it moves head; if its compare-and-swap succeeds, head had not
 *      moved, so the owner cannot have written over them (Q2).
 *
 *            push   pop    steal
 *   push     the owner's   yes
 *   pop      the owner's   yes
 *   steal    yes    yes    yes
 *
 * The design is that of Go's and Tokio's schedulers: unlike Chase and Lev's deque, it is first in,
 * first out for owner and thief, which is what actors want. Positions are 64 bits wide, so that a
 * position never comes back. The capacity is a parameter, so that tests can have 4.
 */
#ifndef KITH__SCHED_RUNQ_H
#define KITH__SCHED_RUNQ_H

#include "base/assert.h"
#include "base/atomic.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KITH__RUNQ_CAPACITY 256u

struct kith_self;

struct kith__runq {
    _Alignas(KITH__CACHE_LINE) KITH__ATOMIC(uint64_t) head; /* owner and thieves */
    _Alignas(KITH__CACHE_LINE) KITH__ATOMIC(uint64_t) tail; /* the owner writes */
    uint64_t mask;
    KITH__ATOMIC(struct kith_self *) * ring;
};

/* How many wait: exact for the owner if nobody steals, a guess for others. */
static inline uint64_t kith__runq_count(struct kith__runq *q)
{
    uint64_t head = kith__load_rlx(&q->head);
    uint64_t tail = kith__load_rlx(&q->tail);
    return tail > head ? tail - head : 0;
}

/* The owner appends; false if the ring is full. */
static inline bool kith__runq_push(struct kith__runq *q, struct kith_self *task)
{
    uint64_t tail = kith__load_rlx(&q->tail);
    /* acquire R2; pairs with R1 in pop and steal: the thief has read the entries it took. */
    if (tail - kith__load_acq(&q->head) > q->mask)
        return false;
    kith__store_rlx(&q->ring[tail & q->mask], task);
    kith__store_rel(&q->tail, tail + 1); /* release R3; pairs with R4 in steal: the entry */
    return true;
}

/* The owner takes the oldest; NULL if there is none. */
static inline struct kith_self *kith__runq_pop(struct kith__runq *q)
{
    uint64_t head = kith__load_rlx(&q->head);
    uint64_t tail = kith__load_rlx(&q->tail); /* relaxed: its own */
    while (head != tail) {
        struct kith_self *task = kith__load_rlx(&q->ring[head & q->mask]);
        /* release R1; pairs with R2 in push and R5 in steal. */
        if (kith__cas_rel(&q->head, &head, head + 1))
            return task;
    }
    return NULL;
}

/* A thief takes half of what waits, rounded up, but no more than max; returns how many. */
static inline uint32_t kith__runq_steal(struct kith__runq *q, struct kith_self **out, uint32_t max)
{
    uint64_t head = kith__load_acq(&q->head); /* acquire R5; pairs with R1: order among takers */
    for (;;) {
        uint64_t tail = kith__load_acq(&q->tail); /* acquire R4; pairs with R3: the entries */
        uint64_t n = tail > head ? tail - head : 0;
        n = n > q->mask + 1 ? 0 : n - n / 2; /* more than fit: head was old */
        if (n > max)
            n = max;
        if (n == 0)
            return 0;
        for (uint64_t i = 0; i < n; i++)
            out[i] = kith__load_rlx(&q->ring[(head + i) & q->mask]);
        /* acquire and release R1, R5 */
        if (kith__cas_ar(&q->head, &head, head + n))
            return (uint32_t)n;
    }
}

#endif
