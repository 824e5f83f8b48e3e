/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sockets of fibers and of attached threads (io/wait.c): kith_read, kith_write, kith_accept,
 * kith_dial. Handing them over is io_hand.c's, selects are io_ready.c's.
 */
#include "tests/unit/io_co.h"
#include <sys/resource.h>

/* ---- a server as the documentation has it ---- */

static void echo(kith_self *self, kith_co *co, void *arg)
{
    kith_sock s = *(kith_sock *)arg;
    char buf[16384];
    size_t n;
    while (kith_read(co, s, buf, sizeof buf, &n, KITH_FOREVER) == KITH_OK && n > 0)
        if (kith_write(co, s, buf, n, kith_in(10 * KITH_SECOND)) != KITH_OK)
            break;
    kith_close(self, s);
}

/* Serves until it is canceled. */
static void server(kith_self *self, kith_co *co, void *arg)
{
    kith_ref main = kith_parent(self);
    kith_sock listener = kith_listen(self, "127.0.0.1", 0, NULL);
    kith_sock s;
    uint16_t port = 0;
    (void)arg;
    CHECK_EQ((int)kith_sock_local(self, listener, NULL, &port), 0);
    CHECK_EQ((int)kith_send(self, main, reached, .step = port), 0);
    kith_err err;
    while ((err = kith_accept(co, listener, KITH_FOREVER, &s)) == KITH_OK) {
        kith_fiber_options options = {.arg_bytes = sizeof s, .sock = s};
        CHECK_EQ((int)kith_ref_error(kith_go_with(self, echo, &s, &options)), 0);
        CHECK_EQ((int)kith_close(self, s), (int)KITH_EPERM); /* it is the fiber's */
    }
    CHECK_EQ((int)err, (int)KITH_ECANCELED);
    kith_close(self, listener);
}

TEST_DRIVEN(an_echo_server)
{
    enum { PEERS = 20 };
    int peers[PEERS];
    kith_ref fiber = kith_go(net->self, server, NULL);
    const reached *at = NEXT(net, reached);
    REQUIRE(at != NULL);
    uint16_t port = (uint16_t)at->step;
    for (int i = 0; i < PEERS; i++) {
        peers[i] = peer_connect(port);
        peer_send(peers[i], 1000, (size_t)i);
    }
    for (size_t round = 0; round < 10; round++)
        for (size_t i = 0; i < PEERS; i++) {
            peer_expect(peers[i], 1000, round * 7 + i);
            peer_send(peers[i], 1000, round * 7 + 7 + i);
        }
    for (size_t i = 0; i < PEERS; i++) {
        peer_expect(peers[i], 1000, 70 + i);
        shutdown(peers[i], SHUT_WR);
        peer_expect_end(peers[i]);
        close(peers[i]);
    }
    CHECK_EQ((int)kith_stop(net->self, fiber), 0);
    await_end(net, fiber);
}

/* ---- reading ---- */

TEST_ON_COS(reads_what_there_is)
{
    struct ends ends;
    unsigned char bytes[64];
    size_t n;
    (void)net;
    REQUIRE(ends_open(self, co, &ends));
    peer_send(ends.peer, 10, 0);
    CHECK_EQ((int)kith_read(co, ends.sock, bytes, 4, &n, PATIENCE), 0);
    CHECK(n == 4 && net_right(bytes, 4, 0));
    CHECK_EQ((int)kith_read(co, ends.sock, bytes, 4, &n, PATIENCE), 0);
    CHECK(n == 4 && net_right(bytes, 4, 4));
    CHECK_EQ((int)kith_read(co, ends.sock, bytes, 64, &n, PATIENCE), 0);
    CHECK(n == 2 && net_right(bytes, 2, 8));
    shutdown(ends.peer, SHUT_WR);
    co_expect_end(co, ends.sock);
    co_expect_end(co, ends.sock); /* again and again */
    CHECK_EQ((int)co_write(co, ends.sock, 100, 3, PATIENCE), 0);
    peer_expect(ends.peer, 100, 3);
    ends_close(self, &ends);
}

static void peer_finish(int peer)
{
    shutdown(peer, SHUT_WR);
}

TEST_ON_COS(a_read_waits)
{
    struct ends ends;
    (void)net;
    REQUIRE(ends_open(self, co, &ends));
    for (int i = 0; i < 50; i++) {
        help_with(self, ends.peer, 7, NULL);
        CHECK(co_expect(co, ends.sock, 7, 0));
    }
    help_with(self, ends.peer, 7, peer_finish);
    CHECK(co_expect(co, ends.sock, 7, 0));
    co_expect_end(co, ends.sock);
    ends_close(self, &ends);
}

