/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers (VIRTIO 1.2, 4.2): every offset in every size, doorbells of queues that are not
 * there, features nobody offered, status bits in a wrong order, queues changed under a running
 * device (CVE-2026-5747), devices reset under their own requests (CVE-2026-45782).
 */
#include "attacks.h"
#include "virtio.h"

static uint8_t buffer[64 * 1024] __attribute__((aligned(4096)));
static struct ring second; /* where a hostile driver would like a running queue to be */

static uint64_t slot_address(unsigned slot)
{
    return MMIO_BASE + slot * MMIO_SLOT;
}

/* ---- every register ---- */

static void sweep_slot(unsigned slot)
{
    static const uint64_t values[] = {~0ull, 0x0102030405060708ull, 0};
    const uint64_t base = slot_address(slot);

    for (unsigned offset = 0; offset < 0x200; offset++)
        for (unsigned size = 1; size <= 8; size *= 2)
            for (unsigned v = 0; v < ARRAY_LEN(values); v++) {
                write_size(base + offset, size, values[v]);
                (void)read_size(base + offset, size);
            }
    for (unsigned offset = 0x200; offset < 0x1000; offset += 7)
        for (unsigned size = 1; size <= 8; size *= 2) {
            write_size(base + offset, size, ~0ull);
            (void)read_size(base + offset, size);
        }
}

static bool nothing_behind_config(unsigned slot)
{
    static const unsigned config_size[MMIO_SLOTS] = {0, 8, 0, 24};
    bool good = true;

    for (unsigned offset = config_size[slot]; offset < 0x200; offset++)
        good = good && read_size(slot_address(slot) + REG_CONFIG + offset, 1) == 0;
    for (unsigned size = 2; size <= 8; size *= 2)
        for (unsigned below = 1; below < size && below <= config_size[slot]; below++)
            good = good && read_size(slot_address(slot) + REG_CONFIG + config_size[slot] - below,
                                     size) == 0;
    return good;
}

void attack_registers(void)
{
    struct queue q;

    for (unsigned slot = 0; slot <= MMIO_SLOTS; slot++)
        sweep_slot(slot);
    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        queue_alone(&q, places[i].slot, places[i].index, places[i].size, F_ALL);
        sweep_slot(places[i].slot);
    }
    for (unsigned slot = 0; slot < MMIO_SLOTS; slot++) {
        const uint64_t base = slot_address(slot);

        dev_reset(slot);
        check(nothing_behind_config(slot), "slot %u: nothing behind the configuration", slot);
        check(read_size(base, 1) == 0 && read_size(base, 2) == 0 && read_size(base, 8) == 0 &&
                  read_size(base + 1, 4) == 0 && read_size(base, 4) == 0x74726976,
              "slot %u: registers answer to aligned accesses of four bytes only", slot);
        for (unsigned size = 1; size <= 8; size *= 2)
            if (size != 4)
                write_size(base + REG_STATUS, size, STATUS_ACKNOWLEDGE);
        write_size(base + REG_STATUS + 1, 4, STATUS_ACKNOWLEDGE);
        check(reg_read(slot, REG_STATUS) == 0, "slot %u: and take no others", slot);
    }
    check(read_size(slot_address(MMIO_SLOTS), 8) == ~0ull && read_size(MMIO_BASE - 4, 4) == ~0u,
          "where no slot is, all bits are ones");
}

void attack_config_writes(void)
{
    for (unsigned slot = 0; slot < MMIO_SLOTS; slot++) {
        const uint64_t config = slot_address(slot) + REG_CONFIG;
        uint8_t before[64], after[64];
        uint32_t generation = reg_read(slot, REG_CONFIG_GENERATION);

        for (unsigned live = 0; live < 2; live++) {
            struct queue q;

            if (live)
                queue_alone(&q, slot, 0, 16, F_ALL);
            for (unsigned i = 0; i < sizeof(before); i++)
                before[i] = (uint8_t)read_size(config + i, 1);
            for (unsigned i = 0; i < 0x100; i++)
                for (unsigned size = 1; size <= 8; size *= 2)
                    write_size(config + i, size, 0xa5a5a5a5a5a5a5a5ull);
            for (unsigned i = 0; i < sizeof(after); i++)
                after[i] = (uint8_t)read_size(config + i, 1);
            check(memcmp(before, after, sizeof(before)) == 0 &&
                      reg_read(slot, REG_CONFIG_GENERATION) == generation,
                  "slot %u: writes to its configuration change nothing", slot);
        }
    }
}

