/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The contrast: what the dress `threads` is sewn from: a queue, a countdown, a thread.
 *
 * Called by: the workloads' threads functions, servers.c.
 * Invariants: every field of a queue and of a countdown is read and written under its mutex.
 * Threads: any.
 * Why so plain: this is what a C program writes that uses nothing but pthreads; a lock-free queue
 *   would be another contrast.
 */
#include "contrast.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a queue ---- */

static void *must(void *memory)
{
    if (memory == NULL) {
        fputs("contrast: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

void queue_open(queue *q, size_t limit)
{
    memset(q, 0, sizeof *q);
    pthread_mutex_init(&q->mutex, NULL);
    pthread_cond_init(&q->filled, NULL);
    pthread_cond_init(&q->drained, NULL);
    q->limit = limit;
    q->room = 1024;
    q->items = must(malloc(q->room * sizeof *q->items));
}

static void grow(queue *q)
{
    uint64_t *items = must(malloc(2 * q->room * sizeof *items));
    for (size_t i = 0; i < q->count; i++)
        items[i] = q->items[(q->head + i) & (q->room - 1)];
    free(q->items);
    q->items = items;
    q->head = 0;
    q->room *= 2;
}

static bool full(const queue *q)
{
    return q->limit != 0 && q->count >= q->limit;
}

static void append(queue *q, uint64_t item)
{
    if (q->count == q->room)
        grow(q);
    q->items[(q->head + q->count++) & (q->room - 1)] = item;
    if (q->count > q->most)
        q->most = q->count;
    pthread_cond_signal(&q->filled);
}

void queue_put(queue *q, uint64_t item)
{
    pthread_mutex_lock(&q->mutex);
    while (full(q))
        pthread_cond_wait(&q->drained, &q->mutex);
    append(q, item);
    pthread_mutex_unlock(&q->mutex);
}

bool queue_try_put(queue *q, uint64_t item)
{
    pthread_mutex_lock(&q->mutex);
    bool fits = !full(q);
    if (fits)
        append(q, item);
    pthread_mutex_unlock(&q->mutex);
    return fits;
}

bool queue_take(queue *q, uint64_t *item)
{
    pthread_mutex_lock(&q->mutex);
    while (q->count == 0 && !q->closed)
        pthread_cond_wait(&q->filled, &q->mutex);
    bool some = q->count > 0;
    if (some) {
        *item = q->items[q->head];
        q->head = (q->head + 1) & (q->room - 1);
        q->count--;
        pthread_cond_signal(&q->drained);
    }
    pthread_mutex_unlock(&q->mutex);
    return some;
}

void queue_close(queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->closed = true;
    pthread_cond_broadcast(&q->filled);
    pthread_mutex_unlock(&q->mutex);
}

void queue_free(queue *q)
{
    pthread_cond_destroy(&q->drained);
    pthread_cond_destroy(&q->filled);
    pthread_mutex_destroy(&q->mutex);
    free(q->items);
}

/* ---- a countdown ---- */

void countdown_open(countdown *c, uint64_t count)
{
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->zero, NULL);
    c->left = count;
    c->sum = 0;
}

void countdown_step(countdown *c, uint64_t add)
{
    pthread_mutex_lock(&c->mutex);
    c->sum += add;
    if (--c->left == 0)
        pthread_cond_signal(&c->zero);
    pthread_mutex_unlock(&c->mutex);
}

uint64_t countdown_wait(countdown *c)
{
    pthread_mutex_lock(&c->mutex);
    while (c->left > 0)
        pthread_cond_wait(&c->zero, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
    return c->sum;
}

/* ---- a thread ---- */

enum { STACK_BYTES = 64 * 1024 };

bool thread_try_start(pthread_t *thread, void *(*fn)(void *), void *arg, int cpu)
{
    pthread_attr_t attr;
    cpu_set_t set;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    if (cpu >= 0) {
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
        pthread_attr_setaffinity_np(&attr, sizeof set, &set);
    }
    int err = pthread_create(thread, &attr, fn, arg);
    pthread_attr_destroy(&attr);
    return err == 0;
}

pthread_t thread_start(void *(*fn)(void *), void *arg, int cpu)
{
    pthread_t thread;
    if (!thread_try_start(&thread, fn, arg, cpu)) {
        fputs("contrast: no thread to be had\n", stderr);
        exit(1);
    }
    return thread;
}
