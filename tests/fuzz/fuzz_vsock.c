/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket device between a driver that sends any packets and a host that does anything with its
 * streams. After each step every connection must be within its bounds, and whatever the guest is
 * handed must be well-formed and within the credit that it gave.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "dev/vsock.h"
#include "fake_driver.h"
#include "step_loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RX, TX };

#define RAM_SIZE    0x40000u
#define TX_AT       0x10000u
#define TX_SIZE     0x10000u
#define RX_AT       0x20000u
#define RX_STEP     2048u
#define MAX_STREAMS 16u

struct input {
    const uint8_t *data;
    size_t size;
};

static struct fake_host host;
static struct fake_driver driver;
static uint8_t *ram;
static plat_fd streams[MAX_STREAMS]; /* the host's ends */
static unsigned n_streams, dials_open;

static uint64_t take(struct input *in, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes && in->size > 0; i++) {
        v |= (uint64_t)*in->data++ << (8 * i);
        in->size--;
    }
    return v;
}

static void keep_stream(plat_fd fd)
{
    struct lum_error err;

    if (plat_set_nonblock(fd, &err) < 0)
        abort();
    if (n_streams == MAX_STREAMS)
        plat_close(&streams[--n_streams]);
    streams[n_streams++] = fd;
}

static int on_accept(void *ctx, uint32_t port, plat_fd *ret_stream)
{
    struct lum_error err;
    plat_fd pair[2];

    (void)ctx;
    if (port % 4 == 3 || plat_socketpair(pair, &err) < 0)
        return LUM_ENOENT;
    *ret_stream = pair[0];
    keep_stream(pair[1]);
    return 0;
}

static void on_dial(void *ctx, int rc)
{
    (void)ctx;
    if (rc > 0 || dials_open == 0)
        abort();
    dials_open--;
}

static void dial(struct vdev *dev, uint32_t port)
{
    struct lum_error err;
    plat_fd pair[2];

    if (plat_socketpair(pair, &err) < 0)
        return;
    keep_stream(pair[0]);
    dials_open++;
    vdev_vsock_dial(dev, port, pair[1], on_dial, NULL);
}

static void setup(void)
{
    fake_host_init(&host, false, false);
    free(host.mem.host);
    ram = aligned_alloc(4096, RAM_SIZE);
    if (!ram)
        abort();
    memset(ram, 0, RAM_SIZE);
    host.mem = (struct gmem){.range = {{.base = 0, .size = RAM_SIZE, .host = ram}},
                             .n_ranges = 1,
                             .host = ram,
                             .size = RAM_SIZE};
}

/* Ports from a small set, so that packets meet connections; our dials' ports are in it. */
static uint32_t port_of(struct input *in)
{
    uint32_t v = (uint32_t)take(in, 1);

    return v & 0x80 ? 0x40000000u + (v & 7) : v & 7;
}

static void send_packet(struct input *in)
{
    uint8_t *raw = ram + TX_AT;
    uint8_t how = (uint8_t)take(in, 1);
    uint32_t payload = how & 0x20 ? (uint32_t)take(in, 2) : (uint32_t)take(in, 1);

    if (driver.queues[TX].n_free < 3)
        return;
    if (payload > TX_SIZE - VSOCK_HEADER)
        payload = TX_SIZE - VSOCK_HEADER;
    le64_store(raw, how & 0x40 ? take(in, 8) : VSOCK_GUEST_CID);
    le64_store(raw + 8, how & 0x40 ? take(in, 8) : VSOCK_HOST_CID);
    le32_store(raw + 16, port_of(in));
    le32_store(raw + 20, port_of(in));
    le32_store(raw + 24, how & 0x10 ? (uint32_t)take(in, 4) : payload);
    le16_store(raw + 28, how & 0x40 ? (uint16_t)take(in, 2) : VSOCK_TYPE_STREAM);
    le16_store(raw + 30, how & 0x0f);
    le32_store(raw + 32, (uint32_t)take(in, 1));
    le32_store(raw + 36, how & 0x80 ? (uint32_t)take(in, 4) : 1u << 20);
    le32_store(raw + 40, how & 0x80 ? (uint32_t)take(in, 4) : 0);
    uint32_t cut = (uint32_t)take(in, 1) % (VSOCK_HEADER + 1);
    struct fake_buf bufs[] = {{TX_AT, cut ? cut : VSOCK_HEADER, false},
                              {TX_AT + cut, VSOCK_HEADER - cut + payload, false}};
    if (cut == 0)
        bufs[1] = (struct fake_buf){TX_AT + VSOCK_HEADER, payload, false};
    fake_add(&driver, TX, bufs, bufs[1].size > 0 ? 2 : 1);
    fake_kick(&driver, TX);
}

