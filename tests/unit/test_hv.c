/* SPDX-License-Identifier: Apache-2.0 */
/* The driver trait's argument checks, the CPUID policy and the null driver: all without a
 * hypervisor. */
#include <string.h>
#include <unistd.h>

#include "cpuid.h"
#include "hv/hv.h"
#include "hv/hv_null.h"
#include "tap.h"

/* ---- CPUID ---- */

static void add(struct cpuid_table *t, uint32_t leaf, int subleaf, const uint32_t regs[4])
{
    t->leaves[t->n_leaves++] = (struct cpuid_leaf){
        .leaf = leaf,
        .subleaf = subleaf < 0 ? 0 : (uint32_t)subleaf,
        .indexed = subleaf >= 0,
        .eax = regs[0],
        .ebx = regs[1],
        .ecx = regs[2],
        .edx = regs[3],
    };
}

#define ADD(t, leaf, subleaf, ...) add(t, leaf, subleaf, (const uint32_t[4]){__VA_ARGS__})

/* Every bit set where the policy has something to hide. */
static void make_intel(struct cpuid_table *t)
{
    memset(t, 0, sizeof(*t));
    ADD(t, 0x0, -1, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69);
    ADD(t, 0x1, -1, 0x806f8, 0xff400800, ~(1u << 24), ~0u);
    ADD(t, 0x4, 0, 0xfc000121, 0x02c0003f, 63, 0);
    ADD(t, 0x4, 1, 0xfc1fc163, 0x03c0003f, 4095, 0);
    ADD(t, 0x4, 2, 0, 0, 0, 0);
    ADD(t, 0x5, -1, 64, 64, 3, 0x10);
    ADD(t, 0x6, -1, ~0u, ~0u, ~0u, ~0u);
    ADD(t, 0x7, 0, 1, ~0u, ~0u, ~0u);
    ADD(t, 0x7, 1, 0x30, 0, 0, 0);
    ADD(t, 0xa, -1, 0x07300805, 0, 0, 0x603);
    ADD(t, 0xb, 0, 1, 2, 0x100, 77);
    ADD(t, 0xb, 1, 7, 96, 0x201, 77);
    ADD(t, 0xd, 0, 7, 832, 832, 0);
    ADD(t, 0x12, 0, 3, 0, 0, 0);
    ADD(t, 0x14, 0, 1, 0xf, 7, 0);
    ADD(t, 0x1f, 0, 1, 2, 0x100, 77);
    ADD(t, 0x40000000, -1, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
    ADD(t, 0x80000001, -1, 0, 0, 0x121, 0x2c100800);
    ADD(t, 0x80000008, -1, 0x302e, 0, 0, 0);
}

static void make_amd(struct cpuid_table *t)
{
    memset(t, 0, sizeof(*t));
    ADD(t, 0x0, -1, 0x10, 0x68747541, 0x444d4163, 0x69746e65);
    ADD(t, 0x1, -1, 0xa10f11, 0x20800, 0x81202000, 0x78bfbff);
    ADD(t, 0xb, 0, 1, 2, 0x100, 5);
    ADD(t, 0x80000001, -1, 0xa10f11, 0, ~0u, ~0u);
    ADD(t, 0x80000007, -1, ~0u, ~0u, ~0u, ~0u);
    ADD(t, 0x80000008, -1, 0x3030, 0, 0x7fff, 0);
    ADD(t, 0x8000000a, -1, 1, 0x8000, 0, ~0u);
    ADD(t, 0x8000001d, 0, 0x03ffc121, 0x01c0003f, 63, 0);
    ADD(t, 0x8000001d, 3, 0x03ffc163, 0x03c0003f, 32767, 1);
    ADD(t, 0x8000001e, -1, 99, 99, 99, 99);
    ADD(t, 0x8000001f, -1, 0xff, 0, 0, 0);
}

static void test_intel(void)
{
    static struct cpuid_table t, host;
    struct lum_error err;

    make_intel(&t);
    host = t;
    ok(cpuid_apply_policy(&t, 6, true, &err) == 0, "intel: policy applies");
    cpuid_apply_vcpu(&t, 5);

    const struct cpuid_leaf *l = cpuid_find(&t, 1, 0);
    ok(!(l->ecx & (1u << 5)) && !(l->ecx & (1u << 3)) && !(l->ecx & (1u << 6)),
       "intel: no VMX, MONITOR, SMX");
    ok(l->ecx >> 31 && (l->ecx >> 21 & 1) && (l->ecx >> 24 & 1),
       "intel: hypervisor, x2APIC, TSC deadline");
    ok((l->ecx & 1u) && (l->ecx >> 26 & 1) && (l->ecx >> 30 & 1) && (l->edx >> 12 & 1),
       "intel: SSE3, XSAVE, RDRAND, MTRR stay");
    ok(!(l->edx & (1u << 21 | 1u << 22 | 1u << 29)), "intel: no debug store, thermal bits");
    ok(l->ebx >> 24 == 5 && (l->ebx >> 16 & 0xff) == 8 && (l->ebx >> 8 & 0xff) == 8,
       "intel: APIC id 5, room for 8, cache line as the host's");
    ok(l->edx >> 28 & 1, "intel: several logical CPUs");

    l = cpuid_find(&t, 4, 0);
    ok(l->eax >> 26 == 7 && (l->eax >> 14 & 0xfff) == 0 && (l->eax & 0x3ff) == 0x121,
       "intel: a core's own first-level cache");
    l = cpuid_find(&t, 4, 1);
    ok(l->eax >> 26 == 7 && (l->eax >> 14 & 0xfff) == 5, "intel: the third level is shared by 6");
    ok(cpuid_find(&t, 4, 2)->eax == 0, "intel: the end of the caches stays");

    ok(!cpuid_find(&t, 5, 0) && !cpuid_find(&t, 0xa, 0) && !cpuid_find(&t, 0x12, 0) &&
           !cpuid_find(&t, 0x14, 0),
       "intel: no MWAIT, counters, SGX, trace leaves");
    l = cpuid_find(&t, 6, 0);
    ok(l->eax == 4 && !l->ebx && !l->ecx && !l->edx, "intel: of the power leaf only ARAT");
    l = cpuid_find(&t, 7, 0);
    ok(!(l->ebx & 4) && (l->ebx >> 11 & 1) && !(l->ecx >> 30 & 1) && l->eax == 1,
       "intel: no SGX, TSX as offered");
    ok(cpuid_find(&t, 7, 1)->eax == 0x30, "intel: other subleaves stay");

    static const uint32_t topologies[] = {0xb, 0x1f};
    for (size_t i = 0; i < ARRAY_LEN(topologies); i++) {
        const struct cpuid_leaf *smt = cpuid_find(&t, topologies[i], 0);
        const struct cpuid_leaf *core = cpuid_find(&t, topologies[i], 1);
        const struct cpuid_leaf *last = cpuid_find(&t, topologies[i], 2);

        ok(smt && smt->eax == 0 && smt->ebx == 1 && smt->ecx == 0x100 && smt->edx == 5 && core &&
               core->eax == 3 && core->ebx == 6 && core->ecx == 0x201 && core->edx == 5 && last &&
               last->ebx == 0 && last->ecx == 2,
           "intel: leaf 0x%x: one socket of six cores", topologies[i]);
    }
    ok(memcmp(cpuid_find(&t, 0xd, 0), cpuid_find(&host, 0xd, 0), sizeof(*l)) == 0 &&
           memcmp(cpuid_find(&t, 0x40000000, 0), cpuid_find(&host, 0x40000000, 0), sizeof(*l)) == 0,
       "intel: XSAVE and the hypervisor's own leaf stay");
    ok(cpuid_find(&t, 0x80000008, 0)->ecx == 0, "intel: no core count in AMD's leaf");
}

static void test_amd(void)
{
    static struct cpuid_table t;
    struct lum_error err;

    make_amd(&t);
    ok(cpuid_apply_policy(&t, 32, false, &err) == 0, "amd: policy applies");
    cpuid_apply_vcpu(&t, 31);
    ok(!(cpuid_find(&t, 1, 0)->ecx >> 24 & 1), "amd: no TSC deadline unless KVM has it");
    const struct cpuid_leaf *l = cpuid_find(&t, 0x80000001, 0);
    ok(!(l->ecx >> 2 & 1) && (l->ecx >> 1 & 1) && (l->ecx >> 22 & 1) && !(l->ecx >> 29 & 1) &&
           l->edx == ~0u,
       "amd: no SVM, no MWAITX; cores counted; topology extension stays");
    l = cpuid_find(&t, 0x80000007, 0);
    ok(l->edx == 0x100 && !l->eax, "amd: of the power leaf only the invariant TSC");
    l = cpuid_find(&t, 0x80000008, 0);
    ok((l->ecx & 0xff) == 31 && (l->ecx >> 12 & 0xf) == 5 && l->eax == 0x3030,
       "amd: 32 cores, 5 bits of APIC id, address sizes as the host's");
    ok(!cpuid_find(&t, 0x8000000a, 0) && !cpuid_find(&t, 0x8000001f, 0), "amd: no SVM, SEV leaves");
    ok((cpuid_find(&t, 0x8000001d, 0)->eax >> 14 & 0xfff) == 0 &&
           (cpuid_find(&t, 0x8000001d, 3)->eax >> 14 & 0xfff) == 31,
       "amd: caches");
    l = cpuid_find(&t, 0x8000001e, 0);
    ok(l->eax == 31 && l->ebx == 31 && !l->ecx && !l->edx, "amd: APIC id and core id");
    ok(!cpuid_find(&t, 0x1f, 0) && cpuid_find(&t, 0xb, 1)->ebx == 32,
       "amd: leaf 0xb only, below the last basic leaf");

    make_amd(&t);
    ok(cpuid_apply_policy(&t, 1, false, &err) == 0, "amd: one vCPU");
    ok(!(cpuid_find(&t, 1, 0)->edx >> 28 & 1) && !(cpuid_find(&t, 0x80000001, 0)->ecx >> 1 & 1) &&
           (cpuid_find(&t, 1, 0)->ebx >> 16 & 0xff) == 1 && cpuid_find(&t, 0xb, 1)->eax == 0,
       "amd: one vCPU is alone");
}

static void test_cpuid_limits(void)
{
    static struct cpuid_table t;
    struct lum_error err;

    make_intel(&t);
    t.leaves[1].leaf = 0x2;
    ok(cpuid_apply_policy(&t, 1, true, &err) == LUM_ENOTSUP, "no leaf 1: %s", err.text);
    make_intel(&t);
    while (t.n_leaves < CPUID_MAX_LEAVES)
        ADD(&t, 0x80000100 + t.n_leaves, -1, 0, 0, 0, 0);
    t.leaves[0xb].leaf = 0x3; /* fewer leaves to replace than to add */
    t.leaves[0xa].leaf = 0x3;
    t.leaves[5].leaf = 0x3;
    t.leaves[9].leaf = 0x3;
    t.leaves[13].leaf = 0x3;
    t.leaves[14].leaf = 0x3;
    t.leaves[15].leaf = 0x3;
    ok(cpuid_apply_policy(&t, 1, true, &err) == LUM_ENOTSUP, "a full table: %s", err.text);
}

/* ---- the trait ---- */

static uint8_t memory[2][0x1000] __attribute__((aligned(0x1000)));

static struct hv_vm *make_vm(uint32_t vcpus)
{
    const struct hv_vm_config config = {.vcpus = vcpus, .ioapic_pins = 24};
    struct lum_error err;
    struct hv_vm *vm = NULL;

    ok(hv_vm_create(&hv_null_ops, &config, &vm, &err) == 0 &&
           hv_mem_map(vm, 0, memory[0], 0x1000, true, &err) == 0 &&
           hv_mem_map(vm, 0x1000, memory[1], 0x1000, false, &err) == 0,
       "null: a VM");
    return vm;
}

static void test_arguments(void)
{
    struct hv_vm_config config = {.vcpus = 0, .ioapic_pins = 24};
    struct lum_error err;
    struct hv_vcpu *vcpu;
    struct hv_vm *vm;

    ok(hv_find("null") == &hv_null_ops && hv_find("kvm") && !hv_find("xen") && !hv_find(""),
       "drivers are found by name");
    ok(hv_vm_create(&hv_null_ops, &config, &vm, &err) == LUM_EINVAL, "%s", err.text);
    config.vcpus = ARCH_MAX_VCPUS + 1;
    ok(hv_vm_create(&hv_null_ops, &config, &vm, &err) == LUM_EINVAL, "%s", err.text);
    config = (struct hv_vm_config){.vcpus = 1, .ioapic_pins = 25};
    ok(hv_vm_create(&hv_null_ops, &config, &vm, &err) == LUM_EINVAL, "%s", err.text);

    vm = make_vm(1);
    ok(hv_mem_map(vm, 1, memory[0], 0x1000, true, &err) == LUM_EINVAL, "%s", err.text);
    ok(hv_mem_map(vm, 0, memory[0] + 1, 0x1000, true, &err) == LUM_EINVAL, "%s", err.text);
    ok(hv_mem_map(vm, 0, memory[0], 0, true, &err) == LUM_EINVAL, "%s", err.text);
    ok(hv_mem_map(vm, ~0xfffull, memory[0], 0x2000, true, &err) == LUM_EINVAL, "%s", err.text);
    ok(hv_vcpu_create(vm, 1, &vcpu, &err) == LUM_EINVAL, "%s", err.text);
    ok(hv_irq_route(vm, 24, true, 0, 0, &err) == LUM_EINVAL, "%s", err.text);
    hv_irq_pulse(vm, 24);
    ok(hv_doorbell_add(vm, 0x2000, 1, PLAT_FD_NONE, &err) == LUM_EINVAL, "%s", err.text);
    hv_vm_free(vm);
    hv_vm_free(NULL);
    hv_vcpu_free(NULL);
}

/* ---- the null driver ---- */

static void count_call(void *ctx)
{
    ++*(int *)ctx;
}

static void test_script(void)
{
    static int called;
    static const struct null_step steps[] = {
        {.op = NULL_POKE, .addr = 0x10, .size = 4, .value = 0xdeadbeef},
        {.op = NULL_PEEK, .addr = 0x12, .size = 2, .value = 0xdead},
        {.op = NULL_MMIO_WRITE, .addr = 0xd0000000, .size = 4, .value = 7},
        {.op = NULL_MMIO_READ, .addr = 0xd0000004, .size = 2, .value = 0x1234},
        {.op = NULL_PIO_READ, .addr = 0x60, .size = 1, .value = 0x55},
        {.op = NULL_CALL, .call = count_call, .ctx = &called},
        {.op = NULL_MMIO_WRITE, .addr = 0xd0000050, .size = 4, .value = 1},
        {.op = NULL_MMIO_WRITE, .addr = 0xd0000050, .size = 4, .value = 2},
        {.op = NULL_HALT},
        {.op = NULL_CRASH},
        {.op = NULL_POKE, .addr = 0x1000, .size = 1, .value = 1},
        {.op = NULL_SHUTDOWN},
    };
    static struct null_bench bench;
    struct hv_exit exit = {.size = 0};
    struct lum_error err;
    struct hv_vcpu *vcpu = NULL;
    plat_fd event;
    uint64_t rung = 0;

    bench.scripts[0] = (struct null_script){.steps = steps, .n_steps = ARRAY_LEN(steps)};
    hv_null_use(&bench);
    struct hv_vm *vm = make_vm(1);
    hv_null_use(NULL);
    ok(plat_event_create(&event, &err) == 0 &&
           hv_doorbell_add(vm, 0xd0000050, 1, event, &err) == 0 &&
           hv_vcpu_create(vm, 0, &vcpu, &err) == 0,
       "null: a doorbell and a vCPU");
    ok(hv_mem_map(vm, 0x4000, memory[0], 0x1000, true, &err) == LUM_EINTERNAL, "%s", err.text);

    ok(hv_vcpu_run(vcpu, &exit, &err) == 0 && exit.reason == HV_EXIT_MMIO && exit.is_write &&
           exit.addr == 0xd0000000 && exit.size == 4 && exit.data == 7 && memory[0][0x13] == 0xde,
       "null: memory is written, then an MMIO write");
    ok(hv_vcpu_run(vcpu, &exit, &err) == 0 && exit.reason == HV_EXIT_MMIO && !exit.is_write &&
           exit.size == 2,
       "null: an MMIO read");
    exit.data = 0x1234;
    ok(hv_vcpu_run(vcpu, &exit, &err) == 0 && exit.reason == HV_EXIT_PIO && exit.addr == 0x60 &&
           atomic_load(&bench.mismatches) == 0,
       "null: the right answer is no mismatch");
    exit.data = 0x56;
    ok(hv_vcpu_run(vcpu, &exit, &err) == 0 && exit.data == 2 && called == 1,
       "null: a call, a doorbell that does not exit and one that does");
    ok(atomic_load(&bench.mismatches) == 1, "null: a wrong answer is: %s", bench.mismatch);
    ok(read(event, &rung, sizeof(rung)) == sizeof(rung) && rung == 1 &&
           atomic_load(&bench.doorbells) == 1,
       "null: the doorbell rang");
    ok(hv_vcpu_run(vcpu, &exit, &err) == 0 && exit.reason == HV_EXIT_HALT, "null: halt");
    ok(hv_vcpu_run(vcpu, &exit, &err) == 0 && exit.reason == HV_EXIT_CRASH && exit.text[0],
       "null: crash");
    ok(hv_vcpu_run(vcpu, &exit, &err) == 0 && exit.reason == HV_EXIT_SHUTDOWN &&
           atomic_load(&bench.mismatches) == 2 && memory[1][0] == 0,
       "null: read-only memory stays, and shutdown");
    hv_vcpu_kick(vcpu);
    ok(hv_vcpu_run(vcpu, &exit, &err) == 0 && exit.reason == HV_EXIT_KICKED,
       "null: after its script a vCPU answers kicks");
    hv_vcpu_free(vcpu);
    hv_vm_free(vm);
    plat_close(&event);
}

struct waiting {
    struct hv_vm *vm;
    plat_fd ready;
    unsigned kicks;
    struct hv_vcpu *vcpu;
};

static void run_waiting(void *ctx)
{
    struct waiting *w = ctx;
    struct hv_exit exit = {.size = 0};
    struct lum_error err;

    if (hv_vcpu_create(w->vm, 0, &w->vcpu, &err) < 0)
        return;
    plat_event_signal(w->ready);
    while (hv_vcpu_run(w->vcpu, &exit, &err) == 0 && exit.reason != HV_EXIT_SHUTDOWN)
        w->kicks += exit.reason == HV_EXIT_KICKED;
    hv_vcpu_free(w->vcpu);
}

static void test_waiting(void)
{
    static const struct null_step steps[] = {
        {.op = NULL_WAIT_KICK},
        {.op = NULL_WAIT_IRQ, .addr = 5},
        {.op = NULL_WAIT_IRQ, .addr = 5},
        {.op = NULL_SHUTDOWN},
    };
    static struct null_bench bench;
    struct waiting w = {.ready = PLAT_FD_NONE};
    struct plat_thread *thread;
    struct lum_error err;

    bench.scripts[0] = (struct null_script){.steps = steps, .n_steps = ARRAY_LEN(steps)};
    hv_null_use(&bench);
    w.vm = make_vm(1);
    hv_null_use(NULL);
    if (!ok(plat_event_create(&w.ready, &err) == 0 &&
                plat_thread_start(&thread, "vcpu", run_waiting, &w, &err) == 0,
            "null: a vCPU on its own thread"))
        return;
    plat_wait_fd(w.ready, false, PLAT_FD_NONE, -1);
    hv_irq_pulse(w.vm, 5);
    ok(hv_irq_route(w.vm, 5, true, 0xfee01000, 0x31, &err) == 0, "null: a route");
    hv_irq_pulse(w.vm, 5);
    hv_vcpu_kick(w.vcpu);
    hv_irq_pulse(w.vm, 5);
    plat_thread_join(thread);
    ok(w.kicks == 1, "null: a kick and two pulses wake the vCPU");
    ok(atomic_load(&bench.lines[5].pulses) == 2, "null: a pulse before the route is dropped");
    ok(atomic_load(&bench.lines[5].msi_addr) == 0xfee01000 &&
           atomic_load(&bench.lines[5].msi_data) == 0x31,
       "null: the route is recorded");
    hv_vm_free(w.vm);
    plat_close(&w.ready);
}

static void test_null_state(void)
{
    static const struct null_step steps[] = {
        {.op = NULL_PIO_WRITE, .addr = 1, .size = 1, .value = 1},
        {.op = NULL_PIO_WRITE, .addr = 2, .size = 1, .value = 2},
    };
    static struct arch_vcpu_state state;
    static struct null_bench bench;
    struct arch_regs regs = {.rip = 0x1234, .rax = 7}, got;
    struct hv_exit exit = {.size = 0};
    struct lum_error err;
    struct hv_vcpu *vcpu;

    bench.scripts[0] = (struct null_script){.steps = steps, .n_steps = ARRAY_LEN(steps)};
    hv_null_use(&bench);
    struct hv_vm *vm = make_vm(1);
    ok(hv_vcpu_create(vm, 0, &vcpu, &err) == 0 && hv_vcpu_set_regs(vcpu, &regs, &err) == 0 &&
           hv_vcpu_run(vcpu, &exit, &err) == 0 && exit.addr == 1 &&
           hv_vcpu_save(vcpu, &state, &err) == 0,
       "null: a vCPU is saved");
    hv_vcpu_free(vcpu);
    hv_vm_free(vm);

    vm = make_vm(1);
    hv_null_use(NULL);
    ok(hv_vcpu_create(vm, 0, &vcpu, &err) == 0 && hv_vcpu_load(vcpu, &state, &err) == 0 &&
           hv_vcpu_get_regs(vcpu, &got, &err) == 0 && got.rip == 0x1234 && got.rax == 7 &&
           hv_vcpu_run(vcpu, &exit, &err) == 0 && exit.addr == 2,
       "null: and goes on in another VM");
    state.n_msrs = ARCH_MAX_MSRS + 1;
    ok(hv_vcpu_load(vcpu, &state, &err) == LUM_EFORMAT, "%s", err.text);
    state.n_msrs = 0;
    ok(hv_vcpu_load(vcpu, &state, &err) == LUM_EFORMAT, "%s", err.text);
    hv_vcpu_free(vcpu);
    hv_vm_free(vm);
}

int main(void)
{
    test_intel();
    test_amd();
    test_cpuid_limits();
    test_arguments();
    test_script();
    test_waiting();
    test_null_state();
    return tap_done();
}
