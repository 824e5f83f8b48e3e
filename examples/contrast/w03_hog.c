/* SPDX-License-Identifier: BSD-2-Clause
 *
 * W3, a hog: requests come at a fixed rate on 64 connections, and a few, on connections of their own,
 * burn 50 ms of a core each. How long do the others take? `half`: hogs of half a core in all; `more`:
 * of one and a quarter; `-handed`: the program knows its hogs, and hands them to kith_blocking's pool.
 *
 * Check: every request is answered, once.
 * Threads: the server's as the dress has them; the client is one process of plain epoll.
 * Why an open loop: a client that waits for the answer before it sends the next request sends none
 *   while the server is held up, and so leaves out what it is to measure (coordinated omission).
 *   Here a request's time is planned, is sent however late the server is, and its latency counts
 *   from the plan.
 */
#include "contrast.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

enum { OTHERS = 64, HOGS = 16, HOG_US = 50000, RATE = 2000 };

/* ---- the client ---- */

/* Requests of one kind: the i-th is due at start + i * every, on one of the connections in turn. */
struct plan {
    kith_time every;
    kith_time start;
    long count;
    long sent;
    long answered;
    conn *conns;
    long connections;
    uint32_t burn_us;
};

/* The others, whose latencies count, and the hogs. */
struct load {
    struct plan others;
    struct plan hogs;
    int poll;
    int timer;
};

static kith_time due(const struct plan *p)
{
    return p->sent < p->count ? p->start + (kith_time)p->sent * p->every : KITH_FOREVER;
}

/* Sends all that is due by now, however late the answers are. 16 bytes always find room. */
static bool send_due(struct plan *p)
{
    while (due(p) <= kith_now()) {
        record request = {.when = due(p), .from = p->burn_us > 0, .value = p->burn_us};
        if (!write_all(p->conns[p->sent++ % p->connections].fd, &request, sizeof request))
            return false;
    }
    return true;
}

static void set_timer(const struct load *l)
{
    kith_time when = due(&l->others) < due(&l->hogs) ? due(&l->others) : due(&l->hogs);
    struct itimerspec at = {0}; /* nothing more to send: off */
    if (when != KITH_FOREVER) {
        at.it_value.tv_sec = (time_t)(when / KITH_SECOND);
        at.it_value.tv_nsec = (long)(when % KITH_SECOND);
    }
    timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static bool take_answers(struct load *l, conn *c)
{
    unsigned char bytes[4096];
    record answer;
    ssize_t got = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    const unsigned char *at = bytes;
    size_t n = (size_t)got;
    while (cut(&c->cut, &at, &n, &answer)) {
        if (answer.from == 0)
            histogram_add(&client->latency, kith_now() - answer.when);
        (answer.from == 0 ? &l->others : &l->hogs)->answered++;
    }
    return true;
}

static bool all_requests(struct load *l)
{
    struct epoll_event events[64];
    bool ok = true;
    while (ok && (l->others.answered < l->others.count || l->hogs.answered < l->hogs.count)) {
        set_timer(l);
        int n = epoll_wait(l->poll, events, 64, -1);
        ok = send_due(&l->others) && send_due(&l->hogs);
        for (int i = 0; ok && i < n; i++) {
            if (events[i].data.ptr != NULL) /* NULL: the timer, which is set anew */
                ok = take_answers(l, events[i].data.ptr);
        }
    }
    return ok;
}

static bool hog_client(uint16_t port)
{
    static conn conns[OTHERS + HOGS];
    int fds[OTHERS + HOGS];
    long ms = by_size(200, 1000, 5000);
    long hogs_a_second = strncmp(run.param, "half", 4) == 0 ? 10 : 25;
    struct load l = {.poll = epoll_create1(EPOLL_CLOEXEC),
                     .timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)};
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = NULL}};
    if (!client_connect(port, fds, OTHERS + HOGS) ||
        epoll_ctl(l.poll, EPOLL_CTL_ADD, l.timer, &event) != 0)
        return false;
    for (int i = 0; i < OTHERS + HOGS; i++) {
        conns[i].fd = fds[i];
        event.data.ptr = &conns[i];
        epoll_ctl(l.poll, EPOLL_CTL_ADD, fds[i], &event);
    }
    kith_time start = kith_in(10 * KITH_MS);
    l.others = (struct plan){.every = KITH_SECOND / RATE, .start = start, .conns = conns};
    l.others.connections = OTHERS;
    l.others.count = RATE * ms / 1000;
    l.hogs = (struct plan){.start = start, .conns = conns + OTHERS, .burn_us = HOG_US};
    l.hogs.every = KITH_SECOND / (kith_time)hogs_a_second;
    l.hogs.connections = HOGS;
    l.hogs.count = hogs_a_second * ms / 1000;
    client->ops = (uint64_t)l.others.count;
    return all_requests(&l);
}