/* The end came with the bytes: a read of fewer than there was room for is not the last. */
TEST_ON_COS(the_end_comes_with_the_bytes)
{
    struct ends ends;
    unsigned char bytes[64];
    size_t n;
    (void)net;
    for (int i = 0; i < 20; i++) {
        REQUIRE(ends_open(self, co, &ends));
        CHECK_EQ((int)kith_read(co, ends.sock, bytes, 1, &n, KITH_NOWAIT), (int)KITH_ETIMEOUT);
        peer_send(ends.peer, 10, 0);
        shutdown(ends.peer, SHUT_WR);
        CHECK_EQ((int)kith_read(co, ends.sock, bytes, sizeof bytes, &n, PATIENCE), 0);
        CHECK(n == 10 && net_right(bytes, n, 0));
        co_expect_end(co, ends.sock);
        ends_close(self, &ends);
    }
}

TEST_ON_COS(a_read_in_time)
{
    struct ends ends;
    unsigned char bytes[64];
    size_t n;
    (void)net;
    REQUIRE(ends_open(self, co, &ends));
    kith_time by = kith_in(5 * KITH_MS);
    CHECK_EQ((int)kith_read(co, ends.sock, bytes, 64, &n, by), (int)KITH_ETIMEOUT);
    CHECK_EQ(n, 0);
    CHECK_GE(kith_now(), by);
    for (int i = 0; i < 20; i++) { /* what is there is no timeout, though no event has told of it */
        CHECK_EQ((int)kith_read(co, ends.sock, bytes, 64, &n, KITH_NOWAIT), (int)KITH_ETIMEOUT);
        peer_send(ends.peer, 10, 0);
        CHECK_EQ((int)kith_read(co, ends.sock, bytes, 64, &n, KITH_NOWAIT), 0);
        CHECK_EQ(n, 10);
    }
    co_lives(co, ends.sock, ends.peer);
    ends_close(self, &ends);
}

/* ---- writing ---- */

#define MUCH ((size_t)8000000) /* more than the system takes at once */

static void peer_take(int peer)
{
    peer_expect(peer, MUCH, 0);
}

/* A plain peer that reads in a thread of its own, since it blocks. */
static void *peer_thread(void *arg)
{
    peer_take(*(int *)arg);
    return NULL;
}

TEST_ON_COS(writes_all)
{
    struct ends ends;
    pthread_t thread;
    (void)net;
    REQUIRE(ends_open(self, co, &ends));
    REQUIRE(pthread_create(&thread, NULL, peer_thread, &ends.peer) == 0);
    CHECK_EQ((int)co_write(co, ends.sock, MUCH, 0, PATIENCE), 0);
    pthread_join(thread, NULL);
    CHECK_EQ((int)kith_write(co, ends.sock, NULL, 0, PATIENCE), 0);
    co_lives(co, ends.sock, ends.peer);
    ends_close(self, &ends);
}

TEST_ON_COS(a_write_in_time)
{
    struct ends ends;
    (void)net;
    REQUIRE(ends_open(self, co, &ends));
    kith_time by = kith_in(20 * KITH_MS);
    CHECK_EQ((int)co_write(co, ends.sock, MUCH, 0, by), (int)KITH_ETIMEOUT);
    CHECK_GE(kith_now(), by);
    CHECK_EQ((int)co_write(co, ends.sock, MUCH, 0, KITH_NOWAIT), (int)KITH_ETIMEOUT);
    peer_send(ends.peer, 10, 3); /* it can still be read */
    CHECK(co_expect(co, ends.sock, 10, 3));
    ends_close(self, &ends);
}

static void finished(struct ends *ends, kith_co *co)
{
    CHECK_EQ((int)co_write(co, ends->sock, 10, 10, PATIENCE), (int)KITH_ENOTCONN);
    peer_expect(ends->peer, 10, 0);
    peer_expect_end(ends->peer);
    peer_send(ends->peer, 20, 5);
    CHECK(co_expect(co, ends->sock, 20, 5));
    shutdown(ends->peer, SHUT_WR);
    co_expect_end(co, ends->sock);
}

