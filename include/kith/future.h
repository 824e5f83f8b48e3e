/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A future is a result that is not there yet: of a task, a fiber that runs one function, or of a
 * promise, which somebody completes by hand.
 *
 *     static kith_err fetch(kith_self *self, kith_co *co, void *arg, void **result);
 *
 *     kith_future *page[3];
 *     for (int i = 0; i < 3; i++)
 *         page[i] = kith_async(co, fetch, urls[i]);
 *     kith_err err = kith_gather(co, page, 3, kith_in(5 * KITH_SECOND));
 *     ...
 *     for (int i = 0; i < 3; i++)
 *         kith_future_drop(page[i]);
 *
 *   here                                      in Python's asyncio
 *   kith_async                                create_task (but the task may run on another core)
 *   kith_await                                await task
 *   kith_await_shielded                       await shield(task)
 *   kith_timeout                              await wait_for(task, seconds)
 *   kith_gather                               TaskGroup: the first failure cancels the rest
 *   kith_gather_all                           gather(return_exceptions=True)
 *   kith_wait_first, kith_wait_all            wait(FIRST_COMPLETED), wait(ALL_COMPLETED)
 *   kith_as_completed, kith_completed_next    as_completed
 *   kith_promise, kith_future_complete        loop.create_future, future.set_result, set_exception
 *   kith_future_then                          add_done_callback
 *   kith_future_cancel, kith_future_done      cancel, done
 *   kith_future_result                        result, exception
 *
 * Whoever awaits a future and is canceled meanwhile passes that on, as in asyncio: the task is
 * canceled, too, and its end is waited for, so that it never uses what lay on the stack of whoever
 * gave up. kith_await_shielded and the kith_wait_ functions leave the task alone.
 *
 * A future is counted: kith_async and kith_promise give one reference, kith_future_keep another,
 * kith_future_drop gives one up. A task goes on when its future is dropped. NULL stands for a
 * future for which there was no memory: whatever takes a future takes NULL, too, as one that has
 * failed with KITH_ENOMEM.
 *
 * With config.debug a future that ends without anybody having looked at how it ended (awaited or
 * gathered it, read its result, or run a callback) is named in the log when it is dropped for the
 * last time, unless it was canceled.
 */
#ifndef KITH_FUTURE_H
#define KITH_FUTURE_H

#include <kith/actor.h>
#include <kith/co.h>
#include <kith/err.h>
#include <kith/fiber.h>
#include <kith/time.h>
#include <stdbool.h>
#include <stddef.h>

KITH_BEGIN_DECLS

typedef struct kith_future kith_future;

/* A task. What it returns is its future's status; what it stores in *result, NULL before, is the
 * future's result. kith_fail in it counts as a status if it returns KITH_OK. */
typedef kith_err kith_async_fn(kith_self *self, kith_co *co, void *arg, void **result);

/* ---- making ---- */

/* kith_async(co, fn, arg): starts a task; its name in logs is fn's. kith_async_with takes a fiber's
 * options, too, and kith_async_self what an actor's handler has (options may be NULL).
 * What cannot be started is a future that has failed, with the reason (KITH_ENOMEM, KITH_ESHUTDOWN,
 * KITH_EINVAL, and what else kith_go answers).
 * Owns: the future is the caller's, to kith_future_drop. arg as with kith_go. Thread: co's, self's.
 * Blocks: no. Errors: NULL (out of memory, or co or self is not who acts here). */
