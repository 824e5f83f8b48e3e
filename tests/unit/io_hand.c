/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sockets that change hands between actors, fibers and threads: kith_fiber_options.sock and
 * kith_sock_give (io/give.c), and what becomes of what an actor has left undone (io/wait.c).
 */
#include "tests/unit/io_co.h"

/* ---- a fiber that is told what to do with a socket ---- */

struct task {
    kith_sock sock;
    kith_ref to;
    int peer;
    bool given; /* it waits for a kith_given first */
    kith_fiber_fn *fn;
};

/* What it did to a plain peer has been done, also for a race detector, when its end is seen. */
static void task_fiber(kith_self *self, kith_co *co, void *arg)
{
    ((struct task *)arg)->fn(self, co, arg);
    kith__add_seq(&co_fibers_left, 1);
}

static void reach(kith_self *self, int step)
{
    CHECK_EQ((int)kith_send(self, kith_parent(self), reached, .step = step), 0);
}

static void await_step(struct net *net, int step)
{
    const reached *at = NEXT(net, reached);
    REQUIRE(at != NULL);
    CHECK_EQ(at->step, step);
}

static void take_given(kith_co *co, kith_sock sock, kith_ref from)
{
    kith_msg *msg;
    REQUIRE(kith_receive_only(co, kith_given, PATIENCE, &msg) == KITH_OK);
    const kith_given *given = kith_body(msg, kith_given);
    CHECK(kith_sock_same(given->sock, sock));
    CHECK(kith_ref_same(given->from, from));
}

static kith_ref task_go(kith_self *self, kith_fiber_fn *fn, const char *name, struct task *task,
                        kith_sock sock)
{
    kith_fiber_options options = {.arg_bytes = sizeof *task, .sock = sock};
    task->fn = fn;
    return kith_go_named(self, task_fiber, task, name, &options);
}

/* It is another's, or has ended there already. */
static void check_gone(kith_err err)
{
    CHECK(err == KITH_EPERM || err == KITH_EBADREF);
}

/* Uses it, in both directions, and ends; so it is closed. */
static void user(kith_self *self, kith_co *co, void *arg)
{
    const struct task *task = arg;
    if (task->given)
        take_given(co, task->sock, task->to);
    for (int i = 0; i < 10; i++)
        co_lives(co, task->sock, task->peer);
    CHECK_EQ((int)kith_sock_finish(self, task->sock), 0);
    peer_expect_end(task->peer);
}

/* ---- with options.sock ---- */

TEST_DRIVEN(a_thread_makes_a_fiber_with_it)
{
    struct ends ends;
    REQUIRE(ends_open(net->self, net->co, &ends));
    struct task task = {.sock = ends.sock, .peer = ends.peer};
    kith_ref fiber = task_go(net->self, user, "user", &task, ends.sock);
    check_gone(kith_close(net->self, ends.sock));
    await_end(net, fiber);
    CHECK_EQ((int)kith_close(net->self, ends.sock), (int)KITH_EBADREF);
    CHECK_EQ((int)kith_close(net->self, ends.listener), 0);
    close(ends.peer);
}

static void reader(kith_self *self, kith_co *co, void *arg)
{
    const struct task *task = arg;
    (void)self;
    CHECK(co_expect(co, task->sock, 77, 0));
    co_lives(co, task->sock, task->peer);
}

/* The event is on its way to the thread. */
TEST_DRIVEN(with_bytes_on_their_way)
{
    struct ends ends;
    for (int i = 0; i < 50; i++) {
        REQUIRE(ends_open(net->self, net->co, &ends));
        peer_send(ends.peer, 100, 0);
        CHECK(co_expect(net->co, ends.sock, 100, 0));
        char byte;
        size_t n;
        CHECK_EQ((int)kith_read(net->co, ends.sock, &byte, 1, &n, KITH_NOWAIT),
                 (int)KITH_ETIMEOUT); /* it is registered */
        struct task task = {.sock = ends.sock, .peer = ends.peer};
        peer_send(ends.peer, 77, 0);
        kith_ref fiber = task_go(net->self, reader, "reader", &task, ends.sock);
        await_end(net, fiber);
        CHECK_EQ((int)kith_close(net->self, ends.listener), 0);
        close(ends.peer);
    }
}

static void server_once(kith_self *self, kith_co *co, void *arg)
{
    struct task *task = arg;
    kith_sock conn;
    CHECK_EQ((int)kith_accept(co, task->sock, PATIENCE, &conn), 0);
    co_lives(co, conn, task->peer);
    CHECK_EQ((int)kith_close(self, conn), 0);
    CHECK_EQ((int)kith_sock_give(self, task->sock, task->to), 0);
}

