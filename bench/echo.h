/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The client that both echo servers of kith-bench are measured with. It uses epoll and no kith.
 */
#ifndef BENCH_ECHO_H
#define BENCH_ECHO_H

#include <stdbool.h>
#include <stdint.h>

#define ECHO_CONNECTIONS 64
#define ECHO_BYTES 64

typedef struct echo_load {
    uint16_t port;
    uint64_t n; /* round trips, over all connections */
    /* the outcome */
    uint64_t began_ns;
    uint64_t ended_ns;
    uint32_t *trip_ns; /* n of them */
    bool check;        /* every trip came back, each byte as it was sent */
} echo_load;

/* The client's thread: connects to 127.0.0.1, makes n round trips, closes. arg is an echo_load. */
void *echo_client(void *arg);

#endif