#define kith_async(co, fn, arg) kith_async_named(kith_co_self(co), (fn), (arg), #fn, NULL)
#define kith_async_with(co, fn, arg, ...)                                                          \
    kith_async_named(kith_co_self(co), (fn), (arg), #fn, __VA_ARGS__)
#define kith_async_self(self, fn, arg, ...) kith_async_named((self), (fn), (arg), #fn, __VA_ARGS__)
/* What all three expand to; name must live as long as the runtime.
 * Owns, Blocks, Errors and Thread: as kith_async. */
KITH_API kith_future *kith_async_named(kith_self *self, kith_async_fn *fn, void *arg,
                                       const char *name, const kith_fiber_options *options);

/* Makes a future without a task: kith_future_complete completes it. While it is open somebody from
 * outside may complete it, so nothing counts as a deadlock.
 * Owns: the caller has the one reference; who completes it on another thread needs one of its own.
 * Thread: self's. Blocks: no. Errors: NULL (out of memory, or self is not who acts here). */
KITH_API kith_future *kith_promise(kith_self *self);

/* Completes a promise. The first call counts; one that was canceled is complete.
 * Owns: the future has result if this returns KITH_OK (kith_future_owns says what becomes of it).
 * Thread: any, also one that is not attached, while the runtime lives. Blocks: no.
 * Errors: KITH_EBUSY (it is complete), KITH_EPERM (a task's), KITH_EINVAL (NULL). */
KITH_API kith_err kith_future_complete(kith_future *future, kith_err status, void *result);

/* From now on the future owns its result until somebody takes it (asks for it in kith_await,
 * kith_timeout, kith_await_shielded or kith_future_result, or by a callback): drop(result) runs
 * when the future ends and nobody did. Without this a result is only a pointer. NULL for future
 * does nothing.
 * Thread: any that has a reference, one at a time; drop runs on any. Blocks: no. */
KITH_API void kith_future_owns(kith_future *future, void (*drop)(void *result));

/* One reference more; returns future.
 * Thread: any that has a reference. Blocks: no. Errors: none. */
KITH_API kith_future *kith_future_keep(kith_future *future);

/* Gives a reference up. NULL is allowed and does nothing.
 * Owns: takes one reference. Thread: any. What has ended may outlive the runtime (but not the
 * allocator of the config); an open promise may not. Blocks: no. Errors: none. */
KITH_API void kith_future_drop(kith_future *future);

/* ---- looking ---- */

/* Whether it has ended. Thread: any that has a reference. Blocks: no. Errors: true for NULL. */
KITH_API bool kith_future_done(const kith_future *future);

/* The status of a future that has ended, and its result (NULL unless the status is KITH_OK); result
 * may be NULL: then nobody takes the result.
 * Owns: as kith_future_owns says. Thread: any that has a reference. Blocks: no.
 * Errors: the status; KITH_EBUSY (not ended: ask kith_future_done first), KITH_ENOMEM (NULL). */
KITH_API kith_err kith_future_result(kith_future *future, void **result);

/* Cancels a task (from its next wait on it hears KITH_ECANCELED; how it ends is its own matter), or
 * ends a promise with KITH_ECANCELED. True if it came in time to be noticed.
 * Thread: any that has a reference, while the runtime lives. Blocks: no. Errors: false. */
KITH_API bool kith_future_cancel(kith_future *future);

/* Runs as a handler of whoever called kith_future_then: me is the actor's state (NULL for a fiber
 * or a thread), result is NULL unless status is KITH_OK; an error fails the actor, or marks the
 * fiber as kith_fail does. It may send, and may not wait: in a fiber or thread it runs between two
 * steps, while that waits. */
typedef kith_err kith_future_then_fn(kith_self *self, void *me, void *arg, kith_err status,
                                     void *result);

/* KITH_FUTURE_THEN(B, name) { ... } defines B_future_name, to be given to kith_future_then; in
 * scope: self, me (struct B *), arg, status, result. */
#define KITH_FUTURE_THEN(B, name)                                                                  \
    struct B;                                                                                      \
    static kith_err B##_future_##name##_typed(kith_self *self, struct B *me, void *arg,            \
                                              kith_err status, void *result);                      \
    static kith_err B##_future_##name(kith_self *self, void *me, void *arg, kith_err status,       \
                                      void *result)                                                \
    {                                                                                              \
        return B##_future_##name##_typed(self, (struct B *)me, arg, status, result);               \
    }                                                                                              \
    static kith_err B##_future_##name##_typed(                                                     \
        KITH_UNUSED kith_self *self, KITH_UNUSED struct B *me, KITH_UNUSED void *arg,              \
        KITH_UNUSED kith_err status, KITH_UNUSED void *result)

/* Runs then once, when the future has ended (never inside this call), in a turn of self's. Several
 * run in the order in which they were set. If self dies first, then does not run.
 * Owns: keeps a reference of its own until then. arg is handed to then; it is the caller's if this
 * fails. Thread: self's. Blocks: no.
 * Errors: KITH_EPERM, KITH_EINVAL (no then), KITH_ENOMEM (also for NULL), KITH_EBADREF (of another
 * runtime). */
KITH_API KITH_MUST_CHECK kith_err kith_future_then(kith_self *self, kith_future *future,
                                                   kith_future_then_fn *then, void *arg);

/* ---- awaiting one ---- */

