/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any memory as rings: the input is laid over descriptors, both rings and an indirect table, and
 * the queue is popped, read, written and pushed until it is empty or broken. RAM is small and an
 * allocation of its own, so that the address sanitizer sees the first byte beside it.
 */
#include <stdlib.h>
#include <string.h>

#include "fake_driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM_SIZE   0x8000u
#define DESC_AT    0x0000u
#define AVAIL_AT   0x1000u
#define USED_AT    0x1400u
#define TABLE_AT   0x2000u
#define MAX_POPS   300u
#define PEEK_BYTES 4096u

static void idle_kicked(struct vdev *dev, struct vq *q)
{
    (void)dev;
    (void)q;
}

static void idle_reset(struct vdev *dev)
{
    (void)dev;
}

static const struct vdev_ops idle_ops = {
    .name = "idle",
    .virtio_id = 42,
    .n_queues = 1,
    .queue_size = VQ_MAX_SIZE,
    .kicked = idle_kicked,
    .reset = idle_reset,
};

static struct fake_host host;
static uint8_t *ram;

static void setup(void)
{
    fake_host_init(&host, false, false);
    free(host.mem.host);
    ram = aligned_alloc(4096, RAM_SIZE);
    if (!ram)
        abort();
    host.mem = (struct gmem){.range = {{.base = 0, .size = RAM_SIZE, .host = ram}},
                             .n_ranges = 1,
                             .host = ram,
                             .size = RAM_SIZE};
}

/* A popped chain must be what vq.c promises, whatever the memory says. */
static void check(const struct vq_chain *c)
{
    static uint8_t buf[PEEK_BYTES];
    uint64_t total[2] = {0, 0};

    if (c->n_read + c->n_write == 0 || c->n_read + c->n_write > (int)VQ_MAX_SIZE)
        abort();
    for (unsigned i = 0; i < (unsigned)c->n_read + c->n_write; i++) {
        const struct vq_seg *s = &c->seg[i];
        size_t at = (size_t)(s->data - ram);

        if (s->data < ram || s->size == 0 || at > RAM_SIZE || s->size > RAM_SIZE - at)
            abort();
        total[i >= c->n_read] += s->size;
    }
    if (total[0] != c->read_size || total[1] != c->write_size)
        abort();
    uint64_t n = c->read_size < PEEK_BYTES ? c->read_size : PEEK_BYTES;
    if (!vq_chain_read(c, c->read_size - n, buf, n) || vq_chain_read(c, c->read_size, buf, 1))
        abort();
    n = c->write_size < PEEK_BYTES ? c->write_size : PEEK_BYTES;
    if (!vq_chain_write(c, c->write_size - n, buf, n) || vq_chain_write(c, c->write_size, buf, 1))
        abort();
}

static void lay(uint32_t at, uint32_t room, const uint8_t **data, size_t *size, size_t share)
{
    size_t n = *size < share ? *size : share;

    if (n > room)
        n = room;
    memcpy(ram + at, *data, n);
    *data += n;
    *size -= n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vq_chain chain;
    struct vdev dev;
    struct fake_driver d;

    if (!ram)
        setup();
    if (size < 4)
        return 0;
    memset(ram, 0, RAM_SIZE);
    uint16_t queue_size = (uint16_t)(1u << data[0] % 9);
    size_t share = 16u + data[2];
    unsigned unpops = data[3];
    vdev_init(&dev, &idle_ops, &host.host, 0);
    fake_driver_init(&d, &host, &dev);
    d.features = (uint64_t)data[1] << 28 | (uint64_t)1 << 32; /* indirect, event index or not */
    d.queues[0].desc = DESC_AT;
    d.queues[0].avail = AVAIL_AT;
    d.queues[0].used = USED_AT;
    data += 4;
    size -= 4;
    fake_negotiate(&d);
    /* By hand: fake_queue_setup's idea of the layout needs more RAM. */
    fake_write(&d, 0x38, queue_size);
    fake_write(&d, 0x90, AVAIL_AT);
    fake_write(&d, 0xa0, USED_AT);
    fake_write(&d, 0x44, 1);
    fake_write(&d, 0x70, 15);
    if (!vdev_live(&dev))
        abort();

    lay(AVAIL_AT, 0x400, &data, &size, 6 + 2 * (size_t)queue_size);
    lay(DESC_AT, AVAIL_AT - DESC_AT, &data, &size, share * 4);
    lay(TABLE_AT, RAM_SIZE - TABLE_AT, &data, &size, SIZE_MAX);
    struct vq *q = &dev.queues[0];
    for (unsigned i = 0; i < MAX_POPS && vq_pop(q, &chain) == 1; i++) {
        check(&chain);
        if (unpops > 0 && i % 3 == 1) {
            unpops--;
            vq_unpop(q);
            continue;
        }
        vq_push(q, &chain, (uint32_t)chain.write_size);
        if (i % 2)
            vq_notify(q);
    }
    vq_notify(q);
    return 0;
}