static void report_hog(bool served)
{
    const client_result *r = client_end();
    report_latencies(&r->latency, served && r->ok && r->latency.count == r->ops);
}

static bool handed(const record *request)
{
    return request->value > 0 && strstr(run.param, "-handed") != NULL;
}

static kith_err serve(void *arg)
{
    const record *request = arg;
    if (request->value > 0)
        burn(request->value * KITH_US);
    return KITH_OK;
}

/* ---- handlers: callbacks, actors, stealing ---- */

struct server {
    kith_sock sock;
    cutter cut;
};

KITH_ON(server, kith_given)
{
    me->sock = msg->sock;
    return KITH_OK;
}

static kith_err answer(kith_self *self, struct server *me, const record *request)
{
    return kith_sock_write(self, me->sock, request, sizeof *request, kith_in(PATIENCE));
}

/* On a thread of the pool; a kith_blocking_done comes. */
static kith_err hand_over(kith_self *self, const record *request)
{
    record *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return KITH_ENOMEM;
    *copy = *request;
    return kith_blocking_send(self, serve, copy, NULL);
}

KITH_ON(server, kith_blocking_done)
{
    kith_err err = answer(self, me, msg->arg);
    free(msg->arg);
    return err;
}

KITH_ON(server, kith_data)
{
    record request;
    const unsigned char *at = msg->bytes;
    size_t n = msg->n;
    kith_err err = KITH_OK;
    while (err == KITH_OK && cut(&me->cut, &at, &n, &request)) {
        if (handed(&request))
            err = hand_over(self, &request);
        else if ((err = serve(&request)) == KITH_OK)
            err = answer(self, me, &request);
    }
    return err;
}

KITH_ON(server, kith_eof)
{
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior server = {
    .name = "server",
    .state_bytes = sizeof(struct server),
    .handlers = KITH_HANDLERS(server, kith_given, kith_data, kith_blocking_done, kith_eof),
};

static void actors(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    report_hog(serve_actors(self, co, &server, NULL, OTHERS + HOGS));
}

/* ---- fibers: fibers, csp ---- */

static void server_fiber(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct served *served = arg;
    record request;
    size_t n;
    size_t have = 0;
    unsigned char *to = (unsigned char *)&request;
    while (kith_read(co, served->sock, to + have, sizeof request - have, &n, KITH_FOREVER) ==
               KITH_OK &&
           n > 0) {
        if ((have += n) < sizeof request)
            continue;
        have = 0;
        if ((handed(&request) ? kith_blocking(co, serve, &request) : serve(&request)) != KITH_OK ||
            kith_write(co, served->sock, &request, sizeof request, KITH_FOREVER) != KITH_OK)
            return;
    }
}

static void fibers(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    report_hog(serve_fibers(self, co, server_fiber, NULL, OTHERS + HOGS));
}

/* ---- threads ---- */

static bool server_conn(conn *c, const unsigned char *bytes, size_t n)
{
    record request;
    bool ok = true;
    while (ok && cut(&c->cut, &bytes, &n, &request)) {
        serve(&request);
        ok = write_all(c->fd, &request, sizeof request);
    }
    return ok;
}

static void threads(void)
{
    if (strstr(run.param, "-handed") != NULL)
        for (int i = 0; i < 3; i++)
            report_none(i == 0   ? "p50"
                        : i == 1 ? "p99"
                                 : "p99.9",
                        "ms", "its pool is that already");
    else
        report_hog(serve_threads(server_conn, NULL, OTHERS + HOGS, POOL_THREADS));
}

const workload w3_hog = {
    .name = "W3",
    .what =
        "latency of 2,000 requests a second beside hogs of 50 ms: half a core, and more than one",
    .params = {"half half-handed", "half more half-handed", "half more half-handed more-handed"},
    .kith = {[CALLBACKS] = actors,
             [FIBERS] = fibers,
             [CSP] = fibers,
             [ACTORS] = actors,
             [STEALING] = actors},
    .threads = threads,
    .client = hog_client,
};
