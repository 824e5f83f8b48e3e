/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Numeric internet addresses. Called by io/listen.c, io/connect.c and kith_sock_local and _peer.
 *
 * Threads: any. No names are looked up here, so nothing blocks and nothing allocates; that is also
 * why this is not getaddrinfo.
 */
#include "io/address.h"
#include <arpa/inet.h>
#include <kith/net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(KITH_ADDRESS_BYTES >= INET6_ADDRSTRLEN + 1 + IF_NAMESIZE, "room for a scope");

/* The interface behind the %: by name or by number; 0 if there is none. */
static uint32_t scope_read(const char *text)
{
    unsigned index = if_nametoindex(text);
    if (index != 0)
        return index;
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && number <= UINT32_MAX ? (uint32_t)number
                                                                                : 0;
}

static kith_err ipv6_read(const char *text, struct sockaddr_in6 *in6)
{
    char host[INET6_ADDRSTRLEN];
    const char *percent = strchr(text, '%');
    size_t n = percent != NULL ? (size_t)(percent - text) : strlen(text);
    if (n >= sizeof host)
        return KITH_EINVAL;
    memcpy(host, text, n);
    host[n] = '\0';
    if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
        return KITH_EINVAL;
    if (percent == NULL)
        return KITH_OK;
    in6->sin6_scope_id = scope_read(percent + 1);
    return in6->sin6_scope_id != 0 ? KITH_OK : KITH_EINVAL;
}

kith_err kith__address_read(const char *text, uint16_t port, struct kith__address *out)
{
    memset(out, 0, sizeof *out);
    struct sockaddr_in *in = (struct sockaddr_in *)&out->storage;
    if (text != NULL && inet_pton(AF_INET, text, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        out->bytes = sizeof *in;
        return KITH_OK;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->storage;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    out->bytes = sizeof *in6;
    return text != NULL ? ipv6_read(text, in6) : KITH_OK; /* all zero: every address */
}

void kith__address_any_ipv4(uint16_t port, struct kith__address *out)
{
    memset(out, 0, sizeof *out);
    struct sockaddr_in *in = (struct sockaddr_in *)&out->storage;
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    out->bytes = sizeof *in;
}

static void ipv6_write(const struct sockaddr_in6 *in6, char *text)
{
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], text, KITH_ADDRESS_BYTES);
        return;
    }
    inet_ntop(AF_INET6, &in6->sin6_addr, text, KITH_ADDRESS_BYTES);
    if (in6->sin6_scope_id == 0)
        return;
    char name[IF_NAMESIZE];
    size_t n = strlen(text);
    if (if_indextoname(in6->sin6_scope_id, name) != NULL)
        snprintf(text + n, KITH_ADDRESS_BYTES - n, "%%%s", name);
    else
        snprintf(text + n, KITH_ADDRESS_BYTES - n, "%%%u", in6->sin6_scope_id);
}

void kith__address_write(const struct kith__address *address, char *text, uint16_t *port)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&address->storage;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;
    bool ipv4 = address->storage.ss_family == AF_INET;
    if (port != NULL)
        *port = ntohs(ipv4 ? in->sin_port : in6->sin6_port);
    if (text == NULL)
        return;
    if (ipv4)
        inet_ntop(AF_INET, &in->sin_addr, text, KITH_ADDRESS_BYTES);
    else
        ipv6_write(in6, text);
}
