/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of kith_monitor, kith_demonitor and of the dead letters.
 *
 * Each test runs with 1, 2 and 4 workers (actors_common.h). The main thread is a watcher too: it is
 * told by messages, as actors are.
 */
#define LOOP_TOO
#include "tests/unit/actors_common.h"

KITH_MESSAGE(unknown, { char none; });

static kith_err fail_with(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    (void)me;
    kith_err err;
    memcpy(&err, arg, sizeof err);
    return err;
}

/* ---- monitors ---- */

TEST_ON_WORKERS(a_down_names_who_and_why)
{
    kith_err reason = KITH_ECONNRESET;
    kith_ref stopped = kith_spawn(e->self, &doer, NULL);
    kith_ref failed = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_monitor(e->self, stopped), KITH_OK);
    CHECK_EQ(kith_stop(e->self, stopped), KITH_OK);
    CHECK_EQ(await_down(e, stopped), KITH_OK);
    CHECK_EQ(kith_sender(e->self).bits, 0u);
    CHECK_EQ(kith_monitor(e->self, failed), KITH_OK);
    do_later(e, failed, fail_with, &reason);
    CHECK_EQ(await_down(e, failed), KITH_ECONNRESET);
    CHECK(nothing_waits(e));
}

TEST_ON_WORKERS(a_monitor_on_the_dead_answers_at_once)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    stop_and_wait(e, actor);
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    CHECK_EQ(await_down(e, actor), KITH_EDEAD);
    CHECK_EQ(env_stats(e).dead_letters, 0u);
}

static kith_err write_and_die(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    (void)me;
    *(int *)arg = 7;
    return KITH_EFAILED;
}

/* The watcher comes too late, and may rely on what the dead did all the same (TSan sees if not). */
TEST_ON_WORKERS(a_monitor_on_the_dead_shows_what_they_did)
{
    for (int i = 0; i < 20; i++) {
        int *word = calloc(1, sizeof *word);
        kith_ref actor = kith_spawn(e->self, &doer, NULL);
        do_later(e, actor, write_and_die, word);
        while (kith_send(e->self, actor, tell, .fn = do_nothing) == KITH_OK)
            sched_yield();
        CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
        CHECK_EQ(await_down(e, actor), KITH_EDEAD);
        CHECK_EQ(*word, 7);
        free(word);
    }
}

TEST_ON_WORKERS(two_monitors_are_two_messages)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    CHECK_EQ(await_down(e, actor), KITH_OK);
    CHECK_EQ(await_down(e, actor), KITH_OK);
    CHECK(nothing_waits(e));
}

TEST_ON_WORKERS(demonitor_ends_all_monitors_of_its_caller)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    kith_ref other = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    CHECK_EQ(kith_monitor(e->self, other), KITH_OK);
    CHECK_EQ(kith_demonitor(e->self, actor), KITH_OK);
    CHECK_EQ(kith_demonitor(e->self, actor), KITH_OK); /* none is no error */
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);   /* and one again */
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    CHECK_EQ(await_down(e, actor), KITH_OK);
    CHECK(nothing_waits(e));
    CHECK_EQ(kith_demonitor(e->self, actor), KITH_EDEAD);
    stop_and_wait(e, kith_spawn(e->self, &doer, NULL));
    CHECK_EQ(kith_stop(e->self, other), KITH_OK);
    CHECK_EQ(await_down(e, other), KITH_OK); /* the monitor on another actor stands */
}

static kith_err watch(kith_self *self, struct doer *me, void *arg)
{
    kith_ref *of = arg;
    (void)me;
    return kith_monitor(self, *of);
}

static kith_err unwatch(kith_self *self, struct doer *me, void *arg)
{
    kith_ref *of = arg;
    (void)me;
    return kith_demonitor(self, *of);
}

TEST_ON_WORKERS(demonitor_leaves_the_monitors_of_others)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    kith_ref other = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, other, watch, &actor), KITH_OK);
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    CHECK_EQ(do_in(e, other, unwatch, &actor), KITH_OK);
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    CHECK_EQ(await_down(e, actor), KITH_OK);
    settle(e, other);
    CHECK_EQ(env_stats(e).dead_letters, 0u); /* else: a kith_down that the doer does not take */
}

