/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings and descriptors (VIRTIO 1.2, 2.7): chains that loop, tables at the edge of memory, lengths
 * and addresses that wrap, indices that jump, rings and buffers where none may be. Each must end in
 * DEVICE_NEEDS_RESET, or be served when it is right after all.
 */
#include "attacks.h"
#include "virtio.h"

static uint8_t buffer[4 * PAGE] __attribute__((aligned(4096)));
static struct desc table[MAX_QUEUE + 64] __attribute__((aligned(16)));

static void begin(struct queue *q, const struct place *p)
{
    queue_alone(q, p->slot, p->index, p->size, F_INDIRECT);
}

static void buffer_desc(struct queue *q, const struct place *p, unsigned i, uint16_t flags,
                        uint16_t next)
{
    desc_set(q, i, address_of(buffer), 64, (uint16_t)(p->write | flags), next);
}

static bool broken(struct queue *q, const struct place *p, uint16_t head, const char *what)
{
    enum outcome o = queue_try(q, head);

    /* A device that needs a reset touches nothing any more, however often it is told. */
    queue_kick(q);
    return check(o == NEEDS_RESET && q->used[1] == q->seen, "%s: %s: %s", p->name, what,
                 outcome_name(o));
}

/* ---- loops ---- */

static void loops_of(const struct place *p)
{
    struct queue q;

    begin(&q, p);
    buffer_desc(&q, p, 0, NEXT, 0);
    broken(&q, p, 0, "a descriptor that is its own next one");

    begin(&q, p);
    buffer_desc(&q, p, 0, NEXT, 1);
    buffer_desc(&q, p, 1, NEXT, 0);
    broken(&q, p, 0, "two that are each other's next one");

    begin(&q, p);
    for (unsigned i = 0; i < p->size; i++)
        buffer_desc(&q, p, i, NEXT, (uint16_t)((i + 1) % p->size));
    broken(&q, p, 3, "a loop through the whole table");

    begin(&q, p);
    for (unsigned i = 0; i < p->size; i++)
        buffer_desc(&q, p, i, NEXT, (uint16_t)(i + 1));
    broken(&q, p, 0, "a chain that leaves the table");

    begin(&q, p);
    buffer_desc(&q, p, 0, NEXT, 0xffff);
    broken(&q, p, 0, "a next one far outside");

    begin(&q, p);
    broken(&q, p, (uint16_t)p->size, "a head behind the table");
    begin(&q, p);
    broken(&q, p, 0xffff, "a head far outside");
}

void attack_chain_loops(void)
{
    struct queue q;

    for (unsigned i = 0; i < ARRAY_LEN(places); i++)
        loops_of(&places[i]);

    begin(&q, &places[0]);
    for (unsigned i = 0; i < q.size; i++)
        buffer_desc(&q, &places[0], i, i + 1 < q.size ? NEXT : 0, (uint16_t)(i + 1));
    expect(queue_try(&q, 0), USED, "rng: a chain of the whole table without a loop");
}

/* ---- indirect tables ---- */

static void table_entry(unsigned i, const struct place *p, uint16_t flags, uint16_t next)
{
    table[i] = (struct desc){
        .addr = address_of(buffer), .len = 64, .flags = (uint16_t)(p->write | flags), .next = next};
}

static void indirect(struct queue *q, const struct place *p, uint64_t at, uint32_t len,
                     const char *what)
{
    begin(q, p);
    desc_set(q, 0, at, len, INDIRECT, 0);
    broken(q, p, 0, what);
}

