/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket device between a driver in this program and real sockets. Notifications go by
 * register, so what the guest sends has been handled when the call returns; what the host's sockets
 * cause is waited for. Includes the lengths of CVE-2019-18960, where a packet's own length field
 * was believed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "fake_driver.h"
#include "tap.h"

enum { RX, TX, EVENT };
enum {
    REQUEST = 1,
    RESPONSE = 2,
    RST = 3,
    SHUTDOWN = 4,
    RW = 5,
    CREDIT_UPDATE = 6,
    CREDIT_REQUEST = 7,
};

#define HEADER     44u
#define RX_BUFFERS 64u
#define RX_SIZE    4096u
#define GOOD_PORT  1024u
#define BAD_PORT   1u

struct packet {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port, len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
    uint8_t data[RX_SIZE];
};

struct stage {
    struct fake_host h;
    struct vdev *dev;
    struct fake_driver d;
    uint64_t rx_mem, tx_mem;
    uint64_t rx_at[VQ_MAX_SIZE]; /* by head */
    uint32_t buf_alloc, fwd_cnt; /* what the guest says of itself */
    unsigned n_accepted;
    plat_fd accepted; /* the host's end of the last accepted connection */
    plat_fd earlier[2 * VSOCK_MAX_CONNECTIONS];
    unsigned n_earlier;
    unsigned n_done;
    int done_rc;
    plat_fd done_stream;
    struct packet in;
};

static int on_accept(void *ctx, uint32_t port, plat_fd *ret_stream)
{
    struct stage *s = ctx;
    struct lum_error err;
    plat_fd pair[2];

    if (port != GOOD_PORT)
        return LUM_ENOENT;
    if (plat_socketpair(pair, &err) < 0)
        return err.code;
    if (s->accepted != PLAT_FD_NONE)
        s->earlier[s->n_earlier++] = s->accepted;
    *ret_stream = pair[0];
    s->accepted = pair[1];
    s->n_accepted++;
    return 0;
}

static void on_dial(void *ctx, int rc)
{
    struct stage *s = ctx;

    s->n_done++;
    s->done_rc = rc;
}

static void add_rx(struct stage *s, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t at = s->rx_mem + (uint64_t)i * RX_SIZE;
        struct fake_buf buf = {at, RX_SIZE, true};
        s->rx_at[fake_add(&s->d, RX, &buf, 1)] = at;
    }
    fake_write(&s->d, 0x50, RX);
}

static struct stage *stage_new(unsigned rx_buffers)
{
    struct stage *s = calloc(1, sizeof(*s));
    struct lum_error err;

    if (!s)
        abort();
    fake_host_init(&s->h, false, true);
    s->accepted = s->done_stream = PLAT_FD_NONE;
    s->buf_alloc = 1 << 20;
    struct vsock_callbacks callbacks = {.accept = on_accept, .ctx = s};
    plat_loop_lock(s->h.loop);
    if (vdev_vsock_create(&s->h.host, 5, &callbacks, &s->dev, &err) < 0 ||
        vdev_attach(s->dev, &err) < 0)
        abort();
    plat_loop_unlock(s->h.loop);
    fake_driver_init(&s->d, &s->h, s->dev);
    if (!fake_start(&s->d))
        abort();
    s->rx_mem = fake_alloc(&s->d, (uint64_t)RX_BUFFERS * RX_SIZE);
    s->tx_mem = fake_alloc(&s->d, 1 << 20);
    if (rx_buffers > 0)
        add_rx(s, rx_buffers);
    return s;
}

static void close_earlier(struct stage *s)
{
    while (s->n_earlier > 0)
        plat_close(&s->earlier[--s->n_earlier]);
}

static void stage_free(struct stage *s)
{
    plat_loop_lock(s->h.loop);
    vdev_free(s->dev);
    plat_loop_unlock(s->h.loop);
    fake_host_done(&s->h);
    close_earlier(s);
    plat_close(&s->accepted);
    plat_close(&s->done_stream);
    free(s);
}

static bool needs_reset(struct stage *s)
{
    return (fake_read(&s->d, 0x70) & 64) != 0;
}

/* ---- the guest's packets ---- */

static struct packet packet_to(struct stage *s, uint32_t guest_port, uint32_t host_port,
                               uint16_t op)
{
    return (struct packet){.src_cid = 3,
                           .dst_cid = 2,
                           .src_port = guest_port,
                           .dst_port = host_port,
                           .type = 1,
                           .op = op,
                           .buf_alloc = s->buf_alloc,
                           .fwd_cnt = s->fwd_cnt};
}

