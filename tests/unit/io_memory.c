/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sockets without memory: a scenario that uses everything is run again and again, and each time
 * another allocation fails, alone or with those that follow. Every call either does its work or
 * says KITH_ENOMEM; no message, no connection and no byte of input is lost; nothing leaks.
 */
#include "tests/unit/io_co.h"

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

/* ---- the same for those who wait ---- */

/* As long as there is no memory. */
#define INSIST_ON(err, call)                                                                       \
    do                                                                                             \
        (err) = (call);                                                                            \
    while ((err) == KITH_ENOMEM)

/* Not co_expect: a read may want memory for its deadline. */
static void insist_on_bytes(kith_co *co, kith_sock sock, size_t n, size_t offset)
{
    unsigned char bytes[5000];
    size_t got;
    for (; n > 0; n -= got, offset += got) {
        kith_err err;
        INSIST_ON(err, kith_read(co, sock, bytes, n < 5000 ? n : 5000, &got, PATIENCE));
        REQUIRE(err == KITH_OK && got > 0);
        CHECK(net_right(bytes, got, offset));
    }
}

static void fiber_half(kith_self *self, kith_co *co, void *arg)
{
    kith_sock sock = *(kith_sock *)arg;
    kith_err err;
    (void)self;
    insist_on_bytes(co, sock, 20000, 0);
    INSIST_ON(err, kith_write(co, sock, "x", 1, PATIENCE));
    CHECK_EQ((int)err, 0);
}

static bool dial_and_accept(struct net *net, kith_sock *listener, kith_sock *a, kith_sock *b)
{
    uint16_t port = 0;
    kith_err err;
    do
        *listener = kith_listen(net->self, "127.0.0.1", 0, NULL);
    while (kith_sock_error(*listener) == KITH_ENOMEM);
    CHECK_EQ((int)kith_sock_local(net->self, *listener, NULL, &port), 0);
    INSIST_ON(err, kith_dial(net->co, "127.0.0.1", port, PATIENCE, NULL, a));
    CHECK_EQ((int)err, 0);
    do { /* one that could not wait for its connection has left it in the backlog */
        INSIST_ON(err, kith_accept(net->co, *listener, PATIENCE, b));
        CHECK_EQ((int)err, 0);
        char byte = 0;
        size_t n = 0;
        kith_err look = kith_read(net->co, *b, &byte, 1, &n, KITH_NOWAIT);
        if (look == KITH_ETIMEOUT)
            return true;
        CHECK_EQ((int)kith_close(net->self, *b), 0);
    } while (err == KITH_OK);
    return false;
}

static void waiting_scenario(struct net *net, kith_ref other)
{
    kith_sock listener;
    kith_sock a;
    kith_sock b;
    kith_ref fiber;
    kith_err err;
    unsigned char bytes[20000];
    REQUIRE(dial_and_accept(net, &listener, &a, &b));
    kith_fiber_options options = {.arg_bytes = sizeof b, .sock = b};
    do
        fiber = kith_go_with(net->self, fiber_half, &b, &options);
    while (kith_ref_error(fiber) == KITH_ENOMEM);
    CHECK_EQ((int)kith_ref_error(fiber), 0);
    net_fill(bytes, sizeof bytes, 0);
    CHECK_EQ((int)kith_write(net->co, a, bytes, sizeof bytes, PATIENCE), 0);
    size_t n;
    INSIST_ON(err, kith_read(net->co, a, bytes, 1, &n, PATIENCE));
    CHECK(err == KITH_OK && n == 1 && bytes[0] == 'x');
    INSIST_ON(err, kith_sock_give(net->self, a, other));
    CHECK_EQ((int)err, 0);
    CHECK(NEXT(net, kith_given) != NULL);
    CHECK(NEXT(net, kith_eof) != NULL); /* the fiber has ended */
    CHECK_EQ((int)kith_close(net->self, listener), 0);
}

static bool net_waits; /* which scenario */

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
    if (net_waits)
        waiting_scenario(&net, other);
    else
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

/* Calls that wait say so, and can be tried again; nothing is lost by that. */
TEST(each_fails_for_those_who_wait)
{
    uint32_t n = 0;
    net_waits = true;
    while (run_with_failures(n, 1) && n < 10000)
        n++;
    printf("(%u allocations) ", n);
    CHECK_GT(n, 3);
}

TEST(many_fail_for_those_who_wait)
{
    uint32_t n = 0;
    while (run_with_failures(n, 25) && n < 10000)
        n += 3;
    CHECK_GT(n, 0);
    net_waits = false;
}