static void indirect_tables(const struct place *p)
{
    const uint64_t t = address_of(table);
    struct queue q;

    table_entry(0, p, 0, 0);
    indirect(&q, p, t, 0, "indirect table of no bytes");
    indirect(&q, p, t, 15, "indirect table of 15 bytes");
    indirect(&q, p, t, 17, "indirect table of 17 bytes");
    indirect(&q, p, t, 0xffffffff, "indirect table of 4 GiB less one");
    indirect(&q, p, t, 0xfffffff0, "indirect table of 4 GiB less 16");
    indirect(&q, p, t, 16 * (MAX_QUEUE + 1), "indirect table longer than any queue");
    indirect(&q, p, ram_end - 16, 32, "indirect table across the end of memory");
    indirect(&q, p, ram_end, 16, "indirect table behind the end of memory");
    indirect(&q, p, ~0ull - 15, 16, "indirect table at the last address");
    indirect(&q, p, ~0ull - 15, 32, "indirect table that wraps");
    indirect(&q, p, MMIO_BASE, 16, "indirect table in a device");
    indirect(&q, p, LAPIC_BASE, 16, "indirect table in the local APIC");

    table_entry(0, p, INDIRECT, 0);
    indirect(&q, p, t, 16, "indirect table in an indirect table");
    table_entry(0, p, NEXT, 0);
    indirect(&q, p, t, 16, "indirect table that loops");
    table_entry(0, p, NEXT, 1);
    table_entry(1, p, NEXT, 0);
    indirect(&q, p, t, 32, "indirect table that loops in two steps");
    indirect(&q, p, t, 16, "indirect table whose chain leaves it");

    table_entry(0, p, 0, 0);
    begin(&q, p);
    desc_set(&q, 0, t, 16, INDIRECT | NEXT, 1);
    buffer_desc(&q, p, 1, 0, 0);
    broken(&q, p, 0, "indirect table with a next descriptor");

    for (unsigned i = 0; i < MAX_QUEUE; i++)
        table_entry(i, p, i + 1 < MAX_QUEUE ? NEXT : 0, (uint16_t)(i + 1));
    begin(&q, p);
    buffer_desc(&q, p, 0, NEXT, 1);
    desc_set(&q, 1, t, 16 * MAX_QUEUE, INDIRECT, 0);
    broken(&q, p, 0, "a chain of one buffer more than a queue may have");

    table_entry(0, p, 0, 0);
    queue_alone(&q, p->slot, p->index, p->size, 0);
    desc_set(&q, 0, t, 16, INDIRECT, 0);
    broken(&q, p, 0, "indirect table that was not negotiated");
}

void attack_chain_indirect(void)
{
    const struct place *rng = &places[0];
    struct queue q;

    for (unsigned i = 0; i < ARRAY_LEN(places); i++)
        indirect_tables(&places[i]);

    table_entry(0, rng, 0, 0);
    memcpy((void *)(uintptr_t)(ram_end - 16), &table[0], 16);
    begin(&q, rng);
    desc_set(&q, 0, ram_end - 16, 16, INDIRECT | WRITE, 0);
    expect(queue_try(&q, 0), USED, "rng: an indirect table in the last bytes of memory");
    for (unsigned i = 0; i < MAX_QUEUE; i++)
        table_entry(i, rng, i + 1 < MAX_QUEUE ? NEXT : 0, (uint16_t)(i + 1));
    begin(&q, rng);
    desc_set(&q, 0, address_of(table), 16 * MAX_QUEUE, INDIRECT, 0);
    expect(queue_try(&q, 0), USED, "rng: an indirect table of 256 buffers");
}

/* ---- addresses and lengths ---- */