static void put_header(uint8_t *raw, const struct packet *p)
{
    le64_store(raw, p->src_cid);
    le64_store(raw + 8, p->dst_cid);
    le32_store(raw + 16, p->src_port);
    le32_store(raw + 20, p->dst_port);
    le32_store(raw + 24, p->len);
    le16_store(raw + 28, p->type);
    le16_store(raw + 30, p->op);
    le32_store(raw + 32, p->flags);
    le32_store(raw + 36, p->buf_alloc);
    le32_store(raw + 40, p->fwd_cnt);
}

/* Sends a header and `size` bytes of payload, whatever p->len says. */
static void send_raw(struct stage *s, const struct packet *p, const void *payload, uint32_t size)
{
    uint8_t *raw = fake_ram(&s->h, s->tx_mem, HEADER + (uint64_t)size);
    struct fake_buf bufs[] = {{s->tx_mem, HEADER, false}, {s->tx_mem + HEADER, size, false}};
    uint32_t head, len;

    put_header(raw, p);
    if (size > 0)
        memcpy(raw + HEADER, payload, size);
    fake_add(&s->d, TX, bufs, size > 0 ? 2 : 1);
    fake_write(&s->d, 0x50, TX);
    while (fake_used(&s->d, TX, &head, &len))
        ;
}

static void send_op(struct stage *s, uint32_t guest_port, uint32_t host_port, uint16_t op)
{
    struct packet p = packet_to(s, guest_port, host_port, op);

    send_raw(s, &p, NULL, 0);
}

static void send_shutdown(struct stage *s, uint32_t guest_port, uint32_t host_port, uint32_t flags)
{
    struct packet p = packet_to(s, guest_port, host_port, SHUTDOWN);

    p.flags = flags;
    send_raw(s, &p, NULL, 0);
}

static void send_data(struct stage *s, uint32_t guest_port, uint32_t host_port, const void *data,
                      uint32_t size)
{
    struct packet p = packet_to(s, guest_port, host_port, RW);

    p.len = size;
    send_raw(s, &p, data, size);
}

/* Takes the next packet for the guest into s->in, and gives its buffer back unless keep. */
static bool take_packet(struct stage *s, bool wait, bool keep)
{
    uint32_t head, used;

    if (!(wait ? fake_wait_used(&s->d, RX, &head, &used) : fake_used(&s->d, RX, &head, &used)))
        return false;
    uint64_t at = s->rx_at[head];
    const uint8_t *raw = fake_ram(&s->h, at, RX_SIZE);
    s->in = (struct packet){.src_cid = le64_load(raw),
                            .dst_cid = le64_load(raw + 8),
                            .src_port = le32_load(raw + 16),
                            .dst_port = le32_load(raw + 20),
                            .len = le32_load(raw + 24),
                            .type = le16_load(raw + 28),
                            .op = le16_load(raw + 30),
                            .flags = le32_load(raw + 32),
                            .buf_alloc = le32_load(raw + 36),
                            .fwd_cnt = le32_load(raw + 40)};
    if (used != HEADER + s->in.len || s->in.len > RX_SIZE - HEADER)
        return false;
    memcpy(s->in.data, raw + HEADER, s->in.len);
    if (!keep) {
        struct fake_buf buf = {at, RX_SIZE, true};
        s->rx_at[fake_add(&s->d, RX, &buf, 1)] = at;
        fake_write(&s->d, 0x50, RX);
    }
    return true;
}

static bool got(struct stage *s, uint16_t op)
{
    return take_packet(s, true, false) && s->in.op == op;
}

static bool nothing_for_guest(struct stage *s)
{
    return !take_packet(s, false, false);
}

/* A guest-initiated connection from guest_port to GOOD_PORT. */
static bool connect_guest(struct stage *s, uint32_t guest_port)
{
    send_op(s, guest_port, GOOD_PORT, REQUEST);
    return got(s, RESPONSE) && s->in.src_port == GOOD_PORT && s->in.dst_port == guest_port;
}

