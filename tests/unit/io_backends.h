/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Runs the tests of a file on the loop executor with each of its pollers: epoll, poll, select. The
 * files io_backends*.c include this header and then the file with the tests, whose TEST it
 * replaces.
 *
 * Why the same tests: what a poller must do is what io relies on, and that is what they hold.
 */
#ifndef KITH_TESTS_UNIT_IO_BACKENDS_H
#define KITH_TESTS_UNIT_IO_BACKENDS_H

#include "tests/unit/io_net.h"

static void on_each_poller(void (*body)(void))
{
    net_executor = KITH_LOOP;
    net_poller = KITH_EPOLL;
    body();
    net_poller = KITH_POLL;
    body();
    net_poller = KITH_SELECT;
    body();
}

#undef TEST
#define TEST(test_name)                                                                            \
    static void test_body_##test_name(void);                                                       \
    static void test_on_each_##test_name(void)                                                     \
    {                                                                                              \
        on_each_poller(test_body_##test_name);                                                     \
    }                                                                                              \
    static struct test_case test_case_##test_name = {#test_name, test_on_each_##test_name, NULL};  \
    __attribute__((constructor)) static void test_register_##test_name(void)                       \
    {                                                                                              \
        *test_end = &test_case_##test_name;                                                        \
        test_end = &test_case_##test_name.next;                                                    \
    }                                                                                              \
    static void test_body_##test_name(void)

#endif
