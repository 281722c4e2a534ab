/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM: the life of a vCPU: create, run, kick. Exits are normalised here; what only one architecture
 * has is in its own file.
 *
 * Kicks. A kick sets `kicked`, then immediate_exit in the area shared with the kernel, and signals
 * the thread if it is inside (or about to enter) KVM_RUN. The runner announces itself in in_run
 * before it looks at `kicked`, so one of the two always sees the other; a signal that lands between
 * that look and the ioctl is caught by immediate_exit, which KVM reads after the entry of the
 * ioctl. So no order of events loses a kick, and the signal handler has nothing to do.
 */
#include "hv/hv_kvm.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid /* glibc has no name for it */
#endif
#define GUARD_SIGNAL (SIGRTMIN + 1)

/* The vCPU that a guard watches, on the guard's own thread; one at a time. */
static _Atomic(struct kvm_vcpu *) guarded;

static void set_immediate_exit(struct kvm_vcpu *vcpu, uint8_t on)
{
    __atomic_store_n(&vcpu->run->immediate_exit, on, __ATOMIC_SEQ_CST);
}

/* Its arrival is what ends KVM_RUN. The signal of a guard has to be the kick as well. */
static void on_kick(int signo)
{
    struct kvm_vcpu *vcpu = atomic_load(&guarded);

    if (vcpu && signo == GUARD_SIGNAL) {
        atomic_store(&vcpu->kicked, true);
        set_immediate_exit(vcpu, 1);
    }
}

int kvm_install_kick(struct lum_error *err)
{
    struct sigaction action = {.sa_handler = on_kick}; /* no SA_RESTART: KVM_RUN must return */

    sigemptyset(&action.sa_mask);
    if (sigaction(SIGRTMIN, &action, NULL) < 0 || sigaction(GUARD_SIGNAL, &action, NULL) < 0)
        return lum_fail_errno(err, errno, "kvm: install the handler of signal %d", SIGRTMIN);
    return 0;
}

int kvm_guard_start(struct kvm_vcpu *vcpu, unsigned ms, timer_t *ret_guard, struct lum_error *err)
{
    const struct timespec period = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    const struct itimerspec when = {.it_interval = period, .it_value = period};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = GUARD_SIGNAL};

    event.sigev_notify_thread_id = vcpu->thread;
    atomic_store(&guarded, vcpu);
    if (timer_create(CLOCK_MONOTONIC, &event, ret_guard) < 0)
        return lum_fail_errno(err, errno, "kvm: guard of a vCPU");
    if (timer_settime(*ret_guard, 0, &when, NULL) < 0) {
        timer_delete(*ret_guard);
        return lum_fail_errno(err, errno, "kvm: guard of a vCPU");
    }
    return 0;
}

void kvm_guard_stop(struct kvm_vcpu *vcpu, timer_t guard)
{
    timer_delete(guard);
    atomic_store(&guarded, NULL);
    atomic_store(&vcpu->kicked, false);
}

int kvm_vcpu_ioctl(const struct kvm_vcpu *vcpu, unsigned long request, const char *name, void *arg,
                   struct lum_error *err)
{
    int rc = ioctl(vcpu->fd, request, arg);

    if (rc < 0)
        return lum_fail_errno(err, errno, "kvm: vCPU %u: %s", vcpu->base.index, name);
    return rc;
}

void kvm_vcpu_free(struct hv_vcpu *base)
{
    struct kvm_vcpu *vcpu = container_of(base, struct kvm_vcpu, base);
    const struct kvm_vm *vm = container_of(base->vm, struct kvm_vm, base);

    if (vcpu->run)
        munmap(vcpu->run, vm->run_size);
    plat_close(&vcpu->fd);
    free(vcpu);
}

static void auto_vcpu(struct kvm_vcpu **vcpu)
{
    if (*vcpu)
        kvm_vcpu_free(&(*vcpu)->base);
}

int kvm_vcpu_create(struct hv_vm *base, uint32_t index, struct hv_vcpu **ret_vcpu,
                    struct lum_error *err)
{
    struct kvm_vm *vm = container_of(base, struct kvm_vm, base);
    AUTO(auto_vcpu) struct kvm_vcpu *vcpu = lum_calloc(1, sizeof(*vcpu));

