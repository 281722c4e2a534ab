/* SPDX-License-Identifier: Apache-2.0 */
/* What the bench measures: marks in time since T0, and their distribution over many spawns. */
#ifndef LUM_BENCH_SAMPLES_H
#define LUM_BENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SAMPLE_MARKS 32u
#define MARK_NAME    32u

struct mark {
    char name[MARK_NAME];
    uint64_t at_ns; /* since T0 */
};

/* One spawn. The last mark is T1. */
struct sample {
    struct mark marks[SAMPLE_MARKS];
    size_t n_marks;
    uint64_t faults; /* minor page faults of all processes that were started */
    uint64_t cpu_ns; /* their time on a CPU, teardown included */
};

uint64_t bench_now_ns(void); /* CLOCK_MONOTONIC, as the library's ledger */
void sample_mark(struct sample *sample, const char *name, uint64_t at_ns);

/* All spawns of one kind. */
struct series {
    char name[48];
    uint64_t *at[SAMPLE_MARKS];   /* by mark, then by sample */
    uint64_t *took[SAMPLE_MARKS]; /* since the mark before it in its own sample */
    uint64_t *faults, *cpu_ns;
    char marks[SAMPLE_MARKS][MARK_NAME];
    size_t n_marks, n, capacity;
};

/* 0 or -1 without memory. */
int series_init(struct series *series, const char *name, size_t capacity);
void series_done(struct series *series);
/*
 * 0; -1 with the reason on stderr when the sample's marks are not those of the ones before. Their
 * order may differ: two processes write the ledger.
 */
int series_add(struct series *series, const struct sample *sample);
void series_print(const struct series *series, FILE *out);
void series_print_json(const struct series *series, FILE *out);

#endif
