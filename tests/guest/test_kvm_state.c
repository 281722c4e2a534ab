/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saved vCPUs go on in another VM as if nothing had happened: each guest stops in the middle of its
 * work, is saved, its VM destroyed, and a new VM with a copy of its memory and the loaded state
 * does the rest.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "guest.h"
#include "tap.h"

static struct arch_vcpu_state states[2], again;

static void fill_pattern(uint8_t *at, size_t size)
{
    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)(i * 7 + 3);
}

/* Saves vCPU 0, frees the VM and moves memory and state into a new one. */
static void move(struct guest *g)
{
    struct arch_vm_state vm_state;
    struct lum_error err;
    struct guest new;

    must(hv_vcpu_save(g->cpu[0], &states[0], &err), &err);
    must(hv_vm_save(g->vm, &vm_state, &err), &err);
    guest_create(&new, g->vm->config.vcpus);
    memcpy(new.ram, g->ram, G_RAM);
    guest_free(g);
    must(hv_vm_load(new.vm, &vm_state, &err), &err);
    must(hv_vcpu_load(new.cpu[0], &states[0], &err), &err);
    *g = new;
}

static const struct arch_msr *find_msr(const struct arch_vcpu_state *s, uint32_t index)
{
    for (uint32_t i = 0; i < s->n_msrs; i++)
        if (s->msrs[i].index == index)
            return &s->msrs[i];
    return NULL;
}

void test_state(void)
{
    const uint32_t in = G_DATA + S_IN, out = G_DATA + S_OUT;
    struct lum_error err;
    struct guest g;
    uint64_t ignored;

    deadline("state", 60);
    guest_create(&g, 1);
    fill_pattern(g.ram + in, 0x80);
    le64_store(g.ram + in + 0x40, 0x12345678); /* a debug address */
    guest_set_handler(&g, G_VECTOR, G_CODE + (uint64_t)(guest_state_handler - guest_state));
    GUEST_LONG(&g, state);
    if (!ok(guest_wrote(&g, 0, HV_EXIT_PIO, P_VALUE, 4, &ignored), "state: patterns are set"))
        return;
    move(&g);
    must(hv_vcpu_save(g.cpu[0], &again, &err), &err);
    tap_note("state: %u MSRs, XSAVE %u bytes, XCR0 0x%llx, TSC %u kHz", again.n_msrs,
             again.xsave_size, (unsigned long long)again.xcr0, again.tsc_khz);
    ok(memcmp(&again.regs, &states[0].regs, sizeof(again.regs)) == 0, "state: registers");
    ok(memcmp(again.xsave, states[0].xsave, sizeof(again.xsave)) == 0 &&
           again.xcr0 == states[0].xcr0,
       "state: XSAVE image and XCR0");
    ok(again.run_state == states[0].run_state &&
           memcmp(&again.events, &states[0].events, sizeof(again.events)) == 0,
       "state: events and run state");
    ok(again.dr[0] == 0x12345678 && again.dr7 == states[0].dr7, "state: debug registers");
    ok(again.n_msrs == states[0].n_msrs, "state: the same MSRs");
    bool same = true;
    for (uint32_t i = 0; i < again.n_msrs; i++) {
        bool moves = again.msrs[i].index == 0x10; /* the time stamp counter */

        if (again.msrs[i].index != states[0].msrs[i].index ||
            (!moves && again.msrs[i].value != states[0].msrs[i].value)) {
            tap_note("MSR 0x%x: 0x%llx, was 0x%llx", again.msrs[i].index,
                     (unsigned long long)again.msrs[i].value,
                     (unsigned long long)states[0].msrs[i].value);
            same = same && again.msrs[i].index == 0x6e0; /* may have fired meanwhile */
        }
    }
    ok(same, "state: MSR values");
    const struct arch_msr *tsc = find_msr(&states[0], 0x10), *tsc_after = find_msr(&again, 0x10);
    ok(tsc && tsc_after && tsc_after->value >= tsc->value, "state: the TSC does not go back");
    const struct arch_msr *mtrr = find_msr(&again, 0x2ff);
    ok(mtrr && (mtrr->value & 0xcff) == 0x806, "state: memory is write-back by default");

    ok(guest_run(&g, 0)->addr == P_DONE, "state: the guest goes on in the new VM");
    ok(memcmp(g.ram + in, g.ram + out, 0x40) == 0, "state: general registers as the guest sees");
    ok(guest_u64(&g, out + 0x40) == 0x12345678, "state: a debug register as the guest sees");
    ok(memcmp(g.ram + in + 0x50, g.ram + out + 0x50, 0x20) == 0 &&
           memcmp(g.ram + in + 0x60, g.ram + out + 0x70, 0x10) == 0,
       "state: SSE registers as the guest sees");
    ok(guest_u64(&g, out + 0x88) > guest_u64(&g, out + 0x80), "state: TSC as the guest sees");
    ok(guest_u64(&g, out + 0x90) == 0x334455667788, "state: an MSR as the guest sees");
    ok(guest_u32(&g, out + 0x98) == 1, "state: a flag as the guest sees");
    ok(guest_run(&g, 0)->addr == P_IRQ, "state: the timer armed before fires after");
    guest_free(&g);
}

