/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of kith_spawn, kith_spawn_with, kith_stop, kith_fail, kith_self_ref, kith_parent: an actor's
 * life from its init to its stop hook.
 *
 * Each test runs with 1, 2 and 4 workers (actors_common.h). What an actor does is written to memory
 * of the test's; the death of the actor, which the test waits for, publishes it.
 */
#define LOOP_TOO
#include "tests/unit/actors_common.h"

/* What the hooks of an observed actor saw. */
struct seen {
    int inits;
    int stops;
    int handled;
    kith_err reason;
    kith_err init_result;
    kith_ref self;
    kith_ref parent;
    kith_ref sender;
    kith_ref child;
    bool zeroed;
    bool aligned;
    void (*in_init)(kith_self *self, struct seen *seen);
    void (*in_stop)(kith_self *self, struct seen *seen);
};

struct observed {
    struct seen *seen;
    unsigned char bytes[24];
};

static bool all_zero(const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static kith_err observed_init(kith_self *self, void *state, const void *arg)
{
    struct observed *me = state;
    struct seen *seen;
    memcpy(&seen, arg, sizeof seen);
    seen->zeroed = all_zero(state, sizeof *me);
    seen->aligned = (uintptr_t)state % 16 == 0;
    me->seen = seen;
    seen->inits++;
    seen->self = kith_self_ref(self);
    seen->parent = kith_parent(self);
    seen->sender = kith_sender(self);
    if (seen->in_init != NULL)
        seen->in_init(self, seen);
    return seen->init_result;
}

static void observed_stop(kith_self *self, void *state, kith_err reason)
{
    struct observed *me = state;
    me->seen->stops++;
    me->seen->reason = reason;
    if (me->seen->in_stop != NULL)
        me->seen->in_stop(self, me->seen);
}

KITH_ON(observed, number)
{
    me->seen->handled++;
    if (msg->value < 0)
        return kith_fail(self, (kith_err)msg->value);
    return KITH_OK;
}

KITH_ON(observed, tell)
{
    me->seen->handled++;
    return msg->fn(self, NULL, msg->arg);
}

static const kith_behavior observed = {
    .name = "observed",
    .state_bytes = sizeof(struct observed),
    .handlers = KITH_HANDLERS(observed, number, tell),
    .init = observed_init,
    .stop = observed_stop,
};

static kith_ref spawn_observed(struct env *e, struct seen *seen)
{
    return kith_spawn(e->self, &observed, &seen);
}

/* ---- init ---- */

TEST_ON_WORKERS(init_runs_before_spawn_returns)
{
    struct seen seen = {0};
    kith_ref actor = spawn_observed(e, &seen);
    CHECK_EQ(kith_ref_error(actor), KITH_OK);
    CHECK_EQ(seen.inits, 1);
    CHECK(seen.zeroed);
    CHECK(seen.aligned);
    CHECK(kith_ref_same(seen.self, actor));
    CHECK(kith_ref_same(seen.parent, kith_self_ref(e->self)));
    CHECK_EQ(seen.sender.bits, 0u);
    CHECK_EQ(env_stats(e).actors, 1u);
    stop_and_wait(e, actor);
    CHECK_EQ(seen.stops, 1);
    CHECK_EQ(seen.reason, KITH_OK);
    CHECK_EQ(env_stats(e).spawned, 1u);
}

TEST_ON_WORKERS(init_that_fails_ends_the_actor_without_its_stop_hook)
{
    struct seen seen = {.init_result = KITH_EIO};
    kith_ref actor = spawn_observed(e, &seen);
    CHECK_EQ(kith_ref_error(actor), KITH_EIO);
    CHECK_EQ(seen.inits, 1);
    CHECK_EQ(kith_send(e->self, seen.self, number), KITH_EDEAD);
    CHECK_EQ(kith_send(e->self, actor, number), KITH_EBADREF);
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
    CHECK_EQ(seen.stops, 0);
    CHECK_EQ(env_stats(e).actors, 0u);
}

static void fail_here(kith_self *self, struct seen *seen)
{
    (void)seen;
    CHECK_EQ(kith_fail(self, KITH_EBUSY), KITH_EBUSY);
}

TEST_ON_WORKERS(kith_fail_in_init_fails_the_spawn)
{
    struct seen seen = {.in_init = fail_here};
    CHECK_EQ(kith_ref_error(spawn_observed(e, &seen)), KITH_EBUSY);
    CHECK_EQ(seen.stops, 0);
}

static void busy_init(kith_self *self, struct seen *seen)
{
    CHECK_EQ(kith_monitor(self, kith_parent(self)), KITH_OK);
    CHECK_EQ(parcel_send(self, seen->self, 1), KITH_OK);
    CHECK_EQ(kith_timer_error(kith_at(self, kith_in(KITH_HOUR), number)), KITH_OK);
    CHECK_EQ(kith_receive_timeout(self, KITH_HOUR), KITH_OK);
    CHECK_EQ(kith_dead_letters_subscribe(self), KITH_OK);
    seen->child = kith_spawn(self, &doer, NULL);
}

TEST_ON_WORKERS(init_that_fails_takes_back_what_it_began)
{
    struct seen seen = {.in_init = busy_init, .init_result = KITH_EPIPE};
    CHECK_EQ(kith_ref_error(spawn_observed(e, &seen)), KITH_EPIPE);
    CHECK_EQ(env_stats(e).timers, 0u);
    CHECK_EQ(parcels_open(), 0u);
    CHECK_EQ(kith_ref_error(seen.child), KITH_OK);
    settle(e, seen.child); /* a child lives on */
}

static void send_to_self(kith_self *self, struct seen *seen)
{
    for (int i = 0; i < 3; i++)
        CHECK_EQ(kith_send(self, seen->self, number), KITH_OK);
    CHECK_EQ(seen->handled, 0); /* not before init has returned */
}

TEST_ON_WORKERS(init_may_send_to_itself)
{
    struct seen seen = {.in_init = send_to_self};
    kith_ref actor = spawn_observed(e, &seen);
    CHECK_EQ(kith_send(e->self, actor, number, .value = KITH_EIO), KITH_OK);
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
    CHECK_EQ(seen.handled, 4);
    CHECK_EQ(seen.reason, KITH_EIO);
}

static void stop_here(kith_self *self, struct seen *seen)
{
    CHECK_EQ(kith_stop(self, seen->self), KITH_OK);
}

TEST_ON_WORKERS(init_may_stop_itself)
{
    struct seen seen = {.in_init = stop_here};
    kith_ref actor = spawn_observed(e, &seen);
    CHECK_EQ(kith_ref_error(actor), KITH_OK);
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
    CHECK_EQ(seen.stops, 1);
    CHECK_EQ(seen.reason, KITH_OK);
    CHECK_EQ(kith_send(e->self, actor, number), KITH_EDEAD);
}

static void send_and_stop(kith_self *self, struct seen *seen)
{
    CHECK_EQ(parcel_send(self, seen->self, 5), KITH_OK);
    stop_here(self, seen);
}

TEST_ON_WORKERS(init_that_stops_itself_drops_its_mailbox)
{
    struct seen seen = {.in_init = send_and_stop};
    CHECK_EQ(kith_ref_error(spawn_observed(e, &seen)), KITH_OK);
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
    CHECK_EQ(parcels_open(), 0u);
    CHECK_EQ(env_stats(e).dead_letters, 1u);
}

#define NEST 5

static void spawn_nested(kith_self *self, struct seen *seen)
{
    struct seen *inner = seen + 1;
    if (inner->in_init != NULL) /* the last has none */
        seen->child = kith_spawn(self, &observed, &inner);
    CHECK(kith_ref_same(kith_self_ref(self), seen->self)); /* the inner one is not self any more */
}

TEST_ON_WORKERS(init_may_spawn)
{
    struct seen seen[NEST + 1] = {0};
    for (int i = 0; i < NEST; i++)
        seen[i].in_init = spawn_nested;
    kith_ref first = spawn_observed(e, &seen[0]);
    CHECK_EQ(kith_ref_error(first), KITH_OK);
    for (int i = 0; i < NEST; i++) {
        CHECK_EQ(seen[i].inits, 1);
        kith_ref parent = i == 0 ? kith_self_ref(e->self) : seen[i - 1].self;
        CHECK(kith_ref_same(seen[i].parent, parent));
        stop_and_wait(e, seen[i].self); /* the children of the dead live on */
    }
}

/* ---- parents ---- */

struct spawning {
    kith_ref parent;
    kith_ref child;
    struct seen *seen;
};

static kith_err spawn_with_parent(kith_self *self, struct doer *me, void *arg)
{
    struct spawning *s = arg;
    (void)me;
    kith_spawn_options options = {.parent = s->parent};
    s->child = kith_spawn_with(self, &observed, &s->seen, &options);
    return kith_ref_error(s->child);
}

TEST_ON_WORKERS(the_parent_is_the_spawner_or_the_one_named)
{
    struct seen seen = {0};
    kith_ref a = kith_spawn(e->self, &doer, NULL);
    kith_ref b = kith_spawn_with(e->self, &doer, NULL, &(kith_spawn_options){.parent = a});
    struct spawning s = {.seen = &seen};
    CHECK_EQ(do_in(e, a, spawn_with_parent, &s), KITH_OK);
    CHECK(kith_ref_same(seen.parent, a));
    stop_and_wait(e, s.child);
    s.parent = b;
    CHECK_EQ(do_in(e, a, spawn_with_parent, &s), KITH_OK);
    CHECK(kith_ref_same(seen.parent, b));
    stop_and_wait(e, s.child);
    s.parent = kith_self_ref(e->self); /* a thread */
    CHECK_EQ(do_in(e, a, spawn_with_parent, &s), KITH_OK);
    CHECK(kith_ref_same(seen.parent, s.parent));
    stop_and_wait(e, s.child);
    CHECK_EQ(kith_parent(e->self).bits, 0u); /* a thread has none */
}

TEST_ON_WORKERS(a_parent_must_live)
{
    struct seen seen = {0};
    struct seen *at = &seen;
    kith_spawn_options options = {.parent = made_up()};
    CHECK_EQ(kith_ref_error(kith_spawn_with(e->self, &observed, &at, &options)), KITH_EBADREF);
    options.parent = kith_spawn(e->self, NULL, NULL); /* carries an error */
    CHECK_EQ(kith_ref_error(kith_spawn_with(e->self, &observed, &at, &options)), KITH_EBADREF);
    kith_timer timer = kith_at(e->self, kith_in(KITH_HOUR), number);
    options.parent.bits = timer.bits; /* of another kind */
    CHECK_EQ(kith_ref_error(kith_spawn_with(e->self, &observed, &at, &options)), KITH_EBADREF);
    options.parent = kith_spawn(e->self, &doer, NULL);
    stop_and_wait(e, options.parent);
    CHECK_EQ(kith_ref_error(kith_spawn_with(e->self, &observed, &at, &options)), KITH_EDEAD);
    CHECK_EQ(seen.inits, 0);
}

/* ---- bad input ---- */

TEST_ON_WORKERS(spawn_refuses_nonsense)
{
    kith_behavior huge = {.name = "huge", .state_bytes = SIZE_MAX};
    kith_behavior large = {.name = "large", .state_bytes = SIZE_MAX / 2 + 1};
    CHECK_EQ(kith_ref_error(kith_spawn(NULL, &doer, NULL)), KITH_EPERM);
    CHECK_EQ(kith_ref_error(kith_spawn(e->self, NULL, NULL)), KITH_EINVAL);
    CHECK_EQ(kith_ref_error(kith_spawn_with(NULL, NULL, NULL, NULL)), KITH_EPERM);
    CHECK_NE(kith_ref_error(kith_spawn(e->self, &huge, NULL)), KITH_OK);
    CHECK_NE(kith_ref_error(kith_spawn(e->self, &large, NULL)), KITH_OK);
    CHECK_EQ(env_stats(e).actors, 0u);
}

static const kith_behavior empty = {0};

TEST_ON_WORKERS(an_empty_behaviour_is_an_actor)
{
    kith_ref actor = kith_spawn_with(e->self, &empty, NULL, &(kith_spawn_options){.worker = 0});
    CHECK_EQ(kith_ref_error(actor), KITH_OK);
    CHECK_EQ(kith_send(e->self, actor, number), KITH_OK);
    stop_and_wait(e, actor);
}

TEST_ON_WORKERS(a_handle_tells_its_error)
{
    (void)e;
    CHECK_EQ(kith_ref_error((kith_ref){0}), KITH_EBADREF);
    CHECK_EQ(kith_timer_error((kith_timer){0}), KITH_EBADREF);
    CHECK_EQ(kith_sock_error((kith_sock){0}), KITH_EBADREF);
    kith_ref actor = kith_spawn(e->self, &empty, NULL);
    CHECK_EQ(kith_timer_error((kith_timer){actor.bits}), KITH_EBADREF);
    CHECK_EQ(kith_sock_error((kith_sock){actor.bits}), KITH_EBADREF);
    CHECK(kith_ref_same(actor, actor));
    CHECK(!kith_ref_same(actor, kith_self_ref(e->self)));
}

/* Somebody else's self: all that an actor may call must refuse it. */
static void check_refused(kith_self *foreign, kith_ref actor)
{
    CHECK_EQ(kith_ref_error(kith_spawn(foreign, &doer, NULL)), KITH_EPERM);
    CHECK_EQ(kith_self_ref(foreign).bits, 0u);
    CHECK_EQ(kith_parent(foreign).bits, 0u);
    CHECK_EQ(kith_sender(foreign).bits, 0u);
    CHECK_EQ(kith_stop(foreign, actor), KITH_EPERM);
    CHECK_EQ(kith_fail(foreign, KITH_EIO), KITH_EPERM);
    CHECK(kith_self_runtime(foreign) == NULL);
    CHECK_EQ(kith_random(foreign), 0u);
    CHECK_EQ(kith_monitor(foreign, actor), KITH_EPERM);
    CHECK_EQ(kith_demonitor(foreign, actor), KITH_EPERM);
    CHECK_EQ(kith_dead_letters_subscribe(foreign), KITH_EPERM);
    CHECK_EQ(kith_dead_letters_unsubscribe(foreign), KITH_EPERM);
    CHECK_EQ(kith_detach(foreign), KITH_EPERM);
}

static kith_err refuse_others(kith_self *self, struct doer *me, void *arg)
{
    struct doer *other = arg;
    (void)me;
    check_refused(other->kept, kith_self_ref(self));
    check_refused(NULL, kith_self_ref(self));
    CHECK_EQ(kith_detach(self), KITH_EPERM); /* an actor is not attached */
    return KITH_OK;
}

static kith_err lend_self(kith_self *self, struct doer *me, void *arg)
{
    struct doer **out = arg;
    me->kept = self;
    *out = me;
    return KITH_OK;
}

TEST_ON_WORKERS(another_actors_self_is_refused)
{
    struct doer *lender = NULL;
    kith_ref a = kith_spawn(e->self, &doer, NULL);
    kith_ref b = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, a, lend_self, &lender), KITH_OK);
    REQUIRE(lender != NULL);
    CHECK_EQ(do_in(e, b, refuse_others, lender), KITH_OK);
    check_refused(lender->kept, a);
    settle(e, a);
}

