/* SPDX-License-Identifier: BSD-2-Clause
 *
 * load_client: many TCP clients in one thread, for the tests of the example servers.
 *
 *     load_client echo PORT CONNECTIONS ROUNDS BYTES   all send and get back, ROUNDS times
 *     load_client late PORT MEGABYTES                  one sends and reads only when it must
 *     load_client shut PORT MEGABYTES                  the same with all sizes that it can send unread
 *     load_client chat PORT CONNECTIONS                all join rooms of ten and greet each other
 *     load_client flood PORT ROUNDS                    one speaks until a third one is dropped
 *     load_client reset PORT CONNECTIONS               all send a line and reset the connection
 *
 * Called by tests/examples/06_echo_server.sh and 07_chat_server.sh. It knows nothing of kith: plain
 * sockets and poll, so that a fault of the library cannot hide in the tool that looks for it. One
 * thread. Every byte that comes in is compared with what must come; a minute without any progress
 * is a failure. It prints one line of what it did, and exits with 1 after the first thing wrong.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IN_BYTES = 4096,
    PER_ROOM = 10,
    IDLE_MS = 60000,
    FLOOD_LINES = 300,
    FLOOD_BYTES = 480,
    LISTENERS = 8
};

struct conn {
    int fd; /* -1: closed */
    char in[IN_BYTES];
    size_t n_in;
    char *out;
    size_t n_out, sent;
    long rounds;  /* echo: done; flood: lines seen */
    unsigned met; /* chat: greetings heard */
    bool named, greeted, bye, saw_drop;
};

static struct conn *conns;
static struct pollfd *polls;
static unsigned n_conns;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load_client: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void *need(void *memory)
{
    if (memory == NULL)
        die("out of memory");
    return memory;
}

static long number(const char *text, long max)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || n < 1 || n > max)
        die("%s is not a number from 1 to %ld", text, max);
    return n;
}

/* ---- connections ---- */

/* receive_bytes: of the system's buffer for what comes in; 0 leaves it to the system. */
static int connect_to(uint16_t port, int receive_bytes)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket: %s", strerror(errno));
    if (receive_bytes > 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes) < 0)
        die("setsockopt: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) < 0)
        die("connect: %s", strerror(errno));
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        die("fcntl: %s", strerror(errno));
    return fd;
}

static void open_all(uint16_t port, unsigned n)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    n_conns = n;
    conns = need(calloc(n, sizeof *conns));
    polls = need(calloc(n, sizeof *polls));
    for (unsigned i = 0; i < n; i++)
        conns[i].fd = connect_to(port, 0);
}

static void flush_out(struct conn *c)
{
    while (c->sent < c->n_out) {
        ssize_t n = send(c->fd, c->out + c->sent, c->n_out - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            die("send on connection %ld: %s", (long)(c - conns), strerror(errno));
        c->sent += (size_t)n;
    }
    c->sent = c->n_out = 0;
}

static void put(struct conn *c, const char *bytes, size_t n)
{
    c->out = need(realloc(c->out, c->n_out + n));
    memcpy(c->out + c->n_out, bytes, n);
    c->n_out += n;
    flush_out(c);
}

__attribute__((format(printf, 2, 3))) static void say(struct conn *c, const char *format, ...)
{
    char text[FLOOD_BYTES + 64];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put(c, text, (size_t)n);
}

/* Reads what has come to c. Returns false at the end of the stream. */
static bool take_in(struct conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->n_in, sizeof c->in - c->n_in, 0);
    if (n < 0 && errno == EAGAIN)
        return true;
    if (n < 0)
        die("recv on connection %ld: %s", (long)(c - conns), strerror(errno));
    c->n_in += (size_t)n;
    return n > 0;
}

