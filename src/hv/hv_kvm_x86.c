/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM on x86-64: the VM's host facts, CPUID, MSRs and registers of a vCPU, port I/O. The interrupt
 * controller is "split": KVM has the local APICs, our I/O APIC lives above. That is the cheapest VM
 * to create (no PIT thread, no I/O bus entries) and the smallest in-kernel attack surface.
 */
#include "hv/hv_kvm_x86.h"

#include <asm/kvm.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/alloc.h"

#define MSR_IA32_TSC_DEADLINE 0x6e0u
#define MSR_IA32_MISC_ENABLE  0x1a0u
#define MSR_MTRR_DEF_TYPE     0x2ffu

const struct kvm_need kvm_arch_needs[] = {
    {KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP"},
    {KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
    {KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
    {KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK"},
    {0, NULL},
};

/* ---- the VM ---- */

/* KVM's structs with a variable tail, with room for all that we ever ask for. */
union cpuid_room {
    struct kvm_cpuid2 head;
    uint8_t room[sizeof(struct kvm_cpuid2) + CPUID_MAX_LEAVES * sizeof(struct kvm_cpuid_entry2)];
};

union msr_room {
    struct kvm_msrs head;
    uint8_t room[sizeof(struct kvm_msrs) + ARCH_MAX_MSRS * sizeof(struct kvm_msr_entry)];
};

union msr_list_room {
    struct kvm_msr_list head;
    uint8_t room[sizeof(struct kvm_msr_list) + ARCH_MAX_MSRS * sizeof(uint32_t)];
};

static int read_cpuid(const struct kvm_vm *vm, struct cpuid_table *table, struct lum_error *err)
{
    AUTO(auto_free) union cpuid_room *list = lum_calloc(1, sizeof(*list));

    if (!list)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");
    list->head.nent = CPUID_MAX_LEAVES;
    if (ioctl(vm->sys_fd, KVM_GET_SUPPORTED_CPUID, &list->head) < 0)
        return lum_fail_errno(err, errno, "kvm: read the supported CPUID");

    table->n_leaves = list->head.nent;
    for (uint32_t i = 0; i < table->n_leaves; i++) {
        const struct kvm_cpuid_entry2 *e = &list->head.entries[i];

        table->leaves[i] = (struct cpuid_leaf){
            .leaf = e->function,
            .subleaf = e->index,
            .indexed = e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            .eax = e->eax,
            .ebx = e->ebx,
            .ecx = e->ecx,
            .edx = e->edx,
        };
    }
    return cpuid_apply_policy(table, vm->base.config.vcpus,
                              kvm_cap(vm->sys_fd, KVM_CAP_TSC_DEADLINE_TIMER) != 0, err);
}

/* MSRs that KVM lists for features that our CPUID hides: no state of our guests. */
static bool is_hidden(uint32_t index)
{
    return (index >= 0x480 && index <= 0x493) ||          /* VMX capabilities */
           (index >= 0x40000000 && index < 0x40000200) || /* Hyper-V, its moving clock among them */
           index == 0xc0010117;                           /* SVM: VM_HSAVE_PA */
}

static void add_msr(struct kvm_arch *arch, uint32_t index)
{
    if (is_hidden(index))
        return;
    for (uint32_t i = 0; i < arch->n_msrs; i++)
        if (arch->msrs[i] == index)
            return;
    if (arch->n_msrs < ARCH_MAX_MSRS)
        arch->msrs[arch->n_msrs++] = index;
}

/*
 * The MSRs that make up a vCPU: KVM's list, plus the memory types, which KVM keeps but does not
 * list. The deadline of the timer is in terms of the time stamp counter and starts a host timer
 * when it is loaded, so it comes last.
 */
static int read_msr_list(const struct kvm_vm *vm, struct kvm_arch *arch, struct lum_error *err)
{
    static const uint32_t fixed_mtrrs[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                           0x26b, 0x26c, 0x26d, 0x26e, 0x26f};
    AUTO(auto_free) union msr_list_room *list = lum_calloc(1, sizeof(*list));

    if (!list)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");
    list->head.nmsrs = ARCH_MAX_MSRS;
    if (ioctl(vm->sys_fd, KVM_GET_MSR_INDEX_LIST, &list->head) < 0)
        return lum_fail_errno(err, errno, "kvm: read the list of MSRs");

    add_msr(arch, MSR_IA32_TSC);
    for (uint32_t i = 0; i < list->head.nmsrs; i++)
        if (list->head.indices[i] != MSR_IA32_TSC_DEADLINE)
            add_msr(arch, list->head.indices[i]);
    for (uint32_t i = 0; i < 8; i++) {
        add_msr(arch, 0x200 + 2 * i);
        add_msr(arch, 0x201 + 2 * i);
    }
    for (size_t i = 0; i < ARRAY_LEN(fixed_mtrrs); i++)
        add_msr(arch, fixed_mtrrs[i]);
    add_msr(arch, MSR_MTRR_DEF_TYPE);
    if (arch->n_msrs == ARCH_MAX_MSRS)
        return lum_fail(err, LUM_ENOTSUP, "kvm: more than %u MSRs", ARCH_MAX_MSRS - 1);
    add_msr(arch, MSR_IA32_TSC_DEADLINE);
    return 0;
}

/* Optional abilities that make a saved state more exact where the host has them. */
static int enable_event_details(struct kvm_vm *vm, struct kvm_arch *arch, struct lum_error *err)
{
    int rc = 0;

    arch->event_flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    if (kvm_cap(vm->vm_fd, KVM_CAP_X86_SMM))
        arch->event_flags |= KVM_VCPUEVENT_VALID_SMM;
    if (kvm_cap(vm->vm_fd, KVM_CAP_EXCEPTION_PAYLOAD)) {
        rc = kvm_enable_cap(vm->vm_fd, KVM_CAP_EXCEPTION_PAYLOAD, 1, "exception payloads", err);
        arch->event_flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
    }
    if (rc == 0 && kvm_cap(vm->vm_fd, KVM_CAP_X86_TRIPLE_FAULT_EVENT)) {
        rc = kvm_enable_cap(vm->vm_fd, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1, "triple fault events",
                            err);
        arch->event_flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
    }
    return rc;
}

static int set_up_vm(struct kvm_vm *vm, struct kvm_arch *arch, struct lum_error *err)
{
    if (ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)ARCH_TSS_ADDR) < 0)
        return lum_fail_errno(err, errno, "kvm: set the TSS address");

    int rc = kvm_enable_cap(vm->vm_fd, KVM_CAP_SPLIT_IRQCHIP, vm->base.config.ioapic_pins,
                            "the split interrupt controller", err);
    /* CPUID hides the performance counters; this also takes them away from a guest that does not
     * ask CPUID. */
    if (rc == 0 && (kvm_cap(vm->vm_fd, KVM_CAP_PMU_CAPABILITY) & KVM_PMU_CAP_DISABLE))
        rc = kvm_enable_cap(vm->vm_fd, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE,
                            "hiding the performance counters", err);
    if (rc == 0)
        rc = enable_event_details(vm, arch, err);
    return rc;
}

int kvm_arch_vm_create(struct kvm_vm *vm, struct lum_error *err)
{
    struct kvm_arch *arch = lum_calloc(1, sizeof(*arch));

    if (!arch)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");
    vm->arch = arch;

    int rc = set_up_vm(vm, arch, err);
    if (rc == 0)
        rc = read_cpuid(vm, &arch->cpuid, err);
    if (rc == 0)
        rc = read_msr_list(vm, arch, err);
    if (rc < 0)
        return rc;

    if (kvm_cap(vm->vm_fd, KVM_CAP_XSAVE) && kvm_cap(vm->vm_fd, KVM_CAP_XCRS)) {
        arch->xsave_size = (uint32_t)kvm_cap(vm->vm_fd, KVM_CAP_XSAVE2);
        if (arch->xsave_size < sizeof(struct kvm_xsave))
            arch->xsave_size = sizeof(struct kvm_xsave);
        if (arch->xsave_size > ARCH_XSAVE_SIZE)
            return lum_fail(err, LUM_ENOTSUP, "kvm: XSAVE area of %u bytes: more than %u",
                            arch->xsave_size, ARCH_XSAVE_SIZE);
    }
    return 0;
}

void kvm_arch_vm_free(struct kvm_vm *vm)
{
    free(vm->arch);
}

/* ---- MSRs ---- */

/*
 * MSRs whose loss no guest of ours can notice. A host may list them and refuse to set them (KVM
 * under another hypervisor does). Any other refused MSR fails the load.
 */
static bool may_be_lost(uint32_t index)
{
    switch (index) {
    case 0x8b:       /* microcode revision: the host's own already */
    case 0xce:       /* PLATFORM_INFO: read-only facts */
    case 0x10a:      /* ARCH_CAPABILITIES: read-only, KVM fills it in for a new vCPU */
    case 0x345:      /* PERF_CAPABILITIES: the counters are hidden */
    case 0xc0010015: /* AMD HWCR: no bit of it is ours to keep */
    case 0x4b564d05: /* KVM halt-polling hint */ return true;
    default: return index >= 0x480 && index <= 0x493; /* VMX capabilities: VMX is hidden */
    }
}

int kvm_x86_set_msrs(const struct kvm_vcpu *vcpu, const struct kvm_msr_batch *batch,
                     struct lum_error *err)
{
    AUTO(auto_free) union msr_room *msrs = lum_calloc(1, sizeof(*msrs));

    if (!msrs)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");
    for (uint32_t done = 0; done < batch->n;) {
        msrs->head.nmsrs = batch->n - done;
        memcpy(msrs->head.entries, batch->entries + done,
               msrs->head.nmsrs * sizeof(*batch->entries));
        /* KVM stops at the first that it refuses and says how many it has set. */
        int rc = kvm_vcpu_ioctl(vcpu, KVM_SET_MSRS, "set MSRs", &msrs->head, err);
        if (rc < 0)
            return rc;
        done += (uint32_t)rc;
        if (done < batch->n && !may_be_lost(batch->entries[done].index))
            return lum_fail(err, LUM_EOS, "kvm: vCPU %u: MSR 0x%x refuses the value 0x%llx",
                            vcpu->base.index, batch->entries[done].index,
                            (unsigned long long)batch->entries[done].data);
        done++;
    }
    return 0;
}

int kvm_x86_get_msrs(const struct kvm_vcpu *vcpu, const uint32_t *indices, uint32_t n,
                     struct kvm_msr_batch *ret_batch, struct lum_error *err)
{
    AUTO(auto_free) union msr_room *msrs = lum_calloc(1, sizeof(*msrs));
    uint32_t got = 0;

    if (!msrs)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");
    for (uint32_t at = 0; at < n;) {
        msrs->head.nmsrs = n - at;
        for (uint32_t i = at; i < n; i++)
            msrs->head.entries[i - at].index = indices[i];
        int rc = kvm_vcpu_ioctl(vcpu, KVM_GET_MSRS, "get MSRs", &msrs->head, err);
        if (rc < 0)
            return rc;
        memcpy(ret_batch->entries + got, msrs->head.entries,
               (uint32_t)rc * sizeof(*ret_batch->entries));
        got += (uint32_t)rc;
        at += (uint32_t)rc + 1; /* the one it stopped at does not exist on this vCPU */
    }
    ret_batch->n = got;
    return 0;
}

/* ---- the vCPU ---- */

static int set_cpuid(struct kvm_vcpu *vcpu, struct lum_error *err)
{
    const struct kvm_vm *vm = container_of(vcpu->base.vm, struct kvm_vm, base);
    AUTO(auto_free) struct cpuid_table *table = lum_calloc(1, sizeof(*table));
    AUTO(auto_free) union cpuid_room *list = lum_calloc(1, sizeof(*list));

    if (!table || !list)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");
    *table = vm->arch->cpuid;
    cpuid_apply_vcpu(table, vcpu->base.index);

    list->head.nent = table->n_leaves;
    for (uint32_t i = 0; i < table->n_leaves; i++) {
        const struct cpuid_leaf *l = &table->leaves[i];

        list->head.entries[i] = (struct kvm_cpuid_entry2){
            .function = l->leaf,
            .index = l->subleaf,
            .flags = l->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = l->eax,
            .ebx = l->ebx,
            .ecx = l->ecx,
            .edx = l->edx,
        };
    }
    return kvm_vcpu_ioctl(vcpu, KVM_SET_CPUID2, "set CPUID", &list->head, err);
}

/*
 * What firmware would have done and Linux expects: string instructions fast (bits 11 and 12: no
 * debug store, no PEBS), memory write-back by default with the MTRRs on. Linux also runs without,
 * so a host that refuses is no error.
 */
static int set_boot_msrs(struct kvm_vcpu *vcpu, struct lum_error *err)
{
    union msr_room msrs = {.head = {.nmsrs = 2}};

    msrs.head.entries[0] = (struct kvm_msr_entry){
        .index = MSR_IA32_MISC_ENABLE,
        .data = 1u << 0 | 1u << 11 | 1u << 12,
    };
    msrs.head.entries[1] = (struct kvm_msr_entry){
        .index = MSR_MTRR_DEF_TYPE,
        .data = 1u << 11 | 6,
    };
    int rc = kvm_vcpu_ioctl(vcpu, KVM_SET_MSRS, "set boot MSRs", &msrs.head, err);
    return rc < 0 ? rc : 0;
}

int kvm_arch_vcpu_create(struct kvm_vcpu *vcpu, struct lum_error *err)
{
    int rc = set_cpuid(vcpu, err);

    if (rc == 0)
        rc = set_boot_msrs(vcpu, err);
    return rc;
}

bool kvm_arch_exit(struct kvm_vcpu *vcpu, struct hv_exit *exit)
{
    const struct kvm_vm *vm = container_of(vcpu->base.vm, struct kvm_vm, base);
    struct kvm_run *run = vcpu->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        if (run->io.data_offset > vm->run_size ||
            (uint64_t)run->io.size * run->io.count > vm->run_size - run->io.data_offset)
            return false;
        vcpu->access = (struct kvm_access){
            .reason = HV_EXIT_PIO,
            .is_write = run->io.direction == KVM_EXIT_IO_OUT,
            .size = run->io.size,
            .addr = run->io.port,
            .data = (uint8_t *)run + run->io.data_offset,
            .count = run->io.count,
        };
        return true;
    case KVM_EXIT_IOAPIC_EOI:
        *exit = (struct hv_exit){.reason = HV_EXIT_EOI, .addr = run->eoi.vector};
        return true;
    default: return false;
    }
}

bool kvm_arch_pc(struct kvm_vcpu *vcpu, uint64_t *ret_pc)
{
    struct kvm_regs regs;

    if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0)
        return false;
    *ret_pc = regs.rip;
    return true;
}

