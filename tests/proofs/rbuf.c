/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The total reader: any two reads of any message stay inside it; past its end they yield zeros, and
 * it is never good again.
 * Bounds: messages of any content of up to 1 TiB, two reads of any kind
 * Flags: --unwind 9 --unsigned-overflow-check
 */
#include "env.h"

static const void *any_memchr(const void *p, int c, size_t size)
{
    CHECK(READABLE(p, size));
    return nondet_bool() ? NULL : p;
}

static void *checked_copy(void *to, const void *from, size_t size)
{
    CHECK(READABLE(from, size) && WRITABLE(to, size));
    return to;
}

#define memchr(p, c, size)     any_memchr(p, c, size)
#define memcpy(to, from, size) checked_copy(to, from, size)
#include "base/buf.c"

static void one_read(struct rbuf *b)
{
    struct rbuf old = *b;
    size_t want = 0, max = nondet_u64();
    uint64_t v = 0;
    char *s = NULL;

    switch (nondet_u8() % 6) {
    case 0:
        v = rbuf_u8(b);
        want = 1;
        break;
    case 1:
        v = rbuf_u16(b);
        want = 2;
        break;
    case 2:
        v = rbuf_u32(b);
        want = 4;
        break;
    case 3:
        v = rbuf_u64(b);
        want = 8;
        break;
    case 4: {
        want = nondet_u64();
        const void *p = rbuf_take(b, want);
        CHECK((p == NULL) == b->bad && IMPLIES(p, READABLE(p, want)));
        break;
    }
    default:
        s = rbuf_str(b, max);
        want = b->at - old.at;
        CHECK((s == NULL) == b->bad && IMPLIES(s, want - 4 <= max && WRITABLE(s, want - 3)));
        WITNESS(s && want > 1000);
        free(s);
        break;
    }
    CHECK(b->at <= b->size && b->at >= old.at && b->data == old.data && b->size == old.size);
    CHECK(IMPLIES(old.bad, b->bad && b->at == old.at && v == 0));
    CHECK(IMPLIES(!b->bad, b->at == old.at + want));
    CHECK(IMPLIES(b->bad, v == 0 && !rbuf_done(b)));
}

int main(void)
{
    size_t size = nondet_u64();

    ASSUME(size <= TIB);
    uint8_t *data = malloc(size);
    ASSUME(data);
    struct rbuf b = rbuf_of(data, size);
    one_read(&b);
    one_read(&b);
    CHECK(IMPLIES(rbuf_done(&b), b.at == size));
    WITNESS(rbuf_done(&b) && size > 8);
    return 0;
}
