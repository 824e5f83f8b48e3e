/* SPDX-License-Identifier: BSD-2-Clause
 *
 * W1, the cost of a hop: two partners pass a ball to and fro; how long is it under way? On the same
 * worker (or CPU), across two of them, and over TCP on the loopback interface.
 *
 * Check: the ball counts its hops down, and each partner has had it every other time.
 * Threads: with kith only main's, which waits, and the partners'; else the two.
 * Why rendezvous channels and not buffered ones for the fibers: a ball is handed over.
 */
#include "contrast.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static long hops(void)
{
    if (param_is("tcp"))
        return by_size(1000, 20000, 100000);
    if (run.dress == THREADS)
        return by_size(1000, 20000, 200000);
    return by_size(1000, 500000, 5000000);
}

static void report_hops(kith_time start, long n, bool ok)
{
    report("hop", seconds_since(start) * 1e9 / (double)n, "ns", ok);
}

/* Only where two can run at the same time, and where the dress lets us say so. */
static bool fits(void)
{
    const char *why = NULL;
    if (run.cores < 2 || run.dress == CALLBACKS || run.dress == FIBERS)
        why = "one thread";
    else if (run.dress == STEALING)
        why = "the runtime decides: see same";
    if (!param_is("across") || why == NULL)
        return true;
    report_none("hop", "ns", why);
    return false;
}

/* Where the second partner is: the first is at 0. */
static long other(void)
{
    return param_is("same") ? 0 : 1;
}

/* ---- handlers: callbacks, actors, stealing ---- */

KITH_MESSAGE(ball, { long left; });

struct player {
    long balls;
};

KITH_ON(player, begin)
{
    return kith_send(self, msg->peer, ball, .left = hops() - 1);
}

KITH_ON(player, ball)
{
    me->balls++;
    if (msg->left > 0)
        return kith_reply(self, ball, .left = msg->left - 1);
    return kith_send(self, kith_parent(self), finished, .count = (uint64_t)me->balls);
}

static const kith_behavior player = {
    .name = "player",
    .state_bytes = sizeof(struct player),
    .handlers = KITH_HANDLERS(player, begin, ball),
};

static void actors_near(kith_self *self, kith_co *co)
{
    finished all = {0};
    kith_ref one = spawn_placed(self, &player, NULL, 0);
    kith_ref two = spawn_placed(self, &player, NULL, other());
    kith_time start = kith_now();
    kith_send(self, one, begin, .peer = two);
    bool ok = wait_finished(co, &all);
    report_hops(start, hops(), ok && all.count == (uint64_t)hops() / 2);
}

/* The same with a byte in a connection for the ball. */
struct end {
    kith_ref main;
    uint16_t port; /* 0: it listens, and tells */
    bool connects;
    long bytes;
};

static kith_err end_init(kith_self *self, void *state, const void *arg)
{
    struct end *me = state;
    *me = *(const struct end *)arg;
    me->connects = me->port != 0;
    kith_sock sock = me->port == 0 ? kith_listen(self, "127.0.0.1", 0, NULL)
                                   : kith_connect(self, "127.0.0.1", me->port, PATIENCE, NULL);
    kith_err err = kith_sock_error(sock);
    if (err == KITH_OK && me->port == 0) {
        err = kith_sock_local(self, sock, NULL, &me->port);
        kith_send(self, me->main, finished, .count = me->port);
    }
    return err;
}

KITH_ON(end, kith_accepted)
{
    return KITH_OK;
}

KITH_ON(end, kith_connected)
{
    return msg->status == KITH_OK ? kith_sock_write(self, msg->sock, "b", 1, KITH_FOREVER)
                                  : msg->status;
}

KITH_ON(end, kith_data)
{
    if (++me->bytes == hops() / 2 && me->connects)
        return kith_send(self, me->main, finished, .count = (uint64_t)me->bytes);
    return kith_sock_write(self, msg->sock, msg->bytes, msg->n, KITH_FOREVER);
}

