/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 11_pipeline [N]: 1 to N go through three stages, each a fiber of its own, connected by channels:
 * square them, keep the odd ones, add them up.
 *
 *     numbers -> [square] -> squares -> [odd] -> odds -> [sum]
 *
 * This is CSP (Hoare, 1978): the stages share nothing, and know nothing of each other but the
 * channels. Each stage closes its output when its input is closed and drained, so the end of the
 * numbers runs through the pipeline by itself. The channels are bounded: a fast stage waits for a slow
 * one, and memory stays small whatever N is. The answer is known: the odd numbers' squares up to
 * (2m-1)^2 add up to m(2m-1)(2m+1)/3.
 */
#include <kith.h>
#include <stdio.h>
#include <stdlib.h>

KITH_CHAN(numbers, long);

struct stage {
    numbers in;
    numbers out;
    long last; /* of the first stage: how far it counts */
};

static void count(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct stage *stage = arg;
    for (long i = 1; i <= stage->last; i++)
        if (numbers_send(co, stage->out, i, KITH_FOREVER) != KITH_OK)
            break;
    kith_chan_close(stage->out.chan);
}

static void square(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct stage *stage = arg;
    long x;
    while (numbers_recv(co, stage->in, &x, KITH_FOREVER) == KITH_OK)
        if (numbers_send(co, stage->out, x * x, KITH_FOREVER) != KITH_OK)
            break;
    kith_chan_close(stage->out.chan);
}

static void odd(KITH_UNUSED kith_self *self, kith_co *co, void *arg)
{
    const struct stage *stage = arg;
    long x;
    while (numbers_recv(co, stage->in, &x, KITH_FOREVER) == KITH_OK)
        if (x % 2 != 0 && numbers_send(co, stage->out, x, KITH_FOREVER) != KITH_OK)
            break;
    kith_chan_close(stage->out.chan);
}

static long known_sum(long n)
{
    long m = (n + 1) / 2;
    return m * (2 * m - 1) * (2 * m + 1) / 3;
}

static void pipeline(kith_self *self, kith_co *co, void *arg)
{
    long n = *(const long *)arg;
    numbers counted = numbers_new(self, 64);
    numbers squares = numbers_new(self, 64);
    numbers odds = numbers_new(self, 64);
    struct stage first = {.out = counted, .last = n};
    struct stage second = {.in = counted, .out = squares};
    struct stage third = {.in = squares, .out = odds};
    kith_scope *stages = kith_scope_new(co);
    kith_scope_go(self, stages, count, &first);
    kith_scope_go(self, stages, square, &second);
    kith_scope_go(self, stages, odd, &third);

    long sum = 0;
    long x;
    while (numbers_recv(co, odds, &x, KITH_FOREVER) == KITH_OK)
        sum += x;
    bool right = sum == known_sum(n);
    printf("the odd squares of 1 to %ld add up to %ld\n", n, sum);
    printf("check: m(2m-1)(2m+1)/3: %s\n", right ? "ok" : "wrong");
    if (!right)
        kith_fail(self, KITH_EFAILED);
    kith_scope_leave(co, stages); /* nobody uses the channels any more */
    kith_chan_drop(counted.chan);
    kith_chan_drop(squares.chan);
    kith_chan_drop(odds.chan);
}

int main(int argc, char **argv)
{
    char *end = "";
    long n = argc > 1 ? strtol(argv[1], &end, 10) : 1000000;
    if (argc > 2 || *end != '\0' || (argc > 1 && end == argv[1]) || n < 0 || n > 1000000) {
        fprintf(stderr, "usage: 11_pipeline [N]\n  N: 0 to 1000000, default 1000000\n");
        return 2;
    }
    return kith_main(NULL, pipeline, &n);
}
