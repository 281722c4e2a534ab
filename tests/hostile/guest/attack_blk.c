/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device (VIRTIO 1.2, 5.2): sectors beyond the disk and beyond numbers, writes to what is
 * read-only with the feature renegotiated away (as in BoxLite's bypass), buffers in a wrong
 * direction, requests without a status, thousands of segments, parts that lie on each other.
 */
#include "attacks.h"
#include "virtio.h"

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2, S_NONE = 0xff };

#define F_RO (1ull << 5)

static uint8_t data[128 * 1024] __attribute__((aligned(4096)));

struct header {
    uint32_t type, reserved;
    uint64_t sector;
};

static void begin(struct queue *q, uint64_t wanted)
{
    queue_alone(q, SLOT_ROOT, 0, 128, wanted);
}

static void request_ends(struct queue *q, uint32_t type, uint64_t sector, uint32_t size,
                         uint16_t flags, uint8_t wanted)
{
    uint8_t status = blk_request(q, type, sector, data, size, flags);

    check(status == wanted, "type %u, sector 0x%lx, 0x%x bytes: status %u", type, sector, size,
          status);
}

void attack_blk_bounds(void)
{
    const uint64_t capacity = blk_capacity();
    const uint64_t beyond[] = {
        capacity, capacity + 1, 1ull << 32,       1ull << 54,     1ull << 55,        1ull << 63,
        ~0ull,    ~0ull - 7,    (1ull << 55) + 8, ~0ull / SECTOR, ~0ull / SECTOR + 1};
    const uint32_t odd[] = {1, 511, 513, 1023, 4095, 65535};
    struct queue q;

    begin(&q, F_ALL);
    for (unsigned i = 0; i < ARRAY_LEN(beyond); i++)
        request_ends(&q, T_IN, beyond[i], SECTOR, WRITE, S_IOERR);
    for (uint32_t n = 2; n <= 256; n *= 2) {
        request_ends(&q, T_IN, capacity - n + 1, n * SECTOR, WRITE, S_IOERR);
        request_ends(&q, T_IN, capacity - n, n * SECTOR, WRITE, S_OK);
        request_ends(&q, T_IN, ~0ull - n + 2, n * SECTOR, WRITE, S_IOERR);
    }
    for (unsigned i = 0; i < ARRAY_LEN(odd); i++)
        request_ends(&q, T_IN, 0, odd[i], WRITE, S_IOERR);
    request_ends(&q, T_IN, 0, 0, WRITE, S_IOERR);
    check(reg_read(SLOT_ROOT, REG_STATUS) == STATUS_LIVE, "the device goes on after all of these");
}

static void try_writes(struct queue *q)
{
    const uint64_t capacity = blk_capacity();

    memset(data, 0xee, sizeof(data));
    for (uint64_t sector = 0; sector < capacity; sector += 128)
        if (blk_request(q, T_OUT, sector, data, 64 * 1024, 0) != S_IOERR)
            check(false, "a write of sector 0x%lx is not refused", sector);
    request_ends(q, T_OUT, 0, SECTOR, 0, S_IOERR);
    request_ends(q, T_OUT, capacity - 1, SECTOR, 0, S_IOERR);
    request_ends(q, T_OUT, capacity, SECTOR, 0, S_IOERR);
    request_ends(q, T_OUT, ~0ull, SECTOR, 0, S_IOERR);
    for (uint32_t type = 2; type < 40; type++)
        if (type != T_FLUSH && type != T_GET_ID)
            if (blk_request(q, type, 0, data, SECTOR, 0) != S_UNSUPP)
                check(false, "request type %u is not refused", type);
    request_ends(q, T_DISCARD, 0, 16, 0, S_UNSUPP);
    request_ends(q, T_WRITE_ZEROES, 0, 16, 0, S_UNSUPP);
    request_ends(q, T_OUT | 0x80000000u, 0, SECTOR, 0, S_UNSUPP);
    request_ends(q, T_FLUSH, 0, 0, 0, S_OK);
    uint8_t status = blk_request(q, T_IN, 0, data, 4 * SECTOR, WRITE);
    uint32_t word;
    memcpy(&word, data, 4);
    check(status == S_OK && word == root_word(0), "the root holds what it held");
}

