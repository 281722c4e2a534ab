/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split virtqueue, seen from the device (VIRTIO 1.2, 2.7). Every device gets its buffers here,
 * so this is the one place where descriptors are judged. The guest may rewrite the rings at any
 * moment: each field is loaded once into a local, and only the local is looked at. Chains that a
 * correct driver cannot make end in DEVICE_NEEDS_RESET.
 *
 * The hosts are little-endian, so 16-bit ring fields are loaded as they are.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/buf.h"
#include "dev/dev.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
enum { AVAIL_NO_INTERRUPT = 1 };

#define DESC_SIZE 16u
#define RING_IDX  2u /* of both rings: flags come before it */
#define RING_DATA 4u

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

static bool has(const struct vq *q, uint64_t feature)
{
    return (q->dev->negotiated & feature) != 0;
}

/* The transport checked at QueueReady that the rings are aligned and in RAM, and froze them since.
 */
static uint8_t *avail_at(const struct vq *q, uint32_t offset)
{
    return gmem_span(q->dev->host->mem, gpa(q->avail + offset), sizeof(uint16_t));
}

static uint8_t *used_at(const struct vq *q, uint32_t offset, uint64_t size)
{
    return gmem_span(q->dev->host->mem, gpa(q->used + offset), size);
}

static uint16_t load16(const uint8_t *p, int order)
{
    return __atomic_load_n((const uint16_t *)(const void *)p, order);
}

static void store16(uint8_t *p, uint16_t v, int order)
{
    __atomic_store_n((uint16_t *)(void *)p, v, order);
}

static int broken(struct vq *q, const char *why)
{
    vdev_needs_reset(q->dev, why);
    return LUM_EGUEST;
}

static struct desc desc_load(const uint8_t *table, uint32_t i)
{
    uint8_t raw[DESC_SIZE];

    memcpy(raw, table + (size_t)i * DESC_SIZE, sizeof(raw));
    /* From here on the compiler may not go back to the guest's copy. */
    atomic_signal_fence(memory_order_seq_cst);
    return (struct desc){.addr = le64_load(raw),
                         .len = le32_load(raw + 8),
                         .flags = le16_load(raw + 12),
                         .next = le16_load(raw + 14)};
}

/* Appends one buffer to the chain. */
static int add_segment(struct vq *q, const struct desc *d, struct vq_chain *chain)
{
    unsigned n = (unsigned)chain->n_read + chain->n_write;

    if (n == VQ_MAX_SIZE)
        return broken(q, "descriptor chain is too long");
    uint8_t *data = gmem_span(q->dev->host->mem, gpa(d->addr), d->len);
    if (!data)
        return broken(q, "buffer is empty or outside RAM");
    chain->seg[n] = (struct vq_seg){.data = data, .size = d->len};
    if (d->flags & DESC_WRITE) {
        chain->n_write++;
        chain->write_size += d->len;
    } else if (chain->n_write == 0) {
        chain->n_read++;
        chain->read_size += d->len;
    } else {
        return broken(q, "readable buffer after a writable one");
    }
    return 0;
}

/*
 * Follows a chain through one table of `entries` descriptors. A chain without a loop visits each at
 * most once, so more steps than entries are a loop. *ret_indirect is the descriptor of an indirect
 * table, which ends the chain (2.7.5.3.1: not together with NEXT); len 0 when there was none.
 * Inside an indirect table ret_indirect is NULL and another one is refused.
 */
static int walk(struct vq *q, const uint8_t *table, uint32_t entries, uint32_t i,
                struct vq_chain *chain, struct desc *ret_indirect)
{
    for (uint32_t steps = 0; steps < entries; steps++) {
        if (i >= entries)
            return broken(q, "descriptor index is outside the table");
        struct desc d = desc_load(table, i);
        if (d.flags & DESC_INDIRECT) {
            if (!ret_indirect || !has(q, VIRTIO_F_INDIRECT_DESC))
                return broken(q, "indirect descriptor where none is allowed");
            if (d.flags & DESC_NEXT)
                return broken(q, "indirect descriptor with a next one");
            *ret_indirect = d;
            return 0;
        }
        int rc = add_segment(q, &d, chain);
        if (rc < 0)
            return rc;
        if (!(d.flags & DESC_NEXT))
            return 0;
        i = d.next;
    }
    return broken(q, "descriptor chain loops");
}

static int walk_indirect(struct vq *q, const struct desc *d, struct vq_chain *chain)
{
    if (d->len == 0 || d->len % DESC_SIZE != 0 || d->len / DESC_SIZE > VQ_MAX_SIZE)
        return broken(q, "indirect table of a wrong size");
    const uint8_t *table = gmem_span(q->dev->host->mem, gpa(d->addr), d->len);
    if (!table)
        return broken(q, "indirect table is outside RAM");
    return walk(q, table, d->len / DESC_SIZE, 0, chain, NULL);
}

/*
 * How many chains the driver has made available, at most the queue size, or LUM_EGUEST. When there
 * is none, asks for a notification first and looks again, so that a chain added in between is not
 * overlooked (2.7.7.1).
 */
