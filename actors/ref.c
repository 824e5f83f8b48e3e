/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a handle tells of itself: whether some call made it, or why not.
 */
#include "base/handle.h"
#include <kith/ref.h>

static kith_err error_of(uint64_t bits, unsigned kind_a, unsigned kind_b)
{
    unsigned kind = kith__bits_kind(bits);
    if (kind == KITH__KIND_ERROR && (uint32_t)bits != 0)
        return (kith_err) - (int)(uint32_t)bits;
    return kind == kind_a || kind == kind_b ? KITH_OK : KITH_EBADREF;
}

kith_err kith_ref_error(kith_ref ref)
{
    return error_of(ref.bits, KITH__KIND_ACTOR, KITH__KIND_ASK);
}

kith_err kith_timer_error(kith_timer timer)
{
    return error_of(timer.bits, KITH__KIND_TIMER, KITH__KIND_TIMER);
}

kith_err kith_sock_error(kith_sock sock)
{
    return error_of(sock.bits, KITH__KIND_SOCK, KITH__KIND_SOCK);
}
