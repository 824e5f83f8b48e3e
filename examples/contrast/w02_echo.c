/* SPDX-License-Identifier: BSD-2-Clause
 *
 * W2, TCP echo: 1 to 10,000 connections, each with one message of 64 bytes under way; how many round
 * trips a second, and how long does one take?
 *
 * Check: the client compares every byte.
 * Threads: the server's as the dress has them; the client is one process of plain epoll.
 * Why the client is one thread: it must leave the server the other core. At many connections it is
 *   the client that is busy, in every dress alike.
 */
#include "contrast.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the client ---- */

enum { BYTES = 64 };

struct trip {
    int fd;
    long left;
    size_t have;
    kith_time began;
    unsigned char sent[BYTES];
    unsigned char got[BYTES];
};

static long trips_each(void)
{
    long trips = by_size(1000, 20000, 200000);
    long each = trips / param_number();
    long most = by_size(500, 5000, 50000); /* one connection is slow */
    return each > most ? most : each < 4 ? 4 : each;
}

static bool begin_trip(struct trip *t)
{
    for (size_t i = 0; i < BYTES; i++)
        t->sent[i] = (unsigned char)((size_t)t->left * 31 + (size_t)t->fd + i);
    t->have = 0;
    t->began = kith_now();
    return write_all(t->fd, t->sent, BYTES);
}

/* What has come of one trip; false: something is wrong. */
static bool go_on(struct trip *t, long *open)
{
    ssize_t n = recv(t->fd, t->got + t->have, BYTES - t->have, MSG_DONTWAIT);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    t->have += (size_t)n;
    if (t->have < BYTES)
        return true;
    histogram_add(&client->latency, kith_now() - t->began);
    if (memcmp(t->sent, t->got, BYTES) != 0)
        return false;
    if (--t->left > 0)
        return begin_trip(t);
    --*open;
    return true;
}

static bool all_trips(struct trip *trips, long count)
{
    struct epoll_event events[256];
    int poll = epoll_create1(EPOLL_CLOEXEC);
    bool ok = true;
    long open = count;
    for (long i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = &trips[i]}};
        epoll_ctl(poll, EPOLL_CTL_ADD, trips[i].fd, &event);
    }
    kith_time start = kith_now();
    for (long i = 0; ok && i < count; i++)
        ok = begin_trip(&trips[i]);
    while (ok && open > 0) {
        int n = epoll_wait(poll, events, 256, -1);
        for (int i = 0; ok && i < n; i++)
            ok = go_on(events[i].data.ptr, &open);
    }
    client->seconds = seconds_since(start);
    return ok;
}

static bool echo_client(uint16_t port)
{
    long count = param_number();
    struct trip *trips = calloc((size_t)count, sizeof *trips);
    int *fds = calloc((size_t)count, sizeof *fds);
    bool ok = trips != NULL && fds != NULL && client_connect(port, fds, count);
    for (long i = 0; ok && i < count; i++) {
        trips[i].fd = fds[i];
        trips[i].left = trips_each();
    }
    client->ops = (uint64_t)(count * trips_each());
    ok = ok && all_trips(trips, count);
    free(fds);
    free(trips);
    return ok;
}

static void report_echo(bool served)
{
    const client_result *r = client_end();
    bool ok = served && r->ok && r->latency.count == r->ops;
    report("trips", (double)r->ops / r->seconds, "1/s", ok);
    report("p99", histogram_ms(&r->latency, 0.99), "ms", ok);
}

/* ---- handlers: callbacks, actors, stealing ---- */

struct echo;

KITH_ON(echo, kith_given)
{
    return KITH_OK;
}

KITH_ON(echo, kith_data)
{
    return kith_sock_write(self, msg->sock, msg->bytes, msg->n, kith_in(PATIENCE));
}

KITH_ON(echo, kith_eof)
{
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior echo = {
    .name = "echo",
    .handlers = KITH_HANDLERS(echo, kith_given, kith_data, kith_eof),
};

static void actors(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    report_echo(serve_actors(self, co, &echo, NULL, param_number()));
}

/* ---- fibers: fibers, csp ---- */

static void echo_fiber(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct served *served = arg;
    char bytes[4096];
    size_t n;
    while (kith_read(co, served->sock, bytes, sizeof bytes, &n, KITH_FOREVER) == KITH_OK && n > 0)
        if (kith_write(co, served->sock, bytes, n, KITH_FOREVER) != KITH_OK)
            return;
}

static void fibers(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    report_echo(serve_fibers(self, co, echo_fiber, NULL, param_number()));
}

/* ---- threads ---- */

static bool echo_conn(conn *c, const unsigned char *bytes, size_t n)
{
    return write_all(c->fd, bytes, n);
}

static void threads(void)
{
    report_echo(serve_threads(echo_conn, NULL, param_number(), POOL_THREADS));
}

const workload w2_echo = {
    .name = "W2",
    .what = "TCP echo, 1 to 10,000 connections",
    .params = {"1 50", "1 100 1000", "1 10 100 1000 10000"},
    .kith = {[CALLBACKS] = actors,
             [FIBERS] = fibers,
             [CSP] = fibers,
             [ACTORS] = actors,
             [STEALING] = actors},
    .threads = threads,
    .client = echo_client,
};
