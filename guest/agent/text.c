/* SPDX-License-Identifier: Apache-2.0 */
/* See text.h. */
#include "text.h"

#include <string.h>

size_t text_join_list(char *place, size_t size, const char *first, va_list rest)
{
    size_t used = 0;

    for (const char *part = first; part; part = va_arg(rest, const char *)) {
        size_t len = strnlen(part, size - 1 - used);
        memcpy(place + used, part, len);
        used += len;
    }
    place[used] = '\0';
    return used;
}

size_t text_join(char *place, size_t size, const char *first, ...)
{
    va_list rest;

    va_start(rest, first);
    size_t used = text_join_list(place, size, first, rest);
    va_end(rest);
    return used;
}

const char *text_number(char place[static TEXT_NUMBER], uint32_t v)
{
    size_t digits = 1;

    for (uint32_t rest = v; rest >= 10; rest /= 10)
        digits++;
    place[digits] = '\0';
    for (; digits > 0; v /= 10)
        place[--digits] = (char)('0' + v % 10);
    return place;
}

bool text_read_number(const char *text, uint32_t *ret_value, const char **ret_rest)
{
    const char *p = text;
    uint64_t v = 0;

    for (; *p >= '0' && *p <= '9'; p++) {
        v = v * 10 + (uint64_t)(*p - '0');
        if (v >= UINT32_MAX)
            return false;
    }
    if (p == text)
        return false;
    *ret_value = (uint32_t)v;
    *ret_rest = p;
    return true;
}
