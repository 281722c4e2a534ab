/* SPDX-License-Identifier: Apache-2.0 */
/* See hv_null.h. One mutex per VM guards all of it; one condition wakes halted vCPUs. */
#include "hv/hv_null.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"

#define NULL_MAX_SLOTS     16u
#define NULL_MAX_DOORBELLS 128u
#define NULL_MSR_STEP      0x4e554c4cu /* where a saved state keeps the position in the script */

struct null_slot {
    uint64_t gpa, size;
    uint8_t *host;
    bool writable;
};

struct null_doorbell {
    uint64_t gpa;
    uint32_t value;
    plat_fd event;
};

struct null_vm {
    struct hv_vm base;
    struct null_bench *bench;
    struct null_bench own; /* when the test gave none */
    struct plat_mutex *lock;
    struct plat_cond *wake;
    struct null_slot slots[NULL_MAX_SLOTS];
    uint32_t n_slots;
    struct null_doorbell doorbells[NULL_MAX_DOORBELLS];
    uint32_t n_doorbells;
    uint32_t pending[HV_MAX_LINES]; /* pulses that no script has taken */
    uint64_t clock_ns;
};

struct null_vcpu {
    struct hv_vcpu base;
    struct arch_regs regs;
    size_t step;
    bool kicked;
    struct hv_exit *asked; /* where the answer to a read will be */
    uint64_t expected;
};

static struct null_bench *next_bench;

void hv_null_use(struct null_bench *bench)
{
    next_bench = bench;
}

static struct null_vm *vm_of(struct hv_vm *base)
{
    return container_of(base, struct null_vm, base);
}

static int null_probe(struct hv_probe *ret_probe, struct lum_error *err)
{
    (void)err;
    *ret_probe = (struct hv_probe){
        .gauge = {.speed = HV_SPEED_EMULATED, .detail = "plays scripts instead of running guests"},
        .caps = HV_CAP_STATE | HV_CAP_DOORBELL,
        .max_vcpus = ARCH_MAX_VCPUS,
    };
    return 0;
}

static int null_vcpu_gauge(struct hv_vcpu *vcpu, void *ram, bool precise,
                           struct hv_gauge *ret_gauge, struct lum_error *err)
{
    (void)vcpu;
    (void)ram;
    (void)precise;
    (void)err;
    *ret_gauge = (struct hv_gauge){.speed = HV_SPEED_EMULATED, .detail = "plays scripts"};
    return 0;
}

static void null_vm_free(struct hv_vm *base)
{
    struct null_vm *vm = vm_of(base);

    plat_cond_free(vm->wake);
    plat_mutex_free(vm->lock);
    free(vm);
}

static int null_vm_create(const struct hv_vm_config *config, struct hv_vm **ret_vm,
                          struct lum_error *err)
{
    struct null_vm *vm = lum_calloc(1, sizeof(*vm));

    if (!vm)
        return lum_fail(err, LUM_ENOMEM, "null: out of memory");
    vm->base.ops = &hv_null_ops;
    vm->base.config = *config;
    vm->bench = next_bench ? next_bench : &vm->own;
    vm->lock = plat_mutex_create();
    vm->wake = plat_cond_create();
    if (!vm->lock || !vm->wake) {
        null_vm_free(&vm->base);
        return lum_fail(err, LUM_ENOMEM, "null: out of memory");
    }
    *ret_vm = &vm->base;
    return 0;
}

static int null_mem_map(struct hv_vm *base, uint64_t gpa, void *host, uint64_t size, bool writable,
                        struct lum_error *err)
{
    struct null_vm *vm = vm_of(base);

    if (vm->n_doorbells)
        return lum_fail(err, LUM_EINTERNAL, "null: memory at 0x%llx is mapped after a doorbell",
                        (unsigned long long)gpa);
    if (vm->n_slots == NULL_MAX_SLOTS)
        return lum_fail(err, LUM_EOS, "null: more than %u memory slots", NULL_MAX_SLOTS);
    vm->slots[vm->n_slots++] =
        (struct null_slot){.gpa = gpa, .size = size, .host = host, .writable = writable};
    return 0;
}

