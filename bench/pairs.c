/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: workloads with one message under way: pingpong and threadring.
 *
 * Called by: measure.c, through bench_pairs.
 * Invariants: never more than one message is in flight, so what is measured is a message's whole
 *   way: send, schedule, take, handle. The self-check follows the number in the message.
 * Threads: the workloads are actors; main only begins and waits.
 * Why so: the definitions are Savina's PingPong and ThreadRing (Imam and Sarkar, AGERE 2014).
 */
#include "bench/bench.h"

/* ---- pingpong: n round trips between two actors; a message is an operation ---- */

KITH_MESSAGE(pp_ping, { uint64_t left; });
KITH_MESSAGE(pp_pong, { uint64_t left; });

struct ponger {
    uint64_t handled;
};

struct pinger {
    kith_ref ponger;
    kith_ref main;
    kith_time began_ns;
    uint64_t n;
    uint64_t left;
};

KITH_ON(ponger, pp_ping)
{
    me->handled++;
    return kith_reply(self, pp_pong, .left = msg->left);
}

static const kith_behavior ponger = {
    .name = "ponger",
    .state_bytes = sizeof(struct ponger),
    .handlers = KITH_HANDLERS(ponger, pp_ping),
};

KITH_ON(pinger, bench_go)
{
    me->main = kith_sender(self);
    me->n = me->left = msg->n;
    me->began_ns = kith_now();
    return kith_send(self, me->ponger, pp_ping, .left = me->left);
}

KITH_ON(pinger, pp_pong)
{
    bool expected = msg->left == me->left;
    if (expected && --me->left > 0)
        return kith_send(self, me->ponger, pp_ping, .left = me->left);
    return kith_send(self, me->main, bench_done, .began_ns = me->began_ns, .ended_ns = kith_now(),
                     .ops = 2 * me->n, .check = expected);
}

static kith_err pinger_init(kith_self *self, void *state, const void *arg)
{
    struct pinger *me = state;
    (void)self;
    me->ponger = *(const kith_ref *)arg;
    return KITH_OK;
}

static const kith_behavior pinger = {
    .name = "pinger",
    .state_bytes = sizeof(struct pinger),
    .handlers = KITH_HANDLERS(pinger, bench_go, pp_pong),
    .init = pinger_init,
};

static void run_pingpong(bench *b)
{
    kith_ref other = kith_spawn(b->self, &ponger, NULL);
    bench_go_and_wait(b, kith_spawn(b->self, &pinger, &other));
}

/* ---- threadring: a token goes n times to the next of 100 actors; a hop is an operation ---- */

#define RING_ACTORS 100

KITH_MESSAGE(ring_next, { kith_ref next; });
KITH_MESSAGE(ring_token, { uint64_t left; });

/* What the whole ring knows. began_ns is written before the token's first hop, and read by whoever
 * holds the token after its last. */
struct ring {
    kith_ref main;
    kith_time began_ns;
    uint64_t n;
    bool wrong; /* written only when a token went astray or came twice */
};

struct ring_node {
    kith_ref next;
    struct ring *ring;
    uint64_t index;
    uint64_t expected; /* what the token that comes next says */
};

struct ring_place {
    struct ring *ring;
    uint64_t index;
};

static kith_err ring_node_init(kith_self *self, void *state, const void *arg)
{
    struct ring_node *me = state;
    const struct ring_place *place = arg;
    (void)self;
    me->ring = place->ring;
    me->index = place->index;
    me->expected = me->ring->n - (me->index == 0 ? RING_ACTORS : me->index);
    return KITH_OK;
}

KITH_ON(ring_node, ring_next)
{
    me->next = msg->next;
    return KITH_OK;
}

KITH_ON(ring_node, bench_go)
{
    me->ring->main = kith_sender(self);
    me->ring->began_ns = kith_now();
    return kith_send(self, me->next, ring_token, .left = msg->n - 1);
}

static kith_err ring_end(kith_self *self, struct ring_node *me)
{
    const struct ring *ring = me->ring;
    return kith_send(self, ring->main, bench_done, .began_ns = ring->began_ns,
                     .ended_ns = kith_now(), .ops = ring->n,
                     .check = !ring->wrong && me->index == ring->n % RING_ACTORS);
}

/* The same token comes back after one round, that many hops later. */
static void ring_check(struct ring_node *me, uint64_t left)
{
    if (left != me->expected)
        me->ring->wrong = true;
    me->expected = left - RING_ACTORS;
}

KITH_ON(ring_node, ring_token)
{
    ring_check(me, msg->left);
    if (msg->left == 0)
        return ring_end(self, me);
    return kith_send(self, me->next, ring_token, .left = msg->left - 1);
}

static const kith_behavior ring_node = {
    .name = "ring_node",
    .state_bytes = sizeof(struct ring_node),
    .handlers = KITH_HANDLERS(ring_node, ring_next, bench_go, ring_token),
    .init = ring_node_init,
};

/* The same ring, in which the message itself goes round: kept, changed and posted. */
KITH_ON(post_node, ring_next)
{
    return ring_node_on_ring_next(self, (struct ring_node *)me, msg);
}

KITH_ON(post_node, bench_go)
{
    return ring_node_on_bench_go(self, (struct ring_node *)me, msg);
}

KITH_ON(post_node, ring_token)
{
    struct ring_node *node = (struct ring_node *)me;
    ring_check(node, msg->left);
    if (msg->left == 0)
        return ring_end(self, node);
    ring_token *token = kith_keep(self);
    token->left--;
    return kith_post(self, node->next, token);
}

static const kith_behavior post_node = {
    .name = "post_node",
    .state_bytes = sizeof(struct ring_node),
    .handlers = KITH_HANDLERS(post_node, ring_next, bench_go, ring_token),
    .init = ring_node_init,
};

static void run_ring(bench *b, const kith_behavior *behavior)
{
    static struct ring ring; /* static: outlives every actor, also when a run has failed */
    kith_ref node[RING_ACTORS];
    ring.n = b->n;
    for (uint64_t i = 0; i < RING_ACTORS; i++) {
        struct ring_place place = {&ring, i};
        node[i] = kith_spawn(b->self, behavior, &place);
    }
    for (size_t i = 0; i < RING_ACTORS; i++)
        kith_send(b->self, node[i], ring_next, .next = node[(i + 1) % RING_ACTORS]);
    bench_go_and_wait(b, node[0]);
}

static void run_threadring(bench *b)
{
    run_ring(b, &ring_node);
}

static void run_threadring_post(bench *b)
{
    run_ring(b, &post_node);
}

const bench_workload bench_pairs[] = {
    {.name = "pingpong",
     .op = "message",
     .what = "two actors, one message under way, n round trips",
     .n_default = 10000000,
     .n_max = UINT64_MAX / 4,
     .run = run_pingpong},
    {.name = "threadring",
     .op = "hop",
     .what = "100 actors in a ring, a token of n hops, a new message each hop",
     .n_default = 10000000,
     .n_max = UINT64_MAX / 4,
     .run = run_threadring},
    {.name = "threadring-post",
     .op = "hop",
     .what = "the same, with one message that is kept and posted on",
     .n_default = 10000000,
     .n_max = UINT64_MAX / 4,
     .run = run_threadring_post},
    {0},
};
