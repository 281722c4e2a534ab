/* SPDX-License-Identifier: Apache-2.0 */
/* See kit.h. */
#include "kit.h"

#include "attacks.h"

#define SERIAL          0x3f8
#define KEYBOARD        0x64
#define KEYBOARD_RESET  0xfe
#define PTE_PRESENT     1ull
#define PTE_WRITABLE    2ull
#define PTE_LARGE       0x80ull
#define LARGE_PAGE      0x200000ull
#define WINDOW_ADDRESS  0x8000000000ull /* the second entry of the top table */
#define BP_CMDLINE      0x228
#define BP_E820_COUNT   0x1e8
#define BP_E820_TABLE   0x2d0
#define E820_ENTRY_SIZE 20
#define MAX_LINE        200

uint8_t *boot_params;
uint64_t ram_end;

__attribute__((section(".victim"), aligned(4096))) uint8_t victim_pages[8 * PAGE] = {1};

/* ---- memory and numbers ---- */

void *memset(void *to, int value, size_t n)
{
    void *at = to;

    __asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(value) : "memory");
    return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
    void *at = to;

    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;

    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;

    while (s[n])
        n++;
    return n;
}

uint32_t random32(void)
{
    static uint32_t state = 0x2545f491;

    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

/* ---- reports ---- */

struct line {
    char text[MAX_LINE];
    size_t size;
};

static unsigned n_checks, n_failed;

static void put_char(struct line *l, char c)
{
    if (l->size < sizeof(l->text))
        l->text[l->size++] = c;
}

static void put_text(struct line *l, const char *s)
{
    while (*s)
        put_char(l, *s++);
}

static void put_number(struct line *l, uint64_t v, unsigned base)
{
    char digits[24];
    unsigned n = 0;

    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    while (n)
        put_char(l, digits[--n]);
}

/* %s %u %x %lx and %%. */
static void put_format(struct line *l, const char *fmt, va_list ap)
{
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            put_char(l, *fmt);
            continue;
        }
        switch (*++fmt) {
        case 's': put_text(l, va_arg(ap, const char *)); break;
        case 'u': put_number(l, va_arg(ap, unsigned), 10); break;
        case 'x': put_number(l, va_arg(ap, unsigned), 16); break;
        case 'l':
            fmt++;
            put_number(l, va_arg(ap, uint64_t), 16);
            break;
        default: put_char(l, *fmt); break;
        }
    }
}

static void send_line(struct line *l)
{
    const char *from = l->text;
    size_t n;

    if (l->size == sizeof(l->text))
        l->size--;
    l->text[l->size++] = '\n';
    n = l->size;
    out8(SERIAL + 3, 3); /* an attack may have left the divisor latch or the loop-back on */
    out8(SERIAL + 4, 0);
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(SERIAL) : "memory");
}

static void __attribute__((format(printf, 2, 0)))
report(const char *kind, const char *fmt, va_list ap)
{
    struct line l = {.size = 0};

    put_text(&l, "hostile: ");
    put_text(&l, kind);
    put_format(&l, fmt, ap);
    send_line(&l);
}

void note(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    report("note ", fmt, ap);
    va_end(ap);
}

bool check(bool good, const char *fmt, ...)
{
    va_list ap;

    n_checks++;
    if (!good)
        n_failed++;
    va_start(ap, fmt);
    report(good ? "ok - " : "not ok - ", fmt, ap);
    va_end(ap);
    return good;
}

void at_point(const char *name)
{
    struct line l = {.size = 0};

    put_text(&l, "hostile: at ");
    put_text(&l, name);
    send_line(&l);
}

bool any_failed(void)
{
    return n_checks == 0 || n_failed;
}

_Noreturn void reset_machine(void)
{
    out8(KEYBOARD, KEYBOARD_RESET);
    halt_for_ever();
}

_Noreturn void halt_for_ever(void)
{
    for (;;)
        __asm__ volatile("cli; hlt");
}

_Noreturn void exception_unguarded(unsigned vector, uint64_t a, uint64_t b);

