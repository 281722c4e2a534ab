/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One vsock connection: a stream socket on the host, credit in both directions, and the way both
 * directions end.
 *
 * Guest to host: data is written to the stream at once; what it does not take waits in a buffer of
 * the size that we advertise, so a guest that keeps to its credit can never overrun it, and one
 * that does not is reset. Host to guest: the stream is read only while the guest has credit and
 * receive buffers, straight into those buffers; otherwise it is not even watched, and the host's
 * writer blocks as on any socket.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "dev/vsock.h"

#define READ_MAX      (64u * 1024) /* of one packet */
#define READS_A_TURN  16u
#define UPDATE_CREDIT (VSOCK_BUFFER / 4) /* tell the guest of consumed bytes from here on */

/* ---- life ---- */

static void list_insert(struct vsock_conn **list, struct vsock_conn *c)
{
    c->next = *list;
    c->link = list;
    if (c->next)
        c->next->link = &c->next;
    *list = c;
}

static void list_remove(struct vsock_conn *c)
{
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
}

struct vsock_conn *vsock_conn_find(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
    for (struct vsock_conn *c = v->conns; c; c = c->next) {
        if (c->guest_port != guest_port || c->host_port != host_port || c->state == VSOCK_DRAINING)
            continue;
        if (c != v->conns) { /* traffic comes in bursts: the next search ends at once */
            list_remove(c);
            list_insert(&v->conns, c);
        }
        return c;
    }
    return NULL;
}

struct vsock_conn *vsock_conn_new(struct vsock *v, uint32_t guest_port, uint32_t host_port,
                                  int *ret_why)
{
    if (v->n_conns == VSOCK_MAX_CONNECTIONS) {
        *ret_why = LUM_EBUSY;
        return NULL;
    }
    struct vsock_conn *c = lum_calloc(1, sizeof(*c));
    if (!c) {
        *ret_why = LUM_ENOMEM;
        return NULL;
    }
    c->dev = v;
    c->guest_port = guest_port;
    c->host_port = host_port;
    c->state = VSOCK_CONNECTING;
    c->stream = c->dial_end = PLAT_FD_NONE;
    list_insert(&v->conns, c);
    v->n_conns++;
    return c;
}

static void conn_free(struct vsock_conn *c)
{
    list_remove(c);
    if (c->state != VSOCK_DOOMED)
        c->dev->n_conns--;
    plat_watch_free(c->watch);
    plat_close(&c->stream);
    plat_close(&c->dial_end);
    free(c->buffer);
    free(c);
}

/* The dialler's answer, when there is one to give and it was not given. */
static void dial_ended(struct vsock_conn *c, int rc)
{
    void (*done)(void *ctx, int rc) = c->done;

    c->done = NULL;
    if (done)
        done(c->done_ctx, rc);
}

void vsock_conn_close(struct vsock_conn *c, bool rst, int rc)
{
    if (rst)
        vsock_queue_rst(c->dev, &(struct vsock_rst){.host_cid = VSOCK_HOST_CID,
                                                    .guest_port = c->guest_port,
                                                    .host_port = c->host_port,
                                                    .type = VSOCK_TYPE_STREAM});
    c->state = VSOCK_DRAINING; /* not to be found any more, by the callback neither */
    c->owed = 0;
    if (c->stream != PLAT_FD_NONE)
        plat_shutdown_read(c->stream); /* what the host still writes would go nowhere */
    dial_ended(c, rc);
    vsock_conn_settle(c);
}

void vsock_doom_conns(struct vsock *v)
{
    while (v->conns) {
        struct vsock_conn *c = v->conns;

        list_remove(c);
        list_insert(&v->doomed, c);
        c->state = VSOCK_DOOMED;
    }
    v->n_conns = 0;
}

void vsock_conn_drop(struct vsock_conn *c, int rc)
{
    dial_ended(c, rc);
    conn_free(c);
}

/* ---- guest to host ---- */

static void took(struct vsock_conn *c, uint32_t bytes)
{
    c->fwd_cnt += bytes;
    if (c->fwd_cnt - c->fwd_cnt_told >= UPDATE_CREDIT && c->state == VSOCK_OPEN) {
        c->owed |= VSOCK_OWE_CREDIT_UPDATE;
        c->dev->owing = true;
    }
}

