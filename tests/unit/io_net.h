/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the tests of sockets share: an actor that does what it is told and forwards what it hears,
 * and plain sockets of the system's as its peers.
 *
 * The test's main thread is attached. It tells a port actor what to do by kith_ask (tell), and gets
 * every message about a socket as the actor got it (NEXT). So a test reads from top to bottom.
 *
 * An event of a socket may be on its way to the actor at any time, and takes along whatever has come
 * until it is looked at: it may be handled before or between the orders of a test. What is to
 * happen before the actor looks at a socket again therefore stands in one order, which is one
 * handler, and what is to happen meanwhile waits until that handler stands at the gate.
 *
 * Invariants: net_end checks that no descriptor, no socket, no message and no byte of memory is
 * left; nothing waits for longer than NET_WAIT.
 */
#ifndef KITH_TESTS_UNIT_IO_NET_H
#define KITH_TESTS_UNIT_IO_NET_H

#include "base/atomic.h"
#include "tests/unit/home.h"
#include "tests/unit/test.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <kith.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef NET_WAIT
#define NET_WAIT (20 * KITH_SECOND)
#endif

enum net_op {
    NET_LISTEN,
    NET_CONNECT,
    NET_CONNECT_WAIT, /* connects, then waits for net_gate */
    NET_WRITE,        /* n bytes of the pattern from offset */
    NET_READ_BY,
    NET_READ_BY_BACK, /* sets a read deadline and takes it back, in one handler */
    NET_READING,
    NET_FINISH,
    NET_CLOSE,
    NET_GIVE,
    NET_WAITING,
    NET_LOCAL,
    NET_PEER,
    NET_WRITE_GONE,  /* writes twice, in one handler, to a peer that has gone */
    NET_WRITE_CLOSE, /* writes, sets a read deadline, and closes, in one handler */
    NET_GIVE_SAY,    /* gives, and sends the receiver an answer, in one handler */
    NET_STOP
};

KITH_MESSAGE(order, {
    enum net_op op;
    kith_sock sock;
    kith_ref to;
    kith_time deadline;
    size_t n;
    size_t offset;
    bool on;
    bool gate; /* first meets the test at the gate, in the same handler */
    bool give; /* then gives the socket to `to`, in the same handler */
    uint16_t port;
    const char *address;
    const kith_sock_options *options;
});

KITH_MESSAGE(answer, {
    kith_err err;
    kith_sock sock;
    size_t n;
    uint16_t port;
    char text[KITH_ADDRESS_BYTES];
});

static sem_t net_gate TEST_UNUSED;
static sem_t net_at_gate TEST_UNUSED; /* the actor stands there */

static TEST_UNUSED void net_gate_make(void)
{
    sem_init(&net_gate, 0, 0);
    sem_init(&net_at_gate, 0, 0);
}

static TEST_UNUSED void net_gate_unmake(void)
{
    sem_destroy(&net_gate);
    sem_destroy(&net_at_gate);
}

/* The actor is in the handler of its order with .gate: it looks at no socket until sem_post. */
static TEST_UNUSED void net_gate_reached(void)
{
    struct timespec by;
    clock_gettime(CLOCK_REALTIME, &by);
    by.tv_sec += (time_t)(NET_WAIT / KITH_SECOND);
    CHECK_EQ(sem_timedwait(&net_at_gate, &by), 0);
}

/* Called by the actor in the same handler, after what it was told: a look inside. */
static size_t (*net_probe)(kith_self *self);

/* The bytes that everybody sends: the one at a position is known. */
static TEST_UNUSED unsigned char net_byte(size_t at)
{
    return (unsigned char)(at * 7 + at / 251);
}

static TEST_UNUSED void net_fill(unsigned char *bytes, size_t n, size_t offset)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = net_byte(offset + i);
}

static TEST_UNUSED bool net_right(const unsigned char *bytes, size_t n, size_t offset)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != net_byte(offset + i))
            return false;
    return true;
}

/* ---- the actor ---- */

struct port {
    kith_ref report; /* who gets what it hears */
};

static kith_err port_init(kith_self *self, void *me, const void *arg)
{
    (void)arg;
    ((struct port *)me)->report = kith_parent(self);
    return KITH_OK;
}

static kith_err port_write(kith_self *self, const order *msg)
{
    unsigned char *bytes = malloc(msg->n + 1);
    if (bytes == NULL)
        return KITH_ENOMEM;
    net_fill(bytes, msg->n, msg->offset);
    kith_err err = kith_sock_write(self, msg->sock, bytes, msg->n, msg->deadline);
    free(bytes);
    return err;
}

