/* SPDX-License-Identifier: Apache-2.0 */
/* One vsock connection in any state that vsock_conn.c can be in, with the device around it. */
#ifndef PROOFS_VSOCK_CONN_H
#define PROOFS_VSOCK_CONN_H

#include "chains.h"

#include "dev/vsock_conn.c"

static struct dev_host host;
static struct vsock v;
static unsigned n_sent, n_rsts;
static uint32_t sent_len;

/* ---- the device, by its contract (vsock.h); vsock_packet.c proves the real one ---- */

bool vsock_take_rx(struct vsock *dev)
{
    int rc = vq_pop(&dev->base.queues[0], &dev->rx);

    ASSUME(rc != 1 || dev->rx.write_size >= VSOCK_HEADER);
    dev->starved = rc != 1;
    return rc == 1;
}

void vsock_send_rx(struct vsock *dev, struct vsock_conn *c, enum vsock_op op, uint32_t flags,
                   uint32_t len)
{
    CHECK(dev->rx.write_size >= VSOCK_HEADER && len <= dev->rx.write_size - VSOCK_HEADER);
    c->fwd_cnt_told = c->fwd_cnt;
    n_sent++;
    sent_len = len;
}

void vsock_queue_rst(struct vsock *dev, const struct vsock_rst *rst)
{
    n_rsts++;
}

void vsock_flush(struct vsock *dev)
{
}

static unsigned n_answers;

static void any_done(void *ctx, int rc)
{
    n_answers++;
}

/* What holds of a connection between two calls. */
static bool conn_valid(const struct vsock_conn *c)
{
    if (c->buffer_at >= VSOCK_BUFFER || c->buffered > VSOCK_BUFFER)
        return false;
    if (c->buffered > 0 && !c->buffer)
        return false;
    if (c->state != VSOCK_CONNECTING && c->state != VSOCK_OPEN && c->state != VSOCK_DRAINING)
        return false;
    if ((c->state == VSOCK_CONNECTING) != (c->dial_end != PLAT_FD_NONE))
        return false;
    if (c->state == VSOCK_CONNECTING)
        return c->stream == PLAT_FD_NONE && !c->watch && !c->buffer && c->buffered == 0;
    return c->stream != PLAT_FD_NONE && !c->done;
}

static struct vsock_conn *any_conn(void)
{
    struct vsock_conn *c = malloc(sizeof(*c));

    ASSUME(c);
    any_ram();
    v.owing = nondet_bool();
    v.starved = nondet_bool();
    v.base.host = &host;
    v.conns = c;
    v.n_conns = nondet_u32();
    ASSUME(v.n_conns >= 1 && v.n_conns <= VSOCK_MAX_CONNECTIONS);
    pops_left = 2;
    c->dev = &v;
    c->next = NULL;
    c->link = &v.conns;
    c->watch = nondet_bool() ? malloc(sizeof(struct plat_watch)) : NULL;
    c->buffer = nondet_bool() ? malloc(VSOCK_BUFFER) : NULL;
    c->done = nondet_bool() ? any_done : NULL;
    ASSUME(conn_valid(c));
    return c;
}

#endif
