/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Why a message could not be posted: the cold half of sched/post.h. Called by whoever posts.
 */
#include "sched/post.h"

KITH__COLD kith_err kith__post_refused(const struct kith_runtime *rt, uint64_t to)
{
    if (kith__bits_tag(to) != rt->actor_tag)
        return KITH_EBADREF;
    const struct kith__slot *slot = kith__handle_find(&rt->table, to);
    return slot != NULL && kith__slot_was(&rt->table, slot, to) ? KITH_EDEAD : KITH_EBADREF;
}

void kith__post_ended(const struct kith_runtime *rt, uint64_t to)
{
    const struct kith_self *task = (const void *)kith__handle_find(&rt->table, to);
    if (task == NULL)
        return;
    /* The one was seen changed, or the other closed; what stands there by now was written after that.
     * acquire H-END; pairs with kith__slot_kill and with kith__task_new. */
    (void)kith__load_acq(&task->slot.bits);
    (void)kith__load_acq(&task->inbox); /* acquire M5; pairs with inbox_close and inbox_open */
}
