/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What fibers and threads share when messages are not enough: an event, a semaphore, a mutex, a
 * barrier, and a queue of work with a join, as in Python's asyncio. Each may be used by fibers of
 * any worker and by attached threads at once; what waits suspends a fiber, and blocks a thread.
 *
 *     kith_mutex *m = kith_mutex_new(self);
 *     if (kith_mutex_lock(co, m, kith_in(KITH_SECOND)) == KITH_OK) {
 *         ... may wait here: the mutex is a fiber's, not its worker's ...
 *         kith_mutex_unlock(self, m);
 *     }
 *     kith_mutex_free(m);
 *
 * Those who wait are served in the order in which they came. A permit, a lock or an item that is
 * handed over at the very moment of a deadline or a cancellation is not lost: the call then answers
 * KITH_OK, and the next one tells of the cancellation.
 *
 * What kith_NAME_new makes is the caller's, until kith_NAME_free; nobody may wait for it then, nor
 * use it afterwards, and it must go before its runtime. Whoever has been woken does not need it any
 * more: so the last that leaves may free it.
 *
 * Actors have no use for these: their state is theirs alone. But what needs no waiting takes a
 * kith_self, so a handler can set an event or feed a queue that a fiber waits for.
 */
#ifndef KITH_SYNC_H
#define KITH_SYNC_H

#include <kith/co.h>
#include <kith/err.h>
#include <kith/time.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

KITH_BEGIN_DECLS

/* ---- event: a flag that can be waited for ---- */

typedef struct kith_event kith_event;

/* A new event, not set. Owns: the caller, to kith_event_free. Thread: self's. Blocks: no.
 * Errors: NULL (out of memory, wrong thread). */
KITH_API kith_event *kith_event_new(kith_self *self);
/* Ends it; NULL does nothing. Owns: takes event. Thread: any. Blocks: no. */
KITH_API void kith_event_free(kith_event *event);

/* Sets it, and wakes all who wait.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM, KITH_EINVAL. */
KITH_API kith_err kith_event_set(kith_self *self, kith_event *event);
/* Takes that back: who waits from now on waits for the next set.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM, KITH_EINVAL. */
KITH_API kith_err kith_event_clear(kith_self *self, kith_event *event);
/* Whether it is set. Thread: self's. Blocks: no. Errors: false. */
KITH_API bool kith_event_is_set(kith_self *self, kith_event *event);

/* Waits until it is set. KITH_OK also if it has been cleared again meanwhile.
 * Thread: co's. Blocks: until deadline.
 * Errors: KITH_ETIMEOUT, KITH_ECANCELED, KITH_ESHUTDOWN, KITH_EDEADLK, KITH_ENOMEM (for the
 * deadline), KITH_EPERM, KITH_EINVAL. */
KITH_API kith_err kith_event_wait(kith_co *co, kith_event *event, kith_time deadline);

/* ---- semaphore: permits ---- */

typedef struct kith_semaphore kith_semaphore;

/* A new semaphore with so many permits. Owns: the caller, to kith_semaphore_free. Thread: self's.
 * Blocks: no. Errors: NULL (out of memory, wrong thread). */
KITH_API kith_semaphore *kith_semaphore_new(kith_self *self, uint32_t permits);
/* Ends it; NULL does nothing. Owns: takes semaphore. Thread: any. Blocks: no. */
KITH_API void kith_semaphore_free(kith_semaphore *semaphore);

/* Takes a permit, waits for one if there is none.
 * Thread: co's. Blocks: until deadline. Errors: as kith_event_wait. */
KITH_API KITH_MUST_CHECK kith_err kith_semaphore_acquire(kith_co *co, kith_semaphore *semaphore,
                                                         kith_time deadline);
/* Gives a permit back, or one more: to who has waited longest, if anybody waits.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM, KITH_EINVAL, KITH_EFULL (2^32 - 1 permits). */
KITH_API kith_err kith_semaphore_release(kith_self *self, kith_semaphore *semaphore);

/* ---- mutex: one at a time ---- */

typedef struct kith_mutex kith_mutex;

/* A new mutex, unlocked. Owns: the caller, to kith_mutex_free. Thread: self's. Blocks: no.
 * Errors: NULL (out of memory, wrong thread). */
KITH_API kith_mutex *kith_mutex_new(kith_self *self);
/* Ends it, unlocked; NULL does nothing. Owns: takes mutex. Thread: any. Blocks: no. */
KITH_API void kith_mutex_free(kith_mutex *mutex);

/* Locks it for this fiber or thread, waits while it is another's. It is not unlocked by a fiber's
 * end. Not recursive. Thread: co's. Blocks: until deadline.
 * Errors: as kith_event_wait; KITH_EDEADLK also if it is the caller's already. */
