/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket device (VIRTIO 1.2, 5.10), stream sockets only: packets in and out of the queues, who
 * may connect where, dials and their time limit. What happens inside a connection is vsock_conn.c.
 *
 * Packets to the guest need receive buffers that the guest may withhold. So nothing that waits for
 * one grows: each connection owes at most one packet of each kind, and refusals wait in a short
 * ring.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "dev/vsock.h"

enum { QUEUE_RX, QUEUE_TX, QUEUE_EVENT, N_QUEUES };

#define F_STREAM        ((uint64_t)1 << 0)
#define CONFIG_SIZE     8u /* u64 guest_cid */
#define DIAL_TIMEOUT_NS (2 * (uint64_t)1000000000)
#define FIRST_PORT      0x40000000u /* of our end of a dial: far from the ports that services use */

static struct vsock *vsock_of(struct vdev *dev)
{
    return container_of(dev, struct vsock, base);
}

/* ---- packets ---- */

static struct vsock_header header_parse(const uint8_t raw[VSOCK_HEADER])
{
    return (struct vsock_header){
        .src_cid = le64_load(raw),
        .dst_cid = le64_load(raw + 8),
        .src_port = le32_load(raw + 16),
        .dst_port = le32_load(raw + 20),
        .len = le32_load(raw + 24),
        .type = le16_load(raw + 28),
        .op = le16_load(raw + 30),
        .flags = le32_load(raw + 32),
        .buf_alloc = le32_load(raw + 36),
        .fwd_cnt = le32_load(raw + 40),
    };
}

/* Into v->rx, which goes back to the guest. */
static void send_header(struct vsock *v, const struct vsock_header *h)
{
    uint8_t raw[VSOCK_HEADER];

    le64_store(raw, h->src_cid);
    le64_store(raw + 8, h->dst_cid);
    le32_store(raw + 16, h->src_port);
    le32_store(raw + 20, h->dst_port);
    le32_store(raw + 24, h->len);
    le16_store(raw + 28, h->type);
    le16_store(raw + 30, h->op);
    le32_store(raw + 32, h->flags);
    le32_store(raw + 36, h->buf_alloc);
    le32_store(raw + 40, h->fwd_cnt);
    if (vq_chain_write(&v->rx, 0, raw, sizeof(raw)))
        vq_push(&v->base.queues[QUEUE_RX], &v->rx, VSOCK_HEADER + h->len);
}

bool vsock_take_rx(struct vsock *v)
{
    int rc = vq_pop(&v->base.queues[QUEUE_RX], &v->rx);

    if (rc == 1 && v->rx.write_size < VSOCK_HEADER) {
        vdev_needs_reset(&v->base, "receive buffer smaller than a header");
        rc = LUM_EGUEST;
    }
    v->starved = rc != 1;
    return rc == 1;
}

void vsock_send_rx(struct vsock *v, struct vsock_conn *c, enum vsock_op op, uint32_t flags,
                   uint32_t len)
{
    c->fwd_cnt_told = c->fwd_cnt;
    send_header(v, &(struct vsock_header){.src_cid = VSOCK_HOST_CID,
                                          .dst_cid = VSOCK_GUEST_CID,
                                          .src_port = c->host_port,
                                          .dst_port = c->guest_port,
                                          .len = len,
                                          .type = VSOCK_TYPE_STREAM,
                                          .op = (uint16_t)op,
                                          .flags = flags,
                                          .buf_alloc = VSOCK_BUFFER,
                                          .fwd_cnt = c->fwd_cnt});
}

void vsock_queue_rst(struct vsock *v, const struct vsock_rst *rst)
{
    if (v->n_rsts == VSOCK_MAX_RSTS) {
        v->first_rst = (v->first_rst + 1) % VSOCK_MAX_RSTS;
        v->n_rsts--;
    }
    v->rsts[(v->first_rst + v->n_rsts) % VSOCK_MAX_RSTS] = *rst;
    v->n_rsts++;
}

static void flush_rsts(struct vsock *v)
{
    while (v->n_rsts > 0 && vsock_take_rx(v)) {
        const struct vsock_rst *r = &v->rsts[v->first_rst];

        send_header(v, &(struct vsock_header){.src_cid = r->host_cid,
                                              .dst_cid = VSOCK_GUEST_CID,
                                              .src_port = r->host_port,
                                              .dst_port = r->guest_port,
                                              .type = r->type,
                                              .op = VSOCK_OP_RST});
        v->first_rst = (v->first_rst + 1) % VSOCK_MAX_RSTS;
        v->n_rsts--;
    }
}

