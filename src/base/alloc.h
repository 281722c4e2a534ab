/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one door to the heap, so that a test can make the n-th allocation fail. All return NULL
 * when there is no memory; release with free().
 */
#ifndef LUM_BASE_ALLOC_H
#define LUM_BASE_ALLOC_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/util.h"

void *lum_calloc(size_t n, size_t size);
void *lum_realloc(void *p, size_t size);
char *lum_strdup(const char *s);

/* Cleanup for AUTO(auto_free) char *p. */
static inline void auto_free(void *pp)
{
    free(*(void **)pp);
}

/*
 * Tests only: after this many more allocations all fail, until it is set again; negative: none
 * fails.
 */
extern _Atomic long lum_alloc_fail_at;

#endif
