/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Names and sentences of the error codes, and the library's version.
 * Called by: programs, and the log lines of every layer.
 * Invariants: every code of KITH_ERRORS has a case, by construction; any other value gets a text.
 * Threads: any; constants only.
 * Why a switch and not a table: the codes are -errno and far apart; two equal codes fail to compile.
 */
#include <kith/err.h>
#include <kith/runtime.h>

#ifndef KITH__VERSION /* the build gives it; this is for compiling the file alone */
#define KITH__VERSION "0.1.0"
#endif

const char *kith_strerror(kith_err err)
{
    switch (err) {
#define TEXT(name, value, text)                                                                    \
    case name:                                                                                     \
        return text;
        KITH_ERRORS(TEXT)
#undef TEXT
    }
    return "not an error code of kith";
}

const char *kith_errname(kith_err err)
{
    switch (err) {
#define NAME(name, value, text)                                                                    \
    case name:                                                                                     \
        return #name;
        KITH_ERRORS(NAME)
#undef NAME
    }
    return "KITH_E?";
}

const char *kith_version(void)
{
    return KITH__VERSION;
}
