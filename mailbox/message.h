/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What every message begins with. The body follows the header, aligned to 16 bytes.
 *
 * A message has one owner at a time: whoever made it, then the inbox that it was pushed into, then
 * the turn that took it out. `next` is the owner's.
 */
#ifndef KITH__MAILBOX_MESSAGE_H
#define KITH__MAILBOX_MESSAGE_H

#include <kith/msg.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    /* Taken before ordinary messages of the same batch. */
    KITH__MSG_SIGNAL = 1,
    /* Not a user's message: its type is a struct kith__internal, whose run handles it. */
    KITH__MSG_INTERNAL = 2,
    /* Memory that is part of another object: never freed as a message. */
    KITH__MSG_EMBEDDED = 4,
    /* sender is the handle of a timer or question that the receiver must look up first. */
    KITH__MSG_TIMER = 8,
    KITH__MSG_REPLY = 16,
    /* Has taken room in a bounded mailbox (csp/bound.h). */
    KITH__MSG_COUNTED = 32
};

struct kith_msg {
    struct kith_msg *next;
    const kith_type *type;
    uint64_t sender; /* bits of a kith_ref; 0: none */
    uint32_t to_gen; /* generation of the receiver that it was meant for */
    uint16_t home;   /* the message cache that the memory belongs to */
    uint8_t cls;     /* size class */
    uint8_t flags;
};

#define KITH__MSG_HEADER_BYTES sizeof(struct kith_msg)
_Static_assert(sizeof(struct kith_msg) == 32, "small messages must stay small");

static inline void *kith__msg_body(struct kith_msg *msg)
{
    return msg + 1;
}

static inline struct kith_msg *kith__msg_of(void *body)
{
    return (struct kith_msg *)body - 1;
}

#endif
