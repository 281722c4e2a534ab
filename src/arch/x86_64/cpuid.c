/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See cpuid.h. Intel SDM vol. 2 "CPUID", AMD APM vol. 3 appendix E. The starting point is always
 * what the hypervisor says it can virtualise on this CPU; this file only takes away, and rewrites
 * the topology, which would otherwise be the host's.
 */
#include "cpuid.h"

#include <string.h>

#define BIT(n) (1u << (n))

/*
 * Bits and whole leaves that are taken away, one row for a register of a leaf. Reasons:
 * - Performance counters, branch records, debug store, IBS, processor trace: side channels into the
 *   host and state that would have to be saved; a micro-VM does not profile.
 * - MONITOR/MWAIT and their AMD cousins: they exit or, worse, idle the physical CPU for the guest.
 * - Thermal, frequency and power features: their MSRs belong to the host.
 * - VMX, SVM, SMX, SEV, SGX: nested guests and enclaves multiply the state and the attack
 *   surface of the hypervisor; nothing in a micro-VM uses them.
 * TSX stays as offered: the hypervisor hides it where it is unsafe.
 */
enum cpuid_register { EAX, EBX, ECX, EDX };

static const struct {
    uint32_t leaf;
    enum cpuid_register reg;
    uint32_t hide;
} hidden_bits[] = {
    /* DTES64, MONITOR, DS-CPL, VMX, SMX, EST, TM2, PDCM */
    {0x1, ECX, BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(15)},
    /* DS, ACPI (thermal MSRs), TM, PBE */
    {0x1, EDX, BIT(21) | BIT(22) | BIT(29) | BIT(31)},
    /* Everything but ARAT: the LAPIC timer of a guest never stops. */
    {0x6, EAX, ~BIT(2)},
    {0x6, EBX, ~0u},
    {0x6, ECX, ~0u},
    {0x6, EDX, ~0u},
    /* SGX, processor trace; SGX launch control; architectural LBR */
    {0x7, EBX, BIT(2) | BIT(25)},
    {0x7, ECX, BIT(30)},
    {0x7, EDX, BIT(19)},
    /*
     * SVM, IBS, SKINIT, LWP, node id MSR, core/NB/L2I/LLC counters and their TSC, data breakpoint
     * extension, MWAITX
     */
    {0x80000001, ECX,
     BIT(2) | BIT(10) | BIT(12) | BIT(15) | BIT(19) | BIT(23) | BIT(24) | BIT(26) | BIT(27) |
         BIT(28) | BIT(29)},
    /* Everything but the invariant TSC. */
    {0x80000007, EAX, ~0u},
    {0x80000007, EBX, ~0u},
    {0x80000007, ECX, ~0u},
    {0x80000007, EDX, ~BIT(8)},
};

static const uint32_t hidden_leaves[] = {
    0x5,        /* MONITOR/MWAIT */
    0xa,        /* performance monitoring */
    0x12,       /* SGX */
    0x14,       /* processor trace */
    0x1c,       /* last branch records */
    0x23,       /* performance monitoring, extended */
    0x8000000a, /* SVM */
    0x8000001b, /* IBS */
    0x8000001c, /* LWP */
    0x8000001f, /* SEV */
    0x80000022, /* performance monitoring, version 2 */
    0x80000026, /* extended topology: leaf 0xb says it all */
};

struct cpuid_leaf *cpuid_find(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
    for (uint32_t i = 0; i < table->n_leaves; i++) {
        struct cpuid_leaf *l = &table->leaves[i];

        if (l->leaf == leaf && (!l->indexed || l->subleaf == subleaf))
            return l;
    }
    return NULL;
}

static void drop_leaf(struct cpuid_table *table, uint32_t leaf)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < table->n_leaves; i++)
        if (table->leaves[i].leaf != leaf)
            table->leaves[kept++] = table->leaves[i];
    table->n_leaves = kept;
}

static int add_leaf(struct cpuid_table *table, const struct cpuid_leaf *leaf, struct lum_error *err)
{
    if (table->n_leaves == CPUID_MAX_LEAVES)
        return lum_fail(err, LUM_ENOTSUP, "cpuid: more than %u leaves", CPUID_MAX_LEAVES);
    table->leaves[table->n_leaves++] = *leaf;
    return 0;
}

