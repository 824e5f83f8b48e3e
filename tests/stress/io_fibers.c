/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Stress of io/wait.c and io/give.c: sockets of fibers, which wait, are canceled, run out of time and
 * hand their sockets to other fibers and to actors and back, while traffic goes on.
 * Run by: the test driver; --seed N repeats the random choices, KITH_STRESS=N does more.
 * What it holds: W1 to W7 (io/wait.c), V1 to V6 (io/give.c): no wake is lost (a question is answered, or
 *   the connection ends), nothing is read by two owners (answers are right and in order), a deadline or
 *   a cancellation in the middle of a read loses nothing, nothing is left at the end.
 * Threads: askers, who are fibers and attached threads with the same code; the workers, who run one
 *   fiber that accepts, fibers and actors that answer, and one actor that cancels.
 */
#include "tests/stress/stress.h"

#include "base/atomic.h"
#include <dirent.h>

#define ASKING_FIBERS 8
#define ASKING_THREADS 2
#define ROUND_BYTES_MAX 20000
#define ROOM 4096
#define NEVER kith_in(30 * KITH_SECOND)

static KITH__ATOMIC(uint64_t) answering[16]; /* fibers to be canceled; some are dead */
static KITH__ATOMIC(uint64_t) hand_of;       /* the actor */
static KITH__ATOMIC(uint64_t) answered;
static KITH__ATOMIC(uint64_t) given_away;
static KITH__ATOMIC(uint64_t) canceled;

KITH_MESSAGE(listening, { int port; });
KITH_MESSAGE(asked_all, { char none; });

/* ---- those who answer ---- */

static void answerer(kith_self *self, kith_co *co, void *arg);

static kith_err hand_to_fiber(kith_self *self, kith_sock sock)
{
    kith_fiber_options options = {.arg_bytes = sizeof sock, .sock = sock};
    kith_ref fiber = kith_go_with(self, answerer, &sock, &options);
    if (kith_ref_error(fiber) != KITH_OK)
        return kith_ref_error(fiber);
    kith__store_rlx(&answering[kith_random(self) % 16], fiber.bits);
    kith__add_rlx(&given_away, 1);
    return KITH_OK;
}

static kith_err hand_to_actor(kith_self *self, kith_sock sock)
{
    kith__add_rlx(&given_away, 1);
    return kith_sock_give(self, sock, (kith_ref){kith__load_rlx(&hand_of)});
}

/* What came is sent back; false: the connection is over, or a part of it was written. */
static bool answer_once(kith_self *self, kith_co *co, kith_sock sock, kith_err *read_err)
{
    unsigned char bytes[ROOM];
    size_t n;
    uint64_t chance = kith_random(self);
    kith_time by = chance % 7 == 0 ? kith_in(chance % 300 * KITH_US) : NEVER;
    *read_err = kith_read(co, sock, bytes, 1 + chance % ROOM, &n, by);
    if (*read_err == KITH_ETIMEOUT && by != NEVER)
        *read_err = KITH_OK;
    else if (*read_err == KITH_OK && n == 0)
        return false;
    if (*read_err != KITH_OK || n == 0)
        return *read_err == KITH_OK || *read_err == KITH_ECANCELED;
    return kith_write(co, sock, bytes, n, NEVER) == KITH_OK;
}

static void answerer(kith_self *self, kith_co *co, void *arg)
{
    kith_sock sock = *(kith_sock *)arg;
    kith_err err = KITH_OK;
    while (err == KITH_OK && answer_once(self, co, sock, &err)) {
        uint64_t chance = kith_random(self);
        if (chance % 9 == 0 && hand_to_fiber(self, sock) == KITH_OK)
            return;
        if (chance % 9 == 1 && hand_to_actor(self, sock) == KITH_OK)
            return;
        if (chance % 97 == 2)
            return; /* its end closes it */
    }
    /* Canceled in a read: all is as it was. */
    if (err == KITH_ECANCELED) {
        kith__add_rlx(&canceled, 1);
        if (hand_to_actor(self, sock) == KITH_OK)
            return;
    }
    (void)kith_close(self, sock);
}

struct hand {
    char none;
};

KITH_ON(hand, kith_given)
{
    (void)self;
    (void)me;
    (void)msg;
    return KITH_OK;
}

KITH_ON(hand, kith_data)
{
    (void)me;
    kith_err err = kith_sock_write(self, msg->sock, msg->bytes, msg->n, NEVER);
    if (err != KITH_OK)
        (void)kith_close(self, msg->sock);
    else if (kith_random(self) % 2 == 0)
        (void)hand_to_fiber(self, msg->sock);
    return KITH_OK;
}

KITH_ON(hand, kith_eof)
{
    (void)me;
    (void)kith_close(self, msg->sock);
    return KITH_OK;
}

KITH_ON(hand, kith_closed)
{
    (void)self;
    (void)me;
    (void)msg;
    return KITH_OK;
}

static const kith_behavior hand = {
    .name = "hand",
    .state_bytes = sizeof(struct hand),
    .handlers = KITH_HANDLERS(hand, kith_given, kith_data, kith_eof, kith_closed),
};

static void acceptor(kith_self *self, kith_co *co, void *arg)
{
    uint16_t port = 0;
    kith_sock conn;
    (void)arg;
    kith_sock listener = kith_listen(self, "127.0.0.1", 0, NULL);
    CHECK_EQ((int)kith_sock_local(self, listener, NULL, &port), 0);
    CHECK_EQ((int)kith_send(self, kith_parent(self), listening, .port = port), 0);
    kith_err err;
    while ((err = kith_accept(co, listener, KITH_FOREVER, &conn)) == KITH_OK)
        CHECK_EQ((int)hand_to_fiber(self, conn), 0);
    CHECK_EQ((int)err, (int)KITH_ECANCELED);
}

