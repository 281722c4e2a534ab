/* SPDX-License-Identifier: Apache-2.0 */
/* What the queue code calls in the transport, by its contract (dev.h); mmio_*.c prove the real
 * ones. */
#ifndef PROOFS_DEVICES_H
#define PROOFS_DEVICES_H

bool vdev_live(const struct vdev *d)
{
    return (d->status & S_DRIVER_OK) && !(d->status & S_NEEDS_RESET);
}

void vdev_needs_reset(struct vdev *d, const char *why)
{
    CHECK(why != NULL);
    d->status |= S_NEEDS_RESET;
}

void vdev_interrupt(struct vdev *d, uint32_t why)
{
    CHECK(why == VDEV_INTERRUPT_QUEUE || why == VDEV_INTERRUPT_CONFIG);
    d->interrupt_status |= why;
}

#endif
