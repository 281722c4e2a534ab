/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel loading: synthetic ELF and bzImage files, one field broken at a time, and what stands in
 * guest memory and registers afterwards. With LUMINA_TEST_KERNEL=FILE a real kernel is loaded too
 * and compared with its file byte for byte.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "boot/boot.h"
#include "tap.h"

#define MEM_SIZE   (64 * MIB)
#define ELF_SIZE   0x8000u
#define TEXT_PADDR 0x1000000u
#define TEXT_OFF   0x1000u
#define TEXT_SIZE  0x2800u
#define DATA_PADDR 0x1004010u /* not congruent with its offset: is copied */
#define DATA_OFF   0x4000u
#define DATA_SIZE  0x1234u
#define DATA_MEM   0x8000u
#define INIT_PADDR 0x1010800u /* congruent, but begins and ends inside a page */
#define INIT_OFF   0x5800u
#define INIT_SIZE  0x2600u
#define NOTE_OFF   0x200u
#define NOTE_SIZE  44u
#define PVH_ENTRY  (TEXT_PADDR + 0x120)
#define VIRT_BASE  0xffffffff80000000u

/* ---- making files ---- */

static void put_phdr(uint8_t *file, unsigned i, uint32_t type, uint64_t offset, uint64_t paddr,
                     uint64_t filesz, uint64_t memsz)
{
    uint8_t *p = file + 64 + i * sizeof(Elf64_Phdr);

    le32_store(p, type);
    le64_store(p + 8, offset);
    le64_store(p + 16, VIRT_BASE + paddr);
    le64_store(p + 24, paddr);
    le64_store(p + 32, filesz);
    le64_store(p + 40, memsz);
    le64_store(p + 48, 4);
}

/* Three segments and a note segment; every byte that is loaded tells its place in the file. */
static void make_elf(uint8_t *file, bool pvh)
{
    for (unsigned i = 0; i < ELF_SIZE; i++)
        file[i] = (uint8_t)(i * 7 + (i >> 8) + 1);
    memset(file, 0, 0x400);
    memcpy(file, ELFMAG, SELFMAG);
    file[EI_CLASS] = ELFCLASS64;
    file[EI_DATA] = ELFDATA2LSB;
    file[EI_VERSION] = 1;
    le16_store(file + 16, ET_EXEC);
    le16_store(file + 18, EM_X86_64);
    le64_store(file + 24, TEXT_PADDR + 0x40);
    le64_store(file + 32, 64);
    le16_store(file + 54, sizeof(Elf64_Phdr));
    le16_store(file + 56, 4);
    put_phdr(file, 0, PT_LOAD, TEXT_OFF, TEXT_PADDR, TEXT_SIZE, TEXT_SIZE + 16);
    put_phdr(file, 1, PT_LOAD, DATA_OFF, DATA_PADDR, DATA_SIZE, DATA_MEM);
    put_phdr(file, 2, PT_NOTE, NOTE_OFF, 0, NOTE_SIZE, 0);
    put_phdr(file, 3, PT_LOAD, INIT_OFF, INIT_PADDR, INIT_SIZE, INIT_SIZE);

    uint8_t *n = file + NOTE_OFF; /* another note first, whose contents need padding */
    le32_store(n, 4);
    le32_store(n + 4, 3);
    le32_store(n + 8, 1);
    memcpy(n + 12, "GNU", 4);
    n += 20;
    le32_store(n, 4);
    le32_store(n + 4, 8);
    le32_store(n + 8, pvh ? 18 : 19);
    memcpy(n + 12, "Xen", 4);
    le64_store(n + 16, PVH_ENTRY);
}

#define BZ_SECTS  2u
#define BZ_OFF    ((BZ_SECTS + 1) * 512)
#define BZ_KERNEL 0x3210u
#define BZ_SIZE   (BZ_OFF + BZ_KERNEL)
#define BZ_PREF   0x1000000u

