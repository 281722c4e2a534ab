/* SPDX-License-Identifier: Apache-2.0 */
/* See vsock.h. */
#include "vsock.h"

#define TX_SIZE    (64u * 1024)
#define HELLO_PORT 5000u

static uint8_t rx_memory[128][RX_SIZE];
static uint8_t tx_memory[TX_SIZE];

struct packet packet(uint16_t op, uint32_t src_port, uint32_t dst_port)
{
    return (struct packet){.src_cid = GUEST_CID,
                           .dst_cid = HOST_CID,
                           .src_port = src_port,
                           .dst_port = dst_port,
                           .type = TYPE_STREAM,
                           .op = op,
                           .buf_alloc = 64 * 1024};
}

void vsock_open(struct vsock *v, unsigned rx_buffers)
{
    v->received = 0;
    dev_begin(SLOT_VSOCK, F_ALL);
    queue_init(&v->rx, SLOT_VSOCK, 0, 128);
    queue_init(&v->tx, SLOT_VSOCK, 1, 128);
    for (unsigned i = 0; i < rx_buffers; i++) {
        desc_set(&v->rx, i, address_of(rx_memory[i]), RX_SIZE, WRITE, 0);
        queue_put(&v->rx, (uint16_t)i);
    }
    dev_go(SLOT_VSOCK);
    queue_kick(&v->rx);
}

enum outcome vsock_send(struct vsock *v, const struct packet *p, const void *data, uint32_t size)
{
    memcpy(tx_memory, p, sizeof(*p));
    memcpy(tx_memory + sizeof(*p), data, size);
    desc_set(&v->tx, 0, address_of(tx_memory), (uint32_t)sizeof(*p) + size, 0, 0);
    return queue_try(&v->tx, 0);
}

const uint8_t *vsock_receive(struct vsock *v, struct packet *ret_packet)
{
    if (queue_wait(&v->rx) != USED)
        return NULL;
    uint32_t id = queue_used_id(&v->rx);
    if (id >= ARRAY_LEN(rx_memory))
        return NULL;
    memcpy(ret_packet, rx_memory[id], sizeof(*ret_packet));
    if (ret_packet->op == OP_RW)
        v->received += ret_packet->len;
    queue_put(&v->rx, (uint16_t)id);
    queue_kick(&v->rx);
    return rx_memory[id] + VSOCK_HEADER;
}

bool vsock_connect(struct vsock *v, uint32_t src_port, uint32_t dst_port)
{
    struct packet p = packet(OP_REQUEST, src_port, dst_port);

    if (vsock_send(v, &p, NULL, 0) != USED)
        return false;
    do {
        if (!vsock_receive(v, &p))
            return false;
    } while (p.dst_port != src_port || p.src_port != dst_port);
    return p.op == OP_RESPONSE;
}

static uint8_t *put32(uint8_t *at, uint32_t v)
{
    memcpy(at, &v, 4);
    return at + 4;
}

uint32_t hello_frame(uint8_t *buf, uint32_t magic, uint32_t version)
{
    static const char release[] = "hostile";
    uint32_t size = 4 + 4 + 8 + 4 + sizeof(release) - 1;
    uint8_t *at = put32(buf, size);

    at = put32(at, PROTO_HELLO); /* and stream 0 */
    at = put32(at, 0);
    at = put32(at, magic);
    at = put32(at, version);
    at = put32(at, 1);
    at = put32(at, 0);
    at = put32(at, sizeof(release) - 1);
    memcpy(at, release, sizeof(release) - 1);
    return PROTO_HEADER + size;
}

bool vsock_hello(struct vsock *v, uint32_t src_port)
{
    uint8_t frame[64];
    uint32_t size = hello_frame(frame, PROTO_MAGIC, PROTO_VERSION), magic = 0;
    struct packet p = packet(OP_RW, src_port, AGENT_PORT);
    const uint8_t *data;

    if (!vsock_connect(v, src_port, AGENT_PORT))
        return false;
    p.len = size;
    if (vsock_send(v, &p, frame, size) != USED)
        return false;
    do {
        data = vsock_receive(v, &p);
    } while (data && p.op != OP_RW);
    if (data && p.len >= PROTO_HEADER + 4)
        memcpy(&magic, data + PROTO_HEADER, 4);
    return magic == PROTO_MAGIC;
}

bool good_hello(void)
{
    struct vsock v;

    vsock_open(&v, 64);
    return check(vsock_hello(&v, HELLO_PORT), "vsock works afterwards: the host answers HELLO");
}
