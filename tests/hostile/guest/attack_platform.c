/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports, the devices of a PC and the interrupt controllers: every port in every size, strings with
 * huge counts, every register of the I/O APIC and the local APIC.
 */
#include "attacks.h"
#include "virtio.h"

enum { KEYBOARD_DATA = 0x60, KEYBOARD = 0x64, RTC = 0x70, SERIAL = 0x3f8, UNUSED_PORT = 0x1234 };

static uint8_t bytes[64 * 1024] __attribute__((aligned(4096)));

/* ---- ports ---- */

void attack_ports(void)
{
    uint32_t wrong = 0;

    for (uint32_t port = 0; port < 0x10000; port++) {
        uint16_t p = (uint16_t)port;
        bool serial = p >= SERIAL && p < SERIAL + 8;

        (void)in8(p);
        (void)in16(p);
        uint32_t v = in32(p);
        if (p >= 0x400 && v != 0xffffffff)
            wrong++;
        if (!serial)
            out8(p, 0);
        /* All ones is no reset: the line is active low. */
        out16(p, 0xffff);
        out32(p, 0xffffffff);
    }
    check(wrong == 0, "all ports: where nothing is, all bits are ones");
}

static bool would_reset(unsigned command)
{
    return command >= 0xf0 && !(command & 1);
}

void attack_keyboard(void)
{
    for (unsigned command = 0; command < 256; command++) {
        if (would_reset(command))
            continue;
        for (unsigned data = 1; data < 256; data += 14) { /* bit 0 clear resets after 0xd1 */
            out8(KEYBOARD, (uint8_t)command);
            (void)in8(KEYBOARD);
            (void)in8(KEYBOARD_DATA);
            out8(KEYBOARD_DATA, (uint8_t)data);
            (void)in8(KEYBOARD_DATA);
        }
    }
    check(true, "all commands of the keyboard controller with many data");
    out8(KEYBOARD, 0xd1);
    out8(KEYBOARD_DATA, 0xfe);
    halt_for_ever();
}

void attack_serial_rtc(void)
{
    for (unsigned reg = 1; reg < 8; reg++)
        for (unsigned v = 0; v < 256; v += 3) {
            out8((uint16_t)(SERIAL + reg), (uint8_t)v);
            for (unsigned r = 0; r < 8; r++)
                (void)in8((uint16_t)(SERIAL + r));
        }
    out8(SERIAL + 3, 0);
    out8(SERIAL + 4, 0);
    for (unsigned index = 0; index < 256; index++)
        for (unsigned v = 0; v < 256; v += 15) {
            out8(RTC, (uint8_t)index);
            out8(RTC + 1, (uint8_t)v);
            (void)in8(RTC + 1);
            (void)in8(RTC);
        }
    out8(RTC, 0x0b);
    out8(RTC + 1, 6);
    out8(RTC, 0x09);
    check(in8(RTC + 1) < 100, "all registers of serial port and clock");
}

/* ---- strings ---- */

static void outs(uint16_t port, unsigned size, const void *from, uint64_t n)
{
    switch (size) {
    case 1: __asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(port) : "memory"); break;
    case 2: __asm__ volatile("rep outsw" : "+S"(from), "+c"(n) : "d"(port) : "memory"); break;
    default: __asm__ volatile("rep outsl" : "+S"(from), "+c"(n) : "d"(port) : "memory"); break;
    }
}

static void ins(uint16_t port, unsigned size, void *to, uint64_t n)
{
    switch (size) {
    case 1: __asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(port) : "memory"); break;
    case 2: __asm__ volatile("rep insw" : "+D"(to), "+c"(n) : "d"(port) : "memory"); break;
    default: __asm__ volatile("rep insl" : "+D"(to), "+c"(n) : "d"(port) : "memory"); break;
    }
}

void attack_strings(void)
{
    static const uint16_t ports[] = {0x60, 0x61, 0x70, 0x71, 0x3f9, 0x3ff, 0x80, 0xcf8, 0xffff};

    memset(bytes, 0xff, sizeof(bytes));
    for (unsigned i = 0; i < ARRAY_LEN(ports); i++)
        for (unsigned size = 1; size <= 4; size *= 2) {
            outs(ports[i], size, bytes, 3000);
            ins(ports[i], size, bytes, 3000);
            memset(bytes, 0xff, 4 * 3000);
        }
    /* Strings between memory and registers, and from registers to registers. */
    for (unsigned slot = 0; slot < MMIO_SLOTS; slot++) {
        uint64_t base = MMIO_BASE + slot * MMIO_SLOT;
        void *to = (void *)(uintptr_t)base;

        memcpy(bytes, to, 0x200);
        memcpy(to, bytes, 0x200);
        memcpy(to, (void *)(uintptr_t)(base + 0x80), 0x180);
        outs(0x80, 4, to, 64);
        ins(0x71, 4, to, 64);
    }
    out8(SERIAL + 3, 0);
    check(true, "strings to ports and registers");
}

static void huge_string(void *arg)
{
    (void)arg;
    at_point("stuck");
    outs(UNUSED_PORT, 1, NULL, 1ull << 40);
}

/* A count that no machine finishes, from where memory is and then is not. */
void attack_string_for_ever(void)
{
    for (;;)
        (void)guarded(huge_string, NULL);
}

void attack_string_to_nowhere(void)
{
    at_point("stuck");
    for (;;)
        ins(UNUSED_PORT, 4, (void *)(uintptr_t)MMIO_BASE, 1ull << 40);
}