static void port_do(kith_self *self, const order *msg, answer *out)
{
    switch (msg->op) {
    case NET_LISTEN:
        out->sock = kith_listen(self, msg->address, msg->port, msg->options);
        out->err = kith_sock_error(out->sock);
        break;
    case NET_CONNECT:
        out->sock = kith_connect(self, msg->address, msg->port, msg->deadline, msg->options);
        out->err = kith_sock_error(out->sock);
        break;
    case NET_CONNECT_WAIT:
        out->sock = kith_connect(self, msg->address, msg->port, msg->deadline, msg->options);
        out->err = kith_sock_error(out->sock);
        sem_wait(&net_gate);
        break;
    case NET_WRITE_GONE:
        out->err = port_write(self, msg); /* finds that it has gone, which the actor will hear */
        CHECK_EQ((int)port_write(self, msg), (int)KITH_ENOTCONN);
        break;
    case NET_WRITE:
        out->err = port_write(self, msg);
        break;
    case NET_READ_BY:
        out->err = kith_sock_read_by(self, msg->sock, msg->deadline);
        break;
    case NET_READ_BY_BACK:
        CHECK_EQ((int)kith_sock_read_by(self, msg->sock, msg->deadline), 0);
        out->err = kith_sock_read_by(self, msg->sock, KITH_FOREVER);
        break;
    case NET_READING:
        out->err = kith_sock_reading(self, msg->sock, msg->on);
        break;
    case NET_FINISH:
        out->err = kith_sock_finish(self, msg->sock);
        break;
    case NET_WRITE_CLOSE:
        out->err = port_write(self, msg);
        CHECK_EQ((int)kith_sock_read_by(self, msg->sock, msg->deadline), 0);
        CHECK_GT(kith_sock_waiting(self, msg->sock), 0);
        CHECK_EQ((int)kith_close(self, msg->sock), 0);
        break;
    case NET_GIVE_SAY:
        out->err = kith_sock_give(self, msg->sock, msg->to);
        CHECK_EQ((int)kith_send(self, msg->to, answer), 0);
        break;
    case NET_CLOSE:
        out->err = kith_close(self, msg->sock);
        break;
    case NET_GIVE:
        out->err = kith_sock_give(self, msg->sock, msg->to);
        break;
    case NET_WAITING:
        out->n = kith_sock_waiting(self, msg->sock);
        break;
    case NET_LOCAL:
        out->err = kith_sock_local(self, msg->sock, out->text, &out->port);
        break;
    case NET_PEER:
        out->err = kith_sock_peer(self, msg->sock, out->text, &out->port);
        break;
    case NET_STOP:
        out->err = kith_stop(self, kith_self_ref(self));
        break;
    }
}

KITH_ON(port, order)
{
    answer out = {.err = KITH_OK, .sock = msg->sock};
    if (msg->gate) {
        sem_post(&net_at_gate);
        sem_wait(&net_gate);
    }
    port_do(self, msg, &out);
    if (msg->give && out.err == KITH_OK)
        out.err = kith_sock_give(self, out.sock, msg->to);
    if (net_probe != NULL)
        out.n = net_probe(self);
    while (kith_reply_copy(self, &kith_type_answer, &out) == KITH_ENOMEM)
        ; /* a test that makes allocations fail makes the next one work */
    return KITH_OK;
}

#define PORT_FORWARD(T)                                                                            \
    KITH_ON(port, T)                                                                               \
    {                                                                                              \
        (void)kith_forward(self, me->report);                                                      \
        return KITH_OK;                                                                            \
    }
PORT_FORWARD(kith_accepted)
PORT_FORWARD(kith_connected)
PORT_FORWARD(kith_data)
PORT_FORWARD(kith_eof)
PORT_FORWARD(kith_drained)
PORT_FORWARD(kith_closed)
PORT_FORWARD(kith_given)
PORT_FORWARD(answer)

static const kith_behavior port_behavior TEST_UNUSED = {
    .name = "port",
    .state_bytes = sizeof(struct port),
    .handlers = KITH_HANDLERS(port, order, kith_accepted, kith_connected, kith_data, kith_eof,
                              kith_drained, kith_closed, kith_given, answer),
    .init = port_init,
};

/* ---- a runtime, and what is left of it ---- */

struct net {
    kith_runtime *rt;
    kith_self *self;
    kith_co *co;
    kith_ref port;
    kith_msg *msg; /* received last */
    int descriptors;
    bool skip_drained; /* how much the system takes, and when, is its own affair */
};