static const kith_behavior end = {
    .name = "end",
    .state_bytes = sizeof(struct end),
    .init = end_init,
    .handlers = KITH_HANDLERS(end, kith_accepted, kith_connected, kith_data),
};

static void actors_tcp(kith_self *self, kith_co *co)
{
    struct end how = {.main = kith_self_ref(self)};
    finished port = {0};
    finished all = {0};
    spawn_placed(self, &end, &how, 0);
    bool ok = wait_finished(co, &port);
    how.port = (uint16_t)port.count;
    kith_time start = kith_now();
    spawn_placed(self, &end, &how, 1);
    ok = ok && wait_finished(co, &all);
    report_hops(start, hops(), ok && all.count == (uint64_t)hops() / 2);
}

static void actors(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    if (fits())
        param_is("tcp") ? actors_tcp(self, co) : actors_near(self, co);
}

/* ---- fibers: fibers, csp ---- */

struct pair {
    kith_chan *there;
    kith_chan *back;
    uint16_t port;
    long balls[2];
};

static void passer(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    struct pair *p = arg;
    for (long left = hops() - 1; left > 0; left--) {
        if (kith_chan_send(co, p->there, &left, KITH_FOREVER) != KITH_OK ||
            kith_chan_recv(co, p->back, &left, KITH_FOREVER) != KITH_OK)
            return;
        p->balls[0]++;
    }
}

static void returner(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    struct pair *p = arg;
    for (long left = 1; left > 0;) {
        if (kith_chan_recv(co, p->there, &left, KITH_FOREVER) != KITH_OK)
            return;
        p->balls[1]++;
        left--;
        if (kith_chan_send(co, p->back, &left, KITH_FOREVER) != KITH_OK)
            return;
    }
}

static void tcp_passer(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    struct pair *p = arg;
    kith_sock sock;
    char byte = 'b';
    size_t n = 1;
    kith_err err = kith_dial(co, "127.0.0.1", p->port, KITH_FOREVER, NULL, &sock);
    for (long i = 0; err == KITH_OK && n == 1 && i < hops() / 2; i++) {
        if ((err = kith_write(co, sock, &byte, 1, KITH_FOREVER)) == KITH_OK)
            err = kith_read(co, sock, &byte, 1, &n, KITH_FOREVER);
        p->balls[0] += err == KITH_OK && n == 1;
    }
}

static void tcp_returner(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct served *served = arg;
    struct pair *p = served->shared;
    char byte;
    size_t n;
    while (kith_read(co, served->sock, &byte, 1, &n, KITH_FOREVER) == KITH_OK && n == 1) {
        p->balls[1]++;
        if (kith_write(co, served->sock, &byte, 1, KITH_FOREVER) != KITH_OK)
            return;
    }
}

static bool fibers_tcp(kith_self *self, kith_co *co, struct pair *p)
{
    struct served served = {.shared = p};
    kith_sock listening = kith_listen(self, "127.0.0.1", 0, NULL);
    kith_scope *scope = kith_scope_new(co);
    if (kith_sock_local(self, listening, NULL, &p->port) != KITH_OK || scope == NULL)
        return false;
    kith_scope_go_with(self, scope, tcp_passer, p, &(kith_fiber_options){.worker = place(0)});
    if (kith_accept(co, listening, kith_in(PATIENCE), &served.sock) != KITH_OK)
        return false;
    kith_fiber_options there = {
        .arg_bytes = sizeof served, .sock = served.sock, .worker = place(1)};
    kith_scope_go_with(self, scope, tcp_returner, &served, &there);
    return kith_scope_leave_by(co, scope, kith_in(PATIENCE)) == KITH_OK;
}