static int null_vcpu_create(struct hv_vm *base, uint32_t index, struct hv_vcpu **ret_vcpu,
                            struct lum_error *err)
{
    struct null_vcpu *vcpu = lum_calloc(1, sizeof(*vcpu));

    if (!vcpu)
        return lum_fail(err, LUM_ENOMEM, "null: out of memory");
    vcpu->base.vm = base;
    vcpu->base.index = index;
    *ret_vcpu = &vcpu->base;
    return 0;
}

static void null_vcpu_free(struct hv_vcpu *base)
{
    free(container_of(base, struct null_vcpu, base));
}

/* ---- playing a script; the VM's lock is held ---- */

static void mismatch(struct null_vm *vm, const struct null_vcpu *vcpu, const char *what,
                     uint64_t got, uint64_t expected)
{
    struct null_bench *bench = vm->bench;

    if (atomic_fetch_add(&bench->mismatches, 1) == 0)
        snprintf(bench->mismatch, sizeof(bench->mismatch),
                 "vCPU %u step %zu: %s 0x%llx, expected 0x%llx", vcpu->base.index, vcpu->step, what,
                 (unsigned long long)got, (unsigned long long)expected);
}

static uint8_t *memory_at(struct null_vm *vm, uint64_t gpa, uint64_t size, bool write)
{
    for (uint32_t i = 0; i < vm->n_slots; i++) {
        const struct null_slot *s = &vm->slots[i];

        if (gpa >= s->gpa && size <= s->size && gpa - s->gpa <= s->size - size &&
            (s->writable || !write))
            return s->host + (gpa - s->gpa);
    }
    return NULL;
}

static uint64_t low_bytes(uint64_t value, uint8_t size)
{
    return size >= 8 ? value : value & (((uint64_t)1 << 8 * size) - 1);
}

static void touch_memory(struct null_vm *vm, const struct null_vcpu *vcpu,
                         const struct null_step *step)
{
    bool write = step->op == NULL_POKE;
    uint8_t *at = memory_at(vm, step->addr, step->size, write);
    uint8_t bytes[8];

    if (!at || step->size > sizeof(bytes)) {
        mismatch(vm, vcpu, "no such memory at", step->addr, step->addr);
        return;
    }
    le64_store(bytes, step->value);
    if (write)
        memcpy(at, bytes, step->size);
    else if (memcmp(at, bytes, step->size) != 0)
        mismatch(vm, vcpu, "memory differs at", step->addr, step->value);
}

static bool ring_doorbell(struct null_vm *vm, const struct null_step *step)
{
    for (uint32_t i = 0; i < vm->n_doorbells; i++) {
        const struct null_doorbell *bell = &vm->doorbells[i];

        if (step->size == 4 && bell->gpa == step->addr && bell->value == step->value) {
            plat_event_signal(bell->event);
            atomic_fetch_add(&vm->bench->doorbells, 1);
            return true;
        }
    }
    return false;
}

static void ask(struct null_vcpu *vcpu, const struct null_step *step, struct hv_exit *exit)
{
    bool mmio = step->op == NULL_MMIO_READ || step->op == NULL_MMIO_WRITE;
    bool write = step->op == NULL_MMIO_WRITE || step->op == NULL_PIO_WRITE;

    *exit = (struct hv_exit){
        .reason = mmio ? HV_EXIT_MMIO : HV_EXIT_PIO,
        .is_write = write,
        .size = step->size,
        .addr = step->addr,
        .data = write ? low_bytes(step->value, step->size) : 0,
    };
    if (write)
        return;
    vcpu->asked = exit;
    vcpu->expected = low_bytes(step->value, step->size);
}

static void check_answer(struct null_vm *vm, struct null_vcpu *vcpu)
{
    if (!vcpu->asked)
        return;
    uint64_t got = low_bytes(vcpu->asked->data, vcpu->asked->size);
    if (got != vcpu->expected)
        mismatch(vm, vcpu, "the answer is", got, vcpu->expected);
    vcpu->asked = NULL;
}

static void next_step(struct null_vm *vm, struct null_vcpu *vcpu)
{
    vcpu->step++;
    atomic_fetch_add(&vm->bench->steps, 1);
}

