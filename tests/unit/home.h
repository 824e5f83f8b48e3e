/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A runtime whose home is a thread of its own: so a test that was written for a pool, whose main
 * thread blocks and holds handlers at gates, also runs on the loop executor.
 *
 * Used by the tests' environments (actors_common.h, io_net.h). With KITH_POOL both calls are kith's
 * own.
 *
 * Invariants: one such runtime at a time; home_shutdown is called by the thread that started it.
 * Threads: home runs the loop until it is told to shut down, and goes on if that times out.
 */
#ifndef KITH_TESTS_UNIT_HOME_H
#define KITH_TESTS_UNIT_HOME_H

#include "tests/unit/test.h"
#include <kith.h>
#include <semaphore.h>

static struct {
    pthread_t thread;
    kith_config config;
    kith_runtime *rt;
    kith_time deadline;
    kith_err err;
    sem_t told;
} home;

static TEST_UNUSED void *home_main(void *arg)
{
    (void)arg;
    home.err = kith_start(&home.config, &home.rt);
    bool lives = home.err == KITH_OK;
    sem_post(&home.told);
    while (lives) {
        CHECK_EQ(kith_loop_run(home.rt, KITH_FOREVER), KITH_OK); /* until home_shutdown stops it */
        home.err = kith_shutdown(home.rt, home.deadline);
        lives = home.err != KITH_OK;
        sem_post(&home.told);
    }
    return NULL;
}

static TEST_UNUSED kith_err home_start(const kith_config *config, kith_runtime **rt)
{
    if (config->executor != KITH_LOOP)
        return kith_start(config, rt);
    home.config = *config;
    home.config.workers = 1;
    sem_init(&home.told, 0, 0);
    if (pthread_create(&home.thread, NULL, home_main, NULL) != 0)
        abort();
    sem_wait(&home.told);
    *rt = home.rt;
    if (home.err != KITH_OK)
        pthread_join(home.thread, NULL);
    return home.err;
}

static TEST_UNUSED kith_err home_shutdown(kith_runtime *rt, kith_time deadline)
{
    if (home.rt != rt || rt == NULL)
        return kith_shutdown(rt, deadline);
    home.deadline = deadline;
    CHECK_EQ(kith_loop_stop(rt), KITH_OK);
    sem_wait(&home.told);
    if (home.err != KITH_OK)
        return home.err;
    pthread_join(home.thread, NULL);
    sem_destroy(&home.told);
    home.rt = NULL;
    return KITH_OK;
}

#endif
