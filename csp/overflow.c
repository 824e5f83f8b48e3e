/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Names the fiber whose stack has overflowed: a handler of SIGSEGV and SIGBUS, only where the
 * configuration asks for one (stack_report; kith_main does).
 *
 * Called by: the kernel; csp/csp.c, csp/fiber.c and csp/gen.c as overflow.h says.
 *
 * Invariants
 *  OV1. What the program would have seen without the handler it sees with it: a handler that was there
 *       before is called for every fault, with its own mask; where there was none the default action
 *       is restored, and the fault repeats. A fault that is not a stack's overflow is passed on without
 *       a word.
 *  OV2. `before` of a signal is complete when the handler can run for the first time, and changes no
 *       more while any runtime has it.
 *  OV3. In the handler only what POSIX allows there is called. What it looks at stays: the context is
 *       this thread's, slabs and their records live as long as the runtime (F2 of stack.h), the fiber's
 *       control block stands at the other end of its stack.
 *
 * Threads: open and close under the lock; the handler on any.
 *
 * Why a stack of its own: the one that has overflowed has no room for a handler. Each thread needs one,
 *   and gets it when the first fiber settles there. A thread that has one keeps its own.
 * Why stderr and not the log: the program's log function may do what no handler may.
 * Why the guard of the running fiber only, or the one that the stack pointer is near: a wild pointer may
 *   hit the guard of any stack, and a fiber that did nothing is not to be blamed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* MAP_ANONYMOUS, the names of registers */
#endif
#include "csp/overflow.h"

#include "csp/csp.h"
#include "csp/fiber.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

/* Room for a program's handler too, which may print a backtrace. */
#define EACH_BYTES_MIN ((size_t)64 << 10)
#define LINE_BYTES 256u

/* ---- the line ---- */

struct line {
    size_t used;
    char text[LINE_BYTES];
};

/* Keeps one byte free, for the newline. */
static void put(struct line *line, const char *text)
{
    for (; *text != '\0' && line->used < LINE_BYTES - 1; text++) {
        char c = *text;
        if ((unsigned char)c < 0x20 || c == 0x7f)
            c = ' ';
        line->text[line->used++] = c;
    }
}

static void put_number(struct line *line, size_t number)
{
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put(line, digits + at);
}

static size_t bytes_of(const struct kith__stack *stack)
{
    return (size_t)((char *)stack->high - (char *)stack->low);
}

static void say(const struct kith__stack *stack, const char *name)
{
    struct line line = {.used = 0};
    put(&line, name != NULL ? "kith: fiber " : "kith: a generator");
    put(&line, name != NULL ? name : "");
    put(&line, ": its stack of ");
    put_number(&line, bytes_of(stack));
    put(&line, " bytes has overflowed");
    line.text[line.used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line.text, line.used);
    (void)written; /* a stderr that takes nothing changes nothing */
}

void kith__overflow_die(const struct kith_runtime *rt, const struct kith__stack *stack,
                        const char *name)
{
    if (rt->log.fn == NULL)
        say(stack, name); /* as the assertion below does */
    kith__log(&rt->log, KITH_LOG_ERROR, "%s%s: its stack of %zu bytes has overflowed",
              name != NULL ? "fiber " : "a generator", name != NULL ? name : "", bytes_of(stack));
    kith__assert_failed("a stack has overflowed, and memory is damaged", __FILE__, __LINE__);
}

/* ---- whose fault it is ---- */

/* Where the stack pointer was; NULL where we do not know how to ask. */
static const void *pointer_of(const ucontext_t *context)
{
#if defined(__x86_64__)
    return (const void *)context->uc_mcontext.gregs[REG_RSP]; // NOLINT(performance-no-int-to-ptr)
#elif defined(__aarch64__)
    return (const void *)context->uc_mcontext.sp; // NOLINT(performance-no-int-to-ptr)
#else
    (void)context;
    return NULL;
#endif
}

static const struct kith__fiber *running_fiber(const struct kith__ctx *ctx)
{
    const struct kith_self *task = ctx->running;
    return task != NULL && task->ops == &kith__fiber_ops ? task->state : NULL;
}

static void report(const void *address, const ucontext_t *context)
{
    const struct kith__ctx *ctx = kith__ctx_here;
    struct kith__csp *csp = ctx != NULL ? ctx->rt->csp : NULL;
    if (csp == NULL || csp->overflow.stacks == NULL)
        return;
    const struct kith__stack *stack = kith__stacks_find(&csp->stacks, address);
    if (stack == NULL || !kith__stack_guards(stack, address))
        return;
    const struct kith__fiber *f = running_fiber(ctx);
    if (f != NULL && f->stack == stack)
        say(stack, f->kind->behavior.name);
    else if (kith__stacks_find(&csp->stacks, pointer_of(context)) == stack)
        say(stack, NULL);
}

/* ---- the handler ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t users; /* runtimes; under the lock */
static struct {
    const int signal;
    struct sigaction before; /* OV2 */
} faults[] = {{.signal = SIGSEGV}, {.signal = SIGBUS}};
enum { FAULTS = sizeof faults / sizeof faults[0] };