/* ---- stop and fail ---- */

TEST_ON_WORKERS(stop_refuses_nonsense)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    kith_timer timer = kith_at(e->self, kith_in(KITH_HOUR), number);
    CHECK_EQ(kith_stop(e->self, (kith_ref){0}), KITH_EBADREF);
    CHECK_EQ(kith_stop(e->self, made_up()), KITH_EBADREF);
    CHECK_EQ(kith_stop(e->self, kith_spawn(e->self, NULL, NULL)), KITH_EBADREF);
    CHECK_EQ(kith_stop(e->self, (kith_ref){timer.bits}), KITH_EBADREF);
    CHECK_EQ(kith_stop(NULL, actor), KITH_EPERM);
    stop_and_wait(e, actor);
    CHECK_EQ(kith_stop(e->self, actor), KITH_EDEAD);
}

static kith_err fail_with_return(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    (void)me;
    kith_err err;
    memcpy(&err, arg, sizeof err);
    return err;
}

static kith_err fail_and_return_ok(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    kith_err err;
    memcpy(&err, arg, sizeof err);
    CHECK_EQ(kith_fail(self, err), err == KITH_OK ? KITH_EFAILED : err);
    return KITH_OK;
}

static kith_err fail_twice(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    (void)arg;
    CHECK_EQ(kith_fail(self, KITH_EIO), KITH_EIO);
    return KITH_EBUSY; /* the first reason counts */
}