void test_state_avx(enum hv_speed speed)
{
    static const uint8_t one[8] = {0, 0, 0, 0, 0, 0, 0xf0, 0x3f}; /* 1.0 */
    const char *xsave = getenv("LUMINA_NESTED_XSAVE");
    struct guest g;
    uint32_t r[4] = {0};
    uint64_t ignored;

    if (speed == HV_SPEED_EMULATED) {
        tap_skip("state: AVX", "KVM's emulator has no such instructions");
        return;
    }
    deadline("state: AVX", 60);
    guest_create(&g, 1);
    GUEST_LONG(&g, cpuid);
    if (!guest_cpuid_leaf(&g, 1, 0, r) || !(r[2] >> 26 & 1) || !(r[2] >> 28 & 1)) {
        tap_skip("state: AVX", "KVM does not offer it here");
    } else if (xsave && strcmp(xsave, "0") == 0) {
        tap_skip("state: AVX", "LUMINA_NESTED_XSAVE=0: this emulated CPU loses XCR0");
    } else {
        fill_pattern(g.ram + G_DATA + S_IN, 32);
        GUEST_LONG(&g, avx);
        ok(guest_wrote(&g, 0, HV_EXIT_PIO, P_VALUE, 4, &ignored), "state: AVX is on");
        move(&g);
        ok((states[0].xcr0 & 7) == 7, "state: XCR0 has AVX");
        ok(guest_writes(&g, 0, HV_EXIT_PIO, P_VALUE, 4, 7), "state: XCR0 as the guest sees");
        ok(memcmp(g.ram + G_DATA + S_IN, g.ram + G_DATA + S_OUT, 32) == 0,
           "state: an AVX register as the guest sees");
        ok(memcmp(g.ram + G_DATA + S_OUT + 0x20, one, sizeof(one)) == 0,
           "state: an x87 register as the guest sees");
    }
    guest_free(&g);
}

/* A state from a file may hold anything: an error that says what, and never a loaded half without
 * one. */
