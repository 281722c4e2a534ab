/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue walker against a driver that does it right and one that does it wrong in every way the
 * standard names. The device under test does nothing by itself, so that each pop and push is the
 * test's own.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "fake_driver.h"
#include "tap.h"

#define F_INDIRECT  (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_VERSION_1 (1ull << 32)

static void idle_kicked(struct vdev *dev, struct vq *q)
{
    (void)dev;
    (void)q;
}

static void idle_reset(struct vdev *dev)
{
    (void)dev;
}

static const struct vdev_ops idle_ops = {
    .name = "idle",
    .virtio_id = 42,
    .n_queues = 2,
    .queue_size = 16,
    .kicked = idle_kicked,
    .reset = idle_reset,
};

struct stage {
    struct fake_host h;
    struct vdev dev;
    struct fake_driver d;
    struct vq *q;
    struct vq_chain chain;
};

static struct stage *stage_new(uint64_t features)
{
    struct stage *s = calloc(1, sizeof(*s));

    if (!s)
        abort();
    fake_host_init(&s->h, false, false);
    vdev_init(&s->dev, &idle_ops, &s->h.host, 0);
    fake_driver_init(&s->d, &s->h, &s->dev);
    s->d.features = features;
    if (!fake_start(&s->d))
        abort();
    s->q = &s->dev.queues[0];
    return s;
}

static void stage_free(struct stage *s)
{
    vdev_detach(&s->dev);
    fake_host_done(&s->h);
    free(s);
}

static bool needs_reset(struct stage *s)
{
    return (fake_read(&s->d, 0x70) & 64) != 0;
}

static void test_chain(void)
{
    struct stage *s = stage_new(UINT64_MAX);
    uint64_t a = fake_alloc(&s->d, 4096), b = fake_alloc(&s->d, 4096);
    struct fake_buf bufs[] = {{a, 10, false}, {a + 100, 6, false}, {b, 5, true}, {b + 64, 7, true}};
    uint32_t head = 0, len = 0;
    char text[17] = "";

    ok(vq_pop(s->q, &s->chain) == 0, "an empty queue yields nothing");
    memcpy(fake_ram(&s->h, a, 10), "0123456789", 10);
    memcpy(fake_ram(&s->h, a + 100, 6), "abcdef", 6);
    uint16_t want = fake_add(&s->d, 0, bufs, 4);
    ok(vq_pop(s->q, &s->chain) == 1 && s->chain.head == want, "a chain of four is popped");
    ok(s->chain.n_read == 2 && s->chain.n_write == 2 && s->chain.read_size == 16 &&
           s->chain.write_size == 12,
       "its segments and sizes are summed");
    ok(vq_chain_read(&s->chain, 0, text, 16) && memcmp(text, "0123456789abcdef", 16) == 0,
       "reading crosses segments");
    ok(vq_chain_read(&s->chain, 9, text, 2) && memcmp(text, "9a", 2) == 0,
       "reading starts in the middle");
    ok(!vq_chain_read(&s->chain, 9, text, 8), "reading past the end is refused");
    ok(!vq_chain_read(&s->chain, UINT64_MAX, text, 2), "an offset that wraps is refused");
    ok(vq_chain_read(&s->chain, 16, text, 0), "reading nothing at the end is allowed");
    ok(vq_chain_write(&s->chain, 3, "wxyz", 4) && memcmp(fake_ram(&s->h, b + 3, 2), "wx", 2) == 0 &&
           memcmp(fake_ram(&s->h, b + 64, 2), "yz", 2) == 0,
       "writing crosses segments");
    ok(!vq_chain_write(&s->chain, 12, "w", 1), "writing past the end is refused");
    vq_unpop(s->q);
    ok(vq_pop(s->q, &s->chain) == 1 && s->chain.head == want, "a chain put back comes again");
    vq_push(s->q, &s->chain, 12);
    ok(fake_used(&s->d, 0, &head, &len) && head == want && len == 12, "and arrives as used");
    ok(!fake_used(&s->d, 0, &head, &len), "once");
    ok(vq_pop(s->q, &s->chain) == 0 && !needs_reset(s), "nothing is left and nothing broke");
    stage_free(s);
}

