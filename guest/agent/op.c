/* SPDX-License-Identifier: Apache-2.0 */
/* What all kinds of operations share. */
#include "op.h"

#include <string.h>

#include "text.h"

#define NAME_SHOWN 150

void outcome_say(struct outcome *out, enum proto_fail fail, int error, const char *what,
                 const char *name, const char *reason)
{
    char shown[NAME_SHOWN + 1];

    out->error = (uint32_t)error;
    out->fail = fail;
    (void)text_join(shown, sizeof(shown), name ? name : "", NULL);
    (void)text_join(out->text, sizeof(out->text), what, *shown ? " " : "", shown, ": ", reason,
                    NULL);
}

void outcome_set(struct outcome *out, enum proto_fail fail, int error, const char *what,
                 const char *name)
{
    outcome_say(out, fail, error, what, name, strerror(error));
}
