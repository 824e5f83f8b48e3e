/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The hierarchical timing wheel.
 * Called by: see wheel.h.
 * Invariants: W1 to W6 of wheel.h.
 * Threads: the caller's lock.
 *
 * Why equal deadlines keep their order without a sequence number (W3): by W5 two nodes with equal
 * deadlines are in the same slot at every moment, whenever they were added. A slot is a queue: add
 * appends. When a slot is dealt out to lower levels, the slots that its nodes go to are empty,
 * because every node for those ticks was in it (W5 again); it is dealt out from the front, so each
 * of them fills in the order of adding, and whoever is added later comes behind. Deadlines that
 * had passed when they were added all wait in the slot of the wheel's current tick, together with
 * those of this tick. The sort that puts a slot in order at the end is stable.
 *
 * Why each level's slots never wrap round: a node's level is that of the highest differing bits, so
 * at its level its slot's number is above the wheel's, and all higher groups are equal. When the
 * wheel moves on and L is the highest group that changes, then everything below level L is due, and
 * at level L everything in slots before the new one; the new slot is dealt out; the rest stays
 * where it is, and is still where W5 wants it. A jump of years looks at bitmaps, not at ticks.
 *
 * Why this design: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987), with the
 * levels by highest differing bits as in Tokio's wheel. A heap costs O(log n) to set and to cancel,
 * and most timers are cancelled. Wheels that round to their tick fire early or late and have no
 * order within it; here the tick is only the size of a slot, and a stable merge sort on links
 * (natural runs; Knuth volume 3, 5.2.4) orders what is due. Ticks of one nanosecond would need no
 * sort, but eleven levels, through which each node would be moved one by one.
 */
#include "sched/wheel.h"

#include "base/assert.h"

enum {
    GROUP_BITS = 6,
    GROUP_MASK = KITH__WHEEL_SLOTS - 1,
    RUN_BINS = 64 /* bin i holds the merger of 2^i runs */
};

_Static_assert(KITH__WHEEL_SLOTS == 1 << GROUP_BITS, "a group of bits names a slot");
_Static_assert(KITH__WHEEL_TICK_BITS + KITH__WHEEL_LEVELS * GROUP_BITS == 64, "all times fit");

/* ---- rings of links ---- */

static void ring_init(struct kith__wheel_link *head)
{
    head->next = head;
    head->prev = head;
}

static bool ring_empty(const struct kith__wheel_link *head)
{
    return head->next == head;
}

static void ring_append(struct kith__wheel_link *head, struct kith__wheel_link *link)
{
    link->next = head;
    link->prev = head->prev;
    head->prev->next = link;
    head->prev = link;
}

static void ring_leave(struct kith__wheel_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = NULL;
    link->prev = NULL;
}

static kith_time deadline_of(const struct kith__wheel_link *link)
{
    return ((const struct kith__wheel_node *)link)->deadline;
}

/* Moves the links from the first of from up to and without end to the back of to. */
static void ring_move_front(struct kith__wheel_link *from, struct kith__wheel_link *end,
                            struct kith__wheel_link *to)
{
    struct kith__wheel_link *first = from->next;
    if (first == end)
        return;
    struct kith__wheel_link *last = end->prev;
    from->next = end;
    end->prev = from;
    first->prev = to->prev;
    to->prev->next = first;
    last->next = to;
    to->prev = last;
}

/* ---- the sort: chains linked by next alone, with NULL at the end ---- */

/* Cuts the longest front in order off *rest and returns it. */
static struct kith__wheel_link *cut_run(struct kith__wheel_link **rest)
{
    struct kith__wheel_link *run = *rest;
    struct kith__wheel_link *last = run;
    while (last->next != NULL && deadline_of(last) <= deadline_of(last->next))
        last = last->next;
    *rest = last->next;
    last->next = NULL;
    return run;
}

/* Of equals, those of early come first: this is what makes the sort stable. */
static struct kith__wheel_link *merge(struct kith__wheel_link *early, struct kith__wheel_link *late)
{
    struct kith__wheel_link *merged = NULL;
    struct kith__wheel_link **end = &merged;
    while (early != NULL && late != NULL) {
        struct kith__wheel_link **from = deadline_of(late) < deadline_of(early) ? &late : &early;
        *end = *from;
        end = &(*from)->next;
        *from = *end;
    }
    *end = early != NULL ? early : late;
    return merged;
}

