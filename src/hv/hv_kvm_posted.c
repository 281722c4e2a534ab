/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM: posted writes, which KVM calls coalesced MMIO. The kernel notes writes to registered ranges
 * in a ring that it shares with us and lets the guest go on; a full ring makes the next write an
 * ordinary exit.
 */
#include "hv/hv_kvm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

int kvm_posted_map(struct kvm_vm *vm, int vcpu_fd, struct lum_error *err)
{
    long size = sysconf(_SC_PAGESIZE);

    if (vm->posted_page <= 0)
        return 0; /* without it the writes are exits */
    void *ring = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd,
                      (off_t)vm->posted_page * size);
    if (ring == MAP_FAILED)
        return lum_fail_errno(err, errno, "kvm: map the ring of posted writes");
    vm->posted = ring;
    return 0;
}

void kvm_posted_unmap(struct kvm_vm *vm)
{
    if (vm->posted)
        munmap(vm->posted, (size_t)sysconf(_SC_PAGESIZE));
}

int kvm_posted_add(struct hv_vm *base, uint64_t gpa, uint32_t size, struct lum_error *err)
{
    struct kvm_vm *vm = container_of(base, struct kvm_vm, base);
    struct kvm_coalesced_mmio_zone zone = {.addr = gpa, .size = size};

    if (vm->posted_page <= 0)
        return lum_fail(err, LUM_ENOTSUP, "kvm: no posted writes");
    if (ioctl(vm->vm_fd, KVM_REGISTER_COALESCED_MMIO, &zone) < 0)
        return lum_fail_errno(err, errno, "kvm: posted writes at 0x%llx", (unsigned long long)gpa);
    vm->has_doorbells = true; /* for the order of calls it is one */
    return 0;
}

bool kvm_posted_take(struct hv_vm *base, struct hv_exit *ret_write)
{
    struct kvm_vm *vm = container_of(base, struct kvm_vm, base);
    struct kvm_coalesced_mmio_ring *ring = vm->posted;
    size_t space = (size_t)sysconf(_SC_PAGESIZE) - sizeof(*ring);
    uint32_t slots = (uint32_t)(space / sizeof(struct kvm_coalesced_mmio));

    if (!ring)
        return false;
    /* The kernel fills an entry before it moves last past it; first is ours. */
    uint32_t first = ring->first;
    uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
    if (first == last || first >= slots)
        return false;
    const struct kvm_coalesced_mmio *e = &ring->coalesced_mmio[first];
    *ret_write = (struct hv_exit){
        .reason = HV_EXIT_MMIO, .is_write = true, .size = (uint8_t)e->len, .addr = e->phys_addr};
    memcpy(&ret_write->data, e->data, e->len < 8 ? e->len : 8);
    __atomic_store_n(&ring->first, (first + 1) % slots, __ATOMIC_RELEASE);
    return true;
}
