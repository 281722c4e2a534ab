/* SPDX-License-Identifier: Apache-2.0 */
/* See buf.h. */
#include "base/buf.h"

#include <string.h>

#include "base/alloc.h"

void wbuf_done(struct wbuf *b)
{
    if (!b->fixed)
        free(b->data);
    *b = (struct wbuf){0};
}

void *wbuf_room(struct wbuf *b, size_t size)
{
    if (b->failed || size > SIZE_MAX / 4 - b->size) {
        b->failed = true;
        return NULL;
    }
    if (size > b->capacity - b->size && b->fixed) {
        b->failed = true;
        return NULL;
    }
    if (size > b->capacity - b->size) {
        size_t capacity = b->capacity ? b->capacity : 256;

        while (capacity - b->size < size)
            capacity *= 2;
        uint8_t *data = lum_realloc(b->data, capacity);
        if (!data) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->capacity = capacity;
    }
    void *room = b->data + b->size;

    memset(room, 0, size);
    b->size += size;
    return room;
}

void wbuf_put(struct wbuf *b, const void *data, size_t size)
{
    if (size == 0)
        return;
    void *room = wbuf_room(b, size);
    if (room)
        memcpy(room, data, size);
}

void wbuf_u8(struct wbuf *b, uint8_t v)
{
    wbuf_put(b, &v, 1);
}

void wbuf_u16(struct wbuf *b, uint16_t v)
{
    uint8_t raw[2];

    le16_store(raw, v);
    wbuf_put(b, raw, sizeof(raw));
}

void wbuf_u32(struct wbuf *b, uint32_t v)
{
    uint8_t raw[4];

    le32_store(raw, v);
    wbuf_put(b, raw, sizeof(raw));
}

void wbuf_u64(struct wbuf *b, uint64_t v)
{
    uint8_t raw[8];

    le64_store(raw, v);
    wbuf_put(b, raw, sizeof(raw));
}

void wbuf_str(struct wbuf *b, const char *s)
{
    size_t size = s ? strlen(s) : 0;

    if (size > UINT32_MAX) {
        b->failed = true;
        return;
    }
    wbuf_u32(b, (uint32_t)size);
    wbuf_put(b, s, size);
}

void wbuf_drop(struct wbuf *b, size_t size)
{
    b->size -= size;
    if (b->size)
        memmove(b->data, b->data + size, b->size);
}

const void *rbuf_take(struct rbuf *b, size_t size)
{
    if (b->bad || size > b->size - b->at) {
        b->bad = true;
        return NULL;
    }
    const void *p = b->data + b->at;

    b->at += size;
    return p;
}

uint8_t rbuf_u8(struct rbuf *b)
{
    const uint8_t *p = rbuf_take(b, 1);
    return p ? *p : 0;
}

uint16_t rbuf_u16(struct rbuf *b)
{
    const void *p = rbuf_take(b, 2);
    return p ? le16_load(p) : 0;
}

uint32_t rbuf_u32(struct rbuf *b)
{
    const void *p = rbuf_take(b, 4);
    return p ? le32_load(p) : 0;
}

uint64_t rbuf_u64(struct rbuf *b)
{
    const void *p = rbuf_take(b, 8);
    return p ? le64_load(p) : 0;
}

char *rbuf_str(struct rbuf *b, size_t max)
{
    uint32_t size = rbuf_u32(b);

    if (size > max)
        b->bad = true;
    const void *p = rbuf_take(b, size);
    if (!p)
        return NULL;
    char *s = memchr(p, 0, size) ? NULL : lum_calloc(1, (size_t)size + 1);
    if (!s) {
        b->bad = true;
        return NULL;
    }
    memcpy(s, p, size);
    return s;
}

bool rbuf_done(const struct rbuf *b)
{
    return !b->bad && b->at == b->size;
}
