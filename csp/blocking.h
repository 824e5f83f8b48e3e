/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The pool of threads for calls that block, as the actor layer sees it: opened and closed with the
 * runtime, and told of its end. The design is at the head of blocking.c.
 */
#ifndef KITH__CSP_BLOCKING_H
#define KITH__CSP_BLOCKING_H

#include "sched/runtime.h"

kith_err kith__blocking_open(struct kith_runtime *rt);
/* Joins the threads. Nothing may run or wait any more. */
void kith__blocking_close(struct kith_runtime *rt);

/* The runtime ends: what waits for a thread is told KITH_ESHUTDOWN, and so is whoever comes later.
 * */
void kith__blocking_refuse(struct kith__ctx *ctx);

/* How many functions run now, their results' delivery included (J4). */
uint32_t kith__blocking_runs(struct kith_runtime *rt);

#endif
