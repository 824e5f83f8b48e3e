/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The ways to wait that stress/cancel cancels: each call that waits, with a deadline and without.
 * Included, once, by cancel.c, which opens what they wait for.
 * Threads: each way runs in many fibers at once; `shared` is filled before they begin.
 */
#ifndef KITH_TESTS_STRESS_CANCEL_WAITS_H
#define KITH_TESTS_STRESS_CANCEL_WAITS_H

#include "tests/stress/stress.h"

#include "base/atomic.h"

#define BACKLOG 4 /* connections that fill one of none */

KITH_MESSAGE(question, { char none; });

static KITH__ATOMIC(uint32_t) leaves_first; /* a shutdown is what cancels */
static const char much[256 * 1024];         /* to be written where nobody reads */

/* What they wait for; nobody ever gives it to them. */
static struct shared {
    kith_chan *meeting; /* capacity 0 */
    kith_chan *full;
    kith_chan *empty;
    kith_future *promise;
    kith_event *event;
    kith_semaphore *semaphore;
    kith_mutex *mutex; /* the test's thread has it */
    kith_queue *nothing;
    kith_queue *undone;
    kith_queue *crammed;
    kith_ref mute;
    kith_ref deaf;   /* a fiber with a full mailbox */
    int unreachable; /* a listener with no room for another connection */
    int filler[BACKLOG];
    uint16_t port; /* of that */
} shared;

/* ---- ways to wait: each returns what it heard ---- */

typedef kith_err wait_fn(kith_self *self, kith_co *co, uint32_t number);

static kith_err in_receive(kith_self *self, kith_co *co, uint32_t number)
{
    (void)self;
    kith_msg *msg;
    kith_err err;
    do /* some have mail */
        err = kith_receive(co, number % 2 == 0 ? KITH_FOREVER : kith_in(KITH_HOUR), &msg);
    while (err == KITH_OK);
    return err;
}

static bool refuse(const kith_msg *msg, void *arg)
{
    (void)msg;
    (void)arg;
    return false;
}

static kith_err in_receive_if(kith_self *self, kith_co *co, uint32_t number)
{
    (void)self;
    kith_msg *msg;
    return number % 2 == 0 ? kith_receive_if(co, KITH_FOREVER, refuse, NULL, &msg)
                           : kith_receive_only(co, question, kith_in(KITH_HOUR), &msg);
}

static kith_err in_ask(kith_self *self, kith_co *co, uint32_t number)
{
    (void)self;
    kith_msg *reply;
    return kith_ask(co, shared.mute, number % 2 == 0 ? KITH_FOREVER : kith_in(KITH_HOUR), &reply,
                    question, 0);
}

static kith_err in_sleep(kith_self *self, kith_co *co, uint32_t number)
{
    (void)self;
    return kith_sleep(co, kith_in(KITH_MINUTE * (1 + number % 100)));
}

static kith_err in_yield(kith_self *self, kith_co *co, uint32_t number)
{
    (void)self;
    (void)number;
    kith_err err;
    while ((err = kith_yield(co)) == KITH_OK)
        if (kith_sleep(co, kith_in(KITH_MS)) !=
            KITH_OK) /* else they keep all others from beginning */
            return kith_yield(co);
    return err;
}

static void child(kith_self *self, kith_co *co, void *arg)
{
    CHECK_EQ(in_sleep(self, co, 1), KITH_ECANCELED);
    kith__add_rlx((KITH__ATOMIC(uint32_t) *)arg, 1); /* its maker waits, so this is there */
}

static kith_err in_scope(kith_self *self, kith_co *co, uint32_t number)
{
    KITH__ATOMIC(uint32_t) gone = 0;
    uint32_t started = 0;
    kith_scope *scope = kith_scope_new(co);
    for (uint32_t i = 0; i <= number % 3; i++)
        started += kith_ref_error(kith_scope_go(self, scope, child, &gone)) == KITH_OK;
    kith_err err = kith_scope_leave_by(co, scope, kith_in(KITH_HOUR));
    CHECK_EQ(kith__load_rlx(&gone), started);
    /* A shutdown begins with those who have no children: then ours have ended by themselves. */
    return kith__load_seq(&leaves_first) != 0 ? in_receive(self, co, number) : err;
}

static kith_err in_shielded_scope(kith_self *self, kith_co *co, uint32_t number)
{
    kith_shield(co, true);
    CHECK_EQ(kith_sleep(co, kith_in(KITH_US * (number % 1000))), KITH_OK);
    kith_shield(co, false);
    return in_scope(self, co, number);
}

