/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the vsock device: packets and queues are vdev_vsock.c, connections are vsock_conn.c. Names
 * follow the guest's view of a packet only where the standard does (src, dst); elsewhere it is
 * guest and host.
 */
#ifndef LUM_DEV_VSOCK_H
#define LUM_DEV_VSOCK_H

#include "dev/dev.h"

#define VSOCK_HOST_CID 2u
#define VSOCK_HEADER   44u /* 5.10.6: the packed header */
#define VSOCK_MAX_RSTS 64u

enum { VSOCK_TYPE_STREAM = 1 };

enum vsock_op {
    VSOCK_OP_REQUEST = 1,
    VSOCK_OP_RESPONSE = 2,
    VSOCK_OP_RST = 3,
    VSOCK_OP_SHUTDOWN = 4,
    VSOCK_OP_RW = 5,
    VSOCK_OP_CREDIT_UPDATE = 6,
    VSOCK_OP_CREDIT_REQUEST = 7,
};

/* Flags of SHUTDOWN: what its sender will not do any more. */
enum { VSOCK_NO_RECEIVE = 1, VSOCK_NO_SEND = 2, VSOCK_NO_BOTH = 3 };

struct vsock_header {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port, len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
};

/* A refusal that waits for a receive buffer; as little as answers any packet. */
struct vsock_rst {
    uint64_t host_cid; /* what the guest called us, or it would not know its own packet again */
    uint32_t guest_port, host_port;
    uint16_t type;
};

enum vsock_state {
    VSOCK_CONNECTING, /* our REQUEST is not answered yet: no stream */
    VSOCK_OPEN,
    VSOCK_DRAINING, /* over for the guest, who may use the ports again; the host still gets what was
                       sent */
    VSOCK_DOOMED,   /* of before a device reset: waits to be freed */
};

/* Control packets that a connection still has to send. */
enum {
    VSOCK_OWE_REQUEST = 1,
    VSOCK_OWE_RESPONSE = 2,
    VSOCK_OWE_CREDIT_UPDATE = 4,
    VSOCK_OWE_CREDIT_REQUEST = 8,
};

struct vsock;

struct vsock_conn {
    struct vsock *dev;
    struct vsock_conn *next, **link; /* all connections, the last used first */
    uint32_t guest_port, host_port;
    enum vsock_state state;
    plat_fd stream;
    plat_fd dial_end; /* CONNECTING: what becomes the stream when the guest accepts */
    struct plat_watch *watch;
    uint32_t owed;       /* VSOCK_OWE_* */
    uint32_t guest_shut; /* VSOCK_NO_*, as the guest said */
    uint32_t host_shut,
        host_shut_told; /* what the host's end came to, and what the guest was told of it */
    bool write_closed;  /* the host saw the end of the guest's data */
    bool credit_asked;  /* CREDIT_REQUEST since we last had credit */
    uint32_t sent, peer_alloc, peer_fwd_cnt; /* to the guest, 5.10.6.3 */
    uint32_t fwd_cnt, fwd_cnt_told;          /* bytes from the guest that the stream took */
    uint8_t *buffer; /* ring of VSOCK_BUFFER bytes, made when first needed */
    uint32_t buffer_at, buffered;
    uint64_t deadline_ns; /* CONNECTING */
    void (*done)(void *ctx, int rc);
    void *done_ctx;
};

struct vsock {
    struct vdev base;
    struct vsock_callbacks callbacks;
    struct plat_timer *timer; /* of the earliest dial */
    struct vsock_conn *conns;
    struct vsock_conn *doomed; /* of before the last reset, still to be freed */
    unsigned n_conns;
    uint32_t next_port;
    bool starved; /* no receive buffer when one was wanted: no reading of streams until the guest
                     adds some */
    bool owing;   /* some connection has something in owed, or a shutdown to tell */
    struct vsock_rst rsts[VSOCK_MAX_RSTS]; /* ring: the oldest is dropped when it is full */
    unsigned first_rst, n_rsts;
    struct vq_chain rx, tx;
};

/* ---- vdev_vsock.c ---- */

/* Takes the next receive buffer, at least a header long, into v->rx; false (and starved) when there
 * is none. */
bool vsock_take_rx(struct vsock *v);
/* Completes v->rx with the header of a packet of this connection, after len bytes of payload. */
void vsock_send_rx(struct vsock *v, struct vsock_conn *c, enum vsock_op op, uint32_t flags,
                   uint32_t len);
void vsock_queue_rst(struct vsock *v, const struct vsock_rst *rst);
/* Sends what is owed as far as there are receive buffers, and notifies. May free connections. */
void vsock_flush(struct vsock *v);

/* ---- vsock_conn.c: calls marked (frees) may free the connection; it must not be used after ----
 */

struct vsock_conn *vsock_conn_find(struct vsock *v, uint32_t guest_port, uint32_t host_port);
struct vsock_conn *vsock_conn_new(struct vsock *v, uint32_t guest_port, uint32_t host_port,
                                  int *ret_why); /* NULL: too many (LUM_EBUSY), no memory */
/* Gives it its stream, which is taken also on failure. */
int vsock_conn_open(struct vsock_conn *c, plat_fd stream, struct lum_error *err);
/* One packet from the guest, in v->tx, its length already checked against it. (frees) */
void vsock_conn_packet(struct vsock_conn *c, const struct vsock_header *h);
/* Over for the guest, who gets an RST if it should; a pending dial ends with rc. (frees) */
void vsock_conn_close(struct vsock_conn *c, bool rst, int rc);
/* Over for both, at once: moves all to v->doomed, without a system call. */
void vsock_doom_conns(struct vsock *v);
/* Ends a doomed one's dial and frees it. (frees) */
void vsock_conn_drop(struct vsock_conn *c, int rc);
/* Sends what it owes; false when receive buffers ran out. (frees) */
bool vsock_conn_flush(struct vsock_conn *c);
/* Brings watch and state in line with what has changed. (frees) */
void vsock_conn_settle(struct vsock_conn *c);

#endif
