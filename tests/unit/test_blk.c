/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device over a real file: every request, framings that no Linux driver makes but the
 * standard allows, bounds of the disk and of requests, and read-only as a promise of the host.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "fake_driver.h"
#include "tap.h"

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2, S_UNTOUCHED = 0xee };

#define SECTORS 32768u /* more than one request may ask for */
#define DISK    ((uint64_t)SECTORS * 512)

struct stage {
    struct fake_host h;
    struct vdev *dev;
    struct fake_driver d;
    plat_fd file;
    uint8_t *disk; /* what the file should hold */
    uint64_t header, data, status;
};

static struct stage *stage_new(bool read_only)
{
    struct stage *s = calloc(1, sizeof(*s));
    struct lum_error err;

    if (!s || !(s->disk = malloc(DISK)))
        abort();
    for (uint64_t i = 0; i < DISK; i++)
        s->disk[i] = (uint8_t)(i / 512 * 7 + i);
    fake_host_init(&s->h, true, true);
    if (plat_memfile("disk", s->disk, DISK, &s->file, &err) < 0)
        abort();
    plat_loop_lock(s->h.loop);
    /* A tail shorter than a sector is no part of the disk. */
    if (vdev_blk_create(&s->h.host, 1, s->file, DISK + 511, read_only, &s->dev, &err) < 0 ||
        vdev_attach(s->dev, &err) < 0)
        abort();
    plat_loop_unlock(s->h.loop);
    fake_driver_init(&s->d, &s->h, s->dev);
    if (!fake_start(&s->d))
        abort();
    s->header = fake_alloc(&s->d, 16);
    s->data = fake_alloc(&s->d, 65536);
    s->status = fake_alloc(&s->d, 1);
    return s;
}

static void stage_free(struct stage *s)
{
    plat_loop_lock(s->h.loop);
    vdev_free(s->dev);
    plat_loop_unlock(s->h.loop);
    fake_host_done(&s->h);
    plat_close(&s->file);
    free(s->disk);
    free(s);
}

static bool file_is(struct stage *s, uint64_t offset, uint64_t size)
{
    uint8_t *now = malloc(size);
    struct lum_error err;

    if (!now)
        abort();
    bool same = plat_file_pread(s->file, now, size, offset, "disk", &err) == 0 &&
                memcmp(now, s->disk + offset, size) == 0;
    free(now);
    return same;
}

static void set_header(struct stage *s, uint32_t type, uint64_t sector)
{
    uint8_t *h = fake_ram(&s->h, s->header, 16);

    le32_store(h, type);
    le32_store(h + 4, 0);
    le64_store(h + 8, sector);
    *(uint8_t *)fake_ram(&s->h, s->status, 1) = S_UNTOUCHED;
}

/* Runs what was added; the status byte, or S_UNTOUCHED when no answer came. */
static uint8_t run(struct stage *s, uint32_t want_len)
{
    uint32_t head, len = 0;

    fake_kick(&s->d, 0);
    if (!fake_wait_used(&s->d, 0, &head, &len) || len != want_len)
        return S_UNTOUCHED;
    return *(uint8_t *)fake_ram(&s->h, s->status, 1);
}

/* A request as Linux makes it: header, data, status. */
static uint8_t request(struct stage *s, uint32_t type, uint64_t sector, uint32_t size, bool in)
{
    struct fake_buf bufs[] = {{s->header, 16, false}, {s->data, size, in}, {s->status, 1, true}};

    set_header(s, type, sector);
    if (size == 0)
        bufs[1] = bufs[2];
    fake_add(&s->d, 0, bufs, size == 0 ? 2 : 3);
    return run(s, in && size > 0 ? size + 1 : 1);
}

static uint8_t *data(struct stage *s)
{
    return fake_ram(&s->h, s->data, 65536);
}