static void make_bzimage(uint8_t *file)
{
    for (unsigned i = 0; i < BZ_SIZE; i++)
        file[i] = (uint8_t)(i * 5 + (i >> 8) + 3);
    memset(file, 0, 0x400);
    file[0x1f1] = BZ_SECTS;
    le32_store(file + 0x1f4, BZ_KERNEL / 16);
    le16_store(file + 0x1fe, 0xaa55);
    file[0x201] = 0x6a;
    memcpy(file + 0x202, "HdrS", 4);
    le16_store(file + 0x206, 0x020f);
    file[0x211] = 0x01;
    le32_store(file + 0x22c, 0x7fffffff);
    le32_store(file + 0x230, 0x200000);
    le16_store(file + 0x236, 0x0001);
    le32_store(file + 0x238, 2047);
    le64_store(file + 0x250, 0x1234); /* must not reach the kernel */
    le64_store(file + 0x258, BZ_PREF);
    le32_store(file + 0x260, 0x900000);
}

static plat_fd memfile(const void *data, size_t size)
{
    struct lum_error err;
    plat_fd fd = PLAT_FD_NONE;

    if (plat_memfile("test", data, size, &fd, &err) < 0) {
        printf("Bail out! %s\n", err.text);
        exit(1);
    }
    return fd;
}

/* ---- a guest's memory ---- */

static struct gmem mem;

static void mem_make(uint64_t size)
{
    struct lum_error err;
    void *host;

    if (plat_ram_alloc(size, &host, &err) < 0) {
        printf("Bail out! %s\n", err.text);
        exit(1);
    }
    uint64_t low = size < ARCH_RAM_HOLE_START ? size : ARCH_RAM_HOLE_START;
    mem = (struct gmem){.host = host, .size = size, .n_ranges = low < size ? 2 : 1};
    mem.range[0] = (struct gmem_range){0, low, host};
    if (low < size)
        mem.range[1] = (struct gmem_range){ARCH_RAM_HIGH_BASE, size - low, (uint8_t *)host + low};
}

static void mem_drop(void)
{
    plat_ram_free(mem.host, mem.size);
    mem = (struct gmem){0};
}

static const uint8_t *at(uint64_t addr)
{
    const uint8_t *p = gmem_span(&mem, gpa(addr), 1);

    if (!p) {
        printf("Bail out! address %llx\n", (unsigned long long)addr);
        exit(1);
    }
    return p;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static int load(plat_fd kernel, plat_fd initrd1, plat_fd initrd2, const char *cmdline,
                uint32_t vcpus, struct boot_result *result, struct lum_error *err)
{
    struct boot_config config = {.kernel_name = "k",
                                 .kernel = kernel,
                                 .initrd = {initrd1, initrd2},
                                 .cmdline = cmdline,
                                 .vcpus = vcpus,
                                 .mem = &mem};

    err->text[0] = '\0';
    return boot_load(&config, result, err);
}

/* ---- what is in memory ---- */

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t s = 0;

    for (size_t i = 0; i < n; i++)
        s = (uint8_t)(s + p[i]);
    return s;
}

