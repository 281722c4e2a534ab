/* SPDX-License-Identifier: Apache-2.0 */
/* See guest.h. */
#include "guest.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "hv/hv_kvm.h"

static char deadline_text[128];

static void on_alarm(int signo)
{
    (void)signo;
    if (write(STDOUT_FILENO, deadline_text, strlen(deadline_text)) < 0)
        _exit(2);
    _exit(1);
}

void deadline(const char *test, unsigned seconds)
{
    alarm(0);
    snprintf(deadline_text, sizeof(deadline_text), "Bail out! %s: not done after %u s\n", test,
             seconds);
    signal(SIGALRM, on_alarm);
    alarm(seconds);
}

void must(int rc, const struct lum_error *err)
{
    if (rc >= 0)
        return;
    printf("Bail out! %s\n", err->text);
    exit(1);
}

static void put_u64(struct guest *g, uint32_t at, uint64_t value)
{
    le64_store(g->ram + at, value);
}

/* One to one, 4 GiB in large pages; a flat code and a flat data segment. */
static void write_tables(struct guest *g)
{
    put_u64(g, G_PML4, G_PDPT | 3);
    for (uint32_t i = 0; i < 4; i++)
        put_u64(g, G_PDPT + 8 * i, (G_PD + 0x1000 * i) | 3);
    for (uint32_t i = 0; i < 4 * 512; i++)
        put_u64(g, G_PD + 8 * i, ((uint64_t)i << 21) | 0x83);
    put_u64(g, G_GDT + 8, 0x00af9b000000ffff);
    put_u64(g, G_GDT + 16, 0x00cf93000000ffff);
}

void guest_add_vcpu(struct guest *g, uint32_t index)
{
    struct lum_error err;

    must(hv_vcpu_create(g->vm, index, &g->cpu[index], &err), &err);
}

void guest_create(struct guest *g, uint32_t vcpus)
{
    const struct hv_vm_config config = {.vcpus = vcpus, .ioapic_pins = HV_MAX_LINES};
    struct lum_error err;
    void *ram;

    memset(g, 0, sizeof(*g));
    must(plat_ram_alloc(G_RAM, &ram, &err), &err);
    g->ram = ram;
    write_tables(g);
    must(hv_vm_create(&hv_kvm_ops, &config, &g->vm, &err), &err);
    must(hv_mem_map(g->vm, 0, g->ram, G_RAM, true, &err), &err);
    guest_add_vcpu(g, 0);
}

void guest_free(struct guest *g)
{
    for (size_t i = 0; i < ARRAY_LEN(g->cpu); i++)
        hv_vcpu_free(g->cpu[i]);
    hv_vm_free(g->vm);
    plat_ram_free(g->ram, G_RAM);
}

void guest_put(struct guest *g, uint32_t at, const uint8_t *start, const uint8_t *end)
{
    memcpy(g->ram + at, start, (size_t)(end - start));
}

/* A 64-bit interrupt gate. */
void guest_set_handler(struct guest *g, uint8_t vector, uint64_t address)
{
    put_u64(g, G_IDT + 16u * vector,
            (address & 0xffff) | 8u << 16 | (uint64_t)0x8e00 << 32 |
                (address >> 16 & 0xffff) << 48);
    put_u64(g, G_IDT + 16u * vector + 8, address >> 32);
}

void guest_enter_long(struct guest *g)
{
    const struct arch_segment data = {
        .limit = 0xffffffffu, .selector = 0x10, .type = 3, .s = 1, .present = 1, .db = 1, .g = 1};
    struct lum_error err;
    struct arch_regs r;

    must(hv_vcpu_get_regs(g->cpu[0], &r, &err), &err);
    r.ds = r.es = r.fs = r.gs = r.ss = data;
    r.cs = (struct arch_segment){
        .limit = 0xffffffffu, .selector = 8, .type = 11, .s = 1, .present = 1, .l = 1, .g = 1};
    r.gdt = (struct arch_table){.base = G_GDT, .limit = 23};
    r.idt = (struct arch_table){.base = G_IDT, .limit = 0xfff};
    r.cr3 = G_PML4;
    r.cr4 |= 1u << 5 | 1u << 9; /* PAE, SSE */
    r.cr0 = 0x80000033u;        /* paging, numeric errors, protection */
    r.efer |= 1u << 8 | 1u << 10;
    r.rip = G_CODE;
    r.rsp = G_STACK;
    r.rflags = 2;
    must(hv_vcpu_set_regs(g->cpu[0], &r, &err), &err);
}

