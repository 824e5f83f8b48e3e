/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Connections: input, output, bound and drain, half-close, resets, deadlines (io/stream.c).
 */
#include "io/socket.h"
#include "tests/unit/io_net.h"

TEST(echo)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    net_lives(&net, net.port, link.sock, link.peer);
    close(link.peer);
    const kith_eof *eof = NEXT(&net, kith_eof);
    REQUIRE(eof != NULL);
    CHECK(kith_sock_same(eof->sock, link.sock));
    CHECK_EQ((int)TELL(&net, .op = NET_CLOSE, .sock = link.sock).err, 0);
    CHECK_EQ((int)TELL(&net, .op = NET_CLOSE, .sock = link.sock).err, (int)KITH_EBADREF);
    CHECK_EQ((int)TELL(&net, .op = NET_WRITE, .sock = link.sock, .n = 1).err, (int)KITH_EBADREF);
    net_end(&net);
}

static void *send_much(void *arg)
{
    peer_send(*(int *)arg, 5000000, 0);
    shutdown(*(int *)arg, SHUT_WR);
    return NULL;
}

/* Whatever the sizes that come, all bytes come, in order, and then the end. */
TEST(much_input)
{
    struct net net;
    struct link link;
    pthread_t thread;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    REQUIRE(pthread_create(&thread, NULL, send_much, &link.peer) == 0);
    net_expect(&net, link.sock, 5000000, 0);
    CHECK(NEXT(&net, kith_eof) != NULL);
    pthread_join(thread, NULL);
    close(link.peer);
    net_end(&net);
}

TEST(pieces_are_bounded)
{
    struct net net;
    struct link link;
    size_t got = 0;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, &(kith_sock_options){.read_bytes_max = 100}));
    peer_send(link.peer, 10000, 0);
    while (got < 10000) {
        const kith_data *data = NEXT(&net, kith_data);
        REQUIRE(data != NULL);
        CHECK_LE(data->n, 100);
        CHECK(net_right(data->bytes, data->n, got));
        got += data->n;
    }
    CHECK_EQ(got, 10000);
    close(link.peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    net_end(&net);
}

/* With reading off nothing is read, however much comes; the peer is held back. */
TEST(reading_can_stop)
{
    struct net net;
    struct link link;
    kith_msg *msg;
    unsigned char bytes[4096];
    size_t taken = 0;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    CHECK_EQ((int)TELL(&net, .op = NET_READING, .sock = link.sock, .on = false).err, 0);
    for (ssize_t n = 1; n > 0; taken += n > 0 ? (size_t)n : 0) {
        net_fill(bytes, sizeof bytes, taken);
        n = send(link.peer, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    CHECK_GT(taken, 0);
    CHECK_EQ((int)kith_receive(net.co, kith_in(20 * KITH_MS), &msg), (int)KITH_ETIMEOUT);
    CHECK_EQ((int)TELL(&net, .op = NET_READING, .sock = link.sock, .on = true).err, 0);
    net_expect(&net, link.sock, taken, 0);
    close(link.peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    net_end(&net);
}

/* ---- output ---- */

static void tell_write(struct net *net, kith_sock sock, size_t n, kith_time deadline)
{
    CHECK_EQ((int)TELL(net, .op = NET_WRITE, .sock = sock, .n = n, .deadline = deadline).err, 0);
}

/* Until more than the bound waits; returns how much has been written in all. */
static size_t write_until_full(struct net *net, kith_sock sock, size_t piece, kith_time deadline)
{
    size_t n = 0;
    kith_err err;
    while ((err = TELL(net, .op = NET_WRITE, .sock = sock, .n = piece, .offset = n,
                       .deadline = deadline)
                      .err) == KITH_OK)
        n += piece;
    CHECK_EQ((int)err, (int)KITH_EFULL);
    return n;
}

TEST(a_slow_reader_fills_the_bound_and_drains_it)
{
    struct net net;
    struct link link;
    const kith_sock_options options = {.write_bytes_max = 100000};
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, &options));
    size_t n = write_until_full(&net, link.sock, 30000, KITH_FOREVER);
    CHECK_LT(TELL(&net, .op = NET_WAITING, .sock = link.sock).n, 130000);
    peer_expect(link.peer, n, 0);
    const kith_drained *drained = NEXT(&net, kith_drained);
    REQUIRE(drained != NULL);
    CHECK(kith_sock_same(drained->sock, link.sock));
    CHECK_LE(TELL(&net, .op = NET_WAITING, .sock = link.sock).n, 50000);
    net_lives(&net, net.port, link.sock, link.peer); /* and there was one kith_drained, not two */
    CHECK_EQ(TELL(&net, .op = NET_WAITING, .sock = link.sock).n, 0);
    close(link.peer);
    net_end(&net);
}

/* A single write may be larger than the bound; the next one is refused until half of it is free. */
TEST(one_write_may_exceed_the_bound)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    const size_t much = 20000000;
    tell_write(&net, link.sock, much, KITH_FOREVER);
    CHECK_EQ((int)TELL(&net, .op = NET_WRITE, .sock = link.sock, .n = 1, .offset = much).err,
             (int)KITH_EFULL);
    peer_expect(link.peer, much, 0);
    CHECK(NEXT(&net, kith_drained) != NULL);
    net_lives(&net, net.port, link.sock, link.peer);
    close(link.peer);
    net_end(&net);
}

