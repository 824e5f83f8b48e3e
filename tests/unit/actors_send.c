/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of kith_send, kith_new, kith_post, kith_discard, kith_forward, kith_reply, kith_keep and of
 * what a message tells of itself; of the order of messages, and of signals.
 *
 * Each test runs with 1, 2 and 4 workers (actors_common.h). What ends how often: actors_drop.c.
 */
#define LOOP_TOO
#include "tests/unit/actors_common.h"

KITH_MESSAGE(blank, { char none; });
KITH_MESSAGE(wide, { unsigned char bytes[3000]; });
KITH_MESSAGE(text, {
    size_t n;
    unsigned char bytes[];
});
KITH_MESSAGE(mibi, { unsigned char bytes[1 << 20]; });
KITH_MESSAGE(sequence, {
    int sender;
    int n;
});

/* Sends every message back to its sender, unread; with `copy` as a new message. */
struct echo {
    bool copy;
};

static kith_err echo_other(kith_self *self, void *state, const kith_msg *msg)
{
    (void)state;
    (void)msg;
    return kith_forward(self, kith_sender(self));
}

static const kith_behavior echo = {
    .name = "echo", .state_bytes = sizeof(struct echo), .other = echo_other};

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 131 + (i >> 8) + 7);
}

static void fill(unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = pattern(i);
}

static bool filled(const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != pattern(i))
            return false;
    return true;
}

/* ---- bodies ---- */

TEST_ON_WORKERS(bodies_of_all_sizes_arrive_whole)
{
    kith_ref to = kith_spawn(e->self, &echo, NULL);
    size_t sizes[] = {0,   1,   7,   8,    9,    15,    16,    17,    100,   200,   208,
                      209, 224, 225, 1000, 4000, 32735, 32736, 32737, 40000, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        text *t = kith_new_flex(e->self, text, sizes[i], 1);
        REQUIRE(t != NULL);
        CHECK_EQ(t->n, 0u);
        CHECK_EQ((uintptr_t)t % 16, 0u);
        t->n = sizes[i];
        fill(t->bytes, sizes[i]);
        CHECK_EQ(kith_post(e->self, to, t), KITH_OK);
        const text *back = RECEIVE(e, text);
        REQUIRE(back != NULL);
        CHECK_EQ(back->n, sizes[i]);
        CHECK(filled(back->bytes, sizes[i]));
    }
}

TEST_ON_WORKERS(a_new_body_is_zeroed_also_in_used_memory)
{
    for (int round = 0; round < 3; round++) {
        wide *w = kith_new(e->self, wide);
        REQUIRE(w != NULL);
        unsigned set = 0;
        for (size_t i = 0; i < sizeof w->bytes; i++)
            set |= w->bytes[i];
        CHECK_EQ(set, 0u);
        memset(w, 0xff, sizeof *w);
        CHECK_EQ(kith_discard(e->self, w), KITH_OK);
    }
}

TEST_ON_WORKERS(a_mebibyte_is_copied_or_posted)
{
    kith_ref to = kith_spawn(e->self, &echo, NULL);
    mibi *body = kith_new(e->self, mibi);
    REQUIRE(body != NULL);
    fill(body->bytes, sizeof body->bytes);
    CHECK_EQ(kith_send_copy(e->self, to, &kith_type_mibi, body), KITH_OK);
    CHECK_EQ(kith_post(e->self, to, body), KITH_OK);
    for (int i = 0; i < 2; i++) {
        const mibi *back = RECEIVE(e, mibi);
        REQUIRE(back != NULL);
        CHECK(filled(back->bytes, sizeof back->bytes));
    }
}