TEST_ON_COS(half_close)
{
    struct ends ends;
    kith_msg *msg;
    (void)net;
    REQUIRE(ends_open(self, co, &ends));
    CHECK_EQ((int)co_write(co, ends.sock, 10, 0, PATIENCE), 0);
    CHECK_EQ((int)kith_sock_finish(self, ends.sock), 0);
    finished(&ends, co);
    CHECK_EQ((int)kith_sock_finish(self, ends.sock), (int)KITH_ENOTCONN);
    CHECK_EQ((int)kith_receive(co, KITH_NOWAIT, &msg), (int)KITH_ETIMEOUT); /* told nothing */
    ends_close(self, &ends);
}

/* ---- both ways at once ---- */

struct half {
    kith_sock sock;
    bool writes;
};

static void half_fiber(kith_self *self, kith_co *co, void *arg)
{
    const struct half *half = arg;
    if (half->writes) {
        CHECK_EQ((int)co_write(co, half->sock, MUCH, 0, PATIENCE), 0);
        CHECK_EQ((int)kith_sock_finish(self, half->sock), 0);
    } else {
        CHECK(co_expect(co, half->sock, MUCH, 0));
    }
    co_expect_end(co, half->sock);
}

static kith_ref half_go(kith_self *self, kith_sock sock, bool writes)
{
    struct half half = {sock, writes};
    kith_fiber_options options = {.arg_bytes = sizeof half, .sock = sock};
    return kith_go_with(self, half_fiber, &half, &options);
}

/* Four fibers, two connections, each with both ends here. */
TEST_DRIVEN(big_transfers_cross)
{
    struct ends ends;
    kith_ref fibers[4];
    REQUIRE(ends_listen(net->self, &ends));
    for (size_t i = 0; i < 2; i++) {
        kith_sock out;
        kith_sock in;
        CHECK_EQ((int)kith_dial(net->co, "127.0.0.1", ends.port, PATIENCE, NULL, &out), 0);
        CHECK_EQ((int)kith_accept(net->co, ends.listener, PATIENCE, &in), 0);
        fibers[i * 2] = half_go(net->self, out, i == 0);
        fibers[i * 2 + 1] = half_go(net->self, in, i != 0);
    }
    for (int i = 0; i < 4; i++)
        await_end(net, fibers[i]);
    CHECK_EQ((int)kith_close(net->self, ends.listener), 0);
}

/* ---- breaking ---- */

TEST_ON_COS(a_reset_is_told_again_and_again)
{
    struct ends ends;
    unsigned char bytes[64];
    size_t n;
    (void)net;
    REQUIRE(ends_open(self, co, &ends));
    help_with(self, ends.peer, 0, peer_reset);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ((int)kith_read(co, ends.sock, bytes, 64, &n, PATIENCE), (int)KITH_ECONNRESET);
        CHECK_EQ((int)co_write(co, ends.sock, 1, 0, PATIENCE), (int)KITH_ECONNRESET);
    }
    CHECK_EQ((int)kith_close(self, ends.sock), 0);
    CHECK_EQ((int)kith_close(self, ends.listener), 0);
}

/* A writer hears of it, and what the peer had sent before is still read. */
TEST_ON_COS(a_write_breaks)
{
    struct ends ends;
    unsigned char bytes[64];
    size_t n;
    (void)net;
    REQUIRE(ends_open(self, co, &ends));
    peer_send(ends.peer, 30, 0);
    help_with(self, ends.peer, 0, peer_reset);
    kith_err err = co_write(co, ends.sock, MUCH, 0, PATIENCE);
    CHECK(err == KITH_ECONNRESET || err == KITH_EPIPE);
    CHECK_EQ((int)co_write(co, ends.sock, 1, 0, PATIENCE), (int)err);
    CHECK_EQ((int)kith_read(co, ends.sock, bytes, 64, &n, PATIENCE), 0);
    CHECK(n == 30 && net_right(bytes, 30, 0));
    CHECK_EQ((int)kith_read(co, ends.sock, bytes, 64, &n, PATIENCE), (int)err);
    CHECK_EQ((int)kith_close(self, ends.sock), 0);
    CHECK_EQ((int)kith_close(self, ends.listener), 0);
}

/* ---- accepting and dialing ---- */

static void connect_thrice(int port)
{
    for (int i = 0; i < 3; i++) {
        int peer = peer_connect((uint16_t)port);
        peer_send(peer, 10, 0);
        close(peer);
    }
}

