/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The contrast: the processes that speak TCP to a dress.
 *
 * Called by: main.c (start), servers.c (go), the workloads of sockets (end).
 * Invariants: the client is forked before any thread exists, knows nothing of kith, and leaves its
 *   result in memory that both share; it dies with its parent, and whoever waits for it, with it.
 * Threads: main's; client_go any one.
 * Why a process: a client inside the program would share its workers' time, and what it measures
 *   would stop when they do.
 */
#include "contrast.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

client_result *client;
static pid_t client_pid;
static int port_pipe[2];

_Noreturn static void be_client(void)
{
    uint16_t port = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpriority(PRIO_PROCESS, 0,
                -10); /* it measures; where this is refused, it measures less well */
    close(port_pipe[1]);
    alarm(600);
    if (read(port_pipe[0], &port, sizeof port) == (ssize_t)sizeof port)
        client->ok = run.work->client(port);
    _exit(0);
}

void client_start(void)
{
    if (run.work->client == NULL)
        return;
    client = mmap(NULL, sizeof *client, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (client == MAP_FAILED || pipe(port_pipe) != 0 || (client_pid = fork()) < 0) {
        perror("contrast: no client");
        exit(1);
    }
    if (client_pid == 0)
        be_client();
    close(port_pipe[0]);
}

void client_go(uint16_t port)
{
    if (write(port_pipe[1], &port, sizeof port) != (ssize_t)sizeof port)
        perror("contrast: the client does not hear");
}

const client_result *client_end(void)
{
    int status;
    close(port_pipe[1]);
    if (waitpid(client_pid, &status, 0) != client_pid || status != 0)
        client->ok = false;
    return client;
}

static int connect_one(uint16_t port)
{
    const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0)
        return fd;
    perror("contrast: connect");
    return -1;
}

bool client_connect(uint16_t port, int *fds, long count)
{
    for (long i = 0; i < count; i++) {
        if ((fds[i] = connect_one(port)) < 0)
            return false;
    }
    return true;
}

bool cut(cutter *c, const unsigned char **bytes, size_t *n, record *out)
{
    size_t taken = sizeof *out - c->held;
    if (taken > *n)
        taken = *n;
    memcpy(c->part + c->held, *bytes, taken);
    c->held += taken;
    *bytes += taken;
    *n -= taken;
    if (c->held < sizeof *out)
        return false;
    memcpy(out, c->part, sizeof *out);
    c->held = 0;
    return true;
}
