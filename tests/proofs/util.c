/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic that everything else leans on: rounding, and numbers in and out of bytes.
 * Bounds: every value; alignments that are powers of two; rounding up where it does not wrap
 * Flags: --unwind 2 --unsigned-overflow-check
 */
#include "env.h"

#include "base/buf.h"

struct outer {
    uint8_t before[3];
    uint32_t inner;
};

int main(void)
{
    uint64_t v = nondet_u64(), a = nondet_u64();
    uint8_t raw[9];
    unsigned i = nondet_u8();

    ASSUME(a != 0 && (a & (a - 1)) == 0 && i <= 8);
    uint64_t down = align_down(v, a);
    CHECK(down <= v && v - down < a && (down & (a - 1)) == 0);
    if (v <= UINT64_MAX - a) {
        uint64_t up = align_up(v, a);
        CHECK(up >= v && up - v < a && (up & (a - 1)) == 0);
        WITNESS(up > v && v > UINT32_MAX);
    }

    uint8_t old = raw[i];
    le16_store(raw, (uint16_t)(v & UINT16_MAX));
    CHECK(le16_load(raw) == (v & UINT16_MAX) && IMPLIES(i >= 2, raw[i] == old));
    le32_store(raw, (uint32_t)(v & UINT32_MAX));
    CHECK(le32_load(raw) == (v & UINT32_MAX) && IMPLIES(i >= 4, raw[i] == old));
    le64_store(raw, v);
    CHECK(le64_load(raw) == v && IMPLIES(i >= 8, raw[i] == old));
    CHECK(raw[0] == (v & 0xff) && raw[7] == v >> 56);

    struct outer o;
    CHECK(container_of(&o.inner, struct outer, inner) == &o);
    struct outer *p = &o;
    CHECK(STEAL(p) == &o && p == NULL);
    return 0;
}
