/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM on x86-64: saving and loading all of a vCPU and the paravirtual clock.
 *
 * Save order. The run state first, because reading it makes KVM act on a pending INIT or start-up
 * message, which changes registers. MSRs before the local APIC: the timer of a stopped vCPU still
 * fires, moving from the deadline MSR into the APIC's request register; read the other way round,
 * that tick would be in neither.
 *
 * Load order. CPUID is there since the creation, and bounds what control registers and XSAVE may
 * hold. System registers (they carry the APIC base and mode) before the APIC; the APIC (its timer
 * mode) before the deadline MSR; the frequency and value of the time stamp counter before the
 * deadline. General registers drop a pending exception, so events come after; the run state last,
 * because loading a reset vector makes KVM runnable by itself.
 */
#include "hv/hv_kvm_x86.h"

#include <asm/kvm.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/alloc.h"

/* FXSAVE image (Intel SDM vol. 1, table 10-2), which is also the first part of an XSAVE image. */
enum {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_FTW = 4,
    FX_FOP = 6,
    FX_FIP = 8,
    FX_FDP = 16,
    FX_MXCSR = 24,
    FX_ST = 32,
    FX_XMM = 160,
    FX_SIZE = 512,
    XSAVE_XSTATE_BV = 512,
};

#define XSTATE_X87_SSE 3u

static struct kvm_arch *arch_of(const struct kvm_vcpu *vcpu)
{
    return container_of(vcpu->base.vm, struct kvm_vm, base)->arch;
}

/* ---- floating point and vectors ---- */

static int save_fpu(struct kvm_vcpu *vcpu, struct arch_vcpu_state *state, struct lum_error *err)
{
    struct kvm_fpu f;
    int rc = kvm_vcpu_ioctl(vcpu, KVM_GET_FPU, "get FPU", &f, err);

    if (rc < 0)
        return rc;
    memcpy(state->xsave + FX_FCW, &f.fcw, sizeof(f.fcw));
    memcpy(state->xsave + FX_FSW, &f.fsw, sizeof(f.fsw));
    state->xsave[FX_FTW] = f.ftwx;
    memcpy(state->xsave + FX_FOP, &f.last_opcode, sizeof(f.last_opcode));
    memcpy(state->xsave + FX_FIP, &f.last_ip, sizeof(f.last_ip));
    memcpy(state->xsave + FX_FDP, &f.last_dp, sizeof(f.last_dp));
    memcpy(state->xsave + FX_MXCSR, &f.mxcsr, sizeof(f.mxcsr));
    memcpy(state->xsave + FX_ST, f.fpr, sizeof(f.fpr));
    memcpy(state->xsave + FX_XMM, f.xmm, sizeof(f.xmm));
    state->xsave_size = FX_SIZE;
    return 0;
}

static int load_fpu(struct kvm_vcpu *vcpu, const struct arch_vcpu_state *state,
                    struct lum_error *err)
{
    struct kvm_fpu f = {.ftwx = state->xsave[FX_FTW]};

    memcpy(&f.fcw, state->xsave + FX_FCW, sizeof(f.fcw));
    memcpy(&f.fsw, state->xsave + FX_FSW, sizeof(f.fsw));
    memcpy(&f.last_opcode, state->xsave + FX_FOP, sizeof(f.last_opcode));
    memcpy(&f.last_ip, state->xsave + FX_FIP, sizeof(f.last_ip));
    memcpy(&f.last_dp, state->xsave + FX_FDP, sizeof(f.last_dp));
    memcpy(&f.mxcsr, state->xsave + FX_MXCSR, sizeof(f.mxcsr));
    memcpy(f.fpr, state->xsave + FX_ST, sizeof(f.fpr));
    memcpy(f.xmm, state->xsave + FX_XMM, sizeof(f.xmm));
    return kvm_vcpu_ioctl(vcpu, KVM_SET_FPU, "set FPU", &f, err);
}

static int save_vectors(struct kvm_vcpu *vcpu, struct arch_vcpu_state *state, struct lum_error *err)
{
    const struct kvm_arch *arch = arch_of(vcpu);
    bool large = arch->xsave_size > sizeof(struct kvm_xsave);
    struct kvm_xcrs xcrs;

    if (!arch->xsave_size)
        return save_fpu(vcpu, state, err);

    _Static_assert(ARCH_XSAVE_SIZE >= sizeof(struct kvm_xsave), "KVM writes at least a page");
    int rc = kvm_vcpu_ioctl(vcpu, large ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, "get XSAVE", state->xsave,
                            err);
    if (rc >= 0)
        rc = kvm_vcpu_ioctl(vcpu, KVM_GET_XCRS, "get XCR0", &xcrs, err);
    if (rc < 0)
        return rc;
    if (xcrs.nr_xcrs < 1)
        return lum_fail(err, LUM_EOS, "kvm: vCPU %u: has XSAVE but no XCR0", vcpu->base.index);
    state->xsave_size = arch->xsave_size;
    state->xcr0 = xcrs.xcrs[0].value;
    return 0;
}