TEST_ON_WORKERS(sizes_beyond_the_limit_are_refused)
{
    kith_ref to = kith_spawn(e->self, &echo, NULL);
    kith_type over = {"over", KITH_MESSAGE_BYTES_MAX + 1, NULL};
    kith_type most = {"most", SIZE_MAX, NULL};
    int body = 0;
    CHECK_EQ(kith_send_copy(e->self, to, &over, &body), KITH_EMSGSIZE);
    CHECK_EQ(kith_send_copy(e->self, to, &most, &body), KITH_EMSGSIZE);
    CHECK(kith_new_bytes(e->self, &over, 0) == NULL);
    CHECK(kith_new_bytes(e->self, &most, SIZE_MAX) == NULL);
    CHECK(kith_new_bytes(e->self, &kith_type_text, KITH_MESSAGE_BYTES_MAX) == NULL);
    CHECK(kith_new_bytes(e->self, &kith_type_text, SIZE_MAX) == NULL);
    CHECK(kith_new_flex(e->self, text, SIZE_MAX, 2) == NULL); /* the product overflows */
    CHECK(kith_new_flex(e->self, text, SIZE_MAX / 4, 5) == NULL);
    CHECK_EQ(kith_flex_bytes_(3, 0), 0u);
    CHECK_EQ(env_stats(e).messages, 0u);
}

/* ---- bad input ---- */

TEST_ON_WORKERS(send_refuses_nonsense)
{
    kith_ref to = kith_spawn(e->self, &echo, NULL);
    kith_timer timer = kith_at(e->self, kith_in(KITH_HOUR), number);
    CHECK_EQ(kith_send(NULL, to, number), KITH_EPERM);
    CHECK_EQ(kith_send_copy(e->self, to, NULL, &to), KITH_EINVAL);
    CHECK_EQ(kith_send_copy(e->self, to, &kith_type_number, NULL), KITH_EINVAL);
    CHECK_EQ(kith_send(e->self, (kith_ref){0}, number), KITH_EBADREF);
    CHECK_EQ(kith_send(e->self, made_up(), number), KITH_EBADREF);
    CHECK_EQ(kith_send(e->self, (kith_ref){timer.bits}, number), KITH_EBADREF);
    CHECK_EQ(kith_send(e->self, kith_spawn(NULL, NULL, NULL), number), KITH_EBADREF);
    CHECK_EQ(kith_send(e->self, (kith_ref){to.bits + 1}, number), KITH_EBADREF); /* not yet */
    CHECK(nothing_waits(e));
    CHECK_EQ(env_stats(e).messages, 1u); /* the timer's */
    CHECK_EQ(env_stats(e).dead_letters, 0u);
}

TEST_ON_WORKERS(post_refuses_nonsense_and_leaves_the_body)
{
    kith_ref to = kith_spawn(e->self, &echo, NULL);
    number *n = kith_new(e->self, number);
    REQUIRE(n != NULL);
    n->value = 5;
    CHECK_EQ(kith_post(NULL, to, n), KITH_EPERM);
    CHECK_EQ(kith_post(e->self, to, NULL), KITH_EINVAL);
    CHECK_EQ(kith_post(e->self, (kith_ref){0}, n), KITH_EBADREF);
    CHECK_EQ(kith_post(e->self, made_up(), n), KITH_EBADREF);
    CHECK_EQ(n->value, 5);
    CHECK_EQ(kith_post(e->self, to, n), KITH_OK);
    const number *back = RECEIVE(e, number);
    REQUIRE(back != NULL);
    CHECK_EQ(back->value, 5);
    CHECK(kith_new_bytes(NULL, &kith_type_number, 0) == NULL);
    CHECK(kith_new_bytes(e->self, NULL, 0) == NULL);
    CHECK_EQ(kith_discard(e->self, NULL), KITH_OK);
    CHECK_EQ(kith_discard(NULL, NULL), KITH_EPERM);
    number *mine = kith_new(e->self, number);
    REQUIRE(mine != NULL);
    CHECK_EQ(kith_discard(NULL, mine), KITH_EPERM);
    CHECK_EQ(kith_discard(e->self, mine), KITH_OK);
}

