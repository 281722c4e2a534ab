/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 64-bit Linux boot protocol: the "zero page" (struct boot_params) with the memory map, command
 * line and initrd, page tables that map the first 4 GiB to themselves, and registers in long mode.
 * Serves bzImages and those ELF kernels that have no PVH entry point.
 */
#include "boot/boot_internal.h"

#include <string.h>

#include "base/buf.h"

/* Offsets in struct boot_params. */
enum {
    BP_E820_COUNT = 0x1e8,
    BP_BOOT_FLAG = 0x1fe,
    BP_MAGIC = 0x202,
    BP_VERSION = 0x206,
    BP_LOADER_TYPE = 0x210,
    BP_LOADFLAGS = 0x211,
    BP_CODE32_START = 0x214,
    BP_INITRD_ADDR = 0x218,
    BP_INITRD_SIZE = 0x21c,
    BP_CMDLINE_ADDR = 0x228,
    BP_KERNEL_ALIGNMENT = 0x230,
    BP_CMDLINE_SIZE = 0x238,
    BP_SETUP_DATA = 0x250,
    BP_E820_TABLE = 0x2d0,
};

#define E820_ENTRY_SIZE  20u
#define LOADER_UNNAMED   0xffu
#define LOADFLAG_HIGH    1u
#define KERNEL_ALIGNMENT 0x1000000u

#define CR0_PE   (1u << 0)
#define CR0_ET   (1u << 4)
#define CR0_PG   (1u << 31)
#define CR4_PAE  (1u << 5)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)

#define PTE_PRESENT  (1u << 0)
#define PTE_WRITABLE (1u << 1)
#define PTE_LARGE    (1u << 7)

/* The selectors that the 64-bit protocol prescribes: __BOOT_CS, __BOOT_DS. */
enum { GDT_CODE = 2, GDT_DATA = 3, GDT_TSS = 4, GDT_ENTRIES = 6 };

/* A segment as a GDT holds it (Intel SDM vol. 3, 3.4.5), so that memory and registers agree. */
static uint64_t descriptor(const struct arch_segment *s)
{
    uint64_t limit = s->g ? s->limit >> 12 : s->limit;

    return (limit & 0xffff) | (s->base & 0xffffff) << 16 | (uint64_t)s->type << 40 |
           (uint64_t)s->s << 44 | (uint64_t)s->dpl << 45 | (uint64_t)s->present << 47 |
           (limit >> 16 & 0xf) << 48 | (uint64_t)s->avl << 52 | (uint64_t)s->l << 53 |
           (uint64_t)s->db << 54 | (uint64_t)s->g << 55 | (s->base >> 24 & 0xff) << 56;
}

void boot_flat_segments(const struct gmem *mem, bool long_mode, struct arch_regs *regs)
{
    /* Types with "accessed" and "busy" set: what a CPU leaves in its registers after a load. */
    const struct arch_segment code = {.limit = UINT32_MAX,
                                      .selector = GDT_CODE * 8,
                                      .type = 11,
                                      .s = 1,
                                      .present = 1,
                                      .l = long_mode,
                                      .db = !long_mode,
                                      .g = 1};
    const struct arch_segment data = {.limit = UINT32_MAX,
                                      .selector = GDT_DATA * 8,
                                      .type = 3,
                                      .s = 1,
                                      .present = 1,
                                      .db = 1,
                                      .g = 1};
    const struct arch_segment tss = {
        .limit = 0x67, .selector = GDT_TSS * 8, .type = 11, .present = 1};
    uint8_t gdt[GDT_ENTRIES * 8] = {0}; /* a TSS takes two in long mode, the second one zero */

    le64_store(gdt + GDT_CODE * 8, descriptor(&code));
    le64_store(gdt + GDT_DATA * 8, descriptor(&data));
    le64_store(gdt + GDT_TSS * 8, descriptor(&tss));
    boot_put(mem, BOOT_GDT_ADDR, gdt, sizeof(gdt));

    regs->cs = code;
    regs->ds = regs->es = regs->fs = regs->gs = regs->ss = data;
    regs->tr = tss;
    regs->ldt = (struct arch_segment){.type = 2, .unusable = 1};
    regs->gdt = (struct arch_table){BOOT_GDT_ADDR, sizeof(gdt) - 1};
    regs->rflags = 2; /* its reserved bit; interrupts are off */
    regs->apic_base = ARCH_LAPIC_BASE | 1u << 11 /* enabled */ | 1u << 8 /* boot processor */;
}

