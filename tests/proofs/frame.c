/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame_next on any bytes: a frame that lies wholly in the input, or none; and what frame_put wrote
 * comes out as it was.
 * Bounds: any content of any size up to 1 TiB, any position in it; payload of up to 256 KiB
 * Flags: --unwind 5 --unsigned-overflow-check
 */
#include "env.h"

#include "base/frame.c"

/* A wbuf with room (wbuf.c proves the real one); the payload is any, so it is not copied. */
static uint8_t written[FRAME_HEADER];
static size_t n_written;

void wbuf_put(struct wbuf *b, const void *data, size_t size)
{
    CHECK(READABLE(data, size));
    if (b->size == 0) {
        CHECK(size == FRAME_HEADER);
        memcpy(written, data, FRAME_HEADER);
    }
    b->size += size;
}

static void any_bytes(void)
{
    struct wbuf in = {.size = nondet_u64()};
    size_t at = nondet_u64(), before = at;
    struct frame f = {.size = 0};

    ASSUME(in.size <= TIB && at <= in.size);
    in.capacity = in.size;
    in.data = malloc(in.size);
    ASSUME(in.data);
    int rc = frame_next(&in, &at, &f);
    CHECK(rc == 1 || rc == 0 || rc == -1);
    CHECK(IMPLIES(rc != 1, at == before));
    if (rc != 1)
        return;
    CHECK(f.size <= FRAME_MAX_PAYLOAD && at == before + FRAME_HEADER + f.size && at <= in.size);
    CHECK(f.data == in.data + before + FRAME_HEADER && READABLE(f.data, f.size));
    WITNESS(f.size == FRAME_MAX_PAYLOAD && at == in.size);
}

static void round_trip(void)
{
    static uint8_t stream[FRAME_HEADER + FRAME_MAX_PAYLOAD];
    uint16_t type = nondet_u16(), number = nondet_u16();
    uint32_t id = nondet_u32();
    size_t size = nondet_u32(), at = 0;
    struct wbuf out = {0};
    struct frame f;

    ASSUME(size <= FRAME_MAX_PAYLOAD);
    frame_put(&out, type, number, id, stream, size);
    memcpy(stream, written, FRAME_HEADER);
    out.data = stream;
    CHECK(frame_next(&out, &at, &f) == 1 && at == out.size);
    CHECK(f.type == type && f.stream == number && f.id == id && f.size == size);
    WITNESS(f.size == 77);
}

int main(void)
{
    if (nondet_bool())
        any_bytes();
    else
        round_trip();
    return 0;
}
