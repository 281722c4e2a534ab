/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: the one checked door. RAM is one host mapping cut into at most two guest-physical
 * ranges (below and above the hole under 4 GiB). Everything a guest names by address comes through
 * here; bounds are checked by subtraction, a span never crosses a range. What is read is copied
 * once into a local and decided there: the guest can change it at any moment.
 */
#ifndef LUM_MEM_GMEM_H
#define LUM_MEM_GMEM_H

#include "base/util.h"

/* A guest-physical address: no accidental arithmetic or dereference. */
typedef struct {
    uint64_t v;
} gpa_t;

static inline gpa_t gpa(uint64_t v)
{
    return (gpa_t){v};
}

struct gmem_range {
    uint64_t base, size;
    uint8_t *host;
};

struct gmem {
    struct gmem_range range[2];
    unsigned n_ranges;
    uint8_t *host; /* the whole mapping, for release and statistics */
    uint64_t size; /* bytes of RAM in all ranges */
};

/* Host address of len bytes at gpa, or NULL. len 0 is NULL. */
static inline void *gmem_span(const struct gmem *m, gpa_t at, uint64_t len)
{
    for (unsigned i = 0; i < m->n_ranges; i++) {
        const struct gmem_range *r = &m->range[i];

        if (len == 0 || len > r->size || at.v < r->base)
            continue;
        uint64_t off = at.v - r->base;
        if (off <= r->size - len)
            return r->host + off;
    }
    return NULL;
}

#endif
