/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 03_ping_pong: two actors and one message between them, a million times there and back.
 *
 * kith_reply answers in the memory of the message that it answers, so the whole game is played with
 * one block of memory. Only one of the two has work at any time: the runtime keeps them on one core.
 */
#include <kith.h>
#include <stdio.h>

static const long ROUNDS = 1000000;

KITH_MESSAGE(ping, { long round; });
KITH_MESSAGE(pong, { long round; });
KITH_MESSAGE(game_over, { long wrong; });

KITH_ON(ponger, ping)
{
    return kith_reply(self, pong, .round = msg->round);
}

static const kith_behavior ponger = {
    .name = "ponger",
    .handlers = KITH_HANDLERS(ponger, ping),
};

struct pinger {
    long round;
    long wrong;
};

static kith_err pinger_init(kith_self *self, KITH_UNUSED void *state, const void *arg)
{
    const kith_ref *partner = arg;
    return kith_send(self, *partner, ping, .round = 0);
}

KITH_ON(pinger, pong)
{
    if (msg->round != me->round)
        me->wrong++;
    if (++me->round < ROUNDS)
        return kith_reply(self, ping, .round = me->round);
    return kith_send(self, kith_parent(self), game_over, .wrong = me->wrong);
}

static const kith_behavior pinger = {
    .name = "pinger",
    .state_bytes = sizeof(struct pinger),
    .init = pinger_init,
    .handlers = KITH_HANDLERS(pinger, pong),
};

static void play(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    kith_time start = kith_now();
    kith_ref partner = kith_spawn(self, &ponger, NULL);
    kith_spawn(self, &pinger, &partner);

    kith_msg *msg;
    kith_err err = kith_receive(co, kith_in(KITH_MINUTE), &msg);
    printf("%ld messages in %.3f s\n", 2 * ROUNDS, (double)(kith_now() - start) / 1e9);

    bool ok = err == KITH_OK && kith_body(msg, game_over)->wrong == 0;
    printf("check: %ld rounds, each answered in turn: %s\n", ROUNDS, ok ? "ok" : "FAILED");
    if (!ok)
        kith_fail(self, KITH_EFAILED);
}

int main(int argc, KITH_UNUSED char **argv)
{
    if (argc > 1) {
        fprintf(stderr, "usage: 03_ping_pong\n");
        return 2;
    }
    return kith_main(NULL, play, NULL);
}