static void flush_conns(struct vsock *v)
{
    struct vsock_conn *next;

    for (struct vsock_conn *c = v->conns; c; c = next) {
        next = c->next;
        if (!vsock_conn_flush(c))
            return;
    }
    v->owing = false;
}

void vsock_flush(struct vsock *v)
{
    if (v->owing)
        flush_conns(v);
    flush_rsts(v);
    vq_notify(&v->base.queues[QUEUE_RX]);
}

/* ---- from the guest ---- */

static void refuse(struct vsock *v, const struct vsock_header *h)
{
    if (h->op != VSOCK_OP_RST)
        vsock_queue_rst(v, &(struct vsock_rst){.host_cid = h->dst_cid,
                                               .guest_port = h->src_port,
                                               .host_port = h->dst_port,
                                               .type = h->type});
}

static void guest_connects(struct vsock *v, const struct vsock_header *h)
{
    plat_fd stream = PLAT_FD_NONE;
    struct lum_error err;
    int why;

    if (v->n_conns == VSOCK_MAX_CONNECTIONS ||
        v->callbacks.accept(v->callbacks.ctx, h->dst_port, &stream) < 0) {
        refuse(v, h);
        return;
    }
    struct vsock_conn *c = vsock_conn_new(v, h->src_port, h->dst_port, &why);
    if (!c) {
        plat_close(&stream);
        refuse(v, h);
        return;
    }
    if (vsock_conn_open(c, stream, &err) < 0) {
        vsock_conn_close(c, true, 0);
        return;
    }
    c->peer_alloc = h->buf_alloc;
    c->peer_fwd_cnt = h->fwd_cnt;
    c->owed = VSOCK_OWE_RESPONSE;
    v->owing = true;
    vsock_conn_settle(c);
}

/* One packet in v->tx; false when it has no header. */
static bool receive(struct vsock *v)
{
    uint8_t raw[VSOCK_HEADER];

    if (!vq_chain_read(&v->tx, 0, raw, sizeof(raw)))
        return false;
    struct vsock_header h = header_parse(raw);
    if (h.src_cid != VSOCK_GUEST_CID || h.dst_cid != VSOCK_HOST_CID ||
        h.type != VSOCK_TYPE_STREAM) {
        refuse(v, &h);
        return true;
    }
    struct vsock_conn *c = vsock_conn_find(v, h.src_port, h.dst_port);
    bool fits = h.len <= v->tx.read_size - VSOCK_HEADER;
    if (c && (!fits || h.op == VSOCK_OP_REQUEST))
        vsock_conn_close(c, h.op != VSOCK_OP_RST, LUM_ENOENT);
    else if (c)
        vsock_conn_packet(c, &h);
    else if (fits && h.op == VSOCK_OP_REQUEST)
        guest_connects(v, &h);
    else
        refuse(v, &h);
    return true;
}

static void transmit_kicked(struct vsock *v, struct vq *q)
{
    unsigned n = 0;

    while (n < q->size && vq_pop(q, &v->tx) == 1) {
        if (!receive(v)) {
            vdev_needs_reset(&v->base, "packet shorter than its header");
            return;
        }
        vq_push(q, &v->tx, 0);
        n++;
    }
    vq_notify(q);
    vsock_flush(v);
    if (n == q->size)
        vdev_kick_again(q);
}

/* The guest added receive buffers: send what waited, and read streams again. */
static void receive_kicked(struct vsock *v)
{
    struct vsock_conn *next;
    bool paused = v->starved;

    v->starved = false;
    vsock_flush(v);
    for (struct vsock_conn *c = v->conns; c && paused && !v->starved; c = next) {
        next = c->next;
        vsock_conn_settle(c);
    }
}

static void vsock_kicked(struct vdev *dev, struct vq *q)
{
    if (q->index == QUEUE_TX)
        transmit_kicked(vsock_of(dev), q);
    else if (q->index == QUEUE_RX)
        receive_kicked(vsock_of(dev));
    /* Buffers in the event queue wait for events that never happen here. */
}

/* ---- dials ---- */