TEST_ON_WORKERS(no_message_in_hand_is_refused)
{
    kith_ref to = kith_spawn(e->self, &echo, NULL);
    CHECK(nothing_waits(e));
    CHECK_EQ(kith_forward(e->self, to), KITH_EPERM);
    CHECK_EQ(kith_reply(e->self, number), KITH_EPERM);
    CHECK(kith_keep(e->self) == NULL);
    CHECK_EQ(kith_forward(NULL, to), KITH_EPERM);
    CHECK_EQ(kith_reply(NULL, number), KITH_EPERM);
    CHECK(kith_keep(NULL) == NULL);
    CHECK_EQ(kith_sender(e->self).bits, 0u);
}

static kith_err bad_replies(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    (void)arg;
    kith_type over = {"over", KITH_MESSAGE_BYTES_MAX + 1, NULL};
    int body = 0;
    CHECK_EQ(kith_reply_copy(self, NULL, &body), KITH_EINVAL);
    CHECK_EQ(kith_reply_copy(self, &kith_type_number, NULL), KITH_EINVAL);
    CHECK_EQ(kith_reply_copy(self, &over, &body), KITH_EMSGSIZE);
    CHECK_EQ(kith_forward(self, (kith_ref){0}), KITH_EBADREF);
    CHECK_EQ(kith_forward(self, made_up()), KITH_EBADREF);
    return KITH_OK; /* and the message is still in hand: the doer answers it */
}

TEST_ON_WORKERS(a_refused_reply_or_forward_leaves_the_message)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(do_in(e, actor, bad_replies, NULL), KITH_OK);
}

static kith_err give_away_twice(kith_self *self, struct doer *me, void *arg)
{
    kith_ref *to = arg;
    (void)me;
    CHECK_EQ(kith_forward(self, *to), KITH_OK);
    CHECK_EQ(kith_forward(self, *to), KITH_EPERM);
    CHECK_EQ(kith_reply(self, number), KITH_EPERM);
    CHECK(kith_keep(self) == NULL);
    CHECK_EQ(kith_sender(self).bits, 0u);
    return KITH_OK;
}

static kith_err reply_twice(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    (void)arg;
    CHECK_EQ(kith_reply(self, done, .err = KITH_EPIPE), KITH_OK);
    CHECK_EQ(kith_reply(self, done), KITH_EPERM);
    return KITH_OK;
}

static kith_err keep_twice(kith_self *self, struct doer *me, void *arg)
{
    (void)arg;
    me->ref = kith_sender(self);
    me->kept = kith_keep(self);
    CHECK(me->kept != NULL);
    CHECK(kith_keep(self) == NULL);
    CHECK_EQ(kith_reply(self, done), KITH_EPERM);
    CHECK_EQ(kith_discard(self, me->kept), KITH_OK);
    CHECK_EQ(kith_send(self, me->ref, done, .err = KITH_EBUSY), KITH_OK);
    return KITH_OK;
}

TEST_ON_WORKERS(a_message_is_given_away_once)
{
    kith_ref a = kith_spawn(e->self, &doer, NULL);
    kith_ref b = kith_spawn(e->self, &echo, NULL);
    CHECK_EQ(do_in(e, a, reply_twice, NULL), KITH_EPIPE);
    CHECK_EQ(do_in(e, a, keep_twice, NULL), KITH_EBUSY);
    do_later(e, a, give_away_twice, &b);
    const tell *back = RECEIVE(e, tell); /* a to b, and b back to its sender */
    REQUIRE(back != NULL);
    CHECK(back->arg == &b);
}

static kith_err reply_no_sender(kith_self *self, struct doer *me, void *arg)
{
    (void)me;
    (void)arg;
    CHECK_EQ(kith_monitor(self, kith_self_ref(self)), KITH_OK);
    return KITH_OK;
}

static kith_err reply_to_down(kith_self *self, void *state, const kith_msg *msg)
{
    struct doer *me = state;
    if (kith_body(msg, kith_down) == NULL)
        return KITH_ETYPE;
    CHECK_EQ(kith_msg_sender(msg).bits, 0u);
    CHECK_EQ(kith_reply(self, number), KITH_EBADREF);
    me->count++;
    return KITH_OK;
}