/* Cancels whoever answers, every now and then. */
static void canceler(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    while (kith_sleep(co, kith_in(200 * KITH_US)) == KITH_OK)
        (void)kith_stop(self, (kith_ref){kith__load_rlx(&answering[kith_random(self) % 16])});
}

/* ---- those who ask ---- */

struct asker {
    kith_co *co;
    kith_sock sock;
    uint16_t port;
    uint64_t rounds;
    unsigned char out[ROUND_BYTES_MAX];
    unsigned char in[ROUND_BYTES_MAX];
};

/* Reads n bytes; false if the connection ended first. Silence is a failure: a wake was lost. */
static bool read_back(struct asker *a, size_t n)
{
    size_t got = 0;
    for (size_t have = 0; have < n; have += got) {
        kith_err err = kith_read(a->co, a->sock, a->in + have, n - have, &got, NEVER);
        if (err == KITH_ETIMEOUT)
            FAIL("no answer");
        if (err != KITH_OK || got == 0)
            return false;
    }
    return true;
}

static bool ask_once(kith_self *self, struct asker *a)
{
    uint64_t chance = kith_random(self);
    size_t n = 1 + (size_t)(chance >> 8) % (chance % 16 == 0 ? ROUND_BYTES_MAX : 100);
    for (size_t i = 0; i < n; i++)
        a->out[i] = (unsigned char)(chance >> i % 57);
    if (a->sock.bits == 0)
        CHECK_EQ((int)kith_dial(a->co, "127.0.0.1", a->port, NEVER, NULL, &a->sock), 0);
    bool ok = kith_write(a->co, a->sock, a->out, n, NEVER) == KITH_OK && chance % 67 != 0 &&
              read_back(a, n);
    if (!ok) {
        CHECK_EQ((int)kith_close(self, a->sock), 0);
        a->sock = (kith_sock){0};
        return false;
    }
    CHECK(memcmp(a->in, a->out, n) == 0);
    return true;
}

static void ask_all(kith_self *self, kith_co *co, uint16_t port, uint64_t rounds)
{
    struct asker *a = calloc(1, sizeof *a);
    REQUIRE(a != NULL);
    a->co = co;
    a->port = port;
    for (uint64_t i = 0; i < rounds; i++)
        if (ask_once(self, a))
            kith__add_rlx(&answered, 1);
    free(a);
}

struct asking {
    kith_runtime *rt;
    uint16_t port;
    uint64_t rounds;
};

static void asking_fiber(kith_self *self, kith_co *co, void *arg)
{
    const struct asking *asking = arg;
    ask_all(self, co, asking->port, asking->rounds);
    CHECK_EQ((int)kith_send(self, kith_parent(self), asked_all), 0);
}

static void asking_thread(unsigned index, void *arg)
{
    const struct asking *asking = arg;
    kith_self *self;
    kith_co *co;
    (void)index;
    REQUIRE(kith_attach(asking->rt, &self, &co) == KITH_OK);
    ask_all(self, co, asking->port, asking->rounds);
    CHECK_EQ((int)kith_detach(self), 0); /* closes its socket */
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

static uint16_t serve(kith_self *self, kith_co *co, kith_ref *accepts, kith_ref *cancels)
{
    kith_msg *msg;
    kith__store_rlx(&hand_of, kith_spawn(self, &hand, NULL).bits);
    *accepts = kith_go(self, acceptor, NULL);
    *cancels = kith_go(self, canceler, NULL);
    if (kith_receive_only(co, listening, NEVER, &msg) != KITH_OK)
        return 0;
    return (uint16_t)kith_body(msg, listening)->port;
}

static void ask_from_everywhere(kith_self *self, kith_co *co, struct asking *asking)
{
    kith_msg *msg;
    for (int i = 0; i < ASKING_FIBERS; i++)
        CHECK_EQ((int)kith_ref_error(kith_go(self, asking_fiber, asking)), 0);
    stress_threads(ASKING_THREADS, asking_thread, asking);
    for (int i = 0; i < ASKING_FIBERS; i++)
        CHECK_EQ((int)kith_receive_only(co, asked_all, KITH_FOREVER, &msg), 0);
}

static void traffic(unsigned workers)
{
    kith_self *self;
    kith_co *co;
    kith_ref accepts;
    kith_ref cancels;
    struct asking asking = {.rounds = stress_times(5000)};
    int before = descriptors();
    stress_limit("sockets of fibers");
    kith__store_rlx(&answered, 0);
    kith__store_rlx(&given_away, 0);
    kith__store_rlx(&canceled, 0);
    asking.rt = stress_start(workers);
    REQUIRE(asking.rt != NULL);
    REQUIRE(kith_attach(asking.rt, &self, &co) == KITH_OK);
    asking.port = serve(self, co, &accepts, &cancels);
    REQUIRE(asking.port != 0);
    ask_from_everywhere(self, co, &asking);
    CHECK_GT(kith__load_rlx(&answered), asking.rounds * (ASKING_FIBERS + ASKING_THREADS) / 2);
    CHECK_GT(kith__load_rlx(&given_away), 0);
    CHECK_GT(kith__load_rlx(&canceled), 0);
    CHECK_EQ((int)kith_stop(self, accepts), 0);
    CHECK_EQ((int)kith_stop(self, cancels), 0);
    CHECK_EQ((int)kith_detach(self), 0);
    stress_end(asking.rt);
    CHECK_EQ(descriptors(), before);
}

TEST(one_worker)
{
    traffic(1);
}

TEST(two_workers)
{
    traffic(2);
}

TEST(four_workers)
{
    traffic(4);
}
