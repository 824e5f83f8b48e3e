/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Listeners and connecting: accepting, out of descriptors, addresses, outcomes (io/listen.c,
 * io/connect.c, io/io.c).
 *
 * accept4 and epoll_ctl are defined here, in front of the system's: they fail when they are told
 * to, and accept4 counts.
 */
#include "io/io.h"
#include "tests/unit/io_net.h"
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static KITH__ATOMIC(uint32_t) accepts;
static KITH__ATOMIC(int) accept_error; /* until it is 0 again */
static KITH__ATOMIC(uint32_t) accept_errors_left;

int accept4(int fd, __SOCKADDR_ARG addr, socklen_t *restrict addr_len, int flags)
{
    kith__add_rlx(&accepts, 1);
    if (kith__load_acq(&accept_errors_left) > 0) {
        int error = kith__load_rlx(&accept_error);
        kith__sub_ar(&accept_errors_left, 1); /* perhaps below 0, if it is set to 0 right now */
        if (error != 0) {
            errno = error;
            return -1;
        }
    }
    return (int)syscall(SYS_accept4, fd, addr.__sockaddr__, addr_len, flags);
}

static KITH__ATOMIC(bool) epoll_fails; /* registering does */

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    if (op == EPOLL_CTL_ADD && kith__load_acq(&epoll_fails)) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epfd, op, fd, event);
}

static void accept_fails(int error, uint32_t times)
{
    kith__store_rlx(&accept_error, error);
    kith__store_rel(&accept_errors_left, times); /* release; pairs with the load in accept4 */
}

#define CLIENTS 300

TEST(many_connections)
{
    struct net net;
    struct link link;
    static int peers[CLIENTS];
    static kith_sock conns[CLIENTS];
    REQUIRE(net_begin(&net));
    REQUIRE(net_listen(&net, &link, NULL));
    for (int i = 0; i < CLIENTS; i++)
        peers[i] = peer_connect(link.port);
    for (int i = 0; i < CLIENTS; i++) {
        const kith_accepted *in = NEXT(&net, kith_accepted);
        REQUIRE(in != NULL);
        conns[i] = in->conn;
        for (int j = 0; j < i; j++)
            CHECK(!kith_sock_same(conns[i], conns[j]));
    }
    kith_stats stats;
    CHECK_EQ((int)kith_stats_get(net.rt, &stats), 0);
    CHECK_EQ(stats.sockets, CLIENTS + 1);
    for (int i = 0; i < CLIENTS; i++)
        CHECK_EQ((int)TELL(&net, .op = NET_CLOSE, .sock = conns[i]).err, 0);
    for (int i = 0; i < CLIENTS; i++) {
        peer_expect_end(peers[i]);
        close(peers[i]);
    }
    net_end(&net);
}

TEST(the_owners_death_closes)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    CHECK_EQ(
        (int)TELL(&net, .op = NET_READ_BY, .sock = link.sock, .deadline = kith_in(NET_WAIT)).err,
        0);
    CHECK_EQ((int)TELL(&net, .op = NET_WRITE, .sock = link.sock, .n = 10).err, 0);
    peer_expect(link.peer, 10, 0);
    CHECK_EQ((int)kith_stop(net.self, net.port), 0);
    peer_expect_end(link.peer);
    close(link.peer);
    CHECK_EQ((int)kith_join(net.rt, kith_in(NET_WAIT)), 0);
    struct sockaddr_in at = peer_at(link.port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(fd, (struct sockaddr *)&at, sizeof at), -1);
    CHECK_EQ(errno, ECONNREFUSED);
    close(fd);
    kith_stats stats;
    CHECK_EQ((int)kith_stats_get(net.rt, &stats), 0);
    CHECK_EQ(stats.sockets, 0);
    CHECK_EQ(stats.timers, 0);
    net_end(&net);
}