/* ---- registers ---- */

static struct arch_segment segment_from_kvm(const struct kvm_segment *s)
{
    return (struct arch_segment){
        .base = s->base,
        .limit = s->limit,
        .selector = s->selector,
        .type = s->type,
        .s = s->s,
        .dpl = s->dpl,
        .present = s->present,
        .avl = s->avl,
        .l = s->l,
        .db = s->db,
        .g = s->g,
        .unusable = s->unusable,
    };
}

static struct kvm_segment segment_to_kvm(const struct arch_segment *s)
{
    return (struct kvm_segment){
        .base = s->base,
        .limit = s->limit,
        .selector = s->selector,
        .type = s->type,
        .s = s->s,
        .dpl = s->dpl,
        .present = s->present,
        .avl = s->avl,
        .l = s->l,
        .db = s->db,
        .g = s->g,
        .unusable = s->unusable,
    };
}

int kvm_arch_get_regs(struct hv_vcpu *base, struct arch_regs *ret_regs, struct lum_error *err)
{
    const struct kvm_vcpu *vcpu = container_of(base, struct kvm_vcpu, base);
    struct kvm_regs r;
    struct kvm_sregs s;
    int rc = kvm_vcpu_ioctl(vcpu, KVM_GET_REGS, "get registers", &r, err);

    if (rc >= 0)
        rc = kvm_vcpu_ioctl(vcpu, KVM_GET_SREGS, "get system registers", &s, err);
    if (rc < 0)
        return rc;
    *ret_regs = (struct arch_regs){
        .rax = r.rax,
        .rbx = r.rbx,
        .rcx = r.rcx,
        .rdx = r.rdx,
        .rsi = r.rsi,
        .rdi = r.rdi,
        .rsp = r.rsp,
        .rbp = r.rbp,
        .r8 = r.r8,
        .r9 = r.r9,
        .r10 = r.r10,
        .r11 = r.r11,
        .r12 = r.r12,
        .r13 = r.r13,
        .r14 = r.r14,
        .r15 = r.r15,
        .rip = r.rip,
        .rflags = r.rflags,
        .cs = segment_from_kvm(&s.cs),
        .ds = segment_from_kvm(&s.ds),
        .es = segment_from_kvm(&s.es),
        .fs = segment_from_kvm(&s.fs),
        .gs = segment_from_kvm(&s.gs),
        .ss = segment_from_kvm(&s.ss),
        .tr = segment_from_kvm(&s.tr),
        .ldt = segment_from_kvm(&s.ldt),
        .gdt = {.base = s.gdt.base, .limit = s.gdt.limit},
        .idt = {.base = s.idt.base, .limit = s.idt.limit},
        .cr0 = s.cr0,
        .cr2 = s.cr2,
        .cr3 = s.cr3,
        .cr4 = s.cr4,
        .cr8 = s.cr8,
        .efer = s.efer,
        .apic_base = s.apic_base,
    };
    return 0;
}