/* Many small writes with deadlines of all sorts come out whole and in order. */
TEST(small_writes_with_deadlines_stay_in_order)
{
    struct net net;
    struct link link;
    size_t n = 0;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, &(kith_sock_options){.write_bytes_max = 300000}));
    for (unsigned i = 0; TELL(&net, .op = NET_WAITING, .sock = link.sock).n < 200000; i++) {
        size_t piece = n < 4000000 && i < 200 ? 40000 : 1 + i * 37 % 1500;
        kith_time by = i % 3 == 0 ? KITH_FOREVER : kith_in((60 + i * 7 % 11) * KITH_SECOND);
        REQUIRE(
            TELL(&net, .op = NET_WRITE, .sock = link.sock, .n = piece, .offset = n, .deadline = by)
                .err == KITH_OK);
        n += piece;
    }
    for (unsigned i = 0; i < 300; i++) {
        kith_time by = i % 4 == 0 ? KITH_FOREVER : kith_in((60 + i * 7 % 11) * KITH_SECOND);
        REQUIRE(TELL(&net, .op = NET_WRITE, .sock = link.sock, .n = 1 + i % 200, .offset = n,
                     .deadline = by)
                    .err == KITH_OK);
        n += 1 + i % 200;
    }
    peer_expect(link.peer, n, 0);
    net_lives(&net, net.port, link.sock, link.peer);
    close(link.peer);
    net_end(&net);
}

TEST(half_close_by_the_peer)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    peer_send(link.peer, 10, 0);
    shutdown(link.peer, SHUT_WR);
    net_expect(&net, link.sock, 10, 0);
    CHECK(NEXT(&net, kith_eof) != NULL);
    tell_write(&net, link.sock, 700, KITH_FOREVER);
    peer_expect(link.peer, 700, 0);
    CHECK_EQ((int)TELL(&net, .op = NET_CLOSE, .sock = link.sock).err, 0);
    peer_expect_end(link.peer);
    close(link.peer);
    net_end(&net);
}

/* What waits is still sent after kith_sock_finish, and then the end. */
TEST(half_close_by_the_actor)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    const size_t much = 8000000;
    tell_write(&net, link.sock, much, KITH_FOREVER);
    CHECK_GT(TELL(&net, .op = NET_WAITING, .sock = link.sock).n, 0);
    CHECK_EQ((int)TELL(&net, .op = NET_FINISH, .sock = link.sock).err, 0);
    CHECK_EQ((int)TELL(&net, .op = NET_FINISH, .sock = link.sock).err, (int)KITH_ENOTCONN);
    CHECK_EQ((int)TELL(&net, .op = NET_WRITE, .sock = link.sock, .n = 1).err, (int)KITH_ENOTCONN);
    peer_expect(link.peer, much, 0);
    peer_expect_end(link.peer);
    peer_send(link.peer, 10, 5);
    net_expect(&net, link.sock, 10, 5);
    close(link.peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    net_expect_closed(&net, link.sock, KITH_OK);
    net_end(&net);
}

