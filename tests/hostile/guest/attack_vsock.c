/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock (VIRTIO 1.2, 5.10) and the agent's port behind it: packets whose buffers are smaller than
 * they say (CVE-2019-18960), floods, half-open connections, lies about credit, nonsense for the
 * host's end of the agent protocol.
 */
#include "attacks.h"
#include "vsock.h"

#define BIG (60u * 1024)

static uint8_t bytes[BIG + VSOCK_HEADER] __attribute__((aligned(4096)));

/* Sends a header and a payload from descriptors of these sizes; 0 ends them. */
static enum outcome send_cut(struct vsock *v, const struct packet *p, const uint32_t *sizes)
{
    uint64_t at = address_of(bytes);
    unsigned n = 0;

    memcpy(bytes, p, sizeof(*p));
    while (sizes[n])
        n++;
    for (unsigned i = 0; i < n; i++) {
        desc_set(&v->tx, i, at, sizes[i], i + 1 < n ? NEXT : 0, (uint16_t)(i + 1));
        at += sizes[i];
    }
    return queue_try(&v->tx, 0);
}

/* The host resets this connection. */
static bool refused(struct vsock *v, uint32_t port)
{
    struct packet p;

    while (vsock_receive(v, &p))
        if (p.dst_port == port && p.op == OP_RST)
            return true;
    return false;
}

void attack_vsock_short(void)
{
    static const uint32_t lens[] = {4,          45,         4096,       0x10000,    0x40000,
                                    0x7fffffff, 0x80000000, 0xffffffd3, 0xffffffd4, 0xffffffff};
    static const uint32_t whole[] = {VSOCK_HEADER, 0}, cut[] = {20, 24, 0},
                          single[] = {1, 1, 1, 1, 40, 0}, with_some[] = {VSOCK_HEADER, 3, 0};
    const uint32_t *const shapes[] = {whole, cut, single, with_some};
    static const uint16_t ops[] = {OP_RW, OP_REQUEST, OP_RESPONSE, OP_SHUTDOWN, OP_CREDIT_UPDATE};
    struct vsock v;
    struct packet p;

    for (unsigned i = 0; i < ARRAY_LEN(lens); i++) {
        bool good = true;

        vsock_open(&v, 64);
        for (unsigned s = 0; s < ARRAY_LEN(shapes); s++)
            for (unsigned o = 0; o < ARRAY_LEN(ops); o++) {
                p = packet(ops[o], 100 + s, 9999);
                p.len = lens[i];
                good = good && send_cut(&v, &p, shapes[s]) == USED && refused(&v, 100 + s);
            }
        check(good, "packets of 0x%x bytes in buffers without them are refused", lens[i]);
    }
    vsock_open(&v, 64);
    p = packet(OP_REQUEST, 100, AGENT_PORT);
    p.len = 8;
    check(send_cut(&v, &p, whole) == USED && refused(&v, 100),
          "nor does one connect where somebody listens");
    for (uint32_t size = 1; size < VSOCK_HEADER; size += 6) {
        const uint32_t sizes[] = {size, 0};

        vsock_open(&v, 64);
        p = packet(OP_RW, 100, 9999);
        expect(send_cut(&v, &p, sizes), NEEDS_RESET, "a packet shorter than its header");
    }
    vsock_open(&v, 64);
    desc_set(&v.tx, 0, address_of(bytes), VSOCK_HEADER, WRITE, 0);
    expect(queue_try(&v.tx, 0), NEEDS_RESET, "a packet that the device shall write");
}

void attack_vsock_rx_buffers(void)
{
    struct packet p = packet(OP_REQUEST, 77, 9999);
    struct vsock v;

    for (uint32_t size = 1; size <= VSOCK_HEADER; size += 43) {
        vsock_open(&v, 0);
        desc_set(&v.rx, 0, address_of(bytes), size, WRITE, 0);
        queue_put(&v.rx, 0);
        queue_kick(&v.rx);
        enum outcome sent = vsock_send(&v, &p, NULL, 0);
        bool reset = (reg_read(SLOT_VSOCK, REG_STATUS) & STATUS_NEEDS_RESET) != 0;
        check(sent != NOTHING && reset == (size < VSOCK_HEADER), "receive buffer of %u bytes: %s",
              size, reset ? "needs reset" : "goes on");
    }
    vsock_open(&v, 0);
    desc_set(&v.rx, 0, address_of(bytes), 64, 0, 0);
    queue_put(&v.rx, 0);
    queue_kick(&v.rx);
    (void)vsock_send(&v, &p, NULL, 0);
    check(reg_read(SLOT_VSOCK, REG_STATUS) & STATUS_NEEDS_RESET,
          "a receive buffer that the device shall read");
    /* No receive buffer at all: what waits for one must not grow. */
    vsock_open(&v, 0);
    bool good = true;
    for (unsigned i = 0; i < 3000; i++) {
        p.src_port = i;
        good = good && vsock_send(&v, &p, NULL, 0) == USED;
    }
    check(good, "3000 requests without a receive buffer for their refusals");
}

