/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where guest-physical and port addresses lead. Nothing there reads as all ones, as on a PC bus.
 * The vCPU thread borrows the devices from the I/O thread by taking the loop's lock.
 */
#include "machine/native/native.h"

static uint64_t ones(uint8_t size)
{
    return size >= 8 ? UINT64_MAX : ((uint64_t)1 << (8 * size)) - 1;
}

static struct vdev *find_device(struct native *m, uint64_t addr, uint64_t *ret_offset)
{
    if (addr < ARCH_MMIO_BASE || addr - ARCH_MMIO_BASE >= ARCH_MMIO_SLOTS * ARCH_MMIO_SLOT_SIZE)
        return NULL;
    uint64_t slot = (addr - ARCH_MMIO_BASE) / ARCH_MMIO_SLOT_SIZE;
    *ret_offset = (addr - ARCH_MMIO_BASE) % ARCH_MMIO_SLOT_SIZE;
    return slot < NATIVE_DEVICES ? m->dev[slot] : NULL;
}

static void ioapic_access(struct native *m, struct hv_exit *exit, uint64_t offset)
{
    struct lum_error err;

    if (!exit->is_write)
        exit->data = ioapic_read(&m->ioapic, offset);
    else if (ioapic_write(&m->ioapic, m->hv, offset, (uint32_t)exit->data, &err) < 0)
        m->host.log(m->host.ctx, LUM_LOG_WARN, "interrupt routing: %s", err.text);
}

static void mmio(struct native *m, struct hv_exit *exit)
{
    uint64_t offset;
    struct vdev *dev = find_device(m, exit->addr, &offset);

    if (dev && exit->is_write)
        vdev_mmio_write(dev, offset, exit->size, exit->data);
    else if (dev)
        exit->data = vdev_mmio_read(dev, offset, exit->size);
    else if (exit->addr >= ARCH_IOAPIC_BASE && exit->addr - ARCH_IOAPIC_BASE < 0x1000)
        ioapic_access(m, exit, exit->addr - ARCH_IOAPIC_BASE);
    else if (!exit->is_write)
        exit->data = ones(exit->size);
}

/* What the guest has written without an exit comes first, whichever vCPU wrote it. */
void bus_take_posted(void *machine)
{
    struct native *m = machine;
    struct hv_exit write;

    while (hv_posted_take(m->hv, &write))
        mmio(m, &write);
}

void bus_mmio(struct native *m, struct hv_exit *exit)
{
    plat_loop_lock(m->loop);
    bus_take_posted(m);
    mmio(m, exit);
    plat_loop_unlock(m->loop);
}

static uint64_t pio_read(struct native *m, uint64_t port, uint8_t size)
{
    if (port >= 0x3f8 && port <= 0x3ff)
        return serial_read(&m->serial, (uint16_t)(port - 0x3f8));
    switch (port) {
    case 0x60:
    case 0x64: return i8042_read(&m->i8042, (uint16_t)(port - 0x60));
    case 0x61: return 0; /* speaker and NMI status: no error */
    case 0x71: return rtc_read(&m->rtc);
    default: return ones(size);
    }
}

static enum bus_result pio_write(struct native *m, uint64_t port, uint8_t value)
{
    if (port >= 0x3f8 && port <= 0x3ff)
        serial_write(&m->serial, &m->dev_host, (uint16_t)(port - 0x3f8), value);
    else if (port == 0x70 || port == 0x71)
        rtc_write(&m->rtc, (uint16_t)(port - 0x70), value);
    else if (port == 0x60 || port == 0x64)
        return i8042_write(&m->i8042, (uint16_t)(port - 0x60), value) ? BUS_RESET : BUS_OK;
    return BUS_OK;
}

enum bus_result bus_pio(struct native *m, struct hv_exit *exit)
{
    enum bus_result result = BUS_OK;

    plat_loop_lock(m->loop);
    if (exit->is_write)
        result = pio_write(m, exit->addr, (uint8_t)exit->data);
    else
        exit->data = pio_read(m, exit->addr, exit->size);
    plat_loop_unlock(m->loop);
    return result;
}
