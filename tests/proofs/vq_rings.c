/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two rings, from any pair of indices: how many chains are available, where an entry is read
 * and written, when the guest is interrupted. All accesses lie inside the ring that they belong to.
 * Bounds: every queue size up to 256, all 65536 values of every index, RAM of any size
 * Flags: --unwind 2 --unsigned-overflow-check
 * Wraps: src/dev/vq.c vq_pop vq_push vq_unpop
 */
#define RINGS_ONLY
#include "guest.h"

static bool within(uint64_t at, uint64_t len, uint64_t ring, uint64_t size)
{
    return at >= ring && at - ring <= size && len <= size - (at - ring);
}

/* Nothing but the rings is looked at here. */
static void check_span(uint64_t at, uint64_t len)
{
    const struct vq *q = &dev.queues[0];

    CHECK(within(at, len, q->avail, 6 + 2 * (uint64_t)q->size) ||
          within(at, len, q->used, 6 + 8 * (uint64_t)q->size));
}

#include "dev/vq.c"
#include "devices.h"

static void available(struct vq *q)
{
    int n = n_available(q);

    CHECK(n == LUM_EGUEST || (n >= 0 && n <= q->size));
    CHECK((n < 0) == !vdev_live(&dev));
    WITNESS(n == q->size && q->next_avail > UINT16_MAX - q->size);
    WITNESS(n == 0);
}

static void push(struct vq *q, const struct vq *before)
{
    struct vq_chain chain;

    vq_push(q, &chain, nondet_u32());
    CHECK(q->next_used == before->next_used || q->next_used == (uint16_t)(before->next_used + 1));
    CHECK(IMPLIES(!before->ready, q->next_used == before->next_used));
    WITNESS(before->next_used == UINT16_MAX && q->next_used == 0);
}

static void notify(struct vq *q, const struct vq *before)
{
    uint32_t interrupt = dev.interrupt_status;

    vq_notify(q);
    CHECK(IMPLIES(dev.interrupt_status != interrupt, vdev_live(&dev) && before->ready));
    CHECK(q->next_used == before->next_used);
    WITNESS(dev.interrupt_status != interrupt);
}

int main(void)
{
    struct vq *q = &dev.queues[0];

    ops = (struct vdev_ops){.name = "any", .n_queues = 1, .queue_size = nondet_u16()};
    any_device(1);
    struct vq before = *q;
    switch (nondet_u8()) {
    case 0:
        ASSUME(q->ready && vdev_live(&dev));
        available(q);
        break;
    case 1: push(q, &before); break;
    case 2: notify(q, &before); break;
    default:
        ASSUME(q->ready);
        vq_unpop(q);
        CHECK(q->next_avail == (uint16_t)(before.next_avail - 1));
        break;
    }
    CHECK(q->ready == before.ready && q->size == before.size && q->desc == before.desc &&
          q->avail == before.avail && q->used == before.used);
    return 0;
}
