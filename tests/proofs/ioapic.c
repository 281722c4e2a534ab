/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O APIC: any register access in any state; only existing pins are routed, and only to the
 * CPUs' own message range with a vector that a device may send.
 * Bounds: every state, offset and value
 * Flags: --unwind 9 --unsigned-overflow-check
 */
#include "env.h"

static unsigned n_routes;

#define hv_irq_route check_route
static int check_route(struct hv_vm *vm, uint32_t line, bool enabled, uint64_t msi_addr,
                       uint32_t msi_data, struct lum_error *err)
{
    CHECK(line < ARCH_IOAPIC_PINS);
    CHECK((msi_addr & ~(uint64_t)0xfffff) == ARCH_LAPIC_BASE);
    CHECK(msi_data <= 0x7ff);
    CHECK(IMPLIES(enabled && (msi_data >> 8) != 4, (msi_data & 0xff) >= 16));
    n_routes++;
    return nondet_bool() ? 0 : lum_fail(err, LUM_EOS, "route");
}

#include "dev/ioapic.c"

#define KEPT ((uint64_t)0xffffffff00000000 | 0x1afff) /* what the guest can set of an entry */

int main(void)
{
    struct ioapic io;
    struct lum_error err;
    uint64_t offset = nondet_u64();
    uint32_t value = nondet_u32();
    unsigned i = nondet_u8();

    ASSUME(i < ARCH_IOAPIC_PINS);
    if (nondet_bool()) {
        ioapic_init(&io, nondet_u8());
        CHECK(io.select == 0 && io.id <= 15 && io.redirect[i] == RTE_MASKED);
        return 0;
    }
    ASSUME(io.select <= 0xff && io.id <= 15);
    for (unsigned pin = 0; pin < ARCH_IOAPIC_PINS; pin++)
        ASSUME((io.redirect[pin] & ~KEPT) == 0);
    struct ioapic old = io;
    uint32_t read = ioapic_read(&io, offset);
    CHECK(IMPLIES(offset != 0 && offset != 0x10, read == 0));
    CHECK(IMPLIES(offset == 0x10 && io.select >= 0x10 + 2 * ARCH_IOAPIC_PINS, read == 0));

    int rc = ioapic_write(&io, NULL, offset, value, &err);
    CHECK(rc == 0 || n_routes == 1);
    CHECK(io.select <= 0xff && io.id <= 15 && (io.redirect[i] & ~KEPT) == 0);
    CHECK(IMPLIES(io.select != old.select, offset == 0));
    CHECK(IMPLIES(io.redirect[i] != old.redirect[i],
                  offset == 0x10 && (io.select == 0x10 + 2 * i || io.select == 0x11 + 2 * i)));
    CHECK(IMPLIES(n_routes,
                  io.redirect[(io.select - 0x10) / 2] != old.redirect[(io.select - 0x10) / 2]));
    WITNESS(n_routes && i == ARCH_IOAPIC_PINS - 1 && io.redirect[i] != old.redirect[i]);
    return 0;
}
