/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of io/socket.c and io/give.c: traffic on sockets that change hands, with owners that die
 * and peers that reset.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: S1 to S5 and V1 to V3 (io/socket.c, io/give.c): no event is lost (a request is
 *   answered, or the connection ends), none reaches two owners (answers are right and in order), no
 *   slot is reused under a message (under a sanitizer), nothing is left at the end.
 * Threads: plain clients, who ask and wait for the answer; the workers, who run one listener and
 *   eight actors that answer, hand the socket to another, and sometimes die.
 */
#include "tests/stress/stress.h"

#include "base/atomic.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <sys/socket.h>

#define HANDS 8
#define CLIENTS 4
#define ROUND_BYTES_MAX 20000
#define WAIT_S 30

static KITH__ATOMIC(uint64_t) hands[HANDS]; /* who takes sockets now */
static KITH__ATOMIC(uint32_t) port_of;
static KITH__ATOMIC(uint64_t) answered;
static KITH__ATOMIC(uint64_t) given_away;
static KITH__ATOMIC(uint64_t) deaths;
static sem_t listening;

static kith_ref some_hand(kith_self *self)
{
    return (kith_ref){kith__load_rlx(&hands[kith_random(self) % HANDS])};
}

/* ---- those who answer ---- */

struct hand {
    char none;
};

KITH_ON(hand, kith_given)
{
    return kith_sock_read_by(self, msg->sock, kith_in(WAIT_S * KITH_SECOND));
}

/* Answers, then perhaps gives the socket away, to one who may be dead; perhaps dies. */
KITH_ON(hand, kith_data)
{
    kith_err err =
        kith_sock_write(self, msg->sock, msg->bytes, msg->n, kith_in(WAIT_S * KITH_SECOND));
    if (err == KITH_EBADREF || err == KITH_EPERM)
        return KITH_OK; /* it closed, or was given away, with input still in the mailbox */
    uint64_t chance = kith_random(self);
    if (chance % 3 == 0 && kith_sock_give(self, msg->sock, some_hand(self)) == KITH_OK)
        kith__add_rlx(&given_away, 1);
    else if (chance % 97 == 1)
        (void)kith_close(self, msg->sock);
    return chance % 101 < 2 ? KITH_EFAILED : KITH_OK; /* also right after giving */
}

KITH_ON(hand, kith_eof)
{
    (void)kith_close(self, msg->sock);
    return KITH_OK;
}

KITH_ON(hand, kith_closed)
{
    return KITH_OK;
}

static const kith_behavior hand = {
    .name = "hand",
    .state_bytes = sizeof(struct hand),
    .handlers = KITH_HANDLERS(hand, kith_given, kith_data, kith_eof, kith_closed),
};

/* ---- the one who accepts, and replaces the dead ---- */

struct door {
    kith_sock listener;
};

static void hand_new(kith_self *self, unsigned i)
{
    kith_ref ref = kith_spawn(self, &hand, NULL);
    if (kith_ref_error(ref) == KITH_OK && kith_monitor(self, ref) == KITH_OK)
        kith__store_rlx(&hands[i], ref.bits);
}

static kith_err door_init(kith_self *self, void *me, const void *arg)
{
    (void)arg;
    uint16_t port = 0;
    kith_sock listener = kith_listen(self, "127.0.0.1", 0, NULL);
    ((struct door *)me)->listener = listener;
    (void)kith_sock_local(self, listener, NULL, &port);
    kith__store_rlx(&port_of, port);
    for (unsigned i = 0; i < HANDS; i++)
        hand_new(self, i);
    sem_post(&listening);
    return kith_sock_error(listener);
}

KITH_ON(door, kith_accepted)
{
    if (kith_sock_give(self, msg->conn, some_hand(self)) != KITH_OK)
        (void)kith_close(self, msg->conn);
    return KITH_OK;
}

KITH_ON(door, kith_down)
{
    kith__add_rlx(&deaths, 1);
    for (unsigned i = 0; i < HANDS; i++)
        if (kith__load_rlx(&hands[i]) == msg->ref.bits)
            hand_new(self, i);
    return KITH_OK;
}