/* ---- a running device's queues ---- */

static void move_queue(const struct place *p)
{
    queue_select(p->slot, p->index);
    reg_write(p->slot, REG_QUEUE_READY, 0);
    reg_write(p->slot, REG_QUEUE_NUM, 8);
    queue_address(p->slot, REG_QUEUE_DESC, address_of(second.desc));
    queue_address(p->slot, REG_QUEUE_DRIVER, address_of(second.avail));
    queue_address(p->slot, REG_QUEUE_DEVICE, address_of(second.used));
    reg_write(p->slot, REG_QUEUE_READY, 1);
}

/* One request that the device answers whatever is in it. */
static bool still_served(struct queue *q, const struct place *p)
{
    static uint8_t status;

    memset(buffer, 0, 64);
    desc_set(q, 0, address_of(buffer), 64, (uint16_t)(p->write | NEXT), 1);
    desc_set(q, 1, address_of(&status), 1, WRITE, 0);
    return queue_try(q, 0) == USED;
}

void attack_queue_frozen(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        const struct place *p = &places[i];
        struct queue q;
        bool good = true;

        memset(&second, 0, sizeof(second));
        second.avail[1] = 1;
        queue_alone(&q, p->slot, p->index, p->size, F_ALL);
        check(still_served(&q, p), "%s: serves its queue", p->name);
        for (unsigned n = 0; n < 20; n++) {
            move_queue(p);
            good = good && still_served(&q, p);
        }
        check(good && second.used[1] == 0, "%s: serves it where it was, not where it is moved",
              p->name);
        check(reg_read(p->slot, REG_QUEUE_READY) == 1, "%s: the queue stays ready", p->name);

        static const uint8_t fewer[] = {1, 3, 7, 8, 11, 4, 14};
        for (unsigned n = 0; n < sizeof(fewer); n++) {
            reg_write(p->slot, REG_STATUS, fewer[n]);
            good = good && reg_read(p->slot, REG_STATUS) == STATUS_LIVE;
            move_queue(p);
            good = good && still_served(&q, p);
        }
        dev_accept(p->slot, 0);
        good = good && still_served(&q, p);
        check(good && second.used[1] == 0 && reg_read(p->slot, REG_STATUS) == STATUS_LIVE,
              "%s: status bits and features cannot be taken back", p->name);
        dev_reset(p->slot);
        check(reg_read(p->slot, REG_STATUS) == 0 && reg_read(p->slot, REG_QUEUE_READY) == 0,
              "%s: a reset takes all back", p->name);
    }
}

static bool queue_taken(const struct place *p)
{
    queue_place(p->slot, p->index, p->size, 0x20000, 0x22000, 0x24000);
    return reg_read(p->slot, REG_QUEUE_READY) != 0;
}

void attack_queue_early(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        const struct place *p = &places[i];
        struct queue q = {.slot = p->slot, .index = p->index};
        bool taken = false;

        dev_reset(p->slot);
        taken = queue_taken(p) || taken;
        reg_write(p->slot, REG_STATUS, STATUS_ACKNOWLEDGE);
        taken = queue_taken(p) || taken;
        reg_write(p->slot, REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
        taken = queue_taken(p) || taken;
        dev_accept(p->slot, F_VERSION_1);
        taken = queue_taken(p) || taken;
        check(!taken && reg_read(p->slot, REG_STATUS) == 3,
              "%s: no queue before the features are agreed on", p->name);
        reg_write(p->slot, REG_STATUS, STATUS_SET_UP);
        dev_go(p->slot);
        queue_kick(&q);
        check(!queue_taken(p) && reg_read(p->slot, REG_STATUS) == STATUS_LIVE,
              "%s: no queue once it runs", p->name);

        dev_begin(p->slot, F_ALL);
        taken = queue_taken(p);
        reg_write(p->slot, REG_QUEUE_READY, 0);
        check(taken && reg_read(p->slot, REG_QUEUE_READY) == 0,
              "%s: in between it can be set and taken back", p->name);
        for (unsigned n = 0; n < 200; n++)
            reg_write(p->slot, REG_QUEUE_READY, n & 1);
        queue_alone(&q, p->slot, p->index, p->size, F_ALL);
        check(still_served(&q, p), "%s: works after all that", p->name);
    }
}