static int load_vectors(struct kvm_vcpu *vcpu, const struct arch_vcpu_state *state,
                        struct lum_error *err)
{
    const struct kvm_arch *arch = arch_of(vcpu);

    if (state->xsave_size > FX_SIZE && state->xsave_size > arch->xsave_size)
        return lum_fail(err, LUM_ENOTSUP,
                        "kvm: vCPU %u: the state has %u bytes of vector registers, this host %u",
                        vcpu->base.index, state->xsave_size, arch->xsave_size);
    if (!arch->xsave_size)
        return load_fpu(vcpu, state, err);

    AUTO(auto_free) uint8_t *image = lum_calloc(1, ARCH_XSAVE_SIZE);
    if (!image)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");
    memcpy(image, state->xsave, state->xsave_size);
    if (state->xsave_size == FX_SIZE)
        image[XSAVE_XSTATE_BV] =
            XSTATE_X87_SSE; /* saved without XSAVE: these two are all there is */

    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = state->xcr0}}};
    int rc = 0;
    if (state->xcr0)
        rc = kvm_vcpu_ioctl(vcpu, KVM_SET_XCRS, "set XCR0", &xcrs, err);
    if (rc >= 0)
        rc = kvm_vcpu_ioctl(vcpu, KVM_SET_XSAVE, "set XSAVE", image, err);
    return rc;
}

/* ---- debug registers, events, run state ---- */

static int save_debug(struct kvm_vcpu *vcpu, struct arch_vcpu_state *state, struct lum_error *err)
{
    struct kvm_debugregs d;
    int rc = kvm_vcpu_ioctl(vcpu, KVM_GET_DEBUGREGS, "get debug registers", &d, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(state->dr); i++)
        state->dr[i] = d.db[i];
    state->dr6 = d.dr6;
    state->dr7 = d.dr7;
    return 0;
}

static int load_debug(struct kvm_vcpu *vcpu, const struct arch_vcpu_state *state,
                      struct lum_error *err)
{
    struct kvm_debugregs d = {.dr6 = state->dr6, .dr7 = state->dr7};

    for (size_t i = 0; i < ARRAY_LEN(state->dr); i++)
        d.db[i] = state->dr[i];
    return kvm_vcpu_ioctl(vcpu, KVM_SET_DEBUGREGS, "set debug registers", &d, err);
}

static int save_events(struct kvm_vcpu *vcpu, struct arch_vcpu_state *state, struct lum_error *err)
{
    struct kvm_vcpu_events e;
    int rc = kvm_vcpu_ioctl(vcpu, KVM_GET_VCPU_EVENTS, "get events", &e, err);

    if (rc < 0)
        return rc;
    state->events = (struct arch_events){
        .exception_injected = e.exception.injected,
        .exception_nr = e.exception.nr,
        .exception_has_error_code = e.exception.has_error_code,
        .exception_pending = e.exception.pending,
        .exception_error_code = e.exception.error_code,
        .exception_has_payload = e.exception_has_payload,
        .exception_payload = e.exception_payload,
        .interrupt_injected = e.interrupt.injected,
        .interrupt_nr = e.interrupt.nr,
        .interrupt_soft = e.interrupt.soft,
        .interrupt_shadow = e.interrupt.shadow,
        .nmi_injected = e.nmi.injected,
        .nmi_pending = e.nmi.pending,
        .nmi_masked = e.nmi.masked,
        .sipi_vector = e.sipi_vector,
        .smi_smm = e.smi.smm,
        .smi_pending = e.smi.pending,
        .smi_inside_nmi = e.smi.smm_inside_nmi,
        .smi_latched_init = e.smi.latched_init,
        .triple_fault_pending = e.triple_fault.pending,
    };
    return 0;
}

/* An event that this host's KVM cannot be told would be lost in silence. */
static int check_events(const struct kvm_vcpu *vcpu, const struct arch_events *s,
                        struct lum_error *err)
{
    uint32_t flags = arch_of(vcpu)->event_flags;
    const char *lost = NULL;