/* A listener, too: to a fiber, and back by kith_sock_give. */
TEST_DRIVEN(a_listener_goes_and_comes)
{
    struct ends ends;
    REQUIRE(ends_listen(net->self, &ends));
    ends.peer = peer_connect(ends.port);
    struct task task = {.sock = ends.listener, .peer = ends.peer, .to = kith_self_ref(net->self)};
    kith_ref fiber = task_go(net->self, server_once, "server", &task, ends.listener);
    take_given(net->co, ends.listener, fiber);
    int peer = peer_connect(ends.port);
    CHECK_EQ((int)kith_accept(net->co, ends.listener, PATIENCE, &ends.sock), 0);
    co_lives(net->co, ends.sock, peer);
    close(peer);
    ends_close(net->self, &ends);
}

static void never(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    (void)co;
    (void)arg;
    FAIL("a fiber runs that was refused");
}

static void refused_go(kith_self *self, kith_fiber_options options, kith_err err)
{
    CHECK_EQ((int)kith_ref_error(kith_go_with(self, never, NULL, &options)), (int)err);
}

static void go_with_anothers(kith_self *self, kith_co *co, void *arg)
{
    (void)co;
    const struct task *task = arg;
    refused_go(self, (kith_fiber_options){.sock = task->sock}, KITH_EBADREF);
}

/* Nobody is made, and the socket stays whose it is. */
TEST_DRIVEN(refused_with_it)
{
    struct ends ends;
    REQUIRE(ends_open(net->self, net->co, &ends));
    struct task task = {.sock = ends.sock};
    kith_ref dead = task_go(net->self, go_with_anothers, "other", &task, (kith_sock){0});
    await_end(net, dead);
    refused_go(net->self, (kith_fiber_options){.sock = {1}}, KITH_EBADREF);
    refused_go(net->self, (kith_fiber_options){.sock = {net->port.bits}}, KITH_EBADREF);
    refused_go(net->self, (kith_fiber_options){.sock = ends.sock, .worker = 1000}, KITH_EINVAL);
    refused_go(net->self, (kith_fiber_options){.sock = ends.sock, .parent = dead}, KITH_EDEAD);
    co_lives(net->co, ends.sock, ends.peer);
    kith_sock old = ends.sock;
    ends_close(net->self, &ends);
    refused_go(net->self, (kith_fiber_options){.sock = old}, KITH_EBADREF);
}

/* ---- an actor's becomes a fiber's ---- */

struct host {
    int peer;
    kith_ref fiber;
};

static kith_err host_init(kith_self *self, void *me, const void *arg)
{
    (void)self;
    ((struct host *)me)->peer = *(const int *)arg;
    return KITH_OK;
}

/* The port has accepted it and gives it to the host, which reads its first bytes by messages. */
KITH_ON(host, kith_given)
{
    (void)self;
    (void)me;
    (void)msg;
    return KITH_OK;
}

KITH_ON(host, kith_data)
{
    CHECK_EQ((int)kith_sock_read_by(self, msg->sock, kith_in(KITH_MS)), 0); /* ends with it */
    struct task task = {.sock = msg->sock, .peer = me->peer};
    me->fiber = task_go(self, user, "user", &task, msg->sock);
    CHECK_EQ((int)kith_monitor(self, me->fiber), 0);
    check_gone(kith_sock_reading(self, msg->sock, true));
    return KITH_OK;
}

KITH_ON(host, kith_down)
{
    CHECK(kith_ref_same(msg->ref, me->fiber));
    reach(self, 2);
    return KITH_OK;
}

static const kith_behavior host = {
    .name = "host",
    .state_bytes = sizeof(struct host),
    .handlers = KITH_HANDLERS(host, kith_given, kith_data, kith_down),
    .init = host_init,
};

TEST_DRIVEN(an_actor_makes_a_fiber_with_it)
{
    struct link link;
    REQUIRE(net_link(net, &link, NULL));
    kith_ref to = kith_spawn(net->self, &host, &link.peer);
    CHECK_EQ((int)TELL(net, .op = NET_GIVE, .sock = link.sock, .to = to).err, 0);
    peer_send(link.peer, 1, 0);
    await_step(net, 2);
    close(link.peer);
}

/* ---- with kith_sock_give ---- */

