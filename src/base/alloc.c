/* SPDX-License-Identifier: Apache-2.0 */
/* See alloc.h. The fault counter costs one predictable branch. */
#include "base/alloc.h"

#include <string.h>

_Atomic long lum_alloc_fail_at = -1;

static bool must_fail(void)
{
    long left = atomic_load_explicit(&lum_alloc_fail_at, memory_order_relaxed);

    if (left < 0)
        return false;
    while (left > 0)
        if (atomic_compare_exchange_weak(&lum_alloc_fail_at, &left, left - 1))
            return false;
    return left == 0;
}

/* seccomp io: brk, mmap(2&PROT_EXEC=0), mprotect(2&PROT_EXEC=0), mremap, munmap, madvise */

void *lum_calloc(size_t n, size_t size)
{
    return must_fail() ? NULL : calloc(n, size);
}

void *lum_realloc(void *p, size_t size)
{
    return must_fail() ? NULL : realloc(p, size);
}

char *lum_strdup(const char *s)
{
    size_t size = strlen(s) + 1;
    char *copy = lum_calloc(1, size);

    if (copy)
        memcpy(copy, s, size);
    return copy;
}