void attack_vsock_addresses(void)
{
    static const uint64_t cids[] = {0, 1, 2, 3, 4, 0xffffffff, 1ull << 32, (1ull << 32) + 2, ~0ull};
    struct vsock v;
    bool good = true;

    vsock_open(&v, 64);
    for (unsigned s = 0; s < ARRAY_LEN(cids); s++)
        for (unsigned d = 0; d < ARRAY_LEN(cids); d++)
            for (uint16_t type = 0; type < 4; type++) {
                struct packet p = packet(OP_REQUEST, 300, 1024);

                if (cids[s] == GUEST_CID && cids[d] == HOST_CID && type == TYPE_STREAM)
                    continue;
                p.src_cid = cids[s];
                p.dst_cid = cids[d];
                p.type = type;
                good = good && vsock_send(&v, &p, NULL, 0) == USED && vsock_receive(&v, &p) &&
                       p.op == OP_RST;
            }
    check(good, "packets of strangers, to strangers and of unknown types are refused");
    for (uint32_t op = 8; op < 0x10000; op = op * 2 + 1) {
        struct packet p = packet((uint16_t)op, 300, 1024);

        good =
            good && vsock_send(&v, &p, NULL, 0) == USED && vsock_receive(&v, &p) && p.op == OP_RST;
    }
    check(good, "unknown operations are refused");
}

/* Everything that can be said to a host port, but for connecting to the agent's. */
void attack_vsock_flood(void)
{
    struct vsock v;
    bool good = true;

    for (unsigned round = 0; round < 3; round++) {
        vsock_open(&v, round == 1 ? 0 : 64);
        for (unsigned n = 0; n < 1500; n++) {
            struct packet p = packet((uint16_t)(random32() % 9), random32(), random32() % 2048);

            if (p.dst_port == AGENT_PORT)
                p.dst_port++;
            p.len = random32() % 3 ? 0 : random32() % 256;
            p.flags = random32() % 5;
            p.buf_alloc = random32();
            p.fwd_cnt = random32();
            good = good && vsock_send(&v, &p, bytes, p.len) == USED;
            if (v.rx.used[1] != v.rx.seen)
                (void)vsock_receive(&v, &p);
        }
    }
    check(good, "4500 packets of all kinds are taken");
}

void attack_vsock_half_open(void)
{
    static const uint16_t mixes[][3] = {{OP_REQUEST, OP_REQUEST, OP_REQUEST},
                                        {OP_REQUEST, OP_RST, OP_REQUEST},
                                        {OP_RESPONSE, OP_REQUEST, OP_SHUTDOWN},
                                        {OP_SHUTDOWN, OP_RST, OP_RESPONSE}};
    struct vsock v;
    bool good = true;

    vsock_open(&v, 0);
    for (unsigned n = 0; n < 2000; n++)
        for (unsigned i = 0; i < 3; i++) {
            struct packet p = packet(mixes[n % 4][i], n, n * 37 % 1024);

            p.flags = n & 3;
            good = good && vsock_send(&v, &p, NULL, 0) == USED;
        }
    check(good, "6000 beginnings and ends of connections that nobody reads the answers of");
}

/* The agent's port takes everyone, and only the first is the agent. */
void attack_agent_half_open(void)
{
    struct vsock v;

    vsock_open(&v, 0);
    for (uint32_t port = 1; port < 600; port++) {
        struct packet p = packet(OP_REQUEST, port, AGENT_PORT);

        (void)vsock_send(&v, &p, NULL, 0);
    }
    at_point("stuck");
    halt_for_ever();
}

static void connect_agent(struct vsock *v)
{
    vsock_open(v, 64);
    check(vsock_connect(v, 700, AGENT_PORT), "the agent's port answers");
}

static enum outcome send_agent(struct vsock *v, const void *data, uint32_t size)
{
    struct packet p = packet(OP_RW, 700, AGENT_PORT);

    p.len = size;
    p.fwd_cnt = v->received;
    return vsock_send(v, &p, data, size);
}

void attack_agent_garbage(void)
{
    struct vsock v;

    connect_agent(&v);
    memset(bytes, 0, sizeof(bytes)); /* frames without a size, a type or an operation */
    (void)send_agent(&v, bytes, 4096);
    halt_for_ever();
}

void attack_agent_oversized(void)
{
    static const uint32_t frame[] = {0xfffffff0, PROTO_HELLO, 0};
    struct vsock v;

    connect_agent(&v);
    (void)send_agent(&v, frame, sizeof(frame));
    halt_for_ever();
}

