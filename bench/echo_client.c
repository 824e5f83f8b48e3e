/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: the client of the echo workloads: 64 connections on one plain epoll loop.
 *
 * Called by: echo.c, in a thread of its own.
 * Invariants: each connection has one message under way; each message differs from the one before,
 *   and is compared byte by byte when it is back. At the end every trip that was begun has ended.
 * Threads: its own only; the outcome is read after pthread_join.
 * Why not kith: a client that shares the server's code shares its faults and its speed.
 */
#include "bench/echo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <kith/time.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection {
    int fd;
    size_t have;
    uint64_t began_ns;
    unsigned char sent[ECHO_BYTES];
    unsigned char got[ECHO_BYTES];
};

struct client {
    echo_load *load;
    uint64_t begun;
    uint64_t ended;
    int poll;
    struct connection connection[ECHO_CONNECTIONS];
};

static bool connect_one(struct client *c, struct connection *conn)
{
    const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(c->load->port)};
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = conn}};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return conn->fd >= 0 &&
           connect(conn->fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
           setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
           epoll_ctl(c->poll, EPOLL_CTL_ADD, conn->fd, &event) == 0;
}

/* 64 bytes always fit into an empty send buffer. */
static bool begin_trip(struct client *c, struct connection *conn)
{
    uint64_t number = ++c->begun;
    for (size_t i = 0; i < ECHO_BYTES; i++)
        conn->sent[i] = (unsigned char)(number * 31 + i);
    memcpy(conn->sent, &number, sizeof number);
    conn->have = 0;
    conn->began_ns = kith_now();
    return send(conn->fd, conn->sent, ECHO_BYTES, MSG_NOSIGNAL) == ECHO_BYTES;
}

static bool end_trip(struct client *c, struct connection *conn)
{
    uint64_t ns = kith_now() - conn->began_ns;
    c->load->trip_ns[c->ended++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
    return memcmp(conn->sent, conn->got, ECHO_BYTES) == 0 &&
           (c->begun == c->load->n || begin_trip(c, conn));
}

static bool receive(struct client *c, struct connection *conn)
{
    ssize_t n = recv(conn->fd, conn->got + conn->have, ECHO_BYTES - conn->have, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return false;
    conn->have += (size_t)n;
    return conn->have < ECHO_BYTES || end_trip(c, conn);
}

static bool make_trips(struct client *c)
{
    struct epoll_event events[ECHO_CONNECTIONS];
    for (size_t i = 0; i < ECHO_CONNECTIONS && c->begun < c->load->n; i++)
        if (!begin_trip(c, &c->connection[i]))
            return false;
    while (c->ended < c->load->n) {
        int n = epoll_wait(c->poll, events, ECHO_CONNECTIONS, 30000);
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        for (int i = 0; i < n; i++)
            if (!receive(c, events[i].data.ptr))
                return false;
    }
    return true;
}

static bool connect_all(struct client *c)
{
    for (size_t i = 0; i < ECHO_CONNECTIONS; i++)
        if (!connect_one(c, &c->connection[i]))
            return false;
    return true;
}

void *echo_client(void *arg)
{
    struct client c = {.load = arg};
    for (size_t i = 0; i < ECHO_CONNECTIONS; i++)
        c.connection[i].fd = -1;
    c.poll = epoll_create1(EPOLL_CLOEXEC);
    bool connected = c.poll >= 0 && connect_all(&c);
    c.load->began_ns = kith_now();
    c.load->check = connected && make_trips(&c);
    c.load->ended_ns = kith_now();
    for (size_t i = 0; i < ECHO_CONNECTIONS; i++)
        if (c.connection[i].fd >= 0)
            close(c.connection[i].fd);
    if (c.poll >= 0)
        close(c.poll);
    return NULL;
}