static kith_err in_send(kith_self *self, kith_co *co, uint32_t number)
{
    (void)self;
    return kith_chan_send(co, number % 2 == 0 ? shared.meeting : shared.full, &number,
                          number % 3 == 0 ? KITH_FOREVER : kith_in(KITH_HOUR));
}

static kith_err in_recv(kith_self *self, kith_co *co, uint32_t number)
{
    (void)self;
    return kith_chan_recv(co, shared.empty, &number,
                          number % 3 == 0 ? KITH_FOREVER : kith_in(KITH_HOUR));
}

static kith_err in_select(kith_self *self, kith_co *co, uint32_t number)
{
    (void)self;
    kith_msg *msg;
    int won = kith_select(co,
                          KITH_CASES(KITH_SEND(shared.full, &number), KITH_RECV(shared.empty, NULL),
                                     KITH_AFTER(kith_in(KITH_HOUR))),
                          KITH_FOREVER);
    if (won == KITH_ECANCELED)
        won = kith_select(co, KITH_CASES(KITH_MAIL(&msg), KITH_RECV(shared.empty, NULL)),
                          kith_in(KITH_HOUR));
    return (kith_err)won;
}

static kith_err in_await(kith_self *self, kith_co *co, uint32_t number)
{
    (void)self;
    void *result;
    return kith_await_shielded(co, shared.promise,
                               number % 2 == 0 ? KITH_FOREVER : kith_in(KITH_HOUR), &result);
}

static kith_err task(kith_self *self, kith_co *co, void *arg, void **result)
{
    *result = arg;
    return in_sleep(self, co, 1);
}

static kith_err in_await_of_task(kith_self *self, kith_co *co, uint32_t number)
{
    (void)self;
    kith_future *futures[2];
    for (int i = 0; i < 2; i++)
        futures[i] = kith_async(co, task, NULL);
    kith_err err = number % 2 == 0 ? kith_gather(co, futures, 2, KITH_FOREVER)
                                   : kith_await(co, futures[0], KITH_FOREVER, NULL);
    for (int i = 0; i < 2; i++) {
        kith_future_cancel(futures[i]);
        kith_future_drop(futures[i]);
    }
    return err == KITH_ESHUTDOWN ? KITH_ECANCELED : err; /* the runtime ends: none was started */
}

/* These leave the future alone. */
static kith_err in_wait_for_many(kith_self *self, kith_co *co, uint32_t number)
{
    (void)self;
    size_t index;
    kith_future *futures[] = {shared.promise, shared.promise};
    if (number % 3 == 0)
        return kith_wait_first(co, futures, 2, KITH_FOREVER, &index);
    if (number % 3 == 1)
        return kith_wait_all(co, futures, 2, kith_in(KITH_HOUR));
    kith_completed *completed = kith_as_completed(co, futures, 2);
    kith_err err = completed == NULL ? kith_yield(co)
                                     : kith_completed_next(co, completed, KITH_FOREVER, &index);
    CHECK_EQ(kith_completed_free(co, completed), KITH_OK);
    return err;
}

static kith_err in_full_mailbox(kith_self *self, kith_co *co, uint32_t number)
{
    kith_err err = kith_send_by(co, shared.deaf, kith_in(KITH_HOUR), question, 0);
    if (err == KITH_EDEAD && kith__load_seq(&leaves_first) != 0)
        err = in_receive(self, co, number); /* the shutdown took it first */
    return err;
}

static kith_err nap(void *arg)
{
    (void)arg;
    return usleep(50) == 0 ? KITH_OK : KITH_EIO;
}

/* Most of them wait for a thread. */
static kith_err in_blocking(kith_self *self, kith_co *co, uint32_t number)
{
    kith_err err;
    do
        err = number % 2 == 0 ? kith_blocking(co, nap, NULL)
                              : kith_blocking_by(co, kith_in(KITH_HOUR), nap, NULL);
    while (err == KITH_OK);
    return err == KITH_ECANCELED ? err : in_receive(self, co, number); /* too many, or the end */
}