static void test_requests(void)
{
    struct stage *s = stage_new(false);

    ok(vdev_mmio_read(s->dev, 0x100, 8) == SECTORS, "capacity in sectors, tail cut");
    ok(vdev_mmio_read(s->dev, 0x10c, 4) == 126 && vdev_mmio_read(s->dev, 0x108, 4) == 65536 &&
           vdev_mmio_read(s->dev, 0x114, 4) == 512,
       "segment limits and block size");
    ok(!(s->dev->features & (1u << 5)), "a writable disk does not offer RO");
    ok(request(s, T_IN, 3, 4096, true) == S_OK && memcmp(data(s), s->disk + 1536, 4096) == 0,
       "read");
    memset(data(s), 0xab, 1024);
    memset(s->disk + 5120, 0xab, 1024);
    ok(request(s, T_OUT, 10, 1024, false) == S_OK && file_is(s, 0, DISK),
       "write, and only what was asked");
    ok(request(s, T_FLUSH, 0, 0, false) == S_OK, "flush");
    memset(data(s), 0xff, 32);
    ok(request(s, T_GET_ID, 0, 20, true) == S_OK &&
           memcmp(data(s), "lumina-1\0\0\0\0\0\0\0\0\0\0\0\0\xff", 21) == 0,
       "id");
    ok(request(s, T_GET_ID, 0, 19, true) == S_IOERR, "id into too small a buffer");
    ok(request(s, T_DISCARD, 0, 16, false) == S_UNSUPP, "discard is not offered");
    ok(request(s, 0xffffffff, 0, 0, false) == S_UNSUPP, "nor is a request nobody knows");
    ok(vdev_live(s->dev), "none of this broke the device");
    stage_free(s);
}

static void test_bounds(void)
{
    struct stage *s = stage_new(false);

    ok(request(s, T_IN, SECTORS - 1, 512, true) == S_OK &&
           memcmp(data(s), s->disk + DISK - 512, 512) == 0,
       "the last sector");
    ok(request(s, T_IN, SECTORS - 1, 1024, true) == S_IOERR, "one beyond it");
    ok(request(s, T_IN, SECTORS, 512, true) == S_IOERR, "behind the end");
    ok(request(s, T_IN, UINT64_MAX, 512, true) == S_IOERR, "sector 2^64-1");
    ok(request(s, T_IN, UINT64_MAX / 512 + 2, 512, true) == S_IOERR,
       "a sector whose byte offset wraps into the disk");
    ok(request(s, T_OUT, UINT64_MAX / 512 + 2, 512, false) == S_IOERR && file_is(s, 0, DISK),
       "the same for a write");
    ok(request(s, T_OUT, SECTORS - 1, 1024, false) == S_IOERR && file_is(s, 0, DISK),
       "a write across the end writes nothing");
    ok(request(s, T_IN, 0, 511, true) == S_IOERR, "less than a sector");
    ok(request(s, T_OUT, 0, 513, false) == S_IOERR, "more than a sector, less than two");
    ok(request(s, T_IN, 0, 0, true) == S_IOERR, "nothing at all");

    /* 200 times the same 64 KiB: 12.5 MiB, beyond what the limits in the configuration allow. */
    struct fake_buf bufs[202];
    bufs[0] = (struct fake_buf){s->header, 16, false};
    for (unsigned i = 1; i <= 200; i++)
        bufs[i] = (struct fake_buf){s->data, 65536, true};
    bufs[201] = (struct fake_buf){s->status, 1, true};
    set_header(s, T_IN, 0);
    fake_add_indirect(&s->d, 0, bufs, 202);
    ok(run(s, 200 * 65536 + 1) == S_IOERR, "a request larger than segment limits allow");
    ok(vdev_live(s->dev), "none of this broke the device");
    stage_free(s);
}

