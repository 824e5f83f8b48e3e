/* SPDX-License-Identifier: BSD-2-Clause
 *
 * TCP. A socket belongs to one actor, fiber or attached thread, which is the only one that may use
 * it; kith_sock_give hands it to another, and a fiber can be made with one
 * (kith_fiber_options.sock). It ends with kith_close or with its owner. Its owner decides how it is
 * used: an actor is told of everything by messages; a fiber or a thread calls what waits.
 *
 * With messages. The owner gets everything that happens on the socket, and the socket ends by
 * itself when its connection breaks or is over; the handle is then stale.
 *
 *   listener:    kith_accepted ...
 *   connection:  (kith_connected) kith_data ... kith_eof, and kith_closed when it is over or broke
 *
 * A connection is over when both ends have finished: kith_eof has come, kith_sock_finish has been
 * called, and all that waited has been sent. The owner then gets a kith_closed with reason KITH_OK.
 * So who wants to lose nothing calls kith_sock_finish and waits for kith_closed.
 *
 * Reading needs no call: each piece of input comes as a kith_data. A slow actor is not flooded: the
 * socket is read again only when the piece before has been handled, so the peer is held back by
 * TCP; and nothing is read of a connection before its kith_accepted or kith_given has been handled
 * (kith_sock_reading, off, there comes in time). Writing never waits: kith_sock_write takes the
 * bytes whole or answers KITH_EFULL, when as much as the bound or more waits for a slow reader; a
 * kith_drained message says when to go on.
 *
 * With calls that wait: kith_listen and kith_accept, kith_dial, kith_read, kith_write. Nothing is
 * read and no message comes by itself. A connection that breaks answers with the reason from then
 * on, and is closed by its owner only.
 *
 *     static void echo(kith_self *self, kith_co *co, void *arg)
 *     {
 *         kith_sock s = *(kith_sock *)arg;
 *         char buf[16384];
 *         size_t n;
 *         while (kith_read(co, s, buf, sizeof buf, &n, KITH_FOREVER) == KITH_OK && n > 0)
 *             if (kith_write(co, s, buf, n, kith_in(10 * KITH_SECOND)) != KITH_OK)
 *                 break;
 *         kith_close(self, s);
 *     }
 *     ...
 *     while (kith_accept(co, listener, KITH_FOREVER, &s) == KITH_OK)
 *         kith_go_with(self, echo, &s, &(kith_fiber_options){.arg_bytes = sizeof s, .sock = s});
 *
 * Idle workers serve the sockets of actors whose worker stands still in a handler that computes for
 * long. A fiber cannot be helped so: it runs on its own worker, and waits with its sockets until
 * that is free.
 */
#ifndef KITH_NET_H
#define KITH_NET_H

#include <kith/actor.h>
#include <kith/co.h>
#include <kith/err.h>
#include <kith/msg.h>
#include <kith/ref.h>
#include <kith/time.h>
#include <stddef.h>
#include <stdint.h>

KITH_BEGIN_DECLS

/* A connection came in; conn belongs to the receiver. Whoever ignores it leaves it open and unread
 * until the receiver dies. */
KITH_SYSTEM_MESSAGE(kith_accepted, {
    kith_sock listener;
    kith_sock conn;
});

/* kith_connect's outcome: status KITH_OK, or why there is no connection (sock is then stale). */
KITH_SYSTEM_MESSAGE(kith_connected, {
    kith_sock sock;
    kith_err status;
});

/* n bytes of input, n > 0. The memory that bytes points to is the message's, and ends with it. */
KITH_SYSTEM_MESSAGE(kith_data, {
    kith_sock sock;
    size_t n;
    unsigned char *bytes;
});

/* The peer has finished sending; writing still works until kith_sock_finish, kith_close or
 * kith_closed. */
KITH_SYSTEM_MESSAGE(kith_eof, { kith_sock sock; });

/* After a kith_sock_write that answered KITH_EFULL: at most half of the bound waits now. */
KITH_SYSTEM_MESSAGE(kith_drained, { kith_sock sock; });

/* sock is stale; the last message about it. Reason KITH_OK: both ends have finished and all was
 * sent. Any other: the connection broke, or a deadline passed (KITH_ETIMEOUT), and what waited to
 * be written is lost. Not sent after the owner's own kith_close. */
KITH_SYSTEM_MESSAGE(kith_closed, {
    kith_sock sock;
    kith_err reason;
});

/* A socket was handed over by kith_sock_give: it belongs to the receiver now. If nobody takes this
 * message, the socket is closed. */
KITH_SYSTEM_MESSAGE(kith_given, {
    kith_sock sock;
    kith_ref from;
});