TEST(finish_with_nothing_waiting)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    CHECK_EQ((int)TELL(&net, .op = NET_FINISH, .sock = link.sock).err, 0);
    peer_expect_end(link.peer);
    close(link.peer);
    CHECK(NEXT(&net, kith_eof) != NULL);
    net_expect_closed(&net, link.sock, KITH_OK);
    net_end(&net);
}

TEST(nothing_to_write)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    CHECK_EQ((int)TELL(&net, .op = NET_WRITE, .sock = link.sock).err, 0);
    CHECK_EQ((int)TELL(&net, .op = NET_FINISH, .sock = link.sock).err, 0);
    CHECK_EQ((int)TELL(&net, .op = NET_WRITE, .sock = link.sock).err, (int)KITH_ENOTCONN);
    close(link.peer);
    net_end(&net);
}

/* ---- both ends have finished (R7) ---- */

#define MUCH ((size_t)8000000) /* more than the system takes at once */

static bool link_peer_finished(struct net *net, struct link *link)
{
    if (!net_link(net, link, NULL))
        return false;
    shutdown(link->peer, SHUT_WR);
    return NEXT(net, kith_eof) != NULL;
}

TEST(over_when_the_peer_finished_first)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net) && link_peer_finished(&net, &link));
    CHECK_EQ((int)TELL(&net, .op = NET_FINISH, .sock = link.sock).err, 0);
    net_expect_closed(&net, link.sock, KITH_OK);
    peer_expect_end(link.peer);
    close(link.peer);
    net_end(&net);
}

static kith_sock probed;

static size_t event_word(kith_self *self)
{
    struct kith__slot *slot = kith__handle_find(&kith_self_runtime(self)->table, probed.bits);
    return kith__load_rlx(&((struct kith__sock *)(void *)slot)->events);
}

/* kith_sock_finish itself knows that it is over: no event of the system's is waited for. (One may be
 * on its way all the same, and takes along that the actor is to look again; so this is seen in the
 * event word, and not in what comes first.) */
TEST(over_at_once)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net) && link_peer_finished(&net, &link));
    probed = link.sock;
    net_probe = event_word;
    answer a = TELL(&net, .op = NET_FINISH, .sock = link.sock);
    net_probe = NULL;
    CHECK_EQ((int)a.err, 0);
    CHECK((a.n & KITH__SOCK_AGAIN) != 0);
    net_expect_closed(&net, link.sock, KITH_OK);
    close(link.peer);
    net_end(&net);
}

/* Half of a connection is not all of it: it lives until the other end finishes. */
TEST(not_over_before_the_peer_finishes)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    CHECK_EQ((int)TELL(&net, .op = NET_FINISH, .sock = link.sock).err, 0);
    peer_expect_end(link.peer);
    for (size_t i = 0; i < 20; i++) {
        peer_send(link.peer, 10, i);
        net_expect(&net, link.sock, 10, i);
    }
    shutdown(link.peer, SHUT_WR);
    CHECK(NEXT(&net, kith_eof) != NULL);
    net_expect_closed(&net, link.sock, KITH_OK);
    close(link.peer);
    net_end(&net);
}

/* Bytes, kith_sock_finish and the peer's end, in either order, while the peer does not read: all
 * bytes come, then the end, and kith_closed not before. */
static void over_with_a_slow_reader(bool finish_first)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    tell_write(&net, link.sock, MUCH, KITH_FOREVER);
    if (finish_first)
        CHECK_EQ((int)TELL(&net, .op = NET_FINISH, .sock = link.sock).err, 0);
    shutdown(link.peer, SHUT_WR);
    CHECK(NEXT(&net, kith_eof) != NULL);
    if (!finish_first)
        CHECK_EQ((int)TELL(&net, .op = NET_FINISH, .sock = link.sock).err, 0);
    CHECK_GT(TELL(&net, .op = NET_WAITING, .sock = link.sock).n, 0);
    peer_expect(link.peer, MUCH, 0);
    peer_expect_end(link.peer);
    net_expect_closed(&net, link.sock, KITH_OK);
    close(link.peer);
    net_end(&net);
}

TEST(over_with_a_slow_reader_finish_first)
{
    over_with_a_slow_reader(true);
}

TEST(over_with_a_slow_reader_eof_first)
{
    over_with_a_slow_reader(false);
}