static KITH__ATOMIC(uint32_t) net_errors_logged;
static KITH__ATOMIC(uint32_t) net_pauses_logged;
static KITH__ATOMIC(int64_t) net_bytes_out;

static void net_log(void *arg, kith_log_level level, const char *text)
{
    (void)arg;
    if (strstr(text, "a listener pauses") != NULL)
        kith__add_rlx(&net_pauses_logged, 1);
    if (level >= KITH_LOG_ERROR) {
        printf("\n    logged: %s", text);
        kith__add_rlx(&net_errors_logged, 1);
    }
}

/* For a test that makes allocations fail: whether this one does. */
static bool (*net_alloc_fails)(void);

static void *net_alloc(void *arg, size_t bytes, size_t align)
{
    (void)arg;
    if (net_alloc_fails != NULL && net_alloc_fails())
        return NULL;
    kith__add_rlx(&net_bytes_out, (int64_t)bytes);
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}

static void net_free(void *arg, void *memory, size_t bytes)
{
    (void)arg;
    if (memory != NULL)
        kith__sub_rlx(&net_bytes_out, (int64_t)bytes);
    free(memory);
}

static TEST_UNUSED int net_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = -1; /* its own */
    while (dir != NULL && readdir(dir) != NULL)
        n++;
    if (dir != NULL)
        closedir(dir);
    return n;
}

static TEST_UNUSED kith_ref net_port(struct net *net)
{
    kith_ref port = kith_spawn(net->self, &port_behavior, NULL);
    CHECK_EQ((int)kith_ref_error(port), 0);
    return port;
}

static unsigned net_workers TEST_UNUSED = 2;
static kith_executor net_executor TEST_UNUSED; /* io_backends.h */
static kith_poller net_poller TEST_UNUSED;

static TEST_UNUSED bool net_begin(struct net *net)
{
    *net = (struct net){.descriptors = net_descriptors()};
    kith__store_rlx(&net_errors_logged, 0);
    kith__store_rlx(&net_pauses_logged, 0);
    kith_config config = {
        .workers = net_workers,
        .executor = net_executor,
        .poller = net_poller,
        .log = net_log,
        .allocator = {net_alloc, net_free, NULL},
    };
    kith_err err = home_start(&config, &net->rt);
    if (err == KITH_OK)
        err = kith_attach(net->rt, &net->self, &net->co);
    CHECK_EQ((int)err, 0);
    if (err == KITH_OK)
        net->port = net_port(net);
    return err == KITH_OK;
}

static TEST_UNUSED void net_end(struct net *net)
{
    CHECK_EQ((int)kith_detach(net->self), 0);
    CHECK_EQ((int)home_shutdown(net->rt, kith_in(NET_WAIT)), 0);
    CHECK_EQ(kith__load_rlx(&net_errors_logged), 0);
    CHECK_EQ(kith__load_rlx(&net_bytes_out), 0);
    CHECK_EQ(net_descriptors(), net->descriptors);
}

/* ---- talking to the actor ---- */

static TEST_UNUSED answer net_ask(struct net *net, kith_ref port, const order *what)
{
    kith_msg *reply;
    kith_err err = kith_ask_copy(net->co, port, kith_in(NET_WAIT), &reply, &kith_type_order, what);
    if (err != KITH_OK)
        return (answer){.err = err};
    return *kith_body(reply, answer);
}

#define TELL(net, ...) net_ask((net), (net)->port, &(const order){__VA_ARGS__})
#define TELL_TO(net, port, ...) net_ask((net), (port), &(const order){__VA_ARGS__})

/* The next message, if it is of this type; else a failed check and NULL. */
static TEST_UNUSED const void *net_next(struct net *net, const kith_type *type, const char *file,
                                        int line)
{
    kith_err err;
    do
        err = kith_receive(net->co, kith_in(NET_WAIT), &net->msg);
    while (err == KITH_OK && net->skip_drained && kith_body(net->msg, kith_drained) != NULL);
    if (err != KITH_OK) {
        test_fail(file, line, "no %s: %s", type->name, kith_strerror(err));
        return NULL;
    }
    const void *body = kith_body_of(net->msg, type);
    if (body == NULL)
        test_fail(file, line, "%s came, not %s", kith_msg_name(net->msg), type->name);
    return body;
}

#define NEXT(net, T) ((const T *)net_next((net), &kith_type_##T, __FILE__, __LINE__))