static const kith_behavior door = {
    .name = "door",
    .state_bytes = sizeof(struct door),
    .handlers = KITH_HANDLERS(door, kith_accepted, kith_down),
    .init = door_init,
};

/* ---- those who ask ---- */

struct client {
    struct kith__random random;
    int fd;
    unsigned char out[ROUND_BYTES_MAX];
    unsigned char in[ROUND_BYTES_MAX];
};

static void client_connect(struct client *c)
{
    struct timeval wait = {.tv_sec = WAIT_S};
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_port = htons((uint16_t)kith__load_rlx(&port_of));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    CHECK_EQ(connect(c->fd, (struct sockaddr *)&at, sizeof at), 0);
}

static void client_end(struct client *c, bool reset)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(c->fd);
    c->fd = -1;
}

/* Reads n bytes; false if the connection ended first. Silence is a failure: an event was lost. */
static bool client_read(struct client *c, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t in = recv(c->fd, c->in + got, n - got, 0);
        if (in < 0 && errno == EAGAIN)
            FAIL("no answer");
        if (in <= 0)
            return false;
        got += (size_t)in;
    }
    return true;
}

/* One question and its answer; true if it was answered. */
static bool client_round(struct client *c)
{
    uint64_t chance = kith__random_next(&c->random);
    size_t n = 1 + (size_t)(chance >> 8) % (chance % 16 == 0 ? ROUND_BYTES_MAX : 100);
    for (size_t i = 0; i < n; i++)
        c->out[i] = (unsigned char)kith__random_next(&c->random);
    if (c->fd < 0)
        client_connect(c);
    ssize_t out = send(c->fd, c->out, n, MSG_NOSIGNAL);
    bool impatient = chance % 67 == 0;
    bool ok = out == (ssize_t)n && !impatient && client_read(c, n);
    if (!ok) {
        client_end(c, impatient);
        return false;
    }
    CHECK(memcmp(c->in, c->out, n) == 0);
    return true;
}

static void client_run(unsigned index, void *arg)
{
    uint64_t rounds = *(const uint64_t *)arg;
    struct client *c = calloc(1, sizeof *c);
    REQUIRE(c != NULL);
    stress_random(&c->random, index);
    c->fd = -1;
    for (uint64_t i = 0; i < rounds; i++)
        if (client_round(c))
            kith__add_rlx(&answered, 1);
    if (c->fd >= 0)
        client_end(c, false);
    free(c);
}

/* ---- the test ---- */

static int descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    while (dir != NULL && readdir(dir) != NULL)
        n++;
    if (dir != NULL)
        closedir(dir);
    return n;
}

static void churn(unsigned workers)
{
    kith_self *self;
    uint64_t rounds = stress_times(30000);
    int before = descriptors();
    stress_limit("sockets that change hands");
    kith__store_rlx(&answered, 0);
    kith__store_rlx(&given_away, 0);
    kith__store_rlx(&deaths, 0);
    kith_runtime *rt = stress_start(workers);
    REQUIRE(rt != NULL);
    REQUIRE(kith_attach(rt, &self, NULL) == KITH_OK);
    sem_init(&listening, 0, 0);
    CHECK_EQ((int)kith_ref_error(kith_spawn(self, &door, NULL)), 0);
    sem_wait(&listening);
    stress_threads(CLIENTS, client_run, &rounds);
    CHECK_GT(kith__load_rlx(&answered), rounds * CLIENTS / 2);
    CHECK_GT(kith__load_rlx(&given_away), 0);
    CHECK_GT(kith__load_rlx(&deaths), 0);
    CHECK_EQ((int)kith_detach(self), 0);
    stress_end(rt);
    CHECK_EQ(descriptors(), before);
    sem_destroy(&listening);
}

TEST(one_worker)
{
    churn(1);
}

TEST(four_workers)
{
    churn(4);
}
