/* SPDX-License-Identifier: Apache-2.0 */
/* Console and entropy device: floods, sizes, directions. */
#include "attacks.h"
#include "virtio.h"

static uint8_t text[64 * 1024] __attribute__((aligned(4096)));

static void fill_text(void)
{
    /* No newline, control characters, what a terminal would obey, and the host's own marks. */
    for (unsigned i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i % 253 == 10 ? 0x1b : i % 253);
}

void attack_console_flood(void)
{
    struct queue q;
    bool good = true;

    fill_text();
    queue_alone(&q, SLOT_CONSOLE, 1, 64, F_ALL);
    for (unsigned i = 0; i < 64; i++)
        desc_set(&q, i, address_of(text), sizeof(text), i < 63 ? NEXT : 0, (uint16_t)(i + 1));
    for (unsigned n = 0; n < 40; n++) /* 4 MiB each, of which the device takes a part */
        good = good && queue_try(&q, 0) == USED;
    check(good, "40 writes of 4 MiB");

    for (unsigned i = 0; i < sizeof(text); i += 2)
        text[i] = '\n';
    for (unsigned i = 0; i < 64; i++)
        desc_set(&q, i, address_of(text), 256, 0, 0);
    for (unsigned n = 0; n < 50; n++) {
        for (unsigned i = 0; i < 64; i++)
            queue_put(&q, (uint16_t)i);
        queue_kick(&q);
        for (unsigned i = 0; i < 64; i++)
            good = good && queue_wait(&q) == USED;
    }
    check(good, "3200 writes of 128 empty lines");
}

void attack_serial_flood(void)
{
    const uint8_t *from = text;
    size_t n = sizeof(text);

    fill_text();
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(0x3f8) : "memory");
    for (unsigned i = 0; i < 20000; i++)
        out8(0x3f8, '\n');
    check(true, "64 KiB without a newline, 20000 newlines");
}

void attack_console_shapes(void)
{
    struct queue q;

    /* Buffers for input that never comes, and a doorbell for it. */
    dev_begin(SLOT_CONSOLE, F_ALL);
    queue_init(&q, SLOT_CONSOLE, 0, 64);
    dev_go(SLOT_CONSOLE);
    for (unsigned i = 0; i < 64; i++) {
        desc_set(&q, i, address_of(text), 64, WRITE, 0);
        queue_put(&q, (uint16_t)i);
        queue_kick(&q);
    }
    q.avail[1] = 0x8000;
    queue_kick(&q);
    check(q.used[1] == 0 && reg_read(SLOT_CONSOLE, REG_STATUS) == STATUS_LIVE,
          "the receive queue is left alone");

    queue_alone(&q, SLOT_CONSOLE, 1, 64, F_ALL);
    for (unsigned i = 0; i < 64; i++)
        desc_set(&q, i, address_of(text), 1, i < 63 ? NEXT : 0, (uint16_t)(i + 1));
    expect(queue_try(&q, 0), USED, "64 single bytes");
    desc_set(&q, 0, address_of(text), 0x100000, 0, 0);
    expect(queue_try(&q, 0), USED, "a buffer that leaves the text for the rest of memory");
}

void attack_rng_shapes(void)
{
    uint32_t most = (uint32_t)(ram_end - address_of(image_end)) & ~4095u;
    struct queue q;

    queue_alone(&q, SLOT_RNG, 0, 16, F_ALL);
    desc_set(&q, 0, address_of(image_end), most, WRITE, 0);
    bool good = queue_try(&q, 0) == USED;
    check(good && queue_used_len(&q) <= 64 * 1024, "all of memory in one request: 0x%x bytes",
          queue_used_len(&q));
    for (unsigned i = 0; i < 16; i++)
        desc_set(&q, i, address_of(image_end), most, (uint16_t)(WRITE | (i < 15 ? NEXT : 0)),
                 (uint16_t)(i + 1));
    good = queue_try(&q, 0) == USED;
    check(good && queue_used_len(&q) <= 64 * 1024, "and sixteen times: 0x%x bytes",
          queue_used_len(&q));
    for (unsigned n = 0; n < 300; n++) {
        for (unsigned i = 0; i < 16; i++)
            queue_put(&q, 0);
        queue_kick(&q);
        for (unsigned i = 0; i < 16; i++)
            good = good && queue_wait(&q) == USED;
    }
    check(good, "4800 requests of all of memory");

    queue_alone(&q, SLOT_RNG, 0, 16, F_ALL);
    desc_set(&q, 0, address_of(victim_pages), 64, NEXT, 1);
    desc_set(&q, 1, address_of(text), 1, WRITE, 0);
    text[0] = 0;
    uint8_t before = victim_pages[0];
    good = queue_try(&q, 0) == USED;
    check(good && victim_pages[0] == before && queue_used_len(&q) == 1,
          "a readable buffer stays as it is");
}
