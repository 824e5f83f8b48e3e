/* SPDX-License-Identifier: BSD-2-Clause
 *
 * W10, a chat room over TCP: what one member says, all members get. Deliveries a second.
 *
 * Check: each member gets each line, those of one member in order.
 * Threads: the dress's; the clients are one process of plain epoll.
 * The protocol, in records: a member says 0 when it has come; when all have come the room says 0 to
 * all. Then each member says 1, 2, 3 and so on, the next one when it has got its own last one back. So
 * no more lines are on their way than there are members.
 */
#include "contrast.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { MEMBERS_MAX = 64 };

static long members(void)
{
    return param_number();
}

static uint32_t lines(void)
{
    return (uint32_t)by_size(20, 100, 200);
}

/* ---- the clients ---- */

struct member_client {
    conn conn;
    uint32_t last[MEMBERS_MAX]; /* what each has said, as heard here */
};

static bool say(struct member_client *m, uint32_t line)
{
    record said = {.from = (uint32_t)m->conn.number, .value = line};
    return write_all(m->conn.fd, &said, sizeof said);
}

/* False: a line that is not the next one of whoever said it. */
static bool hear(struct member_client *m, const record *heard)
{
    if (heard->value == 0)
        return say(m, 1);
    if (heard->from >= (uint32_t)members() || heard->value != ++m->last[heard->from])
        return false;
    client->ops++;
    return heard->from != (uint32_t)m->conn.number || heard->value == lines() ||
           say(m, heard->value + 1);
}

static bool hear_all(struct member_client *m)
{
    unsigned char bytes[16384];
    record heard;
    ssize_t got = recv(m->conn.fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    const unsigned char *at = bytes;
    size_t n = (size_t)got;
    while (cut(&m->conn.cut, &at, &n, &heard)) {
        if (!hear(m, &heard))
            return false;
    }
    return true;
}

static bool chat_client(uint16_t port)
{
    static struct member_client all[MEMBERS_MAX];
    struct epoll_event events[MEMBERS_MAX];
    int fds[MEMBERS_MAX];
    int poll = epoll_create1(EPOLL_CLOEXEC);
    bool ok = client_connect(port, fds, members());
    for (long i = 0; ok && i < members(); i++) {
        struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = &all[i]}};
        all[i].conn.fd = fds[i];
        all[i].conn.number = i;
        ok = epoll_ctl(poll, EPOLL_CTL_ADD, fds[i], &event) == 0;
    }
    kith_time start = kith_now();
    for (long i = 0; ok && i < members(); i++)
        ok = say(&all[i], 0);
    uint64_t deliveries = (uint64_t)(members() * members()) * lines();
    while (ok && client->ops < deliveries) {
        int n = epoll_wait(poll, events, MEMBERS_MAX, -1);
        for (int i = 0; ok && i < n; i++)
            ok = hear_all(events[i].data.ptr);
    }
    client->seconds = seconds_since(start);
    return ok;
}

static void report_chat(bool served)
{
    const client_result *r = client_end();
    uint64_t deliveries = (uint64_t)(members() * members()) * lines();
    report("deliveries", (double)r->ops / r->seconds, "1/s",
           served && r->ok && r->ops == deliveries);
}

/* ---- handlers: callbacks, actors, stealing: a room, and an actor a member ---- */

KITH_MESSAGE(line, { record said; });

struct room {
    long count;
    kith_ref member[MEMBERS_MAX];
};

KITH_ON(room, line)
{
    if (msg->said.value == 0)
        me->member[me->count++] = kith_sender(self);
    for (long i = 0; (msg->said.value > 0 || me->count == members()) && i < me->count; i++)
        kith_send(self, me->member[i], line, .said = msg->said);
    return KITH_OK;
}

static const kith_behavior room = {
    .name = "room",
    .state_bytes = sizeof(struct room),
    .handlers = KITH_HANDLERS(room, line),
};

struct member {
    kith_ref room;
    kith_sock sock;
    cutter cut;
};

static kith_err member_init(KITH_UNUSED kith_self *self, void *state, const void *arg)
{
    ((struct member *)state)->room = *(const kith_ref *)arg;
    return KITH_OK;
}

KITH_ON(member, kith_given)
{
    me->sock = msg->sock;
    return KITH_OK;
}

KITH_ON(member, kith_data)
{
    record said;
    const unsigned char *at = msg->bytes;
    size_t n = msg->n;
    while (cut(&me->cut, &at, &n, &said))
        kith_send(self, me->room, line, .said = said);
    return KITH_OK;
}

KITH_ON(member, line)
{
    return kith_sock_write(self, me->sock, &msg->said, sizeof msg->said, kith_in(PATIENCE));
}

KITH_ON(member, kith_eof)
{
    return kith_stop(self, kith_self_ref(self));
}