int kvm_arch_set_regs(struct hv_vcpu *base, const struct arch_regs *regs, struct lum_error *err)
{
    const struct kvm_vcpu *vcpu = container_of(base, struct kvm_vcpu, base);
    struct kvm_sregs s = {
        .cs = segment_to_kvm(&regs->cs),
        .ds = segment_to_kvm(&regs->ds),
        .es = segment_to_kvm(&regs->es),
        .fs = segment_to_kvm(&regs->fs),
        .gs = segment_to_kvm(&regs->gs),
        .ss = segment_to_kvm(&regs->ss),
        .tr = segment_to_kvm(&regs->tr),
        .ldt = segment_to_kvm(&regs->ldt),
        .gdt = {.base = regs->gdt.base, .limit = regs->gdt.limit},
        .idt = {.base = regs->idt.base, .limit = regs->idt.limit},
        .cr0 = regs->cr0,
        .cr2 = regs->cr2,
        .cr3 = regs->cr3,
        .cr4 = regs->cr4,
        .cr8 = regs->cr8,
        .efer = regs->efer,
        .apic_base = regs->apic_base,
    };
    struct kvm_regs r = {
        .rax = regs->rax,
        .rbx = regs->rbx,
        .rcx = regs->rcx,
        .rdx = regs->rdx,
        .rsi = regs->rsi,
        .rdi = regs->rdi,
        .rsp = regs->rsp,
        .rbp = regs->rbp,
        .r8 = regs->r8,
        .r9 = regs->r9,
        .r10 = regs->r10,
        .r11 = regs->r11,
        .r12 = regs->r12,
        .r13 = regs->r13,
        .r14 = regs->r14,
        .r15 = regs->r15,
        .rip = regs->rip,
        .rflags = regs->rflags,
    };

    int rc = kvm_vcpu_ioctl(vcpu, KVM_SET_SREGS, "set system registers", &s, err);
    if (rc >= 0)
        rc = kvm_vcpu_ioctl(vcpu, KVM_SET_REGS, "set registers", &r, err);
    return rc < 0 ? rc : 0;
}

