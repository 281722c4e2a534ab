/* SPDX-License-Identifier: Apache-2.0 */
/* See qemu_tsc.h. For x86 hosts; the only ones whose counter a qemu-system-x86_64 passes on. */
#include "machine/qemu/qemu_tsc.h"

#include <x86intrin.h>

#include "plat/plat.h"

#define MEASURE_NS 250000u

/* Both clocks at the same moment: the tries differ in what came between, the tightest one counts.
 */
struct tsc_sample tsc_sample(void)
{
    struct tsc_sample best = {0};
    uint64_t best_width = UINT64_MAX;

    for (int i = 0; i < 8; i++) {
        uint64_t before = __rdtsc(), ns = plat_now_ns(), after = __rdtsc();

        if (after - before < best_width) {
            best_width = after - before;
            best = (struct tsc_sample){.ticks = before + best_width / 2, .ns = ns};
        }
    }
    return best;
}

uint32_t tsc_khz_since(const struct tsc_sample *since)
{
    while (plat_now_ns() - since->ns < MEASURE_NS)
        _mm_pause();
    struct tsc_sample now = tsc_sample();

    return (uint32_t)((double)(now.ticks - since->ticks) * 1e6 / (double)(now.ns - since->ns));
}