/* A reader that takes nothing is bounded by the deadline of the write. */
TEST(over_by_the_deadline)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net) && link_peer_finished(&net, &link));
    kith_time by = kith_in(50 * KITH_MS);
    tell_write(&net, link.sock, MUCH, by);
    (void)TELL(&net, .op = NET_FINISH, .sock = link.sock); /* unless the time has passed already */
    net_expect_closed(&net, link.sock, KITH_ETIMEOUT);
    CHECK_GE(kith_now(), by);
    close(link.peer);
    net_end(&net);
}

/* What the giver was told and has called counts for the receiver. */
TEST(over_after_it_was_given)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    kith_ref other = net_port(&net);
    for (int finish_first = 0; finish_first < 2; finish_first++) {
        kith_ref finishes = finish_first ? net.port : other;
        REQUIRE(link_peer_finished(&net, &link));
        tell_write(&net, link.sock, MUCH, KITH_FOREVER);
        if (finish_first)
            CHECK_EQ((int)TELL_TO(&net, finishes, .op = NET_FINISH, .sock = link.sock).err, 0);
        CHECK_EQ((int)TELL(&net, .op = NET_GIVE, .sock = link.sock, .to = other).err, 0);
        CHECK(NEXT(&net, kith_given) != NULL);
        if (!finish_first)
            CHECK_EQ((int)TELL_TO(&net, finishes, .op = NET_FINISH, .sock = link.sock).err, 0);
        peer_expect(link.peer, MUCH, 0);
        peer_expect_end(link.peer);
        net_expect_closed(&net, link.sock, KITH_OK);
        close(link.peer);
    }
    net_end(&net);
}

/* Finished and given in one handler: the receiver hears that it is over, after its kith_given. */
TEST(over_while_it_is_given)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net) && link_peer_finished(&net, &link));
    kith_ref other = net_port(&net);
    CHECK_EQ((int)TELL(&net, .op = NET_FINISH, .sock = link.sock, .give = true, .to = other).err,
             0);
    CHECK(NEXT(&net, kith_given) != NULL);
    net_expect_closed(&net, link.sock, KITH_OK);
    peer_expect_end(link.peer);
    close(link.peer);
    net_end(&net);
}

/* A reset that came before the end is no orderly end, even if its event has not been seen: the actor
 * is busy. (Now and then it has been seen all the same; hence several rounds.) */
static void reset_while_busy(struct net *net)
{
    struct link link;
    REQUIRE(link_peer_finished(net, &link));
    REQUIRE(kith_send(net->self, net->port, order, .op = NET_FINISH, .sock = link.sock,
                      .gate = true) == KITH_OK);
    net_gate_reached();
    peer_reset(link.peer);
    sem_post(&net_gate);
    const answer *a = NEXT(net, answer);
    REQUIRE(a != NULL);
    CHECK_EQ((int)a->err, 0);
    const kith_closed *closed = NEXT(net, kith_closed);
    REQUIRE(closed != NULL);
    CHECK(closed->reason == KITH_ECONNRESET || closed->reason == KITH_EPIPE);
}

TEST(a_reset_is_not_over)
{
    struct net net;
    REQUIRE(net_begin(&net));
    net_gate_make();
    for (int i = 0; i < 20; i++)
        reset_while_busy(&net);
    net_gate_unmake();
    net_end(&net);
}

/* S8 in socket.c: kith_given is heard before what the giver said after it, and before input. */
TEST(kith_given_keeps_its_place)
{
    if (net_executor == KITH_LOOP)
        return; /* one actor is held while another runs */
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    kith_ref other = net_port(&net);
    net_gate_make();
    REQUIRE(kith_send(net.self, other, order, .op = NET_WAITING, .gate = true) == KITH_OK);
    net_gate_reached();
    CHECK_EQ((int)TELL(&net, .op = NET_GIVE_SAY, .sock = link.sock, .to = other).err, 0);
    sem_post(&net_gate);
    CHECK(NEXT(&net, answer) != NULL); /* of NET_WAITING */
    CHECK(NEXT(&net, kith_given) != NULL);
    CHECK(NEXT(&net, answer) != NULL); /* of NET_GIVE_SAY */
    net_gate_unmake();
    close(link.peer);
    net_end(&net);
}

/* ---- breaking ---- */