TEST_ON_WORKERS(a_watcher_that_dies_first_is_forgotten)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    kith_ref watcher = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, watcher, watch, &actor), KITH_OK);
    stop_and_wait(e, watcher);
    kith_ref next = kith_spawn(e->self, &doer, NULL); /* perhaps in the watcher's slot */
    stop_and_wait(e, actor);
    settle(e, next);
    CHECK_EQ(env_stats(e).dead_letters, 0u);
    CHECK_EQ(kith_join(e->rt, KITH_NOWAIT), KITH_ETIMEOUT); /* next lives */
    stop_and_wait(e, next);
}

TEST_ON_WORKERS(an_actor_may_watch_itself)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, actor, watch, &actor), KITH_OK);
    stop_and_wait(e, actor);
    CHECK_EQ(env_stats(e).dead_letters, 0u);
}

struct watched_thread {
    kith_runtime *rt;
    kith_ref ref;
    struct gate gate;
};

static void *attach_and_go(void *arg)
{
    struct watched_thread *t = arg;
    kith_self *self;
    CHECK_EQ(kith_attach(t->rt, &self, NULL), KITH_OK);
    t->ref = kith_self_ref(self);
    do_wait(self, NULL, &t->gate);
    CHECK_EQ(kith_detach(self), KITH_OK);
    return NULL;
}

TEST_ON_WORKERS(a_thread_that_detaches_is_dead_like_an_actor)
{
    struct watched_thread t = {.rt = e->rt};
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, attach_and_go, &t), 0);
    gate_await(&t.gate);
    CHECK_EQ(kith_monitor(e->self, t.ref), KITH_OK);
    CHECK_EQ(parcel_send(e->self, t.ref, 1), KITH_OK);
    kith__store_seq(&t.gate.open, 1);
    RECEIVE(e, kith_down);
    CHECK_EQ(kith_send(e->self, t.ref, number), KITH_EDEAD);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(parcels_open(), 0u);
}

TEST_ON_WORKERS(monitors_refuse_nonsense)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    kith_timer timer = kith_at(e->self, kith_in(KITH_HOUR), number);
    kith_ref bad[] = {{0}, made_up(), {timer.bits}, kith_spawn(e->self, NULL, NULL)};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQ(kith_monitor(e->self, bad[i]), KITH_EBADREF);
        CHECK_EQ(kith_demonitor(e->self, bad[i]), KITH_EBADREF);
    }
    CHECK_EQ(kith_monitor(NULL, actor), KITH_EPERM);
    CHECK_EQ(kith_demonitor(NULL, actor), KITH_EPERM);
    CHECK(nothing_waits(e));
}

#define CROWD 200

/* Every death of a crowd is told, whatever the race between monitor and death. */
TEST_ON_WORKERS(no_death_is_missed)
{
    static kith_err reason = KITH_EIO;
    for (int i = 0; i < CROWD; i++) {
        kith_ref actor = kith_spawn(e->self, &doer, NULL);
        do_later(e, actor, fail_with, &reason);
        CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
        kith_err err = await_down(e, actor);
        CHECK(err == KITH_EIO || err == KITH_EDEAD);
    }
    CHECK(nothing_waits(e));
}

/* ---- dead letters ---- */

static void check_letter(struct env *e, kith_ref to, kith_ref from, const kith_type *type,
                         kith_err reason)
{
    const kith_dead_letter *letter = RECEIVE(e, kith_dead_letter);
    REQUIRE(letter != NULL);
    CHECK_EQ(letter->to.bits, to.bits);
    CHECK_EQ(letter->from.bits, from.bits);
    CHECK(letter->type == type);
    CHECK_EQ(letter->reason, reason);
}

TEST_ON_WORKERS(a_subscriber_hears_who_what_and_why)
{
    kith_ref me = kith_self_ref(e->self);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_dead_letters_subscribe(e->self), KITH_OK);
    CHECK_EQ(kith_dead_letters_subscribe(e->self), KITH_OK); /* twice is once */
    CHECK_EQ(kith_send(e->self, actor, unknown), KITH_OK);
    check_letter(e, actor, me, &kith_type_unknown, KITH_EUNHANDLED);
    stop_and_wait(e, actor);
    CHECK_EQ(kith_send(e->self, actor, number), KITH_EDEAD);
    check_letter(e, actor, me, &kith_type_number, KITH_EDEAD);
    CHECK_EQ(parcel_send(e->self, actor, 9), KITH_EDEAD);
    check_letter(e, actor, me, &kith_type_parcel, KITH_EDEAD);
    CHECK(nothing_waits(e));
    CHECK_EQ(env_stats(e).dead_letters, 3u);
    CHECK_EQ(kith_dead_letters_unsubscribe(e->self), KITH_OK);
    CHECK_EQ(kith_dead_letters_unsubscribe(e->self), KITH_OK);
    CHECK_EQ(kith_send(e->self, actor, number), KITH_EDEAD);
    CHECK(nothing_waits(e));
    CHECK_EQ(env_stats(e).dead_letters, 4u);
    CHECK(log_has(&e->log, "dead letter"));
}

