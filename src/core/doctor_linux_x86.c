/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an x86 CPU says of its virtualization. The instruction is asked and not /proc/cpuinfo alone:
 * where firmware has switched the extensions off, the kernel takes the flag away and the CPU still
 * names the feature.
 */
#include <string.h>

#include "core/doctor_linux.h"

#define LEAF_VENDOR    0u
#define LEAF_FEATURES  1u
#define ECX_VMX        (1u << 5)
#define ECX_HYPERVISOR (1u << 31)
#define LEAF_AMD_TOP   0x80000000u
#define LEAF_AMD       0x80000001u
#define ECX_SVM        (1u << 2)

struct leaf {
    uint32_t eax, ebx, ecx, edx;
};

static struct leaf cpuid(uint32_t number)
{
    struct leaf l;

    __asm__ volatile("cpuid"
                     : "=a"(l.eax), "=b"(l.ebx), "=c"(l.ecx), "=d"(l.edx)
                     : "a"(number), "c"(0));
    return l;
}

static bool vendor_is(const struct leaf *l, const char *vendor)
{
    return memcmp(&l->ebx, vendor, 4) == 0 && memcmp(&l->edx, vendor + 4, 4) == 0 &&
           memcmp(&l->ecx, vendor + 8, 4) == 0;
}

void linux_cpu_facts(struct cpu_facts *ret_cpu)
{
    static const struct cpu_facts amd = {
        .flag = "svm", .module = "kvm_amd", .firmware = "SVM (AMD-V)"};
    static const struct cpu_facts intel = {
        .flag = "vmx", .module = "kvm_intel", .firmware = "VT-x (VMX)"};
    const struct leaf vendor = cpuid(LEAF_VENDOR), features = cpuid(LEAF_FEATURES);

    if (vendor_is(&vendor, "AuthenticAMD") || vendor_is(&vendor, "HygonGenuine")) {
        *ret_cpu = amd;
        ret_cpu->has = cpuid(LEAF_AMD_TOP).eax >= LEAF_AMD && (cpuid(LEAF_AMD).ecx & ECX_SVM);
    } else {
        *ret_cpu = intel;
        ret_cpu->has = features.ecx & ECX_VMX;
    }
    ret_cpu->in_vm = features.ecx & ECX_HYPERVISOR;
}