/* Reads exactly size bytes of a blocking host stream. */
static bool read_all(plat_fd fd, void *buf, size_t size)
{
    for (size_t done = 0; done < size;) {
        if (plat_wait_fd(fd, false, PLAT_FD_NONE, 5000) != 1)
            return false;
        ssize_t n = plat_read(fd, (uint8_t *)buf + done, size - done);
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static bool at_end(plat_fd fd)
{
    char c;

    return plat_wait_fd(fd, false, PLAT_FD_NONE, 5000) == 1 && plat_read(fd, &c, 1) == 0;
}

/* ---- connections ---- */

static void test_guest_connects(void)
{
    struct stage *s = stage_new(RX_BUFFERS);
    char buf[16] = "";

    ok(vdev_mmio_read(s->dev, 0x100, 8) == 3, "the guest's context id is 3");
    ok(connect_guest(s, 5000), "a guest connects");
    ok(s->in.src_cid == 2 && s->in.dst_cid == 3 && s->in.type == 1 && s->in.len == 0 &&
           s->in.buf_alloc == VSOCK_BUFFER && s->in.fwd_cnt == 0,
       "the answer says who, what and how much");
    send_data(s, 5000, GOOD_PORT, "to the host", 11);
    ok(read_all(s->accepted, buf, 11) && memcmp(buf, "to the host", 11) == 0, "guest to host");
    ok(plat_write(s->accepted, "to the guest", 12) == 12 && got(s, RW) && s->in.len == 12 &&
           memcmp(s->in.data, "to the guest", 12) == 0,
       "host to guest");
    ok(s->in.fwd_cnt == 11, "with the count of what the host has taken");
    send_op(s, 5000, GOOD_PORT, CREDIT_REQUEST);
    ok(got(s, CREDIT_UPDATE) && s->in.fwd_cnt == 11 && s->in.buf_alloc == VSOCK_BUFFER,
       "a credit request is answered");
    ok(connect_guest(s, 5001) && s->n_accepted == 2, "a second connection to the same port");
    send_op(s, 5001, GOOD_PORT, RST);
    ok(at_end(s->accepted) && nothing_for_guest(s), "which an RST ends, unanswered");
    send_op(s, 5002, BAD_PORT, REQUEST);
    ok(got(s, RST) && s->in.src_port == BAD_PORT && s->in.dst_port == 5002,
       "a refused port is answered by RST");
    stage_free(s);
}

static void test_strangers(void)
{
    struct stage *s = stage_new(RX_BUFFERS);
    struct packet p;

    send_data(s, 7, 7, "x", 1);
    ok(got(s, RST) && s->in.src_port == 7 && s->in.dst_port == 7, "data out of nowhere: RST");
    send_shutdown(s, 7, 7, 3);
    ok(got(s, RST), "shutdown out of nowhere: RST");
    send_op(s, 7, 7, RST);
    ok(nothing_for_guest(s), "an RST is never answered");
    send_op(s, 7, 7, 0);
    ok(got(s, RST), "operation 0: RST");
    p = packet_to(s, 7, GOOD_PORT, REQUEST);
    p.src_cid = 4;
    send_raw(s, &p, NULL, 0);
    ok(got(s, RST) && s->in.dst_cid == 3 && s->n_accepted == 0, "a false source: RST to the guest");
    p = packet_to(s, 7, GOOD_PORT, REQUEST);
    p.dst_cid = 9;
    send_raw(s, &p, NULL, 0);
    ok(got(s, RST) && s->in.src_cid == 9 && s->n_accepted == 0,
       "another machine as destination: RST in its name");
    p = packet_to(s, 7, GOOD_PORT, REQUEST);
    p.dst_cid = 2 | 1ull << 32;
    send_raw(s, &p, NULL, 0);
    ok(got(s, RST) && s->n_accepted == 0, "all 64 bits of a context id count");
    p = packet_to(s, 7, GOOD_PORT, REQUEST);
    p.type = 2;
    send_raw(s, &p, NULL, 0);
    ok(got(s, RST) && s->in.type == 2 && s->n_accepted == 0,
       "another socket type: RST of that type");
    connect_guest(s, 8);
    send_op(s, 8, GOOD_PORT, RESPONSE);
    ok(got(s, RST) && at_end(s->accepted), "an answer that nobody asked for ends the connection");
    connect_guest(s, 8);
    send_op(s, 8, GOOD_PORT, 77);
    ok(got(s, RST) && at_end(s->accepted), "so does an unknown operation");
    connect_guest(s, 8);
    send_op(s, 8, GOOD_PORT, REQUEST);
    ok(got(s, RST) && at_end(s->accepted) && s->n_accepted == 3, "so does a second request");
    ok(connect_guest(s, 8), "and then the ports are free again");
    ok(vdev_live(s->dev), "none of this broke the device");
    stage_free(s);
}

/* CVE-2019-18960: the length in a header is the guest's word; the chain is what there is. */
static void test_cve_2019_18960_lengths(void)
{
    static const uint32_t lies[] = {5,          4096,       65536,     VSOCK_BUFFER,
                                    0x7fffffff, 0xffffffd4, UINT32_MAX};
    struct stage *s = stage_new(RX_BUFFERS);
    char buf[8];

    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        bool up = connect_guest(s, 100);
        struct packet p = packet_to(s, 100, GOOD_PORT, RW);
        p.len = lies[i];
        send_raw(s, &p, "data", 4);
        ok(up && got(s, RST) && at_end(s->accepted) && !needs_reset(s),
           "CVE-2019-18960: 4 bytes that claim to be %u: RST, nothing passed on", lies[i]);
    }
    struct packet p = packet_to(s, 100, GOOD_PORT, REQUEST);
    unsigned before = s->n_accepted;
    p.len = 1;
    send_raw(s, &p, NULL, 0);
    bool refused = got(s, RST);
    p.len = UINT32_MAX - HEADER + 1; /* with the header, 2^32 */
    send_raw(s, &p, NULL, 0);
    ok(refused && got(s, RST) && s->n_accepted == before,
       "CVE-2019-18960: not in a request either");

    connect_guest(s, 100);
    p = packet_to(s, 100, GOOD_PORT, RW);
    p.len = 4;
    send_raw(s, &p, "dataMORE", 8);
    ok(read_all(s->accepted, buf, 4) && memcmp(buf, "data", 4) == 0,
       "CVE-2019-18960: of a longer chain only the length counts");

    /* the header in three buffers, the payload in two, one of them with the header's end */
    uint8_t *raw = fake_ram(&s->h, s->tx_mem, 64);
    put_header(raw, &p);
    memcpy(raw + HEADER, "cuts", 4);
    struct fake_buf cut[] = {{s->tx_mem, 1, false},
                             {s->tx_mem + 1, 30, false},
                             {s->tx_mem + 31, 15, false},
                             {s->tx_mem + 46, 2, false}};
    fake_add_indirect(&s->d, TX, cut, 4);
    fake_write(&s->d, 0x50, TX);
    ok(read_all(s->accepted, buf, 4) && memcmp(buf, "cuts", 4) == 0,
       "CVE-2019-18960: a header need not be one buffer");

    struct fake_buf stub = {s->tx_mem, HEADER - 1, false};
    fake_add(&s->d, TX, &stub, 1);
    fake_write(&s->d, 0x50, TX);
    ok(needs_reset(s), "CVE-2019-18960: a packet shorter than its header needs a reset");
    stage_free(s);

    s = stage_new(0);
    struct fake_buf tiny = {s->rx_mem, HEADER - 1, true};
    fake_add(&s->d, RX, &tiny, 1);
    send_op(s, 1, BAD_PORT, REQUEST);
    ok(needs_reset(s), "CVE-2019-18960: so does a receive buffer shorter than a header");
    stage_free(s);

    s = stage_new(0);
    struct fake_buf writable = {s->tx_mem, HEADER, true};
    fake_add(&s->d, TX, &writable, 1);
    fake_write(&s->d, 0x50, TX);
    ok(needs_reset(s), "CVE-2019-18960: and a packet in a writable buffer");
    stage_free(s);
}

/* ---- dials ---- */

static bool dial_done(void *ctx)
{
    return ((struct stage *)ctx)->n_done == 1;
}

static void dial(struct stage *s, uint32_t port)
{
    struct lum_error err;
    plat_fd pair[2] = {PLAT_FD_NONE, PLAT_FD_NONE};

    plat_close(&s->done_stream);
    ok(plat_socketpair(pair, &err) == 0, "a stream for the dial");
    s->done_stream = pair[0];
    plat_loop_lock(s->h.loop);
    s->n_done = 0;
    vdev_vsock_dial(s->dev, port, pair[1], on_dial, s);
    plat_loop_unlock(s->h.loop);
}

static bool stream_ended(struct stage *s)
{
    char byte;

    return plat_wait_fd(s->done_stream, false, PLAT_FD_NONE, 0) == 1 &&
           plat_read(s->done_stream, &byte, 1) == 0;
}

static void test_dial(void)
{
    struct stage *s = stage_new(RX_BUFFERS);
    char buf[8];

    dial(s, 22);
    ok(got(s, REQUEST) && s->in.dst_port == 22 && s->n_done == 0, "a dial asks the guest");
    uint32_t port = s->in.src_port;
    send_op(s, 22, port, RESPONSE);
    ok(s->n_done == 1 && s->done_rc == 0, "which accepts");
    send_data(s, 22, port, "ssh", 3);
    ok(read_all(s->done_stream, buf, 3) && memcmp(buf, "ssh", 3) == 0, "guest to host");
    ok(plat_write(s->done_stream, "SSH", 3) == 3 && got(s, RW) && memcmp(s->in.data, "SSH", 3) == 0,
       "host to guest");
    plat_close(&s->done_stream);
    ok(got(s, SHUTDOWN) && s->in.flags == 3, "the host closes");

    dial(s, 23);
    ok(got(s, REQUEST) && s->in.src_port != port, "another dial comes from another port");
    send_op(s, 23, s->in.src_port, RST);
    ok(s->n_done == 1 && s->done_rc == LUM_ENOENT && stream_ended(s), "and may be refused");

    dial(s, 24);
    ok(got(s, REQUEST), "a third");
    send_data(s, 24, s->in.src_port, "x", 1);
    ok(s->n_done == 1 && s->done_rc == LUM_ENOENT && got(s, RST),
       "an answer that is none: refused");

    dial(s, 25);
    ok(got(s, REQUEST), "a fourth");
    port = s->in.src_port;
    ok(fake_wait(&s->h, dial_done, s) && s->done_rc == LUM_ETIMEDOUT, "silence: timed out");
    ok(got(s, RST), "the guest is told to forget it");
    send_op(s, 25, port, RESPONSE);
    ok(got(s, RST) && s->n_done == 1, "an answer after that is refused");

    dial(s, 26);
    ok(got(s, REQUEST), "a fifth");
    fake_write(&s->d, 0x70, 0);
    ok(s->n_done == 1 && s->done_rc == LUM_EGONE, "a device reset ends a dial");
    ok(stream_ended(s), "and its stream");
    dial(s, 27);
    ok(s->n_done == 1 && s->done_rc == LUM_EGONE && stream_ended(s),
       "and there is none before the driver is back");
    stage_free(s);

    s = stage_new(0);
    dial(s, 22);
    send_op(s, 22, 0x40000001, RESPONSE);
    ok(s->n_done == 1 && s->done_rc == LUM_ENOENT,
       "an answer to a request that was not delivered yet is none");
    dial(s, 22);
    plat_loop_lock(s->h.loop);
    vdev_free(s->dev);
    plat_loop_unlock(s->h.loop);
    ok(s->n_done == 1 && s->done_rc == LUM_EGONE, "freeing the device ends a dial");
    ok(stream_ended(s), "with its stream");
    s->dev = NULL;
    stage_free(s);
}

/* ---- credit ---- */

static uint8_t pattern[VSOCK_BUFFER * 4];

static void test_credit_of_guest(void)
{
    struct stage *s = stage_new(RX_BUFFERS);
    uint32_t sent = 0, told = 0;
    uint8_t *back = malloc(sizeof(pattern));

    if (!back)
        abort();
    connect_guest(s, 50);
    /* Nobody reads on the host: everything up to our promise is kept. What the socket took in
     * counts as delivered. */
    while (sent + 65536 - told <= VSOCK_BUFFER && sent < sizeof(pattern) - 65536) {
        send_data(s, 50, GOOD_PORT, pattern + sent, 65536);
        sent += 65536;
        while (take_packet(s, false, false)) {
            if (s->in.op == CREDIT_UPDATE)
                told = s->in.fwd_cnt;
        }
    }
    ok(sent >= VSOCK_BUFFER && vdev_live(s->dev), "the guest's credit can be used up (%u bytes)",
       sent);
    ok(read_all(s->accepted, back, sent) && memcmp(back, pattern, sent) == 0,
       "and the host reads all of it");
    send_op(s, 50, GOOD_PORT, CREDIT_REQUEST);
    bool all_told = false;
    while (!all_told && got(s, CREDIT_UPDATE)) {
        all_told = s->in.fwd_cnt == sent;
        if (!all_told) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            send_op(s, 50, GOOD_PORT, CREDIT_REQUEST);
        }
    }
    ok(all_told, "all of it is credited back");
    send_data(s, 50, GOOD_PORT, "more", 4);
    ok(read_all(s->accepted, back, 4) && memcmp(back, "more", 4) == 0, "and the guest goes on");

    connect_guest(s, 51);
    for (unsigned i = 0; i < 40 && s->in.op != RST; i++) {
        send_data(s, 51, GOOD_PORT, pattern, 65536); /* whatever the credit */
        take_packet(s, false, false);
    }
    ok(s->in.op == RST, "a guest that overruns its credit is reset");
    ok(vdev_live(s->dev), "the device lives on");
    free(back);
    stage_free(s);
}

