/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU itself: MSRs, CPUID, rare instructions, memory that is not there, code and tables in
 * registers of devices, ends of every kind, and what several vCPUs can do to each other.
 */
#include "attacks.h"
#include "virtio.h"

/* ---- MSRs ---- */

#define MSR_APIC_BASE  0x1b
#define MSR_EFER       0xc0000080
#define KVM_MSRS       0x4b564d00
#define SYNTHETIC_MSRS 0x40000000

static uint8_t shared[2 * PAGE] __attribute__((aligned(4096)));

static unsigned sweep_msrs(uint32_t first, uint32_t n)
{
    unsigned readable = 0;

    for (uint32_t i = first; i < first + n; i++) {
        uint64_t value = 0;
        bool there = msr_read(i, &value);

        readable += there;
        if (i == MSR_APIC_BASE || i == MSR_EFER) /* attacks of their own; the rest of this one */
            continue;
        (void)msr_write(i, ~0ull);
        (void)msr_write(i, 0);
        (void)msr_write(i, (uint64_t)(uintptr_t)shared | 1);
        if (there)
            (void)msr_write(i, value);
    }
    return readable;
}

void attack_msrs(void)
{
    static const struct {
        uint32_t first, n;
    } ranges[] = {
        {0, 0x1400},        {0x17d0, 0x20},      {KVM_MSRS, 0x10},    {SYNTHETIC_MSRS, 0x140},
        {0x80000000, 0x10}, {0xc0000000, 0x400}, {0xc0010000, 0x300}, {0xfffffff0, 0xf},
        {0x4b564cf0, 0x10}};
    unsigned readable = 0;

    for (unsigned i = 0; i < ARRAY_LEN(ranges); i++)
        readable += sweep_msrs(ranges[i].first, ranges[i].n);
    for (unsigned n = 0; n < 500; n++)
        (void)sweep_msrs(random32(), 1);
    check(readable > 0, "%u MSRs can be read, all were written", readable);
    (void)msr_write(KVM_MSRS + 2, 0);
    (void)msr_write(KVM_MSRS + 3, 0);
    (void)msr_write(KVM_MSRS + 4, 0);
    write32(LAPIC_BASE + 0xf0, 0x1ff);
    write32(LAPIC_BASE + 0x320, 0x10000);
}

/* Behind KVM's documented ones: one host's KVM stops for ever at one of these. */
void attack_msrs_unknown(void)
{
    check(sweep_msrs(KVM_MSRS + 0x10, 0xf0) < 0xf0, "MSRs of KVM that nobody has described");
}

/* KVM's own: pages that the hypervisor writes, where none may be. */
void attack_kvm_msrs(void)
{
    const uint64_t at[] = {MMIO_BASE,   LAPIC_BASE, IOAPIC_BASE,
                           ram_end - 4, ram_end,    1ull << 40,
                           ~0ull << 12, ~0ull - 63, (uint64_t)(uintptr_t)shared};

    for (unsigned i = 0; i < ARRAY_LEN(at); i++)
        for (uint32_t msr = KVM_MSRS; msr < KVM_MSRS + 10; msr++)
            for (unsigned bits = 0; bits < 16; bits++)
                (void)msr_write(msr, at[i] | bits);
    for (uint32_t msr = KVM_MSRS; msr < KVM_MSRS + 10; msr++)
        (void)msr_write(msr, 0);
    (void)msr_write(0x11, 0);
    (void)msr_write(0x12, 0);
    check(true, "shared pages where there is no memory");
}

void attack_cpuid(void)
{
    unsigned leaves = 0;

    for (uint32_t base = 0; base < 3; base++) {
        static const uint32_t bases[] = {0, 0x40000000, 0x80000000};

        for (uint32_t leaf = 0; leaf < 0x40; leaf++)
            for (uint32_t sub = 0; sub < 4; sub++, leaves++)
                (void)cpuid(bases[base] + leaf, sub);
    }
    for (unsigned i = 0; i < 300; i++)
        (void)cpuid(random32(), random32());
    check(!(cpuid(1, 0).ecx & 1u << 5) && !(cpuid(0x80000001, 0).ecx & 1u << 2),
          "no virtualization is offered in %u leaves", leaves);
    check(cpuid(0xa, 0).eax == 0, "no performance counters");
}

