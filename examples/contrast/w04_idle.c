/* SPDX-License-Identifier: BSD-2-Clause
 *
 * W4, memory: what does a task cost that does nothing but wait? A million of them; ten thousand
 * threads, of which no system has a million.
 *
 * Check: each of them wakes up and tells its number.
 * Threads: the dress's.
 * What is counted: resident memory, page tables and kernel stacks, before and after. What the kernel
 * keeps of a thread beside its stack (some 10 KiB) is not seen, in favour of the threads.
 */
#include "contrast.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLICE = 1000 };

/* A hundredth of it for the threads. */
static long tasks(void)
{
    return run.dress == THREADS ? param_number() / 100 : param_number();
}

static uint64_t sum_of_numbers(void)
{
    uint64_t n = (uint64_t)tasks();
    return n * (n - 1) / 2;
}

/* KiB behind name in a file of /proc; 0 if it is not there. */
static long kib(const char *file, const char *name)
{
    char line[256];
    long found = 0;
    FILE *in = fopen(file, "r");
    while (in != NULL && fgets(line, sizeof line, in) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0)
            sscanf(line + strlen(name), ": %ld", &found);
    }
    if (in != NULL)
        fclose(in);
    return found;
}

static double memory_bytes(void)
{
    return 1024.0 * (double)(kib("/proc/self/status", "VmRSS") + kib("/proc/self/status", "VmPTE") +
                             kib("/proc/meminfo", "KernelStack"));
}

static void report_memory(double bytes, bool ok)
{
    report("memory", bytes / (double)tasks(), "bytes a task", ok);
}

/* ---- handlers: callbacks, actors, stealing ---- */

KITH_MESSAGE(wake, { char none; });
KITH_MESSAGE(awake, { uint64_t number; });

struct sleeper {
    uint64_t number;
};

static kith_err sleeper_init(KITH_UNUSED kith_self *self, void *state, const void *arg)
{
    ((struct sleeper *)state)->number = *(const uint64_t *)arg;
    return KITH_OK;
}

KITH_ON(sleeper, wake)
{
    return kith_reply(self, awake, .number = me->number);
}

static const kith_behavior sleeper = {
    .name = "sleeper",
    .state_bytes = sizeof(struct sleeper),
    .init = sleeper_init,
    .handlers = KITH_HANDLERS(sleeper, wake),
};

/* Makes them, a thousand at a time, and wakes them afterwards in the same way. */
struct bedroom {
    kith_ref *beds;
    uint64_t made;
    uint64_t asked;
    uint64_t awake;
    uint64_t sum;
};

KITH_MESSAGE(make, { kith_ref *beds; });
KITH_MESSAGE(wake_all, { char none; });

KITH_ON(bedroom, make)
{
    me->beds = msg->beds;
    for (int i = 0; i < SLICE && me->made < (uint64_t)tasks(); i++, me->made++)
        me->beds[me->made] = spawn_placed(self, &sleeper, &me->made, (long)me->made);
    if (me->made < (uint64_t)tasks())
        return kith_send(self, kith_self_ref(self), make, .beds = me->beds);
    return kith_send(self, kith_parent(self), finished, .count = me->made);
}

KITH_ON(bedroom, wake_all)
{
    for (int i = 0; i < SLICE && me->asked < me->made; i++)
        kith_send(self, me->beds[me->asked++], wake);
    return me->asked < me->made ? kith_send(self, kith_self_ref(self), wake_all) : KITH_OK;
}

KITH_ON(bedroom, awake)
{
    me->sum += msg->number;
    if (++me->awake < me->made)
        return KITH_OK;
    return kith_send(self, kith_parent(self), finished, .count = me->awake, .sum = me->sum);
}

static const kith_behavior bedroom = {
    .name = "bedroom",
    .state_bytes = sizeof(struct bedroom),
    .handlers = KITH_HANDLERS(bedroom, make, wake_all, awake),
};

static void actors(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    finished all = {0};
    kith_ref *beds = calloc((size_t)tasks(), sizeof *beds);
    kith_ref room = kith_spawn(self, &bedroom, NULL);
    double before = memory_bytes();
    kith_send(self, room, make, .beds = beds);
    bool ok = beds != NULL && wait_finished(co, &all);
    double bytes = memory_bytes() - before;
    kith_send(self, room, wake_all);
    ok = ok && wait_finished(co, &all);
    report_memory(bytes, ok && all.count == (uint64_t)tasks() && all.sum == sum_of_numbers());
    free(beds);
}

/* ---- fibers: fibers, csp ---- */

struct dormitory {
    kith_chan *morning; /* closed when it is */
    kith_chan *numbers;
};

struct bed {
    struct dormitory *room;
    uint64_t number;
};

