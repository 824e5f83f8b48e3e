/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Full mailboxes and askers that have gone: what is logged, who keeps a share of the worker, and who
 * must not die of it.
 */
#include "tests/unit/actors_common.h"

/* ---- a mailbox that fills up ---- */

KITH_MESSAGE(drip, { long left; });
KITH_MESSAGE(flood, { long count; });

struct basin {
    long drips;
};

KITH_ON(basin, flood)
{
    for (long i = 0; i < msg->count; i++)
        kith_send(self, kith_self_ref(self), drip, .left = msg->count - i - 1);
    return KITH_OK;
}

KITH_ON(basin, drip)
{
    me->drips++;
    return msg->left > 0 ? KITH_OK : kith_stop(self, kith_self_ref(self));
}

static const kith_behavior basin = {
    .name = "basin",
    .state_bytes = sizeof(struct basin),
    .handlers = KITH_HANDLERS(basin, flood, drip),
};

static void flood_once(long count, struct log *log)
{
    memset(log, 0, sizeof *log);
    pthread_mutex_init(&log->lock, NULL);
    kith_config config = {
        .workers = 1, .log = log_line, .log_arg = log, .log_level = KITH_LOG_INFO};
    kith_runtime *rt = NULL;
    kith_self *self = NULL;
    REQUIRE(kith_start(&config, &rt) == KITH_OK);
    REQUIRE(kith_attach(rt, &self, NULL) == KITH_OK);
    kith_ref to = kith_spawn(self, &basin, NULL);
    CHECK_EQ(kith_send(self, to, flood, .count = count), KITH_OK);
    CHECK_EQ(kith_join(rt, PATIENCE), KITH_OK);
    CHECK_EQ(kith_detach(self), KITH_OK);
    CHECK_EQ(kith_shutdown(rt, PATIENCE), KITH_OK);
}

TEST(a_mailbox_is_logged_at_1024_messages)
{
    static struct log log;
    flood_once(1024, &log);
    CHECK(log_has(&log, "basin: 1024 messages wait in its mailbox"));
}

TEST(a_mailbox_with_fewer_is_not)
{
    static struct log log;
    flood_once(1023, &log);
    CHECK(!log_has(&log, "messages wait in its mailbox"));
}

/* ---- answers that nobody waits for ---- */

KITH_MESSAGE(question, { char none; });
KITH_MESSAGE(answer, { long number; });

struct oracle {
    long asked;
};

KITH_ON(oracle, question)
{
    me->asked++;
    return kith_reply(self, answer, .number = me->asked);
}

static const kith_behavior oracle = {
    .name = "oracle",
    .state_bytes = sizeof(struct oracle),
    .handlers = KITH_HANDLERS(oracle, question),
};

/* It answers by `return kith_reply(...)`, and must survive askers that have given up. */
TEST_ON_WORKERS(an_actor_does_not_die_of_its_clients)
{
    kith_ref to = kith_spawn(e->self, &oracle, NULL);
    kith_msg *reply;
    for (int i = 0; i < 100; i++) {
        kith_err err = kith_ask(e->co, to, KITH_NOWAIT, &reply, question);
        CHECK(err == KITH_ETIMEOUT || err == KITH_OK);
    }
    CHECK_EQ(kith_ask(e->co, to, PATIENCE, &reply, question), KITH_OK);
    REQUIRE(kith_body(reply, answer) != NULL);
    CHECK_EQ(kith_body(reply, answer)->number, 101);
}

/* ---- a question is nobody to ask ---- */

static kith_err never_then(kith_self *self, void *me, void *ctx, kith_err status,
                           const kith_msg *reply)
{
    (void)self;
    (void)me;
    (void)ctx;
    (void)status;
    (void)reply;
    return KITH_EFAILED;
}

static kith_err ask_the_asker(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    (void)arg;
    kith_ref asker = kith_sender(self);
    kith_err err = kith_ask_then(self, asker, KITH_FOREVER, never_then, NULL, question);
    return err == KITH_EBADREF ? KITH_OK : KITH_EFAILED;
}

TEST_ON_WORKERS(a_question_cannot_be_asked)
{
    kith_ref to = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, to, ask_the_asker, NULL), KITH_OK);
}
