/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The KVM driver against a real /dev/kvm, with tiny guests: any /dev/kvm, also one that emulates.
 * Nothing here depends on time but the deadlines.
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"
#include "hv/hv_kvm.h"
#include "tap.h"

static void test_modes(void)
{
    struct guest g;

    deadline("modes", 30);
    guest_create(&g, 1);
    GUEST_REAL(&g, real_mode);
    ok(guest_writes(&g, 0, HV_EXIT_PIO, P_VALUE, 2, 0x1235), "real mode: computes and reports");
    ok(guest_writes(&g, 0, HV_EXIT_PIO, P_DONE, 1, 0x35), "real mode: goes on after an exit");
    GUEST_LONG(&g, long_mode);
    ok(guest_writes(&g, 0, HV_EXIT_PIO, P_VALUE, 4, 0x11223344), "long mode: 64-bit registers");
    ok(guest_writes(&g, 0, HV_EXIT_PIO, P_DONE, 1, 0x44), "long mode: goes on after an exit");
    guest_free(&g);
}

static void test_access(void)
{
    static const uint64_t mmio[] = {0x99, 0xaaaa, 0xbbbbbbbb, 0xccccccccdddddddd};
    struct guest g;

    deadline("access", 30);
    guest_create(&g, 1);
    GUEST_LONG(&g, access);
    ok(guest_writes(&g, 0, HV_EXIT_MMIO, G_MMIO + 0, 1, 0x11), "MMIO write of 1 byte");
    ok(guest_writes(&g, 0, HV_EXIT_MMIO, G_MMIO + 2, 2, 0x2222), "MMIO write of 2 bytes");
    ok(guest_writes(&g, 0, HV_EXIT_MMIO, G_MMIO + 4, 4, 0x33333333), "MMIO write of 4 bytes");
    ok(guest_writes(&g, 0, HV_EXIT_MMIO, G_MMIO + 8, 8, 0x4444444455555555),
       "MMIO write of 8 bytes");
    for (uint8_t i = 0; i < 4; i++) {
        uint8_t size = (uint8_t)(1u << i);
        uint64_t at = G_MMIO + 0x10 + (i < 3 ? 2u * i : 8u);

        ok(guest_reads(&g, 0, HV_EXIT_MMIO, at, size, mmio[i]) &&
               guest_writes(&g, 0, HV_EXIT_MMIO, at + 0x10, size, mmio[i]),
           "MMIO read of %u bytes gets the answer", size);
    }
    ok(guest_writes(&g, 0, HV_EXIT_PIO, P_VALUE, 1, 0x66), "port write of 1 byte");
    ok(guest_writes(&g, 0, HV_EXIT_PIO, P_VALUE, 2, 0x7777), "port write of 2 bytes");
    ok(guest_writes(&g, 0, HV_EXIT_PIO, P_VALUE, 4, 0x88888888), "port write of 4 bytes");
    for (uint8_t size = 1; size <= 4; size = (uint8_t)(2 * size)) {
        uint64_t answer = mmio[2] & (((uint64_t)1 << 8 * size) - 1);

        ok(guest_reads(&g, 0, HV_EXIT_PIO, P_IN, size, mmio[2]) &&
               guest_writes(&g, 0, HV_EXIT_PIO, P_VALUE, 4, answer),
           "port read of %u bytes gets the answer, no more", size);
    }
    ok(guest_writes(&g, 0, HV_EXIT_PIO, P_DONE, 1, 0xbb), "accesses: the guest ran to its end");
    guest_free(&g);
}

