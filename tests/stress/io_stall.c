/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of sched/watch.c with io/loop.c: a handler that does not end, and the sockets of its worker.
 * Run by: the test driver; KITH_STRESS=N does more rounds.
 * What it holds: the sockets in the epoll of a worker that stands still are served by another: each
 *   client's trips end while the hog still spins. (Timers, messages, actors: tests/stress/stall.c.)
 *   And L1 of io/loop.c: a rescuer hands back the wake that it took.
 * Threads: two workers, one of which the hog takes; the clients are plain sockets in one poll loop
 *   of the test's own thread. Descriptors go to the loops in turn, so half of them are the hog's.
 * Why the hog ends when the clients are done: "while the hog still spins" is then the test, and no
 *   time. How long the trips took is printed, not judged. A trip is counted from when it was due,
 *   not from when it could be sent: a client that is held up owns to all the trips it was late for.
 */
#include "tests/stress/stress.h"

#include "base/atomic.h"
#include "sched/worker.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define CLIENTS 20u
#define TRIPS 100u
#define PACE_NS (10 * KITH_MS) /* TRIPS of them: a second */
#define TRIP_BYTES 64u
#define TOOK_MAX (CLIENTS * TRIPS)
#define HOG_NS (20 * KITH_SECOND) /* then it gives up: somebody was not served */
#define BAR_MS 5

KITH_MESSAGE(open_port, { char none; });
KITH_MESSAGE(port_is, { uint16_t port; });
KITH_MESSAGE(begin, { uint64_t limit_ns; });

static KITH__ATOMIC(uint32_t) spins;
static KITH__ATOMIC(uint32_t) clients_done;
static KITH__ATOMIC(uint32_t) given_up; /* the hog, before the clients were done */

/* ---- the server: an actor for each connection ---- */

struct echo {
    char none;
};

KITH_ON(echo, kith_data)
{
    (void)me;
    return kith_sock_write(self, msg->sock, msg->bytes, msg->n, KITH_FOREVER);
}

KITH_ON(echo, kith_given)
{
    (void)self, (void)me, (void)msg;
    return KITH_OK;
}