TEST(a_listener_can_stop_accepting)
{
    struct net net;
    struct link link;
    kith_msg *msg;
    REQUIRE(net_begin(&net));
    REQUIRE(net_listen(&net, &link, NULL));
    CHECK_EQ((int)TELL(&net, .op = NET_READING, .sock = link.listener, .on = false).err, 0);
    int peer = peer_connect(link.port);
    CHECK_EQ((int)kith_receive(net.co, kith_in(20 * KITH_MS), &msg), (int)KITH_ETIMEOUT);
    CHECK_EQ((int)TELL(&net, .op = NET_READING, .sock = link.listener, .on = true).err, 0);
    CHECK(NEXT(&net, kith_accepted) != NULL);
    close(peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    net_end(&net);
}

/* ---- out of descriptors ---- */

static uint32_t paused(const struct net *net)
{
    struct kith__io *io = net->rt->io;
    return kith__load_rlx(&io->paused_count);
}

static size_t paused_seen(kith_self *self)
{
    struct kith__io *io = kith_self_runtime(self)->io;
    return kith__load_rlx(&io->paused_count);
}

/* No descriptor is left: the limit is the lowest number that is free. */
static struct rlimit descriptors_take(void)
{
    struct rlimit before;
    struct rlimit none;
    int lowest = dup(0);
    close(lowest);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = (rlim_t)lowest;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    return before;
}

static void wait_for_pause(struct net *net)
{
    kith_time end = kith_in(NET_WAIT);
    while (paused(net) == 0 && kith_now() < end)
        CHECK_EQ((int)kith_sleep(net->co, kith_in(KITH_MS)), 0);
    CHECK_EQ(paused(net), 1);
}

/* Pauses, logs once, does not spin, goes on when the limit is lifted: nothing is lost. */
TEST(out_of_descriptors)
{
    struct net net;
    struct link link;
    int peers[8];
    REQUIRE(net_begin(&net));
    REQUIRE(net_listen(&net, &link, NULL));
    CHECK_EQ((int)TELL(&net, .op = NET_READING, .sock = link.listener, .on = false).err, 0);
    for (int i = 0; i < 8; i++)
        peers[i] = peer_connect(link.port);
    struct rlimit before = descriptors_take();
    kith_time began = kith_now();
    kith__store_rlx(&accepts, 0);
    CHECK_EQ((int)TELL(&net, .op = NET_READING, .sock = link.listener, .on = true).err, 0);
    wait_for_pause(&net);
    while (kith__load_rlx(&accepts) < 4 && kith_now() < began + NET_WAIT)
        CHECK_EQ((int)kith_sleep(net.co, kith_in(KITH_MS)), 0);
    uint32_t tries = kith__load_rlx(&accepts);
    CHECK_GE(tries, 4); /* it tries by itself */
    CHECK_LE(tries, (kith_now() - began) / (100 * KITH_MS) + 2);
    CHECK_EQ(kith__load_rlx(&net_pauses_logged), 1);
    setrlimit(RLIMIT_NOFILE, &before);
    for (int i = 0; i < 8; i++)
        CHECK(NEXT(&net, kith_accepted) != NULL);
    CHECK_EQ(paused(&net), 0);
    CHECK_EQ(kith__load_rlx(&net_pauses_logged), 1);
    for (int i = 0; i < 8; i++) {
        close(peers[i]);
        CHECK(NEXT(&net, kith_eof) != NULL);
    }
    net_end(&net);
}

/* A descriptor that kith closes goes to a paused listener at once: it leaves the list in that very
 * call, and does not wait for its timer. */
TEST(a_close_ends_the_pause)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    CHECK_EQ((int)TELL(&net, .op = NET_READING, .sock = link.listener, .on = false).err, 0);
    int peer = peer_connect(link.port);
    struct rlimit before = descriptors_take();
    CHECK_EQ((int)TELL(&net, .op = NET_READING, .sock = link.listener, .on = true).err, 0);
    wait_for_pause(&net);
    net_probe = paused_seen;
    CHECK_EQ(TELL(&net, .op = NET_WAITING, .sock = link.sock).n, 1);
    CHECK_EQ((int)TELL(&net, .op = NET_LISTEN, .address = "127.0.0.1").err, (int)KITH_EMFILE);
    CHECK_EQ((int)TELL(&net, .op = NET_CONNECT, .address = "127.0.0.1", .port = link.port).err,
             (int)KITH_EMFILE);
    CHECK_EQ(TELL(&net, .op = NET_CLOSE, .sock = link.sock).n, 0);
    net_probe = NULL;
    CHECK(NEXT(&net, kith_accepted) != NULL);
    setrlimit(RLIMIT_NOFILE, &before);
    close(peer);
    close(link.peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    net_end(&net);
}

TEST(a_paused_listener_can_be_closed)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_listen(&net, &link, NULL));
    accept_fails(ENFILE, 1000000);
    int peer = peer_connect(link.port);
    wait_for_pause(&net);
    CHECK_EQ((int)TELL(&net, .op = NET_CLOSE, .sock = link.listener).err, 0);
    CHECK_EQ(paused(&net), 0);
    accept_fails(0, 0);
    close(peer);
    net_end(&net);
}

