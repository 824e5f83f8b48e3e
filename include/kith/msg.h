/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A message is a struct with a type descriptor. KITH_MESSAGE(name, { fields }) defines the struct,
 * its typedef and its descriptor, in a header or in a source file; the linker keeps one descriptor
 * a program. At file scope:
 *
 *     KITH_MESSAGE(deposit, { long cents; });
 *
 * expands to
 *
 *     typedef struct deposit { long cents; } deposit;
 *     extern __attribute__((weak, ...)) const kith_type kith_type_deposit;
 *     const kith_type kith_type_deposit = { "deposit", 8, NULL };
 *
 * Ownership. A message belongs to whoever made it (kith_new) until it is posted, then to the
 * runtime, then to the handler that gets it, for the time of the call. A type that owns something
 * (a pointer, a descriptor) is defined by KITH_MESSAGE_OWNING and a KITH_DROP beside it: drop runs
 * exactly once for each message, wherever it ends: after its handler, in a dead actor's mailbox, at
 * shutdown.
 *
 *     KITH_MESSAGE_OWNING(page, { char *text; });
 *     KITH_DROP(page) { free(msg->text); }
 *
 * To keep what a message owns, keep the message: kith_keep (actor.h).
 */
#ifndef KITH_MSG_H
#define KITH_MSG_H

#include <kith/err.h>
#include <kith/macros.h>
#include <kith/ref.h>
#include <stddef.h>

KITH_BEGIN_DECLS

typedef struct kith_self kith_self; /* who is acting: may send, never waits (actor.h) */
typedef struct kith_msg kith_msg;   /* any message: its header; the body follows it */

typedef struct kith_type {
    const char *name;
    size_t body_bytes;
    void (*drop)(void *body); /* NULL if the body owns nothing */
} kith_type;

#define KITH_MESSAGE(T, ...)                                                                       \
    typedef struct T __VA_ARGS__ T;                                                                \
    extern KITH_WEAK const kith_type kith_type_##T;                                                \
    const kith_type kith_type_##T = {#T, sizeof(T), NULL};                                         \
    extern const kith_type kith_type_##T

#define KITH_MESSAGE_OWNING(T, ...)                                                                \
    typedef struct T __VA_ARGS__ T;                                                                \
    void T##_drop(T *msg);                                                                         \
    static inline void T##_drop_any(void *body)                                                    \
    {                                                                                              \
        T##_drop((T *)body);                                                                       \
    }                                                                                              \
    extern KITH_WEAK const kith_type kith_type_##T;                                                \
    const kith_type kith_type_##T = {#T, sizeof(T), T##_drop_any};                                 \
    extern const kith_type kith_type_##T

/* Defines what is done with a T that ends; in scope: msg (T *). Once a program. */
#define KITH_DROP(T) void T##_drop(KITH_UNUSED T *msg)

/* For the messages that kith itself sends: the descriptor lives in the library. */
#define KITH_SYSTEM_MESSAGE(T, ...)                                                                \
    typedef struct T __VA_ARGS__ T;                                                                \
    extern KITH_API const kith_type kith_type_##T

/* A new message with body_bytes + extra_bytes of zeroed body; NULL if memory is out, self is not
 * the caller's, or the size is beyond KITH_MESSAGE_BYTES_MAX. kith_new is the usual form.
 * Owns: the caller owns the body; give it to kith_post or kith_discard.
 * Thread: self's. Blocks: no. Errors: NULL. */
KITH_API void *kith_new_bytes(kith_self *self, const kith_type *type, size_t extra_bytes);

/* A new T to fill in place; T * or NULL. */
#define kith_new(self, T) ((T *)kith_new_bytes((self), &kith_type_##T, 0))

/* A new T that ends in a flexible array of n items, each sizeof_item bytes; T * or NULL. */
#define kith_new_flex(self, T, n, sizeof_item)                                                     \
    ((T *)kith_new_bytes((self), &kith_type_##T, kith_flex_bytes_((n), (sizeof_item))))

/* n * item_bytes; the largest size, which every call refuses, if that overflows. */
static inline size_t kith_flex_bytes_(size_t n, size_t item_bytes)
{
    return item_bytes != 0 && n > (size_t)-1 / item_bytes ? (size_t)-1 : n * item_bytes;
}

#define KITH_MESSAGE_BYTES_MAX ((size_t)1 << 30)

/* Ends a message that was made or kept and not posted: runs its drop and gives back its memory.
 * NULL is allowed and does nothing. Owns: takes body. Thread: self's. Blocks: no.
 * Errors: KITH_EPERM if self is not the caller's, and then body stays the caller's. */
KITH_API kith_err kith_discard(kith_self *self, void *body);

/* The body of msg if it is of this type, else NULL. kith_body is the usual form.
 * Owns: the body belongs to the message. Thread: the one that holds msg. Blocks: no.
 * Errors: NULL, also for a NULL msg. */
KITH_API const void *kith_body_of(const kith_msg *msg, const kith_type *type);

#define kith_body(msg, T) ((const T *)kith_body_of((msg), &kith_type_##T))

/* Type, name of the type and sender of a message.
 * Owns: the descriptor and the name are constants of the program. Thread: the one that holds msg.
 * Blocks: no. Errors, for a NULL msg: NULL, "?", a zero reference. */
KITH_API const kith_type *kith_msg_type(const kith_msg *msg);
/* As kith_msg_type. Thread: the one that holds msg. Blocks: no. */
KITH_API const char *kith_msg_name(const kith_msg *msg);
/* As kith_msg_type. Thread: the one that holds msg. Blocks: no. */
KITH_API kith_ref kith_msg_sender(const kith_msg *msg);

/* KITH_VALUE_(T) and KITH_VALUE_(T, .field = ...): a type descriptor and the address of a T.
 * kith_send and all others that take fields go through it: they take at most 63 initialisers, where
 * each comma between braces makes one more. For a larger value, fill a T and hand it to
 * kith_send_copy (or kith_reply_copy, kith_ask_copy ...). */
#define KITH_VALUE_(...) KITH_CAT_(KITH_VALUE_, KITH_ONE_OR_MANY_(__VA_ARGS__))(__VA_ARGS__)
/* clang-format off */
#ifdef __cplusplus
#define KITH_VALUE_ONE(T) &kith_type_##T, kith_address_(T{})
#define KITH_VALUE_MANY(T, ...) &kith_type_##T, kith_address_(T{__VA_ARGS__})
#else
#define KITH_VALUE_ONE(T) &kith_type_##T, &(const T){0}
#define KITH_VALUE_MANY(T, ...) &kith_type_##T, &(const T){__VA_ARGS__}
#endif
/* clang-format on */

KITH_END_DECLS

#ifdef __cplusplus
template <class T> static inline const T *kith_address_(const T &value)
{
    return &value;
}
#endif

#endif