/* ---- instructions, one a machine: some hypervisors cannot emulate some of them ---- */

struct code {
    const char *name;
    uint8_t size, bytes[10];
};

static struct {
    const struct code *code;
    uint64_t operand; /* all registers but the stack pointer hold this address */
} chosen;

static void run_code(void *arg)
{
    static uint8_t room[16];

    (void)arg;
    memset(room, 0xc3, sizeof(room)); /* a return */
    memcpy(room, chosen.code->bytes, chosen.code->size);
    barrier();
    __asm__ volatile("call *%0"
                     :
                     : "r"((uint64_t)(uintptr_t)room), "a"(chosen.operand), "b"(chosen.operand),
                       "c"(0), "d"(chosen.operand >> 32), "S"(chosen.operand), "D"(chosen.operand)
                     : "memory", "cc");
}

static void run_chosen(uint64_t operand)
{
    chosen.operand = operand;
    int ended = guarded(run_code, NULL);
    if (ended)
        note("%s: exception %u", chosen.code->name, (unsigned)ended - 1);
}

void attack_instruction(void)
{
    static const struct code codes[] = {
        {"vmcall", 3, {0x0f, 0x01, 0xc1}},
        {"vmmcall", 3, {0x0f, 0x01, 0xd9}},
        {"vmrun", 3, {0x0f, 0x01, 0xd8}},
        {"vmload", 3, {0x0f, 0x01, 0xda}},
        {"stgi", 3, {0x0f, 0x01, 0xdc}},
        {"vmxon (rax)", 4, {0xf3, 0x0f, 0xc7, 0x30}},
        {"vmptrld (rax)", 3, {0x0f, 0xc7, 0x30}},
        {"vmlaunch", 3, {0x0f, 0x01, 0xc2}},
        {"rsm", 2, {0x0f, 0xaa}},
        {"xsetbv", 3, {0x0f, 0x01, 0xd1}},
        {"xgetbv", 3, {0x0f, 0x01, 0xd0}},
        {"monitor", 3, {0x0f, 0x01, 0xc8}},
        {"invd", 2, {0x0f, 0x08}},
        {"wbinvd", 2, {0x0f, 0x09}},
        {"rdpmc", 2, {0x0f, 0x33}},
        {"ud2", 2, {0x0f, 0x0b}},
        {"icebp", 1, {0xf1}},
        {"int3", 1, {0xcc}},
        {"int 0x80", 2, {0xcd, 0x80}},
        {"int 13", 2, {0xcd, 0x0d}},
        {"ltr ax", 3, {0x0f, 0x00, 0xd8}},
        {"mov cr0, rax", 3, {0x0f, 0x22, 0xc0}},
        {"mov cr4, rax", 3, {0x0f, 0x22, 0xe0}},
        {"mov cr8, rax", 4, {0x44, 0x0f, 0x22, 0xc0}},
        {"mov dr7, rax", 3, {0x0f, 0x23, 0xf8}},
        {"syscall", 2, {0x0f, 0x05}},
        {"sysenter", 2, {0x0f, 0x34}},
        {"swapgs", 3, {0x0f, 0x01, 0xf8}},
        {"iretq", 2, {0x48, 0xcf}},
        {"invpcid rax, (rax)", 5, {0x66, 0x0f, 0x38, 0x82, 0x00}},
        {"16 prefixes", 10, {0x66, 0x67, 0x66, 0x67, 0x66, 0x67, 0x66, 0x67, 0x66, 0x67}},
        {"lidt (rax), int 32", 5, {0x0f, 0x01, 0x18, 0xcd, 0x20}},
    };

    if (!check(attack_number < ARRAY_LEN(codes), "an instruction of the list"))
        return;
    chosen.code = &codes[attack_number];
    note("%s", chosen.code->name);
    run_chosen(address_of(shared));
    __asm__ volatile("movq %0, %%cr8" : : "r"(0ull));
    __asm__ volatile("movq %0, %%dr7" : : "r"(0x400ull));
}