static void test_credit_of_host(void)
{
    struct stage *s = stage_new(RX_BUFFERS);
    uint32_t seen = 0;

    s->buf_alloc = 100;
    connect_guest(s, 60);
    ok(plat_write(s->accepted, pattern, 1000) == 1000, "the host writes 1000 bytes");
    ok(got(s, RW) && s->in.len == 100, "the guest with room for 100 gets 100");
    ok(got(s, CREDIT_REQUEST), "and is asked for more room, once");
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    ok(nothing_for_guest(s), "nothing more comes");
    seen = 100;
    s->fwd_cnt = 40;
    send_op(s, 60, GOOD_PORT, CREDIT_UPDATE);
    ok(got(s, RW) && s->in.len == 40 && memcmp(s->in.data, pattern + seen, 40) == 0,
       "40 bytes consumed make room for 40");
    ok(got(s, CREDIT_REQUEST), "asked again");
    s->fwd_cnt = 500; /* more than was ever sent */
    send_op(s, 60, GOOD_PORT, CREDIT_UPDATE);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    ok(vdev_live(s->dev) && nothing_for_guest(s), "a false count earns nothing");
    s->fwd_cnt = 140;
    s->buf_alloc = 1 << 20;
    send_op(s, 60, GOOD_PORT, CREDIT_UPDATE);
    ok(got(s, RW) && s->in.len == 860 && memcmp(s->in.data, pattern + 140, 860) == 0,
       "a larger buffer lets the rest through");
    stage_free(s);
}