/* Errors of a single connection do not end the listener, others do. */
TEST(accept_errors)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_listen(&net, &link, NULL));
    accept_fails(ECONNABORTED, 40);
    REQUIRE(net_accept(&net, &link));
    close(link.peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    CHECK_EQ(kith__load_rlx(&net_pauses_logged), 0);
    accept_fails(ENOBUFS, 2);
    REQUIRE(net_accept(&net, &link));
    close(link.peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    CHECK_EQ(kith__load_rlx(&net_pauses_logged), 1);
    accept_fails(EFAULT, 1);
    int peer = peer_connect(link.port);
    net_expect_closed(&net, link.listener, KITH_EIO);
    close(peer);
    accept_fails(0, 0);
    net_end(&net);
}

/* An error of a single connection that comes for ever is none: the listener pauses, and logs once. */
TEST(accept_errors_that_persist)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_listen(&net, &link, NULL));
    kith_time began = kith_now();
    kith__store_rlx(&accepts, 0);
    accept_fails(EPERM, INT32_MAX);
    int peer = peer_connect(link.port);
    wait_for_pause(&net);
    while (kith__load_rlx(&accepts) < 4 * 64 && kith_now() < began + NET_WAIT)
        CHECK_EQ((int)kith_sleep(net.co, kith_in(KITH_MS)), 0);
    uint32_t tries = kith__load_rlx(&accepts);
    CHECK_GE(tries, 256); /* it tries by itself */
    CHECK_LE(tries, 64 * ((kith_now() - began) / (100 * KITH_MS) + 2));
    accept_fails(0, 0);
    CHECK(NEXT(&net, kith_accepted) != NULL);
    CHECK_EQ(paused(&net), 0);
    CHECK_EQ(kith__load_rlx(&net_pauses_logged), 1);
    close(peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    net_end(&net);
}