void attack_blk_read_only(void)
{
    struct queue q;

    check(dev_features(SLOT_ROOT) & F_RO, "the root is offered read-only");
    begin(&q, F_ALL);
    try_writes(&q);
    begin(&q, ~F_RO);
    try_writes(&q);
    begin(&q, 0);
    try_writes(&q);
    /* The feature taken back after it was accepted. */
    begin(&q, F_ALL);
    dev_accept(SLOT_ROOT, F_VERSION_1);
    reg_write(SLOT_ROOT, REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    dev_accept(SLOT_ROOT, F_VERSION_1);
    reg_write(SLOT_ROOT, REG_STATUS, STATUS_LIVE);
    try_writes(&q);
}

/* ---- shapes of a request ---- */

static struct header header;
static volatile uint8_t status_byte;

static void shape(struct queue *q)
{
    begin(q, F_ALL);
    header = (struct header){.type = T_IN, .sector = 8};
    status_byte = S_NONE;
}

void attack_blk_direction(void)
{
    struct queue q;

    begin(&q, F_ALL);
    request_ends(&q, T_IN, 8, SECTOR, 0, S_IOERR); /* readable data: nothing to write to */
    request_ends(&q, T_OUT, 8, SECTOR, WRITE, S_IOERR);
    request_ends(&q, T_FLUSH, 8, SECTOR, WRITE, S_OK);
    request_ends(&q, T_GET_ID, 0, 19, WRITE, S_IOERR);
    request_ends(&q, T_GET_ID, 0, 20, WRITE, S_OK);

    shape(&q);
    desc_set(&q, 0, address_of(&header), 16, 0, 0);
    expect(queue_try(&q, 0), NEEDS_RESET, "a header and nothing else");
    shape(&q);
    desc_set(&q, 0, address_of(&header), 16, NEXT, 1);
    desc_set(&q, 1, address_of(data), SECTOR, 0, 0);
    expect(queue_try(&q, 0), NEEDS_RESET, "no place for the status");
    shape(&q);
    desc_set(&q, 0, address_of(&status_byte), 1, WRITE, 0);
    expect(queue_try(&q, 0), NEEDS_RESET, "no header");
    shape(&q);
    desc_set(&q, 0, address_of(&header), 16, WRITE | NEXT, 1);
    desc_set(&q, 1, address_of(&status_byte), 1, WRITE, 0);
    expect(queue_try(&q, 0), NEEDS_RESET, "a header that the device shall write");
    for (unsigned len = 1; len < 16; len += 7) {
        shape(&q);
        desc_set(&q, 0, address_of(&header), len, NEXT, 1);
        desc_set(&q, 1, address_of(&status_byte), 1, WRITE, 0);
        expect(queue_try(&q, 0), NEEDS_RESET, "a short header");
    }
    shape(&q);
    for (unsigned i = 0; i < 16; i++)
        desc_set(&q, i, address_of(&header) + i, 1, NEXT, (uint16_t)(i + 1));
    for (unsigned i = 0; i < 64; i++)
        desc_set(&q, 16 + i, address_of(data) + 8 * i, 8, NEXT | WRITE, (uint16_t)(17 + i));
    desc_set(&q, 80, address_of(&status_byte), 1, WRITE, 0);
    uint32_t word;
    bool good = queue_try(&q, 0) == USED && status_byte == S_OK;
    memcpy(&word, data, 4);
    check(good && word == root_word(8 * SECTOR / 4), "a header of single bytes, data of eights");
}

void attack_blk_segments(void)
{
    static struct desc table[4096] __attribute__((aligned(4096)));
    struct queue q;

    /* 254 buffers of four bytes, then too many, then as many as the length could say. */
    for (unsigned i = 0; i < ARRAY_LEN(table); i++)
        table[i] = (struct desc){address_of(data) + 4 * i, 4, NEXT | WRITE, (uint16_t)(i + 1)};
    table[0] = (struct desc){address_of(&header), 16, NEXT, 1};
    table[129] = (struct desc){address_of(&status_byte), 1, WRITE, 0};
    shape(&q);
    desc_set(&q, 0, address_of(table), 16 * 256, INDIRECT, 0);
    check(queue_try(&q, 0) == USED && status_byte == S_OK, "a sector in 128 pieces");
    table[129] = (struct desc){address_of(data), 4, NEXT | WRITE, 130};
    shape(&q);
    desc_set(&q, 0, address_of(table), 16 * 256, INDIRECT, 0);
    expect(queue_try(&q, 0), NEEDS_RESET, "a table without an end");
    shape(&q);
    desc_set(&q, 0, address_of(table), sizeof(table), INDIRECT, 0);
    expect(queue_try(&q, 0), NEEDS_RESET, "4096 segments");

    /* More bytes than any request may have, in buffers that all are right. */
    for (unsigned i = 1; i < 255; i++)
        table[i] =
            (struct desc){address_of(image_end), 8 * 1024 * 1024, NEXT | WRITE, (uint16_t)(i + 1)};
    table[255] = (struct desc){address_of(&status_byte), 1, WRITE, 0};
    shape(&q);
    desc_set(&q, 0, address_of(table), 16 * 256, INDIRECT, 0);
    check(queue_try(&q, 0) == USED && status_byte == S_IOERR, "2 GiB in one request: status %u",
          status_byte);
    for (unsigned i = 1; i < 255; i++)
        table[i].len = 16 * 1024 * 1024 + 4096;
    shape(&q);
    desc_set(&q, 0, address_of(table), 16 * 256, INDIRECT, 0);
    check(queue_try(&q, 0) != NOTHING, "4 GiB in one request");
}

void attack_blk_aliases(void)
{
    static const uint64_t offsets[] = {0, 8, 496, 1};
    struct queue q;
    bool answered = true;

    for (unsigned n = 0; n < 40; n++) {
        begin(&q, F_ALL);
        const uint64_t on[] = {address_of(&header), address_of(q.desc), address_of(q.avail),
                               address_of(q.used), address_of(&status_byte)};
        uint64_t at = (on[n % 5] & ~1ull) - offsets[n % 4];

        header = (struct header){.type = T_IN, .sector = n};
        desc_set(&q, 0, address_of(&header), 16, NEXT, 1);
        desc_set(&q, 1, at, SECTOR, WRITE | NEXT, 2);
        desc_set(&q, 2, address_of(&header), 1, WRITE, 0);
        answered = queue_try(&q, 0) != NOTHING && answered;
        queue_put(&q, 0);
        queue_kick(&q);
        (void)reg_read(SLOT_ROOT, REG_STATUS);
    }
    dev_reset(SLOT_ROOT);
    check(answered, "sectors over headers, status bytes and rings");
}