/* One direction has ended at the host's end. */
static void host_ended(struct vsock_conn *c, uint32_t flags)
{
    c->host_shut |= flags;
    c->dev->owing = true;
    if (c->host_shut & VSOCK_NO_RECEIVE) { /* nobody will ever read it */
        took(c, c->buffered);
        c->buffered = 0;
    }
}

/* Writes the ring's content to the stream, as much as it takes. */
static void drain(struct vsock_conn *c)
{
    while (c->buffered > 0) {
        uint32_t piece = VSOCK_BUFFER - c->buffer_at;
        if (piece > c->buffered)
            piece = c->buffered;
        ssize_t n = plat_write(c->stream, c->buffer + c->buffer_at, piece);
        if (n == -EAGAIN || n == 0)
            return;
        if (n < 0) {
            host_ended(c, VSOCK_NO_RECEIVE);
            return;
        }
        c->buffer_at = (c->buffer_at + (uint32_t)n) % VSOCK_BUFFER;
        c->buffered -= (uint32_t)n;
        took(c, (uint32_t)n);
    }
}

/* Writes payload bytes [0, len) to the stream; returns how many it took. */
static uint32_t write_payload(struct vsock_conn *c, uint32_t len)
{
    const struct vq_chain *chain = &c->dev->tx;
    uint64_t skip = VSOCK_HEADER;
    uint32_t done = 0;

    for (unsigned i = 0; i < chain->n_read && done < len; i++) {
        if (skip >= chain->seg[i].size) {
            skip -= chain->seg[i].size;
            continue;
        }
        uint64_t part = chain->seg[i].size - skip;
        if (part > len - done)
            part = len - done;
        ssize_t n = plat_write(c->stream, chain->seg[i].data + skip, (size_t)part);
        if (n < 0 && n != -EAGAIN)
            host_ended(c, VSOCK_NO_RECEIVE);
        if (n > 0)
            done += (uint32_t)n;
        if (n < 0 || (uint64_t)n < part)
            break;
        skip = 0;
    }
    return done;
}

/* Appends payload bytes [from, len) to the ring; the caller knows that they fit. */
static bool buffer_payload(struct vsock_conn *c, uint32_t from, uint32_t len)
{
    if (!c->buffer)
        c->buffer = lum_calloc(1, VSOCK_BUFFER);
    if (!c->buffer)
        return false;
    while (from < len) {
        uint32_t at = (c->buffer_at + c->buffered) % VSOCK_BUFFER;
        uint32_t part = VSOCK_BUFFER - at;
        if (part > len - from)
            part = len - from;
        if (!vq_chain_read(&c->dev->tx, (uint64_t)VSOCK_HEADER + from, c->buffer + at, part))
            return false;
        c->buffered += part;
        from += part;
    }
    return true;
}

/* False: the guest overran its credit, sent after its own shutdown, or there is no memory. */
static bool take_payload(struct vsock_conn *c, uint32_t len)
{
    uint32_t done = 0;

    if ((c->guest_shut & VSOCK_NO_SEND) || len > VSOCK_BUFFER - c->buffered)
        return false;
    if (c->buffered == 0 && !(c->host_shut & VSOCK_NO_RECEIVE))
        done = write_payload(c, len);
    if (c->host_shut & VSOCK_NO_RECEIVE) /* what was under way when the reader went */
        done = len;
    took(c, done);
    return done == len || buffer_payload(c, done, len);
}

/* ---- host to guest ---- */

static uint32_t credit(const struct vsock_conn *c)
{
    uint32_t in_flight = c->sent - c->peer_fwd_cnt;

    return in_flight < c->peer_alloc ? c->peer_alloc - in_flight : 0;
}

static bool may_send(const struct vsock_conn *c)
{
    return c->state == VSOCK_OPEN && !(c->host_shut & VSOCK_NO_SEND) &&
           !(c->guest_shut & VSOCK_NO_RECEIVE) && !(c->owed & VSOCK_OWE_RESPONSE);
}

