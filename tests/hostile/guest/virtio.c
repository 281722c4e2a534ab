/* SPDX-License-Identifier: Apache-2.0 */
/* See virtio.h. */
#include "virtio.h"

#include "attacks.h"
#include "vsock.h"

/*
 * A look at the device leaves the guest, which takes 5 us at the least: the deadline is a count of
 * looks, because no clock of the guest survives every attack.
 */
#define MAX_LOOKS 400000u

static struct ring rings[MMIO_SLOTS][3];

const struct place places[4] = {
    {SLOT_RNG, 0, 16, WRITE, "rng"},
    {SLOT_CONSOLE, 1, 64, 0, "console"},
    {SLOT_VSOCK, 1, 128, 0, "vsock"},
    {SLOT_ROOT, 0, 128, 0, "blk"},
};

uint64_t address_of(const volatile void *p)
{
    return (uint64_t)(uintptr_t)p;
}

/* ---- a device ---- */

uint32_t reg_read(unsigned slot, uint32_t reg)
{
    return read32(MMIO_BASE + slot * MMIO_SLOT + reg);
}

void reg_write(unsigned slot, uint32_t reg, uint32_t value)
{
    barrier();
    write32(MMIO_BASE + slot * MMIO_SLOT + reg, value);
}

void dev_reset(unsigned slot)
{
    reg_write(slot, REG_STATUS, 0);
}

uint64_t dev_features(unsigned slot)
{
    reg_write(slot, REG_DEVICE_FEATURES_SEL, 1);
    uint64_t high = reg_read(slot, REG_DEVICE_FEATURES);
    reg_write(slot, REG_DEVICE_FEATURES_SEL, 0);
    return high << 32 | reg_read(slot, REG_DEVICE_FEATURES);
}

void dev_accept(unsigned slot, uint64_t features)
{
    reg_write(slot, REG_DRIVER_FEATURES_SEL, 0);
    reg_write(slot, REG_DRIVER_FEATURES, (uint32_t)features);
    reg_write(slot, REG_DRIVER_FEATURES_SEL, 1);
    reg_write(slot, REG_DRIVER_FEATURES, (uint32_t)(features >> 32));
}