static void check_mptable(uint32_t vcpus)
{
    const uint8_t *p = at(0x9fc00), *t = at(0x9fc10);
    unsigned cpus = 0, boot_cpus = 0, buses = 0, ioapics = 0, irqs = 0, locals = 0, walked = 0;
    uint32_t pins = 0;
    bool ids = true, edge = true, apic = true;

    ok(memcmp(p, "_MP_", 4) == 0 && sum(p, 16) == 0 && p[8] == 1 && p[9] == 4 &&
           le32_load(p + 4) == 0x9fc10,
       "MP pointer, %u vcpus", vcpus);
    uint16_t size = le16_load(t + 4), entries = le16_load(t + 34);
    ok(memcmp(t, "PCMP", 4) == 0 && 0x9fc10 + (unsigned)size <= 0xa0000 && sum(t, size) == 0 &&
           le32_load(t + 36) == ARCH_LAPIC_BASE,
       "MP header: %u bytes", size);
    const uint8_t *e = t + 44;
    while (e < t + size) {
        walked++;
        if (e[0] == 0) {
            ids = ids && e[1] == cpus && (e[3] & 1);
            boot_cpus += (e[3] & 2) != 0;
            cpus++;
            e += 20;
            continue;
        }
        if (e[0] == 1)
            buses += memcmp(e + 2, "ISA   ", 6) == 0 && e[1] == 0;
        if (e[0] == 2) {
            ioapics++;
            apic = e[1] == vcpus && le32_load(e + 4) == ARCH_IOAPIC_BASE;
        }
        if (e[0] == 3) {
            irqs++;
            edge = edge && e[1] == 0 && le16_load(e + 2) == 0 && e[6] == vcpus &&
                   (e[5] == e[7] || (e[5] == 0 && e[7] == 2));
            pins |= 1u << e[7];
        }
        if (e[0] == 4)
            locals += (e[1] == 3 && e[7] == 0) || (e[1] == 1 && e[7] == 1);
        e += 8;
    }
    ok(walked == entries && e == t + size, "MP table has the %u entries it says", entries);
    ok(cpus == vcpus && boot_cpus == 1 && ids, "MP table lists %u processors, the first boots",
       vcpus);
    ok(buses == 1 && ioapics == 1 && apic && locals == 2, "MP bus, I/O APIC, local interrupts");
    ok(irqs == ARCH_MMIO_SLOTS && pins == ((1u << ARCH_MMIO_SLOTS) - 1) << ARCH_IRQ_BASE && edge,
       "MP interrupt lines: one to one, one for each device slot");
}

static uint64_t walk_page_tables(uint64_t cr3, uint64_t va)
{
    uint64_t e = cr3 | 1;

    for (int shift = 39; shift >= 21; shift -= 9) {
        e = le64_load(at((e & ~0xfffull) + 8 * (va >> shift & 511)));
        if (!(e & 1))
            return UINT64_MAX;
        if (e & 0x80)
            return (e & ~((1ull << shift) - 1)) | (va & ((1ull << shift) - 1));
    }
    return UINT64_MAX;
}

static bool gdt_agrees(const struct arch_regs *r, const struct arch_segment *s)
{
    uint64_t d = le64_load(at(r->gdt.base + s->selector));
    uint32_t limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));

    if (d >> 55 & 1)
        limit = limit << 12 | 0xfff;
    return s->selector + 7u <= r->gdt.limit && limit == s->limit && (d >> 40 & 0xf) == s->type &&
           (d >> 44 & 1) == s->s && (d >> 47 & 1) == s->present && (d >> 53 & 1) == s->l &&
           (d >> 54 & 1) == s->db && (d >> 55 & 1) == s->g;
}

static void check_regs(const struct boot_result *r, bool long_mode)
{
    const struct arch_regs *g = &r->regs;

    ok(gdt_agrees(g, &g->cs) && gdt_agrees(g, &g->ds) && gdt_agrees(g, &g->ss) &&
           gdt_agrees(g, &g->tr) && g->cs.l == long_mode && g->cs.db == !long_mode,
       "segments agree with the GDT");
    ok(g->rflags == 2 && g->apic_base == 0xfee00900 && g->ldt.unusable, "flags, APIC base, LDT");
    if (!long_mode) {
        ok(g->cr0 == 0x11 && g->cr4 == 0 && g->efer == 0, "protected mode without paging");
        return;
    }
    ok(g->cr0 == 0x80000011 && g->cr4 == 0x20 && g->efer == 0x500, "long mode");
    ok(g->cs.selector == 0x10 && g->ds.selector == 0x18, "selectors of the boot protocol");
    bool same = true;
    for (uint64_t va = 0; va < 4 * GIB; va += 2 * MIB)
        same = same && walk_page_tables(g->cr3, va + 0x1234) == va + 0x1234;
    ok(same, "page tables map 4 GiB to itself");
    ok(walk_page_tables(g->cr3, 4 * GIB) == UINT64_MAX, "and nothing beyond");
}