/* Like counting in binary: a run is merged with the bins that are full and put into the first empty
 * one. What is in a higher bin was earlier in the chain. */
static struct kith__wheel_link *sort_chain(struct kith__wheel_link *rest)
{
    struct kith__wheel_link *bins[RUN_BINS] = {NULL};
    while (rest != NULL) {
        struct kith__wheel_link *run = cut_run(&rest);
        size_t i = 0;
        for (; bins[i] != NULL; i++) {
            run = merge(bins[i], run);
            bins[i] = NULL;
        }
        bins[i] = run;
    }
    struct kith__wheel_link *sorted = NULL;
    for (size_t i = 0; i < RUN_BINS; i++)
        sorted = merge(bins[i], sorted);
    return sorted;
}

static bool ring_sorted(const struct kith__wheel_link *head)
{
    for (const struct kith__wheel_link *at = head->next; at->next != head; at = at->next)
        if (deadline_of(at->next) < deadline_of(at))
            return false;
    return true;
}

/* Sorts a ring that is not empty; one in order is not written to. */
static void ring_sort(struct kith__wheel_link *head)
{
    if (ring_sorted(head))
        return;
    head->prev->next = NULL;
    struct kith__wheel_link *link = sort_chain(head->next);
    ring_init(head);
    while (link != NULL) {
        struct kith__wheel_link *next = link->next;
        ring_append(head, link);
        link = next;
    }
}

/* ---- places ---- */

struct place {
    unsigned level;
    unsigned slot;
};

/* W5: where a node with this deadline is. What has passed is in the current tick's slot. */
static struct place place_of(const struct kith__wheel *w, kith_time deadline)
{
    uint64_t tick = deadline >> KITH__WHEEL_TICK_BITS;
    if (tick < w->tick)
        tick = w->tick;
    uint64_t differing = tick ^ w->tick;
    unsigned level = differing == 0 ? 0 : (63 - (unsigned)__builtin_clzll(differing)) / GROUP_BITS;
    return (struct place){level, (unsigned)(tick >> (level * GROUP_BITS)) & GROUP_MASK};
}

static unsigned current_slot(const struct kith__wheel *w)
{
    return (unsigned)w->tick & GROUP_MASK;
}

static uint64_t bit(unsigned slot)
{
    return (uint64_t)1 << slot;
}

static void put(struct kith__wheel *w, struct kith__wheel_node *node)
{
    struct place at = place_of(w, node->deadline);
    struct kith__wheel_slot *slot = &w->slots[at.level][at.slot];
    bool first = ring_empty(&slot->head);
    if (at.level == 0 && at.slot == current_slot(w))
        w->current_sorted =
            first || (w->current_sorted && node->deadline >= deadline_of(slot->head.prev));
    if (first || node->deadline < slot->min)
        slot->min = node->deadline;
    w->occupied[at.level] |= bit(at.slot);
    ring_append(&slot->head, &node->link);
}

/* ---- expiry ---- */

/* Gives out a slot in which all is due. */
static void give_slot(struct kith__wheel *w, unsigned level, unsigned slot,
                      struct kith__wheel_link *due)
{
    struct kith__wheel_link *head = &w->slots[level][slot].head;
    ring_sort(head);
    ring_move_front(head, head, due);
    w->occupied[level] &= ~bit(slot);
}

/* Gives out the slots of a level that are in mask; a later slot holds later times. */
static void give_slots(struct kith__wheel *w, unsigned level, uint64_t mask,
                       struct kith__wheel_link *due)
{
    for (uint64_t left = w->occupied[level] & mask; left != 0; left &= left - 1)
        give_slot(w, level, (unsigned)__builtin_ctzll(left), due);
}