/* With its operand in registers of devices. */
void attack_mmio_instruction(void)
{
    static const struct code codes[] = {
        {"xchg eax, (rbx)", 2, {0x87, 0x03}},
        {"lock cmpxchg ecx, (rbx)", 4, {0xf0, 0x0f, 0xb1, 0x0b}},
        {"lock inc 0x50(rbx)", 4, {0xf0, 0xff, 0x43, 0x50}},
        {"add rax, 0x70(rbx)", 4, {0x48, 0x01, 0x43, 0x70}},
        {"push (rbx), pop 0x30(rbx)", 5, {0xff, 0x33, 0x8f, 0x43, 0x30}},
        {"sgdt 0x80(rbx)", 7, {0x0f, 0x01, 0x83, 0x80}},
        {"sidt 0x80(rbx)", 7, {0x0f, 0x01, 0x8b, 0x80}},
        {"bts 5, 0x70(rbx)", 5, {0x0f, 0xba, 0x6b, 0x70, 0x05}},
        {"movnti eax, 0x50(rbx)", 4, {0x0f, 0xc3, 0x43, 0x50}},
        {"lock cmpxchg8b (rbx)", 4, {0xf0, 0x0f, 0xc7, 0x0b}},
        {"lock cmpxchg16b (rbx)", 5, {0xf0, 0x48, 0x0f, 0xc7, 0x0b}},
        {"movdqu xmm0, 0x80(rbx)", 8, {0xf3, 0x0f, 0x7f, 0x83, 0x80}},
        {"movdqu 0x80(rbx), xmm0", 8, {0xf3, 0x0f, 0x6f, 0x83, 0x80}},
        {"fxsave (rbx)", 3, {0x0f, 0xae, 0x03}},
        {"fxrstor (rbx)", 3, {0x0f, 0xae, 0x0b}},
        {"clflush (rbx)", 3, {0x0f, 0xae, 0x3b}},
        {"invlpg (rbx)", 3, {0x0f, 0x01, 0x3b}},
        {"lgdt (rbx)", 3, {0x0f, 0x01, 0x13}},
        {"mov ds, (rbx)", 2, {0x8e, 0x1b}},
        {"call (rbx)", 2, {0xff, 0x13}},
        {"cmpsq", 2, {0x48, 0xa7}},
        {"lodsl", 1, {0xad}},
        {"stosw", 2, {0x66, 0xab}},
        {"movsb", 1, {0xa4}},
        {"shld 5, eax, (rbx)", 4, {0x0f, 0xa4, 0x03, 0x05}},
        {"neg (rbx)", 2, {0xf7, 0x1b}},
    };
    static const uint64_t bases[] = {MMIO_BASE, MMIO_BASE + MMIO_SLOT, MMIO_BASE + 0xffd,
                                     IOAPIC_BASE, LAPIC_BASE + 0x80};
    uint64_t cr4;

    if (!check(attack_number < ARRAY_LEN(codes), "an instruction of the list"))
        return;
    __asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("movq %0, %%cr4" : : "r"(cr4 | 0x200)); /* those of SSE too */
    chosen.code = &codes[attack_number];
    note("%s", chosen.code->name);
    for (unsigned i = 0; i < ARRAY_LEN(bases); i++)
        run_chosen(bases[i]);
}

/* ---- memory that is not there ---- */

void attack_no_memory(void)
{
    const uint64_t at[] = {ram_end,       ram_end + 0x200000, RAM_HOLE,           RAM_HOLE - 8,
                           MMIO_BASE - 8, 0xe0000000,         0xfec01000,         0xfffff000,
                           1ull << 32,    1ull << 36,         (1ull << 39) - 4096};
    bool good = true;

    for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
        uint64_t a = window(at[i]);

        for (unsigned size = 1; size <= 8; size *= 2) {
            write_size(a, size, 0x1234567812345678ull);
            good = good && read_size(a, size) == (size == 8 ? ~0ull : (1ull << 8 * size) - 1);
        }
    }
    check(good, "where there is no memory, all bits are ones");
    /* Accesses of which one part is memory and one is not. */
    for (unsigned size = 2; size <= 8; size *= 2)
        for (unsigned below = 1; below < size; below++) {
            write_size(ram_end - below, size, ~0ull);
            (void)read_size(ram_end - below, size);
            write_size(MMIO_BASE - below, size, ~0ull);
            (void)read_size(MMIO_BASE - below, size);
            write_size(MMIO_BASE + MMIO_SLOT - below, size, ~0ull);
            (void)read_size(MMIO_BASE + MMIO_SLOT - below, size);
        }
    check(true, "accesses across the ends of memory and of slots");
}

