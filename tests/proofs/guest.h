/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest: RAM of any size in two ranges, and a virtio device in any state that the
 * transport lets a driver reach (mmio_write.c proves that it is never left).
 *
 * RAM has no content. Each read of it yields any value, two reads of one place different ones, as
 * if another vCPU wrote in between; so nothing proven here rests on the guest standing still.
 * Include this before the source under proof: its memory accesses become the functions below.
 */
#ifndef PROOFS_GUEST_H
#define PROOFS_GUEST_H

#include "dev/dev.h"
#include "env.h"

static struct gmem ram;
static struct dev_host host;
static struct vdev_ops ops;
static struct vdev dev;

struct vdev nondet_vdev(void);

static bool in_ram(const void *p)
{
    return SAME_OBJECT(p, ram.host);
}

static uint16_t guest_load16(const uint16_t *p)
{
    CHECK(in_ram(p) && READABLE(p, sizeof(*p)) && OFFSET_OF(p) % sizeof(*p) == 0);
    return nondet_u16();
}

static void guest_store16(uint16_t *p, uint16_t v)
{
    CHECK(in_ram(p) && WRITABLE(p, sizeof(*p)) && OFFSET_OF(p) % sizeof(*p) == 0);
}

static void guest_copy(void *to, const void *from, size_t size)
{
    CHECK(READABLE(from, size) && WRITABLE(to, size));
    if (!in_ram(to))
        __CPROVER_havoc_slice(to, size);
}

#define __atomic_load_n(p, order)     guest_load16(p)
#define __atomic_store_n(p, v, order) guest_store16(p, v)
#ifndef CONTENT
#define memcpy(to, from, size) guest_copy(to, from, size)
#endif

/* The calls of a device into its machine. */
static void guest_log(void *ctx, int level, const char *fmt, ...)
{
    CHECK(fmt != NULL);
}

static void any_ram(void)
{
    ram.size = nondet_u64();
    ASSUME(ram.size > 0 && ram.size <= 16 * TIB);
    ram.host = malloc(ram.size);
    ASSUME(ram.host);
}

#ifdef RINGS_ONLY
static void check_span(uint64_t at, uint64_t len);
#endif

/* What gmem.c proves of the real one: len bytes of RAM, or nothing. Ranges start at whole pages. */
static void *guest_span(const struct gmem *m, gpa_t at, uint64_t len)
{
    uint64_t offset = nondet_u64();

    CHECK(m == &ram);
#ifdef RINGS_ONLY
    check_span(at.v, len);
#endif
    if (len == 0 || len > ram.size || nondet_bool())
        return NULL;
    ASSUME(offset <= ram.size - len && offset % 4096 == at.v % 4096 && at.v <= UINT64_MAX - len);
    return ram.host + offset;
}

#define gmem_span(m, at, len) guest_span(m, at, len)

/* One fixed layout is enough for any queue: the numbers that matter are free. */
static bool ops_valid(const struct vdev_ops *o)
{
    return o->n_queues <= VDEV_MAX_QUEUES && o->queue_size > 0 && o->queue_size <= VQ_MAX_SIZE &&
           (o->queue_size & (o->queue_size - 1)) == 0 && o->config_size <= VDEV_MAX_CONFIG;
}

/* What holds of a queue of a device between any two register accesses. */
static bool queue_valid(const struct vdev *d, unsigned i)
{
    const struct vq *q = &d->queues[i];

    if (q->dev != d || q->index != i || q->max_size != (i < ops.n_queues ? ops.queue_size : 0))
        return false;
    if (q->size > q->max_size || (q->size & (q->size - 1)) != 0)
        return false;
    return !q->ready || (q->size > 0 && q->desc % 16 == 0 && q->avail % 2 == 0 &&
                         q->used % 4 == 0 && q->avail <= UINT64_MAX - (6 + 2 * (uint64_t)q->size) &&
                         q->used <= UINT64_MAX - (6 + 8 * (uint64_t)q->size));
}

#define S_DRIVER_OK   4u
#define S_FEATURES_OK 8u
#define S_NEEDS_RESET 64u

static bool status_valid(const struct vdev *d)
{
    if (d->status & ~(uint32_t)(1 | 2 | S_DRIVER_OK | S_FEATURES_OK | S_NEEDS_RESET | 128))
        return false;
    if ((d->status & S_DRIVER_OK) && !(d->status & S_FEATURES_OK))
        return false;
    return !(d->status & S_FEATURES_OK) ||
           ((d->negotiated & VIRTIO_F_VERSION_1) && !(d->negotiated & ~d->features));
}

/* A device in any state; of its queues only the first n are looked at. */
static void any_device(unsigned n)
{
    any_ram();
    host = (struct dev_host){.mem = &ram, .log = guest_log};
    dev = nondet_vdev();
    dev.ops = &ops;
    dev.host = &host;
    ASSUME(dev.slot < ARCH_MMIO_SLOTS && ops_valid(&ops) && status_valid(&dev));
    for (unsigned i = 0; i < n; i++) {
        dev.queues[i].dev = &dev;
        ASSUME(queue_valid(&dev, i));
    }
}

#endif
