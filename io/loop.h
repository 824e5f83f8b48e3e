/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Each worker's epoll loop: what the pool's driver polls and wakes. Used by io/ for registering
 * descriptors and by the actor layer, which hands kith__pool_driver to the scheduler.
 */
#ifndef KITH__IO_LOOP_H
#define KITH__IO_LOOP_H

#include "sched/runtime.h"

extern const struct kith__driver kith__pool_driver;

/* Registers fd, once and for all its life, with the loop of `of`: edge-triggered, for input, output
 * and hang-up. Its events go to kith__sock_event with bits. Thread: any. Returns 0 or -errno. */
int kith__loop_add(struct kith__worker *of, int fd, uint64_t bits);

#endif