static void test_strings(void)
{
    static const char out[] = "lumen";
    struct arch_vcpu_state *state = calloc(1, sizeof(*state));
    struct lum_error err = {0};
    struct guest g;
    bool good = true;

    deadline("strings", 30);
    guest_create(&g, 1);
    memcpy(g.ram + G_DATA, out, 5);
    GUEST_LONG(&g, strings);
    good = guest_writes(&g, 0, HV_EXIT_PIO, P_VALUE, 1, (uint8_t)out[0]);
    int rc = state ? hv_vcpu_save(g.cpu[0], state, &err) : LUM_ENOMEM;
    bool busy = rc == LUM_EBUSY;
    /* A kick inside a string is told after it, and not lost. */
    hv_vcpu_kick(g.cpu[0]);
    int kicks = 0;
    for (int i = 1; i < 5; i++) {
        struct hv_exit *e = guest_run(&g, 0);

        if (e->reason == HV_EXIT_KICKED) {
            kicks++;
            e = guest_run(&g, 0);
        }
        good = good && e->reason == HV_EXIT_PIO && e->is_write && e->data == (uint8_t)out[i];
    }
    ok(good, "string port write: one exit an element");
    /* KVM hands out strings in pieces of its own choice; a save is refused exactly inside a piece.
     */
    ok(busy || rc == 0, "string port write: a save inside it is refused or whole: %s",
       busy ? err.text : "whole");

    for (int i = 0; i < 3; i++) {
        struct hv_exit *e = guest_run(&g, 0);

        if (e->reason == HV_EXIT_KICKED) {
            kicks++;
            e = guest_run(&g, 0);
        }
        good = good && e->reason == HV_EXIT_PIO && !e->is_write && e->size == 2;
        e->data = 0x1100u + (unsigned)i;
    }
    ok(good && kicks == 1, "string port read: one exit an element, the kick told once");
    for (unsigned i = 0; i < 2; i++)
        good = good && guest_reads(&g, 0, HV_EXIT_PIO, P_IN, 4, 0xabcd0000u + i);
    good = good && guest_run(&g, 0)->addr == P_DONE;
    ok(good && guest_u32(&g, G_DATA + 0x100) == 0x11011100 &&
           (guest_u32(&g, G_DATA + 0x104) & 0xffff) == 0x1102,
       "string port read: 2-byte answers are in memory");
    ok(guest_u64(&g, G_DATA + 0x200) == 0xabcd0001abcd0000,
       "string port read: 4-byte answers are in memory");
    guest_free(&g);
    free(state);
}

static void test_crossing(void)
{
    struct guest g;
    bool good = true;

    deadline("crossing", 30);
    guest_create(&g, 1);
    GUEST_LONG(&g, crossing);
    for (unsigned i = 0; i < 4; i++)
        good = good && guest_writes(&g, 0, HV_EXIT_MMIO, G_MMIO + 0xffd + i, 1, 0x11 * (i + 1));
    ok(good, "MMIO write across a page: four single bytes");
    for (unsigned i = 0; i < 8; i++)
        good = good && guest_reads(&g, 0, HV_EXIT_MMIO, G_MMIO + 0xfff + i, 1, 0x80 + i);
    ok(good && guest_run(&g, 0)->addr == P_DONE && guest_u64(&g, G_DATA) == 0x8786858483828180,
       "MMIO read across a page: eight single bytes, put together");
    guest_free(&g);
}

/* ---- kicks ---- */

struct kicker {
    struct hv_vcpu *vcpu;
    atomic_uint answered;
    unsigned count;
};

/* Kicks, waits for the answer, kicks again after a pause of another length: a lost one never gets
 * an answer. */
static void kick_many(void *ctx)
{
    struct kicker *k = ctx;
    uint32_t random = 1;

    for (unsigned i = 0; i < k->count; i++) {
        hv_vcpu_kick(k->vcpu);
        while (atomic_load(&k->answered) == i)
            sched_yield();
        random = random * 1664525 + 1013904223;
        for (volatile uint32_t pause = random >> 20; pause; pause--) {
        }
    }
}

static void hammer(struct guest *g, const char *what, unsigned count)
{
    struct kicker k = {.vcpu = g->cpu[0], .count = count};
    struct plat_thread *thread;
    struct lum_error err;
    unsigned others = 0;

    must(plat_thread_start(&thread, "kicker", kick_many, &k, &err), &err);
    for (unsigned kicks = 0; kicks < count;) {
        if (guest_run(g, 0)->reason == HV_EXIT_KICKED) {
            kicks++;
            atomic_store(&k.answered, kicks);
        } else {
            others++;
        }
    }
    plat_thread_join(thread);
    ok(true, "%u kicks of a vCPU that %s: none lost (%u other exits)", count, what, others);
}

