/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Errors are values. Every call that can fail returns a kith_err: 0 is success, -errno where an
 * errno fits, and a code of kith's own below -4096 where none does. A call that loses data when
 * its result is ignored is marked KITH_MUST_CHECK; a plain send is not.
 */
#ifndef KITH_ERR_H
#define KITH_ERR_H

#include <errno.h>
#include <kith/macros.h>

KITH_BEGIN_DECLS

#define KITH_ERRORS(X)                                                                             \
    X(KITH_OK, 0, "success")                                                                       \
    X(KITH_EINVAL, -EINVAL, "an argument is null, zero or out of range")                           \
    X(KITH_ENOMEM, -ENOMEM, "out of memory")                                                       \
    X(KITH_EPERM, -EPERM, "called from a thread or an actor that may not do this")                 \
    X(KITH_EBADREF, -EBADF, "no such handle, or a handle of another kind")                         \
    X(KITH_ETIMEOUT, -ETIMEDOUT, "the deadline passed")                                            \
    X(KITH_ECANCELED, -ECANCELED, "canceled")                                                      \
    X(KITH_ESHUTDOWN, -ESHUTDOWN, "the runtime is shutting down")                                  \
    X(KITH_EBUSY, -EBUSY, "in use")                                                                \
    X(KITH_EAGAIN, -EAGAIN, "too many at once, try again later")                                   \
    X(KITH_EDEADLK, -EDEADLK, "everybody waits, and nobody can wake anybody")                      \
    X(KITH_EMFILE, -EMFILE, "out of file descriptors")                                             \
    X(KITH_ENOTSUP, -ENOTSUP, "not with this configuration")                                       \
    X(KITH_EMSGSIZE, -EMSGSIZE, "the message is larger than the limit")                            \
    X(KITH_ENOTCONN, -ENOTCONN, "the socket is not connected, or its sending side is closed")      \
    X(KITH_ECONNREFUSED, -ECONNREFUSED, "connection refused")                                      \
    X(KITH_ECONNRESET, -ECONNRESET, "connection reset by the peer")                                \
    X(KITH_EPIPE, -EPIPE, "the peer no longer reads")                                              \
    X(KITH_EADDRINUSE, -EADDRINUSE, "address already in use")                                      \
    X(KITH_EADDRNOTAVAIL, -EADDRNOTAVAIL, "address not available on this machine")                 \
    X(KITH_EACCES, -EACCES, "permission denied by the system")                                     \
    X(KITH_ENETUNREACH, -ENETUNREACH, "network unreachable")                                       \
    X(KITH_EHOSTUNREACH, -EHOSTUNREACH, "host unreachable")                                        \
    X(KITH_EAFNOSUPPORT, -EAFNOSUPPORT, "address family not supported on this machine")            \
    X(KITH_EIO, -EIO, "the system reported an error that kith has no name for")                    \
    X(KITH_EDEAD, -5001, "the actor is dead")                                                      \
    X(KITH_EFULL, -5002, "no room: the buffer is at its bound")                                    \
    X(KITH_ETYPE, -5003, "the message is of another type")                                         \
    X(KITH_EUNHANDLED, -5004, "no handler takes this message")                                     \
    X(KITH_EFAILED, -5005, "the actor failed")                                                     \
    X(KITH_ECLOSED, -5006, "the channel is closed")                                                \
    X(KITH_EBROKEN, -5007, "the barrier is broken: one of its parties has given up")

typedef enum kith_err {
#define KITH_ERR_ENUM_(name, value, text) name = (value),
    KITH_ERRORS(KITH_ERR_ENUM_)
#undef KITH_ERR_ENUM_
} kith_err;

/* A sentence that describes err; for an unknown value, a sentence that says so.
 * Owns: the text is constant. Thread: any. Blocks: no. Errors: none. */
KITH_API const char *kith_strerror(kith_err err);

/* The name of err ("KITH_EINVAL"); for an unknown value "KITH_E?".
 * Owns: the text is constant. Thread: any. Blocks: no. Errors: none. */
KITH_API const char *kith_errname(kith_err err);

KITH_END_DECLS

#endif
