/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest proof that /dev/kvm runs guests: a real-mode guest adds two numbers from memory,
 * writes the sum to a port and halts. Linked statically and on its own, so that the nested bench
 * can be checked before anything else is built.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define CODE_ADDR  0x1000u
#define DATA_ADDR  0x2000u
#define SUM_PORT   0x77u
#define GUEST_SIZE 0x4000u

/* mov al, [0x2000]; add al, [0x2001]; out 0x77, al; hlt */
static const uint8_t guest_code[] = {0xa0, 0x00, 0x20, 0x02, 0x06, 0x01, 0x20, 0xe6, 0x77, 0xf4};

static int failed(const char *what)
{
    perror(what);
    return 1;
}

static int run_guest(int vcpu, struct kvm_run *run)
{
    uint8_t sum = 0;

    if (ioctl(vcpu, KVM_RUN, 0) < 0)
        return failed("KVM_RUN");
    if (run->exit_reason != KVM_EXIT_IO || run->io.port != SUM_PORT) {
        printf("# exit %u instead of the port write\n", run->exit_reason);
        return 1;
    }
    memcpy(&sum, (const uint8_t *)run + run->io.data_offset, sizeof(sum));
    if (sum != 42) {
        printf("# the guest computed %u instead of 42\n", sum);
        return 1;
    }
    if (ioctl(vcpu, KVM_RUN, 0) < 0)
        return failed("KVM_RUN");
    if (run->exit_reason != KVM_EXIT_HLT) {
        printf("# exit %u instead of the halt\n", run->exit_reason);
        return 1;
    }
    return 0;
}

int main(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        return failed("open /dev/kvm");
    int version = ioctl(kvm, KVM_GET_API_VERSION, 0);
    printf("# KVM API version %d\n", version);
    if (version != KVM_API_VERSION)
        return 1;

    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0)
        return failed("KVM_CREATE_VM");
    uint8_t *memory =
        mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return failed("guest memory");
    memcpy(memory + CODE_ADDR, guest_code, sizeof(guest_code));
    memory[DATA_ADDR] = 40;
    memory[DATA_ADDR + 1] = 2;
    struct kvm_userspace_memory_region region = {
        .memory_size = GUEST_SIZE,
        .userspace_addr = (uintptr_t)memory,
    };
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return failed("KVM_SET_USER_MEMORY_REGION");

    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (vcpu < 0)
        return failed("KVM_CREATE_VCPU");
    int run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < (int)sizeof(struct kvm_run))
        return failed("KVM_GET_VCPU_MMAP_SIZE");
    struct kvm_run *run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED)
        return failed("map the vCPU");

    struct kvm_sregs sregs;
    if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
        return failed("KVM_GET_SREGS");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0)
        return failed("KVM_SET_SREGS");
    struct kvm_regs regs = {.rip = CODE_ADDR, .rflags = 2};
    if (ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
        return failed("KVM_SET_REGS");
    return run_guest(vcpu, run);
}
