/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 82093AA I/O APIC in front of hypervisors that only take messages: each redirection entry
 * becomes the MSI that its pin sends. All our lines are pulses, so an entry that asks for level
 * triggering is served as an edge: every notification is a pulse of its own, and nothing waits for
 * an EOI.
 */
#include <string.h>

#include "dev/dev.h"

enum { WINDOW_SELECT = 0x00, WINDOW_DATA = 0x10 };
enum { REG_ID = 0, REG_VERSION = 1, REG_ARBITRATION = 2, REG_REDIRECT = 0x10 };

#define VERSION 0x11u

/* Redirection entry (data sheet, 3.2.4). */
#define RTE_VECTOR         0xffu
#define RTE_MODE_SHIFT     8
#define RTE_MODE_MASK      7u
#define RTE_LOGICAL        ((uint64_t)1 << 11)
#define RTE_STATUS_PENDING ((uint64_t)1 << 12)
#define RTE_REMOTE_IRR     ((uint64_t)1 << 14)
#define RTE_MASKED         ((uint64_t)1 << 16)
#define RTE_DEST_SHIFT     56
#define RTE_READ_ONLY      (RTE_STATUS_PENDING | RTE_REMOTE_IRR)

enum { MODE_FIXED = 0, MODE_LOWEST = 1, MODE_NMI = 4 };

/* Message (SDM vol. 3, 11.11). */
#define MSI_DEST_SHIFT 12
#define MSI_LOGICAL    ((uint64_t)1 << 2)
#define MSI_MODE_SHIFT 8

#define FIRST_VECTOR 16u /* the ones below are the CPU's */

void ioapic_init(struct ioapic *io, uint8_t id)
{
    memset(io, 0, sizeof(*io));
    io->id = id & 0x0f;
    for (unsigned i = 0; i < ARCH_IOAPIC_PINS; i++)
        io->redirect[i] = RTE_MASKED;
}

uint32_t ioapic_read(const struct ioapic *io, uint64_t offset)
{
    if (offset == WINDOW_SELECT)
        return io->select;
    if (offset != WINDOW_DATA)
        return 0;
    switch (io->select) {
    case REG_ID:
    case REG_ARBITRATION: return (uint32_t)io->id << 24;
    case REG_VERSION: return VERSION | (ARCH_IOAPIC_PINS - 1) << 16;
    default: break;
    }
    if (io->select < REG_REDIRECT || io->select >= REG_REDIRECT + 2 * ARCH_IOAPIC_PINS)
        return 0;
    uint64_t rte = io->redirect[(io->select - REG_REDIRECT) / 2];
    return (uint32_t)(io->select & 1 ? rte >> 32 : rte);
}

/* Does the entry send anything that a device line may send? */
static bool sends(uint64_t rte)
{
    unsigned mode = (unsigned)(rte >> RTE_MODE_SHIFT) & RTE_MODE_MASK;

    if (rte & RTE_MASKED)
        return false;
    if (mode == MODE_NMI)
        return true;
    return (mode == MODE_FIXED || mode == MODE_LOWEST) && (rte & RTE_VECTOR) >= FIRST_VECTOR;
}

static int set_redirect(struct ioapic *io, struct hv_vm *vm, uint32_t pin, uint64_t rte,
                        struct lum_error *err)
{
    uint64_t old = io->redirect[pin];

    io->redirect[pin] = rte;
    if (rte == old || (!sends(rte) && !sends(old)))
        return 0;
    uint64_t dest = rte >> RTE_DEST_SHIFT;
    uint64_t addr =
        ARCH_LAPIC_BASE | dest << MSI_DEST_SHIFT | ((rte & RTE_LOGICAL) ? MSI_LOGICAL : 0);
    uint32_t mode = (uint32_t)(rte >> RTE_MODE_SHIFT) & RTE_MODE_MASK;
    uint32_t data = (uint32_t)(rte & RTE_VECTOR) | mode << MSI_MODE_SHIFT;
    return hv_irq_route(vm, pin, sends(rte), addr, data, err);
}

int ioapic_write(struct ioapic *io, struct hv_vm *vm, uint64_t offset, uint32_t value,
                 struct lum_error *err)
{
    if (offset == WINDOW_SELECT) {
        io->select = value & 0xff;
        return 0;
    }
    if (offset != WINDOW_DATA)
        return 0;
    if (io->select == REG_ID) {
        io->id = (uint8_t)(value >> 24 & 0x0f);
        return 0;
    }
    if (io->select < REG_REDIRECT || io->select >= REG_REDIRECT + 2 * ARCH_IOAPIC_PINS)
        return 0;
    uint32_t pin = (io->select - REG_REDIRECT) / 2;
    uint64_t rte = io->redirect[pin];
    if (io->select & 1)
        rte = (rte & UINT32_MAX) | (uint64_t)value << 32;
    else
        rte = (rte & ~(uint64_t)UINT32_MAX) | (value & 0x1ffffu & ~(uint32_t)RTE_READ_ONLY);
    return set_redirect(io, vm, pin, rte, err);
}
