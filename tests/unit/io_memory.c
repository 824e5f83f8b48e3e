/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sockets without memory: a scenario that uses everything is run again and again, and each time
 * another allocation fails, alone or with those that follow. Every call either does its work or
 * says KITH_ENOMEM; no message, no connection and no byte of input is lost; nothing leaks.
 */
#include "tests/unit/io_net.h"

static KITH__ATOMIC(bool) armed;
static KITH__ATOMIC(uint32_t) allocations; /* since it was armed */
static KITH__ATOMIC(uint32_t) failed;
static uint32_t fail_from;
static uint32_t fail_count;

static bool fails(void)
{
    if (!kith__load_acq(&armed))
        return false;
    uint32_t n = kith__add_rlx(&allocations, 1);
    if (n < fail_from || n >= fail_from + fail_count)
        return false;
    kith__add_rlx(&failed, 1);
    return true;
}

/* As TELL, until there is memory. */
#define INSIST(out, net, port, ...)                                                                \
    do                                                                                             \
        (out) = TELL_TO((net), (port), __VA_ARGS__);                                               \
    while ((out).err == KITH_ENOMEM)

#define MUCH ((size_t)8000000) /* more than the system takes at once */

/* A write may break the connection (R4 in io/stream.c), and says so. */
static bool write_much(struct net *net, struct link *link)
{
    answer a;
    INSIST(a, net, net->port, .op = NET_WRITE, .sock = link->sock, .n = MUCH,
           .deadline = kith_in(NET_WAIT));
    CHECK_EQ((int)a.err, 0);
    INSIST(a, net, net->port, .op = NET_WRITE, .sock = link->sock, .n = 0);
    if (a.err != KITH_OK) {
        const kith_closed *closed = NEXT(net, kith_closed);
        CHECK(closed != NULL && closed->reason == KITH_ENOMEM);
        return false;
    }
    INSIST(a, net, net->port, .op = NET_WRITE, .sock = link->sock, .n = 1);
    if (a.err == KITH_EFULL) {
        peer_expect(link->peer, MUCH, 0);
        CHECK(NEXT(net, kith_drained) != NULL);
    }
    return true;
}

static void connect_out(struct net *net)
{
    answer a;
    uint16_t port;
    int listener = peer_listen(5, &port);
    INSIST(a, net, net->port, .op = NET_CONNECT, .address = "127.0.0.1", .port = port,
           .deadline = kith_in(NET_WAIT));
    REQUIRE(a.err == KITH_OK);
    kith_sock sock = a.sock;
    const kith_connected *connected = NEXT(net, kith_connected);
    CHECK(connected != NULL && connected->status == KITH_OK);
    int peer = peer_accept(listener);
    close(peer);
    CHECK(NEXT(net, kith_eof) != NULL);
    close(listener);
    INSIST(a, net, net->port, .op = NET_CLOSE, .sock = sock);
}

static void hand_on(struct net *net, struct link *link, kith_ref other)
{
    answer a;
    INSIST(a, net, net->port, .op = NET_READ_BY, .sock = link->sock, .deadline = kith_in(NET_WAIT));
    CHECK_EQ((int)a.err, 0);
    INSIST(a, net, net->port, .op = NET_GIVE, .sock = link->sock, .to = other);
    CHECK_EQ((int)a.err, 0);
    CHECK(NEXT(net, kith_given) != NULL);
    peer_send(link->peer, 20000, 7);
    shutdown(link->peer, SHUT_WR);
    net_expect(net, link->sock, 20000, 7);
    CHECK(NEXT(net, kith_eof) != NULL);
}

static void scenario(struct net *net, kith_ref other)
{
    answer a;
    struct link link;
    INSIST(a, net, net->port, .op = NET_LISTEN, .address = "127.0.0.1");
    REQUIRE(a.err == KITH_OK);
    link.listener = a.sock;
    INSIST(a, net, net->port, .op = NET_LOCAL, .sock = link.listener);
    link.port = a.port;
    REQUIRE(net_accept(net, &link));
    peer_send(link.peer, 300, 0);
    net_expect(net, link.sock, 300, 0);
    connect_out(net);
    if (write_much(net, &link))
        hand_on(net, &link, other);
    close(link.peer);
}

/* Returns whether the failures were reached. */
static bool run_with_failures(uint32_t from, uint32_t count)
{
    struct net net;
    fail_from = from;
    fail_count = count;
    kith__store_rlx(&allocations, 0);
    kith__store_rlx(&failed, 0);
    net_alloc_fails = fails;
    if (!net_begin(&net))
        return false;
    kith_ref other = net_port(&net);
    kith__store_rel(&armed, true); /* release; pairs with the load in fails */
    scenario(&net, other);
    kith__store_rel(&armed, false);
    net_end(&net);
    net_alloc_fails = NULL;
    return kith__load_rlx(&failed) == count;
}

TEST(each_allocation_fails)
{
    uint32_t n = 0;
    while (run_with_failures(n, 1) && n < 10000)
        n++;
    printf("(%u allocations) ", n);
    CHECK_GT(n, 3);
}

TEST(many_in_a_row_fail)
{
    uint32_t n = 0;
    while (run_with_failures(n, 25) && n < 10000)
        n += 3;
    CHECK_GT(n, 0);
}