static bool is_function(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) != 0 ||
           (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN);
}

/* OV1. Whoever sent the signal does not send it again, so we do; it comes when we return. */
static void pass_on(const struct sigaction *before, int signal, siginfo_t *info, void *context)
{
    if (is_function(before) && ((unsigned)before->sa_flags & SA_RESETHAND) == 0) {
        if ((before->sa_flags & SA_SIGINFO) != 0)
            before->sa_sigaction(signal, info, context);
        else
            before->sa_handler(signal);
        return;
    }
    bool sent = info->si_code <= 0;
    if (sent && before->sa_handler == SIG_IGN)
        return;
    sigaction(signal, before, NULL);
    if (sent)
        raise(signal);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    if (info->si_code > 0) /* the kernel's own: else there is no address */
        report(info->si_addr, context);
    errno = saved;
    pass_on(&faults[signal == SIGSEGV ? 0 : 1].before, signal, info, context);
}

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) != 0 && action->sa_sigaction == on_fault;
}

/* A program may have kept ours from an earlier runtime, and put it back: then it is installed. */
static void install(int signal, struct sigaction *before)
{
    struct sigaction now;
    sigaction(signal, NULL, &now);
    if (is_ours(&now))
        return;
    *before = now;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | (now.sa_flags & (SA_NODEFER | SA_RESTART));
    action.sa_mask = now.sa_mask;
    sigaction(signal, &action, NULL);
}

/* A handler that the program has installed meanwhile stays; it may call ours, which passes on. */
static void uninstall(int signal, const struct sigaction *before)
{
    struct sigaction now;
    sigaction(signal, NULL, &now);
    if (is_ours(&now))
        sigaction(signal, before, NULL);
}

/* ---- the threads' stacks for it ---- */

/* What this thread was prepared for last. It ends before that is closed, or closes it itself. */
static _Thread_local const struct kith__overflow *prepared;

/* The thread's part; NULL: none. An attached thread may outlive the runtime, but not kith_main's. */
static char *part_of(const struct kith__ctx *ctx, const struct kith__overflow *overflow)
{
    const struct kith_co *main = kith__load_rlx(&ctx->rt->main); /* relaxed: or it is not ours */
    if (ctx->worker != NULL)
        return overflow->stacks + ctx->worker->index * overflow->each;
    if (main != NULL && main->ctx == ctx)
        return overflow->stacks + ctx->rt->worker_count * overflow->each;
    return NULL;
}

void kith__overflow_prepare(struct kith__ctx *ctx, const struct kith__overflow *overflow)
{
    if (KITH__LIKELY(prepared == overflow))
        return;
    char *part = part_of(ctx, overflow);
    if (part == NULL)
        return;
    prepared = overflow;
    stack_t now;
    if (sigaltstack(NULL, &now) != 0 || (now.ss_flags & SS_DISABLE) == 0)
        return;
    now = (stack_t){.ss_sp = part, .ss_size = overflow->each};
    (void)sigaltstack(&now, NULL);
}

/* Home's, or kith_main's: those threads go on. */
static void part_leave(const struct kith__overflow *overflow)
{
    prepared = NULL;
    stack_t now;
    if (sigaltstack(NULL, &now) != 0 || (now.ss_flags & SS_DISABLE) != 0)
        return;
    uintptr_t offset = (uintptr_t)now.ss_sp - (uintptr_t)overflow->stacks; /* huge if below */
    if (offset < overflow->bytes) {
        now = (stack_t){.ss_flags = SS_DISABLE};
        (void)sigaltstack(&now, NULL);
    }
}

/* ---- open and close ---- */

static size_t each_bytes(void)
{
    long wanted = sysconf(_SC_SIGSTKSZ); /* more where registers are large */
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = wanted > (long)EACH_BYTES_MIN ? (size_t)wanted : EACH_BYTES_MIN;
    return (bytes + page - 1) / page * page;
}

kith_err kith__overflow_open(struct kith_runtime *rt)
{
    struct kith__overflow *overflow = &rt->csp->overflow;
    if (!rt->config.stack_report)
        return KITH_OK;
    overflow->each = each_bytes();
    overflow->bytes = overflow->each * (rt->worker_count + 1);
    void *stacks = mmap(NULL, overflow->bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (stacks == MAP_FAILED)
        return KITH_ENOMEM;
    overflow->stacks = stacks;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < FAULTS && users == 0; i++)
        install(faults[i].signal, &faults[i].before);
    users++;
    pthread_mutex_unlock(&lock);
    return KITH_OK;
}

void kith__overflow_close(struct kith_runtime *rt)
{
    struct kith__overflow *overflow = &rt->csp->overflow;
    if (overflow->stacks == NULL)
        return;
    pthread_mutex_lock(&lock);
    users--;
    for (unsigned i = 0; i < FAULTS && users == 0; i++)
        uninstall(faults[i].signal, &faults[i].before);
    pthread_mutex_unlock(&lock);
    part_leave(overflow);
    munmap(overflow->stacks, overflow->bytes);
    overflow->stacks = NULL;
}