_Noreturn void exception_unguarded(unsigned vector, uint64_t a, uint64_t b)
{
    check(false, "exception %u where none was meant: 0x%lx 0x%lx", vector, a, b);
    reset_machine();
}

/* ---- tables ---- */

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

struct gate {
    uint16_t offset_low, selector, type, offset_middle;
    uint32_t offset_high, zero;
};

void load_tables(const struct table_pointer *gdt, const struct table_pointer *idt, uint64_t cr3);
extern uint8_t vector_stubs[];

static uint64_t gdt[3] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};
static struct gate idt[256];
static uint64_t pml4[512] __attribute__((aligned(4096)));
static uint64_t pdpt[2][512] __attribute__((aligned(4096)));
static uint64_t directories[4 * 512] __attribute__((aligned(4096)));
static uint64_t window_directory[512] __attribute__((aligned(4096)));

static uint64_t address_of(const void *p)
{
    return (uint64_t)(uintptr_t)p;
}

static void set_up_tables(void)
{
    const struct table_pointer g = {sizeof(gdt) - 1, address_of(gdt)};
    const struct table_pointer i = {sizeof(idt) - 1, address_of(idt)};

    for (unsigned v = 0; v < 256; v++) {
        uint64_t at = address_of(vector_stubs) + 16u * v;

        idt[v] = (struct gate){.offset_low = (uint16_t)at,
                               .selector = SELECTOR_CODE,
                               .type = 0x8e00,
                               .offset_middle = (uint16_t)(at >> 16)};
    }
    for (unsigned n = 0; n < 4 * 512; n++)
        directories[n] = n * LARGE_PAGE | PTE_PRESENT | PTE_WRITABLE | PTE_LARGE;
    for (unsigned n = 0; n < 4; n++)
        pdpt[0][n] = address_of(directories + 512u * n) | PTE_PRESENT | PTE_WRITABLE;
    pdpt[1][0] = address_of(window_directory) | PTE_PRESENT | PTE_WRITABLE;
    pml4[0] = address_of(pdpt[0]) | PTE_PRESENT | PTE_WRITABLE;
    pml4[1] = address_of(pdpt[1]) | PTE_PRESENT | PTE_WRITABLE;
    load_tables(&g, &i, address_of(pml4));
}

uint64_t window(uint64_t physical)
{
    window_directory[0] = (physical & ~(LARGE_PAGE - 1)) | PTE_PRESENT | PTE_WRITABLE | PTE_LARGE;
    __asm__ volatile("movq %0, %%cr3" : : "r"(address_of(pml4)) : "memory");
    return WINDOW_ADDRESS + (physical & (LARGE_PAGE - 1));
}

/* ---- MSRs and CPUID ---- */

struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r;

    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(subleaf));
    return r;
}

struct msr_access {
    uint32_t index;
    uint64_t value;
};

static void do_rdmsr(void *arg)
{
    struct msr_access *m = arg;
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(m->index));
    m->value = (uint64_t)high << 32 | low;
}

static void do_wrmsr(void *arg)
{
    const struct msr_access *m = arg;

    __asm__ volatile("wrmsr"
                     :
                     : "c"(m->index), "a"((uint32_t)m->value), "d"((uint32_t)(m->value >> 32))
                     : "memory");
}

bool msr_read(uint32_t index, uint64_t *ret_value)
{
    struct msr_access m = {.index = index};

    if (guarded(do_rdmsr, &m))
        return false;
    *ret_value = m.value;
    return true;
}

bool msr_write(uint32_t index, uint64_t value)
{
    struct msr_access m = {.index = index, .value = value};

    return guarded(do_wrmsr, &m) == 0;
}

/* ---- the other vCPUs ---- */

extern uint8_t ap_code[], ap_code_end[], ap_gdt_pointer[], ap_cr3[];
void kit_ap_main(unsigned cpu);

static struct {
    void (*volatile fn)(void *arg);
    void *volatile arg;
    volatile bool there;
} cpus[MAX_CPUS];

