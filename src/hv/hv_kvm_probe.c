/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM: the honest probe. A /dev/kvm that opens says little: under some hypervisors it runs guest
 * user code on the CPU and emulates guest kernel code instruction by instruction, and a Linux guest
 * never finishes its boot. So a tiny guest is run and timed.
 *
 * Instructions are told from exits by the difference between a long loop and one of a single round;
 * each is the best of several, since a disturbance only ever adds time. On real hardware an
 * instruction of the loop takes about 0.3 ns, under KVM nested in an emulated CPU 5 to 50 ns, in
 * KVM's own emulator 800 ns. The verdict's threshold, 200 ns, has a factor of four to each side.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hv/hv_kvm.h"

#define EMULATED_PS      200000u
#define DEADLINE_MS      2000u
#define TRIES            3
#define VERDICT_ROUNDS   500u   /* 0.8 ms when emulated */
#define PRECISION_ROUNDS 20000u /* 12 us on hardware; only run when it is not emulated */

/* Best time of the loop, or <0. The first run of a loop is a warm-up. */
static int time_loop(struct hv_vcpu *vcpu, uint8_t *ram, uint32_t rounds, uint64_t *ret_ns,
                     struct lum_error *err)
{
    uint64_t best = UINT64_MAX;
    int rc = kvm_arch_probe_guest(vcpu, ram, rounds, err);

    for (int i = 0; rc == 0 && i < 1 + TRIES; i++) {
        struct hv_exit exit = {.reason = HV_EXIT_CRASH};
        uint64_t start = plat_now_ns();

        rc = kvm_vcpu_run(vcpu, &exit, err);
        uint64_t took = plat_now_ns() - start;
        if (rc < 0)
            break;
        if (exit.reason == HV_EXIT_KICKED)
            rc = lum_fail(err, LUM_ENOTSUP, "kvm: a tiny guest did not finish within %u ms",
                          DEADLINE_MS);
        else if (!exit.is_write)
            rc = lum_fail(err, LUM_ENOTSUP, "kvm: a tiny guest failed: %s",
                          exit.reason == HV_EXIT_CRASH ? exit.text : "unexpected exit");
        else if (i > 0 && took < best)
            best = took;
    }
    if (rc == 0)
        *ret_ns = best;
    return rc;
}

static uint32_t per_instruction_ps(uint64_t loop_ns, uint64_t exit_ns, uint32_t rounds)
{
    uint64_t ns = loop_ns > exit_ns ? loop_ns - exit_ns : 0;
    uint64_t ps = ns * 1000 / (2 * (uint64_t)(rounds - 1));

    return ps > UINT32_MAX ? UINT32_MAX : (uint32_t)ps;
}

static int measure(struct hv_vcpu *vcpu, uint8_t *ram, bool precise, uint32_t *ret_ps,
                   struct lum_error *err)
{
    uint64_t exit_ns = 0, loop_ns = 0;
    int rc = time_loop(vcpu, ram, 1, &exit_ns, err);

    if (rc == 0)
        rc = time_loop(vcpu, ram, VERDICT_ROUNDS, &loop_ns, err);
    if (rc < 0)
        return rc;
    uint32_t ps = per_instruction_ps(loop_ns, exit_ns, VERDICT_ROUNDS);
    if (ps < EMULATED_PS && precise) {
        rc = time_loop(vcpu, ram, PRECISION_ROUNDS, &loop_ns, err);
        if (rc < 0)
            return rc;
        ps = per_instruction_ps(loop_ns, exit_ns, PRECISION_ROUNDS);
    }
    *ret_ps = ps;
    return 0;
}

int kvm_vcpu_gauge(struct hv_vcpu *base, void *ram, bool precise, struct hv_gauge *ret_gauge,
                   struct lum_error *err)
{
    struct kvm_vcpu *vcpu = container_of(base, struct kvm_vcpu, base);
    struct arch_regs fresh;
    uint32_t ps = 0;
    timer_t guard = NULL;
    int rc = kvm_arch_get_regs(base, &fresh, err);

    if (rc == 0)
        rc = kvm_guard_start(vcpu, DEADLINE_MS, &guard, err);
    if (rc < 0)
        return rc;
    rc = measure(base, ram, precise, &ps, err);
    kvm_guard_stop(vcpu, guard);
    if (rc == 0)
        rc = kvm_vcpu_settle(vcpu, err);
    if (rc == 0)
        rc = kvm_arch_set_regs(base, &fresh, err);
    memset(ram, 0, HV_GAUGE_RAM);
    if (rc < 0)
        return rc;
    *ret_gauge = (struct hv_gauge){
        .speed = ps < EMULATED_PS ? HV_SPEED_HARDWARE : HV_SPEED_EMULATED,
        .picoseconds_per_instruction = ps,
    };
    snprintf(ret_gauge->detail, sizeof(ret_gauge->detail),
             ret_gauge->speed == HV_SPEED_HARDWARE
                 ? "runs guest kernel code at %u.%u ns an instruction"
                 : "only emulates guest kernel code (%u.%u ns an instruction): too slow for Linux",
             ps / 1000, ps % 1000 / 100);
    return 0;
}

static int gauge_alone(struct hv_gauge *ret_gauge, struct lum_error *err)
{
    const struct hv_vm_config config = {.vcpus = 1, .ioapic_pins = 1};
    struct hv_vcpu *vcpu = NULL;
    struct hv_vm *vm = NULL;
    void *ram = NULL;
    int rc = plat_ram_alloc(HV_GAUGE_RAM, &ram, err);

    if (rc == 0)
        rc = kvm_vm_create(&config, &vm, err);
    if (rc == 0)
        rc = kvm_mem_map(vm, 0, ram, HV_GAUGE_RAM, true, err);
    if (rc == 0)
        rc = kvm_vcpu_create(vm, 0, &vcpu, err);
    if (rc == 0)
        rc = kvm_vcpu_gauge(vcpu, ram, true, ret_gauge, err);
    hv_vcpu_free(vcpu);
    hv_vm_free(vm);
    plat_ram_free(ram, HV_GAUGE_RAM);
    return rc;
}

int kvm_probe(struct hv_probe *ret_probe, struct lum_error *err)
{
    struct hv_probe probe = {.caps = HV_CAP_STATE | HV_CAP_DOORBELL | HV_CAP_POSTED};
    plat_fd fd;
    int rc = kvm_open(&fd, err);

    if (rc < 0)
        return rc;
    uint32_t max_vcpus = (uint32_t)kvm_cap(fd, KVM_CAP_MAX_VCPUS);
    plat_close(&fd);
    probe.max_vcpus = max_vcpus < 1 ? 1 : max_vcpus > ARCH_MAX_VCPUS ? ARCH_MAX_VCPUS : max_vcpus;
    rc = gauge_alone(&probe.gauge, err);
    if (rc == 0)
        *ret_probe = probe;
    return rc;
}
