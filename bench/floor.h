/* SPDX-License-Identifier: Apache-2.0 */
/* What the floor's two halves, floor.c and floor_child.c, say to each other. */
#ifndef LUM_BENCH_FLOOR_H
#define LUM_BENCH_FLOOR_H

#include <stdint.h>

#define FLOOR_FD    3 /* where the child writes its report */
#define FLOOR_MARKS 24u

struct floor_report {
    uint32_t n_marks, failed; /* failed: errno of the last mark's step, or 0 */
    struct {
        char name[24];
        uint64_t at_ns; /* CLOCK_MONOTONIC, after the step */
    } marks[FLOOR_MARKS];
};

#endif