/* Everything the boot left, and all memory that is not ours. */
void attack_boot_data(void)
{
    memset(NULL, 0xff, 0xa0000);
    memset((void *)0xa0000, 0x00, 0x60000);
    for (uint64_t at = (address_of(image_end) + PAGE) & ~4095ull; at < ram_end; at += PAGE)
        write_size(at, 8, ~0ull);
    check(true, "all memory but the guest's own is overwritten");
}

/* ---- code, stack and tables in devices: most hypervisors give up here, and say so ---- */

static void jump_to(void *arg)
{
    void (*fn)(void) = (void (*)(void))(uintptr_t) * (uint64_t *)arg;

    fn();
}

static void fetch(uint64_t at)
{
    int ended = guarded(jump_to, &at);

    check(ended != 0, "code at 0x%lx: exception %u", at, (unsigned)ended - 1);
}

void attack_fetch_device(void)
{
    fetch(MMIO_BASE);
}

void attack_fetch_lapic(void)
{
    fetch(LAPIC_BASE);
}

void attack_fetch_nowhere(void)
{
    fetch(RAM_HOLE);
}

static void load_cr3(void *arg)
{
    __asm__ volatile("movq %0, %%cr3; nop; nop" : : "r"(*(uint64_t *)arg) : "memory");
}

void attack_tables_device(void)
{
    uint64_t at = MMIO_BASE;

    (void)guarded(load_cr3, &at);
}

void attack_tables_lapic(void)
{
    uint64_t at = LAPIC_BASE;

    (void)guarded(load_cr3, &at);
}

void attack_tables_nowhere(void)
{
    uint64_t at = 0x7ffffff000;

    (void)guarded(load_cr3, &at);
}

/* One entry of the window's path leads to a device: the walk reads registers. */
void attack_table_entry_device(void)
{
    uint64_t a = window(0), cr3;

    __asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
    volatile uint64_t *top = (volatile uint64_t *)(uintptr_t)(cr3 & ~4095ull);
    volatile uint64_t *second = (volatile uint64_t *)(uintptr_t)(top[1] & ~4095ull);
    for (unsigned slot = 0; slot <= MMIO_SLOTS; slot++) {
        uint64_t at = a;

        second[0] = (MMIO_BASE + slot * MMIO_SLOT) | 3;
        __asm__ volatile("movq %0, %%cr3" : : "r"(cr3) : "memory");
        (void)guarded(jump_to, &at);
    }
    check(true, "page tables in devices");
}

void attack_stack_device(void)
{
    __asm__ volatile("movq %0, %%rsp; pushq %%rax; popq %%rax; int $0x20"
                     :
                     : "r"(MMIO_BASE + 0x1000)
                     : "memory");
    __builtin_unreachable();
}

static void interrupt_table(uint64_t at)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) table = {0xfff, at};

    __asm__ volatile("lidt %0; int $0x20" : : "m"(table) : "memory");
}

void attack_idt_device(void)
{
    interrupt_table(MMIO_BASE);
}

void attack_triple_fault(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) none = {0, 0};

    __asm__ volatile("lidt %0; ud2" : : "m"(none));
}

void attack_halt(void)
{
    at_point("stuck");
    halt_for_ever();
}

void attack_spin(void)
{
    at_point("stuck");
    for (;;)
        __asm__ volatile("");
}

/* Register accesses without an end: the loop's lock is never free for long. */
void attack_storm(void)
{
    at_point("stuck");
    for (unsigned n = 0;; n++) {
        (void)reg_read(n % MMIO_SLOTS, REG_STATUS);
        reg_write(n % MMIO_SLOTS, REG_QUEUE_NOTIFY, 0);
    }
}

static void storm(void *arg)
{
    (void)arg;
    for (unsigned n = 0;; n++) {
        (void)reg_read(n % MMIO_SLOTS, REG_STATUS);
        reg_write(n % MMIO_SLOTS, REG_STATUS, n & 15);
    }
}

