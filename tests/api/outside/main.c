/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The smallest program with state, messages, a question, and a message of kith's own: an account
 * gets ten deposits, is asked for its balance, is stopped, and its end is heard.
 */
#include <kith.h>
#include <stdio.h>

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
    return kith_reply(self, balance, .cents = me->cents);
}

static const kith_behavior account = {
    .name = "account",
    .state_bytes = sizeof(struct account),
    .handlers = KITH_HANDLERS(account, deposit, get_balance),
};

static void teller(kith_self *self, kith_co *co, void *arg)
{
    long *cents = arg;
    kith_ref it = kith_spawn(self, &account, NULL);
    for (int i = 0; i < 10; i++)
        kith_send(self, it, deposit, .cents = 100);

    kith_msg *msg;
    if (kith_ask(co, it, kith_in(10 * KITH_SECOND), &msg, get_balance) == KITH_OK)
        *cents = kith_body(msg, balance)->cents;

    kith_monitor(self, it);
    kith_stop(self, it);
    if (kith_receive(co, kith_in(10 * KITH_SECOND), &msg) != KITH_OK ||
        kith_body(msg, kith_down) == NULL)
        kith_fail(self, KITH_EFAILED);
}

int main(void)
{
    long cents = 0;
    int status = kith_main(NULL, teller, &cents);
    printf("kith %s: balance %ld\n", kith_version(), cents);
    return status;
}
