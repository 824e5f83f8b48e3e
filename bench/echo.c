/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith-bench: the TCP workloads: echo (server of actors), echo-fibers (the same server of fibers) and
 * echo-raw (one epoll loop by hand).
 *
 * Called by: measure.c, through bench_echoes.
 * Invariants: all servers get the same client; a server ends after its client. The check is the
 *   client's, and that the server handled every byte.
 * Threads: the client has its own (echo_client.c), echo-raw's server too; main waits.
 * Why an actor a connection: that is how a server is written; one actor for all 64 would hide what
 *   a hand-over costs.
 */
#include "bench/echo.h"
#include "bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Runs the client in a thread of its own until it has ended. */
static void run_client(bench *b, uint16_t port)
{
    echo_load load = {.port = port, .n = b->n};
    pthread_t thread;
    load.trip_ns = bench_calloc(b->n, sizeof *load.trip_ns);
    int err = pthread_create(&thread, NULL, echo_client, &load);
    if (err == 0)
        pthread_join(thread, NULL);
    bench_report(b, load.began_ns, load.ended_ns, b->n, err == 0 && load.check);
    if (b->result->check)
        bench_add_quantiles(b->result, "", load.trip_ns, b->n);
    free(load.trip_ns);
}

/* ---- echo: a listener, and an actor a connection ---- */

KITH_MESSAGE(echo_port, { uint16_t port; });
KITH_MESSAGE(echo_ended, { uint64_t bytes; });

struct echo_conn {
    uint64_t bytes;
};

KITH_ON(echo_conn, kith_given)
{
    return KITH_OK;
}

KITH_ON(echo_conn, kith_data)
{
    me->bytes += msg->n;
    return kith_sock_write(self, msg->sock, msg->bytes, msg->n, kith_in(10 * KITH_SECOND));
}

static kith_err echo_conn_end(kith_self *self, struct echo_conn *me)
{
    kith_send(self, kith_parent(self), echo_ended, .bytes = me->bytes);
    return kith_stop(self, kith_self_ref(self)); /* closes the socket */
}

KITH_ON(echo_conn, kith_eof)
{
    return echo_conn_end(self, me);
}

KITH_ON(echo_conn, kith_closed)
{
    return echo_conn_end(self, me);
}

static const kith_behavior echo_conn = {
    .name = "echo_conn",
    .state_bytes = sizeof(struct echo_conn),
    .handlers = KITH_HANDLERS(echo_conn, kith_given, kith_data, kith_eof, kith_closed),
};

struct echo_server {
    kith_ref main;
    kith_sock listener;
    uint64_t ended;
    uint64_t bytes;
};

KITH_ON(echo_server, bench_go)
{
    uint16_t port = 0;
    me->main = kith_sender(self);
    me->listener = kith_listen(self, "127.0.0.1", 0, NULL);
    kith_err err = kith_sock_error(me->listener);
    if (err == KITH_OK)
        err = kith_sock_local(self, me->listener, NULL, &port);
    kith_send(self, me->main, echo_port, .port = port); /* 0: there is no server */
    return err;
}

KITH_ON(echo_server, kith_accepted)
{
    return kith_sock_give(self, msg->conn, kith_spawn(self, &echo_conn, NULL));
}

KITH_ON(echo_server, echo_ended)
{
    me->bytes += msg->bytes;
    if (++me->ended < ECHO_CONNECTIONS)
        return KITH_OK;
    return kith_send(self, me->main, echo_ended, .bytes = me->bytes);
}

static const kith_behavior echo_server = {
    .name = "echo_server",
    .state_bytes = sizeof(struct echo_server),
    .handlers = KITH_HANDLERS(echo_server, bench_go, kith_accepted, echo_ended),
};

static uint16_t wait_for_port(bench *b)
{
    kith_msg *msg = NULL;
    kith_err err = kith_receive(b->co, kith_in(BENCH_PATIENCE), &msg);
    const echo_port *port = err == KITH_OK ? kith_body(msg, echo_port) : NULL;
    return port != NULL ? port->port : 0;
}

/* The client has closed its 64 connections: the server must have seen all of them end. */
static bool all_bytes_handled(bench *b)
{
    kith_msg *msg = NULL;
    kith_err err = kith_receive(b->co, kith_in(BENCH_PATIENCE), &msg);
    const echo_ended *ended = err == KITH_OK ? kith_body(msg, echo_ended) : NULL;
    return ended != NULL && ended->bytes == b->n * ECHO_BYTES;
}

/* The server has been made: it will tell its port. */
static void run_server(bench *b)
{
    uint16_t port = wait_for_port(b);
    if (port == 0) {
        fprintf(stderr, "kith-bench: echo: the server cannot listen\n");
        return;
    }
    run_client(b, port);
    b->result->check = b->result->check && all_bytes_handled(b);
}

static void run_echo(bench *b)
{
    kith_ref server = kith_spawn(b->self, &echo_server, NULL);
    kith_send(b->self, server, bench_go, .n = b->n);
    run_server(b);
}