TEST(a_reset_closes)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    net_lives(&net, net.port, link.sock, link.peer);
    peer_reset(link.peer);
    net_expect_closed(&net, link.sock, KITH_ECONNRESET);
    net_end(&net);
}

TEST(a_reset_closes_what_is_not_read)
{
    if (net_poller == KITH_SELECT)
        return; /* it knows no hang-up */
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    CHECK_EQ((int)TELL(&net, .op = NET_READING, .sock = link.sock, .on = false).err, 0);
    peer_reset(link.peer);
    net_expect_closed(&net, link.sock, KITH_ECONNRESET);
    net_end(&net);
}

TEST(a_reset_in_the_middle_of_output)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    net.skip_drained = true;
    write_until_full(&net, link.sock, 50000, kith_in(NET_WAIT));
    peer_expect(link.peer, 1000, 0);
    peer_reset(link.peer);
    const kith_closed *closed = NEXT(&net, kith_closed);
    REQUIRE(closed != NULL);
    CHECK(closed->reason == KITH_ECONNRESET || closed->reason == KITH_EPIPE);
    CHECK_EQ(TELL(&net, .op = NET_WAITING, .sock = link.sock).n, 0);
    net_end(&net);
}

TEST(a_reset_after_the_end)
{
    if (net_poller == KITH_SELECT)
        return; /* it knows no hang-up */
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    shutdown(link.peer, SHUT_WR);
    CHECK(NEXT(&net, kith_eof) != NULL);
    peer_reset(link.peer);
    const kith_closed *closed = NEXT(&net, kith_closed);
    REQUIRE(closed != NULL);
    CHECK(closed->reason == KITH_ECONNRESET || closed->reason == KITH_EPIPE);
    net_end(&net);
}

/* R5: what the peer sent before it went away is read, although writing finds it gone first. */
TEST(the_last_answer_is_read)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    net_gate_make();
    REQUIRE(kith_send(net.self, net.port, order, .op = NET_WRITE_GONE, .sock = link.sock, .n = 10,
                      .gate = true) == KITH_OK);
    net_gate_reached();
    peer_send(link.peer, 3000, 0);
    peer_reset(link.peer);
    sem_post(&net_gate);
    const answer *a = NEXT(&net, answer);
    REQUIRE(a != NULL);
    CHECK_EQ((int)a->err, 0);
    net_expect(&net, link.sock, 3000, 0);
    const kith_closed *closed = NEXT(&net, kith_closed);
    REQUIRE(closed != NULL);
    CHECK(closed->reason == KITH_ECONNRESET || closed->reason == KITH_EPIPE);
    net_gate_unmake();
    net_end(&net);
}

/* ---- deadlines ---- */

TEST(a_read_deadline_closes)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    kith_time by = kith_in(20 * KITH_MS);
    CHECK_EQ((int)TELL(&net, .op = NET_READ_BY, .sock = link.sock, .deadline = by).err, 0);
    net_expect_closed(&net, link.sock, KITH_ETIMEOUT);
    CHECK_GE(kith_now(), by);
    peer_expect_end(link.peer);
    close(link.peer);
    net_end(&net);
}

/* Input ends it (sent while the actor stands at the gate, so it is in time), FOREVER takes it back, a
 * later one moves it; a second connection's deadline, which is later than all of these, shows that
 * they have passed. */
TEST(a_read_deadline_ends)
{
    struct net net;
    struct link input;
    struct link taken_back;
    struct link late;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &input, NULL));
    REQUIRE(net_link(&net, &taken_back, NULL));
    REQUIRE(net_link(&net, &late, NULL));
    peer_send(input.peer, 3, 40);
    net_expect(&net, input.sock, 3, 40);
    kith_time by = kith_in(30 * KITH_MS);
    CHECK_EQ(
        (int)TELL(&net, .op = NET_READ_BY, .sock = input.sock, .deadline = kith_in(NET_WAIT)).err,
        0);
    net_gate_make();
    REQUIRE(kith_send(net.self, net.port, order, .op = NET_READ_BY, .sock = input.sock,
                      .deadline = by, .gate = true) == KITH_OK);
    net_gate_reached();
    peer_send(input.peer, 3, 40);
    sem_post(&net_gate);
    CHECK(NEXT(&net, answer) != NULL);
    net_expect(&net, input.sock, 3, 40);
    net_gate_unmake();
    by = kith_in(30 * KITH_MS);
    CHECK_EQ((int)TELL(&net, .op = NET_READ_BY_BACK, .sock = taken_back.sock, .deadline = by).err,
             0);
    by = kith_in(60 * KITH_MS);
    CHECK_EQ((int)TELL(&net, .op = NET_READ_BY, .sock = late.sock, .deadline = by).err, 0);
    net_expect_closed(&net, late.sock, KITH_ETIMEOUT);
    net_lives(&net, net.port, input.sock, input.peer);
    net_lives(&net, net.port, taken_back.sock, taken_back.peer);
    close(input.peer);
    close(taken_back.peer);
    close(late.peer);
    net_end(&net);
}