void attack_chain_wrap(void)
{
    static const struct {
        uint64_t addr;
        uint32_t len;
    } fixed[] = {
        {~0ull, 1},
        {~0ull, 2},
        {~0ull - 7, 16},
        {0, 0xffffffff},
        {1ull << 63, 64},
        {(1ull << 63) - 1, 2},
        {1ull << 32, 64},
        {0xffffffff, 0xffffffff},
        {~0ull, 0xffffffff},
        {1, 0xffffffff},
        {(1ull << 52) + 4096, 64},
        {0x1000, 0},
    };
    struct queue q;

    for (unsigned n = 0; n < ARRAY_LEN(places); n++) {
        const struct place *p = &places[n];

        for (unsigned i = 0; i < ARRAY_LEN(fixed); i++) {
            begin(&q, p);
            desc_set(&q, 0, fixed[i].addr, fixed[i].len, p->write, 0);
            enum outcome o = queue_try(&q, 0);
            check(o == NEEDS_RESET, "%s: %x bytes at 0x%lx: %s", p->name, fixed[i].len,
                  fixed[i].addr, outcome_name(o));
        }
        for (unsigned len = 2; len <= 4096; len *= 8) {
            begin(&q, p);
            desc_set(&q, 0, ram_end - len + 1, len, p->write, 0);
            broken(&q, p, 0, "a buffer one byte across the end of memory");
        }
        /* The sum of the lengths wraps in 32 bits, each buffer is right. */
        for (unsigned i = 0; i < MAX_QUEUE; i++)
            table[i] = (struct desc){.addr = address_of(image_end),
                                     .len = (uint32_t)(ram_end - address_of(image_end)) & ~511u,
                                     .flags = (uint16_t)(p->write | (i < 255 ? NEXT : 0)),
                                     .next = (uint16_t)(i + 1)};
        begin(&q, p);
        desc_set(&q, 0, address_of(table), 16 * MAX_QUEUE, INDIRECT, 0);
        enum outcome o = queue_try(&q, 0);
        check(o != NOTHING, "%s: 256 buffers, 7 GiB in sum: %s", p->name, outcome_name(o));
    }
    begin(&q, &places[0]);
    desc_set(&q, 0, ram_end - 8, 8, WRITE, 0);
    expect(queue_try(&q, 0), USED, "rng: the last eight bytes of memory");
}

void attack_chain_order(void)
{
    struct queue q;

    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        const struct place *p = &places[i];

        begin(&q, p);
        desc_set(&q, 0, address_of(buffer), 64, WRITE | NEXT, 1);
        desc_set(&q, 1, address_of(buffer), 64, 0, 0);
        broken(&q, p, 0, "a readable buffer after a writable one");
    }
    begin(&q, &places[0]);
    desc_set(&q, 0, address_of(buffer), 64, 0, 0);
    broken(&q, &places[0], 0, "nothing but a readable buffer");
    begin(&q, &places[1]);
    desc_set(&q, 0, address_of(buffer), 64, WRITE, 0);
    expect(queue_try(&q, 0), USED, "console: nothing but a writable buffer prints nothing");
    for (unsigned flag = 8; flag < 0x10000; flag <<= 1) {
        begin(&q, &places[0]);
        desc_set(&q, 0, address_of(buffer), 64, (uint16_t)(WRITE | flag), 0);
        if (queue_try(&q, 0) == NOTHING)
            check(false, "rng: unknown descriptor flag %x: no answer", flag);
    }
}

/* ---- indices ---- */

void attack_avail_jump(void)
{
    struct queue q;

    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        const struct place *p = &places[i];
        const uint16_t jumps[] = {(uint16_t)(p->size + 1), 0x8000, 0xffff, 0x7fff};

        for (unsigned j = 0; j < ARRAY_LEN(jumps); j++) {
            begin(&q, p);
            buffer_desc(&q, p, 0, 0, 0);
            q.avail[1] = jumps[j];
            queue_kick(&q);
            enum outcome o = queue_wait(&q);
            check(o == NEEDS_RESET && q.used[1] == 0, "%s: available index jumps to %x: %s",
                  p->name, jumps[j], outcome_name(o));
        }
    }
    begin(&q, &places[0]);
    buffer_desc(&q, &places[0], 0, 0, 0);
    for (unsigned i = 0; i < q.size; i++)
        q.avail[2 + i] = 0;
    q.avail[1] = (uint16_t)q.size;
    queue_kick(&q);
    bool good = true;
    for (unsigned i = 0; i < q.size; i++)
        good = good && queue_wait(&q) == USED;
    check(good, "rng: the same chain %u times is answered so often", q.size);
    q.avail[1]--;
    queue_kick(&q);
    expect(queue_wait(&q), NEEDS_RESET, "rng: the available index goes back");
}