static void hide_features(struct cpuid_table *table)
{
    for (size_t i = 0; i < ARRAY_LEN(hidden_bits); i++) {
        struct cpuid_leaf *l = cpuid_find(table, hidden_bits[i].leaf, 0);

        if (!l)
            continue;
        switch (hidden_bits[i].reg) {
        case EAX: l->eax &= ~hidden_bits[i].hide; break;
        case EBX: l->ebx &= ~hidden_bits[i].hide; break;
        case ECX: l->ecx &= ~hidden_bits[i].hide; break;
        case EDX: l->edx &= ~hidden_bits[i].hide; break;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(hidden_leaves); i++)
        drop_leaf(table, hidden_leaves[i]);
}

static bool is_amd(struct cpuid_table *table)
{
    static const char vendors[][13] = {"AuthenticAMD", "HygonGenuine"};
    const struct cpuid_leaf *l = cpuid_find(table, 0, 0);

    for (size_t i = 0; l && i < ARRAY_LEN(vendors); i++)
        if (memcmp(&l->ebx, vendors[i], 4) == 0 && memcmp(&l->edx, vendors[i] + 4, 4) == 0 &&
            memcmp(&l->ecx, vendors[i] + 8, 4) == 0)
            return true;
    return false;
}

/* How many low bits of an APIC id number the cores of the one socket. */
static uint32_t core_bits(uint32_t vcpus)
{
    uint32_t bits = 0;

    while ((1u << bits) < vcpus)
        bits++;
    return bits;
}

/*
 * Cache leaves (4 on Intel, 0x8000001d on AMD): the number of logical CPUs that share each cache. A
 * core has its own first and second level, the third belongs to all.
 */
static void share_caches(struct cpuid_table *table, uint32_t leaf, uint32_t vcpus)
{
    for (uint32_t i = 0; i < table->n_leaves; i++) {
        struct cpuid_leaf *l = &table->leaves[i];
        uint32_t level = l->eax >> 5 & 7;

        if (l->leaf != leaf || !(l->eax & 0x1f))
            continue;
        l->eax &= ~(0xfffu << 14);
        if (level >= 3)
            l->eax |= (vcpus - 1) << 14;
        if (leaf == 0x4) {
            l->eax &= ~(0x3fu << 26);
            l->eax |= ((1u << core_bits(vcpus)) - 1) << 26;
        }
    }
}

/* Extended topology (leaves 0xb and 0x1f): a thread level of one, a core level of all. EDX is the
 * vCPU's. */
static int add_topology(struct cpuid_table *table, uint32_t leaf, uint32_t vcpus,
                        struct lum_error *err)
{
    const struct cpuid_leaf levels[] = {
        {.leaf = leaf, .subleaf = 0, .indexed = true, .eax = 0, .ebx = 1, .ecx = 1u << 8 | 0},
        {.leaf = leaf,
         .subleaf = 1,
         .indexed = true,
         .eax = core_bits(vcpus),
         .ebx = vcpus,
         .ecx = 2u << 8 | 1},
        {.leaf = leaf, .subleaf = 2, .indexed = true, .ecx = 2},
    };

    drop_leaf(table, leaf);
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        int rc = add_leaf(table, &levels[i], err);

        if (rc < 0)
            return rc;
    }
    return 0;
}

static int set_topology(struct cpuid_table *table, uint32_t max_basic, uint32_t vcpus,
                        struct lum_error *err)
{
    share_caches(table, 0x4, vcpus);
    share_caches(table, 0x8000001d, vcpus);

    static const uint32_t topology_leaves[] = {0xb, 0x1f};
    for (size_t i = 0; i < ARRAY_LEN(topology_leaves); i++) {
        if (max_basic < topology_leaves[i]) {
            drop_leaf(table, topology_leaves[i]);
            continue;
        }
        int rc = add_topology(table, topology_leaves[i], vcpus, err);
        if (rc < 0)
            return rc;
    }

    if (!is_amd(table))
        return 0;
    /* CmpLegacy: the logical CPUs counted in leaf 1 are cores, not threads. */
    struct cpuid_leaf *l = cpuid_find(table, 0x80000001, 0);
    if (l && vcpus > 1)
        l->ecx |= BIT(1);
    else if (l)
        l->ecx &= ~BIT(1);
    l = cpuid_find(table, 0x80000008, 0);
    if (l)
        l->ecx = (l->ecx & 0xffff0f00u) | core_bits(vcpus) << 12 | (vcpus - 1);
    return 0;
}

int cpuid_apply_policy(struct cpuid_table *table, uint32_t vcpus, bool tsc_deadline,
                       struct lum_error *err)
{
    hide_features(table);

    const struct cpuid_leaf *base = cpuid_find(table, 0, 0);
    struct cpuid_leaf *features = cpuid_find(table, 1, 0);
    if (!base || !features)
        return lum_fail(err, LUM_ENOTSUP, "cpuid: the hypervisor offers no leaf %d", base ? 1 : 0);
    uint32_t max_basic = base->eax;

    /*
     * x2APIC: the interrupt controller is the hypervisor's own and has it on every CPU; its
     * register accesses are MSR exits, cheaper than emulated memory accesses. The hypervisor bit is
     * what makes Linux look at 0x40000000 and find its clock there.
     */
    features->ecx |= BIT(21) | BIT(31);
    features->ecx &= ~BIT(24);
    if (tsc_deadline)
        features->ecx |= BIT(24);
    /* Logical CPUs of the package, as a power of two; HTT says that this field counts. */
    features->ebx = (features->ebx & 0xff00ffffu) | (1u << core_bits(vcpus)) << 16;
    features->edx &= ~BIT(28);
    if (vcpus > 1)
        features->edx |= BIT(28);
    return set_topology(table, max_basic, vcpus, err);
}

void cpuid_apply_vcpu(struct cpuid_table *table, uint32_t index)
{
    for (uint32_t i = 0; i < table->n_leaves; i++) {
        struct cpuid_leaf *l = &table->leaves[i];

        switch (l->leaf) {
        case 0x1: l->ebx = (l->ebx & 0x00ffffffu) | index << 24; break;
        case 0xb:
        case 0x1f: l->edx = index; break;
        case 0x8000001e:
            /* APIC id; core id with one thread a core; one node */
            l->eax = index;
            l->ebx = index;
            l->ecx = 0;
            l->edx = 0;
            break;
        default: break;
        }
    }
}