/* ---- the guest withholds receive buffers ---- */

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void test_no_rx_buffers(void)
{
    struct stage *s = stage_new(2);
    unsigned n = 0, first = 0;

    connect_guest(s, 70); /* its buffer is given back: two there again */
    ok(plat_write(s->accepted, pattern, 20000) == 20000, "the host writes 20000 bytes");
    ok(take_packet(s, true, true) && s->in.op == RW && take_packet(s, true, true) && s->in.op == RW,
       "two buffers are filled");
    uint64_t before = cpu_ns();
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    ok(cpu_ns() - before < 100000000, "without buffers nobody spins");
    for (unsigned i = 0; i < 200; i++)
        send_op(s, 10000 + i, BAD_PORT, REQUEST);
    send_op(s, 70, GOOD_PORT, CREDIT_REQUEST);
    ok(vdev_live(s->dev), "200 refusals wait or are dropped");
    uint32_t more = 2 * (RX_SIZE - HEADER);
    unsigned credits = 0;
    add_rx(s, RX_BUFFERS);
    while (n < 64 + 4 && take_packet(s, true, false)) {
        if (s->in.op == RST) {
            if (n == 0 || first == 0)
                first = s->in.dst_port;
            n++;
        } else if (s->in.op == CREDIT_UPDATE) {
            credits++;
        } else if (s->in.op == RW) {
            if (memcmp(s->in.data, pattern + more, s->in.len) != 0)
                break;
            more += s->in.len;
        }
        if (n == 64 && more == 20000)
            break;
    }
    ok(n == 64 && first == 10000 + 200 - 64, "the newest 64 refusals are delivered (%u from %u)", n,
       first);
    ok(credits == 1, "and the one credit update");
    ok(more == 20000, "and all data, in order");
    stage_free(s);
}

