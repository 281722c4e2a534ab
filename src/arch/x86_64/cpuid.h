/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What CPUID tells the guest: pure functions over a normalised leaf table, so that every driver of
 * this architecture shows the same CPU and the policy is tested on any machine.
 *
 * A driver fills a table with what the hypervisor supports, calls cpuid_apply_policy once for the
 * VM and cpuid_apply_vcpu on a copy for each vCPU.
 */
#ifndef LUM_CPUID_H
#define LUM_CPUID_H

#include "base/err.h"

#define CPUID_MAX_LEAVES 256u

struct cpuid_leaf {
    uint32_t leaf, subleaf;
    bool indexed; /* subleaf is significant */
    uint32_t eax, ebx, ecx, edx;
};

struct cpuid_table {
    uint32_t n_leaves;
    struct cpuid_leaf leaves[CPUID_MAX_LEAVES];
};

/* NULL when the table has none. For a leaf that is not indexed any subleaf finds it. */
struct cpuid_leaf *cpuid_find(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf);

/*
 * Hides what a micro-VM must not or need not have and describes one socket with `vcpus` cores of
 * one thread. tsc_deadline: the hypervisor's LAPIC timer has that mode. Fails (LUM_ENOTSUP) only
 * when the table is full or lacks leaf 0 or 1; its content is then unspecified.
 */
int cpuid_apply_policy(struct cpuid_table *table, uint32_t vcpus, bool tsc_deadline,
                       struct lum_error *err);

/* Puts in what differs between vCPUs: the APIC id, which is the vCPU's index. */
void cpuid_apply_vcpu(struct cpuid_table *table, uint32_t index);

#endif
