/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data of the host on its way to the guest: whatever the guest says of its credit, no more is sent
 * than that, and never more than its buffer holds.
 * Bounds: any state and counters; receive chains of up to 3 buffers; stream: 2 short moves
 * Scale: src/dev/dev.h VQ_MAX_SIZE 3u
 * Flags: --unwind 4 --unsigned-overflow-check
 * Wraps: src/dev/vsock_conn.c credit pull_packet took
 */
#include "vsock_conn.h"

int main(void)
{
    struct vsock_conn *c = any_conn();
    uint32_t sent = c->sent, alloc = c->peer_alloc, seen = c->peer_fwd_cnt;
    uint32_t may = credit(c);

    ASSUME(c->state == VSOCK_OPEN);
    CHECK(may <= alloc);
    CHECK(IMPLIES((uint64_t)sent >= seen && sent - seen <= alloc, may == alloc - (sent - seen)));
    bool more = pull_packet(c);
    CHECK(conn_valid(c));
    CHECK(more == (n_sent == 1) && n_sent <= 1);
    if (more) {
        CHECK(sent_len > 0 && sent_len <= may && sent_len <= READ_MAX);
        CHECK(c->sent == (uint32_t)((uint64_t)sent + sent_len) && credit(c) == may - sent_len);
    } else {
        CHECK(c->sent == sent);
    }
    WITNESS(more && sent > UINT32_MAX - 10 && sent_len > 100);
    WITNESS(more && sent_len == READ_MAX);
    WITNESS(!more && c->host_shut);
    return 0;
}