/* Reads up to room bytes of the stream into the writable part of v->rx behind the header. */
static ssize_t read_payload(struct vsock_conn *c, uint32_t room)
{
    const struct vq_chain *chain = &c->dev->rx;
    const struct vq_seg *seg = chain->seg + chain->n_read;
    uint64_t skip = VSOCK_HEADER;
    uint32_t done = 0;

    for (unsigned i = 0; i < chain->n_write && done < room; i++) {
        if (skip >= seg[i].size) {
            skip -= seg[i].size;
            continue;
        }
        uint64_t part = seg[i].size - skip;
        if (part > room - done)
            part = room - done;
        ssize_t n = plat_read(c->stream, seg[i].data + skip, (size_t)part);
        if (n <= 0 && done == 0)
            return n;
        if (n <= 0)
            break; /* an end or an error comes again */
        done += (uint32_t)n;
        if ((uint64_t)n < part)
            break;
        skip = 0;
    }
    return (ssize_t)done;
}

/* One packet of data to the guest; false when there is no more for now. */
static bool pull_packet(struct vsock_conn *c)
{
    struct vsock *v = c->dev;
    uint64_t room = credit(c);

    if (room == 0 && !c->credit_asked) {
        c->credit_asked = true;
        c->owed |= VSOCK_OWE_CREDIT_REQUEST;
        v->owing = true;
    }
    if (room == 0 || !vsock_take_rx(v))
        return false;
    if (room > v->rx.write_size - VSOCK_HEADER)
        room = v->rx.write_size - VSOCK_HEADER;
    if (room > READ_MAX)
        room = READ_MAX;
    if (room == 0) {
        vdev_needs_reset(&v->base, "receive buffer without room for data");
        return false;
    }
    ssize_t n = read_payload(c, (uint32_t)room);
    if (n <= 0) {
        vq_unpop(&v->base.queues[0]);
        if (n != -EAGAIN)
            host_ended(c, n == 0 ? VSOCK_NO_SEND : VSOCK_NO_BOTH);
        return false;
    }
    c->sent += (uint32_t)n;
    c->credit_asked = false;
    vsock_send_rx(v, c, VSOCK_OP_RW, 0, (uint32_t)n);
    return true;
}

static void stream_event(void *ctx, int events)
{
    struct vsock_conn *c = ctx;
    struct vsock *v = c->dev;

    if (c->state == VSOCK_DOOMED)
        return;
    if (events & PLAT_READ) {
        for (unsigned i = 0; i < READS_A_TURN && may_send(c); i++) {
            if (!pull_packet(c))
                break;
        }
    }
    if (events & PLAT_HANGUP)
        host_ended(c, VSOCK_NO_RECEIVE);
    else if (events & PLAT_WRITE)
        drain(c);
    vsock_conn_settle(c);
    vsock_flush(v);
}

int vsock_conn_open(struct vsock_conn *c, plat_fd stream, struct lum_error *err)
{
    c->stream = stream;
    int rc = plat_set_nonblock(stream, err);
    if (rc == 0)
        rc = plat_watch_create(c->dev->base.host->loop, stream, 0, stream_event, c, &c->watch, err);
    if (rc == 0)
        c->state = VSOCK_OPEN;
    return rc;
}

/* ---- both ---- */

static void set_watch(struct vsock_conn *c)
{
    int mask = c->buffered > 0 ? PLAT_WRITE : 0;

    if (may_send(c) && !c->dev->starved && (credit(c) > 0 || !c->credit_asked))
        mask |= PLAT_READ;
    if (c->watch)
        plat_watch_set(c->watch, mask);
}

void vsock_conn_settle(struct vsock_conn *c)
{
    if (c->state == VSOCK_CONNECTING)
        return;
    if (c->state == VSOCK_DRAINING) {
        if (c->buffered == 0) {
            conn_free(c);
            return;
        }
        set_watch(c);
        return;
    }
    bool guest_silent = (c->guest_shut & VSOCK_NO_SEND) && c->buffered == 0;
    if (guest_silent && !c->write_closed) {
        plat_shutdown_write(c->stream);
        c->write_closed = true;
    }
    bool to_host_over = guest_silent || (c->host_shut & VSOCK_NO_RECEIVE);
    bool to_guest_over = (c->host_shut & VSOCK_NO_SEND) || (c->guest_shut & VSOCK_NO_RECEIVE);
    if (c->guest_shut == VSOCK_NO_BOTH || (c->guest_shut && to_host_over && to_guest_over)) {
        vsock_conn_close(c, true, 0); /* 5.10.6.5: the RST confirms a clean disconnect */
        return;
    }
    if (c->host_shut_told == VSOCK_NO_BOTH) {
        /* The guest may still read what it has; any later packet is answered by an RST. */
        vsock_conn_close(c, false, 0);
        return;
    }
    set_watch(c);
}