static void test_indirect(void)
{
    struct stage *s = stage_new(UINT64_MAX);
    uint64_t a = fake_alloc(&s->d, (uint64_t)VQ_MAX_SIZE * 16);
    struct fake_buf bufs[VQ_MAX_SIZE];

    for (unsigned i = 0; i < VQ_MAX_SIZE; i++)
        bufs[i] = (struct fake_buf){a + 16ull * i, 16, i >= 100};
    fake_add_indirect(&s->d, 0, bufs, VQ_MAX_SIZE);
    ok(vq_pop(s->q, &s->chain) == 1 && s->chain.n_read == 100 &&
           s->chain.n_write == VQ_MAX_SIZE - 100,
       "an indirect table may be longer than the queue, up to VQ_MAX_SIZE");
    fake_desc(&s->d, s->d.queues[0].desc, 3, a, 8, 1, 4);
    uint64_t table = fake_alloc(&s->d, 32);
    fake_desc(&s->d, table, 0, a, 4, 0, 0);
    /* 2.7.5.3.2: the device ignores WRITE on the descriptor that names the table */
    fake_desc(&s->d, s->d.queues[0].desc, 4, table, 32, 4 | 2, 0);
    fake_avail(&s->d, 0, 3);
    ok(vq_pop(s->q, &s->chain) == 1 && s->chain.n_read == 2 && s->chain.read_size == 12,
       "a direct part followed by an indirect one is one chain");
    stage_free(s);
}

/* The ring indices are 16 bits wide and never reset: go round them more than once. */
static void test_wrap(uint64_t features, const char *name)
{
    struct stage *s = stage_new(features);
    struct fake_buf buf = {fake_alloc(&s->d, 64), 64, true};
    uint32_t head = 0, len = 0, good = 0;

    for (uint32_t i = 0; i < 140000; i++) {
        uint16_t want = fake_add(&s->d, 0, &buf, 1);

        if (vq_pop(s->q, &s->chain) != 1)
            break;
        vq_push(s->q, &s->chain, i & 63);
        vq_notify(s->q);
        if (!fake_used(&s->d, 0, &head, &len) || head != want || len != (i & 63))
            break;
        good++;
    }
    ok(good == 140000, "%s: 140000 chains go round the ring", name);
    ok(fake_pulses(&s->d) == good, "%s: each with one interrupt (%u)", name, fake_pulses(&s->d));
    stage_free(s);
}

static void test_interrupt_suppression(void)
{
    struct stage *s = stage_new(F_VERSION_1);
    struct fake_buf buf = {fake_alloc(&s->d, 64), 64, true};
    uint32_t head, len;

    le16_store(fake_ram(&s->h, s->d.queues[0].avail, 2), 1); /* NO_INTERRUPT */
    fake_add(&s->d, 0, &buf, 1);
    ok(vq_pop(s->q, &s->chain) == 1, "flags: popped");
    vq_push(s->q, &s->chain, 0);
    vq_notify(s->q);
    ok(fake_pulses(&s->d) == 0 && fake_read(&s->d, 0x60) == 0, "flags: NO_INTERRUPT is honoured");
    le16_store(fake_ram(&s->h, s->d.queues[0].avail, 2), 0);
    vq_notify(s->q);
    ok(fake_pulses(&s->d) == 0, "flags: nothing new, no interrupt");
    ok(fake_used(&s->d, 0, &head, &len), "flags: used");
    stage_free(s);

    s = stage_new(UINT64_MAX);
    buf.addr = fake_alloc(&s->d, 64);
    uint8_t *event = fake_ram(&s->h, s->d.queues[0].avail + 4 + 2u * 16, 2);
    unsigned pulses[6];
    for (unsigned i = 0; i < 6; i++) {
        le16_store(event, 3); /* wants to hear of the fourth */
        fake_add(&s->d, 0, &buf, 1);
        if (vq_pop(s->q, &s->chain) == 1)
            vq_push(s->q, &s->chain, 0);
        vq_notify(s->q);
        pulses[i] = fake_pulses(&s->d);
    }
    /* The first decision after a start always interrupts: what the driver wanted before is not
     * known. */
    ok(pulses[0] == 1 && pulses[2] == 1, "event index: quiet before the wanted entry");
    ok(pulses[3] == 2 && pulses[5] == 2, "event index: one interrupt for the wanted entry");
    ok(fake_read(&s->d, 0x60) == 1, "event index: InterruptStatus tells of the queue");
    fake_write(&s->d, 0x64, 1);
    ok(fake_read(&s->d, 0x60) == 0, "event index: and is acknowledged");
    vq_pop(s->q, &s->chain);
    ok(le16_load(fake_ram(&s->h, s->d.queues[0].used + 4 + 8u * 16, 2)) == 6,
       "event index: an empty queue asks to be notified of the next chain");
    stage_free(s);
}

