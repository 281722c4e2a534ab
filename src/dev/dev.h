/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices of the native machine. Every function here runs with the loop's lock held (plat.h), so
 * devices have no locks: the I/O thread owns them, a vCPU thread borrows them for one register
 * access.
 *
 * A virtio device is data plus a few functions: names, queue counts, sizes and features stand in
 * its table and the transport (mmio.c) and the queue walker (vq.c) check every guest access against
 * them. A guest that breaks the rules gets DEVICE_NEEDS_RESET (VIRTIO 1.2, 2.1.2), never an abort
 * and never a wait.
 */
#ifndef LUM_DEV_H
#define LUM_DEV_H

#include "hv/hv.h"
#include "mem/gmem.h"

/* What a device may use of its machine. */
struct dev_host {
    const struct gmem *mem;
    struct plat_loop *loop;
    struct hv_vm *vm; /* for interrupts and doorbells */
    void (*log)(void *ctx, int level, const char *fmt, ...)
        LUM_PRINTF(3, 4);                                         /* enum lum_log_level */
    void *ctx;                                                    /* of log and console */
    void (*console)(void *ctx, const uint8_t *data, size_t size); /* guest console output */
    /* Carries out the guest's writes that wait in the hypervisor; NULL: none ever waits. */
    void (*take_posted)(void *machine);
    void *machine;
};

/* ---- virtqueues (VIRTIO 1.2, 2.7; split, with indirect descriptors and event index) ---- */

#define VQ_MAX_SIZE 256u

/* Features of the transport and the queues (VIRTIO 1.2, 6), which every device offers. */
#define VIRTIO_F_INDIRECT_DESC ((uint64_t)1 << 28)
#define VIRTIO_F_EVENT_IDX     ((uint64_t)1 << 29)
#define VIRTIO_F_VERSION_1     ((uint64_t)1 << 32)

struct vq_seg {
    uint8_t *data;
    uint32_t size;
};

/* One chain taken from a queue: readable segments first, then writable ones, all inside RAM. */
struct vq_chain {
    uint16_t head;
    uint16_t n_read, n_write;
    struct vq_seg seg[VQ_MAX_SIZE]; /* read segments, then write segments */
    uint64_t read_size, write_size;
};

struct vdev;

struct vq {
    struct vdev *dev;
    uint16_t index, max_size;
    uint16_t size; /* as negotiated */
    bool ready;
    uint64_t desc, avail, used; /* guest-physical */
    uint16_t next_avail, next_used;
    uint16_t signalled_used; /* next_used at the last interrupt decision (event index) */
    bool signalled_valid;
    plat_fd doorbell;
    struct plat_watch *watch;
};

/* 1: chain filled; 0: nothing there (and the guest will notify); LUM_EGUEST: broken, the device now
 * needs a reset. */
int vq_pop(struct vq *q, struct vq_chain *ret_chain);
/* Hands a chain back with `written` bytes written into its writable segments. */
void vq_push(struct vq *q, const struct vq_chain *chain, uint32_t written);
/* Undoes the last vq_pop, when nothing has been pushed since: the chain comes again. */
void vq_unpop(struct vq *q);
/* Interrupts the driver if it wants it after the pushes since the last call. */
void vq_notify(struct vq *q);
/* Copy from the readable / to the writable segments at an offset; false when out of the chain's
 * bounds. */
bool vq_chain_read(const struct vq_chain *chain, uint64_t offset, void *buf, uint64_t size);
bool vq_chain_write(const struct vq_chain *chain, uint64_t offset, const void *buf, uint64_t size);

/* ---- virtio devices and their mmio transport (VIRTIO 1.2, 4.2) ---- */

#define VDEV_MAX_QUEUES 6u
#define VDEV_MAX_CONFIG 64u

struct vdev_ops {
    const char *name;
    uint16_t virtio_id;
    uint8_t n_queues;
    uint16_t queue_size; /* of each queue, a power of two, at most VQ_MAX_SIZE */
    uint8_t config_size; /* bytes of vdev.config that exist */
    uint64_t features;   /* beyond VERSION_1, INDIRECT_DESC and EVENT_IDX, which all have;
                            vdev.features may remove some */
    /*
     * Queues are only worked on by the I/O thread: kicked, when the driver has rung, or the device
     * itself (vdev_kick_again). The others run wherever the register was written, also on a vCPU
     * thread, whose few system calls (jail, role vcpu) allow no more than arithmetic and signalling
     * an event: no allocation, no closing, no socket.
     */
    void (*kicked)(struct vdev *dev, struct vq *q);
    void (*settle)(struct vdev *dev);   /* optional: on the I/O thread before kicked, also when not
                                           live: what reset had to leave */
    void (*activate)(struct vdev *dev); /* optional: DRIVER_OK was set */
    void (*reset)(struct vdev *dev);    /* forget everything in flight */
    void (*config_write)(
        struct vdev *dev, uint32_t offset,
        uint32_t size); /* optional: config already changed; without it writes are ignored */
    void (*free)(struct vdev *dev); /* half-made too */
};

struct vdev {
    const struct vdev_ops *ops;
    const struct dev_host *host;
    uint32_t slot;       /* mmio slot: address and interrupt line follow from it */
    uint64_t features;   /* offered */
    uint64_t negotiated; /* accepted by the driver */
    uint32_t status, interrupt_status, features_select, driver_features_select, queue_select,
        generation;
    bool write_ignored; /* a forbidden write was logged since the last reset */
    uint8_t config[VDEV_MAX_CONFIG];
    struct vq queues[VDEV_MAX_QUEUES];
};