static void test_limit(void)
{
    struct stage *s = stage_new(RX_BUFFERS);
    unsigned n = 0;

    while (n <= VSOCK_MAX_CONNECTIONS && connect_guest(s, 2000 + n))
        n++;
    ok(n == VSOCK_MAX_CONNECTIONS && s->in.op == RST, "%u connections, then RST", n);
    dial(s, 22);
    ok(s->n_done == 1 && s->done_rc == LUM_EBUSY, "nor can the host dial");
    close_earlier(s);
    while (n > 1 && take_packet(s, true, false) && s->in.op == SHUTDOWN)
        n -= s->in.flags == 3; /* one may hear of it in two steps */
    ok(n == 1 && connect_guest(s, 9000), "closed ones make room");
    stage_free(s);
}

/* ---- ends ---- */

static void test_half_close_by_guest(void)
{
    struct stage *s = stage_new(RX_BUFFERS);
    char buf[8];

    connect_guest(s, 80);
    send_data(s, 80, GOOD_PORT, "last", 4);
    send_shutdown(s, 80, GOOD_PORT, 2);
    ok(read_all(s->accepted, buf, 4) && at_end(s->accepted), "the host reads the last and the end");
    ok(plat_write(s->accepted, "still", 5) == 5 && got(s, RW) && s->in.len == 5,
       "the other direction goes on");
    plat_close(&s->accepted);
    ok(got(s, RST), "until the host closes: then all is over");
    send_op(s, 80, GOOD_PORT, CREDIT_UPDATE);
    ok(got(s, RST), "and forgotten");

    connect_guest(s, 81);
    send_shutdown(s, 81, GOOD_PORT, 2);
    send_data(s, 81, GOOD_PORT, "liar", 4);
    ok(got(s, RST), "data after a shutdown of sending is an offence");

    connect_guest(s, 82);
    send_shutdown(s, 82, GOOD_PORT, 1);
    bool broken = false;
    for (unsigned i = 0; i < 2 && !broken; i++)
        broken = plat_write(s->accepted, "x", 1) == -EPIPE;
    ok(broken, "the host cannot write to a guest that does not receive");
    send_data(s, 82, GOOD_PORT, "mine", 4);
    ok(read_all(s->accepted, buf, 4) && memcmp(buf, "mine", 4) == 0, "but reads what it sends");
    send_shutdown(s, 82, GOOD_PORT, 2);
    ok(got(s, RST) && at_end(s->accepted), "until that ends too");
    stage_free(s);
}

