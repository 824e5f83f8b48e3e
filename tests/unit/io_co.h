/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the tests of io/wait.c share: a test's body that runs as a fiber, on one, two and four workers,
 * and on the attached main thread; and connections of which a co has one end.
 *
 * Invariants: those of io_net.h. A body's fiber has ended when on_cos goes on, with all it owned.
 * Threads: the body's; peers are plain sockets, used by whoever the test says.
 */
#ifndef KITH_TESTS_UNIT_IO_CO_H
#define KITH_TESTS_UNIT_IO_CO_H

#include "tests/unit/io_net.h"

#define PATIENCE kith_in(NET_WAIT)

KITH_MESSAGE(reached, { int step; });

static KITH__ATOMIC(uint32_t) co_fibers_left;

/* The fiber is dead: what it owned is gone. */
static TEST_UNUSED void await_end(struct net *net, kith_ref fiber)
{
    kith_msg *msg;
    CHECK_EQ((int)kith_ref_error(fiber), 0);
    CHECK_EQ((int)kith_monitor(net->self, fiber), 0);
    if (kith_receive_only(net->co, kith_down, PATIENCE, &msg) != KITH_OK)
        FAIL("a fiber does not end");
    (void)kith__add_seq(&co_fibers_left, 0); /* a kith_down of one who was dead says nothing more */
}

typedef void body_fn(kith_self *self, kith_co *co, struct net *net);

struct body_arg {
    body_fn *fn;
    struct net *net;
};

static TEST_UNUSED void body_fiber(kith_self *self, kith_co *co, void *arg)
{
    const struct body_arg *body = arg;
    body->fn(self, co, body->net);
    kith__add_seq(&co_fibers_left, 1);
}

static TEST_UNUSED void on_cos(body_fn *fn)
{
    static const unsigned counts[] = {1, 2, 4};
    struct net net;
    for (int i = 0; i < 6; i++) {
        net_workers = counts[i / 2];
        REQUIRE(net_begin(&net));
        struct body_arg arg = {fn, &net};
        if (i % 2 == 0)
            await_end(&net, kith_go(net.self, body_fiber, &arg));
        else
            fn(net.self, net.co, &net);
        net_end(&net);
    }
    net_workers = 2;
}

/* A test whose body runs as a fiber and as a thread; in scope: self, co, net (its own calls are the
 * main thread's, so a body uses them only for what it stores). */
#define TEST_ON_COS(name)                                                                          \
    static body_fn name##_body;                                                                    \
    TEST(name)                                                                                     \
    {                                                                                              \
        on_cos(name##_body);                                                                       \
    }                                                                                              \
    static void name##_body(kith_self *self, kith_co *co, struct net *net)

/* A test that the main thread drives, with one, two and four workers; in scope: net. */
typedef void driven_fn(struct net *net);
static TEST_UNUSED void on_workers(driven_fn *fn)
{
    static const unsigned counts[] = {1, 2, 4};
    struct net net;
    for (int i = 0; i < 3; i++) {
        net_workers = counts[i];
        REQUIRE(net_begin(&net));
        fn(&net);
        net_end(&net);
    }
    net_workers = 2;
}

#define TEST_DRIVEN(name)                                                                          \
    static driven_fn name##_body;                                                                  \
    TEST(name)                                                                                     \
    {                                                                                              \
        on_workers(name##_body);                                                                   \
    }                                                                                              \
    static void name##_body(struct net *net)

/* ---- a connection whose one end is a co's ---- */

struct ends {
    kith_sock listener;
    uint16_t port;
    kith_sock sock;
    int peer; /* plain */
};

static TEST_UNUSED bool ends_listen(kith_self *self, struct ends *ends)
{
    *ends = (struct ends){.peer = -1};
    ends->listener = kith_listen(self, "127.0.0.1", 0, NULL);
    CHECK_EQ((int)kith_sock_error(ends->listener), 0);
    CHECK_EQ((int)kith_sock_local(self, ends->listener, NULL, &ends->port), 0);
    return ends->port != 0;
}

static TEST_UNUSED bool ends_open(kith_self *self, kith_co *co, struct ends *ends)
{
    if (!ends_listen(self, ends))
        return false;
    ends->peer = peer_connect(ends->port);
    CHECK_EQ((int)kith_accept(co, ends->listener, PATIENCE, &ends->sock), 0);
    return kith_sock_error(ends->sock) == KITH_OK;
}

static TEST_UNUSED void ends_close(kith_self *self, struct ends *ends)
{
    CHECK_EQ((int)kith_close(self, ends->sock), 0);
    CHECK_EQ((int)kith_close(self, ends->listener), 0);
    close(ends->peer);
}

/* Reads n bytes, which must be the pattern from offset. */
static TEST_UNUSED bool co_expect(kith_co *co, kith_sock sock, size_t n, size_t offset)
{
    unsigned char bytes[5000];
    while (n > 0) {
        size_t got;
        kith_err err =
            kith_read(co, sock, bytes, n < sizeof bytes ? n : sizeof bytes, &got, PATIENCE);
        CHECK_EQ((int)err, 0);
        if (err != KITH_OK || got == 0 || !net_right(bytes, got, offset)) {
            FAIL("%zu bytes are missing or wrong", n);
            return false;
        }
        n -= got;
        offset += got;
    }
    return true;
}

static TEST_UNUSED void co_expect_end(kith_co *co, kith_sock sock)
{
    char byte;
    size_t n = 1;
    CHECK_EQ((int)kith_read(co, sock, &byte, 1, &n, PATIENCE), 0);
    CHECK_EQ(n, 0);
}

static TEST_UNUSED kith_err co_write(kith_co *co, kith_sock sock, size_t n, size_t offset,
                                     kith_time deadline)
{
    unsigned char *bytes = malloc(n);
    if (bytes == NULL)
        abort();
    net_fill(bytes, n, offset);
    kith_err err = kith_write(co, sock, bytes, n, deadline);
    free(bytes);
    return err;
}

/* What a helper fiber does while the body waits: with one worker, only then. */
struct help {
    int peer;
    size_t n;
    void (*fn)(int peer);
};

static TEST_UNUSED void helper(kith_self *self, kith_co *co, void *arg)
{
    struct help *help = arg;
    (void)self;
    (void)co;
    if (help->n > 0)
        peer_send(help->peer, help->n, 0);
    if (help->fn != NULL)
        help->fn(help->peer);
}

static TEST_UNUSED void help_with(kith_self *self, int peer, size_t n, void (*fn)(int peer))
{
    struct help help = {peer, n, fn};
    kith_fiber_options options = {.arg_bytes = sizeof help};
    CHECK_EQ((int)kith_ref_error(kith_go_with(self, helper, &help, &options)), 0);
}

/* A byte there and back. */
static TEST_UNUSED void co_lives(kith_co *co, kith_sock sock, int peer)
{
    peer_send(peer, 3, 40);
    CHECK(co_expect(co, sock, 3, 40));
    CHECK_EQ((int)co_write(co, sock, 5, 99, PATIENCE), 0);
    peer_expect(peer, 5, 99);
}

#endif