TEST_DRIVEN(an_actor_gives_it_to_a_fiber)
{
    struct link link;
    REQUIRE(net_link(net, &link, NULL));
    CHECK_EQ((int)TELL(net, .op = NET_READING, .sock = link.sock, .on = false).err, 0);
    struct task task = {.sock = link.sock, .peer = link.peer, .to = net->port, .given = true};
    kith_ref fiber = task_go(net->self, user, "user", &task, (kith_sock){0});
    CHECK_EQ((int)TELL(net, .op = NET_GIVE, .sock = link.sock, .to = fiber).err, 0);
    await_end(net, fiber);
    close(link.peer);
}

/* It owns it before it has received the message, even before it has looked at its mail. */
static void user_at_once(kith_self *self, kith_co *co, void *arg)
{
    const struct task *task = arg;
    kith_msg *msg;
    REQUIRE(kith_receive_only(co, reached, PATIENCE, &msg) == KITH_OK);
    co_lives(co, task->sock, task->peer);
    take_given(co, task->sock, task->to);
    CHECK_EQ((int)kith_sock_give(self, task->sock, kith_self_ref(self)), 0); /* to itself */
    co_lives(co, task->sock, task->peer);
    take_given(co, task->sock, kith_self_ref(self));
    CHECK_EQ((int)kith_close(self, task->sock), 0);
}

TEST_DRIVEN(a_thread_gives_it_to_a_fiber)
{
    struct ends ends;
    REQUIRE(ends_open(net->self, net->co, &ends));
    struct task task = {.sock = ends.sock, .peer = ends.peer, .to = kith_self_ref(net->self)};
    kith_ref fiber = task_go(net->self, user_at_once, "user", &task, (kith_sock){0});
    CHECK_EQ((int)kith_sock_give(net->self, ends.sock, fiber), 0);
    CHECK_EQ((int)kith_send(net->self, fiber, reached), 0);
    await_end(net, fiber);
    CHECK_EQ((int)kith_close(net->self, ends.listener), 0);
    close(ends.peer);
}

/* Accepted, and perhaps never waited for (then no loop knows it), read of or not: all of it goes on by
 * messages. */
static void accept_and_give(kith_self *self, kith_co *co, void *arg)
{
    const struct task *task = arg;
    struct ends ends;
    REQUIRE(ends_open(self, co, &ends));
    if (task->given)
        co_lives(co, ends.sock, ends.peer);
    peer_send(ends.peer, 500, 0);
    CHECK_EQ((int)kith_sock_give(self, ends.sock, task->to), 0);
    CHECK_EQ((int)kith_close(self, ends.sock), (int)KITH_EPERM);
    peer_send(ends.peer, 500, 500);
    CHECK_EQ((int)kith_send(self, kith_parent(self), reached, .step = ends.peer), 0);
}

TEST_DRIVEN(a_fiber_gives_it_to_an_actor)
{
    for (int i = 0; i < 10; i++) {
        struct task task = {.to = net->port, .given = i % 2 == 0};
        kith_ref fiber = task_go(net->self, accept_and_give, "giver", &task, (kith_sock){0});
        kith_msg *msg;
        REQUIRE(kith_receive_only(net->co, reached, PATIENCE, &msg) == KITH_OK);
        int peer = kith_body(msg, reached)->step;
        await_end(net, fiber);
        const kith_given *given = NEXT(net, kith_given);
        REQUIRE(given != NULL);
        kith_sock sock = given->sock;
        net_expect(net, sock, 1000, 0);
        net_lives(net, net->port, sock, peer);
        shutdown(peer, SHUT_WR);
        CHECK(NEXT(net, kith_eof) != NULL);
        CHECK_EQ((int)TELL(net, .op = NET_FINISH, .sock = sock).err, 0);
        net_expect_closed(net, sock, KITH_OK);
        close(peer);
    }
}

/* What has broken in a fiber's hands is told to the actor. */
TEST_DRIVEN(a_broken_one_is_given)
{
    struct ends ends;
    char byte;
    size_t n;
    REQUIRE(ends_open(net->self, net->co, &ends));
    peer_reset(ends.peer);
    CHECK_EQ((int)kith_read(net->co, ends.sock, &byte, 1, &n, PATIENCE), (int)KITH_ECONNRESET);
    CHECK_EQ((int)kith_sock_give(net->self, ends.sock, net->port), 0);
    CHECK(NEXT(net, kith_given) != NULL);
    net_expect_closed(net, ends.sock, KITH_ECONNRESET);
    CHECK_EQ((int)kith_close(net->self, ends.listener), 0);
}