TEST_ON_WORKERS(a_mailbox_that_dies_is_told_in_order)
{
    static const kith_type *const types[] = {&kith_type_number, &kith_type_unknown,
                                             &kith_type_done};
    struct gate gate = {0};
    kith_ref me = kith_self_ref(e->self);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_dead_letters_subscribe(e->self), KITH_OK);
    do_later(e, actor, do_wait, &gate);
    gate_await(&gate);
    CHECK_EQ(kith_send(e->self, actor, number), KITH_OK);
    CHECK_EQ(kith_send(e->self, actor, unknown), KITH_OK);
    CHECK_EQ(kith_send(e->self, actor, done), KITH_OK);
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    kith__store_seq(&gate.open, 1);
    for (int i = 0; i < 3; i++)
        check_letter(e, actor, me, types[i], KITH_EDEAD);
}

static kith_err subscribe(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    (void)arg;
    return kith_dead_letters_subscribe(self);
}

/* The doer does not take kith_dead_letter: that is a dead letter, of which nobody is told. */
TEST_ON_WORKERS(a_letter_that_nobody_takes_is_not_told_again)
{
    kith_ref deaf = kith_spawn(e->self, &doer, NULL);
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, deaf, subscribe, NULL), KITH_OK);
    CHECK_EQ(kith_dead_letters_subscribe(e->self), KITH_OK);
    stop_and_wait(e, actor);
    CHECK_EQ(kith_send(e->self, actor, number), KITH_EDEAD);
    check_letter(e, actor, kith_self_ref(e->self), &kith_type_number, KITH_EDEAD);
    settle(e, deaf);
    CHECK(nothing_waits(e));
    CHECK_EQ(env_stats(e).dead_letters, 2u);
}

#define SUBSCRIBERS 12

TEST_ON_WORKERS(subscribers_come_and_die)
{
    kith_ref s[SUBSCRIBERS];
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    stop_and_wait(e, actor);
    for (int i = 0; i < SUBSCRIBERS; i++) {
        s[i] = kith_spawn(e->self, &doer, NULL);
        CHECK_EQ(do_in(e, s[i], subscribe, NULL), KITH_OK);
    }
    for (int i = 0; i < SUBSCRIBERS; i += 2)
        stop_and_wait(e, s[i]);
    CHECK_EQ(kith_send(e->self, actor, number), KITH_EDEAD);
    for (int i = 1; i < SUBSCRIBERS; i += 2)
        settle(e, s[i]);
    CHECK_EQ(env_stats(e).dead_letters, 1u + SUBSCRIBERS / 2); /* one each that a doer ignores */
    CHECK_EQ(kith_dead_letters_subscribe(e->self), KITH_OK);
    env_detach(e); /* unsubscribes */
    CHECK_EQ(kith_attach(e->rt, &e->self, &e->co), KITH_OK);
    CHECK_EQ(kith_send(e->self, actor, number), KITH_EDEAD);
    CHECK(nothing_waits(e));
}

TEST_ON_WORKERS(dead_letters_refuse_nonsense)
{
    (void)e;
    CHECK_EQ(kith_dead_letters_subscribe(NULL), KITH_EPERM);
    CHECK_EQ(kith_dead_letters_unsubscribe(NULL), KITH_EPERM);
}

TEST_ON_WORKERS(a_signal_or_timer_that_finds_nobody_is_no_letter)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    stop_and_wait(e, actor);
    CHECK_EQ(kith_stop(e->self, actor), KITH_EDEAD);
    CHECK_EQ(kith_demonitor(e->self, actor), KITH_EDEAD);
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    CHECK_EQ(await_down(e, actor), KITH_EDEAD);
    CHECK_EQ(env_stats(e).dead_letters, 0u);
}
