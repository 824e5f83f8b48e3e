/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Handing sockets over (io/give.c), and every call with bad input.
 */
#include "base/handle.h"
#include "tests/unit/io_net.h"

static void expect_given(struct net *net, kith_sock sock)
{
    const kith_given *given = NEXT(net, kith_given);
    REQUIRE(given != NULL);
    CHECK(kith_sock_same(given->sock, sock));
    CHECK(kith_ref_same(given->from, net->port));
}

TEST(a_given_socket_is_the_receivers)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    kith_ref other = net_port(&net);
    CHECK_EQ((int)TELL_TO(&net, other, .op = NET_CLOSE, .sock = link.sock).err, (int)KITH_EPERM);
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.sock, .to = other).err, 0);
    expect_given(&net, link.sock);
    CHECK_EQ((int)TELL(&net, .op = NET_WRITE, .sock = link.sock, .n = 1).err, (int)KITH_EPERM);
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.sock, .to = other).err, (int)KITH_EPERM);
    net_lives(&net, other, link.sock, link.peer);
    CHECK_EQ((int)kith_stop(net.self, net.port), 0); /* the giver's death is nothing to it */
    net_lives(&net, other, link.sock, link.peer);
    CHECK_EQ((int)kith_stop(net.self, other), 0);
    peer_expect_end(link.peer);
    close(link.peer);
    net_end(&net);
}

/* What waits to be read or written, and deadlines, go with it. */
TEST(its_state_goes_with_it)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    kith_ref other = net_port(&net);
    const size_t much = 8000000;
    CHECK_EQ(
        (int)TELL(&net, .op = NET_WRITE, .sock = link.sock, .n = much, .deadline = KITH_FOREVER)
            .err,
        0);
    CHECK_EQ((int)TELL(&net, .op = NET_READING, .sock = link.sock, .on = false).err, 0);
    peer_send(link.peer, 500, 0);
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.sock, .to = other).err, 0);
    expect_given(&net, link.sock);
    peer_expect(link.peer, much, 0);
    CHECK_EQ((int)TELL_TO(&net, other, .op = NET_READING, .sock = link.sock, .on = true).err, 0);
    net_expect(&net, link.sock, 500, 0);
    kith_time by = kith_in(30 * KITH_MS);
    CHECK_EQ((int)TELL_TO(&net, other, .op = NET_READ_BY, .sock = link.sock, .deadline = by,
                          .give = true, .to = net.port)
                 .err,
             0);
    CHECK(NEXT(&net, kith_given) != NULL);
    net_expect_closed(&net, link.sock, KITH_ETIMEOUT);
    CHECK_GE(kith_now(), by);
    close(link.peer);
    net_end(&net);
}

static uint64_t timers(const struct net *net)
{
    kith_stats stats;
    CHECK_EQ((int)kith_stats_get(net->rt, &stats), 0);
    return stats.timers;
}

/* The receiver sets its own when it looks at the socket. That may be after it has been told of it: an
 * event that was on its way to the giver is sent on. */
static void wait_for_timer(struct net *net)
{
    kith_time end = kith_in(NET_WAIT);
    while (timers(net) == 0 && kith_now() < end)
        CHECK_EQ((int)kith_sleep(net->co, kith_in(KITH_MS)), 0);
    CHECK_EQ(timers(net), 1);
}

/* A deadline's timer is the owner's: the giver's ends, and so does that of a socket that closes. */
TEST(timers_do_not_stay_behind)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    kith_ref other = net_port(&net);
    kith_time by = kith_in(1000 * KITH_SECOND);
    CHECK_EQ((int)TELL(&net, .op = NET_READ_BY, .sock = link.sock, .deadline = by).err, 0);
    CHECK_EQ(timers(&net), 1);
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.sock, .to = other).err, 0);
    expect_given(&net, link.sock);
    wait_for_timer(&net);
    CHECK_EQ((int)TELL_TO(&net, other, .op = NET_CLOSE, .sock = link.sock).err, 0);
    CHECK_EQ(timers(&net), 0);
    close(link.peer);
    net_end(&net);
}

TEST(a_listener_is_given)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_listen(&net, &link, NULL));
    kith_ref other = net_port(&net);
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.listener, .to = other).err, 0);
    expect_given(&net, link.listener);
    REQUIRE(net_accept(&net, &link));
    net_lives(&net, other, link.sock, link.peer);
    close(link.peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    net_end(&net);
}

