/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How many CPUs this process may use: its affinity mask, bounded by its cgroups' quotas.
 * Called by: kith_start, for the default number of workers; kith_cpus is public.
 * Invariants: at least 1, at most KITH_WORKERS_MAX. What cannot be read or understood limits nothing.
 * Threads: any. Reads files.
 * Why the quota counts: in a container of two CPUs on a machine of 64, 64 workers spend the two
 *   CPUs' time in the first milliseconds of each period and then all stand still.
 */
#ifndef KITH_BASE_CPUS_H
#define KITH_BASE_CPUS_H

/* The answer from given files: a /proc/self/cgroup, the folder where cgroups are mounted, and the
 * number of CPUs of the affinity mask. The tests give it trees of their own. */
unsigned kith__cpus_from(const char *proc_self_cgroup, const char *cgroup_mount, unsigned affinity);

#endif
