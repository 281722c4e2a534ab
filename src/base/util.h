/* SPDX-License-Identifier: Apache-2.0 */
/* Small language helpers used everywhere: ownership marks, container_of, alignment. No OS calls. */
#ifndef LUM_BASE_UTIL_H
#define LUM_BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Runs fn(&variable) when the variable leaves its scope. */
#define AUTO(fn) __attribute__((cleanup(fn)))

/* The argument is evaluated twice. Hands the value over: yields it and leaves NULL (or the given
 * empty value) behind for the cleanup. */
#define STEAL(p)                                                                                   \
    __extension__({                                                                                \
        __typeof__(p) stolen_ = (p);                                                               \
        (p) = NULL;                                                                                \
        stolen_;                                                                                   \
    })

/* The same for a descriptor. */
#define STEAL_FD(fd)                                                                               \
    __extension__({                                                                                \
        int stolen_ = (fd);                                                                        \
        (fd) = -1;                                                                                 \
        stolen_;                                                                                   \
    })

/* Through void *, or clang's -Wcast-align fires at each use. */
#define container_of(ptr, type, member)                                                            \
    ((type *)(void *)((char *)(void *)(ptr)-offsetof(type, member)))

#define ARRAY_LEN(a)     (sizeof(a) / sizeof((a)[0]))
#define LUM_PRINTF(f, a) __attribute__((format(printf, f, a)))

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define TIB ((uint64_t)1 << 40)

static inline uint64_t align_down(uint64_t v, uint64_t a)
{
    return v & ~(a - 1);
}

/* v + a must not wrap: for our own numbers only, never for a guest's or a file's. */
static inline uint64_t align_up(uint64_t v, uint64_t a)
{
    return (v + a - 1) & ~(a - 1);
}

#endif
