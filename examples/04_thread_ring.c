/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 04_thread_ring [HOPS]: 503 actors in a ring pass a token on; who has it when its hops are used up?
 *
 * The benchmark of the same name (Computer Language Benchmarks Game), with actors for threads. The
 * answer is known: the token starts at number 1, so it ends at number HOPS mod 503 + 1.
 *
 * A ring cannot be made by spawning alone, since an actor can only be told of actors that exist:
 * the ring is spawned from its end, and its end is then told of its beginning.
 */
#include <kith.h>
#include <stdio.h>
#include <stdlib.h>

enum { RING = 503 };

KITH_MESSAGE(link, { kith_ref next; });
KITH_MESSAGE(token, { long hops; });
KITH_MESSAGE(token_stopped, { int number; });

struct node {
    kith_ref next;
    int number;
};

static kith_err node_init(KITH_UNUSED kith_self *self, void *state, const void *arg)
{
    *(struct node *)state = *(const struct node *)arg;
    return KITH_OK;
}

KITH_ON(node, link)
{
    me->next = msg->next;
    return KITH_OK;
}

KITH_ON(node, token)
{
    if (msg->hops > 0)
        return kith_send(self, me->next, token, .hops = msg->hops - 1);
    return kith_send(self, kith_parent(self), token_stopped, .number = me->number);
}

static const kith_behavior node = {
    .name = "node",
    .state_bytes = sizeof(struct node),
    .init = node_init,
    .handlers = KITH_HANDLERS(node, link, token),
};

/* Returns the first actor of a closed ring. */
static kith_ref make_ring(kith_self *self)
{
    struct node seed = {.number = RING};
    kith_ref last = kith_spawn(self, &node, &seed);
    seed.next = last;
    while (--seed.number > 0)
        seed.next = kith_spawn(self, &node, &seed);
    kith_send(self, last, link, .next = seed.next);
    return seed.next;
}

static void ring(kith_self *self, kith_co *co, void *arg)
{
    long hops = *(const long *)arg;
    kith_time start = kith_now();
    kith_send(self, make_ring(self), token, .hops = hops);

    kith_msg *msg;
    kith_err err = kith_receive(co, kith_in(10 * KITH_MINUTE), &msg);
    int number = err == KITH_OK ? kith_body(msg, token_stopped)->number : 0;
    printf("%ld hops in %.3f s\n", hops, (double)(kith_now() - start) / 1e9);

    bool ok = number == hops % RING + 1;
    printf("check: the token stopped at number %d of %d: %s\n", number, RING, ok ? "ok" : "FAILED");
    if (!ok)
        kith_fail(self, KITH_EFAILED);
}

int main(int argc, char **argv)
{
    char *end = "";
    long hops = argc > 1 ? strtol(argv[1], &end, 10) : 5000000;
    if (argc > 2 || *end != '\0' || hops < 0) {
        fprintf(stderr, "usage: 04_thread_ring [HOPS]\n");
        return 2;
    }
    return kith_main(NULL, ring, &hops);
}