static const kith_behavior replier = {.name = "replier",
                                      .state_bytes = sizeof(struct doer),
                                      .handlers = KITH_HANDLERS(doer, order, tell),
                                      .other = reply_to_down};

static kith_err count_is_one(kith_self *self, struct doer *me, void *arg)
{
    (void)self;
    (void)arg;
    return me->count == 1 ? KITH_OK : KITH_EAGAIN;
}

static kith_err watch_it(kith_self *self, struct doer *me, void *arg)
{
    kith_ref *of = arg;
    (void)me;
    return kith_monitor(self, *of);
}

TEST_ON_WORKERS(a_message_without_sender_has_no_reply)
{
    kith_ref a = kith_spawn(e->self, &replier, NULL);
    kith_ref b = kith_spawn(e->self, &doer, NULL);
    stop_and_wait(e, b);
    CHECK_EQ(do_in(e, a, watch_it, &b), KITH_OK); /* its down comes before the next question */
    CHECK_EQ(do_in(e, a, count_is_one, NULL), KITH_OK);
    CHECK_EQ(do_in(e, a, reply_no_sender, NULL), KITH_OK);
}

/* ---- what a message tells ---- */

TEST_ON_WORKERS(a_message_tells_its_type_and_sender)
{
    kith_msg *msg;
    CHECK_EQ(kith_send(e->self, kith_self_ref(e->self), number, .value = 3), KITH_OK);
    CHECK_EQ(kith_receive(e->co, PATIENCE, &msg), KITH_OK);
    CHECK(kith_msg_type(msg) == &kith_type_number);
    CHECK_STR(kith_msg_name(msg), "number");
    CHECK(kith_ref_same(kith_msg_sender(msg), kith_self_ref(e->self)));
    CHECK(kith_ref_same(kith_sender(e->self), kith_self_ref(e->self)));
    CHECK(kith_body(msg, done) == NULL);
    CHECK(kith_body_of(msg, NULL) == NULL);
    CHECK(kith_body_of(NULL, &kith_type_number) == NULL);
    REQUIRE(kith_body(msg, number) != NULL);
    CHECK_EQ(kith_body(msg, number)->value, 3);
    CHECK(kith_msg_type(NULL) == NULL);
    CHECK_STR(kith_msg_name(NULL), "?");
    CHECK_EQ(kith_msg_sender(NULL).bits, 0u);
}

/* The same message as another shared object knows it: another descriptor, same name and size. */
TEST_ON_WORKERS(types_are_the_same_by_name_and_size)
{
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    kith_type twin = {"order", sizeof(order), NULL};
    kith_type liar = {"order", sizeof(order) + 1, NULL};
    unsigned char body[sizeof(order) + 1] = {0};
    order o = {.fn = do_nothing};
    memcpy(body, &o, sizeof o);
    kith_msg *reply;
    CHECK_EQ(kith_ask_copy(e->co, actor, PATIENCE, &reply, &twin, body), KITH_OK);
    CHECK(kith_body(reply, done) != NULL);
    CHECK_EQ(kith_ask_copy(e->co, actor, PATIENCE, &reply, &liar, body), KITH_EUNHANDLED);
}

static kith_err count_messages(kith_self *self, void *state, const kith_msg *msg)
{
    struct doer *me = state;
    (void)self;
    me->count += kith_body(msg, blank) != NULL;
    return KITH_OK;
}

static const kith_behavior counter = {.name = "counter",
                                      .state_bytes = sizeof(struct doer),
                                      .handlers = KITH_HANDLERS(doer, order),
                                      .other = count_messages};

TEST_ON_WORKERS(other_takes_what_no_handler_takes)
{
    kith_ref actor = kith_spawn(e->self, &counter, NULL);
    CHECK_EQ(kith_send(e->self, actor, blank), KITH_OK);
    CHECK_EQ(kith_send(e->self, actor, number), KITH_OK);
    CHECK_EQ(do_in(e, actor, count_is_one, NULL), KITH_OK);
    CHECK_EQ(env_stats(e).dead_letters, 0u);
}

