/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 02_bank: 1,000 accounts, 1,000,000 random transfers by four tellers at once, and no lock.
 *
 * A transfer goes from the teller to the paying account, which sends a credit to the paid one, which
 * tells the teller that it is settled:
 *
 *     teller --transfer--> account --credit--> account --settled--> teller
 *
 * What must hold: money is in an account or in a credit that is on its way, nowhere else. So when
 * every teller has heard of every transfer, the balances add up to what was paid in.
 *
 * A teller keeps a window of transfers open and orders a new one for each that is settled. That
 * bounds the messages under way without anybody being told to slow down.
 */
#include <kith.h>
#include <stdio.h>

enum { ACCOUNTS = 1000, TELLERS = 4, WINDOW = 64 };
static const long TRANSFERS = 1000000;
static const long OPENING_CENTS = 100000;

KITH_MESSAGE(deposit, { long cents; });
KITH_MESSAGE(get_balance, { char none; });
KITH_MESSAGE(balance, { long cents; });
KITH_MESSAGE(transfer, {
    kith_ref to;
    long cents;
});
KITH_MESSAGE(credit, {
    kith_ref teller;
    long cents;
});
KITH_MESSAGE(settled, { bool moved; });
KITH_MESSAGE(finished, {
    long moved;
    long refused;
});

/* ---- an account ---- */

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

KITH_ON(account, transfer)
{
    if (me->cents < msg->cents)
        return kith_reply(self, settled, .moved = false);

    kith_err err =
        kith_send(self, msg->to, credit, .teller = kith_sender(self), .cents = msg->cents);
    if (err == KITH_OK) /* a send that failed moved no money */
        me->cents -= msg->cents;
    return err;
}

KITH_ON(account, credit)
{
    me->cents += msg->cents;
    return kith_send(self, msg->teller, settled, .moved = true);
}

static const kith_behavior account = {
    .name = "account",
    .state_bytes = sizeof(struct account),
    .handlers = KITH_HANDLERS(account, deposit, get_balance, transfer, credit),
};

/* ---- a teller ---- */

struct teller {
    const kith_ref *accounts;
    long to_order;
    long open;
    long moved;
    long refused;
};

static kith_err order_transfer(kith_self *self, struct teller *me)
{
    kith_ref from = me->accounts[kith_random(self) % ACCOUNTS];
    kith_ref to = me->accounts[kith_random(self) % ACCOUNTS];
    long cents = 1 + (long)(kith_random(self) % (uint64_t)OPENING_CENTS);
    me->to_order--;
    return kith_send(self, from, transfer, .to = to, .cents = cents);
}

static kith_err teller_init(kith_self *self, void *state, const void *arg)
{
    struct teller *me = state;
    me->accounts = arg;
    me->to_order = TRANSFERS / TELLERS;
    for (me->open = 0; me->open < WINDOW; me->open++)
        if (order_transfer(self, me) != KITH_OK)
            return KITH_EFAILED;
    return KITH_OK;
}

KITH_ON(teller, settled)
{
    if (msg->moved)
        me->moved++;
    else
        me->refused++;
    if (me->to_order > 0)
        return order_transfer(self, me);
    if (--me->open > 0)
        return KITH_OK;
    return kith_send(self, kith_parent(self), finished, .moved = me->moved, .refused = me->refused);
}

static const kith_behavior teller = {
    .name = "teller",
    .state_bytes = sizeof(struct teller),
    .init = teller_init,
    .handlers = KITH_HANDLERS(teller, settled),
};

/* ---- the bank's day ---- */

static kith_err work(kith_self *self, kith_co *co, const kith_ref *accounts, finished *all)
{
    for (int i = 0; i < TELLERS; i++)
        kith_spawn(self, &teller, accounts);
    for (int i = 0; i < TELLERS; i++) {
        kith_msg *msg;
        kith_err err = kith_receive(co, kith_in(KITH_MINUTE), &msg);
        if (err != KITH_OK)
            return err;
        all->moved += kith_body(msg, finished)->moved;
        all->refused += kith_body(msg, finished)->refused;
    }
    return KITH_OK;
}

/* The sum of all balances; -1 if an account is overdrawn or does not answer. */
static long audit(kith_co *co, const kith_ref *accounts)
{
    long sum = 0;
    for (int i = 0; i < ACCOUNTS; i++) {
        kith_msg *reply;
        if (kith_ask(co, accounts[i], kith_in(KITH_MINUTE), &reply, get_balance) != KITH_OK)
            return -1;
        if (kith_body(reply, balance)->cents < 0)
            return -1;
        sum += kith_body(reply, balance)->cents;
    }
    return sum;
}

static void bank(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    static kith_ref accounts[ACCOUNTS]; /* the tellers read it as long as they live */
    for (int i = 0; i < ACCOUNTS; i++) {
        accounts[i] = kith_spawn(self, &account, NULL);
        kith_send(self, accounts[i], deposit, .cents = OPENING_CENTS);
    }

    finished all = {0};
    kith_err err = work(self, co, accounts, &all);
    if (err != KITH_OK)
        fprintf(stderr, "02_bank: %s\n", kith_strerror(err));
    printf("%ld transfers: %ld moved, %ld refused\n", all.moved + all.refused, all.moved,
           all.refused);

    long sum = audit(co, accounts);
    bool ok = all.moved + all.refused == TRANSFERS && sum == ACCOUNTS * OPENING_CENTS;
    printf("check: %ld cents paid in, %ld cents in the accounts: %s\n", ACCOUNTS * OPENING_CENTS,
           sum, ok ? "ok" : "FAILED");
    if (!ok)
        kith_fail(self, KITH_EFAILED);
}

int main(int argc, KITH_UNUSED char **argv)
{
    if (argc > 1) {
        fprintf(stderr, "usage: 02_bank\n");
        return 2;
    }
    return kith_main(NULL, bank, NULL);
}