/* ---- echo-fibers: a fiber that accepts, and one a connection ---- */

static void echo_fiber(kith_self *self, kith_co *co, void *arg)
{
    kith_sock sock = *(kith_sock *)arg;
    unsigned char bytes[16384];
    uint64_t all = 0;
    size_t n;
    while (kith_read(co, sock, bytes, sizeof bytes, &n, KITH_FOREVER) == KITH_OK && n > 0 &&
           kith_write(co, sock, bytes, n, kith_in(10 * KITH_SECOND)) == KITH_OK)
        all += n;
    kith_send(self, kith_parent(self), echo_ended, .bytes = all);
}

static void echo_accept(kith_self *self, kith_co *co, void *arg)
{
    uint16_t port = 0;
    uint64_t bytes = 0;
    kith_sock conn;
    kith_msg *msg;
    (void)arg;
    kith_sock listener = kith_listen(self, "127.0.0.1", 0, NULL);
    if (kith_sock_error(listener) == KITH_OK)
        (void)kith_sock_local(self, listener, NULL, &port);
    kith_send(self, kith_parent(self), echo_port, .port = port); /* 0: there is no server */
    for (int i = 0; i < ECHO_CONNECTIONS; i++) {
        if (kith_accept(co, listener, kith_in(BENCH_PATIENCE), &conn) != KITH_OK)
            return;
        const kith_fiber_options options = {.arg_bytes = sizeof conn, .sock = conn};
        (void)kith_go_with(self, echo_fiber, &conn, &options);
    }
    for (int i = 0; i < ECHO_CONNECTIONS; i++) {
        if (kith_receive_only(co, echo_ended, kith_in(BENCH_PATIENCE), &msg) != KITH_OK)
            return;
        bytes += kith_body(msg, echo_ended)->bytes;
    }
    kith_send(self, kith_parent(self), echo_ended, .bytes = bytes);
}

static void run_echo_fibers(bench *b)
{
    (void)kith_go(b->self, echo_accept, NULL);
    run_server(b);
}

/* ---- echo-raw: the same server by hand, on one thread ---- */

struct raw_server {
    int listener;
    int poll;
    uint64_t bytes;
    unsigned open;
    unsigned accepted;
};

static bool raw_watch(struct raw_server *s, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    return epoll_ctl(s->poll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool raw_accept(struct raw_server *s)
{
    const int on = 1;
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
    s->open++;
    s->accepted++;
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 && raw_watch(s, fd);
}

static bool raw_echo(struct raw_server *s, int fd)
{
    unsigned char bytes[16384];
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0) {
        s->open--;
        return close(fd) == 0;
    }
    s->bytes += (uint64_t)n;
    return send(fd, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

static void *raw_server_thread(void *arg)
{
    struct raw_server *s = arg;
    struct epoll_event events[ECHO_CONNECTIONS];
    bool good = true;
    while (good && (s->accepted < ECHO_CONNECTIONS || s->open > 0)) {
        int n = epoll_wait(s->poll, events, ECHO_CONNECTIONS, 30000);
        good = n > 0 || (n < 0 && errno == EINTR);
        for (int i = 0; i < n && good; i++)
            good =
                events[i].data.fd == s->listener ? raw_accept(s) : raw_echo(s, events[i].data.fd);
    }
    return NULL;
}

static uint16_t raw_listen(struct raw_server *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->poll = epoll_create1(EPOLL_CLOEXEC);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->poll < 0 || s->listener < 0 ||
        bind(s->listener, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(s->listener, ECHO_CONNECTIONS) != 0 ||
        getsockname(s->listener, (struct sockaddr *)&address, &length) != 0 ||
        !raw_watch(s, s->listener))
        return 0;
    return ntohs(address.sin_port);
}

static void run_echo_raw(bench *b)
{
    struct raw_server server = {.listener = -1, .poll = -1};
    pthread_t thread;
    uint16_t port = raw_listen(&server);
    if (port == 0 || pthread_create(&thread, NULL, raw_server_thread, &server) != 0) {
        perror("kith-bench: echo-raw");
        return;
    }
    run_client(b, port);
    pthread_join(thread, NULL);
    b->result->check = b->result->check && server.bytes == b->n * ECHO_BYTES;
    close(server.listener);
    close(server.poll);
}

const bench_workload bench_echoes[] = {
    {.name = "echo",
     .op = "round trip",
     .what = "TCP: 64 connections, 64 bytes, n round trips in all, an actor a connection",
     .n_default = 300000,
     .n_max = UINT32_MAX,
     .run = run_echo},
    {.name = "echo-fibers",
     .op = "round trip",
     .what = "TCP: the same with a fiber a connection, which reads and writes",
     .n_default = 300000,
     .n_max = UINT32_MAX,
     .run = run_echo_fibers},
    {.name = "echo-raw",
     .op = "round trip",
     .what = "peer: the same client, a server of one thread and plain epoll",
     .n_default = 300000,
     .n_max = UINT32_MAX,
     .no_runtime = true,
     .run = run_echo_raw},
    {0},
};