/* The dial that ends first, or NULL. */
static struct vsock_conn *first_dial(struct vsock *v)
{
    struct vsock_conn *first = NULL;

    for (struct vsock_conn *c = v->conns; c; c = c->next) {
        if (c->state == VSOCK_CONNECTING && (!first || c->deadline_ns < first->deadline_ns))
            first = c;
    }
    return first;
}

static void dial_timer(void *ctx)
{
    struct vsock *v = ctx;
    struct vsock_conn *c;

    while ((c = first_dial(v)) != NULL) {
        uint64_t now = plat_now_ns();

        if (c->deadline_ns > now) {
            plat_timer_set(v->timer, c->deadline_ns - now);
            break;
        }
        /* A guest that never saw the REQUEST needs no RST. */
        vsock_conn_close(c, !(c->owed & VSOCK_OWE_REQUEST), LUM_ETIMEDOUT);
    }
    vsock_flush(v);
}

static uint32_t free_port(struct vsock *v, uint32_t guest_port)
{
    do {
        /* UINT32_MAX is "any port" to the guest's socket layer. */
        v->next_port = v->next_port >= UINT32_MAX - 1 ? FIRST_PORT : v->next_port + 1;
    } while (vsock_conn_find(v, guest_port, v->next_port)); /* ends: there are few connections */
    return v->next_port;
}

void vdev_vsock_dial(struct vdev *dev, uint32_t port, plat_fd stream,
                     void (*done)(void *ctx, int rc), void *ctx)
{
    struct vsock *v = vsock_of(dev);
    int why = LUM_EGONE;
    bool only = !first_dial(v);
    struct vsock_conn *c =
        vdev_live(dev) ? vsock_conn_new(v, port, free_port(v, port), &why) : NULL;

    if (!c) {
        plat_close(&stream);
        done(ctx, why);
        return;
    }
    if (only) /* else the timer already stands at an earlier deadline */
        plat_timer_set(v->timer, DIAL_TIMEOUT_NS);
    c->dial_end = stream;
    c->done = done;
    c->done_ctx = ctx;
    c->deadline_ns = plat_now_ns() + DIAL_TIMEOUT_NS;
    c->owed = VSOCK_OWE_REQUEST;
    v->owing = true;
    vsock_flush(v);
}

/* ---- the device ---- */

/* On a vCPU's thread perhaps: the connections only leave the table. */
static void vsock_reset(struct vdev *dev)
{
    struct vsock *v = vsock_of(dev);

    vsock_doom_conns(v);
    v->first_rst = v->n_rsts = 0;
    v->starved = v->owing = false;
    if (v->doomed)
        vdev_kick_again(&dev->queues[0]);
}

static void vsock_settle(struct vdev *dev)
{
    struct vsock *v = vsock_of(dev);

    while (v->doomed)
        vsock_conn_drop(v->doomed, LUM_EGONE);
}

static void vsock_free(struct vdev *dev)
{
    struct vsock *v = vsock_of(dev);

    dev->status = 0; /* a dialler that tries again from its callback is told that we are gone */
    vsock_doom_conns(v);
    vsock_settle(dev);
    plat_timer_free(v->timer);
    vdev_detach(dev);
    free(v);
}

static const struct vdev_ops vsock_ops = {
    .name = "vsock",
    .virtio_id = 19,
    .n_queues = N_QUEUES,
    .queue_size = 128,
    .config_size = CONFIG_SIZE,
    .features = F_STREAM,
    .kicked = vsock_kicked,
    .settle = vsock_settle,
    .reset = vsock_reset,
    .free = vsock_free,
};

int vdev_vsock_create(const struct dev_host *host, uint32_t slot,
                      const struct vsock_callbacks *callbacks, struct vdev **ret_dev,
                      struct lum_error *err)
{
    struct vsock *v = lum_calloc(1, sizeof(*v));

    if (!v)
        return lum_fail(err, LUM_ENOMEM, "virtio vsock: out of memory");
    vdev_init(&v->base, &vsock_ops, host, slot);
    v->callbacks = *callbacks;
    v->next_port = FIRST_PORT;
    le64_store(v->base.config, VSOCK_GUEST_CID);
    int rc = plat_timer_create(host->loop, dial_timer, v, &v->timer, err);
    if (rc < 0) {
        vsock_free(&v->base);
        return lum_context(err, "virtio vsock");
    }
    *ret_dev = &v->base;
    return 0;
}
