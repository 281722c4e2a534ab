/* SPDX-License-Identifier: Apache-2.0 */
/* See samples.h. */
#include "samples.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t bench_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void sample_mark(struct sample *sample, const char *name, uint64_t at_ns)
{
    if (sample->n_marks == SAMPLE_MARKS)
        return;
    struct mark *m = &sample->marks[sample->n_marks++];
    snprintf(m->name, sizeof(m->name), "%s", name);
    m->at_ns = at_ns;
}

int series_init(struct series *series, const char *name, size_t capacity)
{
    *series = (struct series){.capacity = capacity};
    snprintf(series->name, sizeof(series->name), "%s", name);
    series->faults = calloc(capacity, sizeof(uint64_t));
    series->cpu_ns = calloc(capacity, sizeof(uint64_t));
    bool whole = series->faults && series->cpu_ns;
    for (size_t i = 0; i < SAMPLE_MARKS; i++) {
        series->at[i] = calloc(capacity, sizeof(uint64_t));
        series->took[i] = calloc(capacity, sizeof(uint64_t));
        whole = whole && series->at[i] && series->took[i];
    }
    return whole ? 0 : -1;
}

void series_done(struct series *series)
{
    for (size_t i = 0; i < SAMPLE_MARKS; i++) {
        free(series->at[i]);
        free(series->took[i]);
    }
    free(series->faults);
    free(series->cpu_ns);
}

static size_t find_mark(const struct series *series, const char *name)
{
    size_t i = 0;

    while (i < series->n_marks && strcmp(series->marks[i], name) != 0)
        i++;
    return i;
}

int series_add(struct series *series, const struct sample *sample)
{
    size_t n = series->n;

    if (n == series->capacity)
        return -1;
    if (n == 0) {
        series->n_marks = sample->n_marks;
        for (size_t i = 0; i < sample->n_marks; i++)
            memcpy(series->marks[i], sample->marks[i].name, MARK_NAME);
    }
    for (size_t i = 0; i < sample->n_marks; i++) {
        const struct mark *m = &sample->marks[i];
        size_t at = find_mark(series, m->name);

        if (at == series->n_marks || sample->n_marks != series->n_marks) {
            fprintf(stderr, "spawn: %s: the stages of one spawn are not those of another (%s)\n",
                    series->name, m->name);
            return -1;
        }
        series->at[at][n] = m->at_ns;
        series->took[at][n] = m->at_ns - (i ? sample->marks[i - 1].at_ns : 0);
    }
    series->faults[n] = sample->faults;
    series->cpu_ns[n] = sample->cpu_ns;
    series->n++;
    return 0;
}

/* ---- distributions ---- */

struct spread {
    uint64_t min, p50, p90, p99, max;
};

static int by_size(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

/* Nearest rank: a value that was measured, never one between two. */
static uint64_t percentile(const uint64_t *sorted, size_t n, size_t percent)
{
    size_t rank = (n * percent + 99) / 100;

    return sorted[rank ? rank - 1 : 0];
}

static struct spread spread_of(const uint64_t *values, size_t n)
{
    uint64_t *sorted = n ? calloc(n, sizeof(*sorted)) : NULL;
    struct spread s = {0};

    if (!sorted)
        return s;
    memcpy(sorted, values, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), by_size);
    s = (struct spread){.min = sorted[0],
                        .p50 = percentile(sorted, n, 50),
                        .p90 = percentile(sorted, n, 90),
                        .p99 = percentile(sorted, n, 99),
                        .max = sorted[n - 1]};
    free(sorted);
    return s;
}

static double us(uint64_t ns)
{
    return (double)ns / 1000.0;
}

void series_print(const struct series *s, FILE *out)
{
    fprintf(out, "\n%s (n %zu)\n", s->name, s->n);
    if (s->n == 0 || s->n_marks == 0)
        return;
    fprintf(out, "  %-22s %10s %10s %10s %10s\n", "microseconds", "p50", "p99", "min", "at p50");
    for (size_t i = 0; i < s->n_marks; i++) {
        struct spread t = spread_of(s->took[i], s->n), at = spread_of(s->at[i], s->n);
        fprintf(out, "  %-22s %10.1f %10.1f %10.1f %10.1f\n", s->marks[i], us(t.p50), us(t.p99),
                us(t.min), us(at.p50));
    }
    struct spread t = spread_of(s->at[s->n_marks - 1], s->n);
    fprintf(out, "  %-22s %10.1f %10.1f %10.1f   (p90 %.1f, max %.1f)\n", "total", us(t.p50),
            us(t.p99), us(t.min), us(t.p90), us(t.max));
    fprintf(out, "  %-22s %10" PRIu64 " page faults, %.0f us of CPU time\n", "processes, p50",
            spread_of(s->faults, s->n).p50, us(spread_of(s->cpu_ns, s->n).p50));
}

static void json_spread(FILE *out, const char *name, struct spread s)
{
    fprintf(out,
            "\"%s\": {\"min\": %" PRIu64 ", \"p50\": %" PRIu64 ", \"p90\": %" PRIu64
            ", \"p99\": %" PRIu64 ", \"max\": %" PRIu64 "}",
            name, s.min, s.p50, s.p90, s.p99, s.max);
}

void series_print_json(const struct series *s, FILE *out)
{
    const uint64_t *total = s->at[s->n_marks ? s->n_marks - 1 : 0];

    fprintf(out, "{\"name\": \"%s\", \"n\": %zu, ", s->name, s->n);
    json_spread(out, "total_ns", spread_of(total, s->n));
    fputs(", \"stages\": [", out);
    for (size_t i = 0; i < s->n_marks; i++) {
        fprintf(out, "%s{\"stage\": \"%s\", ", i ? ", " : "", s->marks[i]);
        json_spread(out, "took_ns", spread_of(s->took[i], s->n));
        fputs(", ", out);
        json_spread(out, "at_ns", spread_of(s->at[i], s->n));
        fputc('}', out);
    }
    fputs("], ", out);
    json_spread(out, "page_faults", spread_of(s->faults, s->n));
    fputs(", ", out);
    json_spread(out, "cpu_ns", spread_of(s->cpu_ns, s->n));
    fputs(", \"totals_ns\": [", out); /* in the order of the rounds, for comparison in pairs */
    for (size_t i = 0; i < s->n; i++)
        fprintf(out, "%s%" PRIu64, i ? ", " : "", total[i]);
    fputs("]}", out);
}
