/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any sequence of port and memory accesses of a vCPU, through the machine's own bus: serial port,
 * clock, keyboard controller, I/O APIC, the device slots and the holes between them.
 */
#include <stdlib.h>
#include <string.h>

#include "fake_driver.h"
#include "machine/native/native.h"
#include "step_loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

static struct fake_host host;
static plat_fd disk = PLAT_FD_NONE;
static struct native machine;

static void must(bool good)
{
    if (!good)
        abort();
}

static uint64_t take(struct input *in, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes && in->size > 0; i++) {
        v |= (uint64_t)*in->data++ << (8 * i);
        in->size--;
    }
    return v;
}

static void on_log(void *ctx, int level, const char *fmt, ...) LUM_PRINTF(3, 4);

static void on_log(void *ctx, int level, const char *fmt, ...)
{
    (void)ctx;
    (void)level;
    (void)fmt;
}

static int refuse(void *ctx, uint32_t port, plat_fd *ret_stream)
{
    (void)ctx;
    (void)port;
    (void)ret_stream;
    return LUM_ENOENT;
}

static void open_machine(void)
{
    static const struct vsock_callbacks callbacks = {.accept = refuse};
    static uint8_t content[4096];
    struct lum_error err;

    if (!host.loop) {
        fake_host_init(&host, true, false);
        must(plat_memfile("disk", content, sizeof(content), &disk, &err) == 0);
    }
    host.vm.n_bells = 0;
    memset(host.vm.routes, 0, sizeof(host.vm.routes));
    machine = (struct native){
        .host = {.log = on_log}, .loop = host.loop, .hv = &host.vm.base, .dev_host = host.host};
    ioapic_init(&machine.ioapic, 1);
    must(vdev_console_create(&host.host, 0, &machine.dev[NATIVE_CONSOLE], &err) == 0 &&
         vdev_vsock_create(&host.host, 1, &callbacks, &machine.dev[NATIVE_VSOCK], &err) == 0 &&
         vdev_rng_create(&host.host, 2, &machine.dev[NATIVE_RNG], &err) == 0 &&
         vdev_blk_create(&host.host, 3, disk, 4096, true, &machine.dev[NATIVE_ROOT], &err) == 0);
    for (int i = 0; i < NATIVE_DEVICES; i++)
        must(vdev_attach(machine.dev[i], &err) == 0);
}

static void close_machine(void)
{
    for (int i = 0; i < NATIVE_DEVICES; i++)
        vdev_free(machine.dev[i]);
    step_loop_run(host.loop);
}

static uint64_t mask(uint8_t size)
{
    return size >= 8 ? UINT64_MAX : ((uint64_t)1 << (8 * size)) - 1;
}

static void pio(struct input *in, bool is_write, uint64_t port)
{
    static const uint8_t sizes[] = {1, 1, 2, 4};
    struct hv_exit exit = {.is_write = is_write, .addr = port, .size = sizes[take(in, 1) % 4]};

    if (is_write)
        exit.data = take(in, exit.size);
    enum bus_result result = bus_pio(&machine, &exit);
    must(is_write || result == BUS_OK);
    must(result == BUS_OK || port == 0x60 || port == 0x64);
    must(is_write || exit.data <= mask(exit.size));
}

static void mmio(struct input *in, bool is_write, uint64_t addr)
{
    static const uint8_t sizes[] = {4, 1, 2, 8};
    struct hv_exit exit = {.is_write = is_write, .addr = addr, .size = sizes[take(in, 1) % 4]};

    if (is_write)
        exit.data = take(in, exit.size);
    bus_mmio(&machine, &exit);
}

static uint32_t ioapic_get(uint32_t reg)
{
    struct hv_exit select = {.is_write = true, .addr = ARCH_IOAPIC_BASE, .size = 4, .data = reg};
    struct hv_exit value = {.addr = ARCH_IOAPIC_BASE + 0x10, .size = 4};

    bus_mmio(&machine, &select);
    bus_mmio(&machine, &value);
    return (uint32_t)value.data;
}

static void ioapic_set(struct input *in)
{
    struct hv_exit select = {
        .is_write = true, .addr = ARCH_IOAPIC_BASE, .size = 4, .data = take(in, 1)};
    struct hv_exit value = {
        .is_write = true, .addr = ARCH_IOAPIC_BASE + 0x10, .size = 4, .data = take(in, 4)};

    bus_mmio(&machine, &select);
    bus_mmio(&machine, &value);
}

/* Each line that is on sends a message that an APIC takes, and the one its entry describes. */
static void check_routes(void)
{
    for (uint32_t pin = 0; pin < ARCH_IOAPIC_PINS; pin++) {
        const struct fake_route *r = &host.vm.routes[pin];
        uint32_t low = ioapic_get(0x10 + 2 * pin), high = ioapic_get(0x11 + 2 * pin);

        must(!(low & (1u << 12 | 1u << 14)));
        if (!r->enabled)
            continue;
        must((r->addr & ~(uint64_t)0xfffff) == ARCH_LAPIC_BASE &&
             (r->addr >> 12 & 0xff) == high >> 24);
        must(!(low & 1u << 16) && (r->data & 0xff) == (low & 0xff));
        must((r->data & 0xff) >= 16 || (r->data >> 8 & 7) == 4);
    }
}

static void check_clock(void)
{
    static const struct {
        uint8_t reg, max;
    } fields[] = {{0, 59}, {2, 59}, {4, 23}, {6, 7}, {7, 31}, {8, 12}, {9, 99}};
    struct hv_exit b = {.is_write = true, .addr = 0x70, .size = 1, .data = 0xb};

    bus_pio(&machine, &b);
    b = (struct hv_exit){.addr = 0x71, .size = 1};
    bus_pio(&machine, &b);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        struct hv_exit select = {.is_write = true, .addr = 0x70, .size = 1, .data = fields[i].reg};
        struct hv_exit value = {.addr = 0x71, .size = 1};

        bus_pio(&machine, &select);
        bus_pio(&machine, &value);
        uint64_t v = value.data;
        if (!(b.data & 4)) {
            must((v & 0xf) <= 9 && v >> 4 <= 9);
            v = (v >> 4) * 10 + (v & 0xf);
        }
        must(v <= fields[i].max);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t ports[] = {0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff,
                                     0x60,  0x61,  0x64,  0x70,  0x71,  0xcf8, 0xcfc, 0x80};
    struct input in = {data, size};

    open_machine();
    while (in.size > 0) {
        uint8_t op = (uint8_t)take(&in, 1);
        bool is_write = op & 0x80;

        switch (op & 7) {
        case 0:
        case 1:
        case 2: pio(&in, is_write, ports[op >> 3 & 15]); break;
        case 3: pio(&in, is_write, take(&in, 2)); break;
        case 4: ioapic_set(&in); break;
        case 5: mmio(&in, is_write, ARCH_IOAPIC_BASE + take(&in, 2) % 0x1010); break;
        case 6: {
            uint64_t slots = ARCH_MMIO_SLOTS * (uint64_t)ARCH_MMIO_SLOT_SIZE;
            mmio(&in, is_write, ARCH_MMIO_BASE + take(&in, 3) % (slots + 16));
            break;
        }
        default:
            if (op & 8)
                mmio(&in, is_write, take(&in, 8));
            else
                step_loop_run(host.loop);
            break;
        }
    }
    check_routes();
    check_clock();
    close_machine();
    return 0;
}
