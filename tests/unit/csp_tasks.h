/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tasks that the tests of futures start. Included, once, by csp_future.c and csp_result.c.
 */
#ifndef KITH_TESTS_UNIT_CSP_TASKS_H
#define KITH_TESTS_UNIT_CSP_TASKS_H

#include "tests/unit/actors_common.h"

static KITH__ATOMIC(int) ended; /* tasks that have come to their end */

static TEST_UNUSED void end_runtime(struct env *e)
{
    env_detach(e);
    CHECK_EQ(kith_shutdown(e->rt, PATIENCE), KITH_OK);
    e->rt = NULL;
}

/* ---- tasks ---- */

static TEST_UNUSED kith_err add_one(kith_self *self, kith_co *co, void *arg, void **result)
{
    int *n = arg;
    (void)self;
    CHECK_EQ(kith_yield(co), KITH_OK);
    ++*n;
    *result = n;
    return KITH_OK;
}

/* Waits until it is canceled, and stores that it has ended. */
static TEST_UNUSED kith_err hang(kith_self *self, kith_co *co, void *arg, void **result)
{
    kith_msg *msg;
    (void)self;
    *result = arg;
    kith_err err = kith_receive(co, KITH_FOREVER, &msg);
    kith__add_seq(&ended, 1);
    return err;
}

static TEST_UNUSED kith_err fails(kith_self *self, kith_co *co, void *arg, void **result)
{
    (void)self;
    (void)co;
    *result = arg;
    return KITH_ECONNREFUSED;
}

static TEST_UNUSED kith_err fails_aside(kith_self *self, kith_co *co, void *arg, void **result)
{
    (void)co;
    *result = arg;
    kith_fail(self, KITH_EIO);
    return KITH_OK;
}

static TEST_UNUSED kith_err no_then(kith_self *self, void *me, void *arg, kith_err status,
                                    void *result)
{
    (void)self;
    (void)me;
    (void)arg;
    (void)status;
    (void)result;
    FAIL("a callback that was not set has run");
    return KITH_OK;
}

#endif
