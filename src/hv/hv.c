/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one caller through struct hv_ops: arguments are checked here once for all drivers.
 */
#include "hv/hv.h"

#include <string.h>

#define PAGE_MASK 0xfffull

const struct hv_ops *hv_find(const char *name)
{
    for (const struct hv_ops *const *ops = hv_drivers; *ops; ops++)
        if (strcmp((*ops)->name, name) == 0)
            return *ops;
    return NULL;
}

int hv_probe(const struct hv_ops *ops, struct hv_probe *ret_probe, struct lum_error *err)
{
    return ops->probe(ret_probe, err);
}

int hv_vm_create(const struct hv_ops *ops, const struct hv_vm_config *config, struct hv_vm **ret_vm,
                 struct lum_error *err)
{
    if (config->vcpus < 1 || config->vcpus > ARCH_MAX_VCPUS)
        return lum_fail(err, LUM_EINVAL, "%s: %u vCPUs: must be 1 to %u", ops->name, config->vcpus,
                        ARCH_MAX_VCPUS);
    if (config->ioapic_pins < 1 || config->ioapic_pins > HV_MAX_LINES)
        return lum_fail(err, LUM_EINVAL, "%s: %u interrupt lines: must be 1 to %u", ops->name,
                        config->ioapic_pins, HV_MAX_LINES);
    return ops->vm_create(config, ret_vm, err);
}

void hv_vm_free(struct hv_vm *vm)
{
    if (vm)
        vm->ops->vm_free(vm);
}

int hv_mem_map(struct hv_vm *vm, uint64_t gpa, void *host, uint64_t size, bool writable,
               struct lum_error *err)
{
    if (!host || !size || ((gpa | (uintptr_t)host | size) & PAGE_MASK) || gpa > UINT64_MAX - size ||
        size > SIZE_MAX)
        return lum_fail(err, LUM_EINVAL, "%s: map 0x%llx bytes at 0x%llx: not whole pages",
                        vm->ops->name, (unsigned long long)size, (unsigned long long)gpa);
    return vm->ops->mem_map(vm, gpa, host, size, writable, err);
}

int hv_vcpu_create(struct hv_vm *vm, uint32_t index, struct hv_vcpu **ret_vcpu,
                   struct lum_error *err)
{
    if (index >= vm->config.vcpus)
        return lum_fail(err, LUM_EINVAL, "%s: vCPU %u: the VM has %u", vm->ops->name, index,
                        vm->config.vcpus);
    return vm->ops->vcpu_create(vm, index, ret_vcpu, err);
}

void hv_vcpu_free(struct hv_vcpu *vcpu)
{
    if (vcpu)
        vcpu->vm->ops->vcpu_free(vcpu);
}

int hv_vcpu_gauge(struct hv_vcpu *vcpu, void *ram, bool precise, struct hv_gauge *ret_gauge,
                  struct lum_error *err)
{
    return vcpu->vm->ops->vcpu_gauge(vcpu, ram, precise, ret_gauge, err);
}

int hv_vcpu_run(struct hv_vcpu *vcpu, struct hv_exit *exit, struct lum_error *err)
{
    return vcpu->vm->ops->vcpu_run(vcpu, exit, err);
}

void hv_vcpu_kick(struct hv_vcpu *vcpu)
{
    vcpu->vm->ops->vcpu_kick(vcpu);
}

int hv_vcpu_get_regs(struct hv_vcpu *vcpu, struct arch_regs *ret_regs, struct lum_error *err)
{
    return vcpu->vm->ops->vcpu_get_regs(vcpu, ret_regs, err);
}

int hv_vcpu_set_regs(struct hv_vcpu *vcpu, const struct arch_regs *regs, struct lum_error *err)
{
    return vcpu->vm->ops->vcpu_set_regs(vcpu, regs, err);
}

int hv_irq_route(struct hv_vm *vm, uint32_t line, bool enabled, uint64_t msi_addr,
                 uint32_t msi_data, struct lum_error *err)
{
    if (line >= vm->config.ioapic_pins)
        return lum_fail(err, LUM_EINVAL, "%s: interrupt line %u: the VM has %u", vm->ops->name,
                        line, vm->config.ioapic_pins);
    return vm->ops->irq_route(vm, line, enabled, msi_addr, msi_data, err);
}

void hv_irq_pulse(struct hv_vm *vm, uint32_t line)
{
    if (line < vm->config.ioapic_pins)
        vm->ops->irq_pulse(vm, line);
}

int hv_doorbell_add(struct hv_vm *vm, uint64_t gpa, uint32_t value, plat_fd event,
                    struct lum_error *err)
{
    if (!vm->ops->doorbell_add)
        return lum_fail(err, LUM_ENOTSUP, "%s: no doorbells", vm->ops->name);
    if (event < 0 || (gpa & 3))
        return lum_fail(err, LUM_EINVAL, "%s: doorbell at 0x%llx: no event or not aligned",
                        vm->ops->name, (unsigned long long)gpa);
    return vm->ops->doorbell_add(vm, gpa, value, event, err);
}

int hv_posted_add(struct hv_vm *vm, uint64_t gpa, uint32_t size, struct lum_error *err)
{
    if (!vm->ops->posted_add)
        return lum_fail(err, LUM_ENOTSUP, "%s: no posted writes", vm->ops->name);
    if (size == 0 || size > UINT64_MAX - gpa)
        return lum_fail(err, LUM_EINVAL, "%s: posted writes at 0x%llx: not a range", vm->ops->name,
                        (unsigned long long)gpa);
    return vm->ops->posted_add(vm, gpa, size, err);
}

bool hv_posted_take(struct hv_vm *vm, struct hv_exit *ret_write)
{
    return vm->ops->posted_take && vm->ops->posted_take(vm, ret_write);
}

static int no_state(const struct hv_vm *vm, struct lum_error *err)
{
    return lum_fail(err, LUM_ENOTSUP, "%s: cannot save or load state", vm->ops->name);
}

int hv_vcpu_save(struct hv_vcpu *vcpu, struct arch_vcpu_state *ret_state, struct lum_error *err)
{
    if (!vcpu->vm->ops->vcpu_save)
        return no_state(vcpu->vm, err);
    return vcpu->vm->ops->vcpu_save(vcpu, ret_state, err);
}

int hv_vcpu_load(struct hv_vcpu *vcpu, const struct arch_vcpu_state *state, struct lum_error *err)
{
    const struct hv_vm *vm = vcpu->vm;

    if (!vm->ops->vcpu_load)
        return no_state(vm, err);
    /* A state comes from a file: its counts index its own arrays. */
    if (state->n_msrs > ARCH_MAX_MSRS || state->xsave_size > ARCH_XSAVE_SIZE ||
        state->xsave_size < 512u)
        return lum_fail(err, LUM_EFORMAT, "%s: vCPU %u state: %u MSRs, XSAVE area of %u bytes",
                        vm->ops->name, vcpu->index, state->n_msrs, state->xsave_size);
    return vm->ops->vcpu_load(vcpu, state, err);
}

int hv_vm_save(struct hv_vm *vm, struct arch_vm_state *ret_state, struct lum_error *err)
{
    if (!vm->ops->vm_save)
        return no_state(vm, err);
    return vm->ops->vm_save(vm, ret_state, err);
}

int hv_vm_load(struct hv_vm *vm, const struct arch_vm_state *state, struct lum_error *err)
{
    if (!vm->ops->vm_load)
        return no_state(vm, err);
    return vm->ops->vm_load(vm, state, err);
}
