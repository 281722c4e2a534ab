/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor: the system calls without which there is no VM, in the order that costs least, and
 * nothing else. Static and tiny, so that what exec and page faults cost is the least they can. With
 * the argument "jail" also the calls without which there is no jail.
 *
 *     floor_child open|jail FILTER_INSTRUCTIONS
 *
 * Writes a struct floor_report to descriptor 3 when the guest has made its first exit.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "floor.h"

#define GUEST_CODE   0x1000u
#define GUEST_MEMORY ((size_t)128 << 20)
#define CPUID_ROOM   256u
#define FILTER_MAX   250u

static struct floor_report report;

static void finish(int failed)
{
    report.failed = (uint32_t)failed;
    if (write(FLOOR_FD, &report, sizeof(report)) != sizeof(report))
        _exit(2);
    _exit(failed ? 1 : 0);
}

/* Notes a step that has been done; rc < 0: it failed. */
static void done(const char *name, long rc)
{
    struct timespec t;
    int failed = errno;

    clock_gettime(CLOCK_MONOTONIC, &t);
    strncpy(report.marks[report.n_marks].name, name, sizeof(report.marks[0].name) - 1);
    report.marks[report.n_marks++].at_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    if (rc < 0)
        finish(failed);
}

static void empty_root(void)
{
    long rc = mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL);

    if (rc == 0)
        rc = mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k");
    done("mount tmpfs", rc);
    rc = chdir("/tmp");
    if (rc == 0)
        rc = syscall(SYS_pivot_root, ".", ".");
    if (rc == 0)
        rc = umount2(".", MNT_DETACH);
    done("pivot_root", rc);
}

static void drop_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};

    done("drop capabilities", syscall(SYS_capset, &head, none));
}

/* An allow list that is looked through from the first entry on, as long as asked for. */
static void filter(unsigned insns)
{
    static const unsigned used[] = {SYS_ioctl, SYS_write, SYS_exit_group, SYS_clock_gettime};
    static struct sock_filter code[FILTER_MAX];
    unsigned fixed = 6, n = 0, used_count = sizeof(used) / sizeof(used[0]);
    unsigned tests = insns - fixed;

    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < tests; i++) {
        unsigned nr = i < used_count ? used[i] : 300 + i;
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr,
                                                 (unsigned char)(tests - i), 0);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);

    struct sock_fprog program = {.len = (unsigned short)n, .filter = code};
    long rc = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (rc == 0)
        rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
    done("seccomp", rc);
}

/* Real mode from GUEST_CODE: one byte to port 0x80. */
static long set_registers(int vcpu)
{
    struct kvm_regs regs = {.rip = GUEST_CODE, .rflags = 2};
    struct kvm_sregs sregs;
    long rc = ioctl(vcpu, KVM_GET_SREGS, &sregs);

    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (rc == 0)
        rc = ioctl(vcpu, KVM_SET_SREGS, &sregs);
    return rc == 0 ? ioctl(vcpu, KVM_SET_REGS, &regs) : rc;
}

static long set_cpuid(int kvm, int vcpu)
{
    static union {
        struct kvm_cpuid2 head;
        char room[sizeof(struct kvm_cpuid2) + CPUID_ROOM * sizeof(struct kvm_cpuid_entry2)];
    } cpuid = {.head = {.nent = CPUID_ROOM}};
    long rc = ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid);

    done("supported CPUID", rc);
    return ioctl(vcpu, KVM_SET_CPUID2, &cpuid);
}

int main(int argc, char **argv)
{
    static const unsigned char code[] = {0xe6, 0x80, 0xf4}; /* out 0x80, al; hlt */
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
    int jailed = argc > 1 && strcmp(argv[1], "jail") == 0;
    unsigned insns = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;

    if (argc != 3 || (jailed && (insns < 16 || insns > FILTER_MAX)))
        return 125;
    done("exec", 0);
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    done("open /dev/kvm", kvm);
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    done("create VM", vm);
    done("split irqchip", ioctl(vm, KVM_ENABLE_CAP, &split));

    char *ram = mmap(NULL, GUEST_MEMORY, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct kvm_userspace_memory_region slot = {.memory_size = GUEST_MEMORY,
                                               .userspace_addr = (uintptr_t)ram};
    done("memory slot", ram == MAP_FAILED ? -1 : ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot));
    memcpy(ram + GUEST_CODE, code, sizeof(code));

    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    done("create vCPU", vcpu);
    int run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    struct kvm_run *run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    done("map vCPU", run == MAP_FAILED ? -1 : 0);
    done("set CPUID", set_cpuid(kvm, vcpu));
    done("registers", set_registers(vcpu));
    if (jailed) {
        empty_root();
        drop_capabilities();
        filter(insns);
    }
    long rc = ioctl(vcpu, KVM_RUN, 0);
    errno = rc < 0 ? errno : ENOEXEC;
    done("first exit", rc == 0 && run->exit_reason == KVM_EXIT_IO ? 0 : -1);
    finish(0);
}
