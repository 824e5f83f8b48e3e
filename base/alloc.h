/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Memory from the program's allocator, or from the C library if it gave none.
 * Called by: whoever allocates in the library; nobody calls malloc himself.
 * Invariants: a free names the bytes that the allocation named. An alignment below 16 counts as 16,
 *   as kith_allocator promises. A failed allocation is NULL, never an exit.
 * Threads: any, as far as the program's functions allow it (they must).
 * Why bytes at free: an allocator by size class then needs no header in front of each block.
 */
#ifndef KITH_BASE_ALLOC_H
#define KITH_BASE_ALLOC_H

#include <kith/runtime.h>
#include <stddef.h>

enum { KITH__ALIGN_MIN = 16 };

/* bytes (at least one is given) aligned to align, a power of two; a may be NULL. */
void *kith__alloc(const kith_allocator *a, size_t bytes, size_t align);

/* The same, zeroed. */
void *kith__alloc_zero(const kith_allocator *a, size_t bytes, size_t align);

/* Gives back what either of the above gave; memory may be NULL. */
void kith__free(const kith_allocator *a, void *memory, size_t bytes);

#endif