/* One step: true when it is an exit. A step that must wait leaves the position where it is. */
static bool play(struct null_vm *vm, struct null_vcpu *vcpu, struct hv_exit *exit)
{
    const struct null_script *script = &vm->bench->scripts[vcpu->base.index];
    const struct null_step *step = script->steps + vcpu->step;

    if (vcpu->step >= script->n_steps) {
        plat_cond_wait(vm->wake, vm->lock);
        return false;
    }
    switch (step->op) {
    case NULL_MMIO_WRITE:
        next_step(vm, vcpu);
        if (ring_doorbell(vm, step))
            return false;
        ask(vcpu, step, exit);
        return true;
    case NULL_MMIO_READ:
    case NULL_PIO_WRITE:
    case NULL_PIO_READ:
        next_step(vm, vcpu);
        ask(vcpu, step, exit);
        return true;
    case NULL_WAIT_KICK: plat_cond_wait(vm->wake, vm->lock); return false;
    case NULL_WAIT_IRQ:
        if (step->addr < HV_MAX_LINES && vm->pending[step->addr]) {
            vm->pending[step->addr]--;
            next_step(vm, vcpu);
        } else {
            plat_cond_wait(vm->wake, vm->lock);
        }
        return false;
    case NULL_POKE:
    case NULL_PEEK:
        touch_memory(vm, vcpu, step);
        next_step(vm, vcpu);
        return false;
    case NULL_CALL:
        next_step(vm, vcpu);
        plat_mutex_unlock(vm->lock);
        step->call(step->ctx);
        plat_mutex_lock(vm->lock);
        return false;
    case NULL_HALT: *exit = (struct hv_exit){.reason = HV_EXIT_HALT}; break;
    case NULL_SHUTDOWN: *exit = (struct hv_exit){.reason = HV_EXIT_SHUTDOWN}; break;
    case NULL_RESET: *exit = (struct hv_exit){.reason = HV_EXIT_RESET}; break;
    case NULL_CRASH:
        *exit = (struct hv_exit){.reason = HV_EXIT_CRASH, .text = "the script says so"};
        break;
    }
    next_step(vm, vcpu);
    return true;
}

static bool waits_for_kick(const struct null_vm *vm, const struct null_vcpu *vcpu)
{
    const struct null_script *script = &vm->bench->scripts[vcpu->base.index];

    return vcpu->step < script->n_steps && script->steps[vcpu->step].op == NULL_WAIT_KICK;
}

static int null_vcpu_run(struct hv_vcpu *base, struct hv_exit *exit, struct lum_error *err)
{
    struct null_vcpu *vcpu = container_of(base, struct null_vcpu, base);
    struct null_vm *vm = vm_of(base->vm);
    bool done = false;

    (void)err;
    plat_mutex_lock(vm->lock);
    check_answer(vm, vcpu);
    while (!done) {
        if (vcpu->kicked) {
            vcpu->kicked = false;
            if (waits_for_kick(vm, vcpu))
                next_step(vm, vcpu);
            *exit = (struct hv_exit){.reason = HV_EXIT_KICKED};
            done = true;
        } else {
            done = play(vm, vcpu, exit);
        }
    }
    plat_mutex_unlock(vm->lock);
    return 0;
}

static void null_vcpu_kick(struct hv_vcpu *base)
{
    struct null_vcpu *vcpu = container_of(base, struct null_vcpu, base);
    struct null_vm *vm = vm_of(base->vm);

    plat_mutex_lock(vm->lock);
    vcpu->kicked = true;
    plat_cond_broadcast(vm->wake);
    plat_mutex_unlock(vm->lock);
}

/* ---- registers, interrupts, doorbells ---- */

static int null_get_regs(struct hv_vcpu *base, struct arch_regs *ret_regs, struct lum_error *err)
{
    (void)err;
    *ret_regs = container_of(base, struct null_vcpu, base)->regs;
    return 0;
}

static int null_set_regs(struct hv_vcpu *base, const struct arch_regs *regs, struct lum_error *err)
{
    (void)err;
    container_of(base, struct null_vcpu, base)->regs = *regs;
    return 0;
}

