/* SPDX-License-Identifier: BSD-2-Clause
 *
 * poll and select as the loop executor's poller, for systems and sandboxes where epoll is not to be
 * had, and to hold what io does against a second and a third way of being told.
 *
 * Called by io/loop.c.
 *
 * Both report a state (level-triggered), io expects changes (edge-triggered, registered once). So
 * each descriptor has a set of what it is armed for; what was reported is not asked for again until
 * io says that it has used it up (kith__loop_rearm in loop.h).
 *
 * Invariants
 *  PO1. The table is under the lock. The system looks at a copy, which is home's, so others may add
 *       and remove meanwhile.
 *  PO2. Who adds or arms from another thread wakes home afterwards: either the copy was made later
 *       and has it, or home sleeps and is woken (by the argument of Y2 in sched/single.c).
 *  PO3. What the system reports for a number that names another descriptor by now is reported for
 *       that one: every event is a hint, the system call decides.
 *  PO4. A hang-up or an error, which poll reports unasked, is reported once, too: afterwards the
 *       descriptor is not looked at until it is armed again.
 *  PO5. While the system looks at a descriptor it holds what it stands for: a connection that
 *       another thread closes meanwhile would not end. So who removes one wakes home, too.
 *
 * select knows no hang-up: there a socket on which nobody reads or writes does not hear that its
 * peer is gone before it does. It takes descriptors below FD_SETSIZE only: others are refused with
 * EMFILE.
 */
#include "base/clock.h"
#include "io/loop.h"
#include "sched/single.h"
#include "sched/worker.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

_Static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLERR == EPOLLERR &&
                   POLLHUP == EPOLLHUP && POLLRDHUP == EPOLLRDHUP,
               "events are handed on as they are");

#define BOTH ((uint32_t)EPOLLIN | EPOLLOUT)
#define GONE ((uint32_t)EPOLLERR | EPOLLHUP)

struct entry {
    uint64_t bits;
    int fd;
    uint32_t armed;
    bool gone; /* PO4 */
};

struct kith__polled {
    struct kith_runtime *rt;
    bool by_select;
    pthread_mutex_t lock;
    struct entry *entries; /* the first is the eventfd */
    uint32_t count;
    uint32_t room;
    uint32_t *places; /* by descriptor: its entry's number; 0: none */
    uint32_t places_room;

    /* Home's. */
    struct pollfd *asked; /* the copy; with select, too: what came of it */
    uint32_t asked_room;
    uint32_t turn; /* the first to be reported, so that a full table is served in turn */
};

/* ---- the table ---- */

/* Room for n things of `bytes` each; false: out of memory, and nothing has changed. */
static bool grow(struct kith__polled *p, void **memory, uint32_t *room, uint32_t n, size_t bytes)
{
    if (n <= *room)
        return true;
    uint32_t more = *room != 0 ? *room : 16;
    while (more < n)
        more *= 2;
    void *grown = kith__alloc_zero(&p->rt->allocator, more * bytes, 16);
    if (grown == NULL)
        return false;
    if (*room != 0)
        memcpy(grown, *memory, *room * bytes);
    kith__free(&p->rt->allocator, *memory, *room * bytes);
    *memory = grown;
    *room = more;
    return true;
}

/* Under the lock. */
static struct entry *find(struct kith__polled *p, int fd)
{
    uint32_t at = (uint32_t)fd < p->places_room ? p->places[fd] : 0;
    return at != 0 ? &p->entries[at] : NULL;
}

/* Under the lock. */
static int append(struct kith__polled *p, int fd, uint64_t bits)
{
    void *entries = p->entries;
    void *places = p->places;
    bool room = grow(p, &entries, &p->room, p->count + 1, sizeof *p->entries) &&
                grow(p, &places, &p->places_room, (uint32_t)fd + 1, sizeof *p->places);
    p->entries = entries;
    p->places = places;
    if (!room)
        return -ENOMEM;
    p->entries[p->count] = (struct entry){bits, fd, p->count == 0 ? EPOLLIN : BOTH, false};
    p->places[fd] = p->count++;
    return 0;
}

static bool too_high(const struct kith__polled *p, int fd)
{
    return p->by_select && fd >= FD_SETSIZE;
}

static void wake_home(struct kith__polled *p)
{
    if (!kith__single_home(p->rt))
        kith__wake_worker(&p->rt->workers[0]); /* PO2 */
}

int kith__polled_add(struct kith__polled *p, int fd, uint64_t bits)
{
    if (too_high(p, fd))
        return -EMFILE;
    pthread_mutex_lock(&p->lock);
    int error = append(p, fd, bits);
    pthread_mutex_unlock(&p->lock);
    wake_home(p);
    return error;
}

void kith__polled_rearm(struct kith__polled *p, int fd, uint32_t events)
{
    pthread_mutex_lock(&p->lock);
    struct entry *e = find(p, fd);
    bool news = e != NULL && ((e->armed & events) != events || e->gone);
    if (news) {
        e->armed |= events;
        e->gone = false;
    }
    pthread_mutex_unlock(&p->lock);
    if (news)
        wake_home(p);
}

void kith__polled_remove(struct kith__polled *p, int fd)
{
    pthread_mutex_lock(&p->lock);
    struct entry *e = find(p, fd);
    if (e != NULL) {
        struct entry *last = &p->entries[--p->count];
        p->places[last->fd] = (uint32_t)(e - p->entries);
        *e = *last;
        p->places[fd] = 0;
    }
    pthread_mutex_unlock(&p->lock);
    if (e != NULL)
        wake_home(p); /* PO5 */
}

/* ---- open and close ---- */