static void sleeper_fiber(kith_self *self, kith_co *co, void *arg)
{
    const struct bed *bed = arg;
    uint64_t here = 0; /* in bed */
    if (kith_chan_send(co, bed->room->numbers, &here, KITH_FOREVER) == KITH_OK &&
        kith_chan_recv(co, bed->room->morning, NULL, KITH_FOREVER) == KITH_ECLOSED &&
        kith_chan_send(co, bed->room->numbers, &bed->number, KITH_FOREVER) != KITH_OK)
        kith_fail(self, KITH_EFAILED);
}

/* Adds up n of the numbers that come. */
static bool numbers(kith_co *co, struct dormitory *room, long n, uint64_t *sum)
{
    uint64_t number;
    for (long i = 0; i < n; i++) {
        if (kith_chan_recv(co, room->numbers, &number, kith_in(PATIENCE)) != KITH_OK)
            return false;
        *sum += number;
    }
    return true;
}

static bool make_fibers(kith_self *self, kith_co *co, kith_scope *scope, struct dormitory *room)
{
    kith_fiber_options options = {.arg_bytes = sizeof(struct bed), .stack_bytes = 16384};
    uint64_t none = 0;
    bool ok = true;
    for (long i = 0; ok && i < tasks(); i++) {
        struct bed bed = {room, (uint64_t)i};
        options.worker = place(i);
        ok = kith_ref_error(kith_scope_go_with(self, scope, sleeper_fiber, &bed, &options)) ==
                 KITH_OK &&
             numbers(co, room, i % SLICE == SLICE - 1 ? SLICE : 0, &none);
    }
    return ok && numbers(co, room, tasks() % SLICE, &none);
}

static void fibers(kith_self *self, kith_co *co, KITH_UNUSED void *arg)
{
    struct dormitory room = {kith_chan_new(self, 0, 0),
                             kith_chan_new(self, sizeof(uint64_t), SLICE)};
    kith_scope *scope = kith_scope_new(co);
    uint64_t sum = 0;
    double before = memory_bytes();
    bool ok = make_fibers(self, co, scope, &room);
    double bytes = memory_bytes() - before;
    kith_chan_close(room.morning);
    ok = ok && numbers(co, &room, tasks(), &sum);
    ok = kith_scope_leave_by(co, scope, kith_in(PATIENCE)) == KITH_OK && ok;
    report_memory(bytes, ok && sum == sum_of_numbers());
    kith_chan_drop(room.numbers);
    kith_chan_drop(room.morning);
}

/* ---- threads ---- */

struct barracks {
    pthread_mutex_t mutex;
    pthread_cond_t morning;
    pthread_cond_t changed;
    bool is_morning;
    long in_bed;
    uint64_t awake;
    uint64_t sum;
};

static void *sleeper_thread(void *arg)
{
    struct barracks *room = arg;
    pthread_mutex_lock(&room->mutex);
    uint64_t number = (uint64_t)room->in_bed++;
    pthread_cond_signal(&room->changed);
    while (!room->is_morning)
        pthread_cond_wait(&room->morning, &room->mutex);
    room->sum += number;
    room->awake++;
    pthread_cond_signal(&room->changed);
    pthread_mutex_unlock(&room->mutex);
    return NULL;
}

static void wait_in_bed(struct barracks *room, long count)
{
    pthread_mutex_lock(&room->mutex);
    while (room->in_bed < count)
        pthread_cond_wait(&room->changed, &room->mutex);
    pthread_mutex_unlock(&room->mutex);
}

static void threads(void)
{
    struct barracks room = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                            .morning = PTHREAD_COND_INITIALIZER,
                            .changed = PTHREAD_COND_INITIALIZER};
    pthread_t *made = calloc((size_t)tasks(), sizeof *made);
    double before = memory_bytes();
    long count = 0;
    while (made != NULL && count < tasks() &&
           thread_try_start(&made[count], sleeper_thread, &room, -1))
        count++;
    wait_in_bed(&room, count);
    double bytes = memory_bytes() - before;
    pthread_mutex_lock(&room.mutex);
    room.is_morning = true;
    pthread_cond_broadcast(&room.morning);
    pthread_mutex_unlock(&room.mutex);
    for (long i = 0; i < count; i++)
        pthread_join(made[i], NULL);
    free(made);
    if (count < tasks())
        report_none("memory", "bytes a task", "the system does not allow so many threads");
    else
        report_memory(bytes, room.awake == (uint64_t)count && room.sum == sum_of_numbers());
}

const workload w4_idle = {
    .name = "W4",
    .what = "memory of an idle task, of a million (threads: ten thousand)",
    .params = {"1000", "20000", "1000000"},
    .kith = {[CALLBACKS] = actors,
             [FIBERS] = fibers,
             [CSP] = fibers,
             [ACTORS] = actors,
             [STEALING] = actors},
    .threads = threads,
};
