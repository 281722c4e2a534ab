/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of the guest up to their connection: whatever the header says, a connection only sees a
 * stream packet between the right addresses whose payload is there; the rest is refused, in a ring
 * that keeps its bounds; what goes back to the guest fits its buffers.
 * Bounds: any header in any chain; 2 chains a turn; at most 2 connections; refusals: a ring of 4
 * Scale: src/dev/dev.h VQ_MAX_SIZE 3u
 * Scale: src/dev/vsock.h VSOCK_MAX_RSTS 4u
 * Flags: --unwind 7 --unsigned-overflow-check
 */
#define CHAIN_CONTENT
#include "chains.h"

#include "dev/vdev_vsock.c"

static struct vsock v;
static struct vsock_conn conns[2];
static unsigned n_seen, n_found, n_finds;

/* ---- connections, by their contract (vsock.h) ---- */

struct vsock_conn *vsock_conn_find(struct vsock *dev, uint32_t guest_port, uint32_t host_port)
{
    unsigned i = n_finds++;

    return i < 2 && nondet_bool() ? &conns[i] : NULL;
}

struct vsock_conn *vsock_conn_new(struct vsock *dev, uint32_t guest_port, uint32_t host_port,
                                  int *ret_why)
{
    *ret_why = LUM_ENOMEM;
    return nondet_bool() ? &conns[0] : NULL;
}

int vsock_conn_open(struct vsock_conn *c, plat_fd stream, struct lum_error *err)
{
    return nondet_bool() ? 0 : lum_fail(err, LUM_EOS, "watch");
}

void vsock_conn_packet(struct vsock_conn *c, const struct vsock_header *h)
{
    CHECK(c == &conns[0] || c == &conns[1]);
    CHECK(h->src_cid == VSOCK_GUEST_CID && h->dst_cid == VSOCK_HOST_CID);
    CHECK(h->type == VSOCK_TYPE_STREAM && h->op != VSOCK_OP_REQUEST);
    CHECK(v.tx.read_size >= VSOCK_HEADER && h->len <= v.tx.read_size - VSOCK_HEADER);
    n_seen++;
}

void vsock_conn_close(struct vsock_conn *c, bool rst, int rc)
{
    CHECK(c == &conns[0] || c == &conns[1]);
}

void vsock_conn_drop(struct vsock_conn *c, int rc)
{
    v.conns = c->next;
}

bool vsock_conn_flush(struct vsock_conn *c)
{
    return nondet_bool();
}

void vsock_conn_settle(struct vsock_conn *c)
{
    CHECK(c == &conns[0] || c == &conns[1]);
}

static int any_accept(void *ctx, uint32_t port, plat_fd *ret_stream)
{
    if (nondet_bool())
        return LUM_ENOENT;
    *ret_stream = 10;
    return 0;
}

int plat_timer_create(struct plat_loop *loop, void (*fn)(void *ctx), void *ctx,
                      struct plat_timer **ret_timer, struct lum_error *err)
{
    return lum_fail(err, LUM_ENOMEM, "timer");
}

void plat_timer_free(struct plat_timer *timer)
{
}

void vdev_free(struct vdev *d)
{
}

static bool rsts_valid(void)
{
    return v.first_rst < VSOCK_MAX_RSTS && v.n_rsts <= VSOCK_MAX_RSTS;
}

/* Refusals leave in the order in which they came; when the ring is full the oldest is gone. */
static void check_queue_rst(void)
{
    struct vsock_rst rst = {.guest_port = nondet_u32()};
    unsigned had = v.n_rsts, first = v.first_rst;

    vsock_queue_rst(&v, &rst);
    CHECK(rsts_valid() && v.n_rsts == (had == VSOCK_MAX_RSTS ? had : had + 1));
    CHECK(v.first_rst == (had == VSOCK_MAX_RSTS ? (first + 1) % VSOCK_MAX_RSTS : first));
    CHECK(v.rsts[(v.first_rst + v.n_rsts - 1) % VSOCK_MAX_RSTS].guest_port == rst.guest_port);
    WITNESS(had == VSOCK_MAX_RSTS && v.first_rst == 0);
}

int main(void)
{
    struct vq *tx = &v.base.queues[QUEUE_TX];

    any_ram();
    v.callbacks.accept = any_accept;
    v.first_rst = nondet_u32();
    v.n_rsts = nondet_u32();
    ASSUME(rsts_valid());
    v.n_conns = nondet_u32();
    v.owing = nondet_bool();
    v.conns = nondet_bool() ? &conns[0] : NULL;
    conns[0].next = nondet_bool() ? &conns[1] : NULL;
    pops_left = 2;
    switch (nondet_u8()) {
    case 0: check_queue_rst(); return 0;
    case 1: {
        uint32_t port = nondet_u32();

        v.next_port = nondet_u32();
        uint32_t got = free_port(&v, port);
        CHECK(got != UINT32_MAX && n_finds <= 3);
        return 0;
    }
    case 2:
        tx->size = 2;
        tx->index = QUEUE_TX;
        vsock_kicked(&v.base, tx);
        WITNESS(n_seen == 2);
        break;
    default:
        v.starved = nondet_bool();
        v.base.queues[QUEUE_RX].index = QUEUE_RX;
        vsock_kicked(&v.base, &v.base.queues[QUEUE_RX]);
        WITNESS(pops_left == 0 && v.n_rsts == 2);
        break;
    }
    CHECK(rsts_valid());
    return 0;
}
