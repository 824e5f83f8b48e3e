/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 14_scopes: fibers in a scope end before the scope is left, however it is left.
 *
 * Four times a crowd of diggers is started in a scope. Each digger takes a tool and brings it back
 * whatever happens to it, so the number of tools in use is 0 again as soon as the scope has been
 * left; and its result is written to the stack of who started it, because it cannot outlive that.
 *
 *   all        1,000 diggers each find what they are to find, and the scope is left when all have
 *   failure    one hits a rock: the others, who would dig for an hour, are canceled
 *   deadline   nobody finds anything in 50 ms
 *   race       the first who finds it cancels the others
 *
 * The known answers: the sum of the finds, the error that leaving the scope answers, and the tools.
 */
#include <kith.h>
#include <stdio.h>

enum { DIGGERS = 1000 };

/* In use. All diggers run on one worker, so no two of them are here at once; and main looks when
 * the scope has been left. */
static int tools;

struct claim {
    kith_scope *scope;
    kith_time finds_at; /* when it finds what it looks for */
    kith_err rock;      /* what it fails with instead; KITH_OK: nothing */
    bool first_only;    /* whoever finds it ends the search */
    int *found;
    int value;
};

static void dig(kith_self *self, kith_co *co, void *arg)
{
    const struct claim *claim = arg;
    tools++;
    kith_err err = kith_sleep(co, claim->finds_at); /* KITH_ECANCELED: somebody calls it back */
    if (err == KITH_OK && claim->rock != KITH_OK)
        kith_fail(self, claim->rock);
    else if (err == KITH_OK)
        *claim->found += claim->value;
    if (err == KITH_OK && claim->first_only)
        kith_scope_cancel(self, claim->scope);
    tools--;
}

/* Starts diggers 0 ... DIGGERS - 1 by what `first` and `others` claim; digger i finds i. */
static void start(kith_self *self, struct claim first, struct claim others)
{
    /* Each gets a copy of its claim, and runs on the first worker. */
    const kith_fiber_options options = {.arg_bytes = sizeof first, .worker = 1};
    for (int i = 0; i < DIGGERS; i++) {
        struct claim *claim = i == 0 ? &first : &others;
        claim->value = i;
        kith_scope_go_with(self, claim->scope, dig, claim, &options);
    }
}

static bool check(const char *what, kith_err err, kith_err expected, bool found)
{
    bool ok = err == expected && found && tools == 0;
    printf("%-8s  %s, %d tools in use\n", what, kith_strerror(err), tools);
    printf("check: %s: %s\n", what, ok ? "ok" : "FAILED");
    return ok;
}

static bool dig_all(kith_self *self, kith_co *co)
{
    int found = 0; /* on this stack, which the diggers do not outlive */
    struct claim claim = {kith_scope_new(co), kith_in(5 * KITH_MS), KITH_OK, false, &found, 0};
    start(self, claim, claim);
    kith_err err = kith_scope_leave(co, claim.scope);
    return check("all", err, KITH_OK, found == DIGGERS * (DIGGERS - 1) / 2);
}

static bool dig_on_rock(kith_self *self, kith_co *co)
{
    int found = 0;
    struct claim idle = {kith_scope_new(co), kith_in(KITH_HOUR), KITH_OK, false, &found, 0};
    struct claim unlucky = idle;
    unlucky.finds_at = kith_in(20 * KITH_MS);
    unlucky.rock = KITH_EIO;
    start(self, unlucky, idle);
    kith_err err = kith_scope_leave(co, idle.scope);
    return check("failure", err, KITH_EIO, found == 0);
}

static bool dig_until(kith_self *self, kith_co *co)
{
    int found = 0;
    struct claim idle = {kith_scope_new(co), kith_in(KITH_HOUR), KITH_OK, false, &found, 0};
    start(self, idle, idle);
    kith_err err = kith_scope_leave_by(co, idle.scope, kith_in(50 * KITH_MS));
    return check("deadline", err, KITH_ETIMEOUT, found == 0);
}

static bool dig_race(kith_self *self, kith_co *co)
{
    int found = 7;
    struct claim slow = {kith_scope_new(co), kith_in(KITH_HOUR), KITH_OK, true, &found, 0};
    struct claim fast = slow;
    fast.finds_at = kith_in(20 * KITH_MS);
    start(self, fast, slow);
    kith_err err = kith_scope_leave(co, slow.scope);
    return check("race", err, KITH_OK, found == 7); /* digger 0 was the first, and found 0 */
}

static void scopes(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    bool ok = dig_all(self, co);
    ok = dig_on_rock(self, co) && ok;
    ok = dig_until(self, co) && ok;
    ok = dig_race(self, co) && ok;
    if (!ok)
        kith_fail(self, KITH_EFAILED);
}

int main(int argc, KITH_UNUSED char **argv)
{
    if (argc > 1) {
        fprintf(stderr, "usage: 14_scopes\n");
        return 2;
    }
    return kith_main(NULL, scopes, NULL);
}