typedef struct kith_sock_options {
    size_t write_bytes_max; /* bound of what may wait to be written; default 256 KiB */
    size_t read_bytes_max;  /* most bytes in one kith_data; default 16 KiB */
    unsigned backlog;       /* of a listener; default: the system's */
    bool reuse_port;        /* of a listener: SO_REUSEPORT */
    bool ipv6_only;         /* of a listener on "::": no IPv4 */
    bool delay;             /* leaves Nagle's algorithm on; default: TCP_NODELAY is set */
} kith_sock_options;

/* Listens on a numeric IPv4 or IPv6 address ("127.0.0.1", "::1"; NULL: every address) and a port
 * (0: a free one, kith_sock_local tells which). Accepted connections inherit options (NULL: the
 * defaults). An actor gets a kith_accepted for each; out of descriptors, the listener pauses, logs
 * once, and goes on when one is free. A fiber or a thread calls kith_accept.
 * Owns: the socket is self's. Thread: self's. Blocks: no.
 * Errors (kith_sock_error): KITH_EPERM, KITH_EINVAL, KITH_ENOMEM, KITH_EMFILE, KITH_EADDRINUSE,
 * KITH_EADDRNOTAVAIL, KITH_EACCES, KITH_EAFNOSUPPORT, KITH_ESHUTDOWN, KITH_EIO. */
KITH_API kith_sock kith_listen(kith_self *self, const char *address, uint16_t port,
                               const kith_sock_options *options);

/* Begins to connect to a numeric address and port; a kith_connected follows, in any case, if the
 * handle has no error: KITH_ETIMEOUT if the deadline passes first. (kith_dial waits instead.)
 * Owns: the socket is self's. Thread: an actor's. Blocks: no. Errors: as kith_listen; KITH_EPERM in
 * a fiber or thread. */
KITH_API kith_sock kith_connect(kith_self *self, const char *address, uint16_t port,
                                kith_time deadline, const kith_sock_options *options);

/* Writes n bytes: now, or as soon as the peer takes them, in order. All of them must have left by
 * deadline, else the connection is closed (kith_closed, KITH_ETIMEOUT). KITH_EFULL if
 * write_bytes_max or more already wait: nothing is taken, and a kith_drained will come. So a single
 * write may exceed the bound, a backlog may not grow. To write 0 bytes is KITH_OK and does nothing.
 * Owns: copies bytes. Thread: the owner's, an actor. Blocks: no.
 * Errors: KITH_EFULL, KITH_ENOTCONN (not connected yet, or after kith_sock_finish), KITH_EBADREF,
 * KITH_EPERM (not the owner, or no actor), KITH_EINVAL, KITH_ENOMEM; breaking connections say
 * kith_closed. */
KITH_API KITH_MUST_CHECK kith_err kith_sock_write(kith_self *self, kith_sock sock,
                                                  const void *bytes, size_t n, kith_time deadline);

/* Input must come by deadline, else the connection is closed (kith_closed, KITH_ETIMEOUT). Any
 * input ends the deadline, and so does kith_eof; KITH_FOREVER takes it back.
 * Thread: the owner's, an actor. Blocks: no. Errors: KITH_EBADREF (a listener too), KITH_EPERM,
 * KITH_ENOMEM. */
KITH_API kith_err kith_sock_read_by(kith_self *self, kith_sock sock, kith_time deadline);

/* Stops reading (on = false) or goes on (on = true); reading is on at first. What stops is what the
 * runtime reads: the peer is then held back by TCP, and its kith_eof waits, too. A listener stops
 * accepting: connections wait in its backlog.
 * Thread: the owner's, an actor. Blocks: no. Errors: KITH_EBADREF, KITH_EPERM. */
KITH_API kith_err kith_sock_reading(kith_self *self, kith_sock sock, bool on);

/* Half-close: nothing more will be written; what waits is still sent, by its deadlines, then the
 * peer sees the end. When the peer has finished as well, before or after, the connection is over:
 * an actor gets a kith_closed, KITH_OK; a fiber or thread closes it. A peer may never finish: a
 * deadline sets an end to that.
 * Thread: the owner's. Blocks: no. Errors: KITH_EBADREF, KITH_EPERM, KITH_ENOTCONN. */
KITH_API kith_err kith_sock_finish(kith_self *self, kith_sock sock);

/* Closes a socket at once; what waits to be written is lost. (kith_sock_finish loses nothing.)
 * Thread: the owner's. Blocks: no. Errors: KITH_EBADREF, KITH_EPERM. */
KITH_API kith_err kith_close(kith_self *self, kith_sock sock);

