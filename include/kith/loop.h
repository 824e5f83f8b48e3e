/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The single-thread executor: with config.executor = KITH_LOOP the same programs run on the calling
 * thread alone, and kith starts no other thread. The thread that called kith_start (or kith_main)
 * is the runtime's home: actors and fibers run there, one at a time, whenever it waits in kith (in
 * kith_receive, kith_sleep, kith_join, kith_shutdown and so on) or calls kith_loop_run. A wait with
 * KITH_NOWAIT and kith_yield let all that is ready run first. While the program's own code runs,
 * nothing else does. So a program's actors and fibers need no locks between them, and what is ready
 * at the same time runs in the same order in each run of the program. (Only an actor that finds
 * many messages gives way after 200 us, by the clock.)
 *
 * Other threads attach, send and ask as ever; what they hand in runs at home. Only home may shut
 * the runtime down.
 *
 * kith's loop can live in another one (GLib's, libuv's, a program's own). That one polls kith's
 * descriptor for input, no longer than to kith's deadline, and then runs what is ready:
 *
 *     int fd;
 *     kith_err err = kith_loop_fd(rt, &fd);
 *     ...
 *     for (;;) {
 *         struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, ...};
 *         poll(fds, n, milliseconds_until(kith_loop_deadline(rt)));
 *         kith_loop_run(rt, KITH_NOWAIT);
 *     }
 */
#ifndef KITH_LOOP_H
#define KITH_LOOP_H

#include <kith/err.h>
#include <kith/runtime.h>
#include <kith/time.h>

KITH_BEGIN_DECLS

/* The descriptor that becomes readable when there is something to run before the deadline.
 * Owns: it is the runtime's; only poll it. Thread: home, not in a handler or a fiber. Blocks: no.
 * Errors: KITH_EINVAL, KITH_EPERM (another thread, or the executor is KITH_POOL), KITH_ENOTSUP (the
 * poller is not KITH_EPOLL); *fd is then -1. */
KITH_API kith_err kith_loop_fd(kith_runtime *runtime, int *fd);

/* When kith_loop_run is to be called next, if the descriptor is not readable earlier: KITH_NOWAIT
 * if something is ready to run, KITH_FOREVER if no timer is set.
 * Thread: home, not in a handler or a fiber. Blocks: no. Errors: KITH_FOREVER. */
KITH_API kith_time kith_loop_deadline(kith_runtime *runtime);

/* Runs actors and fibers until deadline, or until kith_loop_stop. With KITH_NOWAIT: what is ready
 * now, each at least once, and what that makes ready, for no more than 10 ms besides;
 * kith_loop_deadline tells whether there is more.
 * Thread: home, not in a handler or a fiber. Blocks: until deadline.
 * Errors: KITH_EINVAL, KITH_EPERM (as kith_loop_fd). */
KITH_API kith_err kith_loop_run(kith_runtime *runtime, kith_time deadline);

/* Makes the kith_loop_run that runs return as soon as the current handler or fiber has had its
 * turn; if none runs, the next one that may wait returns at once.
 * Thread: any, also in handlers and fibers. Blocks: no. Errors: KITH_EINVAL, KITH_EPERM (the
 * executor is KITH_POOL). */
KITH_API kith_err kith_loop_stop(kith_runtime *runtime);

KITH_END_DECLS

#endif
