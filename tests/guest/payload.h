/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tiny guests of test_kvm.c and the memory they live in. Shared by the assembler: numbers only
 * above the line.
 */
#ifndef LUM_TESTS_PAYLOAD_H
#define LUM_TESTS_PAYLOAD_H

#define G_GDT    0x1000
#define G_IDT    0x2000
#define G_PML4   0x3000
#define G_PDPT   0x4000
#define G_CODE   0x8000  /* the payload, in real mode and in long mode */
#define G_AP     0x9000  /* what the second vCPU starts with, in real mode: start-up vector 9 */
#define G_PD     0x10000 /* four pages: the first 4 GiB, one to one */
#define G_DATA   0x20000
#define G_STACK  0x40000 /* top */
#define G_RAM    0x200000
#define G_ROM    0x400000 /* a read-only page */
#define G_MMIO   0xd0001000
#define G_VECTOR 0x40

#define P_VALUE 0x10 /* a 32-bit value for the host */
#define P_DONE  0x11
#define P_IRQ   0x12 /* from the interrupt handler */
#define P_IN    0x30

#define S_IN  0x000 /* the state payload: patterns to load */
#define S_OUT 0x400 /* what it found afterwards */

#ifndef __ASSEMBLER__

#include <stdint.h>

#define PAYLOAD(name) extern const uint8_t guest_##name[], guest_##name##_end[]

PAYLOAD(real_mode);
PAYLOAD(long_mode);
PAYLOAD(access);
PAYLOAD(strings);
PAYLOAD(crossing);
PAYLOAD(spin);
PAYLOAD(sleep);
PAYLOAD(chatter);
PAYLOAD(doorbell);
PAYLOAD(irq);
PAYLOAD(bsp_msr);
PAYLOAD(bsp_mmio);
PAYLOAD(ap);
PAYLOAD(triple_fault);
PAYLOAD(cpuid);
PAYLOAD(rom);
PAYLOAD(state);
PAYLOAD(avx);
PAYLOAD(clock);

extern const uint8_t guest_irq_handler[], guest_state_handler[];

#endif
#endif