TEST_DRIVEN(a_refused_gift_stays)
{
    struct ends ends;
    REQUIRE(ends_open(net->self, net->co, &ends));
    struct task task = {.sock = {1}};
    kith_ref dead = task_go(net->self, go_with_anothers, "other", &task, (kith_sock){0});
    await_end(net, dead);
    CHECK_EQ((int)kith_sock_give(net->self, ends.sock, dead), (int)KITH_EDEAD);
    CHECK_EQ((int)kith_sock_give(net->self, ends.sock, (kith_ref){0}), (int)KITH_EBADREF);
    co_lives(net->co, ends.sock, ends.peer);
    ends_close(net->self, &ends);
}

/* ---- what an actor has left undone ---- */

#define MUCH ((size_t)8000000)

/* The actor's bytes leave first; then the fiber's. */
static void write_behind(kith_self *self, kith_co *co, void *arg)
{
    const struct task *task = arg;
    take_given(co, task->sock, task->to);
    CHECK_GT(kith_sock_waiting(self, task->sock), 0);
    reach(self, 1);
    CHECK_EQ((int)co_write(co, task->sock, 1000, MUCH, PATIENCE), 0);
    CHECK_EQ(kith_sock_waiting(self, task->sock), 0);
    CHECK_EQ((int)kith_sock_finish(self, task->sock), 0);
}

TEST_DRIVEN(bytes_that_wait_go_first)
{
    struct link link;
    REQUIRE(net_link(net, &link, NULL));
    struct task task = {.sock = link.sock, .peer = link.peer, .to = net->port};
    kith_ref fiber = task_go(net->self, write_behind, "writer", &task, (kith_sock){0});
    CHECK_EQ((int)TELL(net, .op = NET_WRITE, .sock = link.sock, .n = MUCH, .give = true,
                       .to = fiber, .deadline = KITH_FOREVER)
                 .err,
             0);
    await_step(net, 1);
    peer_expect(link.peer, MUCH + 1000, 0);
    peer_expect_end(link.peer);
    await_end(net, fiber);
    close(link.peer);
}

/* Their deadline passes in the fiber's hands: the connection is broken, for writing. */
static void write_too_late(kith_self *self, kith_co *co, void *arg)
{
    const struct task *task = arg;
    take_given(co, task->sock, task->to);
    CHECK_EQ((int)co_write(co, task->sock, 1, MUCH, PATIENCE), (int)KITH_ETIMEOUT);
    CHECK_EQ((int)co_write(co, task->sock, 1, MUCH, PATIENCE), (int)KITH_ETIMEOUT);
    peer_send(task->peer, 10, 0);
    CHECK(co_expect(co, task->sock, 10, 0));
    char byte;
    size_t n;
    CHECK_EQ((int)kith_read(co, task->sock, &byte, 1, &n, PATIENCE), (int)KITH_ETIMEOUT);
    CHECK_EQ((int)kith_close(self, task->sock), 0);
}

TEST_DRIVEN(bytes_that_wait_too_long)
{
    struct link link;
    REQUIRE(net_link(net, &link, NULL));
    struct task task = {.sock = link.sock, .peer = link.peer, .to = net->port};
    kith_ref fiber = task_go(net->self, write_too_late, "writer", &task, (kith_sock){0});
    CHECK_EQ((int)TELL(net, .op = NET_WRITE, .sock = link.sock, .n = MUCH, .give = true,
                       .to = fiber, .deadline = kith_in(30 * KITH_MS))
                 .err,
             0);
    await_end(net, fiber);
    close(link.peer);
}

/* A deadline of reading ends: the fiber's calls have their own. */
static void read_later(kith_self *self, kith_co *co, void *arg)
{
    const struct task *task = arg;
    char byte;
    size_t n;
    take_given(co, task->sock, task->to);
    CHECK_EQ((int)kith_read(co, task->sock, &byte, 1, &n, kith_in(30 * KITH_MS)),
             (int)KITH_ETIMEOUT);
    co_lives(co, task->sock, task->peer);
    CHECK_EQ((int)kith_close(self, task->sock), 0);
}

TEST_DRIVEN(a_read_deadline_ends)
{
    struct link link;
    REQUIRE(net_link(net, &link, NULL));
    struct task task = {.sock = link.sock, .peer = link.peer, .to = net->port};
    kith_ref fiber = task_go(net->self, read_later, "reader", &task, (kith_sock){0});
    CHECK_EQ((int)TELL(net, .op = NET_READ_BY, .sock = link.sock, .give = true, .to = fiber,
                       .deadline = kith_in(10 * KITH_MS))
                 .err,
             0);
    await_end(net, fiber);
    close(link.peer);
}

