/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Each worker's epoll loop: what the pool's driver polls and wakes. Used by io/ for registering
 * descriptors and by the actor layer, which hands kith__pool_driver to the scheduler.
 *
 * All that io does is written for epoll, edge-triggered: a descriptor is registered once, and an
 * edge comes when a system call that has answered EAGAIN would succeed. The loop executor's poll
 * and select (io/loop_poll.c) report a readiness once and then not again until they are told that
 * it was used up: so whoever uses a registered descriptor must call
 *
 *     kith__loop_rearm(rt, fd, EPOLLIN)   after a read or an accept that answered EAGAIN, and after
 *                                         a shorter read than was asked for, if the rest is awaited
 *     kith__loop_rearm(rt, fd, EPOLLOUT)  after a write that answered EAGAIN or took only a part,
 *                                         and when a connect turns out to be still in progress
 *     kith__loop_remove(rt, fd)           before it is closed
 *
 * before it waits. With epoll these are nothing. To call them once too often costs an event that
 * turns out to be none.
 */
#ifndef KITH__IO_LOOP_H
#define KITH__IO_LOOP_H

#include "sched/runtime.h"

extern const struct kith__driver kith__pool_driver;

/* Registers fd, once and for all its life, with the loop of `of`: edge-triggered, for input, output
 * and hang-up. Its events go to kith__sock_event with bits. Thread: any. Returns 0 or -errno. */
int kith__loop_add(struct kith__worker *of, int fd, uint64_t bits);

/* The descriptor of the first worker's epoll; -1 if it has another poller. */
int kith__loop_descriptor(struct kith_runtime *rt);

void kith__loop_rearm_polled(struct kith_runtime *rt, int fd, uint32_t events);
void kith__loop_remove_polled(struct kith_runtime *rt, int fd);

/* See above. events: EPOLLIN, EPOLLOUT or both. Thread: any. A descriptor that is not registered:
 * nothing. */
static inline void kith__loop_rearm(struct kith_runtime *rt, int fd, uint32_t events)
{
    if (KITH__UNLIKELY(rt->config.poller != KITH_EPOLL))
        kith__loop_rearm_polled(rt, fd, events);
}

static inline void kith__loop_remove(struct kith_runtime *rt, int fd)
{
    if (KITH__UNLIKELY(rt->config.poller != KITH_EPOLL))
        kith__loop_remove_polled(rt, fd);
}

/* ---- loop_poll.c: the other pollers, behind loop.c ---- */

struct epoll_event;
struct kith__polled;

/* wake is an eventfd, whose events come with wake_bits; it is read when it was written. */
kith_err kith__polled_open(struct kith_runtime *rt, int wake, uint64_t wake_bits,
                           struct kith__polled **out);
void kith__polled_close(struct kith__polled *polled);
int kith__polled_add(struct kith__polled *polled, int fd, uint64_t bits);
void kith__polled_rearm(struct kith__polled *polled, int fd, uint32_t events);
void kith__polled_remove(struct kith__polled *polled, int fd);
/* As epoll_wait, with a deadline. Thread: home. */
int kith__polled_wait(struct kith__polled *polled, struct epoll_event *events, int max,
                      kith_time deadline);

#endif
