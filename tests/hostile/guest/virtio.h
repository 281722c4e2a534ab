/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio-mmio driver that can do everything wrong: rings and registers are the attack's to fill.
 * Functions named good_ do it right and check that the device does too.
 */
#ifndef LUM_HOSTILE_VIRTIO_H
#define LUM_HOSTILE_VIRTIO_H

#include "kit.h"

enum { SLOT_CONSOLE, SLOT_VSOCK, SLOT_RNG, SLOT_ROOT };

enum {
    REG_MAGIC = 0x000,
    REG_DEVICE_FEATURES = 0x010,
    REG_DEVICE_FEATURES_SEL = 0x014,
    REG_DRIVER_FEATURES = 0x020,
    REG_DRIVER_FEATURES_SEL = 0x024,
    REG_QUEUE_SEL = 0x030,
    REG_QUEUE_NUM_MAX = 0x034,
    REG_QUEUE_NUM = 0x038,
    REG_QUEUE_READY = 0x044,
    REG_QUEUE_NOTIFY = 0x050,
    REG_STATUS = 0x070,
    REG_QUEUE_DESC = 0x080,
    REG_QUEUE_DRIVER = 0x090,
    REG_QUEUE_DEVICE = 0x0a0,
    REG_CONFIG_GENERATION = 0x0fc,
    REG_CONFIG = 0x100,
};

enum {
    STATUS_ACKNOWLEDGE = 1,
    STATUS_DRIVER = 2,
    STATUS_DRIVER_OK = 4,
    STATUS_FEATURES_OK = 8,
    STATUS_NEEDS_RESET = 64,
    STATUS_SET_UP = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK,
    STATUS_LIVE = STATUS_SET_UP | STATUS_DRIVER_OK,
};

#define F_INDIRECT  (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_VERSION_1 (1ull << 32)
#define F_ALL       (~0ull)

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

#define MAX_QUEUE 256u

/* The memory of one queue, where an attack does not choose another place. */
struct ring {
    struct desc desc[MAX_QUEUE];
    uint16_t avail[MAX_QUEUE + 4];
    uint16_t used[4 * MAX_QUEUE + 4];
} __attribute__((aligned(4096)));

struct queue {
    unsigned slot, index, size;
    volatile struct desc *desc;
    volatile uint16_t *avail; /* flags, idx, entries, used_event */
    volatile uint16_t *used;  /* flags, idx, entries of four, avail_event */
    uint16_t next, seen;
};

enum outcome {
    NOTHING, /* neither of the two came */
    USED,
    NEEDS_RESET,
};

uint32_t reg_read(unsigned slot, uint32_t reg);
void reg_write(unsigned slot, uint32_t reg, uint32_t value);
uint64_t address_of(const volatile void *p);

/* ---- a device ---- */

void dev_reset(unsigned slot);
uint64_t dev_features(unsigned slot);
void dev_accept(unsigned slot, uint64_t features);
/* Reset, then up to FEATURES_OK with those of the wanted features that are offered. */
void dev_begin(unsigned slot, uint64_t wanted);
void dev_go(unsigned slot); /* DRIVER_OK */
void queue_select(unsigned slot, unsigned index);
void queue_address(unsigned slot, uint32_t reg, uint64_t address);
/* Tells the device of a queue at these places; nothing is checked. */
void queue_place(unsigned slot, unsigned index, unsigned size, uint64_t desc, uint64_t avail,
                 uint64_t used);
/* An empty queue in memory of its own, told to the device. */
void queue_init(struct queue *q, unsigned slot, unsigned index, unsigned size);
/* Begins the device with one queue and starts it. */
void queue_alone(struct queue *q, unsigned slot, unsigned index, unsigned size, uint64_t wanted);

/* ---- a queue ---- */

void desc_set(struct queue *q, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
              uint16_t next);
void queue_put(struct queue *q, uint16_t head); /* available, not told */
void queue_kick(const struct queue *q);
enum outcome queue_wait(struct queue *q);               /* one more used entry than were seen */
enum outcome queue_try(struct queue *q, uint16_t head); /* put, kick, wait */
/* The last entry seen. */
uint32_t queue_used_id(const struct queue *q);
uint32_t queue_used_len(const struct queue *q);
const char *outcome_name(enum outcome o);
/* One check: the outcome is as it should be. */
bool expect(enum outcome got, enum outcome wanted, const char *what);

/* Most attacks: head 0 of the queue, alone on its device, must end in this outcome. */
struct place {
    unsigned slot, index, size;
    uint16_t write; /* WRITE where the device writes, else 0 */
    const char *name;
};
extern const struct place places[4]; /* one queue of each device that takes buffers */

/* ---- good drivers ---- */

#define SECTOR 512u
uint64_t blk_capacity(void);        /* in sectors */
uint32_t root_word(uint64_t index); /* what the root file holds at this 32-bit word */
/* A request of up to three parts on a queue of the block device; yields the status byte or 0xff. */
uint8_t blk_request(struct queue *q, uint32_t type, uint64_t sector, void *data, uint32_t size,
                    uint16_t data_flags);
bool good_root(void);
bool good_rng(void);
bool good_console(void);
bool good_interrupt(void);

#endif