/* Waits until the future has ended; returns its status, and in *result (which may be NULL) its
 * result. May be called again, and by several. At the deadline it gives up and the task goes on. If
 * the awaiting fiber is canceled, the task is canceled and its end is waited for.
 * Owns: as kith_future_owns says. Thread: co's. Blocks: until deadline.
 * Errors: the status; KITH_ETIMEOUT, KITH_ECANCELED, KITH_ESHUTDOWN, KITH_EDEADLK (also: a task
 * awaits itself), KITH_ENOMEM (also for NULL), KITH_EPERM, KITH_EBADREF (of another runtime). */
KITH_API kith_err kith_await(kith_co *co, kith_future *future, kith_time deadline, void **result);

/* As kith_await, but the task goes on, too, when the awaiting fiber is canceled.
 * Owns, Blocks, Errors and Thread: as kith_await. */
KITH_API kith_err kith_await_shielded(kith_co *co, kith_future *future, kith_time deadline,
                                      void **result);

/* As kith_await, but at the deadline the task is canceled and its end is waited for; then this is
 * KITH_ETIMEOUT, however it ended.
 * Owns, Errors and Thread: as kith_await. Blocks: until deadline, and until the task has ended. */
KITH_API kith_err kith_timeout(kith_co *co, kith_future *future, kith_time deadline, void **result);

/* ---- awaiting many ---- */

/* Waits for all of n futures. The first that fails, the deadline, a cancellation, or memory that is
 * out cancels the rest; in every case all have ended when this returns (but for futures of another
 * runtime). Afterwards each result is read by kith_future_result. The same future may stand there
 * twice.
 * Owns: nothing; the caller keeps all references. Thread: co's.
 * Blocks: until deadline, and until all have ended.
 * Errors: the status of the first that failed; KITH_ETIMEOUT, KITH_ECANCELED, KITH_ESHUTDOWN,
 * KITH_EDEADLK, KITH_ENOMEM, KITH_EPERM and KITH_EINVAL (these two: nothing was done),
 * KITH_EBADREF. */
KITH_API kith_err kith_gather(kith_co *co, kith_future *const *futures, size_t n,
                              kith_time deadline);

/* As kith_gather, but a failure is not passed on and cancels nobody: KITH_OK when all have ended by
 * themselves. Owns, Blocks, Errors and Thread: as kith_gather. */
KITH_API kith_err kith_gather_all(kith_co *co, kith_future *const *futures, size_t n,
                                  kith_time deadline);

/* Waits until all of n futures have ended, and cancels none of them.
 * Owns and Thread: as kith_gather. Blocks: until deadline.
 * Errors: KITH_ETIMEOUT, KITH_ECANCELED, KITH_ESHUTDOWN, KITH_EDEADLK, KITH_ENOMEM, KITH_EPERM,
 * KITH_EINVAL. */
KITH_API kith_err kith_wait_all(kith_co *co, kith_future *const *futures, size_t n,
                                kith_time deadline);

/* Waits until one of n futures has ended, and cancels none; *index says which (of several, the
 * first that ended; of those that had ended before the call, the first in the array). Takes time
 * in proportion to n: for one after the other there is kith_as_completed.
 * Owns and Thread: as kith_gather. Blocks: until deadline.
 * Errors: as kith_wait_all; KITH_EINVAL also if n is 0. */
KITH_API kith_err kith_wait_first(kith_co *co, kith_future *const *futures, size_t n,
                                  kith_time deadline, size_t *index);

/* Futures in the order in which they end. */
typedef struct kith_completed kith_completed;

/* Begins to collect n futures; kith_completed_next gives out one after the other.
 * Owns: the caller owns the collection, to kith_completed_free; futures and the references in it
 * must stay until then. Thread: co's. Blocks: no. Errors: NULL (out of memory, wrong thread, no
 * futures). */
KITH_API kith_completed *kith_as_completed(kith_co *co, kith_future *const *futures, size_t n);

/* The index of the next that has ended, each once, in the order in which they ended (those that had
 * ended before the beginning in the order of the array). Cancels none.
 * Thread: of the co that began it. Blocks: until deadline.
 * Errors: KITH_ECLOSED (all were given out), and those of kith_wait_all. */
KITH_API kith_err kith_completed_next(kith_co *co, kith_completed *completed, kith_time deadline,
                                      size_t *index);

/* Ends a collection, at any time; the futures go on. NULL is allowed and does nothing.
 * Owns: takes completed. Thread: of the co that began it. Blocks: no. Errors: KITH_EPERM. */
KITH_API kith_err kith_completed_free(kith_co *co, kith_completed *completed);

KITH_END_DECLS

#endif
