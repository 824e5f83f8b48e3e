/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Threads that hand jobs to a loop executor and wait for the results: 1,000,000 (under every
 * sanitizer, too), by 4 threads, to actors and to fibers, by send and receive and by ask, while home
 * runs the loop, or leaves it again and again, as a foreign loop does.
 *
 * What must hold: each job has its result, once, and the right one; no wake is lost (home sleeps,
 * and so does every thread, again and again).
 */
#include "base/atomic.h"
#include "tests/stress/stress.h"

#include <poll.h>

enum { THREADS = 4, WINDOW = 64, SERVERS = 8 };

KITH_MESSAGE(job, {
    uint64_t number;
    uint32_t thread;
});
KITH_MESSAGE(result, {
    uint64_t number;
    uint64_t square;
});

struct server {
    uint64_t served;
};

KITH_ON(server, job)
{
    me->served++;
    return kith_reply(self, result, .number = msg->number, .square = msg->number * msg->number);
}

static const kith_behavior server = {
    .name = "server", .state_bytes = sizeof(struct server), .handlers = KITH_HANDLERS(server, job)};

static void fiber_server(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)arg;
    while (kith_receive(co, KITH_FOREVER, &msg) == KITH_OK) {
        const job *it = kith_body(msg, job);
        if (it == NULL)
            continue;
        uint64_t number = it->number;
        kith_reply(self, result, .number = number, .square = number * number);
    }
}

struct crowd {
    kith_runtime *rt;
    kith_ref servers[SERVERS];
    uint64_t sends; /* of each thread */
    uint64_t asks;
    KITH__ATOMIC(uint32_t) running;
};

static bool right(kith_msg *msg, uint64_t *sum)
{
    const result *r = kith_body(msg, result);
    if (r == NULL || r->square != r->number * r->number)
        return false;
    *sum += r->number;
    return true;
}

/* WINDOW of them under way; their numbers, added up, say that each came once. */
static void send_jobs(kith_self *self, kith_co *co, struct crowd *crowd, unsigned index)
{
    uint64_t sent = 0;
    uint64_t sum = 0;
    kith_msg *msg;
    for (uint64_t received = 0; received < crowd->sends; received++) {
        for (; sent < crowd->sends && sent < received + WINDOW; sent++)
            CHECK_EQ(kith_send(self, crowd->servers[(index + sent) % SERVERS], job,
                               .number = sent + 1, .thread = index),
                     KITH_OK);
        kith_err err = kith_receive(co, kith_in(STRESS_PATIENCE_NS), &msg);
        CHECK_EQ(err, KITH_OK);
        if (err != KITH_OK || !right(msg, &sum)) {
            FAIL("a wrong result, or none");
            return;
        }
    }
    CHECK_EQ(sum, crowd->sends * (crowd->sends + 1) / 2);
}

static void ask_jobs(kith_co *co, struct crowd *crowd, unsigned index)
{
    kith_msg *reply;
    uint64_t sum = 0;
    for (uint64_t i = 1; i <= crowd->asks; i++) {
        kith_err err =
            kith_ask(co, crowd->servers[(index + i) % SERVERS], kith_in(STRESS_PATIENCE_NS), &reply,
                     job, .number = i, .thread = index);
        CHECK_EQ(err, KITH_OK);
        if (err != KITH_OK || !right(reply, &sum))
            return;
    }
    CHECK_EQ(sum, crowd->asks * (crowd->asks + 1) / 2);
}

static void give_jobs(unsigned index, void *arg)
{
    struct crowd *crowd = arg;
    kith_self *self;
    kith_co *co;
    CHECK_EQ(kith_attach(crowd->rt, &self, &co), KITH_OK);
    send_jobs(self, co, crowd, index);
    ask_jobs(co, crowd, index);
    CHECK_EQ(kith_detach(self), KITH_OK);
    if (kith__sub_seq(&crowd->running, 1) == 1)
        CHECK_EQ(kith_loop_stop(crowd->rt), KITH_OK);
}

static void *threads_run(void *arg)
{
    stress_threads(THREADS, give_jobs, arg);
    return NULL;
}

static kith_runtime *crowd_open(struct crowd *crowd, uint64_t sends, uint64_t asks,
                                kith_poller poller)
{
    kith_config config = {
        .executor = KITH_LOOP, .poller = poller, .seed = test_seed() | 1, .log = stress_log};
    kith_self *self;
    CHECK_EQ(kith_start(&config, &crowd->rt), KITH_OK);
    CHECK_EQ(kith_attach(crowd->rt, &self, NULL), KITH_OK);
    for (int i = 0; i < SERVERS; i++)
        crowd->servers[i] =
            i % 2 == 0 ? kith_spawn(self, &server, NULL) : kith_go(self, fiber_server, NULL);
    CHECK_EQ(kith_detach(self), KITH_OK);
    crowd->sends = sends / THREADS;
    crowd->asks = asks / THREADS;
    kith__store_seq(&crowd->running, THREADS);
    return crowd->rt;
}

static void by_run(struct crowd *crowd)
{
    CHECK_EQ(kith_loop_run(crowd->rt, KITH_FOREVER), KITH_OK); /* the last thread stops it */
}

/* A loop of another kind, which knows kith's descriptor and deadline only. */
static void by_descriptor(struct crowd *crowd)
{
    int fd;
    CHECK_EQ(kith_loop_fd(crowd->rt, &fd), KITH_OK);
    while (kith__load_seq(&crowd->running) != 0) {
        struct pollfd one = {.fd = fd, .events = POLLIN};
        bool now = kith_loop_deadline(crowd->rt) == KITH_NOWAIT;
        poll(&one, 1, now ? 0 : (int)(STRESS_PATIENCE_NS / KITH_MS));
        CHECK_EQ(kith_loop_run(crowd->rt, KITH_NOWAIT), KITH_OK);
    }
}

static void jobs(const char *name, uint64_t sends, uint64_t asks, kith_poller poller,
                 void (*run)(struct crowd *crowd))
{
    struct crowd crowd;
    pthread_t threads;
    stress_limit(name);
    crowd_open(&crowd, sends, asks, poller);
    if (pthread_create(&threads, NULL, threads_run, &crowd) != 0)
        abort();
    run(&crowd);
    pthread_join(threads, NULL);
    stress_end(crowd.rt);
}

TEST(jobs_while_home_runs_the_loop)
{
    jobs("jobs_while_home_runs_the_loop", 1000000, stress_times(40000), KITH_EPOLL, by_run);
}

TEST(jobs_while_home_is_in_a_foreign_loop)
{
    jobs("jobs_while_home_is_in_a_foreign_loop", stress_times(200000), stress_times(40000),
         KITH_EPOLL, by_descriptor);
}

TEST(jobs_with_poll)
{
    jobs("jobs_with_poll", stress_times(100000), stress_times(20000), KITH_POLL, by_run);
}

TEST(jobs_with_select)
{
    jobs("jobs_with_select", stress_times(100000), stress_times(20000), KITH_SELECT, by_run);
}