static kith_err in_sync(kith_self *self, kith_co *co, uint32_t number)
{
    (void)self;
    void *item;
    switch (number % 6) {
    case 0:
        return kith_event_wait(co, shared.event, KITH_FOREVER);
    case 1:
        return kith_semaphore_acquire(co, shared.semaphore, KITH_FOREVER);
    case 2:
        return kith_mutex_lock(co, shared.mutex, kith_in(KITH_HOUR));
    case 3:
        return kith_queue_get(co, shared.nothing, &item, kith_in(KITH_HOUR));
    case 4:
        return kith_queue_put(co, shared.crammed, self, KITH_FOREVER);
    default:
        return kith_queue_join(co, shared.undone, KITH_FOREVER);
    }
}

static kith_err in_barrier(kith_self *self, kith_co *co, uint32_t number)
{
    kith_barrier *barrier = kith_barrier_new(self, 2 + number % 3);
    kith_err err = kith_barrier_wait(co, barrier, KITH_FOREVER, NULL);
    kith_barrier_free(barrier);
    return err;
}

/* A runtime that shuts down refuses it, also to a fiber that does not know yet. */
static kith_err listen_here(kith_self *self, kith_sock *listener, uint16_t *port)
{
    *listener = kith_listen(self, "127.0.0.1", 0, NULL);
    kith_err err = kith_sock_error(*listener);
    CHECK(err == KITH_OK || (err == KITH_ESHUTDOWN && kith__load_seq(&leaves_first) != 0));
    return err == KITH_OK ? kith_sock_local(self, *listener, NULL, port) : err;
}

/* Some of its sockets are left to its end to close. */
static kith_err in_accept(kith_self *self, kith_co *co, uint32_t number)
{
    uint16_t port;
    kith_sock conn;
    kith_sock listener;
    kith_err err = listen_here(self, &listener, &port);
    if (err != KITH_OK)
        return err;
    err = kith_accept(co, listener, KITH_FOREVER, &conn);
    if (number % 2 == 0)
        kith_close(self, listener);
    return err;
}

static kith_err in_read(kith_self *self, kith_co *co, uint32_t number)
{
    uint16_t port;
    kith_sock to;
    kith_sock from;
    char byte;
    size_t n;
    kith_sock listener;
    kith_err err = listen_here(self, &listener, &port);
    if (err == KITH_OK)
        err = kith_dial(co, "127.0.0.1", port, KITH_FOREVER, NULL, &to);
    if (err == KITH_OK)
        err = kith_accept(co, listener, KITH_FOREVER, &from);
    if (err == KITH_OK)
        err =
            kith_read(co, from, &byte, 1, &n, number % 2 == 0 ? KITH_FOREVER : kith_in(KITH_HOUR));
    return err;
}

/* Nobody reads: when all buffers are full, it waits. */
static kith_err in_write(kith_self *self, kith_co *co, uint32_t number)
{
    uint16_t port;
    kith_sock to;
    kith_sock listener;
    kith_err err = listen_here(self, &listener, &port);
    if (err == KITH_OK)
        err = kith_dial(co, "127.0.0.1", port, KITH_FOREVER, NULL, &to);
    while (err == KITH_OK)
        err = kith_write(co, to, much, sizeof much,
                         number % 2 == 0 ? KITH_FOREVER : kith_in(KITH_HOUR));
    kith_close(self, listener); /* the other socket is left to the fiber's end */
    return err;
}

static kith_err in_dial(kith_self *self, kith_co *co, uint32_t number)
{
    (void)self;
    kith_sock to;
    return kith_dial(co, "127.0.0.1", shared.port,
                     number % 2 == 0 ? KITH_FOREVER : kith_in(KITH_HOUR), NULL, &to);
}

static kith_err in_select_of_sockets(kith_self *self, kith_co *co, uint32_t number)
{
    uint16_t port;
    kith_sock listener;
    kith_err err = listen_here(self, &listener, &port);
    if (err != KITH_OK)
        return err;
    return (kith_err)kith_select(
        co, KITH_CASES(KITH_READABLE(listener), KITH_RECV(shared.empty, &number)), KITH_FOREVER);
}

static wait_fn *const waits[] = {
    in_receive,      in_receive_if,        in_ask,           in_sleep, in_yield,
    in_scope,        in_shielded_scope,    in_send,          in_recv,  in_select,
    in_await,        in_await_of_task,     in_wait_for_many, in_sync,  in_barrier,
    in_full_mailbox, in_blocking,          in_accept,        in_read,  in_write,
    in_dial,         in_select_of_sockets,
};
/* These may not be many. */
static wait_fn *const with_sockets[] = {
    in_accept, in_read, in_write, in_dial, in_select_of_sockets,
};
#define WAITS (uint32_t)(sizeof waits / sizeof waits[0])

#endif
