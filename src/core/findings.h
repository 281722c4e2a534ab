/* SPDX-License-Identifier: Apache-2.0 */
/* The list that lum_doctor fills. Private to src/core. */
#ifndef LUM_CORE_FINDINGS_H
#define LUM_CORE_FINDINGS_H

#include "base/util.h"
#include "lumina.h"

#define FINDINGS_MAX 40u

struct findings {
    struct lum_finding list[FINDINGS_MAX];
    size_t count;
};

/* Adds one without a remedy. Control bytes of paths become '?'. The result is valid until the list
 * is sorted. */
struct lum_finding *finding_add(struct findings *f, const char *name, int32_t state,
                                const char *fmt, ...) LUM_PRINTF(4, 5);
void finding_remedy(struct lum_finding *finding, const char *fmt, ...) LUM_PRINTF(2, 3);

/* Errors of the library may end in "; remedy: ...": that part becomes the remedy, which is else
 * the given one. */
void finding_from_text(struct findings *f, const char *name, int32_t state, const char *text,
                       const char *remedy);

/* NULL: there is none. */
const struct lum_finding *finding_find(const struct findings *f, const char *name);

/* Worst first, else in the order of adding. */
void findings_sort(struct findings *f);

#endif