void test_state_refused(void)
{
    struct lum_error err;
    struct guest g;

    deadline("state: refused", 60);
    guest_create(&g, 1);
    must(hv_vcpu_save(g.cpu[0], &states[0], &err), &err);

    again = states[0];
    again.n_msrs = ARCH_MAX_MSRS + 1;
    ok(hv_vcpu_load(g.cpu[0], &again, &err) == LUM_EFORMAT, "too many MSRs: %s", err.text);
    again = states[0];
    again.xsave_size = ARCH_XSAVE_SIZE + 1;
    ok(hv_vcpu_load(g.cpu[0], &again, &err) == LUM_EFORMAT, "XSAVE too large: %s", err.text);
    again = states[0];
    again.run_state = (enum arch_run_state)77;
    ok(hv_vcpu_load(g.cpu[0], &again, &err) == LUM_EFORMAT, "unknown run state: %s", err.text);
    again = states[0];
    again.msrs[again.n_msrs++] = (struct arch_msr){.index = 0x12345678, .value = 1};
    ok(hv_vcpu_load(g.cpu[0], &again, &err) < 0 && strstr(err.text, "0x12345678"),
       "unknown MSR: %s", err.text);
    again = states[0];
    again.msrs[again.n_msrs++] = (struct arch_msr){.index = 0x10a, .value = ~(uint64_t)0};
    ok(hv_vcpu_load(g.cpu[0], &again, &err) == 0, "an MSR that may be lost does not stop the load");
    if (states[0].tsc_khz) {
        again = states[0];
        again.tsc_khz = 1;
        int rc = hv_vcpu_load(g.cpu[0], &again, &err);
        ok(rc == LUM_ENOTSUP, "an impossible TSC frequency: %s", err.text);
    } else {
        tap_skip("an impossible TSC frequency", "this host does not know its own");
    }
    again = states[0];
    again.regs.cr0 = 1u << 31; /* paging without protection */
    ok(hv_vcpu_load(g.cpu[0], &again, &err) < 0, "impossible registers: %s", err.text);
    ok(hv_vcpu_load(g.cpu[0], &states[0], &err) == 0, "the good state loads after all of these");
    guest_free(&g);
}

/* ---- two vCPUs ---- */

struct second {
    struct guest *g;
    bool load;
    plat_fd ready;
    atomic_uint first, last; /* counts seen from the second vCPU */
};

/* Creates (or loads) the second vCPU, runs it until it is kicked, saves it. */
static void run_second(void *ctx)
{
    struct second *s = ctx;
    struct lum_error err;

    guest_add_vcpu(s->g, 1);
    if (s->load)
        must(hv_vcpu_load(s->g->cpu[1], &states[1], &err), &err);
    plat_event_signal(s->ready);
    for (;;) {
        const struct hv_exit *e = guest_run(s->g, 1);

        if (e->reason == HV_EXIT_KICKED)
            break;
        if (e->reason == HV_EXIT_PIO && e->addr == P_VALUE) {
            if (!atomic_load(&s->first))
                atomic_store(&s->first, (unsigned)e->data);
            atomic_store(&s->last, (unsigned)e->data);
        }
    }
    must(hv_vcpu_save(s->g->cpu[1], &states[1], &err), &err);
}

/* Both run until the second has counted so far; both are then stopped and saved. */
static void run_both(struct second *s, unsigned count)
{
    struct plat_thread *thread;
    struct lum_error err;

    must(plat_event_create(&s->ready, &err), &err);
    must(plat_thread_start(&thread, "vcpu1", run_second, s, &err), &err);
    must(plat_wait_fd(s->ready, false, PLAT_FD_NONE, -1), &err);
    while (atomic_load(&s->last) < count)
        guest_run(s->g, 0);
    hv_vcpu_kick(s->g->cpu[1]);
    plat_thread_join(thread);
    plat_close(&s->ready);
    must(hv_vcpu_save(s->g->cpu[0], &states[0], &err), &err);
}

/* A new VM of two with this one's memory and the saved first vCPU; the second is loaded on its own
 * thread. */
static void move_both(struct guest *g)
{
    struct lum_error err;
    struct guest new;

    guest_create(&new, 2);
    memcpy(new.ram, g->ram, G_RAM);
    guest_free(g);
    must(hv_vcpu_load(new.cpu[0], &states[0], &err), &err);
    *g = new;
}

static uint64_t tsc_of(uint32_t cpu)
{
    const struct arch_msr *tsc = find_msr(&states[cpu], 0x10);

    return tsc ? tsc->value : 0;
}