/* Hands sock to another actor, fiber or thread, which gets a kith_given. An actor then gets all
 * that comes after it; a fiber or thread owns the socket even before it receives that message, and
 * uses it by the calls below. What self was sent before stays self's. Deadlines set on it stay, but
 * for that of kith_sock_read_by where the receiver has calls that take one.
 * Thread: the owner's. Blocks: no. Errors: KITH_EBADREF (sock or to), KITH_EDEAD, KITH_EPERM,
 * KITH_ENOMEM; the socket then stays self's. */
KITH_API kith_err kith_sock_give(kith_self *self, kith_sock sock, kith_ref to);

/* How many bytes wait to be written.
 * Thread: the owner's. Blocks: no. Errors: 0. */
KITH_API size_t kith_sock_waiting(kith_self *self, kith_sock sock);

#define KITH_ADDRESS_BYTES 64 /* enough for any address text, its NUL included */

/* The numeric address and port of this end and of the other end.
 * Owns: writes to the caller's text (KITH_ADDRESS_BYTES) and port; either may be NULL.
 * Thread: the owner's. Blocks: no. Errors: KITH_EBADREF, KITH_EPERM, KITH_ENOTCONN. */
KITH_API kith_err kith_sock_local(kith_self *self, kith_sock sock, char *text, uint16_t *port);
/* As kith_sock_local. Owns, Blocks, Errors and Thread: the same. */
KITH_API kith_err kith_sock_peer(kith_self *self, kith_sock sock, char *text, uint16_t *port);

/* ---- calls that wait: for fibers and attached threads ---- */

/* Reads what has come, at most room bytes, at least one; *n = 0 with KITH_OK: the peer has
 * finished. After KITH_ETIMEOUT or KITH_ECANCELED nothing was read, and the socket is as it was.
 * Owns: writes to bytes and *n. Thread: the co's, which owns the socket. Blocks: until deadline.
 * Errors: KITH_ETIMEOUT, KITH_ECANCELED, KITH_ESHUTDOWN, KITH_EDEADLK; KITH_ECONNRESET and others
 * of the network, again and again; KITH_ENOTCONN (a listener), KITH_EBADREF, KITH_EPERM,
 * KITH_EINVAL (room 0), KITH_ENOMEM. */
KITH_API KITH_MUST_CHECK kith_err kith_read(kith_co *co, kith_sock sock, void *bytes, size_t room,
                                            size_t *n, kith_time deadline);

/* Writes n bytes: returns when the system has taken all of them. After an error it may have taken a
 * part, and nobody knows which: the connection can still be read, but what else could be written to
 * it would make no sense to the peer.
 * Owns: reads bytes. Thread: the co's, which owns the socket. Blocks: until deadline.
 * Errors: KITH_ETIMEOUT, KITH_ECANCELED, KITH_ESHUTDOWN, KITH_EDEADLK; KITH_EPIPE, KITH_ECONNRESET
 * and others of the network, again and again; KITH_ENOTCONN (a listener, or after
 * kith_sock_finish), KITH_EBADREF, KITH_EPERM, KITH_EINVAL, KITH_ENOMEM. */
KITH_API KITH_MUST_CHECK kith_err kith_write(kith_co *co, kith_sock sock, const void *bytes,
                                             size_t n, kith_time deadline);

/* Waits for the next connection of a listener. Any error leaves the listener as it was, and what
 * waits in its backlog: after KITH_EMFILE or KITH_ENOMEM try again later.
 * Owns: *conn is the co's (all zero on an error). Thread: the co's, which owns the listener.
 * Blocks: until deadline.
 * Errors: KITH_ETIMEOUT, KITH_ECANCELED, KITH_ESHUTDOWN, KITH_EDEADLK, KITH_EMFILE, KITH_ENOMEM,
 * KITH_EBADREF (no listener, too), KITH_EPERM, KITH_EINVAL, and others of the network. */
KITH_API KITH_MUST_CHECK kith_err kith_accept(kith_co *co, kith_sock listener, kith_time deadline,
                                              kith_sock *conn);

/* Connects to a numeric address and port, and waits until it has.
 * Owns: *sock is the co's (all zero on an error). Thread: co's. Blocks: until deadline.
 * Errors: KITH_ETIMEOUT, KITH_ECANCELED, KITH_ESHUTDOWN, KITH_EDEADLK, KITH_ECONNREFUSED and others
 * of the network, KITH_EINVAL, KITH_EMFILE, KITH_ENOMEM, KITH_EPERM. */
KITH_API KITH_MUST_CHECK kith_err kith_dial(kith_co *co, const char *address, uint16_t port,
                                            kith_time deadline, const kith_sock_options *options,
                                            kith_sock *sock);

KITH_END_DECLS

#endif