static void check_elf_content(const uint8_t *file)
{
    ok(memcmp(at(TEXT_PADDR), file + TEXT_OFF, TEXT_SIZE) == 0, "text is loaded");
    ok(all_zero(at(TEXT_PADDR + TEXT_SIZE), DATA_PADDR - TEXT_PADDR - TEXT_SIZE),
       "zeros behind it, none of the file's next bytes");
    ok(memcmp(at(DATA_PADDR), file + DATA_OFF, DATA_SIZE) == 0, "data is loaded");
    ok(all_zero(at(DATA_PADDR + DATA_SIZE), DATA_MEM - DATA_SIZE), "bss is zero");
    ok(all_zero(at(DATA_PADDR + DATA_MEM), INIT_PADDR - DATA_PADDR - DATA_MEM) &&
           memcmp(at(INIT_PADDR), file + INIT_OFF, INIT_SIZE) == 0 &&
           all_zero(at(INIT_PADDR + INIT_SIZE), 8192),
       "a segment that begins and ends inside pages");
}

/* ---- good kernels ---- */

static void test_pvh(void)
{
    uint8_t file[ELF_SIZE], one[5000], two[3] = {'x', 'y', 'z'};
    struct boot_result r;
    struct lum_error err;

    make_elf(file, true);
    memset(one, 'a', sizeof(one));
    plat_fd k = memfile(file, sizeof(file)), a = memfile(one, sizeof(one)),
            b = memfile(two, sizeof(two));
    mem_make(MEM_SIZE);
    ok(load(k, a, b, "hello world", 3, &r, &err) == 0, "PVH kernel loads: %s", err.text);
    ok(r.protocol == BOOT_PVH && r.regs.rip == PVH_ENTRY, "starts at the PVH entry");
    check_elf_content(file);
    check_regs(&r, false);
    check_mptable(3);

    const uint8_t *s = at(r.regs.rbx), *map, *mod;
    ok(le32_load(s) == 0x336ec578 && le32_load(s + 4) == 1 && le32_load(s + 12) == 1 &&
           le64_load(s + 32) == 0,
       "start info");
    ok(strcmp((const char *)at(le64_load(s + 24)), "hello world") == 0, "command line");
    mod = at(le64_load(s + 16));
    uint64_t addr = le64_load(mod), size = le64_load(mod + 8);
    ok(addr == MEM_SIZE - 3 * 4096 && size == 8192 + 3, "initrd: one module at the top of RAM");
    ok(memcmp(at(addr), one, sizeof(one)) == 0 && memcmp(at(addr + 8192), two, 3) == 0 &&
           all_zero(at(addr + 5000), 8192 - 5000),
       "both archives, zeros between them");
    map = at(le64_load(s + 40));
    ok(le32_load(s + 48) == 3 && le64_load(map) == 0 && le64_load(map + 8) == 0x9fc00 &&
           le32_load(map + 16) == 1 && le64_load(map + 24) == 0x9fc00 && le32_load(map + 40) == 2 &&
           le64_load(map + 48) == 0x100000 && le64_load(map + 56) == MEM_SIZE - MIB &&
           le32_load(map + 64) == 1,
       "memory map");

    /* A private copy: what the guest writes is not the file's, nor another guest's. */
    uint8_t change = (uint8_t)~file[TEXT_OFF + 0x1000];
    uint8_t *text = gmem_span(&mem, gpa(TEXT_PADDR + 0x1000), 1);
    if (ok(text != NULL, "a guest writes to its text"))
        *text = change;
    uint8_t byte = 0;
    ok(plat_file_pread(k, &byte, 1, TEXT_OFF + 0x1000, "test", &err) == 0 &&
           byte == file[TEXT_OFF + 0x1000],
       "which does not reach the kernel file");
    mem_drop();

    mem_make(MEM_SIZE);
    ok(load(k, PLAT_FD_NONE, PLAT_FD_NONE, "", 1, &r, &err) == 0, "without initrd: %s", err.text);
    ok(le32_load(at(r.regs.rbx) + 12) == 0 && le64_load(at(r.regs.rbx) + 16) == 0, "no module");
    mem_drop();

    mem_make(5 * GIB);
    ok(load(k, PLAT_FD_NONE, b, "", 32, &r, &err) == 0, "5 GiB, 32 vcpus: %s", err.text);
    s = at(r.regs.rbx);
    map = at(le64_load(s + 40));
    ok(le32_load(s + 48) == 4 && le64_load(map + 72) == ARCH_RAM_HIGH_BASE &&
           le64_load(map + 80) == 2 * GIB && le64_load(map + 56) == 3 * GIB - MIB,
       "memory map around the hole");
    ok(le64_load(at(le64_load(s + 16))) == 3 * GIB - 4096, "initrd stays below the hole");
    check_mptable(32);
    mem_drop();
    plat_close(&k);
    plat_close(&a);
    plat_close(&b);
}