    if (!vcpu)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");
    vcpu->base.vm = base;
    vcpu->base.index = index;
    vcpu->thread = gettid();

    vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
    if (vcpu->fd < 0)
        return lum_fail_errno(err, errno, "kvm: create vCPU %u", index);
    void *run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (run == MAP_FAILED)
        return lum_fail_errno(err, errno, "kvm: map vCPU %u", index);
    vcpu->run = run;

    int rc = kvm_arch_vcpu_create(vcpu, err);
    if (rc == 0 && index == 0)
        rc = kvm_posted_map(vm, vcpu->fd, err);
    if (rc == 0 && index == 0)
        rc = kvm_connect_lines(vm, err);
    if (rc < 0)
        return rc;

    /* A thread inherits its creator's mask, which may block everything. */
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, SIGRTMIN);
    sigaddset(&kick, GUARD_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &kick, NULL);

    *ret_vcpu = &STEAL(vcpu)->base;
    return 0;
}

/* ---- accesses, element by element ---- */

static void hand_out(struct kvm_vcpu *vcpu, struct hv_exit *exit)
{
    const struct kvm_access *a = &vcpu->access;

    *exit = (struct hv_exit){
        .reason = a->reason,
        .is_write = a->is_write,
        .size = a->size,
        .addr = a->addr + a->index * a->step,
    };
    if (a->is_write)
        memcpy(&exit->data, a->data + (size_t)a->index * a->size, a->size);
    vcpu->handed = exit;
}

static void take_answer(struct kvm_vcpu *vcpu)
{
    struct kvm_access *a = &vcpu->access;

    if (!vcpu->handed)
        return;
    if (!a->is_write)
        memcpy(a->data + (size_t)a->index * a->size, &vcpu->handed->data, a->size);
    a->index++;
    vcpu->handed = NULL;
}

/* An access that crosses into or out of a device's page reaches us with 3, 5, 6 or 7 bytes: byte by
 * byte then. */
static void open_mmio(struct kvm_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    uint32_t len = run->mmio.len > sizeof(run->mmio.data) ? sizeof(run->mmio.data) : run->mmio.len;
    bool whole = len == 1 || len == 2 || len == 4 || len == 8;

    vcpu->access = (struct kvm_access){
        .reason = HV_EXIT_MMIO,
        .is_write = run->mmio.is_write,
        .size = whole ? (uint8_t)len : 1,
        .addr = run->mmio.phys_addr,
        .step = 1,
        .data = run->mmio.data,
        .count = whole ? 1 : len,
    };
}

/* ---- exits ---- */

static void LUM_PRINTF(3, 4)
    crash(struct kvm_vcpu *vcpu, struct hv_exit *exit, const char *fmt, ...);

static void crash(struct kvm_vcpu *vcpu, struct hv_exit *exit, const char *fmt, ...)
{
    uint64_t pc;
    va_list ap;

    *exit = (struct hv_exit){.reason = HV_EXIT_CRASH};
    va_start(ap, fmt);
    if (vsnprintf(exit->text, sizeof(exit->text), fmt, ap) < 0)
        exit->text[0] = '\0';
    va_end(ap);

    size_t len = strlen(exit->text);
    if (kvm_arch_pc(vcpu, &pc))
        snprintf(exit->text + len, sizeof(exit->text) - len, " at instruction address 0x%llx",
                 (unsigned long long)pc);
}

static void system_event(struct kvm_vcpu *vcpu, struct hv_exit *exit)
{
    uint32_t type = vcpu->run->system_event.type;

    if (type == KVM_SYSTEM_EVENT_SHUTDOWN)
        *exit = (struct hv_exit){.reason = HV_EXIT_SHUTDOWN};
    else if (type == KVM_SYSTEM_EVENT_RESET)
        *exit = (struct hv_exit){.reason = HV_EXIT_RESET};
    else
        crash(vcpu, exit, "guest crash reported to KVM (system event %u)", type);
}