static bool send_control(struct vsock_conn *c, enum vsock_op op, uint32_t flags)
{
    if (!vsock_take_rx(c->dev))
        return false;
    vsock_send_rx(c->dev, c, op, flags, 0);
    return true;
}

/* What of the host's end the guest does not know yet and still cares for. */
static uint32_t untold(const struct vsock_conn *c)
{
    uint32_t news = c->host_shut & ~c->host_shut_told;

    if (c->guest_shut & VSOCK_NO_SEND)
        news &= ~(uint32_t)VSOCK_NO_RECEIVE;
    if (c->guest_shut & VSOCK_NO_RECEIVE)
        news &= ~(uint32_t)VSOCK_NO_SEND;
    return news;
}

bool vsock_conn_flush(struct vsock_conn *c)
{
    /* In the order in which they make sense to the guest. */
    static const struct {
        uint32_t bit;
        enum vsock_op op;
    } owed[] = {{VSOCK_OWE_REQUEST, VSOCK_OP_REQUEST},
                {VSOCK_OWE_RESPONSE, VSOCK_OP_RESPONSE},
                {VSOCK_OWE_CREDIT_UPDATE, VSOCK_OP_CREDIT_UPDATE},
                {VSOCK_OWE_CREDIT_REQUEST, VSOCK_OP_CREDIT_REQUEST}};

    for (unsigned i = 0; i < ARRAY_LEN(owed); i++) {
        if (!(c->owed & owed[i].bit))
            continue;
        if (!send_control(c, owed[i].op, 0))
            return false;
        c->owed &= ~owed[i].bit;
    }
    if (c->state == VSOCK_OPEN && untold(c)) {
        if (!send_control(c, VSOCK_OP_SHUTDOWN, c->host_shut))
            return false;
        c->host_shut_told = c->host_shut;
    }
    vsock_conn_settle(c);
    return true;
}

/* The guest accepts our dial. */
static void dial_accepted(struct vsock_conn *c)
{
    struct lum_error err;
    int rc = vsock_conn_open(c, STEAL_FD(c->dial_end), &err);

    if (rc < 0) {
        vsock_conn_close(c, true, rc);
        return;
    }
    dial_ended(c, 0);
    vsock_conn_settle(c);
}

void vsock_conn_packet(struct vsock_conn *c, const struct vsock_header *h)
{
    c->peer_alloc = h->buf_alloc;
    c->peer_fwd_cnt = h->fwd_cnt;
    if (credit(c) > 0)
        c->credit_asked = false;

    if (h->op == VSOCK_OP_RST) {
        vsock_conn_close(c, false, LUM_ENOENT);
        return;
    }
    if (c->state == VSOCK_CONNECTING) {
        if (h->op == VSOCK_OP_RESPONSE && !(c->owed & VSOCK_OWE_REQUEST))
            dial_accepted(c);
        else
            vsock_conn_close(c, true, LUM_ENOENT);
        return;
    }
    bool ok = true;
    switch (h->op) {
    case VSOCK_OP_RW: ok = take_payload(c, h->len); break;
    case VSOCK_OP_CREDIT_UPDATE: break;
    case VSOCK_OP_CREDIT_REQUEST:
        c->owed |= VSOCK_OWE_CREDIT_UPDATE;
        c->dev->owing = true;
        break;
    case VSOCK_OP_SHUTDOWN:
        c->guest_shut |= h->flags & VSOCK_NO_BOTH;
        if (c->guest_shut & VSOCK_NO_RECEIVE)
            plat_shutdown_read(c->stream);
        break;
    default: ok = false; break;
    }
    if (ok)
        vsock_conn_settle(c);
    else
        vsock_conn_close(c, true, 0);
}
