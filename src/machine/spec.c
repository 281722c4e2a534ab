/* SPDX-License-Identifier: Apache-2.0 */
/* The checked options that travel from the library to the worker. */
#include "base/alloc.h"
#include "machine/machine.h"

void vm_spec_init(struct vm_spec *spec)
{
    *spec = (struct vm_spec){.kernel = PLAT_FD_NONE, .agent = PLAT_FD_NONE, .root = PLAT_FD_NONE};
}

void vm_spec_done(struct vm_spec *spec)
{
    free(spec->cmdline_extra);
    free(spec->hostname);
    free(spec->kernel_name);
    plat_close(&spec->kernel);
    plat_close(&spec->agent);
    plat_close(&spec->root);
    vm_spec_init(spec);
}
