/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk's requests: any header, any chain. The file is only touched inside its whole sectors, in
 * guest buffers of the chain, and never written when it is read-only; the guest gets a status or
 * the device needs a reset.
 * Bounds: any request; chains of up to 2 buffers; the host moves less than asked at most once
 * Scale: src/dev/dev.h VQ_MAX_SIZE 2u
 * Flags: --unwind 4 --unsigned-overflow-check
 */
#define CHAIN_CONTENT
#include "chains.h"

static struct {
    uint64_t size;
    bool read_only;
} disk;
static uint64_t first, moved; /* the request's bytes so far */
static unsigned n_synced;

static ssize_t any_io(const void *buf, size_t size, uint64_t offset)
{
    CHECK(SAME_OBJECT(buf, ram) && WRITABLE(buf, size));
    CHECK(offset <= disk.size && size <= disk.size - offset);
    if (moved == 0)
        first = offset;
    CHECK(offset == first + moved && first % 512 == 0);
    ssize_t n = any_move(size);
    if (n > 0)
        moved += (uint64_t)n;
    return n;
}

ssize_t plat_pread(plat_fd fd, void *buf, size_t size, uint64_t offset)
{
    return any_io(buf, size, offset);
}

ssize_t plat_pwrite(plat_fd fd, const void *buf, size_t size, uint64_t offset)
{
    CHECK(!disk.read_only);
    return any_io(buf, size, offset);
}

int plat_fdatasync(plat_fd fd)
{
    CHECK(!disk.read_only);
    n_synced++;
    return nondet_bool() ? 0 : -5;
}

#include <stdio.h>

#define snprintf(to, size, ...) ((void)0)
#include "dev/vdev_blk.c"

int main(void)
{
    static struct blk b;
    struct vq q = {.size = 8};
    uint64_t bytes = 0;

    any_ram();
    disk.size = nondet_u64();
    disk.read_only = nondet_bool();
    ASSUME(disk.size <= INT64_MAX);
    b.file = 3;
    b.sectors = disk.size / SECTOR;
    b.read_only = disk.read_only;
    any_chain(&b.chain);
    short_moves_left = 1;

    bool served = serve(&b, &q, &bytes);
    CHECK(IMPLIES(!served, moved == 0 && q.next_used == 0 && n_synced == 0));
    CHECK(IMPLIES(served, q.next_used == 1 && b.chain.write_size > 0));
    CHECK(moved <= MAX_REQUEST && IMPLIES(served, moved <= bytes));
    CHECK(bytes <= (uint64_t)VQ_MAX_SIZE * UINT32_MAX);
    WITNESS(served && moved == MAX_REQUEST && b.chain.n_read == 1);
    WITNESS(moved == 1024 && first == disk.size - 1024);
    WITNESS(n_synced);
    return 0;
}
