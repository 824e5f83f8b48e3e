/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A channel hands values of one size from those who send to those who receive, in order, each to
 * one receiver. Fibers and attached threads wait at it; handlers, which never wait, try. A channel
 * of capacity 0 is a rendezvous: a send ends when a receiver has taken the value. One of capacity n
 * keeps up to n values.
 *
 *     kith_chan *data = kith_chan_new(self, sizeof(int), 16);
 *     int v = 7;
 *     kith_chan_send(co, data, &v, KITH_FOREVER);
 *     kith_chan_recv(co, data, &v, kith_in(KITH_SECOND));
 *
 * Values are copied in and out. A send or receive that ends in an error has transferred nothing,
 * whatever a deadline or a cancellation did in the last moment: a value is either received or still
 * the sender's.
 *
 * Close tells receivers that no more will come: they receive what is kept, then KITH_ECLOSED.
 * Senders that wait, or send afterwards, hear KITH_ECLOSED and keep their value.
 *
 * A channel is counted: kith_chan_keep for each further place that knows it, kith_chan_drop for
 * each that forgets it, and the last drop frees it. Whoever waits at it must know it.
 *
 * KITH_CHAN(ints, int) at file scope makes a type of its own for channels of int, so that the
 * compiler sees what goes in and out:
 *
 *     ints data = ints_new(self, 16);
 *     ints_send(co, data, 7, KITH_FOREVER);
 *     ints_recv(co, data, &v, KITH_FOREVER);
 *     kith_chan_close(data.chan);
 *
 * kith_select waits for the first of several things:
 *
 *     switch (kith_select(co, KITH_CASES(KITH_RECV(data, &v), KITH_RECV(quit, NULL)), deadline)) {
 *     case 0:             use(v); break;
 *     case 1:             return;
 *     case KITH_ETIMEOUT: tick(); break;
 *     }
 */
#ifndef KITH_CHAN_H
#define KITH_CHAN_H

#include <kith/co.h>
#include <kith/err.h>
#include <kith/macros.h>
#include <kith/msg.h>
#include <kith/ref.h>
#include <kith/time.h>
#include <stddef.h>
#include <stdint.h>

KITH_BEGIN_DECLS

typedef struct kith_chan kith_chan;

/* A channel for values of item_bytes (0: a signal without content) that keeps up to capacity of
 * them.
 * Owns: the caller has the first reference. Thread: self's. Blocks: no.
 * Errors: NULL: out of memory, or self is not the caller's. */
KITH_API kith_chan *kith_chan_new(kith_self *self, size_t item_bytes, size_t capacity);

/* One more reference; returns chan. NULL is allowed.
 * Owns: the caller has the reference. Thread: any, that has one. Blocks: no. Errors: none. */
KITH_API kith_chan *kith_chan_keep(kith_chan *chan);
/* Gives a reference up; the last frees the channel and what it keeps. NULL is allowed.
 * Owns: takes the reference. Thread: any. Blocks: no. Errors: none. */
KITH_API void kith_chan_drop(kith_chan *chan);

/* Sends a copy of *item: waits until the channel has room or, at capacity 0, until it was received.
 * item may be NULL if the channel's values are of 0 bytes.
 * Owns: copies item, which must stay as it is meanwhile. Thread: co's. Blocks: until deadline; with
 * KITH_NOWAIT not at all. Errors: KITH_ECLOSED, KITH_ETIMEOUT, KITH_ECANCELED, KITH_ESHUTDOWN,
 * KITH_EDEADLK, KITH_ENOMEM (for the deadline), KITH_EPERM (also: a channel of another runtime),
 * KITH_EINVAL; nothing was sent then. */
KITH_API KITH_MUST_CHECK kith_err kith_chan_send(kith_co *co, kith_chan *chan, const void *item,
                                                 kith_time deadline);
/* Receives the oldest value into *item; item may be NULL: it is thrown away.
 * Owns: the copy is the caller's. Thread: co's. Blocks: as kith_chan_send.
 * Errors: as kith_chan_send; KITH_ECLOSED when it is closed and nothing is left in it. */