    if ((s->smi_smm || s->smi_pending) && !(flags & KVM_VCPUEVENT_VALID_SMM))
        lost = "system management mode";
    else if ((s->exception_pending || s->exception_has_payload) &&
             !(flags & KVM_VCPUEVENT_VALID_PAYLOAD))
        lost = "a pending exception";
    else if (s->triple_fault_pending && !(flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT))
        lost = "a pending triple fault";
    if (lost)
        return lum_fail(err, LUM_ENOTSUP,
                        "kvm: vCPU %u: the state has %s, this host cannot load it",
                        vcpu->base.index, lost);
    return 0;
}

static int load_events(struct kvm_vcpu *vcpu, const struct arch_events *s, struct lum_error *err)
{
    int rc = check_events(vcpu, s, err);
    if (rc < 0)
        return rc;

    struct kvm_vcpu_events e = {
        .exception = {.injected = s->exception_injected,
                      .nr = s->exception_nr,
                      .has_error_code = s->exception_has_error_code,
                      .pending = s->exception_pending,
                      .error_code = s->exception_error_code},
        .interrupt = {.injected = s->interrupt_injected,
                      .nr = s->interrupt_nr,
                      .soft = s->interrupt_soft,
                      .shadow = s->interrupt_shadow},
        .nmi = {.injected = s->nmi_injected, .pending = s->nmi_pending, .masked = s->nmi_masked},
        .sipi_vector = s->sipi_vector,
        .flags = arch_of(vcpu)->event_flags,
        .smi = {.smm = s->smi_smm,
                .pending = s->smi_pending,
                .smm_inside_nmi = s->smi_inside_nmi,
                .latched_init = s->smi_latched_init},
        .triple_fault = {.pending = s->triple_fault_pending},
        .exception_has_payload = s->exception_has_payload,
        .exception_payload = s->exception_payload,
    };
    if (s->sipi_vector)
        e.flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
    return kvm_vcpu_ioctl(vcpu, KVM_SET_VCPU_EVENTS, "set events", &e, err);
}

static const struct {
    enum arch_run_state ours;
    uint32_t kvm;
} run_states[] = {
    {ARCH_RUNNABLE, KVM_MP_STATE_RUNNABLE},
    {ARCH_UNINITIALIZED, KVM_MP_STATE_UNINITIALIZED},
    {ARCH_INIT_RECEIVED, KVM_MP_STATE_INIT_RECEIVED},
    {ARCH_HALTED, KVM_MP_STATE_HALTED},
    {ARCH_SIPI_RECEIVED, KVM_MP_STATE_SIPI_RECEIVED},
};

static int save_run_state(struct kvm_vcpu *vcpu, struct arch_vcpu_state *state,
                          struct lum_error *err)
{
    struct kvm_mp_state mp;
    int rc = kvm_vcpu_ioctl(vcpu, KVM_GET_MP_STATE, "get run state", &mp, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(run_states); i++) {
        if (run_states[i].kvm == mp.mp_state) {
            state->run_state = run_states[i].ours;
            return 0;
        }
    }
    return lum_fail(err, LUM_ENOTSUP, "kvm: vCPU %u: unknown run state %u", vcpu->base.index,
                    mp.mp_state);
}

static int load_run_state(struct kvm_vcpu *vcpu, const struct arch_vcpu_state *state,
                          struct lum_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(run_states); i++) {
        if (run_states[i].ours == state->run_state) {
            struct kvm_mp_state mp = {.mp_state = run_states[i].kvm};

            return kvm_vcpu_ioctl(vcpu, KVM_SET_MP_STATE, "set run state", &mp, err);
        }
    }
    return lum_fail(err, LUM_EFORMAT, "kvm: vCPU %u: unknown run state %d", vcpu->base.index,
                    (int)state->run_state);
}

/* ---- interrupt controller, time ---- */

_Static_assert(sizeof(((struct arch_vcpu_state *)0)->lapic) == sizeof(struct kvm_lapic_state),
               "the register page is the same");

/*
 * A guest's time stamp counter cannot be slowed down without hardware help. Crystals differ by
 * parts per million between equal hosts; the guest's clock comes from KVM, which knows the real
 * frequency.
 */
static int load_tsc_khz(struct kvm_vcpu *vcpu, uint32_t khz, struct lum_error *err)
{
    int here = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
    uint32_t tolerance = khz / 4000; /* 250 ppm, as KVM itself allows */

    if (!khz || here <= 0 || (uint32_t)here == khz)
        return 0;
    if (ioctl(vcpu->fd, KVM_SET_TSC_KHZ, (unsigned long)khz) == 0)
        return 0;
    uint32_t apart = khz > (uint32_t)here ? khz - (uint32_t)here : (uint32_t)here - khz;
    if (apart <= tolerance)
        return 0;
    return lum_fail(err, LUM_ENOTSUP,
                    "kvm: vCPU %u: the state's time stamp counter runs at %u kHz, this host's at "
                    "%d and it cannot be scaled",
                    vcpu->base.index, khz, here);
}