/* ---- forward keeps the sender, post does not ---- */

static kith_err forward_here(kith_self *self, struct doer *me, void *arg)
{
    (void)arg;
    return me->arg == NULL ? KITH_OK : kith_forward(self, *(kith_ref *)me->arg);
}

static kith_err keep_and_post(kith_self *self, struct doer *me, void *arg)
{
    kith_ref *to = arg;
    (void)me;
    void *body = kith_keep(self);
    return body == NULL ? KITH_EFAILED : kith_post(self, *to, body);
}

TEST_ON_WORKERS(forward_keeps_the_sender)
{
    kith_ref chain[3];
    chain[2] = kith_spawn(e->self, &doer, NULL); /* answers */
    for (int i = 1; i >= 0; i--)
        chain[i] = kith_spawn(e->self, &doer, &chain[i + 1]);
    CHECK_EQ(do_in(e, chain[0], forward_here, NULL), KITH_OK); /* answered from the end */
    kith_ref back = kith_spawn(e->self, &echo, NULL);
    do_later(e, chain[1], give_away_twice, &back); /* forwards: the echo's sender is the thread */
    CHECK(RECEIVE(e, tell) != NULL);
    kith_ref self = kith_self_ref(e->self);
    do_later(e, chain[1], keep_and_post, &self);
    CHECK(RECEIVE(e, tell) != NULL);
    CHECK(kith_ref_same(kith_sender(e->self), chain[1]));
}

/* A thread has a message in hand too: what it received last. */
TEST_ON_WORKERS(a_thread_may_forward_reply_and_keep)
{
    kith_ref self = kith_self_ref(e->self);
    kith_ref to = kith_spawn(e->self, &echo, NULL);
    CHECK_EQ(kith_send(e->self, self, number, .value = 1), KITH_OK);
    CHECK(RECEIVE(e, number) != NULL);
    CHECK_EQ(kith_forward(e->self, to), KITH_OK);
    CHECK(RECEIVE(e, number) != NULL);
    CHECK_EQ(kith_reply(e->self, number, .value = 2), KITH_OK);
    const number *n = RECEIVE(e, number);
    REQUIRE(n != NULL);
    CHECK_EQ(n->value, 2);
    number *kept = kith_keep(e->self);
    CHECK(kept == n);
    CHECK(nothing_waits(e));
    REQUIRE(kept != NULL);
    CHECK_EQ(kept->value, 2); /* it outlives the next receive */
    CHECK_EQ(kith_discard(e->self, kept), KITH_OK);
}

/* ---- replies of every size ---- */

static kith_err reply_wide(kith_self *self, struct doer *me, void *arg)
{
    static wide w;
    (void)me;
    (void)arg;
    return kith_reply_copy(self, &kith_type_wide, &w);
}

static kith_err reply_text(kith_self *self, void *state, const kith_msg *msg)
{
    (void)state;
    const text *t = kith_body(msg, text);
    return t == NULL ? KITH_ETYPE : kith_reply(self, number, .value = (long)t->n);
}

static const kith_behavior texter = {.name = "texter", .other = reply_text};

TEST_ON_WORKERS(a_reply_may_be_smaller_or_larger_than_the_question)
{
    kith_ref a = kith_spawn(e->self, &doer, NULL);
    kith_ref b = kith_spawn(e->self, &texter, NULL);
    kith_msg *reply;
    CHECK_EQ(kith_ask(e->co, a, PATIENCE, &reply, order, .fn = reply_wide), KITH_OK);
    CHECK(kith_body(reply, wide) != NULL);
    text *t = kith_new_flex(e->self, text, 500, 8);
    REQUIRE(t != NULL);
    t->n = 4000;
    CHECK_EQ(kith_post(e->self, b, t), KITH_OK);
    const number *n = RECEIVE(e, number);
    REQUIRE(n != NULL);
    CHECK_EQ(n->value, 4000);
}

