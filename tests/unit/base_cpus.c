/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Tests of base/cpus.c on made-up cgroup trees, and on the machine that it runs on.
 * Run by: the test driver. Threads: one.
 * Leaves nothing behind: each test builds its tree in a new folder and removes it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_setaffinity, nftw */
#endif
#include "base/cpus.h"

#include <kith/runtime.h>

#include "tests/unit/test.h"

#include <ftw.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static void end(void)
{
    CHECK_EQ(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void start(void)
{
    snprintf(root, sizeof root, "/tmp/kith-cpus-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
}

/* Writes text to root/name, making the folders on the way. */
static void file(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    REQUIRE(f != NULL);
    fputs(text, f);
    fclose(f);
}

static unsigned cpus(unsigned affinity)
{
    char self[128];
    char mount[128];
    snprintf(self, sizeof self, "%s/self", root);
    snprintf(mount, sizeof mount, "%s/cgroup", root);
    return kith__cpus_from(self, mount, affinity);
}

TEST(without_cgroups_the_affinity_counts)
{
    start();
    CHECK_EQ(cpus(0), 1u);
    CHECK_EQ(cpus(1), 1u);
    CHECK_EQ(cpus(7), 7u);
    CHECK_EQ(cpus(KITH_WORKERS_MAX), (unsigned)KITH_WORKERS_MAX);
    CHECK_EQ(cpus(KITH_WORKERS_MAX + 1), (unsigned)KITH_WORKERS_MAX);
    end();
}

TEST(a_quota_is_rounded_up)
{
    start();
    file("self", "0::/app\n");
    file("cgroup/app/cpu.max", "200000 100000\n");
    CHECK_EQ(cpus(64), 2u);
    CHECK_EQ(cpus(1), 1u);
    file("cgroup/app/cpu.max", "200001 100000\n");
    CHECK_EQ(cpus(64), 3u);
    file("cgroup/app/cpu.max", "1 100000\n");
    CHECK_EQ(cpus(64), 1u);
    file("cgroup/app/cpu.max", "9223372036854775807 1\n");
    CHECK_EQ(cpus(64), 64u);
    file("cgroup/app/cpu.max", "4294967297 1\n"); /* 1, if 32 bits had to do */
    CHECK_EQ(cpus(64), 64u);
    end();
}

TEST(the_smallest_quota_on_the_way_up_binds)
{
    start();
    file("self", "0::/a/b/c\n");
    file("cgroup/a/b/c/cpu.max", "max 100000\n");
    file("cgroup/a/b/cpu.max", "500000 100000\n");
    CHECK_EQ(cpus(64), 5u);
    file("cgroup/a/cpu.max", "150000 50000\n");
    CHECK_EQ(cpus(64), 3u);
    file("cgroup/cpu.max", "200000 100000\n");
    CHECK_EQ(cpus(64), 2u);
    file("cgroup/other/cpu.max", "100000 100000\n"); /* a neighbour's */
    file("cpu.max", "100000 100000\n");              /* above the mount */
    CHECK_EQ(cpus(64), 2u);
    end();
}

TEST(a_group_that_is_not_there_ends_at_the_mount)
{
    start();
    file("self", "0::/docker/0123456789abcdef\n");
    file("cgroup/cpu.max", "300000 100000\n");
    CHECK_EQ(cpus(64), 3u);
    end();
}

TEST(a_group_outside_of_the_namespace_counts_as_its_root)
{
    start();
    file("self", "0::/../outside\n");
    file("cgroup/cpu.max", "300000 100000\n");
    file("outside/cpu.max", "100000 100000\n");
    CHECK_EQ(cpus(64), 3u);
    end();
}

TEST(the_root_group_is_the_mount)
{
    start();
    file("self", "0::/\n");
    file("cgroup/cpu.max", "400000 100000\n");
    CHECK_EQ(cpus(64), 4u);
    end();
}

TEST(version_1_counts_the_group_of_the_cpu_controller)
{
    start();
    file("self", "12:memory:/m\n5:cpuacct:/acct\n4:cpu,cpuacct:/slice/app\n1:name=systemd:/s\n");
    file("cgroup/cpu/slice/app/cpu.cfs_quota_us", "250000\n");
    file("cgroup/cpu/slice/app/cpu.cfs_period_us", "100000\n");
    file("cgroup/cpu/acct/cpu.cfs_quota_us", "100000\n");
    file("cgroup/cpu/acct/cpu.cfs_period_us", "100000\n");
    CHECK_EQ(cpus(64), 3u);
    file("cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    file("cgroup/cpu/cpu.cfs_period_us", "100000\n");
    CHECK_EQ(cpus(64), 3u);
    file("cgroup/cpu/slice/cpu.cfs_quota_us", "200000\n");
    file("cgroup/cpu/slice/cpu.cfs_period_us", "100000\n");
    CHECK_EQ(cpus(64), 2u);
    end();
}

TEST(version_1_without_a_quota_limits_nothing)
{
    start();
    file("self", "1:cpu:/\n");
    file("cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    file("cgroup/cpu/cpu.cfs_period_us", "100000\n");
    CHECK_EQ(cpus(9), 9u);
    file("cgroup/cpu/cpu.cfs_quota_us", "100000\n");
    CHECK_EQ(cpus(9), 1u);
    end();
}

TEST(of_both_versions_the_smaller_counts)
{
    start();
    file("self", "2:cpuacct,cpu:/one\n0::/two\n");
    file("cgroup/cpu/one/cpu.cfs_quota_us", "600000\n");
    file("cgroup/cpu/one/cpu.cfs_period_us", "100000\n");
    CHECK_EQ(cpus(9), 6u);
    file("cgroup/unified/two/cpu.max", "500000 100000\n");
    CHECK_EQ(cpus(9), 5u);
    end();
}

TEST(nonsense_limits_nothing)
{
    static const char *const quotas[] = {"",       "max",      "max 100000", "x y",  "100000",
                                         "0 1000", "-5 10000", "100000 0",   "7 -1", "100000 x"};
    start();
    file("self", "\n:\n::\n0:\nno colon\n0::/app\n");
    for (size_t i = 0; i < sizeof quotas / sizeof quotas[0]; i++) {
        file("cgroup/app/cpu.max", quotas[i]);
        CHECK_EQ(cpus(8), 8u);
    }
    file("cgroup/app/cpu.max", "200000 100000");
    CHECK_EQ(cpus(8), 2u);
    end();
}

TEST(a_path_longer_than_any_limits_nothing)
{
    static char line[20000] = "0::/";
    start();
    memset(line + 4, 'x', sizeof line - 5);
    file("self", line);
    file("cgroup/cpu.max", "100000 100000\n");
    CHECK_EQ(cpus(8), 8u);
    end();
}

TEST(this_process_has_at_least_one_cpu_and_no_more_than_its_affinity)
{
    cpu_set_t all;
    cpu_set_t one;
    unsigned now = kith_cpus();
    CHECK_GE(now, 1u);
    CHECK_LE(now, (unsigned)KITH_WORKERS_MAX);
    if (sched_getaffinity(0, sizeof all, &all) != 0)
        return; /* a machine of more CPUs than cpu_set_t has */
    CHECK_LE(now, (unsigned)CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &all))
            CPU_SET(cpu, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK_EQ(kith_cpus(), 1u);
    REQUIRE(sched_setaffinity(0, sizeof all, &all) == 0);
    CHECK_EQ(kith_cpus(), now);
}