KITH_API KITH_MUST_CHECK kith_err kith_chan_recv(kith_co *co, kith_chan *chan, void *item,
                                                 kith_time deadline);

/* The same without waiting, for handlers too. Owns: as kith_chan_send. Thread: self's. Blocks: no.
 * Errors: KITH_EAGAIN (it would have to wait), KITH_ECLOSED, KITH_EPERM, KITH_EINVAL. */
KITH_API KITH_MUST_CHECK kith_err kith_chan_try_send(kith_self *self, kith_chan *chan,
                                                     const void *item);
KITH_API KITH_MUST_CHECK kith_err kith_chan_try_recv(kith_self *self, kith_chan *chan, void *item);

/* No more will be sent; whoever waits hears of it.
 * Thread: any of the runtime. Blocks: no.
 * Errors: KITH_ECLOSED (it was closed before), KITH_EPERM, KITH_EINVAL. */
KITH_API kith_err kith_chan_close(kith_chan *chan);

/* How many values it keeps: a moment's view.
 * Thread: any. Blocks: no. Errors: 0 for NULL. */
KITH_API size_t kith_chan_count(const kith_chan *chan);
/* How many values it can keep. Thread: any. Blocks: no. Errors: 0 for NULL. */
KITH_API size_t kith_chan_capacity(const kith_chan *chan);

/* ---- channels of one type ---- */

/* clang-format off */
/* KITH_CHAN(name, T): the type name, a struct whose field chan is the channel, and name_new,
 * name_send, name_try_send, name_recv, name_try_recv, which are the functions above for a T. */
#define KITH_CHAN(name, T)                                                                         \
    typedef struct name {                                                                          \
        kith_chan *chan;                                                                           \
    } name;                                                                                        \
    KITH_UNUSED static inline name name##_new(kith_self *self, size_t capacity)                    \
    {                                                                                              \
        name made = {kith_chan_new(self, sizeof(T), capacity)};                                    \
        return made;                                                                               \
    }                                                                                              \
    KITH_UNUSED KITH_MUST_CHECK static inline kith_err name##_send(kith_co *co, name to, T item,   \
                                                                   kith_time deadline)             \
    {                                                                                              \
        return kith_chan_send(co, to.chan, &item, deadline);                                       \
    }                                                                                              \
    KITH_UNUSED KITH_MUST_CHECK static inline kith_err name##_try_send(kith_self *self, name to,   \
                                                                       T item)                     \
    {                                                                                              \
        return kith_chan_try_send(self, to.chan, &item);                                           \
    }                                                                                              \
    KITH_UNUSED KITH_MUST_CHECK static inline kith_err name##_recv(kith_co *co, name from,         \
                                                                   T *item, kith_time deadline)    \
    {                                                                                              \
        return kith_chan_recv(co, from.chan, item, deadline);                                      \
    }                                                                                              \
    KITH_UNUSED KITH_MUST_CHECK static inline kith_err name##_try_recv(kith_self *self, name from, \
                                                                       T *item)                    \
    {                                                                                              \
        return kith_chan_try_recv(self, from.chan, item);                                          \
    }                                                                                              \
    struct name
/* clang-format on */

/* ---- select ---- */

#define KITH_CASES_MAX 64

enum kith_case_kind_ {
    KITH_CASE_RECV_,
    KITH_CASE_SEND_,
    KITH_CASE_AFTER_,
    KITH_CASE_MAIL_,
    KITH_CASE_READABLE_,
    KITH_CASE_WRITABLE_
};

/* One case of a select; made by the macros below. */
typedef struct kith_case {
    enum kith_case_kind_ kind;
    kith_chan *chan;
    void *to;         /* RECV: where to; MAIL: kith_msg ** */
    const void *from; /* SEND */
    uint64_t number;  /* AFTER: when; READABLE, WRITABLE: the socket */
    kith_err *status; /* may be NULL */
} kith_case;

