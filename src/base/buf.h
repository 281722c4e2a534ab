/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes in and out: a growable writer and a total reader, both little-endian. The reader is where
 * every message from another process or the guest is taken apart: any read past the end sets
 * `bad`, yields zeros from then on, and is checked once at the end with rbuf_done().
 */
#ifndef LUM_BASE_BUF_H
#define LUM_BASE_BUF_H

#include "base/util.h"

struct wbuf {
    uint8_t *data;
    size_t size, capacity;
    bool failed; /* out of memory: everything after is dropped */
    bool fixed;  /* data is the owner's and does not grow */
};

/* For what has to be said when there is no memory: room of the owner's, not released. */
static inline struct wbuf wbuf_fixed(void *data, size_t capacity)
{
    return (struct wbuf){.data = data, .capacity = capacity, .fixed = true};
}

void wbuf_done(struct wbuf *b);
void *wbuf_room(struct wbuf *b, size_t size); /* appends size zero bytes; NULL when failed */
void wbuf_put(struct wbuf *b, const void *data, size_t size);
void wbuf_u8(struct wbuf *b, uint8_t v);
void wbuf_u16(struct wbuf *b, uint16_t v);
void wbuf_u32(struct wbuf *b, uint32_t v);
void wbuf_u64(struct wbuf *b, uint64_t v);
void wbuf_str(struct wbuf *b, const char *s); /* u32 length, bytes, no terminator; NULL as "" */
void wbuf_drop(struct wbuf *b, size_t size);  /* removes from the front */

struct rbuf {
    const uint8_t *data;
    size_t size, at;
    bool bad;
};

static inline struct rbuf rbuf_of(const void *data, size_t size)
{
    return (struct rbuf){.data = data, .size = size};
}

const void *rbuf_take(struct rbuf *b, size_t size); /* NULL and bad when there is less */
uint8_t rbuf_u8(struct rbuf *b);
uint16_t rbuf_u16(struct rbuf *b);
uint32_t rbuf_u32(struct rbuf *b);
uint64_t rbuf_u64(struct rbuf *b);
/* A heap copy of the next string; bad when it holds a NUL, is longer than max, or memory is out.
 * Never NULL unless bad. */
char *rbuf_str(struct rbuf *b, size_t max);
bool rbuf_done(const struct rbuf *b); /* nothing bad and nothing left */

static inline uint16_t le16_load(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t le32_load(const void *p)
{
    const uint8_t *b = p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t le64_load(const void *p)
{
    return le32_load(p) | (uint64_t)le32_load((const uint8_t *)p + 4) << 32;
}

static inline void le16_store(void *p, uint16_t v)
{
    uint8_t *b = p;
    b[0] = (uint8_t)v;
    b[1] = (uint8_t)(v >> 8);
}

static inline void le32_store(void *p, uint32_t v)
{
    le16_store(p, (uint16_t)v);
    le16_store((uint8_t *)p + 2, (uint16_t)(v >> 16));
}

static inline void le64_store(void *p, uint64_t v)
{
    le32_store(p, (uint32_t)v);
    le32_store((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

#endif