/* Input that came in time counts, even if the actor was too busy to look. */
TEST(input_in_time_counts)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    CHECK_EQ((int)TELL(&net, .op = NET_READING, .sock = link.sock, .on = false).err, 0);
    peer_send(link.peer, 3, 0);
    kith_time by = kith_in(20 * KITH_MS);
    CHECK_EQ((int)TELL(&net, .op = NET_READ_BY, .sock = link.sock, .deadline = by).err, 0);
    CHECK_EQ((int)kith_sleep(net.co, by + 20 * KITH_MS), 0);
    CHECK_EQ((int)TELL(&net, .op = NET_READING, .sock = link.sock, .on = true).err, 0);
    net_expect(&net, link.sock, 3, 0);
    net_lives(&net, net.port, link.sock, link.peer);
    close(link.peer);
    net_end(&net);
}

TEST(a_write_deadline_closes)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    kith_time by = kith_in(50 * KITH_MS);
    tell_write(&net, link.sock, 20000000, by);
    net_expect_closed(&net, link.sock, KITH_ETIMEOUT);
    CHECK_GE(kith_now(), by);
    close(link.peer);
    net_end(&net);
}

/* A later write with an earlier deadline: the bytes before it must leave by then, too. */
TEST(a_write_with_an_early_deadline_behind_a_late_one)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, &(kith_sock_options){.write_bytes_max = 16000000}));
    tell_write(&net, link.sock, 8000000, KITH_FOREVER);
    CHECK_EQ(
        (int)TELL(&net, .op = NET_WRITE, .sock = link.sock, .n = 10, .deadline = KITH_NOWAIT).err,
        0);
    const kith_closed *closed = NEXT(&net, kith_closed);
    REQUIRE(closed != NULL);
    CHECK_EQ((int)closed->reason, (int)KITH_ETIMEOUT);
    close(link.peer);
    net_end(&net);
}

/* What the system takes at once needs no time. */
TEST(a_write_that_leaves_at_once_has_no_deadline)
{
    struct net net;
    struct link link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    CHECK_EQ(
        (int)TELL(&net, .op = NET_WRITE, .sock = link.sock, .n = 10, .deadline = KITH_NOWAIT).err,
        0);
    kith_stats stats;
    CHECK_EQ((int)kith_stats_get(net.rt, &stats), 0);
    CHECK_EQ(stats.timers, 0);
    CHECK_EQ(stats.sockets, 2);
    peer_expect(link.peer, 10, 0);
    net_lives(&net, net.port, link.sock, link.peer);
    close(link.peer);
    net_end(&net);
}

/* A kith_close by the owner is silent, also with bytes that wait and deadlines. The deadline of
 * another connection, which is later, shows that they have passed. */
TEST(close_is_silent)
{
    struct net net;
    struct link link;
    struct link late;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &link, NULL));
    REQUIRE(net_link(&net, &late, NULL));
    CHECK_EQ((int)TELL(&net, .op = NET_WRITE_CLOSE, .sock = link.sock, .n = 20000000,
                       .deadline = kith_in(20 * KITH_MS))
                 .err,
             0);
    CHECK_EQ(
        (int)TELL(&net, .op = NET_READ_BY, .sock = late.sock, .deadline = kith_in(60 * KITH_MS))
            .err,
        0);
    net_expect_closed(&net, late.sock, KITH_ETIMEOUT);
    close(late.peer);
    close(link.peer);
    net_end(&net);
}