/* ---- status and features ---- */

static uint32_t status_after(unsigned slot, uint64_t features, const uint8_t *writes)
{
    dev_reset(slot);
    dev_accept(slot, features);
    while (*writes)
        reg_write(slot, REG_STATUS, *writes++);
    return reg_read(slot, REG_STATUS);
}

void attack_status_order(void)
{
    for (unsigned slot = 0; slot < MMIO_SLOTS; slot++) {
        const uint64_t f = F_VERSION_1;

        check(status_after(slot, f, (const uint8_t[]){8, 0}) == 0 &&
                  status_after(slot, f, (const uint8_t[]){1, 9, 0}) == 1 &&
                  status_after(slot, f, (const uint8_t[]){2, 10, 0}) == 2,
              "slot %u: FEATURES_OK needs ACKNOWLEDGE and DRIVER", slot);
        check((status_after(slot, f, (const uint8_t[]){4, 0}) & 0x44) == STATUS_NEEDS_RESET &&
                  (status_after(slot, f, (const uint8_t[]){1, 3, 7, 0}) & 0x44) ==
                      STATUS_NEEDS_RESET,
              "slot %u: DRIVER_OK needs FEATURES_OK", slot);
        check(status_after(slot, 0, (const uint8_t[]){1, 3, 11, 0}) == 3,
              "slot %u: no FEATURES_OK without VERSION_1", slot);
        check(status_after(slot, f, (const uint8_t[]){1, 3, 11, 3, 1, 0}) == 11,
              "slot %u: bits are never taken back", slot);
        check(status_after(slot, f, (const uint8_t[]){1, 3, 11, 4, 7, 0}) == 11,
              "slot %u: a write that would take some adds no others", slot);
        check(status_after(slot, f, (const uint8_t[]){1, 3, 11, 15, 0x8f, 0xff, 0}) == 0x8f,
              "slot %u: FAILED can be added, unknown bits cannot", slot);
        dev_reset(slot);
        reg_write(slot, REG_STATUS, 0x100);
        reg_write(slot, REG_STATUS, 0xffffff00);
        check(reg_read(slot, REG_STATUS) == 0, "slot %u: bits beyond the byte are nothing", slot);
    }
}

void attack_features(void)
{
    for (unsigned slot = 0; slot < MMIO_SLOTS; slot++) {
        uint64_t offered = dev_features(slot);
        unsigned accepted = 0, live = 0;

        check((offered & F_VERSION_1) != 0, "slot %u: offers VERSION_1", slot);
        for (unsigned bit = 0; bit < 64; bit++) {
            if (offered & 1ull << bit)
                continue;
            dev_reset(slot);
            reg_write(slot, REG_STATUS, 3);
            dev_accept(slot, offered | 1ull << bit);
            reg_write(slot, REG_STATUS, STATUS_SET_UP);
            accepted += (reg_read(slot, REG_STATUS) & STATUS_FEATURES_OK) != 0;
            dev_go(slot);
            live += (reg_read(slot, REG_STATUS) & STATUS_DRIVER_OK) != 0;
        }
        check(accepted == 0 && live == 0, "slot %u: no feature that was not offered", slot);

        dev_reset(slot);
        reg_write(slot, REG_STATUS, 3);
        dev_accept(slot, F_VERSION_1);
        for (uint32_t select = 2; select; select <<= 1) {
            reg_write(slot, REG_DRIVER_FEATURES_SEL, select);
            reg_write(slot, REG_DRIVER_FEATURES, 0xffffffff);
            reg_write(slot, REG_DEVICE_FEATURES_SEL, select);
            if (reg_read(slot, REG_DEVICE_FEATURES) != 0)
                check(false, "slot %u: offers features of word 0x%x", slot, select);
        }
        reg_write(slot, REG_STATUS, STATUS_SET_UP);
        dev_accept(slot, ~0ull);
        dev_go(slot);
        check(reg_read(slot, REG_STATUS) == STATUS_LIVE,
              "slot %u: what comes too late or from beyond is nothing", slot);
    }
}