static bool fibers_near(kith_self *self, kith_co *co, struct pair *p)
{
    kith_scope *scope = kith_scope_new(co);
    p->there = kith_chan_new(self, sizeof(long), 0);
    p->back = kith_chan_new(self, sizeof(long), 0);
    kith_scope_go_with(self, scope, passer, p, &(kith_fiber_options){.worker = place(0)});
    kith_scope_go_with(self, scope, returner, p, &(kith_fiber_options){.worker = place(other())});
    kith_err err = kith_scope_leave_by(co, scope, kith_in(PATIENCE));
    kith_chan_drop(p->there);
    kith_chan_drop(p->back);
    return err == KITH_OK;
}

static void fibers(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    struct pair p = {0};
    if (!fits())
        return;
    kith_time start = kith_now();
    bool ok = param_is("tcp") ? fibers_tcp(self, co, &p) : fibers_near(self, co, &p);
    report_hops(start, hops(), ok && p.balls[0] == hops() / 2 && p.balls[1] == hops() / 2);
}

/* ---- threads ---- */

struct table {
    pthread_mutex_t mutex;
    pthread_cond_t passed;
    long left;
    long balls[2];
    int fd[2];
};

/* Who has an even number, hits when an even number of hops is left. */
static void play(struct table *t, int who)
{
    pthread_mutex_lock(&t->mutex);
    while (t->left > 0) {
        if (t->left % 2 != who) {
            pthread_cond_wait(&t->passed, &t->mutex);
            continue;
        }
        t->left--;
        t->balls[who]++;
        pthread_cond_signal(&t->passed);
    }
    pthread_mutex_unlock(&t->mutex);
}

static void play_tcp(struct table *t, int who)
{
    char byte = 'b';
    bool ok = who == 1 || write_all(t->fd[0], &byte, 1);
    while (ok && t->balls[who] < hops() / 2 && recv(t->fd[who], &byte, 1, 0) == 1) {
        t->balls[who]++;
        ok = (who == 0 && t->balls[0] == hops() / 2) || write_all(t->fd[who], &byte, 1);
    }
}

static void *first(void *table)
{
    param_is("tcp") ? play_tcp(table, 0) : play(table, 0);
    return NULL;
}

static void *second(void *table)
{
    param_is("tcp") ? play_tcp(table, 1) : play(table, 1);
    return NULL;
}

static bool tcp_pair(int fd[2])
{
    const int on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t bytes = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    fd[0] = socket(AF_INET, SOCK_STREAM, 0);
    bool ok = bind(listening, (const struct sockaddr *)&at, sizeof at) == 0 &&
              listen(listening, 1) == 0 &&
              getsockname(listening, (struct sockaddr *)&at, &bytes) == 0 &&
              connect(fd[0], (const struct sockaddr *)&at, sizeof at) == 0 &&
              (fd[1] = accept(listening, NULL, NULL)) >= 0;
    for (int i = 0; ok && i < 2; i++)
        ok = setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0;
    close(listening);
    return ok;
}

static void threads(void)
{
    struct table t = {.mutex = PTHREAD_MUTEX_INITIALIZER, .passed = PTHREAD_COND_INITIALIZER};
    if (!fits())
        return;
    bool ok = !param_is("tcp") || tcp_pair(t.fd);
    t.left = hops();
    kith_time start = kith_now();
    pthread_t one = thread_start(first, &t, 0);
    pthread_t two = thread_start(second, &t, (int)((unsigned)other() % run.cores));
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    report_hops(start, hops(), ok && t.balls[0] == hops() / 2 && t.balls[1] == hops() / 2);
}

const workload w1_hop = {
    .name = "W1",
    .what = "the cost of a hop: same worker, across workers, over TCP",
    .params = {"same across tcp", "same across tcp", "same across tcp"},
    .kith = {[CALLBACKS] = actors,
             [FIBERS] = fibers,
             [CSP] = fibers,
             [ACTORS] = actors,
             [STEALING] = actors},
    .threads = threads,
};
