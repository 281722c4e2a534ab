/* SPDX-License-Identifier: Apache-2.0 */
/* Each virtio device from its making to its end, with a request of every kind in between. */
#include <string.h>

#include "base/buf.h"
#include "dev/vsock.h"
#include "fake_driver.h"
#include "play.h"
#include "torture.h"

#define DISK_SIZE 65536u
#define SECTOR    512u

static struct fake_host host;
static plat_fd disk = PLAT_FD_NONE;
static plat_fd stream = PLAT_FD_NONE; /* the host's end of the guest's connection */

static const char *setup(void)
{
    static uint8_t content[DISK_SIZE];
    struct lum_error err;

    fake_host_init(&host, true, false);
    torture_must(plat_memfile("disk", content, sizeof(content), &disk, &err) == 0, "disk");
    return NULL;
}

static int open_device(struct fake_driver *d, struct vdev *dev, struct lum_error *err)
{
    host.vm.n_bells = 0;
    int rc = vdev_attach(dev, err);
    if (rc < 0)
        return rc;
    fake_driver_init(d, &host, dev);
    torture_must(fake_start(d), "the device accepts its driver");
    return 0;
}

/* The answer to the chain just added; an error when the device gave up. */
static int wait_used(struct fake_driver *d, unsigned queue, uint32_t *ret_len, const char *what,
                     struct lum_error *err)
{
    uint32_t head;

    fake_kick(d, queue);
    for (int i = 0; i < 4; i++) {
        if (fake_used(d, queue, &head, ret_len))
            return 0;
        play_loop(host.loop);
    }
    return lum_fail(err, LUM_EOS, "%s: no answer", what);
}

static int play_console(struct fake_driver *d, struct lum_error *err)
{
    uint64_t at = fake_alloc(d, 16);
    struct fake_buf buf = {at, 5, false};
    uint32_t len;

    memcpy(fake_ram(&host, at, 5), "hello", 5);
    host.console_size = 0;
    fake_add(d, 1, &buf, 1);
    int rc = wait_used(d, 1, &len, "console", err);
    if (rc == 0 && (host.console_size != 5 || memcmp(host.console, "hello", 5) != 0))
        rc = lum_fail(err, LUM_EOS, "console: other bytes");
    return rc;
}

static int play_rng(struct fake_driver *d, struct lum_error *err)
{
    struct fake_buf buf = {fake_alloc(d, 200), 200, true};
    uint32_t len = 0;

    fake_add(d, 0, &buf, 1);
    int rc = wait_used(d, 0, &len, "rng", err);
    if (rc == 0 && len == 0)
        rc = lum_fail(err, LUM_EOS, "rng: no bytes");
    return rc;
}

static int blk_request(struct fake_driver *d, uint32_t type, uint64_t sector, uint32_t size,
                       struct lum_error *err)
{
    uint64_t at = fake_alloc(d, 32 + size);
    bool out = type == 1;
    struct fake_buf bufs[] = {{at, 16, false}, {at + 16, size, !out}, {at + 16 + size, 1, true}};
    uint8_t *raw = fake_ram(&host, at, 32 + size);
    uint32_t len;

    le32_store(raw, type);
    le64_store(raw + 8, sector);
    raw[16 + size] = 0xff;
    if (out)
        memset(raw + 16, 0x5a, size);
    if (size == 0)
        bufs[1] = bufs[2];
    fake_add(d, 0, bufs, size ? 3 : 2);
    int rc = wait_used(d, 0, &len, "blk", err);
    if (rc == 0 && raw[16 + size] != 0)
        rc = lum_fail(err, LUM_EOS, "blk: request %u: status %u", type, raw[16 + size]);
    if (rc == 0 && type == 0)
        for (uint32_t i = 0; i < size; i++)
            torture_must(raw[16 + i] == 0x5a, "what was written is read");
    return rc;
}

static int play_blk(struct fake_driver *d, struct lum_error *err)
{
    int rc = blk_request(d, 1, 3, 4 * SECTOR, err);

    if (rc == 0)
        rc = blk_request(d, 0, 4, 2 * SECTOR, err);
    if (rc == 0)
        rc = blk_request(d, 4, 0, 0, err); /* flush */
    return rc;
}

/* ---- vsock ---- */

enum { RX, TX };
enum { OP_REQUEST = 1, OP_RESPONSE = 2, OP_RST = 3, OP_SHUTDOWN = 4, OP_RW = 5 };

static int on_accept(void *ctx, uint32_t port, plat_fd *ret_stream)
{
    struct lum_error err;
    plat_fd pair[2];

    (void)ctx;
    if (port != 1024 || stream >= 0 || plat_socketpair(pair, &err) < 0)
        return LUM_ENOENT;
    *ret_stream = pair[0];
    stream = pair[1];
    inject_pause();
    torture_must(plat_set_nonblock(stream, &err) == 0, "stream");
    inject_resume();
    return 0;
}

static void on_dial(void *ctx, int rc)
{
    *(int *)ctx = rc;
}

static int send_packet(struct fake_driver *d, uint16_t op, uint32_t from, uint32_t to,
                       uint32_t payload, struct lum_error *err)
{
    uint64_t at = fake_alloc(d, VSOCK_HEADER + payload);
    uint8_t *raw = fake_ram(&host, at, VSOCK_HEADER + payload);
    struct fake_buf buf = {at, VSOCK_HEADER + payload, false};
    uint32_t len;

    le64_store(raw, VSOCK_GUEST_CID);
    le64_store(raw + 8, VSOCK_HOST_CID);
    le32_store(raw + 16, from);
    le32_store(raw + 20, to);
    le32_store(raw + 24, payload);
    le16_store(raw + 28, VSOCK_TYPE_STREAM);
    le16_store(raw + 30, op);
    le32_store(raw + 32, op == OP_SHUTDOWN ? 3 : 0);
    le32_store(raw + 36, 1u << 20);
    memset(raw + VSOCK_HEADER, 'x', payload);
    fake_add(d, TX, &buf, 1);
    return wait_used(d, TX, &len, "vsock", err);
}