void kit_ap_main(unsigned cpu)
{
    static const struct table_pointer i = {sizeof(idt) - 1, 0};
    struct table_pointer mine = i;

    mine.base = address_of(idt);
    __asm__ volatile("lidt %0" : : "m"(mine));
    cpus[cpu].there = true;
    cpus[cpu].fn(cpus[cpu].arg);
}

void send_ipi(uint32_t apic_id, uint32_t icr)
{
    write32(LAPIC_BASE + 0x310, apic_id << 24);
    write32(LAPIC_BASE + 0x300, icr);
}

bool start_cpu(unsigned cpu, void (*fn)(void *arg), void *arg)
{
    uint8_t *page = (uint8_t *)AP_PAGE;
    uint16_t limit = sizeof(gdt) - 1;
    uint32_t base = (uint32_t)address_of(gdt), cr3 = (uint32_t)address_of(pml4);

    memcpy(page, ap_code, (size_t)(ap_code_end - ap_code));
    memcpy(page + (ap_gdt_pointer - ap_code), &limit, sizeof(limit));
    memcpy(page + (ap_gdt_pointer - ap_code) + 2, &base, sizeof(base));
    memcpy(page + (ap_cr3 - ap_code), &cr3, sizeof(cr3));
    cpus[cpu].fn = fn;
    cpus[cpu].arg = arg;
    cpus[cpu].there = false;
    barrier();
    write32(LAPIC_BASE + 0xf0, 0x1ff);
    send_ipi(cpu, 0x4500);
    send_ipi(cpu, 0x4600 | AP_PAGE >> 12);
    /* Each look is a register read that leaves the guest, so the other thread has its time. */
    for (unsigned i = 0; i < 200000 && !cpus[cpu].there; i++)
        (void)read32(MMIO_BASE);
    return cpus[cpu].there;
}

/* ---- start ---- */

static char attack_name[64];
unsigned attack_number;
_Noreturn void kit_main(void);

/* hostile.attack=NAME or NAME:NUMBER on the kernel command line. */
static void find_attack_name(const char *cmdline)
{
    static const char key[] = "hostile.attack=";

    for (; *cmdline; cmdline++) {
        if (memcmp(cmdline, key, sizeof(key) - 1) != 0)
            continue;
        cmdline += sizeof(key) - 1;
        for (size_t i = 0; i + 1 < sizeof(attack_name) && *cmdline > ' ' && *cmdline != ':'; i++)
            attack_name[i] = *cmdline++;
        if (*cmdline == ':')
            for (cmdline++; *cmdline >= '0' && *cmdline <= '9'; cmdline++)
                attack_number = 10 * attack_number + (unsigned)(*cmdline - '0');
        return;
    }
}

static void read_boot_params(void)
{
    uint32_t cmdline;

    for (unsigned i = 0; i < boot_params[BP_E820_COUNT]; i++) {
        uint64_t base, size;
        uint32_t type;

        memcpy(&base, boot_params + BP_E820_TABLE + i * E820_ENTRY_SIZE, 8);
        memcpy(&size, boot_params + BP_E820_TABLE + i * E820_ENTRY_SIZE + 8, 8);
        memcpy(&type, boot_params + BP_E820_TABLE + i * E820_ENTRY_SIZE + 16, 4);
        if (type == 1 && base < RAM_HOLE && base + size > ram_end)
            ram_end = base + size;
    }
    memcpy(&cmdline, boot_params + BP_CMDLINE, 4);
    find_attack_name((const char *)(uintptr_t)cmdline);
}

static bool same(const char *a, const char *b)
{
    return strlen(a) == strlen(b) && memcmp(a, b, strlen(a)) == 0;
}

_Noreturn void kit_main(void)
{
    read_boot_params();
    set_up_tables();
    for (const struct attack *a = attacks; a->name; a++) {
        if (!same(a->name, attack_name))
            continue;
        at_point("begin");
        a->run();
        if (!a->returns)
            check(false, "the machine goes on after what should have ended it");
        finish();
    }
    check(false, "no attack is called %s", attack_name);
    reset_machine();
}
