/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data of the guest on its way to the host: whatever the packet's length and the ring's state,
 * nothing is written outside the ring, every byte is taken once, and a guest that keeps to its
 * credit always has room.
 * Bounds: any ring of the real 256 KiB, any length; chains of up to 2 buffers; stream: 2 short moves
 * Scale: src/dev/dev.h VQ_MAX_SIZE 2u
 * Flags: --unwind 6 --unsigned-overflow-check
 * Wraps: src/dev/vsock_conn.c took
 */
#include "vsock_conn.h"

static void payload(struct vsock_conn *c)
{
    uint32_t len = nondet_u32(), taken = c->fwd_cnt, buffered = c->buffered;

    any_chain(&v.tx);
    ASSUME(v.tx.read_size >= VSOCK_HEADER && len <= v.tx.read_size - VSOCK_HEADER);
    bool over = len > VSOCK_BUFFER - buffered || (c->guest_shut & VSOCK_NO_SEND);
    bool ok = take_payload(c, len);
    CHECK(conn_valid(c) || !ok);
    CHECK(c->buffered <= VSOCK_BUFFER);
    CHECK(IMPLIES(over, !ok && c->buffered == buffered && c->fwd_cnt == taken));
    if (ok && !(c->host_shut & VSOCK_NO_RECEIVE))
        CHECK((uint32_t)((uint64_t)c->fwd_cnt + c->buffered) ==
              (uint32_t)((uint64_t)taken + buffered + len));
    WITNESS(ok && c->buffered == VSOCK_BUFFER && c->buffer_at > 5 && buffered > 0);
    WITNESS(!over && !ok);
}

static void to_stream(struct vsock_conn *c)
{
    uint32_t taken = c->fwd_cnt, buffered = c->buffered;

    drain(c);
    CHECK(conn_valid(c) && c->buffered <= buffered);
    CHECK((uint32_t)((uint64_t)c->fwd_cnt + c->buffered) == (uint32_t)((uint64_t)taken + buffered));
    WITNESS(buffered > 100 && c->buffered == 0 && c->buffer_at == 7);
}

int main(void)
{
    struct vsock_conn *c = any_conn();

    ASSUME(c->state != VSOCK_CONNECTING);
    if (nondet_bool())
        payload(c);
    else
        to_stream(c);
    return 0;
}
