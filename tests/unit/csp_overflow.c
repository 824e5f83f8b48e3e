/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a program sees when a stack overflows, csp/overflow.c: the line with the name, the signal, its
 * own handlers before, and that everything is as it was when the runtime has ended.
 *
 * Each case is a child process, of which the way it ended and its stderr are looked at.
 */
#include "csp/context.h" /* KITH__ASAN */
#include "csp/stack.h"
#include "tests/unit/test.h"

#include <kith.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPORT "kith: fiber deep: its stack of 65536 bytes has overflowed\n"
#define GEN_REPORT "kith: a generator: its stack of 65536 bytes has overflowed\n"

/* ---- the child ---- */

struct fate {
    int signal; /* that ended it; 0: it has exited */
    int status;
    char said[8192];
};

static void read_all(int fd, struct fate *fate)
{
    size_t used = 0;
    ssize_t n;
    while (used < sizeof fate->said - 1 &&
           (n = read(fd, fate->said + used, sizeof fate->said - 1 - used)) > 0)
        used += (size_t)n;
    fate->said[used] = '\0';
}

static void child_main(void (*body)(void), int to)
{
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(to, STDERR_FILENO);
    signal(SIGSEGV, SIG_DFL); /* not the sanitizers' */
    signal(SIGBUS, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    alarm(60); /* a child that hangs ends by another signal than what is expected */
    body();
    _exit(0);
}

static struct fate fate_of(void (*body)(void))
{
    struct fate fate = {0};
    int ends[2];
    fflush(stdout);
    if (pipe(ends) != 0)
        abort();
    pid_t child = fork();
    if (child < 0)
        abort();
    if (child == 0)
        child_main(body, ends[1]);
    close(ends[1]);
    read_all(ends[0], &fate);
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        fate.signal = WTERMSIG(status);
    else
        fate.status = WEXITSTATUS(status);
    return fate;
}

static void write_text(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

/* ---- what runs there ---- */

/* Somebody may look at all of it, so that no compiler keeps only the bytes that are used. */
static void keep_whole(const volatile char *room)
{
    __asm__ volatile("" : : "r"(room) : "memory");
}

/* Goes down by at least this many bytes. */
static size_t dive(size_t bytes) // NOLINT(misc-no-recursion)
{
    volatile char room[256];
    for (size_t i = 0; i < sizeof room; i += 64)
        room[i] = (char)bytes;
    keep_whole(room);
    return bytes <= sizeof room ? 1 : dive(bytes - sizeof room) + (room[0] == (char)bytes);
}

static volatile size_t sink;
static size_t depth =
    (size_t)1 << 30; /* of deep: more than any stack, unless a test says otherwise */

static void deep(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    (void)co;
    (void)arg;
    sink = dive(depth);
}

static void wait_for_ever(kith_co *co)
{
    kith_msg *msg;
    (void)kith_receive(co, KITH_FOREVER, &msg);
    _exit(8);
}

/* Starts a fiber from main, and waits for ever: the fiber ends the process. */
static const kith_fiber_options *deep_options;
static void run_deep(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    kith_go_named(self, deep, NULL, "deep", deep_options);
    wait_for_ever(co);
}

static kith_config config;

static void main_deep(void)
{
    kith_main(&config, run_deep, NULL);
}

static void configure(unsigned workers)
{
    config = (kith_config){.workers = workers, .stall_ns = 3600 * KITH_SECOND}; /* no other line */
    deep_options = NULL;
    depth = (size_t)1 << 30;
}

/* ---- the report ---- */

TEST(an_overflow_names_the_fiber)
{
    static const unsigned workers[] = {1, 2, 4};
    for (unsigned i = 0; i < 3; i++) {
        configure(workers[i]);
        struct fate fate = fate_of(main_deep);
        CHECK_EQ(fate.signal, SIGSEGV);
        CHECK_STR(fate.said, REPORT);
    }
}

/* Each worker has its own stack for the handler. */
TEST(on_each_worker)
{
    for (unsigned worker = 1; worker <= 4; worker++) {
        configure(4);
        const kith_fiber_options options = {.worker = worker, .stack_bytes = 16 << 10};
        deep_options = &options;
        struct fate fate = fate_of(main_deep);
        CHECK_EQ(fate.signal, SIGSEGV);
        CHECK_STR(fate.said, "kith: fiber deep: its stack of 16384 bytes has overflowed\n");
    }
}

TEST(in_a_loop_on_the_own_thread)
{
    configure(0);
    config.executor = KITH_LOOP;
    struct fate fate = fate_of(main_deep);
    CHECK_EQ(fate.signal, SIGSEGV);
    CHECK_STR(fate.said, REPORT);
}

static void started_deep(void)
{
    kith_runtime *rt;
    kith_self *self;
    kith_co *co;
    if (kith_start(&config, &rt) != KITH_OK || kith_attach(rt, &self, &co) != KITH_OK)
        _exit(9);
    run_deep(self, co, NULL);
}

TEST(kith_start_says_nothing_unless_asked)
{
    configure(2);
    struct fate fate = fate_of(started_deep);
    CHECK_EQ(fate.signal, SIGSEGV);
    CHECK_STR(fate.said, "");
    config.stack_report = true;
    fate = fate_of(started_deep);
    CHECK_EQ(fate.signal, SIGSEGV);
    CHECK_STR(fate.said, REPORT);
}

/* ---- generators ---- */

static void gen_deep(kith_gen *gen, void *arg)
{
    (void)gen;
    (void)arg;
    sink = dive(depth);
}

static void use_gen(kith_self *self, kith_co *co, void *arg)
{
    (void)co;
    (void)arg;
    kith_gen *gen = kith_gen_new(self, gen_deep, NULL);
    if (gen == NULL || kith_gen_next(gen, NULL, NULL) != KITH_ECLOSED)
        _exit(9);
    kith_gen_free(gen);
}

static void in_a_fiber(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    kith_go(self, use_gen, NULL);
    wait_for_ever(co);
}

static void main_gen(void)
{
    kith_main(&config, use_gen, NULL);
}

static void main_gen_in_fiber(void)
{
    kith_main(&config, in_a_fiber, NULL);
}

TEST(a_generator_is_not_mistaken_for_its_user)
{
    configure(2);
    struct fate fate = fate_of(main_gen);
    CHECK_EQ(fate.signal, SIGSEGV);
    CHECK_STR(fate.said, GEN_REPORT);
    fate = fate_of(main_gen_in_fiber);
    CHECK_EQ(fate.signal, SIGSEGV);
    CHECK_STR(fate.said, GEN_REPORT);
}

/* ---- handlers that were there before ---- */

static void own_exits(int sig, siginfo_t *info, void *context)
{
    (void)context;
    write_text(sig == SIGSEGV && info->si_addr != NULL ? "own\n" : "wrong\n");
    _exit(3);
}

static void own_simple(int sig)
{
    write_text("own\n");
    signal(sig, SIG_DFL);
}

static void own_install(void (*info)(int, siginfo_t *, void *), void (*simple)(int), int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    if (info != NULL)
        action.sa_sigaction = info;
    else
        action.sa_handler = simple;
    action.sa_flags = flags | (info != NULL ? SA_SIGINFO : 0);
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaction(SIGSEGV, &action, NULL);
}

static void own_exits_deep(void)
{
    own_install(own_exits, NULL, 0);
    main_deep();
}

static void own_simple_deep(void)
{
    own_install(NULL, own_simple, SA_RESTART);
    main_deep();
}

/* It would not have been called on the stack that has overflowed. */
static void own_once_deep(void)
{
    own_install(NULL, own_simple, SA_ONSTACK | (int)SA_RESETHAND);
    main_deep();
}

TEST(a_handler_that_was_there_gets_everything)
{
    configure(2);
    struct fate fate = fate_of(own_exits_deep);
    CHECK_EQ(fate.signal, 0);
    CHECK_EQ(fate.status, 3);
    CHECK_STR(fate.said, REPORT "own\n");
    fate = fate_of(own_simple_deep);
    CHECK_EQ(fate.signal, SIGSEGV);
    CHECK_STR(fate.said, REPORT "own\n");
    fate = fate_of(own_once_deep);
    CHECK_EQ(fate.signal, SIGSEGV);
    CHECK_STR(fate.said, REPORT "own\n");
}

/* ---- faults that are no overflow ---- */

static char *page; /* that nobody may touch */
static unsigned mended;

/* As a collector or a data base in memory does it. */
static void own_mends(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)context;
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    if (info->si_addr != page || !sigismember(&now, SIGUSR1) || !sigismember(&now, SIGSEGV))
        _exit(4);
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
    mended++;
}

static void touch(void)
{
    *(volatile char *)page = 1;
    mprotect(page, 4096, PROT_NONE);
}

static void page_open(void)
{
    page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        _exit(9);
}

KITH_MESSAGE(fault, { void (*how)(void); });
KITH_MESSAGE(went_on, { char none; });
struct faulty {
    char none;
};

KITH_ON(faulty, fault)
{
    (void)me;
    msg->how();
    return kith_reply(self, went_on, .none = 0);
}

static const kith_behavior faulty = {
    .name = "faulty",
    .state_bytes = sizeof(struct faulty),
    .handlers = KITH_HANDLERS(faulty, fault),
};

static void (*how_to_fault)(void);

static void fault_in(kith_co *co, kith_ref actor)
{
    kith_msg *reply;
    if (kith_ask(co, actor, KITH_FOREVER, &reply, fault, .how = how_to_fault) != KITH_OK)
        _exit(9);
}

static void touch_in_fiber(kith_self *self, kith_co *co, void *arg)
{
    (void)co;
    (void)arg;
    how_to_fault();
    kith_send(self, kith_parent(self), went_on, .none = 0);
}

/* In an actor's handler, in main, in a fiber; then a stack overflows. */
static void faults_and_deep(kith_self *self, kith_co *co, void *arg)
{
    kith_ref actor = kith_spawn(self, &faulty, NULL);
    fault_in(co, actor);
    fault_in(co, actor);
    how_to_fault();
    kith_go(self, touch_in_fiber, NULL);
    kith_msg *msg;
    if (kith_receive(co, KITH_FOREVER, &msg) != KITH_OK || kith_body(msg, went_on) == NULL)
        _exit(9);
    char text[32];
    snprintf(text, sizeof text, "mended %u\n", mended);
    write_text(text);
    own_install(NULL, own_simple, 0); /* over ours */
    struct sigaction now;
    sigaction(SIGSEGV, NULL, &now);
    if (now.sa_handler != own_simple)
        _exit(5);
    run_deep(self, co, arg);
}

static void main_mended(void)
{
    page_open();
    how_to_fault = touch;
    own_install(own_mends, NULL, 0);
    kith_main(&config, faults_and_deep, NULL);
}

TEST(a_handler_that_mends_goes_on_mending)
{
    configure(2);
    struct fate fate = fate_of(main_mended);
    CHECK_EQ(fate.signal, SIGSEGV);
    CHECK_STR(fate.said, "mended 4\n"); /* and its later handler found no stack to run on */
}

static void actor_faults(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    fault_in(co, kith_spawn(self, &faulty, NULL));
}

static void main_actor_faults(void)
{
    page_open();
    kith_main(&config, actor_faults, NULL);
}

static void send_fault(void)
{
    raise(SIGSEGV);
}

static void send_bus(void)
{
    raise(SIGBUS);
}

TEST(a_fault_in_a_handler_is_passed_on)
{
    configure(2);
    how_to_fault = touch;
    struct fate fate = fate_of(main_actor_faults);
    CHECK_EQ(fate.signal, SIGSEGV);
    CHECK_STR(fate.said, "");
    how_to_fault = send_fault;
    fate = fate_of(main_actor_faults);
    CHECK_EQ(fate.signal, SIGSEGV);
    CHECK_STR(fate.said, "");
    how_to_fault = send_bus;
    fate = fate_of(main_actor_faults);
    CHECK_EQ(fate.signal, SIGBUS);
    CHECK_STR(fate.said, "");
}

static void main_ignored(void)
{
    signal(SIGBUS, SIG_IGN);
    how_to_fault = send_bus;
    kith_main(&config, actor_faults, NULL);
    write_text("went on\n");
}

TEST(a_signal_that_was_ignored_is)
{
    configure(2);
    struct fate fate = fate_of(main_ignored);
    CHECK_EQ(fate.signal, 0);
    CHECK_EQ(fate.status, 0);
    CHECK_STR(fate.said, "went on\n");
}

/* A fiber that waits, in order, and has told where it stands. */
static void stander(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    char here;
    *(volatile uintptr_t *)arg = (uintptr_t)&here;
    wait_for_ever(co);
}

static volatile uintptr_t stands_at;

/* Everything from there down, until it faults: the guard of somebody else's stack. */
static void touch_down(void)
{
    for (char *at = (char *)stands_at;; at -= 4096) // NOLINT(performance-no-int-to-ptr)
        sink = (size_t) * (volatile char *)at;
}

static void touch_anothers(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    how_to_fault = touch_down;
    kith_go_named(self, stander, (void *)(uintptr_t)&stands_at, "stander", NULL);
    while (stands_at == 0)
        (void)kith_yield(co);
    fault_in(co, kith_spawn(self, &faulty, NULL));
}

static void main_anothers(void)
{
    kith_main(&config, touch_anothers, NULL);
}

TEST(a_wild_pointer_blames_nobody)
{
    if (KITH__TSAN) {
        printf("(not with ThreadSanitizer: the pointer reads what others write) ");
        return;
    }
    configure(1);
    struct fate fate = fate_of(main_anothers);
    CHECK_EQ(fate.signal, SIGSEGV);
    CHECK_STR(fate.said, "");
}

/* ---- without guards ---- */

static void deep_and_wait(kith_self *self, kith_co *co, size_t bytes) // NOLINT(misc-no-recursion)
{
    volatile char room[1024];
    for (size_t i = 0; i < sizeof room; i += 64)
        room[i] = (char)bytes;
    keep_whole(room);
    if (bytes <= sizeof room)
        (void)kith_yield(co);
    else
        deep_and_wait(self, co, bytes - sizeof room);
    sink = (size_t)room[0];
}

static void deep_waits(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    deep_and_wait(self, co, (size_t)66 << 10);
    write_text("went on\n");
}

static void run_deep_waits(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    kith_go_named(self, deep_waits, NULL, "deep", NULL);
    wait_for_ever(co);
}

static void main_deep_waits(void)
{
    kith_main(&config, run_deep_waits, NULL);
}

static void started_deep_waits(void)
{
    kith_runtime *rt;
    kith_self *self;
    kith_co *co;
    if (kith_start(&config, &rt) != KITH_OK || kith_attach(rt, &self, &co) != KITH_OK)
        _exit(9);
    run_deep_waits(self, co, NULL);
}

static void check_aborted(struct fate fate, const char *report)
{
    CHECK_EQ(fate.signal, SIGABRT);
    if (strstr(fate.said, report) != fate.said)
        FAIL("it said: %s", fate.said);
    CHECK(strstr(fate.said, "memory is damaged") != NULL);
}

TEST(without_guards_it_is_noticed_at_a_wait_and_at_the_end)
{
    configure(2);
    config.no_stack_guards = true;
    depth = (size_t)66 << 10; /* beyond its end, and not into the stack below */
    check_aborted(fate_of(main_deep), "kith: error: fiber deep: its stack of 65536 bytes has");
    check_aborted(fate_of(main_gen), "kith: error: a generator: its stack of 65536 bytes has");
    check_aborted(fate_of(main_deep_waits), "kith: error: fiber deep: its stack of 65536 bytes");
    check_aborted(fate_of(started_deep_waits), REPORT);
}

/* ---- afterwards ---- */

static bool is_default(int sig)
{
    struct sigaction now;
    sigaction(sig, NULL, &now);
    return (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_DFL;
}

static bool all_default(void)
{
    return is_default(SIGSEGV) && is_default(SIGBUS);
}

static bool has_signal_stack(void)
{
    stack_t now;
    return sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE) == 0;
}

static void expect(bool ok, const char *what)
{
    if (!ok)
        write_text(what);
}

static void do_little(kith_self *self, kith_co *co, void *arg)
{
    (void)self;
    (void)co;
    (void)arg;
    sink = dive(8192);
}

static void use_all(kith_self *self, kith_co *co, void *arg)
{
    (void)arg;
    depth = 8192;
    use_gen(self, co, NULL);
    kith_ref f = kith_go(self, do_little, NULL);
    kith_msg *msg;
    expect(kith_monitor(self, f) == KITH_OK, "no monitor\n");
    expect(kith_receive(co, KITH_FOREVER, &msg) == KITH_OK, "no news\n");
    expect(!is_default(SIGSEGV) && !is_default(SIGBUS), "not installed\n");
    expect(has_signal_stack(), "no stack\n");
}

static void end_all(void)
{
    static char own[65536];
    const stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL); /* a sanitizer's */
    for (unsigned loop = 0; loop < 2; loop++) {
        config.executor = loop != 0 ? KITH_LOOP : KITH_POOL;
        expect(kith_main(&config, use_all, NULL) == 0, "failed\n");
        expect(all_default(), "not uninstalled\n");
        expect(!has_signal_stack(), "the stack was left\n");
    }
    const stack_t mine = {.ss_sp = own, .ss_size = sizeof own};
    sigaltstack(&mine, NULL);
    expect(kith_main(&config, use_all, NULL) == 0, "failed with a stack\n");
    stack_t now;
    sigaltstack(NULL, &now);
    expect(now.ss_sp == own && has_signal_stack(), "the program's stack was taken\n");
}