static void test_half_close_by_host(void)
{
    struct stage *s = stage_new(RX_BUFFERS);
    char buf[8];

    connect_guest(s, 85);
    ok(plat_write(s->accepted, "bye", 3) == 3, "the host's last word");
    plat_shutdown_write(s->accepted);
    ok(got(s, RW) && s->in.len == 3 && got(s, SHUTDOWN) && s->in.flags == 2,
       "the guest gets it, then the end");
    send_data(s, 85, GOOD_PORT, "answer", 6);
    ok(read_all(s->accepted, buf, 6), "the guest may still send");
    send_shutdown(s, 85, GOOD_PORT, 2);
    ok(got(s, RST) && at_end(s->accepted), "both ended: over");

    connect_guest(s, 86);
    s->buf_alloc = 10;
    send_op(s, 86, GOOD_PORT, CREDIT_UPDATE);
    ok(plat_write(s->accepted, pattern, 25) == 25, "the host writes more than the guest can take");
    plat_close(&s->accepted);
    s->fwd_cnt = 10;
    ok(got(s, RW) && s->in.len == 10, "and closes: the guest gets a first part");
    for (unsigned i = 0; i < 4 && take_packet(s, true, false) && s->in.op != RW; i++)
        send_op(s, 86, GOOD_PORT, CREDIT_UPDATE);
    ok(s->in.op == RW && s->in.len == 10, "and as it reads, the next");
    s->fwd_cnt = 20;
    for (unsigned i = 0; i < 4 && (s->in.op != RW || s->in.len == 10); i++) {
        send_op(s, 86, GOOD_PORT, CREDIT_UPDATE);
        if (!take_packet(s, true, false))
            break;
    }
    ok(s->in.op == RW && s->in.len == 5, "and the last");
    ok(got(s, SHUTDOWN) && s->in.flags == 3, "then both directions are shut down");
    send_shutdown(s, 86, GOOD_PORT, 3);
    ok(got(s, RST), "the guest's own shutdown is confirmed");
    stage_free(s);
}

static void test_close_with_data_under_way(void)
{
    struct stage *s = stage_new(RX_BUFFERS);
    uint32_t sent = 0;
    uint8_t *back = malloc(sizeof(pattern));

    if (!back)
        abort();
    connect_guest(s, 90);
    while (sent < VSOCK_BUFFER) { /* more than the socket takes by itself */
        send_data(s, 90, GOOD_PORT, pattern + sent, 65536);
        sent += 65536;
    }
    send_shutdown(s, 90, GOOD_PORT, 3);
    bool rst = false;
    while (!rst && take_packet(s, true, false))
        rst = s->in.op == RST;
    ok(rst, "a guest that closes is let go at once");
    plat_fd old = STEAL_FD(s->accepted);
    ok(connect_guest(s, 90) && s->n_accepted == 2, "and may use its port again");
    send_data(s, 90, GOOD_PORT, "new", 3);
    ok(read_all(old, back, sent) && memcmp(back, pattern, sent) == 0 && at_end(old),
       "the host still gets all it sent, and then the end");
    ok(read_all(s->accepted, back, 3) && memcmp(back, "new", 3) == 0, "apart from the new stream");
    plat_close(&old);

    connect_guest(s, 91);
    for (sent = 0; sent < VSOCK_BUFFER; sent += 65536)
        send_data(s, 91, GOOD_PORT, pattern + sent, 65536);
    plat_close(&s->accepted);
    bool over = false;
    while (!over && take_packet(s, true, false))
        over = s->in.op == SHUTDOWN && s->in.flags == 3;
    ok(over, "a host that closes with data unread: the guest is told");

    connect_guest(s, 92);
    for (sent = 0; sent < VSOCK_BUFFER; sent += 65536)
        send_data(s, 92, GOOD_PORT, pattern + sent, 65536);
    plat_shutdown_read(s->accepted);
    while (plat_read(s->accepted, back, sizeof(pattern)) > 0)
        ; /* what the socket holds; then the device tries to write, and learns of it */
    over = false;
    while (!over && take_packet(s, true, false))
        over = s->in.op == SHUTDOWN;
    ok(over && s->in.flags == 1 && s->in.fwd_cnt == sent,
       "a host that stops reading: the guest is told, and credited for what was dropped");
    send_data(s, 92, GOOD_PORT, "late", 4);
    ok(plat_write(s->accepted, "yes", 3) == 3 && got(s, RW) && s->in.fwd_cnt == sent + 4,
       "what it still sends is dropped, the other direction goes on");
    free(back);
    stage_free(s);
}

static void test_device_reset(void)
{
    struct stage *s = stage_new(RX_BUFFERS);

    connect_guest(s, 95);
    fake_write(&s->d, 0x70, 0);
    ok(at_end(s->accepted), "a device reset ends the streams");
    ok(fake_start(&s->d), "the driver starts again");
    add_rx(s, RX_BUFFERS);
    send_data(s, 95, GOOD_PORT, "x", 1);
    ok(got(s, RST), "the old connections are forgotten");
    ok(connect_guest(s, 95), "new ones are made");
    stage_free(s);
}

/* ---- bulk, and memory ---- */

#define BULK (8u << 20)

