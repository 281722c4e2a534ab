/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vq_chain_read and vq_chain_write: any part of any chain, or refused; each byte from and to its
 * place, once. Buffers have no content: the proof follows one byte, any one.
 * Bounds: chains of up to 2 buffers of 1 to 255 bytes, any offset and size
 * Scale: src/dev/dev.h VQ_MAX_SIZE 2u
 * Flags: --unwind 4 --unsigned-overflow-check
 */
#include "env.h"

#include "dev/dev.h"

#define SEGS 2u
#define MOST 255u

static uint8_t buf[SEGS * MOST], seg0[MOST], seg1[MOST];
static uint64_t pick;
static const uint8_t *partner; /* of buf[pick], in a segment */
static unsigned n_copied;      /* how often buf[pick] was copied */

static void copy_piece(void *to, const void *from, size_t size)
{
    const uint8_t *mine = SAME_OBJECT(to, buf) ? to : from;
    const uint8_t *other = SAME_OBJECT(to, buf) ? from : to;
    uint64_t offset = OFFSET_OF(mine);

    CHECK(READABLE(from, size) && WRITABLE(to, size));
    CHECK(SAME_OBJECT(mine, buf) && !SAME_OBJECT(other, buf));
    if (pick >= offset && pick - offset < size) {
        partner = other + (pick - offset);
        n_copied++;
    }
}

#define memcpy(to, from, size) copy_piece(to, from, size)
#include "dev/vq.c"

/* Not called by what is proven here. */
bool vdev_live(const struct vdev *dev)
{
    return true;
}

void vdev_needs_reset(struct vdev *dev, const char *why)
{
}

void vdev_interrupt(struct vdev *dev, uint32_t why)
{
}

/* The byte at an offset of the segments [first, last), or NULL. */
static const uint8_t *byte_at(const struct vq_chain *c, unsigned first, unsigned last,
                              uint64_t offset)
{
    for (unsigned i = 0; i < SEGS; i++) {
        if (i < first || i >= last)
            continue;
        if (offset < c->seg[i].size)
            return c->seg[i].data + offset;
        offset -= c->seg[i].size;
    }
    return NULL;
}

static void one_shape(uint16_t n_read, uint16_t n_write)
{
    struct vq_chain c = {
        .n_read = n_read, .n_write = n_write, .seg = {{.data = seg0}, {.data = seg1}}};
    uint64_t offset = nondet_u64(), size = nondet_u64();
    bool to_guest = nondet_bool();

    for (unsigned i = 0; i < SEGS; i++) {
        uint8_t bytes = nondet_u8();

        ASSUME(bytes > 0);
        c.seg[i].size = bytes;
        if (i < n_read)
            c.read_size += bytes;
        else if (i < (unsigned)n_read + n_write)
            c.write_size += bytes;
    }
    uint64_t total = to_guest ? c.write_size : c.read_size;
    bool fits = offset <= total && size <= total - offset;

    pick = nondet_u64();
    bool done =
        to_guest ? vq_chain_write(&c, offset, buf, size) : vq_chain_read(&c, offset, buf, size);
    CHECK(done == fits);
    CHECK(n_copied == (fits && pick < size));
    if (n_copied)
        CHECK(partner ==
              byte_at(&c, to_guest ? n_read : 0, to_guest ? SEGS : n_read, offset + pick));
    WITNESS(n_copied && to_guest && n_read == 1 && partner == seg1 + 1);
    WITNESS(n_copied && !to_guest && n_read == 2 && offset == 4);
}

int main(void)
{
    for (uint16_t n_read = 0; n_read <= SEGS; n_read++)
        for (uint16_t n_write = 0; n_read + n_write <= (int)SEGS; n_write++)
            if (nondet_bool()) {
                one_shape(n_read, n_write);
                return 0;
            }
    return 0;
}
