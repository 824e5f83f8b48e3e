/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Numeric internet addresses: text and port to what the system wants, and back.
 */
#ifndef KITH__IO_ADDRESS_H
#define KITH__IO_ADDRESS_H

#include <kith/err.h>
#include <stdint.h>
#include <sys/socket.h>

struct kith__address {
    struct sockaddr_storage storage;
    socklen_t bytes;
};

/* Reads "127.0.0.1", "::1" or "fe80::1%eth0"; NULL is every address, IPv6's form of it.
 * KITH_EINVAL for anything else. */
kith_err kith__address_read(const char *text, uint16_t port, struct kith__address *out);

/* Every IPv4 address: where the system has no IPv6. */
void kith__address_any_ipv4(uint16_t port, struct kith__address *out);

/* Writes the text (KITH_ADDRESS_BYTES; may be NULL) and the port (may be NULL). An IPv4 address
 * inside an IPv6 one, as a listener on "::" sees its IPv4 peers, is written as IPv4, so that it can
 * be connected to and compared. */
void kith__address_write(const struct kith__address *address, char *text, uint16_t *port);

#endif
