/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 12_sieve [N]: the first N primes by the concurrent sieve (McIlroy, 1968; in Hoare's CSP paper).
 *
 *     2, 3, 4 ... -> [not by 2] -> [not by 3] -> [not by 5] -> ...
 *
 * Each prime that comes out of the chain gets a fiber that lets the numbers pass which it does not
 * divide, and that fiber becomes the end of the chain. The channels are rendezvous: a number is handed
 * over, never kept. It is no fast way to find primes; it shows thousands of fibers and millions of
 * rendezvous, and that a scope ends them all: the generator would go on for ever.
 */
#include <kith.h>
#include <stdio.h>
#include <stdlib.h>

KITH_CHAN(numbers, int);

enum { PRIMES_MAX = 5000 };

/* The answers, from the literature. */
static const struct {
    int n;
    int prime;
} known[] = {{1, 2}, {10, 29}, {100, 541}, {500, 3571}, {1000, 7919}, {2000, 17389}, {5000, 48611}};

static void generate(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    numbers out = *(const numbers *)arg;
    for (int i = 2; numbers_send(co, out, i, KITH_FOREVER) == KITH_OK; i++)
        ;
    kith_chan_drop(out.chan);
}

struct filter {
    numbers in;
    numbers out;
    int prime;
};

static void filter(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct filter *f = arg;
    int i;
    while (numbers_recv(co, f->in, &i, KITH_FOREVER) == KITH_OK)
        if (i % f->prime != 0 && numbers_send(co, f->out, i, KITH_FOREVER) != KITH_OK)
            break;
    kith_chan_drop(f->in.chan);
    kith_chan_drop(f->out.chan);
}

static bool check(int n, int prime)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].n == n) {
            printf("check: prime number %d is %d: %s\n", n, known[i].prime,
                   known[i].prime == prime ? "ok" : "wrong");
            return known[i].prime == prime;
        }
    return true;
}

static void sieve(kith_self *self, kith_co *co, void *arg)
{
    int n = *(const int *)arg;
    kith_scope *scope = kith_scope_new(co);
    numbers in = numbers_new(self, 0);
    numbers first = {kith_chan_keep(in.chan)};
    kith_scope_go_with(self, scope, generate, &first,
                       (&(kith_fiber_options){.arg_bytes = sizeof first}));
    int prime = 0;
    for (int i = 0; i < n; i++) {
        if (numbers_recv(co, in, &prime, KITH_FOREVER) != KITH_OK)
            break;
        struct filter f = {in, numbers_new(self, 0), prime};
        in.chan = kith_chan_keep(f.out.chan);
        kith_scope_go_with(self, scope, filter, &f, (&(kith_fiber_options){.arg_bytes = sizeof f}));
    }
    kith_scope_cancel(self, scope);
    kith_scope_leave(co, scope);
    kith_chan_drop(in.chan);
    printf("prime number %d is %d\n", n, prime);
    if (!check(n, prime))
        kith_fail(self, KITH_EFAILED);
}

int main(int argc, char **argv)
{
    char *end = "";
    long n = argc > 1 ? strtol(argv[1], &end, 10) : 1000;
    if (argc > 2 || *end != '\0' || (argc > 1 && end == argv[1]) || n < 1 || n > PRIMES_MAX) {
        fprintf(stderr, "usage: 12_sieve [N]\n  N: 1 to %d, default 1000\n", PRIMES_MAX);
        return 2;
    }
    int count = (int)n;
    return kith_main(NULL, sieve, &count);
}
