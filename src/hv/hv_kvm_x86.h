/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the x86-64 part of the KVM driver: what a VM knows about its host. */
#ifndef LUM_HV_KVM_X86_H
#define LUM_HV_KVM_X86_H

#include "cpuid.h"
#include "hv/hv_kvm.h"

#define MSR_IA32_TSC 0x10u

struct kvm_arch {
    struct cpuid_table cpuid; /* policy applied; the same for every vCPU but for its APIC id */
    uint32_t n_msrs;
    uint32_t msrs[ARCH_MAX_MSRS]; /* what a saved vCPU consists of, in loading order */
    uint32_t xsave_size;          /* of this VM's XSAVE image; 0: the host has no XSAVE */
    uint32_t event_flags;         /* KVM_VCPUEVENT_VALID_* that this host understands */
    bool has_tsc_offset;          /* set by the first vCPU that was loaded; under the VM's lock */
    uint64_t tsc_offset;
};

struct kvm_msr_batch {
    uint32_t n;
    struct kvm_msr_entry entries[ARCH_MAX_MSRS];
};

/* Sets the MSRs in their order. LUM_EOS naming the first one refused that matters. */
int kvm_x86_set_msrs(const struct kvm_vcpu *vcpu, const struct kvm_msr_batch *batch,
                     struct lum_error *err);
/* Fills n entries whose indices are given; those this vCPU does not have are left out. */
int kvm_x86_get_msrs(const struct kvm_vcpu *vcpu, const uint32_t *indices, uint32_t n,
                     struct kvm_msr_batch *ret_batch, struct lum_error *err);

#endif