static void test_kicks(void)
{
    struct guest g;

    deadline("kick", 30);
    guest_create(&g, 1);
    GUEST_LONG(&g, chatter);
    hv_vcpu_kick(g.cpu[0]);
    hv_vcpu_kick(g.cpu[0]);
    ok(guest_exits(&g, 0, HV_EXIT_KICKED), "a kick before the run is told by the run");
    ok(guest_run(&g, 0)->reason == HV_EXIT_PIO, "two kicks before a run are one");
    hv_vcpu_kick(g.cpu[0]);
    ok(guest_exits(&g, 0, HV_EXIT_KICKED), "a kick between two runs is told");
    ok(guest_reads(&g, 0, HV_EXIT_PIO, P_IN, 1, 1), "and the guest goes on where it was");

    deadline("kick: chatter", 60);
    hammer(&g, "exits all the time", 3000);
    deadline("kick: spin", 60);
    GUEST_LONG(&g, spin);
    hammer(&g, "spins", 3000);
    deadline("kick: sleep", 60);
    GUEST_LONG(&g, sleep);
    hammer(&g, "sleeps", 3000);
    guest_free(&g);
}

/* ---- memory, doorbells ---- */

static void test_doorbell(void)
{
    struct lum_error err;
    struct guest g;
    uint64_t rung = 0;
    plat_fd event;

    deadline("doorbell", 30);
    guest_create(&g, 1);
    must(plat_event_create(&event, &err), &err);
    must(hv_doorbell_add(g.vm, G_MMIO + 0x50, 1, event, &err), &err);
    GUEST_LONG(&g, doorbell);
    ok(guest_writes(&g, 0, HV_EXIT_MMIO, G_MMIO + 0x50, 4, 2),
       "doorbell: the value does not exit, another one does");
    ok(read(event, &rung, sizeof(rung)) == sizeof(rung) && rung == 1, "doorbell: rang once");
    ok(guest_writes(&g, 0, HV_EXIT_MMIO, G_MMIO + 0x50, 2, 1), "doorbell: another size exits");
    ok(guest_run(&g, 0)->addr == P_DONE, "doorbell: the second ring does not exit either");
    ok(read(event, &rung, sizeof(rung)) == sizeof(rung) && rung == 1, "doorbell: rang again");
    ok(hv_doorbell_add(g.vm, G_MMIO + 0x50, 1, event, &err) < 0, "a doorbell twice: %s", err.text);
    ok(hv_mem_map(g.vm, G_ROM, g.ram, 0x1000, true, &err) == LUM_EINTERNAL,
       "memory after a doorbell: %s", err.text);
    plat_close(&event);
    guest_free(&g);
}

/* The doorbell payload again: three of its writes wait, the fourth is outside the range and exits.
 */
static void test_posted(void)
{
    struct lum_error err;
    struct hv_exit w = {0};
    struct guest g;

    deadline("posted writes", 30);
    guest_create(&g, 1);
    int rc = hv_posted_add(g.vm, G_MMIO + 0x50, 4, &err);
    if (rc == LUM_ENOTSUP) {
        tap_skip("posted writes", "this KVM has none");
        guest_free(&g);
        return;
    }
    must(rc, &err);
    ok(!hv_posted_take(g.vm, &w), "posted: none at first");
    GUEST_LONG(&g, doorbell);
    ok(guest_run(&g, 0)->addr == P_DONE, "posted: no write in the range exits");
    static const struct {
        uint8_t size;
        uint64_t value;
    } want[] = {{4, 1}, {4, 2}, {2, 1}, {4, 1}};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        bool taken = hv_posted_take(g.vm, &w);
        ok(taken && w.reason == HV_EXIT_MMIO && w.is_write && w.addr == G_MMIO + 0x50 &&
               w.size == want[i].size && w.data == want[i].value,
           "posted: write %zu: %u bytes, 0x%llx", i, w.size, (unsigned long long)w.data);
    }
    ok(!hv_posted_take(g.vm, &w), "posted: no more");
    ok(hv_posted_add(g.vm, UINT64_MAX - 2, 4, &err) == LUM_EINVAL, "posted: %s", err.text);
    guest_free(&g);
}

