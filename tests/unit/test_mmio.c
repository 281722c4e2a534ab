/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mmio transport: registers, negotiation, what is frozen when, and doorbells. Includes what
 * went wrong elsewhere under CVE-2026-5747: queues changed under a running device, status bits
 * cleared.
 */
#include <string.h>

#include "base/buf.h"
#include "fake_driver.h"
#include "tap.h"

enum {
    ACKNOWLEDGE = 1,
    DRIVER = 2,
    DRIVER_OK = 4,
    FEATURES_OK = 8,
    NEEDS_RESET = 64,
    FAILED = 128
};

#define F_VERSION_1 (1ull << 32)

static unsigned n_kicked, n_reset, n_activated, last_queue, last_offset, last_size;

static void probe_kicked(struct vdev *dev, struct vq *q)
{
    (void)dev;
    n_kicked++;
    last_queue = q->index;
}

static void probe_activate(struct vdev *dev)
{
    (void)dev;
    n_activated++;
}

static void probe_reset(struct vdev *dev)
{
    (void)dev;
    n_reset++;
}

static void probe_config_write(struct vdev *dev, uint32_t offset, uint32_t size)
{
    (void)dev;
    last_offset = offset;
    last_size = size;
}

static const struct vdev_ops plain_ops = {
    .name = "plain",
    .virtio_id = 42,
    .n_queues = 2,
    .queue_size = 64,
    .config_size = 10,
    .features = 1ull << 3 | 1ull << 40,
    .kicked = probe_kicked,
    .activate = probe_activate,
    .reset = probe_reset,
};

static const struct vdev_ops config_ops = {
    .name = "config",
    .virtio_id = 43,
    .n_queues = 1,
    .queue_size = 64,
    .config_size = 10,
    .kicked = probe_kicked,
    .reset = probe_reset,
    .config_write = probe_config_write,
};

struct stage {
    struct fake_host h;
    struct vdev dev;
    struct fake_driver d;
};

static void stage_init(struct stage *s, const struct vdev_ops *ops, bool doorbells, bool run_loop)
{
    n_kicked = n_reset = n_activated = 0;
    fake_host_init(&s->h, doorbells, run_loop);
    vdev_init(&s->dev, ops, &s->h.host, 3);
    fake_driver_init(&s->d, &s->h, &s->dev);
}

static void stage_done(struct stage *s)
{
    plat_loop_lock(s->h.loop);
    vdev_detach(&s->dev);
    plat_loop_unlock(s->h.loop);
    fake_host_done(&s->h);
}

static void test_registers(void)
{
    struct stage s;

    stage_init(&s, &plain_ops, false, false);
    ok(fake_read(&s.d, 0) == 0x74726976 && fake_read(&s.d, 4) == 2 && fake_read(&s.d, 8) == 42 &&
           fake_read(&s.d, 12) != 0,
       "magic, version 2, device and vendor id");
    ok(fake_read(&s.d, 0x10) == (1u << 3 | 1u << 28 | 1u << 29), "features 0 to 31");
    fake_write(&s.d, 0x14, 1);
    ok(fake_read(&s.d, 0x10) == (1u << 8 | 1u << 0), "features 32 to 63");
    fake_write(&s.d, 0x14, 2);
    ok(fake_read(&s.d, 0x10) == 0, "no features beyond");
    ok(fake_read(&s.d, 0x34) == 64, "QueueNumMax of queue 0");
    fake_write(&s.d, 0x30, 2);
    ok(fake_read(&s.d, 0x34) == 0, "QueueNumMax of a queue that is not there");
    fake_write(&s.d, 0x30, UINT32_MAX);
    fake_write(&s.d, 0x38, 8);
    fake_write(&s.d, 0x44, 1);
    ok(fake_read(&s.d, 0x34) == 0 && fake_read(&s.d, 0x44) == 0 && fake_read(&s.d, 0x70) == 0,
       "writes to a queue that is not there are nothing");
    fake_write(&s.d, 0xac, 0);
    ok(fake_read(&s.d, 0xb0) == UINT32_MAX && fake_read(&s.d, 0xb4) == UINT32_MAX &&
           fake_read(&s.d, 0xb8) == UINT32_MAX && fake_read(&s.d, 0xbc) == UINT32_MAX,
       "no shared memory");
    ok(fake_read(&s.d, 0xc0) == 0 && fake_read(&s.d, 0x54) == 0 && fake_read(&s.d, 0x14) == 0,
       "unknown and write-only registers read 0");
    ok(vdev_mmio_read(&s.dev, 0, 1) == 0 && vdev_mmio_read(&s.dev, 0, 2) == 0 &&
           vdev_mmio_read(&s.dev, 0, 8) == 0 && vdev_mmio_read(&s.dev, 2, 4) == 0 &&
           vdev_mmio_read(&s.dev, 0, 3) == 0,
       "accesses of other sizes or misaligned read 0");
    vdev_mmio_write(&s.dev, 0x70, 1, 1);
    vdev_mmio_write(&s.dev, 0x70, 8, 1);
    vdev_mmio_write(&s.dev, 0x71, 4, 1);
    ok(fake_read(&s.d, 0x70) == 0, "and write nothing");
    ok(vdev_mmio_read(&s.dev, UINT64_MAX - 2, 4) == 0, "an offset at the end of the world reads 0");
    stage_done(&s);
}

