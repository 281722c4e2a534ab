/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any sequence of register accesses, memory writes and notifications against each device. What was
 * frozen must stay so: that is checked after every step.
 */
#include <stdlib.h>
#include <string.h>

#include "fake_driver.h"
#include "step_loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM_SIZE  0x20000u
#define DISK_SIZE 65536u

static struct fake_host host;
static uint8_t *ram;
static plat_fd disk = PLAT_FD_NONE;

static int refuse(void *ctx, uint32_t port, plat_fd *ret_stream)
{
    (void)ctx;
    (void)port;
    (void)ret_stream;
    return LUM_ENOENT;
}

static void setup(void)
{
    static uint8_t content[DISK_SIZE];
    struct lum_error err;

    fake_host_init(&host, true, false);
    free(host.mem.host);
    ram = aligned_alloc(4096, RAM_SIZE);
    if (!ram || plat_memfile("disk", content, sizeof(content), &disk, &err) < 0)
        abort();
    /* With a hole, so that spans across it are tried too. */
    host.mem = (struct gmem){
        .range = {{.base = 0, .size = RAM_SIZE / 2, .host = ram},
                  {.base = ARCH_RAM_HIGH_BASE, .size = RAM_SIZE / 2, .host = ram + RAM_SIZE / 2}},
        .n_ranges = 2,
        .host = ram,
        .size = RAM_SIZE};
}

static struct vdev *make(uint8_t kind)
{
    static const struct vsock_callbacks callbacks = {.accept = refuse};
    struct vdev *dev = NULL;
    struct lum_error err;
    int rc;

    switch (kind % 5) {
    case 0: rc = vdev_console_create(&host.host, 0, &dev, &err); break;
    case 1: rc = vdev_rng_create(&host.host, 0, &dev, &err); break;
    case 2: rc = vdev_blk_create(&host.host, 0, disk, DISK_SIZE, false, &dev, &err); break;
    case 3: rc = vdev_blk_create(&host.host, 0, disk, DISK_SIZE, true, &dev, &err); break;
    default: rc = vdev_vsock_create(&host.host, 0, &callbacks, &dev, &err); break;
    }
    if (rc < 0 || vdev_attach(dev, &err) < 0)
        abort();
    return dev;
}

struct frozen {
    uint32_t status;
    uint64_t negotiated;
    struct {
        uint16_t size;
        bool ready;
        uint64_t desc, avail, used;
    } q[VDEV_MAX_QUEUES];
};

static struct frozen frozen_now(const struct vdev *dev)
{
    struct frozen f;

    memset(&f, 0, sizeof(f));
    f.status = dev->status;
    f.negotiated = dev->negotiated;
    for (unsigned i = 0; i < VDEV_MAX_QUEUES; i++) {
        f.q[i].size = dev->queues[i].size;
        f.q[i].ready = dev->queues[i].ready;
        f.q[i].desc = dev->queues[i].desc;
        f.q[i].avail = dev->queues[i].avail;
        f.q[i].used = dev->queues[i].used;
    }
    return f;
}

static void check(const struct vdev *dev, const struct frozen *before, bool was_reset)
{
    struct frozen now = frozen_now(dev);

    if (was_reset)
        return;
    if (before->status & ~now.status)
        abort(); /* a status bit was lost */
    if ((before->status & 8) && before->negotiated != now.negotiated)
        abort(); /* features changed after FEATURES_OK */
    if ((now.status & 8) && (now.negotiated & ~dev->features))
        abort(); /* agreed to what was not offered */
    if ((before->status & 4) && memcmp(before->q, now.q, sizeof(now.q)) != 0)
        abort(); /* a queue changed under a running device */
}

/* The input, taken apart; zeros when it has ended. */
static uint64_t take(const uint8_t **data, size_t *size, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i<bytes && * size> 0; i++) {
        v |= (uint64_t) * *data << (8 * i);
        (*data)++;
        (*size)--;
    }
    return v;
}