/* ---- doorbells ---- */

static void ring_wrongly(unsigned slot)
{
    const uint64_t bell = slot_address(slot) + REG_QUEUE_NOTIFY;

    for (uint32_t n = 0; n < 16; n++)
        reg_write(slot, REG_QUEUE_NOTIFY, n);
    for (uint32_t n = 8; n; n <<= 1) {
        reg_write(slot, REG_QUEUE_NOTIFY, n);
        reg_write(slot, REG_QUEUE_NOTIFY, n - 1);
        reg_write(slot, REG_QUEUE_NOTIFY, ~n);
    }
    for (unsigned offset = 0; offset < 4; offset++)
        for (unsigned size = 1; size <= 8; size *= 2)
            write_size(bell + offset, size, 1);
}

void attack_doorbells(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        const struct place *p = &places[i];
        struct queue q;

        dev_reset(p->slot);
        ring_wrongly(p->slot);
        dev_begin(p->slot, F_ALL);
        ring_wrongly(p->slot);
        dev_go(p->slot);
        ring_wrongly(p->slot);
        check(reg_read(p->slot, REG_STATUS) == STATUS_LIVE,
              "%s: doorbells of queues that are not there are nothing", p->name);

        queue_alone(&q, p->slot, p->index, p->size, F_ALL);
        for (unsigned n = 0; n < 20000; n++)
            write32(slot_address(p->slot) + REG_QUEUE_NOTIFY, p->index);
        check(still_served(&q, p), "%s: works after 20000 doorbells", p->name);
    }
}

/* ---- reset while requests are under way ---- */

static void fill_requests(struct queue *q)
{
    static struct {
        uint32_t type, reserved;
        uint64_t sector;
    } header;
    static uint8_t status[64];

    header.sector = 8;
    for (unsigned i = 0; i + 3 <= q->size; i += 3) {
        desc_set(q, i, address_of(&header), 16, NEXT, (uint16_t)(i + 1));
        desc_set(q, i + 1, address_of(buffer), sizeof(buffer), NEXT | WRITE, (uint16_t)(i + 2));
        desc_set(q, i + 2, address_of(&status[i / 3]), 1, WRITE, 0);
        queue_put(q, (uint16_t)i);
    }
}

void attack_reset_in_flight(void)
{
    volatile uint64_t *marks = (volatile uint64_t *)(void *)buffer;
    unsigned touched = 0, finished = 0;
    struct queue q;

    for (unsigned n = 0; n < 150; n++) {
        queue_alone(&q, SLOT_ROOT, 0, 128, F_ALL);
        fill_requests(&q);
        queue_kick(&q);
        for (unsigned i = 0; i < n % 5; i++)
            (void)reg_read(SLOT_CONSOLE, REG_MAGIC);
        dev_reset(SLOT_ROOT);
        /* From here on the memory is the driver's again. */
        finished += q.used[1] != 0;
        q.used[1] = 0x7777;
        for (unsigned i = 0; i < sizeof(buffer) / 8; i += 512)
            marks[i] = 0x1122334455667788ull;
        for (unsigned i = 0; i < 20; i++)
            (void)reg_read(SLOT_CONSOLE, REG_MAGIC);
        queue_kick(&q);
        for (unsigned i = 0; i < sizeof(buffer) / 8; i += 512)
            touched += marks[i] != 0x1122334455667788ull;
        touched += q.used[1] != 0x7777;
    }
    check(touched == 0, "blk: nothing is written after a reset (%u of 150 had begun)", finished);

    /* The same with the reset of one queue, which a running device does not have. */
    queue_alone(&q, SLOT_ROOT, 0, 128, F_ALL);
    fill_requests(&q);
    queue_kick(&q);
    reg_write(SLOT_ROOT, REG_QUEUE_READY, 0);
    bool good = true;
    for (unsigned i = 0; i + 3 <= q.size; i += 3)
        good = good && queue_wait(&q) == USED;
    check(good, "blk: all requests are answered although their queue was taken back");
}