/* Turns what KVM_RUN left in the shared area into an exit. */
static void translate(struct kvm_vcpu *vcpu, struct hv_exit *exit)
{
    const struct kvm_run *run = vcpu->run;

    switch (run->exit_reason) {
    case KVM_EXIT_MMIO:
        open_mmio(vcpu);
        hand_out(vcpu, exit);
        break;
    case KVM_EXIT_HLT: *exit = (struct hv_exit){.reason = HV_EXIT_HALT}; break;
    case KVM_EXIT_SHUTDOWN: *exit = (struct hv_exit){.reason = HV_EXIT_SHUTDOWN}; break;
    case KVM_EXIT_SYSTEM_EVENT: system_event(vcpu, exit); break;
    case KVM_EXIT_INTERNAL_ERROR:
        crash(vcpu, exit, "KVM internal error %u%s", run->internal.suberror,
              run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION
                  ? " (cannot emulate an instruction)"
                  : "");
        break;
    case KVM_EXIT_FAIL_ENTRY:
        crash(vcpu, exit, "the CPU refused to enter the guest (reason 0x%llx)",
              (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
        break;
    default:
        if (!kvm_arch_exit(vcpu, exit))
            crash(vcpu, exit, "unknown KVM exit %u", run->exit_reason);
        else if (vcpu->access.count)
            hand_out(vcpu, exit);
        break;
    }
}

/* ---- run and kick ---- */

/* The boot registers, running, and what a crash text says. */
/* seccomp vcpu: ioctl(1=KVM_RUN|KVM_GET_REGS|KVM_GET_SREGS|KVM_SET_REGS|KVM_SET_SREGS),
 * rt_sigreturn */

/* One KVM_RUN: 0 for an exit, else -errno. */
static int enter(struct kvm_vcpu *vcpu)
{
    atomic_store(&vcpu->in_run, true);
    set_immediate_exit(vcpu, 0);
    if (atomic_load(&vcpu->kicked))
        set_immediate_exit(vcpu, 1);
    int rc = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? -errno : 0;
    atomic_store(&vcpu->in_run, false);
    return rc;
}

int kvm_vcpu_run(struct hv_vcpu *base, struct hv_exit *exit, struct lum_error *err)
{
    struct kvm_vcpu *vcpu = container_of(base, struct kvm_vcpu, base);

    take_answer(vcpu);
    /* A string is handed out to its end before a kick is reported, so that KICKED is always between
     * instructions. */
    if (vcpu->access.index < vcpu->access.count) {
        hand_out(vcpu, exit);
        return 0;
    }
    vcpu->access.count = 0;
    vcpu->access.index = 0;

    while (!vcpu->fresh) {
        int rc = enter(vcpu);

        if (rc == 0)
            break;
        if (rc == -EINTR && atomic_exchange(&vcpu->kicked, false)) {
            *exit = (struct hv_exit){.reason = HV_EXIT_KICKED};
            return 0;
        }
        /* EINTR: a signal that was no kick, or the tail of one. EAGAIN: the start-up message of
         * another vCPU has arrived. */
        if (rc != -EINTR && rc != -EAGAIN)
            return lum_fail_errno(err, -rc, "kvm: run vCPU %u", base->index);
    }
    vcpu->fresh = false;
    translate(vcpu, exit);
    return 0;
}

void kvm_vcpu_kick(struct hv_vcpu *base)
{
    struct kvm_vcpu *vcpu = container_of(base, struct kvm_vcpu, base);

    atomic_store(&vcpu->kicked, true);
    set_immediate_exit(vcpu, 1);
    if (atomic_load(&vcpu->in_run))
        /* seccomp io: getpid, tgkill */
        (void)syscall(SYS_tgkill, getpid(), vcpu->thread, SIGRTMIN);
}

int kvm_vcpu_settle(struct kvm_vcpu *vcpu, struct lum_error *err)
{
    take_answer(vcpu);
    if (vcpu->access.count && vcpu->access.index == vcpu->access.count) {
        set_immediate_exit(vcpu, 1);
        int rc = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? -errno : 0;
        if (rc < 0 && rc != -EINTR)
            return lum_fail_errno(err, -rc, "kvm: finish an access of vCPU %u", vcpu->base.index);
        vcpu->access.count = 0;
        vcpu->access.index = 0;
        vcpu->fresh = rc == 0;
    }
    if (vcpu->access.count || vcpu->fresh)
        return lum_fail(err, LUM_EBUSY,
                        "kvm: vCPU %u is inside an instruction with more accesses: run it until "
                        "it is kicked",
                        vcpu->base.index);
    return 0;
}
