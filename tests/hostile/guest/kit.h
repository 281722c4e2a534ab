/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A freestanding guest that exists to attack the monitor: output, checks, exceptions, ports, MSRs,
 * other vCPUs. Everything runs in long mode at the highest privilege, one to one in the first
 * 4 GiB, with interrupts off.
 *
 * What the guest says goes out of the serial port, a line each, for test_hostile.c to read:
 *     hostile: ok - TEXT, hostile: not ok - TEXT, hostile: note TEXT, hostile: at POINT
 */
#ifndef LUM_HOSTILE_KIT_H
#define LUM_HOSTILE_KIT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

#define PAGE         4096u
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The machine's map (src/arch/x86_64/arch.h has the reasons). */
#define MMIO_BASE   0xd0000000ull
#define MMIO_SLOT   0x1000ull
#define MMIO_SLOTS  4u
#define IOAPIC_BASE 0xfec00000ull
#define LAPIC_BASE  0xfee00000ull
#define RAM_HOLE    0xc0000000ull

extern uint64_t ram_end; /* first address after RAM, which is all below RAM_HOLE */
extern uint8_t image_end[];

/* ---- reports ---- */

void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* One check; yields the condition. After a failed one the guest ends in a reset, never ready. */
bool check(bool good, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A place that the runner waits for. */
void at_point(const char *name);
bool any_failed(void); /* also when nothing was checked at all */
/* The machine's reset line, through the keyboard controller. */
_Noreturn void reset_machine(void);
_Noreturn void halt_for_ever(void);

/* ---- exceptions ---- */

/* Runs fn(arg): 0, or 1 + the vector of the exception that ended it. Guards nest. */
int guarded(void (*fn)(void *arg), void *arg);

/* ---- the machine ---- */

static inline void out8(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void out16(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void out32(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline uint8_t in8(uint16_t port)
{
    uint8_t v;

    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint16_t in16(uint16_t port)
{
    uint16_t v;

    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint32_t in32(uint16_t port)
{
    uint32_t v;

    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

/* Accesses of exactly this size at any address, aligned or not. */
static inline void write_size(uint64_t at, unsigned size, uint64_t v)
{
    switch (size) {
    case 1: __asm__ volatile("movb %b0, (%1)" : : "q"(v), "r"(at) : "memory"); break;
    case 2: __asm__ volatile("movw %w0, (%1)" : : "r"(v), "r"(at) : "memory"); break;
    case 4: __asm__ volatile("movl %k0, (%1)" : : "r"(v), "r"(at) : "memory"); break;
    default: __asm__ volatile("movq %0, (%1)" : : "r"(v), "r"(at) : "memory"); break;
    }
}

static inline uint64_t read_size(uint64_t at, unsigned size)
{
    uint64_t v = 0;

    switch (size) {
    case 1: __asm__ volatile("movzbl (%1), %k0" : "=r"(v) : "r"(at) : "memory"); break;
    case 2: __asm__ volatile("movzwl (%1), %k0" : "=r"(v) : "r"(at) : "memory"); break;
    case 4: __asm__ volatile("movl (%1), %k0" : "=r"(v) : "r"(at) : "memory"); break;
    default: __asm__ volatile("movq (%1), %0" : "=r"(v) : "r"(at) : "memory"); break;
    }
    return v;
}

static inline uint32_t read32(uint64_t at)
{
    return (uint32_t)read_size(at, 4);
}

static inline void write32(uint64_t at, uint32_t v)
{
    write_size(at, 4, v);
}

static inline void barrier(void)
{
    /* The emulating hosts have no MFENCE. */
    __asm__ volatile("lock; addl $0, (%%rsp)" : : : "memory", "cc");
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};
struct cpuid cpuid(uint32_t leaf, uint32_t subleaf);

/* False: the CPU raised #GP. */
bool msr_read(uint32_t index, uint64_t *ret_value);
bool msr_write(uint32_t index, uint64_t value);

/* An address in the one 2 MiB window that can be moved anywhere in physical memory. */
uint64_t window(uint64_t physical);

/* ---- the other vCPUs ---- */

/* Sends through the local APIC: icr is the low half of the command register. */
void send_ipi(uint32_t apic_id, uint32_t icr);
/* Starts vCPU `cpu` (its APIC ID) with fn(arg) and waits until it is there; false: it is not. */
bool start_cpu(unsigned cpu, void (*fn)(void *arg), void *arg);

/* ---- odds and ends ---- */

void *memset(void *to, int value, size_t n);
void *memcpy(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
/* Numbers without a pattern, the same in each run. */
uint32_t random32(void);
/* A page of the kernel file. */
extern uint8_t victim_pages[8 * PAGE];

#endif