static void test_linux64(void)
{
    uint8_t file[ELF_SIZE], initrd[100];
    struct boot_result r;
    struct lum_error err;

    make_elf(file, false);
    memset(initrd, 'i', sizeof(initrd));
    plat_fd k = memfile(file, sizeof(file)), i = memfile(initrd, sizeof(initrd));
    mem_make(MEM_SIZE);
    ok(load(k, i, PLAT_FD_NONE, "quiet", 1, &r, &err) == 0, "64-bit ELF loads: %s", err.text);
    ok(r.protocol == BOOT_LINUX64 && r.regs.rip == TEXT_PADDR + 0x40, "starts at e_entry");
    check_elf_content(file);
    check_regs(&r, true);
    check_mptable(1);
    const uint8_t *bp = at(r.regs.rsi);
    ok(bp[0x1e8] == 3 && le64_load(bp + 0x2d0) == 0 && le64_load(bp + 0x2d8) == 0x9fc00 &&
           le32_load(bp + 0x2e0) == 1 && le32_load(bp + 0x2f4) == 2 &&
           le64_load(bp + 0x2f8) == MIB && le64_load(bp + 0x300) == MEM_SIZE - MIB,
       "zero page: e820");
    ok(strcmp((const char *)at(le32_load(bp + 0x228)), "quiet") == 0 &&
           le32_load(bp + 0x238) == 2047 && bp[0x210] == 0xff && memcmp(bp + 0x202, "HdrS", 4) == 0,
       "zero page: header and command line");
    ok(le32_load(bp + 0x218) == MEM_SIZE - 4096 && le32_load(bp + 0x21c) == 100 &&
           memcmp(at(MEM_SIZE - 4096), initrd, 100) == 0,
       "zero page: initrd");
    ok(bp[0x1ef] == 0, "zero page: sentinel");
    mem_drop();
    plat_close(&k);

    le64_store(file + 24, VIRT_BASE + TEXT_PADDR + 0x80);
    k = memfile(file, sizeof(file));
    mem_make(MEM_SIZE);
    ok(load(k, i, PLAT_FD_NONE, "", 1, &r, &err) == 0 && r.regs.rip == TEXT_PADDR + 0x80,
       "a virtual e_entry is translated");
    mem_drop();
    plat_close(&k);
    plat_close(&i);
}

static void test_bzimage(void)
{
    uint8_t file[BZ_SIZE], initrd[100];
    struct boot_result r;
    struct lum_error err;

    make_bzimage(file);
    memset(initrd, 'i', sizeof(initrd));
    plat_fd k = memfile(file, sizeof(file)), i = memfile(initrd, sizeof(initrd));
    mem_make(MEM_SIZE);
    ok(load(k, i, PLAT_FD_NONE, "quiet", 2, &r, &err) == 0, "bzImage loads: %s", err.text);
    ok(r.protocol == BOOT_BZIMAGE64 && r.regs.rip == BZ_PREF + 0x200, "starts at its 64-bit entry");
    ok(memcmp(at(BZ_PREF), file + BZ_OFF, BZ_KERNEL) == 0 &&
           all_zero(at(BZ_PREF + BZ_KERNEL), 8192),
       "payload is loaded");
    check_regs(&r, true);
    check_mptable(2);
    const uint8_t *bp = at(r.regs.rsi);
    ok(le16_load(bp + 0x206) == 0x20f && le64_load(bp + 0x258) == BZ_PREF && bp[0x210] == 0xff &&
           bp[0x211] == 1 && le32_load(bp + 0x214) == BZ_PREF && le64_load(bp + 0x250) == 0,
       "zero page: the file's header, with our changes");
    ok(all_zero(bp, 0x1e8) && all_zero(bp + 0x26c, 0x2d0 - 0x26c), "and nothing else of the file");
    ok(le32_load(bp + 0x218) == MEM_SIZE - 4096 && le32_load(bp + 0x21c) == 100, "initrd");
    mem_drop();
    plat_close(&k);

    le32_store(file + 0x22c, 0x37fffff - 0x1000);
    k = memfile(file, sizeof(file));
    mem_make(MEM_SIZE);
    ok(load(k, i, PLAT_FD_NONE, "", 1, &r, &err) == 0 &&
           le32_load(at(r.regs.rsi) + 0x218) == 0x3800000 - 0x2000,
       "initrd stays below the kernel's limit: %s", err.text);
    mem_drop();
    plat_close(&k);
    plat_close(&i);
}

