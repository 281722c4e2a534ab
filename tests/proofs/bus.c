/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an access of a vCPU goes: for every address, to the one device that is there, with an
 * offset inside its slot, or to nobody, which reads as all ones. The lock is held meanwhile and let
 * go.
 * Bounds: every address, size, value and direction; up to 2 posted writes before it
 * Flags: --unwind 9 --unsigned-overflow-check
 */
#include "env.h"

#include "machine/native/bus.c"

static struct native m;
static int locked;
static unsigned posted_left;

/* Devices that say where they were asked. */
static unsigned n_device, n_ioapic, n_pio;

static void check_device(const struct vdev *dev, uint64_t offset)
{
    CHECK(locked == 1 && dev != NULL && offset < ARCH_MMIO_SLOT_SIZE);
    n_device++;
}

void vdev_mmio_write(struct vdev *dev, uint64_t offset, uint8_t size, uint64_t data)
{
    check_device(dev, offset);
}

uint64_t vdev_mmio_read(struct vdev *dev, uint64_t offset, uint8_t size)
{
    check_device(dev, offset);
    return nondet_u64();
}

uint32_t ioapic_read(const struct ioapic *io, uint64_t offset)
{
    CHECK(locked == 1 && io == &m.ioapic && offset < 0x1000);
    n_ioapic++;
    return nondet_u32();
}

int ioapic_write(struct ioapic *io, struct hv_vm *vm, uint64_t offset, uint32_t value,
                 struct lum_error *err)
{
    CHECK(locked == 1 && io == &m.ioapic && offset < 0x1000);
    n_ioapic++;
    return nondet_bool() ? 0 : lum_fail(err, LUM_EOS, "route");
}

uint8_t serial_read(struct serial *s, uint16_t offset)
{
    CHECK(locked == 1 && s == &m.serial && offset < 8);
    n_pio++;
    return nondet_u8();
}

void serial_write(struct serial *s, const struct dev_host *host, uint16_t offset, uint8_t value)
{
    CHECK(locked == 1 && s == &m.serial && host == &m.dev_host && offset < 8);
    n_pio++;
}

uint8_t rtc_read(struct rtc *r)
{
    n_pio++;
    return nondet_u8();
}

void rtc_write(struct rtc *r, uint16_t offset, uint8_t value)
{
    CHECK(locked == 1 && offset < 2);
    n_pio++;
}

uint8_t i8042_read(struct i8042 *k, uint16_t offset)
{
    CHECK(locked == 1 && (offset == 0 || offset == 4));
    n_pio++;
    return nondet_u8();
}

bool i8042_write(struct i8042 *k, uint16_t offset, uint8_t value)
{
    CHECK(locked == 1 && (offset == 0 || offset == 4));
    n_pio++;
    return nondet_bool();
}

void plat_loop_lock(struct plat_loop *loop)
{
    locked++;
}

void plat_loop_unlock(struct plat_loop *loop)
{
    locked--;
}

bool hv_posted_take(struct hv_vm *vm, struct hv_exit *ret_write)
{
    if (posted_left == 0)
        return false;
    posted_left--;
    ret_write->is_write = true;
    ret_write->addr = nondet_u64();
    ret_write->data = nondet_u64();
    ret_write->size = nondet_u8();
    return true;
}

static void host_log(void *ctx, int level, const char *fmt, ...)
{
}

static uint64_t all_ones(uint8_t size)
{
    return size == 1 ? 0xff : size == 2 ? 0xffff : size == 4 ? 0xffffffff : UINT64_MAX;
}

static void check_mmio(void)
{
    struct hv_exit exit = {.is_write = nondet_bool(), .size = nondet_u8(), .addr = nondet_u64()};

    ASSUME(exit.size == 1 || exit.size == 2 || exit.size == 4 || exit.size == 8);
    exit.data = nondet_u64();
    uint64_t slot = exit.addr < ARCH_MMIO_BASE ? ARCH_MMIO_SLOTS
                                               : (exit.addr - ARCH_MMIO_BASE) / ARCH_MMIO_SLOT_SIZE;
    bool device = slot < NATIVE_DEVICES && m.dev[slot];
    bool ioapic = exit.addr >= ARCH_IOAPIC_BASE && exit.addr <= ARCH_IOAPIC_BASE + 0xfff;
    unsigned n_posted = nondet_bool() ? 2 : 0;
    posted_left = n_posted;

    bus_mmio(&m, &exit);
    CHECK(posted_left == 0 && n_device + n_ioapic <= n_posted + 1 && n_pio == 0);
    if (n_posted == 0) {
        CHECK(n_device == device && n_ioapic == ioapic);
        CHECK(IMPLIES(!device && !ioapic && !exit.is_write, exit.data == all_ones(exit.size)));
    }
    WITNESS(n_device == 3);
    WITNESS(n_ioapic == 1 && !exit.is_write);
}

static void check_pio(void)
{
    struct hv_exit exit = {.is_write = nondet_bool(), .size = nondet_u8(), .addr = nondet_u64()};
    uint64_t p = exit.addr;

    ASSUME(exit.size == 1 || exit.size == 2 || exit.size == 4);
    exit.data = nondet_u64() & 0xff;
    bool known = (p >= 0x3f8 && p <= 0x3ff) || p == 0x60 || p == 0x64 || p == 0x71 ||
                 (p == 0x70 && exit.is_write);

    enum bus_result result = bus_pio(&m, &exit);
    CHECK(n_pio == known && n_device + n_ioapic == 0);
    CHECK(IMPLIES(result == BUS_RESET, exit.is_write && (p == 0x60 || p == 0x64)));
    CHECK(IMPLIES(!known && !exit.is_write && p != 0x61, exit.data == all_ones(exit.size)));
    WITNESS(result == BUS_RESET);
}

int main(void)
{
    static struct vdev dev[NATIVE_DEVICES];

    m.host.log = host_log;
    for (unsigned i = 0; i < NATIVE_DEVICES; i++)
        m.dev[i] = nondet_bool() ? &dev[i] : NULL;
    if (nondet_bool())
        check_mmio();
    else
        check_pio();
    CHECK(locked == 0);
    return 0;
}