TEST(all_is_as_it_was_when_the_runtime_has_ended)
{
    configure(0);
    struct fate fate = fate_of(end_all);
    CHECK_EQ(fate.signal, 0);
    CHECK_STR(fate.said, "");
}

static void end_two(void)
{
    kith_runtime *a;
    kith_runtime *b;
    expect(kith_start(&config, &a) == KITH_OK, "no a\n");
    expect(kith_start(&config, &b) == KITH_OK, "no b\n");
    expect(kith_shutdown(a, KITH_FOREVER) == KITH_OK, "a\n");
    expect(!is_default(SIGSEGV), "uninstalled early\n");
    struct sigaction ours;
    sigaction(SIGSEGV, NULL, &ours);
    expect(kith_shutdown(b, KITH_FOREVER) == KITH_OK, "b\n");
    expect(all_default(), "not uninstalled\n");
    sigaction(SIGSEGV, &ours, NULL); /* whoever puts back what it has found */
    main_deep();
}

static void end_under_another(void)
{
    kith_runtime *rt;
    expect(kith_start(&config, &rt) == KITH_OK, "no runtime\n");
    own_install(NULL, own_simple, 0);
    expect(kith_shutdown(rt, KITH_FOREVER) == KITH_OK, "shutdown\n");
    struct sigaction now;
    sigaction(SIGSEGV, NULL, &now);
    expect(now.sa_handler == own_simple, "the program's handler was taken\n");
}

TEST(the_last_runtime_restores_the_handlers)
{
    configure(2);
    config.stack_report = true;
    struct fate fate = fate_of(end_two);
    CHECK_EQ(fate.signal, SIGSEGV);
    CHECK_STR(fate.said, REPORT);
    fate = fate_of(end_under_another);
    CHECK_EQ(fate.signal, 0);
    CHECK_STR(fate.said, "");
}
