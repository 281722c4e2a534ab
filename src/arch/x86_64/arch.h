/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86-64: the guest's physical memory map and the normalised register state that every hypervisor
 * driver of this architecture loads and saves. Names and layouts follow the Intel SDM, not any
 * hypervisor's structs; a snapshot writes these fields one by one.
 */
#ifndef LUM_ARCH_H
#define LUM_ARCH_H

#include "base/util.h"

/* ---- memory map ---- */

#define ARCH_RAM_HOLE_START 0xc0000000u /* RAM above this moves to 4 GiB */
#define ARCH_RAM_HIGH_BASE  0x100000000u
#define ARCH_MMIO_BASE      0xd0000000u /* virtio-mmio slot i at base + i * size */
#define ARCH_MMIO_SLOT_SIZE 0x1000u
/* As many as the board has devices: Linux visits each interrupt pin about ten times at boot. */
#define ARCH_MMIO_SLOTS  4u
#define ARCH_IRQ_BASE    1u /* slot i interrupts on pin base + i; to Linux 0 is no interrupt */
#define ARCH_IOAPIC_BASE 0xfec00000u
#define ARCH_IOAPIC_PINS (ARCH_IRQ_BASE + ARCH_MMIO_SLOTS)
#define ARCH_LAPIC_BASE  0xfee00000u
#define ARCH_TSS_ADDR    0xfffbd000u /* three pages that KVM needs on Intel, in no RAM */
#define ARCH_MAX_VCPUS   32u

/* ---- registers ---- */

struct arch_segment {
    uint64_t base;
    uint32_t limit; /* in bytes, after granularity */
    uint16_t selector;
    uint8_t type, s, dpl, present, avl, l, db, g, unusable;
};

struct arch_table {
    uint64_t base;
    uint16_t limit;
};

/* What starts a vCPU and what a debugger shows. */
struct arch_regs {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags;
    struct arch_segment cs, ds, es, fs, gs, ss, tr, ldt;
    struct arch_table gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
};

struct arch_msr {
    uint32_t index;
    uint64_t value;
};

#define ARCH_MAX_MSRS   512u
#define ARCH_XSAVE_SIZE 16384u

/* Pending and shadowed events of a vCPU (SDM vol. 3, 6.7 and 24.6). */
struct arch_events {
    uint8_t exception_injected, exception_nr, exception_has_error_code, exception_pending;
    uint32_t exception_error_code;
    uint8_t exception_has_payload;
    uint64_t exception_payload;
    uint8_t interrupt_injected, interrupt_nr, interrupt_soft, interrupt_shadow;
    uint8_t nmi_injected, nmi_pending, nmi_masked;
    uint32_t sipi_vector;
    uint8_t smi_smm, smi_pending, smi_inside_nmi, smi_latched_init;
    uint8_t triple_fault_pending;
};

enum arch_run_state {
    ARCH_RUNNABLE,
    ARCH_UNINITIALIZED,
    ARCH_INIT_RECEIVED,
    ARCH_HALTED,
    ARCH_SIPI_RECEIVED
};

struct arch_vcpu_state {
    struct arch_regs regs;
    uint32_t xsave_size; /* bytes used of xsave; 512 (FXSAVE image) where there is no XSAVE */
    uint8_t xsave[ARCH_XSAVE_SIZE]; /* standard XSAVE format */
    uint64_t xcr0;                  /* 0 where there is no XSAVE */
    uint64_t dr[4], dr6, dr7;
    struct arch_events events;
    enum arch_run_state run_state;
    uint8_t lapic[1024]; /* register page, 4 bytes at each multiple of 16 */
    uint32_t tsc_khz;
    uint32_t n_msrs;
    struct arch_msr msrs[ARCH_MAX_MSRS]; /* in an order that can be loaded front to back */
};

struct arch_vm_state {
    uint64_t clock_ns;    /* paravirtual clock (kvmclock) */
    uint64_t realtime_ns; /* wall clock at the same moment; 0 unknown */
    uint64_t host_tsc;    /* host TSC at the same moment; 0 unknown */
};

#endif
