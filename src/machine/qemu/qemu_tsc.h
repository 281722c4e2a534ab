/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the time-stamp counter runs. QEMU's software CPU shows the guest the host's counter, and
 * a guest kernel that is told its speed need not find out: against an emulated timer chip that
 * takes long and, when the host is busy, fails, and the guest is left with a clock of 10 ms steps.
 */
#ifndef LUM_MACHINE_QEMU_TSC_H
#define LUM_MACHINE_QEMU_TSC_H

#include <stdint.h>

struct tsc_sample {
    uint64_t ticks, ns;
};

struct tsc_sample tsc_sample(void);

/* kHz since the sample; waits until that is a quarter millisecond old, for an error under 0.01 %.
 */
uint32_t tsc_khz_since(const struct tsc_sample *since);

#endif