/* ---- drivers that break the rules ---- */

struct broken_case {
    const char *name;
    uint64_t features;
    void (*make)(struct stage *s, uint64_t ram, uint64_t table);
};

static uint64_t ring(struct stage *s)
{
    return s->d.queues[0].desc;
}

static void make_head_outside(struct stage *s, uint64_t ram, uint64_t table)
{
    (void)ram;
    (void)table;
    fake_avail(&s->d, 0, 16);
}

static void make_next_outside(struct stage *s, uint64_t ram, uint64_t table)
{
    (void)table;
    fake_desc(&s->d, ring(s), 0, ram, 8, 1, 16);
    fake_avail(&s->d, 0, 0);
}

static void make_self_loop(struct stage *s, uint64_t ram, uint64_t table)
{
    (void)table;
    fake_desc(&s->d, ring(s), 0, ram, 8, 1, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_long_loop(struct stage *s, uint64_t ram, uint64_t table)
{
    (void)table;
    for (uint16_t i = 0; i < 16; i++)
        fake_desc(&s->d, ring(s), i, ram, 8, 1, (uint16_t)((i + 1) % 16));
    fake_avail(&s->d, 0, 5);
}

static void make_outside_ram(struct stage *s, uint64_t ram, uint64_t table)
{
    (void)ram;
    (void)table;
    fake_desc(&s->d, ring(s), 0, FAKE_RAM_SIZE - 4, 8, 0, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_address_wraps(struct stage *s, uint64_t ram, uint64_t table)
{
    (void)ram;
    (void)table;
    fake_desc(&s->d, ring(s), 0, UINT64_MAX - 3, 8, 0, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_empty(struct stage *s, uint64_t ram, uint64_t table)
{
    (void)table;
    fake_desc(&s->d, ring(s), 0, ram, 0, 0, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_read_after_write(struct stage *s, uint64_t ram, uint64_t table)
{
    (void)table;
    fake_desc(&s->d, ring(s), 0, ram, 8, 1 | 2, 1);
    fake_desc(&s->d, ring(s), 1, ram, 8, 0, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_indirect_unasked(struct stage *s, uint64_t ram, uint64_t table)
{
    fake_desc(&s->d, table, 0, ram, 8, 0, 0);
    fake_desc(&s->d, ring(s), 0, table, 16, 4, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_indirect_next(struct stage *s, uint64_t ram, uint64_t table)
{
    fake_desc(&s->d, table, 0, ram, 8, 0, 0);
    fake_desc(&s->d, ring(s), 0, table, 16, 4 | 1, 1);
    fake_desc(&s->d, ring(s), 1, ram, 8, 0, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_indirect_nested(struct stage *s, uint64_t ram, uint64_t table)
{
    fake_desc(&s->d, table, 0, table + 16, 16, 4, 0);
    fake_desc(&s->d, table, 1, ram, 8, 0, 0);
    fake_desc(&s->d, ring(s), 0, table, 32, 4, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_indirect_ragged(struct stage *s, uint64_t ram, uint64_t table)
{
    fake_desc(&s->d, table, 0, ram, 8, 0, 0);
    fake_desc(&s->d, ring(s), 0, table, 24, 4, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_indirect_empty(struct stage *s, uint64_t ram, uint64_t table)
{
    (void)ram;
    fake_desc(&s->d, ring(s), 0, table, 0, 4, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_indirect_huge(struct stage *s, uint64_t ram, uint64_t table)
{
    fake_desc(&s->d, table, 0, ram, 8, 0, 0);
    fake_desc(&s->d, ring(s), 0, table, (VQ_MAX_SIZE + 1) * 16, 4, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_indirect_outside(struct stage *s, uint64_t ram, uint64_t table)
{
    (void)ram;
    (void)table;
    fake_desc(&s->d, ring(s), 0, FAKE_RAM_SIZE - 16, 32, 4, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_indirect_loop(struct stage *s, uint64_t ram, uint64_t table)
{
    fake_desc(&s->d, table, 0, ram, 8, 1, 1);
    fake_desc(&s->d, table, 1, ram, 8, 1, 0);
    fake_desc(&s->d, ring(s), 0, table, 32, 4, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_indirect_too_long(struct stage *s, uint64_t ram, uint64_t table)
{
    for (uint16_t i = 0; i < VQ_MAX_SIZE; i++)
        fake_desc(&s->d, table, i, ram, 8, i + 1u < VQ_MAX_SIZE ? 1 : 0, (uint16_t)(i + 1));
    fake_desc(&s->d, ring(s), 0, ram, 8, 1, 1);
    fake_desc(&s->d, ring(s), 1, table, VQ_MAX_SIZE * 16, 4, 0);
    fake_avail(&s->d, 0, 0);
}

static void make_index_jump(struct stage *s, uint64_t ram, uint64_t table)
{
    (void)table;
    fake_desc(&s->d, ring(s), 0, ram, 8, 0, 0); /* each entry by itself would be good */
    le16_store(fake_ram(&s->h, s->d.queues[0].avail + 2, 2), 17);
}

static void test_broken(void)
{
    static const struct broken_case cases[] = {
        {"head outside the table", UINT64_MAX, make_head_outside},
        {"next outside the table", UINT64_MAX, make_next_outside},
        {"descriptor that follows itself", UINT64_MAX, make_self_loop},
        {"loop through the whole table", UINT64_MAX, make_long_loop},
        {"buffer that leaves RAM", UINT64_MAX, make_outside_ram},
        {"buffer whose end wraps", UINT64_MAX, make_address_wraps},
        {"empty buffer", UINT64_MAX, make_empty},
        {"readable after writable", UINT64_MAX, make_read_after_write},
        {"indirect without the feature", F_VERSION_1 | F_EVENT_IDX, make_indirect_unasked},
        {"indirect with next", UINT64_MAX, make_indirect_next},
        {"indirect in indirect", UINT64_MAX, make_indirect_nested},
        {"indirect of 24 bytes", UINT64_MAX, make_indirect_ragged},
        {"indirect of no bytes", UINT64_MAX, make_indirect_empty},
        {"indirect of 257 entries", UINT64_MAX, make_indirect_huge},
        {"indirect table outside RAM", UINT64_MAX, make_indirect_outside},
        {"loop in an indirect table", UINT64_MAX, make_indirect_loop},
        {"chain of 257 buffers", UINT64_MAX, make_indirect_too_long},
        {"available index 17 ahead of 16", UINT64_MAX, make_index_jump},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct stage *s = stage_new(cases[i].features);
        uint64_t ram = fake_alloc(&s->d, 4096);
        uint64_t table = fake_alloc(&s->d, (VQ_MAX_SIZE + 2) * 16);

        cases[i].make(s, ram, table);
        ok(vq_pop(s->q, &s->chain) == LUM_EGUEST, "%s: refused", cases[i].name);
        ok(needs_reset(s) && (fake_read(&s->d, 0x60) & 2) && fake_pulses(&s->d) == 1,
           "%s: needs reset, and the driver is told", cases[i].name);
        ok(vq_pop(s->q, &s->chain) == 0, "%s: the queue is dead until then", cases[i].name);
        ok(fake_start(&s->d) && !needs_reset(s), "%s: and works after a reset", cases[i].name);
        stage_free(s);
    }
}

int main(void)
{
    test_chain();
    test_indirect();
    test_wrap(UINT64_MAX, "event index");
    test_wrap(F_VERSION_1 | F_INDIRECT, "flags");
    test_interrupt_suppression();
    test_broken();
    return tap_done();
}
