/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The growing writer: any append to any buffer leaves size and capacity true, or the buffer failed;
 * sizes never wrap.
 * Bounds: buffers of up to 16 TiB in use, appends and drops of any size
 * Flags: --unwind 56 --unsigned-overflow-check
 */
#include "env.h"

#define BIGGEST (16 * TIB) /* more is no memory */

/* What is in the buffer does not matter here, only where it is. */
static void *checked_set(void *p, int value, size_t size)
{
    CHECK(WRITABLE(p, size));
    return p;
}

static void *checked_copy(void *to, const void *from, size_t size)
{
    CHECK(READABLE(from, size) && WRITABLE(to, size));
    return to;
}

static void *checked_realloc(void *p, size_t size)
{
    CHECK(size > 0);
    if (size > BIGGEST || nondet_bool())
        return NULL;
    void *moved = malloc(size);
    ASSUME(moved);
    free(p);
    return moved;
}

#define memset(p, value, size)  checked_set(p, value, size)
#define memcpy(to, from, size)  checked_copy(to, from, size)
#define memmove(to, from, size) checked_copy(to, from, size)
#define lum_realloc(p, size)    checked_realloc(p, size)
#include "base/buf.c"

static bool valid(const struct wbuf *b)
{
    return b->size <= b->capacity && (b->capacity == 0 || (b->data && OFFSET_OF(b->data) == 0 &&
                                                           WRITABLE(b->data, b->capacity)));
}

int main(void)
{
    struct wbuf b = {.size = nondet_u64(), .failed = nondet_bool()};
    size_t size = nondet_u64();
    unsigned doublings = nondet_u8();

    ASSUME(doublings <= 36);
    b.capacity = nondet_bool() ? 0 : (size_t)256 << doublings;
    ASSUME(b.size <= b.capacity);
    if (b.capacity)
        b.data = malloc(b.capacity);
    ASSUME(valid(&b));
    struct wbuf old = b;

    if (nondet_bool()) {
        ASSUME(size > 0);
        uint8_t *room = wbuf_room(&b, size);
        CHECK(valid(&b));
        CHECK((room == NULL) == b.failed && IMPLIES(old.failed, b.failed));
        CHECK(b.size == old.size + (room ? size : 0));
        CHECK(IMPLIES(room, room == b.data + old.size && WRITABLE(room, size)));
        WITNESS(room && size > TIB && b.capacity > old.capacity && old.capacity);
    } else {
        ASSUME(size <= b.size);
        wbuf_drop(&b, size);
        CHECK(valid(&b) && b.size == old.size - size && b.data == old.data);
        WITNESS(size > 0 && b.size > 0);
    }
    return 0;
}