static kith_err fill(struct kith__polled *p, int wake, uint64_t wake_bits)
{
    if (too_high(p, wake))
        return KITH_EMFILE;
    return append(p, wake, wake_bits) == 0 ? KITH_OK : KITH_ENOMEM;
}

kith_err kith__polled_open(struct kith_runtime *rt, int wake, uint64_t wake_bits,
                           struct kith__polled **out)
{
    struct kith__polled *p = kith__alloc_zero(&rt->allocator, sizeof *p, 16);
    if (p == NULL)
        return KITH_ENOMEM;
    p->rt = rt;
    p->by_select = rt->config.poller == KITH_SELECT;
    pthread_mutex_init(&p->lock, NULL);
    *out = p;
    return fill(p, wake, wake_bits);
}

void kith__polled_close(struct kith__polled *p)
{
    if (p == NULL)
        return;
    const kith_allocator *allocator = &p->rt->allocator;
    kith__free(allocator, p->entries, p->room * sizeof *p->entries);
    kith__free(allocator, p->places, p->places_room * sizeof *p->places);
    kith__free(allocator, p->asked, p->asked_room * sizeof *p->asked);
    pthread_mutex_destroy(&p->lock);
    kith__free(allocator, p, sizeof *p);
}

/* ---- waiting ---- */

/* PO1: how many; 0 if there is no memory for so many more (then nothing is heard this time). */
static uint32_t ask(struct kith__polled *p)
{
    pthread_mutex_lock(&p->lock);
    void *asked = p->asked;
    uint32_t n = p->count;
    if (!grow(p, &asked, &p->asked_room, n, sizeof *p->asked))
        n = p->asked_room;
    p->asked = asked;
    for (uint32_t i = 0; i < n; i++) {
        const struct entry *e = &p->entries[i];
        uint32_t events = e->armed | ((e->armed & EPOLLIN) != 0 ? EPOLLRDHUP : 0u);
        p->asked[i] = (struct pollfd){e->gone ? -1 : e->fd, (short)events, 0};
    }
    pthread_mutex_unlock(&p->lock);
    return n;
}

static struct timespec *time_left(kith_time deadline, struct timespec *left)
{
    if (deadline == KITH_FOREVER)
        return NULL;
    kith_time now = deadline == KITH_NOWAIT ? 0 : kith__clock_now();
    kith_time ns = deadline > now ? deadline - now : 0;
    left->tv_sec = (time_t)(ns / KITH_SECOND);
    left->tv_nsec = (long)(ns % KITH_SECOND);
    return left;
}

static int select_now(struct pollfd *asked, uint32_t n, const struct timespec *left)
{
    fd_set in, out;
    int most = -1;
    FD_ZERO(&in);
    FD_ZERO(&out);
    for (uint32_t i = 0; i < n; i++) {
        int fd = asked[i].fd;
        if (fd < 0)
            continue;
        if ((asked[i].events & POLLIN) != 0)
            FD_SET(fd, &in);
        if ((asked[i].events & POLLOUT) != 0)
            FD_SET(fd, &out);
        most = fd > most ? fd : most;
    }
    int ready = pselect(most + 1, &in, &out, NULL, left, NULL);
    for (uint32_t i = 0; ready > 0 && i < n; i++) {
        int fd = asked[i].fd;
        if (fd >= 0 && FD_ISSET(fd, &in))
            asked[i].revents |= POLLIN;
        if (fd >= 0 && FD_ISSET(fd, &out))
            asked[i].revents |= POLLOUT;
    }
    return ready;
}

/* Under the lock: what is to be reported of an entry, once. */
static uint32_t report(struct entry *e, uint32_t seen)
{
    if ((seen & POLLNVAL) != 0)
        seen |= EPOLLERR;
    e->armed &= ~seen;
    if ((seen & EPOLLRDHUP) != 0)
        e->armed &= ~(uint32_t)EPOLLIN;
    if ((seen & GONE) != 0) {
        e->gone = true; /* PO4 */
        e->armed = 0;
    }
    return seen & (BOTH | GONE | EPOLLRDHUP);
}

/* Under the lock. */
static struct entry *entry_of(struct kith__polled *p, const struct pollfd *asked)
{
    if (asked->fd < 0 || asked->revents == 0)
        return NULL;
    return asked->fd == p->entries[0].fd ? &p->entries[0] : find(p, asked->fd);
}

/* If a wake was reported: it is used up. */
static void wake_read(struct kith__polled *p)
{
    uint64_t writes;
    if (p->entries[0].armed != 0)
        return;
    (void)!read(p->entries[0].fd, &writes, sizeof writes);
    p->entries[0].armed = EPOLLIN;
}

/* Under the lock. */
static int reports(struct kith__polled *p, uint32_t n, struct epoll_event *events, int max)
{
    int found = 0;
    uint32_t i = 0;
    for (; i < n && found < max; i++) {
        const struct pollfd *asked = &p->asked[(p->turn + i) % n];
        struct entry *e = entry_of(p, asked);
        if (e == NULL)
            continue;
        events[found].events = report(e, (uint16_t)asked->revents);
        events[found++].data.u64 = e->bits;
    }
    p->turn = (p->turn + i) % n;
    wake_read(p);
    return found;
}

int kith__polled_wait(struct kith__polled *p, struct epoll_event *events, int max,
                      kith_time deadline)
{
    struct timespec left;
    uint32_t n = ask(p);
    const struct timespec *until = time_left(deadline, &left);
    int ready = p->by_select ? select_now(p->asked, n, until) : ppoll(p->asked, n, until, NULL);
    if (ready <= 0)
        return ready;
    kith__assert(n > 0); /* who was asked nothing reports nothing */
    pthread_mutex_lock(&p->lock);
    int found = reports(p, n, events, max);
    pthread_mutex_unlock(&p->lock);
    return found;
}