static const kith_behavior member = {
    .name = "member",
    .state_bytes = sizeof(struct member),
    .init = member_init,
    .handlers = KITH_HANDLERS(member, kith_given, kith_data, line, kith_eof),
};

static void actors(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    kith_ref chat = spawn_placed(self, &room, NULL, 0);
    report_chat(serve_actors(self, co, &member, &chat, members()));
}

/* ---- fibers, csp: a room, and a fiber a member, which selects between its socket and the room ---- */

struct utterance {
    record said;
    kith_chan *out; /* with a 0: where the member is to be told */
};

static void room_fiber(kith_self *self, kith_co *co, void *arg)
{
    kith_chan *out[MEMBERS_MAX];
    long count = 0;
    struct utterance u;
    while (kith_chan_recv(co, arg, &u, KITH_FOREVER) == KITH_OK) {
        if (u.said.value == 0)
            out[count++] = u.out;
        for (long i = 0; (u.said.value > 0 || count == members()) && i < count; i++) {
            if (kith_chan_send(co, out[i], &u.said, KITH_FOREVER) != KITH_OK)
                kith_fail(self, KITH_EFAILED);
        }
    }
    while (count > 0)
        kith_chan_drop(out[--count]);
}

struct member_fiber {
    kith_sock sock;
    kith_chan *said; /* to the room */
    kith_chan *out;
    cutter cut;
};

/* Reads what there is and passes it on to the room; false: the member has left. */
static bool pass_on(kith_co *co, struct member_fiber *me)
{
    unsigned char bytes[4096];
    size_t n;
    struct utterance u = {.out = NULL};
    if (kith_read(co, me->sock, bytes, sizeof bytes, &n, KITH_FOREVER) != KITH_OK || n == 0)
        return false;
    const unsigned char *at = bytes;
    while (cut(&me->cut, &at, &n, &u.said)) {
        u.out = u.said.value == 0 ? kith_chan_keep(me->out) : NULL;
        if (kith_chan_send(co, me->said, &u, KITH_FOREVER) != KITH_OK)
            return false;
    }
    return true;
}

/* The room's sends never wait: there is room for a line of each member, and the beginning. */
static void member_fiber(kith_self *self, kith_co *co, void *arg)
{
    const struct served *served = arg;
    struct member_fiber me = {.sock = served->sock, .said = served->shared};
    record heard;
    bool here = true;
    me.out = kith_chan_new(self, sizeof heard, MEMBERS_MAX + 1);
    while (here) {
        switch (kith_select(co, KITH_CASES(KITH_READABLE(me.sock), KITH_RECV(me.out, &heard)),
                            KITH_FOREVER)) {
        case 0:
            here = pass_on(co, &me);
            break;
        case 1:
            here = kith_write(co, me.sock, &heard, sizeof heard, KITH_FOREVER) == KITH_OK;
            break;
        default:
            here = false;
        }
    }
    kith_chan_drop(me.out);
}

static void fibers(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    kith_chan *said = kith_chan_new(self, sizeof(struct utterance), MEMBERS_MAX);
    kith_scope *scope = kith_scope_new(co);
    kith_scope_go_with(self, scope, room_fiber, said, &(kith_fiber_options){.worker = place(0)});
    bool ok = serve_fibers(self, co, member_fiber, said, members());
    kith_chan_close(said);
    ok = kith_scope_leave_by(co, scope, kith_in(PATIENCE)) == KITH_OK && ok;
    report_chat(ok);
    kith_chan_drop(said);
}

/* ---- threads: a list under a mutex, held while all are told, so that all hear the same order ---- */

struct hall {
    pthread_mutex_t mutex;
    long count;
    int fd[MEMBERS_MAX];
};

static bool tell(struct hall *hall, int fd, const record *said)
{
    bool ok = true;
    pthread_mutex_lock(&hall->mutex);
    if (said->value == 0)
        hall->fd[hall->count++] = fd;
    for (long i = 0; ok && (said->value > 0 || hall->count == members()) && i < hall->count; i++)
        ok = write_all(hall->fd[i], said, sizeof *said);
    pthread_mutex_unlock(&hall->mutex);
    return ok;
}

static bool member_conn(conn *c, const unsigned char *bytes, size_t n)
{
    record said;
    bool ok = true;
    while (ok && cut(&c->cut, &bytes, &n, &said))
        ok = tell(c->shared, c->fd, &said);
    return ok;
}

static void threads(void)
{
    struct hall hall = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    report_chat(serve_threads(member_conn, &hall, members(), POOL_THREADS));
}

const workload w10_chat = {
    .name = "W10",
    .what = "a chat room over TCP",
    .params = {"8", "32", "64"},
    .kith = {[CALLBACKS] = actors,
             [FIBERS] = fibers,
             [CSP] = fibers,
             [ACTORS] = actors,
             [STEALING] = actors},
    .threads = threads,
    .client = chat_client,
};