TEST(a_connect_is_given)
{
    struct net net;
    uint16_t port;
    int fillers[4];
    REQUIRE(net_begin(&net));
    kith_ref other = net_port(&net);
    int listener = peer_listen(0, &port);
    struct sockaddr_in at = peer_at(port);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], (struct sockaddr *)&at, sizeof at);
    }
    answer a = TELL(&net, .op = NET_CONNECT, .address = "127.0.0.1", .port = port,
                    .deadline = kith_in(50 * KITH_MS), .give = true, .to = other);
    REQUIRE(a.err == KITH_OK);
    expect_given(&net, a.sock);
    const kith_connected *connected = NEXT(&net, kith_connected);
    REQUIRE(connected != NULL);
    CHECK_EQ((int)connected->status, (int)KITH_ETIMEOUT);
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    close(listener);
    net_end(&net);
}

TEST(to_oneself)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.sock, .to = net.port).err, 0);
    expect_given(&net, link.sock);
    net_lives(&net, net.port, link.sock, link.peer);
    close(link.peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    net_end(&net);
}

/* ---- nobody takes it ---- */

TEST(a_refused_gift_stays)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    kith_ref dead = net_port(&net);
    CHECK_EQ((int)TELL_TO(&net, dead, .op = NET_STOP).err, 0);
    CHECK_EQ((int)kith_monitor(net.self, dead), 0);
    CHECK(NEXT(&net, kith_down) != NULL);
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.sock, .to = dead).err, (int)KITH_EDEAD);
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.sock).err, (int)KITH_EBADREF);
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.sock, .to = {link.sock.bits}).err,
             (int)KITH_EBADREF);
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.sock, .to = {dead.bits + 1000}).err,
             (int)KITH_EBADREF);
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = {0}, .to = net.port).err, (int)KITH_EBADREF);
    net_lives(&net, net.port, link.sock, link.peer);
    close(link.peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    net_end(&net);
}

static const kith_behavior deaf = {.name = "deaf"};

TEST(an_actor_that_takes_none)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    kith_ref other = kith_spawn(net.self, &deaf, NULL);
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.sock, .to = other).err, 0);
    peer_expect_end(link.peer);
    close(link.peer);
    net_end(&net);
}

/* A thread owns it as soon as it looks at what has come. */
TEST(a_thread_takes_one)
{
    struct net net;
    struct link link;
    char byte;
    size_t n;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    kith_ref self = kith_self_ref(net.self);
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.sock, .to = self).err, 0);
    peer_send(link.peer, 1, 5);
    CHECK_EQ((int)kith_read(net.co, link.sock, &byte, 1, &n, kith_in(NET_WAIT)), 0);
    CHECK_EQ(n, 1);
    CHECK_EQ((unsigned char)byte, net_byte(5));
    expect_given(&net, link.sock);
    CHECK_EQ((int)kith_close(net.self, link.sock), 0);
    peer_expect_end(link.peer);
    close(link.peer);
    net_end(&net);
}

KITH_MESSAGE(hold, { char none; });

static kith_err hold_other(kith_self *self, void *me, const kith_msg *msg)
{
    (void)me;
    if (kith_body(msg, hold) != NULL)
        sem_wait(&net_gate);
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior holder = {.name = "holder", .other = hold_other};

/* It is in the mailbox of one who dies. */
TEST(the_receiver_dies_first)
{
    if (net_executor == KITH_LOOP)
        return; /* one actor is held while another runs */
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    sem_init(&net_gate, 0, 0);
    kith_ref other = kith_spawn(net.self, &holder, NULL);
    CHECK_EQ((int)kith_send(net.self, other, hold), 0);
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.sock, .to = other).err, 0);
    peer_send(link.peer, 100, 0); /* an event on its way to somebody who never gets it */
    sem_post(&net_gate);
    char byte;
    CHECK_LE(recv(link.peer, &byte, 1, 0), 0); /* unread input makes it a reset */
    close(link.peer);
    sem_destroy(&net_gate);
    net_end(&net);
}

/* ---- bad input ---- */

static void check_error(kith_sock sock, kith_err err)
{
    CHECK_EQ((int)kith_sock_error(sock), (int)err);
}

