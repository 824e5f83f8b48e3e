/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Each worker's epoll loop. A worker sleeps in its own epoll_wait, to the deadline of its next
 * timer; an eventfd ends that wait, and a timerfd that all loops share is the watch (sched/watch.c).
 * The loop executor may have poll or select instead (io/loop_poll.c), and has no watch.
 *
 * Called by the scheduler through kith__pool_driver.
 *
 * Invariants
 *  L1. A wake is never swallowed. The eventfd is registered edge-triggered and never read: each
 *      write is a new edge, which saves the read. If a rescuer's poll takes the edge of a stalled
 *      worker's eventfd, it writes it again.
 *  L2. The watch wakes one sleeper and not all (EPOLLEXCLUSIVE).
 *  L3. Polling another worker's loop never waits.
 *
 * Why edge-triggered, once for each descriptor: no system call when interest changes, and none to
 * re-arm; whoever handles an event reads until there is nothing left (io/socket.c).
 */
#include "io/loop.h"
#include "base/clock.h"
#include "io/socket.h"
#include "sched/worker.h"
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS_MAX 64

/* What epoll hands back for the two descriptors that are no sockets: kinds that no handle has. */
#define DATA_WAKE ((uint64_t)KITH__KIND_NONE << 61 | 1)
#define DATA_WATCH ((uint64_t)KITH__KIND_NONE << 61 | 2)

struct kith__loop {
    int epoll;
    int wake;
    struct kith__polled *polled; /* instead of epoll, which is -1 then */
};

/* The watch's descriptor: one a runtime, kept beside the loops. */
struct kith__loops {
    int watch;
    struct kith__loop loop[];
};

static struct kith__loops *loops_of(struct kith_runtime *rt)
{
    return rt->loops;
}

static struct kith__loop *loop_of(struct kith__worker *w)
{
    return &loops_of(w->ctx.rt)->loop[w->index];
}

static size_t loops_bytes(const struct kith_runtime *rt)
{
    return sizeof(struct kith__loops) + rt->worker_count * sizeof(struct kith__loop);
}

static kith_err descriptor_error(void)
{
    return errno == ENOMEM ? KITH_ENOMEM : KITH_EMFILE;
}

static kith_err loops_open(struct kith_runtime *rt)
{
    struct kith__loops *loops = kith__alloc_zero(&rt->allocator, loops_bytes(rt), 16);
    if (loops == NULL)
        return KITH_ENOMEM;
    rt->loops = loops;
    for (uint32_t i = 0; i < rt->worker_count; i++)
        loops->loop[i] = (struct kith__loop){-1, -1, NULL};
    loops->watch = -1;
    if (rt->config.executor == KITH_LOOP)
        return KITH_OK;
    loops->watch = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return loops->watch >= 0 ? KITH_OK : descriptor_error();
}

static void descriptor_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void loops_close(struct kith_runtime *rt)
{
    struct kith__loops *loops = loops_of(rt);
    if (loops == NULL)
        return;
    descriptor_close(loops->watch);
    kith__free(&rt->allocator, loops, loops_bytes(rt));
    rt->loops = NULL;
}

static int add(int epoll, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static kith_err epoll_open(struct kith__worker *w, struct kith__loop *loop)
{
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0)
        return descriptor_error();
    int watch = loops_of(w->ctx.rt)->watch;
    if (add(loop->epoll, loop->wake, EPOLLIN | EPOLLET, DATA_WAKE) != 0 ||
        (watch >= 0 &&
         add(loop->epoll, watch, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, DATA_WATCH) != 0))
        return KITH_ENOMEM;
    return KITH_OK;
}

static kith_err loop_open(struct kith__worker *w)
{
    struct kith__loop *loop = loop_of(w);
    loop->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake < 0)
        return descriptor_error();
    if (w->ctx.rt->config.poller == KITH_EPOLL)
        return epoll_open(w, loop);
    return kith__polled_open(w->ctx.rt, loop->wake, DATA_WAKE, &loop->polled);
}

static void loop_close(struct kith__worker *w)
{
    if (w->ctx.rt->loops == NULL)
        return;
    kith__polled_close(loop_of(w)->polled);
    descriptor_close(loop_of(w)->epoll);
    descriptor_close(loop_of(w)->wake);
}