/* ---- order ---- */

#define SENDERS 4
#define EACH 500

struct collector {
    int next[SENDERS];
    int left;
    kith_ref tell;
};

KITH_ON(collector, sequence)
{
    if (msg->n != me->next[msg->sender])
        return KITH_EFAILED; /* out of order */
    me->next[msg->sender]++;
    if (--me->left == 0)
        return kith_send(self, me->tell, number, .value = 1);
    return KITH_OK;
}

static kith_err collector_init(kith_self *self, void *state, const void *arg)
{
    struct collector *me = state;
    (void)arg;
    me->left = SENDERS * EACH;
    me->tell = kith_parent(self);
    return KITH_OK;
}

static const kith_behavior collector = {
    .name = "collector",
    .state_bytes = sizeof(struct collector),
    .handlers = KITH_HANDLERS(collector, sequence),
    .init = collector_init,
};

struct sending {
    kith_ref to;
    int sender;
};

/* Some at a time, so that senders are mixed and may move between workers. */
static kith_err send_slice(kith_self *self, struct doer *me, void *arg)
{
    const struct sending *s = arg;
    for (int i = 0; i < 10 && me->count < EACH; i++) {
        kith_err err = kith_send(self, s->to, sequence, .sender = s->sender, .n = me->count++);
        if (err != KITH_OK)
            return err;
    }
    return me->count < EACH
               ? kith_send(self, kith_self_ref(self), tell, .fn = send_slice, .arg = arg)
               : KITH_OK;
}

TEST_ON_WORKERS(messages_of_each_sender_arrive_in_order)
{
    static struct sending sending[SENDERS];
    kith_ref to = kith_spawn(e->self, &collector, NULL);
    CHECK_EQ(kith_monitor(e->self, to), KITH_OK);
    for (int i = 0; i < SENDERS; i++) {
        sending[i] = (struct sending){to, i};
        do_later(e, kith_spawn(e->self, &doer, NULL), send_slice, &sending[i]);
    }
    CHECK(RECEIVE(e, number) != NULL); /* else: a kith_down, out of order */
}

/* ---- signals ---- */

static kith_err count_up(kith_self *self, struct doer *me, void *arg)
{
    KITH__ATOMIC(int) *count = arg;
    (void)self;
    (void)me;
    kith__add_seq(count, 1);
    return KITH_OK;
}

TEST_ON_WORKERS(a_stop_overtakes_what_waits)
{
    static KITH__ATOMIC(int) count;
    static struct gate gate;
    kith__store_seq(&count, 0);
    gate = (struct gate){0};
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    do_later(e, actor, do_wait, &gate);
    gate_await(&gate); /* from here on everything waits in the mailbox */
    for (int i = 0; i < 10; i++)
        do_later(e, actor, count_up, &count);
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    kith__store_seq(&gate.open, 1);
    CHECK_EQ(await_down(e, actor), KITH_OK);
    CHECK_EQ(kith__load_seq(&count), 0);
}

/* The stop comes when the actor has taken its messages out of the mailbox already: it looks there again
 * whenever it reads the clock, after 64 messages at the latest. */
TEST_ON_WORKERS(a_stop_overtakes_what_has_been_taken)
{
    static KITH__ATOMIC(int) count;
    static struct gate first;
    static struct gate second;
    kith__store_seq(&count, 0);
    first = (struct gate){0};
    second = (struct gate){0};
    kith_ref actor = kith_spawn(e->self, &doer, NULL);
    CHECK_EQ(kith_monitor(e->self, actor), KITH_OK);
    do_later(e, actor, do_wait, &first);
    gate_await(&first);
    do_later(e, actor, do_wait, &second);
    for (int i = 0; i < 1000; i++)
        do_later(e, actor, count_up, &count);
    kith__store_seq(&first.open, 1);
    gate_await(&second); /* taken together with what was sent after it */
    CHECK_EQ(kith_stop(e->self, actor), KITH_OK);
    kith__store_seq(&second.open, 1);
    CHECK_EQ(await_down(e, actor), KITH_OK);
    CHECK_LE(kith__load_seq(&count), 64);
}

