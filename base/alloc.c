/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Memory from the program's allocator, or from the C library.
 * Called by: see alloc.h.
 * Invariants: see alloc.h; a size that overflows when rounded up is NULL.
 * Threads: any; no state.
 * Why malloc for small alignments: aligned_alloc is slower in glibc, and malloc's memory is aligned
 *   to max_align_t (16) already.
 */
#include "base/alloc.h"

#include "base/assert.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(_Alignof(max_align_t) >= KITH__ALIGN_MIN, "malloc must align to 16");

static void *libc_alloc(size_t bytes, size_t align)
{
    if (align <= KITH__ALIGN_MIN)
        return malloc(bytes);
    if (bytes > SIZE_MAX - (align - 1))
        return NULL;
    return aligned_alloc(align, (bytes + align - 1) & ~(align - 1)); /* C11: a multiple of align */
}

void *kith__alloc(const kith_allocator *a, size_t bytes, size_t align)
{
    kith__assert((align & (align - 1)) == 0);
    if (bytes == 0)
        bytes = 1; /* so that NULL always means failure */
    if (align < KITH__ALIGN_MIN)
        align = KITH__ALIGN_MIN;
    return a != NULL && a->alloc != NULL ? a->alloc(a->arg, bytes, align)
                                         : libc_alloc(bytes, align);
}

void *kith__alloc_zero(const kith_allocator *a, size_t bytes, size_t align)
{
    void *memory = kith__alloc(a, bytes, align);
    if (memory != NULL)
        memset(memory, 0, bytes);
    return memory;
}

void kith__free(const kith_allocator *a, void *memory, size_t bytes)
{
    if (memory == NULL)
        return;
    if (a != NULL && a->alloc != NULL)
        a->free(a->arg, memory, bytes == 0 ? 1 : bytes);
    else
        free(memory);
}
