/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Counts the CPUs that the process may use.
 * Called by: see cpus.h.
 * Invariants: see cpus.h; allocates nothing; opens nothing outside the cgroup mount.
 * Threads: any; no state.
 * Why walk up: a quota on any ancestor binds. In a container without a cgroup namespace the path in
 *   /proc/self/cgroup is the host's and does not exist below the mount; the walk then ends at the
 *   mount itself, which is the container's own group. A path with ".." (a process outside of its
 *   namespace's root) counts as the root for the same reason.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity, CPU_COUNT_S */
#endif
#include "base/cpus.h"

#include <fcntl.h>
#include <kith/runtime.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, NAMES_BYTES = 8192, CPU_SETS = 8 };

/* Reads at most size - 1 bytes of dir/name into text; false if there are none. */
static bool read_text(const char *dir, const char *name, char *text, size_t size)
{
    char path[PATH_BYTES + 64];
    int length = snprintf(path, sizeof path, "%s%s%s", dir, *name != '\0' ? "/" : "", name);
    if (length < 0 || (size_t)length >= sizeof path)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t used = 0;
    ssize_t n;
    while (used < size - 1 && (n = read(fd, text + used, size - 1 - used)) > 0)
        used += (size_t)n;
    close(fd);
    text[used] = '\0';
    return used > 0;
}

/* quota / period rounded up; UINT_MAX where that is no limit ("max", -1, nonsense). */
static unsigned cpus_of(const char *quota_text, const char *period_text)
{
    long long quota = strtoll(quota_text, NULL, 10);
    long long period = strtoll(period_text, NULL, 10);
    if (quota <= 0 || period <= 0) /* strtoll makes 0 of what is no number */
        return UINT_MAX;
    long long cpus = quota / period + (quota % period != 0);
    return cpus < UINT_MAX ? (unsigned)cpus : UINT_MAX;
}

static unsigned limit_v2(const char *dir)
{
    char text[128];
    if (!read_text(dir, "cpu.max", text, sizeof text))
        return UINT_MAX;
    const char *space = strchr(text, ' ');
    return space != NULL ? cpus_of(text, space + 1) : UINT_MAX;
}

static unsigned limit_v1(const char *dir)
{
    char quota[64];
    char period[64];
    if (!read_text(dir, "cpu.cfs_quota_us", quota, sizeof quota) ||
        !read_text(dir, "cpu.cfs_period_us", period, sizeof period))
        return UINT_MAX;
    return cpus_of(quota, period);
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* The smallest limit in mount/sub + group and all folders between it and mount/sub. */
static unsigned limit_upward(const char *mount, const char *sub, const char *group,
                             unsigned (*limit)(const char *dir))
{
    char dir[PATH_BYTES];
    if (strstr(group, "/..") != NULL)
        group = "";
    int root = snprintf(dir, sizeof dir, "%s%s", mount, sub);
    size_t group_bytes = strlen(group) + 1;
    if (root < 0 || (size_t)root + group_bytes > sizeof dir)
        return UINT_MAX;
    memcpy(dir + root, group, group_bytes);
    unsigned cpus = limit(dir);
    for (char *slash; (slash = strrchr(dir + root, '/')) != NULL;) {
        *slash = '\0';
        cpus = least(cpus, limit(dir));
    }
    return cpus;
}

/* Whether "cpu" is one of the names in a list like "cpu,cpuacct". */
static bool names_cpu(const char *names)
{
    while (names != NULL) {
        size_t length = strcspn(names, ",");
        if (length == 3 && memcmp(names, "cpu", 3) == 0)
            return true;
        names = names[length] == ',' ? names + length + 1 : NULL;
    }
    return false;
}

/* One line of /proc/self/cgroup, "number:controllers:group": without controllers it is version 2,
 * mounted at the top or, beside version 1, in "unified". */
static unsigned limit_of_line(char *line, const char *mount)
{
    char *controllers = strchr(line, ':');
    char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL)
        return UINT_MAX;
    *controllers++ = '\0';
    *group++ = '\0';
    if (*controllers == '\0')
        return least(limit_upward(mount, "", group, limit_v2),
                     limit_upward(mount, "/unified", group, limit_v2));
    return names_cpu(controllers) ? limit_upward(mount, "/cpu", group, limit_v1) : UINT_MAX;
}

unsigned kith__cpus_from(const char *proc_self_cgroup, const char *cgroup_mount, unsigned affinity)
{
    char lines[NAMES_BYTES];
    unsigned cpus = least(affinity, KITH_WORKERS_MAX);
    if (read_text(proc_self_cgroup, "", lines, sizeof lines)) {
        char *rest = NULL;
        for (char *line = strtok_r(lines, "\n", &rest); line != NULL;
             line = strtok_r(NULL, "\n", &rest))
            cpus = least(cpus, limit_of_line(line, cgroup_mount));
    }
    return cpus > 0 ? cpus : 1;
}

/* A mask of 8,192 CPUs: the kernel refuses one that is smaller than its own. */
static unsigned affinity_count(void)
{
    cpu_set_t sets[CPU_SETS];
    memset(sets, 0, sizeof sets);
    if (sched_getaffinity(0, sizeof sets, sets) == 0)
        return (unsigned)CPU_COUNT_S(sizeof sets, sets);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

unsigned kith_cpus(void)
{
    return kith__cpus_from("/proc/self/cgroup", "/sys/fs/cgroup", affinity_count());
}
