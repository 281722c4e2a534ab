/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of backends. */
#include "machine/machine.h"

#include <string.h>

const struct machine_backend *machine_find(const char *name)
{
    for (const struct machine_backend *b = machine_backends; b->name; b++)
        if (strcmp(b->name, name) == 0)
            return b;
    return NULL;
}
