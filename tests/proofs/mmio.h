/* SPDX-License-Identifier: Apache-2.0 */
/* The transport under proof, with a device behind it that does what devices may do. */
#ifndef PROOFS_MMIO_H
#define PROOFS_MMIO_H

#include "guest.h"

#include "dev/mmio.c"

static unsigned n_kicked, n_activated, n_reset, n_config_written;

static void any_kicked(struct vdev *d, struct vq *q)
{
    CHECK(vdev_live(d) && q->ready && q->index < ops.n_queues && q == &d->queues[q->index]);
    n_kicked++;
    q->next_avail = nondet_u16();
    q->next_used = nondet_u16();
    if (nondet_bool())
        vdev_needs_reset(d, "any");
}

static void any_activate(struct vdev *d)
{
    CHECK(vdev_live(d));
    n_activated++;
    if (nondet_bool())
        vdev_needs_reset(d, "any");
}

static void any_reset(struct vdev *d)
{
    CHECK(d->status == 0);
    n_reset++;
}

static void any_config_write(struct vdev *d, uint32_t offset, uint32_t size)
{
    CHECK(size >= 1 && size <= ops.config_size && offset <= ops.config_size - size);
    n_config_written++;
}

static void any_mmio_device(void)
{
    ops = (struct vdev_ops){.name = "any",
                            .virtio_id = nondet_u16(),
                            .n_queues = nondet_u8(),
                            .queue_size = nondet_u16(),
                            .config_size = nondet_u8(),
                            .kicked = any_kicked,
                            .activate = nondet_bool() ? any_activate : NULL,
                            .reset = any_reset,
                            .config_write = nondet_bool() ? any_config_write : NULL};
    any_device(VDEV_MAX_QUEUES);
}

#endif
