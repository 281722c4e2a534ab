/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's life: any packet of the guest to a connection in any state leaves it in a valid
 * state or frees it, once; a dial is answered at most once; what is freed is not used again.
 * Bounds: any header, any state, one connection; data of the stream: 2 short moves; chains of 1 buffer
 * Scale: src/dev/dev.h VQ_MAX_SIZE 1u
 * Flags: --unwind 5 --unsigned-overflow-check
 * Wraps: src/dev/vsock_conn.c credit took
 */
#include "vsock_conn.h"

int main(void)
{
    struct vsock_conn *c = any_conn();
    struct vsock_header h;
    unsigned n = v.n_conns;
    bool dialled = c->done != NULL;

    ASSUME(c->state != VSOCK_DRAINING); /* not found any more */
    ASSUME(c->state == VSOCK_OPEN || dialled);
    any_chain(&v.tx);
    ASSUME(v.tx.read_size >= VSOCK_HEADER && h.len <= v.tx.read_size - VSOCK_HEADER);
    if (nondet_bool())
        vsock_conn_packet(c, &h);
    else
        (void)vsock_conn_flush(c);
    CHECK(v.conns == c || v.conns == NULL);
    CHECK(v.n_conns == n - (v.conns == NULL));
    CHECK(n_answers <= 1 && IMPLIES(!dialled, n_answers == 0));
    if (v.conns)
        CHECK(conn_valid(c) && IMPLIES(dialled, (n_answers == 1) == (c->done == NULL)));
    else
        CHECK(IMPLIES(dialled, n_answers == 1));
    WITNESS(!v.conns && n_rsts == 1);
    WITNESS(n_answers == 1 && v.conns && c->state == VSOCK_OPEN);
    WITNESS(v.conns && c->state == VSOCK_DRAINING);
    return 0;
}