TEST_ON_COS(an_accept_waits)
{
    struct ends ends;
    (void)net;
    REQUIRE(ends_listen(self, &ends));
    kith_time by = kith_in(5 * KITH_MS);
    CHECK_EQ((int)kith_accept(co, ends.listener, by, &ends.sock), (int)KITH_ETIMEOUT);
    CHECK_EQ(ends.sock.bits, 0);
    CHECK_GE(kith_now(), by);
    help_with(self, ends.port, 0, connect_thrice);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ((int)kith_accept(co, ends.listener, PATIENCE, &ends.sock), 0);
        CHECK(co_expect(co, ends.sock, 10, 0));
        co_expect_end(co, ends.sock);
        CHECK_EQ((int)kith_close(self, ends.sock), 0);
    }
    CHECK_EQ((int)kith_accept(co, ends.listener, KITH_NOWAIT, &ends.sock), (int)KITH_ETIMEOUT);
    int peer = peer_connect(ends.port);
    CHECK_EQ((int)kith_accept(co, ends.listener, KITH_NOWAIT, &ends.sock), 0);
    co_lives(co, ends.sock, peer);
    close(peer);
    CHECK_EQ((int)kith_close(self, ends.listener), 0); /* sock ends with its owner */
}

TEST_ON_COS(dials)
{
    uint16_t port;
    uint16_t at;
    char text[KITH_ADDRESS_BYTES];
    kith_sock sock;
    (void)net;
    int listener = peer_listen(5, &port);
    CHECK_EQ((int)kith_dial(co, "127.0.0.1", port, PATIENCE, NULL, &sock), 0);
    int peer = peer_accept(listener);
    co_lives(co, sock, peer);
    CHECK_EQ((int)kith_sock_peer(self, sock, text, &at), 0);
    CHECK_STR(text, "127.0.0.1");
    CHECK_EQ(at, port);
    CHECK_EQ((int)kith_close(self, sock), 0);
    peer_expect_end(peer);
    close(peer);
    close(listener);
    CHECK_EQ((int)kith_dial(co, "127.0.0.1", port, PATIENCE, NULL, &sock), (int)KITH_ECONNREFUSED);
    CHECK_EQ(sock.bits, 0);
}

/* A listener of the system's whose backlog is full: who dials it waits. */
struct full {
    int listener;
    uint16_t port;
    int fillers[4];
};

static void full_make(struct full *full)
{
    full->listener = peer_listen(0, &full->port);
    struct sockaddr_in at = peer_at(full->port);
    for (int i = 0; i < 4; i++) {
        full->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(full->fillers[i], (struct sockaddr *)&at, sizeof at);
    }
}

static void full_end(struct full *full)
{
    for (int i = 0; i < 4; i++)
        close(full->fillers[i]);
    close(full->listener);
}

TEST_ON_COS(a_dial_in_time)
{
    struct full full;
    kith_sock sock;
    (void)net;
    (void)self;
    full_make(&full);
    kith_time by = kith_in(20 * KITH_MS);
    CHECK_EQ((int)kith_dial(co, "127.0.0.1", full.port, by, NULL, &sock), (int)KITH_ETIMEOUT);
    CHECK_GE(kith_now(), by);
    CHECK_EQ((int)kith_dial(co, "127.0.0.1", full.port, KITH_NOWAIT, NULL, &sock),
             (int)KITH_ETIMEOUT);
    full_end(&full);
}

