/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The seam between the scheduler and the world: all time, randomness, polling and waking go through
 * this table. The pool executor's table is real (io/loop.c gives polling and waking, base/ time and
 * randomness); a simulator is another table.
 */
#ifndef KITH__SCHED_DRIVER_H
#define KITH__SCHED_DRIVER_H

#include <kith/err.h>
#include <kith/time.h>
#include <stdbool.h>
#include <stdint.h>

struct kith_runtime;
struct kith__worker;

struct kith__driver {
    /* What the whole runtime needs; close is called after every worker's loop is closed. */
    kith_err (*open)(struct kith_runtime *rt);
    void (*close)(struct kith_runtime *rt);

    /* A worker's loop; on the starting thread, before and after the worker runs. */
    kith_err (*open_worker)(struct kith__worker *worker);
    void (*close_worker)(struct kith__worker *worker);

    kith_time (*now)(void);
    uint64_t (*random)(struct kith__worker *worker);

    /* Waits until deadline (KITH_NOWAIT: does not wait) for events of the loop of `of`, or for a
     * wake of it, and schedules the tasks that they concern on `worker`. Only the owner waits;
     * another worker polls a stalled one's loop with KITH_NOWAIT. Returns whether there were any. */
    bool (*poll)(struct kith__worker *worker, struct kith__worker *of, kith_time deadline);

    /* Ends a worker's wait, from any thread; a wake of a worker that does not wait ends its next
     * wait. */
    void (*wake)(struct kith__worker *worker);

    /* Makes one waiting worker's poll end after delay_ns and call kith__watch. */
    void (*arm_watch)(struct kith_runtime *rt, kith_time delay_ns);
};

#endif
