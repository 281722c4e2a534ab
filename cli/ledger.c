/* SPDX-License-Identifier: Apache-2.0 */
/* The table of --timing; see ledger.h. */
#include "ledger.h"

#include "ui.h"

#include <stdio.h>
#include <string.h>

enum { STAGE_WIDTH = 24, TIME_WIDTH = 12, TIME_SIZE = 32 };

/* Milliseconds with their thousandths. */
static const char *milliseconds(char text[TIME_SIZE], uint64_t ns)
{
    (void)ui_format(text, TIME_SIZE, "%llu.%03llu", (unsigned long long)(ns / 1000000),
                    (unsigned long long)(ns / 1000 % 1000));
    return text;
}

static uint64_t step(const struct lum_timing *stages, size_t i)
{
    return stages[i].at_ns - (i > 0 ? stages[i - 1].at_ns : 0);
}

static void show_stages(const struct lum_timing *stages, size_t count)
{
    size_t longest = 0;
    char at[TIME_SIZE], took[TIME_SIZE];

    for (size_t i = 1; i < count; i++) {
        if (step(stages, i) > step(stages, longest))
            longest = i;
    }
    (void)fprintf(stderr, "%-*s %*s %*s\n", STAGE_WIDTH, "STAGE", TIME_WIDTH, "AT (ms)", TIME_WIDTH,
                  "TOOK (ms)");
    for (size_t i = 0; i < count; i++)
        (void)fprintf(stderr, "%-*s %*s %*s%s\n", STAGE_WIDTH, stages[i].stage, TIME_WIDTH,
                      milliseconds(at, stages[i].at_ns), TIME_WIDTH,
                      milliseconds(took, step(stages, i)),
                      i == longest && count > 1 ? "  <- longest" : "");
}

/* T1 is what users wait for; a run without output is told by its last stage. */
static void show_total(const struct lum_timing *stages, size_t count)
{
    const struct lum_timing *end = &stages[count - 1];
    bool has_output = false;
    char name[64], total[TIME_SIZE];

    for (size_t i = 0; i < count && !has_output; i++) {
        has_output = strcmp(stages[i].stage, "first output") == 0;
        if (has_output)
            end = &stages[i];
    }
    (void)ui_format(name, sizeof(name), "T0 to %s", has_output ? "T1" : end->stage);
    (void)fprintf(stderr, "%-*s %*s   T0: VM asked for; %s\n", STAGE_WIDTH, name, TIME_WIDTH,
                  milliseconds(total, end->at_ns), has_output ? "T1: first output" : "no output");
}

void ledger_show(const struct lum_timing *stages, size_t count, const struct lum_vm_stats *stats)
{
    if (count > 0) {
        show_stages(stages, count);
        show_total(stages, count);
    }
    (void)fprintf(stderr, "memory: %llu MiB configured, %llu MiB resident in the VM's processes",
                  (unsigned long long)(stats->memory_bytes >> 20),
                  (unsigned long long)(stats->process_rss_bytes >> 20));
    if (stats->guest_touched_bytes > 0)
        (void)fprintf(stderr, ", %llu MiB touched by the guest; %llu exits",
                      (unsigned long long)(stats->guest_touched_bytes >> 20),
                      (unsigned long long)stats->exits);
    (void)fputc('\n', stderr);
}