/* ---- the probe's guest ---- */

/*
 * Long mode at CPL 0, where Linux lives: a page-table triple for the first 2 MiB, then a loop of
 * two instructions. 32-bit registers, so that the code says what it counts: mov ecx, rounds; dec
 * ecx; jnz; out 0x80, al; jmp back to the mov.
 */
int kvm_arch_probe_guest(struct hv_vcpu *vcpu, uint8_t *ram, uint32_t rounds, struct lum_error *err)
{
    static const uint64_t tables[3] = {0x2003, 0x3003,
                                       0x83}; /* present, writable; the last one large */
    const uint8_t code[] = {0xb9,
                            (uint8_t)rounds,
                            (uint8_t)(rounds >> 8),
                            (uint8_t)(rounds >> 16),
                            (uint8_t)(rounds >> 24),
                            0xff,
                            0xc9, /* dec ecx */
                            0x75,
                            0xfc, /* jnz -4 */
                            0xe6,
                            0x80, /* out 0x80, al */
                            0xeb,
                            0xf3}; /* jmp to the mov */
    struct arch_regs regs;

    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        memcpy(ram + 0x1000 * (i + 1), &tables[i], sizeof(tables[i]));
    memcpy(ram + 0x4000, code, sizeof(code));

    int rc = kvm_arch_get_regs(vcpu, &regs, err);
    if (rc < 0)
        return rc;
    const struct arch_segment data = {
        .limit = 0xffffffffu, .selector = 0x10, .type = 3, .s = 1, .present = 1, .db = 1, .g = 1};
    regs.ds = regs.es = regs.fs = regs.gs = regs.ss = data;
    regs.cs = (struct arch_segment){
        .limit = 0xffffffffu, .selector = 0x8, .type = 11, .s = 1, .present = 1, .l = 1, .g = 1};
    regs.cr3 = 0x1000;
    regs.cr4 |= 1u << 5;             /* PAE */
    regs.cr0 = 0x80000011u;          /* paging, protection; ET is always one */
    regs.efer |= 1u << 8 | 1u << 10; /* long mode enabled and active */
    regs.rip = 0x4000;
    regs.rflags = 2;
    return kvm_arch_set_regs(vcpu, &regs, err);
}