static kith_err stop_then_go_on(kith_self *self, struct doer *me, void *arg)
{
    int *went_on = arg;
    (void)me;
    CHECK_EQ(kith_stop(self, kith_self_ref(self)), KITH_OK);
    *went_on = 1; /* the handler ends normally */
    return KITH_OK;
}

static kith_err down_reason(struct env *e, do_fn *fn, void *arg, struct seen *seen)
{
    kith_ref actor = spawn_observed(e, seen);
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    do_later(e, actor, fn, arg);
    return await_down(e, actor);
}

TEST_ON_WORKERS(an_actor_dies_of_what_its_handler_says)
{
    kith_err reasons[] = {KITH_EIO, KITH_EFAILED, (kith_err)-7777};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        struct seen seen = {0};
        CHECK_EQ(down_reason(e, fail_with_return, &reasons[i], &seen), reasons[i]);
        CHECK_EQ(seen.reason, reasons[i]);
        seen = (struct seen){0};
        CHECK_EQ(down_reason(e, fail_and_return_ok, &reasons[i], &seen), reasons[i]);
        CHECK_EQ(seen.stops, 1);
    }
    struct seen seen = {0};
    kith_err ok = KITH_OK;
    CHECK_EQ(down_reason(e, fail_and_return_ok, &ok, &seen), KITH_EFAILED);
    CHECK_EQ(down_reason(e, fail_twice, NULL, &seen), KITH_EIO);
    int went_on = 0;
    CHECK_EQ(down_reason(e, stop_then_go_on, &went_on, &seen), KITH_OK);
    CHECK_EQ(went_on, 1);
    CHECK_EQ(seen.reason, KITH_OK);
}

