/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 08_timers: one actor sets a million timers and cancels half of them.
 *
 * The known answers: 500,000 are canceled and none of those goes off; each of the other 500,000 goes
 * off once, and not a nanosecond early; and of those with equal deadlines (some 1,700 share one) the
 * one that was set first goes off first. That is so on the slowest machine, too, where the first
 * deadlines pass while the last timers are being set: what is canceled is canceled in the handler
 * that set it, so it cannot have gone off.
 *
 * The work is cut into slices, with a message to itself in between: a handler that sets a million
 * timers in one go would keep its worker from everything else.
 */
#include <kith.h>
#include <stdio.h>
#include <stdlib.h>

enum { TIMERS = 1000000, SLICE = 100, DEADLINES = 300 };

KITH_MESSAGE(set_slice, { int from; });
KITH_MESSAGE(ring, {
    int number;
    int deadline; /* index into alarm_clock.last */
});
KITH_MESSAGE(report, {
    int fired;
    int canceled;
    int wrong; /* early, out of order, twice, or after canceling */
    kith_time latest_ns;
});

struct alarm_clock {
    bool *expected; /* of each timer: whether it is to go off, and has not yet */
    kith_time first_deadline;
    int last[DEADLINES]; /* number of the timer that last went off at this deadline */
    report so_far;
};

static kith_time deadline_of(const struct alarm_clock *me, int deadline)
{
    return me->first_deadline + (kith_time)deadline * KITH_MS;
}

static kith_err alarm_clock_init(kith_self *self, void *state, KITH_UNUSED const void *arg)
{
    struct alarm_clock *me = state;
    me->expected = calloc(TIMERS, sizeof *me->expected);
    if (me->expected == NULL)
        return KITH_ENOMEM;
    me->first_deadline = kith_in(500 * KITH_MS);
    for (int i = 0; i < DEADLINES; i++)
        me->last[i] = -1;
    return kith_send(self, kith_self_ref(self), set_slice, .from = 0);
}

static void alarm_clock_stop(KITH_UNUSED kith_self *self, void *state, KITH_UNUSED kith_err reason)
{
    struct alarm_clock *me = state;
    free(me->expected);
}

static kith_timer set_timer(kith_self *self, struct alarm_clock *me, int number)
{
    int deadline = (int)(kith_random(self) % DEADLINES);
    me->expected[number] = true;
    return kith_at(self, deadline_of(me, deadline), ring, .number = number, .deadline = deadline);
}

static kith_err cancel_timer(kith_self *self, struct alarm_clock *me, int number, kith_timer timer)
{
    me->expected[number] = false;
    me->so_far.canceled++;
    return kith_timer_cancel(self, timer);
}

KITH_ON(alarm_clock, set_slice)
{
    kith_timer timers[SLICE];
    kith_err err = KITH_OK;
    for (int i = 0; i < SLICE && err == KITH_OK; i++) {
        timers[i] = set_timer(self, me, msg->from + i);
        err = kith_timer_error(timers[i]);
    }
    for (int i = 0; i < SLICE && err == KITH_OK; i += 2)
        err = cancel_timer(self, me, msg->from + i, timers[i]);
    if (err == KITH_OK && msg->from + SLICE < TIMERS)
        err = kith_send(self, kith_self_ref(self), set_slice, .from = msg->from + SLICE);
    return err;
}

KITH_ON(alarm_clock, ring)
{
    kith_time now = kith_now();
    kith_time due = deadline_of(me, msg->deadline);
    bool early = now < due;
    bool overtook = msg->number < me->last[msg->deadline];
    if (early || overtook || !me->expected[msg->number])
        me->so_far.wrong++;
    if (!early && now - due > me->so_far.latest_ns)
        me->so_far.latest_ns = now - due;
    me->last[msg->deadline] = msg->number;
    me->expected[msg->number] = false;
    if (++me->so_far.fired < TIMERS / 2)
        return KITH_OK;
    return kith_send_copy(self, kith_parent(self), &kith_type_report, &me->so_far);
}

static const kith_behavior alarm_clock = {
    .name = "alarm clock",
    .state_bytes = sizeof(struct alarm_clock),
    .init = alarm_clock_init,
    .stop = alarm_clock_stop,
    .handlers = KITH_HANDLERS(alarm_clock, set_slice, ring),
};

static void timers(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    kith_ref clock = kith_spawn(self, &alarm_clock, NULL);
    kith_monitor(self, clock); /* should it fail, the report is a kith_down */
    kith_msg *msg;
    report r = {.wrong = 1};
    if (kith_receive(co, kith_in(KITH_MINUTE), &msg) == KITH_OK && kith_body(msg, report) != NULL)
        r = *kith_body(msg, report);
    printf("%d timers: %d canceled, %d went off, the latest %.3f ms after its deadline\n", TIMERS,
           r.canceled, r.fired, (double)r.latest_ns / 1e6);

    bool ok = r.wrong == 0 && r.canceled == TIMERS / 2 && r.fired == TIMERS / 2;
    printf("check: none lost, none early, none after canceling, equal deadlines in order: %s\n",
           ok ? "ok" : "FAILED");
    if (!ok)
        kith_fail(self, KITH_EFAILED);
}

int main(int argc, KITH_UNUSED char **argv)
{
    if (argc > 1) {
        fprintf(stderr, "usage: 08_timers\n");
        return 2;
    }
    return kith_main(NULL, timers, NULL);
}
