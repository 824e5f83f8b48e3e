/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The tests of io_give.c (handing over), on the loop executor with each of its pollers.
 */
#include "tests/unit/io_backends.h"

#include "tests/unit/io_give.c" // NOLINT: the tests themselves
