/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device (VIRTIO 1.2, 5.2) over a local file. Requests are done at once, straight between
 * the file and the guest's buffers: the image is in the page cache or near it, and a second thread
 * would cost more than it saves in a VM that lives for one command. Read-only holds here, whatever
 * the guest negotiated.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "dev/dev.h"

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

#define F_SIZE_MAX ((uint64_t)1 << 1)
#define F_SEG_MAX  ((uint64_t)1 << 2)
#define F_RO       ((uint64_t)1 << 5)
#define F_BLK_SIZE ((uint64_t)1 << 6)
#define F_FLUSH    ((uint64_t)1 << 9)

/* 5.2.4: where the fields that we offer lie. */
enum { CONFIG_CAPACITY = 0, CONFIG_SIZE_MAX = 8, CONFIG_SEG_MAX = 12, CONFIG_BLK_SIZE = 20 };
#define CONFIG_SIZE 24u

#define SECTOR      512u
#define HEADER_SIZE 16u /* u32 type, u32 reserved, u64 sector */
#define ID_SIZE     20u

#define QUEUE_SIZE  128u
#define SEG_MAX     (QUEUE_SIZE - 2) /* header and status take one descriptor each */
#define SEG_BYTES   (64u * 1024)
#define MAX_REQUEST ((uint64_t)SEG_MAX * SEG_BYTES)
#define TURN_BYTES  (16 * MIB) /* then others have their turn */

struct blk {
    struct vdev base;
    plat_fd file;
    uint64_t sectors;
    bool read_only;
    struct vq_chain chain;
};

/* Moves [skip, skip + size) of these segments from or to the file. False when the host refuses. */
static bool transfer(plat_fd file, const struct vq_seg *seg, unsigned n_segs, uint64_t skip,
                     uint64_t size, uint64_t offset, bool to_file)
{
    for (unsigned i = 0; i < n_segs && size > 0; i++) {
        if (skip >= seg[i].size) {
            skip -= seg[i].size;
            continue;
        }
        uint64_t part = seg[i].size - skip < size ? seg[i].size - skip : size;
        uint8_t *data = seg[i].data + skip;
        skip = 0;
        while (part > 0) {
            ssize_t n = to_file ? plat_pwrite(file, data, (size_t)part, offset)
                                : plat_pread(file, data, (size_t)part, offset);
            if (n <= 0)
                return false; /* also a file that was cut short under us */
            data += n;
            offset += (uint64_t)n;
            size -= (uint64_t)n;
            part -= (uint64_t)n;
        }
    }
    return size == 0;
}

/* 5.2.6.1: whole sectors, inside the disk. */
static bool in_bounds(const struct blk *b, uint64_t sector, uint64_t size)
{
    return size > 0 && size <= MAX_REQUEST && size % SECTOR == 0 && sector <= b->sectors &&
           size / SECTOR <= b->sectors - sector;
}

static uint8_t do_request(struct blk *b, uint32_t type, uint64_t sector, uint64_t in_size,
                          uint64_t out_size)
{
    const struct vq_chain *c = &b->chain;
    char id[ID_SIZE] = "";

    switch (type) {
    case T_IN:
        if (!in_bounds(b, sector, in_size))
            return S_IOERR;
        return transfer(b->file, c->seg + c->n_read, c->n_write, 0, in_size, sector * SECTOR, false)
                   ? S_OK
                   : S_IOERR;
    case T_OUT:
        if (b->read_only || !in_bounds(b, sector, out_size))
            return S_IOERR;
        return transfer(b->file, c->seg, c->n_read, HEADER_SIZE, out_size, sector * SECTOR, true)
                   ? S_OK
                   : S_IOERR;
    case T_FLUSH: return b->read_only || plat_fdatasync(b->file) == 0 ? S_OK : S_IOERR;
    case T_GET_ID:
        snprintf(id, sizeof(id), "lumina-%u", b->base.slot);
        if (in_size < ID_SIZE)
            return S_IOERR;
        return vq_chain_write(c, 0, id, ID_SIZE) ? S_OK : S_IOERR;
    default: return S_UNSUPP;
    }
}

/*
 * One request; *ret_bytes is what it moved. False: it has no readable header or no place for the
 * status byte, which is the last writable one whatever the framing (5.2.6.4).
 */
static bool serve(struct blk *b, struct vq *q, uint64_t *ret_bytes)
{
    const struct vq_chain *c = &b->chain;
    uint8_t header[HEADER_SIZE];

    if (c->write_size == 0 || c->write_size > UINT32_MAX ||
        !vq_chain_read(c, 0, header, sizeof(header)))
        return false;
    uint64_t in_size = c->write_size - 1, out_size = c->read_size - HEADER_SIZE;
    uint8_t status = do_request(b, le32_load(header), le64_load(header + 8), in_size, out_size);
    if (!vq_chain_write(c, in_size, &status, 1))
        return false;
    vq_push(q, c, (uint32_t)c->write_size);
    *ret_bytes = in_size + out_size;
    return true;
}

static void blk_kicked(struct vdev *dev, struct vq *q)
{
    struct blk *b = container_of(dev, struct blk, base);
    uint64_t bytes = 0;
    unsigned n = 0;

    while (n < q->size && bytes < TURN_BYTES && vq_pop(q, &b->chain) == 1) {
        uint64_t moved = 0;

        if (!serve(b, q, &moved)) {
            vdev_needs_reset(dev, "request without header or status byte");
            return;
        }
        bytes += moved;
        n++;
    }
    vq_notify(q);
    if (n == q->size || bytes >= TURN_BYTES)
        vdev_kick_again(q);
}

static void blk_reset(struct vdev *dev)
{
    (void)dev; /* requests are done at once: nothing is ever in flight */
}

static void blk_free(struct vdev *dev)
{
    vdev_detach(dev);
    free(container_of(dev, struct blk, base));
}

static const struct vdev_ops blk_ops = {
    .name = "blk",
    .virtio_id = 2,
    .n_queues = 1,
    .queue_size = QUEUE_SIZE,
    .config_size = CONFIG_SIZE,
    .features = F_SIZE_MAX | F_SEG_MAX | F_RO | F_BLK_SIZE | F_FLUSH,
    .kicked = blk_kicked,
    .reset = blk_reset,
    .free = blk_free,
};

int vdev_blk_create(const struct dev_host *host, uint32_t slot, plat_fd file, uint64_t size,
                    bool read_only, struct vdev **ret_dev, struct lum_error *err)
{
    struct blk *b = lum_calloc(1, sizeof(*b));

    if (!b)
        return lum_fail(err, LUM_ENOMEM, "virtio blk: out of memory");
    vdev_init(&b->base, &blk_ops, host, slot);
    if (!read_only)
        b->base.features &= ~F_RO;
    b->file = file;
    b->sectors = size / SECTOR;
    b->read_only = read_only;
    le64_store(b->base.config + CONFIG_CAPACITY, b->sectors);
    le32_store(b->base.config + CONFIG_SIZE_MAX, SEG_BYTES);
    le32_store(b->base.config + CONFIG_SEG_MAX, SEG_MAX);
    le32_store(b->base.config + CONFIG_BLK_SIZE, SECTOR);
    *ret_dev = &b->base;
    return 0;
}
