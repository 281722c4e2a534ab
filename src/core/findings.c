/* SPDX-License-Identifier: Apache-2.0 */
/* See findings.h. */
#include "core/findings.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REMEDY_MARK "; remedy: "

static void make_one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

struct lum_finding *finding_add(struct findings *f, const char *name, int32_t state,
                                const char *fmt, ...)
{
    va_list ap;

    assert(f->count < FINDINGS_MAX && !finding_find(f, name));
    struct lum_finding *finding = &f->list[f->count++];
    *finding = (struct lum_finding){.state = state};
    snprintf(finding->name, sizeof(finding->name), "%s", name);
    va_start(ap, fmt);
    if (vsnprintf(finding->found, sizeof(finding->found), fmt, ap) < 0)
        finding->found[0] = '\0';
    va_end(ap);
    make_one_line(finding->found);
    return finding;
}

void finding_remedy(struct lum_finding *finding, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (vsnprintf(finding->remedy, sizeof(finding->remedy), fmt, ap) < 0)
        finding->remedy[0] = '\0';
    va_end(ap);
    make_one_line(finding->remedy);
}

void finding_from_text(struct findings *f, const char *name, int32_t state, const char *text,
                       const char *remedy)
{
    const char *mark = strstr(text, REMEDY_MARK);
    int length = mark ? (int)(mark - text) : (int)strlen(text);

    finding_remedy(finding_add(f, name, state, "%.*s", length, text), "%s",
                   mark ? mark + strlen(REMEDY_MARK) : remedy);
}

const struct lum_finding *finding_find(const struct findings *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->list[i].name, name) == 0)
            return &f->list[i];
    return NULL;
}

void findings_sort(struct findings *f)
{
    /* Insertion keeps equals in order, which qsort need not. */
    for (size_t i = 1; i < f->count; i++) {
        struct lum_finding moved = f->list[i];
        size_t at = i;

        for (; at > 0 && f->list[at - 1].state < moved.state; at--)
            f->list[at] = f->list[at - 1];
        f->list[at] = moved;
    }
}