void attack_event_index(void)
{
    struct queue q;
    bool good = true;

    for (unsigned n = 0; n < 2; n++) {
        const struct place *p = &places[n];

        queue_alone(&q, p->slot, p->index, p->size, F_EVENT_IDX);
        buffer_desc(&q, p, 0, 0, 0);
        for (unsigned i = 0; i < 200; i++) {
            q.avail[0] = (uint16_t)random32();
            q.avail[2 + q.size] = (uint16_t)random32();    /* used_event */
            q.used[2 + 4 * q.size] = (uint16_t)random32(); /* avail_event, the device's */
            q.used[0] = (uint16_t)random32();
            good = good && queue_try(&q, 0) == USED;
        }
        check(good, "%s: works with nonsense in the event fields", p->name);
    }
}

/* ---- where rings and buffers lie ---- */

static void ring_refused(const struct place *p, uint64_t desc, uint64_t avail, uint64_t used,
                         const char *what)
{
    struct queue q = {.slot = p->slot, .index = p->index};

    dev_begin(p->slot, F_ALL);
    queue_place(p->slot, p->index, p->size, desc, avail, used);
    bool ready = reg_read(p->slot, REG_QUEUE_READY) != 0;
    dev_go(p->slot);
    queue_kick(&q);
    check(!ready && (reg_read(p->slot, REG_STATUS) & STATUS_NEEDS_RESET), "%s: %s", p->name, what);
}

static void ring_sizes(const struct place *p)
{
    const uint32_t sizes[] = {0,      3,       p->size * 2,       p->size - 1,
                              0x8000, 0x10000, 0x10000 + p->size, 0xffffffff};

    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        dev_begin(p->slot, F_ALL);
        queue_place(p->slot, p->index, sizes[i], 0x20000, 0x22000, 0x24000);
        uint32_t ready = reg_read(p->slot, REG_QUEUE_READY);
        dev_go(p->slot);
        check(!ready && (reg_read(p->slot, REG_STATUS) & STATUS_NEEDS_RESET),
              "%s: a queue of 0x%x entries", p->name, sizes[i]);
    }
}

/* A queue here works, although nothing sane lies here. */
static void ring_works(uint64_t at, const char *what)
{
    struct queue q = {.slot = SLOT_RNG, .index = 0, .size = 16};

    memset((void *)(uintptr_t)at, 0, 1024);
    dev_begin(SLOT_RNG, F_ALL);
    queue_place(SLOT_RNG, 0, 16, at, at + 256, at + 512);
    dev_go(SLOT_RNG);
    q.desc = (struct desc *)(uintptr_t)at;
    q.avail = (uint16_t *)(uintptr_t)(at + 256);
    q.used = (uint16_t *)(uintptr_t)(at + 512);
    desc_set(&q, 0, address_of(buffer), 64, WRITE, 0);
    expect(queue_try(&q, 0), USED, what);
}