static inline kith_case kith_case_chan_(enum kith_case_kind_ kind, kith_chan *chan, void *to,
                                        const void *from, kith_err *status)
{
    kith_case made = {kind, chan, to, from, 0, NULL};
    made.status = status;
    return made;
}

static inline kith_case kith_case_other_(enum kith_case_kind_ kind, kith_msg **msg, uint64_t number)
{
    kith_case made = {kind, NULL, msg, NULL, number, NULL};
    return made;
}

/* The cases. A channel that is NULL never becomes ready, so a case can be switched off. The same
 * channel may stand in several.
 *
 * A channel that is closed (for a receive: and empty) makes its case ready. KITH_RECV_OK and
 * KITH_SEND_OK then fire with *status KITH_ECLOSED, and KITH_OK at all other times; so does
 * KITH_RECV(chan, NULL), which has no value to lose: there the close is a signal. For KITH_RECV
 * with a value and KITH_SEND, kith_select itself answers KITH_ECLOSED, so that nobody uses a value
 * that was never sent, or takes one for sent that was not. */
#define KITH_RECV(chan, item) kith_case_chan_(KITH_CASE_RECV_, (chan), (item), NULL, NULL)
#define KITH_SEND(chan, item) kith_case_chan_(KITH_CASE_SEND_, (chan), NULL, (item), NULL)
#define KITH_RECV_OK(chan, item, status)                                                           \
    kith_case_chan_(KITH_CASE_RECV_, (chan), (item), NULL, (status))
#define KITH_SEND_OK(chan, item, status)                                                           \
    kith_case_chan_(KITH_CASE_SEND_, (chan), NULL, (item), (status))
/* A time has come: a deadline that is a case like the others. */
#define KITH_AFTER(deadline) kith_case_other_(KITH_CASE_AFTER_, NULL, (deadline))
/* Mail: a kith_receive as a case. *msg is given out as by kith_receive, and the message given out
 * before ends, when this case fires. */
#define KITH_MAIL(msg) kith_case_other_(KITH_CASE_MAIL_, (msg), 0)
/* A socket of this fiber's has something to read, or room to write to; also when it never will, and
 * the read or the write then says why. */
#define KITH_READABLE(sock) kith_case_other_(KITH_CASE_READABLE_, NULL, (sock).bits)
#define KITH_WRITABLE(sock) kith_case_other_(KITH_CASE_WRITABLE_, NULL, (sock).bits)

/* KITH_CASES(a, b, c): an array of cases and how many they are, as kith_select wants them. */
/* clang-format off */
#ifdef __cplusplus
#define KITH_CASES(...) kith_cases_({__VA_ARGS__}), sizeof(kith_cases_count_({__VA_ARGS__}))
#else
#define KITH_CASES(...)                                                                            \
    (const kith_case[]){__VA_ARGS__}, sizeof((const kith_case[]){__VA_ARGS__}) / sizeof(kith_case)
#endif
/* clang-format on */

/* Waits until one of the cases can go on, does it, and returns its index; exactly one is done. Of
 * several that can, each is as likely. KITH_CASES stands for cases and count (at most
 * KITH_CASES_MAX).
 * Owns: as kith_chan_send and kith_chan_recv. Thread: co's. Blocks: until deadline; with
 * KITH_NOWAIT not at all. Errors, all negative: KITH_ETIMEOUT, KITH_ECLOSED (see above),
 * KITH_ECANCELED, KITH_ESHUTDOWN, KITH_EDEADLK, KITH_ENOMEM (for the deadline), KITH_EPERM,
 * KITH_EINVAL; no case was done then. */
KITH_API KITH_MUST_CHECK int kith_select(kith_co *co, const kith_case *cases, size_t count,
                                         kith_time deadline);

KITH_END_DECLS

#ifdef __cplusplus
template <size_t N> static inline const kith_case *kith_cases_(const kith_case (&cases)[N])
{
    return cases;
}
template <size_t N> char (&kith_cases_count_(const kith_case (&)[N]))[N];
#endif

#endif
