/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-mmio transport, version 2 (VIRTIO 1.2, 4.2): registers, feature negotiation, the
 * device status machine, doorbells and the interrupt line. Queues are frozen once they are ready,
 * and everything is once DRIVER_OK is set: the only way back is a reset. That rule is what keeps
 * the queue walker's view of the rings true.
 *
 * The line is edge triggered: every notification is a pulse, so nothing is lost when the driver has
 * not acknowledged yet.
 */
#include <string.h>

#include "dev/dev.h"

enum reg {
    REG_MAGIC = 0x000,
    REG_VERSION = 0x004,
    REG_DEVICE_ID = 0x008,
    REG_VENDOR_ID = 0x00c,
    REG_DEVICE_FEATURES = 0x010,
    REG_DEVICE_FEATURES_SEL = 0x014,
    REG_DRIVER_FEATURES = 0x020,
    REG_DRIVER_FEATURES_SEL = 0x024,
    REG_QUEUE_SEL = 0x030,
    REG_QUEUE_NUM_MAX = 0x034,
    REG_QUEUE_NUM = 0x038,
    REG_QUEUE_READY = 0x044,
    REG_QUEUE_NOTIFY = 0x050,
    REG_INTERRUPT_STATUS = 0x060,
    REG_INTERRUPT_ACK = 0x064,
    REG_STATUS = 0x070,
    REG_QUEUE_DESC_LOW = 0x080,
    REG_QUEUE_DESC_HIGH = 0x084,
    REG_QUEUE_DRIVER_LOW = 0x090,
    REG_QUEUE_DRIVER_HIGH = 0x094,
    REG_QUEUE_DEVICE_LOW = 0x0a0,
    REG_QUEUE_DEVICE_HIGH = 0x0a4,
    REG_SHM_LEN_LOW = 0x0b0,
    REG_SHM_LEN_HIGH = 0x0b4,
    REG_SHM_BASE_LOW = 0x0b8,
    REG_SHM_BASE_HIGH = 0x0bc,
    REG_CONFIG_GENERATION = 0x0fc,
    REG_CONFIG = 0x100,
};

enum status {
    STATUS_ACKNOWLEDGE = 1,
    STATUS_DRIVER = 2,
    STATUS_DRIVER_OK = 4,
    STATUS_FEATURES_OK = 8,
    STATUS_NEEDS_RESET = 64,
    STATUS_FAILED = 128,
};

#define MAGIC     0x74726976u /* "virt" */
#define VENDOR_ID 0x414e4d4cu /* "LMNA" */

static uint64_t slot_address(const struct vdev *dev)
{
    return ARCH_MMIO_BASE + (uint64_t)dev->slot * ARCH_MMIO_SLOT_SIZE;
}

static void queue_clear(struct vq *q)
{
    q->ready = q->signalled_valid = false;
    q->size = 0;
    q->desc = q->avail = q->used = 0;
    q->next_avail = q->next_used = q->signalled_used = 0;
}

void vdev_init(struct vdev *dev, const struct vdev_ops *ops, const struct dev_host *host,
               uint32_t slot)
{
    *dev = (struct vdev){.ops = ops, .host = host, .slot = slot};
    dev->features =
        ops->features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
    for (unsigned i = 0; i < VDEV_MAX_QUEUES; i++) {
        struct vq *q = &dev->queues[i];

        q->dev = dev;
        q->index = (uint16_t)i;
        q->max_size = i < ops->n_queues ? ops->queue_size : 0;
        q->doorbell = PLAT_FD_NONE;
    }
}

/* ---- notifications to and from the driver ---- */

bool vdev_live(const struct vdev *dev)
{
    return (dev->status & STATUS_DRIVER_OK) && !(dev->status & STATUS_NEEDS_RESET);
}

void vdev_interrupt(struct vdev *dev, uint32_t why)
{
    /* An acknowledgement or a new route that was written before this moment counts before it. */
    if (dev->host->take_posted)
        dev->host->take_posted(dev->host->machine);
    dev->interrupt_status |= why;
    hv_irq_pulse(dev->host->vm, ARCH_IRQ_BASE + dev->slot);
}

void vdev_config_changed(struct vdev *dev)
{
    dev->generation++;
    if (dev->status & STATUS_DRIVER_OK)
        vdev_interrupt(dev, VDEV_INTERRUPT_CONFIG);
}