static void write_ram(const uint8_t **data, size_t *size)
{
    uint64_t at = take(data, size, 2) * 2;
    uint64_t n = take(data, size, 1);

    if (n > *size)
        n = *size;
    if (n > RAM_SIZE - at)
        n = RAM_SIZE - at;
    memcpy(ram + at, *data, n);
    *data += n;
    *size -= n;
}

/* A well-formed chain in a ring of the last proper start, with a start that may pass for a request.
 */
static void add_chain(struct fake_driver *d, const uint8_t **data, size_t *size)
{
    unsigned queue = (unsigned)take(data, size, 1) % VDEV_MAX_QUEUES;
    unsigned n_read = (unsigned)take(data, size, 1) % 4;
    struct fake_buf bufs[5];
    unsigned n = 0;

    for (; n < n_read; n++) {
        uint32_t v = (uint32_t)take(data, size, 1);
        v = v & 0x80 ? 16 * (v & 0x7f) + 16 : 4 * v + 1; /* whole headers and sectors too */
        bufs[n] = (struct fake_buf){0xc000 + 0x400 * n, v, false};
    }
    for (; n < n_read + 2; n++)
        bufs[n] =
            (struct fake_buf){0xe000 + 0x400 * n, 1 + (uint32_t)take(data, size, 2) % 2048, true};
    if (d->queues[queue].n_free < n)
        return;
    for (unsigned i = 0; i < 16; i++)
        ram[0xc000 + i] = (uint8_t)take(data, size, 1);
    fake_add(d, queue, bufs, n);
    fake_kick(d, queue);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t regs[] = {
        0x00, 0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x80,
        0x84, 0x90, 0x94, 0xa0, 0xa4, 0xac, 0xc0, 0x28, 0x3c, 0x40}; /* the last three: of the
                                                                        legacy layout */
    static const uint8_t sizes[] = {4, 4, 4, 1, 2, 8, 3, 0};

    if (!ram)
        setup();
    memset(ram, 0, RAM_SIZE);
    host.vm.n_bells = 0;
    host.console_size = 0;
    struct fake_driver d;
    struct vdev *dev = make((uint8_t)take(&data, &size, 1));
    fake_driver_init(&d, &host, dev);
    while (size > 0) {
        uint8_t op = (uint8_t)take(&data, &size, 1);
        struct frozen before = frozen_now(dev);
        bool was_reset = false;

        switch (op % 10) {
        case 0: (void)vdev_mmio_read(dev, take(&data, &size, 2) % 0x1000, sizes[op >> 5]); break;
        case 1: {
            uint64_t offset = take(&data, &size, 2) % 0x1000;
            uint64_t v = take(&data, &size, 4);
            was_reset = offset == 0x70 && (uint32_t)v == 0;
            vdev_mmio_write(dev, offset, sizes[op >> 5], v);
            break;
        }
        case 2:
        case 3: {
            uint64_t reg = regs[take(&data, &size, 1) % ARRAY_LEN(regs)];
            uint64_t v = take(&data, &size, op & 0x80 ? 4 : 2);
            was_reset = reg == 0x70 && v == 0;
            vdev_mmio_write(dev, reg, 4, v);
            break;
        }
        case 4: write_ram(&data, &size); break;
        case 5: fake_kick(&d, (unsigned)take(&data, &size, 1) % VDEV_MAX_QUEUES); break;
        case 6: step_loop_run(host.loop); break;
        case 7: add_chain(&d, &data, &size); break;
        case 8: { /* device configuration, and what lies just behind it */
            uint64_t offset = 0x100 + take(&data, &size, 1) % (VDEV_MAX_CONFIG + 8);
            if (op & 0x10)
                vdev_mmio_write(dev, offset, sizes[op >> 5], take(&data, &size, 8));
            else
                (void)vdev_mmio_read(dev, offset, sizes[op >> 5]);
            break;
        }
        default: /* a whole proper start, or the input would seldom get so far */
            was_reset = true;
            d.heap = 0x1000;
            memset(d.queues, 0, sizeof(d.queues));
            (void)fake_start(&d);
            break;
        }
        check(dev, &before, was_reset);
    }
    vdev_free(dev);
    step_loop_run(host.loop); /* frees what was let go */
    return 0;
}
