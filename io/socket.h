/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The record of a socket, and what the files of io do with it. How events find their way to the
 * owner, and every race on that way, stands at the head of socket.c.
 *
 * The owner is an actor, which is told of everything by messages, or a co (sched/co.h), which waits in
 * the calls of wait.c: its socket's events only say that it may be worth to try again.
 *
 *                 poke    owner's turn   end of the owner
 *   poke          yes     yes            yes
 *   owner's turn          one at a time: it is the owner's
 */
#ifndef KITH__IO_SOCKET_H
#define KITH__IO_SOCKET_H

#include "sched/co.h"
#include "sched/runtime.h"
#include <kith/net.h>
#include <sys/epoll.h>

/* In a socket's event word, beside epoll's own bits, which are all below 2^14 (EPOLLET and its kin,
 * above, are never reported). */
#define KITH__SOCK_AGAIN (UINT32_C(1) << 29)  /* the owner has more to do with it */
#define KITH__SOCK_POLLED (UINT32_C(1) << 30) /* so that an event is never 0 */
#define KITH__SOCK_CLOSED (UINT32_C(1) << 31) /* whoever holds the event message frees the slot */

/* In the owner word: the kith_given is on its way (actors are kind 1, so this bit is free). */
#define KITH__SOCK_PENDING (UINT64_C(1) << 63)

enum kith__sock_state { KITH__SOCK_LISTENS, KITH__SOCK_CONNECTS, KITH__SOCK_OPEN };

enum {
    KITH__SOCK_READS = 1,          /* kith_sock_reading: on */
    KITH__SOCK_READY = 2,          /* there may be input: an edge came, and it was not drained */
    KITH__SOCK_HUNG = 4,           /* no further edge may come: read until the end shows */
    KITH__SOCK_ENDED = 8,          /* kith_eof was sent */
    KITH__SOCK_FINISHED = 16,      /* kith_sock_finish was called */
    KITH__SOCK_DRAIN_DUE = 32,     /* a kith_drained was promised */
    KITH__SOCK_STARVED = 64,       /* out of memory, and it was logged */
    KITH__SOCK_PAUSE_LOGGED = 128, /* a listener out of descriptors, and it was logged */
    KITH__SOCK_WATCHED = 256       /* it is registered with a loop */
};

/* Bytes that wait to be written. Their deadlines do not decrease along the list (R6 in stream.c). */
struct kith__outgoing_bytes {
    struct kith__outgoing_bytes *next;
    kith_time by_first; /* the earliest deadline of the writes in it */
    kith_time by;       /* the latest, a little after by_first at most */
    size_t start;
    size_t end;
    size_t room;
    unsigned char bytes[];
};

struct kith__sock {
    struct kith__slot slot;
    KITH__ATOMIC(uint32_t) events; /* 0: the event message is at rest */
    int fd;
    KITH__ATOMIC(uint64_t) owner; /* bits of a task, perhaps with KITH__SOCK_PENDING */
    struct kith_msg event;

    /* The owner's alone, in its turn. */
    struct kith__owned owned;
    uint16_t flags;
    uint8_t state;
    bool delay;         /* option */
    uint8_t wanted;     /* of a co's: what it waits for, KITH__READY_... */
    int32_t broken;     /* a kith_err: it ends with that as soon as its input is drained */
    uint32_t read_next; /* memory for the next piece of input; grows with what comes */
    size_t read_bytes_max;
    size_t write_bytes_max;
    size_t waiting; /* bytes in the list */
    struct kith__outgoing_bytes *first;
    struct kith__outgoing_bytes *last;
    kith_time read_by;
    kith_time connect_by;
    kith_time retry_at;
    kith_time timer_at;         /* its one timer goes off then, no later than any deadline */
    uint64_t timer;             /* its handle; 0: none */
    struct kith_msg *connected; /* made beforehand: the outcome of a connect is never lost */
    struct kith_msg *closed;    /* made beforehand: nor is its end */

    struct kith__sock *paused_next; /* under kith__io.lock, with paused */
    bool paused;
};

/* ---- socket.c ---- */

/* Something happened on a socket, as epoll reports it: on a worker's thread, its own loop's or that
 * of a stalled worker that it helps. The owner will run on `on`. A stale handle is ignored. */
void kith__sock_event(struct kith__worker *on, uint64_t sock_bits, uint32_t epoll_events);

/* The same with any bits, from any thread of the runtime. */
void kith__sock_poke(struct kith__ctx *ctx, uint64_t sock_bits, uint32_t events);

/* From here on: the owner's turn (ctx->running is the owner). */

/* A record that nobody can find, with options (already checked; NULL: the defaults); NULL if memory
 * or slots are out. */
struct kith__sock *kith__sock_new(struct kith__ctx *ctx, enum kith__sock_state state,
                                  const kith_sock_options *options);
