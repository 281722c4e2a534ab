/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One register write to the transport, any one, in any state that keeps the rules: the rules still
 * hold after it, so by induction they hold for ever, and what is frozen has not moved. Also: a new
 * device keeps the rules.
 * Bounds: every offset, size and value; every state; up to 3 queues, up to 16 bytes of config
 * Scale: src/dev/dev.h VDEV_MAX_QUEUES 3u
 * Scale: src/dev/dev.h VDEV_MAX_CONFIG 16u
 * Flags: --unwind 17 --unsigned-overflow-check
 * Wraps: src/dev/mmio.c vdev_config_changed write_driver_features
 */
#include "mmio.h"

#define REG_LAST 0xffu

static bool queue_same(const struct vq *a, const struct vq *b)
{
    return a->ready == b->ready && a->size == b->size && a->max_size == b->max_size &&
           a->desc == b->desc && a->avail == b->avail && a->used == b->used;
}

static bool rules_kept(void)
{
    bool ok = status_valid(&dev) && dev.ops == &ops && dev.host == &host;

    for (unsigned i = 0; i < VDEV_MAX_QUEUES; i++)
        ok = ok && queue_valid(&dev, i);
    return ok;
}

static void check_frozen(const struct vdev *old, uint64_t offset, uint64_t value)
{
    unsigned i = nondet_u8();

    CHECK(!(old->status & ~dev.status));
    CHECK(n_reset == 0);
    CHECK(IMPLIES(old->status & S_FEATURES_OK, dev.negotiated == old->negotiated));
    CHECK(dev.features == old->features && dev.slot == old->slot);
    CHECK(IMPLIES(dev.negotiated != old->negotiated, offset == REG_DRIVER_FEATURES));
    CHECK(n_activated == 0 || (!(old->status & S_DRIVER_OK) && offset == REG_STATUS));
    CHECK(IMPLIES((dev.status & ~old->status) & S_DRIVER_OK,
                  offset == REG_STATUS &&
                      n_activated == (ops.activate && !(old->status & S_NEEDS_RESET))));
    ASSUME(i < VDEV_MAX_QUEUES);
    const struct vq *was = &old->queues[i], *is = &dev.queues[i];
    CHECK(IMPLIES(old->status & S_DRIVER_OK, queue_same(was, is)));
    CHECK(IMPLIES(was->ready, queue_same(was, is) ||
                                  (!is->ready && offset == REG_QUEUE_READY && !(value & 1))));
    CHECK(IMPLIES(!queue_same(was, is), i == old->queue_select));
    CHECK(IMPLIES(is->ready && !was->ready,
                  offset == REG_QUEUE_READY && !(old->status & S_DRIVER_OK)));
}

static void check_new(void)
{
    uint32_t slot = nondet_u32();

    any_ram();
    ASSUME(slot < ARCH_MMIO_SLOTS);
    vdev_init(&dev, &ops, &host, slot);
    for (unsigned i = 0; i < VDEV_MAX_QUEUES; i++)
        CHECK(dev.queues[i].doorbell == PLAT_FD_NONE);
}

int main(void)
{
    uint64_t offset = nondet_u64(), value = nondet_u64();
    uint8_t size = nondet_u8();
    unsigned i = nondet_u8();

    any_mmio_device();
    if (nondet_bool()) {
        check_new();
        CHECK(rules_kept());
        return 0;
    }
    struct vdev old = dev;
    ASSUME(offset < ARCH_MMIO_SLOT_SIZE && i < VDEV_MAX_CONFIG);

    vdev_mmio_write(&dev, offset, size, value);
    CHECK(rules_kept());
    if (offset == REG_STATUS && size == 4 && (uint32_t)value == 0) {
        CHECK(dev.status == 0 && dev.negotiated == 0 && dev.interrupt_status == 0 && n_reset == 1);
        WITNESS(old.status & S_NEEDS_RESET);
    } else {
        check_frozen(&old, offset, value);
        WITNESS(n_kicked && (dev.status & S_NEEDS_RESET));
        WITNESS(n_activated && !vdev_live(&dev));
        WITNESS(!old.queues[2].ready && dev.queues[2].ready);
    }
    CHECK(IMPLIES(size != 1 && size != 2 && size != 4 && size != 8,
                  dev.status == old.status && n_kicked + n_activated + n_config_written == 0));
    CHECK(IMPLIES(dev.config[i] != old.config[i], offset > REG_LAST && i >= offset - REG_CONFIG &&
                                                      i - (offset - REG_CONFIG) < size &&
                                                      i < ops.config_size &&
                                                      n_config_written == 1));
    return 0;
}