/* ---- refusals ---- */

/* Both the early check and the load must refuse, with this text somewhere in the message. */
static void refuse_file(const void *data, size_t size, const char *text)
{
    struct lum_error err = {0};
    struct boot_result r;
    plat_fd k = memfile(data, size);

    int rc = boot_check_kernel(k, "/k", &err);
    ok(rc == LUM_EFORMAT && strncmp(err.text, "kernel /k: ", 11) == 0 && strstr(err.text, text),
       "check refuses: %s", err.text);
    mem_make(MEM_SIZE);
    rc = load(k, PLAT_FD_NONE, PLAT_FD_NONE, "", 1, &r, &err);
    ok(rc == LUM_EFORMAT && strncmp(err.text, "kernel k: ", 10) == 0 && strstr(err.text, text),
       "load refuses: %s", err.text);
    mem_drop();
    plat_close(&k);
}

static void test_bad_elf(void)
{
    static const struct {
        unsigned at, size;
        uint64_t value;
        const char *text;
    } cases[] = {
        {EI_CLASS, 1, ELFCLASS32, "not a 64-bit"},
        {EI_DATA, 1, ELFDATA2MSB, "little-endian"},
        {18, 2, EM_AARCH64, "another processor (ELF machine 183"},
        {16, 2, ET_REL, "ELF type 1 "},
        {54, 2, 32, "program headers of 32 bytes"},
        {56, 2, 0, "0 program headers"},
        {56, 2, 65, "65 program headers"},
        {32, 8, ELF_SIZE - 100, "program headers lie past"},
        {32, 8, UINT64_MAX, "program headers lie past"},
        {64 + 8, 8, ELF_SIZE, "truncated: segment 0 ends at byte 43008, the file has 32768"},
        {64 + 8, 8, UINT64_MAX - 1, "segment 0: absurd offset"},
        {64 + 32, 8, UINT64_MAX, "segment 0: absurd offset"},
        {64 + 56 + 40, 8, DATA_SIZE - 1, "segment 1: more bytes in the file"},
        {64 + 56 + 40, 8, UINT64_MAX, "segment 1: absurd address"},
        {64 + 24, 8, UINT64_MAX - 8, "segment 0: absurd address"},
        {64 + 24, 8, 0xff000, "segment 0 loads at address 0xff000, below 1 MiB"},
        {64 + 24, 8, DATA_PADDR - TEXT_SIZE - 15, "segments 0 and 1 overlap"},
        {64 + 24, 8, DATA_PADDR + DATA_MEM - 1, "segments 0 and 1 overlap"},
        {64 + 112 + 8, 8, ELF_SIZE, "truncated: segment 2"},
        {NOTE_OFF + 24, 4, 9, "segment 2: a note runs past"},
        {NOTE_OFF, 4, UINT32_MAX, "segment 2: a note runs past"},
        {NOTE_OFF + 4, 4, UINT32_MAX, "segment 2: a note runs past"},
        {NOTE_OFF + 24, 4, 2, "PVH entry note of 2 bytes"},
        {NOTE_OFF + 36, 8, 0x2000000, "PVH entry point 0x2000000 lies in no"},
        {NOTE_OFF + 36, 8, TEXT_PADDR | 1ull << 32, "PVH entry point 0x101000000 lies in no"},
    };
    uint8_t file[ELF_SIZE];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        make_elf(file, true);
        for (unsigned j = 0; j < cases[i].size; j++)
            file[cases[i].at + j] = (uint8_t)(cases[i].value >> 8 * j);
        refuse_file(file, sizeof(file), cases[i].text);
    }

    make_elf(file, false);
    le64_store(file + 24, 0x30);
    refuse_file(file, sizeof(file), "entry point 0x30 lies in no segment");
    make_elf(file, true);
    refuse_file(file, 0x5000, "truncated: segment 1 ends at byte 21044, the file has 20480");
    refuse_file(file, 63, "truncated: no room for an ELF header");
    refuse_file(file, 100, "truncated: the program headers");
    refuse_file("", 0, "the file is empty");
    refuse_file("#!/bin/sh\nexit 0\n", 17, "not a Linux kernel (neither ELF nor bzImage)");
    memset(file + 64, 0, 4 * sizeof(Elf64_Phdr));
    refuse_file(file, sizeof(file), "nothing in it to load");
}

