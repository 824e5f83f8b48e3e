/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 08_timers: one actor sets a million timers and cancels every other one.
 *
 * The known answers, for each single timer: it goes off once or is canceled, never both and never
 * neither; not a nanosecond early; and of those with equal deadlines (about 3,300 share one) the one
 * set first goes off first. Canceling succeeds exactly if the timer has not gone off yet: that is
 * so on the slowest machine, too, where the first ones go off while the last ones are being set.
 *
 * The work is cut into slices, with a message to itself in between: a handler that sets a million
 * timers in one go would keep its worker from everything else.
 */
#include <kith.h>
#include <stdio.h>
#include <stdlib.h>

enum { TIMERS = 1000000, SLICE = 1000, DEADLINES = 300 };

KITH_MESSAGE(set_slice, { int from; });
KITH_MESSAGE(cancel_slice, { int from; });
KITH_MESSAGE(ring, {
    int number;
    int deadline; /* index into alarm_clock.last */
});
KITH_MESSAGE(report, {
    int fired;
    int canceled;
    int wrong; /* early, out of order, twice, after canceling, or lost */
    kith_time latest_ns;
});

enum state { NOT_SET, SET, CANCELED, FIRED };

struct alarm {
    kith_timer timer;
    enum state state;
};

struct alarm_clock {
    struct alarm *alarms;
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
    me->alarms = calloc(TIMERS, sizeof *me->alarms);
    if (me->alarms == NULL)
        return KITH_ENOMEM;
    me->first_deadline = kith_in(600 * KITH_MS);
    for (int i = 0; i < DEADLINES; i++)
        me->last[i] = -1;
    return kith_send(self, kith_self_ref(self), set_slice, .from = 0);
}

static void alarm_clock_stop(KITH_UNUSED kith_self *self, void *state, KITH_UNUSED kith_err reason)
{
    struct alarm_clock *me = state;
    free(me->alarms);
}

KITH_ON(alarm_clock, set_slice)
{
    int to = msg->from + SLICE;
    for (int i = msg->from; i < to; i++) {
        int deadline = (int)(kith_random(self) % DEADLINES);
        kith_timer timer =
            kith_at(self, deadline_of(me, deadline), ring, .number = i, .deadline = deadline);
        if (kith_timer_error(timer) != KITH_OK)
            return kith_timer_error(timer);
        me->alarms[i] = (struct alarm){.timer = timer, .state = SET};
    }
    if (to < TIMERS)
        return kith_send(self, kith_self_ref(self), set_slice, .from = to);
    return kith_send(self, kith_self_ref(self), cancel_slice, .from = 0);
}

static kith_err report_if_done(kith_self *self, const struct alarm_clock *me)
{
    if (me->so_far.fired + me->so_far.canceled < TIMERS)
        return KITH_OK;
    return kith_send_copy(self, kith_parent(self), &kith_type_report, &me->so_far);
}

KITH_ON(alarm_clock, cancel_slice)
{
    int to = msg->from + SLICE;
    for (int i = msg->from; i < to; i += 2) {
        struct alarm *alarm = &me->alarms[i];
        bool was_set = alarm->state == SET;
        bool canceled = kith_timer_cancel(self, alarm->timer) == KITH_OK;
        if (canceled != was_set)
            me->so_far.wrong++;
        if (!canceled)
            continue;
        alarm->state = CANCELED;
        me->so_far.canceled++;
    }
    if (to < TIMERS)
        return kith_send(self, kith_self_ref(self), cancel_slice, .from = to);
    return report_if_done(self, me);
}

KITH_ON(alarm_clock, ring)
{
    kith_time now = kith_now();
    kith_time due = deadline_of(me, msg->deadline);
    bool early = now < due;
    bool overtook = msg->number < me->last[msg->deadline];
    if (early || overtook || me->alarms[msg->number].state != SET)
        me->so_far.wrong++;
    if (!early && now - due > me->so_far.latest_ns)
        me->so_far.latest_ns = now - due;
    me->last[msg->deadline] = msg->number;
    me->alarms[msg->number].state = FIRED;
    me->so_far.fired++;
    return report_if_done(self, me);
}

static const kith_behavior alarm_clock = {
    .name = "alarm clock",
    .state_bytes = sizeof(struct alarm_clock),
    .init = alarm_clock_init,
    .stop = alarm_clock_stop,
    .handlers = KITH_HANDLERS(alarm_clock, set_slice, cancel_slice, ring),
};

static void timers(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    kith_spawn(self, &alarm_clock, NULL);
    kith_msg *msg;
    report r = {.wrong = 1};
    if (kith_receive(co, kith_in(KITH_MINUTE), &msg) == KITH_OK)
        r = *kith_body(msg, report);
    printf("%d timers: %d canceled, %d went off, the latest %.3f ms after its deadline\n", TIMERS,
           r.canceled, r.fired, (double)r.latest_ns / 1e6);

    bool ok = r.wrong == 0 && r.fired + r.canceled == TIMERS;
    printf("check: none lost, none early, none after canceling, equal deadlines in order: %s\n",
           ok ? "ok" : "FAILED");
    if (!ok)
        kith_fail(self, KITH_EFAILED);
}

int main(void)
{
    return kith_main(NULL, timers, NULL);
}