static volatile bool stop, stopped;

static void reset_all(void *arg)
{
    (void)arg;
    for (unsigned n = 0; !stop; n++)
        dev_reset(n % MMIO_SLOTS);
    stopped = true;
}

void attack_reset_race(void)
{
    struct queue q;

    if (!check(start_cpu(1, reset_all, NULL), "the second vCPU starts"))
        return;
    for (unsigned n = 0; n < 400; n++) {
        const struct place *p = &places[n % ARRAY_LEN(places)];

        queue_alone(&q, p->slot, p->index, p->size, F_ALL);
        if (p->slot == SLOT_ROOT) {
            fill_requests(&q);
        } else {
            desc_set(&q, 0, address_of(buffer), sizeof(buffer), p->write, 0);
            queue_put(&q, 0);
        }
        queue_kick(&q);
    }
    stop = true;
    for (unsigned i = 0; i < 100000 && !stopped; i++)
        (void)read32(MMIO_BASE);
    check(stopped, "devices reset by one vCPU while another uses them");
}

/* ---- writes that wait ---- */

static volatile unsigned n_done;

static void write_selectors(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;

    for (unsigned n = 0; n < 5000; n++) {
        unsigned slot = (seed + n) % MMIO_SLOTS;

        reg_write(slot, REG_QUEUE_SEL, n);
        reg_write(slot, REG_DRIVER_FEATURES, n);
        reg_write(slot, REG_QUEUE_DESC, n);
        write32(IOAPIC_BASE, n);
    }
    __atomic_add_fetch(&n_done, 1, __ATOMIC_SEQ_CST);
}

static void wait_done(const char *what)
{
    for (unsigned i = 0; i < 400000 && n_done < MAX_CPUS; i++)
        (void)read32(MMIO_BASE);
    check(n_done == MAX_CPUS, "%s", what);
}

void attack_posted_flood(void)
{
    bool good = true;

    for (unsigned n = 1; n < 400; n++) {
        for (unsigned i = 0; i < n; i++)
            reg_write(SLOT_VSOCK, REG_QUEUE_SEL, i);
        reg_write(SLOT_VSOCK, REG_QUEUE_SEL, n % 5);
        good = good && reg_read(SLOT_VSOCK, REG_QUEUE_NUM_MAX) == (n % 5 < 3 ? 128 : 0);
    }
    check(good, "of many writes the last one counts");
    for (unsigned cpu = 1; cpu < MAX_CPUS; cpu++)
        check(start_cpu(cpu, write_selectors, (void *)(uintptr_t)cpu), "vCPU %u starts", cpu);
    write_selectors(NULL);
    wait_done("four vCPUs fill the ring of waiting writes");
}

static void hammer(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;

    for (unsigned n = 0; n < 4000; n++) {
        unsigned slot = (seed + n) % MMIO_SLOTS;
        uint32_t reg = (n * 4 * seed) % 0x110;

        (void)reg_read(slot, reg);
        reg_write(slot, reg, n * seed);
        reg_write(slot, REG_QUEUE_NOTIFY, n % 4);
        out8(0x3f8 + 7, (uint8_t)n);
        (void)in8(0x71);
        write32(IOAPIC_BASE + 0x10, n);
    }
    __atomic_add_fetch(&n_done, 1, __ATOMIC_SEQ_CST);
}

void attack_hammer(void)
{
    for (unsigned cpu = 1; cpu < MAX_CPUS; cpu++)
        check(start_cpu(cpu, hammer, (void *)(uintptr_t)(cpu * 7)), "vCPU %u starts", cpu);
    hammer((void *)3);
    wait_done("four vCPUs at all registers at once");
}