/* Nothing is handled after the message that stopped or failed the actor. */
TEST_ON_WORKERS(what_waits_behind_a_failure_is_dropped)
{
    struct seen seen = {0};
    struct gate gate = {0};
    kith_ref actor = spawn_observed(e, &seen);
    kith_err reason = KITH_EIO;
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    do_later(e, actor, do_wait, &gate);
    do_later(e, actor, fail_with_return, &reason);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(parcel_send(e->self, actor, i), KITH_OK);
    CHECK_EQ(kith_send(e->self, actor, number), KITH_OK);
    kith__store_seq(&gate.open, 1);
    CHECK_EQ(await_down(e, actor), KITH_EIO);
    CHECK_EQ(seen.handled, 2);
    CHECK_EQ(parcels_open(), 0u);
    CHECK_EQ(env_stats(e).dead_letters, 11u);
}

/* ---- the stop hook ---- */

static void stop_sends(kith_self *self, struct seen *seen)
{
    CHECK(kith_ref_same(kith_self_ref(self), seen->self));
    CHECK_EQ(kith_sender(self).bits, 0u);
    CHECK(kith_keep(self) == NULL);
    CHECK_EQ(kith_send(self, seen->parent, number, .value = 77), KITH_OK);
    CHECK_EQ(parcel_send(self, seen->self, 3), KITH_OK); /* to itself: nobody will handle it */
    CHECK_EQ(kith_timer_error(kith_at(self, KITH_NOWAIT, number)), KITH_OK);
    CHECK_EQ(kith_stop(self, seen->self), KITH_OK);
    seen->child = kith_spawn(self, &doer, NULL);
}