int kith__loop_descriptor(struct kith_runtime *rt)
{
    return loops_of(rt)->loop[0].epoll;
}

int kith__loop_add(struct kith__worker *of, int fd, uint64_t bits)
{
    if (KITH__UNLIKELY(loop_of(of)->polled != NULL))
        return kith__polled_add(loop_of(of)->polled, fd, bits);
    return add(loop_of(of)->epoll, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, bits);
}

void kith__loop_rearm_polled(struct kith_runtime *rt, int fd, uint32_t events)
{
    kith__polled_rearm(loops_of(rt)->loop[0].polled, fd, events);
}

void kith__loop_remove_polled(struct kith_runtime *rt, int fd)
{
    kith__polled_remove(loops_of(rt)->loop[0].polled, fd);
}

static void loop_wake(struct kith__worker *w)
{
    const uint64_t one = 1;
    uint64_t all;
    int fd = loop_of(w)->wake;
    /* After 2^64 wakes it is full: read once, it has an edge again. */
    while (write(fd, &one, sizeof one) < 0 && errno == EAGAIN)
        (void)!read(fd, &all, sizeof all);
}

static void loop_arm_watch(struct kith_runtime *rt, kith_time delay_ns)
{
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(delay_ns / KITH_SECOND),
                     .tv_nsec = (long)(delay_ns % KITH_SECOND)},
    };
    timerfd_settime(loops_of(rt)->watch, 0, &at, NULL);
}

static void on_watch(struct kith__worker *w, bool busy)
{
    uint64_t expirations;
    /* Whoever reads it is the one that looks; the others find nothing to read. */
    if (read(loops_of(w->ctx.rt)->watch, &expirations, sizeof expirations) > 0)
        kith__watch(w, busy);
}

static bool handle(struct kith__worker *w, struct kith__worker *of, bool busy,
                   const struct epoll_event *event)
{
    if (event->data.u64 == DATA_WATCH) {
        on_watch(w, busy);
        return false;
    }
    if (event->data.u64 == DATA_WAKE) {
        if (of != w)
            loop_wake(of); /* L1 */
        return false;
    }
    kith__sock_event(w, event->data.u64, event->events);
    return true;
}

static int wait_for(int epoll, struct epoll_event *events, kith_time deadline)
{
    if (deadline == KITH_NOWAIT)
        return epoll_wait(epoll, events, EVENTS_MAX, 0);
    if (deadline == KITH_FOREVER)
        return epoll_wait(epoll, events, EVENTS_MAX, -1);
    kith_time now = kith__clock_now();
    kith_time left = deadline > now ? deadline - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(left / KITH_SECOND),
                               .tv_nsec = (long)(left % KITH_SECOND)};
    int n = epoll_pwait2(epoll, events, EVENTS_MAX, &timeout, NULL);
    if (n < 0 && errno != EINTR) /* before Linux 5.11, or forbidden: milliseconds, rounded up */
        n = epoll_wait(epoll, events, EVENTS_MAX,
                       left / KITH_MS > 60000 ? 60000 : (int)(left / KITH_MS + 1));
    return n;
}

static bool loop_poll(struct kith__worker *w, struct kith__worker *of, kith_time deadline)
{
    struct epoll_event events[EVENTS_MAX];
    kith__assert(w == of || deadline == KITH_NOWAIT); /* L3 */
    struct kith__loop *loop = loop_of(of);
    int n = KITH__LIKELY(loop->polled == NULL)
                ? wait_for(loop->epoll, events, deadline)
                : kith__polled_wait(loop->polled, events, EVENTS_MAX, deadline);
    bool busy = deadline == KITH_NOWAIT;
    if (!busy)
        kith__unpark(w);
    bool any = false;
    for (int i = 0; i < n; i++)
        any |= handle(w, of, busy, &events[i]);
    return any;
}

static uint64_t worker_random(struct kith__worker *w)
{
    return kith__random_next(&w->ctx.random);
}

const struct kith__driver kith__pool_driver = {
    .open = loops_open,
    .close = loops_close,
    .open_worker = loop_open,
    .close_worker = loop_close,
    .now = kith__clock_now,
    .random = worker_random,
    .poll = loop_poll,
    .wake = loop_wake,
    .arm_watch = loop_arm_watch,
};
