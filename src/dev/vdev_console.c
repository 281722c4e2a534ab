/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console (VIRTIO 1.2, 5.3): what the guest writes goes to the host's console callback. It has
 * no input, so buffers in the receive queue stay there.
 */
#include "base/alloc.h"
#include "dev/dev.h"

enum { QUEUE_RECEIVE, QUEUE_TRANSMIT, N_QUEUES };

#define PIECE    1024u         /* the callback never sees guest memory, only a copy of so much */
#define MAX_SIZE (256u * 1024) /* of one chain; no driver sends more, and the rest is dropped */

struct console {
    struct vdev base;
    struct vq_chain chain;
};

static void put_chain(const struct dev_host *host, const struct vq_chain *chain)
{
    uint64_t size = chain->read_size < MAX_SIZE ? chain->read_size : MAX_SIZE;
    uint8_t piece[PIECE];

    for (uint64_t done = 0; done < size;) {
        uint64_t left = size - done;
        size_t n = left < PIECE ? (size_t)left : PIECE;

        if (!vq_chain_read(chain, done, piece, n))
            return;
        host->console(host->ctx, piece, n);
        done += n;
    }
}

static void console_kicked(struct vdev *dev, struct vq *q)
{
    struct console *c = container_of(dev, struct console, base);

    if (q->index != QUEUE_TRANSMIT)
        return;
    unsigned n = 0;
    while (n < q->size && vq_pop(q, &c->chain) == 1) {
        put_chain(dev->host, &c->chain);
        vq_push(q, &c->chain, 0);
        n++;
    }
    vq_notify(q);
    if (n == q->size)
        vdev_kick_again(q);
}

static void console_reset(struct vdev *dev)
{
    (void)dev; /* output is passed on at once: nothing is ever in flight */
}

static void console_free(struct vdev *dev)
{
    vdev_detach(dev);
    free(container_of(dev, struct console, base));
}

static const struct vdev_ops console_ops = {
    .name = "console",
    .virtio_id = 3,
    .n_queues = N_QUEUES,
    .queue_size = 64,
    .kicked = console_kicked,
    .reset = console_reset,
    .free = console_free,
};

int vdev_console_create(const struct dev_host *host, uint32_t slot, struct vdev **ret_dev,
                        struct lum_error *err)
{
    struct console *c = lum_calloc(1, sizeof(*c));

    if (!c)
        return lum_fail(err, LUM_ENOMEM, "virtio console: out of memory");
    vdev_init(&c->base, &console_ops, host, slot);
    *ret_dev = &c->base;
    return 0;
}