/* epoll takes no more: an error for the caller; a listener loses that one connection, and pauses. */
TEST(registering_fails)
{
    if (net_poller != KITH_EPOLL)
        return; /* it makes epoll_ctl fail */
    struct net net;
    struct link link;
    char byte;
    REQUIRE(net_begin(&net));
    REQUIRE(net_listen(&net, &link, NULL));
    kith__store_rel(&epoll_fails, true);
    CHECK_EQ((int)TELL(&net, .op = NET_LISTEN, .address = "127.0.0.1").err, (int)KITH_ENOMEM);
    int lost = peer_connect(link.port);
    CHECK_LE(recv(lost, &byte, 1, 0), 0);
    close(lost);
    wait_for_pause(&net);
    kith__store_rel(&epoll_fails, false);
    REQUIRE(net_accept(&net, &link));
    net_lives(&net, net.port, link.sock, link.peer);
    close(link.peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    CHECK_EQ(kith__load_rlx(&net_pauses_logged), 1);
    net_end(&net);
}

/* ---- connecting ---- */

TEST(connect_works)
{
    struct net net;
    uint16_t port;
    REQUIRE(net_begin(&net));
    int listener = peer_listen(5, &port);
    answer a = TELL(&net, .op = NET_CONNECT, .address = "127.0.0.1", .port = port,
                    .deadline = kith_in(NET_WAIT));
    REQUIRE(a.err == KITH_OK);
    int peer = peer_accept(listener);
    const kith_connected *connected = NEXT(&net, kith_connected);
    REQUIRE(connected != NULL);
    CHECK(kith_sock_same(connected->sock, a.sock));
    CHECK_EQ((int)connected->status, 0);
    net_lives(&net, net.port, a.sock, peer);
    answer name = TELL(&net, .op = NET_PEER, .sock = a.sock);
    CHECK_EQ((int)name.err, 0);
    CHECK_EQ(name.port, port);
    CHECK_STR(name.text, "127.0.0.1");
    close(peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    close(listener);
    net_end(&net);
}

/* The connection and the first input come in one event, because the actor was busy. */
TEST(input_with_the_connection)
{
    struct net net;
    uint16_t port;
    REQUIRE(net_begin(&net));
    sem_init(&net_gate, 0, 0);
    int listener = peer_listen(5, &port);
    REQUIRE(kith_send(net.self, net.port, order, .op = NET_CONNECT_WAIT, .address = "127.0.0.1",
                      .port = port, .deadline = KITH_FOREVER) == KITH_OK);
    int peer = peer_accept(listener);
    peer_send(peer, 100, 0);
    sem_post(&net_gate);
    const answer *a = NEXT(&net, answer);
    REQUIRE(a != NULL);
    kith_sock sock = a->sock;
    const kith_connected *connected = NEXT(&net, kith_connected);
    REQUIRE(connected != NULL);
    CHECK_EQ((int)connected->status, 0);
    net_expect(&net, sock, 100, 0);
    close(peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    close(listener);
    sem_destroy(&net_gate);
    net_end(&net);
}

static void connect_expect(struct net *net, const char *address, uint16_t port, kith_time deadline,
                           kith_err status)
{
    answer a = TELL(net, .op = NET_CONNECT, .address = address, .port = port, .deadline = deadline);
    REQUIRE(a.err == KITH_OK);
    const kith_connected *connected = NEXT(net, kith_connected);
    REQUIRE(connected != NULL);
    CHECK(kith_sock_same(connected->sock, a.sock));
    CHECK_EQ((int)connected->status, (int)status);
    CHECK_EQ((int)TELL(net, .op = NET_CLOSE, .sock = a.sock).err, (int)KITH_EBADREF);
}

TEST(connect_refused)
{
    struct net net;
    uint16_t port;
    REQUIRE(net_begin(&net));
    close(peer_listen(5, &port));
    connect_expect(&net, "127.0.0.1", port, KITH_FOREVER, KITH_ECONNREFUSED);
    connect_expect(&net, "127.0.0.1", port, kith_in(NET_WAIT), KITH_ECONNREFUSED);
    net_end(&net);
}

/* The system itself says no, at once: a broadcast address. The outcome is a message all the same. */
TEST(connect_refused_at_once)
{
    struct net net;
    REQUIRE(net_begin(&net));
    answer a = TELL(&net, .op = NET_CONNECT, .address = "255.255.255.255", .port = 9,
                    .deadline = KITH_FOREVER);
    REQUIRE(a.err == KITH_OK);
    const kith_connected *connected = NEXT(&net, kith_connected);
    REQUIRE(connected != NULL);
    CHECK_NE((int)connected->status, 0);
    CHECK_NE((int)connected->status, (int)KITH_ETIMEOUT);
    net_end(&net);
}

/* A listener that accepts nothing and whose queue is full answers nothing. */
TEST(connect_times_out)
{
    struct net net;
    uint16_t port;
    int fillers[4];
    REQUIRE(net_begin(&net));
    int listener = peer_listen(0, &port);
    struct sockaddr_in at = peer_at(port);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], (struct sockaddr *)&at, sizeof at);
    }
    connect_expect(&net, "127.0.0.1", port, kith_in(50 * KITH_MS), KITH_ETIMEOUT);
    connect_expect(&net, "127.0.0.1", port, KITH_NOWAIT, KITH_ETIMEOUT);
    answer a = TELL(&net, .op = NET_CONNECT, .address = "127.0.0.1", .port = port,
                    .deadline = kith_in(NET_WAIT));
    CHECK_EQ((int)TELL(&net, .op = NET_WRITE, .sock = a.sock, .n = 1).err, (int)KITH_ENOTCONN);
    CHECK_EQ((int)TELL(&net, .op = NET_FINISH, .sock = a.sock).err, (int)KITH_ENOTCONN);
    CHECK_EQ((int)TELL(&net, .op = NET_PEER, .sock = a.sock).err, (int)KITH_ENOTCONN);
    CHECK_EQ((int)TELL(&net, .op = NET_CLOSE, .sock = a.sock).err, 0);
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    close(listener);
    net_end(&net);
}

/* ---- addresses ---- */