/* First call of each device's constructor: fills the base, nothing can fail. */
void vdev_init(struct vdev *dev, const struct vdev_ops *ops, const struct dev_host *host,
               uint32_t slot);
/* Makes doorbells and watches; after hv memory is mapped. */
int vdev_attach(struct vdev *dev, struct lum_error *err);
void vdev_detach(struct vdev *dev);                       /* undoes it; last part of every free */
void vdev_free(struct vdev *dev);                         /* NULL is allowed */
bool vdev_live(const struct vdev *dev);                   /* DRIVER_OK and not needing reset */
void vdev_needs_reset(struct vdev *dev, const char *why); /* also logs, once per reset */
void vdev_config_changed(struct vdev *dev);               /* bumps the generation, interrupts */

/* Bits of InterruptStatus (4.2.2). */
enum { VDEV_INTERRUPT_QUEUE = 1, VDEV_INTERRUPT_CONFIG = 2 };
void vdev_interrupt(struct vdev *dev, uint32_t why);
/* Calls ops->kicked for q once more, later: for a device that has done its share of work for this
 * turn. Attached devices only. */
void vdev_kick_again(struct vq *q);

/* Register accesses at an offset inside the slot. */
uint64_t vdev_mmio_read(struct vdev *dev, uint64_t offset, uint8_t size);
void vdev_mmio_write(struct vdev *dev, uint64_t offset, uint8_t size, uint64_t data);

/* ---- the devices ---- */

/* Console (VIRTIO 1.2, 5.3): one port; output goes to host->console in bounded pieces. No input. */
int vdev_console_create(const struct dev_host *host, uint32_t slot, struct vdev **ret_dev,
                        struct lum_error *err);

/* Block device (5.2) over a file; the descriptor stays the caller's. Read-only is enforced here.
 * Flush is fdatasync. */
int vdev_blk_create(const struct dev_host *host, uint32_t slot, plat_fd file, uint64_t size,
                    bool read_only, struct vdev **ret_dev, struct lum_error *err);

/* Entropy (5.4) from the host's generator. */
int vdev_rng_create(const struct dev_host *host, uint32_t slot, struct vdev **ret_dev,
                    struct lum_error *err);

/*
 * vsock (5.10), host side as byte streams: each connection ends in a socketpair whose other end is
 * handed out. The host's context id is 2. No connection, half-open or not, costs more than
 * VSOCK_BUFFER bytes, and there are at most VSOCK_MAX_CONNECTIONS.
 */
#define VSOCK_GUEST_CID       3u
#define VSOCK_MAX_CONNECTIONS 256u
#define VSOCK_BUFFER          (256u * 1024)

struct vsock_callbacks {
    /* The guest connects to a host port: return 0 and a stream end (the device takes it) to accept,
     * or negative to refuse. */
    int (*accept)(void *ctx, uint32_t port, plat_fd *ret_stream);
    void *ctx;
};
int vdev_vsock_create(const struct dev_host *host, uint32_t slot,
                      const struct vsock_callbacks *callbacks, struct vdev **ret_dev,
                      struct lum_error *err);
/*
 * Connects a stream, which is taken, to a guest port. done is called once, with the loop's lock
 * held and perhaps before this returns: 0, or LUM_ENOENT (refused), LUM_ETIMEDOUT (2 s without an
 * answer), LUM_EGONE (device reset, or not running yet), LUM_EBUSY (too many connections),
 * LUM_ENOMEM, LUM_EOS. A guest that uses up its connections only hurts itself.
 */
void vdev_vsock_dial(struct vdev *dev, uint32_t port, plat_fd stream,
                     void (*done)(void *ctx, int rc), void *ctx);

/* ---- platform devices of x86 ---- */

/* 16550 at 0x3f8, output only, for earlyprintk; polled mode: no interrupts (16550 data sheet). */
struct serial {
    uint8_t ier, lcr, mcr, scratch, dll, dlm;
};
uint8_t serial_read(struct serial *s, uint16_t offset);
void serial_write(struct serial *s, const struct dev_host *host, uint16_t offset, uint8_t value);

/* MC146818 clock at 0x70/0x71: wall clock, never "update in progress"
 * for which old kernels poll it 40,000 times. */
struct rtc {
    uint8_t index;
    uint8_t ram[128];
};
uint8_t rtc_read(struct rtc *r);
void rtc_write(struct rtc *r, uint16_t offset, uint8_t value); /* offset 0: index, 1: data */

/* i8042 at 0x60/0x64: enough for the kernel's probe to end at once, and the reset line. */
struct i8042 {
    uint8_t command, control, output;
    bool has_output;
};
uint8_t i8042_read(struct i8042 *k, uint16_t offset); /* offset 0: data, 4: status */
bool i8042_write(struct i8042 *k, uint16_t offset,
                 uint8_t value); /* true: the guest asks for a reset */

/* 82093AA I/O APIC over hv_irq_route, for split interrupt controllers: edge lines, MSI out. */
struct ioapic {
    uint32_t select;
    uint64_t redirect[ARCH_IOAPIC_PINS];
    uint8_t id;
};
void ioapic_init(struct ioapic *io, uint8_t id);
uint32_t ioapic_read(const struct ioapic *io, uint64_t offset);
int ioapic_write(struct ioapic *io, struct hv_vm *vm, uint64_t offset, uint32_t value,
                 struct lum_error *err);

#endif
