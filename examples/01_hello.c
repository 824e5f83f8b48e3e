/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 01_hello: one actor, three types of messages, and a question from outside.
 *
 * The greeter's state is touched by its handlers alone, one message at a time, so it needs no lock,
 * whatever thread they run on. say_hello is not an actor: it runs on the program's main thread,
 * which is attached to the runtime and may therefore wait (it has a kith_co).
 */
#include <kith.h>
#include <stdio.h>

KITH_MESSAGE(greet, { const char *whom; });
KITH_MESSAGE(get_count, { char none; });
KITH_MESSAGE(count, { int greetings; });

struct greeter {
    int greetings;
};

KITH_ON(greeter, greet)
{
    me->greetings++;
    printf("hello, %s\n", msg->whom);
    return KITH_OK;
}

KITH_ON(greeter, get_count)
{
    return kith_reply(self, count, .greetings = me->greetings);
}

static const kith_behavior greeter = {
    .name = "greeter",
    .state_bytes = sizeof(struct greeter),
    .handlers = KITH_HANDLERS(greeter, greet, get_count),
};

static void say_hello(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    kith_ref friendly = kith_spawn(self, &greeter, NULL);
    kith_send(self, friendly, greet, .whom = "world");
    kith_send(self, friendly, greet, .whom = "kith and kin");

    /* Messages from one sender arrive in order: the question is handled after both greetings. */
    kith_msg *reply;
    kith_err err = kith_ask(co, friendly, kith_in(10 * KITH_SECOND), &reply, get_count);
    bool ok = err == KITH_OK && kith_body(reply, count)->greetings == 2;
    printf("check: two greetings were counted: %s\n", ok ? "ok" : "FAILED");
    if (!ok)
        kith_fail(self, KITH_EFAILED);
}

int main(int argc, KITH_UNUSED char **argv)
{
    if (argc > 1) {
        fprintf(stderr, "usage: 01_hello\n");
        return 2;
    }
    return kith_main(NULL, say_hello, NULL);
}