/* What self, who may not, is told. */
static void refused_all(kith_self *self, kith_sock sock, kith_ref to, kith_err err)
{
    char text[KITH_ADDRESS_BYTES];
    uint16_t port;
    CHECK_EQ((int)kith_sock_write(self, sock, "x", 1, KITH_FOREVER), (int)err);
    CHECK_EQ((int)kith_sock_read_by(self, sock, KITH_FOREVER), (int)err);
    CHECK_EQ((int)kith_sock_reading(self, sock, true), (int)err);
    CHECK_EQ((int)kith_sock_finish(self, sock), (int)err);
    CHECK_EQ((int)kith_close(self, sock), (int)err);
    CHECK_EQ((int)kith_sock_give(self, sock, to), (int)err);
    CHECK_EQ(kith_sock_waiting(self, sock), 0);
    CHECK_EQ((int)kith_sock_local(self, sock, text, &port), (int)err);
    CHECK_EQ((int)kith_sock_peer(self, sock, text, &port), (int)err);
}

TEST(who_may_not)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    check_error(kith_listen(NULL, "127.0.0.1", 0, NULL), KITH_EPERM);
    check_error(kith_connect(NULL, "127.0.0.1", 1, KITH_FOREVER, NULL), KITH_EPERM);
    check_error(kith_connect(net.self, "127.0.0.1", 1, KITH_FOREVER, NULL), KITH_EPERM);
    refused_all(NULL, link.sock, net.port, KITH_EPERM);
    refused_all(net.self, link.sock, net.port, KITH_EPERM);
    const uint64_t made_up[] = {
        0, 1, UINT64_MAX, net.port.bits, link.sock.bits + 1, link.sock.bits ^ UINT64_C(1) << 40};
    for (size_t i = 0; i < sizeof made_up / sizeof made_up[0]; i++)
        refused_all(net.self, (kith_sock){made_up[i]}, net.port, KITH_EBADREF);
    net_lives(&net, net.port, link.sock, link.peer);
    close(link.peer);
    net_end(&net);
}

TEST(bad_addresses_and_options)
{
    static const char *const bad[] = {"",
                                      "localhost",
                                      "127.0.0.1 ",
                                      "1.2.3",
                                      "1.2.3.4.5",
                                      "::1%",
                                      ":::",
                                      "[::1]",
                                      "256.1.1.1",
                                      "fe80::1%0",
                                      "1111:2222:3333:4444:5555:6666:7777:8888:9999",
                                      "::1%no-such-interface-anywhere-here"};
    struct net net;
    uint16_t port;
    REQUIRE(net_begin(&net));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_EQ((int)TELL(&net, .op = NET_LISTEN, .address = bad[i]).err, (int)KITH_EINVAL);
        CHECK_EQ((int)TELL(&net, .op = NET_CONNECT, .address = bad[i], .port = 1).err,
                 (int)KITH_EINVAL);
    }
    CHECK_EQ((int)TELL(&net, .op = NET_CONNECT, .port = 1).err, (int)KITH_EINVAL);
    CHECK_EQ((int)TELL(&net, .op = NET_CONNECT, .address = "127.0.0.1").err, (int)KITH_EINVAL);
    const kith_sock_options options[] = {{.write_bytes_max = SIZE_MAX},
                                         {.read_bytes_max = SIZE_MAX},
                                         {.read_bytes_max = KITH_MESSAGE_BYTES_MAX},
                                         {.backlog = UINT32_MAX}};
    close(peer_listen(1, &port));
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        CHECK_EQ(
            (int)TELL(&net, .op = NET_LISTEN, .address = "127.0.0.1", .options = &options[i]).err,
            (int)KITH_EINVAL);
        CHECK_EQ((int)TELL(&net, .op = NET_CONNECT, .address = "127.0.0.1", .port = port,
                           .options = &options[i])
                     .err,
                 (int)KITH_EINVAL);
    }
    net_end(&net);
}