/* 2.7.4.1: the device makes no assumption on how a request is cut into buffers. */
static void test_framing(void)
{
    struct stage *s = stage_new(false);
    struct fake_buf odd[] = {{s->header, 3, false},
                             {s->header + 3, 13, false},
                             {s->data, 1, true},
                             {s->data + 1, 510, true},
                             {s->data + 511, 514, true}};

    set_header(s, T_IN, 7);
    s->status = s->data + 1024;
    fake_add(&s->d, 0, odd, 5);
    ok(run(s, 1025) == S_OK && memcmp(data(s), s->disk + 3584, 1024) == 0,
       "header in two parts, data in three, status in the last one's last byte");

    uint8_t *all = data(s);
    memset(all, 0x5a, 16 + 512);
    memset(s->disk, 0x5a, 512);
    le32_store(all, T_OUT);
    le32_store(all + 4, 0);
    le64_store(all + 8, 0);
    struct fake_buf joined[] = {{s->data, 16 + 512, false}, {s->status, 1, true}};
    fake_add_indirect(&s->d, 0, joined, 2);
    ok(run(s, 1) == S_OK && file_is(s, 0, DISK), "header and data in one buffer, indirect");

    struct fake_buf no_status = {s->header, 16, false};
    set_header(s, T_FLUSH, 0);
    fake_add(&s->d, 0, &no_status, 1);
    fake_write(&s->d, 0x50, 0);
    ok(fake_read(&s->d, 0x70) & 64, "no status byte: needs reset");
    ok(fake_start(&s->d), "and runs again after it");
    struct fake_buf no_header[] = {{s->header, 15, false}, {s->status, 1, true}};
    fake_add(&s->d, 0, no_header, 2);
    fake_write(&s->d, 0x50, 0);
    ok(fake_read(&s->d, 0x70) & 64, "no whole header: needs reset");
    stage_free(s);
}

static void test_read_only(void)
{
    struct stage *s = stage_new(true);

    ok(s->dev->features & (1u << 5), "a read-only disk offers RO");
    memset(data(s), 0xcc, 512);
    ok(request(s, T_OUT, 0, 512, false) == S_IOERR && file_is(s, 0, DISK),
       "a write is refused and nothing is written");
    ok(request(s, T_FLUSH, 0, 0, false) == S_OK, "a flush has nothing to do");
    ok(request(s, T_IN, 0, 512, true) == S_OK && memcmp(data(s), s->disk, 512) == 0,
       "a read works");
    s->d.features = ~(1ull << 5);
    ok(fake_start(&s->d), "a driver may leave RO aside");
    memset(data(s), 0xcc, 512);
    ok(request(s, T_OUT, 0, 512, false) == S_IOERR && file_is(s, 0, DISK),
       "its writes are refused all the same");
    stage_free(s);
}

/* More than a turn's work at once: all of it is done, in turns. */
static void test_many(void)
{
    struct stage *s = stage_new(false);
    struct fake_buf bufs[66];
    uint32_t head, len;
    unsigned done = 0;

    bufs[0] = (struct fake_buf){s->header, 16, false};
    for (unsigned i = 1; i <= 16; i++)
        bufs[i] = (struct fake_buf){s->data, 65536, true};
    bufs[17] = (struct fake_buf){s->status, 1, true};
    set_header(s, T_IN, 0);
    for (unsigned i = 0; i < 100; i++)
        fake_add_indirect(&s->d, 0, bufs, 18);
    fake_kick(&s->d, 0);
    while (done < 100 && fake_wait_used(&s->d, 0, &head, &len) && len == 16 * 65536 + 1)
        done++;
    ok(done == 100, "100 reads of 1 MiB after one notification");
    stage_free(s);
}

static void test_truncated_file(void)
{
    struct stage *s = stage_new(false);
    struct lum_error err;
    plat_fd small = PLAT_FD_NONE;
    struct vdev *dev;

    if (plat_memfile("small", s->disk, 1024, &small, &err) < 0)
        abort();
    plat_loop_lock(s->h.loop);
    vdev_free(s->dev);
    if (vdev_blk_create(&s->h.host, 1, small, DISK, false, &dev, &err) < 0)
        abort();
    s->dev = s->d.dev = dev;
    s->h.vm.n_bells = 0;
    plat_loop_unlock(s->h.loop);
    ok(fake_start(&s->d), "a disk whose file was cut short starts");
    ok(request(s, T_IN, 0, 1024, true) == S_OK, "what is there can be read");
    ok(request(s, T_IN, 0, 2048, true) == S_IOERR, "the rest is an error, not a wait");
    ok(vdev_live(s->dev), "which the device survives");
    stage_free(s);
    plat_close(&small);
}

int main(void)
{
    test_requests();
    test_bounds();
    test_framing();
    test_read_only();
    test_many();
    test_truncated_file();
    return tap_done();
}
