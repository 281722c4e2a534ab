/* SPDX-License-Identifier: Apache-2.0 */
/* See gmem.h. */
#include "mem/gmem.h"

#include <string.h>

bool gmem_read(const struct gmem *m, gpa_t at, void *buf, uint64_t len)
{
    const void *p = gmem_span(m, at, len);

    if (p)
        memcpy(buf, p, len);
    return p != NULL;
}

bool gmem_write(const struct gmem *m, gpa_t at, const void *buf, uint64_t len)
{
    void *p = gmem_span(m, at, len);

    if (p)
        memcpy(p, buf, len);
    return p != NULL;
}