void test_state_smp(void)
{
    struct lum_error err;
    struct guest g;

    deadline("state: two vCPUs", 60);
    guest_create(&g, 2);
    guest_put(&g, G_AP, guest_ap, guest_ap_end);
    GUEST_LONG(&g, bsp_msr);
    guest_add_vcpu(&g, 1);
    must(hv_vcpu_save(g.cpu[0], &states[0], &err), &err);
    must(hv_vcpu_save(g.cpu[1], &states[1], &err), &err);
    ok(states[0].run_state == ARCH_RUNNABLE && states[1].run_state == ARCH_UNINITIALIZED,
       "state: a second vCPU that was never started");
    move_both(&g);

    struct second before = {.g = &g, .load = true};
    run_both(&before, 50);
    ok(states[1].run_state == ARCH_RUNNABLE,
       "state: it is started in the new VM and saved running");
    uint64_t tsc = tsc_of(0);
    move_both(&g);

    struct second after = {.g = &g, .load = true};
    unsigned stopped_at = atomic_load(&before.last);
    run_both(&after, stopped_at + 50);
    ok(atomic_load(&after.first) == stopped_at + 1, "state: it counts on from %u in a third VM",
       stopped_at);
    ok(tsc && tsc_of(0) > tsc && tsc_of(1) > tsc, "state: neither TSC goes back");
    guest_free(&g);
}

/* ---- a vCPU that sleeps ---- */

static void kick_later(void *ctx)
{
    struct guest *g = ctx;

    plat_wait_fd(PLAT_FD_NONE, false, PLAT_FD_NONE, 2);
    hv_vcpu_kick(g->cpu[0]);
}

void test_state_halted(void)
{
    struct plat_thread *thread;
    struct lum_error err;
    struct guest g;

    deadline("state: halted", 60);
    guest_create(&g, 1);
    guest_set_handler(&g, G_VECTOR, G_CODE + (uint64_t)(guest_irq_handler - guest_irq));
    GUEST_LONG(&g, irq);
    ok(guest_run(&g, 0)->addr == P_DONE, "state: a guest on its way to sleep");
    /* How far it has come when the kick arrives is its own affair: until it sleeps. */
    do {
        must(plat_thread_start(&thread, "kicker", kick_later, &g, &err), &err);
        guest_run(&g, 0);
        plat_thread_join(thread);
        must(hv_vcpu_save(g.cpu[0], &states[0], &err), &err);
    } while (states[0].run_state != ARCH_HALTED);
    move(&g);
    must(hv_irq_route(g.vm, 5, true, ARCH_LAPIC_BASE, G_VECTOR, &err), &err);
    hv_irq_pulse(g.vm, 5);
    ok(guest_writes(&g, 0, HV_EXIT_PIO, P_IRQ, 4, 1), "state: an interrupt wakes it in the new VM");
    guest_free(&g);
}

/* ---- the paravirtual clock ---- */

void test_clock(void)
{
    struct arch_vm_state before, after;
    struct lum_error err;
    struct guest g;

    deadline("clock", 60);
    guest_create(&g, 1);
    GUEST_LONG(&g, clock);
    ok(guest_run(&g, 0)->addr == P_DONE, "clock: the guest asks for it");
    guest_run(&g, 0);
    ok(guest_u32(&g, G_DATA) >= 2 && guest_u32(&g, G_DATA + 24) != 0,
       "clock: KVM fills the guest's page");
    uint64_t in_guest = guest_u64(&g, G_DATA + 16);

    must(hv_vm_save(g.vm, &before, &err), &err);
    move(&g);
    must(hv_vm_save(g.vm, &after, &err), &err);
    ok(after.clock_ns >= before.clock_ns && after.clock_ns - before.clock_ns < 60000000000u,
       "clock: goes on in a new VM, by %llu us",
       (unsigned long long)(after.clock_ns - before.clock_ns) / 1000);
    guest_run(&g, 0);
    guest_run(&g, 0);
    ok(guest_u64(&g, G_DATA + 16) >= in_guest, "clock: does not go back as the guest sees");
    ok(g.ram[G_DATA + 29] & 2, "clock: the guest is told that it was stopped");
    guest_free(&g);
}