/* ---- interrupt controllers ---- */

static void ioapic_put(uint32_t index, uint32_t value)
{
    write32(IOAPIC_BASE, index);
    write32(IOAPIC_BASE + 0x10, value);
}

void attack_ioapic(void)
{
    static const uint32_t values[] = {0,          0xffffffff, 0x00000020, 0x0000ffff, 0x0001ffff,
                                      0xff000000, 0x00000700, 0x00000200, 0x0000080f, 0x0000a55a};

    for (unsigned v = 0; v < ARRAY_LEN(values); v++)
        for (uint32_t index = 0; index < 256; index++) {
            ioapic_put(index, values[v]);
            (void)read32(IOAPIC_BASE + 0x10);
        }
    for (unsigned offset = 0; offset < 0x1000; offset += offset < 0x40 ? 1 : 61)
        for (unsigned size = 1; size <= 8; size *= 2) {
            write_size(IOAPIC_BASE + offset, size, random32());
            (void)read_size(IOAPIC_BASE + offset, size);
        }
    /* Lines that fire while they point anywhere, most of it nowhere; vectors of exceptions too. */
    for (unsigned n = 0; n < 200; n++) {
        static uint64_t data;
        struct queue q;

        ioapic_put(0x10 + 2 * (1 + SLOT_RNG) + 1, random32());
        ioapic_put(0x10 + 2 * (1 + SLOT_RNG), random32() & 0xfaff); /* no NMI */
        queue_alone(&q, SLOT_RNG, 0, 16, 0);
        desc_set(&q, 0, address_of(&data), 8, WRITE, 0);
        if (queue_try(&q, 0) != USED)
            check(false, "the device works whatever its line does");
    }
    ioapic_put(1, 0);
    check((read32(IOAPIC_BASE + 0x10) & 0xff) == 0x11, "the I/O APIC is still one");
    for (uint32_t index = 0x10; index < 0x40; index++)
        ioapic_put(index, index & 1 ? 0 : 0x10000);
    for (uint32_t reg = 0; reg < 0x100; reg += 0x10)
        write32(LAPIC_BASE + 0xb0, 0); /* what did arrive is over */
    good_interrupt();
}

static void lapic_access(void *arg)
{
    const uint32_t *a = arg;

    write32(LAPIC_BASE + a[0], a[1]);
    (void)read32(LAPIC_BASE + a[0]);
}

void attack_lapic(void)
{
    static const uint32_t values[] = {0, 0xffffffff, 0x00010000, 0x000000ff, 0xa5a5a5a5};

    for (unsigned v = 0; v < ARRAY_LEN(values); v++)
        for (uint32_t offset = 0; offset < 0x1000; offset += 0x10) {
            uint32_t a[2] = {offset, values[v]};

            if (offset == 0x300) /* the command register: an INIT to ourselves */
                continue;
            (void)guarded(lapic_access, a);
        }
    for (uint32_t offset = 0; offset < 0x1000; offset += 13)
        for (unsigned size = 1; size <= 8; size *= 2)
            (void)read_size(LAPIC_BASE + offset, size);
    /*
     * Command register: every shorthand and delivery mode, to ourselves and out. Not INIT, which
     * stops us, not NMI, which comes at once, and not SMI, which has an attack of its own.
     */
    for (uint32_t shorthand = 0; shorthand < 4; shorthand++)
        for (uint32_t mode = 0; mode < 8; mode++)
            if (mode != 2 && mode != 4 && mode != 5)
                for (uint32_t vector = 0x20; vector < 0x100; vector += 31)
                    send_ipi(vector, shorthand << 18 | mode << 8 | vector);
    /* Back to what a guest begins with. */
    for (uint32_t offset = 0x320; offset <= 0x370; offset += 0x10)
        write32(LAPIC_BASE + offset, 0x10000);
    write32(LAPIC_BASE + 0xd0, 0);
    write32(LAPIC_BASE + 0xe0, 0xffffffff);
    write32(LAPIC_BASE + 0x380, 0);
    write32(LAPIC_BASE + 0x80, 0);
    check((read32(LAPIC_BASE + 0x30) & 0xff) >= 0x10, "the local APIC is still one");
}

/* System management mode, for which no machine of ours has any code or memory set aside. */
void attack_smi(void)
{
    write32(LAPIC_BASE + 0xf0, 0x1ff);
    send_ipi(0, 1u << 18 | 2u << 8);
    for (unsigned i = 0; i < 1000; i++)
        (void)read32(MMIO_BASE);
    check(true, "an SMI to ourselves");
}

/* The local APIC moved over RAM, over devices, away, and back. */
void attack_apic_base(void)
{
    static const uint64_t bases[] = {0,          0x20000,        0xd0000000, 0xd0001000,
                                     0xfec00000, 0xfffffffff000, 1ull << 40, 0xfee00000};
    uint64_t was;

    if (!check(msr_read(0x1b, &was), "the base register of the local APIC can be read"))
        return;
    for (unsigned i = 0; i < ARRAY_LEN(bases); i++)
        for (unsigned bits = 0; bits < 16; bits++) {
            (void)msr_write(0x1b, bases[i] | (uint64_t)bits << 8);
            (void)read32(0x20000);
            (void)read32(MMIO_BASE);
            (void)read32(IOAPIC_BASE);
            (void)read32(LAPIC_BASE + 0x30);
        }
    (void)msr_write(0x1b, 0); /* from x2APIC mode there is only one way: off */
    check(msr_write(0x1b, was), "it can be put back");
}