/* A slot is used again and again, its handles never; and made-up ones reach nothing. */
static void stale_and_made_up(kith_self *self)
{
    kith_sock first = kith_listen(self, "127.0.0.1", 0, NULL);
    kith_sock old = first;
    int same_slot = 0;
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ((int)kith_close(self, old), 0);
        kith_sock now = kith_listen(self, "127.0.0.1", 0, NULL);
        CHECK_EQ((int)kith_sock_reading(self, old, true), (int)KITH_EBADREF);
        CHECK_EQ((int)kith_sock_reading(self, first, true), (int)KITH_EBADREF);
        same_slot += kith__bits_slot(now.bits) == kith__bits_slot(old.bits);
        old = now;
    }
    CHECK_GT(same_slot, 500);
    CHECK_EQ((int)kith_close(self, old), 0);
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = i % 2 == 0 ? kith_random(self) : old.bits ^ UINT64_C(1) << i % 64;
        CHECK_EQ((int)kith_close(self, (kith_sock){bits}), (int)KITH_EBADREF);
    }
}

/* An actor that tries all that is wrong for a socket of its own, in one handler. */
static kith_err self_test(kith_self *self, void *me, const void *arg)
{
    (void)me;
    (void)arg;
    kith_sock listener = kith_listen(self, "127.0.0.1", 0, NULL);
    check_error(listener, KITH_OK);
    CHECK_EQ((int)kith_sock_write(self, listener, "x", 1, KITH_FOREVER), (int)KITH_ENOTCONN);
    CHECK_EQ((int)kith_sock_write(self, listener, NULL, 1, KITH_FOREVER), (int)KITH_EINVAL);
    CHECK_EQ((int)kith_sock_write(self, listener, "x", SIZE_MAX, KITH_FOREVER), (int)KITH_EINVAL);
    CHECK_EQ((int)kith_sock_read_by(self, listener, KITH_FOREVER), (int)KITH_EBADREF);
    CHECK_EQ((int)kith_sock_finish(self, listener), (int)KITH_ENOTCONN);
    CHECK_EQ((int)kith_sock_peer(self, listener, NULL, NULL), (int)KITH_ENOTCONN);
    CHECK_EQ((int)kith_sock_local(self, listener, NULL, NULL), 0);
    CHECK_EQ((int)kith_close(self, listener), 0);
    refused_all(self, listener, kith_self_ref(self), KITH_EBADREF);
    check_error(kith_connect(self, "127.0.0.1", 1, KITH_FOREVER, NULL), KITH_OK);
    stale_and_made_up(self);
    return KITH_OK;
}

static const kith_behavior self_tester = {.name = "self tester", .init = self_test};

/* In an init too, which runs on the spawner's thread. */
TEST(in_an_init)
{
    struct net net;
    REQUIRE(net_begin(&net));
    kith_ref tester = kith_spawn(net.self, &self_tester, NULL);
    CHECK_EQ((int)kith_ref_error(tester), 0);
    net_end(&net);
}

static kith_err listen_and_fail(kith_self *self, void *me, const void *arg)
{
    (void)me;
    (void)arg;
    check_error(kith_listen(self, "127.0.0.1", 0, NULL), KITH_OK);
    check_error(kith_connect(self, "127.0.0.1", 1, kith_in(KITH_SECOND), NULL), KITH_OK);
    return KITH_EIO;
}

static const kith_behavior failing = {.name = "failing", .init = listen_and_fail};

TEST(an_init_that_fails_closes)
{
    struct net net;
    REQUIRE(net_begin(&net));
    CHECK_EQ((int)kith_ref_error(kith_spawn(net.self, &failing, NULL)), (int)KITH_EIO);
    kith_stats stats;
    CHECK_EQ((int)kith_stats_get(net.rt, &stats), 0);
    CHECK_EQ(stats.sockets, 0);
    net_end(&net);
}

static void try_late(kith_self *self, void *me, kith_err reason)
{
    (void)me;
    (void)reason;
    check_error(kith_listen(self, "127.0.0.1", 0, NULL), KITH_ESHUTDOWN);
    check_error(kith_connect(self, "127.0.0.1", 1, KITH_FOREVER, NULL), KITH_ESHUTDOWN);
    sem_post(&net_gate);
}

static const kith_behavior late = {.name = "late", .stop = try_late};

TEST(after_shutdown)
{
    struct net net;
    REQUIRE(net_begin(&net));
    sem_init(&net_gate, 0, 0);
    CHECK_EQ((int)kith_ref_error(kith_spawn(net.self, &late, NULL)), 0);
    net_end(&net);
    CHECK_EQ(sem_trywait(&net_gate), 0);
    sem_destroy(&net_gate);
}