/* Puts what is in a slot where W5 wants it, now that the wheel's tick lies in this slot. */
static void deal_out(struct kith__wheel *w, unsigned level, unsigned slot)
{
    struct kith__wheel_link nodes;
    struct kith__wheel_link *head = &w->slots[level][slot].head;
    ring_init(&nodes);
    ring_move_front(head, head, &nodes);
    w->occupied[level] &= ~bit(slot);
    while (!ring_empty(&nodes)) {
        struct kith__wheel_link *link = nodes.next;
        ring_leave(link);
        put(w, (struct kith__wheel_node *)link);
    }
}

/* Moves the wheel to a later tick and gives out what is wholly before it. */
static void advance(struct kith__wheel *w, uint64_t tick, struct kith__wheel_link *due)
{
    unsigned level = (63 - (unsigned)__builtin_clzll(tick ^ w->tick)) / GROUP_BITS;
    unsigned slot = (unsigned)(tick >> (level * GROUP_BITS)) & GROUP_MASK;
    for (unsigned below = 0; below < level; below++)
        give_slots(w, below, UINT64_MAX, due);
    give_slots(w, level, bit(slot) - 1, due);
    w->tick = tick;
    w->current_sorted = false;
    if (level > 0)
        deal_out(w, level, slot);
}

/* Gives out what is due in the slot of the wheel's tick, where the nanoseconds decide. */
static void give_current(struct kith__wheel *w, kith_time now, struct kith__wheel_link *due)
{
    struct kith__wheel_slot *slot = &w->slots[0][current_slot(w)];
    struct kith__wheel_link *head = &slot->head;
    if (ring_empty(head) || slot->min > now)
        return;
    if (!w->current_sorted)
        ring_sort(head);
    w->current_sorted = true;
    struct kith__wheel_link *end = head->next;
    while (end != head && deadline_of(end) <= now)
        end = end->next;
    ring_move_front(head, end, due);
    if (ring_empty(head))
        w->occupied[0] &= ~bit(current_slot(w));
    else
        slot->min = deadline_of(head->next); /* also where the old one was removed: W4 */
}

void kith__wheel_expire(struct kith__wheel *w, kith_time now, struct kith__wheel_list *due)
{
    uint64_t tick = now >> KITH__WHEEL_TICK_BITS;
    if (tick > w->tick)
        advance(w, tick, &due->head);
    give_current(w, now, &due->head);
}

/* ---- the rest of the interface ---- */

void kith__wheel_init(struct kith__wheel *w, kith_time now)
{
    w->tick = now >> KITH__WHEEL_TICK_BITS;
    w->current_sorted = false;
    for (unsigned level = 0; level < KITH__WHEEL_LEVELS; level++) {
        w->occupied[level] = 0;
        for (unsigned slot = 0; slot < KITH__WHEEL_SLOTS; slot++)
            ring_init(&w->slots[level][slot].head);
    }
}

void kith__wheel_add(struct kith__wheel *w, struct kith__wheel_node *node)
{
    kith__assert(!kith__wheel_queued(node));
    kith__assert(node->deadline != KITH_FOREVER);
    put(w, node);
}

bool kith__wheel_remove(struct kith__wheel *w, struct kith__wheel_node *node)
{
    if (!kith__wheel_queued(node))
        return false;
    ring_leave(&node->link);
    /* A node on a due list names a slot too, that of what has passed: if that one is empty, then its
     * bit is clear already, and to clear it again changes nothing. */
    struct place at = place_of(w, node->deadline);
    if (ring_empty(&w->slots[at.level][at.slot].head))
        w->occupied[at.level] &= ~bit(at.slot);
    return true;
}

kith_time kith__wheel_next(const struct kith__wheel *w)
{
    for (unsigned level = 0; level < KITH__WHEEL_LEVELS; level++)
        if (w->occupied[level] != 0) /* a lower level is earlier than all of a higher one */
            return w->slots[level][__builtin_ctzll(w->occupied[level])].min;
    return KITH_FOREVER;
}

void kith__wheel_list_init(struct kith__wheel_list *list)
{
    ring_init(&list->head);
}

struct kith__wheel_node *kith__wheel_take(struct kith__wheel_list *list)
{
    if (ring_empty(&list->head))
        return NULL;
    struct kith__wheel_link *link = list->head.next;
    ring_leave(link);
    return (struct kith__wheel_node *)link;
}