static int tsc_offset_attr(const struct kvm_vcpu *vcpu, unsigned long request, uint64_t *offset)
{
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL,
        .attr = KVM_VCPU_TSC_OFFSET,
        .addr = (uintptr_t)offset,
    };

    return ioctl(vcpu->fd, request, &attr);
}

/* Offsets that differ by no more than the moments of their saves and loads belong to one counter.
 */
static uint64_t shared_tsc_offset(const struct kvm_vcpu *vcpu, uint64_t offset, uint32_t khz)
{
    const struct kvm_vm *vm = container_of(vcpu->base.vm, struct kvm_vm, base);
    uint64_t second = (uint64_t)khz * 1000;

    plat_mutex_lock(vm->lock);
    if (!vm->arch->has_tsc_offset) {
        vm->arch->has_tsc_offset = true;
        vm->arch->tsc_offset = offset;
    } else if (offset - vm->arch->tsc_offset + second <= 2 * second) {
        offset = vm->arch->tsc_offset;
    }
    plat_mutex_unlock(vm->lock);
    return offset;
}

/*
 * The time stamp counter goes on from its saved value, the same for all vCPUs. Writing the MSR does
 * not do: KVM guesses that a value within a second of the counter's own is meant to synchronise
 * vCPUs and keeps the one it has, and before Linux 6.7 it did so with the start value of a new VM
 * too. A guest saved in its first second, as templates are, then finds its counter gone back.
 * Setting the offset (Linux 5.16) is exact.
 */
static int load_tsc(struct kvm_vcpu *vcpu, const struct arch_vcpu_state *state,
                    struct lum_error *err)
{
    static const uint32_t index = MSR_IA32_TSC;
    AUTO(auto_free) struct kvm_msr_batch *batch = lum_calloc(1, sizeof(*batch));
    const struct arch_msr *saved = NULL;
    uint64_t offset;

    if (!batch)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");
    for (uint32_t i = 0; i < state->n_msrs; i++)
        if (state->msrs[i].index == MSR_IA32_TSC)
            saved = &state->msrs[i];
    if (!saved)
        return 0;

    if (tsc_offset_attr(vcpu, KVM_GET_DEVICE_ATTR, &offset) < 0) {
        batch->n = 1;
        batch->entries[0] = (struct kvm_msr_entry){.index = saved->index, .data = saved->value};
        return kvm_x86_set_msrs(vcpu, batch, err);
    }
    int rc = kvm_x86_get_msrs(vcpu, &index, 1, batch, err);
    if (rc < 0)
        return rc;
    if (batch->n != 1)
        return lum_fail(err, LUM_EOS, "kvm: vCPU %u: has no time stamp counter", vcpu->base.index);
    offset =
        shared_tsc_offset(vcpu, offset + saved->value - batch->entries[0].data, state->tsc_khz);
    if (tsc_offset_attr(vcpu, KVM_SET_DEVICE_ATTR, &offset) < 0)
        return lum_fail_errno(err, errno, "kvm: vCPU %u: set the time stamp counter",
                              vcpu->base.index);
    return 0;
}

static int save_msrs(struct kvm_vcpu *vcpu, struct arch_vcpu_state *state, struct lum_error *err)
{
    const struct kvm_arch *arch = arch_of(vcpu);
    AUTO(auto_free) struct kvm_msr_batch *batch = lum_calloc(1, sizeof(*batch));

    if (!batch)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");
    int rc = kvm_x86_get_msrs(vcpu, arch->msrs, arch->n_msrs, batch, err);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < batch->n; i++)
        state->msrs[i] = (struct arch_msr){
            .index = batch->entries[i].index,
            .value = batch->entries[i].data,
        };
    state->n_msrs = batch->n;
    return 0;
}

static int load_msrs(struct kvm_vcpu *vcpu, const struct arch_vcpu_state *state,
                     struct lum_error *err)
{
    AUTO(auto_free) struct kvm_msr_batch *batch = lum_calloc(1, sizeof(*batch));

    if (!batch)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");
    for (uint32_t i = 0; i < state->n_msrs; i++)
        if (state->msrs[i].index != MSR_IA32_TSC)
            batch->entries[batch->n++] = (struct kvm_msr_entry){
                .index = state->msrs[i].index,
                .data = state->msrs[i].value,
            };
    return kvm_x86_set_msrs(vcpu, batch, err);
}

