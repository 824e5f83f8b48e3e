/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Timers: messages to their own task in the future. A timer stands in the wheel of the worker on
 * which it was set, under that worker's timer lock, because any worker may cancel it and an idle one
 * fires the timers of a stalled one.
 *
 * A timer belongs to a task. When it goes off, its message is pushed into that task's inbox; the
 * task, in its turn, looks the timer up by the handle that the message carries (sender) before it
 * handles the message. So a cancel in the task's turn always wins, even over a message that is
 * already on its way.
 *
 * All timers of a task stand in one wheel while there are any, even if the task moves between
 * workers: so equal deadlines go off in the order in which they were set.
 *
 * Used by actors/timer.c, actors/ask.c and io (deadlines of sockets).
 */
#ifndef KITH__SCHED_TIMER_H
#define KITH__SCHED_TIMER_H

#include "sched/runtime.h"

struct kith__timer {
    struct kith__slot slot;
    struct kith__owned owned;
    struct kith__wheel_node node; /* under the worker's timer_lock */
    struct kith__worker *worker;  /* whose wheel it stands in */
    struct kith_msg *msg;         /* to be sent next; under the lock; NULL: on its way */
    kith_time period;             /* 0: once */
    uint64_t owner;               /* bits of the task */
};

/* Sets a timer for `owner`, whose turn it is, that sends msg once, or every period. Takes msg if it
 * returns a timer. NULL if memory or slots are out. */
struct kith__timer *kith__timer_set(struct kith__ctx *ctx, struct kith_self *owner,
                                    kith_time deadline, kith_time period, struct kith_msg *msg);

/* Ends a timer of the task whose turn it is; a message that waits in it ends too. */
void kith__timer_end(struct kith__ctx *ctx, struct kith_self *owner, struct kith__timer *timer);

/* The timer that a handle names, if owner has it; else NULL. */
struct kith__timer *kith__timer_find(struct kith__ctx *ctx, const struct kith_self *owner,
                                     uint64_t bits);

/* The owner has taken msg, which carries KITH__MSG_TIMER: returns the message to be handled, or NULL
 * if its timer was canceled. A timer that goes off once is over with this. A periodic one gives a
 * copy and goes on, so that a tick that waits long is one tick (out of memory, it skips one). */
struct kith_msg *kith__timer_arrived(struct kith__ctx *ctx, struct kith_self *owner,
                                     struct kith_msg *msg);

/* Fires what is due at now in the wheel of `of`; the tasks run on w. */
void kith__timers_run(struct kith__worker *w, struct kith__worker *of, kith_time now);

/* The deadline to which a worker may sleep; whoever sets an earlier timer in its wheel wakes it. */
kith_time kith__timers_sleep(struct kith__worker *w);
void kith__timers_woke(struct kith__worker *w);

#endif
