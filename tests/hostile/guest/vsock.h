/* SPDX-License-Identifier: Apache-2.0 */
/* The vsock device as a driver that may lie in every field. */
#ifndef LUM_HOSTILE_VSOCK_H
#define LUM_HOSTILE_VSOCK_H

#include "proto.h"
#include "virtio.h"

#define GUEST_CID    3u
#define HOST_CID     2u
#define VSOCK_HEADER 44u
#define RX_SIZE      4096u

enum { TYPE_STREAM = 1 };
enum {
    OP_REQUEST = 1,
    OP_RESPONSE = 2,
    OP_RST = 3,
    OP_SHUTDOWN = 4,
    OP_RW = 5,
    OP_CREDIT_UPDATE = 6,
    OP_CREDIT_REQUEST = 7,
};

struct packet {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port, len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

struct vsock {
    struct queue rx, tx;
    uint32_t received; /* bytes of payload, for an honest fwd_cnt */
};

/* The device with both queues; rx_buffers of the receive queue are handed out. */
void vsock_open(struct vsock *v, unsigned rx_buffers);
/* A packet that is right in every field but what the caller then changes. */
struct packet packet(uint16_t op, uint32_t src_port, uint32_t dst_port);
/* Sends header and payload as they are: the header's len is not looked at. */
enum outcome vsock_send(struct vsock *v, const struct packet *p, const void *data, uint32_t size);
/* The next packet from the host goes to ret_packet, its payload stays at the pointer that is
 * returned until the buffer's turn comes again; NULL: none came. */
const uint8_t *vsock_receive(struct vsock *v, struct packet *ret_packet);
/* Connects to the host's port; false: refused. */
bool vsock_connect(struct vsock *v, uint32_t src_port, uint32_t dst_port);
/* HELLO with these numbers; size of the frame. buf has 64 bytes. */
uint32_t hello_frame(uint8_t *buf, uint32_t magic, uint32_t version);
/* Connects to the agent's port and says HELLO; true: WELCOME has come. v stays open. */
bool vsock_hello(struct vsock *v, uint32_t src_port);
bool good_hello(void);

#endif
