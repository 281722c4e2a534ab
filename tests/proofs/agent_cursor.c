/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the agent reads a payload: any three reads stay inside it, strings end inside it, and past
 * its end all is zero and bad for good.
 * Bounds: any payload of up to 12 bytes, three reads of any kind
 * Flags: --unwind 14 --unsigned-overflow-check
 */
#include "env.h"

/* The first NUL of up to 12 bytes, or NULL. */
static void *small_memchr(const void *p, int c, size_t size)
{
    const uint8_t *bytes = p;

    CHECK(READABLE(p, size));
    for (size_t i = 0; i < size; i++)
        if (bytes[i] == (uint8_t)c)
            return (void *)(bytes + i);
    return NULL;
}

static void *small_memmove(void *to, const void *from, size_t size)
{
    uint8_t *out = to;
    const uint8_t *in = from;

    CHECK(READABLE(from, size) && WRITABLE(to, size) && (out <= in || !SAME_OBJECT(to, from)));
    for (size_t i = 0; i < size; i++)
        out[i] = in[i];
    return to;
}

#define memchr(p, c, size)      small_memchr(p, c, size)
#define memmove(to, from, size) small_memmove(to, from, size)
#include "wire.c"
#undef memmove

static struct frame f;

static void one_read(struct cursor *c)
{
    struct cursor old = *c;
    uint64_t v = 0, want = 0;

    switch (nondet_u8() % 4) {
    case 0:
        v = cursor_u32(c);
        want = 4;
        break;
    case 1:
        v = cursor_u64(c);
        want = 8;
        break;
    case 2: {
        want = nondet_u64();
        const uint8_t *p = cursor_bytes(c, want);
        CHECK((p == NULL) == c->bad && IMPLIES(p, READABLE(p, want)));
        break;
    }
    default: {
        char *s = cursor_string(c);
        want = old.left - c->left;
        CHECK(s != NULL && IMPLIES(c->bad, s[0] == '\0'));
        if (c->bad)
            break;
        CHECK((uint8_t *)s == old.at && s[want - 4] == '\0');
        for (unsigned i = 0; i < 8; i++)
            CHECK(IMPLIES(i < want - 4, s[i] != '\0'));
        WITNESS(want == 11);
        break;
    }
    }
    CHECK(c->at + c->left == f.payload + f.size && c->left <= old.left);
    CHECK(IMPLIES(old.bad, c->bad && v == 0 && !cursor_ended(c)));
    CHECK(IMPLIES(!c->bad, old.left - c->left == want));
}

int main(void)
{
    static uint8_t bytes[12];

    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = nondet_u8();
    f.size = nondet_u32();
    ASSUME(f.size <= sizeof(bytes));
    f.payload = bytes + (sizeof(bytes) - f.size); /* what is past the payload is past the array */
    struct cursor c = cursor_of(&f);
    for (unsigned i = 0; i < 3; i++)
        one_read(&c);
    WITNESS(cursor_ended(&c) && f.size == 12);
    return 0;
}