/* Waits until something happens; then lets got handle each connection that has input or an end. */
static void step(void (*got)(struct conn *c, bool end))
{
    for (unsigned i = 0; i < n_conns; i++) {
        short out = conns[i].sent < conns[i].n_out ? POLLOUT : 0;
        polls[i] = (struct pollfd){.fd = conns[i].fd, .events = (short)(POLLIN | out)};
    }
    int n = poll(polls, n_conns, IDLE_MS);
    if (n < 0 && errno != EINTR)
        die("poll: %s", strerror(errno));
    if (n == 0)
        die("nothing has come for a minute");
    for (unsigned i = 0; i < n_conns; i++) {
        if (polls[i].revents & POLLOUT)
            flush_out(&conns[i]);
        if (polls[i].revents & (POLLIN | POLLHUP | POLLERR))
            got(&conns[i], !take_in(&conns[i]));
    }
}

static void shut(struct conn *c)
{
    close(c->fd);
    c->fd = -1;
}

/* Takes the next whole line out of c's input, without its end; NULL if there is none. */
static const char *next_line(struct conn *c)
{
    static char line[IN_BYTES + 1];
    const char *end = memchr(c->in, '\n', c->n_in);
    if (end == NULL && c->n_in == sizeof c->in)
        die("a line of more than %d bytes", IN_BYTES);
    if (end == NULL)
        return NULL;
    size_t n = (size_t)(end - c->in);
    memcpy(line, c->in, n);
    line[n] = '\0';
    c->n_in -= n + 1;
    memmove(c->in, end + 1, c->n_in);
    return line;
}

/* ---- echo ---- */

static long rounds;
static size_t round_bytes;
static unsigned n_done;

static void make_round(const struct conn *c, char *bytes) /* differs with connection and round */
{
    uint32_t x = (uint32_t)(c - conns) * 2654435761u + (uint32_t)c->rounds * 40503u + 1u;
    for (size_t i = 0; i < round_bytes; i++) {
        x = x * 1664525u + 1013904223u;
        bytes[i] = (char)(x >> 24);
    }
}

static void send_round(struct conn *c)
{
    char bytes[IN_BYTES];
    make_round(c, bytes);
    put(c, bytes, round_bytes);
}

static void echo_got(struct conn *c, bool end)
{
    if (c->rounds == rounds) { /* all is said: the server must close, too, and send nothing more */
        if (!end && c->n_in == 0)
            return;
        if (!end || c->n_in > 0)
            die("more came back than was sent");
        shut(c);
        n_done++;
        return;
    }
    char expected[IN_BYTES];
    make_round(c, expected);
    if (end)
        die("connection %ld was closed in round %ld", (long)(c - conns), c->rounds);
    if (c->n_in > round_bytes || memcmp(c->in, expected, c->n_in) != 0)
        die("connection %ld got other bytes than it sent", (long)(c - conns));
    if (c->n_in < round_bytes)
        return;
    c->n_in = 0;
    if (++c->rounds < rounds)
        send_round(c);
    else
        shutdown(c->fd, SHUT_WR);
}

static void run_echo(uint16_t port, char **args)
{
    unsigned n = (unsigned)number(args[0], 60000);
    rounds = number(args[1], 1000000);
    round_bytes = (size_t)number(args[2], IN_BYTES);
    open_all(port, n); /* all are open before the first one speaks */
    for (unsigned i = 0; i < n; i++)
        send_round(&conns[i]);
    while (n_done < n)
        step(echo_got);
    printf("%u connections at once, %ld rounds of %zu bytes each: all came back\n", n, rounds,
           round_bytes);
}

/* ---- late: a client that reads only when nothing more is taken from it ---- */

enum { PIECE = 65536, STALLED_MS = 300 };

static char late_byte(size_t at)
{
    return (char)((at * 2654435761u) >> 16);
}

/* Whether fd is ready for that; waits for it at most so long. */
static bool ready_for(int fd, short events, int ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    if (poll(&p, 1, ms) < 0)
        die("poll: %s", strerror(errno));
    return p.revents != 0;
}