static void test_rom(void)
{
    struct lum_error err;
    struct guest g;
    void *rom;

    deadline("rom", 30);
    guest_create(&g, 1);
    must(plat_ram_alloc(0x1000, &rom, &err), &err);
    memset(rom, 0x5a, 0x1000);
    must(hv_mem_map(g.vm, G_ROM, rom, 0x1000, false, &err), &err);
    GUEST_LONG(&g, rom);
    ok(guest_writes(&g, 0, HV_EXIT_PIO, P_VALUE, 4, 0x5a5a5a5a), "read-only memory: reads");
    ok(guest_writes(&g, 0, HV_EXIT_MMIO, G_ROM + 8, 4, 0xabcdef01),
       "read-only memory: a write is an MMIO exit");
    ok(guest_writes(&g, 0, HV_EXIT_PIO, P_VALUE, 4, 0x5a5a5a5a), "read-only memory: is unchanged");
    ok(hv_mem_map(g.vm, 0x1000, rom, 0x1000, true, &err) < 0, "overlapping memory: %s", err.text);
    guest_free(&g);
    plat_ram_free(rom, 0x1000);
}

/* ---- interrupts ---- */

#define MSI_LEVEL 0x8000u

struct pulser {
    struct hv_vm *vm;
    atomic_uint taken;
    unsigned count;
};

static void pulse_many(void *ctx)
{
    struct pulser *p = ctx;

    for (unsigned i = 0; i < p->count; i++) {
        hv_irq_pulse(p->vm, 5);
        while (atomic_load(&p->taken) == i)
            sched_yield();
    }
}

static void test_irq(void)
{
    struct lum_error err;
    struct guest g;
    uint64_t n = 0;

    deadline("irq", 60);
    guest_create(&g, 1);
    guest_set_handler(&g, G_VECTOR, G_CODE + (uint64_t)(guest_irq_handler - guest_irq));
    GUEST_LONG(&g, irq);
    hv_irq_pulse(g.vm, 5);
    hv_irq_pulse(g.vm, 23);
    ok(guest_run(&g, 0)->addr == P_DONE, "irq: the guest is ready");
    must(hv_irq_route(g.vm, 5, true, ARCH_LAPIC_BASE, G_VECTOR, &err), &err);
    hv_irq_pulse(g.vm, 5);
    ok(guest_writes(&g, 0, HV_EXIT_PIO, P_IRQ, 4, 1),
       "irq: a line reaches its handler, pulses before the route are dropped");

    must(hv_irq_route(g.vm, 5, false, 0, 0, &err), &err);
    hv_irq_pulse(g.vm, 5);
    must(hv_irq_route(g.vm, 6, true, ARCH_LAPIC_BASE, G_VECTOR, &err), &err);
    hv_irq_pulse(g.vm, 6);
    ok(guest_writes(&g, 0, HV_EXIT_PIO, P_IRQ, 4, 2), "irq: a masked line is silent");
    hv_vcpu_kick(g.cpu[0]);
    ok(guest_exits(&g, 0, HV_EXIT_KICKED), "irq: and nothing was left of it");

    must(hv_irq_route(g.vm, 5, true, ARCH_LAPIC_BASE, G_VECTOR, &err), &err);
    struct pulser p = {.vm = g.vm, .count = 500};
    struct plat_thread *thread;
    must(plat_thread_start(&thread, "pulser", pulse_many, &p, &err), &err);
    while (n < 502 && guest_wrote(&g, 0, HV_EXIT_PIO, P_IRQ, 4, &n))
        atomic_fetch_add(&p.taken, 1);
    ok(n == 502, "irq: 500 pulses wake a halted vCPU 500 times");
    if (n != 502)
        return;
    plat_thread_join(thread);

    must(hv_irq_route(g.vm, 5, true, ARCH_LAPIC_BASE, G_VECTOR | MSI_LEVEL, &err), &err);
    hv_irq_pulse(g.vm, 5);
    /* Where KVM emulates, the handler's next instructions come before the news of its end. */
    bool told = false, handled = false;
    for (int i = 0; i < 2; i++) {
        const struct hv_exit *e = guest_run(&g, 0);

        told = told || (e->reason == HV_EXIT_EOI && e->addr == G_VECTOR);
        handled = handled || (e->reason == HV_EXIT_PIO && e->addr == P_IRQ && e->data == 503);
    }
    ok(told && handled, "irq: a level-triggered one tells its end");
    guest_free(&g);
}