void vdev_needs_reset(struct vdev *dev, const char *why)
{
    if (dev->status & STATUS_NEEDS_RESET)
        return;
    dev->status |= STATUS_NEEDS_RESET;
    dev->host->log(dev->host->ctx, LUM_LOG_DEBUG, "virtio %s: needs reset: %s", dev->ops->name,
                   why);
    vdev_config_changed(dev);
}

static void kick(struct vdev *dev, struct vq *q)
{
    if (vdev_live(dev) && q->ready)
        dev->ops->kicked(dev, q);
}

static void doorbell_rang(void *ctx, int events)
{
    struct vq *q = ctx;

    (void)events;
    plat_event_clear(q->doorbell);
    if (q->dev->ops->settle)
        q->dev->ops->settle(q->dev);
    kick(q->dev, q);
}

void vdev_kick_again(struct vq *q)
{
    plat_event_signal(q->doorbell);
}

/* On a vCPU's thread: the I/O thread does the work. A device that is not attached has none. */
static void notify(struct vdev *dev, struct vq *q)
{
    if (q->doorbell >= 0)
        vdev_kick_again(q);
    else
        kick(dev, q);
}

static int attach_queue(struct vdev *dev, struct vq *q, struct lum_error *err)
{
    int rc = plat_event_create(&q->doorbell, err);

    if (rc == 0)
        rc = plat_watch_create(dev->host->loop, q->doorbell, PLAT_READ, doorbell_rang, q, &q->watch,
                               err);
    if (rc < 0)
        return rc;
    struct lum_error why;
    rc = hv_doorbell_add(dev->host->vm, slot_address(dev) + REG_QUEUE_NOTIFY, q->index, q->doorbell,
                         &why);
    /* Without doorbells the notify register is an ordinary exit, which rings the event itself. */
    if (rc == LUM_ENOTSUP)
        return 0;
    if (rc < 0)
        *err = why;
    return rc;
}

/*
 * Registers whose writes only matter to later accesses and interrupts, both of which take them
 * first: selectors, driver features, all about a queue that is not live before DRIVER_OK, and the
 * interrupt acknowledgement, which is half of what an interrupt costs. Not: notify and status.
 */
static int attach_posted(struct vdev *dev, struct lum_error *err)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {{REG_DEVICE_FEATURES_SEL, REG_QUEUE_READY},
                  {REG_INTERRUPT_ACK, REG_INTERRUPT_ACK},
                  {REG_QUEUE_DESC_LOW, REG_QUEUE_DEVICE_HIGH}};
    struct lum_error why;

    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        int rc = hv_posted_add(dev->host->vm, slot_address(dev) + ranges[i].first,
                               ranges[i].last + 4 - ranges[i].first, &why);
        if (rc == LUM_ENOTSUP)
            return 0; /* then they exit like all others */
        if (rc < 0) {
            *err = why;
            return lum_context(err, "virtio %s", dev->ops->name);
        }
    }
    return 0;
}

int vdev_attach(struct vdev *dev, struct lum_error *err)
{
    for (unsigned i = 0; i < dev->ops->n_queues; i++) {
        int rc = attach_queue(dev, &dev->queues[i], err);

        if (rc < 0) {
            vdev_detach(dev);
            return lum_context(err, "virtio %s: queue %u", dev->ops->name, i);
        }
    }
    int rc = attach_posted(dev, err);
    if (rc < 0)
        vdev_detach(dev);
    return rc;
}

void vdev_detach(struct vdev *dev)
{
    for (unsigned i = 0; i < VDEV_MAX_QUEUES; i++) {
        struct vq *q = &dev->queues[i];

        plat_watch_free(q->watch);
        q->watch = NULL;
        plat_close(&q->doorbell);
    }
}

void vdev_free(struct vdev *dev)
{
    if (dev)
        dev->ops->free(dev);
}

/* ---- writes ---- */

/* A write that the driver must not make now: no effect, and one line a reset. */
static void ignore_write(struct vdev *dev, uint64_t offset)
{
    if (dev->write_ignored)
        return;
    dev->write_ignored = true;
    dev->host->log(dev->host->ctx, LUM_LOG_DEBUG,
                   "virtio %s: write to register 0x%llx ignored: not allowed in this state",
                   dev->ops->name, (unsigned long long)offset);
}

