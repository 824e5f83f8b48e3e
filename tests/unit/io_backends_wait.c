/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The tests of io_wait.c (sockets of fibers and attached threads), on the loop executor with each
 * of its pollers.
 */
#include "tests/unit/io_backends.h"

#include "tests/unit/io_wait.c" // NOLINT: the tests themselves
