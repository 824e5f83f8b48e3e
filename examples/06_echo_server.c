/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 06_echo_server [PORT [ADDRESS]]: sends back every byte, on any number of connections.
 *
 * The server actor listens. Each connection is an actor of its own, to which the server hands the
 * socket: from then on the connection's input comes to that actor as kith_data messages, on
 * whichever core is free.
 *
 * What must hold: a client that sends and does not read holds back itself alone. When too much
 * waits to be written, kith_sock_write takes nothing and says KITH_EFULL; the connection then keeps
 * that one piece of input, stops reading, and goes on at kith_drained. So a connection never owns
 * more than its write buffer and one piece. A client that has finished gets all of it back: the
 * connection finishes as well, and is over when everything has left (kith_closed).
 *
 * The port is 7007 if none is given; 0 is any free one. The address is 127.0.0.1 if none is given.
 */
#include <kith.h>
#include <stdio.h>
#include <stdlib.h>

static const kith_time PATIENCE = 30 * KITH_SECOND; /* for a client that takes nothing */

/* ---- a connection ---- */

struct echo {
    kith_sock sock;
    kith_data *held; /* input that did not fit into the write buffer; NULL: none */
};

KITH_ON(echo, kith_given)
{
    me->sock = msg->sock;
    return KITH_OK;
}

KITH_ON(echo, kith_data)
{
    kith_err err = kith_sock_write(self, msg->sock, msg->bytes, msg->n, kith_in(PATIENCE));
    if (err != KITH_EFULL)
        return err == KITH_EBADREF ? KITH_OK : err; /* broken: a kith_closed is on its way */
    me->held = kith_keep(self);
    return kith_sock_reading(self, me->sock, false);
}

KITH_ON(echo, kith_drained)
{
    if (me->held == NULL)
        return KITH_OK;
    kith_err err = kith_sock_write(self, me->sock, me->held->bytes, me->held->n, kith_in(PATIENCE));
    if (err == KITH_EFULL)
        return KITH_OK;
    kith_discard(self, me->held);
    me->held = NULL;
    return err == KITH_OK ? kith_sock_reading(self, me->sock, true) : err;
}

/* While a piece is held nothing is read, the end neither: so all input has been written by now. */
KITH_ON(echo, kith_eof)
{
    kith_sock_finish(self, me->sock);
    return KITH_OK;
}

/* All has left, or it broke, or the client takes nothing. */
KITH_ON(echo, kith_closed)
{
    return kith_stop(self, kith_self_ref(self));
}

static void echo_stop(kith_self *self, void *state, KITH_UNUSED kith_err reason)
{
    struct echo *me = state;
    kith_discard(self, me->held);
}

static const kith_behavior echo = {
    .name = "echo",
    .state_bytes = sizeof(struct echo),
    .stop = echo_stop, /* the socket is closed with its owner */
    .handlers = KITH_HANDLERS(echo, kith_given, kith_data, kith_drained, kith_eof, kith_closed),
};

/* ---- the server ---- */

struct address {
    const char *text;
    uint16_t port;
};

static kith_err server_init(kith_self *self, KITH_UNUSED void *state, const void *arg)
{
    const struct address *address = arg;
    kith_sock listener = kith_listen(self, address->text, address->port, NULL);
    uint16_t port = 0;
    kith_err err = kith_sock_error(listener);
    if (err == KITH_OK)
        err = kith_sock_local(self, listener, NULL, &port);
    if (err != KITH_OK)
        return err;
    printf("listening on %u\n", port);
    fflush(stdout);
    return KITH_OK;
}

KITH_ON(server, kith_accepted)
{
    kith_ref connection = kith_spawn(self, &echo, NULL);
    if (kith_sock_give(self, msg->conn, connection) != KITH_OK) {
        kith_close(self, msg->conn); /* no memory for it now; the others go on */
        kith_stop(self, connection);
    }
    return KITH_OK;
}

static const kith_behavior server = {
    .name = "server",
    .init = server_init,
    .handlers = KITH_HANDLERS(server, kith_accepted),
};

static void serve(kith_self *self, kith_co *co, void *arg)
{
    kith_ref listening = kith_spawn(self, &server, arg);
    kith_err err = kith_ref_error(listening);
    kith_msg *msg;
    kith_monitor(self, listening);
    if (err == KITH_OK && kith_receive(co, KITH_FOREVER, &msg) == KITH_OK)
        err = kith_body(msg, kith_down)->reason; /* until then, it serves */
    fprintf(stderr, "06_echo_server: %s\n", kith_strerror(err));
    kith_fail(self, err);
}

int main(int argc, char **argv)
{
    char *end = "";
    long port = argc > 1 ? strtol(argv[1], &end, 10) : 7007;
    if (argc > 3 || *end != '\0' || port < 0 || port > UINT16_MAX) {
        fprintf(stderr, "usage: 06_echo_server [PORT [ADDRESS]]\n");
        return 2;
    }
    struct address address = {argc > 2 ? argv[2] : "127.0.0.1", (uint16_t)port};
    return kith_main(NULL, serve, &address);
}
