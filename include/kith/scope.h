/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A scope owns the fibers that are started in it: no one of them outlives it. Whoever made the
 * scope leaves it, and that waits for all of them. So what a fiber of the scope uses (its argument
 * on the maker's stack, say) is there as long as the fiber.
 *
 *     kith_scope *scope = kith_scope_new(co);
 *     for (int i = 0; i < 3; i++)
 *         kith_scope_go(self, scope, fetch, &page[i]);
 *     kith_err err = kith_scope_leave_by(co, scope, kith_in(5 * KITH_SECOND));
 *
 * A fiber that calls kith_fail fails its scope: the others are canceled, and kith_scope_leave
 * returns the reason. So does a scope whose maker is canceled, or whose deadline passes: first all
 * end, then leaving returns. A canceled fiber hears KITH_ECANCELED from whatever may wait, cleans
 * up and returns; KITH_ECANCELED as the reason of kith_fail is no failure.
 *
 * The fibers of a scope may start further ones in it, and have scopes of their own. A fiber that
 * ends, or a thread that detaches, with a scope that it has not left has made a mistake: the log
 * says so, the scope's fibers are canceled, and the end waits for them.
 */
#ifndef KITH_SCOPE_H
#define KITH_SCOPE_H

#include <kith/co.h>
#include <kith/err.h>
#include <kith/fiber.h>
#include <kith/ref.h>
#include <kith/time.h>

KITH_BEGIN_DECLS

typedef struct kith_scope kith_scope;

/* A new scope, without fibers.
 * Owns: it is the caller's, who must leave it. Thread: co's. Blocks: no.
 * Errors: NULL (no memory, or not co's thread). */
KITH_API kith_scope *kith_scope_new(kith_co *co);

/* kith_scope_go(self, scope, fn, arg): starts a fiber in the scope, as kith_go does; its parent is
 * the scope's maker. kith_scope_go_with takes options, too.
 * Owns: as kith_go. Thread: self's: the maker's or that of a fiber in the scope. Blocks: no.
 * Errors (kith_ref_error): those of kith_go, and KITH_ECANCELED (the scope is, nothing was
 * started). */
#define kith_scope_go(self, scope, fn, arg)                                                        \
    kith_scope_go_named((self), (scope), (fn), (arg), #fn, NULL)
#define kith_scope_go_with(self, scope, fn, arg, ...)                                              \
    kith_scope_go_named((self), (scope), (fn), (arg), #fn, __VA_ARGS__)
/* What both expand to; name must live as long as the runtime. Owns, Blocks, Errors and Thread:
 * as kith_scope_go. */
KITH_API kith_ref kith_scope_go_named(kith_self *self, kith_scope *scope, kith_fiber_fn *fn,
                                      void *arg, const char *name,
                                      const kith_fiber_options *options);

/* Waits until all fibers of the scope have ended, and frees it, whatever it returns.
 * Owns: takes the scope. Thread: co's, who made it. Blocks: until all have ended; what interrupts
 * the wait cancels them, and it still waits for their end.
 * Errors: what came first: the first failure of a fiber, or KITH_ECANCELED, KITH_ESHUTDOWN or
 * KITH_EDEADLK: the wait was interrupted. KITH_EPERM: no scope that co has made and not left. */
KITH_API kith_err kith_scope_leave(kith_co *co, kith_scope *scope);

/* The same, but cancels the fibers at the deadline.
 * Owns, Blocks and Thread: as kith_scope_leave. Errors: those, KITH_ETIMEOUT (the deadline came
 * first), KITH_ENOMEM (for the deadline; the fibers were canceled). */
KITH_API kith_err kith_scope_leave_by(kith_co *co, kith_scope *scope, kith_time deadline);

/* Cancels all fibers of the scope, and refuses new ones. It still has to be left.
 * Thread: self's: the maker's or that of a fiber in the scope. Blocks: no.
 * Errors: KITH_EPERM, KITH_EINVAL. */
KITH_API kith_err kith_scope_cancel(kith_self *self, kith_scope *scope);

KITH_END_DECLS

#endif