static int n_available(struct vq *q)
{
    const uint8_t *idx = avail_at(q, RING_IDX);
    uint8_t *event = used_at(q, RING_DATA + 8u * q->size, sizeof(uint16_t));

    if (!idx || !event)
        return broken(q, "ring is outside RAM");
    uint16_t n = (uint16_t)(load16(idx, __ATOMIC_ACQUIRE) - q->next_avail);
    if (n == 0 && has(q, VIRTIO_F_EVENT_IDX)) {
        store16(event, q->next_avail, __ATOMIC_RELAXED);
        atomic_thread_fence(memory_order_seq_cst);
        n = (uint16_t)(load16(idx, __ATOMIC_ACQUIRE) - q->next_avail);
    }
    if (n > q->size)
        return broken(q, "available index jumps");
    return n;
}

int vq_pop(struct vq *q, struct vq_chain *ret_chain)
{
    if (!q->ready || !vdev_live(q->dev))
        return 0;
    int n = n_available(q);
    if (n <= 0)
        return n;

    const uint8_t *slot = avail_at(q, RING_DATA + 2u * (q->next_avail % q->size));
    const uint8_t *table =
        gmem_span(q->dev->host->mem, gpa(q->desc), (uint64_t)q->size * DESC_SIZE);
    if (!slot || !table)
        return broken(q, "ring is outside RAM");

    struct desc indirect = {.len = 0, .flags = 0};
    ret_chain->head = load16(slot, __ATOMIC_RELAXED);
    ret_chain->n_read = ret_chain->n_write = 0;
    ret_chain->read_size = ret_chain->write_size = 0;
    int rc = walk(q, table, q->size, ret_chain->head, ret_chain, &indirect);
    if (rc == 0 && (indirect.flags & DESC_INDIRECT))
        rc = walk_indirect(q, &indirect, ret_chain);
    if (rc < 0)
        return rc;
    q->next_avail++;
    return 1;
}

void vq_unpop(struct vq *q)
{
    q->next_avail--;
}

void vq_push(struct vq *q, const struct vq_chain *chain, uint32_t written)
{
    if (!q->ready)
        return;
    uint8_t *elem = used_at(q, RING_DATA + 8u * (q->next_used % q->size), 8);
    uint8_t *idx = used_at(q, RING_IDX, sizeof(uint16_t));
    if (!elem || !idx)
        return;
    le32_store(elem, chain->head);
    le32_store(elem + 4, written);
    q->next_used++;
    store16(idx, q->next_used, __ATOMIC_RELEASE);
}

/* 2.7.7.2 and 2.7.10: does the driver want to hear of the entries since the last decision? */
static bool wants_interrupt(struct vq *q)
{
    /* The used index must be visible before the driver's wish is read, or both sides may wait. */
    atomic_thread_fence(memory_order_seq_cst);
    if (!has(q, VIRTIO_F_EVENT_IDX)) {
        const uint8_t *flags = avail_at(q, 0);
        return flags && !(load16(flags, __ATOMIC_RELAXED) & AVAIL_NO_INTERRUPT);
    }
    const uint8_t *event = avail_at(q, RING_DATA + 2u * q->size);
    if (!event)
        return false;
    uint16_t wanted = load16(event, __ATOMIC_RELAXED);
    uint16_t fresh = (uint16_t)(q->next_used - q->signalled_used);
    return !q->signalled_valid || (uint16_t)(q->next_used - wanted - 1) < fresh;
}

void vq_notify(struct vq *q)
{
    if (!q->ready || !vdev_live(q->dev) || q->next_used == q->signalled_used)
        return;
    bool wanted = wants_interrupt(q);
    q->signalled_used = q->next_used;
    q->signalled_valid = true;
    if (wanted)
        vdev_interrupt(q->dev, VDEV_INTERRUPT_QUEUE);
}

/* Copies between buf and segments [first, first + n), whose sizes sum up to total. */
static bool copy(const struct vq_seg *seg, unsigned n, uint64_t total, uint64_t offset, uint8_t *to,
                 const uint8_t *from, uint64_t size)
{
    if (offset > total || size > total - offset)
        return false;
    for (unsigned i = 0; i < n && size > 0; i++) {
        if (offset >= seg[i].size) {
            offset -= seg[i].size;
            continue;
        }
        uint64_t part = seg[i].size - offset;
        if (part > size)
            part = size;
        if (to) {
            memcpy(to, seg[i].data + offset, part);
            to += part;
        } else if (from) {
            memcpy(seg[i].data + offset, from, part);
            from += part;
        }
        size -= part;
        offset = 0;
    }
    return true;
}

bool vq_chain_read(const struct vq_chain *chain, uint64_t offset, void *buf, uint64_t size)
{
    bool ok = copy(chain->seg, chain->n_read, chain->read_size, offset, buf, NULL, size);

    atomic_signal_fence(memory_order_seq_cst); /* buf is a copy, not a name for guest memory */
    return ok;
}

bool vq_chain_write(const struct vq_chain *chain, uint64_t offset, const void *buf, uint64_t size)
{
    return copy(chain->seg + chain->n_read, chain->n_write, chain->write_size, offset, NULL, buf,
                size);
}
