/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gmem_span: for every layout of RAM, address and length.
 * Bounds: 1 or 2 ranges, each of 1 byte to 64 TiB at any address; any address and length
 * Flags: --unsigned-overflow-check --pointer-overflow-check --conversion-check --unwind 3
 */
#include "env.h"

static struct gmem_range any_range(uint8_t *host, uint64_t size)
{
    struct gmem_range r = {.base = nondet_u64(), .size = size, .host = host};

    ASSUME(r.base <= UINT64_MAX - r.size);
    return r;
}

static bool inside(const struct gmem_range *r, uint64_t at, uint64_t len)
{
    return at >= r->base && at - r->base < r->size && len <= r->size - (at - r->base);
}

int main(void)
{
    uint64_t low = nondet_u64(), high = nondet_u64();
    struct gmem m;
    gpa_t at = gpa(nondet_u64());
    uint64_t len = nondet_u64();

    ASSUME(low > 0 && low <= 64 * TIB && high > 0 && high <= 64 * TIB);
    m.host = malloc(low + high);
    ASSUME(m.host);
    m.n_ranges = nondet_bool() ? 2 : 1;
    m.range[0] = any_range(m.host, low);
    m.range[1] = any_range(m.host + low, high);
    m.size = low + high;

    const struct gmem_range *a = &m.range[0], *b = &m.range[1];
    ASSUME(m.n_ranges == 1 || a->base + a->size <= b->base);

    uint8_t *p = gmem_span(&m, at, len);
    bool in_a = inside(a, at.v, len), in_b = m.n_ranges == 2 && inside(b, at.v, len);
    CHECK((p != NULL) == (len > 0 && (in_a || in_b)));
    if (!p)
        return 0;
    CHECK(at.v <= UINT64_MAX - len);
    CHECK(READABLE(p, len) && WRITABLE(p, len));
    CHECK(IMPLIES(in_a, p == a->host + (at.v - a->base) && len <= (uint64_t)(a->host + low - p)));
    CHECK(IMPLIES(in_b, p == b->host + (at.v - b->base)));
    WITNESS(in_a && len > 1);
    WITNESS(in_b && at.v + len == b->base + b->size);
    return 0;
}
