/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entropy device (VIRTIO 1.2, 5.4). A guest may ask without end, so a request gets at most
 * MAX_BYTES and a turn of the loop serves at most one queue full of requests.
 */
#include "base/alloc.h"
#include "dev/dev.h"

#define MAX_BYTES (64u * 1024)

struct rng {
    struct vdev base;
    struct vq_chain chain;
};

/* Bytes written into the chain; fewer than it holds is allowed (5.4.6.1). */
static uint32_t fill(const struct vq_chain *chain)
{
    const struct vq_seg *seg = chain->seg + chain->n_read;
    uint32_t done = 0;

    for (unsigned i = 0; i < chain->n_write && done < MAX_BYTES; i++) {
        uint32_t n = seg[i].size < MAX_BYTES - done ? seg[i].size : MAX_BYTES - done;
        struct lum_error err;

        if (plat_random(seg[i].data, n, &err) < 0)
            break;
        done += n;
    }
    return done;
}

static void rng_kicked(struct vdev *dev, struct vq *q)
{
    struct rng *r = container_of(dev, struct rng, base);
    unsigned n = 0;

    while (n < q->size && vq_pop(q, &r->chain) == 1) {
        if (r->chain.n_write == 0) {
            vdev_needs_reset(dev, "request without room for an answer");
            return;
        }
        vq_push(q, &r->chain, fill(&r->chain));
        n++;
    }
    vq_notify(q);
    if (n == q->size)
        vdev_kick_again(q);
}

static void rng_reset(struct vdev *dev)
{
    (void)dev; /* requests are answered at once: nothing is ever in flight */
}

static void rng_free(struct vdev *dev)
{
    vdev_detach(dev);
    free(container_of(dev, struct rng, base));
}

static const struct vdev_ops rng_ops = {
    .name = "rng",
    .virtio_id = 4,
    .n_queues = 1,
    .queue_size = 16,
    .kicked = rng_kicked,
    .reset = rng_reset,
    .free = rng_free,
};

int vdev_rng_create(const struct dev_host *host, uint32_t slot, struct vdev **ret_dev,
                    struct lum_error *err)
{
    struct rng *r = lum_calloc(1, sizeof(*r));

    if (!r)
        return lum_fail(err, LUM_ENOMEM, "virtio rng: out of memory");
    vdev_init(&r->base, &rng_ops, host, slot);
    *ret_dev = &r->base;
    return 0;
}
