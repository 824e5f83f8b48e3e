// SPDX-License-Identifier: BSD-2-Clause
//
// main.c, as C++17: fields by position, and the table of handlers has a name.
#include <cstdio>
#include <kith.h>

KITH_MESSAGE(deposit, { long cents; });
KITH_MESSAGE(get_balance, { char none; });
KITH_MESSAGE(balance, { long cents; });

struct account {
    long cents;
};

KITH_ON(account, deposit)
{
    me->cents += msg->cents;
    return KITH_OK;
}

KITH_ON(account, get_balance)
{
    return kith_reply(self, balance, me->cents);
}

static const kith_handler handlers[] = {KITH_HANDLER(account, deposit)
                                            KITH_HANDLER(account, get_balance){NULL, NULL}};

static const kith_behavior behavior = {"account", sizeof(account), handlers, NULL, NULL, NULL, 0};

static void teller(kith_self *self, kith_co *co, void *arg)
{
    long *cents = static_cast<long *>(arg);
    kith_ref it = kith_spawn(self, &behavior, NULL);
    for (int i = 0; i < 10; i++)
        kith_send(self, it, deposit, 100);

    kith_msg *msg;
    if (kith_ask(co, it, kith_in(10 * KITH_SECOND), &msg, get_balance) == KITH_OK)
        *cents = kith_body(msg, balance)->cents;

    kith_monitor(self, it);
    kith_stop(self, it);
    if (kith_receive(co, kith_in(10 * KITH_SECOND), &msg) != KITH_OK ||
        kith_body(msg, kith_down) == NULL)
        kith_fail(self, KITH_EFAILED);
}

int main()
{
    long cents = 0;
    int status = kith_main(NULL, teller, &cents);
    std::printf("kith %s: balance %ld\n", kith_version(), cents);
    return status;
}