void attack_ring_places(void)
{
    const uint64_t bad[] = {MMIO_BASE,  IOAPIC_BASE,  LAPIC_BASE, ram_end,  1ull << 32,  1ull << 63,
                            ~0ull - 15, ~0ull - 4095, 0xfffbd000, RAM_HOLE, ram_end - 16};
    const uint64_t good = 0x20000;

    for (unsigned n = 0; n < ARRAY_LEN(places); n++) {
        const struct place *p = &places[n];

        for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
            ring_refused(p, bad[i], good, good + 4096, "descriptors where no memory is");
            ring_refused(p, good, bad[i], good + 4096, "available ring where no memory is");
            ring_refused(p, good, good + 4096, bad[i], "used ring where no memory is");
        }
        ring_refused(p, good + 8, good + 4096, good + 8192, "descriptors not aligned");
        ring_refused(p, good, good + 4097, good + 8192, "available ring not aligned");
        ring_refused(p, good, good + 4096, good + 8194, "used ring not aligned");
        /* One entry, and then only the event field, is behind the end. */
        ring_refused(p, ram_end - 16u * p->size + 16, good, good + 4096,
                     "descriptors across the end of memory");
        ring_refused(p, good, ram_end - 2u * p->size - 4, good + 4096,
                     "available ring across the end of memory");
        ring_refused(p, good, good + 4096, ram_end - 8u * p->size - 4,
                     "used ring across the end of memory");
        ring_sizes(p);
    }
    ring_works(0, "a queue in page 0");
    ring_works(0xa0000, "a queue in the hole of a PC's graphics memory");
    ring_works(0xf0000, "a queue where a PC has its BIOS");
    ring_works(address_of(victim_pages), "a queue in the kernel's own file");
    ring_works(ram_end - 1024, "a queue at the end of memory");
}

static void buffer_outcome(uint64_t at, uint32_t size, enum outcome wanted)
{
    struct queue q;

    begin(&q, &places[0]);
    desc_set(&q, 0, at, size, WRITE, 0);
    enum outcome o = queue_try(&q, 0);
    check(o == wanted, "rng: 0x%x random bytes to 0x%lx: %s", size, at, outcome_name(o));
}

void attack_buffer_places(void)
{
    const uint64_t bad[] = {MMIO_BASE,  MMIO_BASE + 0x50, IOAPIC_BASE, LAPIC_BASE, 0xfffbd000,
                            1ull << 32, RAM_HOLE,         ram_end,     ~0ull - 63};
    struct queue q;

    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        buffer_outcome(bad[i], 64, NEEDS_RESET);
    buffer_outcome(RAM_HOLE - 32, 64, NEEDS_RESET);
    buffer_outcome(0, PAGE, USED);
    buffer_outcome(0x9f000, 3 * PAGE, USED);
    buffer_outcome(0xf0000, 16 * PAGE, USED);
    buffer_outcome(address_of(victim_pages), 4 * PAGE, USED);

    /* And sectors of the root into pages that are mapped from the kernel's file. */
    queue_alone(&q, SLOT_ROOT, 0, 128, F_ALL);
    uint8_t status = blk_request(&q, 0, 8, victim_pages + 4 * PAGE, 4 * PAGE, WRITE);
    uint32_t word;
    memcpy(&word, victim_pages + 4 * PAGE, 4);
    check(status == 0 && word == root_word(8 * SECTOR / 4),
          "blk: sectors over the kernel's own file");
}

void attack_buffer_on_rings(void)
{
    unsigned answers = 0, resets = 0;

    for (unsigned n = 0; n < 60; n++) {
        struct queue q;
        enum outcome o;

        queue_alone(&q, SLOT_RNG, 0, 16, n & 1 ? F_ALL : 0);
        const uint64_t over[] = {address_of(q.desc), address_of(q.avail), address_of(q.used)};
        for (unsigned i = 0; i < 4; i++) {
            desc_set(&q, i, over[(n + i) % 3], 64 + 8 * (n % 32), WRITE, 0);
            queue_put(&q, (uint16_t)i);
        }
        queue_kick(&q);
        o = queue_wait(&q);
        answers += o == USED;
        resets += o == NEEDS_RESET;
        queue_kick(&q);
    }
    check(answers + resets == 60, "rng over its own rings: %u answers, %u resets", answers, resets);
}