static void host_echo(void *ctx)
{
    plat_fd fd = *(plat_fd *)ctx;
    static uint8_t buf[50000];
    ssize_t n;

    while ((n = plat_read(fd, buf, sizeof(buf))) > 0) {
        for (ssize_t done = 0; done < n;) {
            ssize_t w = plat_write(fd, buf + done, (size_t)(n - done));
            if (w <= 0)
                return;
            done += w;
        }
    }
    plat_shutdown_write(fd);
}

static uint8_t byte_at(uint32_t i)
{
    return (uint8_t)(i * 2654435761u >> 24);
}

/* The guest sends 8 MiB in odd pieces, an echo on the host sends them back; both keep to credit. */
static void test_bulk(void)
{
    struct stage *s = stage_new(RX_BUFFERS);
    struct lum_error err;
    struct plat_thread *thread = NULL;
    uint32_t sent = 0, received = 0, credited = 0, size = 1, n_bad = 0;
    uint8_t *piece = malloc(65536);
    bool ended = false;

    s->buf_alloc = 64 * 1024;
    connect_guest(s, 99);
    plat_fd stream = s->accepted;
    if (!piece || plat_thread_start(&thread, "echo", host_echo, &stream, &err) < 0)
        abort();
    while (!ended) {
        uint32_t room = VSOCK_BUFFER - (sent - credited);
        size = size * 7 % 30011 + 1;
        if (size > room)
            size = room;
        if (size > BULK - sent)
            size = BULK - sent;
        for (uint32_t i = 0; i < size; i++)
            piece[i] = byte_at(sent + i);
        if (size > 0) {
            send_data(s, 99, GOOD_PORT, piece, size);
            sent += size;
            if (sent == BULK)
                send_shutdown(s, 99, GOOD_PORT, 2);
        }
        if (!take_packet(s, size == 0, false)) {
            if (size == 0)
                break;
            continue;
        }
        credited = s->in.op == RST ? credited : s->in.fwd_cnt;
        for (uint32_t i = 0; s->in.op == RW && i < s->in.len; i++)
            n_bad += s->in.data[i] != byte_at(received + i);
        received += s->in.op == RW ? s->in.len : 0;
        if (s->in.op == RW && received - s->fwd_cnt > 16384) {
            s->fwd_cnt = received;
            send_op(s, 99, GOOD_PORT, CREDIT_UPDATE);
        }
        ended = s->in.op == RST || s->in.op == SHUTDOWN;
    }
    ok(sent == BULK && received == BULK && n_bad == 0, "%u of %u bytes there and back, %u wrong",
       received, BULK, n_bad);
    ok(ended && s->in.op == RST, "and a clean end");
    plat_shutdown_read(stream);
    plat_thread_join(thread);
    free(piece);
    stage_free(s);
}

static void test_no_memory(void)
{
    struct fake_host h;
    struct vdev *dev = NULL;
    struct lum_error err;
    struct vsock_callbacks callbacks = {.accept = on_accept};
    long n = 0;
    int rc;

    fake_host_init(&h, false, false);
    for (;; n++) {
        lum_alloc_fail_at = n;
        rc = vdev_vsock_create(&h.host, 5, &callbacks, &dev, &err);
        lum_alloc_fail_at = -1;
        if (rc == 0 || rc != LUM_ENOMEM || dev)
            break;
    }
    ok(rc == 0 && n >= 2, "creation fails cleanly at each of its %ld allocations", n);
    vdev_free(dev);
    fake_host_done(&h);

    struct stage *s = stage_new(RX_BUFFERS);
    connect_guest(s, 30);
    plat_loop_lock(s->h.loop);
    lum_alloc_fail_at = 0;
    plat_loop_unlock(s->h.loop);
    for (unsigned i = 0; i < 40 && s->in.op != RST; i++) {
        send_data(s, 30, GOOD_PORT, pattern, 65536);
        take_packet(s, false, false);
    }
    ok(s->in.op == RST, "no memory for a buffer: that connection is reset");
    dial(s, 22);
    ok(s->n_done == 1 && s->done_rc == LUM_ENOMEM, "no memory for a connection: the dial says so");
    unsigned before = s->n_accepted;
    send_op(s, 31, GOOD_PORT, REQUEST);
    plat_loop_lock(s->h.loop);
    lum_alloc_fail_at = -1;
    plat_loop_unlock(s->h.loop);
    ok(got(s, RST) && s->n_accepted == before + 1 && at_end(s->accepted), "nor for an accept: RST");
    ok(connect_guest(s, 32), "with memory all is well again");
    stage_free(s);
}

int main(void)
{
    for (uint32_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = byte_at(i);
    test_guest_connects();
    test_strangers();
    test_cve_2019_18960_lengths();
    test_dial();
    test_credit_of_guest();
    test_credit_of_host();
    test_no_rx_buffers();
    test_limit();
    test_half_close_by_guest();
    test_half_close_by_host();
    test_close_with_data_under_way();
    test_device_reset();
    test_bulk();
    test_no_memory();
    return tap_done();
}