/* ---- the whole ---- */

static int save_all(struct kvm_vcpu *vcpu, struct arch_vcpu_state *state, struct lum_error *err)
{
    int rc = kvm_vcpu_settle(vcpu, err);

    if (rc >= 0)
        rc = save_run_state(vcpu, state, err);
    if (rc >= 0)
        rc = kvm_arch_get_regs(&vcpu->base, &state->regs, err);
    if (rc >= 0)
        rc = save_vectors(vcpu, state, err);
    if (rc >= 0)
        rc = save_debug(vcpu, state, err);
    if (rc >= 0)
        rc = save_msrs(vcpu, state, err);
    if (rc >= 0)
        rc = kvm_vcpu_ioctl(vcpu, KVM_GET_LAPIC, "get local APIC", state->lapic, err);
    if (rc >= 0)
        rc = save_events(vcpu, state, err);
    if (rc < 0)
        return rc;

    /* Refused where the host's own counter is unstable: 0, unknown. */
    int khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
    state->tsc_khz = khz > 0 ? (uint32_t)khz : 0;
    return 0;
}

int kvm_arch_vcpu_save(struct hv_vcpu *base, struct arch_vcpu_state *ret_state,
                       struct lum_error *err)
{
    struct kvm_vcpu *vcpu = container_of(base, struct kvm_vcpu, base);
    AUTO(auto_free) struct arch_vcpu_state *state = lum_calloc(1, sizeof(*state));

    if (!state)
        return lum_fail(err, LUM_ENOMEM, "kvm: out of memory");
    int rc = save_all(vcpu, state, err);
    if (rc == 0)
        *ret_state = *state;
    return rc;
}

int kvm_arch_vcpu_load(struct hv_vcpu *base, const struct arch_vcpu_state *state,
                       struct lum_error *err)
{
    struct kvm_vcpu *vcpu = container_of(base, struct kvm_vcpu, base);
    struct kvm_lapic_state lapic;

    memcpy(&lapic, state->lapic, sizeof(lapic));
    int rc = kvm_arch_set_regs(base, &state->regs, err);
    if (rc >= 0)
        rc = load_vectors(vcpu, state, err);
    if (rc >= 0)
        rc = load_debug(vcpu, state, err);
    if (rc >= 0)
        rc = kvm_vcpu_ioctl(vcpu, KVM_SET_LAPIC, "set local APIC", &lapic, err);
    if (rc >= 0)
        rc = load_tsc_khz(vcpu, state->tsc_khz, err);
    if (rc >= 0)
        rc = load_tsc(vcpu, state, err);
    if (rc >= 0)
        rc = load_msrs(vcpu, state, err);
    if (rc >= 0)
        rc = load_events(vcpu, &state->events, err);
    if (rc >= 0)
        rc = load_run_state(vcpu, state, err);
    if (rc < 0)
        return rc;

    /* Tells a guest that uses KVM's clock that it was stopped, so that its lockup watchdogs hold
     * still; others: EINVAL. */
    if (ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0) < 0 && errno != EINVAL)
        return lum_fail_errno(err, errno, "kvm: vCPU %u: announce the pause", base->index);
    return 0;
}

int kvm_arch_vm_save(struct hv_vm *base, struct arch_vm_state *ret_state, struct lum_error *err)
{
    const struct kvm_vm *vm = container_of(base, struct kvm_vm, base);
    struct kvm_clock_data clock = {.clock = 0};

    if (ioctl(vm->vm_fd, KVM_GET_CLOCK, &clock) < 0)
        return lum_fail_errno(err, errno, "kvm: get clock");
    *ret_state = (struct arch_vm_state){
        .clock_ns = clock.clock,
        .realtime_ns = clock.flags & KVM_CLOCK_REALTIME ? clock.realtime : 0,
        .host_tsc = clock.flags & KVM_CLOCK_HOST_TSC ? clock.host_tsc : 0,
    };
    return 0;
}

/*
 * The clock goes on from where it stopped. It does not jump by the time that has passed since: the
 * guest's monotonic clock would, and with it every timeout; the agent sets the wall clock.
 */
int kvm_arch_vm_load(struct hv_vm *base, const struct arch_vm_state *state, struct lum_error *err)
{
    const struct kvm_vm *vm = container_of(base, struct kvm_vm, base);
    struct kvm_clock_data clock = {.clock = state->clock_ns};

    if (ioctl(vm->vm_fd, KVM_SET_CLOCK, &clock) < 0)
        return lum_fail_errno(err, errno, "kvm: set clock");
    return 0;
}