static void test_config(void)
{
    struct stage s;

    stage_init(&s, &plain_ops, false, false);
    memcpy(s.dev.config, "0123456789XXXX", 14);
    ok(vdev_mmio_read(&s.dev, 0x100, 1) == '0' && vdev_mmio_read(&s.dev, 0x109, 1) == '9',
       "config: first and last byte");
    ok(vdev_mmio_read(&s.dev, 0x101, 2) == ('1' | '2' << 8), "config: two bytes, anywhere");
    ok(vdev_mmio_read(&s.dev, 0x100, 8) == le64_load("01234567"), "config: eight bytes");
    ok(vdev_mmio_read(&s.dev, 0x10a, 1) == 0 && vdev_mmio_read(&s.dev, 0x107, 4) == 0 &&
           vdev_mmio_read(&s.dev, 0x108, 4) == 0 && vdev_mmio_read(&s.dev, 0xfff, 1) == 0,
       "config: nothing outside, not even in part");
    vdev_mmio_write(&s.dev, 0x100, 1, 'x');
    ok(s.dev.config[0] == '0', "config: read-only without a handler");
    uint32_t generation = fake_read(&s.d, 0xfc);
    vdev_config_changed(&s.dev);
    ok(fake_read(&s.d, 0xfc) != generation, "config: a change shows in the generation");
    ok(fake_pulses(&s.d) == 0, "config: and is not told to a driver that is not there yet");
    ok(fake_start(&s.d), "config: the driver starts");
    vdev_config_changed(&s.dev);
    ok(fake_pulses(&s.d) == 1 && fake_read(&s.d, 0x60) == 2, "config: then it is");
    stage_done(&s);

    stage_init(&s, &config_ops, false, false);
    vdev_mmio_write(&s.dev, 0x106, 4, 0x44434241);
    ok(memcmp(s.dev.config + 6, "ABCD", 4) == 0 && last_offset == 6 && last_size == 4,
       "config: a handler sees a write after the fact");
    last_size = 0;
    vdev_mmio_write(&s.dev, 0x107, 4, 0x7a7a7a7a);
    vdev_mmio_write(&s.dev, 0xfffffffffffffffc, 8, 0x7a7a7a7a);
    ok(memcmp(s.dev.config + 6, "ABCD", 4) == 0 && last_size == 0 && s.dev.config[10] == 0,
       "config: a write that leaves it has no effect");
    stage_done(&s);
}

