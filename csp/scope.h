/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the ends of fibers and attached threads need of scopes: see scope.c.
 */
#ifndef KITH__CSP_SCOPE_H
#define KITH__CSP_SCOPE_H

#include "sched/co.h"

/* co ends: cancels and leaves the scopes that it should have left itself. Its own turn; waits. */
void kith__scopes_abandon(struct kith_co *co);

#endif