static bool ipv6_works(void)
{
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool works = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
    if (fd >= 0)
        close(fd);
    return works;
}

/* kith to kith; what the two see of each other is text of the same address. */
static void both_sides(const char *listen_at, const char *connect_to, const char *seen,
                       const kith_sock_options *options)
{
    struct net net;
    REQUIRE(net_begin(&net));
    answer l = TELL(&net, .op = NET_LISTEN, .address = listen_at, .options = options);
    REQUIRE(l.err == KITH_OK);
    uint16_t port = TELL(&net, .op = NET_LOCAL, .sock = l.sock).port;
    CHECK_EQ((int)TELL(&net, .op = NET_PEER, .sock = l.sock).err, (int)KITH_ENOTCONN);
    kith_ref other = net_port(&net);
    answer c = TELL_TO(&net, other, .op = NET_CONNECT, .address = connect_to, .port = port,
                       .deadline = kith_in(NET_WAIT));
    kith_sock conn = {0};
    for (int i = 0; i < 2; i++) { /* in either order */
        kith_msg *msg;
        REQUIRE(kith_receive(net.co, kith_in(NET_WAIT), &msg) == KITH_OK);
        const kith_accepted *in = kith_body(msg, kith_accepted);
        if (in != NULL)
            conn = in->conn;
        else
            REQUIRE(kith_body(msg, kith_connected) != NULL &&
                    kith_body(msg, kith_connected)->status == KITH_OK);
    }
    answer here = TELL(&net, .op = NET_PEER, .sock = conn);
    answer there = TELL_TO(&net, other, .op = NET_LOCAL, .sock = c.sock);
    CHECK_STR(here.text, seen);
    CHECK_STR(there.text, seen);
    CHECK_EQ(here.port, there.port);
    CHECK_EQ(TELL(&net, .op = NET_LOCAL, .sock = conn).port, port);
    CHECK_EQ((int)TELL(&net, .op = NET_PEER, .sock = c.sock).err, (int)KITH_EPERM);
    CHECK_EQ((int)TELL_TO(&net, other, .op = NET_WRITE, .sock = c.sock, .n = 50).err, 0);
    net_expect(&net, conn, 50, 0);
    net_end(&net);
}

TEST(ipv4)
{
    both_sides("127.0.0.1", "127.0.0.1", "127.0.0.1", NULL);
}

TEST(every_address)
{
    both_sides(NULL, "127.0.0.1", "127.0.0.1", NULL);
    both_sides("0.0.0.0", "127.0.0.1", "127.0.0.1", NULL);
}

TEST(ipv6)
{
    if (!ipv6_works()) {
        printf("(no IPv6 here) ");
        return;
    }
    both_sides("::1", "::1", "::1", NULL);
    both_sides(NULL, "::1", "::1", NULL);
    both_sides("::", "127.0.0.1", "127.0.0.1", NULL); /* mapped, but written as what it is */
    both_sides("::", "::1", "::1", &(kith_sock_options){.ipv6_only = true});
    struct net net;
    REQUIRE(net_begin(&net));
    answer l = TELL(&net, .op = NET_LISTEN,
                    .address = "::", .options = &(kith_sock_options){.ipv6_only = true});
    uint16_t port = TELL(&net, .op = NET_LOCAL, .sock = l.sock).port;
    connect_expect(&net, "127.0.0.1", port, KITH_FOREVER, KITH_ECONNREFUSED);
    net_end(&net);
}

TEST(ports_in_use)
{
    struct net net;
    struct link link;
    const kith_sock_options shared = {.reuse_port = true};
    REQUIRE(net_begin(&net));
    REQUIRE(net_listen(&net, &link, NULL));
    CHECK_EQ((int)TELL(&net, .op = NET_LISTEN, .address = "127.0.0.1", .port = link.port).err,
             (int)KITH_EADDRINUSE);
    REQUIRE(net_listen(&net, &link, &shared));
    CHECK_EQ((int)TELL(&net, .op = NET_LISTEN, .address = "127.0.0.1", .port = link.port,
                       .options = &shared)
                 .err,
             0);
    CHECK_EQ((int)TELL(&net, .op = NET_LISTEN, .address = "192.0.2.1").err,
             (int)KITH_EADDRNOTAVAIL);
    net_end(&net);
}