static void test_bad_bzimage(void)
{
    static const struct {
        unsigned at, size;
        uint64_t value;
        const char *text;
    } cases[] = {
        {0x206, 2, 0x020b, "boot protocol 2.11"},
        {0x211, 1, 0, "no 64-bit entry"},
        {0x236, 2, 0xfffe, "no 64-bit entry"},
        {0x201, 1, 0x61, "setup header of"},
        {0x201, 1, 0x8f, "setup header of"},
        {0x1f4, 4, BZ_KERNEL / 16 + 1, "truncated: the kernel ends at byte"},
        {0x1f4, 4, UINT32_MAX, "truncated: the kernel ends at byte"},
        {0x1f4, 4, 0x20, "no kernel behind"},
        {0x1f1, 1, 255, "truncated"},
        {0x258, 8, 0xfffff, "preferred load address 0xfffff"},
        {0x258, 8, UINT64_MAX, "preferred load address"},
        {0x260, 4, BZ_KERNEL - 1, "bytes of kernel, but room for"},
    };
    uint8_t file[BZ_SIZE];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        make_bzimage(file);
        for (unsigned j = 0; j < cases[i].size; j++)
            file[cases[i].at + j] = (uint8_t)(cases[i].value >> 8 * j);
        refuse_file(file, sizeof(file), cases[i].text);
    }
    make_bzimage(file);
    refuse_file(file, 0x28f, "truncated: the setup header");
    refuse_file(file, BZ_SIZE - 16, "truncated: the kernel ends");
    file[0x1f1] = 0; /* stands for 4 */
    refuse_file(file, BZ_SIZE, "truncated: the kernel ends");
}

static void refuse_load(plat_fd k, plat_fd initrd, const char *cmdline, uint32_t vcpus,
                        const char *text)
{
    struct lum_error err = {0};
    struct boot_result r = {.regs.rip = 77};

    int rc = load(k, initrd, PLAT_FD_NONE, cmdline, vcpus, &r, &err);
    ok(rc == LUM_EINVAL && strstr(err.text, text) && r.regs.rip == 77, "refused: %s", err.text);
}

