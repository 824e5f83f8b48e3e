/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Turning a taken batch round: the part of the inbox that is not worth inlining. See inbox.h.
 */
#include "mailbox/inbox.h"

/* Turns the list round; signals go to one chain, the rest to another. */
struct chain {
    struct kith_msg *first;
    struct kith_msg *last;
};

static void chain_prepend(struct chain *chain, struct kith_msg *msg)
{
    msg->next = chain->first;
    if (chain->first == NULL)
        chain->last = msg;
    chain->first = msg;
}

static void queue_append(struct kith_msg **tail, const struct chain *chain)
{
    if (chain->first == NULL)
        return;
    if (*tail == NULL) {
        chain->last->next = chain->first;
    } else {
        chain->last->next = (*tail)->next;
        (*tail)->next = chain->first;
    }
    *tail = chain->last;
}

/* Behind the signals at the queue's head, which came in an earlier batch. */
static void queue_insert_signals(struct kith_msg **tail, const struct chain *chain)
{
    struct kith_msg *before = *tail; /* the last signal at the head; the tail if there is none */
    while (before != NULL && (before->next->flags & KITH__MSG_SIGNAL) != 0) {
        before = before->next;
        if (before == *tail)
            break;
    }
    if (before == NULL || (before == *tail && (before->flags & KITH__MSG_SIGNAL) != 0)) {
        queue_append(tail, chain);
        return;
    }
    chain->last->next = before->next;
    before->next = chain->first;
}

uint32_t kith__queue_sort(struct kith_msg **tail, struct kith_msg *newest)
{
    struct chain ordinary = {NULL, NULL};
    struct chain signals = {NULL, NULL};
    uint32_t n = 0;
    while (newest != kith__inbox_end()) {
        struct kith_msg *next = newest->next;
        chain_prepend((newest->flags & KITH__MSG_SIGNAL) != 0 ? &signals : &ordinary, newest);
        newest = next;
        n++;
    }
    queue_append(tail, &ordinary);
    if (signals.first != NULL)
        queue_insert_signals(tail, &signals);
    return n;
}