struct listener {
    kith_ref victim;
    kith_ref tell;
    int numbers;
};

KITH_ON(listener, number)
{
    me->numbers++;
    return KITH_OK;
}

KITH_ON(listener, kith_down)
{
    return kith_send(self, me->tell, sequence, .n = me->numbers);
}

KITH_ON(listener, tell)
{
    return msg->fn(self, NULL, msg->arg);
}

static kith_err listener_init(kith_self *self, void *state, const void *arg)
{
    struct listener *me = state;
    memcpy(&me->victim, arg, sizeof me->victim);
    me->tell = kith_parent(self);
    return kith_monitor(self, me->victim);
}

static const kith_behavior listener = {.name = "listener",
                                       .state_bytes = sizeof(struct listener),
                                       .init = listener_init,
                                       .handlers =
                                           KITH_HANDLERS(listener, number, kith_down, tell)};

TEST_ON_WORKERS(a_down_overtakes_what_waits)
{
    static struct gate gate;
    gate = (struct gate){0};
    kith_ref victim = kith_spawn(e->self, &doer, NULL);
    kith_ref actor = kith_spawn(e->self, &listener, &victim);
    CHECK_EQ(kith_monitor(e->self, victim), KITH_OK); /* told after the listener */
    do_later(e, actor, do_wait, &gate);
    gate_await(&gate);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(kith_send(e->self, actor, number), KITH_OK);
    if (e->workers > 1) { /* with one worker the victim dies only after the gate */
        CHECK_EQ(kith_stop(e->self, victim), KITH_OK);
        CHECK_EQ(await_down(e, victim), KITH_OK);
        kith__store_seq(&gate.open, 1);
        const sequence *s = RECEIVE(e, sequence);
        REQUIRE(s != NULL);
        CHECK_EQ(s->n, 0);
    }
    kith__store_seq(&gate.open, 1);
}

/* ---- kith's handler tables ---- */

#define KIND(n) KITH_MESSAGE(kind_##n, { long value; })
KIND(0);
KIND(1);
KIND(2);
KIND(3);
KIND(4);
KIND(5);
KIND(6);
KIND(7);

struct kinds {
    long sum;
};

#define ON_KIND(n)                                                                                 \
    KITH_ON(kinds, kind_##n)                                                                       \
    {                                                                                              \
        me->sum = me->sum * 10 + n;                                                                \
        return kith_reply(self, number, .value = me->sum);                                         \
    }
ON_KIND(0)
ON_KIND(1)
ON_KIND(2)
ON_KIND(3)
ON_KIND(4)
ON_KIND(5)
ON_KIND(6)
ON_KIND(7)

static const kith_behavior kinds = {.name = "kinds",
                                    .state_bytes = sizeof(struct kinds),
                                    .handlers = KITH_HANDLERS(kinds, kind_0, kind_1, kind_2, kind_3,
                                                              kind_4, kind_5, kind_6, kind_7)};

TEST_ON_WORKERS(each_type_finds_its_handler)
{
    kith_ref actor = kith_spawn(e->self, &kinds, NULL);
    kith_msg *reply;
    CHECK_EQ(kith_ask(e->co, actor, PATIENCE, &reply, kind_7), KITH_OK);
    CHECK_EQ(kith_ask(e->co, actor, PATIENCE, &reply, kind_0), KITH_OK);
    CHECK_EQ(kith_ask(e->co, actor, PATIENCE, &reply, kind_3), KITH_OK);
    CHECK_EQ(kith_ask(e->co, actor, PATIENCE, &reply, kind_5), KITH_OK);
    REQUIRE(kith_body(reply, number) != NULL);
    CHECK_EQ(kith_body(reply, number)->value, 7035);
    CHECK_EQ(kith_ask(e->co, actor, PATIENCE, &reply, number), KITH_EUNHANDLED);
}