static void test_bad_guest(void)
{
    uint8_t elf[ELF_SIZE], bz[BZ_SIZE];
    char line[BOOT_CMDLINE_MAX + 1];
    struct boot_result r;
    struct lum_error err;

    make_elf(elf, true);
    make_bzimage(bz);
    le32_store(bz + 0x238, 5);
    plat_fd k = memfile(elf, sizeof(elf)), z = memfile(bz, sizeof(bz));
    memset(line, 'x', sizeof(line));
    line[BOOT_CMDLINE_MAX] = '\0';

    mem_make(MEM_SIZE);
    refuse_load(k, PLAT_FD_NONE, line, 1, "kernel command line: 2048 bytes, at most 2047");
    ok(load(k, PLAT_FD_NONE, PLAT_FD_NONE, line + 1, 1, &r, &err) == 0, "2047 bytes are taken");
    refuse_load(z, PLAT_FD_NONE, "123456", 1, "this kernel takes at most 5");
    refuse_load(k, PLAT_FD_NONE, "", 0, "vcpus: 0");
    refuse_load(k, PLAT_FD_NONE, "", 33, "vcpus: 33");
    mem_drop();

    mem_make(16 * MIB);
    refuse_load(k, PLAT_FD_NONE, "", 1, "needs memory up to 16459 KiB, the guest has 16384");
    refuse_load(z, PLAT_FD_NONE, "", 1, "needs memory up to 25600 KiB");
    mem_drop();

    /* The kernel ends at 0x1012e00; what is left above are 0x3ed pages. */
    size_t room = 0x3ed * 4096;
    uint8_t *big = calloc(1, room + 1);
    if (!big) {
        printf("Bail out! out of memory\n");
        exit(1);
    }
    plat_fd fits = memfile(big, room), spills = memfile(big, room + 1);
    mem_make(20 * MIB);
    refuse_load(k, spills, "", 1, "initrd: 4024 KiB do not fit into the 4020 KiB");
    ok(load(k, fits, PLAT_FD_NONE, "", 1, &r, &err) == 0, "an initrd that just fits: %s", err.text);
    ok(le64_load(at(le64_load(at(r.regs.rbx) + 16))) == 0x1013000, "right behind the kernel");
    mem_drop();
    free(big);
    plat_close(&fits);
    plat_close(&spills);
    plat_close(&k);
    plat_close(&z);
}

/* ---- a real one ---- */

static void test_real_kernel(void)
{
    const char *path = getenv("LUMINA_TEST_KERNEL");
    struct boot_result r;
    struct lum_error err = {0};
    uint64_t size = 0;
    plat_fd k;
    uint8_t e[64], p[56];

    if (!path) {
        tap_skip("a real kernel", "LUMINA_TEST_KERNEL is not set");
        return;
    }
    if (!ok(plat_file_open(path, &k, &size, &err) == 0, "open %s %s", path, err.text))
        return;
    ok(boot_check_kernel(k, path, &err) == 0, "check of %s: %s", path, err.text);
    mem_make(256 * MIB);
    uint64_t t0 = plat_now_ns();
    int rc = load(k, PLAT_FD_NONE, PLAT_FD_NONE, "quiet", 1, &r, &err);
    uint64_t took = plat_now_ns() - t0;
    ok(rc == 0, "load: %s", err.text);
    tap_note("%llu KiB in %llu us, protocol %d, entry 0x%llx, %llu KiB resident",
             (unsigned long long)(size / KIB), (unsigned long long)(took / 1000), (int)r.protocol,
             (unsigned long long)r.regs.rip,
             (unsigned long long)(plat_ram_resident(mem.host, mem.size) / KIB));
    if (rc == 0 && r.protocol != BOOT_BZIMAGE64 &&
        ok(plat_file_pread(k, e, sizeof(e), 0, path, &err) == 0, "header")) {
        bool same = true;
        for (unsigned i = 0; i < le16_load(e + 56); i++) {
            uint64_t off = le64_load(e + 32) + i * 56u;
            if (plat_file_pread(k, p, sizeof(p), off, path, &err) < 0 || le32_load(p) != PT_LOAD)
                continue;
            uint64_t filesz = le64_load(p + 32), memsz = le64_load(p + 40);
            uint8_t *want = calloc(1, memsz ? memsz : 1);
            if (!want || plat_file_pread(k, want, filesz, le64_load(p + 8), path, &err) < 0)
                same = false;
            else if (memsz)
                same = same && memcmp(at(le64_load(p + 24)), want, memsz) == 0;
            free(want);
        }
        ok(same, "every segment is in memory as in the file");
    }
    mem_drop();
    plat_close(&k);
}

int main(void)
{
    test_pvh();
    test_linux64();
    test_bzimage();
    test_bad_elf();
    test_bad_bzimage();
    test_bad_guest();
    test_real_kernel();
    return tap_done();
}
