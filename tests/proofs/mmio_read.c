/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One register read of the transport: it changes nothing, and no byte comes from outside the
 * device's configuration.
 * Bounds: every offset and size; every state; up to 3 queues, up to 16 bytes of config
 * Scale: src/dev/dev.h VDEV_MAX_QUEUES 3u
 * Scale: src/dev/dev.h VDEV_MAX_CONFIG 16u
 * Flags: --unwind 17 --unsigned-overflow-check
 */
#define CONTENT
#include "mmio.h"

int main(void)
{
    uint64_t offset = nondet_u64(), value;
    uint8_t size = nondet_u8();
    unsigned i = nondet_u8();

    any_mmio_device();
    struct vdev old = dev;
    value = vdev_mmio_read(&dev, offset, size);
    CHECK(IMPLIES(size != 1 && size != 2 && size != 4 && size != 8, value == 0));
    CHECK(IMPLIES(offset < REG_CONFIG && (size != 4 || offset % 4 != 0), value == 0));
    CHECK(IMPLIES(offset < REG_CONFIG, value <= UINT32_MAX));
    CHECK(IMPLIES(offset >= REG_CONFIG && offset - REG_CONFIG >= ops.config_size, value == 0));
    if (size == 1 && offset >= REG_CONFIG && offset - REG_CONFIG < ops.config_size)
        CHECK(value == old.config[offset - REG_CONFIG]);
    CHECK(IMPLIES(offset == REG_QUEUE_NUM_MAX, value <= VQ_MAX_SIZE));
    CHECK(dev.status == old.status && dev.interrupt_status == old.interrupt_status &&
          dev.negotiated == old.negotiated && dev.generation == old.generation);
    ASSUME(i < VDEV_MAX_QUEUES);
    CHECK(dev.queues[i].ready == old.queues[i].ready);
    WITNESS(offset == REG_CONFIG + 8 && size == 8 && value != 0);
    WITNESS(offset == REG_QUEUE_READY && value == 1);
    return 0;
}
