/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a select asks of sockets (struct kith__readiness in sched/co.h, io/wait.c), and kith_select
 * with sockets in it.
 */
#include "sched/co.h"
#include "tests/unit/io_co.h"

#define MUCH ((size_t)8000000) /* more than the system takes at once */

/* ---- what a select asks ---- */

static void ready_both(kith_co *co, const struct kith__readiness *io, const struct ends *ends)
{
    CHECK_EQ((int)io->check(co, ends->listener.bits, KITH__READY_READ), (int)KITH_EAGAIN);
    CHECK_EQ((int)io->check(co, ends->sock.bits, KITH__READY_READ), (int)KITH_EAGAIN);
    CHECK_EQ((int)io->check(co, ends->sock.bits, KITH__READY_WRITE), 0);
    CHECK_EQ((int)io->check(co, ends->sock.bits, KITH__READY_READ | KITH__READY_WRITE), 0);
    CHECK_EQ((int)io->check(co, 1, KITH__READY_READ), (int)KITH_EBADREF);
    io->want(co, 1, KITH__READY_READ, true); /* nobody's: nothing */
}

/* Want, check, wait; with a sifting between: no edge is lost. */
TEST_ON_COS(readiness)
{
    struct ends ends;
    const struct kith__readiness *io = net->rt->readiness;
    REQUIRE(ends_open(self, co, &ends));
    ready_both(co, io, &ends);
    for (int i = 0; i < 20; i++) {
        co->woke &= ~(uint32_t)KITH__WOKE_IO;
        io->want(co, ends.sock.bits, KITH__READY_READ, true);
        CHECK_EQ((int)io->check(co, ends.sock.bits, KITH__READY_READ), (int)KITH_EAGAIN);
        help_with(self, ends.peer, 9, NULL);
        if (i % 2 == 1)
            CHECK_EQ((int)kith_sleep(co, kith_in(KITH_MS)), 0); /* sifts what comes until then */
        CHECK_EQ((int)kith__co_wait(co, KITH__WOKE_IO, PATIENCE, "test", NULL), 0);
        CHECK_EQ((int)io->check(co, ends.sock.bits, KITH__READY_READ), 0);
        io->want(co, ends.sock.bits, KITH__READY_READ, false);
        CHECK(co_expect(co, ends.sock, 9, 0));
    }
    ends_close(self, &ends);
}

static void *drain_thread(void *arg)
{
    char bytes[65536];
    while (recv(*(int *)arg, bytes, sizeof bytes, 0) > 0)
        ;
    return NULL;
}

TEST_ON_COS(readiness_to_write)
{
    struct ends ends;
    const struct kith__readiness *io = net->rt->readiness;
    pthread_t thread;
    REQUIRE(ends_open(self, co, &ends));
    do /* the system takes some more after a while */
        CHECK_EQ((int)co_write(co, ends.sock, MUCH, 0, KITH_NOWAIT), (int)KITH_ETIMEOUT);
    while (io->check(co, ends.sock.bits, KITH__READY_WRITE) == KITH_OK);
    co->woke &= ~(uint32_t)KITH__WOKE_IO;
    io->want(co, ends.sock.bits, KITH__READY_WRITE, true);
    shutdown(ends.peer, SHUT_WR); /* an edge, but not the one */
    REQUIRE(pthread_create(&thread, NULL, drain_thread, &ends.peer) == 0);
    CHECK_EQ((int)kith__co_wait(co, KITH__WOKE_IO, PATIENCE, "test", NULL), 0);
    CHECK_EQ((int)io->check(co, ends.sock.bits, KITH__READY_WRITE), 0);
    io->want(co, ends.sock.bits, KITH__READY_WRITE, false);
    CHECK_EQ((int)kith_close(self, ends.sock), 0);
    CHECK_EQ((int)kith_close(self, ends.listener), 0);
    pthread_join(thread, NULL);
    close(ends.peer);
}

/* ---- kith_select ---- */

static void sender(kith_self *self, kith_co *co, void *arg)
{
    kith_chan *chan = arg;
    int item = 17;
    (void)self;
    CHECK_EQ((int)kith_chan_send(co, chan, &item, PATIENCE), 0);
    kith_chan_drop(chan);
}

/* A socket and a channel, each ready in its turn, and the one that is not is left alone. */
TEST_ON_COS(a_select_of_both)
{
    struct ends ends;
    (void)net;
    REQUIRE(ends_open(self, co, &ends));
    kith_chan *chan = kith_chan_new(self, sizeof(int), 0);
    REQUIRE(chan != NULL);
    for (int i = 0; i < 40; i++) {
        int item = 0;
        if (i % 2 == 0)
            help_with(self, ends.peer, 9, NULL);
        else
            CHECK_EQ((int)kith_ref_error(kith_go(self, sender, kith_chan_keep(chan))), 0);
        int which =
            kith_select(co, KITH_CASES(KITH_READABLE(ends.sock), KITH_RECV(chan, &item)), PATIENCE);
        CHECK_EQ(which, i % 2);
        if (which == 0)
            CHECK(co_expect(co, ends.sock, 9, 0));
        else
            CHECK_EQ(item, 17);
    }
    kith_chan_drop(chan);
    ends_close(self, &ends);
}

TEST_ON_COS(a_select_of_sockets)
{
    struct ends ends;
    kith_sock conn;
    (void)net;
    REQUIRE(ends_open(self, co, &ends));
    CHECK_EQ(kith_select(co, KITH_CASES(KITH_READABLE(ends.sock), KITH_READABLE(ends.listener)),
                         kith_in(5 * KITH_MS)),
             (int)KITH_ETIMEOUT);
    CHECK_EQ(
        kith_select(co, KITH_CASES(KITH_READABLE(ends.sock), KITH_WRITABLE(ends.sock)), PATIENCE),
        1);
    int peer = peer_connect(ends.port);
    CHECK_EQ(kith_select(co, KITH_CASES(KITH_READABLE(ends.sock), KITH_READABLE(ends.listener)),
                         PATIENCE),
             1);
    CHECK_EQ((int)kith_accept(co, ends.listener, KITH_NOWAIT, &conn), 0);
    co_lives(co, conn, peer);
    close(peer);
    CHECK_EQ(kith_select(co, KITH_CASES(KITH_READABLE(conn), KITH_READABLE(ends.sock)), PATIENCE),
             0);
    co_expect_end(co, conn);
    CHECK_EQ((int)kith_close(self, conn), 0);
    ends_close(self, &ends);
}