void dev_begin(unsigned slot, uint64_t wanted)
{
    dev_reset(slot);
    reg_write(slot, REG_STATUS, STATUS_ACKNOWLEDGE);
    reg_write(slot, REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    dev_accept(slot, dev_features(slot) & (wanted | F_VERSION_1));
    reg_write(slot, REG_STATUS, STATUS_SET_UP);
}

void dev_go(unsigned slot)
{
    reg_write(slot, REG_STATUS, STATUS_LIVE);
}

void queue_select(unsigned slot, unsigned index)
{
    reg_write(slot, REG_QUEUE_SEL, index);
}

void queue_address(unsigned slot, uint32_t reg, uint64_t address)
{
    reg_write(slot, reg, (uint32_t)address);
    reg_write(slot, reg + 4, (uint32_t)(address >> 32));
}

void queue_place(unsigned slot, unsigned index, unsigned size, uint64_t desc, uint64_t avail,
                 uint64_t used)
{
    queue_select(slot, index);
    reg_write(slot, REG_QUEUE_NUM, size);
    queue_address(slot, REG_QUEUE_DESC, desc);
    queue_address(slot, REG_QUEUE_DRIVER, avail);
    queue_address(slot, REG_QUEUE_DEVICE, used);
    reg_write(slot, REG_QUEUE_READY, 1);
}

void queue_init(struct queue *q, unsigned slot, unsigned index, unsigned size)
{
    struct ring *r = &rings[slot][index];

    *q = (struct queue){.slot = slot,
                        .index = index,
                        .size = size,
                        .desc = r->desc,
                        .avail = r->avail,
                        .used = r->used};
    q->avail[0] = q->avail[1] = q->avail[2 + size] = 0;
    q->used[0] = q->used[1] = q->used[2 + 4 * size] = 0;
    queue_place(slot, index, size, address_of(q->desc), address_of(q->avail), address_of(q->used));
}

void queue_alone(struct queue *q, unsigned slot, unsigned index, unsigned size, uint64_t wanted)
{
    dev_begin(slot, wanted);
    queue_init(q, slot, index, size);
    dev_go(slot);
}

/* ---- a queue ---- */

void desc_set(struct queue *q, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
              uint16_t next)
{
    q->desc[i].addr = addr;
    q->desc[i].len = len;
    q->desc[i].flags = flags;
    q->desc[i].next = next;
}

void queue_put(struct queue *q, uint16_t head)
{
    q->avail[2 + q->next % q->size] = head;
    barrier();
    q->avail[1] = ++q->next;
}

void queue_kick(const struct queue *q)
{
    reg_write(q->slot, REG_QUEUE_NOTIFY, q->index);
}

enum outcome queue_wait(struct queue *q)
{
    for (unsigned i = 0; i < MAX_LOOKS; i++) {
        uint32_t status = reg_read(q->slot, REG_STATUS);

        if (q->used[1] != q->seen) {
            q->seen++;
            return USED;
        }
        if (status & STATUS_NEEDS_RESET)
            return NEEDS_RESET;
    }
    return NOTHING;
}

enum outcome queue_try(struct queue *q, uint16_t head)
{
    queue_put(q, head);
    queue_kick(q);
    return queue_wait(q);
}

static uint32_t used_word(const struct queue *q, unsigned word)
{
    volatile uint16_t *e = q->used + 2 + 4 * ((uint16_t)(q->seen - 1) % q->size) + 2 * word;

    return e[0] | (uint32_t)e[1] << 16;
}

uint32_t queue_used_id(const struct queue *q)
{
    return used_word(q, 0);
}

uint32_t queue_used_len(const struct queue *q)
{
    return used_word(q, 1);
}

const char *outcome_name(enum outcome o)
{
    switch (o) {
    case NOTHING: return "no answer";
    case USED: return "answered";
    case NEEDS_RESET: return "needs reset";
    }
    return "?";
}

bool expect(enum outcome got, enum outcome wanted, const char *what)
{
    return check(got == wanted, "%s: %s", what, outcome_name(got));
}

/* ---- good drivers ---- */

uint64_t blk_capacity(void)
{
    return read32(MMIO_BASE + SLOT_ROOT * MMIO_SLOT + REG_CONFIG) |
           (uint64_t)read32(MMIO_BASE + SLOT_ROOT * MMIO_SLOT + REG_CONFIG + 4) << 32;
}

uint32_t root_word(uint64_t index)
{
    return (uint32_t)index * 2654435761u ^ 0x5bd1e995u;
}

struct blk_header {
    uint32_t type, reserved;
    uint64_t sector;
};

uint8_t blk_request(struct queue *q, uint32_t type, uint64_t sector, void *data, uint32_t size,
                    uint16_t data_flags)
{
    static struct blk_header header;
    static volatile uint8_t status;

    header = (struct blk_header){.type = type, .sector = sector};
    status = 0xff;
    desc_set(q, 0, address_of(&header), sizeof(header), NEXT, size ? 1 : 2);
    desc_set(q, 1, address_of(data), size, (uint16_t)(NEXT | data_flags), 2);
    desc_set(q, 2, address_of(&status), 1, WRITE, 0);
    return queue_try(q, 0) == USED ? status : 0xff;
}

bool good_root(void)
{
    enum { AT = 4 }; /* behind the superblock */
    static uint32_t data[8 * SECTOR / 4];
    struct queue q;
    bool good;

    queue_alone(&q, SLOT_ROOT, 0, 128, F_ALL);
    data[0] = data[1023] = 0;
    good = blk_request(&q, 0, AT, data, sizeof(data), WRITE) == 0;
    for (unsigned i = 0; i < ARRAY_LEN(data); i += 31)
        good = good && data[i] == root_word(AT * SECTOR / 4 + i);
    good = good && data[1023] == root_word(AT * SECTOR / 4 + 1023);
    return check(good, "blk works afterwards: eight sectors are right");
}

bool good_rng(void)
{
    static uint64_t data[8];
    struct queue q;

    memset(data, 0, sizeof(data));
    queue_alone(&q, SLOT_RNG, 0, 16, F_ALL);
    desc_set(&q, 0, address_of(data), sizeof(data), WRITE, 0);
    return check(queue_try(&q, 0) == USED && queue_used_len(&q) == sizeof(data) && data[0] &&
                     data[7] && data[0] != data[7],
                 "rng works afterwards: 64 random bytes");
}

bool good_console(void)
{
    static const char text[] = "hostile: note the console speaks\n";
    struct queue q;

    queue_alone(&q, SLOT_CONSOLE, 1, 64, F_ALL);
    desc_set(&q, 0, address_of(text), sizeof(text) - 1, 0, 0);
    return check(queue_try(&q, 0) == USED && queue_used_id(&q) == 0,
                 "console works afterwards: a line is taken");
}

/* ---- an interrupt, as a driver gets it ---- */

#define IRQ_VECTOR 0x51u

static void wait_interrupt(void *arg)
{
    struct queue *q = arg;

    queue_put(q, 0);
    queue_kick(q);
    /* The handler ends this function; a look leaves the guest and lets the interrupt in. */
    __asm__ volatile("sti");
    for (unsigned i = 0; i < MAX_LOOKS; i++)
        (void)reg_read(q->slot, REG_MAGIC);
    __asm__ volatile("cli");
}

static void ioapic_write(uint32_t index, uint32_t value)
{
    write32(IOAPIC_BASE, index);
    write32(IOAPIC_BASE + 0x10, value);
}

bool good_interrupt(void)
{
    static uint64_t data[8];
    struct queue q;

    write32(LAPIC_BASE + 0x80, 0); /* no priority is too low */
    write32(LAPIC_BASE + 0xf0, 0x1ff);
    ioapic_write(0x10 + 2 * (1 + SLOT_RNG) + 1, 0);
    ioapic_write(0x10 + 2 * (1 + SLOT_RNG), IRQ_VECTOR);
    queue_alone(&q, SLOT_RNG, 0, 16, 0);
    desc_set(&q, 0, address_of(data), sizeof(data), WRITE, 0);
    int ended = guarded(wait_interrupt, &q);
    write32(LAPIC_BASE + 0xb0, 0);
    ioapic_write(0x10 + 2 * (1 + SLOT_RNG), 1u << 16);
    return check(ended == (int)IRQ_VECTOR + 1 && queue_wait(&q) == USED,
                 "interrupts work afterwards");
}

void attack_none(void)
{
    good_interrupt();
}

_Noreturn void finish(void)
{
    if (any_failed())
        reset_machine();
    good_root();
    good_rng();
    good_console();
    good_hello();
    if (any_failed())
        reset_machine();
    at_point("ready");
    halt_for_ever();
}