void attack_storm_all(void)
{
    for (unsigned cpu = 1; cpu < MAX_CPUS; cpu++)
        check(start_cpu(cpu, storm, NULL), "vCPU %u starts", cpu);
    at_point("stuck");
    storm(NULL);
}

/* ---- several vCPUs ---- */

extern uint8_t halt_code[], halt_code_end[];

static void come(void *arg)
{
    (void)arg;
    halt_for_ever();
}

/* INIT and start-up messages to the others, with every vector; all of low memory halts. */
void attack_ipi_storm(void)
{
    for (uint32_t page = 0; page < 0x100; page++)
        memcpy((void *)(uintptr_t)(page * PAGE), halt_code, (size_t)(halt_code_end - halt_code));
    write32(LAPIC_BASE + 0xf0, 0x1ff);
    for (unsigned n = 0; n < 3000; n++) {
        uint32_t target = 1 + n % (MAX_CPUS - 1);

        switch (n % 5) {
        case 0: send_ipi(target, 0x4500); break;
        case 1: send_ipi(target, 0x4600 | (n & 0xff)); break;
        case 2: send_ipi(target, 0x4400); break;                    /* NMI */
        case 3: send_ipi(0, 3u << 18 | 0x4600 | (n & 0xff)); break; /* all but us */
        default: send_ipi(random32() & 0xff, 0x4000 | (0x20 + n % 0xd0)); break;
        }
    }
    check(true, "3000 INIT, start-up, NMI and other messages");
    check(start_cpu(2, come, NULL), "a vCPU can still be started properly");
}

/* ---- code that changes under the instruction that is being emulated ---- */

static volatile bool stop, stopped;
static uint8_t mutable_code[64] __attribute__((aligned(64)));

static const uint8_t shapes[][8] = {
    {0x8b, 0x03, 0x90, 0x90, 0x90, 0xc3}, /* mov eax, (rbx) */
    {0x89, 0x03, 0x90, 0x90, 0x90, 0xc3}, /* mov (rbx), eax */
    {0x48, 0x8b, 0x43, 0x50, 0x90, 0xc3}, /* mov rax, 0x50(rbx) */
    {0x66, 0x89, 0x43, 0x70, 0x90, 0xc3}, /* mov 0x70(rbx), ax */
    {0xf3, 0xa4, 0x90, 0x90, 0x90, 0xc3}, /* rep movsb */
    {0xee, 0x90, 0xec, 0x90, 0x90, 0xc3}, /* out dx, al; in al, dx */
};

static void mutate(void *arg)
{
    (void)arg;
    for (unsigned n = 0; !stop; n++)
        for (unsigned i = 0; i < 8; i++)
            ((volatile uint8_t *)mutable_code)[i] = shapes[n % ARRAY_LEN(shapes)][i];
    stopped = true;
}

static void run_mutable(void *arg)
{
    (void)arg;
    uint64_t count = 16, from = MMIO_BASE + 0x70, to = (uint64_t)(uintptr_t)shared;

    __asm__ volatile("call *%4"
                     : "+c"(count), "+S"(from), "+D"(to)
                     : "b"(MMIO_BASE + MMIO_SLOT), "r"(mutable_code), "d"(0x80)
                     : "rax", "memory", "cc");
}

void attack_changing_code(void)
{
    unsigned faults = 0;

    /* Half of one instruction and half of another may take the return with them: more behind. */
    memset(mutable_code, 0xc3, sizeof(mutable_code));
    memcpy(mutable_code, shapes[0], 8);
    /* One vCPU changes its own code between two of its accesses. */
    for (unsigned n = 0; n < 2000; n++) {
        memcpy(mutable_code, shapes[n % ARRAY_LEN(shapes)], 8);
        faults += guarded(run_mutable, NULL) != 0;
    }
    check(faults == 0, "code that it changes itself runs as changed");
    if (!check(start_cpu(1, mutate, NULL), "the second vCPU starts"))
        return;
    for (unsigned n = 0; n < 4000; n++)
        faults += guarded(run_mutable, NULL) != 0;
    stop = true;
    for (unsigned i = 0; i < 100000 && !stopped; i++)
        (void)read32(MMIO_BASE);
    check(stopped, "code that another vCPU changes: %u of 4000 runs fault", faults);
}
