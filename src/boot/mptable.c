/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MP table (Intel MultiProcessor Specification 1.4): how a kernel without ACPI learns of its
 * processors, its I/O APIC and its interrupt lines. It is used instead of ACPI tables because the
 * guest kernel is built without any ACPI code, neither interpreter nor table scan: that halves the
 * instructions it takes to init (58 M with ACPI in the config, 27 M without). A kernel from
 * elsewhere has to be built with CONFIG_X86_MPPARSE; one without it sees one processor and no
 * I/O APIC.
 */
#include "boot/boot_internal.h"

#include <string.h>

#include "base/buf.h"

enum { MP_CPU = 0, MP_BUS = 1, MP_IOAPIC = 2, MP_INTERRUPT = 3, MP_LOCAL_INTERRUPT = 4 };
enum { INT_VECTORED = 0, INT_NMI = 1, INT_EXTINT = 3 };

enum { POINTER_SIZE = 16, HEADER_SIZE = 44, CPU_SIZE = 20, ENTRY_SIZE = 8 };

#define SPEC_1_4        4u
#define APIC_VERSION    0x14u
#define CPU_ENABLED     1u
#define CPU_BOOT        2u
#define CPU_FAMILY_6    0x600u
#define CPU_FEATURES    0x201u /* FPU, APIC */
#define IOAPIC_VERSION  0x11u
#define IOAPIC_ENABLED  1u
#define ALL_LOCAL_APICS 0xffu
#define N_IRQ_ENTRIES   ARCH_MMIO_SLOTS
#define N_LOCAL_ENTRIES 2u
#define MPTABLE_WORST                                                                              \
    (POINTER_SIZE + HEADER_SIZE + ARCH_MAX_VCPUS * CPU_SIZE +                                      \
     (2 + N_IRQ_ENTRIES + N_LOCAL_ENTRIES) * ENTRY_SIZE)

_Static_assert(MPTABLE_WORST <= BOOT_MPTABLE_SIZE, "the MP table ends at 640 KiB");

struct table {
    uint8_t data[BOOT_MPTABLE_SIZE];
    size_t size;
    uint16_t entries;
};

static uint8_t *add_entry(struct table *t, uint8_t type, size_t size)
{
    uint8_t *e = t->data + t->size;

    t->size += size;
    t->entries++;
    e[0] = type;
    return e;
}

/* Flags stay 0: edge or level, high or low as the bus has it, which for ISA is edge, active high.
 */
static void add_interrupt(struct table *t, uint8_t entry_type, uint8_t kind, uint8_t irq,
                          uint8_t apic, uint8_t pin)
{
    uint8_t *e = add_entry(t, entry_type, ENTRY_SIZE);

    e[1] = kind;
    e[5] = irq;
    e[6] = apic;
    e[7] = pin;
}

/* The byte that makes all bytes sum up to zero. */
static uint8_t checksum(const uint8_t *p, size_t size)
{
    unsigned sum = 0;

    for (size_t i = 0; i < size; i++)
        sum += p[i];
    return (uint8_t)(0x100u - (sum & 0xffu));
}

void mptable_write(const struct gmem *mem, uint32_t vcpus)
{
    struct table t = {.size = POINTER_SIZE + HEADER_SIZE};
    uint8_t *pointer = t.data, *header = t.data + POINTER_SIZE, *e;
    uint8_t ioapic = (uint8_t)vcpus; /* local APICs have the ids before it */

    for (uint32_t i = 0; i < vcpus; i++) {
        e = add_entry(&t, MP_CPU, CPU_SIZE);
        e[1] = (uint8_t)i;
        e[2] = APIC_VERSION;
        e[3] = i == 0 ? CPU_ENABLED | CPU_BOOT : CPU_ENABLED;
        le32_store(e + 4, CPU_FAMILY_6);
        le32_store(e + 8, CPU_FEATURES);
    }

    e = add_entry(&t, MP_BUS, ENTRY_SIZE);
    memcpy(e + 2, "ISA   ", 6);

    e = add_entry(&t, MP_IOAPIC, ENTRY_SIZE);
    e[1] = ioapic;
    e[2] = IOAPIC_VERSION;
    e[3] = IOAPIC_ENABLED;
    le32_store(e + 4, ARCH_IOAPIC_BASE);

    /*
     * Only the lines of the device slots: there is no 8259 and no timer chip, and each pin that is
     * named costs the kernel register accesses.
     */
    for (uint8_t pin = ARCH_IRQ_BASE; pin < ARCH_IOAPIC_PINS; pin++)
        add_interrupt(&t, MP_INTERRUPT, INT_VECTORED, pin, ioapic, pin);
    add_interrupt(&t, MP_LOCAL_INTERRUPT, INT_EXTINT, 0, 0, 0);
    add_interrupt(&t, MP_LOCAL_INTERRUPT, INT_NMI, 0, ALL_LOCAL_APICS, 1);

    memcpy(header, "PCMP", 4);
    le16_store(header + 4, (uint16_t)(t.size - POINTER_SIZE));
    header[6] = SPEC_1_4;
    memcpy(header + 8, "LUMINA  ", 8);
    memcpy(header + 16, "MICROVM     ", 12);
    le16_store(header + 34, t.entries);
    le32_store(header + 36, ARCH_LAPIC_BASE);
    header[7] = checksum(header, t.size - POINTER_SIZE);

    memcpy(pointer, "_MP_", 4);
    le32_store(pointer + 4, BOOT_LOW_RAM_END + POINTER_SIZE);
    pointer[8] = 1; /* length in units of 16 bytes */
    pointer[9] = SPEC_1_4;
    pointer[10] = checksum(pointer, POINTER_SIZE);

    boot_put(mem, BOOT_LOW_RAM_END, t.data, t.size);
}