/* One that an actor began to connect: the fiber's first call waits for that. */
static void connected_later(kith_self *self, kith_co *co, void *arg)
{
    const struct task *task = arg;
    take_given(co, task->sock, task->to);
    kith_err err = co_write(co, task->sock, 5, 0, PATIENCE);
    CHECK_EQ((int)co_write(co, task->sock, 5, 5, PATIENCE), (int)err);
    CHECK_EQ((int)kith_send(self, kith_parent(self), reached, .step = (int)err), 0);
    kith_msg *msg;
    CHECK_EQ((int)kith_receive(co, PATIENCE, &msg), 0); /* until the test has seen it */
}

/* The socket is begun and given in one handler, so the fiber has to be known before. */
static kith_ref connect_and_give(struct net *net, uint16_t port, kith_time deadline)
{
    answer a = TELL(net, .op = NET_CONNECT, .address = "127.0.0.1", .port = port,
                    .deadline = deadline, .give = true, .to = kith_self_ref(net->self));
    CHECK_EQ((int)a.err, 0);
    take_given(net->co, a.sock, net->port);
    struct task task = {.sock = a.sock, .to = kith_self_ref(net->self)};
    kith_ref fiber = task_go(net->self, connected_later, "caller", &task, (kith_sock){0});
    CHECK_EQ((int)kith_sock_give(net->self, a.sock, fiber), 0);
    return fiber;
}

TEST_DRIVEN(a_connect_is_given)
{
    uint16_t port;
    int listener = peer_listen(5, &port);
    kith_ref fiber = connect_and_give(net, port, PATIENCE);
    await_step(net, 0);
    int peer = peer_accept(listener);
    peer_expect(peer, 10, 0);
    close(peer);
    CHECK_EQ((int)kith_send(net->self, fiber, reached), 0);
    await_end(net, fiber);
    close(listener);
    fiber = connect_and_give(net, port, PATIENCE);
    await_step(net, (int)KITH_ECONNREFUSED);
    CHECK_EQ((int)kith_send(net->self, fiber, reached), 0);
    await_end(net, fiber);
}

/* The deadline of the connect stays. */
TEST_DRIVEN(a_connect_is_given_and_is_late)
{
    uint16_t port;
    int fillers[4];
    int listener = peer_listen(0, &port);
    struct sockaddr_in at = peer_at(port);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], (struct sockaddr *)&at, sizeof at);
    }
    kith_ref fiber = connect_and_give(net, port, kith_in(30 * KITH_MS));
    await_step(net, (int)KITH_ETIMEOUT);
    CHECK_EQ((int)kith_send(net->self, fiber, reached), 0);
    await_end(net, fiber);
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    close(listener);
}

/* ---- the end of an owner ---- */

static void leave_open(kith_self *self, kith_co *co, void *arg)
{
    struct ends ends;
    (void)arg;
    REQUIRE(ends_open(self, co, &ends));
    CHECK_EQ((int)kith_send(self, kith_parent(self), reached, .step = ends.peer), 0);
}

TEST_DRIVEN(a_fibers_end_closes)
{
    CHECK_EQ((int)kith_ref_error(kith_go(net->self, leave_open, NULL)), 0);
    const reached *at = NEXT(net, reached);
    REQUIRE(at != NULL);
    peer_expect_end(at->step);
    close(at->step);
}

/* Mail that holds one: nobody has looked at it yet. */
TEST_DRIVEN(a_gift_in_the_mail_of_one_who_ends)
{
    struct ends ends;
    for (int i = 0; i < 20; i++) {
        REQUIRE(ends_open(net->self, net->co, &ends));
        struct task task = {.sock = {1}};
        kith_ref fiber = task_go(net->self, go_with_anothers, "other", &task, (kith_sock){0});
        kith_err err = kith_sock_give(net->self, ends.sock, fiber);
        CHECK(err == KITH_OK || err == KITH_EDEAD);
        if (err == KITH_EDEAD)
            CHECK_EQ((int)kith_close(net->self, ends.sock), 0);
        peer_expect_end(ends.peer);
        close(ends.peer);
        CHECK_EQ((int)kith_close(net->self, ends.listener), 0);
        await_end(net, fiber);
    }
}