/* ---- vCPUs ---- */

struct second {
    struct guest *g;
    plat_fd ready;
    atomic_uint count;
};

static void run_second(void *ctx)
{
    struct second *s = ctx;

    guest_add_vcpu(s->g, 1);
    plat_event_signal(s->ready);
    for (;;) {
        struct hv_exit *e = guest_run(s->g, 1);

        if (e->reason == HV_EXIT_KICKED)
            return;
        if (e->reason == HV_EXIT_PIO && e->addr == P_VALUE)
            atomic_store(&s->count, (unsigned)e->data);
    }
}

static void two_vcpus(const char *how, const uint8_t *start, const uint8_t *end)
{
    struct second s = {.ready = PLAT_FD_NONE};
    struct plat_thread *thread;
    struct lum_error err;
    struct guest g;

    deadline(how, 60);
    guest_create(&g, 2);
    guest_put(&g, G_CODE, start, end);
    guest_put(&g, G_AP, guest_ap, guest_ap_end);
    guest_enter_long(&g);
    s.g = &g;
    must(plat_event_create(&s.ready, &err), &err);
    must(plat_thread_start(&thread, "vcpu1", run_second, &s, &err), &err);
    ok(plat_wait_fd(s.ready, false, PLAT_FD_NONE, -1) == 1, "%s: the second vCPU waits", how);
    ok(guest_run(&g, 0)->addr == P_DONE, "%s: the second vCPU started and was seen", how);
    while (atomic_load(&s.count) < 20)
        guest_run(&g, 0);
    ok(true, "%s: both run", how);
    hv_vcpu_kick(g.cpu[1]);
    plat_thread_join(thread);
    plat_close(&s.ready);
    guest_free(&g);
}

static void test_many_vcpus(void)
{
    struct lum_error err;
    struct hv_vcpu *none;
    struct guest g;
    uint32_t r[4] = {0};

    deadline("32 vCPUs", 60);
    guest_create(&g, ARCH_MAX_VCPUS);
    for (uint32_t i = 1; i < ARCH_MAX_VCPUS; i++)
        guest_add_vcpu(&g, i);
    ok(hv_vcpu_create(g.vm, ARCH_MAX_VCPUS, &none, &err) == LUM_EINVAL, "a 33rd vCPU: %s",
       err.text);
    GUEST_LONG(&g, cpuid);
    ok(guest_cpuid_leaf(&g, 1, 0, r) && (r[1] >> 16 & 0xff) == ARCH_MAX_VCPUS && (r[3] >> 28 & 1),
       "32 vCPUs: the first one runs and CPUID counts them");
    guest_free(&g);
}

static void test_triple_fault(void)
{
    struct lum_error err;
    struct arch_regs r;
    struct guest g;

    deadline("triple fault", 30);
    guest_create(&g, 1);
    GUEST_LONG(&g, triple_fault);
    must(hv_vcpu_get_regs(g.cpu[0], &r, &err), &err);
    r.idt.limit = 0;
    must(hv_vcpu_set_regs(g.cpu[0], &r, &err), &err);
    ok(guest_exits(&g, 0, HV_EXIT_SHUTDOWN), "a triple fault is a shutdown");
    guest_free(&g);
}