static void reset(struct vdev *dev)
{
    /* First not live, so that the device's own reset cannot reach the rings any more. */
    dev->status = 0;
    dev->negotiated = 0;
    dev->interrupt_status = 0;
    dev->features_select = dev->driver_features_select = dev->queue_select = 0;
    dev->write_ignored = false;
    dev->ops->reset(dev);
    for (unsigned i = 0; i < VDEV_MAX_QUEUES; i++)
        queue_clear(&dev->queues[i]);
}

/* Whether the driver may say FEATURES_OK together with these bits. */
static bool features_ok(const struct vdev *dev, uint32_t status)
{
    const uint32_t before = STATUS_ACKNOWLEDGE | STATUS_DRIVER;

    return (status & before) == before && (dev->negotiated & VIRTIO_F_VERSION_1) &&
           (dev->negotiated & ~dev->features) == 0;
}

/* 3.1.1: bits are only ever added, by the driver in this order; 0 resets. */
static void write_status(struct vdev *dev, uint32_t value)
{
    uint32_t now = dev->status & ~(uint32_t)STATUS_NEEDS_RESET;

    if (value == 0) {
        reset(dev);
        return;
    }
    value &=
        STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK | STATUS_FEATURES_OK | STATUS_FAILED;
    if (now & ~value) {
        ignore_write(dev, REG_STATUS);
        return;
    }
    uint32_t added = value & ~now;
    if ((added & STATUS_FEATURES_OK) && !features_ok(dev, value))
        added &= ~(uint32_t)(STATUS_FEATURES_OK | STATUS_DRIVER_OK);
    if ((added & STATUS_DRIVER_OK) && !((now | added) & STATUS_FEATURES_OK)) {
        vdev_needs_reset(dev, "DRIVER_OK without FEATURES_OK");
        return;
    }
    dev->status |= added;
    if (!(added & STATUS_DRIVER_OK))
        return;
    if (dev->status & STATUS_NEEDS_RESET)
        vdev_config_changed(dev); /* what went wrong before could not be told yet */
    else if (dev->ops->activate)
        dev->ops->activate(dev);
}

static void write_driver_features(struct vdev *dev, uint32_t value)
{
    unsigned shift = dev->driver_features_select * 32;

    if (dev->status & STATUS_FEATURES_OK) {
        ignore_write(dev, REG_DRIVER_FEATURES);
        return;
    }
    if (dev->driver_features_select < 2)
        dev->negotiated = (dev->negotiated & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)value
                                                                                     << shift;
    else if (value != 0)
        ignore_write(dev, REG_DRIVER_FEATURES); /* bits from 64 on are never offered */
}

/* 2.7: alignment and layout of the three parts; both rings with their event field. */
static bool rings_in_ram(const struct vq *q)
{
    const struct gmem *mem = q->dev->host->mem;

    return q->desc % 16 == 0 && q->avail % 2 == 0 && q->used % 4 == 0 &&
           gmem_span(mem, gpa(q->desc), 16u * (uint64_t)q->size) &&
           gmem_span(mem, gpa(q->avail), 6u + 2u * (uint64_t)q->size) &&
           gmem_span(mem, gpa(q->used), 6u + 8u * (uint64_t)q->size);
}

static void write_queue_ready(struct vq *q, uint32_t value)
{
    if (!(value & 1)) {
        queue_clear(q);
        return;
    }
    if (q->ready)
        return;
    if (q->size == 0 || !rings_in_ram(q)) {
        vdev_needs_reset(q->dev, "queue without a size, or misplaced");
        return;
    }
    q->ready = true;
}

static void write_queue_num(struct vq *q, uint32_t value)
{
    if (value == 0 || value > q->max_size || (value & (value - 1)) != 0)
        vdev_needs_reset(q->dev, "queue size is not a power of two up to QueueNumMax");
    else
        q->size = (uint16_t)value;
}

static void set_low(uint64_t *address, uint32_t value)
{
    *address = (*address & ~(uint64_t)UINT32_MAX) | value;
}

static void set_high(uint64_t *address, uint32_t value)
{
    *address = (*address & UINT32_MAX) | (uint64_t)value << 32;
}

