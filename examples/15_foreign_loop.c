/* SPDX-License-Identifier: BSD-2-Clause
 *
 * kith inside a GLib main loop: one thread, two kinds of callbacks.
 *
 * GLib owns the loop. kith is a source in it: GLib polls kith's one descriptor, no longer than to
 * kith's deadline, and then lets kith run what is ready. A GLib timeout hands numbers to an actor,
 * which squares them and adds them up; a fiber sleeps, and asks it for the sum, again and again.
 * Neither knows of the other's loop.
 *
 *     15_foreign_loop [ROUNDS]      how many numbers the timeout hands in (default 20)
 */
#include <glib.h>
#include <inttypes.h>
#include <kith.h>
#include <stdio.h>
#include <stdlib.h>

KITH_MESSAGE(number, { uint64_t value; });
KITH_MESSAGE(get_sum, { char none; });
KITH_MESSAGE(sum_is, { uint64_t value; });

/* ---- the kith side ---- */

struct squarer {
    uint64_t sum;
};

KITH_ON(squarer, number)
{
    me->sum += msg->value * msg->value;
    (void)self;
    return KITH_OK;
}

KITH_ON(squarer, get_sum)
{
    (void)msg;
    return kith_reply(self, sum_is, .value = me->sum);
}

static const kith_behavior squarer = {
    .name = "squarer",
    .state_bytes = sizeof(struct squarer),
    .handlers = KITH_HANDLERS(squarer, number, get_sum),
};

struct program {
    kith_runtime *rt;
    kith_self *self;
    kith_ref squarer;
    GMainLoop *loop;
    uint64_t rounds;
    uint64_t handed_in; /* by GLib's timeout */
    uint64_t asked;     /* by the fiber */
    uint64_t sum;       /* what the fiber heard last */
};

/* Each turn of the fiber's loop is a timer of kith's and a question. */
static void asker(kith_self *self, kith_co *co, void *arg)
{
    struct program *p = arg;
    uint64_t before = 0; /* handed in before the question: the answer has it */
    (void)self;
    while (p->asked < p->rounds || before < p->rounds) {
        kith_msg *reply;
        if (kith_sleep(co, kith_in(2 * KITH_MS)) != KITH_OK)
            break;
        before = p->handed_in;
        if (kith_ask(co, p->squarer, kith_in(KITH_SECOND), &reply, get_sum, .none = 0) != KITH_OK)
            break;
        p->sum = kith_body(reply, sum_is)->value;
        p->asked++;
    }
    g_main_loop_quit(p->loop);
}

/* ---- kith as a source of GLib's ---- */

struct kith_source {
    GSource base;
    kith_runtime *rt;
    gpointer fd; /* GLib's tag of the descriptor */
};

/* GLib asks how long it may sleep. */
static gboolean source_prepare(GSource *source, gint *timeout_ms)
{
    kith_time next = kith_loop_deadline(((struct kith_source *)source)->rt);
    kith_time now = kith_now();
    *timeout_ms = -1;
    if (next == KITH_FOREVER)
        return FALSE;
    kith_time ms = next > now ? (next - now + KITH_MS - 1) / KITH_MS : 0;
    *timeout_ms = ms > 60000 ? 60000 : (gint)ms;
    return ms == 0;
}

static gboolean source_check(GSource *source)
{
    struct kith_source *s = (struct kith_source *)source;
    return g_source_query_unix_fd(source, s->fd) != 0 || kith_loop_deadline(s->rt) <= kith_now();
}

static gboolean source_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    (void)callback;
    (void)data;
    return kith_loop_run(((struct kith_source *)source)->rt, KITH_NOWAIT) == KITH_OK;
}

static GSourceFuncs source_functions = {
    .prepare = source_prepare, .check = source_check, .dispatch = source_dispatch};

static bool source_attach(kith_runtime *rt)
{
    int fd;
    if (kith_loop_fd(rt, &fd) != KITH_OK)
        return false;
    GSource *source = g_source_new(&source_functions, sizeof(struct kith_source));
    struct kith_source *s = (struct kith_source *)source;
    s->rt = rt;
    s->fd = g_source_add_unix_fd(source, fd, G_IO_IN);
    g_source_attach(source, NULL);
    g_source_unref(source); /* the context has it */
    return true;
}

/* ---- the GLib side ---- */

/* GLib's own callback, on the same thread: it may send, it need not wait. */
static gboolean hand_in(gpointer data)
{
    struct program *p = data;
    p->handed_in++;
    kith_send(p->self, p->squarer, number, .value = p->handed_in);
    return p->handed_in < p->rounds ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

/* What was handed in, squared and added up. */
static bool right(const struct program *p)
{
    uint64_t n = p->rounds;
    return p->handed_in == n && p->asked >= n && p->sum == n * (n + 1) * (2 * n + 1) / 6;
}

static int run(struct program *p)
{
    p->squarer = kith_spawn(p->self, &squarer, NULL);
    p->loop = g_main_loop_new(NULL, FALSE);
    if (!source_attach(p->rt)) {
        fprintf(stderr, "no descriptor of kith's loop\n");
        return 1;
    }
    kith_go(p->self, asker, p);
    g_timeout_add(3, hand_in, p);
    g_main_loop_run(p->loop);
    g_main_loop_unref(p->loop);
    printf("GLib handed in %" PRIu64 " numbers, a fiber asked %s\n", p->handed_in,
           p->asked >= p->rounds ? "as often, or more" : "less often");
    printf("check: the squares add up, on one thread: %s\n", right(p) ? "ok" : "WRONG");
    return right(p) ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct program p = {.rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 20};
    const kith_config config = {.executor = KITH_LOOP, .log = kith_log_stderr};
    if (argc > 2 || p.rounds == 0 || p.rounds > 10000) {
        fprintf(stderr, "usage: 15_foreign_loop [ROUNDS, 1 to 10000]\n");
        return 2;
    }
    kith_err err = kith_start(&config, &p.rt);
    if (err == KITH_OK)
        err = kith_attach(p.rt, &p.self, NULL);
    if (err != KITH_OK) {
        fprintf(stderr, "no runtime: %s\n", kith_strerror(err));
        return 1;
    }
    int status = run(&p);
    kith_detach(p.self);
    return kith_shutdown(p.rt, kith_in(5 * KITH_SECOND)) == KITH_OK ? status : 1;
}