static int null_irq_route(struct hv_vm *base, uint32_t line, bool enabled, uint64_t msi_addr,
                          uint32_t msi_data, struct lum_error *err)
{
    struct null_line *l = &vm_of(base)->bench->lines[line];

    (void)err;
    atomic_store(&l->msi_addr, msi_addr);
    atomic_store(&l->msi_data, msi_data);
    atomic_store(&l->enabled, enabled);
    atomic_fetch_add(&l->routes, 1);
    return 0;
}

static void null_irq_pulse(struct hv_vm *base, uint32_t line)
{
    struct null_vm *vm = vm_of(base);

    if (!atomic_load(&vm->bench->lines[line].enabled))
        return;
    plat_mutex_lock(vm->lock);
    atomic_fetch_add(&vm->bench->lines[line].pulses, 1);
    vm->pending[line]++;
    plat_cond_broadcast(vm->wake);
    plat_mutex_unlock(vm->lock);
}

static int null_doorbell_add(struct hv_vm *base, uint64_t gpa, uint32_t value, plat_fd event,
                             struct lum_error *err)
{
    struct null_vm *vm = vm_of(base);
    int rc = 0;

    plat_mutex_lock(vm->lock);
    if (vm->n_doorbells == NULL_MAX_DOORBELLS)
        rc = lum_fail(err, LUM_EOS, "null: more than %u doorbells", NULL_MAX_DOORBELLS);
    else
        vm->doorbells[vm->n_doorbells++] =
            (struct null_doorbell){.gpa = gpa, .value = value, .event = event};
    plat_mutex_unlock(vm->lock);
    return rc;
}

/* ---- state: the registers and the position in the script ---- */

static int null_vcpu_save(struct hv_vcpu *base, struct arch_vcpu_state *ret_state,
                          struct lum_error *err)
{
    struct null_vcpu *vcpu = container_of(base, struct null_vcpu, base);
    struct null_vm *vm = vm_of(base->vm);

    (void)err;
    plat_mutex_lock(vm->lock);
    check_answer(vm, vcpu);
    memset(ret_state, 0, sizeof(*ret_state));
    ret_state->regs = vcpu->regs;
    ret_state->xsave_size = 512;
    ret_state->n_msrs = 1;
    ret_state->msrs[0] = (struct arch_msr){.index = NULL_MSR_STEP, .value = vcpu->step};
    plat_mutex_unlock(vm->lock);
    return 0;
}

static int null_vcpu_load(struct hv_vcpu *base, const struct arch_vcpu_state *state,
                          struct lum_error *err)
{
    struct null_vcpu *vcpu = container_of(base, struct null_vcpu, base);

    if (state->n_msrs != 1 || state->msrs[0].index != NULL_MSR_STEP)
        return lum_fail(err, LUM_EFORMAT, "null: vCPU %u: the state is of another driver",
                        base->index);
    vcpu->regs = state->regs;
    vcpu->step = (size_t)state->msrs[0].value;
    return 0;
}

static int null_vm_save(struct hv_vm *base, struct arch_vm_state *ret_state, struct lum_error *err)
{
    (void)err;
    *ret_state = (struct arch_vm_state){.clock_ns = vm_of(base)->clock_ns};
    return 0;
}

static int null_vm_load(struct hv_vm *base, const struct arch_vm_state *state,
                        struct lum_error *err)
{
    (void)err;
    vm_of(base)->clock_ns = state->clock_ns;
    return 0;
}

const struct hv_ops hv_null_ops = {
    .name = "null",
    .probe = null_probe,
    .vcpu_gauge = null_vcpu_gauge,
    .vm_create = null_vm_create,
    .vm_free = null_vm_free,
    .mem_map = null_mem_map,
    .vcpu_create = null_vcpu_create,
    .vcpu_free = null_vcpu_free,
    .vcpu_run = null_vcpu_run,
    .vcpu_kick = null_vcpu_kick,
    .vcpu_get_regs = null_get_regs,
    .vcpu_set_regs = null_set_regs,
    .irq_route = null_irq_route,
    .irq_pulse = null_irq_pulse,
    .doorbell_add = null_doorbell_add,
    .vcpu_save = null_vcpu_save,
    .vcpu_load = null_vcpu_load,
    .vm_save = null_vm_save,
    .vm_load = null_vm_load,
};
