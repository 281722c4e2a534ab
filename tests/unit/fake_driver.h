/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's side of a virtio device, for tests: a machine of some RAM and a recording hypervisor,
 * and a driver that works the mmio registers and the rings as VIRTIO 1.2 tells a driver to - or as
 * a test tells it not to. A failure to set the stage ends the program.
 */
#ifndef LUM_TESTS_FAKE_DRIVER_H
#define LUM_TESTS_FAKE_DRIVER_H

#include "dev/dev.h"

#define FAKE_RAM_SIZE  (8 * MIB)
#define FAKE_MAX_BELLS 32u

struct fake_route {
    bool enabled;
    uint64_t addr;
    uint32_t data;
    unsigned calls;
};

struct fake_vm {
    struct hv_vm base;
    bool has_doorbells;
    _Atomic unsigned pulses[HV_MAX_LINES];
    struct fake_route routes[HV_MAX_LINES];
    struct {
        uint64_t gpa;
        uint32_t value;
        plat_fd event;
    } bells[FAKE_MAX_BELLS];
    unsigned n_bells;
};

struct fake_host {
    struct fake_vm vm;
    struct gmem mem;
    struct plat_loop *loop;
    struct plat_thread *thread; /* runs the loop, when there is one */
    plat_fd bell, passed;       /* of the barrier, with a thread */
    struct plat_watch *bell_watch;
    bool rung; /* once: the next batch is the one */
    struct dev_host host;
    uint8_t console[4096]; /* the last bytes that fit; under the loop's lock */
    size_t console_size;
    unsigned n_logs;
    char last_log[256];
};

void fake_host_init(struct fake_host *h, bool doorbells, bool run_loop);
void fake_host_done(struct fake_host *h); /* after the devices */

struct fake_queue {
    uint16_t size, avail_idx, last_used, n_free, first_free;
    uint64_t desc, avail, used;
    uint16_t chain_length[VQ_MAX_SIZE]; /* by head */
    uint16_t next_free[VQ_MAX_SIZE];
};

struct fake_driver {
    struct fake_host *h;
    struct vdev *dev;
    uint64_t features; /* to accept, if offered */
    uint64_t heap;     /* next free guest address */
    struct fake_queue queues[VDEV_MAX_QUEUES];
};

struct fake_buf {
    uint64_t addr;
    uint32_t size;
    bool write;
};

/* Takes over the device (attached already); nothing is written yet. */
void fake_driver_init(struct fake_driver *d, struct fake_host *h, struct vdev *dev);
uint32_t fake_read(struct fake_driver *d, uint64_t reg);
void fake_write(struct fake_driver *d, uint64_t reg, uint32_t value);
void *fake_ram(struct fake_host *h, uint64_t addr, uint64_t size);
uint64_t fake_alloc(struct fake_driver *d, uint64_t size); /* 4096-aligned guest memory, zeroed */

/* The steps of 3.1.1, one by one and all together. True when the device agreed. */
bool fake_negotiate(struct fake_driver *d);
void fake_queue_setup(struct fake_driver *d, unsigned queue, uint16_t size);
bool fake_start(struct fake_driver *d);

/* Makes a chain available and returns its head; does not notify. */
uint16_t fake_add(struct fake_driver *d, unsigned queue, const struct fake_buf *bufs, unsigned n);
uint16_t fake_add_indirect(struct fake_driver *d, unsigned queue, const struct fake_buf *bufs,
                           unsigned n);
/* Raw access to one descriptor, and making any head available. */
void fake_desc(struct fake_driver *d, uint64_t table, uint16_t i, uint64_t addr, uint32_t len,
               uint16_t flags, uint16_t next);
void fake_avail(struct fake_driver *d, unsigned queue, uint16_t head);

void fake_kick(struct fake_driver *d, unsigned queue); /* by doorbell where there is one */
/* The next used entry; wait gives it five seconds. */
bool fake_used(struct fake_driver *d, unsigned queue, uint32_t *ret_head, uint32_t *ret_len);
bool fake_wait_used(struct fake_driver *d, unsigned queue, uint32_t *ret_head, uint32_t *ret_len);
unsigned fake_pulses(struct fake_driver *d);

/* Waits up to five seconds until check(ctx), called with the loop's lock held, is true. */
bool fake_wait(struct fake_host *h, bool (*check)(void *ctx), void *ctx);

#endif
