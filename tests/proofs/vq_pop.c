/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vq_pop: whatever lies in the rings, the descriptors and the indirect table, and however they
 * change meanwhile, what comes out is a chain of RAM or an error, after a bounded number of steps.
 * Bounds: queue of 1 to 4, indirect table of 1 to 4 entries, RAM of any size
 * Scale: src/dev/dev.h VQ_MAX_SIZE 4u
 * Flags: --unwind 5 --unsigned-overflow-check
 * Wraps: src/dev/vq.c vq_pop
 */
#include "guest.h"

#include "dev/vq.c"
#include "devices.h"

int main(void)
{
    struct vq_chain chain;
    struct vq *q = &dev.queues[0];

    ops = (struct vdev_ops){.name = "any", .n_queues = 1, .queue_size = VQ_MAX_SIZE};
    any_device(1);
    struct vq before = *q;
    uint32_t status = dev.status;

    int rc = vq_pop(q, &chain);
    CHECK(rc == 0 || rc == 1 || rc == LUM_EGUEST);
    CHECK((rc < 0) == (!(status & S_NEEDS_RESET) && (dev.status & S_NEEDS_RESET)));
    CHECK(IMPLIES(rc == 1, before.ready && vdev_live(&dev)));
    CHECK(q->next_avail == (uint16_t)(before.next_avail + (rc == 1)));
    if (rc != 1)
        return 0;

    unsigned n = (unsigned)chain.n_read + chain.n_write;
    uint64_t total[2] = {0, 0};
    CHECK(n > 0 && n <= VQ_MAX_SIZE && chain.head < q->size);
    for (unsigned i = 0; i < VQ_MAX_SIZE && i < n; i++) {
        struct vq_seg s = chain.seg[i];

        CHECK(s.size > 0 && in_ram(s.data) && WRITABLE(s.data, s.size));
        total[i >= chain.n_read] += s.size;
    }
    CHECK(total[0] == chain.read_size && total[1] == chain.write_size);
    CHECK(chain.read_size + chain.write_size <= (uint64_t)VQ_MAX_SIZE * UINT32_MAX);
    WITNESS(n == VQ_MAX_SIZE && chain.n_read == 3);
    WITNESS(chain.n_read == 0);
    return 0;
}