KITH_API KITH_MUST_CHECK kith_err kith_mutex_lock(kith_co *co, kith_mutex *mutex,
                                                  kith_time deadline);
/* Unlocks it, and hands it to who has waited longest.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM (also: it is not the caller's), KITH_EINVAL. */
KITH_API kith_err kith_mutex_unlock(kith_self *self, kith_mutex *mutex);

/* ---- barrier: all or none ---- */

typedef struct kith_barrier kith_barrier;

/* A new barrier for so many parties, at least one; it serves again and again.
 * Owns: the caller, to kith_barrier_free. Thread: self's. Blocks: no.
 * Errors: NULL (out of memory, wrong thread, no parties). */
KITH_API kith_barrier *kith_barrier_new(kith_self *self, uint32_t parties);
/* Ends it; NULL does nothing. Owns: takes barrier. Thread: any. Blocks: no. */
KITH_API void kith_barrier_free(kith_barrier *barrier);

/* Waits until all parties are here. *leader (which may be NULL) is true for one of them, the last.
 * One that gives up (deadline, cancellation, shutdown), or comes canceled, breaks the barrier: the
 * others, and those who come later, hear KITH_EBROKEN, until kith_barrier_reset.
 * Thread: co's. Blocks: until deadline. Errors: KITH_EBROKEN, and as kith_event_wait. */
KITH_API KITH_MUST_CHECK kith_err kith_barrier_wait(kith_co *co, kith_barrier *barrier,
                                                    kith_time deadline, bool *leader);
/* Breaks it by hand: who waits hears KITH_EBROKEN.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM, KITH_EINVAL. */
KITH_API kith_err kith_barrier_abort(kith_self *self, kith_barrier *barrier);
/* Mends it: as new. Who waits hears KITH_EBROKEN.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM, KITH_EINVAL. */
KITH_API kith_err kith_barrier_reset(kith_self *self, kith_barrier *barrier);

/* ---- queue: work, and a word when all of it is done ---- */

typedef struct kith_queue kith_queue;

/* A new queue for up to `room` pointers, at least one: its memory is allocated here.
 * Owns: the caller, to kith_queue_free. Thread: self's. Blocks: no.
 * Errors: NULL (out of memory, wrong thread, no room). */
KITH_API kith_queue *kith_queue_new(kith_self *self, size_t room);
/* Ends it; NULL does nothing. Items in it are only pointers: get them before, if they own
 * something. Owns: takes queue. Thread: any. Blocks: no. */
KITH_API void kith_queue_free(kith_queue *queue);

/* Appends an item, waits while the queue is full.
 * Owns: item is the queue's if this returns KITH_OK. Thread: co's. Blocks: until deadline.
 * Errors: KITH_ECLOSED, and as kith_event_wait. */
KITH_API kith_err kith_queue_put(kith_co *co, kith_queue *queue, void *item, kith_time deadline);
/* As kith_queue_put, but does not wait: for actors.
 * Owns: as kith_queue_put. Thread: self's. Blocks: no.
 * Errors: KITH_EFULL, KITH_ECLOSED, KITH_EPERM, KITH_EINVAL. */
KITH_API kith_err kith_queue_try_put(kith_self *self, kith_queue *queue, void *item);

/* Takes the oldest item, waits while there is none.
 * Owns: *item is the caller's. Thread: co's. Blocks: until deadline.
 * Errors: KITH_ECLOSED (closed and empty), and as kith_event_wait; *item is then NULL. */
KITH_API kith_err kith_queue_get(kith_co *co, kith_queue *queue, void **item, kith_time deadline);

/* What was taken is done: once for each item that was taken.
 * Thread: self's. Blocks: no.
 * Errors: KITH_EPERM, KITH_EINVAL (also: nothing was taken that is not done). */
KITH_API kith_err kith_queue_task_done(kith_self *self, kith_queue *queue);
/* Waits until all that was put is done.
 * Thread: co's. Blocks: until deadline. Errors: as kith_event_wait. */
KITH_API kith_err kith_queue_join(kith_co *co, kith_queue *queue, kith_time deadline);

/* From now on nothing is put any more, and whoever waits for that hears KITH_ECLOSED; what is in
 * the queue can be taken. Closing twice is closing once.
 * Thread: self's. Blocks: no. Errors: KITH_EPERM, KITH_EINVAL. */
KITH_API kith_err kith_queue_close(kith_self *self, kith_queue *queue);
/* How many items wait in it, at this moment. Thread: self's. Blocks: no. Errors: 0. */
KITH_API size_t kith_queue_count(kith_self *self, kith_queue *queue);

KITH_END_DECLS

#endif
