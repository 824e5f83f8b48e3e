/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The tests of io_stream.c (bytes in both directions, deadlines, half-close, resets), on the loop
 * executor with each of its pollers.
 */
#include "tests/unit/io_backends.h"

#include "tests/unit/io_stream.c" // NOLINT: the tests themselves

/* A descriptor that is closed and still asked for would be an error of select's, each time. */
TEST(what_is_closed_is_not_polled)
{
    struct net net;
    struct link closed, link;
    REQUIRE(net_begin(&net));
    REQUIRE(net_link(&net, &closed, NULL));
    REQUIRE(net_link(&net, &link, NULL));
    net_lives(&net, net.port, closed.sock, closed.peer);
    CHECK_EQ((int)TELL(&net, .op = NET_CLOSE, .sock = closed.sock).err, 0);
    peer_expect_end(closed.peer);
    net_lives(&net, net.port, link.sock, link.peer);
    net_lives(&net, net.port, link.sock, link.peer);
    close(closed.peer);
    close(link.peer);
    net_end(&net);
}
