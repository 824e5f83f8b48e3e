/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A generator is a function that gives out values one by one, in the middle of its code: it runs
 * when its user asks for the next value, on the user's thread, and stands still in between. There
 * is no task and no scheduling in it: asking costs two switches of the stack.
 *
 *     static void squares(kith_gen *gen, void *arg)
 *     {
 *         for (long i = 0, n = *(long *)arg; i < n; i++) {
 *             long square = i * i;
 *             kith_gen_yield(gen, &square);
 *         }
 *     }
 *     ...
 *     long n = 10;
 *     kith_gen *gen = kith_gen_new(self, squares, &n);
 *     kith_gen_each(long, square, gen)
 *         printf("%ld\n", *square);
 *     kith_gen_free(gen);
 *
 * What is given out is a pointer, often to a variable of the generator's own: it is good until the
 * next value is asked for. Something can be handed in, too: kith_gen_yield returns what the next
 * kith_gen_next brings.
 *
 * A generator belongs to who made it, and ends with it at the latest; nobody else may use it. It
 * stays on the thread on which it was made. Fibers and attached threads do so as well; an actor
 * does only while it runs one handler, or if it was placed on a worker (kith_spawn_options.worker):
 * else its next handler may run on another worker, and kith_gen_next answers KITH_EPERM there.
 *
 * In a generator its maker can send, spawn and set timers, but not wait: with its maker's co every
 * call answers KITH_EPERM there.
 */
#ifndef KITH_GEN_H
#define KITH_GEN_H

#include <kith/actor.h>
#include <kith/err.h>
#include <stdbool.h>
#include <stddef.h>

KITH_BEGIN_DECLS

typedef struct kith_gen kith_gen;
typedef void kith_gen_fn(kith_gen *gen, void *arg);

/* Zero in any field means its default. */
typedef struct kith_gen_options {
    size_t stack_bytes; /* rounded up to a power of two, 16 KiB to 8 MiB; default 64 KiB */
} kith_gen_options;

/* Makes a generator; fn does not run before the first kith_gen_next.
 * Owns: it is the caller's; arg is handed on as it is. Thread: self's. Blocks: no.
 * Errors: NULL (no memory or stack, fn is NULL, options are out of range, not self's thread). */
KITH_API kith_gen *kith_gen_new(kith_self *self, kith_gen_fn *fn, void *arg);
/* The same with options (NULL: the defaults). Owns, Blocks, Errors and Thread: as kith_gen_new. */
KITH_API kith_gen *kith_gen_new_with(kith_self *self, kith_gen_fn *fn, void *arg,
                                     const kith_gen_options *options);

/* Lets the generator run to its next value, which goes to *out (out may be NULL). `in` is what the
 * kith_gen_yield that it stands in returns; at the first call it stands in none, and in is not
 * seen.
 * Owns: *out is the generator's. Thread: the maker's. Blocks: no.
 * Errors: KITH_ECLOSED (its function has returned), KITH_EBUSY (it is what runs), KITH_EPERM,
 * KITH_EINVAL; *out is then NULL. */
KITH_API kith_err kith_gen_next(kith_gen *gen, void *in, void **out);

/* In the generator: gives out a value, and returns what the next kith_gen_next hands in. If
 * kith_gen_closing, it returns NULL at once and nobody gets the value.
 * Owns: out stays the generator's. Thread: the maker's. Blocks: stands still until it is resumed.
 * Errors: NULL (it is not this generator that runs). */
KITH_API void *kith_gen_yield(kith_gen *gen, void *out);

/* In the generator, after a yield: whether it is being freed. It should clean up and return: if it
 * yields again, it is never resumed, and the rest of it does not run.
 * Thread: the maker's. Blocks: no. Errors: false. */
KITH_API bool kith_gen_closing(const kith_gen *gen);

/* Ends and frees a generator. If it stands in a yield, it runs once more (kith_gen_closing).
 * Owns: takes gen (NULL is allowed). Thread: the maker's. Blocks: no.
 * Errors: KITH_EBUSY (it is what runs), KITH_EPERM. */
KITH_API kith_err kith_gen_free(kith_gen *gen);

/* kith_gen_each(T, value, gen) { ... }: for each value that comes, a T *value; ends at the end of
 * the generator, or when it gives out NULL. */
#define kith_gen_each(T, value, gen)                                                               \
    for (T *value = (T *)kith_gen_value_(gen); value != NULL; value = (T *)kith_gen_value_(gen))

/* Of kith_gen_each: the next value, or NULL. */
static inline KITH_UNUSED void *kith_gen_value_(kith_gen *gen)
{
    void *value;
    return kith_gen_next(gen, NULL, &value) == KITH_OK ? value : NULL;
}

KITH_END_DECLS

#endif
