/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest for payload tests: 2 MiB of RAM with page tables, GDT and IDT, and its vCPUs. A host call
 * that fails where the test expects none ends the program ("Bail out!"): nothing after it would
 * mean anything.
 */
#ifndef LUM_TESTS_GUEST_H
#define LUM_TESTS_GUEST_H

#include "hv/hv.h"
#include "payload.h"

struct guest {
    struct hv_vm *vm;
    uint8_t *ram;
    struct hv_vcpu *cpu[ARCH_MAX_VCPUS];
    struct hv_exit exit[ARCH_MAX_VCPUS]; /* stay where they are: answers are read from them */
};

/* Every test calls it first: a test that hangs ends the program after so many seconds, by name. */
void deadline(const char *test, unsigned seconds);

void must(int rc, const struct lum_error *err);

/* A VM with memory and vCPU 0 only. */
void guest_create(struct guest *g, uint32_t vcpus);
void guest_add_vcpu(struct guest *g, uint32_t index); /* on the thread that will run it */
void guest_free(struct guest *g);

void guest_put(struct guest *g, uint32_t at, const uint8_t *start, const uint8_t *end);
void guest_set_handler(struct guest *g, uint8_t vector, uint64_t address);
/* Points vCPU 0 to G_CODE. */
void guest_enter_long(struct guest *g);
void guest_enter_real(struct guest *g);

#define GUEST_LONG(g, name)                                                                        \
    (guest_put(g, G_CODE, guest_##name, guest_##name##_end), guest_enter_long(g))
#define GUEST_REAL(g, name)                                                                        \
    (guest_put(g, G_CODE, guest_##name, guest_##name##_end), guest_enter_real(g))

/* Runs a vCPU until its next exit. */
struct hv_exit *guest_run(struct guest *g, uint32_t cpu);
/* The next exit is this write of this size; the value comes back. */
bool guest_wrote(struct guest *g, uint32_t cpu, enum hv_exit_reason reason, uint64_t addr,
                 uint8_t size, uint64_t *ret_value);
/* The next exit is this write with this value. */
bool guest_writes(struct guest *g, uint32_t cpu, enum hv_exit_reason reason, uint64_t addr,
                  uint8_t size, uint64_t value);
/* The next exit is this read; it is answered. */
bool guest_reads(struct guest *g, uint32_t cpu, enum hv_exit_reason reason, uint64_t addr,
                 uint8_t size, uint64_t answer);
bool guest_exits(struct guest *g, uint32_t cpu, enum hv_exit_reason reason);

uint32_t guest_u32(const struct guest *g, uint32_t at);
uint64_t guest_u64(const struct guest *g, uint32_t at);

/* Runs the cpuid payload's next round: eax, ebx, ecx, edx. */
bool guest_cpuid_leaf(struct guest *g, uint32_t leaf, uint32_t subleaf, uint32_t ret_regs[4]);

/* ---- test_kvm_state.c ---- */

void test_state(void);
void test_state_avx(enum hv_speed speed);
void test_state_refused(void);
void test_state_smp(void);
void test_state_halted(void);
void test_clock(void);

#endif
