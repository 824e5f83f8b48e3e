/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Fibers, scopes and generators when memory runs out: a script is run again and again, and each
 * time another allocation fails, until a run needs no further one.
 *
 * Invariants, of every run: a call that fails says KITH_ENOMEM (or NULL, where that is its error);
 * a scope is left nevertheless, and nobody outlives it; nothing leaks, and free is told the size
 * that was allocated; the runtime shuts down.
 * Threads: the allocator is called by all, so which call meets the n-th allocation differs from run
 * to run; the invariants do not. (The stacks themselves are mapped, not allocated: only their
 * records and what else a fiber needs are.) Built with KITH_MALLOC=1 every message is an
 * allocation, so the timers of deadlines are met one by one, too.
 */
#include "tests/unit/actors_common.h"

/* ---- an allocator that fails once ---- */

struct failing {
    KITH__ATOMIC(long) countdown;
    KITH__ATOMIC(long) failed;
    KITH__ATOMIC(long) live;
    KITH__ATOMIC(long) wrong; /* frees with another size */
};

static void *failing_alloc(void *arg, size_t bytes, size_t align)
{
    struct failing *f = arg;
    if (kith__sub_seq(&f->countdown, 1) == 1) {
        kith__add_seq(&f->failed, 1);
        return NULL;
    }
    char *raw = aligned_alloc(align, (align + bytes + align - 1) & ~(align - 1));
    if (raw == NULL)
        abort();
    size_t before[2] = {bytes, align};
    memset(raw + align, 0xdb, bytes);
    memcpy(raw + align - sizeof before, before, sizeof before);
    kith__add_seq(&f->live, 1);
    return raw + align;
}

static void failing_free(void *arg, void *memory, size_t bytes)
{
    struct failing *f = arg;
    size_t before[2];
    memcpy(before, (char *)memory - sizeof before, sizeof before);
    if (before[0] != bytes)
        kith__add_seq(&f->wrong, 1);
    kith__sub_seq(&f->live, 1);
    free((char *)memory - before[1]);
}

/* ---- the script ---- */

static KITH__ATOMIC(int) alive;

static void ok_or_enomem(kith_err err)
{
    CHECK(err == KITH_OK || err == KITH_ENOMEM);
}

static void sleeper(kith_self *self, kith_co *co, void *arg)
{
    kith_msg *msg;
    (void)arg;
    kith__add_seq(&alive, 1);
    ok_or_enomem(kith_sleep(co, kith_in(100 * KITH_US)));
    ok_or_enomem(kith_send(self, kith_self_ref(self), number, .value = 1));
    kith_err err = kith_receive(co, kith_in(50 * KITH_US), &msg);
    CHECK(err == KITH_OK || err == KITH_ENOMEM || err == KITH_ETIMEOUT);
    err = kith_ask(co, kith_self_ref(self), kith_in(50 * KITH_US), &msg, number, .value = 1);
    CHECK(err == KITH_ETIMEOUT || err == KITH_ENOMEM);
    kith__sub_seq(&alive, 1);
}

/* Ends when it is canceled, at the latest. */
static void waiter(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    (void)arg;
    kith__add_seq(&alive, 1);
    kith_err err = kith_sleep(co, kith_in(KITH_HOUR));
    CHECK(err == KITH_ECANCELED || err == KITH_ENOMEM);
    kith__sub_seq(&alive, 1);
}

static void give_some(kith_gen *gen, void *arg)
{
    while (!kith_gen_closing(gen))
        kith_gen_yield(gen, arg);
}

static void use_gens(kith_self *self)
{
    for (int i = 0; i < 3; i++) {
        kith_gen *gen = kith_gen_new(self, give_some, self);
        if (gen == NULL)
            continue;
        CHECK_EQ(kith_gen_next(gen, NULL, NULL), KITH_OK);
        if (i > 0)
            CHECK_EQ(kith_gen_free(gen), KITH_OK);
    }
}

static void use_scopes(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    kith_scope *scope = kith_scope_new(co);
    if (scope != NULL) {
        for (int i = 0; i < 10; i++)
            ok_or_enomem(kith_ref_error(kith_scope_go(self, scope, sleeper, NULL)));
        CHECK_EQ(kith_scope_leave(co, scope), KITH_OK);
    }
    scope = kith_scope_new(co);
    if (scope != NULL) {
        for (int i = 0; i < 10; i++)
            ok_or_enomem(kith_ref_error(kith_scope_go(self, scope, waiter, NULL)));
        kith_err err = kith_scope_leave_by(co, scope, kith_in(100 * KITH_US));
        CHECK(err == KITH_OK || err == KITH_ENOMEM || err == KITH_ETIMEOUT);
    }
    use_gens(self);
}

static void act(kith_self *self, kith_co *co)
{
    use_scopes(self, co, NULL);
    CHECK_EQ(kith__load_seq(&alive), 0);
    kith_scope *scope = kith_scope_new(co);
    if (scope == NULL)
        return;
    for (int i = 0; i < 3; i++)
        ok_or_enomem(kith_ref_error(kith_scope_go(self, scope, use_scopes, NULL)));
    CHECK_EQ(kith_scope_leave(co, scope), KITH_OK);
    CHECK_EQ(kith__load_seq(&alive), 0);
}

static void end(kith_runtime *rt)
{
    kith_err err;
    do
        err = kith_shutdown(rt, PATIENCE);
    while (err == KITH_ENOMEM);
    CHECK_EQ(err, KITH_OK);
}

/* A run in which the n-th allocation fails. Returns whether there was one. */
static bool run_script(unsigned workers, long n)
{
    struct failing memory = {.countdown = n};
    kith_config config = {.workers = workers,
                          .seed = 3,
                          .stall_ns = KITH_HOUR,
                          .allocator = {failing_alloc, failing_free, &memory}};
    kith_runtime *rt;
    kith_self *self;
    kith_co *co;
    kith_err err = kith_start(&config, &rt);
    ok_or_enomem(err);
    if (err == KITH_OK) {
        err = kith_attach(rt, &self, &co);
        CHECK(err == KITH_OK || err == KITH_ENOMEM || err == KITH_EAGAIN);
        if (err == KITH_OK) {
            act(self, co);
            CHECK_EQ(kith_detach(self), KITH_OK);
        }
        end(rt);
    }
    CHECK_EQ(kith__load_seq(&memory.live), 0);
    CHECK_EQ(kith__load_seq(&memory.wrong), 0);
    return kith__load_seq(&memory.failed) > 0;
}

static void run_all(unsigned workers)
{
    long n = 1;
    while (run_script(workers, n) && test_failures == 0)
        n += n < 200 ? 1 : 1 + n / 20;
    CHECK_GT(n, 10);
}

TEST(each_allocation_fails_in_turn_with_one_worker)
{
    run_all(1);
}

TEST(each_allocation_fails_in_turn_with_two_workers)
{
    run_all(2);
}