static struct rlimit descriptors_none(void)
{
    struct rlimit before;
    int lowest = dup(0);
    close(lowest);
    getrlimit(RLIMIT_NOFILE, &before);
    struct rlimit none = {(rlim_t)lowest, before.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    return before;
}

TEST_ON_COS(out_of_descriptors)
{
    struct ends ends;
    (void)net;
    REQUIRE(ends_listen(self, &ends));
    ends.peer = peer_connect(ends.port);
    struct rlimit before = descriptors_none();
    for (int i = 0; i < 3; i++)
        CHECK_EQ((int)kith_accept(co, ends.listener, PATIENCE, &ends.sock), (int)KITH_EMFILE);
    CHECK_EQ((int)kith_dial(co, "127.0.0.1", ends.port, PATIENCE, NULL, &ends.sock),
             (int)KITH_EMFILE);
    setrlimit(RLIMIT_NOFILE, &before);
    CHECK_EQ((int)kith_accept(co, ends.listener, PATIENCE, &ends.sock), 0);
    co_lives(co, ends.sock, ends.peer);
    CHECK_EQ(kith__load_rlx(&net_pauses_logged), 0);
    ends_close(self, &ends);
}

/* ---- cancellation, in the middle of each ---- */

enum wait_in { IN_READ, IN_WRITE, IN_ACCEPT, IN_DIAL, IN_ALL };

struct victim {
    enum wait_in in;
    struct full *full;
    int peer;
};

static kith_err wait_somewhere(kith_co *co, const struct victim *v, const struct ends *ends)
{
    unsigned char bytes[8];
    size_t n;
    kith_sock sock;
    switch (v->in) {
    case IN_READ:
        return kith_read(co, ends->sock, bytes, sizeof bytes, &n, KITH_FOREVER);
    case IN_WRITE:
        return co_write(co, ends->sock, MUCH, 0, KITH_FOREVER);
    case IN_ACCEPT:
        return kith_accept(co, ends->listener, KITH_FOREVER, &sock);
    default:
        return kith_dial(co, "127.0.0.1", v->full->port, KITH_FOREVER, NULL, &sock);
    }
}

/* It says where it is, waits, is canceled; a canceled one does nothing more, a shielded one does. */
static void victim_fiber(kith_self *self, kith_co *co, void *arg)
{
    const struct victim *v = arg;
    struct ends ends;
    REQUIRE(ends_open(self, co, &ends));
    CHECK_EQ((int)kith_send(self, kith_parent(self), reached), 0);
    CHECK_EQ((int)wait_somewhere(co, v, &ends), (int)KITH_ECANCELED);
    struct victim again = *v;
    for (again.in = IN_READ; again.in < IN_ALL; again.in++)
        CHECK_EQ((int)wait_somewhere(co, &again, &ends), (int)KITH_ECANCELED);
    CHECK_EQ((int)kith_shield(co, true), 0);
    peer_send(ends.peer, 3, 40);
    CHECK(co_expect(co, ends.sock, 3, 40));
    if (v->in != IN_WRITE)
        co_lives(co, ends.sock, ends.peer);
    close(ends.peer); /* sock and listener end with the fiber */
}

static void nothing(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    (void)co;
    (void)arg;
}

TEST_DRIVEN(canceled_in_the_middle)
{
    struct full full;
    full_make(&full);
    for (int in = 0; in < IN_ALL; in++) {
        struct victim victim = {.in = (enum wait_in)in, .full = &full};
        const kith_fiber_options here = {.worker = 1};
        kith_ref fiber = kith_go_with(net->self, victim_fiber, &victim, &here);
        CHECK(NEXT(net, reached) != NULL);
        /* When another of that worker has run, the victim waits. */
        await_end(net, kith_go_with(net->self, nothing, NULL, &here));
        CHECK_EQ((int)kith_stop(net->self, fiber), 0);
        await_end(net, fiber);
    }
    full_end(&full);
}

/* ---- the end of the runtime ---- */

static void *shutdown_thread(void *arg)
{
    CHECK_EQ((int)kith_shutdown(arg, PATIENCE), 0);
    return NULL;
}

TEST(a_thread_hears_of_the_shutdown)
{
    if (net_executor == KITH_LOOP)
        return; /* only home may shut it down */
    struct net net;
    struct ends ends;
    pthread_t thread;
    char byte;
    size_t n;
    REQUIRE(net_begin(&net));
    REQUIRE(ends_open(net.self, net.co, &ends));
    REQUIRE(pthread_create(&thread, NULL, shutdown_thread, net.rt) == 0);
    CHECK_EQ((int)kith_read(net.co, ends.sock, &byte, 1, &n, KITH_FOREVER), (int)KITH_ESHUTDOWN);
    kith_sock sock;
    CHECK_EQ((int)kith_dial(net.co, "127.0.0.1", ends.port, PATIENCE, NULL, &sock),
             (int)KITH_ESHUTDOWN);
    CHECK_EQ((int)kith_detach(net.self), 0); /* closes them */
    pthread_join(thread, NULL);
    peer_expect_end(ends.peer);
    close(ends.peer);
    CHECK_EQ(kith__load_rlx(&net_bytes_out), 0);
    CHECK_EQ(net_descriptors(), net.descriptors);
}

/* ---- bad input ---- */

static void refused(kith_co *co, kith_sock sock, kith_err err)
{
    char bytes[8];
    size_t n = 1;
    kith_sock conn = {1};
    CHECK_EQ((int)kith_read(co, sock, bytes, 8, &n, PATIENCE), (int)err);
    CHECK_EQ(n, 0);
    CHECK_EQ((int)kith_write(co, sock, bytes, 8, PATIENCE), (int)err);
    CHECK_EQ((int)kith_accept(co, sock, PATIENCE, &conn), (int)err);
    CHECK_EQ(conn.bits, 0);
}

/* As a fiber that does not own them. */
static void stranger(kith_self *self, kith_co *co, void *arg)
{
    const struct ends *ends = arg;
    (void)self;
    refused(co, ends->sock, KITH_EPERM);
    refused(co, ends->listener, KITH_EPERM);
}

static void bad_arguments(kith_co *co, const struct ends *ends)
{
    char bytes[8];
    size_t n;
    kith_sock conn;
    const kith_sock_options bad = {.read_bytes_max = SIZE_MAX};
    CHECK_EQ((int)kith_read(co, ends->sock, NULL, 8, &n, PATIENCE), (int)KITH_EINVAL);
    CHECK_EQ((int)kith_read(co, ends->sock, bytes, 0, &n, PATIENCE), (int)KITH_EINVAL);
    CHECK_EQ((int)kith_read(co, ends->sock, bytes, 8, NULL, PATIENCE), (int)KITH_EINVAL);
    CHECK_EQ((int)kith_write(co, ends->sock, NULL, 8, PATIENCE), (int)KITH_EINVAL);
    CHECK_EQ((int)kith_write(co, ends->sock, bytes, SIZE_MAX, PATIENCE), (int)KITH_EINVAL);
    CHECK_EQ((int)kith_accept(co, ends->listener, PATIENCE, NULL), (int)KITH_EINVAL);
    CHECK_EQ((int)kith_dial(co, "127.0.0.1", 1, PATIENCE, NULL, NULL), (int)KITH_EINVAL);
    CHECK_EQ((int)kith_dial(co, NULL, 1, PATIENCE, NULL, &conn), (int)KITH_EINVAL);
    CHECK_EQ((int)kith_dial(co, "127.0.0.1", 0, PATIENCE, NULL, &conn), (int)KITH_EINVAL);
    CHECK_EQ((int)kith_dial(co, "localhost", 1, PATIENCE, NULL, &conn), (int)KITH_EINVAL);
    CHECK_EQ((int)kith_dial(co, "127.0.0.1", 1, PATIENCE, &bad, &conn), (int)KITH_EINVAL);
    CHECK_EQ((int)kith_dial(NULL, "127.0.0.1", 1, PATIENCE, NULL, &conn), (int)KITH_EPERM);
}

/* The message forms are for actors. */
static void messages_refused(kith_self *self, kith_sock sock)
{
    kith_sock conn = kith_connect(self, "127.0.0.1", 1, KITH_FOREVER, NULL);
    CHECK_EQ((int)kith_sock_error(conn), (int)KITH_EPERM);
    CHECK_EQ((int)kith_sock_write(self, sock, "x", 1, KITH_FOREVER), (int)KITH_EPERM);
    CHECK_EQ((int)kith_sock_read_by(self, sock, KITH_FOREVER), (int)KITH_EPERM);
    CHECK_EQ((int)kith_sock_reading(self, sock, false), (int)KITH_EPERM);
    CHECK_EQ(kith_sock_waiting(self, sock), 0);
}

TEST_ON_COS(bad_input)
{
    struct ends ends;
    size_t n;
    (void)net;
    REQUIRE(ends_open(self, co, &ends));
    bad_arguments(co, &ends);
    messages_refused(self, ends.sock);
    refused(NULL, ends.sock, KITH_EPERM);
    const uint64_t made_up[] = {0, 1, UINT64_MAX, kith_self_ref(self).bits, ends.sock.bits + 1};
    for (size_t i = 0; i < sizeof made_up / sizeof made_up[0]; i++)
        refused(co, (kith_sock){made_up[i]}, KITH_EBADREF);
    CHECK_EQ((int)kith_read(co, ends.listener, &n, 1, &n, PATIENCE), (int)KITH_ENOTCONN);
    CHECK_EQ((int)kith_write(co, ends.listener, "x", 1, PATIENCE), (int)KITH_ENOTCONN);
    kith_sock conn;
    CHECK_EQ((int)kith_accept(co, ends.sock, PATIENCE, &conn), (int)KITH_EBADREF);
    co_lives(co, ends.sock, ends.peer);
    kith_sock old = ends.sock;
    ends_close(self, &ends);
    refused(co, old, KITH_EBADREF);
}

TEST_DRIVEN(not_the_owner)
{
    struct ends ends;
    REQUIRE(ends_open(net->self, net->co, &ends));
    await_end(net, kith_go(net->self, stranger, &ends));
    co_lives(net->co, ends.sock, ends.peer);
    ends_close(net->self, &ends);
}
