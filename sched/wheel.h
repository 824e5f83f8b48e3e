/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A hierarchical timing wheel: who must be told, and when.
 * Called by: the workers' timers (sched), each wheel under its worker's lock.
 *
 * Time is cut into ticks of 2^16 ns, and a tick's number into groups of six bits, one a level. A
 * node stands at the level of the highest group in which its tick differs from the wheel's, in the
 * slot that this group of its tick names: eight levels of 64 slots hold all times up to the last.
 *
 * Invariants
 *  W1. Nothing comes early, not by a nanosecond: expire gives out deadlines <= now only.
 *  W2. Nothing is forgotten: after expire, all that is left has a deadline > now.
 *  W3. What one expire gives out is in order of deadline, and equal deadlines in the order of add.
 *  W4. kith__wheel_next is never later than the earliest deadline. It is the earliest deadline,
 *      unless the earliest of a slot was removed: then it may be too early, once for each removal.
 *  W5. A node is always in the slot that its deadline and the wheel's tick name (wheel.c, place_of).
 *      So remove finds the slot, and equal deadlines are always in one slot.
 *  W6. A slot's bit is set if and only if it holds a node.
 *
 *                add         remove       expire       next      take
 *   cost         O(1)        O(1)         see below    O(1)      O(1)
 *
 * Expire costs O(k log k) for the k nodes that it gives out, 512 slots at the most, and a move for
 * each node that comes to a lower level, at most seven in its life. Only nodes that fall into the
 * very tick in which they are added, out of order, cost a scan of that tick's other nodes.
 *
 * Owns: nothing; the caller embeds the nodes, and keeps each in place while it is queued.
 * Threads: no thread safety of its own: the caller's lock covers a wheel, its nodes and the lists
 * that they expired to.
 */
#ifndef KITH_SCHED_WHEEL_H
#define KITH_SCHED_WHEEL_H

#include <kith/time.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KITH__WHEEL_TICK_BITS = 16, KITH__WHEEL_LEVELS = 8, KITH__WHEEL_SLOTS = 64 };

/* A ring with its list's head in it: a link can leave without knowing which list it is in. */
struct kith__wheel_link {
    struct kith__wheel_link *next; /* NULL: in no list */
    struct kith__wheel_link *prev;
};

/* All zero is a node that is not queued. The deadline may change only while it is not queued. */
struct kith__wheel_node {
    struct kith__wheel_link link; /* first, so that a link is its node */
    kith_time deadline;
};

/* What has expired and was not taken yet. Nodes point at it: it must stay where it is. */
struct kith__wheel_list {
    struct kith__wheel_link head;
};

struct kith__wheel_slot {
    struct kith__wheel_link head;
    kith_time min; /* no later than any deadline in here; of no meaning when empty */
};

struct kith__wheel {
    uint64_t tick;       /* the tick of the latest expire */
    bool current_sorted; /* the slot of that tick is known to be in order */
    uint64_t occupied[KITH__WHEEL_LEVELS];
    struct kith__wheel_slot slots[KITH__WHEEL_LEVELS][KITH__WHEEL_SLOTS];
};

/* Makes an empty wheel; now is where it starts. */
void kith__wheel_init(struct kith__wheel *w, kith_time now);

/* Queues node, which must not be queued, for node->deadline: any time but KITH_FOREVER. One that
 * has passed comes with the next expire. */
void kith__wheel_add(struct kith__wheel *w, struct kith__wheel_node *node);

/* Takes node out of the wheel, or out of the list that it has expired to; false if it was in
 * neither. */
bool kith__wheel_remove(struct kith__wheel *w, struct kith__wheel_node *node);

/* Moves every node with a deadline <= now to the end of due. A now before that of an earlier call
 * is served as well, but does not turn the wheel back. */
void kith__wheel_expire(struct kith__wheel *w, kith_time now, struct kith__wheel_list *due);

/* When to call expire next; KITH_FOREVER if the wheel is empty. */
kith_time kith__wheel_next(const struct kith__wheel *w);

static inline bool kith__wheel_queued(const struct kith__wheel_node *node)
{
    return node->link.next != NULL;
}

void kith__wheel_list_init(struct kith__wheel_list *list);

/* Takes the first node off a list; NULL if it is empty. */
struct kith__wheel_node *kith__wheel_take(struct kith__wheel_list *list);

#endif
