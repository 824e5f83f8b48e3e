/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The tests of io_listen.c (listeners, many connections, shortages), on the loop executor with each
 * of its pollers.
 */
#include "tests/unit/io_backends.h"

#include "tests/unit/io_listen.c" // NOLINT: the tests themselves
