/* SPDX-License-Identifier: Apache-2.0 */
/* What all kinds of operations share. */
#include "op.h"

#include <stdio.h>
#include <string.h>

/* "what name: reason", with a name that the host or the guest chose: it may be cut, but not
 * misread. */
void outcome_set(struct outcome *out, enum proto_fail fail, int error, const char *what,
                 const char *name)
{
    out->error = (uint32_t)error;
    out->fail = fail;
    (void)snprintf(out->text, sizeof(out->text), "%s%s%.150s: %s", what, name && *name ? " " : "",
                   name ? name : "", strerror(error));
}