TEST_ON_WORKERS(the_stop_hook_may_still_send)
{
    struct seen seen = {.in_stop = stop_sends};
    kith_ref actor = spawn_observed(e, &seen);
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    const number *n = RECEIVE(e, number);
    REQUIRE(n != NULL);
    CHECK_EQ(n->value, 77);
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    RECEIVE(e, kith_down);
    CHECK_EQ(seen.stops, 1);
    CHECK_EQ(parcels_open(), 0u);
    CHECK_EQ(env_stats(e).timers, 0u);
    settle(e, seen.child);
}

/* ---- states ---- */

#define STATE_MAX 200000u

static size_t state_bytes; /* of the sized actor being tested */

static kith_err sized_init(kith_self *self, void *me, const void *arg)
{
    (void)self;
    (void)arg;
    CHECK(all_zero(me, state_bytes));
    CHECK_EQ((uintptr_t)me % 16, 0u);
    memset(me, 0xa5, state_bytes);
    return KITH_OK;
}

static void sized_stop(kith_self *self, void *me, kith_err reason)
{
    const unsigned char *bytes = me;
    (void)self;
    (void)reason;
    for (size_t i = 0; i < state_bytes; i++)
        if (bytes[i] != 0xa5) {
            FAIL("byte %zu of %zu was changed", i, state_bytes);
            break;
        }
}