KITH_ON(echo, kith_eof)
{
    (void)me, (void)msg;
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior echo = {
    .name = "echo",
    .state_bytes = sizeof(struct echo),
    .handlers = KITH_HANDLERS(echo, kith_data, kith_given, kith_eof),
};

struct door {
    char none;
};

KITH_ON(door, open_port)
{
    uint16_t port = 0;
    kith_sock sock = kith_listen(self, "127.0.0.1", 0, NULL);
    (void)me, (void)msg;
    CHECK_EQ(kith_sock_error(sock), KITH_OK);
    CHECK_EQ(kith_sock_local(self, sock, NULL, &port), KITH_OK);
    return kith_reply(self, port_is, .port = port);
}

KITH_ON(door, kith_accepted)
{
    (void)me;
    return kith_sock_give(self, msg->conn, kith_spawn(self, &echo, NULL));
}

static const kith_behavior door = {
    .name = "door",
    .state_bytes = sizeof(struct door),
    .handlers = KITH_HANDLERS(door, open_port, kith_accepted),
};

/* ---- the hog ---- */

struct hog {
    char none;
};

KITH_ON(hog, begin)
{
    kith_time limit = kith_in(msg->limit_ns);
    (void)me;
    kith__store_rel(&spins, 1);
    while (kith__load_acq(&clients_done) == 0)
        if (kith_now() >= limit) {
            kith__store_rel(&given_up, 1);
            break;
        }
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior hog = {
    .name = "hog",
    .state_bytes = sizeof(struct hog),
    .handlers = KITH_HANDLERS(hog, begin),
};

/* ---- the clients ---- */

struct client {
    kith_time due; /* the next trip, or the one that is under way */
    uint32_t sent;
    uint32_t made;
    size_t got; /* bytes of the trip that is under way */
};

struct clients {
    struct client of[CLIENTS];
    struct pollfd poll[CLIENTS];
    uint32_t left; /* who has not made all its trips */
};

static kith_time took[TOOK_MAX];
static uint32_t took_count;

static int client_connect(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_EQ(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static unsigned char trip_byte(uint32_t client, uint32_t trip, size_t at)
{
    return (unsigned char)(client * 31 + trip * 7 + at);
}

static void trip_send(struct clients *all, uint32_t i)
{
    unsigned char bytes[TRIP_BYTES];
    for (size_t at = 0; at < TRIP_BYTES; at++)
        bytes[at] = trip_byte(i, all->of[i].sent, at);
    all->of[i].sent++;
    CHECK_EQ(send(all->poll[i].fd, bytes, TRIP_BYTES, MSG_NOSIGNAL), TRIP_BYTES);
}

/* The trip under way is made. */
static void trip_made(struct clients *all, uint32_t i)
{
    struct client *client = &all->of[i];
    took[took_count++] = kith_now() - client->due;
    client->due += PACE_NS;
    client->got = 0;
    if (++client->made == TRIPS)
        all->left--;
}

static void trip_receive(struct clients *all, uint32_t i)
{
    unsigned char bytes[TRIP_BYTES];
    struct client *client = &all->of[i];
    ssize_t n = recv(all->poll[i].fd, bytes, TRIP_BYTES - client->got, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    REQUIRE(n > 0);
    for (ssize_t at = 0; at < n; at++)
        CHECK_EQ(bytes[at], trip_byte(i, client->made, client->got++));
    if (client->got == TRIP_BYTES)
        trip_made(all, i);
}

/* Sends what is due; says when the next will be. */
static kith_time send_due(struct clients *all, kith_time now)
{
    kith_time next = kith_in(KITH_SECOND); /* then it is seen whether the hog gave up */
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct client *client = &all->of[i];
        if (client->sent > client->made || client->made == TRIPS)
            continue;
        if (client->due <= now)
            trip_send(all, i);
        else if (client->due < next)
            next = client->due;
    }
    return next;
}

static void clients_wait(struct clients *all, kith_time until)
{
    kith_time now = kith_now();
    kith_time left = until > now ? until - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(left / KITH_SECOND),
                               .tv_nsec = (long)(left % KITH_SECOND)};
    if (ppoll(all->poll, CLIENTS, &timeout, NULL) <= 0)
        return;
    for (uint32_t i = 0; i < CLIENTS && test_failures == 0; i++)
        if (all->poll[i].revents != 0)
            trip_receive(all, i);
}

/* Until all trips are made, or the hog has given up. */
static void clients_run(struct clients *all)
{
    kith_time first = kith_now();
    for (uint32_t i = 0; i < CLIENTS; i++)
        all->of[i] = (struct client){.due = first + i * PACE_NS / CLIENTS};
    all->left = CLIENTS;
    took_count = 0;
    while (all->left > 0 && kith__load_acq(&given_up) == 0 && test_failures == 0)
        clients_wait(all, send_due(all, kith_now()));
}

/* Connected, and known to be served. */
static void clients_connect(struct clients *all, uint16_t port)
{
    char byte = 'x';
    for (uint32_t i = 0; i < CLIENTS; i++) {
        all->poll[i] = (struct pollfd){.fd = client_connect(port), .events = POLLIN};
        CHECK_EQ(send(all->poll[i].fd, &byte, 1, MSG_NOSIGNAL), 1);
        CHECK_EQ(recv(all->poll[i].fd, &byte, 1, 0), 1);
    }
}

/* ---- the test ---- */

static void on_log(void *arg, kith_log_level level, const char *text)
{
    (void)arg;
    if (level >= KITH_LOG_ERROR)
        FAIL("logged: %s", text);
}

static int by_time(const void *a, const void *b)
{
    kith_time x = *(const kith_time *)a;
    kith_time y = *(const kith_time *)b;
    return (x > y) - (x < y);
}

static double ms(kith_time ns)
{
    return (double)ns / (double)KITH_MS;
}

static void print_took(void)
{
    qsort(took, took_count, sizeof took[0], by_time);
    printf("%" PRIu32 " trips: p50 %.2f ms, p99 %.2f ms, the bar is %d ms, max %.2f ms, ",
           took_count, ms(took[took_count / 2]), ms(took[took_count * 99 / 100]), BAR_MS,
           ms(took[took_count - 1]));
}

static uint16_t open_door(kith_self *self, kith_co *co)
{
    kith_msg *reply;
    kith_err err = kith_ask(co, kith_spawn(self, &door, NULL), kith_in(HOG_NS), &reply, open_port);
    CHECK_EQ(err, KITH_OK);
    return err == KITH_OK ? kith_body(reply, port_is)->port : 0;
}

static void beside_a_hog(kith_self *self, struct clients *all)
{
    kith__store_rlx(&spins, 0);
    kith__store_rlx(&clients_done, 0);
    kith__store_rlx(&given_up, 0);
    CHECK_EQ(kith_send(self, kith_spawn(self, &hog, NULL), begin, .limit_ns = HOG_NS), KITH_OK);
    while (kith__load_acq(&spins) == 0)
        sched_yield();
    clients_run(all);
    kith__store_rel(&clients_done, 1);
    CHECK_EQ(kith__load_acq(&given_up), 0u);
    for (uint32_t i = 0; i < CLIENTS; i++)
        CHECK_EQ(all->of[i].made, TRIPS);
}

static void one_round(void)
{
    kith_runtime *rt;
    kith_self *self;
    kith_co *co;
    kith_stats stats;
    struct clients all = {.left = 0};
    kith_config config = {.workers = 2, .log = on_log, .stall_ns = 25 * KITH_MS};
    REQUIRE(kith_start(&config, &rt) == KITH_OK);
    REQUIRE(kith_attach(rt, &self, &co) == KITH_OK);
    clients_connect(&all, open_door(self, co));
    beside_a_hog(self, &all);
    CHECK_EQ(kith_stats_get(rt, &stats), KITH_OK);
    CHECK_GE(stats.rescues, (uint64_t)1);
    for (uint32_t i = 0; i < CLIENTS; i++)
        close(all.poll[i].fd);
    CHECK_EQ(kith_detach(self), KITH_OK);
    stress_end(rt);
    if (took_count > 0)
        print_took();
}

TEST(sockets_behind_a_hog_are_served_before_it_ends)
{
    stress_limit("sockets_behind_a_hog_are_served_before_it_ends");
    for (uint64_t i = test_env("KITH_STRESS", 1); i > 0 && test_failures == 0; i--)
        one_round();
}

/* ---- L1 of io/loop.c: a rescuer hands back the wake that it took ---- */

static _Thread_local uint32_t wakes_seen;

/* In front of the system's: counts the wakes, whose data is of no kind, with a 1 below. */
int epoll_wait(int epfd, struct epoll_event *events, int maxevents, int timeout)
{
    int n = (int)syscall(SYS_epoll_pwait, epfd, events, maxevents, timeout, NULL, (size_t)8);
    for (int i = 0; i < n; i++)
        wakes_seen +=
            kith__bits_kind(events[i].data.u64) == KITH__KIND_NONE && (events[i].data.u64 & 3) == 1;
    return n;
}

KITH_MESSAGE(look, { char none; });

struct looker {
    char none;
};

/* Polls the loop of the worker that the hog holds, as a rescuer does, twice for one wake. */
KITH_ON(looker, look)
{
    struct kith_runtime *rt = kith_self_runtime(self);
    struct kith__worker *w = kith__ctx_here->worker;
    struct kith__worker *of = &rt->workers[1 - w->index];
    (void)me, (void)msg;
    rt->driver->wake(of);
    wakes_seen = 0;
    for (uint32_t i = 1; i <= 2; i++) {
        rt->driver->poll(w, of, KITH_NOWAIT);
        CHECK_GE(wakes_seen, i);
    }
    kith__store_rel(&clients_done, 1);
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior looker = {
    .name = "looker",
    .state_bytes = sizeof(struct looker),
    .handlers = KITH_HANDLERS(looker, look),
};

TEST(a_rescuer_hands_the_wake_back)
{
    kith_self *self;
    stress_limit("a_rescuer_hands_the_wake_back");
    kith_runtime *rt = stress_start(2);
    REQUIRE(rt != NULL && kith_attach(rt, &self, NULL) == KITH_OK);
    kith__store_rlx(&spins, 0);
    kith__store_rlx(&clients_done, 0);
    kith__store_rlx(&given_up, 0);
    CHECK_EQ(kith_send(self, kith_spawn(self, &hog, NULL), begin, .limit_ns = HOG_NS), KITH_OK);
    while (kith__load_acq(&spins) == 0)
        sched_yield();
    CHECK_EQ(kith_send(self, kith_spawn(self, &looker, NULL), look), KITH_OK);
    CHECK_EQ(kith_join(rt, kith_in(3 * HOG_NS)), KITH_OK);
    CHECK_EQ(kith__load_acq(&given_up), 0u);
    CHECK_EQ(kith_detach(self), KITH_OK);
    stress_end(rt);
}
