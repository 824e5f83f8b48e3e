/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Why a message could not be posted: the cold half of sched/post.h.
 */
#include "sched/post.h"

KITH__COLD kith_err kith__post_refused(const struct kith_runtime *rt, uint64_t to)
{
    if (kith__bits_tag(to) != rt->actor_tag)
        return KITH_EBADREF;
    const struct kith__slot *slot = kith__handle_find(&rt->table, to);
    return slot != NULL && kith__slot_was(&rt->table, slot, to) ? KITH_EDEAD : KITH_EBADREF;
}