void attack_agent_version(void)
{
    struct vsock v;
    uint8_t frame[64];

    connect_agent(&v);
    (void)send_agent(&v, frame, hello_frame(frame, PROTO_MAGIC, PROTO_VERSION + 1));
    halt_for_ever();
}

/* HELLO byte by byte and never to its end. */
void attack_agent_slow(void)
{
    struct vsock v;
    uint8_t frame[64];
    uint32_t size = hello_frame(frame, PROTO_MAGIC, PROTO_VERSION);

    connect_agent(&v);
    for (uint32_t i = 0; i + 1 < size; i++)
        (void)send_agent(&v, frame + i, 1);
    at_point("stuck");
    halt_for_ever();
}

void attack_agent_hang_up(void)
{
    struct packet p = packet(OP_RST, 700, AGENT_PORT);
    struct vsock v;

    connect_agent(&v);
    (void)vsock_send(&v, &p, NULL, 0);
    halt_for_ever();
}

/* ---- as an agent that the host believes ---- */

static void be_ready(struct vsock *v)
{
    vsock_open(v, 64);
    if (!check(vsock_hello(v, 700), "HELLO is answered"))
        reset_machine();
}

/* Frames of all types for operations that do not exist. */
void attack_agent_frames(void)
{
    struct vsock v;

    be_ready(&v);
    for (unsigned n = 0; n < 2000; n++) {
        uint32_t *frame = (uint32_t *)(void *)bytes;

        frame[0] = n % 64;
        frame[1] = n % 64 == PROTO_BYE ? 0 : n % 64 | (n % 4) << 16;
        frame[2] = n;
        (void)send_agent(&v, frame, 12 + n % 64);
    }
    /* An orderly reset as a command's host would see it. */
    reset_machine();
}

/* Payload that the packet says it has, and its buffers have not, where somebody reads it. */
void attack_agent_short(void)
{
    static const uint32_t with_some[] = {VSOCK_HEADER, 20, 0};
    struct packet p = packet(OP_RW, 700, AGENT_PORT);
    struct vsock v;

    be_ready(&v);
    p.len = 4096;
    check(send_cut(&v, &p, with_some) == USED && refused(&v, 700), "the connection is reset");
    halt_for_ever();
}

/* A second agent, and a third, and two thousand more: they get in and are sent away. */
void attack_agent_crowd(void)
{
    struct vsock v;
    struct packet p;
    unsigned answers = 0;

    be_ready(&v);
    for (uint32_t n = 0; n < 2000; n++) {
        p = packet(OP_REQUEST, 10000 + n, AGENT_PORT);
        (void)vsock_send(&v, &p, NULL, 0);
        p.op = OP_RW;
        p.len = 64;
        (void)vsock_send(&v, &p, bytes, 64);
        while (v.rx.used[1] != v.rx.seen && vsock_receive(&v, &p))
            answers++;
    }
    /* The first one still is the agent, and ends as one that leaves in order. */
    const uint32_t bye[] = {0, PROTO_BYE, 0};
    note("%u packets came back", answers);
    (void)send_agent(&v, bye, sizeof(bye));
    reset_machine();
}

/* More than the host has room for: its credit is not asked for. */
void attack_agent_overrun(void)
{
    struct vsock v;
    struct packet p = packet(OP_RW, 700, AGENT_PORT);

    be_ready(&v);
    memset(bytes, 0, sizeof(bytes));
    for (unsigned n = 0; n < 40; n++) {
        p.len = BIG;
        p.fwd_cnt = random32();
        p.buf_alloc = random32();
        memcpy(bytes, &p, sizeof(p));
        ((uint32_t *)(void *)(bytes + VSOCK_HEADER))[0] = BIG - 12; /* one frame, of nothing */
        for (unsigned i = 0; i < 120; i++) {
            desc_set(&v.tx, i, address_of(bytes), VSOCK_HEADER + BIG, 0, 0);
            queue_put(&v.tx, (uint16_t)i);
        }
        queue_kick(&v.tx);
        for (unsigned i = 0; i < 120; i++)
            (void)queue_wait(&v.tx);
    }
    reset_machine();
}

void attack_agent_credit(void)
{
    static const uint32_t allocs[] = {0, 1, 0xffffffff, 0x80000000},
                          counts[] = {0, 0xffffffff, 7, 0x80000000};
    struct vsock v;

    be_ready(&v);
    for (unsigned n = 0; n < 1000; n++) {
        struct packet p = packet(n & 1 ? OP_CREDIT_UPDATE : OP_CREDIT_REQUEST, 700, AGENT_PORT);

        p.buf_alloc = allocs[n % 4];
        p.fwd_cnt = counts[n / 4 % 4];
        (void)vsock_send(&v, &p, NULL, 0);
        while (v.rx.used[1] != v.rx.seen)
            (void)vsock_receive(&v, &p);
    }
    at_point("credit");
    reset_machine();
}
