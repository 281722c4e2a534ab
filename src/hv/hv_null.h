/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The null driver: no CPU at all. A vCPU plays a script of exits, so that machine, device and
 * worker code is tested on any host, sanitizers included. Guest memory is the real mapping.
 *
 * A test fills a bench, hands it over with hv_null_use and creates VMs; their vCPUs play the
 * bench's scripts and the bench collects what they saw. After its script, or without one, a vCPU is
 * halted for ever: it only answers kicks.
 */
#ifndef LUM_HV_NULL_H
#define LUM_HV_NULL_H

#include <stdatomic.h>

#include "hv/hv.h"

extern const struct hv_ops hv_null_ops;

enum null_op {
    NULL_MMIO_WRITE, /* addr, size, value; where a doorbell matches, it rings instead of an exit */
    NULL_MMIO_READ,  /* addr, size; the answer must be value */
    NULL_PIO_WRITE,
    NULL_PIO_READ,
    NULL_WAIT_IRQ,  /* until line addr has been pulsed while routed; takes one pulse */
    NULL_WAIT_KICK, /* halts until a kick, which is then reported */
    NULL_POKE,      /* writes size bytes of value to guest memory at addr */
    NULL_PEEK,      /* guest memory at addr must hold value */
    NULL_CALL,      /* call(ctx), on the vCPU's thread */
    NULL_HALT,
    NULL_SHUTDOWN,
    NULL_RESET,
    NULL_CRASH,
};

struct null_step {
    enum null_op op;
    uint8_t size; /* 1, 2, 4 or 8 */
    uint64_t addr, value;
    void (*call)(void *ctx);
    void *ctx;
};

struct null_script {
    const struct null_step *steps;
    size_t n_steps;
};

struct null_line {
    atomic_bool enabled;
    _Atomic uint64_t msi_addr;
    _Atomic uint32_t msi_data;
    atomic_uint routes; /* calls of hv_irq_route */
    atomic_uint pulses; /* while enabled */
};

/* Belongs to the test and outlives the VMs that use it. */
struct null_bench {
    struct null_script scripts[ARCH_MAX_VCPUS];
    struct null_line lines[HV_MAX_LINES];
    atomic_uint doorbells;  /* rung */
    atomic_uint steps;      /* played by all vCPUs */
    atomic_uint mismatches; /* answers and memory that were not as the script said */
    char mismatch[160];     /* the first one */
};

/* VMs created from now on use this bench; NULL: none. Not while another thread creates a VM. */
void hv_null_use(struct null_bench *bench);

#endif
