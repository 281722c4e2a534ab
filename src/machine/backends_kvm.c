/* SPDX-License-Identifier: Apache-2.0 */
/* The backends of lumina-vmm, the small static program around our own monitor. */
#include "machine/machine.h"

const struct machine_backend machine_backends[] = {
    {.name = "kvm", .ops = &machine_native_ops, .driver = "kvm"},
    {.name = NULL},
};