/* Sends a piece of the stream that is n_all long; returns where the next one begins. */
static size_t late_send(int fd, size_t at, size_t n_all)
{
    char piece[PIECE];
    size_t n = n_all - at < PIECE ? n_all - at : PIECE;
    for (size_t i = 0; i < n; i++)
        piece[i] = late_byte(at + i);
    ssize_t sent = send(fd, piece, n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        die("send: %s", strerror(errno));
    return sent < 0 ? at : at + (size_t)sent;
}

/* Reads some of what comes back; returns where the next one begins, or SIZE_MAX at the end. */
static size_t late_read(int fd, size_t at, size_t most)
{
    char piece[PIECE];
    if (!ready_for(fd, POLLIN, IDLE_MS))
        die("nothing has come for a minute, after %zu bytes", at);
    ssize_t n = recv(fd, piece, most, 0);
    if (n < 0)
        die("recv: %s", strerror(errno));
    for (ssize_t i = 0; i < n; i++)
        if (piece[i] != late_byte(at + (size_t)i))
            die("byte %zu is not the one that was sent", at + (size_t)i);
    return n == 0 ? SIZE_MAX : at + (size_t)n;
}

/* Sends n_all bytes, reading only when nothing more is taken; half-closes; reads the rest, in sips, so
 * that the server sees the end while its buffers are full. Returns how much was taken at first.
 * STALLED_MS is how long the socket must take nothing to count as held back: were it too short, this
 * would test less, not fail. */
static size_t late_once(uint16_t port, size_t n_all)
{
    size_t sent = 0, back = 0, next;
    int fd = connect_to(port, PIECE); /* small: what is sent back soon waits in the server */
    while (sent < n_all && ready_for(fd, POLLOUT, STALLED_MS))
        sent = late_send(fd, sent, n_all);
    size_t taken = sent;
    while (sent < n_all)
        if (ready_for(fd, POLLOUT, 0))
            sent = late_send(fd, sent, n_all);
        else
            back = late_read(fd, back, PIECE);
    shutdown(fd, SHUT_WR);
    while ((next = late_read(fd, back, 256)) != SIZE_MAX)
        back = next;
    if (back != n_all)
        die("%zu bytes were sent, %zu came back", n_all, back);
    close(fd);
    return taken;
}

/* The server must hold back who does not read, and lose nothing. */
static void run_late(uint16_t port, char **args)
{
    size_t n_all = (size_t)number(args[0], 4096) << 20;
    size_t taken = late_once(port, n_all);
    if (taken == n_all)
        die("the server took %zu bytes of a client that did not read", taken);
    printf("held back before %zu of %zu MiB; then all came back\n", (taken >> 20) + 1, n_all >> 20);
}

/* Of the sizes in steps of less than a write buffer, up to one that is held back, some are such that
 * the end of the input comes while the last of the output still waits in the server. */
static void run_shut(uint16_t port, char **args)
{
    size_t most = (size_t)number(args[0], 4096) << 20;
    size_t step_bytes = 128 << 10;
    size_t size = step_bytes;
    while (size < most && late_once(port, size) == size)
        size += step_bytes;
    printf("half-closed after sending up to %zu KiB in %zu sizes: all came back\n", size >> 10,
           size / step_bytes);
}

/* ---- chat ---- */

static unsigned n_named, n_met;

static void greeting_heard(struct conn *c, unsigned from)
{
    unsigned me = (unsigned)(c - conns);
    if (from / PER_ROOM != me / PER_ROOM || from == me)
        die("m%u heard m%u, who is not in its room", me, from);
    if (++c->met == PER_ROOM - 1)
        n_met++;
}

static void chat_got(struct conn *c, bool end)
{
    const char *line;
    unsigned from, again, me = (unsigned)(c - conns);
    char named[32];
    snprintf(named, sizeof named, "* you are m%u", me);
    while ((line = next_line(c)) != NULL) {
        if (strcmp(line, named) == 0) {
            c->named = true;
            n_named++;
        } else if (strcmp(line, "* bye") == 0) {
            c->bye = true;
        } else if (line[0] != '*') {
            if (sscanf(line, "m%u: hello from m%u", &from, &again) != 2 || from != again)
                die("m%u heard: %s", me, line);
            greeting_heard(c, from);
        } else if (strstr(line, "dropped") != NULL) {
            die("m%u heard: %s", me, line);
        }
    }
    if (!end)
        return;
    if (!c->bye)
        die("m%u was disconnected", me);
    shut(c);
    n_done++;
}

static void run_chat(uint16_t port, char **args)
{
    unsigned n = (unsigned)number(args[0], 60000) / PER_ROOM * PER_ROOM;
    open_all(port, n);
    for (unsigned i = 0; i < n; i++)
        say(&conns[i], "/join load%u\n/nick m%u\n", i / PER_ROOM, i);
    while (n_named < n)
        step(chat_got);
    for (unsigned i = 0; i < n; i++) /* everybody is where they want to be: now all hear all */
        say(&conns[i], "hello from m%u\n", i);
    while (n_met < n)
        step(chat_got);
    for (unsigned i = 0; i < n; i++)
        say(&conns[i], "/quit\n");
    while (n_done < n)
        step(chat_got);
    printf("%u clients in %u rooms: each heard the others of its room, and nobody else\n", n,
           n / PER_ROOM);
}

/* ---- flood: connection 0 speaks, the others listen, and somebody else in the lobby does not read ---- */

static void flood_got(struct conn *c, bool end)
{
    const char *line;
    bool speaker = c == &conns[0];
    if (end)
        die("the %s was disconnected", speaker ? "speaker" : "listener");
    while ((line = next_line(c)) != NULL) {
        if (strncmp(line, "* you are in", 12) == 0)
            c->named = true;
        if (strstr(line, "was dropped: does not read") != NULL)
            c->saw_drop = true;
        if (line[0] == '*' || speaker)
            continue;
        const char *text = strstr(line, ": ");
        if (text == NULL || strtol(text + 2, NULL, 10) != c->rounds)
            die("the listener expected line %ld and heard: %.40s", c->rounds, line);
        c->rounds++;
    }
}

static bool some_behind(long n)
{
    for (unsigned i = 1; i <= LISTENERS; i++)
        if (conns[i].rounds < n)
            return true;
    return false;
}

static bool some_not_in(void)
{
    for (unsigned i = 0; i <= LISTENERS; i++)
        if (!conns[i].named)
            return true;
    return false;
}

/* Each round is less than a write buffer (256 KiB) and waited for: so a listener that reads is
 * never behind by so much, however slow the machine. */
static void run_flood(uint16_t port, char **args)
{
    long max = number(args[0], 1000000);
    long n = 0;
    char pad[FLOOD_BYTES];
    memset(pad, '.', sizeof pad);
    open_all(port, 1 + LISTENERS);
    while (some_not_in())
        step(flood_got);
    for (long round = 0; round < max && !conns[1].saw_drop; round++) {
        for (int i = 0; i < FLOOD_LINES; i++)
            say(&conns[0], "%ld %.*s\n", n++, FLOOD_BYTES - 10, pad);
        while (some_behind(n))
            step(flood_got);
    }
    if (!conns[1].saw_drop)
        die("nobody was dropped in %ld lines", n);
    printf("who does not read was dropped; %d who read heard all %ld lines in order\n", LISTENERS,
           n);
}

/* ---- reset ---- */

static void run_reset(uint16_t port, char **args)
{
    unsigned n = (unsigned)number(args[0], 60000);
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    open_all(port, n);
    for (unsigned i = 0; i < n; i++) {
        say(&conns[i], "this line is cut of");
        if (setsockopt(conns[i].fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) < 0)
            die("setsockopt: %s", strerror(errno));
        shut(&conns[i]); /* sends a reset */
    }
    printf("%u connections reset\n", n);
}

int main(int argc, char **argv)
{
    static const struct mode {
        const char *name;
        int args;
        void (*run)(uint16_t port, char **args);
    } modes[] = {
        {"echo", 3, run_echo},   {"late", 1, run_late}, {"chat", 1, run_chat},
        {"echo", 3, run_echo},   {"shut", 1, run_shut}, {"flood", 1, run_flood},
        {"reset", 1, run_reset},
    };
    for (size_t i = 0; argc > 2 && i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(argv[1], modes[i].name) == 0 && argc == 3 + modes[i].args) {
            modes[i].run((uint16_t)number(argv[2], UINT16_MAX), argv + 3);
            return 0;
        }
    die("usage: load_client echo|late|shut|chat|flood|reset PORT NUMBER...");
}
