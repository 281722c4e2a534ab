/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM: the VM object, memory slots, interrupt lines, doorbells and the driver's table. The order of
 * calls is a measured one: adding a memory slot after a doorbell costs milliseconds on Linux 6.18
 * (the slot waits for the RCU grace period that the doorbell started) and tens of microseconds
 * before it, so the wrong order is refused.
 */
#include "hv/hv_kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/alloc.h"

#define KVM_API 12

static const struct kvm_need common_needs[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    {KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
    {KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
    {KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
    {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
    {0, NULL},
};

int kvm_cap(int fd, int cap)
{
    int rc = ioctl(fd, KVM_CHECK_EXTENSION, cap);

    return rc < 0 ? 0 : rc;
}

int kvm_enable_cap(int vm_fd, uint32_t cap, uint64_t arg, const char *name, struct lum_error *err)
{
    struct kvm_enable_cap c = {.cap = cap, .args = {arg}};

    if (ioctl(vm_fd, KVM_ENABLE_CAP, &c) < 0)
        return lum_fail_errno(err, errno, "kvm: enable %s", name);
    return 0;
}

static int check_needs(int fd, const struct kvm_need *needs, struct lum_error *err)
{
    for (; needs->name; needs++)
        if (!kvm_cap(fd, needs->cap))
            return lum_fail(err, LUM_ENOTSUP, "kvm: this host's KVM has no %s", needs->name);
    return 0;
}

static int explain_open(int os_errno, struct lum_error *err)
{
    switch (os_errno) {
    case EACCES:
    case EPERM:
        return lum_fail(err, LUM_EACCES,
                        "open /dev/kvm: permission denied: add yourself to group kvm "
                        "(sudo usermod -aG kvm $USER) and log in again, or see `lumina doctor`");
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return lum_fail(err, LUM_ENOTSUP,
                        "open /dev/kvm: there is none: virtualization is off in the firmware "
                        "or the kvm module is not loaded");
    default: return lum_fail_errno(err, os_errno, "open /dev/kvm");
    }
}

static plat_fd given_device = PLAT_FD_NONE;

void hv_use_device(plat_fd fd)
{
    given_device = fd;
}

int kvm_open(int *ret_fd, struct lum_error *err)
{
    int rc = 0;
    int fd = fcntl(given_device, F_DUPFD_CLOEXEC, 0);

    if (fd < 0)
        fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return explain_open(errno, err);

    int version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API)
        rc = lum_fail(err, LUM_ENOTSUP, "kvm: API version %d, not %d", version, KVM_API);
    if (rc == 0)
        rc = check_needs(fd, common_needs, err);
    if (rc == 0)
        rc = check_needs(fd, kvm_arch_needs, err);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

/* ---- the VM ---- */

void kvm_vm_free(struct hv_vm *base)
{
    struct kvm_vm *vm = container_of(base, struct kvm_vm, base);

    for (size_t i = 0; i < ARRAY_LEN(vm->lines); i++) {
        plat_fd event = atomic_load(&vm->lines[i].event);

        plat_close(&event);
    }
    kvm_posted_unmap(vm);
    kvm_arch_vm_free(vm);
    plat_close(&vm->vm_fd);
    plat_close(&vm->sys_fd);
    plat_mutex_free(vm->lock);
    free(vm);
}

static void auto_vm(struct kvm_vm **vm)
{
    if (*vm)
        kvm_vm_free(&(*vm)->base);
}

int kvm_vm_create(const struct hv_vm_config *config, struct hv_vm **ret_vm, struct lum_error *err)
{
    int rc = kvm_install_kick(err);
    if (rc < 0)
        return rc;

    AUTO(auto_vm) struct kvm_vm *vm = lum_calloc(1, sizeof(*vm));
    if (!vm)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");
    vm->base.ops = &hv_kvm_ops;
    vm->base.config = *config;
    vm->sys_fd = PLAT_FD_NONE;
    vm->vm_fd = PLAT_FD_NONE;
    for (size_t i = 0; i < ARRAY_LEN(vm->lines); i++)
        atomic_init(&vm->lines[i].event, PLAT_FD_NONE);
    vm->lock = plat_mutex_create();
    if (!vm->lock)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");

    rc = kvm_open(&vm->sys_fd, err);
    if (rc < 0)
        return rc;
    uint32_t most = (uint32_t)kvm_cap(vm->sys_fd, KVM_CAP_MAX_VCPUS);
    if (config->vcpus > most)
        return lum_fail(err, LUM_EINVAL, "vcpus: %u is more than the %u that kvm can run here",
                        config->vcpus, most);
    int run_size = ioctl(vm->sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < (int)sizeof(struct kvm_run))
        return lum_fail_errno(err, run_size < 0 ? errno : EPROTO, "kvm: size of the vCPU area");
    vm->run_size = (size_t)run_size;
    vm->posted_page = kvm_cap(vm->sys_fd, KVM_CAP_COALESCED_MMIO);

    /* Registering with the memory-management notifiers is interruptible. */
    do
        vm->vm_fd = ioctl(vm->sys_fd, KVM_CREATE_VM, 0);
    while (vm->vm_fd < 0 && errno == EINTR);
    if (vm->vm_fd < 0)
        return lum_fail_errno(err, errno, "kvm: create VM");

    rc = kvm_arch_vm_create(vm, err);
    if (rc < 0)
        return rc;
    *ret_vm = &STEAL(vm)->base;
    return 0;
}

int kvm_mem_map(struct hv_vm *base, uint64_t gpa, void *host, uint64_t size, bool writable,
                struct lum_error *err)
{
    struct kvm_vm *vm = container_of(base, struct kvm_vm, base);

    if (vm->has_doorbells)
        return lum_fail(err, LUM_EINTERNAL, "kvm: memory at 0x%llx is mapped after a doorbell",
                        (unsigned long long)gpa);
    struct kvm_userspace_memory_region region = {
        .slot = vm->n_slots,
        .flags = writable ? 0 : KVM_MEM_READONLY,
        .guest_phys_addr = gpa,
        .memory_size = size,
        .userspace_addr = (uintptr_t)host,
    };
    if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return lum_fail_errno(err, errno, "kvm: map 0x%llx bytes at 0x%llx",
                              (unsigned long long)size, (unsigned long long)gpa);
    vm->n_slots++;
    return 0;
}

/* ---- interrupt lines ---- */

static int set_routing(struct kvm_vm *vm, struct lum_error *err)
{
    union {
        struct kvm_irq_routing head;
        uint8_t room[sizeof(struct kvm_irq_routing) +
                     HV_MAX_LINES * sizeof(struct kvm_irq_routing_entry)];
    } table = {.head = {.nr = 0}};

    for (uint32_t i = 0; i < vm->base.config.ioapic_pins; i++) {
        const struct kvm_line *line = &vm->lines[i];

        if (!atomic_load(&line->enabled))
            continue;
        table.head.entries[table.head.nr++] = (struct kvm_irq_routing_entry){
            .gsi = i,
            .type = KVM_IRQ_ROUTING_MSI,
            .u.msi = {.address_lo = (uint32_t)line->msi_addr,
                      .address_hi = (uint32_t)(line->msi_addr >> 32),
                      .data = line->msi_data},
        };
    }
    /* A posted write is carried out by whichever thread takes it. */
    /* seccomp io vcpu: ioctl(1=KVM_SET_GSI_ROUTING) */
    if (ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, &table.head) < 0)
        return lum_fail_errno(err, errno, "kvm: set %u interrupt routes", table.head.nr);
    return 0;
}

static int connect_line(struct kvm_vm *vm, uint32_t index, struct lum_error *err)
{
    plat_fd event = PLAT_FD_NONE;
    int rc = plat_event_create(&event, err);

    if (rc < 0)
        return rc;
    struct kvm_irqfd irqfd = {.fd = (uint32_t)event, .gsi = index};
    if (ioctl(vm->vm_fd, KVM_IRQFD, &irqfd) < 0) {
        rc = lum_fail_errno(err, errno, "kvm: connect interrupt line %u", index);
        plat_close(&event);
        return rc;
    }
    atomic_store(&vm->lines[index].event, event);
    return 0;
}

int kvm_connect_lines(struct kvm_vm *vm, struct lum_error *err)
{
    int rc = 0;

    for (uint32_t i = 0; i < vm->base.config.ioapic_pins && rc == 0; i++)
        rc = connect_line(vm, i, err);
    return rc;
}

static int route_locked(struct kvm_vm *vm, uint32_t index, bool enabled, uint64_t msi_addr,
                        uint32_t msi_data, struct lum_error *err)
{
    struct kvm_line *line = &vm->lines[index];
    bool was_enabled = atomic_load(&line->enabled);

    /* The message of a masked line is kept by nobody: it comes again with the enabling call. */
    if (!enabled && !was_enabled)
        return 0;
    if (enabled && was_enabled && line->msi_addr == msi_addr && line->msi_data == msi_data)
        return 0;

    uint64_t old_addr = line->msi_addr;
    uint32_t old_data = line->msi_data;
    line->msi_addr = msi_addr;
    line->msi_data = msi_data;
    atomic_store(&line->enabled, enabled);
    int rc = set_routing(vm, err);
    if (rc < 0) {
        line->msi_addr = old_addr;
        line->msi_data = old_data;
        atomic_store(&line->enabled, was_enabled);
    }
    return rc;
}

static int kvm_irq_route(struct hv_vm *base, uint32_t line, bool enabled, uint64_t msi_addr,
                         uint32_t msi_data, struct lum_error *err)
{
    struct kvm_vm *vm = container_of(base, struct kvm_vm, base);

    plat_mutex_lock(vm->lock);
    int rc = route_locked(vm, line, enabled, msi_addr, msi_data, err);
    plat_mutex_unlock(vm->lock);
    return rc;
}

static void kvm_irq_pulse(struct hv_vm *base, uint32_t index)
{
    struct kvm_vm *vm = container_of(base, struct kvm_vm, base);
    plat_fd event = atomic_load(&vm->lines[index].event);

    if (event != PLAT_FD_NONE && atomic_load(&vm->lines[index].enabled))
        plat_event_signal(event);
}

/* ---- doorbells ---- */

static int kvm_doorbell_add(struct hv_vm *base, uint64_t gpa, uint32_t value, plat_fd event,
                            struct lum_error *err)
{
    struct kvm_vm *vm = container_of(base, struct kvm_vm, base);
    struct kvm_ioeventfd bell = {
        .datamatch = value,
        .addr = gpa,
        .len = 4,
        .fd = event,
        .flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
    };

    if (ioctl(vm->vm_fd, KVM_IOEVENTFD, &bell) < 0)
        return lum_fail_errno(err, errno, "kvm: doorbell %u at 0x%llx", value,
                              (unsigned long long)gpa);
    vm->has_doorbells = true;
    return 0;
}

const struct hv_ops hv_kvm_ops = {
    .name = "kvm",
    .probe = kvm_probe,
    .vm_create = kvm_vm_create,
    .vm_free = kvm_vm_free,
    .mem_map = kvm_mem_map,
    .vcpu_create = kvm_vcpu_create,
    .vcpu_free = kvm_vcpu_free,
    .vcpu_gauge = kvm_vcpu_gauge,
    .vcpu_run = kvm_vcpu_run,
    .vcpu_kick = kvm_vcpu_kick,
    .vcpu_get_regs = kvm_arch_get_regs,
    .vcpu_set_regs = kvm_arch_set_regs,
    .irq_route = kvm_irq_route,
    .irq_pulse = kvm_irq_pulse,
    .doorbell_add = kvm_doorbell_add,
    .posted_add = kvm_posted_add,
    .posted_take = kvm_posted_take,
    .vcpu_save = kvm_arch_vcpu_save,
    .vcpu_load = kvm_arch_vcpu_load,
    .vm_save = kvm_arch_vm_save,
    .vm_load = kvm_arch_vm_load,
};