static void test_negotiation(void)
{
    struct stage s;

    stage_init(&s, &plain_ops, false, false);
    s.d.features = UINT64_MAX & ~F_VERSION_1;
    ok(!fake_negotiate(&s.d), "FEATURES_OK is refused without VERSION_1");
    ok(fake_read(&s.d, 0x70) == (ACKNOWLEDGE | DRIVER), "and only that bit");
    s.d.features = UINT64_MAX;
    ok(fake_negotiate(&s.d), "FEATURES_OK with all that is offered");
    fake_write(&s.d, 0x24, 0);
    fake_write(&s.d, 0x20, 0);
    ok(s.dev.negotiated == s.dev.features, "features are frozen after FEATURES_OK");
    fake_write(&s.d, 0x70, 0);
    fake_write(&s.d, 0x24, 1);
    fake_write(&s.d, 0x20, 1);
    fake_write(&s.d, 0x24, 0);
    fake_write(&s.d, 0x20, 1u << 5);
    fake_write(&s.d, 0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    ok(!(fake_read(&s.d, 0x70) & FEATURES_OK), "FEATURES_OK is refused with a bit not offered");
    fake_write(&s.d, 0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    ok(!vdev_live(&s.dev), "so is DRIVER_OK in the same write");
    fake_write(&s.d, 0x70, 0);
    fake_write(&s.d, 0x70, ACKNOWLEDGE | DRIVER);
    fake_write(&s.d, 0x70, ACKNOWLEDGE | DRIVER | DRIVER_OK);
    ok(!vdev_live(&s.dev) && (fake_read(&s.d, 0x70) & NEEDS_RESET) && n_activated == 0,
       "DRIVER_OK without FEATURES_OK needs a reset");
    ok(fake_start(&s.d) && n_activated == 1 && vdev_live(&s.dev), "a whole start activates once");
    stage_done(&s);
}

/* CVE-2026-5747: a queue register written after activation must not move the rings. */
static void test_cve_2026_5747_queue_frozen(void)
{
    static const uint64_t regs[] = {0x38, 0x44, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4};
    struct stage s;

    stage_init(&s, &plain_ops, false, false);
    ok(fake_start(&s.d), "CVE-2026-5747: running");
    struct vq before = s.dev.queues[1];
    unsigned logs = s.h.n_logs;
    fake_write(&s.d, 0x30, 1);
    for (size_t i = 0; i < ARRAY_LEN(regs); i++) {
        static const uint32_t values[] = {0, 1, 4, 0x1000, 0xdeadbeef};
        for (size_t k = 0; k < ARRAY_LEN(values); k++)
            fake_write(&s.d, regs[i], values[k]);
    }
    ok(memcmp(&before, &s.dev.queues[1], sizeof(before)) == 0,
       "CVE-2026-5747: no queue register has an effect");
    ok(vdev_live(&s.dev) && s.h.n_logs == logs + 1, "CVE-2026-5747: one line says so");
    fake_write(&s.d, 0x70, 0);
    fake_write(&s.d, 0x30, 1);
    ok(fake_read(&s.d, 0x44) == 0, "CVE-2026-5747: a reset unfreezes");
    stage_done(&s);
}

/* CVE-2026-5747: status bits taken back must not reopen what they closed. */
static void test_cve_2026_5747_status_only_grows(void)
{
    struct stage s;
    const uint32_t all = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;

    stage_init(&s, &plain_ops, false, false);
    ok(fake_start(&s.d), "CVE-2026-5747: running");
    for (uint32_t v = 1; v < all; v++)
        fake_write(&s.d, 0x70, v);
    ok(fake_read(&s.d, 0x70) == all && vdev_live(&s.dev) && n_activated == 1,
       "CVE-2026-5747: no status bit is ever cleared");
    fake_write(&s.d, 0x24, 0);
    fake_write(&s.d, 0x20, 0);
    ok(s.dev.negotiated == s.dev.features, "CVE-2026-5747: nor are features renegotiated");
    fake_write(&s.d, 0x70, all | NEEDS_RESET);
    ok(fake_read(&s.d, 0x70) == all, "the driver cannot set the device's own bit");
    vdev_needs_reset(&s.dev, "test");
    fake_write(&s.d, 0x70, all);
    ok(fake_read(&s.d, 0x70) == (all | NEEDS_RESET), "nor clear it");
    fake_write(&s.d, 0x70, all | FAILED);
    ok(fake_read(&s.d, 0x70) == (all | FAILED | NEEDS_RESET), "a bit can be added");
    fake_write(&s.d, 0x70, 0);
    fake_negotiate(&s.d);
    fake_write(&s.d, 0x70, DRIVER_OK);
    ok(fake_read(&s.d, 0x70) == (ACKNOWLEDGE | DRIVER | FEATURES_OK),
       "a write that drops bits does not add others either");
    unsigned resets = n_reset;
    fake_write(&s.d, 0x70, 0);
    ok(fake_read(&s.d, 0x70) == 0 && n_reset == resets + 1, "0 resets, the device too");
    ok(fake_read(&s.d, 0x60) == 0, "and clears InterruptStatus");
    stage_done(&s);
}

/* CVE-2026-5747: the driver's steps have an order, and queues belong between two of them. */
static void test_cve_2026_5747_order(void)
{
    struct stage s;

    stage_init(&s, &plain_ops, false, false);
    for (uint32_t status = 0; status < FEATURES_OK; status = status * 2 + 1) {
        if (status == 7) /* DRIVER_OK: another test's */
            break;
        if (status)
            fake_write(&s.d, 0x70, status);
        fake_queue_setup(&s.d, 0, 32);
        ok(fake_read(&s.d, 0x44) == 0 && s.dev.queues[0].size == 0 && s.dev.queues[0].desc == 0,
           "CVE-2026-5747: no queue register has an effect at status %u", status);
    }
    fake_write(&s.d, 0x70, 0);
    fake_write(&s.d, 0x24, 1);
    fake_write(&s.d, 0x20, 1);
    fake_write(&s.d, 0x70, FEATURES_OK);
    ok(fake_read(&s.d, 0x70) == 0, "FEATURES_OK is refused without ACKNOWLEDGE and DRIVER");
    fake_write(&s.d, 0x70, DRIVER | FEATURES_OK);
    ok(fake_read(&s.d, 0x70) == DRIVER, "and without ACKNOWLEDGE");
    fake_write(&s.d, 0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    ok(fake_read(&s.d, 0x70) == (ACKNOWLEDGE | DRIVER | FEATURES_OK), "but not with both");
    stage_done(&s);
}

static void test_queue_checks(void)
{
    static const struct {
        const char *name;
        uint32_t size;
        uint64_t desc, avail, used;
    } cases[] = {
        {"size 0", 0, 0x10000, 0x20000, 0x30000},
        {"size 3", 3, 0x10000, 0x20000, 0x30000},
        {"size beyond QueueNumMax", 128, 0x10000, 0x20000, 0x30000},
        {"size 65536 plus 64", 65536 + 64, 0x10000, 0x20000, 0x30000},
        {"descriptors at an odd address", 64, 0x10008, 0x20000, 0x30000},
        {"available ring at an odd address", 64, 0x10000, 0x20001, 0x30000},
        {"used ring at an odd address", 64, 0x10000, 0x20000, 0x30002},
        {"descriptors outside RAM", 64, FAKE_RAM_SIZE - 1008, 0x20000, 0x30000},
        {"available ring outside RAM", 64, 0x10000, FAKE_RAM_SIZE - 132, 0x30000},
        {"used ring outside RAM", 64, 0x10000, 0x20000, FAKE_RAM_SIZE - 516},
        {"descriptors whose end wraps", 64, UINT64_MAX - 15, 0x20000, 0x30000},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct stage s;

        stage_init(&s, &plain_ops, false, false);
        fake_negotiate(&s.d);
        fake_write(&s.d, 0x38, cases[i].size);
        fake_write(&s.d, 0x80, (uint32_t)cases[i].desc);
        fake_write(&s.d, 0x84, (uint32_t)(cases[i].desc >> 32));
        fake_write(&s.d, 0x90, (uint32_t)cases[i].avail);
        fake_write(&s.d, 0xa0, (uint32_t)cases[i].used);
        fake_write(&s.d, 0x44, 1);
        ok(fake_read(&s.d, 0x44) == 0 && (fake_read(&s.d, 0x70) & NEEDS_RESET),
           "%s: not ready, needs reset", cases[i].name);
        ok(fake_pulses(&s.d) == 0, "%s: not told before DRIVER_OK", cases[i].name);
        fake_write(&s.d, 0x70, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        ok(!vdev_live(&s.dev) && fake_pulses(&s.d) == 1, "%s: told then", cases[i].name);
        stage_done(&s);
    }

    struct stage s;
    stage_init(&s, &plain_ops, false, false);
    fake_negotiate(&s.d);
    fake_queue_setup(&s.d, 0, 32);
    ok(fake_read(&s.d, 0x44) == 1, "a good queue is ready");
    fake_write(&s.d, 0x80, 0x12345);
    fake_write(&s.d, 0x38, 7);
    ok(s.dev.queues[0].desc == s.d.queues[0].desc && s.dev.queues[0].size == 32 &&
           !(fake_read(&s.d, 0x70) & NEEDS_RESET),
       "and frozen while it is");
    fake_write(&s.d, 0x44, 0);
    ok(fake_read(&s.d, 0x44) == 0, "it can be taken back before DRIVER_OK");
    stage_done(&s);
}

static bool kicked_thrice(void *ctx)
{
    (void)ctx;
    return n_kicked == 3;
}

static void test_kicks(void)
{
    struct stage s;
    struct lum_error err;

    stage_init(&s, &plain_ops, false, false);
    fake_write(&s.d, 0x50, 0);
    ok(n_kicked == 0, "a notification before DRIVER_OK does nothing");
    fake_start(&s.d);
    fake_write(&s.d, 0x50, 1);
    ok(n_kicked == 1 && last_queue == 1, "QueueNotify kicks its queue");
    fake_write(&s.d, 0x50, 2);
    fake_write(&s.d, 0x50, UINT32_MAX);
    ok(n_kicked == 1, "QueueNotify for no queue does nothing");
    vdev_needs_reset(&s.dev, "test");
    fake_write(&s.d, 0x50, 1);
    ok(n_kicked == 1, "nor does one for a device that needs a reset");
    stage_done(&s);

    stage_init(&s, &plain_ops, true, true);
    plat_loop_lock(s.h.loop);
    ok(vdev_attach(&s.dev, &err) == 0 && s.h.vm.n_bells == 2 &&
           s.h.vm.bells[1].gpa == ARCH_MMIO_BASE + 3 * ARCH_MMIO_SLOT_SIZE + 0x50 &&
           s.h.vm.bells[1].value == 1,
       "a doorbell for each queue at the notify register");
    plat_loop_unlock(s.h.loop);
    fake_start(&s.d);
    fake_write(&s.d, 0x50, 0);
    fake_write(&s.d, 0x50, 0);
    plat_event_signal(s.h.vm.bells[1].event);
    ok(fake_wait(&s.h, kicked_thrice, NULL) && last_queue == 1, "a doorbell kicks from the loop");
    stage_done(&s);

    stage_init(&s, &plain_ops, false, true);
    plat_loop_lock(s.h.loop);
    ok(vdev_attach(&s.dev, &err) == 0 && s.h.vm.n_bells == 0, "attach without doorbells");
    plat_loop_unlock(s.h.loop);
    fake_start(&s.d);
    fake_write(&s.d, 0x50, 0);
    fake_write(&s.d, 0x50, 0);
    plat_loop_lock(s.h.loop);
    vdev_kick_again(&s.dev.queues[1]);
    plat_loop_unlock(s.h.loop);
    ok(fake_wait(&s.h, kicked_thrice, NULL) && last_queue == 1,
       "a device can ask for another turn even so");
    stage_done(&s);
}

static unsigned n_taken;

static void take_acknowledgement(void *machine)
{
    struct stage *s = machine;

    n_taken++;
    vdev_mmio_write(&s->dev, 0x64, 4, VDEV_INTERRUPT_QUEUE);
}

static void test_posted_acknowledgement(void)
{
    struct stage s;

    stage_init(&s, &plain_ops, false, false);
    fake_start(&s.d);
    vdev_interrupt(&s.dev, VDEV_INTERRUPT_QUEUE);
    s.h.host.take_posted = take_acknowledgement;
    s.h.host.machine = &s;
    vdev_interrupt(&s.dev, VDEV_INTERRUPT_QUEUE);
    ok(n_taken == 1 && fake_read(&s.d, 0x60) == VDEV_INTERRUPT_QUEUE && fake_pulses(&s.d) == 2,
       "an acknowledgement that waits is carried out before the next interrupt, not after it");
    stage_done(&s);
}

int main(void)
{
    test_registers();
    test_config();
    test_negotiation();
    test_cve_2026_5747_queue_frozen();
    test_cve_2026_5747_status_only_grows();
    test_cve_2026_5747_order();
    test_queue_checks();
    test_kicks();
    test_posted_acknowledgement();
    return tap_done();
}