/*
 * One table of each upper level and four directories, one after the other. 2 MiB pages: 1 GiB ones
 * would save 16 KiB but are not on every CPU.
 */
static void write_page_tables(const struct gmem *mem)
{
    const uint64_t flags = PTE_PRESENT | PTE_WRITABLE;
    uint64_t at = BOOT_PAGE_TABLES_ADDR;
    uint8_t table[BOOT_PAGE] = {0};

    le64_store(table, (at + BOOT_PAGE) | flags);
    boot_put(mem, at, table, sizeof(table));
    for (unsigned i = 0; i < 4; i++)
        le64_store(table + 8 * i, (at + (2 + i) * BOOT_PAGE) | flags);
    boot_put(mem, at + BOOT_PAGE, table, sizeof(table));
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned j = 0; j < 512; j++)
            le64_store(table + 8 * j, (i * GIB + j * 2 * MIB) | flags | PTE_LARGE);
        boot_put(mem, at + (2 + i) * BOOT_PAGE, table, sizeof(table));
    }
}

static void write_zero_page(const struct boot_info *info, const struct bzimage_kernel *bz)
{
    uint8_t bp[BOOT_PAGE] = {0};

    if (bz) {
        memcpy(bp + SETUP_HEADER_START, bz->header, bz->header_size);
        le32_store(bp + BP_CODE32_START, (uint32_t)bz->load_addr);
        le64_store(bp + BP_SETUP_DATA, 0);
    } else {
        le16_store(bp + BP_BOOT_FLAG, 0xaa55);
        memcpy(bp + BP_MAGIC, "HdrS", 4);
        le16_store(bp + BP_VERSION, 0x020c);
        le32_store(bp + BP_KERNEL_ALIGNMENT, KERNEL_ALIGNMENT);
        le32_store(bp + BP_CMDLINE_SIZE, BOOT_CMDLINE_MAX - 1);
    }
    bp[BP_LOADER_TYPE] = LOADER_UNNAMED;
    bp[BP_LOADFLAGS] = LOADFLAG_HIGH; /* no heap: the real-mode code that wants one is not run */
    le32_store(bp + BP_CMDLINE_ADDR, BOOT_CMDLINE_ADDR);
    le32_store(bp + BP_INITRD_ADDR, (uint32_t)info->initrd_addr);
    le32_store(bp + BP_INITRD_SIZE, (uint32_t)info->initrd_size);

    bp[BP_E820_COUNT] = (uint8_t)info->n_map;
    for (unsigned i = 0; i < info->n_map; i++) {
        uint8_t *e = bp + BP_E820_TABLE + i * E820_ENTRY_SIZE;

        le64_store(e, info->map[i].base);
        le64_store(e + 8, info->map[i].size);
        le32_store(e + 16, info->map[i].type);
    }
    boot_put(info->mem, BOOT_ZERO_PAGE_ADDR, bp, sizeof(bp));
}

void linux_x86_setup(const struct boot_info *info, const struct bzimage_kernel *bz, uint64_t entry,
                     struct arch_regs *ret_regs)
{
    struct arch_regs regs = {0};

    write_zero_page(info, bz);
    write_page_tables(info->mem);
    boot_flat_segments(info->mem, true, &regs);
    regs.cr0 = CR0_PE | CR0_ET | CR0_PG;
    regs.cr3 = BOOT_PAGE_TABLES_ADDR;
    regs.cr4 = CR4_PAE;
    regs.efer = EFER_LME | EFER_LMA;
    regs.rip = entry;
    regs.rsi = BOOT_ZERO_PAGE_ADDR;
    *ret_regs = regs;
}