static void test_cpuid(void)
{
    struct guest g;
    uint32_t r[4] = {0};

    deadline("cpuid", 30);
    guest_create(&g, 4);
    GUEST_LONG(&g, cpuid);
    ok(guest_cpuid_leaf(&g, 0, 0, r) && r[0] >= 1, "cpuid: leaf 0");
    uint32_t max = r[0];
    ok(guest_cpuid_leaf(&g, 1, 0, r), "cpuid: leaf 1");
    ok(r[2] >> 31 && (r[2] >> 21 & 1), "cpuid: hypervisor and x2APIC");
    ok(!(r[2] & (1u << 5 | 1u << 3)), "cpuid: no VMX, no MONITOR");
    ok(r[1] >> 24 == 0 && (r[1] >> 16 & 0xff) == 4, "cpuid: APIC id 0 of 4");
    ok(guest_cpuid_leaf(&g, 0x40000000, 0, r) && memcmp(r + 1, "KVMKVMKVM\0\0", 12) == 0,
       "cpuid: the KVM signature");
    ok(guest_cpuid_leaf(&g, 0x40000001, 0, r) && (r[0] >> 3 & 1), "cpuid: KVM's clock");
    ok(guest_cpuid_leaf(&g, 0x80000001, 0, r) && !(r[2] >> 2 & 1), "cpuid: no SVM");
    if (max >= 0xb) {
        ok(guest_cpuid_leaf(&g, 0xb, 0, r) && r[0] == 0 && r[1] == 1 && r[2] == 0x100 && r[3] == 0,
           "cpuid: one thread a core");
        ok(guest_cpuid_leaf(&g, 0xb, 1, r) && r[0] == 2 && r[1] == 4 && r[2] == 0x201 && r[3] == 0,
           "cpuid: four cores");
        ok(guest_cpuid_leaf(&g, 0xa, 0, r) && !r[0] && !r[1] && !r[2] && !r[3],
           "cpuid: no performance counters");
    } else {
        tap_skip("cpuid: extended topology", "this CPU has no leaf 0xb");
    }
    guest_free(&g);
}

static enum hv_speed test_probe(void)
{
    struct hv_probe probe;
    struct lum_error err;

    deadline("probe", 30);
    uint64_t start = plat_now_ns();
    must(hv_probe(&hv_kvm_ops, &probe, &err), &err);
    uint64_t took = plat_now_ns() - start;
    tap_note("probe: %s; up to %u vCPUs; %llu us", probe.gauge.detail, probe.max_vcpus,
             (unsigned long long)took / 1000);
    ok(probe.max_vcpus >= 1 && (probe.caps & HV_CAP_STATE) && probe.gauge.detail[0],
       "the probe has a verdict");
    ok((probe.gauge.speed == HV_SPEED_EMULATED) == (probe.gauge.picoseconds_per_instruction >= 200000),
       "the verdict follows the measurement");
    return probe.gauge.speed;
}

int main(void)
{
    struct lum_error err;
    plat_fd fd;

    if (kvm_open(&fd, &err) < 0)
        return tap_skip_all(err.text);
    plat_close(&fd);

    enum hv_speed speed = test_probe();
    test_modes();
    test_access();
    test_strings();
    test_crossing();
    test_kicks();
    test_doorbell();
    test_posted();
    test_rom();
    test_irq();
    two_vcpus("INIT and SIPI by MSR", guest_bsp_msr, guest_bsp_msr_end);
    two_vcpus("INIT and SIPI by MMIO", guest_bsp_mmio, guest_bsp_mmio_end);
    test_many_vcpus();
    test_triple_fault();
    test_cpuid();
    test_clock();
    test_state();
    test_state_avx(speed);
    test_state_refused();
    test_state_smp();
    test_state_halted();
    return tap_done();
}
