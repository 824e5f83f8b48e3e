/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What io keeps for a whole runtime: whose turn it is to get a descriptor, and the listeners that
 * wait for one to become free. Opened and closed by the actor layer.
 *
 *   any thread      kith__io_worker, kith__io_freed
 *   a socket's owner kith__io_pause, kith__io_unpause
 *   *               open before the first and close after the last of these: the caller's duty
 */
#ifndef KITH__IO_IO_H
#define KITH__IO_IO_H

#include "sched/runtime.h"

struct kith__sock;

struct kith__io {
    KITH__ATOMIC(uint32_t) turn;         /* registrations so far */
    KITH__ATOMIC(uint32_t) paused_count; /* listeners in the list: a hint */
    pthread_mutex_t lock;
    struct kith__sock *paused; /* under lock */
};

kith_err kith__io_open(struct kith_runtime *rt);
/* When no socket lives any more. Also after an open that failed, or none. */
void kith__io_close(struct kith_runtime *rt);

/* The task whose turn it is has no handler for msg. A kith_given: closes the socket; a
 * kith_accepted: leaves the connection unread; any other: nothing. msg stays the caller's. */
void kith__sock_untaken(struct kith__ctx *ctx, const struct kith_msg *msg);

/* The worker whose loop gets a descriptor of ctx->running's: the one it is placed on; else in turn,
 * so that load spreads. */
struct kith__worker *kith__io_worker(struct kith__ctx *ctx);

/* A listener that is out of descriptors or memory joins the list; a listener leaves it (if it is
 * in it). */
void kith__io_pause(struct kith__ctx *ctx, struct kith__sock *listener);
void kith__io_unpause(struct kith__ctx *ctx, struct kith__sock *listener);

/* Something that a paused listener may need is free again: they all try again. */
void kith__io_freed(struct kith__ctx *ctx);

/* The kith_err for an errno; KITH_EIO for those that have no name. */
kith_err kith__errno_err(int error);

#endif
