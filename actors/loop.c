/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The loop executor's public calls: kith's loop inside another one. The loop is sched/single.c.
 *
 * Called by programs, on the runtime's home thread; kith_loop_stop by any.
 *
 * Threads: home may shut the runtime down and nobody else, so a call on home that found the runtime
 * alive needs not hold it; kith_loop_stop does.
 */
#include "io/loop.h"
#include "actors/actor.h"
#include "sched/single.h"
#include <kith/loop.h>

/* On the home thread, and not in its loop. */
static kith_err may_run(struct kith_runtime *rt)
{
    if (!kith__runtime_lives(rt))
        return KITH_EINVAL;
    return kith__single_home(rt) && (kith__ctx_here == NULL || kith__ctx_here->worker == NULL)
               ? KITH_OK
               : KITH_EPERM;
}

kith_err kith_loop_fd(kith_runtime *runtime, int *fd)
{
    if (fd == NULL)
        return KITH_EINVAL;
    *fd = -1;
    kith_err err = may_run(runtime);
    if (err != KITH_OK)
        return err;
    *fd = kith__loop_descriptor(runtime);
    if (*fd < 0)
        return KITH_ENOTSUP;
    if (!runtime->single.watched) {
        runtime->single.watched = true;
        kith__single_round(runtime); /* what is left after it makes the descriptor readable */
    }
    return KITH_OK;
}

kith_time kith_loop_deadline(kith_runtime *runtime)
{
    return may_run(runtime) == KITH_OK ? kith__single_deadline(runtime) : KITH_FOREVER;
}

kith_err kith_loop_run(kith_runtime *runtime, kith_time deadline)
{
    kith_err err = may_run(runtime);
    if (err != KITH_OK)
        return err;
    if (deadline == KITH_NOWAIT)
        kith__single_round(runtime);
    else
        kith__single_run(runtime, KITH__ASKED_STOP, deadline, NULL, NULL);
    return KITH_OK;
}

kith_err kith_loop_stop(kith_runtime *runtime)
{
    if (!kith__runtime_pin(runtime))
        return KITH_EINVAL;
    kith_err err = kith__is_loop(runtime) ? KITH_OK : KITH_EPERM;
    if (err == KITH_OK)
        kith__single_ask(runtime, KITH__ASKED_STOP);
    kith__runtime_unpin(runtime);
    return err;
}