/* Rings on top of each other: what the device writes is what it reads next. */
void attack_rings_overlap(void)
{
    unsigned served = 0, resets = 0;

    for (unsigned n = 0; n < 64; n++) {
        static uint8_t room[8 * PAGE] __attribute__((aligned(4096)));
        const uint64_t at = address_of(room);
        struct queue q = {.slot = SLOT_RNG, .index = 0, .size = 16};
        enum outcome o;

        memset(room, 0, 2 * PAGE);
        dev_begin(SLOT_RNG, n & 32 ? F_ALL : 0);
        queue_place(SLOT_RNG, 0, 16, at, at + 16 * (n & 3), at + 8 * (n >> 2 & 7));
        dev_go(SLOT_RNG);
        q.desc = (struct desc *)(uintptr_t)at;
        q.avail = (uint16_t *)(uintptr_t)(at + 16 * (n & 3));
        q.used = (uint16_t *)(uintptr_t)(at + 8 * (n >> 2 & 7));
        q.seen = q.used[1];
        for (unsigned i = 0; i < 8; i++) {
            desc_set(&q, i, at, 64, WRITE, 0);
            queue_put(&q, (uint16_t)i);
            queue_kick(&q);
        }
        o = queue_wait(&q);
        served += o == USED;
        resets += o == NEEDS_RESET;
    }
    check(served + resets == 64, "rings on each other: %u served, %u need a reset", served, resets);
}

/* All indices of 16 bits go round, and the used index with them. */
void attack_index_wrap(void)
{
    struct queue q;
    bool good = true;

    queue_alone(&q, SLOT_RNG, 0, 16, F_ALL);
    buffer_desc(&q, &places[0], 0, 0, 0);
    q.desc[0].len = 1;
    for (unsigned n = 0; n < 0x10000 + 64; n += 16) {
        for (unsigned i = 0; i < 16; i++)
            queue_put(&q, 0);
        queue_kick(&q);
        for (unsigned i = 0; i < 16; i++)
            good = good && queue_wait(&q) == USED;
    }
    check(good && q.used[1] == 64, "65600 requests on one queue");
}

/* ---- a second vCPU that rewrites what the device is looking at ---- */

static struct {
    struct queue *volatile q;
    volatile bool stop, stopped;
} race;

static void rewrite(void *arg)
{
    static const uint64_t addrs[] = {0x20000, ~0ull, 0xd0000000, 0x1ffffff};
    static const uint32_t lens[] = {64, 0xffffffff, 0, 16};
    static const uint16_t nexts[] = {0, 1, 2, 0xffff}, flags[] = {2, 1, 3, 4};

    (void)arg;
    for (unsigned i = 0; !race.stop; i++) {
        struct queue *q = race.q;

        if (!q)
            continue;
        q->desc[i & 3].addr = addrs[i >> 2 & 3];
        q->desc[i & 3].len = lens[i >> 3 & 3];
        q->desc[i & 3].flags = flags[i >> 4 & 3];
        q->desc[i & 3].next = nexts[i >> 1 & 3];
        q->avail[2 + (i & 7)] = (uint16_t)(i & 3);
    }
    race.stopped = true;
}

void attack_chain_race(void)
{
    struct queue q;
    unsigned resets = 0;

    if (!check(start_cpu(1, rewrite, NULL), "the second vCPU starts"))
        return;
    for (unsigned n = 0; n < 300; n++) {
        const struct place *p = &places[n % ARRAY_LEN(places)];

        begin(&q, p);
        for (unsigned i = 0; i < 4; i++)
            buffer_desc(&q, p, i, 0, 0);
        race.q = &q;
        for (unsigned i = 0; i < 12; i++) {
            queue_put(&q, (uint16_t)(i & 3));
            queue_kick(&q);
        }
        resets += (reg_read(p->slot, REG_STATUS) & STATUS_NEEDS_RESET) != 0;
        race.q = NULL;
        barrier();
    }
    race.stop = true;
    for (unsigned i = 0; i < 100000 && !race.stopped; i++)
        (void)read32(MMIO_BASE);
    check(race.stopped, "descriptors changed under the walk: %u of 300 devices need a reset",
          resets);
}
