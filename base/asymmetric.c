/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Asymmetric fences by membarrier(2); see asymmetric.h.
 */
#include "base/asymmetric.h"
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

static long membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0);
}

bool kith__asymmetric_open(void)
{
    return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
}

void kith__fence_heavy(void)
{
    if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0)
        kith__fence_seq(); /* not registered: the light side is a full fence then */
}
