/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Calls that block: reading a file, looking up a name, a library that waits or computes for long.
 * In a handler or a fiber they would hold up a worker, and all that it serves. kith_blocking and
 * kith_blocking_send run a function on a thread of a pool that is there for nothing else, and bring
 * its result back, to the fiber that waits for it or as a message.
 *
 *     static kith_err read_page(void *arg)          -- on a thread of the pool
 *     {
 *         struct page *page = arg;
 *         ssize_t n = pread(page->fd, page->bytes, sizeof page->bytes, page->at);
 *         return n == (ssize_t)sizeof page->bytes ? KITH_OK : KITH_EIO;
 *     }
 *     ...
 *     struct page page = {.fd = fd, .at = 8192};    -- in a fiber
 *     kith_err err = kith_blocking(co, read_page, &page);
 *
 * The pool has at most config.blocking_threads threads. They are started when there is work for
 * them, and end when they were idle for config.blocking_idle_ns. Up to config.blocking_queue calls
 * wait for a thread, first in, first out; one more is refused (KITH_EFULL).
 *
 * The function runs outside of the runtime: it has no kith_self, and calls that take one answer
 * KITH_EPERM there. Nothing can interrupt it. Cancellation, a deadline and the shutdown take back
 * what has not begun; what has begun is waited for. The shutdown waits for it up to its deadline.
 */
#ifndef KITH_BLOCKING_H
#define KITH_BLOCKING_H

#include <kith/actor.h>
#include <kith/co.h>
#include <kith/err.h>
#include <kith/time.h>
#include <stdint.h>

KITH_BEGIN_DECLS

/* What runs on a thread of the pool; what it returns is the result. */
typedef kith_err kith_blocking_fn(void *arg);

/* Runs fn(arg) on a thread of the pool and waits for its end. A fiber that is canceled while fn
 * runs goes on waiting, gets fn's result, and hears of the cancellation at the next call that may
 * wait; so arg may lie on the fiber's stack.
 * Owns: arg is the caller's; fn has ended, or will not run, when this returns. Thread: co's.
 * Blocks: until fn has ended.
 * Errors: what fn returned; or fn has not run: KITH_ECANCELED, KITH_ESHUTDOWN, KITH_EDEADLK,
 * KITH_EFULL (as many wait as may), KITH_EAGAIN (no thread to be had), KITH_EPERM, KITH_EINVAL. */
KITH_API KITH_MUST_CHECK kith_err kith_blocking(kith_co *co, kith_blocking_fn *fn, void *arg);

/* The same with a deadline for the beginning: if no thread has taken fn up by then, it does not
 * run.
 * Owns, Thread: as kith_blocking. Blocks: until deadline, or, if fn has begun by then, until its
 * end.
 * Errors: KITH_ETIMEOUT and KITH_ENOMEM (for the deadline): fn has not run; and those of
 * kith_blocking. */
KITH_API KITH_MUST_CHECK kith_err kith_blocking_by(kith_co *co, kith_time deadline,
                                                   kith_blocking_fn *fn, void *arg);

/* The end of a call that was begun by kith_blocking_send: what the function returned, or why it has
 * not run: KITH_ESHUTDOWN, KITH_EAGAIN. */
KITH_SYSTEM_MESSAGE(kith_blocking_done, {
    void *arg;
    kith_err status;
    uint64_t job;
});

/* Runs fn(arg) on a thread of the pool, and sends a kith_blocking_done to self when it has ended. A
 * mailbox's bound does not count that message. If self dies first, fn runs all the same, and the
 * message is a dead letter.
 * Owns: arg is fn's until the message comes, and the caller's if this fails. job, if not NULL, gets
 * the number of the call. Thread: self's. Blocks: no.
 * Errors: KITH_EFULL (as many wait as may), KITH_EAGAIN (no thread to be had), KITH_ENOMEM,
 * KITH_ESHUTDOWN, KITH_EPERM, KITH_EINVAL. */
KITH_API KITH_MUST_CHECK kith_err kith_blocking_send(kith_self *self, kith_blocking_fn *fn,
                                                     void *arg, uint64_t *job);

/* Takes back a call of self's that no thread has taken up yet: fn does not run, and no message
 * comes.
 * Owns: after KITH_OK arg is the caller's again. Thread: self's. Blocks: no.
 * Errors: KITH_EBUSY (it has begun, or has ended: the message comes or has come), KITH_EBADREF (no
 * such call was ever made), KITH_EPERM (also: another's). */
KITH_API kith_err kith_blocking_cancel(kith_self *self, uint64_t job);

KITH_END_DECLS

#endif
