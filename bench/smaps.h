/* SPDX-License-Identifier: Apache-2.0 */
/* What a process keeps in memory, from /proc/PID/smaps, with a guest's memory told apart. */
#ifndef LUM_BENCH_SMAPS_H
#define LUM_BENCH_SMAPS_H

#include <stdint.h>
#include <sys/types.h>

struct memory {
    uint64_t rss_kib, pss_kib, private_kib, shared_kib;
};

/*
 * own: everything but the guest's memory; guest: the guest_bytes of address space that hold it,
 * zero when the process has none. 0 or -errno.
 */
int smaps_read(pid_t pid, uint64_t guest_bytes, struct memory *ret_own, struct memory *ret_guest);

#endif