/* Input until n bytes have come; they must be the pattern from offset. */
static TEST_UNUSED void net_expect(struct net *net, kith_sock sock, size_t n, size_t offset)
{
    for (size_t got = 0; got < n;) {
        const kith_data *data = NEXT(net, kith_data);
        REQUIRE(data != NULL);
        REQUIRE(data->n > 0 && data->n <= n - got);
        CHECK(kith_sock_same(data->sock, sock));
        REQUIRE(net_right(data->bytes, data->n, offset + got));
        got += data->n;
    }
}

static TEST_UNUSED void net_expect_closed(struct net *net, kith_sock sock, kith_err reason)
{
    const kith_closed *closed = NEXT(net, kith_closed);
    REQUIRE(closed != NULL);
    CHECK(kith_sock_same(closed->sock, sock));
    CHECK_EQ((int)closed->reason, (int)reason);
    CHECK_EQ((int)TELL(net, .op = NET_CLOSE, .sock = sock).err, (int)KITH_EBADREF);
}

/* ---- plain peers ---- */

static TEST_UNUSED void peer_patience(int fd)
{
    struct timeval wait = {.tv_sec = (time_t)(NET_WAIT / KITH_SECOND)};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
}

static TEST_UNUSED struct sockaddr_in peer_at(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
}

static TEST_UNUSED int peer_connect(uint16_t port)
{
    struct sockaddr_in at = peer_at(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    peer_patience(fd);
    CHECK_EQ(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static TEST_UNUSED int peer_listen(int backlog, uint16_t *port)
{
    struct sockaddr_in at = peer_at(0);
    socklen_t bytes = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    peer_patience(fd);
    CHECK_EQ(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    CHECK_EQ(listen(fd, backlog), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static TEST_UNUSED int peer_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(fd >= 0);
    peer_patience(fd);
    return fd;
}

static TEST_UNUSED void peer_send(int fd, size_t n, size_t offset)
{
    unsigned char bytes[4096];
    while (n > 0) {
        size_t now = n < sizeof bytes ? n : sizeof bytes;
        net_fill(bytes, now, offset);
        ssize_t out = send(fd, bytes, now, MSG_NOSIGNAL);
        REQUIRE(out > 0);
        offset += (size_t)out;
        n -= (size_t)out;
    }
}

static TEST_UNUSED void peer_expect(int fd, size_t n, size_t offset)
{
    unsigned char bytes[4096];
    while (n > 0) {
        ssize_t in = recv(fd, bytes, n < sizeof bytes ? n : sizeof bytes, 0);
        REQUIRE(in > 0);
        REQUIRE(net_right(bytes, (size_t)in, offset));
        offset += (size_t)in;
        n -= (size_t)in;
    }
}

/* The other side has finished sending. */
static TEST_UNUSED void peer_expect_end(int fd)
{
    char byte;
    CHECK_EQ(recv(fd, &byte, 1, 0), 0);
}

/* Ends with a reset instead of an orderly end. */
static TEST_UNUSED void peer_reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

/* ---- a connection, from both sides ---- */

struct link {
    kith_sock listener;
    uint16_t port;
    kith_sock sock;
    int peer;
};

static TEST_UNUSED bool net_listen(struct net *net, struct link *link,
                                   const kith_sock_options *options)
{
    answer a = TELL(net, .op = NET_LISTEN, .address = "127.0.0.1", .options = options);
    CHECK_EQ((int)a.err, 0);
    link->listener = a.sock;
    link->port = TELL(net, .op = NET_LOCAL, .sock = a.sock).port;
    CHECK(link->port != 0);
    return a.err == KITH_OK;
}

static TEST_UNUSED bool net_accept(struct net *net, struct link *link)
{
    link->peer = peer_connect(link->port);
    const kith_accepted *in = NEXT(net, kith_accepted);
    if (in == NULL)
        return false;
    CHECK(kith_sock_same(in->listener, link->listener));
    link->sock = in->conn;
    return true;
}

static TEST_UNUSED bool net_link(struct net *net, struct link *link,
                                 const kith_sock_options *options)
{
    return net_listen(net, link, options) && net_accept(net, link);
}

/* A byte there and back: the connection lives. */
static TEST_UNUSED void net_lives(struct net *net, kith_ref port, kith_sock sock, int peer)
{
    peer_send(peer, 3, 40);
    net_expect(net, sock, 3, 40);
    CHECK_EQ((int)TELL_TO(net, port, .op = NET_WRITE, .sock = sock, .n = 5, .offset = 99,
                          .deadline = KITH_FOREVER)
                 .err,
             0);
    peer_expect(peer, 5, 99);
}

#endif
