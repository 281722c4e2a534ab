/* SPDX-License-Identifier: Apache-2.0 */
/* Frames out of bytes and bytes out of frames. See wire.h. */
#include "wire.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* One read takes at most this: an idle agent has then touched only the first pages of its buffer.
 */
#define FILL_CHUNK (64u * 1024)

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint16_t get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

void put_u32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static void put_header(uint8_t *p, uint32_t size, uint16_t type, uint16_t stream, uint32_t id)
{
    put_u32(p, size);
    put_u32(p + 4, (uint32_t)type | (uint32_t)stream << 16);
    put_u32(p + 8, id);
}

void wire_init(struct wire *wire, int fd)
{
    wire->fd = fd;
    wire->in_start = wire->in_end = 0;
    wire->out_start = wire->out_end = 0;
}

int wire_fill(struct wire *wire)
{
    size_t have = wire->in_end - wire->in_start;

    if (wire->in_start > 0) {
        memmove(wire->in, wire->in + wire->in_start, have);
        wire->in_start = 0;
        wire->in_end = have;
    }

    size_t room = sizeof(wire->in) - have;
    if (room == 0)
        return 0; /* a whole frame is there */
    ssize_t n = read(wire->fd, wire->in + have, room < FILL_CHUNK ? room : FILL_CHUNK);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -EPIPE;
    wire->in_end += (size_t)n;
    return 0;
}

int wire_next(struct wire *wire, struct frame *ret_frame)
{
    size_t have = wire->in_end - wire->in_start;
    uint8_t *p = wire->in + wire->in_start;

    if (have < PROTO_HEADER)
        return 0;

    uint32_t size = get_u32(p);
    if (size > PROTO_MAX_PAYLOAD)
        return -EPROTO;
    if (have - PROTO_HEADER < size)
        return 0;
    ret_frame->size = size;
    ret_frame->type = get_u16(p + 4);
    ret_frame->stream = get_u16(p + 6);
    ret_frame->id = get_u32(p + 8);
    ret_frame->payload = p + PROTO_HEADER;
    wire->in_start += PROTO_HEADER + size;
    return 1;
}

size_t wire_room(const struct wire *wire)
{
    size_t room = sizeof(wire->out) - (wire->out_end - wire->out_start);

    return room > PROTO_HEADER ? room - PROTO_HEADER : 0;
}

uint8_t *wire_place(struct wire *wire)
{
    if (wire->out_start > 0) {
        memmove(wire->out, wire->out + wire->out_start, wire->out_end - wire->out_start);
        wire->out_end -= wire->out_start;
        wire->out_start = 0;
    }
    return wire->out + wire->out_end + PROTO_HEADER;
}

void wire_commit(struct wire *wire, uint16_t type, uint16_t stream, uint32_t id, uint32_t size)
{
    put_header(wire->out + wire->out_end, size, type, stream, id);
    wire->out_end += PROTO_HEADER + size;
}

bool wire_put(struct wire *wire, uint16_t type, uint16_t stream, uint32_t id, const void *payload,
              uint32_t size)
{
    if (wire_room(wire) < size || wire_room(wire) == 0)
        return false;

    uint8_t *place = wire_place(wire);
    if (size > 0)
        memcpy(place, payload, size);
    wire_commit(wire, type, stream, id, size);
    return true;
}

bool wire_put_numbers(struct wire *wire, uint16_t type, uint32_t id, const uint32_t *numbers,
                      unsigned count, const char *text)
{
    uint8_t payload[4 * 4 + WIRE_TEXT];
    uint32_t size = 0;

    for (unsigned i = 0; i < count && i < 3; i++, size += 4)
        put_u32(payload + size, numbers[i]);
    if (text) {
        size_t len = strnlen(text, WIRE_TEXT);
        put_u32(payload + size, (uint32_t)len);
        memcpy(payload + size + 4, text, len);
        size += 4 + (uint32_t)len;
    }
    return wire_put(wire, type, 0, id, payload, size);
}

int wire_flush(struct wire *wire)
{
    while (wire_pending(wire)) {
        ssize_t n = write(wire->fd, wire->out + wire->out_start, wire->out_end - wire->out_start);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        wire->out_start += (size_t)n;
    }
    wire->out_start = wire->out_end = 0;
    return 0;
}

struct cursor cursor_of(const struct frame *frame)
{
    return (struct cursor){.at = frame->payload, .left = frame->size};
}

const uint8_t *cursor_bytes(struct cursor *cursor, size_t size)
{
    if (cursor->bad || size > cursor->left) {
        cursor->bad = true;
        return NULL;
    }

    const uint8_t *p = cursor->at;
    cursor->at += size;
    cursor->left -= size;
    return p;
}

uint32_t cursor_u32(struct cursor *cursor)
{
    const uint8_t *p = cursor_bytes(cursor, 4);

    return p ? get_u32(p) : 0;
}

uint64_t cursor_u64(struct cursor *cursor)
{
    uint64_t low = cursor_u32(cursor);

    return low | (uint64_t)cursor_u32(cursor) << 32;
}

char *cursor_string(struct cursor *cursor)
{
    static char empty[1];
    uint8_t *start = cursor->at;
    uint32_t len = cursor_u32(cursor);
    const uint8_t *p = cursor_bytes(cursor, len);

    if (!p || memchr(p, '\0', len)) {
        cursor->bad = true;
        empty[0] = '\0';
        return empty;
    }
    memmove(start, p, len);
    start[len] = '\0';
    return (char *)start;
}

bool cursor_ended(const struct cursor *cursor)
{
    return !cursor->bad && cursor->left == 0;
}
