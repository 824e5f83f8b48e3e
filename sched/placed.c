/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tasks that run on one worker only: fibers that have begun, and actors that were placed by an
 * option. Each worker has a list of those that wait, first in, first out, and takes its next task from
 * it in rounds (next_of_both in worker.c), so that they and those that may be stolen are served alike.
 *
 * Called by whoever schedules a placed task.
 *
 * Invariants
 *  PL1. The list is the owner's alone: to put a task that was woken on its own worker there takes no
 *      atomic operation.
 *  PL2. Others push onto placed_sent (PL2a), a list taken whole by the owner (PL2b), and wake the worker if
 *      it sleeps. Whoever pushed onto an empty list does that: it looks at the state (PL2c) after the
 *      push; a worker that goes to sleep says so (G1d, state_set in park.c) and looks at the list
 *      (PL2d) afterwards. Sequentially consistent, so one of the two sees the other.
 *  PL3. placed_sent is newest first, so the owner turns it round.
 *
 * Why these tasks do not move: a fiber's C code may keep the address of a thread-local variable
 * (errno, the allocator's cache) in a register over a call that suspends.
 */
#include "sched/worker.h"

static void append(struct kith__worker *w, struct kith_self *task)
{
    task->slot.next = NULL;
    if (w->placed_first == NULL)
        w->placed_first = task;
    else
        w->placed_last->slot.next = &task->slot;
    w->placed_last = task;
    w->placed_count++;
}

static void send(struct kith__worker *home, struct kith_self *task)
{
    struct kith_self *seen = kith__load_rlx(&home->placed_sent);
    do
        task->slot.next = seen != NULL ? &seen->slot : NULL;
    while (!kith__cas_seq(&home->placed_sent, &seen, task)); /* seq PL2a; release: the task */
    if (seen == NULL && kith__load_seq(&home->state) == KITH__WORKER_PARKED) /* seq PL2c */
        kith__wake_worker(home);
}

void kith__place(struct kith__ctx *ctx, struct kith_self *task)
{
    struct kith__worker *home = &ctx->rt->workers[task->wheel];
    if (KITH__LIKELY(home == ctx->worker))
        append(home, task); /* PL1 */
    else
        send(home, task);
}

void kith__placed_fetch(struct kith__worker *w)
{
    struct kith__slot *next = NULL;
    /* acquire PL2b; pairs with PL2a: the tasks. */
    struct kith_self *task = kith__xchg_acq(&w->placed_sent, NULL);
    while (task != NULL) { /* PL3 */
        struct kith__slot *older = task->slot.next;
        task->slot.next = next;
        next = &task->slot;
        task = (struct kith_self *)(void *)older;
    }
    while (next != NULL) {
        task = (struct kith_self *)(void *)next;
        next = next->next;
        append(w, task);
    }
}
