/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue code as its callers see it (dev.h), for proofs of devices: vq_pop.c, vq_copy.c and
 * vq_rings.c prove that the real one is so. A chain has at most CHAIN_MAX buffers, whose sizes and
 * places in RAM are free.
 */
#ifndef PROOFS_CHAINS_H
#define PROOFS_CHAINS_H

#include "dev/dev.h"
#include "env.h"

#define CHAIN_MAX VQ_MAX_SIZE
#define RAM_SIZE  ((uint64_t)1 << 40)

static uint8_t *ram;
static unsigned pops_left; /* the guest stops in the end, or nothing would */

static void any_ram(void)
{
    uint64_t size = RAM_SIZE + nondet_u8();

    ram = malloc(size);
    ASSUME(ram);
}

static void any_chain(struct vq_chain *c)
{
    uint64_t total[2] = {0, 0};

    c->head = nondet_u16();
    c->n_read = nondet_u16();
    c->n_write = nondet_u16();
    ASSUME(c->n_read <= CHAIN_MAX && c->n_write <= CHAIN_MAX);
    ASSUME(c->n_read + c->n_write >= 1 && c->n_read + c->n_write <= (int)CHAIN_MAX);
    for (unsigned i = 0; i < CHAIN_MAX; i++) {
        uint64_t at = nondet_u64();

        c->seg[i].size = nondet_u32();
        ASSUME(c->seg[i].size > 0 && at <= RAM_SIZE - c->seg[i].size);
        c->seg[i].data = ram + at;
        if (i < (unsigned)c->n_read + c->n_write)
            total[i >= c->n_read] += c->seg[i].size;
    }
    c->read_size = total[0];
    c->write_size = total[1];
}

int vq_pop(struct vq *q, struct vq_chain *ret_chain)
{
    if (pops_left == 0 || nondet_bool())
        return nondet_bool() ? 0 : LUM_EGUEST;
    pops_left--;
    any_chain(ret_chain);
    q->next_avail++;
    return 1;
}

void vq_unpop(struct vq *q)
{
    q->next_avail--;
}

/* What the guest is told to be written was there to be written to. */
void vq_push(struct vq *q, const struct vq_chain *chain, uint32_t written)
{
    CHECK(written <= chain->write_size);
    q->next_used++;
}

void vq_notify(struct vq *q)
{
}

bool vq_chain_read(const struct vq_chain *chain, uint64_t offset, void *buf, uint64_t size)
{
    if (offset > chain->read_size || size > chain->read_size - offset)
        return false;
    CHECK(WRITABLE(buf, size));
#ifdef CHAIN_CONTENT
    __CPROVER_havoc_slice(buf, size);
#endif
    return true;
}

bool vq_chain_write(const struct vq_chain *chain, uint64_t offset, const void *buf, uint64_t size)
{
    if (offset > chain->write_size || size > chain->write_size - offset)
        return false;
    CHECK(READABLE(buf, size));
    return true;
}

/* ---- the transport, as devices see it (mmio_write.c) ---- */

bool vdev_live(const struct vdev *d)
{
    return nondet_bool();
}

void vdev_needs_reset(struct vdev *d, const char *why)
{
    CHECK(why != NULL);
}

void vdev_kick_again(struct vq *q)
{
}

void vdev_init(struct vdev *d, const struct vdev_ops *ops, const struct dev_host *host,
               uint32_t slot)
{
}

void vdev_detach(struct vdev *d)
{
}

#endif