void guest_enter_real(struct guest *g)
{
    struct lum_error err;
    struct arch_regs r;

    must(hv_vcpu_get_regs(g->cpu[0], &r, &err), &err);
    r.cs.base = 0;
    r.cs.selector = 0;
    r.rip = G_CODE;
    r.rsp = 0x7000;
    r.rflags = 2;
    must(hv_vcpu_set_regs(g->cpu[0], &r, &err), &err);
}

struct hv_exit *guest_run(struct guest *g, uint32_t cpu)
{
    struct lum_error err;

    must(hv_vcpu_run(g->cpu[cpu], &g->exit[cpu], &err), &err);
    return &g->exit[cpu];
}

/* Says what came instead, for the reader of a failure. */
static bool is(struct guest *g, uint32_t cpu, const struct hv_exit *e, enum hv_exit_reason reason,
               bool is_write, uint64_t addr, uint8_t size)
{
    struct lum_error err;
    struct arch_regs r;

    if (e->reason == reason && e->is_write == is_write && e->addr == addr && e->size == size)
        return true;
    printf("# exit %d, %s of %u bytes at 0x%llx, data 0x%llx %s\n", (int)e->reason,
           e->is_write ? "write" : "read", e->size, (unsigned long long)e->addr,
           (unsigned long long)e->data, e->reason == HV_EXIT_CRASH ? e->text : "");
    if (hv_vcpu_get_regs(g->cpu[cpu], &r, &err) == 0)
        printf("# rip 0x%llx, cr0 0x%llx, cr4 0x%llx, efer 0x%llx\n", (unsigned long long)r.rip,
               (unsigned long long)r.cr0, (unsigned long long)r.cr4, (unsigned long long)r.efer);
    return false;
}

bool guest_wrote(struct guest *g, uint32_t cpu, enum hv_exit_reason reason, uint64_t addr,
                 uint8_t size, uint64_t *ret_value)
{
    const struct hv_exit *e = guest_run(g, cpu);

    if (!is(g, cpu, e, reason, true, addr, size))
        return false;
    *ret_value = e->data;
    return true;
}

bool guest_writes(struct guest *g, uint32_t cpu, enum hv_exit_reason reason, uint64_t addr,
                  uint8_t size, uint64_t value)
{
    uint64_t got;

    if (!guest_wrote(g, cpu, reason, addr, size, &got))
        return false;
    if (got != value)
        printf("# wrote 0x%llx\n", (unsigned long long)got);
    return got == value;
}

bool guest_reads(struct guest *g, uint32_t cpu, enum hv_exit_reason reason, uint64_t addr,
                 uint8_t size, uint64_t answer)
{
    struct hv_exit *e = guest_run(g, cpu);

    if (!is(g, cpu, e, reason, false, addr, size))
        return false;
    e->data = answer;
    return true;
}

bool guest_exits(struct guest *g, uint32_t cpu, enum hv_exit_reason reason)
{
    return is(g, cpu, guest_run(g, cpu), reason, false, 0, 0);
}

uint32_t guest_u32(const struct guest *g, uint32_t at)
{
    return le32_load(g->ram + at);
}

uint64_t guest_u64(const struct guest *g, uint32_t at)
{
    return le64_load(g->ram + at);
}

bool guest_cpuid_leaf(struct guest *g, uint32_t leaf, uint32_t subleaf, uint32_t ret_regs[4])
{
    if (!guest_reads(g, 0, HV_EXIT_PIO, P_IN, 4, leaf) ||
        !guest_reads(g, 0, HV_EXIT_PIO, P_IN, 4, subleaf))
        return false;
    for (int i = 0; i < 4; i++) {
        uint64_t value;

        if (!guest_wrote(g, 0, HV_EXIT_PIO, P_VALUE, 4, &value))
            return false;
        ret_regs[i] = (uint32_t)value;
    }
    return true;
}
