/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See smaps.h. Guest memory is one stretch of address space of known size: anonymous memory mapped
 * without reservation (flag "nr"), with parts of the kernel's and the agent's file mapped into it.
 */
#include "smaps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_AREAS 4096u

struct area {
    uint64_t start, end;
    struct memory memory;
    bool unreserved;
};

static void take_field(struct area *a, const char *line)
{
    const struct {
        const char *name;
        uint64_t *sum;
    } fields[] = {
        {"Rss:", &a->memory.rss_kib},
        {"Pss:", &a->memory.pss_kib},
        {"Private_Clean:", &a->memory.private_kib},
        {"Private_Dirty:", &a->memory.private_kib},
        {"Shared_Clean:", &a->memory.shared_kib},
        {"Shared_Dirty:", &a->memory.shared_kib},
    };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (strncmp(line, fields[i].name, strlen(fields[i].name)) == 0)
            *fields[i].sum += strtoull(line + strlen(fields[i].name), NULL, 10);
    if (strncmp(line, "VmFlags:", 8) == 0)
        a->unreserved = strstr(line, " nr") != NULL;
}

static int read_areas(pid_t pid, struct area *areas, size_t *ret_n)
{
    char path[32], line[4096];
    uint64_t start, end;
    size_t n = 0;

    snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return -errno;
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2) {
            if (n == MAX_AREAS)
                break;
            areas[n++] = (struct area){.start = start, .end = end};
        } else if (n) {
            take_field(&areas[n - 1], line);
        }
    }
    fclose(f);
    *ret_n = n;
    return 0;
}

/* Whether areas from..to lie without a gap and are guest_bytes together. */
static bool is_stretch(const struct area *areas, size_t from, size_t to, uint64_t guest_bytes)
{
    for (size_t i = from; i < to; i++)
        if (areas[i].end != areas[i + 1].start)
            return false;
    return areas[to].end - areas[from].start == guest_bytes;
}

/* The stretch that is the guest: false when there is none. */
static bool find_guest(const struct area *areas, size_t n, uint64_t guest_bytes, size_t *ret_from,
                       size_t *ret_to)
{
    for (size_t from = 0; from < n; from++)
        for (size_t to = from; areas[from].unreserved && to < n; to++)
            if (is_stretch(areas, from, to, guest_bytes)) {
                *ret_from = from;
                *ret_to = to;
                return true;
            }
    return false;
}

static void add(struct memory *sum, const struct memory *m)
{
    sum->rss_kib += m->rss_kib;
    sum->pss_kib += m->pss_kib;
    sum->private_kib += m->private_kib;
    sum->shared_kib += m->shared_kib;
}

int smaps_read(pid_t pid, uint64_t guest_bytes, struct memory *ret_own, struct memory *ret_guest)
{
    struct area *areas = calloc(MAX_AREAS, sizeof(*areas));
    struct memory own = {0}, guest = {0};
    size_t n = 0, from = 0, to = 0;

    if (!areas)
        return -ENOMEM;
    int rc = read_areas(pid, areas, &n);
    if (rc == 0) {
        bool found = find_guest(areas, n, guest_bytes, &from, &to);
        for (size_t i = 0; i < n; i++)
            add(found && i >= from && i <= to ? &guest : &own, &areas[i].memory);
        *ret_own = own;
        *ret_guest = guest;
    }
    free(areas);
    return rc;
}
