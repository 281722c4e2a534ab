/* SPDX-License-Identifier: Apache-2.0 */
/* The console and the entropy device, both driven through registers and rings. */
#include <stdlib.h>
#include <string.h>

#include "fake_driver.h"
#include "tap.h"

static void attach(struct fake_host *h, struct fake_driver *d, struct vdev *dev)
{
    struct lum_error err;

    plat_loop_lock(h->loop);
    if (vdev_attach(dev, &err) < 0)
        abort();
    plat_loop_unlock(h->loop);
    fake_driver_init(d, h, dev);
    if (!fake_start(d))
        abort();
}

static void detach(struct fake_host *h, struct vdev *dev)
{
    plat_loop_lock(h->loop);
    vdev_free(dev);
    plat_loop_unlock(h->loop);
    fake_host_done(h);
}

static bool asked_again(void *ctx)
{
    struct fake_driver *d = ctx;
    const struct fake_queue *q = &d->queues[1];
    const uint16_t *event = fake_ram(d->h, q->used + 4 + 8u * q->size, 2);

    return __atomic_load_n(event, __ATOMIC_SEQ_CST) == q->avail_idx;
}

static void test_console(void)
{
    struct fake_host h;
    struct fake_driver d;
    struct vdev *dev;
    struct lum_error err;
    uint32_t head, len = 99;

    fake_host_init(&h, true, true);
    if (vdev_console_create(&h.host, 2, &dev, &err) < 0)
        abort();
    attach(&h, &d, dev);
    uint64_t text = fake_alloc(&d, 4096);
    memcpy(fake_ram(&h, text, 13), "hello, world\n", 13);
    struct fake_buf bufs[] = {{text, 7, false}, {text + 7, 6, false}};
    fake_add(&d, 1, bufs, 2);
    fake_kick(&d, 1);
    ok(fake_wait_used(&d, 1, &head, &len) && len == 0, "console: output is taken");
    ok(h.console_size == 13 && memcmp(h.console, "hello, world\n", 13) == 0,
       "console: and arrives whole");
    struct fake_buf input = {text, 64, true};
    fake_add(&d, 0, &input, 1);
    fake_kick(&d, 0);
    fake_write(&d, 0x50, 0);
    ok(!fake_used(&d, 0, &head, &len), "console: there is no input");

    /* 100 MiB in one chain, many times the same page: cut, not printed for ever */
    struct fake_buf huge[VQ_MAX_SIZE];
    for (unsigned i = 0; i < VQ_MAX_SIZE; i++)
        huge[i] = (struct fake_buf){0x100000, 400 * 1024, false};
    fake_add_indirect(&d, 1, huge, VQ_MAX_SIZE);
    fake_kick(&d, 1);
    ok(fake_wait_used(&d, 1, &head, &len), "console: a huge chain is taken");

    unsigned done = 0;
    for (unsigned i = 0; i < 64; i++)
        fake_add(&d, 1, bufs, 1);
    fake_kick(&d, 1);
    while (done < 64 && fake_wait_used(&d, 1, &head, &len))
        done++;
    ok(done == 64, "console: a full queue is emptied");
    /* Only a device that has looked again, and found nothing, asks for the next notification. */
    ok(fake_wait(&h, asked_again, &d), "console: and it listens again after it");
    detach(&h, dev);
}

static void test_rng(void)
{
    static const uint8_t zeros[64];
    struct fake_host h;
    struct fake_driver d;
    struct vdev *dev;
    struct lum_error err;
    uint32_t head, len = 0;

    fake_host_init(&h, false, true);
    if (vdev_rng_create(&h.host, 4, &dev, &err) < 0)
        abort();
    attach(&h, &d, dev);
    uint64_t a = fake_alloc(&d, 1 << 20);
    struct fake_buf bufs[] = {{a, 64, true}, {a + 4096, 64, true}};
    fake_add(&d, 0, bufs, 2);
    fake_kick(&d, 0);
    ok(fake_wait_used(&d, 0, &head, &len) && len == 128, "rng: 128 bytes are given");
    ok(memcmp(fake_ram(&h, a, 64), zeros, 64) != 0 &&
           memcmp(fake_ram(&h, a + 4096, 64), zeros, 64) != 0 &&
           memcmp(fake_ram(&h, a, 64), fake_ram(&h, a + 4096, 64), 64) != 0,
       "rng: both buffers are filled, and differently");
    ok(memcmp(fake_ram(&h, a + 64, 64), zeros, 64) == 0, "rng: nothing is written beside them");
    struct fake_buf big = {a, 1 << 20, true};
    fake_add(&d, 0, &big, 1);
    fake_kick(&d, 0);
    ok(fake_wait_used(&d, 0, &head, &len) && len == 64 * 1024,
       "rng: a request gets 64 KiB at most");
    struct fake_buf readable = {a, 64, false};
    fake_add(&d, 0, &readable, 1);
    fake_kick(&d, 0);
    ok(fake_read(&d, 0x70) & 64, "rng: a request that only has readable buffers needs a reset");
    detach(&h, dev);
}

int main(void)
{
    test_console();
    test_rng();
    return tap_done();
}
