/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's framing, on any connection and any bytes: input and output stay in their buffers, a
 * frame lies wholly in the input, and the buffers' positions are never out of order.
 * Bounds: any state, any bytes; payloads of up to 64 bytes, output of 512, reads of up to 32; 2 short writes
 * Scale: guest/agent/proto.h PROTO_MAX_PAYLOAD 64u
 * Scale: guest/agent/wire.h WIRE_OUT_SIZE 512u
 * Scale: guest/agent/wire.c FILL_CHUNK 32u
 * Flags: --unwind 5 --unsigned-overflow-check
 */
#include "env.h"

#include <unistd.h>

static int interrupts_left = 1;

static ssize_t any_read(int fd, void *buf, size_t size)
{
    ssize_t n = any_move(size);

    CHECK(size > 0 && WRITABLE(buf, size));
    errno = n < 0 ? (int)-n : nondet_int();
    return n < 0 ? -1 : n;
}

static ssize_t any_write(int fd, const void *buf, size_t size)
{
    ssize_t n = any_move(size);

    CHECK(size > 0 && READABLE(buf, size));
    ASSUME(n > 0 || interrupts_left-- > 0);
    errno = n < 0 ? (int)-n : nondet_int();
    return n < 0 ? -1 : n;
}

/* Positions are proven, not contents; these are in env.h's terms what the C library does. */
static void *checked_copy(void *to, const void *from, size_t size)
{
    CHECK(READABLE(from, size) && WRITABLE(to, size));
    return to;
}

#define read(fd, buf, size)     any_read(fd, buf, size)
#define write(fd, buf, size)    any_write(fd, buf, size)
#define memcpy(to, from, size)  checked_copy(to, from, size)
#define memmove(to, from, size) checked_copy(to, from, size)
#include "wire.c"

/* Found before a NUL or at the limit; its bytes are readable. */
size_t strnlen(const char *s, size_t most)
{
    size_t n = nondet_u64();

    ASSUME(n <= most && n < 300);
    return n;
}

static struct wire w;

static bool valid(void)
{
    return w.in_start <= w.in_end && w.in_end <= sizeof(w.in) && w.out_start <= w.out_end &&
           w.out_end <= sizeof(w.out);
}

static void input(void)
{
    struct frame f;

    if (nondet_bool()) {
        size_t had = w.in_end - w.in_start;
        int rc = wire_fill(&w);
        CHECK(rc <= 0 && w.in_end - w.in_start >= had);
        WITNESS(w.in_end == sizeof(w.in) && had == 50);
        return;
    }
    size_t start = w.in_start;
    int rc = wire_next(&w, &f);
    CHECK(rc == 0 || rc == 1 || rc == -EPROTO);
    CHECK(IMPLIES(rc != 1, w.in_start == start));
    if (rc != 1)
        return;
    CHECK(f.size <= PROTO_MAX_PAYLOAD && w.in_start == start + PROTO_HEADER + f.size);
    CHECK(f.payload == w.in + start + PROTO_HEADER && f.payload + f.size <= w.in + w.in_end);
    WITNESS(f.size == PROTO_MAX_PAYLOAD);
}

static void output(void)
{
    size_t had = w.out_end - w.out_start, room = wire_room(&w);
    uint32_t size = nondet_u32(), numbers[3];
    char text[300];

    switch (nondet_u8() % 4) {
    case 0: {
        uint8_t *payload = malloc(size);
        ASSUME(payload);
        bool put = wire_put(&w, nondet_u16(), nondet_u16(), nondet_u32(), payload, size);
        CHECK(put == (room > 0 && size <= room));
        CHECK(w.out_end - w.out_start == had + (put ? PROTO_HEADER + size : 0));
        WITNESS(put && w.out_end == sizeof(w.out) && had > 0);
        break;
    }
    case 1: {
        ASSUME(room > 0 && size <= room);
        uint8_t *place = wire_place(&w);
        CHECK(WRITABLE(place, size) && place + size <= w.out + sizeof(w.out));
        wire_commit(&w, nondet_u16(), nondet_u16(), nondet_u32(), size);
        CHECK(w.out_end - w.out_start == had + PROTO_HEADER + size);
        break;
    }
    case 2:
        (void)wire_put_numbers(&w, nondet_u16(), nondet_u32(), numbers, nondet_u32(),
                               nondet_bool() ? text : NULL);
        CHECK(w.out_end - w.out_start <= had + PROTO_HEADER + 16 + WIRE_TEXT);
        break;
    default: {
        int rc = wire_flush(&w);
        CHECK(rc <= 0 && w.out_end - w.out_start <= had);
        break;
    }
    }
}

struct wire nondet_wire(void);

int main(void)
{
    w = nondet_wire();
    ASSUME(valid());
    if (nondet_bool())
        input();
    else
        output();
    CHECK(valid());
    return 0;
}
