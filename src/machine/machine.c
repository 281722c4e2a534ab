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

bool machine_prefer(const struct machine_probe *best, const struct machine_probe *candidate)
{
    return candidate->usable && !(best && (best->features & LUM_FEATURE_HARDWARE));
}

const struct machine_backend *machine_choose(struct machine_probe *ret_probe)
{
    const struct machine_backend *chosen = NULL;

    for (const struct machine_backend *b = machine_backends; b->name; b++) {
        struct machine_probe probe = {0};

        if (chosen && (ret_probe->features & LUM_FEATURE_HARDWARE))
            continue;
        b->ops->probe(b->driver, &probe);
        if (machine_prefer(chosen ? ret_probe : NULL, &probe)) {
            chosen = b;
            *ret_probe = probe;
        }
    }
    return chosen;
}