/* Ends a record that was never opened. */
void kith__sock_discard(struct kith__ctx *ctx, struct kith__sock *sock);
/* The record gets its descriptor, its owner and its handle: it is a socket now. */
void kith__sock_open(struct kith__ctx *ctx, struct kith__sock *sock, int fd);
/* Its events come from now on, if they did not yet. On an error it is as it was. */
kith_err kith__sock_watch(struct kith__ctx *ctx, struct kith__sock *sock);
/* The same. On an error the socket is gone. */
kith_err kith__sock_register(struct kith__ctx *ctx, struct kith__sock *sock);
/* Ends a socket; sends nothing. */
void kith__sock_close(struct kith__ctx *ctx, struct kith__sock *sock);
/* The same for one that no list of owned things holds any more; owner may be NULL: it has none. */
void kith__sock_end(struct kith__ctx *ctx, struct kith_self *owner, struct kith__sock *sock);
/* Ends a socket and tells the owner why (KITH_OK: it is over, and nothing was lost): kith_closed, or
 * kith_connected if it was not yet. In run only. Returns false: it is not alive. */
bool kith__sock_fail(struct kith__ctx *ctx, struct kith__sock *sock, kith_err reason);

/* The socket that a handle names, if self owns it; else NULL and the reason. */
struct kith__sock *kith__sock_mine(struct kith__ctx *ctx, kith_self *self, kith_sock handle,
                                   kith_err *err);
/* The same for what only actors do: KITH_EPERM if self may wait. */
struct kith__sock *kith__sock_actors(struct kith__ctx *ctx, kith_self *self, kith_sock handle,
                                     kith_err *err);
/* Whether options can be meant. */
bool kith__sock_options_ok(const kith_sock_options *options);
/* Whether sockets may be made now; ctx may be NULL. */
kith_err kith__sock_may_begin(const struct kith__ctx *ctx);

/* The owner's event is handled once more, behind what waits already; in run only. */
void kith__sock_again(struct kith__ctx *ctx, struct kith__sock *sock, uint32_t events);
/* Makes a message for the owner, or NULL; and puts it behind what waits already (a kith_given: in
 * front of it), in run only. */
struct kith_msg *kith__sock_msg(struct kith__ctx *ctx, const kith_type *type, size_t body_bytes);
void kith__sock_push(struct kith__ctx *ctx, struct kith_msg *msg);

/* Its owner changes: ends the timer of the one before. */
void kith__sock_timer_end(struct kith__ctx *ctx, struct kith_self *owner, struct kith__sock *sock);
/* Its timer goes off no later than `at`. False: out of memory. */
bool kith__sock_timer(struct kith__ctx *ctx, struct kith__sock *sock, kith_time at);
/* Tries again after a while; logs once that it had to. */
void kith__sock_starved(struct kith__ctx *ctx, struct kith__sock *sock);
/* Tries again after delay_ns. */
void kith__sock_retry(struct kith__ctx *ctx, struct kith__sock *sock, kith_time delay_ns);

static inline kith_sock kith__sock_handle(const struct kith__sock *sock)
{
    return (kith_sock){kith__load_rlx(&sock->slot.bits)}; /* relaxed: constant while it lives */
}

/* ---- stream.c, listen.c, connect.c: what a state does with events; false: the socket is gone ---- */

bool kith__stream_ready(struct kith__ctx *ctx, struct kith__sock *sock, uint32_t events);
/* A deadline of reading or writing may have passed. */
bool kith__stream_expire(struct kith__ctx *ctx, struct kith__sock *sock, kith_time now);
void kith__stream_drop(struct kith__ctx *ctx, struct kith__sock *sock);
/* Of a co's, what an actor before has left to be written: sends it; and breaks if it is late. */
void kith__stream_rest(struct kith__ctx *ctx, struct kith__sock *sock, uint32_t events);
void kith__stream_rest_expire(struct kith__ctx *ctx, struct kith__sock *sock, kith_time now);
bool kith__listen_ready(struct kith__ctx *ctx, struct kith__sock *sock);
bool kith__connect_ready(struct kith__ctx *ctx, struct kith__sock *sock, uint32_t events);
/* 0: connected; EINPROGRESS: not yet; else why not. */
int kith__connect_outcome(int fd);
/* Errors of one connection that is gone already, and of the network: see accept(2). */
bool kith__accept_passing(int error);

/* ---- wait.c: the same for a socket of a co's ---- */

#define KITH__SOCK_INPUT ((uint32_t)EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)
#define KITH__SOCK_OUTPUT ((uint32_t)EPOLLOUT | EPOLLHUP | EPOLLERR)

/* Marks what it may be ready for, and wakes the owner if it waits for that. events 0: a timer. */
void kith__wait_event(struct kith__ctx *ctx, struct kith__sock *sock, uint32_t events);
/* Its timer has gone off. */
void kith__wait_expire(struct kith__ctx *ctx, struct kith__sock *sock, kith_time now);
extern const struct kith__readiness kith__sock_readiness;

/* give.c: struct kith__readiness, move. */
void kith__sock_move(struct kith__ctx *ctx, uint64_t sock_bits, struct kith_self *to);

/* Sets what connections have: no delay, unless it is wanted. */
void kith__sock_tune(int fd, bool delay);

#endif