static void add_rx(struct input *in)
{
    uint32_t how = (uint32_t)take(in, 1);
    uint32_t size = how & 0x80 ? (uint32_t)take(in, 1) + VSOCK_HEADER + 1 : RX_STEP;

    if (size > RX_STEP)
        size = RX_STEP;
    for (uint32_t i = 0; i <= how % 8; i++) {
        uint32_t at = RX_AT + RX_STEP * (driver.queues[RX].avail_idx % 32);
        struct fake_buf bufs[] = {{at, size / 2, true}, {at + size / 2, size - size / 2, true}};

        if (driver.queues[RX].n_free >= 2)
            fake_add(&driver, RX, bufs, 2);
    }
    fake_kick(&driver, RX);
}

static void use_stream(struct input *in)
{
    static uint8_t buf[16384];
    uint32_t how = (uint32_t)take(in, 1);

    if (n_streams == 0)
        return;
    unsigned i = how % n_streams;
    switch (how >> 5) {
    case 0:
    case 1: (void)plat_write(streams[i], buf, (size_t)take(in, 2) % sizeof(buf)); break;
    case 2:
    case 3: (void)plat_read(streams[i], buf, (size_t)take(in, 2) % sizeof(buf)); break;
    case 4: plat_shutdown_write(streams[i]); break;
    case 5: plat_shutdown_read(streams[i]); break;
    default:
        plat_close(&streams[i]);
        streams[i] = streams[--n_streams];
        break;
    }
}

static void check(struct vdev *dev)
{
    struct vsock *v = container_of(dev, struct vsock, base);
    uint32_t head, len;
    unsigned n = 0, n_dials = 0;

    for (const struct vsock_conn *c = v->conns; c; c = c->next) {
        n++;
        n_dials += c->state == VSOCK_CONNECTING;
        if (c->buffered > VSOCK_BUFFER || c->buffer_at >= VSOCK_BUFFER ||
            (c->state == VSOCK_CONNECTING) != (c->stream == PLAT_FD_NONE) ||
            (c->state == VSOCK_CONNECTING) != (c->done != NULL) || *c->link != c)
            abort();
    }
    for (const struct vsock_conn *c = v->doomed; c; c = c->next)
        n_dials += c->done != NULL; /* of before a reset: told when the loop comes to it */
    if (n != v->n_conns || n > VSOCK_MAX_CONNECTIONS || v->n_rsts > VSOCK_MAX_RSTS ||
        n_dials != dials_open)
        abort();
    while (fake_used(&driver, TX, &head, &len)) {
        if (len != 0)
            abort();
    }
    while (fake_used(&driver, RX, &head, &len)) {
        if (len < VSOCK_HEADER || len > RX_STEP)
            abort();
    }
}

static void start(struct vdev *dev)
{
    fake_driver_init(&driver, &host, dev);
    driver.heap = 0x1000;
    if (!fake_start(&driver))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct vsock_callbacks callbacks = {.accept = on_accept};
    struct input in = {.data = data, .size = size};
    struct vdev *dev = NULL;
    struct lum_error err;

    if (!ram)
        setup();
    if (vdev_vsock_create(&host.host, 0, &callbacks, &dev, &err) < 0 || vdev_attach(dev, &err) < 0)
        abort();
    start(dev);
    while (in.size > 0) {
        switch (take(&in, 1) % 16) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4:
        case 5: send_packet(&in); break;
        case 6:
        case 7: add_rx(&in); break;
        case 8:
        case 9:
        case 10: use_stream(&in); break;
        case 11: dial(dev, port_of(&in)); break;
        case 12: step_loop_timers(host.loop); break;
        case 13:
            if (take(&in, 1) == 0)
                start(dev); /* the driver resets the device */
            break;
        default: step_loop_run(host.loop); break;
        }
        check(dev);
    }
    vdev_free(dev);
    if (dials_open != 0)
        abort();
    while (n_streams > 0)
        plat_close(&streams[--n_streams]);
    step_loop_run(host.loop); /* frees what was let go */
    return 0;
}
