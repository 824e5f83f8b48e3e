/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Compiler attributes and the argument-counting macros that the other headers share.
 * Nothing here is meant to be used by programs.
 */
#ifndef KITH_MACROS_H
#define KITH_MACROS_H

#define KITH_API __attribute__((visibility("default")))
#define KITH_MUST_CHECK __attribute__((warn_unused_result))
#define KITH_UNUSED __attribute__((unused))
#define KITH_WEAK __attribute__((weak, visibility("default")))

#ifdef __cplusplus
#define KITH_BEGIN_DECLS extern "C" {
#define KITH_END_DECLS }
#else
#define KITH_BEGIN_DECLS
#define KITH_END_DECLS
#endif

/* KITH_ONE_OR_MANY_(...) is ONE for one argument and MANY for two to 64: a type and its 63
 * initialisers. A comma between braces counts, too. */
#define KITH_65TH_(_1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16, _17,     \
                   _18, _19, _20, _21, _22, _23, _24, _25, _26, _27, _28, _29, _30, _31, _32, _33, \
                   _34, _35, _36, _37, _38, _39, _40, _41, _42, _43, _44, _45, _46, _47, _48, _49, \
                   _50, _51, _52, _53, _54, _55, _56, _57, _58, _59, _60, _61, _62, _63, _64, N,   \
                   ...)                                                                            \
    N
#define KITH_ONE_OR_MANY_(...)                                                                     \
    KITH_65TH_(__VA_ARGS__, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY,      \
               MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, \
               MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, \
               MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, \
               MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, ONE, 0)
#define KITH_CAT_(a, b) KITH_CAT2_(a, b)
#define KITH_CAT2_(a, b) a##b
#define KITH_FIRST_(...) KITH_FIRST2_(__VA_ARGS__, 0)
#define KITH_FIRST2_(first, ...) first

/* KITH_EACH_(F, x, a, b, c) is F(x, a) F(x, b) F(x, c), for up to 32 arguments. */
#define KITH_EXPAND_(...) __VA_ARGS__
#define KITH_EACH_1_(F, x, a) F(x, a)
#define KITH_EACH_2_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_1_(F, x, __VA_ARGS__))
#define KITH_EACH_3_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_2_(F, x, __VA_ARGS__))
#define KITH_EACH_4_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_3_(F, x, __VA_ARGS__))
#define KITH_EACH_5_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_4_(F, x, __VA_ARGS__))
#define KITH_EACH_6_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_5_(F, x, __VA_ARGS__))
#define KITH_EACH_7_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_6_(F, x, __VA_ARGS__))
#define KITH_EACH_8_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_7_(F, x, __VA_ARGS__))
#define KITH_EACH_9_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_8_(F, x, __VA_ARGS__))
#define KITH_EACH_10_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_9_(F, x, __VA_ARGS__))
#define KITH_EACH_11_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_10_(F, x, __VA_ARGS__))
#define KITH_EACH_12_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_11_(F, x, __VA_ARGS__))
#define KITH_EACH_13_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_12_(F, x, __VA_ARGS__))
#define KITH_EACH_14_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_13_(F, x, __VA_ARGS__))
#define KITH_EACH_15_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_14_(F, x, __VA_ARGS__))
#define KITH_EACH_16_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_15_(F, x, __VA_ARGS__))
#define KITH_EACH_17_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_16_(F, x, __VA_ARGS__))
#define KITH_EACH_18_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_17_(F, x, __VA_ARGS__))
#define KITH_EACH_19_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_18_(F, x, __VA_ARGS__))
#define KITH_EACH_20_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_19_(F, x, __VA_ARGS__))
#define KITH_EACH_21_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_20_(F, x, __VA_ARGS__))
#define KITH_EACH_22_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_21_(F, x, __VA_ARGS__))
#define KITH_EACH_23_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_22_(F, x, __VA_ARGS__))
#define KITH_EACH_24_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_23_(F, x, __VA_ARGS__))
#define KITH_EACH_25_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_24_(F, x, __VA_ARGS__))
#define KITH_EACH_26_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_25_(F, x, __VA_ARGS__))
#define KITH_EACH_27_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_26_(F, x, __VA_ARGS__))
#define KITH_EACH_28_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_27_(F, x, __VA_ARGS__))
#define KITH_EACH_29_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_28_(F, x, __VA_ARGS__))
#define KITH_EACH_30_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_29_(F, x, __VA_ARGS__))
#define KITH_EACH_31_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_30_(F, x, __VA_ARGS__))
#define KITH_EACH_32_(F, x, a, ...) F(x, a) KITH_EXPAND_(KITH_EACH_31_(F, x, __VA_ARGS__))
#define KITH_33RD_(_1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16, _17,     \
                   _18, _19, _20, _21, _22, _23, _24, _25, _26, _27, _28, _29, _30, _31, _32, N,   \
                   ...)                                                                            \
    N
#define KITH_COUNT_(...)                                                                           \
    KITH_33RD_(__VA_ARGS__, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16,    \
               15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define KITH_EACH_(F, x, ...)                                                                      \
    KITH_CAT_(KITH_CAT_(KITH_EACH_, KITH_COUNT_(__VA_ARGS__)), _)(F, x, __VA_ARGS__)

#endif
