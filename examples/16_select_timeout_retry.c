/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 16_select_timeout_retry: a request that fails twice and then succeeds, by select with a time-out, and
 * with a pause before each further try that doubles.
 *
 * The server is slow with the first request (its answer comes after the time-out), refuses the second
 * and answers the third. The trap in such code: the late answer to the first request must never be
 * taken for the answer to a later one. Here each try has a reply channel of its own, with room for one
 * answer: a late one goes there, where nobody looks any more, and ends with it; the server never waits
 * for a client that has given up. The client counts what it took, and the server, at the end, proves
 * that its late answer was sent.
 */
#include <kith.h>
#include <stdio.h>

struct reply {
    int request; /* which one it answers */
    int value;   /* < 0: refused */
};

KITH_CHAN(replies, struct reply);

struct request {
    int number;
    replies to;
};

KITH_CHAN(requests, struct request);

enum { TRIES = 5, LATE = 1, REFUSED = 2 };

#define TIMEOUT (500 * KITH_MS)
#define LATE_BY (3 * TIMEOUT)
#define FIRST_PAUSE (20 * KITH_MS)

/* ---- the server: a fiber a request, so a slow one keeps nobody waiting ---- */

static int late_answers;

static void answer(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct request *r = arg;
    struct reply reply = {.request = r->number, .value = r->number == REFUSED ? -1 : 42};
    if (r->number != LATE || kith_sleep(co, kith_in(LATE_BY)) == KITH_OK) {
        kith_err err = replies_send(co, r->to, reply, KITH_NOWAIT);
        late_answers += err == KITH_OK && r->number == LATE;
    }
    kith_chan_drop(r->to.chan);
}

static void server(kith_self *self, kith_co *co, void *arg)
{
    requests in = *(requests *)arg;
    kith_scope *answers = kith_scope_new(co);
    struct request r;
    while (requests_recv(co, in, &r, KITH_FOREVER) == KITH_OK)
        kith_scope_go_with(self, answers, answer, &r,
                           (&(kith_fiber_options){.arg_bytes = sizeof r}));
    kith_scope_leave(co, answers);
}

/* ---- the client ---- */

/* One try: KITH_OK and *value, KITH_ETIMEOUT, or KITH_EFAILED if the server refused. */
static kith_err try_once(kith_self *self, kith_co *co, requests to, int number, int *value)
{
    replies back = replies_new(self, 1);
    struct request request = {number, {kith_chan_keep(back.chan)}};
    struct reply reply = {0};
    kith_err err = requests_send(co, to, request, kith_in(TIMEOUT));
    if (err != KITH_OK) {
        kith_chan_drop(request.to.chan);
    } else {
        int which = kith_select(co, KITH_CASES(KITH_RECV(back.chan, &reply)), kith_in(TIMEOUT));
        err = which < 0 ? (kith_err)which : reply.value < 0 ? KITH_EFAILED : KITH_OK;
        if (which == 0 && reply.request != number)
            err = KITH_ETYPE; /* another try's answer: must never happen */
    }
    kith_chan_drop(back.chan);
    *value = reply.value;
    return err;
}

static void client(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    requests to = requests_new(self, 0);
    kith_scope *scope = kith_scope_new(co);
    kith_scope_go(self, scope, server, &to);

    static const kith_err expected[] = {KITH_ETIMEOUT, KITH_EFAILED, KITH_OK};
    bool right = true;
    int value = 0;
    kith_err err = KITH_EFAILED;
    kith_time pause = FIRST_PAUSE;
    int tries = 0;
    while (tries < TRIES && err != KITH_OK) {
        if (tries > 0) {
            kith_sleep(co, kith_in(pause));
            pause *= 2;
        }
        err = try_once(self, co, to, ++tries, &value);
        printf("try %d: %s\n", tries, kith_strerror(err));
        right = right && tries <= 3 && err == expected[tries - 1];
    }
    kith_chan_close(to.chan);
    kith_scope_leave(co, scope); /* the late answer, too, has been sent */
    kith_chan_drop(to.chan);
    right = right && value == 42 && late_answers == 1;
    printf("check: failed twice, then %d; the late answer was sent, and not taken: %s\n", value,
           right ? "ok" : "wrong");
    if (!right)
        kith_fail(self, KITH_EFAILED);
}

int main(void)
{
    return kith_main(NULL, client, NULL);
}