/* The next packet for the guest; its operation, or an error. */
static int next_packet(struct fake_driver *d, uint32_t *ret_from, struct lum_error *err)
{
    uint64_t at = fake_alloc(d, 4096);
    struct fake_buf buf = {at, 4096, true};
    uint32_t len;

    fake_add(d, RX, &buf, 1);
    int rc = wait_used(d, RX, &len, "vsock: nothing comes", err);
    if (rc < 0)
        return rc;
    const uint8_t *raw = fake_ram(&host, at, VSOCK_HEADER);
    *ret_from = le32_load(raw + 16);
    return le16_load(raw + 30);
}

static int expect(struct fake_driver *d, int op, uint32_t *ret_from, struct lum_error *err)
{
    int got = next_packet(d, ret_from, err);

    if (got < 0)
        return got;
    return got == op ? 0 : lum_fail(err, LUM_EOS, "vsock: operation %d instead of %d", got, op);
}

/* Whether the host's end gets that many bytes. */
static bool stream_gets(size_t size)
{
    char buf[512];
    size_t have = 0;

    for (int i = 0; i < 20 && have < size; i++) {
        inject_pause();
        ssize_t n = plat_read(stream, buf, sizeof(buf));
        inject_resume();
        if (n > 0)
            have += (size_t)n;
        else
            play_loop(host.loop);
    }
    return have == size;
}

static int play_connection(struct fake_driver *d, struct lum_error *err)
{
    uint32_t from;
    int rc = send_packet(d, OP_REQUEST, 7, 1024, 0, err);

    if (rc == 0)
        rc = expect(d, OP_RESPONSE, &from, err);
    if (rc == 0)
        rc = send_packet(d, OP_RW, 7, 1024, 2500, err);
    if (rc < 0)
        return rc;
    if (!stream_gets(2500))
        return lum_fail(err, LUM_EOS, "vsock: bytes are missing");
    inject_pause();
    (void)plat_write(stream, "answer", 6);
    inject_resume();
    rc = expect(d, OP_RW, &from, err);
    if (rc == 0)
        rc = send_packet(d, OP_SHUTDOWN, 7, 1024, 0, err);
    return rc == 0 ? expect(d, OP_RST, &from, err) : rc;
}

static int play_dial(struct fake_driver *d, struct lum_error *err)
{
    AUTO(plat_close) plat_fd ours = PLAT_FD_NONE;
    plat_fd pair[2];
    uint32_t from;
    int told = 1;

    inject_pause();
    torture_must(plat_socketpair(pair, err) == 0, "a stream");
    inject_resume();
    ours = pair[0];
    vdev_vsock_dial(d->dev, 9, pair[1], on_dial, &told);
    if (told <= 0)
        return lum_fail(err, LUM_EOS, "vsock: dial: %d", told);
    int rc = expect(d, OP_REQUEST, &from, err);
    if (rc == 0)
        rc = send_packet(d, OP_RESPONSE, 9, from, 0, err);
    vdev_mmio_write(d->dev, 0x70, 4, 0); /* whoever still waits is told, from the loop */
    for (int i = 0; i < 4 && told > 0; i++)
        play_loop(host.loop);
    torture_must(told <= 0, "a dial is answered");
    return rc == 0 && told < 0 ? lum_fail(err, LUM_EOS, "vsock: dial: %d", told) : rc;
}

static int play_vsock(struct fake_driver *d, struct lum_error *err)
{
    int rc = play_connection(d, err);

    plat_close(&stream);
    return rc == 0 ? play_dial(d, err) : rc;
}

/* ---- all of them ---- */

enum kind { CONSOLE, RNG, BLK, VSOCK, KINDS };

static int create(enum kind kind, struct vdev **ret_dev, struct lum_error *err)
{
    static const struct vsock_callbacks callbacks = {.accept = on_accept};

    switch (kind) {
    case CONSOLE: return vdev_console_create(&host.host, 0, ret_dev, err);
    case RNG: return vdev_rng_create(&host.host, 0, ret_dev, err);
    case BLK: return vdev_blk_create(&host.host, 0, disk, DISK_SIZE, false, ret_dev, err);
    case VSOCK: return vdev_vsock_create(&host.host, 0, &callbacks, ret_dev, err);
    case KINDS: break;
    }
    return LUM_EINTERNAL;
}

static int play(struct lum_error *err)
{
    static int (*const plays[])(struct fake_driver * d, struct lum_error * err) = {
        [CONSOLE] = play_console, [RNG] = play_rng, [BLK] = play_blk, [VSOCK] = play_vsock};
    int rc = 0;

    for (enum kind kind = 0; kind < KINDS && rc == 0; kind++) {
        struct fake_driver d;
        struct vdev *dev = NULL;

        rc = create(kind, &dev, err);
        if (rc < 0)
            break;
        rc = open_device(&d, dev, err);
        if (rc == 0)
            rc = plays[kind](&d, err);
        vdev_free(dev);
    }
    plat_close(&stream);
    play_loop(host.loop);
    return rc;
}

const struct scenario scenario_devices = {.name = "devices", .setup = setup, .play = play};
