/* SPDX-License-Identifier: Apache-2.0 */
/* The header of one record of a tree stream, between bytes and fields. For tree*.c only. */
#ifndef LUM_PLAT_TREE_RECORD_H
#define LUM_PLAT_TREE_RECORD_H

#include <stdint.h>

struct tree_record {
    uint64_t mtime;
    uint64_t size;
    uint32_t mode;
    uint16_t path_len;
    uint8_t kind;
};

static inline void tree_put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static inline uint64_t tree_get_le(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

static inline void tree_record_encode(const struct tree_record *rec, uint8_t *p)
{
    p[0] = rec->kind;
    tree_put_le(p + 1, rec->mode, 4);
    tree_put_le(p + 5, rec->mtime, 8);
    tree_put_le(p + 13, rec->size, 8);
    tree_put_le(p + 21, rec->path_len, 2);
}

static inline void tree_record_decode(const uint8_t *p, struct tree_record *ret_rec)
{
    ret_rec->kind = p[0];
    ret_rec->mode = (uint32_t)tree_get_le(p + 1, 4);
    ret_rec->mtime = tree_get_le(p + 5, 8);
    ret_rec->size = tree_get_le(p + 13, 8);
    ret_rec->path_len = (uint16_t)tree_get_le(p + 21, 2);
}

#endif