static void write_queue(struct vdev *dev, uint64_t offset, uint32_t value)
{
    if (dev->queue_select >= dev->ops->n_queues)
        return;
    struct vq *q = &dev->queues[dev->queue_select];
    /*
     * 3.1.1 and 4.2.2.2: queues are set up between FEATURES_OK and DRIVER_OK and at no other time,
     * and nothing of a ready one changes.
     */
    if (!(dev->status & STATUS_FEATURES_OK) || (dev->status & STATUS_DRIVER_OK) ||
        (q->ready && offset != REG_QUEUE_READY)) {
        ignore_write(dev, offset);
        return;
    }
    switch (offset) {
    case REG_QUEUE_NUM: write_queue_num(q, value); break;
    case REG_QUEUE_READY: write_queue_ready(q, value); break;
    case REG_QUEUE_DESC_LOW: set_low(&q->desc, value); break;
    case REG_QUEUE_DESC_HIGH: set_high(&q->desc, value); break;
    case REG_QUEUE_DRIVER_LOW: set_low(&q->avail, value); break;
    case REG_QUEUE_DRIVER_HIGH: set_high(&q->avail, value); break;
    case REG_QUEUE_DEVICE_LOW: set_low(&q->used, value); break;
    case REG_QUEUE_DEVICE_HIGH: set_high(&q->used, value); break;
    default: break;
    }
}

/* Does [offset, offset + size) lie in the device's configuration? */
static bool in_config(const struct vdev *dev, uint64_t offset, uint8_t size)
{
    return offset <= dev->ops->config_size && size <= dev->ops->config_size - offset;
}

static void write_config(struct vdev *dev, uint64_t offset, uint8_t size, uint64_t data)
{
    if (!dev->ops->config_write || !in_config(dev, offset, size)) {
        ignore_write(dev, REG_CONFIG + offset);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        dev->config[offset + i] = (uint8_t)(data >> (8 * i));
    dev->ops->config_write(dev, (uint32_t)offset, size);
}

static bool size_ok(uint8_t size)
{
    return size == 1 || size == 2 || size == 4 || size == 8;
}

void vdev_mmio_write(struct vdev *dev, uint64_t offset, uint8_t size, uint64_t data)
{
    if (!size_ok(size))
        return;
    if (offset >= REG_CONFIG) {
        write_config(dev, offset - REG_CONFIG, size, data);
        return;
    }
    if (size != 4) /* 4.2.2.2: the registers are 32 bits wide and accessed so */
        return;
    uint32_t value = (uint32_t)data;
    switch (offset) {
    case REG_DEVICE_FEATURES_SEL: dev->features_select = value; break;
    case REG_DRIVER_FEATURES: write_driver_features(dev, value); break;
    case REG_DRIVER_FEATURES_SEL: dev->driver_features_select = value; break;
    case REG_QUEUE_SEL: dev->queue_select = value; break;
    case REG_QUEUE_NOTIFY:
        if (value < dev->ops->n_queues)
            notify(dev, &dev->queues[value]);
        break;
    case REG_INTERRUPT_ACK: dev->interrupt_status &= ~value; break;
    case REG_STATUS: write_status(dev, value); break;
    default: write_queue(dev, offset, value); break;
    }
}

/* ---- reads ---- */

static uint32_t device_features(const struct vdev *dev)
{
    return dev->features_select < 2 ? (uint32_t)(dev->features >> (32 * dev->features_select)) : 0;
}

uint64_t vdev_mmio_read(struct vdev *dev, uint64_t offset, uint8_t size)
{
    if (!size_ok(size))
        return 0;
    if (offset >= REG_CONFIG) {
        uint64_t value = 0;

        if (in_config(dev, offset - REG_CONFIG, size))
            memcpy(&value, dev->config + (offset - REG_CONFIG), size);
        return value;
    }
    if (size != 4)
        return 0;
    const struct vq *q =
        dev->queue_select < dev->ops->n_queues ? &dev->queues[dev->queue_select] : NULL;
    switch (offset) {
    case REG_MAGIC: return MAGIC;
    case REG_VERSION: return 2;
    case REG_DEVICE_ID: return dev->ops->virtio_id;
    case REG_VENDOR_ID: return VENDOR_ID;
    case REG_DEVICE_FEATURES: return device_features(dev);
    case REG_QUEUE_NUM_MAX: return q ? q->max_size : 0;
    case REG_QUEUE_READY: return q && q->ready;
    case REG_INTERRUPT_STATUS: return dev->interrupt_status;
    case REG_STATUS: return dev->status;
    case REG_CONFIG_GENERATION: return dev->generation;
    /* 4.2.2.1: a shared memory region that does not exist has length and base -1. */
    case REG_SHM_LEN_LOW:
    case REG_SHM_LEN_HIGH:
    case REG_SHM_BASE_LOW:
    case REG_SHM_BASE_HIGH: return UINT32_MAX;
    default: return 0;
    }
}