/* Sizes on both sides of every class, and of the largest that stands beside its actor. */
TEST_ON_WORKERS(states_of_all_sizes_are_zeroed_and_their_own)
{
    size_t sizes[] = {0,   1,   15,  16,  31,   32,   33,   95,   96,    97, 511,
                      512, 927, 928, 929, 1023, 1024, 1025, 4096, 65536, 8,  STATE_MAX};
    static kith_behavior sized[sizeof sizes / sizeof sizes[0]]; /* each outlives its actors */
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        state_bytes = sizes[i];
        kith_behavior behavior = {
            .name = "sized", .state_bytes = sizes[i], .init = sized_init, .stop = sized_stop};
        memcpy(&sized[i], &behavior, sizeof behavior);
        for (int round = 0; round < 2; round++) { /* the second reuses the first one's memory */
            kith_ref a = kith_spawn(e->self, &sized[i], NULL);
            kith_ref b = kith_spawn(e->self, &sized[i], NULL);
            stop_and_wait(e, a);
            stop_and_wait(e, b);
        }
    }
}

/* ---- many ---- */

#define MANY 3000

TEST_ON_WORKERS(many_actors_have_references_of_their_own)
{
    kith_ref *actors = calloc(MANY, sizeof *actors);
    REQUIRE(actors != NULL);
    for (int i = 0; i < MANY; i++) {
        actors[i] = kith_spawn(e->self, &empty, NULL);
        CHECK_EQ(kith_ref_error(actors[i]), KITH_OK);
        if (i > 0)
            CHECK(!kith_ref_same(actors[i], actors[i - 1]));
    }
    CHECK_EQ(env_stats(e).actors, (uint64_t)MANY);
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(kith_stop(e->self, actors[i]), KITH_OK);
    CHECK_EQ(kith_join(e->rt, PATIENCE), KITH_OK);
    kith_ref again = kith_spawn(e->self, &empty, NULL); /* in somebody's slot */
    for (int i = 0; i < MANY; i++) {
        CHECK(!kith_ref_same(actors[i], again));
        CHECK_EQ(kith_stop(e->self, actors[i]), KITH_EDEAD);
    }
    settle(e, kith_spawn(e->self, &doer, NULL));
    stop_and_wait(e, again);
    free(actors);
}
