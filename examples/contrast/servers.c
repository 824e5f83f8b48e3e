/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The contrast: how connections are accepted and given to those who serve them, in three styles.
 *
 * Called by: the workloads of sockets (W2, W3, W10).
 * Invariants: exactly count connections are accepted; the call returns when all of them have ended.
 * Threads: serve_actors and serve_fibers run on main, which waits; serve_threads makes its own.
 * Why one epoll thread and a pool behind it, for the threads: it is what a server with a pool does
 *   that must not have a thread a connection. EPOLLONESHOT gives a connection to one thread at a time;
 *   the connection's mutex, which nobody has to wait for, says the same to the memory model, which
 *   knows nothing of epoll.
 */
#include "contrast.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- actors: one that listens, and one a connection ---- */

struct listener {
    const kith_behavior *connection;
    const void *arg;
    long count;
    long accepted;
    long ended;
};

static kith_err listener_init(kith_self *self, void *state, const void *arg)
{
    uint16_t port = 0;
    *(struct listener *)state = *(const struct listener *)arg;
    kith_sock sock = kith_listen(self, "127.0.0.1", 0, NULL);
    kith_err err = kith_sock_error(sock);
    if (err == KITH_OK && (err = kith_sock_local(self, sock, NULL, &port)) == KITH_OK)
        client_go(port);
    return err;
}

KITH_ON(listener, kith_accepted)
{
    kith_ref served = spawn_placed(self, me->connection, me->arg, me->accepted++);
    kith_err err = kith_monitor(self, served);
    return err == KITH_OK ? kith_sock_give(self, msg->conn, served) : err;
}

KITH_ON(listener, kith_down)
{
    if (++me->ended == me->count)
        kith_send(self, kith_parent(self), finished, .count = (uint64_t)me->ended);
    return msg->reason;
}

static const kith_behavior listener = {
    .name = "listener",
    .state_bytes = sizeof(struct listener),
    .init = listener_init,
    .handlers = KITH_HANDLERS(listener, kith_accepted, kith_down),
};

bool serve_actors(kith_self *self, kith_co *co, const kith_behavior *connection, const void *arg,
                  long count)
{
    struct listener how = {.connection = connection, .arg = arg, .count = count};
    finished all;
    kith_ref listening = kith_spawn(self, &listener, &how);
    return kith_ref_error(listening) == KITH_OK && wait_finished(co, &all);
}

/* ---- fibers: a loop that accepts, and a fiber a connection ---- */

bool serve_fibers(kith_self *self, kith_co *co, kith_fiber_fn *connection, void *shared, long count)
{
    uint16_t port = 0;
    kith_sock listening = kith_listen(self, "127.0.0.1", 0, NULL);
    if (kith_sock_local(self, listening, NULL, &port) != KITH_OK)
        return false;
    client_go(port);

    kith_scope *scope = kith_scope_new(co);
    kith_err err = KITH_OK;
    for (long i = 0; i < count && err == KITH_OK; i++) {
        struct served served = {.shared = shared};
        if ((err = kith_accept(co, listening, kith_in(PATIENCE), &served.sock)) != KITH_OK)
            break;
        kith_fiber_options options = {
            .arg_bytes = sizeof served, .sock = served.sock, .worker = place(i)};
        err = kith_ref_error(kith_scope_go_with(self, scope, connection, &served, &options));
    }
    kith_close(self, listening);
    kith_err left = kith_scope_leave_by(co, scope, kith_in(PATIENCE));
    return err == KITH_OK && left == KITH_OK;
}

/* ---- threads: one that polls, and a pool ---- */

struct server {
    int poll;
    int stop;
    queue ready;
    countdown open;
    conn_fn *handler;
};

static void watch(struct server *s, conn *c, int how)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data = {.ptr = c}};
    epoll_ctl(s->poll, how, c->fd, &event);
}

static void *poller(void *arg)
{
    struct server *s = arg;
    struct epoll_event events[64];
    for (;;) {
        int n = epoll_wait(s->poll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                return NULL;
            queue_put(&s->ready, (uint64_t)(uintptr_t)events[i].data.ptr);
        }
    }
}

/* False: the connection is over. */
static bool serve_ready(struct server *s, conn *c)
{
    unsigned char bytes[16384];
    pthread_mutex_lock(&c->mutex);
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    bool on = (n < 0 && errno == EAGAIN) || (n > 0 && s->handler(c, bytes, (size_t)n));
    pthread_mutex_unlock(&c->mutex);
    return on;
}

static void *pool_thread(void *arg)
{
    struct server *s = arg;
    uint64_t item;
    while (queue_take(&s->ready, &item)) {
        conn *c = (conn *)(uintptr_t)item; /* NOLINT(performance-no-int-to-ptr): it was one */
        if (serve_ready(s, c))
            watch(s, c, EPOLL_CTL_MOD);
        else
            countdown_step(&s->open, 0); /* over */
    }
    return NULL;
}

bool write_all(int fd, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    while (n > 0) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return false;
        at += sent > 0 ? sent : 0;
        n -= sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

static int listen_somewhere(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &bytes) != 0)
        return -1;
    *port = ntohs(address.sin_port);
    return fd;
}

static bool accept_all(struct server *s, conn *conns, void *shared, long count)
{
    const int on = 1;
    uint16_t port;
    int listening = listen_somewhere(&port);
    if (listening < 0)
        return false;
    client_go(port);
    for (long i = 0; i < count; i++) {
        conns[i].shared = shared;
        conns[i].number = i;
        pthread_mutex_init(&conns[i].mutex, NULL);
        conns[i].fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        if (conns[i].fd < 0 ||
            setsockopt(conns[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
            return false;
        watch(s, &conns[i], EPOLL_CTL_ADD);
    }
    return close(listening) == 0;
}

bool serve_threads(conn_fn *handler, void *shared, long count, unsigned threads)
{
    struct server s = {.handler = handler, .poll = epoll_create1(EPOLL_CLOEXEC)};
    struct epoll_event stop = {.events = EPOLLIN, .data = {.ptr = NULL}};
    conn *conns = calloc((size_t)count, sizeof *conns);
    pthread_t *pool = calloc(threads, sizeof *pool);
    s.stop = eventfd(0, EFD_CLOEXEC);
    if (conns == NULL || pool == NULL || epoll_ctl(s.poll, EPOLL_CTL_ADD, s.stop, &stop) != 0)
        exit(1);
    queue_open(&s.ready, 0);
    countdown_open(&s.open, (uint64_t)count);
    for (unsigned i = 0; i < threads; i++)
        pool[i] = thread_start(pool_thread, &s, -1);
    pthread_t polling = thread_start(poller, &s, -1);

    bool ok = accept_all(&s, conns, shared, count);
    if (ok)
        countdown_wait(&s.open);
    eventfd_write(s.stop, 1);
    pthread_join(polling, NULL);
    queue_close(&s.ready);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(pool[i], NULL);
    for (long i = 0; i < count; i++) {
        close(conns[i].fd);
        pthread_mutex_destroy(&conns[i].mutex);
    }
    queue_free(&s.ready);
    free(pool);
    free(conns);
    return ok;
}
